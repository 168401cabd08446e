//! The connection to the server: made, checked, lost and made anew.
//!
//! Owns every wait for the network and its bounds: while there is no connection, commands are refused at once and in the
//! words of the last failure. Commands and the messages of the scripts share one connection (RESP3), so that whoever is
//! sent an answer is also told what happens next. Must never know what a command means, or where the server is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::bell::Bell;
use super::entry::Entry;
use super::finder::{self, Finder};
use super::replicas::{Replicas, Unconfirmed};
use super::server::{self, NoConnection, Unfit};
use crate::queue::Unavailable;

/// So long a connection may take to be made and checked.
const CONNECT: Duration = Duration::from_millis(1500);
/// So long an answer may take; a server that is slower counts as gone.
const ANSWER: Duration = Duration::from_secs(2);
/// So long replicas may take to confirm: a round that is under way and one more, each of a second.
const CONFIRM: Duration = Duration::from_secs(3);
/// Between two attempts to connect: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A connection that is lost sooner counts as a failed attempt.
const BRIEF: Duration = Duration::from_secs(5);

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
    /// There is no connection, or it was lost on the way, or replicas have not confirmed; the command may have been done.
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
    finder: Finder,
    /// The hash tag of all keys.
    tag: String,
    /// How many replicas confirm what [`Link::commit`] writes.
    replicas: u32,
    bell: Arc<Bell>,
    /// What comes before everything else; `None` for one who only visits.
    entry: Option<Entry>,
    state: Mutex<State>,
    lost: Notify,
}

struct State {
    /// Counts connections, so that a late complaint about an old one does no harm to its successor.
    generation: u64,
    connection: Result<Connection, Unavailable>,
    warnings: Vec<String>,
    closed: bool,
}

#[derive(Clone)]
struct Connection {
    line: MultiplexedConnection,
    replicas: Option<Arc<Replicas>>,
}

impl Link {
    /// Connects to the server that `finder` knows, listens for the messages about the queue of this hash tag, and waits
    /// for so many replicas where it is asked to. Yields beside the link what came of the first attempt; when there is no
    /// connection yet, it is made as soon as it can be.
    pub(super) async fn open(
        finder: Finder,
        tag: String,
        replicas: u32,
        bell: Arc<Bell>,
        entry: Option<Entry>,
    ) -> (Self, Result<(), NoConnection>) {
        let connection = Err(Unavailable("not connected yet".to_owned()));
        let state = Mutex::new(State { generation: 0, connection, warnings: Vec::new(), closed: false });
        let shared = Arc::new(Shared { finder, tag, replicas, bell, entry, state, lost: Notify::new() });
        let first = shared.connect().await.map(|_| ());
        if let Err(missing) = &first {
            shared.state().connection = Err(missing.why.clone());
            shared.lost.notify_one();
        }
        let keeper = tokio::spawn(keep(Arc::clone(&shared), first.clone().err()));
        (Self { shared, keeper }, first)
    }

    /// Whether there is a connection, as far as is known; spares work whose result could not be sent.
    pub(super) fn check(&self) -> Result<(), Unavailable> {
        self.shared.state().connection.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// What is wrong with the server though it can hold a queue, and the mend; as of the last connection.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.shared.state().warnings.clone()
    }

