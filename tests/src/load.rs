//! Clients that keep a host busy while something is done to it.
//!
//! Owns how long they go on, and that every request of theirs is answered. Must never know what is done meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::form::Form;
use crate::host::Host;

/// What the clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// The last status body of each verification, and which form it was of.
    pub verifications: Vec<(usize, Value)>,
    /// How long each poll of a status took, and when it began.
    pub polls: Vec<(Instant, Duration)>,
}

impl Seen {
    /// The generations of a slot that results name.
    pub fn generations(&self, slot: &str) -> Vec<u64> {
        self.verifications.iter().map(|(_, status)| generation(status, slot)).collect()
    }
}

/// The generation of a slot that made this result.
#[track_caller]
pub fn generation(status: &Value, slot: &str) -> u64 {
    let generation = &status["result"]["components"][slot]["generation"];
    generation.as_u64().unwrap_or_else(|| panic!("every result names its generations: {status}"))
}

/// Lets so many clients verify one form after the other, and so many poll the status of a task that has ended, while `work` is
/// done. Each client has its own connections. Ends when each has had the answer to its last request.
///
/// Panics where a request is not answered, or not as it should be: a verification ends, a poll finds what it found before.
pub fn under_load<R>(
    host: &Host,
    forms: &[Form],
    [verifying, polling]: [usize; 2],
    work: impl FnOnce() -> R,
) -> (R, Seen) {
    let known = host.client().submit(&forms[0]);
    let ended = host.client().ended(&known);
    let over = AtomicBool::new(false);
    let mut seen = Seen::default();
    let done = thread::scope(|scope| {
        // Also when the work breaks off: a scope waits for its threads.
        let _end = End(&over);
        let verifying: Vec<_> = (0..verifying)
            .map(|first| {
                let over = &over;
                scope.spawn(move || {
                    let (client, mut statuses) = (host.client(), Vec::new());
                    let mut turns = (0..forms.len()).cycle().skip(first);
                    while !over.load(Ordering::Relaxed) {
                        let form = turns.next().expect("there is a form");
                        statuses.push((form, client.verify(&forms[form])));
                    }
                    statuses
                })
            })
            .collect();
        let polling: Vec<_> = (0..polling)
            .map(|_| {
                let (over, known, ended) = (&over, &known, &ended);
                scope.spawn(move || {
                    let (client, mut polls) = (host.client(), Vec::new());
                    while !over.load(Ordering::Relaxed) {
                        let asked = Instant::now();
                        let answer = client.get(&format!("/status/{known}"));
                        polls.push((asked, asked.elapsed()));
                        assert_eq!((answer.status, &answer.json()), (200, ended));
                        thread::sleep(Duration::from_millis(2));
                    }
                    polls
                })
            })
            .collect();
        let done = work();
        over.store(true, Ordering::Relaxed);
        for client in verifying {
            seen.verifications.extend(client.join().unwrap_or_else(|broken| std::panic::resume_unwind(broken)));
        }
        for client in polling {
            seen.polls.extend(client.join().unwrap_or_else(|broken| std::panic::resume_unwind(broken)));
        }
        done
    });
    (done, seen)
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
