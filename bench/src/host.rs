//! What a host costs around a component: a gateway that only greets, beside hyper without one and `wasmtime serve`.
//!
//! Owns the greeting's callers and the bare server. Must never know a verification.

use std::convert::Infallible;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use visavis_pace::Instances;
use visavis_tests::host::{Setup, repository};
use visavis_tests::http::Client;
use visavis_tests::photos;
use visavis_tests::process::spawn;

use crate::Effort;
use crate::load::{self, Length, get};
use crate::report::{Bound, Report, Role};
use crate::sample::quantile;

const HOST: &str = "visavis, a fresh instance for each request";
const ENGINE: &str = "visavis, without HTTP";
const SERVE: &str = "wasmtime serve";
const BARE: &str = "hyper, no component";

/// Times the requests a second of `wasmtime serve`.
const FASTER: f64 = 1.5;

/// Greetings asked for at a time.
const CALLERS: [usize; 3] = [1, 16, 64];

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let (rounds, duration) = effort.choose((5, Duration::from_secs(10)), (1, Duration::from_secs(1)));
    let mut report = Report::new(
        "A host around a component",
        &[
            "A gateway that answers every request with `hello`, and callers that ask again as soon as they were answered, on \
             connections that are kept. visavis makes a fresh instance for each request, as does `wasmtime serve` with \
             `--max-instance-reuse-count 1`; hyper answers by itself, with a thread for each processor. Processor time is that \
             of the server's process, user and system; the callers' is not in it.",
        ],
    );
    instances(&mut report, effort)?;
    let component = repository().join("target/visavis-tests/hello_gateway.wasm");
    ensure!(component.is_file(), "{} is missing\n  mend: run `cargo xtask setup`", component.display());
    let host = Setup::new().set("VISAVIS_COMPONENTS__GATEWAY__PATH", &component.to_string_lossy()).start();
    let serve = Serve::start(&component)?;
    let bare = Bare::start()?;
    let mut servers = vec![(Role::Visavis, HOST, host.address(), host.id())];
    match &serve {
        Some(serve) => servers.push((Role::Peer, SERVE, serve.address, serve.child.id())),
        None => report.about.push(
            "`wasmtime serve` was not measured: the program was not found. `cargo install --locked wasmtime-cli --version \
             48.0.8` installs it, in about 20 minutes on two processors."
                .to_owned(),
        ),
    }
    servers.push((Role::Floor, BARE, bare.address, bare.child.id()));
    for _ in 0..rounds {
        for callers in CALLERS {
            for (role, who, address, process) in &servers {
                let who = (*role, *who);
                greet(*address, callers, Length::Calls(10 * callers))?;
                let before = processor_time(*process)?;
                let seen = greet(*address, callers, Length::Time(duration))?;
                let spent = processor_time(*process)? - before;
                let plural = if callers == 1 { "caller" } else { "callers" };
                report.add(&format!("{callers} {plural}: requests a second"), who, "1/s", seen.rate());
                report.add(&format!("{callers} {plural}: p99"), who, "ms", quantile(&seen.latencies, 0.99));
                let each = spent.as_secs_f64() * 1e6 / seen.latencies.len() as f64;
                report.add(&format!("{callers} {plural}: processor time of a request"), who, "µs", each);
            }
        }
    }
    let case = "16 callers: requests a second";
    let (ours, theirs) = (report.samples(case, HOST), report.samples(case, SERVE));
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        report.add("16 callers: times the requests of wasmtime serve", (Role::Visavis, HOST), "times", ours / theirs);
    }
    report.hold("16 callers: times the requests of wasmtime serve", HOST, Bound::AtLeast(FASTER));
    Ok(report)
}

/// The measurement among the host's tests.
const MEASUREMENT: &str = "runtime::pace::of_fresh_instances";

