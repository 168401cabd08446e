//! The fields of a verification, from a form or from JSON.
//!
//! Owns the five fields, their types and bounds. Must never know HTTP's framing, nor what is in a photograph: whatever
//! declares itself an image, or nothing, is left to the analyzer.
//!
//! What cannot be read as its type is malformed (400); what can be read but lies out of bounds is an invalid field, and a
//! field that is missing, empty or unknown is refused by name (422).

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::multipart::Part;
use crate::problem::{Code, Problem, quoted};
use crate::tasks::NonFrontal;

/// The fields of `POST /verify`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields<'a> {
    /// `image1` and `image2`, not empty.
    pub photographs: [Cow<'a, [u8]>; 2],
    /// `threshold`, 0 to 2.
    pub threshold: Option<f32>,
    /// `non_frontal`.
    pub non_frontal: Option<NonFrontal>,
    /// `callback_url`; whether it is one and may be one, the host decides.
    pub callback_url: Option<Cow<'a, str>>,
}

const IMAGES: [&str; 2] = ["image1", "image2"];
const KNOWN: [&str; 5] = ["image1", "image2", "threshold", "non_frontal", "callback_url"];
/// The longest text of a field that is no image, bytes.
const MOST_TEXT: usize = 64;
/// The longest address, bytes.
const MOST_URL: usize = 2048;
/// The most members of a JSON body: enough to name an unknown one, too few to make work.
const MOST_MEMBERS: usize = 8;

/// Takes the fields from the parts of a form; the photographs stay where they are.
pub fn from_parts<'a>(parts: &[Part<'a>]) -> Result<Fields<'a>, Problem> {
    known_once(&parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>())?;
    let find = |name: &str| parts.iter().find(|part| part.name == name);
    let image = |name: &'static str| {
        let part = find(name).ok_or_else(|| missing(name))?;
        if part.content.is_empty() {
            return Err(empty(name));
        }
        declares_image(name, part.content_type.as_deref())?;
        Ok(Cow::Borrowed(part.content))
    };
    let text = |name: &'static str, most: usize| {
        let Some(part) = find(name) else { return Ok(None) };
        if part.content.len() > most {
            return Err(unreadable(name, &format!("is longer than {most} bytes")));
        }
        match str::from_utf8(part.content).map(str::trim) {
            Ok("") => Err(empty(name)),
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(unreadable(name, "is not UTF-8 text")),
        }
    };
    let photographs = [image(IMAGES[0])?, image(IMAGES[1])?];
    let threshold = match text("threshold", MOST_TEXT)? {
        None => None,
        Some(text) => {
            let number = text.parse().map_err(|_| unreadable("threshold", &format!("is {}", quoted(text))))?;
            Some(threshold(number)?)
        }
    };
    let non_frontal = text("non_frontal", MOST_TEXT)?.map(non_frontal).transpose()?;
    let callback_url = text("callback_url", MOST_URL)?.map(Cow::Borrowed);
    Ok(Fields { photographs, threshold, non_frontal, callback_url })
}

