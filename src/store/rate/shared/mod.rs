//! A limit that several machines share, and that stands when what they share it through does not.
//!
//! For a quota of a provider, a tenant or a user that all your machines together must keep. Where one machine may have its own part for good, a
//! [`RateLimiter`](crate::RateLimiter) costs nanoseconds, and no store.
//!
//! ```text
//! was it refused a moment ago? ──yes──> refused, without asking             DenyCache
//!   │ no
//! is the store's circuit open? ──yes──┐
//!   │ no                              │
//! ask the store ──no answer in time, or an error──> OnOutage                LocalFallback
//!   │                                               Local: this machine's share,
//!   └──> as it says                   Remote        from what was spent before
//! ```
//!
//! * **Never longer than its deadline.** Whatever the store does, a decision comes in time. What a call cut off may have taken is not taken twice.
//! * **Down is cheap.** A circuit breaker lets one call in a while find out, and the others pay nothing.
//! * **Local is warm.** It follows what the store says of each key, so that an outage is not a fresh burst for everybody.
//! * **It waits where it may.** [`max_wait`](SharedLimitConfig::max_wait) has [`acquire`](SharedLimit::acquire) and pipelines stand in line.
//! * **Back by itself.** The first answers close the circuit; every [`Decision`] says who [decided](Decision::source).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::Pipeline;
//! use steadfast::store::Key;
//! use steadfast::store::rate::{MemoryRateStore, OnOutage, Quota, SharedLimit};
//!
//! let limit = SharedLimit::new(Quota::per_minute(100).burst(20))
//!     .name("search")
//!     .store(MemoryRateStore::new())                  // or SQLite, or Redis
//!     .on_outage(OnOutage::Local { share: 0.25 })     // one of four machines
//!     .deadline(Duration::from_millis(50))
//!     .build()?;
//!
//! // Alone ..
//! let decision = limit.check(&Key::new("tenant:7")?).await?;
//! assert!(decision.allowed && decision.remaining == 19);
//!
//! // .. or as a gate of a pipeline, by the key of each call.
//! let search = Pipeline::builder("search").gate(limit).build()?;
//! let found = search.key("tenant:7").call(|| async { Ok::<_, steadfast::Rejected>(3) }).await;
//! # assert_eq!(found, Ok(3)); Ok(()) }
//! ```

mod config;
mod deny;
mod gate;
mod line;
mod stats;
mod wait;

pub use config::{OnOutage, SharedLimitConfig};
pub use stats::LimitStats;

use super::{AnyRateStore, Decision, MemoryRateStore, Quota, RateStore, Source, Terms};
use crate::admission::CircuitBreaker;
use crate::fault::{ConfigError, Fault};
use crate::outcome::{Outcome, Rejected, RejectedKind, Verdict};
use crate::store::{Key, StoreError, StoreErrorKind};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::{after, earlier};
use deny::DenyCache;
use line::Lines;
use stats::Counters;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A limit that several machines share. Clones share it. See the [module](self).
///
/// Outside a tokio runtime there are no timers, and so no deadline.
#[derive(Clone)]
pub struct SharedLimit {
    shared: Arc<Shared>,
}

struct Shared {
    config: Mutex<SharedLimitConfig>,
    store: AnyRateStore,
    name: Arc<str>,
    breaker: CircuitBreaker,
    /// What each key has spent of this machine's share.
    own: MemoryRateStore,
    denied: DenyCache,
    lines: Arc<Lines>,
    counters: Counters,
    /// Whether the last decision was made without the store.
    out: AtomicBool,
}

/// What of the configuration a decision needs.
#[derive(Clone, Copy)]
struct Rules {
    quota: Quota,
    on_outage: OnOutage,
    deadline: Duration,
    max_wait: Duration,
    shadow: bool,
}

impl SharedLimit {
    /// A limit of this quota; it needs a [store](SharedLimitConfig::store).
    #[expect(clippy::new_ret_no_self, reason = "as with every policy: its settings come first")]
    pub fn new(quota: Quota) -> SharedLimitConfig {
        SharedLimitConfig::new(quota)
    }

