//! One request in, one response out.
//!
//! Owns the order of checks and the wording of successes. Must never know how bytes reach it or leave it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::body::{Interrupted, collect};
use crate::field::Value;
use crate::multipart;
use crate::problem::{Code, Problem, quoted};
use crate::route::{Route, no_such_task, route};
use crate::site;
use crate::submission::{Fields, from_json, from_parts, named};
use crate::tasks::{LookupError, RevokeError, State, Submission, SubmitError, Task, Tasks};

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As written on the wire: `GET`.
    pub method: String,
    /// The path, perhaps with a query.
    pub target: String,
    /// Names in any case, values as received.
    pub headers: Vec<(String, Vec<u8>)>,
}

/// A response with its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; for a `HEAD` request, what `GET` would have answered.
    pub body: Cow<'static, [u8]>,
}

impl Response {
    /// A response with a JSON body and its media type.
    pub fn json(status: u16, media_type: &str, body: &impl Serialize) -> Self {
        // Nothing that is written here can fail: the keys are strings and no serializer of ours refuses.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self { status, headers: vec![("content-type", media_type.to_owned())], body: Cow::Owned(body) }
    }
}

/// The longest idempotency key, characters.
pub const MOST_KEY: usize = 256;

/// Answers a request; every refusal is a problem document. `next` answers the body's next bytes, and `None` at its end;
/// it is not called when the head alone leads to a refusal.
pub fn answer(
    request: &Request,
    next: impl FnMut() -> Result<Option<Vec<u8>>, Interrupted>,
    tasks: &impl Tasks,
) -> Response {
    let answered = route(&request.method, &request.target).and_then(|route| match route {
        Route::Document(document) => Ok(site::answer(document, request)),
        Route::Options { allow } => {
            Ok(Response { status: 204, headers: vec![("allow", allow.to_owned())], body: Cow::Borrowed(&[]) })
        }
        Route::Verify { wait } => verify(request, next, wait, tasks),
        Route::Status { id, wait } => status(&id, wait, tasks),
        Route::Revoke { id } => revoke(&id, tasks),
    });
    answered.unwrap_or_else(Response::from)
}

fn verify(
    request: &Request,
    next: impl FnMut() -> Result<Option<Vec<u8>>, Interrupted>,
    wait: u32,
    tasks: &impl Tasks,
) -> Result<Response, Problem> {
    let key = idempotency_key(request)?;
    let content_type = content_type(request)?;
    let declared = header(request, "content-length")?.and_then(|length| length.parse().ok());
    let body = collect(next, declared, tasks.body_limit())?;
    let fields = match &content_type {
        ContentType::Json => from_json(&body)?,
        ContentType::Form { boundary } => {
            let parts = multipart::parse(&body, boundary)
                .map_err(|fault| Problem::new(Code::MalformedRequest, format!("The form cannot be read: {fault}.")))?;
            from_parts(&parts)?
        }
    };
    let Fields { photographs, threshold, non_frontal, callback_url } = &fields;
    let submission = Submission {
        photographs: photographs.each_ref().map(Cow::as_ref),
        threshold: *threshold,
        non_frontal: *non_frontal,
        idempotency_key: key,
        callback_url: callback_url.as_deref(),
    };
    let id = tasks.submit(&submission).map_err(not_accepted)?;
    // The task is accepted whatever happens now, so a failing look at it must not look like a refusal.
    let ended = if wait == 0 { None } else { tasks.status(&id, wait * 1000).ok().filter(|task| task.state.is_final()) };
    let mut response = match ended {
        Some(task) => describe(&task)?,
        None => Response::json(202, "application/json", &serde_json::json!({ "task_id": id })),
    };
    response.headers.push(("location", format!("/status/{id}")));
    Ok(response)
}

fn status(id: &str, wait: u32, tasks: &impl Tasks) -> Result<Response, Problem> {
    match tasks.status(id, wait * 1000) {
        Ok(task) => describe(&task),
        Err(LookupError::Unknown) => Err(no_such_task(id)),
        Err(LookupError::Unavailable(seconds)) => Err(unavailable(seconds)),
    }
}

fn revoke(id: &str, tasks: &impl Tasks) -> Result<Response, Problem> {
    match tasks.revoke(id) {
        Ok(task) => describe(&task),
        Err(RevokeError::Unknown) => Err(no_such_task(id)),
        Err(RevokeError::Unavailable(seconds)) => Err(unavailable(seconds)),
        Err(RevokeError::Ended(state)) => {
            let state = state.as_str();
            let detail =
                format!("The task has ended as {state} and cannot be revoked; GET /status/{id} has its outcome.");
            Err(Problem::new(Code::Conflict, detail))
        }
    }
}

