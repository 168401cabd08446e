//! Whether two embeddings are one person.
//!
//! Owns the distances, the logistic score and the comparison with the threshold. Must never know which faces were chosen
//! or why.

use core::fmt;

use libm::{expf, sqrtf};

/// How far the length of an embedding may be from 1.
const UNIT_TOLERANCE: f32 = 0.01;

/// The operator's two numbers, which belong to one embedding network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Two faces are one person when their Euclidean distance is at most this. 0 to 2.
    pub threshold: f32,
    /// Steepness of the logistic curve, per unit of distance. Positive.
    pub slope: f32,
}

/// What two embeddings say of each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Whether the distance is at most the threshold.
    pub verified: bool,
    /// 1 / (1 + exp(-slope * (threshold - distance))): 0.5 at the threshold.
    pub score: f32,
    /// The Euclidean distance, 0 to 2.
    pub euclidean_distance: f32,
    /// The cosine similarity, -1 to 1.
    pub cosine_similarity: f32,
}

/// Why two embeddings cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Incomparable {
    /// One of them (0 or 1) is empty.
    Empty(usize),
    /// They have different lengths.
    Lengths(usize, usize),
    /// One of them (0 or 1) holds a number that is not finite, or is not of length 1.
    NotUnit(usize),
    /// The threshold does not lie in 0 to 2.
    Threshold(f32),
    /// The slope is not a positive number.
    Slope(f32),
}

impl fmt::Display for Incomparable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = |index: &usize| if *index == 0 { "first" } else { "second" };
        match self {
            Self::Empty(index) => write!(f, "the {} face has no embedding", which(index)),
            Self::Lengths(first, second) => write!(
                f,
                "the embeddings have {first} and {second} numbers: both photographs must be analysed with one model"
            ),
            Self::NotUnit(index) => {
                write!(f, "the {} face's embedding is not a finite vector of length 1", which(index))
            }
            Self::Threshold(value) => write!(f, "the threshold {value} does not lie in 0 to 2"),
            Self::Slope(value) => write!(f, "the slope {value} is not a positive number"),
        }
    }
}

impl core::error::Error for Incomparable {}

/// Compares two L2-normalised embeddings of one network.
pub fn compare(first: &[f32], second: &[f32], calibration: Calibration) -> Result<Comparison, Incomparable> {
    let Calibration { threshold, slope } = calibration;
    if !(0.0..=2.0).contains(&threshold) {
        return Err(Incomparable::Threshold(threshold));
    }
    if !(slope.is_finite() && slope > 0.0) {
        return Err(Incomparable::Slope(slope));
    }
    for (index, embedding) in [first, second].into_iter().enumerate() {
        if embedding.is_empty() {
            return Err(Incomparable::Empty(index));
        }
    }
    if first.len() != second.len() {
        return Err(Incomparable::Lengths(first.len(), second.len()));
    }
    for (index, embedding) in [first, second].into_iter().enumerate() {
        let norm = sqrtf(embedding.iter().map(|value| value * value).sum());
        if norm.is_nan() || (norm - 1.0).abs() > UNIT_TOLERANCE {
            return Err(Incomparable::NotUnit(index));
        }
    }

    let distance = euclidean_distance(first, second);
    Ok(Comparison {
        verified: distance <= threshold,
        score: logistic(distance, calibration),
        euclidean_distance: distance,
        cosine_similarity: cosine_similarity(first, second),
    })
}

/// The Euclidean distance of two vectors of one length.
pub fn euclidean_distance(first: &[f32], second: &[f32]) -> f32 {
    sqrtf(first.iter().zip(second).map(|(a, b)| (a - b) * (a - b)).sum())
}

/// The cosine of the angle between two vectors of length 1, kept within -1 to 1.
pub fn cosine_similarity(first: &[f32], second: &[f32]) -> f32 {
    first.iter().zip(second).map(|(a, b)| a * b).sum::<f32>().clamp(-1.0, 1.0)
}

fn logistic(distance: f32, Calibration { threshold, slope }: Calibration) -> f32 {
    1.0 / (1.0 + expf(-slope * (threshold - distance)))
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const CALIBRATION: Calibration = Calibration { threshold: 1.06, slope: 18.0 };

    #[test]
    fn one_face_twice() {
        let comparison = compare(&[0.6, 0.8], &[0.6, 0.8], CALIBRATION).unwrap();
        assert!(comparison.verified && comparison.score > 0.999);
        assert_eq!(comparison.euclidean_distance, 0.0);
        assert!((comparison.cosine_similarity - 1.0).abs() < 1e-6);
    }

    #[test]
    fn right_angles_and_opposites() {
        let right = compare(&[1.0, 0.0], &[0.0, 1.0], CALIBRATION).unwrap();
        assert!(!right.verified && (right.euclidean_distance - core::f32::consts::SQRT_2).abs() < 1e-6);
        assert_eq!(right.cosine_similarity, 0.0);
        let opposite = compare(&[1.0, 0.0], &[-1.0, 0.0], CALIBRATION).unwrap();
        assert_eq!((opposite.euclidean_distance, opposite.cosine_similarity), (2.0, -1.0));
        assert!(opposite.score < 1e-6);
    }

    #[test]
    fn the_threshold_belongs_to_the_same_person_and_scores_one_half() {
        let calibration = Calibration { threshold: 2.0, slope: 18.0 };
        let comparison = compare(&[1.0, 0.0], &[-1.0, 0.0], calibration).unwrap();
        assert!(comparison.verified);
        assert_eq!(comparison.score, 0.5);
    }

    #[test]
    fn the_score_follows_the_published_curve() {
        assert!((logistic(1.0, CALIBRATION) - 0.746_494).abs() < 1e-4);
        assert!((logistic(1.2, CALIBRATION) - 0.074_468).abs() < 1e-4);
    }

    #[test]
    fn what_cannot_be_compared_says_why() {
        let refusal = |a: &[f32], b: &[f32], threshold, slope| compare(a, b, Calibration { threshold, slope });
        let unit: &[f32] = &[1.0, 0.0];
        assert_eq!(refusal(&[], unit, 1.0, 18.0), Err(Incomparable::Empty(0)));
        assert_eq!(refusal(unit, &[1.0], 1.0, 18.0), Err(Incomparable::Lengths(2, 1)));
        assert_eq!(refusal(unit, &[f32::NAN, 0.0], 1.0, 18.0), Err(Incomparable::NotUnit(1)));
        assert_eq!(refusal(&[3.0, 4.0], unit, 1.0, 18.0), Err(Incomparable::NotUnit(0)));
        assert_eq!(refusal(unit, unit, 2.1, 18.0), Err(Incomparable::Threshold(2.1)));
        assert!(matches!(refusal(unit, unit, f32::NAN, 18.0), Err(Incomparable::Threshold(_))));
        assert_eq!(refusal(unit, unit, 1.0, 0.0), Err(Incomparable::Slope(0.0)));
        assert!(Incomparable::Lengths(2, 1).to_string().contains("2 and 1"));
    }
}
