//! What came of an attempt, in the words every policy understands.
//!
//! Policies never see the value `T` or the error `E` of an operation. They see a [`Verdict`] (what the outcome says about the
//! dependency) inside an [`Outcome`] (how the attempt ended). The caller sees an [`Error<E>`]: the operation's own error, or the
//! [`Rejected`] that a policy gave instead of an answer.
//!
//! ```
//! use steadfast::{Error, Rejected, RejectedKind};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ApiError {
//!     #[error("status {0}")]
//!     Status(u16),
//!     #[error(transparent)]
//!     Rejected(#[from] Rejected), // the one line that lets `?` carry a rejection
//! }
//!
//! let error: Error<ApiError> = Rejected::new(RejectedKind::CircuitOpen).into();
//! assert!(error.is_circuit_open());
//! assert!(matches!(error.flatten(), ApiError::Rejected(_)));
//! ```

use crate::time;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What one outcome says about the dependency that was called.
///
/// A judge (see [`classify`](crate::PipelineBuilder::classify)) gives it once per attempt; retry, breaker, hedge and limiters all read the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The dependency answered as it should.
    Success,
    /// It failed in a way that may pass: worth another attempt, and a failure to the breaker. An `Err` nobody judged is this.
    Transient {
        /// When the server asked to be called again (`Retry-After`, say).
        retry_after: Option<Duration>,
    },
    /// It failed in a way that another attempt will not mend. Not retried; a failure to the breaker.
    Permanent,
    /// It says nothing about the dependency (the caller's own mistake, say). Not retried, and not counted by the breaker.
    Ignored,
}

impl Verdict {
    /// [`Verdict::Transient`] without a hint.
    #[must_use]
    pub const fn transient() -> Self {
        Self::Transient { retry_after: None }
    }

    /// [`Verdict::Transient`] with the server's wish for when to come back.
    #[must_use]
    pub const fn retry_after(delay: Duration) -> Self {
        Self::Transient { retry_after: Some(delay) }
    }

    /// [`Verdict::Permanent`].
    #[must_use]
    pub const fn permanent() -> Self {
        Self::Permanent
    }

    /// Whether a breaker counts it as a failure.
    #[inline]
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Permanent)
    }
}

/// How one attempt ended, as the policies that admitted it are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The operation finished, and this was the judgement.
    Judged(Verdict),
    /// No answer within the attempt timeout or the deadline of the call. A failure.
    TimedOut,
    /// The operation panicked. A failure.
    Panicked,
    /// The operation never ran: another policy refused, here or in an inner pipeline. Says nothing.
    NotAttempted,
    /// The caller dropped the call. Says nothing, unless a policy is told otherwise.
    Abandoned,
}

impl Outcome {
    /// Whether a breaker counts it as a failure.
    #[inline]
    #[must_use]
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Judged(verdict) => verdict.is_failure(),
            Self::TimedOut | Self::Panicked => true,
            Self::NotAttempted | Self::Abandoned => false,
        }
    }

    /// Whether the dependency answered as it should.
    #[inline]
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Judged(Verdict::Success))
    }
}

/// Which policy gave no answer of the operation's own, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectedKind {
    /// One attempt took longer than the attempt timeout.
    Timeout,
    /// The call took longer than its total timeout, or than the deadline it was given.
    DeadlineExceeded,
    /// The circuit breaker is open, or half-open with all probes out.
    CircuitOpen,
    /// The rate limiter had no room in time.
    RateLimited,
    /// The bulkhead and its queue are full, or the wait for a place was too long.
    BulkheadFull,
    /// An adaptive concurrency limit is reached.
    ConcurrencyLimited,
    /// The client-side throttle held the call back.
    Throttled,
    /// A timer was needed and the call was polled outside a tokio runtime.
    NoRuntime,
    /// The request cannot be sent twice, and the pipeline would have to: found before the first attempt.
    NotRepeatable,
    /// The registry has no pipeline of the name that `#[resilient(pipeline = "name")]` asks for. The message says which there are.
    UnknownPipeline,
    /// The value was not in the cache, and the load of its key has failed: in another call that this one waited for, or a moment ago, and the cache
    /// [remembers](crate::CacheConfig::negative_ttl) it. `last_error` quotes what it failed with.
    #[cfg(feature = "cache")]
    LoadFailed,
    /// A gate of your own refused, for the reason it names.
    Custom(&'static str),
}

