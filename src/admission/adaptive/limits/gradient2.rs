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
