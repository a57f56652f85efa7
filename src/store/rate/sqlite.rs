//! Limits in one SQLite file, for the processes of one machine.
//!
//! Each step is one transaction that has the right to write from its beginning, and reads the clock inside, so that processes take turns and never
//! more goes than the quota says. The rest is as the [`SqliteStore`](crate::store::SqliteStore) has it: a thread of its own, a write-ahead log,
//! the file given back on [`close`](RateStore::close). Not for network file systems.
//!
//! A killed process leaves what it had committed. A power cut may lose the last moments: what was spent in them is there again.

use super::memory::decide_together;
use super::{Algorithm, Decision, Quota, RateStore, Request, State, Terms};
use crate::fault::{ConfigError, Fault, check};
use crate::store::entry::WallClock;
use crate::store::sqlite::worker::{Failure, Opening, Worker};
use crate::store::{Key, StoreError, StoreErrorKind};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NAME: &str = "sqlite";
const VERSION: i64 = 1;
/// How many forgotten keys one call frees at most.
const SWEEP: u32 = 4;
/// Some 20 MB of file.
const MAX_KEYS: u64 = 100_000;
/// A turn takes a twentieth of a millisecond; so this is many others' turns.
const BUSY: Duration = Duration::from_millis(250);

/// Settings of a [`SqliteRateStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `open`"]
pub struct SqliteRateStoreBuilder {
    path: PathBuf,
    table: String,
    max_keys: u64,
    busy_timeout: Duration,
    clock: WallClock,
}

impl SqliteRateStoreBuilder {
    /// The table of the limits; another one begins with the same name. A letter or `_`, then at most 62 letters, digits and `_`.
    /// **Default**: `rate_limits`.
    pub fn table(mut self, name: impl Into<String>) -> Self {
        self.table = name.into();
        self
    }

    /// How many keys it knows at most, each counted once for each algorithm; above, those at which the least time is missing go.
    /// **Default**: 100,000.
    pub const fn max_keys(mut self, keys: u64) -> Self {
        self.max_keys = keys;
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
    /// [`InvalidConfig`](StoreErrorKind::InvalidConfig) for a bad name or no room for a key, [`Corrupt`](StoreErrorKind::Corrupt) for a file that is
    /// no database, [`NewerVersion`](StoreErrorKind::NewerVersion) for a table of a version to come, or what SQLite says.
    pub async fn open(self) -> Result<SqliteRateStore, StoreError> {
        let mut faults = Vec::new();
        faults.extend(table_fault(&self.table));
        check::at_least(&mut faults, "max_keys", self.max_keys, 1);
        ConfigError::check("SQLite rate store", faults)?;
        let sql = Arc::new(Sql::new(&self.table, self.max_keys));
        let opening = Opening { path: self.path, busy_timeout: self.busy_timeout, durable: false, schema: sql.schema(&self.table) };
        let store = SqliteRateStore { worker: Worker::open(opening).await?, sql, clock: self.clock };
        store.step(|sql, connection, _| sql.check_version(connection)).await?;
        Ok(store)
    }
}

/// Limits in one SQLite file. Clones share it, and its thread; other processes share the file. See the [module](self) for what it promises.
#[derive(Clone)]
pub struct SqliteRateStore {
    worker: Worker,
    sql: Arc<Sql>,
    clock: WallClock,
}

impl SqliteRateStore {
    /// Limits in the file at `path`, which is made if it is not there. It may be the file of a [`SqliteStore`](crate::store::SqliteStore).
    pub fn builder(path: impl AsRef<Path>) -> SqliteRateStoreBuilder {
        SqliteRateStoreBuilder {
            path: path.as_ref().to_owned(),
            table: "rate_limits".into(),
            max_keys: MAX_KEYS,
            busy_timeout: BUSY,
            clock: WallClock::System,
        }
    }

    /// One step, in a transaction, with the time as of when nobody else could write any more.
    async fn step<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&Sql, &Connection, u64) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sql, clock) = (Arc::clone(&self.sql), self.clock.clone());
        self.worker
            .run(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let now = now_us(&clock);
                let done = work(&sql, &transaction, now)?;
                transaction.commit()?;
                Ok(done)
            })
            .await
    }
}

