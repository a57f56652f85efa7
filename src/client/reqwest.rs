//! [`reqwest`] through a pipeline: `client.get(url).send_through(&API).await`.
//!
//! ```no_run
//! use std::sync::LazyLock;
//! use steadfast::Pipeline;
//! use steadfast::client::reqwest::SendThrough;
//!
//! static API: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::http("github").build().expect("valid"));
//!
//! # async fn zen(client: reqwest::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let response = client.get("https://api.github.com/zen").send_through(&API).await?;
//! println!("{}: {}", response.status(), response.text().await?);
//! # Ok(()) }
//! ```
//!
//! # What is retried
//!
//! Each attempt sends a fresh copy of the request. Answers are judged by status, as the [table](super::http) says, with `Retry-After` in
//! both forms; errors by [`judge_error`]. When the retries are over **the last response comes back as `Ok`**, as it does from plain
//! `reqwest`: a 503 is an answer, with a body that may say more. To the breaker, the monitor and the budget it was a failure all the
//! same.
//!
//! | method | tried again after |
//! |---|---|
//! | GET, HEAD, OPTIONS, TRACE, PUT, DELETE | any transient failure, and a timeout |
//! | POST, PATCH, and those that HTTP does not define | a connection that was never made: nothing was sent |
//! | the same, with [`.idempotent()`](Through::idempotent) | any transient failure, and a timeout |
//!
//! What is tried again after any failure is also [hedged](crate::Hedge), where the pipeline has a hedge; nothing else is.
//!
//! "Never made" is what `reqwest` tells of the connection it was making. Where a POST may be *redirected*, that can be the second one,
//! after the first server acted: give such a client [`redirect::Policy::none()`](::reqwest::redirect::Policy::none).
//!
//! A body that is a stream can be sent once only. A pipeline that retries refuses such a request before its first attempt
//! ([`NotRepeatable`](crate::RejectedKind::NotRepeatable)); a pipeline without retries just sends it, and so does any with
//! [`.once()`](Through::once).
//!
//! # What is inside, and what is not
//!
//! A response that is to be retried is kept until the next attempt has one: should our own gate refuse that attempt, it is the answer.
//! A small body is read by then, and its connection free again; a large one keeps its connection for the pause.
//!
//! A call ends when the head of the response is there. Reading its body is **outside** the pipeline: no attempt timeout, and no retry
//! when it breaks off. Where the body matters as much, make it part of the operation, and let [`judge_error`] judge:
//!
//! ```no_run
//! # async fn read(client: reqwest::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Pipeline, client::reqwest::judge_error};
//!
//! let api = Pipeline::http("api").classify(judge_error).build()?;
//! let url = "https://api.internal/report";
//! let report = api.call(|| async { client.get(url).send().await?.error_for_status()?.bytes().await }).await?;
//! # let _ = report; Ok(()) }
//! ```
//!
//! The feature brings `reqwest` without TLS and without its other features: your own dependency on it turns on what you need.
//!
//! `reqwest` repeats by itself what HTTP/2 servers refused unseen, at most twice and at once. That does no harm;
//! `ClientBuilder::retry(reqwest::retry::never())` leaves all retries to the pipeline.
//!
//! # Secrets
//!
//! Errors that come back name scheme, host and path of the URL. Its user, password, query and fragment are taken out, and nothing of a
//! request appears in events, spans or statistics.

use super::answer::{ByDoor, Failed, answer};
use super::http::judge_parts;
use crate::call::Priority;
use crate::outcome::{Error, RejectedKind, Verdict};
use crate::pipeline::{Pipeline, Request as CallOptions};
use crate::sync::{Mutex, lock};
use ::reqwest::{Request, RequestBuilder, Response};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// What a call through a pipeline comes to: a response, whatever its status, or an error.
pub type Answer = Result<Response, Error<::reqwest::Error>>;

/// Sends requests through a [`Pipeline`]; see the [module](self). For a `reqwest::Request` that is built already there is
/// `RequestBuilder::from_parts(client, request)`.
pub trait SendThrough {
    /// Prepares the call. Say what this one needs ([`key`](Through::key), [`priority`](Through::priority), ..), then `.await` it.
    fn send_through(self, pipeline: &Pipeline) -> Through<'_>;
}

impl SendThrough for RequestBuilder {
    fn send_through(self, pipeline: &Pipeline) -> Through<'_> {
        Through { builder: self, pipeline, options: pipeline.cost(1), repeat: Repeat::ByMethod, judge, by_default: true }
    }
}

