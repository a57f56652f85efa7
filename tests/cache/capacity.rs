use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use steadfast::{Eviction, Loaded};

const ALL: [Eviction; 4] = [Eviction::S3Fifo, Eviction::Lru, Eviction::Fifo, Eviction::Random];

fn bytes(capacity: u64, eviction: Eviction) -> Cache<u32, u64> {
    Cache::bytes(capacity, |value: &u64| *value).eviction(eviction).build().expect("valid")
}

#[test]
fn a3_to_a9_values_as_they_were() {
    let cache = cache(hundred());
    assert_eq!(cache.get("a"), None);
    assert!(cache.insert("a", 0));
    assert_eq!(cache.get("a"), Some(0), "a zero is a hit");
    assert!(cache.insert("a", 1));
    assert_eq!(cache.get("a"), Some(1));
    assert!(cache.remove("a"));
    assert!(!cache.remove("a") && !cache.remove("b"));
    assert!(cache.insert("a", 2));
    assert_eq!((cache.get("a"), cache.clear(), cache.clear(), cache.is_empty()), (Some(2), 1, 0, true));
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.sets, stats.deletes), (3, 1, 3, 2));
    let empty: Cache<u8, &str> = Cache::new(1).build().expect("valid");
    empty.insert(&0, "");
    assert_eq!(empty.get(&0), Some(""));
}

#[test]
fn h112_keys_of_one_text_are_one_and_others_are_not() {
    let cache = cache(Cache::new(4_000));
    let long = "x".repeat(1 << 20);
    let keys = ["", "a", "A", "a b", "a_b", "a%20b", "\0", "ab", "e\u{301}", "\u{e9}", &long, &long[1..]];
    for (value, key) in (0..).zip(keys) {
        cache.insert(key, value);
    }
    for (value, key) in (0..).zip(keys) {
        assert_eq!((cache.get(key), cache.get(&key.to_owned())), (Some(value), Some(value)), "{:.10}", key);
    }
    let pairs: Cache<(String, String), u8> = Cache::new(10).build().expect("valid");
    pairs.insert(&("a".into(), "bc".into()), 1);
    assert_eq!(pairs.get(&("ab".into(), "c".into())), None);
}

