//! The service against a host that answers what each test tells it: the refusals of a queue cannot all be provoked in a
//! real one on demand. The integration tests speak to the real host.

use std::cell::RefCell;

use serde_json::{Value as Json, json};

use super::*;
use crate::tasks::TaskError;

const ID: &str = "face_verification_0123456789abcdef0123456789abcdef";

struct Told {
    submit: Result<(), SubmitError>,
    status: Result<Task, LookupError>,
    revoke: Result<Task, RevokeError>,
    heard: RefCell<Vec<String>>,
}

impl Told {
    fn new() -> Self {
        Self {
            submit: Ok(()),
            status: Ok(task(State::Pending)),
            revoke: Ok(task(State::Revoked)),
            heard: RefCell::default(),
        }
    }
}

impl Tasks for Told {
    fn submit(&self, submission: &Submission<'_>) -> Result<String, SubmitError> {
        self.heard.borrow_mut().push(format!("{submission:?}"));
        self.submit.clone().map(|()| ID.to_owned())
    }

    fn status(&self, id: &str, wait_ms: u32) -> Result<Task, LookupError> {
        self.heard.borrow_mut().push(format!("status {id} {wait_ms}"));
        self.status.clone()
    }

    fn revoke(&self, id: &str) -> Result<Task, RevokeError> {
        self.heard.borrow_mut().push(format!("revoke {id}"));
        self.revoke.clone()
    }

    fn body_limit(&self) -> u64 {
        1000
    }
}

fn task(state: State) -> Task {
    Task { id: ID.to_owned(), state, result: None, error: None }
}

