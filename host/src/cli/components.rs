//! `visavis components`: what a host runs, keys, signatures and bundles.
//!
//! Owns what is common to its commands: how files are read, and the lines that say what one is. Must never decide what is
//! trusted or what a bundle may hold.
//!
//! # Layout
//!
//! - `rollout`: list, deploy, rollback and reset, on a host that runs.
//! - `keys`: keygen and sign. `verify`, `bundle`: one command each.

mod bundle;
mod keys;
mod rollout;
mod verify;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::arguments::components::ComponentsCommand;
use crate::config::Config;
use crate::rollout::bundle::{Bundle, EmbeddingSpace, LARGEST, Model};
use crate::rollout::kind::Kind;
use crate::rollout::trust;
use crate::task::NonFrontal;

/// Runs one of the commands.
pub(crate) async fn run(config: &Config, command: &ComponentsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ComponentsCommand::List(list) => rollout::list(config, list.json).await,
        ComponentsCommand::Deploy(deploy) => rollout::deploy(config, deploy).await,
        ComponentsCommand::Rollback(operated) => rollout::roll_back(config, operated).await,
        ComponentsCommand::Reset(operated) => rollout::reset(config, operated).await,
        ComponentsCommand::Keygen(keygen) => keys::generate(keygen),
        ComponentsCommand::Sign(sign) => keys::sign(sign),
        ComponentsCommand::Verify(verify) => verify::run(config, verify),
        ComponentsCommand::Bundle(bundle) => bundle::run(config, bundle),
    }
}

/// Reads a component or bundle.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    bounded(path, LARGEST as u64)
}

/// Reads a key or signature. What is not UTF-8 is none, and is refused as such by whoever parses it.
fn read_text(path: &Path) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&bounded(path, trust::LONGEST)?).into_owned())
}

fn bounded(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > limit {
        bail!("{} has more than {limit} bytes, too many for what it should be", path.display());
    }
    Ok(bytes)
}

/// Where the signature of a file lies.
fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

/// The signature beside a file, if there is one.
fn read_signature(path: &Path) -> anyhow::Result<Option<String>> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        Ok(true) => read_text(path).map(Some),
        Err(error) => Err(io::Error::into(error)),
    }
}

/// What a file is, in lines for people.
fn described(kind: &Kind, bytes: &[u8]) -> String {
    let size = bytes.len();
    match kind {
        Kind::Component(slot) => {
            format!("  component for the slot {slot}, {size} bytes, SHA-256 {}\n", hex::encode(Sha256::digest(bytes)))
        }
        Kind::Bundle(bundle) => described_bundle(bundle, size),
    }
}

fn described_bundle(bundle: &Bundle, size: usize) -> String {
    let Bundle { manifest, components, digest } = bundle;
    let mut text = format!("  bundle {} {}, {size} bytes, SHA-256 {digest}\n", manifest.name, manifest.version);
    let mut line = |what: &str, value: &str| _ = writeln!(text, "    {what:<18} {value}");
    for (slot, component) in components {
        let digest = manifest.components.get(*slot).unwrap_or_default();
        line(&slot.to_string(), &format!("{} bytes, SHA-256 {digest}", component.len()));
    }
    for (what, model) in [("detector", &manifest.models.detector), ("embedder", &manifest.models.embedder)] {
        if let Some(Model { name, graphs }) = model {
            line(what, name);
            graphs.iter().for_each(|(graph, digest)| line("", &format!("{graph}, SHA-256 {digest}")));
        }
    }
    let policy = &manifest.verify;
    if let Some(threshold) = policy.threshold {
        let slope = policy.slope.map(|slope| format!(" (slope {slope})")).unwrap_or_default();
        line("threshold", &format!("{threshold}{slope}"));
    }
    if let Some(non_frontal) = policy.non_frontal {
        line(
            "non-frontal faces",
            match non_frontal {
                NonFrontal::Reject => "reject",
                NonFrontal::Report => "report",
            },
        );
    }
    line(
        "embedding space",
        match manifest.embedding_space {
            EmbeddingSpace::Same => "the same as before",
            EmbeddingSpace::Changes => "changes",
        },
    );
    text
}
