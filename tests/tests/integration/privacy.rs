//! Photographs leave no trace on the disk. What the log, metrics and traces hold is looked through in `traces`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::photos::{path, photo};
use visavis_tests::traces::Traces;

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
