//! A folder in which operators leave components and bundles.
//!
//! Owns when a file counts as complete, and what is said of one that is refused. What is left goes the way of every deployment,
//! so this must never decide whether it may serve.
//!
//! The folder is looked at again and again: a file has to be seen twice anyway before it can be taken for complete, and who
//! changes a file on a network file system is announced to nobody.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::rollout::trust::LONGEST;
use crate::rollout::{Order, Refusal, Rollout, What};
use crate::runtime::Slot;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// A file that has not changed for so long is complete.
const SETTLED: Duration = Duration::from_secs(2);

/// More names than this are not read.
const MOST: usize = 1000;

/// Who is named in the records.
const BY: &str = "watch";

/// The folder.
#[derive(Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    limit: u64,
}

/// The folder cannot be watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// The operating system refused.
    #[error("components.watch {}: {reason}; make the folder, or leave the key out", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Its words.
        reason: io::Error,
    },
    /// Whoever can write there could bring code to this host.
    #[error(
        "components.watch {}: others than its owner can write in it; run `chmod go-w {}`, or name in \
         components.trusted_keys whose signature a file must bear", path.display(), path.display()
    )]
    Open {
        /// The folder.
        path: PathBuf,
    },
}

/// What a name in the folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Bundle,
    Component(Slot),
    /// A component that nobody can tell what to do with.
    Stray,
}

impl Way {
    fn of(name: &str) -> Option<Self> {
        // Programs that copy begin the name of what is not complete with a dot.
        let (stem, end) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty() && !stem.starts_with('.'))?;
        match (stem, end) {
            (_, "bundle") => Some(Self::Bundle),
            ("gateway", "wasm") => Some(Self::Component(Slot::Gateway)),
            ("analyzer", "wasm") => Some(Self::Component(Slot::Analyzer)),
            ("scorer", "wasm") => Some(Self::Component(Slot::Scorer)),
            (_, "wasm") => Some(Self::Stray),
            _ => None,
        }
    }

    fn what(self, bytes: Vec<u8>) -> Option<What> {
        match self {
            Self::Bundle => Some(What::Bundle(bytes)),
            Self::Component(slot) => Some(What::Component(slot, bytes)),
            Self::Stray => None,
        }
    }
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }

    /// That of an ordinary file; `None` where there is none.
    fn at(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().filter(Metadata::is_file).map(|metadata| Self::of(&metadata))
    }
}

/// A file and its signature, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps {
    file: Stamp,
    signature: Option<Stamp>,
}

impl Stamps {
    fn at(path: &Path) -> Option<Self> {
        Some(Self { file: Stamp::at(path)?, signature: Stamp::at(&signature_of(path)) })
    }
}

/// What was seen when, by name.
#[derive(Default)]
struct Sights(BTreeMap<String, Sight>);

struct Sight {
    stamps: Stamps,
    since: Instant,
    done: bool,
}

impl Sights {
    /// Notes what was found, and yields what has been complete since and nobody has dealt with yet: bundles first, since a
    /// component beside one is the exception to it.
    fn settled(&mut self, found: &BTreeMap<String, Stamps>, now: Instant) -> Vec<(String, Way, Stamps)> {
        self.0.retain(|name, _| found.contains_key(name));
        for (name, stamps) in found {
            match self.0.get(name) {
                Some(sight) if sight.stamps == *stamps => {}
                _ => _ = self.0.insert(name.clone(), Sight { stamps: *stamps, since: now, done: false }),
            }
        }
        let ready = self.0.iter().filter(|(_, sight)| !sight.done && now.duration_since(sight.since) >= SETTLED);
        let mut ready: Vec<_> =
            ready.filter_map(|(name, sight)| Some((name.clone(), Way::of(name)?, sight.stamps))).collect();
        ready.sort_by_key(|(_, way, _)| *way != Way::Bundle);
        ready
    }

    /// A file was dealt with; it is let alone until it changes.
    fn done(&mut self, name: &str) {
        if let Some(sight) = self.0.get_mut(name) {
            sight.done = true;
        }
    }
}

