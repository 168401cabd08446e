//! One run for the tensors of several callers.
//!
//! Owns who waits for a run, which calls are run together, and the threads that run them. Must never know a library, or what a
//! row stands for.

use std::collections::VecDeque;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasmtime_wasi_nn::backend::NamedTensor;

use self::rows::{joined, parted};
use super::network::{Broken, Session};
use super::watchdog::Watchdog;
use crate::telemetry::Runs;

mod rows;
#[cfg(test)]
mod tests;

pub(super) use self::rows::{common as common_rows, takes_any_number};

/// How calls are gathered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The most rows of one run; a call that brings more runs by itself.
    pub(super) rows: usize,
    /// The most elements that all inputs of one run hold together; as above.
    pub(super) elements: usize,
    /// How long a call waits for others at most while a session is free.
    pub(super) delay: Duration,
}

/// Why a call has no outputs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Its deadline came while it waited for its run.
    Waiting,
    /// Its deadline came while it ran.
    Running,
    /// The run failed, in the library's words.
    Failed(String),
}

type Outcome = Result<Vec<NamedTensor>, Unanswered>;

/// The sessions of one graph, each with a thread that runs what has gathered. Callers wait for nothing but their own rows: one
/// that gives up leaves the others' run as it is.
pub(super) struct Batcher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    bounds: Bounds,
    watchdog: Watchdog,
    state: Mutex<State>,
    changed: Condvar,
    runs: Arc<Runs>,
}

#[derive(Default)]
struct State {
    /// In the order in which they came.
    waiting: VecDeque<Call>,
    calls: u64,
    closed: bool,
}

/// What one caller waits for.
struct Call {
    number: u64,
    inputs: Vec<NamedTensor>,
    elements: usize,
    /// `None` when its inputs differ in their numbers of rows: then it runs by itself.
    rows: Option<usize>,
    since: Instant,
    deadline: Instant,
    reply: SyncSender<Outcome>,
}

