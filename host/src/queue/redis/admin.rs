//! What an operator may ask of a queue on a Redis, from a node or as a visitor.
//!
//! Owns the operator's side of the conversation with the server, which needs no key. Must never know what a payload holds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::answer::{digits, from_digits};
use super::scripts::{Script, Time};
use super::server::NoConnection;
use super::{As, Inner, OpenError, Options, Redis};
use crate::queue::seal::Keys;
use crate::queue::{Admin, Checkup, DeadError, DeadTask, Limits, Line, Unavailable};
use crate::task::TaskId;

/// Connects for an operator: makes no key, takes nothing over, and goes by the limits of the last node that joined.
///
/// # Errors
/// The server cannot be reached or used; the error says what to do.
pub(crate) async fn visit(options: Options) -> Result<Arc<dyn Admin>, OpenError> {
    visit_with(options, Time::Server).await
}

pub(super) async fn visit_with(options: Options, time: Time) -> Result<Arc<dyn Admin>, OpenError> {
    Ok(Arc::new(guest(options, time, As::Visitor).await?))
}

/// Looks whether a node would be let in, and what it would find. Makes no key and notes nothing.
///
/// # Errors
/// The server cannot be reached or does not take such a node, or the key file cannot be used; the error says what to do.
pub(crate) async fn examine(options: Options) -> Result<Checkup, OpenError> {
    let keys = Keys::find(&options.key_file)?;
    let inner = guest(options, Time::Server, As::Candidate(keys.as_ref())).await?;
    let looked = async {
        inner.ping().await?;
        inner.stats().await
    };
    let (stats, warnings) = (looked.await, inner.link.warnings());
    inner.close().await;
    match stats {
        Ok(stats) => Ok(Checkup { stats: Some(stats), keys: keys.map_or(0, |keys| keys.count()), warnings }),
        Err(why) => Err(OpenError::Unreachable { address: inner.address, why }),
    }
}

/// Connects at once or not at all.
async fn guest(options: Options, time: Time, who: As<'_>) -> Result<Inner, OpenError> {
    let (mut inner, connected) = Inner::connect(&Options { node: None, ..options }, time, who).await?;
    if let Err(NoConnection { why, .. }) = connected {
        return Err(OpenError::Unreachable { address: inner.address, why });
    }
    match inner.noted_limits().await {
        Ok(Some(limits)) => inner.go_by(limits),
        // No node has joined yet, so there is nothing that the limits could be wrong for.
        Ok(None) => {}
        Err(why) => return Err(OpenError::Unreachable { address: inner.address, why }),
    }
    Ok(inner)
}

impl Inner {
    /// The limits that the last node to join went by.
    async fn noted_limits(&self) -> Result<Option<Limits>, Unavailable> {
        let mut get = redis::cmd("GET");
        get.arg(format!("{}:limits", self.context.tag));
        let json: Option<String> = self.link.query(&get).await?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }

    /// Calls a script about one dead task; it answers with one word.
    async fn about_dead(&self, script: &Script, id: TaskId) -> Result<(), DeadError> {
        let word: String =
            self.call(script).arg(digits(id)).commit().send(&self.link).await.map_err(Unavailable::from)?;
        match word.as_str() {
            "open" | "gone" => Ok(()),
            "unknown" => Err(DeadError::Unknown),
            "alive" => Err(DeadError::NotDead),
            "bare" => Err(DeadError::PayloadGone),
            other => Err(Unavailable(format!("the server's answer makes no sense: {other:?}")).into()),
        }
    }
}

#[async_trait]
impl Admin for Inner {
    async fn line(&self) -> Result<Line, Unavailable> {
        loop {
            let tended = self.tend().await?;
            if tended.all {
                return Ok(tended.line);
            }
        }
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadTask>, Unavailable> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let answer: Vec<(String, u64, u32, String, i64)> =
            self.call(&self.scripts.dead).arg(limit).send(&self.link).await?;
        let described = answer.into_iter().map(|(id, age, tries, reason, left)| {
            let id = from_digits(&id).ok_or_else(|| Unavailable(format!("{id:?} in the queue is no task")))?;
            let payload_left = left.try_into().ok().map(Duration::from_millis);
            Ok(DeadTask { id, age: Duration::from_millis(age), tries, reason, payload_left })
        });
        described.collect()
    }

    async fn redeliver(&self, id: TaskId) -> Result<(), DeadError> {
        self.about_dead(&self.scripts.redeliver, id).await
    }

    async fn purge(&self, id: TaskId) -> Result<(), DeadError> {
        self.about_dead(&self.scripts.purge, id).await
    }

    async fn forget(&self, id: TaskId) -> Result<bool, Unavailable> {
        Ok(self.call(&self.scripts.forget).arg(digits(id)).commit().send(&self.link).await?)
    }

    async fn close(&self) {
        self.errands.done().await;
        self.link.close();
    }
}

#[async_trait]
impl Admin for Redis {
    async fn line(&self) -> Result<Line, Unavailable> {
        self.inner.line().await
    }

    async fn dead(&self, limit: usize) -> Result<Vec<DeadTask>, Unavailable> {
        self.inner.dead(limit).await
    }

    async fn redeliver(&self, id: TaskId) -> Result<(), DeadError> {
        self.inner.redeliver(id).await
    }

    async fn purge(&self, id: TaskId) -> Result<(), DeadError> {
        self.inner.purge(id).await
    }

    async fn forget(&self, id: TaskId) -> Result<bool, Unavailable> {
        self.inner.forget(id).await
    }

    async fn close(&self) {
        self.tender.abort();
        self.inner.close().await;
    }
}
