//! The refusals that the host itself makes, as problem details (RFC 9457).
//!
//! Owns their shape. Must never word what a gateway answers.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// A small body.
pub(crate) fn full(text: String) -> HyperOutgoingBody {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

/// A refusal. `code` is for programs, `detail` says to people what is wrong and how to mend it.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response<HyperOutgoingBody> {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// A refusal that passes by itself.
pub(crate) fn busy(code: &str, detail: &str, retry_after: u32) -> Response<HyperOutgoingBody> {
    retry_later(StatusCode::SERVICE_UNAVAILABLE, code, detail, Duration::from_secs(retry_after.into()))
}

/// A refusal with another status that passes by itself after so long, in whole seconds and at least one.
pub(crate) fn retry_later(
    status: StatusCode,
    code: &str,
    detail: &str,
    retry_after: Duration,
) -> Response<HyperOutgoingBody> {
    let mut response = problem(status, code, detail);
    let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

/// A refusal that says what should have been shown, as RFC 6750 has it.
pub(crate) fn challenge(mut response: Response<HyperOutgoingBody>, challenge: &str) -> Response<HyperOutgoingBody> {
    if let Ok(value) = HeaderValue::from_str(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// A refusal after which the connection closes, since the rest of the request will not be read.
pub(crate) fn closing(mut response: Response<HyperOutgoingBody>) -> Response<HyperOutgoingBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
