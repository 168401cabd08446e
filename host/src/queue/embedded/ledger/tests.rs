//! The rules where time does strange things, and what must be left of a task. All else is in the contract.

use super::*;

const LIMITS: Limits = Limits {
    max_length: 10,
    max_age: None,
    max_waiting_per_client: None,
    lease: Duration::from_millis(100),
    max_deliveries: 2,
    result_ttl: Duration::from_millis(1000),
    payload_ttl: Duration::from_millis(5000),
};

const CROWD: Option<Crowd> = Some(Crowd { client: [1; 16], most: 9 });

fn ledger() -> Ledger {
    Ledger::restore(LIMITS, Vec::new(), Stamp(0), Interruption::Process)
}

fn reload(ledger: &Ledger, now: Stamp, after: Interruption) -> Ledger {
    let tasks = ledger.tasks.iter().map(|(id, task)| {
        let json = serde_json::to_vec(task).unwrap();
        (*id, serde_json::from_slice(&json).unwrap())
    });
    Ledger::restore(LIMITS, tasks.collect(), now, after)
}

#[test]
fn a_clock_set_back_between_two_starts_delays_nothing_for_longer_than_configured() {
    let mut ledger = ledger();
    let id = TaskId::random();
    let late = Stamp(1_000_000);
    ledger.submit(id, &[], CROWD, true, true, late);
    let lease = ledger.claim(late).unwrap().lease;
    let error = TaskError { code: ErrorCode::ProcessingFailed, message: String::new(), image: None, details: None };
    ledger.retry(lease, Duration::from_millis(300), &error, late).unwrap();

    let mut again = reload(&ledger, Stamp(10), Interruption::Process);
    assert!(again.claim(Stamp(10)).is_none());
    assert_eq!(again.next_timer(), Some(Stamp(310)));
    again.expire(Stamp(310));
    assert_eq!(again.claim(Stamp(310)).unwrap().lease, Lease { id, delivery: 2 });
}

#[test]
fn a_failed_write_leaves_running_tasks_to_their_workers() {
    let mut ledger = ledger();
    let id = TaskId::random();
    ledger.submit(id, &[], CROWD, true, true, Stamp(0));
    let lease = ledger.claim(Stamp(0)).unwrap().lease;
    let mut again = reload(&ledger, Stamp(90), Interruption::Storage);
    again.expire(Stamp(189));
    assert_eq!(again.extend(lease, Stamp(189)), Ok(()));
    again.expire(Stamp(289));
    assert_eq!(again.extend(lease, Stamp(289)), Err(Lost));
}

#[test]
fn every_task_has_one_timer_and_a_forgotten_one_none() {
    let mut ledger = ledger();
    for i in 0..5 {
        ledger.submit(TaskId::random(), &[], CROWD, true, true, Stamp(i));
    }
    let lease = ledger.claim(Stamp(5)).unwrap().lease;
    ledger.extend(lease, Stamp(50)).unwrap();
    ledger.settle(lease, Outcome::Success(serde_json::Value::Null), Stamp(60)).unwrap();
    assert_eq!(ledger.timers.len(), 5);
    ledger.expire(Stamp(1060));
    assert_eq!((ledger.timers.len(), ledger.tasks.len()), (4, 4));
    ledger.expire(Stamp(u64::MAX));
    ledger.expire(Stamp(u64::MAX));
    let left = [ledger.timers.len(), ledger.ready.len(), ledger.dead.len(), ledger.keys.len(), ledger.clients.len()];
    assert_eq!(left, [0; 5]);
    assert_eq!(ledger.stats(), Stats::default());
}

#[test]
fn the_end_of_time_does_not_loop() {
    let mut ledger = ledger();
    ledger.limits.payload_ttl = Duration::MAX;
    ledger.submit(TaskId::random(), &[], CROWD, true, true, Stamp(0));
    ledger.expire(Stamp(u64::MAX - 1));
    assert_eq!(ledger.stats().waiting, 1);
}

#[test]
fn a_waiting_task_that_is_forgotten_leaves_the_line_to_the_others() {
    let mut ledger = ledger();
    let [disowned, next] = [TaskId::random(), TaskId::random()];
    ledger.submit(disowned, &[], CROWD, true, true, Stamp(0));
    ledger.submit(next, &[], CROWD, true, true, Stamp(1));
    ledger.forget(disowned);
    assert_eq!(ledger.claim(Stamp(2)).map(|claimed| claimed.lease.id), Some(next));
}

#[test]
fn what_was_given_up_is_known_after_a_start_and_its_payload_kept_no_longer_than_configured() {
    let mut ledger = ledger();
    let id = TaskId::random();
    ledger.submit(id, &[], CROWD, true, true, Stamp(4500));
    let lease = ledger.claim(Stamp(4500)).unwrap().lease;
    ledger.bury(lease, error_of(ErrorCode::ProcessingFailed, "it trapped".to_owned()), Stamp(9000)).unwrap();
    let mut again = reload(&ledger, Stamp(9400), Interruption::Process);
    assert_eq!(again.dead(9, Stamp(9400))[0].payload_left, Some(Duration::from_millis(100)));
    assert_eq!(again.next_timer(), Some(Stamp(9500)));
    assert!(again.task(id).is_some_and(Task::keeps_payload));
    again.expire(Stamp(9500));
    assert!(!again.task(id).is_some_and(Task::keeps_payload));
    assert_eq!(again.take_changes().keys().collect::<Vec<_>>(), [&id], "the payload is to be deleted");
    assert_eq!(
        (again.redeliver(id, Stamp(9500)), again.next_timer()),
        (Err(NotDead::PayloadGone), Some(Stamp(10_000)))
    );
    again.expire(Stamp(10_000));
    assert_eq!((again.dead(9, Stamp(10_000)), again.stats()), (Vec::new(), Stats::default()));
}
