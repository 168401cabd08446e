//! How many processors this process may use, and what says so.
//!
//! Owns the question to the system, once at start. Must never know what the number is used for.

use std::fmt;
use std::io;

/// The processors of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Processors {
    /// How many it may keep busy; at least 1.
    pub(crate) count: usize,
    /// Why not more.
    pub(crate) bound: Bound,
}

/// What bounds the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The machine has no more.
    Machine,
    /// The process may run on these alone, of so many.
    Affinity(usize),
    /// A cgroup's quota of processor time, of so many that the process may run on.
    Quota(usize),
}

impl Processors {
    /// Asks the system: the affinity mask, which a cpuset narrows as well, and the quotas of this process's cgroup and of those
    /// above it, in either version of cgroups, rounded down to whole processors.
    pub(crate) fn of_process() -> io::Result<Self> {
        let count = std::thread::available_parallelism()?.get();
        Ok(Self { count, bound: bound(count, allowed(), online()) })
    }
}

/// What of the three was the least.
fn bound(count: usize, allowed: Option<usize>, online: Option<usize>) -> Bound {
    match (allowed, online) {
        (Some(allowed), _) if count < allowed => Bound::Quota(allowed),
        (Some(_), Some(online)) if count < online => Bound::Affinity(online),
        _ => Bound::Machine,
    }
}

/// On how many processors the system may run this process.
fn allowed() -> Option<usize> {
    // SAFETY: zeros are an empty set, and the kernel writes no more than the size that it is told.
    let mask = unsafe {
        let mut mask: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(0, size_of_val(&mask), &raw mut mask) == 0).then_some(mask)
    }?;
    // SAFETY: it only counts the bits of the set.
    usize::try_from(unsafe { libc::CPU_COUNT(&mask) }).ok().filter(|count| *count > 0)
}

/// How many processors the machine runs.
fn online() -> Option<usize> {
    // SAFETY: it takes a number and yields one.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }).ok().filter(|count| *count > 0)
}

impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, bound } = self;
        let plural = if *count == 1 { "" } else { "s" };
        match bound {
            Bound::Machine => write!(f, "{count} processor{plural}, as many as the machine has"),
            Bound::Affinity(online) => {
                write!(f, "{count} processor{plural} of the machine's {online}, by the affinity mask or a cpuset")
            }
            Bound::Quota(allowed) => write!(f, "{count} processor{plural} of {allowed}, by the cgroup's quota"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_named() {
        let of = |count, allowed, online| Processors { count, bound: bound(count, allowed, online) }.to_string();
        assert_eq!(of(4, Some(4), Some(4)), "4 processors, as many as the machine has");
        assert_eq!(of(1, Some(1), Some(4)), "1 processor of the machine's 4, by the affinity mask or a cpuset");
        assert_eq!(of(1, Some(2), Some(4)), "1 processor of 2, by the cgroup's quota");
        assert_eq!(of(3, None, None), "3 processors, as many as the machine has");
    }

    #[test]
    fn the_system_answers() {
        let here = Processors::of_process().unwrap();
        assert!((1..=online().unwrap()).contains(&here.count), "{here}");
        assert!(here.count <= allowed().unwrap(), "{here}");
    }
}
