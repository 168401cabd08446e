//! Files that are no photographs, in either place of a request: each gets the documented failure within the limits, the
//! next good request is served at once, and the memory comes back.

use std::time::{Duration, Instant};

use visavis_tests::broken::{Broken, files};
use visavis_tests::form::Form;
use visavis_tests::host::Setup;
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
    (0..10).for_each(|_| assert_served());
    let before = host.resident();

    let mut wrong = Vec::new();
    for (number, Broken { name, bytes, codes }) in files().into_iter().enumerate() {
        let image = number % 2 + 1;
        let form = if image == 1 { Form::pair(&bytes, &second) } else { Form::pair(&first, &bytes) };
        let start = Instant::now();
        let status = client.verify(&form);
        let code = status["error"]["code"].as_str().unwrap_or("none");
        let at = status["error"]["image"].as_u64();
        if status["status"] != "FAILURE" || !codes.contains(&code) || at != Some(image as u64) {
            wrong.push(format!("{name}: {code} of image {at:?}, not one of {codes:?}: {status}"));
        }
        if start.elapsed() > Duration::from_secs(20) {
            wrong.push(format!("{name}: it took {:?}", start.elapsed()));
        }
        assert_served();
    }

    std::thread::sleep(Duration::from_secs(1));
    let after = host.resident();
    println!("resident: {} MiB before, {} MiB after", before >> 20, after >> 20);
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    assert!(after < before + (128 << 20), "{before} bytes before, {after} after");
}
