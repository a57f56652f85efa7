//! Near stores that hear of what others change.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use steadfast::store::backplane::HeardFuture;
use steadfast::store::{
    Backplane, CacheStats, Capabilities, Changed, Entry, Glob, Heard, Key, LocalBackplane, MemoryStore, Notice, SetOptions, Store,
    StoreError, StoreErrorKind, StoreFuture, Subscription, Tiered,
};
use tokio::sync::{Mutex, Semaphore, mpsc};

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

async fn put(store: &impl Store, raw: &str, value: &'static str) {
    assert!(store.set(&key(raw), value.into(), SetOptions::new().tag("t")).await.unwrap());
}

async fn value(store: &impl Store, raw: &str) -> Option<Bytes> {
    store.get(&key(raw)).await.unwrap().map(|entry| entry.value)
}

/// Waits until something is so: with a paused clock, as many steps as others need.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..10_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to this: {what}");
}

type Near<F = MemoryStore> = Tiered<MemoryStore, F>;

async fn near_has(store: &Near<impl Store>, raw: &str) -> bool {
    store.near().exists(&key(raw)).await.unwrap()
}

fn extra(store: &impl Store, name: &'static str) -> u64 {
    store.stats().extra(name).unwrap()
}

/// A near store in front of `far`, which is listening.
async fn listening<F: Store>(far: F, backplane: impl Backplane) -> Near<F> {
    let store = Tiered::new(MemoryStore::new(), far).backplane(backplane);
    store.exists(&key("anything")).await.unwrap();
    until("it listens", async || extra(&store, "backplane_gaps") > 0).await;
    store
}

#[tokio::test(start_paused = true)]
async fn e62_what_one_changes_the_others_drop() {
    let (far, backplane) = (MemoryStore::new(), LocalBackplane::new());
    let (one, other) = (listening(far.clone(), backplane.clone()).await, listening(far, backplane).await);
    type Change = Box<dyn for<'a> Fn(&'a Near) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>>;
    let changes: [(&str, Change, bool); 8] = [
        ("set", Box::new(|one| Box::pin(put(one, "k", "new"))), true),
        ("set_many", Box::new(|one| Box::pin(async { drop(one.set_many(&[(key("k"), "new".into())], SetOptions::new()).await) })), true),
        (
            "ttl 0",
            Box::new(|one| Box::pin(async { drop(one.set(&key("k"), "x".into(), SetOptions::new().ttl(Duration::ZERO)).await) })),
            false,
        ),
        ("delete", Box::new(|one| Box::pin(async { assert!(one.delete(&key("k")).await.unwrap()) })), false),
        ("delete_many", Box::new(|one| Box::pin(async { assert_eq!(one.delete_many(&[key("k"), key("no")]).await, Ok(1)) })), false),
        ("clear", Box::new(|one| Box::pin(async { assert!(one.clear().await.unwrap() > 0) })), false),
        ("pattern", Box::new(|one| Box::pin(async { assert_eq!(one.delete_matching(&Glob::new("k*")).await, Ok(1)) })), false),
        ("tag", Box::new(|one| Box::pin(async { assert!(one.delete_tagged("t").await.unwrap() > 0) })), false),
    ];
    for (what, change, stays) in changes {
        put(&one, "k", "old").await;
        put(&one, "neighbour", "same").await;
        // Until all words so far are heard, what is kept near may be dropped again.
        until("kept", async || value(&other, "k").await.is_some() && near_has(&other, "k").await && lull(&other).await).await;
        assert_eq!(value(&other, "k").await, Some("old".into()), "{what}");
        change(&one).await;
        until(what, async || !near_has(&other, "k").await).await;
        assert_eq!(value(&other, "k").await, stays.then(|| "new".into()), "{what}");
    }
    assert_eq!((one.stats().errors, other.stats().errors), (0, 0));
}

/// Whether nothing has been heard for a while.
async fn lull(store: &Near) -> bool {
    let heard = extra(store, "backplane_notices");
    tokio::time::sleep(Duration::from_millis(5)).await;
    heard == extra(store, "backplane_notices")
}

