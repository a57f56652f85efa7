//! The options of one call, said before the call: key, priority, cost, deadline, judge.

#[cfg(feature = "cache")]
use super::Cached;
use super::{Coalesced, Core, Pipeline, answered, run};
use crate::admission::Cost;
#[cfg(feature = "cache")]
use crate::admission::keyed::Hash;
use crate::call::{Attempt, Priority};
use crate::classify::{ByErrorType, ByResult, Judge};
use crate::execution::Nesting;
use crate::observation::CallEnd;
use crate::outcome::{Error, Outcome, Verdict};
#[cfg(feature = "cache")]
use crate::substitution::cache::Cache;
use crate::substitution::{Coalesce, OrElse};
use crate::time;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// What one call asks for beyond the pipeline's own settings.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    pub(crate) key: Option<&'a str>,
    pub(crate) priority: Priority,
    pub(crate) cost: u32,
    repeat: Repeat,
    deadline: Option<Instant>,
    within: Option<Duration>,
}

/// How often the operation of one call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// As often as the verdicts and the retry policy say; of a hedge, its own word counts.
    Unsaid,
    /// As often as the verdicts and the retry policy say.
    Freely,
    /// As often as that, but never at the same time.
    #[cfg(feature = "macros")]
    InTurn,
    /// Not again after an attempt whose end nobody saw.
    WhenKnown,
    /// Not again.
    Never,
}

impl Options<'_> {
    pub(crate) const NONE: Self =
        Self { key: None, priority: Priority::Normal, cost: 1, repeat: Repeat::Unsaid, deadline: None, within: None };

    /// How an attempt's outcome looks to a retry policy, where the call says that the operation may not run again after it.
    pub(crate) const fn for_retry(&self, outcome: Outcome) -> Outcome {
        match (self.repeat, outcome) {
            (Repeat::WhenKnown, Outcome::TimedOut) | (Repeat::Never, Outcome::TimedOut | Outcome::Judged(_)) => {
                Outcome::Judged(Verdict::Permanent)
            }
            _ => outcome,
        }
    }

    /// Whether the call said that its operation may happen twice, even at the same time.
    #[inline]
    pub(crate) const fn may_overlap(&self) -> Option<bool> {
        match self.repeat {
            Repeat::Unsaid => None,
            Repeat::Freely => Some(true),
            #[cfg(feature = "macros")]
            Repeat::InTurn => Some(false),
            Repeat::WhenKnown | Repeat::Never => Some(false),
        }
    }

    /// When a call that began then must have ended, by these options and its total timeout.
    #[inline]
    pub(crate) fn deadline_of(&self, total_timeout: Option<Duration>, started: Instant) -> Option<Instant> {
        let after = |wait| time::after(started, wait);
        time::earlier(total_timeout.and_then(after), time::earlier(self.deadline, self.within.and_then(after)))
    }

    /// The same, for a call made here: within another's operation it ends with that.
    pub(crate) fn deadline_here(&self, total_timeout: Option<Duration>, started: Instant) -> Option<Instant> {
        time::earlier(Nesting::current().deadline, self.deadline_of(total_timeout, started))
    }
}

impl fmt::Debug for Options<'_> {
    // A key is often the name of a person, and `{:?}` ends up in logs.
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("keyed", &self.key.is_some())
            .field("priority", &self.priority)
            .field("cost", &self.cost)
            .field("deadline", &self.deadline)
            .field("within", &self.within)
            .finish()
    }
}

/// One call with options of its own; made by the methods of the same names on [`Pipeline`], [`TypedPipeline`](crate::TypedPipeline) and
/// [`Nested`], of which `P` is the one that is called.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::{Pipeline, Priority};
/// use std::time::Duration;
///
/// let api = Pipeline::builder("api").build()?;
/// let tenant = "acme";
/// let quote = api
///     .key(tenant)
///     .priority(Priority::High)
///     .cost(3)
///     .within(Duration::from_secs(1))
///     .call(|| async { Ok::<_, std::io::Error>(42) })
///     .await?;
/// # assert_eq!(quote, 42); Ok(()) }
/// ```
#[must_use = "options do nothing until `call`"]
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, J = ByErrorType, P = &'a Pipeline> {
    pub(crate) pipeline: P,
    pub(super) options: Options<'a>,
    pub(super) judge: J,
}

