//! What the server says of itself, and whether a queue can live there.
//!
//! Owns the reading of `INFO` and of the server's refusals. Must never know connections or tasks.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::queue::Unavailable;

/// The oldest version with all that the scripts use.
const OLDEST: (u32, u32) = (7, 0);

/// The server cannot hold a queue; the text says why, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    /// It follows another server, which may be the primary's place in a moment.
    #[error("the server is a read-only replica; set queue.url to its primary, or wait until the failover is over")]
    Replica,
    /// It is of a kind or version that no waiting changes.
    #[error("{0}")]
    Other(String),
}

/// Why a connection was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoConnection {
    /// In the system's or the server's words, with the mend where it is not in them.
    pub(super) why: Unavailable,
    /// Somebody has to mend something: to wait is in vain.
    pub(super) lasting: bool,
}

impl NoConnection {
    /// Something that may be over soon.
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { why: Unavailable(why.into()), lasting: false }
    }

    /// Something that somebody has to mend.
    pub(super) fn lasting(why: impl Into<String>) -> Self {
        Self { why: Unavailable(why.into()), lasting: true }
    }
}

impl From<RedisError> for NoConnection {
    fn from(error: RedisError) -> Self {
        let why = words(&error);
        if is_lasting(&error, &why) { Self::lasting(why) } else { Self::passing(why) }
    }
}

/// Whether a connection has to be given up after this error, for another may lead to a server that serves.
///
/// A primary that became a replica, or that lost its replicas or the slot, keeps its connections. While a slot moves, no
/// server has all its keys; whoever followed `ASK` would see a part of the queue and take it for the whole.
pub(super) fn is_of_no_use(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Server(Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain) => true,
        _ => error.code() == Some("NOREPLICAS") || error.is_unrecoverable_error() || error.is_io_error(),
    }
}

/// Whether the other side has refused this node, rather than not been there or not been ready.
fn is_lasting(error: &RedisError, words: &str) -> bool {
    match error.kind() {
        // What TLS has to say comes as an error of the transport.
        ErrorKind::Io => words.contains("queue.tls_") || words.contains("received corrupt message"),
        ErrorKind::AuthenticationFailed | ErrorKind::RESP3NotSupported | ErrorKind::Parse => true,
        ErrorKind::InvalidClientConfig | ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        _ => matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM")),
    }
}

/// Why a connection was not made, with the mend where it is not in the words.
fn words(error: &RedisError) -> String {
    let text = error.to_string();
    let mend = if text.contains("invalid peer certificate") {
        "; set queue.tls_ca to the authority of the server's certificate, which must name the host that is connected to"
    } else if text.contains("received fatal alert") {
        "; set queue.tls_certificate and queue.tls_key to a certificate that the server accepts"
    } else {
        ""
    };
    text + mend
}

/// Reads the answer to `INFO` and yields what the operator should be warned of. `as_member`: the server was found by asking
/// a cluster.
///
/// # Errors
/// The server is too old or a read-only replica, or in a cluster that was not asked.
pub(super) fn check(info: &str, as_member: bool) -> Result<Vec<String>, Unfit> {
    let field = |name: &str| {
        info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim())).unwrap_or_default()
    };
    // Valkey tells here which version of Redis it is compatible with.
    let version = field("redis_version");
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        let (major, minor) = OLDEST;
        return Err(Unfit::Other(format!(
            "the server is of version {version:?}, and the queue needs Redis {major}.{minor} or Valkey 8; upgrade it"
        )));
    }
    if field("role") == "slave" {
        return Err(Unfit::Replica);
    }
    if field("cluster_enabled") == "1" && !as_member {
        return Err(Unfit::Other(
            "the server is one of a cluster; write queue.url as redis+cluster://, so that the queue is found wherever it is"
                .to_owned(),
        ));
    }
    let mut warnings = Vec::new();
    let policy = field("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" {
        warnings.push(format!(
            "the server may evict tasks when its memory is full (maxmemory-policy {policy}); set it to noeviction"
        ));
    }
    if field("aof_enabled") == "0" {
        warnings.push(
            "the server keeps no append-only file, so tasks are lost when it dies; set appendonly to yes".to_owned(),
        );
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str, role: &str, policy: &str, aof: u8) -> String {
        format!(
            "# Server\r\nredis_version:{version}\r\n# Replication\r\nrole:{role}\r\nmaxmemory_policy:{policy}\r\n\
             aof_enabled:{aof}\r\n"
        )
    }

    #[test]
    fn a_fit_server_gives_no_cause_for_words() {
        for version in ["7.0.15", "7.2.4", "8.0.1", "10.0.0"] {
            assert_eq!(check(&info(version, "master", "noeviction", 1), false), Ok(Vec::new()), "{version}");
        }
    }

    #[test]
    fn old_servers_and_replicas_are_refused_with_the_mend() {
        for version in ["6.2.14", "5.0.0", "", "x"] {
            let error = check(&info(version, "master", "noeviction", 1), false).unwrap_err().to_string();
            assert!(error.contains(&format!("{version:?}")) && error.contains("7.0"), "{error}");
        }
        let error = check(&info("7.0.0", "slave", "noeviction", 1), false).unwrap_err().to_string();
        assert!(error.contains("replica") && error.contains("queue.url"), "{error}");
    }

    #[test]
    fn eviction_and_forgetfulness_are_warned_of() {
        let warnings = check(&info("7.0.0", "master", "allkeys-lru", 0), false).unwrap();
        assert!(warnings[0].contains("allkeys-lru") && warnings[1].contains("appendonly"), "{warnings:?}");
    }
    #[test]
    fn a_member_of_a_cluster_must_be_asked_for_by_that() {
        let info = info("7.0.0", "master", "noeviction", 1) + "cluster_enabled:1\r\n";
        assert_eq!(check(&info, true), Ok(Vec::new()));
        let error = check(&info, false).unwrap_err().to_string();
        assert!(error.contains("redis+cluster://"), "{error}");
    }

    #[test]
    fn refusals_of_a_server_that_does_not_serve_are_told_from_others() {
        let refusal = |code: &str| {
            let answer = format!("-{code} the reason\r\n");
            redis::parse_redis_value(answer.as_bytes()).unwrap().extract_error().unwrap_err()
        };
        for code in ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "LOADING", "NOREPLICAS"] {
            assert!(is_of_no_use(&refusal(code)), "{code}");
        }
        for code in ["ERR", "OOM", "NOSCRIPT", "MISCONF", "NOPERM", "BUSY"] {
            assert!(!is_of_no_use(&refusal(code)), "{code}");
        }
    }
}
