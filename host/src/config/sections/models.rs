//! Section `models`: which models are used.
//!
//! Owns its keys and their defaults. Must never know where a value came from, or what a model is.

use std::path::PathBuf;

use crate::config::sections::{Field, field};

/// Section `models`: which models are used.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Models {
    /// The folder of the models and of their `manifest.toml`.
    pub(crate) dir: PathBuf,
    /// The detector's name in the manifest.
    pub(crate) detector: String,
    /// The embedder's name in the manifest; `auto` leaves it to the processor.
    pub(crate) embedder: String,
}

impl Models {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self { dir: PathBuf::new(), detector: "mtcnn".to_owned(), embedder: visavis_models::AUTO.to_owned() }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            field("models.dir", &mut self.dir),
            field("models.detector", &mut self.detector),
            field("models.embedder", &mut self.embedder),
        ]
    }
}
