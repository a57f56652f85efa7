//! The store in memory: exact, bounded by bytes, gone with the process.
//!
//! For values that several parts of one process share as bytes, for tests, and as the near tier of a far store. For values of your own
//! types, a typed cache spares you the encoding.
//!
//! Least recently used goes first when room is needed. What is over is freed a little with every operation, whether or not anybody asks for
//! it again: each operation looks at the entries that end first, at most 16 of them. Time is `tokio::time`, so that a paused clock moves it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{Key, MemoryStore, SetOptions, Store};
//!
//! let store = MemoryStore::builder().max_size_bytes(10 << 20).max_value_bytes(1 << 20).build()?;
//! let (ada, bob) = (Key::new("user:ada")?, Key::new("user:bob")?);
//! store.set(&ada, "A".into(), SetOptions::new().tag("org:7")).await?;
//! store.set(&bob, "B".into(), SetOptions::new().tag("org:7")).await?;
//! assert_eq!(store.delete_tagged("org:7").await?, 2);
//! # Ok(()) }
//! ```

mod shelf;

use super::stats::Counters;
use super::{CacheStats, Capabilities, Entry, Glob, Key, SetOptions, Store, StoreError, Timestamp};
use crate::fault::{ConfigError, check};
use crate::sync::{Mutex, lock};
use crate::time::nanos_since;
use bytes::Bytes;
use shelf::{DRAIN, Gone, Shelf, Slot};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const NAME: &str = "memory";
/// What the samples of the field take; a server has that to spare.
const DEFAULT_BYTES: u64 = 100 << 20;

/// Settings of a [`MemoryStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing until `build`"]
pub struct MemoryStoreBuilder {
    max_size_bytes: u64,
    max_entries: Option<u64>,
    max_value_bytes: Option<u64>,
}

impl MemoryStoreBuilder {
    /// How much it holds, in bytes: keys, values, metadata and tags, and 192 bytes an entry for what it costs to keep one. **Default**: 100 MiB.
    pub const fn max_size_bytes(mut self, bytes: u64) -> Self {
        self.max_size_bytes = bytes;
        self
    }

    /// How many entries it holds at most. **Default**: as many as fit.
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// How big one value may be, in bytes; bigger ones are an error, and leave the old value where it is. **Default**: as big as fits.
    pub const fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = Some(bytes);
        self
    }

    /// The store.
    ///
    /// # Errors
    /// When a limit is zero; all at once.
    pub fn build(self) -> Result<MemoryStore, ConfigError> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "max_size_bytes", self.max_size_bytes, 1);
        check::at_least(&mut faults, "max_entries", self.max_entries.unwrap_or(1), 1);
        check::at_least(&mut faults, "max_value_bytes", self.max_value_bytes.unwrap_or(1), 1);
        ConfigError::check("memory store", faults)?;
        Ok(MemoryStore::of(self))
    }
}

/// A store in memory. Clones share it. See the [module](self) for what it promises.
///
/// Nothing here ever waits: its futures are ready when they are first polled.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    settings: MemoryStoreBuilder,
    origin: Instant,
    origin_wall: Timestamp,
    counters: Counters,
    /// `None` when closed.
    shelf: Mutex<Option<Shelf>>,
}

