//! A pipeline as a [tower](https://docs.rs/tower) layer, over any [`Service`] that can be cloned.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Pipeline, Retry};
//! use steadfast::client::tower::PipelineLayer;
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! let pipeline = Pipeline::builder("greeter").retry(Retry::exponential(3, Duration::from_millis(10))).build()?;
//! let mut greeter = ServiceBuilder::new()
//!     .layer(PipelineLayer::new(pipeline))
//!     .concurrency_limit(10) // inside the pipeline: each attempt waits for its own permit
//!     .service(service_fn(|name: String| async move { Ok::<_, std::io::Error>(format!("Hello, {name}")) }));
//!
//! let greeting = greeter.ready().await?.call("Ada".to_owned()).await?;
//! # assert_eq!(greeting, "Hello, Ada"); Ok(()) }
//! ```
//!
//! # Readiness
//!
//! Each attempt takes a fresh clone of the service, waits until *that* is ready, calls it, and drops it. So a place that readiness
//! stands for (of a `ConcurrencyLimit`, a `Buffer`, a connection pool) is never held through a pause between attempts, and an attempt
//! that was retried cannot wait for a place which its own predecessor holds. The wait is part of the attempt: the attempt timeout and the
//! deadline end it.
//!
//! The layer itself is therefore **always ready**, and does not pass on backpressure: callers wait inside the call. What bounds them is the
//! pipeline: a [bulkhead](crate::Bulkhead) with its queue, a rate limit, the total timeout. A `LoadShed` belongs *inside*
//! the layer, where it sees the service's own readiness.
//!
//! # Judging, repeating
//!
//! Errors are judged by what the pipeline knows of their type ([`PipelineBuilder::classify`](crate::PipelineBuilder::classify)); responses are
//! successes, unless [`classify`](PipelineLayer::classify) says otherwise. A response that is judged a failure is retried like an error, and
//! when the retries are over the last one is given to the caller as `Ok`.
//!
//! Every attempt needs a request of its own: a clone, or what a function of yours makes
//! ([`clone_request_with`](PipelineLayer::clone_request_with)). That is also where to say that a request may not happen twice. **A layer
//! cannot know**: without such a function a POST is retried like a GET.
#![cfg_attr(feature = "http", doc = "For HTTP there is [`clone_idempotent`](super::http::clone_idempotent):")]
#![cfg_attr(not(feature = "http"), doc = "For HTTP there is `client::http::clone_idempotent` (feature `http`).")]
#![cfg_attr(
    feature = "http",
    doc = r#"
```
# #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
use http::{Request, Response};
use steadfast::Pipeline;
use steadfast::client::{http::{clone_idempotent, judge}, tower::PipelineLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};

# async fn send(_: Request<String>) -> Result<Response<String>, std::io::Error> { Ok(Response::new("pong".into())) }
let layer = PipelineLayer::new(Pipeline::http("api").build()?).classify(judge).clone_request_with(clone_idempotent);
let client = ServiceBuilder::new().layer(layer).service(service_fn(send));
let response = client.oneshot(Request::post("http://api.internal/ping").body(String::new())?).await?;
# assert_eq!(response.body(), "pong"); Ok(()) }
```"#
)]
//!
//! # Cost
//!
//! One allocation per call: the future of a pipeline has no name that a `Service` could give, and a boxed one keeps the size of the services
//! around it small. [`ResponseFuture`] is `Send`, and asks the same of service and request; [`local`](PipelineLayer::local) asks nothing.

use super::answer::{ByDoor, Failed, answer};
use crate::call::Priority;
use crate::classify::{ByErrorType, ByResult, Judge};
use crate::outcome::{Error, Verdict};
use crate::pipeline::Pipeline;
use crate::sync::{Mutex, lock};
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Puts a pipeline around a service; see the [module](self).
///
/// Clones, and all services it makes, share the pipeline's state.
#[derive(Clone)]
pub struct PipelineLayer<J = ByErrorType, C = ByClone, M = Spawnable> {
    pipeline: Pipeline,
    priority: Priority,
    cost: u32,
    judge: J,
    copy: C,
    mode: PhantomData<M>,
}

