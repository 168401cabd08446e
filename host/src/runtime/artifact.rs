//! From a component's file to compiled code.
//!
//! Owns the cache of compiled code. Compiled code is machine code: from the cache it is only loaded when a MAC, keyed with a
//! secret that lies there with mode 0600, proves that this host wrote it; `portable` says when code that came along is.
//! Must never compile on the way of a request.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::portable::Shipped;
use super::{Clockwork, LoadError, Slot};
use crate::nn;

const MAC: usize = 32;

/// How the name of a file with compiled code ends.
const CODE: &str = "cwasm";

/// The cache holds so much at most, bytes; what was used longest ago goes first.
const MOST: u64 = 512 << 20;

/// A component's bytes, and where they came from.
#[derive(Clone)]
pub(crate) struct Source {
    /// As they were given; a component in the binary format when all is well.
    pub(crate) bytes: Arc<[u8]>,
    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub(crate) digest: String,
    /// How an error calls it: the file's path, or what was sent.
    pub(crate) origin: String,
}

impl Source {
    /// Takes bytes that came from `origin`.
    pub(crate) fn new(bytes: impl Into<Arc<[u8]>>, origin: impl Into<String>) -> Self {
        let bytes = bytes.into();
        Self { digest: hex::encode(Sha256::digest(&bytes)), bytes, origin: origin.into() }
    }

    /// Reads the component that is configured for `slot`.
    pub(crate) fn read(slot: Slot, path: &Path) -> Result<Self, LoadError> {
        let bytes = fs::read(path).map_err(|reason| LoadError::Read { slot, path: path.to_owned(), reason })?;
        Ok(Self::new(bytes, path.display().to_string()))
    }
}

/// Where compiled code is kept from one start to the next.
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
    shipped: Option<Shipped>,
}

/// The cache folder cannot be trusted or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The operating system refused.
    #[error(
        "cannot use the cache folder {folder}: {reason}; set components.cache to a folder that this user can write"
    )]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Its words.
        reason: io::Error,
    },
    /// Others could plant code in it.
    #[error(
        "the cache folder {folder} belongs to another user or can be written by others; run `chmod 700 {folder}`, or set components.cache"
    )]
    Open {
        /// The folder.
        folder: PathBuf,
    },
}

