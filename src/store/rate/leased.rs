//! Units claimed in batches, and spent without asking.

use super::{Decision, Quota, RateStore, Request, Source};
use crate::store::{Key, StoreError};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, lock};
use crate::time::after;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A tenth of the round trips.
const BATCH: u32 = 10;
/// Units that nobody here wants for so long are wanted elsewhere.
const AGE: Duration = Duration::from_secs(1);
/// More keys than that are not busy enough, each, to be worth a claim.
const MOST: usize = 10_000;

/// A store of limits that claims several units at a time, and hands them out in this process: a tenth of the round trips, for a tenth of the
/// exactness in time.
///
/// Never more goes than the quota says: what is handed out was taken before. But it may go later than it was taken, by at most
/// [`max_age`](Self::max_age): in a time `t`, up to a batch for each process more than the quota alone would let through. And what one process has
/// claimed, others cannot have meanwhile.
///
/// Units that are left come back when nobody has wanted them for [`max_age`](Self::max_age), when the last clone is dropped inside a runtime (both
/// on tasks of their own), and on [`close`](RateStore::close). A crash loses what was claimed, at most one batch for each key; it comes back with time.
///
/// Callers who come while a batch is being claimed wait for it; the next claim is for all of them, and may be more than a batch.
///
/// Requests of a batch or more, and [`acquire_many`](RateStore::acquire_many), always ask.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::store::Key;
/// use steadfast::store::rate::{Leased, MemoryRateStore, Quota, RateStore, Source};
///
/// let store = Leased::new(MemoryRateStore::new()).batch(10);   // in truth: of Redis
/// let (tenant, quota) = (Key::new("tenant:7")?, Quota::per_second(100));
/// assert_eq!(store.acquire(&tenant, &quota, 1).await?.source, Source::Local);
/// assert_eq!(store.acquire(&tenant, &quota, 1).await?.source, Source::Lease);   // and eight more
/// # Ok(()) }
/// ```
pub struct Leased<S: RateStore> {
    batch: u32,
    max_age: Duration,
    desk: Arc<Desk<S>>,
}

struct Desk<S: RateStore> {
    store: Arc<S>,
    pools: Mutex<HashMap<Key, Pool>>,
    /// Whether a task looks after what is too old.
    tended: AtomicBool,
}

struct Pool {
    quota: Quota,
    units: u32,
    /// Until when they may be handed out.
    until: Instant,
    /// From when on nothing was missing in the store if nobody had come: giving back then would be a gift.
    worth_until: Option<Instant>,
    /// What the store said last.
    said: Decision,
    /// Whose turn it is to ask, so that many at once ask once.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Pool {
    /// What may still be handed out.
    fn good(&self, quota: &Quota, now: Instant) -> u32 {
        if self.quota == *quota && now < self.until { self.units } else { 0 }
    }

    /// What is not to be handed out any more and can be given back, taken out.
    fn left_over(&mut self, now: Instant) -> u32 {
        let units = std::mem::take(&mut self.units);
        if self.worth_until.is_none_or(|end| now < end) { units } else { 0 }
    }
}

impl<S: RateStore> Leased<S> {
    /// Claims ten units at a time, for at most a second.
    #[must_use]
    pub fn new(store: S) -> Self {
        let desk = Desk { store: Arc::new(store), pools: Mutex::default(), tended: AtomicBool::new(false) };
        Self { batch: BATCH, max_age: AGE, desk: Arc::new(desk) }
    }

    /// How many units are claimed at a time, at most the capacity of the quota; 1 is no lease. A small part of the quota divided by the number of
    /// processes is a good choice. **Default**: 10.
    #[must_use]
    pub const fn batch(mut self, units: u32) -> Self {
        self.batch = units;
        self
    }

    /// How long what was claimed may be handed out; then it is given back. **Default**: 1 s.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How many units this process holds for `key`.
    #[must_use]
    pub fn held(&self, key: &Key) -> u32 {
        lock(&self.desk.pools).get(key).map_or(0, |pool| pool.units)
    }

