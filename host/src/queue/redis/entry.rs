//! Makes a process a node of the queue, on its first connection.
//!
//! Owns what has to be done before anything else is asked of the server: the proof that this node seals with the key that the
//! others seal with, and the return of what the last process under its name ran. Must never know when there is a connection.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;

use super::scripts::Call;
use super::server::NoConnection;

/// A node that is not let in yet, or was.
pub(super) struct Entry {
    call: Call,
    node: String,
    key_file: PathBuf,
    done: AtomicBool,
}

impl Entry {
    /// `call` is that of `lua/enter.lua`, complete.
    pub(super) fn new(call: Call, node: String, key_file: PathBuf) -> Self {
        Self { call, node, key_file, done: AtomicBool::new(false) }
    }

    /// Joins the queue, unless that was done on an earlier connection: what this process runs is not to be given back.
    ///
    /// # Errors
    /// The server cannot be asked, or other nodes seal with another key.
    pub(super) async fn enter(&self, line: &mut MultiplexedConnection) -> Result<(), NoConnection> {
        if self.done.load(Ordering::Acquire) {
            return Ok(());
        }
        let tasks: i64 = self.call.send_on(line).await?;
        if tasks < 0 {
            return Err(NoConnection::lasting(format!(
                "key file {}: the queue holds photographs that were sealed with another key; copy the key file of a node \
                 that runs and start this one again, or wait until the queue has drained",
                self.key_file.display()
            )));
        }
        if tasks > 0 {
            tracing::info!(tasks, node = self.node, "took back what this node ran when it stopped");
        }
        self.done.store(true, Ordering::Release);
        Ok(())
    }
}
