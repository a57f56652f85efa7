//! A rate that finds its number. First a dependency whose capacity falls from 150 to 40 calls a second and comes back, then a day with a
//! rush at noon that a forecast sees coming. The clock is paused, so a day takes no time. Run `cargo run --example dynamic_rate`.

use std::cell::Cell;
use std::time::Duration;
use steadfast::steering::{ErrorRate, HoltWinters, Steering};
use steadfast::{Monitor, Pipeline, RateLimiter};
use tokio::time::{Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    by_errors().await?;
    by_forecast().await
}

/// What is over the capacity of a second fails, and so the error rate tells where the capacity is.
async fn by_errors() -> Result<(), Box<dyn std::error::Error>> {
    let monitor = Monitor::new();
    let limiter =
        RateLimiter::per_second(100).burst(5).steered(Steering::between(10, 200).signal(ErrorRate::of(&monitor, "search").above(0.05)))?;
    let search = Pipeline::builder("search").monitor(monitor).rate_limit(limiter.clone()).build()?;

    println!("   second  capacity      rate  failed of sent");
    for second in 0..60_u32 {
        let capacity = if (15..35).contains(&second) { 40 } else { 150 };
        let (sent, failed) = (Cell::new(0_u32), Cell::new(0_u32));
        for _ in 0..200 {
            let answer = search.call(|| async {
                sent.set(sent.get() + 1);
                if sent.get() > capacity {
                    failed.set(failed.get() + 1);
                    return Err(std::io::Error::other("overloaded"));
                }
                Ok(())
            });
            let _ = answer.await; // refused by the limiter, or failed, or not
            advance(SECOND / 200).await;
        }
        let steering = limiter.steering().unwrap_or_default();
        let bar = "#".repeat(steering.rate as usize / 4);
        println!("{second:>9} {capacity:>9} {:>9}  {:>3} of {:>3}   {bar}", steering.rate, failed.get(), sent.get());
    }
    Ok(())
}

/// Three days to learn, and a fourth to look at: the limit is up when the rush comes, and the size of the night at night.
async fn by_forecast() -> Result<(), Box<dyn std::error::Error>> {
    let hour = Duration::from_secs(3600);
    let steering = Steering::between(5, 500).forecast(HoltWinters::multiplicative(24)).forecast_every(hour).every(60 * SECOND).lead(1);
    let limiter = RateLimiter::per_minute(100).steered(steering)?;
    println!("\n     hour   demand    expected    limit");
    let started = Instant::now();
    for minute in 0..4 * 24 * 60_u32 {
        let of_day = minute / 60 % 24;
        let demand = match of_day {
            0..=6 => 20,
            11..=13 => 180,
            _ => 60,
        };
        for _ in 0..demand {
            let _ = limiter.try_acquire(1);
        }
        if minute >= 3 * 24 * 60 && minute % 60 == 59 {
            let state = limiter.steering().unwrap_or_default();
            let expected = state.expected.map_or_else(String::new, |expected| format!("{expected:.0}"));
            println!("{of_day:>9} {demand:>8} {expected:>11} {:>8}   {}", state.rate, "#".repeat(state.rate as usize / 6));
        }
        advance(60 * SECOND).await;
    }
    println!("{} hours, and no task ran in the background", started.elapsed().as_secs() / 3600);
    Ok(())
}
