//! The command line of `visavis components`.
//!
//! Owns its subcommands, flags and help texts. Must never know how a bundle or a signature is made.

use std::path::PathBuf;

use clap::Subcommand;

/// Arguments of `visavis components`.
#[derive(Debug, clap::Args)]
pub(crate) struct Components {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: ComponentsCommand,
}

/// What to do with components and bundles.
#[derive(Debug, Subcommand)]
pub(crate) enum ComponentsCommand {
    /// Show which generation each slot of a running host serves, what is tried, and what was changed.
    #[command(after_help = LIST_EXAMPLES)]
    List(List),
    /// Let a running host serve another component or bundle, once that has passed the gate.
    ///
    /// What does not pass is refused, and what serves goes on. FILE.minisig is sent along when it is there.
    #[command(after_help = DEPLOY_EXAMPLES)]
    Deploy(Deploy),
    /// Return to what a slot served before; a canary is taken back.
    #[command(after_help = ROLLBACK_EXAMPLES)]
    Rollback(Rollback),
    /// Return to the component that the host's configuration names.
    #[command(after_help = RESET_EXAMPLES)]
    Reset(Operated),
    /// Make a pair of keys for signatures: a secret one and a public one.
    ///
    /// The secret key is encrypted with a password, which is asked for on the terminal or taken from
    /// VISAVIS_KEY_PASSWORD. The pair is one of minisign's, too.
    #[command(after_help = KEYGEN_EXAMPLES)]
    Keygen(Keygen),
    /// Sign a component or a bundle: writes FILE.minisig.
    ///
    /// The password of the key is asked for on the terminal or taken from VISAVIS_KEY_PASSWORD.
    #[command(after_help = SIGN_EXAMPLES)]
    Sign(Sign),
    /// Check a signature, and say what the file is.
    ///
    /// The exit status is 0 when somebody trusted has signed a component or bundle, 1 when not, and 2 when that could not be
    /// checked.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyFile),
    /// Put components, the models that they need and the policy that goes with them into one file under one version.
    #[command(after_help = BUNDLE_EXAMPLES)]
    Bundle(Bundle),
}

/// Flags of `visavis components list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `visavis components deploy`.
#[derive(Debug, clap::Args)]
pub(crate) struct Deploy {
    /// The slot, or bundle for a file that fills several.
    #[arg(value_name = "SLOT", value_parser = ["gateway", "analyzer", "scorer", "bundle"])]
    pub(crate) slot: String,
    /// The component or bundle.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// At first give it this share of the work, 1 to 100. It takes over after components.canary_tasks within the bounds, and
    /// is taken back at the first breach.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) canary: Option<u8>,
    /// Deploy to all nodes that share the host's Redis. The host that is asked proves it first.
    #[arg(long)]
    pub(crate) fleet: bool,
    /// A recorded case of the gate that may come out differently, or all. May be repeated.
    #[arg(long = "expect-change", value_name = "CASE")]
    pub(crate) expected_changes: Vec<String>,
    /// The signature; by default FILE.minisig if there is one.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Print the host's report as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `visavis components rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// What to roll back.
    #[command(flatten)]
    pub(crate) operated: Operated,
    /// Return all nodes that share the host's Redis to what they were told before.
    #[arg(long)]
    pub(crate) fleet: bool,
}

/// Arguments of `visavis components reset`, and a part of others'.
#[derive(Debug, clap::Args)]
pub(crate) struct Operated {
    /// The slot.
    #[arg(value_name = "SLOT", value_parser = ["gateway", "analyzer", "scorer"])]
    pub(crate) slot: String,
    /// Print what serves as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `visavis components keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// Where to write the secret key; the public one goes beside it and ends in .pub.
    #[arg(long, value_name = "FILE", default_value = "visavis.key")]
    pub(crate) out: PathBuf,
    /// Do not encrypt the secret key.
    #[arg(long)]
    pub(crate) no_password: bool,
}

/// Arguments of `visavis components sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The component or bundle.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The secret key's file.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
}

/// Arguments of `visavis components verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyFile {
    /// The component or bundle.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The signature; by default FILE.minisig.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// A public key to trust, or the path of its file; by default those of components.trusted_keys. May be repeated.
    #[arg(long = "key", value_name = "PUBLIC")]
    pub(crate) keys: Vec<String>,
}

