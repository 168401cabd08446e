//! The pairs of a batch: a CSV file with a header.
//!
//! Owns the columns and the words for labels. Must never open a photograph.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// The largest file of pairs, bytes: some million pairs.
const LARGEST: u64 = 256 << 20;

/// The longest record, bytes, and the most columns of one.
const LONGEST: usize = 1 << 16;
const MOST_COLUMNS: usize = 256;

/// The columns that are read. Others may stand beside them.
const COLUMNS: [&str; 3] = ["first", "second", "same"];

const SAME: [&str; 4] = ["same", "1", "true", "match"];
const DIFFERENT: [&str; 4] = ["different", "0", "false", "mismatch"];

/// Two photographs to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Where their names stand in [`Pairs::names`].
    pub(crate) photographs: [usize; 2],
    /// Whether they show one person, if that is known.
    pub(crate) same: Option<bool>,
}

/// A file of pairs.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// Each distinct photograph's file, in the order of their first appearance.
    pub(crate) names: Vec<String>,
    /// The pairs in the order of the file.
    pub(crate) pairs: Vec<Pair>,
}

impl Pairs {
    /// Reads a file of pairs, all of it: a line that is wrong is told before any work is done.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
        read.with_context(|| format!("cannot read {}", path.display()))?;
        if bytes.len() as u64 > LARGEST {
            bail!("{} has more than {LARGEST} bytes; split it", path.display());
        }
        Self::parse(&bytes).with_context(|| format!("{} is no table of pairs", path.display()))
    }

    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let mut records = Records::of(bytes)?;
        let (_, header) = records.next()?.unwrap_or_default();
        let column = |name: &str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
        let [Some(first), Some(second), same] = COLUMNS.map(column) else {
            bail!(
                "its first line must name the columns first and second, and same if labels are known, as `first,second,same`; \
                 it is `{}`",
                header.join(",")
            );
        };
        let (mut names, mut pairs, mut known) = (Vec::new(), Vec::new(), HashMap::new());
        let mut intern = |name: &str| {
            *known.entry(name.to_owned()).or_insert_with(|| {
                names.push(name.to_owned());
                names.len() - 1
            })
        };
        while let Some((line, record)) = records.next()? {
            if record.len() != header.len() {
                bail!("line {line} has {} columns, and the first line {}", record.len(), header.len());
            }
            let [first, second] = [first, second].map(|column| record[column].as_str());
            if first.is_empty() || second.is_empty() {
                bail!("line {line} names fewer than two photographs");
            }
            let same = match same.map(|column| record[column].as_str()).filter(|word| !word.is_empty()) {
                None => None,
                Some(word) => Some(label(word).with_context(|| {
                    format!(
                        "line {line}: `{word}` in the column same is no label; write one of {} or {}, or nothing",
                        SAME.join(", "),
                        DIFFERENT.join(", ")
                    )
                })?),
            };
            pairs.push(Pair { photographs: [intern(first), intern(second)], same });
        }
        if pairs.is_empty() {
            bail!("it names no pair below its header");
        }
        Ok(Self { names, pairs })
    }

    /// How many pairs show one person, and how many two people, by their labels.
    pub(crate) fn labelled(&self) -> [usize; 2] {
        [true, false].map(|same| self.pairs.iter().filter(|pair| pair.same == Some(same)).count())
    }
}

fn label(word: &str) -> Option<bool> {
    let among = |words: [&str; 4]| words.iter().any(|known| known.eq_ignore_ascii_case(word));
    if among(SAME) { Some(true) } else { among(DIFFERENT).then_some(false) }
}

/// The records of a table, one after the other.
struct Records<'a> {
    reader: csv_core::Reader,
    rest: &'a [u8],
    /// The line that `rest` begins in, from 1.
    line: usize,
    /// The cells of one record, without quotes.
    cells: Vec<u8>,
}

impl<'a> Records<'a> {
    fn of(bytes: &'a [u8]) -> anyhow::Result<Self> {
        if let Err(error) = std::str::from_utf8(bytes) {
            let line = 1 + lines(&bytes[..error.valid_up_to()]);
            bail!("line {line} is not UTF-8; save the table as such");
        }
        Ok(Self { reader: csv_core::Reader::new(), rest: bytes, line: 1, cells: vec![0; LONGEST] })
    }

