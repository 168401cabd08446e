//! Webhooks: signed, sent until they are taken, and only to where the operator lets them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use visavis_tests::fleet::Fleet;
use visavis_tests::form::Form;
use visavis_tests::host::{Setup, repository, shared};
use visavis_tests::photos::saved;
use visavis_tests::receiver::{Received, Receiver, free_address};
use visavis_tests::stub;

const PATIENCE: Duration = Duration::from_secs(60);

/// A host whose photographs say what is to come of them, and which sends webhooks there.
fn setup(allow: &[String]) -> Setup {
    let analyzer = stub::component().to_string_lossy().into_owned();
    let setup = Setup::new().set("VISAVIS_COMPONENTS__ANALYZER__PATH", &analyzer);
    setup.set("VISAVIS_WEBHOOKS__ALLOW", &allow.join(","))
}

fn at(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn form(number: u32, url: &str) -> Form {
    stub::form(number, Duration::ZERO, 100).text("callback_url", url)
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A program of `docs/webhooks.md`, by the language of its fence.
fn documented(language: &str) -> String {
    let text = fs::read_to_string(repository().join("docs/webhooks.md")).expect("there is a document");
    let program = text.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    program.expect("the document shows how to verify").to_owned()
}

/// Whether the documented programs take a webhook for genuine; they agree.
fn is_genuine(folder: &Path, secret: &str, webhook: &Received, body: &[u8]) -> bool {
    let headers: serde_json::Map<_, _> =
        webhook.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let case = json!({ "secret": secret, "headers": headers, "body": STANDARD.encode(body) });
    let case = saved(folder, "case.json", case.to_string().as_bytes());
    let python = format!(
        "{}\nimport json, sys\ncase = json.load(open(sys.argv[1]))\n\
         print(verified(case['secret'], case['headers'], base64.b64decode(case['body'])))\n",
        documented("python")
    );
    let javascript = format!(
        "{}\nimport {{ readFileSync }} from \"node:fs\";\nconst it = JSON.parse(readFileSync(process.argv[2], \"utf8\"));\n\
         console.log(verified(it.secret, it.headers, Buffer.from(it.body, \"base64\")));\n",
        documented("javascript")
    );
    let run = |program: &str, name: &str, text: &str| {
        let path = saved(folder, name, text.as_bytes());
        let output = Command::new(program).arg(path).arg(&case).output().expect("the interpreter is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_lowercase() == "true"
    };
    let verdicts = [run("python3", "verify.py", &python), run("node", "verify.mjs", &javascript)];
    assert_eq!(verdicts[0], verdicts[1], "Python and JavaScript disagree");
    verdicts[0]
}

#[test]
fn an_end_is_told_with_a_signature_that_the_documented_programs_verify() {
    let receiver = Receiver::start(&[]);
    let host = setup(&[at(receiver.address())]).start();
    let client = host.client();
    let id = client.submit(&form(1, &format!("http://{}/ended?order=4711", receiver.address())));
    let status = client.get(&format!("/status/{id}?wait=30"));
    assert_eq!(status.json()["status"], "SUCCESS");
    let broken = Form::pair(b"neither", b"nor").text("callback_url", &at(receiver.address()));
    let failed = client.submit(&broken);
    let failure = client.get(&format!("/status/{failed}?wait=30"));
    assert_eq!(failure.json()["status"], "FAILURE");

    let received = receiver.wait_for(2, PATIENCE);
    let about = |id: &str| {
        let is = |it: &&Received| serde_json::from_slice::<Value>(&it.body).expect("JSON")["task_id"] == id;
        received.iter().find(is).expect("one of them")
    };
    let (told, other) = (about(&id), about(&failed));
    assert_eq!(told.line, "POST /ended?order=4711 HTTP/1.1");
    assert_eq!(told.header("content-type"), "application/json");
    assert_eq!(told.body, status.body, "as the status says it, to the letter");
    assert_eq!((&other.body, other.line.as_str()), (&failure.body, "POST / HTTP/1.1"));
    assert!(told.header("webhook-id").starts_with("msg_") && told.header("webhook-id") != other.header("webhook-id"));

    let folder = host.setup().folder();
    let file = host.setup().data().join("webhook.secret");
    assert_eq!(fs::metadata(&file).expect("the host has made one").permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(file).expect("it can be read").trim().to_owned();
    assert!(is_genuine(folder, &secret, told, &told.body) && is_genuine(folder, &secret, other, &other.body));
    let mut changed = told.body.clone();
    changed[20] ^= 1;
    assert!(!is_genuine(folder, &secret, told, &changed), "another body");
    let stranger = format!("whsec_{}", STANDARD.encode([7; 32]));
    assert!(!is_genuine(folder, &stranger, told, &told.body), "another secret");
    wait_for("nothing is left to be told", || host.log().matches("a webhook was delivered").count() == 2);
    assert!(!host.log().contains("4711"), "the log has a client's query");
}

#[test]
fn what_the_operator_has_not_listed_is_refused_by_name() {
    let off = shared().client().post("/verify", &form(1, "https://hooks.example.org/"), &[]);
    assert_eq!((off.status, off.problem().as_str()), (422, "invalid_field"));
    assert!(off.json()["field"] == "callback_url" && off.text().contains("webhooks.allow is empty"), "{}", off.text());

    let host = setup(&["hooks.example.org".to_owned(), "http://10.0.0.5:8080".to_owned()]).start();
    let client = host.client();
    for (url, words) in [
        ("http://hooks.example.org/", "does not list"),
        ("https://10.0.0.5:8080/", "does not list"),
        ("https://169.254.169.254/latest/meta-data", "does not list"),
        ("https://user@hooks.example.org/", "without user"),
        ("hooks.example.org", "absolute URL"),
    ] {
        let refused = client.post("/verify", &form(1, url), &[]);
        assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid_field"), "{url}: {}", refused.text());
        assert_eq!(refused.json()["field"], "callback_url", "{url}");
        assert!(refused.text().contains(words), "{url}: {}", refused.text());
        let body = json!({ "image1": "b25l", "image2": "dHdv", "callback_url": url }).to_string();
        let refused = client.send("POST", "/verify", &[("content-type", "application/json")], body.as_bytes());
        assert_eq!((refused.status, refused.problem().as_str()), (422, "invalid_field"), "{url}: {}", refused.text());
    }
    assert_eq!(client.post("/verify", &form(1, ""), &[]).problem(), "missing_field");
}

#[test]
fn a_webhook_is_sent_until_it_is_taken_and_follows_nobody_elsewhere() {
    let (address, elsewhere) = (free_address(), Receiver::start(&[]));
    let host = setup(&[at(address), at(elsewhere.address())]).start();
    let id = host.client().submit(&form(2, &at(address)));
    wait_for("nobody listens, and that is told", || {
        host.log()
            .lines()
            .any(|line| line.contains("it is sent again") && line.contains("refused") && line.contains(&id))
    });
    let redirect = format!("302 Found\r\nLocation: http://{}/", elsewhere.address());
    let receiver = Receiver::at(address, &["500 Internal Server Error", &redirect]);
    let received = receiver.wait_for(3, PATIENCE);
    let names: Vec<_> = received.iter().map(|it| (it.header("webhook-id"), &it.body)).collect();
    assert!(names.iter().all(|name| *name == names[0]), "the same news under the same name");
    wait_for("it was taken", || host.log().contains("a webhook was delivered"));
    assert_eq!((receiver.received().len(), elsewhere.received().len()), (3, 0));
    assert!(host.log().contains("it answered 500") && host.log().contains("it answered 302"), "{}", host.log());
}

#[test]
fn what_cannot_be_delivered_is_given_up_and_logged() {
    let (hidden, deaf) = (Receiver::start(&[]), Receiver::start(&["503 Service Unavailable"; 100]));
    let local = format!("http://localhost:{}", hidden.address().port());
    let host = setup(&[local.clone(), at(deaf.address())]).set("VISAVIS_WEBHOOKS__RETRY_FOR", "2s").start();
    let client = host.client();
    let inside = client.submit(&form(3, &format!("{local}/?token=wicked")));
    let late = client.submit(&form(4, &format!("{}/?token=wicked", at(deaf.address()))));
    let said = |id: &str, words: &[&str]| {
        host.log().lines().any(|line| line.contains(id) && words.iter().all(|word| line.contains(word)))
    };
    wait_for("a name that leads to this machine is refused", || said(&inside, &["ERROR", "not public"]));
    wait_for("it is given up in time", || said(&late, &["ERROR", "given up", "it answered 503"]));
    assert!(hidden.received().is_empty() && !deaf.received().is_empty());
    assert!(!host.log().contains("wicked"), "the log has a client's query");
    for id in [inside, late] {
        assert_eq!(client.get(&format!("/status/{id}")).json()["status"], "SUCCESS", "the task is as it was");
    }
}

#[test]
fn what_was_not_told_before_a_crash_is_told_after_it() {
    let address = free_address();
    let host = setup(&[at(address)]).start();
    let id = host.client().submit(&form(5, &at(address)));
    let status = host.client().get(&format!("/status/{id}?wait=30"));
    wait_for("the first attempt has failed", || host.log().contains("it is sent again"));
    let setup = host.kill();
    let receiver = Receiver::at(address, &[]);
    let host = setup.start();
    let received = receiver.wait_for(1, PATIENCE);
    assert_eq!(received[0].body, status.body);
    wait_for("that is noted", || host.log().contains("a webhook was delivered"));
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn of_many_nodes_one_tells() {
    const TASKS: usize = 12;
    let receiver = Receiver::start(&[]);
    let fleet = Fleet::stubbed().set("VISAVIS_WEBHOOKS__ALLOW", &at(receiver.address()));
    // On a Redis no node makes a secret of its own.
    let alone = fleet.node().run(["serve", "--listen", "127.0.0.1:0", "--admin", "off", "--queue", &fleet.redis.url()]);
    let told = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(!alone.status.success() && told.contains("webhook.secret") && told.contains("whsec_"), "{told}");

    let folder = Setup::new();
    let secret = format!("whsec_{}", STANDARD.encode([9; 32]));
    let file = saved(folder.folder(), "secret", secret.as_bytes());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let fleet = fleet.set("VISAVIS_WEBHOOKS__SECRET_FILE", &file.to_string_lossy());
    let (edge, workers) = (fleet.edge(), [fleet.worker(), fleet.worker()]);
    let client = edge.client();
    let ids: Vec<_> = (0..TASKS).map(|number| client.submit(&form(number as u32, &at(receiver.address())))).collect();
    for id in &ids {
        client.ended(id);
    }
    let delivered = || workers.iter().map(|worker| worker.said(&["a webhook was delivered"])).sum::<usize>();
    wait_for("all are told", || delivered() >= TASKS);
    let received = receiver.received();
    let mut about: Vec<_> = received
        .iter()
        .map(|it| {
            serde_json::from_slice::<Value>(&it.body).expect("JSON")["task_id"].as_str().expect("an id").to_owned()
        })
        .collect();
    about.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(about, ids, "each once");
    assert!(is_genuine(folder.folder(), &secret, &received[0], &received[0].body), "whichever node told");
}
