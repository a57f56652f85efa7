//! The live part: counts what is asked for, and now and then reads the signals and moves the rate.

use super::helm::{Helm, Reading, Rules};
use super::{Forecast, Signal, Steering, SteeringState};
use crate::guarded::guarded;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, Mutex, Padded, lock};
use crate::time;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// Readings of the clock come here in any order, so many nanoseconds late at the most.
const DISORDER: u64 = 1_000_000_000;

/// What the next evaluation goes on from. It is taken out while user code runs, so that none runs under the lock, and two evaluations
/// (of callers that came an interval apart, the first of which is slow) do not mix.
struct Course {
    helm: Helm,
    /// The version of what the helm was set by.
    version: u64,
    forecast: Option<Box<dyn Forecast>>,
    /// Units asked for, ever, at the last evaluation.
    counted: u64,
    /// Intervals, and units asked for in them, that are not yet one of the forecast's.
    filled: u64,
    units: u64,
}

/// What the limiter was configured with.
#[derive(Clone, Copy)]
struct Base {
    units: u32,
    period: Duration,
    /// Changes with each setting.
    version: u64,
}

/// Steers one limiter.
pub(crate) struct Pilot {
    epoch: Instant,
    every: u64,
    /// An evaluation that is due later than this from now was planned before the clock went back.
    horizon: u64,
    floor: u32,
    ceiling: u32,
    base: Mutex<Base>,
    /// Intervals of the limiter to one of the forecast.
    forecast_every: u64,
    lead: u32,
    signals: Vec<Box<dyn Signal>>,
    /// Nanoseconds since the epoch at which the next evaluation is due.
    due: Padded<AtomicU64>,
    asked: Counter,
    course: Mutex<Option<Course>>,
    state: Mutex<SteeringState>,
    panics: AtomicU64,
}

impl Pilot {
    pub(crate) fn new(steering: Steering, units: u32, period: Duration, now: Instant) -> Self {
        let every = time::nanos(steering.every).max(1);
        let forecast_every = steering.forecast_every.map_or(1, |step| (time::nanos(step) / every).max(1));
        let rules = Rules {
            floor: f64::from(steering.floor),
            ceiling: f64::from(steering.ceiling),
            smoothing: steering.smoothing,
            grow_below: steering.grow_below,
            most_cut: steering.most_cut,
            step: steering.step.unwrap_or(f64::from(steering.ceiling) / 20.0),
            headroom: steering.headroom,
        };
        let helm = Helm::new(rules, f64::from(units));
        Self {
            epoch: now,
            every,
            // Of many threads each may be late with its reading.
            horizon: every.saturating_add(every.max(DISORDER)),
            floor: steering.floor,
            ceiling: steering.ceiling,
            base: Mutex::new(Base { units, period, version: 0 }),
            forecast_every,
            lead: steering.lead,
            signals: steering.signals,
            due: Padded(AtomicU64::new(every)),
            asked: Counter::default(),
            course: Mutex::new(Some(Course { helm, version: 0, forecast: steering.forecast, counted: 0, filled: 0, units: 0 })),
            state: Mutex::new(SteeringState { rate: units, ..SteeringState::default() }),
            panics: AtomicU64::new(0),
        }
    }

    /// The rate in force, in units per period.
    #[inline]
    pub(crate) fn rate(&self) -> u32 {
        lock(&self.state).rate
    }

    #[inline]
    pub(crate) fn state(&self) -> SteeringState {
        SteeringState { panics: self.panics.load(Ordering::Relaxed), ..lock(&self.state).clone() }
    }

    /// The limiter was given another rate by hand: from there on.
    pub(crate) fn restart(&self, units: u32, period: Duration) {
        let mut base = lock(&self.base);
        *base = Base { units, period, version: base.version + 1 };
        lock(&self.state).rate = self.within(units);
    }

    /// The nearest rate that it may steer to.
    #[inline]
    pub(crate) fn within(&self, units: u32) -> u32 {
        units.max(self.floor).min(self.ceiling)
    }

    /// Somebody asks for `cost` units. `Some` when an interval is over and the rate is to be another.
    #[inline]
    pub(crate) fn asked(&self, cost: u32, now: Instant) -> Option<u32> {
        let at = time::nanos_since(self.epoch, now);
        let due = self.due.0.load(Ordering::Relaxed);
        let is_near = due > at && due - at <= self.horizon;
        let rate = if is_near { None } else { self.evaluate(at, due, now) };
        // After the evaluation: this one belongs to the new interval.
        self.asked.add(u64::from(cost));
        rate
    }

