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
    fn a1_vegas_keeps_a_queue_between_alpha_and_beta_times_the_logarithm() {
        let next = |limit: f64, rtt: f64, failure_share| {
            let mut law = Vegas { baseline: SECOND, ..Vegas::new(ALPHA, BETA) };
            law.next(&Window { failure_share, ..window(rtt, 200) }, limit)
        };
        // A limit of 20, logarithm 1: a queue of 2, 3, 6, 7.
        let rtt = |queue: f64, limit: f64| limit / (limit - queue + 0.5);
        assert_eq!([2.0, 3.0, 6.0, 7.0].map(|queue| next(20.0, rtt(queue, 20.0), 0.0)), [21.0, 20.0, 20.0, 19.0]);
        // A limit of 100, logarithm 2: 5, 6, 12, 13.
        assert_eq!([5.0, 6.0, 12.0, 13.0].map(|queue| next(100.0, rtt(queue, 100.0), 0.0)), [102.0, 100.0, 100.0, 98.0]);
        assert_eq!([0.25, 0.26].map(|failing| next(20.0, 1.0, failing)), [21.0, 20.0], "h64");
        // Used to the half is used.
        let used = |peak| Vegas::new(ALPHA, BETA).next(&window(1.0, peak), 20.0);
        assert_eq!([9, 10].map(used), [20.0, 21.0]);
    }

    #[test]
    fn a1_vegas_sends_less_where_calls_are_dropped_and_learns_no_time_from_pushback() {
        let mut law = Vegas::new(ALPHA, BETA);
        assert_eq!(law.next(&Window { drops: 1, peak: 20, ..Window::default() }, 20.0), 19.0);
        assert_eq!(law.next(&Window { peak: 20, ..Window::default() }, 20.0), 20.0);
        assert_eq!(law, Vegas::new(ALPHA, BETA));
        law = Vegas { baseline: SECOND, ..law };
        assert_eq!((law.next(&Window { drops: 1, ..Window::default() }, 20.0), law.baseline()), (19.0, SECOND));
        assert_eq!((law.next(&Window { drops: 1, ..window(1.0, 20) }, 100.0), law.baseline()), (98.0, SECOND));
    }

    #[test]
    fn h63_the_baseline_is_the_quickest_of_thirty_windows_for_each_place() {
        let after = |windows| {
            let mut law = Vegas::new(ALPHA, BETA);
            (0..=windows).for_each(|_| _ = law.next(&window(1.0, 10), 10.0));
            law.next(&window(5.0, 10), 10.0);
            law.baseline() / SECOND
        };
        assert_eq!([298, 299].map(after), [1.0, 5.0]);
        let mut law = Vegas::new(ALPHA, BETA);
        [3.0, 2.0, 4.0].into_iter().for_each(|rtt| _ = law.next(&window(rtt, 10), 20.0));
        assert_eq!(law.baseline(), 2.0 * SECOND);
    }

    #[test]
    fn h63_the_baseline_expires() {
        let mut law = Vegas::new(ALPHA, BETA);
        (0..10).for_each(|_| _ = law.next(&window(1.0, 10), 20.0));
        (0..600).for_each(|_| _ = law.next(&window(5.0, 10), 20.0));
        assert_eq!(law.baseline(), 5.0 * SECOND);
    }
}
