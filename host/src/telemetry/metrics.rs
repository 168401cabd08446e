//! What this process counts and measures, and how that reads as Prometheus' text.
//!
//! Owns every metric's name, labels and buckets. Labels take their values from closed sets, or are names of models and digests
//! of components: never a task, a file, a client or anything else that the world can make more of. Must never know what a room
//! does with its work; rooms record here.

use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::gauges::{Snapshot, at_the_moment};

/// What stands for a value that is in no set.
pub(crate) const OTHER: &str = "other";

const LISTENERS: &[&str] = &["public", "admin", "metrics", OTHER];
const ROUTES: &[&str] = &[
    "/verify",
    "/status/{task_id}",
    "/",
    "/docs",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
    "/components",
    "/components/{slot}",
    "/components/{slot}/rollback",
    "/nodes",
    "/drain",
    "/tasks/{task_id}",
    OTHER,
];
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", OTHER];
const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx", OTHER];
const SUBMISSIONS: &[&str] =
    &["accepted", "invalid", "full", "overloaded", "too_many_waiting", "conflict", "unavailable", OTHER];
const OUTCOMES: &[&str] = &["success", "failure", "dead", OTHER];
const CODES: &[&str] = &[
    "none",
    "invalid_image",
    "unsupported_format",
    "image_too_large",
    "no_face",
    "multiple_faces",
    "non_frontal_face",
    "timeout",
    "processing_failed",
    "revoked",
    OTHER,
];
const INTERRUPTIONS: &[&str] = &["lost", "drained", OTHER];
/// The steps of the analyzer that comes with the host; those of another one count as the last.
const STEPS: &[&str] = &["decode", "detect", "crop", "embed", "cache", "analyze", "score", OTHER];
const SLOTS: &[&str] = &["gateway", "analyzer", "scorer", "annotator", OTHER];
const CALLS: &[&str] = &["ok", "trap", "deadline", "cancelled", OTHER];
const CHANGES: &[&str] = &["deployed", "tried", "promoted", "taken_back", "rolled_back", "refused", OTHER];
const LOOKUPS: &[&str] = &["hit", "miss", OTHER];

/// Seconds: from what a step of a millisecond takes to the longest wait that the interface offers.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Rows of one run of a network.
const ROWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// The metrics of this process.
pub(crate) fn metrics() -> &'static Metrics {
    &METRICS
}

/// Metrics of one name, by labels of closed sets. Each is made at its first use and found without a lock from then on.
pub(crate) struct Table<M, const LABELS: usize> {
    make: Make<M>,
    sets: [&'static [&'static str]; LABELS],
    cells: Box<[OnceLock<M>]>,
}

/// Makes the metric of these values.
type Make<M> = Box<dyn Fn(&[&str]) -> M + Send + Sync>;

