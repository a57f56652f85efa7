use super::*;
use allocation_counter::measure;
use steadfast::{CircuitBreaker, Eviction, Monitor, Pipeline, Retry, TypedPipeline};

fn allocated(run: impl FnOnce()) -> u64 {
    measure(run).count_total
}

/// What is ready at once, without a runtime of its own that might allocate.
fn now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("not ready"),
    }
}

#[test]
fn a_hit_allocates_nothing_alone_or_through_a_pipeline() {
    let config = || Cache::new(5_000).ttl(SECOND * 60).idle(SECOND * 60).stale_if_error(SECOND * 600).refresh_ahead(0.9);
    let (numbers, shared): (Cache<String, u32>, Cache<String, Arc<str>>) =
        (config().build().expect("valid"), Cache::new(5_000).ttl(SECOND * 60).build().expect("valid"));
    numbers.insert("a", 1);
    shared.insert("a", Arc::<str>::from("one"));
    let api = Pipeline::builder("api")
        .retry(Retry::exponential(3, MS))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5))
        .total_timeout(SECOND)
        .build()
        .expect("valid");
    let watched = Pipeline::builder("watched").monitor(Monitor::new()).build().expect("valid");
    let typed: TypedPipeline<u32, String> = Pipeline::builder("typed").cache(numbers.clone()).build().expect("valid");
    let op = || async { Err::<u32, String>(String::from("not asked")) };
    let text = || async { Err::<Arc<str>, String>(String::from("not asked")) };
    let all = || {
        assert_eq!((numbers.get("a"), shared.get("a").as_deref()), (Some(1), Some("one")));
        assert_eq!((numbers.get("none"), numbers.contains("a")), (None, true));
        assert_eq!(now(numbers.get_or_load("a", |_| op())), Ok(1));
        assert_eq!(now(api.key("a").cached(&numbers).call(op)), Ok(1));
        assert_eq!(now(api.key("a").cached(&shared).call(text)).as_deref(), Ok("one"));
        assert_eq!(now(typed.key("a").call(op)), Ok(1));
        assert_eq!(now(watched.key("a").cached(&numbers).call(op)), Ok(1));
    };
    all();
    assert_eq!(allocated(all), 0);
}

#[test]
fn an_entry_costs_what_is_said() {
    for (eviction, ttl) in
        [(Eviction::S3Fifo, SECOND), (Eviction::S3Fifo, Duration::MAX), (Eviction::Lru, SECOND), (Eviction::Random, SECOND)]
    {
        let cache: Cache<u64, u64> = Cache::new(100_000).ttl(ttl).eviction(eviction).build().expect("valid");
        let bytes = measure(|| (0..60_000).for_each(|key| _ = cache.insert(&key, key))).bytes_current;
        let each = bytes as f64 / 60_000.0;
        assert!((80.0..250.0).contains(&each), "{eviction:?}, {ttl:?}: {each}");
    }
}

static_assertions::assert_impl_all!(Cache<std::rc::Rc<u8>, u8>: Send, Sync, Clone);

#[cfg(feature = "store")]
#[test]
fn a_hit_allocates_nothing_whatever_is_behind_the_cache() {
    use steadfast::store::{MemoryStore, Raw};
    let config = || Cache::new(5_000).ttl(SECOND * 60).second_tier(MemoryStore::new(), Raw).on_removal(|_, _| ()).tags_of(|_| ["all"]);
    let (texts, numbers): (Cache<String, bytes::Bytes>, Cache<u64, bytes::Bytes>) =
        (config().build().expect("valid"), Cache::new(10).second_tier(MemoryStore::new(), Raw).build().expect("valid"));
    texts.insert("a", bytes::Bytes::from_static(b"one"));
    numbers.insert(&7, bytes::Bytes::from_static(b"seven"));
    let api = Pipeline::builder("api").build().expect("valid");
    let op = || async { Err::<bytes::Bytes, String>(String::from("not asked")) };
    let all = || {
        assert!(texts.get("a").is_some() && texts.get("none").is_none());
        assert!(now(texts.get_or_load("a", |_| op())).is_ok());
        assert!(now(texts.both().get("a")).is_some());
        assert!(now(api.key("a").cached(&texts).call(op)).is_ok());
        assert!(now(api.cost(1).cached_by(&numbers, &7).call(op)).is_ok());
    };
    all();
    assert_eq!(allocated(all), 0);
}