/// How often a request may be sent.
#[derive(Clone, Copy, Debug)]
enum Repeat {
    /// Again only if it was not, or if its method is idempotent.
    ByMethod,
    Freely,
    Never,
}

/// The type of [`judge`], and of closures that take its place.
pub type JudgeFn = fn(&Result<Response, ::reqwest::Error>) -> Verdict;

/// One request on its way through a pipeline; made by [`send_through`](SendThrough::send_through).
///
/// ```no_run
/// # use steadfast::{Pipeline, Priority, client::reqwest::SendThrough};
/// # async fn order(client: reqwest::Client, api: &Pipeline) -> Result<(), Box<dyn std::error::Error>> {
/// let response = client
///     .post("https://api.internal/orders")
///     .header("Idempotency-Key", "order-4711") // so the server knows a second copy when it sees one,
///     .body("..")
///     .send_through(api)
///     .idempotent() // and this is safe to say
///     .priority(Priority::High)
///     .within(std::time::Duration::from_secs(2))
///     .await?;
/// # let _ = response; Ok(()) }
/// ```
#[must_use = "nothing is sent until `.await`"]
pub struct Through<'a, J = JudgeFn> {
    builder: RequestBuilder,
    pipeline: &'a Pipeline,
    options: CallOptions<'a>,
    repeat: Repeat,
    judge: J,
    by_default: bool,
}

impl<'a, J> Through<'a, J> {
    /// On whose behalf the request is sent; see [`Request::key`](crate::Request::key).
    pub fn key(mut self, key: &'a str) -> Self {
        self.options = self.options.key(key);
        self
    }

    /// How much it matters where others wait beside it. **Default**: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options = self.options.priority(priority);
        self
    }

    /// How many units of the rate limit each attempt takes. **Default**: 1; 0 takes none.
    pub fn cost(mut self, cost: u32) -> Self {
        self.options = self.options.cost(cost);
        self
    }

    /// When the response must be there, if that is before the pipeline's total timeout.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.options = self.options.deadline(deadline);
        self
    }

    /// How long the response may take in all, if that is less than the pipeline's total timeout.
    pub fn within(mut self, wait: Duration) -> Self {
        self.options = self.options.within(wait);
        self
    }

    /// Says that the server can take the request twice without doing its work twice, whatever the method: because it is a search, or
    /// has an idempotency key. **Default**: as HTTP defines it for the method.
    pub const fn idempotent(mut self) -> Self {
        self.repeat = Repeat::Freely;
        self
    }

    /// Sends the request at most once, whatever becomes of it; its body may then be a stream. **Default**: as the pipeline says.
    pub const fn once(mut self) -> Self {
        self.repeat = Repeat::Never;
        self
    }

    /// Judges this call by its whole result. A transient verdict does not make the request idempotent: that is said by
    /// [`idempotent`](Self::idempotent). **Default**: a response by its status, an error by the pipeline's own judge of
    /// `reqwest::Error` if it has one, else by [`judge_error`].
    pub fn classify<C: Fn(&Result<Response, ::reqwest::Error>) -> Verdict>(self, judge: C) -> Through<'a, C> {
        let Self { builder, pipeline, options, repeat, .. } = self;
        Through { builder, pipeline, options, repeat, judge, by_default: false }
    }

    /// Sends it: what `.await` does, without the one allocation that `.await` needs.
    ///
    /// # Errors
    /// [`Error::Inner`] with the last attempt's error, or [`Error::Rejected`] when a policy gave no answer of the server's. Responses of
    /// any status are `Ok`.
    ///
    /// # Cancel safety
    /// As [`Pipeline::call`]: dropping the future drops the request under way, and gives everything back.
    pub async fn send(self) -> Answer
    where
        J: Fn(&Result<Response, ::reqwest::Error>) -> Verdict,
    {
        let Self { builder, pipeline, options, repeat, judge, by_default } = self;
        let (client, request) = builder.build_split();
        let request = request.map_err(|error| Error::Inner(without_secrets(error)))?;
        let only_unsent = matches!(repeat, Repeat::ByMethod) && !request.method().is_idempotent();
        let options = match repeat {
            Repeat::Never => options.once(),
            _ => options.idempotent(!only_unsent),
        };
        // Copies are made only where they may be needed, and whether they can be is known before anything is sent.
        let repeats = !matches!(repeat, Repeat::Never);
        let (retries, hedges) = (repeats && pipeline.retries(), repeats && !only_unsent && pipeline.hedges());
        let is_stream = request.body().is_some_and(|body| body.as_bytes().is_none());
        if retries && is_stream {
            return Err(Error::Rejected(pipeline.rejection(RejectedKind::NotRepeatable)));
        }
        // A hedge is a help that one can do without.
        let options = if hedges && is_stream { options.once() } else { options };
        let copies = (retries || hedges) && !is_stream;
        let request = Mutex::new(Some(request));
        let attempt = || {
            let request = if copies { lock(&request).as_ref().and_then(Request::try_clone) } else { lock(&request).take() };
            let (client, judge) = (&client, &judge);
            async move {
                let Some(request) = request else { return Err(Failed::no_copy()) };
                let result = client.execute(request).await.map_err(without_secrets);
                let verdict = match &result {
                    Err(error) if by_default => pipeline.judges().judge_known(error).unwrap_or_else(|| judge(&result)),
                    _ => judge(&result),
                };
                let sent = !result.as_ref().is_err_and(::reqwest::Error::is_connect);
                match (verdict, result) {
                    (Verdict::Success, Ok(response)) => Ok(response),
                    // To the breaker as bad as before; to the retry policy the end.
                    (Verdict::Transient { .. }, result) if only_unsent && sent => {
                        Err(Failed::new(result, Verdict::Permanent).quoted_by(quote))
                    }
                    (verdict, result) => Err(Failed::new(result, verdict).quoted_by(quote)),
                }
            }
        };
        answer(options.judged_by(ByDoor).call(attempt).await)
    }
}

