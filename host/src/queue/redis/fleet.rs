//! What nodes tell each other beside tasks: which components all of them are to run, and what became of that.
//!
//! Owns the way of a package from one node to all, in pieces that delay nobody's task, and the proof that a notice comes from a
//! node that has the key file: whoever else can write to the server must not be able to bring code to a node. Must never know
//! what a package holds.
//!
//! A package lies under its digest, in pieces. A notice says which slots are to run it; the newest of each slot counts. Nodes
//! report what became of it, and when too many have rejected it, the slots return to what they were told before.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Inner, SAFETY};
use crate::queue::Unavailable;
use crate::queue::seal::Keys;

/// The length of a piece, bytes.
const PIECE: usize = 512 << 10;

/// The most pieces that a package may have.
const MOST: usize = 1024;

/// A package that no notice names any more may be fetched for so long, seconds.
const LINGER: u64 = 3600;

/// A node that has been silent for so long counts no more.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);

/// A seat at the table where nodes tell each other.
#[derive(Clone)]
pub(crate) struct Fleet {
    inner: Arc<Inner>,
    keys: Arc<Keys>,
}

/// What all nodes are to run, by a node that has the key file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// SHA-256 of the package, lower-case hexadecimal.
    pub(crate) digest: String,
    /// What the deployer said, for the rollout to read.
    pub(crate) order: String,
    /// The slots that it is for, by name.
    pub(crate) slots: Vec<String>,
    /// How many of a hundred nodes may reject it before it is withdrawn.
    pub(crate) tolerance: u8,
}

/// A notice as it lies on the server.
#[derive(Serialize, Deserialize)]
struct Sealed {
    notice: String,
    /// Of the notice, with a key that follows from the key file.
    mac: String,
}

/// One slot's newest notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    /// Counts notices.
    pub(crate) number: u64,
    /// The slot that it stands at.
    pub(crate) slot: String,
    /// What it says.
    pub(crate) notice: Notice,
}

/// A node, as it described itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// Its name, or what it was called for want of one.
    pub(crate) node: String,
    /// What it said, in JSON.
    pub(crate) report: String,
    /// How long ago that was.
    pub(crate) ago: Duration,
}

impl Seen {
    /// Whether it has spoken lately enough to count.
    pub(crate) fn is_alive(&self) -> bool {
        self.ago < SILENCE
    }
}

impl Fleet {
    pub(super) fn new(inner: Arc<Inner>, keys: Arc<Keys>) -> Self {
        Self { inner, keys }
    }

    /// Says that this node lives, and how it stands.
    pub(crate) async fn announce(&self, report: &str) -> Result<(), Unavailable> {
        Ok(self
            .inner
            .call(&self.inner.scripts.announce)
            .arg(&self.inner.node)
            .arg(report)
            .send(&self.inner.link)
            .await?)
    }

    /// Says that this node has stopped in good order.
    pub(crate) async fn depart(&self) -> Result<(), Unavailable> {
        Ok(self.inner.call(&self.inner.scripts.announce).arg(&self.inner.node).send(&self.inner.link).await?)
    }

    /// All nodes that have spoken within the last hour, the one that spoke last first.
    pub(crate) async fn nodes(&self) -> Result<Vec<Seen>, Unavailable> {
        let answer: Vec<(String, String, u64)> =
            self.inner.call(&self.inner.scripts.nodes).send(&self.inner.link).await?;
        let seen = answer.into_iter().map(|(node, report, ago)| Seen { node, report, ago: Duration::from_millis(ago) });
        Ok(seen.collect())
    }

