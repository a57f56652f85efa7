//! Places in one SQLite file, for the processes of one machine.
//!
//! Each step is one transaction that has the right to write from its beginning, and reads the clock inside. A place is kept under the random bits
//! of its holder, for a time; the fence is one number for the whole table, which grows past whatever the clock says, so that it rises even where
//! the file was lost.
//!
//! Time is the machine's clock. Put back by more than a second, each place lasts once more as long as it was taken for, from when it is next
//! looked at; a holder that renews notices nothing. Put forward, places are over sooner than their holders think; whom that could harm should
//! look at the fence. Not for network file systems.
//!
//! ```
//! # #[cfg(feature = "sqlite")] #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::Key;
//! use steadfast::store::rate::{DistributedSemaphore, SqliteSemaphoreStore};
//!
//! let store = SqliteSemaphoreStore::builder(":memory:").open().await?; // in truth: a file that all processes open
//! let nightly = DistributedSemaphore::lock().name("jobs").store(store).build()?;
//! let place = nightly.try_acquire(&Key::new("nightly")?).await?.ok_or("another process is at it")?;
//! assert!(place.fence() > 0);
//! place.release().await?;
//! # Ok(()) }
//! # #[cfg(not(feature = "sqlite"))] fn main() {}
//! ```

use super::{Holder, SemaphoreStore, Taken, check_place};
use crate::fault::ConfigError;
use crate::store::entry::WallClock;
use crate::store::rate::sqlite::{now_us, table_fault};
use crate::store::sqlite::worker::{Failure, Opening, Worker};
use crate::store::{Key, StoreError, StoreErrorKind};
use rusqlite::{Connection, TransactionBehavior, params};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "sqlite";
const VERSION: i64 = 1;
/// How many places of other keys one step frees at most.
const SWEEP: u32 = 4;
/// A turn takes a twentieth of a millisecond; so this is many others' turns.
const BUSY: Duration = Duration::from_millis(250);
/// How far back a clock may be without having been set, in microseconds.
const HELD: i64 = 1_000_000;
/// For ever.
const NEVER: i64 = i64::MAX;

/// Settings of a [`SqliteSemaphoreStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `open`"]
pub struct SqliteSemaphoreStoreBuilder {
    path: PathBuf,
    table: String,
    busy_timeout: Duration,
    clock: WallClock,
}

impl SqliteSemaphoreStoreBuilder {
    /// The table of the places; another one begins with the same name. A letter or `_`, then at most 62 letters, digits and `_`.
    /// **Default**: `places`.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How long a step waits for its turn among processes, before it is [`Busy`](StoreErrorKind::Busy). **Default**: 250 ms.
    pub const fn busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// Opens the file, or makes it, and starts the thread.
    ///
    /// # Errors
    /// [`InvalidConfig`](StoreErrorKind::InvalidConfig) for a bad name, [`Corrupt`](StoreErrorKind::Corrupt) for a file that is no database,
    /// [`NewerVersion`](StoreErrorKind::NewerVersion) for a table of a version to come, or what SQLite says.
    pub async fn open(self) -> Result<SqliteSemaphoreStore, StoreError> {
        ConfigError::check("SQLite semaphore store", table_fault(&self.table).into_iter().collect())?;
        let sql = Arc::new(Sql::new(&self.table));
        let opening = Opening { path: self.path, busy_timeout: self.busy_timeout, durable: false, schema: Sql::schema(&self.table) };
        let store = SqliteSemaphoreStore { worker: Worker::open(opening).await?, sql, clock: self.clock };
        store.step(|sql, connection, _| sql.check_version(connection)).await?;
        Ok(store)
    }
}

/// Places in one SQLite file. Clones share it, and its thread; other processes share the file. See the [module](self) for what it promises.
#[derive(Clone)]
pub struct SqliteSemaphoreStore {
    worker: Worker,
    sql: Arc<Sql>,
    clock: WallClock,
}

impl SqliteSemaphoreStore {
    /// Places in the file at `path`, which is made if it is not there. It may be the file of a [`SqliteStore`](crate::store::SqliteStore), and of a
    /// [`SqliteRateStore`](crate::store::rate::SqliteRateStore).
    pub fn builder(path: impl AsRef<Path>) -> SqliteSemaphoreStoreBuilder {
        SqliteSemaphoreStoreBuilder { path: path.as_ref().to_owned(), table: "places".into(), busy_timeout: BUSY, clock: WallClock::System }
    }

    /// One step, in a transaction, with the time as of when nobody else could write any more.
    async fn step<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Sql, &Connection, i64) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sql, clock) = (Arc::clone(&self.sql), self.clock.clone());
        self.worker
            .run(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let done = work(&sql, &transaction, signed(now_us(&clock)))?;
                transaction.commit()?;
                Ok(done)
            })
            .await
    }
}

