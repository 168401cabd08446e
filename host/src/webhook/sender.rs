//! One attempt: a name looked up, its addresses checked, and the request sent to the very address that was checked.
//!
//! Owns the connection and its bounds. Follows no redirect, asks no proxy, and reads nothing of an answer but its head. Must
//! never know tasks or when to try again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::target::{Allow, Target};

/// So long a connection to one address may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// So many addresses of one name are tried.
const MOST_ADDRESSES: usize = 4;
/// The most of an answer's head, bytes and fields.
const HEAD: (usize, usize) = (16 << 10, 64);

/// The authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthoritiesError {
    /// The file cannot be read.
    #[error("webhooks.tls_ca: {}: {why}; name a file with certificates in PEM", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The system has none.
    #[error(
        "webhooks need authorities to check certificates, and this system has none; install ca-certificates, or set webhooks.tls_ca"
    )]
    None,
}

/// Why an attempt failed, in words without path and query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The next would, too.
    ForGood(String),
    /// The next may not.
    ForNow(String),
}

/// Sends requests.
pub(crate) struct Sender {
    allow: Arc<Allow>,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

impl Sender {
    /// Reads the authorities, those of the system without a file; one request may take `timeout`.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn new(
        allow: Arc<Allow>,
        authorities: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, AuthoritiesError> {
        let tls = if allow.is_encrypted() { Some(connector(authorities)?) } else { None };
        Ok(Self { allow, tls, timeout })
    }

    /// Where requests may go.
    pub(super) fn allow(&self) -> &Allow {
        &self.allow
    }

    /// Posts a body, and yields once the answer says that it was taken.
    pub(super) async fn post(&self, target: &Target, headers: &[(&str, String)], body: Bytes) -> Result<(), Failed> {
        let sent = timeout(self.timeout, async {
            let stream = self.connect(target).await?;
            if !target.is_encrypted() {
                return exchange(stream, target, headers, body).await;
            }
            let tls = self.tls.as_ref().ok_or_else(|| Failed::ForGood("https is not listed".to_owned()))?;
            let name = ServerName::try_from(target.host().to_owned());
            let name = name.map_err(|_| Failed::ForGood("its host is no name of a server".to_owned()))?;
            let stream = timeout(CONNECT, tls.connect(name, stream)).await;
            let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let stream = stream.map_err(|error| Failed::ForNow(format!("TLS failed: {error}")))?;
            exchange(stream, target, headers, body).await
        });
        let late = |_| Err(Failed::ForNow(format!("it took longer than webhooks.timeout, {:?}", self.timeout)));
        sent.await.unwrap_or_else(late)
    }

