//! What serves now, and what is tried beside it.
//!
//! Owns the moment of a swap: whoever has picked a generation keeps it to the end of its work, and the next one picks the new.
//! Must never know what a generation does, nor why it is replaced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::canary::{Bounds, Judgement, Tally, judge};

/// Where work picks the generation that does it.
pub(crate) struct Switch<T> {
    inner: RwLock<Inner<T>>,
    /// Counts what was picked during trials, to share it out.
    turn: AtomicU64,
    endings: mpsc::UnboundedSender<Ended>,
    /// How long work may go on on a generation that was replaced.
    drain: Duration,
}

struct Inner<T> {
    serving: Held<T>,
    trial: Option<Trial<T>>,
}

/// A generation, from when it takes work until the last of that work is called back.
struct Held<T> {
    work: Arc<T>,
    retired: CancellationToken,
}

struct Trial<T> {
    number: u64,
    held: Held<T>,
    percent: u8,
    bounds: Bounds,
    tallies: Mutex<Tallies>,
}

#[derive(Clone, Debug, Default)]
struct Tallies {
    tried: Tally,
    serving: Tally,
}

/// One piece of work's hold on a generation.
pub(crate) struct Pick<T> {
    /// What does the work.
    pub(crate) work: Arc<T>,
    /// Whether it is the generation that is being tried; then [`Switch::serving`] does the work again should it fail.
    pub(crate) canary: bool,
    /// Cancelled when the generation was replaced so long ago that work on it must not go on.
    pub(crate) retired: CancellationToken,
    trial: Option<u64>,
}

/// How a trial stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Work done by the canary so far.
    pub(crate) done: u32,
    /// After so much it takes over.
    pub(crate) of: u32,
    /// Work that failed.
    pub(crate) failed: u32,
}

/// A trial has ended by its own record.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The number that it was given.
    pub(crate) trial: u64,
    /// How.
    pub(crate) ending: Ending,
}

/// What a trial's record has led to.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It serves now.
    Promoted,
    /// It broke a bound, in these words, and gets no more work.
    TakenBack(String),
}

impl<T> Pick<T> {
    /// Whether it was picked during a trial, be it the canary or what that is compared with.
    pub(crate) fn on_trial(&self) -> bool {
        self.trial.is_some()
    }
}

