//! The example scorers as templates: a folder that stands for itself, with the contract and the recorded cases in it.
//!
//! Owns which files belong to an example, and what changes in them. Must never know how a scorer is built.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;

use crate::workspace::Workspace;
use crate::{files, progress};

/// A language that there is an example in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Rust,
    Python,
    Javascript,
}

/// Options of `cargo xtask new-scorer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Its name: lower-case letters, digits and single hyphens, as `strict-scorer`.
    name: String,
    /// The language to write it in.
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    language: Language,
    /// The folder to make its folder in.
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,
}

impl Language {
    /// The example's name, which is also its folder's.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Rust => "scorer-rust",
            Self::Python => "scorer-python",
            Self::Javascript => "scorer-javascript",
        }
    }

    /// The example's files. What a build leaves beside them is no part of it.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &[".gitignore", "Cargo.lock", "Cargo.toml", "README.md", "src/lib.rs"],
            Self::Python => &[".gitignore", "README.md", "decision.py", "requirements.txt"],
            Self::Javascript => &[".gitignore", "README.md", "package-lock.json", "package.json", "scorer.js"],
        }
    }
}

/// Makes a folder with a scorer to begin with.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    let Options { name, language, into } = options;
    check_name(name)?;
    let folder = into.join(name);
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists already\n  mend: choose another name, or another folder with --into", folder.display())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("there is no folder {}\n  mend: make it first, or choose another with --into", into.display())
        }
        Err(error) => return Err(files::refusal(&folder, &error)),
    }
    if let Err(error) = sources(*language, name, workspace).and_then(|sources| write(&sources, &folder)) {
        // Only what was made here: the folder did not exist before.
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }
    progress::note(&format!("made {0}; {0}/README.md says how to build it", folder.display()));
    Ok(())
}

/// Writes the files into `folder`, leaving alone what is there already.
pub(crate) fn write(sources: &BTreeMap<PathBuf, String>, folder: &Path) -> Result<()> {
    for (file, text) in sources {
        files::write_if_changed(&folder.join(file), text.as_bytes())?;
    }
    Ok(())
}

/// The files of a folder that is made from the example in `language`, by their path in it.
pub(crate) fn sources(language: Language, name: &str, workspace: &Workspace) -> Result<BTreeMap<PathBuf, String>> {
    let examples = workspace.root.join("components/examples");
    let mut sources = contract(workspace)?;
    for file in language.files() {
        let text = read(&examples.join(language.example()).join(file))?;
        sources.insert(file.into(), renamed(&text, language.example(), name));
    }
    sources.insert("cases.json".into(), read(&examples.join("cases.json"))?);
    Ok(sources)
}

/// Every `.wit` file of the contract.
fn contract(workspace: &Workspace) -> Result<BTreeMap<PathBuf, String>> {
    let root = workspace.root.join("wit");
    let mut found = BTreeMap::new();
    for folder in [root.clone(), root.join("deps")] {
        let entries = fs::read_dir(&folder).with_context(|| format!("can not read {}", folder.display()))?;
        for path in entries.map(|entry| entry.map(|entry| entry.path())) {
            let path = path.with_context(|| format!("can not read {}", folder.display()))?;
            if path.extension().is_some_and(|extension| extension == "wit") {
                found.insert(Path::new("wit").join(path.strip_prefix(&root)?), read(&path)?);
            }
        }
    }
    Ok(found)
}

/// A file of an example as it is in a folder of its own: the name in both spellings, and paths that do not lead outside.
fn renamed(text: &str, example: &str, name: &str) -> String {
    text.replace(example, name)
        .replace(&example.replace('-', "_"), &name.replace('-', "_"))
        .replace("../../../wit", "wit")
        .replace("../cases.json", "cases.json")
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| anyhow!("can not read {}: {error}", path.display()))
}

/// A name must do as a folder, as a package of cargo and of npm, and with underscores as a module.
fn check_name(name: &str) -> Result<()> {
    let sound = name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.split('-').all(|part| {
            !part.is_empty() && part.chars().all(|each| each.is_ascii_lowercase() || each.is_ascii_digit())
        });
    ensure!(
        sound,
        "`{name}` can not be a scorer's name\n  \
         mend: use at most 64 lower-case letters, digits and single hyphens, a letter first, as `strict-scorer`"
    );
    // Cargo, npm and rustc keep these for themselves, and the scorer depends on the last.
    const TAKEN: [&str; 12] = [
        "alloc",
        "build",
        "core",
        "deps",
        "examples",
        "fn",
        "incremental",
        "proc-macro",
        "self",
        "std",
        "test",
        "wit-bindgen",
    ];
    ensure!(
        !TAKEN.contains(&name),
        "`{name}` is a name that tools keep for themselves\n  mend: choose another name, as `{name}-scorer`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_folder_stands_for_itself() {
        let workspace = Workspace::find().unwrap();
        for language in Language::value_variants() {
            let parent = tempfile::tempdir().unwrap();
            let options = Options { name: "strict-2".into(), language: *language, into: parent.path().into() };
            run(&options, &workspace).unwrap();
            let folder = parent.path().join("strict-2");
            for file in language.files() {
                let text = read(&folder.join(file)).unwrap();
                for stranger in [language.example(), &language.example().replace('-', "_"), "../"] {
                    assert!(!text.contains(stranger), "{file} names {stranger}");
                }
            }
            assert!(read(&folder.join("wit/worlds.wit")).unwrap().contains("world scorer"));
            assert!(folder.join("wit/deps/io.wit").is_file() && folder.join("cases.json").is_file());
            let refused = run(&options, &workspace).unwrap_err().to_string();
            assert!(refused.contains("exists already") && refused.contains("mend:"), "{refused}");
        }
    }

    #[test]
    fn a_missing_parent_and_bad_names_are_refused() {
        let workspace = Workspace::find().unwrap();
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, into: PathBuf| {
            let options = Options { name: name.into(), language: Language::Python, into };
            run(&options, &workspace).map_err(|error| error.to_string())
        };
        let missing = make("mine", parent.path().join("missing")).unwrap_err();
        assert!(missing.contains("no folder") && missing.contains("mend:"), "{missing}");
        let long = "a".repeat(65);
        for name in ["", "Upper", "1st", "a_b", "a--b", "a-", "-a", "a/b", "..", "fn", "wit-bindgen", "é", &long] {
            let refused = make(name, parent.path().into()).unwrap_err();
            assert!(refused.contains(name) && refused.contains("mend:"), "{name}: {refused}");
        }
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
