//! The command line: its subcommands, flags and help texts.
//!
//! Owns how a person asks for something. Must never know how it is done; flags that stand for a configuration key are
//! handed to the configuration as they were typed.
//!
//! # Layout
//!
//! - `verify`: the flags of `visavis verify` and `visavis calibrate`.
//! - `components`, `keys`, `queue`: the subcommands of `visavis components`, `visavis keys` and `visavis queue`.

pub(crate) mod components;
pub(crate) mod keys;
pub(crate) mod queue;
pub(crate) mod verify;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub(crate) use self::verify::{Calibrate, Verify};
use crate::config::Override;

/// Decides whether two photographs show the same person. Every step that touches a photograph runs in a WebAssembly
/// sandbox.
#[derive(Debug, Parser)]
#[command(name = "visavis", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// Read this configuration file instead of visavis.toml in the working folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What to log on stderr: off, error, warn, info, debug, trace, or a list by module, as
    /// info,visavis::worker=debug.
    #[arg(long, global = true, value_name = "LEVELS")]
    pub(crate) log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve verifications over HTTP until told to stop (Ctrl-C or SIGTERM).
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Serve),
    /// Decide whether two photographs show the same person, or each pair of a table.
    ///
    /// The exit status is 0 when they do, 1 when they do not, and 2 when it could not be decided; stderr then says why.
    ///
    /// With --pairs it is 0 when each pair has its row, be it a verdict or why there is none; 2 when the table could not be
    /// used, or the host or a component failed on a pair; and 130 or 143 when a signal stopped it: the rows up to there are
    /// written.
    #[command(after_help = verify::EXAMPLES)]
    Verify(Verify),
    /// Recommend a threshold for your own photographs, from pairs whose truth you know.
    ///
    /// It compares the pairs as `verify --pairs` does, and tells false match rate (FMR) and false non-match rate (FNMR), in the
    /// terms of ISO/IEC 19795-1. The exit status is 0 when there is a recommendation, else 2.
    #[command(after_help = verify::CALIBRATE_EXAMPLES)]
    Calibrate(Calibrate),
    /// Describe every face in each photograph: box, landmarks, pose, embedding.
    ///
    /// The exit status is 0 when every photograph could be read, also if there was no face in it, else 2.
    #[command(after_help = ANALYZE_EXAMPLES)]
    Analyze(Analyze),
    /// Compile components ahead of time: for this machine, or into files for others.
    ///
    /// Without --out the code goes to this host's cache and is made for this very processor; a host compiles by itself what
    /// is not there. With --out it becomes files for every machine of the architecture, which a host loads from the folder
    /// compiled/ of its assets.
    #[command(after_help = COMPILE_EXAMPLES)]
    Compile(Compile),
    /// Look into the queue: count tasks, and list, retry or purge those that were given up.
    ///
    /// It is the queue that the configuration names. One in a file can be looked into while no host runs on it.
    Queue(queue::Queue),
    /// Show the nodes that share a running host's queue, and which generation each runs.
    #[command(after_help = NODES_EXAMPLES)]
    Nodes(Nodes),
    /// Check that everything that visavis needs is there, and say how to mend what is not.
    ///
    /// Also shows every configuration key with its value and where that came from. The exit status is 0 when all is
    /// well, else 1.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Ask whether a host is ready, for health checks of containers.
    ///
    /// Asks /readyz of the public listener that the configuration names. The exit status is 0 when all is well, else 1, and stderr
    /// then says why.
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(Health),
    /// Remove tasks with all that is stored of them: photographs, result, error. Their clients are then told that there is no
    /// such task.
    ///
    /// Asks the running host that `server.admin` names. The exit status is 0 when all were removed, 1 when one was unknown, and 2
    /// when the host could not be asked.
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(Purge),
    /// Make, list, rotate and revoke the API keys that clients show.
    #[command(after_help = keys::EXAMPLES)]
    Keys(keys::Keys),
    /// Sign components, check signatures, and put components, models and policy into one bundle.
    #[command(after_help = components::EXAMPLES)]
    Components(components::Components),
    /// Print what a shell needs to complete commands and flags.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the manual page, or write one for each command.
    #[command(after_help = MAN_EXAMPLES)]
    Man(Man),
}

