//! What the interface promises to an honest client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup, shared};
use visavis_tests::photos::{assets, photo, small};
use visavis_tests::stub;

const SEED_FIELDS: [&str; 8] = [
    "verified",
    "verification_score",
    "euclidean_distance",
    "cosine_similarity",
    "face1_frontal",
    "face2_frontal",
    "confidence1",
    "confidence2",
];

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn is_hex(value: &Value, digits: usize) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[test]
fn one_person_is_verified_and_two_are_told_apart() {
    let client = shared().client();
    let same = client.verify(&Form::photos("obama.jpg", "obama2.jpg"));
    assert_eq!(same["status"], "SUCCESS", "{same}");
    assert_eq!(same["result"]["verified"], true, "{same}");
    assert!(number(&same["result"]["verification_score"]) > 0.5, "{same}");
    let other = client.verify(&Form::photos("obama.jpg", "biden.jpg"));
    assert_eq!(other["result"]["verified"], false, "{other}");
    assert!(number(&other["result"]["verification_score"]) < 0.5, "{other}");
    assert!(same.get("error").is_none() && other.get("error").is_none());
}

#[test]
fn a_result_has_all_fields_with_their_types_and_ranges() {
    let host = shared();
    let answer = host.client().post("/verify?wait=30", &Form::photos("obama.jpg", "obama2.jpg"), &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["task_id", "status", "result"]);
    let result = body["result"].as_object().unwrap();
    let keys: Vec<_> = result.keys().map(String::as_str).collect();
    assert_eq!(keys[..8], SEED_FIELDS, "the seed's fields come first, in its order");
    for key in ["threshold", "faces", "components", "models", "timings_ms"] {
        assert!(keys[8..].contains(&key), "{key} in {keys:?}");
    }
    for key in ["verified", "face1_frontal", "face2_frontal"] {
        assert!(result[key].is_boolean(), "{key} is {}", result[key]);
    }
    for key in ["verification_score", "confidence1", "confidence2"] {
        assert!((0.0..=1.0).contains(&number(&result[key])), "{key} is {}", result[key]);
    }
    let (distance, cosine) = (number(&result["euclidean_distance"]), number(&result["cosine_similarity"]));
    assert!((0.0..=2.0).contains(&distance) && (-1.0..=1.0).contains(&cosine));
    assert!((distance * distance - (2.0 - 2.0 * cosine)).abs() < 1e-3, "{distance} and {cosine} are of one pair");
    let threshold = number(&result["threshold"]);
    assert_eq!(result["verified"].as_bool(), Some(distance <= threshold));

    let faces = result["faces"].as_array().unwrap();
    assert_eq!(faces.len(), 2);
    for (face, (width, height)) in faces.iter().zip([(910.0, 1137.0), (626.0, 1200.0)]) {
        assert_eq!((number(&face["image"]["width"]), number(&face["image"]["height"])), (width, height));
        let corners: Vec<_> = face["box"].as_array().unwrap().iter().map(number).collect();
        assert!(corners.len() == 4 && corners[0] < corners[2] && corners[1] < corners[3], "{corners:?}");
        let landmarks = face["landmarks"].as_array().unwrap();
        assert_eq!(landmarks.len(), 5);
        for point in landmarks {
            let (x, y) = (number(&point[0]), number(&point[1]));
            assert!(point.as_array().unwrap().len() == 2 && (0.0..width).contains(&x) && (0.0..height).contains(&y));
        }
        for angle in ["yaw", "pitch", "roll"] {
            assert!((-90.0..=90.0).contains(&number(&face["pose"][angle])), "{angle} in {face}");
        }
    }
    for slot in ["analyzer", "scorer"] {
        let component = &result["components"][slot];
        let file = std::fs::read(assets().join(format!("components/{slot}.wasm"))).unwrap();
        assert_eq!(component["digest"], hex::encode(Sha256::digest(file)), "{slot}: the file that was plugged in");
        assert!(number(&component["generation"]) >= 1.0, "{slot}: {component}");
    }
    let models = result["models"].as_array().unwrap();
    assert!(!models.is_empty());
    for model in models {
        assert!(model["name"].is_string() && is_hex(&model["digest"], 64), "{model}");
    }
    assert!(number(&result["timings_ms"]["total"]) > 0.0, "{}", result["timings_ms"]);
}

