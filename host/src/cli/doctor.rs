//! `visavis doctor`: is everything that visavis needs there, and what mends what is not?
//!
//! Owns the list of checks. Each check does what `serve` would do at start, so that they cannot disagree; but it makes
//! neither a queue nor a key, for whoever looks must not decide with which key a queue is sealed.

use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use super::paint;
use crate::app;
use crate::app::models::{self, Models};
use crate::arguments;
use crate::config::{Config, QueueUrl};
use crate::nn::{Network, Nn, Placement, Port, bf16_instructions, int8_instructions};
use crate::queue::embedded::OpenError;
use crate::queue::{Checkup, Stats};
use crate::rollout::trust::Trust;
use crate::runtime::analyzer::Analyzer;
use crate::runtime::annotator::Annotator;
use crate::runtime::gateway::Gateway;
use crate::runtime::scorer::Scorer;
use crate::runtime::{Clockwork, Slot};

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Worth knowing; `serve` may still work.
    Note,
    /// It works, but not as it should.
    Warning,
    Fail,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    level: Level,
    /// What is there, or what is wrong with the mend.
    text: String,
}

/// Runs the command: 0 when nothing fails, else 1.
pub(crate) async fn run(config: &Config, arguments: &arguments::Doctor) -> ExitCode {
    let findings = examine(config).await;
    let fine = findings.iter().all(|finding| finding.level != Level::Fail);
    if arguments.json {
        let settings: serde_json::Map<_, _> = config
            .describe()
            .into_iter()
            .map(|setting| (setting.key, json!({ "value": setting.value, "source": setting.source.to_string() })))
            .collect();
        println!("{}", json!({ "fine": fine, "findings": findings, "settings": settings }));
        return ExitCode::from(u8::from(!fine));
    }
    for Finding { what, level, text } in &findings {
        let level = match level {
            Level::Ok => paint::good("ok   "),
            Level::Note => "note ".to_owned(),
            Level::Warning => paint::fair("warn "),
            Level::Fail => paint::bad("FAIL "),
        };
        anstream::println!("{level} {what:<14} {text}");
    }
    anstream::println!("\n{}", paint::head("Settings:"));
    for setting in config.describe() {
        println!("  {:<34} {:<28} {}", setting.key, setting.value, setting.source);
    }
    let verdict = match (fine, findings.iter().any(|finding| finding.level == Level::Warning)) {
        (false, _) => paint::bad("Something is missing: see FAIL above."),
        (true, true) => paint::fair("It works, but see warn above."),
        (true, false) => paint::good("All is well."),
    };
    anstream::println!("\n{verdict}");
    ExitCode::from(u8::from(!fine))
}

async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = vec![finding("processor", Ok(processor(config)))];
    match Models::find(config) {
        Ok(chosen) => {
            findings.push(finding("models", chosen.verify()));
            let (choice, against) = chosen.choice();
            findings.push(finding("embedder", Ok(choice)));
            findings.extend(against.map(|text| Finding { what: "embedder", level: Level::Warning, text }));
            match models::start_nn(config, &chosen) {
                Ok(nn) => {
                    findings.push(finding("inference", Ok(inference(&nn))));
                    findings.extend(nn.graphs().map(|graph| finding("graph", Ok(placement(graph)))));
                }
                Err(error) => findings.push(finding("inference", Err(error))),
            }
        }
        Err(error) => findings.push(finding("models", Err(error))),
    }
    findings.extend(components(config));
    findings.push(signatures(config));
    findings.extend(watched_folder(config));
    findings.extend(queue(config).await);
    findings.push(webhooks(config));
    findings.push(access(config));
    findings.push(listener(config).await);
    findings
}

fn processor(config: &Config) -> String {
    #[cfg(target_arch = "x86_64")]
    let features =
        [("AVX2", std::is_x86_feature_detected!("avx2")), ("AVX-512", std::is_x86_feature_detected!("avx512f"))];
    #[cfg(not(target_arch = "x86_64"))]
    let features = [("SIMD", true)];
    let present: Vec<_> = features.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
    let present: Vec<_> = present.into_iter().chain(int8_instructions()).chain(bf16_instructions()).collect();
    format!(
        "{}, {}; {}; {} inferences at once with {} threads each",
        std::env::consts::ARCH,
        if present.is_empty() { "no vector extensions".to_owned() } else { present.join(" ") },
        config.describe_concurrency(),
        config.sessions(),
        config.threads()
    )
}

fn inference(nn: &Nn) -> String {
    let graphs: Vec<_> = nn.graphs().map(signature).collect();
    format!("{} on {} runs {}", nn.backend(), nn.device(), graphs.join("; "))
}

/// What runs a graph, and why: `mtcnn/proposal on ONNX Runtime 1.31.1: nn.backend names it`.
fn placement(graph: &Network) -> String {
    let Placement { title, why } = graph.placement();
    format!("{} on {title}: {why}", graph.name())
}

/// A graph with its tensors: `mtcnn/proposal (input ... -> probability ..., regression ...)`.
fn signature(graph: &Network) -> String {
    let listed = |ports: &[Port]| {
        let ports: Vec<_> = ports.iter().map(|port| format!("{} {port}", port.name)).collect();
        ports.join(", ")
    };
    let (inputs, outputs) = (listed(graph.inputs()), listed(graph.outputs()));
    format!("{} ({inputs} -> {outputs})", graph.name())
}

