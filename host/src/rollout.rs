//! Changes what a node runs while it runs: deploy, try out, take back.
//!
//! Owns the way of a new generation: trust, compile, link, gate, swap, keep; and the way back. Work is only ever handed over
//! whole: what has begun ends where it began. Must never know HTTP or the queue's tasks.
//!
//! # Layout
//!
//! - `trust`: signatures, whose are accepted, and how they are made.
//! - `kind`: what a file is, before anything of it is compiled.
//! - `bundle`: components, models and policy as one versioned file.
//! - `order`: what a deployer asks for, and the refusals.
//! - `parts`: what a node runs, and the record of each part.
//! - `state`: the books: what serves, what it replaced, what is tried.
//! - `loader`: from a package's bytes to parts.
//! - `gate`: the proof before a generation takes work.
//! - `store`: what was deployed, on disk.
//! - `overview`: how a node stands, for who asks.
//! - `history`: what was changed, when and by whom.
//! - `fleet`: what all nodes are told to run. `nodes`: who they are.
//! - `taken`: what was taken from the watched folder.

pub(crate) mod bundle;
mod fleet;
mod gate;
mod history;
pub(crate) mod kind;
mod loader;
pub(crate) mod nodes;
mod order;
mod overview;
mod parts;
mod state;
mod store;
mod taken;
pub(crate) mod trust;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::block_in_place;

use self::bundle::Bundle;
use self::gate::{New, Photographs};
use self::history::{Event, History};
use self::loader::{Loaded, Loader};
use self::nodes::Identity;
pub(crate) use self::order::{Order, Refusal, Report, What};
pub(crate) use self::parts::Record;
use self::parts::{Changes, Parts, PolicyPart};
use self::state::{State, Trial};
use self::store::Store;
use self::trust::Trust;
use crate::pipeline::{Pipeline, Policy};
use crate::queue::redis::fleet::Fleet;
use crate::runtime::canary::Bounds;
use crate::runtime::gateway::Gateway;
use crate::runtime::switch::{Ended, Ending, Switch};
use crate::runtime::{Cache, Clockwork, Limits, Slot};

/// Who is named for what nobody asked for.
const ITSELF: &str = "the host itself";

/// How components follow each other.
pub(crate) struct Config {
    /// The configured file and the limits of each slot that this node has.
    pub(crate) slots: BTreeMap<Slot, (PathBuf, Limits)>,
    /// Where deployments are kept.
    pub(crate) store: PathBuf,
    /// The photographs that a new analyzer must see as the one before it did.
    pub(crate) probes: PathBuf,
    /// What a generation under trial must keep to.
    pub(crate) bounds: Bounds,
    /// How long work may go on on a generation that was replaced.
    pub(crate) drain: Duration,
    /// Photographs analysed at once.
    pub(crate) cores: usize,
    /// Whose packages are accepted.
    pub(crate) trust: Trust,
    /// What this node says of itself.
    pub(crate) identity: Identity,
    /// Where all nodes are told what to run; `None` when this one is alone.
    pub(crate) fleet: Option<Fleet>,
    /// Makes the policy that a bundle asks for; what it leaves out stays as it is.
    pub(crate) revise: Revise,
}

/// From a bundle's manifest and the policy that holds to the one that is to hold.
pub(crate) type Revise = Box<dyn Fn(&bundle::Manifest, &Policy) -> anyhow::Result<Policy> + Send + Sync>;

