//! Verifications on a GPU, with and without batches across tasks, beside the processor of the same machine.
//!
//! Owns who is compared. Must never know how anything is computed; where no GPU works there is nothing to measure.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use visavis_tests::gpu;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos;

use crate::Effort;
use crate::load::{self, Length};
use crate::report::{Report, Role};
use crate::sample::quantile;
use crate::service::{Manner, Pair};

/// Calls of both photographs at a time, and as many tasks at once.
const CALLERS: [usize; 4] = [1, 4, 16, 64];

/// Sessions of each graph on the GPU: one computes while the rows of the next are brought.
const SESSIONS: &str = "2";

/// Why there is nothing to measure here.
#[derive(Debug)]
pub(crate) struct Skipped(String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let setup = gpu::of_this_machine().map_err(Skipped)?;
    let (_, place) = gpu::inference(&setup);
    let mut report = Report::new(
        "Verifications on a GPU",
        &[
            "Each caller sends the sample pair over a connection that it keeps, waits for the result, and sends it again; \
             every verdict is checked. The host does as many tasks at once as there are callers at most. Decoding and scaling \
             stay with the processor, whose cores all share.",
            &format!("The GPU, as `doctor` says: {}.", place.split(" runs ").next().unwrap_or(&place)),
        ],
    );
    let pair = Pair::new(&photos::photo("obama.jpg"), &photos::photo("obama2.jpg"));
    let most = CALLERS.into_iter().max().unwrap_or(1).to_string();
    let on_gpu = |rows| setup.clone().set("VISAVIS_NN__MAX_BATCH", rows).set("VISAVIS_NN__SESSIONS", SESSIONS);
    let hosts: [(&str, Role, Setup); 3] = [
        ("GPU, batches of up to 32 rows", Role::Visavis, on_gpu("32")),
        ("GPU, no batches", Role::Visavis, on_gpu("1")),
        ("processor", Role::Peer, Setup::new()),
    ];
    let hosts = hosts.map(|(name, role, setup)| (name, role, setup.set("VISAVIS_WORKER__CONCURRENCY", &most).start()));
    for (name, _, host) in &hosts {
        measure(host, &pair, 4, Length::Calls(12)).context(*name)?;
    }
    for _ in 0..effort.choose(3, 1) {
        for callers in effort.choose(&CALLERS[..], &CALLERS[..2]) {
            let length = effort.choose(Length::Time(Duration::from_secs(10)), Length::Calls(*callers));
            for (name, role, host) in &hosts {
                let seen = measure(host, &pair, *callers, length).context(*name)?;
                let plural = if *callers == 1 { "caller" } else { "callers" };
                report.add(&format!("{callers} {plural}: verifies a second"), (*role, name), "1/s", seen.rate());
                for (share, figure) in [(0.5, "p50"), (0.99, "p99")] {
                    let value = quantile(&seen.latencies, share);
                    report.add(&format!("{callers} {plural}: {figure}"), (*role, name), "ms", value);
                }
            }
        }
    }
    Ok(report)
}

fn measure(host: &Host, pair: &Pair, callers: usize, length: Length) -> Result<load::Seen> {
    let pair = pair.clone();
    let act = async move |connection: &mut _, _| pair.verify(connection, Manner::Waits).await;
    load::closed(host.address(), callers, length, act)
}
