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
