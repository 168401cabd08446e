//! Verifications from request to result: visavis with both queues, beside its peer.
//!
//! Owns the callers, the photographs and the bounds that the program is built for. Must never know how a face is found.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use visavis_tests::host::Setup;
use visavis_tests::photos;
use visavis_tests::redis::Redis;

use crate::Effort;
use crate::load::{self, Length, Seen};
use crate::peer::{Installed, Peer, Threads};
use crate::report::{Bound, Report, Role};
use crate::sample::quantile;
use crate::service::{Pair, Service};

const EMBEDDED: &str = "visavis, embedded queue";
const SHARED: &str = "visavis on Redis";
const PEER: &str = "FastAPI, Celery, facenet-pytorch";
const PEER_ALONE: &str = "the same, one thread a worker";

/// Settings of the Redis of both, as the peer's users run it.
const REDIS: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

/// At least so many times the peer's verifications a second, at 4 callers; and its latency alone at least so many times.
const FASTER: f64 = 12.0;
const SOONER: f64 = 8.0;
/// The peer's memory at least so many times.
const SMALLER: f64 = 4.0;
/// From the start of the process to the first result at most, seconds.
const FIRST: f64 = 1.0;

/// Calls of both photographs at a time.
const CALLERS: [usize; 3] = [1, 4, 16];
/// Sizes of photographs, megapixels.
const SIZES: [f64; 4] = [0.3, 1.0, 3.0, 12.0];

/// What people ask first.
const HEADLINES: [&str; 5] = [
    "the sample pair, 1 caller: p50",
    "the sample pair, 4 callers: verifies a second",
    "12 megapixels, 4 callers: verifies a second",
    "from start to the first result",
    "resident memory",
];

/// Who is measured.
struct Subject {
    role: Role,
    name: &'static str,
    service: Box<dyn Service>,
}

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let mut report = Report::new(
        "One verification, from request to result",
        &[
            "Each caller sends both photographs over a connection that it keeps, waits for the result, and sends them again. \
             visavis answers when the task has ended (`POST /verify?wait=30`); the peer has no such way, so its callers ask \
             every 10 ms. Every verdict is checked. Callers, services and both Redis servers (`appendfsync everysec`) share the \
             processors; they are measured one after the other, in rounds.",
            "The peer (bench/peer) is FastAPI under uvicorn, one Celery worker (`--pool=solo`) for each processor, and \
             facenet-pytorch 2.6.0 on torch 2.2.2, with the very weights that visavis runs. It is measured twice: with as many \
             threads as torch chooses, which serves one caller best (they give way while they wait, `OMP_WAIT_POLICY=passive`: \
             else workers keep each other from working), and with one thread a worker, which serves many best. Bounds are held \
             against the better of the two.",
            "Photographs by megapixels are the sample pair made larger or smaller. Memory is the proportional set size of all \
             processes without Redis, after the load; the first result is counted from the start of the processes, with \
             compiled components and file cache warm.",
        ],
    );
    let installed = Installed::find_or_install().context("the peer")?;
    let rounds = effort.choose(3, 1);
    let pair = Pair::new(&photos::photo("obama.jpg"), &photos::photo("obama2.jpg"));
    for _ in 0..rounds {
        starts(&mut report, &installed)?;
    }
    let redis = Redis::start_with(&REDIS);
    let visavis = |name, service| Subject { role: Role::Visavis, name, service: Box::new(service) };
    let subjects = [
        visavis(EMBEDDED, Setup::new().start()),
        visavis(SHARED, Setup::new().start_with(&["--queue", &redis.url()])),
        Subject {
            role: Role::Peer,
            name: PEER,
            service: Box::new(Peer::start(&installed, processors()?, Threads::Own)?),
        },
        Subject {
            role: Role::Peer,
            name: PEER_ALONE,
            service: Box::new(Peer::start(&installed, processors()?, Threads::One)?),
        },
    ];
    for subject in &subjects {
        // Sessions are made and memory is touched before anything counts, in each of the peer's workers.
        subject.load(&pair, 4, Length::Calls(effort.choose(12, 4)))?;
    }
    for _ in 0..rounds {
        for callers in CALLERS {
            measure(&mut report, &subjects, "the sample pair", &pair, callers, effort)?;
        }
        for subject in &subjects {
            let memory = subject.service.memory()?;
            report.add("resident memory", (subject.role, subject.name), "MB", memory);
        }
    }
    for megapixels in effort.choose(&SIZES[..], &SIZES[..1]) {
        let [first, second] = ["obama.jpg", "obama2.jpg"].map(|name| photos::megapixels(name, *megapixels));
        let pair = Pair::new(&first, &second);
        let what = format!("{megapixels} megapixels");
        for _ in 0..rounds {
            for callers in [1, 4] {
                measure(&mut report, &subjects, &what, &pair, callers, effort)?;
            }
        }
    }
    compare(&mut report);
    report.headlines = HEADLINES.map(str::to_owned).to_vec();
    Ok(report)
}

