//! Refusals, as RFC 9457 problem documents.
//!
//! Owns the closed set of codes and the status that belongs to each. Must never know what led to a refusal.

use serde::Serialize;

use crate::service::Response;

/// Why a request is refused at once. Each code has one status; clients may rely on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 400: the request cannot be read: broken multipart, JSON, base64, header or query.
    MalformedRequest,
    /// 404: no such path, or no such task.
    NotFound,
    /// 405: the path exists, the method does not.
    MethodNotAllowed,
    /// 409: the task has ended, or the idempotency key belongs to other content.
    Conflict,
    /// 413: the body is over the limit.
    BodyTooLarge,
    /// 415: the body is neither multipart/form-data nor application/json, or is compressed.
    UnsupportedMediaType,
    /// 415: a file declares a type that is no image.
    UnsupportedFormat,
    /// 422: a field is missing or empty.
    MissingField,
    /// 422: a field can be read, but its value is out of bounds.
    InvalidField,
    /// 422: a field that nobody knows.
    UnknownField,
    /// 429: as many tasks of this client wait as may.
    TooManyWaiting,
    /// 503: as many tasks wait as may.
    QueueFull,
    /// 503: by the rate at which tasks are done, the task would not end in time.
    Overloaded,
    /// 503: the queue cannot be reached or cannot write.
    QueueUnavailable,
    /// 500: the host answered with something that cannot be passed on.
    InternalError,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 15] = [
        Self::MalformedRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::UnsupportedFormat,
        Self::MissingField,
        Self::InvalidField,
        Self::UnknownField,
        Self::TooManyWaiting,
        Self::QueueFull,
        Self::Overloaded,
        Self::QueueUnavailable,
        Self::InternalError,
    ];

    /// The code as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict => "conflict",
            Self::BodyTooLarge => "body_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::UnsupportedFormat => "unsupported_format",
            Self::MissingField => "missing_field",
            Self::InvalidField => "invalid_field",
            Self::UnknownField => "unknown_field",
            Self::TooManyWaiting => "too_many_waiting",
            Self::QueueFull => "queue_full",
            Self::Overloaded => "overloaded",
            Self::QueueUnavailable => "queue_unavailable",
            Self::InternalError => "internal_error",
        }
    }

    /// The HTTP status, with its phrase: for the problem type `about:blank`, RFC 9457 makes the phrase the title.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::MalformedRequest => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::Conflict => (409, "Conflict"),
            Self::BodyTooLarge => (413, "Content Too Large"),
            Self::UnsupportedMediaType | Self::UnsupportedFormat => (415, "Unsupported Media Type"),
            Self::MissingField | Self::InvalidField | Self::UnknownField => (422, "Unprocessable Content"),
            Self::TooManyWaiting => (429, "Too Many Requests"),
            Self::InternalError => (500, "Internal Server Error"),
            Self::QueueFull | Self::Overloaded | Self::QueueUnavailable => (503, "Service Unavailable"),
        }
    }
}

/// A refusal: what is wrong, where, and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: String,
    field: Option<String>,
    header: Option<(&'static str, String)>,
}

impl Problem {
    /// A refusal with a sentence for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None, header: None }
    }

    /// Names the field that it concerns.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// Tells the client how many seconds to wait before it tries again; at least one.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.header = Some(("retry-after", seconds.max(1).to_string()));
        self
    }

    /// Tells the client which methods the path has.
    #[must_use]
    pub fn allow(mut self, methods: &str) -> Self {
        self.header = Some(("allow", methods.to_owned()));
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'a str,
            code: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            field: Option<&'a str>,
        }
        let (status, title) = problem.code.status();
        let document = Document {
            r#type: "about:blank",
            title,
            status,
            detail: &problem.detail,
            code: problem.code.as_str(),
            field: problem.field.as_deref(),
        };
        let mut response = Self::json(status, "application/problem+json", &document);
        response.headers.push(("cache-control", "no-store".to_owned()));
        response.headers.extend(problem.header);
        response
    }
}

/// Text from a client as it may stand in a sentence: bounded, on one line, without control characters.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 64;
    let mut out: String = text.chars().take(MOST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    format!("'{out}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_document_with_its_headers() {
        let response: Response = Problem::new(Code::QueueFull, "busy").retry_after(0).into();
        assert_eq!(response.status, 503);
        assert!(response.headers.contains(&("content-type", "application/problem+json".to_owned())));
        assert!(response.headers.contains(&("retry-after", "1".to_owned())));
        let document: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": "busy", "code": "queue_full"
            })
        );
    }

    #[test]
    fn quoted_text_is_bounded_and_holds_no_control_characters() {
        assert_eq!(quoted("a\r\nb"), "'a\u{fffd}\u{fffd}b'");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), 67);
    }
}