/// What is wrong with the name of a table.
pub(super) fn table_fault(name: &str) -> Option<Fault> {
    let mut bytes = name.bytes();
    let fits = bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= 63
        && !name.to_ascii_lowercase().starts_with("sqlite_");
    let rule = "a letter or `_`, then at most 62 letters, digits and `_`, and not `sqlite_..`";
    (!fits).then(|| Fault::new("table", format!("{name:?} is no name for a table; it must be {rule}")))
}

pub(super) fn now_us(clock: &WallClock) -> u64 {
    match clock {
        WallClock::System => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        }
        #[cfg(test)]
        WallClock::Test(_) => clock.now().as_millis() * 1_000,
    }
}

/// The statements for one table.
#[derive(Debug)]
struct Sql {
    max_keys: u64,
    get: String,
    set: String,
    reset: String,
    sweep: String,
    evict: String,
    books: String,
}

impl Sql {
    fn new(t: &str, max_keys: u64) -> Self {
        Self {
            max_keys,
            get: format!("SELECT state FROM \"{t}\" WHERE key = ?1 AND algorithm = ?2"),
            set: format!(
                "INSERT INTO \"{t}\" (key, algorithm, state, idle) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (key, algorithm) DO UPDATE SET state = excluded.state, idle = excluded.idle"
            ),
            reset: format!("DELETE FROM \"{t}\" WHERE key = ?1 RETURNING idle > ?2"),
            sweep: format!("DELETE FROM \"{t}\" WHERE rowid IN (SELECT rowid FROM \"{t}\" WHERE idle <= ?1 ORDER BY idle LIMIT ?2)"),
            evict: format!("DELETE FROM \"{t}\" WHERE rowid IN (SELECT rowid FROM \"{t}\" ORDER BY idle LIMIT ?1)"),
            books: format!("SELECT keys, version FROM \"{t}_books\""),
        }
    }

    /// Triggers keep the books, whoever writes.
    fn schema(&self, t: &str) -> String {
        format!(
            "BEGIN IMMEDIATE;
             CREATE TABLE IF NOT EXISTS \"{t}\" (key TEXT NOT NULL, algorithm INTEGER NOT NULL, state BLOB NOT NULL, idle INTEGER NOT NULL, \
                PRIMARY KEY (key, algorithm));
             CREATE INDEX IF NOT EXISTS \"{t}_idle\" ON \"{t}\" (idle);
             CREATE TABLE IF NOT EXISTS \"{t}_books\" (one INTEGER PRIMARY KEY CHECK (one = 1), keys INTEGER NOT NULL, version INTEGER NOT NULL);
             INSERT OR IGNORE INTO \"{t}_books\" (one, keys, version) VALUES (1, 0, {VERSION});
             CREATE TRIGGER IF NOT EXISTS \"{t}_added\" AFTER INSERT ON \"{t}\" BEGIN UPDATE \"{t}_books\" SET keys = keys + 1; END;
             CREATE TRIGGER IF NOT EXISTS \"{t}_gone\" AFTER DELETE ON \"{t}\" BEGIN UPDATE \"{t}_books\" SET keys = keys - 1; END;
             COMMIT;"
        )
    }

    fn check_version(&self, connection: &Connection) -> Result<(), Failure> {
        let version: i64 = connection.prepare_cached(&self.books)?.query_row([], |row| row.get(1))?;
        if version > VERSION {
            return Err(StoreError::new(StoreErrorKind::NewerVersion)
                .in_store(NAME)
                .with_detail(format!("version {version} of its table"))
                .into());
        }
        Ok(())
    }

    /// What is known of a key; a row that nobody of ours wrote is as good as none.
    fn get(&self, connection: &Connection, key: &Key, terms: &Terms, now: u64) -> Result<State, Failure> {
        let row = params![key.as_str(), tag(terms.algorithm)];
        let found = connection
            .prepare_cached(&self.get)?
            .query_row(row, |row| Ok(row.get_ref(0)?.as_blob().ok().and_then(|bytes| State::decode(bytes, terms.algorithm))));
        Ok(found.optional()?.flatten().unwrap_or_else(|| State::new(terms, now)))
    }

    fn set(&self, connection: &Connection, key: &Key, state: &State, now: u64, decision: &Decision) -> Result<(), Failure> {
        let idle = now.saturating_add(u64::try_from(decision.reset_after.as_micros()).unwrap_or(u64::MAX));
        let row = params![key.as_str(), tag(state.algorithm()), state.encode(), signed(idle)];
        connection.prepare_cached(&self.set)?.execute(row)?;
        Ok(())
    }

