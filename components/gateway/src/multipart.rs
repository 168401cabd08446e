//! `multipart/form-data` (RFC 7578 on RFC 2046), parsed in place.
//!
//! Owns the grammar and its bounds; contents are slices of the body, never copies. Must never know which fields a form
//! should have. Stricter than some: lines end with CRLF, header lines are not folded, nothing is guessed.

use memchr::memmem;

use crate::field::{Value, is_token};

/// One field of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The field's name.
    pub name: String,
    /// The declared media type, in lower case and without parameters.
    pub content_type: Option<String>,
    /// The content, as it stands in the body.
    pub content: &'a [u8],
}

/// The most parts of a form.
pub const MOST_PARTS: usize = 8;
/// The most bytes of one part's header lines together.
pub const MOST_HEADER_BYTES: usize = 8 * 1024;
/// The most characters of a boundary, by RFC 2046.
pub const MOST_BOUNDARY_CHARACTERS: usize = 70;
/// More blanks than this after a boundary are no transport's padding.
const MOST_PADDING: usize = 64;

/// Why a body is no form. Parts are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The header names no boundary, or one that RFC 2046 forbids.
    #[error("the Content-Type has no usable boundary; write multipart/form-data; boundary=…, with 1 to 70 characters")]
    Boundary,
    /// The boundary never occurs.
    #[error("the body holds no line '--' and boundary; the boundary of the Content-Type must be the body's")]
    NoParts,
    /// There is text behind a boundary, on its line.
    #[error("the boundary before part {0} is followed by something else than a line end")]
    Delimiter(usize),
    /// The header lines do not end.
    #[error("the header of part {0} does not end with an empty line within {MOST_HEADER_BYTES} bytes")]
    HeaderEnd(usize),
    /// A header line is not `Name: value`.
    #[error("the header of part {0} has a line that is not 'Name: value', ended by CR LF")]
    HeaderLine(usize),
    /// The part does not say which field it is.
    #[error("part {0} needs one header 'Content-Disposition: form-data; name=\"…\"'")]
    Disposition(usize),
    /// The part's media type is unreadable, or there are two.
    #[error("part {0} has a Content-Type that cannot be read")]
    ContentType(usize),
    /// The part is encoded, which RFC 7578 gave up.
    #[error("part {0} has a Content-Transfer-Encoding; send its bytes as they are")]
    TransferEncoding(usize),
    /// The part does not end.
    #[error("part {0} does not end with the boundary: the body was cut off, or its closing '--' is missing")]
    Truncated(usize),
    /// There are too many parts.
    #[error("there are more than {MOST_PARTS} parts")]
    TooManyParts,
}

/// Splits a body into its parts, in their order. Preamble and epilogue are skipped, as RFC 2046 asks.
pub fn parse<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, Malformed> {
    if !is_boundary(boundary) {
        return Err(Malformed::Boundary);
    }
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let mut rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(rest) => rest,
        None => &body[finder.find(body).ok_or(Malformed::NoParts)? + delimiter.len()..],
    };
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let number = parts.len() + 1;
        if number > MOST_PARTS {
            return Err(Malformed::TooManyParts);
        }
        if rest.is_empty() {
            return Err(Malformed::Truncated(number));
        }
        let padding = rest.iter().take(MOST_PADDING).take_while(|b| matches!(b, b' ' | b'\t')).count();
        let block = rest[padding..].strip_prefix(b"\r\n").ok_or(Malformed::Delimiter(number))?;
        let (header, after) = split_header(block).ok_or(Malformed::HeaderEnd(number))?;
        let header = Header::parse(header, number)?;
        // `after` opens with the line end of the empty line, which is the delimiter's own when there is no content.
        let end = finder.find(after).ok_or(Malformed::Truncated(number))?;
        let content = after.get(2..end).unwrap_or_default();
        parts.push(Part { name: header.name, content_type: header.content_type, content });
        rest = &after[end + delimiter.len()..];
    }
}

/// Whether a boundary has the characters and the length that RFC 2046 allows.
fn is_boundary(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    (1..=MOST_BOUNDARY_CHARACTERS).contains(&text.len()) && text.bytes().all(allowed) && !text.ends_with(' ')
}

/// Splits behind the last header line: the lines without their last line end, and the rest from the empty line's CRLF.
fn split_header(block: &[u8]) -> Option<(&[u8], &[u8])> {
    if block.starts_with(b"\r\n") {
        return Some((&[], block));
    }
    let window = &block[..block.len().min(MOST_HEADER_BYTES + 4)];
    let end = memmem::find(window, b"\r\n\r\n")?;
    Some((&block[..end], &block[end + 2..]))
}

/// Whether a transfer encoding leaves the bytes as they are.
fn is_identity(encoding: &str) -> bool {
    ["7bit", "8bit", "binary"].iter().any(|identity| encoding.trim().eq_ignore_ascii_case(identity))
}

struct Header {
    name: String,
    content_type: Option<String>,
}

