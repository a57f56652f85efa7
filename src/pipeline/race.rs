//! A hedged attempt: several legs that race each other. See [`hedge`](mod@crate::execution::hedge).
//!
//! One leg at a time is on turn: its state is where that of an attempt always is, in [`Story::leg`], and the others are parked here. So what a leg
//! does at the gates, while it runs and when it is settled knows nothing of the race; and what is on turn when user code panics is what panicked.
//! In a *round* (a poll of the call) every leg that is not over gets its turn, in their order, those just launched included.
//!
//! ```text
//! a leg is slow:    its timer rings at the *alarm* ──────────> [ launch the next, if it may be ] ──> and the round goes on
//! a leg failed:     and might have worked ───────────────────> [ launch the next, if it may be ] ──> and the round goes on
//!                       nothing was launched, and it was the last ─────────> the race is over: its failure is the attempt's
//! a leg succeeded, or failed for good ─────────────────────────────────────> the race is over: the others are dropped
//! ```
//!
//! The alarm is that of the newest leg, so the timer of its attempt timeout serves for both, and until a leg is launched nothing is allocated.

use super::Policies;
use super::leg::{Held, Leg, Phase};
use super::story::{Aside, Next, Said, Story};
use crate::admission::CircuitState;
use crate::execution::{Denied, Retry, has_runtime};
use crate::observation::Event;
use crate::outcome::{Outcome, Verdict};
use crate::time;
use std::time::Duration;
use tokio::time::Instant;

/// No alarm: there is no next leg, or none because of the time.
const NEVER: u64 = u64::MAX;
/// Nobody has asked yet when the alarm is to be.
pub(super) const UNASKED: u64 = u64::MAX - 1;

/// What a hedged attempt knows beyond what any attempt does.
pub(super) struct Race<'c> {
    /// Every leg that was launched; the place of the one on turn is empty.
    parked: Vec<Parked<'c>>,
    /// The last failure that says something of the dependency, or else the last.
    telling: Option<(Outcome, Said)>,
    /// How the leg ended that ended the race.
    pub(super) last: (Outcome, Said),
}

struct Parked<'c> {
    leg: Leg<'c>,
    began: Instant,
}

impl<'c> Story<'c> {
    /// Whether an attempt may have more than one leg.
    #[inline]
    pub(super) const fn hedges(&self) -> bool {
        self.core.policies.hedge.is_some()
    }

    /// Whether this attempt has more than one leg.
    #[inline]
    pub(super) const fn is_race(&self) -> bool {
        self.race.is_some()
    }

    /// The leg on turn.
    #[inline]
    pub(super) fn turn(&self) -> usize {
        usize::from(self.leg.index)
    }

    /// A round begins: the first leg that is not over is on turn.
    #[inline]
    pub(super) fn begin_round(&mut self) {
        if self.race.is_some() {
            let _ = self.pass_turn(0);
        }
    }

    /// The next leg that is not over is on turn; `false`: there is none, and the round is over.
    #[inline]
    pub(super) fn next_turn(&mut self) -> bool {
        self.race.is_some() && self.pass_turn(self.turn() + 1)
    }

    /// The first leg from this one on that is not over is on turn.
    #[cold]
    fn pass_turn(&mut self, first: usize) -> bool {
        let now = self.turn();
        let Some(race) = &mut self.race else { return false };
        let is_over = |n: usize| if n == now { self.leg.phase } else { race.parked[n].leg.phase } == Phase::Over;
        let Some(next) = (first..race.parked.len()).find(|n| !is_over(*n)) else { return false };
        if next != now {
            for place in [now, next] {
                let parked = &mut race.parked[place];
                std::mem::swap(&mut parked.leg, &mut self.leg);
                std::mem::swap(&mut parked.began, &mut self.began);
            }
        }
        true
    }

    /// How many legs the attempt has had so far.
    fn legs(&self) -> u16 {
        self.race.as_ref().map_or(1, |race| u16::try_from(race.parked.len()).unwrap_or(u16::MAX))
    }

    const fn is_newest(&self, legs: u16) -> bool {
        self.leg.index + 1 == legs
    }

    // -------------------------------------------------------------- a leg is slow

