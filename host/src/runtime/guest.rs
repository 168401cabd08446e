//! What lies in a store beside the guest: the grants of its world, and its meter.
//!
//! Owns the answer to "what can a component see": an empty environment, no files, no sockets, clocks and random numbers, and
//! a bounded place for what it prints. Must never grant more to one slot because another needs it.

use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Engine, Store, Trap};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::{bindings, pipe::MemoryOutputPipe};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limits::{Bound, Limits, Meter, Stop};
use super::waits::{HasWaits, Waits};
use super::{CallError, Slot};
use crate::telemetry::{Counted, metrics};

/// What a guest may print before its prints are refused, bytes.
const PRINT: usize = 64 << 10;

/// Handles that a guest may hold at once: tensors, streams, headers.
const HANDLES: usize = 4096;

/// Bytes that one call between guest and host may carry: two photographs of the largest body, base64 and all.
const HOSTCALL: usize = 256 << 20;

/// The most characters of a text by a guest that go on to a log or a client.
const TEXT: usize = 400;

/// The data of one store; `E` is what only this slot's world has.
pub(super) struct Guest<E> {
    pub(super) table: ResourceTable,
    pub(super) extra: E,
    /// When its waits in the host end; `None` for a guest that is called asynchronously, whose caller ends them.
    pub(super) bound: Option<Bound>,
    wasi: WasiCtx,
    meter: Meter,
    printed: MemoryOutputPipe,
    _alive: Counted,
}

/// A fresh store for one request or photograph.
pub(super) fn store<E: Send + 'static>(engine: &Engine, slot: Slot, limits: Limits, extra: E) -> Store<Guest<E>> {
    let printed = MemoryOutputPipe::new(PRINT);
    let wasi = WasiCtx::builder()
        .stdout(printed.clone())
        .stderr(printed.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_blocking_current_thread(true)
        .build();
    let mut table = ResourceTable::new();
    table.set_max_capacity(HANDLES);
    let alive = Counted::in_gauge(metrics().instances.of([slot.name()]));
    let meter = Meter::new(limits);
    let mut store = Store::new(engine, Guest { table, extra, bound: None, wasi, meter, printed, _alive: alive });
    store.limiter(|guest| &mut guest.meter);
    store.set_hostcall_fuel(HOSTCALL);
    store
}

/// Says in our words why a call failed, and leaves what the guest printed in the debug log: a panic's message, as a rule.
pub(super) fn call_error<E>(
    store: &Store<Guest<E>>,
    slot: Slot,
    generation: u32,
    error: &wasmtime::Error,
) -> CallError {
    match error.downcast_ref::<Stop>() {
        Some(Stop::Deadline) => return CallError::Deadline { slot, generation },
        Some(Stop::Cancelled) => return CallError::Cancelled { slot, generation },
        None => {}
    }
    let printed = store.data().printed.contents();
    if !printed.is_empty() {
        tracing::debug!(%slot, generation, printed = %String::from_utf8_lossy(&printed), "the guest printed before it trapped");
    }
    let mut reason = match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => brief(&error.root_cause().to_string()),
    };
    if store.data().meter.refused {
        reason.push_str(&format!(", after it had asked for more memory than components.{slot}.memory_limit"));
    }
    CallError::Trap { slot, generation, reason }
}

/// A guest's words, as they may go on: in one line, and not without end.
pub(crate) fn brief(text: &str) -> String {
    let mut rest = text.chars();
    let mut brief: String = rest.by_ref().take(TEXT).map(|it| if it.is_control() { ' ' } else { it }).collect();
    if rest.next().is_some() {
        brief.push('…');
    }
    brief
}

impl<E: Send> WasiView for Guest<E> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Links what an asynchronous guest may see of WASI.
pub(super) fn link_wasi_async<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    bindings::filesystem::types::add_to_linker::<T, WasiFilesystem>(linker, T::filesystem)?;
    link_emptiness(linker)
}

/// Links what a synchronous guest may see of WASI.
pub(super) fn link_wasi_sync<E: Send + 'static>(linker: &mut Linker<Guest<E>>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_sync(linker)?;
    // Its waits are ours: WASI's own would outlast the guest's time.
    linker.allow_shadowing(true);
    bindings::sync::io::poll::add_to_linker::<_, HasWaits>(linker, |guest| {
        Waits::new(&mut guest.table, guest.bound.as_ref())
    })?;
    linker.allow_shadowing(false);
    bindings::sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, WasiFilesystemView::filesystem)?;
    link_emptiness(linker)
}

/// What language runtimes import whether they use it or not: there is no environment, no folder, no terminal behind it.
fn link_emptiness<T: WasiView + 'static>(l: &mut Linker<T>) -> wasmtime::Result<()> {
    bindings::filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    bindings::random::insecure::add_to_linker::<T, wasmtime_wasi::random::WasiRandom>(l, |t| t.ctx().ctx.random())?;
    bindings::random::insecure_seed::add_to_linker::<T, wasmtime_wasi::random::WasiRandom>(l, |t| {
        t.ctx().ctx.random()
    })?;
    bindings::cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    bindings::cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    bindings::cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    bindings::cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    bindings::cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    bindings::cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    bindings::cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_is_one_line_with_an_end() {
        assert_eq!(brief("it is\nno\u{1b}[31m photograph"), "it is no [31m photograph");
        let long = brief(&"ü".repeat(1 << 20));
        assert_eq!((long.chars().count(), long.chars().last()), (TEXT + 1, Some('…')));
        assert_eq!(brief(&"x".repeat(TEXT)).len(), TEXT);
    }
}
