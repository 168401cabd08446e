//! Each refusal at once, provoked by a real request: its status, its code, its headers.

use std::time::Duration;

use serde_json::json;
use visavis_tests::form::Form;
use visavis_tests::host::{Setup, shared};
use visavis_tests::http::Answer;
use visavis_tests::photos::{photo, small};

const UNKNOWN: &str = "/status/face_verification_00000000000000000000000000000000";

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, answer.problem())
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(refusal(answer), (status, code.to_owned()), "{}", answer.text());
}

#[test]
fn paths_and_tasks_that_are_not_there() {
    let client = shared().client();
    for path in ["/nothing", "/verify/", "/status", "/status/", "/status/x", "/status/a/b", UNKNOWN, "/components"] {
        assert_refused(&client.get(path), 404, "not_found");
    }
    assert_refused(&client.send("DELETE", UNKNOWN, &[], &[]), 404, "not_found");
    let upper = UNKNOWN.replace("00000", "ABCDE");
    assert_refused(&client.get(&upper), 404, "not_found");
}

#[test]
fn methods_that_a_path_does_not_have() {
    let client = shared().client();
    let cases = [
        ("GET", "/verify", "POST"),
        ("PUT", "/verify", "POST"),
        ("POST", UNKNOWN, "DELETE"),
        ("PATCH", "/", "GET"),
        ("DELETE", "/healthz", "GET"),
        ("POST", "/readyz", "GET"),
    ];
    for (method, path, allowed) in cases {
        let answer = client.send(method, path, &[], &[]);
        assert_refused(&answer, 405, "method_not_allowed");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains(allowed)), "{method} {path}");
    }
    let options = client.send("OPTIONS", "/verify", &[], &[]);
    assert_eq!((options.status, options.header("allow")), (204, Some("POST, OPTIONS")));
}

#[test]
fn waits_out_of_bounds() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    for wait in ["31", "-1", "soon", "", "1.5", "1&wait=2"] {
        assert_refused(&client.post(&format!("/verify?wait={wait}"), &form, &[]), 400, "malformed_request");
        assert_refused(&client.get(&format!("{UNKNOWN}?wait={wait}")), 400, "malformed_request");
    }
}

/// Else a client would send its next request behind photographs that nobody reads, and lose it.
#[test]
fn a_refusal_that_leaves_photographs_unread_ends_the_connection_and_says_so() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    for _ in 0..20 {
        let unread = client.post("/verify?wait=soon", &form, &[]);
        assert_refused(&unread, 400, "malformed_request");
        assert_eq!(unread.header("connection"), Some("close"));
    }
    let read = client.post("/verify", &Form::new().file("image1", &photo("obama.jpg")), &[]);
    assert_refused(&read, 422, "missing_field");
    assert_eq!(read.header("connection"), None, "the body was read to its end");
}

#[test]
fn fields_that_are_missing_or_empty_are_named() {
    let client = shared().client();
    let one = photo("obama.jpg");
    let cases = [
        (Form::new(), "image1"),
        (Form::new().file("image1", &one), "image2"),
        (Form::new().file("image2", &one), "image1"),
        (Form::pair(&[], &one), "image1"),
        (Form::pair(&one, &[]), "image2"),
        (Form::pair(&one, &one).text("threshold", ""), "threshold"),
    ];
    for (form, field) in cases {
        let answer = client.post("/verify", &form, &[]);
        assert_refused(&answer, 422, "missing_field");
        let document = answer.json();
        assert_eq!(document["field"], field);
        assert!(document["detail"].as_str().unwrap().contains(field), "{document}");
    }
}

#[test]
fn fields_that_nobody_knows_are_named_with_the_nearest() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    for (form, wrong, right) in [
        (form.clone().file("image3", &photo("biden.jpg")), "image3", "image"),
        (form.clone().text("treshold", "1"), "treshold", "'threshold'"),
        (form.clone().text("non-frontal", "report"), "non-frontal", "'non_frontal'"),
    ] {
        let answer = client.post("/verify", &form, &[]);
        assert_refused(&answer, 422, "unknown_field");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(wrong) && detail.contains(right), "{detail}");
    }
}

#[test]
fn fields_out_of_bounds_and_fields_sent_twice() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    for (name, value, status, code) in [
        ("threshold", "2.5", 422, "invalid_field"),
        ("threshold", "-1", 422, "invalid_field"),
        ("threshold", "NaN", 422, "invalid_field"),
        ("threshold", "high", 400, "malformed_request"),
        ("non_frontal", "ignore", 422, "invalid_field"),
        ("image1", "again", 400, "malformed_request"),
    ] {
        let answer = client.post("/verify", &form.clone().text(name, value), &[]);
        assert_refused(&answer, status, code);
        assert_eq!(answer.json()["field"], name);
    }
}

