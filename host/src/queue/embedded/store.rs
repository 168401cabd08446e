//! The redb file: which tables there are, and how a round of changes becomes one durable transaction.
//!
//! Owns the file from opening to closing, and what is said when the disk fails. redb refuses all work after an error of
//! the disk, so the file is then opened anew. Must never know rules about tasks or what a payload holds.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError, WriteTransaction,
};

use super::OpenError;
use super::ledger::{Changes, Ledger};
use super::record::Task;
use crate::queue::seal::Fingerprint;
use crate::queue::{Limits, Unavailable, private};
use crate::task::{Outcome, TaskId};

/// Task as JSON: small, and a later version can add fields.
const TASKS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("tasks");
/// Sealed payload.
const PAYLOADS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("payloads");
/// Outcome as JSON.
const OUTCOMES: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("outcomes");
/// Sealed address that the task's end is told to.
const CALLBACKS: TableDefinition<'_, &[u8; 16], &[u8]> = TableDefinition::new("callbacks");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Entry of [`META`]: the version of all of the above.
const FORMAT: &str = "format";
const THIS_FORMAT: &[u8] = b"1";
/// Entry of [`META`]: the fingerprint of the key that payloads are sealed with.
const KEY: &str = "key";
/// Entry of [`META`]: the limits that the last host went by, as JSON.
const LIMITS: &str = "limits";
/// Entry of [`META`]: written to see whether anything can be.
const PROBE: &str = "probe";

/// Payloads are written once and read once; a cache for all of them would be wasted.
const CACHE_BYTES: usize = 64 << 20;

/// Opens the file and takes its lock. A seam, so that tests can put a disk that fails under the store.
pub(super) type Opener = Box<dyn Fn(&Path) -> Result<Database, DatabaseError> + Send + Sync>;

/// One round of changes.
pub(super) struct Round<'a> {
    /// Looks up what is to be written of a task.
    pub(super) ledger: &'a Ledger,
    /// Which tasks are to be written.
    pub(super) changes: &'a Changes,
    /// The sealed payloads of new tasks.
    pub(super) payloads: &'a HashMap<TaskId, Vec<u8>>,
    /// The sealed addresses that their ends are told to.
    pub(super) callbacks: &'a HashMap<TaskId, Vec<u8>>,
}

/// The open file.
pub(super) struct Store {
    path: PathBuf,
    opener: Opener,
    /// Absent while it could not be opened anew. Readers hold the lock for one read.
    database: RwLock<Option<Database>>,
}

/// A file that was just opened, and the tasks in it.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) tasks: Vec<(TaskId, Task)>,
}

/// Opens or makes the file at `path`, mode 0600, on the real disk.
pub(super) fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    builder().create_with_backend(FileBackend::new(open_or_create(path)?)?)
}

/// Makes a queue that has no file.
pub(super) fn open_in_memory(_: &Path) -> Result<Database, DatabaseError> {
    builder().create_with_backend(InMemoryBackend::new())
}

/// How every file of a queue is opened.
pub(super) fn builder() -> Builder {
    let mut builder = Database::builder();
    // A damaged file must fail here with an error, not later with a panic.
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Opens the file, or makes it with mode 0600 in a folder with mode 0700.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            private::make_folder_of(path)?;
            let file = private::create_new(path)?;
            private::sync_folder_of(path)?;
            Ok(file)
        }
        other => other,
    }
}

impl Store {
    /// Opens the file and reads all tasks.
    pub(super) fn open(path: &Path, opener: Opener) -> Result<Opened, OpenError> {
        let (database, tasks) = open(path, &opener)?;
        let store = Self { path: path.to_owned(), opener, database: RwLock::new(Some(database)) };
        Ok(Opened { store, tasks })
    }

    /// Makes the tables for a host, and notes the format, the first of its keys, which is the one in use, and the limits.
    pub(super) fn prepare(&self, keys: &[Fingerprint], limits: &Limits) -> Result<(), OpenError> {
        let unreadable = self.work(|database| prepare(database, keys, limits)).map_err(|e| self.refused(e))?;
        if unreadable {
            tracing::warn!(
                path = %self.path.display(),
                "the key file is not the one that the waiting photographs were sealed with; they will end as \
                 processing_failed unless this process is stopped now and the old key file put back"
            );
        }
        Ok(())
    }

