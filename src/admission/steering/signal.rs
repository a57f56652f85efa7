//! What a rate is steered by: how hard a dependency, or this machine, is pressed.

use crate::admission::bulkhead::Bulkhead;
use crate::fault::{Fault, check};
use crate::observation::{Monitor, Snapshot, Window};
use crate::outcome::{Outcome, Verdict};
use crate::sync::{Mutex, lock};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// One measure of pressure. Closures `Fn(Instant) -> Option<f64>` are signals.
///
/// Read once an interval, by the call that happens to come by, which waits meanwhile: look something up, never block or ask over a
/// network. No lock of this crate is held. A panic is caught and counted, and the signal says nothing that time.
///
/// Do not keep a handle of the limiter in its own signal: neither would ever be dropped.
pub trait Signal: Send + Sync + 'static {
    /// The pressure: 0 is idle, 1 at the limit, more than 1 overload. `None` where it cannot tell. What is not a number counts as
    /// `None`, and less than 0 as 0.
    fn read(&self, now: Instant) -> Option<f64>;

    /// How far back a reading reaches. After a cut the signal cannot ask for another until its readings are from after the cut, or one
    /// bad second would be paid for ten times. **Default**: zero.
    fn memory(&self) -> Duration {
        Duration::ZERO
    }

    /// How it is called in [`SteeringState`](super::SteeringState), in faults and in logs. **Default**: `signal`.
    fn name(&self) -> &'static str {
        "signal"
    }

    /// Which of its settings cannot work: asked once, before it steers anything. **Default**: none.
    #[inline]
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

impl<F: Fn(Instant) -> Option<f64> + Send + Sync + 'static> Signal for F {
    fn read(&self, now: Instant) -> Option<f64> {
        self(now)
    }
}

/// What a signal finds, as a share of what it is allowed.
#[inline]
fn pressure(found: f64, limit: f64) -> Option<f64> {
    (limit > 0.0).then(|| found / limit).filter(|pressure| !pressure.is_nan())
}

/// The share of attempts that failed since the last reading, as a [`Monitor`] counts them: transient and permanent failures, timeouts and
/// panics. What was refused before it began is no error of the dependency; else a limiter would lower its rate because it refuses.
pub struct ErrorRate {
    monitor: Monitor,
    name: Box<str>,
    limit: f64,
    min_attempts: u64,
    /// Attempts and failures at the last reading that told something.
    seen: Mutex<(u64, u64)>,
}

impl ErrorRate {
    /// Of the pipeline of this name, as it reports to `monitor`, or of what is [tracked](Monitor::track) under it. An allowance of 10 %, unless [`above`](Self::above) says otherwise.
    #[must_use]
    pub fn of(monitor: &Monitor, pipeline: impl Into<String>) -> Self {
        let name = pipeline.into().into_boxed_str();
        let seen = monitor.stats(&name).map_or((0, 0), |snapshot| counted(&snapshot));
        Self { monitor: monitor.clone(), name, limit: 0.1, min_attempts: 10, seen: Mutex::new(seen) }
    }

    /// The share of errors above which it is too much, as a fraction in (0, 1]. **Default**: 0.1.
    #[must_use]
    pub const fn above(mut self, share: f64) -> Self {
        self.limit = share;
        self
    }

    /// How many attempts it takes to tell; at least 1. Fewer in one interval are counted together with those of the next. **Default**: 10.
    #[must_use]
    pub const fn min_attempts(mut self, attempts: u64) -> Self {
        self.min_attempts = attempts;
        self
    }
}

