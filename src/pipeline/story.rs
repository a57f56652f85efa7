//! What is known of one call, and held for it: what each stage of [`Run`](super::run::Run) asks and tells the policies.

use super::waiting::{Door, Entered, Waiting, own_gates};
use super::{Core, Options};
use crate::admission::{BulkheadPermit, CircuitPermit, Entry, Pass, Reservation};
use crate::call::{Attempt, Call};
use crate::classify::Judge;
use crate::execution::{Ended, Nesting, Retry, RetryState, StopReason, Surroundings, Until};
use crate::observation::{CallEnd, Event, call_span};
use crate::outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
use crate::time;
use std::time::Duration;
use tokio::time::Instant;

/// One call: its facts, and what its attempt under way holds. Dropped untold, it was abandoned, or its operation panicked.
///
/// In this order no padding comes before what begins as a constant; that would make the beginning of each call a slow copy.
#[repr(C)]
pub(super) struct Story<'c> {
    held: Held<'c>,
    pub(super) surroundings: Surroundings,
    /// The clock reading at which the call began.
    started: Instant,
    /// The clock reading at which this attempt began, shared by every policy.
    began: Instant,
    /// The latest clock reading.
    now: Instant,
    pub(super) core: &'c Core,
    options: &'c Options<'c>,
    /// Means something only where there is a retry policy.
    retry: RetryState,
    /// The turn: 1 for the first, also when a gate refuses it.
    number: u32,
    /// How many times the operation was started.
    attempts: u32,
    /// The gates that this attempt has passed.
    passed: Gates,
    phase: Phase,
    told: bool,
    /// The commonest story (one attempt, no wait, and it went well) is told in one entry, at its end.
    untold_success: bool,
}

/// What goes on, for the books of a call that is dropped untold: user code that runs where nothing is awaited must have panicked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No attempt is under way: at the gates, in a queue, in a pause.
    Waiting,
    Running,
    /// The operation has answered, and its attempt is not yet in the books: the judge is asked, and everyone is told.
    Judging,
    /// The attempt is in the books, and what comes of it is not decided.
    Deciding,
}

/// What an attempt holds. Dropped unsettled (the call was cancelled, or user code panicked) it gives everything back.
#[repr(C)]
#[derive(Default)]
struct Held<'c> {
    place: Option<BulkheadPermit<'c>>,
    passes: Option<Box<Passes<'c>>>,
    permit: Option<CircuitPermit<'c>>,
}

pub(super) type Passes<'c> = Vec<Box<dyn Pass + 'c>>;

/// The gates that may make an attempt wait, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gates {
    None,
    RateLimit,
    Bulkhead,
    Own,
}

impl Gates {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::RateLimit => "rate_limit",
            Self::Bulkhead => "bulkhead",
            Self::Own => "gate",
        }
    }
}

/// What the gates said.
pub(super) enum Admission<'c> {
    Granted,
    Wait(Waiting<'c>),
    Refused(Rejected),
}

/// Whether there is another attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    No,
    AtOnce,
    At(Instant),
}

impl<'c> Story<'c> {
    #[inline]
    pub(super) fn begin(core: &'c Core, options: &'c Options<'c>) -> Self {
        let now = Instant::now();
        let outer = Nesting::current();
        let own = core.total_timeout.and_then(|limit| time::after(now, limit));
        let deadline = time::earlier(own, options.deadline_at(now));
        let span = if core.spans { Some(call_span(&core.name, options.key.filter(|_| core.log_keys))) } else { None };
        Self {
            core,
            options,
            surroundings: Surroundings::new(outer.deeper(deadline, core.policies.retry.as_ref().is_some_and(Retry::is_on)), span),
            started: now,
            began: now,
            now,
            retry: RetryState::new(core.policies.retry.as_ref().is_some_and(|retry| retry.join(outer.retries))),
            held: Held { place: None, passes: None, permit: None },
            number: 1,
            attempts: 0,
            passed: Gates::None,
            phase: Phase::Waiting,
            told: false,
            untold_success: false,
        }
    }

    /// Tells an event, if anybody listens, as part of the call.
    #[inline]
    fn emit(&self, event: impl FnOnce() -> Event) {
        let emitter = &self.core.emitter;
        if !emitter.is_idle() {
            self.surroundings.in_span(|| emitter.emit(event));
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt { number: self.number, started: self.began, deadline: self.surroundings.deadline() }
    }

    fn call(&self) -> Call<'c> {
        Call { attempt: self.attempt(), key: self.options.key, priority: self.options.priority, cost: self.options.cost }
    }

    fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.started)
    }

    #[inline]
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    // -------------------------------------------------------------- before the operation

    /// Look at the breaker > rate limit > bulkhead > your gates > the breaker's permit; from where the last wait ended, with what was
    /// reserved before it.
    pub(super) fn ask_gates(&mut self, mut reservation: Option<Reservation<'c>>) -> Admission<'c> {
        let core = self.core;
        if self.passed == Gates::None
            && let Some(breaker) = &core.policies.circuit_breaker
            && let Err(rejected) = breaker.refuse_at(self.began)
        {
            return Admission::Refused(rejected);
        }
        if let (Some(limiter), true) = (&core.policies.rate_limit, self.passed < Gates::RateLimit) {
            // Two branches that each keep what they have: one value for both would be copied, which costs more than the check.
            let Options { cost, priority, .. } = *self.options;
            if let Some(granted) = limiter.pass(cost, priority, self.began) {
                reservation = Some(granted);
            } else {
                match limiter.enter(cost, priority, self.began, || self.call()) {
                    Entry::Granted(granted) => reservation = Some(granted),
                    Entry::Refused(rejected) => return self.refused(rejected),
                    Entry::Wait(waiter) => return Admission::Wait(Waiting { door: Door::RateLimit(Box::pin(waiter)), reservation: None }),
                }
            }
        }
        if let (Some(bulkhead), true) = (&core.policies.bulkhead, self.passed < Gates::Bulkhead) {
            match bulkhead.enter(|| self.call()) {
                Entry::Granted(place) => self.held.place = Some(place),
                Entry::Refused(rejected) => return self.refused(rejected),
                Entry::Wait(waiter) => return Admission::Wait(Waiting { door: Door::Bulkhead(Box::pin(waiter)), reservation }),
            }
        }
        if !core.gates.is_empty() && self.passed < Gates::Own {
            let asked = Box::pin(Until::new(own_gates(core, self.call())));
            return Admission::Wait(Waiting { door: Door::Own(asked), reservation });
        }
        if let Some(breaker) = &core.policies.circuit_breaker {
            // As above.
            if let Some(permit) = breaker.pass_at(self.began) {
                self.held.permit = Some(permit);
            } else {
                match breaker.enter(self.began) {
                    Ok(permit) => self.held.permit = Some(permit),
                    Err(rejected) => return self.refused(rejected),
                }
            }
        }
        // All gates are passed: what was reserved is used.
        if let Some(reservation) = reservation {
            reservation.keep();
        }
        Admission::Granted
    }

    /// A wait is over, and so the gates after it are asked. The attempt begins anew: its timeout and its latency do not count the wait.
    pub(super) fn waited(
        &mut self,
        gate: Gates,
        entered: Result<Entered<'c>, Rejected>,
        mut reservation: Option<Reservation<'c>>,
    ) -> Admission<'c> {
        let before = std::mem::replace(&mut self.began, Instant::now());
        self.now = self.began;
        self.passed = gate;
        let waited = self.now.saturating_duration_since(before);
        if !waited.is_zero() {
            self.emit(|| Event::Waited { policy: gate.name(), waited });
        }
        match entered {
            Ok(Entered::Units(units)) => reservation = Some(units),
            Ok(Entered::Place(place)) => self.held.place = Some(place),
            Ok(Entered::Passes(passes)) => self.held.passes = Some(Box::new(passes)),
            Err(rejected) => return self.refused(rejected),
        }
        self.ask_gates(reservation)
    }

    #[cold]
    fn refused(&mut self, rejected: Rejected) -> Admission<'c> {
        self.held = Held::default();
        Admission::Refused(rejected)
    }

    /// The operation begins.
    #[inline]
    pub(super) fn start<Fut>(&mut self, operation: impl Fn(Attempt) -> Fut) -> Fut {
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Running;
        let attempt = self.attempt();
        // The closure is the caller's code as much as its future is.
        self.surroundings.guard(|| operation(attempt))
    }

    // -------------------------------------------------------------- while it runs, and after

    /// When this attempt must have ended.
    pub(super) fn attempt_limit(&self) -> impl FnOnce() -> Option<Instant> + use<> {
        let (own, began, deadline) = (self.core.attempt_timeout, self.began, self.surroundings.deadline());
        move || time::earlier(own.and_then(|limit| time::after(began, limit)), deadline)
    }

    /// The operation answered; if `at_once`, no time passed that is worth a clock reading, unless somebody measures it.
    #[inline]
    pub(super) fn finished(&mut self, at_once: bool) {
        self.phase = Phase::Judging;
        self.now = if at_once && !self.core.reads_end { self.began } else { Instant::now() };
    }

    #[cold]
    pub(super) fn timed_out(&mut self) -> Rejected {
        self.now = Instant::now();
        let out_of_time = self.surroundings.deadline().is_some_and(|deadline| deadline <= self.now);
        Rejected::new(if out_of_time { RejectedKind::DeadlineExceeded } else { RejectedKind::Timeout })
    }

    #[cold]
    pub(super) fn no_runtime(&mut self) -> Rejected {
        self.now = Instant::now();
        Rejected::new(RejectedKind::NoRuntime)
    }

    /// Tells everyone who let the attempt through, and gives back what it held.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        if let Some(permit) = self.held.permit.take() {
            permit.settle_at(outcome, self.now);
        }
        if let Some(passes) = self.held.passes.take() {
            passes.into_iter().for_each(|pass| pass.settle(outcome));
        }
        self.held.place = None;
        if !outcome.is_success() {
            self.failed(outcome);
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.phase = Phase::Deciding;
        if self.core.recorder.is_some() {
            self.untold_success = self.number == 1 && self.began == self.started;
            if !self.untold_success {
                self.record_attempt(Outcome::Judged(Verdict::Success));
            }
        }
        if let Some(policy) = &self.core.policies.retry {
            policy.finish(self.retry, true);
        }
    }

    #[cold]
    fn failed(&mut self, outcome: Outcome) {
        self.phase = Phase::Deciding;
        self.record_attempt(outcome);
        if outcome != Outcome::NotAttempted {
            let (attempt, elapsed) = (self.number, self.now.saturating_duration_since(self.began));
            self.emit(|| Event::AttemptFailed { attempt, outcome, elapsed });
        }
    }

    fn record_attempt(&self, outcome: Outcome) {
        if let Some(recorder) = &self.core.recorder {
            recorder.record_attempt(outcome, self.now.saturating_duration_since(self.began), self.now);
        }
    }

    // -------------------------------------------------------------- between attempts

    #[cold]
    pub(super) fn decide(&mut self, rejected: Option<&Rejected>, outcome: Outcome) -> Again {
        self.phase = Phase::Deciding;
        let Some(retry) = &self.core.policies.retry else { return Again::No };
        let (attempt, now) = (self.number, self.now);
        // Sleeping towards a breaker that will still be open is a wait for nothing.
        let open = |wake| self.core.policies.circuit_breaker.as_ref().is_some_and(|breaker| breaker.check_at(wake).is_err());
        let seen = self.options.for_retry(outcome);
        match retry.next_delay_unless(&open, &mut self.retry, seen, rejected, now, self.surroundings.deadline()) {
            Ok(delay) => {
                self.phase = Phase::Waiting;
                self.emit(|| Event::Retrying { attempt, delay, cause: outcome });
                time::after(now, delay).filter(|_| !delay.is_zero()).map_or(Again::AtOnce, Again::At)
            }
            Err(reason) => {
                // What would not have been retried anyway was not stopped.
                if reason != StopReason::NotRetryable && (outcome != Outcome::NotAttempted || self.attempts > 0) {
                    self.emit(|| Event::RetryStopped { attempts: self.attempts, reason: reason.as_str() });
                }
                Again::No
            }
        }
    }

    pub(super) fn next_attempt(&mut self) {
        self.number = self.number.saturating_add(1);
        self.passed = Gates::None;
        self.now = Instant::now();
        self.began = self.now;
    }

    // -------------------------------------------------------------- the end

    /// What the caller gets in the end, unless a fallback answers.
    #[cold]
    pub(super) fn conclude<T, E: 'static>(
        &mut self,
        judge: &impl Judge<T, E>,
        result: Result<T, Error<E>>,
        outcome: Outcome,
        last_error: Option<E>,
    ) -> Result<T, Error<E>> {
        let concluded = match (result, last_error) {
            // A retry that our own gate refused is no news about the dependency; its last error is.
            (Err(Error::Rejected(rejected)), Some(error)) if rejected.is_refusal() => Err(Error::Inner(error)),
            (Err(Error::Rejected(rejected)), last_error) => {
                let text = last_error.and_then(|error| judge.text(&self.core.judges, &error));
                Err(Error::Rejected(self.complete(rejected, text)))
            }
            (result, _) => result,
        };
        // An error that was judged a success is one; so is a value, unless it was judged a failure.
        let end = match &concluded {
            Err(error) if !outcome.is_success() => CallEnd::of(error),
            Ok(_) if outcome.is_failure() => CallEnd::Failure,
            _ => CallEnd::Success,
        };
        self.end(end, outcome);
        concluded
    }

    fn end(&mut self, end: CallEnd, outcome: Outcome) {
        if outcome.is_success() {
            self.succeeded();
        } else if let Some(policy) = &self.core.policies.retry {
            policy.finish(self.retry, false);
        }
        self.tell(end);
    }

    /// The rejection, with all that is known of the call.
    fn complete(&self, rejected: Rejected, last_error: Option<String>) -> Rejected {
        let rejected = rejected.in_call(&self.core.origin, self.attempts, self.elapsed(), last_error);
        self.emit(|| Event::Rejected { kind: rejected.kind(), retry_after: rejected.retry_after() });
        rejected
    }

    /// Enters the call in the books.
    pub(super) fn tell(&mut self, end: CallEnd) {
        self.told = true;
        if let Some(recorder) = &self.core.recorder {
            if self.untold_success {
                recorder.record_single(end, Outcome::Judged(Verdict::Success), self.elapsed(), self.now);
            } else {
                recorder.record_call(end, self.attempts, self.elapsed(), self.now);
            }
        }
        self.emit(|| Event::CallFinished { end, attempts: self.attempts, elapsed: self.elapsed() });
    }

    #[cold]
    pub(super) fn fell_back(&mut self, cause: CallEnd) {
        self.surroundings.leave_retries();
        self.surroundings.in_span(|| self.core.fallback_used(cause, self.now));
    }

    /// What a fallback's future came to. One that did not finish in time leaves the call out of time.
    #[cold]
    pub(super) fn late_answer<T, E>(&mut self, ended: Ended<Result<T, Error<E>>>, text: Option<String>) -> Result<T, Error<E>> {
        let kind = match ended {
            Ended::Finished { output, .. } => return output,
            Ended::TimedOut => RejectedKind::DeadlineExceeded,
            Ended::NoRuntime => RejectedKind::NoRuntime,
        };
        self.now = Instant::now();
        Err(Error::Rejected(self.complete(Rejected::new(kind), text)))
    }
}