/// The statements for one table.
#[derive(Debug)]
struct Sql {
    set_back: String,
    others: String,
    fence: String,
    put: String,
    renew: String,
    release: String,
    count: String,
    sweep: String,
    version: String,
}

impl Sql {
    fn new(t: &str) -> Self {
        Self {
            set_back: format!(
                "UPDATE \"{t}\" SET until = CASE until WHEN {NEVER} THEN {NEVER} ELSE ?2 + (until - since) END, since = ?2 \
                 WHERE key = ?1 AND since > ?2 + {HELD}"
            ),
            others: format!("SELECT count(*), min(until) FROM \"{t}\" WHERE key = ?1 AND holder <> ?2 AND until > ?3"),
            fence: format!("UPDATE \"{t}_books\" SET fence = max(CASE fence WHEN {NEVER} THEN 0 ELSE fence END + 1, ?1) RETURNING fence"),
            put: format!("INSERT OR REPLACE INTO \"{t}\" (key, holder, since, until) VALUES (?1, ?2, ?3, ?4)"),
            renew: format!("UPDATE \"{t}\" SET since = ?3, until = ?4 WHERE key = ?1 AND holder = ?2 AND until > ?3"),
            release: format!("DELETE FROM \"{t}\" WHERE key = ?1 AND holder = ?2 AND until > ?3"),
            count: format!("SELECT count(*) FROM \"{t}\" WHERE key = ?1 AND until > ?2"),
            sweep: format!("DELETE FROM \"{t}\" WHERE rowid IN (SELECT rowid FROM \"{t}\" WHERE until <= ?1 ORDER BY until LIMIT ?2)"),
            version: format!("SELECT version FROM \"{t}_books\""),
        }
    }

    fn schema(t: &str) -> String {
        format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS \"{t}\" (key TEXT NOT NULL, holder TEXT NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, \
                PRIMARY KEY (key, holder));
             CREATE INDEX IF NOT EXISTS \"{t}_until\" ON \"{t}\" (until);
             CREATE TABLE IF NOT EXISTS \"{t}_books\" (one INTEGER PRIMARY KEY CHECK (one = 1), fence INTEGER NOT NULL, version INTEGER NOT NULL);
             INSERT OR IGNORE INTO \"{t}_books\" (one, fence, version) VALUES (1, 0, {VERSION});
             COMMIT;"
        )
    }

    fn check_version(&self, connection: &Connection) -> Result<(), Failure> {
        let version: i64 = connection.prepare_cached(&self.version)?.query_row([], |row| row.get(0))?;
        if version > VERSION {
            let detail = format!("version {version} of its table");
            return Err(StoreError::new(StoreErrorKind::NewerVersion).in_store(NAME).with_detail(detail).into());
        }
        Ok(())
    }

    /// Moves what is there back with a clock that was put back.
    fn heal(&self, connection: &Connection, key: &Key, now: i64) -> Result<(), Failure> {
        connection.prepare_cached(&self.set_back)?.execute(params![key.as_str(), now])?;
        Ok(())
    }

    fn take(&self, connection: &Connection, key: &Key, holder: &str, max: u32, until: i64, now: i64) -> Result<Taken, Failure> {
        self.heal(connection, key, now)?;
        connection.prepare_cached(&self.sweep)?.execute(params![now, SWEEP])?;
        let row = params![key.as_str(), holder, now];
        let (others, first): (i64, Option<i64>) =
            connection.prepare_cached(&self.others)?.query_row(row, |row| Ok((row.get(0)?, row.get(1)?)))?;
        if others >= i64::from(max) {
            let wait = first.filter(|first| *first != NEVER).map(|first| first.saturating_sub(now));
            return Ok(Taken::Full { retry_after: wait.map(|wait| Duration::from_micros(wait.unsigned_abs())) });
        }
        let fence: i64 = connection.prepare_cached(&self.fence)?.query_row([now], |row| row.get(0))?;
        connection.prepare_cached(&self.put)?.execute(params![key.as_str(), holder, now, until])?;
        Ok(Taken::Held { fence: fence.unsigned_abs() })
    }
}

/// SQLite has no unsigned numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Until when, from `now`, in whole microseconds.
fn until(now: i64, ttl: Duration) -> i64 {
    i64::try_from(ttl.as_nanos().div_ceil(1_000)).map_or(NEVER, |ttl| now.saturating_add(ttl))
}

