//! Trying again what may work the next time, and knowing when not to.
//!
//! A failed attempt is worth another when its verdict is [`Transient`](crate::Verdict::Transient) or it timed out. Before the wait,
//! in this order, a retry is refused because
//!
//! ```text
//! the failure will not pass > an outer pipeline retries already > no retries left > the server asked for too long a wait >
//! the wait does not end before the deadline > the circuit will still be open > the budget is spent
//! ```
//!
//! and the call ends at once, with the operation's own last error. The budget comes last, so that no token is spent for nothing.
//!
//! A server that says when to come back (`Retry-After`) is obeyed to the letter, and the backoff begins anew after it. "Do not come back"
//! is [`Verdict::Permanent`](crate::Verdict::Permanent).
//!
//! **When not to use it**: for operations that may not happen twice, unless a failure tells that they did not happen at all
//! (and see [`retry_timeouts`](RetryConfig::retry_timeouts)); and around another client that retries by itself.
//!
//! Without a pipeline, in a loop of your own:
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{Outcome, Retry, Verdict};
//! use tokio::time::{Instant, sleep};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
//! # let mut answers = [Err("busy"), Ok(7)].into_iter(); let mut fetch = async || answers.next().unwrap();
//! let retry = Retry::exponential(3, Duration::from_millis(100)).build()?; // 3 retries, so at most 4 attempts
//! let mut state = retry.start();
//! let answer = loop {
//!     let answer = fetch().await;
//!     if answer.is_ok() {
//!         break answer;
//!     }
//!     match retry.next_delay(&mut state, Outcome::Judged(Verdict::transient()), None, Instant::now(), None) {
//!         Ok(delay) if delay.is_zero() => tokio::task::yield_now().await,
//!         Ok(delay) => sleep(delay).await,
//!         Err(_stopped) => break answer,
//!     }
//! };
//! retry.finish(state, answer.is_ok());
//! assert_eq!(retry.stats().succeeded_with_retry(), 1);
//! # Ok(()) }
//! ```

mod config;
mod stats;

pub use config::RetryConfig;
pub use stats::RetryStats;

use super::backoff::{Backoff, Place, Random, uniform};
use super::budget::{Budget, BudgetSource};
use crate::fault::ConfigError;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::time;
use stats::{Cause, Tally};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Decides whether and when to try again. Cheap to clone; clones share the budget, the statistics and the random sequence.
#[derive(Clone, Debug)]
pub struct Retry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RetryConfig,
    random: Random,
    budget: Budget,
    tally: Arc<Tally>,
}

impl Retry {
    /// As many retries as the deadline and the budget allow.
    pub const UNLIMITED: u32 = u32::MAX;

    /// Delays that double: `base`, 2 `base`, 4 `base`, .. (see [`RetryConfig::factor`]).
    #[must_use]
    pub fn exponential(retries: u32, base: Duration) -> RetryConfig {
        Self::with_backoff(retries, Backoff::exponential(base))
    }

    /// Always the same delay. Zero retries at once.
    #[must_use]
    pub fn constant(retries: u32, delay: Duration) -> RetryConfig {
        Self::with_backoff(retries, Backoff::constant(delay))
    }

    /// Delays that grow evenly: `base`, 2 `base`, 3 `base`, ..
    #[must_use]
    pub fn linear(retries: u32, base: Duration) -> RetryConfig {
        Self::with_backoff(retries, Backoff::linear(base))
    }

    /// Delays that grow by about 1.6: `base` times 1, 1, 2, 3, 5, 8, ..
    #[must_use]
    pub fn fibonacci(retries: u32, base: Duration) -> RetryConfig {
        Self::with_backoff(retries, Backoff::fibonacci(base))
    }

    /// Random delays between `base` and three times the one before: see [`Backoff::decorrelated`].
    #[must_use]
    pub fn decorrelated(retries: u32, base: Duration) -> RetryConfig {
        Self::with_backoff(retries, Backoff::decorrelated(base))
    }

    /// Delays of your own: `f(1)` before the first retry, and so on. After a server's hint it begins at 1 again, as every backoff does.
    #[must_use]
    pub fn custom(retries: u32, f: impl Fn(u32) -> Duration + Send + Sync + 'static) -> RetryConfig {
        Self::with_backoff(retries, Backoff::custom(f))
    }

    /// Delays of a backoff that is at hand.
    #[must_use]
    pub fn with_backoff(retries: u32, backoff: Backoff) -> RetryConfig {
        RetryConfig::new(retries, backoff)
    }