/// The mode of a layer whose futures are `Send`, as multi-threaded runtimes need them. The default.
#[derive(Clone, Copy, Debug)]
pub struct Spawnable(());

/// The mode of a [`local`](PipelineLayer::local) layer.
#[derive(Clone, Copy, Debug)]
pub struct Unspawnable(());

/// Where the request of each attempt comes from.
pub trait CloneRequest<R> {
    /// Another of the same; `None` for one that may not, or cannot, be sent twice.
    fn clone_request(&self, request: &R) -> Option<R>;
}

/// By its own `Clone`. The default.
#[derive(Clone, Copy, Debug)]
pub struct ByClone;

impl<R: Clone> CloneRequest<R> for ByClone {
    fn clone_request(&self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}

/// Not at all: see [`once`](PipelineLayer::once).
#[derive(Clone, Copy, Debug)]
pub struct Never;

impl<R> CloneRequest<R> for Never {
    fn clone_request(&self, _: &R) -> Option<R> {
        None
    }
}

/// By a function: see [`clone_request_with`](PipelineLayer::clone_request_with).
#[derive(Clone, Copy)]
pub struct ByFunction<F>(F);

impl<R, F: Fn(&R) -> Option<R>> CloneRequest<R> for ByFunction<F> {
    fn clone_request(&self, request: &R) -> Option<R> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ByFunction<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByFunction")
    }
}

impl PipelineLayer {
    /// A layer of this pipeline: errors are judged by their type, requests are cloned.
    #[must_use]
    pub const fn new(pipeline: Pipeline) -> Self {
        Self { pipeline, priority: Priority::Normal, cost: 1, judge: ByErrorType, copy: ByClone, mode: PhantomData }
    }
}

impl<J, C, M> PipelineLayer<J, C, M> {
    /// Judges each attempt by its whole result; the pipeline's own judges are not asked. **Default**: responses are successes, errors
    /// are what the pipeline says of their type.
    #[must_use]
    pub fn classify<T, E, K: Fn(&Result<T, E>) -> Verdict>(self, judge: K) -> PipelineLayer<ByResult<K>, C, M> {
        self.with(|_, copy| (ByResult(judge), copy))
    }

    /// Makes the request of each attempt with a function, for requests without `Clone`, and to tell those that may not happen twice: one
    /// for which it gives `None` is sent at most once, whatever becomes of it. **Default**: `Clone`.
    #[must_use]
    pub fn clone_request_with<R, F: Fn(&R) -> Option<R>>(self, copy: F) -> PipelineLayer<J, ByFunction<F>, M> {
        self.with(|judge, _| (judge, ByFunction(copy)))
    }

    /// Sends every request at most once, whatever the pipeline's retry policy says, and so asks no `Clone` of it. For the way in, say:
    /// around the routes of a server. **Default**: as the retry policy says.
    #[must_use]
    pub fn once(self) -> PipelineLayer<J, Never, M> {
        self.with(|judge, _| (judge, Never))
    }

    /// For services and requests that stay on one thread: no `Send` is asked of them, and the future has none. **Default**: `Send`.
    #[must_use]
    pub fn local(self) -> PipelineLayer<J, C, Unspawnable> {
        self.with(|judge, copy| (judge, copy))
    }

    /// How much the calls of this layer matter where others of the pipeline wait beside them: one pipeline may have several layers.
    /// **Default**: [`Priority::Normal`].
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How many units of the rate limit each attempt takes. **Default**: 1; 0 takes none.
    #[must_use]
    pub const fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    fn with<K, D, N>(self, change: impl FnOnce(J, C) -> (K, D)) -> PipelineLayer<K, D, N> {
        let Self { pipeline, priority, cost, judge, copy, .. } = self;
        let (judge, copy) = change(judge, copy);
        PipelineLayer { pipeline, priority, cost, judge, copy, mode: PhantomData }
    }
}

impl<S, J: Clone, C: Clone, M: Clone> Layer<S> for PipelineLayer<J, C, M> {
    type Service = PipelineService<S, J, C, M>;

    fn layer(&self, inner: S) -> Self::Service {
        PipelineService { inner, layer: self.clone() }
    }
}

impl<J, C, M> fmt::Debug for PipelineLayer<J, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PipelineLayer").field(&self.pipeline).finish()
    }
}

