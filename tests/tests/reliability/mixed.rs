//! All that clients and operators do, at once and for as long as is asked: nothing is lost, nothing is wrong, and memory stays
//! where it was.
//!
//! `VISAVIS_SOAK_MINUTES` says how long; `cargo xtask soak mixed --minutes 60` sets it.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use visavis_tests::components::{built, relabelled, trapping};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::http::Client;
use visavis_tests::operator::Wishes;
use visavis_tests::photos::{photo, small};
use visavis_tests::receiver::Receiver;
use visavis_tests::scale::{Run, scale};

/// How long one task, or the last webhook, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// An ended task is remembered for so long, and asked for again while it is younger than that by far.
const REMEMBERED: Duration = Duration::from_secs(180);
const ASKED: Duration = Duration::from_secs(90);
/// Memory at the end is compared with that at this time, in a run that is long enough.
const MARK: Duration = Duration::from_secs(300);
/// The clients that verify.
const CLIENTS: usize = 3;
/// How much may be said of what went wrong.
const EXAMPLES: usize = 5;

/// What must come of a pair of photographs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Verdict(bool),
    Failure(&'static str),
}

impl Expected {
    fn is_met_by(self, status: &Value) -> bool {
        match self {
            Self::Verdict(verdict) => status["status"] == "SUCCESS" && status["result"]["verified"] == verdict,
            Self::Failure(code) => status["status"] == "FAILURE" && status["error"]["code"] == code,
        }
    }
}

/// Matches, mismatches and files that are none.
fn pairs() -> Vec<(Form, Expected)> {
    let [a, b, c] = ["obama.jpg", "obama2.jpg", "biden.jpg"].map(|name| small(name, 320));
    vec![
        (Form::pair(&a, &b), Expected::Verdict(true)),
        (Form::pair(&b, &a), Expected::Verdict(true)),
        (Form::pair(&a, &c), Expected::Verdict(false)),
        (Form::pair(&c, &b), Expected::Verdict(false)),
        (Form::pair(&a, b"This is a letter, not a photograph."), Expected::Failure("unsupported_format")),
        (Form::pair(&photo("obama2.jpg")[..50_000], &b), Expected::Failure("invalid_image")),
        (Form::pair(&photo("chelsea.png"), &b), Expected::Failure("no_face")),
    ]
}

#[derive(Debug, Default)]
struct Counts {
    verified: AtomicUsize,
    failed: AtomicUsize,
    revoked: AtomicUsize,
    too_late: AtomicUsize,
    polled: AtomicUsize,
    swapped: AtomicUsize,
    rejected: AtomicUsize,
    lost: AtomicUsize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        write!(
            f,
            "verdicts {}, failures of bad files {}, revoked {}, too late to revoke {}, polls {}, swaps {}, deployments rejected {}, \
             lost {}",
            of(&self.verified),
            of(&self.failed),
            of(&self.revoked),
            of(&self.too_late),
            of(&self.polled),
            of(&self.swapped),
            of(&self.rejected),
            of(&self.lost)
        )
    }
}

