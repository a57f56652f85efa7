//! Hedging: a second attempt beside a slow first one; whichever succeeds first answers the call.
//!
//! Most calls are quick and a few are slow for no reason of their own: a garbage collection, a busy disk, a lost packet. Asking again elsewhere
//! costs a few percent more load and takes the tail away ("The Tail at Scale", Dean and Barroso, CACM 56, 2013). With
//! [`at_percentile(0.95)`](Hedge::at_percentile) the delay follows the dependency by itself, and about one call in twenty is hedged.
//!
//! ```text
//! leg 0  ──────────────────────────────────────× dropped
//!        │<-- delay -->│
//! leg 1                ────────────────√ answers the call        a leg that fails launches the next at once
//! ```
//!
//! **When not to use it**: for what may not happen twice at the same time (so `.idempotent()` must be said); where slowness means overload, for then it
//! adds to it; and with answers that are expensive to make.
//!
//! * **The first success wins.** A verdict that no other leg would mend (permanent, ignored) is returned at once, too. A leg that failed and
//!   might have worked launches the next at once, unless the server asked for a pause; when all have failed the last failure is
//!   the attempt's, and the retry's to judge: to it, all legs are one attempt.
//! * **Losers are dropped before the value is handed out**, with all they hold. Dropping the call drops every leg.
//! * Each leg goes through the gates by itself, with permits and an attempt timeout of its own. One that a gate refuses hides nothing: the call
//!   fails as the legs before it did, and its token goes back to the budget. (An `Ok` that was judged a failure is given when the next leg is
//!   refused at once; when that is refused after a wait, the refusal is given. To hold the value meanwhile would ask of every call that its values be `Send`.)
//! * No leg is launched while the circuit breaker is not closed, when the [budget](crate::Budget) that it shares with the retries is spent, when less
//!   time is left than the median attempt takes (where that is known, else the delay), or while the leg before it stands in a queue.
//! * All legs run in the call's own future: no task is spawned, so nothing need be `Send`.
//!
//! The percentile is one of how long attempts *would* take: see [the estimate](self#the-estimate).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Hedge, Pipeline};
//! use tokio::time::sleep;
//!
//! let search = Pipeline::builder("search").hedge(Hedge::after(Duration::from_millis(20)).idempotent()).build()?;
//! let answer = search
//!     .call_with(|attempt| async move {
//!         let slow = !attempt.is_hedge(); // the first replica has a bad day
//!         sleep(Duration::from_millis(if slow { 900 } else { 5 })).await;
//!         Ok::<_, std::io::Error>(attempt.leg())
//!     })
//!     .await?;
//! assert_eq!(answer, 1); // after 25 ms
//! # Ok(()) }
//! ```
//!
//! # The estimate
//!
//! Dropped losers would make a percentile collapse: the slow attempts never end, so only quick ones are seen, so the delay shrinks, so more are
//! dropped. So a dropped attempt is counted as one that takes *at least* as long as it lasted, and so is one that failed or timed out
//! (the estimator of Kaplan and Meier). The window is the last 1,000 answers or 10 seconds, whichever is longer, and up to twice that.

mod config;
mod estimate;
mod stats;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

pub use config::HedgeConfig;
pub(crate) use config::When;
pub(crate) use stats::Denied;
pub use stats::HedgeStats;

use super::budget::{Budget, BudgetConfig, BudgetSource};
use crate::fault::ConfigError;
use crate::outcome::{Outcome, Verdict};
use crate::versions::Versions;
use estimate::Estimate;
use stats::Tally;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

/// Decides whether and when another leg is launched. Cheap to clone; clones share estimate, budget and statistics.
#[derive(Clone)]
pub struct Hedge {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Versions<Settings>,
    /// Made when a percentile is first asked for.
    estimate: OnceLock<Estimate>,
    tally: Tally,
}

