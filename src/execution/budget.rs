//! How many retries a set of calls may make in all, whatever each call may do on its own.
//!
//! Three retries per call are right when one call in a hundred fails, and a fourfold load when all of them do. A budget tells the two
//! apart: it is a bucket of tokens, every call puts in a share of one, every retry takes a whole one. With the share of 0.1 the retries
//! are a tenth of the calls, also when the retries succeed. A retry or hedge that was granted and never began (a gate of the pipeline refused
//! it, or its caller was gone) puts its token back.
//!
//! ```text
//!  every call: + share ─┐
//!                       ├──> [ bucket: at most `burst`, and full at first ] ──> a retry or a hedge: - 1
//!  time: + min/second ──┘
//! ```
//!
//! **When not to use it**: hardly ever. A job that runs alone and may try all night can do [without](crate::RetryConfig::without_budget).
//!
//! ```
//! use steadfast::{Budget, Retry};
//! use std::time::Duration;
//!
//! // Two pipelines to the same service share what it can bear.
//! let budget = Budget::new(0.2).burst(50).build()?;
//! let reads = Retry::exponential(3, Duration::from_millis(50)).budget(budget.clone()).build()?;
//! let writes = Retry::exponential(1, Duration::from_millis(50)).budget(budget).build()?;
//! # Ok::<(), steadfast::ConfigError>(())
//! ```

use crate::fault::{ConfigError, Fault, check};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, Padded, lock};
use crate::time;
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;

/// What a [`Budget`] is made from. Begin with [`Budget::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetConfig {
    pub(crate) share: f64,
    pub(crate) min_per_second: f64,
    pub(crate) burst: u32,
    pub(crate) unlimited: bool,
}

impl BudgetConfig {
    /// Retries that are always granted, per second, so that a pipeline with few calls retries at all. 0 is none.
    /// **Default**: 3.
    #[must_use]
    pub const fn min_per_second(mut self, retries: f64) -> Self {
        self.min_per_second = retries;
        self
    }

    /// How many tokens the bucket holds, and starts with: the retries that a sudden burst of failures may make before the share counts.
    /// At least 1.
    ///
    /// **Default**: 20, so that the first call ever, with a generous limit of its own, is not cut short; and a sudden outage of a
    /// service with thousands of calls still meets a wall at once.
    #[must_use]
    pub const fn burst(mut self, tokens: u32) -> Self {
        self.burst = tokens;
        self
    }

    /// The retries that are always granted, per second.
    pub(crate) const fn floor(&self) -> f64 {
        self.min_per_second
    }

    /// Checks it, and makes the budget: full.
    ///
    /// # Errors
    /// Names every setting that cannot work.
    pub fn build(self) -> Result<Budget, ConfigError> {
        ConfigError::check("budget", self.faults())?;
        Ok(Budget { shared: Arc::new(Shared::new(self)) })
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::fraction(&mut faults, "share", self.share);
        if !(self.min_per_second >= 0.0 && self.min_per_second.is_finite()) {
            let problem = format!("{} is not a rate; it must be at least 0 and finite, 0 is none", self.min_per_second);
            faults.push(Fault::new("min_per_second", problem));
        }
        check::at_least(&mut faults, "burst", self.burst.into(), 1);
        faults
    }
}

impl Default for BudgetConfig {
    /// A tenth of the calls, 3 per second, a burst of 20.
    fn default() -> Self {
        Budget::new(0.1)
    }
}

/// A bucket of retries, shared by all its clones. Every call puts in a share of a token, time a few tokens per second, and every
/// retry takes one.
#[derive(Clone, Debug)]
pub struct Budget {
    shared: Arc<Shared>,
}

impl Budget {
    /// A budget of this share of all calls: 0.1 is one retry for ten calls. More than 0, at most 1.
    #[must_use]
    #[expect(clippy::new_ret_no_self, reason = "every policy's constructor gives its configuration")]
    pub const fn new(share: f64) -> BudgetConfig {
        BudgetConfig { share, min_per_second: 3.0, burst: 20, unlimited: false }
    }

    /// A budget that grants everything.
    #[must_use]
    pub const fn unlimited() -> BudgetConfig {
        BudgetConfig { share: 1.0, min_per_second: 0.0, burst: 1, unlimited: true }
    }

    /// What it was made from.
    #[must_use]
    #[inline]
    pub fn config(&self) -> BudgetConfig {
        lock(&self.shared.config).clone()
    }

