//! `visavis completions` and `visavis man`: what shells and manuals know of the command line.
//!
//! Owns where both go. Must never describe a flag itself: all words come from `arguments`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::CommandFactory;

use crate::arguments::{Arguments, Command, Completions, Man};

/// Runs the command if it is one of the two.
pub(crate) fn run(command: &Command) -> Option<anyhow::Result<ExitCode>> {
    let done = match command {
        Command::Completions(Completions { shell }) => print(&completions(*shell)),
        Command::Man(Man { out: None }) => page().and_then(|page| print(&page)),
        Command::Man(Man { out: Some(folder) }) => pages(folder),
        _ => return None,
    };
    Some(done.map(|()| ExitCode::SUCCESS))
}

fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "visavis", &mut script);
    script
}

fn page() -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
    Ok(page)
}

/// One page for each command: `visavis.1`, `visavis-verify.1` and so on.
fn pages(folder: &Path) -> anyhow::Result<()> {
    if !folder.is_dir() {
        bail!("--out: {} is no folder; make it first", folder.display());
    }
    let written = clap_mangen::generate_to(Arguments::command(), folder);
    written.with_context(|| format!("cannot write manual pages to {}", folder.display()))
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    io::stdout().write_all(bytes).context("cannot write to standard output")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_gets_all_commands() {
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            for word in ["verify", "calibrate", "completions", "deploy", "non-frontal"] {
                assert!(script.contains(word), "{word} for {shell}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page_with_its_examples() {
        let folder = tempfile::tempdir().unwrap();
        pages(folder.path()).unwrap();
        let mut found: Vec<_> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        found.sort();
        for name in ["visavis.1", "visavis-calibrate.1", "visavis-queue-dead-retry.1", "visavis-components-deploy.1"] {
            assert!(found.contains(&name.to_owned()), "{name} in {found:?}");
        }
        for name in &found {
            let page = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert!(page.contains(".TH") && page.contains("Examples:"), "{name}:\n{page}");
        }
        assert!(pages(&folder.path().join("nowhere")).unwrap_err().to_string().contains("make it first"));
    }
}