impl RejectedKind {
    /// A short, stable name in snake case, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::CircuitOpen => "circuit_open",
            Self::RateLimited => "rate_limited",
            Self::BulkheadFull => "bulkhead_full",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::Throttled => "throttled",
            Self::NoRuntime => "no_runtime",
            Self::NotRepeatable => "not_repeatable",
            Self::UnknownPipeline => "unknown_pipeline",
            #[cfg(feature = "cache")]
            Self::LoadFailed => "load_failed",
            Self::Custom(name) => name,
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::Timeout => "attempt timeout",
            Self::DeadlineExceeded => "total timeout",
            Self::CircuitOpen => "circuit breaker is open",
            Self::RateLimited => "rate limit reached",
            Self::BulkheadFull => "bulkhead is full",
            Self::ConcurrencyLimited => "concurrency limit reached",
            Self::Throttled => "throttled",
            Self::NoRuntime => "a timer is needed, and there is no tokio runtime here",
            Self::NotRepeatable => {
                "the body of the request is a stream, which a retry could not send again; \
                 buffer it (a `Vec<u8>`, `String` or `Bytes` can be sent again), or send it with `.once()`"
            }
            Self::UnknownPipeline => "there is no pipeline of this name",
            #[cfg(feature = "cache")]
            Self::LoadFailed => "the load of the same key has failed",
            Self::Custom(name) => name,
        }
    }

    /// Whether the operation was running when it was given up, so that the dependency may have seen it.
    const fn was_running(self) -> bool {
        matches!(self, Self::Timeout | Self::DeadlineExceeded)
    }
}

/// Why a pipeline gave no answer of the operation's own.
///
/// Cheap to clone, `Send + Sync + 'static`, and an [`Error`](std::error::Error), so `anyhow`, `Box<dyn Error + Send + Sync>` and a
/// `#[from]` variant of your own error take it as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Rejected {
    kind: RejectedKind,
    attempts: u32,
    // Nanoseconds, `NEVER` for none: every result of every call has room for this struct, so it is kept small.
    retry_after: u64,
    elapsed: u64,
    origin: Option<Arc<Origin>>,
}

const NEVER: u64 = u64::MAX;

/// Where a rejection comes from. A pipeline has one of these for all its rejections, as long as there is no error to quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pipeline: Arc<str>,
    last_error: Option<Box<str>>,
}

impl Origin {
    pub(crate) fn new(pipeline: Arc<str>) -> Arc<Self> {
        Arc::new(Self { pipeline, last_error: None })
    }
}

impl Rejected {
    /// A rejection of this kind, with nothing else known. Gates of your own make theirs with it.
    #[must_use]
    pub const fn new(kind: RejectedKind) -> Self {
        Self { kind, attempts: 0, retry_after: NEVER, elapsed: 0, origin: None }
    }

    /// The same, saying when it is worth coming back.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = time::nanos(delay);
        self
    }

    /// Which policy refused, and why.
    #[must_use]
    pub const fn kind(&self) -> RejectedKind {
        self.kind
    }

    /// When it is worth coming back, from the moment of the rejection; `None` where nobody can tell.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (self.retry_after != NEVER).then(|| Duration::from_nanos(self.retry_after))
    }

    /// How many attempts of the operation were started before this; 0 when it never ran.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long the call had been going on.
    #[must_use]
    pub const fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed)
    }

    /// The pipeline that rejected the call; `None` when a policy was used alone.
    #[must_use]
    pub fn pipeline(&self) -> Option<&str> {
        self.origin.as_ref().map(|origin| &*origin.pipeline)
    }

    /// The text of the operation's last error, where an earlier attempt had one and its type is known to the pipeline
    /// (through [`classify`](crate::PipelineBuilder::classify); strings, `std::io::Error` and boxed errors are always known).
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.origin.as_ref().and_then(|origin| origin.last_error.as_deref())
    }

    /// How the attempt that met this rejection ended, for the policies around it.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        if self.kind.was_running() { Outcome::TimedOut } else { Outcome::NotAttempted }
    }

    /// Whether a gate refused, so that the dependency has not seen the attempt.
    pub(crate) const fn is_refusal(&self) -> bool {
        !self.kind.was_running() && !matches!(self.kind, RejectedKind::NoRuntime)
    }

    /// Fills in the circumstances that only the pipeline knows. An inner pipeline's rejection keeps its own.
    pub(crate) fn in_call(mut self, origin: &Arc<Origin>, attempts: u32, elapsed: Duration, last_error: Option<String>) -> Self {
        if self.origin.is_some() {
            return self;
        }
        self.attempts = attempts;
        self.elapsed = time::nanos(elapsed);
        self.origin = Some(match last_error {
            None => Arc::clone(origin),
            Some(text) => Arc::new(Origin { pipeline: Arc::clone(&origin.pipeline), last_error: Some(text.into()) }),
        });
        self
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pipeline) = self.pipeline() {
            write!(f, "{pipeline}: ")?;
        }
        let why = self.kind.describe();
        if self.attempts == 0 {
            write!(f, "not attempted: {why}")?;
        } else {
            let plural = if self.attempts == 1 { "" } else { "s" };
            write!(f, "gave up after {} ({why}), {} attempt{plural}", Seconds(self.elapsed()), self.attempts)?;
        }
        if let Some(after) = self.retry_after() {
            write!(f, "; try again in {}", Seconds(after))?;
        }
        match self.last_error() {
            // Without an attempt there was no error of the operation: this is what stood in its way.
            Some(reason) if self.attempts == 0 => write!(f, "; {reason}"),
            Some(error) => write!(f, "; last error: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Rejected {
    // The last error's text may hold what does not belong in a log; `{:?}` ends up in logs. `Display` is for the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("kind", &self.kind)
            .field("pipeline", &self.pipeline())
            .field("attempts", &self.attempts)
            .field("elapsed", &self.elapsed())
            .field("retry_after", &self.retry_after())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Rejected {}

/// A duration for people: `10.0 s`, `250 ms`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            d if d >= Duration::from_secs(100) => write!(f, "{} s", d.as_secs()),
            d if d >= Duration::from_secs(1) => write!(f, "{:.1} s", d.as_secs_f64()),
            d if d >= Duration::from_millis(1) => write!(f, "{} ms", d.as_millis()),
            d if d >= Duration::from_micros(1) => write!(f, "{} us", d.as_micros()),
            d => write!(f, "{} ns", d.as_nanos()),
        }
    }
}

