//! Components that trap or never end, made from the contract in `wit/`, so that they always fit their worlds.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

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

fn component(world: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(repository().join("wit")).expect("the contract can be parsed");
    let world = resolve.select_world(&[package], Some(world)).expect("the contract has this world");
    let mut module = change(dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync)));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("a module of ours");
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
    }
}
