//! The results of a batch: a CSV file with one row for each pair, in the order of the pairs.
//!
//! Owns the columns. Must never decide what ends a batch.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::pairs::{Pair, Pairs};
use super::{Compared, Refusal};

const HEADER: [&str; 11] = [
    "first",
    "second",
    "same",
    "verified",
    "verification_score",
    "euclidean_distance",
    "cosine_similarity",
    "threshold",
    "error",
    "image",
    "message",
];

/// Where rows go.
pub(crate) struct Results {
    target: Box<dyn Write + Send>,
    /// For errors; `None` is standard output.
    place: Option<PathBuf>,
}

impl Results {
    /// Opens a file for the results, or standard output, and writes the header.
    pub(crate) fn open(out: Option<&Path>, pairs: &Path) -> anyhow::Result<Self> {
        let (target, place): (Box<dyn Write + Send>, _) = match out {
            None => (Box::new(io::stdout()), None),
            Some(path) => {
                if let (Ok(one), Ok(other)) = (fs::canonicalize(path), fs::canonicalize(pairs))
                    && one == other
                {
                    bail!("--out is {}, the file of the pairs; name another", path.display());
                }
                let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                (Box::new(file), Some(path.to_owned()))
            }
        };
        let mut results = Self { target, place };
        results.row(&HEADER)?;
        Ok(results)
    }

    /// Whether rows go to standard output.
    pub(crate) fn are_on_stdout(&self) -> bool {
        self.place.is_none()
    }

    /// Writes a pair's row. Whole rows reach the file as they come, so that whatever ends the batch leaves what was done.
    pub(crate) fn add(&mut self, pairs: &Pairs, pair: &Pair, end: &Result<Compared, Refusal>) -> anyhow::Result<()> {
        let [first, second] = pair.photographs.map(|index| pairs.names[index].as_str());
        let same = pair.same.map_or("", |same| if same { "same" } else { "different" });
        match end {
            Ok(compared) => {
                let [score, distance, similarity] =
                    [compared.score, compared.distance, compared.similarity].map(|number| format!("{number:.6}"));
                let (verified, threshold) = (compared.verified.to_string(), compared.threshold.to_string());
                self.row(&[first, second, same, &verified, &score, &distance, &similarity, &threshold, "", "", ""])
            }
            Err(refusal) => {
                let image = refusal.image.map_or_else(String::new, |image| image.to_string());
                self.row(&[first, second, same, "", "", "", "", "", refusal.code, &image, &refusal.message])
            }
        }
    }

    fn row(&mut self, cells: &[&str; HEADER.len()]) -> anyhow::Result<()> {
        let line = cells.map(quoted).join(",") + "\n";
        let written = self.target.write_all(line.as_bytes()).and_then(|()| self.target.flush());
        written.with_context(|| match &self.place {
            Some(path) => format!("cannot write the results to {}", path.display()),
            None => "cannot write the results to standard output".to_owned(),
        })
    }
}

/// A cell as RFC 4180 has it.
fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains([',', '"', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_as_pairs_again() {
        let folder = tempfile::tempdir().unwrap();
        let [table, out] = ["pairs.csv", "results.csv"].map(|name| folder.path().join(name));
        fs::write(&table, "first,second,same\n\"a, \"\"x\"\".jpg\",b.jpg,1\nb.jpg,c.jpg,0\nb.jpg,b.jpg,\n").unwrap();
        let pairs = Pairs::read(&table).unwrap();
        let mut results = Results::open(Some(&out), &table).unwrap();
        let compared = Compared { verified: true, score: 0.5, distance: 1.06, similarity: 0.25, threshold: 1.06 };
        let refusal = Refusal { code: "no_face", image: Some(2), message: "a cat, \"asleep\"".to_owned() };
        for (pair, end) in pairs.pairs.iter().zip([Ok(compared), Err(refusal.clone()), Err(refusal)]) {
            results.add(&pairs, pair, &end).unwrap();
        }
        let written = fs::read_to_string(&out).unwrap();
        assert!(written.contains("same,true,0.500000,1.060000,0.250000,1.06,,,\n"), "{written}");
        assert!(written.contains("b.jpg,c.jpg,different,,,,,,no_face,2,\"a cat, \"\"asleep\"\"\"\n"), "{written}");
        let again = Pairs::read(&out).unwrap();
        assert_eq!((again.names, again.pairs), (pairs.names, pairs.pairs));
        assert!(!results.are_on_stdout());
    }

    #[test]
    fn the_pairs_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("pairs.csv");
        fs::write(&table, "first,second\na,b\n").unwrap();
        let refused = Results::open(Some(&folder.path().join("./pairs.csv")), &table);
        assert!(refused.err().unwrap().to_string().contains("name another"));
        assert_eq!(fs::read_to_string(&table).unwrap(), "first,second\na,b\n");
    }
}
