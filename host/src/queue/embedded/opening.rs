//! From a file to a queue: for a host that works on it, and for an operator who visits it.
//!
//! Owns what is made, what is refused, and what becomes of a damaged file. Must never know what is done with the tasks in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::clock::{Clock, System};
use super::command::Command;
use super::handle::Handle;
use super::ledger::Interruption;
use super::store::{self, Opener, Store};
use super::{Embedded, aside};
use crate::queue::seal::{KeyError, Keys};
use crate::queue::{Admin, Checkup, Limits, Unavailable, private};

/// How an embedded queue is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The redb file; made when there is none.
    pub(crate) path: PathBuf,
    /// The limits that hold on every backend.
    pub(crate) limits: Limits,
    /// The key that payloads are sealed with; made when there is none.
    pub(crate) key_file: PathBuf,
}

/// Why the queue was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process has the file.
    #[error("queue file {}: another visavis runs on this file; stop it, or set queue.url to another file", path.display())]
    Locked {
        /// The redb file.
        path: PathBuf,
    },
    /// The file is damaged or something else than a queue.
    #[error(
        "queue file {}: not a queue, or damaged ({why}); move the file away to start with an empty queue, which a host does by \
         itself with a queue that is damaged",
        path.display()
    )]
    Corrupt {
        /// The redb file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file was written by another version.
    #[error(
        "queue file {}: its format is {found}, which this version of visavis does not know; run the version that wrote \
         it, or move the file away to start with an empty queue",
        path.display()
    )]
    Format {
        /// The redb file.
        path: PathBuf,
        /// The format's name.
        found: String,
    },
    /// The file cannot be read, made or written.
    #[error("queue file {}: {source}; make room and the folder writable, or set queue.url to another file", path.display())]
    Io {
        /// The redb file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// There is no queue in the file, and none was to be made.
    #[error("queue file {}: there is no queue in it; name the file of a host's queue by queue.url or --queue", path.display())]
    Missing {
        /// The file that should be.
        path: PathBuf,
    },
    /// The file was opened and then could not be written.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Embedded {
    /// Opens the file, or makes it, and starts the writer. Tasks that ran when the last process ended are due at once. A damaged
    /// queue is put aside, and an empty one takes its place. Blocks while the file is read.
    ///
    /// # Errors
    /// The file or the key file cannot be used; the error says what to do.
    pub(crate) fn open(options: &Options) -> Result<Self, OpenError> {
        let open = || Self::open_with(options.clone(), Arc::new(System::start()), Box::new(store::open_file));
        // Looked at before it is opened: what is put aside must be the very file that was found damaged.
        let found = aside::identify(&options.path);
        match (open(), found) {
            (Err(OpenError::Corrupt { path, why }), Some(found)) => {
                let failed = |source| OpenError::Io { path: path.clone(), source };
                let Some(aside) = aside::put(&path, found).map_err(failed)? else {
                    return Err(OpenError::Corrupt { path, why });
                };
                tracing::error!(
                    path = %path.display(), aside = %aside.display(), why,
                    "the queue file is damaged: it was put aside, and the host starts with an empty queue; what was accepted \
                     before is not known any more"
                );
                open()
            }
            (opened, _) => opened,
        }
    }

    /// A queue in memory, for one who wants to try something with a queue that nobody else sees. It ends with this process.
    ///
    /// # Errors
    /// The system has no random numbers or no thread.
    pub(crate) fn in_memory() -> Result<Self, OpenError> {
        let (path, hour) = (PathBuf::from("(in memory)"), Duration::from_secs(3600));
        let limits = Limits {
            max_length: 100,
            max_age: None,
            max_waiting_per_client: None,
            lease: hour,
            max_deliveries: 1,
            result_ttl: hour,
            payload_ttl: hour,
        };
        let keys = Keys::ephemeral().map_err(|source| OpenError::Io { path: path.clone(), source })?;
        Self::start(&path, limits, keys, Arc::new(System::start()), Box::new(store::open_in_memory))
    }

    pub(super) fn open_with(options: Options, clock: Arc<dyn Clock>, opener: Opener) -> Result<Self, OpenError> {
        let Options { path, limits, key_file } = options;
        Self::start(&path, limits, Keys::load_or_create(&key_file)?, clock, opener)
    }

    fn start(
        path: &Path,
        limits: Limits,
        keys: Keys,
        clock: Arc<dyn Clock>,
        opener: Opener,
    ) -> Result<Self, OpenError> {
        let opened = Store::open(path, opener)?;
        opened.store.prepare(&keys.fingerprints(), &limits)?;
        let handle = Handle::start(opened, limits, Arc::clone(&clock), Interruption::Process)?;
        Ok(Self { handle, keys: Arc::new(keys), clock, limits })
    }

    /// Opens the file for an operator while no host has it: makes neither file nor key, and leaves the tasks as the last
    /// host left them, but for what time does by itself. That goes by the limits of that host. Blocks while the file is read.
    ///
    /// # Errors
    /// The file cannot be used, or there is none; the error says what to do.
    pub(crate) fn visit(path: &Path, limits: Limits) -> Result<impl Admin, OpenError> {
        Self::visit_with(path, limits, Arc::new(System::start()))
    }

    /// Looks whether [`Embedded::open`] would succeed and what it would find. Makes neither file nor key, and notes nothing.
    ///
    /// # Errors
    /// The file or the key file cannot be used or made; the error says what to do.
    pub(crate) async fn examine(options: Options) -> Result<Checkup, OpenError> {
        let Options { path, limits, key_file } = options;
        let keys = Keys::find(&key_file)?;
        let count = keys.as_ref().map_or(0, Keys::count);
        let mut warnings: Vec<_> = aside::found_beside(&path).into_iter().map(|file| aside::reminder(&file)).collect();
        let handle = match Self::visit_with(&path, limits, Arc::new(System::start())) {
            Ok(handle) => handle,
            Err(OpenError::Missing { path }) => {
                private::could_create(&path).map_err(|source| OpenError::Io { path, source })?;
                return Ok(Checkup { stats: None, keys: count, warnings });
            }
            Err(error) => return Err(error),
        };
        let fingerprints = keys.map(|keys| keys.fingerprints()).unwrap_or_default();
        let sealed_otherwise = handle.store.is_sealed_otherwise(&fingerprints)?;
        warnings.extend(sealed_otherwise.then(|| {
            format!(
                "key file {}: it is not the one that the waiting photographs were sealed with; put that one back, or their \
                 tasks end as processing_failed",
                key_file.display()
            )
        }));
        let written: Result<(), Unavailable> = handle.ask(|answer| Command::Ping { answer }).await;
        let stats = match written {
            Ok(()) => handle.stats().await,
            Err(error) => Err(error),
        };
        handle.close().await;
        Ok(Checkup { stats: Some(stats?), keys: count, warnings })
    }

    pub(super) fn visit_with(path: &Path, limits: Limits, clock: Arc<dyn Clock>) -> Result<Handle, OpenError> {
        if !std::fs::metadata(path).is_ok_and(|file| file.len() > 0) {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let opened = Store::open(path, Box::new(store::open_file))?;
        let limits = opened.store.limits()?.unwrap_or(limits);
        Handle::start(opened, limits, clock, Interruption::Storage)
    }
}
