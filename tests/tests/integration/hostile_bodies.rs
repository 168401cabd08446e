//! Bodies and requests that are malformed: each gets its refusal, and the next good request is served at once.

use std::time::Duration;

use visavis_tests::form::{BOUNDARY, Form};
use visavis_tests::host::{Host, Setup};
use visavis_tests::photos::small;
use visavis_tests::raw::{Exchange, exchange, once};

/// One request, and the statuses of which one must come; with a problem document when the host itself can still word one.
struct Case {
    name: String,
    bytes: Vec<u8>,
    statuses: &'static [u16],
    /// The code of the document; `None` where the HTTP library refuses before anybody can word it.
    code: Option<&'static str>,
}

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, status: &'static [u16], code: &'static str) -> Case {
    Case { name: name.into(), bytes: bytes.into(), statuses: status, code: Some(code) }
}

/// A whole request to `/verify`.
fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn good() -> Form {
    Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320))
}

/// A form that ends early but says so: its length is that of what is sent.
fn cut_forms() -> Vec<Case> {
    let form = good();
    let body = form.body();
    // The last bytes close the form: it is whole without the line end behind them.
    let whole = body.len() - 2;
    let lengths = (0..40).map(|part| whole * part / 40).chain(whole - 10..whole);
    let cut = lengths.map(|length| {
        let bytes = post(&form.content_type(), &body[..length]);
        case(format!("a form cut to {length} bytes"), bytes, &[400], "malformed_request")
    });
    cut.collect()
}

fn crooked_forms() -> Vec<Case> {
    let form_type = format!("multipart/form-data; boundary={BOUNDARY}");
    let form_case =
        |name: &str, body: Vec<u8>, status: &'static [u16], code| case(name, post(&form_type, &body), status, code);
    let text = |body: &str| body.replace('B', BOUNDARY).into_bytes();
    let head = "--B\r\nContent-Disposition: form-data; name=image1\r\n";
    let nine = good().text("a", "1").text("b", "1").text("c", "1").text("d", "1").text("e", "1").text("f", "1");
    vec![
        form_case("an empty body", vec![], &[400], "malformed_request"),
        form_case("a form of nothing but its end", text("--B--\r\n"), &[422], "missing_field"),
        form_case("noise as a form", vec![0xa5; 10_000], &[400], "malformed_request"),
        form_case(
            "bare line feeds",
            text("--B\nContent-Disposition: form-data; name=image1\n\nx\n--B--\n"),
            &[400],
            "malformed_request",
        ),
        form_case(
            "no disposition",
            text("--B\r\nContent-Type: image/png\r\n\r\nx\r\n--B--\r\n"),
            &[400],
            "malformed_request",
        ),
        form_case(
            "no name",
            text("--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--\r\n"),
            &[400],
            "malformed_request",
        ),
        form_case(
            "an attachment",
            text("--B\r\nContent-Disposition: attachment; name=image1\r\n\r\nx\r\n--B--\r\n"),
            &[400],
            "malformed_request",
        ),
        form_case(
            "an open quote",
            text("--B\r\nContent-Disposition: form-data; name=\"image1\r\n\r\nx\r\n--B--\r\n"),
            &[400],
            "malformed_request",
        ),
        form_case(
            "a NUL in a header",
            text("--B\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\nx\r\n--B--\r\n"),
            &[400],
            "malformed_request",
        ),
        form_case(
            "a header without end",
            text(&format!("{head}X: {}", "y".repeat(100_000))),
            &[400],
            "malformed_request",
        ),
        form_case(
            "a thousand headers",
            text(&format!("{head}{}\r\nx\r\n--B--\r\n", "X-Y: z\r\n".repeat(2000))),
            &[400],
            "malformed_request",
        ),
        form_case(
            "base64 in a form",
            text(&format!("{head}Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--B--\r\n")),
            &[400],
            "malformed_request",
        ),
        form_case("text behind a boundary", text("--B trailing\r\n\r\n--B--\r\n"), &[400], "malformed_request"),
        form_case("ten parts", nine.text("g", "1").text("h", "1").body(), &[400], "malformed_request"),
        form_case("ten thousand boundaries", text(&"--B\r\n\r\n".repeat(10_000)), &[400], "malformed_request"),
        form_case("three files", good().file("image3", b"x").body(), &[422], "unknown_field"),
        form_case("one file", Form::new().file("image1", b"x").body(), &[422], "missing_field"),
        form_case("one file twice", good().file("image2", b"x").body(), &[400], "malformed_request"),
        form_case("empty files", Form::pair(b"", b"").body(), &[422], "missing_field"),
        form_case("a name of 5000 letters", good().text(&"n".repeat(5000), "x").body(), &[422], "unknown_field"),
        form_case(
            "a threshold of 100 kB",
            good().text("threshold", &"1".repeat(100_000)).body(),
            &[400],
            "malformed_request",
        ),
        form_case(
            "a threshold with a line end",
            good().text("threshold", "1\r\n1").body(),
            &[400],
            "malformed_request",
        ),
        form_case("a threshold of infinity", good().text("threshold", "inf").body(), &[422], "invalid_field"),
        form_case(
            "a policy of noise",
            good().part("name=\"non_frontal\"", None, b"\xff\xfe").body(),
            &[400],
            "malformed_request",
        ),
        case(
            "a boundary of 71 letters",
            post(&format!("multipart/form-data; boundary={}", "b".repeat(71)), b"x"),
            &[400],
            "malformed_request",
        ),
        case(
            "a boundary with a quote",
            post("multipart/form-data; boundary=\"a\\\"b\"", b"x"),
            &[400],
            "malformed_request",
        ),
        case(
            "two boundaries",
            post("multipart/form-data; boundary=a; boundary=b", b"--a--"),
            &[400],
            "malformed_request",
        ),
        case(
            "another boundary",
            post("multipart/form-data; boundary=other", &good().body()),
            &[400],
            "malformed_request",
        ),
    ]
}

