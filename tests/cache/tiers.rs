use super::*;
use bytes::Bytes;
use futures_util::future::join_all;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Waker};
use steadfast::store::{CacheStats, Capabilities, Entry, Key, MemoryStore, Raw, SetOptions, Store, StoreError, StoreErrorKind, Ttl};
use steadfast::{Loaded, Pipeline, TypedPipeline};
use tokio::sync::Notify;
use tokio::time::{Instant, advance, timeout};

type Words = Cache<String, String>;

/// A store that can be down, or hang, or hold its answers back; and that says what it was asked.
#[derive(Clone)]
struct Odd {
    store: MemoryStore,
    is: Arc<Is>,
}

#[derive(Default)]
struct Is {
    down: AtomicBool,
    hung: AtomicBool,
    plain: AtomicBool,
    /// Answers of `get` that are ready, and wait until they may go.
    held: AtomicBool,
    go: Notify,
    asked: Mutex<Vec<&'static str>>,
}

impl Odd {
    fn new() -> Self {
        Self { store: MemoryStore::new(), is: Arc::default() }
    }

    fn set(&self, which: impl Fn(&Is) -> &AtomicBool, value: bool) {
        which(&self.is).store(value, Ordering::SeqCst);
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.is.asked.lock().expect("whole"))
    }

    async fn begin(&self, what: &'static str) -> Result<(), StoreError> {
        self.is.asked.lock().expect("whole").push(what);
        if self.is.hung.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.is.down.load(Ordering::SeqCst) { Err(StoreError::new(StoreErrorKind::Unavailable)) } else { Ok(()) }
    }

    async fn has(&self, key: &str) -> Option<(String, Ttl)> {
        let entry = self.store.get(&Key::new(key).expect("a key")).await.expect("in memory")?;
        Some((String::from_utf8(entry.value.to_vec()).expect("text"), entry.ttl()))
    }

    async fn put(&self, key: &str, value: &'static str, options: SetOptions) {
        self.store.set(&Key::new(key).expect("a key"), value.into(), options).await.expect("in memory");
    }
}

impl Store for Odd {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.begin("get").await?;
        let found = self.store.get(key).await;
        if self.is.held.load(Ordering::SeqCst) {
            self.is.go.notified().await;
        }
        let plain = self.is.plain.load(Ordering::SeqCst);
        found.map(|found| found.map(|entry| if plain { entry.with_metadata(None) } else { entry }))
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.begin("set").await?;
        self.store.set(key, value, options).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.begin("delete").await?;
        self.store.delete(key).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.begin("clear").await?;
        if self.is.held.load(Ordering::SeqCst) {
            self.is.go.notified().await;
        }
        self.store.clear().await
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        self.begin("delete_tagged").await?;
        if self.is.plain.load(Ordering::SeqCst) {
            Err(StoreError::new(StoreErrorKind::Unsupported))
        } else {
            self.store.delete_tagged(tag).await
        }
    }
    fn stats(&self) -> CacheStats {
        self.store.stats()
    }
    fn capabilities(&self) -> Capabilities {
        if self.is.plain.load(Ordering::SeqCst) { Capabilities::NONE } else { self.store.capabilities() }
    }
}

fn config(store: &Odd) -> CacheConfig<String, String> {
    Cache::new(100).ttl(SECOND * 600).second_tier(store.clone(), Raw)
}

fn words(store: &Odd) -> Words {
    config(store).build().expect("valid")
}

