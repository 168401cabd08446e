//! Components that are refused: each with words that say why, and what ran before runs on.

use std::time::{Duration, Instant};

use visavis_tests::components::{built, endless, trapping};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::operator::Wishes;
use visavis_tests::photos::small;
use visavis_tests::raw::exchange;
use visavis_tests::wayward::{Conduct, scorer};

const PLAIN: &Wishes = &Wishes { canary: None, signature: None, expected_changes: Vec::new(), fleet: false };

fn pair() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

#[track_caller]
fn assert_untouched(host: &Host) {
    let overview = host.operator().overview();
    for slot in ["gateway", "analyzer", "scorer"] {
        assert_eq!(overview["slots"][slot]["serving"]["generation"], 1, "{overview}");
        assert!(overview["slots"][slot]["canary"].is_null(), "{overview}");
    }
    assert_eq!(host.client().verify(&pair())["result"]["verified"], true);
}

#[test]
fn what_does_not_do_its_work_is_refused_and_the_old_one_serves_on() {
    let setup = Setup::new().set("VISAVIS_COMPONENTS__SCORER__DEADLINE", "300ms");
    let host = setup.start();
    let operator = host.operator();
    let scorer = built("scorer");
    let module = b"\0asm\x01\0\0\0".to_vec();
    for (what, slot, component, code) in [
        ("a trap", "scorer", trapping("scorer"), "gate_failed"),
        ("a loop", "scorer", endless("scorer"), "gate_failed"),
        ("a trap", "gateway", trapping("gateway"), "gate_failed"),
        ("a trap", "analyzer", trapping("analyzer"), "gate_failed"),
        ("another world", "scorer", built("analyzer"), "bad_component"),
        ("another world", "analyzer", scorer.clone(), "bad_component"),
        ("another world", "gateway", scorer.clone(), "bad_component"),
        ("a truncated file", "scorer", scorer[..scorer.len() / 2].to_vec(), "bad_component"),
        ("a core module", "scorer", module, "bad_component"),
        ("nothing", "scorer", Vec::new(), "bad_component"),
    ] {
        let asked = Instant::now();
        let answer = operator.deploy(slot, &component, PLAIN);
        assert_eq!((answer.status, answer.problem().as_str()), (422, code), "{what} as {slot}: {}", answer.text());
        eprintln!("{what} as {slot}, after {:?}: {}", asked.elapsed(), answer.json()["detail"]);
    }
    let unknown = operator.deploy("painter", &scorer, PLAIN);
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "not_found"));
    let without = operator.stranger().send("PUT", "/components/scorer", &[], &scorer);
    assert_eq!((without.status, without.problem().as_str()), (401, "unauthorized"));
    let wrong = operator.stranger().send("PUT", "/components/scorer", &[("authorization", "Bearer no")], &scorer);
    assert_eq!(wrong.status, 401);
    assert_untouched(&host);
}

#[test]
fn a_scorer_that_misbehaves_is_told_how() {
    let setup = Setup::new().set("VISAVIS_COMPONENTS__SCORER__DEADLINE", "500ms");
    let host = setup.start();
    let operator = host.operator();
    for (conduct, words) in [
        (Conduct::Trap, "trapped"),
        (Conduct::Endless, "deadline"),
        (Conduct::Allocate, "memory_limit"),
        (Conduct::Slow(Duration::from_secs(3600)), "deadline"),
        (Conduct::Sleep(Duration::from_secs(3600)), "deadline"),
        (Conduct::Invert, "\"verified\":false"),
    ] {
        let asked = Instant::now();
        let answer = operator.deploy("scorer", &scorer(conduct, None), PLAIN);
        assert_eq!((answer.status, answer.problem().as_str()), (422, "gate_failed"), "{conduct:?}: {}", answer.text());
        let detail = answer.json()["detail"].clone();
        assert!(detail.as_str().is_some_and(|detail| detail.contains(words)), "{conduct:?}: {detail}");
        assert!(asked.elapsed() < Duration::from_secs(30), "{conduct:?}: refused after {:?}", asked.elapsed());
        eprintln!("{conduct:?}, after {:?}: {detail}", asked.elapsed());
    }
    assert_untouched(&host);
    // A trial changes nothing about the gate, and nothing that is expected excuses one that does not answer.
    let canary = Wishes { canary: Some(10), ..Wishes::default() };
    let everything = Wishes { expected_changes: vec!["all".to_owned()], ..Wishes::default() };
    for wishes in [canary, everything] {
        let answer = operator.deploy("scorer", &scorer(Conduct::Trap, None), &wishes);
        assert_eq!((answer.status, answer.problem().as_str()), (422, "gate_failed"), "{}", answer.text());
    }
    assert_untouched(&host);
}

