//! Any bytes as a bundle.
//!
//! Owns what must hold of the host's reader: nothing panics, a refusal is a sentence, and what was read is packed and read again as
//! the same. Must never know who makes the bytes.

use crate::rollout::bundle::{Bundle, Parts};

/// The longest sentence that an operator gets to read, bytes.
const LONGEST: usize = 2000;

/// A file, and once more as the manifest of a bundle without components.
pub(crate) fn bundle(bytes: &[u8]) {
    judge(bytes);
    judge(&around(bytes));
}

/// A bundle with this manifest and nothing else.
fn around(manifest: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_path("bundle.toml").expect("a short name");
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(manifest.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, manifest).and_then(|()| archive.into_inner()).expect("memory can be written")
}

fn judge(bytes: &[u8]) {
    match Bundle::read(bytes) {
        Ok(Bundle { manifest, components, .. }) => {
            assert!(components.values().map(Vec::len).sum::<usize>() < bytes.len(), "nothing comes out of nothing");
            let parts = Parts {
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                embedding_space: manifest.embedding_space,
                components: components.clone(),
                models: manifest.models.clone(),
                verify: manifest.verify.clone(),
            };
            let packed = Bundle::pack(parts).unwrap_or_else(|error| panic!("it was read, and is not packed: {error}"));
            let again = Bundle::read(&packed).unwrap_or_else(|error| panic!("it was packed, and is not read: {error}"));
            assert_eq!((again.manifest, again.components), (manifest, components));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() <= LONGEST, "{text}");
        }
    }
}
