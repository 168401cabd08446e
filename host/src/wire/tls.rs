//! TLS on a listener: the certificate, its key, and both again when they change.
//!
//! Owns what a handshake takes: TLS 1.2 or 1.3, HTTP/1.1 by ALPN. Must never know what is asked, and never show a key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::secret::{self, Exposed, Version};

/// What is offered by ALPN.
const PROTOCOL: &[u8] = b"http/1.1";

/// The certificate that listeners show.
pub(crate) struct Tls {
    files: Files,
    inner: Mutex<Inner>,
}

/// Locked for moments only.
struct Inner {
    config: Arc<ServerConfig>,
    versions: [Version; 2],
}

/// Where the certificate and its key lie.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("{key}: {}: {why}; name a file in PEM with {what}", path.display())]
    Unusable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What it should hold.
        what: &'static str,
    },
    /// Others can read the private key.
    #[error("server.tls_key: {}: {why}; run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Who.
        why: Exposed,
    },
    /// They do not belong together, or are of a kind that is not served.
    #[error(
        "server.tls_certificate {} and server.tls_key {}: {why}; name a certificate and the key that it was made for",
        certificate.display(),
        key.display()
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Tls {
    /// Reads the chain of certificates, the host's own first, and its private key.
    ///
    /// # Errors
    /// A file cannot be used, or they do not belong together; the error says what to do.
    pub(crate) fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        // The versions first: a change between is then seen as one.
        let versions = files.versions();
        let config = files.read()?;
        Ok(Self { files, inner: Mutex::new(Inner { config, versions }) })
    }

    /// For one handshake, with the certificate of the moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.inner().config))
    }

    /// Takes changes of the files over, until `shutdown` is cancelled. Connections keep the certificate that they began with.
    pub(crate) async fn follow(&self, shutdown: CancellationToken) {
        secret::follow(|| self.look(), shutdown).await;
    }

    /// Takes a change over. What cannot be used changes nothing: of two files, one is written first.
    fn look(&self) {
        let versions = self.files.versions();
        if versions == self.inner().versions {
            return;
        }
        let read = self.files.read();
        let mut inner = self.inner();
        inner.versions = versions;
        match read {
            Ok(config) => {
                inner.config = config;
                tracing::info!(certificate = %self.files.certificate.display(), "the certificate has changed");
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate has changed and cannot be used yet; the one from before is shown");
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing that holds the lock can panic half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// A configuration of rustls holds the private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl Files {
    fn versions(&self) -> [Version; 2] {
        [Version::of(&self.certificate), Version::of(&self.key)]
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let chain = chain(&self.certificate)?;
        let unusable = |why: String| TlsError::Unusable {
            key: "server.tls_key",
            path: self.key.clone(),
            why,
            what: "the certificate's private key, which no password protects",
        };
        let file = std::fs::metadata(&self.key).map_err(|error| unusable(error.to_string()))?;
        secret::check(&file).map_err(|why| TlsError::Exposed { path: self.key.clone(), why })?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unusable(error.to_string()))?;
        let pair = |error: rustls::Error| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            why: error.to_string(),
        };
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(pair)?.with_no_client_auth();
        let mut config = config.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificates of `server.tls_certificate`, the host's own first.
///
/// # Errors
/// The file cannot be read, or holds none.
pub(crate) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: String| TlsError::Unusable {
        key: "server.tls_certificate",
        path: path.to_owned(),
        why,
        what: "the host's certificate and those between it and its authority",
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    let chain = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| unusable(error.to_string()))?;
    if chain.is_empty() { Err(unusable("there is no certificate in it".to_owned())) } else { Ok(chain) }
}

#[cfg(test)]
mod tests;
