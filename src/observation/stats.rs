//! What was counted, as plain values: [`Stats`] of one stretch of time, a [`Snapshot`] of one name over all of them, a [`Report`] of all names.

use super::histogram::{Hist, Latency};
use super::table::{Table, short};
use crate::outcome::{Outcome, RejectedKind, Verdict};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// How a whole call ended. A fallback does not change it: it tells of the primary, so that an outage stays visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// The dependency answered as it should.
    Success,
    /// The operation's own failure came back.
    Failure,
    /// A policy gave no answer of the operation's own.
    Rejected(RejectedKind),
    /// The caller dropped the call before it ended.
    Abandoned,
    /// The operation panicked.
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

/// Every kind of rejection that is counted by itself; the gates of one's own together.
const KINDS: [RejectedKind; 9] = [
    RejectedKind::Timeout,
    RejectedKind::DeadlineExceeded,
    RejectedKind::CircuitOpen,
    RejectedKind::RateLimited,
    RejectedKind::BulkheadFull,
    RejectedKind::ConcurrencyLimited,
    RejectedKind::Throttled,
    RejectedKind::NoRuntime,
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
        RejectedKind::Custom(_) => 8,
    }
}

const OUTCOMES: [Outcome; 8] = [
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

    /// All attempts, however they ended, those that a gate refused included.
    #[must_use]
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

/// The last so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Window {
    /// The last 10 seconds, in steps of 1: what happened between 9 and 10 s ago drops out together.
    TenSeconds,
    /// The last minute, in steps of 5 seconds.
    OneMinute,
    /// The last 5 minutes, in steps of 30 seconds.
    FiveMinutes,
}

impl Window {
    /// All of them, the shortest first.
    pub const ALL: [Self; 3] = [Self::TenSeconds, Self::OneMinute, Self::FiveMinutes];

    /// How long it is.
    #[must_use]
    pub const fn length(self) -> Duration {
        Duration::from_secs(self.steps() as u64 * self.step_secs())
    }

    pub(crate) const fn steps(self) -> usize {
        match self {
            Self::OneMinute => 12,
            Self::TenSeconds | Self::FiveMinutes => 10,
        }
    }

    pub(crate) const fn step_secs(self) -> u64 {
        match self {
            Self::TenSeconds => 1,
            Self::OneMinute => 5,
            Self::FiveMinutes => 30,
        }
    }
}

/// What happened under one name, over all time and over the last seconds and minutes, at one moment.
///
/// A plain value that reads as its all-time [`Stats`], prints as a table, and merges with another (of another process, say).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use steadfast::{Monitor, Window};
///
/// let monitor = Monitor::new();
/// let _ = monitor.track("db.query", async { Ok::<_, String>(7) }).await;
/// let stats = monitor.stats("db.query").expect("tracked");
/// assert_eq!(stats.calls(), 1);
/// assert_eq!(stats.window(Window::OneMinute).error_rate(), 0.0);
/// println!("{stats}");
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    name: Arc<str>,
    /// All time, then the windows in the order of [`Window::ALL`].
    parts: Box<[Stats; 4]>,
}

impl Snapshot {
    pub(crate) fn new(name: Arc<str>, parts: Box<[Stats; 4]>) -> Self {
        Self { name, parts }
    }

    /// The name of the pipeline, or of what was tracked.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Since the monitor was made, or last reset.
    #[must_use]
    pub fn all_time(&self) -> &Stats {
        &self.parts[0]
    }

    /// The last so many seconds before the snapshot.
    #[must_use]
    pub fn window(&self, window: Window) -> &Stats {
        match window {
            Window::TenSeconds => &self.parts[1],
            Window::OneMinute => &self.parts[2],
            Window::FiveMinutes => &self.parts[3],
        }
    }

    /// Adds the other's calls, window by window, and keeps this one's name. The windows of both end where each was taken.
    pub fn merge(&mut self, other: &Self) {
        self.parts.iter_mut().zip(other.parts.iter()).for_each(|(mine, theirs)| mine.merge(theirs));
    }
}

impl Deref for Snapshot {
    type Target = Stats;

