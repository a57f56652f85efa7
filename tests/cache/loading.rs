use super::*;
use futures_util::future::join_all;
use std::pin::pin;
use std::task::{Context, Waker};
use steadfast::{Error, Loaded, RejectedKind};

async fn slow(count: &Count, value: u32) -> Result<u32, String> {
    count.one();
    pass(SECOND).await;
    Ok(value)
}

#[tokio::test(start_paused = true)]
async fn d47_h110_one_load_for_all_who_ask() {
    let (cache, loads) = (cache(hundred().ttl(SECOND * 60)), Count::default());
    let answers = join_all((0..64).map(|_| cache.get_or_load("a", |_| slow(&loads, 7)))).await;
    assert_eq!((answers.iter().filter(|answer| **answer == Ok(7)).count(), loads.get()), (64, 1));
    tokio::time::advance(SECOND * 60).await;
    join_all((0..10_000).map(|_| cache.get_or_load("a", |_| slow(&loads, 8)))).await;
    assert_eq!(loads.get(), 2, "and one when it is over");
    let began = tokio::time::Instant::now();
    let keys: Vec<String> = (0..64).map(|key| key.to_string()).collect();
    join_all(keys.iter().map(|key| cache.get_or_load(key, |_| slow(&loads, 9)))).await;
    assert_eq!((loads.get(), began.elapsed()), (66, SECOND), "64 keys load beside each other");
    assert_eq!(cache.stats().extra("loads"), Some(66));
}

#[tokio::test(start_paused = true)]
async fn d48_h10_whoever_is_dropped_hands_over() {
    let (cache, loads) = (cache(hundred()), Count::default());
    let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(cache.get_or_load("a", |_| slow(&loads, 7)))).collect();
    let mut cx = Context::from_waker(Waker::noop());
    for call in &mut waiting {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    for expected in 1..=5 {
        assert_eq!(loads.get(), expected);
        drop(waiting.remove(0));
        for call in &mut waiting {
            assert!(call.as_mut().poll(&mut cx).is_pending());
        }
    }
    let answers = join_all(waiting).await;
    assert_eq!((answers.len(), loads.get(), cache.get("a")), (15, 6, Some(7)));
}

#[tokio::test(start_paused = true)]
async fn d49_h24_a_panic_is_the_leaders_alone() {
    let (cache, loads) = (cache(hundred()), Count::default());
    let call = |_: u32| {
        let (cache, loads) = (cache.clone(), loads.clone());
        tokio::spawn(async move {
            cache
                .get_or_load("a", |_| async {
                    let first = loads.one() == 1;
                    pass(SECOND).await;
                    assert!(!first, "the first fails");
                    Ok::<_, String>(7)
                })
                .await
        })
    };
    let answers = join_all((0..100).map(call)).await;
    let panicked = answers.iter().filter(|answer| answer.is_err()).count();
    let fine = answers.iter().filter(|answer| matches!(answer, Ok(Ok(7)))).count();
    assert_eq!((panicked, fine, loads.get()), (1, 99, 2));
}

