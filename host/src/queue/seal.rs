//! Encryption of payloads at rest.
//!
//! Owns everything derived from the key file: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) over each payload with a random
//! nonce and the task's id as associated data, and the keyed BLAKE3 hashes that stand for idempotency keys, clients and owners.
//! While keys change there are several: the newest seals, and all open. Must never know what a payload holds or where it is stored.
//!
//! # Layout
//!
//! - `file`: the key file.
//! - `cipher`: one message's encryption.

mod cipher;
mod file;

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use self::cipher::{Cipher, KEY, NONCE, TAG};
pub(crate) use self::file::KeyError;
use crate::task::TaskId;

/// How many bytes sealing adds: tag, nonce, version.
pub(super) const OVERHEAD: usize = TAG + NONCE + 1;

const VERSION: u8 = 1;

/// The payload was sealed with another key, for another task, or was changed since.
#[derive(Debug, thiserror::Error)]
pub(super) enum SealError {
    /// Too short or of a version that this program does not know.
    #[error("the payload is not sealed in a way that this version of visavis knows")]
    Unknown,
    /// The tag does not fit.
    #[error("the payload was sealed with another key or was changed since; put the right key file back")]
    Broken,
}

/// Tells one key from another without telling anything of it.
pub(super) type Fingerprint = [u8; 16];

/// What stands in the storage for an idempotency key and for what came with it, both hashed with one of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) key: [u8; 32],
    pub(super) payload: [u8; 32],
}

/// The keys of one queue.
pub(super) struct Keys {
    newest: Key,
    older: Vec<Key>,
}

impl Keys {
    /// Reads the key file, or makes one with fresh random bytes and mode 0600 where there is none.
    pub(super) fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        file::load_or_create(path).map(|secrets| Self::derive(&secrets))
    }

    /// Reads the key file; `None` where there is none and [`Keys::load_or_create`] could make one.
    pub(super) fn find(path: &Path) -> Result<Option<Self>, KeyError> {
        Ok(file::find(path)?.map(|secrets| Self::derive(&secrets)))
    }

    /// A key that lives as long as this process, for a queue that is nowhere written down.
    pub(super) fn ephemeral() -> io::Result<Self> {
        Ok(Self::derive(&[file::random()?]))
    }

    fn derive(secrets: &[file::Secret]) -> Self {
        let (newest, older) = secrets.split_first().expect("a key file without a key is refused");
        Self { newest: Key::derive(newest), older: older.iter().map(|secret| Key::derive(secret)).collect() }
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(&self.older)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        1 + self.older.len()
    }

    /// Tells who has the same newest key that it has written these words to all nodes.
    pub(super) fn mac(&self, words: &[u8]) -> blake3::Hash {
        self.newest.mac(words)
    }

    /// Whether one who has one of these keys has written these words to all nodes. Compares in constant time.
    pub(super) fn is_mac(&self, words: &[u8], mac: blake3::Hash) -> bool {
        self.all().any(|key| key.mac(words) == mac)
    }

    /// Seals a payload in place: cipher text, tag, nonce, version.
    pub(super) fn seal(&self, id: TaskId, payload: &mut Vec<u8>) {
        self.newest.seal(Kind::Payload, id, payload);
    }

    /// Undoes [`Keys::seal`] in place. On an error the buffer holds nothing of use.
    pub(super) fn open(&self, id: TaskId, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        self.open_as(Kind::Payload, id, sealed)
    }

    /// Seals the address that a task's end is told to.
    pub(super) fn seal_callback(&self, id: TaskId, url: String) -> Vec<u8> {
        let mut bytes = url.into_bytes();
        self.newest.seal(Kind::Callback, id, &mut bytes);
        bytes
    }

    /// Undoes [`Keys::seal_callback`].
    pub(super) fn open_callback(&self, id: TaskId, mut sealed: Vec<u8>) -> Result<String, SealError> {
        self.open_as(Kind::Callback, id, &mut sealed)?;
        String::from_utf8(sealed).map_err(|_| SealError::Unknown)
    }

    fn open_as(&self, kind: Kind, id: TaskId, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        let (last, before) = match self.older.split_last() {
            None => (&self.newest, Vec::new()),
            Some((last, older)) => (last, std::iter::once(&self.newest).chain(older).collect()),
        };
        for key in before {
            // What does not open is destroyed.
            let mut copy = sealed.clone();
            if key.open(kind, id, &mut copy).is_ok() {
                *sealed = copy;
                return Ok(());
            }
        }
        last.open(kind, id, sealed)
    }

    /// What stands in the storage for a client's idempotency key and for what came with it: the encoded payload, and the address
    /// that its end is told to. Another for each owner, so that none learns of another's. The first is what is to be written; a task of before the last change of keys is known by another.
    pub(super) fn stand(
        &self,
        idempotency_key: &str,
        owner: Option<&str>,
        payload: &[u8],
        callback: Option<&str>,
    ) -> Vec<Stand> {
        let stand = |key: &Key| Stand {
            key: key.hash_idempotency_key(idempotency_key, owner),
            payload: key.digest(payload, callback),
        };
        self.all().map(stand).collect()
    }

    /// What stands for a client in the storage. A change of keys forgets how many tasks of a client wait.
    pub(super) fn hash_client(&self, client: &str) -> [u8; 16] {
        self.newest.hash_client(client)
    }

    /// What stands for an owner in the storage.
    pub(super) fn hash_owner(&self, owner: &str) -> [u8; 16] {
        self.newest.hash_owner(owner)
    }

    /// Whether this stands for the owner in the storage, also since before the last change of keys.
    pub(super) fn is_owner(&self, owner: &str, hash: &[u8; 16]) -> bool {
        self.all().any(|key| key.hash_owner(owner) == *hash)
    }

    /// Tells the keys from others, the newest first.
    pub(super) fn fingerprints(&self) -> Vec<Fingerprint> {
        self.all().map(|key| key.fingerprint).collect()
    }
}

