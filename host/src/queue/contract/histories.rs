//! Random histories, in a queue and in the model side by side.
//!
//! After every step each task's view, the counts and the list of the dead must be the model's. So no task is lost, none has two
//! outcomes unless an operator opened it again, and none that was revoked gets a result. Needs a rig whose time passes in
//! [`Rig::pass`] alone.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::model::{LIMITS, Model, Phase, Task, millis};
use super::waiting::all;
use super::{Rig, error, payload, success};
use crate::queue::{DeadError, Lease, LeaseError, RevokeError, Submission, SubmitError};
use crate::task::{ErrorCode, Outcome, State, TaskError};

/// What happens next. Leases and tasks are meant by how many came after them, so that most steps hit something alive.
#[derive(Clone, Debug)]
enum Step {
    Submit { seed: u8, key: Option<u8>, client: Option<u8> },
    Claim,
    Extend { back: usize },
    Settle { back: usize, fine: bool },
    Bury { back: usize },
    Retry { back: usize, delay: u64 },
    Release { back: usize },
    Revoke { back: usize },
    DeadRetry { back: usize },
    DeadPurge { back: usize },
    Pass { time: u64 },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop_oneof![3 => 0usize..2, 1 => 0usize..9];
    prop_oneof![
        6 => (0u8..3, proptest::option::weighted(0.3, 0u8..3), proptest::option::weighted(0.8, 0u8..2))
            .prop_map(|(seed, key, client)| Step::Submit { seed, key, client }),
        8 => Just(Step::Claim),
        2 => back().prop_map(|back| Step::Extend { back }),
        4 => (back(), any::<bool>()).prop_map(|(back, fine)| Step::Settle { back, fine }),
        2 => back().prop_map(|back| Step::Bury { back }),
        3 => (back(), 0u64..250).prop_map(|(back, delay)| Step::Retry { back, delay }),
        2 => back().prop_map(|back| Step::Release { back }),
        2 => back().prop_map(|back| Step::Revoke { back }),
        3 => back().prop_map(|back| Step::DeadRetry { back }),
        1 => back().prop_map(|back| Step::DeadPurge { back }),
        4 => prop_oneof![3 => 1u64..130, 1 => 1u64..1000].prop_map(|time| Step::Pass { time }),
        1 => Just(Step::Crash),
    ]
}

/// The queue and the model, side by side.
struct Pair<R> {
    rig: R,
    model: Model,
}

impl<R: Rig> Pair<R> {
    async fn take(mut self, step: Step) -> Self {
        match step {
            Step::Submit { seed, key, client } => self.submit(seed, key, client).await,
            Step::Claim => self.claim().await,
            Step::Extend { back } => {
                let lease = self.model.lease(back);
                let until = self.model.now + millis(LIMITS.lease);
                let held = self.model.holder(lease).map(|task| task.phase = Phase::Running { until });
                agree(held, self.rig.queue().extend(lease).await);
            }
            Step::Settle { back, fine } => {
                let (lease, now) = (self.model.lease(back), self.model.now);
                let held = self.model.holder(lease);
                let seed = held.as_ref().map_or(0, |task| task.seed);
                let (state, outcome) = if fine {
                    (State::Success, success(seed))
                } else {
                    (State::Failure, Outcome::Failure(error("no face")))
                };
                let held = held.map(|task| task.end(state, now, false, Ok(outcome.clone())));
                agree(held, self.rig.queue().settle(lease, outcome).await);
            }
            Step::Bury { back } => {
                let (lease, now) = (self.model.lease(back), self.model.now);
                let error = error("beyond help");
                let held = self.model.holder(lease).map(|task| {
                    task.reason = "processing_failed: beyond help".to_owned();
                    task.end(State::Failure, now, true, Ok(Outcome::Failure(error.clone())));
                });
                agree(held, self.rig.queue().bury(lease, error).await);
            }
            Step::Retry { back, delay } => {
                let (lease, now) = (self.model.lease(back), self.model.now);
                let held = self.model.holder(lease).map(|task| {
                    task.retries += 1;
                    task.give_back(now, delay, Some("processing_failed: flaky"));
                });
                agree(held, self.rig.queue().retry(lease, Duration::from_millis(delay), error("flaky")).await);
            }
            Step::Release { back } => {
                let (lease, now) = (self.model.lease(back), self.model.now);
                let held = self.model.holder(lease).map(|task| {
                    task.tries -= 1;
                    task.give_back(now, 0, None);
                });
                agree(held, self.rig.queue().release(lease).await);
            }
            Step::Revoke { back } => self.revoke(back).await,
            Step::DeadRetry { back } => self.redeliver(back).await,
            Step::DeadPurge { back } => self.purge(back).await,
            Step::Pass { time } => {
                self.model.now += time;
                self.rig.pass(Duration::from_millis(time)).await;
            }
            Step::Crash => {
                let now = self.model.now;
                let running = |task: &&mut Task| matches!(task.phase, Phase::Running { .. });
                self.model
                    .tasks
                    .iter_mut()
                    .filter(running)
                    .for_each(|task| task.give_back(now, 0, Some("the host stopped")));
                self.rig = self.rig.crash().await;
            }
        }
        self.model.elapse();
        self.compare().await;
        self
    }

