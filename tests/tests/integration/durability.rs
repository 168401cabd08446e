//! What was accepted is finished, once, whatever happens to the process.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos::small;

const TASKS: usize = 20;

fn forms() -> [Form; 2] {
    let [a, b, c] = ["obama.jpg", "obama2.jpg", "biden.jpg"].map(|name| small(name, 640));
    [Form::pair(&a, &b), Form::pair(&a, &c)]
}

fn submit(host: &Host, count: usize) -> Vec<String> {
    let (client, forms) = (host.client(), forms());
    (0..count).map(|task| client.submit(&forms[task % 2])).collect()
}

fn status(host: &Host, id: &str) -> Value {
    host.client().get(&format!("/status/{id}")).json()
}

/// Waits for the end of every task and checks its result; every second pair is of one person.
fn assert_all_succeed(host: &Host, ids: &[String]) -> Vec<Value> {
    let client = host.client();
    let ended: Vec<_> = ids.iter().map(|id| client.ended(id)).collect();
    for (task, status) in ended.iter().enumerate() {
        assert_eq!(status["status"], "SUCCESS", "{status}");
        assert_eq!(status["result"]["verified"], task % 2 == 0, "{status}");
    }
    ended
}

#[test]
fn tasks_survive_kill_9_and_each_has_one_result() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").start();
    let ids = submit(&host, TASKS);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), TASKS);
    let setup = host.kill();

    let host = setup.start();
    let ended = assert_all_succeed(&host, &ids);
    for _ in 0..5 {
        let again: Vec<_> = ids.iter().map(|id| status(&host, id)).collect();
        assert_eq!(again, ended, "a result does not change");
    }
    // Long enough for a second delivery to show, if there were one.
    std::thread::sleep(Duration::from_secs(2));
    let host = host.kill().start();
    let again: Vec<_> = ids.iter().map(|id| status(&host, id)).collect();
    assert_eq!(again, ended, "nor does another kill change it");
}

#[test]
fn results_told_before_kill_9_stay_and_the_rest_is_finished() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "2").start();
    let ids = submit(&host, TASKS);
    host.client().ended(&ids[3]);
    let told: Vec<_> = ids.iter().map(|id| status(&host, id)).collect();
    let setup = host.kill();

    let host = setup.start();
    let ended = assert_all_succeed(&host, &ids);
    let mut kept = 0;
    for (before, after) in told.iter().zip(&ended).filter(|(before, _)| before["status"] == "SUCCESS") {
        assert_eq!(before, after);
        kept += 1;
    }
    assert!(kept >= 1);
}

#[test]
fn three_kills_in_a_row_lose_nothing() {
    let mut host = Setup::new().set("VISAVIS_QUEUE__LEASE", "2s").start();
    let mut ids = Vec::new();
    for pause in [0, 150, 400] {
        ids.extend(submit(&host, 6));
        std::thread::sleep(Duration::from_millis(pause));
        host = host.kill().start();
    }
    assert_all_succeed(&host, &ids);
}

#[test]
fn sigterm_drains_and_loses_nothing() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").start();
    let ids = submit(&host, 8);
    host.client().ended(&ids[0]);
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| host.client().try_send("GET", &format!("/status/{}?wait=25", ids[7]), &[], &[]));
        std::thread::sleep(Duration::from_millis(300));
        host.terminate();
        waiting.join().unwrap()
    });
    let answer = waiting.expect("a request in flight is answered");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let start = Instant::now();
    let status = host.wait(Duration::from_secs(40));
    assert!(status.success(), "{status}; the log ends:\n{}", host.log());
    assert!(start.elapsed() < Duration::from_secs(35));

    let host = host.setup().start();
    assert_all_succeed(&host, &ids);
}

#[test]
fn sigterm_without_work_ends_at_once() {
    let host = Setup::new().start();
    // An idle connection must not hold the host up.
    let client = host.client();
    assert_eq!(client.get("/").status, 200);
    let start = Instant::now();
    host.terminate();
    assert!(host.wait(Duration::from_secs(20)).success());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn a_data_folder_belongs_to_one_host() {
    let host = Setup::new().start();
    let queue = format!("file:{}", host.setup().data().join("queue.redb").display());
    let output = host.setup().run(["serve", "--listen", "127.0.0.1:0", "--queue", &queue]);
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("queue.redb"), "{complaint}");
    assert_eq!(host.client().get("/readyz").status, 200);
}
