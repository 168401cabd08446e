//! The commands that need no server: their output and exit statuses.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use visavis_tests::host::Setup;
use visavis_tests::photos::{path, photo, saved};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn verify(setup: &Setup, first: &str, second: &str, more: &[&str]) -> Output {
    let (first, second) = (path(first), path(second));
    let photographs = [first.as_os_str(), second.as_os_str()];
    setup.run(
        [std::ffi::OsStr::new("verify")].into_iter().chain(photographs).chain(more.iter().map(std::ffi::OsStr::new)),
    )
}

#[test]
fn verify_says_the_verdict_by_its_exit_status() {
    let setup = Setup::new();
    let same = verify(&setup, "obama.jpg", "obama2.jpg", &[]);
    assert_eq!(same.status.code(), Some(0), "{}", stderr(&same));
    assert!(!stdout(&same).is_empty());
    let other = verify(&setup, "obama.jpg", "biden.jpg", &[]);
    assert_eq!(other.status.code(), Some(1), "{}", stderr(&other));
    let undecided = verify(&setup, "obama.jpg", "chelsea.png", &[]);
    assert_eq!(undecided.status.code(), Some(2));
    let complaint = stderr(&undecided);
    assert!(complaint.contains("no_face") && complaint.contains("chelsea.png"), "{complaint}");
}

#[test]
fn verify_prints_the_result_as_json() {
    let output = verify(&Setup::new(), "obama.jpg", "obama2.jpg", &["--json"]);
    assert_eq!(stdout(&output).lines().count(), 1);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["verified"], true);
    let keys: Vec<_> = result.as_object().unwrap().keys().take(3).collect();
    assert_eq!(keys, ["verified", "verification_score", "euclidean_distance"]);
    let output = verify(&Setup::new(), "chelsea.png", "obama.jpg", &["--json"]);
    assert_eq!(output.status.code(), Some(2));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["error"]["code"], &result["error"]["image"]), (&"no_face".into(), &1.into()));
}