/// A service inside a pipeline; made by [`PipelineLayer`].
#[derive(Clone)]
pub struct PipelineService<S, J = ByErrorType, C = ByClone, M = Spawnable> {
    inner: S,
    layer: PipelineLayer<J, C, M>,
}

impl<S, J, C, M> PipelineService<S, J, C, M> {
    /// The pipeline around it.
    pub const fn pipeline(&self) -> &Pipeline {
        &self.layer.pipeline
    }

    /// The service inside. Calls are made on clones of it.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside. Calls are made on clones of it.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: fmt::Debug, J, C, M> fmt::Debug for PipelineService<S, J, C, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineService").field("pipeline", self.pipeline()).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, R, J, C> Service<R> for PipelineService<S, J, C, Spawnable>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
    J: Judge<S::Response, S::Error> + Clone + Send + Sync + 'static,
    C: CloneRequest<R> + Clone + Send + Sync + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    /// Always ready: see [Readiness](self#readiness).
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ResponseFuture(Box::pin(drive(self.clone(), request)))
    }
}

impl<S, R, J, C> Service<R> for PipelineService<S, J, C, Unspawnable>
where
    S: Service<R> + Clone + 'static,
    S::Response: 'static,
    S::Error: 'static,
    R: 'static,
    J: Judge<S::Response, S::Error> + Clone + 'static,
    C: CloneRequest<R> + Clone + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = LocalResponseFuture<S::Response, S::Error>;

    /// Always ready: see [Readiness](self#readiness).
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        LocalResponseFuture(Box::pin(drive(self.clone(), request)))
    }
}

/// What the attempts of one call are made from. In a lock because the operation of a pipeline is shared while it runs, and neither services
/// nor requests need be `Sync`; nobody else ever waits for it.
struct Stock<S, R> {
    service: S,
    request: Option<R>,
    /// The copy that showed that there can be copies.
    spare: Option<R>,
}

async fn drive<S, R, J, C, M>(through: PipelineService<S, J, C, M>, request: R) -> Result<S::Response, Error<S::Error>>
where
    S: Service<R> + Clone,
    S::Error: 'static,
    S::Response: 'static,
    J: Judge<S::Response, S::Error>,
    C: CloneRequest<R>,
{
    let PipelineService { inner: service, layer: PipelineLayer { pipeline, priority, cost, judge, copy, .. } } = through;
    let repeats = pipeline.retries() || pipeline.hedges();
    let spare = if repeats { copy.clone_request(&request) } else { None };
    let copies = spare.is_some();
    let stock = Mutex::new(Stock { service, request: Some(request), spare });
    let attempt = || {
        let (mut service, request) = {
            let Stock { service, request, spare } = &mut *lock(&stock);
            let request = match spare.take() {
                Some(spare) => Some(spare),
                None if copies => request.as_ref().and_then(|request| copy.clone_request(request)),
                None => request.take(),
            };
            (service.clone(), request)
        };
        let (pipeline, judge) = (&pipeline, &judge);
        async move {
            let Some(request) = request else { return Err(Failed::no_copy()) };
            let result = match poll_fn(|cx| service.poll_ready(cx)).await {
                Ok(()) => service.call(request).await,
                Err(error) => Err(error),
            };
            match (judge.judge(pipeline.judges(), &result), result) {
                (Verdict::Success, Ok(response)) => Ok(response),
                (verdict, result) => Err(Failed::new(result, verdict)),
            }
        }
    };
    let options = pipeline.priority(priority).cost(cost).judged_by(ByDoor);
    let options = if repeats && !copies { options.once() } else { options };
    answer(options.call(attempt).await)
}

/// The response to be, of a [`PipelineService`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, E>(Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send>>);

/// The response to be, of a [`local`](PipelineLayer::local) one.
#[must_use = "futures do nothing unless polled"]
pub struct LocalResponseFuture<T, E>(Pin<Box<dyn Future<Output = Result<T, Error<E>>>>>);

impl<T, E> Future for ResponseFuture<T, E> {
    type Output = Result<T, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> Future for LocalResponseFuture<T, E> {
    type Output = Result<T, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for LocalResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalResponseFuture").finish_non_exhaustive()
    }
}
