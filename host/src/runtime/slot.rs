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
        let answer = call(&mut store).map_err(|error| self.error(&store, &error));
        (answer, Spent { _store: Box::new(store) })
    }

    /// When a call that begins now must have ended.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.limits.deadline
    }

    /// A fresh store, without a deadline yet.
    pub(super) fn store<E: Send + 'static>(&self, extra: E) -> Store<Guest<E>> {
        guest::store(&self.engine, self.limits, extra)
    }

    /// Why a call failed, in our words.
    pub(super) fn error<E>(&self, store: &Store<Guest<E>>, error: &wasmtime::Error) -> CallError {
        guest::call_error(store, self.slot, self.generation.generation, error)
    }
}
