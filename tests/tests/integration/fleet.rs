//! One deployment for all nodes that share a Redis: it reaches those that live, those that come later, and is withdrawn when
//! too many reject it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use visavis_tests::components::{built, relabelled};
use visavis_tests::fleet::Fleet;
use visavis_tests::host::{Host, Setup};
use visavis_tests::operator::{Operator, Wishes};

/// How long news may take to every node on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes that accept requests and do tasks; the stub makes them quick to start.
fn node(fleet: &Fleet, setup: &Setup) -> Host {
    setup.start_with(&["--queue", &fleet.redis.url()])
}

fn serving(overview: &Value) -> &Value {
    &overview["slots"]["scorer"]["serving"]
}

/// Deploys to all; yields the digest.
fn deploy(operator: &Operator, label: &str) -> String {
    let component = relabelled(&built("scorer"), label);
    let wishes = Wishes { fleet: true, ..Wishes::default() };
    let answer = operator.deploy("scorer", &component, &wishes);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let report = answer.json();
    assert!(report["notice"].is_u64(), "{report}");
    report["here"]["generations"]["scorer"]["digest"].as_str().expect("it serves here").to_owned()
}

fn await_digest(host: &Host, digest: &str) {
    host.operator()
        .wait_until("the node runs what all were told", PATIENCE, |overview| serving(overview)["digest"] == digest);
}

#[test]
fn one_deployment_reaches_all_nodes_also_one_that_was_away() {
    let fleet = Fleet::stubbed();
    let setups = [fleet.node(), fleet.node(), fleet.node()];
    let hosts = [node(&fleet, &setups[0]), node(&fleet, &setups[1])];
    let away = node(&fleet, &setups[2]);
    let configured = serving(&away.operator().overview())["digest"].as_str().unwrap().to_owned();
    drop(away);
    let first = deploy(&hosts[0].operator(), "first");
    hosts.iter().for_each(|host| await_digest(host, &first));

    let away = node(&fleet, &setups[2]);
    await_digest(&away, &first);
    let number = serving(&away.operator().overview())["generation"].clone();
    drop(away);
    let away = node(&fleet, &setups[2]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(serving(&away.operator().overview())["generation"], number, "it is not deployed once more");

    let second = deploy(&hosts[1].operator(), "second");
    for host in hosts.iter().chain([&away]) {
        await_digest(host, &second);
    }
    let back = |digest: &str| {
        let path = "/components/scorer/rollback";
        let answer = hosts[0].operator().send("POST", path, &[("visavis-fleet", "true")], &[]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        for host in hosts.iter().chain([&away]) {
            await_digest(host, digest);
        }
    };
    back(&first);
    back(&configured);
    let answer = hosts[0].operator().send("POST", "/components/scorer/rollback", &[("visavis-fleet", "true")], &[]);
    assert_eq!((answer.status, answer.problem().as_str()), (409, "nothing_before"));
}

#[test]
fn a_node_that_starts_while_the_redis_is_away_runs_what_it_ran() {
    let mut fleet = Fleet::stubbed();
    let (stays, goes) = (fleet.node(), fleet.node());
    let (host, away) = (node(&fleet, &stays), node(&fleet, &goes));
    let first = deploy(&host.operator(), "first");
    await_digest(&away, &first);
    drop(away);
    let second = deploy(&host.operator(), "second");
    fleet.redis.kill();
    let away = goes.start_unready(&["--queue", &fleet.redis.url()]);
    let overview = away.operator().overview();
    assert_eq!(serving(&overview)["digest"], first.as_str(), "{overview}");
    assert_eq!(away.client().get("/readyz").status, 503);
    fleet.redis.restart();
    await_digest(&away, &second);
    assert_eq!(serving(&host.operator().overview())["digest"], second.as_str());
}

#[test]
fn what_many_nodes_reject_is_withdrawn_everywhere() {
    let fleet = Fleet::stubbed();
    let lenient = node(&fleet, &fleet.node());
    let key = "RWQMNUcEAMpKNSxiyoH+7iun/mDvhocVY+7dU5Cs2647GoN4em0fX2/x";
    let strict = || node(&fleet, &fleet.node().set("VISAVIS_COMPONENTS__TRUSTED_KEYS", key));
    let strict = [strict(), strict()];
    let before = serving(&lenient.operator().overview())["digest"].as_str().unwrap().to_owned();
    let digest = deploy(&lenient.operator(), "unsigned");
    assert_ne!(digest, before);
    await_digest(&lenient, &before);
    for host in &strict {
        let overview = host.operator().overview();
        assert_eq!(serving(&overview)["digest"], before.as_str(), "{overview}");
    }
}

#[test]
fn who_only_reaches_the_redis_brings_no_code_to_a_node() {
    let fleet = Fleet::stubbed();
    let host = node(&fleet, &fleet.node());
    let before = serving(&host.operator().overview()).clone();
    let digest = "ab".repeat(32);
    let notice = format!(r#"{{"digest":"{digest}","order":"{{}}","slots":["scorer"],"tolerance":100}}"#);
    let sealed = serde_json::json!({ "notice": notice, "mac": "00".repeat(32) }).to_string();
    let value = format!("1 {digest} {sealed}");
    let mut redis = TcpStream::connect(fleet.redis.url().trim_start_matches("redis://")).unwrap();
    let words = ["HSET", "{visavis}:fleet", "now:scorer", &value];
    let mut command = format!("*{}\r\n", words.len());
    words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    redis.write_all(command.as_bytes()).unwrap();
    redis.write_all(b"PUBLISH {visavis}:events !\r\n").unwrap();
    let mut answer = [0; 4];
    redis.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b":1\r\n");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(*serving(&host.operator().overview()), before);
}

#[test]
fn a_node_by_itself_has_no_others_to_tell() {
    let host = Setup::new().start();
    let wishes = Wishes { fleet: true, ..Wishes::default() };
    let answer = host.operator().deploy("scorer", &built("scorer"), &wishes);
    assert_eq!((answer.status, answer.problem().as_str()), (409, "alone"));
}
