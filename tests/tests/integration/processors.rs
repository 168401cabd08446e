//! How many tasks a host does at once: as many as there are processors for it, whatever narrows that.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use visavis_tests::host::Setup;

/// What `doctor` says of the processor, and whether the key is left to it.
fn processor(mut doctor: Command) -> String {
    let output = doctor.output().expect("the program starts");
    let told: Value = serde_json::from_slice(&output.stdout).expect("doctor prints JSON");
    assert_eq!(told["settings"]["worker.concurrency"]["value"], "auto");
    let findings = told["findings"].as_array().expect("there are findings");
    let finding = findings.iter().find(|finding| finding["what"] == "processor").expect("the processor is examined");
    finding["text"].as_str().expect("it is a text").to_owned()
}

fn doctor(setup: &Setup) -> Command {
    setup.command(["doctor", "--json"])
}

/// How many processors the tests may use.
fn here() -> usize {
    std::thread::available_parallelism().expect("the system tells").get()
}

#[test]
fn tasks_at_once_follow_the_affinity_mask() {
    let setup = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "auto");
    let all = processor(doctor(&setup));
    assert!(all.contains(&format!("{} task", here())), "{all}");
    let mut pinned = doctor(&setup);
    // SAFETY: between fork and exec only system calls are made, and they allocate nothing.
    unsafe { pinned.pre_exec(keep_one_processor) };
    let one = processor(pinned);
    assert!(one.contains("1 task at once (auto, 1 processor"), "{one}");
    if here() > 1 {
        assert!(one.contains("by the affinity mask or a cpuset"), "{one}");
    }
}

/// Narrows the affinity mask of the calling process to the first processor that is in it.
fn keep_one_processor() -> std::io::Result<()> {
    // SAFETY: zeros are an empty set, the kernel writes no more than the size that it is told, and the index is in bounds.
    let done = unsafe {
        let mut mask: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of_val(&mask);
        if libc::sched_getaffinity(0, size, &raw mut mask) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let first = (0..8 * size).find(|index| libc::CPU_ISSET(*index, &mask)).unwrap_or(0);
        libc::CPU_ZERO(&mut mask);
        libc::CPU_SET(first, &mut mask);
        libc::sched_setaffinity(0, size, &raw const mask)
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn tasks_at_once_follow_the_quota_of_a_cgroup() {
    let Some(group) = Group::of_one_processor() else {
        eprintln!("skipped: no cgroup with a quota of processor time can be made here");
        return;
    };
    let setup = Setup::new();
    let mut limited = doctor(&setup);
    let members = CString::new(group.0.join("cgroup.procs").as_os_str().as_bytes()).expect("a path holds no zero");
    // SAFETY: between fork and exec only system calls are made, and they allocate nothing.
    unsafe {
        limited.pre_exec(move || {
            let file = libc::open(members.as_ptr(), libc::O_WRONLY);
            // 0 stands for the process that writes.
            let written = libc::write(file, c"0".as_ptr().cast(), 1);
            libc::close(file);
            if written == 1 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let text = processor(limited);
    assert!(text.contains("1 task at once (auto, 1 processor"), "{text}");
    if here() > 1 {
        assert!(text.contains("by the cgroup's quota"), "{text}");
    }
}

/// A cgroup of a test, removed with it.
struct Group(PathBuf);

impl Group {
    /// One and a half processors, which is one whole one; `None` where that needs rights that the tests do not have.
    fn of_one_processor() -> Option<Self> {
        let name = format!("visavis-test-{}", std::process::id());
        let kinds = [
            ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "150000"),
            ("/sys/fs/cgroup/cpu,cpuacct", "cpu.cfs_quota_us", "150000"),
            ("/sys/fs/cgroup", "cpu.max", "150000 100000"),
        ];
        kinds.into_iter().find_map(|(root, file, quota)| {
            let above = Path::new(root);
            // Version 2 has this file at its root, and version 1 in every group.
            if !above.join("cgroup.procs").is_file() {
                return None;
            }
            let group = Self(above.join(&name));
            fs::create_dir(&group.0).ok()?;
            let limit = group.0.join(file);
            (limit.is_file() && fs::write(limit, quota).is_ok()).then_some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Nobody is left in it.
        let _ = fs::remove_dir(&self.0);
    }
}
