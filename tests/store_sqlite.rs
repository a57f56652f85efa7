//! The store in a SQLite file, with real processes on one file.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod processes;

use bytes::Bytes;
use processes::{Dir, Process};
use rusqlite::Connection;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use steadfast::store::rate::{SqliteRateStore, SqliteSemaphoreStore};
use steadfast::store::{Glob, Key, SetOptions, SqliteStore, SqliteStoreBuilder, Store, StoreErrorKind};

impl Dir {
    fn file(&self) -> PathBuf {
        self.join("cache.db")
    }

    fn store(&self) -> SqliteStoreBuilder {
        // A loaded machine may keep a writer elsewhere from running for a while.
        SqliteStore::builder(self.file()).busy_timeout(Duration::from_secs(10)).max_entries(1_000_000)
    }

    fn set_aside(&self) -> usize {
        fs::read_dir(self.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".corrupt-"))
            .count()
    }
}

fn key(raw: impl AsRef<[u8]>) -> Key {
    Key::new(raw).unwrap()
}

async fn put(store: &SqliteStore, raw: &str, value: impl Into<Bytes>) {
    assert!(store.set(&key(raw), value.into(), SetOptions::new()).await.unwrap());
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sqlite_store_conforms() {
    use steadfast::testing::conformance::{self, Setup};
    let dir = std::sync::Arc::new(Dir::new("conform"));
    let number = std::sync::Arc::new(AtomicU64::new(0));
    let suite = conformance::stores(move |setup: Setup| {
        let file = dir.join(format!("{}.db", number.fetch_add(1, Ordering::Relaxed)));
        let mut builder = SqliteStore::builder(file).max_entries(setup.max_entries.unwrap_or(1_000_000));
        if let Some(bytes) = setup.max_value_bytes {
            builder = builder.max_value_bytes(bytes);
        }
        let possible = setup.max_size_bytes.is_none();
        async move { if possible { builder.open().await.ok() } else { None } }
    });
    let findings = suite.run().await;
    findings.assert();
    assert_eq!(findings.skipped(), ["C38"], "it is bounded by entries");
}

#[tokio::test]
async fn f65_a_hundred_thousand_keys_are_walked_through_a_page_at_a_time() {
    let dir = Dir::new("walk");
    let store = dir.store().open().await.unwrap();
    let keys: Vec<Key> = (0..100_000).map(|number| key(format!("{}:{number:06}", if number % 2 == 0 { "even" } else { "odd" }))).collect();
    for some in keys.chunks(10_000) {
        let items: Vec<_> = some.iter().map(|key| (key.clone(), Bytes::from_static(b"v"))).collect();
        assert_eq!(store.set_many(&items, SetOptions::new()).await.unwrap(), 10_000);
    }
    let (mut from, mut pages, mut found) = (None, 0, Vec::new());
    loop {
        let page = store.keys_page(&Glob::new("odd:*"), from.as_ref()).await.unwrap();
        assert!(page.keys.len() <= 1_000);
        pages += 1;
        found.extend(page.keys);
        let Some(next) = page.next else { break };
        // The very key it would go on after.
        assert!(store.delete(&key(next.as_str())).await.unwrap());
        from = Some(next);
    }
    assert_eq!((pages, found.len()), (51, 50_000), "each once; the last page is empty, as a full one does not know it is the last");
    assert!(found.is_sorted_by_key(Key::as_str));
    let mut walk = store.walk_keys(Glob::new("*:00000?"));
    let mut some = Vec::new();
    while let Some(key) = walk.next().await.unwrap() {
        some.push(key);
    }
    assert_eq!(some.len(), 10);
}

#[tokio::test]
async fn e4_12_a_table_name_is_no_sql() {
    for bad in ["", "1a", "a b", "a\"; DROP TABLE x; --", "é", "sqlite_x", &"a".repeat(64)] {
        let error = SqliteStore::builder(":memory:").table(bad).max_entries(0).open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::InvalidConfig);
        assert!(error.detail().contains("table: ") && error.detail().contains("max_entries: "), "{error}");
    }
    for good in ["order", "_", "select", &"a".repeat(63)] {
        let store = SqliteStore::builder(":memory:").table(good).open().await.unwrap();
        put(&store, "'; DROP TABLE cache_entries; --", "v").await;
        assert_eq!(store.keys(&Glob::new("';*")).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn two_tables_of_one_file_are_two_stores() {
    let dir = Dir::new("tables");
    let (one, other) = (dir.store().table("one").open().await.unwrap(), dir.store().table("other").open().await.unwrap());
    put(&one, "k", "1").await;
    put(&other, "k", "2").await;
    assert_eq!(one.clear().await.unwrap(), 1);
    assert_eq!(other.get(&key("k")).await.unwrap().unwrap().value, "2");
}

#[tokio::test]
async fn a88_what_is_no_database_stays_and_is_an_error() {
    let dir = Dir::new("garbage");
    let letter = "Dear Sir or Madam, ".repeat(1_000);
    fs::write(dir.file(), &letter).unwrap();
    assert_eq!(dir.store().open().await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert_eq!((fs::read_to_string(dir.file()).unwrap() == letter, dir.set_aside()), (true, 0));
}

#[tokio::test]
async fn h121_a_damaged_database_is_set_aside() {
    for round in 0..10_usize {
        let dir = Dir::new("damage");
        let store = dir.store().open().await.unwrap();
        for number in 0..200 {
            put(&store, &format!("k{number}"), vec![1; 500]).await;
        }
        store.close().await.unwrap();
        let mut bytes = fs::read(dir.file()).unwrap();
        let mut at = 99_991 * (round + 1);
        for _ in 0..100 {
            at = (at * 31 + 17) % bytes.len();
            bytes[at.max(16)] ^= 0x55; // a database still, by its first 16 bytes
        }
        fs::write(dir.file(), bytes).unwrap();
        let store = dir.store().open().await.unwrap();
        for number in 0..200 {
            let read = store.get(&key(format!("k{number}"))).await;
            assert!(read.is_ok(), "round {round}: {read:?}");
        }
        put(&store, "new", "v").await;
        assert_eq!(store.get(&key("new")).await.unwrap().unwrap().value, "v");
    }
}

#[tokio::test]
async fn a88_limits_and_places_of_a_version_to_come_are_refused() {
    let dir = Dir::new("newer_limits");
    SqliteRateStore::builder(dir.file()).open().await.unwrap();
    SqliteSemaphoreStore::builder(dir.file()).open().await.unwrap();
    let connection = Connection::open(dir.file()).unwrap();
    for table in ["rate_limits_books", "places_books"] {
        connection.execute(&format!("UPDATE {table} SET version = 2"), []).unwrap();
    }
    let errors =
        [SqliteRateStore::builder(dir.file()).open().await.map(drop), SqliteSemaphoreStore::builder(dir.file()).open().await.map(drop)];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), StoreErrorKind::NewerVersion, "{error}");
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}

#[tokio::test]
async fn a88_a_table_of_a_version_to_come_is_refused() {
    let dir = Dir::new("newer");
    dir.store().open().await.unwrap().close().await.unwrap();
    Connection::open(dir.file()).unwrap().execute("UPDATE cache_entries_books SET version = 2", []).unwrap();
    let error = dir.store().open().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NewerVersion, "{error}");
}

#[tokio::test]
async fn a88_no_directory_no_database() {
    let error = SqliteStore::builder("/nowhere/at/all/cache.db").open().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (StoreErrorKind::Unavailable, false));
    assert!(!error.to_string().contains("nowhere"), "{error}");
}

