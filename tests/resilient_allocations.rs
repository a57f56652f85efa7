//! What the attribute costs: no allocation, on success and on rejection, and a future hardly larger than the call's.
#![cfg(feature = "macros")]

use allocation_counter::measure;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use steadfast::{PipelineConfig, Registry, RegistryConfig, Rejected, RejectedKind, resilient};

#[resilient(
    retry(3), circuit_breaker(50%, min_calls = 1_000_000), rate_limit(1_000_000/s), bulkhead(1), attempt_timeout = 2s, total_timeout = 10s,
    key = "{tenant}/{id}", priority = High
)]
async fn full(tenant: &str, id: u64, log: &mut [u64; 1]) -> Result<u64, Rejected> {
    log[0] += 1;
    Ok(id + tenant.len() as u64)
}

#[resilient(attempt_timeout = 2s)]
async fn once(body: [u64; 4]) -> Result<u64, Rejected> {
    Ok(body[0])
}

#[resilient(bulkhead(1), attempt_timeout = 2s)]
async fn held<F: Future<Output = ()>>(inside: F) -> Result<(), Rejected> {
    inside.await;
    Ok(())
}

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| RegistryConfig::new().pipeline("free", PipelineConfig::new()).build().expect("valid settings"));

#[resilient(pipeline = "free", key = tenant)]
async fn by_name(tenant: &str) -> Result<usize, Rejected> {
    Ok(tenant.len())
}

#[cfg(feature = "cache")]
static KEEPS: LazyLock<steadfast::Pipeline> = LazyLock::new(|| {
    let caching = steadfast::Caching::new(10).ttl(std::time::Duration::from_secs(3_600));
    steadfast::Pipeline::builder("keeps").caching(caching).build().expect("valid settings")
});

#[cfg(feature = "cache")]
#[resilient(pipeline = KEEPS, cached, key = tenant)]
async fn kept_by_pipeline(tenant: &str) -> Result<usize, Rejected> {
    Ok(tenant.len())
}

#[cfg(feature = "cache")]
#[resilient(cache(ttl = 1h), key = tenant)]
async fn kept(tenant: &str) -> Result<usize, Rejected> {
    Ok(tenant.len())
}

#[cfg(feature = "cache")]
#[test]
fn h92_no_allocation_on_a_hit() {
    let call = || {
        assert_eq!(poll(kept_by_pipeline("acme")), Poll::Ready(Ok(4)));
        assert_eq!(poll(kept("acme")), Poll::Ready(Ok(4)));
    };
    call(); // makes the caches, and loads
    assert_eq!(measure(|| (0..1_000).for_each(|_| call())).count_total, 0);
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn h92_no_allocation_on_success() {
    let mut log = [0];
    let mut call = || {
        assert_eq!(poll(full("acme", 3, &mut log)), Poll::Ready(Ok(7)));
        assert_eq!(poll(once([5; 4])), Poll::Ready(Ok(5)));
        assert_eq!(poll(by_name("acme")), Poll::Ready(Ok(4)));
    };
    call(); // makes the pipelines
    let counted = measure(|| (0..1_000).for_each(|_| call()));
    assert_eq!(counted.count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn h92_no_allocation_on_rejection() {
    let mut first = std::pin::pin!(held(std::future::pending()));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let refused = || match poll(held(std::future::ready(()))) {
        Poll::Ready(Err(rejected)) => assert_eq!(rejected.kind(), RejectedKind::BulkheadFull),
        other => panic!("{other:?}"),
    };
    refused();
    assert_eq!(measure(|| (0..1_000).for_each(|_| refused())).count_total, 0);
}

#[test]
fn the_future_is_small() {
    let mut log = [0];
    let (full, once, by_name) = (size_of_val(&full("acme", 3, &mut log)), size_of_val(&once([5; 4])), size_of_val(&by_name("acme")));
    println!("full {full} bytes, once {once} bytes, by name {by_name} bytes");
    assert!(by_name <= 1_024, "{by_name}");
    assert!(full <= 1_024, "{full}");
    // With chaos there is more to hold.
    assert!(once <= if cfg!(feature = "chaos") { 768 } else { 704 }, "{once}");
}
