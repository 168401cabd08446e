//! What a deployer asks for, and what comes of it.
//!
//! Owns the words of a refusal. Must never know how an order came in or how it is carried out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bundle::BundleError;
use super::gate::Checks;
use super::parts::Record;
use super::store::StoreError;
use super::trust::TrustError;
use crate::queue::Unavailable;
use crate::runtime::{LoadError, Slot};

/// A deployment that somebody asks for.
pub(crate) struct Order {
    /// What to deploy.
    pub(crate) what: What,
    /// A detached signature of these bytes, in minisign's format.
    pub(crate) signature: Option<String>,
    /// The share of the work that it gets until its record speaks for it, 1 to 100; `None` lets it serve at once.
    pub(crate) canary: Option<u8>,
    /// Recorded cases that may come out differently; `all` stands for every one.
    pub(crate) expected_changes: Vec<String>,
    /// Who asks, for the records.
    pub(crate) by: String,
}

/// What is deployed.
pub(crate) enum What {
    /// The component for one slot.
    Component(Slot, Vec<u8>),
    /// Components, models and policy in one file.
    Bundle(Vec<u8>),
    /// The component that is configured for a slot, which is trusted as the configuration is.
    Configured(Slot),
}

impl What {
    /// The bytes as they were sent, which a signature covers; `None` for what nobody sent.
    pub(super) fn sent(&self) -> Option<&[u8]> {
        match self {
            Self::Component(_, bytes) | Self::Bundle(bytes) => Some(bytes),
            Self::Configured(_) => None,
        }
    }
}

/// A deployment that was carried out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `serving`, or `canary` while it is tried.
    pub(crate) state: &'static str,
    /// The new generation of each slot.
    pub(crate) generations: BTreeMap<Slot, Record>,
    /// What the gate saw.
    pub(crate) gate: Checks,
    /// From the order to serving.
    pub(crate) milliseconds: f64,
}

/// Why a deployment was not carried out. What ran before runs on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// This node has no such slot.
    #[error("this node runs no {slot}: its server.role has none; deploy to a node that does, or to all with --fleet")]
    NotHere {
        /// The slot.
        slot: Slot,
    },
    /// The bundle has nothing for this node.
    #[error(
        "the bundle holds nothing that a node of this server.role runs; deploy it to one that does, or to all with --fleet"
    )]
    NothingHere,
    /// Nobody trusted has signed it.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The policy of a bundle does not fit this node.
    #[error("{0}")]
    Policy(String),
    /// There are no other nodes.
    #[error(
        "this host has a queue of its own, so there are no other nodes; leave --fleet out, or set queue.url to a Redis"
    )]
    Alone,
    /// All nodes were told nothing.
    #[error(
        "all nodes were told nothing for the {slot} that could be taken back; leave --fleet out for this node's own deployments"
    )]
    NothingTold {
        /// The slot.
        slot: Slot,
    },
    /// The others cannot be reached.
    #[error("the other nodes were not told: {0}; try again")]
    Unavailable(#[from] Unavailable),
    /// A share that is none.
    #[error("the canary's share is {0}; it is a percentage from 1 to 100")]
    Share(u8),
    /// Another generation is being tried.
    #[error("another generation is being tried; wait until it is promoted or taken back, or roll it back")]
    UnderTrial,
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not do what it should.
    #[error("{}", gate_words(.0))]
    Gate(Checks),
    /// What is tried or served is the first that this node has had.
    #[error(
        "there is no earlier {slot} to go back to; `visavis components reset {slot}` returns to the configured file"
    )]
    NothingBefore {
        /// The slot.
        slot: Slot,
    },
    /// The store cannot be written.
    #[error("the deployment could not be kept: {0}")]
    Store(#[from] StoreError),
    /// A thread broke off.
    #[error("the deployment broke off: {0}")]
    Broken(String),
}

impl Refusal {
    /// One word for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotHere { .. } => "no_such_slot",
            Self::NothingHere => "nothing_here",
            Self::Alone => "alone",
            Self::NothingTold { .. } => "nothing_before",
            Self::Unavailable(_) => "queue_unavailable",
            Self::Trust(TrustError::Missing { .. }) => "signature_missing",
            Self::Trust(_) => "signature_refused",
            Self::Bundle(_) => "bad_bundle",
            Self::Policy(_) => "bad_policy",
            Self::Share(_) => "invalid_canary",
            Self::UnderTrial => "trial_running",
            Self::Load(_) => "bad_component",
            Self::Gate(_) => "gate_failed",
            Self::NothingBefore { .. } => "nothing_before",
            Self::Store(_) => "store_failed",
            Self::Broken(_) => "deployment_failed",
        }
    }
}

fn gate_words(checks: &Checks) -> String {
    let first = checks.differences.iter().find(|difference| !difference.expected_change);
    let more = checks.unexpected().saturating_sub(1);
    match first {
        Some(first) if more > 0 => format!("the gate refused it: {first}; and {more} more"),
        Some(first) => format!("the gate refused it: {first}"),
        None => "the gate refused it".to_owned(),
    }
}