fn crooked_json() -> Vec<Case> {
    let malformed: &[&[u8]] = &[
        b"",
        b"{",
        b"}",
        b"null",
        b"[]",
        b"true",
        b"\"image1\"",
        b"{\"image1\"",
        b"{\"image1\":}",
        b"{\"image1\":\"eA==\",}",
        b"{'image1':'eA=='}",
        b"{\"image1\":\"eA==\"} x",
        b"{\"image1\":\"eA==\",\"image1\":\"eA==\"}",
        b"{\"image1\":\"%%%%\",\"image2\":\"eA==\"}",
        b"{\"image1\":\"e\",\"image2\":\"eA==\"}",
        b"{\"image1\":7,\"image2\":\"eA==\"}",
        b"{\"image1\":{},\"image2\":\"eA==\"}",
        b"{\"image1\":\"\\ud800\",\"image2\":\"eA==\"}",
        b"{\"image1\":\"\xff\xff\",\"image2\":\"eA==\"}",
        b"{\"image1\":\"eA==\",\"image2\":\"eA==\",\"threshold\":\"1\"}",
        b"{\"image1\":\"eA==\",\"image2\":\"eA==\",\"threshold\":1e999}",
        b"{\"image1\":\"eA==\",\"image2\":\"eA==\",\"non_frontal\":true}",
        b"\xef\xbb\xbf{}",
        b"\0\0\0\0",
    ];
    let malformed = malformed.iter().enumerate().map(|(number, body)| {
        case(format!("JSON {number}"), post("application/json", body), &[400], "malformed_request")
    });
    let deep = ["[".repeat(500_000), format!("{{\"image1\":{}", "[".repeat(500_000)), "{\"a\":".repeat(100_000)];
    let deep = deep.into_iter().map(|body| {
        case(
            format!("JSON that is deep: {}", &body[..9]),
            post("application/json", body.as_bytes()),
            &[400, 422],
            "malformed_request",
        )
    });
    let invalid = [
        ("JSON without fields", "{}", "missing_field"),
        ("JSON of empty strings", "{\"image1\":\"\",\"image2\":\"\"}", "missing_field"),
        ("JSON of nothing", "{\"image1\":null,\"image2\":null}", "missing_field"),
        ("JSON with three images", "{\"image1\":\"eA==\",\"image2\":\"eA==\",\"image3\":\"eA==\"}", "unknown_field"),
        ("JSON with a threshold of 3", "{\"image1\":\"eA==\",\"image2\":\"eA==\",\"threshold\":3}", "invalid_field"),
    ];
    let invalid = invalid.map(|(name, body, code)| case(name, post("application/json", body.as_bytes()), &[422], code));
    malformed.chain(deep).chain(invalid).collect()
}

