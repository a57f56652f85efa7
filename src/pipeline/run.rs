//! The story of one call, in the one order there is:
//!
//! ```text
//! monitor > fallback > total timeout > retry > breaker (look) > rate limit > bulkhead > your gates > breaker (take permit)
//!         > attempt timeout > operation
//! ```
//!
//! Each attempt reads the clock once, and every policy uses that reading; a wait, or an operation that did not finish at its first
//! poll, is worth another. Rare paths (queues, your gates, a fallback's future) are boxed when they happen, so this future is small.

use super::{Core, Options};
use crate::admission::{BulkheadPermit, CircuitPermit, Entry, Pass, Reservation};
use crate::call::{Attempt, Call};
use crate::classify::Judge;
use crate::execution::{Ended, Nesting, RetryState, StopReason, Surroundings, Until, has_runtime};
use crate::observation::{CallEnd, Event, call_span};
use crate::outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
use crate::substitution::{Substitute, Substituted};
use crate::time;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// One attempt, told to its end.
struct Tried<T, E> {
    result: Result<T, Error<E>>,
    outcome: Outcome,
    now: Instant,
}

/// Runs `operation` under every policy of `core`, once per attempt.
///
/// `lift` makes the call's error of the operation's own: it wraps a plain error, and leaves that of an inner pipeline as it is.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would keep each of its arguments twice")]
pub(crate) fn run<'c, T, E, X, F, Fut>(
    core: &'c Core,
    options: &'c Options<'c>,
    judge: impl Judge<T, E>,
    lift: impl Fn(X) -> Error<E>,
    substitute: impl Substitute<T, E>,
    operation: F,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
{
    async move {
        let (mut story, mut retry) = Story::begin(core, options);
        let mut last_error = None;

        let (result, now) = loop {
            // A block, so that nothing of an outcome outlives it: `T` is never held across an await, and need not be `Send`.
            let wake = {
                let Tried { result, outcome, now } = attempt(&mut story, &judge, &lift, &operation).await;
                let decided = match &mut retry {
                    Some(state) if !outcome.is_success() => story.decide(state, &result, outcome, now),
                    _ => Err(None),
                };
                match decided {
                    Ok(wake) => {
                        if let Err(Error::Inner(error)) = result {
                            last_error = Some(error);
                        }
                        wake
                    }
                    Err(stopped) => {
                        if let (Some(policy), Some(state)) = (&core.retry, &retry) {
                            policy.finish(*state, outcome.is_success());
                        }
                        break (story.conclude(&judge, result, stopped, last_error.take(), now), now);
                    }
                }
            };
            match wake {
                Some(_) if !has_runtime() => {
                    let rejected = Err(Error::Rejected(Rejected::new(RejectedKind::NoRuntime)));
                    break (story.conclude(&judge, rejected, None, last_error.take(), story.now), story.now);
                }
                Some(moment) => sleep_until(moment).await,
                // No sleep between attempts must not mean no turn for anybody else on this thread.
                None => tokio::task::coop::consume_budget().await,
            }
            story.number = story.number.saturating_add(1);
            story.now = Instant::now();
        };

        let error = match result {
            Ok(value) => {
                story.tell(CallEnd::Success, now);
                return Ok(value);
            }
            Err(error) => error,
        };
        let end = CallEnd::of(&error);
        story.tell(end, now);
        let (answer, text) = match substitute.substitute(error, &core.judges) {
            Substituted::Not(error) => return Err(error),
            Substituted::Now(answer) => {
                core.fallback_used(end, now);
                return answer;
            }
            Substituted::Later(answer, text) => (Box::pin(answer), text),
        };
        core.fallback_used(end, now);
        let deadline = story.surroundings.deadline();
        let ended = Box::pin(Until::new(answer, deadline, &mut story.surroundings)).await;
        story.late_answer(ended, text)
    }
}