fn success() -> Task {
    Task { result: Some(r#"{"verified": true, "euclidean_distance": 0.50}"#.to_owned()), ..task(State::Success) }
}

fn ask(told: &Told, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let request = Request { method: method.to_owned(), target: target.to_owned(), headers };
    let mut chunks = body.as_bytes().chunks(7).map(<[u8]>::to_vec);
    answer(&request, || Ok(chunks.next()), told)
}

fn post(told: &Told, target: &str, headers: &[(&str, &str)]) -> Response {
    let headers: Vec<_> = headers.iter().copied().chain([("Content-Type", "application/json")]).collect();
    ask(told, "POST", target, &headers, r#"{"image1":"b25l","image2":"dHdv"}"#)
}

fn document(response: &Response) -> Json {
    serde_json::from_slice(&response.body).unwrap_or(Json::Null)
}

fn header_of<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

fn refusal(response: &Response) -> (u16, String) {
    assert_eq!(header_of(response, "content-type"), Some("application/problem+json"));
    let document = document(response);
    assert_eq!(document["status"], json!(response.status));
    (response.status, document["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a_submission_is_accepted_with_its_location() {
    let told = Told::new();
    let response = post(&told, "/verify", &[("idempotency-key", "k-1")]);
    assert_eq!((response.status, document(&response)), (202, json!({ "task_id": ID })));
    assert_eq!(header_of(&response, "location"), Some(format!("/status/{ID}").as_str()));
    assert_eq!(told.heard.borrow().len(), 1, "nothing asks for the status without wait");
    assert!(told.heard.borrow()[0].contains("k-1"), "{:?}", told.heard);
}

#[test]
fn waiting_answers_the_end_or_the_acceptance() {
    let mut told = Told::new();
    assert_eq!(post(&told, "/verify?wait=2", &[]).status, 202);
    assert_eq!(told.heard.borrow()[1], format!("status {ID} 2000"));
    told.status = Err(LookupError::Unavailable(1));
    assert_eq!(post(&told, "/verify?wait=2", &[]).status, 202, "an accepted task is never refused");
    told.status = Ok(success());
    let response = post(&told, "/verify?wait=2", &[]);
    assert_eq!((response.status, document(&response)["status"].clone()), (200, json!("SUCCESS")));
    assert!(header_of(&response, "location").is_some());
}

#[test]
fn a_form_reaches_the_host() {
    let told = Told::new();
    let body = "--B\r\nContent-Disposition: form-data; name=image1\r\n\r\none\r\n\
        --B\r\nContent-Disposition: form-data; name=image2\r\n\r\ntwo\r\n\
        --B\r\nContent-Disposition: form-data; name=threshold\r\n\r\n0.5\r\n--B--\r\n";
    let response = ask(&told, "POST", "/verify", &[("content-type", "multipart/form-data; boundary=\"B\"")], body);
    assert_eq!(response.status, 202, "{}", String::from_utf8_lossy(&response.body));
    assert!(told.heard.borrow()[0].contains("threshold: Some(0.5)"), "{:?}", told.heard);
}

#[test]
fn the_queue_s_refusals_have_their_status() {
    let cases = [
        (SubmitError::Full(7), (503, "queue_full"), Some("7")),
        (SubmitError::Overloaded(4), (503, "overloaded"), Some("4")),
        (SubmitError::TooManyWaiting(3), (429, "too_many_waiting"), Some("3")),
        (SubmitError::Unavailable(0), (503, "queue_unavailable"), Some("1")),
        (SubmitError::Invalid("threshold is out of bounds".into()), (422, "invalid_field"), None),
        (SubmitError::Conflict, (409, "conflict"), None),
    ];
    for (error, (status, code), retry) in cases {
        let mut told = Told::new();
        told.submit = Err(error);
        let response = post(&told, "/verify?wait=5", &[]);
        assert_eq!(refusal(&response), (status, code.to_owned()));
        assert_eq!(header_of(&response, "retry-after"), retry);
    }
}

#[test]
fn a_status_passes_the_host_s_json_on_as_it_is() {
    let mut told = Told::new();
    told.status = Ok(success());
    let response = ask(&told, "GET", &format!("/status/{ID}?wait=1"), &[], "");
    let expected =
        format!(r#"{{"task_id":"{ID}","status":"SUCCESS","result":{{"verified": true, "euclidean_distance": 0.50}}}}"#);
    assert_eq!(String::from_utf8_lossy(&response.body), expected);
    assert_eq!(header_of(&response, "cache-control"), Some("no-store"));

    let error = TaskError {
        code: "multiple_faces".into(),
        message: "two".into(),
        image: Some(2),
        details: Some(r#"{"count":2}"#.into()),
    };
    told.status = Ok(Task { error: Some(error), ..task(State::Failure) });
    let response = ask(&told, "HEAD", &format!("/status/{ID}"), &[], "");
    let expected = json!({
        "task_id": ID, "status": "FAILURE",
        "error": { "code": "multiple_faces", "message": "two", "image": 2, "details": { "count": 2 } },
    });
    assert_eq!(document(&response), expected);
}

#[test]
fn lookups_and_revocations_have_their_refusals() {
    let mut told = Told::new();
    let target = format!("/status/{ID}");
    assert_eq!(ask(&told, "DELETE", &target, &[], "").status, 200);
    for (error, expected) in
        [(LookupError::Unknown, (404, "not_found")), (LookupError::Unavailable(3), (503, "queue_unavailable"))]
    {
        told.status = Err(error);
        assert_eq!(refusal(&ask(&told, "GET", &target, &[], "")), (expected.0, expected.1.to_owned()));
    }
    for (error, expected) in [
        (RevokeError::Unknown, (404, "not_found")),
        (RevokeError::Unavailable(3), (503, "queue_unavailable")),
        (RevokeError::Ended(State::Success), (409, "conflict")),
    ] {
        told.revoke = Err(error);
        assert_eq!(refusal(&ask(&told, "DELETE", &target, &[], "")), (expected.0, expected.1.to_owned()));
    }
    told.status = Ok(Task { result: Some("{".into()), ..task(State::Success) });
    assert_eq!(refusal(&ask(&told, "GET", &target, &[], "")), (500, "internal_error".to_owned()));
}

#[test]
fn the_head_alone_can_be_refused_and_the_body_stays_unread() {
    let long = "k".repeat(MOST_KEY + 1);
    type Case<'a> = (&'a [(&'a str, &'a str)], (u16, &'a str));
    let cases: [Case<'_>; 10] = [
        (&[], (415, "unsupported_media_type")),
        (&[("content-type", "text/plain")], (415, "unsupported_media_type")),
        (&[("content-type", "application/json"), ("content-encoding", "gzip")], (415, "unsupported_media_type")),
        (&[("content-type", "application/json"), ("Content-Type", "application/json")], (400, "malformed_request")),
        (&[("content-type", "multipart/form-data")], (400, "malformed_request")),
        (&[("content-type", "multipart/form-data; boundary=\"a")], (400, "malformed_request")),
        (&[("content-type", "application/json"), ("idempotency-key", "")], (400, "malformed_request")),
        (&[("content-type", "application/json"), ("idempotency-key", "a b")], (400, "malformed_request")),
        (&[("content-type", "application/json"), ("idempotency-key", &long)], (400, "malformed_request")),
        (&[("content-type", "application/json"), ("content-length", "1001")], (413, "body_too_large")),
    ];
    for (headers, (status, code)) in cases {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let request = Request { method: "POST".into(), target: "/verify".into(), headers };
        let response = answer(&request, || panic!("the body is read"), &Told::new());
        assert_eq!(refusal(&response), (status, code.to_owned()), "{request:?}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_while_it_comes() {
    let response = ask(&Told::new(), "POST", "/verify", &[("content-type", "application/json")], &" ".repeat(1001));
    assert_eq!(refusal(&response), (413, "body_too_large".to_owned()));
}

#[test]
fn options_and_documents_need_no_host() {
    let told = Told::new();
    let response = ask(&told, "OPTIONS", &format!("/status/{ID}"), &[], "");
    assert_eq!((response.status, header_of(&response, "allow")), (204, Some("GET, HEAD, DELETE, OPTIONS")));
    let description = ask(&told, "GET", "/openapi.json", &[], "");
    assert_eq!((description.status, document(&description)["openapi"].clone()), (200, json!("3.1.0")));
    let response = ask(&told, "PATCH", "/verify", &[], "");
    assert_eq!(refusal(&response), (405, "method_not_allowed".to_owned()));
    assert_eq!(header_of(&response, "allow"), Some("POST, OPTIONS"));
    assert!(told.heard.borrow().is_empty());
}