#[test]
fn c1_17_a23_overwriting_at_capacity_evicts_nothing() {
    for eviction in ALL {
        let cache = cache(Cache::new(3).eviction(eviction));
        for key in ["a", "b", "c"] {
            cache.insert(key, 1);
        }
        for _ in 0..10 {
            cache.insert("b", 2);
        }
        let found = ["a", "b", "c"].map(|key| cache.get(key));
        assert_eq!((found, cache.stats().evictions()), ([Some(1), Some(2), Some(1)], 0), "{eviction:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn c36_c37_entries_and_bytes_are_those_of_a_model(ops in prop::collection::vec((0..40_u32, 0..60_u64, 0..10_u8), 1..300), which in 0..4_usize) {
        let cache = bytes(500, ALL[which]);
        let mut model: HashMap<u32, u64> = HashMap::new();
        for (key, weight, op) in ops {
            if op == 0 {
                let removed = cache.remove(&key);
                prop_assert_eq!(removed, model.remove(&key).is_some());
            } else if op == 1 {
                prop_assert_eq!(cache.get(&key), model.get(&key).copied());
            } else {
                prop_assert!(cache.insert(&key, weight));
                model.insert(key, weight);
            }
            // What was evicted is known by looking; all else must agree.
            model.retain(|key, _| cache.contains(key));
            let stats = cache.stats();
            prop_assert_eq!(stats.current_entries, Some(model.len() as u64));
            prop_assert_eq!(stats.current_size_bytes, Some(model.values().map(|weight| (*weight).max(1)).sum()));
            prop_assert!(stats.current_size_bytes <= Some(500));
        }
        let stats = cache.stats();
        prop_assert_eq!(cache.clear(), stats.current_entries.unwrap_or(0));
        prop_assert_eq!(cache.stats().current_size_bytes, Some(0));
    }
}

#[test]
fn c38_h123_what_is_too_heavy_is_not_kept_and_the_old_value_is_gone() {
    for eviction in ALL {
        let cache = bytes(100, eviction);
        assert!(cache.insert(&1, 10) && cache.insert(&2, 10));
        assert!(!cache.insert(&1, 101));
        assert_eq!((cache.get(&1), cache.get(&2), cache.len()), (None, Some(10), 1), "{eviction:?}");
    }
}

#[test]
fn c39_weights_of_nothing_and_of_everything() {
    for eviction in ALL {
        let nothing = Cache::<u32, u32>::bytes(10, |_| 0).eviction(eviction).build().expect("valid");
        for key in 0..100 {
            nothing.insert(&key, key);
        }
        assert!(nothing.len() <= 10, "{eviction:?}");
        let everything = Cache::<u32, u32>::bytes(u64::MAX, |_| u64::MAX / 2).eviction(eviction).build().expect("valid");
        for key in 0..100 {
            everything.insert(&key, key);
        }
        assert!(everything.len() <= 100 && everything.stats().current_size_bytes <= Some(u64::MAX));
    }
}

#[test]
fn c40_nothing_is_no_capacity_and_one_is() {
    let error = Cache::<u8, u8>::new(0).build().expect_err("no room");
    assert_eq!(error.faults()[0].field(), "capacity");
    for eviction in ALL {
        let cache = cache(Cache::new(1).eviction(eviction));
        for round in 0..20 {
            assert!(cache.insert(&round.to_string(), round));
            assert_eq!((cache.get(&round.to_string()), cache.len()), (Some(round), 1), "{eviction:?}");
        }
    }
}

#[test]
fn c41_who_makes_room() {
    let full = |eviction| {
        let cache = cache(Cache::new(3).eviction(eviction));
        for key in ["a", "b", "c"] {
            cache.insert(key, 1);
        }
        cache.get("a");
        cache.insert("d", 1);
        ["a", "b", "c", "d"].map(|key| cache.contains(key))
    };
    assert_eq!(full(Eviction::Lru), [true, false, true, true]);
    assert_eq!(full(Eviction::Fifo), [false, true, true, true]);
    assert_eq!(full(Eviction::Random).iter().filter(|there| **there).count(), 3);
    assert!(full(Eviction::Random)[3], "the new one stays");
    // A hot set survives a scan of ten times the capacity.
    let cache = cache(Cache::new(1_000));
    let hot = |key: u32| key.to_string();
    for _ in 0..5 {
        for key in 0..100 {
            if cache.get(&hot(key)).is_none() {
                cache.insert(&hot(key), key);
            }
        }
    }
    for key in 1_000..11_000 {
        cache.insert(&hot(key), key);
        if key % 100 == 0 {
            (0..100).for_each(|key| _ = cache.get(&hot(key)));
        }
    }
    let left = (0..100).filter(|key| cache.contains(&hot(*key))).count();
    assert!(left >= 90, "{left} of 100");
}

#[tokio::test(start_paused = true)]
async fn c42_evictions_are_those_for_room_and_those_for_time() {
    for eviction in ALL {
        let cache = cache(Cache::new(10).ttl(SECOND).eviction(eviction));
        for key in 0..15 {
            cache.insert(&key.to_string(), key);
        }
        cache.insert("x", 1);
        cache.insert("x", 2);
        cache.remove("x");
        assert_eq!((cache.stats().evicted_size, cache.stats().deletes), (6, 1), "{eviction:?}");
        tokio::time::advance(SECOND).await;
        let stats = cache.stats();
        assert_eq!((stats.expired, stats.evictions(), stats.current_entries), (9, 15, Some(0)), "{eviction:?}");
    }
}

#[test]
fn c44_many_threads_on_the_same_keys() {
    for eviction in ALL {
        let cache = bytes(1_000, eviction);
        std::thread::scope(|scope| {
            for thread in 0..16_u64 {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..500_u64 {
                        let key = ((round * 7 + thread) % 100) as u32;
                        match round % 5 {
                            0 => _ = cache.get(&key),
                            1 => _ = cache.remove(&key),
                            _ => _ = cache.insert(&key, round % 50),
                        }
                    }
                });
            }
        });
        assert!(cache.stats().current_size_bytes <= Some(1_000), "{eviction:?}");
    }
}

#[test]
fn c45_every_value_is_dropped_once_outside_the_lock() {
    // Asks the cache while it is dropped, which would hang under a lock.
    #[derive(Clone)]
    struct Asks(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Inside>);
    struct Inside(Cache<u32, Asks>, Count);
    impl Drop for Inside {
        fn drop(&mut self) {
            self.0.contains(&1);
            let _ = self.0.len();
            self.1.one();
        }
    }
    let dropped = Count::default();
    for eviction in ALL {
        let before = dropped.get();
        let cache: Cache<u32, Asks> = Cache::new(5).eviction(eviction).build().expect("valid");
        let value = || Asks(Arc::new(Inside(cache.clone(), dropped.clone())));
        for key in 0..10 {
            cache.insert(&key, value());
            cache.insert(&key, Loaded::new(value()).tag("t"));
        }
        cache.remove(&9);
        cache.insert(&8, Loaded::new(value()).ttl(Duration::ZERO));
        cache.invalidate_tag("t");
        cache.insert(&1, value());
        cache.clear();
        assert_eq!(dropped.get() - before, 22, "{eviction:?}");
    }
}

