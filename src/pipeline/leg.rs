//! One leg of an attempt: what it holds, what it asks the gates, and how it is settled with them. An attempt has one leg, unless it is hedged.

use super::Options;
use super::story::Story;
use super::waiting::{Door, Entered, Waiting, own_gates};
use crate::admission::{AdaptivePermit, BulkheadPermit, CircuitPermit, Entry, KeyPermit, Pass, Reservation, ThrottlePermit};
use crate::call::{Attempt, Call};
use crate::execution::Until;
use crate::observation::Event;
use crate::outcome::{Outcome, Rejected, RejectedKind, Verdict};
use crate::time;
use tokio::time::Instant;

/// One way through the gates to the operation, whose future is in the [`Run`](super::run::Run), since that has a type of its own.
#[repr(C)]
pub(super) struct Leg<'c> {
    pub(super) held: Held<'c>,
    /// Where it waits, if a gate made it wait.
    pub(super) waiting: Option<Box<Waiting<'c>>>,
    /// The attempt that it belongs to: 1 for the first, also when a gate refuses it.
    pub(super) number: u32,
    /// Which leg of the attempt it is: 0 for the first.
    pub(super) index: u16,
    /// The gates that it has passed.
    pub(super) passed: Gates,
    pub(super) phase: Phase,
}

impl Leg<'_> {
    /// How every leg begins. Its beginning in time is with the other clock readings of the [`Story`]: a value that is constant as a whole is
    /// written in place.
    pub(super) const FIRST: Self =
        Self { held: Held::NOTHING, waiting: None, number: 1, index: 0, passed: Gates::None, phase: Phase::Waiting };
}

/// What goes on, for the books of a call that is dropped untold: user code that runs where nothing is awaited must have panicked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// No attempt is under way: at the gates, in a queue, in a pause.
    Waiting,
    Running,
    /// The operation has answered, and its attempt is not yet in the books: the judge is asked, and everyone is told.
    Judging,
    /// The attempt is in the books, and what comes of it is not decided.
    Deciding,
    /// Nothing: one leg of several that has ended while others go on.
    Over,
}

/// What a leg holds. Dropped unsettled (the call was cancelled, or user code panicked) it gives everything back.
#[repr(C)]
pub(super) struct Held<'c> {
    pub(super) throttle: Option<ThrottlePermit<'c>>,
    pub(super) key: KeyPermit<'c>,
    pub(super) place: Option<BulkheadPermit<'c>>,
    pub(super) slot: Option<AdaptivePermit<'c>>,
    pub(super) passes: Option<Box<Passes<'c>>>,
    pub(super) permit: Option<CircuitPermit<'c>>,
}

impl Held<'_> {
    pub(super) const NOTHING: Self = Self { throttle: None, key: KeyPermit::FREE, place: None, slot: None, passes: None, permit: None };

    /// Given back before the operation was asked: a probe of the throttle goes to the next call. For a drop, too.
    #[cold]
    pub(super) fn unused(&mut self, now: Instant) {
        let Self { throttle, .. } = std::mem::replace(self, Self::NOTHING);
        if let Some(permit) = throttle {
            permit.settle_at(Outcome::NotAttempted, now);
        }
    }

    /// The operation panicked. For a drop: calls no user code, so the caller's own gates only hear that it was abandoned.
    #[cold]
    pub(super) fn panicked(&mut self, now: Instant) {
        if let Some(permit) = self.permit.take() {
            permit.settle_in_drop(Outcome::Panicked);
        }
        if let Some(permit) = self.throttle.take() {
            permit.settle_at(Outcome::Panicked, now);
        }
        if let Some(slot) = self.slot.take() {
            slot.settle_at(Outcome::Panicked, now);
        }
        if let Some(permit) = self.key.take() {
            permit.settle_in_drop(Outcome::Panicked);
        }
    }
}

pub(super) type Passes<'c> = Vec<Box<dyn Pass + 'c>>;

