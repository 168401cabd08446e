//! What can be wrong within a request: framing that two readers could see differently, forms, floods of chunks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use visavis_tests::form::{BOUNDARY, Form};
use visavis_tests::host::Setup;
use visavis_tests::others::Others;
use visavis_tests::photos::small;
use visavis_tests::raw::once;
use visavis_tests::scale::{Run, scale};

/// Sends all and reads until the host closes.
fn told(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the host listens");
    stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a time above zero");
    let _ = stream.write_all(bytes);
    let mut told = Vec::new();
    let _ = stream.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn no_request_hides_in_another() {
    let run = Run::attack("request smuggling");
    let host =
        Setup::new().set("VISAVIS_SERVER__HEADER_TIMEOUT", "1s").set("VISAVIS_SERVER__REQUEST_TIMEOUT", "3s").start();
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    // Each framing can be read in two ways; only one is that nothing hides behind the first request.
    let framings: Vec<(&str, String, String)> = vec![
        ("a length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n".into(), chunked.clone()),
        ("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".into(), chunked.clone()),
        ("chunks, then something else", "Transfer-Encoding: chunked, identity\r\n".into(), chunked.clone()),
        ("chunks twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".into(), chunked.clone()),
        ("an unknown coding", "Transfer-Encoding: xchunked\r\n".into(), chunked.clone()),
        ("a quoted coding", "Transfer-Encoding: \"chunked\"\r\n".into(), chunked.clone()),
        ("a blank before the colon", "Transfer-Encoding : chunked\r\n".into(), chunked.clone()),
        ("a vertical tab", "Transfer-Encoding: \u{b}chunked\r\n".into(), chunked.clone()),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n".into(), chunked.clone()),
        ("a bare carriage return", "X: y\rTransfer-Encoding: chunked\r\n".into(), chunked),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: {}\r\n", hidden.len()), hidden.into()),
        ("a list of lengths", format!("Content-Length: 0, {}\r\n", hidden.len()), hidden.into()),
        ("a length with a sign", format!("Content-Length: +{}\r\n", hidden.len()), hidden.into()),
        ("a length in hexadecimal", "Content-Length: 0x10\r\n".into(), hidden.into()),
        ("a length over all bounds", "Content-Length: 18446744073709551617\r\n".into(), hidden.into()),
        ("a line feed in a chunk's size", "Transfer-Encoding: chunked\r\n".into(), format!("0\n\n{hidden}")),
        ("a chunk's size with a sign", "Transfer-Encoding: chunked\r\n".into(), format!("+0\r\n\r\n{hidden}")),
        ("a chunk's size with 0x", "Transfer-Encoding: chunked\r\n".into(), format!("0x0\r\n\r\n{hidden}")),
        ("a chunk longer than said", "Transfer-Encoding: chunked\r\n".into(), format!("1\r\nab\r\n0\r\n\r\n{hidden}")),
        ("a chunk size that wraps", "Transfer-Encoding: chunked\r\n".into(), format!("10000000000000000\r\n{hidden}")),
    ];
    let (mut refused, mut wrong) = (0, Vec::new());
    for (name, fields, rest) in &framings {
        let request = format!("POST /verify HTTP/1.1\r\nHost: x\r\n{fields}\r\n{rest}");
        let told = told(host.address(), request.as_bytes());
        let answers = told.matches("HTTP/1.1 ").count();
        // The path of the hidden request is unknown, which only an answer to it would say.
        if answers > 1 || told.contains(" 404 ") {
            wrong.push(format!("{name}: {told}"));
        }
        refused += usize::from(told.starts_with("HTTP/1.1 4"));
    }
    run.counted(&format!("{} framings: {refused} refused, the others closed without a word", framings.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(refused * 2 > framings.len(), "most of them get an answer");
    assert_eq!(host.client().get("/").status, 200);
}

#[test]
fn floods_of_chunks_end() {
    let run = Run::attack("floods of chunks");
    let host = Setup::new().set("VISAVIS_SERVER__HEADER_TIMEOUT", "1s").start();
    let before = host.resident();
    let served = Others::get(&host, "/");
    let form = Form::pair(&small("obama.jpg", 320), &small("obama2.jpg", 320));
    let head = format!(
        "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        form.content_type()
    );
    let count = scale(1 << 20, 8 << 20);
    let floods: [(&str, Vec<u8>); 4] = [
        ("a byte each", b"1\r\nx\r\n".repeat(count)),
        ("with extensions", b"1;name=value;more\r\nx\r\n".repeat(count / 4)),
        ("with zeros before the size", b"00000001\r\nx\r\n".repeat(count / 2)),
        ("whole form, a byte each", {
            let mut chunks = Vec::new();
            form.body().iter().for_each(|byte| chunks.extend_from_slice(&[b'1', b'\r', b'\n', *byte, b'\r', b'\n']));
            chunks
        }),
    ];
    let mut told = Vec::new();
    for (name, flood) in &floods {
        let start = Instant::now();
        let text = self::told(host.address(), &[head.as_bytes(), flood, b"0\r\n\r\n"].concat());
        let status = text.get(9..12).unwrap_or("none").to_owned();
        assert!(["400", "408", "413", "500", "202", "none"].contains(&status.as_str()), "{name}: {text}");
        assert!(start.elapsed() < Duration::from_secs(60), "{name}: {:?}", start.elapsed());
        told.push(format!("{name}: {status} in {:.0?}", start.elapsed()));
    }
    let served = served.fared();
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!("{count} chunks; {}; pages: {served}; the host grew by {} MiB", told.join(", "), grown >> 20));
    assert!(told.last().is_some_and(|it| it.contains("202")), "a form in single bytes is a form: {told:?}");
    served.assert_served_within(Duration::from_secs(10));
    assert!(grown < 128 << 20, "{grown} bytes");
}

#[test]
fn forms_that_are_mazes_are_refused_in_time() {
    let run = Run::attack("forms");
    let host = Setup::new().start();
    let before = host.resident();
    let served = Others::get(&host, "/");
    let size = scale(4 << 20, 19 << 20);
    let text = |body: &str| body.replace('B', BOUNDARY).into_bytes();
    let fill = |pattern: &str| pattern.repeat(size / pattern.len());
    let part = "--B\r\nContent-Disposition: form-data; name=\"image1\"\r\n";
    let almost = format!("\r\n--{}", &BOUNDARY[..BOUNDARY.len() - 1]);
    let nested = (0..200).fold(String::new(), |maze, depth| {
        format!("--B{depth}\r\nContent-Type: multipart/mixed; boundary=B{depth}\r\n\r\n{maze}\r\n--B{depth}--")
    });
    let forms: Vec<(&str, Vec<u8>)> = vec![
        (
            "forms in forms",
            text(&format!("--B\r\nContent-Type: multipart/mixed; boundary=B1\r\n\r\n{nested}\r\n--B--\r\n")),
        ),
        ("headers without end", text(&format!("{part}{}", fill("X-Y: z\r\n")))),
        ("one header without end", text(&format!("{part}X-Y: {}", fill("z")))),
        ("a name without end", text(&format!("--B\r\nContent-Disposition: form-data; name=\"{}", fill("n")))),
        ("a name of escapes", text(&format!("--B\r\nContent-Disposition: form-data; name=\"{}\"", fill("%22\\\"")))),
        ("parameters without end", text(&format!("--B\r\nContent-Disposition: form-data{}", fill("; a=b")))),
        ("parts without end", text(&fill("--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n"))),
        ("boundaries that are almost one", text(&format!("{part}\r\n{}", fill(&almost)))),
        ("line ends without end", text(&format!("{part}\r\n{}", fill("\r\n")))),
        ("dashes without end", text(&format!("{part}\r\n{}", fill("-")))),
        ("a preamble without end", fill("\r\n--not the boundary").into_bytes()),
        ("one field a thousand times", {
            let field = "--B\r\nContent-Disposition: form-data; name=\"threshold\"\r\n\r\n1\r\n";
            text(&format!("{}--B--\r\n", field.repeat(1000)))
        }),
    ];
    let (mut longest, mut wrong) = (Duration::ZERO, Vec::new());
    for (name, body) in &forms {
        let head = format!(
            "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: \
             {}\r\n\r\n",
            body.len()
        );
        let told = once(host.address(), &[head.as_bytes(), body].concat());
        longest = longest.max(told.took);
        if !matches!(told.status(), Some(400 | 422)) || told.code().is_none() {
            wrong.push(format!("{name}: {:?} after {:?}: {:.300}", told.status(), told.took, told.text()));
        }
    }
    let served = served.fared();
    let grown = host.resident().saturating_sub(before);
    run.counted(&format!(
        "{} forms of up to {} MiB, refused within {longest:.0?}; pages: {served}; the host grew by {} MiB",
        forms.len(),
        size >> 20,
        grown >> 20
    ));
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), forms.len(), wrong.join("\n"));
    served.assert_served_within(Duration::from_secs(10));
    assert!(grown < 128 << 20, "{grown} bytes");
}