/// One configuration, and the budget that goes with it.
struct Settings {
    config: HedgeConfig,
    budget: Budget,
}

impl Hedge {
    /// Another leg when an attempt has not ended after `delay`. Zero launches all legs at once; [`Duration::MAX`] launches one only after
    /// another failed, never two at the same time.
    #[must_use]
    pub const fn after(delay: Duration) -> HedgeConfig {
        HedgeConfig::new(When::After(delay))
    }

    /// Another leg when an attempt has lasted longer than this share of all attempts of the policy: 0.95 hedges one in twenty. More than 0, less
    /// than 1.
    #[must_use]
    pub const fn at_percentile(share: f64) -> HedgeConfig {
        HedgeConfig::new(When::AtPercentile(share))
    }

    /// Delays of your own: `f(1)` before the first extra leg, counted from the beginning of the leg before it, and so on. It runs in every call, so it must not
    /// block. [`Duration::MAX`] launches that leg only after another failed.
    #[must_use]
    pub fn custom(f: impl Fn(u32) -> Duration + Send + Sync + 'static) -> HedgeConfig {
        HedgeConfig::new(When::Custom(Arc::new(f)))
    }

    fn from_config(config: HedgeConfig) -> Result<Self, ConfigError> {
        let budget = match config.budget.clone() {
            Some(source) => source.build()?,
            None => BudgetConfig::default().build()?,
        };
        let estimate = OnceLock::new();
        if matches!(config.when, When::AtPercentile(_)) {
            let _ = estimate.set(Estimate::new());
        }
        let settings = Versions::new(Settings { config, budget });
        Ok(Self { shared: Arc::new(Shared { settings, estimate, tally: Tally::default() }) })
    }

    /// What it runs with.
    #[must_use]
    pub fn config(&self) -> HedgeConfig {
        self.settings().config.clone()
    }

    /// Goes on with other settings, for all its clones. Estimate and statistics stay, and so do the tokens of a budget of its own.
    ///
    /// # Errors
    /// What [`build`](HedgeConfig::build) would refuse; then nothing is changed.
    #[inline]
    pub fn reconfigure(&self, config: &HedgeConfig) -> Result<(), ConfigError> {
        ConfigError::check("hedge", config.faults())?;
        self.reconfigure_quietly(config);
        Ok(())
    }

    /// The same for settings that were checked. There is nobody to tell.
    #[inline]
    pub(crate) fn reconfigure_quietly(&self, config: &HedgeConfig) {
        let Shared { settings, estimate, .. } = &*self.shared;
        settings.change(
            |before| Settings { config: config.clone(), budget: before.budget_for(config.budget.as_ref()) },
            |a, b| a.config == b.config && a.budget.is_same(&b.budget),
        );
        if matches!(config.when, When::AtPercentile(_)) {
            estimate.get_or_init(Estimate::new).refresh();
        }
    }

    /// Whether both are handles of one policy.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What it has done so far.
    #[must_use]
    #[inline]
    pub fn stats(&self) -> HedgeStats {
        self.shared.tally.read()
    }

    /// Begins the statistics anew. The estimate goes on.
    pub fn reset_stats(&self) {
        self.shared.tally.reset();
    }

