//! Configuration, seen from outside: its layers, and that nothing is ignored.

use std::process::Output;

use serde_json::Value;
use visavis_tests::host::Setup;
use visavis_tests::photos::saved;

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "it is accepted: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A setting's value and source, as `doctor` shows them.
fn setting(setup: &Setup, key: &str) -> (String, String) {
    let output = setup.run(["doctor", "--json"]);
    let findings: Value = serde_json::from_slice(&output.stdout).expect("doctor prints JSON");
    let setting = &findings["settings"][key];
    let text = |name: &str| setting[name].as_str().unwrap_or_else(|| panic!("{key} in {findings}")).to_owned();
    (text("value"), text("source"))
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known() {
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let told = complaint(&Setup::new().set("VISAVIS_SERVER__LISTN", "127.0.0.1:0").run(serve));
    assert!(told.contains("VISAVIS_SERVER__LISTN") && told.contains("'VISAVIS_SERVER__LISTEN'"), "{told}");

    let setup = Setup::new();
    saved(setup.folder(), "visavis.toml", b"[worker]\nconcurency = 2\n");
    let told = complaint(&setup.run(serve));
    assert!(told.contains("visavis.toml:2") && told.contains("worker.concurency"), "{told}");
    assert!(told.contains("'worker.concurrency'"), "{told}");
}

#[test]
fn an_unusable_value_is_named_with_what_is_accepted() {
    let told = complaint(&Setup::new().set("VISAVIS_WORKER__TASK_TIMEOUT", "soon").run(["serve"]));
    assert!(told.contains("worker.task_timeout") && told.contains("soon") && told.contains("30s"), "{told}");
}

#[test]
fn the_seed_s_variables_are_honoured() {
    let setup = Setup::new().set("CELERY_TASK_TIMEOUT", "12");
    assert_eq!(setting(&setup, "worker.task_timeout"), ("12s".to_owned(), "CELERY_TASK_TIMEOUT".to_owned()));

    // Nothing listens on port 1: the host must say so rather than serve from another queue.
    let setup = Setup::new().set("REDIS_URL", "redis://:open-sesame@127.0.0.1:1/0");
    let told = complaint(&setup.run(["queue", "stats"]));
    assert!(told.contains("Redis at 127.0.0.1:1") && told.contains("queue.url"), "{told}");
    let host = setup.start_unready(&["--role", "edge"]);
    let (log, ready) = (host.log(), host.client().get("/readyz"));
    assert!(log.contains("127.0.0.1:1") && log.contains("Redis cannot be reached"), "{log}");
    assert_eq!((ready.status, ready.problem().as_str()), (503, "queue_unavailable"), "{}", ready.text());
    for told in [told, log, ready.text()] {
        assert!(!told.contains("sesame"), "{told}");
    }
}

#[test]
fn later_layers_win() {
    let setup = Setup::new();
    saved(setup.folder(), "visavis.toml", b"[queue]\nmax_length = 7\n[worker]\nretries = 1\nconcurrency = 7\n");
    saved(setup.folder(), ".env", b"VISAVIS_WORKER__RETRIES=2\nVISAVIS_WORKER__CONCURRENCY=8\n");
    let setup = setup.set("VISAVIS_WORKER__CONCURRENCY", "9");
    let value = |key: &str| setting(&setup, key).0;
    assert_eq!(["queue.max_length", "worker.retries", "worker.concurrency"].map(value), ["7", "2", "9"]);
    assert_eq!(setting(&setup, "queue.lease").1, "default");
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = complaint(&Setup::new().run(["serve", "--listen", &address]));
    assert!(told.contains(&address), "{told}");
}
