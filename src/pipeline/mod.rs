//! The pipeline: every policy of one dependency, around any async call.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{CircuitBreaker, Pipeline, Retry};
//!
//! let github = Pipeline::builder("github")
//!     .total_timeout(Duration::from_secs(10))
//!     .retry(Retry::exponential(3, Duration::from_millis(100)))
//!     .circuit_breaker(CircuitBreaker::failure_rate(0.5))
//!     .attempt_timeout(Duration::from_secs(2))
//!     .build()?;
//!
//! let stars = github.call(|| async { Ok::<_, std::io::Error>(42) }).await?;
//! assert_eq!(github.to_string(), "github: total timeout 10.0 s > retry > circuit breaker > attempt timeout 2.0 s > operation");
//! # assert_eq!(stars, 42); Ok(()) }
//! ```

mod answered;
mod builder;
#[cfg(feature = "cache")]
mod cached;
#[cfg(all(feature = "cache", feature = "macros"))]
mod caches;
mod coalesced;
pub mod config;
#[cfg(feature = "chaos")]
mod disturb;
mod explain;
mod leg;
mod policies;
mod preset;
mod race;
pub mod registry;
mod request;
mod run;
mod stats;
mod story;
mod typed;
mod waiting;

pub use builder::PipelineBuilder;
#[cfg(feature = "cache")]
pub use cached::Cached;
#[cfg(all(feature = "cache", feature = "macros"))]
pub(crate) use caches::{Caches, Caller};
pub use coalesced::Coalesced;
pub use config::{Change, Changes, PipelineConfig, text};
pub use explain::{Explanation, Warning};
use policies::Policies;
pub use policies::PolicyOf;
pub use registry::{Registry, RegistryChanges, RegistryConfig, UnknownPipeline};
pub(crate) use request::Options;
use request::begins_requests;
pub use request::{Nested, Request};
pub use stats::{Gauge, PipelineStats};
pub use typed::{TypedBuilder, TypedPipeline};

use crate::admission::{AdaptiveLimit, Bulkhead, CircuitBreaker, Gate, PerKey, RateLimiter, Throttle};
use crate::call::Attempt;
use crate::classify::{ByErrorType, ByResult, Judges};
use crate::execution::{Hedge, Retry};
#[cfg(feature = "testing")]
use crate::observation::Observer;
use crate::observation::{Emitter, Events, Monitor, Recorder};
use crate::outcome::{Error, Origin, Verdict};
use crate::substitution::OrElse;
use crate::versions::Versions;
use answered::answered;
#[cfg(feature = "chaos")]
use disturb::run;
#[cfg(not(feature = "chaos"))]
use run::run;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What the clones of a pipeline share: its settings, and the live policies with their state.
pub(crate) struct Core {
    name: Arc<str>,
    origin: Arc<Origin>,
    total_timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    policies: Policies,
    gates: Vec<Arc<dyn Gate>>,
    #[cfg(feature = "chaos")]
    chaos: Option<crate::chaos::Chaos>,
    /// How answers are kept for those who ask for it.
    #[cfg(feature = "cache")]
    caching: Option<crate::substitution::Caching>,
    #[cfg(all(feature = "cache", feature = "macros"))]
    caches: Arc<Caches>,
    judges: Judges,
    monitor: Option<Monitor>,
    recorder: Option<Arc<Recorder>>,
    emitter: Arc<Emitter>,
    /// Whether somebody measures latency, so that the end of an attempt is worth a clock reading of its own.
    reads_end: bool,
    spans: bool,
    log_keys: bool,
    /// Found when they are asked for.
    warnings: OnceLock<Vec<Warning>>,
}

/// Every policy of one dependency, around any async call.
///
/// Cloning is cheap and shares all state, so a pipeline lives in a `static`, a struct field, or both. It has no type parameters: one
/// pipeline serves calls of any value and error type.
#[derive(Clone)]
pub struct Pipeline {
    core: Arc<Versions<Core>>,
}

impl Pipeline {
    /// Begins a pipeline without any policy. The name appears in errors, events and statistics: name the dependency. Control
    /// characters in it are escaped, and what is longer than 128 bytes is cut.
    pub fn builder(name: impl Into<String>) -> PipelineBuilder {
        PipelineBuilder::new(name.into())
    }

