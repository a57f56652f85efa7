//! Policies for each key: a rate, a circuit, a bulkhead and statistics for every tenant, host or user, in one bounded table.
//!
//! One noisy tenant must not spend the quota of all, and one broken shard must not open the circuit of all. Not for keys that are few
//! and known (a pipeline for each is simpler, and says more), nor against a flood of strangers: who invents a key for each call gets the
//! first call of each. For that, put a limit on all calls beside it.
//!
//! ```text
//!   call of a key ─▶ its entry ─▶ breaker (look) > rate limit > bulkhead > breaker (permit) ─▶ goes
//!     │ a newcomer: an entry of its own, for which an idle key is forgotten if need be
//!     │ all entries are taken by keys that owe something
//!     ▼
//!   a bucket that it shares with others of its kind: one first call, and then what the bucket has left
//! ```
//!
//! # What it costs
//!
//! A table never holds more than `max_keys` keys, and never more than **160 bytes a key** for limiter, bulkhead and circuit together,
//! all in (index, chunks, shared buckets; 32 more with statistics), plus 192 KiB and what stands in queues: a live limiter and bulkhead
//! for each key in which somebody waits now, and only as long. So a million hostile keys are at most 153 MiB; with a limiter alone 73
//! MiB. Memory once used is used again, and not given back before the table is dropped.
//!
//! Each call hashes its key once (SipHash under a secret of its own, so nobody can choose keys that collide), takes the lock of one
//! part of the table for some tens of nanoseconds, and allocates nothing, granted or refused. Keys are not stored: see
//! [below](self#what-is-kept-of-a-key).
//!
//! # Who is forgotten
//!
//! A key *owes* while to forget it would let something through: units to be made good, an open or half-open circuit, permits that are
//! out, callers who wait. Such a key is never forgotten. One that owes nothing is, once it was not seen for the
//! [`idle`](PerKeyConfig::idle) time, or when a newcomer needs room: then the one that was not seen for longest, of the sixteen that
//! are looked at, and none whose circuit has failures in its window. A circuit that was opened and then not called for the idle time is
//! forgotten as well.
//!
//! When there is no room, newcomers share buckets by their hash, some dozens to some thousands of them. What a bucket decides, it
//! decides for all who share it, so they get less than a key of their own would, never more: except that each gets a first call,
//! whatever those before it did. Nobody's debt is forgotten for it, so a key that is limited stays limited, however many others come.
//!
//! # What is kept of a key
//!
//! 128 bits of a keyed hash: a key of a megabyte takes no more room than one of a byte, and no dump of this table has names in it. Two of a
//! million keys share an entry with a probability of 10^-27. With [`statistics`](PerKeyConfig::statistics) the first 48 bytes
//! of those keys are kept which are refused most. Keys are in no metric, event or `Debug`.
//!
//! # Alone
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{PerKey, RateLimiter, RejectedKind};
//!
//! let tenants = PerKey::new(1_000_000).rate_limit(RateLimiter::per_minute(60).burst(2)).build()?;
//! assert!(tenants.try_acquire("acme", 1).is_ok());
//! assert!(tenants.try_acquire("acme", 1).is_ok());
//! assert_eq!(tenants.try_acquire("acme", 1).unwrap_err().kind(), RejectedKind::RateLimited);
//! assert!(tenants.try_acquire("initech", 1).is_ok());
//! # Ok(()) }
//! ```

mod circuit;
mod config;
mod hash;
#[cfg(all(test, steadfast_loom))]
mod models;
mod permit;
mod settings;
mod shard;
mod table;
mod tally;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

pub use config::PerKeyConfig;
pub(crate) use hash::{Hash, Secret};
pub use permit::KeyPermit;
pub(crate) use permit::KeyWaiter;
pub use tally::{KeyCounts, RejectedKey};

use super::CircuitState;
use super::gate::Entry;
use crate::call::Call;
use crate::fault::ConfigError;
use crate::outcome::{Rejected, RejectedKind};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use tokio::time::Instant;

/// Policies for each key. A cheap handle: clones share the table.
///
/// In a pipeline the key is that of the call: `pipeline.key(tenant).call(..)`. A call without a key passes.
#[derive(Clone)]
pub struct PerKey {
    table: Arc<Table>,
}

impl PerKey {
    /// Policies for at most so many keys at a time, at least 1 and at most 100 million.
    #[expect(clippy::new_ret_no_self, reason = "the configuration comes first: every policy begins like this")]
    pub const fn new(max_keys: usize) -> PerKeyConfig {
        PerKeyConfig::new(max_keys)
    }

