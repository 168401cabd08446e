//! Generations that are tried before they serve: what promotes them, what takes them back, and that no client suffers.

use std::thread;
use std::time::{Duration, Instant};

use image::ImageFormat;
use serde_json::{Value, json};
use visavis_tests::components::{built, relabelled, sabotaged};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::load::generation;
use visavis_tests::operator::Wishes;
use visavis_tests::photos::{small, square};
use visavis_tests::wayward::{Conduct, scorer};

const PATIENCE: Duration = Duration::from_secs(120);

/// The photograph on which a canary goes wrong is so wide; the gate's are not.
const FATEFUL: u32 = 333;

fn tried(percent: u8) -> Wishes {
    Wishes { canary: Some(percent), ..Wishes::default() }
}

/// One pair in five has a fateful first photograph.
fn one_in_five() -> Vec<Form> {
    let other = small("obama2.jpg", 320);
    let width = |index: u32| if index == 0 { FATEFUL } else { 300 + index };
    (0..5).map(|index| Form::pair(&square("obama.jpg", width(index)), &other)).collect()
}

/// Starts a trial and lets clients verify one form after the other until it has ended. Answers the status bodies, by form.
fn until_it_ends(host: &Host, slot: &str, component: &[u8], percent: u8, forms: &[Form]) -> Vec<(usize, Value)> {
    let operator = host.operator();
    let answer = operator.deploy(slot, component, &tried(percent));
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"canary".into()), "{}", answer.text());
    let deadline = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        let clients = [0, 1].map(|first| {
            let operator = host.operator();
            scope.spawn(move || {
                let (client, mut statuses) = (host.client(), Vec::new());
                for form in (0..forms.len()).cycle().skip(2 * first) {
                    statuses.push((form, client.verify(&forms[form])));
                    let overview = operator.overview();
                    if overview["slots"][slot]["canary"].is_null() {
                        break;
                    }
                    assert!(Instant::now() < deadline, "the trial does not end: {overview}");
                }
                statuses
            })
        });
        clients.into_iter().flat_map(|client| client.join().expect("a client breaks off")).collect()
    })
}

fn last_event(host: &Host) -> Value {
    host.operator().overview()["history"].as_array().and_then(|entries| entries.last().cloned()).expect("an event")
}

#[test]
fn who_traps_on_one_task_in_five_is_taken_back_and_no_client_sees_it() {
    let host = Setup::new().set("VISAVIS_COMPONENTS__CANARY_SLOWDOWN", "1000").start();
    let bad = scorer(Conduct::Trap, Some(FATEFUL));
    let statuses = until_it_ends(&host, "scorer", &bad, 50, &one_in_five());
    for (form, status) in &statuses {
        assert_eq!((&status["status"], &status["result"]["verified"]), (&json!("SUCCESS"), &json!(true)), "{status}");
        if *form == 0 {
            assert_eq!(generation(status, "scorer"), 1, "only the good generation can have done it: {status}");
        }
    }
    let event = last_event(&host);
    assert_eq!((&event["event"], &event["by"]), (&json!("taken_back"), &json!("the host itself")), "{event}");
    assert!(event["why"].as_str().is_some_and(|why| why.starts_with("1 of ")), "{event}");
    let overview = host.operator().overview();
    assert_eq!(overview["slots"]["scorer"]["serving"]["generation"], 1, "{overview}");
    assert!(host.log().contains("TakenBack"), "the log has it as well");
    for form in one_in_five() {
        assert_eq!(generation(&host.client().verify(&form), "scorer"), 1);
    }
    eprintln!("taken back after {} tasks: {}", statuses.len(), event["why"]);
}

#[test]
fn failures_that_both_generations_have_speak_against_none() {
    let setup =
        Setup::new().set("VISAVIS_COMPONENTS__CANARY_TASKS", "24").set("VISAVIS_COMPONENTS__CANARY_SLOWDOWN", "1.8");
    let host = setup.start();
    // There is no face in it, whoever looks; the other generation is asked as well, and that takes its time.
    let forms = [Form::pair(&small("coffee.png", 640), &small("coffee.png", 640))];
    let statuses = until_it_ends(&host, "scorer", &relabelled(&built("scorer"), "as good"), 50, &forms);
    assert!(statuses.iter().all(|(_, status)| status["error"]["code"] == "no_face"), "{statuses:?}");
    assert_eq!(last_event(&host)["event"], "promoted", "{}", last_event(&host));
}

#[test]
fn who_is_slow_is_taken_back_by_its_median() {
    let host = Setup::new().set("VISAVIS_COMPONENTS__CANARY_TASKS", "500").start();
    // The gate's recorded cases are left alone, so that it passes soon.
    let slow = scorer(Conduct::Slow(Duration::from_millis(1200)), Some(FATEFUL));
    let form = [Form::pair(&square("obama.jpg", FATEFUL), &small("obama2.jpg", 320))];
    let statuses = until_it_ends(&host, "scorer", &slow, 50, &form);
    assert!(statuses.iter().all(|(_, status)| status["status"] == "SUCCESS"), "{statuses:?}");
    let event = last_event(&host);
    assert_eq!(event["event"], "taken_back", "{event}");
    assert!(event["why"].as_str().is_some_and(|why| why.contains("median")), "{event}");
    eprintln!("taken back after {} tasks: {}", statuses.len(), event["why"]);
}

