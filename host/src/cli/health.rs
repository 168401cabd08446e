//! `visavis health`: is a host ready? For supervisors of containers, whose image has no program that asks over HTTP.
//!
//! Owns one request and the exit status. Must never load a component or a model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;

use super::reach;
use crate::arguments;
use crate::config::{Config, Role};

/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most of an answer that is read, bytes.
const ANSWER: usize = 64 << 10;

/// Runs the command: 0 when the host answers that all is well, else 1.
pub(crate) async fn run(config: &Config, arguments: &arguments::Health) -> ExitCode {
    let asked = async {
        let url = match &arguments.url {
            Some(url) => url.clone(),
            None => own(config)?,
        };
        let answered = tokio::time::timeout(PATIENCE, ask(config.server.tls_certificate.as_deref(), &url)).await;
        let (status, text) =
            answered.map_err(|_| anyhow!("{url} did not answer within {} s", PATIENCE.as_secs()))??;
        if !status.is_success() {
            bail!("{url} answered {}: {}", status.as_u16(), text.trim());
        }
        anyhow::Ok(text)
    };
    match asked.await {
        Ok(text) => {
            println!("{}", text.trim());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("visavis: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where the host of this configuration says whether it is ready.
fn own(config: &Config) -> anyhow::Result<String> {
    if config.server.role == Role::Worker {
        bail!("a worker has no public listener to be asked; name what to ask with --url");
    }
    let scheme = reach::scheme(config.server.tls_certificate.as_deref());
    Ok(format!("{scheme}://{}/readyz", reachable(config.server.listen)))
}

/// Who listens on all addresses of a machine listens on its loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let loopback = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(loopback, listen.port())
}

async fn ask(certificate: Option<&Path>, url: &str) -> anyhow::Result<(StatusCode, String)> {
    let uri: Uri = url.parse().with_context(|| format!("'{url}' is no URL"))?;
    // The certificate is this configuration's; what is asked in the clear may be another host.
    let (certificate, port) = match (uri.scheme_str(), certificate) {
        (Some("http"), _) => (None, 80),
        (Some("https"), Some(_)) => (certificate, 443),
        (Some("https"), None) => {
            bail!("'{url}' is one of https: set server.tls_certificate to the certificate of whoever answers there")
        }
        _ => bail!("'{url}' is no URL of http, as http://127.0.0.1:8080/readyz"),
    };
    let authority =
        uri.authority().ok_or_else(|| anyhow!("'{url}' is no URL of http, as http://127.0.0.1:8080/readyz"))?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = reach::connect(certificate, (host, authority.port_u16().unwrap_or(port))).await;
    let stream = stream.with_context(|| format!("nobody answers at {url}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(header::HOST, authority.as_str()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await.with_context(|| format!("{url} broke off"))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|error| anyhow!(error))?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_the_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.7:80", "192.0.2.7:80"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked, "{listen}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_told_with_the_mend() {
        for url in ["https://127.0.0.1:1/", "127.0.0.1:1", "/readyz", "http://"] {
            assert!(ask(None, url).await.unwrap_err().to_string().contains(url), "{url}");
        }
    }
}
