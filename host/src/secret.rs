//! Files that hold a secret: who else may be able to read one, and how one is made.
//!
//! Owns the rule about modes, owners and groups, the same for every secret. Must never know what a secret is for.
//!
//! # Layout
//!
//! - `version`: whether a file has changed.

mod version;

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

pub(crate) use self::version::{Version, follow};

/// Others than this process' user can read the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("mode {mode:04o} lets others than its owner read it")]
pub(crate) struct Exposed {
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// Whether a file is kept as a secret must be: readable by its owner alone or, where an orchestrator has put it there, by a
/// group of this process. Such a file belongs to root, so the user that this process runs as could not have made it private;
/// one that belongs to that user it can, and is not excused.
///
/// # Errors
/// Others can read it.
pub(crate) fn check(file: &Metadata) -> Result<(), Exposed> {
    let (mode, owner) = (file.mode() & 0o7777, file.uid());
    // SAFETY: the call reads the process' own identity, and cannot fail.
    let user = unsafe { libc::geteuid() };
    if is_private(mode, owner, user, || groups().contains(&file.gid())) { Ok(()) } else { Err(Exposed { mode }) }
}

/// Makes a secret file with mode 0600 in a folder that is made with mode 0700, unless there is one. Written aside and linked
/// into place: of two processes that start at once, one secret wins and is whole.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let aside = path.with_extension(format!("new.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    match fs::hard_link(&aside, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::remove_file(&aside),
    }
}

fn is_private(mode: u32, owner: u32, user: u32, of_our_group: impl Fn() -> bool) -> bool {
    match mode & 0o077 {
        0 => true,
        0o040 => owner == 0 && user != 0 && of_our_group(),
        _ => false,
    }
}

/// All groups of this process.
fn groups() -> Vec<libc::gid_t> {
    // SAFETY: asked for none, the call only counts them.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut groups = vec![0; usize::try_from(count).unwrap_or_default()];
    // SAFETY: the buffer has room for as many as are asked for, and outlives the call.
    let count = unsafe { libc::getgroups(count.max(0), groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(count).unwrap_or_default());
    // SAFETY: the call reads the process' own identity, and cannot fail.
    groups.push(unsafe { libc::getegid() });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_read_what_an_orchestrator_has_mounted_for_it() {
        let (root, user, other) = (0, 65_532, 1000);
        for (mode, owner, us, in_group, private) in [
            (0o600, user, user, true, true),
            (0o400, root, root, false, true),
            (0o440, root, user, true, true),
            (0o640, root, user, true, true),
            // The group is none of ours: we read it by other means, and others can, too.
            (0o440, root, user, false, false),
            // Who owns it can make it private.
            (0o440, user, user, true, false),
            (0o640, root, root, true, false),
            (0o440, other, user, true, false),
            // More than reading, or more than a group.
            (0o460, root, user, true, false),
            (0o450, root, user, true, false),
            (0o444, root, user, true, false),
            (0o604, root, user, true, false),
        ] {
            assert_eq!(is_private(mode, owner, us, || in_group), private, "{mode:o} of {owner} for {us}");
        }
    }

    #[test]
    fn our_own_group_is_one_of_ours() {
        // SAFETY: the call reads the process' own identity, and cannot fail.
        assert!(groups().contains(&unsafe { libc::getegid() }));
    }

    #[test]
    fn what_is_made_is_private_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/secret");
        create(&path, "first").unwrap();
        create(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n");
        check(&fs::metadata(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
