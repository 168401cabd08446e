//! Says which server holds the queue at the moment.
//!
//! Owns the questions to Sentinels and to members of a cluster, and the certificates that every connection needs. All keys
//! of a queue carry one hash tag, so it is always one server. Must never know what is done on the connection, and keeps
//! nothing of an answer: whoever loses the connection asks anew.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use redis::{RedisConnectionInfo, TlsCertificates, Value};
use tokio::time::timeout;

use super::options::{OpenError, Tls};
use super::server::NoConnection;
use super::url::{Target, Way, place, read};

/// So long one that is asked may take, the connection included.
const ASK: Duration = Duration::from_secs(1);

/// Knows the server, or whom to ask.
pub(super) struct Finder {
    known: Known,
    settings: RedisConnectionInfo,
    certificates: Option<TlsCertificates>,
    /// Who is asked first the next time, so that one who is behind misleads only once.
    turn: AtomicUsize,
}

enum Known {
    Server(Client),
    Others { whom: Vec<Client>, question: Question },
}

enum Question {
    /// To a Sentinel: who is the primary of this name?
    Primary(String),
    /// To a member of a cluster: who has the slot of this key?
    Slot(String),
}

impl Finder {
    /// Reads URL and certificates; connects nowhere. `key` is one of the queue's, for a cluster to find its slot.
    ///
    /// # Errors
    /// The URL or a file cannot be used.
    pub(super) fn new(url: &str, tls: &Tls, key: &str) -> Result<Self, OpenError> {
        let Target { way, settings, tls: encrypted } = read(url)?;
        let certificates = encrypted.then(|| certificates(tls)).transpose()?;
        let client = |info| client(info, certificates.as_ref()).map_err(|error| OpenError::Url(error.to_string()));
        let others = |infos: Vec<_>, question| {
            let whom = infos.into_iter().map(client).collect::<Result<_, _>>()?;
            Ok::<_, OpenError>(Known::Others { whom, question })
        };
        let known = match way {
            Way::Direct(server) => Known::Server(client(server)?),
            Way::Sentinel { sentinels, primary } => others(sentinels, Question::Primary(primary))?,
            Way::Cluster { seeds } => others(seeds, Question::Slot(key.to_owned()))?,
        };
        Ok(Self { known, settings, certificates, turn: AtomicUsize::new(0) })
    }

    /// The hosts of the URL, for messages.
    pub(super) fn address(&self) -> String {
        let (clients, what) = match &self.known {
            Known::Server(server) => (std::slice::from_ref(server), ""),
            Known::Others { whom, question: Question::Primary(_) } => (whom.as_slice(), " (Sentinel)"),
            Known::Others { whom, question: Question::Slot(_) } => (whom.as_slice(), " (cluster)"),
        };
        let addresses: Vec<_> = clients.iter().map(address).collect();
        addresses.join(", ") + what
    }

    /// Whether a cluster is asked for the server.
    pub(super) fn asks_a_cluster(&self) -> bool {
        matches!(self.known, Known::Others { question: Question::Slot(_), .. })
    }

    /// Whether the URL names the server itself.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self.known, Known::Server(_))
    }

    /// Asks one after the other until one knows.
    ///
    /// # Errors
    /// None knows; the error has the words of all.
    pub(super) async fn find(&self) -> Result<Client, NoConnection> {
        let (whom, question) = match &self.known {
            Known::Server(server) => return Ok(server.clone()),
            Known::Others { whom, question } => (whom, question),
        };
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let (mut failures, mut waits) = (Vec::new(), false);
        for turn in 0..whom.len() {
            let one = &whom[(first + turn) % whom.len()];
            let silent = || Err(NoConnection::passing(format!("no answer within {} s", ASK.as_secs())));
            match timeout(ASK, question.ask(one)).await.unwrap_or_else(|_| silent()) {
                Ok((host, port)) => {
                    let place = place(self.certificates.is_some(), host, port).into_connection_info();
                    let info = place.map(|info| info.set_redis_settings(self.settings.clone()));
                    let client = info.and_then(|info| client(info, self.certificates.as_ref()));
                    return client.map_err(|error| NoConnection::passing(error.to_string()));
                }
                Err(NoConnection { why, lasting }) => {
                    // One who may know yet is reason enough to wait.
                    waits |= !lasting;
                    failures.push(format!("{}: {}", address(one), why.0));
                }
            }
        }
        let why = failures.join("; ");
        Err(if waits { NoConnection::passing(why) } else { NoConnection::lasting(why) })
    }
}

impl Question {
    /// Yields host and port, or what is wrong.
    async fn ask(&self, one: &Client) -> Result<(String, u16), NoConnection> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connection = one.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection?;
        match self {
            Self::Primary(name) => ask_sentinel(&mut connection, name).await,
            Self::Slot(key) => {
                let (host, port) = ask_member(&mut connection, key).await?;
                // A member that does not know its own name is reached as it was asked.
                Ok((if host.is_empty() { self::host(one) } else { host }, port))
            }
        }
    }
}

