//! What was counted, as values to print: a [`Snapshot`] of one name over all its windows, and a [`Report`] of all names.

use super::histogram::Latency;
use super::stats::{KINDS, OUTCOMES, Stats, outcome_name};
use super::table::{Table, short};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

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
    #[inline]
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
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: [&Stats; 4] = [&self.parts[1], &self.parts[2], &self.parts[3], &self.parts[0]];
        let mut table = Table::new([self.name(), "10 s", "1 min", "5 min", "all time"]);
        let mut row = |label: &str, cell: Cell<'_>| {
            table.row(std::iter::once(label.to_owned()).chain(columns.iter().map(|stats| cell(stats))));
        };
        row("calls", &|s| s.calls().to_string());
        row("  success", &|s| s.successes().to_string());
        row("  failure", &|s| s.failures().to_string());
        for kind in KINDS.into_iter().filter(|kind| self.rejected_by(*kind) > 0) {
            row(&format!("  {}", kind.as_str()), &|s| s.rejected_by(kind).to_string());
        }
        for (label, count) in RARE.into_iter().filter(|(_, count)| count(self) > 0) {
            row(label, &|s| count(s).to_string());
        }
        row("error rate", &|s| format!("{:.1} %", s.error_rate() * 100.0));
        let latency = |label: &str, of: fn(&Stats) -> &Latency, row: &mut dyn FnMut(&str, Cell<'_>)| {
            if of(self).count() == 0 {
                return;
            }
            row(label, &|_| String::new());
            for (name, value) in LATENCY_ROWS {
                row(&format!("  {name}"), &|s| cell(of(s), value));
            }
            if of(self).beyond_range() > 0 {
                row("  over 1 h", &|s| of(s).beyond_range().to_string());
            }
        };
        latency("call latency", Stats::call_latency, &mut row);
        if self.attempts() > 0 {
            row("attempts", &|s| s.attempts().to_string());
            for outcome in OUTCOMES.into_iter().filter(|outcome| self.attempts_by(*outcome) > 0) {
                row(&format!("  {}", outcome_name(outcome)), &|s| s.attempts_by(outcome).to_string());
            }
            latency("attempt latency", Stats::attempt_latency, &mut row);
        }
        table.fmt(f)
    }
}

type Cell<'a> = &'a dyn Fn(&Stats) -> String;
type Count = fn(&Stats) -> u64;

/// Rows that are left out while they are zero.
const RARE: [(&str, Count); 4] =
    [("  abandoned", Stats::abandoned), ("  panicked", Stats::panics), ("retried", Stats::retried), ("fallbacks", Stats::fallbacks)];

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

#[inline]
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
    #[inline]
    pub fn get(&self, name: &str) -> Option<&Snapshot> {
        self.rows.iter().find(|row| row.name() == name)
    }

    /// Adds the other's calls name by name.
    #[inline]
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

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.rows.into_iter()
    }
}

impl fmt::Display for Report {
    #[inline]
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
