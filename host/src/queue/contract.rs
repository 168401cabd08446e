//! The tests that every backend must pass, written against `&dyn Queue` alone.
//!
//! A backend implements [`Rig`] and writes `contract!(ItsRig);` among its tests.
//!
//! # Layout
//!
//! - `callbacks`: the news of ends, and who tells it.
//! - `dead`: tasks that were given up, and what an operator does with them.
//! - `forget`: tasks that an operator removes.
//! - `life`: what may happen to one task, and who may do it.
//! - `limits`: lengths, numbers of tries, times-to-live, idempotency keys.
//! - `owners`: whose a task is.
//! - `waiting`: who is woken when, and many callers at once.
//! - `histories`: random ones, in a queue and in the `model` side by side.

pub(super) mod callbacks;
pub(super) mod dead;
pub(super) mod forget;
pub(super) mod histories;
pub(super) mod life;
pub(super) mod limits;
mod model;
pub(super) mod owners;
pub(super) mod waiting;

use std::time::Duration;

use async_trait::async_trait;

pub(super) use super::Limits;
use super::{Claim, Queue, Submission};
use crate::task::{ErrorCode, NonFrontal, Outcome, Payload, State, TaskError, TaskId, TaskView, Wishes};

/// Short enough to be waited for, in distances that tell which one has passed.
pub(super) const LIMITS: Limits = Limits {
    max_length: 50,
    max_age: None,
    max_waiting_per_client: None,
    lease: Duration::from_millis(400),
    max_deliveries: 3,
    result_ttl: Duration::from_millis(10_000),
    payload_ttl: Duration::from_millis(4_000),
};

/// A queue of its own for one test.
#[async_trait]
pub(super) trait Rig: Sized + Send + Sync {
    /// An empty queue.
    async fn new(limits: Limits) -> Self;

    /// The queue.
    fn queue(&self) -> &dyn Queue;

    /// Lets so much of the queue's time pass, and what is due happen.
    async fn pass(&self, time: Duration);

    /// An empty queue in place of this one, by a shorter way than [`Rig::new`] where there is one.
    async fn again(self, limits: Limits) -> Self {
        drop(self);
        Self::new(limits).await
    }

    /// As `kill -9` of the one process that holds the queue, and a new start.
    async fn crash(self) -> Self;
}

/// Makes the tests of one backend.
macro_rules! contract {
    ($rig:ty) => {
        $crate::queue::contract::contract! { $rig:
            life::a_task_goes_from_submission_to_its_result,
            life::tasks_are_delivered_in_the_order_of_their_submission,
            life::a_task_keeps_its_trace,
            life::the_line_is_as_old_as_its_first,
            life::a_lease_that_runs_out_is_lost_and_the_task_due_again,
            life::extending_keeps_a_lease,
            life::a_retry_waits_and_is_counted,
            life::a_release_leaves_no_trace,
            life::a_waiting_task_is_revoked,
            life::a_running_task_is_revoked_and_its_result_refused,
            life::what_has_ended_cannot_be_revoked,
            life::nobody_but_the_holder_can_do_anything,
            life::a_crash_loses_nothing,
            life::a_crash_while_tasks_run_makes_them_due_at_once,
            callbacks::an_end_is_told_once_with_what_its_client_may_see,
            callbacks::failures_are_told_whoever_ends_the_task_and_revocations_are_not,
            callbacks::who_does_not_say_what_became_of_it_is_not_waited_for,
            callbacks::what_failed_is_told_again_later,
            callbacks::news_survives_a_crash,
            callbacks::news_is_forgotten_with_its_task,
            callbacks::a_task_that_is_opened_again_is_told_of_again,
            callbacks::the_address_belongs_to_what_a_key_stands_for,
            callbacks::who_waits_for_news_is_woken,
            dead::a_task_that_is_given_up_is_a_failure_and_listed,
            dead::a_dead_task_is_opened_again_with_all_its_tries,
            dead::a_dead_task_without_photographs_is_not_opened_again,
            dead::a_dead_task_that_is_opened_again_late_ends_in_time,
            dead::a_purged_task_is_unknown,
            dead::only_the_dead_are_redelivered_or_purged,
            dead::the_dead_survive_a_crash_and_are_forgotten_in_time,
            dead::the_dead_are_listed_in_the_order_of_their_end,
            forget::a_task_is_removed_wherever_it_stands,
            forget::who_waits_for_a_removed_task_is_told,
            forget::nothing_of_a_removed_task_comes_back,
            limits::a_full_queue_refuses_until_there_is_room,
            limits::what_would_end_too_late_is_refused,
            limits::a_client_with_too_many_waiting_is_refused_and_others_are_not,
            limits::what_a_client_has_waiting_survives_a_crash_and_counts_what_comes_back,
            limits::too_many_lost_leases_end_a_task,
            limits::too_many_retries_end_a_task,
            limits::too_many_crashes_end_a_task,
            limits::results_are_forgotten_in_time,
            limits::a_task_that_waits_for_too_long_ends,
            limits::a_task_that_waits_for_too_long_between_tries_ends,
            limits::an_idempotency_key_yields_the_first_task,
            limits::an_idempotency_key_survives_a_crash_and_is_forgotten_with_its_task,
            owners::a_task_belongs_to_who_handed_it_in_and_to_nobody_else,
            owners::one_idempotency_key_of_two_owners_is_two_keys,
            owners::a_client_may_have_a_limit_of_its_own,
            waiting::a_claim_is_woken_by_a_submission,
            waiting::a_claim_is_woken_by_time,
            waiting::a_claim_gives_up_in_time,
            waiting::a_claim_that_is_dropped_takes_nothing,
            waiting::status_waits_for_the_end,
            waiting::status_gives_up_in_time,
            waiting::lost_ends_when_the_lease_is_lost,
            waiting::a_closed_queue_sends_away_who_waits_and_refuses_the_next,
            waiting::the_storage_answers,
            waiting::many_callers_share_the_work,
        }

        #[test]
        fn random_histories_follow_the_model() {
            $crate::queue::contract::histories::random_histories_follow_the_model::<$rig>();
        }
    };
    ($rig:ty: $($part:ident::$test:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::queue::contract::$part::$test::<$rig>().await;
            }
        )*
    };
}
pub(super) use contract;

