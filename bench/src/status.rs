//! `GET /status/{id}`, as many clients poll: how long an answer takes at a constant rate, and how many a second there can be.
//!
//! Owns the rate, the connections and the tasks that are asked for. Must never know how a status is found.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::redis::Redis;

use crate::Effort;
use crate::load::{self, Connection, Length, get};
use crate::report::{Bound, Report, Role};
use crate::sample::quantile;

/// Requests a second, and the connections that they are spread over.
const RATE: f64 = 1000.0;
const CONNECTIONS: usize = 50;

/// Callers that ask again as soon as they were answered.
const CALLERS: usize = 16;

/// What a client that waits for a verification may be kept waiting by the question alone, milliseconds.
const BOUND: f64 = 5.0;

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let (rounds, duration) = effort.choose((3, Duration::from_secs(30)), (1, Duration::from_secs(2)));
    let mut report = Report::new(
        "Status polls",
        &[
            "An open loop: a request is due every millisecond, whatever became of those before it, and its latency counts from \
             that moment to the last byte of the answer. 50 connections that are kept, 20 tasks that have ended, 30 seconds a \
             round. Then a closed loop: 16 callers that ask again as soon as they were answered, a third as long. A gateway that answers is a fresh instance of a component each time. The client runs on the same processors.",
        ],
    );
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let embedded = Setup::new().start();
    let shared = Setup::new().start_with(&["--queue", &redis.url()]);
    let hosts = [("visavis, embedded queue", &embedded), ("visavis on Redis", &shared)];
    let mut asked = Vec::new();
    for (_, host) in hosts {
        asked.push(ended(host, effort.choose(20, 2))?);
    }
    for _ in 0..rounds {
        for ((who, host), requests) in hosts.into_iter().zip(&asked) {
            let requests = requests.iter().map(|path| get(path)).collect::<Result<Vec<_>>>()?;
            // Connections are made and memory is touched before anything counts.
            load::closed(host.address(), CONNECTIONS, Length::Calls(10 * CONNECTIONS), poll(requests.clone()))?;
            let seen = load::open(host.address(), CONNECTIONS, RATE, duration, poll(requests.clone()))?;
            let latencies: Vec<_> = seen.into_iter().map(|((), latency)| latency).collect();
            for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("longest", 1.0)] {
                let case = format!("1,000 a second: {name}");
                report.add(&case, (Role::Visavis, who), "ms", quantile(&latencies, share));
            }
            report.hold("1,000 a second: p99", who, Bound::AtMost(BOUND));
            let seen = load::closed(host.address(), CALLERS, Length::Time(duration / 3), poll(requests))?;
            report.add("as many as it can, 16 callers", (Role::Visavis, who), "polls/s", seen.rate());
        }
    }
    Ok(report)
}

/// A caller that asks for one after the other.
fn poll(requests: Vec<Request<Full<Bytes>>>) -> impl AsyncFn(&mut Connection, usize) -> Result<()> {
    async move |connection, number| {
        let answer = connection.ask(&requests[number % requests.len()]).await?;
        ensure!(answer.status == StatusCode::OK, "the answer was {}: {:?}", answer.status, answer.body);
        Ok(())
    }
}

/// The paths of the statuses of so many verifications that have ended.
fn ended(host: &Host, count: usize) -> Result<Vec<String>> {
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let mut paths = Vec::new();
    for _ in 0..count {
        let status = client.verify(&form);
        ensure!(status["result"]["verified"] == true, "the sample pair was not verified: {status}");
        paths.push(format!("/status/{}", status["task_id"].as_str().unwrap_or_default()));
    }
    Ok(paths)
}
