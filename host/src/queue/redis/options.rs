//! How a queue on a Redis is set up, and why it may not be opened.
//!
//! Owns what may be set, and the words of every refusal. Must never know tasks or scripts.

use std::io;
use std::path::PathBuf;

use crate::queue::seal::KeyError;
use crate::queue::{Limits, Unavailable};

/// How a queue on a Redis is set up.
#[derive(Clone)]
pub(crate) struct Options {
    /// `redis://`, `redis+sentinel://` or `redis+cluster://`, and with TLS `rediss...`.
    pub(crate) url: String,
    /// Tells queues on one server apart; at most one `{...}` of a cluster's slots is made of it.
    pub(crate) name: String,
    /// This node's name. Whoever starts under a name takes back at once what the last process of that name ran when it
    /// died; so two that run at a time must not share one. Without a name, such tasks wait for their leases to run out.
    pub(crate) node: Option<String>,
    /// For `rediss...`.
    pub(crate) tls: Tls,
    /// How many replicas must have a task, a result or a revocation before it is confirmed; see [`super::replicas`].
    pub(crate) wait_replicas: u32,
    /// The limits that hold on every backend.
    pub(crate) limits: Limits,
    /// The key that payloads are sealed with, the same on all nodes; made when there is none.
    pub(crate) key_file: PathBuf,
}

/// Files in PEM.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    /// The authorities that the server's certificate is checked against; without it, those of the system.
    pub(crate) ca: Option<PathBuf>,
    /// This client's certificate and its private key, where the server asks for one.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// Why the queue was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The URL cannot be used. Its text is not repeated here, for it may hold a password.
    #[error("queue.url: {0}")]
    Url(String),
    /// The name would not make one hash tag.
    #[error("queue.name: {0:?} is empty or holds a brace; choose letters and digits")]
    Name(String),
    /// A file for TLS cannot be read.
    #[error("{}: {source}; queue.url asks for TLS with this file", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The server is not fit, or does not take this node.
    #[error("Redis at {address} cannot be used ({}); mend that, or set queue.url to another", why.0)]
    Unreachable {
        /// Host and port.
        address: String,
        /// What is wrong, in the system's or the server's words.
        why: Unavailable,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// `{name}`: what a cluster chooses the node by, and the prefix of all keys.
pub(super) fn tag(name: &str) -> Result<String, OpenError> {
    if name.is_empty() || name.contains(['{', '}']) {
        return Err(OpenError::Name(name.to_owned()));
    }
    Ok(format!("{{{name}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_makes_one_hash_tag_or_is_refused() {
        assert_eq!(tag("visavis").unwrap(), "{visavis}");
        for name in ["", "a{b", "}"] {
            assert!(tag(name).unwrap_err().to_string().contains("queue.name"), "{name}");
        }
    }
}
