//! With a clock of the test's own.

use super::*;
use crate::store::{Timestamp, Ttl};
use std::sync::atomic::{AtomicU64, Ordering};

const HOUR: u64 = 3_600_000;

struct Yard {
    dir: PathBuf,
    clock: Arc<AtomicU64>,
}

impl Yard {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("steadfast-{name}-{:016x}", rand::random::<u64>()));
        Self { dir, clock: Arc::new(AtomicU64::new(100 * 365 * 24 * HOUR)) }
    }

    fn builder(&self) -> FileStoreBuilder {
        FileStoreBuilder { clock: WallClock::Test(Arc::clone(&self.clock)), ..FileStore::builder(&self.dir) }
    }

    fn set(&self, millis: i64) {
        let at = self.clock.load(Ordering::SeqCst).saturating_add_signed(millis);
        self.clock.store(at, Ordering::SeqCst);
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn key(raw: &str) -> Key {
    Key::from_text(raw.into())
}

fn ttl(millis: u64) -> SetOptions {
    SetOptions::new().ttl(Duration::from_millis(millis))
}

#[tokio::test]
async fn b29_live_until_its_end_to_the_millisecond() -> Result<(), StoreError> {
    let yard = Yard::new("b29");
    let store = yard.builder().open().await?;
    store.set(&key("k"), "v".into(), ttl(1_000)).await?;
    yard.set(999);
    let entry = store.get(&key("k")).await?;
    assert_eq!(entry.map(|entry| entry.ttl()), Some(Ttl::After(Duration::from_millis(1))));
    assert!(store.exists(&key("k")).await? && store.keys(&Glob::all()).await?.len() == 1);
    yard.set(1);
    assert!(!store.exists(&key("k")).await? && store.get(&key("k")).await?.is_none());
    assert!(store.keys(&Glob::all()).await?.is_empty() && !store.delete(&key("k")).await?);
    assert_eq!((store.stats().expired, store.stats().current_entries), (1, Some(0)));
    Ok(())
}

#[tokio::test]
async fn b31_a_clock_put_back_keeps_nothing_for_longer_than_the_step() -> Result<(), StoreError> {
    let yard = Yard::new("b31");
    let store = yard.builder().open().await?;
    store.set(&key("short"), "v".into(), ttl(1_000)).await?;
    store.set(&key("forever"), "v".into(), SetOptions::new()).await?;
    yard.set(-30_000);
    assert!(store.exists(&key("short")).await?, "two machines are never quite together");
    yard.set(-(HOUR as i64));
    assert!(!store.exists(&key("short")).await?, "h42: a stamp from the future is over");
    assert!(store.exists(&key("forever")).await?);
    yard.set(10 * 365 * 24 * HOUR as i64);
    assert!(store.exists(&key("forever")).await?, "b25: ten years on");
    yard.clock.store(0, Ordering::SeqCst);
    store.set(&key("1970"), "v".into(), ttl(5)).await?;
    assert!(store.exists(&key("1970")).await?);
    Ok(())
}

#[tokio::test]
async fn e4_7_age_is_for_those_without_a_ttl() -> Result<(), StoreError> {
    let yard = Yard::new("age");
    let store = yard.builder().max_age(Duration::from_millis(HOUR)).open().await?;
    store.set(&key("old"), "v".into(), SetOptions::new()).await?;
    store.set(&key("promised"), "v".into(), ttl(2 * HOUR)).await?;
    yard.set(HOUR as i64);
    assert!(!store.exists(&key("old")).await? && store.exists(&key("promised")).await?);
    Ok(())
}

#[tokio::test]
async fn b33_writes_sweep_what_nobody_asks_for() -> Result<(), StoreError> {
    let yard = Yard::new("sweep");
    let store = yard.builder().open().await?;
    for number in 0..10 {
        store.set(&key(&format!("short{number}")), "v".into(), ttl(10)).await?;
    }
    yard.set(10);
    for _ in 0..250 {
        store.set(&key("one"), "v".into(), SetOptions::new()).await?;
    }
    assert_eq!((store.stats().current_entries, store.stats().expired), (Some(1), 10));
    Ok(())
}

#[tokio::test]
async fn e0_38_evicts_down_to_four_fifths_oldest_first() -> Result<(), StoreError> {
    let yard = Yard::new("room");
    let store = yard.builder().max_entries(10).open().await?;
    for number in 0..11 {
        yard.set(1);
        store.set(&key(&format!("k{number}")), "v".into(), if number == 7 { ttl(3) } else { SetOptions::new() }).await?;
    }
    let mut keys = store.keys(&Glob::all()).await?;
    keys.sort();
    // One was over; of the ten left nobody had to go.
    assert_eq!((keys.len(), store.stats().expired, store.stats().evicted_size), (10, 1, 0));
    yard.set(1);
    store.set(&key("last"), "v".into(), SetOptions::new()).await?;
    assert_eq!((store.stats().current_entries, store.stats().evicted_size), (Some(8), 3));
    assert!(store.exists(&key("last")).await? && !store.exists(&key("k0")).await? && store.exists(&key("k3")).await?);
    assert_eq!(yard.clock.load(Ordering::SeqCst), Timestamp::from_millis(100 * 365 * 24 * HOUR + 12).as_millis());
    Ok(())
}
