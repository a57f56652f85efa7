//! Probes, their report, and who is told.
#![cfg(feature = "health")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::health::Health;
use steadfast::{CircuitBreaker, Pipeline};
use tokio::time::{Instant, sleep};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type Told = Arc<Mutex<Vec<String>>>;

fn listening(health: Health) -> (Health, Told) {
    let told = Told::default();
    let ear = Arc::clone(&told);
    (health.on_change(move |probe| ear.lock().unwrap().push(probe.to_string())), told)
}

fn taken(told: &Told) -> Vec<String> {
    std::mem::take(&mut told.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn all_are_asked_at_once_and_a_late_one_is_unhealthy() {
    let health = Health::new()
        .within(ms(1_000))
        .probe("quick", || sleep(ms(10)).map(Ok::<_, String>))
        .probe("failing", || async { Err::<(), _>("no route\nto host") })
        .probe("hanging", std::future::pending::<Result<(), String>>)
        .probe("slow", || sleep(ms(900)).map(Ok::<_, String>));
    let began = Instant::now();
    let report = health.check().await;
    assert_eq!(began.elapsed(), ms(1_000));
    assert!(!report.is_healthy());
    assert_eq!(
        report.to_string(),
        "quick: healthy, in 10 ms\nfailing: unhealthy after 0 ns: no route\\nto host\nhanging: unhealthy after 1.0 s: no answer within 1.0 s\n\
         slow: healthy, in 900 ms"
    );
    assert_eq!(report.get("slow").unwrap().latency, ms(900));
    assert!(report.get("nobody").is_none());
    assert!(Health::new().check().await.is_healthy(), "nothing is wrong with nothing");
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_of_a_probe_is_its_own_illness() {
    let health = Health::new()
        .probe("mad", || async { if true { panic!("probe") } else { Ok::<_, String>(()) } })
        .probe("sane", || async { Ok::<_, String>(()) });
    let report = health.check().await;
    assert_eq!(report.get("mad").unwrap().error.as_deref(), Some("the probe panicked"));
    assert!(report.get("sane").unwrap().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_once() {
    let calls = Arc::new(AtomicU32::new(0));
    let asked = Arc::clone(&calls);
    let (health, told) = listening(Health::new().probe("db", move || {
        let n = asked.fetch_add(1, Ordering::Relaxed);
        async move { if (2..4).contains(&n) { Err("down") } else { Ok(()) } }
    }));
    let mut found = Vec::new();
    for _ in 0..6 {
        let _ = health.clone().check().await;
        found.push(taken(&told));
    }
    let none: Vec<String> = vec![];
    assert_eq!(
        found,
        [
            none.clone(),
            none.clone(),
            vec!["db: unhealthy after 0 ns: down".into()],
            none.clone(),
            vec!["db: healthy, in 0 ns".into()],
            none
        ]
    );

    let (health, told) = listening(Health::new().probe("db", || async { Err::<(), _>("down") }));
    let _ = health.check().await;
    assert_eq!(taken(&told).len(), 1, "who is ill from the beginning is told of, too");
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_is_unhealthy_while_its_circuit_is_open() {
    let api = Pipeline::builder("api")
        .circuit_breaker(CircuitBreaker::consecutive_failures(1).open_for(ms(100)).open_jitter(0.0))
        .build()
        .unwrap();
    let health = Health::new().pipeline(&api);
    assert!(health.check().await.is_healthy());
    let _ = api.call(|| async { Err::<(), _>("down") }).await;
    let report = health.check().await;
    assert_eq!(report.get("api").unwrap().error.as_deref(), Some("its circuit is open"));
    sleep(ms(100)).await;
    let _ = api.call(|| async { Ok::<_, String>(()) }).await;
    assert!(health.check().await.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn a_threshold_does_not_flicker() {
    let value = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&value);
    let health = Health::new().threshold("used", 0.8, move || match read.load(Ordering::Relaxed) {
        0 => None,
        1 => Some(f64::NAN),
        percent => Some(percent as f64 / 100.0),
    });
    for (percent, healthy) in
        [(0, true), (1, true), (80, true), (81, false), (79, false), (73, false), (72, true), (79, true), (95, false), (1, true)]
    {
        value.store(percent, Ordering::Relaxed);
        assert_eq!(health.check().await.is_healthy(), healthy, "{percent}");
    }
}

#[cfg(feature = "store")]
#[tokio::test(start_paused = true)]
async fn a_store_is_asked_by_its_own_probe_and_keeps_nothing_of_it() {
    use steadfast::store::{MemoryStore, Store};
    let store = MemoryStore::new().into_any();
    let health = Health::new().store("memory", &store);
    assert!(health.check().await.is_healthy());
    assert_eq!(store.stats().current_entries, Some(0));
    store.close().await.unwrap();
    assert!(!health.check().await.is_healthy());
}
