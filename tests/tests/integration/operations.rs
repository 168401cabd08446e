//! What an operator does with a queue: counts, dead letters, limits on one client.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use visavis_tests::components::trapping;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos::{photo, saved, small};
use visavis_tests::redis::Redis;
use visavis_tests::traces::Traces;

const PATIENCE: Duration = Duration::from_secs(60);

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The same set-up, in which the first failure of the analyzer ends a task, and every photograph makes it fail.
fn broken(setup: &Setup) -> Setup {
    let path = saved(setup.folder(), "trapping.wasm", &trapping("analyzer"));
    let setup = setup.clone().set("VISAVIS_WORKER__RETRIES", "0");
    setup.set("VISAVIS_COMPONENTS__ANALYZER__PATH", &path.to_string_lossy())
}

/// Runs `visavis queue ...` on this queue; checks the exit status.
#[track_caller]
fn queue(setup: &Setup, url: &str, command: &str, status: i32) -> Output {
    let output = setup.run(["queue"].into_iter().chain(command.split(' ')).chain(["--queue", url]));
    assert_eq!(output.status.code(), Some(status), "{command}: {}{}", stdout(&output), stderr(&output));
    output
}

#[track_caller]
fn stats(setup: &Setup, url: &str) -> [u64; 4] {
    let told: Value = serde_json::from_slice(&queue(setup, url, "stats --json", 0).stdout).expect("one object");
    ["waiting", "running", "ended", "dead"].map(|what| told[what].as_u64().expect("a count"))
}

