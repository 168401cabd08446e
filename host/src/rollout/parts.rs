//! What a node runs: one generation of each slot, and the policy that fits them.
//!
//! Owns the record of each part: which bytes, whose, since when, by which deployment. Must never know how a part came to be
//! trusted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::pipeline::{Pipeline, Policy};
use crate::runtime::analyzer::Analyzer;
use crate::runtime::gateway::Gateway;
use crate::runtime::scorer::Scorer;
use crate::runtime::{Generation, Slot, Source};

/// What is known of one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Digest of the component, and its number in its slot.
    #[serde(flatten)]
    pub(crate) generation: Generation,
    /// The component's length, bytes.
    pub(crate) size: u64,
    /// Whose signature it bears; `None` when nobody's was asked for.
    pub(crate) signer: Option<String>,
    /// When it came to this node, seconds since the epoch.
    pub(crate) since: u64,
    /// Where it came from: a file's path, or who sent it.
    pub(crate) origin: String,
    /// The bundle that it came with, by name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<String>,
    /// Which deployment brought it: 0 is the configuration.
    pub(crate) deployment: u64,
    /// SHA-256 of the deployed file that it was unpacked from, which lies in the store; `None` for what is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) package: Option<String>,
}

impl Record {
    /// The record of what comes now from `origin`.
    pub(super) fn new(source: &Source, generation: u32, deployment: u64, origin: String) -> Self {
        Self {
            generation: Generation { digest: source.digest.clone(), generation },
            size: source.bytes.len() as u64,
            signer: None,
            since: now(),
            origin,
            bundle: None,
            deployment,
            package: None,
        }
    }
}

/// A part, and what is known of it.
pub(super) struct Part<T> {
    pub(super) work: Arc<T>,
    pub(super) record: Arc<Record>,
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { work: Arc::clone(&self.work), record: Arc::clone(&self.record) }
    }
}

/// The policy, and which deployment brought it.
#[derive(Clone)]
pub(super) struct PolicyPart {
    pub(super) policy: Arc<Policy>,
    pub(super) deployment: u64,
    /// SHA-256 of the bundle that it stands in; `None` for what is configured.
    pub(super) package: Option<String>,
}

/// What a worker runs. The parts fit each other.
#[derive(Clone)]
pub(super) struct Crew {
    pub(super) analyzer: Part<Analyzer>,
    pub(super) scorer: Part<Scorer>,
    pub(super) policy: PolicyPart,
}

impl PolicyPart {
    /// What the configuration says.
    pub(super) fn configured(policy: Policy) -> Self {
        Self { policy: Arc::new(policy), deployment: 0, package: None }
    }
}

impl Crew {
    /// The parts, put together for work.
    pub(super) fn pipeline(&self, cores: &Arc<Semaphore>) -> Arc<Pipeline> {
        Arc::new(Pipeline {
            analyzer: Arc::clone(&self.analyzer.work),
            scorer: Arc::clone(&self.scorer.work),
            policy: Arc::clone(&self.policy.policy),
            cores: Arc::clone(cores),
        })
    }
}

/// All that a node runs: an edge has no crew, a worker no gateway.
#[derive(Clone, Default)]
pub(super) struct Parts {
    pub(super) gateway: Option<Part<Gateway>>,
    pub(super) crew: Option<Crew>,
}

impl Parts {
    /// The first parts of a node.
    pub(super) fn of(first: Changes) -> Self {
        let crew = match (first.analyzer, first.scorer, first.policy) {
            (Some(analyzer), Some(scorer), Some(policy)) => Some(Crew { analyzer, scorer, policy }),
            _ => None,
        };
        Self { gateway: first.gateway, crew }
    }

    /// The record of each slot that this node has.
    pub(super) fn records(&self) -> BTreeMap<Slot, Arc<Record>> {
        let gateway = self.gateway.iter().map(|part| (Slot::Gateway, Arc::clone(&part.record)));
        let crew = self.crew.iter().flat_map(|crew| {
            let Crew { analyzer, scorer, .. } = crew;
            [(Slot::Analyzer, Arc::clone(&analyzer.record)), (Slot::Scorer, Arc::clone(&scorer.record))]
        });
        gateway.chain(crew).collect()
    }

    /// These parts with `changes` made, and what the changes replace.
    pub(super) fn with(&self, changes: &Changes) -> (Self, Changes) {
        let mut parts = self.clone();
        let mut replaced = Changes::default();
        if let (Some(now), Some(new)) = (&mut parts.gateway, &changes.gateway) {
            replaced.gateway = Some(std::mem::replace(now, new.clone()));
        }
        if let Some(crew) = &mut parts.crew {
            if let Some(new) = &changes.analyzer {
                replaced.analyzer = Some(std::mem::replace(&mut crew.analyzer, new.clone()));
            }
            if let Some(new) = &changes.scorer {
                replaced.scorer = Some(std::mem::replace(&mut crew.scorer, new.clone()));
            }
            if let Some(new) = &changes.policy {
                replaced.policy = Some(std::mem::replace(&mut crew.policy, new.clone()));
            }
        }
        (parts, replaced)
    }

    /// Whether anything here was brought by `deployment`.
    pub(super) fn has(&self, deployment: u64) -> bool {
        self.records().values().any(|record| record.deployment == deployment)
            || self.crew.as_ref().is_some_and(|crew| crew.policy.deployment == deployment)
    }
}

/// Some parts, in the place of others: what a deployment brings, or what it replaced.
#[derive(Clone, Default)]
pub(super) struct Changes {
    pub(super) gateway: Option<Part<Gateway>>,
    pub(super) analyzer: Option<Part<Analyzer>>,
    pub(super) scorer: Option<Part<Scorer>>,
    pub(super) policy: Option<PolicyPart>,
}

impl Changes {
    /// Only those that would replace what `deployment` brought to `parts`: the rest was replaced by others since.
    pub(super) fn against(&self, parts: &Parts, deployment: u64) -> Self {
        let records = parts.records();
        let brought = |slot| records.get(&slot).is_some_and(|record| record.deployment == deployment);
        let policy = parts.crew.as_ref().is_some_and(|crew| crew.policy.deployment == deployment);
        Self {
            gateway: self.gateway.clone().filter(|_| brought(Slot::Gateway)),
            analyzer: self.analyzer.clone().filter(|_| brought(Slot::Analyzer)),
            scorer: self.scorer.clone().filter(|_| brought(Slot::Scorer)),
            policy: self.policy.clone().filter(|_| policy),
        }
    }

    /// The digests of the packages that these parts were unpacked from.
    pub(super) fn packages(&self) -> impl Iterator<Item = String> {
        let policy = self.policy.as_ref().and_then(|policy| policy.package.clone());
        self.records().into_values().filter_map(|record| record.package.clone()).chain(policy)
    }

    /// Whether anything of a worker's changes.
    pub(super) fn concerns_crew(&self) -> bool {
        self.analyzer.is_some() || self.scorer.is_some() || self.policy.is_some()
    }

    /// The record of each slot that changes.
    pub(super) fn records(&self) -> BTreeMap<Slot, Arc<Record>> {
        let gateway = self.gateway.iter().map(|part| (Slot::Gateway, Arc::clone(&part.record)));
        let analyzer = self.analyzer.iter().map(|part| (Slot::Analyzer, Arc::clone(&part.record)));
        let scorer = self.scorer.iter().map(|part| (Slot::Scorer, Arc::clone(&part.record)));
        gateway.chain(analyzer).chain(scorer).collect()
    }
}

/// Now, in seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
