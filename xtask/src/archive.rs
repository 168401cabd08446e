//! Takes files out of wheels (zip) and source distributions (tar.gz), in memory and bounded.
//!
//! Only asked-for names are read, so no path in an archive ever reaches the file system. Knows no packages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// More than any file that set-up needs: a lying archive can not fill the memory.
const MAX_FILE: u64 = 512 << 20;

/// The content of the files called `names` in the archive, by name.
pub(crate) fn read(archive: &Path, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let file = File::open(archive).with_context(|| format!("can not open {}", archive.display()))?;
    let name = archive.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let found = if name.ends_with(".whl") {
        read_zip(file, names)
    } else if name.ends_with(".tar.gz") {
        read_tar(file, names)
    } else {
        bail!("{name} is neither a wheel nor a source distribution");
    };
    let found = found.with_context(|| format!("can not unpack {}", archive.display()))?;
    match names.iter().find(|name| !found.contains_key(**name)) {
        Some(missing) => bail!("{} holds no {missing}", archive.display()),
        None => Ok(found),
    }
}

/// The content of all files whose names are `wanted`, by name.
pub(crate) fn read_all(archive: &Path, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<u8>>> {
    let names = list(archive).with_context(|| format!("can not unpack {}", archive.display()))?;
    let names: Vec<_> = names.iter().map(String::as_str).filter(|name| wanted(name)).collect();
    read(archive, &names)
}

fn list(archive: &Path) -> Result<Vec<String>> {
    let file = File::open(archive)?;
    if archive.extension().is_some_and(|extension| extension == "whl") {
        let archive = zip::ZipArchive::new(BufReader::new(file))?;
        return archive.file_names().map(|name| Ok(name?.into_owned())).collect();
    }
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file)));
    let mut names = Vec::new();
    for entry in archive.entries()? {
        names.push(String::from_utf8_lossy(&entry?.path_bytes()).into_owned());
    }
    Ok(names)
}

fn read_zip(file: File, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = zip::ZipArchive::new(BufReader::new(file))?;
    let read = |name: &&str| Ok(((*name).to_owned(), bounded(archive.by_name(name)?)?));
    names.iter().map(read).collect()
}

fn read_tar(file: File, names: &[&str]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(BufReader::new(file)));
    let mut found = BTreeMap::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if names.contains(&name.as_str()) {
            found.insert(name, bounded(entry)?);
        }
    }
    Ok(found)
}

fn bounded(content: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_FILE, "a file in it is larger than {} MiB", MAX_FILE >> 20);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn files_come_out_of_wheels_and_source_distributions() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = folder.path().join("a-1-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&wheel).unwrap());
        for (name, text) in [("a/one", "1"), ("a/two", "2")] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        let source = folder.path().join("a-1.tar.gz");
        let gzip = flate2::write::GzEncoder::new(File::create(&source).unwrap(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        for (name, text) in [("a/one", "1"), ("a/two", "2")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        for archive in [wheel, source] {
            let found = read(&archive, &["a/two"]).unwrap();
            assert_eq!(found, BTreeMap::from([("a/two".to_owned(), b"2".to_vec())]));
            assert_eq!(read_all(&archive, |name| name.ends_with("two")).unwrap(), found);
            let message = read(&archive, &["a/three"]).unwrap_err().to_string() + &archive.display().to_string();
            assert!(message.contains("a-1"), "{message}");
        }
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a-1-py3-none-any.whl", "a-1.tar.gz", "a-1.exe"] {
            let path = folder.path().join(name);
            std::fs::write(&path, b"neither").unwrap();
            assert!(read(&path, &["x"]).is_err(), "{name}");
        }
    }
}
