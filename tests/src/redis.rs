//! A redis-server for one test: on a free port of the loopback, with its files in a folder of its own.
//!
//! Owns its life, and a client that reads all that it holds. Must never know what a queue keeps in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running server, killed when dropped.
#[derive(Debug)]
pub struct Redis {
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    environment: Vec<(String, String)>,
    child: Child,
}

impl Redis {
    /// Starts a server that writes every command to disk before it answers.
    pub fn start() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a server with these settings of redis.conf, as arguments.
    pub fn start_with(settings: &[&str]) -> Self {
        Self::begin(settings, Vec::new())
    }

    /// Starts a server that writes every command to disk before it answers, with variables added to its environment.
    pub fn start_under(environment: &[(&str, String)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self::begin(&["--appendonly", "yes", "--appendfsync", "always"], environment)
    }

    fn begin(settings: &[&str], environment: Vec<(String, String)>) -> Self {
        let folder = TempDir::with_prefix("visavis-redis-").expect("the folder for temporary files can be written");
        let free = TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port");
        let port = free.local_addr().expect("a bound socket has an address").port();
        drop(free);
        let settings: Vec<_> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let child = serve(folder.path(), port, &settings, &environment);
        Self { folder, port, settings, environment, child }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Every key with all that lies under it, one after the other.
    pub fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let address = self.url().replace("redis://", "");
        let stream = TcpStream::connect(address).expect("Redis listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit above zero");
        let mut reader = BufReader::new(stream);
        let mut ask = |words: &[&[u8]]| ask(&mut reader, words).expect("Redis answers");
        let (mut keys, mut cursor) = (Vec::new(), b"0".to_vec());
        loop {
            let mut found = ask(&[b"SCAN", &cursor, b"COUNT", b"1000"]);
            cursor = found.remove(0);
            keys.append(&mut found);
            if cursor == b"0" {
                break;
            }
        }
        keys.sort();
        keys.dedup();
        let read = |key: Vec<u8>| {
            let kind = ask(&[b"TYPE", &key]).concat();
            let parts = match kind.as_slice() {
                b"string" => ask(&[b"GET", &key]),
                b"hash" => ask(&[b"HGETALL", &key]),
                b"set" => ask(&[b"SMEMBERS", &key]),
                b"zset" => ask(&[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"]),
                b"list" => ask(&[b"LRANGE", &key, b"0", b"-1"]),
                // It has gone meanwhile.
                b"none" => Vec::new(),
                other => panic!("a {} is not read here", String::from_utf8_lossy(other)),
            };
            (String::from_utf8_lossy(&key).into_owned(), parts.join(&b' '))
        };
        keys.into_iter().map(read).collect()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("the server still runs");
        self.child.wait().expect("a killed server ends");
    }

    /// Starts it again on the same port and files.
    pub fn restart(&mut self) {
        self.child = serve(self.folder.path(), self.port, &self.settings, &self.environment);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(folder: &Path, port: u16, settings: &[String], environment: &[(String, String)]) -> Child {
    let child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(settings)
        .args(["--save", "", "--dir"])
        .arg(folder)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run `cargo xtask test`, or apt-get install redis-server");
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not answer on port {port}");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Sends a command; answers all strings of the answer, however it is nested. An error is an error.
fn ask(connection: &mut BufReader<TcpStream>, words: &[&[u8]]) -> std::io::Result<Vec<Vec<u8>>> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend(b"\r\n");
    }
    connection.get_mut().write_all(&command)?;
    let mut strings = Vec::new();
    // So many replies are yet to come.
    let mut open = 1;
    while open > 0 {
        open -= 1;
        let mut line = String::new();
        connection.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let length = rest.parse().unwrap_or(-1_i64);
        match kind {
            "*" => open += length.max(0),
            "$" if length >= 0 => {
                let mut bytes = vec![0; usize::try_from(length).unwrap_or_default() + 2];
                connection.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                strings.push(bytes);
            }
            "+" | ":" => strings.push(rest.as_bytes().to_vec()),
            "-" => return Err(std::io::Error::other(rest.to_owned())),
            _ => {}
        }
    }
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_server_holds_is_read() {
        let redis = Redis::start();
        let mut connection = BufReader::new(TcpStream::connect(redis.url().replace("redis://", "")).unwrap());
        let mut run = |text: &str| {
            let words: Vec<_> = text.split(' ').map(str::as_bytes).collect();
            ask(&mut connection, &words).unwrap()
        };
        run("SET string a-face");
        run("HSET hash field a-second-face");
        run("ZADD sorted 7 a-third-face");
        run("SADD set a-fourth-face");
        run("RPUSH list a-fifth-face");
        let contents = redis.contents();
        let held = |key: &str| {
            let (_, bytes) = contents.iter().find(|(name, _)| name == key).expect("the key is there");
            String::from_utf8_lossy(bytes).into_owned()
        };
        assert_eq!(contents.len(), 5);
        assert_eq!((held("string"), held("hash")), ("a-face".to_owned(), "field a-second-face".to_owned()));
        assert_eq!((held("sorted"), held("set")), ("a-third-face 7".to_owned(), "a-fourth-face".to_owned()));
        assert_eq!(held("list"), "a-fifth-face");
    }
}
