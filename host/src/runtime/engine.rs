//! wasmtime's engine, and the clock that lets it interrupt guests.
//!
//! Owns every setting of the engine. Must never know which components run in it.

use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often guests are asked whether they must stop.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The most tables' elements of one guest; a Rust component needs a few hundred, an embedded interpreter some ten thousand.
pub(super) const TABLE_ELEMENTS: usize = 100_000;

/// How much must fit at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Instances alive at once, over all slots.
    pub(crate) instances: u32,
    /// Instances as a rule; what they touched stays resident for the next of the same component.
    pub(crate) warm: u32,
    /// The largest memory limit of any slot, bytes.
    pub(crate) memory: usize,
}

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// It does not fit this machine.
    #[error("the WebAssembly engine does not start: {0}; lower server.concurrency or the components' memory_limit")]
    Refused(String),
    /// Without its clock no guest could be interrupted.
    #[error("no thread for the engine's clock could be started: {0}; raise the limit on threads")]
    Thread(#[from] std::io::Error),
}

/// The engine and its ticking clock; the clock stops when the last clone of the engine is gone.
#[derive(Clone)]
pub(crate) struct Clockwork {
    pub(super) engine: Engine,
}

impl Clockwork {
    /// Starts the engine with room for `sizes`.
    pub(crate) fn start(sizes: Sizes) -> Result<Self, EngineError> {
        let engine = Engine::new(&config(sizes)).map_err(|error| EngineError::Refused(format!("{error:#}")))?;
        let clock = engine.weak();
        thread::Builder::new().name("epoch".into()).spawn(move || {
            while let Some(engine) = clock.upgrade() {
                engine.increment_epoch();
                drop(engine);
                thread::sleep(TICK);
            }
        })?;
        Ok(Self { engine })
    }
}

fn config(sizes: Sizes) -> Config {
    // A component written in an interpreted language brings several core modules, each an instance of its own.
    const CORES_PER_COMPONENT: u32 = 64;
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(sizes.instances)
        .total_core_instances(sizes.instances.saturating_mul(4).max(CORES_PER_COMPONENT))
        .total_memories(sizes.instances.saturating_mul(2))
        .total_tables(sizes.instances.saturating_mul(4).max(CORES_PER_COMPONENT))
        .total_stacks(sizes.instances)
        .max_core_instances_per_component(CORES_PER_COMPONENT)
        .max_memories_per_component(2)
        .max_tables_per_component(CORES_PER_COMPONENT)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .table_elements(TABLE_ELEMENTS)
        .max_memory_size(sizes.memory)
        // Else the memory of components that were replaced would stay until it is needed.
        .max_unused_warm_slots(sizes.warm)
        // Pages kept resident are cleared by the host before the next guest sees them; this much saves most page faults
        // of a photograph of a few megapixels.
        .linear_memory_keep_resident(KEEP_RESIDENT)
        // The same of tables, which are small: giving their pages back takes longer, and all processors must hear of it.
        .table_keep_resident(TABLE_ELEMENTS * size_of::<usize>());
    let mut config = code();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// The settings that compiled code depends on: code from an engine with other ones would not load.
pub(super) fn code() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config
}

const KEEP_RESIDENT: usize = 8 << 20;
