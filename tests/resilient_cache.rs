//! `#[resilient(cache(..))]`: the answers of a function are kept.
#![cfg(all(feature = "macros", feature = "cache"))]

mod support_resilient {
    pub(crate) mod errors;
}

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use steadfast::{Cache, Error, Pipeline, PipelineConfig, Registry, RegistryConfig, Verdict, resilient};
use support_resilient::errors::{ApiError, Counter};
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

#[resilient(cache(ttl = 10s, stale_if_error = 1h, capacity = 100), retry(1, fixed(1ms)), key = "{tenant}/{id}")]
async fn quote(tenant: &str, id: u64, calls: &Counter, fails: bool) -> Result<String, ApiError> {
    let call = calls.next();
    if fails { Err(ApiError::Status(503)) } else { Ok(format!("{tenant} {id}: {call}")) }
}

#[tokio::test(start_paused = true)]
async fn form_cache_keeps_and_outlives_an_outage() {
    let calls = Counter::default();
    let text = |text: &str| text.to_owned();
    assert_eq!(quote("a", 1, &calls, false).await.ok(), Some(text("a 1: 1")));
    assert_eq!(quote("a", 1, &calls, true).await.ok(), Some(text("a 1: 1")), "a hit");
    assert_eq!(quote("b", 1, &calls, false).await.ok(), Some(text("b 1: 2")), "another key");
    advance(10 * SECOND).await;
    assert_eq!(quote("a", 1, &calls, true).await.ok(), Some(text("a 1: 1")), "the last good one");
    assert_eq!(calls.count(), 4, "after a retry");
    advance(3_600 * SECOND).await;
    assert!(quote("a", 1, &calls, true).await.is_err());
    assert_eq!(quote("a", 1, &calls, false).await.ok(), Some(text("a 1: 7")));
}

#[tokio::test(start_paused = true)]
async fn h112_functions_with_the_same_key_do_not_meet() {
    #[resilient(cache(ttl = 1m), key = id)]
    async fn one(id: u8) -> anyhow::Result<u8> {
        Ok(id + 1)
    }
    #[resilient(cache(ttl = 1m), key = id)]
    async fn two(id: u8) -> anyhow::Result<u8> {
        Ok(id + 2)
    }
    // Nor do the types of a generic one.
    #[resilient(cache(ttl = 1m), key = "same")]
    async fn any<T: Clone + Debug + Send + Sync + 'static>(value: T) -> anyhow::Result<T> {
        Ok(value)
    }
    assert_eq!((one(1).await.ok(), two(1).await.ok(), one(1).await.ok()), (Some(2), Some(3), Some(2)));
    assert_eq!(
        (any(1_u8).await.ok(), any("x").await.ok(), any(2_u8).await.ok(), any("y").await.ok()),
        (Some(1), Some("x"), Some(1), Some("x"))
    );
    assert_eq!((any(7_i64).await.ok(), any(8_i64).await.ok()), (Some(7), Some(7)));
}

struct Client {
    calls: Counter,
}

