//! TCP Vegas: how many calls stand in a queue follows from how much longer they take than the quickest.
//!
//! Brakmo and Peterson, *TCP Vegas: End to End Congestion Avoidance on a Global Internet*, IEEE Journal on Selected Areas in Communications
//! 13 (1995); with the thresholds of Netflix' `VegasLimit` and failsafe-go's first adaptive limiter, which grow with the logarithm of the limit.

use super::super::sampling::Window;

/// The queue below which the limit grows, and above which it shrinks, each times log10 of the limit.
pub(in super::super) const ALPHA: f64 = 3.0;
pub(in super::super) const BETA: f64 = 6.0;
/// The baseline is measured anew after so many windows for each place of the limit.
const PROBE_MULTIPLIER: f64 = 30.0;

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Vegas {
    pub(in super::super) alpha: f64,
    pub(in super::super) beta: f64,
    baseline: f64,
    windows: f64,
}

impl Vegas {
    pub(in super::super) const fn new(alpha: f64, beta: f64) -> Self {
        Self { alpha, beta, baseline: 0.0, windows: 0.0 }
    }

    pub(super) const fn baseline(&self) -> f64 {
        self.baseline
    }

    pub(super) fn next(&mut self, window: &Window, limit: f64) -> f64 {
        let rtt = window.mean_rtt();
        let step = limit.log10().floor().max(1.0);
        if window.samples > 0 {
            self.windows += 1.0;
            if self.baseline <= 0.0 || rtt < self.baseline || self.windows >= PROBE_MULTIPLIER * limit {
                self.baseline = rtt;
                self.windows = 0.0;
            }
        }
        if window.drops > 0 {
            return limit - step;
        }
        if f64::from(window.peak) * 2.0 < limit || window.samples == 0 {
            return limit;
        }
        let queue = (limit * (1.0 - self.baseline / rtt)).ceil();
        if queue < self.alpha * step && !window.is_failing() {
            limit + step
        } else if queue > self.beta * step {
            limit - step
        } else {
            limit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: f64 = 1e9;

    fn window(rtt: f64, peak: u32) -> Window {
        Window { samples: 1, rtt: rtt * SECOND, in_flight: u64::from(peak), peak, ..Window::default() }
    }

    #[test]
    fn a1_vegas_grows_shrinks_and_holds() {
        let mut law = Vegas { baseline: SECOND, ..Vegas::new(ALPHA, BETA) };
        assert_eq!(law.next(&window(1.0, 10), 20.0), 21.0);
        assert_eq!(law.next(&window(0.5, 11), 21.0), 22.0);
        let mut law = Vegas { baseline: SECOND, ..Vegas::new(ALPHA, BETA) };
        assert_eq!(law.next(&window(2.0, 10), 20.0), 19.0);
        assert_eq!(law.next(&window(2.0, 10), 19.0), 18.0);
        let mut law = Vegas { baseline: SECOND, ..Vegas::new(ALPHA, BETA) };
        assert_eq!(law.next(&window(1.3, 10), 20.0), 20.0, "a queue of 5 is between 3 and 6");
        assert_eq!(law.next(&window(1.0, 9), 20.0), 20.0, "a9: not used, not grown");
    }

    #[test]
    fn h63_the_baseline_expires() {
        let mut law = Vegas::new(ALPHA, BETA);
        (0..10).for_each(|_| _ = law.next(&window(1.0, 10), 20.0));
        (0..600).for_each(|_| _ = law.next(&window(5.0, 10), 20.0));
        assert_eq!(law.baseline(), 5.0 * SECOND);
    }
}
