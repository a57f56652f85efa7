//! Throttle: a service that can bear 100 calls a second is asked for 1,000. It sees about 200, and the rest is refused here, for nothing.
//! Then it is down for five minutes, and comes back. Time is passed in, so this takes no time. Run `cargo run --example throttle`.

use std::time::Duration;
use steadfast::{Outcome, Priority, Throttle, Verdict};
use tokio::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let throttle = Throttle::new().seed(1).build()?;
    let mut now = Instant::now();

    for (what, seconds, capacity) in
        [("overloaded", 30, 100), ("in good health", 60, u32::MAX), ("down", 300, 0), ("back", 5, u32::MAX), ("a while later", 5, u32::MAX)]
    {
        let (mut offered, mut forwarded, mut accepted) = (0, 0, 0);
        for _ in 0..seconds {
            let mut served = 0;
            for n in 0..1_000 {
                now += Duration::from_millis(1);
                offered += 1;
                let priority = if n % 10 == 0 { Priority::Critical } else { Priority::Normal };
                let Ok(permit) = throttle.try_acquire(priority, now) else { continue };
                forwarded += 1;
                let verdict = if served < capacity / 10 * (n / 100 + 1) { Verdict::Success } else { Verdict::transient() };
                served += u32::from(verdict == Verdict::Success);
                accepted += u32::from(verdict == Verdict::Success);
                permit.settle_at(Outcome::Judged(verdict), now);
            }
        }
        println!("{what:>15}, {seconds:>3} s: {offered:>6} calls, {forwarded:>5} forwarded, {accepted:>5} accepted");
    }
    Ok(())
}
