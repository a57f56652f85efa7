//! The store in one SQLite file, which several processes may use at once.
//!
//! For many small values that change often and should survive, or be shared by the processes of one machine, where no server is at hand. For
//! a few big ones, `FileStore` copies less. Not for network file systems: SQLite's locks do not work there.
//!
//! * **One thread, one connection.** SQLite blocks, so it has a thread of its own, which ends with the last handle. Nothing of it ever runs on a
//!   worker thread of yours.
//! * **Shared.** The file is in WAL mode: readers wait for nobody, writers for each other at most the
//!   [`busy_timeout`](SqliteStoreBuilder::busy_timeout). Every operation is one transaction, `set_many` and `delete_many` included: all of it or nothing.
//! * **Safe.** A killed process leaves what it had committed. A power cut may lose the last moments, unless
//!   [`durable`](SqliteStoreBuilder::durable); never more.
//! * **Bounded.** A counter kept by triggers knows how many entries there are, whoever stored them. Above the limit, what is over goes first, then the
//!   oldest, down to 80 %.
//! * **Damaged** databases are set aside (`cache.db.corrupt-…`) and begun anew. A file that never was a database is not touched, but an error; and so
//!   is one of a newer version.
//!
//! Time is the clock on the wall; an entry stamped more than a minute into the future was written by a clock gone wrong, and is over.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, SetOptions, SqliteStore, Store};
//! # let dir = std::env::temp_dir().join(format!("steadfast-doc-sqlite-{}", std::process::id())); std::fs::create_dir_all(&dir)?;
//!
//! let store = SqliteStore::builder(dir.join("cache.db")).max_entries(50_000).open().await?;
//! let key = Key::new("user:42")?;
//! store.set(&key, "Ada".into(), SetOptions::new().ttl(Duration::from_secs(60))).await?;
//! assert!(store.exists(&key).await?);
//! # store.close().await?; std::fs::remove_dir_all(dir)?; Ok(()) }
//! ```

mod sql;
#[cfg(test)]
mod tests;
pub(crate) mod worker;

use super::entry::WallClock;
use super::stats::Counters;
use super::traits::{PROBE_TTL, probe_item, probed};
use super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError};
use crate::fault::{ConfigError, Fault, check};
use crate::sync::atomic::{AtomicU64, Ordering};
use bytes::Bytes;
use rusqlite::Connection;
use sql::{Gauges, Sql};
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use worker::{Failure, Opening, Worker};

pub(crate) const NAME: &str = "sqlite";
/// What a cache in a file usually needs, and a sweep of it is quick.
const DEFAULT_ENTRIES: u64 = 10_000;
/// A caller would rather miss than wait longer than that for a writer elsewhere.
const BUSY: Duration = Duration::from_millis(50);

/// Rows in one page of keys: a millisecond's work.
const PAGE: u32 = 1_000;

/// Settings of a [`SqliteStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `open`"]
pub struct SqliteStoreBuilder {
    path: PathBuf,
    table: String,
    max_entries: u64,
    max_value_bytes: Option<u64>,
    busy_timeout: Duration,
    durable: bool,
    clock: WallClock,
}

impl SqliteStoreBuilder {
    /// The table of the entries; others of the store begin with the same name. A letter or `_`, then at most 62 letters, digits and `_`.
    /// **Default**: `cache_entries`.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How many entries it holds at most. **Default**: 10,000.
    pub const fn max_entries(mut self, entries: u64) -> Self {
        self.max_entries = entries;
        self
    }

