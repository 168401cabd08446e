//! Clients that ask without end how far their tasks are: others are served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use visavis_tests::host::Setup;
use visavis_tests::others::Others;
use visavis_tests::scale::{Run, scale, wait_for};
use visavis_tests::stub;

#[test]
fn floods_of_questions_leave_room_for_others() {
    let run = Run::attack("floods of questions");
    // A task that goes on for as long as the flood, on one worker.
    let host = Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_COMPONENTS__ANALYZER__DEADLINE", "10m")
        .set("VISAVIS_WORKER__TASK_TIMEOUT", "9m")
        .set("VISAVIS_WORKER__CONCURRENCY", "2")
        .set("VISAVIS_SERVER__CONCURRENCY", "64")
        .start();
    let client = host.client();
    let id = client.submit(&stub::form(1, Duration::from_secs(500), 100));
    let before = host.resident();
    let enough = Arc::new(AtomicBool::new(false));
    let answers = Arc::new([AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)]);
    // Three times as many as there are seats wait; some more ask without a pause, also for what does not exist.
    let clients: Vec<_> = (0..scale(200, 600))
        .map(|number| {
            let (enough, answers, address) = (Arc::clone(&enough), Arc::clone(&answers), host.address());
            let path = match number % 10 {
                0 => format!("/status/{id}"),
                1 => format!("/status/face_verification_{number:032x}?wait=30"),
                _ => format!("/status/{id}?wait=30"),
            };
            thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(move || {
                    let client = visavis_tests::http::Client::patient(address, Duration::from_secs(60));
                    while !enough.load(Ordering::Relaxed) {
                        let kind = match client.try_get(&path).map(|answer| answer.status) {
                            Some(200 | 404) => 0,
                            Some(503) => 1,
                            _ => 2,
                        };
                        answers[kind].fetch_add(1, Ordering::Relaxed);
                        // Who was refused is told to wait a second, and does not.
                        thread::sleep(Duration::from_millis(20));
                    }
                })
                .expect("a thread")
        })
        .collect();
    thread::sleep(Duration::from_millis(1500));
    let served = Others::ask(&host, |client| {
        // A client that does as a refusal says gets its answer soon.
        for _ in 0..10 {
            match client.try_send("GET", "/", &[], &[]) {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) if answer.status == 503 => thread::sleep(Duration::from_secs(1)),
                Ok(answer) => return Err(format!("{} {}", answer.status, answer.text())),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("refused ten times".to_owned())
    });
    thread::sleep(Duration::from_secs(scale(6, 60)));
    let served = served.fared();
    enough.store(true, Ordering::Relaxed);
    // Whoever still waits is answered at the latest when its task is gone.
    wait_for("the task is revoked", Duration::from_secs(40), || {
        client.send("DELETE", &format!("/status/{id}"), &[], &[]).status == 200
    });
    let count = clients.len();
    clients.into_iter().for_each(|client| client.join().expect("asking does not panic"));
    let [answered, refused, broken] = [0, 1, 2].map(|kind| answers[kind].load(Ordering::Relaxed));
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!(
        "{count} clients on 64 seats: {answered} answers, {refused} refusals, {broken} broken; pages: {served}; the host \
         grew by {} MiB",
        grown >> 20
    ));
    served.assert_served_within(Duration::from_secs(15));
    assert_eq!(broken, 0, "questions have no answer");
    assert!(grown < 200 << 20, "{grown} bytes");
}
