//! API keys over HTTP: who is let in where, what each scope opens, whose tasks are whose, and that none of it takes a restart.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::http::{Answer, Client};
use visavis_tests::stub;

/// How long a change of the file may take to be seen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A set-up whose photographs say how long they take.
fn stubbed() -> Setup {
    Setup::new().set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
}

fn quick(number: u32) -> Form {
    stub::form(number, Duration::ZERO, 500)
}

fn holder(host: &Host, key: &str) -> Client {
    host.client().holding(key)
}

/// The refusal's status and code, and what it asks to be shown.
fn refused(answer: &Answer) -> (u16, String, String) {
    let challenge = answer.header("www-authenticate").unwrap_or_default().to_owned();
    (answer.status, answer.problem(), challenge)
}

fn assert_unauthorized(answer: &Answer, what: &str) {
    let (status, code, challenge) = refused(answer);
    assert_eq!((status, code.as_str()), (401, "unauthorized"), "{what}");
    assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
}

fn assert_forbidden(answer: &Answer, scope: &str) {
    let (status, code, challenge) = refused(answer);
    assert_eq!((status, code.as_str()), (403, "forbidden"));
    assert!(challenge.contains(&format!("scope=\"{scope}\"")) && answer.text().contains(scope), "{challenge}");
}

