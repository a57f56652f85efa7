//! Limits of one process.
//!
//! For tests and for one machine, where others have Redis; and what [`SharedLimit`](super::SharedLimit) falls back on. Bounded: a key at which
//! nothing is missing any more is forgotten, and so is, when there are too many, the one at which the least time is missing. So somebody who
//! makes up keys pushes out those of their own, and not the one that has just used up its quota.

use super::traits::would_go;
use super::{Algorithm, Decision, Quota, RateStore, Request, Source, State, Terms};
use crate::fault::{ConfigError, check};
use crate::store::{Key, StoreError, Timestamp};
use crate::sync::{Mutex, lock};
use crate::time::nanos_since;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

const NAME: &str = "memory";
/// Some 20 MB of short keys.
const MAX_KEYS: usize = 100_000;
/// How many forgotten keys one call frees at most: more than it adds.
const DRAIN: usize = 2;
/// Among how many the one to go is looked for when there are too many.
const LOOK: usize = 8;
/// So many notes more than twice the keys are too many.
const SPARE: usize = 64;

/// Settings of a [`MemoryRateStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing until `build`"]
pub struct MemoryRateStoreBuilder {
    max_keys: usize,
    epoch: Option<Timestamp>,
}

impl MemoryRateStoreBuilder {
    /// How many keys it knows at most, each counted once for each algorithm. **Default**: 100,000.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// The date at which it begins, for tests of calendars: from then on it goes as `tokio::time` does. **Default**: the clock on the wall.
    pub const fn epoch(mut self, date: Timestamp) -> Self {
        self.epoch = Some(date);
        self
    }

    /// Makes the store.
    ///
    /// # Errors
    /// When there is no room for a key.
    pub fn build(self) -> Result<MemoryRateStore, ConfigError> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "max_keys", self.max_keys as u64, 1);
        ConfigError::check("memory rate store", faults)?;
        Ok(MemoryRateStore::with(self))
    }
}

/// Limits of one process, by `tokio::time`: a paused clock moves them. Clones share them. See the [module](self).
///
/// Its date is that of the wall when it was made, plus the time since then: a clock that is set later does not move windows.
#[derive(Clone)]
pub struct MemoryRateStore {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Instant,
    origin_us: u64,
    max_keys: usize,
    /// `None` when closed.
    table: Mutex<Option<Table>>,
}

impl MemoryRateStore {
    /// With the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Self::builder())
    }

    /// Settings to begin from.
    pub const fn builder() -> MemoryRateStoreBuilder {
        MemoryRateStoreBuilder { max_keys: MAX_KEYS, epoch: None }
    }

    fn with(settings: MemoryRateStoreBuilder) -> Self {
        let origin_us = settings.epoch.unwrap_or_else(Timestamp::now).as_millis().saturating_mul(1_000);
        let table = Mutex::new(Some(Table::default()));
        Self { shared: Arc::new(Shared { origin: Instant::now(), origin_us, max_keys: settings.max_keys, table }) }
    }

    /// [`acquire`](RateStore::acquire) at once.
    ///
    /// # Errors
    /// As that.
    pub fn try_acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        let terms = quota.terms(cost)?;
        self.with_table(|table, now, max_keys| {
            let decision = match table.find(key, terms.algorithm) {
                Some(slot) => slot.take(now, &terms, cost),
                None => {
                    let mut slot = Slot { state: State::new(&terms, now), idle_at: now, serial: 0 };
                    let decision = slot.take(now, &terms, cost);
                    if cost > 0 {
                        table.insert(key, slot, max_keys);
                    }
                    decision
                }
            };
            decision.by(Source::Local)
        })
    }

    pub(super) fn give_back(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        let terms = quota.terms(0)?;
        self.with_table(|table, now, _| {
            if let Some(slot) = table.find(key, terms.algorithm) {
                slot.state.give_back(now, &terms, units);
                slot.look(now, &terms);
            }
        })
    }

    /// Keeps for `key` that `spent` units were spent by now, or more if more is known.
    pub(super) fn follow(&self, key: &Key, terms: &Terms, spent: u32) {
        let _ = self.with_table(|table, now, max_keys| {
            let known = table.find(key, terms.algorithm).map_or(0, |slot| terms.capacity - slot.take(now, terms, 0).remaining);
            if spent > known {
                let mut slot = Slot { state: State::spent(terms, now, spent), idle_at: now, serial: 0 };
                slot.look(now, terms);
                table.replace(key, slot, max_keys);
            }
        }); // closed: nobody asks it any more
    }

    /// How many keys it knows. At most as many as it may, of which some may be over.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.shared.table).as_ref().map_or(0, Table::len)
    }

    /// Whether it knows no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One step: nobody else's is between its reading and its writing, and time is read inside, so that it never goes back.
    fn with_table<T>(&self, step: impl FnOnce(&mut Table, u64, usize) -> T) -> Result<T, StoreError> {
        let mut table = lock(&self.shared.table);
        let table = table.as_mut().ok_or_else(|| StoreError::closed(NAME))?;
        let now = self.shared.origin_us.saturating_add(nanos_since(self.shared.origin, Instant::now()) / 1_000);
        table.drain(now);
        Ok(step(table, now, self.shared.max_keys))
    }
}