#[test]
fn changes_that_are_named_pass_and_no_others() {
    let host = Setup::new().start();
    let operator = host.operator();
    let inverted = scorer(Conduct::Invert, None);
    let refused = operator.deploy("scorer", &inverted, PLAIN).json();
    let differences = refused["gate"]["differences"].as_array().expect("a report");
    let mut cases: Vec<_> = differences.iter().map(|it| it["case"].as_str().expect("a name").to_owned()).collect();
    assert!(cases.len() > 5, "{refused}");
    let last = cases.pop().expect("one of them");
    let some = Wishes { expected_changes: cases.clone(), ..Wishes::default() };
    let answer = operator.deploy("scorer", &inverted, &some);
    assert_eq!((answer.status, answer.problem().as_str()), (422, "gate_failed"));
    assert!(answer.json()["detail"].as_str().is_some_and(|detail| detail.contains(&last)), "{}", answer.text());
    assert_untouched(&host);
    cases.push(last);
    let all = Wishes { expected_changes: cases, ..Wishes::default() };
    let answer = operator.deploy("scorer", &inverted, &all);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(host.client().verify(&pair())["result"]["verified"], false, "as was ordered");
}

#[test]
fn a_component_that_is_cut_anywhere_is_refused() {
    const PLACES: usize = 24;
    let host = Setup::new().start();
    let operator = host.operator();
    for (slot, places) in [("scorer", PLACES), ("gateway", 4), ("analyzer", 2)] {
        let whole = built(slot);
        let even = (0..places).map(|place| whole.len() * place / places);
        for length in even.chain([4, 8, whole.len() - 1]) {
            let answer = operator.deploy(slot, &whole[..length], PLAIN);
            let found = (answer.status, answer.problem());
            assert_eq!(found, (422, "bad_component".to_owned()), "{length} bytes as {slot}: {}", answer.text());
        }
    }
    assert_untouched(&host);
}

#[test]
fn a_gigabyte_is_refused_and_not_kept() {
    const PATIENCE: Duration = Duration::from_secs(60);
    let setup = Setup::new().set("VISAVIS_SERVER__ADMIN_BODY_LIMIT", "8MiB");
    let host = setup.start();
    assert_eq!(host.client().verify(&pair())["result"]["verified"], true);
    let before = host.resident();
    let head = |token: &str| format!("PUT /components/scorer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
    let piece = vec![b'a'; 1 << 16];
    let pieces = || std::iter::repeat_n(piece.clone(), 1 << 14);
    let chunks = || pieces().map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat());
    let address = host.operator().address();

    let length = format!("Content-Length: {}\r\n\r\n", 1_u64 << 30);
    let declared = [head(&setup.token()), length.clone()].concat().into_bytes();
    let told = exchange(address, std::iter::once(declared).chain(pieces()), false, PATIENCE);
    assert_eq!((told.status(), told.code().as_deref()), (Some(413), Some("body_too_large")), "{}", told.text());
    assert!(told.text().contains("server.admin_body_limit") && told.sent < 200 << 20, "{} bytes were taken", told.sent);
    eprintln!("declared: refused after {:?} and {} bytes", told.took, told.sent);

    let chunked = [head(&setup.token()), "Transfer-Encoding: chunked\r\n\r\n".to_owned()].concat().into_bytes();
    let told = exchange(address, std::iter::once(chunked).chain(chunks()), false, PATIENCE);
    assert_eq!((told.status(), told.code().as_deref()), (Some(413), Some("body_too_large")), "{}", told.text());
    assert!(told.sent > 8 << 20 && told.sent < 200 << 20, "{} bytes were taken", told.sent);
    eprintln!("chunked: refused after {:?} and {} bytes", told.took, told.sent);

    let stranger = [head("0000000000000000"), length].concat().into_bytes();
    let told = exchange(address, std::iter::once(stranger).chain(pieces()), false, PATIENCE);
    assert_eq!((told.status(), told.code().as_deref()), (Some(401), Some("unauthorized")), "{}", told.text());
    assert!(told.sent < 200 << 20, "{} bytes were taken", told.sent);

    assert_untouched(&host);
    let grown = host.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "the host grew by {grown} bytes");
}
