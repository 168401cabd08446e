//! The gateway's proof: requests with known answers, before a queue in memory that nobody else sees.
//!
//! Owns the requests. They are the ones that every client relies on, so what a gateway does beyond them is its own matter.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::Error;

use super::Checks;
use crate::auth::Caller;
use crate::queue::embedded::Embedded;
use crate::queue::{Admin, Queue};
use crate::runtime::gateway::Gateway;
use crate::runtime::{Desk, Slot};
use crate::task::{Outcome, TaskId};

/// The most of an answer that is read, bytes.
const ANSWER: usize = 1 << 20;

/// The largest body that the gateway is told of, bytes.
const BODY: u64 = 1 << 20;

/// What a gateway answered.
type Answer = Result<(StatusCode, Value), String>;

pub(super) async fn examine(gateway: &Gateway, checks: &mut Checks) {
    let queue = match Embedded::in_memory() {
        Ok(queue) => Arc::new(queue),
        Err(error) => return told(checks, "a queue to try it with", "one", &Err(error.to_string()), |_| false),
    };
    let asker = Asker { gateway, desk: desk(Arc::clone(&queue) as Arc<dyn Queue>) };
    // A gateway that fails on the first question is not asked the others: each may take its whole time.
    let first = asker.ask(Method::GET, "/nowhere", None, "").await;
    let broken = first.is_err();
    told(checks, "GET /nowhere", "404", &first, |(status, _)| *status == StatusCode::NOT_FOUND);
    if !broken {
        tasks(&asker, queue.as_ref(), checks).await;
        refusals(&asker, checks).await;
    }
    queue.close().await;
}

/// A task's way, from its submission to its end.
async fn tasks(asker: &Asker<'_>, queue: &dyn Queue, checks: &mut Checks) {
    let photographs = r#"{"image1":"b25l","image2":"dHdv"}"#;
    let accepted = asker.ask(Method::POST, "/verify", Some("application/json"), photographs).await;
    let id = accepted.as_ref().ok().and_then(|(_, body)| body["task_id"].as_str()?.parse::<TaskId>().ok());
    told(checks, "POST /verify", "202 and the task's id", &accepted, |(status, _)| {
        *status == StatusCode::ACCEPTED && id.is_some()
    });
    let Some(id) = id else { return };
    let path = format!("/status/{id}");
    let state = |expected: &'static str| {
        move |(status, body): &(StatusCode, Value)| *status == StatusCode::OK && body["status"] == expected
    };
    told(checks, "GET /status/ID", "200 and PENDING", &asker.ask(Method::GET, &path, None, "").await, state("PENDING"));
    let claimed = queue.claim(Duration::ZERO).await.ok().flatten();
    let arrived = claimed.as_ref().map(|claim| claim.payload.photographs.clone());
    let expected = [b"one".to_vec(), b"two".to_vec()];
    checks.compare(
        Slot::Gateway,
        "POST /verify, in the queue",
        "the photographs as they were sent",
        if arrived.is_some() { "other bytes" } else { "no task" },
        arrived.as_ref() == Some(&expected),
    );
    if let Some(claim) = claimed {
        let outcome = Outcome::Success(json!({ "verified": true, "threshold": 0.25 }));
        if queue.settle(claim.lease, outcome).await.is_ok() {
            let answer = asker.ask(Method::GET, &path, None, "").await;
            told(checks, "GET /status/ID, at its end", "200, SUCCESS and the result", &answer, |answer| {
                state("SUCCESS")(answer) && answer.1["result"]["threshold"] == 0.25
            });
        }
    }
    let answer = asker.ask(Method::DELETE, &path, None, "").await;
    told(checks, "DELETE /status/ID, at its end", "409", &answer, |(status, _)| *status == StatusCode::CONFLICT);
}

/// What must be refused, and how.
async fn refusals(asker: &Asker<'_>, checks: &mut Checks) {
    let unknown = format!("/status/{}", TaskId([0; 16]));
    let json = Some("application/json");
    let form = Some("multipart/form-data; boundary=B");
    for (case, method, path, media, body, expected) in [
        ("GET /status of an unknown task", Method::GET, unknown.as_str(), None, "", StatusCode::NOT_FOUND),
        ("POST /verify, broken JSON", Method::POST, "/verify", json, "{", StatusCode::BAD_REQUEST),
        ("POST /verify, a broken form", Method::POST, "/verify", form, "no form", StatusCode::BAD_REQUEST),
        (
            "POST /verify, one photograph",
            Method::POST,
            "/verify",
            json,
            r#"{"image1":"b25l"}"#,
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("PUT /verify", Method::PUT, "/verify", json, "{}", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let answer = asker.ask(method, path, media, body).await;
        told(checks, case, expected.as_u16(), &answer, |(status, _)| *status == expected);
    }
}

struct Asker<'a> {
    gateway: &'a Gateway,
    desk: Desk,
}

impl Asker<'_> {
    async fn ask(&self, method: Method, path: &str, media: Option<&str>, body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://gate{path}")).header("host", "gate");
        if let Some(media) = media {
            request = request.header(header::CONTENT_TYPE, media);
        }
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()))
            .map_err(|never: std::convert::Infallible| -> Error { match never {} });
        let request = request.body(body).map_err(|error| error.to_string())?;
        // The deadline counts computing only; one that waits for ever must end here, too.
        let patience = self.gateway.limits().deadline * 2;
        let answer = async {
            let response = self.gateway.handle(request, self.desk.clone(), patience).await;
            let (head, body) = response.map_err(|error| error.to_string())?.into_parts();
            let bytes = Limited::new(body, ANSWER).collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok((head.status, serde_json::from_slice(&bytes).unwrap_or_default()))
        };
        timeout(patience, answer).await.unwrap_or_else(|_| Err(format!("nothing within {patience:?}")))
    }
}

fn desk(queue: Arc<dyn Queue>) -> Desk {
    Desk::new(queue, Caller::Anyone, Arc::default(), BODY, CancellationToken::new())
}

fn told(
    checks: &mut Checks,
    case: &str,
    expected: impl Display,
    answer: &Answer,
    holds: impl FnOnce(&(StatusCode, Value)) -> bool,
) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return checks.silent(Slot::Gateway, case, expected, why),
    };
    let found = match answer {
        (status, Value::Null) => status.as_u16().to_string(),
        (status, body) => {
            let text = body.to_string();
            format!("{} {}", status.as_u16(), &text[..text.floor_char_boundary(200)])
        }
    };
    checks.compare(Slot::Gateway, case, expected, found, holds(answer));
}
