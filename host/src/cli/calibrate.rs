//! `visavis calibrate`: which threshold suits these photographs?
//!
//! Owns the recommendation's words. Must never set a threshold, for that is the operator's to decide.
//!
//! # Layout
//!
//! - `plot`: the distributions, the ROC and the DET as SVG.

mod plot;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::batch::pairs::Pairs;
use super::batch::results::Results;
use super::batch::summary::{Bound, Point, Summary, Tally, told};
use super::batch::{self, End};
use super::table::table;
use super::{Bench, paint};
use crate::arguments;
use crate::config::Config;
use crate::error_rates::Comparisons;
use crate::error_rates::proportion::{Support, least};
use crate::pipeline::Model;

/// How far a scorer's verdict may be from that of the distance: rounding in another language.
const TOLERANCE: f32 = 1e-5;

/// So few errors tell a rate roughly at best.
const FEW: usize = 30;

/// What is recommended, and why.
#[derive(Debug, Serialize)]
struct Recommendation<'a> {
    #[serde(flatten)]
    point: Point,
    /// `equal_error_rate`, or `fmr`.
    rule: &'static str,
    /// What the threshold belongs to: the embedder above all.
    models: &'a [Model],
    summary: &'a Summary,
}

/// Runs the command.
pub(crate) async fn run(config: &Config, arguments: &arguments::Calibrate) -> anyhow::Result<ExitCode> {
    let pairs = Pairs::read(&arguments.pairs)?;
    let [same, different] = pairs.labelled();
    if same == 0 || different == 0 {
        bail!(
            "{} labels {same} pairs of one person and {different} of two people; some of each are needed, so fill the column \
             same",
            arguments.pairs.display()
        );
    }
    if let Some(rate) = arguments.fmr.filter(|rate| Support::of(different, *rate) == Support::Nothing) {
        bail!("an FMR of {rate} takes {} pairs of two people at least, and there are {different}", least(rate));
    }
    batch::check(&arguments.dir, &pairs)?;
    if let Some(folder) = arguments.plot.as_ref().and_then(|path| path.parent())
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        bail!("--plot: {} is no folder; make it first", folder.display());
    }
    let results = arguments.out.as_ref().map(|out| Results::open(Some(out), &arguments.pairs)).transpose()?;
    let bench = Bench::set_up(config)?;
    let (tally, end) = batch::tally(&bench.pipeline, &arguments.dir, &pairs, results).await?;
    if let End::Stopped(signal) = end {
        return Ok(batch::stopped_by(signal, &tally, &pairs));
    }
    let summary = tally.summary();
    let found = recommend(&tally, arguments.fmr);
    let Ok((comparisons, point)) = found else {
        // What was compared is worth knowing all the same.
        anstream::eprint!("{}\n", summary.text());
        return found.map(|_| ExitCode::SUCCESS);
    };
    let models = &bench.pipeline.policy.models;
    let rule = if arguments.fmr.is_some() { "fmr" } else { "equal_error_rate" };
    let recommendation = Recommendation { point, rule, models, summary: &summary };
    if arguments.json {
        println!("{}", serde_json::to_string(&recommendation)?);
    } else {
        anstream::print!("{}\n{}", text(&recommendation, arguments.fmr), summary.text());
    }
    if let Some(path) = &arguments.plot {
        let drawn = plot::draw(&comparisons, point.threshold);
        std::fs::write(path, drawn).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn recommend(tally: &Tally, fmr: Option<f64>) -> anyhow::Result<(Comparisons, Point)> {
    if tally.contrary() > TOLERANCE {
        bail!(
            "the scorer decides otherwise than by the distance, so no threshold of distances can be recommended for it; set \
             components.scorer.path to one that does"
        );
    }
    let Some(comparisons) = tally.comparisons() else {
        bail!("too few pairs could be compared: it takes one of one person and one of two people at least");
    };
    let point = match fmr {
        None => comparisons.equal_errors().point.into(),
        Some(rate) => {
            let bound = Bound::of(&comparisons, rate);
            let why = || format!("no threshold for an FMR of {rate}: {}", bound.caveat(rate).unwrap_or_default());
            bound.point.with_context(why)?
        }
    };
    Ok((comparisons, point))
}

/// The threshold first, then how to set it and what it stands on.
fn text(Recommendation { point, models, .. }: &Recommendation<'_>, fmr: Option<f64>) -> String {
    let Point { threshold, fmr: false_matches, fnmr: false_non_matches } = point;
    let mut text = paint::good(&format!("Threshold {threshold}"));
    // Writing into a string cannot fail.
    let _ = match fmr {
        None => writeln!(text, ": where FMR and FNMR are nearest to each other\n"),
        Some(rate) => writeln!(text, ": the most lenient with an FMR of at most {rate}\n"),
    };
    text += &table(&[("FMR", false_matches), ("FNMR", false_non_matches)].map(|(name, rate)| {
        let [share, count, interval] = told(rate);
        [format!("  {name}"), share, count, interval]
    }));
    if false_matches.errors.min(false_non_matches.errors) < FEW {
        let few = format!("fewer than {FEW} errors of a kind were seen, so take the intervals seriously");
        let _ = writeln!(text, "\n  {}", paint::fair(&few));
    }
    // The embedder is the last of the models, and has one graph.
    let embedder = models.last().map_or("this embedder", |model| model.name.trim_end_matches("/embedding"));
    let _ = write!(
        text,
        "\nTo set it, in visavis.toml:\n\n  [verify]\n  threshold = {threshold}\n\nor VISAVIS_VERIFY__THRESHOLD={threshold}. It \
         holds for {embedder} and for photographs like these.\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::batch::Compared;
    use crate::cli::batch::pairs::Pair;

    fn tally(mated: &[f32], non_mated: &[f32]) -> Tally {
        let mut tally = Tally::default();
        for (same, distances) in [(true, mated), (false, non_mated)] {
            for distance in distances {
                let verified = *distance <= 1.0;
                let end = Compared { verified, score: 0.5, distance: *distance, similarity: 0.5, threshold: 1.0 };
                tally.add(&Pair { photographs: [0, 1], same: Some(same) }, &Ok(end));
            }
        }
        tally
    }

    #[test]
    fn the_threshold_comes_first_and_is_told_how_to_set() {
        let tally = tally(&[0.5, 0.7], &[1.1, 1.4]);
        let (_, point) = recommend(&tally, None).unwrap();
        assert_eq!((point.threshold, point.fmr.errors, point.fnmr.errors), (0.9, 0, 0));
        let summary = tally.summary();
        let models = [Model { name: "our-embedder/embedding".to_owned(), digest: String::new() }];
        let recommendation = Recommendation { point, rule: "equal_error_rate", models: &models, summary: &summary };
        let text = anstream::adapter::strip_str(&text(&recommendation, None)).to_string();
        assert!(text.starts_with("Threshold 0.9: "), "{text}");
        for words in ["threshold = 0.9\n", "VISAVIS_VERIFY__THRESHOLD=0.9.", "our-embedder", "fewer than 30"] {
            assert!(text.contains(words), "{words} in\n{text}");
        }
        assert!(!text.contains("/embedding"), "{text}");
        let json = serde_json::to_string(&recommendation).unwrap();
        assert!(json.starts_with(r#"{"threshold":0.9,"fmr":{"rate":0.0,"errors":0,"of":2,"#), "{json}");
    }

    #[test]
    fn what_cannot_be_recommended_says_why() {
        let refusal = |tally: &Tally, fmr| format!("{:#}", recommend(tally, fmr).unwrap_err());
        assert!(refusal(&tally(&[0.5], &[]), None).contains("too few"));
        assert!(refusal(&tally(&[0.5], &[1.2; 20]), Some(0.1)).contains("30 pairs"));
        assert!(refusal(&tally(&[0.5], &[0.0; 40]), Some(0.1)).contains("so strict"));
        let mut contrary = tally(&[0.5], &[1.2]);
        let end = Compared { verified: true, score: 0.5, distance: 1.3, similarity: 0.5, threshold: 1.0 };
        contrary.add(&Pair { photographs: [0, 1], same: None }, &Ok(end));
        assert!(refusal(&contrary, None).contains("otherwise than by the distance"));
        let rough = recommend(&tally(&[0.5], &[1.2; 40]), Some(0.1)).unwrap().1;
        assert_eq!(rough.threshold, 0.85);
    }
}
