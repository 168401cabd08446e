//! The documents that the gateway carries in itself: the page, the reference, and the OpenAPI description.
//!
//! Owns their paths, media types and the headers that keep a browser to them. Must never know what stands in them. They need
//! nothing from elsewhere, and the policy below forbids a browser to ask for it.

use std::borrow::Cow;

use crate::service::{Request, Response};

/// One document, embedded as it lies in the folder `site`.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is served.
    pub path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    tag: u64,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! documents {
    ($($path:literal $media_type:expr, $file:literal;)*) => {
        /// All documents.
        pub static DOCUMENTS: &[Document] = &[$({
            const BYTES: &[u8] = include_bytes!(concat!("../site/", $file));
            const TAG: u64 = tag(BYTES);
            Document { path: $path, media_type: $media_type, bytes: BYTES, tag: TAG }
        },)*];
    };
}

documents! {
    "/" HTML, "index.html";
    "/docs" HTML, "docs.html";
    "/openapi.json" "application/json", "openapi.json";
    "/site/icon.svg" "image/svg+xml", "icon.svg";
    "/site/common.css" CSS, "common.css";
    "/site/docs.css" CSS, "docs.css";
    "/site/page.css" CSS, "page.css";
    "/site/verdict.css" CSS, "verdict.css";
    "/site/camera.js" SCRIPT, "camera.js";
    "/site/client.js" SCRIPT, "client.js";
    "/site/command.js" SCRIPT, "command.js";
    "/site/docs.js" SCRIPT, "docs.js";
    "/site/elements.js" SCRIPT, "elements.js";
    "/site/explain.js" SCRIPT, "explain.js";
    "/site/key.js" SCRIPT, "key.js";
    "/site/marks.js" SCRIPT, "marks.js";
    "/site/page.js" SCRIPT, "page.js";
    "/site/schema.js" SCRIPT, "schema.js";
    "/site/slot.js" SCRIPT, "slot.js";
    "/site/try.js" SCRIPT, "try.js";
    "/site/verdict.js" SCRIPT, "verdict.js";
    "/site/words.js" SCRIPT, "words.js";
}

/// The document at a path.
pub fn find(path: &str) -> Option<&'static Document> {
    DOCUMENTS.iter().find(|document| document.path == path)
}

/// What a browser may do with our documents: run and show what this host serves, and the photographs that its user picked.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; \
                      media-src 'self' blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Answers with a document, or with 304 to a client that has it.