/// The secrets that follow from one key, each for one use. Wiped from memory when dropped.
struct Key {
    cipher: Cipher,
    idempotency: Zeroizing<[u8; KEY]>,
    digest: Zeroizing<[u8; KEY]>,
    notice: Zeroizing<[u8; KEY]>,
    client: Zeroizing<[u8; KEY]>,
    owner: Zeroizing<[u8; KEY]>,
    fingerprint: Fingerprint,
}

impl Key {
    fn derive(secret: &[u8; KEY]) -> Self {
        let cipher = blake3::derive_key("visavis queue v1: sealing of payloads", secret);
        let print = blake3::derive_key("visavis queue v1: fingerprint of the key file", secret);
        Self {
            cipher: Cipher::new(cipher.into()),
            idempotency: blake3::derive_key("visavis queue v1: hashing of idempotency keys", secret).into(),
            digest: blake3::derive_key("visavis queue v1: digests of payloads", secret).into(),
            notice: blake3::derive_key("visavis queue v1: notices to all nodes", secret).into(),
            client: blake3::derive_key("visavis queue v1: hashing of clients", secret).into(),
            owner: blake3::derive_key("visavis queue v1: hashing of owners", secret).into(),
            fingerprint: *print.first_chunk().expect("32 bytes hold 16"),
        }
    }

