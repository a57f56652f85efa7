//! Adaptive limit: finds that a server works on ten calls at once, and that later it is twenty. Callers keep a hundred calls ready all the time.
//! The clock is paused, so two minutes take a few seconds. Run `cargo run --example adaptive_limit`.

use std::sync::Arc;
use std::time::Duration;
use steadfast::{AdaptiveLimit, Outcome, Verdict};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let limit = AdaptiveLimit::new().initial(80).build()?;
    let server = Arc::new(Semaphore::new(10)); // it works on ten calls at once and queues the rest
    let started = Instant::now();

    for _ in 0..100 {
        let (limit, server) = (limit.clone(), Arc::clone(&server));
        tokio::spawn(async move {
            loop {
                match limit.try_acquire() {
                    Ok(permit) => {
                        let _work = server.acquire().await;
                        sleep(Duration::from_millis(100)).await;
                        permit.settle(Outcome::Judged(Verdict::Success));
                    }
                    Err(_refused) => sleep(Duration::from_millis(20)).await,
                }
            }
        });
    }

    // Whoever wants to know hears of every change.
    let mut changes = limit.subscribe();
    tokio::spawn(async move {
        while let Some(limit) = changes.next().await {
            println!("{:>6.1} s  limit {limit:>3}  {}", started.elapsed().as_secs_f64(), "#".repeat(limit));
        }
    });

    sleep(Duration::from_secs(60)).await;
    println!("\nten more servers\n");
    server.add_permits(10);
    sleep(Duration::from_secs(60)).await;

    let now = limit.snapshot();
    println!("\nlimit {}, a call takes {} and would take {} without a queue", now.limit, shown(now.latency), shown(now.baseline));
    Ok(())
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| String::from("some time"), |time| format!("{time:?}"))
}