impl<'a, J> IntoFuture for Through<'a, J>
where
    J: Fn(&Result<Response, ::reqwest::Error>) -> Verdict + Send + Sync + 'a,
{
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Of a request only the pipeline is shown: the rest may be secret.
impl<J> fmt::Debug for Through<'_, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Through").field("pipeline", &self.pipeline.name()).field("repeat", &self.repeat).finish_non_exhaustive()
    }
}

/// What a result says of the server: a response by its status and `Retry-After` ([`judge_parts`]), an error by [`judge_error`].
#[must_use]
pub fn judge(result: &Result<Response, ::reqwest::Error>) -> Verdict {
    match result {
        Ok(response) => judge_parts(response.status(), response.headers()),
        Err(error) => judge_error(error),
    }
}

/// What an error says of the server, for [`PipelineBuilder::classify`](crate::PipelineBuilder::classify).
///
/// | error | verdict |
/// |---|---|
/// | the request could not be built | ignored: nothing was sent |
/// | a status (`error_for_status`) | by [`judge_status`](super::http::judge_status); a `Retry-After` is lost in such an error |
/// | redirected in circles, or where it may not go; an upgrade refused | permanent |
/// | a body that came whole and does not parse | permanent |
/// | no connection, a connection cut, a timeout, nonsense instead of HTTP, a body cut short | transient |
#[must_use]
pub fn judge_error(error: &::reqwest::Error) -> Verdict {
    if error.is_builder() {
        Verdict::Ignored
    } else if let Some(status) = error.status() {
        super::http::judge_status(status)
    } else if error.is_redirect() || error.is_upgrade() || (error.is_decode() && !is_cut(error)) {
        Verdict::Permanent
    } else {
        Verdict::transient()
    }
}

/// Whether a body could not be decoded because there was no more of it: then the transport's own error is underneath.
fn is_cut(error: &::reqwest::Error) -> bool {
    causes(error).any(|cause| cause.is::<::reqwest::Error>() || cause.is::<std::io::Error>())
}

fn causes<'a>(error: &'a ::reqwest::Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

/// The error, with no more of its URL than scheme, host, port and path.
fn without_secrets(mut error: ::reqwest::Error) -> ::reqwest::Error {
    if let Some(url) = error.url_mut() {
        url.set_query(None);
        url.set_fragment(None);
        // These fail on URLs that cannot have them, and so have none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
    }
    error
}

/// `status 503`, or `error sending request: Connection refused (os error 111)`, for [`Rejected::last_error`](crate::Rejected::last_error).
fn quote(result: &Result<Response, Error<::reqwest::Error>>) -> String {
    match result {
        Ok(response) => format!("status {}", response.status().as_u16()),
        Err(Error::Rejected(rejected)) => rejected.to_string(),
        Err(Error::Inner(error)) => match causes(error).last() {
            Some(root) => format!("{error}: {root}"),
            None => error.to_string(),
        },
    }
}
