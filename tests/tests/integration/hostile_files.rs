//! Files that are no photographs, in either place of a request: each gets the documented failure within the limits, the
//! next good request is served at once, and the memory comes back.

use std::time::{Duration, Instant};

use visavis_tests::broken::{Broken, files};
use visavis_tests::form::Form;
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos::small;

#[test]
fn every_broken_file_fails_as_documented_and_leaves_nothing() {
    let host = Setup::new().start();
    let client = host.client();
    let (first, second) = (small("obama.jpg", 320), small("obama2.jpg", 320));
    let good = Form::pair(&first, &second);
    let assert_served = || {
        let start = Instant::now();
        assert_eq!(client.verify(&good)["result"]["verified"], true);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    };
    // What ordinary photographs take at their full size is no leak: only what goes beyond that counts.
    let ordinary = Form::photos("obama3.jpg", "32bit.png");
    (0..10).for_each(|_| assert_eq!(client.verify(&ordinary)["result"]["verified"], true));
    let before = host.resident();

    let files = files();
    let form = |number: usize, bytes: &[u8]| {
        if number.is_multiple_of(2) { Form::pair(bytes, &second) } else { Form::pair(&first, bytes) }
    };
    let mut wrong = Vec::new();
    for (number, Broken { name, bytes, codes }) in files.iter().enumerate() {
        let start = Instant::now();
        let status = client.verify(&form(number, bytes));
        let code = status["error"]["code"].as_str().unwrap_or("none");
        let (image, at) = (number % 2 + 1, status["error"]["image"].as_u64());
        if status["status"] != "FAILURE" || !codes.contains(&code) || at != Some(image as u64) {
            wrong.push(format!("{name}: {code} of image {at:?}, not one of {codes:?}: {status}"));
        }
        if start.elapsed() > Duration::from_secs(20) {
            wrong.push(format!("{name}: it took {:?}", start.elapsed()));
        }
        assert_served();
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));

    // The sandboxes' memory stays with the host for the next request, up to a bound; a leak would go on growing.
    let once = settled(&host);
    for (number, Broken { bytes, .. }) in files.iter().enumerate() {
        client.verify(&form(number, bytes));
    }
    let twice = settled(&host);
    let [before, once, twice] = [before, once, twice].map(|bytes| bytes >> 20);
    println!("resident: {before} MiB before {} files, {once} after them, {twice} after the same again", files.len());
    assert!(
        once < before + 128 && twice < once + 32,
        "{before} MiB before, {once} after, {twice} after the same again"
    );
}

fn settled(host: &Host) -> u64 {
    std::thread::sleep(Duration::from_secs(1));
    host.resident()
}
