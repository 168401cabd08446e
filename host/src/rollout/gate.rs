//! The proof before a generation takes work: it is run under its own limits on what has a known answer.
//!
//! Owns the comparison and its report. Must never let a generation pass that did not answer.
//!
//! # Layout
//!
//! - `gateway`: requests with known answers, before a queue of its own.
//! - `scorer`: recorded analyses with known decisions.
//! - `analyzer`: photographs, as the generation that serves sees them.

mod analyzer;
mod gateway;
mod scorer;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

pub(super) use self::analyzer::Photographs;
use crate::pipeline::Pipeline;
use crate::runtime::Slot;
use crate::runtime::gateway::Gateway;

/// Stands for every case where changes are expected.
const ALL: &str = "all";

/// What a gate saw.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Checks {
    /// How many answers were compared.
    pub(crate) cases: usize,
    /// Those that came out differently.
    pub(crate) differences: Vec<Difference>,
    /// How long it took.
    pub(crate) milliseconds: f64,
}

/// One answer that was not the known one.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Difference {
    /// Who answered.
    pub(crate) slot: Slot,
    /// Which question.
    pub(crate) case: String,
    /// What was known.
    pub(crate) expected: String,
    /// What was answered.
    pub(crate) found: String,
    /// Whether the deployer had said so before.
    pub(crate) expected_change: bool,
    /// Whether there was an answer at all; nobody can expect that there is none.
    #[serde(skip)]
    answered: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, case, expected, found, .. } = self;
        write!(f, "the {slot} was to answer {expected} to {case:?}, and answered {found}")
    }
}

/// What is new about a node's parts.
pub(super) struct New<'a> {
    pub(super) gateway: Option<&'a Gateway>,
    /// With the new parts in it.
    pub(super) pipeline: Option<&'a Arc<Pipeline>>,
    /// The analyzer or its models.
    pub(super) analyzer: bool,
    pub(super) scorer: bool,
    /// Embeddings from before and after cannot be compared.
    pub(super) space_changes: bool,
}

impl Checks {
    /// How many differences nobody had announced.
    pub(crate) fn unexpected(&self) -> usize {
        self.differences.iter().filter(|difference| !difference.expected_change).count()
    }

    fn compare(&mut self, slot: Slot, case: &str, expected: impl fmt::Display, found: impl fmt::Display, same: bool) {
        self.cases += 1;
        if !same {
            self.differ(slot, case, expected, found, true);
        }
    }

    /// Notes that there was no answer, and why.
    fn silent(&mut self, slot: Slot, case: &str, expected: impl fmt::Display, why: impl fmt::Display) {
        self.cases += 1;
        self.differ(slot, case, expected, why, false);
    }

    fn differ(
        &mut self,
        slot: Slot,
        case: &str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
        answered: bool,
    ) {
        let (case, expected, found) = (case.to_owned(), expected.to_string(), found.to_string());
        self.differences.push(Difference { slot, case, expected, found, expected_change: false, answered });
    }
}

/// Runs what is new, against `serving` where that knows the answers. The first generation that does not answer at all ends it.
pub(super) async fn examine(
    new: &New<'_>,
    serving: Option<&Arc<Pipeline>>,
    photographs: &Photographs,
    expected_changes: &[String],
) -> Checks {
    let start = Instant::now();
    let mut checks = Checks::default();
    if let Some(gateway) = new.gateway {
        gateway::examine(gateway, &mut checks).await;
    }
    if let Some(pipeline) = new.pipeline {
        if new.scorer {
            scorer::examine(pipeline, &mut checks).await;
        }
        if let (true, Some(serving)) = (new.analyzer, serving) {
            photographs.examine(serving, pipeline, new.space_changes, &mut checks).await;
        }
    }
    for difference in &mut checks.differences {
        let named = expected_changes.iter().any(|expected| *expected == difference.case || expected == ALL);
        difference.expected_change = named && difference.answered;
    }
    checks.milliseconds = start.elapsed().as_secs_f64() * 1e3;
    checks
}
