//! Waits until replicas have what was written.
//!
//! Owns `queue.wait_replicas`. Replication is asynchronous: what a primary has confirmed is lost with it, unless the replica
//! that takes over has it already. The waiting has a connection of its own, for a server holds up all that follows a `WAIT`
//! on its connection. Must never know what was written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use crate::queue::Unavailable;

/// So long replicas may take to confirm.
const CONFIRM: Duration = Duration::from_secs(1);
/// Writes next to nothing, also when the server's memory is full: only what this connection has written is waited for, and
/// replicas get all writes in their order.
const MARK: &str = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '', 'PX', 60000)";

/// The replicas of one server.
pub(super) struct Replicas {
    connection: MultiplexedConnection,
    /// What is written to be waited for.
    key: String,
    /// So many must confirm.
    number: u32,
    /// Counts those who asked.
    asked: AtomicU64,
    round: Mutex<Round>,
}

/// The last time that replicas were waited for. One round serves all who asked before it began.
struct Round {
    /// Who asked as one of so many is answered by it.
    covers: u64,
    result: Result<(), Unavailable>,
}

/// Why it was not confirmed.
pub(super) enum Unconfirmed {
    /// Replicas are missing or slow; the server is fine.
    Short(Unavailable),
    /// The connection is of no use any more.
    Broken(RedisError),
}

impl Replicas {
    pub(super) fn new(connection: MultiplexedConnection, key: String, number: u32) -> Self {
        let round = Mutex::new(Round { covers: 0, result: Ok(()) });
        Self { connection, key, number, asked: AtomicU64::new(0), round }
    }

    /// Waits until enough replicas have what the server had answered before the call.
    pub(super) async fn confirm(&self) -> Result<(), Unconfirmed> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut round = self.round.lock().await;
        if round.covers < ticket {
            let covers = self.asked.load(Ordering::SeqCst);
            let result = self.wait().await.map_err(Unconfirmed::Broken)?;
            *round = Round { covers, result };
        }
        round.result.clone().map_err(Unconfirmed::Short)
    }

    async fn wait(&self) -> Result<Result<(), Unavailable>, RedisError> {
        let mut pipe = redis::pipe();
        pipe.cmd("EVAL").arg(MARK).arg(1).arg(&self.key).ignore();
        pipe.cmd("WAIT").arg(self.number).arg(CONFIRM.as_millis() as u64);
        let (confirmed,): (u32,) = pipe.query_async(&mut self.connection.clone()).await?;
        Ok(if confirmed >= self.number {
            Ok(())
        } else {
            Err(Unavailable(format!(
                "{confirmed} of {} replicas have confirmed within {} s; mend the others, or lower queue.wait_replicas",
                self.number,
                CONFIRM.as_secs()
            )))
        })
    }
}
