//! Analyzers that attack: each attack ends with a line that says who did what, and others are served meanwhile.

use std::time::Duration;

use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::hostile::{analyzer, form};
use visavis_tests::others::Others;
use visavis_tests::scale::{Run, scale};

/// A host with the hostile analyzer.
fn host() -> Host {
    Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &analyzer().to_string_lossy())
        .set("VISAVIS_COMPONENTS__ANALYZER__DEADLINE", "3s")
        .set("VISAVIS_COMPONENTS__ANALYZER__MEMORY_LIMIT", "128MiB")
        .set("VISAVIS_WORKER__RETRIES", "0")
        .set("VISAVIS_WORKER__CONCURRENCY", "4")
        .start()
}

fn well() -> Form {
    form("well", 0)
}

/// The order, the error's code, and words of its message.
type Attack = (&'static str, usize, &'static str, &'static str);

const ATTACKS: [Attack; 27] = [
    ("loop", 0, "timeout", "components.analyzer.deadline"),
    ("sleep", 0, "timeout", "components.analyzer.deadline"),
    ("recurse", 0, "processing_failed", "trapped"),
    ("memory", 0, "processing_failed", "more memory than components.analyzer.memory_limit"),
    ("tensors", 4, "processing_failed", "resource table has no free keys"),
    ("tensors", 16 << 20, "processing_failed", "its tensors took more memory in the host than"),
    ("tensors", 60 << 20, "processing_failed", "its tensors took more memory in the host than"),
    ("graphs", 0, "processing_failed", "resource table has no free keys"),
    ("contexts", 0, "processing_failed", "resource table has no free keys"),
    ("names", 64 << 10, "processing_failed", "resource table has no free keys"),
    ("names", 50 << 20, "timeout", "components.analyzer.deadline"),
    ("bring", 20 << 20, "processing_failed", "4 of 4 refused"),
    ("shapes", 0, "processing_failed", "22 refused and 0 taken"),
    ("fail", 20_000, "processing_failed", "8 computations of this instance have failed"),
    ("nan", 0, "processing_failed", "numbers that are none"),
    ("print", 8 << 20, "processing_failed", "trapped"),
    ("random", 1 << 20, "processing_failed", "exceeds limit"),
    ("insecure", 1 << 20, "processing_failed", "exceeds limit"),
    ("zeroes", 0, "processing_failed", "trapped"),
    ("write", 32 << 20, "processing_failed", "trapped"),
    ("faces", 200_000, "processing_failed", "200000 faces"),
    ("embedding", 8 << 20, "processing_failed", "1 faces of"),
    ("steps", 100_000, "processing_failed", "100000 steps"),
    ("step", 1 << 20, "processing_failed", "a step whose name"),
    ("inference", 1 << 20, "processing_failed", "says that inference failed: xxx"),
    ("forge", 7, "processing_failed", "unknown handle index"),
    ("forge", 1 << 30, "processing_failed", "unknown handle index"),
];

#[test]
fn every_attack_of_an_analyzer_is_an_error_that_names_it() {
    let run = Run::attack("analyzers");
    let host = host();
    let client = host.client();
    assert_eq!(client.verify(&well())["status"], "SUCCESS");
    let (before, logged) = (host.resident(), host.log().len());
    let served = Others::get(&host, "/");
    let verified = Others::ask(&host, |client| match client.verify(&well()) {
        status if status["status"] == "SUCCESS" => Ok(()),
        status => Err(status.to_string()),
    });
    let mut wrong = Vec::new();
    for (word, number, code, words) in ATTACKS {
        let status = client.verify(&form(word, number));
        let message = status["error"]["message"].as_str().unwrap_or_default();
        let named = message.contains("the analyzer (generation 1)");
        if status["error"]["code"] != code || !message.contains(words) || !named || message.len() > 1000 {
            wrong.push(format!("{word} {number}: {status:.600}"));
        }
        assert!(host.is_running(), "{word} {number}");
    }
    // What may end either way, so long as it ends.
    for (word, number) in [("grow", 16), ("poll", 1 << 16), ("poll", 4 << 20), ("write", 100)] {
        let status = client.verify(&form(word, number));
        assert!(["SUCCESS", "FAILURE"].contains(&status["status"].as_str().unwrap_or_default()), "{status}");
    }
    // A photograph's fault is told in its analyzer's words, but in one line that ends.
    let text = client.verify(&form("text", 1 << 20));
    let message = text["error"]["message"].as_str().unwrap_or_default();
    assert_eq!(text["error"]["code"], "invalid_image", "{text:.600}");
    assert!(message.len() < 1000 && !message.contains(char::is_control), "{message}");
    let (served, verified) = (served.fared(), verified.fared());
    let log = host.log();
    let named = log.lines().filter(|line| line.contains("the analyzer (generation 1)")).count();
    run.counted(&format!(
        "{} orders, {named} lines that name slot and generation, {} KiB of log; pages: {served}; tasks: {verified}; resident {} \
         MiB before, {} after",
        ATTACKS.len() + 5,
        (log.len() - logged) >> 10,
        before >> 20,
        host.resident() >> 20,
    ));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ATTACKS.len(), wrong.join("\n"));
    assert!(named >= ATTACKS.len(), "each is in the log");
    assert!(log.len() - logged < 512 << 10, "the log was flooded");
    served.assert_served_within(Duration::from_secs(10));
    verified.assert_served_within(Duration::from_secs(30));
    assert!(host.resident() < before + (300 << 20), "{} bytes before, {} after", before, host.resident());
}

#[test]
fn attacks_of_many_tasks_at_once_leave_the_host_as_it_was() {
    let run = Run::attack("analyzers at once");
    let host = host();
    let client = host.client();
    let rounds = scale(1, 20);
    let served = Others::get(&host, "/");
    let orders = [
        ("tensors", 16 << 20),
        ("memory", 0),
        ("shapes", 0),
        ("well", 0),
        ("contexts", 0),
        ("fail", 1000),
        ("recurse", 0),
        ("well", 0),
        ("print", 1 << 20),
        ("names", 64 << 10),
        ("faces", 200_000),
        ("random", 1 << 20),
    ];
    let mut ids = Vec::new();
    for (word, number) in orders.iter().cycle().take(orders.len() * 2 * rounds) {
        ids.push((*word, client.submit(&form(word, *number))));
    }
    for (word, id) in &ids {
        let status = client.ended(id);
        let expected = if *word == "well" { "SUCCESS" } else { "FAILURE" };
        assert_eq!(status["status"], expected, "{word}: {status:.600}");
    }
    let served = served.fared();
    run.counted(&format!("{} tasks at once, each ended as it had to; pages: {served}", ids.len()));
    served.assert_served_within(Duration::from_secs(15));
    assert_eq!(client.verify(&well())["status"], "SUCCESS");
}
