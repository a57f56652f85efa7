//! What a throttle is to be: how much more than is accepted, over what time, and how it finds its way back.

use super::Throttle;
use crate::fault::{ConfigError, Fault, check};
use std::time::Duration;

/// Shorter windows hold single calls, not rates.
const SHORTEST_WINDOW: Duration = Duration::from_millis(20);

/// The settings of a [`Throttle`]: a plain value, made by [`Throttle::new`].
///
/// ```
/// use std::time::Duration;
/// use steadfast::Throttle;
///
/// # fn main() -> Result<(), steadfast::ConfigError> {
/// let throttle = Throttle::new().accept_multiplier(1.5).window(Duration::from_secs(60)).build()?;
/// # let _ = throttle; Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct ThrottleConfig {
    pub(crate) accept_multiplier: f64,
    pub(crate) window: Duration,
    pub(crate) min_requests: u32,
    pub(crate) max_rejection: f64,
    pub(crate) fast_recovery: bool,
    pub(crate) probe_interval: Duration,
    pub(crate) seed: Option<u64>,
}

impl ThrottleConfig {
    pub(super) const fn new() -> Self {
        Self {
            accept_multiplier: 2.0,
            window: Duration::from_secs(30),
            min_requests: 20,
            max_rejection: 1.0,
            fast_recovery: true,
            probe_interval: Duration::from_secs(1),
            seed: None,
        }
    }

    /// How many calls may go for each one that the dependency accepts: the book's *K*, more than 1.
    ///
    /// It is also how much failure is borne: calls are held back once fewer than one in `K` is accepted. Lower holds back more and
    /// sooner (1.1: the dependency refuses one call in eleven, and a failure rate of a tenth is overload); higher wastes more of the
    /// dependency, and notices sooner that it accepts more.
    /// **Default**: 2.0, as in the book: half of what reaches an overloaded dependency is accepted.
    pub const fn accept_multiplier(mut self, factor: f64) -> Self {
        self.accept_multiplier = factor;
        self
    }

    /// Over what time requests and accepts are counted, in ten rotating buckets; at least 20 ms.
    ///
    /// After a good time it takes `1 - 1 / K` of a window of outage before anything is held back.
    /// **Default**: 30 s. The book has two minutes; with its *K* a dead dependency would then be called at full rate for one of them.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Nothing is held back before this many requests are in the window; at least 1. **Default**: 20, as the circuit breaker has it: fewer
    /// say little.
    pub const fn min_requests(mut self, requests: u32) -> Self {
        self.min_requests = requests;
        self
    }

    /// No call is held back with a higher probability than this, as a fraction in (0, 1].
    ///
    /// Below 1, a dependency that accepts nothing is called at the rest of the rate, and the promise to forward at most `K` times what is
    /// accepted ends where demand is so high that the cap forbids to keep it. **Default**: 1.0, for
    /// [probes](Self::probe_interval) keep it from shutting for ever.
    pub const fn max_rejection(mut self, share: f64) -> Self {
        self.max_rejection = share;
        self
    }

    /// Whether it probes a dependency that seems down, and forgets the outage once probes are accepted.
    ///
    /// Off, it is the textbook: the requests of an outage count until they leave the window, and one call in a window finds out that it is
    /// over: an outage of five minutes then holds calls back for ten minutes more and longer. **Default**: `true`.
    pub const fn fast_recovery(mut self, yes: bool) -> Self {
        self.fast_recovery = yes;
        self
    }

    /// While calls are held back, at least one in so long goes through; not zero. An outage is noticed to be over about so late.
    /// Nothing without [`fast_recovery`](Self::fast_recovery). **Default**: 1 s, which no dependency notices, unless it has thousands of clients.
    pub const fn probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// Makes chance repeatable, for calls made one after the other. **Default**: seeded by the system.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the live throttle.
    ///
    /// # Errors
    /// [`ConfigError`] with every setting that cannot work.
    pub fn build(self) -> Result<Throttle, ConfigError> {
        ConfigError::check("throttle", self.faults())?;
        Ok(Throttle::from_config(self, crate::sync::SHARDS))
    }

    /// Everything that cannot work.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if !(self.accept_multiplier.is_finite() && self.accept_multiplier > 1.0) {
            let problem =
                format!("{} would shut it for ever at the first failure; use more than 1, 2 is the usual", self.accept_multiplier);
            faults.push(Fault::new("accept_multiplier", problem));
        }
        if self.window < SHORTEST_WINDOW {
            faults.push(Fault::new("window", format!("{:?} is too short for a rate; use at least {SHORTEST_WINDOW:?}", self.window)));
        }
        check::at_least(&mut faults, "min_requests", self.min_requests.into(), 1);
        check::fraction(&mut faults, "max_rejection", self.max_rejection);
        check::nonzero(&mut faults, "probe_interval", self.probe_interval, "every call would be a probe; use a second or so");
        faults
    }
}
