//! An archive whose bytes depend on its files alone: sorted names, one time, no owner.
//!
//! Owns the format. It must never know what the files are for.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};

use crate::{files, progress};

/// The time of every file: the first second of 1980, which every archive format can tell.
const TIME: u64 = 315_532_800;

/// One file of the archive.
#[derive(Debug)]
pub(super) struct Content {
    /// Path in the archive, below its folder.
    name: String,
    from: Origin,
    mode: u32,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Text(String),
}

impl Content {
    /// A copy of a file.
    pub(super) fn file(name: &str, from: &Path) -> Self {
        Self { name: name.to_owned(), from: Origin::File(from.to_owned()), mode: 0o644 }
    }

    /// A copy of a program.
    pub(super) fn program(name: &str, from: &Path) -> Self {
        Self { mode: 0o755, ..Self::file(name, from) }
    }

    /// A text that was put together.
    pub(super) fn text(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), from: Origin::Text(text), mode: 0o644 }
    }
}

/// Writes a `.tar.gz` in which everything lies in `folder`. Answers its size.
pub(super) fn write(archive: &Path, folder: &str, mut contents: Vec<Content>) -> Result<u64> {
    contents.sort_by(|a, b| a.name.cmp(&b.name));
    let twice = contents.windows(2).find(|pair| pair[0].name == pair[1].name);
    ensure!(twice.is_none(), "two files are to be packed under one name: {twice:?}");
    let mut total = 0;
    for content in &contents {
        total += match &content.from {
            Origin::File(path) => path.metadata().with_context(|| format!("can not read {}", path.display()))?.len(),
            Origin::Text(text) => text.len() as u64,
        };
    }
    let place = archive.parent().context("an archive lies in a folder")?;
    let refused = |error: std::io::Error| files::refusal(archive, &error);
    let file = tempfile::Builder::new().prefix(".partial-").tempfile_in(place).map_err(refused)?;
    let gzip = GzBuilder::new().mtime(0).write(BufWriter::new(file), Compression::default());
    let mut tar = tar::Builder::new(gzip);
    let bar = progress::bytes("packing", total);
    for Content { name, from, mode } in &contents {
        let mut content: (u64, Box<dyn Read>) = match from {
            Origin::File(path) => {
                let file = File::open(path).with_context(|| format!("can not read {}", path.display()))?;
                (file.metadata()?.len(), Box::new(file))
            }
            Origin::Text(text) => (text.len() as u64, Box::new(text.as_bytes())),
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(content.0);
        header.set_mode(*mode);
        header.set_mtime(TIME);
        header.set_uid(0);
        header.set_gid(0);
        let counted = bar.wrap_read(&mut content.1);
        tar.append_data(&mut header, format!("{folder}/{name}"), counted).map_err(refused)?;
    }
    let mut written = tar.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(refused)?;
    written.flush().map_err(refused)?;
    let file = written.into_inner().map_err(|error| refused(error.into_error()))?;
    bar.finish_and_clear();
    files::readable_by_all(file.as_file()).map_err(refused)?;
    file.as_file().sync_all().map_err(refused)?;
    let file = file.persist(archive).map_err(|error| refused(error.error))?;
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_whatever_their_order_and_age() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "code").unwrap();
        let contents = || vec![Content::text("b/c.txt", "text".to_owned()), Content::program("a", &program)];
        let archive = |name: &str, contents| {
            let path = folder.path().join(name);
            write(&path, "top-1", contents).unwrap();
            path
        };
        let first = archive("first.tar.gz", contents());
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1000);
        File::options().write(true).open(&program).unwrap().set_modified(later).unwrap();
        let second = archive("second.tar.gz", contents().into_iter().rev().collect());
        assert_eq!(fs::read(&first).unwrap(), fs::read(second).unwrap());

        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(File::open(first).unwrap()));
        let mut found = BTreeMap::new();
        for entry in tar.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            let about = (header.mode().unwrap(), header.mtime().unwrap(), header.uid().unwrap());
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(name, (text, about));
        }
        let expected = [
            ("top-1/a".to_owned(), ("code".to_owned(), (0o755, TIME, 0))),
            ("top-1/b/c.txt".to_owned(), ("text".to_owned(), (0o644, TIME, 0))),
        ];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn a_name_is_packed_once_and_nothing_is_left_of_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("x.tar.gz");
        let twice = vec![Content::text("a", String::new()), Content::text("a", String::new())];
        assert!(write(&archive, "x", twice).unwrap_err().to_string().contains("one name"));
        let missing = vec![Content::file("a", &folder.path().join("missing"))];
        assert!(format!("{:#}", write(&archive, "x", missing).unwrap_err()).contains("missing"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