    /// Connects to the first address that may be and can be.
    async fn connect(&self, target: &Target) -> Result<TcpStream, Failed> {
        let found: Vec<_> = match target.host().parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, target.port())],
            Err(_) => match lookup_host((target.host(), target.port())).await {
                Ok(addresses) => addresses.collect(),
                Err(error) => return Err(Failed::ForNow(format!("its name was not found: {error}"))),
            },
        };
        let may = |address: &&SocketAddr| self.allow.may_connect(address.ip(), address.port());
        let mut why = None;
        for address in found.iter().filter(may).take(MOST_ADDRESSES) {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => why = Some(error.to_string()),
                Err(_) => why = Some(format!("no connection within {} s", CONNECT.as_secs())),
            }
        }
        Err(match (why, found.first()) {
            (Some(why), _) => Failed::ForNow(why),
            (None, None) => Failed::ForNow("its name has no address".to_owned()),
            (None, Some(address)) => Failed::ForGood(format!(
                "its address {} is not public; if that is meant, list the address itself in webhooks.allow",
                address.ip()
            )),
        })
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    headers: &[(&str, String)],
    body: Bytes,
) -> Result<(), Failed> {
    let broken = |error: hyper::Error| Failed::ForNow(format!("the exchange broke off: {error}"));
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD.0).max_headers(HEAD.1);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(header::HOST, target.authority())
        .header(header::USER_AGENT, concat!("visavis/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(body)).map_err(|error| Failed::ForGood(error.to_string()))?;
    let answered = tokio::select! {
        answered = sender.send_request(request) => answered.map_err(broken)?,
        Err(error) = connection => return Err(broken(error)),
    };
    // The rest of the answer is not read: the connection ends here.
    match answered.status() {
        status if status.is_success() => Ok(()),
        StatusCode::GONE => Err(Failed::ForGood("it answered 410, and so wants no more".to_owned())),
        status if status.is_redirection() => {
            Err(Failed::ForNow(format!("it answered {}, and redirects are not followed", status.as_u16())))
        }
        status => Err(Failed::ForNow(format!("it answered {}", status.as_u16()))),
    }
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let failed = |why: String| AuthoritiesError::File { path: path.to_owned(), why };
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("there is no certificate in it".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(AuthoritiesError::None);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has the default versions of TLS").with_root_certificates(roots);
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn allow(entries: &[String]) -> Arc<Allow> {
        Arc::new(Allow::parse(entries).unwrap())
    }

    fn sender(entries: &[String]) -> Sender {
        Sender::new(allow(entries), None, PATIENCE).unwrap()
    }

    async fn post(sender: &Sender, url: &str) -> Result<(), Failed> {
        let headers = [("webhook-id", "an-id".to_owned())];
        sender.post(&sender.allow().target(url).unwrap(), &headers, Bytes::from_static(b"{}")).await
    }

    /// Answers one request with this head; yields what was asked.
    async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: &str) -> String {
        let (mut asked, mut buffer) = (Vec::new(), [0; 4096]);
        while !asked.ends_with(b"\r\n\r\n{}") {
            match stream.read(&mut buffer).await {
                Ok(read @ 1..) => asked.extend(&buffer[..read]),
                _ => return String::new(),
            }
        }
        stream.write_all(head.as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
        String::from_utf8(asked).unwrap()
    }

    async fn receiver(head: String) -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move { answer(&mut listener.accept().await.unwrap().0, &head).await });
        (port, asked)
    }

    #[tokio::test]
    async fn a_request_is_sent_and_its_answer_judged_by_the_head() {
        // A body that never comes is not waited for.
        for (head, expected) in [
            ("200 OK\r\nContent-Length: 99999999", Ok(())),
            ("204 No Content", Ok(())),
            ("307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/", Err("redirects are not followed")),
            ("500 Internal Server Error\r\nContent-Length: 0", Err("it answered 500")),
            ("404 Not Found\r\nContent-Length: 0", Err("it answered 404")),
            ("410 Gone\r\nContent-Length: 0", Err("no more")),
        ] {
            let (port, asked) = receiver(format!("HTTP/1.1 {head}\r\n\r\n")).await;
            let sender = sender(&[format!("http://127.0.0.1:{port}")]);
            let told = post(&sender, &format!("http://127.0.0.1:{port}/a?b=c")).await;
            match (told, expected) {
                (Ok(()), Ok(())) => {}
                (Err(Failed::ForGood(why)), Err(words)) if head.starts_with("410") => assert!(why.contains(words)),
                (Err(Failed::ForNow(why)), Err(words)) => assert!(why.contains(words), "{why}"),
                other => panic!("{head}: {other:?}"),
            }
            let asked = asked.await.unwrap();
            assert!(
                asked.starts_with("POST /a?b=c HTTP/1.1\r\n") && asked.contains("webhook-id: an-id\r\n"),
                "{asked}"
            );
            assert!(asked.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{asked}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_a_failure_for_now() {
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(HEAD.0 + 1));
        for head in ["", "nonsense\r\n\r\n", endless.as_str()] {
            let (port, _asked) = receiver(head.to_owned()).await;
            let url = format!("http://127.0.0.1:{port}");
            assert!(
                matches!(post(&sender(std::slice::from_ref(&url)), &url).await, Err(Failed::ForNow(_))),
                "{head:.20}"
            );
        }
        // Nobody listens there any more.
        let url = format!(
            "http://127.0.0.1:{}",
            TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
        );
        assert!(matches!(post(&sender(std::slice::from_ref(&url)), &url).await, Err(Failed::ForNow(_))));
        // Somebody listens, and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let hasty = Sender::new(allow(std::slice::from_ref(&url)), None, Duration::from_millis(200)).unwrap();
        assert!(matches!(post(&hasty, &url).await, Err(Failed::ForNow(why)) if why.contains("webhooks.timeout")));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_unless_the_address_is_listed() {
        let (port, asked) = receiver("HTTP/1.1 200 OK\r\n\r\n".to_owned()).await;
        let url = format!("http://localhost:{port}/");
        match post(&sender(&[format!("http://localhost:{port}")]), &url).await {
            Err(Failed::ForGood(why)) => assert!(why.contains("not public") && why.contains("webhooks.allow"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(!asked.is_finished(), "nobody came");
        let listed = [format!("http://localhost:{port}"), format!("http://127.0.0.1:{port}")];
        post(&sender(&listed), &url).await.unwrap();
        assert!(asked.await.unwrap().contains(&format!("host: localhost:{port}\r\n")));
    }

    /// A receiver behind TLS with a certificate for 127.0.0.1, and its authority in PEM.
    async fn encrypted() -> (u16, String) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![own.der().clone()], key).unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    answer(&mut stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            }
        });
        (port, authority.pem())
    }

    #[tokio::test]
    async fn certificates_are_checked() {
        let (port, pem) = encrypted().await;
        let (folder, url) = (tempfile::tempdir().unwrap(), format!("https://127.0.0.1:{port}"));
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, pem).unwrap();
        let allow = allow(std::slice::from_ref(&url));
        post(&Sender::new(Arc::clone(&allow), Some(&path), PATIENCE).unwrap(), &url).await.unwrap();
        // Another authority knows nothing of it.
        std::fs::write(&path, encrypted().await.1).unwrap();
        let stranger = Sender::new(Arc::clone(&allow), Some(&path), PATIENCE).unwrap();
        assert!(matches!(post(&stranger, &url).await, Err(Failed::ForNow(why)) if why.starts_with("TLS failed")));
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, text).unwrap();
            let error = Sender::new(Arc::clone(&allow), Some(&path), PATIENCE).err().unwrap().to_string();
            assert!(error.contains("webhooks.tls_ca") && error.contains("ca.pem"), "{error}");
        }
    }
}
