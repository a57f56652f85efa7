//! What is known of one call: how it begins, what follows an attempt that failed, and how it is entered in the books. What each of its legs holds,
//! and asks the gates, is in [`leg`](super::leg).

use super::leg::{Gates, Leg, Phase};
use super::race::{Race, UNASKED};
use super::{Core, Options, Policies};
use crate::classify::Judge;
use crate::execution::{Ended, Nesting, Retry, RetryState, StopReason, Surroundings};
use crate::observation::{CallEnd, Event, call_span};
use crate::outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
use crate::time;
use std::time::Duration;
use tokio::time::Instant;

/// One call: its facts, and its leg under way. Dropped untold, it was abandoned, or its operation panicked.
///
/// In this order no padding comes before what begins as a constant; that would make the beginning of each call a slow copy.
#[repr(C)]
pub(super) struct Story<'c> {
    pub(super) leg: Leg<'c>,
    pub(super) surroundings: Surroundings,
    /// The clock reading at which the call began.
    pub(super) started: Instant,
    /// The clock reading at which the leg began, shared by every policy.
    pub(super) began: Instant,
    /// The latest clock reading.
    pub(super) now: Instant,
    pub(super) core: &'c Core,
    pub(super) options: &'c Options<'c>,
    /// The other legs of the attempt, if there are any.
    pub(super) race: Option<Box<Race<'c>>>,
    /// When the next leg is launched beside this one, in nanoseconds since the call began.
    pub(super) alarm: u64,
    /// Means something only where there is a retry policy.
    pub(super) retry: RetryState,
    /// How many times the operation was started.
    pub(super) attempts: u32,
    told: bool,
    /// The commonest story (one attempt, no wait, and it went well) is told in one entry, at its end.
    pub(super) untold_success: bool,
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
        if let Some(hedge) = &core.policies.hedge {
            hedge.join(core.policies.retry.as_ref().map(Retry::budget));
        }
        Self {
            leg: Leg::FIRST,
            core,
            options,
            surroundings: Surroundings::new(outer.deeper(deadline, core.policies.retry.as_ref().is_some_and(Retry::is_on)), span),
            started: now,
            began: now,
            now,
            retry: RetryState::new(core.policies.retry.as_ref().is_some_and(|retry| retry.join(outer.retries))),
            race: None,
            alarm: UNASKED,
            attempts: 0,
            told: false,
            untold_success: false,
        }
    }

    /// Tells an event, if anybody listens, as part of the call.
    #[inline]
    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        let emitter = &self.core.emitter;
        if !emitter.is_idle() {
            self.surroundings.in_span(|| emitter.emit(event));
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.started)
    }

    #[inline]
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    // -------------------------------------------------------------- between attempts

    #[cold]
    pub(super) fn decide(&mut self, rejected: Option<&Rejected>, outcome: Outcome) -> Again {
        self.unpay_attempt();
        self.leg.phase = Phase::Deciding;
        let Some(retry) = &self.core.policies.retry else { return Again::No };
        let (attempt, now) = (self.leg.number, self.now);
        // Sleeping towards a breaker that will still be open is a wait for nothing.
        let Policies { circuit_breaker, per_key, .. } = &self.core.policies;
        let open = |wake| {
            circuit_breaker.as_ref().is_some_and(|breaker| breaker.check_at(wake).is_err())
                || per_key.as_ref().is_some_and(|per_key| per_key.is_open_at(self.options.key, wake))
        };
        let seen = self.options.for_retry(outcome);
        match retry.next_delay_unless(&open, &mut self.retry, seen, rejected, now, self.surroundings.deadline()) {
            Ok(delay) => {
                self.leg.phase = Phase::Waiting;
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

    /// The token of a retry that never began goes back: a gate refused it, or the call was dropped in the pause or in line.
    fn unpay_attempt(&self) {
        if self.leg.phase == Phase::Waiting
            && self.race.is_none()
            && self.retry.retries() > 0
            && let Some(retry) = &self.core.policies.retry
        {
            retry.budget().give_back();
        }
    }

    pub(super) fn next_attempt(&mut self) {
        self.leg.number = self.leg.number.saturating_add(1);
        self.leg.passed = Gates::None;
        self.alarm = UNASKED;
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
        match result {
            Ok(_) => self.end(true, None, outcome),
            Err(Error::Inner(_)) => self.end(false, None, outcome),
            Err(Error::Rejected(rejected)) => {
                let error = match last_error {
                    // A retry that our own gate refused is no news about the dependency; its last error is.
                    Some(error) if rejected.is_refusal() => {
                        self.end(false, None, outcome);
                        Error::Inner(error)
                    }
                    Some(error) => Error::Rejected(self.end_rejected(rejected, judge.text(&self.core.judges, &error), outcome)),
                    None => Error::Rejected(self.end_rejected(rejected, None, outcome)),
                };
                return Err(error);
            }
        }
        result
    }

    fn end_rejected(&mut self, rejected: Rejected, last_error: Option<String>, outcome: Outcome) -> Rejected {
        let rejected = self.complete(rejected, last_error);
        self.end(false, Some(&rejected), outcome);
        rejected
    }

    /// `is_value`: the call ends with a value; otherwise with a rejection, or with the operation's own error.
    fn end(&mut self, is_value: bool, rejected: Option<&Rejected>, outcome: Outcome) {
        // An error that was judged a success is one; so is a value, unless it was judged a failure.
        let end = match rejected {
            _ if outcome.is_success() || (is_value && !outcome.is_failure()) => CallEnd::Success,
            Some(rejected) => CallEnd::Rejected(rejected.kind()),
            None => CallEnd::Failure,
        };
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
        let panicked = match self.leg.phase {
            Phase::Waiting | Phase::Running | Phase::Over => self.surroundings.panicked(),
            Phase::Judging | Phase::Deciding => true,
        };
        // A call that was merely dropped is abandoned, which is what an unsettled permit says of itself. So is one whose judge
        // panicked, for that is no news about the dependency.
        match self.leg.phase {
            Phase::Running if panicked => self.leg.held.panicked(Instant::now()),
            Phase::Waiting => self.leg.held.unused(self.now),
            _ => {}
        }
        self.unpay_leg();
        self.unpay_attempt();
        let Core { recorder, emitter, policies, .. } = self.core;
        if recorder.is_none() && emitter.is_idle() && policies.hedge.is_none() {
            return;
        }
        let (end, outcome) = if panicked { (CallEnd::Panicked, Outcome::Panicked) } else { (CallEnd::Abandoned, Outcome::Abandoned) };
        self.now = Instant::now();
        if matches!(self.leg.phase, Phase::Running | Phase::Judging) {
            self.record_attempt(outcome);
            if let Some(hedge) = &policies.hedge {
                hedge.record(outcome, self.now.saturating_duration_since(self.began));
            }
        }
        self.drop_losers();
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
    /// Tells of a call that has no story of its own, as part of that call.
    #[cold]
    pub(super) fn in_span(&self, tell: impl FnOnce()) {
        if self.spans { call_span(&self.name, None).in_scope(tell) } else { tell() }
    }

    #[cold]
    pub(super) fn fallback_used(&self, cause: CallEnd, now: Instant) {
        if let Some(recorder) = &self.recorder {
            recorder.record_fallback(now);
        }
        self.emitter.emit(|| Event::FallbackUsed { cause });
    }
}
