//! Section `queue`: where tasks wait, and how long things live there.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::queue_url::QueueUrl;
use crate::config::sections::{Field, HOUR, MONTH, SECOND, field};
use crate::config::value::{Count, Limit, Or, Span};

/// Section `queue`: where tasks wait, and how long things live there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queue {
    /// Which queue.
    pub(crate) url: QueueUrl,
    /// On a Redis: tells several queues on one server apart.
    pub(crate) name: String,
    /// On a Redis: this node's own name. Restarted under it, a node takes back at once what it ran when it died; without
    /// a name those tasks wait for their leases to run out.
    pub(crate) node: Option<String>,
    /// For `rediss:`: the authorities in PEM that the server's certificate is checked against; `None` is the system's.
    pub(crate) tls_ca: Option<PathBuf>,
    /// For `rediss:`: this client's certificate in PEM, where the server asks for one.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// For `rediss:`: the private key of that certificate, in PEM.
    pub(crate) tls_key: Option<PathBuf>,
    /// On a Redis with replicas: how many of them must have a task or a result before it is confirmed; 0 waits for none.
    pub(crate) wait_replicas: u32,
    /// How many tasks may wait; more are refused.
    pub(crate) max_length: u64,
    /// How old a task may be expected to become until it ends; what would become older is refused. `None`: nothing is.
    pub(crate) max_age: Option<Duration>,
    /// How many tasks of one client may wait; more are refused.
    pub(crate) max_waiting_per_client: Option<u64>,
    /// How long a worker holds a task without a sign of life before another may take it.
    pub(crate) lease: Duration,
    /// How often a task is tried at most, whether its workers fail or die; then it is given up.
    pub(crate) max_deliveries: u32,
    /// How long an ended task is remembered.
    pub(crate) result_ttl: Duration,
    /// How long a task may wait for a worker, and its photographs live, at most.
    pub(crate) payload_ttl: Duration,
    /// The key that photographs are encrypted with at rest; made at the first start.
    pub(crate) encryption_key_file: PathBuf,
}

impl Queue {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self {
            url: QueueUrl::File("visavis-data/queue.redb".into()),
            name: "visavis".to_owned(),
            node: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            wait_replicas: 0,
            max_length: 1000,
            max_age: None,
            max_waiting_per_client: None,
            lease: Duration::from_secs(15),
            max_deliveries: 5,
            result_ttl: HOUR,
            payload_ttl: Duration::from_secs(15 * 60),
            encryption_key_file: PathBuf::new(),
        }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            field("queue.url", &mut self.url),
            field("queue.name", &mut self.name),
            field("queue.node", &mut self.node),
            field("queue.tls_ca", &mut self.tls_ca),
            field("queue.tls_certificate", &mut self.tls_certificate),
            field("queue.tls_key", &mut self.tls_key),
            field("queue.wait_replicas", Count(&mut self.wait_replicas, 0..=16)),
            field("queue.max_length", Count(&mut self.max_length, 1..=10_000_000)),
            field(
                "queue.max_age",
                Or {
                    word: "off",
                    value: &mut self.max_age,
                    of: |it| Box::new(Span(it, Duration::from_millis(100)..=HOUR)),
                },
            ),
            field("queue.max_waiting_per_client", Limit(&mut self.max_waiting_per_client, 1..=10_000_000)),
            field("queue.lease", Span(&mut self.lease, SECOND..=HOUR)),
            field("queue.max_deliveries", Count(&mut self.max_deliveries, 1..=1000)),
            field("queue.result_ttl", Span(&mut self.result_ttl, SECOND..=MONTH)),
            field("queue.payload_ttl", Span(&mut self.payload_ttl, SECOND..=MONTH)),
            field("queue.encryption_key_file", &mut self.encryption_key_file),
        ]
    }
}
