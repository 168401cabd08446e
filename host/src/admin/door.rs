//! Who is let in by an API key, where operators and those who watch ask.
//!
//! Owns the words and the status of each refusal. Must never know what is asked.

use http::{Request, Response, StatusCode, header};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::auth::{Caller, Keyring, Refusal, Scope};
use crate::wire::{challenge, closing, problem, retry_later};

type Answer = Box<Response<HyperOutgoingBody>>;

/// What a request shows to be let in; empty where it shows nothing.
pub(super) fn shown<B>(request: &Request<B>) -> &str {
    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// The name of the key that was shown, which must have one of these scopes, of which the first is the least.
///
/// # Errors
/// The refusal: 401 without a key that is taken, with `opens` for what would be; 403 with one that may not do this; 429 with one
/// that has asked too often.
pub(super) fn holder(keys: &Keyring, shown: &str, scopes: &[Scope], opens: &str) -> Result<String, Answer> {
    let refusal = match keys.admit(Some(shown)) {
        Ok(Caller::Holder(record)) if scopes.iter().any(|scope| record.may(*scope)) => return Ok(record.name.clone()),
        Ok(_) => {
            let scope = scopes.first().map_or("", |scope| scope.as_str());
            let why = format!("the API key may not do this: it lacks the scope {scope}");
            let challenged = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
            challenge(problem(StatusCode::FORBIDDEN, "forbidden", &why), &challenged)
        }
        Err(refusal @ Refusal::TooMany { retry_after, .. }) => {
            retry_later(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &refusal.to_string(), retry_after)
        }
        Err(_) => return Err(stranger(opens)),
    };
    Err(Box::new(closing(refusal)))
}

/// The refusal of who shows nothing that opens.
pub(super) fn stranger(opens: &str) -> Answer {
    let why = format!("show {opens} as `Authorization: Bearer TOKEN`");
    Box::new(closing(challenge(problem(StatusCode::UNAUTHORIZED, "unauthorized", &why), "Bearer")))
}