/// What all who are busy have in common.
struct Town<'t> {
    host: &'t Host,
    receiver: &'t Receiver,
    pairs: Vec<(Form, Expected)>,
    counts: Counts,
    /// How what has ended was told, the newest last.
    ended: Mutex<VecDeque<(Instant, String, Value)>>,
    /// What receivers must be told, by the task's id; nothing of those that were revoked.
    news: Mutex<HashMap<String, Option<Value>>>,
    wrong: Mutex<Vec<String>>,
    over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Town<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    /// Submits a pair; yields the task's id, and its status where it was waited for.
    fn submit(&self, client: &Client, pair: usize, wait: bool, calls_back: bool) -> Option<(String, Option<Value>)> {
        let url = format!("http://{}/ended", self.receiver.address());
        let form = self.pairs[pair].0.clone();
        let form = if calls_back { form.text("callback_url", &url) } else { form };
        let answer = client.post(if wait { "/verify?wait=20" } else { "/verify" }, &form, &[]);
        if ![200, 202].contains(&answer.status) {
            self.wrong(format!("a submission was answered with {} {}", answer.status, answer.text()));
            return None;
        }
        let body = answer.json();
        let id = body["task_id"].as_str().expect("an id").to_owned();
        Some((id, (answer.status == 200).then_some(body)))
    }

    /// Waits for the end of a task; `None`: there was none.
    fn end_of(&self, client: &Client, id: &str) -> Option<Value> {
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            let answer = client.get(&format!("/status/{id}?wait=10"));
            if answer.status != 200 {
                break;
            }
            let status = answer.json();
            if ["SUCCESS", "FAILURE", "REVOKED"].contains(&status["status"].as_str().unwrap_or_default()) {
                return Some(status);
            }
        }
        count(&self.counts.lost);
        self.wrong(format!("{id} was accepted and does not end"));
        None
    }

    fn remember(&self, id: String, status: Value, calls_back: bool) {
        if calls_back {
            let told = (status["status"] != "REVOKED").then(|| status.clone());
            lock(&self.news).insert(id.clone(), told);
        }
        let mut ended = lock(&self.ended);
        ended.push_back((Instant::now(), id, status));
        while ended.front().is_some_and(|(at, ..)| at.elapsed() > ASKED) {
            ended.pop_front();
        }
    }

    /// Verifies one pair after the other.
    fn verify(&self, mut dice: Rng) {
        let client = self.host.client();
        while self.goes_on() {
            let pair = dice.usize(..self.pairs.len());
            let (wait, calls_back) = (dice.bool(), dice.u8(..4) == 0);
            let Some((id, status)) = self.submit(&client, pair, wait, calls_back) else { continue };
            let Some(status) = status.or_else(|| self.end_of(&client, &id)) else { continue };
            let expected = self.pairs[pair].1;
            if !expected.is_met_by(&status) {
                self.wrong(format!("{expected:?} was expected of {status}"));
            }
            count(if matches!(expected, Expected::Verdict(_)) { &self.counts.verified } else { &self.counts.failed });
            self.remember(id, status, calls_back);
        }
    }

    /// Submits and thinks better of it.
    fn revoke(&self, mut dice: Rng) {
        let client = self.host.client();
        while self.goes_on() {
            thread::sleep(Duration::from_millis(400).mul_f64(dice.f64()));
            let calls_back = dice.bool();
            let Some((id, _)) = self.submit(&client, 0, false, calls_back) else { continue };
            thread::sleep(Duration::from_millis(150).mul_f64(dice.f64()));
            let answer = client.send("DELETE", &format!("/status/{id}"), &[], &[]);
            let Some(status) = self.end_of(&client, &id) else { continue };
            match (answer.status, status["status"].as_str()) {
                (200, Some("REVOKED")) => count(&self.counts.revoked),
                (409, Some("SUCCESS")) => count(&self.counts.too_late),
                (code, _) => self.wrong(format!("a revocation was answered with {code}, and then there was {status}")),
            }
            self.remember(id, status, calls_back);
        }
    }

    /// Asks for what has ended, and for what never was.
    fn poll(&self, mut dice: Rng) {
        let client = self.host.client();
        while self.goes_on() {
            thread::sleep(Duration::from_millis(10));
            let known = {
                let ended = lock(&self.ended);
                let place = dice.usize(..ended.len().max(1));
                ended.get(place).filter(|(at, ..)| at.elapsed() < ASKED).cloned()
            };
            if let Some((_, id, status)) = known {
                let answer = client.get(&format!("/status/{id}"));
                if answer.status != 200 || answer.json() != status {
                    self.wrong(format!("{status} was told, and then {} {}", answer.status, answer.text()));
                }
            }
            let unknown = format!("face_verification_{:032x}", dice.u64(..));
            let answer = client.get(&format!("/status/{unknown}"));
            if answer.status != 404 {
                self.wrong(format!("a task that never was: {} {}", answer.status, answer.text()));
            }
            self.counts.polled.fetch_add(2, Ordering::Relaxed);
        }
    }

    /// Replaces one component after the other, and tries one that does not work.
    fn swap(&self) {
        let operator = self.host.operator();
        let plain = Wishes::default();
        // Two of each, by turns: what is compiled is compiled once.
        let variants = |slot: &str| ["even", "odd"].map(|label| relabelled(&built(slot), &format!("mixed {label}")));
        let components =
            [("scorer", variants("scorer")), ("gateway", variants("gateway")), ("analyzer", variants("analyzer"))];
        let (broken, mut turns) = (trapping("scorer"), [0; 3]);
        for round in 0_usize.. {
            let pause = Instant::now();
            while pause.elapsed() < Duration::from_secs(2) {
                if !self.goes_on() {
                    return;
                }
                thread::sleep(Duration::from_millis(50));
            }
            if round % 8 == 7 {
                let answer = operator.deploy("scorer", &broken, &plain);
                match answer.status {
                    400..500 => count(&self.counts.rejected),
                    status => self.wrong(format!("a scorer that traps was deployed: {status} {}", answer.text())),
                }
                continue;
            }
            let which = match round % 8 {
                3 => 2,
                1 | 5 => 1,
                _ => 0,
            };
            let (slot, variants) = &components[which];
            let answer = operator.deploy(slot, &variants[turns[which] % 2], &plain);
            turns[which] += 1;
            if answer.status == 200 && answer.json()["state"] == "serving" {
                count(&self.counts.swapped);
            } else {
                self.wrong(format!("{slot} was not deployed: {} {}", answer.status, answer.text()));
            }
        }
    }

    /// Waits until all news has been told, and judges what was; yields how much was.
    fn judge_news(&self) -> usize {
        let news = lock(&self.news);
        let expected = news.values().flatten().count();
        let deadline = Instant::now() + PATIENCE;
        let mut told = HashMap::<String, Vec<Value>>::new();
        while Instant::now() < deadline {
            told.clear();
            for received in self.receiver.received() {
                let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
                told.entry(body["task_id"].as_str().unwrap_or_default().to_owned()).or_default().push(body);
            }
            if told.len() >= expected {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        for (id, status) in news.iter() {
            let bodies = told.remove(id).unwrap_or_default();
            let right = match status {
                Some(status) => !bodies.is_empty() && bodies.iter().all(|body| body == status),
                None => bodies.is_empty(),
            };
            if !right {
                self.wrong(format!("of {id}, {status:?}, a receiver was told {bodies:?}"));
            }
        }
        if !told.is_empty() {
            self.wrong(format!("receivers were told of {:?}, which nobody asked for", told.keys()));
        }
        expected
    }
}

/// Tells all to stop, also when the test breaks off.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// How long the run is to be.
fn length() -> Duration {
    let asked = std::env::var("VISAVIS_SOAK_MINUTES").ok();
    let minutes = asked.map(|text| text.parse().expect("VISAVIS_SOAK_MINUTES is a number of minutes"));
    minutes.map_or_else(|| scale(Duration::from_secs(8), 2 * MARK), |minutes: u32| Duration::from_secs(60) * minutes)
}

/// The mean of what was measured around a time.
fn mean(samples: &[(Duration, u64)], around: Duration, width: Duration) -> f64 {
    let near = |at: Duration| at.abs_diff(around) <= width / 2;
    let chosen: Vec<_> = samples.iter().filter(|(at, _)| near(*at)).map(|(_, bytes)| *bytes as f64).collect();
    assert!(!chosen.is_empty(), "nothing was measured around {around:?}");
    chosen.iter().sum::<f64>() / chosen.len() as f64
}

#[test]
fn a_mixed_load_loses_nothing_and_leaves_memory_flat() {
    let run = Run::of("mixed load");
    let (length, mut dice) = (length(), Rng::new());
    let seed = dice.get_seed();
    let receiver = Receiver::start(&[]);
    let setup = Setup::new()
        .set("VISAVIS_WEBHOOKS__ALLOW", &format!("http://{}", receiver.address()))
        .set("VISAVIS_QUEUE__RESULT_TTL", &format!("{}s", REMEMBERED.as_secs()));
    let host = setup.start();
    let town = Town {
        host: &host,
        receiver: &receiver,
        pairs: pairs(),
        counts: Counts::default(),
        ended: Mutex::default(),
        news: Mutex::default(),
        wrong: Mutex::default(),
        over: AtomicBool::new(false),
    };
    let mut samples = Vec::new();
    thread::scope(|scope| {
        let _end = End(&town.over);
        let town = &town;
        let mut busy: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let dice = dice.fork();
                scope.spawn(move || town.verify(dice))
            })
            .collect();
        let (revoking, polling) = (dice.fork(), dice.fork());
        busy.push(scope.spawn(move || town.revoke(revoking)));
        busy.push(scope.spawn(move || town.poll(polling)));
        busy.push(scope.spawn(move || town.swap()));
        let (start, mut minutes) = (Instant::now(), 0);
        while start.elapsed() < length && !busy.iter().any(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(500));
            samples.push((start.elapsed(), host.resident()));
            if start.elapsed().as_secs() / 60 > minutes {
                minutes += 1;
                run.counted(&format!("minute {minutes}: {}, {} MiB resident", town.counts, host.resident() >> 20));
            }
        }
    });
    let told = town.judge_news();
    let (mark, window) = (MARK.min(length / 3), (length / 6).min(Duration::from_secs(60)));
    let last = samples.last().map_or(Duration::ZERO, |(at, _)| *at);
    let [before, after] = [mark, last - window / 2].map(|around| mean(&samples, around, window));
    host.terminate();
    assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.log());
    let output = setup.run(["queue", "stats", "--json", "--queue", &setup.queue()]);
    let stats: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let wrong = lock(&town.wrong);
    run.counted(&format!(
        "{}, webhooks {told}, wrong {}, in the queue at the end {stats}, resident {:.0} MiB after {:.0} s and {:.0} MiB at the end, seed \
         {seed}",
        town.counts,
        wrong.len(),
        before / 1048576.0,
        mark.as_secs_f64(),
        after / 1048576.0,
    ));
    assert!(wrong.is_empty(), "{} things went wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(EXAMPLES)]);
    for (what, expected) in [("waiting", 0), ("running", 0), ("dead", 0), ("webhooks", 0)] {
        assert_eq!(stats[what], json!(expected), "{what} in {stats}");
    }
    for (what, counter) in
        [("verdicts", &town.counts.verified), ("failures", &town.counts.failed), ("swaps", &town.counts.swapped)]
    {
        assert!(counter.load(Ordering::Relaxed) > 0, "there were no {what}; that tells nothing");
    }
    // In the first minutes caches fill, and a short run is all first minutes.
    let most = if length >= 2 * MARK { 1.1 } else { 1.5 };
    assert!(after < before * most, "the host's memory grows: from {before} to {after} bytes");
}
