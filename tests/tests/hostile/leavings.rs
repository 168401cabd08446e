//! Whether anything of one call can be found by the next: each has a fresh instance, whose memory and handles are its own.

use visavis_tests::host::Setup;
use visavis_tests::hostile::{analyzer, form, gateway};
use visavis_tests::scale::{Run, scale};

/// What is to be found: nothing, though all of it was searched.
fn is_clean(told: &str, pages: usize) -> bool {
    let searched = pages * (64 << 10);
    told == format!("0 words in {searched} bytes, 0 calls before, 0 variables, 0 folders")
}

/// More than what the host keeps resident between two instances, so that both ways to clear memory are seen.
const PAGES: usize = 512;

#[test]
fn no_analyzer_finds_what_another_left() {
    let run = Run::attack("leavings of analyzers");
    let host = Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &analyzer().to_string_lossy())
        .set("VISAVIS_COMPONENTS__ANALYZER__MEMORY_LIMIT", "128MiB")
        .set("VISAVIS_WORKER__RETRIES", "0")
        .start();
    let client = host.client();
    let rounds = scale(6, 200);
    for round in 0..rounds {
        let left: Vec<_> = (0..3).map(|_| client.submit(&form("leave", PAGES))).collect();
        // Some look while others leave, the rest afterwards.
        let looking: Vec<_> = (0..3).map(|_| client.submit(&form("look", PAGES))).collect();
        assert!(left.iter().all(|id| client.ended(id)["status"] == "SUCCESS"));
        let later = client.submit(&form("look", 2 * PAGES));
        for (id, pages) in looking.iter().map(|id| (id, PAGES)).chain([(&later, 2 * PAGES)]) {
            let status = client.ended(id);
            let told = status["error"]["message"].as_str().unwrap_or_default();
            assert!(is_clean(told, pages), "round {round}: {status}");
        }
    }
    // The handles of the hundred tensors that each has left are known to none.
    for handle in [0, 1, 2, 3, 50, 100] {
        let status = client.verify(&form("forge", handle));
        assert!(status["error"]["message"].as_str().is_some_and(|it| it.contains("trapped")), "{handle}: {status}");
    }
    run.counted(&format!("{} searches of up to {} MiB found nothing; 6 handles opened nothing", rounds * 4, PAGES / 8));
}

#[test]
fn no_gateway_finds_what_another_left() {
    let run = Run::attack("leavings of gateways");
    let host = Setup::new()
        .set("VISAVIS_COMPONENTS__GATEWAY__PATH", &gateway().to_string_lossy())
        .set("VISAVIS_COMPONENTS__GATEWAY__MEMORY_LIMIT", "128MiB")
        .start();
    let client = host.client();
    let rounds = scale(6, 200);
    for round in 0..rounds {
        assert_eq!(client.get(&format!("/hostile/leave/{PAGES}")).text(), "hello");
        let told = client.get(&format!("/hostile/look/{PAGES}")).text();
        assert!(is_clean(&told, PAGES), "round {round}: {told}");
    }
    run.counted(&format!("{rounds} searches of {} MiB found nothing", PAGES / 16));
}
