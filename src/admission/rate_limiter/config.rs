//! What a limiter is to be: rate, algorithm, queue.

use super::super::steering::Steering;
use super::super::wait_queue::{self, CoDel};
use super::{RateLimiter, gcra, window};
use crate::fault::{ConfigError, Fault, check};
use crate::outcome::Seconds;
use crate::time;
use std::time::Duration;

/// As many as may stand in line, unless set: at 100 per second they wait for ten seconds, longer than most callers would.
const QUEUE: usize = 1_000;

/// A longer queue is a mistake: nobody is served by a wait behind a million callers.
const MOST_WAITERS: u64 = 1_000_000;

/// How a [`RateLimiter`] shall work. Made by its constructors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct RateLimiterConfig {
    pub(crate) units: u32,
    pub(crate) period: Duration,
    pub(crate) burst: Option<u32>,
    pub(crate) sliding: bool,
    pub(crate) max_wait: Duration,
    pub(crate) queue: usize,
    pub(crate) ageing: Duration,
    pub(crate) shed: Option<CoDel>,
}

impl RateLimiterConfig {
    pub(super) const fn new(units: u32, period: Duration) -> Self {
        let (max_wait, ageing) = (Duration::ZERO, wait_queue::AGEING);
        Self { units, period, burst: None, sliding: false, max_wait, queue: QUEUE, ageing, shed: None }
    }

    /// How many units may go at once after a quiet time; also the largest cost of one call.
    ///
    /// **Default**: the units of one period, so that whoever was quiet for a period may spend it all at once.
    pub const fn burst(mut self, units: u32) -> Self {
        self.burst = Some(units);
        self
    }

    /// One at a time, evenly spaced: a burst of 1.
    pub const fn smooth(self) -> Self {
        self.burst(1)
    }

    /// Counts exactly: at most so many units in *any* interval as long as the period, the beginning included and the end not.
    ///
    /// For quotas that a provider counts that way. It costs a lock, and 32 bytes for each unit of the quota at most (so the quota is
    /// limited to a million units), and it has no burst: all units may go at once, and come back a period later.
    /// **Default**: off, the token bucket.
    pub const fn sliding_window(mut self) -> Self {
        self.sliding = true;
        self
    }

    /// The longest a caller may wait for its turn. Whoever would have to wait longer is refused at once.
    ///
    /// The timer counts in milliseconds, so a waiter may be up to one late. It is debited as if it had come in time: waiters get the full
    /// rate at any rate, and in return may come up to a millisecond closer to each other than the burst says: in a stretch of time `t` at
    /// most `burst + rate * (t + 1 ms)`. (A sliding window stays exact, and its waiters lose that millisecond.)
    /// **Default**: zero, refuse at once. `Duration::MAX` waits for as long as the call's deadline allows.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The longest queue, when waiting is on. A full queue refuses, or sends away the newest of the least important for somebody
    /// more important. At most a million. **Default**: 1 000, ten seconds' worth at 100 per second.
    pub const fn queue(mut self, waiters: usize) -> Self {
        self.queue = waiters;
        self
    }

    /// The head start of one [`Priority`](crate::Priority) over the next, when waiting is on: a caller that came this much later, and is one step more
    /// important, stands beside it in line. Zero ignores priorities; `Duration::MAX` lets the important starve the others.
    /// [`Priority::Critical`](crate::Priority::Critical) is always next, however long others have waited. **Default**: 2 s.
    pub const fn ageing(mut self, step: Duration) -> Self {
        self.ageing = step;
        self
    }

    /// When waiting is on: under lasting overload, refuses who has waited too long, so that those who get through have not waited in vain.
    /// **Default**: nobody is shed.
    pub const fn shed(mut self, when: CoDel) -> Self {
        self.shed = Some(when);
        self
    }

    /// Makes the limiter, its bucket full.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once.
    pub fn build(self) -> Result<RateLimiter, ConfigError> {
        ConfigError::check("rate limiter", self.faults())?;
        Ok(RateLimiter::from_config(self))
    }

    /// Makes the limiter, its bucket full and its rate [steered](crate::steering) from the configured one on.
    ///
    /// It is a live limiter, not a configuration, because signals are not plain values; a pipeline takes it all the same:
    /// `.rate_limit(limiter)`.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once.
    pub fn steered(self, steering: Steering) -> Result<RateLimiter, ConfigError> {
        let limiter = self.build()?;
        limiter.steer(steering)?;
        Ok(limiter)
    }

    /// The longest that a caller may wait in the queue.
    pub(crate) const fn longest_wait(&self) -> Duration {
        self.max_wait
    }

    /// The largest cost of one call.
    pub(crate) fn capacity(&self) -> u32 {
        if self.sliding { self.units } else { self.burst.unwrap_or(self.units) }
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "rate", u64::from(self.units), 1);
        check::nonzero(&mut faults, "period", self.period, "for no limit, leave the rate limiter out");
        if let Some(burst) = self.burst {
            check::at_least(&mut faults, "burst", u64::from(burst), 1);
        }
        let period = time::nanos(self.period);
        if period > gcra::LONGEST_FILL {
            faults.push(Fault::new("period", format!("{} is longer than 73 years; make it shorter", Seconds(self.period))));
        } else if period > 0 && period < u64::from(self.units) {
            let problem = format!(
                "{} in {} is more than one a nanosecond; for no limit, leave the rate limiter out",
                self.units,
                Seconds(self.period)
            );
            faults.push(Fault::new("rate", problem));
        } else if self.sliding {
            check::at_most(&mut faults, "rate", u64::from(self.units), u64::from(window::MOST_UNITS));
            if let Some(burst) = self.burst {
                faults.push(Fault::new("burst", format!("{burst} has no meaning for a sliding window; leave out one of the two")));
            }
        } else if let Some(interval) = period.div_ceil(u64::from(self.units.max(1))).checked_mul(u64::from(self.capacity()))
            && interval <= gcra::LONGEST_FILL
        {
            // fills in a time we can count
        } else {
            let problem = format!("{} would take longer than 73 years to fill; choose a smaller burst or a higher rate", self.capacity());
            faults.push(Fault::new("burst", problem));
        }
        let queue = u64::try_from(self.queue).unwrap_or(u64::MAX);
        check::at_most(&mut faults, "queue", queue, MOST_WAITERS);
        if !self.max_wait.is_zero() {
            check::at_least(&mut faults, "queue", queue, 1);
        }
        if let Some(codel) = &self.shed {
            faults.append(&mut codel.faults());
        }
        faults
    }
}
