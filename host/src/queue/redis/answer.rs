//! What the scripts answer, in the words of the house.
//!
//! Owns the letters that stand for phases. Must never know connections.

use crate::queue::Unavailable;
use crate::task::{ErrorCode, Outcome, State, TaskError, TaskId, TaskView};

/// A task as the scripts describe it: phase, deliveries that count, outcome in JSON.
pub(super) fn view(id: TaskId, phase: &str, tries: u32, outcome: &str) -> Result<TaskView, Unavailable> {
    let state = match phase {
        "W" if tries == 0 => State::Pending,
        "W" => State::Retry,
        "R" => State::Started,
        "S" => State::Success,
        "F" => State::Failure,
        "X" => State::Revoked,
        other => return Err(damaged(id, format!("there is no phase {other:?}"))),
    };
    let outcome = match state {
        State::Success | State::Failure => Some(serde_json::from_str(outcome).map_err(|error| damaged(id, error))?),
        State::Revoked => {
            let message = "the task was revoked".to_owned();
            Some(Outcome::Failure(TaskError { code: ErrorCode::Revoked, message, image: None, details: None }))
        }
        State::Pending | State::Started | State::Retry => None,
    };
    Ok(TaskView { id, state, outcome })
}

/// What is stored of a task makes no sense.
pub(super) fn damaged(id: TaskId, why: impl std::fmt::Display) -> Unavailable {
    Unavailable(format!("what is stored of {id} is damaged: {why}"))
}

/// A task's id as the scripts know it.
pub(super) fn digits(id: TaskId) -> String {
    hex::encode(id.0)
}

/// Undoes [`digits`].
pub(super) fn from_digits(digits: &str) -> Option<TaskId> {
    let mut id = [0; 16];
    hex::decode_to_slice(digits, &mut id).ok()?;
    Some(TaskId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_apart_and_strange_ones_refused() {
        let id = TaskId::random();
        let json = r#"{"success":{"verified":true}}"#;
        for (phase, tries, state) in [
            ("W", 0, State::Pending),
            ("W", 1, State::Retry),
            ("R", 1, State::Started),
            ("S", 1, State::Success),
            ("X", 0, State::Revoked),
        ] {
            let view = view(id, phase, tries, json).unwrap();
            assert_eq!((view.id, view.state, view.outcome.is_some()), (id, state, state.is_final()));
        }
        for (phase, outcome) in [("", json), ("Q", json), ("S", ""), ("F", "{}")] {
            assert!(view(id, phase, 0, outcome).is_err(), "{phase} {outcome}");
        }
        assert_eq!(from_digits(&digits(id)), Some(id));
    }
}
