//! Four machines share 200 calls a second through a store, which is unplugged for a second and comes back. The limit holds before, meanwhile and
//! after; nobody waits; and every decision says who made it. Run `cargo run --features store --example shared_limit`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steadfast::store::rate::{Decision, LimitStats, MemoryRateStore, OnOutage, Quota, RateStore, SharedLimit};
use steadfast::store::{Key, StoreError, StoreErrorKind};
use tokio::time::{Instant, interval, sleep, timeout};

/// In truth this is Redis. When it is unplugged it does not even fail: it says nothing any more.
#[derive(Clone)]
struct Unpluggable {
    store: MemoryRateStore,
    plugged: Arc<AtomicBool>,
}

impl Unpluggable {
    async fn wire(&self) -> Result<(), StoreError> {
        if self.plugged.load(Ordering::Relaxed) {
            return Ok(());
        }
        let _ = timeout(Duration::from_secs(10), std::future::pending::<()>()).await;
        Err(StoreError::new(StoreErrorKind::Unavailable))
    }
}

impl RateStore for Unpluggable {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        self.wire().await?;
        self.store.acquire(key, quota, cost).await
    }
    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        self.wire().await?;
        self.store.refund(key, quota, units).await
    }
    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        self.wire().await?;
        self.store.reset(key).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Unpluggable { store: MemoryRateStore::new(), plugged: Arc::new(AtomicBool::new(true)) };
    let machine = || {
        SharedLimit::new(Quota::per_second(200).burst(20))
            .name("geocoder")
            .store(store.clone())
            .on_outage(OnOutage::Local { share: 0.25 })
            .deadline(Duration::from_millis(20))
            .build()
    };
    let machines = [machine()?, machine()?, machine()?, machine()?];

    // Each asks 500 times a second: ten times too often, all together.
    for limit in machines.clone() {
        tokio::spawn(async move {
            let (key, mut ticks) = (Key::new("all").expect("a key"), interval(Duration::from_millis(2)));
            loop {
                ticks.tick().await;
                let began = Instant::now();
                let _decision = limit.check(&key).await.expect("a decision");
                assert!(began.elapsed() < Duration::from_secs(1), "nobody waits for a store");
            }
        });
    }

    let seen = || machines.iter().map(SharedLimit::stats).sum::<LimitStats>();
    let mut before = LimitStats::default();
    println!("{:>12}  {:>7} {:>7}   {:>7} {:>7} {:>8}", "", "allowed", "denied", "store", "local", "timeouts");
    for (what, plugged) in [("plugged in", true), ("unplugged", false), ("back", true), ("a while later", true)] {
        store.plugged.store(plugged, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        let now = seen();
        let by_store = (now.local + now.remote + now.deny_cache) - (before.local + before.remote + before.deny_cache);
        let (allowed, denied) = (now.allowed - before.allowed, now.denied - before.denied);
        let (local, late) = (now.local_fallback - before.local_fallback, now.timeouts - before.timeouts);
        println!("{what:>13} {allowed:>7} {denied:>7}   {by_store:>7} {local:>7} {late:>8}");
        before = now;
    }
    Ok(())
}
