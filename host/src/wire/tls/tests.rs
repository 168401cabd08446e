//! Handshakes that succeed, fail and never end; certificates that change, and ones that cannot be shown.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::*;
use crate::wire::{Limits, Service, full, serve};

const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate for 127.0.0.1 that vouches for itself, and its key, in files.
fn write(folder: &TempDir) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(folder.path().join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
    certificate.der().clone()
}

fn open(folder: &TempDir) -> Result<Tls, TlsError> {
    Tls::open(&folder.path().join("cert.pem"), &folder.path().join("key.pem"))
}

struct Echo;

impl Service for Echo {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<HyperOutgoingBody> {
        Response::new(full(request.uri().path().to_owned()))
    }
}

/// A listener with this certificate.
async fn listen(tls: &Arc<Tls>, header_timeout: Duration) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let limits = Limits { listener: "public", max_connections: 8, header_timeout, drain_timeout: PATIENCE };
    tokio::spawn(serve(listener, Some(Arc::clone(tls)), limits, Arc::new(Echo), shutdown.clone()));
    (address, shutdown)
}

async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocols: &[&[u8]],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

async fn client(address: SocketAddr, trusted: &CertificateDer<'static>) -> std::io::Result<SendRequest<Empty<Bytes>>> {
    let stream = connect(address, trusted, &[PROTOCOL], rustls::ALL_VERSIONS).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> Bytes {
    let request = Request::get(path).header("host", "127.0.0.1").body(Empty::new()).unwrap();
    let answer = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
    answer.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_who_comes_and_breaks_nobody_off() {
    let folder = tempfile::tempdir().unwrap();
    let first = write(&folder);
    let tls = Arc::new(open(&folder).unwrap());
    let (address, shutdown) = listen(&tls, PATIENCE).await;
    let mut early = client(address, &first).await.unwrap();
    assert_eq!(ask(&mut early, "/one").await, "/one");

    let second = write(&folder);
    // Half of a change is none.
    let whole = fs::read(folder.path().join("key.pem")).unwrap();
    fs::write(folder.path().join("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    tls.look();
    client(address, &first).await.unwrap();
    fs::write(folder.path().join("key.pem"), whole).unwrap();
    tls.look();
    assert!(client(address, &first).await.is_err(), "the old certificate is shown no more");
    let mut late = client(address, &second).await.unwrap();
    assert_eq!((ask(&mut late, "/two").await, ask(&mut early, "/three").await), ("/two".into(), "/three".into()));
    shutdown.cancel();
}

#[tokio::test]
async fn both_versions_and_http_1_1_alone_are_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = write(&folder);
    let (address, shutdown) = listen(&Arc::new(open(&folder).unwrap()), PATIENCE).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = connect(address, &trusted, &[b"h2", PROTOCOL], &[version]).await.unwrap();
        let (_, connection) = stream.get_ref();
        assert_eq!(
            (connection.alpn_protocol(), connection.protocol_version()),
            (Some(PROTOCOL), Some(version.version))
        );
        // Who says nothing speaks HTTP/1.1.
        assert!(connect(address, &trusted, &[], &[version]).await.is_ok());
        assert!(connect(address, &trusted, &[b"h2"], &[version]).await.is_err());
    }
    shutdown.cancel();
}

#[tokio::test]
async fn who_does_not_shake_hands_is_not_waited_for_and_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = write(&folder);
    let (address, shutdown) = listen(&Arc::new(open(&folder).unwrap()), Duration::from_millis(500)).await;
    let begin = Instant::now();
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut sender = client(address, &trusted).await.unwrap();
    assert_eq!(ask(&mut sender, "/").await, "/");
    for stream in [&mut silent, &mut plain] {
        // However it ends, it does.
        let ended = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok());
    }
    assert!(begin.elapsed() >= Duration::from_millis(500));
    shutdown.cancel();
}

#[test]
fn what_cannot_be_shown_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder);
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let refused = |words: [&str; 2]| {
        let told = open(&folder).err().unwrap().to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told}");
    };
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(["server.tls_key", "chmod 600"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    open(&folder).unwrap();
    let whole = fs::read(&key).unwrap();
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    refused(["server.tls_certificate", "that it was made for"]);
    fs::write(&key, "no key").unwrap();
    refused(["server.tls_key", "private key"]);
    fs::remove_file(&key).unwrap();
    refused(["server.tls_key", "No such file"]);
    fs::write(&key, whole).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&certificate, text).unwrap();
        refused(["cert.pem", "server.tls_certificate"]);
    }
}