impl Folder {
    /// The folder at `path`, of which files of at most `limit` bytes are read. When signatures are asked for, it does not
    /// matter who can write there.
    ///
    /// # Errors
    /// It cannot be read, or others can write in it.
    pub(crate) fn open(path: &Path, limit: u64, signed: bool) -> Result<Self, FolderError> {
        let failed = |reason| FolderError::Io { path: path.to_owned(), reason };
        fs::read_dir(path).map_err(failed)?;
        if !signed && fs::metadata(path).map_err(failed)?.mode() & 0o022 != 0 {
            return Err(FolderError::Open { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), limit })
    }

    /// Deploys what is left there, until `shutdown` is cancelled.
    pub(crate) async fn watch(self, rollout: Arc<Rollout>, shutdown: CancellationToken) {
        tracing::info!(path = %self.path.display(), "components and bundles that are left in this folder are deployed");
        let (mut sights, mut failed) = (Sights::default(), false);
        while shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
            let folder = self.clone();
            let found = match tokio::task::spawn_blocking(move || folder.look()).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    if !failed {
                        tracing::warn!(path = %self.path.display(), %error, "the watched folder cannot be read");
                    }
                    failed = true;
                    continue;
                }
                Err(_) => continue,
            };
            failed = false;
            for (name, way, stamps) in sights.settled(&found, Instant::now()) {
                let present = |name: &str| found.contains_key(name);
                match shutdown.run_until_cancelled(self.take(&rollout, &name, way, stamps, present)).await {
                    Some(true) => sights.done(&name),
                    Some(false) => {}
                    None => return,
                }
            }
        }
    }

    /// The files there that may be meant.
    fn look(&self) -> io::Result<BTreeMap<String, Stamps>> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(&self.path)?.take(MOST) {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && Way::of(&name).is_some()
                && let Some(stamps) = Stamps::at(&entry.path())
            {
                found.insert(name, stamps);
            }
        }
        Ok(found)
    }

    /// Deals with a file that is complete. False: not yet.
    async fn take(
        &self,
        rollout: &Arc<Rollout>,
        name: &str,
        way: Way,
        stamps: Stamps,
        present: impl Fn(&str) -> bool,
    ) -> bool {
        if way == Way::Stray {
            tracing::warn!(
                name,
                "a file in the watched folder is ignored; call it gateway.wasm, analyzer.wasm or scorer.wasm"
            );
            return true;
        }
        // Reading it is in vain until the trial has ended.
        if rollout.is_trying() {
            return false;
        }
        let (path, limit) = (self.path.join(name), self.limit);
        let read = tokio::task::spawn_blocking(move || read(&path, limit, stamps)).await;
        let (bytes, signature) = match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(Some(content)) => content,
            Ok(None) => return false,
            Err(why) => {
                refused(name, &why);
                return true;
            }
        };
        if rollout.has_taken(name, &bytes) {
            return true;
        }
        let Some(what) = way.what(bytes.clone()) else { return true };
        if !rollout.runs(&what) {
            let order = Order { what, signature, canary: None, expected_changes: Vec::new(), by: BY.to_owned() };
            match rollout.deploy(order).await {
                Ok(report) => {
                    let serving: Vec<_> = report.generations.keys().map(ToString::to_string).collect();
                    tracing::info!(name, slots = serving.join(", "), "a file in the watched folder was deployed");
                }
                Err(Refusal::UnderTrial) => return false,
                Err(why @ (Refusal::NotHere { .. } | Refusal::NothingHere)) => {
                    tracing::warn!(name, %why, "a file in the watched folder is not for this node");
                    return true;
                }
                Err(why) => {
                    refused(name, &why.to_string());
                    return true;
                }
            }
        }
        rollout.note_taken(name, &bytes, present);
        true
    }
}

fn refused(name: &str, why: &str) {
    tracing::error!(
        target: "visavis::audit", name, by = BY, why,
        "a file in the watched folder was refused, and what served serves on"
    );
}

/// A file's bytes, and the text of its signature.
type Content = (Vec<u8>, Option<String>);

/// Reads a file and its signature; `None` when they are not what was seen any more.
fn read(path: &Path, limit: u64, seen: Stamps) -> Result<Option<Content>, String> {
    let too_large =
        || format!("it has more than {limit} bytes; raise server.admin_body_limit if it is meant, as for a deployment");
    if seen.file.length > limit {
        return Err(too_large());
    }
    let bytes = read_at_most(path, limit).map_err(|error| error.to_string())?;
    // More than its signature may have is refused where signatures are looked at.
    let signature = seen.signature.map(|_| read_at_most(&signature_of(path), LONGEST)).transpose();
    let signature = signature.map_err(|error| format!("its signature: {error}"))?;
    if Stamps::at(path) != Some(seen) {
        return Ok(None);
    }
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(Some((bytes, signature.map(|text| String::from_utf8_lossy(&text).into_owned()))))
}

