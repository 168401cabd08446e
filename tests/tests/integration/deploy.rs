//! The files in `deploy/`, held to the program that they start: settings that exist, paths that answer, one version, and time
//! enough to end. What only an engine can tell, they are not asked.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use visavis_tests::host::{Setup, repository, shared};
use visavis_tests::http::Client;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("the repository has this file")
}

/// The documents of a YAML file, read by the parser that Schemathesis brings.
fn documents(path: &str) -> Vec<Value> {
    let tools = repository().join("target/visavis-tests/schemathesis");
    assert!(tools.is_dir(), "{} is missing: run `cargo xtask setup --tests`", tools.display());
    let program = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let mut python = Command::new("python3");
    python.args(["-c", program]).arg(repository().join(path)).env("PYTHONPATH", tools);
    let output = python.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python3 starts");
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The deployments of the manifest, by name.
fn deployment(name: &str) -> Value {
    let all = documents("deploy/kubernetes.yaml");
    let found = all.iter().find(|it| it["kind"] == "Deployment" && it["metadata"]["name"] == name);
    found.expect("the manifest has this deployment").clone()
}

#[test]
fn every_setting_is_one_that_the_host_knows() {
    let text = ["Dockerfile", "compose.yaml", "kubernetes.yaml"].map(|file| read(&format!("deploy/{file}"))).concat();
    // Comments may name what is no setting.
    let text: String =
        text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect();
    let letters = |character: char| character.is_ascii_uppercase() || character == '_';
    let named: BTreeSet<_> = text
        .match_indices("VISAVIS_")
        .map(|(at, _)| text[at..].chars().take_while(|it| letters(*it)).collect::<String>())
        .collect();
    assert!(named.contains("VISAVIS_QUEUE__URL") && named.len() > 5, "{named:?}");
    let doctor = Setup::new().run(["doctor", "--json"]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let known: BTreeSet<_> =
        doctor["settings"].as_object().expect("doctor lists every setting").keys().cloned().collect();
    for variable in named {
        let key = variable["VISAVIS_".len()..].to_lowercase().replace("__", ".");
        assert!(known.contains(&key), "{variable} is no setting: {known:?}");
    }
}

#[test]
fn all_name_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("deploy/Dockerfile").contains(&format!("ARG ARCHIVE=visavis-{version}-linux-x86_64\n")));
    for file in ["deploy/Dockerfile", "deploy/compose.yaml", "deploy/kubernetes.yaml", "docs/containers.md"] {
        let text = read(file);
        let images =
            text.match_indices("visavis:").filter_map(|(at, it)| text[at + it.len()..].split_whitespace().next());
        let others: Vec<_> =
            images.filter(|it| it.starts_with(|c: char| c.is_ascii_digit()) && *it != version).collect();
        assert!(others.is_empty(), "{file}: {others:?}");
    }
}

#[test]
fn pods_are_probed_where_the_host_answers_and_have_time_to_end() {
    let edge = deployment("visavis-edge");
    let pod = &edge["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert_eq!(shared().client().get(path).status, 200, "{probe}");
    }
    let watched = Setup::new().set("VISAVIS_TELEMETRY__METRICS", "127.0.0.1:0").start();
    let worker = deployment("visavis-worker");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &worker["spec"]["template"]["spec"]["containers"][0][probe]["httpGet"];
        assert_eq!(asked["port"], "metrics", "{probe}: a worker has no other listener");
        let path = asked["path"].as_str().expect("a path");
        assert_eq!(Client::new(watched.watchers()).get(path).status, 200, "{probe}");
    }
    // A Redis that is away must not restart an edge.
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    let configuration = documents("deploy/kubernetes.yaml").swap_remove(0);
    let drain = configuration["data"]["VISAVIS_SERVER__DRAIN_TIMEOUT"].as_str().expect("it is set");
    let drain: u64 = drain.trim_end_matches('s').parse().expect("seconds");
    let pause: u64 =
        container["lifecycle"]["preStop"]["exec"]["command"][1].as_str().unwrap().parse().expect("seconds");
    assert!(pod["terminationGracePeriodSeconds"].as_u64().expect("it is set") > drain + pause);
    for name in ["visavis-edge", "visavis-worker"] {
        let pod = &deployment(name)["spec"]["template"]["spec"];
        assert_eq!(pod["enableServiceLinks"], false, "{name}: variables of services are no settings");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        assert!(pod["containers"][0]["resources"]["limits"]["memory"].is_string(), "{name}");
    }
}

#[test]
fn the_health_check_of_the_compose_file_tells_ready_from_not() {
    let compose = documents("deploy/compose.yaml").swap_remove(0);
    let test = compose["services"]["node"]["healthcheck"]["test"].as_array().expect("a command");
    let words: Vec<_> = test.iter().map(|it| it.as_str().expect("a word")).collect();
    assert_eq!(words[..2], ["CMD", "visavis"]);
    // In a container all addresses are listened to.
    assert!(read("deploy/Dockerfile").contains("VISAVIS_SERVER__LISTEN=0.0.0.0:8080"));
    let ask = |port: u16| {
        let setup = Setup::new().set("VISAVIS_SERVER__LISTEN", &format!("0.0.0.0:{port}"));
        let output = setup.run(&words[2..]);
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    assert_eq!(ask(shared().address().port()), (Some(0), "ready\n".to_owned()));
    // It listens and has no Redis: alive, but not ready.
    let setup = Setup::new().set("VISAVIS_TELEMETRY__METRICS", "127.0.0.1:0");
    let watched = setup.start();
    let away = setup.start_unready(&["--queue", "redis://127.0.0.1:1", "--role", "edge"]);
    assert_eq!(away.client().get("/healthz").status, 200);
    let (status, told) = ask(away.address().port());
    assert!(status == Some(1) && told.contains("answered 503") && told.contains("queue_unavailable"), "{told}");
    let alive = format!("http://{}/healthz", away.address());
    assert_eq!(Setup::new().run(["health", "--url", &alive]).status.code(), Some(0));
    // A worker is asked where its metrics are.
    let test = compose["services"]["worker"]["healthcheck"]["test"].as_array().expect("a command");
    let words: Vec<_> = test.iter().map(|it| it.as_str().expect("a word")).collect();
    assert_eq!(words[..2], ["CMD", "visavis"]);
    assert!(read("deploy/compose.yaml").contains("VISAVIS_TELEMETRY__METRICS: 0.0.0.0:9464"));
    let ask_worker = |port: u16| {
        let words = words[2..].iter().map(|word| word.replace(":9464", &format!(":{port}")));
        setup.run(words.collect::<Vec<_>>()).status.code()
    };
    assert_eq!(ask_worker(away.watchers().port()), Some(1));
    assert_eq!(ask_worker(watched.watchers().port()), Some(0));
    let port = away.address().port();
    drop(away);
    let (status, told) = ask(port);
    assert!(status == Some(1) && told.contains("nobody answers"), "{told}");
    let worker = Setup::new().set("VISAVIS_SERVER__ROLE", "worker").run(["health"]);
    let told = String::from_utf8_lossy(&worker.stderr).into_owned();
    assert!(worker.status.code() == Some(1) && told.contains("--url"), "{told}");
}
