//! Whether files hold parts of a photograph.
//!
//! Owns a search for any run of 64 bytes: such a run holds one whole block of 32 bytes that starts at a multiple of 32.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

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
