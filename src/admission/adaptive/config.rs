//! What an adaptive limit is to be: algorithm, bounds, window, queue.

use super::super::wait_queue::{self, CoDel};
use super::AdaptiveLimit;
use super::limits::Law;
use super::limits::aimd::{self, Aimd};
use super::limits::gradient2::{self, Gradient2};
use super::limits::standing::{self, Standing};
use super::limits::vegas::{self, Vegas};
use crate::fault::{ConfigError, Fault, check};
use std::time::Duration;

/// A longer queue is a mistake: nobody is served by a wait behind a million calls.
const MOST_WAITERS: u64 = 1_000_000;
/// More in flight than this is not a limit but none.
const MOST_PLACES: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Standing,
    Aimd,
    Vegas,
    Gradient2,
}

impl Algorithm {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Standing => "default",
            Self::Aimd => "aimd",
            Self::Vegas => "vegas",
            Self::Gradient2 => "gradient2",
        }
    }
}

/// How an [`AdaptiveLimit`] shall work. Made by its constructors.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct AdaptiveLimitConfig {
    pub(crate) algorithm: Algorithm,
    pub(crate) initial: usize,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) window: Duration,
    pub(crate) min_samples: u64,
    pub(crate) reserve: f64,
    pub(crate) queue: usize,
    pub(crate) max_wait: Duration,
    pub(crate) ageing: Duration,
    pub(crate) shed: Option<CoDel>,
    pub(crate) tolerance: Option<f64>,
    pub(crate) backoff_ratio: Option<f64>,
    pub(crate) alpha: Option<f64>,
    pub(crate) beta: Option<f64>,
    pub(crate) smoothing: Option<f64>,
    pub(crate) queue_size: Option<f64>,
}

impl AdaptiveLimitConfig {
    pub(super) const fn new(algorithm: Algorithm, max: usize, min_samples: u64) -> Self {
        Self {
            algorithm,
            initial: 20,
            min: 1,
            max,
            window: Duration::from_millis(100),
            min_samples,
            reserve: 0.25,
            queue: 0,
            max_wait: Duration::MAX,
            ageing: wait_queue::AGEING,
            shed: None,
            tolerance: None,
            backoff_ratio: None,
            alpha: None,
            beta: None,
            smoothing: None,
            queue_size: None,
        }
    }

    /// The limit to begin with. **Default**: 20, as in Netflix' and failsafe-go's limiters: enough for a start, and found wrong quickly.
    pub const fn initial(mut self, limit: usize) -> Self {
        self.initial = limit;
        self
    }

    /// The limit is never lower; at least 1, for a limit of 0 would never learn that the dependency is back. **Default**: 1.
    pub const fn min(mut self, limit: usize) -> Self {
        self.min = limit;
        self
    }

    /// The limit is never higher; at most 10,000,000. **Default**: 10,000; 200 for AIMD and Gradient2 and 1,000 for Vegas, as in their projects, for
    /// these may drift up to it.
    pub const fn max(mut self, limit: usize) -> Self {
        self.max = limit;
        self
    }

    /// The shortest time between two decisions. **Default**: 100 ms, as in Envoy: ten decisions a second are quicker than any person, and there is time
    /// for enough calls in between.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// The fewest calls that a decision is made on; a window lasts until there are so many. (Where calls are rare, ten will do after fifty
    /// windows' time.) **Default**: 50, where the mean of exponentially distributed times is known to 14 %; 10 for the others, as in Netflix'.
    pub const fn min_samples(mut self, calls: u64) -> Self {
        self.min_samples = calls;
        self
    }

    /// How far [`Priority::Critical`](crate::Priority::Critical) calls may go beyond the limit, as a share of it, at least one place; 0 for none.
    /// So they find a place when all are taken by others. **Default**: 0.25.
    pub const fn reserve(mut self, share: f64) -> Self {
        self.reserve = share;
        self
    }

    /// How many calls may wait for a place. When all wait and a more important one comes, the newest of the least important is refused in
    /// its stead; [`Priority::Critical`](crate::Priority::Critical) is always next. **Default**: 0, refuse at once: in overload a queue is always full, and only makes every
    /// call later.
    pub const fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// How long a call may wait for a place; zero refuses at once. Refused `ConcurrencyLimited` when it is over.
    /// **Default**: `Duration::MAX`, as long as the call's deadline allows.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The head start of one [`Priority`](crate::Priority) over the next in the queue: a call that came this much later, and is one step more
    /// important, stands beside it in line. **Default**: 2 s, long against a call and short against a person's patience.
    pub const fn ageing(mut self, step: Duration) -> Self {
        self.ageing = step;
        self
    }

    /// When calls that have waited too long are refused. **Default**: nobody is shed; everybody waits for as long as
    /// [`max_wait`](Self::max_wait) and its deadline allow.
    pub const fn shed(mut self, when: CoDel) -> Self {
        self.shed = Some(when);
        self
    }

    /// How much longer than without a queue calls may take, for the limit to stay; a share, from 0 to 4.
    ///
    /// For [`AdaptiveLimit::new`], **default**: 0.35, which under saturation makes the limit 1.35 times what the dependency works on at once: enough for it never
    /// to wait for work. For [`AdaptiveLimit::gradient2`], **default**: 0, the published formula; Netflix' servers ran with 0.5.
    pub const fn tolerance(mut self, share: f64) -> Self {
        self.tolerance = Some(share);
        self
    }

    /// For AIMD: what is left of the limit after a timeout, at least 0.5 and less than 1. **Default**: 0.9.
    pub const fn backoff_ratio(mut self, ratio: f64) -> Self {
        self.backoff_ratio = Some(ratio);
        self
    }

