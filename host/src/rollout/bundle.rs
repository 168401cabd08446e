//! Bundles: components, the models that they need and the policy that goes with them, in one file under one version.
//!
//! Owns the layout of that file: a tar archive of `bundle.toml` and one `SLOT.wasm` for each component, written in one way
//! only. What is read is written again and compared, so that nothing can hide in a bundle and two programs cannot read two
//! things in it. Must never know who signed it or what its components do.
//!
//! # Layout
//!
//! - `manifest`: `bundle.toml`, and the rules that hold its parts together.

mod manifest;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

pub(crate) use self::manifest::{EmbeddingSpace, Manifest, Model, Models, Policy};
use crate::runtime::Slot;

/// The largest bundle or component that is looked at, bytes.
pub(crate) const LARGEST: usize = 256 << 20;

/// The largest `bundle.toml`, bytes.
const MANIFEST_LIMIT: usize = 64 << 10;

const MANIFEST: &str = "bundle.toml";

/// The slots that a bundle may fill, in their order in the file.
pub(crate) const SLOTS: [Slot; 3] = [Slot::Gateway, Slot::Analyzer, Slot::Scorer];

/// What a bundle is made of.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// What the operator calls it: letters, digits, `-`, `_`, `.`; at most 64.
    pub(crate) name: String,
    /// Which of that name: as the name, and `+`.
    pub(crate) version: String,
    /// Whether embeddings before and after can be compared.
    pub(crate) embedding_space: EmbeddingSpace,
    /// The components; none for the annotator.
    pub(crate) components: BTreeMap<Slot, Vec<u8>>,
    /// The models that it needs.
    pub(crate) models: Models,
    /// The policy that goes with them.
    pub(crate) verify: Policy,
}

/// A bundle that was read and keeps all rules.
#[derive(Clone, PartialEq)]
pub(crate) struct Bundle {
    /// What it says of itself.
    pub(crate) manifest: Manifest,
    /// The components, with the digests that the manifest says.
    pub(crate) components: BTreeMap<Slot, Vec<u8>>,
    /// SHA-256 of the whole file, lower-case hexadecimal.
    pub(crate) digest: String,
}

// Components have megabytes.
impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: BTreeMap<_, _> = self.components.iter().map(|(slot, bytes)| (slot, bytes.len())).collect();
        f.debug_struct("Bundle").field("manifest", &self.manifest).field("bytes", &sizes).finish_non_exhaustive()
    }
}

/// A file is no bundle, or one that cannot be used; or parts make none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// There is too much of it.
    #[error("it has {size} bytes, and at most {LARGEST} are looked at; leave something out, or strip the components")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// Not an archive, or only the first part of one.
    #[error(
        "it is no bundle, or one that was cut off: {reason}; fetch it again, or make it anew with `visavis components bundle`"
    )]
    NotABundle {
        /// What is wrong.
        reason: String,
    },
    /// An entry of the archive that cannot be used.
    #[error("its entry {name:?} {problem}; make it anew with `visavis components bundle`")]
    Entry {
        /// The entry's name, shortened.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The manifest breaks a rule.
    #[error("{MANIFEST}: {problem}")]
    Manifest {
        /// What is wrong, with the mend.
        problem: String,
    },
}

impl Bundle {
    /// Writes a bundle; the same parts always give the same bytes.
    pub(crate) fn pack(mut parts: Parts) -> Result<Vec<u8>, BundleError> {
        let components = std::mem::take(&mut parts.components);
        if let Some(slot) = components.keys().find(|slot| !SLOTS.contains(slot)) {
            return Err(BundleError::Entry {
                name: file(*slot),
                problem: "fills a slot that no bundle fills".to_owned(),
            });
        }
        let digests = components.iter().map(|(slot, bytes)| (*slot, hex::encode(Sha256::digest(bytes)))).collect();
        let manifest = Manifest::new(parts, &digests).text().map_err(|problem| BundleError::Manifest { problem })?;
        let size = components.values().map(Vec::len).sum::<usize>();
        if size > LARGEST {
            return Err(BundleError::TooLarge { size });
        }
        let mut bytes = Vec::with_capacity(size + MANIFEST_LIMIT);
        let entries = components.iter().map(|(slot, bytes)| (file(*slot), bytes.as_slice()));
        write(manifest.as_bytes(), entries, &mut bytes).map_err(|error| BundleError::archive(&error))?;
        // Whoever packs must not learn of a mistake from those who read.
        Self::read(&bytes)?;
        Ok(bytes)
    }