/// Requests that are not HTTP, or not quite: what answers is the HTTP library, and it may just close.
fn crooked_requests() -> Vec<Case> {
    let long = "x".repeat(100_000);
    let many = "X-Y: z\r\n".repeat(5000);
    let requests: Vec<(&str, Vec<u8>)> = vec![
        ("nothing but a line end", b"\r\n\r\n\r\n\r\n".to_vec()),
        ("noise", vec![0xa5; 5000]),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaa\r\n\r\n".to_vec()),
        ("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("no version", b"GET /\r\n\r\n".to_vec()),
        ("version 9", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec()),
        ("a method with a space", b"GE T / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a path with a NUL", b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a header without a colon", b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n".to_vec()),
        ("a header with a NUL", b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n".to_vec()),
        ("a folded header", b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".to_vec()),
        ("no host", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a path of 100 kB", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()),
        ("a header of 100 kB", format!("GET / HTTP/1.1\r\nHost: x\r\nA: {long}\r\n\r\n").into_bytes()),
        ("5000 headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n").into_bytes()),
        ("a length that is no number", b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n".to_vec()),
        ("a negative length", b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_vec()),
        (
            "two lengths",
            b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_vec(),
        ),
        ("an unknown coding", b"POST /verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip\r\n\r\nab".to_vec()),
    ];
    let case = |(name, bytes): (&str, Vec<u8>)| Case {
        name: name.to_owned(),
        bytes,
        statuses: &[400, 404, 405, 413, 414, 415, 422, 431, 501, 505],
        code: None,
    };
    requests.into_iter().map(case).collect()
}

/// Bodies in chunks, of which something is wrong.
fn crooked_chunks() -> Vec<Case> {
    let chunked = |body: &[u8]| {
        let head = format!(
            "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let body = good().body();
    let whole = [format!("{:x}\r\n", body.len()).as_bytes(), &body[..], b"\r\n0\r\n\r\n"].concat();
    assert!(whole.len() > 20_000);
    let crooked: Vec<(&str, Vec<u8>)> = vec![
        ("no size", b"zz\r\nab\r\n0\r\n\r\n".to_vec()),
        ("a size over all bounds", b"fffffffffffffffff\r\nab\r\n0\r\n\r\n".to_vec()),
        ("a negative size", b"-5\r\nab\r\n0\r\n\r\n".to_vec()),
        ("no line end behind a chunk", b"2\r\nabX\r\n0\r\n\r\n".to_vec()),
        ("an extension of 100 kB", format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(100_000)).into_bytes()),
        ("endless trailers", format!("0\r\n{}\r\n", "X: y\r\n".repeat(20_000)).into_bytes()),
        ("an empty body", b"0\r\n\r\n".to_vec()),
    ];
    let cases = crooked.into_iter().map(|(name, body)| Case {
        name: format!("chunks: {name}"),
        bytes: chunked(&body),
        statuses: &[400, 431],
        code: None,
    });
    cases.collect()
}

fn assert_served(host: &Host) {
    let answer = host.client().get("/");
    assert_eq!(answer.status, 200);
}

/// What is wrong with the answer to a case; nothing when it is as documented.
fn fault(case: &Case, told: &Exchange) -> Option<String> {
    let documented = match (told.status(), case.code) {
        (Some(status), Some(code)) => case.statuses.contains(&status) && told.code().as_deref() == Some(code),
        (Some(status), None) => case.statuses.contains(&status),
        // The HTTP library may close without a word, but not keep the client waiting.
        (None, None) => true,
        (None, Some(_)) => false,
    };
    let prompt = told.took < Duration::from_secs(12);
    (!documented || !prompt).then(|| {
        let text: String = told.text().chars().take(300).collect();
        format!("{}: {:?} after {:?}: {text}", case.name, told.status(), told.took)
    })
}

#[test]
fn every_malformed_request_gets_its_refusal() {
    let host = Setup::new().set("VISAVIS_SERVER__HEADER_TIMEOUT", "3s").start();
    let verified = |host: &Host| host.client().verify(&good())["result"]["verified"] == true;
    assert!(verified(&host));
    let before = host.resident();
    let cases: Vec<_> = [cut_forms(), crooked_forms(), crooked_json(), crooked_requests(), crooked_chunks()]
        .into_iter()
        .flatten()
        .collect();
    assert!(cases.len() >= 125, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(fault(case, &once(host.address(), &case.bytes)));
        assert_served(&host);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(verified(&host));
    let after = host.resident();
    println!("resident: {} MiB before, {} MiB after {} requests", before >> 20, after >> 20, cases.len());
    assert!(after < before + (64 << 20), "{before} bytes before, {after} after");
}

#[test]
fn clients_that_go_away_in_the_middle_leave_nothing() {
    let host = Setup::new().start();
    let form = good();
    let whole = post(&form.content_type(), &form.body());
    assert_served(&host);
    for part in 0..40 {
        let length = whole.len() * part / 40;
        let told = exchange(host.address(), [&whole[..length.max(1)]], true, Duration::from_secs(10));
        assert!(matches!(told.status(), None | Some(400 | 408)), "{length}: {}", told.text());
        assert!(told.took < Duration::from_secs(9), "{length}: {:?}", told.took);
    }
    assert_eq!(host.client().verify(&form)["result"]["verified"], true);
}
