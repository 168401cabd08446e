//! An ordinary HTTP client, blocking.
//!
//! Owns how a test asks the host politely. Must never judge an answer beyond whether it came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::{HeaderMap, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use crate::form::Form;

/// How long a single request may take: more than the longest wait that the interface offers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one host, with its own connections.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    base: String,
    authorization: Option<String>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }

    /// The problem document of a refusal: checks its form and answers its code.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{} {}", self.status, self.text());
        let document = self.json();
        assert_eq!(document["type"], "about:blank", "{document}");
        assert_eq!(document["status"], self.status, "{document}");
        for member in ["title", "detail", "code"] {
            assert!(document[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {document}");
        }
        document["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    /// A client of the host at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self::patient(address, PATIENCE)
    }

    /// The same, whose requests may take so long.
    pub fn patient(address: SocketAddr, patience: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(patience))
            .build();
        Self { agent: config.new_agent(), base: format!("http://{address}"), authorization: None }
    }

    /// A client of a host behind TLS that trusts this certificate in PEM and no other.
    pub fn trusting(address: SocketAddr, certificate: &str) -> Self {
        let trusted = Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[trusted]))
            .build();
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).tls_config(tls);
        Self { agent: config.build().new_agent(), base: format!("https://{address}"), authorization: None }
    }

    /// The same, which shows this key with each request.
    #[must_use]
    pub fn holding(self, key: &str) -> Self {
        Self { authorization: Some(format!("Bearer {key}")), ..self }
    }

    /// Sends any well-formed request.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// The same, where no answer is an answer.
    pub fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = match body {
            [] => self.agent.run(request.body(()).map_err(Error::Http)?)?,
            body => self.agent.run(request.body(body).map_err(Error::Http)?)?,
        };
        let body = response.body_mut().with_config().limit(64 << 20).read_to_vec()?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], &[])
    }

    /// `GET`, where no answer is an answer.
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_send("GET", path, &[], &[]).ok()
    }

    /// Posts a form to `path`.
    pub fn post(&self, path: &str, form: &Form, headers: &[(&str, &str)]) -> Answer {
        let content_type = form.content_type();
        let headers: Vec<_> = headers.iter().copied().chain([("content-type", content_type.as_str())]).collect();
        self.send("POST", path, &headers, &form.body())
    }

    /// Submits a form that must be accepted; answers the task's id.
    pub fn submit(&self, form: &Form) -> String {
        let answer = self.post("/verify", form, &[]);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["task_id"].as_str().expect("an id").to_owned()
    }

    /// Waits for the end of a task; answers the whole status body.
    pub fn ended(&self, id: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let answer = self.get(&format!("/status/{id}?wait=10"));
            assert_eq!(answer.status, 200, "{}", answer.text());
            let status = answer.json();
            if ["SUCCESS", "FAILURE", "REVOKED"].contains(&status["status"].as_str().unwrap_or_default()) {
                return status;
            }
            assert!(Instant::now() < deadline, "the task does not end: {status}");
        }
    }

    /// Verifies to the end; answers the whole status body.
    pub fn verify(&self, form: &Form) -> Value {
        let answer = self.post("/verify?wait=30", form, &[]);
        match answer.status {
            200 => answer.json(),
            202 => self.ended(answer.json()["task_id"].as_str().expect("an id")),
            status => panic!("{status} {}", answer.text()),
        }
    }
}
