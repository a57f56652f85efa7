//! A mean that the default limit goes by.

/// How many calls a mean remembers.
pub(super) const MEMORY: f64 = 400.0;

/// A mean that forgets, and that follows at once what cannot be chance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mean {
    pub(super) value: f64,
    /// How many calls it stands on; 0 for nothing known.
    pub(super) calls: f64,
}

impl Mean {
    pub(super) const fn of(value: f64, calls: f64) -> Self {
        Self { value, calls }
    }

    pub(super) const fn is_known(&self) -> bool {
        self.calls > 0.0
    }

    /// Returns whether it jumped.
    pub(super) fn add(&mut self, value: f64, calls: f64) -> bool {
        let jumps = !self.is_known() || (value / self.value - 1.0).abs() > doubt(calls);
        if jumps {
            *self = Self::of(value, calls);
        } else {
            self.blend(value, calls);
        }
        jumps
    }

    pub(super) fn blend(&mut self, value: f64, calls: f64) {
        self.value += (value - self.value) * calls / (calls + self.calls);
        self.calls = (self.calls + calls).min(MEMORY);
    }
}

/// By what share a mean of so many may be off and still be chance: three standard errors of exponentially distributed times.
pub(super) fn doubt(calls: f64) -> f64 {
    3.0 / calls.max(1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_blends_what_may_be_chance_and_jumps_to_what_cannot() {
        let mut mean = Mean::default();
        assert!(mean.add(100.0, 50.0), "the first is all that is known");
        assert_eq!(mean, Mean::of(100.0, 50.0));
        // A hundred calls may be off by three tenths.
        assert!(!mean.add(129.0, 100.0));
        assert!((mean.value - (100.0 + 29.0 * 100.0 / 150.0)).abs() < 1e-9 && mean.calls == 150.0, "{mean:?}");
        assert!(!mean.add(90.0, 100.0));
        assert!((mean.value - 107.6).abs() < 1e-9 && mean.calls == 250.0, "{mean:?}");
        assert!(mean.add(50.0, 100.0));
        assert_eq!(mean, Mean::of(50.0, 100.0));
        // Just three standard errors are chance still.
        assert!(!Mean::of(100.0, 50.0).add(200.0, 9.0));
    }

    #[test]
    fn it_remembers_so_many_calls_and_no_more() {
        let mut mean = Mean::of(100.0, 390.0);
        mean.blend(100.0, 50.0);
        assert_eq!(mean, Mean::of(100.0, MEMORY));
    }
}
