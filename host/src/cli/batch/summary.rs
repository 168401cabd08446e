//! What the verdicts of a batch say of its threshold, and of others.
//!
//! Owns the counts, and their words for people and programs. Must never compute a rate itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::pairs::Pair;
use super::{Compared, Refusal};
use crate::cli::paint;
use crate::cli::table::table;
use crate::error_rates::proportion::{Proportion, Support, enough, least};
use crate::error_rates::{Comparisons, EqualErrors, OperatingPoint};

/// The false match rates for which a threshold is told.
const TARGETS: [f64; 3] = [0.1, 0.01, 0.001];

/// Pairs by their labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Of one person.
    pub(crate) same: usize,
    /// Of two people.
    pub(crate) different: usize,
    /// Whose truth is not known.
    pub(crate) unlabelled: usize,
}

impl Counts {
    fn of(&mut self, same: Option<bool>) -> &mut usize {
        match same {
            Some(true) => &mut self.same,
            Some(false) => &mut self.different,
            None => &mut self.unlabelled,
        }
    }

    fn all(self) -> usize {
        self.same + self.different + self.unlabelled
    }
}

/// How the pairs of a batch ended, as they end.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pairs: Counts,
    /// Verdicts, by what they say.
    verified: Counts,
    compared: Counts,
    not_compared: BTreeMap<&'static str, Counts>,
    /// Distances of labelled pairs.
    mated: Vec<f32>,
    non_mated: Vec<f32>,
    threshold: Option<f32>,
    /// Whether the host or a component failed on a pair.
    failed: bool,
    /// A verdict that does not follow from distance and threshold: how far beyond it the distance was.
    contrary: Option<f32>,
}

impl Tally {
    /// Counts one pair.
    pub(crate) fn add(&mut self, pair: &Pair, end: &Result<Compared, Refusal>) {
        *self.pairs.of(pair.same) += 1;
        match end {
            Ok(compared) => {
                *self.compared.of(pair.same) += 1;
                *self.verified.of(pair.same) += usize::from(compared.verified);
                self.threshold = Some(compared.threshold);
                let beyond = compared.distance - compared.threshold;
                if compared.verified != (beyond <= 0.0) {
                    self.contrary = Some(self.contrary.unwrap_or_default().max(beyond.abs()));
                }
                match pair.same {
                    Some(true) => self.mated.push(compared.distance),
                    Some(false) => self.non_mated.push(compared.distance),
                    None => {}
                }
            }
            Err(refusal) => {
                *self.not_compared.entry(refusal.code).or_default().of(pair.same) += 1;
                self.failed |= refusal.is_ours();
            }
        }
    }

    /// How many pairs have ended.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs.all()
    }

    /// Whether the host or a component failed on a pair, so that another run may end otherwise.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// How far from the threshold the scorer decided otherwise than by the distance: 0 when it never did.
    pub(crate) fn contrary(&self) -> f32 {
        self.contrary.unwrap_or_default()
    }

    /// The distances, if some of either kind were compared.
    pub(crate) fn comparisons(&self) -> Option<Comparisons> {
        Comparisons::new(self.mated.clone(), self.non_mated.clone())
    }

    /// What came out.
    pub(crate) fn summary(&self) -> Summary {
        let proportion = |errors, of| (of > 0).then_some(Proportion { errors, of });
        let (pairs, compared, verified) = (self.pairs, self.compared, self.verified);
        let comparisons = self.comparisons();
        let thresholds = comparisons.as_ref().map(|comparisons| {
            let target = |rate| Target { rate, bound: Bound::of(comparisons, rate) };
            TARGETS.map(target).into()
        });
        Summary {
            pairs,
            compared,
            not_compared: self.not_compared.clone(),
            verified,
            threshold: self.threshold,
            fmr: proportion(verified.different, compared.different),
            fnmr: proportion(compared.same - verified.same, compared.same),
            far: proportion(verified.different, pairs.different),
            frr: proportion(pairs.same - verified.same, pairs.same),
            area_under_roc: comparisons.as_ref().map(Comparisons::area_under_roc),
            equal_errors: comparisons.as_ref().map(|comparisons| Equal::from(comparisons.equal_errors())),
            thresholds: thresholds.unwrap_or_default(),
        }
    }
}