    fn from_config(config: PerKeyConfig) -> Self {
        Self { table: Arc::new(Table::new(config)) }
    }

    /// Leave for one call on behalf of a key, now: `cost` units of its rate, one place of its bulkhead, a permit of its circuit.
    ///
    /// # Errors
    /// `CircuitOpen`, `RateLimited` or `BulkheadFull`, whichever comes first, as [`CircuitBreaker`](crate::CircuitBreaker),
    /// [`RateLimiter`](crate::RateLimiter) and [`Bulkhead`](crate::Bulkhead) say it. A refusal takes nothing.
    pub fn try_acquire(&self, key: &str, cost: u32) -> Result<KeyPermit<'_>, Rejected> {
        self.try_acquire_at(key, cost, Instant::now())
    }

    /// The same, for a caller that has read the clock already.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_at(&self, key: &str, cost: u32, now: Instant) -> Result<KeyPermit<'_>, Rejected> {
        let refused = |door| match self.table.not_at_once(door, key, false, || Call::at(now).cost(cost)) {
            Entry::Granted(permit) => Ok(permit),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(_) => Err(Rejected::new(RejectedKind::BulkheadFull)), // only who is patient is made to wait
        };
        self.table.ask(key, cost, now, Ok, refused)
    }

    /// The same for the key, cost and priority of a [`Call`], waiting where the policies of the key let it wait. A call without a key
    /// passes.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire), and what [`RateLimiter::acquire`](crate::RateLimiter::acquire) and
    /// [`Bulkhead::acquire`](crate::Bulkhead::acquire) say to who waited in vain.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it gives up its place in line and has taken nothing.
    pub async fn acquire(&self, call: &Call<'_>) -> Result<KeyPermit<'_>, Rejected> {
        let Some(key) = call.key else { return Ok(KeyPermit::FREE) };
        let mut call = *call;
        call.attempt.started = Instant::now();
        let wait = |door| self.table.not_at_once(door, key, true, || call);
        match self.table.ask(key, call.cost, call.attempt.started, Entry::Granted, wait) {
            Entry::Granted(permit) => Ok(permit),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(waiter) => waiter.await,
        }
    }

    /// The door of a pipeline. Dropped before it is [`used`](KeyPermit::used), the permit hands back its units, too.
    #[inline]
    pub(crate) fn enter<'a, 'k>(
        &'a self,
        key: Option<&str>,
        cost: u32,
        now: Instant,
        call: impl FnOnce() -> Call<'k>,
    ) -> Entry<KeyPermit<'a>, KeyWaiter<'a>> {
        let Some(key) = key else { return Entry::Granted(KeyPermit::FREE) };
        let granted = |permit: KeyPermit<'a>| Entry::Granted(permit.reserved());
        let wait = |door| match self.table.not_at_once(door, key, true, call) {
            Entry::Granted(permit) => granted(permit),
            other => other,
        };
        self.table.ask(key, cost, now, granted, wait)
    }

    /// Whether the circuit of a key would refuse at a moment to come, so that it is no use to wait for it. Changes nothing.
    pub(crate) fn is_open_at(&self, key: Option<&str>, then: Instant) -> bool {
        let Some(key) = key else { return false };
        let (hash, own) = self.table.hash(key);
        let shard = self.table.shard(own);
        shard.find(hash).is_some_and(|slot| shard.is_open(slot, self.table.nanos(then)))
    }

    /// Whether the circuit of a key lets calls through as usual, and not as probes. Changes nothing.
    pub(crate) fn is_closed_at(&self, key: Option<&str>, now: Instant) -> bool {
        let Some(key) = key else { return true };
        let (hash, own) = self.table.hash(key);
        let shard = self.table.shard(own);
        shard.find(hash).is_none_or(|slot| shard.is_closed(slot, self.table.nanos(now)))
    }

    /// Whether somebody measures how long calls take.
    pub(crate) fn needs_end_time(&self) -> bool {
        let config = self.table.config();
        config.statistics || config.circuit_breaker.is_some_and(|breaker| breaker.slow.is_some())
    }

    /// What is known of a key at this moment; `None` where it is not known, or shares a bucket. Changes nothing.
    #[must_use]
    pub fn snapshot(&self, key: &str) -> Option<KeySnapshot> {
        let (hash, own) = self.table.hash(key);
        let mut shard = self.table.shard(own);
        let slot = shard.find(hash)?;
        Some(shard.read(slot, self.table.nanos(Instant::now())))
    }

    /// How many keys are known now, the idle ones included that were not come by yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no key is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened to all keys together.
    #[must_use]
    pub fn stats(&self) -> PerKeyStats {
        let counts = self.table.counts();
        PerKeyStats {
            keys: self.len(),
            max_keys: self.table.max_keys(),
            rejected: counts.rejected,
            shared: counts.shared,
            forgotten_idle: counts.forgotten_idle,
            forgotten_for_room: counts.forgotten_for_room,
        }
    }

    /// The keys that were refused most, at most so many, the first first. Empty without [`statistics`](PerKeyConfig::statistics).
    ///
    /// Counted on short lists: the first few are right, whatever flood there is; of the last of a long list some may be missing.
    #[must_use]
    #[inline]
    pub fn most_rejected(&self, most: usize) -> Vec<RejectedKey> {
        let mut keys = self.table.most_rejected();
        keys.sort_by(|a, b| b.rejections().cmp(&a.rejections()).then_with(|| a.key().cmp(b.key())));
        keys.truncate(most);
        keys
    }

    /// Forgets a key and all it owes: the next call finds it new. Calls under way keep their places and settle as stale; where callers
    /// wait, the rate goes on from where it is. `false` where it was not known.
    pub fn forget(&self, key: &str) -> bool {
        self.table.forget(key)
    }

    /// What it runs with now.
    pub fn config(&self) -> PerKeyConfig {
        self.table.config()
    }

    /// Goes on with other settings for all keys, each from its next call on: units that were owed are owed at the new rate, circuits
    /// stay as they are (counts begin anew where they are to be taken over another window), and with fewer `max_keys` the table shrinks
    /// as newcomers come. `false`, and nothing happens, where a policy more or less is asked for.
    ///
    /// # Errors
    /// What [`build`](PerKeyConfig::build) would refuse; then nothing is changed.
    pub fn reconfigure(&self, config: &PerKeyConfig) -> Result<bool, ConfigError> {
        ConfigError::check("per key", config.faults())?;
        let fits = self.reconfigure_quietly(config);
        self.tell();
        Ok(fits)
    }

    /// The same for settings that were checked; nobody is woken before [`tell`](Self::tell).
    pub(crate) fn reconfigure_quietly(&self, config: &PerKeyConfig) -> bool {
        self.table.set(config)
    }

    /// Wakes those whose time may be another now.
    pub(crate) fn tell(&self) {
        self.table.tell();
    }

    /// Whether both are handles of one table.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }
}

