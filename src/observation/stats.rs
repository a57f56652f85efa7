//! What was counted: the counters, the slots they are recorded in, and [`Stats`], the plain value they add up to.

use super::histogram::{Hist, Latency};
use crate::outcome::{Outcome, RejectedKind, Verdict};

/// How a whole call ended. A fallback does not change it: it tells of the primary, so that an outage stays visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// The dependency answered as it should, as the judge says.
    Success,
    /// The operation's own failure came back, or a value that was judged one.
    Failure,
    /// A policy gave no answer of the operation's own.
    Rejected(RejectedKind),
    /// The caller dropped the call before it ended.
    Abandoned,
    /// The operation panicked, or a judge, a gate or another part of the call that is the user's.
    Panicked,
}

impl CallEnd {
    /// A short, stable name in snake case, for metrics and logs; of a rejection, the name of its kind.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Rejected(kind) => kind.as_str(),
            Self::Abandoned => "abandoned",
            Self::Panicked => "panicked",
        }
    }
}

const COUNT: usize = if cfg!(feature = "cache") { 12 } else { 11 };

/// Every kind of rejection that is counted by itself; the gates of one's own together.
pub(crate) const KINDS: [RejectedKind; COUNT] = [
    RejectedKind::Timeout,
    RejectedKind::DeadlineExceeded,
    RejectedKind::CircuitOpen,
    RejectedKind::RateLimited,
    RejectedKind::BulkheadFull,
    RejectedKind::ConcurrencyLimited,
    RejectedKind::Throttled,
    RejectedKind::NoRuntime,
    RejectedKind::NotRepeatable,
    RejectedKind::UnknownPipeline,
    #[cfg(feature = "cache")]
    RejectedKind::LoadFailed,
    RejectedKind::Custom("custom"),
];

const fn kind_index(kind: RejectedKind) -> usize {
    match kind {
        RejectedKind::Timeout => 0,
        RejectedKind::DeadlineExceeded => 1,
        RejectedKind::CircuitOpen => 2,
        RejectedKind::RateLimited => 3,
        RejectedKind::BulkheadFull => 4,
        RejectedKind::ConcurrencyLimited => 5,
        RejectedKind::Throttled => 6,
        RejectedKind::NoRuntime => 7,
        RejectedKind::NotRepeatable => 8,
        RejectedKind::UnknownPipeline => 9,
        #[cfg(feature = "cache")]
        RejectedKind::LoadFailed => 10,
        RejectedKind::Custom(_) => COUNT - 1,
    }
}

pub(crate) const OUTCOMES: [Outcome; 8] = [
    Outcome::Judged(Verdict::Success),
    Outcome::Judged(Verdict::transient()),
    Outcome::Judged(Verdict::Permanent),
    Outcome::Judged(Verdict::Ignored),
    Outcome::TimedOut,
    Outcome::Panicked,
    Outcome::NotAttempted,
    Outcome::Abandoned,
];

const fn outcome_index(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Judged(Verdict::Success) => 0,
        Outcome::Judged(Verdict::Transient { .. }) => 1,
        Outcome::Judged(Verdict::Permanent) => 2,
        Outcome::Judged(Verdict::Ignored) => 3,
        Outcome::TimedOut => 4,
        Outcome::Panicked => 5,
        Outcome::NotAttempted => 6,
        Outcome::Abandoned => 7,
    }
}

/// A short, stable name of an outcome in snake case.
pub(crate) const fn outcome_name(outcome: Outcome) -> &'static str {
    ["success", "transient", "permanent", "ignored", "timed_out", "panicked", "not_attempted", "abandoned"][outcome_index(outcome)]
}

/// Counters stop at their maximum, 2^64 - 1, rather than begin again at zero.
fn bump(counter: &mut u64, by: u64) {
    *counter = counter.saturating_add(by);
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    success: u64,
    failure: u64,
    abandoned: u64,
    panicked: u64,
    rejected: [u64; KINDS.len()],
    attempts: [u64; OUTCOMES.len()],
    retried: u64,
    fallbacks: u64,
}

impl Counts {
    #[inline]
    pub(crate) fn call(&mut self, end: CallEnd, attempts: u32) {
        let counter = match end {
            CallEnd::Success => &mut self.success,
            CallEnd::Failure => &mut self.failure,
            CallEnd::Rejected(kind) => &mut self.rejected[kind_index(kind)],
            CallEnd::Abandoned => &mut self.abandoned,
            CallEnd::Panicked => &mut self.panicked,
        };
        bump(counter, 1);
        if attempts > 1 {
            bump(&mut self.retried, 1);
        }
    }

    #[inline]
    pub(crate) fn attempt(&mut self, outcome: Outcome) {
        bump(&mut self.attempts[outcome_index(outcome)], 1);
    }

    pub(crate) fn fallback(&mut self) {
        bump(&mut self.fallbacks, 1);
    }

    fn add(&mut self, other: &Self) {
        bump(&mut self.success, other.success);
        bump(&mut self.failure, other.failure);
        bump(&mut self.abandoned, other.abandoned);
        bump(&mut self.panicked, other.panicked);
        bump(&mut self.retried, other.retried);
        bump(&mut self.fallbacks, other.fallbacks);
        self.rejected.iter_mut().zip(other.rejected).for_each(|(mine, theirs)| bump(mine, theirs));
        self.attempts.iter_mut().zip(other.attempts).for_each(|(mine, theirs)| bump(mine, theirs));
    }
}