pub fn answer(document: &'static Document, request: &Request) -> Response {
    let tag = format!("\"{:016x}\"", document.tag);
    let mut headers = vec![
        // The next deployment may bring another document under the same path, so it is asked for each time.
        ("cache-control", "no-cache".to_owned()),
        ("etag", tag.clone()),
    ];
    if is_known(request, &tag) {
        return Response { status: 304, headers, body: Cow::Borrowed(&[]) };
    }
    let fixed = [
        ("content-type", document.media_type),
        ("content-security-policy", POLICY),
        ("permissions-policy", "camera=(self), microphone=(), geolocation=()"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    headers.extend(fixed.map(|(name, value)| (name, value.to_owned())));
    Response { status: 200, headers, body: Cow::Borrowed(document.bytes) }
}

/// Whether `If-None-Match` names the tag (RFC 9110, section 13.1.2); the comparison is the weak one.
fn is_known(request: &Request, tag: &str) -> bool {
    let fields = request.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("if-none-match"));
    let mut tags = fields.flat_map(|(_, value)| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    tags.any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == tag.as_bytes())
}

/// FNV-1a, at compile time: it tells one build's document from another's and withstands nobody.
// A document has some ten thousand bytes, which is more steps than the compiler expects of a constant.
#[allow(long_running_const_eval)]
const fn tag(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::problem::Code;

    fn ask(path: &str, headers: &[(&str, &str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        let request = Request { method: "GET".to_owned(), target: path.to_owned(), headers };
        answer(find(path).expect("a document"), &request)
    }

    fn header<'r>(response: &'r Response, name: &str) -> &'r str {
        response.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn text(document: &Document) -> &'static str {
        str::from_utf8(document.bytes).expect("documents are text")
    }

    /// What stands between quotation marks after each `before`.
    fn quoted_after<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
        text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn a_document_comes_once_and_then_only_when_it_has_changed() {
        let first = ask("/docs", &[]);
        assert_eq!((first.status, header(&first, "content-type")), (200, HTML));
        let tag = header(&first, "etag").to_owned();
        assert!(tag.len() == 18 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\" , {tag}"), "*".to_owned()] {
            let again = ask("/docs", &[("If-None-Match", &known)]);
            assert_eq!((again.status, again.body.len(), header(&again, "etag")), (304, 0, tag.as_str()), "{known}");
        }
        for other in ["", "\"\"", "\"0000000000000000\"", &tag[1..]] {
            assert_eq!(ask("/docs", &[("if-none-match", other)]).status, 200, "{other}");
        }
        let tags: BTreeSet<_> = DOCUMENTS.iter().map(|document| document.tag).collect();
        assert_eq!(tags.len(), DOCUMENTS.len());
    }

    #[test]
    fn no_document_asks_for_what_is_not_here() {
        for document in DOCUMENTS.iter().filter(|document| document.media_type == HTML) {
            let text = text(document);
            for attribute in [" src=\"", "<link rel=\"stylesheet\" href=\"", "<link rel=\"icon\" href=\""] {
                for target in quoted_after(text, attribute) {
                    assert!(find(target).is_some(), "{} asks for {target}", document.path);
                }
            }
            // The policy would silently drop what is written inline.
            for inline in ["<style", " style=\"", "<script>", " onclick=", "javascript:"] {
                assert!(!text.contains(inline), "{} has {inline}", document.path);
            }
        }
        for document in DOCUMENTS.iter().filter(|document| document.media_type == SCRIPT) {
            for module in quoted_after(text(document), " from \"./") {
                assert!(find(&format!("/site/{module}")).is_some(), "{} imports {module}", document.path);
            }
        }
        assert!(!POLICY.contains("unsafe") && !POLICY.contains('*'));
    }

    #[test]
    fn scripts_and_styles_say_what_they_own_and_are_short() {
        for document in DOCUMENTS.iter().filter(|document| [SCRIPT, CSS].contains(&document.media_type)) {
            let text = text(document);
            assert!(text.starts_with("// ") || text.starts_with("/* "), "{}", document.path);
            assert!(text.lines().count() <= 400, "{}", document.path);
        }
    }

    fn openapi() -> Value {
        serde_json::from_str(text(find("/openapi.json").expect("a document"))).expect("JSON")
    }

    #[test]
    fn every_code_stands_in_the_description_under_its_status() {
        let openapi = openapi();
        let responses = openapi["components"]["responses"].as_object().expect("responses");
        for code in Code::ALL {
            // What is no path has no place in a description of paths; the code is that of an unknown task.
            let (status, title) = code.status();
            let described = responses.values().any(|response| {
                let content = &response["content"]["application/problem+json"];
                let example = &content["examples"][code.as_str()]["value"];
                let schema = &content["schema"]["allOf"][1]["properties"];
                schema["status"]["const"] == status
                    && schema["code"]["enum"].as_array().is_some_and(|codes| codes.iter().any(|it| it == code.as_str()))
                    && example["code"] == code.as_str()
                    && example["status"] == status
                    && example["title"] == title
            });
            assert!(described, "{code:?}");
        }
    }

    #[test]
    fn every_reference_in_the_description_leads_somewhere() {
        fn walk(root: &Value, value: &Value, count: &mut usize) {
            if let Some(target) = value["$ref"].as_str() {
                let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                assert!(found.is_some(), "{target}");
                *count += 1;
            }
            match value {
                Value::Object(members) => members.values().for_each(|value| walk(root, value, count)),
                Value::Array(items) => items.iter().for_each(|value| walk(root, value, count)),
                _ => {}
            }
        }
        let (openapi, mut count) = (openapi(), 0);
        walk(&openapi, &openapi, &mut count);
        assert!(count > 50, "{count}");
    }
}
