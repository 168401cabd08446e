//! The keys of a host, as they are written down: one JSON document that the host reads again when it changes.
//!
//! Owns its form, and how it is changed without a reader seeing half of it. Must never hold a key.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Scope;
use super::key::{self, Hash};
use crate::secret::{self, Exposed};

/// All scopes.
pub(crate) const SCOPES: [Scope; 4] = [Scope::Verify, Scope::Status, Scope::Metrics, Scope::Admin];

/// The longest name of a key, bytes.
const LONGEST_NAME: usize = 64;

/// What is known of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// Part of the key itself, no secret, and the same after a rotation.
    pub(crate) id: String,
    /// What people call it.
    pub(crate) name: String,
    hash: Hash,
    /// The key before the last rotation, while it is still taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
    /// What it may be used for.
    pub(crate) scopes: Vec<Scope>,
    /// How many requests it may make in a minute, on each node; `None`: as many as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) per_minute: Option<u32>,
    /// How many of its tasks may wait; `None`: as many as of any client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_waiting: Option<u64>,
    /// When it was made, seconds since the epoch.
    pub(crate) created: u64,
    /// Until when it is taken, seconds since the epoch; `None`: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Previous {
    hash: Hash,
    /// Seconds since the epoch.
    until: u64,
}

/// What a key is to be.
#[derive(Clone, Debug)]
pub(crate) struct New {
    /// What people call it: 1 to 64 visible characters, like no other key's.
    pub(crate) name: String,
    /// What it may be used for.
    pub(crate) scopes: Vec<Scope>,
    /// As [`Record::per_minute`].
    pub(crate) per_minute: Option<u32>,
    /// As [`Record::max_waiting`].
    pub(crate) max_waiting: Option<u64>,
    /// For how long it is taken.
    pub(crate) lifetime: Option<Duration>,
}

/// A key as it is shown once, and what is written down of it.
#[derive(Debug)]
pub(crate) struct Granted {
    /// The key itself.
    pub(crate) key: Zeroizing<String>,
    /// What is kept.
    pub(crate) record: Record,
}

/// All keys of a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    /// In the order in which they were made.
    pub(crate) keys: Vec<Record>,
}

/// The file of the keys cannot be used, or not in this way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The operating system refused.
    #[error("key file {}: {source}; set auth.keys_file to a file that this user can use", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// Others can read it.
    #[error("key file {}: {why}; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Who.
        why: Exposed,
    },
    /// It is not what `visavis keys` writes.
    #[error("key file {}: {why}; put back a copy, or move it away and make new keys with `visavis keys add`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Somebody else changes it at the moment.
    #[error(
        "key file {}: another `visavis keys` changes it; try again, or remove {} if none runs any more",
        path.display(),
        aside.display()
    )]
    Busy {
        /// The file.
        path: PathBuf,
        /// What the other one writes.
        aside: PathBuf,
    },
    /// There is no such key.
    #[error("there is no key of the id or name {0:?}; `visavis keys list` shows them")]
    Unknown(String),
    /// A name cannot be used.
    #[error("{0:?} cannot be a key's name: {1}")]
    Name(String, &'static str),
    /// Two keys cannot be told apart.
    #[error("there is a key named {0:?} already; choose another name, or rotate that one")]
    Taken(String),
}

impl Record {
    /// Whether it may be used for this.
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether this is the hash of the key, or of the one before while that is still taken.
    pub(super) fn is(&self, shown: &Hash, now: u64) -> bool {
        // Both are compared always, so that the time tells nothing.
        let current = self.hash.is(shown);
        let before = self.previous.as_ref().is_some_and(|previous| previous.hash.is(shown) & (now < previous.until));
        current | before
    }

    /// Whether its time is over.
    pub(crate) fn has_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// For how many seconds more the key before the last rotation is taken.
    pub(crate) fn overlap(&self, now: u64) -> Option<u64> {
        self.previous.as_ref()?.until.checked_sub(now).filter(|left| *left > 0)
    }
}

