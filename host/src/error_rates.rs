//! Error rates of comparisons whose truth is known, in the terms of ISO/IEC 19795-1.
//!
//! Owns FMR, FNMR, ROC and EER as pure functions of distances. Must never know where a distance comes from, or what is done
//! about a rate.
//!
//! A comparison is mated when both photographs show one person, else non-mated. Two faces match when their distance is at most
//! the threshold. The false match rate (FMR) is the share of non-mated comparisons that match, the false non-match rate (FNMR)
//! the share of mated ones that do not. What could not be compared is in neither.
//!
//! # Layout
//!
//! - `proportion`: one share, and how sure it is.

pub(crate) mod proportion;

use self::proportion::Proportion;

/// The greatest distance of two vectors of length 1.
const GREATEST: f32 = 2.0;

/// The distances of comparisons whose truth is known: at least one mated, and one that is not.
#[derive(Clone, Debug)]
pub(crate) struct Comparisons {
    /// Ascending.
    mated: Vec<f32>,
    /// Ascending.
    non_mated: Vec<f32>,
}

/// The thresholds from one distance that occurs up to the next: all of them decide alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OperatingPoint {
    /// The least of the thresholds.
    from: f32,
    /// What none of them reaches, unless it equals `from`.
    to: f32,
    /// How non-mated comparisons end: matches are errors.
    pub(crate) fmr: Proportion,
    /// How mated comparisons end: non-matches are errors.
    pub(crate) fnmr: Proportion,
}

/// Where both error rates are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EqualErrors {
    /// The equal error rate, 0 to 1: interpolated between two operating points where none has equal rates.
    pub(crate) rate: f64,
    /// The operating point next to it, by the greater of its two rates; of two as good the stricter.
    pub(crate) point: OperatingPoint,
}

impl OperatingPoint {
    /// The threshold nearest the middle that can be written with few digits, at most six decimals where so many tell it from
    /// its neighbours.
    pub(crate) fn threshold(&self) -> f32 {
        let middle = self.from + (self.to - self.from) / 2.0;
        let inside = |threshold: &f32| (self.from..self.to).contains(threshold);
        let rounded =
            [1e2, 1e3, 1e4, 1e5, 1e6].map(|per_unit| ((f64::from(middle) * per_unit).round() / per_unit) as f32);
        rounded.into_iter().find(inside).or(Some(middle).filter(inside)).unwrap_or(self.from)
    }

    fn worse(&self) -> f64 {
        self.fmr.share().max(self.fnmr.share())
    }

    /// FMR minus FNMR, times both numbers of comparisons: an integer, so that equal rates are equal.
    fn imbalance(&self) -> i128 {
        let product = |one: usize, other: usize| i128::try_from(one as u128 * other as u128).unwrap_or(i128::MAX);
        product(self.fmr.errors, self.fnmr.of) - product(self.fnmr.errors, self.fmr.of)
    }
}

impl Comparisons {
    /// `None` when either is empty or a distance is not a number that is finite and not negative.
    pub(crate) fn new(mut mated: Vec<f32>, mut non_mated: Vec<f32>) -> Option<Self> {
        for distances in [&mut mated, &mut non_mated] {
            if distances.is_empty() || distances.iter().any(|distance| !distance.is_finite() || *distance < 0.0) {
                return None;
            }
            distances.sort_by(f32::total_cmp);
        }
        Some(Self { mated, non_mated })
    }

    /// Mated distances, ascending.
    pub(crate) fn mated(&self) -> &[f32] {
        &self.mated
    }

    /// Non-mated distances, ascending.
    pub(crate) fn non_mated(&self) -> &[f32] {
        &self.non_mated
    }

    /// How a threshold decides.
    pub(crate) fn at(&self, threshold: f32) -> OperatingPoint {
        let matches = |distances: &[f32]| distances.partition_point(|distance| *distance <= threshold);
        let (mated, non_mated) = (matches(&self.mated), matches(&self.non_mated));
        OperatingPoint {
            from: threshold,
            to: threshold,
            fmr: Proportion { errors: non_mated, of: self.non_mated.len() },
            fnmr: Proportion { errors: self.mated.len() - mated, of: self.mated.len() },
        }
    }

    /// All ways to decide, from the strictest to the most lenient: the points of the ROC and of the DET. FMR never falls along
    /// them, FNMR never rises, and the last one takes everything for a match.
    pub(crate) fn operating_points(&self) -> Vec<OperatingPoint> {
        let mut distances: Vec<_> = [0.0].iter().chain(&self.mated).chain(&self.non_mated).copied().collect();
        distances.sort_by(f32::total_cmp);
        distances.dedup();
        let greatest = distances.last().copied().unwrap_or_default().max(GREATEST);
        let ends = distances[1..].iter().copied().chain([greatest]);
        distances.iter().zip(ends).map(|(from, to)| OperatingPoint { to, ..self.at(*from) }).collect()
    }

