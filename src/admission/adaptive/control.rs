//! The control loop: when a window is over, and what follows from it.

use super::config::AdaptiveLimitConfig;
use super::limits::Law;
use super::sampling::Window;
use crate::time;
use std::time::Duration;
use tokio::time::Instant;

/// A window that is not full by then is closed, or forgotten when hardly anything is in it.
const LONGEST_WINDOW: Duration = Duration::from_secs(30);
/// A window of this many times its length needs no more than [`FEW`] samples.
const PATIENCE: u32 = 50;
const FEW: u64 = 10;
/// Under a low limit that many for each place will do.
const EACH: u64 = 5;
/// After so many times the number in flight hardly any long call is still missing.
const SETTLED: u64 = 3;

/// What there is to do at the end of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// Not over yet: look again then.
    Wait,
    /// Over: begin to count anew, under this limit. Another one than before begins a new epoch.
    Restart(usize),
    /// The limit has settled: what was counted so far does not.
    Settled,
}

/// Decides, given what was counted. No clock, no lock, no atomics.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) config: AdaptiveLimitConfig,
    law: Law,
    /// Finer than the limit in force: small steps add up.
    limit: f64,
    phase: Phase,
    began: Instant,
    /// The time of a call in the window before.
    pub(super) rtt: f64,
    pub(super) windows: u64,
    failure_share: f64,
    /// How many calls had found no place when the window began.
    pressed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The limit has changed, and what ends first is what was quick: nothing is measured until so many have ended, or then.
    Settling {
        samples: u64,
        at_most: Duration,
    },
    Measuring,
}

impl Control {
    pub(super) fn new(config: AdaptiveLimitConfig, now: Instant) -> Self {
        let (law, limit) = (config.law(), config.initial_limit() as f64);
        // At the beginning, too, the quick ones end first.
        let phase = Self::settling(&law, config.initial_limit(), 0.0);
        Self { config, law, limit, phase, began: now, rtt: 0.0, windows: 0, failure_share: 0.0, pressed: 0 }
    }

    fn settling(law: &Law, in_flight: usize, rtt: f64) -> Phase {
        if !law.is_patient() {
            return Phase::Measuring;
        }
        let at_most = if rtt > 0.0 { Duration::from_nanos((rtt * 4.0) as u64) } else { LONGEST_WINDOW };
        Phase::Settling { samples: (in_flight as u64).saturating_mul(SETTLED), at_most }
    }

    /// The limit as a number of places.
    pub(super) fn limit(&self) -> usize {
        self.limit.round() as usize
    }

    pub(super) const fn baseline(&self) -> f64 {
        self.law.baseline()
    }

    pub(super) fn calm_level(&self) -> u32 {
        self.law.calm_level()
    }

    /// When to look again, if nothing else happens.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        time::after(now, self.config.window / 4)
    }

    /// The calls since the last restart told this.
    pub(super) fn look(&mut self, now: Instant, window: &Window, in_use: usize, pressed: u64) -> Step {
        let elapsed = now.saturating_duration_since(self.began);
        match self.phase {
            Phase::Settling { samples, at_most } => {
                let settled = window.told() + window.drops;
                if self.law.is_alert() && self.is_alarm(window, elapsed) {
                    let window = Window { pressed: pressed.saturating_sub(self.pressed), ..*window };
                    self.pressed = pressed;
                    return self.measure(now, elapsed, &window, in_use);
                }
                if settled < samples.max(1) && elapsed < at_most {
                    return Step::Wait;
                }
                self.phase = Phase::Measuring;
                self.began = now;
                self.pressed = pressed;
                Step::Settled
            }
            Phase::Measuring => {
                let window = Window { pressed: pressed.saturating_sub(self.pressed), ..*window };
                let step = self.measure(now, elapsed, &window, in_use);
                if step != Step::Wait {
                    self.pressed = pressed;
                }
                step
            }
        }
    }

    /// Most of the calls are lost: that needs no closer look.
    fn is_alarm(&self, window: &Window, elapsed: Duration) -> bool {
        let enough = FEW.max(self.limit() as u64 / 2);
        self.law.is_patient() && window.drops >= enough && window.drop_share() > 0.5 && elapsed >= self.config.window
    }

    fn measure(&mut self, now: Instant, elapsed: Duration, window: &Window, in_use: usize) -> Step {
        let late = elapsed >= LONGEST_WINDOW.max(self.config.window);
        if !late && elapsed < self.config.window {
            return Step::Wait;
        }
        let few = FEW.min(self.config.min_samples);
        let told = window.told().max(window.drops);
        // A low limit that keeps callers out must not wait long for a full window: few calls come through it.
        let is_low = self.law.is_patient() && window.pressed > told;
        let least = if elapsed / PATIENCE >= self.config.window {
            few
        } else if is_low {
            self.config.min_samples.min(few.max(EACH * self.limit() as u64))
        } else {
            self.config.min_samples
        };
        let enough = least.saturating_mul(self.law.patience());
        if told < enough.max(1) && !self.is_alarm(window, elapsed) {
            if late {
                self.began = now;
                return Step::Restart(self.limit());
            }
            return Step::Wait;
        }
        let before = self.limit();
        let failing = window.failures as f64 / told.max(1) as f64;
        // Smoothed, for a small window without errors is no news where half of the calls fail.
        self.failure_share += (failing - self.failure_share) * if self.windows == 0 { 1.0 } else { 0.1 };
        let window = Window { elapsed: time::nanos(elapsed) as f64, failure_share: self.failure_share, ..*window };
        let next = self.law.next(&window, self.limit);
        let (min, max) = self.config.bounds();
        // An impossible number changes nothing.
        if !next.is_nan() {
            self.limit = next.clamp(min as f64, max as f64);
        }
        if window.samples > 0 {
            self.rtt = window.mean_rtt();
        }
        self.windows += 1;
        self.began = now;
        let limit = self.limit();
        if limit != before {
            self.phase = Self::settling(&self.law, limit.min(in_use.max(1)), self.rtt);
        }
        Step::Restart(limit)
    }

    /// Goes on with other settings; what was learnt stays where the algorithm stays.
    pub(super) fn reconfigure(&mut self, config: &AdaptiveLimitConfig, now: Instant) -> usize {
        if !config.has_same_law(&self.config) {
            self.law = config.law();
        }
        self.config = config.clone();
        let (min, max) = self.config.bounds();
        self.limit = self.limit.clamp(min as f64, max as f64);
        self.began = now;
        self.phase = Self::settling(&self.law, self.limit(), self.rtt);
        self.limit()
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests;
