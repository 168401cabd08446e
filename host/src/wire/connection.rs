//! One socket from accept to close.
//!
//! Owns the time limits on handshakes and heads, the end of keep-alive when the host stops, and a lingering close. Must never know what a
//! request asks.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

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
    shutdown: CancellationToken,
) {
    // Answers are small: they should leave at once.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &door.tls else {
        return speak(stream, peer, door.header_timeout, service, shutdown).await;
    };
    let acceptor = tls.acceptor();
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(door.header_timeout, acceptor.accept(stream)) => shaken,
        () = shutdown.cancelled() => return,
    };
    match shaken {
        Ok(Ok(stream)) => Box::pin(speak(stream, peer, door.header_timeout, service, shutdown)).await,
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
    shutdown: CancellationToken,
) {
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let service = Arc::clone(&service);
                Box::pin(async move { Ok::<_, Infallible>(service.answer(request, peer).await) })
            }),
        );
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        () = shutdown.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
    linger(connection.into_parts().io.into_inner()).await;
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
