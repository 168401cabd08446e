//! Programs of the system that tests run.
//!
//! Owns their installation where this process may install; elsewhere it says which package is missing. Must never know
//! what they are run for.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::progress;

/// Makes sure that `program` can be run; `package` is what Debian calls it.
pub(crate) fn ensure_program(program: &str, package: &str) -> Result<()> {
    ensure_any(&[program], package)
}

/// The same for a program that goes by several names, of which Debian's comes first.
pub(crate) fn ensure_any(programs: &[&str], package: &str) -> Result<()> {
    let program = programs.first().copied().unwrap_or(package);
    if programs.iter().any(|program| is_installed(program)) {
        return Ok(());
    }
    let mend = format!("mend: install {program}, on Debian as root with `apt-get install {package}`");
    let may_install = is_root() && is_installed("apt-get");
    ensure!(may_install, "the tests need {program}, which is not installed\n  {mend}");
    progress::note(&format!("installing {package} from the system's packages"));
    // The list of packages may be missing or old, so it is read first; an old one may still do.
    let listed = apt(&["update", "-q"]);
    let installed = apt(&["install", "-q", "-y", "--no-install-recommends", package]);
    ensure!(
        installed && is_installed(program),
        "{package} could not be installed{}\n  {mend}, and see what it says",
        if listed { "" } else { ", nor the list of packages be read" }
    );
    Ok(())
}

/// Takes a program out of one of Debian's packages, of which it is all that is wanted, and puts it into `folder`: nothing is
/// installed and no service starts. Whether the program is there, or in the path; without Debian's tools it cannot be had.
pub(crate) fn unpack_program(program: &str, package: &str, folder: &Path) -> Result<bool> {
    let place = folder.join(program);
    if is_installed(program) || is_file(&place) {
        return Ok(true);
    }
    if !is_installed("apt-get") || !is_installed("dpkg-deb") {
        return Ok(false);
    }
    let parts = folder.join(format!("{program}.parts"));
    let clear = || match fs::remove_dir_all(&parts) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    clear()?;
    fs::create_dir_all(&parts)?;
    progress::note(&format!("fetching {program} from the system's package {package}"));
    let download = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "-q", package]).current_dir(&parts);
        succeeds(command)
    };
    // The list of packages may be missing.
    let fetched = download() || (is_root() && apt(&["update", "-q"]) && download());
    let archive = fs::read_dir(&parts)?.flatten().map(|entry| entry.path()).next().filter(|_| fetched);
    let unpacked = archive.is_some_and(|archive| {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(archive).arg(parts.join("files"));
        succeeds(command)
    });
    let found = parts.join("files/usr/bin").join(program);
    let there = unpacked && is_file(&found);
    if there {
        fs::rename(found, &place)?;
    }
    clear()?;
    Ok(there)
}

fn succeeds(mut command: Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn apt(arguments: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_installed(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| is_file(&folder.join(program)))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_not() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-anywhere"));
        ensure_program("sh", "dash").unwrap();
        ensure_any(&["no-such-program-anywhere", "sh"], "dash").unwrap();
    }
}
