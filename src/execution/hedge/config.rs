//! What a hedge is made from.

use super::Hedge;
use crate::execution::budget::BudgetSource;
use crate::fault::{ConfigError, Fault, check, gather};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One leg beside the first takes away most of the tail; each further one takes less and costs as much.
const DEFAULT_MAX_HEDGES: u32 = 1;
/// A 95th percentile of fewer is a guess.
const DEFAULT_MIN_SAMPLES: u32 = 100;
/// The clock of tokio ticks in milliseconds.
const DEFAULT_MIN_DELAY: Duration = Duration::from_millis(1);
/// More at once is an attack, not a hedge.
const MOST_HEDGES: u32 = 10;

/// What a [`Hedge`] is made from. Begin with [`Hedge::after`] or [`Hedge::at_percentile`].
#[derive(Clone, Debug, PartialEq)]
pub struct HedgeConfig {
    pub(crate) when: When,
    pub(crate) max_hedges: u32,
    pub(crate) min_samples: Option<u32>,
    pub(crate) initial_delay: Option<Duration>,
    pub(crate) min_delay: Option<Duration>,
    pub(crate) max_delay: Option<Duration>,
    pub(crate) budget: Option<BudgetSource>,
    /// Whether every operation is; `Some(false)`: only those that say so.
    pub(crate) idempotent: Option<bool>,
}

/// How long a leg is waited for before the next is launched beside it.
#[derive(Clone)]
pub(crate) enum When {
    After(Duration),
    AtPercentile(f64),
    Custom(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

impl HedgeConfig {
    pub(super) const fn new(when: When) -> Self {
        Self {
            when,
            max_hedges: DEFAULT_MAX_HEDGES,
            min_samples: None,
            initial_delay: None,
            min_delay: None,
            max_delay: None,
            budget: None,
            idempotent: None,
        }
    }

    /// Says that every operation of the pipeline may happen twice, even at the same time: reads, mostly. Calls that say otherwise
    /// ([`idempotent(false)`](crate::Pipeline::idempotent), [`once()`](crate::Pipeline::once)) are not hedged.
    ///
    /// This or [`only_idempotent_calls`](Self::only_idempotent_calls) must be said; there is no default.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = Some(true);
        self
    }

    /// Hedges only calls that say that they may happen twice, even at the same time: `api.idempotent(true).call(..)`.
    ///
    /// This or [`idempotent`](Self::idempotent) must be said; there is no default.
    #[must_use]
    pub const fn only_idempotent_calls(mut self) -> Self {
        self.idempotent = Some(false);
        self
    }

    /// How many legs an attempt may launch beside its first, at most 10. 0 turns hedging off. **Default**: 1.
    #[must_use]
    pub const fn max_hedges(mut self, hedges: u32) -> Self {
        self.max_hedges = hedges;
        self
    }

    /// How many answers must be known before their percentile is. Before, the [`initial_delay`](Self::initial_delay) holds. At least 1.
    /// **Default**: 100.
    #[must_use]
    pub const fn min_samples(mut self, answers: u32) -> Self {
        self.min_samples = Some(answers);
        self
    }

    /// The delay while too few answers are known for a percentile; [`Duration::MAX`] hedges only after failures. **Default**: `MAX`.
    #[must_use]
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = Some(delay);
        self
    }

    /// No delay made of a percentile is shorter than this. **Default**: 1 ms, the tick of tokio's clock.
    #[must_use]
    pub const fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = Some(delay);
        self
    }

    /// No delay made of a percentile is longer than this. **Default**: no limit.
    #[must_use]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = Some(delay);
        self
    }

    /// What the hedges of all calls are taken from: a [`BudgetConfig`](crate::BudgetConfig) for a bucket of this policy's own, or a
    /// [`Budget`](crate::Budget) to share.
    ///
    /// **Default**: the budget of the pipeline's retries, so that retries and hedges together stay within it. Without retries, a bucket of
    /// its own: a tenth of the calls, 3 per second, a burst of 20.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<BudgetSource>) -> Self {
        self.budget = Some(budget.into());
        self
    }

    /// Checks it, and makes the policy.
    ///
    /// # Errors
    /// Names every setting that cannot work.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        ConfigError::check("hedge", self.faults())?;
        Hedge::from_config(self)
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let percentile = match self.when {
            When::AtPercentile(share) => {
                if !(share > 0.0 && share < 1.0) {
                    let fix = if share > 1.0 && share < 100.0 { format!("write {}", share / 100.0) } else { "0.95 is common".into() };
                    faults.push(Fault::new("percentile", format!("{share} is not a fraction between 0 and 1, both excluded; {fix}")));
                }
                true
            }
            When::After(_) | When::Custom(_) => false,
        };
        if self.idempotent.is_none() {
            let problem = "not said, and a hedged operation runs twice at the same time; add `.idempotent()` if every operation of the \
                           pipeline may, or `.only_idempotent_calls()` to hedge just the calls that say so";
            faults.push(Fault::new("idempotent", problem));
        }
        check::at_most(&mut faults, "max_hedges", self.max_hedges.into(), MOST_HEDGES.into());
        if let Some(samples) = self.min_samples {
            check::at_least(&mut faults, "min_samples", samples.into(), 1);
        }
        let stray = [
            ("min_samples", self.min_samples.is_some()),
            ("initial_delay", self.initial_delay.is_some()),
            ("min_delay", self.min_delay.is_some()),
            ("max_delay", self.max_delay.is_some()),
        ];
        for &(field, said) in &stray {
            if said && !percentile {
                let problem = "means nothing where the delay is given; leave it out, or begin with `Hedge::at_percentile`";
                faults.push(Fault::new(field, problem));
            }
        }
        if let (Some(least), Some(most)) = (self.min_delay, self.max_delay)
            && least > most
        {
            faults.push(Fault::new("min_delay", format!("{least:?} is longer than max_delay ({most:?}); lower it")));
        }
        if let Some(budget) = &self.budget {
            gather(&mut faults, "budget", budget.faults());
        }
        faults
    }

    pub(super) fn samples(&self) -> u32 {
        self.min_samples.unwrap_or(DEFAULT_MIN_SAMPLES)
    }

    /// A percentile within its bounds.
    pub(super) fn bounded(&self, delay: Duration) -> Duration {
        delay.min(self.max_delay.unwrap_or(Duration::MAX)).max(self.min_delay.unwrap_or(DEFAULT_MIN_DELAY))
    }
}

impl fmt::Debug for When {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(delay) => f.debug_tuple("After").field(delay).finish(),
            Self::AtPercentile(share) => f.debug_tuple("AtPercentile").field(share).finish(),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

impl PartialEq for When {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::After(a), Self::After(b)) => a == b,
            (Self::AtPercentile(a), Self::AtPercentile(b)) => a == b,
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}
