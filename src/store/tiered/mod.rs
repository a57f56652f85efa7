//! A near store in front of a far one.
//!
//! Reads go to the near one first, and what only the far one has is kept near for a while. Writes go to the far one first, so that nobody
//! promotes what is about to change. What is near ends no later than what is far: it is kept for half the time that is left, at least a
//! minute, and never longer than the time that is left.
//!
//! A value that was deleted or overwritten does not come back: each promotion remembers the epoch of its key from before it asked the far store,
//! and is dropped when that has passed. A delete or a set that is dropped half-way leaves a mark, and the key is not read near until it is clean again.
//!
//! What other processes do to the far store is not seen here before the near copy ends, unless they tell: with a [`backplane`](Tiered::backplane),
//! each says what it changes, and drops its near copies of what the others change. Where you have a way of your own to hear of it, call
//! [`forget_near`](Tiered::forget_near), and [`clear_near`](Tiered::clear_near) whenever something may have been missed.
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

mod near;

use super::backplane::{Backplane, Changed, Ears, Peers};
use super::stats::Counters;
use super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError, Ttl};
use crate::sync::Counter;
use bytes::Bytes;
use near::{Change, Near};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

const RATIO: f64 = 0.5;
const FLOOR: Duration = Duration::from_secs(60);

/// A near store in front of a far one; see the [module](self).
#[derive(Debug)]
pub struct Tiered<N, F> {
    near: Arc<Near<N>>,
    far: F,
    ratio: f64,
    floor: Duration,
    peers: Option<Peers>,
    counters: Counters,
    near_hits: Counter,
}

