//! With a clock of the test's own.

use super::*;
use crate::store::Ttl;

const HOUR: u64 = 3_600_000;

fn key(raw: &str) -> Key {
    Key::from_text(raw.into())
}

fn ttl(millis: u64) -> SetOptions {
    SetOptions::new().ttl(Duration::from_millis(millis))
}

fn builder() -> (SqliteStoreBuilder, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1 << 42));
    (SqliteStoreBuilder { clock: WallClock::Test(Arc::clone(&clock)), ..SqliteStore::builder(":memory:") }, clock)
}

#[tokio::test]
async fn b29_live_until_its_end_to_the_millisecond() -> Result<(), StoreError> {
    let (builder, clock) = builder();
    let store = builder.open().await?;
    store.set(&key("k"), "v".into(), ttl(1_000).tag("t")).await?;
    clock.fetch_add(999, Ordering::SeqCst);
    let entry = store.get(&key("k")).await?;
    assert_eq!(entry.map(|entry| entry.ttl()), Some(Ttl::After(Duration::from_millis(1))));
    assert!(store.exists(&key("k")).await? && store.keys(&Glob::all()).await?.len() == 1);
    assert!(!store.set(&key("k"), "w".into(), SetOptions::new().if_absent()).await?);
    clock.fetch_add(1, Ordering::SeqCst);
    assert!(!store.exists(&key("k")).await? && store.get(&key("k")).await?.is_none());
    assert!(store.keys(&Glob::all()).await?.is_empty() && store.delete_tagged("t").await? == 0);
    assert!(store.set(&key("k"), "w".into(), SetOptions::new().if_absent()).await?);
    Ok(())
}

#[tokio::test]
async fn b31_a_clock_put_back_keeps_nothing_for_longer_than_the_step() -> Result<(), StoreError> {
    let (builder, clock) = builder();
    let store = builder.open().await?;
    store.set(&key("short"), "v".into(), ttl(1_000)).await?;
    store.set(&key("forever"), "v".into(), SetOptions::new()).await?;
    clock.fetch_sub(30_000, Ordering::SeqCst);
    assert!(store.exists(&key("short")).await?);
    clock.fetch_sub(HOUR, Ordering::SeqCst);
    assert!(!store.exists(&key("short")).await?, "h42: a stamp from the future is over");
    clock.fetch_add(10 * 365 * 24 * HOUR, Ordering::SeqCst);
    assert!(store.exists(&key("forever")).await?, "b25: ten years on");
    Ok(())
}

#[tokio::test]
async fn b33_writes_free_what_nobody_asks_for() -> Result<(), StoreError> {
    let (builder, clock) = builder();
    let store = builder.open().await?;
    for number in 0..50 {
        store.set(&key(&format!("short{number}")), "v".into(), ttl(10)).await?;
    }
    clock.fetch_add(10, Ordering::SeqCst);
    for _ in 0..10 {
        store.set(&key("one"), "v".into(), SetOptions::new()).await?;
    }
    assert_eq!((store.stats().current_entries, store.stats().expired), (Some(1), 50));
    Ok(())
}

#[tokio::test]
async fn e4_14_evicts_what_is_over_then_the_oldest_down_to_four_fifths() -> Result<(), StoreError> {
    let (builder, clock) = builder();
    let store = builder.max_entries(10).open().await?;
    for number in 0..11 {
        clock.fetch_add(1, Ordering::SeqCst);
        store.set(&key(&format!("k{number}")), "v".into(), if number == 7 { ttl(3) } else { SetOptions::new() }).await?;
    }
    assert_eq!((store.stats().current_entries, store.stats().expired, store.stats().evicted_size), (Some(10), 1, 0));
    store.set(&key("k0"), "again".into(), SetOptions::new()).await?; // the youngest now
    store.set(&key("last"), "v".into(), SetOptions::new()).await?;
    assert_eq!((store.stats().current_entries, store.stats().evicted_size), (Some(8), 3));
    assert!(store.exists(&key("last")).await? && store.exists(&key("k0")).await? && !store.exists(&key("k1")).await?);
    Ok(())
}

#[tokio::test]
async fn the_books_are_the_table() -> Result<(), StoreError> {
    let (builder, _) = builder();
    let store = builder.open().await?;
    for (number, size) in [(1, 10), (2, 500), (1, 0), (3, 7), (2, 20), (1, 99)] {
        store.set(&key(&format!("é{number}")), vec![0; size].into(), SetOptions::new().tag("t")).await?;
        store.delete(&key("é3")).await?;
    }
    let added_up = |_: &Sql, connection: &Connection, _| {
        let sum =
            "SELECT count(*), sum(length(CAST(key AS BLOB)) + length(value)), (SELECT count(*) FROM cache_entries_tags) FROM cache_entries";
        Ok(connection.query_row(sum, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?)
    };
    assert_eq!(store.read(added_up).await?, (2, 3 + 99 + 3 + 20, 2));
    let stats = store.stats();
    assert_eq!((stats.current_entries, stats.current_size_bytes), (Some(2), Some(125)));
    assert_eq!(stats.extra("database_size_bytes"), Some(stats.extra("page_count").unwrap_or(0) * stats.extra("page_size").unwrap_or(0)));
    Ok(())
}
