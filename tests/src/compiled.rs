//! A cache of compiled code of a test's own, filled with what the shared one has of our components.
//!
//! Owns the copy. Must never change the shared cache, which all hosts of all runs use.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::components::built;
use crate::host::repository;

/// What a host that verifies loads.
const SLOTS: [&str; 3] = ["gateway", "analyzer", "scorer"];

/// Makes a cache in this folder.
pub fn copied(folder: &Path) -> PathBuf {
    let (shared, own) = (repository().join("target/visavis-tests/compiled"), folder.join("compiled"));
    fs::DirBuilder::new().mode(0o700).create(&own).expect("the folder can be written");
    let digests = SLOTS.map(|slot| hex::encode(Sha256::digest(built(slot))));
    // Without a shared one, the first host compiles.
    for path in fs::read_dir(&shared).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours = name.ends_with(".cwasm") && digests.iter().any(|digest| name.starts_with(digest.as_str()));
        if ours || name == "cache.key" {
            let copy = own.join(&name);
            fs::copy(&path, &copy).expect("the shared cache can be read");
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).expect("the copy is ours");
        }
    }
    own
}

/// The files with compiled code in a cache.
pub fn files(cache: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(cache).expect("the cache can be read").map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}
