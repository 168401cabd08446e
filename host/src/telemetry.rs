//! What the host says about itself: the log, metrics and traces.
//!
//! Owns the log's subscriber, one stream of events on stderr, for people or for machines; stdout belongs to the program's
//! output. Must never be given a photograph, an embedding or a payload: nothing here could tell them from other bytes, so rooms
//! log sizes, digests and ids instead.
//!
//! # Layout
//!
//! - `metrics`: what is counted and measured where it happens. `gauges`: what is looked up when it is asked for.
//! - `trace`: spans from a request to the end of its task, on all nodes. `collector`: the way to who gathers them.

mod collector;
mod gauges;
mod metrics;
mod trace;

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::str::FromStr;

pub(crate) use self::gauges::{Depth, Snapshot};
pub(crate) use self::metrics::{Counted, OTHER, Runs, metrics};
pub(crate) use self::trace::{Span, TraceContext, start as start_traces};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Config {
    /// Which events: a level, or a list of levels by module.
    pub(crate) log: Filter,
    /// How they are written.
    pub(crate) format: Format,
    /// Where metrics are told to whoever asks; `None`: only where operators are listened to.
    pub(crate) metrics: Option<SocketAddr>,
}

/// How an event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// `Pretty` when stderr is a terminal, else `Json`.
    #[default]
    Auto,
    /// One line for people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Directives that a subscriber understands, as `info` or `warn,visavis::worker=debug`; `info` by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(String);

/// The text names no level and is no list of directives.
#[derive(Debug, thiserror::Error)]
#[error("not a list of log directives")]
pub(crate) struct NotAFilter;

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Filter {
    /// Warnings and errors only.
    pub(crate) fn quiet() -> Self {
        Self("warn".to_owned())
    }
}

impl FromStr for Filter {
    type Err = NotAFilter;

    /// Refuses a lone word that is no level: the syntax would take `inof` for a module whose every event is wanted.
    fn from_str(text: &str) -> Result<Self, NotAFilter> {
        let level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
        let fits = |directive: &str| directive.contains(['=', '[']) || level(directive.trim());
        if !text.split(',').all(fits) || EnvFilter::builder().parse(text).is_err() {
            return Err(NotAFilter);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The log was set up before, in this process.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be set up: {0}")]
pub(crate) struct InitError(Box<dyn std::error::Error + Send + Sync>);

/// Sets the log up for the whole process; call it once, before the first event.
pub(crate) fn init(config: &Config) -> Result<(), InitError> {
    let terminal = io::stderr().is_terminal();
    let mut filter = EnvFilter::builder().parse_lossy(&config.log.0);
    // What the collector's client says of its requests would show the secrets in their headers.
    for client in ["ureq=off", "ureq_proto=off"] {
        filter = filter.add_directive(client.parse().map_err(|error| InitError(Box::new(error)))?);
    }
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let json = match config.format {
        Format::Auto => !terminal,
        Format::Pretty => false,
        Format::Json => true,
    };
    match (json, terminal) {
        (true, _) => subscriber.json().flatten_event(true).try_init(),
        // On a terminal the subscriber's own choice stands: colours, unless NO_COLOR is set.
        (false, true) => subscriber.try_init(),
        (false, false) => subscriber.with_ansi(false).try_init(),
    }
    .map_err(InitError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_lists_are_filters() {
        for text in
            ["info", "DEBUG", "off", "warn,visavis::worker=debug", "visavis=trace", "info,visavis[task{id=1}]=debug"]
        {
            assert!(text.parse::<Filter>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_misspelt_level_is_no_filter() {
        for text in ["", "inof", "info,", "visavis=loud", "info,inof", "visavis::worker"] {
            assert!(text.parse::<Filter>().is_err(), "{text}");
        }
    }
}
