//! A cache around a pipeline: most calls are not made, and while the dependency is down the last good answer is given.
//! Run `cargo run --example cache --features cache`; it takes a few seconds.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use steadfast::{Cache, CircuitBreaker, Loaded, Monitor, Pipeline, Retry, TypedPipeline};

static UP: AtomicBool = AtomicBool::new(true);
static ASKED: AtomicU32 = AtomicU32::new(0);

/// The service: a price that goes up each time it is asked for.
async fn price(_item: &str) -> Result<u32, String> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    if UP.load(Ordering::Relaxed) { Ok(100 + asked) } else { Err("connection refused".to_owned()) }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = Duration::from_secs;
    let shop: TypedPipeline<u32, String> = Pipeline::builder("shop")
        .cache(Cache::new(1_000).ttl(seconds(1)).stale_if_error(seconds(60)).retry_stale_every(Duration::from_millis(300)))
        .with(|builder| {
            builder
                .retry(Retry::exponential(2, Duration::from_millis(20)))
                .circuit_breaker(CircuitBreaker::consecutive_failures(3).open_for(seconds(1)))
                .monitor(Monitor::new())
        })
        .build()?;

    // Fifty at once: one call.
    let (shop_of_task, mut tasks) = (shop.clone(), tokio::task::JoinSet::new());
    for _ in 0..50 {
        let shop = shop_of_task.clone();
        tasks.spawn(async move { shop.key("tea").call(|| price("tea")).await });
    }
    let answers = tasks.join_all().await;
    println!("50 callers, {} call: {:?}", ASKED.load(Ordering::Relaxed), answers[0]);

    // It goes down for two seconds, and nobody notices.
    UP.store(false, Ordering::Relaxed);
    for tick in 1..=12 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if tick == 8 {
            UP.store(true, Ordering::Relaxed);
        }
        let state = if tick < 8 { "down" } else { "up" };
        let answer = shop.key("tea").call(|| price("tea")).await;
        println!("{:4} ms, {state:4}: {answer:?}, asked {} times so far", tick * 250, ASKED.load(Ordering::Relaxed));
    }

    // Used alone, with a life of its own for an entry, and tags.
    let users: Cache<u64, String> = Cache::new(1_000).name("users").build()?;
    for id in [1, 2, 3] {
        let load = |_| async move { Ok::<_, std::convert::Infallible>(Loaded::new(format!("user {id}")).ttl(seconds(5)).tag("staff")) };
        users.get_or_load(&id, load).await?;
    }
    println!("{} users forgotten at once", users.invalidate_tag("staff"));

    println!("\n{}", shop.pipeline().stats());
    if let Some(cache) = shop.cache() {
        println!("cache: {}", cache.stats());
    }
    Ok(())
}
