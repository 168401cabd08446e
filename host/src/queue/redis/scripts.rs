//! The scripts that run on the server, and how one is called.
//!
//! Owns what every script is given first: the hash tag, the time, the limits. The rules of a task's life are in
//! `lua/ledger.lua`, which stands before each of them. Must never know what an answer means.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisResult, ServerErrorKind, ToRedisArgs};

use super::answer::digits;
use super::link::{Failure, Link};
use crate::task::TaskId;

/// As in `lua/ledger.lua`: so much later (ms) than the scripts would, the server itself deletes what is over.
const SLACK: u64 = 60_000;

/// One script.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

/// All scripts of the queue.
pub(super) struct Scripts {
    pub(super) submit: Script,
    pub(super) claim: Script,
    pub(super) extend: Script,
    pub(super) settle: Script,
    pub(super) bury: Script,
    pub(super) retry: Script,
    pub(super) release: Script,
    pub(super) revoke: Script,
    pub(super) status: Script,
    pub(super) tend: Script,
    pub(super) enter: Script,
    pub(super) forget: Script,
    pub(super) claim_callback: Script,
    pub(super) retry_callback: Script,
    pub(super) end_callback: Script,
    pub(super) probe: Script,
    pub(super) dead: Script,
    pub(super) redeliver: Script,
    pub(super) purge: Script,
    pub(super) announce: Script,
    pub(super) nodes: Script,
    pub(super) publish: Script,
    pub(super) notices: Script,
    pub(super) report: Script,
    pub(super) withdraw: Script,
}

/// A script's text behind the rules. `flags` is what the server is told of it: only what adds to the queue is refused when
/// its memory is full, for all else ends tasks and so frees memory.
macro_rules! script {
    ($flags:literal, $file:literal) => {
        script!($flags, "lua/ledger.lua", $file)
    };
    ($flags:literal, $rules:literal, $file:literal) => {
        Script::new(concat!("#!lua", $flags, "\n", include_str!($rules), "\n", include_str!($file)))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            submit: script!("", "lua/submit.lua"),
            claim: script!(" flags=allow-oom", "lua/claim.lua"),
            extend: script!(" flags=allow-oom", "lua/extend.lua"),
            settle: script!(" flags=allow-oom", "lua/settle.lua"),
            bury: script!(" flags=allow-oom", "lua/bury.lua"),
            retry: script!(" flags=allow-oom", "lua/retry.lua"),
            release: script!(" flags=allow-oom", "lua/release.lua"),
            revoke: script!(" flags=allow-oom", "lua/revoke.lua"),
            status: script!(" flags=allow-oom", "lua/status.lua"),
            tend: script!(" flags=allow-oom", "lua/tend.lua"),
            enter: script!(" flags=allow-oom", "lua/enter.lua"),
            forget: script!(" flags=allow-oom", "lua/forget.lua"),
            claim_callback: script!(" flags=allow-oom", "lua/claim_callback.lua"),
            retry_callback: script!(" flags=allow-oom", "lua/retry_callback.lua"),
            end_callback: script!(" flags=allow-oom", "lua/end_callback.lua"),
            probe: script!("", "lua/probe.lua"),
            dead: script!(" flags=allow-oom", "lua/dead.lua"),
            redeliver: script!(" flags=allow-oom", "lua/redeliver.lua"),
            purge: script!(" flags=allow-oom", "lua/purge.lua"),
            announce: script!(" flags=allow-oom", "lua/fleet.lua", "lua/announce.lua"),
            nodes: script!(" flags=allow-oom", "lua/fleet.lua", "lua/nodes.lua"),
            publish: script!("", "lua/fleet.lua", "lua/publish.lua"),
            notices: script!(" flags=allow-oom", "lua/fleet.lua", "lua/notices.lua"),
            report: script!(" flags=allow-oom", "lua/fleet.lua", "lua/report.lua"),
            withdraw: script!(" flags=allow-oom", "lua/fleet.lua", "lua/withdraw.lua"),
        }
    }
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Begins a call; the arguments of the script itself are to be added.
    pub(super) fn call(&self, context: &Context) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(1).arg(&context.tag).arg(context.time.now());
        context.limits.iter().for_each(|limit| {
            command.arg(*limit);
        });
        Call { code: self.code, command, commit: false }
    }
}

/// What every script is given.
pub(super) struct Context {
    /// `{name}`.
    pub(super) tag: String,
    pub(super) time: Time,
    /// Lease (ms), tries, time-to-live of results (ms), longest wait (ms).
    pub(super) limits: [u64; 4],
}

impl Context {
    /// Where a task lies; as in `lua/ledger.lua`.
    pub(super) fn task_key(&self, id: TaskId) -> String {
        format!("{}:task:{}", self.tag, digits(id))
    }

    /// Where a sealed payload lies; as in `lua/ledger.lua`.
    pub(super) fn payload_key(&self, id: TaskId) -> String {
        format!("{}:payload:{}", self.tag, digits(id))
    }

    /// After how many milliseconds the server deletes a payload by itself, if no node has.
    pub(super) fn payload_expiry(&self) -> u64 {
        self.limits[3] + SLACK
    }
}

/// Whose clock a queue lives by.
pub(super) enum Time {
    /// The server's, so that the clocks of nodes do not matter.
    Server,
    /// This one, in milliseconds since the epoch.
    #[cfg(test)]
    Told(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Time {
    fn now(&self) -> String {
        match self {
            Self::Server => String::new(),
            #[cfg(test)]
            Self::Told(millis) => millis.load(std::sync::atomic::Ordering::SeqCst).to_string(),
        }
    }
}

/// A call in the making.
pub(super) struct Call {
    code: &'static str,
    command: Cmd,
    commit: bool,
}

impl Call {
    /// Adds an argument.
    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.command.arg(argument);
        self
    }

    /// Has replicas confirm what the script writes, as many as are configured.
    pub(super) fn commit(mut self) -> Self {
        self.commit = true;
        self
    }

    /// Sends the call, and the script's text first when the server does not know it (any more).
    pub(super) async fn send<T: FromRedisValue>(self, link: &Link) -> Result<T, Failure> {
        let once =
            async || if self.commit { link.commit(&self.command).await } else { link.query(&self.command).await };
        match once().await {
            Err(Failure::Refused(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                link.query::<()>(&self.load()).await?;
                once().await
            }
            answer => answer,
        }
    }

    /// The same on a connection that is not in use yet.
    pub(super) async fn send_on<T: FromRedisValue>(&self, line: &mut MultiplexedConnection) -> RedisResult<T> {
        match self.command.query_async(line).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.load().query_async::<()>(line).await?;
                self.command.query_async(line).await
            }
            answer => answer,
        }
    }

    fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.code);
        load
    }
}

/// A duration as the scripts take it. Bounded well above every limit, so that sums stay exact.
pub(super) fn millis(duration: Duration) -> u64 {
    duration.as_millis().min(1 << 46) as u64
}
