//! The layer around a call that shares its answer with others who ask the same.

use super::{Core, Request};
use crate::call::Attempt;
use crate::classify::Judge;
use crate::observation::{CallEnd, Event};
use crate::outcome::{Error, Rejected, RejectedKind};
use crate::substitution::{Coalesce, CoalesceEnd};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A call that shares its answer with those of the same key: made by [`Request::coalesced`].
#[must_use = "nothing runs until `call`"]
pub struct Coalesced<'a, T, E, J> {
    pub(super) request: Request<'a, J>,
    pub(super) group: &'a Coalesce<T, Error<E>>,
}

impl<T, E, J> fmt::Debug for Coalesced<'_, T, E, J> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesced").field("group", &self.group).finish_non_exhaustive()
    }
}

impl<T, E, J> Coalesced<'_, T, E, J> {
    /// Runs `operation` under every policy, unless a call of the same key is under way in the group: then its answer is this call's.
    ///
    /// # Errors
    /// As [`Pipeline::call`](crate::Pipeline::call), by this call or by the one that it shares with; and `DeadlineExceeded` when its own
    /// deadline (its total timeout counts from its own beginning) comes before the answer. A deadline is not shared: when that of the
    /// one who runs comes, one of those with time left runs in its place.
    ///
    /// # Cancel safety
    /// As [`Coalesce::call`].
    pub fn call<F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        T: Clone,
        E: Clone + 'static,
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
    pub async fn call_with<F, Fut>(self, operation: F) -> Result<T, Error<E>>
    where
        T: Clone,
        E: Clone + 'static,
        J: Judge<T, E>,
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let Self { request, group } = self;
        let core = request.pipeline.core();
        let Some(key) = request.options.key else { return request.call_with(operation).await };
        let started = Instant::now();
        let deadline = request.options.deadline_here(core.total_timeout, started);
        let request = request.ending_at(deadline);
        let mut waiting = Waiting::new(core, started);
        let runs = waiting.over();
        let run = move || {
            // From here on the call has a story, which tells its end.
            runs.store(true, Ordering::Relaxed);
            request.call_with(operation)
        };
        // One caller's deadline is no news for those who have more time.
        fn concern<E>(error: &Error<E>) -> bool {
            error.rejected().is_none_or(|rejected| rejected.kind() != RejectedKind::DeadlineExceeded)
        }
        let answer = match group.join(key, deadline, concern, run).await {
            CoalesceEnd::Own(answer) => return answer,
            CoalesceEnd::Shared(answer) => answer,
            CoalesceEnd::OutOfTime => {
                let rejected = Rejected::new(RejectedKind::DeadlineExceeded);
                Err(Error::Rejected(rejected.in_call(&core.origin, 0, started.elapsed(), None)))
            }
        };
        waiting.end(answer.as_ref().map_or_else(CallEnd::of, |_| CallEnd::Success));
        answer
    }
}

/// A call without an attempt of its own, for the books. Dropped before its end, it was abandoned.
pub(super) struct Waiting<'c> {
    core: &'c Core,
    started: Instant,
    /// It has ended, or runs by itself.
    over: Arc<AtomicBool>,
}

impl<'c> Waiting<'c> {
    pub(super) fn new(core: &'c Core, started: Instant) -> Self {
        Self { core, started, over: Arc::default() }
    }

    /// To be set when the call runs by itself.
    pub(super) fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.over)
    }

    /// Unless it ran by itself, and so has told its end.
    pub(super) fn end(&mut self, end: CallEnd) {
        if self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        let elapsed = self.record(end);
        self.core.in_span(|| self.core.emitter.emit(|| Event::CallFinished { end, attempts: 0, elapsed }));
    }

    fn record(&self, end: CallEnd) -> Duration {
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(self.started);
        if let Some(recorder) = &self.core.recorder {
            recorder.record_call(end, 0, elapsed, now);
        }
        elapsed
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over.load(Ordering::Relaxed) {
            let end = CallEnd::Abandoned;
            let elapsed = self.record(end);
            // Observers are user code, which has no place in a drop.
            self.core.in_span(|| self.core.emitter.emit_unobserved(|| Event::CallFinished { end, attempts: 0, elapsed }));
        }
    }
}
