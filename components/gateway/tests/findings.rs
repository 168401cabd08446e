//! Bodies of requests that somebody made up: all that a fuzzer has found, and some more, by the same properties.

#[path = "../../../fuzz/src/requests.rs"]
mod requests;

use std::fs;

use proptest::prelude::*;

/// What must hold of any bytes.
type Property = fn(&[u8]);

#[test]
fn what_a_fuzzer_found_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/regressions");
    let properties: [(&str, Property); 2] = [("form", requests::form), ("json", requests::json)];
    for (target, property) in properties {
        let mut replayed = 0;
        for finding in fs::read_dir(format!("{folder}/{target}")).unwrap() {
            let path = finding.unwrap().path();
            println!("{}", path.display());
            property(&fs::read(path).unwrap());
            replayed += 1;
        }
        assert!(replayed > 0, "{folder}/{target} holds nothing");
    }
}

/// What forms are made of, in any order.
fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let words = [
        "--x",
        "\r\n",
        "--",
        "\r\n--x\r\n",
        "Content-Disposition: form-data; name=",
        "\"image1\"",
        "image2",
        "a\\\"b",
        ";",
        "=",
        "filename=",
        "\"",
        "Content-Type: ",
        "image/png",
        "threshold",
        "0.9",
        "\r\n\r\n",
        " ",
        "\t",
    ];
    let word = prop::sample::select(words.to_vec()).prop_map(|word: &str| word.as_bytes().to_vec());
    prop::collection::vec(prop_oneof![8 => word, 1 => prop::collection::vec(any::<u8>(), 0..4)], 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_form_keeps_the_properties(pieces in pieces()) {
        requests::form(&[b"multipart/form-data; boundary=x\n--x\r\n".to_vec(), pieces.concat()].concat());
        requests::form(&[b"multipart/form-data; boundary=".to_vec(), pieces.concat()].concat());
    }

    #[test]
    fn every_body_keeps_the_properties(pieces in prop::collection::vec(prop_oneof![
        "[{}\\[\\]:,\"0-9.eE+-]{1,3}", Just("\"image1\":\"b25l\"".to_owned()), Just("\"image2\":\"\\/\"".to_owned()),
        Just("\"threshold\":".to_owned()), Just("null".to_owned()), Just("\"callback_url\":\"\\u0001\"".to_owned()),
    ], 0..20)) {
        requests::json(pieces.concat().as_bytes());
        requests::json(format!("{{{}}}", pieces.join(",")).as_bytes());
    }
}
