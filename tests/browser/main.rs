//! The page in a real browser: each scene is what a person does, against the real host.
//!
//! Owns the hosts, the network between them and the browser, and the files that scenes pick. What is done and seen stands in
//! `scenes.mjs`. Must never look into the page.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, fs};

use serde_json::{Value, json};
use tempfile::TempDir;
use visavis_tests::host::{Setup, repository, shared};
use visavis_tests::photos::{assets, oriented, pixels, saved, side_by_side, small};
use visavis_tests::proxy::{Proxy, Weather};
use visavis_tests::stub;

/// How long one scene may take.
const PATIENCE: Duration = Duration::from_secs(170);

/// Plays a scene on a host; `more` is told to it besides, and `ordered` does what it asks for.
fn play(scene: &str, host: SocketAddr, more: &Value, mut ordered: impl FnMut(&str)) {
    let made = repository().join("target/visavis-tests");
    let modules = made.join("browser");
    assert!(modules.join(".complete").is_file(), "there is no Playwright: run `cargo xtask setup --tests`");
    let screenshots = made.join("screenshots");
    fs::create_dir_all(&screenshots).expect("the target folder can be written");
    let mut told = json!({
        "page": format!("http://{host}"),
        "browser": browser(),
        "modules": modules,
        "screenshots": screenshots,
        "photographs": assets().join("photos"),
    });
    told.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let mut command = Command::new("node");
    command.arg(repository().join("tests/browser/scenes.mjs")).args([scene, &told.to_string()]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut node = Node(child.expect("node starts"));
    let (said, lines) = channel();
    let stdout = BufReader::new(node.0.stdout.take().expect("stdout is piped"));
    thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| _ = said.send(line)));
    let stderr = node.0.stderr.take().expect("stderr is piped");
    let complaints = thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
    let mut stdin = node.0.stdin.take().expect("stdin is piped");
    let deadline = Instant::now() + PATIENCE;
    let mut passed = false;
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.strip_prefix("order ") {
                Some(order) => {
                    ordered(order);
                    writeln!(stdin, "done").expect("the scene waits for it");
                }
                None => passed |= line == "passed",
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("the scene {scene} did not end within {PATIENCE:?}"),
        }
    }
    let status = node.0.wait().expect("a child that ends");
    assert!(passed && status.success(), "{scene}: {}", complaints.join().unwrap_or_default());
}

/// The scene's process, which ends with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's Chromium, or what others call it.
fn browser() -> PathBuf {
    let folders = env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = names.iter().flat_map(|name| env::split_paths(&folders).map(move |folder| folder.join(name)));
    places.into_iter().find(|path| path.is_file()).expect("there is no Chromium: run `cargo xtask setup --tests`")
}

fn on_shared(scene: &str) {
    play(scene, shared().address(), &json!({}), |order| panic!("{order}"));
}

/// A host whose photographs say how long they take, with one worker.
fn stubbed() -> Setup {
    Setup::new()
        .set("VISAVIS_COMPONENTS__ANALYZER__PATH", &stub::component().to_string_lossy())
        .set("VISAVIS_WORKER__CONCURRENCY", "1")
}

#[test]
fn one_person_matches() {
    on_shared("match");
}

#[test]
fn two_people_do_not() {
    on_shared("mismatch");
}

#[test]
fn a_photograph_without_a_face_is_named() {
    on_shared("no_face");
}

#[test]
fn a_photograph_of_two_people_is_named() {
    let folder = TempDir::new().expect("a folder");
    let crowd = saved(folder.path(), "crowd.jpg", &side_by_side("obama2.jpg", "biden.jpg"));
    play("two_faces", shared().address(), &json!({ "crowd": crowd }), |order| panic!("{order}"));
}

#[test]
fn a_file_that_is_no_photograph_is_named() {
    on_shared("not_an_image");
}

#[test]
fn a_slow_task_shows_how_it_stands_and_can_be_cancelled() {
    let host = stubbed().start();
    play("slow", host.address(), &json!({}), |order| panic!("{order}"));
}

#[test]
fn a_host_that_was_away_is_found_again() {
    let host = stubbed().start();
    let network = Proxy::to(host.address());
    play("away", network.address(), &json!({}), |order| match order {
        "cut" => network.set(Weather::Cut),
        "fair" => network.set(Weather::Fair),
        other => panic!("{other}"),
    });
}

#[test]
fn a_host_that_asks_for_a_key_is_shown_one() {
    let setup = Setup::new().set("VISAVIS_AUTH__MODE", "keys");
    let key = setup.key(&["page"]);
    let host = setup.start();
    play("locked", host.address(), &json!({ "key": key }), |order| panic!("{order}"));
}

#[test]
fn the_reference_can_be_tried() {
    on_shared("reference");
}

#[test]
fn the_camera_takes_a_photograph() {
    let folder = TempDir::new().expect("a folder");
    // A film in Motion JPEG is one JPEG after the other.
    let film = saved(folder.path(), "film.mjpeg", &small("obama.jpg", 640).repeat(30));
    play("camera", shared().address(), &json!({ "film": film }), |order| panic!("{order}"));
}

#[test]
fn the_keyboard_reaches_everything() {
    on_shared("keyboard");
}

#[test]
fn a_photograph_on_its_side_is_marked_upright() {
    let folder = TempDir::new().expect("a folder");
    let sideways = saved(folder.path(), "sideways.jpg", &oriented("obama.jpg", 6));
    assert!(pixels("obama.jpg").height() > pixels("obama.jpg").width());
    play("upright", shared().address(), &json!({ "sideways": sideways }), |order| panic!("{order}"));
}
