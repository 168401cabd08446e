//! The scorer component: decides whether two analysed photographs show one person.
//!
//! Owns the component's exports; the order of the rules (a face each, one face each, frontal, close enough) stands in
//! `rules`. Must never know pixels, networks, HTTP, or the standard library on WebAssembly: the component imports nothing,
//! so that nothing can be given to it.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

#[cfg(target_arch = "wasm32")]
mod freestanding;
mod rules;

use crate::bindings::exports::visavis::face::score::{Analysis, Face, Guest, Policy, Rejection, Verdict};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "scorer" });

    export!(Scorer);

    use super::Scorer;
}

struct Scorer;

impl Guest for Scorer {
    fn score(first: Analysis, second: Analysis, policy: Policy) -> Result<Verdict, Rejection> {
        rules::decide(&first, &second, policy)
    }

    fn frontal(face: Face) -> bool {
        rules::is_frontal(&face)
    }
}