/// Asks until the answer has this status.
fn becomes(status: u16, ask: impl Fn() -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.status == status {
            return answer;
        }
        assert!(Instant::now() < deadline, "not {status} within {PATIENCE:?}: {} {}", answer.status, answer.text());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_listener_that_others_reach_needs_keys_or_the_word_that_it_needs_none() {
    let told = |setup: &Setup, listen: &str| {
        let output = setup.run(["serve", "--listen", listen, "--admin", "off", "--queue", "file:data/queue.redb"]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (setup, listen, why) in [
        (Setup::new(), "0.0.0.0:0", "server.listen is 0.0.0.0:0, which others can reach"),
        (Setup::new(), "[::]:0", "server.listen is [::]:0, which others can reach"),
        (Setup::new().set("VISAVIS_AUTH__MODE", "keys"), "127.0.0.1:0", "auth.mode is keys"),
        (
            Setup::new().set("VISAVIS_TELEMETRY__METRICS", "0.0.0.0:0"),
            "127.0.0.1:0",
            "telemetry.metrics is 0.0.0.0:0, which others can reach",
        ),
    ] {
        let told = told(&setup, listen);
        for words in [why, "keys.json", "visavis keys add", "auth.mode to \"none\""] {
            assert!(told.contains(words), "{words} in {told}");
        }
        assert!(!setup.data().join("queue.redb").exists(), "nothing was begun");
    }
    let exposed = Setup::new();
    exposed.key(&["web"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(exposed.keys_file(), mode).unwrap();
    assert!(told(&exposed, "0.0.0.0:0").contains("chmod 600"));
    let open = Setup::new().set("VISAVIS_AUTH__MODE", "none").listening_on("0.0.0.0:0").start();
    assert_eq!(open.client().get("/status/face_verification_00").problem(), "not_found");
    assert!(open.log().contains("auth.mode is none"), "{}", open.log());
}

#[test]
fn where_others_reach_the_metrics_they_take_a_key() {
    let setup = stubbed().set("VISAVIS_TELEMETRY__METRICS", "0.0.0.0:0");
    let [web, prometheus, admin] =
        [&["web"][..], &["prometheus", "--scope", "metrics"], &["on-call", "--scope", "admin"]]
            .map(|arguments| setup.key(arguments));
    let host = setup.start();
    let watcher = |key: &str| Client::new(host.watchers()).holding(key);
    let stranger = Client::new(host.watchers());
    for path in ["/healthz", "/readyz"] {
        assert_eq!(stranger.get(path).status, 200, "{path}");
    }
    assert_unauthorized(&stranger.get("/metrics"), "no key");
    assert_unauthorized(&watcher(&web[1..]).get("/metrics"), "a wrong key");
    assert_forbidden(&watcher(&web).get("/metrics"), "metrics");
    for key in [&prometheus, &admin] {
        assert!(watcher(key).get("/metrics").text().contains("visavis_build_info"));
    }
    assert_forbidden(&holder(&host, &prometheus).post("/verify", &quick(1), &[]), "verify");
    assert_unauthorized(&host.client().post("/verify", &quick(1), &[]), "one rule for all listeners");
}

#[test]
fn strangers_reach_health_and_the_page_and_each_scope_opens_its_own() {
    let setup = stubbed().listening_on("0.0.0.0:0");
    let [verify, both, other, admin] =
        [&["kiosk", "--scope", "verify"][..], &["web"], &["other"], &["on-call", "--scope", "admin"]]
            .map(|arguments| setup.key(arguments));
    let host = setup.start();
    let (stranger, kiosk, web) = (host.client(), holder(&host, &verify), holder(&host, &both));

    for path in ["/healthz", "/readyz", "/", "/docs", "/openapi.json", "/site/page.js", "/site/key.js"] {
        assert_eq!(stranger.get(path).status, 200, "{path}");
    }
    let nobodys = format!("/status/face_verification_{}", "0".repeat(32));
    for (method, path) in [
        ("POST", "/verify"),
        ("GET", "/verify"),
        ("OPTIONS", "/verify"),
        ("GET", nobodys.as_str()),
        ("DELETE", nobodys.as_str()),
        ("GET", "/nowhere"),
        ("POST", "/"),
        ("GET", "//"),
        ("GET", "/site/../verify"),
    ] {
        assert_unauthorized(&stranger.send(method, path, &[], &[]), &format!("{method} {path}"));
    }
    assert_unauthorized(&stranger.post("/verify", &quick(1), &[]), "a whole form");
    for shown in ["", "x", &both[1..], &format!("{}{}", &both[..25], &other[25..])] {
        assert_unauthorized(&holder(&host, shown).get("/"), shown);
        assert_unauthorized(&holder(&host, shown).post("/verify", &quick(1), &[]), shown);
    }
    let basic = stranger.send("GET", &nobodys, &[("authorization", &format!("Basic {both}"))], &[]);
    assert_unauthorized(&basic, "another scheme");

    // Who may only hand in learns the end of what it hands in, and no more.
    let answer = kiosk.post("/verify?wait=30", &quick(2), &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(stub::is_own(&answer.json()["result"], 2));
    let kiosks = answer.json()["task_id"].as_str().unwrap().to_owned();
    assert_forbidden(&kiosk.get(&format!("/status/{kiosks}")), "status");
    assert_forbidden(&kiosk.send("DELETE", &format!("/status/{kiosks}"), &[], &[]), "status");

    // A task is its key's, and for another key it does not exist, be it waiting, ended or asked for with patience.
    let id = web.submit(&quick(3));
    assert!(stub::is_own(&web.ended(&id)["result"], 3));
    let [mine, foreign] = [&web, &holder(&host, &other)].map(|client| client.get(&format!("/status/{id}")));
    assert_eq!((mine.status, refused(&foreign).0, foreign.problem()), (200, 404, "not_found".to_owned()));
    assert_eq!(foreign.json()["detail"].as_str().unwrap().replace(&id, ""), {
        let unknown = web.get(&nobodys).json()["detail"].as_str().unwrap().to_owned();
        unknown.replace(nobodys.trim_start_matches("/status/"), "")
    });
    let slow = web.submit(&stub::form(4, Duration::from_secs(20), 500));
    let begin = Instant::now();
    for (method, path) in [("GET", format!("/status/{slow}?wait=30")), ("DELETE", format!("/status/{slow}"))] {
        assert_eq!(holder(&host, &other).send(method, &path, &[], &[]).status, 404, "{method}");
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "who may not see a task must not be kept waiting for it");

    // Whoever has admin sees all, and hands nothing in.
    let operator = holder(&host, &admin);
    for task in [&id, &kiosks, &slow] {
        assert_eq!(operator.get(&format!("/status/{task}")).status, 200);
    }
    assert_forbidden(&operator.post("/verify", &quick(1), &[]), "verify");
    assert_eq!(operator.send("DELETE", &format!("/status/{slow}"), &[], &[]).json()["status"], "REVOKED");
    assert_eq!(web.get(&format!("/status/{slow}")).json()["status"], "REVOKED");

    // One idempotency key of two API keys is two keys.
    let keyed = [("idempotency-key", "order-17")];
    let first = web.post("/verify", &quick(5), &keyed);
    let second = holder(&host, &other).post("/verify", &quick(6), &keyed);
    assert_eq!((first.status, second.status), (202, 202), "{}", second.text());
    assert_ne!(first.json()["task_id"], second.json()["task_id"]);
    assert_eq!(web.post("/verify", &quick(5), &keyed).json(), first.json());
    assert_eq!(web.post("/verify", &quick(6), &keyed).status, 409);

    // The operators' listener takes the token and the scope admin.
    let operators = |key: &str| Client::new(host.operators()).holding(key).get("/components");
    assert_eq!((operators(&admin).status, operators(&setup.token()).status), (200, 200));
    assert_forbidden(&operators(&both), "admin");
    for shown in ["", "x"] {
        assert_unauthorized(&operators(shown), shown);
    }
    assert_unauthorized(&holder(&host, &setup.token()).get(&nobodys), "the operators' token is no key");

    // Nothing tells a key: neither what is written down nor what is logged or measured.
    let measured = Client::new(host.operators()).get("/metrics").text();
    let told = [host.log(), fs::read_to_string(setup.keys_file()).unwrap(), measured].concat();
    for key in [&verify, &both, &other, &admin] {
        assert!(!told.contains(&key[25..]), "a key is told");
    }
}

#[test]
fn keys_are_made_rotated_and_revoked_while_the_host_runs() {
    let setup = stubbed().set("VISAVIS_AUTH__MODE", "keys");
    let first = setup.key(&["first"]);
    let host = setup.start();
    let look = |key: &str, id: &str| holder(&host, key).get(&format!("/status/{id}"));
    let id = holder(&host, &first).submit(&quick(1));

    let second = setup.key(&["second", "--expires", "1d"]);
    becomes(404, || look(&second, &id));

    // The new key in the place of the old one has its tasks; both are taken for a while.
    let rotated = setup.keys(&["rotate", "first"]);
    becomes(200, || look(&rotated, &id));
    assert_eq!(look(&first, &id).status, 200);
    let again = setup.keys(&["rotate", "first", "--overlap", "0s"]);
    becomes(401, || look(&rotated, &id));
    assert_eq!((look(&first, &id).status, look(&again, &id).status), (401, 200));

    let listed = setup.run(["keys", "list", "--json"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let listed: Vec<serde_json::Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.iter().map(|key| key["name"].as_str().unwrap()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(listed[0]["scopes"], serde_json::json!(["verify", "status"]));
    assert!(listed[1]["expires"].as_u64() > listed[1]["created"].as_u64() && listed[0]["expires"].is_null());

    setup.keys(&["revoke", "second"]);
    becomes(401, || look(&second, &id));
    // A file that cannot be read changes nothing, and says so.
    let whole = fs::read(setup.keys_file()).unwrap();
    fs::write(setup.keys_file(), "{").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !host.log().contains("those from before hold") {
        assert!(Instant::now() < deadline, "{}", host.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(look(&again, &id).status, 200);
    fs::write(setup.keys_file(), whole).unwrap();
    setup.keys(&["revoke", "first"]);
    becomes(401, || look(&again, &id));
    assert_eq!(host.client().get("/readyz").status, 200, "nobody is let in, and the host goes on");
    let unknown = setup.run(["keys", "revoke", "first"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn each_key_has_its_own_pace_and_its_own_share_of_the_line() {
    let setup = stubbed()
        .set("VISAVIS_AUTH__MODE", "keys")
        .set("VISAVIS_WORKER__CONCURRENCY", "1")
        .set("VISAVIS_QUEUE__MAX_WAITING_PER_CLIENT", "2");
    let [paced, narrow, wide] =
        [&["paced", "--per-minute", "3"][..], &["narrow", "--max-waiting", "1"], &["wide"]].map(|it| setup.key(it));
    let host = setup.start();
    let nobodys = format!("/status/face_verification_{}", "0".repeat(32));

    let paced = holder(&host, &paced);
    let statuses: Vec<_> = (0..3).map(|_| paced.get(&nobodys).status).collect();
    assert_eq!(statuses, [404; 3]);
    let answer = paced.get(&nobodys);
    assert_eq!((answer.status, answer.problem()), (429, "rate_limited".to_owned()));
    let seconds: u64 = answer.header("retry-after").expect("a time to come back").parse().expect("seconds");
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(holder(&host, &wide).get(&nobodys).status, 404, "others do not suffer");

    // One task keeps the worker busy; what comes then waits.
    let busy = stub::form(0, Duration::from_secs(20), 500);
    let id = holder(&host, &wide).submit(&busy);
    becomes(200, || {
        let answer = holder(&host, &wide).get(&format!("/status/{id}"));
        if answer.json()["status"] == "STARTED" { answer } else { Answer { status: 0, ..answer } }
    });
    for (key, most) in [(&narrow, 1), (&wide, 2)] {
        let client = holder(&host, key);
        for number in 0..most {
            client.submit(&quick(number));
        }
        let answer = client.post("/verify", &quick(9), &[]);
        assert_eq!((answer.status, answer.problem()), (429, "too_many_waiting".to_owned()), "{most}");
        assert!(answer.header("retry-after").is_some());
    }
}

#[test]
fn nodes_of_one_redis_go_by_one_file() {
    let keeper = Setup::new();
    let [one, other, admin] =
        [&["one"][..], &["other"], &["on-call", "--scope", "admin"]].map(|arguments| keeper.key(arguments));
    let fleet = Fleet::new()
        .set("VISAVIS_AUTH__MODE", "keys")
        .set("VISAVIS_AUTH__KEYS_FILE", &keeper.keys_file().to_string_lossy());
    let edges = [fleet.edge(), fleet.edge()];
    let keyed = [("idempotency-key", "order-17")];
    let handed_in = |edge: &Host, key: &str, number| {
        let answer = holder(edge, key).post("/verify", &quick(number), &keyed);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["task_id"].as_str().unwrap().to_owned()
    };
    let id = handed_in(&edges[0], &one, 1);
    assert_eq!(handed_in(&edges[1], &one, 1), id, "an idempotency key holds on all nodes");
    let others = handed_in(&edges[1], &other, 2);
    for edge in &edges {
        for (task, key, status) in [
            (&id, &one, 200),
            (&id, &other, 404),
            (&others, &one, 404),
            (&others, &other, 200),
            (&id, &admin, 200),
            (&others, &admin, 200),
        ] {
            let answer = holder(edge, key).get(&format!("/status/{task}"));
            assert_eq!(answer.status, status, "{}", answer.text());
        }
        assert_eq!(edge.client().get(&format!("/status/{id}")).status, 401);
    }
    assert_eq!(holder(&edges[1], &other).send("DELETE", &format!("/status/{id}"), &[], &[]).status, 404);
    assert_eq!(holder(&edges[1], &one).send("DELETE", &format!("/status/{id}"), &[], &[]).json()["status"], "REVOKED");
    let rotated = keeper.keys(&["rotate", "one", "--overlap", "0s"]);
    for edge in &edges {
        becomes(401, || holder(edge, &one).get(&format!("/status/{id}")));
        assert_eq!(holder(edge, &rotated).get(&format!("/status/{id}")).json()["status"], "REVOKED");
    }
}
