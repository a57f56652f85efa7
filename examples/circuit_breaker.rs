//! Circuit breaker: opens when half of the calls fail, refuses at once while open, sends a probe, and closes when that succeeds.
//! The clock is paused, so the open time takes no time. Run `cargo run --example circuit_breaker`.

use std::time::Duration;
use steadfast::{CircuitBreaker, Pipeline};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stock = Pipeline::builder("stock")
        .circuit_breaker(CircuitBreaker::failure_rate(0.5).min_calls(10).open_for(Duration::from_secs(5)))
        .build()?;
    let breaker = stock.circuit_breaker().expect("it was built with one").clone();

    // The breaker tells its own story, to as many subscribers as you like.
    let mut transitions = breaker.subscribe();
    let started = Instant::now();

    let down = || async { Err::<u32, _>("connection refused") };
    let up = || async { Ok::<u32, &str>(7) };
    for call in 1..=12 {
        if let Err(error) = stock.call(down).await {
            println!("call {call:>2}: {error}");
        }
    }
    println!("\nnow: {}", breaker.snapshot());

    println!("\n5 s later the server is well, and the next call is the probe:");
    sleep(Duration::from_secs(5)).await;
    println!("call 13: {:?}", stock.call(up).await);
    println!("call 14: {:?}", stock.call(up).await);

    println!("\nwhat happened:");
    while let Some(change) = transitions.try_next() {
        let (at, cause) = (change.at.duration_since(started), change.cause.as_str());
        println!("  at {at:>4?}: {} -> {} ({cause}, {} of {} failed)", change.from, change.to, change.failures, change.calls);
    }
    Ok(())
}
