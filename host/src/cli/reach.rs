//! A connection to a host of the same configuration.
//!
//! Owns how such a host is known: by the very certificate that its configuration names, which needs no authority and holds for every
//! address. Must never know what is asked.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, crypto};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_rustls::TlsConnector;

use crate::wire::tls;

/// Either kind of connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// `http` or `https`: what listeners with this `server.tls_certificate` speak.
pub(super) fn scheme(certificate: Option<&Path>) -> &'static str {
    if certificate.is_some() { "https" } else { "http" }
}

/// Connects to a listener that shows this certificate, or speaks in the clear where there is none.
pub(super) async fn connect(
    certificate: Option<&Path>,
    address: impl ToSocketAddrs,
) -> anyhow::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    let Some(path) = certificate else { return Ok(Box::new(stream)) };
    let own = tls::chain(path)?.swap_remove(0);
    let provider = Arc::new(crypto::ring::default_provider());
    let verifier = Arc::new(Pinned { own, provider: Arc::clone(&provider) });
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let client = client.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    // The name is for hosts of many names; this one is known by its certificate.
    let name = ServerName::try_from("localhost").context("localhost is a name")?;
    let encrypted = TlsConnector::from(Arc::new(client)).connect(name, stream).await;
    let encrypted = encrypted.with_context(|| {
        format!(
            "TLS failed: the host shows another certificate than {} (server.tls_certificate), or none",
            path.display()
        )
    })?;
    Ok(Box::new(encrypted))
}

/// Takes one certificate and no other, whoever vouches for it, and checks that the other side has its key.
#[derive(Debug)]
struct Pinned {
    own: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.own {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
