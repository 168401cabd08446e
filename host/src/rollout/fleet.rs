//! Keeps this node at what all nodes are told to run.
//!
//! Owns the way of a notice: fetch, deploy as if an operator had asked here, report. A node proves each generation by itself, so
//! one that cannot run it says so and runs on as it was. Must never know how notices travel.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use super::Rollout;
use super::bundle::Bundle;
use super::order::{Order, Refusal, Report, What};
use crate::queue::Unavailable;
use crate::queue::redis::fleet::{Fleet, Notice, Posted};
use crate::runtime::Slot;

/// How many of a hundred nodes may reject a notice before it is withdrawn.
const TOLERANCE: u8 = 34;

/// What a deployer said, as it travels with a notice.
#[derive(Serialize, Deserialize)]
struct Wishes {
    bundle: bool,
    signature: Option<String>,
    canary: Option<u8>,
    expected_changes: Vec<String>,
    by: String,
}

/// What this node was told last for a slot, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The notice.
    pub(crate) number: u64,
    /// SHA-256 of its package.
    pub(crate) digest: String,
    /// Why this node rejected it; `None` when it runs it.
    pub(crate) rejected: Option<String>,
}

/// A deployment to all nodes.
#[derive(Debug, Serialize)]
pub(crate) struct Published {
    /// The notice's number.
    pub(crate) notice: u64,
    /// What came of it on this node; `None` when it runs none of the slots.
    pub(crate) here: Option<Report>,
}

impl Rollout {
    /// Deploys here, which proves it, and then to all nodes. A node that runs none of the slots only passes it on.
    ///
    /// # Errors
    /// It was refused here; then no other node hears of it. Or there are no others.
    pub(crate) async fn deploy_to_all(self: &Arc<Self>, order: Order) -> Result<Published, Refusal> {
        let fleet = self.config.fleet.clone().ok_or(Refusal::Alone)?;
        let (slots, bundle, bytes) = match &order.what {
            What::Component(slot, bytes) => (vec![*slot], false, bytes.clone()),
            What::Bundle(bytes) => (Bundle::read(bytes)?.slots(), true, bytes.clone()),
            // Each node has its own.
            What::Configured(slot) => return Err(Refusal::NothingTold { slot: *slot }),
        };
        let Order { signature, canary, expected_changes, by, .. } = &order;
        let wishes = Wishes {
            bundle,
            signature: signature.clone(),
            canary: *canary,
            expected_changes: expected_changes.clone(),
            by: by.clone(),
        };
        self.config.trust.check(&bytes, order.signature.as_deref())?;
        let has_one = slots.iter().any(|slot| self.config.slots.contains_key(slot));
        let here = if has_one { Some(self.deploy(order).await?) } else { None };
        let notice = Notice {
            digest: hex::encode(Sha256::digest(&bytes)),
            order: serde_json::to_string(&wishes).map_err(|error| Refusal::Broken(error.to_string()))?,
            slots: slots.iter().map(ToString::to_string).collect(),
            tolerance: TOLERANCE,
        };
        let number = fleet.publish(&notice, &bytes).await?;
        tracing::info!(target: "visavis::audit", notice = number, digest = notice.digest, by = wishes.by, "told all nodes");
        Ok(Published { notice: number, here })
    }

    /// Returns all nodes to what a slot was told before.
    ///
    /// # Errors
    /// There are no other nodes, or they were told nothing.
    pub(crate) async fn roll_back_all(&self, slot: Slot) -> Result<(), Refusal> {
        let fleet = self.config.fleet.as_ref().ok_or(Refusal::Alone)?;
        if fleet.withdraw(&slot.to_string()).await? { Ok(()) } else { Err(Refusal::NothingTold { slot }) }
    }

    /// What this node was told last for each slot.
    pub(crate) fn told(&self) -> BTreeMap<Slot, Told> {
        self.state().told.clone()
    }

