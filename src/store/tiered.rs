//! A near store in front of a far one.
//!
//! Reads go to the near one first, and what only the far one has is kept near for a while. Writes go to the far one first, so that nobody
//! promotes what is about to change. What is near ends no later than what is far: it is kept for half the time that is left, at least a
//! minute, and never longer than the time that is left.
//!
//! A value that was deleted or overwritten does not come back: each promotion remembers the epoch of its key from before it asked the far store,
//! and is dropped when that has passed. A delete or a set that is dropped half-way leaves a mark, and the key is not read near until it is clean again.
//!
//! What other processes do to the far store is not seen here before the near copy ends. Where they can tell (a backplane), hand what they say to
//! [`forget_near`](Tiered::forget_near), and call [`clear_near`](Tiered::clear_near) whenever something they said may have been missed.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{Key, MemoryStore, SetOptions, Store, Tiered};
//!
//! let far = MemoryStore::new(); // SQLite or Redis, say
//! let store = Tiered::new(MemoryStore::new(), far.clone());
//! let key = Key::new("k")?;
//! far.set(&key, "v".into(), SetOptions::new()).await?;
//! assert!(store.get(&key).await?.is_some()); // far, and kept
//! assert!(store.near().exists(&key).await?);
//! assert!(store.delete(&key).await?);        // in both
//! # Ok(()) }
//! ```

use super::stats::Counters;
use super::{CacheStats, Capabilities, Entry, Glob, Key, SetOptions, Store, StoreError, Ttl};
use crate::sync::{Counter, Mutex, lock};
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

/// As many keys as are likely to be written at once never wait for each other.
const STRIPES: usize = 64;
const RATIO: f64 = 0.5;
const FLOOR: Duration = Duration::from_secs(60);

/// A near store in front of a far one; see the [module](self).
#[derive(Debug)]
pub struct Tiered<N, F> {
    near: N,
    far: F,
    ratio: f64,
    floor: Duration,
    hasher: RandomState,
    /// The epoch of each stripe, which whoever changes the near store holds.
    stripes: Vec<AsyncMutex<u64>>,
    /// Keys that are being changed, or whose change was dropped half-way.
    marks: Mutex<HashMap<Key, Mark>>,
    counters: Counters,
    near_hits: Counter,
}

/// How many changes of a key are under way, whether there was a moment with more than one, and whether one was given up.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    under_way: u32,
    crowded: bool,
    given_up: bool,
}

/// A change under way. Dropped before its end, it leaves the mark.
struct Change<'a> {
    marks: &'a Mutex<HashMap<Key, Mark>>,
    keys: &'a [Key],
    done: bool,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut marks = lock(self.marks);
        for key in self.keys {
            if let Some(mark) = marks.get_mut(key) {
                mark.under_way = mark.under_way.saturating_sub(1);
                mark.given_up |= !self.done;
                if mark.under_way == 0 {
                    mark.crowded = false;
                    if !mark.given_up {
                        marks.remove(key);
                    }
                }
            }
        }
    }
}