impl SemaphoreStore for SqliteSemaphoreStore {
    async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Taken, StoreError> {
        check_place(max, ttl)?;
        let (key, holder) = (key.clone(), holder.to_hex());
        self.step(move |sql, connection, now| sql.take(connection, &key, &holder, max, until(now, ttl), now)).await
    }

    async fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> Result<bool, StoreError> {
        check_place(1, ttl)?;
        let (key, holder) = (key.clone(), holder.to_hex());
        self.step(move |sql, connection, now| {
            sql.heal(connection, &key, now)?;
            let row = params![key.as_str(), holder, now, until(now, ttl)];
            Ok(connection.prepare_cached(&sql.renew)?.execute(row)? == 1)
        })
        .await
    }

    async fn release(&self, key: &Key, holder: Holder) -> Result<bool, StoreError> {
        let (key, holder) = (key.clone(), holder.to_hex());
        self.step(
            move |sql, connection, now| Ok(connection.prepare_cached(&sql.release)?.execute(params![key.as_str(), holder, now])? == 1),
        )
        .await
    }

    async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
        let key = key.clone();
        self.step(move |sql, connection, now| {
            sql.heal(connection, &key, now)?;
            let count: i64 = connection.prepare_cached(&sql.count)?.query_row(params![key.as_str(), now], |row| row.get(0))?;
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        })
        .await
    }

    fn name(&self) -> &'static str {
        NAME
    }

    /// Waits for what is being done, and for the thread to let go of the file; not of places, which are held until they are released or over.
    async fn close(&self) -> Result<(), StoreError> {
        self.worker.close().await
    }
}

impl fmt::Debug for SqliteSemaphoreStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSemaphoreStore").field("worker", &self.worker).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    const MINUTE: Duration = Duration::from_secs(60);

    async fn store() -> (SqliteSemaphoreStore, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(1_800_000_000_000));
        let mut builder = SqliteSemaphoreStore::builder(":memory:");
        builder.clock = WallClock::Test(Arc::clone(&clock));
        (builder.open().await.unwrap(), clock)
    }

    fn fence(taken: Taken) -> Option<u64> {
        if let Taken::Held { fence } = taken { Some(fence) } else { None }
    }

    #[tokio::test]
    async fn g70_a_clock_put_back_neither_keeps_a_place_for_ever_nor_doubles_it() {
        let (store, clock) = store().await;
        let (k, holder) = (Key::new("k").unwrap(), Holder::random());
        let first = fence(store.take(&k, holder, 1, MINUTE).await.unwrap()).unwrap();
        clock.fetch_sub(3_600_000, Ordering::SeqCst);
        let full = store.take(&k, Holder::random(), 1, MINUTE).await.unwrap();
        assert_eq!(full, Taken::Full { retry_after: Some(MINUTE) });
        clock.fetch_add(30_000, Ordering::SeqCst);
        assert!(store.renew(&k, holder, MINUTE).await.unwrap());
        clock.fetch_add(59_999, Ordering::SeqCst);
        assert_eq!(store.take(&k, Holder::random(), 1, MINUTE).await.unwrap(), Taken::Full { retry_after: Some(Duration::from_millis(1)) });
        clock.fetch_add(1, Ordering::SeqCst);
        assert!(!store.renew(&k, holder, MINUTE).await.unwrap());
        let next = fence(store.take(&k, Holder::random(), 1, MINUTE).await.unwrap()).unwrap();
        assert!(next > first, "{next} after {first}, by a clock that was put back");
    }

    #[tokio::test]
    async fn places_that_are_over_leave_nothing_and_for_ever_is_for_ever() {
        let (store, clock) = store().await;
        let (k, holder) = (Key::new("k").unwrap(), Holder::random());
        for number in 0..20 {
            store.take(&Key::new(number.to_string()).unwrap(), holder, 1, MINUTE).await.unwrap();
        }
        clock.fetch_add(60_000, Ordering::SeqCst);
        for _ in 0..6 {
            assert!(fence(store.take(&k, holder, 1, Duration::MAX).await.unwrap()).is_some());
        }
        let rows =
            |_: &Sql, connection: &Connection, _| Ok(connection.query_row("SELECT count(*) FROM places", [], |row| row.get::<_, i64>(0))?);
        assert_eq!(store.step(rows).await.unwrap(), 1);
        clock.fetch_add(100 * 365 * 86_400_000, Ordering::SeqCst);
        assert_eq!(store.take(&k, Holder::random(), 1, MINUTE).await.unwrap(), Taken::Full { retry_after: None });
        clock.fetch_sub(3_600_000, Ordering::SeqCst);
        assert_eq!(store.holders(&k).await.unwrap(), 1);
        assert!(store.release(&k, holder).await.unwrap());
    }
}
