//! Components that are replaced while the host works: what passes, what is refused, and that nobody notices.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use visavis_tests::components::{built, endless, relabelled, trapping};
use visavis_tests::form::Form;
use visavis_tests::host::{Setup, shared};
use visavis_tests::operator::Wishes;

const PLAIN: &Wishes = &Wishes { canary: None, signature: None, expected_changes: Vec::new(), fleet: false };

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
    assert_eq!(events, ["deployed", "rolled_back", "reset"]);
}

#[test]
fn what_does_not_do_its_work_is_refused_and_the_old_one_serves_on() {
    let setup = Setup::new().set("VISAVIS_COMPONENTS__SCORER__DEADLINE", "300ms");
    let host = setup.start();
    let operator = host.operator();
    let scorer = built("scorer");
    let module = b"\0asm\x01\0\0\0".to_vec();
    for (what, slot, component, code) in [
        ("a trap", "scorer", trapping("scorer"), "gate_failed"),
        ("a loop", "scorer", endless("scorer"), "gate_failed"),
        ("a trap", "gateway", trapping("gateway"), "gate_failed"),
        ("a trap", "analyzer", trapping("analyzer"), "gate_failed"),
        ("another world", "scorer", built("analyzer"), "bad_component"),
        ("another world", "analyzer", scorer.clone(), "bad_component"),
        ("another world", "gateway", scorer.clone(), "bad_component"),
        ("a truncated file", "scorer", scorer[..scorer.len() / 2].to_vec(), "bad_component"),
        ("a core module", "scorer", module, "bad_component"),
        ("nothing", "scorer", Vec::new(), "bad_component"),
    ] {
        let asked = Instant::now();
        let answer = operator.deploy(slot, &component, PLAIN);
        assert_eq!((answer.status, answer.problem().as_str()), (422, code), "{what} as {slot}: {}", answer.text());
        eprintln!("{what} as {slot}, after {:?}: {}", asked.elapsed(), answer.json()["detail"]);
    }
    let unknown = operator.deploy("painter", &scorer, PLAIN);
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "not_found"));
    let without = operator.stranger().send("PUT", "/components/scorer", &[], &scorer);
    assert_eq!((without.status, without.problem().as_str()), (401, "unauthorized"));
    let wrong = operator.stranger().send("PUT", "/components/scorer", &[("authorization", "Bearer no")], &scorer);
    assert_eq!(wrong.status, 401);
    let overview = operator.overview();
    for slot in ["gateway", "analyzer", "scorer"] {
        assert_eq!(overview["slots"][slot]["serving"]["generation"], 1, "{overview}");
    }
    assert_eq!(host.client().verify(&Form::photos("obama.jpg", "obama2.jpg"))["status"], "SUCCESS");
}

#[test]
fn swaps_under_load_lose_nothing() {
    let setup = Setup::new();
    let host = setup.start();
    let operator = host.operator();
    let over = AtomicBool::new(false);
    let results = thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let (host, over) = (&host, &over);
                scope.spawn(move || {
                    let (client, mut generations) = (host.client(), Vec::new());
                    while !over.load(Ordering::Relaxed) {
                        let status = client.verify(&Form::photos("obama.jpg", "obama2.jpg"));
                        assert_eq!(status["status"], "SUCCESS", "{status}");
                        let components = &status["result"]["components"];
                        generations.push(
                            [&components["scorer"], &components["analyzer"]]
                                .map(|it| it["generation"].as_u64().expect("every result names its generations")),
                        );
                    }
                    generations
                })
            })
            .collect();
        for round in 0..20 {
            let slot = if round % 5 == 4 { "analyzer" } else { "scorer" };
            let answer = operator.deploy(slot, &relabelled(&built(slot), &format!("round {round}")), PLAIN);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let newest = |index: usize| results.iter().map(|generations| generations[index]).max();
    eprintln!(
        "{} verifications during 20 swaps; the newest generations seen: {:?}",
        results.len(),
        [newest(0), newest(1)]
    );
    assert!(results.iter().all(|[scorer, analyzer]| (1..=17).contains(scorer) && (1..=5).contains(analyzer)));
    assert!(results.len() > 5 && newest(0) > Some(5));
}

#[test]
fn a_good_canary_is_promoted_and_a_bad_one_taken_back() {
    let setup =
        Setup::new().set("VISAVIS_COMPONENTS__CANARY_TASKS", "3").set("VISAVIS_COMPONENTS__CANARY_SLOWDOWN", "100");
    let host = setup.start();
    let operator = host.operator();
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let tried = Wishes { canary: Some(50), ..Wishes::default() };
    let answer = operator.deploy("scorer", &relabelled(&built("scorer"), "canary"), &tried);
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"canary".into()), "{}", answer.text());
    let busy = operator.deploy("scorer", &relabelled(&built("scorer"), "another"), PLAIN);
    assert_eq!((busy.status, busy.problem().as_str()), (409, "trial_running"));
    let generations: Vec<_> = (0..8)
        .map(|_| client.verify(&form)["result"]["components"]["scorer"]["generation"].as_u64().expect("a result"))
        .collect();
    assert!(generations.contains(&1) && generations.contains(&2), "{generations:?}");
    let overview = operator.wait_until("the canary serves", Duration::from_secs(20), |overview| {
        overview["slots"]["scorer"]["serving"]["generation"] == 2
    });
    assert!(overview["slots"]["scorer"]["canary"].is_null(), "{overview}");
    assert_eq!(client.verify(&form)["result"]["components"]["scorer"]["generation"], 2);

    let answer = operator.deploy("scorer", &relabelled(&built("scorer"), "called off"), &tried);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = operator.send("POST", "/components/scorer/rollback", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(operator.overview()["slots"]["scorer"]["canary"].is_null());
    assert_eq!(client.verify(&form)["result"]["components"]["scorer"]["generation"], 2);
    for percent in ["0", "101", "x"] {
        let answer = operator.send("PUT", "/components/scorer", &[("visavis-canary", percent)], &built("scorer"));
        assert_eq!(answer.status, 400, "{percent}: {}", answer.text());
    }
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
    let setup = Setup::new();
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