    /// The share of all calls that may be retries; `None` for an unlimited budget.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        let config = self.config();
        (!config.unlimited).then_some(config.share)
    }

    /// Puts in the share of one call. Once for each call, before or after it, never for a retry.
    #[inline]
    pub fn deposit(&self) {
        self.shared.deposit();
    }

    /// Takes a token for one retry, if there is one. `now` tells how much the minimum per second has brought in since the last time.
    #[must_use = "only `true` grants the retry"]
    pub fn try_withdraw_at(&self, now: Instant) -> bool {
        self.shared.try_withdraw(now)
    }

    /// Puts back the token of a retry or a hedge that was granted and never began: it put no load on anybody.
    #[cold]
    pub(crate) fn give_back(&self) {
        self.shared.give_back();
    }

    /// The whole tokens in the bucket when it was last used; `u32::MAX` for an unlimited budget.
    #[must_use]
    #[inline]
    pub fn available(&self) -> u32 {
        if self.shared.unlimited.load(Ordering::Relaxed) {
            return u32::MAX;
        }
        u32::try_from(self.shared.tokens.0.load(Ordering::Relaxed).min(self.shared.full.load(Ordering::Relaxed)) / TOKEN)
            .unwrap_or(u32::MAX)
    }

    /// Goes on with other settings, for all its clones. The tokens in the bucket stay, as far as they fit.
    ///
    /// # Errors
    /// What [`build`](BudgetConfig::build) would refuse; then nothing is changed.
    pub fn reconfigure(&self, config: &BudgetConfig) -> Result<(), ConfigError> {
        ConfigError::check("budget", config.faults())?;
        let (new, shared) = (Shared::new(config.clone()), &*self.shared);
        let mut current = lock(&shared.config);
        shared.share.store(new.share.into_inner(), Ordering::Relaxed);
        shared.full.store(new.full.into_inner(), Ordering::Relaxed);
        shared.min_per_second.store(new.min_per_second.into_inner(), Ordering::Relaxed);
        shared.unlimited.store(config.unlimited, Ordering::Relaxed);
        *current = config.clone();
        Ok(())
    }

    /// Whether both are handles of one bucket.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

/// One token. A power of ten, so that shares like 0.1 and 0.6 are whole numbers and nothing drifts; and as many as a second has
/// nanoseconds, so that n per second are n units per nanosecond.
const TOKEN: u64 = 1_000_000_000;
/// The minimum per second is kept in millionths.
const MICRO: u128 = 1_000_000;

#[derive(Debug)]
struct Shared {
    /// Every call on every thread looks at it.
    tokens: Padded<AtomicU64>,
    share: AtomicU64,
    full: AtomicU64,
    min_per_second: AtomicU64,
    unlimited: AtomicBool,
    /// The first withdrawal: until then the bucket is full, and time brings nothing.
    epoch: OnceLock<Instant>,
    /// Up to when the minimum per second has been paid in, in nanoseconds since `epoch`.
    paid_until: AtomicU64,
    config: Mutex<BudgetConfig>,
}

impl Shared {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be positive, and `as` saturates")]
    #[expect(clippy::cast_precision_loss, reason = "a billion and a million are exact")]
    fn new(config: BudgetConfig) -> Self {
        let full = u64::from(config.burst) * TOKEN;
        Self {
            tokens: Padded(AtomicU64::new(full)),
            share: AtomicU64::new(((config.share * TOKEN as f64).round() as u64).max(1)),
            // An unlimited bucket is always full, so that depositing stays one load and a comparison.
            full: AtomicU64::new(if config.unlimited { 0 } else { full }),
            min_per_second: AtomicU64::new((config.min_per_second * MICRO as f64).round() as u64),
            unlimited: AtomicBool::new(config.unlimited),
            epoch: OnceLock::new(),
            paid_until: AtomicU64::new(0),
            config: Mutex::new(config),
        }
    }

    fn deposit(&self) {
        if self.tokens.0.load(Ordering::Relaxed) < self.full.load(Ordering::Relaxed) {
            // Threads that meet here may overfill by a share each; the next withdrawal levels it. Cheaper than a loop for all.
            self.tokens.0.fetch_add(self.share.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn try_withdraw(&self, now: Instant) -> bool {
        if self.unlimited.load(Ordering::Relaxed) {
            return true;
        }
        let (income, full) = (self.income(now), self.full.load(Ordering::Relaxed));
        let mut seen = self.tokens.0.load(Ordering::Relaxed);
        loop {
            let filled = seen.saturating_add(income).min(full);
            let (granted, left) = filled.checked_sub(TOKEN).map_or((false, filled), |left| (true, left));
            if left == seen {
                return granted; // nothing came and nothing goes: in an outage, refusing stays a read
            }
            match self.tokens.0.compare_exchange_weak(seen, left, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return granted,
                Err(other) => seen = other,
            }
        }
    }

    fn give_back(&self) {
        let full = self.full.load(Ordering::Relaxed);
        let more = |tokens| (tokens < full).then(|| full.min(tokens + TOKEN));
        let _ = self.tokens.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// What the minimum per second has brought in since the last time it was asked; each moment is paid once.
    fn income(&self, now: Instant) -> u64 {
        let rate = self.min_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return 0;
        }
        let until = time::nanos_since(*self.epoch.get_or_init(|| now), now);
        let since = self.paid_until.fetch_max(until, Ordering::Relaxed);
        if until <= since {
            return 0;
        }
        // A difference of totals: what rounding takes from one payment, the next one brings.
        let total = |nanos: u64| u128::from(nanos) * u128::from(rate) / MICRO;
        u64::try_from(total(until) - total(since)).unwrap_or(u64::MAX)
    }
}

/// Where a retry takes its budget from: one of its own, or one it shares. Made from either by [`RetryConfig::budget`](crate::RetryConfig::budget).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BudgetSource {
    /// A new bucket for each policy that is built.
    Own(BudgetConfig),
    /// This bucket, with whoever else has it.
    Shared(Budget),
}

impl BudgetSource {
    pub(crate) fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Own(config) => config.faults(),
            Self::Shared(_) => Vec::new(),
        }
    }