    /// The same policy under other settings: budget and statistics go on, and are shared with this one. A budget of the policy's own takes on
    /// its new settings.
    ///
    /// # Errors
    /// What [`build`](RetryConfig::build) would refuse; then nothing is changed.
    #[inline]
    pub fn reconfigured(&self, config: RetryConfig) -> Result<Self, ConfigError> {
        ConfigError::check("retry", config.faults())?;
        let budget = match &config.budget {
            BudgetSource::Own(own) => {
                // Of a budget that was shared with others, this policy leaves without changing it for them.
                if matches!(self.shared.config.budget, BudgetSource::Own(_)) {
                    self.shared.budget.reconfigure(own)?;
                    self.shared.budget.clone()
                } else {
                    own.clone().build()?
                }
            }
            BudgetSource::Shared(other) => other.clone(),
        };
        let (random, tally) = (Random::new(config.backoff.seed_value()), Arc::clone(&self.shared.tally));
        Ok(Self { shared: Arc::new(Shared { random, budget, tally, config }) })
    }

    /// Whether both do the same and pay from one budget. (A retry has no other state that calls share.)
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.config() == other.config() && self.budget().is_same(other.budget())
    }

    /// What it was made from.
    #[must_use]
    #[inline]
    pub fn config(&self) -> RetryConfig {
        self.shared.config.clone()
    }

    /// The budget that its retries are taken from; hedges of the same pipeline take from it too.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    /// Begins a call, and puts its share into the budget.
    pub fn start(&self) -> RetryState {
        self.begin(false)
    }

    /// Begins a call that is part of an operation which an outer policy retries: it makes no retries of its own, unless
    /// [`even_when_nested`](RetryConfig::even_when_nested).
    pub fn start_nested(&self) -> RetryState {
        self.begin(true)
    }

    #[inline]
    pub(crate) fn begin(&self, nested: bool) -> RetryState {
        RetryState::new(self.join(nested))
    }

    /// Puts the share of a call into the budget, and tells whether its retries are left to an outer policy.
    #[inline]
    pub(crate) fn join(&self, nested: bool) -> bool {
        self.shared.budget.deposit();
        nested && !self.shared.config.even_when_nested
    }

    /// Whether a call that begins here and now could be tried again.
    #[cfg(any(feature = "reqwest", feature = "tower"))]
    pub(crate) fn retries_here(&self) -> bool {
        let config = &self.shared.config;
        config.retries > 0 && (config.even_when_nested || !super::Nesting::current().retries)
    }

    /// Whether it makes any retries, so that those inside its calls need not.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.shared.config.retries > 0
    }

    /// Whether, and after what wait, a failed attempt is tried again. Zero means at once, without a timer.
    ///
    /// `rejected` is the rejection that the attempt met, if that is how it ended. An `Ok` is a retry granted and paid for.
    /// It needs no runtime, so it serves blocking code too:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use steadfast::{Outcome, Retry, Verdict};
    /// # let mut answers = [Err("busy"), Ok(7)].into_iter(); let mut read = || answers.next().unwrap();
    /// let retry = Retry::exponential(3, Duration::from_millis(10)).build()?;
    /// let mut state = retry.start();
    /// let answer = loop {
    ///     let answer = read();
    ///     if answer.is_ok() {
    ///         break answer;
    ///     }
    ///     let now = tokio::time::Instant::now(); // of `std`: `std::time::Instant::now().into()`
    ///     match retry.next_delay(&mut state, Outcome::Judged(Verdict::transient()), None, now, None) {
    ///         Ok(delay) => std::thread::sleep(delay),
    ///         Err(_stopped) => break answer,
    ///     }
    /// };
    /// retry.finish(state, answer.is_ok());
    /// assert_eq!(answer, Ok(7));
    /// # Ok::<(), steadfast::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The reason why this failure is the last of the call; `state` is as it was.
    pub fn next_delay(
        &self,
        state: &mut RetryState,
        outcome: Outcome,
        rejected: Option<&Rejected>,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<Duration, StopReason> {
        self.next_delay_unless(&|_| false, state, outcome, rejected, now, deadline)
    }

    /// The same, for a caller who knows whether the circuit will still be open at the moment of the next attempt.
    pub(crate) fn next_delay_unless(
        &self,
        open: &dyn Fn(Instant) -> bool,
        state: &mut RetryState,
        outcome: Outcome,
        rejected: Option<&Rejected>,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<Duration, StopReason> {
        let decided = self.decide(open, state, outcome, rejected, now, deadline);
        match decided {
            Ok((next, delay, cause)) => {
                *state = next;
                self.shared.tally.retried(cause);
                Ok(if self.shared.config.hurried { Duration::ZERO } else { delay })
            }
            Err(reason) => {
                // A success is no failure that was stopped.
                if !outcome.is_success() {
                    self.shared.tally.stopped(reason);
                }
                Err(reason)
            }
        }
    }

    fn decide(
        &self,
        open: &dyn Fn(Instant) -> bool,
        state: &RetryState,
        outcome: Outcome,
        rejected: Option<&Rejected>,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<(RetryState, Duration, Cause), StopReason> {
        let Shared { config, random, budget, .. } = &*self.shared;
        let (hint, cause) = config.worth_it(outcome, rejected)?;
        if state.nested {
            return Err(StopReason::Nested);
        }
        if state.retries >= config.retries && config.retries != Self::UNLIMITED {
            return Err(StopReason::Attempts);
        }
        let mut next = RetryState { retries: state.retries.saturating_add(1), ..*state };
        let (delay, cause) = match hint {
            Some(hint) if hint > config.hint_ceiling => return Err(StopReason::HintTooLong),
            Some(hint) => {
                next.place = Place::default();
                let longest = hint.saturating_add(config.hint_jitter).min(config.hint_ceiling);
                (uniform(random, hint, longest), Cause::Hinted)
            }
            None => (config.backoff.next(&mut next.place, random), cause),
        };
        // A wait for ever fits nowhere, deadline or not.
        let until = time::after(now, delay).ok_or(StopReason::Deadline)?;
        if deadline.is_some_and(|deadline| until >= deadline) {
            return Err(StopReason::Deadline);
        }
        if open(until) {
            return Err(StopReason::CircuitOpen);
        }
        if !budget.try_withdraw_at(now) {
            return Err(StopReason::Budget);
        }
        Ok((next, delay, cause))
    }

    /// Ends a call, for the statistics. Once for each call that came to an end; not for one that was dropped.
    #[inline]
    pub fn finish(&self, state: RetryState, succeeded: bool) {
        self.shared.tally.finished(state.retries, succeeded);
    }

    /// What it has done so far.
    #[must_use]
    #[inline]
    pub fn stats(&self) -> RetryStats {
        self.shared.tally.read()
    }

    /// Begins the statistics anew. Budget and calls under way go on.
    pub fn reset_stats(&self) {
        self.shared.tally.reset();
    }
}

/// How far one call is: a small plain value that the call carries along.
#[derive(Clone, Copy, Debug)]
#[must_use = "the call's own memory of its retries"]
pub struct RetryState {
    place: Place,
    retries: u32,
    nested: bool,
}

impl RetryState {
    #[inline]
    pub(crate) const fn new(nested: bool) -> Self {
        Self { retries: 0, place: Place { step: 0, previous: 0 }, nested }
    }

    /// The retries granted so far.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retries
    }

    /// The attempts so far, the first included (saturating).
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.retries.saturating_add(1)
    }
}

