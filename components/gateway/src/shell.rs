//! The component's WIT bindings: what is left when everything that can be tested natively is elsewhere.
//!
//! Owns the translation between WIT types and ours, and the order in which resources are dropped. Must never decide
//! anything about a request.

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all)]

    wit_bindgen::generate!({
        path: "../../wit",
        world: "gateway",
        generate_all,
        // Lists are borrowed when they are handed to the host: a photograph is not copied on its way out.
        ownership: Borrowing { duplicate_if_necessary: false },
    });
}

use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::visavis::face::{limits, tasks as host};
use bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
    http_error_code,
};
use bindings::wasi::io::streams::{InputStream, StreamError};

use crate::body::Interrupted;
use crate::service::{Request, Response, answer};
use crate::tasks::{LookupError, NonFrontal, RevokeError, State, Submission, SubmitError, Task, TaskError, Tasks};

struct Gateway;

bindings::export!(Gateway with_types_in bindings);

impl Guest for Gateway {
    fn handle(incoming: IncomingRequest, out: ResponseOutparam) {
        let request = Request {
            method: method(&incoming.method()),
            target: incoming.path_with_query().unwrap_or_default(),
            headers: incoming.headers().entries(),
        };
        let mut body = Body::Unopened(&incoming);
        let response = answer(&request, || body.next(), &Host);
        drop(body);
        send(&response, out);
    }
}

/// The most bytes asked for in one read.
const READ: u64 = 256 * 1024;

/// The incoming body. Nothing is opened before it is asked for, so that a refusal by the head costs no read.
enum Body<'r> {
    Unopened(&'r IncomingRequest),
    // The stream is a child of the body and has to be dropped first, as the fields' order does.
    Open { stream: InputStream, _body: IncomingBody },
}

impl Body<'_> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Interrupted> {
        if let Self::Unopened(incoming) = self {
            let body = incoming.consume().map_err(|()| Interrupted::Broken)?;
            let stream = body.stream().map_err(|()| Interrupted::Broken)?;
            *self = Self::Open { stream, _body: body };
        }
        let Self::Open { stream, .. } = self else { return Err(Interrupted::Broken) };
        match stream.blocking_read(READ) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StreamError::Closed) => Ok(None),
            Err(StreamError::LastOperationFailed(error)) => match http_error_code(&error) {
                Some(ErrorCode::HttpRequestBodySize(_)) => Err(Interrupted::TooLarge),
                _ => Err(Interrupted::Broken),
            },
        }
    }
}

/// Sends a response. A client that went away is nobody to tell, so failures to write end it silently.
fn send(response: &Response, out: ResponseOutparam) {
    /// The most that one `blocking-write-and-flush` takes, by its contract.
    const WRITE: usize = 4096;
    let fields = Fields::new();
    let length = ("content-length", response.body.len().to_string());
    // By their definition these two have no body, and a length of none would be that of the document a client has.
    let length = (!matches!(response.status, 204 | 304)).then_some(&length);
    for (name, value) in response.headers.iter().chain(length) {
        // A value that HTTP cannot carry is left out; none that the service writes is.
        let _ = fields.append(name, value.as_bytes());
    }
    let outgoing = OutgoingResponse::new(fields);
    let _ = outgoing.set_status_code(response.status);
    let body = outgoing.body();
    ResponseOutparam::set(out, Ok(outgoing));
    let Ok(body) = body else { return };
    if let Ok(stream) = body.write() {
        for bytes in response.body.chunks(WRITE) {
            if stream.blocking_write_and_flush(bytes).is_err() {
                return;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn method(method: &Method) -> String {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(other) => other,
    }
    .to_owned()
}

/// The host, through the imports of the world.
struct Host;

impl Tasks for Host {
    fn submit(&self, submission: &Submission<'_>) -> Result<String, SubmitError> {
        let [first, second] = submission.photographs;
        let callback_url = submission.callback_url;
        let submission = host::Submission {
            photographs: (first, second),
            threshold: submission.threshold,
            non_frontal: submission.non_frontal.map(|wish| match wish {
                NonFrontal::Reject => host::NonFrontal::Reject,
                NonFrontal::Report => host::NonFrontal::Report,
            }),
            idempotency_key: submission.idempotency_key,
        };
        let submitted = match callback_url {
            None => host::submit(submission),
            Some(url) => host::submit_with_callback(submission, url),
        };
        submitted.map_err(|error| match error {
            host::SubmitError::Full(seconds) => SubmitError::Full(seconds),
            host::SubmitError::Overloaded(seconds) => SubmitError::Overloaded(seconds),
            host::SubmitError::TooManyWaiting(seconds) => SubmitError::TooManyWaiting(seconds),
            host::SubmitError::Unavailable(seconds) => SubmitError::Unavailable(seconds),
            host::SubmitError::Invalid(what) => SubmitError::Invalid(what),
            host::SubmitError::Conflict => SubmitError::Conflict,
        })
    }

    fn status(&self, id: &str, wait_ms: u32) -> Result<Task, LookupError> {
        host::status(id, wait_ms).map(task).map_err(|error| match error {
            host::LookupError::Unknown => LookupError::Unknown,
            host::LookupError::Unavailable(seconds) => LookupError::Unavailable(seconds),
        })
    }

    fn revoke(&self, id: &str) -> Result<Task, RevokeError> {
        host::revoke(id).map(task).map_err(|error| match error {
            host::RevokeError::Unknown => RevokeError::Unknown,
            host::RevokeError::Ended(task) => RevokeError::Ended(state(task.state)),
            host::RevokeError::Unavailable(seconds) => RevokeError::Unavailable(seconds),
        })
    }

    fn body_limit(&self) -> u64 {
        limits::body_limit()
    }
}

fn task(task: host::Task) -> Task {
    let error = task.error.map(|error| TaskError {
        code: error.code,
        message: error.message,
        image: error.image,
        details: error.details,
    });
    Task { id: task.id, state: state(task.state), result: task.result, error }
}

fn state(state: host::State) -> State {
    match state {
        host::State::Pending => State::Pending,
        host::State::Started => State::Started,
        host::State::Retry => State::Retry,
        host::State::Success => State::Success,
        host::State::Failure => State::Failure,
        host::State::Revoked => State::Revoked,
    }
}
