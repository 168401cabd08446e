//! What becomes of a queue file that is damaged: it is put aside, whole, under a name that says when.
//!
//! Owns that name, and what is taken for a queue. Must never touch a file that was never a queue, and delete none.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What every file of redb begins with; of a file whose first block was lost, zeros are left.
const BEGINNINGS: [[u8; 9]; 2] = [*b"redb\x1A\x0A\xA9\x0D\x0A", [0; 9]];
/// Between the queue's own name and the time.
const DAMAGED: &str = ".damaged-";

/// One file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// Which file there is under a name, if it is one.
pub(super) fn identify(path: &Path) -> Option<Identity> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Identity { device: file.dev(), inode: file.ino() })
}

/// Gives a file another name, beside its own one, if it is that file still and was a queue. Yields the new name.
pub(super) fn put(path: &Path, damaged: Identity) -> io::Result<Option<PathBuf>> {
    // Of two processes that find the same file damaged, the second must not put aside what the first has made since.
    let folder = File::open(folder_of(path))?;
    folder.lock()?;
    if identify(path) != Some(damaged) || !was_queue(path)? {
        return Ok(None);
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut names = (seconds..).map(|stamp| path.with_file_name(prefix(path, &stamp.to_string())));
    let free = names.find(|name| !name.exists()).expect("there is always a later second");
    fs::rename(path, &free)?;
    folder.sync_all()?;
    Ok(Some(free))
}

/// The files that were put aside in the place of this one.
pub(super) fn found_beside(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder_of(path)) else { return Vec::new() };
    let beginning = prefix(path, "");
    let ours = |name: &OsString| name.as_encoded_bytes().starts_with(beginning.as_encoded_bytes());
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    let mut found: Vec<_> = names.filter(ours).map(|name| path.with_file_name(name)).collect();
    found.sort();
    found
}

/// What an operator is told of a file that was put aside.
pub(super) fn reminder(file: &Path) -> String {
    format!(
        "queue file {}: it was damaged and put aside; it holds sealed photographs, and results in the clear: remove it when you \
         have seen what you wanted of it",
        file.display()
    )
}

fn was_queue(path: &Path) -> io::Result<bool> {
    let mut beginning = [0xFF; 9];
    match File::open(path)?.read_exact(&mut beginning) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| BEGINNINGS.contains(&beginning)),
    }
}

fn prefix(path: &Path, stamp: &str) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(DAMAGED);
    name.push(stamp);
    name
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, bytes: &[u8]) -> (PathBuf, Identity) {
        let path = folder.join("queue.redb");
        fs::write(&path, bytes).unwrap();
        let identity = identify(&path).unwrap();
        (path, identity)
    }

    #[test]
    fn what_was_a_queue_is_put_aside_whole_and_as_often_as_need_be() {
        let folder = tempfile::tempdir().unwrap();
        let contents = [b"redb\x1A\x0A\xA9\x0D\x0A and then rubbish".to_vec(), vec![0; 5000]];
        for bytes in &contents {
            let (path, identity) = file(folder.path(), bytes);
            let aside = put(&path, identity).unwrap().unwrap();
            assert_eq!((fs::read(&aside).unwrap(), path.exists()), (bytes.clone(), false));
        }
        let found = found_beside(&folder.path().join("queue.redb"));
        assert_eq!(found.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>(), contents);
        assert!(reminder(&found[0]).contains("queue.redb.damaged-"), "{found:?}");
        assert_eq!(found_beside(&folder.path().join("other.redb")), Vec::<PathBuf>::new());
    }

    #[test]
    fn what_was_never_a_queue_stays() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [&b"[queue]\nurl = \"file:visavis.toml\"\n"[..], b"", b"\0\0\0"] {
            let (path, identity) = file(folder.path(), bytes);
            assert_eq!(put(&path, identity).unwrap(), None);
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        assert!(identify(folder.path()).is_none(), "a folder is no file");
    }

    #[test]
    fn a_file_that_took_its_place_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (path, damaged) = file(folder.path(), &[0; 100]);
        fs::rename(&path, folder.path().join("gone")).unwrap();
        file(folder.path(), b"redb\x1A\x0A\xA9\x0D\x0A");
        assert_eq!(put(&path, damaged).unwrap(), None);
        assert!(path.exists() && found_beside(&path).is_empty());
    }
}
