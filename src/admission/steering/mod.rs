//! A rate that finds its number: a [`RateLimiter`](crate::RateLimiter) whose rate follows what the dependency can bear, and what will be
//! asked for.
//!
//! A fixed rate is wrong the day traffic or the dependency changes. Steering moves it between a floor and a ceiling:
//!
//! ```text
//!   signals: error rate, response time, queue depth, load, your own
//!                │ the highest pressure: 0 idle, 1 at the limit
//!                ▼
//!    > 1     cut in proportion, by 30 % at most         ┐
//!   0.8 .. 1 hold                                       ├─▶ what they allow ─┐
//!    < 0.8   one step up; above the configured rate     ┘                    ├─▶ the lower of the two is the rate
//!            only while at least half of it is used                         │
//!   forecast of the demand, a few intervals ahead ─▶ times the headroom ────┘
//! ```
//!
//! It is *additive increase, multiplicative decrease* (Chiu and Jain, *Analysis of the increase and decrease algorithms for congestion
//! avoidance in computer networks*, 1989), which settles at what the dependency bears and shares it fairly among clients that do the
//! same; with a smoothed pressure, two thresholds so that it does not flutter, and a bound on each step.
//!
//! Nothing runs in the background. The first call after an interval reads the signals and moves the rate before it goes on; all other
//! calls pay one comparison and one count, and a limiter that is not steered pays nothing. Nobody calls, nothing happens.
//!
//! **When not to use it**: where the number is known: a quota that a provider tells. Where *concurrency* is what runs out, limit that:
//! a [`Bulkhead`](crate::Bulkhead) needs no steering to slow down with a slow dependency.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::steering::{ErrorRate, ResponseTime, Steering};
//! use steadfast::{Monitor, Pipeline, RateLimiter};
//!
//! let monitor = Monitor::new();
//! let limiter = RateLimiter::per_second(100).steered(
//!     Steering::between(10, 200)
//!         .signal(ErrorRate::of(&monitor, "search").above(0.05))
//!         .signal(ResponseTime::p95_above(Duration::from_millis(300), &monitor, "search")),
//! )?;
//! let search = Pipeline::builder("search").monitor(monitor).rate_limit(limiter.clone()).build()?;
//!
//! let hits = search.call(|| async { Ok::<_, std::io::Error>(3) }).await?;
//! assert_eq!((hits, limiter.rate()), (3, 100)); // where it begins
//! # Ok(()) }
//! ```
//!
//! With a [`Forecast`], the rate follows the demand that is expected, times a headroom: at noon it is up before the noon rush is, and at
//! night a client that runs wild meets a limit of the night's size. See [`forecast`] for the methods.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::RateLimiter;
//! use steadfast::steering::{HoltWinters, Steering};
//!
//! let quarter = Duration::from_secs(15 * 60);
//! let limiter = RateLimiter::per_second(100).steered(
//!     Steering::between(20, 1_000)
//!         .forecast(HoltWinters::multiplicative(96)) // 96 quarters of an hour are a day
//!         .forecast_every(quarter)
//!         .lead(1)                                   // up a quarter of an hour early
//!         .headroom(1.5),
//! )?;
//! # let _ = limiter; Ok(()) }
//! ```

pub mod forecast;
mod helm;
mod pilot;
mod signal;

pub use forecast::{Forecast, Holt, HoltWinters};
pub(crate) use pilot::Pilot;
pub use signal::{ErrorRate, QueueDepth, ResponseTime, Signal, SystemLoad};

use crate::fault::{Fault, check, gather};
use std::fmt;
use std::time::Duration;

/// Looking further ahead than this is reading tea leaves, one prediction at a time.
const LONGEST_LEAD: u32 = 10_000;

/// How a rate is steered. Given to [`RateLimiterConfig::steered`](crate::RateLimiterConfig::steered) or
/// [`RateLimiter::steer`](crate::RateLimiter::steer).
#[must_use = "it does nothing until a limiter is steered by it"]
pub struct Steering {
    pub(crate) floor: u32,
    pub(crate) ceiling: u32,
    pub(super) every: Duration,
    pub(super) signals: Vec<Box<dyn Signal>>,
    pub(super) forecast: Option<Box<dyn Forecast>>,
    pub(super) forecast_every: Option<Duration>,
    pub(super) lead: u32,
    pub(super) headroom: f64,
    pub(super) smoothing: f64,
    pub(super) grow_below: f64,
    pub(super) most_cut: f64,
    pub(super) step: Option<f64>,
}

impl Steering {
    /// Between so many units and so many, in the period of the limiter: of `per_second(100)` in units per second. It moves in whole
    /// units, so a slow limiter moves more smoothly in a longer period: `per_minute(90)`.
    pub fn between(floor: u32, ceiling: u32) -> Self {
        Self {
            floor,
            ceiling,
            every: Duration::from_secs(1),
            signals: Vec::new(),
            forecast: None,
            forecast_every: None,
            lead: 1,
            headroom: 1.5,
            smoothing: 0.5,
            grow_below: 0.8,
            most_cut: 0.3,
            step: None,
        }
    }

    /// Listens to this signal as well; the one that tells of the highest pressure counts. **Default**: none.
    pub fn signal(mut self, signal: impl Signal) -> Self {
        self.signals.push(Box::new(signal));
        self
    }

    /// Follows what this expects to be asked for, in units per period of the limiter, refused units included. Callers that ask again for
    /// what they were refused are counted each time. **Default**: none.
    pub fn forecast(mut self, forecast: impl Forecast) -> Self {
        self.forecast = Some(Box::new(forecast));
        self
    }