    /// Puts a package where all nodes find it, and posts the notice. Yields the notice's number.
    pub(crate) async fn publish(&self, notice: &Notice, package: &[u8]) -> Result<u64, Unavailable> {
        if package.len() > PIECE * MOST {
            return Err(Unavailable(format!("a package of {} bytes is too large to be shared", package.len())));
        }
        let key = self.package_key(&notice.digest);
        for (at, piece) in package.chunks(PIECE).enumerate() {
            let mut store = redis::cmd("HSET");
            store.arg(&key).arg(at).arg(piece);
            self.inner.link.query::<()>(&store).await?;
        }
        // `publish.lua` lets it live for as long as a notice names it.
        let mut expire = redis::cmd("EXPIRE");
        expire.arg(&key).arg(LINGER);
        self.inner.link.query::<()>(&expire).await?;
        let text = serde_json::to_string(notice).map_err(|error| Unavailable(error.to_string()))?;
        let sealed = Sealed { mac: self.keys.mac(text.as_bytes()).to_hex().to_string(), notice: text };
        let sealed = serde_json::to_string(&sealed).map_err(|error| Unavailable(error.to_string()))?;
        let mut call = self.inner.call(&self.inner.scripts.publish).arg(sealed).arg(&notice.digest);
        for slot in &notice.slots {
            call = call.arg(slot);
        }
        Ok(call.send(&self.inner.link).await?)
    }

    /// The newest notice of each slot. One that bears no proof is left out, and told in the log.
    pub(crate) async fn posted(&self) -> Result<Vec<Posted>, Unavailable> {
        let answer: Vec<String> = self.inner.call(&self.inner.scripts.notices).send(&self.inner.link).await?;
        let pairs = answer.chunks_exact(2).filter_map(|pair| {
            let [slot, text] = pair else { return None };
            let posted = self.proven(slot, text);
            if posted.is_none() {
                tracing::error!(slot, "a notice to all nodes bears no proof of the key file; it is ignored");
            }
            posted
        });
        Ok(pairs.collect())
    }

    /// A package's bytes; `None` when it is gone.
    pub(crate) async fn fetch(&self, digest: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let key = self.package_key(digest);
        let mut bytes = Vec::new();
        for at in 0..MOST {
            let mut fetch = redis::cmd("HGET");
            fetch.arg(&key).arg(at);
            match self.inner.link.query::<Option<Vec<u8>>>(&fetch).await? {
                Some(piece) => bytes.extend(piece),
                None => break,
            }
        }
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Says what became of a notice on this node. True when with that it was withdrawn.
    pub(crate) async fn report(
        &self,
        posted: &Posted,
        words: &str,
        rejected: bool,
        nodes: usize,
    ) -> Result<bool, Unavailable> {
        let call = self.inner.call(&self.inner.scripts.report).arg(posted.number).arg(&self.inner.node).arg(words);
        let call = call.arg(u8::from(rejected)).arg(posted.notice.tolerance).arg(nodes);
        Ok(call.send(&self.inner.link).await?)
    }

    /// Takes back the newest notice of a slot. False when there is none.
    pub(crate) async fn withdraw(&self, slot: &str) -> Result<bool, Unavailable> {
        let posted = self.posted().await?;
        let Some(posted) = posted.iter().find(|posted| posted.slot == slot) else { return Ok(false) };
        let slots: u64 =
            self.inner.call(&self.inner.scripts.withdraw).arg(posted.number).send(&self.inner.link).await?;
        Ok(slots > 0)
    }

    /// Waits until something was posted or withdrawn, or for a few seconds, should the message have been lost.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> {
        // Made here and not when first polled, so that nothing is missed in between.
        let changed = self.inner.bell.posted();
        async {
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(SAFETY) => {}
            }
        }
    }

    fn package_key(&self, digest: &str) -> String {
        format!("{}:fleet:package:{digest}", self.inner.context.tag)
    }

    fn proven(&self, slot: &str, text: &str) -> Option<Posted> {
        let mut parts = text.splitn(3, ' ');
        let number = parts.next()?.parse().ok()?;
        let digest = parts.next()?;
        let sealed: Sealed = serde_json::from_str(parts.next()?).ok()?;
        if !self.keys.is_mac(sealed.notice.as_bytes(), blake3::Hash::from_hex(&sealed.mac).ok()?) {
            return None;
        }
        let notice: Notice = serde_json::from_str(&sealed.notice).ok()?;
        let fits = notice.digest == digest && notice.slots.iter().any(|it| it == slot);
        fits.then(|| Posted { number, slot: slot.to_owned(), notice })
    }
}
