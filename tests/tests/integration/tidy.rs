//! The arrows and customs of the design, read from the sources, so that the picture cannot rot.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use visavis_tests::host::repository;

/// What each room of the host may name. An arrow that is not here does not exist:
/// `main -> {app, cli} -> {edge, worker, admin} -> rollout -> pipeline -> runtime -> {nn, webhook} -> queue -> auth ->
/// {secret, task, telemetry}`. Edge and worker never name each other; the configuration is read by those who wire, and no room knows it.
const ARROWS: [(&str, &[&str]); 22] = [
    ("main", &["app", "cli", "arguments", "config", "memory", "telemetry"]),
    (
        "app",
        &[
            "config",
            "edge",
            "worker",
            "admin",
            "wire",
            "rollout",
            "pipeline",
            "runtime",
            "nn",
            "queue",
            "auth",
            "task",
            "telemetry",
            "webhook",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "arguments",
            "config",
            "admin",
            "rollout",
            "pipeline",
            "runtime",
            "nn",
            "queue",
            "auth",
            "wire",
            "error_rates",
            "task",
            "telemetry",
        ],
    ),
    ("arguments", &["config"]),
    ("config", &["task", "telemetry"]),
    ("edge", &["wire", "runtime", "queue", "auth", "task", "telemetry", "webhook"]),
    ("worker", &["pipeline", "runtime", "queue", "task", "telemetry"]),
    ("admin", &["wire", "rollout", "runtime", "queue", "auth", "secret", "task", "telemetry"]),
    ("wire", &["secret", "telemetry"]),
    ("rollout", &["pipeline", "runtime", "queue", "auth", "task", "telemetry"]),
    ("pipeline", &["runtime", "nn", "task", "telemetry"]),
    ("runtime", &["nn", "queue", "auth", "task", "telemetry", "webhook"]),
    ("webhook", &["queue", "secret", "task", "telemetry"]),
    ("nn", &["task", "telemetry"]),
    ("queue", &["secret", "task", "telemetry"]),
    ("auth", &["secret"]),
    ("error_rates", &[]),
    ("memory", &[]),
    ("telemetry", &[]),
    ("secret", &[]),
    ("task", &[]),
    ("lib", &[]),
];

/// The longest that a source file may be.
const MOST_LINES: usize = 500;

/// All sources of the repository, by their path from its root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for folder in ["host", "components", "models", "xtask", "bench", "tests", "fuzz"] {
        collect(&repository().join(folder), &mut found);
    }
    assert!(found.len() > 50, "{}", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            if !path.ends_with("target") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are text");
            let relative = path.strip_prefix(repository()).expect("it lies in the repository");
            found.push((relative.to_owned(), text));
        }
    }
}

/// The room of a source of the host: the first part of its module path.
fn room(path: &Path) -> Option<String> {
    let inside = path.strip_prefix("host/src").ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The rooms that a source names, in `use` lines and inline, with `crate::` or with enough `super::`.
fn named(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => _ = rooms.insert(word(rest)),
            Some(group) => {
                // Only the first segment of each member of the group counts.
                let mut depth = 0;
                let mut segment = true;
                for (offset, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => segment = true,
                        c if segment && depth == 0 && c.is_alphanumeric() => {
                            rooms.insert(word(&group[offset..]));
                            segment = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

#[test]
fn arrows_point_down_only() {
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    let mut rooms = BTreeSet::new();
    for (path, text) in sources() {
        let Some(room) = room(&path) else { continue };
        let Some(allowed) = arrows.get(room.as_str()) else {
            wrong.push(format!("{}: the room '{room}' is not in the picture", path.display()));
            continue;
        };
        for other in named(&text).into_iter().filter(|other| *other != room && !allowed.contains(&other.as_str())) {
            wrong.push(format!("{}: '{room}' must not name '{other}'", path.display()));
        }
        rooms.insert(room);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for room in ["main", "app", "config", "edge", "worker", "rollout", "runtime", "nn", "queue", "task", "telemetry"] {
        assert!(rooms.contains(room), "the room '{room}' was not read");
    }
}

#[test]
fn the_reader_of_arrows_reads_every_spelling() {
    let text =
        "use crate::edge::x;\nuse crate::{worker, nn::{a, b}, task::T as U};\nlet x = crate::queue::y(); // crate::no";
    let expected = ["edge", "nn", "queue", "task", "worker"].map(str::to_owned);
    assert_eq!(named(text).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn the_picture_has_no_way_back_up() {
    // Whoever follows allowed arrows from a room never comes back to it.
    let arrows: BTreeMap<_, _> = ARROWS.into_iter().collect();
    for start in arrows.keys() {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = arrows[start].to_vec();
        while let Some(room) = next.pop() {
            assert_ne!(room, *start, "there is a circle through '{start}'");
            if seen.insert(room) {
                next.extend(arrows[room]);
            }
        }
    }
    assert!(!arrows["edge"].contains(&"worker") && !arrows["worker"].contains(&"edge"));
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert_eq!(silent, Vec::<PathBuf>::new());
}

#[test]
fn no_file_is_too_long() {
    let long = sources().into_iter().filter(|(_, text)| text.lines().count() > MOST_LINES);
    let long: Vec<_> = long.map(|(path, text)| (path, text.lines().count())).collect();
    assert_eq!(long, []);
}

#[test]
fn nothing_is_left_undone_and_no_registry_is_named() {
    // Put together here, so that this file does not find itself.
    let words = ["TO", "FIX", "XX"].into_iter().zip(["DO", "ME", "X"]).map(|(a, b)| format!("{a}{b}"));
    let macros = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let hosts =
        ["crates", "pypi", "npmjs", "huggingface", "static.crates"].into_iter().zip(["io", "org", "com", "co", "io"]);
    let banned: Vec<_> = words.chain(macros).chain(hosts.map(|(name, end)| format!("{name}.{end}"))).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(word.as_str())) {
                wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
