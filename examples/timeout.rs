//! Timeouts: one for each attempt, so that a hanging one is tried again, and one for the whole call, which every wait obeys.
//! The clock is paused, so hanging takes no time. Run `cargo run --example timeout`.

use std::time::Duration;
use steadfast::{Pipeline, Retry};
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let maps = Pipeline::builder("maps")
        .total_timeout(Duration::from_secs(5))
        .attempt_timeout(Duration::from_secs(2))
        .retry(Retry::constant(3, Duration::ZERO))
        .build()?;
    println!("{}\n", maps.explain());

    println!("The first attempt hangs, the second does not:");
    let started = Instant::now();
    let answer = maps
        .call_with(|attempt| async move {
            println!("  attempt {}, {:?} left for the call", attempt.number(), attempt.remaining().unwrap_or_default());
            sleep(if attempt.is_retry() { Duration::from_millis(50) } else { Duration::from_secs(60) }).await;
            Ok::<_, std::io::Error>("here you are")
        })
        .await;
    println!("  {answer:?} after {:?}\n", started.elapsed());

    println!("Every attempt hangs; the third one gets the second that is left:");
    let started = Instant::now();
    let hang = || async { std::future::pending::<Result<(), std::io::Error>>().await };
    if let Err(error) = maps.call(hang).await {
        println!("  {error}; in truth after {:?}\n", started.elapsed());
    }

    println!("A caller in a hurry brings a deadline of its own:");
    let started = Instant::now();
    if let Err(error) = maps.within(Duration::from_millis(300)).call(hang).await {
        println!("  {error}; in truth after {:?}", started.elapsed());
    }
    Ok(())
}