    fn mac(&self, words: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.notice, words)
    }

    fn seal(&self, kind: Kind, id: TaskId, payload: &mut Vec<u8>) {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the operating system has random bytes");
        payload.reserve(OVERHEAD);
        self.cipher.encrypt(&nonce, &associated(kind, id), payload);
        payload.extend_from_slice(&nonce);
        payload.push(VERSION);
    }

    fn open(&self, kind: Kind, id: TaskId, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        if sealed.len() < OVERHEAD || sealed.pop() != Some(VERSION) {
            return Err(SealError::Unknown);
        }
        let nonce = *sealed.last_chunk::<NONCE>().ok_or(SealError::Unknown)?;
        sealed.truncate(sealed.len() - NONCE);
        self.cipher.decrypt(&nonce, &associated(kind, id), sealed).map_err(|_| SealError::Broken)
    }

    /// What stands for a client's idempotency key in the storage: another for each owner, so that none learns of another's.
    fn hash_idempotency_key(&self, key: &str, owner: Option<&str>) -> [u8; 32] {
        match owner {
            None => blake3::keyed_hash(&self.idempotency, key.as_bytes()).into(),
            Some(owner) => {
                let of_owner = blake3::keyed_hash(&self.owner, owner.as_bytes());
                let hash = blake3::Hasher::new_keyed(&self.idempotency).update(of_owner.as_bytes()).finalize();
                blake3::keyed_hash(hash.as_bytes(), key.as_bytes()).into()
            }
        }
    }

    fn digest(&self, payload: &[u8], callback: Option<&str>) -> [u8; 32] {
        let digest = blake3::keyed_hash(&self.digest, payload);
        match callback {
            None => digest.into(),
            Some(url) => blake3::Hasher::new_keyed(digest.as_bytes()).update(url.as_bytes()).finalize().into(),
        }
    }

    fn hash_client(&self, client: &str) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.client, client.as_bytes());
        *hash.as_bytes().first_chunk().expect("32 bytes hold 16")
    }

    fn hash_owner(&self, owner: &str) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.owner, owner.as_bytes());
        *hash.as_bytes().first_chunk().expect("32 bytes hold 16")
    }
}

/// What is sealed: neither opens as the other.
#[derive(Clone, Copy)]
enum Kind {
    Payload = VERSION as isize,
    Callback = 0x80 | VERSION as isize,
}

