//! Many pairs at once, and the threshold that they recommend: `visavis verify --pairs` and `visavis calibrate`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use visavis_tests::host::Setup;
use visavis_tests::photos::{ONE_FACE, path, saved, small};

/// How long a busy machine may take for what is asked here.
const PATIENCE: Duration = Duration::from_secs(120);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn samples() -> PathBuf {
    path(ONE_FACE[0]).parent().expect("it lies in a folder").to_owned()
}

/// Who is in a sample photograph.
fn person(name: &str) -> &str {
    match name {
        "32bit.png" => "obama",
        _ => name.split(['.', '2', '3', '_']).next().unwrap_or_default(),
    }
}

/// A table with all pairs of the sample photographs that show one face, labelled.
fn labelled(setup: &Setup) -> PathBuf {
    let mut table = "first,second,same\n".to_owned();
    for (index, first) in ONE_FACE.iter().enumerate() {
        for second in &ONE_FACE[index + 1..] {
            table += &format!("{first},{second},{}\n", u8::from(person(first) == person(second)));
        }
    }
    saved(setup.folder(), "pairs.csv", table.as_bytes())
}

fn run(setup: &Setup, command: &str, folder: &Path, more: &[&str]) -> Output {
    let folder = folder.to_string_lossy();
    setup.run([command, "--dir", &folder, "--pairs", "pairs.csv"].iter().chain(more))
}

/// The rows of a table without quoted commas, the header among them.
fn rows(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.splitn(11, ',').collect()).collect()
}

