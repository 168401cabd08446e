//! A gateway that answers every request with the same five bytes: what is left to measure is the host around it.
//!
//! Owns the greeting. Must never read a request.

use crate::bindings::exports::wasi::http::incoming_handler::Guest;
use crate::bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

// Generated code has no documentation of its own, and the workspace's lints are for code that people write.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "gateway", generate_all });

    export!(Hello);

    use super::Hello;
}

struct Hello;

impl Guest for Hello {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let headers = Fields::new();
        // Without a length the body would go out in chunks.
        let _ = headers.set("content-length", &[b"5".to_vec()]);
        let response = OutgoingResponse::new(headers);
        let body = response.body().ok();
        ResponseOutparam::set(out, Ok(response));
        // Who has gone away hears nothing.
        if let Some(body) = body {
            if let Ok(stream) = body.write() {
                let _ = stream.blocking_write_and_flush(b"hello");
            }
            let _ = OutgoingBody::finish(body, None);
        }
    }
}