/// Flags of `visavis serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Where to listen, as 127.0.0.1:8080; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Where to listen to operators, as 127.0.0.1:8081, or off; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) admin: Option<String>,
    /// What this process does: all, only accept requests (edge), or only do tasks (worker). Edges and workers meet in a
    /// queue on a Redis.
    #[arg(long, value_name = "ROLE", value_parser = ["all", "edge", "worker"])]
    pub(crate) role: Option<String>,
    /// Where tasks wait: file:PATH is the queue that is built in, redis://HOST:PORT one that many nodes share.
    #[arg(long, value_name = "URL")]
    pub(crate) queue: Option<String>,
}

/// Arguments of `visavis analyze`.
#[derive(Debug, clap::Args)]
pub(crate) struct Analyze {
    /// The photographs: JPEG, PNG, WebP, GIF or BMP.
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<PathBuf>,
    /// Print one JSON object a line for each photograph, with the embeddings.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `visavis nodes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Nodes {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `visavis compile`.
#[derive(Debug, clap::Args)]
pub(crate) struct Compile {
    /// The target triple to compile for, as x86_64-unknown-linux-gnu; by default this machine's architecture.
    #[arg(long, value_name = "TRIPLE", requires = "out")]
    pub(crate) target: Option<String>,
    /// The folder to write the compiled files to, for every machine of the architecture.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Components or bundles; by default the components that the configuration names.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// Flags of `visavis doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// Print the findings as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `visavis completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Which shell.
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Flags of `visavis man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The folder to write a page for each command to.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags of `visavis health`.
#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// What to ask instead: any URL of http that answers 2xx when all is well.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// Arguments of `visavis purge`.
#[derive(Debug, clap::Args)]
pub(crate) struct Purge {
    /// The tasks.
    #[arg(value_name = "TASK", required = true)]
    pub(crate) ids: Vec<String>,
}

impl Arguments {
    /// The flags that stand for configuration keys, as they were typed.
    pub(crate) fn overrides(&self) -> Vec<Override> {
        let serve = if let Command::Serve(serve) = &self.command { Some(serve) } else { None };
        let verify = if let Command::Verify(verify) = &self.command { Some(verify) } else { None };
        let queue = match &self.command {
            Command::Serve(serve) => serve.queue.as_ref(),
            Command::Queue(queue) => queue.queue.as_ref(),
            _ => None,
        };
        let flags = [
            ("telemetry.log", "--log", self.log.as_ref()),
            ("server.role", "--role", serve.and_then(|serve| serve.role.as_ref())),
            ("server.listen", "--listen", serve.and_then(|serve| serve.listen.as_ref())),
            ("server.admin", "--admin", serve.and_then(|serve| serve.admin.as_ref())),
            ("queue.url", "--queue", queue),
            ("verify.threshold", "--threshold", verify.and_then(|verify| verify.threshold.as_ref())),
            ("verify.non_frontal", "--non-frontal", verify.and_then(|verify| verify.non_frontal.as_ref())),
        ];
        let given = flags.into_iter().filter_map(|(key, flag, value)| Some((key, flag, value?.clone())));
        given.map(|(key, flag, value)| Override { key, flag, value }).collect()
    }
}

const EXAMPLES: &str = "\
Examples:
  visavis verify mine.jpg yours.jpg       the same person?
  visavis calibrate --pairs pairs.csv     which threshold suits these photographs?
  visavis serve                           an HTTP service on 127.0.0.1:8080
  visavis doctor                          is everything in place?

Every setting can also stand in visavis.toml or in the environment: VISAVIS_SERVER__LISTEN is
the key `listen` of the section `server`. 'visavis doctor' lists them all.";

const SERVE_EXAMPLES: &str = "\
Examples:
  visavis serve
  visavis serve --listen 0.0.0.0:8080 --queue file:/var/lib/visavis/queue.redb
  visavis serve --role worker --queue redis://10.0.0.5:6379

Then, from elsewhere:
  curl -F image1=@mine.jpg -F image2=@yours.jpg 'http://127.0.0.1:8080/verify?wait=30'";

const ANALYZE_EXAMPLES: &str = "\
Examples:
  visavis analyze group.jpg
  visavis analyze --json *.jpg > faces.jsonl";

const COMPILE_EXAMPLES: &str = "\
Examples:
  visavis compile                         fill this host's cache
  visavis compile my-scorer.wasm          also with what will be deployed
  visavis compile --out share/visavis/compiled";

const NODES_EXAMPLES: &str = "\
Examples:
  visavis nodes
  visavis nodes --json";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  visavis doctor
  visavis doctor --config /etc/visavis/visavis.toml --json";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  visavis completions bash > ~/.local/share/bash-completion/completions/visavis
  visavis completions zsh > ~/.zfunc/_visavis
  visavis completions fish > ~/.config/fish/completions/visavis.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  visavis man | man -l -
  visavis man --out /usr/local/share/man/man1";

const HEALTH_EXAMPLES: &str = "\
Examples:
  visavis health
  visavis health --url http://127.0.0.1:8080/healthz";

const PURGE_EXAMPLES: &str = "\
Examples:
  visavis purge face_verification_7d4f10a35d3fe5a99770514f1865c0b7";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    /// The command lines among a help text's examples, without what follows three blanks, `>` or `|`.
    fn examples(help: &str) -> Vec<String> {
        let joined = help.split("\\\n").map(str::trim).collect::<Vec<_>>().join(" ");
        let lines = joined.lines().map(str::trim).filter(|line| line.starts_with("visavis "));
        let command = |line: &str| {
            let end = ["   ", ">", "|"].into_iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
            line[..end].trim().to_owned()
        };
        lines.map(command).collect()
    }

    #[test]
    fn every_command_shows_examples_that_parse() {
        fn check(command: &clap::Command, name: &str) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = examples(&help);
            assert!(help.starts_with("Examples:\n") && !examples.is_empty(), "{name}: {help}");
            for example in &examples {
                assert!(example.starts_with(name), "{name}: {example}");
                let words = example.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
                let parsed = Arguments::try_parse_from(words);
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
            }
            for inner in command.get_subcommands() {
                check(inner, &format!("{name} {}", inner.get_name()));
            }
        }
        check(&Arguments::command(), "visavis");
    }

    #[test]
    fn flags_become_overrides() {
        let arguments = parse("visavis serve --listen [::]:0 --queue file:x --log debug --config a.toml").unwrap();
        let overrides: Vec<_> = arguments.overrides().into_iter().map(|o| (o.key, o.flag, o.value)).collect();
        let expected = [
            ("telemetry.log", "--log", "debug"),
            ("server.listen", "--listen", "[::]:0"),
            ("queue.url", "--queue", "file:x"),
        ];
        assert_eq!(overrides, expected.map(|(key, flag, value)| (key, flag, value.to_owned())));
        assert_eq!(arguments.config, Some("a.toml".into()));
    }

    #[test]
    fn code_for_another_target_needs_a_folder() {
        let Command::Compile(compile) = parse("visavis compile a.wasm --target t --out d").unwrap().command else {
            panic!("another command")
        };
        assert_eq!((compile.target.as_deref(), compile.out), (Some("t"), Some("d".into())));
        assert!(parse("visavis compile --target t").is_err());
    }

    #[test]
    fn an_analysis_has_at_least_one_photograph() {
        let Command::Analyze(analyze) = parse("visavis analyze a b c --json").unwrap().command else {
            panic!("another command")
        };
        assert_eq!(analyze.images.len(), 3);
        assert!(parse("visavis analyze").is_err());
    }
}