fn components(config: &Config) -> Vec<Finding> {
    let components = &config.components;
    let (clockwork, cache) = match (Clockwork::start(app::sizes(config)), app::cache(config)) {
        (Ok(clockwork), Ok(cache)) => (clockwork, cache),
        (Err(error), _) => return vec![finding("runtime", Err(anyhow!("{error:#}")))],
        (_, Err(error)) => return vec![finding("compiled code", Err(error.into()))],
    };
    let (engine, cache) = (&clockwork, &cache);
    let gateway = app::candidate(Slot::Gateway, &components.gateway).and_then(|it| Gateway::load(engine, cache, it));
    let analyzer =
        app::candidate(Slot::Analyzer, &components.analyzer).and_then(|it| Analyzer::load(engine, cache, it));
    let scorer = app::candidate(Slot::Scorer, &components.scorer).and_then(|it| Scorer::load(engine, cache, it));
    let annotator =
        app::candidate(Slot::Annotator, &components.annotator).and_then(|it| Annotator::load(engine, cache, it));
    let digests = [
        ("gateway", gateway.map(|gateway| gateway.generation().digest.clone())),
        ("analyzer", analyzer.map(|analyzer| analyzer.generation().digest.clone())),
        ("scorer", scorer.map(|scorer| scorer.generation().digest.clone())),
        ("annotator", annotator.map(|annotator| annotator.generation().digest.clone())),
    ];
    let findings = digests.map(|(slot, digest)| {
        finding(slot, digest.map(|digest| format!("fits its world; SHA-256 {digest}")).map_err(Into::into))
    });
    findings.into()
}

fn signatures(config: &Config) -> Finding {
    match Trust::load(&config.components.trusted_keys) {
        Ok(trust) if trust.is_empty() => {
            let text = "components.trusted_keys names no key: what is deployed needs no signature".to_owned();
            Finding { what: "signatures", level: Level::Note, text }
        }
        Ok(trust) => finding("signatures", Ok(format!("what is deployed must be signed by {}", trust.ids()))),
        Err(error) => finding("signatures", Err(error.into())),
    }
}

/// Says nothing when there is none to be watched.
fn watched_folder(config: &Config) -> Option<Finding> {
    let watched = app::watched_folder(config).map(|folder| folder.is_some());
    let path = config.components.watch.as_ref()?.display();
    Some(finding("watched folder", watched.map(|_| format!("what is left in {path} is deployed"))))
}

async fn queue(config: &Config) -> Vec<Finding> {
    match app::examine_queue(config).await {
        Ok(Checkup { stats, keys, warnings }) => {
            let url = &config.queue.url;
            let queue = match stats {
                Some(Stats { waiting, running, ended, dead, webhooks }) => {
                    let counts = format!(
                        "{waiting} tasks wait, {running} run, {ended} ended, {dead} of them dead, {webhooks} with a webhook to be sent"
                    );
                    finding("queue", Ok(format!("{url} can be written: {counts}")))
                }
                None => finding("queue", Ok(format!("{url} is not there yet; the first start makes it"))),
            };
            let warnings = warnings.into_iter().map(|text| Finding { what: "queue", level: Level::Warning, text });
            [queue, key_file(config, keys)].into_iter().chain(warnings).collect()
        }
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::Locked { .. })) => {
            vec![Finding { what: "queue", level: Level::Note, text: format!("{error:#}") }]
        }
        Err(error) => vec![finding("queue", Err(error))],
    }
}

fn key_file(config: &Config, keys: usize) -> Finding {
    let file = config.queue.encryption_key_file.display();
    match keys {
        0 => {}
        1 => return finding("key file", Ok(format!("photographs are sealed with {file}"))),
        several => {
            let text = format!("{file} holds {several} keys: photographs are sealed with the first, and all open them");
            return finding("key file", Ok(text));
        }
    }
    let others = match config.queue.url {
        QueueUrl::File(_) => "",
        QueueUrl::Redis(_) => "; all nodes of a queue need the same, so copy that of a node that runs, if there is one",
    };
    let text = format!("{file} is not there yet; the first start makes it{others}");
    Finding { what: "key file", level: Level::Note, text }
}

fn webhooks(config: &Config) -> Finding {
    match app::webhooks::examine(config) {
        Ok(None) => {
            let text = "webhooks.allow names no host: a callback_url is refused".to_owned();
            Finding { what: "webhooks", level: Level::Note, text }
        }
        examined => finding("webhooks", examined.map(Option::unwrap_or_default)),
    }
}

fn access(config: &Config) -> Finding {
    finding("access", app::access::keyring(config).map(|keys| app::access::describe(config, keys.as_deref())))
}

async fn listener(config: &Config) -> Finding {
    let listen = config.server.listen;
    match TcpListener::bind(listen).await {
        Ok(_) => finding("listener", Ok(format!("{listen} is free"))),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let text = format!("{listen} is in use: visavis runs already, or another program does; set server.listen");
            Finding { what: "listener", level: Level::Note, text }
        }
        Err(error) => finding("listener", Err(anyhow!("cannot listen on {listen}: {error}; set server.listen"))),
    }
}

fn finding(what: &'static str, result: anyhow::Result<String>) -> Finding {
    match result {
        Ok(text) => Finding { what, level: Level::Ok, text },
        Err(error) => Finding { what, level: Level::Fail, text: format!("{error:#}") },
    }
}