#[tokio::test(start_paused = true)]
async fn e62_own_words_are_not_heard() {
    let (far, backplane) = (MemoryStore::new(), LocalBackplane::new());
    let (one, other) = (listening(far.clone(), backplane.clone()).await, listening(far, backplane).await);
    put(&one, "k", "v").await;
    until("heard", async || extra(&other, "backplane_notices") == 1).await;
    assert!(near_has(&one, "k").await && extra(&one, "backplane_notices") == 0);
    // Nor is what a set has not changed told to anybody.
    assert!(!one.set(&key("k"), "w".into(), SetOptions::new().if_absent()).await.unwrap());
    put(&one, "end", "v").await;
    until("heard", async || near_has(&one, "end").await && extra(&other, "backplane_notices") >= 2).await;
    assert_eq!(extra(&other, "backplane_notices"), 2);
}

/// A backplane in the hands of a test: it hears what it is given, and may be unable to talk.
#[derive(Clone)]
struct Wire {
    mute: Arc<AtomicBool>,
    said: Arc<std::sync::Mutex<Vec<Notice>>>,
    words: mpsc::UnboundedSender<Option<Heard>>,
    heard: Arc<Mutex<mpsc::UnboundedReceiver<Option<Heard>>>>,
}

impl Wire {
    fn new() -> Self {
        let (words, heard) = mpsc::unbounded_channel();
        words.send(Some(Heard::Gap)).unwrap();
        Self { mute: Arc::default(), said: Arc::default(), words, heard: Arc::new(Mutex::new(heard)) }
    }

    fn changed(&self, raw: &str) {
        self.words.send(Some(Heard::Notice(Notice::new(1, Changed::Keys(vec![key(raw)]))))).unwrap();
    }

    fn said(&self) -> Vec<Changed> {
        self.said.lock().unwrap().iter().map(|notice| notice.changed.clone()).collect()
    }
}

impl Backplane for Wire {
    fn publish<'a>(&'a self, notice: &'a Notice) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.mute.load(Ordering::SeqCst) {
                return Err(StoreError::new(StoreErrorKind::Unavailable));
            }
            self.said.lock().unwrap().push(notice.clone());
            Ok(())
        })
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Ear(Arc::clone(&self.heard)))
    }
}

struct Ear(Arc<Mutex<mpsc::UnboundedReceiver<Option<Heard>>>>);

impl Subscription for Ear {
    fn next(&mut self) -> HeardFuture<'_> {
        Box::pin(async move { self.0.lock().await.recv().await.flatten() })
    }
}

/// A far store whose answers wait at a gate after they were found.
#[derive(Clone)]
struct Far {
    inner: MemoryStore,
    gate: Arc<Semaphore>,
    gated: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Far {
    fn new() -> Self {
        Self { inner: MemoryStore::new(), gate: Arc::new(Semaphore::new(0)), gated: Arc::default(), asked: Arc::default() }
    }

    async fn after<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.gated.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        done
    }
}

impl Store for Far {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.after(self.inner.get(key).await).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.after(self.inner.set(key, value, options).await).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.after(self.inner.delete(key).await).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.after(self.inner.clear().await).await
    }
    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
}

/// Begins something that has its answer from far, and has not heard it yet.
async fn held_far<T: Send + 'static>(far: &Far, work: impl Future<Output = T> + Send + 'static) -> tokio::task::JoinHandle<T> {
    far.gated.store(true, Ordering::SeqCst);
    let asked = far.asked.load(Ordering::SeqCst);
    let task = tokio::spawn(work);
    until("it has asked", async || far.asked.load(Ordering::SeqCst) > asked).await;
    far.gated.store(false, Ordering::SeqCst);
    task
}

