//! One ONNX file of a model: where it comes from, and the digest that it must have.
//!
//! Knows files and digests. It must never know what a graph computes or who runs it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One ONNX file in the models folder.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Name of the file in the models folder.
    pub file: String,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Where set-up finds what the file is made of. Without it, the operator puts the file into the folder by hand.
    pub source: Option<Source>,
    /// How set-up makes the file of its source. Without it, the source is an ONNX file already and is copied.
    pub convert: Option<Conversion>,
}

/// A file inside a published package.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A key of the manifest's `packages`.
    pub package: String,
    /// Path of the file in the package's archive, with `/` between folders.
    pub path: String,
    /// SHA-256 of that file, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// The conversions that this crate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conversion {
    /// MTCNN's first net, from a PyTorch state dictionary.
    MtcnnProposal,
    /// MTCNN's second net, from a PyTorch state dictionary.
    MtcnnRefinement,
    /// MTCNN's third net, from a PyTorch state dictionary.
    MtcnnOutput,
    /// FaceNet's InceptionResnetV1, from a frozen TensorFlow graph.
    FacenetInceptionResnetV1,
    /// The same, computing in 8-bit integers.
    FacenetInceptionResnetV1Int8,
}

/// Why a graph's file can not be used.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The file is missing or can not be read.
    #[error(
        "model file {path}: {source}; run `cargo xtask setup`, or put the file there if the manifest names no source"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not the one that the manifest means.
    #[error(
        "model file {path} has SHA-256 {found}, the manifest expects {expected}; run `cargo xtask setup`, \
         or correct the sha256 in the manifest if the new file is meant"
    )]
    Digest {
        /// The file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        found: String,
    },
}

impl Graph {
    /// The file's place in the models folder `folder`.
    pub fn path(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file)
    }

    /// Reads the file from the models folder and checks its digest.
    ///
    /// # Errors
    /// When the file can not be read or has another digest than the manifest says.
    pub fn read(&self, folder: &Path) -> Result<Vec<u8>, GraphError> {
        let path = self.path(folder);
        let bytes = std::fs::read(&path).map_err(|source| GraphError::Read { path: path.clone(), source })?;
        self.compare(path, &hex::encode(Sha256::digest(&bytes)))?;
        Ok(bytes)
    }

    /// Checks the file's digest without keeping its content.
    ///
    /// # Errors
    /// As [`Graph::read`].
    pub fn verify(&self, folder: &Path) -> Result<(), GraphError> {
        let path = self.path(folder);
        let mut digest = Sha256::new();
        let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut HashWriter(&mut digest)));
        match copied {
            Ok(_) => self.compare(path, &hex::encode(digest.finalize())),
            Err(source) => Err(GraphError::Read { path, source }),
        }
    }

    fn compare(&self, path: PathBuf, found: &str) -> Result<(), GraphError> {
        if found == self.sha256 {
            return Ok(());
        }
        Err(GraphError::Digest { path, expected: self.sha256.clone(), found: found.to_owned() })
    }
}

/// Lets `io::copy` feed a digest.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SHA-256 of the three bytes "abc", the first example in FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn graph(sha256: &str) -> Graph {
        Graph { file: "a.onnx".into(), sha256: sha256.into(), source: None, convert: None }
    }

    #[test]
    fn a_file_with_the_right_digest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.onnx"), "abc").unwrap();
        assert_eq!(graph(ABC).read(folder.path()).unwrap(), b"abc");
        graph(ABC).verify(folder.path()).unwrap();
    }

    #[test]
    fn a_changed_file_is_refused_with_both_digests_and_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.onnx"), "abd").unwrap();
        for refusal in [graph(ABC).read(folder.path()).err(), graph(ABC).verify(folder.path()).err()] {
            let message = refusal.unwrap().to_string();
            let found = hex::encode(Sha256::digest("abd"));
            for part in ["a.onnx", ABC, &found, "cargo xtask setup"] {
                assert!(message.contains(part), "{message} lacks {part}");
            }
        }
    }

    #[test]
    fn a_missing_file_names_itself_and_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let message = graph(ABC).verify(folder.path()).unwrap_err().to_string();
        assert!(message.contains("a.onnx") && message.contains("cargo xtask setup"), "{message}");
    }
}