impl<N: Store, F: Store> Tiered<N, F> {
    /// `near` in front of `far`: kept near for half the time that is left, at least 60 s.
    pub fn new(near: N, far: F) -> Self {
        Self {
            near,
            far,
            ratio: RATIO,
            floor: FLOOR,
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| AsyncMutex::new(0)).collect(),
            marks: Mutex::default(),
            counters: Counters::default(),
            near_hits: Counter::default(),
        }
    }

    /// What share of the time left a value is kept near; what is no share is taken for the nearest that is. **Default**: 0.5.
    #[must_use]
    pub fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = if ratio.is_nan() { RATIO } else { ratio.clamp(0.0, 1.0) };
        self
    }

    /// How long it is kept near at least, unless it ends before. **Default**: 60 s.
    #[must_use]
    pub const fn floor(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// The near store.
    pub const fn near(&self) -> &N {
        &self.near
    }

    /// The far store.
    pub const fn far(&self) -> &F {
        &self.far
    }

    /// Drops the near copy of a key, and what is about to become one: somebody else has changed it.
    ///
    /// # Errors
    /// As the near store.
    pub async fn forget_near(&self, key: &Key) -> Result<(), StoreError> {
        let mut epoch = self.stripe(key).lock().await;
        *epoch += 1;
        self.near.delete(key).await.map(drop)
    }

    /// Drops all near copies, and what is about to become one: something may have been missed.
    ///
    /// # Errors
    /// As the near store.
    pub async fn clear_near(&self) -> Result<(), StoreError> {
        let _held = self.all_stripes().await;
        self.near.clear().await.map(drop)
    }

    /// How long a value with so much time left is kept near.
    fn near_ttl(&self, left: Ttl) -> Ttl {
        match left {
            Ttl::Never => Ttl::Never,
            Ttl::After(left) => {
                let share = Duration::try_from_secs_f64(left.as_secs_f64() * self.ratio).unwrap_or(left);
                Ttl::After(share.max(self.floor).min(left))
            }
        }
    }

    fn stripe(&self, key: &Key) -> &AsyncMutex<u64> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
        let number = self.hasher.hash_one(key) as usize % STRIPES;
        &self.stripes[number]
    }

    /// Every stripe, each in a new epoch. In order, so that two who want all do not wait for each other.
    async fn all_stripes(&self) -> Vec<MutexGuard<'_, u64>> {
        let mut held = Vec::with_capacity(STRIPES);
        for stripe in &self.stripes {
            let mut epoch = stripe.lock().await;
            *epoch += 1;
            held.push(epoch);
        }
        held
    }

    fn begin<'a>(&'a self, keys: &'a [Key]) -> Change<'a> {
        let mut marks = lock(&self.marks);
        for key in keys {
            let mark = marks.entry(key.clone()).or_default();
            mark.crowded |= mark.under_way > 0;
            mark.under_way += 1;
        }
        Change { marks: &self.marks, keys, done: false }
    }

    /// Whether the near store may be asked for this key. A mark that somebody left is cleaned up first.
    async fn may_read_near(&self, key: &Key) -> bool {
        let mark = lock(&self.marks).get(key).copied();
        match mark {
            None => true,
            Some(mark) if mark.under_way > 0 || !mark.given_up => false,
            Some(_) => {
                if self.forget_near(key).await.is_err() {
                    return false;
                }
                let mut marks = lock(&self.marks);
                match marks.get(key) {
                    Some(mark) if mark.under_way > 0 => false,
                    _ => {
                        marks.remove(key);
                        true
                    }
                }
            }
        }
    }

    /// Keeps near what the far store had, unless the key has changed since `epoch`. The caller has its value whatever becomes of this.
    async fn promote(&self, key: &Key, entry: &Entry, epoch: u64) {
        let now = self.stripe(key).lock().await;
        if *now != epoch {
            return;
        }
        let options = SetOptions { ttl: self.near_ttl(entry.ttl()), metadata: entry.metadata.clone(), ..SetOptions::new() };
        if self.near.set(key, entry.value.clone(), options).await.is_err() {
            self.counters.errors.add(1);
        }
    }

    async fn get_far(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let epoch = *self.stripe(key).lock().await;
        let found = self.far.get(key).await?;
        if let Some(entry) = &found {
            self.promote(key, entry, epoch).await;
        }
        Ok(found)
    }

    /// After the far store was changed, or may have been: drops the near copies.
    async fn forget_all(&self, keys: &[Key]) -> Result<(), StoreError> {
        for key in keys {
            self.forget_near(key).await?;
        }
        Ok(())
    }
}

/// The far store's word first: what it could not do was not done.
fn both<T>(far: Result<T, StoreError>, near: Result<(), StoreError>) -> Result<T, StoreError> {
    far.and_then(|done| near.map(|()| done))
}

