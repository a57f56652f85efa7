//! Coalesce: a thousand callers want the same, one fetches it; it is dropped half-way, and one of the others goes on.
//! The clock is paused. Run `cargo run --example coalesce`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast::{Coalesce, Error, Pipeline};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prices = Pipeline::builder("prices").total_timeout(Duration::from_secs(5)).build()?;
    let group = Coalesce::new().build::<u32, Error<String>>()?;
    let fetches = Arc::new(AtomicU32::new(0));
    let started = Instant::now();

    let mut callers = JoinSet::new();
    let mut leader = None;
    for _ in 0..1_000 {
        let (prices, group, fetches) = (prices.clone(), group.clone(), Arc::clone(&fetches));
        let call = callers.spawn(async move {
            let fetch = || async {
                println!("{:>4} ms  somebody fetches", started.elapsed().as_millis());
                fetches.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(200)).await;
                Ok::<_, String>(99)
            };
            prices.key("tea").coalesced(&group).call(fetch).await
        });
        leader.get_or_insert(call);
    }

    sleep(Duration::from_millis(100)).await;
    println!(" 100 ms  and its caller goes away");
    leader.expect("there was a first one").abort();

    let mut answers = 0;
    while let Some(answer) = callers.join_next().await {
        answers += u32::from(matches!(answer, Ok(Ok(99))));
    }
    println!(
        "{:>4} ms  {answers} callers have the answer, after {} fetches",
        started.elapsed().as_millis(),
        fetches.load(Ordering::Relaxed)
    );
    let stats = group.stats();
    println!("{} led, {} shared an answer, {} taken over from a caller who went away", stats.led, stats.shared, stats.handed_over);
    Ok(())
}
