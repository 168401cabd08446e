//! Where webhooks may go: the operator's list, and a client's address held against it.
//!
//! Owns the grammar of both, and the words of every refusal. An address is compared as it is written: what is not listed to the
//! letter is never even looked up. Must never know what is sent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;
use http::uri::Authority;

use super::address::is_public;

/// The longest address, bytes.
const LONGEST: usize = 2048;

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    encrypted: bool,
    /// In lower case; an IPv6 address without its brackets.
    host: String,
    port: u16,
}

/// The hosts that webhooks may go to, as the operator lists them; none by default, which is no webhooks at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allow(Vec<Origin>);

/// An entry of the list that is no host.
#[derive(Debug, thiserror::Error)]
#[error(
    "webhooks.allow: {0:?} is no host, as \"hooks.example.org\", \"10.0.0.5:8443\" or, for http, \"http://10.0.0.5:8080\""
)]
pub(crate) struct NotAHost(String);

/// Why an address is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    /// There is no list.
    #[error(
        "callback_url is not taken, for this host sends no webhooks (webhooks.allow is empty); leave it out, and ask for the status"
    )]
    Off,
    /// It is no address.
    #[error(
        "callback_url is no absolute URL of at most {LONGEST} bytes without user, password and fragment; write it as \
         https://hooks.example.org/ended"
    )]
    Malformed,
    /// It is not listed.
    #[error(
        "callback_url names a scheme, host and port that webhooks.allow does not list; take one that it does, or have the \
         operator add it"
    )]
    NotListed,
}

/// An address that is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    origin: Origin,
    /// Path and query, as the client wrote them.
    pub(super) path: String,
}

impl Allow {
    /// Reads the operator's list.
    ///
    /// # Errors
    /// An entry is no host.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, NotAHost> {
        let origin = |entry: &String| {
            let (encrypted, rest) = match entry.split_once("://") {
                Some(("http", rest)) => (false, rest),
                Some(("https", rest)) => (true, rest),
                Some(_) => return None,
                None => (true, entry.as_str()),
            };
            Origin::of(encrypted, &rest.parse().ok()?)
        };
        entries
            .iter()
            .map(|entry| origin(entry).ok_or_else(|| NotAHost(entry.clone())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some of them are reached over TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.0.iter().any(|origin| origin.encrypted)
    }

    /// Checks an address that a client left.
    ///
    /// # Errors
    /// It is not taken, and why.
    pub(crate) fn check(&self, url: &str) -> Result<(), NotTaken> {
        self.target(url).map(|_| ())
    }

    /// Reads an address that a client left.
    pub(super) fn target(&self, url: &str) -> Result<Target, NotTaken> {
        if self.0.is_empty() {
            return Err(NotTaken::Off);
        }
        if url.len() > LONGEST || url.contains('#') {
            return Err(NotTaken::Malformed);
        }
        let uri: Uri = url.parse().map_err(|_| NotTaken::Malformed)?;
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotTaken::Malformed),
        };
        let origin =
            uri.authority().and_then(|authority| Origin::of(encrypted, authority)).ok_or(NotTaken::Malformed)?;
        if !self.0.contains(&origin) {
            return Err(NotTaken::NotListed);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // A query may follow the host at once.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Target { origin, path })
    }

    /// Whether a webhook may be sent to this address of a target's host: it is public, or listed itself.
    pub(super) fn may_connect(&self, address: IpAddr, port: u16) -> bool {
        let listed = |origin: &Origin| origin.port == port && origin.host.parse() == Ok(address);
        is_public(address) || self.0.iter().any(listed)
    }
}

impl Origin {
    fn of(encrypted: bool, authority: &Authority) -> Option<Self> {
        let text = authority.as_str();
        // The parser takes what is no port for none at all.
        let port = match text.strip_prefix(authority.host())? {
            "" if encrypted => 443,
            "" => 80,
            rest => {
                let digits = rest.strip_prefix(':').filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))?;
                digits.parse().ok().filter(|port| *port > 0)?
            }
        };
        let host = authority.host();
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
            None => match host.parse::<Ipv4Addr>() {
                Ok(address) => address.to_string(),
                Err(_) => host.to_ascii_lowercase(),
            },
        };
        let readable = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        (!host.is_empty() && host.chars().all(readable)).then_some(Self { encrypted, host, port })
    }
}

