//! What Prometheus finds: figures of what was done, on the operators' listener and on one of their own, and files that ask for
//! nothing that is not there.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup, repository};
use visavis_tests::http::{Answer, Client};
use visavis_tests::photos::{self, small};

const METRICS: &str = "VISAVIS_TELEMETRY__METRICS";

fn scrape(host: &Host) -> String {
    let answer = Client::new(host.watchers()).get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text()
}

/// The figure of the series that begins so.
#[track_caller]
fn figure(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{metrics}")).parse().expect("a figure is a number")
}

/// A host that has done one task well and one badly, and refused something.
fn busy_host() -> Host {
    let host = Setup::new().set(METRICS, "127.0.0.1:0").set("VISAVIS_VERIFY__CACHE", "1MiB").start();
    let client = host.client();
    assert_eq!(client.verify(&Form::photos("obama.jpg", "obama2.jpg"))["status"], "SUCCESS");
    let failed = client.verify(&Form::photos("obama.jpg", "coffee.png"));
    assert_eq!(failed["error"]["code"], "no_face", "{failed}");
    assert_eq!(client.get("/status/face_verification_0").status, 404);
    assert_eq!(client.get("/my-holiday.jpg").status, 404);
    host
}

#[test]
fn what_was_done_is_counted() {
    let host = busy_host();
    let metrics = scrape(&host);
    let requests = |method: &str, route: &str, status: &str| {
        format!(
            r#"visavis_http_requests_total{{listener="public",method="{method}",route="{route}",status="{status}"}}"#
        )
    };
    for (series, expected) in [
        (requests("GET", "/status/{task_id}", "4xx").as_str(), 1.0),
        (&requests("GET", "other", "4xx"), 1.0),
        (r#"visavis_task_submissions_total{outcome="accepted"}"#, 2.0),
        (r#"visavis_tasks_total{code="none",outcome="success"}"#, 1.0),
        (r#"visavis_tasks_total{code="no_face",outcome="failure"}"#, 1.0),
        (r#"visavis_tasks_total{code="processing_failed",outcome="dead"}"#, 0.0),
        ("visavis_task_queue_wait_seconds_count", 2.0),
        (r#"visavis_task_duration_seconds_count{outcome="success"}"#, 1.0),
        (r#"visavis_step_duration_seconds_count{step="decode"}"#, 3.0),
        (r#"visavis_step_duration_seconds_count{step="score"}"#, 2.0),
        (r#"visavis_cache_lookups_total{result="hit"}"#, 1.0),
        (r#"visavis_cache_lookups_total{result="miss"}"#, 3.0),
        (r#"visavis_component_calls_total{outcome="ok",slot="analyzer"}"#, 3.0),
        (r#"visavis_component_generation{slot="scorer"}"#, 1.0),
        ("visavis_queue_up", 1.0),
        (r#"visavis_queue_tasks{state="waiting"}"#, 0.0),
        (r#"visavis_queue_tasks{state="ended"}"#, 2.0),
        ("visavis_queue_oldest_task_age_seconds", 0.0),
        (r#"visavis_build_info{role="all",version="0.1.0"}"#, 1.0),
    ] {
        assert_eq!(figure(&metrics, series), expected, "{series}");
    }
    // An instance is cleared after its answer has left.
    let deadline = Instant::now() + Duration::from_secs(60);
    while figure(&scrape(&host), r#"visavis_component_instances{slot="analyzer"}"#) > 0.0 {
        assert!(Instant::now() < deadline, "an instance is left");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        figure(&metrics, "process_resident_memory_bytes") > 50e6 && figure(&metrics, "process_cpu_seconds_total") > 0.0
    );
    assert!(figure(&metrics, r#"visavis_inference_batch_rows_count{model="mtcnn/output"}"#) >= 2.0);
    assert!(metrics.contains(r#"visavis_model_info{digest=""#) && metrics.contains(r#"name="mtcnn/output"} 1"#));
    for private in ["my-holiday", "face_verification_", "127.0.0.1", "obama"] {
        assert!(!metrics.contains(private), "a label is {private}");
    }
}

#[test]
fn a_swap_and_the_way_back_are_counted() {
    let host = Setup::new().set(METRICS, "127.0.0.1:0").start();
    let scorer = std::fs::read(photos::assets().join("components/scorer.wasm")).unwrap();
    let deployed = host.operator().deploy("scorer", &scorer, &Default::default());
    assert_eq!(deployed.status, 200, "{}", deployed.text());
    assert_eq!(figure(&scrape(&host), r#"visavis_component_generation{slot="scorer"}"#), 2.0);
    assert_eq!(host.operator().send("POST", "/components/scorer/rollback", &[], &[]).status, 200);
    let metrics = scrape(&host);
    for (event, count) in [("deployed", 1.0), ("rolled_back", 1.0), ("refused", 0.0)] {
        assert_eq!(
            figure(&metrics, &format!(r#"visavis_component_changes_total{{event="{event}"}}"#)),
            count,
            "{event}"
        );
    }
    assert_eq!(figure(&metrics, r#"visavis_component_generation{slot="scorer"}"#), 1.0);
}

#[test]
fn who_watches_may_look_and_nothing_else() {
    let host = Setup::new().set(METRICS, "127.0.0.1:0").start();
    let watcher = Client::new(host.watchers());
    let status = |answer: Answer| (answer.status, answer.text());
    assert_eq!(status(watcher.get("/healthz")), (200, "ok\n".to_owned()));
    assert_eq!(status(watcher.get("/readyz")), (200, "ready\n".to_owned()));
    assert_eq!(watcher.send("HEAD", "/metrics", &[], &[]).status, 200);
    for (method, path, expected) in [
        ("POST", "/metrics", 405),
        ("POST", "/drain", 404),
        ("GET", "/components", 404),
        ("GET", "/", 404),
        ("PUT", "/healthz", 405),
    ] {
        let answer = watcher.send(method, path, &[], &[]);
        assert_eq!(answer.status, expected, "{method} {path}");
        assert!(expected != 405 || answer.header("allow") == Some("GET, HEAD"), "{:?}", answer.headers);
        answer.problem();
    }
    // On the loopback, operators' metrics need no token, and all else of theirs does.
    let stranger = Client::new(host.operators());
    assert!(stranger.get("/metrics").text().contains("visavis_build_info"));
    for (method, path) in [("GET", "/components"), ("POST", "/metrics"), ("GET", "/metrics/"), ("POST", "/drain")] {
        assert_eq!(stranger.send(method, path, &[], &[]).status, 401, "{method} {path}");
    }
}

#[test]
fn a_worker_tells_how_long_the_line_is_and_whether_it_can_work() {
    let mut fleet = Fleet::new();
    let edge = fleet.node().set(METRICS, "127.0.0.1:0").start_with(&["--queue", &fleet.redis.url(), "--role", "edge"]);
    edge.client().submit(&Form::pair(&small("obama.jpg", 100), &small("obama2.jpg", 100)));
    std::thread::sleep(Duration::from_millis(50));
    let metrics = scrape(&edge);
    assert_eq!(figure(&metrics, r#"visavis_queue_tasks{state="waiting"}"#), 1.0);
    assert!(figure(&metrics, "visavis_queue_oldest_task_age_seconds") > 0.0);
    assert!(metrics.contains(r#"role="edge""#) && !metrics.contains("visavis_model_info"), "{metrics}");
    fleet.redis.kill();
    let watcher = Client::new(edge.watchers());
    let deadline = Instant::now() + Duration::from_secs(60);
    while watcher.get("/readyz").status != 503 {
        assert!(Instant::now() < deadline, "the queue is away, and nobody is told");
        std::thread::sleep(Duration::from_millis(50));
    }
    let metrics = scrape(&edge);
    assert_eq!(figure(&metrics, "visavis_queue_up"), 0.0);
    assert!(!metrics.contains("visavis_queue_tasks"), "what is not known is not told");
    assert_eq!(watcher.get("/healthz").status, 200, "the process lives");
}

/// Every name of a metric in a text that is no PromQL function, keyword or label.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("visavis_") || word.starts_with("process_")).map(str::to_owned).collect()
}

fn file(name: &str) -> (PathBuf, String) {
    let path = repository().join("packaging").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (path, text)
}

#[test]
fn dashboard_and_rules_ask_for_what_there_is() {
    let host = busy_host();
    host.operator().send("GET", "/components", &[], &[]);
    let metrics = scrape(&host);
    // A histogram is asked for by its parts; its name alone is no series.
    let known = names(&metrics.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n"));
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json").1).expect("a dashboard is JSON");
    let mut asked = names(&file("prometheus-rules.yml").1);
    let mut panels = 0;
    for panel in dashboard["panels"].as_array().expect("a dashboard has panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.extend(names(target["expr"].as_str().expect("a target asks for something")));
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            panels += 1;
        }
    }
    assert!(panels > 10 && asked.len() > 15, "{panels} {asked:?}");
    let missing: Vec<_> = asked.difference(&known).collect();
    assert!(missing.is_empty(), "nobody tells {missing:?}");
    let variables: Vec<_> = dashboard["templating"]["list"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert!(variables.contains(&&Value::from("datasource")), "{variables:?}");
}

/// promtool, as set-up has found it; says so when there is none.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let unpacked = repository().join("target/visavis-tests/promtool");
    let program = if unpacked.is_file() { unpacked } else { PathBuf::from("promtool") };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: there is no promtool; on Debian it comes with the package prometheus");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

#[track_caller]
fn content(output: &Output) {
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
}

#[test]
fn promtool_finds_no_fault_with_metrics_and_rules() {
    let host = busy_host();
    let Some(checked) = promtool(&["check", "metrics"], &scrape(&host)) else { return };
    content(&checked);
    assert!(checked.stderr.is_empty(), "{}", String::from_utf8_lossy(&checked.stderr));
    let rules = file("prometheus-rules.yml").0.to_string_lossy().into_owned();
    content(&promtool(&["check", "rules", &rules], "").unwrap());
    let cases = file("prometheus-rules.test.yml").0.to_string_lossy().into_owned();
    content(&promtool(&["test", "rules", &cases], "").unwrap());
    // What the dashboard asks for is looked through as if it were rules.
    let dashboard: Value = serde_json::from_str(&file("grafana-dashboard.json").1).expect("a dashboard is JSON");
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|it| it["targets"].as_array().into_iter().flatten());
    let records = targets.enumerate().map(|(number, target)| {
        let asked = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        serde_json::json!({ "record": format!("panel{number}"), "expr": asked })
    });
    let rules = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": records.collect::<Vec<_>>() }] });
    let copy = photos::saved(host.setup().folder(), "dashboard.yml", rules.to_string().as_bytes());
    content(&promtool(&["check", "rules", &copy.to_string_lossy()], "").unwrap());
    let wrong = promtool(&["check", "metrics"], "visavis_things 1\n# TYPE visavis_things counter\n").unwrap();
    assert!(!wrong.status.success(), "promtool does check");
}
