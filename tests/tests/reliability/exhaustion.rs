//! A host that runs out of what the system gives: file descriptors, memory. Whoever is served goes on being served, and what was
//! accepted ends, also when the host does not live through it.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use visavis_tests::host::{Host, Setup};
use visavis_tests::http::Client;
use visavis_tests::process::Resource;
use visavis_tests::scale::{Run, scale, wait_for};
use visavis_tests::stub;
use visavis_tests::watch::{Tally, Watch};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn setup() -> Setup {
    Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_QUEUE__MAX_DELIVERIES", "1000")
        .set("VISAVIS_WORKER__RETRIES", "100")
}

/// How many files and sockets the host has open, by its own count.
fn open_files(host: &Host) -> u64 {
    let metrics = host.operator().send("GET", "/metrics", &[], &[]).text();
    let figure = metrics.lines().find_map(|line| line.strip_prefix("process_open_fds "));
    figure.and_then(|figure| figure.parse::<f64>().ok()).expect("the host counts its files") as u64
}

#[test]
fn a_host_without_file_descriptors_serves_whom_it_serves_and_recovers() {
    let run = Run::of("file descriptors exhausted");
    let rounds = scale(2, 20);
    // A connection that is there stays, however long the test takes.
    let host = setup().set("VISAVIS_SERVER__HEADER_TIMEOUT", "60s").start();
    let watch = Watch::new(stub::is_own);
    let form = |number| stub::form(number, Duration::from_millis(5), 20_000);
    let known = host.client();
    let number = AtomicU32::new(0);
    let submit = |client: &Client| {
        let number = number.fetch_add(1, Ordering::SeqCst);
        assert!(watch.submit(client, number, &form(number)), "task {number}");
    };
    submit(&known);
    for _ in 0..rounds {
        let limit = open_files(&host) + 24;
        host.limit(Resource::Descriptors, limit);
        let said = host.log().matches("cannot accept a connection").count();
        let crowd: Vec<_> =
            (0..100).map(|_| TcpStream::connect(host.address()).expect("the backlog has room")).collect();
        wait_for("the host has no more descriptors", PATIENCE, || {
            host.log().matches("cannot accept a connection").count() > said
        });
        // Its connection is there already, and neither the queue nor the sandboxes need a descriptor more.
        (0..5).for_each(|_| submit(&known));
        assert!(host.is_running());
        drop(crowd);
        wait_for("new clients are served again", PATIENCE, || {
            host.client().try_get("/readyz").is_some_and(|answer| answer.status == 200)
        });
        submit(&host.client());
        host.limit(Resource::Descriptors, u64::MAX);
    }
    let tally = watch.to_the_end(&[host.client()], PATIENCE);
    // Twenty times a second at most, also for as long as it lasts.
    let complaints = host.log().matches("cannot accept a connection").count();
    run.counted(&format!("{tally}, times exhausted {rounds}, complaints in the log {complaints}"));
    assert_eq!(tally, Tally::perfect(tally.accepted), "{}", watch.trouble());
}

/// Memory that it writes to and shares with nobody, bytes.
fn data(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.id())).expect("the host runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("the kernel counts memory");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("memory is a number of kB") << 10
}

#[test]
fn a_host_without_memory_loses_nothing_that_it_accepted() {
    let run = Run::of("memory exhausted");
    let rounds = scale(2, 10);
    let setup = setup().set("VISAVIS_QUEUE__MAX_LENGTH", "100000");
    let watch = Watch::new(stub::is_own);
    let (number, refused) = (AtomicU32::new(0), AtomicUsize::new(0));
    let mut died = 0;
    for round in 0..rounds {
        let host = setup.start();
        let load = |client: &Client, size: usize| {
            let number = number.fetch_add(1, Ordering::SeqCst);
            if !watch.submit(client, number, &stub::form(number, Duration::from_millis(50), size)) {
                refused.fetch_add(1, Ordering::SeqCst);
            }
        };
        (0..5).for_each(|_| load(&host.client(), 20_000));
        // Less than a few photographs of this size take beside each other, and in other rounds next to nothing.
        host.limit(Resource::Memory, data(&host) + if round % 2 == 0 { 24 << 20 } else { 2 << 20 });
        let end = Instant::now() + Duration::from_secs(4);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let client = host.client();
                    while Instant::now() < end && host.is_running() {
                        load(&client, 3_000_000);
                    }
                });
            }
        });
        if host.is_running() {
            host.kill();
        } else {
            died += 1;
        }
    }
    let host = setup.start();
    let tally = watch.to_the_end(&[host.client()], PATIENCE);
    run.counted(&format!(
        "{tally}, submissions refused or unanswered {}, times exhausted {rounds}, of which the host ended {died}",
        refused.load(Ordering::SeqCst)
    ));
    assert!(refused.load(Ordering::SeqCst) > 0, "the limit was not felt");
    assert_eq!(tally, Tally::perfect(tally.accepted), "{}", watch.trouble());
    assert_eq!(host.client().verify(&stub::form(7, Duration::ZERO, 1000))["status"], "SUCCESS");
}