/// Takes the fields from a JSON object, with the photographs in base64. A member that is `null` counts as absent.
pub fn from_json(body: &[u8]) -> Result<Fields<'_>, Problem> {
    let Members(members) = serde_json::from_slice(body).map_err(|error| {
        // The parser's own words may quote the body at any length, so only the place is taken from them.
        let what = match error.classify() {
            Category::Data => format!("is no object of at most {MOST_MEMBERS} members"),
            _ => format!("is no JSON at line {}, column {}", error.line(), error.column()),
        };
        Problem::new(Code::MalformedRequest, format!("The body {what}; send an object with {}.", KNOWN.join(", ")))
    })?;
    known_once(&members.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>())?;
    let find = |name: &str| {
        members.iter().find(|(member, _)| member == name).map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")
    };
    let text = |name: &'static str| match find(name) {
        None => Ok(None),
        Some(raw) => match serde_json::from_str::<Text<'_>>(raw) {
            Ok(Text(text)) if text.is_empty() => Err(empty(name)),
            Ok(Text(text)) => Ok(Some(text)),
            Err(_) => Err(unreadable(name, "is not a string")),
        },
    };
    let image = |name: &'static str| {
        let text = text(name)?.ok_or_else(|| missing(name))?;
        let bytes = BASE64.decode(text.as_bytes());
        bytes
            .map(Cow::Owned)
            .map_err(|error| unreadable(name, &format!("is not base64 (RFC 4648, section 4): {error}")))
    };
    let photographs = [image(IMAGES[0])?, image(IMAGES[1])?];
    let threshold = match find("threshold") {
        None => None,
        Some(raw) => {
            let number = serde_json::from_str(raw).map_err(|_| unreadable("threshold", "is not a number"))?;
            Some(threshold(number)?)
        }
    };
    let non_frontal = text("non_frontal")?.map(|text| non_frontal(&text)).transpose()?;
    let callback_url = text("callback_url")?;
    if callback_url.as_ref().is_some_and(|url| url.len() > MOST_URL) {
        return Err(unreadable("callback_url", &format!("is longer than {MOST_URL} bytes")));
    }
    Ok(Fields { photographs, threshold, non_frontal, callback_url })
}

