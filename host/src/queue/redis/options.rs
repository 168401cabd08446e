//! How a queue on a Redis is set up, and why it may not be opened.
//!
//! Owns the reading of URL and certificates. Must never know tasks or scripts.

use std::io;
use std::path::PathBuf;

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates,
};

use crate::queue::seal::KeyError;
use crate::queue::{Limits, Unavailable};

/// How a queue on a Redis is set up.
#[derive(Clone)]
pub(crate) struct Options {
    /// `redis://` or, with TLS, `rediss://`.
    pub(crate) url: String,
    /// Tells queues on one server apart; at most one `{...}` of a cluster's slots is made of it.
    pub(crate) name: String,
    /// This node's name. Whoever starts under a name takes back at once what the last process of that name ran when it
    /// died; so two that run at a time must not share one. Without a name, such tasks wait for their leases to run out.
    pub(crate) node: Option<String>,
    /// For `rediss://`.
    pub(crate) tls: Tls,
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
    /// The server cannot be reached or is not fit.
    #[error("Redis at {address} cannot be used ({}); mend the server, or queue.url", why.0)]
    Unreachable {
        /// Host and port.
        address: String,
        /// What is wrong, in the system's or the server's words.
        why: Unavailable,
    },
    /// Other nodes seal with another key.
    #[error(
        "key file {}: the queue at {address} holds photographs that were sealed with another key; copy the key file of a \
         node that runs, or wait until the queue has drained", path.display()
    )]
    OtherKey {
        /// The key file.
        path: PathBuf,
        /// Host and port.
        address: String,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Makes what connections are made from; connects nowhere.
pub(super) fn client(url: &str, tls: &Tls) -> Result<Client, OpenError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    match scheme {
        "redis" | "rediss" => {}
        "redis+sentinel" | "redis+cluster" => {
            return Err(OpenError::Url(format!(
                "{scheme}:// is not supported yet; name the primary itself, as \"redis://HOST:6379\""
            )));
        }
        _ => {
            return Err(OpenError::Url(
                "a Redis is named as \"redis://HOST:6379\" or \"rediss://HOST:6379\"".to_owned(),
            ));
        }
    }
    let refused = |error: redis::RedisError| OpenError::Url(error.to_string());
    let info = url.into_connection_info().map_err(refused)?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let info: ConnectionInfo = info.set_redis_settings(settings);
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Client::open(info).map_err(refused);
    }
    // Another part of the process may have chosen a provider before; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| OpenError::Tls { path: path.clone(), source });
    let client_tls = match &tls.client {
        Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
        None => None,
    };
    let root_cert = tls.ca.as_ref().map(read).transpose()?;
    Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(refused)
}

/// `{name}`: what a cluster chooses the node by, and the prefix of all keys.
pub(super) fn tag(name: &str) -> Result<String, OpenError> {
    if name.is_empty() || name.contains(['{', '}']) {
        return Err(OpenError::Name(name.to_owned()));
    }
    Ok(format!("{{{name}}}"))
}

/// Host and port, without user and password.
pub(super) fn address(client: &Client) -> String {
    client.get_connection_info().addr().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused_with_the_mend() {
        for url in ["redis://h", "redis://:secret@h:1/3", "rediss://u:secret@h:7000"] {
            let client = client(url, &Tls::default()).unwrap();
            assert!(address(&client).starts_with("h:"), "{}", address(&client));
        }
        for url in ["redis+sentinel://:secret@h/main", "redis+cluster://h:1", "http://h", "", "redis://:secret@h:port"]
        {
            let error = client(url, &Tls::default()).expect_err(url).to_string();
            assert!(error.contains("queue.url") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_name_makes_one_hash_tag_or_is_refused() {
        assert_eq!(tag("visavis").unwrap(), "{visavis}");
        for name in ["", "a{b", "}"] {
            assert!(tag(name).unwrap_err().to_string().contains("queue.name"), "{name}");
        }
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let tls = Tls { ca: Some("/nowhere/ca.pem".into()), client: None };
        let error = client("rediss://h", &tls).err().unwrap().to_string();
        assert!(error.contains("/nowhere/ca.pem") && error.contains("os error"), "{error}");
    }
}
