//! Scorers that decide by the rules and misbehave to order.
//!
//! Owns the orders, as bytes that are changed in the built component. Must never know what becomes of a component.

use std::time::Duration;

use crate::host::repository;

/// How a scorer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// Not at all.
    Good,
    /// It traps.
    Trap,
    /// It says `verified` where it is not, and the other way round.
    Invert,
    /// It allocates without end.
    Allocate,
    /// It takes so much longer. The host can stop it every few milliseconds.
    Slow(Duration),
    /// It computes for ever.
    Endless,
    /// It waits within one call of the host for so long.
    Sleep(Duration),
    /// It calls itself for ever.
    Recurse,
    /// It answers a score that is no number.
    NotNumbers,
    /// It decides by a face that was not found.
    Elsewhere,
    /// It says at length and in many lines that nothing can be compared.
    Text,
}

/// A scorer that does so when the first photograph is `width` pixels wide, or always.
pub fn scorer(conduct: Conduct, width: Option<u32>) -> Vec<u8> {
    const MARK: &[u8] = b"<scorer orders>:";
    let path = repository().join("target/visavis-tests/wayward_scorer.wasm");
    let mut component =
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()));
    let (number, time) = match conduct {
        Conduct::Good => (0, Duration::ZERO),
        Conduct::Trap => (1, Duration::ZERO),
        Conduct::Invert => (2, Duration::ZERO),
        Conduct::Allocate => (3, Duration::ZERO),
        Conduct::Slow(time) => (4, time),
        Conduct::Endless => (5, Duration::ZERO),
        Conduct::Sleep(time) => (6, time),
        Conduct::Recurse => (7, Duration::ZERO),
        Conduct::NotNumbers => (8, Duration::ZERO),
        Conduct::Elsewhere => (9, Duration::ZERO),
        Conduct::Text => (10, Duration::ZERO),
    };
    let milliseconds = u32::try_from(time.as_millis()).expect("less than seven weeks");
    let found: Vec<_> = memchr::memmem::find_iter(&component, MARK).collect();
    let [place] = found[..] else { panic!("the orders stand in the component once: {found:?}") };
    let orders = [number, width.unwrap_or(0), milliseconds].map(u32::to_le_bytes).concat();
    component[place + MARK.len()..][..orders.len()].copy_from_slice(&orders);
    component
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_orders_are_another_component_of_the_same_length() {
        let (good, bad) = (scorer(Conduct::Good, None), scorer(Conduct::Trap, Some(910)));
        assert_eq!(good.len(), bad.len());
        let changed: Vec<_> = (0..good.len()).filter(|at| good[*at] != bad[*at]).collect();
        assert!((2..=8).contains(&changed.len()), "{changed:?}");
        assert_eq!(scorer(Conduct::Good, None), good);
    }
}
