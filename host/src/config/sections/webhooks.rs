//! Section `webhooks`: whether and where clients are told of their tasks' ends.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::sections::{Field, HOUR, MONTH, SECOND, field};
use crate::config::value::{List, Span};

/// Section `webhooks`: whether and where clients are told of their tasks' ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Webhooks {
    /// The hosts that a `callback_url` may name; none: no such URL is taken.
    pub(crate) allow: Vec<String>,
    /// The file with the secret that webhooks are signed with, or the two while they change; made at the first start.
    pub(crate) secret_file: PathBuf,
    /// How long one attempt may take.
    pub(crate) timeout: Duration,
    /// For how long after a task's end it is tried.
    pub(crate) retry_for: Duration,
    /// The authorities in PEM that receivers' certificates are checked against; `None` is the system's.
    pub(crate) tls_ca: Option<PathBuf>,
}

impl Webhooks {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self {
            allow: Vec::new(),
            secret_file: PathBuf::new(),
            timeout: Duration::from_secs(10),
            retry_for: HOUR,
            tls_ca: None,
        }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        // Well below the time for which the queue leaves an attempt alone.
        let longest = Duration::from_secs(30);
        vec![
            field(
                "webhooks.allow",
                List { value: &mut self.allow, of: "hosts, as \"hooks.example.org\" or \"http://10.0.0.5:8080\"" },
            ),
            field("webhooks.secret_file", &mut self.secret_file),
            field("webhooks.timeout", Span(&mut self.timeout, Duration::from_millis(100)..=longest)),
            field("webhooks.retry_for", Span(&mut self.retry_for, SECOND..=MONTH)),
            field("webhooks.tls_ca", &mut self.tls_ca),
        ]
    }
}