struct Slot {
    state: State,
    /// When nothing is missing any more.
    idle_at: u64,
    /// Which note is its own.
    serial: u64,
}

impl Slot {
    fn take(&mut self, now: u64, terms: &Terms, cost: u32) -> Decision {
        let decision = self.state.take(now, terms, cost);
        self.idle_at = now.saturating_add(u64::try_from(decision.reset_after.as_micros()).unwrap_or(u64::MAX));
        decision
    }

    fn look(&mut self, now: u64, terms: &Terms) {
        let _ = self.take(now, terms, 0);
    }
}

/// When, whose note, by which algorithm, at which key.
type Due = Reverse<(u64, u64, usize, Key)>;

/// The keys, and when each is over. Each has one note of that; one that has come too early, since the key was used meanwhile, is written anew
/// when it is due, so that using a key costs no more than finding it.
#[derive(Default)]
struct Table {
    /// By algorithm, in the order of [`Algorithm::ALL`].
    slots: [HashMap<Key, Slot>; Algorithm::ALL.len()],
    due: BinaryHeap<Due>,
    serial: u64,
}

impl Table {
    fn len(&self) -> usize {
        self.slots.iter().map(HashMap::len).sum()
    }

    fn find(&mut self, key: &Key, algorithm: Algorithm) -> Option<&mut Slot> {
        self.slots[algorithm as usize].get_mut(key)
    }

    fn insert(&mut self, key: &Key, mut slot: Slot, max_keys: usize) {
        while self.len() >= max_keys && self.make_room() {}
        if self.due.len() > 2 * self.len() + SPARE {
            // Keys that were reset leave their notes behind.
            let slots = &self.slots;
            self.due.retain(|Reverse((_, serial, algorithm, key))| slots[*algorithm].get(key).is_some_and(|slot| slot.serial == *serial));
        }
        self.serial += 1;
        slot.serial = self.serial;
        let algorithm = slot.state.algorithm() as usize;
        self.due.push(Reverse((slot.idle_at, slot.serial, algorithm, key.clone())));
        self.slots[algorithm].insert(key.clone(), slot);
    }

    /// Puts another in its place.
    fn replace(&mut self, key: &Key, slot: Slot, max_keys: usize) {
        match self.find(key, slot.state.algorithm()) {
            Some(known) => *known = Slot { serial: known.serial, ..slot },
            None => self.insert(key, slot, max_keys),
        }
    }

    /// Frees what is over.
    fn drain(&mut self, now: u64) {
        for _ in 0..DRAIN {
            if self.due.peek().is_none_or(|Reverse((due, ..))| *due > now) {
                return;
            }
            if let Some(note) = self.next() {
                if note.0 > now {
                    self.due.push(Reverse(note));
                } else {
                    self.slots[note.2].remove(&note.3);
                }
            }
        }
    }

    /// Takes off the earliest note, and tells when its key really is over; `None` when it is known no more.
    fn next(&mut self) -> Option<(u64, u64, usize, Key)> {
        let Reverse((_, serial, algorithm, key)) = self.due.pop()?;
        let idle_at = self.slots[algorithm].get(&key).filter(|slot| slot.serial == serial)?.idle_at;
        Some((idle_at, serial, algorithm, key))
    }

