//! What a live limiter runs with, and how it goes on with something else: by hand, or steered.

use super::{RateLimiter, RateLimiterConfig, Shared};
use crate::admission::steering::{Pilot, Steering, SteeringState};
use crate::fault::{ConfigError, Fault, gather};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use crate::time;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

impl RateLimiter {
    /// What it runs with now. A steered one goes back to this rate, and runs at [`rate`](Self::rate).
    pub fn config(&self) -> RateLimiterConfig {
        lock(&self.shared.config).clone()
    }

    /// The units of a period now: as configured, unless it is steered.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.shared.steering.get().map_or_else(|| lock(&self.shared.config).units, |pilot| pilot.rate())
    }

    /// Has its rate steered from now on, beginning at the one it runs with. What is owed stays owed whenever the rate moves, as
    /// [`set_rate`](Self::set_rate) says; so does a burst that was set, and one that was not follows the rate: set one where a call may
    /// cost more than the floor.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once; and when it is steered already.
    pub fn steer(&self, steering: Steering) -> Result<(), ConfigError> {
        // Under the lock, so that nobody gives it another rate meanwhile; and no code of the user's runs or is dropped under it.
        let config = lock(&self.shared.config);
        let mut faults = steering.faults(config.units);
        if faults.is_empty() {
            for &(field, units) in &[("floor", steering.floor), ("ceiling", steering.ceiling)] {
                gather(&mut faults, field, RateLimiterConfig { units, ..config.clone() }.faults());
            }
        }
        ConfigError::check("steering", faults)?;
        let pilot = Pilot::new(steering, config.units, config.period, Instant::now());
        let steered_already = self.shared.steering.set(Box::new(pilot));
        drop(config);
        steered_already.or_else(|_| {
            let fault = Fault::new("steering", "this limiter is steered already, and stays so; make another limiter");
            ConfigError::check("steering", vec![fault])
        })
    }

    /// How it is steered; `None` when it is not.
    #[must_use]
    #[inline]
    pub fn steering(&self) -> Option<SteeringState> {
        self.shared.steering.get().map(|pilot| pilot.state())
    }

    /// Goes on at another rate. A burst that was not set follows the units. A steered limiter begins anew there,
    /// or at its floor or ceiling where those are nearer.
    ///
    /// Nothing owed is forgotten and nothing comes free by the change: of the units that were there, at most as many are there
    /// afterwards, and a debt is paid off at the new rate. Callers that wait keep their places. A sliding window keeps its log, which
    /// reaches back for one old period.
    ///
    /// # Errors
    /// What [`build`](RateLimiterConfig::build) would refuse; then nothing is changed.
    #[inline]
    pub fn set_rate(&self, units: u32, period: Duration) -> Result<(), ConfigError> {
        self.set(|config| RateLimiterConfig { units, period, ..config })
    }

    /// Goes on with another burst; otherwise as [`set_rate`](Self::set_rate).
    ///
    /// # Errors
    /// What [`build`](RateLimiterConfig::build) would refuse; then nothing is changed.
    #[inline]
    pub fn set_burst(&self, units: u32) -> Result<(), ConfigError> {
        self.set(|config| config.burst(units))
    }

    /// Goes on with other settings: the rate and the burst as [`set_rate`](Self::set_rate) does, queue and waits for newcomers. `false`, and nothing
    /// happens, where the algorithm is another: what one has counted means nothing to the other.
    ///
    /// # Errors
    /// What [`build`](RateLimiterConfig::build) would refuse; then nothing is changed.
    #[inline]
    pub fn reconfigure(&self, config: &RateLimiterConfig) -> Result<bool, ConfigError> {
        ConfigError::check("rate limiter", config.faults())?;
        let fits = self.reconfigure_quietly(config);
        self.tell();
        Ok(fits)
    }

    /// The same for settings that were checked; nobody is woken before [`tell`](Self::tell).
    pub(crate) fn reconfigure_quietly(&self, config: &RateLimiterConfig) -> bool {
        let fits = config.sliding == self.config().sliding;
        fits && self.set_quietly(|_| config.clone()).is_ok()
    }

    /// Wakes those who wait, for their time may be another.
    #[inline]
    pub(crate) fn tell(&self) {
        self.shared.queue.retime();
    }

    fn set(&self, change: impl FnOnce(RateLimiterConfig) -> RateLimiterConfig) -> Result<(), ConfigError> {
        self.set_quietly(change)?;
        self.tell();
        Ok(())
    }

    fn set_quietly(&self, change: impl FnOnce(RateLimiterConfig) -> RateLimiterConfig) -> Result<(), ConfigError> {
        let mut config = lock(&self.shared.config);
        let changed = change(config.clone());
        ConfigError::check("rate limiter", changed.faults())?;
        // A rate that is set anew, even the same, rounds what is free down.
        if (changed.units, changed.period, changed.capacity()) != (config.units, config.period, config.capacity()) {
            let mut meter = changed.clone();
            if let Some(pilot) = self.shared.steering.get() {
                if (changed.units, changed.period) == (config.units, config.period) {
                    meter.units = pilot.rate();
                } else {
                    meter.units = pilot.within(changed.units);
                    ConfigError::check("rate limiter", meter.faults())?;
                    pilot.restart(changed.units, changed.period);
                }
            }
            self.shared.queue.supply().set(&meter, Instant::now());
        }
        self.shared.queue.set_terms(changed.queue, changed.ageing);
        self.shared.queue.set_shedding(changed.shed);
        self.shared.max_wait.store(time::nanos(changed.max_wait), Ordering::Relaxed);
        *config = changed;
        Ok(())
    }
}

impl Shared {
    /// Lets the rate follow the signals, where it is steered and an interval is over.
    #[inline]
    pub(super) fn steer(&self, cost: NonZeroU32, now: Instant) {
        if let Some(pilot) = self.steering.get()
            && pilot.asked(cost.get(), now).is_some()
        {
            self.follow(pilot, now);
        }
    }

    #[cold]
    fn follow(&self, pilot: &Pilot, now: Instant) {
        let config = lock(&self.config);
        // Read under the lock: it may have been given another rate by hand meanwhile.
        let steered = RateLimiterConfig { units: pilot.rate(), ..config.clone() };
        if steered.faults().is_empty() {
            self.queue.supply().set(&steered, now);
        }
        drop(config);
        self.queue.retime();
    }
}
