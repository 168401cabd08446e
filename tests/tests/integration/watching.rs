//! A folder in which components are left: what is complete and proven is deployed, and nothing else.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use visavis_tests::components::{built, relabelled};
use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};

/// How long a deployment may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for a file to be taken, if it were to be.
const WHILE: Duration = Duration::from_secs(5);

/// The folder that a set-up has, and the set-up that watches it.
fn watched(setup: Setup) -> (PathBuf, Setup) {
    let folder = setup.folder().join("incoming");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let setup = setup.set("VISAVIS_COMPONENTS__WATCH", &folder.to_string_lossy());
    (folder, setup)
}

/// Leaves a file as it should be left: written aside and renamed.
fn leave(folder: &Path, name: &str, bytes: &[u8]) {
    let aside = folder.join(format!(".{name}"));
    fs::write(&aside, bytes).unwrap();
    fs::rename(aside, folder.join(name)).unwrap();
}

fn serving(overview: &Value) -> &Value {
    &overview["slots"]["scorer"]["serving"]
}

fn await_generation(host: &Host, generation: u32) -> Value {
    let holds = |overview: &Value| serving(overview)["generation"] == generation;
    host.operator().wait_until(&format!("generation {generation} serves"), PATIENCE, holds)
}

/// Lines of the log that hold all of these words.
fn said(host: &Host, words: &[&str]) -> usize {
    host.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

fn await_words(host: &Host, words: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while said(host, words) == 0 {
        assert!(Instant::now() < deadline, "not said: {words:?}\n{}", host.log());
        sleep(Duration::from_millis(50));
    }
}

fn fine(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_is_left_is_deployed_once() {
    let (folder, setup) = watched(Setup::new());
    let host = setup.start();
    let [a, b] = ["a", "b"].map(|label| relabelled(&built("scorer"), label));
    // What serves already, whoever brought it.
    leave(&folder, "scorer.wasm", &built("scorer"));
    sleep(WHILE);
    assert_eq!(serving(&host.operator().overview())["generation"], 1);
    leave(&folder, "scorer.wasm", &a);
    let overview = await_generation(&host, 2);
    assert_eq!((&serving(&overview)["origin"], &overview["history"][0]["by"]), (&"watch".into(), &"watch".into()));
    let digest = serving(&overview)["digest"].clone();
    let status = host.client().verify(&Form::photos("obama.jpg", "obama2.jpg"));
    assert_eq!(status["result"]["components"]["scorer"]["digest"], digest, "{status}");
    leave(&folder, "scorer.wasm", &a);
    sleep(WHILE);
    leave(&folder, "scorer.wasm", &b);
    let overview = await_generation(&host, 3);
    assert_eq!(overview["history"].as_array().map(Vec::len), Some(2), "the same bytes are nothing new: {overview}");

    // Back, and the file that is still there is not taken again, not even after a restart.
    let answer = host.operator().send("POST", "/components/scorer/rollback", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    sleep(WHILE);
    assert_eq!(serving(&host.operator().overview())["digest"], digest);
    drop(host);
    let host = setup.start();
    sleep(WHILE);
    assert_eq!(serving(&host.operator().overview())["digest"], digest);

    fs::write(setup.folder().join("new.wasm"), relabelled(&built("scorer"), "c")).unwrap();
    let bundle =
        ["components", "bundle", "--out", "faces", "--name", "faces", "--version", "1.2", "--scorer", "new.wasm"];
    fine(&setup.run(bundle));
    leave(&folder, "faces-1.2.bundle", &fs::read(setup.folder().join("faces")).unwrap());
    let overview = await_generation(&host, 4);
    assert_eq!((&serving(&overview)["bundle"], &serving(&overview)["origin"]), (&"faces 1.2".into(), &"watch".into()));
}

#[test]
fn what_is_refused_changes_nothing_and_is_told_once() {
    let (folder, setup) = watched(Setup::new().set("VISAVIS_SERVER__ADMIN_BODY_LIMIT", "128KiB"));
    let host = setup.start();
    let scorer = built("scorer");
    leave(&folder, "scorer.wasm", &scorer[..scorer.len() / 2]);
    leave(&folder, "gateway.wasm", &vec![0; 200 << 10]);
    leave(&folder, "my-scorer.wasm", &scorer);
    leave(&folder, "faces.bundle", b"no bundle");
    let refused: [&[&str]; 4] = [
        &["ERROR", "scorer.wasm", "was refused", "no scorer component"],
        &["ERROR", "gateway.wasm", "was refused", "server.admin_body_limit"],
        &["ERROR", "faces.bundle", "was refused", "no bundle"],
        &["WARN", "my-scorer.wasm", "is ignored", "scorer.wasm"],
    ];
    refused.iter().for_each(|words| await_words(&host, words));
    sleep(WHILE);
    for words in refused {
        assert_eq!(said(&host, &words[..2]), 1, "{}", host.log());
    }
    let overview = host.operator().overview();
    for slot in ["gateway", "analyzer", "scorer"] {
        assert_eq!(overview["slots"][slot]["serving"]["deployment"], 0, "{overview}");
    }
    leave(&folder, "scorer.wasm", &relabelled(&scorer, "whole"));
    let holds = |overview: &Value| serving(overview)["origin"] == "watch";
    host.operator().wait_until("the mended file serves", PATIENCE, holds);
}

#[test]
fn a_file_that_is_still_written_is_not_taken() {
    let (folder, setup) = watched(Setup::new());
    let host = setup.start();
    let scorer = relabelled(&built("scorer"), "slowly");
    let mut file = OpenOptions::new().create_new(true).write(true).open(folder.join("scorer.wasm")).unwrap();
    for piece in scorer.chunks(scorer.len().div_ceil(8)) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        sleep(Duration::from_millis(700));
    }
    drop(file);
    await_generation(&host, 2);
    assert_eq!(said(&host, &["was refused"]), 0, "{}", host.log());
}

#[test]
fn with_trusted_keys_a_file_waits_for_its_signature() {
    let setup = Setup::new();
    fine(&setup.run(["components", "keygen", "--no-password"]));
    let (folder, setup) = watched(setup.set("VISAVIS_COMPONENTS__TRUSTED_KEYS", "visavis.pub"));
    // Who can write there can still bring nothing that is not signed.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let host = setup.start();
    leave(&folder, "scorer.wasm", &relabelled(&built("scorer"), "signed"));
    await_words(&host, &["ERROR", "scorer.wasm", "was refused", "it is not signed"]);
    assert_eq!(serving(&host.operator().overview())["generation"], 1);
    fine(&setup.run(["components", "sign", "incoming/scorer.wasm", "--key", "visavis.key"]));
    let holds = |overview: &Value| serving(overview)["signer"].is_string();
    host.operator().wait_until("the signed file serves", PATIENCE, holds);
}

#[test]
fn a_file_for_others_is_told_and_a_folder_that_cannot_be_watched_refused() {
    let fleet = Fleet::stubbed();
    let (folder, setup) = watched(fleet.node());
    let edge = setup.start_with(&["--queue", &fleet.redis.url(), "--role", "edge"]);
    leave(&folder, "analyzer.wasm", &built("analyzer"));
    await_words(&edge, &["WARN", "analyzer.wasm", "not for this node", "server.role"]);
    drop(edge);

    let refused = |setup: &Setup, words: [&str; 2]| {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", "file:data/queue.redb"];
        let output = setup.run(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && words.iter().all(|word| told.contains(word)), "{told}");
        let told = String::from_utf8_lossy(&setup.run(["doctor"]).stdout).into_owned();
        assert!(told.contains("FAIL  watched folder") && words.iter().all(|word| told.contains(word)), "{told}");
    };
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    refused(&setup, ["incoming", "chmod go-w"]);
    fs::remove_dir_all(&folder).unwrap();
    refused(&setup, ["incoming", "make the folder"]);
}