    /// The bucket that its hedges are taken from; in a pipeline that retries, that of the retries, unless a [budget](HedgeConfig::budget) is set.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.settings().budget
    }

    /// How long a leg is waited for now, before the first extra one is launched beside it; `None`: for ever, or too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.delay_before(1, Instant::now())
    }

    /// Tells how an attempt ended, and after how long, for the percentile. A pipeline does it by itself.
    pub fn record(&self, outcome: Outcome, latency: Duration) {
        if let Some(estimate) = self.shared.estimate.get()
            && outcome != Outcome::NotAttempted
        {
            estimate.record(is_answer(outcome), latency);
        }
    }

    #[inline]
    fn settings(&self) -> &Settings {
        self.shared.settings.get()
    }

    // -------------------------------------------------------------- what a pipeline asks

    /// How many extra legs an attempt of this call may have. `said`: whether the call said that it may happen twice.
    #[inline]
    pub(crate) fn most(&self, said: Option<bool>) -> u32 {
        let config = &self.settings().config;
        if said.or(config.idempotent) == Some(true) { config.max_hedges } else { 0 }
    }

    /// How long the leg before this one (1 is the first extra one) is waited for; `None` is for ever.
    pub(crate) fn delay_before(&self, leg: u32, now: Instant) -> Option<Duration> {
        let Settings { config, .. } = self.settings();
        let delay = match &config.when {
            When::After(delay) => *delay,
            When::Custom(f) => f(leg),
            When::AtPercentile(share) => match self.known(config, *share, now) {
                Some(known) => config.bounded(known.percentile),
                None => config.initial_delay.unwrap_or(Duration::MAX),
            },
        };
        (delay != Duration::MAX).then_some(delay)
    }

    /// How much time a leg should have left: less is hardly enough to answer.
    pub(crate) fn needs(&self, leg: u32, now: Instant) -> Duration {
        let Settings { config, .. } = self.settings();
        let known = match config.when {
            When::AtPercentile(share) => self.known(config, share, now).map(|known| known.median),
            When::After(_) | When::Custom(_) => None,
        };
        known.or_else(|| self.delay_before(leg, now)).unwrap_or_default()
    }

    fn known(&self, config: &HedgeConfig, share: f64, now: Instant) -> Option<estimate::Known> {
        self.shared.estimate.get()?.known(share, config.samples(), now)
    }

    /// The bucket that this call's hedges are taken from, given that of its retries.
    fn purse<'a>(&'a self, retries: Option<&'a Budget>) -> &'a Budget {
        let Settings { config, budget } = self.settings();
        retries.filter(|_| config.budget.is_none()).unwrap_or(budget)
    }

    /// Puts the share of a call into the budget, unless the retries have done so.
    #[inline]
    pub(crate) fn join(&self, retries: Option<&Budget>) {
        let purse = self.purse(retries);
        if retries.is_none_or(|retries| !retries.is_same(purse)) {
            purse.deposit();
        }
    }

    /// Pays for a leg, if it can be paid for.
    pub(crate) fn pay(&self, retries: Option<&Budget>, now: Instant) -> bool {
        self.purse(retries).try_withdraw_at(now)
    }

    /// The leg that was paid for never began.
    pub(crate) fn unpay(&self, retries: Option<&Budget>) {
        self.purse(retries).give_back();
    }

    pub(crate) fn launched(&self, after_failure: bool) {
        self.shared.tally.launched(after_failure);
    }

    pub(crate) fn won(&self) {
        self.shared.tally.won();
    }

    pub(crate) fn denied(&self, why: Denied) {
        self.shared.tally.denied(why);
    }
}

/// Whether it ended by itself, so that its time is known, and is not merely a lower bound.
const fn is_answer(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Judged(Verdict::Success | Verdict::Permanent | Verdict::Ignored))
}

impl Settings {
    /// The budget for other settings: the tokens of one's own go on.
    fn budget_for(&self, source: Option<&BudgetSource>) -> Budget {
        let own = |config: &BudgetConfig| {
            // Of a budget that was shared with others, this policy leaves without changing it for them.
            let mine = !matches!(self.config.budget, Some(BudgetSource::Shared(_)));
            if mine && self.budget.reconfigure(config).is_ok() { Some(self.budget.clone()) } else { config.clone().build().ok() }
        };
        match source {
            Some(BudgetSource::Shared(other)) => Some(other.clone()),
            Some(BudgetSource::Own(config)) => own(config),
            None => own(&BudgetConfig::default()),
        }
        .unwrap_or_else(|| self.budget.clone())
    }
}

impl fmt::Debug for Hedge {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("config", &self.settings().config).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