#[test]
fn each_pair_gets_its_row_and_the_batch_its_rates() {
    let setup = Setup::new();
    saved(setup.folder(), "letter.jpg", b"This is a letter, not a photograph.");
    let letter = setup.folder().join("letter.jpg");
    let table = format!(
        "first,second,same\nobama.jpg,obama2.jpg,1\nobama.jpg,biden.jpg,different\nobama.jpg,chelsea.png,0\n\
         missing.jpg,biden.jpg,\n{},obama2.jpg,match\nobama2.jpg,biden.jpg,\n",
        letter.display()
    );
    saved(setup.folder(), "pairs.csv", table.as_bytes());
    let output = run(&setup, "verify", &samples(), &["--out", "results.csv"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "there is no bar where nobody watches");
    let results = fs::read_to_string(setup.folder().join("results.csv")).unwrap();
    let rows = rows(&results);
    let column = |name: &str| {
        let column = rows[0].iter().position(|column| *column == name).expect("a column of that name");
        rows[1..].iter().map(|row| row[column]).collect::<Vec<_>>()
    };
    assert_eq!(column("same"), ["same", "different", "different", "", "same", ""]);
    assert_eq!(column("verified"), ["true", "false", "", "", "", "false"]);
    assert_eq!(column("error"), ["", "", "no_face", "unreadable_file", "unsupported_format", ""]);
    assert_eq!(column("image"), ["", "", "2", "1", "1", ""]);
    assert!(column("message")[3].contains("missing.jpg"), "{results}");

    let alone = setup.run([
        "verify".as_ref(),
        path("obama.jpg").as_os_str(),
        path("obama2.jpg").as_os_str(),
        "--json".as_ref(),
    ]);
    let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
    let distance: f64 = column("euclidean_distance")[0].parse().unwrap();
    assert!((distance - alone["euclidean_distance"].as_f64().unwrap()).abs() < 2e-6, "{distance} {alone}");

    let told = text(&output.stdout);
    for words in ["3 of 6 pairs compared", "no_face", "unreadable_file", "At the threshold 1.06", "0 of 1", "1 of 2"] {
        assert!(told.contains(words), "{words} in\n{told}");
    }
    // Without --out the rows are the output, and the words go elsewhere.
    let output = run(&setup, "verify", &samples(), &["--threshold", "2"]);
    let (rows, words) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((rows.lines().count(), rows.matches(",true,").count()), (7, 3), "{rows}");
    assert!(words.contains("At the threshold 2"), "{words}");
}

#[test]
fn the_threshold_that_is_recommended_does_what_was_said() {
    let setup = Setup::new();
    labelled(&setup);
    let more = ["--plot", "rates.svg", "--out", "results.csv", "--json"];
    let output = run(&setup, "calibrate", &samples(), &more);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The sample photographs of one person are nearer to each other than to those of others.
    assert_eq!(
        (&told["summary"]["area_under_roc"], &told["summary"]["equal_errors"]["rate"]),
        (&1.0.into(), &0.0.into())
    );
    assert_eq!((&told["fmr"]["of"], &told["fnmr"]["of"]), (&13.into(), &15.into()), "{told}");
    let threshold = told["threshold"].as_f64().unwrap();
    let results = fs::read_to_string(setup.folder().join("results.csv")).unwrap();
    for row in &rows(&results)[1..] {
        assert_eq!(row[5].parse::<f64>().unwrap() <= threshold, row[2] == "same", "{threshold}: {row:?}");
    }
    let svg = fs::read_to_string(setup.folder().join("rates.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.contains("one person: 15 pairs") && svg.contains("two people: 13 pairs"));

    // As somebody would set it who reads the words.
    let output = run(&setup, "calibrate", &samples(), &[]);
    let words = text(&output.stdout);
    assert!(words.starts_with(&format!("Threshold {threshold}: ")), "{words}");
    let variable = words.split_whitespace().find_map(|word| word.strip_prefix("VISAVIS_VERIFY__THRESHOLD=")).unwrap();
    let setup = setup.set("VISAVIS_VERIFY__THRESHOLD", variable.trim_end_matches('.'));
    let output = run(&setup, "verify", &samples(), &["--json", "--out", "results.csv"]);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (rate, of) in [("fmr", 13), ("fnmr", 15), ("far", 13), ("frr", 15)] {
        assert_eq!((&summary[rate]["errors"], &summary[rate]["of"]), (&0.into(), &of.into()), "{summary}");
    }
}

#[test]
fn what_cannot_be_done_is_told_before_any_work() {
    let setup = Setup::new();
    labelled(&setup);
    saved(setup.folder(), "one.csv", b"first,second,same\nobama.jpg,obama2.jpg,1\n");
    saved(setup.folder(), "bad.csv", b"first,second,same\nobama.jpg,obama2.jpg,perhaps\n");
    let folder = samples().display().to_string();
    let cases: [(&[&str], &[&str]); 7] = [
        (&["verify", "--pairs", "bad.csv", "--dir", &folder], &["bad.csv", "line 2", "`perhaps`"]),
        (&["verify", "--pairs", "none.csv", "--dir", &folder], &["none.csv"]),
        (&["verify", "--pairs", "pairs.csv", "--dir", "nowhere"], &["--dir", "nowhere"]),
        (&["verify", "--pairs", "pairs.csv"], &["32bit.png", "--dir"]),
        (&["verify", "--pairs", "pairs.csv", "--dir", &folder, "--json"], &["--out"]),
        (&["calibrate", "--pairs", "one.csv", "--dir", &folder], &["1 pairs of one person and 0 of two"]),
        (&["calibrate", "--pairs", "pairs.csv", "--dir", &folder, "--fmr", "0.001"], &["3000", "13"]),
    ];
    // Without assets whatever begins to work fails for another reason.
    let setup = setup.set("VISAVIS_ASSETS", "/nowhere");
    for (arguments, words) in cases {
        let output = setup.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told = text(&output.stderr);
        assert!(words.iter().all(|word| told.contains(word)), "{arguments:?}: {told}");
    }
}

#[test]
fn a_batch_that_is_stopped_leaves_what_was_done() {
    const PAIRS: usize = 400;
    let setup = Setup::new();
    let folder = setup.folder().join("many");
    fs::create_dir(&folder).unwrap();
    let photograph = saved(&folder, "0.jpg", &small("obama.jpg", 400));
    let mut table = "first,second\n".to_owned();
    for number in 1..=PAIRS {
        // Each is a photograph of its own for the program.
        std::os::unix::fs::symlink(&photograph, folder.join(format!("{number}.jpg"))).unwrap();
        table += &format!("0.jpg,{number}.jpg\n");
    }
    saved(setup.folder(), "pairs.csv", table.as_bytes());
    let out = setup.folder().join("results.csv");
    let mut command = setup.command(["verify", "--pairs", "pairs.csv", "--dir", "many", "--out", "results.csv"]);
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let written = || fs::read_to_string(&out).unwrap_or_default();
    while written().lines().count() < 4 {
        assert!(start.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "no row within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!((output.status.code(), output.status.signal()), (Some(130), None), "{told}");
    let written = written();
    assert!(written.ends_with('\n') && rows(&written).iter().all(|row| row.len() == 11), "{written}");
    let done = written.lines().count() - 1;
    assert!((3..PAIRS).contains(&done), "{done}");
    assert!(told.contains(&format!("stopped after {done} of {PAIRS} pairs")), "{told}");
}
