//! `visavis purge`: removes tasks with all that is stored of them, by way of a running host.
//!
//! Owns the words and the exit statuses. Must never open a queue: the host does that.

use std::process::ExitCode;

use anyhow::{Context, bail};
use http::{Method, StatusCode};

use super::operator::{Question, answer, words};
use crate::arguments;
use crate::config::Config;
use crate::task::TaskId;

/// Runs the command: 0 when all were removed, 1 when there was no such task.
pub(crate) async fn run(config: &Config, arguments: &arguments::Purge) -> anyhow::Result<ExitCode> {
    // A name that cannot be one is told before anything is done.
    let ids = arguments.ids.iter().map(|id| id.parse::<TaskId>().with_context(|| format!("'{id}' names no task")));
    let mut unknown = false;
    for id in ids.collect::<anyhow::Result<Vec<_>>>()? {
        match answer(config, Question::new(Method::DELETE, format!("/tasks/{id}"))).await? {
            (status, _) if status.is_success() => println!("{id} is removed"),
            (StatusCode::NOT_FOUND, refusal) => {
                eprintln!("visavis: {}", words(&refusal));
                unknown = true;
            }
            (_, refusal) => bail!("{}", words(&refusal)),
        }
    }
    Ok(ExitCode::from(u8::from(unknown)))
}
