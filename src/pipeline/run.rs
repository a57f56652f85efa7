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

impl<T, E> Tried<T, E> {
    fn refused(rejected: Rejected, now: Instant) -> Self {
        Self { outcome: rejected.outcome(), result: Err(Error::Rejected(rejected)), now }
    }
}

/// Runs `operation` under every policy of `core`, once per attempt.
///
/// `lift` makes the call's error of the operation's own: it wraps a plain error, and leaves that of an inner pipeline as it is.
pub(crate) async fn run<'c, T, E, X, F, Fut>(
    core: &'c Core,
    options: &'c Options<'c>,
    judge: impl Judge<T, E>,
    lift: impl Fn(X) -> Error<E>,
    substitute: impl Substitute<T, E>,
    operation: F,
) -> Result<T, Error<E>>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
{
    let started = Instant::now();
    let outer = Nesting::current();
    let own = core.total_timeout.and_then(|limit| time::after(started, limit));
    let deadline = time::earlier(time::earlier(own, options.deadline_at(started)), outer.deadline);
    let surroundings =
        Surroundings::new(outer.deeper(deadline, core.retry.is_some()), core.spans.then(|| call_span(&core.name)));
    let mut story = Story { core, started, surroundings, attempts: 0, told: false, first_success: None };
    let mut retry = core.retry.as_ref().map(|retry| retry.begin(outer.retries));
    let mut call =
        Call { attempt: Attempt { number: 1, started, deadline }, key: options.key, priority: options.priority, cost: options.cost };
    let mut last_error = None;

    let (result, now) = loop {
        // A block, so that nothing of an outcome outlives it: `T` is never held across an await, and need not be `Send`.
        let wake = {
            let Tried { result, outcome, now } = attempt(&mut story, &mut call, &judge, &lift, &operation).await;
            let decided = match (&mut retry, outcome.is_success()) {
                (Some(state), false) => core.decide(state, &story, &call, &result, outcome, now),
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
                    break (core.conclude(&story, result, stopped, &mut last_error, now), now);
                }
            }
        };
        match wake {
            Some(moment) if !has_runtime() => {
                let rejected = Rejected::new(RejectedKind::NoRuntime);
                break (core.conclude(&story, Err(Error::Rejected(rejected)), None, &mut last_error, moment), moment);
            }
            Some(moment) => sleep_until(moment).await,
            // No sleep between attempts must not mean no turn for anybody else on this thread.
            None => tokio::task::coop::consume_budget().await,
        }
        call.attempt.number += 1;
        call.attempt.started = Instant::now();
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
    match substitute.substitute(error, &core.judges) {
        Substituted::Not(error) => Err(error),
        Substituted::Now(answer) => {
            core.fallback_used(end, now);
            answer
        }
        Substituted::Later(answer, text) => {
            let answer = match Box::pin(Until::new(answer, deadline, &mut story.surroundings)).await {
                Ended::Finished { output, .. } => output,
                Ended::TimedOut => Err(core.complete(Rejected::new(RejectedKind::DeadlineExceeded), &story, text, Instant::now())),
                Ended::NoRuntime => Err(core.complete(Rejected::new(RejectedKind::NoRuntime), &story, text, Instant::now())),
            };
            core.fallback_used(end, now);
            answer
        }
    }
}

