//! Components replaced again and again under load: nothing is lost, nothing piles up, and how long it takes.
//!
//! Owns the figures of a swap. Must never name a bound that a busy machine cannot keep: those that a machine of one's own
//! keeps are asserted in a soak alone.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use visavis_tests::components::{built, relabelled};
use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::load::under_load;
use visavis_tests::operator::{Operator, Wishes};
use visavis_tests::photos::small;
use visavis_tests::scale::{Run, Spread, is_soak, scale};

const PLAIN: &Wishes = &Wishes { canary: None, signature: None, expected_changes: Vec::new(), fleet: false };

fn pair() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

#[test]
fn swaps_under_load_lose_nothing() {
    let (scorers, analyzers) = scale((16, 4), (100, 20));
    let run = Run::of("swaps under load");
    let host = Setup::new().start();
    let operator = host.operator();
    let forms = [pair(), Form::pair(&small("obama.jpg", 320), &small("biden.jpg", 320))];
    let mut number = 0;
    let mut swap = |slot: &str| {
        number += 1;
        let answer =
            operator.deploy(slot, &relabelled(&built(slot), &format!("swap {} {number}", std::process::id())), PLAIN);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["milliseconds"].as_f64().expect("a duration")
    };
    // What grows once is no leak: threads and sessions.
    let (_, warm) = under_load(&host, &forms, [2, 2], || {
        for _ in 0..2 {
            swap("scorer");
            (0..4).for_each(|_| _ = swap("analyzer"));
        }
        thread::sleep(Duration::from_secs(2));
    });
    let before = host.resident_in_and_beside_the_pool().zip(host.compiled_components());
    let (durations, seen) = under_load(&host, &forms, [2, 2], || {
        let every = scorers / analyzers + 1;
        (0..scorers + analyzers)
            .map(|round| swap(if round % every == every - 1 { "analyzer" } else { "scorer" }))
            .collect::<Vec<_>>()
    });
    for (form, status) in &seen.verifications {
        assert_eq!(
            (&status["status"], &status["result"]["verified"]),
            (&json!("SUCCESS"), &json!(*form == 0)),
            "{status}"
        );
    }
    for (slot, before, swaps) in [("scorer", 3, scorers), ("analyzer", 9, analyzers)] {
        let generations = seen.generations(slot);
        let existed = before..=before + swaps as u64;
        assert!(generations.iter().all(|generation| existed.contains(generation)), "{slot}: {generations:?}");
        assert!(generations.iter().max() > Some(&before), "{slot}: new generations work: {generations:?}");
        assert_eq!(operator.overview()["slots"][slot]["serving"]["generation"], *existed.end());
    }
    let polls: Vec<_> = seen.polls.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    let counted = format!(
        "{scorers} swaps of the scorer and {analyzers} of the analyzer, each in {:.0} ms at the median; {} verifications and {} \
         polls, none lost or failed, after {} verifications",
        Spread::of(&durations).median,
        seen.verifications.len(),
        polls.len(),
        warm.verifications.len(),
    );
    let after = host.resident_in_and_beside_the_pool().zip(host.compiled_components());
    let Some((((_, before), compiled), ((pool, after), more))) = before.zip(after) else {
        return run.counted(&counted);
    };
    let more = more.saturating_sub(compiled);
    run.counted(&format!(
        "{counted}; beside the pool {} MiB resident before and {} MiB after, {} MiB in the pool, {more} more mapped components",
        before >> 20,
        after >> 20,
        pool >> 20,
    ));
    // What serves, and of each slot what could be returned to.
    assert!(more <= 2, "{more} replaced components are still mapped");
    assert!(after < before + (48 << 20), "the host grew from {before} to {after} bytes");
    // Of each instance up to 8 MiB stay for the next: of as many as there are as a rule, and as were there at once beside them.
    // This load and the gate make a dozen.
    let kept = 2 * thread::available_parallelism().map_or(2, usize::from) + 8 + 12;
    assert!(pool <= (kept as u64) << 23, "the pool keeps {pool} bytes for {kept} instances");
}

