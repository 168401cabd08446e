//! The connection to the server: made, checked, lost and made anew.
//!
//! Owns every wait for the network and its bounds: while there is no connection, commands are refused at once and in the
//! words of the last failure. Commands and the messages of the scripts share one connection (RESP3), so that whoever is
//! sent an answer is also told what happens next. Must never know what a command means.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, PushInfo, PushKind, RedisError};
use redis::{ServerErrorKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::bell::Bell;
use super::server;
use crate::queue::Unavailable;

/// So long a connection may take to be made and checked.
const CONNECT: Duration = Duration::from_millis(1500);
/// So long an answer may take; a server that is slower counts as gone.
const ANSWER: Duration = Duration::from_secs(2);
/// Between two attempts to connect: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A connection that is kept up until dropped.
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error, and the connection is fine.
    Refused(RedisError),
    /// There is no connection, or it was lost on the way; the command may have been done.
    Gone(Unavailable),
}

impl From<Failure> for Unavailable {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self(error.to_string()),
            Failure::Gone(unavailable) => unavailable,
        }
    }
}

struct Shared {
    client: Client,
    channel: String,
    bell: Arc<Bell>,
    state: Mutex<State>,
    lost: Notify,
}

struct State {
    /// Counts connections, so that a late complaint about an old one does no harm to its successor.
    generation: u64,
    connection: Result<MultiplexedConnection, Unavailable>,
    warnings: Vec<String>,
}

impl Link {
    /// Connects, and listens on `channel`.
    ///
    /// # Errors
    /// The server cannot be reached or cannot hold a queue.
    pub(super) async fn open(client: Client, channel: String, bell: Arc<Bell>) -> Result<Self, Unavailable> {
        let connection = Err(Unavailable("not connected yet".to_owned()));
        let state = Mutex::new(State { generation: 0, connection, warnings: Vec::new() });
        let shared = Arc::new(Shared { client, channel, bell, state, lost: Notify::new() });
        shared.connect().await?;
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        Ok(Self { shared, keeper })
    }

    /// Whether there is a connection, as far as is known; spares work whose result could not be sent.
    pub(super) fn check(&self) -> Result<(), Unavailable> {
        self.shared.state().connection.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// Sends a command and waits for its answer, but not for longer than two seconds.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let (generation, mut connection) = {
            let state = self.shared.state();
            (state.generation, state.connection.clone().map_err(Failure::Gone)?)
        };
        let Ok(answer) = timeout(ANSWER, command.query_async(&mut connection)).await else {
            let silent = Unavailable(format!("the server has not answered for {} s", ANSWER.as_secs()));
            self.shared.give_up(generation, silent.clone());
            return Err(Failure::Gone(silent));
        };
        answer.map_err(|error| {
            // A primary that became a replica keeps its connections; a new one may lead to the new primary.
            let demoted = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
            if error.is_unrecoverable_error() || error.is_io_error() || demoted {
                let gone = Unavailable(error.to_string());
                self.shared.give_up(generation, gone.clone());
                Failure::Gone(gone)
            } else {
                Failure::Refused(error)
            }
        })
    }

    /// Lets go of the connection for good; whoever waits or asks is refused.
    pub(super) fn close(&self) {
        self.keeper.abort();
        self.shared.state().connection = Err(Unavailable("it was closed".to_owned()));
        self.shared.bell.ring_all();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Makes a new connection whenever one is lost.
async fn keep(shared: Arc<Shared>) {
    loop {
        shared.lost.notified().await;
        let mut pause = PAUSE.0;
        while shared.state().connection.is_err() {
            match shared.connect().await {
                Ok(()) => tracing::info!("connected to Redis again"),
                Err(error) => {
                    tracing::debug!(%error, ?pause, "Redis cannot be reached");
                    shared.state().connection = Err(error);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }
}

impl Shared {
    /// Makes and checks one connection.
    async fn connect(self: &Arc<Self>) -> Result<(), Unavailable> {
        let generation = self.state().generation + 1;
        let attempt = timeout(CONNECT, self.try_connect(generation)).await;
        let (connection, warnings) = match attempt {
            Ok(made) => made?,
            Err(_) => return Err(Unavailable(format!("no connection within {} ms", CONNECT.as_millis()))),
        };
        let news = {
            let mut state = self.state();
            let news = state.warnings != warnings;
            *state = State { generation, connection: Ok(connection), warnings: warnings.clone() };
            news
        };
        if news {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        // What happened meanwhile was told to nobody.
        self.bell.ring_all();
        Ok(())
    }

    async fn try_connect(
        self: &Arc<Self>,
        generation: u64,
    ) -> Result<(MultiplexedConnection, Vec<String>), Unavailable> {
        let weak = Arc::downgrade(self);
        let listen = move |push: PushInfo| -> Result<(), ()> {
            let shared = weak.upgrade().ok_or(())?;
            match (push.kind, push.data.as_slice()) {
                (PushKind::Message, [_, Value::BulkString(message)]) => shared.bell.ring(message),
                (PushKind::Disconnection, _) => {
                    shared.give_up(generation, Unavailable("the server closed the connection".to_owned()));
                }
                _ => {}
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_push_sender(listen);
        let words = |error: RedisError| Unavailable(error.to_string());
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(words)?;
        let info: String = redis::cmd("INFO").query_async(&mut connection).await.map_err(words)?;
        let warnings = server::check(&info).map_err(|unfit| Unavailable(unfit.to_string()))?;
        connection.subscribe(&self.channel).await.map_err(words)?;
        Ok((connection, warnings))
    }

    /// Says that a connection is of no use any more.
    fn give_up(&self, generation: u64, why: Unavailable) {
        let mut state = self.state();
        if state.generation == generation && state.connection.is_ok() {
            tracing::warn!(%why, "the connection to Redis is lost");
            state.connection = Err(why);
            drop(state);
            self.lost.notify_one();
            // Who waits should not wait for a message that cannot come.
            self.bell.ring_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