/// One attempt: look at the breaker > rate limit > bulkhead > your gates > the breaker's permit > attempt timeout > operation.
#[expect(clippy::manual_async_fn, reason = "an `async fn` would keep each of its arguments twice")]
fn attempt<'a, 'c, T, E, X, F, Fut>(
    story: &'a mut Story<'c>,
    judge: &'a impl Judge<T, E>,
    lift: &'a impl Fn(X) -> Error<E>,
    operation: &'a F,
) -> impl Future<Output = Tried<T, E>>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
{
    async move {
        if let Some(breaker) = &story.core.breaker {
            if let Err(rejected) = breaker.refuse_at(story.now) {
                return story.refused(rejected);
            }
        }
        let mut admitted = Admitted { story, reservation: None, place: None, passes: None, permit: None };
        if let Some(limiter) = &admitted.story.core.limiter {
            let waiting = match limiter.enter(&admitted.story.call()) {
                Entry::Granted(reservation) => {
                    admitted.reservation = Some(reservation);
                    None
                }
                Entry::Refused(rejected) => return admitted.story.refused(rejected),
                Entry::Wait(waiter) => Some(Box::pin(waiter)),
            };
            if let Some(waiter) = waiting {
                let waited = waiter.await;
                admitted.story.waited("rate_limit");
                match waited {
                    Ok(reservation) => admitted.reservation = Some(reservation),
                    Err(rejected) => return admitted.story.refused(rejected),
                }
            }
        }
        if let Some(bulkhead) = &admitted.story.core.bulkhead {
            let waiting = match bulkhead.enter(&admitted.story.call()) {
                Entry::Granted(place) => {
                    admitted.place = Some(place);
                    None
                }
                Entry::Refused(rejected) => return admitted.story.refused(rejected),
                Entry::Wait(waiter) => Some(Box::pin(waiter)),
            };
            if let Some(waiter) = waiting {
                let waited = waiter.await;
                admitted.story.waited("bulkhead");
                match waited {
                    Ok(place) => admitted.place = Some(place),
                    Err(rejected) => return admitted.story.refused(rejected),
                }
            }
        }
        if !admitted.story.core.gates.is_empty() {
            let waited = Box::pin(pass_gates(admitted.story)).await;
            admitted.story.waited("gate");
            match waited {
                Ok(passes) => admitted.passes = Some(Box::new(passes)),
                Err(rejected) => return admitted.story.refused(rejected),
            }
        }
        if let Some(breaker) = &admitted.story.core.breaker {
            match breaker.try_acquire_at(admitted.story.now) {
                Ok(permit) => admitted.permit = Some(permit),
                Err(rejected) => return admitted.story.refused(rejected),
            }
        }
        let guarded = admitted.begin(operation);
        let ended = guarded.await;
        let (result, outcome, now) = admitted.story.ended(ended, judge, lift);
        admitted.settle(outcome, now);
        Tried { result, outcome, now }
    }
}

type Passes<'a> = Vec<Box<dyn Pass + 'a>>;

/// Asks the gates of your own, one after another, until the deadline.
async fn pass_gates<'c>(story: &mut Story<'c>) -> Result<Passes<'c>, Rejected> {
    let (gates, call) = (&story.core.gates, story.call());
    let asked = async {
        let mut passes = Vec::with_capacity(gates.len());
        for gate in gates {
            passes.push(gate.admit(call).await?);
        }
        Ok(passes)
    };
    match Until::new(asked, call.attempt.deadline, &mut story.surroundings).await {
        Ended::Finished { output, .. } => output,
        Ended::TimedOut => Err(Rejected::new(RejectedKind::DeadlineExceeded)),
        Ended::NoRuntime => Err(Rejected::new(RejectedKind::NoRuntime)),
    }
}

/// What one attempt holds. Dropped unsettled (the call was cancelled, or user code panicked) it gives everything back.
struct Admitted<'s, 'c> {
    story: &'s mut Story<'c>,
    reservation: Option<Reservation<'c>>,
    place: Option<BulkheadPermit<'c>>,
    passes: Option<Box<Passes<'c>>>,
    permit: Option<CircuitPermit<'c>>,
}

impl Admitted<'_, '_> {
    /// All gates passed: what was reserved is used, and the operation begins, under the one timer there is.
    fn begin<F, Fut>(&mut self, operation: &F) -> Until<'_, Fut>
    where
        F: Fn(Attempt) -> Fut,
    {
        if let Some(reservation) = self.reservation.take() {
            reservation.keep();
        }
        let story = &mut *self.story;
        story.attempts = story.attempts.saturating_add(1);
        let attempt = story.attempt();
        let own = story.core.attempt_timeout.and_then(|limit| time::after(attempt.started, limit));
        // The closure is the caller's code as much as its future is.
        let operation = story.surroundings.run(|| operation(attempt));
        Until::new(operation, time::earlier(own, attempt.deadline), &mut story.surroundings)
    }

    fn settle(mut self, outcome: Outcome, now: Instant) {
        if let Some(permit) = self.permit.take() {
            permit.settle_at(outcome, now);
        }
        if let Some(passes) = self.passes.take() {
            passes.into_iter().for_each(|pass| pass.settle(outcome));
        }
        self.story.attempted(outcome, now);
    }
}

impl Drop for Admitted<'_, '_> {
    fn drop(&mut self) {
        // A call that was merely dropped is abandoned, which is what an unsettled permit says of itself.
        if let Some(permit) = self.permit.take() {
            if self.story.surroundings.panicked() {
                permit.settle(Outcome::Panicked);
            }
        }
    }
}

