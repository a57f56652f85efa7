//! The algorithms: from what one window of calls told to the next limit. Plain arithmetic, no clock, no lock.

pub(super) mod aimd;
pub(super) mod gradient2;
mod mean;
pub(super) mod standing;
pub(super) mod vegas;

use super::sampling::Window;
use aimd::Aimd;
use gradient2::Gradient2;
use standing::Standing;
use vegas::Vegas;

/// One algorithm with what it has learnt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Law {
    Standing(Standing),
    Aimd(Aimd),
    Vegas(Vegas),
    Gradient2(Gradient2),
}

impl Law {
    /// The limit after this window, given the one it ran under.
    pub(super) fn next(&mut self, window: &Window, limit: f64) -> f64 {
        match self {
            Self::Standing(law) => law.next(window, limit),
            Self::Aimd(law) => law.next(window, limit),
            Self::Vegas(law) => law.next(window, limit),
            Self::Gradient2(law) => law.next(window, limit),
        }
    }

    /// What a call takes with no queue before it, as far as is known, in nanoseconds; 0 for unknown.
    pub(super) const fn baseline(&self) -> f64 {
        match self {
            Self::Standing(law) => law.baseline(),
            Self::Aimd(_) => 0.0,
            Self::Vegas(law) => law.baseline(),
            Self::Gradient2(law) => law.baseline(),
        }
    }

    /// With so many in flight or fewer a call meets no queue.
    pub(super) fn calm_level(&self) -> u32 {
        match self {
            Self::Standing(law) => law.calm_level(),
            _ => 0,
        }
    }

    /// How many times the fewest calls the next decision needs.
    pub(super) const fn patience(&self) -> u64 {
        match self {
            Self::Standing(law) => law.patience(),
            _ => 1,
        }
    }

    /// Whether a window full of losses ends at once.
    pub(super) const fn is_alert(&self) -> bool {
        match self {
            Self::Standing(law) => law.is_alert(),
            _ => false,
        }
    }

    /// Whether a change of the limit must have settled before the next window is measured.
    pub(super) const fn is_patient(&self) -> bool {
        matches!(self, Self::Standing(_))
    }
}