fn associated(kind: Kind, id: TaskId) -> [u8; 17] {
    let mut data = [kind as u8; 17];
    data[1..].copy_from_slice(&id.0);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of so many files that have followed each other, in one file: the newest first.
    fn keys<const COUNT: usize>() -> ([file::Secret; COUNT], Keys) {
        let secrets = std::array::from_fn(|_| file::random().unwrap());
        let keys = Keys::derive(&secrets);
        (secrets, keys)
    }

    fn key() -> Keys {
        Keys::ephemeral().unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again_and_hides_what_it_holds() {
        let (key, id) = (key(), TaskId::random());
        for size in [0, 1, 1000, 100_000] {
            let plain = vec![b'p'; size];
            let mut bytes = plain.clone();
            key.seal(id, &mut bytes);
            assert_eq!(bytes.len(), size + OVERHEAD);
            assert!(!bytes.windows(16).any(|w| w == [b'p'; 16]));
            key.open(id, &mut bytes).unwrap();
            assert_eq!(bytes, plain);
        }
    }

    #[test]
    fn an_address_opens_as_nothing_else_and_nothing_else_as_an_address() {
        let (key, id) = (key(), TaskId::random());
        let url = "https://hooks.example.org/";
        let sealed = key.seal_callback(id, url.to_owned());
        assert_eq!(key.open_callback(id, sealed.clone()).unwrap(), url);
        assert!(key.open_callback(TaskId::random(), sealed.clone()).is_err());
        assert!(key.open(id, &mut sealed.clone()).is_err());
        let mut payload = url.as_bytes().to_vec();
        key.seal(id, &mut payload);
        assert!(key.open_callback(id, payload).is_err());
        let digests = [None, Some(""), Some(url)].map(|callback| key.newest.digest(b"payload", callback));
        assert!(digests[0] != digests[1] && digests[1] != digests[2] && digests[0] != digests[2]);
    }

    #[test]
    fn the_same_payload_is_never_sealed_the_same_way() {
        let (key, id) = (key(), TaskId::random());
        let (mut a, mut b) = (vec![1; 50], vec![1; 50]);
        key.seal(id, &mut a);
        key.seal(id, &mut b);
        assert_ne!(a, b);
    }

    #[test]
    fn another_key_another_task_and_every_changed_byte_are_refused() {
        let ((_, several), id) = (keys::<3>(), TaskId::random());
        for key in [key(), several] {
            let mut sealed = b"two photographs".to_vec();
            key.seal(id, &mut sealed);
            assert!(matches!(self::key().open(id, &mut sealed.clone()), Err(SealError::Broken)));
            assert!(matches!(key.open(TaskId::random(), &mut sealed.clone()), Err(SealError::Broken)));
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(key.open(id, &mut changed).is_err(), "byte {at}");
            }
            for length in 0..sealed.len() {
                assert!(key.open(id, &mut sealed[..length].to_vec()).is_err(), "length {length}");
            }
        }
    }

    #[test]
    fn the_newest_key_seals_and_all_open() {
        let ([newest, middle, oldest], all) = keys::<3>();
        let alone = |secret: &file::Secret| Keys::derive(std::slice::from_ref(secret));
        let id = TaskId::random();
        for secret in [&newest, &middle, &oldest] {
            let (mut bytes, one) = (b"two photographs".to_vec(), alone(secret));
            one.seal(id, &mut bytes);
            all.open(id, &mut bytes).unwrap();
            assert_eq!(bytes, b"two photographs");
            let address = one.seal_callback(id, "https://hooks.example.org/".to_owned());
            assert_eq!(all.open_callback(id, address).unwrap(), "https://hooks.example.org/");
            assert!(all.is_mac(b"deploy", one.mac(b"deploy")) && !all.is_mac(b"deploy", one.mac(b"delete")));
            assert!(all.fingerprints().contains(&one.fingerprints()[0]));
            let [stand] = one.stand("order 4711", None, b"payload", None)[..] else { panic!("one key, one stand") };
            assert!(all.stand("order 4711", None, b"payload", None).contains(&stand));
            assert!(all.is_owner("one", &one.hash_owner("one")) && !all.is_owner("two", &one.hash_owner("one")));
        }
        let mut sealed = b"two photographs".to_vec();
        all.seal(id, &mut sealed);
        assert!(alone(&middle).open(id, &mut sealed.clone()).is_err());
        alone(&newest).open(id, &mut sealed).unwrap();
        assert_eq!(all.mac(b"deploy"), alone(&newest).mac(b"deploy"));
        assert_eq!(all.stand("x", None, b"y", None)[0], alone(&newest).stand("x", None, b"y", None)[0]);
        assert_eq!((all.count(), all.fingerprints()[0]), (3, alone(&newest).fingerprints()[0]));
    }

    #[test]
    fn hashes_depend_on_the_key_and_on_their_use() {
        let (a, b) = (Key::derive(&[1; KEY]), Key::derive(&[2; KEY]));
        assert_eq!(a.hash_idempotency_key("x", None), a.hash_idempotency_key("x", None));
        assert_ne!(a.hash_idempotency_key("x", None), b.hash_idempotency_key("x", None));
        assert_ne!(a.hash_idempotency_key("x", None), a.digest(b"x", None));
        let owners = [None, Some(""), Some("one"), Some("two")].map(|owner| a.hash_idempotency_key("x", owner));
        let different: std::collections::BTreeSet<_> = owners.into_iter().collect();
        assert_eq!(different.len(), owners.len());
        assert_ne!(a.hash_owner("x"), a.hash_client("x"));
        assert_eq!(a.hash_client("x"), a.hash_client("x"));
        assert_ne!(a.hash_client("x"), b.hash_client("x"));
        assert_ne!(a.hash_client("x")[..], a.digest(b"x", None)[..16]);
    }
}