    #[cold]
    fn evaluate(&self, at: u64, due: u64, now: Instant) -> Option<u32> {
        let (intervals, next) = match at.checked_sub(due) {
            Some(late) => {
                let intervals = 1 + late / self.every;
                (intervals, due.saturating_add(intervals.saturating_mul(self.every)))
            }
            None => (1, at.saturating_add(self.every)),
        };
        // Of all that come at this moment one does it. A panic that unwinds has other worries than a rate.
        if std::thread::panicking() || self.due.0.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return None;
        }
        let mut course = lock(&self.course).take()?;
        let base = *lock(&self.base);
        if base.version != course.version {
            course.helm.restart(f64::from(base.units));
            course.version = base.version;
        }
        let asked = self.asked.get();
        let units = asked.wrapping_sub(std::mem::replace(&mut course.counted, asked));
        let per_period = base.period.as_secs_f64() * 1e9 / self.every as f64;
        // All of them came in the first interval: the first call after it would have evaluated.
        let demand = units as f64 * per_period;
        let (pressure, strongest) = self.read(&course.helm, now);
        let expected = self.expect(&mut course, units, intervals, per_period);
        let reading = Reading { pressure, signals: !self.signals.is_empty(), demand, expected, intervals };
        let rate = course.helm.turn(&reading, now);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between a floor and a ceiling that are u32")]
        let rate = rate.round() as u32;
        // It may have been given another rate meanwhile: then this one is of the past, and the next evaluation begins there.
        let current = lock(&self.base);
        let valid = current.version == course.version;
        let mut state = lock(&self.state);
        let before = state.rate;
        let rate = if valid { rate } else { before };
        state.rate = rate;
        (state.pressure, state.strongest, state.demand, state.expected) = (course.helm.pressure(), strongest, demand, expected);
        state.evaluations += 1;
        drop((state, current));
        *lock(&self.course) = Some(course);
        if rate == before {
            return None;
        }
        tracing::event!(name: "steadfast.rate_steered", target: "steadfast", tracing::Level::DEBUG, from = before, to = rate, pressure, expected, strongest, "rate steered");
        Some(rate)
    }

    /// The highest pressure, and who tells of it.
    fn read(&self, helm: &Helm, now: Instant) -> (Option<f64>, Option<&'static str>) {
        let mut highest = (None, None);
        for signal in &self.signals {
            let read = || (signal.read(now), signal.memory(), signal.name());
            let Some((Some(pressure), memory, name)) = self.guarded(read) else { continue };
            if pressure.is_nan() {
                continue;
            }
            let pressure = if helm.hears(memory, now) { pressure.max(0.0) } else { pressure.clamp(0.0, 1.0) };
            if highest.0.is_none_or(|highest| pressure > highest) {
                highest = (Some(pressure), Some(name));
            }
        }
        highest
    }

    /// Tells the forecast what was, and asks what will be: the most of the intervals up to `lead` ahead, so that the rate goes up before
    /// the load does, and down only after it. In units per period.
    fn expect(&self, course: &mut Course, units: u64, intervals: u64, per_period: f64) -> Option<f64> {
        let mut forecast = course.forecast.take()?;
        course.units = course.units.saturating_add(units);
        course.filled += 1;
        let mut quiet = intervals - 1;
        let mut complete = None;
        if course.filled + quiet >= self.forecast_every {
            complete = Some(course.units as f64 * per_period / self.forecast_every as f64);
            quiet -= self.forecast_every - course.filled;
            (course.units, course.filled) = (0, quiet % self.forecast_every);
            quiet /= self.forecast_every;
        } else {
            course.filled += quiet;
            quiet = 0;
        }
        let lead = self.lead;
        // One that panics is broken for good, and is left out from now on.
        let asked = self.guarded(|| {
            if let Some(demand) = complete {
                forecast.observe(demand);
            }
            if quiet > 0 {
                forecast.quiet(quiet);
            }
            let mut most: Option<f64> = None;
            for ahead in 1..=lead.saturating_add(1) {
                if let Some(value) = forecast.predict(ahead)
                    && value.is_finite()
                {
                    most = Some(value.max(most.unwrap_or(0.0)));
                }
            }
            most
        });
        match asked {
            Some(expected) => {
                course.forecast = Some(forecast);
                expected
            }
            None => {
                self.guarded(|| drop(forecast));
                None
            }
        }
    }

    /// Runs user code, and counts its panic.
    fn guarded<T>(&self, user: impl FnOnce() -> T) -> Option<T> {
        let answer = guarded(user);
        if answer.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

impl fmt::Debug for Pilot {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pilot").field("state", &self.state()).field("signals", &self.signals.len()).finish_non_exhaustive()
    }
}
