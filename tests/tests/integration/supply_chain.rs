//! What comes from others is pinned by its digest, wherever it is named, and what the compiler cannot check is listed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use visavis_tests::host::repository;

/// Every file with `unsafe` code, and what it is there for. Another one needs its line here, and a reason that is as good.
const UNSAFE: [(&str, &str); 27] = [
    ("components/face/src/decode/baseline.rs", "calls the copy of a function for AVX2, after it asked the processor"),
    ("components/face/src/decode/baseline/lanes/sse2.rs", "instructions that every x86-64 processor has"),
    ("components/scorer/src/freestanding.rs", "an allocator's entry, without the standard library"),
    ("host/src/config/processors.rs", "asks the system which processors are there"),
    ("host/src/main.rs", "sets a variable before there are threads; gives SIGPIPE its disposition back"),
    ("host/src/memory.rs", "forbids dumps of the process' memory"),
    ("host/src/nn.rs", "asks the C library to give freed memory back"),
    ("host/src/nn/onnx/library.rs", "opens a shared library, asks for its version, and gives its sessions one arena"),
    (
        "host/src/nn/onnx/session.rs",
        "runs a session for several callers at once, which the library allows on processors",
    ),
    ("host/src/nn/openvino.rs", "opens a shared library and looks for its functions"),
    ("host/src/nn/pace.rs", "a benchmark's clock of the processor"),
    ("host/src/nn/tensor.rs", "bytes as numbers, without a copy"),
    ("host/src/queue/private.rs", "asks whether a folder may be written"),
    ("host/src/queue/redis/tests/process.rs", "signals to a Redis of tests"),
    ("host/src/runtime/artifact.rs", "loads machine code that this host has written; asks who it is"),
    ("host/src/runtime/portable.rs", "loads machine code that came with the host; names features of processors"),
    ("host/src/secret.rs", "asks which user and groups the process has"),
    ("host/src/telemetry/gauges.rs", "asks the system for the size of a page"),
    ("tests/clock/src/lib.rs", "stands for the C library's clock"),
    ("tests/hostile/analyzer/src/lib.rs", "a forged handle, which the host must refuse"),
    ("tests/hostile/traces.rs", "searches all memory of its own instance for what others left"),
    ("tests/scorer/src/lib.rs", "reads orders that a test wrote into the compiled component"),
    ("tests/src/fleet.rs", "signals to hosts of tests"),
    ("tests/src/host.rs", "signals to a host of tests, and the end of the shared one"),
    ("tests/src/process.rs", "limits of processes of tests, and their end with that of the tests"),
    ("tests/tests/integration/batches.rs", "a signal to a command of tests"),
    ("tests/tests/integration/processors.rs", "a host on one processor"),
];

