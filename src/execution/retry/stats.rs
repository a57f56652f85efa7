//! What a retry policy has done so far.

use super::StopReason;
use crate::sync::Counter;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::fmt;

/// Calls with this many attempts or more are counted together.
const ATTEMPTS: usize = 10;
const REASONS: usize = 8;

/// Why a retry was made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    Transient,
    Hinted,
    TimedOut,
    Rejected,
}

/// What a [`Retry`](crate::Retry) policy has done since it was built or last reset. Totals are 64 bits and wrap.
///
/// A call that was dropped before its end is not among the calls; the retries it made are among the retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// Calls that succeeded after this many attempts: `[0]` after one, `[1]` after two, and the last after ten or more.
    pub succeeded_after: [u64; ATTEMPTS],
    /// Calls that failed after this many attempts, counted in the same way.
    pub failed_after: [u64; ATTEMPTS],
    /// Retries after a failure that may pass.
    pub transient_retries: u64,
    /// Retries at the moment the server, or a rejection, asked for.
    pub hinted_retries: u64,
    /// Retries after a timeout.
    pub timed_out_retries: u64,
    /// Retries after a rejection, where those are [retried](crate::RetryConfig::retry_rejections).
    pub rejected_retries: u64,
    stopped: [u64; REASONS],
}

impl RetryStats {
    /// All calls that ended.
    #[must_use]
    #[inline]
    pub fn calls(&self) -> u64 {
        sum(&self.succeeded_after).wrapping_add(sum(&self.failed_after))
    }

    /// Calls that ended after this many attempts; for 10, after ten or more.
    #[must_use]
    pub fn calls_with_attempts(&self, attempts: u32) -> u64 {
        let Some(at) = usize::try_from(attempts).ok().and_then(|n| n.checked_sub(1)) else { return 0 };
        let count = |calls: &[u64; ATTEMPTS]| calls.get(at).copied().unwrap_or(0);
        count(&self.succeeded_after).wrapping_add(count(&self.failed_after))
    }

    /// Calls whose first attempt succeeded.
    #[must_use]
    pub const fn succeeded_without_retry(&self) -> u64 {
        self.succeeded_after[0]
    }

    /// Calls that a retry saved.
    #[must_use]
    #[inline]
    pub fn succeeded_with_retry(&self) -> u64 {
        sum(&self.succeeded_after[1..])
    }

    /// Calls that failed, and were not tried again: not worth it, or not allowed.
    #[must_use]
    pub const fn failed_without_retry(&self) -> u64 {
        self.failed_after[0]
    }

    /// Calls that failed in spite of retries.
    #[must_use]
    #[inline]
    pub fn failed_with_retry(&self) -> u64 {
        sum(&self.failed_after[1..])
    }

    /// All retries that were granted, the waits that were never finished included.
    #[must_use]
    pub const fn retries(&self) -> u64 {
        self.transient_retries.wrapping_add(self.hinted_retries).wrapping_add(self.timed_out_retries).wrapping_add(self.rejected_retries)
    }

    /// How often a failure was the last for this reason. All kinds of [`StopReason::Rejected`] are counted together.
    #[must_use]
    pub const fn stopped(&self, reason: StopReason) -> u64 {
        self.stopped[reason.index()]
    }
}

#[inline]
fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, &n| sum.wrapping_add(n))
}

impl fmt::Display for RetryStats {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "{name:<22}{count:>10}");
        row("calls", self.calls())?;
        row("  first try", self.succeeded_without_retry())?;
        row("  saved by a retry", self.succeeded_with_retry())?;
        row("  failed, retried", self.failed_with_retry())?;
        row("  failed, not retried", self.failed_without_retry())?;
        row("retries", self.retries())?;
        row("  transient", self.transient_retries)?;
        row("  hinted", self.hinted_retries)?;
        row("  timed out", self.timed_out_retries)?;
        row("  rejected", self.rejected_retries)?;
        row("stopped", sum(&self.stopped))?;
        for (name, &count) in StopReason::NAMES.iter().zip(&self.stopped) {
            if count > 0 {
                row(&format!("  {name}"), count)?;
            }
        }
        Ok(())
    }
}

/// The live counters. Only the first-try success is worth a sharded one: everything else happens beside a failure.
#[derive(Debug, Default)]
pub(super) struct Tally {
    first_try: Counter,
    succeeded_after: [AtomicU64; ATTEMPTS],
    failed_after: [AtomicU64; ATTEMPTS],
    retries: [AtomicU64; 4],
    stopped: [AtomicU64; REASONS],
}

impl Tally {
    pub(super) fn finished(&self, retries: u32, succeeded: bool) {
        if retries == 0 && succeeded {
            return self.first_try.add(1);
        }
        let at = (retries as usize).min(ATTEMPTS - 1);
        let calls = if succeeded { &self.succeeded_after } else { &self.failed_after };
        add(&calls[at]);
    }

    pub(super) fn retried(&self, cause: Cause) {
        add(&self.retries[cause as usize]);
    }

    pub(super) fn stopped(&self, reason: StopReason) {
        add(&self.stopped[reason.index()]);
    }

    pub(super) fn read(&self) -> RetryStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut stats = RetryStats {
            succeeded_after: self.succeeded_after.each_ref().map(get),
            failed_after: self.failed_after.each_ref().map(get),
            transient_retries: get(&self.retries[Cause::Transient as usize]),
            hinted_retries: get(&self.retries[Cause::Hinted as usize]),
            timed_out_retries: get(&self.retries[Cause::TimedOut as usize]),
            rejected_retries: get(&self.retries[Cause::Rejected as usize]),
            stopped: self.stopped.each_ref().map(get),
        };
        stats.succeeded_after[0] = self.first_try.get();
        stats
    }

    pub(super) fn reset(&self) {
        self.first_try.reset();
        let plain = [&self.succeeded_after[..], &self.failed_after, &self.retries, &self.stopped];
        plain.into_iter().flatten().for_each(|counter| counter.store(0, Ordering::Relaxed));
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
