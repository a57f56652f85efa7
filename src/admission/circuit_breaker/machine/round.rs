//! The half-open round: its probes, their leases, and the decision.

use super::{CLOSED, HALF_OPEN, ISOLATED, KIND_MASK, Machine, NEVER, OPEN, RAMPING, Refusal, Ticket, Weight, nanos_or_never};
use super::{Core, Counts, TransitionCause};
use crate::admission::circuit_breaker::events::CircuitState;
use crate::outcome::Outcome;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use std::time::Duration;
use tokio::time::Instant;

/// Fewer refusals further in than this say nothing about the round (a lone probe is refused once, and the next one goes).
const REFUSALS: u32 = 3;

/// A probe that is out.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) ticket: u64,
    pub(super) lease_ends: u64,
}

/// One half-open round.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) out: Vec<Probe>,
    pub(super) counts: Counts,
    /// Places refused further in, one after the other.
    pub(super) refusals: u32,
    /// When it has lasted too long, in nanoseconds.
    pub(super) ends: u64,
}

impl Machine {
    /// A round may have run out of time although a place is free; then the circuit is as good as open.
    #[cold]
    pub(super) fn look_at_round(&self, nanos: u64) -> Result<(), Refusal> {
        match self.effective(&lock(&self.core), nanos) {
            (CircuitState::Open, wait) => Err(self.refusal(wait.map_or(NEVER, |wait| nanos.saturating_add(wait)), nanos)),
            _ => Ok(()),
        }
    }

    #[cold]
    pub(super) fn enter_locked(&self, now: Instant, nanos: u64) -> Result<Ticket, Refusal> {
        let mut core = lock(&self.core);
        self.heal_clock(&mut core, nanos);
        self.end_long_round(&mut core, now, nanos);
        let until = self.face.until.load(Ordering::Relaxed);
        let mut word = self.face.word.load(Ordering::Relaxed);
        match word & KIND_MASK {
            OPEN if nanos < until => return Err(self.refusal(until, nanos)),
            OPEN => {
                let refused_so_far = core.decided_on;
                self.change(&mut core, HALF_OPEN, TransitionCause::OpenTimeOver, refused_so_far, now, None);
                word = self.face.word.load(Ordering::Relaxed);
            }
            HALF_OPEN => {}
            ISOLATED => return Err(Refusal(NEVER)),
            // It closed a moment ago, and warms up.
            RAMPING => {
                drop(core);
                return self.climb(word, nanos);
            }
            _ => return Ok(Ticket { word, probe: 0 }),
        }
        core.round.out.retain(|probe| probe.lease_ends > nanos);
        if self.places(&core.round) == 0 {
            self.publish_places(&core);
            return Err(self.refusal(self.face.until.load(Ordering::Relaxed), nanos));
        }
        let ticket = core.next_ticket;
        core.next_ticket += 1;
        core.round.out.push(Probe { ticket, lease_ends: nanos.saturating_add(self.rules().lease) });
        self.publish_places(&core);
        Ok(Ticket { word, probe: ticket })
    }

    /// How many more probes this round may have.
    fn places(&self, round: &Round) -> u64 {
        u64::from(self.rules().config.probes).saturating_sub(round.out.len() as u64).saturating_sub(round.counts.calls)
    }

    /// Tells the lock-free paths until when the round has no place.
    pub(super) fn publish_places(&self, core: &Core) {
        let earliest = || core.round.out.iter().map(|probe| probe.lease_ends).min().unwrap_or(0).min(core.round.ends);
        let until = if self.places(&core.round) > 0 { 0 } else { earliest() };
        self.face.until.store(until, Ordering::Release);
    }

    /// A wait longer than any that was ever granted: the clock went back. The wait begins again, so nobody waits longer than twice.
    fn heal_clock(&self, core: &mut Core, nanos: u64) {
        let word = self.face.word.load(Ordering::Relaxed);
        match word & KIND_MASK {
            OPEN => {
                let until = self.face.until.load(Ordering::Relaxed);
                if until != NEVER && until.saturating_sub(nanos) > core.open_time {
                    self.face.until.store(nanos.saturating_add(core.open_time), Ordering::Release);
                }
            }
            HALF_OPEN => {
                let latest = nanos.saturating_add(self.rules().lease);
                core.round.out.iter_mut().for_each(|probe| probe.lease_ends = probe.lease_ends.min(latest));
                core.round.ends = core.round.ends.min(self.round_ends(nanos));
                self.publish_places(core);
            }
            _ => {}
        }
    }

