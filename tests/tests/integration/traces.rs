//! One trace from a request to the end of its task, over an edge and a worker; and what neither log nor metrics nor traces hold.

use std::time::Duration;

use visavis_tests::collector::{Collector, Span};
use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::http::Client;
use visavis_tests::photos::{path, photo};
use visavis_tests::traces::Traces;

/// Spans leave in batches, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ABOVE: &str = "b7ad6b7169203331";

fn traced(setup: Setup, collector: &Collector) -> Setup {
    setup.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()).set("OTEL_BSP_SCHEDULE_DELAY", "200")
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[track_caller]
fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0]
}

/// Verifies a pair in the trace that all of this file are of.
fn verify(host: &Host) -> String {
    let traceparent = format!("00-{TRACE}-{ABOVE}-01");
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let answer = host.client().post("/verify", &form, &[("traceparent", &traceparent)]);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["task_id"].as_str().expect("an id").to_owned();
    assert_eq!(host.client().ended(&id)["status"], "SUCCESS");
    id
}

#[test]
fn one_trace_goes_from_the_request_to_the_settled_task_on_another_node() {
    let collector = Collector::start();
    let fleet =
        Fleet::new().set("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint()).set("OTEL_BSP_SCHEDULE_DELAY", "200");
    let edge = fleet.edge();
    let fleet = fleet.set("OTEL_SERVICE_NAME", "the-worker");
    let _worker = fleet.worker();
    let id = verify(&edge);

    let names = ["POST /verify", "gateway", "submit", "queue wait", "task", "score", "settle"];
    let ours = |spans: &[Span]| spans.iter().filter(|span| span.trace == TRACE).cloned().collect::<Vec<_>>();
    let spans = collector.wait_for(PATIENCE, |spans| {
        let spans = &ours(spans);
        names.iter().all(|name| !named(spans, name).is_empty())
            && named(spans, "analyze").len() == 2
            && named(spans, "inference").len() > 2
    });
    let spans = ours(&spans);
    let [request, gateway, submit, wait, task, score, settle] = names.map(|name| only(&spans, name));
    assert_eq!(request.parent, ABOVE, "the client's own span is above all");
    for (span, parent) in
        [(gateway, request), (submit, gateway), (wait, submit), (task, submit), (score, task), (settle, task)]
    {
        assert_eq!(span.parent, parent.id, "{} is below {}", span.name, parent.name);
    }
    let analyses = named(&spans, "analyze");
    let photographs: Vec<_> = analyses.iter().filter_map(|span| span.attribute("visavis.photograph")).collect();
    assert!(photographs.contains(&"1") && photographs.contains(&"2"), "{analyses:?}");
    assert!(analyses.iter().all(|span| span.parent == task.id));
    let inferences = named(&spans, "inference");
    for analysis in &analyses {
        let models = inferences.iter().filter(|span| span.parent == analysis.id);
        let models: Vec<_> = models.filter_map(|span| span.attribute("visavis.model")).collect();
        assert!(models.contains(&"mtcnn/proposal") && models.iter().any(|it| it.ends_with("/embedding")), "{models:?}");
    }
    assert!(inferences.iter().all(|span| analyses.iter().any(|it| it.id == span.parent)));
    assert_eq!(spans.len(), names.len() + 2 + inferences.len(), "{spans:?}");

    assert_eq!([request.kind, submit.kind, task.kind], [2, 4, 5]);
    assert_eq!(
        (request.attribute("http.route"), request.attribute("http.response.status_code")),
        (Some("/verify"), Some("202"))
    );
    for span in [submit, task] {
        assert_eq!(span.attribute("visavis.task.id"), Some(id.as_str()), "{}", span.name);
    }
    assert_eq!(task.attribute("visavis.task.outcome"), Some("success"));
    assert!(spans.iter().all(|span| !span.failed && span.start <= span.end), "{spans:?}");
    for (span, name, role) in [(request, "visavis", "edge"), (task, "the-worker", "worker")] {
        assert_eq!((span.sender("service.name"), span.sender("visavis.role")), (Some(name), Some(role)));
    }
}

#[test]
fn without_a_collector_a_trace_of_the_clients_is_let_be() {
    let setup = Setup::new().set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").set("OTEL_SDK_DISABLED", "true");
    let host = setup.start();
    verify(&host);
    assert!(!host.log().contains("127.0.0.1:1"), "{}", host.log());
}

#[test]
fn what_cannot_be_sent_is_told_at_the_start() {
    for (variable, value) in [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_TRACES_EXPORTER", "zipkin")] {
        let setup = Setup::new().set("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").set(variable, value);
        let output = setup.run(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(variable) && told.contains(value), "{told}");
    }
}

#[test]
fn neither_log_nor_metrics_nor_traces_hold_names_pixels_or_embeddings() {
    let collector = Collector::start();
    let setup = traced(Setup::new(), &collector)
        .set("VISAVIS_TELEMETRY__LOG", "trace")
        .set("VISAVIS_TELEMETRY__METRICS", "127.0.0.1:0");
    let host = setup.start();
    let client = host.client();
    let name = "my-secret-holiday";
    let part = |form: Form, field: &str, bytes: &[u8]| {
        form.part(&format!("name=\"{field}\"; filename=\"{name}.jpg\""), Some("image/jpeg"), bytes)
    };
    let [first, second] = ["obama.jpg", "obama2.jpg"].map(photo);
    verify(&host);
    let good = part(part(Form::new(), "image1", &first), "image2", &second);
    assert_eq!(client.verify(&good)["status"], "SUCCESS");
    let broken = part(part(Form::new(), "image1", &first[..9000]), "image2", &second);
    assert_eq!(client.verify(&broken)["error"]["code"], "invalid_image");
    // At this level the log has paths, by way of the component's calls; figures and spans never have.
    let asked = "my-unknown-path";
    assert_eq!(client.get(&format!("/{asked}")).status, 404);
    collector.wait_for(PATIENCE, |spans| named(spans, "settle").len() == 3);
    let metrics = Client::new(host.watchers()).get("/metrics").text();
    let (log, spans) = (host.log(), collector.bytes());
    assert!(log.len() > 10_000 && metrics.contains("visavis_tasks_total") && spans.len() > 1000);
    assert!(!metrics.contains(asked) && !String::from_utf8_lossy(&spans).contains(asked));

    let traces = Traces::of([first.as_slice(), second.as_slice()]);
    let numbers = embeddings(&setup);
    assert_eq!(numbers.len(), 1024);
    for (what, bytes) in [("the log", log.as_bytes()), ("the metrics", metrics.as_bytes()), ("the traces", &spans)] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(name), "{what} names a file");
        assert_eq!(traces.find(bytes), None, "{what}");
        assert_eq!(traces.find_written(&text), None, "{what}");
        // One or two may be there by chance, as parts of other figures.
        let found = numbers.iter().filter(|number| text.contains(number.as_str())).count();
        assert!(found < 8, "{what} holds {found} numbers of an embedding");
    }
}