impl<N: Store, F: Store> Tiered<N, F> {
    /// `near` in front of `far`: kept near for half the time that is left, at least 60 s.
    pub fn new(near: N, far: F) -> Self {
        Self {
            near: Arc::new(Near::new(near)),
            far,
            ratio: RATIO,
            floor: FLOOR,
            peers: None,
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

    /// Tells the others on this backplane what is changed here, after it was changed far, and drops the near copies of what they change. One for
    /// each far store. It listens in a task, from the first operation on and until this is closed or dropped. A change is made whether or
    /// not it can be told; what could not be told is told later, and counted as an error. **Default**: nobody is told.
    #[must_use]
    pub fn backplane(mut self, backplane: impl Backplane) -> Self {
        self.peers = Some(Peers::new(backplane));
        self
    }

    /// The near store.
    pub fn near(&self) -> &N {
        &self.near.store
    }

    /// The far store.
    pub const fn far(&self) -> &F {
        &self.far
    }

    /// Drops the near copy of a key, and what is about to become one: somebody else has changed it. Tells nobody.
    ///
    /// # Errors
    /// As the near store. Until it could be dropped, it is not read.
    pub async fn forget_near(&self, key: &Key) -> Result<(), StoreError> {
        self.near.forget(key).await
    }

    /// Drops all near copies, and what is about to become one: something may have been missed. Tells nobody.
    ///
    /// # Errors
    /// As the near store. Until they could be dropped, none is read.
    pub async fn clear_near(&self) -> Result<(), StoreError> {
        self.near.clear().await
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

    /// Keeps near what the far store had, unless the key has changed since `epoch`. The caller has its value whatever becomes of this.
    async fn promote(&self, key: &Key, entry: &Entry, epoch: u64) {
        let options = SetOptions { ttl: self.near_ttl(entry.ttl()), metadata: entry.metadata.clone(), ..SetOptions::new() };
        if self.near.promote(key, entry.value.clone(), options, epoch).await.is_err() {
            self.counters.errors.add(1);
        }
    }

    async fn get_far(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let epoch = self.near.epoch(key).await;
        let found = self.far.get(key).await?;
        if let Some(entry) = &found {
            self.promote(key, entry, epoch).await;
        }
        Ok(found)
    }

    /// Before each operation: the others may have something to say.
    fn listen(&self) {
        if let Some(peers) = &self.peers {
            peers.listen(|| {
                let near: Weak<Near<N>> = Arc::downgrade(&self.near);
                near as Weak<dyn Ears>
            });
        }
    }

    fn begin<'a>(&'a self, keys: &'a [Key]) -> Change<'a, N> {
        self.listen();
        self.near.begin(keys, self.peers.as_ref())
    }

    fn begin_all(&self) -> Change<'_, N> {
        self.listen();
        self.near.begin_all(self.peers.as_ref())
    }

    async fn tell(&self, changed: Changed) {
        if let Some(peers) = &self.peers {
            peers.tell(changed).await;
        }
    }
}

/// The far store's word first: what it could not do was not done.
fn both<T>(far: Result<T, StoreError>, near: Result<(), StoreError>) -> Result<T, StoreError> {
    far.and_then(|done| near.map(|()| done))
}

impl<N: Store, F: Store> Store for Tiered<N, F> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.listen();
        // A near store that fails is one that has nothing.
        if self.near.may_read(key).await
            && let Ok(Some(entry)) = self.near.store.get(key).await
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
        let is_gone = !options.if_absent; // what was there before, whether or not the new value is stored
        let near = SetOptions { ttl: self.near_ttl(options.ttl), tags: Vec::new(), if_absent: false, metadata: options.metadata.clone() };
        let stored = self.far.set(key, value.clone(), options).await;
        let kept = if matches!(stored, Ok(true)) { self.near.keep(key, value, near).await } else { self.near.forget(key).await };
        change.done(&kept);
        // What was there already is what others have, too.
        if stored != Ok(false) || is_gone {
            self.tell(Changed::Keys(vec![key.clone()])).await;
        }
        self.counters.sets.add(u64::from(matches!(stored, Ok(true))));
        both(stored, kept)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.delete_many(std::slice::from_ref(key)).await? == 1)
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        let mut change = self.begin_all();
        let cleared = self.far.clear().await;
        let forgotten = self.near.clear().await;
        change.done(&forgotten);
        self.tell(Changed::All).await;
        let cleared = both(cleared, forgotten)?;
        self.counters.deletes.add(cleared);
        Ok(cleared)
    }

    /// Hits and misses of the two together, the gauges the far store's. Extras are `near_hits`, `near_entries`, and with a backplane
    /// `backplane_notices` and `backplane_gaps`: how many words of others were heard, and how often everything near was dropped because one
    /// may not have been.
    fn stats(&self) -> CacheStats {
        let (own, near, far) = (self.counters.snapshot(), self.near.store.stats(), self.far.stats());
        let heard = self.peers.as_ref().map(Peers::heard);
        let extra = [
            Some(("near_hits", self.near_hits.get())),
            near.current_entries.map(|entries| ("near_entries", entries)),
            heard.map(|(notices, _)| ("backplane_notices", notices)),
            heard.map(|(_, gaps)| ("backplane_gaps", gaps)),
        ];
        let untold = self.peers.as_ref().map_or(0, Peers::errors);
        CacheStats {
            hits: own.hits,
            misses: own.misses,
            sets: own.sets,
            deletes: own.deletes,
            errors: own.errors.saturating_add(far.errors).saturating_add(untold),
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
        self.near.store.reset_stats();
        if let Some(peers) = &self.peers {
            peers.reset();
        }
        self.far.reset_stats();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.listen();
        let near = self.near.may_read(key).await && self.near.store.exists(key).await.unwrap_or(false);
        if near { Ok(true) } else { self.far.exists(key).await }
    }

    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        self.listen();
        let mut clean = Vec::with_capacity(keys.len());
        for key in keys {
            if self.near.may_read(key).await {
                clean.push(key.clone());
            }
        }
        let mut found = self.near.store.get_many(&clean).await.unwrap_or_default();
        self.near_hits.add(found.len() as u64);
        let mut missing: HashMap<Key, u64> = HashMap::new();
        for key in keys.iter().filter(|key| !found.contains_key(key)) {
            missing.insert(key.clone(), self.near.epoch(key).await);
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

    /// Stored far only; near copies are dropped, and come back when they are asked for.
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        let keys: Vec<Key> = items.iter().map(|(key, _)| key.clone()).collect();
        let mut change = self.begin(&keys);
        let stored = self.far.set_many(items, options).await;
        let forgotten = self.near.forget_all(&keys).await;
        change.done(&forgotten);
        drop(change);
        self.tell(Changed::Keys(keys)).await;
        let stored = both(stored, forgotten)?;
        self.counters.sets.add(stored);
        Ok(stored)
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let mut change = self.begin(keys);
        let deleted = self.far.delete_many(keys).await;
        let forgotten = self.near.forget_all(keys).await;
        change.done(&forgotten);
        self.tell(Changed::Keys(keys.to_vec())).await;
        let deleted = both(deleted, forgotten)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        self.far.keys(glob).await
    }

    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        self.far.keys_page(glob, from).await
    }

    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        let mut change = self.begin_all();
        let deleted = self.far.delete_matching(glob).await;
        let forgotten = self.near.forget_matching(glob).await;
        change.done(&forgotten);
        self.tell(Changed::All).await;
        let deleted = both(deleted, forgotten)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    /// Drops all near copies: they do not know their tags.
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        let mut change = self.begin_all();
        let deleted = self.far.delete_tagged(tag).await;
        let forgotten = self.near.clear().await;
        change.done(&forgotten);
        self.tell(Changed::All).await;
        let deleted = both(deleted, forgotten)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    async fn purge_expired(&self) -> Result<u64, StoreError> {
        let _ = self.near.store.purge_expired().await; // copies; what counts is far
        self.far.purge_expired().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.near.store.probe().await?;
        self.far.probe().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        if let Some(peers) = &self.peers {
            peers.stop();
        }
        let far = self.far.close().await;
        both(far, self.near.store.close().await)
    }
}