#[test]
fn a_gateway_that_traps_is_taken_back_and_every_request_answered() {
    let host = Setup::new().set("VISAVIS_COMPONENTS__CANARY_TASKS", "100000").start();
    // The gate sends no form that is in order.
    let bad = sabotaged(&built("gateway"), "gateway10submission10from_parts17h");
    let forms = [Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))];
    let statuses = until_it_ends(&host, "gateway", &bad, 20, &forms);
    assert!(statuses.iter().all(|(_, status)| status["result"]["verified"] == true), "{statuses:?}");
    let event = last_event(&host);
    assert_eq!((&event["event"], &event["by"]), (&json!("taken_back"), &json!("the host itself")), "{event}");
    let refused = host.operator().deploy("gateway", &sabotaged(&built("gateway"), "gateway5route"), &tried(20));
    assert_eq!((refused.status, refused.problem().as_str()), (422, "gate_failed"), "what the gate asks, it sees");
}

#[test]
fn an_analyzer_is_promoted_or_taken_back() {
    let setup =
        Setup::new().set("VISAVIS_COMPONENTS__CANARY_TASKS", "5").set("VISAVIS_COMPONENTS__CANARY_SLOWDOWN", "1000");
    let host = setup.start();
    let (first, other) = (small("obama.jpg", 320), small("obama2.jpg", 320));
    let forms = [Form::pair(&first, &other)];
    let statuses = until_it_ends(&host, "analyzer", &relabelled(&built("analyzer"), "as good"), 50, &forms);
    let seen: Vec<_> = statuses.iter().map(|(_, status)| generation(status, "analyzer")).collect();
    assert!(seen.contains(&1) && seen.contains(&2), "{seen:?}");
    assert_eq!(last_event(&host)["event"], "promoted");
    assert_eq!(generation(&host.client().verify(&forms[0]), "analyzer"), 2);

    // None of the gate's photographs is of this format.
    let bad = sabotaged(&built("analyzer"), "image..codecs..bmp..decoder..BmpDecoder");
    let mut picture = std::io::Cursor::new(Vec::new());
    let pixels = image::load_from_memory(&first).unwrap();
    pixels.write_to(&mut picture, ImageFormat::Bmp).unwrap();
    let forms = [forms[0].clone(), Form::pair(picture.get_ref(), &other)];
    let statuses = until_it_ends(&host, "analyzer", &bad, 50, &forms);
    for (form, status) in statuses {
        assert_eq!(status["status"], "SUCCESS", "{status}");
        assert!(form == 0 || generation(&status, "analyzer") == 2, "{status}");
    }
    assert_eq!(last_event(&host)["event"], "taken_back");
}

#[test]
fn a_good_canary_is_promoted_and_a_bad_one_taken_back() {
    let setup =
        Setup::new().set("VISAVIS_COMPONENTS__CANARY_TASKS", "3").set("VISAVIS_COMPONENTS__CANARY_SLOWDOWN", "100");
    let host = setup.start();
    let operator = host.operator();
    let client = host.client();
    let form = Form::photos("obama.jpg", "obama2.jpg");
    let tried = tried(50);
    let answer = operator.deploy("scorer", &relabelled(&built("scorer"), "canary"), &tried);
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"canary".into()), "{}", answer.text());
    let busy = operator.deploy("scorer", &relabelled(&built("scorer"), "another"), &Wishes::default());
    assert_eq!((busy.status, busy.problem().as_str()), (409, "trial_running"));
    let generations: Vec<_> = (0..8)
        .map(|_| client.verify(&form)["result"]["components"]["scorer"]["generation"].as_u64().expect("a result"))
        .collect();
    assert!(generations.contains(&1) && generations.contains(&2), "{generations:?}");
    let overview = operator.wait_until("the canary serves", Duration::from_secs(20), |overview| {
        overview["slots"]["scorer"]["serving"]["generation"] == 2
    });
    assert!(overview["slots"]["scorer"]["canary"].is_null(), "{overview}");
    assert_eq!(client.verify(&form)["result"]["components"]["scorer"]["generation"], 2);

    let answer = operator.deploy("scorer", &relabelled(&built("scorer"), "called off"), &tried);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = operator.send("POST", "/components/scorer/rollback", &[], &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(operator.overview()["slots"]["scorer"]["canary"].is_null());
    assert_eq!(client.verify(&form)["result"]["components"]["scorer"]["generation"], 2);
    for percent in ["0", "101", "x"] {
        let answer = operator.send("PUT", "/components/scorer", &[("visavis-canary", percent)], &built("scorer"));
        assert_eq!(answer.status, 400, "{percent}: {}", answer.text());
    }
}