impl MemoryStore {
    /// A store of at most 100 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Self::builder())
    }

    /// Other settings than that.
    pub const fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder { max_size_bytes: DEFAULT_BYTES, max_entries: None, max_value_bytes: None }
    }

    fn of(settings: MemoryStoreBuilder) -> Self {
        let shelf = Shelf::new(settings.max_size_bytes, settings.max_entries.unwrap_or(u64::MAX));
        let shared = Shared {
            settings,
            origin: Instant::now(),
            origin_wall: Timestamp::now(),
            counters: Counters::default(),
            shelf: Mutex::new(Some(shelf)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Nanoseconds since the store was made.
    fn now(&self) -> u64 {
        nanos_since(self.shared.origin, Instant::now())
    }

    /// The wall clock's word for such a moment.
    fn wall(&self, nanos: u64) -> Timestamp {
        Timestamp::from_millis(self.shared.origin_wall.as_millis().saturating_add(nanos / 1_000_000))
    }

    /// Does something with the shelf, after freeing a little of what is over. What goes is dropped outside the lock: bytes may belong to
    /// somebody who has something to say about that.
    fn with<T>(&self, now: u64, work: impl FnOnce(&mut Shelf, &mut Gone) -> T) -> Result<T, StoreError> {
        let mut gone = Gone::default();
        let done = {
            let mut shelf = lock(&self.shared.shelf);
            let Some(shelf) = shelf.as_mut() else { return Err(StoreError::closed(NAME)) };
            shelf.drain(now, DRAIN, &mut gone);
            work(shelf, &mut gone)
        };
        self.shared.counters.expired.add(gone.expired);
        self.shared.counters.evicted.add(gone.evicted);
        Ok(done)
    }

    fn entry(&self, now: u64, slot: &Slot) -> Entry {
        // Told from the moment of reading, so that the time left is never more than the time given, nor zero while it is live.
        let read_at = self.wall(now);
        let expires_at = slot.expires.and_then(|end| read_at.after(Duration::from_nanos(end.saturating_sub(now))));
        Entry::new(slot.value.clone(), super::Ttl::Never, read_at)
            .with_created_at(self.wall(slot.created))
            .with_expires_at(expires_at)
            .with_metadata(slot.about.as_ref().and_then(|about| about.metadata.clone()))
    }

    fn put(&self, now: u64, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        if let Some(most) = self.shared.settings.max_value_bytes
            && value.len() as u64 > most
        {
            return Err(StoreError::too_large(NAME, value.len(), most));
        }
        let slot = (!options.ttl.is_zero()).then(|| Slot::new(now, key, value, &options));
        let if_absent = options.if_absent;
        let stored = self.with(now, |shelf, gone| {
            if if_absent && shelf.peek(key, now).is_some() {
                return false;
            }
            match slot {
                Some(slot) => shelf.put(now, key, slot, gone),
                None if if_absent => false,
                None => {
                    shelf.take(key, gone);
                    false
                }
            }
        })?;
        self.shared.counters.sets.add(u64::from(stored));
        Ok(stored)
    }

    fn remove(&self, now: u64, keys: &[Key]) -> Result<u64, StoreError> {
        let deleted = self.with(now, |shelf, gone| keys.iter().filter(|key| shelf.delete(key, now, gone)).count() as u64)?;
        self.shared.counters.deletes.add(deleted);
        Ok(deleted)
    }

    fn live_keys(&self, now: u64, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        let mut keys = self.with(now, |shelf, _| shelf.keys(now))?;
        if !glob.is_all() {
            keys.retain(|key| glob.matches(key));
        }
        Ok(keys)
    }

    /// Frees all that is over, in steps, so that nobody waits long for the lock.
    fn free(&self, now: u64) -> Result<u64, StoreError> {
        const STEP: usize = 1_024;
        let mut freed = 0;
        loop {
            let step = self.with(now, |shelf, gone| {
                shelf.drain(now, STEP, gone);
                gone.expired
            })?;
            freed += step;
            if step == 0 {
                return Ok(freed);
            }
        }
    }
}

impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let now = self.now();
        let found = self.with(now, |shelf, _| shelf.touch(key, now).cloned())?;
        self.shared.counters.got(found.is_some());
        Ok(found.map(|slot| self.entry(now, &slot)))
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.put(self.now(), key, value, options)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.remove(self.now(), std::slice::from_ref(key))? == 1)
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        let now = self.now();
        let all = self.with(now, |shelf, _| shelf.take_all())?;
        let (live, expired) = all.count(now);
        self.shared.counters.expired.add(expired);
        self.shared.counters.deletes.add(live);
        Ok(live)
    }

    fn stats(&self) -> CacheStats {
        let now = self.now();
        let _ = self.free(now); // closed: nothing to free
        let (entries, bytes) = self.with(now, |shelf, _| (shelf.len(), shelf.bytes())).unwrap_or_default();
        CacheStats {
            current_entries: Some(entries),
            current_size_bytes: Some(bytes),
            max_entries: self.shared.settings.max_entries,
            max_size_bytes: Some(self.shared.settings.max_size_bytes),
            ..self.shared.counters.snapshot()
        }
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::LOCAL
    }

    fn reset_stats(&self) {
        self.shared.counters.reset();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        let now = self.now();
        self.with(now, |shelf, _| shelf.peek(key, now).is_some())
    }

    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        let now = self.now();
        let mut found: HashMap<Key, Slot> = HashMap::with_capacity(keys.len());
        let mut missed = 0;
        self.with(now, |shelf, _| {
            for key in keys.iter() {
                if found.contains_key(key) {
                    continue;
                }
                match shelf.touch(key, now) {
                    Some(slot) => drop(found.insert(key.clone(), slot.clone())),
                    None => missed += 1,
                }
            }
        })?;
        self.shared.counters.hits.add(found.len() as u64);
        self.shared.counters.misses.add(missed);
        Ok(found.into_iter().map(|(key, slot)| (key, self.entry(now, &slot))).collect())
    }

    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        self.remove(self.now(), keys)
    }

    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        self.live_keys(self.now(), glob)
    }

    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        let now = self.now();
        self.remove(now, &self.live_keys(now, glob)?)
    }

    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        let now = self.now();
        let deleted = self.with(now, |shelf, gone| shelf.delete_tagged(tag, now, gone))?;
        self.shared.counters.deletes.add(deleted);
        Ok(deleted)
    }

    async fn purge_expired(&self) -> Result<u64, StoreError> {
        self.free(self.now())
    }

    /// There is no backend that could be down; asks whether it is closed.
    async fn probe(&self) -> Result<(), StoreError> {
        self.with(self.now(), |_, _| ())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let shelf = lock(&self.shared.shelf).take();
        drop(shelf); // not under the lock
        Ok(())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shelf = lock(&self.shared.shelf);
        let now = shelf.as_ref().map(|shelf| (shelf.len(), shelf.bytes()));
        f.debug_struct("MemoryStore")
            .field("entries", &now.map(|(entries, _)| entries))
            .field("bytes", &now.map(|(_, bytes)| bytes))
            .field("max_size_bytes", &self.shared.settings.max_size_bytes)
            .finish_non_exhaustive()
    }
}

/// A time to live in nanoseconds, whole milliseconds; `None` for never.
fn end_of(now: u64, ttl: super::Ttl) -> Option<u64> {
    let super::Ttl::After(ttl) = ttl else { return None };
    let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).ok()?;
    // The wall clock's never is this clock's, too.
    Timestamp::from_millis(0).after(Duration::from_millis(millis))?;
    now.checked_add(millis.checked_mul(1_000_000)?)
}