impl Batcher {
    /// Starts a thread for each session.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(sessions: Vec<Box<dyn Session>>, bounds: Bounds, runs: Arc<Runs>) -> io::Result<Self> {
        let (watchdog, state, changed) = (Watchdog::start()?, Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { bounds, watchdog, state, changed, runs });
        // Built up in place: if a later thread cannot be had, dropping this ends the earlier ones.
        let mut batcher = Self { shared, threads: Vec::new() };
        for session in sessions {
            let shared = Arc::clone(&batcher.shared);
            let thread = thread::Builder::new().name("nn-batch".to_owned());
            batcher.threads.push(thread.spawn(move || shared.work(session))?);
        }
        Ok(batcher)
    }

    /// Runs the graph for checked inputs that together hold so many elements, with whatever else waits and fits. The outputs are
    /// those of a run of its own.
    ///
    /// # Errors
    ///
    /// [`Unanswered`], at `deadline` at the latest.
    pub(super) fn run(&self, inputs: &[NamedTensor], elements: usize, deadline: Instant) -> Outcome {
        let (reply, outcome) = mpsc::sync_channel(1);
        let mut state = self.shared.lock();
        let number = state.calls;
        state.calls += 1;
        state.waiting.push_back(Call {
            number,
            rows: rows::common(inputs),
            inputs: inputs.iter().map(rows::copy).collect(),
            elements,
            since: Instant::now(),
            deadline,
            reply,
        });
        drop(state);
        self.shared.changed.notify_one();
        match outcome.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Err(self.shared.give_up(number)),
            Err(RecvTimeoutError::Disconnected) => {
                Err(Unanswered::Failed("its run ended without an answer".to_owned()))
            }
        }
    }

    /// How many calls wait for a run.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.shared.lock().waiting.len()
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Runs what gathers until the batcher is dropped. Nobody waits any more then, for whoever calls holds the batcher.
    fn work(&self, mut session: Box<dyn Session>) {
        while let Some(calls) = self.next() {
            // As a caller's panic gives its session back to the pool, one here must not end the thread that others wait for.
            let start = Instant::now();
            let run = panic::catch_unwind(AssertUnwindSafe(|| self.run(session.as_mut(), &calls)));
            let rows = calls.iter().map(|call| call.rows.unwrap_or(1)).sum();
            self.runs.note(start.elapsed(), rows, matches!(run, Ok(Ok(_))));
            let outcomes = run.unwrap_or_else(|_| Err(Broken::Failed("its run panicked".to_owned())));
            match outcomes {
                Ok(outcomes) => answer(&calls, outcomes.into_iter().map(Ok)),
                Err(Broken::Overdue) => answer(&calls, calls.iter().map(|_| Err(Unanswered::Running))),
                Err(Broken::Failed(reason)) => {
                    answer(&calls, calls.iter().map(|_| Err(Unanswered::Failed(reason.clone()))));
                }
            }
        }
    }

    /// One run for `calls`, whose outputs come in their order. It ends when the last of them is overdue: an earlier deadline ends
    /// its caller's waiting alone.
    fn run(&self, session: &mut dyn Session, calls: &[Call]) -> Result<Vec<Vec<NamedTensor>>, Broken> {
        let elements = calls.iter().map(|call| call.elements).sum();
        let deadline = calls.iter().map(|call| call.deadline).max().unwrap_or_else(Instant::now);
        if let [call] = calls {
            return Ok(vec![session.run(&call.inputs, elements, deadline, &self.watchdog)?]);
        }
        let inputs: Vec<_> = calls.iter().map(|call| call.inputs.as_slice()).collect();
        let rows: Vec<_> = calls.iter().filter_map(|call| call.rows).collect();
        let outputs = session.run(&joined(&inputs), elements, deadline, &self.watchdog)?;
        parted(outputs, &rows).map_err(Broken::Failed)
    }

    /// Waits for the calls of the next run; `None` when the batcher is dropped.
    fn next(&self) -> Option<Vec<Call>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let chosen = (0..state.waiting.len()).find_map(|first| self.ready(&state.waiting, first, now));
            if let Some(chosen) = chosen {
                let calls = take(&mut state.waiting, &chosen);
                // What is left may have been announced to this thread alone.
                if !state.waiting.is_empty() {
                    self.changed.notify_one();
                }
                return Some(calls);
            }
            state = match state.waiting.front() {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(oldest) => {
                    let left = (oldest.since + self.bounds.delay).saturating_duration_since(now);
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The places of the calls that run with the one at `first`, if it is time: it has waited long enough, or no other fits.
    fn ready(&self, waiting: &VecDeque<Call>, first: usize, now: Instant) -> Option<Vec<usize>> {
        let Bounds { rows: most_rows, elements: most_elements, delay } = self.bounds;
        let call = &waiting[first];
        let Some(mut rows) = call.rows else { return Some(vec![first]) };
        let (mut chosen, mut elements, mut full) = (vec![first], call.elements, rows >= most_rows);
        for (at, other) in waiting.iter().enumerate().skip(first + 1) {
            let Some(more) = other.rows.filter(|_| !full && rows::alike(&call.inputs, &other.inputs)) else { continue };
            // Later ones do not overtake the one that no longer fits.
            if rows + more > most_rows || elements + other.elements > most_elements {
                full = true;
                break;
            }
            chosen.push(at);
            rows += more;
            elements += other.elements;
            full = rows == most_rows;
        }
        (full || call.since + delay <= now).then_some(chosen)
    }

    /// Takes a call whose deadline has come out of the line, if it still stands there, so that nothing is computed for nobody.
    fn give_up(&self, number: u64) -> Unanswered {
        let waiting = &mut self.lock().waiting;
        match waiting.iter().position(|call| call.number == number) {
            Some(at) => {
                waiting.remove(at);
                Unanswered::Waiting
            }
            None => Unanswered::Running,
        }
    }

    // Nothing can panic between taking the lock and giving it back that would leave the line half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the calls at these places, which ascend, out of the line.
fn take(waiting: &mut VecDeque<Call>, places: &[usize]) -> Vec<Call> {
    let mut calls: Vec<_> = places.iter().rev().filter_map(|at| waiting.remove(*at)).collect();
    calls.reverse();
    calls
}

/// Hands each caller its own. Whoever gave up has nobody listening any more.
fn answer(calls: &[Call], outcomes: impl Iterator<Item = Outcome>) {
    for (call, outcome) in calls.iter().zip(outcomes) {
        let _ = call.reply.try_send(outcome);
    }
}