/// How one call went so far. Dropped untold, it was abandoned, or its operation panicked.
pub(super) struct Story<'c> {
    core: &'c Core,
    options: &'c Options<'c>,
    /// The clock reading at which the call began.
    started: Instant,
    /// The clock reading of this attempt, shared by every policy.
    now: Instant,
    surroundings: Surroundings,
    /// The turn: 1 for the first, also when a gate refuses it.
    number: u32,
    /// How many times the operation was started.
    attempts: u32,
    told: bool,
    /// The commonest story (one attempt, no wait, and it went well) is told in one entry, at its end.
    untold_success: bool,
}

impl<'c> Story<'c> {
    fn begin(core: &'c Core, options: &'c Options<'c>) -> (Self, Option<RetryState>) {
        let now = Instant::now();
        let outer = Nesting::current();
        let own = core.total_timeout.and_then(|limit| time::after(now, limit));
        let deadline = time::earlier(own, options.deadline_at(now));
        let span = core.spans.then(|| call_span(&core.name, options.key.filter(|_| core.log_keys)));
        let surroundings = Surroundings::new(outer.deeper(deadline, core.retry.is_some()), span);
        let story = Self { core, options, started: now, now, surroundings, number: 1, attempts: 0, told: false, untold_success: false };
        (story, core.retry.as_ref().map(|retry| retry.begin(outer.retries)))
    }

    fn attempt(&self) -> Attempt {
        Attempt { number: self.number, started: self.now, deadline: self.surroundings.deadline() }
    }

