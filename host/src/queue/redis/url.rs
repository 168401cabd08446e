//! What `queue.url` says of a Redis.
//!
//! Owns the forms of the URLs and the words that refuse others. Must never connect. No word repeats the URL, for it may
//! hold a password.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use super::options::OpenError;

/// The port of a Redis, and that of a Sentinel.
const PORTS: (u16, u16) = (6379, 26379);

/// Where the queue's server is, or who knows that.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) way: Way,
    /// User, password and database on the server that holds the queue.
    pub(super) settings: RedisConnectionInfo,
    /// Whether every connection is to be encrypted.
    pub(super) tls: bool,
}

/// How the server is found.
#[derive(Debug)]
pub(super) enum Way {
    /// It is named.
    Direct(ConnectionInfo),
    /// The Sentinels know which server is the primary of this name.
    Sentinel { sentinels: Vec<ConnectionInfo>, primary: String },
    /// Any of these members of a cluster knows who has the queue's slot.
    Cluster { seeds: Vec<ConnectionInfo> },
}

/// The parts of `scheme://user:password@host,host/path?query`, as written.
struct Parts<'a> {
    /// With the `@`; empty without user and password.
    user: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

/// Reads a URL.
///
/// # Errors
/// It is of none of the forms; the error says which there are.
pub(super) fn read(url: &str) -> Result<Target, OpenError> {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (kind, tls) = match scheme {
        "redis" | "rediss" => ("", scheme.ends_with("ss")),
        "redis+sentinel" | "rediss+sentinel" => ("sentinel", scheme.starts_with("rediss")),
        "redis+cluster" | "rediss+cluster" => ("cluster", scheme.starts_with("rediss")),
        _ => {
            return refuse(
                "a Redis is named as \"redis://HOST:6379\", \"redis+sentinel://HOST:26379,HOST:26379/NAME\" or \
                 \"redis+cluster://HOST:7000,HOST:7001\", and with TLS as \"rediss...\"",
            );
        }
    };
    if kind.is_empty() {
        let mut direct = url.into_connection_info().map_err(|error| OpenError::Url(error.to_string()))?;
        let settings = direct.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        direct = direct.set_redis_settings(settings.clone());
        return Ok(Target { way: Way::Direct(direct), settings, tls });
    }
    let Parts { user, hosts, path, query } = parts(rest)?;
    if kind == "cluster" {
        if !(path.is_empty() || path == "0") || !query.is_empty() {
            return refuse("a cluster has one database, 0, and no options; end the URL after the hosts");
        }
        let seeds = members(tls, user, &hosts, PORTS.0, "")?;
        let settings = settings(&seeds);
        return Ok(Target { way: Way::Cluster { seeds }, settings, tls });
    }
    let (primary, database) = path.split_once('/').unwrap_or((path, ""));
    if primary.is_empty() {
        return refuse(
            "the name of the primary is missing, as in \"redis+sentinel://HOST:26379/NAME\"; it is the one in the \
             Sentinels' \"sentinel monitor\"",
        );
    }
    let settings = settings(&members(tls, user, &hosts[..1], PORTS.1, database)?);
    let sentinels = members(tls, &sentinel_user(query)?, &hosts, PORTS.1, "")?;
    Ok(Target { way: Way::Sentinel { sentinels, primary: primary.to_owned() }, settings, tls })
}

fn refuse<T>(why: &str) -> Result<T, OpenError> {
    Err(OpenError::Url(why.to_owned()))
}

fn parts(rest: &str) -> Result<Parts<'_>, OpenError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A slash in a password has to be encoded, as in every URL.
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let hosts: Vec<_> = hosts.split(',').collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return refuse("a host is missing; they are written as \"HOST:PORT,HOST:PORT\"");
    }
    Ok(Parts { user, hosts, path: path.trim_end_matches('/'), query })
}

/// `user:password@` for the Sentinels themselves, of `?sentinel_user=...&sentinel_password=...`.
fn sentinel_user(query: &str) -> Result<String, OpenError> {
    let (mut user, mut password) = (String::new(), None);
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("sentinel_user", value)) => user = encoded(value),
            Some(("sentinel_password", value)) => password = Some(encoded(value)),
            _ => return refuse("after \"?\" only sentinel_user=... and sentinel_password=... are understood"),
        }
    }
    match password {
        Some(password) => Ok(format!("{user}:{password}@")),
        None if user.is_empty() => Ok(String::new()),
        None => refuse("sentinel_user needs sentinel_password"),
    }
}

