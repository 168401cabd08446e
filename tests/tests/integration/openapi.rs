//! The OpenAPI document against the host that serves it: by Schemathesis, which makes up requests from it, and against real
//! results and the codes in the host's sources.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use visavis_tests::form::Form;
use visavis_tests::host::{Setup, repository, shared};
use visavis_tests::photos::{saved, small};

fn document() -> Value {
    let answer = shared().client().get("/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

#[test]
fn no_answer_is_undocumented() {
    let tool = repository().join("target/visavis-tests/schemathesis");
    assert!(tool.is_dir(), "{} is missing: run `cargo xtask setup --tests`", tool.display());
    // Most submissions hold no photograph and end at once; none shall be refused because others wait.
    let host = Setup::new()
        .set("VISAVIS_QUEUE__MAX_LENGTH", "100000")
        .set("VISAVIS_WEBHOOKS__ALLOW", "http://127.0.0.1:1")
        .set("VISAVIS_WEBHOOKS__RETRY_FOR", "1s")
        .start();
    let folder = TempDir::new().expect("a folder");
    // Which addresses are taken is the operator's list: here one, at which nobody listens.
    let mut schema = document();
    let listed = "http://127.0.0.1:1/ended";
    for (form, taken) in [("Form", json!([listed])), ("Submission", json!([listed, null]))] {
        let url = &mut schema["components"]["schemas"][form]["properties"]["callback_url"];
        assert_eq!(url["format"], "uri", "{form}");
        *url = json!({ "enum": taken });
    }
    let schema = saved(folder.path(), "openapi.json", schema.to_string().as_bytes());
    let output = Command::new("python3")
        .args(["-m", "schemathesis.cli", "run", &schema.to_string_lossy()])
        .args(["--url", &format!("http://{}", host.address())])
        // A revoked task is told as such and not as unknown, so what was deleted is there on purpose.
        .args(["--exclude-checks", "use_after_free"])
        // The same requests every time; and patience, since some of them wait for a task.
        .args(["--generation-deterministic", "--request-timeout", "90", "--no-color"])
        .env("PYTHONPATH", &tool)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // What it keeps between runs goes here.
        .current_dir(folder.path())
        .output()
        .expect("python3 starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let operations = document()["paths"].as_object().expect("paths").values().map(operations).sum::<usize>();
    assert!(told.contains(&format!("Tested: {operations}")), "not every operation was tried: {told}");
    assert!(host.is_running());
}

fn operations(path: &Value) -> usize {
    path.as_object().expect("a path").keys().filter(|key| ["get", "post", "delete"].contains(&key.as_str())).count()
}

#[test]
fn a_real_result_has_the_shape_of_the_example() {
    let document = document();
    let example = &document["paths"]["/status/{task_id}"]["get"]["responses"]["200"]["content"]["application/json"]["examples"]
        ["one_person"]["value"];
    let form = Form::pair(&small("obama.jpg", 500), &small("obama2.jpg", 500));
    let mut wrong = Vec::new();
    compare("", example, &shared().client().verify(&form), &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Notes members that only one of two values has, and values of different types.
fn compare(place: &str, example: &Value, found: &Value, wrong: &mut Vec<String>) {
    match (example, found) {
        (Value::Object(example), Value::Object(found)) => {
            let names: BTreeSet<_> = example.keys().chain(found.keys()).collect();
            for name in names {
                match (example.get(name), found.get(name)) {
                    (Some(example), Some(found)) => compare(&format!("{place}/{name}"), example, found, wrong),
                    (Some(_), None) => wrong.push(format!("{place}/{name} is only in the example")),
                    _ => wrong.push(format!("{place}/{name} is only in the result")),
                }
            }
        }
        (Value::Array(example), Value::Array(found)) => {
            for (index, found) in found.iter().enumerate() {
                compare(&format!("{place}/{index}"), &example[index % example.len()], found, wrong);
            }
        }
        _ if std::mem::discriminant(example) == std::mem::discriminant(found) => {}
        _ => wrong.push(format!("{place} is {found}, in the example {example}")),
    }
}

/// The words that stand in a source behind each `before`, up to the next quotation mark.
fn words_behind(source: &str, before: &str) -> BTreeSet<String> {
    source
        .split(before)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_code_of_the_host_is_documented() {
    let document = document();
    let read = |path: &str| {
        let text = fs::read_to_string(repository().join(path)).expect("the host has this source");
        // Without line breaks, so that a call over several lines reads as one in a line.
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let errors = words_behind(&read("host/src/task.rs"), "=> \"");
    assert!(errors.len() >= 9 && errors.contains("no_face"), "{errors:?}");
    let known = &document["components"]["schemas"]["Error"]["properties"]["code"]["enum"];
    let known: BTreeSet<_> = known.as_array().expect("codes").iter().filter_map(Value::as_str).collect();
    assert_eq!(errors.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);

    let edge = read("host/src/edge/service.rs");
    let mut refusals: BTreeSet<_> =
        ["busy(\"", "busy( \"", "{ \""].iter().flat_map(|it| words_behind(&edge, it)).collect();
    // Where the code is the second argument.
    refusals.extend(
        edge.split("problem( StatusCode::").skip(1).flat_map(|call| words_behind(call, ", \"").into_iter().take(1)),
    );
    let access = read("host/src/edge/access.rs");
    let access = access.split("#[cfg(test)]").next().expect("a first part");
    refusals
        .extend(access.split("StatusCode::").skip(1).flat_map(|call| words_behind(call, ", \"").into_iter().take(1)));
    for code in [
        "unauthorized",
        "forbidden",
        "rate_limited",
        "overloaded",
        "gateway_failed",
        "timeout",
        "draining",
        "queue_unavailable",
    ] {
        assert!(refusals.contains(code), "the reader of sources misses {code}: {refusals:?}");
    }
    let described: BTreeSet<_> = document["components"]["responses"]
        .as_object()
        .expect("responses")
        .values()
        .filter_map(|response| {
            response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]["enum"]
                .as_array()
        })
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let missing: Vec<_> = refusals.iter().filter(|code| !described.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not in the document");
}