    /// Sends a command and waits for its answer, but not for longer than two seconds.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let (generation, connection) = self.connection()?;
        self.bounded(ANSWER, generation, command.query_async(&mut connection.line.clone())).await
    }

    /// As [`Link::query`]; then waits until the replicas have what was written, but not for longer than three seconds more.
    pub(super) async fn commit<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        // One connection for both: after a failover, the new primary's replicas would know nothing of the command.
        let (generation, connection) = self.connection()?;
        let answer = self.bounded(ANSWER, generation, command.query_async(&mut connection.line.clone())).await?;
        if let Some(replicas) = connection.replicas {
            let confirmed = async {
                match replicas.confirm().await {
                    Ok(()) => Ok(Ok(())),
                    Err(Unconfirmed::Short(why)) => Ok(Err(why)),
                    Err(Unconfirmed::Broken(error)) => Err(error),
                }
            };
            self.bounded(CONFIRM, generation, confirmed).await?.map_err(Failure::Gone)?;
        }
        Ok(answer)
    }

    /// Whether it was told to let go of the connection.
    pub(super) fn is_closed(&self) -> bool {
        self.shared.state().closed
    }

    /// Lets go of the connection for good; whoever waits or asks is refused.
    pub(super) fn close(&self) {
        self.keeper.abort();
        let mut state = self.shared.state();
        state.closed = true;
        state.connection = Err(Unavailable("it was closed".to_owned()));
        drop(state);
        self.shared.bell.ring_all();
    }

    fn connection(&self) -> Result<(u64, Connection), Failure> {
        let state = self.shared.state();
        Ok((state.generation, state.connection.clone().map_err(Failure::Gone)?))
    }

    /// Waits for an answer, and gives the connection up if it is of no use any more.
    async fn bounded<T>(
        &self,
        limit: Duration,
        generation: u64,
        answer: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, Failure> {
        let Ok(answer) = timeout(limit, answer).await else {
            let silent = Unavailable(format!("the server has not answered for {} s", limit.as_secs()));
            self.shared.give_up(generation, silent.clone());
            return Err(Failure::Gone(silent));
        };
        answer.map_err(|error| {
            if server::is_of_no_use(&error) {
                let gone = Unavailable(error.to_string());
                self.shared.give_up(generation, gone.clone());
                Failure::Gone(gone)
            } else {
                Failure::Refused(error)
            }
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Makes a new connection whenever one is lost. `known` is why there is none at first; somebody has been told.
async fn keep(shared: Arc<Shared>, mut known: Option<NoConnection>) {
    let mut pause = PAUSE.0;
    let mut made = Instant::now();
    loop {
        shared.lost.notified().await;
        if made.elapsed() < BRIEF {
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        } else {
            pause = PAUSE.0;
        }
        while shared.state().connection.is_err() {
            match shared.connect().await {
                Ok(address) => {
                    tracing::info!(%address, "connected to Redis");
                    known = None;
                }
                Err(missing) => {
                    let why = &missing.why.0;
                    match missing.lasting && known.as_ref() != Some(&missing) {
                        true => tracing::error!(why, "Redis cannot be used until somebody has mended this"),
                        false => tracing::debug!(why, ?pause, "Redis cannot be reached"),
                    }
                    shared.state().connection = Err(missing.why.clone());
                    known = Some(missing);
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
        made = Instant::now();
    }
}

impl Shared {
    /// Finds the server, makes and checks one connection, and yields its address.
    async fn connect(self: &Arc<Self>) -> Result<String, NoConnection> {
        let client = self.finder.find().await?;
        let address = finder::address(&client);
        let generation = self.state().generation + 1;
        let attempt = timeout(CONNECT, self.try_connect(&client, generation)).await;
        let silent = || Err(NoConnection::passing(format!("no connection within {} ms", CONNECT.as_millis())));
        // Who reads the error knows what was asked, but not what the answer was.
        let found = |missing: NoConnection| match self.finder.is_direct() {
            true => missing,
            false => NoConnection { why: Unavailable(format!("{address}: {}", missing.why.0)), ..missing },
        };
        let (connection, warnings) = attempt.unwrap_or_else(|_| silent()).map_err(found)?;
        let news = {
            let mut state = self.state();
            let news = state.warnings != warnings;
            *state = State { generation, connection: Ok(connection), warnings: warnings.clone(), closed: state.closed };
            news
        };
        if news {
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        }
        // What happened meanwhile was told to nobody.
        self.bell.ring_all();
        Ok(address)
    }

    async fn try_connect(
        self: &Arc<Self>,
        client: &redis::Client,
        generation: u64,
    ) -> Result<(Connection, Vec<String>), NoConnection> {
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
        let silent = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let config = silent.clone().set_push_sender(listen);
        let mut line = client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").query_async(&mut line).await?;
        let warnings = server::check(&info, self.finder.asks_a_cluster()).map_err(|unfit| {
            // Those who were asked who the primary is may soon say something else.
            let lasting = self.finder.is_direct() || unfit != Unfit::Replica;
            NoConnection { why: Unavailable(unfit.to_string()), lasting }
        })?;
        // A write that changes nothing, for the tag itself is never a key: a server that is loading, demoted, cut off from
        // its replicas or not in charge of the queue refuses it, as it would the scripts.
        let written: Result<(), _> = redis::cmd("DEL").arg(&self.tag).query_async(&mut line).await;
        written.or_else(|error| if server::is_of_no_use(&error) { Err(error) } else { Ok(()) })?;
        line.subscribe(format!("{}:events", self.tag)).await?;
        if let Some(entry) = &self.entry {
            entry.enter(&mut line).await?;
        }
        let replicas = if self.replicas > 0 {
            let connection = client.get_multiplexed_async_connection_with_config(&silent).await?;
            Some(Arc::new(Replicas::new(connection, format!("{}:probe", self.tag), self.replicas)))
        } else {
            None
        };
        Ok((Connection { line, replicas }, warnings))
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
