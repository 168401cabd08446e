//! `visavis nodes`: who shares the queue, and what each runs.
//!
//! Owns what is printed. Must never know how nodes hear of each other; the host that is asked does.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::operator::{Question, ask};
use super::paint;
use super::table::{line, span, table};
use crate::arguments;
use crate::config::Config;

/// Digits of a digest that are shown.
const DIGITS: usize = 8;

/// Runs the command.
pub(crate) async fn run(config: &Config, arguments: &arguments::Nodes) -> anyhow::Result<ExitCode> {
    let answer = ask(config, Question::new(Method::GET, "/nodes")).await?;
    if arguments.json {
        println!("{answer}");
    } else {
        anstream::print!("{}", text(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &Value) -> String {
    let mut rows =
        vec![["NODE", "STATE", "ROLE", "HOST", "VERSION", "GATEWAY", "ANALYZER", "SCORER", "TOLD"].map(line)];
    let nodes = answer["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for node in nodes {
        let word = |key: &str| line(node[key].as_str().unwrap_or_default());
        let ago = span(Duration::from_secs(node["seconds_ago"].as_u64().unwrap_or_default()));
        let state = if node["alive"] == true { paint::good("alive") } else { paint::bad(&format!("silent for {ago}")) };
        let generation = |slot: &str| match &node["components"][slot] {
            Value::Null => "-".to_owned(),
            it => {
                let digest = it["digest"].as_str().unwrap_or_default();
                format!("{} {}", it["generation"], digest.get(..DIGITS).unwrap_or(digest))
            }
        };
        let host = format!("{}:{}", word("host"), node["pid"]);
        let [gateway, analyzer, scorer] = ["gateway", "analyzer", "scorer"].map(generation);
        rows.push([
            word("node"),
            state,
            word("role"),
            host,
            word("version"),
            gateway,
            analyzer,
            scorer,
            told(&node["told"]),
        ]);
    }
    table(&rows)
}

/// What a node made of what all nodes were told last.
fn told(told: &Value) -> String {
    let slots = told.as_object().into_iter().flatten();
    let words = slots.map(|(slot, it)| match it["rejected"].as_str() {
        Some(why) => line(&format!("rejected {} for {slot}: {why}", it["number"])),
        None => format!("runs {} as {slot}", it["number"]),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_are_listed_with_what_they_run() {
        let answer = json!({ "nodes": [
            { "node": "a", "alive": true, "seconds_ago": 1, "role": "all", "host": "h", "pid": 7, "version": "0.1.0",
              "components": { "scorer": { "digest": "ab".repeat(32), "generation": 3 } },
              "told": { "scorer": { "number": 2, "digest": "ab", "rejected": null } } },
            { "node": "b", "alive": false, "seconds_ago": 90, "role": "worker", "host": "h", "pid": 8, "version": "0.1.0",
              "components": {}, "told": { "scorer": { "number": 2, "digest": "ab", "rejected": "no\nway" } } },
        ] });
        let text = text(&answer);
        assert!(text.contains("3 abababab  runs 2 as scorer"), "{text}");
        assert!(text.contains("silent for 1 min") && text.contains("rejected 2 for scorer: no way"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