#[test]
fn files_that_say_that_they_are_no_images() {
    let client = shared().client();
    for declared in ["text/plain", "application/pdf", "video/mp4", "text/html; charset=utf-8"] {
        let parameters = "name=\"image2\"; filename=\"b\"";
        let form = Form::new().file("image1", &photo("obama.jpg")).part(parameters, Some(declared), b"hello");
        let answer = client.post("/verify", &form, &[]);
        assert_refused(&answer, 415, "unsupported_format");
        assert_eq!(answer.json()["field"], "image2");
    }
}

#[test]
fn bodies_of_another_type() {
    let client = shared().client();
    let body = Form::photos("obama.jpg", "obama2.jpg").body();
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "image/jpeg", ""]
    {
        let answer = client.send("POST", "/verify", &[("content-type", content_type)], &body);
        assert_refused(&answer, 415, "unsupported_media_type");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("multipart/form-data") && detail.contains("application/json"), "{detail}");
    }
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_refused(&client.send("POST", "/verify", &headers, b"{}"), 415, "unsupported_media_type");
}

#[test]
fn forms_and_json_that_cannot_be_read() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    for content_type in
        ["multipart/form-data", "multipart/form-data; boundary=other", "multipart/form-data; boundary=\"\""]
    {
        let answer = client.send("POST", "/verify", &[("content-type", content_type)], &form.body());
        assert_refused(&answer, 400, "malformed_request");
    }
    for body in ["{", "[]", "{\"image1\": \"?\", \"image2\": \"eA==\"}", "\u{feff}{}"] {
        let answer = client.send("POST", "/verify", &[("content-type", "application/json")], body.as_bytes());
        assert_refused(&answer, 400, "malformed_request");
    }
    let answer = client.send("POST", "/verify", &[("content-type", "application/json")], b"{}");
    assert_refused(&answer, 422, "missing_field");
}

#[test]
fn idempotency_keys_that_are_none() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let long = "k".repeat(257);
    for key in ["", "two words", &long] {
        assert_refused(&client.post("/verify", &form, &[("idempotency-key", key)]), 400, "malformed_request");
    }
    assert_eq!(client.post("/verify", &form, &[("idempotency-key", &long[..256])]).status, 202);
}

#[test]
fn a_body_over_the_limit() {
    let host = Setup::new().set("VISAVIS_SERVER__BODY_LIMIT", "64 KiB").start();
    let client = host.client();
    let form = Form::pair(&vec![7; 40_000], &vec![7; 40_000]);
    let answer = client.post("/verify", &form, &[]);
    assert_refused(&answer, 413, "body_too_large");
    assert!(answer.json()["detail"].as_str().unwrap().contains("65536"), "{}", answer.text());
    let fits = Form::pair(&small("obama.jpg", 200), &small("obama2.jpg", 200));
    assert_eq!(client.post("/verify", &fits, &[]).status, 202);
}

#[test]
fn a_queue_that_is_full() {
    let settings = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").set("VISAVIS_QUEUE__MAX_LENGTH", "2");
    let host = settings.set("VISAVIS_VERIFY__DETECT_MAX_SIDE", "0").start();
    let client = host.client();
    let form = Form::photos("obama3.jpg", "biden.jpg");
    let answers: Vec<_> = (0..8).map(|_| client.post("/verify", &form, &[])).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status != 202).collect();
    assert!(refused.len() >= 3, "{refused:?}");
    for answer in refused {
        assert_refused(answer, 503, "queue_full");
        let seconds: u64 = answer.header("retry-after").expect("a time to come back").parse().unwrap();
        assert!((1..=3600).contains(&seconds), "{seconds}");
    }
    for answer in answers.iter().filter(|answer| answer.status == 202) {
        assert_eq!(client.ended(answer.json()["task_id"].as_str().unwrap())["status"], "SUCCESS");
    }
    assert_eq!(client.post("/verify", &form, &[]).status, 202, "there is room again");
}

#[test]
fn results_are_forgotten_after_their_time() {
    let host = Setup::new().set("VISAVIS_QUEUE__RESULT_TTL", "2s").start();
    let client = host.client();
    let id = client.submit(&Form::pair(&small("obama.jpg", 300), &small("obama2.jpg", 300)));
    assert_eq!(client.ended(&id)["status"], json!("SUCCESS"));
    std::thread::sleep(Duration::from_secs(4));
    assert_refused(&client.get(&format!("/status/{id}")), 404, "not_found");
}
