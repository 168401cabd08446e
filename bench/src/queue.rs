//! Durable tasks a second: both queues, beside redis-benchmark against the same server.
//!
//! Owns the rounds and what is compared. The queues are driven by `queue::pace`, a measurement among the host's own tests: the
//! code that a host runs, without HTTP. Must never know how a queue works.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;
use visavis_tests::redis::Redis;

use crate::Effort;
use crate::report::{Bound, Report, Role};
use crate::sample::quantile;

/// So many ask at a time.
const CALLERS: usize = 64;

/// The measurement among the host's tests.
const MEASUREMENT: &str = "queue::pace::of_the_queue_that_is_ordered";

/// The least that a shared queue does: it keeps the photographs and puts the task in line, in one step.
const LEAST: &str =
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', 86400000); redis.call('ZADD', 'line', 1, KEYS[1]); return 1";

/// Bytes of a task's photographs, and what is asked of a Redis that is given them.
struct Size {
    name: &'static str,
    bytes: usize,
    least: f64,
    tasks: usize,
}

/// What is left of a server that dies.
struct Durability {
    name: &'static str,
    settings: &'static [&'static str],
}

const DURABILITIES: [Durability; 2] = [
    Durability { name: "in memory only", settings: &["--appendonly", "no"] },
    Durability { name: "appendfsync everysec", settings: &["--appendonly", "yes", "--appendfsync", "everysec"] },
];

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let rounds = effort.choose(5, 1);
    let sizes = [
        Size { name: "1 KB", bytes: 1_000, least: 10_000.0, tasks: effort.choose(40_000, 500) },
        Size { name: "200 KB", bytes: 200_000, least: 3_000.0, tasks: effort.choose(6_000, 100) },
    ];
    let mut report = Report::new(
        "Durable tasks a second",
        &[
            "A task is two photographs, which are sealed, stored and put in line before it counts; it is ended by a worker that \
             claims it, opens the photographs and settles it. 64 callers at a time, all on this machine together with the \
             server. `redis-benchmark` sends the same number of bytes over as many connections, and does no more than its name \
             says: SET stores, XADD appends to a stream, EVAL runs one script that stores the bytes and puts a name in line.",
            "The bounds are for submissions to a Redis that keeps its data in memory only or writes it to disk once a second.",
        ],
    );
    for size in &sizes {
        for _ in 0..rounds {
            for durability in &DURABILITIES {
                redis(&mut report, size, durability)?;
            }
            embedded(&mut report, size)?;
        }
    }
    Ok(report)
}

fn redis(report: &mut Report, size: &Size, durability: &Durability) -> Result<()> {
    let Size { name, bytes, least, tasks } = *size;
    let folder = TempDir::with_prefix("visavis-bench-").context("a folder for temporary files")?;
    let submit = format!("{name}, {}: tasks submitted", durability.name);
    let end = format!("{name}, {}: tasks ended", durability.name);
    let wait = format!("{name}, {}: a submission's latency, p99", durability.name);
    let ours = "visavis on Redis";
    let pace = {
        let server = Redis::start_with(durability.settings);
        Pace::measure(&server.url(), folder.path(), bytes, tasks)?
    };
    report.add(&submit, (Role::Visavis, ours), "tasks/s", pace.submitted.rate());
    report.hold(&submit, ours, Bound::AtLeast(least));
    report.add(&wait, (Role::Visavis, ours), "ms", quantile(&pace.submitted.milliseconds, 0.99));
    let script: [&[&str]; 3] = [
        &["SET", "key:__rand_int__"],
        &["XADD", "stream", "*", "photographs"],
        &["EVAL", LEAST, "1", "key:__rand_int__"],
    ];
    for command in script {
        // A server of its own: what the one before was given still fills its memory.
        let server = Redis::start_with(durability.settings);
        let measured = redis_benchmark(&server, command, bytes, tasks)?;
        let who = format!("redis-benchmark, {}", command[0]);
        report.add(&submit, (Role::Floor, &who), "tasks/s", measured.rate);
        report.add(&wait, (Role::Floor, &who), "ms", measured.p99);
    }
    report.add(&end, (Role::Visavis, ours), "tasks/s", pace.ended.rate());
    Ok(())
}

