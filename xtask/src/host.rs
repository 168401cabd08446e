//! Starts the host, learns its address, and stops it.
//!
//! Knows a process and its first line. It must never know what is asked of the host.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::files;

/// Compiling the components at the first start takes the longest.
const START: Duration = Duration::from_secs(120);
/// The host drains its requests and tasks in 30 s at most unless configured otherwise.
const STOP: Duration = Duration::from_secs(40);
/// The API keys, in the demo's folder.
const KEYS: &str = "api-keys.json";
const ANNOUNCEMENT: &str = "visavis: listening on ";

/// A running host. Dropping it kills the process, so that no error leaves one behind.
#[derive(Debug)]
pub(crate) struct Host {
    process: Child,
    /// `http://address:port`.
    pub(crate) address: String,
    /// The API key that it asks for, where others than this machine can reach it.
    pub(crate) key: Option<String>,
    log: PathBuf,
}

/// Refuses an address that is taken, before any work is done for it.
pub(crate) fn check_address(address: SocketAddr) -> Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| {
        format!("can not listen on {address}\n  mend: stop what does, or choose another address: --listen 127.0.0.1:0")
    })
}

impl Host {
    /// Starts `program` with the embedded queue in `data`, and waits until it tells its address.
    pub(crate) fn start(program: &Path, listen: SocketAddr, data: &Path) -> Result<Self> {
        fs::create_dir_all(data).map_err(|error| files::refusal(data, &error))?;
        let log = data.join("host.log");
        let output = File::create(&log).map_err(|error| files::refusal(&log, &error))?;
        let key = if listen.ip().is_loopback() { None } else { Some(make_key(program, data)?) };
        let mut command = of_its_own(program, data);
        command.args(["serve", "--listen", &listen.to_string(), "--queue"]);
        command.arg(format!("file:{}", data.join("queue.redb").display()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(output);
        in_its_own_group(&mut command);
        let mut process = command.spawn().with_context(|| format!("can not start {}", program.display()))?;
        let lines = process.stdout.take();
        let mut host = Self { process, address: String::new(), key, log };
        host.address =
            lines.map(announcements).context("the host has no output")?.recv_timeout(START).map_err(|_| {
                let tail = host.log_tail();
                anyhow!("the host did not start{tail}\n  mend: see its log at {}", host.log.display())
            })?;
        Ok(host)
    }

    /// Whether the process has ended by itself.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_some())
    }

    /// Asks the host to drain and end, and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        terminate(&self.process)?;
        let start = Instant::now();
        while start.elapsed() < STOP {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the host ended with {status}{}", self.log_tail()),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("the host did not end in {} s and was killed{}", STOP.as_secs(), self.log_tail())
    }

    /// The last lines that the host logged.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(6).collect();
        lines.into_iter().rev().map(|line| format!("\n  host: {line}")).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail only when the process has ended, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program in a folder of its own and without settings of the user, so that the demo is the same everywhere.
fn of_its_own(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(data);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("VISAVIS_") || name == "REDIS_URL" || name == "CELERY_TASK_TIMEOUT" {
            command.env_remove(&*name);
        }
    }
    command.env("VISAVIS_AUTH__KEYS_FILE", data.join(KEYS));
    command
}

/// Makes a fresh key for the demo, in the place of one from before.
fn make_key(program: &Path, data: &Path) -> Result<String> {
    let file = data.join(KEYS);
    if file.exists() {
        fs::remove_file(&file).map_err(|error| files::refusal(&file, &error))?;
    }
    let made = of_its_own(program, data).args(["keys", "add", "demo"]).output();
    let made = made.with_context(|| format!("can not start {}", program.display()))?;
    if !made.status.success() {
        bail!("the host made no API key: {}", String::from_utf8_lossy(&made.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&made.stdout).trim().to_owned())
}

/// Reads the host's output to its end, so that it never blocks, and passes the address on.
fn announcements(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(address) = line.strip_prefix(ANNOUNCEMENT) {
                // The receiver is gone once it knows the address.
                let _ = sender.send(address.trim().to_owned());
            }
        }
    });
    receiver
}

/// Keeps Ctrl-C from reaching the host by the terminal: this program passes it on, once.
#[cfg(unix)]
fn in_its_own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    command.process_group(0);
}

#[cfg(not(unix))]
fn in_its_own_group(_: &mut Command) {}

#[cfg(unix)]
fn terminate(process: &Child) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw).context("the host has no process id")?;
    kill_process(id, Signal::TERM).context("can not stop the host")
}

#[cfg(not(unix))]
fn terminate(process: &Child) -> Result<()> {
    bail!("process {} can only be stopped by hand on this system", process.id())
}