impl Drop for Story<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.told {
            self.broken_off();
        }
    }
}

impl Story<'_> {
    #[cold]
    fn broken_off(&mut self) {
        let panicked = match self.phase {
            Phase::Waiting | Phase::Running => self.surroundings.panicked(),
            Phase::Judging | Phase::Deciding => true,
        };
        // A call that was merely dropped is abandoned, which is what an unsettled permit says of itself. So is one whose judge
        // panicked, for that is no news about the dependency.
        if let (Some(permit), true) = (self.held.permit.take(), panicked && self.phase == Phase::Running) {
            permit.settle_in_drop(Outcome::Panicked);
        }
        if self.core.recorder.is_none() && self.core.emitter.is_idle() {
            return;
        }
        let (end, outcome) = if panicked { (CallEnd::Panicked, Outcome::Panicked) } else { (CallEnd::Abandoned, Outcome::Abandoned) };
        self.now = Instant::now();
        if matches!(self.phase, Phase::Running | Phase::Judging) {
            self.record_attempt(outcome);
        }
        if let Some(recorder) = &self.core.recorder {
            recorder.record_call(end, self.attempts, self.elapsed(), self.now);
        }
        // Observers are user code, which has no place in a drop: only the stream and `tracing` hear of it.
        let finished = || Event::CallFinished { end, attempts: self.attempts, elapsed: self.elapsed() };
        self.surroundings.in_span(|| self.core.emitter.emit_unobserved(finished));
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
    #[cold]
    pub(super) fn fallback_used(&self, cause: CallEnd, now: Instant) {
        if let Some(recorder) = &self.recorder {
            recorder.record_fallback(now);
        }
        self.emitter.emit(|| Event::FallbackUsed { cause });
    }
}
