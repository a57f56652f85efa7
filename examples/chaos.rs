//! Chaos: the same pipeline with a healthy dependency, then with faults, latency and hangs on purpose, and healthy again. The clock is
//! paused, so the waits take no time. Run `cargo run --example chaos --features chaos`.

use std::time::Duration;
use steadfast::chaos::{Chaos, Injection};
use steadfast::{CircuitBreaker, Monitor, Pipeline, Retry, Window};
use tokio::time::sleep;

#[derive(Debug, Clone, thiserror::Error)]
#[error("the service is down")]
struct Down;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ms = Duration::from_millis;
    let chaos = Chaos::seeded(42)
        .fault(0.1, || Down)
        .latency_between(0.1, ms(100), ms(600))
        .hang(0.02)
        .disabled() // until the game day begins
        .build()?;
    let monitor = Monitor::new();
    let api = Pipeline::builder("api")
        .monitor(monitor.clone())
        .total_timeout(ms(3_000))
        .attempt_timeout(ms(500))
        .retry(Retry::exponential(3, ms(50)).seed(1))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5))
        .chaos(chaos.clone())
        .build()?;

    let operation = async || {
        sleep(ms(20)).await;
        Ok::<_, Down>("answer")
    };
    let rounds = [("healthy", None), ("a bad day", Some(0.1)), ("a day like no other", Some(0.4)), ("healthy again", None)];
    for (name, faults) in rounds {
        match faults {
            None => chaos.disable(),
            Some(rate) => {
                chaos.set_rate(Injection::Fault, rate)?;
                chaos.enable();
            }
        }
        let before = chaos.counts();
        let (mut failed, mut refused) = (0, 0);
        for _ in 0..300 {
            if let Err(error) = api.call(&operation).await {
                failed += 1;
                refused += u32::from(error.is_circuit_open());
            }
            sleep(ms(30)).await;
        }
        let injected = chaos.counts();
        let of = |injection| injected.of(injection) - before.of(injection);
        let p99 = monitor.stats("api").map(|stats| stats.window(Window::TenSeconds).call_latency().p99()).unwrap_or_default();
        println!(
            "{name:>20}: {failed:>3} of 300 calls failed, {refused:>3} of them at the open circuit; p99 {:>3} ms  (injected: {} faults, {} latencies, {} hangs)",
            p99.as_millis(),
            of(Injection::Fault),
            of(Injection::Latency),
            of(Injection::Hang),
        );
        sleep(Duration::from_secs(60)).await; // the breaker forgets
    }
    println!("\n{}", api.stats());
    Ok(())
}
