//! What was deployed to this node, kept on disk: a node that starts again runs what it ran.
//!
//! Owns the folder `components.store`. A package is trusted no more for lying there: it is checked and compiled like one that
//! has just been sent. Must never know what a package does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bundle::Bundle;
use super::fleet::Told;
use super::parts::Record;
use super::trust::Trust;
use crate::runtime::{Slot, Source};

const INDEX: &str = "active.json";
const FORMAT: u32 = 1;

/// The folder.
pub(super) struct Store {
    folder: PathBuf,
}

/// What a node ran when this was written.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Active {
    pub(super) format: u32,
    /// The newest generation of each slot, also of those that were refused.
    pub(super) generations: BTreeMap<Slot, u32>,
    /// The newest deployment.
    pub(super) deployments: u64,
    /// What serves, where it is not what is configured.
    pub(super) slots: BTreeMap<Slot, Record>,
    /// The bundle whose policy holds, where it is not what is configured, and the deployment that brought it.
    pub(super) policy: Option<(String, u64)>,
    /// What this node was told last as one of all.
    #[serde(default)]
    pub(super) told: BTreeMap<Slot, Told>,
    /// SHA-256 of what was taken last from each file of the watched folder, by its name.
    #[serde(default)]
    pub(super) taken: BTreeMap<String, String>,
}

/// The folder cannot be used, or holds what cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; mend it, or remove {index} to start with the configured components", index = self.index.display(), path = self.path.display())]
pub(crate) struct StoreError {
    path: PathBuf,
    index: PathBuf,
    reason: String,
}

