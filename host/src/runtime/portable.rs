//! Compiled code for other machines than the one that compiled it.
//!
//! Owns the processors that such code asks for, its file format, and what makes a folder of it trustworthy: machine code
//! from a file is only loaded when nobody but the system or this host's user could have written it. Must never know which
//! component a slot runs.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::artifact::{self, Source};
use super::engine;

/// What a file of compiled code begins with; a SHA-256 over the file's name and the code follows.
const MAGIC: &[u8; 16] = b"visavis code 1\0\n";

/// How long magic and digest are together.
const HEADER: usize = MAGIC.len() + 32;

/// More than any component's code; a larger file is none.
const LARGEST: u64 = 512 << 20;

/// The architecture that this program runs on.
const ARCHITECTURE: &str = std::env::consts::ARCH;

/// Code cannot be made for other machines.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortableError {
    /// The host itself would not run there.
    #[error(
        "the host runs on Linux alone, and the target {0} is another system; name one as {ARCHITECTURE}-unknown-linux-gnu"
    )]
    System(String),
    /// The compiler was built without it.
    #[error("the compiler of this program makes no code for {target} ({reason}); {}", mend())]
    Architecture {
        /// The target that was asked for.
        target: String,
        /// wasmtime's words.
        reason: String,
    },
    /// The bytes are no component.
    #[error("{origin} cannot be compiled: {reason}; wit/README.md says what a component is")]
    Component {
        /// Where it came from.
        origin: String,
        /// wasmtime's words.
        reason: String,
    },
    /// The operating system refused.
    #[error("cannot write {path}: {reason}; give --out a folder that this user can write")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Its words.
        reason: io::Error,
    },
}

/// What helps where the compiler does not know an architecture.
fn mend() -> &'static str {
    if cfg!(feature = "every-architecture") {
        "it knows x86_64, aarch64 and s390x"
    } else {
        "the program in the archive of `cargo xtask dist` knows x86_64, aarch64 and s390x"
    }
}

/// A compiler for every machine of one architecture.
pub(crate) struct Portable {
    engine: Engine,
    target: String,
}

impl Portable {
    /// For a target triple, as `x86_64-unknown-linux-gnu`; by default for this machine's architecture. Which C library
    /// the host there was built with does not matter to the code.
    pub(crate) fn new(triple: Option<&str>) -> Result<Self, PortableError> {
        let triple = triple.map_or_else(|| format!("{ARCHITECTURE}-linux"), str::to_owned);
        let (architecture, system) = triple.split_once('-').unwrap_or((&triple, ""));
        if !system.split('-').any(|part| part == "linux") {
            return Err(PortableError::System(triple));
        }
        let target = format!("{architecture}-unknown-linux-gnu");
        let refused = |reason: wasmtime::Error| PortableError::Architecture {
            target: target.clone(),
            reason: format!("{reason:#}"),
        };
        // There the compiler panics on SIMD, which all our components have.
        if architecture.starts_with("riscv") {
            return Err(refused(wasmtime::Error::msg("it does not take SIMD apart for that")));
        }
        let mut config = engine::code();
        config.target(&target).map_err(refused)?;
        if let Some(baseline) = baseline(architecture) {
            // SAFETY: the flag names processor features, and wasmtime looks for each on the machine that loads the code.
            unsafe { config.cranelift_flag_enable(baseline) };
        }
        let engine = Engine::new(&config).map_err(refused)?;
        Ok(Self { engine, target })
    }

    /// What it compiles for, in words.
    pub(crate) fn describe(&self) -> String {
        let architecture = self.target.split('-').next().unwrap_or_default();
        match baseline(architecture) {
            Some(baseline) => format!("{} with a processor of {baseline} or newer", self.target),
            None => self.target.clone(),
        }
    }

    /// Compiles a component into `folder`, for whoever may read it, and answers the file's path.
    pub(crate) fn compile(&self, source: &Source, folder: &Path) -> Result<PathBuf, PortableError> {
        let code = self.engine.precompile_component(&source.bytes).map_err(|error| PortableError::Component {
            origin: source.origin.clone(),
            reason: format!("{error:#}"),
        })?;
        let name = artifact::name(&self.engine, &source.digest);
        let path = folder.join(&name);
        let temporary = folder.join(format!("{name}.{}", std::process::id()));
        let write = || {
            fs::create_dir_all(folder)?;
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary)?;
            file.write_all(&header(&name, &code))?;
            file.write_all(&code)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|reason| PortableError::Write { path: path.clone(), reason })?;
        Ok(path)
    }
}

/// The processors that code for an architecture asks for: what all machines of the last fifteen years have, as cranelift
/// names it. Without it SIMD would be taken apart into what the first 64-bit processors had.
fn baseline(architecture: &str) -> Option<&'static str> {
    (architecture == "x86_64").then_some("x86-64-v2")
}

// The name binds the code to its source and engine, so that files cannot be swapped for each other.
fn header(name: &str, code: &[u8]) -> [u8; HEADER] {
    let digest = Sha256::new().chain_update(name.as_bytes()).chain_update(b"\0").chain_update(code).finalize();
    let mut header = [0; HEADER];
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..].copy_from_slice(&digest);
    header
}

/// A folder of code that came with the components.
pub(super) struct Shipped {
    folder: PathBuf,
    engine: Engine,
}