    pub(crate) fn build(self) -> Result<Budget, ConfigError> {
        match self {
            Self::Own(config) => config.build(),
            Self::Shared(budget) => Ok(budget),
        }
    }
}

impl PartialEq for BudgetSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Own(a), Self::Own(b)) => a == b,
            (Self::Shared(a), Self::Shared(b)) => a.is_same(b),
            _ => false,
        }
    }
}

impl From<BudgetConfig> for BudgetSource {
    fn from(config: BudgetConfig) -> Self {
        Self::Own(config)
    }
}

impl From<Budget> for BudgetSource {
    fn from(budget: Budget) -> Self {
        Self::Shared(budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_billion_deposits_drift_by_nothing() {
        // A deposit adds a fixed whole number of units, so a billion of them are one multiplication.
        for (share, units) in [(0.1, 100_000_000), (0.6, 600_000_000), (0.07, 70_000_000), (1.0, TOKEN)] {
            let shared = Shared::new(Budget::new(share));
            assert_eq!(shared.share.into_inner(), units, "{share}");
        }
    }

    #[test]
    fn a_full_bucket_is_only_looked_at() {
        for config in [Budget::new(1.0), Budget::unlimited()] {
            let shared = Shared::new(config);
            let before = shared.tokens.0.load(Ordering::Relaxed);
            shared.deposit();
            assert_eq!(shared.tokens.0.load(Ordering::Relaxed), before);
        }
    }

    #[test]
    fn what_is_put_back_never_overfills_the_bucket() {
        let budget = Budget::new(0.1).min_per_second(0.0).burst(2).build().expect("valid");
        let now = Instant::now();
        budget.give_back();
        assert_eq!(budget.available(), 2);
        assert!(budget.try_withdraw_at(now) && budget.try_withdraw_at(now) && !budget.try_withdraw_at(now));
        budget.give_back();
        assert_eq!(budget.available(), 1);
        let unlimited = Budget::unlimited().build().expect("valid");
        unlimited.give_back();
        assert_eq!(unlimited.available(), u32::MAX);
    }

    #[test]
    fn income_paid_in_slivers_is_paid_in_full() {
        let (shared, start) = (Shared::new(Budget::new(0.1).min_per_second(0.001)), Instant::now());
        // 7 ns at a time are 0.007 units each: rounded one by one they would be nothing.
        let paid: u64 = (0..=1_000_000).map(|n| shared.income(start + Duration::from_nanos(7 * n))).sum();
        assert_eq!(paid, 7_000);
    }

    proptest::proptest! {
        #[test]
        fn any_use_of_it_against_exact_fractions(
            (share, per_second, burst) in (1..=1000_u32, 0..5000_u32, 1..30_u32),
            steps in proptest::collection::vec((0..4_u8, 0..400_000_000_u64), 1..400),
        ) {
            let config = Budget::new(f64::from(share) / 1e3).min_per_second(f64::from(per_second) / 1e3).burst(burst);
            let (budget, start) = (config.build().expect("valid"), Instant::now());
            // In millionths of a millionth of a token, in which shares of a thousandth and nanoseconds of a thousandth per second are whole.
            const WHOLE: u128 = 1_000_000_000_000;
            let full = u128::from(burst) * WHOLE;
            let (mut now, mut paid, mut tokens) = (0, None, full);
            for (kind, step) in steps {
                now += step;
                if kind == 0 {
                    let since = paid.replace(now).unwrap_or(now);
                    tokens = full.min(tokens + u128::from(now - since) * u128::from(per_second));
                    let granted = budget.try_withdraw_at(start + Duration::from_nanos(now));
                    // Payments are cut to a billionth of a token, never from total.
                    if tokens.abs_diff(WHOLE) > 2_000 {
                        proptest::prop_assert_eq!(granted, tokens >= WHOLE);
                    }
                    tokens -= if granted { WHOLE.min(tokens) } else { 0 };
                } else if kind == 3 {
                    budget.give_back();
                    tokens = full.min(tokens + WHOLE);
                } else {
                    budget.deposit();
                    tokens = full.min(tokens + u128::from(share) * WHOLE / 1000);
                }
            }
        }
    }
}