    /// The area under the ROC: how probable it is that of two pairs, one mated and one not, the mated one has the smaller
    /// distance; equal distances count half.
    pub(crate) fn area_under_roc(&self) -> f64 {
        let above = self.mated.iter().map(|distance| {
            let (less, at_most) = (
                self.non_mated.partition_point(|other| other < distance),
                self.non_mated.partition_point(|other| other <= distance),
            );
            (self.non_mated.len() - at_most) as f64 + 0.5 * (at_most - less) as f64
        });
        above.sum::<f64>() / (self.mated.len() as f64 * self.non_mated.len() as f64)
    }

    /// Where the rates cross.
    pub(crate) fn equal_errors(&self) -> EqualErrors {
        let points = self.operating_points();
        // The last point takes everything for a match, so there is always one.
        let crossed = points.partition_point(|point| point.imbalance() < 0).min(points.len() - 1);
        let after = points[crossed];
        if after.imbalance() == 0 {
            return EqualErrors { rate: after.fmr.share(), point: after };
        }
        let before = crossed.checked_sub(1).map(|index| points[index]);
        // Below all distances nothing matches, be there a threshold for that or not.
        let (fmr, fnmr) = before.map_or((0.0, 1.0), |point| (point.fmr.share(), point.fnmr.share()));
        let (gap, gap_after) = (fnmr - fmr, after.fmr.share() - after.fnmr.share());
        let rate = fmr + gap / (gap + gap_after) * (after.fmr.share() - fmr);
        let point = before.filter(|before| before.worse() <= after.worse()).unwrap_or(after);
        EqualErrors { rate, point }
    }

