//! Encryption of payloads at rest.
//!
//! Owns the key file and everything derived from it: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) over each payload with
//! a random nonce and the task's id as associated data, and the keyed BLAKE3 hashes that stand for idempotency keys, clients and owners.
//! Must never know what a payload holds or where it is stored.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use self::cipher::{Cipher, KEY, NONCE, TAG};
use super::private;
use crate::secret::{self, Exposed};
use crate::task::TaskId;

mod cipher;

/// How many bytes sealing adds: tag, nonce, version.
pub(super) const OVERHEAD: usize = TAG + NONCE + 1;

const VERSION: u8 = 1;
/// More than any accepted key file has, so that a wrong file is seen without being read in full.
const READ_LIMIT: u64 = 256;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file cannot be read or made.
    #[error("key file {}: {source}; make the folder writable or set queue.encryption_key_file elsewhere", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// Others than its owner may read the file.
    #[error("key file {}: {why}; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
        /// Who.
        why: Exposed,
    },
    /// The file holds something else than a key.
    #[error(
        "key file {}: it must hold 32 bytes, raw or as 64 hexadecimal digits, and holds {found}; put the right key back, \
         or remove the file to have a new one made (tasks that wait can then no longer be read)",
        path.display()
    )]
    Length {
        /// The key file.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
}

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

/// The secrets of one queue, each derived from the key file for one use. Wiped from memory when dropped.
pub(super) struct Key {
    cipher: Cipher,
    idempotency: Zeroizing<[u8; KEY]>,
    digest: Zeroizing<[u8; KEY]>,
    notice: Zeroizing<[u8; KEY]>,
    client: Zeroizing<[u8; KEY]>,
    owner: Zeroizing<[u8; KEY]>,
    fingerprint: [u8; 16],
}