    fn deref(&self) -> &Stats {
        self.all_time()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: [&Stats; 4] = [&self.parts[1], &self.parts[2], &self.parts[3], &self.parts[0]];
        let mut table = Table::new([self.name(), "10 s", "1 min", "5 min", "all time"]);
        let mut row = |label: &str, cell: &dyn Fn(&Stats) -> String| {
            table.row(std::iter::once(label.to_owned()).chain(columns.iter().map(|stats| cell(stats))));
        };
        row("calls", &|s| s.calls().to_string());
        row("  success", &|s| s.successes().to_string());
        row("  failure", &|s| s.failures().to_string());
        for kind in KINDS.into_iter().filter(|kind| self.rejected_by(*kind) > 0) {
            row(&format!("  {}", kind.as_str()), &|s| s.rejected_by(kind).to_string());
        }
        for (label, count) in [
            ("  abandoned", Self::abandoned_of as fn(&Stats) -> u64),
            ("  panicked", |s| s.panics()),
            ("retried", |s| s.retried()),
            ("fallbacks", |s| s.fallbacks()),
        ] {
            if count(self) > 0 {
                row(label, &|s| count(s).to_string());
            }
        }
        row("error rate", &|s| format!("{:.1} %", s.error_rate() * 100.0));
        for (label, pick) in [("call latency", Stats::call_latency as fn(&Stats) -> &Latency), ("attempt latency", Stats::attempt_latency)]
        {
            if label == "attempt latency" {
                if self.attempts() == 0 {
                    continue;
                }
                row("attempts", &|s| s.attempts().to_string());
                for outcome in OUTCOMES.into_iter().filter(|outcome| self.attempts_by(*outcome) > 0) {
                    row(&format!("  {}", outcome_name(outcome)), &|s| s.attempts_by(outcome).to_string());
                }
            }
            if pick(self).count() > 0 {
                row(label, &|_| String::new());
                for (name, value) in LATENCY_ROWS {
                    row(&format!("  {name}"), &|s| cell(pick(s), value));
                }
                if pick(self).beyond_range() > 0 {
                    row("  over 1 h", &|s| pick(s).beyond_range().to_string());
                }
            }
        }
        table.fmt(f)
    }
}

impl Snapshot {
    fn abandoned_of(stats: &Stats) -> u64 {
        stats.abandoned()
    }
}

type Figure = fn(&Latency) -> Duration;
const LATENCY_ROWS: [(&str, Figure); 8] = [
    ("min", Latency::min),
    ("mean", Latency::mean),
    ("p50", Latency::p50),
    ("p90", Latency::p90),
    ("p95", Latency::p95),
    ("p99", Latency::p99),
    ("p99.9", Latency::p999),
    ("max", Latency::max),
];

fn cell(latency: &Latency, value: Figure) -> String {
    if latency.count() == 0 { String::from("-") } else { short(value(latency)) }
}

/// Every name of a monitor, in the order of the alphabet: prints as one table of all time; with `{:#}`, one table per name with its windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub(crate) rows: Vec<Snapshot>,
}

impl Report {
    /// One snapshot per name.
    pub fn iter(&self) -> std::slice::Iter<'_, Snapshot> {
        self.rows.iter()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What happened under this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Snapshot> {
        self.rows.iter().find(|row| row.name() == name)
    }

    /// Adds the other's calls name by name.
    pub fn merge(&mut self, other: &Self) {
        for theirs in &other.rows {
            match self.rows.binary_search_by(|mine| mine.name().cmp(theirs.name())) {
                Ok(at) => self.rows[at].merge(theirs),
                Err(at) => self.rows.insert(at, theirs.clone()),
            }
        }
    }
}

impl<'a> IntoIterator for &'a Report {
    type Item = &'a Snapshot;
    type IntoIter = std::slice::Iter<'a, Snapshot>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Report {
    type Item = Snapshot;
    type IntoIter = std::vec::IntoIter<Snapshot>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            for (i, row) in self.rows.iter().enumerate() {
                let gap = if i == 0 { "" } else { "\n" };
                write!(f, "{gap}{row}")?;
            }
            return Ok(());
        }
        let mut table = Table::new([
            "name",
            "calls",
            "success",
            "failure",
            "rejected",
            "abandoned",
            "panicked",
            "errors",
            "attempts",
            "mean",
            "p50",
            "p90",
            "p95",
            "p99",
            "p99.9",
            "max",
        ]);
        for row in &self.rows {
            let counts = [row.calls(), row.successes(), row.failures(), row.rejections(), row.abandoned(), row.panics()];
            let latency = LATENCY_ROWS.iter().filter(|(name, _)| *name != "min").map(|(_, value)| cell(row.call_latency(), *value));
            table.row(
                std::iter::once(row.name().to_owned())
                    .chain(counts.map(|n| n.to_string()))
                    .chain([format!("{:.1} %", row.error_rate() * 100.0), row.attempts().to_string()])
                    .chain(latency),
            );
        }
        table.fmt(f)
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
        assert_eq!(stats.rejections(), 10);
        assert_eq!(stats.rejected_by(RejectedKind::Custom("any")), 2);
        assert!(KINDS[..8].iter().all(|kind| stats.rejected_by(*kind) == 1));
        assert!(OUTCOMES.iter().all(|outcome| stats.attempts_by(*outcome) == 1));
        assert_eq!((stats.calls(), stats.attempts()), (10, 8));
    }
}
