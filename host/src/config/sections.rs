//! The sections of the configuration, one file each: its fields, defaults and bounds.
//!
//! Owns the list of keys: each section names its own once, and reading, describing and the check for unknown keys all
//! follow it. Must never know where a value came from.

use std::path::PathBuf;
use std::time::Duration;

mod auth;
mod components;
mod models;
mod nn;
mod queue;
mod server;
mod telemetry;
mod verify;
mod webhooks;
mod worker;

pub(crate) use auth::{Access, Auth};
pub(crate) use components::{Component, Components};
pub(crate) use models::Models;
pub(crate) use nn::{Backend, Device, Nn};
pub(crate) use queue::Queue;
pub(crate) use server::{Role, Server};
pub(crate) use verify::Verify;
pub(crate) use webhooks::Webhooks;
pub(crate) use worker::Worker;

use crate::config::value::Value;
use crate::config::{Config, Processors};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// One key and the place of its value.
pub(crate) struct Field<'a> {
    /// The dotted key, as `server.listen`.
    pub(crate) key: String,
    /// What it sets.
    pub(crate) value: Box<dyn Value + 'a>,
}

impl Config {
    /// The defaults for a process with so many processors. Paths that follow from others are still empty;
    /// `Config::load` fills them in when nothing has set them.
    pub(super) fn defaults(processors: Processors) -> Self {
        Self {
            assets: PathBuf::new(),
            server: Server::defaults(),
            auth: Auth::defaults(),
            queue: Queue::defaults(),
            worker: Worker::defaults(),
            components: Components::defaults(),
            nn: Nn::defaults(),
            models: Models::defaults(),
            verify: Verify::defaults(),
            webhooks: Webhooks::defaults(),
            telemetry: Default::default(),
            processors,
            sources: Default::default(),
        }
    }

    /// Every key there is, with the place of its value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        let Self {
            assets,
            server,
            auth,
            queue,
            worker,
            components,
            nn,
            models,
            verify,
            webhooks,
            telemetry,
            processors: _,
            sources: _,
        } = self;
        let mut fields = vec![field("assets", assets)];
        fields.extend(server.fields());
        fields.extend(auth.fields());
        fields.extend(queue.fields());
        fields.extend(worker.fields());
        fields.extend(components.fields());
        fields.extend(nn.fields());
        fields.extend(models.fields());
        fields.extend(verify.fields());
        fields.extend(webhooks.fields());
        fields.extend(telemetry::fields(telemetry));
        fields
    }
}

fn field<'a>(key: impl Into<String>, value: impl Value + 'a) -> Field<'a> {
    Field { key: key.into(), value: Box::new(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_named_once() {
        let mut config = Config::defaults(Processors::of_process().unwrap());
        let mut keys: Vec<_> = config.fields().into_iter().map(|field| field.key).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
