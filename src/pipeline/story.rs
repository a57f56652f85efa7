//! What is known of one call: how it begins, what follows an attempt that failed, and how it is entered in the books. What each of its legs holds,
//! and asks the gates, is in [`leg`](super::leg).

use super::leg::{Admission, Gates, Leg, Phase};
use super::race::{Race, UNASKED};
use super::{Core, Options, Policies};
use crate::call::polled_again;
use crate::execution::{Countdown, Ended, Nesting, Retry, RetryState, StopReason, Surroundings, has_runtime};
use crate::observation::{CallEnd, Event, call_span};
use crate::outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
use crate::time;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
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
    /// When the next leg is launched beside this one, or the pause ends, in nanoseconds since the call began.
    pub(super) alarm: u64,
    /// Means something only where there is a retry policy.
    pub(super) retry: RetryState,
    /// How many times the operation was started.
    pub(super) attempts: u32,
    pause: Pause,
    told: bool,
    /// Whether an error of the operation is kept.
    has_error: bool,
    /// The commonest story (one attempt, no wait, and it went well) is told in one entry, at its end.
    pub(super) untold_success: bool,
}

/// What the part of a call that has types of its own does next. A rejection that belongs to it is put aside, into a place that lasts as long as
/// one poll: every call would carry it, and it is large.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Asks the story what it is.
    Go,
    /// Begins the operation of the leg on turn, and polls it.
    Start,
    /// Polls the operation of the leg on turn.
    Poll,
    /// Nothing, until it is woken.
    Pend,
    /// Drops the operation of the leg on turn, which is out of time; why, is put aside.
    Stop,
    /// Drops the operations of all legs.
    DropLegs,
    /// Gives the last answer.
    Answer,
    /// Gives the last error.
    Error,
    /// Gives the rejection that was put aside, with a quote of the last error.
    Reject,
}

/// What a leg ended with. Answers and errors have types of their own, and so are kept elsewhere.
#[derive(Clone)]
pub(super) enum Said {
    Answer,
    Error,
    Rejected(Rejected),
}

/// Where a rejection is put until the end of a poll.
pub(super) type Aside = Option<Rejected>;

/// What comes before an attempt that is not the first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    None,
    /// No pause between attempts must not mean no turn for anybody else on this thread.
    Turn,
    /// Until the alarm.
    Alarm,
}

