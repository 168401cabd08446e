//! The command line of `visavis verify` and `visavis calibrate`.
//!
//! Owns their flags and help texts. Must never know what a table of pairs looks like inside.

use std::path::PathBuf;

/// Arguments of `visavis verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The first photograph: JPEG, PNG, WebP, GIF or BMP.
    #[arg(value_name = "A", required_unless_present = "pairs")]
    pub(crate) first: Option<PathBuf>,
    /// The second photograph.
    #[arg(value_name = "B", required_unless_present = "pairs")]
    pub(crate) second: Option<PathBuf>,
    /// Print the whole result as one JSON object; with --pairs the summary, for which --out is needed.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also draw both photographs with what was found and decided.
    #[arg(long, value_name = "OUT.png")]
    pub(crate) annotate: Option<PathBuf>,
    /// Compare each pair of this table: CSV in UTF-8, whose first line names the columns `first`, `second` and, where the truth
    /// is known, `same` (same or different, 1 or 0, true or false, match or mismatch, or nothing).
    #[arg(long, value_name = "PAIRS.csv", conflicts_with_all = ["first", "second", "annotate"])]
    pub(crate) pairs: Option<PathBuf>,
    // What a conflict excludes is not required either, so a requirement alone would let --dir stand beside two photographs.
    /// With --pairs: the folder of the photographs.
    #[arg(long, value_name = "DIR", requires = "pairs", conflicts_with_all = ["first", "second"], default_value = ".")]
    pub(crate) dir: PathBuf,
    /// With --pairs: write a row for each pair to this CSV file instead of stdout; the summary then goes to stdout instead of
    /// stderr.
    #[arg(long, value_name = "RESULTS.csv", requires = "pairs", conflicts_with_all = ["first", "second"])]
    pub(crate) out: Option<PathBuf>,
    /// Take two faces for one person up to this distance, 0 to 2; more is more lenient.
    #[arg(long, value_name = "DISTANCE", allow_negative_numbers = true)]
    pub(crate) threshold: Option<String>,
    /// What to do with a face that does not look into the camera: refuse to decide, or decide and report it.
    #[arg(long, value_name = "POLICY", value_parser = ["reject", "report"])]
    pub(crate) non_frontal: Option<String>,
}

/// Arguments of `visavis calibrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Calibrate {
    /// A table of pairs as `visavis verify --pairs` reads it; pairs of one person and of two people must be among them.
    #[arg(long, value_name = "PAIRS.csv")]
    pub(crate) pairs: PathBuf,
    /// The folder of the photographs.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Recommend the most lenient threshold with at most this false match rate, above 0 and below 1; without it, that of the
    /// equal error rate.
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    pub(crate) fmr: Option<f64>,
    /// Also draw both distributions, the ROC and the DET.
    #[arg(long, value_name = "OUT.svg", value_parser = svg)]
    pub(crate) plot: Option<PathBuf>,
    /// Also write a row for each pair to this CSV file.
    #[arg(long, value_name = "RESULTS.csv")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| 0.0 < *rate && *rate < 1.0);
    rate.ok_or_else(|| "it must be a number above 0 and below 1, as 0.001".to_owned())
}

fn svg(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    if is_svg { Ok(path) } else { Err("it is drawn as SVG; give the file a name that ends in .svg".to_owned()) }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  visavis verify mine.jpg yours.jpg
  visavis verify mine.jpg yours.jpg --json
  visavis verify mine.jpg yours.jpg --non-frontal report --annotate seen.png
  visavis verify --dir photos --pairs pairs.csv --out results.csv";

pub(super) const CALIBRATE_EXAMPLES: &str = "\
Examples:
  visavis calibrate --dir photos --pairs pairs.csv --plot rates.svg
  visavis calibrate --dir photos --pairs pairs.csv --fmr 0.001";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::arguments::{Arguments, Command};

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn a_verification_has_two_photographs_or_a_table() {
        let arguments =
            parse("visavis --config c verify a b --json --annotate o.png --threshold 1.2 --non-frontal report");
        let arguments = arguments.unwrap();
        assert_eq!(arguments.overrides().len(), 2);
        let Command::Verify(verify) = arguments.command else { panic!("another command") };
        assert_eq!((verify.first, verify.second, verify.json), (Some("a".into()), Some("b".into()), true));
        for line in [
            "verify a",
            "verify a b c",
            "verify a b --non-frontal maybe",
            "verify",
            "verify a b --out x.csv",
            "verify a b --dir d",
            "verify a --pairs p",
            "verify a b --pairs p",
            "verify --pairs p --annotate x.png",
        ] {
            assert!(parse(&format!("visavis {line}")).is_err(), "{line}");
        }
        let Command::Verify(verify) = parse("visavis verify --pairs p --out o --threshold 1").unwrap().command else {
            panic!("another command")
        };
        assert_eq!((verify.pairs, verify.dir, verify.out), (Some("p".into()), ".".into(), Some("o".into())));
    }

    #[test]
    fn a_calibration_has_a_table_and_sound_wishes() {
        let parsed = parse("visavis calibrate --pairs p --fmr 1e-3 --plot a.SVG").unwrap();
        let Command::Calibrate(calibrate) = parsed.command else { panic!("another command") };
        assert_eq!((calibrate.fmr, calibrate.plot), (Some(0.001), Some("a.SVG".into())));
        for line in [
            "",
            "--pairs p --fmr 0",
            "--pairs p --fmr -1",
            "--pairs p --fmr 1",
            "--pairs p --fmr nan",
            "--pairs p --plot a.png",
        ] {
            assert!(parse(&format!("visavis calibrate {line}")).is_err(), "{line}");
        }
    }
}
