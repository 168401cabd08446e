//! Components that trap, never end or ask for too much, made from the contract in `wit/`, so that they always fit their worlds.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageId, Resolve, WorldId};

use crate::host::repository;

/// A component of this world whose every function traps at once.
pub fn trapping(world: &str) -> Vec<u8> {
    component(world, |module| module)
}

/// A component of this world whose every function runs for ever.
pub fn endless(world: &str) -> Vec<u8> {
    component(world, |module| {
        let text = wasmprinter::print_bytes(module).expect("a module of ours");
        let text = text.replace("unreachable", "(loop br 0) unreachable");
        wat::parse_str(text).expect("a loop fits where a trap does")
    })
}

/// A component of this world, which imports nothing, whose every function asks for larger tables until it gets none, and then
/// traps.
pub fn tabular(world: &str) -> Vec<u8> {
    component(world, |module| {
        let text = wasmprinter::print_bytes(module).expect("a module of ours");
        let grow =
            "(loop (br_if 0 (i32.ne (table.grow $hoard (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable";
        let text = text.replace("unreachable", grow);
        let inside = text.find("(module").expect("it is a module") + "(module".len();
        wat::parse_str([&text[..inside], " (table $hoard 1 funcref)", &text[inside..]].concat())
            .expect("one more table")
    })
}

/// A component of this world that imports an interface beside it, as `wasi:sockets/tcp@0.2.12`.
pub fn greedy(world: &str, import: &str) -> Vec<u8> {
    let mut resolve = contract().0;
    let text =
        format!("package visavis:greedy; world greedy {{ include visavis:face/{world}@0.1.0; import {import}; }}");
    let package = resolve.push_str("greedy.wit", &text).expect("the contract and WASI have both");
    let world = resolve.select_world(&[package], None).expect("the one world");
    encode(&resolve, world, |module| module)
}

/// The same component with other bytes: a custom section is added, which says nothing.
pub fn relabelled(component: &[u8], label: &str) -> Vec<u8> {
    let name = b"label";
    let content = [&[name.len() as u8][..], name, label.as_bytes()].concat();
    assert!(content.len() < 128, "one byte holds the length");
    [component, &[0, content.len() as u8], &content].concat()
}

/// The same component, in which every function traps whose name holds this word.
pub fn sabotaged(component: &[u8], word: &str) -> Vec<u8> {
    let text = wasmprinter::print_bytes(component).expect("a component of ours");
    let (mut changed, mut trapping, mut inside) = (String::with_capacity(text.len() + 64), 0, false);
    for line in text.lines() {
        let (head, locals) = (line.trim_start().starts_with("(func $"), line.trim_start().starts_with("(local "));
        // Behind a function's head and its variables, its code begins.
        if inside && !locals {
            changed.push_str("unreachable\n");
            trapping += 1;
        }
        // A function without code would end in the same line.
        inside = (head && line.contains(word) && !line.ends_with("))")) || (inside && locals);
        changed.push_str(line);
        changed.push('\n');
    }
    assert!(trapping > 0, "no function is called {word}");
    wat::parse_str(changed).expect("a trap fits everywhere")
}

/// A built component of ours.
pub fn built(slot: &str) -> Vec<u8> {
    let path = crate::photos::assets().join(format!("components/{slot}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()))
}

fn component(world: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let (resolve, package) = contract();
    let world = resolve.select_world(&[package], Some(world)).expect("the contract has this world");
    encode(&resolve, world, change)
}

fn contract() -> (Resolve, PackageId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit")).expect("the contract can be parsed");
    (resolve, package)
}

fn encode(resolve: &Resolve, world: WorldId, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut module = change(dummy_module(resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync)));
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).expect("a module of ours");
    let mut encoder = ComponentEncoder::default();
    encoder
        .validate(true)
        .module(&module)
        .expect("a module with its world")
        .encode()
        .expect("the module fits its world")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_world_has_a_trapping_and_an_endless_component() {
        for world in ["gateway", "analyzer", "scorer", "annotator"] {
            let (trapping, endless) = (trapping(world), endless(world));
            assert!(trapping.starts_with(b"\0asm\x0d\0\x01\0"), "{world}");
            assert!(wasmprinter::print_bytes(endless).unwrap().contains("loop"), "{world}");
        }
        assert!(wasmprinter::print_bytes(tabular("scorer")).unwrap().contains("table.grow"));
    }
}