    /// Hands out units that are there.
    fn hand_out(&self, key: &Key, quota: &Quota, cost: u32, now: Instant) -> Option<Decision> {
        let mut pools = lock(&self.desk.pools);
        let pool = pools.get_mut(key)?;
        pool.units = match pool.good(quota, now) {
            good if good >= cost => good - cost,
            _ => return None,
        };
        let remaining = pool.said.remaining.saturating_add(pool.units);
        Some(Decision::allow(pool.said.limit, remaining, pool.said.reset_after).by(Source::Lease))
    }

    /// The turn at this key; `None` when there are too many keys.
    fn turn(&self, key: &Key, quota: &Quota, now: Instant) -> Option<Arc<tokio::sync::Mutex<()>>> {
        let mut pools = lock(&self.desk.pools);
        if let Some(pool) = pools.get(key) {
            return Some(Arc::clone(&pool.turn));
        }
        if pools.len() >= MOST {
            return None;
        }
        let said = Decision::allow(quota.capacity(), 0, Duration::ZERO);
        let pool = Pool { quota: *quota, units: 0, until: now, worth_until: None, said, turn: Arc::default() };
        let turn = Arc::clone(&pool.turn);
        pools.insert(key.clone(), pool);
        Some(turn)
    }

    /// Asks the store for a batch, when it is one's turn.
    async fn claim(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        let now = Instant::now();
        let (old, in_line) = {
            let mut pools = lock(&self.desk.pools);
            let pool = pools.get_mut(key);
            // Each who waits for the turn holds it, as the pool does.
            let in_line = pool.as_ref().map_or(0, |pool| Arc::strong_count(&pool.turn) - 1);
            let old = pool.filter(|pool| pool.good(quota, now) == 0);
            (old.map(|pool| (pool.quota, pool.left_over(now))), in_line)
        };
        if let Some((quota, units)) = old.filter(|(_, units)| *units > 0) {
            self.desk.store.refund(key, &quota, units).await?;
        }
        // Less than `cost` is there, so that less than a batch will be.
        let mut claim = self.batch.max(u32::try_from(in_line).unwrap_or(u32::MAX)).min(quota.capacity()).max(cost);
        let said = loop {
            let said = self.desk.store.acquire(key, quota, claim).await?;
            if said.allowed {
                break said;
            }
            if claim == cost {
                let held = lock(&self.desk.pools).get(key).map_or(0, |pool| pool.good(quota, Instant::now()));
                return Ok(Decision { remaining: said.remaining.saturating_add(held).min(said.limit), ..said });
            }
            // Perhaps there is enough for this one; if not, its own refusal says when to come back.
            claim = said.remaining.min(claim - 1).max(cost);
        };
        let left = {
            let mut pools = lock(&self.desk.pools);
            let Some(pool) = pools.get_mut(key) else { return Ok(said) }; // reset meanwhile
            let lasts = self.max_age.min(said.reset_after);
            *pool = Pool {
                quota: *quota,
                units: pool.good(quota, Instant::now()) + claim - cost,
                until: after(now, lasts).unwrap_or(pool.until),
                worth_until: after(now, said.reset_after),
                said,
                turn: Arc::clone(&pool.turn),
            };
            pool.units
        };
        self.tend();
        Ok(Decision { remaining: said.remaining.saturating_add(left), ..said })
    }

    /// Has a task give back what is too old, for as long as there is anything; without a runtime it waits for the next claim.
    fn tend(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.desk.tended.swap(true, Ordering::AcqRel) {
            return;
        }
        let (desk, age) = (Arc::downgrade(&self.desk), self.max_age.clamp(Duration::from_millis(10), Duration::from_secs(3_600)));
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(age).await;
                let Some(desk) = desk.upgrade() else { return };
                // Before looking, so that whoever claims after the look has a task made.
                desk.tended.store(false, Ordering::Release);
                let (old, empty) = desk.sweep(Instant::now());
                if empty || desk.tended.swap(true, Ordering::AcqRel) {
                    desk.give_back(old).await;
                    return;
                }
                desk.give_back(old).await;
            }
        });
    }
}

