//! What is done by hand, and what can be read without changing anything.

use super::{CLOSED, Core, Counts, DISABLED, HALF_OPEN, ISOLATED, KIND_MASK, METRICS_ONLY, Machine, NEVER, OPEN, TransitionCause};
use super::{as_closed, generation_of, share, state_of};
use crate::admission::circuit_breaker::events::{CircuitSnapshot, CircuitState};
use crate::sync::atomic::Ordering;
use crate::sync::{MutexGuard, lock};
use std::time::Duration;
use tokio::time::Instant;

impl Machine {
    // ---- by hand ----

    /// Goes to a state by hand. Where it is that already, nothing happens, unless `anew` begins it again.
    fn command(&self, kind: u64, anew: bool, chosen: Option<Duration>) {
        let now = Instant::now();
        let mut core = lock(&self.core);
        let word = self.face.word.load(Ordering::Relaxed);
        let nanos = self.nanos(now);
        let over = kind == OPEN && nanos >= self.face.until.load(Ordering::Relaxed);
        if anew || over || word & KIND_MASK != kind {
            let counts = self.counts(&core, word, nanos);
            self.change(&mut core, kind, TransitionCause::Manual, counts, now, chosen);
        }
        drop(core);
        self.outbox.flush();
    }

    pub(in crate::admission::circuit_breaker) fn force_open(&self) {
        self.command(OPEN, false, None);
    }

    pub(in crate::admission::circuit_breaker) fn open_for(&self, time: Duration) {
        self.command(OPEN, true, Some(time));
    }

    pub(in crate::admission::circuit_breaker) fn force_close(&self) {
        self.command(CLOSED, false, None);
    }

    pub(in crate::admission::circuit_breaker) fn reset(&self) {
        self.command(CLOSED, true, None);
    }

    pub(in crate::admission::circuit_breaker) fn isolate(&self) {
        self.command(ISOLATED, false, None);
    }

    pub(in crate::admission::circuit_breaker) fn disable(&self) {
        self.command(DISABLED, false, None);
    }

    pub(in crate::admission::circuit_breaker) fn metrics_only(&self) {
        self.command(METRICS_ONLY, false, None);
    }

    pub(in crate::admission::circuit_breaker) fn half_open(&self) -> bool {
        let now = Instant::now();
        let mut core = lock(&self.core);
        let possible = matches!(self.face.word.load(Ordering::Relaxed) & KIND_MASK, OPEN | HALF_OPEN);
        if possible {
            let counts = core.decided_on;
            self.change(&mut core, HALF_OPEN, TransitionCause::Manual, counts, now, None);
        }
        drop(core);
        self.outbox.flush();
        possible
    }

    // ---- to read ----

    pub(super) fn counts(&self, core: &Core, word: u64, nanos: u64) -> Counts {
        match (as_closed(word) & KIND_MASK, &core.counted) {
            (CLOSED | METRICS_ONLY, Some(counted)) => counted.counts(),
            (CLOSED | METRICS_ONLY, None) => self.rules().window.counts(generation_of(word), nanos),
            (HALF_OPEN, _) => core.round.counts,
            (OPEN | ISOLATED, _) => core.decided_on,
            _ => Counts::default(),
        }
    }

    /// The state as a call at `nanos` would find it, and when it may go.
    pub(super) fn effective(&self, core: &Core, nanos: u64) -> (CircuitState, Option<u64>) {
        let word = self.face.word.load(Ordering::Relaxed);
        let mut until = self.face.until.load(Ordering::Relaxed);
        if word & KIND_MASK == HALF_OPEN {
            if nanos < core.round.ends {
                return (CircuitState::HalfOpen, (until != NEVER).then(|| until.saturating_sub(nanos)));
            }
            until = core.round.ends.saturating_add(core.open_time);
        } else if word & KIND_MASK != OPEN {
            return (state_of(word), None);
        }
        let wait = (until != NEVER).then(|| until.saturating_sub(nanos).min(core.open_time));
        (if wait == Some(0) { CircuitState::HalfOpen } else { CircuitState::Open }, wait)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    pub(in crate::admission::circuit_breaker) fn state(&self) -> CircuitState {
        let word = self.face.word.load(Ordering::Acquire);
        if matches!(word & KIND_MASK, OPEN | HALF_OPEN) {
            let nanos = self.nanos(Instant::now());
            return self.effective(&self.core(), nanos).0;
        }
        state_of(word)
    }

    pub(in crate::admission::circuit_breaker) fn next_probe_in(&self) -> Option<Duration> {
        let nanos = self.nanos(Instant::now());
        self.effective(&self.core(), nanos).1.map(Duration::from_nanos)
    }

    pub(in crate::admission::circuit_breaker) fn snapshot(&self) -> CircuitSnapshot {
        let nanos = self.nanos(Instant::now());
        let core = self.core();
        let word = self.face.word.load(Ordering::Relaxed);
        let (state, wait) = self.effective(&core, nanos);
        let counts = self.counts(&core, word, nanos);
        let rate = |n| (counts.calls > 0).then(|| share(n, counts.calls));
        CircuitSnapshot {
            state,
            generation: generation_of(word),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            failure_rate: rate(counts.failures),
            slow_call_rate: rate(counts.slow),
            consecutive_failures: self.streak.0.get(generation_of(word)),
            not_permitted: self.rules().window.refused(),
            probes_in_flight: core.round.out.iter().filter(|probe| probe.lease_ends > nanos).count() as u32,
            next_probe_in: wait.map(Duration::from_nanos),
            ramp_left: self.ramp_left(word, nanos).map(Duration::from_nanos),
            stale: self.stale.0.load(Ordering::Relaxed),
            listener_panics: self.outbox.panics.load(Ordering::Relaxed),
        }
    }
}