    /// How big one value may be, in bytes; bigger ones are an error. **Default**: what SQLite takes, 1 GB.
    pub const fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = Some(bytes);
        self
    }

    /// How long a write waits for another process's, before it is [`Busy`](super::StoreErrorKind::Busy). **Default**: 50 ms, since a write usually
    /// takes a twentieth of one; where each must count, and machines are slow, give it seconds.
    pub const fn busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// Whether the last moments before a power cut are kept: every write waits for the disk then. **Default**: false.
    pub const fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// Opens the file, or makes it, and starts the thread.
    ///
    /// # Errors
    /// [`InvalidConfig`](super::StoreErrorKind::InvalidConfig) for a bad name or a limit of zero, [`Corrupt`](super::StoreErrorKind::Corrupt) for a
    /// file that is no database, [`NewerVersion`](super::StoreErrorKind::NewerVersion) for a table of a version to come, or what SQLite says.
    pub async fn open(self) -> Result<SqliteStore, StoreError> {
        let mut faults = Vec::new();
        if !sql::is_table_name(&self.table) {
            let rule = "a letter or `_`, then at most 62 letters, digits and `_`, and not `sqlite_..`";
            faults.push(Fault::new("table", format!("{:?} is no name for a table; it must be {rule}", self.table)));
        }
        check::at_least(&mut faults, "max_entries", self.max_entries, 1);
        check::at_least(&mut faults, "max_value_bytes", self.max_value_bytes.unwrap_or(1), 1);
        ConfigError::check("SQLite store", faults)?;
        let sql = Arc::new(Sql::new(&self.table, self.max_entries));
        let opening = Opening { path: self.path, busy_timeout: self.busy_timeout, durable: self.durable, schema: sql.schema() };
        let worker = Worker::open(opening).await?;
        let shared = Shared {
            worker,
            sql,
            clock: self.clock,
            max_entries: self.max_entries,
            max_value_bytes: self.max_value_bytes.unwrap_or(u64::MAX),
            counters: Counters::default(),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            pages: AtomicU64::new(0),
            page_size: AtomicU64::new(0),
        };
        let store = SqliteStore { shared: Arc::new(shared) };
        store.write(|sql, connection, _| sql.check_version(connection)).await?;
        Ok(store)
    }
}

/// A store in one SQLite file. Clones share it, and its thread; other processes share the file. See the [module](self) for what it promises.
///
/// [`stats`](Store::stats) has `page_count`, `page_size` and `database_size_bytes` as extras. Gauges are as of the last write of this process.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    worker: Worker,
    sql: Arc<Sql>,
    clock: WallClock,
    max_entries: u64,
    max_value_bytes: u64,
    counters: Counters,
    entries: AtomicU64,
    bytes: AtomicU64,
    pages: AtomicU64,
    page_size: AtomicU64,
}

impl SqliteStore {
    /// A store in the file at `path`, which is made if it is not there.
    pub fn builder(path: impl AsRef<Path>) -> SqliteStoreBuilder {
        SqliteStoreBuilder {
            path: path.as_ref().to_owned(),
            table: "cache_entries".into(),
            max_entries: DEFAULT_ENTRIES,
            max_value_bytes: None,
            busy_timeout: BUSY,
            durable: false,
            clock: WallClock::System,
        }
    }

    /// Runs `work` outside a transaction, with the time by the store's clock.
    async fn read<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Sql, &Connection, u64) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sql, clock) = (Arc::clone(&self.shared.sql), self.shared.clock.clone());
        let done = self.shared.worker.run(move |connection| work(&sql, connection, clock.now().as_millis())).await;
        done.inspect_err(|_| self.shared.counters.errors.add(1))
    }

    /// Runs `work` in a transaction that has the right to write from the beginning, so that it never has to be given up half-way.
    async fn write<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Sql, &Connection, u64) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sql, clock) = (Arc::clone(&self.shared.sql), self.shared.clock.clone());
        let written = self
            .shared
            .worker
            .run(move |connection| {
                let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
                let now = clock.now().as_millis();
                let done = work(&sql, &transaction, now)?;
                let gauges = sql.tidy(&transaction, now)?;
                transaction.commit()?;
                Ok((done, gauges))
            })
            .await;
        let (done, gauges) = written.inspect_err(|_| self.shared.counters.errors.add(1))?;
        self.note(gauges);
        Ok(done)
    }

    fn note(&self, gauges: Gauges) {
        let shared = &self.shared;
        shared.counters.expired.add(gauges.expired);
        shared.counters.evicted.add(gauges.evicted);
        for (gauge, value) in [
            (&shared.entries, gauges.entries),
            (&shared.bytes, gauges.bytes),
            (&shared.pages, gauges.pages),
            (&shared.page_size, gauges.page_size),
        ] {
            gauge.store(value, Ordering::Relaxed);
        }
    }

    async fn set_all(&self, items: Vec<(Key, Bytes)>, options: SetOptions) -> Result<u64, StoreError> {
        let most = self.shared.max_value_bytes;
        if let Some((_, value)) = items.iter().find(|(_, value)| value.len() as u64 > most) {
            return Err(StoreError::too_large(NAME, value.len(), most));
        }
        if items.is_empty() {
            return Ok(0);
        }
        let stored = self.write(move |sql, connection, now| {
            let mut stored = 0;
            for (key, value) in &items {
                stored += u64::from(sql.set(connection, key, value, &options, now)?);
            }
            Ok(stored)
        });
        let stored = stored.await?;
        self.shared.counters.sets.add(stored);
        Ok(stored)
    }

    fn deleted(&self, deleted: u64) -> u64 {
        self.shared.counters.deletes.add(deleted);
        deleted
    }
}

