//! `cargo xtask dist`: one archive that runs on another machine of the same architecture, without Rust, Python or network.
//!
//! Owns what is in the archive and where. It must never know how any of it is made.
//!
//! # Layout
//!
//! - `manual`: manual pages, and completions for shells.
//! - `pack`: the archive's bytes, the same for the same files.
//! - `licences`: the texts under which the parts may be handed on.
//! - `bill`: a list of the parts for programs.
//! - `crates`: what is compiled in.

mod bill;
mod crates;
mod licences;
mod manual;
mod pack;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;
use crate::{files, progress, setup};
use crates::Crates;
use pack::Content;

/// Options of `cargo xtask dist`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder to write the archive to; by default dist/ in cargo's target folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The profile to build the host with: release is faster to build, and its program is slower and larger.
    #[arg(long, value_name = "PROFILE", default_value = "dist", value_parser = ["dist", "release"])]
    profile: String,
}

/// What is copied from the repository: path there, path in the archive.
const DOCUMENTS: [(&str, &str); 11] = [
    ("LICENSE", "LICENSE"),
    ("packaging/visavis.service", "etc/visavis.service"),
    ("packaging/visavis.toml", "etc/visavis.toml"),
    ("visavis.example.toml", "share/doc/visavis.example.toml"),
    ("docs/edge.md", "share/doc/edge.md"),
    ("docs/components.md", "share/doc/components.md"),
    ("docs/bundles.md", "share/doc/bundles.md"),
    ("docs/redis.md", "share/doc/redis.md"),
    ("docs/observability.md", "share/doc/observability.md"),
    ("packaging/prometheus-rules.yml", "share/observability/prometheus-rules.yml"),
    ("packaging/grafana-dashboard.json", "share/observability/grafana-dashboard.json"),
];

/// The folders of the assets that the host needs.
const ASSETS: [&str; 3] = ["components", "models", "photos"];

/// The library that runs the models. Others may lie beside it, for those who asked for them on this machine.
const LIBRARY: &str = "lib/libonnxruntime.so";

/// Where the host looks for its assets, from the folder above its program's.
const SHARE: &str = "share/visavis";

/// Sets up, builds the host for others, and packs.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<()> {
    setup::assets(workspace)?;
    progress::step("host", || {
        let build = ["build", "--profile", &options.profile, "--workspace", "--bin", "visavis"];
        setup::cargo(workspace, build.into_iter().chain(["--features", "visavis/every-architecture"]), &[])?;
        Ok(Some(format!("built with the profile {}", options.profile)))
    })?;
    let program = workspace.target.join(&options.profile).join("visavis");
    let out = options.out.clone().unwrap_or_else(|| workspace.target.join("dist"));
    fs::create_dir_all(&out).map_err(|error| files::refusal(&out, &error))?;
    let desk = tempfile::Builder::new().prefix(".partial-").tempdir_in(&out);
    let desk = desk.map_err(|error| files::refusal(&out, &error))?;
    let compiled = desk.path().join("compiled");
    progress::step("compiled code", || {
        compile(&program, workspace, &compiled).map(|()| Some("for every machine of this architecture".to_owned()))
    })?;
    let folder = format!("visavis-{}-{}-{}", env!("CARGO_PKG_VERSION"), env::consts::OS, env::consts::ARCH);
    let pages = desk.path().join("man");
    let mut manual = Vec::new();
    progress::step("manual", || {
        manual = manual::write(&program, workspace, &pages)?;
        Ok(Some(format!("{} files for manuals and shells", manual.len())))
    })?;
    let mut contents = gather(workspace, &program, &compiled)?;
    contents.extend(manual);
    let crates = Crates::compiled_in(workspace)?;
    contents.extend(licences::gather(&crates, workspace)?);
    contents.push(Content::text("share/doc/bill-of-materials.cdx.json", bill::write(&crates, workspace)?));
    let archive = out.join(format!("{folder}.tar.gz"));
    progress::step("archive", || {
        let size = pack::write(&archive, &folder, contents)?;
        Ok(Some(format!("{} ({} MB)", archive.display(), size / 1_000_000)))
    })?;
    let digest = files::digest(&archive)?.context("the archive is gone")?;
    files::write(&out.join("SHA256SUMS"), format!("{digest}  {folder}.tar.gz\n").as_bytes())?;
    println!("{}", archive.display());
    Ok(())
}

/// Lets the host that goes into the archive compile the components that go with it.
fn compile(program: &Path, workspace: &Workspace, folder: &Path) -> Result<()> {
    let folder = folder.as_os_str();
    ask(program, workspace, folder.as_ref(), &["compile".as_ref(), "--out".as_ref(), folder]).map(|_| ())
}

