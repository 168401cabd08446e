//! What a host runs after it was killed, restarted, or given a damaged store.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use visavis_tests::components::{built, relabelled};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::load::generation;
use visavis_tests::operator::Wishes;
use visavis_tests::photos::small;

const PLAIN: &Wishes = &Wishes { canary: None, signature: None, expected_changes: Vec::new(), fleet: false };

fn pair() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

fn serving(host: &Host, slot: &str) -> Value {
    host.operator().overview()["slots"][slot]["serving"].clone()
}

fn deployed(host: &Host, slot: &str, label: &str, wishes: &Wishes) -> Value {
    let answer = host.operator().deploy(slot, &relabelled(&built(slot), label), wishes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["generations"][slot].clone()
}

fn undone(host: &Host, method: &str, path: &str) {
    let answer = host.operator().send(method, path, &[], &[]);
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
}

/// The folder that keeps what was deployed, beside the queue's file.
fn store(setup: &Setup) -> PathBuf {
    setup.data().join("components")
}

fn packages(setup: &Setup) -> Vec<PathBuf> {
    let entries = fs::read_dir(store(setup)).expect("the store is there").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "package")).collect()
}

#[test]
fn what_was_rolled_back_to_survives_a_restart() {
    let host = Setup::new().start();
    let second = deployed(&host, "scorer", "second", PLAIN);
    deployed(&host, "scorer", "third", PLAIN);
    undone(&host, "POST", "/components/scorer/rollback");
    assert_eq!(serving(&host, "scorer"), second);
    let host = host.kill().start();
    assert_eq!(serving(&host, "scorer"), second);
    assert_eq!(host.client().verify(&pair())["result"]["components"]["scorer"]["digest"], second["digest"]);
    deployed(&host, "scorer", "fourth", PLAIN);
    assert!(
        packages(host.setup()).len() <= 2,
        "what serves, and what can be returned to: {:?}",
        packages(host.setup())
    );
}

#[test]
fn each_slot_is_undone_by_itself() {
    let host = Setup::new().start();
    let operator = host.operator();
    let first = serving(&host, "scorer");
    deployed(&host, "scorer", "scorer 2", PLAIN);
    let gateway = deployed(&host, "gateway", "gateway 2", PLAIN);
    let analyzer = deployed(&host, "analyzer", "analyzer 2", PLAIN);
    undone(&host, "POST", "/components/scorer/rollback");
    assert_eq!(serving(&host, "scorer"), first);
    assert_eq!((serving(&host, "gateway"), serving(&host, "analyzer")), (gateway.clone(), analyzer.clone()));
    undone(&host, "POST", "/components/analyzer/rollback");
    assert_eq!((serving(&host, "gateway"), &serving(&host, "analyzer")["generation"]), (gateway, &1.into()));
    for slot in ["scorer", "analyzer"] {
        let answer = operator.send("POST", &format!("/components/{slot}/rollback"), &[], &[]);
        assert_eq!((answer.status, answer.problem().as_str()), (409, "nothing_before"), "{}", answer.text());
    }
    let status = host.client().verify(&pair());
    assert_eq!((generation(&status, "scorer"), generation(&status, "analyzer")), (1, 1), "{status}");
}

#[test]
fn a_reset_returns_to_the_configured_file_whatever_it_holds_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scorer.wasm");
    fs::write(&file, built("scorer")).unwrap();
    let host = Setup::new().set("VISAVIS_COMPONENTS__SCORER__PATH", &file.to_string_lossy()).start();
    let configured = serving(&host, "scorer")["digest"].clone();
    undone(&host, "DELETE", "/components/scorer");
    assert_eq!(serving(&host, "scorer")["digest"], configured, "also when nothing had been deployed");
    deployed(&host, "scorer", "another", PLAIN);
    assert_ne!(serving(&host, "scorer")["digest"], configured);
    undone(&host, "DELETE", "/components/scorer");
    assert_eq!(serving(&host, "scorer")["digest"], configured);

    fs::write(&file, relabelled(&built("scorer"), "an update")).unwrap();
    let host = host.kill().start();
    assert_ne!(serving(&host, "scorer")["digest"], configured, "the file is what is configured, not its old content");
    assert_eq!(host.client().verify(&pair())["result"]["verified"], true);
}