/// A batch in numbers.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pairs: Counts,
    compared: Counts,
    not_compared: BTreeMap<&'static str, Counts>,
    verified: Counts,
    /// The threshold that verdicts were made by.
    threshold: Option<f32>,
    /// False matches among the non-mated pairs that were compared, by the scorer's verdicts.
    fmr: Option<Proportion>,
    /// False non-matches among the mated pairs that were compared.
    fnmr: Option<Proportion>,
    /// The same where a pair that was not compared counts as rejected.
    far: Option<Proportion>,
    frr: Option<Proportion>,
    area_under_roc: Option<f64>,
    equal_errors: Option<Equal>,
    thresholds: Vec<Target>,
}

#[derive(Debug, Serialize)]
struct Equal {
    rate: f64,
    #[serde(flatten)]
    point: Point,
}

impl From<EqualErrors> for Equal {
    fn from(EqualErrors { rate, point }: EqualErrors) -> Self {
        Self { rate, point: point.into() }
    }
}

/// One threshold, and what it costs on these pairs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) threshold: f32,
    pub(crate) fmr: Proportion,
    pub(crate) fnmr: Proportion,
}

impl From<OperatingPoint> for Point {
    fn from(point: OperatingPoint) -> Self {
        Self { threshold: point.threshold(), fmr: point.fmr, fnmr: point.fnmr }
    }
}

#[derive(Debug, Serialize)]
struct Target {
    #[serde(rename = "fmr_target")]
    rate: f64,
    #[serde(flatten)]
    bound: Bound,
}

/// The most lenient threshold for a false match rate, and how far it can be trusted.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Bound {
    pub(crate) support: Support,
    /// `None` when the pairs say nothing of so low a rate.
    #[serde(flatten)]
    pub(crate) point: Option<Point>,
}

impl Bound {
    /// Looks for it.
    pub(crate) fn of(comparisons: &Comparisons, rate: f64) -> Self {
        let support = Support::of(comparisons.non_mated().len(), rate);
        let point = comparisons.within_fmr(rate).filter(|_| support != Support::Nothing);
        Self { support, point: point.map(Point::from) }
    }

    /// What keeps it from being trusted, for people; `None` when nothing does.
    pub(crate) fn caveat(self, rate: f64) -> Option<String> {
        match (self.support, self.point) {
            (Support::Nothing, _) => Some(format!("takes {} pairs of two people at least", least(rate))),
            (_, None) => Some("no threshold is so strict".to_owned()),
            (Support::Rough, _) => Some(format!("rough: to know it takes {} pairs of two people", enough(rate))),
            (Support::Sound, _) => None,
        }
    }
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 1e2)
}

/// A share with its errors and its interval.
pub(crate) fn told(proportion: &Proportion) -> [String; 3] {
    let Proportion { errors, of } = proportion;
    let (low, high) = proportion.interval();
    [
        percent(proportion.share()),
        format!("{errors} of {of}"),
        format!("95 % interval {:.2} to {}", low * 1e2, percent(high)),
    ]
}

impl Summary {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let Self { pairs, compared, verified, .. } = self;
        let mut text = String::new();
        let all = format!("{} of {} pairs compared", compared.all(), pairs.all());
        let all = if compared.all() == pairs.all() { paint::good(&all) } else { paint::fair(&all) };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{all}\n");
        let mut rows = vec![["", "one person", "two people", "no label"].map(str::to_owned)];
        let mut row = |what: &str, counts: &Counts| {
            let Counts { same, different, unlabelled } = counts;
            rows.push([format!("  {what}"), same.to_string(), different.to_string(), unlabelled.to_string()]);
        };
        row("pairs", pairs);
        row("verified", verified);
        row(
            "not verified",
            &Counts {
                same: compared.same - verified.same,
                different: compared.different - verified.different,
                unlabelled: compared.unlabelled - verified.unlabelled,
            },
        );
        self.not_compared.iter().for_each(|(code, counts)| row(code, counts));
        text += &table(&rows);
        if let Some(threshold) = self.threshold.filter(|_| self.fmr.is_some() || self.fnmr.is_some()) {
            let _ = writeln!(text, "\n{}", paint::head(&format!("At the threshold {threshold}")));
            let rates = [
                ("FMR", &self.fmr, "two people that match"),
                ("FNMR", &self.fnmr, "one person that does not match"),
                ("FAR", &self.far, "as FMR, and what was not compared is rejected"),
                ("FRR", &self.frr, "as FNMR, and what was not compared is rejected"),
            ];
            let rates = rates.into_iter().filter_map(|(name, rate, meaning)| Some((name, rate.as_ref()?, meaning)));
            let rows: Vec<_> = rates
                .map(|(name, rate, meaning)| {
                    let [share, count, interval] = told(rate);
                    [format!("  {name}"), share, count, interval, meaning.to_owned()]
                })
                .collect();
            text += &table(&rows);
        }
        if let (Some(area), Some(Equal { rate, point })) = (self.area_under_roc, &self.equal_errors) {
            let _ = writeln!(text, "\n{}", paint::head("Over all thresholds"));
            let _ = writeln!(text, "  area under the ROC  {area:.6}");
            let _ = writeln!(text, "  equal error rate    {} at the threshold {}", percent(*rate), point.threshold);
            let _ = writeln!(text, "\n{}", paint::head("The most lenient threshold for an FMR"));
            text += &table(&self.thresholds.iter().map(target_row).collect::<Vec<_>>());
        }
        text
    }
}

