//! Scorers in other languages: each decides as the built-in one, called by itself and plugged into the host.

use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use serde_json::{Value, json};
use visavis_tests::decisions;
use visavis_tests::form::Form;
use visavis_tests::host::{Setup, repository};
use visavis_tests::languages::{Example, built_in, examples, recorded_cases};
use visavis_tests::operator::Wishes;
use visavis_tests::photos::{path, saved, side_by_side, turned};
use visavis_tests::scorer::{Scorer, cases, difference};

/// Calls the scorer in `file` with every case, and says all that is not as recorded.
fn pass(name: &str, file: &Path, cases: &[Value]) {
    let wrong = decisions::compare(&Scorer::load(file), cases);
    assert!(wrong.is_empty(), "{name} decides otherwise:\n{}", wrong.join("\n"));
}

#[test]
fn the_built_in_scorer_decides_as_recorded() {
    pass("the built-in scorer", &built_in(), &cases(&recorded_cases()));
}

#[test]
fn a_scorer_in_each_language_decides_as_recorded() {
    for example in examples() {
        pass(example.language, &example.file, &cases(&recorded_cases()));
    }
}

#[test]
fn the_cases_cover_every_answer() {
    let cases = cases(&recorded_cases());
    let has = |pointer: &str, value: &Value| cases.iter().any(|case| case.pointer(pointer) == Some(value));
    for photograph in ["first", "second"] {
        let photograph = json!(photograph);
        assert!(has("/expect/rejection/no_face", &photograph));
        assert!(has("/expect/rejection/multiple_faces/photograph", &photograph));
        assert!(has("/expect/rejection/non_frontal_face/photograph", &photograph));
    }
    assert!(cases.iter().any(|case| case["expect"]["rejection"]["incomparable"].is_string()));
    for (pointer, values) in [
        ("/expect/verdict/verified", [json!(true), json!(false)]),
        ("/expect/verdict/frontal/0", [json!(true), json!(false)]),
        ("/expect/verdict/frontal/1", [json!(true), json!(false)]),
        ("/expect/verdict/faces/0", [json!(0), json!(1)]),
        ("/policy/non_frontal", [json!("reject"), json!("report")]),
    ] {
        assert!(values.iter().all(|value| has(pointer, value)), "{pointer}");
    }
    assert!(cases.iter().any(|case| case["first"]["faces"][0]["embedding"].as_array().is_some_and(|e| e.len() == 512)));
    let names: std::collections::BTreeSet<_> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), cases.len(), "each case has a name of its own");
}

#[test]
fn a_scorer_in_each_language_serves_in_the_host() {
    let setup = Setup::new();
    let one = path("obama2.jpg");
    let crowd = saved(setup.folder(), "crowd.jpg", &side_by_side("obama2.jpg", "biden.jpg"));
    let tilted = saved(setup.folder(), "tilted.jpg", &turned("obama3.jpg", 40.0));
    let pairs: [(&Path, &[&str], i32); 6] = [
        (&path("obama3.jpg"), &[], 0),
        (&path("biden.jpg"), &[], 1),
        (&path("chelsea.png"), &[], 2),
        (&crowd, &[], 2),
        (&tilted, &["--non-frontal", "reject"], 2),
        (&tilted, &["--non-frontal", "report", "--threshold", "1.2"], 0),
    ];
    for (other, flags, status) in pairs {
        let verify = |setup: &Setup| {
            let arguments = ["verify".as_ref(), "--json".as_ref(), one.as_os_str(), other.as_os_str()];
            setup.run(arguments.into_iter().chain(flags.iter().map(std::ffi::OsStr::new)))
        };
        let expected = decision(&verify(&setup), status);
        for example in examples() {
            let setup = setup.clone().set("VISAVIS_COMPONENTS__SCORER__PATH", &example.file.to_string_lossy());
            let found = decision(&verify(&setup), status);
            let what = difference(&expected, &found);
            assert_eq!(what, None, "{} about {} {flags:?}", example.language, other.display());
        }
    }
}

#[test]
fn a_scorer_in_each_language_is_deployed_to_a_host_that_runs() {
    let host = Setup::new().start();
    let operator = host.operator();
    let (same, others) = (Form::photos("obama2.jpg", "obama3.jpg"), Form::photos("obama2.jpg", "biden.jpg"));
    let decide = |form: &Form| {
        let mut result = host.client().verify(form)["result"].clone();
        let members = result.as_object_mut().unwrap_or_else(|| panic!("no result"));
        members.remove("timings_ms");
        let components = members.remove("components").expect("a result names its components");
        (result, components["scorer"].clone())
    };
    let before = [decide(&same), decide(&others)];
    let verdicts = before.each_ref().map(|(result, _)| result["verified"].as_bool());
    assert_eq!(verdicts, [Some(true), Some(false)], "{before:?}");
    for Example { language, file } in examples() {
        let answer = operator.deploy("scorer", &fs::read(&file).unwrap(), &Wishes::default());
        assert_eq!(answer.status, 200, "{language}: {}", answer.text());
        let report = answer.json();
        let deployed = &report["generations"]["scorer"];
        assert_ne!(deployed["digest"], before[0].1["digest"], "{language}: {report}");
        for (form, (expected, _)) in [&same, &others].into_iter().zip(&before) {
            let (found, scorer) = decide(form);
            assert_eq!(scorer["digest"], deployed["digest"], "{language}: another scorer has decided");
            assert_eq!(difference(expected, &found), None, "{language}");
        }
        let answer = operator.send("POST", "/components/scorer/rollback", &[], &[]);
        assert_eq!(answer.status, 200, "{language}: {}", answer.text());
        assert_eq!(decide(&same).1["digest"], before[0].1["digest"], "{language}: what served before serves again");
    }
}

/// What `verify` printed, without the components and durations, which differ from scorer to scorer.
fn decision(output: &Output, status: i32) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{told}");
    let mut result: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    let members = result.as_object_mut().expect("a JSON object");
    for name in ["components", "timings_ms"] {
        members.remove(name);
    }
    result
}

fn new_scorer(arguments: &[&str]) -> Output {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["xtask", "new-scorer"]).args(arguments).current_dir(repository());
    command.output().expect("cargo starts")
}

#[test]
fn a_new_scorer_in_rust_builds_and_decides_as_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().to_string_lossy();
    let made = new_scorer(&["strict-scorer", "--into", &into]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = folder.path().join("strict-scorer");
    // What cargo fetched and compiled for the example serves again.
    let target = repository().join("target/examples");
    let built = Command::new("cargo")
        .args(["build", "--release", "--target", "wasm32-wasip2", "--locked", "--offline"])
        .current_dir(&made)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let file = target.join("wasm32-wasip2/release/strict_scorer.wasm");
    pass("the new scorer", &file, &cases(&made.join("cases.json")));
    let readme = fs::read_to_string(made.join("README.md")).unwrap();
    assert!(readme.contains("strict_scorer.wasm") && !readme.contains("scorer-rust"), "{readme}");
}

#[test]
fn a_new_scorer_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    let into = folder.path().to_string_lossy();
    for (arguments, words) in [
        (&["taken"][..], ["taken", "another name"]),
        (&["Not A Name"], ["Not A Name", "lower-case"]),
        (&["../outside"], ["../outside", "lower-case"]),
        (&["mine", "--language", "cobol"], ["cobol", "javascript"]),
    ] {
        let refused = new_scorer(&[arguments, &["--into", &into]].concat());
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}
