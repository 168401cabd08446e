//! The memory of this process: photographs, embeddings and keys lie there, and none of it may be written to a disk.
//!
//! Owns what the kernel is told about that. Must never know what lies where.

use std::io;

/// The kernel would not promise it.
#[derive(Debug, thiserror::Error)]
#[error("core dumps, which would hold photographs, cannot be forbidden: {0}; allow this process setrlimit and prctl")]
pub(crate) struct Exposed(io::Error);

/// Forbids core dumps, also those that a program of the system would gather and whatever limit the process was started with,
/// and lets no other process of the same user look into this one. To be called before there is anything to hide.
///
/// # Errors
/// The kernel refused, as a filter of system calls may make it do.
pub(crate) fn keep_to_itself() -> Result<(), Exposed> {
    const NO: libc::c_ulong = 0;
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read what they are given, which outlives them.
    let kept = unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none) == 0 && libc::prctl(libc::PR_SET_DUMPABLE, NO) == 0
    };
    if kept { Ok(()) } else { Err(Exposed(io::Error::last_os_error())) }
}
