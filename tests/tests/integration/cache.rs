//! Photographs that come again: the same results without a new analysis, and nothing from before a swap.

use serde_json::{Value, json};
use visavis_tests::components::{built, relabelled};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup, shared};
use visavis_tests::operator::Wishes;
use visavis_tests::photos::{photo, small};

const PLAIN: &Wishes = &Wishes { canary: None, signature: None, expected_changes: Vec::new(), fleet: false };

fn caching(size: &str) -> Host {
    Setup::new().set("VISAVIS_VERIFY__CACHE", size).start()
}

/// Which of the two analyses came from the cache.
fn cached(status: &Value) -> [bool; 2] {
    ["image1", "image2"].map(|image| {
        let steps = status["result"]["timings_ms"][image].as_object().unwrap_or_else(|| panic!("steps: {status}"));
        let found = steps.contains_key("cache");
        assert_eq!(steps.len(), if found { 1 } else { 4 }, "{status}");
        assert!(steps.values().all(|value| value.as_f64().is_some_and(|value| value >= 0.0)), "{status}");
        found
    })
}

/// A status without what differs from task to task.
fn lasting(mut status: Value) -> Value {
    status["task_id"] = Value::Null;
    status["result"]["timings_ms"] = Value::Null;
    status
}

#[test]
fn what_comes_from_the_cache_is_the_same() {
    let host = caching("1MiB");
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let (first, again) = (client.verify(&form), client.verify(&form));
    assert_eq!((cached(&first), cached(&again)), ([false; 2], [true; 2]));
    let without = shared().client().verify(&form);
    assert_eq!(cached(&without), [false; 2], "none is kept unless that is asked for");
    assert_eq!(lasting(again.clone()), lasting(first));
    assert_eq!(lasting(again), lasting(without));

    let mixed = client.verify(&Form::photos("biden.jpg", "obama.jpg"));
    assert_eq!((cached(&mixed), &mixed["result"]["verified"]), ([false, true], &json!(false)));
    // A wish of the client is the scorer's matter.
    let strict = client.verify(&Form::photos("obama.jpg", "obama2.jpg").text("threshold", "0.1"));
    assert_eq!((cached(&strict), &strict["result"]["verified"]), ([true; 2], &json!(false)));
}

#[test]
fn a_photograph_that_cannot_be_used_cannot_be_used_again() {
    let host = caching("1MiB");
    let client = host.client();
    let broken = &photo("obama.jpg")[..4000];
    for (form, code) in [
        (Form::photos("obama.jpg", "coffee.png"), "no_face"),
        (Form::pair(broken, &photo("obama.jpg")), "invalid_image"),
    ] {
        let ended = [(); 3].map(|()| client.verify(&form)["error"].clone());
        assert_eq!(ended[0]["code"], code, "{ended:?}");
        assert!(ended.iter().all(|error| *error == ended[0]), "{ended:?}");
    }
}

#[test]
fn another_analyzer_finds_nothing_of_the_one_before() {
    let host = caching("1MiB");
    let (client, operator) = (host.client(), host.operator());
    let form = Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320));
    let deploy = |slot: &str, label: &str, wishes: &Wishes| {
        let answer = operator.deploy(slot, &relabelled(&built(slot), label), wishes);
        assert!(answer.status < 300, "{slot}: {} {}", answer.status, answer.text());
    };
    let verify = || cached(&client.verify(&form));
    assert_eq!([verify(), verify()], [[false; 2], [true; 2]]);
    deploy("scorer", "a scorer", PLAIN);
    assert_eq!(verify(), [true; 2], "a scorer sees what was seen before");
    deploy("analyzer", "an analyzer", PLAIN);
    assert_eq!([verify(), verify()], [[false; 2], [true; 2]]);
    let answer = operator.send("POST", "/components/analyzer/rollback", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!([verify(), verify()], [[false; 2], [true; 2]], "nothing of before the deployment is left either");
    deploy("analyzer", "a canary", &Wishes { canary: Some(1), ..Wishes::default() });
    assert_eq!([verify(), verify()], [[false; 2]; 2], "a trial compares times");
}

#[test]
fn the_cache_has_a_bound() {
    // Room for 27 photographs of one face.
    let host = caching("64KiB");
    let client = host.client();
    let form = |number: u32| Form::pair(&small("obama.jpg", 200 + number), &small("obama2.jpg", 200 + number));
    let verify = |number: u32| cached(&client.verify(&form(number)));
    assert_eq!([verify(0), verify(0)], [[false; 2], [true; 2]]);
    for number in 1..15 {
        assert_eq!(verify(number), [false; 2]);
        assert_eq!(verify(1), [true; 2], "what is used is kept");
    }
    assert_eq!([verify(0), verify(1), verify(14)], [[false; 2], [true; 2], [true; 2]]);
}
