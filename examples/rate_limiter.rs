//! Rate limiter: a burst goes through, then one call every 100 ms; a dear call costs more, and an important one waits less.
//! The clock is paused, so the waits take no time. Run `cargo run --example rate_limiter`.

use std::time::Duration;
use steadfast::{Pipeline, Priority, RateLimiter};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let search =
        Pipeline::builder("search").rate_limit(RateLimiter::per_second(10).burst(3).max_wait(Duration::from_millis(500))).build()?;
    let started = Instant::now();

    let mut callers = JoinSet::new();
    for number in 1..=10 {
        let priority = if number == 7 { Priority::Critical } else { Priority::Normal };
        let cost = if number == 4 { 2 } else { 1 };
        let search = search.clone();
        callers.spawn(async move {
            let result = search.priority(priority).cost(cost).call(|| async { Ok::<_, std::io::Error>(()) }).await;
            let said = result.map_or_else(|error| error.to_string(), |()| "through".to_owned());
            println!("{:>4} ms  call {number:>2} ({priority:?}, cost {cost}): {said}", started.elapsed().as_millis());
        });
    }
    callers.join_all().await;

    // The rate changes while calls run, without a free refill.
    let limiter = search.rate_limiter().expect("it was built with one");
    limiter.set_rate(100, Duration::from_secs(1))?;
    println!("\nat 100 per second: {} of 3 units free now", limiter.available());

    // For providers that count "5 in any second": exact, where a token bucket would let more through.
    let quota = RateLimiter::per_second(5).sliding_window().build()?;
    let granted = (0..8).filter(|_| quota.try_acquire(1).is_ok()).count();
    println!("a sliding window of 5 per second lets {granted} of 8 through");
    Ok(())
}