impl Client {
    #[resilient(
        cache(ttl = SECOND, stale_if_error = 10 * SECOND), key = name, attempt_timeout = 1s,
        classify = |e: &ApiError| if matches!(e, ApiError::Status(404)) { Verdict::Ignored } else { Verdict::transient() },
        fallback = |_| async { Ok(Arc::from("nobody")) },
    )]
    async fn user(&self, name: &str, status: u16) -> Result<Arc<str>, ApiError> {
        self.calls.next();
        if status == 200 { Ok(Arc::from(name)) } else { Err(ApiError::Status(status)) }
    }

    #[resilient(cache(ttl = 1s), key = name, err = std::io::Error)]
    async fn raw(&self, name: String) -> Result<usize, Error<std::io::Error>> {
        Ok(self.calls.next() as usize + name.len())
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_judge_and_a_fallback() {
    let client = Client { calls: Counter::default() };
    assert_eq!(client.user("ann", 503).await.ok().as_deref(), Some("nobody"));
    assert_eq!(client.user("ann", 200).await.ok().as_deref(), Some("ann"), "a fallback is not kept");
    advance(SECOND).await;
    assert_eq!(client.user("ann", 503).await.ok().as_deref(), Some("ann"));
    advance(40 * SECOND).await;
    assert_eq!(client.user("ann", 404).await.ok().as_deref(), Some("nobody"));
    assert_eq!(client.calls.count(), 4);
    assert_eq!((client.raw("x".to_owned()).await.ok(), client.raw("x".to_owned()).await.ok()), (Some(6), Some(6)));
}

#[tokio::test(start_paused = true)]
async fn many_callers_are_one_call_and_can_be_spawned() {
    static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    #[resilient(cache(ttl = 1m), key = "the only one")]
    async fn slow() -> Result<u32, ApiError> {
        tokio::time::sleep(SECOND).await;
        Ok(CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(slow())).collect();
    for task in tasks {
        assert_eq!(task.await.ok().and_then(Result::ok), Some(0));
    }
    assert_eq!(CALLS.load(std::sync::atomic::Ordering::Relaxed), 1);
}

static QUOTES: LazyLock<Cache<String, u32>> =
    LazyLock::new(|| Cache::new(100).ttl(10 * SECOND).stale_if_error(60 * SECOND).build().expect("valid"));

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| RegistryConfig::new().pipeline("payments", PipelineConfig::new()).build().expect("valid"));

#[resilient(pipeline = "payments", cached = QUOTES, key = id)]
async fn price(id: u64, calls: &Counter, fails: bool) -> Result<u32, ApiError> {
    let call = calls.next();
    if fails { Err(ApiError::Status(503)) } else { Ok(call + u32::from(id == 0)) }
}

#[resilient(pipeline = "payments", cache(ttl = 10s), key = id)]
async fn own_price(id: u64, calls: &Counter) -> Result<u32, ApiError> {
    Ok(calls.next() + u32::from(id == 0))
}

#[resilient(retry(1, fixed(1ms)), cached = QUOTES, key = "of {id}", fallback = |_| async { Ok(0) })]
async fn or_nothing(id: u64, calls: &Counter) -> Result<u32, ApiError> {
    calls.fail_until(100)?;
    Ok(id as u32)
}

#[tokio::test(start_paused = true)]
async fn form_19_by_name_and_cached_in_a_place() {
    let calls = Counter::default();
    assert_eq!((price(7, &calls, false).await.ok(), price(7, &calls, false).await.ok()), (Some(1), Some(1)));
    assert_eq!(QUOTES.get("7"), Some(1), "it can be looked at");
    advance(10 * SECOND).await;
    assert_eq!((price(7, &calls, true).await.ok(), calls.count()), (Some(1), 2), "the last good one");
    QUOTES.remove("7");
    assert!(price(7, &calls, true).await.is_err());
    assert_eq!((own_price(7, &calls).await.ok(), own_price(7, &calls).await.ok()), (Some(4), Some(4)), "one of its own");
    QUOTES.insert("of 1", 11);
    assert_eq!((or_nothing(1, &calls).await.ok(), or_nothing(2, &calls).await.ok()), (Some(11), Some(0)));
}

struct Shop {
    prices: Cache<String, Arc<str>>,
    pipeline: Pipeline,
    sold: u32,
}

impl Shop {
    #[resilient(pipeline = self.pipeline, cached = self.prices, key = what, classify = |_: &ApiError| Verdict::Permanent)]
    async fn sell(&mut self, what: &str) -> Result<Arc<str>, ApiError> {
        self.sold += 1;
        Ok(Arc::from(format!("{what} {}", self.sold)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_in_what_is_lent() {
    let (prices, pipeline) = (Cache::new(10).build().expect("valid"), Pipeline::builder("shop").build().expect("valid"));
    let mut shop = Shop { prices, pipeline, sold: 0 };
    assert_eq!(shop.sell("tea").await.ok().as_deref(), Some("tea 1"));
    assert_eq!((shop.sell("tea").await.ok().as_deref(), shop.sold), (Some("tea 1"), 1));
    shop.prices.clear();
    assert_eq!(shop.sell("tea").await.ok().as_deref(), Some("tea 2"));
}
