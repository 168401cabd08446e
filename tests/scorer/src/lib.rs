//! A scorer that decides by the real rules, and misbehaves where its orders say so. The orders are a constant that a test
//! changes in the component's bytes, so that one build serves them all.
//!
//! Owns the orders and what each does. Must never be part of what users are given.

extern crate alloc;

use std::hint::black_box;
use std::time::{Duration, Instant};

use self::rules::{decide, is_frontal};
use crate::bindings::exports::visavis::face::score::{Analysis, Face, Guest, Policy, Rejection, Verdict};

#[path = "../../../components/scorer/src/rules.rs"]
mod rules;

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "scorer" });

    export!(Wayward);

    use super::Wayward;
}

/// The orders: 16 bytes to find them by; then, as little-endian numbers of 4 bytes, what to do, the width of the first
/// photograph for which to do it (0 is every one), and for how many milliseconds.
static ORDERS: [u8; 32] = *b"<scorer orders>:\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Between two chances for the host to stop this component.
const TICK: Duration = Duration::from_millis(5);

struct Wayward;

impl Guest for Wayward {
    fn score(first: Analysis, second: Analysis, policy: Policy) -> Result<Verdict, Rejection> {
        // SAFETY: it is a reference to a static. Volatile, since a test may have changed the bytes that were compiled.
        let orders = unsafe { std::ptr::read_volatile(&raw const ORDERS) };
        let number = |at: usize| u32::from_le_bytes([orders[at], orders[at + 1], orders[at + 2], orders[at + 3]]);
        let (conduct, width, time) = (number(16), number(20), Duration::from_millis(number(24).into()));
        if width != 0 && width != first.width {
            return decide(&first, &second, policy);
        }
        match conduct {
            1 => std::process::abort(),
            2 => return decide(&first, &second, policy).map(|it| Verdict { verified: !it.verified, ..it }),
            3 => loop {
                black_box(vec![1_u8; 1 << 20].leak());
            },
            4 => {
                let start = Instant::now();
                while start.elapsed() < time {
                    std::thread::sleep(TICK.min(time.saturating_sub(start.elapsed())));
                }
            }
            5 => loop {
                black_box(());
            },
            6 => std::thread::sleep(time),
            7 => _ = black_box(recurse(1)),
            8 => return decide(&first, &second, policy).map(|it| Verdict { score: f32::NAN, ..it }),
            9 => return decide(&first, &second, policy).map(|it| Verdict { faces: (u32::MAX, 0), ..it }),
            10 => return Err(Rejection::Incomparable("x\n".repeat(1 << 20))),
            _ => {}
        }
        decide(&first, &second, policy)
    }

    fn frontal(face: Face) -> bool {
        is_frontal(&face)
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == 0 { 0 } else { recurse(black_box(depth + 1)).wrapping_add(frame[(depth % 64) as usize]) }
}
