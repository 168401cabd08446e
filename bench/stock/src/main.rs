//! One measurement of wasmtime's own wasi-nn on its own ONNX backend, as `cargo xtask bench inference` orders it.
//!
//! Owns a host of the least that runs an analyzer: an engine, a store for each call, the backend as it comes. Must never be tuned:
//! it is what anybody gets who follows wasmtime's example.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, anyhow};
use visavis_pace::Order;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_nn::backend::BackendInner;
use wasmtime_wasi_nn::backend::onnx::OnnxBackend;
use wasmtime_wasi_nn::wit::{ExecutionTarget, WasiNnCtx, WasiNnView};
use wasmtime_wasi_nn::{Graph, GraphRegistry, Registry};

use self::bindings::AnalyzerPre;
use self::bindings::exports::visavis::face::analyze::{Detector, Embed, Embedder, Settings};

#[path = "../../pace/settings.rs"]
mod settings;

#[allow(clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package visavis:stock;
            world analyzer {
                export visavis:face/analyze@0.1.0;
            }
        ",
        path: "../../wit",
    });
}

/// Graphs by their names.
#[derive(Default)]
struct Named(HashMap<String, Graph>);

impl GraphRegistry for Named {
    fn get(&self, name: &str) -> Option<&Graph> {
        self.0.get(name)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Graph> {
        self.0.get_mut(name)
    }
}

/// The data of one store.
struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    nn: WasiNnCtx,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn main() -> Result<()> {
    let order = Order::given()?.context("`cargo xtask bench inference` sets VISAVIS_PACE")?;
    ort::init_from(order.library.to_string_lossy()).commit()?;
    let mut config = Config::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::default()));
    let engine = Engine::new(&config).map_err(|error| anyhow!("{error:#}"))?;
    let pre = load(&engine, &order).map_err(|error| anyhow!("{error:#}"))?;
    let (name, model) = &order.graph;
    let graph = OnnxBackend::default().load(&[&fs::read(model)?], ExecutionTarget::Cpu)?;

    let call = || {
        let registry = Registry::from(Named(HashMap::from([(name.clone(), graph.clone())])));
        let (table, wasi) = (ResourceTable::new(), WasiCtx::builder().build());
        let mut store = Store::new(&engine, Guest { table, wasi, nn: WasiNnCtx::new([], registry) });
        let instance = pre.instantiate(&mut store).map_err(|error| anyhow!("{error:#}"))?;
        let analysis =
            instance.visavis_face_analyze().call_analyze(&mut store, order.words.as_bytes(), &settings::settings());
        let analysis = analysis.map_err(|error| anyhow!("{error:#}"))?.map_err(|failure| anyhow!("{failure:?}"))?;
        Ok(analysis.faces.into_iter().next().context("an output")?.embedding)
    };
    order.carry_out(call)
}

/// Compiles the component.
fn load(engine: &Engine, order: &Order) -> wasmtime::Result<AnalyzerPre<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    wasmtime_wasi_nn::wit::add_to_linker(&mut linker, |guest: &mut Guest| {
        WasiNnView::new(&mut guest.table, &mut guest.nn)
    })?;
    let component = Component::from_file(engine, &order.component)?;
    AnalyzerPre::new(linker.instantiate_pre(&component)?)
}
