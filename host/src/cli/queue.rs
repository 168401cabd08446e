//! `visavis queue`: how many tasks are where, and what to do about those that were given up.
//!
//! Owns the words and the exit statuses. Must never open a queue as a node does: it only visits.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use super::table::{line, span, table};
use crate::app;
use crate::arguments::queue::{Chosen, Dead, QueueCommand};
use crate::config::Config;
use crate::queue::embedded::OpenError;
use crate::queue::{Admin, DeadError, DeadTask, Stats};
use crate::task::TaskId;

/// More dead tasks than this are not listed or taken at once.
const MOST: usize = 10_000;

/// Runs the command: 0 when all was done, 1 when something could not be done with a task that was named.
pub(crate) async fn run(config: &Config, command: &QueueCommand) -> anyhow::Result<ExitCode> {
    // A name that cannot be one is told before anything is opened or done.
    let named = match command {
        QueueCommand::Dead(Dead::Retry(chosen) | Dead::Purge { chosen, .. }) => parse(&chosen.ids)?,
        _ => Vec::new(),
    };
    let queue = visit(config).await?;
    let done = match command {
        QueueCommand::Stats { json } => stats(queue.as_ref(), *json).await,
        QueueCommand::Dead(Dead::List { json }) => list(queue.as_ref(), *json).await,
        QueueCommand::Dead(Dead::Retry(Chosen { all: true, .. })) => retry_all(queue.as_ref()).await,
        QueueCommand::Dead(Dead::Retry(_)) => retry(queue.as_ref(), named).await,
        QueueCommand::Dead(Dead::Purge { chosen: Chosen { all: true, .. }, yes }) => {
            purge_all(queue.as_ref(), *yes).await
        }
        QueueCommand::Dead(Dead::Purge { .. }) => purge(queue.as_ref(), named).await,
    };
    queue.close().await;
    done
}

/// Opens the configured queue for an operator.
pub(super) async fn visit(config: &Config) -> anyhow::Result<Arc<dyn Admin>> {
    let opened = app::visit_queue(config).await;
    if let Err(error) = &opened
        && let Some(OpenError::Locked { path }) = error.downcast_ref()
    {
        bail!(
            "queue file {}: a running host has it to itself; ask that host by its admin listener, or stop it first",
            path.display()
        );
    }
    opened
}

async fn stats(queue: &dyn Admin, json: bool) -> anyhow::Result<ExitCode> {
    let stats = queue.stats().await?;
    if json {
        println!("{}", serde_json::to_string(&stats)?);
    } else {
        let Stats { waiting, running, ended, dead, webhooks } = stats;
        let rows =
            [("waiting", waiting), ("running", running), ("ended", ended), ("dead", dead), ("webhooks", webhooks)];
        print!("{}", table(&rows.map(|(what, count)| [what.to_owned(), count.to_string()])));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(queue: &dyn Admin, json: bool) -> anyhow::Result<ExitCode> {
    let dead = queue.dead(MOST).await?;
    if json {
        for task in &dead {
            println!("{}", serde_json::to_string(task)?);
        }
    } else if dead.is_empty() {
        println!("No task was given up.");
    } else {
        let heading = ["TASK", "AGE", "TRIES", "PHOTOGRAPHS", "REASON"].map(str::to_owned);
        let rows: Vec<_> = [heading].into_iter().chain(dead.iter().map(row)).collect();
        print!("{}", table(&rows));
    }
    warn_of_more(&dead);
    Ok(ExitCode::SUCCESS)
}

fn row(task: &DeadTask) -> [String; 5] {
    let photographs = task.payload_left.map_or_else(|| "deleted".to_owned(), |left| format!("kept for {}", span(left)));
    [task.id.to_string(), span(task.age), task.tries.to_string(), photographs, line(&task.reason)]
}

async fn retry(queue: &dyn Admin, ids: Vec<TaskId>) -> anyhow::Result<ExitCode> {
    let mut refused = false;
    for id in ids {
        refused |= !report(id, "is open again", queue.redeliver(id).await)?;
    }
    Ok(ExitCode::from(u8::from(refused)))
}

async fn retry_all(queue: &dyn Admin) -> anyhow::Result<ExitCode> {
    let dead = queue.dead(MOST).await?;
    let kept: Vec<_> = dead.iter().filter(|task| task.payload_left.is_some()).map(|task| task.id).collect();
    let bare = dead.len() - kept.len();
    let done = retry(queue, kept).await?;
    if bare > 0 {
        eprintln!("visavis: {bare} more cannot be retried: their photographs are deleted");
    }
    warn_of_more(&dead);
    Ok(done)
}

async fn purge(queue: &dyn Admin, ids: Vec<TaskId>) -> anyhow::Result<ExitCode> {
    let mut refused = false;
    for id in ids {
        refused |= !report(id, "is removed", queue.purge(id).await)?;
    }
    Ok(ExitCode::from(u8::from(refused)))
}

async fn purge_all(queue: &dyn Admin, yes: bool) -> anyhow::Result<ExitCode> {
    let dead = queue.dead(MOST).await?;
    warn_of_more(&dead);
    if !dead.is_empty() && !yes && !agreed(dead.len())? {
        return Ok(ExitCode::SUCCESS);
    }
    purge(queue, dead.into_iter().map(|task| task.id).collect()).await
}

/// Asks whoever sits at the terminal.
fn agreed(count: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{count} tasks would be removed for good, and nobody can be asked here; add --yes");
    }
    eprint!("Remove {count} dead tasks with their photographs for good? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn parse(ids: &[String]) -> anyhow::Result<Vec<TaskId>> {
    ids.iter().map(|id| id.parse().with_context(|| format!("'{id}' names no task"))).collect()
}

/// Prints what became of one task; yields whether it was done. That the queue cannot be used is an error.
fn report(id: TaskId, done: &str, result: Result<(), DeadError>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => println!("{id} {done}"),
        Err(DeadError::Unavailable(error)) => return Err(error.into()),
        Err(refusal) => {
            eprintln!("visavis: {id}: {refusal}");
            return Ok(false);
        }
    }
    Ok(true)
}

fn warn_of_more(dead: &[DeadTask]) {
    if dead.len() == MOST {
        eprintln!("visavis: these are the first {MOST}; there may be more");
    }
}