/// One attempt: look at the breaker > rate limit > bulkhead > your gates > the breaker's permit > attempt timeout > operation.
async fn attempt<'c, T, E, X, F, Fut>(
    story: &mut Story<'c>,
    call: &mut Call<'c>,
    judge: &impl Judge<T, E>,
    lift: &impl Fn(X) -> Error<E>,
    operation: &F,
) -> Tried<T, E>
where
    E: 'static,
    F: Fn(Attempt) -> Fut,
    Fut: Future<Output = Result<T, X>>,
{
    let core = story.core;
    if let Some(breaker) = &core.breaker {
        if let Err(rejected) = breaker.check_at(call.attempt.started) {
            return Tried::refused(rejected, call.attempt.started);
        }
    }
    let mut admitted = Admitted { story, reservation: None, place: None, passes: None, permit: None };
    if let Some(limiter) = &core.limiter {
        let entered = match limiter.enter(call) {
            Entry::Granted(reservation) => Ok(reservation),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(waiter) => waited(call, Box::pin(waiter).await),
        };
        match entered {
            Ok(reservation) => admitted.reservation = Some(reservation),
            Err(rejected) => return Tried::refused(rejected, call.attempt.started),
        }
    }
    if let Some(bulkhead) = &core.bulkhead {
        let entered = match bulkhead.enter(call) {
            Entry::Granted(place) => Ok(place),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(waiter) => waited(call, Box::pin(waiter).await),
        };
        match entered {
            Ok(place) => admitted.place = Some(place),
            Err(rejected) => return Tried::refused(rejected, call.attempt.started),
        }
    }
    if !core.gates.is_empty() {
        let entered = Box::pin(pass_gates(core, *call, &mut admitted.story.surroundings)).await;
        match waited(call, entered) {
            Ok(passes) => admitted.passes = Some(Box::new(passes)),
            Err(rejected) => return Tried::refused(rejected, call.attempt.started),
        }
    }
    let now = call.attempt.started;
    if let Some(breaker) = &core.breaker {
        match breaker.try_acquire_at(now) {
            Ok(permit) => admitted.permit = Some(permit),
            Err(rejected) => return Tried::refused(rejected, now),
        }
    }
    admitted.begin();

    let limit = time::earlier(core.attempt_timeout.and_then(|limit| time::after(now, limit)), call.attempt.deadline);
    let surroundings = &mut admitted.story.surroundings;
    // The closure is the caller's code as much as its future is.
    let operation = surroundings.run(|| operation(call.attempt));
    let (result, outcome, now) = match Until::new(operation, limit, surroundings).await {
        Ended::Finished { output, at_once } => {
            let now = if at_once && !core.reads_end { now } else { Instant::now() };
            let (result, outcome) = judged(core, judge, output.map_err(lift));
            (result, outcome, now)
        }
        Ended::TimedOut => {
            let now = Instant::now();
            let out_of_time = call.attempt.deadline.is_some_and(|deadline| deadline <= now);
            let kind = if out_of_time { RejectedKind::DeadlineExceeded } else { RejectedKind::Timeout };
            (Err(Error::Rejected(Rejected::new(kind))), Outcome::TimedOut, now)
        }
        Ended::NoRuntime => (Err(Error::Rejected(Rejected::new(RejectedKind::NoRuntime))), Outcome::NotAttempted, Instant::now()),
    };
    admitted.settle(outcome, now, call.attempt.started);
    Tried { result, outcome, now }
}

/// After a wait the attempt begins anew: its timeout and its latency do not count the queue.
fn waited<P>(call: &mut Call<'_>, entered: Result<P, Rejected>) -> Result<P, Rejected> {
    call.attempt.started = Instant::now();
    entered
}

type Passes<'a> = Vec<Box<dyn Pass + 'a>>;

