//! A redis-server of its own for one test: on a free port of the loopback, killed when dropped.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// So long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The process, its port and its folder, which outlive each other as a test likes.
pub(super) struct Process {
    child: Mutex<Option<Child>>,
    port: u16,
    folder: TempDir,
    settings: Vec<String>,
    sentinel: bool,
}

/// A port of the loopback that nobody listens on.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Process {
    /// Starts a server that answers. `settings` are those of redis.conf, as arguments.
    pub(super) fn start(settings: &[&str]) -> Self {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self::begin(tempfile::tempdir().unwrap(), settings, false)
    }

    /// Starts a Sentinel that answers, with this sentinel.conf.
    pub(super) fn start_sentinel(file: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sentinel.conf"), file).unwrap();
        Self::begin(folder, Vec::new(), true)
    }

    fn begin(folder: TempDir, settings: Vec<String>, sentinel: bool) -> Self {
        let process = Self { child: Mutex::default(), port: free_port(), folder, settings, sentinel };
        process.restart();
        process
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where the server keeps its files.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts it again after [`Process::kill`], on the same port and files.
    pub(super) fn restart(&self) {
        let mut command = Command::new("redis-server");
        if self.sentinel {
            command.arg(self.folder.path().join("sentinel.conf")).arg("--sentinel");
        } else {
            command.args(["--save", ""]).args(&self.settings);
        }
        let child = command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed (Debian: apt-get install redis-server)");
        *self.child() = Some(child);
        self.wait_until("PING", |answer| answer == "+PONG\r\n");
    }

    /// Sends a command again and again until the answer is as wanted.
    pub(super) fn wait_until(&self, command: &str, wanted: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let answer = String::from_utf8_lossy(&self.command(command)).into_owned();
            if wanted(&answer) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "port {}, {command}: {answer}", self.port);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// As `kill -9`.
    pub(super) fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it in its tracks (SIGSTOP), or lets it go on (SIGCONT).
    pub(super) fn signal(&self, signal: i32) {
        let pid = self.child().as_ref().expect("it runs").id();
        // SAFETY: no memory is involved; the process is a child that was not yet waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid as libc::pid_t, signal) }, 0);
    }

    /// Sends one inline command on a connection of its own, and yields the beginning of the answer.
    pub(super) fn command(&self, command: &str) -> Vec<u8> {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return Vec::new() };
        let mut answer = vec![0; 1 << 16];
        let sent = stream.write_all(format!("{command}\r\n").as_bytes());
        let length = sent.and_then(|()| stream.read(&mut answer)).unwrap_or(0);
        answer.truncate(length);
        answer
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
