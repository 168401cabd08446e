//! The bill of materials of an archive, for programs that look parts up in lists of known faults: CycloneDX 1.6 in JSON.
//!
//! Owns the form of the list. The same parts give the same bytes, so it has neither a time nor a number of its own. It must never
//! decide what a part may be.

use std::collections::BTreeMap;
use std::env;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use visavis_models::Manifest;

use super::crates::{Crate, Crates};
use crate::packages::Packages;
use crate::workspace::Workspace;

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Lists crates with what each needs, the inference library, the models and the sample photographs.
pub(super) fn write(crates: &Crates, workspace: &Workspace) -> Result<String> {
    let read = |path: &str| {
        let path = workspace.root.join(path);
        fs::read_to_string(&path).with_context(|| format!("can not read {}", path.display()))
    };
    let lock: Lock = toml::from_str(&read("Cargo.lock")?).context("Cargo.lock")?;
    let manifest = Manifest::parse(&read("models/manifest.toml")?).context("models/manifest.toml")?;
    let system = format!("{}-{}", env::consts::OS, env::consts::ARCH);
    let bill = list(crates, &lock, &Packages::pinned()?, &manifest, &system)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&bill)?))
}

fn list(crates: &Crates, lock: &Lock, packages: &Packages, manifest: &Manifest, system: &str) -> Result<Value> {
    let digests: BTreeMap<_, _> =
        lock.package.iter().map(|it| ((it.name.as_str(), it.version.as_str()), it.checksum.as_deref())).collect();
    let (mut subject, mut components, mut dependencies) = (None, Vec::new(), Vec::new());
    for (it, needs) in crates.all() {
        let digest = digests.get(&(it.name.as_str(), it.version.as_str())).copied().flatten();
        ensure!(digest.is_some() || it.source.is_none(), "Cargo.lock has no digest of {} {}", it.name, it.version);
        let component = of_crate(it, digest);
        if it.source.is_none() && it.name == "visavis" {
            subject = Some(component);
        } else {
            components.push(component);
        }
        let mut needs: Vec<_> = needs.into_iter().map(reference).collect();
        needs.dedup();
        dependencies.push(json!({ "ref": reference(it), "dependsOn": needs }));
    }
    for (kind, contents) in [("library", packages.libraries(system)?), ("data", packages.photographs())] {
        for contents in contents {
            let source = contents.archive();
            for taken in &contents.take {
                let name = if kind == "library" { &source.package } else { &taken.to };
                let mut component = part(kind, name, &source.version, &taken.sha256);
                component.insert("bom-ref".to_owned(), json!(taken.to));
                component.insert("purl".to_owned(), json!(format!("pkg:pypi/{}@{}", source.package, source.version)));
                components.push(component.into());
            }
        }
    }
    for (name, graph) in manifest.graphs() {
        let package = graph.source.as_ref().and_then(|source| Some((source, manifest.packages.get(&source.package)?)));
        let version = package.map_or("", |(_, package)| package.version.as_str());
        let mut component = part("machine-learning-model", &name, version, &graph.sha256);
        component.insert("bom-ref".to_owned(), json!(format!("models/{name}")));
        if let Some((source, package)) = package {
            component.insert("licenses".to_owned(), json!([{ "expression": package.licence }]));
            component.insert("purl".to_owned(), json!(format!("pkg:pypi/{}@{version}", source.package)));
        }
        components.push(component.into());
    }
    let subject = subject.context("the host is not among the crates")?;
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": subject },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What stands for a crate elsewhere in the list.
fn reference(it: &Crate) -> String {
    match it.source {
        Some(_) => format!("pkg:cargo/{}@{}", it.name, it.version),
        None => format!("visavis/{}@{}", it.name, it.version),
    }
}

fn of_crate(it: &Crate, digest: Option<&str>) -> Value {
    let kind = if it.source.is_none() && it.name == "visavis" { "application" } else { "library" };
    let mut component = Map::new();
    component.insert("type".to_owned(), json!(kind));
    component.insert("bom-ref".to_owned(), json!(reference(it)));
    component.insert("name".to_owned(), json!(it.name));
    component.insert("version".to_owned(), json!(it.version));
    if let Some(digest) = digest {
        component.insert("hashes".to_owned(), hashes(digest));
    }
    if let Some(license) = &it.license {
        // The old way to write a choice.
        component.insert("licenses".to_owned(), json!([{ "expression": license.replace('/', " OR ") }]));
    }
    if it.source.is_some() {
        component.insert("purl".to_owned(), json!(reference(it)));
    }
    component.into()
}

fn part(kind: &str, name: &str, version: &str, sha256: &str) -> Map<String, Value> {
    let mut part = Map::new();
    part.insert("type".to_owned(), json!(kind));
    part.insert("name".to_owned(), json!(name));
    part.insert("version".to_owned(), json!(version));
    part.insert("hashes".to_owned(), hashes(sha256));
    part
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::crates::tests::crates;
    use super::*;

    fn made() -> Value {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1\"\nchecksum = \"0a\"\n\
                    [[package]]\nname = \"c\"\nversion = \"2\"\nchecksum = \"0c\"\n";
        let manifest = Manifest::parse(include_str!("../../../models/manifest.toml")).unwrap();
        let packages = Packages::pinned().unwrap();
        list(&crates(), &toml::from_str(lock).unwrap(), &packages, &manifest, "linux-x86_64").unwrap()
    }

    #[test]
    fn every_part_is_listed_with_its_digest_and_what_it_needs() {
        let bill = made();
        assert_eq!(bill["metadata"]["component"]["name"], "visavis");
        let components = bill["components"].as_array().unwrap();
        let find = |name: &str| components.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(find("a")["hashes"][0]["content"], "0a");
        assert_eq!(find("a")["purl"], "pkg:cargo/a@1");
        assert_eq!(find("a")["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(find("ours")["purl"].is_null() && find("c")["licenses"].is_null());
        assert_eq!(find("onnxruntime")["type"], "library");
        assert_eq!(find("photos/obama.jpg")["type"], "data");
        assert_eq!(find("mtcnn/proposal")["type"], "machine-learning-model");
        assert!(components.iter().all(|it| it["name"] == "ours" || it["hashes"][0]["content"].is_string()));
        let needs = |name: &str| {
            let of = bill["dependencies"].as_array().unwrap().iter().find(|it| it["ref"] == name);
            of.unwrap()["dependsOn"].clone()
        };
        assert_eq!(needs("pkg:cargo/a@1"), json!(["pkg:cargo/c@2", "visavis/ours@1"]));
        assert_eq!(needs("visavis/visavis@1"), json!(["pkg:cargo/a@1"]));
    }

    #[test]
    fn nothing_has_the_reference_of_another() {
        let bill = made();
        let mut seen = BTreeSet::new();
        for component in bill["components"].as_array().unwrap().iter().chain([&bill["metadata"]["component"]]) {
            assert!(seen.insert(component["bom-ref"].as_str().unwrap().to_owned()), "{component}");
        }
        let needed = bill["dependencies"].as_array().unwrap().iter().flat_map(|it| it["dependsOn"].as_array().unwrap());
        assert!(needed.clone().count() > 2 && needed.clone().all(|it| seen.contains(it.as_str().unwrap())));
    }

    #[test]
    fn a_crate_without_a_digest_is_refused() {
        let manifest = Manifest::parse(include_str!("../../../models/manifest.toml")).unwrap();
        let lock = Lock { package: Vec::new() };
        let error = list(&crates(), &lock, &Packages::pinned().unwrap(), &manifest, "linux-x86_64").unwrap_err();
        assert!(error.to_string().contains("no digest of a 1"), "{error}");
    }
}
