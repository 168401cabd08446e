//! What was taken from the watched folder.
//!
//! Owns the memory of it, over restarts: a file is taken once, so that what was rolled back does not come again because its
//! file still lies there. Must never know the folder.

use sha2::{Digest, Sha256};
use tokio::task::block_in_place;

use super::Rollout;
use super::order::What;
use crate::runtime::Slot;

impl Rollout {
    /// Whether an order would bring what serves already.
    pub(crate) fn runs(&self, what: &What) -> bool {
        let Some(bytes) = what.sent() else { return false };
        let digest = hex::encode(Sha256::digest(bytes));
        match what {
            What::Component(slot, _) => {
                self.state().parts.records().get(slot).is_some_and(|record| record.generation.digest == digest)
            }
            _ => [Slot::Gateway, Slot::Analyzer, Slot::Scorer].into_iter().any(|slot| self.serves(slot, &digest)),
        }
    }

    /// Whether a generation is being tried, so that no other can be deployed.
    pub(crate) fn is_trying(&self) -> bool {
        self.state().trial.is_some()
    }

    /// Whether these bytes were what was taken last from the file of this name.
    pub(crate) fn has_taken(&self, name: &str, bytes: &[u8]) -> bool {
        let digest = hex::encode(Sha256::digest(bytes));
        self.state().taken.get(name) == Some(&digest)
    }

    /// Remembers that a file was taken, and forgets those of names that are not `present` any more.
    pub(crate) fn note_taken(&self, name: &str, bytes: &[u8], present: impl Fn(&str) -> bool) {
        let mut state = self.state();
        state.taken.retain(|name, _| present(name));
        state.taken.insert(name.to_owned(), hex::encode(Sha256::digest(bytes)));
        let saved = block_in_place(|| self.store.save(&state.active(&state.parts), &state.soon(&state.replaced)));
        if let Err(error) = saved {
            tracing::warn!(%error, name, "what was taken from the watched folder is taken once more after a restart");
        }
    }
}