/// The methods that begin a request: each option, as the first thing that is said of the call.
macro_rules! begins_requests {
    ([$($life:lifetime)?] $this:ident: [$($receiver:tt)+] $target:ty, of [$($free:ident),*] $result:ty) => {
        /// Says on whose behalf the next call is made. See [`Request`] for all options of one call.
        pub const fn key$(<$life>)?($($receiver)+, key: &'a str) -> Request<'a, ByErrorType, $target> {
            Request::new($this).key(key)
        }

        /// Says how much the next call matters. See [`Request`].
        pub const fn priority$(<$life>)?($($receiver)+, priority: $crate::Priority) -> Request<'a, ByErrorType, $target> {
            Request::new($this).priority(priority)
        }

        /// Says how many units of the rate limit each attempt of the next call takes. See [`Request`].
        pub const fn cost$(<$life>)?($($receiver)+, cost: u32) -> Request<'a, ByErrorType, $target> {
            Request::new($this).cost(cost)
        }

        /// Has the request of the next call say how many units each attempt takes: see [`Cost`](crate::Cost) and [`Request`].
        pub fn cost_of$(<$life>)?($($receiver)+, request: &(impl $crate::Cost + ?Sized)) -> Request<'a, ByErrorType, $target> {
            Request::new($this).cost(request.units())
        }

        /// Says when the next call must have ended. See [`Request`].
        pub const fn deadline$(<$life>)?($($receiver)+, deadline: tokio::time::Instant) -> Request<'a, ByErrorType, $target> {
            Request::new($this).deadline(deadline)
        }

        /// Says how long the next call may take. See [`Request`].
        pub const fn within$(<$life>)?($($receiver)+, wait: std::time::Duration) -> Request<'a, ByErrorType, $target> {
            Request::new($this).within(wait)
        }

        /// Says whether the operation of the next call may happen twice. See [`Request`].
        pub const fn idempotent$(<$life>)?($($receiver)+, idempotent: bool) -> Request<'a, ByErrorType, $target> {
            Request::new($this).idempotent(idempotent)
        }

        /// Runs the operation of the next call at most once. See [`Request`].
        pub const fn once$(<$life>)?($($receiver)+) -> Request<'a, ByErrorType, $target> {
            Request::new($this).once()
        }

        /// Judges the next call by its whole result. See [`Request`].
        pub fn classify<$($life,)? $($free,)* C>($($receiver)+, judge: C) -> Request<'a, ByResult<C>, $target>
        where
            C: Fn(&$result) -> Verdict,
        {
            Request::new($this).classify(judge)
        }
    };
}
pub(super) use begins_requests;

impl<P> Request<'_, ByErrorType, P> {
    pub(super) const fn new(pipeline: P) -> Self {
        Self { pipeline, options: Options::NONE, judge: ByErrorType }
    }
}

impl<'a, J, P> Request<'a, J, P> {
    /// On whose behalf the call is made: a tenant, a user. Gates of your own see it; it is never logged unless asked.
    pub const fn key(mut self, key: &'a str) -> Self {
        self.options.key = Some(key);
        self
    }

    /// How much the call matters where others wait beside it. **Default**: [`Priority::Normal`].
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// How many units of the rate limit each attempt takes. **Default**: 1; 0 takes none.
    pub const fn cost(mut self, cost: u32) -> Self {
        self.options.cost = cost;
        self
    }

    /// As many units as the request itself says: see [`Cost`].
    pub fn cost_of(self, request: &(impl Cost + ?Sized)) -> Self {
        self.cost(request.units())
    }

    /// When the call must have ended, if that is before its total timeout.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// How long the call may take, counted from its first poll, if that is less than its total timeout.
    pub const fn within(mut self, wait: Duration) -> Self {
        self.options.within = Some(wait);
        self
    }

    /// Whether the operation may happen twice. With `false`, an attempt that timed out is not tried again, since nobody knows whether
    /// it happened; a failure that a judge calls transient still is, so let the judge say so only of what certainly did not happen.
    ///
    /// With `true`, a [hedge](crate::Hedge) may run it twice at the same time; with `false` none does.
    /// **Default**: it may be tried again, and is hedged if the hedge says so of all operations.
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.options.repeat = if idempotent { Repeat::Freely } else { Repeat::WhenKnown };
        self
    }

    /// Runs the operation at most once, whatever becomes of it. **Default**: as the retry policy says.
    pub const fn once(mut self) -> Self {
        self.options.repeat = Repeat::Never;
        self
    }

    /// The same deadline for what comes before the call and for the call.
    pub(super) fn ending_at(mut self, deadline: Option<Instant>) -> Self {
        self.options.deadline = deadline.or(self.options.deadline);
        self
    }

    /// Never begins an attempt while another runs.
    #[cfg(feature = "macros")]
    pub(crate) const fn in_turn(mut self) -> Self {
        self.options.repeat = Repeat::InTurn;
        self
    }

    /// Judges this call by its whole result; the pipeline's own judges are not asked.
    pub fn classify<T, E, C: Fn(&Result<T, E>) -> Verdict>(self, judge: C) -> Request<'a, ByResult<C>, P> {
        self.judged_by(ByResult(judge))
    }

    /// Judges this call by a judge that may ask the pipeline's own.
    pub(crate) fn judged_by<K>(self, judge: K) -> Request<'a, K, P> {
        Request { pipeline: self.pipeline, options: self.options, judge }
    }
}