async fn load(cache: &Words, key: &str, value: &str) -> String {
    cache.get_or_load(key, |_| async { Ok::<_, String>(value.to_owned()) }).await.expect("it does not fail")
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn e59_what_is_found_there_is_kept_for_half_of_what_is_left() {
    for (ttl, passed, near) in [(10, 0, 10), (60, 0, 60), (119, 0, 60), (300, 0, 150), (300, 100, 100), (300, 290, 10)] {
        let store = Odd::new();
        store.put("a", "there", SetOptions::new().ttl(SECOND * ttl)).await;
        advance(SECOND * passed).await;
        let cache: Words = Cache::new(100).second_tier(store.clone(), Raw).build().expect("valid");
        assert_eq!(load(&cache, "a", "loaded").await, "there");
        advance(SECOND * near - MS).await;
        assert_eq!(cache.get("a"), some("there"), "{ttl} s, of which {passed} have passed");
        advance(MS * 2).await;
        assert_eq!(cache.get("a"), None, "{ttl} s, of which {passed} have passed");
    }
    let store = Odd::new();
    store.put("a", "there", SetOptions::new()).await;
    let cache: Words = Cache::new(100).second_tier(store.clone(), Raw).build().expect("valid");
    assert_eq!(load(&cache, "a", "loaded").await, "there");
    advance(SECOND * 1_000_000).await;
    assert_eq!(cache.get("a"), some("there"), "never is never");
    // A cache's own ttl holds for what has none.
    let cache = words(&store);
    assert_eq!(load(&cache, "a", "loaded").await, "there");
    advance(SECOND * 600).await;
    assert_eq!(cache.get("a"), None);
}

#[tokio::test(start_paused = true)]
async fn e59_what_is_loaded_is_there_for_its_time_and_near_for_half() {
    let store = Odd::new();
    let cache = words(&store);
    assert_eq!(load(&cache, "user:7", "Ada").await, "Ada");
    assert_eq!(store.has("user:7").await, Some(("Ada".to_owned(), Ttl::After(SECOND * 600))));
    advance(SECOND * 300).await;
    assert_eq!((cache.get("user:7"), load(&cache, "user:7", "not asked").await.as_str()), (None, "Ada"));
    let own = |_| async { Ok::<_, String>(Loaded::new("own".to_owned()).ttl(SECOND * 5)) };
    assert_eq!(cache.get_or_load("b", own).await.as_deref(), Ok("own"));
    assert_eq!(store.has("b").await, Some(("own".to_owned(), Ttl::After(SECOND * 5))));
    // As the value says; and what has no time is there no more.
    let cache = config(&store).near(0.1, SECOND).ttl_of(|word| (word == "short").then_some(Duration::ZERO)).build().expect("valid");
    assert_eq!(load(&cache, "c", "long").await, "long");
    advance(SECOND * 60).await;
    assert_eq!(cache.get("c"), None, "a tenth");
    store.store.clear().await.expect("in memory");
    assert_eq!((load(&cache, "c", "short").await, store.has("c").await), ("short".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_what_was_there_and_asks_once_for_all() {
    let (store, loads) = (Odd::new(), Count::default());
    load(&words(&store), "a", "before").await;
    let (cache, _) = (words(&store), store.asked());
    let load = |_| async {
        loads.one();
        Ok::<_, String>("after".to_owned())
    };
    let answers = join_all((0..64).map(|_| cache.get_or_load("a", load))).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Ok("before")));
    assert_eq!((loads.get(), store.asked()), (0, vec!["get"]));
    let stats = cache.stats();
    assert_eq!((stats.extra("loads"), stats.extra("second_tier_hits"), stats.extra("second_tier_misses")), (Some(0), Some(1), Some(0)));
    assert_eq!((cache.both().get("a").await, words(&store).both().get("a").await), (some("before"), some("before")));
    assert_eq!((cache.both().get("none").await, cache.get("none")), (None, None));
    // Each kind of key by its own name.
    let numbers: Cache<u64, String> = Cache::new(10).second_tier(store.clone(), Raw).build().expect("valid");
    numbers.get_or_load(&7, |_| async { Ok::<_, String>("seven".to_owned()) }).await.expect("loaded");
    let pairs: Cache<(String, u8), String> = Cache::new(10).second_tier(store.clone(), Raw).build().expect("valid");
    pairs.get_or_load(&("a".to_owned(), 7), |_| async { Ok::<_, String>("pair".to_owned()) }).await.expect("loaded");
    assert_eq!((store.has("7").await.map(|has| has.0), store.has("s1:a,7").await.map(|has| has.0)), (some("seven"), some("pair")));
}

#[tokio::test(start_paused = true)]
async fn e60_down_is_the_same_as_empty_and_soon_costs_nothing() {
    for hangs in [false, true] {
        let store = Odd::new();
        let cache = config(&store).second_tier_timeout(MS * 100).build().expect("valid");
        load(&cache, "hit", "near").await;
        store.set(|is| if hangs { &is.hung } else { &is.down }, true);
        let began = Instant::now();
        for key in 0..100 {
            assert_eq!(load(&cache, &key.to_string(), "loaded").await, "loaded");
            assert_eq!(cache.get("hit"), some("near"));
        }
        // Five failures in a row; the load itself is not theirs.
        assert!(began.elapsed() <= MS * 600, "{:?}", began.elapsed());
        let asked = store.asked().len();
        assert!(asked <= 10, "asked {asked} times");
        assert!(cache.stats().extra("second_tier_errors").is_some_and(|errors| errors >= 5));
        store.set(|is| if hangs { &is.hung } else { &is.down }, false);
        advance(SECOND * 11).await;
        assert_eq!(load(&cache, "back", "again").await, "again");
        assert_eq!(store.has("back").await.map(|has| has.0), some("again"), "nobody had to say that it is back");
        assert_eq!(load(&words(&store), "back", "not asked").await, "again");
    }
}

#[tokio::test(start_paused = true)]
async fn e61_a_removal_reaches_the_second_tier_first() {
    let store = Odd::new();
    let cache = words(&store);
    load(&cache, "a", "old").await;
    assert_eq!((cache.both().remove("a").await, cache.get("a"), store.has("a").await), (Ok(true), None, None));
    assert_eq!(cache.both().remove("a").await, Ok(false));
    // While it is being removed there, the old value is here, or nowhere; afterwards it is gone.
    load(&cache, "a", "old").await;
    store.set(|is| &is.hung, true);
    {
        let mut remove = pin!(async { cache.both().remove("a").await });
        assert!(remove.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(cache.get("a"), some("old"), "first there");
    }
    // It was given up: nobody knows what happened there, so nobody believes it.
    assert_eq!(cache.get("a"), None);
    store.set(|is| &is.hung, false);
    store.asked();
    assert_eq!((load(&cache, "a", "new").await.as_str(), store.asked()), ("new", vec!["delete", "get", "set"]));
    assert_eq!(store.has("a").await.map(|has| has.0), some("new"));
}

#[tokio::test(start_paused = true)]
async fn e61_a_removal_that_fails_is_an_error_and_the_old_value_does_not_come_back() {
    let store = Odd::new();
    let (cache, other) = (words(&store), words(&store));
    for what in 0..3 {
        cache.get_or_load("a", |_| async { Ok::<_, String>(Loaded::new("old".to_owned()).tag("red")) }).await.expect("loaded");
        load(&cache, "b", "kept").await;
        store.set(|is| &is.down, true);
        let error = match what {
            0 => cache.both().remove("a").await.map(u64::from),
            1 => cache.both().invalidate_tag("red").await,
            _ => cache.both().clear().await,
        };
        assert_eq!(error.expect_err("it is down").kind(), StoreErrorKind::Unavailable);
        assert_eq!(cache.get("a"), None, "gone here all the same");
        assert_eq!(load(&cache, "a", "while it is down").await, "while it is down");
        cache.remove("a");
        store.set(|is| &is.down, false);
        advance(SECOND * 11).await;
        assert_eq!(load(&cache, "a", "new").await, "new", "{what}: what is there was removed");
        assert_eq!(load(&other, "a", "not asked").await, "new", "and now it is, for all");
        let b = load(&words(&store), "b", "loaded").await;
        assert_eq!(b, if what == 2 { "loaded" } else { "kept" });
        other.clear();
        cache.clear();
        store.store.clear().await.expect("in memory");
    }
    // A value that could not be stored there is here; the older one there is nowhere.
    load(&cache, "a", "old").await;
    store.set(|is| &is.down, true);
    assert!(cache.both().insert("a", "new".to_owned()).await.is_err());
    assert_eq!(cache.get("a"), some("new"));
    store.set(|is| &is.down, false);
    advance(SECOND * 11).await;
    cache.remove("a");
    assert_eq!(load(&cache, "a", "newer").await, "newer");
}

/// Begins to look, and is held up; then something happens.
async fn while_it_looks(store: &Odd, cache: &Words, meanwhile: impl AsyncFnOnce()) -> String {
    store.set(|is| &is.held, true);
    let look = load(cache, "a", "loaded");
    let change = async {
        pass(MS).await;
        store.set(|is| &is.held, false);
        meanwhile().await;
        store.is.go.notify_waiters();
    };
    tokio::join!(look, change).0
}

#[tokio::test(start_paused = true)]
async fn d53_a_removal_during_a_promotion_is_the_last_word() {
    let store = Odd::new();
    let cache = words(&store);
    let old = || store.put("a", "old", SetOptions::new().ttl(SECOND * 100).tag("red"));
    old().await;
    assert_eq!(while_it_looks(&store, &cache, async || ()).await, "old");
    assert_eq!(cache.get("a"), some("old"));
    cache.remove("a");

    let removed = while_it_looks(&store, &cache, async || _ = cache.both().remove("a").await).await;
    assert_eq!((removed.as_str(), cache.get("a"), store.has("a").await), ("old", None, None), "who asked before has it, nobody else");
    old().await;
    while_it_looks(&store, &cache, async || _ = cache.both().clear().await).await;
    assert_eq!((cache.get("a"), store.has("a").await), (None, None));
    old().await;
    while_it_looks(&store, &cache, async || _ = cache.both().invalidate_tag("red").await).await;
    assert_eq!((cache.get("a"), store.has("a").await), (None, None), "though it did not say its tags here");
    old().await;
    while_it_looks(&store, &cache, async || _ = cache.both().insert("a", "new".to_owned()).await).await;
    assert_eq!((cache.get("a"), store.has("a").await.map(|has| has.0)), (some("new"), some("new")), "the newer one wins");
}

#[tokio::test(start_paused = true)]
async fn d51_e61_a_load_does_not_put_back_what_was_removed_meanwhile() {
    let store = Odd::new();
    let cache = words(&store);
    let slow = |_| async {
        pass(SECOND).await;
        Ok::<_, String>("old".to_owned())
    };
    let removed = async {
        pass(MS).await;
        cache.both().remove("a").await
    };
    let (loaded, removed) = tokio::join!(cache.get_or_load("a", slow), removed);
    assert_eq!((loaded.as_deref(), removed), (Ok("old"), Ok(false)));
    assert_eq!((cache.get("a"), store.has("a").await), (None, None));
    // Nor what was removed between the end of the load and its writing.
    let slow = |_| async {
        pass(MS * 10).await;
        Ok::<_, String>("old".to_owned())
    };
    let cleared = async {
        pass(MS).await;
        store.set(|is| &is.held, true);
        cache.both().clear().await
    };
    let release = async {
        pass(MS * 20).await;
        assert_eq!(cache.get("a"), some("old"), "here already");
        store.set(|is| &is.held, false);
        store.is.go.notify_waiters();
    };
    let (loaded, cleared, ()) = tokio::join!(cache.get_or_load("a", slow), cleared, release);
    assert_eq!((loaded.as_deref(), cleared, cache.get("a"), store.has("a").await), (Ok("old"), Ok(1), None, None));
}

#[tokio::test(start_paused = true)]
async fn tags_come_with_what_is_found_there() {
    for plain in [false, true] {
        let store = Odd::new();
        store.set(|is| &is.plain, plain);
        let (here, there) = (words(&store), words(&store));
        let tagged = |tag: &'static str| move |_| async move { Ok::<_, String>(Loaded::new(tag.to_owned()).tags([tag, "all"])) };
        here.get_or_load("a", tagged("red")).await.expect("loaded");
        here.get_or_load("b", tagged("blue")).await.expect("loaded");
        load(&there, "a", "not asked").await;
        load(&there, "b", "not asked").await;
        let done = there.both().invalidate_tag("red").await;
        if plain {
            assert_eq!(done.expect_err("it knows no tags").kind(), StoreErrorKind::Unsupported);
            assert_eq!((there.get("a"), there.get("b")), (None, None), "nobody knows which ones it were");
        } else {
            assert_eq!((done, there.get("a"), there.get("b")), (Ok(1), None, some("blue")));
            assert_eq!((store.has("a").await, load(&there, "a", "new").await.as_str()), (None, "new"));
            assert_eq!(there.both().invalidate_tag("all").await, Ok(1), "`a` came without tags this time");
        }
    }
    // Of what somebody else has put there nobody knows the tags, whatever the value says.
    let store = Odd::new();
    store.put("a", "red", SetOptions::new()).await;
    let cache = config(&store).tags_of(|word| [word.clone()]).build().expect("valid");
    load(&cache, "a", "not asked").await;
    assert_eq!((cache.invalidate_tag("blue"), cache.get("a")), (1, None));
    assert_eq!((store.store.clear().await, load(&cache, "a", "red").await.as_str()), (Ok(1), "red"));
    cache.clear();
    load(&cache, "a", "not asked").await;
    assert_eq!((cache.invalidate_tag("blue"), cache.invalidate_tag("red")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_is_as_good_as_none() {
    let store = Odd::new();
    store.put("a", "text", SetOptions::new()).await;
    store.store.set(&Key::new("a").expect("a key"), Bytes::from_static(b"\xff"), SetOptions::new()).await.expect("in memory");
    let cache = words(&store);
    assert_eq!(load(&cache, "a", "new").await, "new");
    assert_eq!((store.has("a").await.map(|has| has.0), cache.stats().extra("second_tier_errors")), (some("new"), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn d58_a_refresh_takes_what_is_there_while_that_is_young_enough() {
    let (store, loads) = (Odd::new(), Count::default());
    let cache = config(&store).refresh_ahead(0.5).near(0.5, SECOND).build().expect("valid");
    let load = |_| async { Ok::<_, String>(loads.one().to_string()) };
    assert_eq!(cache.get_or_load("a", load).await.as_deref(), Ok("1"));
    advance(SECOND * 150).await; // half of near, a quarter of there
    assert_eq!((cache.get_or_load("a", load).await.as_deref(), loads.get()), (Ok("1"), 1));
    advance(SECOND * 150).await; // half of there
    assert_eq!((cache.get_or_load("a", load).await.as_deref(), loads.get()), (Ok("2"), 2));
    assert_eq!(store.has("a").await, Some(("2".to_owned(), Ttl::After(SECOND * 600))));
}

#[tokio::test(start_paused = true)]
async fn through_a_pipeline() {
    let store = Odd::new();
    let (cache, api) = (words(&store), Pipeline::builder("api").total_timeout(SECOND * 10).build().expect("valid"));
    let op = |word: &'static str| move || async move { Ok::<_, String>(word.to_owned()) };
    assert_eq!(api.key("a").cached(&cache).call(op("one")).await.as_deref(), Ok("one"));
    assert_eq!(store.has("a").await.map(|has| has.0), some("one"));
    cache.clear();
    assert_eq!(api.key("a").cached(&cache).call(op("not asked")).await.as_deref(), Ok("one"));
    let typed: TypedPipeline<String, String> = Pipeline::builder("typed").cache(words(&store)).build().expect("valid");
    assert_eq!(typed.key("a").call(op("not asked")).await.as_deref(), Ok("one"));
    let numbers: Cache<u64, String> = Cache::new(10).second_tier(store.clone(), Raw).build().expect("valid");
    assert_eq!(api.cost(1).cached_by(&numbers, &7).call(op("seven")).await.as_deref(), Ok("seven"));
    numbers.clear();
    assert_eq!(api.cost(1).cached_by(&numbers, &7).call(op("not asked")).await.as_deref(), Ok("seven"));
    assert_eq!(api.cost(1).cached_by(&numbers, &7).call(op("not asked")).await.as_deref(), Ok("seven"), "a hit");
    // What one call says of its answer is said there, too.
    assert!(api.key("b").cached(&cache).kept(|answer| answer.ttl(SECOND * 9).tag("red")).call(op("two")).await.is_ok());
    assert_eq!(store.has("b").await, Some(("two".to_owned(), Ttl::After(SECOND * 9))));
    assert_eq!(cache.both().invalidate_tag("red").await, Ok(1));
    // A failure is given, and not kept.
    let busy = |answer: &Result<String, String>| if answer.is_ok() { steadfast::Verdict::transient() } else { steadfast::Verdict::Success };
    assert!(api.key("c").classify(busy).cached(&cache).call(op("busy")).await.is_ok());
    assert_eq!((cache.get("c"), store.has("c").await), (None, None));
}

#[tokio::test(start_paused = true)]
async fn e60_a_second_tier_that_hangs_leaves_time_for_the_load() {
    let store = Odd::new();
    let cache = config(&store).second_tier_timeout(SECOND * 5).build().expect("valid");
    store.set(|is| &is.hung, true);
    let api = Pipeline::builder("api").build().expect("valid");
    let began = Instant::now();
    let answer = api.key("a").within(MS * 100).cached(&cache).call(|| async { Ok::<_, String>("x".to_owned()) }).await;
    assert!(answer.is_ok() && began.elapsed() <= MS * 80, "half of the time is for the load: {answer:?} after {:?}", began.elapsed());
    assert_eq!(cache.get("a"), some("x"));
    cache.remove("a");
    // One that is dropped while it asks leaves nothing behind.
    assert!(timeout(MS, load(&cache, "a", "x")).await.is_err());
    store.set(|is| &is.hung, false);
    assert_eq!(load(&cache, "a", "new").await, "new");
    assert_eq!(store.has("a").await.map(|has| has.0), some("new"));
}

#[tokio::test(start_paused = true)]
async fn a_spawned_load_asks_it_too_and_settings_are_checked() {
    let store = Odd::new();
    store.put("a", "there", SetOptions::new().ttl(SECOND)).await;
    let cache = words(&store);
    let of_task = cache.clone();
    let spawned = tokio::spawn(async move { of_task.get_or_spawn("a", |_| async { Ok::<_, String>("loaded".to_owned()) }).await });
    assert_eq!(spawned.await.expect("no panic").as_deref(), Ok("there"));
    let faults = config(&store).near(0.0, SECOND).second_tier_timeout(Duration::ZERO).build().expect_err("two");
    let fields: Vec<_> = faults.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["near", "second_tier_timeout"]);
    let cache = words(&store);
    assert!(cache.reconfigure(&cache.config().near(0.2, SECOND)).is_ok());
    assert_eq!(cache.config().near(0.5, SECOND * 60), cache.config().near(0.5, SECOND * 60));
    assert!(cache.reconfigure(&Cache::new(100)).is_err() && cache.reconfigure(&config(&store)).is_err(), "another one");
    let without: Words = Cache::new(10).build().expect("valid");
    assert_eq!((without.both().insert("a", "x".to_owned()).await, without.both().get("a").await), (Ok(true), some("x")));
    assert_eq!(
        (without.both().remove("a").await, without.both().clear().await, without.both().invalidate_tag("t").await),
        (Ok(true), Ok(0), Ok(0))
    );
}
