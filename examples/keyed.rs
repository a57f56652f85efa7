//! Policies for each key: one tenant floods, another one is broken, the third one notices nothing; and then come strangers without number.
//! The clock is paused. Run `cargo run --example keyed`.

use std::time::Duration;
use steadfast::{CircuitBreaker, Outcome, PerKey, RateLimiter, Verdict};

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tenants = PerKey::new(1_000)
        .rate_limit(RateLimiter::per_second(10))
        .circuit_breaker(CircuitBreaker::consecutive_failures(5).open_jitter(0.0))
        .statistics(true)
        .build()?;

    for second in 1..=3 {
        for (tenant, calls, works) in [("noisy", 100, true), ("broken", 8, false), ("good", 5, true)] {
            let mut through = 0;
            for _ in 0..calls {
                if let Ok(permit) = tenants.try_acquire(tenant, 1) {
                    through += 1;
                    permit.settle(Outcome::Judged(if works { Verdict::Success } else { Verdict::transient() }));
                }
            }
            let circuit =
                tenants.snapshot(tenant).and_then(|now| now.circuit).map_or_else(|| String::from("unknown"), |circuit| circuit.to_string());
            println!("second {second}: {tenant:<6} {through:>3} of {calls:>3} calls through, circuit {circuit}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    println!("\nrefused most:");
    for key in tenants.most_rejected(3) {
        println!("{:>8}  {}", key.rejections(), key.key());
    }

    while tenants.try_acquire("noisy", 1).is_ok() {}
    let strangers = (0..100_000).filter(|number| tenants.try_acquire(&format!("stranger {number}"), 1).is_ok()).count();
    println!("\n100,000 strangers came, {strangers} got through; the noisy one is limited: {}", tenants.try_acquire("noisy", 1).is_err());
    let stats = tenants.stats();
    println!(
        "{} of {} keys known; {} forgotten, {} calls shared a bucket",
        stats.keys, stats.max_keys, stats.forgotten_for_room, stats.shared
    );
    Ok(())
}
