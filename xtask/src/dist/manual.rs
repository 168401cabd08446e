//! Manual pages, and completions for shells, as the program that goes into the archive writes them.
//!
//! Owns where they lie: where systems look for them below a prefix. It must never know a command or a flag.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::pack::Content;
use super::{ask, folder_of};
use crate::files;
use crate::workspace::Workspace;

/// Where manual pages lie.
const PAGES: &str = "share/man/man1";

/// Shells, and where each looks for completions.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/visavis"),
    ("zsh", "share/zsh/site-functions/_visavis"),
    ("fish", "share/fish/vendor_completions.d/visavis.fish"),
];

/// Lets the program write them; pages go to `pages`, which is made.
pub(super) fn write(program: &Path, workspace: &Workspace, pages: &Path) -> Result<Vec<Content>> {
    fs::create_dir(pages).map_err(|error| files::refusal(pages, &error))?;
    ask(program, workspace, pages, &["man".as_ref(), "--out".as_ref(), pages.as_os_str()])?;
    let mut contents = Vec::new();
    folder_of(pages, PAGES, &mut contents)?;
    for (shell, place) in SHELLS {
        let script = ask(program, workspace, pages, &["completions".as_ref(), shell.as_ref()])?;
        let script = String::from_utf8(script).context("completions are text")?;
        ensure!(script.contains("visavis"), "the completions for {shell} do not name visavis");
        contents.push(Content::text(place, script));
    }
    Ok(contents)
}
