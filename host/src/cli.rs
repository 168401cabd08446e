//! The commands that need no server: the same components and models, or a look into the queue.
//!
//! Owns what is printed for people and scripts. Must never decide anything that a component decides.
//!
//! # Layout
//!
//! - `verify`, `calibrate`, `analyze`, `compile`, `doctor`, `components`, `keys`, `queue`, `nodes`, `health`, `purge`: one command each.
//! - `manual`: completions for shells, and manual pages.
//! - `batch`: many pairs at once, for the first two.
//! - `operator`: questions to a running host. `reach`: the way to it. `table`: columns that stand below each other. `paint`: colours.

pub(crate) mod analyze;
mod batch;
pub(crate) mod calibrate;
pub(crate) mod compile;
pub(crate) mod components;
pub(crate) mod doctor;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod manual;
pub(crate) mod nodes;
mod operator;
mod paint;
pub(crate) mod purge;
pub(crate) mod queue;
mod reach;
mod table;
pub(crate) mod verify;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::app;
use crate::config::Config;
use crate::pipeline::{Failed, Pipeline};
use crate::runtime::bindings::types::Pose;
use crate::runtime::{Cache, Clockwork};
use crate::task::TaskError;

/// How long one photograph may take when no server's time limit applies.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the commands need to run photographs.
struct Bench {
    clockwork: Clockwork,
    cache: Cache,
    pipeline: Arc<Pipeline>,
}

impl Bench {
    fn set_up(config: &Config) -> anyhow::Result<Self> {
        let clockwork = Clockwork::start(app::sizes(config))?;
        let cache = app::cache(config)?;
        let pipeline = Arc::new(app::pipeline(config, &clockwork, &cache)?);
        Ok(Self { clockwork, cache, pipeline })
    }
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

async fn read(path: &Path) -> anyhow::Result<Arc<Vec<u8>>> {
    let bytes = tokio::fs::read(path).await.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Arc::new(bytes))
}

/// A pose in whole degrees.
fn pose(Pose { yaw, pitch, roll }: &Pose) -> String {
    // A zero has no sign for people; adding one takes it away.
    let [yaw, pitch, roll] = [yaw, pitch, roll].map(|angle| angle.round() + 0.0);
    format!("yaw {yaw}, pitch {pitch}, roll {roll} degrees")
}

/// The error of a failed analysis or verification, for people and as the HTTP interface words it.
fn reason(failed: Failed) -> Option<TaskError> {
    match failed {
        Failed::Final(error) | Failed::Again(error) => Some(error),
        Failed::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_has_no_negative_zero() {
        assert_eq!(pose(&Pose { yaw: -0.4, pitch: 6.1, roll: -19.2 }), "yaw 0, pitch 6, roll -19 degrees");
    }
}
