//! Photographs leave no trace on the disk, on a Redis or in a core dump. What the log, metrics and traces hold is looked through in
//! `traces`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use visavis_tests::compiled;
use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::photos::{path, photo, pixels};
use visavis_tests::process::Resource;
use visavis_tests::redis::Redis;
use visavis_tests::traces::Traces;

use crate::traces::{embeddings, vectors};

const NAMES: [&str; 3] = ["obama.jpg", "obama2.jpg", "32bit.png"];

fn traces() -> Traces {
    let photographs = NAMES.map(photo);
    Traces::of(photographs.iter().map(|photograph| photograph.as_slice()))
}

#[test]
fn photographs_are_never_on_the_disk_in_the_clear() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").start();
    let (client, traces, data) = (host.client(), traces(), host.setup().data());
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let png = Form::photos("32bit.png", "obama.jpg");
    let ids: Vec<_> = (0..12).map(|task| client.submit(if task % 2 == 0 { &form } else { &png })).collect();

    let waiting = client.get(&format!("/status/{}", ids[11])).json();
    assert_eq!(waiting["status"], "PENDING", "the search below must see waiting tasks");
    let stored: u64 = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(stored > 1_000_000, "the photographs are there, {stored} bytes");
    assert_eq!(traces.in_folder(&data), Vec::<std::path::PathBuf>::new(), "while tasks wait");
    for id in &ids {
        assert_eq!(client.ended(id)["status"], "SUCCESS");
    }
    assert_eq!(traces.in_folder(&data), Vec::<std::path::PathBuf>::new(), "after they have ended");

    let folder = host.setup().folder().to_owned();
    let setup = host.kill();
    assert_eq!(traces.in_folder(&folder), Vec::<std::path::PathBuf>::new(), "after the host is gone");
    drop(setup);
}

/// All that may be known of two photographs: their bytes, their pixels, what the networks make of them.
struct Known {
    traces: Traces,
    numbers: Vec<String>,
}

impl Known {
    fn of(setup: &Setup) -> Self {
        let photographs = ["obama.jpg", "obama2.jpg"].map(photo);
        let pixels = ["obama.jpg", "obama2.jpg"].map(|name| pixels(name).into_raw());
        let float = |number: &serde_json::Value| (number.as_f64().expect("a number") as f32).to_le_bytes();
        let vectors: Vec<Vec<u8>> =
            vectors(setup).iter().map(|vector| vector.iter().flat_map(float).collect()).collect();
        assert!(vectors.len() == 2 && vectors.iter().all(|bytes| bytes.len() == 2048), "two embeddings of 512 numbers");
        let bytes = photographs.iter().map(|it| it.as_slice()).chain(pixels.iter().chain(&vectors).map(Vec::as_slice));
        Self { traces: Traces::of(bytes), numbers: embeddings(setup) }
    }

    #[track_caller]
    fn assert_unknown_to(&self, what: &str, bytes: &[u8]) {
        assert_eq!(self.traces.find(bytes), None, "{what}");
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(self.traces.find_written(&text), None, "{what}");
        // One or two may be there by chance, as parts of other figures.
        let found = self.numbers.iter().filter(|number| text.contains(number.as_str())).count();
        assert!(found < 8, "{what} holds {found} numbers of an embedding");
    }
}

