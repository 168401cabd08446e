//! What is looked up when it is asked for: where the queue stands, what serves, what the process takes.
//!
//! Owns these metrics' names, and the reading of `/proc`. Each answer is made anew, so what is gone is not told any more.

use std::fs;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, GaugeVec, Opts, Registry};

use super::metrics::plain;

/// How a process stands, as those know who are asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// `all`, `edge` or `worker`.
    pub(crate) role: String,
    /// `None`: the queue did not answer.
    pub(crate) queue: Option<Depth>,
    /// Slot, digest and number of each generation that serves.
    pub(crate) generations: Vec<(String, String, u32)>,
    /// Name and digest of each model that serves.
    pub(crate) models: Vec<(String, String)>,
}

/// How many tasks are where, on all nodes of the queue together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    pub(crate) waiting: u64,
    pub(crate) running: u64,
    pub(crate) ended: u64,
    pub(crate) dead: u64,
    /// Since when the first in line waits, from its submission; zero when nobody does.
    pub(crate) oldest: Duration,
}

/// The metrics of this moment.
pub(super) fn at_the_moment(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let moment = Moment(Registry::new());
    let build = moment.gauges("build_info", "The program, as labels.", &["version", "role"]);
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), &snapshot.role]).set(1.0);
    moment.gauge("queue_up", "Whether the queue answers.").set(f64::from(u8::from(snapshot.queue.is_some())));
    if let Some(Depth { waiting, running, ended, dead, oldest }) = snapshot.queue {
        let tasks =
            moment.gauges("queue_tasks", "Tasks in the queue, of all nodes; dead ones have ended, too.", &["state"]);
        for (state, count) in [("waiting", waiting), ("running", running), ("ended", ended), ("dead", dead)] {
            tasks.with_label_values(&[state]).set(count as f64);
        }
        let age =
            moment.gauge("queue_oldest_task_age_seconds", "Since the submission of the first in line; 0: no line.");
        age.set(oldest.as_secs_f64());
    }
    if !snapshot.generations.is_empty() {
        let numbers = moment.gauges("component_generation", "The generation that serves.", &["slot"]);
        let infos = moment.gauges("component_info", "The component that serves, as labels.", &["slot", "digest"]);
        for (slot, digest, generation) in &snapshot.generations {
            numbers.with_label_values(&[slot]).set(f64::from(*generation));
            infos.with_label_values(&[slot, digest]).set(1.0);
        }
    }
    if !snapshot.models.is_empty() {
        let infos = moment.gauges("model_info", "A model that serves, as labels.", &["name", "digest"]);
        for (name, digest) in &snapshot.models {
            infos.with_label_values(&[name, digest]).set(1.0);
        }
    }
    moment.process();
    moment.0.gather()
}

struct Moment(Registry);

impl Moment {
    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.keep(Gauge::with_opts(plain(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.keep(GaugeVec::new(plain(name, help), labels))
    }

    /// The figures that every process tells Prometheus, under the names that they have everywhere. What the system does not say
    /// is left out.
    fn process(&self) {
        let tell = |name: &str, help: &str, value: Option<f64>| {
            if let Some(value) = value {
                self.keep(Gauge::with_opts(Opts::new(name, help))).set(value);
            }
        };
        let stat = Stat::read();
        let of = |figure: fn(&Stat) -> f64| stat.as_ref().map(figure);
        if let Some(stat) = &stat {
            let cpu = Opts::new("process_cpu_seconds_total", "Time on processors, the system's part included.");
            self.keep(Counter::with_opts(cpu)).inc_by(stat.cpu);
        }
        tell("process_resident_memory_bytes", "Resident memory.", of(|stat| stat.resident));
        tell(
            "process_virtual_memory_bytes",
            "Reserved addresses; pools of instances take many.",
            of(|stat| stat.virtual_size),
        );
        tell("process_threads", "Threads.", of(|stat| stat.threads));
        tell("process_start_time_seconds", "When the process began, since the epoch.", of(|stat| stat.start));
        tell("process_open_fds", "Open file descriptors.", open_files());
        tell("process_max_fds", "The most open file descriptors.", most_files());
    }

    /// Each name is made once for each answer, with labels that stand in this file.
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("a metric of this file has a valid name and valid labels");
        self.0.register(Box::new(made.clone())).expect("each metric of this file is made once");
        made
    }
}

/// What `/proc/self/stat` says, in seconds, bytes and seconds since the epoch.
struct Stat {
    cpu: f64,
    threads: f64,
    start: f64,
    virtual_size: f64,
    resident: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?, &fs::read_to_string("/proc/stat").ok()?)
    }

    /// Fields are counted as in proc(5), after the name, which may hold anything.
    fn parse(own: &str, system: &str) -> Option<Self> {
        let fields: Vec<f64> =
            own.rsplit_once(')')?.1.split_whitespace().skip(1).map_while(|it| it.parse().ok()).collect();
        let field = |number: usize| fields.get(number - 4).copied();
        let boot: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        let tick = figure(libc::_SC_CLK_TCK)?;
        Some(Self {
            cpu: (field(14)? + field(15)?) / tick,
            threads: field(20)?,
            start: boot + field(22)? / tick,
            virtual_size: field(23)?,
            resident: field(24)? * figure(libc::_SC_PAGESIZE)?,
        })
    }
}

fn figure(name: libc::c_int) -> Option<f64> {
    // SAFETY: the call takes a number and touches no memory of ours.
    let value = unsafe { libc::sysconf(name) };
    (value > 0).then_some(value as f64)
}

fn open_files() -> Option<f64> {
    // The descriptor of the folder itself is among them.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn most_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_manual() {
        let own = "7 (a ) b) S 1 7 7 0 -1 4194560 11 12 13 14 250 150 0 0 20 0 9 0 4200 1048576 3 18446744073709551615";
        let stat = Stat::parse(own, "cpu 1 2\nbtime 1700000000\n").unwrap();
        let tick = figure(libc::_SC_CLK_TCK).unwrap();
        assert_eq!((stat.cpu, stat.threads, stat.virtual_size), (400.0 / tick, 9.0, 1_048_576.0));
        assert_eq!(
            (stat.start, stat.resident),
            (1_700_000_000.0 + 4200.0 / tick, 3.0 * figure(libc::_SC_PAGESIZE).unwrap())
        );
        assert!(Stat::parse("7 (x) S 1", "btime 1").is_none());
    }

    #[test]
    fn a_moment_tells_what_is_there_and_nothing_else() {
        let names = |snapshot: &Snapshot| {
            at_the_moment(snapshot).iter().map(|family| family.name().to_owned()).collect::<Vec<_>>()
        };
        let bare = names(&Snapshot::default());
        assert!(bare.contains(&"visavis_queue_up".to_owned()) && !bare.contains(&"visavis_queue_tasks".to_owned()));
        for name in
            ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"]
        {
            assert!(bare.contains(&name.to_owned()), "{bare:?}");
        }
        let full = names(&Snapshot {
            role: "all".to_owned(),
            queue: Some(Depth::default()),
            generations: vec![("scorer".to_owned(), "ab".to_owned(), 2)],
            models: vec![("net".to_owned(), "cd".to_owned())],
        });
        for name in
            ["queue_tasks", "queue_oldest_task_age_seconds", "component_generation", "component_info", "model_info"]
        {
            assert!(full.contains(&format!("visavis_{name}")), "{full:?}");
        }
    }
}