    /// The next record and the line that it begins in. Empty lines are passed over, and blanks around cells.
    fn next(&mut self) -> anyhow::Result<Option<(usize, Vec<String>)>> {
        while let Some((b'\n' | b'\r', rest)) = self.rest.split_first().map(|(first, rest)| (*first, rest)) {
            self.line += lines(&self.rest[..1]);
            self.rest = rest;
        }
        let line = self.line;
        let mut ends = [0; MOST_COLUMNS];
        let (mut written, mut ended) = (0, 0);
        loop {
            let (result, read, more, cells) =
                self.reader.read_record(self.rest, &mut self.cells[written..], &mut ends[ended..]);
            self.line += lines(&self.rest[..read]);
            self.rest = &self.rest[read..];
            written += more;
            ended += cells;
            match result {
                csv_core::ReadRecordResult::Record => break,
                csv_core::ReadRecordResult::End => return Ok(None),
                // Without further input the reader ends the record, or says that there is none.
                csv_core::ReadRecordResult::InputEmpty => {}
                csv_core::ReadRecordResult::OutputFull => {
                    bail!("the record that begins in line {line} has more than {LONGEST} bytes; is a quote left open?")
                }
                csv_core::ReadRecordResult::OutputEndsFull => bail!("line {line} has more than {MOST_COLUMNS} columns"),
            }
        }
        let begins = [0].iter().chain(&ends);
        let cells = begins.zip(&ends[..ended]).map(|(begin, end)| &self.cells[*begin..*end]);
        Ok(Some((line, cells.map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect())))
    }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &[u8]) -> String {
        format!("{:#}", Pairs::parse(text).unwrap_err())
    }

    #[test]
    fn columns_are_found_by_name_and_photographs_are_counted_once() {
        let text = "\u{feff}note,SECOND,same,first\nx, b.jpg ,1,a.jpg\n\ny,\"c, \"\"d\"\".png\",MISMATCH,a.jpg\r\nz,a.jpg,,b.jpg";
        let pairs = Pairs::parse(text.as_bytes()).unwrap();
        assert_eq!(pairs.names, ["a.jpg", "b.jpg", "c, \"d\".png"]);
        let expected = [([0, 1], Some(true)), ([0, 2], Some(false)), ([1, 0], None)];
        assert_eq!(pairs.pairs, expected.map(|(photographs, same)| Pair { photographs, same }));
        assert_eq!(pairs.labelled(), [1, 1]);
    }

    #[test]
    fn every_word_for_a_label_is_known_and_labels_may_be_missing() {
        for (words, same) in [(SAME, true), (DIFFERENT, false)] {
            for word in words.iter().flat_map(|word| [(*word).to_owned(), word.to_uppercase()]) {
                let pairs = Pairs::parse(format!("first,second,same\na,b,{word}\n").as_bytes()).unwrap();
                assert_eq!(pairs.pairs[0].same, Some(same), "{word}");
            }
        }
        assert_eq!(Pairs::parse(b"first,second\na,b").unwrap().labelled(), [0, 0]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, words) in [
            (&b""[..], &["first line", "first,second,same"][..]),
            (b"a.jpg,b.jpg,1\n", &["first line", "a.jpg,b.jpg,1"]),
            (b"first;second\na;b\n", &["first line", "`first;second`"]),
            (b"first,second\n", &["no pair"]),
            (b"first,second\na,b\n\nc,\n", &["line 4", "two photographs"]),
            (b"first,second,same\na,b,1\na,c,maybe\n", &["line 3", "`maybe`", "mismatch"]),
            (b"first,second,same\na,b\n", &["line 2", "2 columns", "3"]),
            (b"first,second\na,b\nc,\xff\n", &["line 3", "UTF-8"]),
            (b"first,second\r\na,b\r\n\r\nc\r\n", &["line 4", "1 columns"]),
            (b"first,second\n\"a\nb\",c\nd,\n", &["line 4", "two photographs"]),
            (&[b"first,second\na,\"", &[b'x'; LONGEST][..]].concat(), &["line 2", "quote"]),
            (&[b','; MOST_COLUMNS], &["line 1", "columns"]),
        ] {
            let told = refusal(text);
            assert!(words.iter().all(|word| told.contains(word)), "{told}");
        }
    }
}
