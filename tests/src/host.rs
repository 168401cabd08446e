//! The host's process: started for real, on a free port, with its data in a folder of its own.
//!
//! Owns its life and its log. A host never outlives the test program, however that ends.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::Client;
use crate::operator::Operator;
use crate::photos;
use crate::process::{Resource, limit, read_lines, spawn, tail};

/// How long a host may take until it is ready, compiling its components for the first time.
const START: Duration = Duration::from_secs(120);

/// The operators' token, in a test's folder.
const TOKEN: &str = "admin.token";

/// The API keys, in a test's folder.
const KEYS: &str = "keys.json";

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in a folder of the repository")
}

/// The program under test: `VISAVIS_BIN`, or what `cargo build --release` made.
pub fn binary() -> PathBuf {
    let path =
        std::env::var_os("VISAVIS_BIN").map_or_else(|| repository().join("target/release/visavis"), PathBuf::from);
    assert!(path.is_file(), "{} is missing: run `cargo xtask setup`, or set VISAVIS_BIN", path.display());
    path
}

/// What a host is started with, and the folder that its data lives in from one start to the next.
#[derive(Clone, Debug)]
pub struct Setup {
    folder: Arc<TempDir>,
    environment: Vec<(String, String)>,
    listen: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// A fresh folder and no settings beyond the defaults.
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("visavis-test-").expect("the folder for temporary files can be written");
        fs::create_dir(folder.path().join("data")).expect("a fresh folder can be written");
        Self { folder: Arc::new(folder), environment: Vec::new(), listen: "127.0.0.1:0".to_owned() }
    }

    /// Sets a variable of the environment, as `VISAVIS_WORKER__CONCURRENCY`.
    #[must_use]
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.environment.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Listens on this address instead of the loopback's; port 0 takes a free one.
    #[must_use]
    pub fn listening_on(self, address: &str) -> Self {
        Self { listen: address.to_owned(), ..self }
    }

    /// The working folder: `visavis.toml` and `.env` are looked for here.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the queue and its key, and of nothing else.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The operators' token, as the host has made or found it.
    pub fn token(&self) -> String {
        fs::read_to_string(self.folder().join(TOKEN))
            .expect("a host that listens to operators has a token")
            .trim()
            .to_owned()
    }

    /// The file of the API keys.
    pub fn keys_file(&self) -> PathBuf {
        self.folder().join(KEYS)
    }

    /// Makes an API key as `visavis keys add` does with these arguments, and yields it.
    pub fn key(&self, arguments: &[&str]) -> String {
        self.keys(&[&["add"], arguments].concat())
    }

    /// Runs `visavis keys` with these arguments, and yields what it prints.
    pub fn keys(&self, arguments: &[&str]) -> String {
        let output = self.run(["keys"].iter().chain(arguments));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The program, in the working folder and in an environment that holds nothing of ours but what was set.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        let ours = |name: &str| {
            name.starts_with("VISAVIS_")
                || name.starts_with("OTEL_")
                || ["REDIS_URL", "CELERY_TASK_TIMEOUT"].contains(&name)
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(ours)) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(self.folder())
            .env("VISAVIS_ASSETS", photos::assets())
            // Compiled components are shared by all hosts of all runs: the cache is keyed by content.
            .env("VISAVIS_COMPONENTS__CACHE", repository().join("target/visavis-tests/compiled"))
            .env("VISAVIS_SERVER__ADMIN_TOKEN_FILE", TOKEN)
            .env("VISAVIS_AUTH__KEYS_FILE", KEYS)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    /// Starts a host and waits until it is ready.
    pub fn start(&self) -> Host {
        self.start_with(&["--queue", &self.queue()])
    }

    /// Starts a host with other flags than `--listen`.
    pub fn start_with(&self, flags: &[&str]) -> Host {
        self.launch(self.serve(flags))
    }

    /// Starts a host and waits until it listens, be it ready or not.
    pub fn start_unready(&self, flags: &[&str]) -> Host {
        self.listen(self.serve(flags)).0
    }

    /// Starts a host that may have so much of something.
    pub fn start_within(&self, resource: Resource, most: u64) -> Host {
        let mut command = self.serve(&["--queue", &self.queue()]);
        // SAFETY: between fork and exec only system calls are made, and they allocate nothing.
        unsafe { command.pre_exec(move || limit(0, resource, most)) };
        self.launch(command)
    }

    /// The URL of the queue in a file.
    pub fn queue(&self) -> String {
        format!("file:{}", self.data().join("queue.redb").display())
    }

    /// The program as a host, on free ports.
    fn serve(&self, flags: &[&str]) -> Command {
        self.command(["serve", "--listen", &self.listen, "--admin", "127.0.0.1:0"].iter().chain(flags))
    }

    /// Starts a host and waits until it is ready.
    fn launch(&self, command: Command) -> Host {
        let (host, deadline) = self.listen(command);
        host.await_readiness(deadline);
        host
    }

    /// Starts a host and waits until it listens. Yields as well until when it should be ready.
    fn listen(&self, mut command: Command) -> (Host, Instant) {
        let log = self.folder().join("stderr.log");
        let stderr = OpenOptions::new().create(true).append(true).open(&log).expect("the log can be written");
        command.stdout(Stdio::piped()).stderr(stderr);
        let mut child = spawn(command);
        let lines = read_lines(child.stdout.take().expect("stdout is piped"));
        let deadline = Instant::now() + START;
        let mut told = |what: &str| loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match line.strip_prefix(what) {
                    Some(rest) => {
                        let rest = rest.trim_start_matches("https://").trim_start_matches("http://");
                        let address = rest.trim_end_matches("/metrics").parse::<SocketAddr>();
                        break address.expect("the line names an address");
                    }
                    None => continue,
                },
                Err(_) => {
                    let _ = child.kill();
                    panic!("the host did not say {what:?} within {START:?}; {:?}\n{}", child.wait(), tail(&log));
                }
            }
        };
        let address = told("visavis: listening on ");
        let operators = told("visavis: operators on ");
        let watched = self.environment.iter().any(|(name, _)| name == "VISAVIS_TELEMETRY__METRICS");
        let metrics = watched.then(|| told("visavis: metrics on "));
        (Host { setup: self.clone(), child: Mutex::new(child), address, operators, metrics, log }, deadline)
    }
}

