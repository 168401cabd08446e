//! The name of a request's path in metrics and traces.
//!
//! Owns the templates of the paths that the gateway which comes with the host serves, so that ids make no names. Must never
//! decide anything by them: what is asked for is the gateway's business, and another one's paths have one name together.

use crate::telemetry::OTHER;

/// The template of a path.
pub(super) fn of(path: &str) -> &'static str {
    match path {
        "/verify" => "/verify",
        "/" => "/",
        "/docs" => "/docs",
        "/openapi.json" => "/openapi.json",
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        _ => match path.strip_prefix("/status/") {
            Some(id) if !id.contains('/') => "/status/{task_id}",
            _ => OTHER,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_made_up_has_one_name() {
        assert_eq!(of("/status/face_verification_00"), of("/status/anything"));
        for path in ["/status/a/b", "/holiday.jpg", "/verify/", "", "*", "/status"] {
            assert_eq!(of(path), OTHER, "{path}");
        }
    }
}
