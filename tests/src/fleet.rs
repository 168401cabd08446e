//! Many nodes that share one queue on a Redis: edges with a listener, workers without one.
//!
//! Owns their common set-up and the life of workers. Must never know what a test does to them or counts.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::host::{Host, Setup};
use crate::process::{read_lines, spawn, tail};
use crate::redis::Redis;
use crate::stub;

/// How long a worker may take until it works, compiling its components for the first time.
const START: Duration = Duration::from_secs(120);

/// What all nodes have in common: the key that photographs are sealed with, and settings.
#[derive(Debug)]
pub struct Fleet {
    /// The server that keeps the queue.
    pub redis: Redis,
    keeper: Setup,
    settings: Vec<(String, String)>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl Fleet {
    /// A fresh Redis that writes every command to disk before it answers, and no node.
    pub fn new() -> Self {
        Self::on(Redis::start())
    }

    /// The same, whose workers have the stub for an analyzer.
    pub fn stubbed() -> Self {
        Self::new().stub()
    }

    /// No node yet, on a Redis that runs.
    pub fn on(redis: Redis) -> Self {
        Self { redis, keeper: Setup::new(), settings: Vec::new() }
    }

    /// Lets workers have the stub for an analyzer.
    #[must_use]
    pub fn stub(self) -> Self {
        self.set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
    }

    /// Sets a variable of every node's environment.
    #[must_use]
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// A node's set-up with a folder of its own.
    pub fn node(&self) -> Setup {
        let key = self.keeper.data().join("payload.key");
        let setup = Setup::new().set("VISAVIS_QUEUE__ENCRYPTION_KEY_FILE", &key.to_string_lossy());
        self.settings.iter().fold(setup, |setup, (variable, value)| setup.set(variable, value))
    }

    /// Starts a node that accepts tasks and does none.
    pub fn edge(&self) -> Host {
        self.node().start_with(&["--queue", &self.redis.url(), "--role", "edge"])
    }

    /// Starts a node that does tasks and accepts none.
    pub fn worker(&self) -> Worker {
        Worker::start(self.node(), self.redis.url())
    }

    /// The same, which reaches the queue by another URL.
    pub fn worker_by(&self, url: &str) -> Worker {
        Worker::start(self.node(), url.to_owned())
    }
}

/// A running worker. Dropping it kills it.
#[derive(Debug)]
pub struct Worker {
    setup: Setup,
    url: String,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn start(setup: Setup, url: String) -> Self {
        let process = Mutex::new(launch(&setup, &url));
        let worker = Self { setup, url, process };
        worker.await_work();
        worker
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&self) {
        let mut process = self.process();
        process.child.kill().expect("the worker still runs");
        process.child.wait().expect("a killed worker ends");
    }

    /// Starts it again after [`Worker::kill`], without waiting until it works.
    pub fn restart(&self) {
        *self.process() = launch(&self.setup, &self.url);
    }

    /// Waits until it works.
    pub fn await_work(&self) {
        let mut process = self.process();
        while process.lines.recv_timeout(START).is_ok_and(|line| line != "visavis: working") {}
        let ended = process.child.try_wait().expect("a child");
        assert!(ended.is_none(), "the worker ended before it worked: {ended:?}\n{}", tail(&self.log_file()));
    }

    /// Stops it in its tracks, as if its machine hung, until [`Worker::thaw`].
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on as if nothing had been.
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        self.setup.folder()
    }

    /// Its log so far, of all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).expect("the log can be read")).into_owned()
    }

    /// How many lines of its log hold all of these words.
    pub fn said(&self, words: &[&str]) -> usize {
        self.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and has not been waited for, so that its id is still its own.
        let sent = unsafe { libc::kill(self.process().child.id().cast_signed(), signal) };
        assert_eq!(sent, 0, "the worker still runs");
    }

    fn log_file(&self) -> PathBuf {
        self.setup.folder().join("stderr.log")
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A test that broke off while it held the lock has said why; the worker must end all the same.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of a worker's log ---\n{}", tail(&self.log_file()));
        }
        let mut process = self.process();
        let _ = process.child.kill();
        let _ = process.child.wait();
    }
}

fn launch(setup: &Setup, url: &str) -> Process {
    let log = OpenOptions::new().create(true).append(true).open(setup.folder().join("stderr.log"));
    let mut command = setup.command(["serve", "--queue", url, "--role", "worker", "--admin", "off"]);
    command.stdout(Stdio::piped()).stderr(log.expect("the log can be written"));
    let mut child = spawn(command);
    let lines = read_lines(child.stdout.take().expect("stdout is piped"));
    Process { child, lines }
}