async fn ask_sentinel(connection: &mut MultiplexedConnection, primary: &str) -> Result<(String, u16), NoConnection> {
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("get-master-addr-by-name").arg(primary);
    let words = |error: redis::RedisError| match NoConnection::from(error) {
        failed if failed.why.0.contains("unknown command") => {
            NoConnection::lasting("this is no Sentinel; name it in queue.url as redis://")
        }
        failed => failed,
    };
    let known: Option<(String, u16)> = ask.query_async(connection).await.map_err(words)?;
    known.ok_or_else(|| {
        NoConnection::lasting(format!(
            "this Sentinel knows no primary {primary:?}; set the name in queue.url to that of \"sentinel monitor\""
        ))
    })
}

async fn ask_member(connection: &mut MultiplexedConnection, key: &str) -> Result<(String, u16), NoConnection> {
    let words = |error: redis::RedisError| match NoConnection::from(error) {
        failed if failed.why.0.contains("cluster support disabled") => {
            NoConnection::lasting("this server is in no cluster; write queue.url as redis:// or redis+sentinel://")
        }
        failed => failed,
    };
    let mut ask = redis::cmd("CLUSTER");
    let slot: u16 = ask.arg("KEYSLOT").arg(key).query_async(connection).await.map_err(words)?;
    let mut ask = redis::cmd("CLUSTER");
    let ranges: Vec<Value> = ask.arg("SLOTS").query_async(connection).await.map_err(words)?;
    primary_of(slot, &ranges).ok_or_else(|| {
        NoConnection::passing(format!("no member of the cluster serves slot {slot}, which the queue is in"))
    })
}

/// Host and port of a slot's primary in the answer to `CLUSTER SLOTS`: ranges of `[first, last, [host, port, ...], ...]`,
/// the primary before its replicas. The host is empty when the one who answers does not know it.
fn primary_of(slot: u16, ranges: &[Value]) -> Option<(String, u16)> {
    ranges.iter().find_map(|range| {
        let Value::Array(range) = range else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = range.as_slice() else { return None };
        let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
        if !(*first..=*last).contains(&i64::from(slot)) {
            return None;
        }
        let host: Option<String> = redis::from_redis_value(host.clone()).ok()?;
        // A question mark stands for a name that was asked for and not set.
        Some((host.filter(|host| host != "?").unwrap_or_default(), u16::try_from(*port).ok()?))
    })
}

/// Reads the files; nothing is made up for those that are not named.
fn certificates(tls: &Tls) -> Result<TlsCertificates, OpenError> {
    // Another part of the process may have chosen a provider before; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read =
        |path: &std::path::PathBuf| std::fs::read(path).map_err(|source| OpenError::Tls { path: path.clone(), source });
    let client_tls = match &tls.client {
        Some((certificate, key)) => Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? }),
        None => None,
    };
    let root_cert = tls.ca.as_ref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

fn client(info: ConnectionInfo, certificates: Option<&TlsCertificates>) -> redis::RedisResult<Client> {
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    }
}

/// Host and port, without user and password.
pub(super) fn address(client: &Client) -> String {
    client.get_connection_info().addr().to_string()
}

fn host(client: &Client) -> String {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finder(url: &str, tls: &Tls) -> Result<Finder, OpenError> {
        Finder::new(url, tls, "{test}")
    }

    #[test]
    fn addresses_hold_no_password() {
        for (url, address) in [
            ("redis://:secret@h:1/3", "h:1"),
            ("redis+sentinel://:secret@a,b:2/main?sentinel_password=secret", "a:26379, b:2 (Sentinel)"),
            ("redis+cluster://u:secret@a:1,b:2", "a:1, b:2 (cluster)"),
        ] {
            assert_eq!(finder(url, &Tls::default()).ok().unwrap().address(), address);
        }
    }

    #[test]
    fn a_missing_certificate_is_named() {
        let tls = Tls { ca: Some("/nowhere/ca.pem".into()), client: None };
        for url in ["rediss://h", "rediss+sentinel://h/main", "rediss+cluster://h"] {
            let error = finder(url, &tls).err().unwrap().to_string();
            assert!(error.contains("/nowhere/ca.pem") && error.contains("os error"), "{error}");
        }
        assert!(finder("redis://h", &tls).is_ok(), "without TLS no certificate is read");
    }

    #[test]
    fn the_primary_of_a_slot_is_the_first_of_its_range() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let server =
            |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())]);
        let range = |first, last, servers: Vec<Value>| {
            Value::Array([Value::Int(first), Value::Int(last)].into_iter().chain(servers).collect())
        };
        let ranges = [
            range(0, 99, vec![server(text("a"), 1), server(text("b"), 2)]),
            range(100, 100, vec![server(Value::Nil, 3)]),
            range(101, 200, vec![server(text("?"), 4)]),
            Value::Nil,
            range(300, 400, vec![server(text("c"), 70_000)]),
        ];
        assert_eq!(primary_of(99, &ranges), Some(("a".to_owned(), 1)));
        assert_eq!(primary_of(100, &ranges), Some((String::new(), 3)));
        assert_eq!(primary_of(150, &ranges), Some((String::new(), 4)));
        assert_eq!(primary_of(250, &ranges), None);
        assert_eq!(primary_of(300, &ranges), None);
    }
}
