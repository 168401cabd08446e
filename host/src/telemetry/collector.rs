//! The way to a collector of spans: HTTP, with TLS by the system's authorities.
//!
//! Owns the connection and its limits. Must never know what a request carries. It blocks: the thread that calls it does nothing
//! else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The largest answer, bytes; a collector's own are a few.
const ANSWER: u64 = 64 << 10;

/// There is no way to the collector.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectorError {
    /// Nobody vouches for it.
    #[error(
        "the collector of traces is behind https, and this system has no certificates of authorities{0}; install \
         ca-certificates, or set SSL_CERT_FILE"
    )]
    NoAuthorities(String),
}

/// A client of one collector.
#[derive(Debug)]
pub(super) struct Collector(Agent);

impl Collector {
    /// A client whose requests take so long at most.
    ///
    /// # Errors
    /// The endpoint wants TLS, and the system has no authorities.
    pub(super) fn new(endpoint: &str, timeout: Duration) -> Result<Self, CollectorError> {
        let config = Agent::config_builder().http_status_as_error(false).max_redirects(0).timeout_global(Some(timeout));
        let config = if endpoint.to_ascii_lowercase().starts_with("https:") {
            config.tls_config(
                TlsConfig::builder()
                    .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .root_certs(RootCerts::Specific(Arc::new(authorities()?)))
                    .build(),
            )
        } else {
            config
        };
        Ok(Self(config.build().new_agent()))
    }
}

fn authorities() -> Result<Vec<Certificate<'static>>, CollectorError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why: String = found.errors.iter().map(|error| format!(", {error}")).collect();
        return Err(CollectorError::NoAuthorities(why));
    }
    Ok(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let mut answer = self.0.run(Request::from_parts(head, &body[..]))?;
        let bytes = answer.body_mut().with_config().limit(ANSWER).read_to_vec()?;
        let mut response = Response::new(Bytes::from(bytes));
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}
