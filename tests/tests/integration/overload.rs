//! More requests than a host can do: what it accepts ends in time, and the rest is refused at once.
//!
//! Tasks are those of the stub, which take their time without a processor: so the rate that a host sustains does not depend on
//! who else uses this machine.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use visavis_tests::fleet::Fleet;
use visavis_tests::host::Setup;
use visavis_tests::http::Client;
use visavis_tests::stub;

/// How long one task takes, of two that are done at once.
const TASK: Duration = Duration::from_millis(100);
/// How old a task may become.
const AGE: Duration = Duration::from_secs(3);
/// What a busy machine may add to that.
const SLACK: Duration = Duration::from_secs(1);
/// How long there is too much to do.
const OVERLOAD: Duration = Duration::from_secs(10);

/// What became of one request.
enum Answered {
    /// Its task ended.
    Done(Duration),
    /// It was refused, as overloaded.
    Refused(Duration),
}

/// Asks for a verification and waits for its end.
fn ask(address: SocketAddr, number: u32) -> Answered {
    let form = stub::form(number, TASK, 2000);
    let begin = Instant::now();
    let answer = Client::new(address).post("/verify?wait=30", &form, &[]);
    let took = begin.elapsed();
    match answer.status {
        200 => {
            let status = answer.json();
            assert!(stub::is_own(&status["result"], number), "{status}");
            Answered::Done(took)
        }
        503 => {
            assert_eq!(answer.problem(), "overloaded", "{}", answer.text());
            let seconds: u64 = answer.header("retry-after").expect("a time to come back").parse().expect("seconds");
            assert!((1..=60).contains(&seconds), "{seconds}");
            Answered::Refused(took)
        }
        _ => panic!("{} {}", answer.status, answer.text()),
    }
}

/// Tasks a second that are done while there is always one more to do.
fn sustained(address: SocketAddr) -> f64 {
    let begin = Instant::now();
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            thread::spawn(move || {
                let mut done = 0;
                while begin.elapsed() < Duration::from_secs(3) {
                    match ask(address, 1000 * caller + done) {
                        Answered::Done(_) => done += 1,
                        // A host that has done nothing yet takes few.
                        Answered::Refused(_) => thread::sleep(TASK),
                    }
                }
                done
            })
        })
        .collect();
    let done: u32 = callers.into_iter().map(|caller| caller.join().expect("a caller")).sum();
    f64::from(done) / begin.elapsed().as_secs_f64()
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * share).round() as usize]
}

/// Sends twice as many requests as the service sustains, whatever becomes of those before.
fn overload(address: SocketAddr, who: &str) {
    let sustained = sustained(address);
    let (answers, answered) = channel();
    let begin = Instant::now();
    let count = (2.0 * sustained * OVERLOAD.as_secs_f64()) as u32;
    for number in 0..count {
        let due = begin + Duration::from_secs_f64(f64::from(number) / (2.0 * sustained));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answers = answers.clone();
        thread::spawn(move || answers.send(ask(address, number)).expect("the test waits"));
    }
    drop(answers);
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    for answer in answered {
        match answer {
            Answered::Done(took) => done.push(took),
            Answered::Refused(took) => refused.push(took),
        }
    }
    assert_eq!(done.len() + refused.len(), count as usize, "every request is answered");
    let [longest, middle, late] =
        [quantile(&mut done, 0.99), quantile(&mut refused, 0.5), quantile(&mut refused, 0.95)];
    eprintln!(
        "overload: {who}: {sustained:.1} tasks/s sustained; {} of {count} done, p50 {:?}, p99 {longest:?}; {} refused, p50 \
         {middle:?}, p95 {late:?}",
        done.len(),
        quantile(&mut done, 0.5),
        refused.len()
    );
    assert!(longest <= AGE + SLACK, "p99 of what was accepted is {longest:?}");
    assert!(middle < Duration::from_millis(100) && late < SLACK, "refusals took {middle:?}, the slower ones {late:?}");
    let kept_busy = done.len() as f64 / (OVERLOAD.as_secs_f64() * sustained);
    assert!(kept_busy > 0.7, "only {kept_busy:.2} of what can be done was accepted");
    assert!(refused.len() as f64 > 0.25 * f64::from(count), "only {} of {count} were refused", refused.len());
}

#[test]
fn one_host_does_in_time_what_it_accepts() {
    let setup = Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_WORKER__CONCURRENCY", "2")
        .set("VISAVIS_NN__SESSIONS", "4")
        .set("VISAVIS_QUEUE__MAX_AGE", "3s");
    let host = setup.start();
    overload(host.address(), "one host");
}

#[test]
fn nodes_on_one_redis_do_in_time_what_their_edge_accepts() {
    let fleet = Fleet::stubbed().set("VISAVIS_WORKER__CONCURRENCY", "1").set("VISAVIS_QUEUE__MAX_AGE", "3s");
    let edge = fleet.edge();
    let _workers = [fleet.worker(), fleet.worker()];
    overload(edge.address(), "two workers on a Redis");
}
