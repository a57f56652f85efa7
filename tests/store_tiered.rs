//! A near store in front of a far one, and stores by address.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use steadfast::store::{
    AnyStore, CacheStats, Entry, Glob, Key, MemoryStore, SetOptions, Store, StoreError, StoreErrorKind, Tiered, Ttl, connect,
};
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

/// A far store whose answers wait at a gate after they were found, and which may be down.
#[derive(Clone)]
struct Far {
    inner: MemoryStore,
    gate: Arc<Semaphore>,
    gated: Arc<AtomicBool>,
    down: Arc<AtomicBool>,
    gets: Arc<AtomicU32>,
}

impl Far {
    fn new() -> Self {
        Self {
            inner: MemoryStore::new(),
            gate: Arc::new(Semaphore::new(0)),
            gated: Arc::default(),
            down: Arc::default(),
            gets: Arc::default(),
        }
    }

    async fn after<T>(&self, done: T) -> Result<T, StoreError> {
        if self.gated.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        Ok(done)
    }

    fn up(&self) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) { Err(StoreError::new(StoreErrorKind::Unavailable)) } else { Ok(()) }
    }
}

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.up()?;
        self.gets.fetch_add(1, Ordering::SeqCst);
        let found = self.inner.get(key).await?;
        self.after(found).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.up()?;
        let stored = self.inner.set(key, value, options).await?;
        self.after(stored).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.up()?;
        let deleted = self.inner.delete(key).await?;
        self.after(deleted).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.up()?;
        self.inner.clear().await
    }
    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }
}

type Both = Arc<Tiered<MemoryStore, Far>>;

fn both() -> (Both, Far) {
    let far = Far::new();
    (Arc::new(Tiered::new(MemoryStore::new(), far.clone())), far)
}

async fn value(store: &impl Store, raw: &str) -> Option<Bytes> {
    store.get(&key(raw)).await.unwrap().map(|entry| entry.value)
}

async fn left(store: &impl Store, raw: &str) -> Ttl {
    store.get(&key(raw)).await.unwrap().unwrap().ttl()
}

