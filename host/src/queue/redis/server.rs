//! What the server says of itself, and whether a queue can live there.
//!
//! Owns the reading of `INFO`. Must never know connections or tasks.

/// The oldest version with all that the scripts use.
const OLDEST: (u32, u32) = (7, 0);

/// The server cannot hold a queue; the text says why, and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfit(String);

/// Reads the answer to `INFO` and yields what the operator should be warned of.
///
/// # Errors
/// The server is too old or a read-only replica.
pub(super) fn check(info: &str) -> Result<Vec<String>, Unfit> {
    let field = |name: &str| {
        info.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim())).unwrap_or_default()
    };
    // Valkey tells here which version of Redis it is compatible with.
    let version = field("redis_version");
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        let (major, minor) = OLDEST;
        return Err(Unfit(format!(
            "the server is of version {version:?}, and the queue needs Redis {major}.{minor} or Valkey 8; upgrade it"
        )));
    }
    if field("role") == "slave" {
        return Err(Unfit("the server is a read-only replica; set queue.url to its primary".to_owned()));
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
            assert_eq!(check(&info(version, "master", "noeviction", 1)), Ok(Vec::new()), "{version}");
        }
    }

    #[test]
    fn old_servers_and_replicas_are_refused_with_the_mend() {
        for version in ["6.2.14", "5.0.0", "", "x"] {
            let error = check(&info(version, "master", "noeviction", 1)).unwrap_err().to_string();
            assert!(error.contains(&format!("{version:?}")) && error.contains("7.0"), "{error}");
        }
        let error = check(&info("7.0.0", "slave", "noeviction", 1)).unwrap_err().to_string();
        assert!(error.contains("replica") && error.contains("queue.url"), "{error}");
    }

    #[test]
    fn eviction_and_forgetfulness_are_warned_of() {
        let warnings = check(&info("7.0.0", "master", "allkeys-lru", 0)).unwrap();
        assert!(warnings[0].contains("allkeys-lru") && warnings[1].contains("appendonly"), "{warnings:?}");
    }
}