#[tokio::test(start_paused = true)]
async fn d50_h111_failures_are_not_kept_unless_told() {
    let (cache_without, loads) = (cache(hundred()), Count::default());
    let load = |_| async {
        match loads.one() {
            1 => Err("down".to_owned()),
            n => Ok(n),
        }
    };
    assert_eq!(cache_without.get_or_load("a", load).await, Err(Error::Inner("down".to_owned())));
    assert_eq!(cache_without.get_or_load("a", load).await, Ok(2));

    let (cache, fails) = (cache(hundred().ttl(SECOND * 60).negative_ttl(SECOND * 5)), Count::default());
    let fail = |_| async {
        fails.one();
        Err::<u32, _>("down".to_owned())
    };
    assert!(cache.get_or_load("a", fail).await.is_err());
    tokio::time::advance(SECOND * 2).await;
    let error = cache.get_or_load("a", fail).await.expect_err("remembered");
    let rejected = error.rejected().expect("without a load");
    assert_eq!((rejected.kind(), rejected.last_error()), (RejectedKind::LoadFailed, Some("down")));
    assert_eq!(rejected.retry_after(), Some(SECOND * 3));
    assert_eq!(rejected.to_string(), "cache: not attempted: the load of the same key has failed; try again in 3.0 s; down");
    assert_eq!((cache.get("a"), fails.get()), (None, 1));
    tokio::time::advance(SECOND * 3).await;
    assert_eq!(cache.get_or_load("a", load).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn d50_those_who_waited_for_a_failure_do_not_try_it_again_one_by_one() {
    let (cache, loads) = (cache(hundred()), Count::default());
    // An error of one's own that is not `Clone`.
    let fail = |_| async {
        loads.one();
        pass(SECOND).await;
        Err::<u32, _>(std::io::Error::other("reset"))
    };
    let answers = join_all((0..64).map(|_| cache.get_or_load("a", fail))).await;
    let own = answers.iter().filter(|answer| answer.as_ref().is_err_and(|error| error.inner().is_some())).count();
    assert_eq!((own, loads.get()), (1, 1));
    let told = answers.iter().filter_map(|answer| answer.as_ref().err().and_then(Error::rejected));
    assert_eq!(told.filter(|rejected| rejected.last_error() == Some("reset")).count(), 63);
}

/// Begins a load, does something meanwhile, and lets it end.
async fn during(cache: &Cache<String, u32>, tag: &str, meanwhile: impl FnOnce()) -> (Result<u32, Error<String>>, Option<u32>) {
    let load = |_| async {
        pass(SECOND).await;
        Ok::<_, String>(Loaded::new(1).tag(tag))
    };
    let change = async {
        pass(SECOND / 2).await;
        meanwhile();
    };
    let (early, also_early, ()) = tokio::join!(cache.get_or_load("a", load), cache.get_or_load("a", load), change);
    assert_eq!(early, also_early);
    (early, cache.get("a"))
}

#[tokio::test(start_paused = true)]
async fn d51_d52_what_changed_meanwhile_is_not_overwritten() {
    for negative in [Duration::ZERO, SECOND] {
        let cache = cache(hundred().ttl(SECOND * 60).negative_ttl(negative));
        assert_eq!(during(&cache, "x", || ()).await, (Ok(1), Some(1)));
        cache.clear();
        assert_eq!(during(&cache, "x", || _ = cache.remove("a")).await, (Ok(1), None));
        assert_eq!(during(&cache, "x", || _ = cache.clear()).await, (Ok(1), None));
        assert_eq!(during(&cache, "x", || _ = cache.invalidate_tag("x")).await, (Ok(1), None));
        assert_eq!(during(&cache, "x", || _ = cache.insert("a", 2)).await, (Ok(1), Some(2)), "the newer insert wins");
        cache.clear();
        assert_eq!(during(&cache, "x", || _ = cache.remove("b")).await, (Ok(1), Some(1)));
        cache.clear();
        assert_eq!(during(&cache, "x", || _ = cache.invalidate_tag("y")).await, (Ok(1), Some(1)));
        cache.clear();
        // More of them than are remembered one by one.
        assert_eq!(
            during(&cache, "x", || (0..100).for_each(|tag| {
                cache.invalidate_tag(tag.to_string());
            }))
            .await,
            (Ok(1), None)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn d51_who_comes_after_the_change_does_not_get_what_was_before() {
    let (cache, loads) = (cache(hundred()), Count::default());
    let load = |_| async {
        let value = loads.one();
        pass(SECOND).await;
        Ok::<_, String>(value)
    };
    let late = async {
        pass(SECOND / 2).await;
        cache.remove("a");
        cache.get_or_load("a", load).await
    };
    let (early, late) = tokio::join!(cache.get_or_load("a", load), late);
    assert_eq!((early, late, cache.get("a"), loads.get()), (Ok(1), Ok(2), Some(2), 2));
}

#[tokio::test(start_paused = true)]
async fn d57_another_key_can_be_loaded_inside_and_the_same_one_cannot() {
    let cache = cache(hundred());
    let nested = cache.get_or_load("a", |_| async { cache.get_or_load("b", |_| async { Ok::<_, String>(2) }).await.map(|b| b + 1) });
    assert_eq!(nested.await, Ok(3));
    let recursion = cache.get_or_load("c", |_| async { cache.get_or_load("c", |_| async { Ok::<_, String>(2) }).await });
    let error = tokio::time::timeout(SECOND, recursion).await.expect("no hang").expect_err("an error");
    assert!(error.to_string().contains("its own key"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn d56_hard_timeouts_end_a_load_and_soft_ones_a_wait() {
    let forever = |_| std::future::pending::<Result<u32, String>>();
    let strict = cache(hundred().ttl(SECOND).stale_if_error(SECOND * 60).load_timeouts(MS * 100, SECOND));
    let began = tokio::time::Instant::now();
    let (first, second) = tokio::join!(strict.get_or_load("a", forever), strict.get_or_load("a", forever));
    for error in [first, second] {
        assert_eq!(error.expect_err("too long").kind(), Some(RejectedKind::Timeout));
    }
    assert_eq!(began.elapsed(), SECOND);

    strict.insert("a", 1);
    tokio::time::advance(SECOND * 2).await;
    let began = tokio::time::Instant::now();
    assert_eq!(strict.get_or_load("a", forever).await, Ok(1));
    assert_eq!(began.elapsed(), MS * 100, "an old value after the soft limit");
}

#[tokio::test(start_paused = true)]
async fn d56_what_a_spawned_load_comes_to_is_kept() {
    let cache = cache(hundred().ttl(SECOND).stale_if_error(SECOND * 60).load_timeouts(MS * 100, SECOND * 10));
    cache.insert("a", 1);
    tokio::time::advance(SECOND * 2).await;
    let load = |_| async {
        pass(MS * 500).await;
        Ok::<_, String>(2)
    };
    assert_eq!(cache.get_or_spawn("a", load).await, Ok(1));
    assert_eq!(cache.get("a"), None);
    pass(MS * 401).await;
    assert_eq!(cache.get("a"), Some(2));
    // A load goes on when its caller goes away.
    {
        let mut call = pin!(cache.get_or_spawn("b", load));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    pass(SECOND).await;
    assert!(cache.stats().extra("loads") == Some(2));
}

#[tokio::test(start_paused = true)]
async fn marks_are_gone_when_nobody_loads() {
    let cache = cache(hundred());
    for round in 0..100 {
        let key = round.to_string();
        let mut call = pin!(cache.get_or_load(&key, |_| std::future::pending::<Result<u32, String>>()));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    // A dropped load leaves nothing that would keep a later one from being stored.
    assert_eq!(cache.get_or_load("1", |_| async { Ok::<_, String>(1) }).await, Ok(1));
    assert_eq!(cache.get("1"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn d56_spawned_loads_can_be_aborted() {
    let cache = cache(hundred().ttl(SECOND).stale_if_error(SECOND * 60));
    let running = Count::default();
    /// Counts those that were dropped.
    struct Dropped(Count);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.one();
        }
    }
    let count = running.clone();
    let hangs = move |_| {
        let dropped = Dropped(count.clone());
        async move {
            let _dropped = dropped;
            std::future::pending::<Result<u32, String>>().await
        }
    };
    cache.insert("old", 1);
    tokio::time::advance(SECOND).await;
    let begun = tokio::time::Instant::now();
    let abort = async {
        pass(MS).await;
        cache.abort_loads();
    };
    let spawned = |key| cache.get_or_spawn(key, hangs.clone());
    let (none, other, old, ()) = tokio::join!(spawned("a"), spawned("a"), spawned("old"), abort);
    for error in [none, other] {
        assert_eq!(error.expect_err("aborted").kind(), Some(RejectedKind::LoadFailed));
    }
    assert_eq!((old, running.get(), begun.elapsed()), (Ok(1), 2, MS));
    assert_eq!(cache.get_or_spawn("a", |_| async { Ok::<_, String>(2) }).await, Ok(2), "it goes on");
}
