//! Clients that are slow, many or endless take nothing from the others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::photos::small;
use visavis_tests::raw::exchange;

fn good() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

#[test]
fn a_gigabyte_is_refused_and_not_kept() {
    let host = Setup::new().start();
    let client = host.client();
    assert_eq!(client.verify(&good())["result"]["verified"], true);
    let before = host.resident();
    let head = "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n";
    let piece = vec![b'a'; 1 << 16];
    let pieces = || std::iter::repeat_n(piece.clone(), 1 << 14);

    // Declared: refused by the head alone.
    let declared = format!("{head}Content-Length: {}\r\n\r\n", 1_u64 << 30).into_bytes();
    let told = exchange(host.address(), std::iter::once(declared).chain(pieces()), false, Duration::from_secs(60));
    assert_eq!((told.status(), told.code().as_deref()), (Some(413), Some("body_too_large")), "{}", told.text());
    assert!(told.sent < 300 << 20, "{} bytes were taken", told.sent);

    // Not declared: refused by the first byte too many.
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let chunks = pieces().map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat());
    let told = exchange(host.address(), std::iter::once(chunked).chain(chunks), false, Duration::from_secs(60));
    assert_eq!((told.status(), told.code().as_deref()), (Some(413), Some("body_too_large")), "{}", told.text());
    assert!(told.sent > 20 << 20 && told.sent < 300 << 20, "{} bytes were taken", told.sent);

    assert_eq!(client.verify(&good())["result"]["verified"], true);
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 96 << 20, "the host grew by {grown} bytes");
}

#[test]
fn slow_clients_hold_nobody_up_and_are_cut_off() {
    let host = Setup::new().set("VISAVIS_SERVER__HEADER_TIMEOUT", "2s").start();
    let mut slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(host.address()).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
            stream
        })
        .collect();
    let start = Instant::now();
    assert_eq!(host.client().verify(&good())["result"]["verified"], true);
    assert!(start.elapsed() < Duration::from_secs(15));
    for stream in &mut slow {
        // Either a refusal or nothing, then the end.
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    }
}

#[test]
fn a_body_that_never_ends_is_cut_off() {
    let deadline = ("VISAVIS_COMPONENTS__GATEWAY__DEADLINE", "3s");
    let host = Setup::new().set("VISAVIS_SERVER__REQUEST_TIMEOUT", "4s").set(deadline.0, deadline.1).start();
    let form = good();
    let body = form.body();
    let head = format!(
        "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        form.content_type(),
        body.len()
    );
    let half = &body[..body.len() / 2];
    let told = exchange(host.address(), [head.as_bytes(), half], false, Duration::from_secs(30));
    assert!(told.took < Duration::from_secs(20), "{:?}", told.took);
    assert!(matches!(told.status(), None | Some(400 | 408 | 500)), "{}", told.text());
    assert_eq!(host.client().verify(&form)["result"]["verified"], true);
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let host =
        Setup::new().set("VISAVIS_SERVER__MAX_CONNECTIONS", "8").set("VISAVIS_SERVER__HEADER_TIMEOUT", "1s").start();
    let idle: Vec<_> = (0..40).map(|_| TcpStream::connect(host.address()).unwrap()).collect();
    assert_eq!(host.client().get("/healthz").status, 200);
    drop(idle);
}

#[test]
fn waiting_clients_leave_room_for_others() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").start();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let last = (0..12).map(|_| host.client().submit(&form)).last().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(host.client().get(&format!("/status/{last}?wait=5")).status, 200));
        }
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        assert_eq!(host.client().get("/").status, 200);
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    });
}
