//! Each error code of a task, provoked by a real request.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use image::ImageFormat;
use serde_json::{Value, json};
use visavis_tests::broken::{png, zlib};
use visavis_tests::components::{endless, greedy, trapping};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup, shared};
use visavis_tests::photos::{NO_FACE, converted, oriented, photo, pixels, saved, side_by_side, small, turned};

#[track_caller]
fn assert_failed(status: &Value, code: &str, image: Option<u8>) -> Value {
    assert_eq!(status["status"], "FAILURE", "{status}");
    assert!(status.get("result").is_none(), "{status}");
    let error = &status["error"];
    assert_eq!(error["code"], code, "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
    assert_eq!(error.get("image").and_then(Value::as_u64), image.map(u64::from), "{error}");
    error.clone()
}

#[test]
fn invalid_image_names_the_photograph() {
    let client = shared().client();
    let (good, cut) = (photo("obama.jpg"), &photo("obama2.jpg")[..50_000]);
    assert_failed(&client.verify(&Form::pair(cut, &good)), "invalid_image", Some(1));
    assert_failed(&client.verify(&Form::pair(&good, cut)), "invalid_image", Some(2));
}

#[test]
fn unsupported_format() {
    let client = shared().client();
    let form = Form::pair(&photo("obama.jpg"), b"This is a letter, not a photograph.");
    assert_failed(&client.verify(&form), "unsupported_format", Some(2));
}

#[test]
fn image_too_large() {
    let client = shared().client();
    let form = Form::pair(&png(10_000, 10_000, &zlib(&[0; 999])), &photo("obama.jpg"));
    assert_failed(&client.verify(&form), "image_too_large", Some(1));
}

#[test]
fn no_face() {
    let client = shared().client();
    for name in NO_FACE {
        assert_failed(&client.verify(&Form::photos("obama.jpg", name)), "no_face", Some(2));
        assert_failed(&client.verify(&Form::photos(name, "obama.jpg")), "no_face", Some(1));
    }
}

#[test]
fn multiple_faces() {
    let client = shared().client();
    let two = side_by_side("obama.jpg", "biden.jpg");
    let error = assert_failed(&client.verify(&Form::pair(&photo("obama.jpg"), &two)), "multiple_faces", Some(2));
    assert!(error["details"].as_object().is_some_and(|details| details.values().any(|v| *v == json!(2))), "{error}");
}

#[test]
fn non_frontal_face_is_rejected_with_its_pose_or_reported() {
    let client = shared().client();
    let (turned, good) = (turned("obama.jpg", 33.0), photo("obama2.jpg"));
    let error = assert_failed(&client.verify(&Form::pair(&turned, &good)), "non_frontal_face", Some(1));
    let roll = error["details"]["pose"]["roll"].as_f64().unwrap_or_else(|| panic!("no roll in {error}"));
    assert!((25.0..45.0).contains(&roll), "the head is turned by 33 degrees, clockwise: {error}");
    let reported = client.verify(&Form::pair(&turned, &good).text("non_frontal", "report"));
    assert_eq!(reported["status"], "SUCCESS", "{reported}");
    assert_eq!(reported["result"]["face1_frontal"], false, "{reported}");
    assert_eq!(reported["result"]["face2_frontal"], true, "{reported}");
    let asked = client.verify(&Form::pair(&turned, &good).text("non_frontal", "reject"));
    assert_failed(&asked, "non_frontal_face", Some(1));
}

#[test]
fn timeout() {
    let setup = Setup::new().set("VISAVIS_WORKER__TASK_TIMEOUT", "100ms").set("VISAVIS_VERIFY__DETECT_MAX_SIDE", "0");
    let host = setup.start();
    assert_failed(&host.client().verify(&Form::photos("obama3.jpg", "biden.jpg")), "timeout", None);
    assert_alive(&host);
}

#[test]
fn revoked() {
    let host = Setup::new().set("VISAVIS_WORKER__CONCURRENCY", "1").start();
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let ids: Vec<_> = (0..6).map(|_| client.submit(&form)).collect();
    let status = client.send("DELETE", &format!("/status/{}", ids[5]), &[], &[]).json();
    assert_eq!((&status["status"], &status["error"]["code"]), (&json!("REVOKED"), &json!("revoked")), "{status}");
    assert!(status.get("result").is_none(), "{status}");
}

#[test]
fn processing_failed_when_a_component_traps() {
    for slot in ["analyzer", "scorer"] {
        let host = with_component(slot, &trapping(slot), Setup::new().set("VISAVIS_WORKER__RETRIES", "1")).start();
        let client = host.client();
        let status = client.verify(&Form::photos("obama.jpg", "obama2.jpg"));
        assert_failed(&status, "processing_failed", None);
        assert_alive(&host);
        assert!(host.log().contains(slot), "the log names the component that failed");
    }
}

#[test]
fn a_try_that_failed_is_repeated_and_clients_see_it() {
    let host = with_component("scorer", &trapping("scorer"), Setup::new().set("VISAVIS_WORKER__RETRIES", "3")).start();
    let client = host.client();
    let path = format!("/status/{}", client.submit(&Form::pair(&small("obama.jpg", 300), &small("obama2.jpg", 300))));
    let mut seen = BTreeSet::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !seen.contains("FAILURE") {
        let status = client.get(&path).json();
        seen.insert(status["status"].as_str().expect("a status").to_owned());
        assert_eq!(status.get("error").is_some(), status["status"] == "FAILURE", "{status}");
        assert!(Instant::now() < deadline, "the task does not end: {seen:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(seen.contains("RETRY") && !seen.contains("SUCCESS"), "{seen:?}");
    assert_failed(&client.get(&path).json(), "processing_failed", None);
}

#[test]
fn a_component_that_never_ends_is_stopped() {
    for slot in ["analyzer", "scorer"] {
        let deadline = format!("VISAVIS_COMPONENTS__{}__DEADLINE", slot.to_uppercase());
        let setup = Setup::new().set("VISAVIS_WORKER__RETRIES", "0").set(&deadline, "300ms");
        let host = with_component(slot, &endless(slot), setup).start();
        let status = host.client().verify(&Form::photos("obama.jpg", "obama2.jpg"));
        assert_eq!(status["status"], "FAILURE", "{status}");
        assert_eq!(status["error"]["code"], "timeout", "{status}");
        let message = status["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("components.{slot}.deadline")), "the bound that was passed: {message}");
        assert_alive(&host);
    }
}

#[test]
fn a_gateway_that_traps_or_never_ends_takes_only_its_request_down() {
    for component in [trapping("gateway"), endless("gateway")] {
        let setup = Setup::new().set("VISAVIS_COMPONENTS__GATEWAY__DEADLINE", "500ms");
        let host = with_component("gateway", &component, setup).start();
        for _ in 0..5 {
            let answer = host.client().get("/");
            assert_eq!(answer.status, 500, "{}", answer.text());
            answer.problem();
        }
        assert_alive(&host);
    }
}

#[test]
fn a_component_that_asks_for_more_than_its_world_is_refused_by_name() {
    for (slot, import) in [
        ("scorer", "wasi:sockets/tcp@0.2.12"),
        ("scorer", "visavis:face/tasks@0.1.0"),
        ("analyzer", "visavis:face/tasks@0.1.0"),
        ("analyzer", "wasi:http/types@0.2.12"),
        ("gateway", "wasi:http/outgoing-handler@0.2.12"),
        ("gateway", "wasi:nn/graph@0.2.0-rc-2024-10-28"),
    ] {
        let examined = with_component(slot, &greedy(slot, import), Setup::new()).run(["doctor"]);
        assert_eq!(examined.status.code(), Some(1), "{slot} may not have {import}");
        let told = String::from_utf8_lossy(&examined.stdout);
        let complaint = told.lines().find(|line| line.starts_with("FAIL")).unwrap_or_else(|| panic!("{told}"));
        // An interface brings those along that it uses, and one of them may be missed first.
        let package = import.split('/').next().unwrap_or(import);
        assert!(complaint.contains(slot) && complaint.contains(package), "{complaint}");
    }
}

fn with_component(slot: &str, component: &[u8], setup: Setup) -> Setup {
    let path = saved(setup.folder(), "other.wasm", component);
    setup.set(&format!("VISAVIS_COMPONENTS__{}__PATH", slot.to_uppercase()), &path.to_string_lossy())
}

#[track_caller]
fn assert_alive(host: &Host) {
    assert!(host.is_running());
    assert_eq!(host.client().get("/readyz").status, 200);
}

#[test]
fn every_format_is_read() {
    let client = shared().client();
    let small = image::load_from_memory(&small("obama.jpg", 400)).unwrap();
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif] {
        let file = if format == ImageFormat::Gif {
            let mut file = std::io::Cursor::new(Vec::new());
            small.to_rgba8().write_to(&mut file, format).unwrap();
            file.into_inner()
        } else {
            converted("obama.jpg", format)
        };
        let status = client.verify(&Form::pair(&file, &photo("obama2.jpg")));
        assert_eq!(status["result"]["verified"], true, "{format:?}: {status}");
    }
}

#[test]
fn the_orientation_of_a_photograph_changes_nothing() {
    let client = shared().client();
    let distance = |file: &[u8]| {
        let status = client.verify(&Form::pair(file, &photo("obama2.jpg")));
        let result = &status["result"];
        assert_eq!(result["verified"], true, "{status}");
        let size = &result["faces"][0]["image"];
        assert_eq!((&size["width"], &size["height"]), (&json!(910), &json!(1137)), "{status}");
        (result["euclidean_distance"].as_f64().unwrap(), result["faces"][0]["box"][0].as_f64().unwrap())
    };
    let upright = distance(&visavis_tests::photos::jpeg(&pixels("obama.jpg")));
    for orientation in 1..=8 {
        let (other, left) = distance(&oriented("obama.jpg", orientation));
        assert!((other - upright.0).abs() < 0.05, "{orientation}: {other} is not {}", upright.0);
        assert!((left - upright.1).abs() < 5.0, "{orientation}: the face is somewhere else");
    }
}
