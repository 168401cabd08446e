//! The demo: two pairs of sample photographs verified over HTTP by the real host.
//!
//! Knows the public interface as any client does, and nothing of the host's inside.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::host::{self, Host};
use crate::workspace::Workspace;
use crate::{progress, setup};

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// End after the results; the exit status is 0 only if they are right.
    #[arg(long)]
    once: bool,
    /// Print one JSON object a line for each pair on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Where the host listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// Two photographs, and whether they show one person.
struct Pair {
    photographs: [&'static str; 2],
    same: bool,
}

const PAIRS: [Pair; 2] = [
    Pair { photographs: ["obama.jpg", "obama2.jpg"], same: true },
    Pair { photographs: ["obama.jpg", "biden.jpg"], same: false },
];

/// How one verification ended.
#[derive(Debug, Serialize)]
struct Outcome {
    image1: &'static str,
    image2: &'static str,
    task_id: String,
    status: String,
    result: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    error: Value,
}

/// Sets up, starts the host, verifies both pairs, and stays up unless told not to.
pub(crate) fn run(options: &Options, workspace: &Workspace) -> Result<ExitCode> {
    host::check_address(options.listen)?;
    setup::run(workspace)?;
    let interrupt = interrupts()?;

    // Results of a demo that stays up are kept, as an operator would; a single run leaves nothing behind.
    let fresh = tempfile::tempdir().context("can not make a temporary folder\n  mend: free some space in it")?;
    let data = if options.once { fresh.path().to_owned() } else { workspace.assets.join("data") };
    let spinner = progress::spinner("starting the host");
    let mut host = Host::start(&workspace.host(), options.listen, &data)?;
    let client = Client::new(&host.address, host.key.as_deref());
    client.wait_until_ready(&mut host)?;
    spinner.finish_and_clear();
    progress::note(&format!("host: {} is ready", host.address));

    let mut right = true;
    for pair in &PAIRS {
        let start = Instant::now();
        let outcome = client.verify(pair, &workspace.assets.join("photos")).with_context(|| host.log_tail())?;
        right &= outcome.result["verified"] == Value::Bool(pair.same);
        if options.json {
            println!("{}", serde_json::to_string(&outcome)?);
        } else {
            println!("{}", summary(&outcome, start.elapsed()));
        }
    }

    if options.once {
        host.stop()?;
        return Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    progress::note(&format!(
        "\nThe page is at {0}/ : open it in a browser and compare two photographs; samples lie in {1}\n\
         The interface is described at {0}/docs ; press Ctrl-C to stop",
        host.address,
        workspace.assets.join("photos").display()
    ));
    if let Some(key) = &host.key {
        progress::note(&format!("Others can reach it, so it asks for an API key, also on the page: {key}"));
    }
    while let Err(RecvTimeoutError::Timeout) = interrupt.recv_timeout(Duration::from_millis(500)) {
        ensure!(
            !host.ended()?,
            "the host ended by itself{}\n  mend: see what it logged, and run this again",
            host.log_tail()
        );
    }
    progress::note("stopping: the host ends what it began");
    host.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// Hears of Ctrl-C and SIGTERM.
fn interrupts() -> Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    ctrlc::set_handler(move || {
        // The receiver lives as long as the demo; after it nobody needs the signal.
        let _ = sender.send(());
    })
    .context("can not wait for Ctrl-C")?;
    Ok(receiver)
}

/// One line for people.
fn summary(outcome: &Outcome, took: Duration) -> String {
    let Outcome { image1, image2, result, .. } = outcome;
    let pair = format!("{image1:<12} {image2:<12}");
    let took = progress::seconds(took);
    match result["verified"].as_bool() {
        Some(verified) => {
            let verdict = if verified { "the same person" } else { "two people" };
            let number = |key: &str| result[key].as_f64().unwrap_or(f64::NAN);
            let [distance, threshold] = ["euclidean_distance", "threshold"].map(number);
            let score = number("verification_score");
            format!("{pair} {verdict:<16} distance {distance:.3} (threshold {threshold:.2}), score {score:.3}, {took}")
        }
        None => format!("{pair} {}: {}, {took}", outcome.status, outcome.error),
    }
}

/// A client of the public interface.
struct Client {
    agent: ureq::Agent,
    address: String,
    /// What each request shows.
    authorization: String,
}

impl Client {
    fn new(address: &str, key: Option<&str>) -> Self {
        // The host is on this machine: no proxy may stand between.
        let config = ureq::Agent::config_builder();
        let config = config.http_status_as_error(false).proxy(None).timeout_global(Some(Duration::from_secs(60)));
        // A host that asks for no key does not look at it.
        let authorization = format!("Bearer {}", key.unwrap_or("none"));
        Self { agent: config.build().into(), address: address.to_owned(), authorization }
    }

    fn wait_until_ready(&self, host: &mut Host) -> Result<()> {
        let start = Instant::now();
        loop {
            let answer = self.agent.get(format!("{}/readyz", self.address)).call();
            if answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
                return Ok(());
            }
            if host.ended()? || start.elapsed() > Duration::from_secs(60) {
                let reason = match answer {
                    Ok(mut answer) => answer.body_mut().read_to_string().unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                bail!("the host is not ready: {reason}{}", host.log_tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Submits one pair and waits for its end.
    fn verify(&self, pair: &Pair, photographs: &Path) -> Result<Outcome> {
        let [image1, image2] = pair.photographs;
        let (kind, body) = form(&[("image1", image1), ("image2", image2)], photographs)?;
        let post = self.agent.post(format!("{}/verify", self.address)).header("Authorization", &self.authorization);
        let answer = post.content_type(&kind).send(&body[..])?;
        let (status, accepted) = json(answer)?;
        let Some(task_id) = accepted["task_id"].as_str().filter(|_| status == 202) else {
            bail!("the host refused {image1} and {image2} with {status}: {accepted}");
        };
        let deadline = Instant::now() + Duration::from_secs(120);
        while Instant::now() < deadline {
            let get = self.agent.get(format!("{}/status/{task_id}?wait=30", self.address));
            let answer = get.header("Authorization", &self.authorization).call()?;
            let (status, mut body) = json(answer)?;
            ensure!(status == 200, "the host answered {status} for the status of {task_id}: {body}");
            let ended = body["status"].as_str().filter(|it| matches!(*it, "SUCCESS" | "FAILURE" | "REVOKED"));
            if let Some(status) = ended.map(str::to_owned) {
                let (result, error) = (body["result"].take(), body["error"].take());
                return Ok(Outcome { image1, image2, task_id: task_id.to_owned(), status, result, error });
            }
        }
        bail!("{task_id} did not end in two minutes")
    }
}

fn json(mut answer: ureq::http::Response<ureq::Body>) -> Result<(u16, Value)> {
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string()?;
    let value =
        serde_json::from_str(&text).with_context(|| format!("the host answered {status} without JSON: {text}"))?;
    Ok((status, value))
}

/// A `multipart/form-data` body (RFC 7578) of the photographs, and its content type.
fn form(fields: &[(&str, &str)], photographs: &Path) -> Result<(String, Vec<u8>)> {
    const BOUNDARY: &str = "visavis-demo-7d1c0f9a5b";
    let mut body = Vec::new();
    for (field, file) in fields {
        let path = photographs.join(file);
        let photograph = fs::read(&path).with_context(|| format!("can not read {}", path.display()))?;
        let disposition = format!("form-data; name=\"{field}\"; filename=\"{file}\"");
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\nContent-Type: image/jpeg\r\n\r\n");
        body.extend(head.into_bytes());
        body.extend(photograph);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
    Ok((format!("multipart/form-data; boundary={BOUNDARY}"), body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_has_both_photographs_between_boundaries() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.jpg"), "A").unwrap();
        fs::write(folder.path().join("b.jpg"), "B").unwrap();
        let (kind, body) = form(&[("image1", "a.jpg"), ("image2", "b.jpg")], folder.path()).unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let body = String::from_utf8(body).unwrap();
        let parts: Vec<_> = body.split(&format!("--{boundary}")).collect();
        assert_eq!(parts.len(), 4);
        assert!(parts[1].contains("name=\"image1\"") && parts[1].ends_with("\r\n\r\nA\r\n"), "{body}");
        assert!(parts[2].contains("name=\"image2\"") && parts[2].ends_with("\r\n\r\nB\r\n"), "{body}");
        assert_eq!(parts[3], "--\r\n");
    }

    #[test]
    fn a_line_of_json_has_the_documented_keys() {
        let (status, task_id) = ("SUCCESS".to_owned(), "face_verification_0".to_owned());
        let result = json!({"verified": true});
        let outcome = Outcome { image1: "a", image2: "b", task_id, status, result, error: Value::Null };
        let line = serde_json::to_string(&outcome).unwrap();
        let (id, rest) = (r#""task_id":"face_verification_0""#, r#""status":"SUCCESS","result":{"verified":true}"#);
        assert_eq!(line, format!(r#"{{"image1":"a","image2":"b",{id},{rest}}}"#));
        assert!(summary(&outcome, Duration::ZERO).contains("the same person"));
    }
}