impl<M, const LABELS: usize> Table<M, LABELS> {
    fn new(sets: [Set; LABELS], make: impl Fn(&[&str]) -> M + Send + Sync + 'static) -> Self {
        let sets = sets.map(|(_, values)| values);
        let count = sets.iter().map(|set| set.len()).product();
        Self { make: Box::new(make), sets, cells: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// The metric of these values; one that is not in its set counts as the set's last.
    pub(crate) fn of(&self, values: [&str; LABELS]) -> &M {
        let mut index = 0;
        let mut labels = [OTHER; LABELS];
        for (at, (set, value)) in self.sets.iter().zip(values).enumerate() {
            let place = set.iter().position(|known| *known == value).unwrap_or(set.len() - 1);
            index = index * set.len() + place;
            labels[at] = set[place];
        }
        self.cells[index].get_or_init(|| (self.make)(&labels))
    }
}

type Counters<const LABELS: usize> = Table<IntCounter, LABELS>;
type Gauges<const LABELS: usize> = Table<IntGauge, LABELS>;
type Histograms<const LABELS: usize> = Table<Histogram, LABELS>;

/// All metrics that are recorded where something happens. [`Snapshot`] has those that are looked up when they are asked for.
pub(crate) struct Metrics {
    registry: Registry,
    /// By listener, route, method and class of the status.
    pub(crate) requests: Counters<4>,
    /// By listener, route and method.
    pub(crate) request_seconds: Histograms<3>,
    /// By listener.
    pub(crate) connections: Gauges<1>,
    /// By listener.
    pub(crate) accepted_connections: Counters<1>,
    /// By what became of them.
    pub(crate) submissions: Counters<1>,
    /// By outcome and error code, `none` for a result.
    pub(crate) tasks: Counters<2>,
    /// By error code.
    pub(crate) retries: Counters<1>,
    /// By why a worker left its task.
    pub(crate) interruptions: Counters<1>,
    /// From submission to a task's first claim.
    pub(crate) queue_wait_seconds: Histogram,
    /// From submission to the end, by outcome.
    pub(crate) task_seconds: Histograms<1>,
    /// From a claim to the end of that try.
    pub(crate) attempt_seconds: Histogram,
    /// By step.
    pub(crate) step_seconds: Histograms<1>,
    /// Tasks in work.
    pub(crate) working: IntGauge,
    /// Tasks that may be in work.
    pub(crate) workers: IntGauge,
    /// By slot.
    pub(crate) instances: Gauges<1>,
    /// By slot and outcome.
    pub(crate) calls: Counters<2>,
    /// By event.
    pub(crate) changes: Counters<1>,
    /// By result.
    pub(crate) lookups: Counters<1>,
    run_seconds: HistogramVec,
    run_rows: HistogramVec,
    run_failures: IntCounterVec,
}

/// What is measured of one network.
pub(crate) struct Runs {
    seconds: Histogram,
    rows: Histogram,
    failures: IntCounter,
}

impl Runs {
    /// Counts a run that a library made.
    pub(crate) fn note(&self, took: Duration, rows: usize, succeeded: bool) {
        self.seconds.observe(took.as_secs_f64());
        self.rows.observe(rows as f64);
        if !succeeded {
            self.failures.inc();
        }
    }
}

/// Counts in a gauge for as long as it lives.
pub(crate) struct Counted(IntGauge);

impl Counted {
    /// One more, until it is dropped.
    pub(crate) fn in_gauge(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    fn new() -> Self {
        let registry = Registry::new();
        let make = Maker(&registry);
        let metrics = Self {
            requests: make.counters(
                "http_requests_total",
                "HTTP requests that were answered.",
                [("listener", LISTENERS), ("route", ROUTES), ("method", METHODS), ("status", CLASSES)],
            ),
            request_seconds: make.histograms(
                "http_request_duration_seconds",
                "From a request's head to its answer, the wait for a result included.",
                [("listener", LISTENERS), ("route", ROUTES), ("method", METHODS)],
            ),
            connections: make.gauges("http_connections", "Open connections.", [("listener", LISTENERS)]),
            accepted_connections: make.counters(
                "http_connections_accepted_total",
                "Connections that were accepted.",
                [("listener", LISTENERS)],
            ),
            submissions: make.counters(
                "task_submissions_total",
                "Tasks that were handed in, by what became of them.",
                [("outcome", SUBMISSIONS)],
            ),
            tasks: make.counters(
                "tasks_total",
                "Tasks that this worker has ended.",
                [("outcome", OUTCOMES), ("code", CODES)],
            ),
            retries: make.counters("task_retries_total", "Tries that failed and are repeated.", [("code", CODES)]),
            interruptions: make.counters(
                "task_interruptions_total",
                "Tasks that this worker did not end: revoked or taken from it (lost), or given back at its stop (drained).",
                [("reason", INTERRUPTIONS)],
            ),
            queue_wait_seconds: make.histogram(
                "task_queue_wait_seconds",
                "How long tasks waited from their submission to their first claim.",
            ),
            task_seconds: make.histograms(
                "task_duration_seconds",
                "From a task's submission to its end, all waits included.",
                [("outcome", OUTCOMES)],
            ),
            attempt_seconds: make.histogram("task_attempt_duration_seconds", "From a claim to the end of that try."),
            step_seconds: make.histograms(
                "step_duration_seconds",
                "The steps of a verification; analyze is a photograph as a whole, its wait for a processor included.",
                [("step", STEPS)],
            ),
            working: make.gauge("worker_tasks", "Tasks in work."),
            workers: make.gauge("worker_concurrency", "Tasks that may be in work at once."),
            instances: make.gauges("component_instances", "Instances of components alive.", [("slot", SLOTS)]),
            calls: make.counters(
                "component_calls_total",
                "Calls of components, by how they ended.",
                [("slot", SLOTS), ("outcome", CALLS)],
            ),
            changes: make.counters("component_changes_total", "Changes of what serves.", [("event", CHANGES)]),
            lookups: make.counters(
                "cache_lookups_total",
                "Photographs that were looked for among the analyses that are kept.",
                [("result", LOOKUPS)],
            ),
            run_seconds: make.keep(HistogramVec::new(
                options("inference_duration_seconds", "Runs of a network, without the wait for a session.", SECONDS),
                &["model"],
            )),
            run_rows: make.keep(HistogramVec::new(
                options("inference_batch_rows", "Rows that a run of a network took.", ROWS),
                &["model"],
            )),
            run_failures: make.keep(IntCounterVec::new(
                plain("inference_failures_total", "Runs of a network that failed or were stopped."),
                &["model"],
            )),
            registry: registry.clone(),
        };
        metrics.begin();
        metrics
    }

    /// Whoever watches an increase needs the zero before it.
    fn begin(&self) {
        for (outcome, code) in [("success", "none"), ("failure", "processing_failed"), ("dead", "processing_failed")] {
            self.tasks.of([outcome, code]);
        }
        CHANGES.iter().filter(|event| **event != OTHER).for_each(|event| _ = self.changes.of([event]));
        ["accepted", "full", "overloaded", "unavailable"].iter().for_each(|what| _ = self.submissions.of([what]));
        self.interruptions.of(["lost"]);
        self.retries.of(["processing_failed"]);
    }

    /// What is measured of the network of this name.
    pub(crate) fn runs(&self, model: &str) -> Runs {
        Runs {
            seconds: self.run_seconds.with_label_values(&[model]),
            rows: self.run_rows.with_label_values(&[model]),
            failures: self.run_failures.with_label_values(&[model]),
        }
    }

    /// Counts a request that was answered.
    pub(crate) fn note_request(&self, listener: &str, route: &str, method: &str, status: u16, took: Duration) {
        let class = match status / 100 {
            class @ 1..=5 => CLASSES[usize::from(class) - 1],
            _ => OTHER,
        };
        self.requests.of([listener, route, method, class]).inc();
        self.request_seconds.of([listener, route, method]).observe(took.as_secs_f64());
    }

    /// Everything, in Prometheus' text format.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        let mut families = self.registry.gather();
        families.extend(at_the_moment(snapshot));
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }
}

/// Makes metrics and registers them.
struct Maker<'r>(&'r Registry);

impl Maker<'_> {
    fn counters<const N: usize>(&self, name: &str, help: &str, sets: [Set; N]) -> Counters<N> {
        let vec = self.keep(IntCounterVec::new(plain(name, help), &sets.map(|(label, _)| label)));
        Table::new(sets, move |values| vec.with_label_values(values))
    }