    /// Follows what all nodes are told, until the host stops.
    pub(crate) async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let Some(fleet) = self.config.fleet.clone() else { return };
        while !shutdown.is_cancelled() {
            let changed = fleet.changed();
            let round = async {
                self.announce().await?;
                self.converge(&fleet).await?;
                self.announce().await
            };
            if let Err(error) = round.await {
                tracing::debug!(%error, "the other nodes cannot be reached");
            }
            tokio::select! {
                () = changed => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn converge(self: &Arc<Self>, fleet: &Fleet) -> Result<(), Unavailable> {
        let mut posted = fleet.posted().await?;
        // A node that was away hears of them in their order: a later one may replace a part of what an earlier one brought.
        posted.sort_by_key(|posted| posted.number);
        for notice in &posted {
            let Some(slot) = self.slot(&notice.slot) else { continue };
            if self.state().told.get(&slot).is_some_and(|told| told.number == notice.number) {
                continue;
            }
            match self.obey(fleet, slot, notice).await? {
                // Later, when the trial has ended.
                Err(Refusal::UnderTrial) => return Ok(()),
                outcome => self.answer(fleet, slot, notice, outcome).await?,
            }
        }
        let told = self.told();
        for (slot, told) in told.iter().filter(|(slot, _)| !posted.iter().any(|it| it.slot == slot.to_string())) {
            self.return_from(*slot, told).await;
        }
        Ok(())
    }

    /// Deploys what a notice names, unless it serves already.
    async fn obey(
        self: &Arc<Self>,
        fleet: &Fleet,
        slot: Slot,
        posted: &Posted,
    ) -> Result<Result<(), Refusal>, Unavailable> {
        let digest = &posted.notice.digest;
        if self.serves(slot, digest) {
            return Ok(Ok(()));
        }
        let Some(bytes) = fleet.fetch(digest).await? else {
            return Ok(Err(Refusal::Broken("its package is not there any more".to_owned())));
        };
        if hex::encode(Sha256::digest(&bytes)) != *digest {
            return Ok(Err(Refusal::Broken("its package was changed on the way".to_owned())));
        }
        let wishes: Wishes = match serde_json::from_str(&posted.notice.order) {
            Ok(wishes) => wishes,
            Err(error) => return Ok(Err(Refusal::Broken(format!("its order cannot be read: {error}")))),
        };
        let what = if wishes.bundle { What::Bundle(bytes) } else { What::Component(slot, bytes) };
        let by = format!("{}, to all nodes", wishes.by);
        let Wishes { signature, canary, expected_changes, .. } = wishes;
        Ok(self.deploy(Order { what, signature, canary, expected_changes, by }).await.map(|_| ()))
    }

    /// Notes what came of a notice, and tells the others.
    async fn answer(
        &self,
        fleet: &Fleet,
        slot: Slot,
        posted: &Posted,
        outcome: Result<(), Refusal>,
    ) -> Result<(), Unavailable> {
        let rejected = outcome.err().map(|refusal| refusal.to_string());
        let told = Told { number: posted.number, digest: posted.notice.digest.clone(), rejected };
        let words = serde_json::json!({ "slot": slot, "rejected": told.rejected }).to_string();
        let nodes = fleet.nodes().await?.iter().filter(|node| node.is_alive()).count().max(1);
        let withdrawn = fleet.report(posted, &words, told.rejected.is_some(), nodes).await?;
        match &told.rejected {
            Some(why) => {
                tracing::error!(target: "visavis::audit", notice = posted.number, %slot, why, "rejected what all nodes were told");
            }
            None => {
                tracing::info!(target: "visavis::audit", notice = posted.number, %slot, "runs what all nodes were told")
            }
        }
        if withdrawn {
            tracing::warn!(target: "visavis::audit", notice = posted.number, "too many nodes rejected it: it was withdrawn");
        }
        self.note(slot, Some(told));
        Ok(())
    }

    /// Goes back from a notice that was withdrawn, where nothing was told before it.
    async fn return_from(self: &Arc<Self>, slot: Slot, told: &Told) {
        let by = "all nodes, by withdrawal";
        if told.rejected.is_none() && self.serves(slot, &told.digest) {
            let back = self.reset(slot, by).await;
            if let Err(error) = back {
                tracing::error!(%slot, %error, "what was withdrawn still serves");
                return;
            }
        }
        self.note(slot, None);
    }

    /// Remembers what was told, over a restart.
    fn note(&self, slot: Slot, told: Option<Told>) {
        let mut state = self.state();
        match told {
            Some(told) => _ = state.told.insert(slot, told),
            None => _ = state.told.remove(&slot),
        }
        let saved = block_in_place(|| self.store.save(&state.active(&state.parts), &state.soon(&state.replaced)));
        if let Err(error) = saved {
            tracing::warn!(%error, "what was told to all nodes is deployed once more after a restart");
        }
    }

    /// Whether what serves in a slot, or the policy that it works by, came with this package.
    pub(super) fn serves(&self, slot: Slot, package: &str) -> bool {
        let state = self.state();
        let came = |it: Option<&String>| it.is_some_and(|it| it == package);
        let policy = state.parts.crew.as_ref().and_then(|crew| crew.policy.package.as_ref());
        came(state.parts.records().get(&slot).and_then(|record| record.package.as_ref()))
            || (slot == Slot::Scorer && came(policy))
    }

    fn slot(&self, name: &str) -> Option<Slot> {
        self.config.slots.keys().copied().find(|slot| slot.to_string() == name)
    }
}