/// The standard alphabet; some encoders leave the padding out, which loses nothing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The members of a JSON object in their order, unread, duplicates included.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A string that borrows from the body unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    if members.len() == MOST_MEMBERS {
                        return Err(A::Error::custom(format_args!("more than {MOST_MEMBERS} members")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Refuses the first field that is unknown or stands there twice.
fn known_once(names: &[&str]) -> Result<(), Problem> {
    for (index, name) in names.iter().enumerate() {
        if !KNOWN.contains(name) {
            return Err(unknown(name));
        }
        if names[..index].contains(name) {
            let detail = format!("The field '{name}' stands there twice; send it once.");
            return Err(Problem::new(Code::MalformedRequest, detail).field(*name));
        }
    }
    Ok(())
}

/// Refuses a file that says of itself that it is something else than an image.
fn declares_image(name: &'static str, declared: Option<&str>) -> Result<(), Problem> {
    match declared {
        None | Some("application/octet-stream" | "binary/octet-stream") => Ok(()),
        Some(media_type) if media_type.starts_with("image/") => Ok(()),
        Some(media_type) => {
            let detail = format!(
                "The file '{name}' declares the type {}, which is no image; send JPEG, PNG, WebP, GIF or BMP.",
                quoted(media_type)
            );
            Err(Problem::new(Code::UnsupportedFormat, detail).field(name))
        }
    }
}

/// `number` is NaN for none of the inputs that reach it but `NaN` itself, which no bound holds.
fn threshold(number: f32) -> Result<f32, Problem> {
    if (0.0..=2.0).contains(&number) {
        return Ok(number);
    }
    let detail = format!("The field 'threshold' is {number}; it is a distance of unit vectors, from 0 to 2.");
    Err(Problem::new(Code::InvalidField, detail).field("threshold"))
}

fn non_frontal(text: &str) -> Result<NonFrontal, Problem> {
    match text {
        "reject" => Ok(NonFrontal::Reject),
        "report" => Ok(NonFrontal::Report),
        _ => {
            let detail = format!("The field 'non_frontal' is {}; it is 'reject' or 'report'.", quoted(text));
            Err(Problem::new(Code::InvalidField, detail).field("non_frontal"))
        }
    }
}

/// The field that a sentence of the host begins with.
pub(crate) fn named(sentence: &str) -> Option<&'static str> {
    let first = sentence.split(' ').next()?;
    KNOWN.into_iter().find(|known| *known == first)
}

fn missing(name: &'static str) -> Problem {
    let detail = format!("The field '{name}' is missing; send two photographs, 'image1' and 'image2'.");
    Problem::new(Code::MissingField, detail).field(name)
}

fn empty(name: &'static str) -> Problem {
    let mend = if IMAGES.contains(&name) { "send a photograph" } else { "leave it out or give it a value" };
    Problem::new(Code::MissingField, format!("The field '{name}' is empty; {mend}.")).field(name)
}

fn unreadable(name: &'static str, what: &str) -> Problem {
    let wanted = match name {
        "threshold" => "a number from 0 to 2",
        "non_frontal" => "'reject' or 'report'",
        "callback_url" => "an address, as https://hooks.example.org/ended",
        _ => "a photograph, in base64 when the body is JSON",
    };
    Problem::new(Code::MalformedRequest, format!("The field '{name}' {what}; it should be {wanted}.")).field(name)
}

fn unknown(name: &str) -> Problem {
    let nearest =
        KNOWN.iter().min_by_key(|known| strsim::levenshtein(known, &name.chars().take(32).collect::<String>()));
    let nearest = nearest.copied().unwrap_or_default();
    let detail = format!(
        "The field {} is unknown; the nearest known is '{nearest}' (there are {}).",
        quoted(name),
        KNOWN.join(", ")
    );
    Problem::new(Code::UnknownField, detail).field(name.chars().take(MOST_TEXT).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn part<'a>(name: &str, content_type: Option<&str>, content: &'a [u8]) -> Part<'a> {
        Part { name: name.into(), content_type: content_type.map(Into::into), content }
    }

    fn form<'a>(more: &[(&str, &'a str)]) -> Vec<Part<'a>> {
        let images = [part("image1", Some("image/jpeg"), b"one"), part("image2", None, b"two")];
        images.into_iter().chain(more.iter().map(|(name, text)| part(name, None, text.as_bytes()))).collect()
    }

    fn code(result: Result<Fields<'_>, Problem>) -> Code {
        result.expect_err("a refusal").code()
    }

    #[test]
    fn a_form_yields_its_fields_without_copies() {
        let url = "https://hooks.example.org/ended";
        let parts = form(&[("threshold", " 0.9\n"), ("non_frontal", "report"), ("callback_url", url)]);
        let fields = from_parts(&parts).unwrap();
        assert!(matches!(fields.photographs, [Cow::Borrowed(b"one"), Cow::Borrowed(b"two")]));
        assert_eq!((fields.threshold, fields.non_frontal), (Some(0.9), Some(NonFrontal::Report)));
        assert!(matches!(fields.callback_url, Some(Cow::Borrowed(it)) if it == url));
    }

    #[test]
    fn json_yields_the_same() {
        let fields = from_json(br#"{"image1":"b25l","image2":"\/\/8","threshold":2,"non_frontal":"reject"}"#).unwrap();
        assert_eq!(fields.photographs, [Cow::Borrowed(b"one".as_slice()), Cow::Borrowed(b"\xff\xff")]);
        assert_eq!((fields.threshold, fields.non_frontal), (Some(2.0), Some(NonFrontal::Reject)));
        assert_eq!(fields.callback_url, None);
        let body = br#" {"image1":"b25l","image2":"b25l","threshold":null,"callback_url":"https:\/\/a"} "#;
        let fields = from_json(body).unwrap();
        assert_eq!((fields.threshold, fields.non_frontal), (None, None));
        assert_eq!(fields.callback_url.as_deref(), Some("https://a"));
    }

    #[test]
    fn each_faulty_form_gets_its_code() {
        let (long, longer) = ("1".repeat(65), "1".repeat(MOST_URL + 1));
        let cases = [
            (vec![], Code::MissingField),
            (form(&[])[..1].to_vec(), Code::MissingField),
            (vec![part("image1", None, b"x"), part("image2", Some("text/plain"), b"")], Code::MissingField),
            (vec![part("image1", Some("application/pdf"), b"x"), part("image2", None, b"x")], Code::UnsupportedFormat),
            (form(&[("image1", "again")]), Code::MalformedRequest),
            (form(&[("image3", "three")]), Code::UnknownField),
            (form(&[("", "")]), Code::UnknownField),
            (form(&[("threshold", "")]), Code::MissingField),
            (form(&[("threshold", "high")]), Code::MalformedRequest),
            (form(&[("threshold", &long)]), Code::MalformedRequest),
            (form(&[("threshold", "2.01")]), Code::InvalidField),
            (form(&[("threshold", "-0.1")]), Code::InvalidField),
            (form(&[("threshold", "NaN")]), Code::InvalidField),
            (form(&[("threshold", "inf")]), Code::InvalidField),
            (form(&[("non_frontal", "ignore")]), Code::InvalidField),
            (form(&[("callback_url", "")]), Code::MissingField),
            (form(&[("callback_url", &longer)]), Code::MalformedRequest),
        ];
        for (parts, expected) in cases {
            assert_eq!(code(from_parts(&parts)), expected, "{parts:?}");
        }
    }

    #[test]
    fn each_faulty_json_gets_its_code() {
        let cases = [
            ("", Code::MalformedRequest),
            ("[]", Code::MalformedRequest),
            ("null", Code::MalformedRequest),
            ("{", Code::MalformedRequest),
            (r#"{} {}"#, Code::MalformedRequest),
            ("{}", Code::MissingField),
            (r#"{"image1":"b25l","image2":null}"#, Code::MissingField),
            (r#"{"image1":"b25l","image2":""}"#, Code::MissingField),
            (r#"{"image1":"b25l","image2":7}"#, Code::MalformedRequest),
            (r#"{"image1":"b25l","image2":"?"}"#, Code::MalformedRequest),
            (r#"{"image1":"b25l","image1":"b25l"}"#, Code::MalformedRequest),
            (r#"{"image1":"b25l","image2":"b25l","treshold":1}"#, Code::UnknownField),
            (r#"{"image1":"b25l","image2":"b25l","threshold":"1"}"#, Code::MalformedRequest),
            (r#"{"image1":"b25l","image2":"b25l","threshold":9}"#, Code::InvalidField),
            (r#"{"image1":"b25l","image2":"b25l","non_frontal":"x"}"#, Code::InvalidField),
            (r#"{"image1":"b25l","image2":"b25l","callback_url":7}"#, Code::MalformedRequest),
            (r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}"#, Code::MalformedRequest),
        ];
        for (body, expected) in cases {
            assert_eq!(code(from_json(body.as_bytes())), expected, "{body}");
        }
        assert_eq!(code(from_json(b"\xff\xfe{}")), Code::MalformedRequest);
        let echo = format!("\"{}\"", "A".repeat(100_000));
        assert!(from_json(echo.as_bytes()).unwrap_err().detail().len() < 200);
        assert_eq!(code(from_json("[".repeat(100_000).as_bytes())), Code::MalformedRequest);
        let deep = format!(r#"{{"image1":{}"#, "[".repeat(100_000));
        assert_eq!(code(from_json(deep.as_bytes())), Code::MalformedRequest);
    }

    #[test]
    fn an_unknown_field_is_named_with_the_nearest_known() {
        let refused = from_parts(&form(&[("treshold", "1")])).unwrap_err();
        assert!(refused.detail().contains("'treshold'") && refused.detail().contains("is 'threshold'"));
    }

    proptest! {
        #[test]
        fn no_json_panics(body in proptest::collection::vec(prop_oneof![
            Just("{".to_owned()), Just("}".to_owned()), Just("\"image1\"".to_owned()), Just(":".to_owned()),
            Just(",".to_owned()), Just("\"threshold\"".to_owned()), Just("1e999".to_owned()), "\\PC{0,6}",
        ], 0..16)) {
            let _ = from_json(body.concat().as_bytes());
        }
    }
}
