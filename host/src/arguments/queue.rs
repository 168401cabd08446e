//! The command line of `visavis queue`.
//!
//! Owns its subcommands, flags and help texts. Must never know what a task is.

use clap::Subcommand;

/// Arguments of `visavis queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Queue {
    /// Which queue: file:PATH or redis://HOST:PORT.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) queue: Option<String>,
    /// What to do with it.
    #[command(subcommand)]
    pub(crate) command: QueueCommand,
}

/// What to do with a queue.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// Count tasks: those that wait, run, have ended, and those of the ended that were given up.
    #[command(after_help = STATS_EXAMPLES)]
    Stats {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Tasks that were given up because the host or a component failed too often.
    #[command(subcommand, after_help = DEAD_EXAMPLES)]
    Dead(Dead),
}

/// What to do with tasks that were given up.
#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List them, those first that were given up first.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Print one JSON object a line for each task.
        #[arg(long)]
        json: bool,
    },
    /// Open tasks again, while their photographs are kept: the same task, with all its tries before it.
    ///
    /// The exit status is 0 when all were opened, 1 when one was not (it is unknown, not dead, or its photographs are
    /// deleted), and 2 when the queue could not be used. With --all, tasks without photographs are left alone.
    #[command(after_help = RETRY_EXAMPLES)]
    Retry(Chosen),
    /// Remove tasks with their photographs. Their clients are then told that there is no such task.
    ///
    /// The exit status is 0 when all were removed, 1 when one was not (it is unknown, or not dead), and 2 when the queue
    /// could not be used.
    #[command(after_help = PURGE_EXAMPLES)]
    Purge {
        /// Which.
        #[command(flatten)]
        chosen: Chosen,
        /// With --all: do not ask first.
        #[arg(long, conflicts_with = "ids")]
        yes: bool,
    },
}

/// Dead tasks by name, or all of them.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Chosen {
    /// The tasks, as `dead list` names them.
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All that were given up.
    #[arg(long)]
    pub(crate) all: bool,
}

const EXAMPLES: &str = "\
Examples:
  visavis queue stats --queue redis://10.0.0.5:6379
  visavis queue dead list                 what was given up, and why?
  visavis queue dead retry --all          after its cause was mended";

const STATS_EXAMPLES: &str = "\
Examples:
  visavis queue stats
  visavis queue stats --queue redis://10.0.0.5:6379 --json";

const DEAD_EXAMPLES: &str = "\
Examples:
  visavis queue dead list
  visavis queue dead retry --all";

const LIST_EXAMPLES: &str = "\
Examples:
  visavis queue dead list
  visavis queue dead list --json | jq -r .reason";

const RETRY_EXAMPLES: &str = "\
Examples:
  visavis queue dead retry face_verification_7d4f10a35d3fe5a99770514f1865c0b7
  visavis queue dead retry --all --queue redis://10.0.0.5:6379";

const PURGE_EXAMPLES: &str = "\
Examples:
  visavis queue dead purge face_verification_7d4f10a35d3fe5a99770514f1865c0b7
  visavis queue dead purge --all --yes";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_dead_are_chosen_by_name_or_all_at_once() {
        let arguments = parse("visavis queue dead retry a b --queue redis://h").unwrap();
        let [only] = &arguments.overrides()[..] else { panic!("one flag stands for a key") };
        assert_eq!((only.key, only.flag, only.value.as_str()), ("queue.url", "--queue", "redis://h"));
        let Command::Queue(Queue { command: QueueCommand::Dead(Dead::Retry(chosen)), .. }) = arguments.command else {
            panic!("another command")
        };
        assert_eq!((chosen.ids, chosen.all), (vec!["a".to_owned(), "b".to_owned()], false));
        for line in ["retry --all", "purge --all", "purge --all --yes", "purge a", "list --json"] {
            assert!(parse(&format!("visavis queue dead {line}")).is_ok(), "{line}");
        }
        for line in ["retry", "purge", "retry a --all", "purge a --yes", "purge --yes"] {
            assert!(parse(&format!("visavis queue dead {line}")).is_err(), "{line}");
        }
    }
}
