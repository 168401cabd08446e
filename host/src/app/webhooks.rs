//! Webhooks as they are configured.
//!
//! Owns the translation of the section `webhooks`, and what `doctor` says of it. Must never send one.

use std::sync::Arc;

use anyhow::Context;

use crate::config::{Config, QueueUrl};
use crate::webhook::secrets::{self, Secrets};
use crate::webhook::sender::Sender;
use crate::webhook::{self, Allow};

/// Where a `callback_url` may lead.
pub(super) fn allow(config: &Config) -> anyhow::Result<Arc<Allow>> {
    let allowed = Allow::parse(&config.webhooks.allow);
    allowed.map(Arc::new).with_context(|| config.source("webhooks.allow").to_string())
}

/// How webhooks are sent; `None` when there are to be none. Makes a secret where that is this node's own affair.
pub(super) fn sending(config: &Config, allow: &Arc<Allow>) -> anyhow::Result<Option<webhook::Config>> {
    if allow.is_empty() {
        return Ok(None);
    }
    Ok(Some(webhook::Config {
        sender: sender(config, allow)?,
        secrets: Secrets::load(&config.webhooks.secret_file, is_shared(config))?,
        // After that the result is forgotten, and with it what there is to tell.
        retry_for: config.webhooks.retry_for.min(config.queue.result_ttl),
        drain_timeout: config.server.drain_timeout,
    }))
}

/// Looks whether webhooks could be sent, without making a secret; `None` when there are to be none.
pub(crate) fn examine(config: &Config) -> anyhow::Result<Option<String>> {
    let allow = allow(config)?;
    if allow.is_empty() {
        return Ok(None);
    }
    let (_, works) = config.server.role.parts();
    if !works {
        return Ok(Some(format!("taken for {}; workers send them", config.webhooks.allow.join(", "))));
    }
    sender(config, &allow)?;
    let (file, allowed) = (&config.webhooks.secret_file, config.webhooks.allow.join(", "));
    if !is_shared(config) && !secrets::is_there(file) {
        return Ok(Some(format!("sent to {allowed}; the first start makes the secret {}", file.display())));
    }
    let secrets = Secrets::load(file, true)?;
    let signatures = if secrets.count() == 1 { "signed with a secret" } else { "signed with two secrets" };
    Ok(Some(format!("sent to {allowed}, {signatures} of {}", file.display())))
}

fn sender(config: &Config, allow: &Arc<Allow>) -> anyhow::Result<Sender> {
    Ok(Sender::new(Arc::clone(allow), config.webhooks.tls_ca.as_deref(), config.webhooks.timeout)?)
}

/// Whether other nodes send webhooks of the same service.
fn is_shared(config: &Config) -> bool {
    matches!(config.queue.url, QueueUrl::Redis(_))
}
