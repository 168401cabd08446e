//! More verifications than can be done: how many are accepted, how long those take, and how fast the rest is refused.
//!
//! Owns the rates. Must never know by what the host decides.

use std::time::Duration;

use anyhow::{Result, ensure};
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos;
use visavis_tests::redis::Redis;

use crate::Effort;
use crate::load::{self, Length};
use crate::report::{Bound, Report, Role};
use crate::sample::quantile;
use crate::service::{Manner, Pair};

/// How old a task may become, seconds.
const AGE: u64 = 5;
/// Callers that find the rate which can be sustained.
const CALLERS: usize = 4;
/// Connections of the open loop: more than the tasks that can be done within the age, and fewer than the requests that a host
/// reads at once.
const CONNECTIONS: usize = 200;
/// Times the rate that can be sustained.
const TIMES: [f64; 4] = [0.5, 1.0, 2.0, 4.0];

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let (rounds, duration) = effort.choose((3, Duration::from_secs(20)), (1, Duration::from_secs(6)));
    let mut report = Report::new(
        "Overload",
        &[
            "The sample pair, `queue.max_age` of 5 s. First 4 callers that ask again as soon as they were answered: what can be \
             sustained. Then an open loop at 0.5, 1, 2 and 4 times that rate for 20 s: a request is due at a constant rate, whatever \
             became of those before it, and its latency counts from that moment to the verdict, or to the refusal. Every accepted \
             task is waited for. The client runs on the same processors, and so do the refusals.",
        ],
    );
    let redis = Redis::start_with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let setup = || Setup::new().set("VISAVIS_QUEUE__MAX_AGE", &format!("{AGE}s"));
    let embedded = setup().start();
    let shared = setup().start_with(&["--queue", &redis.url()]);
    for _ in 0..rounds {
        for (who, host) in [("visavis, embedded queue", &embedded), ("visavis on Redis", &shared)] {
            round(&mut report, who, host, duration)?;
        }
    }
    Ok(report)
}

fn round(report: &mut Report, who: &str, host: &Host, duration: Duration) -> Result<()> {
    let pair = Pair::new(&photos::photo("obama.jpg"), &photos::photo("obama2.jpg"));
    let us = (Role::Visavis, who);
    let closed = |callers: usize, length: Length| {
        let pair = pair.clone();
        let act = async move |connection: &mut _, _| pair.verify(connection, Manner::Waits).await;
        load::closed(host.address(), callers, length, act)
    };
    // A host that has done nothing yet takes few at once.
    closed(1, Length::Calls(10))?;
    let sustained = closed(CALLERS, Length::Time(duration / 2))?.rate();
    report.add("sustained", us, "1/s", sustained);
    for times in TIMES {
        let pair = pair.clone();
        let act = async move |connection: &mut _, _| pair.attempt(connection).await;
        let seen = load::open(host.address(), CONNECTIONS, times * sustained, duration, act)?;
        let of = |wanted: bool| -> Vec<f64> {
            seen.iter().filter(|(accepted, _)| *accepted == wanted).map(|(_, latency)| *latency).collect()
        };
        let (accepted, refused) = (of(true), of(false));
        ensure!(!accepted.is_empty(), "every request was refused at {times} times what can be sustained");
        let case = |name: &str| format!("{times} times: {name}");
        let seconds = duration.as_secs_f64();
        report.add(&case("accepted"), us, "1/s", accepted.len() as f64 / seconds);
        report.add(&case("p50 of the accepted"), us, "ms", quantile(&accepted, 0.5));
        report.add(&case("p99 of the accepted"), us, "ms", quantile(&accepted, 0.99));
        report.hold(&case("p99 of the accepted"), who, Bound::AtMost(AGE as f64 * 1e3));
        report.add(&case("refused"), us, "1/s", refused.len() as f64 / seconds);
        if times > 1.0 && !refused.is_empty() {
            report.add(&case("p50 of the refusals"), us, "ms", quantile(&refused, 0.5));
            report.add(&case("p99 of the refusals"), us, "ms", quantile(&refused, 0.99));
        }
    }
    Ok(())
}
