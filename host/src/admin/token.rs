//! The secret that operators show.
//!
//! Owns its file: 64 hexadecimal digits, or any one line of at least 16 bytes that an operator chose. Must never be shown in a log.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::secret::{self, Exposed};

/// Fewer bytes could be guessed.
const SHORTEST: usize = 16;

/// The secret; only a hash of it is held.
pub(crate) struct Token(blake3::Hash);

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// The operating system refused.
    #[error(
        "token file {path}: {reason}; set server.admin_token_file to a file that this user can read, or server.admin to off"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        reason: io::Error,
    },
    /// Others can read it.
    #[error("token file {path}: {why}; run `chmod 600 {path}`")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Who.
        why: Exposed,
    },
    /// It is too short.
    #[error(
        "token file {path} holds less than {SHORTEST} bytes; write a longer secret, or remove the file to have one made"
    )]
    Short {
        /// The file.
        path: PathBuf,
    },
}

impl Token {
    /// Reads the token, or makes one where there is none.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        let failed = |reason| TokenError::Io { path: path.to_owned(), reason };
        match Self::read(path) {
            Err(TokenError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(|text| Self::of(&text)),
        }
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
        secret::create(path, &hex::encode(bytes)).map_err(failed)?;
        Self::read(path).map(|text| Self::of(&text))
    }

    /// Reads the token as text, to show it.
    pub(crate) fn read(path: &Path) -> Result<String, TokenError> {
        let failed = |reason| TokenError::Io { path: path.to_owned(), reason };
        let text = fs::read_to_string(path).map_err(failed)?;
        secret::check(&fs::metadata(path).map_err(failed)?)
            .map_err(|why| TokenError::Exposed { path: path.to_owned(), why })?;
        let text = text.trim();
        if text.len() < SHORTEST {
            return Err(TokenError::Short { path: path.to_owned() });
        }
        Ok(text.to_owned())
    }

    /// Whether this is the token, in a time that does not depend on where it differs.
    pub(super) fn is(&self, shown: &str) -> bool {
        // Hashes of blake3 compare in constant time.
        self.0 == blake3::hash(shown.as_bytes())
    }

    fn of(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_token_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/admin.token");
        let made = Token::load_or_create(&path).unwrap();
        let text = Token::read(&path).unwrap();
        assert_eq!((text.len(), fs::metadata(&path).unwrap().mode() & 0o777), (64, 0o600));
        assert!(made.is(&text) && Token::load_or_create(&path).unwrap().is(&text));
        assert!(!made.is("") && !made.is(&text[1..]) && !made.is(&format!("{text} ")));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn exposed_and_short_files_are_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        fs::write(&path, "a secret of my own choice\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Token::load_or_create(&path).err().unwrap().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Token::load_or_create(&path).unwrap().is("a secret of my own choice"));
        fs::write(&path, "short\n").unwrap();
        assert!(Token::load_or_create(&path).err().unwrap().to_string().contains("longer"));
        assert!(matches!(Token::load_or_create(folder.path()), Err(TokenError::Io { .. })));
    }
}