/// What a node runs, and the only one who changes it.
pub(crate) struct Rollout {
    config: Config,
    loader: Loader,
    store: Store,
    photographs: Photographs,
    cores: Arc<Semaphore>,
    gateway: Option<Arc<Switch<Gateway>>>,
    pipeline: Option<Arc<Switch<Pipeline>>>,
    /// The policy that the configuration says.
    configured: Option<PolicyPart>,
    state: Mutex<State>,
    /// Held during a deployment: one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Rollout {
    /// Loads what this node ran when it stopped, or what is configured, and watches trials from then on. `policy` is asked for
    /// when the node has a crew; it runs beside the compilation.
    ///
    /// # Errors
    /// A component or the store cannot be used.
    pub(crate) fn open(
        config: Config,
        clockwork: Clockwork,
        cache: Cache,
        policy: impl FnOnce() -> anyhow::Result<Policy> + Send,
    ) -> anyhow::Result<Arc<Self>> {
        let store = Store::new(&config.store);
        let active = store.load()?;
        let cores = Arc::new(Semaphore::new(config.cores));
        let (photographs, works) = (Photographs::new(&config.probes), config.slots.contains_key(&Slot::Scorer));
        let loader = Loader::new(clockwork, cache, &config.slots);
        let (parts, configured) = std::thread::scope(|scope| {
            let policy = works.then(|| scope.spawn(policy));
            let mut first = Changes::default();
            for (slot, (path, _)) in &config.slots {
                let (source, record) = store.source(&active, &config.trust, *slot, path)?;
                let package = record.package.clone();
                loader.change(&mut first, *slot, source, record).map_err(|error| match package {
                    Some(package) => anyhow::Error::from(store.unusable(&package, error)),
                    None => error.into(),
                })?;
            }
            let policy = policy.map(|policy| {
                policy.join().unwrap_or_else(|_| anyhow::bail!("the thread that loads the models broke off"))
            });
            let configured = policy.transpose()?.map(PolicyPart::configured);
            let mut policy = configured.clone();
            if let (Some(part), Some((package, deployment))) = (&mut policy, &active.policy) {
                let bundle = Bundle::read(&store.read(package, &config.trust)?)?;
                let revised = (config.revise)(&bundle.manifest, &part.policy);
                let revised = revised.map_err(|error| store.unusable(package, format!("{error:#}")))?;
                *part =
                    PolicyPart { policy: Arc::new(revised), deployment: *deployment, package: Some(package.clone()) };
            }
            anyhow::Ok((Parts::of(Changes { policy, ..first }), configured))
        })?;
        let mut generations = active.generations;
        for (slot, record) in parts.records() {
            let newest = generations.entry(slot).or_default();
            *newest = (*newest).max(record.generation.generation);
        }
        let drain = config.drain;
        let (gateway, gateways_ended) = switch(parts.gateway.as_ref().map(|part| Arc::clone(&part.work)), drain);
        let (pipeline, pipelines_ended) = switch(parts.crew.as_ref().map(|crew| crew.pipeline(&cores)), drain);
        let state = Mutex::new(State {
            parts,
            generations,
            deployments: active.deployments,
            replaced: BTreeMap::new(),
            trial: None,
            told: active.told,
            taken: active.taken,
            history: History::default(),
        });
        let turn = tokio::sync::Mutex::new(());
        let rollout =
            Arc::new(Self { config, loader, store, photographs, cores, gateway, pipeline, configured, state, turn });
        for ended in [gateways_ended, pipelines_ended].into_iter().flatten() {
            tokio::spawn(watch(Arc::downgrade(&rollout), ended));
        }
        Ok(rollout)
    }

    /// Where requests pick their gateway; `None` on a worker.
    pub(crate) fn gateway(&self) -> Option<Arc<Switch<Gateway>>> {
        self.gateway.clone()
    }

    /// Where tasks pick their pipeline; `None` on an edge.
    pub(crate) fn pipeline(&self) -> Option<Arc<Switch<Pipeline>>> {
        self.pipeline.clone()
    }

