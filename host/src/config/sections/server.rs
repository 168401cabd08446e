//! Section `server`: the public listener and its limits.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::config::sections::{Field, GIB, HOUR, KIB, MIB, SECOND, field};
use crate::config::value::{Count, Listener, Raw, Size, Span, Value, choose};

/// Section `server`: the public listener and its limits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// What this process does of the whole.
    pub(crate) role: Role,
    /// Where to listen; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// The chain of certificates in PEM that all listeners show; `None`: they speak in the clear.
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The private key of the first of them.
    pub(crate) tls_key: Option<PathBuf>,
    /// Where operators are listened to; `None`: nowhere.
    pub(crate) admin: Option<SocketAddr>,
    /// The file with the token that operators show; made at the first start on a loopback address.
    pub(crate) admin_token_file: PathBuf,
    /// The largest component or bundle that operators may send, bytes.
    pub(crate) admin_body_limit: u64,
    /// The largest request body, bytes.
    pub(crate) body_limit: u64,
    /// How many bytes of request bodies are held at once, all requests together; more are refused with 503.
    pub(crate) body_memory: u64,
    /// How many requests are in the gateway at once; more are refused with 503.
    pub(crate) concurrency: usize,
    /// How many connections are open at once; more wait until one closes.
    pub(crate) max_connections: usize,
    /// How long a client may take to send the head of a request, or be silent between two requests.
    pub(crate) header_timeout: Duration,
    /// How long a request may take, its body and the wait for a result included.
    pub(crate) request_timeout: Duration,
    /// How long running requests and tasks may take to end when the host is told to stop.
    pub(crate) drain_timeout: Duration,
    /// The header by which a proxy tells the client's address; `None` is the address of whoever connects.
    pub(crate) client_address_header: Option<HeaderName>,
}

/// What a process does of the whole; those that share a queue make one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Accepts requests and does tasks.
    All,
    /// Accepts requests; loads no model.
    Edge,
    /// Does tasks; has no public listener.
    Worker,
}

impl Role {
    /// Whether it accepts requests, and whether it does tasks.
    pub(crate) fn parts(self) -> (bool, bool) {
        (self != Self::Worker, self != Self::Edge)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Edge => "edge",
            Self::Worker => "worker",
        })
    }
}

impl Value for &mut Role {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &[("all", Role::All), ("edge", Role::Edge), ("worker", Role::Worker)])
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Server {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self {
            role: Role::All,
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            tls_certificate: None,
            tls_key: None,
            admin: Some((Ipv4Addr::LOCALHOST, 8081).into()),
            admin_token_file: PathBuf::new(),
            admin_body_limit: 128 * MIB,
            body_limit: 20 * MIB,
            body_memory: 512 * MIB,
            concurrency: 256,
            max_connections: 1024,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            client_address_header: None,
        }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            field("server.role", &mut self.role),
            field("server.listen", &mut self.listen),
            field("server.tls_certificate", &mut self.tls_certificate),
            field("server.tls_key", &mut self.tls_key),
            field("server.admin", Listener(&mut self.admin)),
            field("server.admin_token_file", &mut self.admin_token_file),
            field("server.admin_body_limit", Size(&mut self.admin_body_limit, KIB..=GIB)),
            field("server.body_limit", Size(&mut self.body_limit, KIB..=GIB)),
            field("server.body_memory", Size(&mut self.body_memory, KIB..=1024 * GIB)),
            field("server.concurrency", Count(&mut self.concurrency, 1..=4096)),
            field("server.max_connections", Count(&mut self.max_connections, 1..=1_000_000)),
            field("server.header_timeout", Span(&mut self.header_timeout, Duration::from_millis(100)..=HOUR)),
            field("server.request_timeout", Span(&mut self.request_timeout, SECOND..=HOUR)),
            field("server.drain_timeout", Span(&mut self.drain_timeout, Duration::ZERO..=HOUR)),
            field("server.client_address_header", &mut self.client_address_header),
        ]
    }
}