/// Files of the repository whose name passes, without what was built or installed.
pub(crate) fn files(passes: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && !["target", "node_modules", "dist", "visavis-data"].contains(&&*name) {
                    folders.push(path);
                }
            } else if passes(&name) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Rust without comments, texts and characters.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = code.rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default();
        let raw = rest.strip_prefix('r').filter(|_| ["", "b", "c"].contains(&before));
        let hashes = raw.map_or(0, |raw| raw.len() - raw.trim_start_matches('#').len());
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if raw.is_some_and(|raw| raw[hashes..].starts_with('"')) {
            let start = 2 + hashes;
            rest[start..].find(&format!("\"{}", "#".repeat(hashes))).map_or(rest.len(), |end| start + end + 1 + hashes)
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|letter| {
                let ends = letter == '"' && !escaped;
                escaped = letter == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if first == '\'' {
            // A lifetime is no character.
            let mut letters = rest[1..].char_indices();
            match (letters.next(), letters.next()) {
                (Some((_, '\\')), Some((at, escaped))) => {
                    let start = 1 + at + escaped.len_utf8();
                    rest[start..].find('\'').map_or(rest.len(), |end| start + end + 1)
                }
                (Some(_), Some((at, '\''))) => at + 2,
                _ => 0,
            }
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

#[test]
fn the_reader_of_code_skips_comments_texts_and_characters() {
    let text = r##"a('"'); b("x \" y", r#"z " z"#, r"w"); 'l: loop {} // c
        fn f<'a>(x: &'a str, y: '\'', z: '\u{e9}') {} for_r"t" "##;
    let found: String = code(text).split_whitespace().collect();
    assert_eq!(found, "a();b(,,);'l:loop{}fnf<'a>(x:&'astr,y:,z:){}for_r");
}

#[test]
fn unsafe_code_stands_only_where_it_is_listed() {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut found = BTreeSet::new();
    for path in files(|name| name.ends_with(".rs")) {
        if code(&read(&path)).split(|character| !is_word(character)).any(|word| word == "unsafe") {
            let inside = path.strip_prefix(repository()).expect("it lies in the repository");
            found.insert(inside.to_string_lossy().into_owned());
        }
    }
    let listed: BTreeMap<_, _> = UNSAFE.into_iter().collect();
    assert_eq!(listed.len(), UNSAFE.len(), "a file is listed twice");
    let unlisted: Vec<_> = found.iter().filter(|path| !listed.contains_key(path.as_str())).collect();
    assert!(unlisted.is_empty(), "unsafe code that is not listed here with its reason: {unlisted:?}");
    let gone: Vec<_> = listed.keys().filter(|path| !found.contains(**path)).collect();
    assert!(gone.is_empty(), "no unsafe code is left, so their lines can go: {gone:?}");
}

#[test]
fn what_npm_fetches_is_pinned() {
    let locks = files(|name| name == "package-lock.json");
    assert!(locks.len() >= 3, "{locks:?}");
    for path in &locks {
        let lock: serde_json::Value = serde_json::from_str(&read(path)).expect("JSON");
        for (name, package) in
            lock["packages"].as_object().expect("packages").iter().filter(|(name, _)| !name.is_empty())
        {
            let pinned = package["integrity"].as_str().is_some_and(|digest| digest.starts_with("sha512-"));
            assert!(pinned, "{}: {name} has no digest", path.display());
        }
    }
    // A package that lists what it needs has a list of digests beside it.
    for path in files(|name| name == "package.json") {
        let package: serde_json::Value = serde_json::from_str(&read(&path)).expect("JSON");
        let needs = ["dependencies", "devDependencies"].iter().any(|key| !package[key].is_null());
        assert!(!needs || locks.contains(&path.with_file_name("package-lock.json")), "{}", path.display());
    }
}

#[test]
fn what_pip_fetches_is_pinned() {
    let lists = files(|name| name.starts_with("requirements") && name.ends_with(".txt"));
    assert!(lists.len() >= 4, "{lists:?}");
    for path in lists {
        let text = read(&path).replace("\\\n", " ");
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let pinned = line.split_whitespace().next().is_some_and(|package| package.contains("=="));
            let digests: Vec<_> = line.split("--hash=sha256:").skip(1).map(str::trim).collect();
            let whole =
                digests.iter().all(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(pinned && whole && !digests.is_empty(), "{}: {line}", path.display());
        }
    }
}

/// Name and version of each package of a lock file, and whether it has a digest.
fn locked(path: &Path) -> Vec<(String, String, bool, bool)> {
    let value = |package: &str, key: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let text = read(path);
    let packages = text.split("[[package]]").skip(1);
    let one = |package| {
        let [name, version] = ["name", "version"].map(|key| value(package, key).expect("a name and a version"));
        let source = value(package, "source");
        let registry = source.as_ref().is_none_or(|source| source.starts_with("registry+"));
        assert!(registry, "{}: {name} comes from {source:?}", path.display());
        (name, version, source.is_some(), value(package, "checksum").is_some())
    };
    packages.map(one).collect()
}

#[test]
fn what_cargo_fetches_is_pinned_and_fuzzed_in_the_versions_that_run() {
    let locks = files(|name| name == "Cargo.lock");
    assert!(locks.len() >= 4, "{locks:?}");
    for path in locks {
        for (name, version, foreign, pinned) in locked(&path) {
            assert!(pinned || !foreign, "{}: {name} {version} has no digest", path.display());
        }
    }
    let versions = |path: &str| {
        let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, version, foreign, _) in locked(&repository().join(path)) {
            if foreign {
                versions.entry(name).or_default().insert(version);
            }
        }
        versions
    };
    let (runs, fuzzed) = (versions("Cargo.lock"), versions("fuzz/Cargo.lock"));
    let shared: Vec<_> = fuzzed.iter().filter_map(|(name, found)| Some((name, found, runs.get(name)?))).collect();
    assert!(shared.len() > 20, "{}", shared.len());
    let other: Vec<_> = shared.iter().filter(|(_, found, runs)| !found.is_subset(runs)).collect();
    assert!(other.is_empty(), "fuzz/Cargo.lock has other versions than Cargo.lock: {other:?}");
}
