//! A wall clock that steps: with this library in `LD_PRELOAD`, a process reads the time that a file tells it.
//!
//! Owns the three functions that C libraries read the wall clock by. `STEP_CLOCK` names a file with the milliseconds, at most
//! 19 digits and a sign, that the clock is ahead; without it the clock is right. Monotonic clocks stay as they are, as on a
//! machine whose wall clock is set. Must allocate nothing: allocators ask for the time.
#![cfg(target_os = "linux")]
// The names and types are the C library's.
#![allow(missing_docs)]

use std::ffi::{c_char, c_int, c_long, c_void};

#[repr(C)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

#[repr(C)]
pub struct Timeval {
    seconds: i64,
    microseconds: c_long,
}

const REALTIME: c_int = 0;
const REALTIME_COARSE: c_int = 5;
#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(target_arch = "aarch64")]
const SYS_CLOCK_GETTIME: c_long = 113;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn getenv(name: *const c_char) -> *const c_char;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn read(file: c_int, buffer: *mut c_void, length: usize) -> isize;
    fn close(file: c_int) -> c_int;
}

/// # Safety
/// As of `clock_gettime(2)`: `time` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    // SAFETY: the caller's pointer goes to the kernel, which checks it.
    let answer = unsafe { syscall(SYS_CLOCK_GETTIME, clock, time) };
    if answer == 0 && [REALTIME, REALTIME_COARSE].contains(&clock) {
        // SAFETY: the kernel has just written to it.
        let time = unsafe { &mut *time };
        let millis = ahead();
        let nanoseconds = time.nanoseconds + millis.rem_euclid(1000) * 1_000_000;
        time.seconds += millis.div_euclid(1000) + nanoseconds / 1_000_000_000;
        time.nanoseconds = (nanoseconds % 1_000_000_000) as c_long;
    }
    answer as c_int
}

/// # Safety
/// As of `gettimeofday(2)`: `time` can be written or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gettimeofday(time: *mut Timeval, _zone: *mut c_void) -> c_int {
    let now = now();
    // SAFETY: the caller says so.
    if let Some(time) = unsafe { time.as_mut() } {
        *time = Timeval { seconds: now.seconds, microseconds: now.nanoseconds / 1000 };
    }
    0
}

/// # Safety
/// As of `time(2)`: `time` can be written or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn time(time: *mut i64) -> i64 {
    let now = now();
    // SAFETY: the caller says so.
    if let Some(time) = unsafe { time.as_mut() } {
        *time = now.seconds;
    }
    now.seconds
}

fn now() -> Timespec {
    let mut now = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the pointer is to a local.
    unsafe { clock_gettime(REALTIME, &raw mut now) };
    now
}

/// How far the clock is ahead, milliseconds.
fn ahead() -> i64 {
    let mut text = [0_u8; 20];
    // SAFETY: the strings end in zero, and the buffer is as long as is said.
    let length = unsafe {
        let path = getenv(c"STEP_CLOCK".as_ptr());
        let file = if path.is_null() { -1 } else { open(path, 0) };
        if file < 0 {
            return 0;
        }
        let length = read(file, text.as_mut_ptr().cast(), text.len());
        close(file);
        length
    };
    let digits = text.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
    let amount = digits.iter().filter(|byte| byte.is_ascii_digit());
    let amount = amount.fold(0_i64, |sum, digit| sum.wrapping_mul(10).wrapping_add(i64::from(digit - b'0')));
    if digits.first() == Some(&b'-') { amount.wrapping_neg() } else { amount }
}
