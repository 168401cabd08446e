//! Who the nodes are, and how each stands.
//!
//! Owns what a node says of itself. Must never know how it travels.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Rollout;
use super::fleet::Told;
use super::parts::now;
use crate::queue::Unavailable;
use crate::runtime::{Generation, Slot};

/// What does not change while a node runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// `all`, `edge` or `worker`.
    pub(crate) role: String,
    /// The machine's name.
    pub(crate) host: String,
    /// The process.
    pub(crate) pid: u32,
    /// The program's version.
    pub(crate) version: String,
    /// Where it listens to clients, if it does.
    pub(crate) listen: Option<String>,
    /// When it started, seconds since the epoch.
    pub(crate) started: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Report {
    #[serde(flatten)]
    identity: Identity,
    components: BTreeMap<Slot, Generation>,
    /// What it was told as one of all, and whether it runs that.
    told: BTreeMap<Slot, Told>,
}

/// A node, for who asks.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    node: String,
    /// False when it has been silent for too long: it died, or cannot reach the others.
    alive: bool,
    /// How long ago it spoke, seconds.
    seconds_ago: u64,
    #[serde(flatten)]
    report: Report,
}

impl Identity {
    /// This process.
    pub(crate) fn here(role: &impl ToString, listen: Option<String>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { role: role.to_string(), host, pid: std::process::id(), version, listen, started: now() }
    }
}

impl Rollout {
    /// All nodes that share the queue, or this one when it is alone.
    pub(crate) async fn nodes(&self) -> Result<Vec<Node>, Unavailable> {
        let Some(fleet) = &self.config.fleet else {
            let (node, report) = ("this one".to_owned(), self.report());
            return Ok(vec![Node { node, alive: true, seconds_ago: 0, report }]);
        };
        let seen = fleet.nodes().await?.into_iter();
        let nodes = seen.filter_map(|seen| {
            let (alive, seconds_ago) = (seen.is_alive(), seen.ago.as_secs());
            // A node of another version may say what this one does not understand.
            let report = serde_json::from_str(&seen.report).ok()?;
            Some(Node { node: seen.node, alive, seconds_ago, report })
        });
        Ok(nodes.collect())
    }

    /// Says that this node lives, as one of all.
    pub(super) async fn announce(&self) -> Result<(), Unavailable> {
        let Some(fleet) = &self.config.fleet else { return Ok(()) };
        let report = serde_json::to_string(&self.report()).map_err(|error| Unavailable(error.to_string()))?;
        fleet.announce(&report).await
    }

    /// Says that this node stops; in vain when nobody can be told.
    pub(crate) async fn depart(&self) {
        if let Some(fleet) = &self.config.fleet {
            let _ = tokio::time::timeout(Duration::from_secs(1), fleet.depart()).await;
        }
    }

    fn report(&self) -> Report {
        let state = self.state();
        let records = state.parts.records().into_iter();
        let components = records.map(|(slot, record)| (slot, record.generation.clone())).collect();
        Report { identity: self.config.identity.clone(), components, told: state.told.clone() }
    }
}
