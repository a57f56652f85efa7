//! What goes around a store: soft failure, namespaces, observers, pipelines.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::store::{
    AnyStore, CacheStats, Entry, Glob, Key, MemoryStore, SetOptions, Store, StoreError, StoreErrorKind, StoreEvent, Timestamp, Ttl,
};
use steadfast::{CircuitBreaker, Pipeline, RejectedKind, Retry, Verdict};

const MS: Duration = Duration::from_millis(1);

/// Fails the first so many operations, and counts all.
#[derive(Clone)]
struct Flaky {
    inner: MemoryStore,
    left: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
    kind: StoreErrorKind,
    hangs: bool,
}

impl Flaky {
    fn new(failures: u32, kind: StoreErrorKind) -> Self {
        Self { inner: MemoryStore::new(), left: Arc::new(failures.into()), calls: Arc::default(), kind, hangs: false }
    }

    async fn fail(&self) -> Result<(), StoreError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let failing = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if failing && self.hangs {
            std::future::pending::<()>().await;
        }
        if failing { Err(StoreError::new(self.kind)) } else { Ok(()) }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Store for Flaky {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.fail().await?;
        self.inner.get(key).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.fail().await?;
        self.inner.set(key, value, options).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.fail().await?;
        self.inner.delete(key).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.fail().await?;
        self.inner.clear().await
    }
    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }
}

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

#[tokio::test]
async fn a91_fail_soft_finds_nothing_and_counts() {
    let down = Flaky::new(u32::MAX, StoreErrorKind::Unavailable).fail_soft();
    assert_eq!(down.get(&key("k")).await, Ok(None));
    assert_eq!(down.set(&key("k"), "v".into(), SetOptions::new()).await, Ok(false));
    assert_eq!(down.get_many(&[key("k")]).await.map(|found| found.len()), Ok(0));
    assert_eq!(down.exists(&key("k")).await, Ok(false));
    assert_eq!(down.stats().errors, 4);
    assert!(down.delete(&key("k")).await.is_err(), "what should be gone and is not is told");
    assert!(down.clear().await.is_err() && down.probe().await.is_err());
    assert_eq!(down.stats().errors, 4);
    assert_eq!(down.set_many(&[(key("k"), "v".into())], SetOptions::new()).await, Ok(0));
    assert_eq!(down.stats().errors, 5);
    assert!(down.delete_many(&[key("k")]).await.is_err());
    // What cannot be done by this store at all is no outage, and nobody is told that it was done.
    assert!(down.delete_matching(&Glob::all()).await.is_err() && down.delete_tagged("tag").await.is_err());
    assert!(down.keys(&Glob::all()).await.is_err() && down.keys_page(&Glob::all(), None).await.is_err());
    assert_eq!(down.stats().errors, 5);
    down.reset_stats();
    assert_eq!(down.stats().errors, 0);
}

#[tokio::test(start_paused = true)]
async fn a91_fail_soft_does_not_swallow_a_cancellation() {
    let store = Flaky { hangs: true, ..Flaky::new(1, StoreErrorKind::Timeout) }.fail_soft();
    assert!(tokio::time::timeout(MS, store.get(&key("k"))).await.is_err());
    assert_eq!(store.get(&key("k")).await, Ok(None));
    assert_eq!(store.stats().errors, 0);
}

