use super::*;
use std::sync::Mutex;
use steadfast::{Eviction, Loaded, RemovalCause};

const ALL: [Eviction; 4] = [Eviction::S3Fifo, Eviction::Lru, Eviction::Fifo, Eviction::Random];

/// What left, in order.
#[derive(Clone, Default)]
struct Left(Arc<Mutex<Vec<(u32, RemovalCause)>>>);

impl Left {
    fn heard_by(&self, config: CacheConfig<String, u32>) -> Cache<String, u32> {
        let left = Arc::clone(&self.0);
        cache(config.on_removal(move |value, cause| left.lock().expect("whole").push((value, cause))))
    }

    fn take(&self) -> Vec<(u32, RemovalCause)> {
        std::mem::take(&mut self.0.lock().expect("whole"))
    }
}

#[tokio::test(start_paused = true)]
async fn c43_each_removal_is_told_once_with_its_cause() {
    use RemovalCause::{Evicted, Expired, Removed, Replaced};
    for eviction in ALL {
        let left = Left::default();
        let cache = left.heard_by(Cache::new(3).ttl(SECOND * 10).eviction(eviction));
        cache.insert("a", 1);
        cache.insert("a", 2);
        assert_eq!(left.take(), [(1, Replaced)], "{eviction:?}");
        cache.remove("a");
        cache.remove("a");
        assert_eq!(left.take(), [(2, Removed)]);
        cache.insert("a", Loaded::new(3).tag("red"));
        cache.invalidate_tag("red");
        assert_eq!(left.take(), [(3, Removed)]);
        for value in 4..8 {
            cache.insert(&value.to_string(), value);
        }
        let evicted = left.take();
        assert!(matches!(evicted[..], [(4..=6, Evicted)]), "{eviction:?}: {evicted:?}");
        cache.clear();
        let mut cleared = left.take();
        cleared.sort_unstable_by_key(|(value, _)| *value);
        assert!(cleared.len() == 3 && cleared.iter().all(|(_, cause)| *cause == Removed), "{cleared:?}");
        cache.insert("b", 8);
        tokio::time::advance(SECOND * 10).await;
        assert_eq!((cache.len(), left.take()), (0, vec![(8, Expired)]));
        // Over, but not yet away, when another one comes, or somebody removes it.
        for end in [|cache: &Cache<String, u32>| _ = cache.insert("c", 10), |cache: &Cache<String, u32>| _ = cache.remove("c")] {
            cache.insert("c", 9);
            tokio::time::advance(SECOND * 10).await;
            end(&cache);
            assert_eq!(left.take(), [(9, Expired)]);
            cache.clear();
            left.take();
        }
        // What was never in does not leave; what it came for does.
        cache.insert("d", 11);
        assert!(!cache.insert("d", Loaded::new(12).ttl(Duration::ZERO)));
        assert_eq!(left.take(), [(11, Replaced)]);
        // A capacity that shrinks.
        (13..16).for_each(|value| _ = cache.insert(&value.to_string(), value));
        cache.reconfigure(&cache.config().name("smaller")).expect("valid");
        assert_eq!(left.take(), []);
        let smaller = left.clone();
        let smaller =
            Cache::new(1).eviction(eviction).on_removal(move |value, cause| smaller.0.lock().expect("whole").push((value, cause)));
        cache.reconfigure(&smaller).expect("valid");
        assert_eq!((cache.len(), left.take().iter().filter(|(_, cause)| *cause == Evicted).count()), (1, 2), "{eviction:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn c43_a_load_that_is_outdated_leaves_nothing() {
    let left = Left::default();
    let cache = left.heard_by(hundred());
    let load = cache.get_or_load("a", |_| async {
        pass(SECOND).await;
        Ok::<_, String>(1)
    });
    let (loaded, _) = tokio::join!(load, async {
        pass(MS).await;
        cache.insert("a", 2);
    });
    assert_eq!((loaded, cache.get("a"), left.take()), (Ok(1), Some(2), vec![]));
}

#[test]
fn c43_a_listener_may_use_the_cache() {
    for eviction in ALL {
        let (slot, heard) = (Arc::new(std::sync::OnceLock::<Cache<String, u32>>::new()), Count::default());
        let (of_listener, count) = (Arc::clone(&slot), heard.clone());
        let cache = Cache::new(2).eviction(eviction).on_removal(move |value: u32, _| {
            count.one();
            let cache = of_listener.get().expect("set");
            assert!(cache.len() <= 2);
            cache.get("a");
            if value < 100 {
                cache.insert("again", value + 100);
            }
        });
        let cache = slot.get_or_init(|| cache.build().expect("valid"));
        for value in 0..10 {
            cache.insert(&value.to_string(), value);
        }
        cache.clear();
        assert!(heard.get() >= 10, "{eviction:?}");
    }
}

#[test]
fn c45_a_listener_that_panics_harms_nobody() {
    let heard = Count::default();
    let count = heard.clone();
    let cache = cache(hundred().on_removal(move |value, _| {
        count.one();
        assert!(value % 2 == 0, "odd");
    }));
    (0..20).for_each(|value| _ = cache.insert(&value.to_string(), value));
    assert_eq!((cache.clear(), heard.get(), cache.len()), (20, 20, 0));
    assert!(cache.insert("1", 1) && cache.remove("1") && cache.insert("1", 2));
    assert_eq!((cache.get("1"), heard.get()), (Some(2), 21));
}

#[test]
fn c45_told_of_as_many_as_came() {
    for eviction in ALL {
        let heard = Count::default();
        let count = heard.clone();
        let cache: Cache<u32, u64> =
            Cache::bytes(1_000, |value: &u64| *value).eviction(eviction).on_removal(move |_, _| _ = count.one()).build().expect("valid");
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let cache = &cache;
                scope.spawn(move || (0..1_000_u64).for_each(|round| _ = cache.insert(&((round * 7 + thread) as u32 % 100), round % 50)));
            }
        });
        let stats = cache.stats();
        cache.clear();
        assert_eq!((stats.sets, u64::from(heard.get())), (4_000, 4_000), "{eviction:?}");
    }
}