    /// Until when the leg on turn, which is not ready, is waited for: its limit, or the alarm.
    #[inline]
    pub(super) fn wakes_at(&mut self) -> Option<Instant> {
        let limit = self.attempt_limit();
        if self.alarm == NEVER { limit } else { self.wakes_for_alarm(limit) }
    }

    #[cold]
    fn wakes_for_alarm(&mut self, limit: Option<Instant>) -> Option<Instant> {
        let legs = self.legs();
        if !self.is_newest(legs) {
            return limit;
        }
        if self.alarm == UNASKED {
            // The delay may be the user's own function. When that panics, it is not the operation that panicked.
            let phase = std::mem::replace(&mut self.leg.phase, Phase::Judging);
            self.alarm = self.alarm_for(legs);
            self.leg.phase = phase;
        }
        time::earlier(limit, self.alarm_at())
    }

    fn alarm_for(&self, legs: u16) -> u64 {
        let Some(hedge) = &self.core.policies.hedge else { return NEVER };
        if u32::from(legs) > hedge.most(self.options.may_overlap()) || !has_runtime() {
            return NEVER;
        }
        let at = hedge.delay_before(legs.into(), self.began).and_then(|delay| time::after(self.began, delay));
        at.map_or(NEVER, |at| time::nanos_since(self.started, at))
    }

    pub(super) fn alarm_at(&self) -> Option<Instant> {
        (self.alarm < UNASKED).then(|| self.started + Duration::from_nanos(self.alarm))
    }

    /// Whether the timer that rang is the alarm, and not the limit of the leg on turn. It rings once.
    #[cold]
    pub(super) fn is_alarm(&mut self) -> bool {
        if self.alarm == NEVER {
            return false;
        }
        if !self.is_newest(self.legs()) {
            return false;
        }
        self.now = Instant::now();
        if self.attempt_limit().is_some_and(|limit| limit <= self.now) {
            return false;
        }
        self.alarm = NEVER;
        true
    }

    // -------------------------------------------------------------- another leg

    /// Launches the next leg, if there may be one. It gets its turn in this round.
    #[cold]
    pub(super) fn launch(&mut self, after_failure: bool) {
        let legs = self.legs();
        let Some(hedge) = &self.core.policies.hedge else { return };
        let most = hedge.most(self.options.may_overlap());
        if u32::from(legs) > most || self.surroundings.deadline().is_some_and(|deadline| deadline <= self.now) {
            return;
        }
        // As for the alarm: the delay may be asked for again.
        let phase = self.leg.phase;
        if phase == Phase::Running {
            self.leg.phase = Phase::Judging;
        }
        let denied = self.denied();
        self.leg.phase = phase;
        if let Some(why) = denied {
            hedge.denied(why);
            return;
        }
        hedge.launched(after_failure);
        let race = self.race.get_or_insert_with(|| {
            let mut parked = Vec::with_capacity(most as usize + 1);
            parked.push(Parked { leg: Leg::FIRST, began: self.began });
            Box::new(Race { parked, telling: None, last: (Outcome::Abandoned, Said::Answer) })
        });
        race.parked.push(Parked { leg: Leg { number: self.leg.number, index: legs, ..Leg::FIRST }, began: self.now });
        self.alarm = UNASKED;
        let after = self.now.saturating_duration_since(self.began);
        self.emit(|| Event::Hedged { leg: legs.into(), after });
    }

    /// What stands against another leg now. The budget comes last, so that no token is spent for nothing.
    fn denied(&self) -> Option<Denied> {
        let policies = &self.core.policies;
        let hedge = policies.hedge.as_ref()?;
        let closed = |state| matches!(state, CircuitState::Closed | CircuitState::Disabled | CircuitState::MetricsOnly);
        if policies.circuit_breaker.as_ref().is_some_and(|breaker| !closed(breaker.state())) {
            return Some(Denied::Breaker);
        }
        if policies.per_key.as_ref().is_some_and(|per_key| !per_key.is_closed_at(self.options.key, self.now)) {
            return Some(Denied::Breaker);
        }
        if let Some(deadline) = self.surroundings.deadline() {
            let left = deadline.saturating_duration_since(self.now);
            if left < hedge.needs(self.legs().into(), self.now) {
                return Some(Denied::Deadline);
            }
        }
        let retries = policies.retry.as_ref().map(Retry::budget);
        (!hedge.pay(retries, self.now)).then_some(Denied::Budget)
    }