impl Target {
    /// Whether it is reached over TLS.
    pub(super) fn is_encrypted(&self) -> bool {
        self.origin.encrypted
    }

    /// A name or an address.
    pub(super) fn host(&self) -> &str {
        &self.origin.host
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.origin.port
    }

    /// For the header `Host`.
    pub(super) fn authority(&self) -> String {
        let Origin { encrypted, host, port } = &self.origin;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if *port == if *encrypted { 443 } else { 80 } { host } else { format!("{host}:{port}") }
    }
}

/// Without path and query, which may hold a client's secrets.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.origin.encrypted { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(entries: &[&str]) -> Allow {
        Allow::parse(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_is_listed_is_taken_and_nothing_else() {
        let allow =
            allow(&["hooks.example.org", "https://b.example:8443", "http://10.0.0.5:8080", "[2001:db8::5]:9443"]);
        for (url, shown, path) in [
            ("https://hooks.example.org", "https://hooks.example.org", "/"),
            ("https://Hooks.Example.ORG:443/a/b?c=d", "https://hooks.example.org", "/a/b?c=d"),
            ("https://hooks.example.org?c=d", "https://hooks.example.org", "/?c=d"),
            ("https://b.example:8443/", "https://b.example:8443", "/"),
            ("http://10.0.0.5:8080/x", "http://10.0.0.5:8080", "/x"),
            ("https://[2001:DB8:0::5]:9443/", "https://[2001:db8::5]:9443", "/"),
        ] {
            let target = allow.target(url).unwrap();
            assert_eq!((target.to_string().as_str(), target.path.as_str()), (shown, path), "{url}");
        }
        for url in [
            "http://hooks.example.org/",
            "https://hooks.example.org:444/",
            "https://hooks.example.org./",
            "https://a.hooks.example.org/",
            "https://hooks.example.org.evil.example/",
            "https://b.example/",
            "https://10.0.0.5:8080/x",
            "http://10.0.0.5/",
            "http://10.0.5:8080/",
            "http://0x0a000005:8080/",
            "http://[::ffff:10.0.0.5]:8080/",
            "https://evil.example/?hooks.example.org",
        ] {
            assert_eq!(allow.target(url), Err(NotTaken::NotListed), "{url}");
        }
        for url in [
            "",
            "hooks.example.org",
            "/ended",
            "//hooks.example.org/",
            "ftp://hooks.example.org/",
            "file:///etc/passwd",
            "https://user:secret@hooks.example.org/",
            "https://hooks.example.org@evil.example/",
            "https://hooks.example.org/#a",
            "https://hooks.example.org/ a",
            "https://hooks.example.org/\r\nHost: x",
            "https://hooks.example.org:99999/",
            "https://hooks.example.org:/",
            "https://hooks.example.org:0/",
            "https://höoks.example.org/",
            "https://",
            &format!("https://hooks.example.org/{}", "a".repeat(LONGEST)),
        ] {
            assert_eq!(allow.target(url), Err(NotTaken::Malformed), "{url}");
        }
        assert_eq!(Allow::default().target("https://hooks.example.org"), Err(NotTaken::Off));
    }

    #[test]
    fn entries_that_are_no_hosts_are_named() {
        for entry in [
            "",
            "ftp://a",
            "a/b",
            "a b",
            "user@a",
            "a:0",
            "a:x",
            "a:+8",
            "http://",
            "a:",
            "https://a/",
            "*.example.org",
        ] {
            let error = Allow::parse(&[entry.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(&format!("{entry:?}")) && error.contains("webhooks.allow"), "{error}");
        }
    }

    #[test]
    fn an_address_that_is_not_public_must_be_listed_itself() {
        let allow = allow(&["hooks.internal", "10.0.0.5", "https://[fd00::7]:8443"]);
        for (address, port, may) in [
            ("1.1.1.1", 443, true),
            ("10.0.0.5", 443, true),
            ("10.0.0.5", 8443, false),
            ("10.0.0.6", 443, false),
            ("::ffff:10.0.0.5", 443, false),
            ("fd00::7", 8443, true),
            ("fd00::8", 8443, false),
            ("127.0.0.1", 443, false),
        ] {
            assert_eq!(allow.may_connect(address.parse().unwrap(), port), may, "{address} {port}");
        }
    }
}
