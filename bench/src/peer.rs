//! The peer: FastAPI, Celery and facenet-pytorch with a Redis, as `bench/peer` has them.
//!
//! Owns the folder that its packages are installed into, and its processes. Must never know what is measured.

use std::env;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use visavis_tests::host::repository;
use visavis_tests::http::Client;
use visavis_tests::photos;
use visavis_tests::process::spawn;
use visavis_tests::redis::Redis;

use crate::service::{Manner, Service};

/// How long the peer may take until its first answer.
const START: Duration = Duration::from_secs(180);

/// What the peer runs on, installed.
#[derive(Debug)]
pub(crate) struct Installed {
    python: PathBuf,
    facenet: PathBuf,
}

impl Installed {
    /// Installs the pinned packages (3 GB to fetch, 5 GB on disk) unless they are there, and gives FaceNet's weights to the peer.
    ///
    /// # Errors
    /// There is no suitable Python, or pip cannot fetch a package.
    pub(crate) fn find_or_install() -> Result<Self> {
        let requirements = repository().join("bench/peer/requirements.txt");
        let pinned = fs::read(&requirements).with_context(|| format!("can not read {}", requirements.display()))?;
        let digest = hex::encode(Sha256::digest(&pinned));
        let folder = cache()?.join(format!("peer-{}", &digest[..12]));
        let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
        if !complete.exists() {
            eprintln!("bench: fetching the peer's packages, 3 GB, into {}", folder.display());
            let mut venv = Command::new("python3");
            execute(
                venv.args(["-m", "venv", "--clear"]).arg(&folder),
                "a virtual environment of Python can not be made",
            )?;
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--no-cache-dir", "--no-deps"]);
            pip.args(["--only-binary", ":all:", "--require-hashes", "--requirement"]).arg(&requirements);
            execute(
                &mut pip,
                "pip can not install the peer\n  mend: it needs CPython 3.11 on x86-64 Linux as `python3` and 10 GB of disk",
            )?;
            File::create(&complete).with_context(|| format!("can not write {}", complete.display()))?;
        }
        let model = photos::assets().join("models/facenet-casia-webface.onnx");
        let model_digest = hex::encode(Sha256::digest(fs::read(&model)?));
        let facenet = folder.join(format!("facenet-{}.pt", &model_digest[..12]));
        if !facenet.exists() {
            let (script, fresh) = (repository().join("bench/peer/weights.py"), folder.join("facenet.part"));
            let mut convert = Command::new(&python);
            execute(convert.arg(script).arg(model).arg(&fresh), "FaceNet's weights can not be converted for the peer")?;
            fs::rename(&fresh, &facenet)?;
        }
        Ok(Self { python, facenet })
    }
}

/// Where set-up keeps what it fetched, for all clones.
fn cache() -> Result<PathBuf> {
    let set = env::var_os("VISAVIS_CACHE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || Some(env::home_dir()?.join(".cache/visavis/downloads"));
    set.or_else(home).context("there is no home folder to keep downloads in\n  mend: set VISAVIS_CACHE to a folder")
}

fn execute(command: &mut Command, failure: &'static str) -> Result<()> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().context(failure)?;
    ensure!(status.success(), failure);
    Ok(())
}

/// How many threads torch computes with in each worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// As many as it chooses. They give the processor away while they wait.
    Own,
    /// One.
    One,
}

/// The running peer: one server of HTTP and as many workers as processors. Killed when dropped.
pub(crate) struct Peer {
    address: SocketAddr,
    threads: Threads,
    processes: Vec<Child>,
    /// Dropped after the processes that use it.
    redis: Redis,
    folder: TempDir,
}

impl Peer {
    /// Starts all of it, and waits until HTTP is answered. Workers may still be loading.
    pub(crate) fn start(installed: &Installed, workers: usize, threads: Threads) -> Result<Self> {
        let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
        let folder = TempDir::with_prefix("visavis-peer-").context("a folder for temporary files")?;
        let free = TcpListener::bind("127.0.0.1:0").context("the loopback has a free port")?;
        let address = free.local_addr()?;
        drop(free);
        let mut peer = Self { address, threads, processes: Vec::new(), redis, folder };
        let port = address.port().to_string();
        peer.run(installed, "service", &["uvicorn", "service:service", "--port", &port, "--no-access-log"])?;
        for number in 0..workers {
            let name = format!("worker{number}@peer");
            let celery = ["celery", "-A", "worker", "worker", "--pool=solo", "--loglevel=info", "-n", &name];
            peer.run(installed, &name, &celery)?;
        }
        let (client, deadline) = (Client::new(address), Instant::now() + START);
        while client.try_get("/").is_none_or(|answer| answer.status != 200) {
            peer.check()?;
            ensure!(Instant::now() < deadline, "the peer does not answer within {START:?}{}", peer.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(peer)
    }

    fn run(&mut self, installed: &Installed, name: &str, module: &[&str]) -> Result<()> {
        let log = self.log(name)?;
        let mut command = Command::new(&installed.python);
        command.arg("-m").args(module).current_dir(repository().join("bench/peer"));
        command.env("REDIS_URL", format!("{}/0", self.redis.url())).env("PEER_FACENET", &installed.facenet);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        match self.threads {
            Threads::Own => command.env("OMP_WAIT_POLICY", "PASSIVE"),
            Threads::One => command.env("OMP_NUM_THREADS", "1"),
        };
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.push(spawn(command));
        Ok(())
    }

    fn log(&self, name: &str) -> Result<File> {
        Ok(File::create(self.folder.path().join(format!("{name}.log")))?)
    }

    /// Fails when a process has ended.
    fn check(&mut self) -> Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.try_wait()? {
                bail!("a process of the peer has ended with {status}{}", self.logs());
            }
        }
        Ok(())
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let mut text = String::new();
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let log = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(5).collect();
            text.extend(lines.into_iter().rev().map(|line| format!("\n  {}: {line}", entry.file_name().display())));
        }
        text
    }
}

impl Service for Peer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn manner(&self) -> Manner {
        Manner::Polls
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.iter().map(Child::id).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Both fail only when the process has ended, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