impl<S: RateStore> Desk<S> {
    /// What is too old, and whether there is nothing left to look after.
    fn sweep(&self, now: Instant) -> (Vec<(Key, Quota, u32)>, bool) {
        let mut old = Vec::new();
        let mut pools = lock(&self.pools);
        pools.retain(|key, pool| {
            if now < pool.until && pool.units > 0 {
                return true;
            }
            let units = pool.left_over(now);
            if units > 0 {
                old.push((key.clone(), pool.quota, units));
            }
            // Somebody is at it.
            Arc::strong_count(&pool.turn) > 1
        });
        let empty = pools.is_empty() && old.is_empty();
        (old, empty)
    }

    async fn give_back(&self, units: Vec<(Key, Quota, u32)>) {
        for (key, quota, units) in units {
            let _ = self.store.refund(&key, &quota, units).await; // else it comes back with time
        }
    }

    /// All that is held, taken out.
    fn take_all(&self) -> Vec<(Key, Quota, u32)> {
        let now = Instant::now();
        let pools = std::mem::take(&mut *lock(&self.pools));
        let all = pools.into_iter().map(|(key, mut pool)| (key, pool.quota, pool.left_over(now)));
        all.filter(|(.., units)| *units > 0).collect()
    }
}

impl<S: RateStore> Drop for Desk<S> {
    fn drop(&mut self) {
        let left = self.take_all();
        if left.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let store = Arc::clone(&self.store);
            runtime.spawn(async move {
                for (key, quota, units) in left {
                    let _ = store.refund(&key, &quota, units).await; // else it comes back with time
                }
            });
        }
    }
}

impl<S: RateStore> RateStore for Leased<S> {
    /// # Cancel safety
    /// Dropped while a batch is being claimed, that batch may be lost until it comes back with time.
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        quota.terms(cost)?;
        if cost == 0 || cost >= self.batch {
            return self.desk.store.acquire(key, quota, cost).await;
        }
        let now = Instant::now();
        if let Some(decision) = self.hand_out(key, quota, cost, now) {
            return Ok(decision);
        }
        let Some(turn) = self.turn(key, quota, now) else { return self.desk.store.acquire(key, quota, cost).await };
        let _turn = turn.lock().await;
        // Somebody before may have claimed enough for all.
        if let Some(decision) = self.hand_out(key, quota, cost, Instant::now()) {
            return Ok(decision);
        }
        self.claim(key, quota, cost).await
    }

    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        self.desk.store.refund(key, quota, units).await
    }

    /// What is held for `key` here is forgotten, too.
    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        lock(&self.desk.pools).remove(key);
        self.desk.store.reset(key).await
    }

    fn name(&self) -> &'static str {
        self.desk.store.name()
    }

    /// What the store says, and what is held here on top.
    async fn peek(&self, key: &Key, quota: &Quota) -> Result<Decision, StoreError> {
        let mut said = self.desk.store.peek(key, quota).await?;
        let held = lock(&self.desk.pools).get(key).map_or(0, |pool| pool.good(quota, Instant::now()));
        if held > 0 {
            said.remaining = said.remaining.saturating_add(held).min(said.limit);
            (said.allowed, said.retry_after) = (true, None);
        }
        Ok(said)
    }

    async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
        self.desk.store.acquire_many(requests).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.desk.store.probe().await
    }

    /// Gives back what is held, then closes the store.
    async fn close(&self) -> Result<(), StoreError> {
        self.desk.give_back(self.desk.take_all()).await;
        self.desk.store.close().await
    }
}

impl<S: RateStore> Clone for Leased<S> {
    fn clone(&self) -> Self {
        Self { batch: self.batch, max_age: self.max_age, desk: Arc::clone(&self.desk) }
    }
}

impl<S: RateStore> fmt::Debug for Leased<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: u64 = lock(&self.desk.pools).values().map(|pool| u64::from(pool.units)).sum();
        f.debug_struct("Leased").field("store", &self.name()).field("batch", &self.batch).field("held", &held).finish_non_exhaustive()
    }
}
