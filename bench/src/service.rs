//! The services that are compared, as their clients see them: visavis and its peer.
//!
//! Owns one verification from request to result, and what of a service's processes can be read. Must never know how often or
//! beside what it is measured.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use visavis_tests::form::Form;

use crate::load::{Connection, get};

/// Between two questions of a client whose service has no better way to tell that a task has ended.
const POLL: Duration = Duration::from_millis(10);

/// How long a verification may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// How a client learns that its task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It waits on the connection, as visavis offers.
    Waits,
    /// It asks again and again, as the peer's interface has it.
    Polls,
}

/// One pair of photographs to verify again and again.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    content_type: String,
    body: Bytes,
}

impl Pair {
    /// Two photographs of one person.
    pub(crate) fn new(first: &[u8], second: &[u8]) -> Self {
        Self::of(&Form::pair(first, second))
    }

    /// What a form holds.
    pub(crate) fn of(form: &Form) -> Self {
        Self { content_type: form.content_type(), body: form.body().into() }
    }

    /// Sends the pair and does not wait for its end.
    pub(crate) async fn submit(&self, connection: &mut Connection) -> Result<()> {
        let answer = connection.ask(&self.request("/verify")?).await?;
        ensure!(
            answer.status == StatusCode::ACCEPTED,
            "a submission was refused with {}: {:?}",
            answer.status,
            answer.body
        );
        Ok(())
    }

    /// Sends the pair to a service that may refuse it, and waits for its end; yields whether it was accepted.
    ///
    /// # Errors
    /// The service answered neither with the right verdict nor that it has too much to do.
    pub(crate) async fn attempt(&self, connection: &mut Connection) -> Result<bool> {
        let answer = connection.ask(&self.request("/verify?wait=30")?).await?;
        let status: Value = serde_json::from_slice(&answer.body)?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE && status["code"] == "overloaded" {
            return Ok(false);
        }
        ensure!(status["result"]["verified"] == true, "the pair was not verified: {} {status}", answer.status);
        Ok(true)
    }

    fn request(&self, path: &str) -> Result<Request<Full<Bytes>>> {
        let request = Request::post(path).header(header::CONTENT_TYPE, &self.content_type);
        Ok(request.body(Full::new(self.body.clone()))?)
    }

    /// Sends the pair, waits for its end, and sees that both were taken for one person.
    ///
    /// # Errors
    /// The service refused it, did not end it, or decided wrongly: a fast wrong verdict is none.
    pub(crate) async fn verify(&self, connection: &mut Connection, manner: Manner) -> Result<()> {
        let status = self.end(connection, manner).await?;
        ensure!(status["result"]["verified"] == true, "the pair was not verified: {status}");
        Ok(())
    }

    /// Sends the pair and waits for its end, whatever that is; yields the status.
    pub(crate) async fn end(&self, connection: &mut Connection, manner: Manner) -> Result<Value> {
        let begin = Instant::now();
        let (submit, wait) = match manner {
            Manner::Waits => ("/verify?wait=30", "?wait=30"),
            Manner::Polls => ("/verify", ""),
        };
        let answer = connection.ask(&self.request(submit)?).await?;
        let is_accepted = matches!(answer.status, StatusCode::OK | StatusCode::ACCEPTED);
        ensure!(is_accepted, "a submission was refused with {}: {:?}", answer.status, answer.body);
        let mut status: Value = serde_json::from_slice(&answer.body)?;
        let id = status["task_id"].as_str().context("a submission is answered with an id")?.to_owned();
        let question = get(&format!("/status/{id}{wait}"))?;
        loop {
            match status["status"].as_str() {
                Some("SUCCESS" | "FAILURE" | "REVOKED") => return Ok(status),
                _ if begin.elapsed() > PATIENCE => bail!("a task has not ended within {PATIENCE:?}: {status}"),
                _ if manner == Manner::Polls => tokio::time::sleep(POLL).await,
                _ => {}
            }
            let answer = connection.ask(&question).await?;
            ensure!(answer.status == StatusCode::OK, "a status was refused with {}", answer.status);
            status = serde_json::from_slice(&answer.body)?;
        }
    }
}

/// A running service.
pub(crate) trait Service {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    fn manner(&self) -> Manner;

    /// The processes that do its work, without its Redis.
    fn processes(&self) -> Vec<u32>;

    /// Memory of these processes, MB; what several of them share counts once.
    fn memory(&self) -> Result<f64> {
        let mut kib = 0.0;
        for process in self.processes() {
            let path = format!("/proc/{process}/smaps_rollup");
            let text = fs::read_to_string(&path)
                .with_context(|| format!("can not read {path}; only root may, for a host hides its memory"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("the kernel counts memory")?;
            kib += line.trim().trim_end_matches(" kB").trim().parse::<f64>()?;
        }
        Ok(kib * 1024.0 / 1e6)
    }
}

impl Service for visavis_tests::host::Host {
    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn manner(&self) -> Manner {
        Manner::Waits
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.id()]
    }
}
