//! One share of errors among comparisons, and how sure it is.
//!
//! Owns the interval and the rules of 3 and 30. Must never know of which errors.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// The quantile of the normal distribution for 95 %, two-sided.
const Z: f64 = 1.959_963_984_540_054;

/// So many comparisons without one error bound the rate by `3 / comparisons`, with a confidence of 95 %: the rule of 3.
const RULE_OF_3: f64 = 3.0;

/// So many errors tell the rate to 30 % of itself, with a confidence of 90 %: Doddington's rule of 30.
const RULE_OF_30: f64 = 30.0;

/// Errors among comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proportion {
    /// How many ended in an error.
    pub(crate) errors: usize,
    /// How many there were; at least one.
    pub(crate) of: usize,
}

/// What a number of comparisons says of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Support {
    /// At least 30 errors are to be expected: the rule of 30 holds.
    Sound,
    /// Fewer than 30, so the true rate may be quite another.
    Rough,
    /// Fewer than 3: not even the lack of any error shows that the rate is so low.
    Nothing,
}

impl Support {
    /// What so many comparisons say of a rate, which lies above 0.
    pub(crate) fn of(comparisons: usize, rate: f64) -> Self {
        if comparisons >= needed(RULE_OF_30, rate) {
            Self::Sound
        } else if comparisons >= needed(RULE_OF_3, rate) {
            Self::Rough
        } else {
            Self::Nothing
        }
    }
}

/// How many comparisons it takes to say anything of a rate.
pub(crate) fn least(rate: f64) -> usize {
    needed(RULE_OF_3, rate)
}

/// How many comparisons it takes to know a rate well.
pub(crate) fn enough(rate: f64) -> usize {
    needed(RULE_OF_30, rate)
}

fn needed(errors: f64, rate: f64) -> usize {
    // 30 / 0.001 shall be 30,000 and not one more for a rounded quotient.
    (errors / rate * (1.0 - 1e-9)).ceil() as usize
}

impl Proportion {
    /// The share, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.errors as f64 / self.of as f64
    }

    /// Wilson's score interval at 95 %, 0 to 1: where the true rate lies if all comparisons are independent.
    pub(crate) fn interval(&self) -> (f64, f64) {
        let (n, share) = (self.of as f64, self.share());
        let shrink = 1.0 + Z * Z / n;
        let centre = (share + Z * Z / (2.0 * n)) / shrink;
        let half = Z / shrink * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        // At the ends the interval reaches them; rounding must not take it past or short of them.
        let low = if self.errors == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if self.errors == self.of { 1.0 } else { (centre + half).min(1.0) };
        (low, high)
    }
}

impl Serialize for Proportion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rounded = |share: f64| (share * 1e6).round() / 1e6;
        let (low, high) = self.interval();
        let mut fields = serializer.serialize_struct("Proportion", 4)?;
        fields.serialize_field("rate", &rounded(self.share()))?;
        fields.serialize_field("errors", &self.errors)?;
        fields.serialize_field("of", &self.of)?;
        fields.serialize_field("interval", &[rounded(low), rounded(high)])?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_intervals() {
        // Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        for ((errors, of), (low, high)) in [
            ((81, 263), (0.2553, 0.3662)),
            ((15, 148), (0.0624, 0.1605)),
            ((0, 20), (0.0, 0.1611)),
            ((1, 29), (0.0061, 0.1718)),
        ] {
            let interval = Proportion { errors, of }.interval();
            assert!((interval.0 - low).abs() < 5e-5 && (interval.1 - high).abs() < 5e-5, "{errors}/{of}: {interval:?}");
        }
    }

    #[test]
    fn the_rules_of_3_and_30() {
        assert_eq!((least(0.001), enough(0.001), least(0.1), enough(0.01)), (3000, 30_000, 30, 3000));
        for (comparisons, support) in
            [(299, Support::Nothing), (300, Support::Rough), (2999, Support::Rough), (3000, Support::Sound)]
        {
            assert_eq!(Support::of(comparisons, 0.01), support, "{comparisons}");
        }
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_share_and_narrows(of in 1_usize..2000, part in 0.0_f64..=1.0) {
            let errors = (of as f64 * part) as usize;
            let (few, many) = (Proportion { errors, of }, Proportion { errors: 4 * errors, of: 4 * of });
            let (low, high) = few.interval();
            prop_assert!(0.0 <= low && low <= few.share() && few.share() <= high && high <= 1.0);
            let (lower, higher) = many.interval();
            prop_assert!(low <= lower && higher <= high);
            let (a, b) = Proportion { errors: of - errors, of }.interval();
            prop_assert!((low - (1.0 - b)).abs() < 1e-12 && (high - (1.0 - a)).abs() < 1e-12);
        }
    }
}
