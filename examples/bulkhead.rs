//! Bulkhead: two calls run at once, two wait in line, the rest is refused at once; the more important one waits less.
//! The clock is paused, so the work takes no time. Run `cargo run --example bulkhead`.

use std::time::Duration;
use steadfast::{Bulkhead, Pipeline, Priority};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reports = Pipeline::builder("reports").bulkhead(Bulkhead::new(2).queue(2)).build()?;
    let started = Instant::now();

    let mut callers = JoinSet::new();
    for (name, priority) in [
        ("a", Priority::Normal),
        ("b", Priority::Normal),
        ("c", Priority::Low),
        ("d", Priority::High),   // comes after c, runs before it
        ("e", Priority::Normal), // the queue is full: the least important in it, c, has to go
        ("f", Priority::Low),
    ] {
        let reports = reports.clone();
        callers.spawn(async move {
            let done = reports.priority(priority).call(|| async {
                println!("{:>5?}  {name} ({priority:?}) starts", started.elapsed());
                sleep(Duration::from_secs(1)).await;
                Ok::<_, std::io::Error>(())
            });
            if let Err(error) = done.await {
                println!("{:>5?}  {name} ({priority:?}): {error}", started.elapsed());
            }
        });
    }
    callers.join_all().await;

    // Limits change while calls run; nobody is thrown out.
    let bulkhead = reports.bulkhead().expect("it was built with one");
    bulkhead.resize(10);
    println!("\nresized: {} places, {} free", bulkhead.limit(), bulkhead.available());
    Ok(())
}