    fn take(&self, connection: &Connection, now: u64, key: &Key, terms: &Terms, cost: u32) -> Result<Decision, Failure> {
        let mut state = self.get(connection, key, terms, now)?;
        let off = state.is_off(now, terms);
        let decision = state.take(now, terms, cost);
        if off || (decision.allowed && cost > 0) {
            self.set(connection, key, &state, now, &decision)?;
        }
        Ok(decision)
    }

    /// Frees a little of what is over, and makes room if there is too much.
    fn tidy(&self, connection: &Connection, now: u64) -> Result<(), Failure> {
        connection.prepare_cached(&self.sweep)?.execute(params![signed(now), SWEEP])?;
        let keys: i64 = connection.prepare_cached(&self.books)?.query_row([], |row| row.get(0))?;
        let over = keys.saturating_sub(signed(self.max_keys));
        if over > 0 {
            connection.prepare_cached(&self.evict)?.execute([over])?;
        }
        Ok(())
    }
}

/// In the file, so it never changes.
const fn tag(algorithm: Algorithm) -> i64 {
    match algorithm {
        Algorithm::Gcra => 1,
        Algorithm::SlidingLog => 2,
        Algorithm::SlidingCounter => 3,
        Algorithm::TokenBucket => 4,
        Algorithm::FixedWindow => 5,
    }
}

/// SQLite has no unsigned numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl RateStore for SqliteRateStore {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        let (key, terms) = (key.clone(), quota.terms(cost)?);
        self.step(move |sql, connection, now| {
            let decision = sql.take(connection, now, &key, &terms, cost)?;
            if decision.allowed && cost > 0 {
                sql.tidy(connection, now)?;
            }
            Ok(decision)
        })
        .await
    }

    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        let (key, terms) = (key.clone(), quota.terms(0)?);
        self.step(move |sql, connection, now| {
            let mut state = sql.get(connection, &key, &terms, now)?;
            let missing = state.take(now, &terms, 0).reset_after;
            if units == 0 || missing.is_zero() {
                return Ok(());
            }
            state.give_back(now, &terms, units);
            let decision = state.take(now, &terms, 0);
            sql.set(connection, &key, &state, now, &decision)
        })
        .await
    }

    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        let key = key.clone();
        self.step(move |sql, connection, now| {
            let mut statement = connection.prepare_cached(&sql.reset)?;
            let spent = statement.query_map(params![key.as_str(), signed(now)], |row| row.get::<_, bool>(0))?;
            spent.into_iter().try_fold(false, |any, spent| Ok(any | spent?))
        })
        .await
    }

    fn name(&self) -> &'static str {
        NAME
    }

    /// In one transaction.
    async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
        let wanted: Vec<(Key, Quota, u32)> = requests.iter().map(|request| (request.key.clone(), *request.quota, request.cost)).collect();
        let terms: Vec<_> = requests.iter().map(|request| request.quota.terms(request.cost)).collect::<Result<_, _>>()?;
        self.step(move |sql, connection, now| {
            let requests: Vec<_> = wanted.iter().map(|(key, quota, cost)| Request::new(key, quota, *cost)).collect();
            let mut failed = None;
            let savepoint = |what: &str| connection.execute_batch(what);
            savepoint("SAVEPOINT many")?;
            let mut undone = false;
            let decisions = decide_together(&requests, &terms, |at, refused| {
                if refused && !undone {
                    undone = true;
                    failed = failed.take().or(savepoint("ROLLBACK TO many").err().map(Failure::from));
                }
                let cost = if refused { 0 } else { requests[at].cost };
                sql.take(connection, now, requests[at].key, &terms[at], cost).unwrap_or_else(|failure| {
                    failed.get_or_insert(failure);
                    Decision::allow(0, 0, Duration::ZERO) // nobody sees it
                })
            });
            if let Some(failure) = failed {
                return Err(failure);
            }
            if decisions.iter().all(|decision| decision.allowed) {
                savepoint("RELEASE many")?;
                sql.tidy(connection, now)?;
            } else {
                savepoint("ROLLBACK TO many; RELEASE many")?;
                // What had to be put right stays so.
                for ((key, ..), terms) in wanted.iter().zip(&terms) {
                    let _ = sql.take(connection, now, key, terms, 0)?;
                }
            }
            Ok(decisions)
        })
        .await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.step(|sql, connection, _| sql.check_version(connection)).await
    }

    /// Waits for what is being done, and for the thread to let go of the file.
    async fn close(&self) -> Result<(), StoreError> {
        self.worker.close().await
    }
}

