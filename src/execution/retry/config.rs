//! What a retry policy is made from.

use super::stats::Cause;
use super::{Retry, Shared, StopReason};
use crate::execution::backoff::{Backoff, Jitter, Random};
use crate::execution::budget::{Budget, BudgetConfig, BudgetSource};
use crate::fault::{ConfigError, Fault, gather};
use crate::outcome::{Outcome, Rejected, RejectedKind, Verdict};
use std::sync::Arc;
use std::time::Duration;

/// A server knows better than we do, but a minute is as long as a caller can be expected to wait on its word.
const DEFAULT_HINT_CEILING: Duration = Duration::from_secs(60);

/// What a [`Retry`] is made from. Begin with [`Retry::exponential`] or one of its sisters.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryConfig {
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) hint_ceiling: Duration,
    pub(crate) hint_jitter: Duration,
    pub(crate) budget: BudgetSource,
    pub(crate) rejections: Vec<RejectedKind>,
    pub(crate) timeouts: bool,
    pub(crate) even_when_nested: bool,
    /// Decides as ever, and then does not wait: for tests.
    pub(crate) hurried: bool,
}

impl RetryConfig {
    pub(super) fn new(retries: u32, backoff: Backoff) -> Self {
        Self {
            retries,
            backoff,
            hint_ceiling: DEFAULT_HINT_CEILING,
            hint_jitter: Duration::ZERO,
            budget: BudgetConfig::default().into(),
            rejections: Vec::new(),
            timeouts: true,
            even_when_nested: false,
            hurried: false,
        }
    }

    /// How many retries a call may make: 3 retries are at most 4 attempts, 0 turns retrying off, [`Retry::UNLIMITED`] leaves it to
    /// the deadline and the budget. **Default**: what the constructor was given.
    #[must_use]
    pub const fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The most attempts a call can make: one more than the retries (saturating).
    #[must_use]
    pub const fn max_attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }

    /// By what each delay is multiplied to give the next; for [`Retry::exponential`] only. At least 1, and finite. **Default**: 2.
    #[must_use]
    pub fn factor(mut self, factor: f64) -> Self {
        self.backoff = self.backoff.factor(factor);
        self
    }

    /// No delay of the backoff is longer than this, with jitter and all. The server's hints have a [ceiling](Self::hint_ceiling)
    /// of their own. **Default**: 30 s, or the base if that is longer; none for constant and custom delays.
    #[must_use]
    pub fn max_delay(mut self, max_delay: Duration) -> Self {
        self.backoff = self.backoff.max_delay(max_delay);
        self
    }

    /// How much chance goes into each delay. **Default**: [`Jitter::Full`]; [`Jitter::None`] for custom delays.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.backoff = self.backoff.jitter(jitter);
        self
    }

    /// Makes the random draws the same on every run: one sequence for the policy, from which its calls draw in turn.
    /// **Default**: different each time.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.backoff = self.backoff.seed(seed);
        self
    }

    /// The longest wait that a server's hint (`Retry-After`) can bring about. A longer one ends the call at once: to come back
    /// earlier than asked would be rude, and to wait a day absurd. `Duration::MAX` obeys any hint (the deadline still holds).
    /// **Default**: 60 s.
    #[must_use]
    pub const fn hint_ceiling(mut self, ceiling: Duration) -> Self {
        self.hint_ceiling = ceiling;
        self
    }

    /// Up to how much longer than asked to wait after a server's hint, at random, and never past the [ceiling](Self::hint_ceiling).
    /// Worth a little where many clients are told the same second. **Default**: zero, which is exactly as asked.
    #[must_use]
    pub const fn hint_jitter(mut self, most: Duration) -> Self {
        self.hint_jitter = most;
        self
    }

    /// How many retries all calls may make together: a [`BudgetConfig`] for a bucket of this policy's own, or a [`Budget`] to share.
    /// **Default**: [`BudgetConfig::default`], a tenth of the calls, 3 per second, a burst of 20.
    #[must_use]
    pub fn budget(mut self, budget: impl Into<BudgetSource>) -> Self {
        self.budget = budget.into();
        self
    }

    /// Lets every call make all its retries, whatever load that adds up to. **Default**: there is a [budget](Self::budget).
    #[must_use]
    pub fn without_budget(self) -> Self {
        self.budget(Budget::unlimited())
    }

    /// Which rejections of the pipeline's own policies are worth a retry; a `retry_after` in them is obeyed like a server's hint.
    ///
    /// **Default**: none. An open breaker says that the service is down, and a full bulkhead that this process is: trying again is
    /// what they are there to prevent.
    #[must_use]
    pub fn retry_rejections(mut self, kinds: impl IntoIterator<Item = RejectedKind>) -> Self {
        self.rejections = kinds.into_iter().collect();
        self
    }

    /// Whether an attempt that timed out is tried again. `false` for operations that may not happen twice: after a timeout nobody
    /// knows whether they did. **Default**: `true`.
    #[must_use]
    pub const fn retry_timeouts(mut self, retry: bool) -> Self {
        self.timeouts = retry;
        self
    }

    /// Retries also inside an operation that an outer pipeline would retry. **Default**: it does not, because three layers of
    /// three tries are twenty-seven calls.
    #[must_use]
    pub const fn even_when_nested(mut self) -> Self {
        self.even_when_nested = true;
        self
    }

    /// The delays between attempts.
    #[must_use]
    pub const fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// Checks it, and makes the policy.
    ///
    /// # Errors
    /// Names every setting that cannot work.
    pub fn build(self) -> Result<Retry, ConfigError> {
        ConfigError::check("retry", self.faults())?;
        let (random, budget) = (Random::new(self.backoff.seed_value()), self.budget.clone().build()?);
        Ok(Retry { shared: Arc::new(Shared { random, budget, tally: Default::default(), config: self }) })
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = self.backoff.faults();
        gather(&mut faults, "budget", self.budget.faults());
        faults
    }

    /// The longest that all waits of a call can be together, hints aside; an upper bound where there are thousands of retries.
    /// `None` for [custom](Retry::custom) delays without a cap.
    #[must_use]
    #[inline]
    pub fn longest_wait(&self) -> Option<Duration> {
        /// Past this many, every further wait counts as long as the last: the sum must not take for ever either.
        const EXACT: u32 = 1000;
        let longest = |retry| self.backoff.longest_known(retry);
        let exact = self.retries.min(EXACT);
        let rest = longest(self.retries)?.saturating_mul(self.retries - exact);
        (1..=exact).try_fold(rest, |sum, retry| Some(sum.saturating_add(longest(retry)?)))
    }

    /// The hint and the cause of a retry, where the failure is worth one.
    pub(super) fn worth_it(&self, outcome: Outcome, rejected: Option<&Rejected>) -> Result<(Option<Duration>, Cause), StopReason> {
        match (outcome, rejected) {
            (Outcome::Judged(Verdict::Transient { retry_after }), _) => Ok((retry_after, Cause::Transient)),
            (Outcome::TimedOut, _) if self.timeouts => Ok((None, Cause::TimedOut)),
            (Outcome::NotAttempted, Some(rejected)) => match rejected.kind() {
                kind if self.rejections.contains(&kind) => Ok((rejected.retry_after(), Cause::Rejected)),
                RejectedKind::CircuitOpen => Err(StopReason::CircuitOpen),
                kind => Err(StopReason::Rejected(kind)),
            },
            _ => Err(StopReason::NotRetryable),
        }
    }
}