    fn call(&self) -> Call<'c> {
        Call { attempt: self.attempt(), key: self.options.key, priority: self.options.priority, cost: self.options.cost }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// After a wait the attempt begins anew: its timeout and its latency do not count the queue.
    fn waited(&mut self, policy: &'static str) {
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.now);
        if !waited.is_zero() {
            self.core.emitter.emit(|| Event::Waited { policy, waited });
        }
        self.now = now;
    }

    fn refused<T, E>(&self, rejected: Rejected) -> Tried<T, E> {
        Tried { outcome: rejected.outcome(), result: Err(Error::Rejected(rejected)), now: self.now }
    }

    /// What the operation answered, what the judge makes of it, and the clock reading at its end.
    fn ended<T, E: 'static, X>(
        &self,
        ended: Ended<Result<T, X>>,
        judge: &impl Judge<T, E>,
        lift: impl Fn(X) -> Error<E>,
    ) -> (Result<T, Error<E>>, Outcome, Instant) {
        let rejected = |kind, outcome, now| (Err(Error::Rejected(Rejected::new(kind))), outcome, now);
        match ended {
            Ended::Finished { output, at_once } => {
                let now = if at_once && !self.core.reads_end { self.now } else { Instant::now() };
                let (result, outcome) = judged(self.core, judge, output.map_err(lift));
                (result, outcome, now)
            }
            Ended::TimedOut => {
                let now = Instant::now();
                let out_of_time = self.surroundings.deadline().is_some_and(|deadline| deadline <= now);
                let kind = if out_of_time { RejectedKind::DeadlineExceeded } else { RejectedKind::Timeout };
                rejected(kind, Outcome::TimedOut, now)
            }
            Ended::NoRuntime => rejected(RejectedKind::NoRuntime, Outcome::NotAttempted, Instant::now()),
        }
    }

    /// Whether to try again: `Ok(when)`, `Ok(None)` for at once, or why not.
    #[cold]
    fn decide<T, E>(
        &self,
        state: &mut RetryState,
        result: &Result<T, Error<E>>,
        outcome: Outcome,
        now: Instant,
    ) -> Result<Option<Instant>, Option<StopReason>> {
        let Some(retry) = &self.core.retry else { return Err(None) };
        let rejected = result.as_ref().err().and_then(Error::rejected);
        let (emitter, attempt) = (&self.core.emitter, self.number);
        // Sleeping towards a breaker that will still be open is a wait for nothing.
        let open = |wake| self.core.breaker.as_ref().is_some_and(|breaker| breaker.check_at(wake).is_err());
        let seen = self.options.for_retry(outcome);
        match retry.next_delay_unless(open, state, seen, rejected, now, self.surroundings.deadline()) {
            Ok(delay) => {
                emitter.emit(|| Event::Retrying { attempt, delay, cause: outcome });
                Ok(if delay.is_zero() { None } else { time::after(now, delay) })
            }
            Err(reason) => {
                emitter.emit(|| Event::RetryStopped { attempts: self.attempts, reason: reason.as_str() });
                Err(Some(reason))
            }
        }
    }

    /// What the caller gets in the end.
    fn conclude<T, E: 'static>(
        &self,
        judge: &impl Judge<T, E>,
        result: Result<T, Error<E>>,
        stopped: Option<StopReason>,
        last_error: Option<E>,
        now: Instant,
    ) -> Result<T, Error<E>> {
        let rejected = match result {
            Err(Error::Rejected(rejected)) => rejected,
            done => return done,
        };
        match last_error {
            // A retry that our own gate refused is no news about the dependency; its last error is.
            Some(error) if stopped.is_some() && rejected.outcome() == Outcome::NotAttempted => Err(Error::Inner(error)),
            last => Err(self.complete(rejected, last.and_then(|error| judge.text(&self.core.judges, &error)), now)),
        }
    }

    /// The rejection, with all that is known of the call.
    #[cold]
    fn complete<E>(&self, rejected: Rejected, last_error: Option<Arc<str>>, now: Instant) -> Error<E> {
        let rejected = rejected.in_call(&self.core.name, self.attempts, self.elapsed(now)).with_last_error(last_error);
        self.core.emitter.emit(|| Event::Rejected { kind: rejected.kind(), retry_after: rejected.retry_after() });
        Error::Rejected(rejected)
    }

    /// What a fallback's future came to. One that did not finish in time leaves the call out of time.
    fn late_answer<T, E>(&self, ended: Ended<Result<T, Error<E>>>, text: Option<Arc<str>>) -> Result<T, Error<E>> {
        let kind = match ended {
            Ended::Finished { output, .. } => return output,
            Ended::TimedOut => RejectedKind::DeadlineExceeded,
            Ended::NoRuntime => RejectedKind::NoRuntime,
        };
        Err(self.complete(Rejected::new(kind), text, Instant::now()))
    }

    fn attempted(&mut self, outcome: Outcome, now: Instant) {
        let latency = now.saturating_duration_since(self.now);
        if !outcome.is_success() && outcome != Outcome::NotAttempted {
            let attempt = self.number;
            self.core.emitter.emit(|| Event::AttemptFailed { attempt, outcome, elapsed: latency });
        }
        let Some(recorder) = &self.core.recorder else { return };
        if self.number == 1 && self.now == self.started && outcome.is_success() {
            self.untold_success = true;
        } else {
            recorder.record_attempt(outcome, latency, now);
        }
    }

    fn tell(&mut self, end: CallEnd, now: Instant) {
        self.told = true;
        let (attempts, elapsed) = (self.attempts, self.elapsed(now));
        if let Some(recorder) = &self.core.recorder {
            if self.untold_success {
                recorder.record_single(end, Outcome::Judged(Verdict::Success), elapsed, now);
            } else {
                recorder.record_call(end, attempts, elapsed, now);
            }
        }
        self.core.emitter.emit(|| Event::CallFinished { end, attempts, elapsed });
    }
}

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if self.told || (self.core.recorder.is_none() && self.core.emitter.is_idle()) {
            return;
        }
        let end = if self.surroundings.panicked() { CallEnd::Panicked } else { CallEnd::Abandoned };
        let now = Instant::now();
        let (attempts, elapsed) = (self.attempts, self.elapsed(now));
        if let Some(recorder) = &self.core.recorder {
            if attempts > 0 {
                let outcome = if end == CallEnd::Panicked { Outcome::Panicked } else { Outcome::Abandoned };
                recorder.record_attempt(outcome, now.saturating_duration_since(self.now), now);
            }
            recorder.record_call(end, attempts, elapsed, now);
        }
        // Observers are user code, which has no place in a drop: only the stream and `tracing` hear of it.
        self.core.emitter.emit_unobserved(|| Event::CallFinished { end, attempts, elapsed });
    }
}

/// Judges what the operation answered. What an inner pipeline rejected is judged as the rejection it is.
fn judged<T, E: 'static>(core: &Core, judge: &impl Judge<T, E>, result: Result<T, Error<E>>) -> (Result<T, Error<E>>, Outcome) {
    let own = match result {
        Err(Error::Rejected(rejected)) => {
            let outcome = rejected.outcome();
            return (Err(Error::Rejected(rejected)), outcome);
        }
        Err(Error::Inner(error)) => Err(error),
        Ok(value) => Ok(value),
    };
    let verdict = judge.judge(&core.judges, &own);
    (own.map_err(Error::Inner), Outcome::Judged(verdict))
}

impl CallEnd {
    /// How a call that fails with this error ended.
    pub(super) const fn of<E>(error: &Error<E>) -> Self {
        match error {
            Error::Inner(_) => Self::Failure,
            Error::Rejected(rejected) => Self::Rejected(rejected.kind()),
        }
    }
}

impl Core {
    #[cold]
    pub(super) fn fallback_used(&self, cause: CallEnd, now: Instant) {
        if let Some(recorder) = &self.recorder {
            recorder.record_fallback(now);
        }
        self.emitter.emit(|| Event::FallbackUsed { cause });
    }
}
