//! What one instance leaves behind in its memory, and what the next finds. Shared by the hostile components.
//!
//! Owns the marks. Must never hold on to a handle: memory that is found is enough.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PAGE: usize = 64 << 10;

/// No page of a fresh instance holds it.
const MARK: u64 = u64::from_le_bytes(*b"<a mark>");

/// How often this instance was called.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Memory that every instance begins with, all zero.
static SCRATCH: [AtomicU64; 1 << 17] = [const { AtomicU64::new(0) }; 1 << 17];

/// Takes so many pages and fills them.
pub(crate) fn leave(pages: usize) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    SCRATCH.iter().for_each(|word| word.store(MARK, Ordering::Relaxed));
    taken(pages).iter().for_each(|word| word.store(MARK, Ordering::Relaxed));
}

/// Takes so many pages and says what was in them.
pub(crate) fn look(pages: usize) -> String {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let pages = taken(pages);
    let found = pages.iter().chain(&SCRATCH).filter(|word| word.load(Ordering::Relaxed) != 0).count();
    let (searched, variables) = (pages.len() * 8, std::env::vars_os().count() + std::env::args_os().count());
    let folders = std::fs::read_dir("/").map_or(0, Iterator::count);
    format!("{found} words in {searched} bytes, {calls} calls before, {variables} variables, {folders} folders")
}

/// Takes so many pages; answers how many there were before, or `usize::MAX` when the host gives none.
pub(crate) fn grow(pages: usize) -> usize {
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_grow::<0>(pages);
    // Only checked there, never run.
    #[cfg(not(target_arch = "wasm32"))]
    return pages.saturating_add(usize::MAX);
}

/// Pages that the host gives this instance now, if it gives so many.
fn taken(pages: usize) -> &'static [AtomicU64] {
    match grow(pages) {
        usize::MAX => &[],
        // SAFETY: the host has just given these pages, nobody else knows of them, and they are never given back; any bytes are
        // valid numbers, and pages are aligned for them.
        before => unsafe { std::slice::from_raw_parts((before * PAGE) as *const AtomicU64, pages * PAGE / 8) },
    }
}
