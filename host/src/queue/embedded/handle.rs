//! The way from callers to the writer thread and back, and what an operator may ask by it.
//!
//! Owns the writer's life, from the opened file to the closed one. Needs no key, and must never know what a payload holds.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::clock::Clock;
use super::command::{Answer, Command};
use super::ledger::Interruption;
use super::store::{Opened, Store};
use super::writer::Writer;
use super::{OpenError, blocking};
use crate::queue::{Admin, DeadError, DeadTask, Limits, Line, Unavailable};
use crate::task::TaskId;

/// The queue without its key. [`Admin::close`] it before the process ends; without that nothing is lost, but the next start
/// has to check the whole file.
pub(super) struct Handle {
    pub(super) board: Arc<Board>,
    pub(super) store: Arc<Store>,
    clock: Arc<dyn Clock>,
    commands: Sender<Command>,
    writer: Mutex<Option<JoinHandle<()>>>,
    closed: CancellationToken,
}

impl Handle {
    /// Starts the writer of an opened file.
    pub(super) fn start(
        opened: Opened,
        limits: Limits,
        clock: Arc<dyn Clock>,
        after: Interruption,
    ) -> Result<Self, OpenError> {
        let Opened { store, tasks } = opened;
        let path = store.path().to_owned();
        let store = Arc::new(store);
        let (commands, inbox) = mpsc::channel();
        let writer = Writer::start(limits, Arc::clone(&clock), Arc::clone(&store), tasks, after, commands.clone())?;
        let board = writer.board();
        let writer = thread::Builder::new()
            .name("queue-writer".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(|source| OpenError::Io { path, source })?;
        Ok(Self { board, store, clock, commands, writer: Mutex::new(Some(writer)), closed: CancellationToken::new() })
    }

    /// What `read` finds on board and disk, unless the queue is closed before.
    pub(super) async fn unless_closed<T>(
        &self,
        read: impl Future<Output = Result<T, Unavailable>>,
    ) -> Result<T, Unavailable> {
        tokio::select! {
            biased;
            () = self.closed.cancelled() => Err(Unavailable("it was closed".to_owned())),
            answer = read => answer,
        }
    }

    /// Sends a command and waits for the answer.
    pub(super) async fn ask<T, E: From<Unavailable>>(
        &self,
        command: impl FnOnce(Answer<T, E>) -> Command,
    ) -> Result<T, E> {
        let (answer, result) = oneshot::channel();
        let gone = || Unavailable("its writer has ended; restart visavis if it was not told to stop".to_owned());
        self.commands.send(command(answer)).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The writer finishes what it was asked and closes the file; nobody waits for it here.
        let _ = self.commands.send(Command::Close);
    }
}

#[async_trait]
impl Admin for Handle {
    async fn line(&self) -> Result<Line, Unavailable> {
        let line = async {
            let figures = self.board.figures();
            let oldest = figures.oldest.map(|submitted| self.clock.now().since(submitted));
            Ok(Line { stats: figures.stats, oldest })
        };
        self.unless_closed(line).await
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadTask>, Unavailable> {
        self.ask(|answer| Command::Dead { limit, answer }).await
    }

    async fn redeliver(&self, id: TaskId) -> Result<(), DeadError> {
        self.ask(|answer| Command::Redeliver { id, answer }).await
    }

    async fn purge(&self, id: TaskId) -> Result<(), DeadError> {
        self.ask(|answer| Command::Purge { id, answer }).await
    }

    async fn forget(&self, id: TaskId) -> Result<bool, Unavailable> {
        self.ask(|answer| Command::Forget { id, answer }).await
    }

    async fn close(&self) {
        self.closed.cancel();
        // A writer that has ended already takes no commands.
        let _ = self.commands.send(Command::Close);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && !matches!(blocking(move || writer.join()).await, Ok(Ok(())))
        {
            tracing::error!("the queue's writer had failed before it was closed");
        }
    }
}
