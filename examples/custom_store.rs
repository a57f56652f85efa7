//! A store of your own, held to the rules by the suite that ours pass.
//!
//! This one keeps its values in a plain map. A table of a database is no different: five methods, of which `get` must not see what is over, and `set`
//! must replace all there was. For PostgreSQL, each is one statement:
//!
//! ```sql
//! CREATE TABLE cache (key text PRIMARY KEY, value bytea NOT NULL, created timestamptz NOT NULL DEFAULT now(), expires timestamptz);
//! SELECT value, created, expires FROM cache WHERE key = $1 AND (expires IS NULL OR expires > now());            -- get
//! INSERT INTO cache (key, value, expires) VALUES ($1, $2, $3)                                                   -- set
//!     ON CONFLICT (key) DO UPDATE SET value = excluded.value, created = now(), expires = excluded.expires;      --   if_absent:
//!     -- .. WHERE cache.expires <= now()
//! DELETE FROM cache WHERE key = $1 RETURNING expires IS NULL OR expires > now();                                -- delete: was it live?
//! ```
//!
//! `cargo run --example custom_store --features store,testing`

use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast::store::{CacheStats, Capabilities, Entry, Glob, Key, SetOptions, Store, StoreError, StoreErrorKind, Timestamp};
use steadfast::testing::{bench_store, conformance};

/// A map under a lock. It never frees what nobody asks for, so it is no match for `MemoryStore`.
#[derive(Default)]
struct MapStore {
    /// `None` when closed.
    inside: Mutex<Option<Inside>>,
}

#[derive(Default)]
struct Inside {
    entries: HashMap<Key, Entry>,
    stats: CacheStats,
}

impl Inside {
    fn live(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| !entry.is_expired(Timestamp::now()))
    }
}

impl MapStore {
    fn new() -> Self {
        Self { inside: Mutex::new(Some(Inside::default())) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Inside>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the map, unless it is closed.
    fn with<T>(&self, work: impl FnOnce(&mut Inside) -> T) -> Result<T, StoreError> {
        let closed = || StoreError::new(StoreErrorKind::Closed).in_store(self.name());
        self.lock().as_mut().map(work).ok_or_else(closed)
    }
}

impl Store for MapStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.with(|inside| {
            let found = inside.live(key).cloned();
            match found {
                Some(_) => inside.stats.hits += 1,
                None => inside.stats.misses += 1,
            }
            // From now on its time is counted by this reading.
            found.map(|entry| entry.with_read_at(Timestamp::now()))
        })
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.with(|inside| {
            if options.if_absent && inside.live(key).is_some() {
                return false;
            }
            if options.ttl.is_zero() {
                inside.entries.remove(key);
                return false;
            }
            let entry = Entry::new(value, options.ttl, Timestamp::now()).with_metadata(options.metadata);
            inside.entries.insert(key.clone(), entry);
            inside.stats.sets += 1;
            true
        })
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.with(|inside| {
            let live = inside.live(key).is_some();
            inside.entries.remove(key);
            inside.stats.deletes += u64::from(live);
            live
        })
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        self.delete_matching(&Glob::all()).await
    }

    fn stats(&self) -> CacheStats {
        self.lock().as_ref().map(|inside| inside.stats.clone()).unwrap_or_default()
    }

    // Five are enough for a store. The rest makes it a better one.

    fn name(&self) -> &'static str {
        "map"
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = Capabilities::NONE;
        (can.patterns, can.metadata, can.if_absent) = (true, true, true);
        can
    }

    fn reset_stats(&self) {
        if let Some(inside) = self.lock().as_mut() {
            inside.stats = CacheStats::default();
        }
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.with(|inside| inside.live(key).is_some())
    }

    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        self.with(|inside| inside.entries.keys().filter(|key| glob.matches(key) && inside.live(key).is_some()).cloned().collect())
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.with(|_| ())
    }

    async fn close(&self) -> Result<(), StoreError> {
        *self.lock() = None;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), StoreError> {
    // In a test of yours, `.assert()` it.
    let findings = conformance::stores(|setup| async move { (setup == conformance::Setup::default()).then(MapStore::new) }).run().await;
    print!("{findings}");

    println!("{}", bench_store(&MapStore::new(), 10_000).await?);

    // And it goes wherever a store goes.
    let store = MapStore::new().observed(|event: &steadfast::store::StoreEvent| println!("{event}")).namespace("users");
    store.set(&Key::new("ada")?, "Ada".into(), SetOptions::new().ttl(Duration::from_secs(60))).await?;
    println!("{}", store.stats());
    if findings.failed() > 0 {
        std::process::exit(1);
    }
    Ok(())
}
