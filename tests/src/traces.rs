//! Whether files hold parts of a photograph.
//!
//! Owns a search for any run of 64 bytes: such a run holds one whole block of 32 bytes that starts at a multiple of 32.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const BLOCK: usize = 32;
/// Blocks with fewer different bytes than this are padding that any file may hold.
const VARIETY: usize = 12;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    blocks: HashSet<[u8; BLOCK]>,
    // Which pairs of bytes begin a block: most of a file is passed over by this alone.
    starts: Vec<bool>,
}

impl Traces {
    /// Of these photographs.
    pub fn of<'p>(photographs: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut traces = Self { blocks: HashSet::new(), starts: vec![false; 1 << 16] };
        for block in photographs.into_iter().flat_map(|photograph| photograph.as_chunks::<BLOCK>().0) {
            if block.iter().collect::<HashSet<_>>().len() >= VARIETY {
                traces.starts[pair(block)] = true;
                traces.blocks.insert(*block);
            }
        }
        traces
    }

    /// Where the first one is in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        let found = |window: &[u8]| {
            self.starts[pair(window)] && <&[u8; BLOCK]>::try_from(window).is_ok_and(|block| self.blocks.contains(block))
        };
        bytes.windows(BLOCK).position(found)
    }

    /// The first one that is written in this text in one of the ways in which programs write bytes: base64, hexadecimal, a list
    /// of numbers, or with escapes.
    pub fn find_written(&self, text: &str) -> Option<String> {
        let runs = |of: fn(char) -> bool, least: usize| {
            text.split(move |c| !of(c)).filter(move |run| run.len() >= least).collect::<Vec<_>>()
        };
        let found = |bytes: &[u8], run: &str| self.find(bytes).map(|_| run.chars().take(100).collect());
        for run in runs(|c| c.is_ascii_hexdigit(), 4 * BLOCK) {
            for start in 0..2 {
                let digits = &run[start..start + (run.len() - start) / 2 * 2];
                if let Some(place) = hex::decode(digits).ok().and_then(|bytes| found(&bytes, run)) {
                    return Some(place);
                }
            }
        }
        for run in runs(|c| c.is_ascii_alphanumeric() || "+/-_".contains(c), 3 * BLOCK) {
            let standard = run.replace('-', "+").replace('_', "/");
            for start in 0..4 {
                let digits = &standard[start..start + (standard.len() - start) / 4 * 4];
                if let Some(place) = STANDARD.decode(digits).ok().and_then(|bytes| found(&bytes, run)) {
                    return Some(place);
                }
            }
        }
        for run in runs(|c| c.is_ascii_digit() || c == ',' || c == ' ', 4 * BLOCK) {
            let bytes: Vec<u8> = run.split(',').filter_map(|number| number.trim().parse().ok()).collect();
            if let Some(place) = found(&bytes, run) {
                return Some(place);
            }
        }
        // A backslash may have been escaped once more, in JSON.
        found(&unescaped(&text.replace("\\\\", "\\")), "escapes")
    }

    /// The files in a folder and below that hold any.
    pub fn in_folder(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("the folder can be read").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                found.extend(self.in_folder(&entry));
            } else if self.find(&fs::read(&entry).expect("the file can be read")).is_some() {
                found.push(entry);
            }
        }
        found
    }
}

/// What was written with Rust's escapes, as bytes.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        let (byte, skipped) = match (first, after) {
            (b'\\', [b'x', digits @ ..]) => {
                let digits = digits.get(..2).and_then(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok());
                digits.map_or((b'\\', 0), |byte| (byte, 3))
            }
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'0', ..]) => (0, 1),
            (b'\\', [other, ..]) => (*other, 1),
            (other, _) => (*other, 0),
        };
        bytes.push(byte);
        rest = &after[skipped..];
    }
    bytes
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photos::photo;

    #[test]
    fn any_run_of_64_bytes_is_found() {
        let photograph = photo("obama.jpg");
        let traces = Traces::of([photograph.as_slice()]);
        for start in (100_000..100_200).step_by(7) {
            let file = [vec![0xAA; 1001], photograph[start..start + 64].to_vec(), vec![0xBB; 500]].concat();
            assert!(traces.find(&file).is_some_and(|at| at >= 1001), "{start}");
        }
        // The heads of other photographs may share tables and metadata, but not their pixels.
        assert_eq!(traces.find(&photo("chelsea.png")[100_000..]), None);
    }
}
