//! A request's body, counted.
//!
//! Owns the promise that no guest reads more than the limit, whatever the client declared, and that no client is waited for when
//! its seat is needed. Must never keep a byte.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;
use wasmtime_wasi_http::Error;

use crate::runtime::{Seat, Stage};

/// Tells how far a body was read. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    overflow: AtomicBool,
    end: AtomicBool,
    cut: AtomicBool,
}

impl Progress {
    /// Whether more than the limit was sent.
    pub(super) fn has_overflown(&self) -> bool {
        self.0.overflow.load(Ordering::Relaxed)
    }

    /// Whether it was waited for until somebody else needed the seat.
    pub(super) fn was_cut_off(&self) -> bool {
        self.0.cut.load(Ordering::Relaxed)
    }

    /// Whether it was read to its end. What is left of it stands before the connection's next request.
    pub(super) fn is_at_end(&self) -> bool {
        self.0.end.load(Ordering::Relaxed)
    }
}

/// A body that ends with an error where it exceeds its limit.
pub(super) struct Counted {
    inner: Incoming,
    left: u64,
    limit: u64,
    progress: Progress,
    seat: Arc<Seat>,
    hurried: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Counted {
    /// Lets at most `limit` bytes through.
    pub(super) fn new(inner: Incoming, limit: u64, progress: Progress, seat: Arc<Seat>) -> Self {
        let hurried = Box::pin(seat.hurried().cancelled_owned());
        let body = Self { inner, left: limit, limit, progress, seat, hurried };
        body.note_end();
        body
    }

    fn note_end(&self) {
        if self.inner.is_end_stream() {
            self.progress.0.end.store(true, Ordering::Relaxed);
        }
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            self.seat.enter(Stage::Receiving);
            ready!(self.hurried.as_mut().poll(context));
            self.progress.0.cut.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        self.seat.enter(Stage::Computing);
        self.note_end();
        let Some(frame) = frame else {
            self.progress.0.end.store(true, Ordering::Relaxed);
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Error::from)?;
        if let Some(data) = frame.data_ref() {
            self.seat.receive(data.len());
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.progress.0.overflow.store(true, Ordering::Relaxed);
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
