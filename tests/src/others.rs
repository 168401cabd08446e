//! Ordinary clients beside an attack: they ask again and again, and note how long they wait.
//!
//! Owns the measure of "others are served meanwhile". Must never know the attack.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::http::Client;

/// Between two questions of one client.
const PAUSE: Duration = Duration::from_millis(50);

/// A client on a thread of its own.
#[derive(Debug)]
pub struct Others {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Waits>,
}

/// How an ordinary client fared.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// For how long each answer was waited for.
    pub waits: Vec<Duration>,
    /// What was no answer, or not the one that was hoped for.
    pub refusals: Vec<String>,
}

impl Others {
    /// Asks, by `ask`, until the attack is over; each question on a connection of its own. `ask` says what is wrong with an answer.
    pub fn ask(host: &Host, ask: impl Fn(&Client) -> Result<(), String> + Send + 'static) -> Self {
        let (address, enough) = (host.address(), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let enough = Arc::clone(&enough);
            move || {
                let mut told = Waits::default();
                // Once at least.
                loop {
                    let start = Instant::now();
                    told.refusals.extend(ask(&Client::new(address)).err());
                    told.waits.push(start.elapsed());
                    if enough.load(Ordering::Relaxed) {
                        return told;
                    }
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { enough, thread }
    }

    /// Asks for a path, which must be answered with 200.
    pub fn get(host: &Host, path: &'static str) -> Self {
        Self::ask(host, move |client| match client.try_send("GET", path, &[], &[]) {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(error) => Err(error.to_string()),
        })
    }

    /// The attack is over: how they fared.
    pub fn fared(self) -> Waits {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().expect("asking does not panic")
    }
}

impl Waits {
    /// The longest wait.
    pub fn longest(&self) -> Duration {
        self.waits.iter().copied().max().unwrap_or_default()
    }

    /// Everybody was served, and within this time.
    #[track_caller]
    pub fn assert_served_within(&self, patience: Duration) {
        assert!(self.refusals.is_empty(), "{} of {}: {:?}", self.refusals.len(), self.waits.len(), self.refusals);
        assert!(self.longest() < patience, "somebody waited for {:?}", self.longest());
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.waits.clone();
        sorted.sort();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let (count, longest) = (sorted.len(), self.longest());
        write!(f, "{count} others served in {median:.0?} (median), {longest:.0?} (longest)")
    }
}