    pub(super) fn round_ends(&self, nanos: u64) -> u64 {
        self.rules().config.half_open_for.map_or(NEVER, |time| nanos.saturating_add(nanos_or_never(time)))
    }

    /// Opens again when a round ran out of time, as of the moment it did.
    pub(super) fn end_long_round(&self, core: &mut Core, now: Instant, nanos: u64) {
        let half_open = self.face.word.load(Ordering::Relaxed) & KIND_MASK == HALF_OPEN;
        if half_open && nanos >= core.round.ends {
            let ended = core.round.ends;
            let counts = core.round.counts;
            self.change(core, OPEN, TransitionCause::HalfOpenTooLong, counts, now, None);
            if core.open_time != NEVER {
                self.face.until.store(ended.saturating_add(core.open_time), Ordering::Release);
            }
        }
    }

    /// The outcome of a probe. Without `now` (a permit dropped where nobody needs the time) it only gives its place back.
    pub(super) fn settle_probe(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        started: Option<Instant>,
        now: Option<Instant>,
        may_call_user: bool,
    ) {
        self.settle_probe_locked(ticket, outcome, started, now, may_call_user);
        self.outbox.flush_from(may_call_user);
    }

    fn settle_probe_locked(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: Option<Instant>, may_call_user: bool) {
        let weight = now.and_then(|now| self.weigh(outcome, started, now));
        let mut core = lock(&self.core);
        if let Some(now) = now {
            let nanos = self.nanos(now);
            self.end_long_round(&mut core, now, nanos);
        }
        let mut chosen = None;
        if matches!(weight, Some(Weight::Bad { .. })) && self.rules().config.open_for_fn.is_some() && self.decides(&core, ticket) {
            let facts = add(core.round.counts, Weight::Bad { failure: true, slow: false });
            let failed_rounds = core.failed_rounds.saturating_add(1);
            drop(core);
            chosen = self.choose_open_time(facts, failed_rounds, may_call_user);
            core = lock(&self.core);
        }
        let place = core.round.out.iter().position(|probe| probe.ticket == ticket.probe);
        let (Some(place), true) = (place, self.face.word.load(Ordering::Relaxed) == ticket.word) else {
            drop(core);
            return if weight.is_some() {
                self.count_stale()
            };
        };
        let lease_ends = core.round.out.swap_remove(place).lease_ends;
        match (weight, now) {
            (Some(_), Some(now)) if self.nanos(now) >= lease_ends => {
                self.count_stale();
            }
            (Some(weight), Some(now)) => {
                core.round.refusals = 0;
                core.round.counts = add(core.round.counts, weight);
                self.decide(&mut core, now, chosen);
            }
            (_, Some(now)) if outcome == Outcome::NotAttempted => {
                core.round.refusals += 1;
                if core.round.refusals >= self.rules().config.probes.max(REFUSALS) {
                    let counts = core.round.counts;
                    self.change(&mut core, OPEN, TransitionCause::Inconclusive, counts, now, None);
                }
            }
            _ => {}
        }
        if self.face.word.load(Ordering::Relaxed) == ticket.word {
            self.publish_places(&core);
        }
    }

    /// Whether one more failed probe would open the circuit.
    fn decides(&self, core: &Core, ticket: Ticket) -> bool {
        self.face.word.load(Ordering::Relaxed) == ticket.word && self.lost(bad(core.round.counts) + 1)
    }

    /// Whether so many failed probes leave too few for the circuit to close.
    fn lost(&self, bad: u64) -> bool {
        bad > u64::from(self.rules().config.probes).saturating_sub(self.rules().close_after)
    }

    pub(super) fn decide(&self, core: &mut Core, now: Instant, chosen: Option<Duration>) {
        let counts = core.round.counts;
        if self.lost(bad(counts)) {
            core.failed_rounds = core.failed_rounds.saturating_add(1);
            self.change(core, OPEN, TransitionCause::ProbesFailed, counts, now, chosen);
        } else if counts.calls - bad(counts) >= self.rules().close_after {
            self.change(core, CLOSED, TransitionCause::ProbesSucceeded, counts, now, None);
        }
    }
}

/// A probe counts once, however bad it was: the round keeps bad probes as failures.
const fn bad(counts: Counts) -> u64 {
    counts.failures
}

fn add(mut counts: Counts, weight: Weight) -> Counts {
    counts.calls += 1;
    if let Weight::Bad { slow, .. } = weight {
        counts.failures += 1;
        counts.slow += u64::from(slow);
    }
    counts
}
