//! The one thread that changes anything.
//!
//! Owns the order of things: commands that have gathered are applied to the ledger, written in one transaction (group
//! commit), published on the board, and only then answered. It is also the queue's only timer. Must never know HTTP,
//! WebAssembly or what a payload holds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::board::{Board, Figures};
use super::clock::{Clock, Stamp};
use super::command::{Answer, Command, Grant, Refusal};
use super::drain::Drain;
use super::ledger::{Interruption, Ledger, Lost, NotDead, NotRevoked, Submitted};
use super::record::Task;
use super::store::{Round, Store};
use crate::queue::{DeadError, LeaseError, Limits, Stats, SubmitError, Unavailable};
use crate::task::TaskId;

/// What one transaction takes at most, so that nobody waits for long: so many commands, so many bytes of payload.
const MOST_COMMANDS: usize = 1024;
const MOST_BYTES: usize = 32 << 20;
/// For so long after a failed write only commands are tried that free space or that would see the disk recover.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the writer sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// The state of the thread.
pub(super) struct Writer {
    limits: Limits,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    board: Arc<Board>,
    ledger: Ledger,
    drain: Drain,
    waiters: VecDeque<Waiter>,
    /// Payloads of this round.
    payloads: HashMap<TaskId, Vec<u8>>,
    /// Addresses of this round that ends are told to, sealed.
    callbacks: HashMap<TaskId, Vec<u8>>,
    /// Tasks that were refused because a write failed. They may be on the disk all the same.
    disowned: Vec<TaskId>,
    /// This round must touch the disk even when nothing changed.
    probe: bool,
    /// There since a write failed, until one succeeds.
    trouble: Option<Trouble>,
    /// For grants that nobody takes.
    back: Sender<Command>,
}

/// A worker that waits for a task.
struct Waiter {
    deadline: Stamp,
    answer: Answer<Option<Grant>, Unavailable>,
}

struct Trouble {
    words: Unavailable,
    paused_until: Stamp,
    /// The ledger ran ahead of the disk and could not be read back yet.
    stale: bool,
}

/// Tells a caller what became of the command, or that the write failed.
type Reply = Box<dyn FnOnce(Option<&Unavailable>)>;

impl Writer {
    /// Takes up what the disk holds, and writes what the interruption and time changed.
    pub(super) fn start(
        limits: Limits,
        clock: Arc<dyn Clock>,
        store: Arc<Store>,
        tasks: Vec<(TaskId, Task)>,
        after: Interruption,
        back: Sender<Command>,
    ) -> Result<Self, Unavailable> {
        let now = clock.now();
        let mut writer = Self {
            limits,
            clock,
            store,
            board: Arc::default(),
            ledger: Ledger::restore(limits, tasks, now, after),
            drain: Drain::new(),
            waiters: VecDeque::new(),
            payloads: HashMap::new(),
            callbacks: HashMap::new(),
            disowned: Vec::new(),
            probe: false,
            trouble: None,
            back,
        };
        writer.ledger.expire(now);
        writer.drain.observe(writer.ledger.is_busy(), now);
        writer.commit(now)?;
        writer.board.replace(&writer.ledger.standings(), writer.figures(now));
        Ok(writer)
    }