/// What ended, and what failed: attempts, or, where no pipeline reports (`monitor.track`), calls.
#[inline]
fn counted(snapshot: &Snapshot) -> (u64, u64) {
    let stats = snapshot.all_time();
    let sum = |outcomes: &[Outcome]| outcomes.iter().fold(0_u64, |sum, outcome| sum.saturating_add(stats.attempts_by(*outcome)));
    let failed = sum(&[Outcome::Judged(Verdict::transient()), Outcome::Judged(Verdict::Permanent), Outcome::TimedOut, Outcome::Panicked]);
    let others = sum(&[Outcome::Judged(Verdict::Success), Outcome::Judged(Verdict::Ignored)]);
    let (failed, others) =
        if stats.attempts() > 0 { (failed, others) } else { (stats.failures().saturating_add(stats.panics()), stats.successes()) };
    (failed.saturating_add(others), failed)
}

impl Signal for ErrorRate {
    #[inline]
    fn read(&self, _: Instant) -> Option<f64> {
        let (attempts, failures) = counted(&self.monitor.stats(&self.name)?);
        let mut seen = lock(&self.seen);
        if attempts < seen.0 {
            *seen = (0, 0); // the monitor was reset
        }
        let (new, bad) = (attempts - seen.0, failures.saturating_sub(seen.1));
        if new == 0 || new < self.min_attempts {
            return None;
        }
        *seen = (attempts, failures);
        pressure(bad as f64 / new as f64, self.limit)
    }

    fn name(&self) -> &'static str {
        "error_rate"
    }

    #[inline]
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::fraction(&mut faults, "above", self.limit);
        check::at_least(&mut faults, "min_attempts", self.min_attempts, 1);
        faults
    }
}

impl fmt::Debug for ErrorRate {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorRate").field("of", &self.name).field("above", &self.limit).field("min_attempts", &self.min_attempts).finish()
    }
}

/// How long the attempts of the last ten seconds took, as a [`Monitor`] measures them.
///
/// It remembers for as long, so after a cut it is heard again ten seconds later.
pub struct ResponseTime {
    monitor: Monitor,
    name: Box<str>,
    quantile: f64,
    limit: Duration,
    min_attempts: u64,
}

impl ResponseTime {
    /// The 95th percentile of the pipeline of this name, as it reports to `monitor`, may be at most so long; more than zero. A rate reacts to a
    /// tail before it reacts to a mean.
    #[must_use]
    pub fn p95_above(limit: Duration, monitor: &Monitor, pipeline: impl Into<String>) -> Self {
        Self::quantile_above(0.95, limit, monitor, pipeline)
    }

    /// The median; otherwise as [`p95_above`](Self::p95_above).
    #[must_use]
    pub fn p50_above(limit: Duration, monitor: &Monitor, pipeline: impl Into<String>) -> Self {
        Self::quantile_above(0.5, limit, monitor, pipeline)
    }

    /// The 99th percentile; otherwise as [`p95_above`](Self::p95_above).
    #[must_use]
    pub fn p99_above(limit: Duration, monitor: &Monitor, pipeline: impl Into<String>) -> Self {
        Self::quantile_above(0.99, limit, monitor, pipeline)
    }

    fn quantile_above(quantile: f64, limit: Duration, monitor: &Monitor, pipeline: impl Into<String>) -> Self {
        Self { monitor: monitor.clone(), name: pipeline.into().into_boxed_str(), quantile, limit, min_attempts: 10 }
    }

    /// How many attempts of the last ten seconds it takes to tell; at least 1. **Default**: 10.
    #[must_use]
    pub const fn min_attempts(mut self, attempts: u64) -> Self {
        self.min_attempts = attempts;
        self
    }
}

const WINDOW: Window = Window::TenSeconds;

impl Signal for ResponseTime {
    #[inline]
    fn read(&self, _: Instant) -> Option<f64> {
        let snapshot = self.monitor.stats(&self.name)?;
        let stats = snapshot.window(WINDOW);
        let latency = if stats.attempts() > 0 { stats.attempt_latency() } else { stats.call_latency() };
        if latency.count() < self.min_attempts {
            return None;
        }
        pressure(latency.quantile(self.quantile)?.as_secs_f64(), self.limit.as_secs_f64())
    }

    fn memory(&self) -> Duration {
        WINDOW.length()
    }

