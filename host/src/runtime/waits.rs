//! What a guest that is called synchronously waits for in the host: a clock, as a rule. No wait outlasts the guest's time.
//!
//! Owns `wasi:io/poll` for such guests. Must never know what is waited for.

use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll as asynchronous;
use wasmtime_wasi::p2::bindings::sync::io::poll::{Host, HostPollable};
use wasmtime_wasi::runtime::in_tokio;

use super::engine::TICK;
use super::limits::{Bound, Stop};

/// One guest's waits.
pub(super) struct Waits<'a> {
    table: &'a mut ResourceTable,
    bound: Option<&'a Bound>,
}

/// Names [`Waits`] for the linker.
pub(super) struct HasWaits;

impl HasData for HasWaits {
    type Data<'a> = Waits<'a>;
}

impl<'a> Waits<'a> {
    pub(super) fn new(table: &'a mut ResourceTable, bound: Option<&'a Bound>) -> Self {
        Self { table, bound }
    }
}

/// Waits on this thread, until the guest must stop.
fn wait<T>(bound: Option<&Bound>, ready: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    in_tokio(async {
        tokio::select! {
            biased;
            ready = ready => ready,
            stop = reached(bound) => Err(stop.into()),
        }
    })
}

async fn reached(bound: Option<&Bound>) -> Stop {
    let Some(bound) = bound else { return std::future::pending().await };
    loop {
        if let Some(stop) = bound.reached() {
            return stop;
        }
        tokio::time::sleep(TICK).await;
    }
}

impl Host for Waits<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        wait(self.bound, asynchronous::Host::poll(self.table, pollables))
    }
}

impl HostPollable for Waits<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        wait(self.bound, asynchronous::HostPollable::ready(self.table, pollable))
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        wait(self.bound, asynchronous::HostPollable::block(self.table, pollable))
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        asynchronous::HostPollable::drop(self.table, pollable)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::runtime::Cancel;

    #[test]
    fn a_wait_ends_with_the_time_or_when_it_is_cancelled() {
        let ever = || std::future::pending::<wasmtime::Result<()>>();
        let cancel = Cancel::default();
        let mut bound = Bound { deadline: Instant::now() + Duration::from_millis(30), cancel: cancel.clone() };
        let stopped = wait(Some(&bound), ever()).unwrap_err();
        assert_eq!(stopped.downcast_ref(), Some(&Stop::Deadline));
        assert!(wait(Some(&bound), async { Ok(()) }).is_ok(), "what is ready need not wait");
        bound.deadline += Duration::from_secs(3600);
        cancel.cancel();
        assert_eq!(wait(Some(&bound), ever()).unwrap_err().downcast_ref(), Some(&Stop::Cancelled));
    }
}