impl Store for SqliteStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let key = key.clone();
        let found = self.read(move |sql, connection, now| sql.get(connection, &key, now)).await?;
        self.shared.counters.got(found.is_some());
        Ok(found)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        Ok(self.set_all(vec![(key.clone(), value)], options).await? == 1)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.delete_many(std::slice::from_ref(key)).await? == 1)
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        Ok(self.deleted(self.write(|sql, connection, now| sql.clear(connection, now)).await?))
    }

    fn stats(&self) -> CacheStats {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let (pages, page_size) = (load(&self.shared.pages), load(&self.shared.page_size));
        CacheStats {
            current_entries: Some(load(&self.shared.entries)),
            current_size_bytes: Some(load(&self.shared.bytes)),
            max_entries: Some(self.shared.max_entries),
            extra: vec![("page_count", pages), ("page_size", page_size), ("database_size_bytes", pages.saturating_mul(page_size))],
            ..self.shared.counters.snapshot()
        }
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn reset_stats(&self) {
        self.shared.counters.reset();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.read(move |sql, connection, now| sql.exists(connection, &key, now)).await
    }

    /// As of one moment, in one job.
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        let keys: std::collections::HashSet<Key> = keys.iter().cloned().collect();
        let asked = keys.len();
        let found = self.read(move |sql, connection, now| {
            let transaction = connection.unchecked_transaction()?;
            let mut found = HashMap::new();
            for key in &keys {
                if let Some(entry) = sql.get(&transaction, key, now)? {
                    found.insert(key.clone(), entry);
                }
            }
            Ok(found)
        });
        let found = found.await?;
        self.shared.counters.hits.add(found.len() as u64);
        self.shared.counters.misses.add((asked - found.len()) as u64);
        Ok(found)
    }

    /// In one transaction: all or nothing.
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        self.set_all(items.to_vec(), options).await
    }

    /// In one transaction: all or nothing.
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let keys = keys.to_vec();
        let deleted = self.write(move |sql, connection, now| {
            let mut deleted = 0;
            for key in &keys {
                deleted += u64::from(sql.delete(connection, key, now)?);
            }
            Ok(deleted)
        });
        Ok(self.deleted(deleted.await?))
    }

    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        let glob = glob.clone();
        self.read(move |sql, connection, now| sql.keys(connection, &glob, now)).await
    }

    /// In order, a thousand rows at a time: each page is a short read of its own, so writers are kept from nothing.
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        let (glob, after) = (glob.clone(), from.map_or_else(String::new, |from| from.as_str().to_owned()));
        let page = self.read(move |sql, connection, now| sql.some_keys(connection, &glob, &after, Some(PAGE), now));
        let (keys, last) = page.await?;
        Ok(KeysPage::new(keys, last.map(Cursor::new)))
    }

    /// In one transaction: all or nothing.
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        let glob = glob.clone();
        let deleted = self.write(move |sql, connection, now| {
            let mut deleted = 0;
            for key in sql.keys(connection, &glob, now)? {
                deleted += u64::from(sql.delete(connection, &key, now)?);
            }
            Ok(deleted)
        });
        Ok(self.deleted(deleted.await?))
    }

    /// In one transaction: all or nothing.
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        let tag = tag.to_owned();
        let deleted = self.write(move |sql, connection, now| sql.delete_tagged(connection, &tag, now));
        Ok(self.deleted(deleted.await?))
    }

    async fn purge_expired(&self) -> Result<u64, StoreError> {
        let purged = self.write(|sql, connection, now| sql.purge(connection, now, u32::MAX)).await?;
        self.shared.counters.expired.add(purged);
        Ok(purged)
    }

    /// Writes, reads and rolls back: nobody sees it, nothing is counted.
    async fn probe(&self) -> Result<(), StoreError> {
        let (key, wrote) = probe_item();
        let expected = wrote.clone();
        let options = SetOptions::new().ttl(PROBE_TTL);
        let (sql, clock) = (Arc::clone(&self.shared.sql), self.shared.clock.clone());
        let read = self.shared.worker.run(move |connection| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let now = clock.now().as_millis();
            sql.set(&transaction, &key, &wrote, &options, now)?;
            Ok(sql.get(&transaction, &key, now)?.map(|entry| entry.value))
        });
        probed(NAME, &expected, read.await?)
    }

    /// Waits for what is being done, and for the thread to let go of the file.
    async fn close(&self) -> Result<(), StoreError> {
        self.shared.worker.close().await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("worker", &self.shared.worker).finish_non_exhaustive()
    }
}
