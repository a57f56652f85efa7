//! Events: everything a pipeline does, as typed values, to an observer, to a stream, and to `tracing`; with nobody listening they cost nothing.
//! The clock is paused, so the waits take no time. Run `cargo run --example events`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use steadfast::{CircuitBreaker, Event, Pipeline, Retry};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 1. `tracing`: any subscriber will do.
    tracing_subscriber::fmt().without_time().with_ansi(false).init();

    // 2. An observer is told at once, on the thread of the call: keep it short.
    let retries = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&retries);
    let count_retries = move |_pipeline: &str, event: &Event| {
        if matches!(event, Event::Retrying { .. }) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let geo = Pipeline::builder("geo")
        .retry(Retry::exponential(1, Duration::from_millis(100)).seed(7))
        .circuit_breaker(CircuitBreaker::consecutive_failures(4))
        .observer(count_retries)
        .build()?;

    // 3. A stream waits for its reader, and drops the oldest rather than hold a call up.
    let mut events = geo.events();

    println!("tracing says:\n");
    for _ in 0..3 {
        let _ = geo.call(|| async { Err::<(), _>("unreachable") }).await;
    }

    println!("\nthe observer counted {} retries; the stream says:\n", retries.load(Ordering::Relaxed));
    while let Some(event) = events.try_next() {
        println!("  {:<5} {event}", format!("{:?}", event.severity()));
    }
    Ok(())
}