#[test]
fn a_task_is_accepted_then_found_then_ended() {
    let host = shared();
    let client = host.client();
    let answer = client.post("/verify", &Form::photos("obama.jpg", "obama3.jpg"), &[]);
    assert_eq!(answer.status, 202);
    let body = answer.json();
    assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
    let id = body["task_id"].as_str().unwrap();
    assert!(is_hex(&json!(id.strip_prefix("face_verification_").unwrap()), 32), "{id}");
    assert_eq!(answer.header("location"), Some(format!("/status/{id}").as_str()));

    let early = client.get(&format!("/status/{id}"));
    assert_eq!((early.status, early.header("cache-control")), (200, Some("no-store")));
    let early = early.json();
    assert_eq!(early["task_id"], *id);
    assert!(["PENDING", "STARTED", "SUCCESS"].contains(&early["status"].as_str().unwrap()), "{early}");
    let ended = client.ended(id);
    assert_eq!((&ended["task_id"], &ended["status"]), (&json!(id), &json!("SUCCESS")));
    assert_eq!(client.get(&format!("/status/{id}")).json(), ended, "what has ended stays as it is");
}

#[test]
fn a_waiting_client_is_woken_when_the_task_ends() {
    let host = shared();
    let client = host.client();
    let form = Form::pair(&small("obama.jpg", 400), &small("obama2.jpg", 400));
    let id = client.submit(&form);
    let start = Instant::now();
    let answer = client.get(&format!("/status/{id}?wait=30"));
    let waited = start.elapsed();
    assert_eq!(answer.json()["status"], "SUCCESS");
    assert!(waited < Duration::from_secs(20), "the answer came by the time limit, after {waited:?}");
    // The task's own time is the yardstick; the machine may be busy with other tests' tasks before it.
    assert_eq!(client.get(&format!("/status/{id}?wait=30")).json(), answer.json());
}

#[test]
fn an_ended_task_is_told_at_once_and_a_waiting_one_after_the_wait() {
    let host = busy();
    let client = host.client();
    let ended = client.submit(&stub::form(1, Duration::ZERO, 100));
    client.ended(&ended);
    client.submit(&stub::form(2, Duration::from_secs(60), 100));
    let waiting = client.submit(&stub::form(3, Duration::ZERO, 100));
    let start = Instant::now();
    let last = client.get(&format!("/status/{waiting}?wait=1"));
    let waited = start.elapsed();
    assert_eq!(last.json()["status"], "PENDING", "{}", last.text());
    assert!(waited >= Duration::from_millis(950) && waited < Duration::from_secs(5), "{waited:?}");
    let start = Instant::now();
    assert_eq!(client.get(&format!("/status/{ended}?wait=30")).json()["status"], "SUCCESS");
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// A host that does one task at a time, as slowly as the task says.
fn busy() -> Host {
    Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_COMPONENTS__ANALYZER__DEADLINE", "90s")
        .set("VISAVIS_WORKER__TASK_TIMEOUT", "100s")
        .set("VISAVIS_WORKER__CONCURRENCY", "1")
        .start()
}

#[test]
fn waiting_in_the_submission_ends_with_the_task() {
    let answer = shared().client().post("/verify?wait=30", &Form::photos("obama.jpg", "obama2.jpg"), &[]);
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("SUCCESS")), "{}", answer.text());
    let id = answer.json()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(format!("/status/{id}").as_str()));
}

#[test]
fn waiting_in_the_submission_ends_without_the_task() {
    let host = busy();
    let client = host.client();
    client.submit(&stub::form(1, Duration::from_secs(60), 100));
    let answer = client.post("/verify?wait=1", &stub::form(2, Duration::ZERO, 100), &[]);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert!(answer.json()["task_id"].is_string());
}

