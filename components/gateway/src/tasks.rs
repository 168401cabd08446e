//! What the gateway asks of the host, as plain types.
//!
//! Owns the shape of that conversation, so that everything above it is tested without WebAssembly. Mirrors the WIT
//! interface `tasks`, which is the contract. Must never know HTTP.

/// The host's side: hand in a task, ask for it, take it back.
pub trait Tasks {
    /// Hands a task in; answers its id once it is durable.
    fn submit(&self, submission: &Submission<'_>) -> Result<String, SubmitError>;

    /// Looks a task up, waiting up to `wait_ms` for its end.
    fn status(&self, id: &str, wait_ms: u32) -> Result<Task, LookupError>;

    /// Takes a task back that has not ended.
    fn revoke(&self, id: &str) -> Result<Task, RevokeError>;

    /// The largest request body, bytes.
    fn body_limit(&self) -> u64;
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission<'a> {
    /// The two photographs, as uploaded.
    pub photographs: [&'a [u8]; 2],
    /// Overrides the configured threshold; 0 to 2.
    pub threshold: Option<f32>,
    /// Overrides what is configured for faces that do not look into the camera.
    pub non_frontal: Option<NonFrontal>,
    /// The client's own key.
    pub idempotency_key: Option<&'a str>,
    /// Where the client wants to be told of the task's end.
    pub callback_url: Option<&'a str>,
}

/// What to do with a face that does not look into the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonFrontal {
    /// Refuse to decide.
    Reject,
    /// Decide, and report it.
    Report,
}

/// Why a task was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitError {
    /// As many tasks wait as may; try again after so many seconds.
    Full(u32),
    /// The task would be too old when it ends; try again after so many seconds.
    Overloaded(u32),
    /// As many tasks of this client wait as may; try again after so many seconds.
    TooManyWaiting(u32),
    /// The queue cannot be reached or cannot write; try again after so many seconds.
    Unavailable(u32),
    /// A field is out of bounds; the text names it.
    Invalid(String),
    /// The idempotency key was used before, for other content.
    Conflict,
}

/// Where a task stands. Serializes as clients see it, in Celery's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
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
    /// Taken back.
    Revoked,
}

impl State {
    /// The state as clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Started => "STARTED",
            Self::Retry => "RETRY",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Revoked => "REVOKED",
        }
    }

    /// Whether a task in this state has ended: it never changes again, unless an operator opens it anew.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }
}

/// Why a task has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskError {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// The photograph it concerns, 1 or 2.
    pub image: Option<u8>,
    /// A JSON object.
    pub details: Option<String>,
}

/// A task as a client may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// A JSON object, when the state is success.
    pub result: Option<String>,
    /// When the state is failure or revoked.
    pub error: Option<TaskError>,
}

/// Why there is no answer about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// No such task, or forgotten.
    Unknown,
    /// The queue cannot be reached; try again after so many seconds.
    Unavailable(u32),
}

/// Why a task was not taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokeError {
    /// No such task, or forgotten.
    Unknown,
    /// It had ended before, in this state.
    Ended(State),
    /// The queue cannot be reached; try again after so many seconds.
    Unavailable(u32),
}
