//! The layers of the configuration: what the file, the environment and the flags say, each with where it says so.
//!
//! Owns how keys are spelt in each layer. Must never know what a key means.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::config::value::Raw;
use crate::config::{Problem, Surroundings};

/// What every variable of this program begins with.
const PREFIX: &str = "VISAVIS_";

/// Variables that set no key. Of set-up and tests: the folder of downloads, the program under test, how much is tested; a
/// shell may export them for all. Of `visavis components`: the password of a secret key, which no file of ours should hold.
const TOOLS: [&str; 7] = [
    "VISAVIS_CACHE",
    "VISAVIS_BIN",
    "VISAVIS_SOAK",
    "VISAVIS_SOAK_MINUTES",
    "VISAVIS_PACE",
    "VISAVIS_PACE_BIN",
    "VISAVIS_KEY_PASSWORD",
];

/// Variables of the program that visavis replaces, and the keys they stand for.
const SEED: [(&str, &str); 2] = [("REDIS_URL", "queue.url"), ("CELERY_TASK_TIMEOUT", "worker.task_timeout")];

/// A value that a flag of the command line sets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Override {
    /// The dotted key.
    pub(crate) key: &'static str,
    /// The flag's name, with its dashes.
    pub(crate) flag: &'static str,
    /// What follows it.
    pub(crate) value: String,
}

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nothing set it.
    #[default]
    Default,
    /// A line, counted from 1, of a configuration file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Variable(String),
    /// A variable that a `.env` file sets.
    DotEnv(PathBuf, String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl Source {
    /// A key as it is spelt in this layer.
    pub(super) fn spell(&self, key: &str) -> String {
        match self {
            Self::Variable(_) | Self::DotEnv(..) => format!("{PREFIX}{}", key.replace('.', "__").to_uppercase()),
            _ => key.to_owned(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::DotEnv(path, name) => write!(f, "{name} in {}", path.display()),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that a layer says. A later entry wins over an earlier one of the same key.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) raw: Raw,
    pub(super) source: Source,
}

/// Reads the configuration file. `None` is `visavis.toml` in the working folder, which need not exist.
pub(super) fn file(path: Option<&Path>, folder: &Path) -> Result<Vec<Entry>, Problem> {
    let shown = path.unwrap_or(Path::new("visavis.toml"));
    let text = match fs::read_to_string(folder.join(shown)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_none() => return Ok(Vec::new()),
        Err(error) => return Err(Problem::Unreadable { path: shown.to_owned(), reason: error.to_string() }),
    };
    let line = |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
    let table = DeTable::parse(&text).map_err(|error| Problem::Syntax {
        at: Source::File(shown.to_owned(), line(error.span().map_or(0, |span| span.start))),
        reason: error.message().to_owned(),
    })?;
    let mut entries = Vec::new();
    flatten("", table.get_ref(), &|offset| Source::File(shown.to_owned(), line(offset)), &mut entries);
    // Tables come sorted by name; mistakes are read more easily in the order of the file.
    entries.sort_by_key(|entry| match entry.source {
        Source::File(_, line) => line,
        _ => 0,
    });
    Ok(entries)
}

/// Turns nested tables into dotted keys. An empty table stays an entry of its own, so that its name is checked, too.
fn flatten(prefix: &str, table: &DeTable<'_>, source: &dyn Fn(usize) -> Source, entries: &mut Vec<Entry>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        if let DeValue::Table(inner) = value.get_ref()
            && !inner.is_empty()
        {
            flatten(&key, inner, source, entries);
        } else {
            entries.push(Entry { key, raw: raw(value.get_ref()), source: source(name.span().start) });
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Other("so large a number"), Raw::Integer)
        }
        DeValue::Float(number) => number.as_str().parse().map_or(Raw::Other("this number"), Raw::Float),
        DeValue::Boolean(true) => Raw::Other("true"),
        DeValue::Boolean(false) => Raw::Other("false"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Raw::Other("a list of other things than strings"), Raw::List)
        }
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// Reads the environment and the `.env` file beside it, which wins over nothing that the environment sets. The seed's
/// variables come first, so that ours win over them. An empty variable counts as not set.
pub(super) fn environment(surroundings: &Surroundings) -> Result<Vec<Entry>, Vec<Problem>> {
    let mut variables: BTreeMap<String, (OsString, Source)> = BTreeMap::new();
    for (name, value) in dot_env(&surroundings.folder).map_err(|problem| vec![problem])? {
        let source = Source::DotEnv(".env".into(), name.clone());
        variables.insert(name, (value.into(), source));
    }
    for (name, value) in &surroundings.environment {
        // A name that is not Unicode is none of ours.
        if let Some(name) = name.to_str() {
            variables.insert(name.to_owned(), (value.clone(), Source::Variable(name.to_owned())));
        }
    }

    let ours = variables.keys().filter_map(|name| Some((name.as_str(), key_of(name)?)));
    let seed = SEED.into_iter().map(|(name, key)| (name, key.to_owned()));
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for (name, key) in seed.chain(ours) {
        let Some((value, source)) = variables.get(name).filter(|(value, _)| !value.is_empty()) else { continue };
        match value.to_str() {
            Some(value) => entries.push(Entry { key, raw: Raw::Word(value.to_owned()), source: source.clone() }),
            None => problems.push(Problem::Syntax { at: source.clone(), reason: "not UTF-8".to_owned() }),
        }
    }
    if problems.is_empty() { Ok(entries) } else { Err(problems) }
}

/// The key that a variable sets, when it is one of ours.
fn key_of(variable: &str) -> Option<String> {
    if TOOLS.contains(&variable) {
        return None;
    }
    Some(variable.strip_prefix(PREFIX)?.to_lowercase().replace("__", "."))
}

/// The variables that `.env` in the working folder sets; the process' own environment stays as it is.
fn dot_env(folder: &Path) -> Result<Vec<(String, String)>, Problem> {
    let unreadable = |reason: String| Problem::Unreadable { path: ".env".into(), reason };
    let path = folder.join(".env");
    // Some keep a folder of that name, for Python's virtual environments.
    if !path.exists() || path.is_dir() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
    let lines = dotenvy::from_path_iter(path).map_err(|error| unreadable(error.to_string()))?;
    let mut variables = Vec::new();
    for line in lines {
        match line {
            Ok(variable) => variables.push(variable),
            // A line may hold a secret, and what the parser could not read may be one: only names are shown.
            Err(dotenvy::Error::LineParse(unread, _)) => {
                let Some((at, line)) = text.lines().enumerate().find(|(_, line)| line.contains(unread.trim())) else {
                    continue;
                };
                let name = line.trim().trim_start_matches("export ").split(['=', ' ']).next().unwrap_or_default();
                // Another program's variables may be written by another program's rules.
                if name.starts_with(PREFIX) || SEED.iter().any(|(variable, _)| *variable == name) {
                    let line = at + 1;
                    return Err(unreadable(format!(
                        "line {line}, {name}, is not of the form NAME=VALUE or NAME=\"VALUE\""
                    )));
                }
            }
            Err(error) => return Err(unreadable(error.to_string())),
        }
    }
    Ok(variables)
}

/// What the flags say.
pub(super) fn flags(overrides: &[Override]) -> Vec<Entry> {
    let entry =
        |o: &Override| Entry { key: o.key.to_owned(), raw: Raw::Word(o.value.clone()), source: Source::Flag(o.flag) };
    overrides.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_its_variable_are_two_spellings_of_one_name() {
        let variable = Source::Variable(String::new());
        assert_eq!(variable.spell("components.scorer.path"), "VISAVIS_COMPONENTS__SCORER__PATH");
        assert_eq!(key_of("VISAVIS_COMPONENTS__SCORER__PATH").as_deref(), Some("components.scorer.path"));
        assert_eq!(key_of("VISAVIS_ASSETS").as_deref(), Some("assets"));
        for other in ["HOME", "VISAVIS", "VISAVIS_CACHE", "VISAVIS_BIN", "VISAVIS_SOAK"] {
            assert_eq!(key_of(other), None, "{other}");
        }
    }

    #[test]
    fn lines_of_a_file_are_counted_from_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.toml"), "assets = 1\n\n[server]\nlisten = \"é\"\nbody_limit = 0x10\n").unwrap();
        let entries = file(Some(Path::new("a.toml")), folder.path()).unwrap();
        let found: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.source.to_string(), &e.raw)).collect();
        let expected = [
            ("assets", "a.toml:1".to_owned(), &Raw::Integer(1)),
            ("server.listen", "a.toml:4".to_owned(), &Raw::Text("é".to_owned())),
            ("server.body_limit", "a.toml:5".to_owned(), &Raw::Integer(16)),
        ];
        assert_eq!(found, expected);
    }
}
