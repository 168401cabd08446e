//! Many tasks one after another: all are done, and the host needs no more memory for the last than for the first.

use std::thread;
use std::time::{Duration, Instant};

use visavis_tests::fleet::Fleet;
use visavis_tests::host::{Host, Setup};
use visavis_tests::scale::{Run, scale};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(3000);
/// Two photographs of this size make a task.
const PHOTOGRAPH: usize = 50_000;
/// Tasks under way at once: below the longest line, so that none is refused.
const UNDER_WAY: usize = 100;
/// More than this must not come on top of what the host held after a quarter of the tasks.
const GROWTH: u64 = 32 << 20;

/// Lets tasks pass through a host and asserts that its memory has become steady.
fn endure(run: &Run, hosts: &[&Host]) {
    let tasks = scale(600, 10_000);
    let watch = Watch::new(stub::is_own);
    let client = hosts[0].client();
    let memory = || hosts.iter().map(|host| host.resident()).max().unwrap_or_default();
    let mut quarters = Vec::new();
    let start = Instant::now();
    for number in 0..tasks {
        assert!(watch.submit(&client, number, &stub::form(number, Duration::ZERO, PHOTOGRAPH)), "task {number}");
        while number as usize % 50 == 49 && watch.look(&client) > UNDER_WAY {
            assert!(run.took() < PATIENCE, "{}", watch.trouble());
            thread::sleep(Duration::from_millis(10));
        }
        if (number + 1) % (tasks / 4) == 0 {
            quarters.push(memory());
        }
    }
    let tally = watch.to_the_end(&[client], PATIENCE);
    let rate = f64::from(tasks) / start.elapsed().as_secs_f64();
    let mib: Vec<_> = quarters.iter().map(|bytes| bytes >> 20).collect();
    run.counted(&format!("{tally}, memory after each quarter {mib:?} MiB, {rate:.0} tasks/s"));
    assert_eq!(tally, Tally::perfect(tasks as usize), "{}", watch.trouble());
    assert!(quarters[3] <= quarters[0] + GROWTH, "the host's memory grows: {mib:?} MiB");
}

#[test]
fn many_tasks_through_the_embedded_queue_leave_memory_flat() {
    let run = Run::of("many tasks, embedded queue");
    let host = Setup::new().set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy()).start();
    endure(&run, &[&host]);
}

#[test]
fn many_tasks_through_a_redis_leave_memory_flat() {
    let run = Run::of("many tasks, Redis");
    let fleet = Fleet::stubbed();
    let host = fleet.node().start_with(&["--queue", &fleet.redis.url()]);
    endure(&run, &[&host]);
}