    /// The most lenient way to decide whose FMR is at most `rate`; `None` when too many non-mated pairs are at distance 0.
    pub(crate) fn within_fmr(&self, rate: f64) -> Option<OperatingPoint> {
        let points = self.operating_points();
        let within = points.partition_point(|point| point.fmr.share() <= rate);
        within.checked_sub(1).map(|index| points[index])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn comparisons(mated: &[f32], non_mated: &[f32]) -> Comparisons {
        Comparisons::new(mated.to_vec(), non_mated.to_vec()).unwrap()
    }

    #[test]
    fn pairs_that_are_told_apart() {
        let comparisons = comparisons(&[0.8, 0.6, 0.7], &[1.3, 1.2, 1.35, 1.4]);
        assert_eq!(comparisons.area_under_roc(), 1.0);
        let EqualErrors { rate, point } = comparisons.equal_errors();
        assert_eq!((rate, point.fmr.errors, point.fnmr.errors, point.threshold()), (0.0, 0, 0, 1.0));
        assert_eq!(comparisons.within_fmr(0.001).map(|point| point.threshold()), Some(1.0));
        assert_eq!(comparisons.within_fmr(0.25).map(|point| point.threshold()), Some(1.25));
        let strict = comparisons.at(0.65);
        assert_eq!((strict.fmr.share(), strict.fnmr), (0.0, Proportion { errors: 2, of: 3 }));
    }

    #[test]
    fn known_rates() {
        // One mated pair lies above the least non-mated one: both rates are a quarter between them.
        let comparisons = comparisons(&[0.2, 0.4, 0.6, 1.1], &[1.0, 1.2, 1.3, 1.4]);
        assert_eq!(comparisons.area_under_roc(), 15.0 / 16.0);
        let EqualErrors { rate, point } = comparisons.equal_errors();
        assert_eq!((rate, point.threshold()), (0.25, 1.05));
        assert_eq!(comparisons.at(1.0).fmr.errors, 1, "a distance at the threshold matches");
    }

    #[test]
    fn between_two_points_the_equal_error_rate_is_interpolated() {
        // At 1.0 both change at once: from (0, 1/2) to (1/3, 0) the straight line has equal rates at 1/5.
        let comparisons = comparisons(&[0.5, 1.0], &[1.0, 1.5, 1.7]);
        let EqualErrors { rate, point } = comparisons.equal_errors();
        assert!((rate - 0.2).abs() < 1e-12, "{rate}");
        assert_eq!((point.fmr.errors, point.fnmr.errors), (1, 0), "its worse rate is a third, not a half");
        assert_eq!(comparisons.area_under_roc(), 5.5 / 6.0);
    }

    #[test]
    fn one_distance_for_all_tells_nothing() {
        for distance in [0.0, 1.0, 2.0] {
            let comparisons = comparisons(&[distance; 3], &[distance; 2]);
            assert_eq!((comparisons.area_under_roc(), comparisons.equal_errors().rate), (0.5, 0.5));
            assert!((0.0..=2.0).contains(&comparisons.equal_errors().point.threshold()));
        }
        assert_eq!(comparisons(&[0.0], &[0.0]).within_fmr(0.1), None);
    }

    #[test]
    fn what_is_no_distance_is_refused() {
        assert!(Comparisons::new(vec![], vec![1.0]).is_none() && Comparisons::new(vec![1.0], vec![]).is_none());
        for bad in [f32::NAN, f32::INFINITY, -0.1] {
            assert!(Comparisons::new(vec![1.0, bad], vec![1.0]).is_none(), "{bad}");
        }
    }

    #[test]
    fn thresholds_have_few_digits_and_decide_as_their_point_does() {
        let point = |from, to| OperatingPoint { from, to, ..comparisons(&[0.5], &[1.5]).at(from) };
        for ((from, to), threshold) in
            [((0.9, 1.2), 1.05), ((1.001, 1.0036), 1.002), ((1.000_01, 1.000_02), 1.000_015), ((2.0, 2.0), 2.0)]
        {
            assert_eq!(point(from, to).threshold(), threshold, "{from} to {to}");
        }
        let next = 1.0_f32.next_up();
        assert_eq!(point(1.0, next).threshold(), 1.0);
    }

    /// Few distinct distances, so that many are equal.
    fn distances() -> impl Strategy<Value = Vec<f32>> {
        let coarse = (0_u8..=16).prop_map(|eighth| f32::from(eighth) / 8.0);
        prop::collection::vec(prop_oneof![coarse, 0.0_f32..=2.0], 1..40)
    }

    proptest! {
        #[test]
        fn rates_follow_the_threshold(mated in distances(), non_mated in distances()) {
            let comparisons = comparisons(&mated, &non_mated);
            let points = comparisons.operating_points();
            for pair in points.windows(2) {
                prop_assert!(pair[0].fmr.errors <= pair[1].fmr.errors && pair[0].fnmr.errors >= pair[1].fnmr.errors);
                prop_assert!(pair[0].imbalance() < pair[1].imbalance() || pair[0].from == 0.0);
            }
            for point in &points {
                let at = comparisons.at(point.threshold());
                prop_assert_eq!((at.fmr, at.fnmr), (point.fmr, point.fnmr));
                let counted = (
                    non_mated.iter().filter(|distance| **distance <= point.from).count(),
                    mated.iter().filter(|distance| **distance > point.from).count(),
                );
                prop_assert_eq!((point.fmr.errors, point.fnmr.errors), counted);
            }
            let last = points.last().unwrap();
            prop_assert_eq!((last.fmr.share(), last.fnmr.share()), (1.0, 0.0));
        }

        #[test]
        fn the_area_is_that_of_all_pairs_and_of_the_curve(mated in distances(), non_mated in distances()) {
            let comparisons = comparisons(&mated, &non_mated);
            let mut counted = 0.0;
            for (one, other) in mated.iter().flat_map(|one| non_mated.iter().map(move |other| (one, other))) {
                counted += if one < other { 1.0 } else if one == other { 0.5 } else { 0.0 };
            }
            let area = comparisons.area_under_roc();
            prop_assert!((area - counted / (mated.len() * non_mated.len()) as f64).abs() < 1e-12);
            let points = comparisons.operating_points();
            let curve: Vec<_> = [(0.0, 0.0)].into_iter()
                .chain(points.iter().map(|point| (point.fmr.share(), 1.0 - point.fnmr.share())))
                .collect();
            let trapezoids: f64 = curve.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
            prop_assert!((area - trapezoids).abs() < 1e-9);
        }

        #[test]
        fn equal_errors_lie_between_the_neighbours(mated in distances(), non_mated in distances()) {
            let comparisons = comparisons(&mated, &non_mated);
            let EqualErrors { rate, point } = comparisons.equal_errors();
            prop_assert!((0.0..=1.0).contains(&rate) && rate <= point.worse() + 1e-12);
            let best = comparisons.operating_points().iter().map(OperatingPoint::worse).fold(1.0, f64::min);
            prop_assert_eq!(point.worse(), best);
            // Twice as fine a scale orders the pairs alike.
            let halves = |distances: &[f32]| distances.iter().map(|distance| distance / 2.0).collect::<Vec<_>>();
            let half = Comparisons::new(halves(&mated), halves(&non_mated)).unwrap();
            prop_assert_eq!(half.equal_errors().rate, rate);
            prop_assert_eq!(half.area_under_roc(), comparisons.area_under_roc());
        }

        #[test]
        fn a_bound_on_the_fmr_is_kept_and_used_up(
            mated in distances(), non_mated in distances(), rate in 0.001_f64..0.999
        ) {
            let comparisons = comparisons(&mated, &non_mated);
            let points = comparisons.operating_points();
            let (inside, outside): (Vec<_>, Vec<_>) = points.iter().partition(|point| point.fmr.share() <= rate);
            match comparisons.within_fmr(rate) {
                Some(point) => {
                    prop_assert!(comparisons.at(point.threshold()).fmr.share() <= rate);
                    prop_assert_eq!(Some(&&point), inside.last());
                    prop_assert!(outside.iter().all(|other| other.from > point.from));
                }
                None => prop_assert!(inside.is_empty()),
            }
        }
    }
}