    /// Whether photographs wait that were sealed with another key than these.
    pub(super) fn is_sealed_otherwise(&self, keys: &[Fingerprint]) -> Result<bool, OpenError> {
        let read = |database: &Database| {
            let transaction = database.begin_read()?;
            let known = match transaction.open_table(META) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(false),
                Err(e) => return Err(e.into()),
                Ok(meta) => meta.get(KEY)?.map(|known| known.value().to_vec()),
            };
            let waiting = transaction.open_table(PAYLOADS)?.iter()?.next().is_some();
            Ok(waiting && known.is_none_or(|known| !keys.iter().any(|own| own[..] == known)))
        };
        self.work(read).map_err(|e| self.refused(e))
    }

    /// The limits that the last host went by; `None` when it was of a version that did not note them.
    pub(super) fn limits(&self) -> Result<Option<Limits>, OpenError> {
        let read = |database: &Database| match database.begin_read()?.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e.into()),
            Ok(meta) => Ok(meta.get(LIMITS)?.and_then(|json| serde_json::from_slice(json.value()).ok())),
        };
        self.work(read).map_err(|e| self.refused(e))
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file and opens it anew, as is needed after every failed write, and reads all tasks.
    pub(super) fn reopen(&self) -> Result<Vec<(TaskId, Task)>, Unavailable> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        // First close: the lock is on the file, and redb keeps it until then.
        *slot = None;
        let (database, tasks) = open(&self.path, &self.opener).map_err(|e| Unavailable(e.to_string()))?;
        *slot = Some(database);
        Ok(tasks)
    }

    /// Closes the file.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Writes one round in one transaction. When this returns `Ok`, it survives a power cut.
    pub(super) fn commit(&self, round: &Round<'_>) -> Result<(), Unavailable> {
        self.with(|database| {
            let transaction = begin(database)?;
            round.write(&transaction)?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// Writes next to nothing, to see whether the disk takes it.
    pub(super) fn probe(&self) -> Result<(), Unavailable> {
        self.with(|database| {
            let transaction = begin(database)?;
            transaction.open_table(META)?.insert(PROBE, &[][..])?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// The sealed payload of a task; `None` when it was deleted.
    pub(super) fn payload(&self, id: TaskId) -> Result<Option<Vec<u8>>, Unavailable> {
        self.get(PAYLOADS, id, <[u8]>::to_vec)
    }

    /// The sealed address that a task's end is told to; `None` when it was deleted.
    pub(super) fn callback(&self, id: TaskId) -> Result<Option<Vec<u8>>, Unavailable> {
        self.get(CALLBACKS, id, <[u8]>::to_vec)
    }

    /// How a task ended; `None` when it has not, was revoked or is forgotten.
    pub(super) fn outcome(&self, id: TaskId) -> Result<Option<Outcome>, Unavailable> {
        self.get(OUTCOMES, id, |json| serde_json::from_slice(json))?
            .transpose()
            .map_err(|e| Unavailable(format!("{}: the outcome of {id} is damaged: {e}", self.path.display())))
    }

    fn get<T>(
        &self,
        table: TableDefinition<'static, &'static [u8; 16], &'static [u8]>,
        id: TaskId,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Unavailable> {
        self.with(|database| {
            let table = database.begin_read()?.open_table(table)?;
            Ok(table.get(&id.0)?.map(|value| read(value.value())))
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Unavailable> {
        self.work(work).map_err(|e| Unavailable(format!("{}: {}", self.path.display(), words(&e))))
    }

    fn work<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        let slot = self.database.read().unwrap_or_else(PoisonError::into_inner);
        work(slot.as_ref().ok_or_else(|| redb::Error::Io(io::Error::other("it is not open")))?)
    }

    /// Why an opened file is of no use.
    fn refused(&self, error: redb::Error) -> OpenError {
        let path = self.path.clone();
        match error {
            redb::Error::Io(source) => OpenError::Io { path, source },
            e => OpenError::Corrupt { path, why: words(&e) },
        }
    }
}

impl Round<'_> {
    fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut tasks = transaction.open_table(TASKS)?;
        let mut payloads = transaction.open_table(PAYLOADS)?;
        let mut outcomes = transaction.open_table(OUTCOMES)?;
        let mut callbacks = transaction.open_table(CALLBACKS)?;
        for (id, outcome) in self.changes {
            let Some(task) = self.ledger.task(*id) else {
                tasks.remove(&id.0)?;
                payloads.remove(&id.0)?;
                outcomes.remove(&id.0)?;
                callbacks.remove(&id.0)?;
                continue;
            };
            tasks.insert(&id.0, json(task)?.as_slice())?;
            if !task.keeps_payload() {
                payloads.remove(&id.0)?;
            } else if let Some(payload) = self.payloads.get(id) {
                payloads.insert(&id.0, payload.as_slice())?;
            }
            if !task.keeps_callback() {
                callbacks.remove(&id.0)?;
            } else if let Some(callback) = self.callbacks.get(id) {
                callbacks.insert(&id.0, callback.as_slice())?;
            }
            // What a task had ended with before it was opened again stays until the next outcome: nobody reads it, but for
            // those who saw the end a moment ago.
            if let Some(outcome) = outcome {
                outcomes.insert(&id.0, json(outcome)?.as_slice())?;
            }
        }
        Ok(())
    }
}

fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|e| redb::Error::Io(e.into()))
}

fn open(path: &Path, opener: &Opener) -> Result<(Database, Vec<(TaskId, Task)>), OpenError> {
    let corrupt = |why: String| OpenError::Corrupt { path: path.to_owned(), why };
    // redb checks what it reads, yet some damage shows as a failed assertion; that must not end the host.
    catch_unwind(AssertUnwindSafe(|| {
        let database = opener(path).map_err(|e| refused(path, e))?;
        let tasks = read_tasks(&database).map_err(|e| match e {
            ReadError::Storage(redb::Error::Io(source)) => OpenError::Io { path: path.to_owned(), source },
            ReadError::Storage(e) => corrupt(words(&e)),
            ReadError::Format(found) => OpenError::Format { path: path.to_owned(), found },
            // What the disk damages, redb's checksums tell: this was written so.
            ReadError::Task(id, e) => {
                OpenError::Format { path: path.to_owned(), found: format!("another one, by the record of {id} ({e})") }
            }
        })?;
        Ok((database, tasks))
    }))
    .unwrap_or_else(|_| Err(corrupt("its structure is damaged".to_owned())))
}

enum ReadError {
    Storage(redb::Error),
    Format(String),
    Task(TaskId, serde_json::Error),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}

fn read_tasks(database: &Database) -> Result<Vec<(TaskId, Task)>, ReadError> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        // A new file.
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
        Ok(meta) => {
            if let Some(format) = meta.get(FORMAT)?
                && format.value() != THIS_FORMAT
            {
                return Err(ReadError::Format(String::from_utf8_lossy(format.value()).into_owned()));
            }
        }
    }
    let mut tasks = Vec::new();
    for entry in transaction.open_table(TASKS)?.iter()? {
        let (id, task) = entry?;
        let id = TaskId(*id.value());
        tasks.push((id, serde_json::from_slice(task.value()).map_err(|e| ReadError::Task(id, e))?));
    }
    Ok(tasks)
}

/// Makes the tables, and notes format, key and limits. Yields whether there are payloads that were sealed with another key.
fn prepare(database: &Database, keys: &[Fingerprint], limits: &Limits) -> Result<bool, redb::Error> {
    let transaction = begin(database)?;
    transaction.open_table(TASKS)?;
    transaction.open_table(OUTCOMES)?;
    transaction.open_table(CALLBACKS)?;
    let payloads = transaction.open_table(PAYLOADS)?.iter()?.next().is_some();
    let mut meta = transaction.open_table(META)?;
    meta.insert(FORMAT, THIS_FORMAT)?;
    meta.insert(LIMITS, json(limits)?.as_slice())?;
    let newest = keys.first().map_or(&[][..], |key| &key[..]);
    let changed = meta.insert(KEY, newest)?.is_some_and(|old| !keys.iter().any(|key| old.value() == key));
    drop(meta);
    transaction.commit()?;
    Ok(changed && payloads)
}

fn refused(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => OpenError::Locked { path },
        DatabaseError::UpgradeRequired(version) => {
            OpenError::Format { path, found: format!("redb's version {version}") }
        }
        // What redb says of a file that it did not write.
        DatabaseError::Storage(StorageError::Io(e))
            if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            OpenError::Corrupt { path, why: e.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(source)) => OpenError::Io { path, source },
        other => OpenError::Corrupt { path, why: words(&other.into()) },
    }
}

/// The operating system's words where it spoke, else redb's.
fn words(error: &redb::Error) -> String {
    match error {
        redb::Error::Io(e) => e.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    //! Damage that cannot be done from outside of this file.

    use super::*;

    pub(in super::super) fn set_format(database: &Database, format: &[u8]) {
        let transaction = begin(database).unwrap();
        transaction.open_table(META).unwrap().insert(FORMAT, format).unwrap();
        transaction.commit().unwrap();
    }

    pub(in super::super) fn swap_payloads(database: &Database, a: TaskId, b: TaskId) {
        let transaction = begin(database).unwrap();
        {
            let mut payloads = transaction.open_table(PAYLOADS).unwrap();
            let [first, second] = [a, b].map(|id| payloads.remove(&id.0).unwrap().unwrap().value().to_vec());
            payloads.insert(&a.0, second.as_slice()).unwrap();
            payloads.insert(&b.0, first.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
}