    fn from_config(config: SharedLimitConfig) -> Result<Self, ConfigError> {
        let shared = Shared {
            // There is one, or it would have been a fault.
            store: config.store.clone().unwrap_or_else(|| MemoryRateStore::new().into_any()),
            name: Arc::clone(&config.name),
            breaker: config.breaker.clone().build()?,
            own: MemoryRateStore::builder().max_keys(config.local_keys).build()?,
            denied: DenyCache::new(config.deny_cache),
            lines: Arc::default(),
            counters: Counters::default(),
            out: AtomicBool::new(false),
            config: Mutex::new(config),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes one unit of `key`.
    ///
    /// # Errors
    /// As [`check_cost`](Self::check_cost).
    ///
    /// # Cancel safety
    /// Dropped while the store is being asked, the unit may have been taken.
    pub async fn check(&self, key: &Key) -> Result<Decision, StoreError> {
        self.check_cost(key, 1).await
    }

    /// Takes `cost` units of `key`; 0 goes without asking anybody.
    ///
    /// # Errors
    /// [`TooLarge`](StoreErrorKind::TooLarge) for a cost that could never go, [`Closed`](StoreErrorKind::Closed) after the store was closed, and with
    /// [`OnOutage::Error`] whatever keeps the store from answering. Otherwise there is always a decision.
    ///
    /// # Cancel safety
    /// Dropped while the store is being asked, the units may have been taken.
    pub async fn check_cost(&self, key: &Key, cost: u32) -> Result<Decision, StoreError> {
        self.shared.decide(key, cost, None).await
    }

    /// The same, as policies say it: a refusal is a [`Rejected`] of kind [`RateLimited`](RejectedKind::RateLimited) that says when to come back. And it waits
    /// for its units where it [may](SharedLimitConfig::max_wait), which checks never do.
    ///
    /// # Errors
    /// A refusal: at once when the wait would be too long, or when it has been; or, where there is no decision, one of kind `Custom("limit_unavailable")`.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it has taken nothing, and those behind it move up; while the store is being asked, as [`check_cost`](Self::check_cost).
    pub async fn acquire(&self, key: &Key, cost: u32) -> Result<Decision, Rejected> {
        self.shared.acquire(key, cost, None).await
    }

    /// How things stand with `key`, without taking anything, within the deadline. While the store does not answer, as far as this machine knows.
    ///
    /// # Errors
    /// As [`check_cost`](Self::check_cost).
    pub async fn peek(&self, key: &Key) -> Result<Decision, StoreError> {
        let (full, rules) = (key.within(&self.shared.name), self.shared.rules());
        match self.shared.ask(&rules, None, self.shared.store.peek(&full, &rules.quota), |_| true).await {
            Ok(decision) => Ok(decision),
            Err(Silence::Said(error)) => Err(error),
            Err(silence) => self.shared.without(&rules, key, 0, silence),
        }
    }

    /// Gives back units of `key` that were taken and not used, within the deadline.
    ///
    /// # Errors
    /// What keeps the store from answering: then they come back with time.
    pub async fn refund(&self, key: &Key, units: u32) -> Result<(), StoreError> {
        self.shared.refund(key, units).await
    }

    /// Forgets what `key` has spent, here and in the store, within the deadline.
    ///
    /// # Errors
    /// What keeps the store from answering; here it is forgotten all the same.
    pub async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        self.shared.denied.forget(key);
        self.shared.own.reset(key).await?;
        let (full, rules) = (key.within(&self.shared.name), self.shared.rules());
        let done = self.shared.ask(&rules, None, self.shared.store.reset(&full), |_| true).await.map_err(Silence::into_error);
        // One that was refused meanwhile was refused by what has gone.
        self.shared.denied.forget(key);
        done
    }

    /// What it has decided since it was made, and who did.
    #[must_use]
    pub fn stats(&self) -> LimitStats {
        self.shared.counters.snapshot()
    }

    /// The circuit breaker around the store: its state, and levers for operators.
    #[must_use]
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.shared.breaker
    }

    /// A copy of what it runs with.
    pub fn config(&self) -> SharedLimitConfig {
        lock(&self.shared.config).clone()
    }

    /// Changes quota, deadline, longest wait, breaker, what happens in an outage, and whether it only counts, while calls run. What was spent still counts; who was
    /// refused by another quota may ask again. Name, store and the numbers of keys stay as they are.
    ///
    /// # Errors
    /// Every setting that cannot work or cannot be changed, all at once; nothing is changed then.
    pub fn reconfigure(&self, config: &SharedLimitConfig) -> Result<(), ConfigError> {
        let mut faults = config.faults();
        let now = self.config();
        let fixed = [
            ("store", config.store.is_some() && now.store != config.store),
            ("name", now.name != config.name),
            ("deny_cache", now.deny_cache != config.deny_cache),
            ("local_keys", now.local_keys != config.local_keys),
        ];
        let changed = fixed.into_iter().filter(|(_, changed)| *changed);
        faults.extend(changed.map(|(field, _)| Fault::new(field, "it cannot change while the limit runs; build another one")));
        ConfigError::check("shared limit", faults)?;
        self.shared.breaker.reconfigure(&config.breaker)?;
        *lock(&self.shared.config) = config.clone();
        if now.quota != config.quota {
            self.shared.denied.clear();
        }
        Ok(())
    }
}