#[tokio::test(start_paused = true)]
async fn e59_what_is_near_never_outlives_what_is_far() {
    for (ttl, near) in [(10, 10), (60, 60), (119, 60), (300, 150)] {
        let (store, far) = both();
        let options = SetOptions::new().ttl(ttl * SECOND);
        store.set(&key("set"), "v".into(), options.clone()).await.unwrap();
        assert_eq!(left(store.near(), "set").await, Ttl::After(near * SECOND), "set for {ttl} s");
        far.set(&key("promoted"), "v".into(), options).await.unwrap();
        tokio::time::sleep(5 * SECOND).await;
        store.get(&key("promoted")).await.unwrap();
        let remaining = ttl - 5;
        let expected = (SECOND * remaining).div_f64(2.0).max(60 * SECOND).min(SECOND * remaining);
        assert_eq!(left(store.near(), "promoted").await, Ttl::After(expected), "what remains of {ttl} s counts");
    }
    let (store, _) = both();
    store.set(&key("k"), "v".into(), SetOptions::new()).await.unwrap();
    assert_eq!(left(store.near(), "k").await, Ttl::Never);
    let store = Tiered::new(MemoryStore::new(), MemoryStore::new()).ratio(0.1).floor(SECOND);
    store.set(&key("k"), "v".into(), SetOptions::new().ttl(100 * SECOND)).await.unwrap();
    assert_eq!(left(store.near(), "k").await, Ttl::After(10 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn e60_near_hits_go_on_when_far_is_down() {
    let (store, far) = both();
    store.set(&key("k"), "v".into(), SetOptions::new()).await.unwrap();
    far.down.store(true, Ordering::SeqCst);
    assert_eq!(value(&store, "k").await, Some("v".into()));
    assert_eq!(store.get(&key("other")).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    // A failed delete is an error, and the near copy is gone all the same.
    assert!(store.delete(&key("k")).await.is_err());
    assert!(!store.near().exists(&key("k")).await.unwrap());
    assert!(store.set(&key("k"), "w".into(), SetOptions::new()).await.is_err());
    assert!(!store.near().exists(&key("k")).await.unwrap(), "what is not far is not near");
    far.down.store(false, Ordering::SeqCst);
    assert_eq!(value(&store, "k").await, Some("v".into()), "by itself");
    let stats = store.stats();
    assert_eq!((stats.hits, stats.misses, stats.extra("near_hits")), (2, 0, Some(1)));
}

#[tokio::test(start_paused = true)]
async fn e60_a_breaker_around_far_leaves_it_alone_and_comes_back_by_itself() {
    use steadfast::{CircuitBreaker, Pipeline, RejectedKind};
    let open_for = 10 * SECOND;
    let careful = Pipeline::builder("far").circuit_breaker(CircuitBreaker::consecutive_failures(3).open_for(open_for)).build().unwrap();
    let far = Far::new();
    let store = Tiered::new(MemoryStore::new(), far.clone().guarded(careful));
    store.set(&key("near"), "v".into(), SetOptions::new()).await.unwrap();
    far.inner.set(&key("far"), "v".into(), SetOptions::new()).await.unwrap();
    far.down.store(true, Ordering::SeqCst);
    let mut kinds = Vec::new();
    for _ in 0..6 {
        assert_eq!(value(&store, "near").await, Some("v".into()), "near hits go on");
        let error = store.get(&key("far")).await.unwrap_err(); // which a cache above takes to its loader
        kinds.push(error.rejected().map(|rejected| rejected.kind()));
    }
    assert_eq!(kinds, [vec![None; 3], vec![Some(RejectedKind::CircuitOpen); 3]].concat());
    far.down.store(false, Ordering::SeqCst);
    tokio::time::sleep(open_for).await;
    assert_eq!(value(&store, "far").await, Some("v".into()));
    assert!(store.near().exists(&key("far")).await.unwrap());
}

/// Begins a get that has its answer from far, and is about to keep it near.
async fn about_to_promote(store: &Both, far: &Far) -> tokio::task::JoinHandle<Option<Bytes>> {
    far.inner.set(&key("k"), "old".into(), SetOptions::new()).await.unwrap();
    far.gated.store(true, Ordering::SeqCst);
    let get = tokio::spawn({
        let store = Arc::clone(store);
        async move { value(&store, "k").await }
    });
    let gets = far.gets.load(Ordering::SeqCst);
    while far.gets.load(Ordering::SeqCst) == gets {
        tokio::task::yield_now().await;
    }
    far.gated.store(false, Ordering::SeqCst);
    get
}

#[tokio::test(start_paused = true)]
async fn e53_a_promotion_brings_nothing_back() {
    type Change = fn(Both) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
    let changes: [(&str, Change, Option<&str>); 6] = [
        ("delete", |store| Box::pin(async move { assert!(store.delete(&key("k")).await.unwrap()) }), None),
        ("clear", |store| Box::pin(async move { assert_eq!(store.clear().await, Ok(1)) }), None),
        (
            "set",
            |store| Box::pin(async move { assert!(store.set(&key("k"), "new".into(), SetOptions::new()).await.unwrap()) }),
            Some("new"),
        ),
        (
            "set_many",
            |store| Box::pin(async move { assert_eq!(store.set_many(&[(key("k"), "new".into())], SetOptions::new()).await, Ok(1)) }),
            None,
        ),
        ("forget_near", |store| Box::pin(async move { store.forget_near(&key("k")).await.unwrap() }), None),
        ("clear_near", |store| Box::pin(async move { store.clear_near().await.unwrap() }), None),
    ];
    for (what, change, near) in changes {
        let (store, far) = both();
        let get = about_to_promote(&store, &far).await;
        change(Arc::clone(&store)).await;
        far.gate.add_permits(1);
        assert_eq!(get.await.unwrap(), Some("old".into()), "{what}: who asked before gets what was there");
        assert_eq!(value(store.near(), "k").await, near.map(Bytes::from), "{what}: but it is not kept");
    }
}

#[tokio::test(start_paused = true)]
async fn e53_while_a_change_is_under_way_nothing_near_is_read() {
    let (store, far) = both();
    store.set(&key("k"), "old".into(), SetOptions::new()).await.unwrap();
    far.gated.store(true, Ordering::SeqCst);
    let delete = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.delete(&key("k")).await }
    });
    tokio::task::yield_now().await;
    far.gated.store(false, Ordering::SeqCst);
    assert_eq!(value(&store, "k").await, None, "it is gone far, and that counts");
    far.gate.add_permits(1);
    assert!(delete.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn e53_of_two_sets_at_once_the_near_copy_is_not_the_older() {
    let (store, far) = both();
    far.gated.store(true, Ordering::SeqCst);
    let set = |value: &'static str| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.set(&key("k"), value.into(), SetOptions::new()).await })
    };
    let first = set("first");
    tokio::task::yield_now().await; // the first is stored far, and has not heard so
    far.gated.store(false, Ordering::SeqCst);
    assert!(set("second").await.unwrap().unwrap());
    far.gate.add_permits(1);
    assert!(first.await.unwrap().unwrap());
    assert_eq!(value(&store, "k").await, Some("second".into()));
}

#[tokio::test(start_paused = true)]
async fn h92_a_delete_dropped_half_way_leaves_no_stale_copy() {
    let (store, far) = both();
    store.set(&key("k"), "old".into(), SetOptions::new()).await.unwrap();
    far.gated.store(true, Ordering::SeqCst);
    let gone = tokio::time::timeout(SECOND, store.delete(&key("k"))).await;
    assert!(gone.is_err(), "deleted far, and then nobody waited");
    far.gated.store(false, Ordering::SeqCst);
    assert!(store.near().exists(&key("k")).await.unwrap());
    assert_eq!(value(&store, "k").await, None);
    assert!(!store.near().exists(&key("k")).await.unwrap());
    store.set(&key("k"), "new".into(), SetOptions::new()).await.unwrap();
    let gets = far.gets.load(Ordering::SeqCst);
    assert_eq!((value(&store, "k").await, far.gets.load(Ordering::SeqCst)), (Some("new".into()), gets), "near again");
}

#[tokio::test]
async fn patterns_and_tags_reach_both() {
    let store = Tiered::new(MemoryStore::new(), MemoryStore::new());
    for name in ["a:1", "a:2", "b:1"] {
        store.set(&key(name), "v".into(), SetOptions::new().tag("t")).await.unwrap();
    }
    assert_eq!(store.delete_matching(&Glob::new("a:*")).await.unwrap(), 2);
    assert_eq!((value(&store, "a:1").await, value(&store, "b:1").await), (None, Some("v".into())));
    assert_eq!(store.delete_tagged("t").await.unwrap(), 1);
    assert_eq!(value(&store, "b:1").await, None);
}

#[cfg(feature = "testing")]
#[tokio::test(start_paused = true)]
async fn the_tiered_store_conforms() {
    use steadfast::store::LocalBackplane;
    use steadfast::testing::conformance::{self, Setup, Time};
    for among_others in [false, true] {
        let suite = conformance::stores(move |setup: Setup| async move {
            let mut far = MemoryStore::builder();
            if let Some(bytes) = setup.max_value_bytes {
                far = far.max_value_bytes(bytes);
            }
            let possible = setup.max_entries.is_none() && setup.max_size_bytes.is_none();
            let store = possible.then(|| Tiered::new(MemoryStore::new(), far.build().unwrap()))?;
            Some(if among_others { store.backplane(LocalBackplane::new()) } else { store })
        });
        suite.time(Time::Virtual).run().await.assert();
    }
}

#[tokio::test]
async fn e0_29_stores_have_addresses() {
    let store: AnyStore = connect("memory:?max_entries=1&max_size_bytes=100000").await.unwrap();
    assert_eq!((store.name(), store.stats().max_entries, store.stats().max_size_bytes), ("memory", Some(1), Some(100_000)));
    for (bad, field) in [
        ("", "address"),
        ("memory", "address"),
        ("redis", "address"),
        ("gopher://hunter2@host", "address"),
        ("memory:hunter2", "address"),
        ("memory:?max_entries=hunter2", "max_entries"),
        ("memory:?max_entries=0", "max_entries"),
        ("memory:?token=hunter2", "token"),
    ] {
        let error = connect(bad).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::InvalidConfig);
        assert!(error.detail().contains(&format!("{field}: ")) && !error.to_string().contains("hunter2"), "{bad}: {error}");
    }
}

#[cfg(all(feature = "file", feature = "sqlite", feature = "http-store"))]
#[tokio::test]
async fn e0_29_every_store_has_an_address() {
    let dir = std::env::temp_dir().join(format!("steadfast-connect-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let at = dir.display();
    for (address, name) in [
        (format!("file:{at}/files?durable&max_entries=10"), "file"),
        (format!("file://{at}/files"), "file"),
        (format!("sqlite:{at}/cache.db?table=mine&busy_timeout_ms=100&durable=false"), "sqlite"),
    ] {
        let store = connect(&address).await.unwrap();
        assert_eq!(store.name(), name);
        store.probe().await.unwrap();
        store.set(&key("k"), "v".into(), SetOptions::new()).await.unwrap();
        store.close().await.unwrap();
    }
    assert_eq!(connect("http://user:hunter2@127.0.0.1:1").await.unwrap().name(), "http");
    for bad in ["file:", "sqlite:", "sqlite:x?table=1x", "file:x?durable=perhaps"] {
        assert_eq!(connect(bad).await.unwrap_err().kind(), StoreErrorKind::InvalidConfig, "{bad}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}