fn target_row(target: &Target) -> [String; 4] {
    let Target { rate, bound } = target;
    let [threshold, fnmr] = match &bound.point {
        Some(point) => [point.threshold.to_string(), format!("FNMR {}", percent(point.fnmr.share()))],
        None => ["-".to_owned(), String::new()],
    };
    [format!("  up to {rate}"), threshold, fnmr, bound.caveat(*rate).unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(same: Option<bool>) -> Pair {
        Pair { photographs: [0, 1], same }
    }

    fn compared(distance: f32) -> Result<Compared, Refusal> {
        Ok(Compared { verified: distance <= 1.0, score: 0.5, distance, similarity: 0.5, threshold: 1.0 })
    }

    fn refused(code: &'static str) -> Result<Compared, Refusal> {
        Err(Refusal { code, image: Some(1), message: String::new() })
    }

    #[test]
    fn what_was_not_compared_is_in_no_match_rate() {
        let mut tally = Tally::default();
        for (same, end) in [
            (Some(true), compared(0.5)),
            (Some(true), compared(1.1)),
            (Some(true), refused("no_face")),
            (Some(false), compared(0.9)),
            (Some(false), compared(1.3)),
            (Some(false), compared(1.4)),
            (Some(false), refused("no_face")),
            (None, compared(0.1)),
        ] {
            tally.add(&pair(same), &end);
        }
        let summary = serde_json::to_value(tally.summary()).unwrap();
        let rate = |name: &str| (summary[name]["errors"].as_u64(), summary[name]["of"].as_u64());
        assert_eq!((rate("fmr"), rate("fnmr")), ((Some(1), Some(3)), (Some(1), Some(2))));
        assert_eq!((rate("far"), rate("frr")), ((Some(1), Some(4)), (Some(2), Some(3))));
        assert_eq!(summary["not_compared"]["no_face"]["different"], 1);
        assert_eq!(summary["area_under_roc"], 5.0 / 6.0);
        // Three pairs of two people carry none of the targets.
        for target in summary["thresholds"].as_array().unwrap() {
            assert!(target["support"] == "nothing" && target.get("threshold").is_none(), "{target}");
        }
        let text = tally.summary().text();
        assert!(text.contains("6 of 8 pairs compared") && text.contains("takes 3000 pairs"), "{text}");
        assert!(!tally.failed() && tally.contrary() == 0.0);
    }

    #[test]
    fn without_labels_there_are_verdicts_and_no_rates() {
        let mut tally = Tally::default();
        tally.add(&pair(None), &compared(0.5));
        tally.add(&pair(None), &refused("timeout"));
        let summary = serde_json::to_value(tally.summary()).unwrap();
        assert!(summary["fmr"].is_null() && summary["equal_errors"].is_null(), "{summary}");
        assert!(tally.failed() && !tally.summary().text().contains("FMR"));
    }

    #[test]
    fn a_scorer_that_decides_otherwise_is_seen() {
        let mut tally = Tally::default();
        let contrary = Compared { verified: true, score: 0.5, distance: 1.25, similarity: 0.5, threshold: 1.0 };
        tally.add(&pair(Some(true)), &Ok(contrary));
        assert_eq!(tally.contrary(), 0.25);
    }

    #[test]
    fn targets_are_told_with_what_carries_them() {
        let non_mated = (0..400).map(|step| 0.5 + step as f32 / 300.0).collect();
        let comparisons = Comparisons::new(vec![0.2, 0.3, 0.6], non_mated).unwrap();
        let [sound, rough, nothing] = TARGETS.map(|rate| Bound::of(&comparisons, rate));
        assert_eq!((sound.support, sound.caveat(0.1)), (Support::Sound, None));
        assert_eq!(sound.point.map(|point| point.fmr.errors), Some(40));
        assert!(rough.point.is_some() && rough.caveat(0.01).is_some_and(|caveat| caveat.contains("3000")));
        assert!(nothing.point.is_none() && nothing.caveat(0.001).is_some_and(|caveat| caveat.contains("3000")));
    }
}
