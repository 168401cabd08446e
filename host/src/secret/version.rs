//! Whether a file has changed since it was read.
//!
//! Owns what tells one version of a file from the next, and how often that is looked at. Must never read one.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How soon a change is seen.
const LOOK: Duration = Duration::from_secs(1);

/// What tells a version of a file from the next: which file the name leads to, how long it is and when it was written. Orchestrators
/// and careful programs put another file in the place of one, others write into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(Option<(u64, u64, u64, i64, i64)>);

impl Version {
    /// That of the file now; a file that is not there has one, too.
    pub(crate) fn of(path: &Path) -> Self {
        let marks = |file: fs::Metadata| (file.dev(), file.ino(), file.size(), file.ctime(), file.ctime_nsec());
        Self(fs::metadata(path).ok().map(marks))
    }
}

/// Looks again and again whether files have changed, until `shutdown` is cancelled.
pub(crate) async fn follow(look: impl Fn(), shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => look(),
            () = shutdown.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_makes_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        let mut seen = vec![Version::of(&path)];
        let steps: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "one").unwrap(),
            &|| fs::write(&path, "three").unwrap(),
            // Of the same length.
            &|| {
                fs::write(&other, "seven").unwrap();
                fs::rename(&other, &path).unwrap();
            },
            &|| fs::remove_file(&path).unwrap(),
        ];
        for (at, step) in steps.iter().enumerate() {
            step();
            let version = Version::of(&path);
            assert_ne!(Some(&version), seen.last(), "{at}");
            assert_eq!(version, Version::of(&path));
            seen.push(version);
        }
        assert_eq!(seen.first(), seen.last());
    }
}
