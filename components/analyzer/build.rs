//! How much memory an instance begins with.

/// Most photographs need no more, bytes. Memory that grows while a photograph is analysed, and shrinks again for the next, is
/// paid for in calls to the system; memory that is never touched costs nothing.
const INITIAL: usize = 24 << 20;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=--initial-memory={INITIAL}");
}
