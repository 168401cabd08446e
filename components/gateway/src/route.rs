//! Which path and method mean what.
//!
//! Owns the paths, their methods and the `wait` parameter. Must never know what a request carries or how it is answered.

use crate::problem::{Code, Problem, quoted};
use crate::site::{self, Document};

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /` and others: what the gateway carries in itself.
    Document(&'static Document),
    /// `POST /verify`: hand in two photographs; wait so many seconds for the end.
    Verify {
        /// Seconds, 0 to [`MOST_WAIT_SECONDS`].
        wait: u32,
    },
    /// `GET /status/{id}`.
    Status {
        /// A well-formed task id.
        id: String,
        /// Seconds, 0 to [`MOST_WAIT_SECONDS`].
        wait: u32,
    },
    /// `DELETE /status/{id}`.
    Revoke {
        /// A well-formed task id.
        id: String,
    },
    /// `OPTIONS`: the methods of a path.
    Options {
        /// For the header `Allow`.
        allow: &'static str,
    },
}

/// The longest that a request may wait for the end of a task.
pub const MOST_WAIT_SECONDS: u32 = 30;

const DOCUMENT_METHODS: &str = "GET, HEAD, OPTIONS";
const VERIFY_METHODS: &str = "POST, OPTIONS";
const STATUS_METHODS: &str = "GET, HEAD, DELETE, OPTIONS";

/// Finds the route of a method (as written on the wire) and a target (a path, perhaps with a query).
pub fn route(method: &str, target: &str) -> Result<Route, Problem> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let document = site::find(path);
    let allow = match path {
        _ if document.is_some() => DOCUMENT_METHODS,
        "/verify" => VERIFY_METHODS,
        _ if task_segment(path).is_some() => STATUS_METHODS,
        _ => return Err(no_such_path(path)),
    };
    if let (Some(document), "GET" | "HEAD") = (document, method) {
        return Ok(Route::Document(document));
    }
    match (path, method) {
        (_, "OPTIONS") => Ok(Route::Options { allow }),
        ("/verify", "POST") => Ok(Route::Verify { wait: wait(query)? }),
        (path, _) if document.is_some() || path == "/verify" => Err(wrong_method(path, method, allow)),
        (_, "GET" | "HEAD") => Ok(Route::Status { id: task_id(path)?, wait: wait(query)? }),
        (_, "DELETE") => Ok(Route::Revoke { id: task_id(path)? }),
        _ => Err(wrong_method(path, method, allow)),
    }
}

/// The refusal of a task that nobody knows; the same words for one that never was and one that is forgotten.
pub fn no_such_task(id: &str) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("There is no task {}, or its result has passed its time-to-live; submit it anew.", quoted(id)),
    )
}

fn no_such_path(path: &str) -> Problem {
    let known = "GET /, GET /docs, GET /openapi.json, POST /verify, GET or DELETE /status/{task_id}, GET /healthz, \
                 GET /readyz";
    Problem::new(Code::NotFound, format!("There is nothing at {}; there are: {known}.", quoted(path)))
}

fn wrong_method(path: &str, method: &str, allow: &'static str) -> Problem {
    let detail = format!("{} does not take {}; it takes {allow}.", quoted(path), quoted(method));
    Problem::new(Code::MethodNotAllowed, detail).allow(allow)
}

/// The segment behind `/status/`, when the path is of that shape.
fn task_segment(path: &str) -> Option<&str> {
    path.strip_prefix("/status/").filter(|segment| !segment.is_empty() && !segment.contains('/'))
}

fn task_id(path: &str) -> Result<String, Problem> {
    let segment = task_segment(path).unwrap_or_default();
    let well_formed = segment
        .strip_prefix("face_verification_")
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    if well_formed { Ok(segment.to_owned()) } else { Err(no_such_task(segment)) }
}

/// Reads `wait` from a query; other parameters are left to whoever put them there, as is usual on the web.
fn wait(query: &str) -> Result<u32, Problem> {
    let mut found = None;
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name == "wait" && found.replace(value).is_some() {
            return Err(bad_wait("stands in the query twice"));
        }
    }
    let Some(text) = found else { return Ok(0) };
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(seconds) if digits && seconds <= MOST_WAIT_SECONDS => Ok(seconds),
        _ => Err(bad_wait(&format!("is {}", quoted(text)))),
    }
}

fn bad_wait(what: &str) -> Problem {
    let detail =
        format!("The query parameter 'wait' {what}; write whole seconds from 0 to {MOST_WAIT_SECONDS}, as ?wait=10.");
    Problem::new(Code::MalformedRequest, detail).field("wait")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "face_verification_0123456789abcdef0123456789abcdef";

    fn refused(method: &str, target: &str) -> Code {
        route(method, target).expect_err(target).code()
    }

    #[test]
    fn known_paths_and_methods_are_routed() {
        let status = format!("/status/{ID}");
        assert!(matches!(route("GET", "/docs?a=b"), Ok(Route::Document(document)) if document.path == "/docs"));
        assert_eq!(route("POST", "/verify"), Ok(Route::Verify { wait: 0 }));
        assert_eq!(route("POST", "/verify?a=b&wait=30&c"), Ok(Route::Verify { wait: 30 }));
        assert_eq!(route("GET", &status), Ok(Route::Status { id: ID.into(), wait: 0 }));
        assert_eq!(route("HEAD", &format!("{status}?wait=5")), Ok(Route::Status { id: ID.into(), wait: 5 }));
        assert_eq!(route("DELETE", &status), Ok(Route::Revoke { id: ID.into() }));
        assert_eq!(route("OPTIONS", "/verify"), Ok(Route::Options { allow: "POST, OPTIONS" }));
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in ["", "*", "/verify/", "/Verify", "//verify", "/status", "/status/", "/status/a/b", "/healthz/x"] {
            assert_eq!(refused("GET", path), Code::NotFound, "{path}");
        }
        for id in ["x", "face_verification_", &ID.to_uppercase(), &ID[..49], &format!("{ID}0")] {
            assert_eq!(refused("GET", &format!("/status/{id}")), Code::NotFound, "{id}");
            assert_eq!(refused("DELETE", &format!("/status/{id}")), Code::NotFound, "{id}");
        }
    }

    #[test]
    fn other_methods_are_not_allowed() {
        for (method, path) in
            [("GET", "/verify"), ("PUT", "/docs"), ("POST", "/status/x"), ("get", "/docs"), ("", "/verify")]
        {
            assert_eq!(refused(method, path), Code::MethodNotAllowed, "{method} {path}");
        }
    }

    #[test]
    fn waits_out_of_bounds_are_malformed() {
        for wait in ["", "31", "-1", "+1", "1.5", "abc", "030", "1&wait=1", "%31"] {
            assert_eq!(refused("POST", &format!("/verify?wait={wait}")), Code::MalformedRequest, "{wait}");
        }
        assert_eq!(route("POST", "/verify?wait=05"), Ok(Route::Verify { wait: 5 }));
    }

    proptest! {
        #[test]
        fn no_target_panics(method in "\\PC{0,8}", target in "(/status/|/verify|/)?\\PC{0,40}") {
            let _ = route(&method, &target);
        }
    }
}