#[track_caller]
fn dead(setup: &Setup, url: &str) -> Vec<Value> {
    let told = stdout(&queue(setup, url, "dead list --json", 0));
    told.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

fn stop(host: &Host) {
    host.terminate();
    assert!(host.wait(PATIENCE).success(), "{}", host.log());
}

#[test]
fn a_task_that_a_broken_component_failed_is_done_after_the_mend() {
    let setup = Setup::new();
    let url = format!("file:{}", setup.data().join("queue.redb").display());
    let host = broken(&setup).start();
    let client = host.client();
    let id = client.submit(&Form::photos("obama.jpg", "obama2.jpg"));
    let other = client.submit(&Form::pair(&small("obama.jpg", 200), &small("obama2.jpg", 200)));
    for id in [&id, &other] {
        let status = client.ended(id);
        assert_eq!((&status["status"], &status["error"]["code"]), (&"FAILURE".into(), &"processing_failed".into()));
    }
    let held = queue(&setup, &url, "stats", 2);
    assert!(stderr(&held).contains("admin listener") && stderr(&held).contains("stop it"), "{}", stderr(&held));

    stop(&host);
    assert_eq!(stats(&setup, &url), [0, 0, 2, 2]);
    let tasks = dead(&setup, &url);
    assert_eq!(tasks.len(), 2);
    let task = tasks.iter().find(|task| task["task_id"] == id.as_str()).expect("the first task");
    assert_eq!(task["tries"], 1, "{task}");
    assert!(task["reason"].as_str().is_some_and(|reason| reason.starts_with("processing_failed: ")), "{task}");
    assert!(task["payload_left_s"].as_f64().is_some_and(|left| left > 60.0 && left <= 900.0), "{task}");
    let table = stdout(&queue(&setup, &url, "dead list", 0));
    assert!(table.starts_with("TASK ") && table.contains(&id) && table.contains("kept for 1"), "{table}");
    let traces = Traces::of([photo("obama.jpg").as_slice(), photo("obama2.jpg").as_slice()]);
    assert!(traces.in_folder(&setup.data()).is_empty(), "what is kept is sealed");

    let opened = queue(&setup, &url, &format!("dead retry {id}"), 0);
    assert_eq!(stdout(&opened), format!("{id} is open again\n"));
    assert!(stderr(&queue(&setup, &url, &format!("dead retry {id}"), 1)).contains("not dead"));
    assert_eq!(stats(&setup, &url), [1, 0, 1, 1]);
    queue(&setup, &url, "dead purge --all --yes", 0);
    assert_eq!(dead(&setup, &url), Vec::<Value>::new());
    assert!(stderr(&queue(&setup, &url, &format!("dead purge {other}"), 1)).contains("no such task"));

    let host = setup.start();
    let status = host.client().ended(&id);
    assert_eq!((&status["status"], &status["result"]["verified"]), (&"SUCCESS".into(), &true.into()), "{status}");
    assert_eq!(host.client().get(&format!("/status/{other}")).status, 404, "its client is told that it is gone");
    stop(&host);
    assert_eq!(stats(&setup, &url), [0, 0, 1, 0]);
}

#[test]
fn the_dead_of_many_nodes_are_opened_while_the_nodes_run() {
    let redis = Redis::start();
    let setup = Setup::new();
    let start = |setup: &Setup, role| setup.start_with(&["--queue", &redis.url(), "--role", role]);
    let key = setup.data().join("payload.key").to_string_lossy().into_owned();
    let setup = setup.set("VISAVIS_QUEUE__ENCRYPTION_KEY_FILE", &key);
    let host = start(&broken(&setup), "all");
    let client = host.client();
    let ids: Vec<_> = (0..3).map(|_| client.submit(&Form::photos("obama.jpg", "obama2.jpg"))).collect();
    for id in &ids {
        assert_eq!(client.ended(id)["status"], "FAILURE");
    }
    // An operator on another machine has neither files nor key.
    let operator = Setup::new();
    assert_eq!(stats(&operator, &redis.url()), [0, 0, 3, 3]);
    host.kill();
    queue(&operator, &redis.url(), &format!("dead purge {}", ids[0]), 0);
    let opened = queue(&operator, &redis.url(), "dead retry --all", 0);
    assert_eq!(stdout(&opened).lines().count(), 2);
    assert!(operator.data().read_dir().unwrap().next().is_none() && !operator.folder().join("visavis-data").exists());

    let host = start(&setup, "all");
    let client = host.client();
    assert_eq!(client.get(&format!("/status/{}", ids[0])).status, 404);
    for id in &ids[1..] {
        assert_eq!(client.ended(id)["status"], "SUCCESS");
    }
    assert_eq!(stats(&operator, &redis.url()), [0, 0, 2, 0]);
}

#[test]
fn a_task_is_purged_wherever_it_stands_with_all_that_is_stored_of_it() {
    let redis = Redis::start();
    let shared_queue = redis.url();
    for url in [None, Some(&shared_queue)] {
        let setup = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1");
        let host = match url {
            None => setup.start(),
            Some(url) => setup.start_with(&["--queue", url]),
        };
        let client = host.client();
        let ended = client.submit(&Form::photos("obama.jpg", "obama2.jpg"));
        assert_eq!(client.ended(&ended)["status"], "SUCCESS");
        let open: Vec<_> = (0..6).map(|_| client.submit(&Form::photos("obama.jpg", "obama2.jpg"))).collect();
        let admin = host.operators().to_string();
        let purge = |ids: &[&str]| {
            let setup = host.setup().clone().set("VISAVIS_SERVER__ADMIN", &admin);
            setup.run(["purge"].iter().chain(ids))
        };
        let done = purge(&[&ended, &open[5]]);
        assert!(done.status.success(), "{}", stderr(&done));
        assert_eq!(stdout(&done), format!("{ended} is removed\n{} is removed\n", open[5]));
        for id in [&ended, &open[5]] {
            assert_eq!(client.get(&format!("/status/{id}")).status, 404);
        }
        let again = purge(&[&ended]);
        assert!(again.status.code() == Some(1) && stderr(&again).contains("no task"), "{}", stderr(&again));
        let strange = purge(&["x"]);
        assert!(strange.status.code() == Some(2) && stderr(&strange).contains("'x'"), "{}", stderr(&strange));
        assert_eq!(host.operator().send("DELETE", "/tasks/x", &[], &[]).problem(), "malformed_request");
        let stranger = host.operator().stranger().send("DELETE", &format!("/tasks/{}", open[0]), &[], &[]);
        assert_eq!((stranger.status, stranger.problem().as_str()), (401, "unauthorized"));
        for id in &open[..5] {
            assert_eq!(client.ended(id)["status"], "SUCCESS", "the others are left alone");
        }
        assert_eq!(host.log().matches("purged a task").count(), 2);
    }
}

#[test]
fn a_queue_that_is_not_there_is_an_error_and_none_is_made() {
    let setup = Setup::new();
    let nowhere = setup.folder().join("nowhere/queue.redb");
    let url = format!("file:{}", nowhere.display());
    for command in ["stats", "dead list", "dead retry --all"] {
        let told = stderr(&queue(&setup, &url, command, 2));
        assert!(told.contains(&*nowhere.to_string_lossy()) && told.contains("--queue"), "{told}");
    }
    assert!(!nowhere.parent().unwrap().exists());
    let told = stderr(&queue(&setup, "redis://127.0.0.1:1", "stats", 2));
    assert!(told.contains("127.0.0.1:1") && told.contains("queue.url"), "{told}");
    let told = stderr(&queue(&setup, "redis://127.0.0.1:1", "dead retry 12345", 2));
    assert!(told.contains("'12345' names no task") && told.contains("face_verification_"), "{told}");
}

#[test]
fn a_client_with_too_many_waiting_is_told_and_others_are_served() {
    let redis = Redis::start();
    // An edge does no tasks, so all that it accepts waits.
    let edge = |setup: Setup| {
        let setup = setup.set("VISAVIS_QUEUE__MAX_WAITING_PER_CLIENT", "1");
        setup.start_with(&["--queue", &redis.url(), "--role", "edge"])
    };
    let form = Form::pair(&small("obama.jpg", 100), &small("obama2.jpg", 100));
    let direct = Setup::new();
    let key = direct.data().join("payload.key").to_string_lossy().into_owned();
    let host = edge(direct.set("VISAVIS_QUEUE__ENCRYPTION_KEY_FILE", &key));
    let client = host.client();
    let id = client.submit(&form);
    // Nobody has named the header here, so it says nothing.
    for headers in [&[][..], &[("X-Forwarded-For", "203.0.113.77")]] {
        let refused = client.post("/verify", &form, headers);
        assert_eq!((refused.status, refused.problem().as_str()), (429, "too_many_waiting"), "{}", refused.text());
        let wait = refused.header("retry-after").and_then(|seconds| seconds.parse().ok());
        assert!(wait.is_some_and(|seconds: u32| (1..=60).contains(&seconds)), "{:?}", refused.headers);
    }
    assert_eq!(client.send("DELETE", &format!("/status/{id}"), &[], &[]).status, 200);
    assert_eq!(client.post("/verify", &form, &[]).status, 202, "there is room for the client again");

    let setup = Setup::new().set("VISAVIS_QUEUE__ENCRYPTION_KEY_FILE", &key);
    let proxied = edge(setup.set("VISAVIS_SERVER__CLIENT_ADDRESS_HEADER", "X-Forwarded-For"));
    let client = proxied.client();
    let status = |address: &str| client.post("/verify", &form, &[("X-Forwarded-For", address)]).status;
    for (address, expected) in [
        ("203.0.113.77", 202),
        ("203.0.113.77", 429),
        ("203.0.113.78, 203.0.113.77", 429),
        ("203.0.113.77, 203.0.113.78", 202),
        ("2001:db8:77::1", 202),
        ("2001:db8:77::2", 429),
        ("2001:db8:78::1", 202),
    ] {
        assert_eq!(status(address), expected, "{address}");
    }
    assert_eq!(client.post("/verify", &form, &[]).status, 429, "without the header it is the one that came directly");
    for entry in std::fs::read_dir(redis.folder().join("appendonlydir")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for address in [&b"203.0.113"[..], b"2001:db8"] {
            assert!(!bytes.windows(address.len()).any(|window| window == address), "an address lies on the server");
        }
    }
}
