//! Any bytes as the body of a request.
//!
//! Owns what must hold of the gateway's readers: nothing panics, a refusal is a short sentence, what was read lies in the body and is
//! read again as the same. Must never know who makes the bytes.

use gateway::field::Value;
use gateway::multipart::{self, MOST_HEADER_BYTES, MOST_PARTS, Part};
use gateway::problem::Problem;
use gateway::service::Response;
use gateway::submission::{self, Fields};

/// The longest sentence that a client gets to read, bytes.
const LONGEST: usize = 1000;

/// A `Content-Type` on the first line, and a body behind it.
pub(crate) fn form(bytes: &[u8]) {
    let at = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let body = bytes.get(at + 1..).unwrap_or_default();
    let Some(value) = Value::parse(&String::from_utf8_lossy(&bytes[..at])) else { return };
    let Some(boundary) = value.parameter("boundary") else { return };
    let parts = match multipart::parse(body, boundary) {
        Ok(parts) => parts,
        Err(error) => return assert!(error.to_string().len() <= LONGEST, "{error}"),
    };
    assert!(parts.len() <= MOST_PARTS);
    for part in &parts {
        assert!(part.content.is_empty() || body.as_ptr_range().contains(&part.content.as_ptr()), "it is a copy");
    }
    // Escaped and in UTF-8 a header may be longer than it was.
    if parts.iter().all(|part| 4 * header(part).len() < MOST_HEADER_BYTES) {
        assert_eq!(multipart::parse(&written(&parts, boundary), boundary).as_ref(), Ok(&parts));
    }
    judge(submission::from_parts(&parts));
}

/// A body in JSON.
pub(crate) fn json(bytes: &[u8]) {
    let read = submission::from_json(bytes);
    if read.is_ok() {
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("another reader takes it");
        assert!(["image1", "image2"].iter().all(|name| value[name].is_string()), "{value}");
    }
    judge(read);
}

fn header(part: &Part<'_>) -> String {
    let name = part.name.replace('\\', "\\\\").replace('"', "\\\"");
    let kind = part.content_type.as_ref().map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
    format!("Content-Disposition: form-data; name=\"{name}\"\r\n{kind}")
}

/// A form of these parts.
fn written(parts: &[Part<'_>], boundary: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend(format!("--{boundary}\r\n{}\r\n", header(part)).into_bytes());
        body.extend(part.content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").into_bytes());
    body
}

fn judge(read: Result<Fields<'_>, Problem>) {
    match read {
        Ok(fields) => {
            assert!(fields.threshold.is_none_or(|threshold| (0.0..=2.0).contains(&threshold)));
            assert!(fields.callback_url.is_none_or(|url| !url.is_empty() && url.len() <= 2048));
        }
        Err(problem) => {
            let response = Response::from(problem);
            assert!((400..500).contains(&response.status), "{}", response.status);
            let document: serde_json::Value = serde_json::from_slice(&response.body).expect("a document");
            let detail = document["detail"].as_str().expect("a sentence");
            assert!(detail.len() <= LONGEST && !detail.contains(char::is_control), "{detail:?}");
        }
    }
}
