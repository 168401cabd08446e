//! Section `auth`: who may ask.
//!
//! Owns its keys and their defaults. Must never know where a value came from.

use std::path::PathBuf;

use crate::config::sections::{Field, field};
use crate::config::value::{Raw, Value, choose};

/// Section `auth`: who may ask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Auth {
    /// Whether API keys are asked for.
    pub(crate) mode: Access,
    /// The file with the keys' hashes, as `visavis keys` writes it.
    pub(crate) keys_file: PathBuf,
}

/// Whether API keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Unless this machine alone reaches the public listener.
    Auto,
    /// Always.
    Keys,
    /// Never: whoever reaches the listener may do everything.
    None,
}

const NAMES: [(&str, Access); 3] = [("auto", Access::Auto), ("keys", Access::Keys), ("none", Access::None)];

impl Value for &mut Access {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &NAMES)
    }

    fn show(&self) -> String {
        NAMES.iter().find(|(_, mode)| mode == &**self).map_or("", |(name, _)| name).to_owned()
    }
}

impl Auth {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self { mode: Access::Auto, keys_file: PathBuf::new() }
    }

    /// Its keys, with the place of each value.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![field("auth.mode", &mut self.mode), field("auth.keys_file", &mut self.keys_file)]
    }
}
