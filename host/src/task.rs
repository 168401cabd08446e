//! What travels through the house: tasks and outcomes, as plain data.
//!
//! Owns the types that edge, worker and queue share. Must never know HTTP, WebAssembly, a model or a queue's storage.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of one task: `face_verification_` and 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct TaskId(pub [u8; 16]);

const PREFIX: &str = "face_verification_";

/// The text is not `face_verification_` and 32 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("a task id is '{PREFIX}' followed by 32 lower-case hexadecimal digits")]
pub(crate) struct NotATaskId;

impl TaskId {
    /// A fresh, unguessable id.
    pub(crate) fn random() -> Self {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the operating system has random bytes");
        Self(id)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", hex::encode(self.0))
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TaskId {
    type Err = NotATaskId;

    fn from_str(text: &str) -> Result<Self, NotATaskId> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotATaskId)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(NotATaskId);
        }
        let mut id = [0; 16];
        hex::decode_to_slice(digits, &mut id).map_err(|_| NotATaskId)?;
        Ok(Self(id))
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for TaskId {
    type Error = NotATaskId;

    fn try_from(text: String) -> Result<Self, NotATaskId> {
        text.parse()
    }
}

/// What to do with a face that does not look into the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NonFrontal {
    /// Refuse to decide.
    Reject,
    /// Decide, and say so in the frontal flags.
    Report,
}

/// The client's wishes for one task; what is absent is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wishes {
    /// Euclidean distance up to which two faces are one person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// What to do with a face that does not look into the camera.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_frontal: Option<NonFrontal>,
}

/// What a worker needs to do a task: the photographs as uploaded, and the wishes.
#[derive(Clone, PartialEq)]
pub(crate) struct Payload {
    /// The encoded photographs.
    pub photographs: [Vec<u8>; 2],
    /// The client's wishes.
    pub wishes: Wishes,
}

// Photographs must not reach a log, not even by way of `{:?}`.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("bytes", &self.photographs.each_ref().map(Vec::len))
            .field("wishes", &self.wishes)
            .finish()
    }
}

/// Where a task stands, in Celery's words, which the seed's clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum State {
    /// Waits for its first try.
    Pending,
    /// A worker holds it.
    Started,
    /// A try failed; waits for the next.
    Retry,
    /// Ended with a result.
    Success,
    /// Ended with an error.
    Failure,
    /// Taken back by the client.
    Revoked,
}

impl State {
    /// Whether a task in this state never changes again, unless an operator opens one again that was given up.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }
}

/// The closed set of reasons why a task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    /// A photograph is broken, truncated or lies about itself.
    InvalidImage,
    /// A photograph is not JPEG, PNG, WebP, GIF or BMP.
    UnsupportedFormat,
    /// A photograph has too many pixels.
    ImageTooLarge,
    /// A photograph shows no face.
    NoFace,
    /// A photograph shows more than one face that counts.
    MultipleFaces,
    /// A face does not look into the camera, and the policy rejects that.
    NonFrontalFace,
    /// The task took longer than it may.
    Timeout,
    /// The host or a component failed, also after the retries.
    ProcessingFailed,
    /// The client took the task back.
    Revoked,
}

impl ErrorCode {
    /// The code as the HTTP interface writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InvalidImage => "invalid_image",
            Self::UnsupportedFormat => "unsupported_format",
            Self::ImageTooLarge => "image_too_large",
            Self::NoFace => "no_face",
            Self::MultipleFaces => "multiple_faces",
            Self::NonFrontalFace => "non_frontal_face",
            Self::Timeout => "timeout",
            Self::ProcessingFailed => "processing_failed",
            Self::Revoked => "revoked",
        }
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong, and what would mend it.
    pub message: String,
    /// The photograph it concerns, 1 or 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<u8>,
    /// More, by code: the count of faces, the pose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Map<String, serde_json::Value>>,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The result as the JSON object that clients see; the worker writes it, everybody else passes it on.
    Success(serde_json::Value),
    /// There is no result, and why.
    Failure(TaskError),
}

/// A task as a client may see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskView {
    /// Which task.
    pub id: TaskId,
    /// Where it stands.
    pub state: State,
    /// Present when the state is final. A revoked task has a failure with code [`ErrorCode::Revoked`].
    pub outcome: Option<Outcome>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        let id = TaskId::random();
        assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        assert_eq!(id.to_string().len(), PREFIX.len() + 32);
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "face_verification_", "face_verification_0123", "x", &format!("{PREFIX}{}", "A".repeat(32))] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_payload_prints_no_photograph() {
        let payload = Payload { photographs: [vec![77; 3], vec![78; 4]], wishes: Wishes::default() };
        let text = format!("{payload:?}");
        assert!(text.contains("[3, 4]") && !text.contains("77"), "{text}");
    }
}