/// Deploys, and answers how long it took from the first byte of the upload to the answer, by when it serves, milliseconds.
fn swap(operator: &Operator, slot: &str, component: &[u8]) -> f64 {
    let asked = Instant::now();
    let answer = operator.deploy(slot, component, PLAIN);
    let took = asked.elapsed();
    assert_eq!((answer.status, &answer.json()["state"]), (200, &json!("serving")), "{}", answer.text());
    took.as_secs_f64() * 1e3
}

#[test]
fn a_swap_is_quick() {
    let run = Run::of("swap to serving");
    let rounds = scale(5, 40);
    let host = Setup::new().start();
    let operator = host.operator();
    // Bytes that no run before this one has had compiled.
    let label = |kind: &str, round: usize| format!("{kind} {} {round}", std::process::id());
    let mut figures = Vec::new();
    for (slot, cold_bound, known_bound) in [("scorer", 200.0, 20.0), ("gateway", 2000.0, 100.0)] {
        let original = built(slot);
        let cold: Vec<_> =
            (0..rounds).map(|round| swap(&operator, slot, &relabelled(&original, &label("cold", round)))).collect();
        let two = [0, 1].map(|which| relabelled(&original, &label("known", which)));
        two.iter().for_each(|component| _ = swap(&operator, slot, component));
        let known: Vec<_> = (0..rounds).map(|round| swap(&operator, slot, &two[round % 2])).collect();
        let (cold, known) = (Spread::of(&cold), Spread::of(&known));
        figures.push(format!("{slot}: compiled {cold}, known {known}"));
        if is_soak() {
            assert!(cold.median < cold_bound && known.median < known_bound, "{figures:?}");
        }
    }
    run.counted(&format!("ms from upload to serving, {rounds} rounds each: {}", figures.join("; ")));
}

#[test]
fn a_swap_is_no_pause() {
    let run = Run::of("pause at a swap");
    let rounds = scale(10, 60);
    let host = Setup::new().start();
    let operator = host.operator();
    let form = [pair()];
    let mut figures = Vec::new();
    for slot in ["scorer", "gateway"] {
        let two = ["pause 0", "pause 1"].map(|label| relabelled(&built(slot), label));
        two.iter().for_each(|component| _ = swap(&operator, slot, component));
        let (swaps, seen) = under_load(&host, &form, [0, 2], || {
            (0..rounds)
                .map(|round| {
                    thread::sleep(Duration::from_millis(40));
                    swap(&operator, slot, &two[round % 2]);
                    Instant::now()
                })
                .collect::<Vec<_>>()
        });
        // The swap itself is the last thing before the answer; the deployment before it has taken the processor's time.
        let at_a_swap = |(began, took): &(Instant, Duration)| {
            let ended = *began + *took;
            swaps.iter().any(|swap| *began <= *swap && ended + Duration::from_millis(1) >= *swap)
        };
        let far_from_all = |(began, _): &(Instant, Duration)| {
            swaps
                .iter()
                .all(|swap| *began > *swap + Duration::from_millis(2) || *began + Duration::from_millis(38) < *swap)
        };
        let polls = |chosen: &dyn Fn(&(Instant, Duration)) -> bool| -> Vec<f64> {
            seen.polls.iter().filter(|poll| chosen(poll)).map(|(_, took)| took.as_secs_f64() * 1e3).collect()
        };
        let (at, apart) = (polls(&at_a_swap), polls(&far_from_all));
        assert!(
            at.len() >= rounds / 4 && apart.len() >= rounds,
            "{} and {} polls of {}",
            at.len(),
            apart.len(),
            seen.polls.len()
        );
        let (at, apart) = (Spread::of(&at), Spread::of(&apart));
        figures.push(format!("{slot}: {at} at a swap, {apart} apart from all"));
        if is_soak() {
            assert!(at.median < apart.median + 1.0, "{figures:?}");
        }
    }
    run.counted(&format!("ms for one status poll, {rounds} swaps: {}", figures.join("; ")));
}
