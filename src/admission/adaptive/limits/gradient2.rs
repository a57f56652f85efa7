//! Netflix' Gradient2: the limit follows the ratio of a long-term mean of the call times to the latest.
//!
//! Source: `Gradient2Limit` of Netflix' concurrency-limits (2018). Its long-term mean follows whatever lasts, so that a queue which the limit
//! itself keeps up becomes the new normal, and the limit grows to its maximum: 20 becomes 200 under saturation at constant latency.

use super::super::sampling::Window;

/// How much longer than the long-term mean the calls may take before the limit shrinks.
pub(in super::super) const TOLERANCE: f64 = 1.0;
/// How much of each new limit is taken over.
pub(in super::super) const SMOOTHING: f64 = 0.2;
/// The queue that is left standing.
pub(in super::super) const QUEUE_SIZE: f64 = 4.0;
/// Over how many windows the long-term mean reaches.
const LONG_WINDOW: f64 = 600.0;
/// So many windows are simply averaged before.
const WARM_UP: f64 = 10.0;

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Gradient2 {
    pub(in super::super) tolerance: f64,
    pub(in super::super) smoothing: f64,
    pub(in super::super) queue_size: f64,
    long_rtt: f64,
    windows: f64,
}

impl Gradient2 {
    pub(in super::super) const fn new(tolerance: f64, smoothing: f64, queue_size: f64) -> Self {
        Self { tolerance, smoothing, queue_size, long_rtt: 0.0, windows: 0.0 }
    }

    pub(super) const fn baseline(&self) -> f64 {
        self.long_rtt
    }

    pub(super) fn next(&mut self, window: &Window, limit: f64) -> f64 {
        if window.samples == 0 {
            return limit;
        }
        let rtt = window.mean_rtt();
        self.windows += 1.0;
        self.long_rtt += (rtt - self.long_rtt) / if self.windows <= WARM_UP { self.windows } else { (LONG_WINDOW + 1.0) / 2.0 };
        if self.long_rtt > 2.0 * rtt {
            self.long_rtt *= 0.9;
        }
        if f64::from(window.peak) < limit / 2.0 {
            return limit;
        }
        let gradient = (self.tolerance * self.long_rtt / rtt).clamp(0.5, 1.0);
        let next = limit * (1.0 - self.smoothing) + (limit * gradient + self.queue_size) * self.smoothing;
        // Not in the original, which sees timeouts only as long times.
        if window.is_failing() || window.drops > 0 { next.min(limit) } else { next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law() -> Gradient2 {
        Gradient2::new(1.5, 0.2, 4.0)
    }

    /// Ten calls of this mean time, with so many in flight at the most.
    fn window(mean: f64, peak: u32) -> Window {
        Window { samples: 10, rtt: mean * 10.0, peak, ..Window::default() }
    }

    #[track_caller]
    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn worked_out_by_hand() {
        let mut law = law();
        // The time of a window, the long-term mean after it, and the limit after 20.
        for (mean, long, limit) in [
            (100.0, 100.0, 20.8),      // gradient 1
            (400.0, 250.0, 20.55),     // 0.9375
            (1_000.0, 500.0, 19.8),    // 0.75
            (20_000.0, 5_375.0, 18.8), // 0.403, of which 0.5 is the least
            (100.0, 3_888.0, 20.8),    // a mean of more than twice the time gives way by a tenth
        ] {
            near(law.next(&window(mean, 20), 20.0), limit);
            near(law.baseline(), long);
        }
    }

    #[test]
    fn a_mean_of_just_twice_the_time_stays() {
        let mut law = law();
        law.next(&window(300.0, 20), 20.0);
        law.next(&window(100.0, 20), 20.0);
        near(law.baseline(), 200.0);
    }

    #[test]
    fn after_ten_windows_it_reaches_over_six_hundred() {
        let mut law = law();
        (0..10).for_each(|_| _ = law.next(&window(100.0, 20), 20.0));
        law.next(&window(400.0, 20), 20.0);
        near(law.baseline(), 100.0 + 300.0 / 300.5);
    }

    #[test]
    fn a9_what_is_not_half_used_stays_and_an_empty_window_says_nothing() {
        near(law().next(&window(100.0, 9), 20.0), 20.0);
        near(law().next(&window(100.0, 10), 20.0), 20.8);
        let mut law = law();
        near(law.next(&Window { peak: 20, ..Window::default() }, 20.0), 20.0);
        near(law.baseline(), 0.0);
    }

    #[test]
    fn with_losses_or_failures_it_does_not_grow() {
        near(law().next(&Window { drops: 1, ..window(100.0, 20) }, 20.0), 20.0);
        near(law().next(&Window { failure_share: 0.3, ..window(100.0, 20) }, 20.0), 20.0);
    }
}