/// A running host. Dropping it kills it.
#[derive(Debug)]
pub struct Host {
    setup: Setup,
    child: Mutex<Child>,
    address: SocketAddr,
    operators: SocketAddr,
    metrics: Option<SocketAddr>,
    log: PathBuf,
}

impl Host {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An ordinary client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Where it listens to operators.
    pub fn operators(&self) -> SocketAddr {
        self.operators
    }

    /// Where it tells its metrics to whoever asks, if it was told to.
    pub fn watchers(&self) -> SocketAddr {
        self.metrics.expect("the host was started with VISAVIS_TELEMETRY__METRICS")
    }

    /// A client that shows the operators' token.
    pub fn operator(&self) -> Operator {
        Operator::new(self.operators, &self.setup.token())
    }

    /// What it was started with; starting that again continues with the same data.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log can be read")).into_owned()
    }

    /// Its resident memory, bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the host runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel counts memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("memory is a number of kB");
        kib * 1024
    }

    /// Its resident memory, bytes: what the pool of instances keeps for its next ones, and the rest. `None` where it cannot be
    /// seen: a host hides its memory from all but root.
    ///
    /// wasmtime reserves the pool's addresses in one piece, which starts as private memory of no rights.
    pub fn resident_in_and_beside_the_pool(&self) -> Option<(u64, u64)> {
        let maps = self.look_into("smaps")?;
        let (mut pool, mut all, mut reserved) = (0, 0, false);
        for line in maps.lines() {
            if let Some(kib) = line.strip_prefix("Rss:") {
                let kib: u64 = kib.trim().trim_end_matches(" kB").trim().parse().expect("memory is a number of kB");
                all += kib;
                pool += if reserved { kib } else { 0 };
            } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
                reserved = line.contains(" ---p ");
            }
        }
        Some((pool * 1024, (all - pool) * 1024))
    }

    /// How many pieces of machine code it has mapped that no file holds: compiled components. `None` where that cannot be seen.
    pub fn compiled_components(&self) -> Option<usize> {
        let maps = self.look_into("maps")?;
        let anonymous = |line: &&str| line.contains(" r-xp ") && line.split_whitespace().count() == 5;
        Some(maps.lines().filter(anonymous).count())
    }

    /// What the kernel says of its memory to those who may look into it.
    fn look_into(&self, what: &str) -> Option<String> {
        match fs::read_to_string(format!("/proc/{}/{what}", self.id())) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                eprintln!("skipped: only root may look into a host's memory");
                None
            }
            read => Some(read.expect("the host runs")),
        }
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        matches!(self.child.lock().expect("no test breaks off here").try_wait(), Ok(None))
    }

    /// Sets how much of something it may have.
    pub fn limit(&self, resource: Resource, most: u64) {
        limit(self.id().cast_signed(), resource, most).expect("the host runs, and its limit may be changed");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is our child and has not been waited for, so that its id is still its own.
        let sent = unsafe { libc::kill(self.id().cast_signed(), signal) };
        assert_eq!(sent, 0, "the host still runs");
    }

    /// Kills it as `kill -9` does.
    pub fn kill(self) -> Setup {
        let mut child = self.child.lock().expect("no test breaks off here");
        child.kill().expect("the host still runs");
        child.wait().expect("a killed host ends");
        drop(child);
        self.setup.clone()
    }

    /// Asks it to stop, as `kill` does.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    /// Waits for its end.
    pub fn wait(&self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.lock().expect("no test breaks off here").try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the host did not end within {patience:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.lock().expect("no test breaks off here").id()
    }

    fn await_readiness(&self, deadline: Instant) {
        loop {
            if self.client().try_get("/readyz").is_some_and(|answer| answer.status == 200) {
                return;
            }
            assert!(self.is_running(), "the host ended before it was ready:\n{}", tail(&self.log));
            assert!(Instant::now() < deadline, "the host was not ready within {START:?}:\n{}", tail(&self.log));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the end of the host's log ---\n{}", tail(&self.log));
        }
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The host that all tests use which need none of their own.
pub fn shared() -> Shared {
    Shared(SHARED.get_or_init(|| {
        // SAFETY: the function takes nothing, allocates no thread and does not unwind.
        unsafe { libc::atexit(clear_away) };
        Setup::new().start()
    }))
}

static SHARED: OnceLock<Host> = OnceLock::new();

/// Ends the shared host and removes its folder when the test program ends: nobody drops what is static.
extern "C" fn clear_away() {
    if let Some(host) = SHARED.get() {
        if let Ok(mut child) = host.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(host.setup.folder());
    }
}

/// One test's use of the shared host.
#[derive(Debug)]
pub struct Shared(&'static Host);

impl Deref for Shared {
    type Target = Host;

    fn deref(&self) -> &Host {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the end of the shared host's log ---\n{}", tail(&self.0.log));
        }
    }
}