/// One byte more shows that there are more.
fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where `visavis components sign` puts it.
fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn stamps(length: u64, signature: Option<u64>) -> Stamps {
        let stamp = |length| Stamp { file: (1, 2), length, modified: (3, 4) };
        Stamps { file: stamp(length), signature: signature.map(stamp) }
    }

    fn found(files: &[(&str, Stamps)]) -> BTreeMap<String, Stamps> {
        files.iter().map(|(name, stamps)| ((*name).to_owned(), *stamps)).collect()
    }

    #[test]
    fn a_file_is_complete_when_it_has_not_changed_for_a_while_and_is_taken_once() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        let mut look = |after: Duration, files: &[(&str, Stamps)]| {
            let ready = sights.settled(&found(files), start + after);
            ready.iter().for_each(|(name, ..)| sights.done(name));
            ready.into_iter().map(|(name, ..)| name).collect::<Vec<_>>()
        };
        let (half, whole) = (("scorer.wasm", stamps(5, None)), ("scorer.wasm", stamps(9, None)));
        assert!(look(Duration::ZERO, &[half]).is_empty());
        assert!(look(SETTLED / 2, &[whole]).is_empty());
        assert!(look(SETTLED, &[whole]).is_empty(), "it has changed since");
        assert_eq!(look(SETTLED * 2, &[whole]), ["scorer.wasm"]);
        assert!(look(SETTLED * 9, &[whole]).is_empty(), "not twice");
        // A signature that comes later is a change, and so is a file that went and came.
        let signed = ("scorer.wasm", stamps(9, Some(7)));
        assert!(look(SETTLED * 10, &[signed]).is_empty());
        assert_eq!(look(SETTLED * 11, &[signed]), ["scorer.wasm"]);
        assert!(look(SETTLED * 12, &[]).is_empty());
        let both = [signed, ("z.bundle", stamps(1, None))];
        assert!(look(SETTLED * 13, &both).is_empty());
        assert_eq!(look(SETTLED * 14, &both), ["z.bundle", "scorer.wasm"]);
    }

    #[test]
    fn names_say_what_files_are() {
        for (name, way) in [
            ("scorer.wasm", Some(Way::Component(Slot::Scorer))),
            ("faces-2.0.bundle", Some(Way::Bundle)),
            ("my-scorer.wasm", Some(Way::Stray)),
            ("annotator.wasm", Some(Way::Stray)),
            ("scorer.wasm.minisig", None),
            (".scorer.wasm.Xy12", None),
            (".faces.bundle", None),
            (".bundle", None),
            ("scorer.wasm.part", None),
            ("README", None),
        ] {
            assert_eq!(Way::of(name), way, "{name}");
        }
    }

    #[test]
    fn files_are_read_within_bounds_and_only_as_they_were_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scorer.wasm");
        fs::write(&path, b"12345").unwrap();
        let seen = Stamps::at(&path).unwrap();
        assert_eq!(read(&path, 5, seen), Ok(Some((b"12345".to_vec(), None))));
        assert!(read(&path, 4, seen).unwrap_err().contains("server.admin_body_limit"));
        fs::write(signature_of(&path), b"signed").unwrap();
        assert_eq!(read(&path, 5, seen), Ok(None));
        let seen = Stamps::at(&path).unwrap();
        assert_eq!(read(&path, 5, seen), Ok(Some((b"12345".to_vec(), Some("signed".to_owned())))));
    }

    #[test]
    fn a_folder_that_is_not_there_or_open_to_others_is_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let error = Folder::open(&folder.path().join("none"), 1, true).err().unwrap().to_string();
        assert!(error.contains("none") && error.contains("make the folder"), "{error}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Folder::open(folder.path(), 1, false).err().unwrap().to_string();
        assert!(error.contains("chmod go-w") && error.contains("components.trusted_keys"), "{error}");
        assert!(Folder::open(folder.path(), 1, true).is_ok());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Folder::open(folder.path(), 1, false).is_ok());
    }
}
