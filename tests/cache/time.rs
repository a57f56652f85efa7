use super::*;
use steadfast::{Eviction, Loaded};

#[tokio::test(start_paused = true)]
async fn b25_without_a_ttl_it_outlives_ten_years() {
    let cache = cache(hundred());
    assert!(cache.insert("a", 1));
    tokio::time::advance(SECOND * 60 * 60 * 24 * 3650).await;
    assert_eq!(cache.get("a"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn b26_a_ttl_of_zero_keeps_nothing_and_removes_what_was_there() {
    let cache = cache(hundred());
    assert!(cache.insert("a", 1));
    assert!(!cache.insert("a", Loaded::new(2).ttl(Duration::ZERO)));
    assert_eq!((cache.get("a"), cache.len()), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn b27_the_longest_ttl_is_for_ever() {
    let cache = cache(hundred().ttl(SECOND).jitter(Duration::MAX).stale_if_error(Duration::MAX));
    assert!(cache.insert("a", Loaded::new(1).ttl(Duration::MAX)));
    assert!(cache.insert("b", Loaded::new(1).ttl(Duration::MAX - Duration::from_nanos(1))));
    assert!(cache.insert("c", 1));
    tokio::time::advance(SECOND * 60 * 60 * 24 * 365).await;
    assert_eq!((cache.get("a"), cache.get("b")), (Some(1), Some(1)));
}

#[tokio::test(start_paused = true)]
async fn b28_less_than_a_millisecond_is_one() {
    let cache = cache(hundred().ttl(Duration::from_nanos(1)));
    cache.insert("a", 1);
    tokio::time::advance(Duration::from_micros(999)).await;
    assert_eq!(cache.get("a"), Some(1));
    tokio::time::advance(Duration::from_micros(1)).await;
    assert_eq!(cache.get("a"), None);
}

#[tokio::test(start_paused = true)]
async fn b29_the_last_millisecond_is_alive_and_the_end_is_not() {
    for eviction in [Eviction::S3Fifo, Eviction::Lru, Eviction::Fifo, Eviction::Random] {
        let cache = cache(hundred().ttl(SECOND).eviction(eviction));
        cache.insert("a", 1);
        tokio::time::advance(SECOND - MS).await;
        assert!(cache.contains("a"));
        assert_eq!((cache.get("a"), cache.len()), (Some(1), 1));
        tokio::time::advance(MS).await;
        assert!(!cache.contains("a"));
        assert_eq!((cache.get("a"), cache.len()), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn b32_b33_what_is_over_is_freed_without_being_asked_for() {
    // A value tells when it is dropped.
    struct Told(#[expect(dead_code, reason = "its count is what matters")] Arc<()>);
    let alive = Arc::new(());
    let cache: Cache<u32, Arc<Told>> = Cache::new(100_000).ttl(SECOND).build().expect("valid");
    for key in 0..1_000 {
        cache.insert(&key, Arc::new(Told(Arc::clone(&alive))));
    }
    assert_eq!(Arc::strong_count(&alive), 1_001);
    tokio::time::advance(SECOND).await;
    // Each operation removes some, and others than its own as well.
    let before = Arc::strong_count(&alive);
    cache.insert(&u32::MAX, Arc::new(Told(Arc::clone(&alive))));
    let removed = before + 1 - Arc::strong_count(&alive);
    assert!(removed <= 32, "{removed}"); // none, where chance put nothing beside that key
    for _ in 0..4 * 32 * 64 {
        cache.remove(&u32::MAX);
    }
    assert_eq!(Arc::strong_count(&alive), 1, "one key alone was touched");
    assert_eq!(cache.stats().expired, 1_000);
}

#[tokio::test(start_paused = true)]
async fn b32_gets_alone_free_what_is_over() {
    let cache = cache(hundred().ttl(SECOND));
    for key in 0..50 {
        cache.insert(&key.to_string(), key);
    }
    cache.insert("stays", Loaded::new(1).ttl(SECOND * 100));
    tokio::time::advance(SECOND * 2).await;
    for _ in 0..4 {
        assert_eq!(cache.get("stays"), Some(1));
    }
    assert_eq!((cache.stats().expired, cache.len()), (50, 1));
}

#[tokio::test(start_paused = true)]
async fn b34_idle_is_extended_by_get_alone() {
    let cache = cache(hundred().idle(SECOND * 10));
    for key in ["asked", "looked at"] {
        cache.insert(key, 1);
    }
    for _ in 0..5 {
        tokio::time::advance(SECOND * 4).await;
        assert_eq!(cache.get("asked"), Some(1));
        let _ = (cache.contains("looked at"), cache.stats(), cache.len());
    }
    assert_eq!((cache.get("looked at"), cache.len()), (None, 1));
    tokio::time::advance(SECOND * 10).await;
    assert_eq!(cache.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn b35_whose_ttl_counts_and_how_far_it_is_spread() {
    let cache = cache(Cache::new(1_000).ttl(SECOND * 10).jitter(SECOND * 5));
    for key in 0..500 {
        cache.insert(&key.to_string(), key);
    }
    cache.insert("own", Loaded::new(1).ttl(SECOND * 30));
    let loaded = cache.get_or_load("loaded", |_| async { Ok::<_, String>(Loaded::new(2).ttl(SECOND * 60)) }).await;
    assert_eq!(loaded, Ok(2));
    tokio::time::advance(SECOND * 10 - MS).await;
    assert_eq!(cache.len(), 502);
    tokio::time::advance(SECOND * 5 / 2).await;
    let half = cache.len();
    assert!((150..350).contains(&half), "{half} of 500 after half of the jitter");
    tokio::time::advance(SECOND * 5 / 2 + MS).await;
    assert_eq!(cache.len(), 2);
    tokio::time::advance(SECOND * 20).await;
    assert_eq!((cache.contains("own"), cache.contains("loaded")), (false, true));
}

#[tokio::test(start_paused = true)]
async fn overwriting_keeps_one_moment_per_entry() {
    let cache = cache(hundred().ttl(SECOND));
    for round in 0..10_000 {
        cache.insert("a", round);
        if round % 100 == 0 {
            tokio::time::advance(MS * 10).await;
        }
    }
    assert_eq!(cache.get("a"), Some(9_999));
    // A shorter life than it had before ends in time, too.
    cache.insert("a", Loaded::new(1).ttl(MS * 5));
    tokio::time::advance(MS * 5).await;
    assert_eq!((cache.len(), cache.stats().expired), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn b35_a_value_says_how_long_it_is_fresh_and_what_its_tags_are() {
    let small = |value: &u32| (*value < 10).then(|| SECOND * *value);
    let cache = cache(hundred().ttl(SECOND * 60).ttl_of(small).tags_of(|value| (value % 2 == 1).then_some("odd")));
    cache.insert("one", 1);
    cache.insert("big", 100);
    cache.insert("said", Loaded::new(2).ttl(SECOND * 5).tag("two"));
    assert!(!cache.insert("none", 0), "zero is no time");
    assert_eq!(cache.get_or_load("loaded", |_| async { Ok::<_, String>(3) }).await, Ok(3));
    tokio::time::advance(SECOND).await;
    assert_eq!((cache.get("one"), cache.get("said")), (None, Some(2)));
    tokio::time::advance(SECOND * 2).await;
    assert_eq!((cache.get("loaded"), cache.get("said"), cache.get("big")), (None, Some(2), Some(100)));
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(cache.get("said"), None, "its own word goes before that of the rule");
    cache.insert("a", 101);
    cache.insert("b", Loaded::new(103).tag("red"));
    cache.insert("c", 102);
    assert_eq!((cache.invalidate_tag("red"), cache.invalidate_tag("odd"), cache.get("c")), (1, 1, Some(102)));
    // They can be exchanged.
    cache.reconfigure(&cache.config().ttl_of(|_| Some(SECOND))).expect("valid");
    cache.insert("big", 100);
    tokio::time::advance(SECOND).await;
    assert_eq!(cache.get("big"), None);
}
