//! API keys: who asks, what it may, how often, and the file that says so.
//!
//! Owns keys from their making to their end. Must never know HTTP, a task, or what is done with a permission; and never shows
//! or keeps a key itself: only hashes of keys are held, in memory as in the file.
//!
//! # Layout
//!
//! - `key`: a key's text, its id and its hash.
//! - `file`: the keys of a host, as they are written down and changed.
//! - `ring`: the same while a host runs: who is let in.
//! - `pace`: how often a key may ask.

mod file;
mod key;
mod pace;
mod ring;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use self::file::{Granted, Keys, New, Record, SCOPES, now};
pub(crate) use self::ring::{Keyring, Refusal};

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// Handing tasks in, and awaiting the end of one in the request that hands it in.
    Verify,
    /// Looking up and revoking the tasks that the same key handed in.
    Status,
    /// Reading the metrics.
    Metrics,
    /// Looking up and revoking everybody's tasks, and all that operators and those who watch may ask.
    Admin,
}

impl Scope {
    /// The scope's name, as the file and the command line write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Status => "status",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
        }
    }
}

/// Who asks, as far as the host could tell.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// No keys are asked for: everybody may do everything.
    Anyone,
    /// Keys are asked for, and none was shown.
    Stranger,
    /// The holder of this key.
    Holder(Arc<Record>),
}

impl Caller {
    /// Whether it may hand tasks in.
    pub(crate) fn may_submit(&self) -> bool {
        match self {
            Self::Anyone => true,
            Self::Stranger => false,
            Self::Holder(record) => record.may(Scope::Verify),
        }
    }

    /// Whether it may look up and revoke a task that is its own.
    pub(crate) fn may_look(&self) -> bool {
        match self {
            Self::Anyone => true,
            Self::Stranger => false,
            Self::Holder(record) => record.may(Scope::Status) || record.may(Scope::Admin),
        }
    }

    /// Whether every task counts as its own.
    pub(crate) fn owns_all(&self) -> bool {
        match self {
            Self::Anyone => true,
            Self::Stranger => false,
            Self::Holder(record) => record.may(Scope::Admin),
        }
    }

    /// The name under which its tasks are its own; it outlives a rotation of the key.
    pub(crate) fn owner(&self) -> Option<&str> {
        match self {
            Self::Anyone | Self::Stranger => None,
            Self::Holder(record) => Some(&record.id),
        }
    }
}
