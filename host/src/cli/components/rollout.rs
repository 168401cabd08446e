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
use crate::arguments::components::{Deploy, Operated, Rollback};
use crate::cli::operator::{Question, ask};
use crate::cli::table::{line, span, table};
use crate::config::Config;

/// Digits of a digest that are shown.
const DIGITS: usize = 12;

pub(super) async fn list(config: &Config, as_json: bool) -> anyhow::Result<ExitCode> {
    let overview = ask(config, Question::new(Method::GET, "/components")).await?;
    if as_json {
        println!("{overview}");
    } else {
        print!("{}", text(&overview));
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
    if deploy.fleet {
        question.headers.push(("visavis-fleet", "true".to_owned()));
    }
    question.body = body;
    let answer = ask(config, question).await?;
    if deploy.json {
        println!("{answer}");
        return Ok(ExitCode::SUCCESS);
    }
    if deploy.fleet {
        println!("all nodes are told (notice {}); `visavis nodes` shows who runs it", answer["notice"]);
    }
    let report = if deploy.fleet { &answer["here"] } else { &answer };
    if report.is_null() {
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

pub(super) async fn roll_back(config: &Config, rollback: &Rollback) -> anyhow::Result<ExitCode> {
    let operated = &rollback.operated;
    let mut question = Question::new(Method::POST, format!("/components/{}/rollback", operated.slot));
    if !rollback.fleet {
        return told(operated, &ask(config, question).await?);
    }
    question.headers.push(("visavis-fleet", "true".to_owned()));
    ask(config, question).await?;
    println!("all nodes are told to return to what they ran before; `visavis nodes` shows who does");
    Ok(ExitCode::SUCCESS)
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

fn text(overview: &Value) -> String {
    let mut rows = vec![["SLOT", "GEN", "DIGEST", "STATE", "SIZE", "SINCE", "FROM"].map(str::to_owned)];
    let mut row = |slot: &str, record: &Value, state: String| {
        let word = |key: &str, before: &str| record[key].as_str().map(|it| format!("{before}{it}")).unwrap_or_default();
        let from = format!("{}{}{}", word("origin", ""), word("bundle", " in "), word("signer", ", signed by "));
        rows.push([
            slot.to_owned(),
            record["generation"].to_string(),
            digest(record).to_owned(),
            state,
            format!("{} K", record["size"].as_u64().unwrap_or_default() >> 10),
            ago(&record["since"]),
            line(&from),
        ]);
    };
    for (slot, standing) in overview["slots"].as_object().into_iter().flatten() {
        row(slot, &standing["serving"], "serving".to_owned());
        let canary = &standing["canary"];
        if canary.is_object() {
            let [percent, done, of] = ["percent", "done", "of"].map(|key| &canary[key]);
            row(slot, canary, format!("canary, {percent} % of the work, {done} of {of} done"));
        }
        if standing["previous"].is_object() {
            row(slot, &standing["previous"], "previous".to_owned());
        }
    }
    let mut text = table(&rows);
    let history = overview["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !history.is_empty() {
        text.push_str("\nWhat was changed since the host started:\n");
    }
    let changes = history.iter().map(|entry| {
        let generations = entry["generations"].as_object().into_iter().flatten();
        let what: Vec<_> = generations.map(|(slot, it)| format!("{slot} {}", it["generation"])).collect();
        let why = entry["why"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
        let event = entry["event"].as_str().unwrap_or_default().replace('_', " ");
        let by = entry["by"].as_str().unwrap_or_default();
        [String::new(), ago(&entry["at"]), event, line(&format!("{} by {by}{why}", what.join(", ")))]
    });
    text + &table(&changes.collect::<Vec<_>>())
}

fn digest(record: &Value) -> &str {
    let digest = record["digest"].as_str().unwrap_or_default();
    digest.get(..DIGITS).unwrap_or(digest)
}

/// How long ago a moment was, given in seconds since the epoch.
fn ago(seconds: &Value) -> String {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.as_u64().unwrap_or_default());
    format!("{} ago", span(SystemTime::now().duration_since(then).unwrap_or_default()))
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
        let text = text(&overview);
        assert!(text.contains("scorer  3    abababababab  serving   68 K"), "{text}");
        assert!(text.contains("previous") && text.contains("rolled back  scorer 3 by me: so"), "{text}");
    }

    #[test]
    fn headers_are_ascii() {
        let text = ascii(r#"["größer","😀"]"#);
        assert!(text.is_ascii());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!(["größer", "😀"]));
    }
}
