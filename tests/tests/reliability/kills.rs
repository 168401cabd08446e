//! A host killed at random moments while it is full of work, and an oracle that compares what was accepted with what has ended.
//!
//! Clients go on as clients do: whoever got no answer asks again with the same `Idempotency-Key`. So each has one task in the
//! end, whatever became of the first request, and the queue must hold exactly these.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use visavis_tests::host::Setup;
use visavis_tests::http::Client;
use visavis_tests::process::spawn;
use visavis_tests::redis::Redis;
use visavis_tests::scale::{Run, scale};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How many clients submit at the same time.
const CLIENTS: usize = 3;
/// A host that listens is killed before it has lived for so long.
const LIFE: Duration = Duration::from_millis(900);
/// One that starts, before it has started for so long: longer than most take.
const BIRTH: Duration = Duration::from_millis(1500);

/// What all clients have in common.
struct Town {
    watch: Watch,
    /// Where the host listens, when there is one.
    address: Mutex<Option<SocketAddr>>,
    numbers: AtomicU32,
    /// Requests that were refused or not answered.
    unanswered: AtomicUsize,
    over: AtomicBool,
    /// Nobody will answer any more.
    broken: AtomicBool,
}

impl Town {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn move_to(&self, address: Option<SocketAddr>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    fn client(&self) -> Option<Client> {
        let address = *self.address.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Client::patient(address?, Duration::from_secs(20)))
    }

    /// Submits one task after the other until it is over, each until it is accepted.
    fn submit_all(&self) {
        while !self.is_over() {
            let number = self.numbers.fetch_add(1, Ordering::SeqCst);
            let form = stub::form(number, Duration::from_millis(20), 20_000);
            let (content_type, body, key) = (form.content_type(), form.body(), format!("order-{number}"));
            let headers = [("content-type", content_type.as_str()), ("idempotency-key", key.as_str())];
            loop {
                let answer = self.client().and_then(|client| client.try_send("POST", "/verify", &headers, &body).ok());
                if let Some(answer) = answer.filter(|answer| answer.status != 503) {
                    assert_eq!(answer.status, 202, "{}", answer.text());
                    self.watch.accept(answer.json()["task_id"].as_str().expect("an id").to_owned(), number);
                    break;
                }
                if self.broken.load(Ordering::SeqCst) {
                    return;
                }
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(30));
            }
            thread::sleep(Duration::from_millis(30));
        }
    }
}

/// Kills the host of this set-up again and again, lets it end its work, and asks the oracle.
fn survive(run: &Run, setup: &Setup, queue: &str, kills: usize) {
    let mut dice = Rng::new();
    let seed = dice.get_seed();
    let flags = ["--queue", queue];
    let town = Town {
        watch: Watch::new(stub::is_own),
        address: Mutex::default(),
        numbers: AtomicU32::new(0),
        unanswered: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        broken: AtomicBool::new(false),
    };
    let mut at_birth = 0;
    let host = thread::scope(|scope| {
        // Also when a start fails: a scope waits for its threads.
        let end = End(&town);
        for _ in 0..CLIENTS {
            scope.spawn(|| town.submit_all());
        }
        for _ in 0..kills {
            assert!(run.took() < PATIENCE * 6, "{} accepted: {}", town.watch.tally().accepted, town.watch.trouble());
            if dice.u8(..4) == 0 {
                // Not yet listening, as a rule: while it takes up what the last one left.
                at_birth += 1;
                let mut command =
                    setup.command(["serve", "--listen", "127.0.0.1:0", "--admin", "off"].iter().chain(&flags));
                command.stdout(Stdio::null()).stderr(Stdio::null());
                let mut child = spawn(command);
                thread::sleep(BIRTH.mul_f64(dice.f64()));
                child.kill().and_then(|()| child.wait()).expect("our child");
            }
            let host = setup.start_unready(&flags);
            town.move_to(Some(host.address()));
            thread::sleep(LIFE.mul_f64(dice.f64()));
            if dice.u8(..3) == 0 {
                town.watch.look(&host.client());
            }
            host.kill();
            town.move_to(None);
        }
        let host = setup.start_with(&flags);
        town.move_to(Some(host.address()));
        drop(end);
        host
    });
    let accepted = town.numbers.load(Ordering::SeqCst) as usize;
    let tally = town.watch.to_the_end(&[host.client()], PATIENCE);
    host.terminate();
    assert!(host.wait(Duration::from_secs(60)).success(), "{}", host.log());
    let output = setup.run(["queue", "stats", "--json", "--queue", queue]);
    let stats: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let counts = ["waiting", "running", "dead", "ended"].map(|what| stats[what].as_u64().expect("a count"));
    run.counted(&format!(
        "{tally}, in the queue at the end {stats}, kills {kills} and at a start {at_birth}, requests refused or unanswered {}, seed \
         {seed}",
        town.unanswered.load(Ordering::SeqCst),
    ));
    assert!(accepted > kills, "only {accepted} tasks were accepted; that tells nothing");
    assert_eq!(tally, Tally::perfect(accepted), "{}", town.watch.trouble());
    assert_eq!(counts, [0, 0, 0, accepted as u64], "the queue holds what was accepted, and nothing else");
}

/// Tells the clients to stop: each after its last task, or at once where the test breaks off.
struct End<'a>(&'a Town);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.broken.store(thread::panicking(), Ordering::SeqCst);
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// A host whose tasks may be interrupted as often as need be.
fn setup() -> Setup {
    Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_QUEUE__MAX_DELIVERIES", "1000")
        .set("VISAVIS_QUEUE__MAX_LENGTH", "100000")
        .set("VISAVIS_QUEUE__LEASE", "5s")
}

#[test]
fn a_host_killed_at_random_moments_ends_all_that_it_accepted_once() {
    let run = Run::of("host with the embedded queue killed at random moments");
    let setup = setup();
    survive(&run, &setup, &setup.queue(), scale(8, 200));
}

#[test]
fn a_node_on_a_redis_killed_at_random_moments_ends_all_that_it_accepted_once() {
    let run = Run::of("node on a Redis killed at random moments");
    let redis = Redis::start();
    let key = setup();
    let file = key.data().join("payload.key").to_string_lossy().into_owned();
    let setup = key.clone().set("VISAVIS_QUEUE__ENCRYPTION_KEY_FILE", &file).set("VISAVIS_QUEUE__NODE", "the-node");
    survive(&run, &setup, &redis.url(), scale(4, 100));
}
