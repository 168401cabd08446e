//! The command line of `visavis keys`.
//!
//! Owns its subcommands, flags and help texts. Must never know what a key looks like.

use std::time::Duration;

use clap::Subcommand;

use crate::config::parse_duration;

/// Arguments of `visavis keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    /// What to do with them.
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

/// What to do with API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key and print it on stdout. It is shown this once: only a hash of it is kept.
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),
    /// List the keys, without the keys themselves.
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Print one JSON object a line for each key.
        #[arg(long)]
        json: bool,
    },
    /// Make another key in the place of one and print it on stdout. Tasks of the old one are the new one's.
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate {
        /// The key, by its id or its name.
        #[arg(value_name = "KEY")]
        key: String,
        /// For how long the old key is still taken, as 15m, 24h or 0s.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
        overlap: Duration,
    },
    /// End keys. The exit status is 0 when all were ended, else 2.
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke {
        /// The keys, by their ids or names.
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<String>,
    },
}

/// What a key is to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// What to call it, as by who gets it.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What it may be used for: verify (hand tasks in), status (look up and revoke its own tasks), metrics (read the metrics), admin
    /// (look up and revoke everybody's tasks, and all that operators may ask).
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        default_value = "verify,status",
        value_parser = ["verify", "status", "metrics", "admin"]
    )]
    pub(crate) scopes: Vec<String>,
    /// How many requests it may make in a minute, on each node. Without it: as many as it likes.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) per_minute: Option<u32>,
    /// How many of its tasks may wait at once. Without it queue.max_waiting_per_client holds.
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) max_waiting: Option<u64>,
    /// For how long it is taken, as 90d or 12h. Without it: until it is revoked.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("write a number and a unit, as 30s, 15m, 24h or 90d")
}

pub(crate) const EXAMPLES: &str = "\
Examples:
  visavis keys add web-shop
  visavis keys list
  visavis keys rotate web-shop
  visavis keys revoke web-shop

The keys are those of the file that auth.keys_file names; a host that runs sees a change within a second or two.";

const ADD_EXAMPLES: &str = "\
Examples:
  visavis keys add web-shop
  visavis keys add kiosk --scope verify --per-minute 60 --max-waiting 20 --expires 90d
  visavis keys add prometheus --scope metrics
  visavis keys add on-call --scope admin";

const LIST_EXAMPLES: &str = "\
Examples:
  visavis keys list
  visavis keys list --json";

const ROTATE_EXAMPLES: &str = "\
Examples:
  visavis keys rotate web-shop
  visavis keys rotate web-shop --overlap 0s     when the old one is in the wrong hands";

const REVOKE_EXAMPLES: &str = "\
Examples:
  visavis keys revoke web-shop";
