//! What webhooks are signed with, in the way of Standard Webhooks (version 1, HMAC-SHA256).
//!
//! Owns the file of one or, while they change, two secrets. Must never be shown in a log.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use zeroize::Zeroizing;

use crate::secret::{self, Exposed};

const PREFIX: &str = "whsec_";
/// How long a secret may be, bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// While one replaces the other, receivers may know either.
const MOST: usize = 2;
/// More than any such file has.
const READ_LIMIT: u64 = 1024;

/// The secrets; each webhook is signed with all of them.
pub(crate) struct Secrets(Vec<hmac::Key>);

/// The secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    /// The operating system refused.
    #[error("webhook secret file {}: {reason}; set webhooks.secret_file to a file that this user can read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its words.
        reason: io::Error,
    },
    /// There is none, and one that is made here would be this node's own.
    #[error(
        "webhook secret file {}: it is not there, and all nodes of a queue need the same; copy that of another node, or make the \
         first with: (umask 077; echo \"{PREFIX}$(head -c 32 /dev/urandom | base64)\" > {})",
        path.display(), path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others can read it.
    #[error("webhook secret file {}: {why}; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Who.
        why: Exposed,
    },
    /// It holds something else.
    #[error(
        "webhook secret file {}: it must hold one or two lines of {PREFIX} and {} to {} bytes in base64, the newer first; mend it, \
         or remove it to have a new one made",
        path.display(), LENGTHS.start(), LENGTHS.end()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl Secrets {
    /// Reads the secrets. Where there are none, makes one, unless other nodes need the same.
    ///
    /// # Errors
    /// The file cannot be used; the error says what to do.
    pub(crate) fn load(path: &Path, shared: bool) -> Result<Self, SecretsError> {
        let failed = |reason| SecretsError::Io { path: path.to_owned(), reason };
        match Self::read(path) {
            Err(SecretsError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        if shared {
            return Err(SecretsError::Missing { path: path.to_owned() });
        }
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|error| failed(io::Error::other(error)))?;
        let text = Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(*bytes)));
        secret::create(path, &text).map_err(failed)?;
        tracing::info!(path = %path.display(), "made a secret for webhooks; whoever verifies them needs it");
        Self::read(path)
    }

    /// Reads the secrets where there are some.
    ///
    /// # Errors
    /// The file cannot be used, or is not there.
    pub(crate) fn read(path: &Path) -> Result<Self, SecretsError> {
        let failed = |reason| SecretsError::Io { path: path.to_owned(), reason };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        secret::check(&metadata).map_err(|why| SecretsError::Exposed { path: path.to_owned(), why })?;
        let mut text = Zeroizing::new(String::new());
        file.take(READ_LIMIT).read_to_string(&mut text).map_err(failed)?;
        let keys: Option<Vec<_>> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(key).collect();
        let keys = keys.filter(|keys| (1..=MOST).contains(&keys.len()));
        keys.map(Self).ok_or_else(|| SecretsError::Malformed { path: path.to_owned() })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The header `webhook-signature`: a signature by each secret, over id, Unix time in seconds and body.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signature = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{timestamp}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn key(line: &str) -> Option<hmac::Key> {
    let bytes = Zeroizing::new(STANDARD.decode(line.strip_prefix(PREFIX)?).ok()?);
    LENGTHS.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Whether a file of secrets could be made.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::exists(path).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        // The example that the libraries of Standard Webhooks test themselves with.
        secret::create(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let secrets = Secrets::load(&path, true).unwrap();
        let signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        fs::write(&path, format!("whsec_{}\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "A".repeat(44))).unwrap();
        let both = Secrets::read(&path).unwrap();
        let signed = both.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert!(signed.ends_with(" v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=") && both.count() == 2, "{signed}");
    }

    #[test]
    fn a_secret_is_made_once_where_nobody_else_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let error = Secrets::load(&path, true).err().unwrap().to_string();
        assert!(error.contains("whsec_") && error.contains("copy") && !path.exists(), "{error}");
        let first = Secrets::load(&path, false).unwrap().sign("a", 1, b"b");
        assert_eq!(Secrets::load(&path, true).unwrap().sign("a", 1, b"b"), first);
    }

    #[test]
    fn other_files_are_refused_with_the_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let good = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        secret::create(&path, "x").unwrap();
        for text in ["", "\n", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_c2hvcnQ=", &good.repeat(3)] {
            fs::write(&path, text).unwrap();
            assert!(matches!(Secrets::load(&path, false), Err(SecretsError::Malformed { .. })), "{text}");
        }
        fs::write(&path, good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Secrets::load(&path, false).err().unwrap().to_string().contains("chmod 600"));
    }
}
