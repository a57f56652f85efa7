//! The layer around a call that is not made when its answer is known, and whose last good answer is given when it fails.

use super::coalesced::Waiting;
use super::{Core, Request};
use crate::admission::keyed::Hash;
use crate::call::Attempt;
use crate::classify::{Judge, Judges};
use crate::observation::{CallEnd, Event};
use crate::outcome::{Error, Rejected, RejectedKind, Verdict};
use crate::substitution::cache::{Far, Inner, Load, Loaded, Looked, before};
use crate::substitution::{Nothing, Substitute, Substituted};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A call whose answer may come from a cache: made by [`Request::cached`] and [`Request::cached_by`].
#[must_use = "nothing runs until `call`"]
pub struct Cached<'a, T, J, L = fn(Loaded<T>) -> Loaded<T>> {
    pub(super) request: Request<'a, J>,
    pub(super) answers: Answers<'a, T>,
    pub(super) kept: L,
}

/// Where the answer to a call may be.
pub(super) struct Answers<'a, T> {
    pub(super) cache: &'a Arc<Inner<T>>,
    /// Without one the cache is not asked.
    pub(super) key: Option<Hash>,
    pub(super) name: Name<'a>,
    pub(super) give: fn(&T) -> T,
}

/// How the second tier of a cache finds its key: looked up only when it is asked.
pub(super) enum Name<'a> {
    Text(&'a str),
    Known(Far),
}

impl<T, J, L> fmt::Debug for Cached<'_, T, J, L> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("keyed", &self.answers.key.is_some()).finish_non_exhaustive()
    }
}

impl<'a, T, J, L> Cached<'a, T, J, L> {
    /// Says how the answer of this call is kept: with a ttl and with tags of its own. Asked for answers that come from the operation, and are kept. What the
    /// value alone can say belongs into [`ttl_of`](crate::CacheConfig::ttl_of) and [`tags_of`](crate::CacheConfig::tags_of) of the cache.
    /// **Default**: as the cache says.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use steadfast::{Cache, Pipeline};
    /// # async fn fetch(_: &str) -> std::io::Result<u32> { Ok(7) }
    /// let (api, prices): (_, Cache<String, u32>) = (Pipeline::builder("api").build()?, Cache::new(1_000).build()?);
    /// let shop = "north";
    /// api.key("tea").cached(&prices).kept(|answer| answer.tag(shop)).call(|| fetch("tea")).await?;
    /// assert_eq!(prices.invalidate_tag("north"), 1);
    /// # Ok(()) }
    /// ```
    pub fn kept<K: FnOnce(Loaded<T>) -> Loaded<T>>(self, kept: K) -> Cached<'a, T, J, K> {
        Cached { request: self.request, answers: self.answers, kept }
    }
}

impl<T, J, L: FnOnce(Loaded<T>) -> Loaded<T>> Cached<'_, T, J, L> {
    /// Answers from the cache; if that has nothing good enough, runs `operation` under every policy and keeps the answer. When that fails,
    /// whatever it failed with (an open breaker, a timeout, a rate limit, an error of its own), the last good answer is given, if the cache
    /// [has one to give](crate::CacheConfig::stale_if_error). Only an error that a judge called [`Ignored`](Verdict::Ignored) is always the caller's: it is an answer like any other.
    ///
    /// A value that a judge called a failure is given, and not kept.
    ///
    /// # Errors
    /// As [`Pipeline::call`](crate::Pipeline::call), and [`LoadFailed`](crate::RejectedKind::LoadFailed) as [`Cache::get_or_load`](crate::Cache::get_or_load).
    ///
    /// # Cancel safety
    /// As [`Cache::get_or_load`](crate::Cache::get_or_load).
    pub fn call<E, F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(move |_| operation())
    }

    /// The same, telling the operation which attempt it is, and how much time is left.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with<E, F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        J: Judge<T, E>,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        call(self.request, self.answers, self.kept, Nothing, operation)
    }

    /// The same with a substitute, for where there is no last good answer.
    #[cfg(feature = "macros")]
    pub(crate) fn call_or<E, S, F, Fut>(self, operation: F, substitute: S) -> impl Future<Output = Result<T, Error<E>>>
    where
        E: 'static,
        J: Judge<T, E>,
        S: Substitute<T, E>,
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        call(self.request, self.answers, self.kept, substitute, move |_| operation())
    }
}

