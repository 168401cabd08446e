//! The disk of the embedded queue is full, and then it is not.
//!
//! What is full here is the largest size that a file of the host may have (RLIMIT_FSIZE): every user may set that, and the
//! write fails in the same place as on a full file system, with EFBIG for ENOSPC.

use std::time::Duration;

use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::process::Resource;
use visavis_tests::scale::{Run, scale, wait_for};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// The largest file there may be.
const FILE: u64 = 12 << 20;

#[test]
fn a_full_disk_refuses_new_tasks_and_loses_none() {
    let run = Run::of("disk of the embedded queue full");
    let rounds = scale(2, 10);
    let setup = Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_WORKER__CONCURRENCY", "1")
        .set("VISAVIS_NN__SESSIONS", "1");
    let mut host = setup.start_within(Resource::FileSize, FILE);
    let watch = Watch::new(stub::is_own);
    let form = |number| stub::form(number, Duration::from_millis(300), 300_000);
    let (mut number, mut refused) = (0, 0);
    for round in 0..rounds {
        host.limit(Resource::FileSize, FILE);
        let client = host.client();
        // Until there is no room: tasks come faster than they are done.
        let full = loop {
            let answer = client.post("/verify", &form(number), &[]);
            if answer.status != 202 {
                break answer;
            }
            watch.accept(answer.json()["task_id"].as_str().expect("an id").to_owned(), number);
            number += 1;
            assert!(number < 1000 * (round + 1), "the limit is not felt");
        };
        assert_eq!((full.status, full.problem().as_str()), (503, "queue_unavailable"), "{}", full.text());
        let wait: u64 = full.header("retry-after").and_then(|after| after.parse().ok()).expect("a number of seconds");
        assert!((1..=60).contains(&wait), "{wait}");
        assert!(host.log().contains("File too large"), "the disk is the reason");
        refused += 1;
        let answer = client.get("/readyz");
        assert!(answer.status == 200 || answer.status == 503, "the host answers: {}", answer.status);
        if round % 2 == 1 {
            // Killed while its disk is full, and started on a larger one.
            host = host.kill().start();
        } else {
            host.limit(Resource::FileSize, u64::MAX);
        }
        let client = host.client();
        wait_for("tasks are accepted again", PATIENCE, || {
            let accepted = watch.submit(&client, number, &form(number));
            refused += u32::from(!accepted);
            accepted
        });
        number += 1;
        let tally = watch.to_the_end(&[client], PATIENCE);
        assert_eq!(tally, Tally::perfect(number as usize), "{}", watch.trouble());
    }
    let answer = host.client().post("/verify", &Form::new(), &[]);
    assert_eq!(answer.status, 422, "{}", answer.text());
    run.counted(&format!("{}, submissions refused {refused}, times full {rounds}", watch.tally()));
}
