//! Retry: transient failures are tried again after growing pauses, permanent ones are not, and an outage meets the retry budget.
//! The clock is paused, so the pauses take no time. Run `cargo run --example retry`.

use std::time::Duration;
use steadfast::{Jitter, Pipeline, Retry, Verdict};
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mail = Pipeline::builder("mail")
        .retry(Retry::exponential(3, Duration::from_millis(100)).jitter(Jitter::None)) // without jitter only to show the numbers
        .classify(|error: &String| if error == "no such user" { Verdict::permanent() } else { Verdict::transient() })
        .observer(|_: &str, event: &steadfast::Event| println!("  {event}"))
        .build()?;

    println!("A server that answers the third time:");
    let started = Instant::now();
    let sent = mail.call_with(|attempt| async move { if attempt.number() < 3 { Err("busy".to_owned()) } else { Ok("sent") } }).await;
    println!("  {sent:?} after {:?}\n", started.elapsed());

    println!("An error that no retry will mend:");
    let refused = mail.call(|| async { Err::<(), _>("no such user".to_owned()) }).await;
    println!("  {refused:?}\n");

    // One outage, 1,000 calls. Without a budget the dying server would get 4,000 attempts.
    let outage = Pipeline::builder("mail").retry(Retry::exponential(3, Duration::from_millis(100))).build()?;
    for _ in 0..1_000 {
        let _ = outage.call(|| async { Err::<(), _>("busy".to_owned()) }).await;
    }
    println!("An outage, 1,000 calls, and the budget of retries that is on by default:\n{}", outage.stats());
    Ok(())
}
