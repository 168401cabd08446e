//! Disks that are full or have become read-only, or that write and then say that they did not.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicI32};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::*;

/// A disk that can be made to fail.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    /// Refuses to write, for this reason; 0 writes.
    refusal: AtomicI32,
    /// Writes, and then says that it could not be made durable.
    unsynced: AtomicBool,
}

impl Disk {
    fn opener(faults: &Arc<Faults>) -> Opener {
        let faults = Arc::clone(faults);
        Box::new(move |path| {
            let file = FileBackend::new(store::open_or_create(path)?)?;
            store::builder().create_with_backend(Disk { file, faults: Arc::clone(&faults) })
        })
    }

    fn check(&self) -> Result<(), io::Error> {
        match self.faults.refusal.load(Ordering::SeqCst) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.faults.unsynced.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, redb::BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), redb::BackendError> {
        self.file.unlock_range(start, end)
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_survived() {
    is_told_and_survived(libc::ENOSPC, "No space left on device").await;
}

#[tokio::test]
async fn a_disk_that_has_become_read_only_is_told_and_survived() {
    is_told_and_survived(libc::EROFS, "Read-only file system").await;
}

async fn is_told_and_survived(errno: i32, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (options, clock) = (options(folder.path(), LIMITS), Arc::<Hand>::default());
    let faults = Arc::<Faults>::default();
    let queue = open(&options, &clock, Disk::opener(&faults)).unwrap();
    let before = submit(&queue, 1).await;
    let running = claim(&queue).await;
    let waiting = submit(&queue, 2).await;

    faults.refusal.store(errno, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = queue.submit(Submission::new(payload(3))).await;
        match refused {
            Err(SubmitError::Unavailable(e)) => {
                assert!(e.to_string().contains(words), "{e}");
                assert!(e.to_string().contains(&options.path.display().to_string()), "{e}");
            }
            other => panic!("{other:?}"),
        }
        assert!(queue.ping().await.is_err());
        assert!(matches!(queue.settle(running.lease, success(1)).await, Err(LeaseError::Unavailable(_))));
        // What readers see is what was there before.
        assert_eq!(state(&queue, before).await, State::Started);
        assert_eq!(state(&queue, waiting).await, State::Pending);
        assert_eq!(counts(&queue).await, [1, 1, 0, 0]);
        clock.0.fetch_add(1000, Ordering::SeqCst);
    }

    faults.refusal.store(0, Ordering::SeqCst);
    queue.ping().await.unwrap();
    queue.extend(running.lease).await.unwrap();
    queue.settle(running.lease, success(1)).await.unwrap();
    let after = submit(&queue, 3).await;
    assert_eq!(claim(&queue).await.lease.id, waiting);
    assert_eq!(claim(&queue).await.lease.id, after);
    queue.close().await;
    let again = open(&options, &clock, Disk::opener(&faults)).unwrap();
    assert_eq!(state(&again, before).await, State::Success);
    assert_eq!(counts(&again).await, [2, 0, 1, 0]);
}

#[tokio::test]
async fn a_disk_that_fails_now_and_then_loses_nothing_that_was_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let limits = contract::Limits { max_length: 1000, payload_ttl: Duration::from_secs(60), ..LIMITS };
    let options = options(folder.path(), limits);
    let clock = Arc::<Hand>::default();
    let faults = Arc::<Faults>::default();
    let queue = open(&options, &clock, Disk::opener(&faults)).unwrap();
    let mut accepted = Vec::new();
    let mut refused = 0;
    for turn in 0..60u8 {
        faults.refusal.store(if turn % 5 == 3 { libc::ENOSPC } else { 0 }, Ordering::SeqCst);
        faults.unsynced.store(turn % 7 == 2, Ordering::SeqCst);
        clock.0.fetch_add(20, Ordering::SeqCst);
        match queue.submit(Submission::new(payload(turn))).await {
            Ok(id) => accepted.push((id, turn)),
            Err(SubmitError::Unavailable(_)) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        if turn % 10 == 0 {
            clock.0.fetch_add(500, Ordering::SeqCst);
        }
    }
    assert!(accepted.len() > 5 && refused > 5, "{} and {refused}", accepted.len());
    faults.refusal.store(0, Ordering::SeqCst);
    faults.unsynced.store(false, Ordering::SeqCst);
    clock.0.fetch_add(500, Ordering::SeqCst);
    queue.ping().await.unwrap();
    for (id, seed) in accepted {
        let claim = claim(&queue).await;
        assert_eq!((claim.lease.id, claim.payload), (id, payload(seed)));
    }
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none(), "what was refused is not done after all");
}

#[tokio::test]
async fn what_was_refused_is_not_done_although_the_disk_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let (options, clock) = (options(folder.path(), LIMITS), Arc::<Hand>::default());
    let faults = Arc::<Faults>::default();
    let queue = open(&options, &clock, Disk::opener(&faults)).unwrap();
    let kept = submit(&queue, 1).await;

    faults.unsynced.store(true, Ordering::SeqCst);
    let submission = Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(2)) };
    assert!(matches!(queue.submit(submission).await, Err(SubmitError::Unavailable(_))));
    faults.unsynced.store(false, Ordering::SeqCst);
    let store::Opened { tasks, .. } = {
        let copy = folder.path().join("copy");
        fs::copy(&options.path, &copy).unwrap();
        store::Store::open(&copy, Box::new(store::open_file)).unwrap()
    };
    assert_eq!(tasks.len(), 2, "the refused task did reach the disk; without that, this test tells nothing");

    clock.0.fetch_add(500, Ordering::SeqCst);
    queue.ping().await.unwrap();
    assert_eq!(counts(&queue).await, [1, 0, 0, 0]);
    let again = Submission { idempotency_key: Some("key".to_owned()), ..Submission::new(payload(3)) };
    let again = queue.submit(again).await.unwrap();
    queue.close().await;
    let queue = open(&options, &clock, Box::new(store::open_file)).unwrap();
    assert_eq!(counts(&queue).await, [2, 0, 0, 0]);
    assert_eq!([claim(&queue).await.lease.id, claim(&queue).await.lease.id], [kept, again]);
}
