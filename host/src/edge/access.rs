//! Who may ask for what, before any component sees the request.
//!
//! Owns which paths are open to everybody, and which scope each of the others takes. Must never trust a gateway with it: what a
//! caller may do goes beside the gateway, to the desk, so that one that asks for more than it was sent gets nothing.

use http::{Method, Request, Response, StatusCode, header};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::auth::{Caller, Keyring, Refusal};
use crate::wire::{challenge, closing, problem, retry_later};

/// What is answered to who is not let in.
type Refused = Response<HyperOutgoingBody>;

/// Finds out who asks, by the key in `Authorization: Bearer`. Without a keyring everybody may do everything.
///
/// # Errors
/// The refusal: 401 without a key that is taken, 403 with one that may not do this, 429 with one that has asked too often.
pub(super) fn admit<B>(keys: Option<&Keyring>, request: &Request<B>) -> Result<Caller, Box<Refused>> {
    let Some(keys) = keys else { return Ok(Caller::Anyone) };
    let refuse = |response| Err(Box::new(closing(response)));
    let (path, caller) = (request.uri().path(), keys.admit(shown(request)));
    match caller {
        Err(refusal) => refuse(refused(&refusal)),
        Ok(Caller::Stranger) if !is_open(request.method(), path) => refuse(unknown(None)),
        Ok(Caller::Stranger) => Ok(Caller::Stranger),
        Ok(caller) => match lacking(&caller, path) {
            Some(scope) => refuse(forbidden(scope)),
            None => Ok(caller),
        },
    }
}

/// The key that a request shows; words of another scheme count as a key that nobody has.
fn shown<B>(request: &Request<B>) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().unwrap_or_default();
    let (scheme, key) = value.split_once(' ').unwrap_or_default();
    Some(if scheme.eq_ignore_ascii_case("Bearer") { key.trim() } else { "" })
}

/// The page, the reference and what they load: documents that are the same for everybody.
fn is_open(method: &Method, path: &str) -> bool {
    let part = path.strip_prefix("/site/").is_some_and(|name| !name.contains('/'));
    (part || matches!(path, "/" | "/docs" | "/openapi.json")) && matches!(*method, Method::GET | Method::HEAD)
}

/// The scope that a path takes and its caller has not; any key will do for paths that lead to nobody's task.
fn lacking(caller: &Caller, path: &str) -> Option<&'static str> {
    let (scope, may) = match path {
        "/verify" => ("verify", caller.may_submit()),
        _ if path.starts_with("/status/") => ("status", caller.may_look()),
        _ => return None,
    };
    (!may).then_some(scope)
}

fn refused(refusal: &Refusal) -> Refused {
    match refusal {
        Refusal::Unknown | Refusal::Expired => unknown(Some(refusal)),
        Refusal::TooMany { retry_after, .. } => {
            retry_later(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &refusal.to_string(), *retry_after)
        }
    }
}

fn unknown(refusal: Option<&Refusal>) -> Refused {
    match refusal {
        None => challenge(
            problem(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "this host answers whoever shows an API key, as `Authorization: Bearer KEY`; its operator makes one with \
                 `visavis keys add`",
            ),
            "Bearer",
        ),
        Some(refusal) => challenge(
            problem(StatusCode::UNAUTHORIZED, "unauthorized", &refusal.to_string()),
            "Bearer error=\"invalid_token\"",
        ),
    }
}

fn forbidden(scope: &str) -> Refused {
    let detail = format!(
        "the API key may not do this: it lacks the scope {scope}; ask this host's operator for one that has it"
    );
    challenge(
        problem(StatusCode::FORBIDDEN, "forbidden", &detail),
        &format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::auth::{Keys, New, Scope};

    fn key(path: &Path, name: &str, scopes: &[Scope], per_minute: Option<u32>) -> String {
        let (name, scopes) = (name.to_owned(), scopes.to_vec());
        let new = New { name, scopes, per_minute, max_waiting: None, lifetime: None };
        Keys::add(path, new, 1_800_000_000).unwrap().key.to_string()
    }

    /// The status of the refusal, or 200, for a header's value.
    fn ask(keys: &Keyring, method: &str, path: &str, value: Option<&str>) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(value) = value {
            request = request.header(header::AUTHORIZATION, value);
        }
        match admit(Some(keys), &request.body(()).unwrap()) {
            Ok(_) => (200, String::new()),
            Err(refusal) => {
                let challenge = refusal.headers().get(header::WWW_AUTHENTICATE);
                let challenge = challenge.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
                assert_eq!(refusal.headers()[header::CONNECTION], "close");
                (refusal.status().as_u16(), challenge)
            }
        }
    }

    #[test]
    fn strangers_see_the_page_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        key(&path, "web", &[Scope::Verify], None);
        let keys = Keyring::open(&path).unwrap();
        for path in ["/", "/docs", "/openapi.json", "/site/page.js"] {
            for method in ["GET", "HEAD"] {
                assert_eq!(ask(&keys, method, path, None).0, 200, "{method} {path}");
            }
            for method in ["POST", "OPTIONS", "DELETE", "MADEUP"] {
                assert_eq!(ask(&keys, method, path, None).0, 401, "{method} {path}");
            }
        }
        for path in [
            "/verify",
            "/status/x",
            "/status",
            "/nowhere",
            "//",
            "/site",
            "/Docs",
            "/%64ocs",
            "/docs/",
            "/./docs",
            "/site/../verify",
        ] {
            for method in ["GET", "POST", "OPTIONS"] {
                assert_eq!(ask(&keys, method, path, None), (401, "Bearer".to_owned()), "{method} {path}");
            }
        }
    }

    #[test]
    fn scopes_open_their_paths_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let [verify, status, admin] =
            [Scope::Verify, Scope::Status, Scope::Admin].map(|scope| key(&path, scope.as_str(), &[scope], None));
        let keys = Keyring::open(&path).unwrap();
        for (key, expected) in [(&verify, [200, 403]), (&status, [403, 200]), (&admin, [403, 200])] {
            let value = format!("bearer {key}");
            for (path, expected) in ["/verify", "/status/x"].into_iter().zip(expected) {
                let (status, challenge) = ask(&keys, "GET", path, Some(&value));
                assert_eq!((status, challenge.contains("insufficient_scope")), (expected, expected == 403), "{path}");
            }
            assert_eq!(ask(&keys, "GET", "/nowhere", Some(&value)).0, 200);
        }
        // A key that is not taken opens nothing, not even what is open: who shows one should learn that it is wrong.
        for value in
            ["", "Bearer", "Bearer ", "Bearer x", &verify, &format!("Basic {verify}"), &format!("Bearer {verify}0")]
        {
            let (status, challenge) = ask(&keys, "GET", "/", Some(value));
            assert!(status == 401 && challenge.contains("invalid_token"), "{status} {challenge}");
        }
        assert!(matches!(admit(None, &Request::new(())), Ok(Caller::Anyone)));
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let value = format!("Bearer {}", key(&path, "web", &[Scope::Status], Some(1)));
        let keys = Keyring::open(&path).unwrap();
        // What is forbidden counts as well.
        assert_eq!(ask(&keys, "POST", "/verify", Some(&value)).0, 403);
        let request = Request::get("/status/x").header(header::AUTHORIZATION, &value).body(()).unwrap();
        let refusal = admit(Some(&keys), &request).unwrap_err();
        let seconds: u64 = refusal.headers()[header::RETRY_AFTER].to_str().unwrap().parse().unwrap();
        assert!(refusal.status() == 429 && (59..=60).contains(&seconds), "{seconds}");
    }
}
