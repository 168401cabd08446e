//! A client of the operators' listener.
//!
//! Owns the token that it shows. Must never judge an answer beyond whether it is JSON.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::http::{Answer, Client};

/// How long a deployment may take: a large component is compiled and put to the gate on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// An operator of one host.
#[derive(Debug)]
pub struct Operator {
    address: SocketAddr,
    client: Client,
    authorization: String,
}

/// What is wished beside a component's bytes.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// The share of the work that it gets at first, percent.
    pub canary: Option<u8>,
    /// A signature file's text.
    pub signature: Option<String>,
    /// Recorded cases that may come out differently.
    pub expected_changes: Vec<String>,
    /// All nodes are meant.
    pub fleet: bool,
}

impl Operator {
    pub(crate) fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, client: Client::patient(address, PATIENCE), authorization: format!("Bearer {token}") }
    }

    /// Where operators are listened to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The client without the token.
    pub fn stranger(&self) -> &Client {
        &self.client
    }

    /// Sends any request with the token.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", self.authorization.as_str())]).collect();
        self.client.send(method, path, &headers, body)
    }

    /// Deploys a component to a slot.
    pub fn deploy(&self, slot: &str, component: &[u8], wishes: &Wishes) -> Answer {
        let mut headers = Vec::new();
        if let Some(percent) = wishes.canary {
            headers.push(("visavis-canary", percent.to_string()));
        }
        if let Some(signature) = &wishes.signature {
            headers.push(("visavis-signature", STANDARD.encode(signature)));
        }
        if !wishes.expected_changes.is_empty() {
            headers.push(("visavis-expected-changes", Value::from(wishes.expected_changes.clone()).to_string()));
        }
        if wishes.fleet {
            headers.push(("visavis-fleet", "true".to_owned()));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.send("PUT", &format!("/components/{slot}"), &headers, component)
    }

    /// Deploys a component at once, where no answer is an answer.
    pub fn try_deploy(&self, slot: &str, component: &[u8]) -> Result<Answer, ureq::Error> {
        let headers = [("authorization", self.authorization.as_str())];
        self.client.try_send("PUT", &format!("/components/{slot}"), &headers, component)
    }

    /// How the slots stand.
    pub fn overview(&self) -> Value {
        self.send("GET", "/components", &[], &[]).json()
    }

    /// Waits until the overview is as wished.
    pub fn wait_until(&self, what: &str, patience: Duration, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let overview = self.overview();
            if holds(&overview) {
                return overview;
            }
            assert!(Instant::now() < deadline, "not within {patience:?}: {what}: {overview}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
