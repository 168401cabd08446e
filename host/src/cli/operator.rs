//! One question to a running host's operators' listener.
//!
//! Owns the small HTTP client and the token that it shows. Must never know what is asked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::reach;
use crate::admin::Token;
use crate::config::Config;

/// How long a host may take to carry out an order: compiling a large component takes its time.
const PATIENCE: Duration = Duration::from_secs(600);

/// The most of an answer that is read, bytes.
const ANSWER: usize = 64 << 20;

/// What is asked.
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Question {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }
}

/// Asks the host at `server.admin`, and yields its JSON. A refusal is an error in the host's own words.
pub(super) async fn ask(config: &Config, question: Question) -> anyhow::Result<Value> {
    let (status, answer) = answer(config, question).await?;
    if !status.is_success() {
        bail!("{}", words(&answer));
    }
    Ok(answer)
}

/// What a host says when it refuses.
pub(super) fn words(answer: &Value) -> &str {
    answer["detail"].as_str().unwrap_or("the host refused without a word")
}

/// The same, where a refusal is an answer.
pub(super) async fn answer(config: &Config, question: Question) -> anyhow::Result<(StatusCode, Value)> {
    let Some(address) = config.server.admin else {
        bail!(
            "server.admin is off, so no host can be asked; set it to the address that the host listens on for operators"
        );
    };
    let token = token(&config.server.admin_token_file)?;
    let asked = async {
        let stream = reach::connect(config.server.tls_certificate.as_deref(), address).await.with_context(|| {
            format!(
                "no host listens for operators on {address}; start it, or set server.admin (--admin) to where it does"
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let Question { method, path, headers, body } = question;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|error| anyhow!(error))?;
        anyhow::Ok((status, body.to_bytes()))
    };
    let (status, body) = tokio::time::timeout(PATIENCE, asked).await.context("the host did not answer")??;
    let answer: Value =
        serde_json::from_slice(&body).with_context(|| format!("the host at {address} answered {status}"))?;
    if status == StatusCode::UNAUTHORIZED {
        bail!(
            "the host at {address} does not take the token in {}; name its own in server.admin_token_file",
            config.server.admin_token_file.display()
        );
    }
    Ok((status, answer))
}

fn token(path: &Path) -> anyhow::Result<String> {
    Token::read(path).context("the host's token is needed; run this where the host runs, as its user")
}
