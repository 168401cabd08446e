//! Between which numbers each tensor of a network lies: what quantisation rounds to 256 steps.
//!
//! Owns the table of ranges that is kept in the repository, and its text. The ranges are measured once, by `cargo xtask
//! calibrate`, and not at set-up: a processor's own rounding would make another model, with another digest. Must never
//! know how they are measured.

use std::collections::BTreeMap;
use std::fmt;

use super::ConvertError;

const SHIPPED: &str = include_str!("facenet/ranges.txt");

/// The least and the greatest value of each tensor, by its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranges(BTreeMap<String, [f32; 2]>);

impl Ranges {
    /// The table for FaceNet's InceptionResnetV1 that this crate was built with.
    ///
    /// # Errors
    /// When the table is broken.
    pub fn shipped() -> Result<Self, ConvertError> {
        Self::parse(SHIPPED)
    }

    /// Reads a table as [`Display`](fmt::Display) writes it: a line for each tensor, with its name, its least and its
    /// greatest value. Lines that begin with `#` say something to people.
    ///
    /// # Errors
    /// When a line is something else, a tensor stands there twice, or its range is none.
    pub fn parse(text: &str) -> Result<Self, ConvertError> {
        let mut ranges = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let malformed = |problem: &str| ConvertError::Malformed {
                format: "a table of ranges",
                problem: format!("`{line}`: {problem}"),
            };
            let [name, least, greatest] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err(malformed("expected a name and two numbers"));
            };
            let number = |text: &str| text.parse::<f32>().map_err(|_| malformed("expected two numbers"));
            let range = [number(least)?, number(greatest)?];
            if !(range[0] <= range[1] && range.iter().all(|end| end.is_finite())) {
                return Err(malformed("the second number must be the greater one, and both finite"));
            }
            if ranges.insert(name.to_owned(), range).is_some() {
                return Err(malformed("the tensor stands there twice"));
            }
        }
        Ok(Self(ranges))
    }

    /// Widens the range of a tensor so that it holds all these values.
    pub fn include(&mut self, name: &str, values: &[f32]) {
        let least = values.iter().copied().fold(f32::INFINITY, f32::min);
        let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let range = self.0.entry(name.to_owned()).or_insert([f32::INFINITY, f32::NEG_INFINITY]);
        *range = [range[0].min(least), range[1].max(greatest)];
    }

    /// The range of the tensor with that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(&self, name: &str) -> Result<[f32; 2], ConvertError> {
        let range = self.0.get(name).copied();
        range.ok_or_else(|| ConvertError::unsupported(name, "its range was not measured: run `cargo xtask calibrate`"))
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, [least, greatest])| writeln!(f, "{name} {least} {greatest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_its_text() {
        let mut ranges = Ranges::default();
        ranges.include("b/relu", &[0.25, 0.0, 1.0 / 3.0]);
        ranges.include("a", &[-1.5e-7]);
        ranges.include("b/relu", &[-2.0]);
        assert_eq!(ranges.of("b/relu").unwrap(), [-2.0, 1.0 / 3.0]);
        assert_eq!(Ranges::parse(&format!("# two\n{ranges}")).unwrap(), ranges);
    }

    #[test]
    fn broken_tables_are_refused_with_the_line() {
        for text in ["a 1", "a 1 x", "a 2 1", "a NaN 1", "a 0 inf", "a 0 1\na 0 1", "a  0 1"] {
            let message = Ranges::parse(text).unwrap_err().to_string();
            assert!(message.contains("`a "), "{text}: {message}");
        }
        assert!(Ranges::default().of("a").unwrap_err().to_string().contains("cargo xtask calibrate"));
    }
}