fn embedded(report: &mut Report, size: &Size) -> Result<()> {
    let folder = TempDir::with_prefix("visavis-bench-").context("a folder for temporary files")?;
    let queue = folder.path().join("queue.redb");
    let queue = queue.to_str().context("the folder for temporary files has an ordinary name")?;
    let pace = Pace::measure(queue, folder.path(), size.bytes, size.tasks)?;
    let ours = (Role::Visavis, "visavis, embedded queue");
    let case = |what: &str| format!("{}, on this disk before it is answered: {what}", size.name);
    report.add(&case("tasks submitted"), ours, "tasks/s", pace.submitted.rate());
    report.add(&case("a submission's latency, p99"), ours, "ms", quantile(&pace.submitted.milliseconds, 0.99));
    report.add(&case("tasks ended"), ours, "tasks/s", pace.ended.rate());
    Ok(())
}

/// What the measurement answers.
#[derive(Deserialize)]
struct Pace {
    submitted: Part,
    ended: Part,
}

#[derive(Deserialize)]
struct Part {
    seconds: f64,
    milliseconds: Vec<f64>,
}

impl Part {
    fn rate(&self) -> f64 {
        self.milliseconds.len() as f64 / self.seconds
    }
}

impl Pace {
    /// Runs the measurement in a process of its own.
    fn measure(queue: &str, folder: &Path, bytes: usize, tasks: usize) -> Result<Self> {
        let program = std::env::var_os("VISAVIS_PACE_BIN").map(PathBuf::from);
        let program = program.context("VISAVIS_PACE_BIN is not set\n  mend: run this by `cargo xtask bench queue`")?;
        let answer = folder.join("pace.json");
        let order = json!({ "queue": queue, "folder": folder, "bytes": bytes, "callers": CALLERS, "tasks": tasks, "answer": answer });
        let mut command = Command::new(program);
        command.args(["--exact", MEASUREMENT]).env("VISAVIS_PACE", order.to_string());
        let output = command.stdin(Stdio::null()).output().context("the measurement can not be started")?;
        if !output.status.success() {
            bail!("the measurement failed: {}", String::from_utf8_lossy(&output.stdout));
        }
        let text = std::fs::read_to_string(&answer).with_context(|| format!("{MEASUREMENT} has answered nothing"))?;
        let pace: Self = serde_json::from_str(&text).context("the measurement's answer")?;
        ensure!(pace.submitted.milliseconds.len() == tasks, "not every task was submitted");
        Ok(pace)
    }
}

/// What redis-benchmark says of one command.
struct Measured {
    rate: f64,
    p99: f64,
}

/// The command's last argument is so many bytes.
fn redis_benchmark(server: &Redis, command: &[&str], bytes: usize, tasks: usize) -> Result<Measured> {
    let port = server.url().rsplit(':').next().unwrap_or_default().to_owned();
    let mut benchmark = Command::new("redis-benchmark");
    benchmark.args(["-h", "127.0.0.1", "-p", &port, "-c", &CALLERS.to_string(), "-n", &tasks.to_string()]);
    // `-r` makes keys of random numbers, `-x` reads the last argument from stdin.
    benchmark.args(["-r", "1000000000", "--csv", "-x"]).args(command);
    benchmark.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = benchmark.spawn().context("redis-benchmark can not be started\n  mend: install redis-tools")?;
    child.stdin.take().context("stdin is piped")?.write_all(&vec![b'x'; bytes])?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = || format!("redis-benchmark said: {text}{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), said());
    parse(&text).with_context(said)
}

/// The columns of `--csv` have names in the first line; the first one, the command, may hold commas.
fn parse(text: &str) -> Result<Measured> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("\"test\""));
    let columns = |line: &str| line.rsplit(',').map(|value| value.trim_matches('"').to_owned()).collect::<Vec<_>>();
    let (names, values) = lines
        .next()
        .zip(lines.next())
        .map(|(names, values)| (columns(names), columns(values)))
        .context("no figures")?;
    let figure = |name: &str| -> Result<f64> {
        let at = names.iter().position(|column| column == name).with_context(|| format!("no column {name}"))?;
        Ok(values.get(at).context("too few columns")?.parse()?)
    };
    Ok(Measured { rate: figure("rps")?, p99: figure("p99_latency_ms")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_benchmark_says_is_read() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                    \"p99_latency_ms\",\"max_latency_ms\"\n\
                    \"EVAL a, b\",\"33333.33\",\"0.933\",\"0.512\",\"0.919\",\"1.207\",\"1.423\",\"1.439\"\n";
        let measured = parse(text).unwrap();
        assert_eq!((measured.rate, measured.p99), (33333.33, 1.423));
        assert!(parse("Could not connect").is_err());
    }
}
