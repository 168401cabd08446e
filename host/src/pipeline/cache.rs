//! Analyses of photographs that were analysed before: for galleries, whose photographs come again and again.
//!
//! Owns what is kept and for how long. A photograph itself is never kept, only a hash of it under a key that ends with this
//! process. Must never know what an analysis is used for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use lru::LruCache;

use super::Policy;
use crate::runtime::analyzer::Analyzer;
use crate::runtime::bindings::types::{Analysis, Face, Timing};

/// The step that takes the place of an analysis's own.
const STEP: &str = "cache";

/// What an entry needs beside its analysis: the hash, the list's links and the table's slot, twice for its growth.
const OVERHEAD: usize = 160;

/// Who made an analysis: another analyzer, other models or other settings may see something else.
pub(crate) type Maker<'a> = (&'a Arc<Analyzer>, &'a Arc<Policy>);

/// Analyses by the hash of their photographs, of one maker at a time. The least recently used go first.
pub(crate) struct Cache {
    key: [u8; 32],
    /// Bytes.
    limit: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    maker: (Weak<Analyzer>, Weak<Policy>),
    analyses: Shelf,
}

/// A photograph, as the cache knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint([u8; 32]);

impl Cache {
    /// An empty cache that holds so many bytes at most.
    pub(crate) fn new(limit: usize) -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system has random bytes");
        let kept = Kept { maker: (Weak::new(), Weak::new()), analyses: Shelf::new() };
        Self { key, limit, kept: Mutex::new(kept) }
    }

    /// What the cache knows a photograph by. Reads all of it.
    pub(crate) fn fingerprint(&self, photograph: &[u8]) -> Fingerprint {
        Fingerprint(blake3::keyed_hash(&self.key, photograph).into())
    }

    /// The analysis of a photograph, if this maker has made it. Its only step is that it was found; `start` is since when it
    /// was looked for. Whoever comes with another maker finds nothing, and all that the one before has made goes.
    pub(crate) fn find(&self, fingerprint: Fingerprint, maker: Maker, start: Instant) -> Option<Analysis> {
        let found = {
            let mut kept = self.kept();
            if !kept.is_of(maker) {
                // A weak reference holds on to the address, so that no later maker can be taken for an earlier one.
                let maker = (Arc::downgrade(maker.0), Arc::downgrade(maker.1));
                *kept = Kept { maker, analyses: Shelf::new() };
            }
            kept.analyses.find(fingerprint)?
        };
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        Some(Analysis { timings: vec![Timing { step: STEP.to_owned(), milliseconds }], ..Analysis::clone(&found) })
    }

    /// Keeps an analysis, unless another maker has come since it was looked for.
    pub(crate) fn keep(&self, fingerprint: Fingerprint, maker: Maker, analysis: &Analysis) {
        let analysis = Arc::new(Analysis { timings: Vec::new(), ..analysis.clone() });
        let mut kept = self.kept();
        if kept.is_of(maker) {
            kept.analyses.keep(fingerprint, analysis, self.limit);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that holds the lock can panic half-way through a change.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn is_of(&self, (analyzer, policy): Maker) -> bool {
        self.maker.0.as_ptr() == Arc::as_ptr(analyzer) && self.maker.1.as_ptr() == Arc::as_ptr(policy)
    }
}

/// Analyses in the order of their last use, and what they take.
struct Shelf {
    analyses: LruCache<Fingerprint, Arc<Analysis>>,
    bytes: usize,
}

impl Shelf {
    fn new() -> Self {
        Self { analyses: LruCache::unbounded(), bytes: 0 }
    }

    fn find(&mut self, fingerprint: Fingerprint) -> Option<Arc<Analysis>> {
        self.analyses.get(&fingerprint).map(Arc::clone)
    }

    fn keep(&mut self, fingerprint: Fingerprint, analysis: Arc<Analysis>, limit: usize) {
        let size = size(&analysis);
        if size > limit {
            return;
        }
        self.bytes += size;
        if let Some(replaced) = self.analyses.put(fingerprint, analysis) {
            self.bytes -= self::size(&replaced);
        }
        while self.bytes > limit
            && let Some((_, oldest)) = self.analyses.pop_lru()
        {
            self.bytes -= self::size(&oldest);
        }
    }
}

/// What an entry takes, bytes.
fn size(analysis: &Analysis) -> usize {
    let faces: usize =
        analysis.faces.iter().map(|face| size_of::<Face>() + size_of_val(face.embedding.as_slice())).sum();
    OVERHEAD + size_of::<Analysis>() + faces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(width: u32) -> Arc<Analysis> {
        Arc::new(Analysis { width, height: 1, faces: Vec::new(), timings: Vec::new() })
    }

    fn print(number: u8) -> Fingerprint {
        Fingerprint([number; 32])
    }

    #[test]
    fn the_least_recently_used_go_first_and_the_bound_is_kept() {
        let mut shelf = Shelf::new();
        let limit = 3 * size(&analysis(0));
        for number in 1..=3 {
            shelf.keep(print(number), analysis(number.into()), limit);
        }
        assert_eq!(shelf.find(print(1)).unwrap().width, 1);
        shelf.keep(print(4), analysis(4), limit);
        let there = [1, 2, 3, 4].map(|number| shelf.analyses.contains(&print(number)));
        assert_eq!((there, shelf.bytes), ([true, false, true, true], limit));
        // What is kept again is not counted twice.
        shelf.keep(print(1), analysis(7), limit);
        assert_eq!((shelf.analyses.len(), shelf.bytes, shelf.find(print(1)).unwrap().width), (3, limit, 7));
        // What is larger than all of it is not kept, and drives nothing out.
        let point = crate::runtime::bindings::types::Point { x: 0.0, y: 0.0 };
        let face = Face {
            box_: crate::runtime::bindings::types::BoundingBox { x1: 0.0, y1: 0.0, x2: 0.0, y2: 0.0 },
            confidence: 1.0,
            landmarks: crate::runtime::bindings::types::Landmarks {
                left_eye: point,
                right_eye: point,
                nose: point,
                left_mouth: point,
                right_mouth: point,
            },
            pose: crate::runtime::bindings::types::Pose { yaw: 0.0, pitch: 0.0, roll: 0.0 },
            embedding: vec![0.0; 512],
        };
        let large = Arc::new(Analysis { width: 1, height: 1, faces: vec![face], timings: Vec::new() });
        assert!(size(&large) >= 2048 + OVERHEAD);
        shelf.keep(print(9), large, limit);
        assert_eq!((shelf.analyses.len(), shelf.bytes), (3, limit));
    }

    #[test]
    fn a_hash_means_nothing_to_another_process() {
        let [one, other] = [Cache::new(1), Cache::new(1)];
        assert!(one.fingerprint(b"a photograph") == one.fingerprint(b"a photograph"));
        assert!(one.fingerprint(b"a photograph") != one.fingerprint(b"another"));
        assert!(one.fingerprint(b"a photograph") != other.fingerprint(b"a photograph"));
    }
}