impl Shipped {
    /// Opens the folder. `None` when there is none, and, with a line in the log, when it cannot be trusted.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        let meta = fs::metadata(folder).ok()?;
        if let Err(reason) = trusted(&meta) {
            tracing::warn!(folder = %folder.display(), reason, "compiled code that came along is not used");
            return None;
        }
        match Portable::new(None) {
            Ok(Portable { engine, .. }) => Some(Self { folder: folder.to_owned(), engine }),
            Err(error) => {
                tracing::warn!(%error, "compiled code that came along is not used");
                None
            }
        }
    }

    /// The code for a component, when it is there and can be trusted.
    pub(super) fn read(&self, digest: &str) -> Option<Vec<u8>> {
        let name = artifact::name(&self.engine, digest);
        let path = self.folder.join(&name);
        match read(&path, &name) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "compiled code that came along is not used");
                None
            }
        }
    }
}

fn read(path: &Path, name: &str) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    // Of what was opened, so that nobody can put another file there in between.
    let meta = file.metadata()?;
    trusted(&meta).map_err(io::Error::other)?;
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(io::Error::other("it is no file of compiled code"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    let code = bytes.split_off(bytes.len().min(HEADER));
    if bytes != header(name, &code) {
        return Err(io::Error::other("it was cut off, changed or renamed"));
    }
    Ok(code)
}

/// Whether only the system or this host's user can write it.
fn trusted(meta: &Metadata) -> Result<(), &'static str> {
    // SAFETY: geteuid takes nothing and cannot fail.
    let me = unsafe { libc::geteuid() };
    if meta.uid() != 0 && meta.uid() != me {
        return Err("it belongs neither to root nor to the user that visavis runs as; `chown -R root` mends that");
    }
    if meta.mode() & 0o022 != 0 {
        return Err("others than its owner can write it; `chmod -R go-w` mends that");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wasmtime::component::Component;

    use super::*;
    use crate::runtime::{Clockwork, Sizes};

    /// An empty component in the binary format.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn shipped() -> (tempfile::TempDir, PathBuf, Source) {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::new(EMPTY, "a test");
        let path = Portable::new(None).unwrap().compile(&source, &folder.path().join("compiled")).unwrap();
        (folder, path, source)
    }

    #[test]
    fn code_for_all_machines_runs_on_this_one() {
        let (folder, path, source) = shipped();
        let code = Shipped::open(path.parent().unwrap()).unwrap().read(&source.digest).unwrap();
        let clockwork = Clockwork::start(Sizes { instances: 1, warm: 1, memory: 1 << 20 }).unwrap();
        // SAFETY: these bytes were made above.
        unsafe { Component::deserialize(&clockwork.engine, &code) }.unwrap();
        assert!(Shipped::open(path.parent().unwrap()).unwrap().read(&"0".repeat(64)).is_none(), "of no component here");
        assert!(Shipped::open(&folder.path().join("missing")).is_none());
    }

    #[test]
    fn code_that_others_could_have_written_is_not_read() {
        let (_folder, path, source) = shipped();
        let compiled = path.parent().unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&path, 0o664);
        assert!(Shipped::open(compiled).unwrap().read(&source.digest).is_none());
        mode(&path, 0o444);
        assert!(Shipped::open(compiled).unwrap().read(&source.digest).is_some());
        mode(compiled, 0o757);
        assert!(Shipped::open(compiled).is_none());
    }

    #[test]
    fn damaged_code_is_not_read() {
        let (folder, path, source) = shipped();
        let whole = fs::read(&path).unwrap();
        let read = || Shipped::open(path.parent().unwrap()).unwrap().read(&source.digest);
        let last = whole.len() - 1;
        for at in [0, MAGIC.len(), HEADER, last] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(read().is_none(), "changed at {at}");
        }
        for length in [0, HEADER - 1, HEADER, last] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read().is_none(), "cut off at {length}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(read().is_some());
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(read().is_none(), "a link");
        fs::remove_file(&path).unwrap();
        let other = Portable::new(None).unwrap();
        fs::rename(&elsewhere, path.with_file_name(artifact::name(&other.engine, &"0".repeat(64)))).unwrap();
        assert!(Shipped::open(path.parent().unwrap()).unwrap().read(&"0".repeat(64)).is_none(), "renamed");
    }

    #[test]
    fn a_target_that_cannot_be_had_says_the_mend() {
        let refused = |target| Portable::new(Some(target)).map(|it| it.describe()).unwrap_err().to_string();
        assert!(refused("x86_64-apple-darwin").contains("Linux alone"));
        assert!(refused("nonsense").contains("unknown-linux-gnu"));
        for target in ["sparc64-unknown-linux-gnu", "riscv64gc-unknown-linux-gnu"] {
            let message = refused(target);
            assert!(message.contains(target) && message.contains("aarch64"), "{message}");
        }
        let musl = Portable::new(Some(&format!("{ARCHITECTURE}-unknown-linux-musl"))).unwrap();
        assert!(musl.describe().starts_with(&format!("{ARCHITECTURE}-unknown-linux-gnu")));
    }

    /// As ELF numbers them, at byte 18.
    #[test]
    fn code_is_made_for_the_machine_that_is_asked_for() {
        let empty = *b"\0asm\x0d\0\x01\0";
        let source = Source::new(empty, "the empty component");
        for (architecture, number) in [("x86_64", 62), ("aarch64", 183), ("s390x", 22)] {
            let folder = tempfile::tempdir().unwrap();
            let portable = Portable::new(Some(&format!("{architecture}-unknown-linux-gnu")));
            if !cfg!(feature = "every-architecture") && architecture != ARCHITECTURE {
                assert!(portable.is_err_and(|error| error.to_string().contains("cargo xtask dist")), "{architecture}");
                continue;
            }
            let path = portable.unwrap().compile(&source, folder.path()).unwrap();
            let code = fs::read(path).unwrap();
            let machine = if architecture == "s390x" { u16::from_be_bytes } else { u16::from_le_bytes };
            assert_eq!(machine([code[HEADER + 18], code[HEADER + 19]]), number, "{architecture}");
        }
    }
}