    /// For Vegas: with fewer than this many calls in the queue, times log10 of the limit, the limit grows. **Default**: 3.
    pub const fn alpha(mut self, calls: f64) -> Self {
        self.alpha = Some(calls);
        self
    }

    /// For Vegas: with more than this many calls in the queue, times log10 of the limit, the limit shrinks. **Default**: 6.
    pub const fn beta(mut self, calls: f64) -> Self {
        self.beta = Some(calls);
        self
    }

    /// For Gradient2: how much of each new limit is taken over, more than 0 and at most 1. **Default**: 0.2.
    pub const fn smoothing(mut self, share: f64) -> Self {
        self.smoothing = Some(share);
        self
    }

    /// For Gradient2: the queue that is left standing, in calls. **Default**: 4.
    pub const fn queue_size(mut self, calls: f64) -> Self {
        self.queue_size = Some(calls);
        self
    }

    /// Makes the limit.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once: a `min` of 0, `min` > `max`, `initial` outside of both, a parameter of another algorithm.
    pub fn build(self) -> Result<AdaptiveLimit, ConfigError> {
        ConfigError::check("adaptive limit", self.faults())?;
        Ok(AdaptiveLimit::from_config(self))
    }

    /// Whether a call without a deadline may wait in the queue for ever.
    pub(crate) fn waits_for_ever(&self) -> bool {
        self.longest_wait() == Duration::MAX
    }

    /// The longest that a call may wait in the queue.
    pub(crate) const fn longest_wait(&self) -> Duration {
        if self.queue == 0 { Duration::ZERO } else { self.max_wait }
    }

    pub(super) const fn initial_limit(&self) -> usize {
        self.initial
    }

    pub(super) const fn bounds(&self) -> (usize, usize) {
        (self.min, self.max)
    }

    /// How many places there are beyond a limit.
    pub(super) fn reserve_of(&self, limit: usize) -> usize {
        if self.reserve > 0.0 { ((limit as f64 * self.reserve) as usize).max(1) } else { 0 }
    }

    pub(super) fn law(&self) -> Law {
        match self.algorithm {
            Algorithm::Standing => Law::Standing(Standing::new(self.tolerance.unwrap_or(standing::TOLERANCE))),
            Algorithm::Aimd => Law::Aimd(Aimd { backoff_ratio: self.backoff_ratio.unwrap_or(aimd::BACKOFF_RATIO) }),
            Algorithm::Vegas => Law::Vegas(Vegas::new(self.alpha.unwrap_or(vegas::ALPHA), self.beta.unwrap_or(vegas::BETA))),
            Algorithm::Gradient2 => Law::Gradient2(Gradient2::new(
                1.0 + self.tolerance.unwrap_or(gradient2::TOLERANCE),
                self.smoothing.unwrap_or(gradient2::SMOOTHING),
                self.queue_size.unwrap_or(gradient2::QUEUE_SIZE),
            )),
        }
    }

    pub(super) fn has_same_law(&self, other: &Self) -> bool {
        self.law() == other.law()
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        if self.min == 0 {
            faults.push(Fault::new("min", "0 would refuse every call, and never learn that the dependency is back; give it at least 1"));
        }
        check::at_most(&mut faults, "max", number(self.max), MOST_PLACES);
        if self.min > self.max {
            faults.push(Fault::new("min", format!("{} is more than max, {}; lower it or raise max", self.min, self.max)));
        } else if self.initial < self.min || self.initial > self.max {
            let problem = format!("{} is not between min, {}, and max, {}; choose one that is", self.initial, self.min, self.max);
            faults.push(Fault::new("initial", problem));
        }
        check::nonzero(&mut faults, "window", self.window, "100 ms is a good beginning");
        check::at_least(&mut faults, "min_samples", self.min_samples, 1);
        if !(0.0..=1.0).contains(&self.reserve) {
            faults.push(Fault::new("reserve", format!("{} is not a share between 0 and 1; 0.25 is a quarter", self.reserve)));
        }
        check::at_most(&mut faults, "queue", number(self.queue), MOST_WAITERS);
        if let Some(codel) = &self.shed {
            faults.append(&mut codel.faults());
        }
        self.check_parameters(&mut faults);
        faults
    }

    fn check_parameters(&self, faults: &mut Vec<Fault>) {
        use Algorithm::{Aimd, Gradient2, Standing, Vegas};
        let beta = self.beta.unwrap_or(vegas::BETA);
        type Check<'a> = (&'static str, Option<f64>, &'a [Algorithm], f64, f64, &'static str);
        let checks: [Check<'_>; 6] = [
            ("tolerance", self.tolerance, &[Standing, Gradient2], 0.0, 4.0, "from 0 to 4; 0.35 lets calls take 35 % longer"),
            ("backoff_ratio", self.backoff_ratio, &[Aimd], 0.5, 1.0 - f64::EPSILON, "at least 0.5 and less than 1; 0.9 takes a tenth away"),
            ("alpha", self.alpha, &[Vegas], 0.0, beta, "from 0 to beta"),
            ("beta", self.beta, &[Vegas], 0.0, 1e6, "from 0 to 1,000,000"),
            ("smoothing", self.smoothing, &[Gradient2], 1e-6, 1.0, "more than 0 and at most 1"),
            ("queue_size", self.queue_size, &[Gradient2], 0.0, 1e6, "from 0 to 1,000,000"),
        ];
        for (field, value, owners, least, most, range) in checks {
            let Some(value) = value else { continue };
            if !owners.contains(&self.algorithm) {
                let problem =
                    format!("means nothing to the {} algorithm, only to {}; leave it out", self.algorithm.name(), owners[0].name());
                faults.push(Fault::new(field, problem));
            } else if !(least..=most).contains(&value) {
                faults.push(Fault::new(field, format!("{value} is not {range}")));
            }
        }
    }
}
