//! How the cost of a verification grows: with its photographs, the faces in them, and the number of nodes on one Redis.
//!
//! Owns the series and what is held still in each. Must never compare with others.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use visavis_tests::fleet::Fleet;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos;
use visavis_tests::redis::Redis;
use visavis_tests::stub;

use crate::Effort;
use crate::load::{self, Length};
use crate::report::{Report, Role};
use crate::sample::quantile;
use crate::service::{Manner, Pair};

const WHO: (Role, &str) = (Role::Visavis, "visavis");

/// Megapixels of each photograph.
const SIZES: [f64; 7] = [0.1, 0.3, 1.0, 3.0, 6.0, 12.0, 24.0];
/// Faces in each photograph.
const FACES: [u32; 6] = [1, 2, 4, 9, 16, 36];
/// Processes that work.
const NODES: [usize; 4] = [1, 2, 4, 8];
/// Tasks that wait before the ones that are measured.
const WAITING: [u32; 4] = [0, 1_000, 10_000, 50_000];
/// How long a stub task takes.
const STUB: Duration = Duration::from_millis(40);

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let mut report = Report::new(
        "How the cost grows",
        &[
            "Size and faces: one caller and the embedded queue; the time is from request to result. Photographs by megapixels are \
             the sample pair made larger or smaller. Faces stand in a grid of 1600 x 1600 pixels, so that each is smaller where \
             there are more; of two and more the result is a refusal, which takes as long to find.",
            "Line: submissions of 1 KB to an edge on a Redis where so many tasks wait and none is done. Nodes: tasks that take 40 ms \
             without using a processor, done by so many processes with two at a time each, on one Redis that writes every command \
             to disk before it answers: what the queue allows, where the work does not hold it back.",
        ],
    );
    let rounds = effort.choose(5, 1);
    let host = Setup::new().start();
    for _ in 0..rounds {
        for megapixels in effort.choose(&SIZES[..], &SIZES[..2]) {
            sized(&mut report, &host, *megapixels, effort)?;
        }
        for count in effort.choose(&FACES[..], &FACES[..2]) {
            crowded(&mut report, &host, *count, effort)?;
        }
    }
    drop(host);
    for waiting in effort.choose(&WAITING[..], &WAITING[..1]) {
        line(&mut report, *waiting, effort)?;
    }
    for nodes in effort.choose(&NODES[..], &NODES[..1]) {
        for _ in 0..effort.choose(3, 1) {
            spread(&mut report, *nodes, effort)?;
        }
    }
    Ok(report)
}

fn sized(report: &mut Report, host: &Host, megapixels: f64, effort: Effort) -> Result<()> {
    let [first, second] = ["obama.jpg", "obama2.jpg"].map(|name| photos::megapixels(name, megapixels));
    let pair = Pair::new(&first, &second);
    let act = async move |connection: &mut _, _| pair.verify(connection, Manner::Waits).await;
    let seen = load::closed(host.address(), 1, Length::Calls(effort.choose(12, 1)), act)?;
    report.add("request to result", (WHO.0, &format!("{megapixels} megapixels")), "ms", quantile(&seen.latencies, 0.5));
    Ok(())
}

fn crowded(report: &mut Report, host: &Host, count: u32, effort: Effort) -> Result<()> {
    let photograph = photos::crowd("obama.jpg", count, 1600);
    let pair = Pair::new(&photograph, &photograph);
    let act = async move |connection: &mut _, _| {
        let status = pair.end(connection, Manner::Waits).await?;
        let ending = status["error"]["code"].as_str().unwrap_or("success");
        let expected = if count == 1 { "success" } else { "multiple_faces" };
        ensure!(ending == expected, "{count} faces ended as {status}");
        Ok(())
    };
    let seen = load::closed(host.address(), 1, Length::Calls(effort.choose(12, 1)), act)?;
    let plural = if count == 1 { "face" } else { "faces" };
    let who = format!("{count} {plural} in each");
    report.add("request to refusal, or to the result of one face", (WHO.0, &who), "ms", quantile(&seen.latencies, 0.5));
    Ok(())
}

/// Submissions to a line of tasks that nobody does.
fn line(report: &mut Report, waiting: u32, effort: Effort) -> Result<()> {
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let fleet = Fleet::on(redis).set("VISAVIS_QUEUE__MAX_LENGTH", "1000000");
    let edge = fleet.edge();
    let submit = |count: usize| {
        let pair = Pair::new(&[0x5a; 500], &[0xa5; 500]);
        let act = async move |connection: &mut _, _| pair.submit(connection).await;
        load::closed(edge.address(), 16, Length::Calls(count), act)
    };
    if waiting > 0 {
        submit(waiting as usize).with_context(|| format!("{waiting} tasks that wait"))?;
    }
    let who = format!("{waiting} tasks wait");
    for _ in 0..effort.choose(5, 1) {
        let seen = submit(effort.choose(1000, 50))?;
        report.add("submissions to a line, 16 callers", (WHO.0, &who), "1/s", seen.rate());
        report.add("a submission's latency, p99", (WHO.0, &who), "ms", quantile(&seen.latencies, 0.99));
    }
    Ok(())
}

/// Tasks that take their time, done by many processes.
fn spread(report: &mut Report, nodes: usize, effort: Effort) -> Result<()> {
    let fleet = Fleet::stubbed().set("VISAVIS_WORKER__CONCURRENCY", "2");
    let edge = fleet.edge();
    let _workers: Vec<_> = (0..nodes).map(|_| fleet.worker()).collect();
    let tasks = effort.choose(100, 5) * nodes;
    let pairs: Vec<_> = (0..64).map(|number| Pair::of(&stub::form(number, STUB, 10_000))).collect();
    let pairs = Arc::new(pairs);
    let act = async move |connection: &mut _, number: usize| {
        let status = pairs[number % pairs.len()].end(connection, Manner::Waits).await?;
        ensure!(status["status"] == "SUCCESS", "a stub task ended as {status}");
        Ok(())
    };
    let seen = load::closed(edge.address(), 4 * nodes, Length::Calls(tasks), act)?;
    let plural = if nodes == 1 { "process" } else { "processes" };
    let who = format!("{nodes} {plural}");
    report.add("stub tasks done by workers on one Redis", (WHO.0, &who), "tasks/s", seen.rate());
    Ok(())
}