impl<'c> Story<'c> {
    /// Begins in its place: a story is large, and not to be moved.
    pub(super) fn begin<'a>(place: &'a mut Option<Self>, core: &'c Core, options: &'c Options<'c>) -> &'a mut Self {
        let now = Instant::now();
        let outer = Nesting::current();
        let deadline = options.deadline_of(core.total_timeout, now);
        let span = if core.spans { Some(call_span(&core.name, options.key.filter(|_| core.log_keys))) } else { None };
        if let Some(hedge) = &core.policies.hedge {
            hedge.join(core.policies.retry.as_ref().map(Retry::budget));
        }
        place.insert(Self {
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
            pause: Pause::None,
            attempts: 0,
            told: false,
            has_error: false,
            untold_success: false,
        })
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

    // -------------------------------------------------------------- step by step

    /// What comes next, when no operation has anything to say.
    pub(super) fn step(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Countdown>, aside: &mut Aside) -> Next {
        match self.leg.phase {
            Phase::Waiting => {}
            Phase::Running => return Next::Poll,
            Phase::Over => return self.turn_over(),
            Phase::Judging | Phase::Deciding => polled_again(),
        }
        if self.pause != Pause::None && self.poll_pause(cx, timer).is_pending() {
            return Next::Pend;
        }
        let admission = match self.leg.waiting.take() {
            None => self.ask_gates(None),
            Some(mut waiting) => match waiting.poll(cx, self) {
                Poll::Ready(admission) => admission,
                Poll::Pending => {
                    self.leg.waiting = Some(waiting);
                    return self.turn_over();
                }
            },
        };
        match admission {
            Admission::Granted => {
                self.attempts = self.attempts.saturating_add(1);
                self.leg.phase = Phase::Running;
                Next::Start
            }
            Admission::Wait(waiting) => {
                self.leg.waiting = Some(waiting);
                Next::Go
            }
            Admission::Refused(rejected) => self.rejected(rejected, aside),
        }
    }

    #[cold]
    fn poll_pause(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Countdown>) -> Poll<()> {
        match self.pause {
            Pause::Alarm => {
                // Without a runtime there would be no pause.
                let _ = ready!(timer.wait(cx, self.alarm_at()));
            }
            Pause::Turn | Pause::None => ready!(pin!(tokio::task::coop::consume_budget()).poll(cx)),
        }
        self.pause = Pause::None;
        self.leg.number = self.leg.number.saturating_add(1);
        self.leg.passed = Gates::None;
        self.alarm = UNASKED;
        self.now = Instant::now();
        self.began = self.now;
        Poll::Ready(())
    }

    /// The leg on turn has to wait, or is over. Is it another's turn?
    fn turn_over(&mut self) -> Next {
        if self.next_turn() { Next::Go } else { Next::Pend }
    }

    /// The operation of the leg on turn did not finish.
    pub(super) fn unfinished(&mut self, cx: &mut Context<'_>, timer: Pin<&mut Countdown>, aside: &mut Aside) -> Next {
        let in_time = match timer.wait(cx, self.wakes_at()) {
            Poll::Pending => return self.turn_over(),
            Poll::Ready(in_time) => in_time,
        };
        if in_time && self.is_alarm() {
            self.launch(false);
            return Next::Poll;
        }
        *aside = Some(if in_time { self.timed_out() } else { self.no_runtime() });
        Next::Stop
    }

    /// The operation of the leg on turn is gone, out of time.
    #[cold]
    pub(super) fn stopped(&mut self, aside: &mut Aside) -> Next {
        let rejected = aside.take().unwrap_or_else(|| Rejected::new(RejectedKind::Timeout)); // why it was stopped is put aside
        self.rejected(rejected, aside)
    }

    /// The operation of the leg on turn answered, and was judged.
    pub(super) fn answered(&mut self, verdict: Verdict, is_error: bool, aside: &mut Aside) -> Next {
        let outcome = Outcome::Judged(verdict);
        self.settle(outcome);
        if outcome.is_success() && !is_error && !self.is_race() {
            self.succeeded();
            self.tell(CallEnd::Success);
            return Next::Answer;
        }
        self.has_error |= is_error;
        self.leg_ended(outcome, if is_error { Said::Error } else { Said::Answer }, aside)
    }

    /// A gate refused the leg on turn, a pipeline that is its operation rejected it, or it was stopped.
    #[cold]
    pub(super) fn rejected(&mut self, rejected: Rejected, aside: &mut Aside) -> Next {
        let outcome = rejected.outcome();
        if self.leg.phase != Phase::Waiting {
            self.settle(outcome);
        }
        self.leg_ended(outcome, Said::Rejected(rejected), aside)
    }

    /// A leg is over. Does the race go on, if it is one?
    #[cold]
    fn leg_ended(&mut self, outcome: Outcome, said: Said, aside: &mut Aside) -> Next {
        if self.hedges() && self.leg_over(outcome, &said) {
            return self.turn_over();
        }
        if let Some(race) = &mut self.race {
            race.last = (outcome, said);
            return Next::DropLegs;
        }
        self.decided(outcome, said, aside)
    }

    /// An attempt is over. Is there another?
    pub(super) fn decided(&mut self, outcome: Outcome, said: Said, aside: &mut Aside) -> Next {
        match self.decide(outcome, &said) {
            Some(Pause::Alarm) if !has_runtime() => {
                let rejected = self.no_runtime();
                self.conclude(rejected.outcome(), Said::Rejected(rejected), aside)
            }
            Some(pause) => {
                self.pause = pause;
                Next::Go
            }
            None => self.conclude(outcome, said, aside),
        }
    }

    fn decide(&mut self, outcome: Outcome, said: &Said) -> Option<Pause> {
        self.unpay_attempt();
        self.leg.phase = Phase::Deciding;
        let retry = self.core.policies.retry.as_ref()?;
        let (attempt, now) = (self.leg.number, self.now);
        // Sleeping towards a breaker that will still be open is a wait for nothing.
        let Policies { circuit_breaker, per_key, .. } = &self.core.policies;
        let open = |wake| {
            circuit_breaker.as_ref().is_some_and(|breaker| breaker.check_at(wake).is_err())
                || per_key.as_ref().is_some_and(|per_key| per_key.is_open_at(self.options.key, wake))
        };
        let seen = self.options.for_retry(outcome);
        let rejected = match said {
            Said::Rejected(rejected) => Some(rejected),
            Said::Answer | Said::Error => None,
        };
        match retry.next_delay_unless(&open, &mut self.retry, seen, rejected, now, self.surroundings.deadline()) {
            Ok(delay) => {
                self.leg.phase = Phase::Waiting;
                self.emit(|| Event::Retrying { attempt, delay, cause: outcome });
                if delay.is_zero() {
                    return Some(Pause::Turn);
                }
                self.alarm = time::nanos_since(self.started, now).saturating_add(time::nanos(delay));
                Some(Pause::Alarm)
            }
            Err(reason) => {
                // What would not have been retried anyway was not stopped.
                if reason != StopReason::NotRetryable && (outcome != Outcome::NotAttempted || self.attempts > 0) {
                    self.emit(|| Event::RetryStopped { attempts: self.attempts, reason: reason.as_str() });
                }
                None
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

    // -------------------------------------------------------------- the end

    /// What the caller gets in the end, unless a fallback answers.
    fn conclude(&mut self, outcome: Outcome, said: Said, aside: &mut Aside) -> Next {
        match said {
            Said::Answer => {
                self.end(true, None, outcome);
                Next::Answer
            }
            // A retry that our own gate refused is no news about the dependency; its last error is.
            Said::Rejected(rejected) if !(self.has_error && rejected.is_refusal()) => {
                *aside = Some(rejected);
                Next::Reject
            }
            Said::Error | Said::Rejected(_) => {
                self.end(false, None, outcome);
                Next::Error
            }
        }
    }

    /// The rejection that the call ends with.
    #[cold]
    pub(super) fn reject(&mut self, aside: Aside, last_error: Option<String>) -> Rejected {
        let rejected = aside.unwrap_or_else(|| Rejected::new(RejectedKind::DeadlineExceeded)); // what it ends with is put aside
        let outcome = rejected.outcome();
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
            Ended::Finished(output) => return output,
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
        self.leg.waiting = None;
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
