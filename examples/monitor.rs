//! Monitor: counts and latency percentiles of pipelines, and of any other future or stretch of code, in one table.
//! The clock is paused, so the work takes no time. Run `cargo run --example monitor`.

use std::time::Duration;
use steadfast::{Monitor, Pipeline, Window};
use tokio::time::sleep;

/// Answers in 1 to 100 ms; every 50th time not at all.
async fn query(number: u64) -> Result<u64, String> {
    sleep(Duration::from_millis(1 + number % 100)).await;
    if number.is_multiple_of(50) { Err("deadlock".to_owned()) } else { Ok(number) }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let monitor = Monitor::new();
    let reads = Pipeline::builder("db.reads").monitor(monitor.clone()).build()?;
    let writes = Pipeline::builder("db.writes").attempt_timeout(Duration::from_millis(80)).monitor(monitor.clone()).build()?;

    for number in 0..1_000 {
        let _ = reads.call(|| query(number)).await;
        let _ = writes.call(|| query(number)).await;
        // Without a pipeline: a future, whose result comes through untouched ..
        let _ = monitor.track("render", query(number)).await;
    }
    // .. or a stretch of code. Dropped without a word (`?`, a panic) it counts as abandoned.
    let timer = monitor.timer("export");
    sleep(Duration::from_secs(3)).await;
    timer.success();

    println!("All of it:\n\n{}", monitor.report());
    println!("One name, in its windows:\n\n{}", writes.stats().calls.expect("it has a monitor"));

    // Snapshots are plain values: read them, keep them, merge those of several processes.
    let mut both = monitor.stats("db.reads").expect("recorded above");
    both.merge(&monitor.stats("db.writes").expect("recorded above"));
    let last = both.window(Window::OneMinute);
    println!("reads and writes, last minute: {} calls, p99 {:?}", last.calls(), last.call_latency().p99());
    Ok(())
}
