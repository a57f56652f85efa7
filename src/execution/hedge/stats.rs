//! What a hedge has done so far.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::fmt;

/// What a [`Hedge`](crate::Hedge) has done since it was built or last reset. Totals are 64 bits and wrap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeStats {
    /// Legs that were launched beside, or after, the first one of an attempt.
    pub launched: u64,
    /// Those of them that were launched before their time, because a leg had failed.
    pub after_failure: u64,
    /// Calls that one of them answered.
    pub won: u64,
    /// Legs that were due and not launched, because the budget was spent.
    pub denied_by_budget: u64,
    /// Legs that were due and not launched, because the circuit breaker was not closed.
    pub denied_by_breaker: u64,
    /// Legs that were due and not launched, because they could hardly have answered before the deadline.
    pub denied_by_deadline: u64,
}

impl HedgeStats {
    /// All legs that were due and not launched.
    #[must_use]
    pub const fn denied(&self) -> u64 {
        self.denied_by_budget.wrapping_add(self.denied_by_breaker).wrapping_add(self.denied_by_deadline)
    }
}

impl fmt::Display for HedgeStats {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "{name:<22}{count:>10}");
        row("hedges", self.launched)?;
        row("  after a failure", self.after_failure)?;
        row("  answered the call", self.won)?;
        row("denied", self.denied())?;
        for (name, count) in
            [("  budget", self.denied_by_budget), ("  breaker", self.denied_by_breaker), ("  deadline", self.denied_by_deadline)]
        {
            if count > 0 {
                row(name, count)?;
            }
        }
        Ok(())
    }
}

/// Why a leg that was due was not launched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Denied {
    Budget,
    Breaker,
    Deadline,
}

/// The live counters. All of them count what is rare.
#[derive(Debug, Default)]
pub(super) struct Tally {
    launched: AtomicU64,
    after_failure: AtomicU64,
    won: AtomicU64,
    denied: [AtomicU64; 3],
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    pub(super) fn launched(&self, after_failure: bool) {
        add(&self.launched);
        if after_failure {
            add(&self.after_failure);
        }
    }

    pub(super) fn won(&self) {
        add(&self.won);
    }

    pub(super) fn denied(&self, why: Denied) {
        add(&self.denied[why as usize]);
    }

    pub(super) fn read(&self) -> HedgeStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        HedgeStats {
            launched: get(&self.launched),
            after_failure: get(&self.after_failure),
            won: get(&self.won),
            denied_by_budget: get(&self.denied[Denied::Budget as usize]),
            denied_by_breaker: get(&self.denied[Denied::Breaker as usize]),
            denied_by_deadline: get(&self.denied[Denied::Deadline as usize]),
        }
    }

    pub(super) fn reset(&self) {
        let plain = [&self.launched, &self.after_failure, &self.won];
        plain.into_iter().chain(&self.denied).for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}
