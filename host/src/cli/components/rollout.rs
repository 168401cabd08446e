//! `visavis components list`, `deploy`, `rollback`, `reset`: what a running host is asked to run.
//!
//! Owns what is printed of the answers. Must never judge a component; the host does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::Value;

use super::{read, read_text, signature_of};
use crate::arguments::components::{Deploy, Operated};
use crate::cli::operator::{Question, ask};
use crate::config::Config;

/// Digits of a digest that are shown.
const DIGITS: usize = 12;

pub(super) async fn list(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let overview = ask(config, Question::new(Method::GET, "/components")).await?;
    if as_json {
        println!("{overview}");
    } else {
        print!("{}", table(&overview));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn deploy(config: &Config, deploy: &Deploy) -> anyhow::Result<ExitCode> {
    let body = read(&deploy.file)?;
    let mut question = Question::new(Method::PUT, format!("/components/{}", deploy.slot));
    if let Some(signature) = signature(&deploy.file, deploy.signature.as_ref())? {
        question.headers.push(("visavis-signature", STANDARD.encode(signature)));
    }
    if let Some(percent) = deploy.canary {
        question.headers.push(("visavis-canary", percent.to_string()));
    }
    if !deploy.expected_changes.is_empty() {
        let names = Value::from(deploy.expected_changes.clone());
        question.headers.push(("visavis-expected-changes", ascii(&names.to_string())));
    }
    if let Some(by) = std::env::var_os("USER").and_then(|user| user.into_string().ok()).filter(|user| user.is_ascii()) {
        question.headers.push(("visavis-by", by));
    }
    question.body = body;
    let report = ask(config, question).await?;
    if deploy.json {
        println!("{report}");
        return Ok(ExitCode::SUCCESS);
    }
    let generations = report["generations"].as_object().into_iter().flatten();
    for (slot, record) in generations {
        let (number, digest) = (&record["generation"], digest(record));
        match report["state"].as_str() {
            Some("canary") => println!("{slot}: generation {number} ({digest}) is tried as a canary"),
            _ => println!("{slot}: generation {number} ({digest}) serves"),
        }
    }
    let gate = &report["gate"];
    println!(
        "gate: {} of {} answers as recorded, in {:.0} ms; {:.0} ms in all",
        gate["cases"].as_u64().unwrap_or(0) - gate["differences"].as_array().map_or(0, |it| it.len() as u64),
        gate["cases"],
        gate["milliseconds"].as_f64().unwrap_or_default(),
        report["milliseconds"].as_f64().unwrap_or_default(),
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn roll_back(config: &Config, operated: &Operated) -> anyhow::Result<ExitCode> {
    let path = format!("/components/{}/rollback", operated.slot);
    let serving = ask(config, Question::new(Method::POST, path)).await?;
    told(operated, &serving)
}

pub(super) async fn reset(config: &Config, operated: &Operated) -> anyhow::Result<ExitCode> {
    let path = format!("/components/{}", operated.slot);
    let report = ask(config, Question::new(Method::DELETE, path)).await?;
    told(operated, &report["generations"])
}

fn told(operated: &Operated, serving: &Value) -> anyhow::Result<ExitCode> {
    if operated.json {
        println!("{serving}");
    } else {
        let record = &serving[&operated.slot];
        println!("{}: generation {} ({}) serves", operated.slot, record["generation"], digest(record));
    }
    Ok(ExitCode::SUCCESS)
}

/// The signature to send: the named file, else FILE.minisig if it is there.
fn signature(file: &Path, named: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    match named {
        Some(path) => read_text(path).map(Some),
        None => {
            let path = signature_of(file);
            if path.exists() { read_text(&path).map(Some) } else { Ok(None) }
        }
    }
}

/// JSON in ASCII, as a header can hold it.
fn ascii(json: &str) -> String {
    let mut text = String::new();
    for unit in json.encode_utf16() {
        match char::from_u32(u32::from(unit)).filter(char::is_ascii) {
            Some(character) => text.push(character),
            // Writing into a string cannot fail.
            None => _ = write!(text, "\\u{unit:04x}"),
        }
    }
    text
}

fn table(overview: &Value) -> String {
    let mut text = format!(
        "{:<9} {:>4}  {:<12}  {:<10} {:>9}  {:<10} {}\n",
        "SLOT", "GEN", "DIGEST", "STATE", "SIZE", "SINCE", "FROM"
    );
    let mut line = |slot: &str, record: &Value, state: &str| {
        let bundle = record["bundle"].as_str().map(|bundle| format!(" in {bundle}")).unwrap_or_default();
        let signer = record["signer"].as_str().map(|signer| format!(", signed by {signer}")).unwrap_or_default();
        let _ = writeln!(
            text,
            "{slot:<9} {:>4}  {:<12}  {state:<10} {:>7} K  {:<10} {}{bundle}{signer}",
            record["generation"].as_u64().unwrap_or_default(),
            digest(record),
            record["size"].as_u64().unwrap_or_default() >> 10,
            ago(record["since"].as_u64().unwrap_or_default()),
            record["origin"].as_str().unwrap_or_default(),
        );
    };
    for (slot, standing) in overview["slots"].as_object().into_iter().flatten() {
        line(slot, &standing["serving"], "serving");
        let canary = &standing["canary"];
        if canary.is_object() {
            line(slot, canary, &format!("canary {}%", canary["percent"]));
        }
        if standing["previous"].is_object() {
            line(slot, &standing["previous"], "previous");
        }
    }
    let history = overview["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !history.is_empty() {
        text.push_str("\nWhat was changed since the host started:\n");
    }
    for entry in history {
        let generations = entry["generations"].as_object().into_iter().flatten();
        let what: Vec<_> = generations.map(|(slot, it)| format!("{slot} {}", it["generation"])).collect();
        let why = entry["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        let event = entry["event"].as_str().unwrap_or_default().replace('_', " ");
        let (at, by) = (ago(entry["at"].as_u64().unwrap_or_default()), entry["by"].as_str().unwrap_or_default());
        let _ = writeln!(text, "  {at:<10} {event:<11} {} by {by}{why}", what.join(", "));
    }
    text
}

fn digest(record: &Value) -> &str {
    let digest = record["digest"].as_str().unwrap_or_default();
    digest.get(..DIGITS).unwrap_or(digest)
}

/// How long ago a moment was, in the largest unit that fits.
fn ago(seconds: u64) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let passed = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match passed {
        0..60 => format!("{passed} s ago"),
        60..3600 => format!("{} min ago", passed / 60),
        3600..86_400 => format!("{} h ago", passed / 3600),
        _ => format!("{} d ago", passed / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_overview_reads_as_a_table() {
        let record = json!({ "generation": 3, "digest": "ab".repeat(32), "size": 70_000, "since": 0, "origin": "me" });
        let overview = json!({
            "slots": { "scorer": { "serving": record, "previous": record } },
            "history": [{ "at": 0, "event": "rolled_back", "generations": { "scorer": record }, "by": "me", "why": "so" }],
        });
        let text = table(&overview);
        assert!(text.contains("scorer       3  abababababab  serving         68 K"), "{text}");
        assert!(text.contains("previous") && text.contains("rolled back scorer 3 by me: so"), "{text}");
    }

    #[test]
    fn headers_are_ascii() {
        let text = ascii(r#"["größer","😀"]"#);
        assert!(text.is_ascii());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!(["größer", "😀"]));
    }
}