    /// How often the rate may move; not zero. **Default**: 1 s, long enough for some dozens of calls at the rates people limit to.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// The length of an interval of the forecast: it is told the average of each. At least [`every`](Self::every), and rounded
    /// down to whole ones of those. **Default**: the same as that.
    pub const fn forecast_every(mut self, interval: Duration) -> Self {
        self.forecast_every = Some(interval);
        self
    }

    /// How many intervals of the forecast the rate goes up ahead of the load; it goes down after it. At most 10,000. **Default**: 1.
    pub const fn lead(mut self, intervals: u32) -> Self {
        self.lead = intervals;
        self
    }

    /// How much of what is expected is allowed: at least 1 and finite, and better more than 1, for no forecast is exact. **Default**: 1.5.
    pub const fn headroom(mut self, factor: f64) -> Self {
        self.headroom = factor;
        self
    }

    /// The weight of a new reading of the pressure against those before it, as a fraction in (0, 1]; 1 is no smoothing. **Default**: 0.5; two readings in a
    /// row decide.
    pub const fn smoothing(mut self, weight: f64) -> Self {
        self.smoothing = weight;
        self
    }

    /// The rate grows below this pressure, is cut above 1, and stays where it is in between, so that it does not flutter;
    /// in (0, 1]. **Default**: 0.8.
    pub const fn grow_below(mut self, pressure: f64) -> Self {
        self.grow_below = pressure;
        self
    }

    /// The most of the rate that one cut takes away, and of what a falling forecast does in one interval; in (0, 1]. **Default**: 0.3; at half of
    /// that, a dependency that can bear a tenth of the rate would be overrun for a quarter of a minute.
    pub const fn most_cut(mut self, share: f64) -> Self {
        self.most_cut = share;
        self
    }

    /// What one step up adds, in units per period; more than 0. **Default**: a twentieth of the ceiling, so that it is never more than twenty
    /// intervals away.
    pub const fn step(mut self, units: f64) -> Self {
        self.step = Some(units);
        self
    }

    /// Everything that cannot work, for a limiter of so many units a period.
    pub(crate) fn faults(&self, units: u32) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "floor", self.floor.into(), 1);
        if self.floor > self.ceiling {
            let problem = format!("{} is below the floor of {}; swap the two", self.ceiling, self.floor);
            faults.push(Fault::new("ceiling", problem));
        } else if !(self.floor..=self.ceiling).contains(&units) {
            let problem = format!("{units} is not between {} and {}; begin where it is steered", self.floor, self.ceiling);
            faults.push(Fault::new("rate", problem));
        }
        check::nonzero(&mut faults, "every", self.every, "a second is a good interval");
        if self.every == Duration::MAX {
            faults.push(Fault::new("every", "never comes; for a fixed rate, leave the steering out"));
        }
        if self.signals.is_empty() && self.forecast.is_none() {
            faults.push(Fault::new("signal", "there is none, and no forecast, so nothing steers; add one, or leave the steering out"));
        }
        if let Some(step) = self.forecast_every
            && step < self.every
        {
            faults.push(Fault::new("forecast_every", "is shorter than the interval of the steering; make it longer, or `every` shorter"));
        }
        check::at_most(&mut faults, "lead", self.lead.into(), LONGEST_LEAD.into());
        if !(self.headroom >= 1.0 && self.headroom.is_finite()) {
            let problem =
                format!("{} would refuse what is expected; it must be at least 1 and finite, 1.5 is half as much again", self.headroom);
            faults.push(Fault::new("headroom", problem));
        }
        check::fraction(&mut faults, "smoothing", self.smoothing);
        check::fraction(&mut faults, "grow_below", self.grow_below);
        check::fraction(&mut faults, "most_cut", self.most_cut);
        if let Some(step) = self.step
            && !(step > 0.0 && step.is_finite())
        {
            faults.push(Fault::new("step", format!("{step} is no step up; it must be more than 0 and finite")));
        }
        for signal in &self.signals {
            gather(&mut faults, signal.name(), signal.faults());
        }
        if let Some(forecast) = &self.forecast {
            gather(&mut faults, "forecast", forecast.faults());
        }
        faults
    }
}

impl fmt::Debug for Steering {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering")
            .field("floor", &self.floor)
            .field("ceiling", &self.ceiling)
            .field("every", &self.every)
            .field("signals", &self.signals.iter().map(|signal| signal.name()).collect::<Vec<_>>())
            .field("forecast", &self.forecast.is_some())
            .field("forecast_every", &self.forecast_every)
            .field("lead", &self.lead)
            .field("headroom", &self.headroom)
            .field("smoothing", &self.smoothing)
            .field("grow_below", &self.grow_below)
            .field("most_cut", &self.most_cut)
            .field("step", &self.step)
            .finish()
    }
}

/// What a steered limiter did and why. A plain value.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SteeringState {
    /// The rate in force, in units per period.
    pub rate: u32,
    /// The smoothed pressure: 1 is at the limit. `None` where no signal can tell.
    pub pressure: Option<f64>,
    /// The signal that told of the highest pressure.
    pub strongest: Option<&'static str>,
    /// What was asked for in the last interval, granted or refused, in units per period.
    pub demand: f64,
    /// What the forecast expects, at most, within the lead; in units per period.
    pub expected: Option<f64>,
    /// How many times the signals were read.
    pub evaluations: u64,
    /// Panics of signals and of the forecast that were caught. A forecast that panicked is not asked again.
    pub panics: u64,
}