fn not_accepted(error: SubmitError) -> Problem {
    match error {
        SubmitError::Full(seconds) => {
            let detail = format!("The queue holds as many tasks as it may; try again in {} s.", seconds.max(1));
            Problem::new(Code::QueueFull, detail).retry_after(seconds)
        }
        SubmitError::Overloaded(seconds) => {
            let detail =
                format!("So many tasks wait that this one would not end in time; try again in {} s.", seconds.max(1));
            Problem::new(Code::Overloaded, detail).retry_after(seconds)
        }
        SubmitError::TooManyWaiting(seconds) => {
            let seconds = seconds.max(1);
            let detail =
                format!("As many of your tasks wait as may; let some of them end, and try again in {seconds} s.");
            Problem::new(Code::TooManyWaiting, detail).retry_after(seconds)
        }
        SubmitError::Unavailable(seconds) => unavailable(seconds),
        SubmitError::Invalid(what) => match named(&what) {
            Some(field) => Problem::new(Code::InvalidField, what.as_str()).field(field),
            None => Problem::new(Code::InvalidField, what),
        },
        SubmitError::Conflict => Problem::new(
            Code::Conflict,
            "The Idempotency-Key was used before, for other photographs or fields; take a new key for a new task.",
        ),
    }
}

fn unavailable(seconds: u32) -> Problem {
    let detail = format!("The queue cannot be reached or cannot write; try again in {} s.", seconds.max(1));
    Problem::new(Code::QueueUnavailable, detail).retry_after(seconds)
}

/// The status body of a task. What the host gives as JSON text is passed on as it is.
fn describe(task: &Task) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Status<'a> {
        task_id: &'a str,
        status: State,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Fault<'a>>,
    }
    #[derive(Serialize)]
    struct Fault<'a> {
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<&'a RawValue>,
    }
    let raw = |text: &'_ Option<String>| {
        let parsed = text.as_deref().map(serde_json::from_str::<&RawValue>).transpose();
        parsed.map(|raw| raw.map(ToOwned::to_owned)).map_err(|error| {
            let detail =
                format!("The host described the task in JSON that cannot be read ({error}); its log says more.");
            Problem::new(Code::InternalError, detail)
        })
    };
    let result = raw(&task.result)?;
    let details = raw(&task.error.as_ref().and_then(|error| error.details.clone()))?;
    let error = task.error.as_ref().map(|error| Fault {
        code: &error.code,
        message: &error.message,
        image: error.image,
        details: details.as_deref(),
    });
    let body = Status { task_id: &task.id, status: task.state, result: result.as_deref(), error };
    let mut response = Response::json(200, "application/json", &body);
    response.headers.push(("cache-control", "no-store".to_owned()));
    Ok(response)
}

enum ContentType {
    Json,
    Form { boundary: String },
}

fn content_type(request: &Request) -> Result<ContentType, Problem> {
    let unsupported = |what: &str| {
        let detail = format!("{what}; send multipart/form-data or application/json, not compressed.");
        Problem::new(Code::UnsupportedMediaType, detail)
    };
    if let Some(coding) = header(request, "content-encoding")?
        && !coding.eq_ignore_ascii_case("identity")
    {
        return Err(unsupported(&format!("The Content-Encoding is {}", quoted(coding))));
    }
    let Some(text) = header(request, "content-type")? else {
        return Err(unsupported("There is no Content-Type"));
    };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(ContentType::Json),
        "multipart/form-data" => {
            let value = Value::parse(text);
            let boundary = value.as_ref().and_then(|value| value.parameter("boundary"));
            let boundary = boundary.ok_or_else(|| {
                Problem::new(
                    Code::MalformedRequest,
                    format!("The form cannot be read: {}.", multipart::Malformed::Boundary),
                )
            })?;
            Ok(ContentType::Form { boundary: boundary.to_owned() })
        }
        _ => Err(unsupported(&format!("The Content-Type is {}", quoted(text)))),
    }
}

fn idempotency_key(request: &Request) -> Result<Option<&str>, Problem> {
    let Some(key) = header(request, "idempotency-key")? else { return Ok(None) };
    if (1..=MOST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(Some(key));
    }
    let detail = format!("The header Idempotency-Key must hold 1 to {MOST_KEY} visible ASCII characters.");
    Err(Problem::new(Code::MalformedRequest, detail))
}

/// The value of a header that may stand there once, without the blanks around it.
fn header<'r>(request: &'r Request, name: &'static str) -> Result<Option<&'r str>, Problem> {
    let mut values = request.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let refuse = |what| Err(Problem::new(Code::MalformedRequest, format!("The header {name} {what}.")));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => refuse("stands there twice; send it once"),
        (Some(value), None) => match str::from_utf8(value) {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => refuse("is not text"),
        },
    }
}

#[cfg(test)]
mod tests;
