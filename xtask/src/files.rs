//! Files that are whole or not there: digests, and writing by renaming.
//!
//! An interrupted set-up leaves temporary names behind and never half a file under a final name. Knows no packages.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use sha2::{Digest, Sha256};

/// SHA-256 of a file in hexadecimal, or nothing when there is no such file.
pub(crate) fn digest(path: &Path) -> Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("can not read {}", path.display())),
    };
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).with_context(|| format!("can not read {}", path.display()))?;
        if length == 0 {
            return Ok(Some(hex::encode(digest.finalize())));
        }
        digest.update(&buffer[..length]);
    }
}

/// SHA-256 of bytes in hexadecimal.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Whether the file is there and has the digest.
pub(crate) fn is(path: &Path, sha256: &str) -> Result<bool> {
    Ok(digest(path)?.as_deref() == Some(sha256))
}

/// Writes a file under a temporary name and renames it, making its folder first.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".partial-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        readable_by_all(file.as_file())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| refusal(path, &error))
}

/// Writes a file unless it has that content already. Answers whether it was written.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    if is(path, &digest_of(bytes))? {
        return Ok(false);
    }
    write(path, bytes).map(|()| true)
}

/// An error of writing `path`, with the mend.
pub(crate) fn refusal(path: &Path, error: &io::Error) -> anyhow::Error {
    let mend = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space (set-up needs about 400 MB) and run it again"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make the folder writable for you, or choose others with CARGO_TARGET_DIR and VISAVIS_CACHE"
        }
        _ => "see that the folder exists and is sound, and run it again",
    };
    anyhow!("can not write {}: {error}\n  mend: {mend}", path.display())
}

/// Temporary files are private; what set-up makes may be served by another user.
#[cfg(unix)]
pub(crate) fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
pub(crate) fn readable_by_all(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_leaves_no_temporary_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.txt");
        assert_eq!(digest(&path).unwrap(), None);
        assert!(write_if_changed(&path, b"abc").unwrap());
        assert!(!write_if_changed(&path, b"abc").unwrap());
        assert!(is(&path, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap());
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_can_not_be_made_names_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let message = write(&folder.path().join("file/below.txt"), b"").unwrap_err().to_string();
        assert!(message.contains("below.txt") && message.contains("mend:"), "{message}");
    }
}
