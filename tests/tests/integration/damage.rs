//! What a host finds on its disk is damaged, swapped or cannot be written: it says so, and starts where it can.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use visavis_tests::compiled;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos::{assets, path, small};

fn pair() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

fn assert_works(host: &Host) {
    assert_eq!(host.client().verify(&pair())["result"]["verified"], true, "{}", host.log());
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_damaged_queue_is_put_aside_and_the_host_starts_and_says_so() {
    let host = Setup::new().start();
    let lost = host.client().verify(&pair());
    let lost = lost["task_id"].as_str().expect("an id").to_owned();
    host.terminate();
    assert!(host.wait(Duration::from_secs(40)).success());
    let url = host.setup().queue();
    let setup = host.setup().clone().set("VISAVIS_QUEUE__URL", &url);
    let file = setup.data().join("queue.redb");
    let mut bytes = fs::read(&file).unwrap();
    let eighth = bytes.len() / 8;
    bytes[eighth..].fill(0xA5);
    fs::write(&file, &bytes).unwrap();
    // Whoever only looks changes nothing.
    for arguments in [&["queue", "stats"][..], &["doctor"]] {
        let output = setup.run(arguments);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
        assert!(!output.status.success() && said.contains("damaged") && said.contains("queue.redb"), "{said}");
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }

    let host = setup.start();
    assert_works(&host);
    assert_eq!(host.client().get(&format!("/status/{lost}")).status, 404);
    let log = host.log();
    assert!(
        log.contains("the queue file is damaged: it was put aside") && log.contains("queue.redb.damaged-"),
        "{log}"
    );
    let aside: Vec<_> = fs::read_dir(setup.data())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".damaged-"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read(&aside[0]).unwrap(), bytes, "nothing of it is lost");
    assert_eq!(aside[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    host.terminate();
    assert!(host.wait(Duration::from_secs(40)).success());
    let doctor = setup.run(["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("queue.redb.damaged-") && said.contains("remove it"), "{said}");
}

#[test]
fn a_file_that_was_never_a_queue_is_left_alone() {
    let setup = Setup::new();
    let file = setup.data().join("queue.redb");
    fs::write(&file, "[queue]\nname = \"a configuration\"\n").unwrap();
    let output = setup.run(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", &setup.queue()]);
    assert!(!output.status.success() && stderr(&output).contains("move the file away"), "{}", stderr(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), "[queue]\nname = \"a configuration\"\n");
}

#[test]
fn damaged_compiled_code_is_compiled_anew() {
    const COMPLAINT: &str = "compiled code in the cache was changed by somebody else";
    let setup = Setup::new();
    let cache = compiled::copied(setup.folder());
    let setup = setup.set("VISAVIS_COMPONENTS__CACHE", &cache.to_string_lossy());
    if compiled::files(&cache).len() < 3 {
        // The first test of all that needs it.
        setup.start();
    }
    let mut files = compiled::files(&cache);
    files.sort_by_key(|file| file.metadata().unwrap().len());
    // The scorer and the gateway; the analyzer takes the longest to compile.
    let (first, second) = (&files[0], &files[1]);
    let mut bytes = fs::read(first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(first, bytes).unwrap();
    let length = second.metadata().unwrap().len();
    fs::File::options().write(true).open(second).unwrap().set_len(length / 2).unwrap();

    let host = setup.start();
    assert_works(&host);
    assert_eq!(host.log().matches(COMPLAINT).count(), 2, "{}", host.log());
    let host = host.kill().start();
    assert_works(&host);
    assert_eq!(host.log().matches(COMPLAINT).count(), 2, "it was written anew");
}

#[test]
fn a_model_that_is_swapped_under_a_host_changes_nothing_and_stops_the_next_start() {
    const MODEL: &str = "mtcnn-proposal.onnx";
    let setup = Setup::new();
    let models = setup.folder().join("models");
    fs::create_dir(&models).unwrap();
    for entry in fs::read_dir(assets().join("models")).unwrap().map(|entry| entry.unwrap()) {
        let (from, to) = (fs::canonicalize(entry.path()).unwrap(), models.join(entry.file_name()));
        if entry.file_name() == MODEL {
            fs::copy(from, to).unwrap();
        } else {
            symlink(from, to).unwrap();
        }
    }
    let setup = setup.set("VISAVIS_MODELS__DIR", &models.to_string_lossy());
    let host = setup.start();
    let result = |host: &Host| {
        let status = host.client().verify(&pair());
        ["verification_score", "euclidean_distance", "faces", "models"].map(|field| status["result"][field].clone())
    };
    let before = result(&host);
    assert!(before.iter().all(|field| *field != Value::Null), "{before:?}");
    // In place, as a careless copy does: what had mapped the file would see it change.
    let file = models.join(MODEL);
    let length = file.metadata().unwrap().len() as usize;
    fs::write(&file, vec![0xEE; length]).unwrap();
    assert_eq!(result(&host), before);
    fs::remove_file(&file).unwrap();
    assert_eq!(result(&host), before);
    fs::write(&file, vec![0xEE; length]).unwrap();
    host.kill();
    let output = setup.run(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", &setup.queue()]);
    let said = stderr(&output);
    assert!(!output.status.success() && said.contains(MODEL) && said.contains("the manifest expects"), "{said}");
}

/// Runs the program in a world in which a folder is read-only, for root as well; `None` where this user may make no such world.
fn run_read_only(setup: &Setup, folder: &Path, arguments: &[&str]) -> Option<Output> {
    let world = |script: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            &format!("mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && {script}"),
        ]);
        command.arg("sh").arg(folder);
        command
    };
    let able = world("! touch \"$1/file\" 2>/dev/null").output().is_ok_and(|output| output.status.success());
    if !able {
        eprintln!("skipped: this user may mount nothing, so nothing can be made read-only");
        return None;
    }
    let program = setup.command(arguments);
    let mut command = world("shift && exec timeout 100 \"$@\"");
    command.arg(program.get_program()).args(program.get_args()).current_dir(setup.folder());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Some(command.output().expect("the program starts"))
}

#[test]
fn a_disk_that_is_read_only_is_told_with_the_mend() {
    let setup = Setup::new();
    let url = setup.queue();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", &url];
    // Once without a key and a queue, and once with both.
    for file in ["payload.key", "queue.redb"] {
        let Some(output) = run_read_only(&setup, &setup.data(), &serve) else { return };
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("Read-only file system") && said.contains(file) && said.contains("queue."), "{said}");
        if file == "payload.key" {
            let host = setup.start();
            assert_works(&host);
            host.kill();
        }
    }
    // Compiled code that is there is used, and what is not cannot be kept, which is no reason to fail.
    let cache = compiled::copied(setup.folder());
    let mut files = compiled::files(&cache);
    files.sort_by_key(|file| file.metadata().unwrap().len());
    if let Some(smallest) = files.first() {
        fs::remove_file(smallest).unwrap();
    }
    let setup = setup.set("VISAVIS_COMPONENTS__CACHE", &cache.to_string_lossy());
    let photographs = ["obama.jpg", "obama2.jpg"].map(|name| path(name).to_string_lossy().into_owned());
    let output = run_read_only(&setup, &cache, &["verify", &photographs[0], &photographs[1]]).expect("as before");
    assert!(output.status.success(), "{}", stderr(&output));
}
