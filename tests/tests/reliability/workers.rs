//! Workers that are killed, one after another or all at once, and workers that hang and come back too late.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use visavis_tests::fleet::{Fleet, Worker};
use visavis_tests::form::Form;
use visavis_tests::photos::small;
use visavis_tests::scale::{Run, is_soak, scale, wait_for};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};
use visavis_tests::witness::{self, Counts};

/// How long any of these may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Every second pair is of one person.
fn is_own_verdict(result: &Value, number: u32) -> bool {
    result["verified"] == number.is_multiple_of(2)
}

/// Asserts that all tasks ended well and once, in the eyes of clients and by what Redis wrote; says what was counted.
fn assert_each_ended_once(run: &Run, fleet: &Fleet, watch: &Watch, tasks: usize, tally: &Tally, more: &str) {
    let ends = witness::ends(&fleet.redis);
    let ended_once = watch.digits().iter().filter(|id| ends.get(*id) == Some(&1)).count();
    let counts = witness::counts(&fleet.redis);
    run.counted(&format!("{tally}, ended once by Redis' own file {ended_once}, {counts:?}, {more}"));
    assert_eq!(*tally, Tally::perfect(tasks), "{}", watch.trouble());
    assert_eq!((ended_once, ends.len()), (tasks, tasks));
    assert_eq!(counts, Counts::default());
}

/// Submits tasks through one edge, lets `harm` befall the workers until all have ended, and asserts that nothing was lost.
fn survive(name: &'static str, harm: impl Fn(&[Worker], &dyn Fn() -> bool) -> usize + Sync) {
    let run = Run::of(name);
    let tasks = scale(240, 500);
    // The real analyzer is slow enough by itself.
    let fleet = if is_soak() { Fleet::new() } else { Fleet::stubbed() };
    let fleet = fleet.set("VISAVIS_QUEUE__LEASE", "3s");
    witness::keep_all(&fleet.redis);
    let (edge, other) = (fleet.edge(), fleet.edge());
    let workers = [fleet.worker(), fleet.worker(), fleet.worker()];
    let watch = Watch::new(if is_soak() { is_own_verdict } else { stub::is_own });
    let photographs = is_soak().then(|| {
        let [a, b, c] = ["obama.jpg", "obama2.jpg", "biden.jpg"].map(|name| small(name, 640));
        [Form::pair(&a, &b), Form::pair(&a, &c)]
    });
    let submit = |number: u32| {
        let form = match &photographs {
            Some(forms) => forms[number as usize % 2].clone(),
            None => stub::form(number, Duration::from_millis(200), 20_000),
        };
        assert!(watch.submit(&edge.client(), number, &form), "an edge whose workers die accepts tasks");
    };
    let over = AtomicBool::new(false);
    let (tally, kills) = thread::scope(|scope| {
        // From the first task on: the workers are as quick as the edge.
        let harm = scope.spawn(|| harm(&workers, &|| over.load(Ordering::SeqCst)));
        (0..tasks).for_each(submit);
        let tally = watch.to_the_end(&[edge.client(), other.client()], PATIENCE);
        over.store(true, Ordering::SeqCst);
        (tally, harm.join().expect("the harm is done"))
    });
    // Whoever was killed last comes back and must find nothing to do.
    workers.iter().for_each(Worker::await_work);
    let tally_later = watch.to_the_end(&[edge.client(), other.client()], PATIENCE);
    assert_eq!(tally, tally_later);
    assert!(kills >= 3, "only {kills} workers were killed; that tells nothing");
    assert_each_ended_once(&run, &fleet, &watch, tasks as usize, &tally_later, &format!("kills {kills}"));
}

#[test]
fn a_worker_killed_every_second_loses_nothing() {
    survive("one of three workers killed every second", |workers, is_over| {
        let mut kills = 0;
        while !is_over() {
            let victim = &workers[kills % workers.len()];
            victim.kill();
            victim.restart();
            kills += 1;
            thread::sleep(Duration::from_secs(1));
        }
        kills
    });
}

#[test]
fn all_workers_killed_at_once_lose_nothing() {
    survive("all three workers killed at once, every four seconds", |workers, is_over| {
        let mut kills = 0;
        while !is_over() {
            thread::sleep(Duration::from_secs(1));
            workers.iter().for_each(Worker::kill);
            kills += workers.len();
            workers.iter().for_each(Worker::restart);
            thread::sleep(Duration::from_secs(3));
        }
        kills
    });
}

#[test]
fn a_worker_that_hangs_past_its_lease_overwrites_nothing() {
    let run = Run::of("a worker stopped past its lease and continued");
    let rounds = scale(3, 20);
    let fleet = Fleet::stubbed().set("VISAVIS_QUEUE__LEASE", "2s").set("VISAVIS_WORKER__CONCURRENCY", "1");
    witness::keep_all(&fleet.redis);
    let (edge, other) = (fleet.edge(), fleet.edge());
    let watch = Watch::new(stub::is_own);
    let (mut taken, mut refused, mut missed, mut unheard) = (0, 0, 0, 0);
    for round in 0..rounds {
        let zombie = fleet.worker();
        assert!(watch.submit(&edge.client(), round, &stub::form(round, Duration::from_millis(1500), 20_000)));
        let id = format!("face_verification_{}", watch.digits()[round as usize]);
        let status = || edge.client().get(&format!("/status/{id}")).json();
        wait_for("the task is begun", PATIENCE, || status()["status"] == "STARTED");
        zombie.freeze();
        let heir = fleet.worker();
        let ended = edge.client().ended(&id);
        assert_eq!(heir.said(&["task ended", &id]), 1, "the other worker has done it");
        zombie.thaw();
        let gave_up = || {
            // The last: it was stopped before it had read that the task is its own.
            ["the task was taken from this worker", "the result is not wanted any more", "a task that nobody took"]
                .map(|words| zombie.said(&[words, &id]))
        };
        // Or it was stopped while Redis' answer was on its way, and has given that answer up: it has never held the task.
        let never_heard = || zombie.said(&["no task can be claimed"]) > 0;
        wait_for("the zombie sees that it was too late", PATIENCE, || gave_up() != [0; 3] || never_heard());
        let [while_it_worked, at_its_end, before_it_began] = gave_up();
        taken += while_it_worked;
        refused += at_its_end;
        missed += before_it_began;
        unheard += usize::from(gave_up() == [0; 3]);
        assert_eq!((status(), other.client().ended(&id)), (ended.clone(), ended));
    }
    let tally = watch.to_the_end(&[edge.client(), other.client()], PATIENCE);
    assert_eq!(taken + refused + missed + unheard, rounds as usize, "each zombie gives up once");
    assert!(taken + refused > 0, "no zombie had begun its work: that tells nothing");
    let more =
        format!("zombies told while they worked {taken}, before {missed}, never {unheard}, results refused {refused}");
    assert_each_ended_once(&run, &fleet, &watch, rounds as usize, &tally, &more);
}