/// How long it takes to make an instance of what is shipped, and to throw it away.
fn instances(report: &mut Report, effort: Effort) -> Result<()> {
    let program = std::env::var_os("VISAVIS_PACE_BIN")
        .context("VISAVIS_PACE_BIN is not set\n  mend: run this by `cargo xtask bench host`")?;
    let folder = TempDir::with_prefix("visavis-bench-").context("a folder for temporary files")?;
    let component = |name: &str| photos::assets().join(format!("components/{name}.wasm"));
    let order = Instances {
        components: [component("analyzer"), component("scorer")],
        library: photos::assets().join("lib/libonnxruntime.so"),
        times: effort.choose(101, 20),
        answer: folder.path().join("instances.json"),
    };
    let mut command = Command::new(program);
    command.args(["--exact", MEASUREMENT]).env(visavis_pace::VARIABLE, serde_json::to_string(&order)?);
    let output = command.stdin(Stdio::null()).output().context("the measurement can not be started")?;
    ensure!(output.status.success(), "the measurement failed: {}", String::from_utf8_lossy(&output.stdout));
    let text = fs::read_to_string(&order.answer).context("the measurement answered nothing")?;
    let microseconds: [Vec<f64>; 2] = serde_json::from_str(&text).context("the measurement's answer")?;
    for (what, samples) in ["analyzer", "scorer"].into_iter().zip(microseconds) {
        for sample in samples {
            report.add(
                &format!("an instance of the {what}, made and thrown away"),
                (Role::Visavis, ENGINE),
                "µs",
                sample,
            );
        }
    }
    Ok(())
}

fn greet(address: SocketAddr, callers: usize, length: Length) -> Result<load::Seen> {
    let request = get("/")?;
    load::closed(address, callers, length, async move |connection, _| {
        let answer = connection.ask(&request).await?;
        ensure!(answer.status == StatusCode::OK && answer.body == "hello", "no greeting: {answer:?}");
        Ok(())
    })
}

/// What a process has used of all processors so far.
fn processor_time(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("can not read {path}"))?;
    // The name stands in brackets and may hold anything; user and system time are the 14th and 15th field.
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).context("a process has a name")?;
    let fields: Vec<_> = rest.split_whitespace().collect();
    let ticks: u64 =
        fields.get(11..13).context("a process has times")?.iter().map(|field| field.parse().unwrap_or(0)).sum();
    // Linux tells other programs of a hundredth of a second, whatever its own clock does.
    Ok(Duration::from_millis(10 * ticks))
}

/// `wasmtime serve` with the greeting. Killed when dropped.
struct Serve {
    address: SocketAddr,
    child: Child,
}

impl Serve {
    /// `None` where there is no such program.
    fn start(component: &PathBuf) -> Result<Option<Self>> {
        let found = Command::new("wasmtime").arg("--version").stdout(Stdio::null()).status();
        if !found.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let address = free_address()?;
        let mut command = Command::new("wasmtime");
        command
            .args(["serve", "-Scli", "--max-instance-reuse-count", "1", "--addr", &address.to_string()])
            .arg(component);
        let child = spawn(silent(command));
        let mut serve = Self { address, child };
        wait_for(address, &mut serve.child, SERVE)?;
        Ok(Some(serve))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A server that greets without a component, in a process of its own: this program, told so by a flag.
struct Bare {
    address: SocketAddr,
    child: Child,
}

impl Bare {
    fn start() -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--bare-server", &address.to_string()]);
        let child = spawn(silent(command));
        let mut bare = Self { address, child };
        wait_for(address, &mut bare.child, BARE)?;
        Ok(bare)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Greets until it is killed.
pub(crate) fn serve_bare(address: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answer =
                service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello")))));
            // A client that goes away is no failure.
            tokio::spawn(
                async move { drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await) },
            );
        }
    })
}

fn free_address() -> Result<SocketAddr> {
    let free = TcpListener::bind("127.0.0.1:0").context("the loopback has a free port")?;
    Ok(free.local_addr()?)
}

fn silent(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn wait_for(address: SocketAddr, child: &mut Child, who: &str) -> Result<()> {
    let (client, begin) = (Client::new(address), Instant::now());
    while client.try_get("/").is_none_or(|answer| answer.status != 200) {
        if let Some(status) = child.try_wait()? {
            bail!("{who} ended with {status}");
        }
        ensure!(begin.elapsed() < Duration::from_secs(60), "{who} does not answer");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn end(child: &mut Child) {
    // Both fail only when the process has ended, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let own = std::process::id();
        let before = processor_time(own).unwrap();
        let begin = Instant::now();
        while processor_time(own).unwrap() < before + Duration::from_millis(30) {
            assert!(begin.elapsed() < Duration::from_secs(60), "work has used no processor");
        }
    }
}
