//! What a circuit takes over from those of other processes.
//!
//! Every step names the generation it was decided by, and does nothing where the circuit has moved on: what happened here is newer than what was
//! heard.

use super::as_closed;
use super::{CLOSED, HALF_OPEN, KIND_MASK, Machine, NEVER, OPEN, TransitionCause, generation_of, nanos_or_never, state_of};
use crate::admission::circuit_breaker::events::CircuitState;
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use std::time::Duration;
use tokio::time::Instant;

/// The machine at one moment. An open circuit is `Open` here until a call has made it half-open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance {
    pub(crate) generation: u64,
    pub(crate) state: CircuitState,
    /// Of an open circuit, how long still; `None` for ever.
    pub(crate) open_left: Option<Duration>,
    pub(crate) failed_rounds: u32,
    /// Calls refused since the state began.
    pub(crate) refused: u64,
    /// Probes that are out now.
    pub(crate) probes_out: usize,
    /// Probes of the round that were conclusive.
    pub(crate) probes_done: u64,
}

impl Machine {
    pub(in crate::admission::circuit_breaker) fn glance(&self) -> Glance {
        let nanos = self.nanos(Instant::now());
        let core = lock(&self.core);
        let (word, until) = (self.face.word.load(Ordering::Relaxed), self.face.until.load(Ordering::Relaxed));
        Glance {
            generation: generation_of(word),
            state: state_of(word),
            open_left: (until != NEVER).then(|| Duration::from_nanos(until.saturating_sub(nanos))),
            failed_rounds: core.failed_rounds,
            refused: self.rules().window.refused(),
            probes_out: core.round.out.iter().filter(|probe| probe.lease_ends > nanos).count(),
            probes_done: core.round.counts.calls,
        }
    }

    pub(in crate::admission::circuit_breaker) fn follow_open(&self, seen: u64, time: Duration, failed_rounds: u32) -> Option<u64> {
        self.follow(seen, OPEN, &[CLOSED, HALF_OPEN, OPEN], Some((time, failed_rounds)))
    }

    pub(in crate::admission::circuit_breaker) fn follow_half_open(&self, seen: u64) -> Option<u64> {
        self.follow(seen, HALF_OPEN, &[OPEN], None)
    }

    pub(in crate::admission::circuit_breaker) fn follow_close(&self, seen: u64) -> Option<u64> {
        self.follow(seen, CLOSED, &[HALF_OPEN, OPEN], None)
    }

    /// From one of these states to that one, which is announced where it is another. The generation it has then.
    fn follow(&self, seen: u64, kind: u64, from: &[u64], open: Option<(Duration, u32)>) -> Option<u64> {
        let now = Instant::now();
        let mut core = lock(&self.core);
        let word = self.face.word.load(Ordering::Relaxed);
        let present = as_closed(word) & KIND_MASK;
        if generation_of(word) != seen || !from.contains(&present) {
            return None;
        }
        let nanos = self.nanos(now);
        if let Some((time, _)) = open.filter(|_| present == kind) {
            core.open_time = nanos_or_never(time);
            self.open_until(core.open_time, nanos);
        } else {
            let counts = self.counts(&core, word, nanos);
            let cause = if kind == HALF_OPEN { TransitionCause::OpenTimeOver } else { TransitionCause::Shared };
            self.change(&mut core, kind, cause, counts, now, open.map(|(time, _)| time));
        }
        if let Some((_, failed_rounds)) = open {
            core.failed_rounds = failed_rounds;
        }
        let generation = generation_of(self.face.word.load(Ordering::Relaxed));
        drop(core);
        self.outbox.flush();
        Some(generation)
    }

    pub(in crate::admission::circuit_breaker) fn hold_open(&self, seen: u64, time: Duration) {
        let (nanos, time) = (self.nanos(Instant::now()), nanos_or_never(time));
        let mut core = lock(&self.core);
        let word = self.face.word.load(Ordering::Relaxed);
        let longer = self.face.until.load(Ordering::Relaxed) < nanos.saturating_add(time);
        if generation_of(word) == seen && word & KIND_MASK == OPEN && longer {
            core.open_time = time;
            self.open_until(time, nanos);
        }
    }

    /// As long as `time` from `nanos` on.
    fn open_until(&self, time: u64, nanos: u64) {
        self.face.open_time.store(time, Ordering::Release);
        self.face.longest_wait.store(time, Ordering::Release);
        self.face.until.store(nanos.saturating_add(time), Ordering::Release);
    }
}