impl<T: Send + Sync + 'static> Switch<T> {
    /// A switch that picks `work`, and where it tells of trials that have ended.
    pub(crate) fn new(work: Arc<T>, drain: Duration) -> (Self, mpsc::UnboundedReceiver<Ended>) {
        let (endings, ended) = mpsc::unbounded_channel();
        let inner = RwLock::new(Inner { serving: Held::new(work), trial: None });
        (Self { inner, turn: AtomicU64::new(0), endings, drain }, ended)
    }

    /// What serves.
    pub(crate) fn serving(&self) -> Arc<T> {
        self.read(|inner| Arc::clone(&inner.serving.work))
    }

    /// How the trial stands, if there is one.
    pub(crate) fn trial(&self) -> Option<Progress> {
        self.read(|inner| {
            let trial = inner.trial.as_ref()?;
            let tallies = trial.tallies();
            Some(Progress { done: tallies.tried.done, of: trial.bounds.work, failed: tallies.tried.failed })
        })
    }

    /// Picks the generation for one piece of work.
    pub(crate) fn pick(&self) -> Pick<T> {
        self.read(|inner| {
            let Some(trial) = &inner.trial else { return inner.serving.pick(false, None) };
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let share = |turn: u64| turn * u64::from(trial.percent) / 100;
            let canary = share(turn + 1) > share(turn);
            let held = if canary { &trial.held } else { &inner.serving };
            held.pick(canary, Some(trial.number))
        })
    }

    /// Counts picked work that ended: how long it took, or `None` when it failed as it would not have elsewhere. Ends the
    /// trial when it has shown enough, and says so where [`Switch::new`] was called.
    pub(crate) fn observe(&self, pick: &Pick<T>, took: Option<Duration>) {
        let Some(number) = pick.trial else { return };
        let judgement = self.read(|inner| {
            let trial = inner.trial.as_ref().filter(|trial| trial.number == number)?;
            let mut tallies = trial.tallies();
            let tally = if pick.canary { &mut tallies.tried } else { &mut tallies.serving };
            match took {
                Some(took) => tally.succeed(took),
                None => tally.fail(),
            }
            Some(judge(&trial.bounds, &tallies.tried, &tallies.serving))
        });
        let ending = match judgement {
            None | Some(Judgement::GoOn) => return,
            Some(Judgement::Promote) => Ending::Promoted,
            Some(Judgement::TakeBack(why)) => Ending::TakenBack(why),
        };
        // Two that end at once judge alike; the first acts.
        if self.end(number, matches!(ending, Ending::Promoted)) {
            let _ = self.endings.send(Ended { trial: number, ending });
        }
    }

    /// Lets `next` do all work from now on; a trial ends with that.
    pub(crate) fn replace(&self, next: Arc<T>) {
        let (old, trial) = self.write(|inner| {
            let old = std::mem::replace(&mut inner.serving, Held::new(next));
            (old, inner.trial.take())
        });
        old.retire(self.drain);
        if let Some(trial) = trial {
            trial.held.retire(self.drain);
        }
    }

    /// Lets `next` do a share of the work until its record speaks for or against it, as the trial of this `number`, which no
    /// other trial has. An earlier trial ends with that.
    pub(crate) fn try_out(&self, number: u64, next: Arc<T>, percent: u8, bounds: Bounds) {
        let trial = Trial { number, held: Held::new(next), percent, bounds, tallies: Mutex::default() };
        let earlier = self.write(|inner| inner.trial.replace(trial));
        if let Some(earlier) = earlier {
            earlier.held.retire(self.drain);
        }
    }

    /// Ends the trial without a judgement; what serves goes on. Whether there was one.
    pub(crate) fn call_off(&self) -> bool {
        let trial = self.write(|inner| inner.trial.take());
        trial.map(|trial| trial.held.retire(self.drain)).is_some()
    }

    fn end(&self, number: u64, promote: bool) -> bool {
        let passed_over = self.write(|inner| {
            let trial = inner.trial.take_if(|trial| trial.number == number)?;
            Some(if promote { std::mem::replace(&mut inner.serving, trial.held) } else { trial.held })
        });
        passed_over.map(|held| held.retire(self.drain)).is_some()
    }

    fn read<R>(&self, look: impl FnOnce(&Inner<T>) -> R) -> R {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, change: impl FnOnce(&mut Inner<T>) -> R) -> R {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Trial<T> {
    fn tallies(&self) -> std::sync::MutexGuard<'_, Tallies> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Held<T> {
    fn new(work: Arc<T>) -> Self {
        Self { work, retired: CancellationToken::new() }
    }

    fn pick(&self, canary: bool, trial: Option<u64>) -> Pick<T> {
        Pick { work: Arc::clone(&self.work), canary, retired: self.retired.clone(), trial }
    }

    /// Calls back what is left of the work after `drain`.
    fn retire(self, drain: Duration) {
        let retired = self.retired;
        // Without a runtime there is no work to call back.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(drain).await;
                retired.cancel();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { work: 5, failures: 0, slowdown: 10.0 };
    const MOMENT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn work_ends_on_the_generation_that_it_began_on_and_the_old_one_is_released() {
        let first = Arc::new(1);
        let released = Arc::downgrade(&first);
        let (switch, _ended) = Switch::new(first, LONG);
        let pick = switch.pick();
        switch.replace(Arc::new(2));
        assert_eq!((*pick.work, *switch.pick().work, *switch.serving()), (1, 2, 2));
        assert!(released.upgrade().is_some());
        drop(pick);
        assert!(released.upgrade().is_none(), "its last work has ended");
    }

    #[tokio::test]
    async fn work_that_goes_on_for_too_long_is_called_back() {
        let (switch, _ended) = Switch::new(Arc::new(1), MOMENT);
        let (old, again) = (switch.pick(), switch.pick());
        switch.replace(Arc::new(2));
        tokio::time::timeout(Duration::from_secs(10), old.retired.cancelled()).await.unwrap();
        assert!(again.retired.is_cancelled() && !switch.pick().retired.is_cancelled());
    }

    #[test]
    fn a_trial_gets_its_share() {
        for percent in [1, 20, 33, 100] {
            let (switch, _ended) = Switch::new(Arc::new(1), LONG);
            switch.try_out(1, Arc::new(2), percent, BOUNDS);
            let tried = (0..1000).map(|_| switch.pick()).filter(|pick| pick.canary).count();
            assert_eq!(tried, 10 * usize::from(percent));
        }
    }

    #[test]
    fn a_good_record_promotes() {
        let (switch, mut ended) = Switch::new(Arc::new(1), LONG);
        switch.try_out(7, Arc::new(2), 50, BOUNDS);
        let mut seen = 0;
        while switch.trial().is_some() {
            let pick = switch.pick();
            seen += u32::from(pick.canary);
            assert_eq!(*pick.work, if pick.canary { 2 } else { 1 });
            switch.observe(&pick, Some(MOMENT));
        }
        assert_eq!((seen, *switch.serving(), switch.pick().canary), (5, 2, false));
        assert!(
            matches!(ended.try_recv(), Ok(Ended { trial: 7, ending: Ending::Promoted })) && ended.try_recv().is_err()
        );
    }

    #[test]
    fn a_failure_takes_back_and_late_reports_do_no_harm() {
        let (switch, mut ended) = Switch::new(Arc::new(1), LONG);
        switch.try_out(1, Arc::new(2), 100, BOUNDS);
        let (bad, late) = (switch.pick(), switch.pick());
        switch.observe(&bad, None);
        assert!(switch.trial().is_none() && *switch.serving() == 1);
        switch.observe(&late, None);
        assert!(
            matches!(ended.try_recv(), Ok(Ended { trial: 1, ending: Ending::TakenBack(_) }))
                && ended.try_recv().is_err()
        );
        switch.try_out(2, Arc::new(3), 100, BOUNDS);
        switch.observe(&late, None);
        assert_eq!(switch.trial().unwrap().done, 0, "that was another trial");
        assert!(switch.call_off() && !switch.call_off());
        assert_eq!(*switch.pick().work, 1);
    }

    #[test]
    fn a_swap_holds_nobody_up() {
        use std::sync::Barrier;
        use std::sync::atomic::AtomicBool;
        use std::time::Instant;

        const SWAPS: usize = 2000;
        let (switch, _ended) = Switch::new(Arc::new(0), LONG);
        let (over, both) = (AtomicBool::new(false), Barrier::new(2));
        let median = |mut durations: Vec<Duration>| {
            let middle = durations.len() / 2;
            *durations.select_nth_unstable(middle).1
        };
        let (swaps, picks) = std::thread::scope(|scope| {
            let picking = scope.spawn(|| {
                let mut picks = Vec::new();
                both.wait();
                loop {
                    let start = Instant::now();
                    std::hint::black_box(switch.pick());
                    picks.push(start.elapsed());
                    if over.load(Ordering::Relaxed) {
                        return picks;
                    }
                }
            });
            let swap = |generation| {
                let next = Arc::new(generation);
                let start = Instant::now();
                switch.replace(next);
                start.elapsed()
            };
            both.wait();
            let swaps: Vec<_> = (0..SWAPS).map(swap).collect();
            over.store(true, Ordering::Relaxed);
            (swaps, picking.join().unwrap())
        });
        let count = picks.len();
        let (swap, pick) = (median(swaps), median(picks));
        eprintln!("{SWAPS} swaps, median {swap:?}, beside {count} picks, median {pick:?}");
        assert!(swap < MOMENT && pick < MOMENT, "{swap:?} and {pick:?}");
    }
}
