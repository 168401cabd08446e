//! The places where components can be plugged in.
//!
//! Owns their names, as configuration, bundles and metrics write them. Must never know what is plugged in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One place where a component can be plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Slot {
    /// Reads requests.
    Gateway,
    /// Analyses photographs.
    Analyzer,
    /// Decides.
    Scorer,
    /// Draws what was decided.
    Annotator,
}

impl Slot {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Analyzer => "analyzer",
            Self::Scorer => "scorer",
            Self::Annotator => "annotator",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