#[test]
fn verify_takes_the_policy_from_flags() {
    let setup = Setup::new();
    assert_eq!(verify(&setup, "obama.jpg", "obama2.jpg", &["--threshold", "0.05"]).status.code(), Some(1));
    assert_eq!(verify(&setup, "obama.jpg", "biden.jpg", &["--threshold", "2"]).status.code(), Some(0));
    let refused = verify(&setup, "obama.jpg", "biden.jpg", &["--threshold", "3"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("threshold"), "{}", stderr(&refused));
}

#[test]
fn verify_draws_what_it_saw() {
    let setup = Setup::new();
    let out = setup.folder().join("out.png");
    let output = verify(&setup, "obama.jpg", "biden.jpg", &["--annotate", &out.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let drawn = image::open(&out).expect("a PNG").to_rgb8();
    assert!(drawn.width() > 400 && drawn.height() > 200, "{} x {}", drawn.width(), drawn.height());
    let colours: std::collections::HashSet<_> = drawn.pixels().collect();
    assert!(colours.len() > 1000, "it shows the photographs");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let setup = Setup::new();
    let output = setup.run(["verify", "missing-a.jpg", "missing-b.jpg"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("missing-a.jpg"), "{}", stderr(&output));
    let text = saved(setup.folder(), "letter.jpg", b"This is a letter, not a photograph.");
    let output = setup.run(["verify".as_ref(), text.as_os_str(), path("obama.jpg").as_os_str()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("unsupported_format"), "{}", stderr(&output));
}

#[test]
fn analyze_describes_the_good_ones_and_names_the_bad() {
    let setup = Setup::new();
    saved(setup.folder(), "cut.jpg", &photo("obama.jpg")[..20_000]);
    let good = path("obama2.jpg");
    let arguments =
        ["analyze".as_ref(), "--json".as_ref(), "cut.jpg".as_ref(), good.as_os_str(), "missing.png".as_ref()];
    let output = setup.run::<&std::ffi::OsStr>(arguments);
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<Value> = stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{}", stdout(&output));
    assert_eq!((&lines[0]["file"], &lines[0]["error"]["code"]), (&"cut.jpg".into(), &"invalid_image".into()));
    assert_eq!(lines[1]["faces"].as_array().map(Vec::len), Some(1), "{}", lines[1]);
    assert_eq!(lines[2]["file"], "missing.png");
    assert!(lines[2].get("error").is_some() && lines[2].get("faces").is_none());
    let output = setup.run(["analyze".as_ref(), good.as_os_str()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("1 face"), "{}", stdout(&output));
}

#[test]
fn doctor_finds_all_well() {
    let setup = Setup::new();
    let output = setup.run(["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stdout(&output), stderr(&output));
    let output = setup.run(["doctor", "--json"]);
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["fine"], true, "{findings}");
    assert!(findings["findings"].as_array().is_some_and(|findings| findings.len() >= 6), "{findings}");
}

#[test]
fn doctor_makes_neither_a_queue_nor_a_key() {
    let setup = Setup::new();
    let url = format!("file:{}", setup.data().join("queue.redb").display());
    let doctor = || {
        let output = setup.clone().set("VISAVIS_QUEUE__URL", &url).run(["doctor"]);
        assert_eq!(output.status.code(), Some(0), "{}\n{}", stdout(&output), stderr(&output));
        stdout(&output)
    };
    let told = doctor();
    assert_eq!(told.matches("is not there yet; the first start makes it").count(), 2, "{told}");
    assert_eq!(setup.data().read_dir().unwrap().count(), 0, "{told}");
    let host = setup.start();
    host.terminate();
    assert!(host.wait(std::time::Duration::from_secs(60)).success(), "{}", host.log());
    let told = doctor();
    assert!(told.contains("0 tasks wait") && told.contains("photographs are sealed with"), "{told}");
    for command in [&["queue", "stats"][..], &["nodes"]] {
        let elsewhere = Setup::new();
        let output = elsewhere.run(command);
        assert!(!output.status.success(), "{}", stdout(&output));
        assert!(!elsewhere.folder().join("visavis-data").exists() && !elsewhere.folder().join("admin.token").exists());
    }
}

#[test]
fn doctor_finds_what_is_missing_and_says_the_mend() {
    let cases = [
        ("VISAVIS_NN__LIBRARY", "/nowhere/libonnxruntime.so", "/nowhere/libonnxruntime.so"),
        ("VISAVIS_MODELS__DIR", "/nowhere/models", "/nowhere/models"),
        ("VISAVIS_COMPONENTS__SCORER__PATH", "/nowhere/scorer.wasm", "/nowhere/scorer.wasm"),
    ];
    for (variable, value, named) in cases {
        let output = Setup::new().set(variable, value).run(["doctor"]);
        assert_eq!(output.status.code(), Some(1), "{variable}");
        let told = stdout(&output);
        assert!(told.contains("FAIL") && told.contains(named), "{told}");
    }
}

#[test]
fn a_model_that_was_changed_is_refused() {
    let setup = Setup::new();
    let (from, to) = (visavis_tests::photos::assets().join("models"), setup.folder().join("models"));
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(&from).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let model = std::fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().path());
    let model = model.filter(|path| path.extension().is_some_and(|e| e == "onnx")).min().expect("a model");
    let mut bytes = std::fs::read(&model).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let output = setup.set("VISAVIS_MODELS__DIR", &to.to_string_lossy()).run(["serve", "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success());
    let name = model.file_name().unwrap().to_string_lossy();
    assert!(stderr(&output).contains(&*name), "{}", stderr(&output));
}

#[test]
fn an_operator_adds_an_embedder_and_a_detector_by_entries_alone() {
    let setup = Setup::new();
    let (from, to) = (visavis_tests::photos::assets().join("models"), setup.folder().join("models"));
    std::fs::create_dir(&to).unwrap();
    let manifest = std::fs::read_to_string(from.join("manifest.toml")).unwrap();
    // The operator's own files, under names of their own, without a source.
    let entries = manifest.split("\n[[detector]]").nth(1).expect("the shipped entries");
    let own = format!("[[detector]]{entries}")
        .lines()
        .scan(false, |in_source, line| {
            *in_source = if line.starts_with('[') { line.contains(".source]") } else { *in_source };
            Some((!*in_source && !line.starts_with("convert")).then_some(line))
        })
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
        .replace("name = \"mtcnn\"", "name = \"our-detector\"")
        .replace("\"facenet-casia-webface\"", "\"our-embedder\"")
        .replace("\"facenet-casia-webface-int8\"", "\"our-embedder-int8\"")
        .replace("\"facenet-casia-webface-bf16\"", "\"our-embedder-bf16\"")
        .replace("file = \"", "file = \"our-")
        .replace("crop_margin = 32.0", "crop_margin = 20.0")
        .replace("threshold = 1.06", "threshold = 0.5");
    std::fs::write(to.join("manifest.toml"), format!("{manifest}\n{own}\n")).unwrap();
    for file in ["mtcnn-proposal", "mtcnn-refinement", "mtcnn-output", "facenet-casia-webface"] {
        let (theirs, ours) = (from.join(format!("{file}.onnx")), to.join(format!("our-{file}.onnx")));
        std::os::unix::fs::symlink(theirs, ours).unwrap();
    }
    let distance = |output: &Output| {
        let result: Value = serde_json::from_str(&stdout(output)).unwrap();
        result["euclidean_distance"].as_f64().unwrap()
    };
    let shipped = setup.clone().set("VISAVIS_MODELS__EMBEDDER", "facenet-casia-webface");
    let shipped = distance(&verify(&shipped, "obama.jpg", "obama2.jpg", &["--json"]));
    let setup = setup
        .set("VISAVIS_MODELS__DIR", &to.to_string_lossy())
        .set("VISAVIS_MODELS__DETECTOR", "our-detector")
        .set("VISAVIS_MODELS__EMBEDDER", "our-embedder");
    let output = verify(&setup, "obama.jpg", "obama2.jpg", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(result["threshold"], 0.5, "the embedder brings its own");
    let names: Vec<_> =
        result["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    let expected =
        ["our-detector/proposal", "our-detector/refinement", "our-detector/output", "our-embedder/embedding"];
    assert_eq!(names, expected);
    let distance = distance(&output);
    assert!(distance > 0.5 && (distance - shipped).abs() > 1e-4, "{distance}: another margin is another crop");
}

#[test]
fn help_is_for_newcomers() {
    let setup = Setup::new();
    for (arguments, words) in [
        (&["--help"][..], &["serve", "verify", "analyze", "doctor", "Examples"][..]),
        (&["serve", "--help"], &["--listen", "--queue", "curl"]),
        (&["verify", "--help"], &["--json", "--annotate", "--pairs", "exit status"]),
        (&["calibrate", "--help"], &["--fmr", "--plot", "exit status", "Examples"]),
        (&["queue", "--help"], &["stats", "dead", "--queue", "Examples"]),
        (&["queue", "dead", "purge", "--help"], &["--all", "--yes", "exit status", "Examples"]),
    ] {
        let output = setup.run(arguments);
        assert_eq!(output.status.code(), Some(0));
        for word in words {
            assert!(stdout(&output).contains(word), "{word} in\n{}", stdout(&output));
        }
    }
    let output = setup.run(["serve", "--lisen", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--listen"), "{}", stderr(&output));
}

#[test]
fn colours_are_for_terminals_and_for_who_asks() {
    let told = |wishes: &[(&str, &str)]| {
        let setup = wishes.iter().fold(Setup::new(), |setup, (name, value)| setup.set(name, value));
        let output = verify(&setup, "obama.jpg", "obama2.jpg", &[]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output)
    };
    let plain = told(&[("CLICOLOR_FORCE", "")]);
    assert!(plain.starts_with("VERIFIED: the same person\n"), "{plain}");
    assert_eq!(told(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), plain);
    let coloured = told(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")]);
    assert!(coloured.starts_with("\u{1b}[") && coloured.len() > plain.len(), "{coloured}");
    assert!(coloured.contains("VERIFIED: the same person\u{1b}[0m"), "{coloured}");
}

#[test]
fn shells_and_manuals_learn_the_commands_whatever_is_configured() {
    let setup = Setup::new();
    saved(setup.folder(), "visavis.toml", b"nonsense = [");
    let script = setup.run(["completions", "bash"]);
    assert_eq!(script.status.code(), Some(0), "{}", stderr(&script));
    saved(setup.folder(), "completions", &script.stdout);
    // What bash itself makes of `visavis cal` and the tabulator.
    let ask = "source ./completions; COMP_WORDS=(visavis cal); COMP_CWORD=1; _visavis visavis cal visavis; echo ${COMPREPLY[*]}";
    let answer = Command::new("bash").args(["--norc", "-c", ask]).current_dir(setup.folder()).output().unwrap();
    assert_eq!(stdout(&answer).trim(), "calibrate", "{}", stderr(&answer));

    let page = setup.run(["man"]);
    assert_eq!(page.status.code(), Some(0), "{}", stderr(&page));
    assert!(stdout(&page).contains(".TH visavis 1") && stdout(&page).contains("Examples:"), "{}", stdout(&page));
    assert_eq!(setup.run(["man", "--out", "data"]).status.code(), Some(0));
    for name in ["visavis.1", "visavis-verify.1", "visavis-queue-dead-purge.1"] {
        assert!(setup.data().join(name).is_file(), "{name}");
    }
    let refused = setup.run(["man", "--out", "nowhere"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("nowhere is no folder"), "{}", stderr(&refused));
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let setup = Setup::new();
    let mut command = setup.command(["analyze", "--json"]);
    let photographs = std::iter::repeat_n(path("obama2.jpg"), 3);
    let mut child = command.args(photographs).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.signal(), stderr(&output)), (Some(libc::SIGPIPE), String::new()));
}
