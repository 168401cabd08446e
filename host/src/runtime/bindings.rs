//! The worlds of `wit/`, as Rust types.
//!
//! Owns nothing but generated code. `wit/` is the place to read and to change.
#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

/// The types that all worlds share, and the analyzer's export.
pub(crate) mod analyzer {
    wasmtime::component::bindgen!({
        inline: "
            package visavis:host-analyzer;
            world analyzer {
                export visavis:face/analyze@0.1.0;
            }
        ",
        path: "../wit",
        additional_derives: [PartialEq],
    });
}

/// The scorer's export.
pub(crate) mod scorer {
    wasmtime::component::bindgen!({
        inline: "
            package visavis:host-scorer;
            world scorer {
                export visavis:face/score@0.1.0;
            }
        ",
        path: "../wit",
        additional_derives: [PartialEq],
        with: { "visavis:face/types": super::analyzer::visavis::face::types },
    });
}

/// The annotator's export.
pub(crate) mod annotator {
    wasmtime::component::bindgen!({
        inline: "
            package visavis:host-annotator;
            world annotator {
                export visavis:face/annotate@0.1.0;
            }
        ",
        path: "../wit",
        with: { "visavis:face/types": super::analyzer::visavis::face::types },
    });
}

/// The gateway's imports; what it exports is `wasi:http`, which `wasmtime-wasi-http` has bound.
pub(crate) mod gateway {
    wasmtime::component::bindgen!({
        inline: "
            package visavis:host-gateway;
            world imports {
                import visavis:face/tasks@0.1.0;
                import visavis:face/limits@0.1.0;
            }
        ",
        path: "../wit",
        imports: { default: async },
    });
}

/// `wasi:nn`, as analyzers import it.
pub(crate) mod nn {
    wasmtime::component::bindgen!({
        inline: "
            package visavis:host-inference;
            world imports {
                import wasi:nn/tensor@0.2.0-rc-2024-10-28;
                import wasi:nn/graph@0.2.0-rc-2024-10-28;
                import wasi:nn/inference@0.2.0-rc-2024-10-28;
                import wasi:nn/errors@0.2.0-rc-2024-10-28;
            }
        ",
        path: "../wit",
        imports: { default: trappable },
        with: {
            "wasi:nn/tensor.tensor": wasmtime_wasi_nn::wit::Tensor,
            "wasi:nn/graph.graph": wasmtime_wasi_nn::Graph,
            "wasi:nn/inference.graph-execution-context": wasmtime_wasi_nn::ExecutionContext,
            "wasi:nn/errors.error": crate::runtime::inference::Error,
        },
    });
}

pub(crate) use analyzer::exports::visavis::face::analyze;
pub(crate) use analyzer::visavis::face::types;
pub(crate) use annotator::exports::visavis::face::annotate;
pub(crate) use gateway::visavis::face::{limits, tasks};
pub(crate) use scorer::exports::visavis::face::score;
