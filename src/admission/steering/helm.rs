//! The rule that turns readings into a rate. Pure: no clock, no lock, no user code.

use std::time::Duration;
use tokio::time::Instant;

/// Readings above this are all the same catastrophe; one of them must not weigh on the smoothed pressure for a minute.
const MOST_PRESSURE: f64 = 4.0;

/// How a rate moves. Rates are in units per period of the limiter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) floor: f64,
    pub(super) ceiling: f64,
    /// The weight of a new reading.
    pub(super) smoothing: f64,
    /// The rate grows below this pressure.
    pub(super) grow_below: f64,
    /// The most of the rate that one cut takes away.
    pub(super) most_cut: f64,
    /// What one step adds.
    pub(super) step: f64,
    pub(super) headroom: f64,
}

/// What is known at the end of an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// The highest pressure that any signal tells of.
    pub(super) pressure: Option<f64>,
    /// Whether there are signals at all.
    pub(super) signals: bool,
    /// What was asked for.
    pub(super) demand: f64,
    /// What is expected to be asked for.
    pub(super) expected: Option<f64>,
    /// How many intervals have passed since the last.
    pub(super) intervals: u64,
}

/// Where the rate is.
#[derive(Clone, Debug)]
pub(super) struct Helm {
    rules: Rules,
    /// The rate that was configured.
    nominal: f64,
    /// What the signals allow.
    allowed: f64,
    /// What is in force: what the signals allow, or less where less is expected.
    rate: f64,
    pressure: Option<f64>,
    cut: Option<Instant>,
}

impl Helm {
    #[inline]
    pub(super) fn new(rules: Rules, nominal: f64) -> Self {
        let nominal = nominal.clamp(rules.floor, rules.ceiling);
        Self { rules, nominal, allowed: nominal, rate: nominal, pressure: None, cut: None }
    }

    /// The limiter was given another rate: from there on.
    #[inline]
    pub(super) fn restart(&mut self, nominal: f64) {
        *self = Self::new(self.rules, nominal);
    }

    pub(super) const fn pressure(&self) -> Option<f64> {
        self.pressure
    }

    /// A reading that reaches back `memory` may ask for a cut: it is of a time after the last.
    #[inline]
    pub(super) fn hears(&self, memory: Duration, now: Instant) -> bool {
        self.cut.is_none_or(|cut| memory.is_zero() || now.saturating_duration_since(cut) >= memory)
    }

    /// One interval is over. The rate from now on.
    pub(super) fn turn(&mut self, reading: &Reading, now: Instant) -> f64 {
        let Rules { floor, ceiling, most_cut, headroom, .. } = self.rules;
        let used = reading.demand >= self.rate / 2.0;
        if reading.signals {
            self.obey(reading.pressure, used, reading.intervals, now);
        } else {
            self.allowed = ceiling;
        }
        self.allowed = self.allowed.clamp(floor, ceiling);
        let target = match reading.expected {
            Some(expected) => (expected * headroom).clamp(floor, ceiling).max(self.rate * (1.0 - most_cut)),
            None if reading.signals => ceiling,
            // Without a signal, and with a forecast that knows nothing yet, the rate stays as it was configured.
            None => self.nominal,
        };
        self.rate = self.allowed.min(target).clamp(floor, ceiling);
        self.rate
    }