#[tokio::test(start_paused = true)]
async fn e62_a_gap_drops_all_that_is_near_and_what_is_about_to_be() {
    let (far, wire) = (Far::new(), Wire::new());
    let store = Arc::new(listening(far.clone(), wire.clone()).await);
    put(&*store, "a", "v").await;
    put(&far.inner, "k", "old").await;
    let get = held_far(&far, {
        let store = Arc::clone(&store);
        async move { value(&*store, "k").await }
    })
    .await;
    wire.words.send(Some(Heard::Gap)).unwrap();
    until("deaf for a while", async || !near_has(&store, "a").await).await;
    far.gate.add_permits(1);
    assert_eq!(get.await.unwrap(), Some("old".into()));
    assert!(!near_has(&store, "k").await, "what was asked before may have changed since");
    assert_eq!(value(&*store, "a").await, Some("v".into()));
    assert!(near_has(&store, "a").await, "and everything is near again when it is asked for");
}

#[tokio::test(start_paused = true)]
async fn e63_a_change_of_others_while_one_is_under_way_here_keeps_nothing_near() {
    for clear in [false, true] {
        let (far, wire) = (Far::new(), Wire::new());
        let store = Arc::new(listening(far.clone(), wire.clone()).await);
        let set = held_far(&far, {
            let store = Arc::clone(&store);
            async move { put(&*store, "k", "ours").await }
        })
        .await;
        // Ours is far; then theirs came, and they say so before we know that ours has arrived.
        put(&far.inner, "k", "theirs").await;
        let (notices, gaps) = (extra(&*store, "backplane_notices"), extra(&*store, "backplane_gaps"));
        if clear {
            wire.words.send(Some(Heard::Gap)).unwrap()
        } else {
            wire.changed("k")
        }
        until("heard", async || (extra(&*store, "backplane_notices"), extra(&*store, "backplane_gaps")) != (notices, gaps)).await;
        far.gate.add_permits(1);
        set.await.unwrap();
        assert_eq!(value(&*store, "k").await, Some("theirs".into()), "by a gap: {clear}");
    }
}

