//! Components that are replaced while the host works: what passes, what is refused, and that nobody notices.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use visavis_tests::components::{built, relabelled};
use visavis_tests::form::Form;
use visavis_tests::host::{Setup, shared};
use visavis_tests::load::generation;
use visavis_tests::operator::Wishes;
use visavis_tests::photos::{small, square};
use visavis_tests::wayward::{Conduct, scorer};

const PLAIN: &Wishes = &Wishes { canary: None, signature: None, expected_changes: Vec::new(), fleet: false };

fn pair() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

#[test]
fn a_deployed_component_serves_survives_a_restart_and_is_undone() {
    let setup = Setup::new();
    let host = setup.start();
    let operator = host.operator();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let made_by = |client: &visavis_tests::http::Client| client.verify(&form)["result"]["components"]["scorer"].clone();
    let first = made_by(&host.client());
    assert_eq!(first["generation"], 1);
    for (slot, generation) in [("scorer", 2), ("scorer", 3), ("analyzer", 2), ("gateway", 2)] {
        let answer = operator.deploy(slot, &relabelled(&built(slot), &format!("{generation}")), PLAIN);
        assert_eq!(answer.status, 200, "{slot}: {}", answer.text());
        let report = answer.json();
        assert_eq!(
            (&report["state"], &report["generations"][slot]["generation"]),
            (&"serving".into(), &generation.into())
        );
        eprintln!("{slot}: {} ms, the gate {} ms", report["milliseconds"], report["gate"]["milliseconds"]);
        assert!(report["gate"]["cases"].as_u64() > Some(5), "{report}");
    }
    let third = made_by(&host.client());
    assert_eq!(third["generation"], 3);
    drop(host);

    let host = setup.start();
    assert_eq!(made_by(&host.client()), third, "a restart goes on with what was deployed");
    let operator = host.operator();
    let answer = operator.deploy("scorer", &relabelled(&built("scorer"), "4"), PLAIN);
    assert_eq!(answer.json()["generations"]["scorer"]["generation"], 4, "numbers go on as well");
    let answer = operator.send("POST", "/components/scorer/rollback", &[], &[]);
    assert_eq!((answer.status, made_by(&host.client())), (200, third), "{}", answer.text());
    let answer = operator.send("POST", "/components/scorer/rollback", &[], &[]);
    assert_eq!((answer.status, answer.problem().as_str()), (409, "nothing_before"));
    let answer = operator.send("DELETE", "/components/scorer", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(made_by(&host.client())["digest"], first["digest"]);
    let events: Vec<_> =
        operator.overview()["history"].as_array().unwrap().iter().map(|it| it["event"].clone()).collect();
    assert_eq!(events, ["deployed", "rolled_back", "deployed"]);
}

#[test]
fn work_ends_on_the_generation_that_it_began_on() {
    const FATEFUL: u32 = 333;
    let setup = Setup::new().set("VISAVIS_COMPONENTS__SCORER__DEADLINE", "20s");
    let host = setup.start();
    let (operator, client) = (host.operator(), host.client());
    let slow = scorer(Conduct::Slow(Duration::from_secs(4)), Some(FATEFUL));
    let answer = operator.deploy("scorer", &slow, PLAIN);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let id = client.submit(&Form::pair(&square("obama.jpg", FATEFUL), &small("obama2.jpg", 320)));
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.get(&format!("/status/{id}")).json()["status"] != "STARTED" {
        assert!(Instant::now() < deadline, "the task does not start");
        thread::sleep(Duration::from_millis(5));
    }
    let compiled = host.compiled_components();
    for generation in [3, 4] {
        let answer = operator.deploy("scorer", &relabelled(&built("scorer"), &format!("{generation}")), PLAIN);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(generation(&client.verify(&pair()), "scorer"), 4, "new work goes to the new generation");
    assert_eq!(client.get(&format!("/status/{id}")).json()["status"], "STARTED", "the slow task still runs");
    let ended = client.ended(&id);
    assert_eq!((generation(&ended, "scorer"), &ended["result"]["verified"]), (2, &json!(true)), "{ended}");
    // Only the third can be returned to now; the second went with its last task, and the first before it.
    let deadline = Instant::now() + Duration::from_secs(30);
    while host.compiled_components() > compiled {
        assert!(Instant::now() < deadline, "{:?} components are mapped, {compiled:?} were", host.compiled_components());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn many_operators_at_once_are_served_one_after_the_other() {
    const OPERATORS: usize = 6;
    let host = Setup::new().start();
    let generations: BTreeSet<_> = thread::scope(|scope| {
        let operators: Vec<_> = (0..OPERATORS)
            .map(|number| {
                let host = &host;
                scope.spawn(move || {
                    let component = relabelled(&built("scorer"), &format!("operator {number}"));
                    let answer = host.operator().deploy("scorer", &component, PLAIN);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    answer.json()["generations"]["scorer"]["generation"].as_u64().expect("a number")
                })
            })
            .collect();
        operators.into_iter().map(|operator| operator.join().expect("an operator breaks off")).collect()
    });
    assert_eq!(generations, (2..2 + OPERATORS as u64).collect(), "each has a generation of its own");
    let overview = host.operator().overview();
    assert_eq!(overview["slots"]["scorer"]["serving"]["generation"], 1 + OPERATORS, "{overview}");
    let told: Vec<_> = overview["history"].as_array().expect("a history").iter().collect();
    assert!(told.len() == OPERATORS && told.iter().all(|entry| entry["event"] == "deployed"), "{overview}");
    assert_eq!(generation(&host.client().verify(&pair()), "scorer"), 1 + OPERATORS as u64);
}

#[test]
fn operators_are_kept_apart_from_clients() {
    let host = shared();
    assert_eq!(host.client().get("/components").status, 404, "clients find nothing here");
    let operator = host.operator();
    for (method, path, status) in
        [("GET", "/", 404), ("GET", "/verify", 404), ("POST", "/components", 405), ("GET", "/drain", 405)]
    {
        let answer = operator.send(method, path, &[], &[]);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(operator.stranger().send(method, path, &[], &[]).status, 401, "{method} {path}");
    }
}

/// The command line's own words, and that it went well.
fn visavis(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.run(arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn with_trusted_keys_only_what_they_signed_is_deployed() {
    let setup = Setup::new();
    let folder = setup.folder().to_owned();
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    visavis(&setup, &["components", "keygen", "--out", &file("a.key"), "--no-password"]);
    visavis(&setup, &["components", "keygen", "--out", &file("b.key"), "--no-password"]);
    let setup = setup.set("VISAVIS_COMPONENTS__TRUSTED_KEYS", &file("a.pub"));
    let host = setup.start();
    let operator = host.operator();
    let scorer = relabelled(&built("scorer"), "signed");
    std::fs::write(file("s.wasm"), &scorer).unwrap();
    let unsigned = operator.deploy("scorer", &scorer, PLAIN);
    assert_eq!((unsigned.status, unsigned.problem().as_str()), (403, "signature_missing"));
    let signed_by = |key: &str| {
        visavis(&setup, &["components", "sign", &file("s.wasm"), "--key", &file(key)]);
        Wishes { signature: Some(std::fs::read_to_string(file("s.wasm.minisig")).unwrap()), ..Wishes::default() }
    };
    let stranger = operator.deploy("scorer", &scorer, &signed_by("b.key"));
    assert_eq!((stranger.status, stranger.problem().as_str()), (403, "signature_refused"), "{}", stranger.text());
    let ours = signed_by("a.key");
    let changed = operator.deploy("scorer", &relabelled(&scorer, "changed"), &ours);
    assert_eq!((changed.status, changed.problem().as_str()), (403, "signature_refused"), "{}", changed.text());
    assert_eq!(operator.overview()["slots"]["scorer"]["serving"]["generation"], 1);
    let fine = operator.deploy("scorer", &scorer, &ours);
    assert_eq!(fine.status, 200, "{}", fine.text());
    assert!(fine.json()["generations"]["scorer"]["signer"].is_string(), "{}", fine.text());
    drop(host);
    let host = setup.start();
    assert_eq!(host.operator().overview()["slots"]["scorer"]["serving"]["generation"], 2, "its signature was kept");
    drop(host);
    let distrusting = setup.clone().set("VISAVIS_COMPONENTS__TRUSTED_KEYS", &file("b.pub"));
    let output =
        distrusting.run(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", "file:data/queue.redb"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("not trusted") && told.contains("active.json"), "{told}");
}

#[test]
fn a_bundle_moves_components_and_policy_together_and_back() {
    let setup = Setup::new().set("VISAVIS_MODELS__EMBEDDER", "facenet-casia-webface");
    let host = setup.start();
    let operator = host.operator();
    let file = |name: &str| setup.folder().join(name).to_string_lossy().into_owned();
    std::fs::write(file("s.wasm"), relabelled(&built("scorer"), "bundled")).unwrap();
    let pack = |version: &str, more: &[&str]| {
        let (out, scorer) = (file("b.bundle"), file("s.wasm"));
        let fixed =
            ["components", "bundle", "--out", &out, "--name", "strict", "--version", version, "--scorer", &scorer];
        visavis(&setup, &[&fixed, more].concat());
        std::fs::read(&out).unwrap()
    };
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let result = || {
        let status = host.client().verify(&form);
        assert_eq!(status["status"], "SUCCESS", "{status}");
        status["result"].clone()
    };
    let before = result();
    let embedder = ["--embedder", "facenet-casia-webface", "--threshold", "0.25"];
    let answer = operator.deploy("bundle", &pack("1", &embedder), PLAIN);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let after = result();
    assert_eq!((&after["threshold"], &after["verified"]), (&0.25.into(), &false.into()), "{after}");
    assert_eq!((&after["components"]["scorer"]["generation"], &after["models"]), (&2.into(), &before["models"]));
    let overview = operator.overview();
    assert_eq!(overview["slots"]["scorer"]["serving"]["bundle"], "strict 1", "{overview}");
    let table =
        visavis(&setup.clone().set("VISAVIS_SERVER__ADMIN", &host.operators().to_string()), &["components", "list"]);
    assert!(table.contains("strict 1") && table.contains("deployed"), "{table}");

    // The scorer's way back is the policy's way back.
    let answer = operator.send("POST", "/components/scorer/rollback", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((&result()["threshold"], &result()["components"]), (&before["threshold"], &before["components"]));

    let changes = [&embedder[..], &["--embedding-space", "changes"]].concat();
    let answer = operator.deploy("bundle", &pack("2", &changes), PLAIN);
    assert_eq!((answer.status, answer.problem().as_str()), (422, "gate_failed"), "pairs are decided on otherwise");
    let lenient = ["--embedder", "facenet-casia-webface", "--threshold", "1.06", "--embedding-space", "changes"];
    let answer = operator.deploy("bundle", &pack("3", &lenient), PLAIN);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let kept = result();
    assert_eq!(kept["components"]["scorer"]["generation"], 4, "{kept}");
    assert_eq!(kept["components"]["analyzer"], before["components"]["analyzer"]);
    for (what, bytes) in [("no bundle", b"hello".to_vec()), ("a component", built("scorer"))] {
        let answer = operator.deploy("bundle", &bytes, PLAIN);
        assert_eq!((answer.status, answer.problem().as_str()), (422, "bad_bundle"), "{what}");
    }
}
