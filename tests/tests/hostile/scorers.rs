//! Scorers that attack. They import nothing: what is left to them is to compute, to take memory and to answer nonsense.

use std::time::Duration;

use visavis_tests::components::tabular;
use visavis_tests::host::Setup;
use visavis_tests::hostile::{analyzer, form};
use visavis_tests::operator::Wishes;
use visavis_tests::others::Others;
use visavis_tests::photos::saved;
use visavis_tests::scale::Run;
use visavis_tests::wayward::{Conduct, scorer};

/// The hostile analyzer's photographs are so wide, and none of the recorded cases is.
const WIDTH: Option<u32> = Some(112);

#[test]
fn every_attack_of_a_scorer_is_an_error_that_names_it() {
    let run = Run::attack("scorers");
    let host = Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &analyzer().to_string_lossy())
        .set("VISAVIS_COMPONENTS__SCORER__DEADLINE", "1s")
        .set("VISAVIS_WORKER__RETRIES", "0")
        .start();
    let (client, operator) = (host.client(), host.operator());
    let served = Others::get(&host, "/");
    let attacks = [
        (Conduct::Trap, "trapped"),
        (Conduct::Endless, "components.scorer.deadline"),
        (Conduct::Sleep(Duration::from_secs(3600)), "components.scorer.deadline"),
        (Conduct::Allocate, "more memory than components.scorer.memory_limit"),
        (Conduct::Recurse, "trapped"),
        (Conduct::NotNumbers, "the score NaN"),
        (Conduct::Elsewhere, "faces that the analyzer did not find"),
    ];
    for (at, (conduct, words)) in attacks.iter().enumerate() {
        let deployed = operator.deploy("scorer", &scorer(*conduct, WIDTH), &Wishes::default());
        assert_eq!(deployed.status, 200, "{conduct:?}: {}", deployed.text());
        let status = client.verify(&form("well", 0));
        let message = status["error"]["message"].as_str().unwrap_or_default();
        let named = format!("the scorer (generation {})", at + 2);
        assert!(message.contains(words) && message.contains(&named), "{conduct:?}: {status}");
        assert!(host.log().contains(&named), "{conduct:?}: the log names it");
    }
    let deployed = operator.deploy("scorer", &scorer(Conduct::Text, WIDTH), &Wishes::default());
    assert_eq!(deployed.status, 200, "{}", deployed.text());
    let status = client.verify(&form("well", 0));
    let message = status["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("cannot be compared") && message.len() < 1000, "{status:.600}");
    assert!(!message.contains(char::is_control), "{message}");
    let served = served.fared();
    run.counted(&format!(
        "{} conducts, each a line that names slot and generation; pages: {served}",
        attacks.len() + 1
    ));
    served.assert_served_within(Duration::from_secs(10));
}

#[test]
fn tables_end_where_they_must() {
    let run = Run::attack("tables");
    let setup = Setup::new();
    let path = saved(setup.folder(), "tabular.wasm", &tabular("scorer"));
    let host = setup
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &analyzer().to_string_lossy())
        .set("VISAVIS_COMPONENTS__SCORER__PATH", &path.to_string_lossy())
        .set("VISAVIS_WORKER__RETRIES", "0")
        .start();
    let before = host.resident();
    let tasks = 20;
    for _ in 0..tasks {
        let status = host.client().verify(&form("well", 0));
        let message = status["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("the scorer (generation 1) trapped"), "{status}");
    }
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!(
        "{tasks} scorers grew their table until they got no more; the host grew by {} MiB",
        grown >> 20
    ));
    assert!(grown < 64 << 20, "{grown} bytes");
}