    fn obey(&mut self, pressure: Option<f64>, used: bool, intervals: u64, now: Instant) {
        let Rules { smoothing, grow_below, most_cut, step, .. } = self.rules;
        let Some(new) = pressure.map(|pressure| pressure.clamp(0.0, MOST_PRESSURE)) else {
            // Nobody can tell, perhaps because so little gets through. To stay low for that would be to stay low for ever.
            self.pressure = None;
            self.allowed = self.allowed.max((self.allowed + step * intervals.max(1) as f64).min(self.nominal));
            return;
        };
        let pressure = self.pressure.map_or(new, |old| old + smoothing * (new - old));
        self.pressure = Some(pressure);
        if pressure > 1.0 && new > 1.0 {
            // In proportion, so that a little too much costs little, and bounded, so that one reading cannot cost everything.
            self.allowed = self.allowed.min(self.rate) * (1.0 / pressure).max(1.0 - most_cut);
            self.cut = Some(now);
        } else if pressure < grow_below {
            if self.allowed < self.nominal {
                self.allowed += step;
            } else if used {
                // Beyond what was configured only what is used grows: a rate that was never tried proves nothing.
                self.allowed += step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules { floor: 10.0, ceiling: 200.0, smoothing: 0.5, grow_below: 0.8, most_cut: 0.3, step: 10.0, headroom: 1.5 };

    fn pressed(pressure: f64, demand: f64) -> Reading {
        Reading { pressure: Some(pressure), signals: true, demand, expected: None, intervals: 1 }
    }

    fn expecting(expected: f64) -> Reading {
        Reading { expected: Some(expected), intervals: 1, ..Reading::default() }
    }

    #[test]
    fn cuts_in_proportion_and_never_by_more_than_the_bound() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 100.0);
        assert!((helm.turn(&pressed(1.25, 100.0), now) - 80.0).abs() < 1e-9);
        let mut helm = Helm::new(RULES, 100.0);
        assert!((helm.turn(&pressed(f64::INFINITY, 100.0), now) - 70.0).abs() < 1e-9);
        for _ in 0..50 {
            helm.turn(&pressed(9.0, 100.0), now);
        }
        assert!((helm.rate - 10.0).abs() < 1e-9, "the floor");
    }

    #[test]
    fn holds_between_the_thresholds() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 100.0);
        for pressure in [0.8, 0.9, 1.0, 0.95] {
            assert!((helm.turn(&pressed(pressure, 100.0), now) - 100.0).abs() < 1e-9, "{pressure}");
        }
    }

    #[test]
    fn a_recovered_dependency_is_not_cut_for_what_was() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 100.0);
        let low = helm.turn(&pressed(4.0, 100.0), now);
        // Smoothed, the pressure is above 1 still; the new reading is not.
        assert!((helm.turn(&pressed(0.0, 100.0), now) - low).abs() < 1e-9);
        assert!(helm.turn(&pressed(0.0, 100.0), now) >= low);
    }

    #[test]
    fn grows_back_by_itself_and_further_only_when_used() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 100.0);
        helm.turn(&pressed(4.0, 100.0), now);
        for _ in 0..20 {
            helm.turn(&pressed(0.0, 0.0), now);
        }
        assert!((helm.rate - 100.0).abs() < 1e-9, "{}", helm.rate);
        for _ in 0..20 {
            helm.turn(&pressed(0.0, 190.0), now);
        }
        assert!((helm.rate - 200.0).abs() < 1e-9, "the ceiling");
    }

    #[test]
    fn when_nobody_can_tell_it_goes_back_to_what_was_configured() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 100.0);
        (0..50).for_each(|_| _ = helm.turn(&pressed(4.0, 100.0), now));
        let silent = Reading { signals: true, intervals: 3, ..Reading::default() };
        assert!((helm.turn(&silent, now) - 40.0).abs() < 1e-9, "three intervals, three steps");
        (0..50).for_each(|_| _ = helm.turn(&silent, now));
        assert!((helm.rate - 100.0).abs() < 1e-9);
    }

    #[test]
    fn follows_what_is_expected_at_once_upwards_and_by_bounded_steps_downwards() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 50.0);
        assert!((helm.turn(&expecting(100.0), now) - 150.0).abs() < 1e-9);
        assert!((helm.turn(&expecting(20.0), now) - 105.0).abs() < 1e-9);
        (0..50).for_each(|_| _ = helm.turn(&expecting(20.0), now));
        assert!((helm.rate - 30.0).abs() < 1e-9);
    }

    #[test]
    fn what_signals_forbid_no_forecast_allows() {
        let now = Instant::now();
        let mut helm = Helm::new(RULES, 100.0);
        for _ in 0..5 {
            helm.turn(&Reading { expected: Some(1_000.0), ..pressed(2.0, 100.0) }, now);
        }
        assert!(helm.rate < 50.0, "{}", helm.rate);
    }

    proptest! {
        #[test]
        fn h43_the_rate_stays_between_floor_and_ceiling(
            readings in prop::collection::vec((prop::num::f64::ANY, prop::num::f64::ANY, prop::num::f64::ANY, any::<u64>(), any::<bool>()), 1..100),
        ) {
            let now = Instant::now();
            let mut helm = Helm::new(RULES, 100.0);
            for (pressure, demand, expected, intervals, signals) in readings {
                let keep = |value: f64| Some(value).filter(|value| !value.is_nan());
                let reading = Reading { pressure: keep(pressure), signals, demand, expected: keep(expected), intervals };
                let rate = helm.turn(&reading, now);
                prop_assert!((10.0..=200.0).contains(&rate), "{}", rate);
            }
        }
    }
}