/// Root may write to what is read-only, so for root a file system is made so, if that is allowed.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a88_what_may_not_be_written_to_is_an_error_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};
    struct Unmount<'a>(&'a std::path::Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("-l").arg(self.0).stderr(Stdio::null()).status();
        }
    }
    let mount = |options: &str, dir: &Dir| {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir.path()).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    };
    let dir = Dir::new("readonly");
    let mounted = mount("size=8m,mode=700", &dir);
    let _unmount = mounted.then(|| Unmount(dir.path()));
    let store = dir.store().open().await.unwrap();
    put(&store, "k", "v").await;
    store.close().await.unwrap();
    if !(mounted && mount("remount,ro", &dir)) {
        let modes = |file, folder| {
            fs::set_permissions(dir.file(), fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(folder)).unwrap();
        };
        modes(0o400, 0o500);
        if fs::write(dir.join("probe"), "").is_ok() {
            eprintln!("SKIP: root, and no right to mount a file system");
            return;
        }
        let error = dir.store().open().await.unwrap_err();
        modes(0o600, 0o700);
        assert_eq!(error.kind(), StoreErrorKind::ReadOnly, "{error}");
        return;
    }
    let error = dir.store().open().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (StoreErrorKind::ReadOnly, false), "{error}");
    assert_eq!(dir.set_aside(), 0, "and nothing is taken for damage");
}