/// What a guarded call fails with: the operation's own error, or a policy's rejection. Never nested: see [`flatten`](Error::flatten)
/// and [`Pipeline::around`](crate::Pipeline::around).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error<E> {
    /// The operation's own error, of its last attempt.
    Inner(E),
    /// A policy gave no answer of the operation's own.
    Rejected(Rejected),
}

impl<E> Error<E> {
    /// The operation's own error, if that is what this is.
    pub const fn inner(&self) -> Option<&E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }

    /// The operation's own error, if that is what this is.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }

    /// The rejection, if that is what this is.
    pub const fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Inner(_) => None,
            Self::Rejected(rejected) => Some(rejected),
        }
    }

    /// The kind of the rejection, if that is what this is.
    pub fn kind(&self) -> Option<RejectedKind> {
        self.rejected().map(Rejected::kind)
    }

    /// Whether time ran out: the attempt's, or the whole call's.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), Some(RejectedKind::Timeout | RejectedKind::DeadlineExceeded))
    }

    /// Whether an open circuit breaker refused.
    pub fn is_circuit_open(&self) -> bool {
        self.kind() == Some(RejectedKind::CircuitOpen)
    }

    /// Whether a rate limiter refused.
    pub fn is_rate_limited(&self) -> bool {
        self.kind() == Some(RejectedKind::RateLimited)
    }

    /// Whether a full bulkhead refused.
    pub fn is_bulkhead_full(&self) -> bool {
        self.kind() == Some(RejectedKind::BulkheadFull)
    }

    /// When a rejection says it is worth coming back.
    pub fn retry_after(&self) -> Option<Duration> {
        self.rejected().and_then(Rejected::retry_after)
    }

    /// How many attempts a rejected call had made.
    pub fn attempts(&self) -> Option<u32> {
        self.rejected().map(Rejected::attempts)
    }

    /// How long a rejected call had been going on.
    pub fn elapsed(&self) -> Option<Duration> {
        self.rejected().map(Rejected::elapsed)
    }

    /// Turns the operation's own error into another, and leaves a rejection as it is.
    pub fn map_inner<F>(self, f: impl FnOnce(E) -> F) -> Error<F> {
        match self {
            Self::Inner(error) => Error::Inner(f(error)),
            Self::Rejected(rejected) => Error::Rejected(rejected),
        }
    }
}

impl<E: From<Rejected>> Error<E> {
    /// Makes one error of it, of the operation's own type: what `?` in a function returning `Result<_, E>` needs, and what makes an
    /// `Error<Error<E>>` of two pipelines one inside the other an `Error<E>` again.
    ///
    /// ```
    /// use steadfast::{Error, Rejected, RejectedKind};
    /// let nested: Error<Error<String>> = Error::Inner(Error::Inner("down".into()));
    /// assert_eq!(nested.flatten(), Error::Inner("down".to_string()));
    /// ```
    pub fn flatten(self) -> E {
        match self {
            Self::Inner(error) => error,
            Self::Rejected(rejected) => E::from(rejected),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inner(error) => error.fmt(f),
            Self::Rejected(rejected) => rejected.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Transparent: this error reads as its inner one, so its source is the inner one's.
            Self::Inner(error) => error.source(),
            Self::Rejected(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_reads_like_a_sentence() {
        let rejected = Rejected::new(RejectedKind::DeadlineExceeded).in_call(
            &Origin::new("quotes".into()),
            3,
            Duration::from_secs(10),
            Some("status 503".into()),
        );
        assert_eq!(rejected.to_string(), "quotes: gave up after 10.0 s (total timeout), 3 attempts; last error: status 503");
        let open = Rejected::new(RejectedKind::CircuitOpen).with_retry_after(Duration::from_millis(2500));
        assert_eq!(open.to_string(), "not attempted: circuit breaker is open; try again in 2.5 s");
    }

    #[test]
    fn h86_debug_keeps_the_error_text_out_of_logs() {
        let rejected = Rejected::new(RejectedKind::Timeout);
        let rejected = rejected.in_call(&Origin::new("p".into()), 1, Duration::ZERO, Some("token=hunter2".into()));
        assert!(!format!("{rejected:?}").contains("hunter2"));
    }

    #[test]
    fn an_inner_rejection_keeps_its_own_circumstances() {
        let inner = Rejected::new(RejectedKind::Timeout).in_call(&Origin::new("inner".into()), 2, Duration::from_secs(1), None);
        assert_eq!(inner.clone().in_call(&Origin::new("outer".into()), 9, Duration::from_secs(9), None), inner);
    }
}