/// Why a failure was the last of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// Another attempt would not mend it: a permanent or ignored failure, a panic, a call that was dropped.
    NotRetryable,
    /// The call has made all its retries.
    Attempts,
    /// All calls together have made as many retries as the budget allows.
    Budget,
    /// The wait would not end before the deadline, or not at all.
    Deadline,
    /// The server asked for a longer wait than the ceiling for hints.
    HintTooLong,
    /// The circuit breaker is open.
    CircuitOpen,
    /// Another policy of the pipeline refused.
    Rejected(RejectedKind),
    /// An outer pipeline retries already.
    Nested,
}

impl StopReason {
    pub(super) const NAMES: [&'static str; 8] =
        ["not_retryable", "attempts", "budget", "deadline", "hint_too_long", "circuit_open", "rejected", "nested"];

    pub(super) const fn index(self) -> usize {
        match self {
            Self::NotRetryable => 0,
            Self::Attempts => 1,
            Self::Budget => 2,
            Self::Deadline => 3,
            Self::HintTooLong => 4,
            Self::CircuitOpen => 5,
            Self::Rejected(_) => 6,
            Self::Nested => 7,
        }
    }

    /// A short, stable name in snake case, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self.index()]
    }
}

impl fmt::Display for StopReason {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;

    #[test]
    fn h75_unlimited_goes_on_past_the_end_of_the_count() -> Result<(), Box<dyn std::error::Error>> {
        let failed = Outcome::Judged(Verdict::transient());
        let retry = Retry::exponential(Retry::UNLIMITED, Duration::from_secs(1)).without_budget().build()?;
        let mut state = RetryState { retries: u32::MAX, ..retry.start() };
        assert!(retry.next_delay(&mut state, failed, None, Instant::now(), None).is_ok());
        retry.finish(state, true);
        assert_eq!((state.attempts(), retry.stats().succeeded_after[9]), (u32::MAX, 1));
        Ok(())
    }

    #[test]
    fn a_retry_is_the_same_in_settings_and_budget() -> Result<(), Box<dyn std::error::Error>> {
        let config = || Retry::exponential(3, Duration::from_secs(1));
        let [one, other] = [config().build()?, config().build()?];
        assert!(one.is_same(&one.clone()));
        assert!(!one.is_same(&other), "of the same settings, with a budget of its own");
        assert!(!one.is_same(&one.reconfigured(config().retries(4))?), "of the same budget, with other settings");
        Ok(())
    }

    #[cfg(any(feature = "reqwest", feature = "tower"))]
    #[test]
    fn outside_of_all_calls_it_retries_if_it_may_at_all() -> Result<(), Box<dyn std::error::Error>> {
        let retries = |n| Retry::constant(n, Duration::ZERO).build().map(|retry| retry.retries_here());
        assert_eq!((retries(1)?, retries(0)?), (true, false));
        Ok(())
    }
}
