//! What the standard library would bring to WebAssembly, without its imports: memory, and the end after a panic.
//!
//! Owns the global allocator, the function through which the host hands in arguments, and the panic handler. Must never
//! know what is computed.

use alloc::alloc::{Layout, alloc, realloc};
use core::arch::wasm32::unreachable;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Grows `old` from `old_size` to `new_size` bytes, or allocates when `old_size` is 0, as the canonical ABI of the
/// component model asks of every component that takes lists. Traps when memory is exhausted.
///
/// # Safety
///
/// `old` came from here with `old_size` and `alignment`, unless `old_size` is 0; `alignment` is a power of two.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, alignment: usize, new_size: usize) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(if old_size == 0 { new_size } else { old_size }, alignment) else {
        unreachable();
    };
    let memory = match (old_size, new_size) {
        // An empty list may point anywhere that is aligned.
        (0, 0) => core::ptr::without_provenance_mut(alignment),
        // SAFETY: the size is not 0.
        (0, _) => unsafe { alloc(layout) },
        // SAFETY: the caller promises where `old` came from; the host never shrinks to nothing.
        _ => unsafe { realloc(old, layout, new_size) },
    };
    if memory.is_null() { unreachable() } else { memory }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // A trap; the host sees it as a failure of this component.
    unreachable()
}