impl Header {
    fn parse(lines: &[u8], number: usize) -> Result<Self, Malformed> {
        // A file name may come in any old encoding; it is not used, so it may be mangled here.
        let lines = String::from_utf8_lossy(lines);
        let mut name = None;
        let mut content_type = None;
        for line in lines.split("\r\n").filter(|_| !lines.is_empty()) {
            let (key, value) = line.split_once(':').ok_or(Malformed::HeaderLine(number))?;
            if !is_token(key) || value.contains(['\r', '\n', '\0']) {
                return Err(Malformed::HeaderLine(number));
            }
            match key.to_ascii_lowercase().as_str() {
                "content-disposition" => {
                    let value = Value::parse(value).filter(|v| v.essence == "form-data");
                    let field =
                        value.as_ref().and_then(|v| v.parameter("name")).ok_or(Malformed::Disposition(number))?;
                    if name.replace(field.to_owned()).is_some() {
                        return Err(Malformed::Disposition(number));
                    }
                }
                "content-type" => {
                    let value = Value::parse(value).ok_or(Malformed::ContentType(number))?;
                    if content_type.replace(value.essence).is_some() {
                        return Err(Malformed::ContentType(number));
                    }
                }
                "content-transfer-encoding" if !is_identity(value) => {
                    return Err(Malformed::TransferEncoding(number));
                }
                // RFC 7578, section 4.8: any other header is to be ignored.
                _ => {}
            }
        }
        Ok(Self { name: name.ok_or(Malformed::Disposition(number))?, content_type })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"image1\"; filename=\"a.jpg\"\r\n\
        Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n-- x\r\n\r\n--x  \r\ncontent-disposition: form-data; name=b\r\n\r\n\r\n--x--\r\n";

    fn part(header: &str) -> Vec<u8> {
        format!("--x\r\n{header}\r\n\r\nv\r\n--x--").into_bytes()
    }

    #[test]
    fn parts_are_slices_of_the_body() {
        let parts = parse(FORM, "x").unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_str(), parts[0].content_type.as_deref()), ("image1", Some("image/jpeg")));
        assert_eq!(parts[0].content, b"\xff\xd8\r\n-- x\r\n");
        assert_eq!(parts[1], Part { name: "b".into(), content_type: None, content: b"" });
        assert!(FORM.as_ptr_range().contains(&parts[0].content.as_ptr()));
    }

    #[test]
    fn preamble_epilogue_and_a_part_without_content_are_fine() {
        let body = b"hello\r\n--x\r\nContent-Disposition: form-data; name=a\r\n\r\n--x--\r\nbye";
        assert_eq!(parse(body, "x").unwrap(), [Part { name: "a".into(), content_type: None, content: b"" }]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        // The final "--" closes the form; what follows it is the epilogue.
        for length in 0..FORM.len() - 2 {
            assert!(parse(&FORM[..length], "x").is_err(), "{length}");
        }
    }

    #[test]
    fn each_fault_has_its_own_words() {
        let named = "Content-Disposition: form-data; name=a";
        let cases: Vec<(Vec<u8>, Malformed)> = vec![
            (b"".to_vec(), Malformed::NoParts),
            (b"--y\r\n".to_vec(), Malformed::NoParts),
            (b"--x".to_vec(), Malformed::Truncated(1)),
            (b"--xy\r\n".to_vec(), Malformed::Delimiter(1)),
            (b"--x\n".to_vec(), Malformed::Delimiter(1)),
            (b"--x\r\n\r\nv\r\n--x--".to_vec(), Malformed::Disposition(1)),
            (part("Content-Disposition: attachment; name=a"), Malformed::Disposition(1)),
            (part("Content-Disposition: form-data"), Malformed::Disposition(1)),
            (part(&format!("{named}\r\n{named}")), Malformed::Disposition(1)),
            (part(&format!("{named}\r\n folded")), Malformed::HeaderLine(1)),
            (part(&format!("{named}\nContent-Type: text/plain")), Malformed::HeaderLine(1)),
            (part(&format!("{named}\r\nnonsense")), Malformed::HeaderLine(1)),
            (part(&format!("{named}\r\nContent-Type: ;")), Malformed::ContentType(1)),
            (part(&format!("{named}\r\nContent-Transfer-Encoding: base64")), Malformed::TransferEncoding(1)),
            (part(&format!("{named}\r\nX: {}", "y".repeat(MOST_HEADER_BYTES))), Malformed::HeaderEnd(1)),
            (format!("--x\r\n{named}\r\n\r\nv").into_bytes(), Malformed::Truncated(1)),
            (format!("--x\r\n{named}\r\n\r\nv\r\n").repeat(9).into_bytes(), Malformed::TooManyParts),
        ];
        for (body, fault) in cases {
            assert_eq!(parse(&body, "x"), Err(fault), "{}", String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn boundaries_are_those_of_rfc_2046() {
        for boundary in ["", "a ", "a\"b", "é", "a;b", &"a".repeat(71)] {
            assert_eq!(parse(b"", boundary), Err(Malformed::Boundary), "{boundary}");
        }
        assert_eq!(parse(b"", &"a".repeat(70)), Err(Malformed::NoParts));
        assert_eq!(parse(b"", "gc0p4Jq0M2Yt08j34c0p'()+_,-./:=? x"), Err(Malformed::NoParts));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(prop_oneof![
            Just(b"--x".to_vec()), Just(b"\r\n".to_vec()), Just(b"--".to_vec()),
            Just(b"Content-Disposition: form-data; name=a\r\n\r\n".to_vec()), proptest::collection::vec(any::<u8>(), 0..9),
        ], 0..24)) {
            let _ = parse(&body.concat(), "x");
        }

        #[test]
        fn content_round_trips(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(memmem::find(&content, b"\r\n--x").is_none());
            let mut body = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n".to_vec();
            body.extend_from_slice(&content);
            body.extend_from_slice(b"\r\n--x--\r\n");
            let parts = parse(&body, "x").unwrap();
            prop_assert_eq!(parts[0].content, content.as_slice());
        }
    }
}
