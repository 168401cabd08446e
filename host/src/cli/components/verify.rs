//! `visavis components verify`: who signed a file, and what it is.
//!
//! Owns the exit status: 0 signed by somebody trusted, 1 not, 2 not checked.

use std::process::ExitCode;

use anyhow::{Context, bail};

use super::{described, read, read_signature, read_text, signature_of};
use crate::arguments::components::VerifyFile;
use crate::config::Config;
use crate::rollout::kind;
use crate::rollout::trust::Trust;

/// Runs the command. As on a node, nothing of a file is looked at before its signature holds.
pub(super) fn run(config: &Config, arguments: &VerifyFile) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let bytes = read(file)?;
    let keys = if arguments.keys.is_empty() { &config.components.trusted_keys } else { &arguments.keys };
    let trust = Trust::load(keys)?;
    let signature = match &arguments.signature {
        Some(path) => Some(read_text(path)?),
        None => read_signature(&signature_of(file)).context("cannot read the signature")?,
    };
    let refused = |reason: &dyn std::error::Error| {
        eprintln!("visavis: {}: {reason}", file.display());
        Ok(ExitCode::from(1))
    };
    let signer = match trust.check(&bytes, signature.as_deref()) {
        Ok(signer) => signer,
        Err(error) => return refused(&error),
    };
    let kind = match kind::of(&bytes) {
        Ok(kind) => kind,
        Err(error) => return refused(&error),
    };
    let Some(signer) = signer else {
        print!("{}: not checked\n{}", file.display(), described(&kind, &bytes));
        bail!("there is no key to check a signature with; give --key, or set components.trusted_keys");
    };
    print!("{}: signed by {signer}\n{}", file.display(), described(&kind, &bytes));
    Ok(ExitCode::SUCCESS)
}