/// Why the store has not decided.
enum Silence {
    /// Its circuit is open.
    Open(Rejected),
    /// No answer in time.
    Late,
    /// It failed.
    Failed(StoreError),
    /// It said that this cannot be done, which is an answer.
    Said(StoreError),
}

impl Silence {
    fn into_error(self) -> StoreError {
        match self {
            Self::Open(rejected) => rejected.into(),
            Self::Late => StoreError::new(StoreErrorKind::OutcomeUnknown).with_detail("no answer within the deadline"),
            Self::Failed(error) | Self::Said(error) => error,
        }
    }
}

impl Shared {
    fn rules(&self) -> Rules {
        let config = lock(&self.config);
        Rules {
            quota: config.quota,
            on_outage: config.on_outage,
            deadline: config.deadline,
            max_wait: config.max_wait,
            shadow: config.shadow,
        }
    }

    /// `key` is the caller's: within this limit there is no other of its name.
    async fn decide(&self, key: &Key, cost: u32, deadline: Option<Instant>) -> Result<Decision, StoreError> {
        let decision = self.decide_once(key, cost, &self.rules(), deadline).await?;
        if cost > 0 {
            self.counters.count(&decision);
        }
        Ok(decision)
    }

    /// Counts nothing yet: who waits asks more than once.
    async fn decide_once(&self, key: &Key, cost: u32, rules: &Rules, deadline: Option<Instant>) -> Result<Decision, StoreError> {
        let terms = rules.quota.terms(cost)?;
        if cost == 0 {
            return Ok(Decision::allow(terms.capacity, terms.capacity, Duration::ZERO).by(Source::Local));
        }
        let now = Instant::now();
        let mut decision = match self.denied.wait(key, cost, now) {
            Some(wait) => Decision::deny(terms.capacity, 0, Some(wait), wait).by(Source::DenyCache),
            None => self.have_decided(key, cost, rules, &terms, deadline).await?,
        };
        if rules.shadow && !decision.allowed {
            decision.allowed = true;
            self.counters.shadowed.add(1);
        }
        Ok(decision)
    }

    async fn have_decided(
        &self,
        key: &Key,
        cost: u32,
        rules: &Rules,
        terms: &Terms,
        deadline: Option<Instant>,
    ) -> Result<Decision, StoreError> {
        let full = key.within(&self.name);
        let met = |decision: &Decision| decision.source != Source::Lease;
        match self.ask(rules, deadline, self.store.acquire(&full, &rules.quota, cost), met).await {
            Ok(decision) => {
                self.follow(key, rules, terms, cost, &decision);
                Ok(decision)
            }
            Err(Silence::Said(error)) => Err(error),
            Err(silence) => self.without(rules, key, cost, silence),
        }
    }

    /// Has the store do something, if its circuit lets it, within the deadline. `met` says whether it was really asked: a lease says nothing of its
    /// health.
    async fn ask<T>(
        &self,
        rules: &Rules,
        deadline: Option<Instant>,
        answer: impl Future<Output = Result<T, StoreError>>,
        met: impl FnOnce(&T) -> bool,
    ) -> Result<T, Silence> {
        let now = Instant::now();
        let permit = self.breaker.try_acquire_at(now).map_err(Silence::Open)?;
        let limit = after(now, rules.deadline);
        let answer = match earlier(limit, deadline) {
            Some(end) if tokio::runtime::Handle::try_current().is_ok() => tokio::time::timeout_at(end, answer).await.ok(),
            _ => Some(answer.await),
        };
        match answer {
            Some(Ok(done)) => {
                if met(&done) {
                    permit.settle(Outcome::Judged(Verdict::Success));
                    self.back();
                } // else the permit is dropped, which says nothing
                Ok(done)
            }
            Some(Err(error)) if error.verdict() == Verdict::Ignored => {
                permit.settle(Outcome::Judged(Verdict::Ignored));
                Err(Silence::Said(error))
            }
            Some(Err(error)) => {
                permit.settle(Outcome::Judged(error.verdict()));
                self.counters.errors.add(1);
                Err(Silence::Failed(error))
            }
            // A caller in a hurry says nothing about the store.
            None if deadline.is_some_and(|deadline| limit.is_none_or(|limit| deadline < limit)) => Err(Silence::Late),
            None => {
                permit.settle(Outcome::TimedOut);
                self.counters.timeouts.add(1);
                Err(Silence::Late)
            }
        }
    }

