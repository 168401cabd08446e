//! Files that only their owner may read: the queue and the key to its photographs.
//!
//! Owns modes and durability of names. Must never know what is in the files.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes the folder that `path` lies in, and those above it, with mode 0700. Folders that exist keep their mode.
pub(super) fn make_folder_of(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path))
}

/// Makes an empty file with mode 0600, open for reading and writing; fails with `AlreadyExists` when there is one.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the name of a new file survive a power cut.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Whether [`make_folder_of`] and [`create_new`] would succeed, as far as can be told without making anything.
pub(super) fn could_create(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    let above = folder.ancestors().find(|folder| folder.as_os_str().is_empty() || folder.exists());
    let above = above.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !above.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let name = CString::new(above.as_os_str().as_bytes())?;
    // SAFETY: the call only reads the name, which ends with a zero byte and outlives it.
    match unsafe { libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_made_is_told_and_nothing_made() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["file", "a/b/file"] {
            could_create(&folder.path().join(path)).unwrap();
        }
        could_create(Path::new("file")).unwrap();
        could_create(Path::new("no-such-folder/file")).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(folder.path().join("a"), "").unwrap();
        for path in ["a/file", "a/b/file"] {
            let error = could_create(&folder.path().join(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{path}");
        }
    }
}
