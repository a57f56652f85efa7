//! Hedging: one replica in twenty answers late; a second attempt beside the slow one takes the tail away.
//!
//! `cargo run --release --example hedge` shows it in a few seconds, on a paused clock: an hour of calls passes at once.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::time::Duration;
use steadfast::{Hedge, Pipeline};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<28} {:>7} {:>7} {:>7} {:>8}   load", "20,000 calls", "p50", "p95", "p99", "p99.9");
    run("without a hedge", Pipeline::builder("plain").build()?).await?;
    // A fixed delay is right where you know the dependency.
    run("after 100 ms", Pipeline::builder("fixed").hedge(Hedge::after(Duration::from_millis(100)).idempotent()).build()?).await?;
    // A percentile follows it by itself.
    let search = Pipeline::builder("search").hedge(Hedge::at_percentile(0.95).idempotent()).build()?;
    run("at the 95th percentile", search.clone()).await?;
    if let Some(hedge) = search.hedge() {
        println!("\nthe delay is now {:?}\n{}", hedge.delay().unwrap_or_default(), hedge.stats());
    }
    Ok(())
}

async fn run(name: &str, pipeline: Pipeline) -> Result<(), Box<dyn std::error::Error>> {
    const CALLS: usize = 20_000;
    let (dice, mut latencies) = (RefCell::new(StdRng::seed_from_u64(7)), Vec::with_capacity(CALLS));
    let legs = std::cell::Cell::new(0_u32);
    for _ in 0..CALLS {
        let begun = Instant::now();
        let answer = pipeline.call(|| {
            legs.set(legs.get() + 1);
            let latency = latency(&mut dice.borrow_mut());
            async move {
                sleep(latency).await;
                Ok::<_, std::io::Error>(())
            }
        });
        answer.await?;
        latencies.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    let at = |q: f64| latencies[((CALLS - 1) as f64 * q) as usize];
    let load = f64::from(legs.get()) / CALLS as f64;
    println!("{name:<28} {:>4.0} ms {:>4.0} ms {:>4.0} ms {:>5.0} ms   {load:.3}", at(0.5), at(0.95), at(0.99), at(0.999));
    Ok(())
}

/// Lognormal, as the latency of services is: the median is 20 ms, and one call in a thousand takes half a second.
fn latency(dice: &mut StdRng) -> Duration {
    let (u, v): (f64, f64) = (1.0 - dice.random::<f64>(), dice.random());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    Duration::from_secs_f64(0.020 * normal.exp())
}