    // -------------------------------------------------------------- a leg is over

    /// The leg on turn is over, without an answer, and was settled. Does the race go on?
    #[cold]
    pub(super) fn leg_over(&mut self, outcome: Outcome, said: &Said) -> bool {
        self.unpay_leg();
        let might_have_worked = match outcome {
            Outcome::Judged(Verdict::Transient { retry_after }) => retry_after.is_none(),
            Outcome::TimedOut => true,
            Outcome::NotAttempted => false,
            _ => return false, // another leg would not mend it
        };
        if might_have_worked {
            self.launch(true);
        }
        let turn = self.turn();
        let Some(race) = &mut self.race else { return false };
        let goes_on = |(place, parked): (usize, &Parked<'_>)| place != turn && parked.leg.phase != Phase::Over;
        if !race.parked.iter().enumerate().any(goes_on) {
            return false; // what was just launched would go on
        }
        self.leg.phase = Phase::Over;
        if outcome != Outcome::NotAttempted || race.telling.is_none() {
            race.telling = Some((outcome, said.clone()));
        }
        true
    }

    /// The race is over. The operations of the legs that lost are gone; now go their permits, and they are entered in the books.
    /// When the last leg was merely refused, the most telling failure of those before it is given. That may be an answer which is gone: see [`Run`](super::run::Run).
    #[cold]
    pub(super) fn race_over(&mut self, is_answer: bool, aside: &mut Aside) -> Next {
        self.drop_losers();
        let Some(race) = self.race.take() else { return Next::Pend }; // only a race is over
        let (mut outcome, mut said) = race.last;
        if let (true, Some(hedge), 1..) = (outcome.is_success(), &self.core.policies.hedge, self.leg.index) {
            hedge.won();
        }
        // The first leg began, so the attempt did, whoever is the last.
        (self.leg.index, self.leg.phase) = (0, Phase::Deciding);
        if let (Outcome::NotAttempted, Some((telling, told))) = (outcome, race.telling)
            && telling != Outcome::NotAttempted
        {
            outcome = telling;
            said = match told {
                Said::Answer if is_answer => told,
                Said::Answer => said,
                told => told,
            };
        }
        self.decided(outcome, said, aside)
    }

    /// The token of the leg on turn goes back if it was launched beside the first and never began: refused at a gate, or still in line.
    #[cold]
    pub(super) fn unpay_leg(&self) {
        let Policies { hedge, retry, .. } = &self.core.policies;
        if let (Some(hedge), Phase::Waiting, 1..) = (hedge, self.leg.phase, self.leg.index) {
            hedge.unpay(retry.as_ref().map(Retry::budget));
        }
    }

    /// Gives back what the legs that are not on turn hold, and enters them in the books: nobody saw how they would have ended.
    pub(super) fn drop_losers(&mut self) {
        let Some(race) = &mut self.race else { return };
        let turn = usize::from(self.leg.index);
        for (place, parked) in race.parked.iter_mut().enumerate() {
            if place == turn {
                continue;
            }
            let Policies { hedge, retry, .. } = &self.core.policies;
            parked.leg.waiting = None;
            if let (Some(hedge), Phase::Waiting) = (hedge, parked.leg.phase) {
                // Not the first, or there would be no race.
                parked.leg.held.unused(self.now);
                hedge.unpay(retry.as_ref().map(Retry::budget));
            }
            parked.leg.held = Held::NOTHING;
            if std::mem::replace(&mut parked.leg.phase, Phase::Over) != Phase::Running {
                continue;
            }
            let lasted = self.now.saturating_duration_since(parked.began);
            if let Some(recorder) = &self.core.recorder {
                recorder.record_attempt(Outcome::Abandoned, lasted, self.now);
            }
            if let Some(hedge) = hedge {
                hedge.record(Outcome::Abandoned, lasted);
            }
        }
    }
}
