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

pub(crate) use analyzer::exports::visavis::face::analyze;
pub(crate) use analyzer::visavis::face::types;
pub(crate) use annotator::exports::visavis::face::annotate;
pub(crate) use gateway::visavis::face::{limits, tasks};
pub(crate) use scorer::exports::visavis::face::score;