    fn name(&self) -> &'static str {
        "response_time"
    }

    #[inline]
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::nonzero(&mut faults, "above", self.limit, "every answer takes longer; say what is still quick");
        check::at_least(&mut faults, "min_attempts", self.min_attempts, 1);
        faults
    }
}

impl fmt::Debug for ResponseTime {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseTime")
            .field("of", &self.name)
            .field("quantile", &self.quantile)
            .field("above", &self.limit)
            .field("min_attempts", &self.min_attempts)
            .finish()
    }
}

/// How full the queue of a [`Bulkhead`] is; of one without a queue, how many of its places are taken.
#[derive(Debug)]
pub struct QueueDepth {
    bulkhead: Bulkhead,
    limit: f64,
}

impl QueueDepth {
    /// Of this bulkhead. Half a queue is allowed, unless [`above`](Self::above) says otherwise.
    #[must_use]
    pub fn of(bulkhead: &Bulkhead) -> Self {
        Self { bulkhead: bulkhead.clone(), limit: 0.5 }
    }

    /// The share of the queue above which it is too much, as a fraction in (0, 1]. **Default**: 0.5.
    #[must_use]
    pub const fn above(mut self, share: f64) -> Self {
        self.limit = share;
        self
    }
}

impl Signal for QueueDepth {
    #[inline]
    fn read(&self, _: Instant) -> Option<f64> {
        let (filled, places) = match self.bulkhead.config().queue {
            0 => (self.bulkhead.in_use(), self.bulkhead.limit()),
            queue => (self.bulkhead.waiting(), queue),
        };
        (places > 0).then(|| filled as f64 / places as f64).and_then(|share| pressure(share, self.limit))
    }

    fn name(&self) -> &'static str {
        "queue_depth"
    }

    #[inline]
    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::fraction(&mut faults, "above", self.limit);
        faults
    }
}

/// How busy this machine is: its load average of one minute, for each processor that the program may use. On Linux; elsewhere it says
/// nothing.
///
/// The average forgets slowly, so after a cut it is heard again a minute later.
#[derive(Debug)]
pub struct SystemLoad {
    limit: f64,
}

impl SystemLoad {
    /// So much load for each processor is allowed, more than 0 and finite; 1 keeps every one of them busy.
    #[must_use]
    pub const fn above(load_per_processor: f64) -> Self {
        Self { limit: load_per_processor }
    }
}

impl Signal for SystemLoad {
    #[inline]
    fn read(&self, _: Instant) -> Option<f64> {
        let processors = std::thread::available_parallelism().ok()?.get();
        // A file of the kernel's: reading it waits for no disk.
        let load = one_minute(&std::fs::read_to_string("/proc/loadavg").ok()?)?;
        pressure(load / processors as f64, self.limit)
    }

    fn memory(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn name(&self) -> &'static str {
        "system_load"
    }

    #[inline]
    fn faults(&self) -> Vec<Fault> {
        if self.limit > 0.0 && self.limit.is_finite() {
            return Vec::new();
        }
        vec![Fault::new("above", format!("{} is no load that could be reached; 1 is a busy processor", self.limit))]
    }
}

/// `0.52 0.58 0.59 1/467 12345`
#[inline]
fn one_minute(loadavg: &str) -> Option<f64> {
    loadavg.split_ascii_whitespace().next()?.parse().ok().filter(|load: &f64| load.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_average_is_read_and_nonsense_is_not() {
        assert_eq!(one_minute("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
        for bad in ["", "\n", "high 1 2", "nan 0 0", "inf 0 0"] {
            assert_eq!(one_minute(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_limit_that_is_none_presses_nobody() {
        assert_eq!(pressure(0.5, 0.25), Some(2.0));
        assert_eq!(pressure(0.5, 0.0), None);
        assert_eq!(pressure(0.5, f64::NAN), None);
        assert_eq!(pressure(f64::NAN, 1.0), None);
    }
}