#[test]
fn json_is_accepted_as_well() {
    let host = shared();
    let (first, second) = (STANDARD.encode(&*photo("obama.jpg")), STANDARD.encode(&*photo("biden.jpg")));
    let body = json!({ "image1": first, "image2": second, "threshold": 2.0, "non_frontal": "report" }).to_string();
    let headers = [("content-type", "application/json; charset=utf-8")];
    let answer = host.client().send("POST", "/verify?wait=30", &headers, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let result = &answer.json()["result"];
    assert_eq!((&result["verified"], number(&result["threshold"])), (&json!(true), 2.0), "any two are one person at 2");
}

#[test]
fn the_client_may_choose_the_threshold() {
    let client = shared().client();
    let strict = client.verify(&Form::photos("obama.jpg", "obama2.jpg").text("threshold", "0.1"));
    assert_eq!(strict["result"]["verified"], false, "{strict}");
    assert!((number(&strict["result"]["threshold"]) - 0.1).abs() < 1e-6);
}

#[test]
fn one_idempotency_key_is_one_task() {
    let client = shared().client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let key = format!("key-{:?}", Instant::now()).replace(' ', "");
    let post = |form: &Form, key: &str| client.post("/verify", form, &[("idempotency-key", key)]);
    let first = post(&form, &key);
    assert_eq!(first.status, 202, "{}", first.text());
    assert_eq!(post(&form, &key).json(), first.json());
    client.ended(first.json()["task_id"].as_str().unwrap());
    assert_eq!(post(&form, &key).json(), first.json(), "also when the task has ended");
    assert_ne!(post(&form, &format!("{key}2")).json(), first.json());
    let other = post(&Form::photos("obama.jpg", "biden.jpg"), &key);
    assert_eq!((other.status, other.problem().as_str()), (409, "conflict"));
}

#[test]
fn a_waiting_task_can_be_revoked() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").start();
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let ids: Vec<_> = (0..8).map(|_| client.submit(&form)).collect();
    let path = format!("/status/{}", ids[7]);
    let answer = client.send("DELETE", &path, &[], &[]);
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!("REVOKED")), "{}", answer.text());
    assert_eq!((&answer.json()["task_id"], &answer.json()["error"]["code"]), (&json!(ids[7]), &json!("revoked")));
    for id in &ids[..7] {
        assert_eq!(client.ended(id)["status"], "SUCCESS");
    }
    assert_eq!(client.get(&path).json()["status"], "REVOKED", "it was not done all the same");
    let again = client.send("DELETE", &path, &[], &[]);
    assert_eq!((again.status, again.problem().as_str()), (409, "conflict"));
    let ended = client.send("DELETE", &format!("/status/{}", ids[0]), &[], &[]);
    assert_eq!((ended.status, ended.problem().as_str()), (409, "conflict"));
    assert_eq!(client.get(&format!("/status/{}", ids[0])).json()["status"], "SUCCESS");
}

#[test]
fn a_running_task_can_be_revoked_and_its_result_is_thrown_away() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").set("VISAVIS_VERIFY__DETECT_MAX_SIDE", "0").start();
    let client = host.client();
    let id = client.submit(&Form::photos("obama3.jpg", "biden.jpg"));
    let path = format!("/status/{id}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.get(&path).json()["status"] != "STARTED" {
        assert!(Instant::now() < deadline, "the task does not start");
    }
    assert_eq!(client.send("DELETE", &path, &[], &[]).json()["status"], "REVOKED");
    // The next task is done only after the worker is through with the revoked one.
    let next = client.verify(&Form::photos("obama.jpg", "obama2.jpg"));
    assert_eq!(next["status"], "SUCCESS");
    assert_eq!(client.get(&path).json()["status"], "REVOKED");
}

#[test]
fn the_process_says_that_it_lives_and_is_ready() {
    let client = shared().client();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(client.get(path).status, 200, "{path}");
        assert_eq!(client.send("HEAD", path, &[], &[]).status, 200, "{path}");
    }
    let index = client.get("/");
    assert_eq!(index.status, 200);
    assert!(index.text().contains("/verify") && index.text().contains("/status/"), "{}", index.text());
}

#[test]
fn head_answers_as_get_without_the_body() {
    let client = shared().client();
    let id = client.submit(&Form::photos("obama.jpg", "obama2.jpg"));
    client.ended(&id);
    for path in ["/".to_owned(), format!("/status/{id}")] {
        let (get, head) = (client.get(&path), client.send("HEAD", &path, &[], &[]));
        assert_eq!((head.status, head.header("content-type")), (200, get.header("content-type")));
        assert!(head.body.is_empty() && !get.body.is_empty());
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let host = shared();
    let mut stream = BufReader::new(TcpStream::connect(host.address()).unwrap());
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let form = Form::pair(&small("obama.jpg", 300), &small("obama2.jpg", 300));
    let body = form.body();
    for round in 0..5 {
        let head = format!(
            "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            form.content_type(),
            body.len()
        );
        let stream_out = stream.get_mut();
        stream_out.write_all(head.as_bytes()).unwrap();
        stream_out.write_all(&body).unwrap();
        let mut length = 0;
        let mut first = String::new();
        stream.read_line(&mut first).unwrap();
        assert_eq!(first.trim_end(), "HTTP/1.1 202 Accepted", "round {round}");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
        assert!(serde_json::from_slice::<Value>(&answer).unwrap()["task_id"].is_string());
    }
}

#[test]
fn clients_at_the_same_time_get_their_own_answers() {
    let host = shared();
    let pairs = [("obama.jpg", true), ("biden.jpg", false), ("obama3.jpg", true), ("astronaut.png", false)];
    std::thread::scope(|scope| {
        for (second, verified) in pairs.into_iter().cycle().take(12) {
            let host = &host;
            scope.spawn(move || {
                let form = Form::pair(&small("obama2.jpg", 500), &small(second, 500));
                let ended = host.client().verify(&form);
                assert_eq!(ended["result"]["verified"], verified, "{second}: {ended}");
            });
        }
    });
}