    /// Keeps what the store has said: who is to come back when, and how much of this machine's share would be spent. What was spent here without the
    /// store still counts here, or a store that answers now and then would refill it each time.
    fn follow(&self, key: &Key, rules: &Rules, terms: &Terms, cost: u32, decision: &Decision) {
        if !decision.allowed {
            let until = decision.retry_after.and_then(|wait| after(Instant::now(), wait));
            self.denied.note(key, cost, until);
        }
        if let OnOutage::Local { share } = rules.on_outage
            && let Ok(own) = rules.quota.share(share).terms(0)
        {
            let spent = u64::from(terms.capacity.saturating_sub(decision.remaining));
            let part = (spent * u64::from(own.capacity)).div_ceil(u64::from(terms.capacity));
            self.own.follow(key, &own, u32::try_from(part).unwrap_or(u32::MAX));
        }
    }

    /// Decides without the store.
    fn without(&self, rules: &Rules, key: &Key, cost: u32, silence: Silence) -> Result<Decision, StoreError> {
        if !self.out.swap(true, Ordering::Relaxed) {
            tracing::warn!(name: "steadfast.limit_outage", target: "steadfast::store", limit = %self.name, "the store of a shared limit does not answer");
        }
        let capacity = rules.quota.capacity();
        let retry = match &silence {
            Silence::Open(rejected) => rejected.retry_after(),
            _ => self.breaker.next_probe_in(),
        };
        let decision = match rules.on_outage {
            OnOutage::Local { share } => {
                let own = rules.quota.share(share);
                // A call that is larger than this machine's share could never go here; it is refused until the store is back.
                self.own.try_acquire(key, &own, cost).unwrap_or(Decision::deny(capacity, 0, retry, Duration::ZERO))
            }
            OnOutage::Allow => Decision::allow(capacity, 0, Duration::ZERO),
            OnOutage::Deny => Decision::deny(capacity, 0, retry, retry.unwrap_or_default()),
            OnOutage::Error => return Err(silence.into_error()),
        };
        Ok(decision.by(Source::LocalFallback))
    }

    /// Gives back what was taken without the store.
    fn give_back_own(&self, key: &Key, units: u32) {
        let rules = self.rules();
        if let OnOutage::Local { share } = rules.on_outage {
            let _ = self.own.give_back(key, &rules.quota.share(share), units); // else it comes back with time
        }
    }

    fn back(&self) {
        if self.out.load(Ordering::Relaxed) && self.out.swap(false, Ordering::Relaxed) {
            tracing::info!(name: "steadfast.limit_recovered", target: "steadfast::store", limit = %self.name, "the store of a shared limit answers again");
        }
    }

    async fn refund(&self, key: &Key, units: u32) -> Result<(), StoreError> {
        self.denied.forget(key);
        let (full, rules) = (key.within(&self.name), self.rules());
        self.ask(&rules, None, self.store.refund(&full, &rules.quota, units), |()| true).await.map_err(Silence::into_error)
    }
}

/// A decision as policies say it.
fn admitted(decision: Result<Decision, StoreError>) -> Result<Decision, Rejected> {
    match decision {
        Ok(decision) if decision.allowed => Ok(decision),
        Ok(decision) => {
            let rejected = Rejected::new(RejectedKind::RateLimited);
            Err(match decision.retry_after {
                Some(wait) => rejected.with_retry_after(wait),
                None => rejected,
            })
        }
        // A cost that could never go is over the limit, now and later.
        Err(error) if error.kind() == StoreErrorKind::TooLarge => Err(Rejected::new(RejectedKind::RateLimited)),
        Err(_) => Err(Rejected::new(RejectedKind::Custom("limit_unavailable"))),
    }
}

impl fmt::Debug for SharedLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedLimit")
            .field("name", &self.shared.name)
            .field("quota", &self.shared.rules().quota)
            .field("store", &self.shared.store)
            .field("breaker", &self.shared.breaker)
            .finish_non_exhaustive()
    }
}