    /// Carries out an order: checks, compiles, proves, and lets it serve or tries it.
    ///
    /// # Errors
    /// Whatever speaks against it; then nothing has changed.
    pub(crate) async fn deploy(self: &Arc<Self>, order: Order) -> Result<Report, Refusal> {
        let start = Instant::now();
        let _turn = self.turn.lock().await;
        let Order { what, signature, canary, expected_changes, by } = order;
        if let Some(share) = canary
            && !(1..=100).contains(&share)
        {
            return Err(Refusal::Share(share));
        }
        if self.state().trial.is_some() {
            return Err(Refusal::UnderTrial);
        }
        let signer = match what.sent() {
            Some(bytes) => self.config.trust.check(bytes, signature.as_deref())?.map(|signer| signer.to_string()),
            None => None,
        };
        let Loaded { changes, package, space_changes } = self.load(what, &by, signer).await?;
        let records = changes.records();
        let parts = self.state().parts.clone();
        let (next, replaced) = parts.with(&changes);
        let pipeline = next.crew.as_ref().map(|crew| crew.pipeline(&self.cores));
        let new = New {
            gateway: changes.gateway.as_ref().map(|part| part.work.as_ref()),
            pipeline: pipeline.as_ref(),
            analyzer: changes.analyzer.is_some() || changes.policy.is_some(),
            scorer: changes.scorer.is_some(),
            space_changes,
        };
        let serving = self.pipeline.as_ref().map(|switch| switch.serving());
        let gate = gate::examine(&new, serving.as_ref(), &self.photographs, &expected_changes).await;
        if gate.unexpected() > 0 {
            let refusal = Refusal::Gate(gate);
            self.state().history.note(Event::Refused, &records, &by, Some(refusal.to_string()));
            return Err(refusal);
        }
        // Written first: what serves must be there after a crash. Until `save` names it, it is but a file.
        if let Some((digest, bytes)) = &package {
            block_in_place(|| self.store.add(digest, bytes, signature.as_deref()))?;
        }
        let deployment = self.state().deployments;
        let report = |state| {
            let generations = records.iter().map(|(slot, record)| (*slot, Record::clone(record))).collect();
            Report { state, generations, gate, milliseconds: start.elapsed().as_secs_f64() * 1e3 }
        };
        match canary {
            None => {
                self.serve(next, pipeline, &changes, Some((deployment, replaced)), (Event::Deployed, &by))?;
                Ok(report("serving"))
            }
            Some(percent) => {
                let mut state = self.state();
                // What it does is named by its number, which must not be given to another after a restart.
                let soon = state.soon(&state.replaced).into_iter().chain(changes.packages()).collect();
                block_in_place(|| self.store.save(&state.active(&state.parts), &soon))?;
                state.history.note(Event::Tried, &records, &by, Some(format!("it gets {percent} % of the work")));
                state.trial = Some(Trial { deployment, changes: changes.clone(), percent, by });
                drop(state);
                // A bundle is tried as a whole by its pipeline; its gateway follows when that is promoted.
                let bounds = self.config.bounds;
                if changes.concerns_crew() {
                    if let (Some(switch), Some(pipeline)) = (&self.pipeline, pipeline) {
                        switch.try_out(deployment, pipeline, percent, bounds);
                    }
                } else if let (Some(switch), Some(part)) = (&self.gateway, &changes.gateway) {
                    switch.try_out(deployment, Arc::clone(&part.work), percent, bounds);
                }
                Ok(report("canary"))
            }
        }
    }

    /// Returns to what served before: ends a trial of this slot, else undoes the deployment that brought what serves in it.
    /// All that came with that deployment goes with it.
    ///
    /// # Errors
    /// Nothing served before, or it could not be kept.
    pub(crate) async fn roll_back(self: &Arc<Self>, slot: Slot, by: &str) -> Result<BTreeMap<Slot, Record>, Refusal> {
        let _turn = self.turn.lock().await;
        if !self.config.slots.contains_key(&slot) {
            return Err(Refusal::NotHere { slot });
        }
        if self.end_trial(|trial| trial.changes.records().contains_key(&slot), by, "its trial was called off") {
            return Ok(self.serving());
        }
        let (parts, back) = {
            let state = self.state();
            let deployment = state.parts.records().get(&slot).map(|record| record.deployment).unwrap_or_default();
            let replaced = state.replaced.get(&deployment).ok_or(Refusal::NothingBefore { slot })?;
            let back = replaced.against(&state.parts, deployment);
            (state.parts.with(&back).0, back)
        };
        self.end_trial(|_| true, by, "what it was compared with is rolled back");
        let pipeline = parts.crew.as_ref().map(|crew| crew.pipeline(&self.cores));
        self.serve(parts, pipeline, &back, None, (Event::RolledBack, by))?;
        Ok(self.serving())
    }

    /// Returns to the configured component of a slot; the next start reads it again.
    ///
    /// # Errors
    /// It cannot be loaded, or does not answer at the gate.
    pub(crate) async fn reset(self: &Arc<Self>, slot: Slot, by: &str) -> Result<Report, Refusal> {
        let (what, expected_changes) = (What::Configured(slot), vec!["all".to_owned()]);
        self.deploy(Order { what, signature: None, canary: None, expected_changes, by: by.to_owned() }).await
    }