    /// The slots that it concerns: those of its components, and for models and policy the scorer's, whose node follows them.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<_> = self.components.keys().copied().collect();
        if self.manifest.has_policy() && !slots.contains(&Slot::Scorer) {
            slots.push(Slot::Scorer);
        }
        slots
    }

    /// Reads a bundle and checks everything about it that can be checked without running it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > LARGEST {
            return Err(BundleError::TooLarge { size: bytes.len() });
        }
        let mut entries = entries(bytes)?;
        let refused = |name: String, problem: &str| BundleError::Entry { name, problem: problem.to_owned() };
        let Some(text) = entries.remove(MANIFEST) else {
            return Err(BundleError::NotABundle { reason: format!("it has no {MANIFEST}") });
        };
        if text.len() > MANIFEST_LIMIT {
            return Err(refused(MANIFEST.to_owned(), &format!("has more than {MANIFEST_LIMIT} bytes")));
        }
        let utf8 = std::str::from_utf8(text).map_err(|_| refused(MANIFEST.to_owned(), "is not UTF-8"))?;
        let manifest = Manifest::parse(utf8).map_err(|problem| BundleError::Manifest { problem })?;
        let mut components = BTreeMap::new();
        for slot in SLOTS {
            match (manifest.components.get(slot), entries.remove(&*file(slot))) {
                (None, None) => {}
                (Some(expected), Some(bytes)) => {
                    let found = hex::encode(Sha256::digest(bytes));
                    if found != expected {
                        let problem = format!("has SHA-256 {found}, and {MANIFEST} says {expected}");
                        return Err(refused(file(slot), &problem));
                    }
                    components.insert(slot, bytes);
                }
                (Some(_), None) => return Err(refused(file(slot), &format!("is missing, and {MANIFEST} names it"))),
                (None, Some(_)) => {
                    return Err(refused(file(slot), &format!("is there, and {MANIFEST} does not name it")));
                }
            }
        }
        if let Some(name) = entries.into_keys().next() {
            return Err(refused(name, "is none that a bundle has"));
        }
        let mut rest = Expected(bytes);
        let written = write(text, components.iter().map(|(slot, bytes)| (file(*slot), *bytes)), &mut rest);
        if written.is_err() || !rest.0.is_empty() {
            let reason = "it is not laid out as bundles are".to_owned();
            return Err(BundleError::NotABundle { reason });
        }
        let components = components.into_iter().map(|(slot, bytes)| (slot, bytes.to_vec())).collect();
        Ok(Self { manifest, components, digest: hex::encode(Sha256::digest(bytes)) })
    }
}

/// The entry of a component.
fn file(slot: Slot) -> String {
    format!("{slot}.wasm")
}

impl BundleError {
    fn archive(error: &io::Error) -> Self {
        Self::NotABundle { reason: error.to_string() }
    }
}

/// The entries of an archive as slices of it: nothing is copied, and no length that it declares is believed.
fn entries(bytes: &[u8]) -> Result<BTreeMap<String, &[u8]>, BundleError> {
    let mut found = BTreeMap::new();
    let mut archive = tar::Archive::new(bytes);
    for entry in archive.entries().map_err(|error| BundleError::archive(&error))?.raw(true) {
        let entry = entry.map_err(|error| BundleError::archive(&error))?;
        let name: String = String::from_utf8_lossy(&entry.path_bytes()).chars().take(100).collect();
        let start = usize::try_from(entry.raw_file_position()).ok();
        let size = entry.header().entry_size().ok().and_then(|size| usize::try_from(size).ok());
        let content = start.zip(size).and_then(|(start, size)| bytes.get(start..start.checked_add(size)?));
        let content = content.ok_or_else(|| BundleError::NotABundle { reason: format!("{name:?} ends too early") })?;
        if !entry.header().entry_type().is_file() {
            return Err(BundleError::Entry { name, problem: "is not an ordinary file".to_owned() });
        }
        if found.insert(name.clone(), content).is_some() {
            return Err(BundleError::Entry { name, problem: "is there twice".to_owned() });
        }
        if found.len() > 1 + SLOTS.len() {
            return Err(BundleError::Entry { name, problem: "is one more than a bundle has".to_owned() });
        }
    }
    Ok(found)
}

/// Writes the one archive that these entries can have: fixed order, owner, mode and time.
fn write<'a>(
    manifest: &'a [u8],
    components: impl Iterator<Item = (String, &'a [u8])>,
    out: impl Write,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for (name, bytes) in std::iter::once((MANIFEST.to_owned(), manifest)).chain(components) {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, bytes)?;
    }
    archive.into_inner()?;
    Ok(())
}

/// Takes only what comes next in a slice, and so compares without a second copy.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.strip_prefix(bytes).ok_or_else(|| io::Error::other("other bytes were expected"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