/// Asks the gates of your own, one after another, until the deadline.
async fn pass_gates<'a>(core: &'a Core, call: Call<'a>, surroundings: &mut Surroundings) -> Result<Passes<'a>, Rejected> {
    let asked = async {
        let mut passes = Vec::with_capacity(core.gates.len());
        for gate in &core.gates {
            passes.push(gate.admit(call).await?);
        }
        Ok(passes)
    };
    match Until::new(asked, call.attempt.deadline, surroundings).await {
        Ended::Finished { output, .. } => output,
        Ended::TimedOut => Err(Rejected::new(RejectedKind::DeadlineExceeded)),
        Ended::NoRuntime => Err(Rejected::new(RejectedKind::NoRuntime)),
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

/// What one attempt holds. Dropped unsettled (the call was cancelled, or user code panicked) it gives everything back.
struct Admitted<'s, 'c> {
    story: &'s mut Story<'c>,
    reservation: Option<Reservation<'c>>,
    place: Option<BulkheadPermit<'c>>,
    passes: Option<Box<Passes<'c>>>,
    permit: Option<CircuitPermit<'c>>,
}

impl Admitted<'_, '_> {
    /// All gates passed: what was reserved is used.
    fn begin(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            reservation.keep();
        }
        self.story.attempts += 1;
    }

    fn settle(mut self, outcome: Outcome, now: Instant, began: Instant) {
        if let Some(permit) = self.permit.take() {
            permit.settle_at(outcome, now);
        }
        if let Some(passes) = self.passes.take() {
            passes.into_iter().for_each(|pass| pass.settle(outcome));
        }
        self.story.attempted(outcome, now, now.saturating_duration_since(began));
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

/// What the books need to know of a call. Dropped untold, it was abandoned, or its operation panicked.
pub(super) struct Story<'c> {
    core: &'c Core,
    started: Instant,
    surroundings: Surroundings,
    attempts: u32,
    told: bool,
    /// The commonest story (one attempt, and it went well) is told in one entry, at its end.
    first_success: Option<Duration>,
}

impl Story<'_> {
    fn attempted(&mut self, outcome: Outcome, now: Instant, latency: Duration) {
        let Some(recorder) = &self.core.recorder else { return };
        if self.attempts == 1 && outcome.is_success() {
            self.first_success = Some(latency);
        } else {
            recorder.record_attempt(outcome, latency, now);
        }
    }

    fn tell(&mut self, end: CallEnd, now: Instant) {
        self.told = true;
        if let Some(recorder) = &self.core.recorder {
            let latency = now.saturating_duration_since(self.started);
            match self.first_success {
                Some(attempt) if attempt == latency => recorder.record_single(end, Outcome::Judged(Verdict::Success), latency, now),
                first => {
                    if let Some(attempt) = first {
                        recorder.record_attempt(Outcome::Judged(Verdict::Success), attempt, now);
                    }
                    recorder.record_call(end, self.attempts, latency, now);
                }
            }
        }
        self.core.emitter.emit(|| Event::CallFinished {
            end,
            attempts: self.attempts,
            elapsed: now.saturating_duration_since(self.started),
        });
    }
}

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let end = if self.surroundings.panicked() { CallEnd::Panicked } else { CallEnd::Abandoned };
        self.core.untold(end, self.attempts, self.started);
    }
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
    /// Whether to try again: `Ok(when)`, `Ok(None)` for at once, or why not.
    #[cold]
    fn decide<T, E>(
        &self,
        state: &mut RetryState,
        story: &Story<'_>,
        call: &Call<'_>,
        result: &Result<T, Error<E>>,
        outcome: Outcome,
        now: Instant,
    ) -> Result<Option<Instant>, Option<StopReason>> {
        let rejected = match result {
            Err(Error::Rejected(rejected)) => Some(rejected),
            _ => None,
        };
        let attempt = call.attempt.number;
        if outcome != Outcome::NotAttempted {
            let elapsed = now.saturating_duration_since(call.attempt.started);
            self.emitter.emit(|| Event::AttemptFailed { attempt, outcome, elapsed });
        }
        let Some(retry) = &self.retry else { return Err(None) };
        // Sleeping towards a breaker that will still be open is a wait for nothing.
        let open = |wake| self.breaker.as_ref().is_some_and(|breaker| breaker.check_at(wake).is_err());
        let decided = retry.next_delay_unless(open, state, outcome, rejected, now, call.attempt.deadline);
        match decided {
            Ok(delay) => {
                self.emitter.emit(|| Event::Retrying { attempt, delay, cause: outcome });
                Ok(if delay.is_zero() { None } else { time::after(now, delay) })
            }
            Err(reason) => {
                self.emitter.emit(|| Event::RetryStopped { attempts: story.attempts, reason: reason.as_str() });
                Err(Some(reason))
            }
        }
    }

    /// What the caller gets in the end.
    fn conclude<T, E: 'static>(
        &self,
        story: &Story<'_>,
        result: Result<T, Error<E>>,
        stopped: Option<StopReason>,
        last_error: &mut Option<E>,
        now: Instant,
    ) -> Result<T, Error<E>> {
        let rejected = match result {
            Err(Error::Rejected(rejected)) => rejected,
            done => return done,
        };
        match last_error.take() {
            // A retry that our own gate refused is no news about the dependency; its last error is.
            Some(error) if stopped.is_some() && rejected.outcome() == Outcome::NotAttempted => Err(Error::Inner(error)),
            last => Err(self.complete(rejected, story, last.and_then(|error| self.judges.text(&error)), now)),
        }
    }

    /// The rejection, with all that is known of the call.
    #[cold]
    fn complete<E>(&self, rejected: Rejected, story: &Story<'_>, last_error: Option<Arc<str>>, now: Instant) -> Error<E> {
        let rejected =
            rejected.in_call(&self.name, story.attempts, now.saturating_duration_since(story.started)).with_last_error(last_error);
        self.emitter.emit(|| Event::Rejected { kind: rejected.kind(), retry_after: rejected.retry_after() });
        Error::Rejected(rejected)
    }

    #[cold]
    pub(super) fn fallback_used(&self, cause: CallEnd, now: Instant) {
        if let Some(recorder) = &self.recorder {
            recorder.record_fallback(now);
        }
        self.emitter.emit(|| Event::FallbackUsed { cause });
    }

    /// A call whose future was dropped. Observers are user code, which has no place in a drop: only the books and the stream hear.
    #[cold]
    fn untold(&self, end: CallEnd, attempts: u32, started: Instant) {
        if self.recorder.is_none() && self.emitter.is_idle() {
            return;
        }
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(started);
        if let Some(recorder) = &self.recorder {
            recorder.record_call(end, attempts, elapsed, now);
        }
        self.emitter.emit(|| Event::CallFinished { end, attempts, elapsed });
    }
}