/// The numbers of both photographs' embeddings, as they would be written, without a sign.
pub(crate) fn embeddings(setup: &Setup) -> Vec<String> {
    let numbers = vectors(setup).into_iter().flatten();
    numbers.map(|number| number.to_string().trim_start_matches('-').to_owned()).collect()
}

/// Both photographs' embeddings.
pub(crate) fn vectors(setup: &Setup) -> Vec<Vec<serde_json::Value>> {
    let output = setup.run(["analyze".into(), "--json".into(), path("obama.jpg"), path("obama2.jpg")]);
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    let faces = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("an object a line"));
    faces.map(|it| it["faces"][0]["embedding"].as_array().expect("a face").clone()).collect()
}

#[test]
fn the_search_finds_photographs_however_they_are_written() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let photograph = photo("obama.jpg");
    let traces = Traces::of([photograph.as_slice()]);
    let piece = &photograph[50_003..50_131];
    for written in [STANDARD.encode(piece), URL_SAFE_NO_PAD.encode(piece), hex::encode(piece), format!("{piece:?}")] {
        assert!(traces.find_written(&format!("{{\"x\":\"a {written} b\"}}")).is_some(), "{written}");
    }
    let escaped: String = piece.escape_ascii().to_string();
    assert!(traces.find_written(&format!("bytes b\"{escaped}\"")).is_some(), "{escaped}");
    assert_eq!(traces.find_written("nothing of the kind, [1, 2, 3], deadbeef"), None);
}