fn processors() -> Result<usize> {
    Ok(std::thread::available_parallelism().context("the number of processors")?.get())
}

impl Subject {
    fn load(&self, pair: &Pair, callers: usize, length: Length) -> Result<Seen> {
        let (pair, manner) = (pair.clone(), self.service.manner());
        let act = async move |connection: &mut _, _| pair.verify(connection, manner).await;
        load::closed(self.service.address(), callers, length, act).with_context(|| self.name.to_owned())
    }
}

/// Lets the subjects take turns.
fn measure(
    report: &mut Report,
    subjects: &[Subject],
    what: &str,
    pair: &Pair,
    callers: usize,
    effort: Effort,
) -> Result<()> {
    let length = effort.choose(Length::Time(Duration::from_secs(10)), Length::Calls(callers));
    for subject in subjects {
        let seen = subject.load(pair, callers, length)?;
        let who = (subject.role, subject.name);
        let plural = if callers == 1 { "caller" } else { "callers" };
        report.add(&format!("{what}, {callers} {plural}: verifies a second"), who, "1/s", seen.rate());
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let case = format!("{what}, {callers} {plural}: {name}");
            report.add(&case, who, "ms", quantile(&seen.latencies, share));
        }
    }
    Ok(())
}

/// From the start of the processes to the first result.
fn starts(report: &mut Report, installed: &Installed) -> Result<()> {
    let mut time = |(role, name): (Role, &'static str), start: &dyn Fn() -> Result<Box<dyn Service>>| -> Result<()> {
        let begin = Instant::now();
        let service = start()?;
        let subject = Subject { role, name, service };
        let pair = Pair::new(&photos::photo("obama.jpg"), &photos::photo("obama2.jpg"));
        subject.load(&pair, 1, Length::Calls(1))?;
        report.add("from start to the first result", (role, name), "s", begin.elapsed().as_secs_f64());
        Ok(())
    };
    let redis = Redis::start_with(&REDIS);
    time((Role::Visavis, EMBEDDED), &|| Ok(Box::new(Setup::new().start())))?;
    time((Role::Visavis, SHARED), &|| Ok(Box::new(Setup::new().start_with(&["--queue", &redis.url()]))))?;
    time((Role::Peer, PEER), &|| Ok(Box::new(Peer::start(installed, processors()?, Threads::Own)?)))
}

/// How many times better than the better of the peers, round by round.
fn compare(report: &mut Report) {
    for name in [EMBEDDED, SHARED] {
        let who = (Role::Visavis, name);
        let ratios = [
            (
                "the sample pair, 4 callers: verifies a second",
                "verifies a second at 4 callers: times the peer's",
                true,
                FASTER,
            ),
            ("the sample pair, 1 caller: p50", "p50 alone: times lower than the peer's", false, SOONER),
            ("resident memory", "resident memory: times less than the peer's", false, SMALLER),
        ];
        for (case, ratio, more_is_better, bound) in ratios {
            let ours = report.samples(case, name);
            let theirs = report.samples(case, PEER).into_iter().zip(report.samples(case, PEER_ALONE));
            for (ours, (own, one)) in ours.into_iter().zip(theirs) {
                let times = if more_is_better { ours / own.max(one) } else { own.min(one) / ours };
                report.add(ratio, who, "times", times);
            }
            report.hold(ratio, name, Bound::AtLeast(bound));
        }
        report.hold("from start to the first result", name, Bound::AtMost(FIRST));
    }
}