/// The gates that may make an attempt wait, in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gates {
    None,
    PerKey,
    RateLimit,
    Bulkhead,
    AdaptiveLimit,
    Own,
}

impl Gates {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PerKey => "per_key",
            Self::RateLimit => "rate_limit",
            Self::Bulkhead => "bulkhead",
            Self::AdaptiveLimit => "adaptive_limit",
            Self::Own => "gate",
        }
    }
}

/// What the gates said.
pub(super) enum Admission<'c> {
    Granted,
    Wait(Box<Waiting<'c>>),
    Refused(Rejected),
}

impl<'c> Story<'c> {
    #[inline]
    pub(super) fn attempt(&self) -> Attempt {
        Attempt { number: self.leg.number, leg: self.leg.index.into(), started: self.began, deadline: self.surroundings.deadline() }
    }

    fn call(&self) -> Call<'c> {
        Call { attempt: self.attempt(), key: self.options.key, priority: self.options.priority, cost: self.options.cost }
    }

    // -------------------------------------------------------------- before the operation

    /// Look at the breaker > throttle > per key > rate limit > bulkhead > adaptive limit > your gates > the breaker's permit; from where the last wait ended, with what was
    /// reserved before it.
    pub(super) fn ask_gates(&mut self, mut reservation: Option<Reservation<'c>>) -> Admission<'c> {
        let core = self.core;
        if self.leg.passed == Gates::None {
            if let Some(breaker) = &core.policies.circuit_breaker
                && let Err(rejected) = breaker.refuse_at(self.began)
            {
                return Admission::Refused(rejected);
            }
            if let Some(throttle) = &core.policies.throttle {
                match throttle.try_acquire(self.options.priority, self.began) {
                    Ok(permit) => self.leg.held.throttle = Some(permit),
                    Err(rejected) => return Admission::Refused(rejected),
                }
            }
        }
        if let (Some(per_key), true, Some(_)) = (&core.policies.per_key, self.leg.passed < Gates::PerKey, self.options.key) {
            match per_key.enter(self.options.key, self.options.cost, self.began, || self.call()) {
                Entry::Granted(permit) => self.leg.held.key = permit,
                Entry::Refused(rejected) => return self.refused(rejected),
                Entry::Wait(waiter) => return Waiting::at(Door::PerKey(Box::pin(waiter)), None),
            }
        }
        if let (Some(limiter), true) = (&core.policies.rate_limit, self.leg.passed < Gates::RateLimit) {
            // Two branches that each keep what they have: one value for both would be copied, which costs more than the check.
            let Options { cost, priority, .. } = *self.options;
            if let Some(granted) = limiter.pass(cost, priority, self.began) {
                reservation = Some(granted);
            } else {
                match limiter.enter(cost, priority, self.began, || self.call()) {
                    Entry::Granted(granted) => reservation = Some(granted),
                    Entry::Refused(rejected) => return self.refused(rejected),
                    Entry::Wait(waiter) => return Waiting::at(Door::RateLimit(Box::pin(waiter)), None),
                }
            }
        }
        if let (Some(bulkhead), true) = (&core.policies.bulkhead, self.leg.passed < Gates::Bulkhead) {
            match bulkhead.enter(|| self.call()) {
                Entry::Granted(place) => self.leg.held.place = Some(place),
                Entry::Refused(rejected) => return self.refused(rejected),
                Entry::Wait(waiter) => return Waiting::at(Door::Bulkhead(Box::pin(waiter)), reservation),
            }
        }
        if let (Some(limit), true) = (&core.policies.adaptive_limit, self.leg.passed < Gates::AdaptiveLimit) {
            match limit.enter(self.began, || self.call()) {
                Entry::Granted(slot) => self.leg.held.slot = Some(slot),
                Entry::Refused(rejected) => return self.refused(rejected),
                Entry::Wait(waiter) => return Waiting::at(Door::AdaptiveLimit(Box::pin(waiter)), reservation),
            }
        }
        if !core.gates.is_empty() && self.leg.passed < Gates::Own {
            let asked = Box::pin(Until::new(own_gates(core, self.call())));
            return Waiting::at(Door::Own(asked), reservation);
        }
        if let Some(breaker) = &core.policies.circuit_breaker {
            // As above.
            if let Some(permit) = breaker.pass_at(self.began) {
                self.leg.held.permit = Some(permit);
            } else {
                match breaker.enter(self.began) {
                    Ok(permit) => self.leg.held.permit = Some(permit),
                    Err(rejected) => return self.refused(rejected),
                }
            }
        }
        // All gates are passed: what was reserved is used.
        if let Some(reservation) = reservation {
            reservation.keep();
        }
        self.leg.held.key.used(self.began);
        if let (Some(slot), Gates::Own) = (&mut self.leg.held.slot, self.leg.passed) {
            slot.begins(self.began);
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
        self.leg.passed = gate;
        let waited = self.now.saturating_duration_since(before);
        if !waited.is_zero() {
            self.emit(|| Event::Waited { policy: gate.name(), waited });
        }
        match entered {
            Ok(Entered::Key(permit)) => self.leg.held.key = permit.reserved(),
            Ok(Entered::Units(units)) => reservation = Some(units),
            Ok(Entered::Place(place)) => self.leg.held.place = Some(place),
            Ok(Entered::Slot(slot)) => self.leg.held.slot = Some(slot),
            Ok(Entered::Passes(passes)) => self.leg.held.passes = Some(Box::new(passes)),
            Err(rejected) => return self.refused(rejected),
        }
        self.ask_gates(reservation)
    }

    #[cold]
    fn refused(&mut self, rejected: Rejected) -> Admission<'c> {
        let passes = self.leg.held.passes.take();
        self.leg.held.unused(self.began);
        passes.into_iter().flat_map(|passes| *passes).for_each(|pass| pass.settle(Outcome::NotAttempted));
        Admission::Refused(rejected)
    }

    // -------------------------------------------------------------- while it runs, and after

    /// When this leg must have ended.
    pub(super) fn attempt_limit(&self) -> Option<Instant> {
        let own = self.core.attempt_timeout.and_then(|limit| time::after(self.began, limit));
        time::earlier(own, self.surroundings.deadline())
    }

    /// The operation answered; if `at_once`, no time passed that is worth a clock reading, unless somebody measures it.
    #[inline]
    pub(super) fn finished(&mut self, at_once: bool) {
        self.leg.phase = Phase::Judging;
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
        if let Some(permit) = self.leg.held.permit.take() {
            permit.settle_at(outcome, self.now);
        }
        if let Some(permit) = self.leg.held.throttle.take() {
            permit.settle_at(outcome, self.now);
        }
        if let Some(passes) = self.leg.held.passes.take() {
            passes.into_iter().for_each(|pass| pass.settle(outcome));
        }
        if let Some(slot) = self.leg.held.slot.take() {
            slot.settle_at(outcome, self.now);
        }
        if let Some(permit) = self.leg.held.key.take() {
            permit.settle_at(outcome, self.now);
        }
        self.leg.held.place = None;
        if let Some(hedge) = &self.core.policies.hedge {
            hedge.record(outcome, self.now.saturating_duration_since(self.began));
        }
        if !outcome.is_success() {
            self.failed(outcome);
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.leg.phase = Phase::Deciding;
        if self.core.recorder.is_some() {
            self.untold_success = self.attempts == 1 && self.began == self.started;
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
        self.leg.phase = Phase::Deciding;
        self.record_attempt(outcome);
        if outcome != Outcome::NotAttempted {
            let (attempt, elapsed) = (self.leg.number, self.now.saturating_duration_since(self.began));
            self.emit(|| Event::AttemptFailed { attempt, outcome, elapsed });
        }
    }

    pub(super) fn record_attempt(&self, outcome: Outcome) {
        if let Some(recorder) = &self.core.recorder {
            recorder.record_attempt(outcome, self.now.saturating_duration_since(self.began), self.now);
        }
    }
}