    async fn submit(&mut self, seed: u8, key: Option<u8>, client: Option<u8>) {
        let idempotency_key = key.map(|key| format!("key {key}"));
        let name = client.map(|client| format!("client {client}"));
        let result = self
            .rig
            .queue()
            .submit(Submission { idempotency_key, client: name, ..Submission::new(payload(seed)) })
            .await;
        let known =
            self.model.tasks.iter().find(|it| it.key.is_some() && it.key == key && it.phase != Phase::Forgotten);
        match known {
            Some(known) if known.seed == seed => assert_eq!(result.unwrap(), known.id),
            Some(_) => assert!(matches!(result, Err(SubmitError::Conflict)), "{result:?}"),
            None if self.model.counts()[0] >= LIMITS.max_length => {
                assert!(matches!(result, Err(SubmitError::Full { .. })), "{result:?}");
            }
            None if client.is_some() && self.model.waiting_of(client) >= LIMITS.max_waiting_per_client.unwrap() => {
                assert!(matches!(result, Err(SubmitError::TooManyWaiting { .. })), "{result:?}");
            }
            None => {
                let (id, now) = (result.unwrap(), self.model.now);
                assert!(self.model.tasks.iter().all(|task| task.id != id), "ids are fresh");
                let phase = Phase::Waiting { due: now };
                let [delivery, tries, retries] = [0; 3];
                self.model.tasks.push(Task {
                    id,
                    seed,
                    key,
                    client,
                    submitted: now,
                    phase,
                    delivery,
                    tries,
                    retries,
                    reason: String::new(),
                    outcome: None,
                });
            }
        }
    }

    async fn claim(&mut self) {
        let claim = self.rig.queue().claim(Duration::ZERO).await.unwrap();
        let now = self.model.now;
        let Some(task) = self.model.due() else {
            assert!(claim.is_none(), "nothing is due, and yet: {claim:?}");
            return;
        };
        let claim = claim.expect("a task is due");
        task.phase = Phase::Running { until: now + millis(LIMITS.lease) };
        task.delivery += 1;
        task.tries += 1;
        assert_eq!(claim.lease, Lease { id: task.id, delivery: task.delivery });
        assert_eq!((claim.retries, millis(claim.age)), (task.retries, now - task.submitted));
        assert_eq!(claim.payload, payload(task.seed));
        self.model.leases.push(claim.lease);
    }

    async fn revoke(&mut self, back: usize) {
        let now = self.model.now;
        let Some(task) = self.model.tasks.iter_mut().rev().nth(back) else { return };
        let result = self.rig.queue().revoke(task.id).await;
        match task.phase {
            Phase::Waiting { .. } | Phase::Running { .. } => {
                assert_eq!(result.unwrap().state, State::Revoked);
                task.end(State::Revoked, now, false, Err(ErrorCode::Revoked));
            }
            Phase::Ended { state, .. } => {
                assert!(matches!(result, Err(RevokeError::Ended(view)) if view.state == state));
            }
            Phase::Forgotten => assert!(matches!(result, Err(RevokeError::Unknown)), "{result:?}"),
        }
    }

