//! Fallback: an older, simpler or empty answer where the real one is not to be had; on one call, or on every call of a pipeline.
//! The outage still counts as one: see the statistics at the end. Run `cargo run --example fallback`.

use steadfast::{CircuitBreaker, Error, Fallback, Monitor, Pipeline, TypedPipeline};

async fn down() -> Result<u32, String> {
    Err("connection refused".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prices = Pipeline::builder("prices").monitor(Monitor::new()).build()?;

    let price = prices.call_or(down, 100).await;
    println!("a value on one call:     {price}");

    let price = prices
        .call_or_else(down, |error| async move {
            println!("                         ({error}, so we ask the archive)");
            Ok(99) // any async work, inside the deadline of the call
        })
        .await;
    println!("a function on one call:  {price:?}");

    // On every call. The pipeline then knows the types it speaks.
    let prices: TypedPipeline<u32, String> = Pipeline::builder("prices")
        .circuit_breaker(CircuitBreaker::consecutive_failures(3))
        .monitor(Monitor::new())
        .fallback(Fallback::value(98).when(|error: &Error<String>| error.inner().is_none_or(|text| text.contains("refused"))))
        .build()?;
    for _ in 0..5 {
        assert_eq!(prices.call(down).await, Ok(98));
    }
    println!("on every call:           98, five times");

    if let Some(breaker) = prices.pipeline().circuit_breaker() {
        breaker.force_close();
    }
    println!("but not for other errors: {:?}\n", prices.call(|| async { Err("bad currency".to_owned()) }).await);

    println!("{}", prices.pipeline().stats());
    Ok(())
}
