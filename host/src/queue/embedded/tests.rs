//! The embedded queue against the contract, and what only a file can do: be locked, sealed by another key, replaced. Disks
//! that fail are in `disk`, files that are damaged bit by bit in `damage`.

mod damage;
mod disk;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io};

use tempfile::TempDir;

use super::clock::Stamp;
use super::store::Opener;
use super::*;
use crate::queue::Callbacks;
use crate::queue::contract::{self, LIMITS, Rig, claim, contract, counts, failure, payload, state, submit, success};

contract!(File);

/// Moves when told to.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Stamp {
        Stamp(self.0.load(Ordering::SeqCst))
    }
}

/// Limits that no test reaches by the system's own time.
const WIDE: contract::Limits = contract::Limits {
    lease: Duration::from_secs(600),
    result_ttl: Duration::from_secs(600),
    payload_ttl: Duration::from_secs(600),
    ..LIMITS
};

/// A queue in a folder of its own.
struct File {
    folder: TempDir,
    options: Options,
    clock: Arc<Hand>,
    queue: Embedded,
}

fn options(folder: &Path, limits: contract::Limits) -> Options {
    let (path, key_file) = (folder.join("data/queue.redb"), folder.join("keys/queue.key"));
    Options { path, limits, key_file }
}

fn open(options: &Options, clock: &Arc<Hand>, opener: Opener) -> Result<Embedded, OpenError> {
    Embedded::open_with(options.clone(), Arc::clone(clock) as Arc<dyn Clock>, opener)
}

#[async_trait]
impl Rig for File {
    async fn new(limits: contract::Limits) -> Self {
        // In memory where that can be had: what a crash leaves is told by copying the file, and a disk only makes it slow.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let options = options(folder.path(), limits);
        // Some time well after the epoch, so that stamps can lie in the past.
        let clock = Arc::new(Hand(AtomicU64::new(1_800_000_000_000)));
        let queue = open(&options, &clock, Box::new(store::open_file)).unwrap();
        Self { folder, options, clock, queue }
    }

    fn queue(&self) -> &dyn Queue {
        &self.queue
    }

    async fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
        // Any command wakes the writer, and it looks at the clock then.
        self.queue.ping().await.unwrap();
    }

    /// What a dead process leaves behind is the file as it is between two commits: never closed.
    async fn crash(mut self) -> Self {
        let copy = self.options.path.with_extension("copy");
        fs::copy(&self.options.path, &copy).unwrap();
        self.queue.close().await;
        fs::rename(&copy, &self.options.path).unwrap();
        self.queue = open(&self.options, &self.clock, Box::new(store::open_file)).unwrap();
        self
    }
}

fn why(result: Result<Embedded, OpenError>) -> String {
    result.err().expect("it must not open").to_string()
}