    async fn redeliver(&mut self, back: usize) {
        let now = self.model.now;
        let Some(task) = self.model.meant(back) else { return };
        let result = self.rig.queue().redeliver(task.id).await;
        match task.phase {
            Phase::Ended { dead: true, .. } if task.payload_left(now).is_some() => {
                result.unwrap();
                task.phase = Phase::Waiting { due: now };
                (task.tries, task.retries, task.outcome) = (0, 0, None);
            }
            Phase::Ended { dead: true, .. } => assert!(matches!(result, Err(DeadError::PayloadGone)), "{result:?}"),
            Phase::Forgotten => assert!(matches!(result, Err(DeadError::Unknown)), "{result:?}"),
            _ => assert!(matches!(result, Err(DeadError::NotDead)), "{result:?}"),
        }
    }

    async fn purge(&mut self, back: usize) {
        let Some(task) = self.model.meant(back) else { return };
        let result = self.rig.queue().purge(task.id).await;
        match task.phase {
            Phase::Ended { dead: true, .. } => {
                result.unwrap();
                task.phase = Phase::Forgotten;
            }
            Phase::Forgotten => assert!(matches!(result, Err(DeadError::Unknown)), "{result:?}"),
            _ => assert!(matches!(result, Err(DeadError::NotDead)), "{result:?}"),
        }
    }

    async fn compare(&self) {
        let queue = self.rig.queue();
        assert_eq!(super::counts(queue).await, self.model.counts());
        assert_eq!(queue.dead(100).await.unwrap(), self.model.dead());
        // At once, because the way to a server and back is what takes most of the time.
        let views = all(self.model.tasks.iter().map(|task| queue.status(task.id, Duration::ZERO))).await;
        for (task, view) in self.model.tasks.iter().zip(views) {
            let view = view.unwrap();
            let state = match task.phase {
                Phase::Forgotten => None,
                Phase::Ended { state, .. } => Some(state),
                Phase::Running { .. } => Some(State::Started),
                Phase::Waiting { .. } => Some(if task.tries == 0 { State::Pending } else { State::Retry }),
            };
            assert_eq!(view.as_ref().map(|view| view.state), state, "{task:?}");
            match (view.and_then(|view| view.outcome), &task.outcome) {
                (None, None) => {}
                (None, Some(_)) => assert_eq!(task.phase, Phase::Forgotten),
                (Some(seen), Some(Ok(outcome))) => assert_eq!(seen, *outcome),
                (Some(Outcome::Failure(TaskError { code, .. })), Some(Err(expected))) => assert_eq!(code, *expected),
                (seen, expected) => panic!("{seen:?} instead of {expected:?}"),
            }
        }
    }

    /// Works until nothing is left to do: every task must come to its end, and be forgotten. Yields the rig, to be used again.
    async fn finish(mut self) -> R {
        while self.model.counts()[..2] != [0, 0] {
            while self.model.due().is_some() {
                self = self.take(Step::Claim).await.take(Step::Settle { back: 0, fine: true }).await;
            }
            self = self.take(Step::Pass { time: 50 }).await;
        }
        self = self.take(Step::Pass { time: millis(LIMITS.result_ttl) }).await;
        assert_eq!(super::counts(self.rig.queue()).await, [0; 4]);
        self.rig
    }
}

fn agree(held: Option<()>, result: Result<(), LeaseError>) {
    match result {
        Ok(()) => assert!(held.is_some(), "accepted from somebody who does not hold the lease"),
        Err(LeaseError::Lost) => assert!(held.is_none(), "refused from the holder"),
        Err(e) => panic!("{e}"),
    }
}

/// So many histories, unless `PROPTEST_CASES` says another number.
const HISTORIES: u32 = 500;

pub(crate) fn random_histories_follow_the_model<R: Rig>() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let asked = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { HISTORIES };
    let config = Config { cases, failure_persistence: None, ..asked };
    let histories = proptest::collection::vec(step(), 1..80);
    // What one history has used serves the next; a failed one takes it along.
    let idle = RefCell::new(None::<R>);
    let start = Instant::now();
    let outcome = TestRunner::new(config).run(&histories, |steps| {
        runtime.block_on(async {
            let used = idle.take();
            let rig = match used {
                Some(rig) => rig.again(LIMITS).await,
                None => R::new(LIMITS).await,
            };
            let mut pair = Pair { rig, model: Model::default() };
            for step in steps {
                pair = pair.take(step).await;
            }
            idle.replace(Some(pair.finish().await));
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    println!("{cases} histories in {:.1} s", start.elapsed().as_secs_f64());
}