#[tokio::test(start_paused = true)]
async fn e63_twice_and_out_of_order_does_no_harm() {
    let (far, wire) = (MemoryStore::new(), Wire::new());
    let store = listening(far.clone(), wire.clone()).await;
    let numbers = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let mut words: Vec<&str> = numbers.iter().chain(&numbers).chain(&numbers).copied().collect();
    for round in 0..20_usize {
        for name in numbers {
            put(&store, name, "ours").await;
            put(&far, name, "theirs").await;
        }
        // Some order of all of them, each three times.
        for at in 0..words.len() {
            words.swap(at, (at * 7 + round * 13) % 30);
        }
        let heard = extra(&store, "backplane_notices");
        for name in &words {
            wire.changed(name);
            if round % 2 == 0 {
                value(&store, name).await; // promoted between two of them
            }
        }
        until("all heard", async || extra(&store, "backplane_notices") == heard + 30).await;
        until("all dropped", async || lull(&store).await).await;
        for name in numbers {
            assert_eq!(value(&store, name).await, Some("theirs".into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h92_what_was_dropped_half_way_is_told_all_the_same() {
    let (far, wire) = (Far::new(), Wire::new());
    let store = listening(far.clone(), wire.clone()).await;
    far.gated.store(true, Ordering::SeqCst);
    let second = Duration::from_secs(1);
    assert!(tokio::time::timeout(second, store.delete(&key("k"))).await.is_err());
    until("told", async || wire.said() == [Changed::Keys(vec![key("k")])]).await;
    assert!(tokio::time::timeout(second, store.clear()).await.is_err());
    until("told", async || wire.said().last() == Some(&Changed::All)).await;
}

#[tokio::test(start_paused = true)]
async fn h92_a_clear_dropped_half_way_leaves_nothing_near() {
    let far = Far::new();
    let store = Tiered::new(MemoryStore::new(), far.clone());
    put(&store, "k", "old").await;
    far.gated.store(true, Ordering::SeqCst);
    assert!(tokio::time::timeout(Duration::from_secs(1), store.clear()).await.is_err(), "cleared far, and then nobody waited");
    far.gated.store(false, Ordering::SeqCst);
    assert_eq!(value(&store, "k").await, None);
    put(&store, "k", "new").await;
    let asked = far.asked.load(Ordering::SeqCst);
    assert_eq!((value(&store, "k").await, far.asked.load(Ordering::SeqCst)), (Some("new".into()), asked), "near again");
}

#[tokio::test(start_paused = true)]
async fn e62_what_could_not_be_said_is_said_later() {
    let wire = Wire::new();
    let store = listening(MemoryStore::new(), wire.clone()).await;
    wire.mute.store(true, Ordering::SeqCst);
    put(&store, "a", "v").await; // which is no error: it is stored
    put(&store, "b", "v").await;
    assert!(store.delete(&key("a")).await.unwrap());
    assert!(store.stats().errors >= 3 && wire.said().is_empty());
    tokio::time::sleep(Duration::from_secs(10)).await;
    let tries = store.stats().errors;
    assert!((5..=20).contains(&tries), "{tries} tries in ten seconds");
    wire.mute.store(false, Ordering::SeqCst);
    until("said", async || !wire.said().is_empty()).await;
    let [Changed::Keys(mut keys)] = <[Changed; 1]>::try_from(wire.said()).unwrap() else { panic!("{:?}", wire.said()) };
    keys.sort();
    assert_eq!(keys, [key("a"), key("b")], "once is enough");
    // Too many to be kept one by one.
    wire.mute.store(true, Ordering::SeqCst);
    let items: Vec<_> = (0..10_000).map(|number| (key(&format!("k{number}")), Bytes::from("v"))).collect();
    assert_eq!(store.set_many(&items, SetOptions::new()).await, Ok(10_000));
    wire.mute.store(false, Ordering::SeqCst);
    until("said", async || wire.said().last() == Some(&Changed::All)).await;
    // And if they can be said, then a few hundred at a time.
    let before = wire.said().len();
    assert_eq!(store.set_many(&items, SetOptions::new()).await, Ok(10_000));
    let said = wire.said().split_off(before);
    let sizes: Vec<usize> = said.iter().map(|changed| if let Changed::Keys(keys) = changed { keys.len() } else { 0 }).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().all(|size| (1..=512).contains(size))), (10_000, true), "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn e62_more_than_can_be_taken_in_is_a_gap() {
    let (far, backplane) = (MemoryStore::new(), LocalBackplane::new());
    let store = listening(far, backplane.clone()).await;
    put(&store, "k", "v").await;
    for number in 0..5_000 {
        backplane.publish(&Notice::new(1, Changed::Keys(vec![key(&format!("{number}"))]))).await.unwrap();
    }
    until("too many", async || extra(&store, "backplane_gaps") == 2).await;
    until("dropped", async || !near_has(&store, "k").await).await;
}

#[tokio::test(start_paused = true)]
async fn h90_nobody_listens_after_the_end() {
    let listeners = |backplane: &LocalBackplane| format!("{backplane:?}");
    let (none, one) = ("LocalBackplane { listeners: 0 }", "LocalBackplane { listeners: 1 }");
    let backplane = LocalBackplane::new();
    let store = listening(MemoryStore::new(), backplane.clone()).await;
    assert_eq!(listeners(&backplane), one);
    drop(store);
    until("dropped", async || listeners(&backplane) == none).await;
    let store = listening(MemoryStore::new(), backplane.clone()).await;
    store.close().await.unwrap();
    until("closed", async || listeners(&backplane) == none).await;
    assert!(store.get(&key("k")).await.is_err());
    assert_eq!(listeners(&backplane), none, "closed is closed");
    // A backplane that ends is not asked again and again.
    let wire = Wire::new();
    let store = listening(MemoryStore::new(), wire.clone()).await;
    wire.words.send(None).unwrap();
    put(&store, "k", "v").await;
    assert_eq!(value(&store, "k").await, Some("v".into()));
}

#[test]
fn a_runtime_that_ends_takes_no_ear_with_it() {
    let (far, backplane) = (MemoryStore::new(), LocalBackplane::new());
    let store = Arc::new(Tiered::new(MemoryStore::new(), far).backplane(backplane));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    for gaps in [1, 2] {
        runtime().block_on(async {
            store.exists(&key("k")).await.unwrap();
            until("it listens", async || extra(&*store, "backplane_gaps") == gaps).await;
        });
    }
    // Without one, it works all the same.
    let set = std::pin::pin!(put(&*store, "k", "v"));
    assert!(set.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
}