/// What may stand in a query but would end a password before the host.
fn encoded(value: &str) -> String {
    let encode = |letter: char| match letter {
        '/' | '?' | '#' | '@' | ':' | '[' | ']' => format!("%{:02X}", letter as u32),
        other => other.to_string(),
    };
    value.chars().map(encode).collect()
}

/// One connection for each host.
fn members(tls: bool, user: &str, hosts: &[&str], port: u16, path: &str) -> Result<Vec<ConnectionInfo>, OpenError> {
    let scheme = if tls { "rediss" } else { "redis" };
    let member = |host: &&str| {
        // An address of IPv6 stands in brackets, behind which a port may follow.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        let port = if has_port { String::new() } else { format!(":{port}") };
        let url = format!("{scheme}://{user}{host}{port}/{path}");
        let info = url.into_connection_info().map_err(|error| OpenError::Url(error.to_string()))?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(info.set_redis_settings(settings))
    };
    hosts.iter().map(member).collect()
}

fn settings(members: &[ConnectionInfo]) -> RedisConnectionInfo {
    members.first().map(|member| member.redis_settings().clone()).unwrap_or_default()
}

/// An address as connections are made from it.
pub(super) fn place(tls: bool, host: String, port: u16) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(members: &[ConnectionInfo]) -> Vec<String> {
        members.iter().map(|member| member.addr().to_string()).collect()
    }

    #[test]
    fn one_server_is_named_by_host_and_port() {
        for (url, address, tls) in [
            ("redis://h", "h:6379", false),
            ("redis://:secret@h:1/3", "h:1", false),
            ("rediss://u:secret@h:7000", "h:7000", true),
        ] {
            let target = read(url).unwrap();
            let Way::Direct(direct) = &target.way else { panic!("{url}: {:?}", target.way) };
            assert_eq!((direct.addr().to_string().as_str(), target.tls), (address, tls), "{url}");
        }
    }

    #[test]
    fn sentinels_have_a_name_and_a_password_of_their_own() {
        let target = read("redis+sentinel://me:p%40ss@a,b:1,[::1]/main/2?sentinel_password=x@/y").unwrap();
        let Way::Sentinel { sentinels, primary } = &target.way else { panic!("{:?}", target.way) };
        assert_eq!(addresses(sentinels), ["a:26379", "b:1", "::1:26379"]);
        assert_eq!(primary, "main");
        let settings = &target.settings;
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("me"), Some("p@ss"), 2));
        for sentinel in sentinels {
            let settings = sentinel.redis_settings();
            assert_eq!((settings.username(), settings.password(), settings.db()), (None, Some("x@/y"), 0));
        }
        let target = read("rediss+sentinel://a/main").unwrap();
        let Way::Sentinel { sentinels, .. } = &target.way else { panic!("{:?}", target.way) };
        assert!(target.tls && matches!(sentinels[0].addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
        assert_eq!((target.settings.password(), sentinels[0].redis_settings().password()), (None, None));
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_members() {
        let target = read("rediss+cluster://me:secret@a:7000,b/").unwrap();
        let Way::Cluster { seeds } = &target.way else { panic!("{:?}", target.way) };
        assert_eq!(addresses(seeds), ["a:7000", "b:6379"]);
        assert!(target.tls && seeds.iter().all(|seed| seed.redis_settings().password() == Some("secret")));
    }

    #[test]
    fn other_urls_are_refused_with_the_mend_and_without_the_password() {
        for url in [
            "",
            "http://:secret@h",
            "redis+unix://:secret@h",
            "redis://:secret@h:port",
            "redis+sentinel://:secret@h",
            "redis+sentinel://:secret@h/",
            "redis+sentinel://:secret@h:port/main",
            "redis+sentinel://:secret@h/main/one",
            "redis+sentinel://:secret@h/main?password=secret",
            "redis+sentinel://h/main?sentinel_user=secret",
            "redis+sentinel://:secret@h,,i/main",
            "redis+cluster://:secret@",
            "redis+cluster://:secret@h:1/1",
            "redis+cluster://:secret@h:1?sentinel_password=secret",
        ] {
            let error = read(url).expect_err(url).to_string();
            assert!(error.contains("queue.url") && !error.contains("secret"), "{url}: {error}");
        }
    }
}