    /// Forgets one key: of some with early notes the one that is over first. False when there is none.
    fn make_room(&mut self) -> bool {
        let mut seen: Vec<_> = Vec::with_capacity(LOOK);
        while seen.len() < LOOK && !self.due.is_empty() {
            seen.extend(self.next());
        }
        let first = seen.iter().enumerate().min_by_key(|(_, note)| note.0).map(|(at, _)| at);
        let gone = first.map(|at| seen.swap_remove(at));
        self.due.extend(seen.into_iter().map(Reverse));
        gone.is_some_and(|(_, _, algorithm, key)| self.slots[algorithm].remove(&key).is_some())
    }
}

impl RateStore for MemoryRateStore {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        self.try_acquire(key, quota, cost)
    }

    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        self.give_back(key, quota, units)
    }

    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        self.with_table(|table, now, _| {
            let known = table.slots.iter_mut().filter_map(|slots| slots.remove(key));
            let mut spent = false;
            known.for_each(|slot| spent |= slot.idle_at > now);
            spent
        })
    }

    fn name(&self) -> &'static str {
        NAME
    }

    /// In one step: nobody else's is in between.
    async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
        let terms: Vec<_> = requests.iter().map(|request| request.quota.terms(request.cost)).collect::<Result<_, _>>()?;
        self.with_table(|table, now, max_keys| {
            let mut tried: Vec<(&Key, Slot)> = Vec::with_capacity(requests.len());
            let decisions = decide_together(requests, &terms, |at, refused| {
                let (key, terms, cost) = (requests[at].key, &terms[at], requests[at].cost);
                let mine = |(known, slot): &&mut (&Key, Slot)| *known == key && slot.state.algorithm() == terms.algorithm;
                if refused {
                    // How it stands without what the others would have taken.
                    let state = table.find(key, terms.algorithm).map_or_else(|| State::new(terms, now), |slot| slot.state.clone());
                    return Slot { state, idle_at: now, serial: 0 }.take(now, terms, 0);
                }
                if let Some((_, slot)) = tried.iter_mut().find(mine) {
                    return slot.take(now, terms, cost);
                }
                let state = table.find(key, terms.algorithm).map_or_else(|| State::new(terms, now), |slot| slot.state.clone());
                let mut slot = Slot { state, idle_at: now, serial: 0 };
                let decision = slot.take(now, terms, cost);
                tried.push((key, slot));
                decision
            });
            if decisions.iter().all(|decision| decision.allowed) {
                for (key, slot) in tried {
                    table.replace(key, slot, max_keys);
                }
            } else {
                // What had to be put right for another quota stays so.
                for (request, terms) in requests.iter().zip(&terms) {
                    if let Some(slot) = table.find(request.key, terms.algorithm) {
                        slot.look(now, terms);
                    }
                }
            }
            decisions.into_iter().map(|decision| decision.by(Source::Local)).collect()
        })
    }

    async fn close(&self) -> Result<(), StoreError> {
        let table = lock(&self.shared.table).take();
        drop(table); // not under the lock
        Ok(())
    }
}

/// What [`RateStore::acquire_many`] answers where all happens in one step. `decide(at, refused)` tries one request on a copy; after the first
/// refusal it looks at what is there, and takes nothing.
pub(super) fn decide_together(requests: &[Request<'_>], terms: &[Terms], mut decide: impl FnMut(usize, bool) -> Decision) -> Vec<Decision> {
    debug_assert_eq!(requests.len(), terms.len());
    let mut decisions = Vec::with_capacity(requests.len());
    for at in 0..requests.len() {
        let decision = decide(at, false);
        decisions.push(decision);
        if !decision.allowed {
            for (other, request) in requests.iter().enumerate() {
                if other != at {
                    let standing = would_go(decide(other, true), request.cost);
                    if other < at { decisions[other] = standing } else { decisions.push(standing) }
                }
            }
            return decisions;
        }
    }
    decisions
}

impl Default for MemoryRateStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryRateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRateStore").field("keys", &self.len()).field("max_keys", &self.shared.max_keys).finish_non_exhaustive()
    }
}
