//! The gateway's slot: one fresh instance for each request.
//!
//! Owns the call. Must never know a path or a status code; the component does.

use bytes::Bytes;
use hyper::body::Body;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::artifact::{self, Cache};
use super::bindings::{limits as limits_world, tasks as tasks_world};
use super::guest::{self, Guest};
use super::limits::{self, Limits};
use super::tasks::Desk;
use super::{CallError, Clockwork, Generation, LoadError, Slot, SlotConfig};

/// The component that reads requests, ready to be instantiated.
pub(crate) struct Gateway {
    pre: ProxyPre<Guest<Door>>,
    limits: Limits,
    generation: Generation,
}

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
    pub(crate) fn load(clockwork: &Clockwork, cache: &Cache, config: &SlotConfig) -> Result<Self, LoadError> {
        let engine = &clockwork.engine;
        let artifact = artifact::load(engine, cache, Slot::Gateway, config)?;
        let link = || {
            let mut linker = Linker::new(engine);
            guest::link_wasi_async(&mut linker)?;
            // Only the types: a gateway answers requests and makes none.
            wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<_, wasmtime_wasi_http::WasiHttp>(
                &mut linker,
                &wasmtime_wasi_http::p2::bindings::http::types::LinkOptions::default(),
                Guest::<Door>::http,
            )?;
            tasks_world::add_to_linker::<_, HasSelf<Desk>>(&mut linker, |guest: &mut Guest<Door>| {
                &mut guest.extra.desk
            })?;
            limits_world::add_to_linker::<_, HasSelf<Desk>>(&mut linker, |guest: &mut Guest<Door>| {
                &mut guest.extra.desk
            })?;
            ProxyPre::new(linker.instantiate_pre(&artifact.component)?)
        };
        let pre = link().map_err(|error| LoadError::not_of_its_world(Slot::Gateway, config, &error))?;
        Ok(Self { pre, limits: config.limits, generation: Generation::first(artifact.digest) })
    }

    /// Hands one request to a fresh instance. Dropping the future stops the instance; once there is a response, its body
    /// keeps the instance until it is sent.
    pub(crate) async fn handle<B>(
        &self,
        request: hyper::Request<B>,
        desk: Desk,
    ) -> Result<hyper::Response<HyperOutgoingBody>, CallError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut store =
            guest::store(self.pre.engine(), self.limits, Door { http: WasiHttpCtx::new(), hooks: Answers, desk });
        limits::give_way(&mut store, self.limits.deadline);
        let generation = self.generation.generation;
        let trap = |reason: String| CallError::Trap { slot: Slot::Gateway, generation, reason };
        let (sender, receiver) = oneshot::channel();
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request).map_err(|error| trap(error.to_string()))?;
        let outparam = http.new_response_outparam(sender).map_err(|error| trap(error.to_string()))?;
        let pre = self.pre.clone();
        // A task of its own: a guest may go on to write its body after it has set the response.
        let mut guest = AbortOnDrop(Some(tokio::spawn(async move {
            let result = match pre.instantiate_async(&mut store).await {
                Ok(proxy) => proxy.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await,
                Err(error) => Err(error),
            };
            result.map_err(|error| guest::call_error(&store, Slot::Gateway, generation, &error))
        })));
        match receiver.await {
            Ok(Ok(response)) => {
                guest.let_go();
                Ok(response)
            }
            Ok(Err(code)) => Err(trap(format!("it answered the error {code:?}"))),
            // The sender is gone with the store: the guest has ended without an answer.
            Err(_) => match guest.join().await {
                Some(Err(error)) => Err(error),
                Some(Ok(())) => Err(trap("it ended without an answer".into())),
                None => Err(CallError::Cancelled { slot: Slot::Gateway }),
            },
        }
    }

    /// Which code answers.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
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
    /// Lets the task run on by itself.
    fn let_go(&mut self) {
        self.0 = None;
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