#[test]
fn c45_a_weigher_that_panics_leaves_the_cache_as_it_was() {
    let cache = Cache::<u32, u64>::bytes(100, |value| if *value == 13 { panic!("unlucky") } else { *value }).build().expect("valid");
    cache.insert(&1, 1);
    let thrown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cache.insert(&1, 13)));
    assert!(thrown.is_err());
    assert_eq!((cache.get(&1), cache.insert(&2, 2), cache.len()), (Some(1), true, 2));
}

#[test]
fn c46_reset_is_for_the_counts_alone() {
    let cache = cache(hundred());
    cache.insert("a", 1);
    cache.get("a");
    cache.get("b");
    let clone = cache.clone();
    assert_eq!((clone.stats().hit_rate(), clone.stats().utilization()), (0.5, 0.01));
    clone.reset_stats();
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.sets, stats.current_entries, stats.hit_rate()), (0, 0, 0, Some(1), 0.0));
}

#[test]
fn tags_remove_what_they_name_and_nothing_else() {
    for eviction in ALL {
        let cache = cache(Cache::new(4).eviction(eviction));
        cache.insert("a", Loaded::new(1).tag("red"));
        cache.insert("b", Loaded::new(2).tags(["red", "blue"]));
        cache.insert("c", Loaded::new(3).tag("blue"));
        cache.insert("a", 4); // it is no longer red
        assert_eq!(cache.invalidate_tag("red"), 1, "{eviction:?}");
        assert_eq!((cache.get("a"), cache.get("b"), cache.get("c")), (Some(4), None, Some(3)), "{eviction:?}");
        (0..20).for_each(|key| _ = cache.insert(&key.to_string(), key));
        let left = u64::from(cache.contains("c"));
        assert_eq!(cache.invalidate_tag("blue"), left, "{eviction:?}");
    }
}

#[test]
fn settings_change_while_it_is_used() {
    for eviction in ALL {
        let cache = cache(hundred().eviction(eviction));
        for key in 0..100 {
            cache.insert(&key.to_string(), key);
        }
        cache.reconfigure(&Cache::new(10).eviction(eviction)).expect("valid");
        assert_eq!((cache.len(), cache.stats().evicted_size, cache.config().capacity_of()), (10, 90, 10), "{eviction:?}");
        let other = if eviction == Eviction::Lru { Eviction::Fifo } else { Eviction::Lru };
        assert!(cache.reconfigure(&Cache::new(10).eviction(other)).is_err());
        assert!(cache.reconfigure(&Cache::bytes(10, |_| 1).eviction(eviction)).is_err());
    }
}

/// How large a cache is told to be.
trait Capacity {
    fn capacity_of(&self) -> u64;
}

impl Capacity for CacheConfig<String, u32> {
    fn capacity_of(&self) -> u64 {
        let debug = format!("{self:?}");
        let at = debug.find("capacity: ").expect("said") + "capacity: ".len();
        debug[at..].split(',').next().and_then(|number| number.parse().ok()).expect("a number")
    }
}

#[test]
fn b30_what_many_have_set_many_find() {
    let cache: Cache<u64, u64> = Cache::new(10_000).build().expect("valid");
    let each = |work: &(dyn Fn(u64) + Sync)| std::thread::scope(|scope| (0..10).for_each(|thread| drop(scope.spawn(move || work(thread)))));
    each(&|thread| (0..100).for_each(|key| _ = cache.insert(&(thread * 100 + key), thread)));
    each(&|_| (0..1_000).for_each(|key| assert_eq!(cache.get(&key), Some(key / 100))));
}

#[test]
fn c45_keys_and_values_that_panic_leave_the_cache_as_it_was() {
    use std::hash::{Hash, Hasher};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    struct Key(u8);
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            assert!(self.0 != 13, "unlucky");
            self.0.hash(state);
        }
    }
    #[derive(Debug, PartialEq)]
    struct Value(u8);
    impl Clone for Value {
        fn clone(&self) -> Self {
            assert!(self.0 != 13, "unlucky");
            Self(self.0)
        }
    }
    for eviction in ALL {
        let rules = Cache::new(10).eviction(eviction).ttl_of(|value: &Value| {
            assert!(value.0 != 14, "unlucky");
            None
        });
        let cache: Cache<Key, Value> = rules.stale_if_error(Duration::from_secs(1)).build().expect("valid");
        cache.insert(&Key(1), Value(1));
        cache.insert(&Key(2), Value(13));
        for _ in 0..20 {
            let panics = |work: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
            panics(&|| _ = cache.get(&Key(13)));
            panics(&|| _ = cache.insert(&Key(13), Value(1)));
            panics(&|| _ = cache.get(&Key(2)));
            panics(&|| _ = cache.insert(&Key(3), Value(14)));
        }
        assert_eq!((cache.get(&Key(1)), cache.len(), cache.remove(&Key(2)), cache.len()), (Some(Value(1)), 2, true, 1), "{eviction:?}");
    }
}