impl<'a, J> Request<'a, J> {
    /// Shares one answer among all calls of the same [`key`](Self::key) in the group that are made at the same time: the first one runs, the others
    /// wait for it. Outside the total timeout and the retries: what is shared is the end of the whole call. A call without a key shares nothing.
    pub const fn coalesced<T, E>(self, group: &'a Coalesce<T, Error<E>>) -> Coalesced<'a, T, E, J> {
        Coalesced { request: self, group }
    }

    /// Answers from `cache`, by the [`key`](Self::key) of this call, and keeps there what the call answers. Outside retry, breaker, limits and
    /// timeouts: a hit asks none of them, and when they refuse, the last good answer may be given. A call without a key goes past the cache. See
    /// [`Cached::call`](super::Cached::call).
    #[cfg(feature = "cache")]
    pub fn cached<T: Clone>(self, cache: &'a Cache<String, T>) -> Cached<'a, T, J> {
        let name = super::cached::Name::Text(self.options.key.unwrap_or_default());
        let key = self.options.key.map(|key| cache.inner.hash(key));
        self.answered_by(cache, key, name)
    }

    /// The same, by a key of any type: what the answer depends on, as the cache knows it.
    #[cfg(feature = "cache")]
    pub fn cached_by<K, Q, T>(self, cache: &'a Cache<K, T>, key: &Q) -> Cached<'a, T, J>
    where
        T: Clone,
        K: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + ?Sized,
    {
        let hash = cache.inner.hash(key);
        // The key is gone by the time of the call; and a hit need not be spelt.
        let name = super::cached::Name::Known(if cache.inner.needs_name(hash) { cache.inner.far(key) } else { Default::default() });
        self.answered_by(cache, Some(hash), name)
    }

    #[cfg(feature = "cache")]
    fn answered_by<K, T: Clone>(self, cache: &'a Cache<K, T>, key: Option<Hash>, name: super::cached::Name<'a>) -> Cached<'a, T, J> {
        let answers = super::cached::Answers { cache: &cache.inner, key, name, give: T::clone };
        Cached { request: self, answers, kept: std::convert::identity }
    }

    /// See [`Pipeline::call`].
    ///
    /// # Errors
    /// As [`Pipeline::call`].
    pub fn call<T, E, F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(move |_| operation())
    }

    /// See [`Pipeline::call_with`].
    ///
    /// # Errors
    /// As [`Pipeline::call`].
    #[expect(clippy::manual_async_fn, reason = "an `async fn` would keep each of its arguments twice")]
    pub fn call_with<T, E, F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        async move { run(self.pipeline.core(), &self.options, self.judge, Error::Inner, operation).await }
    }

    /// See [`Pipeline::call_or`].
    pub fn call_or<T, E, F, Fut>(self, operation: F, value: T) -> impl Future<Output = T>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        or(self.pipeline.core(), move || self.call(operation), value)
    }

    /// See [`Pipeline::call_or_else`].
    ///
    /// # Errors
    /// Whatever the fallback fails with.
    pub async fn call_or_else<T, E, F, Fut, G, Later>(self, operation: F, fallback: G) -> Result<T, Error<E>>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        G: FnOnce(Error<E>) -> Later,
        Later: Future<Output = Result<T, Error<E>>>,
    {
        let call = run(self.pipeline.core(), &self.options, self.judge, Error::Inner, move |_| operation());
        answered(call, OrElse(fallback)).await
    }
}

/// A pipeline around another: made by [`Pipeline::around`].
#[must_use = "nothing runs until `call`"]
#[derive(Clone, Copy, Debug)]
pub struct Nested<'a> {
    pub(super) outer: &'a Pipeline,
    pub(super) inner: &'a Pipeline,
}

impl<'a> Nested<'a> {
    begins_requests!([] self: [self] Self, of [T, E] Result<T, E>);

    /// Runs `operation` under the inner pipeline, and that under the outer one.
    ///
    /// # Errors
    /// As [`Pipeline::call`], with the rejections of both.
    pub fn call<T, E, F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Request::new(self).call(operation)
    }
}

impl<J> Request<'_, J, Nested<'_>> {
    /// See [`Nested::call`]. The options hold for both pipelines.
    ///
    /// # Errors
    /// As [`Nested::call`].
    #[expect(clippy::manual_async_fn, reason = "an `async fn` would keep each of its arguments twice")]
    pub fn call<T, E, F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        async move {
            let (Nested { outer, inner }, options, judge) = (self.pipeline, &self.options, &self.judge);
            let (inner, operation) = (inner.core(), &operation);
            let attempt = |_| inner_call(inner, options, judge, operation);
            run(outer.core(), options, judge, std::convert::identity, attempt).await
        }
    }
}

fn inner_call<'a, T, E, J, F, Fut>(
    core: &'a Core,
    options: &'a Options<'a>,
    judge: &'a J,
    operation: &'a F,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    J: Judge<T, E>,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    run(core, options, judge, Error::Inner, |_| operation())
}

/// The call that `call` makes, or `value` when it fails.
pub(super) async fn or<T, E, Fut>(core: &Core, call: impl FnOnce() -> Fut, value: T) -> T
where
    Fut: Future<Output = Result<T, Error<E>>>,
{
    match call().await {
        Ok(answer) => answer,
        Err(error) => {
            core.fallback_used(CallEnd::of(&error), Instant::now());
            value
        }
    }
}
