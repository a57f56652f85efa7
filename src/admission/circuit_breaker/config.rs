//! What a circuit breaker is told: its rules, its window, how long it stays open, and how it probes.

use super::{CircuitBreaker, OpenFacts};
use crate::fault::{ConfigError, Fault, check};
use std::time::Duration;

/// Most probes of one half-open round. More would be a load test of a dependency that was just down.
const MOST_PROBES: u64 = 1_000;
/// Most calls of a count window; at 2 bits each, a quarter of a megabyte.
const MOST_COUNTED: u64 = 1_000_000;
/// Shorter windows hold single calls, not rates.
const SHORTEST_WINDOW: Duration = Duration::from_millis(20);

/// What the rates are taken over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Window {
    Time(Duration),
    Count(u32),
}

/// A function that chooses the open time. Compared by address, so that a configuration stays comparable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFn(pub(crate) fn(&OpenFacts) -> Duration);

impl PartialEq for OpenFn {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::fn_addr_eq(self.0, other.0)
    }
}

/// The settings of a [`CircuitBreaker`]: a plain value, made by [`CircuitBreaker::failure_rate`],
/// [`CircuitBreaker::consecutive_failures`] or [`CircuitBreaker::slow_calls`].
///
/// The rules add up: with several, the first that is broken opens the circuit.
///
/// ```
/// use std::time::Duration;
/// use steadfast::CircuitBreaker;
///
/// # fn main() -> Result<(), steadfast::ConfigError> {
/// let breaker = CircuitBreaker::failure_rate(0.5)
///     .consecutive_failures(10)
///     .slow_calls(Duration::from_secs(2), 0.8)
///     .window(Duration::from_secs(30))
///     .open_for(Duration::from_secs(5))
///     .probes(3)
///     .build()?;
/// # let _ = breaker; Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct CircuitBreakerConfig {
    pub(crate) failure_rate: Option<f64>,
    pub(crate) consecutive: Option<u32>,
    pub(crate) slow: Option<(Duration, f64)>,
    pub(crate) window: Window,
    pub(crate) min_calls: Option<u32>,
    pub(crate) trip_on_success: bool,
    pub(crate) open_for: Duration,
    pub(crate) open_growth: f64,
    pub(crate) max_open: Option<Duration>,
    pub(crate) open_jitter: f64,
    pub(crate) open_for_fn: Option<OpenFn>,
    pub(crate) seed: Option<u64>,
    pub(crate) probes: u32,
    pub(crate) close_after: Option<u32>,
    pub(crate) probe_lease: Option<Duration>,
    pub(crate) half_open_for: Option<Duration>,
    pub(crate) abandoned_after: Option<Duration>,
    pub(crate) ramp: Option<Duration>,
}

impl CircuitBreakerConfig {
    pub(crate) const fn new() -> Self {
        Self {
            failure_rate: None,
            consecutive: None,
            slow: None,
            // Long enough to ride out a burst of errors, short enough to notice an outage while it is news.
            window: Window::Time(Duration::from_secs(10)),
            min_calls: None,
            trip_on_success: false,
            // A restart or a fail-over takes seconds; growth takes care of what takes minutes.
            open_for: Duration::from_secs(5),
            open_growth: 2.0,
            max_open: None,
            // Enough to keep a fleet that opened together from probing together.
            open_jitter: 0.1,
            open_for_fn: None,
            seed: None,
            // One call is what it should cost to learn that the dependency is still down.
            probes: 1,
            close_after: None,
            probe_lease: None,
            half_open_for: None,
            abandoned_after: None,
            ramp: None,
        }
    }

    /// Opens when this share of the calls in the window failed, as a fraction in (0, 1]: 0.5 is 50 %.
    ///
    /// Exactly this share is enough, and at least [`min_calls`](Self::min_calls) must have been made. **Default**: no such rule,
    /// unless the configuration began with it.
    pub const fn failure_rate(mut self, share: f64) -> Self {
        self.failure_rate = Some(share);
        self
    }

