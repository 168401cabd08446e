//! Who may connect: TLS with certificates of both sides, and a user who may do no more than a queue needs.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::process::free_port;
use super::*;

/// An authority of its own, with certificates in a folder.
struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Certificate and private key for a host.
    fn sign(&self, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let at = |end: &str| self.folder.path().join(format!("{host}.{end}"));
        std::fs::write(at("pem"), certificate.pem()).unwrap();
        std::fs::write(at("key"), key.serialize_pem()).unwrap();
        (at("pem"), at("key"))
    }
}

#[tokio::test]
async fn tls_checks_both_sides() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.sign("127.0.0.1");
    let port = free_port();
    let arguments = [
        ("--tls-port", PathBuf::from(port.to_string())),
        ("--tls-cert-file", certificate),
        ("--tls-key-file", key),
        ("--tls-ca-cert-file", authority.ca()),
    ];
    let settings: Vec<_> = arguments.iter().flat_map(|(name, value)| [name, value.to_str().unwrap()]).collect();
    let house = House::new(&settings);
    let open = async |tls: Tls| {
        Redis::open(Options { url: format!("rediss://127.0.0.1:{port}"), tls, ..house.options(WIDE) }).await
    };
    let refused = async |tls: Tls| open(tls).await.err().expect("it must not open").to_string();
    let (ca, client) = (Some(authority.ca()), Some(authority.sign("client")));
    let tls = || Tls { ca: ca.clone(), client: client.clone() };
    work_together(open(tls()).await.unwrap(), open(tls()).await.unwrap()).await;

    let error = refused(Tls { ca: Some(stranger.ca()), ..tls() }).await;
    assert!(error.contains("queue.tls_ca"), "the server is not the one of this authority: {error}");
    let error = refused(Tls { ca: None, ..tls() }).await;
    assert!(error.contains("queue.tls_ca"), "the system knows no such authority: {error}");
    let error = refused(Tls { client: None, ..tls() }).await;
    assert!(error.contains("queue.tls_certificate"), "the server asks for a certificate: {error}");
    let error = refused(Tls { client: Some(stranger.sign("client")), ..tls() }).await;
    assert!(error.contains("queue.tls_certificate"), "the server does not know this client: {error}");
    let swapped = client.clone().map(|(certificate, key)| (key, certificate));
    let error = refused(Tls { client: swapped, ..tls() }).await;
    assert!(error.contains("queue."), "{error}");
    // Whoever speaks in the clear is not understood, and the other way round.
    let plain = Options { url: format!("redis://127.0.0.1:{port}"), ..house.options(WIDE) };
    assert!(Redis::open(plain).await.unwrap().ping().await.is_err(), "it was hung up on, no more");
    let crossed =
        Options { url: house.server.url().replace("redis://", "rediss://"), tls: tls(), ..house.options(WIDE) };
    assert!(Redis::open(crossed).await.unwrap().ping().await.is_err(), "nobody answered, no more");
}

#[tokio::test]
async fn a_user_needs_no_more_than_the_documentation_says() {
    let house = House::new(&[]);
    let documentation = include_str!("../../../../../docs/redis.md");
    let line = documentation.lines().map(str::trim).find(|line| line.starts_with("ACL SETUSER")).unwrap();
    // The documentation's queue has the name that is the default.
    let line = line.replace("{visavis}", "{test}");
    assert!(line.contains(">PASSWORD") && line.contains("~{test}"), "{line}");
    assert_eq!(house.server.command(&line), b"+OK\r\n");
    let url = house.server.url().replace("redis://", "redis://visavis:PASSWORD@");
    let limits = contract::Limits { max_waiting_per_client: Some(9), ..WIDE };
    let options = || Options { url: url.clone(), ..house.options(limits) };
    work_together(Redis::open(options()).await.unwrap(), Redis::open(options()).await.unwrap()).await;
    let queue = Redis::open(Options { node: Some("a".to_owned()), ..options() }).await.unwrap();
    queue.ping().await.unwrap();
    let [idempotency_key, client] = ["key", "client"].map(|text| Some(text.to_owned()));
    let keyed = Submission { idempotency_key, client, ..Submission::new(payload(1)) };
    queue.submit(keyed).await.unwrap();
    let lease = claim(&queue).await.lease;
    queue.extend(lease).await.unwrap();
    queue.retry(lease, Duration::ZERO, contract::error("again")).await.unwrap();
    let lease = claim(&queue).await.lease;
    queue.release(lease).await.unwrap();
    for _ in 0..2 {
        let lease = claim(&queue).await.lease;
        queue.bury(lease, contract::error("beyond help")).await.unwrap();
        assert_eq!(queue.dead(9).await.unwrap().len(), 1);
        queue.redeliver(lease.id).await.unwrap();
    }
    let lease = claim(&queue).await.lease;
    queue.bury(lease, contract::error("beyond help")).await.unwrap();
    visit(options()).await.unwrap().purge(lease.id).await.unwrap();
    drop(queue);
    Redis::open(Options { node: Some("a".to_owned()), ..options() }).await.unwrap();
    let waits = Redis::open(Options { wait_replicas: 1, ..options() }).await.unwrap();
    let told = waits.ping().await.unwrap_err().to_string();
    assert!(told.contains("0 of 1 replicas"), "it may wait, though there is none: {told}");

    let refused = async |options: Options| Redis::open(options).await.err().expect("it must not open").to_string();
    let error = refused(Options { name: "other".to_owned(), ..options() }).await;
    assert!(error.contains("NoPerm") && !error.contains("PASSWORD"), "{error}");
    let error = refused(Options { url: url.replace("PASSWORD", "secret"), ..options() }).await;
    assert!(error.contains("WRONGPASS") && !error.contains("secret"), "{error}");
}
