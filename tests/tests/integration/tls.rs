//! TLS on all listeners: whom the host is to its clients and to its own commands, and a certificate that changes while it works.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::http::Client;

/// How long a change of the files may take to be seen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A set-up whose host has a certificate for 127.0.0.1 that vouches for itself.
fn encrypted() -> (Setup, String) {
    let setup =
        Setup::new().set("VISAVIS_SERVER__TLS_CERTIFICATE", "cert.pem").set("VISAVIS_SERVER__TLS_KEY", "key.pem");
    let certificate = certify(&setup);
    (setup, certificate)
}

/// Puts another certificate and key in the place of those there are; yields the certificate in PEM.
fn certify(setup: &Setup) -> String {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.self_signed(&key).expect("a certificate").pem();
    for (name, text) in [("key.pem", key.serialize_pem()), ("cert.pem", certificate.clone())] {
        let aside = setup.folder().join("aside");
        fs::write(&aside, text).expect("a folder for temporary files can be written");
        fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).expect("its owner may");
        fs::rename(&aside, setup.folder().join(name)).expect("its owner may");
    }
    certificate
}

#[test]
fn all_listeners_speak_tls_and_a_certificate_changes_while_they_do() {
    let (setup, first) = encrypted();
    let setup = setup.set("VISAVIS_TELEMETRY__METRICS", "127.0.0.1:0");
    let host = setup.start_unready(&["--queue", "file:data/queue.redb"]);
    let client = Client::trusting(host.address(), &first);
    let deadline = Instant::now() + Duration::from_secs(120);
    while client.get("/readyz").status != 200 {
        assert!(Instant::now() < deadline, "{}", host.log());
        thread::sleep(Duration::from_millis(50));
    }
    let pair = Form::photos("obama.jpg", "obama2.jpg");
    assert_eq!(client.verify(&pair)["status"], "SUCCESS");
    for listener in [host.operators(), host.watchers()] {
        let metrics = Client::trusting(listener, &first).get("/metrics");
        assert!(metrics.status == 200 && metrics.text().contains("visavis_http_requests_total"));
    }
    // In the clear there is no answer.
    for listener in [host.address(), host.operators(), host.watchers()] {
        assert!(Client::new(listener).try_get("/healthz").is_none());
    }

    // The host's own commands know it by its certificate.
    let own = |setup: &Setup, arguments: &[&str]| {
        let admin = setup.clone().set("VISAVIS_SERVER__ADMIN", &host.operators().to_string());
        let output = admin.set("VISAVIS_SERVER__LISTEN", &host.address().to_string()).run(arguments);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(own(&setup, &["health"]), (Some(0), "ready\n".to_owned()));
    assert_eq!(own(&setup, &["components", "list"]).0, Some(0));
    let (other, _) = encrypted();
    let (status, told) = own(&other, &["health"]);
    assert!(status == Some(1) && told.contains("another certificate"), "{told}");

    // A connection from before lasts, and who comes is shown the new one.
    let second = certify(&setup);
    let late = Client::trusting(host.address(), &second);
    let deadline = Instant::now() + PATIENCE;
    while late.try_get("/healthz").is_none() {
        assert!(Instant::now() < deadline, "{}", host.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.get("/healthz").status, 200, "the connection from before");
    for listener in [host.address(), host.watchers()] {
        assert!(Client::trusting(listener, &first).try_get("/healthz").is_none());
    }
    assert_eq!(own(&setup, &["health"]).0, Some(0));
    assert_eq!(late.verify(&pair)["status"], "SUCCESS");
}

#[test]
fn a_certificate_that_cannot_be_shown_is_refused_at_start() {
    let (setup, _) = encrypted();
    let told = |setup: &Setup| {
        let output =
            setup.run(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", "file:data/queue.redb"]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    fs::set_permissions(setup.folder().join("key.pem"), fs::Permissions::from_mode(0o644)).expect("its owner may");
    assert!(told(&setup).contains("chmod 600 key.pem"));
    let alone = Setup::new().set("VISAVIS_SERVER__TLS_KEY", "key.pem");
    assert!(told(&alone).contains("set both or neither"));
    assert!(!setup.data().join("queue.redb").exists(), "nothing was begun");
}