impl fmt::Debug for SqliteRateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteRateStore").field("worker", &self.worker).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    async fn store(max_keys: u64) -> (SqliteRateStore, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(1_800_000_000_000));
        let mut builder = SqliteRateStore::builder(":memory:").max_keys(max_keys);
        builder.clock = WallClock::Test(Arc::clone(&clock));
        (builder.open().await.expect("a database in memory"), clock)
    }

    async fn keys(store: &SqliteRateStore) -> i64 {
        let count = |sql: &Sql, connection: &Connection, _| Ok(connection.query_row(&sql.books, [], |row| row.get::<_, i64>(0))?);
        store.step(count).await.expect("books")
    }

    fn key(name: impl fmt::Display) -> Key {
        Key::new(name.to_string()).expect("a key")
    }

    #[tokio::test]
    async fn g70_a_clock_put_back_neither_drains_nor_fills() {
        let (store, clock) = store(100).await;
        for algorithm in Algorithm::ALL {
            let quota = Quota::per_minute(5).algorithm(algorithm);
            assert!(store.acquire(&key("k"), &quota, 3).await.unwrap().allowed);
            clock.fetch_sub(3_600_000, Ordering::SeqCst);
            assert_eq!(store.peek(&key("k"), &quota).await.unwrap().remaining, 2, "{algorithm}");
            assert!(store.acquire(&key("k"), &quota, 2).await.unwrap().allowed, "{algorithm}");
            let refused = store.acquire(&key("k"), &quota, 1).await.unwrap();
            assert!(!refused.allowed && refused.retry_after <= Some(Duration::from_secs(120)), "{algorithm}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn g70_a_refusal_after_the_clock_was_put_back_is_over_in_its_time() {
        let (store, clock) = store(100).await;
        for (at, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            for together in [false, true] {
                let (k, quota) = (key(format!("{at}{together}")), Quota::per_minute(5).algorithm(algorithm));
                let ask = async |cost| {
                    if !together {
                        return store.acquire(&k, &quota, cost).await.unwrap().allowed;
                    }
                    let other = key("other");
                    let both = store.acquire_many(&[Request::new(&other, &quota, 0), Request::new(&k, &quota, cost)]).await.unwrap();
                    both.iter().all(|decision| decision.allowed)
                };
                assert!(ask(5).await);
                clock.fetch_sub(3_600_000, Ordering::SeqCst);
                let mut refused = 0;
                while !ask(1).await {
                    refused += 1;
                    assert!(refused <= 8, "{algorithm}: refused for {refused} times 15 s, after the clock was put back by an hour");
                    clock.fetch_add(15_000, Ordering::SeqCst);
                }
                assert!(refused > 0, "{algorithm}: a clock put back is no burst");
            }
        }
    }

    #[tokio::test]
    async fn g74_what_is_full_again_is_forgotten_and_too_many_keys_cost_the_least_indebted() {
        let (store, clock) = store(10).await;
        let quota = Quota::per_minute(60);
        assert!(store.acquire(&key("spent"), &quota, 60).await.unwrap().allowed);
        for number in 0..30 {
            assert!(store.acquire(&key(number), &quota, 1).await.unwrap().allowed);
        }
        assert_eq!(keys(&store).await, 10);
        assert!(!store.acquire(&key("spent"), &quota, 1).await.unwrap().allowed);
        clock.fetch_add(60_000, Ordering::SeqCst);
        for _ in 0..4 {
            let _ = store.acquire(&key("later"), &quota, 1).await.unwrap();
        }
        assert_eq!(keys(&store).await, 1);
    }

    #[tokio::test]
    async fn h99_a_row_of_somebody_else_is_as_good_as_none() {
        let (store, _) = store(10).await;
        let quota = Quota::per_minute(1);
        let spoil = |_: &Sql, connection: &Connection, _| Ok(connection.execute("UPDATE rate_limits SET state = 'text', idle = -5", [])?);
        assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        assert!(!store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        assert_eq!(store.step(spoil).await.unwrap(), 1);
        assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        assert!(!store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
    }
}