#[test]
fn a_trial_ends_with_the_process_and_its_number_is_not_given_twice() {
    let host = Setup::new().start();
    let served = deployed(&host, "scorer", "served", PLAIN);
    let tried = deployed(&host, "scorer", "tried", &Wishes { canary: Some(100), ..Wishes::default() });
    assert_eq!(tried["generation"], 3);
    assert_eq!(generation(&host.client().verify(&pair()), "scorer"), 3);
    let host = host.kill().start();
    let overview = host.operator().overview();
    assert_eq!(overview["slots"]["scorer"]["serving"], served, "{overview}");
    assert!(overview["slots"]["scorer"]["canary"].is_null(), "{overview}");
    assert_eq!(generation(&host.client().verify(&pair()), "scorer"), 2);
    assert_eq!(deployed(&host, "scorer", "fourth", PLAIN)["generation"], 4, "results name generation 3 already");
}

#[test]
fn a_kill_during_a_deployment_leaves_one_or_the_other() {
    let mut host = Setup::new().start();
    let start = Instant::now();
    deployed(&host, "scorer", &format!("{} whole", std::process::id()), PLAIN);
    let whole = start.elapsed();
    let mut before = serving(&host, "scorer")["digest"].clone();
    let mut came_through = 0;
    // Shares of the time that a whole deployment takes, percent: from hardly begun to over.
    for (round, share) in [5, 50, 80, 100, 120, 300].into_iter().enumerate() {
        let component = relabelled(&built("scorer"), &format!("{} {round}", std::process::id()));
        let operator = host.operator();
        let deploying = thread::spawn(move || {
            let body = &component;
            operator
                .try_deploy("scorer", body)
                .ok()
                .map(|answer| answer.json()["generations"]["scorer"]["digest"].clone())
        });
        thread::sleep(whole * share / 100);
        let setup = host.kill();
        let told = deploying.join().expect("no answer is an answer");
        host = setup.start();
        let now = serving(&host, "scorer")["digest"].clone();
        match &told {
            Some(deployed) => assert_eq!(&now, deployed, "what was answered with 200 stays"),
            None => assert!(now.is_string()),
        }
        came_through += usize::from(now != before);
        before = now;
        assert_eq!(host.client().verify(&pair())["result"]["verified"], true);
    }
    eprintln!("{came_through} of 6 deployments came through, of which each takes {whole:?}");
}

#[test]
fn a_damaged_store_is_told_and_not_passed_over() {
    let host = Setup::new().start();
    deployed(&host, "scorer", "kept", PLAIN);
    let setup = host.kill();
    let index = store(&setup).join("active.json");
    let sound = fs::read(&index).unwrap();
    let package = packages(&setup).pop().expect("the deployed component");
    let component = fs::read(&package).unwrap();
    let refused = |what: &str| {
        let output =
            setup.run(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--queue", "file:data/q.redb"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{what}: {told}");
        assert!(told.contains("active.json") && told.contains("remove"), "{what}: the mend is missing in {told}");
    };
    for (what, text) in [("no JSON", &b"{"[..]), ("nothing", b""), ("half of it", &sound[..sound.len() / 2])] {
        fs::write(&index, text).unwrap();
        refused(what);
    }
    fs::write(&index, &sound).unwrap();
    let mut changed = component.clone();
    changed[1000] ^= 1;
    fs::write(&package, changed).unwrap();
    refused("a changed package");
    fs::remove_file(&package).unwrap();
    refused("a missing package");
    fs::write(&package, &component).unwrap();
    let host = setup.start();
    assert_eq!(serving(&host, "scorer")["generation"], 2, "whole again");
    let setup = host.kill();
    fs::remove_file(&index).unwrap();
    assert_eq!(serving(&setup.start(), "scorer")["generation"], 1, "the mend mends");
}