#[inline]
fn total(counters: &[u64]) -> u64 {
    counters.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

/// What is recorded in, for a second or a few, before it is added up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) counts: Counts,
    pub(crate) calls: Hist<u32>,
    pub(crate) attempts: Hist<u32>,
}

impl Slot {
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.calls.add(&other.calls);
        self.attempts.add(&other.attempts);
    }

    pub(crate) fn clear(&mut self) {
        self.counts = Counts::default();
        self.calls.clear();
        self.attempts.clear();
    }
}

/// What happened in one stretch of time: calls and attempts by how they ended, and how long they took.
///
/// A plain value. Each call is counted once, so [`calls`](Self::calls) is always `successes + failures + rejections + abandoned + panics`. Counters
/// have 64 bits and stop at their maximum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    counts: Counts,
    call_latency: Latency,
    attempt_latency: Latency,
}

impl Stats {
    /// All calls that ended, however they ended.
    #[must_use]
    #[inline]
    pub fn calls(&self) -> u64 {
        let Counts { success, failure, abandoned, panicked, .. } = self.counts;
        total(&[success, failure, self.rejections(), abandoned, panicked])
    }

    /// Calls whose dependency answered as it should.
    #[must_use]
    pub fn successes(&self) -> u64 {
        self.counts.success
    }

    /// Calls that ended with the operation's own failure.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.counts.failure
    }

    /// Calls that a policy gave no answer to, timeouts included.
    #[must_use]
    #[inline]
    pub fn rejections(&self) -> u64 {
        total(&self.counts.rejected)
    }

    /// Calls rejected for this reason. All [`Custom`](RejectedKind::Custom) kinds are counted together.
    #[must_use]
    pub fn rejected_by(&self, kind: RejectedKind) -> u64 {
        self.counts.rejected[kind_index(kind)]
    }

    /// Calls that their caller dropped before they ended.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.counts.abandoned
    }

    /// Calls whose operation panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.counts.panicked
    }

    /// Calls that made more than one attempt.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.counts.retried
    }

    /// Calls that a fallback answered. They are counted by how the primary ended, too.
    #[must_use]
    pub fn fallbacks(&self) -> u64 {
        self.counts.fallbacks
    }

    /// All attempts that were started, however they ended. What a gate refuses never starts.
    #[must_use]
    #[inline]
    pub fn attempts(&self) -> u64 {
        total(&self.counts.attempts)
    }

    /// Attempts that ended so. Whether a transient failure brought a hint makes no difference.
    #[must_use]
    pub fn attempts_by(&self, outcome: Outcome) -> u64 {
        self.counts.attempts[outcome_index(outcome)]
    }

    /// The share of failures, rejections and panics among all calls but the abandoned (nobody knows how those would have ended): 0 to 1, and 0 without calls.
    #[must_use]
    #[inline]
    pub fn error_rate(&self) -> f64 {
        let bad = [self.counts.failure, self.rejections(), self.counts.panicked].iter().fold(0.0, |sum, n| sum + *n as f64);
        let all = bad + self.counts.success as f64;
        if all > 0.0 { bad / all } else { 0.0 }
    }

    /// How long callers waited, whatever they got: every call but the abandoned, from the outside, with its waits and retries. Rejections at the
    /// door count with the moment they took, so a storm of them pulls the percentiles down; [`attempt_latency`](Self::attempt_latency) stays clear of them.
    #[must_use]
    pub fn call_latency(&self) -> &Latency {
        &self.call_latency
    }

    /// How long the dependency took: every attempt that ran to an end, or to its timeout.
    #[must_use]
    pub fn attempt_latency(&self) -> &Latency {
        &self.attempt_latency
    }

    /// Adds the other's calls, as if all had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.call_latency.merge(&other.call_latency);
        self.attempt_latency.merge(&other.attempt_latency);
    }

    pub(crate) fn absorb(&mut self, slot: &Slot) {
        self.counts.add(&slot.counts);
        self.call_latency.0.absorb(&slot.calls);
        self.attempt_latency.0.absorb(&slot.attempts);
    }

    #[cfg(test)]
    pub(crate) fn counts_mut(&mut self) -> &mut Counts {
        &mut self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h56_counters_stop_at_their_maximum() {
        let mut stats = Stats::default();
        stats.counts_mut().success = u64::MAX - 1;
        for _ in 0..3 {
            stats.counts_mut().call(CallEnd::Success, 1);
        }
        stats.counts_mut().call(CallEnd::Failure, 2);
        assert_eq!((stats.successes(), stats.calls()), (u64::MAX, u64::MAX));
        assert!(stats.error_rate() >= 0.0 && stats.error_rate() < 1e-9);
        let mut twice = stats.clone();
        twice.merge(&stats);
        assert_eq!(twice.successes(), u64::MAX);
    }

    #[test]
    fn every_kind_has_its_own_counter() {
        let mut stats = Stats::default();
        for kind in KINDS {
            stats.counts_mut().call(CallEnd::Rejected(kind), 0);
        }
        stats.counts_mut().call(CallEnd::Rejected(RejectedKind::Custom("mine")), 0);
        for outcome in OUTCOMES {
            stats.counts_mut().attempt(outcome);
        }
        let all = KINDS.len() as u64 + 1;
        assert_eq!(stats.rejections(), all);
        assert_eq!(stats.rejected_by(RejectedKind::Custom("any")), 2);
        assert!(KINDS[..KINDS.len() - 1].iter().all(|kind| stats.rejected_by(*kind) == 1));
        assert!(OUTCOMES.iter().all(|outcome| stats.attempts_by(*outcome) == 1));
        assert_eq!((stats.calls(), stats.attempts()), (all, 8));
    }
}
