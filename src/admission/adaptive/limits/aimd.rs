//! Additive increase, multiplicative decrease.
//!
//! Chiu and Jain, *Analysis of the increase and decrease algorithms for congestion avoidance in computer networks*, Computer Networks and
//! ISDN Systems 17 (1989); with the factor of Netflix' `AIMDLimit`.

use super::super::sampling::Window;

/// The share that is left after a decrease.
pub(in super::super) const BACKOFF_RATIO: f64 = 0.9;

#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Aimd {
    pub(in super::super) backoff_ratio: f64,
}

impl Aimd {
    pub(super) fn next(&self, window: &Window, limit: f64) -> f64 {
        if window.drops > 0 {
            (limit * self.backoff_ratio).floor().min(limit - 1.0)
        } else if f64::from(window.peak) * 2.0 >= limit && !window.is_failing() {
            limit + 1.0
        } else {
            limit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a7_aimd_adds_one_and_takes_a_tenth() {
        let law = Aimd { backoff_ratio: BACKOFF_RATIO };
        let window = |peak, drops| Window { samples: 10, rtt: 10.0, in_flight: 10, peak, drops, ..Window::default() };
        assert_eq!(law.next(&window(10, 0), 20.0), 21.0);
        assert_eq!(law.next(&window(9, 0), 20.0), 20.0, "a9: not used, not grown");
        assert_eq!(law.next(&window(30, 1), 30.0), 27.0);
        assert_eq!(law.next(&window(2, 1), 2.0), 1.0);
        assert_eq!(law.next(&window(2, 1), 2.5), 1.5, "one less at the least");
    }
}
