//! The gateway's slot: one fresh instance for each request.
//!
//! Owns the call. Must never know a path or a status code; the component does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Body;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::Instrument;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{self, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::artifact::Cache;
use super::bindings::{limits as limits_of_host, tasks};
use super::guest::{self, Guest};
use super::limits;
use super::seat::{MOMENT, Seat, Stage};
use super::slot::{self, Plugged};
use super::tasks::Desk;
use super::{CallError, Candidate, Clockwork, Generation, Limits, LoadError, Slot};

/// Bytes that one set of header fields of a gateway may take: as many as the head of a request may have.
const FIELDS: usize = 32 << 10;

/// The component that reads requests, ready to be instantiated.
pub(crate) struct Gateway(Plugged<ProxyPre<Guest<Door>>>);

/// What only a gateway's world has.
struct Door {
    http: WasiHttpCtx,
    hooks: Answers,
    desk: Desk,
}

/// A gateway answers requests and makes none. The linker offers it no way to; this refuses should one appear.
struct Answers;

impl WasiHttpHooks for Answers {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

type WasiBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Error>;

/// A response, and what is left to do for its body.
type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl Gateway {
    /// Compiles the component and checks that it fits its world.
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, candidate: Candidate) -> Result<Self, LoadError> {
        let link = |linker: &mut Linker<Guest<Door>>| {
            guest::link_wasi_async(linker)?;
            // Only the types: a gateway answers requests and makes none.
            let options = types::LinkOptions::default();
            types::add_to_linker::<_, WasiHttp>(linker, &options, Guest::<Door>::http)?;
            tasks::add_to_linker::<_, HasSelf<Desk>>(linker, |guest| &mut guest.extra.desk)?;
            limits_of_host::add_to_linker::<_, HasSelf<Desk>>(linker, |guest| &mut guest.extra.desk)
        };
        slot::plug(clockwork, cache, Slot::Gateway, candidate, link, ProxyPre::new).map(Self)
    }

    /// Hands one request to a fresh instance. Dropping the future stops the instance; once there is a response, the
    /// instance has `patience` to send its body, for a client may read slowly or never.
    pub(crate) async fn handle<B>(
        &self,
        request: hyper::Request<B>,
        desk: Desk,
        patience: Duration,
    ) -> Result<hyper::Response<HyperOutgoingBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS);
        let (seat, named) = (desk.seat.clone(), self.0.named());
        let mut store = self.0.store(Door { http, hooks: Answers, desk });
        limits::give_way(&mut store, self.0.limits.deadline);
        let generation = self.0.generation.generation;
        let trap = |reason: String| CallError::Trap { slot: Slot::Gateway, generation, reason: guest::brief(&reason) };
        let (sender, receiver) = oneshot::channel();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request).map_err(|error| trap(error.to_string()))?;
        let outparam = http.new_response_outparam(sender).map_err(|error| trap(error.to_string()))?;
        let pre = self.0.pre.clone();
        // A task of its own: a guest may go on to write its body after it has set the response.
        let run = async move {
            let result = match pre.instantiate_async(&mut store).await {
                Ok(proxy) => proxy.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await,
                Err(error) => Err(error),
            };
            result.map_err(|error| guest::call_error(&store, Slot::Gateway, generation, &error))
        };
        let mut guest = AbortOnDrop(Some(tokio::spawn(run.instrument(named))));
        let answered = match receiver.await {
            // 101 among them would end HTTP on the connection.
            Ok(Ok(response)) if !(200..600).contains(&response.status().as_u16()) => {
                Err(trap(format!("it answered the status {}, which ends no request", response.status().as_u16())))
            }
            Ok(Ok(response)) => {
                guest.let_go(patience, seat);
                Ok(response)
            }
            Ok(Err(code)) => Err(trap(format!("it answered the error {code:?}"))),
            // The sender is gone with the store: the guest has ended without an answer.
            Err(_) => match guest.join().await {
                Some(Err(error)) => Err(error),
                Some(Ok(())) => Err(trap("it ended without an answer".into())),
                None => Err(CallError::Cancelled { slot: Slot::Gateway, generation }),
            },
        };
        slot::count(Slot::Gateway, &answered);
        answered
    }

    /// What one instance may use.
    pub(crate) fn limits(&self) -> Limits {
        self.0.limits
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.0.generation
    }
}

impl WasiHttpView for Guest<Door> {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.extra.http, table: &mut self.table, hooks: &mut self.extra.hooks }
    }
}

/// A task that ends when nobody waits for it.
struct AbortOnDrop(Option<JoinHandle<Result<(), CallError>>>);

impl AbortOnDrop {
    /// Lets the task run on by itself, for so long, or until somebody else needs its seat.
    fn let_go(&mut self, patience: Duration, seat: Option<Arc<Seat>>) {
        let Some(mut task) = self.0.take() else { return };
        let hurried = seat.map(|seat| {
            seat.enter(Stage::Answering);
            seat.hurried()
        });
        tokio::spawn(async move {
            let moment = tokio::time::sleep(MOMENT);
            let hurried = async {
                match hurried {
                    // It may have been asked long before: for the end of its wait.
                    Some(hurried) => _ = tokio::join!(hurried.cancelled(), moment),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut task => return,
                () = tokio::time::sleep(patience) => {}
                () = hurried => {}
            }
            task.abort();
        });
    }

    /// Waits for its end; `None` when it was stopped.
    async fn join(&mut self) -> Option<Result<(), CallError>> {
        match self.0.as_mut() {
            Some(task) => task.await.ok(),
            None => None,
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::sync::Semaphore;

    use super::*;

    /// How long an answer that nobody reads goes on, whose seat is asked for before it begins or later.
    async fn goes_on(asked: Option<Duration>) -> Duration {
        let permit = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let seat = Arc::new(Seat::new(permit(), permit(), 0));
        let (over, gone) = tokio::sync::oneshot::channel::<()>();
        let answer = tokio::spawn(async move {
            let _over = over;
            std::future::pending().await
        });
        let begin = Instant::now();
        if asked.is_none() {
            seat.hurry();
        }
        AbortOnDrop(Some(answer)).let_go(Duration::from_secs(60), Some(Arc::clone(&seat)));
        if let Some(asked) = asked {
            tokio::time::sleep(asked).await;
            seat.hurry();
        }
        gone.await.unwrap_err();
        begin.elapsed()
    }

    #[tokio::test]
    async fn an_answer_has_a_moment_whenever_its_seat_is_asked_for() {
        let later = MOMENT + Duration::from_millis(300);
        let (at_once, at_last) = tokio::join!(goes_on(None), goes_on(Some(later)));
        assert!(at_once >= MOMENT && at_last >= later, "{at_once:?}, {at_last:?}");
        assert!(at_once < Duration::from_secs(30) && at_last < Duration::from_secs(30), "{at_once:?}, {at_last:?}");
    }
}
