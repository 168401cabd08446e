//! Clients that are slow, silent, many, or do not read: bounded in sockets and memory, and others are served meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use visavis_tests::form::{BOUNDARY, Form};
use visavis_tests::host::{Host, Setup};
use visavis_tests::others::Others;
use visavis_tests::photos::small;
use visavis_tests::scale::{Run, scale, wait_for};

fn good() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

/// Open files of the host's process.
fn files(host: &Host) -> usize {
    fs::read_dir(format!("/proc/{}/fd", host.id())).expect("the host runs").count()
}

/// A client that verifies again and again, and does as a refusal says: it comes back after a second, ten times at most.
fn verifying(host: &Host) -> Others {
    let form = good();
    Others::ask(host, move |client| {
        let mut task = None;
        for _ in 0..10 {
            let answer = match &task {
                None => client.post("/verify?wait=30", &form, &[]),
                Some(id) => client.get(&format!("/status/{id}?wait=10")),
            };
            match answer.status {
                200 if answer.json()["result"]["verified"] == true => return Ok(()),
                // The wait has ended before the task, for somebody needed the seat.
                200 | 202 => task = answer.json()["task_id"].as_str().map(str::to_owned),
                503 => std::thread::sleep(Duration::from_secs(1)),
                _ => return Err(answer.text()),
            }
        }
        Err("refused ten times".to_owned())
    })
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the host listens");
    stream.set_write_timeout(Some(Duration::from_secs(1))).expect("a time above zero");
    stream
}