#[tokio::test]
async fn the_file_and_its_folder_are_private() {
    let rig = File::new(LIMITS).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&rig.options.path), 0o600);
    assert_eq!(mode(rig.options.path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn neither_photographs_nor_keys_nor_clients_nor_addresses_lie_readable_in_the_file() {
    let rig = File::new(contract::Limits { max_waiting_per_client: Some(1), ..LIMITS }).await;
    rig.queue.submit(contract::confidential()).await.unwrap();
    let bytes = fs::read(&rig.options.path).unwrap();
    for secret in contract::SECRETS {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test]
async fn a_second_queue_on_the_same_file_is_refused() {
    let rig = File::new(LIMITS).await;
    let error = why(open(&rig.options, &rig.clock, Box::new(store::open_file)));
    assert!(error.contains("another visavis runs on this file"), "{error}");
    assert!(error.contains(&rig.options.path.display().to_string()), "{error}");
    submit(rig.queue(), 1).await;
}

#[tokio::test]
async fn a_closed_queue_opens_again_and_refuses_until_then() {
    let rig = File::new(LIMITS).await;
    let id = submit(rig.queue(), 1).await;
    let held = claim(rig.queue()).await;
    let (waited, ()) = tokio::join!(rig.queue.claim(Duration::from_secs(600)), rig.queue.close());
    assert!(waited.unwrap().is_none(), "who waits is sent away");
    rig.queue.close().await;
    assert!(rig.queue.ping().await.is_err());
    assert!(rig.queue.extend(held.lease).await.is_err());
    let again = open(&rig.options, &rig.clock, Box::new(store::open_file)).unwrap();
    assert_eq!(claim(&again).await.lease, Lease { id, delivery: 2 });
}

#[tokio::test]
async fn a_dropped_queue_frees_its_file() {
    let File { queue, options, clock, folder } = File::new(LIMITS).await;
    let id = submit(&queue, 1).await;
    drop(queue);
    let again = loop {
        match open(&options, &clock, Box::new(store::open_file)) {
            Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
            other => break other.unwrap(),
        }
    };
    assert_eq!(state(&again, id).await, State::Pending);
    drop(folder);
}

#[tokio::test]
async fn damaged_and_foreign_files_are_refused_with_the_mend() {
    let rig = File::new(LIMITS).await;
    for seed in 0..20 {
        submit(rig.queue(), seed).await;
    }
    rig.queue.close().await;
    let whole = fs::read(&rig.options.path).unwrap();
    let try_with = |bytes: &[u8]| {
        fs::write(&rig.options.path, bytes).unwrap();
        open(&rig.options, &rig.clock, Box::new(store::open_file))
    };
    let mut zeroed = whole.clone();
    zeroed[whole.len() / 8..].fill(0);
    for bytes in
        [b"this is a text and no queue".to_vec(), vec![0x5A; 100_000], whole[..whole.len() / 2].to_vec(), zeroed]
    {
        let error = why(try_with(&bytes));
        assert!(error.contains("move the file away"), "{error}");
        assert!(error.contains(&rig.options.path.display().to_string()), "{error}");
    }
    // A page anywhere: the damage is noticed, or it hit nothing of use and all tasks are there.
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..512].fill(0xEE);
        match try_with(&bytes) {
            Err(OpenError::Corrupt { .. }) => {}
            Err(other) => panic!("page {page}: {other}"),
            Ok(queue) => {
                assert_eq!(counts(&queue).await, [20, 0, 0, 0], "page {page}");
                queue.close().await;
            }
        }
    }
    let queue = try_with(&whole).unwrap();
    assert_eq!(counts(&queue).await, [20, 0, 0, 0]);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let rig = File::new(LIMITS).await;
    rig.queue.close().await;
    let database = store::open_file(&rig.options.path).unwrap();
    store::tests::set_format(&database, b"99");
    drop(database);
    let error = why(open(&rig.options, &rig.clock, Box::new(store::open_file)));
    assert!(error.contains("its format is 99"), "{error}");
}

#[tokio::test]
async fn a_path_that_cannot_be_made_is_refused_in_the_systems_words() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data"), "a file where the folder should be").unwrap();
    let error = why(Embedded::open(&options(folder.path(), LIMITS)));
    assert!(error.contains("os error") && error.contains("queue.url"), "{error}");
}

#[tokio::test]
async fn tasks_sealed_with_another_key_fail_and_block_nobody() {
    let rig = File::new(LIMITS).await;
    let [first, second] = [submit(rig.queue(), 1).await, submit(rig.queue(), 2).await];
    rig.queue.close().await;
    fs::remove_file(&rig.options.key_file).unwrap();
    let queue = open(&rig.options, &rig.clock, Box::new(store::open_file)).unwrap();
    let third = submit(&queue, 3).await;
    let claim = claim(&queue).await;
    assert_eq!((claim.lease.id, claim.payload), (third, payload(3)));
    for id in [first, second] {
        assert_eq!(failure(&queue, id).await.code, ErrorCode::ProcessingFailed);
    }
    assert_eq!(counts(&queue).await, [0, 1, 2, 0]);
}