impl Key {
    /// Reads the key file, or makes one with fresh random bytes and mode 0600 where there is none.
    pub(super) fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => Self::load(path, file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                private::make_folder_of(path).map_err(io)?;
                match private::create_new(path) {
                    Ok(file) => Self::create(path, file),
                    // Another process was faster; its key is as good.
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                        Self::load(path, File::open(path).map_err(io)?)
                    }
                    Err(e) => Err(io(e)),
                }
            }
            Err(e) => Err(io(e)),
        }
    }

    /// Reads the key file; `None` where there is none and [`Key::load_or_create`] could make one.
    pub(super) fn find(path: &Path) -> Result<Option<Self>, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        match File::open(path) {
            Ok(file) => Self::load(path, file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => private::could_create(path).map_err(io).map(|()| None),
            Err(e) => Err(io(e)),
        }
    }

    /// A key that lives as long as this process, for a queue that is nowhere written down.
    pub(super) fn ephemeral() -> io::Result<Self> {
        let mut secret = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *secret).map_err(io::Error::other)?;
        Ok(Self::derive(&secret))
    }

    fn create(path: &Path, mut file: File) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut secret = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *secret).map_err(|e| io(io::Error::other(e)))?;
        let mut text = Zeroizing::new([0; 2 * KEY + 1]);
        text[2 * KEY] = b'\n';
        hex::encode_to_slice(&secret[..], &mut text[..2 * KEY]).expect("the buffer has room for two digits a byte");
        file.write_all(&*text).and_then(|()| file.sync_all()).map_err(io)?;
        private::sync_folder_of(path).map_err(io)?;
        tracing::info!(path = %path.display(), "made a key file for the photographs in the queue; keep it secret");
        Ok(Self::derive(&secret))
    }

    fn load(path: &Path, file: File) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let metadata = file.metadata().map_err(io)?;
        secret::check(&metadata).map_err(|why| KeyError::Exposed { path: path.to_owned(), why })?;
        // Reserved in full, so that no copy of the key is left behind by a growing buffer.
        let mut bytes = Zeroizing::new(Vec::with_capacity(READ_LIMIT as usize));
        file.take(READ_LIMIT).read_to_end(&mut bytes).map_err(io)?;
        let mut secret = Zeroizing::new([0; KEY]);
        if bytes.len() == KEY {
            secret.copy_from_slice(&bytes);
        } else {
            let digits = bytes.trim_ascii();
            hex::decode_to_slice(digits, &mut *secret).map_err(|_| {
                let found = match bytes.len() {
                    n if n as u64 == READ_LIMIT => format!("{n} bytes or more"),
                    n if n == 2 * KEY || n == 2 * KEY + 1 => format!("{n} bytes that are not all hexadecimal digits"),
                    n => format!("{n} bytes"),
                };
                KeyError::Length { path: path.to_owned(), found }
            })?;
        }
        Ok(Self::derive(&secret))
    }

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

    /// Proves to who has the same key file that it has written these words to all nodes. Compares in constant time.
    pub(super) fn mac(&self, words: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.notice, words)
    }

    /// Seals a payload in place: cipher text, tag, nonce, version.
    pub(super) fn seal(&self, id: TaskId, payload: &mut Vec<u8>) {
        self.seal_as(Kind::Payload, id, payload);
    }

    /// Undoes [`Key::seal`] in place. On an error the buffer holds nothing of use.
    pub(super) fn open(&self, id: TaskId, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        self.open_as(Kind::Payload, id, sealed)
    }

    /// Seals the address that a task's end is told to.
    pub(super) fn seal_callback(&self, id: TaskId, url: String) -> Vec<u8> {
        let mut bytes = url.into_bytes();
        self.seal_as(Kind::Callback, id, &mut bytes);
        bytes
    }

    /// Undoes [`Key::seal_callback`].
    pub(super) fn open_callback(&self, id: TaskId, mut sealed: Vec<u8>) -> Result<String, SealError> {
        self.open_as(Kind::Callback, id, &mut sealed)?;
        String::from_utf8(sealed).map_err(|_| SealError::Unknown)
    }

    fn seal_as(&self, kind: Kind, id: TaskId, payload: &mut Vec<u8>) {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the operating system has random bytes");
        payload.reserve(OVERHEAD);
        self.cipher.encrypt(&nonce, &associated(kind, id), payload);
        payload.extend_from_slice(&nonce);
        payload.push(VERSION);
    }

    fn open_as(&self, kind: Kind, id: TaskId, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        if sealed.len() < OVERHEAD || sealed.pop() != Some(VERSION) {
            return Err(SealError::Unknown);
        }
        let nonce = *sealed.last_chunk::<NONCE>().ok_or(SealError::Unknown)?;
        sealed.truncate(sealed.len() - NONCE);
        self.cipher.decrypt(&nonce, &associated(kind, id), sealed).map_err(|_| SealError::Broken)
    }

    /// What stands for a client's idempotency key in the storage: another for each owner, so that none learns of another's.
    pub(super) fn hash_idempotency_key(&self, key: &str, owner: Option<&str>) -> [u8; 32] {
        match owner {
            None => blake3::keyed_hash(&self.idempotency, key.as_bytes()).into(),
            Some(owner) => {
                let of_owner = blake3::keyed_hash(&self.owner, owner.as_bytes());
                let hash = blake3::Hasher::new_keyed(&self.idempotency).update(of_owner.as_bytes()).finalize();
                blake3::keyed_hash(hash.as_bytes(), key.as_bytes()).into()
            }
        }
    }

    /// What stands for an encoded payload, and the address that its end is told to, when idempotency keys are compared.
    pub(super) fn digest(&self, payload: &[u8], callback: Option<&str>) -> [u8; 32] {
        let digest = blake3::keyed_hash(&self.digest, payload);
        match callback {
            None => digest.into(),
            Some(url) => blake3::Hasher::new_keyed(digest.as_bytes()).update(url.as_bytes()).finalize().into(),
        }
    }

    /// What stands for a client in the storage.
    pub(super) fn hash_client(&self, client: &str) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.client, client.as_bytes());
        *hash.as_bytes().first_chunk().expect("32 bytes hold 16")
    }

    /// What stands for an owner in the storage.
    pub(super) fn hash_owner(&self, owner: &str) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.owner, owner.as_bytes());
        *hash.as_bytes().first_chunk().expect("32 bytes hold 16")
    }

    /// Tells one key from another without telling anything of it.
    pub(super) fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key() -> Key {
        let mut secret = [0; KEY];
        getrandom::fill(&mut secret).unwrap();
        Key::derive(&secret)
    }

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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
        let digests = [None, Some(""), Some(url)].map(|callback| key.digest(b"payload", callback));
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
        let (key, id) = (key(), TaskId::random());
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

    #[test]
    fn a_key_file_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/key");
        assert!(Key::find(&path).unwrap().is_none() && !folder.path().join("a").exists());
        let first = Key::load_or_create(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let second = Key::load_or_create(&path).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(Key::find(&path).unwrap().unwrap().fingerprint(), first.fingerprint());
        let (id, mut bytes) = (TaskId::random(), vec![5; 9]);
        first.seal(id, &mut bytes);
        second.open(id, &mut bytes).unwrap();
        assert_eq!(bytes, [5; 9]);
        assert_ne!(Key::load_or_create(&folder.path().join("other")).unwrap().fingerprint(), first.fingerprint());
    }

    #[test]
    fn raw_and_hexadecimal_key_files_are_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, text) = (folder.path().join("raw"), folder.path().join("text"));
        write(&raw, &[0xAB; 32], 0o600);
        write(&text, format!("{}\n", "aB".repeat(32)).as_bytes(), 0o400);
        let [raw, text] = [raw, text].map(|path| Key::load_or_create(&path).unwrap().fingerprint());
        assert_eq!(raw, text);
    }

    #[test]
    fn exposed_and_wrong_key_files_are_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for mode in [0o640, 0o604, 0o660, 0o644] {
            write(&path, &[1; 32], mode);
            assert!(Key::find(&path).is_err());
            let error = Key::load_or_create(&path).err().unwrap().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        for (bytes, found) in
            [(vec![], "0 bytes"), (vec![1; 31], "31 bytes"), (vec![b'x'; 64], "not all hex"), (vec![1; 999], "or more")]
        {
            write(&path, &bytes, 0o600);
            let error = Key::load_or_create(&path).err().unwrap().to_string();
            assert!(error.contains(found) && error.contains("32 bytes"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/key");
        let error = Key::load_or_create(&path).err().unwrap().to_string();
        assert!(error.contains("file/key") && error.contains("queue.encryption_key_file"), "{error}");
    }

    #[test]
    fn hashes_depend_on_the_key_and_on_their_use() {
        let (a, b) = (key(), key());
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