    /// Opens on this many failures in a row, whatever the window and `min_calls` say; at least 1. **Default**: no such rule, unless
    /// the configuration began with it.
    pub const fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive = Some(failures);
        self
    }

    /// Opens when this share of the calls in the window took longer than `slower_than`, whether they succeeded or not.
    ///
    /// Measured from the permit to its outcome, so time spent in queues does not count. A slow probe counts as a failed one.
    /// **Default**: no such rule, unless the configuration began with it.
    pub const fn slow_calls(mut self, slower_than: Duration, share: f64) -> Self {
        self.slow = Some((slower_than, share));
        self
    }

    /// Takes rates over the calls that ended within this time, in ten rotating buckets; at least 20 ms.
    ///
    /// Costs the same at any rate of calls. Replaces [`count_window`](Self::count_window). **Default**: 10 s.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = Window::Time(window);
        self
    }

    /// Takes rates over the last so many calls, however long ago they were; 2 to 1,000,000.
    ///
    /// Costs a lock per call, which a [`window`](Self::window) of time does not. **Default**: a window of time.
    pub const fn count_window(mut self, calls: u32) -> Self {
        self.window = Window::Count(calls);
        self
    }

    /// Rates say nothing before this many calls are in the window; at least 2. **Default**: 20, or the count window where that is
    /// smaller.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = Some(calls);
        self
    }

    /// Whether a success may open the circuit too, by making the calls enough for a rate that was already bad. **Default**: `false`,
    /// only an outcome that counts against a rule can break it.
    pub const fn trip_on_success(mut self, yes: bool) -> Self {
        self.trip_on_success = yes;
        self
    }

    /// How long the circuit stays open the first time, before a probe is let through. `Duration::MAX` is for ever (until it is closed
    /// by hand). **Default**: 5 s.
    pub const fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// What the open time is multiplied by each time the probes fail; 1.0 keeps it constant. Closing starts again with
    /// [`open_for`](Self::open_for). **Default**: 2.0.
    pub const fn open_growth(mut self, factor: f64) -> Self {
        self.open_growth = factor;
        self
    }

    /// The longest that growth makes the open time. **Default**: 60 s, or `open_for` where that is longer.
    pub const fn max_open(mut self, time: Duration) -> Self {
        self.max_open = Some(time);
        self
    }

    /// Takes up to this share off each open time, at random, so that many clients do not come back at the same moment; 0.0 to 1.0.
    ///
    /// Only ever shorter, so `open_for` and `max_open` stay true limits. **Default**: 0.1, so an open time of 5 s is 4.5 s to 5 s.
    pub const fn open_jitter(mut self, share: f64) -> Self {
        self.open_jitter = share;
        self
    }

    /// Chooses each open time itself, in place of growth and jitter. `Duration::MAX` is for ever.
    ///
    /// Called without any lock, when a rule opens the circuit or probes fail. A panic in it is caught and counted, and the ordinary
    /// time is used; so it is where user code must not run: when a thread unwinds, or when an abandoned permit opens the circuit.
    /// Two configurations are equal when they name the same function. **Default**: none.
    pub const fn open_for_fn(mut self, choose: fn(&OpenFacts) -> Duration) -> Self {
        self.open_for_fn = Some(OpenFn(choose));
        self
    }

    /// Makes the jitter repeatable. **Default**: seeded by the system.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// How many probes one half-open round is made of; never more are in flight; 1 to 1,000. **Default**: 1.
    pub const fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// How many probes of a round must succeed to close the circuit; 1 to [`probes`](Self::probes).
    ///
    /// **Default**: so many that the failure rate of the probes is below the threshold: of four probes at 50 %, three. With only a
    /// rule of consecutive failures, all of them.
    pub const fn close_after(mut self, successes: u32) -> Self {
        self.close_after = Some(successes);
        self
    }

    /// How long a probe may keep its place. Past it another probe may go, and whatever the first one says no longer counts.
    ///
    /// So a probe that hangs or is forgotten cannot keep the circuit half-open for ever. **Default**: `open_for` (60 s where that is
    /// for ever).
    pub const fn probe_lease(mut self, time: Duration) -> Self {
        self.probe_lease = Some(time);
        self
    }

    /// The longest a half-open round may last without a decision; then the circuit opens again, for one open time from then on.
    ///
    /// No timer runs: the next call or outcome notices, and subscribers hear of it then. [`state`](CircuitBreaker::state) tells at once.
    /// **Default**: no limit, for leases run out one by one.
    pub const fn half_open_for(mut self, time: Duration) -> Self {
        self.half_open_for = Some(time);
        self
    }

    /// Counts a call that its caller dropped as a failure if it was at least this old: the caller had reason to give up.
    /// **Default**: a dropped call says nothing.
    pub const fn abandoned_after(mut self, age: Duration) -> Self {
        self.abandoned_after = Some(age);
        self
    }

    /// Warms up: for so long after probes closed the circuit, only a growing share of calls goes through, from a tenth to all of them. The rest
    /// is refused like by an open circuit, with a `retry_after` somewhere in the time that is left.
    ///
    /// For what comes back cold (empty caches, few instances) to many waiting callers. The circuit is closed meanwhile: its rules count and
    /// may open it again. Whoever [closes it by hand](CircuitBreaker::force_close) closes it for all. It is by count, not by chance: of any
    /// ten calls at the beginning one goes.
    /// **Default**: none, all calls go at once: most dependencies are as good as ever when they are back, and for nine of ten calls the
    /// warm-up is more outage.
    pub const fn ramp(mut self, time: Duration) -> Self {
        self.ramp = Some(time);
        self
    }

    /// Makes the live breaker.
    ///
    /// # Errors
    /// [`ConfigError`] with every setting that cannot work.
    pub fn build(self) -> Result<CircuitBreaker, ConfigError> {
        ConfigError::check("circuit breaker", self.faults())?;
        Ok(CircuitBreaker::from_config(self, crate::sync::SHARDS))
    }

    /// Everything that cannot work.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(share) = self.failure_rate {
            check::fraction(&mut faults, "failure_rate", share);
        }
        if let Some(failures) = self.consecutive {
            check::at_least(&mut faults, "consecutive_failures", failures.into(), 1);
        }
        if let Some((slower_than, share)) = self.slow {
            check::nonzero(&mut faults, "slow_calls.slower_than", slower_than, "every call would be slow; use the time a good call takes");
            check::fraction(&mut faults, "slow_calls.share", share);
        }
        self.window_faults(&mut faults);
        self.open_faults(&mut faults);
        self.probe_faults(&mut faults);
        faults
    }

    fn window_faults(&self, faults: &mut Vec<Fault>) {
        match self.window {
            Window::Time(window) if window < SHORTEST_WINDOW => {
                faults.push(Fault::new("window", format!("{window:?} is too short for a rate; use at least {SHORTEST_WINDOW:?}")));
            }
            Window::Time(_) => {}
            Window::Count(calls) => {
                check::at_least(faults, "count_window", calls.into(), 2);
                check::at_most(faults, "count_window", calls.into(), MOST_COUNTED);
            }
        }
        match (self.min_calls, self.window) {
            (Some(min), _) if min < 2 => {
                let problem = format!("{min} would let one bad call open the circuit; use at least 2, or consecutive_failures(1)");
                faults.push(Fault::new("min_calls", problem));
            }
            (Some(min), Window::Count(calls)) if min > calls => {
                let problem = format!("{min} calls never fit in a count window of {calls}; use at most {calls}, or a larger window");
                faults.push(Fault::new("min_calls", problem));
            }
            _ => {}
        }
    }

    fn open_faults(&self, faults: &mut Vec<Fault>) {
        check::nonzero(faults, "open_for", self.open_for, "the circuit would never be open; use a second or more");
        if !(self.open_growth.is_finite() && self.open_growth >= 1.0) {
            let problem = format!("{} is not a factor of at least 1; 1 keeps the open time constant, 2 doubles it", self.open_growth);
            faults.push(Fault::new("open_growth", problem));
        }
        if let Some(max) = self.max_open.filter(|&max| max < self.open_for) {
            let problem = format!("{max:?} is shorter than open_for ({:?}); make it at least that", self.open_for);
            faults.push(Fault::new("max_open", problem));
        }
        if !(0.0..=1.0).contains(&self.open_jitter) {
            faults.push(Fault::new("open_jitter", format!("{} is not a share between 0 and 1; 0.1 is up to 10 %", self.open_jitter)));
        }
    }

    fn probe_faults(&self, faults: &mut Vec<Fault>) {
        check::at_least(faults, "probes", self.probes.into(), 1);
        check::at_most(faults, "probes", self.probes.into(), MOST_PROBES);
        if let Some(needed) = self.close_after {
            check::at_least(faults, "close_after", needed.into(), 1);
            if needed > self.probes && self.probes > 0 {
                let problem = format!(
                    "{needed} successes cannot come of {} probes, so the circuit would never close; allow more probes",
                    self.probes
                );
                faults.push(Fault::new("close_after", problem));
            }
        }
        if let Some(lease) = self.probe_lease {
            check::nonzero(faults, "probe_lease", lease, "no probe could ever count; use the longest a good call may take");
        }
        if let Some(time) = self.half_open_for {
            check::nonzero(faults, "half_open_for", time, "no probe could ever count; leave it out for no limit");
        }
        if let Some(time) = self.ramp {
            check::nonzero(faults, "ramp", time, "leave it out, and all calls go at once");
        }
    }

    /// `min_calls`, chosen or derived.
    pub(in crate::admission) fn enough_calls(&self) -> u64 {
        let default = match self.window {
            Window::Time(_) => 20,
            Window::Count(calls) => calls.min(20),
        };
        u64::from(self.min_calls.unwrap_or(default))
    }

    /// `close_after`, chosen or derived.
    pub(in crate::admission) fn enough_successes(&self) -> u32 {
        if let Some(chosen) = self.close_after {
            return chosen;
        }
        let Some(threshold) = self.failure_rate.or(self.slow.map(|(_, share)| share)) else { return self.probes };
        (1..=self.probes).find(|s| f64::from(self.probes - s) / f64::from(self.probes) < threshold).unwrap_or(self.probes)
    }

    pub(in crate::admission) fn longest_open(&self) -> Duration {
        self.max_open.unwrap_or(Duration::from_secs(60)).max(self.open_for)
    }

    pub(in crate::admission) fn lease(&self) -> Duration {
        let default = if self.open_for == Duration::MAX { Duration::from_secs(60) } else { self.open_for };
        self.probe_lease.unwrap_or(default)
    }

    /// The open time after `failed_rounds` rounds of probes failed, before jitter.
    pub(in crate::admission) fn open_time(&self, failed_rounds: u32) -> Duration {
        if failed_rounds == 0 {
            return self.open_for;
        }
        let longest = self.longest_open();
        let grown = self.open_for.as_secs_f64() * self.open_growth.powf(f64::from(failed_rounds));
        Duration::try_from_secs_f64(grown).map_or(longest, |time| time.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_probes_must_succeed_that_the_share_of_failed_ones_is_below_the_threshold() {
        let rate = |probes, share| CircuitBreaker::failure_rate(share).probes(probes);
        let slow = |probes, share| CircuitBreaker::slow_calls(Duration::from_secs(1), share).probes(probes);
        for (config, needed) in [
            (rate(1, 0.5), 1),
            (rate(4, 0.5), 3), // of four, two failures are 50 %, one is 25 %
            (rate(10, 0.3), 8),
            (rate(10, 0.31), 7),
            (rate(10, 1.0), 1),
            (rate(3, 0.01), 3),
            (slow(10, 0.3), 8),
            (slow(10, 0.3).failure_rate(0.5), 6), // the rule on failures comes first
            (CircuitBreaker::consecutive_failures(1).probes(7), 7),
            (rate(10, 0.3).close_after(2), 2),
        ] {
            assert_eq!(config.enough_successes(), needed, "{config:?}");
        }
    }

    #[test]
    fn open_times_grow_from_exactly_what_was_said_to_the_longest() {
        let seconds = Duration::from_secs;
        let doubled = CircuitBreaker::failure_rate(0.5).open_for(seconds(5));
        assert_eq!([0, 1, 2, 3, 4, 99].map(|rounds| doubled.open_time(rounds).as_secs()), [5, 10, 20, 40, 60, 60]);
        // Also where a fraction of a second would be lost in a floating-point number; and for ever stays for ever.
        for odd in [Duration::new(10_000_000_000, 1), Duration::MAX] {
            assert_eq!(doubled.clone().open_for(odd).open_time(0), odd);
        }
        let constant = doubled.open_growth(1.0);
        assert_eq!([constant.open_time(9), constant.open_for(Duration::MAX).open_time(9)], [seconds(5), Duration::MAX]);
    }

    #[test]
    fn each_fault_is_told_once() {
        let fields = |config: CircuitBreakerConfig| config.faults().iter().map(|fault| fault.field().to_owned()).collect::<Vec<_>>();
        let config = CircuitBreaker::failure_rate(0.5);
        assert_eq!(fields(config.clone().probes(0).close_after(1)), ["probes"], "no number of successes would do");
        assert_eq!(fields(config.clone().probes(2).close_after(3)), ["close_after"]);
        assert!(fields(config.probes(2).close_after(2)).is_empty());
    }

    #[test]
    fn configurations_are_equal_when_they_name_the_same_function() {
        const fn short(_: &OpenFacts) -> Duration {
            Duration::from_secs(1)
        }
        const fn long(facts: &OpenFacts) -> Duration {
            Duration::from_secs(facts.calls)
        }
        let config = |choose| CircuitBreaker::failure_rate(0.5).open_for_fn(choose);
        assert_eq!(config(short), config(short));
        assert_ne!(config(short), config(long));
    }
}