#[tokio::test(start_paused = true)]
async fn e0_1_guarded_retries_what_may_pass() {
    let pipeline = Pipeline::builder("store").retry(Retry::constant(3, MS)).build().unwrap();
    let flaky = Flaky::new(2, StoreErrorKind::Unavailable);
    let store = flaky.clone().guarded(pipeline.clone());
    assert_eq!(store.set(&key("k"), "v".into(), SetOptions::new().metadata("a", "b")).await, Ok(true));
    assert_eq!(flaky.calls(), 3);
    assert!(store.get(&key("k")).await.unwrap().unwrap().metadata.is_some());
    // A value too large will be too large again.
    let flaky = Flaky::new(9, StoreErrorKind::TooLarge);
    let store = flaky.clone().guarded(pipeline);
    assert_eq!(store.set(&key("k"), "v".into(), SetOptions::new()).await.map_err(|e| e.kind()), Err(StoreErrorKind::TooLarge));
    assert_eq!(flaky.calls(), 1);
    // Unless the pipeline's own judge says otherwise.
    let stubborn = Pipeline::builder("store").retry(Retry::constant(2, MS)).classify(|_: &StoreError| Verdict::transient());
    let flaky = Flaky::new(2, StoreErrorKind::TooLarge);
    assert_eq!(flaky.clone().guarded(stubborn.build().unwrap()).delete(&key("k")).await, Ok(false));
    assert_eq!(flaky.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn guarded_says_what_the_policies_said() {
    let pipeline = Pipeline::builder("store").circuit_breaker(CircuitBreaker::consecutive_failures(2)).attempt_timeout(10 * MS);
    let flaky = Flaky { hangs: true, ..Flaky::new(u32::MAX, StoreErrorKind::Timeout) };
    let store = flaky.clone().guarded(pipeline.build().unwrap());
    for expected in [RejectedKind::Timeout, RejectedKind::Timeout, RejectedKind::CircuitOpen] {
        let error = store.get(&key("k")).await.unwrap_err();
        assert_eq!((error.kind(), error.rejected().map(|rejected| rejected.kind())), (StoreErrorKind::Rejected, Some(expected)));
    }
    assert_eq!(flaky.calls(), 2);
    assert!(store.get(&key("k")).await.unwrap_err().retry_after().is_some());
    store.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_first_set_that_hung_is_not_sent_again() {
    let pipeline = Pipeline::builder("store").retry(Retry::constant(3, MS)).attempt_timeout(10 * MS).build().unwrap();
    let flaky = Flaky { hangs: true, ..Flaky::new(1, StoreErrorKind::Timeout) };
    let store = flaky.clone().guarded(pipeline);
    assert!(store.set(&key("k"), "v".into(), SetOptions::new().if_absent()).await.is_err());
    assert_eq!(flaky.calls(), 1, "the second would find the first");
    flaky.left.store(1, Ordering::Relaxed);
    assert_eq!(store.set(&key("k"), "v".into(), SetOptions::new()).await, Ok(true));
}

#[tokio::test]
async fn h95_a_probe_that_reads_something_else_says_so() {
    /// Gives back what it likes.
    struct Liar(Option<&'static str>);
    impl Store for Liar {
        async fn get(&self, _: &Key) -> Result<Option<Entry>, StoreError> {
            Ok(self.0.map(|value| Entry::new(value.into(), Ttl::Never, Timestamp::now())))
        }
        async fn set(&self, _: &Key, _: Bytes, _: SetOptions) -> Result<bool, StoreError> {
            Ok(true)
        }
        async fn delete(&self, _: &Key) -> Result<bool, StoreError> {
            Ok(true)
        }
        async fn clear(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
        fn stats(&self) -> CacheStats {
            CacheStats::default()
        }
    }
    for (answer, word) in [(Some("something else"), "another value"), (None, "did not find")] {
        let error = Liar(answer).probe().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Corrupt);
        assert!(error.detail().contains(word), "{error}");
        assert_eq!(Liar(answer).fail_soft().probe().await, Err(error), "and nobody makes less of it");
    }
}

#[tokio::test(start_paused = true)]
async fn e0_5_reads_and_writes_have_pipelines_of_their_own() {
    let with = |retries| Pipeline::builder("store").retry(Retry::constant(retries, MS)).build().unwrap();
    let flaky = Flaky::new(u32::MAX, StoreErrorKind::Busy);
    let store = flaky.clone().guarded_rw(with(3), with(1));
    store.get(&key("k")).await.unwrap_err();
    assert_eq!(flaky.calls(), 4);
    store.set(&key("k"), "v".into(), SetOptions::new()).await.unwrap_err();
    assert_eq!(flaky.calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn e0_31_observers_are_told_without_the_key() {
    let lines: Arc<Mutex<Vec<StoreEvent>>> = Arc::default();
    let seen = Arc::clone(&lines);
    let store = Flaky::new(1, StoreErrorKind::Full).observed(move |event: &StoreEvent| seen.lock().unwrap().push(event.clone()));
    let alice = key("alice");
    store.get(&alice).await.unwrap_err();
    store.set(&alice, "v".into(), SetOptions::new()).await.unwrap();
    store.get_many(&[alice.clone(), key("bob")]).await.unwrap();
    let lines: Vec<String> = lines.lock().unwrap().iter().map(ToString::to_string).collect();
    let print = alice.fingerprint();
    let expected =
        [format!("custom get #{print}: full after 0 ns"), format!("custom set #{print}: 1 in 0 ns"), "custom get_many: 1 in 0 ns".into()];
    assert_eq!(lines, expected);
    let panicking = MemoryStore::new().observed(|_: &StoreEvent| panic!("observer"));
    assert_eq!(panicking.get(&alice).await, Ok(None), "an observer's panic is its own");
}

#[tokio::test]
async fn h104_no_tenant_reads_another() {
    let store = Arc::new(MemoryStore::new());
    let (one, other) = (Arc::clone(&store).namespace("a:b"), Arc::clone(&store).namespace("a"));
    one.set(&key("c"), "secret".into(), SetOptions::new().tag("t")).await.unwrap();
    assert_eq!(other.get(&key("b:c")).await, Ok(None));
    assert_eq!(other.delete_tagged("t").await, Ok(0), "tags are the namespace's own");
    assert_eq!(other.clear().await, Ok(0));
    assert_eq!(one.keys(&Glob::new("?")).await.map(|keys| keys.len()), Ok(1));
    assert_eq!(one.delete_tagged("t").await, Ok(1));
    let stats = (other.stats().misses, one.stats().sets, one.stats().deletes);
    assert_eq!(stats, (1, 1, 1));
}

#[tokio::test]
async fn wrappers_stack_and_are_objects() {
    let store: AnyStore = MemoryStore::new().fail_soft().namespace("users").into_any();
    let stores: Vec<AnyStore> = vec![store.clone(), store.into_any(), MemoryStore::new().into_any()];
    for store in &stores {
        assert_eq!((store.name(), store.capabilities().patterns), ("memory", true));
        store.probe().await.unwrap();
    }
    stores[0].set(&key("k"), "v".into(), SetOptions::new()).await.unwrap();
    assert!(stores[1].exists(&key("k")).await.unwrap() && !stores[2].exists(&key("k")).await.unwrap());
}

#[tokio::test]
async fn a_store_of_five_methods_says_what_it_cannot() {
    let store = Flaky::new(0, StoreErrorKind::Other);
    assert_eq!(store.keys(&Glob::all()).await.map_err(|e| e.kind()), Err(StoreErrorKind::Unsupported));
    assert_eq!(store.delete_tagged("t").await.map_err(|e| e.kind()), Err(StoreErrorKind::Unsupported));
    assert_eq!(store.purge_expired().await, Ok(0));
    store.probe().await.unwrap();
    assert_eq!(store.stats().current_entries, Some(0), "a probe cleans up");
}

#[tokio::test(start_paused = true)]
async fn b32_a_million_ended_entries_do_not_stop_the_store() {
    let store = MemoryStore::builder().max_size_bytes(u64::MAX).build().unwrap();
    for number in 0..50_000 {
        store.set(&key(&number.to_string()), "v".into(), SetOptions::new().ttl(MS)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(60 * 60 * 24 * 365)).await;
    let held = |store: &MemoryStore| format!("{store:?}");
    assert!(held(&store).contains("entries: Some(50000)"));
    store.get(&key("0")).await.unwrap();
    assert!(held(&store).contains("entries: Some(49984)"), "one operation frees a few: {}", held(&store));
    let stats = store.stats();
    assert_eq!((stats.current_entries, stats.current_size_bytes, stats.expired, stats.evicted_size), (Some(0), Some(0), 50_000, 0));
}

#[tokio::test]
async fn what_is_dropped_may_use_the_store() {
    /// Bytes with an owner who has something to say when they go.
    struct Owner(MemoryStore, Arc<AtomicU32>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"v"
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            let _ = (self.0.stats(), self.1.fetch_add(1, Ordering::Relaxed)); // would hang under the lock
        }
    }
    let store = MemoryStore::builder().max_entries(2).build().unwrap();
    let dropped = Arc::<AtomicU32>::default();
    for number in 0..5 {
        let value = Bytes::from_owner(Owner(store.clone(), Arc::clone(&dropped)));
        store.set(&key(&number.to_string()), value, SetOptions::new()).await.unwrap();
    }
    store.clear().await.unwrap();
    assert_eq!(dropped.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn c40_a_memory_store_of_nothing_is_refused() {
    let error = MemoryStore::builder().max_size_bytes(0).max_entries(0).max_value_bytes(0).build().unwrap_err();
    assert_eq!(error.faults().iter().map(|fault| fault.field()).collect::<Vec<_>>(), ["max_size_bytes", "max_entries", "max_value_bytes"]);
}

#[test]
fn errors_keep_secrets_and_say_what_to_do() {
    let error = StoreError::new(StoreErrorKind::Busy).in_store("sqlite").with_detail("locked").with_retry_after(MS);
    assert_eq!(error.to_string(), "sqlite store: busy (locked)");
    assert_eq!((error.is_retriable(), error.verdict()), (true, Verdict::Transient { retry_after: Some(MS) }));
    let unknown = StoreError::new(StoreErrorKind::OutcomeUnknown);
    assert_eq!((unknown.is_retriable(), unknown.verdict()), (false, Verdict::permanent()));
    fn takes(_: impl std::error::Error + Send + Sync + 'static) {}
    takes(error);
}

#[tokio::test]
async fn e0_35_the_bytes_charged_are_the_bytes_taken() {
    for (size, ttl) in [(0, None), (100, None), (100, Some(Duration::from_secs(60))), (1_000, None)] {
        let store = MemoryStore::builder().max_size_bytes(u64::MAX).build().unwrap();
        let keys: Vec<Key> = (0..10_000).map(|number| key(&format!("user:{number}"))).collect();
        let taken = allocation_counter::measure(|| {
            for key in &keys {
                // A copy each, as if it had just been read from a socket.
                let key = Key::parse(key.as_str()).unwrap();
                let mut set = std::pin::pin!(store.set(&key, vec![0; size].into(), SetOptions::new().ttl(ttl)));
                assert!(set.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
            }
        });
        let (charged, taken) = (store.stats().current_size_bytes.unwrap() / 10_000, taken.bytes_current / 10_000);
        eprintln!("{size} bytes, ttl {ttl:?}: {charged} charged, {taken} taken");
        let ratio = charged as f64 / taken as f64;
        assert!((0.7..1.8).contains(&ratio), "{size} bytes, ttl {ttl:?}: {charged} charged, {taken} taken");
    }
}

// Checked by the compiler.
mod traits {
    use static_assertions::{assert_impl_all, assert_obj_safe};
    use std::fmt::Debug;
    use steadfast::store::*;

    assert_impl_all!(MemoryStore: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(AnyStore: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(Key: Send, Sync, Unpin, Clone, Debug, Ord, std::hash::Hash);
    assert_impl_all!(KeyPolicy: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(Entry: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(Glob: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(SetOptions: Send, Sync, Unpin, Clone, Debug);
    assert_impl_all!(CacheStats: Send, Sync, Unpin, Clone, Debug, std::fmt::Display);
    assert_impl_all!(StoreError: Send, Sync, Unpin, Clone, std::error::Error);
    assert_impl_all!(Tiered<MemoryStore, MemoryStore>: Send, Sync, Debug);
    assert_impl_all!(FailSoft<Namespace<Observed<Guarded<MemoryStore>>>>: Store, Send, Sync, Debug);
    assert_obj_safe!(DynStore);
    #[cfg(feature = "file")]
    assert_impl_all!(FileStore: Send, Sync, Unpin, Clone, Debug);
    #[cfg(feature = "sqlite")]
    assert_impl_all!(SqliteStore: Send, Sync, Unpin, Clone, Debug);
    #[cfg(feature = "http-store")]
    assert_impl_all!(HttpStore: Send, Sync, Unpin, Clone, Debug);
}
