//! Where and when figures were taken.
//!
//! Owns what is read of the machine and of the repository. Must never know a figure.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use visavis_tests::host::repository;

/// Features of processors that change what the program runs.
const FEATURES: [&str; 9] =
    ["avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm"];

/// What a figure means nothing without.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many processors this process may use.
    pub(crate) cores: usize,
    /// Those of the processor's features that matter here.
    pub(crate) features: Vec<String>,
    /// Memory, GiB.
    pub(crate) memory: f64,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The mean number of processes that ran or wanted to in the minute before.
    pub(crate) load: f64,
    /// Universal time, RFC 3339.
    pub(crate) date: String,
    /// What was measured; with `+` when the working tree differs from it.
    pub(crate) commit: String,
}

impl Machine {
    /// Looks at this machine now.
    pub(crate) fn look() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("can not read {path}"));
        let processors = read("/proc/cpuinfo")?;
        let memory = field(&read("/proc/meminfo")?, "MemTotal").and_then(|text| {
            let kib: f64 = text.trim_end_matches("kB").trim().parse().ok()?;
            Some(kib / f64::from(1 << 20))
        });
        let load = read("/proc/loadavg")?.split(' ').next().and_then(|minute| minute.parse().ok());
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).context("a second begins")?;
        Ok(Self {
            processor: field(&processors, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().context("the number of processors")?.get(),
            features: features(&processors),
            memory: memory.context("/proc/meminfo names no memory")?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load: load.context("/proc/loadavg names no load")?,
            date: now.format(&Rfc3339).context("the date")?,
            commit: commit(repository()),
        })
    }

    /// One paragraph for people.
    pub(crate) fn describe(&self) -> String {
        let Self { processor, cores, features, memory, kernel, load, date, commit } = self;
        let features = if features.is_empty() { String::new() } else { format!(" ({})", features.join(", ")) };
        format!(
            "Measured on {date} at {commit}, on {cores} processors of {processor}{features}, {memory:.0} GiB, Linux {kernel}; \
             the load average was {load:.2} when it began."
        )
    }
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn features(processors: &str) -> Vec<String> {
    let all = field(processors, "flags").or_else(|| field(processors, "Features")).unwrap_or_default();
    let has = |name: &&str| all.split(' ').any(|flag| flag == *name);
    FEATURES.iter().filter(|name| has(name)).map(|name| (*name).to_owned()).collect()
}

/// A copy of the sources without their history says so.
fn commit(repository: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(repository).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "an unknown commit".to_owned() };
    // What is written here by an earlier run is no change of what is measured.
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results"]);
    if changed.is_some_and(|changed| !changed.is_empty()) { format!("{commit}+") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::look().unwrap();
        assert!(machine.cores > 0 && machine.memory > 0.1 && machine.date.ends_with('Z'), "{machine:?}");
        assert!(machine.describe().contains(&machine.date));
    }

    #[test]
    fn features_are_whole_words() {
        let text = "processor\t: 0\nmodel name\t: A Chip\nflags\t\t: fpu avx2 avx512fp16 avx512_vnni\n";
        assert_eq!(features(text), ["avx2", "avx512_vnni"]);
        assert_eq!(field(text, "model name").as_deref(), Some("A Chip"));
    }
}
