//! A gateway that attacks the host. Its paths say how: `/hostile/WORD/NUMBER`; every other path is greeted.
//!
//! Owns the attacks by way of everything that a gateway can import or answer. Must never be part of what users are given, or know
//! what becomes of it.

use std::hint::black_box;
use std::mem::forget;

use crate::bindings::exports::wasi::http::incoming_handler::Guest;
use crate::bindings::visavis::face::tasks::{self, Submission};
use crate::bindings::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use crate::bindings::wasi::random::random::get_random_bytes;

#[path = "../../traces.rs"]
mod traces;

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package visavis:hostile;
            world hostile-gateway {
                include visavis:face/gateway@0.1.0;
                import wasi:random/random@0.2.12;
                import wasi:clocks/monotonic-clock@0.2.12;
            }
        ",
        world: "hostile-gateway",
        generate_all,
    });

    export!(Hostile);

    use super::Hostile;
}

/// The most that one write takes, by its contract.
const WRITE: usize = 4096;

struct Hostile;

impl Guest for Hostile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let order = path.strip_prefix("/hostile/").and_then(|order| order.split_once('/'));
        let Some((word, number)) = order else { return say(out, "hello") };
        let number: usize = number.parse().unwrap_or_default();
        let text = || "x".repeat(number);
        match word {
            "loop" => loop {
                black_box(());
            },
            "recurse" => _ = black_box(recurse(number as u64)),
            "memory" => loop {
                black_box(vec![1_u8; 1 << 20].leak());
            },
            "handles" => loop {
                forget(Fields::new());
            },
            "fields" => loop {
                forget(hoard_fields());
            },
            "sleep" => subscribe_duration(u64::MAX).block(),
            "silent" => return drop(out),
            "random" => _ = black_box(get_random_bytes(u64::MAX)),
            "error" => return ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(text())))),
            "headers" => return say(out, &bad_headers()),
            "bomb" => return bomb(out),
            "status" => return answer(out, number as u16, Fields::new(), |body| write(body, b"hello")),
            "length" => {
                let headers = Fields::new();
                let _ = headers.set("content-length", &[number.to_string().into_bytes()]);
                return answer(out, 200, headers, |body| write(body, b"hello"));
            }
            "trickle" => return answer(out, 200, Fields::new(), |body| trickle(body, number)),
            "endless" => return answer(out, 200, Fields::new(), endless),
            "trailers" => return trailers(out, number),
            "submit" => return say(out, &submitted(number, None, None, None)),
            "threshold" => return say(out, &submitted(1, Some(f32::NAN), None, None)),
            "key" => return say(out, &submitted(1, None, Some(text()), None)),
            "callback" => return say(out, &submitted(1, None, None, Some(text()))),
            "lookup" => return say(out, &format!("{:?}", tasks::status(&text(), u32::MAX).map(|task| task.id))),
            "revoke" => return say(out, &format!("{:?}", tasks::revoke(&text()).map(|task| task.id))),
            "ask" => {
                let id = format!("face_verification_{:032x}", 7);
                (0..number).for_each(|_| _ = black_box(tasks::status(&id, 0)));
            }
            "leave" => traces::leave(number),
            "look" => return say(out, &traces::look(number)),
            _ => {}
        }
        say(out, "hello");
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { recurse(black_box(depth + 1)).wrapping_add(frame[(depth % 64) as usize]) }
}

/// As many fields as the host takes.
fn hoard_fields() -> Fields {
    let fields = Fields::new();
    for number in 0.. {
        if fields.append(&format!("x-{number}"), &[b'y'; 1000]).is_err() {
            break;
        }
    }
    fields
}

/// Sets what no response may hold; says what was refused of it.
fn bad_headers() -> String {
    let bad: [(&str, &[u8]); 14] = [
        ("", b"empty"),
        ("two words", b"x"),
        ("colon:", b"x"),
        ("new\r\nline", b"x"),
        ("x-split", b"a\r\nset-cookie: b"),
        ("x-nul", b"a\0b"),
        ("x-feed", b"a\nb"),
        ("connection", b"upgrade"),
        ("transfer-encoding", b"chunked, chunked"),
        ("upgrade", b"h2c"),
        ("keep-alive", b"timeout=9999"),
        ("content-length", b"-5"),
        ("content-length", b"99999999999999999999999"),
        ("\u{fc}", b"x"),
    ];
    let refused = bad.iter().filter(|(name, value)| {
        let headers = Fields::new();
        headers.set(name, &[value.to_vec()]).is_err() || OutgoingResponse::new(headers).body().is_err()
    });
    format!("{} of {} refused", refused.count(), bad.len())
}

/// Answers with as many fields as the host takes.
fn bomb(out: ResponseOutparam) {
    answer(out, 200, hoard_fields(), |body| write(body, b"hello"));
}

fn trailers(out: ResponseOutparam, number: usize) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().ok();
    ResponseOutparam::set(out, Ok(response));
    let Some(body) = body else { return };
    let _ = write(&body, b"hello");
    let fields = Fields::new();
    for at in 0..number {
        let _ = fields.append(&format!("x-{at}"), b"y");
    }
    let _ = OutgoingBody::finish(body, Some(fields));
}

fn endless(body: &OutgoingBody) {
    let Ok(stream) = body.write() else { return };
    while stream.blocking_write_and_flush(&[b'x'; WRITE]).is_ok() {}
}

fn trickle(body: &OutgoingBody, bytes: usize) {
    let Ok(stream) = body.write() else { return };
    for _ in 0..bytes {
        if stream.blocking_write_and_flush(b"x").is_err() {
            return;
        }
        subscribe_duration(100_000_000).block();
    }
}

/// What became of a submission of two photographs of so many bytes.
fn submitted(
    bytes: usize,
    threshold: Option<f32>,
    idempotency_key: Option<String>,
    callback: Option<String>,
) -> String {
    let photographs = (vec![7; bytes], vec![7; bytes]);
    let submission = Submission { photographs, threshold, non_frontal: None, idempotency_key };
    let submitted = match callback {
        None => tasks::submit(&submission),
        Some(url) => tasks::submit_with_callback(&submission, &url),
    };
    format!("{:.200}", format!("{submitted:?}"))
}

fn say(out: ResponseOutparam, text: &str) {
    answer(out, 200, Fields::new(), |body| write(body, text.as_bytes()));
}

/// Answers a status, fields and whatever is written.
fn answer<T>(out: ResponseOutparam, status: u16, headers: Fields, send: impl FnOnce(&OutgoingBody) -> T) {
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(status);
    let body = response.body().ok();
    ResponseOutparam::set(out, Ok(response));
    if let Some(body) = body {
        send(&body);
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Writes, if anybody listens.
fn write(body: &OutgoingBody, bytes: &[u8]) -> Option<()> {
    let stream = body.write().ok()?;
    bytes.chunks(WRITE).try_for_each(|piece| stream.blocking_write_and_flush(piece).ok())
}