#[tokio::test]
async fn h121_a_lock_held_elsewhere_is_waited_for_no_longer_than_said() {
    let dir = Dir::new("locked");
    let store = SqliteStore::builder(dir.file()).open().await.unwrap();
    put(&store, "k", "v").await;
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let error = store.set(&key("k"), "w".into(), SetOptions::new()).await.unwrap_err();
    let waited = begun.elapsed();
    assert_eq!((error.kind(), error.is_retriable()), (StoreErrorKind::Busy, true));
    assert!(waited >= Duration::from_millis(50) && waited < Duration::from_secs(5), "{waited:?}");
    assert_eq!(store.get(&key("k")).await.unwrap().unwrap().value, "v", "readers wait for nobody");
    other.execute_batch("COMMIT").unwrap();
    put(&store, "k", "w").await;
}

#[tokio::test]
async fn a87_a_long_reader_starves_nobody_and_the_log_is_folded_in() {
    let dir = Dir::new("reader");
    let store = dir.store().open().await.unwrap();
    put(&store, "k", "old").await;
    let other = Connection::open(dir.file()).unwrap();
    other.execute_batch("BEGIN; SELECT * FROM cache_entries;").unwrap();
    for number in 0..200 {
        put(&store, "k", format!("{number}")).await;
    }
    let seen: Vec<u8> = other.query_row("SELECT value FROM cache_entries", [], |row| row.get(0)).unwrap();
    assert_eq!(seen, b"old", "and it sees what it saw");
    other.execute_batch("COMMIT").unwrap();
    drop(other);
    for number in 0..300 {
        put(&store, &format!("k{number}"), vec![1; 50_000]).await;
    }
    let log = fs::metadata(dir.join("cache.db-wal")).unwrap().len();
    assert!(log < 10 << 20, "a log of {log} bytes after 15 MB of writes");
    store.close().await.unwrap();
    assert!(!dir.join("cache.db-wal").exists(), "closed, there is one file");
}

#[tokio::test]
async fn drop_ends_the_thread_and_lets_go_of_the_file() {
    fn threads() -> usize {
        fs::read_dir("/proc/self/task").map_or(0, |tasks| {
            tasks
                .filter(|task| {
                    fs::read_to_string(task.as_ref().unwrap().path().join("comm")).is_ok_and(|name| name.starts_with("steadfast-sqlit"))
                })
                .count()
        })
    }
    let dir = Dir::new("drop");
    let store = dir.store().open().await.unwrap();
    put(&store, "k", "v").await;
    drop((store.clone(), store));
    let patience = Instant::now();
    // Other tests of this binary have such threads, too; this one's is gone when the log is.
    while dir.join("cache.db-wal").exists() && patience.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!dir.join("cache.db-wal").exists(), "{} threads", threads());
}

// ------------------------------------------------------------------ other processes