    fn gauges<const N: usize>(&self, name: &str, help: &str, sets: [Set; N]) -> Gauges<N> {
        let vec = self.keep(IntGaugeVec::new(plain(name, help), &sets.map(|(label, _)| label)));
        Table::new(sets, move |values| vec.with_label_values(values))
    }

    fn histograms<const N: usize>(&self, name: &str, help: &str, sets: [Set; N]) -> Histograms<N> {
        let vec = self.keep(HistogramVec::new(options(name, help, SECONDS), &sets.map(|(label, _)| label)));
        Table::new(sets, move |values| vec.with_label_values(values))
    }

    fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.keep(Histogram::with_opts(options(name, help, SECONDS)))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::with_opts(plain(name, help)))
    }

    /// Names and labels stand in this file, so they are valid and each is there once; a test makes them all.
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("a metric of this file has a valid name and valid labels");
        self.0.register(Box::new(made.clone())).expect("each metric of this file is registered once");
        made
    }
}

/// A label, and the values that it may have.
type Set = (&'static str, &'static [&'static str]);

/// `visavis_` goes before each name.
pub(super) fn plain(name: &str, help: &str) -> Opts {
    Opts::new(format!("visavis_{name}"), help)
}

fn options(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::from(plain(name, help)).buckets(buckets.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_told_and_unlisted_values_make_no_label() {
        let metrics = Metrics::new();
        for route in ["/verify", "/verify", "/holiday.jpg", "/another"] {
            metrics.note_request("public", route, "POST", 202, Duration::from_millis(3));
        }
        metrics.note_request("public", "/verify", "BREW", 999, Duration::ZERO);
        let open = Counted::in_gauge(metrics.connections.of(["public"]));
        metrics.runs("net").note(Duration::from_millis(7), 3, false);
        let text = metrics.render(&Snapshot::default());
        for line in [
            r#"visavis_http_requests_total{listener="public",method="POST",route="/verify",status="2xx"} 2"#,
            r#"visavis_http_requests_total{listener="public",method="POST",route="other",status="2xx"} 2"#,
            r#"visavis_http_requests_total{listener="public",method="other",route="/verify",status="other"} 1"#,
            r#"visavis_http_request_duration_seconds_bucket{listener="public",method="POST",route="/verify",le="0.005"} 2"#,
            r#"visavis_http_connections{listener="public"} 1"#,
            r#"visavis_inference_batch_rows_sum{model="net"} 3"#,
            r#"visavis_inference_failures_total{model="net"} 1"#,
            r#"visavis_component_changes_total{event="rolled_back"} 0"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("holiday"));
        drop(open);
        assert!(metrics.render(&Snapshot::default()).contains("visavis_http_connections{listener=\"public\"} 0"));
    }

    #[test]
    fn every_cell_is_a_metric_of_its_own() {
        let metrics = Metrics::new();
        for (outcome, code) in OUTCOMES.iter().flat_map(|outcome| CODES.iter().map(move |code| (outcome, code))) {
            metrics.tasks.of([outcome, code]).inc();
        }
        let text = metrics.render(&Snapshot::default());
        let counted: Vec<_> = text.lines().filter(|line| line.starts_with("visavis_tasks_total{")).collect();
        assert_eq!(counted.len(), OUTCOMES.len() * CODES.len());
        assert!(counted.iter().all(|line| line.ends_with(" 1")), "{counted:?}");
    }
}