#[expect(clippy::manual_async_fn, reason = "an `async fn` would keep each of its arguments twice")]
pub(super) fn call<T, E, J, L, S, F, Fut>(
    request: Request<'_, J>,
    answers: Answers<'_, T>,
    kept: L,
    substitute: S,
    operation: F,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    J: Judge<T, E>,
    L: FnOnce(Loaded<T>) -> Loaded<T>,
    S: Substitute<T, E>,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    async move {
        let Some(key) = answers.key else { return request.call_with(operation).await };
        match answers.cache.look(key, answers.give) {
            Looked::Given(value) => {
                request.pipeline.core().answered_at_once(CallEnd::Success);
                Ok(value)
            }
            Looked::Failed(rejected) => {
                let core = request.pipeline.core();
                core.answered_at_once(CallEnd::Rejected(rejected.kind()));
                let deadline = request.options.deadline_here(core.total_timeout, Instant::now());
                Box::pin(instead(core, deadline, Error::Rejected(rejected), substitute)).await
            }
            // Boxed, for it is rare beside a hit, and large.
            Looked::Load(order) => {
                let order = order.named(match answers.name {
                    Name::Text(text) => answers.cache.far(text),
                    Name::Known(far) => far,
                });
                Box::pin(load(request, order, answers.give, kept, substitute, operation)).await
            }
        }
    }
}

async fn load<T, E, J, L, S, F, Fut>(
    request: Request<'_, J>,
    order: Load<T>,
    give: fn(&T) -> T,
    kept: L,
    substitute: S,
    operation: F,
) -> Result<T, Error<E>>
where
    E: 'static,
    J: Judge<T, E>,
    L: FnOnce(Loaded<T>) -> Loaded<T>,
    S: Substitute<T, E>,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let core = request.pipeline.core();
    let started = Instant::now();
    let deadline = request.options.deadline_here(core.total_timeout, started);
    let request = request.ending_at(deadline);
    let heard = Heard::default();
    let (of_value, of_error) = (heard.clone(), heard.clone());
    let mut waiting = Waiting::new(core, started);
    let runs = waiting.over();
    let operation = move |_| async move {
        // From here on the call has a story, which tells its end.
        runs.store(true, Ordering::Relaxed);
        let Request { pipeline, options, judge } = request;
        let request = Request { pipeline, options, judge: Hearing { judge, heard } };
        let value = request.call_with(operation).await?;
        let loaded = Loaded::new(value);
        Ok(if of_value.get() == SUCCESS { kept(loaded) } else { loaded.not_kept() })
    };
    let excuses = move |error: &Error<E>| error.rejected().is_some() || of_error.get() != IGNORED;
    let text = move |error: &E| core.judges.text(error);
    match order.load(give, deadline, text, excuses, operation).await {
        Ok((value, None)) => {
            waiting.end(CallEnd::Success);
            Ok(value)
        }
        Ok((value, Some(error))) => {
            let cause = CallEnd::of(&error);
            waiting.end(cause);
            core.fallback_used(cause, Instant::now());
            Ok(value)
        }
        Err(error) => {
            waiting.end(CallEnd::of(&error));
            instead(core, deadline, error, substitute).await
        }
    }
}

/// What the fallback of a typed pipeline makes of an error that the cache had nothing to say to.
async fn instead<T, E, S: Substitute<T, E>>(core: &Core, deadline: Option<Instant>, error: Error<E>, substitute: S) -> Result<T, Error<E>> {
    let cause = CallEnd::of(&error);
    let (answer, text) = match substitute.substitute(error, &core.judges) {
        Substituted::Not(error) => return Err(error),
        Substituted::Now(answer) => {
            core.fallback_used(cause, Instant::now());
            return answer;
        }
        Substituted::Later(answer, text) => (answer, text),
    };
    core.fallback_used(cause, Instant::now());
    before(deadline, answer).await.unwrap_or_else(|| {
        let rejected = Rejected::new(RejectedKind::DeadlineExceeded);
        Err(Error::Rejected(rejected.in_call(&core.origin, 0, Duration::ZERO, text)))
    })
}

impl Core {
    /// A call that ended before it began, for the books.
    #[inline]
    fn answered_at_once(&self, end: CallEnd) {
        if self.recorder.is_some() || !self.emitter.is_idle() {
            self.tell_of_an_answer(end);
        }
    }

    #[cold]
    fn tell_of_an_answer(&self, end: CallEnd) {
        if let Some(recorder) = &self.recorder {
            recorder.record_call(end, 0, Duration::ZERO, Instant::now());
        }
        self.in_span(|| self.emitter.emit(|| Event::CallFinished { end, attempts: 0, elapsed: Duration::ZERO }));
    }
}

const SUCCESS: u8 = 1;
const IGNORED: u8 = 2;
const OTHER: u8 = 3;

/// The last verdict of a call, for those outside of it.
#[derive(Clone, Default)]
struct Heard(Arc<AtomicU8>);

impl Heard {
    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A judge that is listened to.
struct Hearing<J> {
    judge: J,
    heard: Heard,
}

impl<T, E, J: Judge<T, E>> Judge<T, E> for Hearing<J> {
    fn judge(&self, known: &Judges, result: &Result<T, E>) -> Verdict {
        let verdict = self.judge.judge(known, result);
        let heard = match verdict {
            Verdict::Success => SUCCESS,
            Verdict::Ignored => IGNORED,
            _ => OTHER,
        };
        self.heard.0.store(heard, Ordering::Relaxed);
        verdict
    }

    fn text(&self, known: &Judges, error: &E) -> Option<String>
    where
        E: 'static,
    {
        self.judge.text(known, error)
    }
}
