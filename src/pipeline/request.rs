//! The options of one call, said before the call: key, priority, cost, deadline, judge.

use super::{Coalesced, Core, Pipeline, answered, run};
use crate::call::{Attempt, Priority};
use crate::classify::{ByErrorType, ByResult, Judge};
use crate::observation::CallEnd;
use crate::outcome::{Error, Outcome, Verdict};
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
    /// As often as the verdicts and the retry policy say.
    Freely,
    /// Not again after an attempt whose end nobody saw.
    WhenKnown,
    /// Not again.
    Never,
}

impl Options<'_> {
    pub(crate) const NONE: Self =
        Self { key: None, priority: Priority::Normal, cost: 1, repeat: Repeat::Freely, deadline: None, within: None };

    /// How an attempt's outcome looks to a retry policy, where the call says that the operation may not run again after it.
    pub(crate) const fn for_retry(&self, outcome: Outcome) -> Outcome {
        match (self.repeat, outcome) {
            (Repeat::WhenKnown, Outcome::TimedOut) | (Repeat::Never, Outcome::TimedOut | Outcome::Judged(_)) => {
                Outcome::Judged(Verdict::Permanent)
            }
            _ => outcome,
        }
    }

    #[inline]
    pub(crate) fn deadline_at(&self, started: Instant) -> Option<Instant> {
        time::earlier(self.deadline, self.within.and_then(|wait| time::after(started, wait)))
    }
}

impl fmt::Debug for Options<'_> {
    // A key is often the name of a person, and `{:?}` ends up in logs.
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

/// One call with options of its own; made by the methods of the same names on [`Pipeline`].
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
pub struct Request<'a, J = ByErrorType> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) options: Options<'a>,
    judge: J,
}

impl<'a> Request<'a> {
    pub(super) const fn new(pipeline: &'a Pipeline) -> Self {
        Self { pipeline, options: Options::NONE, judge: ByErrorType }
    }
}

impl<'a, J> Request<'a, J> {
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
    /// **Default**: `true`.
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.options.repeat = if idempotent { Repeat::Freely } else { Repeat::WhenKnown };
        self
    }

    /// Runs the operation at most once, whatever becomes of it. **Default**: as the retry policy says.
    pub const fn once(mut self) -> Self {
        self.options.repeat = Repeat::Never;
        self
    }

    /// Judges this call by its whole result; the pipeline's own judges are not asked.
    pub fn classify<T, E, C: Fn(&Result<T, E>) -> Verdict>(self, judge: C) -> Request<'a, ByResult<C>> {
        self.judged_by(ByResult(judge))
    }

    /// Judges this call by a judge that may ask the pipeline's own.
    pub(crate) fn judged_by<K>(self, judge: K) -> Request<'a, K> {
        Request { pipeline: self.pipeline, options: self.options, judge }
    }

    /// Shares one answer among all calls of the same [`key`](Self::key) in the group that are made at the same time: the first one runs, the others
    /// wait for it. Outside the total timeout and the retries: what is shared is the end of the whole call. A call without a key shares nothing.
    pub const fn coalesced<T, E>(self, group: &'a Coalesce<T, Error<E>>) -> Coalesced<'a, T, E, J> {
        Coalesced { request: self, group }
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
    pub async fn call_or<T, E, F, Fut>(self, operation: F, value: T) -> T
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let core = self.pipeline.core();
        match self.call(operation).await {
            Ok(answer) => answer,
            Err(error) => {
                core.fallback_used(CallEnd::of(&error), Instant::now());
                value
            }
        }
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

impl Nested<'_> {
    /// Runs `operation` under the inner pipeline, and that under the outer one.
    ///
    /// # Errors
    /// As [`Pipeline::call`], with the rejections of both.
    pub async fn call<T, E, F, Fut>(self, operation: F) -> Result<T, Error<E>>
    where
        E: 'static,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let inner = self.inner.core();
        let operation = &operation;
        let attempt = |_| inner_call(inner, operation);
        run(self.outer.core(), &Options::NONE, ByErrorType, std::convert::identity, attempt).await
    }
}

fn inner_call<T, E, F, Fut>(core: &Core, operation: &F) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    run(core, &Options::NONE, ByErrorType, Error::Inner, |_| operation())
}