    /// Where this writer publishes.
    pub(super) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Works until told to close.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while let Some((batch, last)) = self.gather(commands) {
            self.round(batch);
            if last {
                break;
            }
        }
        for waiter in self.waiters.drain(..) {
            let _ = waiter.answer.send(Ok(None));
        }
        self.store.close();
    }

    /// Waits for a command or for the timer, then takes what else has come. The flag says that this batch is the last.
    fn gather(&self, commands: &Receiver<Command>) -> Option<(Vec<Command>, bool)> {
        let mut next = match commands.recv_timeout(self.patience()) {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => return Some((Vec::new(), false)),
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        loop {
            match &next {
                Command::Close => return Some((batch, true)),
                Command::Submit { sealed, .. } => bytes += sealed.len(),
                _ => {}
            }
            batch.push(next);
            if batch.len() >= MOST_COMMANDS || bytes >= MOST_BYTES {
                return Some((batch, false));
            }
            match commands.try_recv() {
                Ok(command) => next = command,
                Err(_) => return Some((batch, false)),
            }
        }
    }

    /// How long nothing happens by itself.
    fn patience(&self) -> Duration {
        let paused_until = self.trouble.as_ref().map(|trouble| trouble.paused_until).unwrap_or_default();
        let timer = self.ledger.next_timer().map(|at| at.max(paused_until));
        let deadline = self.waiters.iter().map(|waiter| waiter.deadline).min();
        match timer.into_iter().chain(deadline).min() {
            Some(next) => next.since(self.clock.now()).min(IDLE),
            None => IDLE,
        }
    }

    fn round(&mut self, batch: Vec<Command>) {
        let now = self.clock.now();
        if let Err(words) = self.recover(now) {
            batch.into_iter().for_each(|command| command.refuse(&words));
            self.dismiss(now);
            return;
        }
        let mut replies = Vec::with_capacity(batch.len());
        // Commands go before timers: an extension that waited behind a slow write still counts.
        for command in batch {
            replies.extend(self.apply(command, now));
        }
        if !self.paused(now) {
            self.ledger.expire(now);
            self.serve(now, &mut replies);
        }
        self.dismiss(now);
        self.drain.observe(self.ledger.is_busy(), now);
        let failed = self.commit(now).err();
        if let Some(words) = &failed {
            self.fail(words.clone(), now);
        }
        replies.into_iter().for_each(|reply| reply(failed.as_ref()));
    }

    /// Applies one command to the ledger. The reply waits for the commit.
    fn apply(&mut self, command: Command, now: Stamp) -> Option<Reply> {
        match command {
            Command::Submit { id, idempotency, crowd, owner, trace, sealed, callback, answer } => {
                if let Some(trouble) = self.trouble.as_ref().filter(|trouble| now < trouble.paused_until) {
                    return reply(answer, Err(trouble.words.clone().into()));
                }
                let in_time = self.in_time(now);
                let result = match self.ledger.submit(id, &idempotency, crowd, callback.is_some(), in_time, now) {
                    Submitted::New => {
                        self.ledger.note_origin(id, owner, trace);
                        self.payloads.insert(id, sealed);
                        self.callbacks.extend(callback.map(|sealed| (id, sealed)));
                        Ok(id)
                    }
                    Submitted::Known(first) => Ok(first),
                    Submitted::Conflict => Err(SubmitError::Conflict),
                    Submitted::Full => Err(SubmitError::Full { retry_after: self.figures(now).retry_after }),
                    Submitted::Overloaded => {
                        Err(SubmitError::Overloaded { retry_after: self.figures(now).retry_after })
                    }
                    Submitted::TooManyWaiting => {
                        Err(SubmitError::TooManyWaiting { retry_after: self.figures(now).retry_after })
                    }
                };
                reply(answer, result)
            }
            Command::Claim { deadline, answer } => {
                self.waiters.push_back(Waiter { deadline, answer });
                None
            }
            Command::Extend { lease, answer } => reply(answer, held(self.ledger.extend(lease, now))),
            Command::Settle { lease, outcome, answer } => {
                let result = self.ledger.settle(lease, outcome, now);
                if result.is_ok() {
                    self.drain.count(now);
                }
                reply(answer, held(result))
            }
            Command::Bury { lease, error, answer } => {
                let result = self.ledger.bury(lease, error, now);
                if result.is_ok() {
                    self.drain.count(now);
                }
                reply(answer, held(result))
            }
            Command::Retry { lease, delay, error, answer } => {
                reply(answer, held(self.ledger.retry(lease, delay, &error, now)))
            }
            Command::Release { lease, answer } => {
                let result = held(self.ledger.release(lease, now));
                answer.and_then(|answer| reply(answer, result))
            }
            Command::Revoke { id, answer } => {
                let result = self.ledger.revoke(id, now).map_err(|e| match e {
                    NotRevoked::Unknown => Refusal::Unknown,
                    NotRevoked::Ended => Refusal::Ended,
                });
                reply(answer, result)
            }
            Command::Dead { limit, answer } => reply(answer, Ok::<_, Unavailable>(self.ledger.dead(limit, now))),
            Command::Redeliver { id, answer } => reply(answer, dead(self.ledger.redeliver(id, now))),
            Command::Purge { id, answer } => reply(answer, dead(self.ledger.purge(id))),
            Command::Forget { id, answer } => {
                let known = self.ledger.task(id).is_some();
                self.ledger.forget(id);
                reply(answer, Ok::<_, Unavailable>(known))
            }
            Command::ClaimCallback { answer } => reply(answer, Ok::<_, Unavailable>(self.ledger.claim_callback(now))),
            Command::RetryCallback { lease, delay, answer } => {
                reply(answer, held(self.ledger.retry_callback(lease, delay, now)))
            }
            Command::EndCallback { lease, answer } => reply(answer, held(self.ledger.end_callback(lease))),
            Command::Ping { answer } => {
                self.probe = true;
                reply(answer, Ok::<_, Unavailable>(()))
            }
            Command::Close => None,
        }
    }

    /// Hands due tasks to waiting workers, first come, first served.
    fn serve(&mut self, now: Stamp, replies: &mut Vec<Reply>) {
        while let Some(waiter) = self.waiters.pop_front() {
            if waiter.answer.is_closed() {
                continue;
            }
            let Some(claimed) = self.ledger.claim(now) else {
                self.waiters.push_front(waiter);
                return;
            };
            let grant = Grant::new(claimed, self.back.clone());
            replies.extend(reply(waiter.answer, Ok(Some(grant))));
        }
    }

    /// Sends away the workers that have waited for as long as they would, and forgets those that have gone away.
    fn dismiss(&mut self, now: Stamp) {
        let (over, waiting) =
            self.waiters.drain(..).partition(|waiter| waiter.deadline <= now || waiter.answer.is_closed());
        self.waiters = waiting;
        let over: VecDeque<Waiter> = over;
        for waiter in over {
            let _ = waiter.answer.send(Ok(None));
        }
    }

    /// Writes what changed, and publishes it once it is durable.
    fn commit(&mut self, now: Stamp) -> Result<(), Unavailable> {
        let changes = self.ledger.take_changes();
        let (payloads, callbacks) = (std::mem::take(&mut self.payloads), std::mem::take(&mut self.callbacks));
        let probe = std::mem::take(&mut self.probe);
        if changes.is_empty() {
            if probe {
                self.store.probe()?;
                self.trouble = None;
            }
            return Ok(());
        }
        let round = Round { ledger: &self.ledger, changes: &changes, payloads: &payloads, callbacks: &callbacks };
        let written = self.store.commit(&round);
        if let Err(words) = written {
            self.disowned.extend(payloads.into_keys());
            return Err(words);
        }
        self.trouble = None;
        let standings = changes.keys().map(|id| (*id, self.ledger.task(*id).map(Task::standing)));
        self.board.publish(standings, self.figures(now));
        Ok(())
    }

    /// After a failed write: whether it reached the disk is unknown, so what counts is what the disk says.
    fn fail(&mut self, words: Unavailable, now: Stamp) {
        tracing::error!(error = %words, "the queue cannot be written; it goes on by itself once it can be");
        self.trouble = Some(Trouble { words, paused_until: now.after(PAUSE), stale: true });
        self.read_back(now);
    }

    /// Makes sure that the ledger is what the disk says.
    fn recover(&mut self, now: Stamp) -> Result<(), Unavailable> {
        if !self.paused(now) {
            self.read_back(now);
        }
        match &self.trouble {
            Some(trouble) if trouble.stale => Err(trouble.words.clone()),
            _ => Ok(()),
        }
    }

    fn read_back(&mut self, now: Stamp) {
        let Some(trouble) = self.trouble.as_mut().filter(|trouble| trouble.stale) else { return };
        match self.store.reopen() {
            Ok(tasks) => {
                trouble.stale = false;
                self.ledger = Ledger::restore(self.limits, tasks, now, Interruption::Storage);
                self.disowned.drain(..).for_each(|id| self.ledger.forget(id));
                self.board.replace(&self.ledger.standings(), self.figures(now));
            }
            Err(words) => {
                tracing::error!(error = %words, "the queue cannot be opened anew");
                trouble.words = words;
                trouble.paused_until = now.after(PAUSE);
            }
        }
    }

    fn paused(&self, now: Stamp) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| now < trouble.paused_until)
    }

    fn figures(&self, now: Stamp) -> Figures {
        let stats = self.ledger.stats();
        Figures {
            stats,
            oldest: self.ledger.oldest(),
            retry_after: self.drain.retry_after(stats.waiting, now),
            overloaded: !self.in_time(now),
            next_callback: self.ledger.next_callback(),
        }
    }

    /// Whether one more task would end before it is too old.
    fn in_time(&self, now: Stamp) -> bool {
        let Stats { waiting, running, .. } = self.ledger.stats();
        self.limits.max_age.is_none_or(|age| self.drain.admits(waiting, running, age, now))
    }
}

fn held(result: Result<(), Lost>) -> Result<(), LeaseError> {
    result.map_err(|Lost| LeaseError::Lost)
}

fn dead(result: Result<(), NotDead>) -> Result<(), DeadError> {
    result.map_err(|refused| match refused {
        NotDead::Unknown => DeadError::Unknown,
        NotDead::Alive => DeadError::NotDead,
        NotDead::PayloadGone => DeadError::PayloadGone,
    })
}

fn reply<T: 'static, E: From<Unavailable> + 'static>(answer: Answer<T, E>, result: Result<T, E>) -> Option<Reply> {
    Some(Box::new(move |failed| {
        // A caller that has gone away does not mind; a grant that it would have had gives itself back.
        let _ = answer.send(match failed {
            None => result,
            Some(words) => Err(words.clone().into()),
        });
    }))
}