impl Keys {
    /// Reads the file. One that is not there has no keys.
    pub(crate) fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Io { path: path.to_owned(), source };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        // Whoever could write here could let himself in, and whoever only reads needs no names of clients.
        secret::check(&fs::metadata(path).map_err(failed)?)
            .map_err(|why| FileError::Exposed { path: path.to_owned(), why })?;
        let malformed = |why: String| FileError::Malformed { path: path.to_owned(), why };
        let keys: Self = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        for (at, record) in keys.keys.iter().enumerate() {
            let twice = keys.keys[..at].iter().any(|other| other.id == record.id || other.name == record.name);
            if twice {
                return Err(malformed(format!(
                    "there are two keys of the id {} or the name {:?}",
                    record.id, record.name
                )));
            }
        }
        Ok(keys)
    }

    /// Makes a key.
    pub(crate) fn add(path: &Path, new: New, now: u64) -> Result<Granted, FileError> {
        check_name(&new.name)?;
        change(path, |keys| {
            if keys.keys.iter().any(|record| record.name == new.name || record.id == new.name) {
                return Err(FileError::Taken(new.name));
            }
            let failed = |source| FileError::Io { path: path.to_owned(), source };
            let id = key::new_id().map_err(failed)?;
            let key = key::generate(&id).map_err(failed)?;
            let New { name, mut scopes, per_minute, max_waiting, lifetime } = new;
            scopes.sort_unstable();
            scopes.dedup();
            let expires = lifetime.map(|lifetime| now.saturating_add(lifetime.as_secs()));
            let (hash, previous, created) = (Hash::of(&key), None, now);
            let record = Record { id, name, hash, previous, scopes, per_minute, max_waiting, created, expires };
            keys.keys.push(record.clone());
            Ok(Granted { key, record })
        })
    }

    /// Makes another key in the place of one, with the same id: what the old one handed in is the new one's. The old one is taken
    /// for so long more.
    pub(crate) fn rotate(path: &Path, which: &str, overlap: Duration, now: u64) -> Result<Granted, FileError> {
        change(path, |keys| {
            let at = keys.position(which)?;
            let record = &mut keys.keys[at];
            let key = key::generate(&record.id).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
            let until = now.saturating_add(overlap.as_secs());
            record.previous = (until > now).then_some(Previous { hash: record.hash, until });
            record.hash = Hash::of(&key);
            Ok(Granted { key, record: record.clone() })
        })
    }

    /// Removes a key, and the one before it.
    pub(crate) fn revoke(path: &Path, which: &str) -> Result<Record, FileError> {
        change(path, |keys| {
            let at = keys.position(which)?;
            Ok(keys.keys.remove(at))
        })
    }

    fn position(&self, which: &str) -> Result<usize, FileError> {
        let found = self.keys.iter().position(|record| record.id == which || record.name == which);
        found.ok_or_else(|| FileError::Unknown(which.to_owned()))
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn check_name(name: &str) -> Result<(), FileError> {
    let refuse = |why| Err(FileError::Name(name.to_owned(), why));
    match name {
        "" => refuse("it is empty"),
        _ if name.len() > LONGEST_NAME => refuse("it has more than 64 bytes"),
        _ if name.trim() != name || name.chars().any(char::is_control) => {
            refuse("it begins or ends with a blank, or has characters that cannot be seen")
        }
        _ => Ok(()),
    }
}

/// Reads the file, changes what it says and puts the new one in its place. What is written aside is the lock: it is made only
/// where there is none, before the file is read.
fn change<T>(path: &Path, change: impl FnOnce(&mut Keys) -> Result<T, FileError>) -> Result<T, FileError> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(FileError::Busy { path: path.to_owned(), aside });
        }
        opened => opened.map_err(failed)?,
    };
    let changed = Keys::read(path).and_then(|mut keys| {
        let done = change(&mut keys)?;
        // Root may change the keys of a host that runs as another user, who must still be able to read them.
        if let Ok(before) = fs::metadata(path)
            && file.metadata().is_ok_and(|new| new.uid() != before.uid())
        {
            fchown(&file, Some(before.uid()), Some(before.gid())).map_err(failed)?;
        }
        let text = serde_json::to_string_pretty(&keys).map_err(|error| failed(io::Error::other(error)))?;
        writeln!(file, "{text}")
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&aside, path))
            .map_err(failed)?;
        Ok(done)
    });
    if changed.is_err() {
        // The error is what is told; what is left over is told by the next one.
        let _ = fs::remove_file(&aside);
    }
    changed
}

#[cfg(test)]
mod tests;