#[test]
fn a_redis_and_its_nodes_hold_no_trace_of_photographs_and_forget_their_tasks() {
    let place = tempfile::tempdir().unwrap();
    let temporary = place.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let fleet = Fleet::on(Redis::start())
        .set("VISAVIS_QUEUE__RESULT_TTL", "3s")
        .set("VISAVIS_TELEMETRY__LOG", "debug")
        .set("VISAVIS_COMPONENTS__CACHE", &compiled::copied(place.path()).to_string_lossy())
        .set("TMPDIR", &temporary.to_string_lossy());
    let known = Known::of(&Setup::new());
    let edge = fleet.edge();
    let client = edge.client();
    let ids: Vec<_> = (0..4).map(|_| client.submit(&Form::photos("obama.jpg", "obama2.jpg"))).collect();
    let digits = |id: &str| id.trim_start_matches("face_verification_").to_owned();
    let mentions = |id: &str| {
        let digits = digits(id);
        let named = |(key, bytes): &(String, Vec<u8>)| {
            key.contains(&digits) || String::from_utf8_lossy(bytes).contains(digits.as_str())
        };
        fleet.redis.contents().iter().filter(|entry| named(entry)).count()
    };
    let look = |when: &str| {
        let contents = fleet.redis.contents();
        for (key, bytes) in &contents {
            known.assert_unknown_to(&format!("{key} {when}"), bytes);
        }
        contents.iter().filter(|(key, _)| key.contains(":payload:")).map(|(_, bytes)| bytes.len()).collect::<Vec<_>>()
    };
    let sealed = look("while tasks wait");
    assert!(sealed.len() == ids.len() && sealed.iter().all(|length| *length > 100_000), "{sealed:?}");

    let purged = edge.operator().send("DELETE", &format!("/tasks/{}", ids[3]), &[], &[]);
    assert!((200..300).contains(&purged.status), "{}", purged.text());
    assert_eq!((mentions(&ids[3]), mentions(&ids[0]) > 0), (0, true), "of a purged task nothing is left at once");
    let worker = fleet.worker();
    for id in &ids[..3] {
        assert_eq!(client.ended(id)["status"], "SUCCESS");
    }
    assert_eq!(look("after the end"), Vec::<usize>::new(), "photographs go with the end of their task");
    let deadline = Instant::now() + Duration::from_secs(60);
    while ids.iter().any(|id| mentions(id) > 0) {
        assert!(Instant::now() < deadline, "tasks are known after their time");
        std::thread::sleep(Duration::from_millis(200));
    }
    // The file that Redis appends every command to has all that ever lay there.
    let folders = [fleet.redis.folder(), edge.setup().folder(), worker.folder(), place.path()];
    let mut looked = 0;
    for file in folders.iter().flat_map(|folder| walk(folder)) {
        let bytes = fs::read(&file).unwrap();
        looked += bytes.len();
        match file.extension().and_then(|extension| extension.to_str()) {
            // Machine code is no text.
            Some("cwasm") => assert_eq!(known.traces.find(&bytes), None, "{}", file.display()),
            _ => known.assert_unknown_to(&file.to_string_lossy(), &bytes),
        }
    }
    assert!(looked > 1_000_000, "{looked} bytes");
}

#[test]
fn what_is_known_of_photographs_is_found() {
    let setup = Setup::new();
    let known = Known::of(&setup);
    let floats: Vec<u8> =
        vectors(&setup)[0].iter().flat_map(|it| (it.as_f64().unwrap() as f32).to_le_bytes()).collect();
    let pixels = pixels("obama2.jpg").into_raw();
    let middle = pixels.len() / 2;
    for bytes in [&photo("obama.jpg")[9000..9100], &floats[100..200], &pixels[middle..middle + 3000]] {
        assert!(known.traces.find(bytes).is_some(), "{bytes:?}");
    }
}

#[test]
fn a_host_that_crashes_leaves_no_core_dump() {
    let crash = |status: ExitStatus| (status.signal(), status.core_dumped());
    let place = tempfile::tempdir().unwrap();
    let sleeping =
        Command::new("sh").args(["-c", "ulimit -c unlimited && kill -ABRT $$"]).current_dir(place.path()).status();
    let others = crash(sleeping.expect("there is a shell"));
    let host = Setup::new().start_within(Resource::CoreDump, u64::MAX);
    host.signal(libc::SIGABRT);
    assert_eq!(crash(host.wait(Duration::from_secs(20))), (Some(libc::SIGABRT), false));
    let cores =
        walk(host.setup().folder()).filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("core"));
    assert_eq!(cores.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    if others != (Some(libc::SIGABRT), true) {
        eprintln!("note: this system makes no core dumps, of whatever program: {others:?}");
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b");
    std::fs::create_dir(folder.path().join("a")).unwrap();
    std::fs::write(&path, &photo("obama2.jpg")[7777..7841]).unwrap();
    assert_eq!(traces().in_folder(folder.path()), [path]);
}

#[test]
fn the_key_is_for_its_owner_alone() {
    let host = Setup::new().start();
    let keys: Vec<_> = std::fs::read_dir(host.setup().data())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().contains("key"))
        .collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_inference_library_reports_nothing_and_leaves_no_identifier() {
    let setup = Setup::new();
    let home = tempfile::tempdir().unwrap();
    let mut command = setup.command(["verify"]);
    command.args(["obama.jpg", "obama2.jpg"].map(path)).env("HOME", home.path());
    // What else could name another home, and what the workspace sets for its own tests.
    for name in ["XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "ORT_DISABLE_TELEMETRY"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> = walk(home.path()).filter(|path| !path.starts_with(home.path().join(".cache/visavis"))).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
}

/// All files below a folder.
fn walk(folder: &Path) -> Box<dyn Iterator<Item = PathBuf>> {
    let paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    Box::new(paths.into_iter().flat_map(|path| {
        if path.is_dir() { walk(&path) } else { Box::new(std::iter::once(path)) as Box<dyn Iterator<Item = PathBuf>> }
    }))
}
