//! Which crates are compiled into the host and the components that are packed, as cargo resolves them for their targets.
//!
//! Owns what counts as compiled in: what runs, and not what builds or tests it. It must never know what is made of the list.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::setup::TARGET;
use crate::workspace::Workspace;

/// The host.
const HOST: &[&str] = &["visavis"];

/// What else is packed.
const COMPONENTS: &[&str] = &["gateway", "analyzer", "scorer", "annotator"];

/// The crates of a program, and which of them needs which.
#[derive(Debug, Default)]
pub(super) struct Crates {
    /// By cargo's identifier of the package.
    found: BTreeMap<String, Crate>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

/// One crate.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Crate {
    id: String,
    pub(super) name: String,
    pub(super) version: String,
    /// As its author wrote it.
    pub(super) license: Option<String>,
    /// Absent for what lies in this repository.
    pub(super) source: Option<String>,
    pub(super) manifest_path: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Crates {
    /// Asks cargo about this repository.
    pub(super) fn compiled_in(workspace: &Workspace) -> Result<Self> {
        let answer = ask("rustc", &["-vV"], workspace)?;
        let version = String::from_utf8_lossy(&answer);
        let triple = version.lines().find_map(|line| line.strip_prefix("host: "));
        let triple = triple.context("rustc does not say what it compiles for")?;
        let mut all = Self::default();
        for (roots, target) in [(HOST, triple), (COMPONENTS, TARGET)] {
            let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", target];
            let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
            let answer = ask(cargo, &arguments, workspace)?;
            all.add(&serde_json::from_slice(&answer).context("cargo metadata")?, roots);
        }
        Ok(all)
    }

    /// Adds what the roots need when they run, and the roots.
    fn add(&mut self, metadata: &Metadata, roots: &[&str]) {
        let packages: BTreeMap<_, _> = metadata.packages.iter().map(|it| (it.id.as_str(), it)).collect();
        let nodes: BTreeMap<_, _> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let is_root = |it: &&Crate| it.source.is_none() && roots.contains(&it.name.as_str());
        let mut next: Vec<&str> = metadata.packages.iter().filter(is_root).map(|it| it.id.as_str()).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = next.pop() {
            let (true, Some(found)) = (seen.insert(id), packages.get(id)) else { continue };
            self.found.insert(id.to_owned(), (*found).clone());
            let needs = self.needs.entry(id.to_owned()).or_default();
            let needed = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            for it in needed.filter(|it| it.dep_kinds.iter().any(|kind| kind.kind.is_none())) {
                needs.insert(it.pkg.clone());
                next.push(&it.pkg);
            }
        }
    }

    /// All of them with what each needs, by name and version.
    pub(super) fn all(&self) -> Vec<(&Crate, Vec<&Crate>)> {
        let needs = |id: &str| self.needs.get(id).into_iter().flatten().filter_map(|id| self.found.get(id));
        let mut all: Vec<_> = self.found.values().map(|it| (it, sorted(needs(&it.id).collect()))).collect();
        all.sort_by(|(a, _), (b, _)| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        all
    }

    /// Those that come from a registry, by name and version.
    pub(super) fn of_others(&self) -> Vec<&Crate> {
        sorted(self.found.values().filter(|it| it.source.is_some()).collect())
    }
}

fn sorted(mut crates: Vec<&Crate>) -> Vec<&Crate> {
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    crates
}

fn ask(program: impl Into<OsString>, arguments: &[&str], workspace: &Workspace) -> Result<Vec<u8>> {
    let program = program.into();
    let name = program.to_string_lossy().into_owned();
    let answer = Command::new(program).args(arguments).current_dir(&workspace.root).output();
    let answer = answer.with_context(|| format!("can not start {name}"))?;
    let said = String::from_utf8_lossy(&answer.stderr);
    ensure!(answer.status.success(), "`{name} {}` failed: {}", arguments.join(" "), said.trim());
    Ok(answer.stdout)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What cargo would say of a host that needs `a`, which needs `c` and `ours`; `b` only builds it.
    pub(in super::super) fn crates() -> Crates {
        let metadata = r#"{
            "packages": [
                {"id": "v", "name": "visavis", "version": "1", "license": "MIT", "source": null, "manifest_path": ""},
                {"id": "o", "name": "ours", "version": "1", "license": "MIT", "source": null, "manifest_path": ""},
                {"id": "a", "name": "a", "version": "1", "license": "MIT/Apache-2.0", "source": "r", "manifest_path": ""},
                {"id": "b", "name": "b", "version": "1", "license": "MIT", "source": "r", "manifest_path": ""},
                {"id": "c", "name": "c", "version": "2", "license": null, "source": "r", "manifest_path": ""}
            ],
            "resolve": {"nodes": [
                {"id": "v", "deps": [
                    {"pkg": "a", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                    {"pkg": "b", "dep_kinds": [{"kind": "build"}]}
                ]},
                {"id": "a", "deps": [{"pkg": "c", "dep_kinds": [{"kind": null}]}, {"pkg": "o", "dep_kinds": [{"kind": null}]}]},
                {"id": "b", "deps": []}, {"id": "c", "deps": []}, {"id": "o", "deps": []}
            ]}
        }"#;
        let mut crates = Crates::default();
        crates.add(&serde_json::from_str(metadata).unwrap(), HOST);
        crates
    }

    #[test]
    fn crates_that_only_build_or_test_are_left_out() {
        let crates = crates();
        let names = |crates: &[&Crate]| crates.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&crates.of_others()), ["a", "c"]);
        let all: Vec<_> = crates.all().iter().map(|(it, needs)| (it.name.clone(), names(needs))).collect();
        let expected = [("a", &["c", "ours"][..]), ("c", &[]), ("ours", &[]), ("visavis", &["a"])];
        assert_eq!(
            all,
            expected.map(|(name, needs)| (name.to_owned(), needs.iter().map(|it| (*it).to_owned()).collect()))
        );
    }
}
