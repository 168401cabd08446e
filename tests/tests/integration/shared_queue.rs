//! Many nodes on one Redis: roles, death of a worker, death of the server.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos::{photo, small};
use visavis_tests::redis::Redis;
use visavis_tests::traces::Traces;

/// A node's set-up; all nodes of a test share the key that photographs are sealed with.
fn node(first: Option<&Setup>) -> Setup {
    let setup = Setup::new().set("VISAVIS_QUEUE__LEASE", "2s");
    let keeper = first.unwrap_or(&setup);
    let key = keeper.data().join("payload.key").to_string_lossy().into_owned();
    setup.set("VISAVIS_QUEUE__ENCRYPTION_KEY_FILE", &key)
}

fn start(setup: &Setup, redis: &Redis, role: &str) -> Host {
    setup.start_with(&["--queue", &redis.url(), "--role", role])
}

fn wait_for(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_edge_accepts_what_a_worker_without_a_listener_does() {
    let redis = Redis::start();
    let setup = node(None);
    let edge = start(&setup, &redis, "edge");
    let id = edge.client().submit(&Form::photos("obama.jpg", "obama2.jpg"));
    let status = edge.client().get(&format!("/status/{id}")).json();
    assert_eq!(status["status"], "PENDING", "an edge does no task: {status}");

    let other = node(Some(&setup));
    let mut command = other.command(["serve", "--queue", &redis.url(), "--role", "worker"]);
    let mut worker = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(worker.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "visavis: working", "a worker names no address");
    // The edge's client is woken by what the worker did.
    let status = edge.client().ended(&id);
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!((&status["status"], &status["result"]["verified"]), (&"SUCCESS".into(), &true.into()), "{status}");
    let traces = Traces::of([photo("obama.jpg").as_slice(), photo("obama2.jpg").as_slice()]);
    assert!(traces.in_folder(redis.folder()).is_empty(), "Redis has seen a photograph in the clear");
}

#[test]
fn a_role_of_its_own_needs_a_queue_that_others_reach() {
    let setup = Setup::new();
    let output = setup.run(["serve", "--listen", "127.0.0.1:0", "--role", "edge"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("queue.url") && told.contains("redis://"), "{told}");
}

#[test]
fn one_idempotency_key_is_one_task_on_all_nodes() {
    let redis = Redis::start();
    let setup = node(None);
    let (one, two) = (start(&setup, &redis, "edge"), start(&node(Some(&setup)), &redis, "edge"));
    let form = Form::pair(&small("obama.jpg", 200), &small("obama2.jpg", 200));
    let submit = |host: &Host| host.client().post("/verify", &form, &[("Idempotency-Key", "the-same")]).json();
    let first = submit(&one);
    assert!(first["task_id"].is_string(), "{first}");
    assert_eq!(submit(&two), first);
    assert_eq!(submit(&one), first);
}

#[test]
fn killed_workers_lose_nothing() {
    const TASKS: usize = 20;
    let redis = Redis::start();
    let setup = node(None);
    let edge = start(&setup, &redis, "edge");
    let client = edge.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let ids: Vec<_> = (0..TASKS).map(|_| client.submit(&form)).collect();
    let other = node(Some(&setup));
    let (steady, dying) = (start(&node(Some(&setup)), &redis, "all"), start(&other, &redis, "all"));
    wait_for("a task has ended", Duration::from_secs(60), || {
        ids.iter().any(|id| client.get(&format!("/status/{id}")).json()["status"] == "SUCCESS")
    });
    dying.kill();
    for id in &ids {
        let status = client.ended(id);
        assert_eq!((&status["status"], &status["result"]["verified"]), (&"SUCCESS".into(), &true.into()), "{status}");
        assert_eq!(steady.client().get(&format!("/status/{id}")).json(), status, "one result, whichever node is asked");
    }
}

#[test]
fn without_redis_clients_are_told_at_once_and_service_returns_by_itself() {
    let mut redis = Redis::start();
    let host = start(&node(None), &redis, "all");
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    assert_eq!(client.verify(&form)["status"], "SUCCESS");
    redis.kill();
    wait_for("the host sees that Redis is gone", Duration::from_secs(10), || client.get("/readyz").status == 503);
    let asked = Instant::now();
    let refused = client.post("/verify", &form, &[]);
    assert_eq!((refused.status, refused.problem().as_str()), (503, "queue_unavailable"), "{}", refused.text());
    assert!(
        refused.header("retry-after").is_some() && asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    redis.restart();
    wait_for("the host is ready again", Duration::from_secs(30), || client.get("/readyz").status == 200);
    assert_eq!(client.verify(&form)["status"], "SUCCESS");
}

#[test]
fn nodes_that_start_before_their_redis_serve_when_it_comes() {
    let mut fleet = Fleet::stubbed();
    fleet.redis.kill();
    let edge = fleet.node().start_unready(&["--queue", &fleet.redis.url(), "--role", "edge"]);
    let worker = fleet.worker();
    let client = edge.client();
    assert_eq!(client.get("/healthz").status, 200);
    let ready = client.get("/readyz");
    assert_eq!((ready.status, ready.problem().as_str()), (503, "queue_unavailable"), "{}", ready.text());
    let why = "Connection refused";
    assert!(ready.text().contains(why) && edge.log().contains(why), "{}\n{}", ready.text(), edge.log());
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let asked = Instant::now();
    let refused = client.post("/verify", &form, &[]);
    assert_eq!((refused.status, refused.problem().as_str()), (503, "queue_unavailable"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some() && asked.elapsed() < Duration::from_secs(5));
    assert_eq!(edge.operator().overview()["slots"]["gateway"]["serving"]["generation"], 1);
    wait_for("the worker has tried", Duration::from_secs(30), || worker.said(&["no task can be claimed"]) > 0);
    fleet.redis.restart();
    wait_for("the edge is ready", Duration::from_secs(30), || client.get("/readyz").status == 200);
    let id = client.submit(&form);
    assert!(client.ended(&id)["status"].is_string(), "the worker does it");
}

#[test]
fn what_cannot_be_mended_by_waiting_is_told() {
    let mut redis = Redis::start();
    let setup = node(None);
    let edge = start(&setup, &redis, "edge");
    let id = edge.client().submit(&Form::photos("obama.jpg", "obama2.jpg"));
    redis.kill();
    let stranger = Setup::new().start_unready(&["--queue", &redis.url(), "--role", "edge"]);
    redis.restart();
    let client = stranger.client();
    wait_for("the stranger is told why", Duration::from_secs(30), || {
        let ready = client.get("/readyz");
        assert_eq!(ready.status, 503, "it seals with another key");
        ready.text().contains("sealed with another key")
    });
    let log = stranger.log();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("payload.key")), "{log}");
    // It goes on by itself once it may.
    wait_for("the edge is ready", Duration::from_secs(30), || edge.client().get("/readyz").status == 200);
    assert_eq!(edge.client().send("DELETE", &format!("/status/{id}"), &[], &[]).status, 200);
    wait_for("the stranger is let in", Duration::from_secs(30), || client.get("/readyz").status == 200);

    let setup = Setup::new().set("VISAVIS_QUEUE__TLS_CA", "/nowhere/ca.pem");
    for (url, words) in [("rediss://127.0.0.1:1", "/nowhere/ca.pem"), ("redis+sentinel://127.0.0.1:1", "queue.url")] {
        let output = setup.run(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", url]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words), "{url}: {told}");
    }
}

#[test]
fn doctor_leaves_no_mark_that_would_keep_a_node_out() {
    let redis = Redis::start();
    let setup = node(None);
    let doctor = |setup: &Setup| {
        let output = setup.clone().set("VISAVIS_QUEUE__URL", &redis.url()).run(["doctor"]);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let visitor = Setup::new();
    let (fine, told) = doctor(&visitor);
    assert!(fine && told.contains("note  key file") && told.contains("copy that of a node that runs"), "{told}");
    assert!(!visitor.folder().join("visavis-data").exists(), "{told}");
    let edge = start(&setup, &redis, "edge");
    edge.client().submit(&Form::photos("obama.jpg", "obama2.jpg"));
    // Beside a task that waits, another key would be refused.
    let (fine, told) = doctor(&visitor);
    assert!(!fine && told.contains("FAIL  queue") && told.contains("sealed with another key"), "{told}");
    let (fine, told) = doctor(&setup);
    assert!(fine && told.contains("1 tasks wait"), "{told}");
    start(&node(Some(&setup)), &redis, "edge");
}

#[test]
fn a_redis_that_may_lose_tasks_is_warned_of() {
    let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru", "--appendonly", "no"]);
    let setup = node(None);
    let doctor = |redis: &Redis, json: &[&str]| {
        setup.clone().set("VISAVIS_QUEUE__URL", &redis.url()).run([&["doctor"], json].concat())
    };
    let output = doctor(&redis, &[]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "it can be served with: {told}");
    let warned: Vec<_> = told.lines().filter(|line| line.starts_with("warn  queue")).collect();
    assert!(warned.len() == 2 && warned[0].contains("noeviction") && warned[1].contains("appendonly"), "{told}");
    assert!(told.contains("ok    queue") && told.contains("see warn above"), "{told}");
    let output = doctor(&redis, &["--json"]);
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let levels = findings["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "warning");
    assert!(findings["fine"] == true && levels.count() == 2, "{findings}");
    let host = start(&setup, &redis, "edge");
    let log = host.log();
    assert!(log.contains("maxmemory-policy allkeys-lru") && log.contains("append-only file"), "{log}");

    let told = String::from_utf8_lossy(&doctor(&Redis::start(), &[]).stdout).into_owned();
    assert!(told.contains("All is well") && !told.contains("warn"), "{told}");
    let replica = Redis::start_with(&["--replicaof", "127.0.0.1 1"]);
    let output = doctor(&replica, &[]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && told.contains("FAIL  queue") && told.contains("read-only replica"), "{told}");
}