impl Cache {
    /// Opens the folder, making it and its key when they are missing. Code that came along lies in `shipped`, if there is
    /// any.
    pub(crate) fn open(folder: &Path, shipped: &Path) -> Result<Self, CacheError> {
        let failed = |reason| CacheError::Io { folder: folder.to_owned(), reason };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let meta = fs::metadata(folder).map_err(failed)?;
        // SAFETY: geteuid takes nothing and cannot fail.
        let me = unsafe { libc::geteuid() };
        if meta.uid() != me || meta.mode() & 0o022 != 0 {
            return Err(CacheError::Open { folder: folder.to_owned() });
        }
        let key = key(&folder.join("cache.key")).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), key, shipped: Shipped::open(shipped) })
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut file = fs::File::open(self.folder.join(name)).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        // Only the order of removal depends on it.
        let _ = file.set_modified(SystemTime::now());
        let code = bytes.len().checked_sub(MAC)?;
        let mac = blake3::Hash::from_slice(&bytes[code..]).ok()?;
        bytes.truncate(code);
        // blake3's hashes compare in constant time.
        if self.mac(name, &bytes) == mac {
            Some(bytes)
        } else {
            tracing::warn!(file = name, "compiled code in the cache was changed by somebody else; compiling anew");
            None
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!("{name}.{}", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(code)?;
        file.write_all(self.mac(name, code).as_bytes())?;
        drop(file);
        fs::rename(&temporary, self.folder.join(name))?;
        self.prune(MOST)
    }

    /// Removes what was used longest ago until `most` bytes are left.
    fn prune(&self, most: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // Another host may have removed it meanwhile.
            if let (true, Ok(data)) = (path.extension().is_some_and(|it| it == CODE), fs::metadata(&path)) {
                files.push((data.modified()?, data.len(), path));
            }
        }
        files.sort_by(|a, b| b.cmp(a));
        let mut sum = 0;
        for (_, length, path) in files {
            sum += length;
            if sum > most {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    // The name binds the code to its source and engine, so that files cannot be swapped for each other.
    fn mac(&self, name: &str, code: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(b"\0").update(code).finalize()
    }
}

/// Finds a component compiled, or compiles it. Code for this very processor goes before code for many.
pub(super) fn load(engine: &Engine, cache: &Cache, slot: Slot, source: &Source) -> Result<Component, LoadError> {
    if let Some(component) = cached(engine, cache, slot, source) {
        return Ok(component);
    }
    if let Some(code) = cache.shipped.as_ref().and_then(|shipped| shipped.read(&source.digest)) {
        // SAFETY: only the system or this user can have written these bytes, by `Portable::compile` for this component and
        // an engine of the same version and settings; wasmtime checks the processor's features.
        match unsafe { Component::deserialize(engine, &code) } {
            Ok(component) => {
                tracing::info!(%slot, "runs the compiled code that came along");
                return Ok(component);
            }
            Err(error) => tracing::warn!(%slot, %error, "compiled code that came along does not load; compiling"),
        }
    }
    compile(engine, cache, slot, source)
}

/// Compiles a component into the cache unless it is there. Answers whether it was compiled.
pub(crate) fn prepare(clockwork: &Clockwork, cache: &Cache, slot: Slot, source: &Source) -> Result<bool, LoadError> {
    let missing = cached(&clockwork.engine, cache, slot, source).is_none();
    if missing {
        compile(&clockwork.engine, cache, slot, source)?;
    }
    Ok(missing)
}

/// What the code of a component is called, for engines that accept each other's code.
pub(super) fn name(engine: &Engine, digest: &str) -> String {
    let mut hash = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hash);
    format!("{digest}-{:016x}.{CODE}", hash.finish())
}

fn cached(engine: &Engine, cache: &Cache, slot: Slot, source: &Source) -> Option<Component> {
    let code = cache.read(&name(engine, &source.digest))?;
    // SAFETY: the MAC proves that `Component::serialize` of this host made these bytes, and the name that it did so for
    // this component and an engine of the same version, settings and processor features.
    let component = unsafe { Component::deserialize(engine, &code) };
    let warn = |error: &_| tracing::warn!(%slot, %error, "compiled code in the cache does not load; compiling anew");
    component.inspect_err(warn).ok()
}

fn compile(engine: &Engine, cache: &Cache, slot: Slot, source: &Source) -> Result<Component, LoadError> {
    let start = std::time::Instant::now();
    let component =
        Component::new(engine, &source.bytes).map_err(|error| LoadError::not_of_its_world(slot, source, &error))?;
    tracing::info!(%slot, milliseconds = start.elapsed().as_millis(), "compiled");
    let write = |code: Vec<u8>| cache.write(&name(engine, &source.digest), &code);
    if let Err(error) = component.serialize().map_err(io::Error::other).and_then(write) {
        tracing::warn!(%slot, %error, "compiled code could not be cached; the next start compiles again");
    }
    nn::give_back_freed_memory();
    Ok(component)
}

fn key(path: &Path) -> io::Result<[u8; 32]> {
    match fs::read(path) {
        Ok(bytes) => {
            if fs::metadata(path)?.mode() & 0o077 != 0 {
                return Err(io::Error::other(format!("{} can be read by others; remove it", path.display())));
            }
            match bytes.try_into() {
                Ok(key) => Ok(key),
                // Nothing here is worth a host that does not start: with another key, all is compiled anew.
                Err(_) => {
                    tracing::warn!(file = %path.display(), "the key of the cache is damaged; making another, and compiling anew");
                    fs::remove_file(path)?;
                    self::key(path)
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key)?;
            // Written aside and linked into place: of two hosts that start at once, one key wins and is whole.
            let temporary = path.with_extension(format!("key.{}", std::process::id()));
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?
                .write_all(&key)?;
            let linked = fs::hard_link(&temporary, path);
            fs::remove_file(&temporary)?;
            match linked {
                Ok(()) => Ok(key),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self::key(path),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Result<Cache, CacheError> {
        Cache::open(folder, Path::new("nothing came along"))
    }

    #[test]
    fn changed_code_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder.path().join("cache")).unwrap();
        cache.write("a.cwasm", b"machine code").unwrap();
        assert_eq!(cache.read("a.cwasm").as_deref(), Some(&b"machine code"[..]));
        let file = cache.folder.join("a.cwasm");
        let mut bytes = fs::read(&file).unwrap();
        fs::write(cache.folder.join("b.cwasm"), &bytes).unwrap();
        assert_eq!(cache.read("b.cwasm"), None, "moved under another name");
        bytes[0] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert_eq!(cache.read("a.cwasm"), None, "changed");
        assert_eq!(cache.read("missing.cwasm"), None);
    }

    #[test]
    fn what_was_used_longest_ago_is_removed_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), &folder.path().join("shipped")).unwrap();
        for (age, name) in [(40, "a.cwasm"), (30, "b.cwasm"), (20, "c.cwasm")] {
            cache.write(name, &[0; 100]).unwrap();
            let file = fs::File::options().write(true).open(cache.folder.join(name)).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        }
        assert!(cache.read("a.cwasm").is_some(), "used now");
        cache.prune(2 * 132).unwrap();
        assert!(cache.read("b.cwasm").is_none() && cache.read("a.cwasm").is_some() && cache.read("c.cwasm").is_some());
        assert!(cache.folder.join("cache.key").is_file());
    }

    #[test]
    fn the_key_stays() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(&folder.path().join("cache")).unwrap().key;
        assert_eq!(open(&folder.path().join("cache")).unwrap().key, first);
    }

    #[test]
    fn a_damaged_key_is_replaced_and_what_it_stood_for_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(&folder.path().join("cache")).unwrap();
        cache.write("a.cwasm", b"machine code").unwrap();
        let file = cache.folder.join("cache.key");
        fs::write(&file, b"").unwrap();
        let again = open(&folder.path().join("cache")).unwrap();
        assert!(again.key != cache.key && again.read("a.cwasm").is_none());
        assert_eq!(fs::read(&file).unwrap(), again.key);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(open(folder.path()), Err(CacheError::Open { .. })));
    }
}