/// What [`confidential`] says and nobody may read where it is kept.
pub(super) const SECRETS: [&str; 6] =
    ["a face, in full", "another face", "passport", "192.0.2", "0123456789abcdef", "hooks.example"];

/// A submission full of what only those may know whom it concerns.
pub(super) fn confidential() -> Submission {
    let photographs = [b"a face, in full".repeat(50), b"another face".repeat(50)];
    Submission {
        payload: Payload { photographs, wishes: Default::default() },
        idempotency_key: Some("passport 123456".to_owned()),
        client: Some("192.0.2.77".to_owned()),
        max_waiting: None,
        owner: Some("0123456789abcdef".to_owned()),
        callback: Some("https://hooks.example.org/".to_owned()),
        trace: Default::default(),
    }
}

/// A payload that can be told from others.
pub(super) fn payload(seed: u8) -> Payload {
    let wishes = Wishes {
        threshold: seed.is_multiple_of(2).then(|| f32::from(seed) / 7.0),
        non_frontal: seed.is_multiple_of(3).then_some(NonFrontal::Report),
    };
    Payload { photographs: [vec![seed; 1000 + usize::from(seed)], vec![!seed; 2000]], wishes }
}

/// A result that can be told from others.
pub(super) fn success(seed: u8) -> Outcome {
    Outcome::Success(serde_json::json!({ "verified": true, "seed": seed }))
}

/// An error that can be told from others.
pub(super) fn error(message: &str) -> TaskError {
    TaskError { code: ErrorCode::ProcessingFailed, message: message.to_owned(), image: Some(2), details: None }
}

pub(super) async fn submit(queue: &dyn Queue, seed: u8) -> TaskId {
    queue.submit(Submission::new(payload(seed))).await.unwrap()
}

/// Claims what must be due.
pub(super) async fn claim(queue: &dyn Queue) -> Claim {
    queue.claim(Duration::ZERO).await.unwrap().expect("a task is due")
}

/// Looks up a task that must be known.
pub(super) async fn view(queue: &dyn Queue, id: TaskId) -> TaskView {
    queue.status(id, Duration::ZERO).await.unwrap().expect("the task is known")
}

pub(super) async fn state(queue: &dyn Queue, id: TaskId) -> State {
    view(queue, id).await.state
}

/// The error that a task must have ended with.
pub(super) async fn failure(queue: &dyn Queue, id: TaskId) -> TaskError {
    match view(queue, id).await {
        TaskView { state: State::Failure | State::Revoked, outcome: Some(Outcome::Failure(error)), .. } => error,
        other => panic!("not a failure: {other:?}"),
    }
}

/// Waiting, running, ended, dead.
pub(super) async fn counts(queue: &dyn Queue) -> [u64; 4] {
    let stats = queue.stats().await.unwrap();
    [stats.waiting, stats.running, stats.ended, stats.dead]
}