const WRITERS: u32 = 4;
const EACH: u32 = 250;

fn child(role: &str, dir: &Dir) -> Process {
    Process::start("in_another_process", role, [("STEADFAST_DIR", dir.path())])
}

/// Not a test of its own: what a child of the tests below does.
#[test]
fn in_another_process() {
    let Some(role) = processes::role() else { return };
    let dir = Dir::of_parent(processes::told("STEADFAST_DIR"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            // A store each: a connection each.
            let store = dir.store().open().await.unwrap();
            let role = role.clone();
            tasks.spawn(async move {
                match role.as_str() {
                    "count" => {
                        let mut won = 0;
                        for number in 0..EACH {
                            put(&store, &format!("{}:{writer}:{number}", std::process::id()), "v").await;
                            won += u32::from(
                                store.set(&key(format!("once:{number}")), "v".into(), SetOptions::new().if_absent()).await.unwrap(),
                            );
                        }
                        put(&store, &format!("won:{}:{writer}", std::process::id()), won.to_string()).await;
                    }
                    // Until it is killed.
                    "batches" => {
                        for round in 0_u32.. {
                            let items: Vec<_> =
                                (0..20).map(|n| (key(format!("batch:{writer}:{n}")), Bytes::from(format!("{round}")))).collect();
                            store.set_many(&items, SetOptions::new()).await.unwrap();
                        }
                    }
                    role => panic!("no role {role}"),
                }
            });
        }
        tasks.join_all().await;
    });
}

#[tokio::test]
async fn a87_two_processes_of_four_writers_lose_nothing_and_are_never_busy() {
    let dir = Dir::new("two");
    for child in [child("count", &dir), child("count", &dir)] {
        child.said();
    }
    let store = dir.store().open().await.unwrap();
    let won = store.keys(&Glob::new("won:*")).await.unwrap();
    let mut sum = 0;
    for key in &won {
        sum += std::str::from_utf8(&store.get(key).await.unwrap().unwrap().value).unwrap().parse::<u32>().unwrap();
    }
    assert_eq!((won.len(), sum), (8, EACH), "a24: one winner each, of 8 writers in 2 processes");
    let expected = u64::from(2 * WRITERS * EACH + EACH + 8);
    assert_eq!(store.stats().current_entries, Some(expected), "the counter");
    assert_eq!(store.clear().await.unwrap(), expected, "what is there");
}

#[tokio::test]
async fn a88_a_killed_writer_leaves_whole_batches() {
    let dir = Dir::new("kill");
    let store = dir.store().open().await.unwrap();
    let kills: u64 = std::env::var("STEADFAST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    for number in 0..kills {
        let writer = child("batches", &dir);
        let before = newest(&store).await;
        let patience = Instant::now();
        while newest(&store).await == before && patience.elapsed() < Duration::from_secs(20) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(number * 3 % 30)).await;
        writer.kill();
        for writer in 0..WRITERS {
            let keys: Vec<_> = (0..20).map(|n| key(format!("batch:{writer}:{n}"))).collect();
            let found = store.get_many(&keys).await.unwrap();
            let rounds: std::collections::HashSet<_> = found.values().map(|entry| entry.value.clone()).collect();
            assert!(found.is_empty() || (found.len() == 20 && rounds.len() == 1), "kill {number}: {} of 20, {rounds:?}", found.len());
        }
    }
    put(&store, "k", "v").await;
    let whole: String = Connection::open(dir.file()).unwrap().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!((whole.as_str(), dir.set_aside()), ("ok", 0), "e17");
    assert_eq!(store.stats().current_entries, Some(store.clear().await.unwrap()));
}

/// When the newest value was stored.
async fn newest(store: &SqliteStore) -> Option<u64> {
    let found = store.get_many(&(0..WRITERS).map(|writer| key(format!("batch:{writer}:0"))).collect::<Vec<_>>()).await.unwrap();
    found.values().map(|entry| entry.created_at.as_millis()).max()
}