#[tokio::test]
async fn keys_change_while_tasks_wait() {
    let rig = File::new(WIDE).await;
    let keyed = |seed| Submission {
        idempotency_key: Some("order 4711".to_owned()),
        callback: Some("https://hooks.example.org/".to_owned()),
        ..Submission::new(payload(seed))
    };
    let before = rig.queue.submit(keyed(1)).await.unwrap();
    rig.queue.close().await;
    let old = fs::read_to_string(&rig.options.key_file).unwrap();
    let new = "5e".repeat(32);
    fs::write(&rig.options.key_file, format!("{new}\n{old}")).unwrap();
    let open = || open(&rig.options, &rig.clock, Box::new(store::open_file)).unwrap();
    let queue = open();
    assert_eq!(queue.submit(keyed(1)).await.unwrap(), before, "the idempotency key is known by the key of its time");
    assert!(matches!(queue.submit(keyed(2)).await, Err(SubmitError::Conflict)));
    let after = submit(&queue, 3).await;
    queue.close().await;

    // Which key sealed what shows without the old one.
    fs::write(&rig.options.key_file, &new).unwrap();
    let found = Embedded::examine(rig.options.clone()).await.unwrap();
    assert_eq!((found.keys, found.warnings), (1, Vec::new()));
    fs::write(&rig.options.key_file, format!("{new}\n{old}")).unwrap();
    assert_eq!(Embedded::examine(rig.options.clone()).await.unwrap().keys, 2);
    let queue = open();
    for (id, seed) in [(before, 1), (after, 3)] {
        let claim = claim(&queue).await;
        assert_eq!((claim.lease.id, claim.payload), (id, payload(seed)));
        queue.settle(claim.lease, success(seed)).await.unwrap();
    }
    let news = queue.claim_callback(Duration::ZERO).await.unwrap().expect("an end to be told");
    assert_eq!((news.lease.id, news.url.as_str()), (before, "https://hooks.example.org/"));
    queue.close().await;
    fs::write(&rig.options.key_file, &old).unwrap();
    let other = open();
    let id = submit(&other, 4).await;
    assert_eq!(claim(&other).await.lease.id, id);
}

#[tokio::test]
async fn a_damaged_queue_is_put_aside_and_an_empty_one_takes_its_place() {
    let rig = File::new(WIDE).await;
    let lost = submit(rig.queue(), 1).await;
    rig.queue.close().await;
    let whole = fs::read(&rig.options.path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 8..].fill(0);
    fs::write(&rig.options.path, &damaged).unwrap();
    let queue = Embedded::open(&rig.options).unwrap();
    assert!(queue.status(lost, Duration::ZERO).await.unwrap().is_none());
    let id = submit(&queue, 2).await;
    assert_eq!(claim(&queue).await.lease.id, id);
    queue.close().await;
    let found = aside::found_beside(&rig.options.path);
    let [aside] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(fs::read(aside).unwrap(), damaged);
    assert_eq!(fs::metadata(aside).unwrap().permissions().mode() & 0o777, 0o600);
    let warnings = Embedded::examine(rig.options.clone()).await.unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains(&*aside.to_string_lossy()), "{warnings:?}");

    // What was never a queue, and what is whole but of another version, stays.
    for (bytes, words) in [(b"a letter".repeat(1000), "move the file away"), (whole, "its format is 99")] {
        fs::write(&rig.options.path, &bytes).unwrap();
        if words.contains("99") {
            store::tests::set_format(&store::open_file(&rig.options.path).unwrap(), b"99");
        }
        let error = why(Embedded::open(&rig.options));
        assert!(error.contains(words) && rig.options.path.exists(), "{error}");
    }
    assert_eq!(aside::found_beside(&rig.options.path).len(), 1);
}

#[tokio::test]
async fn a_payload_that_was_tampered_with_fails_and_blocks_nobody() {
    let rig = File::new(LIMITS).await;
    let [first, second] = [submit(rig.queue(), 1).await, submit(rig.queue(), 2).await];
    rig.queue.close().await;
    let database = store::open_file(&rig.options.path).unwrap();
    store::tests::swap_payloads(&database, first, second);
    drop(database);
    let queue = open(&rig.options, &rig.clock, Box::new(store::open_file)).unwrap();
    assert!(queue.claim(Duration::ZERO).await.unwrap().is_none());
    for id in [first, second] {
        assert_eq!(failure(&queue, id).await.code, ErrorCode::ProcessingFailed);
    }
}

