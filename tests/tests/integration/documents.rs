//! What the documents name is there: the tests that the threat model counts on, and what links lead to.
//!
//! Owns how names and links are read. Must never judge a sentence.

use std::fs;
use std::path::{Path, PathBuf};

use visavis_tests::host::repository;

use crate::supply_chain::{files, read};

/// Whether the text of one of a module's files passes: of the file with its name, or of one in its folder.
fn says(module: &str, passes: impl Fn(&str) -> bool) -> bool {
    let module = repository().join(module);
    let belongs = |path: &PathBuf| path.starts_with(&module) || *path == module.with_extension("rs");
    files(|name| name.ends_with(".rs")).iter().filter(|path| belongs(path)).any(|path| passes(&read(path)))
}

/// Whether the threat model's name of a test, or of a file of tests, is that of one.
fn is_there(name: &str) -> bool {
    let parts: Vec<_> = name.split("::").collect();
    let (file, test) = (parts[0], parts[parts.len() - 1]);
    let declares = |text: &str| text.contains(&format!("#[test]\nfn {test}()"));
    match (file, parts.len()) {
        ("host", _) => says(&format!("host/src/{}", parts[1..].join("/")), |text| text.contains("#[test]")),
        ("face", _) => repository().join(format!("components/face/tests/{test}.rs")).is_file(),
        ("hostile" | "reliability", _) => says(&format!("tests/tests/{file}"), declares),
        (_, length) => {
            let path = repository().join(format!("tests/tests/integration/{file}.rs"));
            path.is_file() && (length == 1 || declares(&read(&path)))
        }
    }
}

#[test]
fn the_threat_model_names_tests_that_there_are() {
    let text = read(&repository().join("docs/threat-model.md"));
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 4);
    let tests = rows.filter_map(|row| row.rsplit('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // A file whose path is written out is named as such.
    let tests: Vec<_> = tests.filter(|name| !name.contains('/') && !name.contains(' ')).collect();
    assert!(tests.len() > 40, "{tests:?}");
    let missing: Vec<_> = tests.into_iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// As a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|each| each.is_alphanumeric() || matches!(each, '-' | '_')).collect()
}

/// The file that a link in `document` leads to, and the heading; `None` for one that leads out of the repository.
fn target<'l>(document: &Path, link: &'l str) -> Option<(PathBuf, Option<&'l str>)> {
    if link.contains(':') {
        return None;
    }
    let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
    let file = if path.is_empty() { document.to_owned() } else { document.with_file_name("").join(path) };
    Some((file, heading))
}

#[test]
fn links_lead_somewhere() {
    let mut followed = 0;
    for document in files(|name| name.ends_with(".md")) {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let Some((file, heading)) = target(&document, link) else { continue };
            assert!(file.exists(), "{}: {link} leads nowhere", document.display());
            if let Some(heading) = heading {
                let text = fs::read_to_string(&file).expect("a heading is in a text");
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let found = headings.map(|line| anchor(line.trim_start_matches('#').trim())).any(|it| it == heading);
                assert!(found, "{}: {link}: there is no such heading", document.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 100, "{followed} links");
}
