use super::*;
use steadfast::{Bulkhead, CircuitBreaker, Error, Fallback, Monitor, Pipeline, RateLimiter, RejectedKind, Retry, TypedPipeline, Verdict};

fn answers() -> Cache<String, u32> {
    cache(hundred().ttl(SECOND).stale_if_error(SECOND * 60).retry_stale_every(MS))
}

async fn fine() -> Result<u32, String> {
    Ok(1)
}

async fn down() -> Result<u32, String> {
    Err("down".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_hit_asks_nobody() {
    let (cache, calls) = (answers(), Count::default());
    let api = Pipeline::builder("api").rate_limit(RateLimiter::per_second(1)).monitor(Monitor::new()).build().expect("valid");
    for _ in 0..100 {
        let answer = api.key("a").cached(&cache).call(|| async {
            calls.one();
            Ok::<_, String>(7)
        });
        assert_eq!(answer.await, Ok(7));
    }
    assert_eq!(calls.get(), 1);
    let stats = api.stats().calls.expect("a monitor");
    assert_eq!((stats.calls(), stats.successes(), stats.attempts()), (100, 100, 1), "callers were answered, the dependency was asked once");
    // Another key, no key, and a key of another type.
    assert_eq!(api.key("b").cached(&cache).call(fine).await.expect_err("the limit").kind(), Some(RejectedKind::RateLimited));
    assert!(api.priority(steadfast::Priority::High).cached(&cache).call(fine).await.is_err());
    let by_number: Cache<u64, u32> = Cache::new(10).build().expect("valid");
    by_number.insert(&7, 70);
    assert_eq!(api.cost(1).cached_by(&by_number, &7).call(down).await, Ok(70));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_gives_the_last_good_answer() {
    let cache = answers();
    let api =
        Pipeline::builder("api").circuit_breaker(CircuitBreaker::consecutive_failures(1)).monitor(Monitor::new()).build().expect("valid");
    assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
    tokio::time::advance(SECOND).await;
    api.circuit_breaker().expect("there").isolate();
    assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
    assert_eq!(api.key("b").cached(&cache).call(fine).await.expect_err("never seen").kind(), Some(RejectedKind::CircuitOpen));
    let stats = api.stats().calls.expect("a monitor");
    assert_eq!((stats.rejected_by(RejectedKind::CircuitOpen), stats.fallbacks()), (2, 1));
    tokio::time::advance(SECOND * 61).await;
    assert!(api.key("a").cached(&cache).call(fine).await.is_err(), "too old");
}

#[tokio::test(start_paused = true)]
async fn timeouts_give_the_last_good_answer() {
    let cache = answers();
    let hangs = || std::future::pending::<Result<u32, String>>();
    for api in [
        Pipeline::builder("attempt").attempt_timeout(MS * 10).build().expect("valid"),
        Pipeline::builder("total").total_timeout(MS * 10).build().expect("valid"),
    ] {
        cache.clear();
        assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
        tokio::time::advance(SECOND).await;
        let began = tokio::time::Instant::now();
        let (one, two) = tokio::join!(api.key("a").cached(&cache).call(hangs), api.key("a").cached(&cache).call(hangs));
        assert_eq!((one, two, began.elapsed()), (Ok(1), Ok(1), MS * 10));
        // A caller who is in a hurry does not wait for one who is not.
        tokio::time::advance(SECOND).await;
        let began = tokio::time::Instant::now();
        let hurry = async {
            tokio::task::yield_now().await;
            let answer = api.key("a").within(MS).cached(&cache).call(hangs).await;
            (answer, began.elapsed())
        };
        let (_, hurry) = tokio::join!(api.key("a").cached(&cache).call(hangs), hurry);
        assert_eq!(hurry, (Ok(1), MS));
    }
}

#[tokio::test(start_paused = true)]
async fn limits_give_the_last_good_answer() {
    let places = Bulkhead::new(1).build().expect("valid");
    for api in [
        Pipeline::builder("rate").rate_limit(RateLimiter::per_hour(1)).build().expect("valid"),
        Pipeline::builder("places").bulkhead(places.clone()).build().expect("valid"),
    ] {
        let cache = answers();
        assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
        tokio::time::advance(SECOND).await;
        let held = places.try_acquire().expect("free");
        assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
        assert!(api.key("b").cached(&cache).call(fine).await.is_err());
        drop(held);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_give_the_last_good_answer_after_every_retry() {
    let (cache, calls) = (answers(), Count::default());
    let api = Pipeline::builder("api").retry(Retry::constant(2, MS)).build().expect("valid");
    assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
    tokio::time::advance(SECOND).await;
    let fails = || async {
        calls.one();
        down().await
    };
    assert_eq!((api.key("a").cached(&cache).call(fails).await, calls.get()), (Ok(1), 3));
    assert_eq!(api.key("b").cached(&cache).call(down).await, Err(Error::Inner("down".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn what_is_ignored_is_an_answer_and_what_is_judged_a_failure_is_not_kept() {
    let cache = answers();
    let api = Pipeline::builder("api")
        .classify(|error: &String| if error == "not found" { Verdict::Ignored } else { Verdict::transient() })
        .build()
        .expect("valid");
    assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
    tokio::time::advance(SECOND).await;
    let gone = api.key("a").cached(&cache).call(|| async { Err("not found".to_owned()) }).await;
    assert_eq!(gone, Err(Error::Inner("not found".to_owned())));
    assert_eq!(api.key("a").cached(&cache).call(down).await, Ok(1));

    let busy = |answer: &Result<u32, String>| if *answer == Ok(503) { Verdict::transient() } else { Verdict::Success };
    let answer = api.key("c").classify(busy).cached(&cache).call(|| async { Ok(503) }).await;
    assert_eq!((answer, cache.get("c")), (Ok(503), None));
    let answer = api.key("c").classify(busy).cached(&cache).call(|| async { Ok(200) }).await;
    assert_eq!((answer, cache.get("c")), (Ok(200), Some(200)));
}

#[tokio::test(start_paused = true)]
async fn one_call_for_all_and_each_in_the_books_once() {
    let (cache, calls) = (answers(), Count::default());
    let api = Pipeline::builder("api").monitor(Monitor::new()).build().expect("valid");
    let slow = || async {
        calls.one();
        pass(MS * 10).await;
        Ok::<_, String>(3)
    };
    let answers = futures_util::future::join_all((0..64).map(|_| api.key("a").cached(&cache).call(slow))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(3)));
    let stats = api.stats().calls.expect("a monitor");
    assert_eq!((calls.get(), stats.calls(), stats.successes(), stats.attempts()), (1, 64, 64, 1));
    // Dropped while it waits for another one.
    tokio::time::advance(SECOND * 100).await;
    let leader = api.key("a").cached(&cache).call(slow);
    let follower = async {
        tokio::task::yield_now().await;
        tokio::time::timeout(MS, api.key("a").cached(&cache).call(slow)).await
    };
    let (led, gone) = tokio::join!(leader, follower);
    assert_eq!((led, gone.is_err()), (Ok(3), true));
    let stats = api.stats().calls.expect("a monitor");
    assert_eq!((stats.calls(), stats.abandoned()), (66, 1));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_spawned_and_need_not_be() {
    let (cache, api) = (answers(), Pipeline::builder("api").build().expect("valid"));
    let (of_task, api_of_task) = (cache.clone(), api.clone());
    let spawned = tokio::spawn(async move { api_of_task.key("a").cached(&of_task).call(fine).await });
    assert_eq!(spawned.await.expect("done"), Ok(1));
    // A borrowed value, in an operation that is not `Send`.
    let text = String::from("lent");
    let here = std::rc::Rc::new(());
    let lent: Cache<String, &str> = Cache::new(10).build().expect("valid");
    let answer = api.key("a").cached(&lent).call(|| async {
        let _here = std::rc::Rc::clone(&here);
        tokio::task::yield_now().await;
        Ok::<_, String>(text.as_str())
    });
    assert_eq!(answer.await, Ok("lent"));
}

#[tokio::test(start_paused = true)]
async fn a_typed_pipeline_keeps_what_has_a_key() {
    let api: TypedPipeline<u32, String> = Pipeline::builder("api")
        .cache(Cache::new(100).ttl(SECOND).stale_if_error(SECOND * 60).retry_stale_every(MS))
        .fallback(Fallback::value(0))
        .with(|builder| builder.circuit_breaker(CircuitBreaker::consecutive_failures(1)).monitor(Monitor::new()))
        .build()
        .expect("valid");
    assert_eq!(api.call(down).await, Ok(0));
    api.pipeline().circuit_breaker().expect("there").reset();
    assert_eq!(api.key("a").call(fine).await, Ok(1));
    assert_eq!(api.key("a").call(down).await, Ok(1), "a hit");
    tokio::time::advance(SECOND).await;
    assert_eq!(api.key("a").call(down).await, Ok(1), "the last good one");
    tokio::time::advance(MS * 2).await;
    assert_eq!(api.key("a").call(fine).await, Ok(1), "the breaker is open");
    assert_eq!(api.key("b").call(fine).await, Ok(0), "the fallback, where there is none");
    assert_eq!(api.cache().map(|cache| cache.clear()), Some(1));
    assert_eq!(api.clone().key("a").call(fine).await, Ok(0));
    let stats = api.pipeline().stats().calls.expect("a monitor");
    assert_eq!((stats.calls(), stats.fallbacks()), (7, 5));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_of_a_cached_call_has_until_the_deadline() {
    let slow = Fallback::future(|_| async {
        pass(SECOND).await;
        Ok(9)
    });
    let of = |limit| Pipeline::builder("api").total_timeout(limit).cache::<u32, String>(Cache::new(10)).fallback(slow.clone()).build();
    assert_eq!(of(SECOND * 2).expect("valid").key("a").call(down).await, Ok(9));
    let late = of(SECOND / 2).expect("valid").key("a").call(down).await.expect_err("too late");
    assert_eq!(
        (late.kind(), late.rejected().and_then(steadfast::Rejected::last_error)),
        (Some(RejectedKind::DeadlineExceeded), Some("down"))
    );
}

#[test]
fn the_faults_of_a_cache_are_among_those_of_its_pipeline() {
    let built = Pipeline::builder("").cache::<u32, String>(Cache::new(0).refresh_ahead(80.0)).build();
    let error = built.expect_err("three faults");
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["cache.capacity", "cache.refresh_ahead", "name"]);
}

#[test]
fn times_that_contradict_each_other_are_faults() {
    let cache = Cache::<u32, u32>::new(9).negative_ttl(SECOND * 61).load_timeouts(SECOND * 2, SECOND).retry_stale_every(Duration::ZERO);
    let error = cache.build().expect_err("three faults");
    let mut fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["load_timeouts", "negative_ttl", "retry_stale_every"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_is_remembered_whatever_was_there_before() {
    let cache = cache(hundred().ttl(SECOND).stale_if_error(SECOND * 60).negative_ttl(SECOND * 5));
    let api = Pipeline::builder("api").classify(|error: &String| if error == "404" { Verdict::Ignored } else { Verdict::transient() });
    let (api, calls) = (api.circuit_breaker(CircuitBreaker::consecutive_failures(1)).build().expect("valid"), Count::default());
    let missing = || async {
        calls.one();
        Err::<u32, _>("404".to_owned())
    };
    assert_eq!(api.key("a").cached(&cache).call(fine).await, Ok(1));
    tokio::time::advance(SECOND).await;
    assert_eq!(api.key("a").cached(&cache).call(missing).await, Err(Error::Inner("404".to_owned())));
    let again = api.key("a").cached(&cache).call(missing).await.expect_err("remembered");
    assert_eq!((again.kind(), again.retry_after(), calls.get()), (Some(RejectedKind::LoadFailed), Some(SECOND * 5), 1));
    // What a policy rejects is not: it knows by itself when it will not.
    api.circuit_breaker().expect("there").isolate();
    assert_eq!(api.key("b").cached(&cache).call(fine).await.expect_err("open").kind(), Some(RejectedKind::CircuitOpen));
    api.circuit_breaker().expect("there").reset();
    assert_eq!(api.key("b").cached(&cache).call(fine).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_not_shared() {
    let (cache, api, calls) = (answers(), Pipeline::builder("api").build().expect("valid"), Count::default());
    let slow = || async {
        calls.one();
        pass(MS * 50).await;
        Ok::<_, String>(3)
    };
    let patient = async {
        tokio::task::yield_now().await;
        api.key("a").cached(&cache).call(slow).await
    };
    let (hurried, patient) = tokio::join!(api.key("a").within(MS * 10).cached(&cache).call(slow), patient);
    assert_eq!(hurried.expect_err("no time").kind(), Some(RejectedKind::DeadlineExceeded));
    assert_eq!((patient, calls.get(), cache.get("a")), (Ok(3), 2, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn each_answer_is_kept_as_it_says_itself_or_its_call_does() {
    let cache = cache(hundred().ttl(SECOND * 60).ttl_of(|value| (*value == 2).then_some(SECOND)).tags_of(|value| [value.to_string()]));
    let api = Pipeline::builder("api").build().expect("valid");
    let typed: TypedPipeline<u32, String> = Pipeline::builder("typed").cache(cache.clone()).build().expect("valid");
    let two = || async { Ok::<_, String>(2) };
    assert_eq!(api.key("a").cached(&cache).call(two).await, Ok(2));
    assert_eq!(typed.key("b").call(two).await, Ok(2));
    assert_eq!(api.key("c").cached(&cache).kept(|answer| answer.ttl(SECOND * 5).tag("org:7")).call(two).await, Ok(2));
    assert_eq!(api.cost(1).cached_by(&cache, "d").kept(|answer| answer.tag("org:7")).call(fine).await, Ok(1));
    tokio::time::advance(SECOND).await;
    assert_eq!(["a", "b", "c", "d"].map(|key| cache.get(key)), [None, None, Some(2), Some(1)]);
    assert_eq!((cache.invalidate_tag("1"), cache.invalidate_tag("org:7")), (1, 1));
    // It is not asked of a hit, nor of what a judge calls a failure, which leaves the old value for bad times.
    let stale = answers();
    let never = |_| -> steadfast::Loaded<u32> { panic!("not asked") };
    stale.insert("a", 1);
    assert_eq!(api.key("a").cached(&stale).kept(never).call(fine).await, Ok(1));
    tokio::time::advance(SECOND).await;
    let busy = |answer: &Result<u32, String>| if *answer == Ok(503) { Verdict::transient() } else { Verdict::Success };
    assert_eq!(api.key("a").classify(busy).cached(&stale).kept(never).call(|| async { Ok(503) }).await, Ok(503));
    assert_eq!(api.key("a").cached(&stale).call(down).await, Ok(1), "the last good answer");
}