/// Flags of `visavis components bundle`.
#[derive(Debug, clap::Args)]
pub(crate) struct Bundle {
    /// Where to write the bundle.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// What to call it.
    #[arg(long)]
    pub(crate) name: String,
    /// Which of that name.
    #[arg(long)]
    pub(crate) version: String,
    /// A component that reads requests.
    #[arg(long, value_name = "FILE")]
    pub(crate) gateway: Option<PathBuf>,
    /// A component that analyses photographs.
    #[arg(long, value_name = "FILE")]
    pub(crate) analyzer: Option<PathBuf>,
    /// A component that decides.
    #[arg(long, value_name = "FILE")]
    pub(crate) scorer: Option<PathBuf>,
    /// The detector that it needs, by its name in the model manifest (models.dir).
    #[arg(long, value_name = "NAME")]
    pub(crate) detector: Option<String>,
    /// The embedder that it needs, by its name in the model manifest; its threshold comes along.
    #[arg(long, value_name = "NAME")]
    pub(crate) embedder: Option<String>,
    /// The threshold that goes with it, 0 to 2; by default that of the embedder that was named.
    #[arg(long, value_name = "DISTANCE", allow_negative_numbers = true)]
    pub(crate) threshold: Option<f32>,
    /// How steeply the score falls at the threshold; by default that of the embedder that was named.
    #[arg(long, value_name = "SLOPE", allow_negative_numbers = true)]
    pub(crate) slope: Option<f32>,
    /// What to do with a face that does not look into the camera.
    #[arg(long, value_name = "POLICY", value_parser = ["reject", "report"])]
    pub(crate) non_frontal: Option<String>,
    /// Whether embeddings from before and after can be compared; if not, the threshold must come along.
    #[arg(long, value_name = "SPACE", value_parser = ["same", "changes"], default_value = "same")]
    pub(crate) embedding_space: String,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  visavis components list
  visavis components deploy scorer my-scorer.wasm --canary 10
  visavis components rollback scorer";

const LIST_EXAMPLES: &str = "\
Examples:
  visavis components list
  visavis components list --json";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  visavis components rollback scorer
  visavis components rollback scorer --fleet";

const RESET_EXAMPLES: &str = "\
Examples:
  visavis components reset scorer";

const DEPLOY_EXAMPLES: &str = "\
Examples:
  visavis components deploy scorer my-scorer.wasm
  visavis components deploy scorer my-scorer.wasm --canary 10
  visavis components deploy bundle release-7.bundle --fleet

The host is found by server.admin and server.admin_token_file of the configuration; run it where the
host runs, as its user, or set both.";

const KEYGEN_EXAMPLES: &str = "\
Examples:
  visavis components keygen --out /safe/place/visavis.key

Then, on every node, in visavis.toml:
  [components]
  trusted_keys = [\"/safe/place/visavis.pub\"]";

const SIGN_EXAMPLES: &str = "\
Examples:
  visavis components sign scorer.wasm --key visavis.key
  minisign -S -s visavis.key -m scorer.wasm      the same, by the program minisign";

const VERIFY_EXAMPLES: &str = "\
Examples:
  visavis components verify faces.bundle
  visavis components verify faces.bundle --key visavis.pub";

const BUNDLE_EXAMPLES: &str = "\
Examples:
  visavis components bundle --out strict.bundle --name strict --version 7 --scorer strict.wasm
  visavis components bundle --out faces.bundle --name faces --version 2.0 --analyzer analyzer.wasm \\
      --embedder our-embedder --threshold 0.98 --embedding-space changes";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn parse(line: &str) -> Result<ComponentsCommand, clap::Error> {
        match Arguments::try_parse_from(line.split_whitespace())?.command {
            Command::Components(components) => Ok(components.command),
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn keys_can_be_many() {
        let parsed = parse("visavis components verify a.wasm --key RWa --key b.pub").unwrap();
        let ComponentsCommand::Verify(verify) = parsed else { panic!("another command") };
        assert_eq!((verify.keys, verify.signature), (vec!["RWa".to_owned(), "b.pub".to_owned()], None));
    }

    #[test]
    fn a_bundle_has_a_name_and_a_version() {
        let parsed = parse("visavis components bundle --out b --name n --version 1 --threshold 1.1").unwrap();
        let ComponentsCommand::Bundle(bundle) = parsed else { panic!("another command") };
        assert_eq!((bundle.threshold, bundle.embedding_space.as_str()), (Some(1.1), "same"));
        for line in ["--out b --name n", "--name n --version 1", "--out b --name n --version 1 --threshold x"] {
            assert!(parse(&format!("visavis components bundle {line}")).is_err(), "{line}");
        }
        assert!(parse("visavis components sign a.wasm").is_err(), "a signature needs a key");
    }
}