    /// Runs `operation` under every policy: once per attempt, so it makes a new future each time it is asked.
    ///
    /// No `Send`, no `'static`: the future of the call is `Send` when the operation's is (and its error type, of which it keeps the
    /// last), and results may borrow.
    ///
    /// # Errors
    /// [`Error::Inner`] with the operation's own last error, or [`Error::Rejected`] when a policy gave no answer of the operation's own.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation and gives back every permit, probe, place and reservation in the same drop.
    ///
    /// # Panics
    /// As the operation does: its panic unwinds to the caller, counts as a failure, and everything held is given back. And like an
    /// `async fn`, when it is polled again after it has ended.
    pub fn call<T, E, F, Fut>(&self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        run(self.core(), &Options::NONE, ByErrorType, Error::Inner, move |_| operation())
    }

    /// Like [`call`](Self::call), telling the operation which attempt it is, and how much time is left.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with<T, E, F, Fut>(&self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        run(self.core(), &Options::NONE, ByErrorType, Error::Inner, operation)
    }

    /// Like [`call`](Self::call), with an async function to answer for it when it fails.
    ///
    /// The fallback runs once, outside retry and breaker, and has until the deadline of the call: an answer that is ready at once is
    /// always given. The call still counts by how the operation fared.
    ///
    /// # Errors
    /// Whatever the fallback fails with; `DeadlineExceeded` when it did not finish by the deadline.
    pub fn call_or_else<T, E, F, Fut, G, Later>(&self, operation: F, fallback: G) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        G: FnOnce(Error<E>) -> Later,
        Later: Future<Output = Result<T, Error<E>>>,
    {
        answered(run(self.core(), &Options::NONE, ByErrorType, Error::Inner, move |_| operation()), OrElse(fallback))
    }

    /// Like [`call`](Self::call), with a value for when it fails, whatever the error: it cannot fail.
    pub fn call_or<T, E, F, Fut>(&self, operation: F, value: T) -> impl Future<Output = T>
    where
        E: 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let core = self.core();
        request::or(core, move || run(core, &Options::NONE, ByErrorType, Error::Inner, move |_| operation()), value)
    }

    begins_requests!(['a] self: [&'a self] &'a Self, of [T, E] Result<T, E>);

    /// This pipeline around another, for an order of policies other than the built-in one: the inner pipeline's call is the outer
    /// one's operation. What the inner one rejects is judged as a rejection, and the error does not nest. The operation's own errors
    /// are judged by each of the two: give both the same `classify`, or the one without takes every error for transient. The inner one
    /// leaves the retries to the outer one, if that retries.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use steadfast::{Bulkhead, CircuitBreaker, Pipeline, RejectedKind};
    ///
    /// let breaker = Pipeline::builder("outer").circuit_breaker(CircuitBreaker::failure_rate(0.5)).build()?;
    /// let places = Bulkhead::new(1).build()?;
    /// let bulkhead = Pipeline::builder("inner").bulkhead(places.clone()).build()?;
    ///
    /// let held = places.try_acquire()?;
    /// let error = breaker.around(&bulkhead).call(|| async { Ok::<_, String>(()) }).await.unwrap_err();
    /// assert_eq!(error.kind(), Some(RejectedKind::BulkheadFull)); // and the breaker counted nothing
    /// # drop(held); Ok(()) }
    /// ```
    pub const fn around<'a>(&'a self, inner: &'a Self) -> Nested<'a> {
        Nested { outer: self, inner }
    }

    /// The name it was built with, escaped and cut where it had to be.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core().name
    }

    /// What happened so far: calls and attempts (when there is a [`Monitor`]), and the state of every policy. A plain value.
    #[must_use]
    #[inline]
    pub fn stats(&self) -> PipelineStats {
        PipelineStats::of(self.core())
    }

    /// What one call can cost: attempts, worst-case time, load on the dependency.
    #[must_use]
    #[inline]
    pub fn explain(&self) -> Explanation {
        Explanation::of(self.core())
    }

    /// Combinations of settings that work, but hardly as meant.
    #[must_use]
    #[inline]
    pub fn warnings(&self) -> &[Warning] {
        let core = self.core();
        core.warnings.get_or_init(|| explain::warnings(core))
    }

    /// A stream of everything that happens from now on: bounded, the oldest dropped first.
    #[inline]
    pub fn events(&self) -> Events {
        self.core().emitter.subscribe()
    }

    /// How many times an observer panicked. Such panics are caught, and are nobody else's problem.
    #[must_use]
    pub fn observer_panics(&self) -> u64 {
        self.core().emitter.observer_panics()
    }

    /// The live circuit breaker, to read its state or to move it by hand.
    #[must_use]
    pub fn circuit_breaker(&self) -> Option<&CircuitBreaker> {
        self.core().policies.circuit_breaker.as_ref()
    }

    /// The live throttle, to read what it holds back.
    #[must_use]
    pub fn throttle(&self) -> Option<&Throttle> {
        self.core().policies.throttle.as_ref()
    }

    /// The live policies per key, to read how a key is doing.
    #[must_use]
    pub fn per_key(&self) -> Option<&PerKey> {
        self.core().policies.per_key.as_ref()
    }

    /// The live rate limiter, to read it or to change its rate.
    #[must_use]
    pub fn rate_limiter(&self) -> Option<&RateLimiter> {
        self.core().policies.rate_limit.as_ref()
    }

    /// The live bulkhead, to read or resize it.
    #[must_use]
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.core().policies.bulkhead.as_ref()
    }

    /// The live adaptive limit, to read it.
    #[must_use]
    pub fn adaptive_limit(&self) -> Option<&AdaptiveLimit> {
        self.core().policies.adaptive_limit.as_ref()
    }

    /// The live retry policy, with its statistics.
    #[must_use]
    pub fn retry(&self) -> Option<&Retry> {
        self.core().policies.retry.as_ref()
    }

    /// The live chaos, to switch it, to change its rates, and to read what it injected.
    #[cfg(feature = "chaos")]
    #[must_use]
    pub fn chaos(&self) -> Option<&crate::chaos::Chaos> {
        self.core().chaos.as_ref()
    }

    /// The live hedge, with its statistics.
    #[must_use]
    pub fn hedge(&self) -> Option<&Hedge> {
        self.core().policies.hedge.as_ref()
    }

    /// The monitor it records in.
    #[must_use]
    pub fn monitor(&self) -> Option<&Monitor> {
        self.core().monitor.as_ref()
    }

    /// Tells one more observer what happens from now on.
    #[cfg(feature = "testing")]
    pub(crate) fn observe(&self, observer: Arc<dyn Observer>) {
        self.core().emitter.add(observer);
    }

    /// Whether a call made here and now could be tried again.
    #[cfg(any(feature = "reqwest", feature = "tower"))]
    pub(crate) fn retries(&self) -> bool {
        self.core().policies.retry.as_ref().is_some_and(Retry::retries_here)
    }

    /// Whether a call made here and now could run twice at the same time.
    #[cfg(any(feature = "reqwest", feature = "tower"))]
    pub(crate) fn hedges(&self) -> bool {
        self.core().policies.hedge.as_ref().is_some_and(|hedge| hedge.most(Some(true)) > 0)
    }

    /// A rejection of a call that never began.
    #[cfg(feature = "reqwest")]
    pub(crate) fn rejection(&self, kind: crate::RejectedKind) -> crate::Rejected {
        crate::Rejected::new(kind).in_call(&self.core().origin, 0, Duration::ZERO, None)
    }

    /// Who judges its errors.
    #[cfg(any(feature = "reqwest", feature = "tower", feature = "store"))]
    pub(crate) fn judges(&self) -> &Judges {
        &self.core().judges
    }

    pub(crate) fn core(&self) -> &Core {
        self.core.get()
    }
}

/// Draws the order: `github: total timeout 10.0 s > retry > circuit breaker > attempt timeout 2.0 s > operation`.
impl fmt::Display for Pipeline {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.core().name)?;
        explain::draw(self.core(), f)
    }
}

impl fmt::Debug for Pipeline {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pipeline").field(&format_args!("{self}")).finish()
    }
}
