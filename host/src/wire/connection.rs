//! One socket from accept to close.
//!
//! Owns the time limits on handshakes, on heads and on clients that do not read, the end of keep-alive when the host stops, and a
//! lingering close. Must never know what a request asks.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::idle::Presence;
use super::patience::Patient;
use super::{Service, Tls};

/// The most header fields of a request.
const HEADERS: usize = 64;

/// The most bytes of a request's head.
const HEAD: usize = 32 << 10;

/// How long and how much a client may go on sending after it was refused.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 256 << 20);

/// What every connection of a listener begins with.
pub(super) struct Door {
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) header_timeout: Duration,
}

/// Serves one connection until either side closes it.
pub(super) async fn serve<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    door: &Door,
    service: Arc<S>,
    presence: Presence,
    shutdown: CancellationToken,
) {
    // Answers are small: they should leave at once.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &door.tls else {
        return speak(stream, peer, door.header_timeout, service, presence, shutdown).await;
    };
    let (acceptor, leave) = (tls.acceptor(), presence.leave());
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(door.header_timeout, acceptor.accept(stream)) => shaken,
        () = leave.cancelled() => return,
        () = shutdown.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => Box::pin(speak(stream, peer, door.header_timeout, service, presence, shutdown)).await,
        Ok(Err(error)) => tracing::debug!(%error, "a handshake of TLS failed"),
        Err(_) => tracing::debug!("a handshake of TLS took longer than server.header_timeout"),
    }
}

/// Speaks HTTP until either side closes the connection.
async fn speak<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    header_timeout: Duration,
    service: Arc<S>,
    presence: Presence,
    shutdown: CancellationToken,
) {
    let (leave, presence) = (presence.leave(), Arc::new(presence));
    let asked = Arc::clone(&presence);
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(
            TokioIo::new(Patient::new(stream, header_timeout)),
            service_fn(move |request| {
                let (service, presence) = (Arc::clone(&service), Arc::clone(&asked));
                presence.ask();
                Box::pin(async move {
                    let response = service.answer(request, peer).await;
                    Ok::<_, Infallible>(response.map(|body| Answer { body, presence }.boxed_unsync()))
                })
            }),
        );
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        // Whoever takes the seat need not wait for manners.
        () = leave.cancelled() => return,
        () = shutdown.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    tokio::select! {
        () = linger(connection.into_parts().io.into_inner()) => {}
        () = leave.cancelled() => {}
    }
    drop(presence);
}

/// The body of an answer. When it is gone, nothing is asked on its connection.
struct Answer {
    body: HyperOutgoingBody,
    presence: Arc<Presence>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.presence.rest();
    }
}

/// Closes in the order that lets a client read a refusal while it still sends: closing a socket with unread bytes resets the
/// connection, and the reset may overtake the answer.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (time, mut bytes) = LINGER;
    let discard = async {
        // With TLS there is something to be written before, which a client may refuse to read.
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            bytes = bytes.saturating_sub(read);
            if bytes == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(time, discard).await;
}
