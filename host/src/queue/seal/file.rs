//! The key file: one key, or while keys change several, the newest first.
//!
//! Owns how it is read and made, and who may be able to read it. Must never know what a key is used for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::cipher::KEY;
use crate::queue::private;
use crate::secret::{self, Exposed};

/// The most keys that a file may hold: each is tried on what was sealed before the newest came.
const MOST: usize = 8;
/// More than any accepted key file has, so that a wrong file is seen without being read in full.
const READ_LIMIT: u64 = 1024;

/// The bytes of a key, wiped from memory when dropped.
pub(super) type Secret = Zeroizing<[u8; KEY]>;

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
    /// The file holds something else than keys.
    #[error(
        "key file {}: it must hold a key of 32 bytes, raw or as 64 hexadecimal digits, or a line of such digits for each of up to \
         {MOST} keys, the newest first; it holds {found}. Put the right key back, or remove the file to have a new one made (tasks \
         that wait can then no longer be read)",
        path.display()
    )]
    Content {
        /// The key file.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
}

/// Reads the keys, the newest first, or makes one of fresh random bytes in a file with mode 0600 where there is none.
pub(super) fn load_or_create(path: &Path) -> Result<Vec<Secret>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => load(path, file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            private::make_folder_of(path).map_err(io)?;
            match private::create_new(path) {
                Ok(file) => Ok(vec![create(path, file)?]),
                // Another process was faster; its key is as good.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => load(path, File::open(path).map_err(io)?),
                Err(e) => Err(io(e)),
            }
        }
        Err(e) => Err(io(e)),
    }
}

/// Reads the keys; `None` where there is no file and [`load_or_create`] could make one.
pub(super) fn find(path: &Path) -> Result<Option<Vec<Secret>>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => load(path, file).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => private::could_create(path).map_err(io).map(|()| None),
        Err(e) => Err(io(e)),
    }
}

/// Fresh random bytes.
pub(super) fn random() -> io::Result<Secret> {
    let mut secret = Zeroizing::new([0; KEY]);
    getrandom::fill(&mut *secret).map_err(io::Error::other)?;
    Ok(secret)
}

fn create(path: &Path, mut file: File) -> Result<Secret, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let secret = random().map_err(io)?;
    let mut text = Zeroizing::new([0; 2 * KEY + 1]);
    text[2 * KEY] = b'\n';
    hex::encode_to_slice(&secret[..], &mut text[..2 * KEY]).expect("the buffer has room for two digits a byte");
    file.write_all(&*text).and_then(|()| file.sync_all()).map_err(io)?;
    private::sync_folder_of(path).map_err(io)?;
    tracing::info!(path = %path.display(), "made a key file for the photographs in the queue; keep it secret");
    Ok(secret)
}

fn load(path: &Path, file: File) -> Result<Vec<Secret>, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(io)?;
    secret::check(&metadata).map_err(|why| KeyError::Exposed { path: path.to_owned(), why })?;
    // Reserved in full, so that no copy of a key is left behind by a growing buffer.
    let mut bytes = Zeroizing::new(Vec::with_capacity(READ_LIMIT as usize));
    file.take(READ_LIMIT).read_to_end(&mut bytes).map_err(io)?;
    parse(&bytes).map_err(|found| KeyError::Content { path: path.to_owned(), found })
}

/// The keys in a file of these bytes, or what it holds instead.
fn parse(bytes: &[u8]) -> Result<Vec<Secret>, String> {
    if let Ok(raw) = <[u8; KEY]>::try_from(bytes) {
        return Ok(vec![raw.into()]);
    }
    let length = bytes.len();
    if length as u64 == READ_LIMIT {
        return Err(format!("{length} bytes or more"));
    }
    let lines: Vec<_> =
        bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|it| !it.is_empty()).collect();
    if lines.is_empty() || lines.iter().any(|line| line.len() != 2 * KEY) {
        return Err(format!("{length} bytes"));
    }
    if lines.len() > MOST {
        return Err(format!("{} lines", lines.len()));
    }
    let secret = |digits: &[u8]| {
        let mut secret = Zeroizing::new([0; KEY]);
        hex::decode_to_slice(digits, &mut *secret).map(|()| secret)
    };
    let secrets: Result<_, _> = lines.into_iter().map(secret).collect();
    secrets.map_err(|_| format!("{length} bytes that are not all hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, bytes: &[u8], mode: u32) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_file_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/key");
        assert!(find(&path).unwrap().is_none() && !folder.path().join("a").exists());
        let first = load_or_create(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(load_or_create(&path).unwrap(), first);
        assert_eq!(find(&path).unwrap().unwrap(), first);
        assert_ne!(load_or_create(&folder.path().join("other")).unwrap(), first);
    }

    #[test]
    fn raw_and_hexadecimal_key_files_are_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, text) = (folder.path().join("raw"), folder.path().join("text"));
        write(&raw, &[0xAB; 32], 0o600);
        write(&text, format!("{}\n", "aB".repeat(32)).as_bytes(), 0o400);
        let [raw, text] = [raw, text].map(|path| load_or_create(&path).unwrap());
        assert_eq!(raw, text);
        assert_eq!(raw, [Zeroizing::new([0xAB; 32])]);
    }

    #[test]
    fn a_file_may_hold_several_keys_in_their_order() {
        let line = |byte: u8| hex::encode([byte; 32]);
        let text = format!("{}\r\n\n  {}\n{}", line(1), line(2), line(3));
        assert_eq!(parse(text.as_bytes()).unwrap(), [1, 2, 3].map(|byte| Zeroizing::new([byte; 32])));
        let many = |count: u8| (0..count).map(line).collect::<Vec<_>>().join("\n");
        assert_eq!(parse(many(8).as_bytes()).unwrap().len(), 8);
        assert_eq!(parse(many(9).as_bytes()).unwrap_err(), "9 lines");
        assert!(parse(format!("{}\nthe old one", line(1)).as_bytes()).is_err());
    }

    #[test]
    fn exposed_and_wrong_key_files_are_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        for mode in [0o640, 0o604, 0o660, 0o644] {
            write(&path, &[1; 32], mode);
            assert!(find(&path).is_err());
            let error = load_or_create(&path).err().unwrap().to_string();
            assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        for (bytes, found) in [
            (vec![], "0 bytes"),
            (vec![1; 31], "31 bytes"),
            (vec![b'x'; 64], "not all hex"),
            (vec![b'x'; 9999], "or more"),
        ] {
            write(&path, &bytes, 0o600);
            let error = load_or_create(&path).err().unwrap().to_string();
            assert!(error.contains(found) && error.contains("32 bytes"), "{error}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/key");
        let error = load_or_create(&path).err().unwrap().to_string();
        assert!(error.contains("file/key") && error.contains("queue.encryption_key_file"), "{error}");
    }
}