impl<N: Store, F: Store> Store for Tiered<N, F> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        // A near store that fails is one that has nothing.
        if self.may_read_near(key).await
            && let Ok(Some(entry)) = self.near.get(key).await
        {
            self.near_hits.add(1);
            self.counters.got(true);
            return Ok(Some(entry));
        }
        let found = self.get_far(key).await?;
        self.counters.got(found.is_some());
        Ok(found)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        let mut change = self.begin(std::slice::from_ref(key));
        let ttl = options.ttl;
        let near = SetOptions { ttl: self.near_ttl(ttl), tags: Vec::new(), if_absent: false, metadata: options.metadata.clone() };
        let stored = self.far.set(key, value.clone(), options).await;
        let kept = if matches!(stored, Ok(true)) {
            let mut epoch = self.stripe(key).lock().await;
            *epoch += 1;
            // Of several at once, nobody knows which one was the last to reach the far store.
            if lock(&self.marks).get(key).is_some_and(|mark| mark.crowded) {
                self.near.delete(key).await.map(drop)
            } else {
                self.near.set(key, value, near).await.map(drop)
            }
        } else {
            self.forget_near(key).await
        };
        change.done = kept.is_ok();
        self.counters.sets.add(u64::from(matches!(stored, Ok(true))));
        both(stored, kept)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.delete_many(std::slice::from_ref(key)).await? == 1)
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        let cleared = self.far.clear().await;
        let cleared = both(cleared, self.clear_near().await)?;
        self.counters.deletes.add(cleared);
        Ok(cleared)
    }

    /// Hits and misses of the two together; `near_hits` and the near store's entries are extras, the gauges the far store's.
    fn stats(&self) -> CacheStats {
        let (own, near, far) = (self.counters.snapshot(), self.near.stats(), self.far.stats());
        let extra = [Some(("near_hits", self.near_hits.get())), near.current_entries.map(|entries| ("near_entries", entries))];
        CacheStats {
            hits: own.hits,
            misses: own.misses,
            sets: own.sets,
            deletes: own.deletes,
            errors: own.errors.saturating_add(far.errors),
            extra: far.extra.iter().copied().chain(extra.into_iter().flatten()).collect(),
            ..far
        }
    }

    fn name(&self) -> &'static str {
        "tiered"
    }

    fn capabilities(&self) -> Capabilities {
        self.far.capabilities()
    }

    /// Its own counters, and those of both stores.
    fn reset_stats(&self) {
        self.counters.reset();
        self.near_hits.reset();
        self.near.reset_stats();
        self.far.reset_stats();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        let near = self.may_read_near(key).await && self.near.exists(key).await.unwrap_or(false);
        if near { Ok(true) } else { self.far.exists(key).await }
    }

    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        let mut clean = Vec::with_capacity(keys.len());
        for key in keys {
            if self.may_read_near(key).await {
                clean.push(key.clone());
            }
        }
        let mut found = self.near.get_many(&clean).await.unwrap_or_default();
        self.near_hits.add(found.len() as u64);
        let mut missing: HashMap<Key, u64> = HashMap::new();
        for key in keys.iter().filter(|key| !found.contains_key(key)) {
            missing.insert(key.clone(), *self.stripe(key).lock().await);
        }
        if !missing.is_empty() {
            let asked: Vec<Key> = missing.keys().cloned().collect();
            for (key, entry) in self.far.get_many(&asked).await? {
                if let Some(epoch) = missing.remove(&key) {
                    self.promote(&key, &entry, epoch).await;
                }
                found.insert(key, entry);
            }
        }
        self.counters.hits.add(found.len() as u64);
        self.counters.misses.add(missing.len() as u64);
        Ok(found)
    }

    /// Far only; near copies are dropped, and come back when they are asked for.
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        let keys: Vec<Key> = items.iter().map(|(key, _)| key.clone()).collect();
        let mut change = self.begin(&keys);
        let stored = self.far.set_many(items, options).await;
        let forgotten = self.forget_all(&keys).await;
        change.done = forgotten.is_ok();
        let stored = both(stored, forgotten)?;
        self.counters.sets.add(stored);
        Ok(stored)
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let mut change = self.begin(keys);
        let deleted = self.far.delete_many(keys).await;
        let forgotten = self.forget_all(keys).await;
        change.done = forgotten.is_ok();
        let deleted = both(deleted, forgotten)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        self.far.keys(glob).await
    }

    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        let deleted = self.far.delete_matching(glob).await;
        let _held = self.all_stripes().await;
        let near = match self.near.delete_matching(glob).await {
            Ok(_) => Ok(()),
            Err(_) => self.near.clear().await.map(drop),
        };
        let deleted = both(deleted, near)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    /// Drops all near copies: they do not know their tags.
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        let deleted = self.far.delete_tagged(tag).await;
        let deleted = both(deleted, self.clear_near().await)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    async fn purge_expired(&self) -> Result<u64, StoreError> {
        let _ = self.near.purge_expired().await; // copies; what counts is far
        self.far.purge_expired().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.near.probe().await?;
        self.far.probe().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        let far = self.far.close().await;
        both(far, self.near.close().await)
    }
}
