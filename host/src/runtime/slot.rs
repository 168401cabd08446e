//! One plugged-in component: compiled, linked, checked against its world, ready to be instantiated.
//!
//! Owns the way from a component's bytes to a generation, the same for every slot. Must never know what a world exports; each slot's own
//! file does.

use std::time::Instant;

use wasmtime::component::{InstancePre, Linker};
use wasmtime::{Engine, Store};

use super::artifact::{self, Cache};
use super::guest::{self, Guest};
use super::limits::{self, Bound, Cancel, Limits};
use super::{CallError, Candidate, Clockwork, Generation, LoadError, Slot};
use crate::telemetry::metrics;

/// A component of world `P`, as `bindgen!` names the type that can be instantiated.
pub(super) struct Plugged<P> {
    pub(super) pre: P,
    pub(super) limits: Limits,
    pub(super) generation: Generation,
    slot: Slot,
    engine: Engine,
}

/// What is left of a guest after its call. To drop it is to clear its memory for the next, which takes a moment that nobody need
/// wait for.
pub(crate) struct Spent {
    _store: Box<dyn Send>,
}

/// Compiles a component, links what `link` grants it, and lets `check` hold it against its world.
pub(super) fn plug<E: 'static, P>(
    clockwork: &Clockwork,
    cache: &Cache,
    slot: Slot,
    candidate: Candidate,
    link: impl FnOnce(&mut Linker<Guest<E>>) -> wasmtime::Result<()>,
    check: impl FnOnce(InstancePre<Guest<E>>) -> wasmtime::Result<P>,
) -> Result<Plugged<P>, LoadError> {
    let engine = clockwork.engine.clone();
    let Candidate { source, generation, limits } = candidate;
    let component = artifact::load(&engine, cache, slot, &source)?;
    let mut linker = Linker::new(&engine);
    let pre = link(&mut linker)
        .and_then(|()| linker.instantiate_pre(&component))
        .and_then(check)
        .map_err(|error| LoadError::not_of_its_world(slot, &source, &error))?;
    Ok(Plugged { pre, limits, generation: Generation { digest: source.digest, generation }, slot, engine })
}

/// Counts a call by how it ended.
pub(super) fn count<T>(slot: Slot, called: &Result<T, CallError>) {
    let outcome = match called {
        Ok(_) => "ok",
        Err(CallError::Trap { .. }) => "trap",
        Err(CallError::Deadline { .. }) => "deadline",
        Err(CallError::Cancelled { .. }) => "cancelled",
    };
    metrics().calls.of([slot.name(), outcome]).inc();
}

impl<P> Plugged<P> {
    /// Runs `call` on a fresh store, until `deadline` or the slot's own, whichever is first. What is left of the guest comes along.
    pub(super) fn call<E: Send + 'static, T>(
        &self,
        extra: E,
        deadline: Instant,
        cancel: Cancel,
        call: impl FnOnce(&mut Store<Guest<E>>) -> wasmtime::Result<T>,
    ) -> (Result<T, CallError>, Spent) {
        let mut store = self.store(extra);
        let bound = Bound { deadline, cancel };
        store.data_mut().bound = Some(bound.clone());
        limits::stop_at(&mut store, bound);
        // What the host logs of this guest's doings says whose they are.
        let answer = self.named().in_scope(|| call(&mut store)).map_err(|error| self.error(&store, &error));
        count(self.slot, &answer);
        (answer, Spent { _store: Box::new(store) })
    }

    /// Names the component in what is logged while it runs.
    pub(super) fn named(&self) -> tracing::Span {
        tracing::error_span!("guest", slot = self.slot.name(), generation = self.generation.generation)
    }

    /// When a call that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.limits.deadline
    }

    /// A fresh store, without a deadline yet.
    pub(super) fn store<E: Send + 'static>(&self, extra: E) -> Store<Guest<E>> {
        guest::store(&self.engine, self.slot, self.limits, extra)
    }

    /// Why a call failed, in our words.
    pub(super) fn error<E>(&self, store: &Store<Guest<E>>, error: &wasmtime::Error) -> CallError {
        guest::call_error(store, self.slot, self.generation.generation, error)
    }
}