#[tokio::test]
async fn the_payload_goes_with_the_end_of_its_task() {
    let rig = File::new(LIMITS).await;
    let queue = rig.queue();
    let [settled, revoked, overdue, waiting] =
        [submit(queue, 1).await, submit(queue, 2).await, submit(queue, 3).await, submit(queue, 4).await];
    let lease = claim(queue).await.lease;
    queue.settle(lease, success(1)).await.unwrap();
    queue.revoke(revoked).await.unwrap();
    let held = [claim(queue).await.lease, claim(queue).await.lease].map(|lease| lease.id);
    assert_eq!(held, [overdue, waiting]);
    let there = |id| rig.queue.handle.store.payload(id).unwrap().is_some();
    assert_eq!([settled, revoked, overdue, waiting].map(there), [false, false, true, true]);
    rig.pass(LIMITS.payload_ttl).await;
    assert!(!there(overdue) && !there(waiting), "their leases ran out, and then their time");

    let [dead, purged] = [submit(queue, 5).await, submit(queue, 6).await];
    for id in [dead, purged] {
        let lease = claim(queue).await.lease;
        queue.bury(lease, contract::error("beyond help")).await.unwrap();
        assert!(state(queue, id).await.is_final() && there(id), "an operator may open it again");
    }
    queue.purge(purged).await.unwrap();
    assert!(!there(purged));
    rig.pass(LIMITS.payload_ttl).await;
    assert!(!there(dead));
}

#[tokio::test]
async fn a_visitor_makes_no_file_and_leaves_the_tasks_to_the_host() {
    let limits = contract::Limits { payload_ttl: Duration::from_secs(600), ..LIMITS };
    let mut rig = File::new(limits).await;
    let clock = Arc::clone(&rig.clock) as Arc<dyn Clock>;
    let visit = |path: &Path| Embedded::visit_with(path, LIMITS, Arc::clone(&clock)).map(|_| ());
    let error = visit(&rig.options.path).unwrap_err().to_string();
    assert!(error.contains("another visavis runs on this file"), "{error}");
    let nowhere = rig.folder.path().join("nowhere/queue.redb");
    let empty = rig.folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    for path in [&nowhere, &empty] {
        let error = visit(path).unwrap_err().to_string();
        assert!(error.contains(&path.display().to_string()) && error.contains("queue.url"), "{error}");
    }
    assert!(!nowhere.parent().unwrap().exists() && fs::read(&empty).unwrap().is_empty());

    let dead = submit(rig.queue(), 1).await;
    let lease = claim(rig.queue()).await.lease;
    rig.queue.bury(lease, contract::error("beyond help")).await.unwrap();
    let running = submit(rig.queue(), 2).await;
    claim(rig.queue()).await;
    rig.queue.close().await;
    fs::remove_file(&rig.options.key_file).unwrap();
    // By the visitor's own limits the photographs would be gone.
    rig.clock.0.fetch_add(2 * LIMITS.payload_ttl.as_millis() as u64, Ordering::SeqCst);
    let visitor = Embedded::visit_with(&rig.options.path, LIMITS, Arc::clone(&clock)).unwrap();
    let stats = visitor.stats().await.unwrap();
    assert_eq!([stats.waiting, stats.running, stats.ended, stats.dead], [0, 1, 1, 1]);
    assert_eq!(visitor.dead(9).await.unwrap()[0].payload_left, Some(limits.payload_ttl - 2 * LIMITS.payload_ttl));
    visitor.redeliver(dead).await.unwrap();
    visitor.close().await;
    assert!(!rig.options.key_file.exists(), "whoever only visits needs no key");
    rig.queue = open(&rig.options, &rig.clock, Box::new(store::open_file)).unwrap();
    assert_eq!([state(rig.queue(), dead).await, state(rig.queue(), running).await], [State::Pending, State::Retry]);
}