impl Default for Active {
    fn default() -> Self {
        Self {
            format: FORMAT,
            generations: BTreeMap::new(),
            deployments: 0,
            slots: BTreeMap::new(),
            policy: None,
            told: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }
}

impl Store {
    /// A store in `folder`, which is made with the first deployment.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// What was active when the last process ended.
    pub(super) fn load(&self) -> Result<Active, StoreError> {
        let path = self.folder.join(INDEX);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Active::default()),
            Err(error) => return Err(self.error(&path, error)),
        };
        let active: Active = serde_json::from_slice(&text).map_err(|error| self.error(&path, error))?;
        if active.format != FORMAT {
            return Err(self.error(&path, format!("its format {} is not known here", active.format)));
        }
        Ok(active)
    }

    /// What a slot starts with: what it ran when the last process ended, else the component at `path`.
    pub(super) fn source(
        &self,
        active: &Active,
        trust: &Trust,
        slot: Slot,
        path: &Path,
    ) -> anyhow::Result<(Source, Record)> {
        let Some((record, package)) = active.slots.get(&slot).and_then(|it| Some((it, it.package.as_ref()?))) else {
            let source = Source::read(slot, path)?;
            // The number that it had when this node first started; a later file of the same name counts as the same.
            let record = Record::new(&source, 1, 0, source.origin.clone());
            return Ok((source, record));
        };
        let mut bytes = self.read(package, trust)?;
        if record.bundle.is_some() {
            let components = Bundle::read(&bytes).map(|bundle| bundle.components);
            let component = components.map_err(|error| self.error(&self.path(package), error))?.remove(&slot);
            bytes = component.ok_or_else(|| self.error(&self.path(package), format!("it has no {slot}")))?;
        }
        let source = Source::new(bytes, format!("what was deployed as generation {}", record.generation.generation));
        tracing::info!(
            %slot, generation = record.generation.generation, digest = source.digest,
            "what was deployed serves, not the configured file; `visavis components reset {slot}` returns to that"
        );
        Ok((source, record.clone()))
    }

    /// A package's bytes, which are those that the digest names, and which somebody trusted has signed where that is asked for.
    pub(super) fn read(&self, digest: &str, trust: &Trust) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|error| self.error(&path, error))?;
        if hex::encode(Sha256::digest(&bytes)) != digest {
            return Err(self.error(&path, "its content is not what its name says"));
        }
        let signature = path.with_extension("minisig");
        let signature = match fs::read_to_string(&signature) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.error(&signature, error)),
        };
        trust.check(&bytes, signature.as_deref()).map_err(|error| self.error(&path, error))?;
        Ok(bytes)
    }

    /// Says that a package, which was usable once, is not.
    pub(super) fn unusable(&self, digest: &str, reason: impl Into<Box<dyn std::error::Error>>) -> StoreError {
        self.error(&self.path(digest), reason)
    }

    /// Writes a package. It counts once [`Store::save`] names it.
    pub(super) fn add(&self, digest: &str, bytes: &[u8], signature: Option<&str>) -> Result<(), StoreError> {
        let path = self.path(digest);
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            if let Some(signature) = signature {
                self.replace(&path.with_extension("minisig"), signature.as_bytes())?;
            }
            // What lies there already is whole, and need not be waited for again.
            if fs::read(&path).is_ok_and(|there| there == bytes) { Ok(()) } else { self.replace(&path, bytes) }
        };
        write().map_err(|error| self.error(&path, error))
    }

    /// Notes what is active now, in one step, and removes the packages that neither are, nor are among the digests that
    /// might be soon.
    pub(super) fn save(&self, active: &Active, soon: &BTreeSet<String>) -> Result<(), StoreError> {
        let path = self.folder.join(INDEX);
        let write = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            self.replace(&path, &serde_json::to_vec_pretty(active)?)
        };
        write().map_err(|error| self.error(&path, error))?;
        let packages = active.slots.values().filter_map(|record| record.package.as_deref());
        let packages = packages.chain(active.policy.iter().map(|(package, _)| package.as_str()));
        let kept: BTreeSet<_> = packages.chain(soon.iter().map(String::as_str)).collect();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_package = |name: &str| name.len() > 64 && name.is_char_boundary(64) && !kept.contains(&name[..64]);
            if name.to_str().is_some_and(is_package) {
                // What is left over does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.package"))
    }

    /// Writes a file so that it is there in whole or not at all, whatever happens.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn error(&self, path: &Path, reason: impl Into<Box<dyn std::error::Error>>) -> StoreError {
        StoreError { path: path.to_owned(), index: self.folder.join(INDEX), reason: reason.into().to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Generation;

    fn package(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    fn nobody() -> Trust {
        Trust::load(&[]).unwrap()
    }

    fn active(package: &str) -> Active {
        let record = Record {
            generation: Generation { digest: package.to_owned(), generation: 4 },
            size: 3,
            signer: None,
            since: 1_800_000_000,
            origin: "a test".to_owned(),
            bundle: None,
            deployment: 2,
            package: Some(package.to_owned()),
        };
        Active { deployments: 2, slots: [(Slot::Scorer, record)].into(), ..Active::default() }
    }

    #[test]
    fn what_was_active_is_found_again_and_the_rest_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("store"));
        assert!(store.load().unwrap().slots.is_empty(), "a new node has only what is configured");
        for (bytes, signature) in [(&b"one"[..], Some("signed")), (b"two", None)] {
            store.add(&package(bytes), bytes, signature).unwrap();
            store.save(&active(&package(bytes)), &BTreeSet::new()).unwrap();
        }
        let again = store.load().unwrap();
        assert_eq!(again.slots[&Slot::Scorer], active(&package(b"two")).slots[&Slot::Scorer]);
        assert_eq!(store.read(&package(b"two"), &nobody()).unwrap(), b"two");
        assert!(store.read(&package(b"one"), &nobody()).is_err(), "it was replaced");
        assert_eq!(fs::read_dir(&store.folder).unwrap().count(), 2, "the index and one package");
    }

    #[test]
    fn damage_is_told_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let one = package(b"one");
        store.add(&one, b"one", Some("signed")).unwrap();
        assert_eq!(store.read(&one, &nobody()).unwrap(), b"one");
        let key = "RWQMNUcEAMpKNSxiyoH+7iun/mDvhocVY+7dU5Cs2647GoN4em0fX2/x".to_owned();
        let error = store.read(&one, &Trust::load(&[key]).unwrap()).unwrap_err().to_string();
        assert!(error.contains("signature") && error.contains(INDEX), "trust is asked for again: {error}");
        fs::write(store.path(&one), b"eno").unwrap();
        let error = store.read(&one, &nobody()).unwrap_err().to_string();
        assert!(error.contains(&one) && error.contains("remove") && error.contains(INDEX), "{error}");
        for text in ["{", r#"{"format":9,"generations":{},"deployments":0,"slots":{},"policy":null}"#] {
            fs::write(folder.path().join(INDEX), text).unwrap();
            assert!(store.load().unwrap_err().to_string().contains(INDEX), "{text}");
        }
    }
}