#[test]
fn heads_and_bodies_that_come_a_byte_at_a_time_hold_nobody_up() {
    let run = Run::attack("slow loris");
    let host = Setup::new().set("VISAVIS_SERVER__HEADER_TIMEOUT", "3s").start();
    assert_eq!(host.client().verify(&good())["result"]["verified"], true);
    let (before, open) = (host.resident(), files(&host));
    // As many bodies as there are seats, each declared as large as may be: far more than may be held at once.
    let (heads, bodies) = (scale(200, 1000), 300);
    let enough = Arc::new(AtomicBool::new(false));
    let address = host.address();
    let slow = std::thread::spawn({
        let enough = Arc::clone(&enough);
        move || {
            let head = || b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_vec();
            let body = || {
                let form = format!("multipart/form-data; boundary={BOUNDARY}");
                format!(
                    "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: {form}\r\nContent-Length: 20971520\r\n\r\n--"
                )
                .into_bytes()
            };
            let open = |bytes: Vec<u8>| {
                let mut stream = connect(address);
                let _ = stream.write_all(&bytes);
                stream
            };
            let begin = |number: usize| open(if number < heads { head() } else { body() });
            let mut streams: Vec<_> = (0..heads + bodies).map(begin).collect();
            let (mut bytes, mut again) = (0_u64, 0_u64);
            while !enough.load(Ordering::Relaxed) {
                for (number, stream) in streams.iter_mut().enumerate() {
                    // Who is cut off comes back at once.
                    if stream.write_all(b"x").is_ok() {
                        bytes += 1;
                    } else {
                        again += 1;
                        *stream = begin(number);
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            (bytes, again)
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    let (served, verified) = (Others::get(&host, "/"), verifying(&host));
    std::thread::sleep(Duration::from_secs(scale(8, 120)));
    let (served, verified) = (served.fared(), verified.fared());
    enough.store(true, Ordering::Relaxed);
    let (bytes, again) = slow.join().expect("slowness does not panic");
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!(
        "{heads} heads and {bodies} bodies of 20 MiB, {bytes} bytes one at a time, {again} cut off and back; pages: {served}; \
         tasks: {verified}; the host grew by {} MiB",
        grown >> 20
    ));
    served.assert_served_within(Duration::from_secs(15));
    verified.assert_served_within(Duration::from_secs(30));
    // An instance for each seat, and the little that was sent.
    assert!(grown < 700 << 20, "{grown} bytes");
    wait_for("the slow are cut off", Duration::from_secs(30), || files(&host) < open + 50);
}

#[test]
fn silent_connections_without_number_leave_room_for_others() {
    let run = Run::attack("silent connections");
    let host = Setup::new().start();
    assert_eq!(host.client().verify(&good())["result"]["verified"], true);
    let (before, count) = (host.resident(), scale(4000, 10_000));
    let (served, verified) = (Others::get(&host, "/"), verifying(&host));
    let mut silent = Vec::with_capacity(count);
    let mut most = 0;
    for number in 0..count {
        silent.push(connect(host.address()));
        if number % 500 == 0 {
            most = most.max(files(&host));
        }
    }
    std::thread::sleep(Duration::from_secs(scale(2, 20)));
    most = most.max(files(&host));
    let (served, verified) = (served.fared(), verified.fared());
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!(
        "{count} connections that say nothing, {most} files open at most; pages: {served}; tasks: {verified}; the host grew by {} \
         MiB",
        grown >> 20
    ));
    served.assert_served_within(Duration::from_secs(10));
    verified.assert_served_within(Duration::from_secs(30));
    assert!(most < 1024 + 150, "{most} files are open: server.max_connections is 1024");
    assert!(grown < 128 << 20, "{grown} bytes");
}

#[test]
fn who_asks_and_never_reads_is_cut_off() {
    let run = Run::attack("unread answers");
    let host = Setup::new().set("VISAVIS_SERVER__HEADER_TIMEOUT", "2s").start();
    assert_eq!(host.client().verify(&good())["result"]["verified"], true);
    let whole = host.client().get("/openapi.json").text().len() * 400;
    let (before, open, count) = (host.resident(), files(&host), scale(24, 200));
    let served = Others::get(&host, "/healthz");
    // The reference is the largest answer: with some hundred asked for, no buffer holds them.
    let asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(400);
    let mut greedy: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = connect(host.address());
            let _ = stream.write_all(&asked);
            stream
        })
        .collect();
    wait_for("they are let in", Duration::from_secs(30), || files(&host) >= open + count);
    let start = Instant::now();
    wait_for("they are cut off", Duration::from_secs(90), || files(&host) <= open + 8);
    let took = start.elapsed();
    let served = served.fared();
    let read: usize = greedy
        .iter_mut()
        .map(|stream| {
            let mut told = Vec::new();
            let _ = stream.read_to_end(&mut told);
            told.len()
        })
        .sum();
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!(
        "{count} clients asked for 400 answers each and read none: cut off after {took:.0?}, with {} KiB each on the way; health: \
         {served}; the host grew by {} MiB",
        (read / count) >> 10,
        grown >> 20
    ));
    served.assert_served_within(Duration::from_secs(10));
    // Somebody who is slow to read has the time that is set, and what no buffer held was never sent.
    assert!(took > Duration::from_secs(1), "they were cut off after {took:?}");
    assert!(read / count < whole, "{read} bytes were sent, as many as were asked for");
    assert!(grown < 128 << 20, "{grown} bytes");
}

#[test]
fn heads_as_large_as_may_be_are_bounded() {
    let run = Run::attack("header bombs");
    let host = Setup::new().start();
    assert_eq!(host.client().verify(&good())["result"]["verified"], true);
    let (before, count) = (host.resident(), scale(500, 1000));
    let served = Others::get(&host, "/");
    let line = format!("X-{}: {}\r\n", "n".repeat(200), "v".repeat(280));
    let whole = format!("GET / HTTP/1.1\r\nHost: x\r\n{}", line.repeat(60));
    let bombs: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = connect(host.address());
            let _ = stream.write_all(whole.as_bytes());
            stream
        })
        .collect();
    let held = host.resident().saturating_sub(before);
    // One too many fields, one too many bytes: each is refused at once.
    for (fields, length) in [(65, 5), (10_000, 5), (20, 4000), (1, 1 << 20)] {
        let head =
            format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", format!("X-Y: {}\r\n", "v".repeat(length)).repeat(fields));
        let told = visavis_tests::raw::once(host.address(), head.as_bytes());
        assert!(matches!(told.status(), None | Some(400 | 431)), "{fields} of {length}: {:.200}", told.text());
        assert!(told.took < Duration::from_secs(8), "{fields} of {length}: {:?}", told.took);
    }
    drop(bombs);
    let served = served.fared();
    run.counted(&format!("{count} heads of 30 KiB without end held {} MiB; 4 too large; pages: {served}", held >> 20));
    served.assert_served_within(Duration::from_secs(10));
    assert!(held < 128 << 20, "{held} bytes");
}
