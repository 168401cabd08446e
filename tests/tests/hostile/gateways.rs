//! Gateways that attack: each attack takes its own request down, with a line that says whose it was, and others are served
//! meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use visavis_tests::host::{Host, Setup};
use visavis_tests::hostile::gateway;
use visavis_tests::others::Others;
use visavis_tests::raw::{exchange, once};
use visavis_tests::scale::{Run, scale};

/// Requests at once.
const SEATS: usize = 16;

/// A host with the hostile gateway.
fn host() -> Host {
    Setup::new()
        .set("VISAVIS_COMPONENTS__GATEWAY__PATH", &gateway().to_string_lossy())
        .set("VISAVIS_COMPONENTS__GATEWAY__DEADLINE", "1s")
        .set("VISAVIS_COMPONENTS__GATEWAY__MEMORY_LIMIT", "64MiB")
        .set("VISAVIS_SERVER__CONCURRENCY", &SEATS.to_string())
        .set("VISAVIS_SERVER__REQUEST_TIMEOUT", "5s")
        .set("VISAVIS_SERVER__HEADER_TIMEOUT", "2s")
        .start()
}

fn get(host: &Host, path: &str) -> visavis_tests::raw::Exchange {
    once(host.address(), format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
}

#[test]
fn every_attack_of_a_gateway_takes_only_its_request_down() {
    let run = Run::attack("gateways");
    let host = host();
    let client = host.client();
    assert_eq!(client.get("/").text(), "hello");
    let (before, logged) = (host.resident(), host.log().len());
    let served = Others::get(&host, "/");
    let fatal = [
        ("loop", 0, "ran past its deadline"),
        ("recurse", 0, "trapped"),
        ("memory", 0, "more memory than components.gateway.memory_limit"),
        ("handles", 0, "no free keys"),
        ("fields", 0, "total size of fields exceeds limit"),
        ("random", 0, "exceeds limit"),
        ("silent", 0, "it ended without an answer"),
        ("error", 1 << 20, "it answered the error ErrorCode::InternalError"),
    ];
    for (word, number, words) in fatal {
        let log = host.log().len();
        let answer = client.get(&format!("/hostile/{word}/{number}"));
        assert_eq!(answer.status, 500, "{word}: {}", answer.text());
        assert!(["gateway_failed", "timeout"].contains(&answer.problem().as_str()), "{word}: {}", answer.text());
        let told = host.log()[log..].to_owned();
        let line = told.lines().find(|line| line.contains("the gateway (generation 1)"));
        let line = line.unwrap_or_else(|| panic!("{word}: the log does not name it: {told:.2000}"));
        assert!(line.contains(words) && line.len() < 2000, "{word}: {line:.2000}");
    }
    // A wait of its own is no computing: only the request's time ends it.
    assert_eq!(client.get("/hostile/sleep/0").status, 408);
    // What a host's function must not take.
    for (word, number, answers) in [
        ("submit", 11 << 20, &["server.body_limit"][..]),
        ("submit", 25 << 20, &["server.body_limit", "gateway_failed"]),
        ("threshold", 0, &["threshold is NaN"]),
        ("key", 1 << 20, &["Idempotency-Key must have"]),
        ("callback", 1 << 20, &["Invalid"]),
        ("lookup", 1 << 20, &["Unknown"]),
        ("revoke", 1 << 20, &["Unknown"]),
        ("ask", 3000, &["hello", "timeout"]),
        ("headers", 0, &["14 of 14 refused"]),
    ] {
        let text = client.get(&format!("/hostile/{word}/{number}")).text();
        assert!(answers.iter().any(|answer| text.contains(answer)), "{word} {number}: {text:.600}");
    }
    let served = served.fared();
    let log = host.log().len() - logged;
    run.counted(&format!(
        "{} orders; {} KiB of log; pages: {served}; resident {} MiB before, {} after",
        fatal.len() + 10,
        log >> 10,
        before >> 20,
        host.resident() >> 20
    ));
    assert!(log < 256 << 10, "the log was flooded: {log} bytes");
    served.assert_served_within(Duration::from_secs(10));
    assert!(host.resident() < before + (200 << 20));
}

/// Whether behind each whole answer there is another, or the end.
fn is_framed(mut told: &str) -> bool {
    while !told.is_empty() {
        if !told.starts_with("HTTP/1.1 ") {
            return false;
        }
        let Some((head, rest)) = told.split_once("\r\n\r\n") else { return true };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        // Without a length, or with less than that, it is the last.
        told = length.and_then(|length| rest.get(length..)).unwrap_or_default();
    }
    true
}

#[test]
fn what_a_gateway_answers_cannot_break_the_next_answer() {
    let run = Run::attack("answers of gateways");
    let host = host();
    let statuses = [0, 99, 100, 101, 102, 103, 199, 200, 204, 205, 304, 399, 404, 499, 599, 600, 999, 1000, 65_535];
    for status in statuses {
        let told = get(&host, &format!("/hostile/status/{status}"));
        assert!(told.took < Duration::from_secs(12), "{status}: {:?}", told.took);
        assert!(told.status().is_none_or(|it| (200..600).contains(&it)), "{status}: {}", told.text());
        assert_eq!(host.client().get("/").text(), "hello", "after {status}");
    }
    // Lengths that lie: the connection ends, so that nothing can be taken for the next answer.
    for length in [0, 3, 50] {
        let twice = format!("GET /hostile/length/{length} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(2);
        let mut stream = TcpStream::connect(host.address()).expect("the host listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time above zero");
        stream.write_all(twice.as_bytes()).expect("it is read");
        let mut told = Vec::new();
        let _ = stream.read_to_end(&mut told);
        let told = String::from_utf8_lossy(&told);
        assert!(is_framed(&told), "{length}: {told}");
    }
    for path in ["/hostile/bomb/0", "/hostile/trailers/0", "/hostile/trailers/100000"] {
        let told = get(&host, path);
        assert!(told.received.len() < 256 << 10 && told.took < Duration::from_secs(16), "{path}: {:?}", told.took);
        assert_eq!(host.client().get("/").text(), "hello", "after {path}");
    }
    // A body that is not read does not become the next request.
    let body = "GET /hostile/error/1 HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20_000);
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let told = exchange(host.address(), [post.as_bytes(), body.as_bytes()], false, Duration::from_secs(15));
    assert_eq!(told.text().matches("HTTP/1.1 ").count(), 1, "{:.2000}", told.text());
    run.counted(&format!("{} statuses, 3 lengths, 3 heads, 1 unread body", statuses.len()));
}

#[test]
fn answers_that_never_end_leave_room_for_others() {
    let run = Run::attack("answers without end");
    let host = host();
    assert_eq!(host.client().get("/").text(), "hello");
    // More than there are seats, and than instances beside them.
    let count = scale(SEATS * 3, SEATS * 20);
    let start = Instant::now();
    let slow: Vec<_> = (0..count)
        .map(|number| {
            let path = if number % 2 == 0 { "trickle/100000" } else { "endless/0" };
            let mut stream = TcpStream::connect(host.address()).expect("the host listens");
            stream
                .write_all(format!("GET /hostile/{path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
                .expect("it is read");
            stream
        })
        .collect();
    let served = Others::ask(&host, |client| match client.try_send("GET", "/", &[], &[]) {
        Ok(answer) if answer.status == 200 => Ok(()),
        // What a host says that is asked for more than it may do at once.
        Ok(answer) if answer.status == 503 => Ok(()),
        Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
        Err(error) => Err(error.to_string()),
    });
    // The last word that is not a refusal has to come while all of them are open.
    let patience = Duration::from_secs(20);
    while host.client().get("/").status != 200 {
        assert!(start.elapsed() < patience, "nobody else is served");
        std::thread::sleep(Duration::from_millis(100));
    }
    let waited = start.elapsed();
    drop(slow);
    let served = served.fared();
    run.counted(&format!(
        "{count} answers without end on {SEATS} seats; another got its own after {waited:.0?}; {served}"
    ));
    served.assert_served_within(Duration::from_secs(15));
    assert_eq!(host.client().get("/").text(), "hello");
}
