//! The keys of a host that runs: who is let in, and how often.
//!
//! Owns the keys in force. The file is read again when it changes, so that a key is made, rotated or revoked without a restart.
//! Must never tell a shown key to anybody, not even to the log.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Caller;
use super::file::{FileError, Keys, Record, now};
use super::key::{self, Hash};
use super::pace::Pace;
use crate::secret::{self, Version};

/// The keys in force.
pub(crate) struct Keyring {
    path: PathBuf,
    inner: Mutex<Inner>,
}

/// Locked for moments only.
struct Inner {
    keys: HashMap<String, Arc<Record>>,
    /// Of the keys that were used and have a limit.
    paces: HashMap<String, Pace>,
    version: Version,
}

/// Why nobody is let in by what was shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// It is no key, or none of this host's, or has been revoked: a stranger is not told which.
    #[error("the API key is not one of this host's; ask its operator for another")]
    Unknown,
    /// It was one until then.
    #[error("the API key has expired; ask this host's operator for another")]
    Expired,
    /// It has asked too often.
    #[error("the API key has made as many requests as it may ({per_minute} in a minute)")]
    TooMany {
        /// The limit.
        per_minute: u32,
        /// How long it takes until one more is let in.
        retry_after: Duration,
    },
}

impl Keyring {
    /// Reads the keys.
    ///
    /// # Errors
    /// The file cannot be used. One that is not there, or is empty, is no error.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        // The version first: a change between the two is then seen as one.
        let version = Version::of(path);
        let keys = by_id(Keys::read(path)?);
        Ok(Self { path: path.to_owned(), inner: Mutex::new(Inner { keys, paces: HashMap::new(), version }) })
    }

    /// How many keys there are.
    pub(crate) fn count(&self) -> usize {
        self.inner().keys.len()
    }

    /// Finds out who asks, and counts the request. `None`: no key was shown.
    pub(crate) fn admit(&self, shown: Option<&str>) -> Result<Caller, Refusal> {
        let Some(shown) = shown else { return Ok(Caller::Stranger) };
        let id = key::id_of(shown).ok_or(Refusal::Unknown)?;
        let (hash, now) = (Hash::of(shown), now());
        let mut inner = self.inner();
        let record = inner.keys.get(id).filter(|record| record.is(&hash, now)).ok_or(Refusal::Unknown)?;
        if record.has_expired(now) {
            return Err(Refusal::Expired);
        }
        let record = Arc::clone(record);
        if let Some(per_minute) = record.per_minute {
            let at = Instant::now();
            let pace = inner.paces.entry(record.id.clone()).or_insert_with(|| Pace::new(per_minute, at));
            pace.take(per_minute, at).map_err(|retry_after| Refusal::TooMany { per_minute, retry_after })?;
        }
        Ok(Caller::Holder(record))
    }

    /// Reads the file again whenever it changes, until `shutdown` is cancelled.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        secret::follow(|| self.look(), shutdown).await;
    }

    /// Takes a change of the file over. A file that cannot be used leaves the keys as they are; one that is gone has none.
    fn look(&self) {
        let version = Version::of(&self.path);
        if version == self.inner().version {
            return;
        }
        let read = Keys::read(&self.path);
        let mut inner = self.inner();
        inner.version = version;
        match read {
            Ok(keys) => {
                inner.keys = by_id(keys);
                let Inner { keys, paces, .. } = &mut *inner;
                paces.retain(|id, _| keys.contains_key(id));
                tracing::info!(keys = keys.len(), "the API keys have changed");
            }
            Err(error) => {
                tracing::error!(%error, "the API keys have changed and cannot be read; those from before hold")
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn by_id(keys: Keys) -> HashMap<String, Arc<Record>> {
    keys.keys.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Granted, New, Scope};

    fn add(path: &Path, name: &str, per_minute: Option<u32>) -> Granted {
        let scopes = vec![Scope::Verify];
        let new = New { name: name.to_owned(), scopes, per_minute, max_waiting: None, lifetime: None };
        Keys::add(path, new, now()).unwrap()
    }

    fn holder(admitted: Result<Caller, Refusal>) -> String {
        match admitted {
            Ok(Caller::Holder(record)) => record.name.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_known_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let [web, other] = ["web", "other"].map(|name| add(&path, name, None));
        let ring = Keyring::open(&path).unwrap();
        assert_eq!(ring.count(), 2);
        assert_eq!(
            (holder(ring.admit(Some(&web.key))), holder(ring.admit(Some(&other.key)))),
            ("web".into(), "other".into())
        );
        assert!(matches!(ring.admit(None), Ok(Caller::Stranger)));
        let (own_id, others_secret) = (&web.record.id, other.key.rsplit_once('_').unwrap().1);
        let mixed = format!("visavis_{own_id}_{others_secret}");
        for shown in ["", "x", &mixed, &web.key[1..], &web.key.to_uppercase(), &format!("{} ", web.key.as_str())] {
            assert_eq!(ring.admit(Some(shown)).unwrap_err(), Refusal::Unknown, "{shown}");
        }
    }

    #[test]
    fn changes_of_the_file_hold_and_a_broken_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let ring = Keyring::open(&path).unwrap();
        assert_eq!(ring.count(), 0);
        let first = add(&path, "web", None);
        assert!(ring.admit(Some(&first.key)).is_err(), "nobody has looked yet");
        ring.look();
        assert_eq!(holder(ring.admit(Some(&first.key))), "web");
        let second = Keys::rotate(&path, "web", Duration::from_secs(3600), now()).unwrap();
        ring.look();
        assert!(ring.admit(Some(&first.key)).is_ok() && ring.admit(Some(&second.key)).is_ok());
        let third = Keys::rotate(&path, "web", Duration::ZERO, now()).unwrap();
        ring.look();
        assert!(ring.admit(Some(&second.key)).is_err() && ring.admit(Some(&third.key)).is_ok());
        std::fs::write(&path, "{").unwrap();
        ring.look();
        assert!(ring.admit(Some(&third.key)).is_ok());
        std::fs::remove_file(&path).unwrap();
        ring.look();
        assert_eq!((ring.count(), ring.admit(Some(&third.key)).unwrap_err()), (0, Refusal::Unknown));
    }

    #[test]
    fn a_key_asks_no_more_often_than_it_may_and_others_do_not_suffer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let [slow, quick] = [add(&path, "slow", Some(2)), add(&path, "quick", None)];
        let ring = Keyring::open(&path).unwrap();
        for _ in 0..2 {
            ring.admit(Some(&slow.key)).unwrap();
        }
        match ring.admit(Some(&slow.key)) {
            Err(Refusal::TooMany { per_minute: 2, retry_after }) => assert!(retry_after <= Duration::from_secs(30)),
            other => panic!("{other:?}"),
        }
        for _ in 0..100 {
            ring.admit(Some(&quick.key)).unwrap();
        }
        // Who has no key cannot use up another's requests.
        let guessed = format!("visavis_{}_{}", quick.record.id, "0".repeat(64));
        assert_eq!(ring.admit(Some(&guessed)).unwrap_err(), Refusal::Unknown);
        let late = Keys::read(&path).unwrap();
        assert!(late.keys.iter().all(|record| !record.has_expired(now())));
    }

    #[test]
    fn a_key_whose_time_is_over_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let lifetime = Some(Duration::from_secs(10));
        let new =
            New { name: "web".into(), scopes: vec![Scope::Verify], per_minute: None, max_waiting: None, lifetime };
        let old = Keys::add(&path, new, now() - 10).unwrap();
        assert_eq!(Keyring::open(&path).unwrap().admit(Some(&old.key)).unwrap_err(), Refusal::Expired);
    }
}