/// What the host that goes into the archive says, asked beside the folder or file that it shall write.
fn ask(program: &Path, workspace: &Workspace, target: &Path, arguments: &[&OsStr]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VISAVIS_")) {
        command.env_remove(name);
    }
    // In a folder without visavis.toml and .env.
    command.env("VISAVIS_ASSETS", &workspace.assets).current_dir(target.parent().unwrap_or(target)).args(arguments);
    let answer = command.output().with_context(|| format!("can not start {}", program.display()))?;
    let what = arguments.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    ensure!(answer.status.success(), "`visavis {what}` failed: {}", String::from_utf8_lossy(&answer.stderr).trim());
    Ok(answer.stdout)
}

/// Everything but the licences.
fn gather(workspace: &Workspace, program: &Path, compiled: &Path) -> Result<Vec<Content>> {
    let mut contents = vec![Content::program("bin/visavis", program)];
    for (from, to) in DOCUMENTS {
        contents.push(Content::file(to, &workspace.root.join(from)));
    }
    for folder in ASSETS {
        folder_of(&workspace.assets.join(folder), &format!("{SHARE}/{folder}"), &mut contents)?;
    }
    let library = workspace.assets.join(LIBRARY);
    contents.push(Content::file(&format!("{SHARE}/{LIBRARY}"), &library));
    folder_of(compiled, &format!("{SHARE}/compiled"), &mut contents)?;
    let mut glibc = Vec::new();
    for path in [program, &library] {
        let bytes = fs::read(path).with_context(|| format!("can not read {}", path.display()))?;
        glibc.extend(newest_glibc(&bytes));
    }
    contents.push(Content::text("README.txt", readme(workspace, glibc.into_iter().max())?));
    Ok(contents)
}

/// The files of a folder, which has no folders.
fn folder_of(from: &Path, to: &str, contents: &mut Vec<Content>) -> Result<()> {
    let before = contents.len();
    for entry in fs::read_dir(from).with_context(|| format!("can not read {}", from.display()))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("{} has no name in UTF-8\n  mend: remove it", entry.path().display());
        };
        if name.starts_with('.') {
            continue;
        }
        contents.push(Content::file(&format!("{to}/{name}"), &entry.path()));
    }
    ensure!(contents.len() > before, "{} is empty\n  mend: run `cargo xtask setup`", from.display());
    Ok(())
}

fn readme(workspace: &Workspace, glibc: Option<(u32, u32)>) -> Result<String> {
    let path = workspace.root.join("packaging/README.txt");
    let text = fs::read_to_string(&path).with_context(|| format!("can not read {}", path.display()))?;
    let (major, minor) = glibc.context("the host asks for no version of glibc")?;
    let processor = match env::consts::ARCH {
        "x86_64" => "\nThe compiled code asks for a processor of x86-64-v2 (since about 2010).",
        _ => "",
    };
    Ok(text
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{system}", &format!("{} on {}", env::consts::OS, env::consts::ARCH))
        .replace("{architecture}", env::consts::ARCH)
        .replace("{glibc}", &format!("{major}.{minor}"))
        .replace("{processor}", processor))
}

/// The newest version of glibc that a program's symbols ask for: versions are strings `GLIBC_2.34` among its names.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"\0GLIBC_";
    let version = |at: usize| {
        let text: Vec<_> = program[at + MARK.len()..].iter().take(16).take_while(|byte| **byte != 0).copied().collect();
        let text = String::from_utf8(text).ok()?;
        let mut numbers = text.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    let marks = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    marks.filter_map(|(at, _)| version(at)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_found() {
        let names = b"x\0GLIBC_2.9\0GLIBC_2.28\0GLIBC_2.2.5\0GLIBC_PRIVATE\0GLIBCXX_3.4.30\0the GLIBC_9.9\0GLIBC_";
        assert_eq!(newest_glibc(names), Some((2, 28)));
        assert_eq!(newest_glibc(b"static"), None);
    }

    #[test]
    fn what_is_copied_is_there_and_the_unit_names_what_is_packed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for (from, _) in DOCUMENTS {
            assert!(root.join(from).is_file(), "{from}");
        }
        let unit = fs::read_to_string(root.join("packaging/visavis.service")).unwrap();
        assert!(unit.contains("ExecStart=/opt/visavis/bin/visavis --config /etc/visavis/visavis.toml serve"));
        assert!(unit.contains("Documentation=file:/opt/visavis/README.txt"));
    }

    #[test]
    fn the_sample_configuration_has_known_keys() {
        let read = |path: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path);
            fs::read_to_string(path).unwrap()
        };
        let sample: toml::Table = read("packaging/visavis.toml").parse().unwrap();
        let example = read("visavis.example.toml");
        for (section, keys) in &sample {
            let (_, text) = example.split_once(&format!("[{section}]")).expect("a known section");
            let text = text.split("\n[").next().unwrap();
            for key in keys.as_table().unwrap().keys() {
                let known = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")));
                assert!(known, "{section}.{key}");
            }
        }
    }
}
