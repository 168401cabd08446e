//! A request's body, counted.
//!
//! Owns the promise that no guest reads more than the limit, whatever the client declared. Must never keep a byte.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use wasmtime_wasi_http::Error;

/// Tells whether a body went over its limit. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Overflow(Arc<AtomicBool>);

impl Overflow {
    /// Whether more than the limit was sent.
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that ends with an error where it exceeds its limit.
pub(super) struct Counted {
    inner: Incoming,
    left: u64,
    limit: u64,
    overflow: Overflow,
}

impl Counted {
    /// Lets at most `limit` bytes through.
    pub(super) fn new(inner: Incoming, limit: u64, overflow: Overflow) -> Self {
        Self { inner, left: limit, limit, overflow }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(context)) else { return Poll::Ready(None) };
        let frame = frame.map_err(Error::from)?;
        if let Some(data) = frame.data_ref() {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.overflow.0.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.limit)))));
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
