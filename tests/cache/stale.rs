use super::*;
use steadfast::Error;

fn stale_for(config: CacheConfig<String, u32>) -> Cache<String, u32> {
    cache(config.ttl(SECOND * 10))
}

#[tokio::test(start_paused = true)]
async fn d54_while_one_loads_all_others_have_the_old_value_at_once() {
    let (cache, loads) = (stale_for(hundred().stale_while_revalidate(SECOND * 60)), Count::default());
    cache.insert("a", 1);
    tokio::time::advance(SECOND * 20).await;
    let load = |_| async {
        loads.one();
        pass(SECOND).await;
        Ok::<_, String>(2)
    };
    let began = tokio::time::Instant::now();
    let others = async {
        let mut answers = Vec::new();
        for _ in 0..100 {
            answers.push(cache.get_or_load("a", load).await);
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody else waits");
        answers
    };
    let (refreshed, answers) = tokio::join!(cache.get_or_load("a", load), others);
    assert_eq!((refreshed, answers.iter().all(|answer| *answer == Ok(1)), loads.get()), (Ok(2), true, 1));
    assert_eq!((cache.get("a"), cache.stats().extra("stale")), (Some(2), Some(101)));
}

#[tokio::test(start_paused = true)]
async fn d54_h124_a_refresh_that_fails_for_an_hour_is_tried_seldom_and_ends() {
    let (cache, loads) = (stale_for(hundred().stale_while_revalidate(SECOND * 3_600)), Count::default());
    cache.insert("a", 1);
    tokio::time::advance(SECOND * 10).await;
    let load = |_| async {
        loads.one();
        Err::<u32, _>("down".to_owned())
    };
    for second in 0..3_600 {
        assert_eq!(cache.get_or_load("a", load).await, Ok(1), "after {second} s");
        tokio::time::advance(SECOND).await;
    }
    assert!((20..=70).contains(&loads.get()), "{} refreshes", loads.get());
    assert_eq!(cache.get_or_load("a", load).await, Err(Error::Inner("down".to_owned())), "not for ever");
    assert_eq!(cache.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn d55_the_last_good_answer_until_it_is_too_old() {
    let (cache, loads) = (stale_for(hundred().stale_if_error(SECOND * 100)), Count::default());
    let fail = |_| async {
        loads.one();
        Err::<u32, _>("down".to_owned())
    };
    cache.insert("a", 1);
    tokio::time::advance(SECOND * 10).await;
    assert_eq!(cache.get("a"), None, "`get` gives what is fresh");
    assert_eq!(cache.get_or_load("a", fail).await, Ok(1));
    tokio::time::advance(SECOND * 29).await;
    assert_eq!((cache.get_or_load("a", fail).await, loads.get()), (Ok(1), 1), "no second try for 30 s");
    tokio::time::advance(SECOND).await;
    assert_eq!((cache.get_or_load("a", fail).await, loads.get()), (Ok(1), 2));
    tokio::time::advance(SECOND * 59).await;
    assert_eq!((cache.get_or_load("a", fail).await, loads.get()), (Ok(1), 2), "nor for a minute after two failures");
    tokio::time::advance(SECOND * 11).await;
    assert_eq!((cache.get_or_load("a", fail).await, loads.get()), (Err(Error::Inner("down".to_owned())), 3));

    // Removed by name, it is gone for good.
    for remove in [
        |cache: &Cache<String, u32>| _ = cache.remove("b"),
        |cache: &Cache<String, u32>| _ = cache.clear(),
        |cache: &Cache<String, u32>| _ = cache.invalidate_tag("red"),
    ] {
        cache.insert("b", steadfast::Loaded::new(1).tag("red"));
        tokio::time::advance(SECOND * 10).await;
        assert_eq!(cache.get_or_load("b", fail).await, Ok(1));
        remove(&cache);
        assert!(cache.get_or_load("b", fail).await.is_err());
    }
    // A success makes all good.
    cache.insert("c", 1);
    tokio::time::advance(SECOND * 10).await;
    assert_eq!(cache.get_or_load("c", |_| async { Ok::<_, String>(2) }).await, Ok(2));
    assert_eq!(cache.get("c"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn d55_all_who_waited_for_the_load_have_the_old_value() {
    let (cache, loads) = (stale_for(hundred().stale_if_error(SECOND * 100)), Count::default());
    cache.insert("a", 1);
    tokio::time::advance(SECOND * 10).await;
    let fail = |_| async {
        loads.one();
        pass(SECOND).await;
        Err::<u32, _>("down".to_owned())
    };
    let answers = futures_util::future::join_all((0..50).map(|_| cache.get_or_load("a", fail))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(1)));
    assert_eq!((answers.len(), loads.get()), (50, 1));
}

#[tokio::test(start_paused = true)]
async fn d58_refresh_ahead_is_made_by_one_who_asks() {
    let (cache, loads) = (stale_for(hundred().refresh_ahead(0.8)), Count::default());
    cache.insert("a", 1);
    let load = |_| async {
        loads.one();
        pass(SECOND).await;
        Ok::<_, String>(2)
    };
    tokio::time::advance(SECOND * 8 - MS).await;
    assert_eq!((cache.get_or_load("a", load).await, loads.get()), (Ok(1), 0));
    tokio::time::advance(MS).await;
    assert_eq!((cache.get("a"), loads.get()), (Some(1), 0), "`get` loads nothing");
    let other = async {
        tokio::task::yield_now().await;
        cache.get_or_load("a", load).await
    };
    let (refreshed, other) = tokio::join!(cache.get_or_load("a", load), other);
    assert_eq!((refreshed, other, loads.get()), (Ok(2), Ok(1), 1));
    tokio::time::advance(SECOND * 8 - MS).await;
    assert_eq!((cache.get_or_load("a", load).await, loads.get()), (Ok(2), 1), "a new life");

    // A refresh that is dropped, or panics, leaves the next one to do it.
    tokio::time::advance(SECOND).await;
    let dropped = tokio::time::timeout(MS, cache.get_or_load("a", load)).await;
    assert!(dropped.is_err());
    let clone = cache.clone();
    let thrown =
        tokio::spawn(async move { clone.get_or_load("a", |_| async { panic!("of the load") as Result<u32, String> }).await }).await;
    assert!(thrown.is_err());
    assert_eq!((cache.get_or_load("a", load).await, loads.get()), (Ok(2), 3));
    // One that fails leaves the value, which is still good.
    tokio::time::advance(SECOND * 9).await;
    assert_eq!(cache.get_or_load("a", |_| async { Err::<u32, _>("down") }).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn d54_a_spawned_refresh_keeps_nobody_waiting() {
    let cache = stale_for(hundred().stale_while_revalidate(SECOND * 60));
    cache.insert("a", 1);
    tokio::time::advance(SECOND * 20).await;
    let began = tokio::time::Instant::now();
    let load = |_| async {
        pass(SECOND).await;
        Ok::<_, String>(2)
    };
    assert_eq!(cache.get_or_spawn("a", load).await, Ok(1));
    assert_eq!(cache.get_or_spawn("a", load).await, Ok(1));
    assert_eq!(began.elapsed(), Duration::ZERO);
    pass(SECOND * 2).await;
    assert_eq!((cache.get("a"), cache.stats().extra("loads")), (Some(2), Some(1)));
}