    /// Notes `parts` on disk and lets them serve; a deployment can be undone by what it `replaced`. Who sees them serve finds
    /// the event in the history.
    fn serve(
        &self,
        parts: Parts,
        pipeline: Option<Arc<Pipeline>>,
        changes: &Changes,
        replaced: Option<(u64, Changes)>,
        (event, by): (Event, &str),
    ) -> Result<(), Refusal> {
        let mut state = self.state();
        let replaced = state.replaced_under(&parts, replaced);
        block_in_place(|| self.store.save(&state.active(&parts), &state.soon(&replaced)))?;
        if let (Some(switch), Some(part)) = (&self.gateway, &changes.gateway) {
            switch.replace(Arc::clone(&part.work));
        }
        if let (Some(switch), Some(pipeline), true) = (&self.pipeline, pipeline, changes.concerns_crew()) {
            switch.replace(pipeline);
        }
        state.parts = parts;
        state.replaced = replaced;
        state.history.note(event, &changes.records(), by, None);
        Ok(())
    }

    /// Carries out what a trial's own record has led to; the switch has acted already.
    async fn trial_ended(&self, Ended { trial: number, ending }: Ended) {
        let _turn = self.turn.lock().await;
        // Whoever had the turn before may have ended it otherwise.
        let mut state = self.state();
        let Some(trial) = state.trial.take_if(|trial| trial.deployment == number) else { return };
        let records = trial.changes.records();
        match ending {
            Ending::TakenBack(why) => state.history.note(Event::TakenBack, &records, ITSELF, Some(why)),
            Ending::Promoted => {
                let (parts, replaced) = state.parts.with(&trial.changes);
                let replaced = state.replaced_under(&parts, Some((trial.deployment, replaced)));
                let saved = block_in_place(|| self.store.save(&state.active(&parts), &state.soon(&replaced)));
                if let Err(error) = saved {
                    tracing::error!(%error, "a promoted generation serves, but not after a restart");
                }
                if let (Some(switch), Some(part), true) =
                    (&self.gateway, &trial.changes.gateway, trial.changes.concerns_crew())
                {
                    switch.replace(Arc::clone(&part.work));
                }
                state.parts = parts;
                state.replaced = replaced;
                state.history.note(Event::Promoted, &records, &trial.by, None);
            }
        }
    }

    /// Ends the trial if it is one of those, and notes who ended it and why. False: it is none of them.
    fn end_trial(&self, one_of: impl FnOnce(&Trial) -> bool, by: &str, why: &str) -> bool {
        let mut state = self.state();
        let Some(trial) = state.trial.take_if(|trial| one_of(trial)) else { return false };
        let called_off = [
            self.gateway.as_ref().is_some_and(|switch| switch.call_off()),
            self.pipeline.as_ref().is_some_and(|switch| switch.call_off()),
        ];
        if called_off == [false, false] {
            // Its record ended it just now, and what was tried may serve already.
            if let (Some(switch), Some(part)) = (&self.gateway, &state.parts.gateway) {
                switch.replace(Arc::clone(&part.work));
            }
            if let (Some(switch), Some(crew)) = (&self.pipeline, &state.parts.crew) {
                switch.replace(crew.pipeline(&self.cores));
            }
        }
        state.history.note(Event::TakenBack, &trial.changes.records(), by, Some(why.to_owned()));
        true
    }

    fn serving(&self) -> BTreeMap<Slot, Record> {
        self.state().parts.records().into_iter().map(|(slot, record)| (slot, Record::clone(&record))).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn switch<T: Send + Sync + 'static>(
    work: Option<Arc<T>>,
    drain: Duration,
) -> (Option<Arc<Switch<T>>>, Option<mpsc::UnboundedReceiver<Ended>>) {
    match work.map(|work| Switch::new(work, drain)) {
        Some((switch, ended)) => (Some(Arc::new(switch)), Some(ended)),
        None => (None, None),
    }
}

/// Carries out what trials have led to, until the node stops.
async fn watch(rollout: Weak<Rollout>, mut ended: mpsc::UnboundedReceiver<Ended>) {
    while let Some(ended) = ended.recv().await {
        let Some(rollout) = rollout.upgrade() else { return };
        rollout.trial_ended(ended).await;
    }
}