impl fmt::Debug for PerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats();
        f.debug_struct("PerKey")
            .field("keys", &stats.keys)
            .field("max_keys", &stats.max_keys)
            .field("rejected", &stats.rejected)
            .finish_non_exhaustive()
    }
}

/// What is known of one key; from [`PerKey::snapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySnapshot {
    /// How many units of its rate could be taken now; `None` without a rate limit.
    pub available: Option<u32>,
    /// How many of its calls run; `None` without a bulkhead.
    pub in_use: Option<usize>,
    /// How many of its callers wait.
    pub waiting: usize,
    /// Its circuit, as a call at this moment would find it; `None` without a circuit breaker.
    pub circuit: Option<CircuitState>,
    /// When the next probe may go: zero if now, `None` where calls go through anyway or nobody can tell.
    pub next_probe_in: Option<Duration>,
    /// Calls in the window of a closed circuit.
    pub window_calls: u64,
    /// Failures in the window of a closed circuit.
    pub window_failures: u64,
    /// What was counted since the key is known; `None` without statistics.
    pub counts: Option<KeyCounts>,
}

/// What happened to all keys together; from [`PerKey::stats`]. Safe for metrics: there is no key in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerKeyStats {
    /// Keys known now.
    pub keys: usize,
    /// And at most.
    pub max_keys: usize,
    /// Attempts refused by a policy of their key.
    pub rejected: u64,
    /// Attempts that had to share a bucket with other keys, for there was no room. Often more than none: `max_keys` is too small.
    pub shared: u64,
    /// Keys forgotten because they were idle.
    pub forgotten_idle: u64,
    /// Keys forgotten before they were idle, to make room; they owed nothing.
    pub forgotten_for_room: u64,
}
