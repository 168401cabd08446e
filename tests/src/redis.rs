//! A redis-server for one test: on a free port of the loopback, with its files in a folder of its own.
//!
//! Owns its life. Must never know what a queue keeps in it.

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
