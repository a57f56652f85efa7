//! What only two threads at once would meet: who takes the lock finds another state than the one they looked at.

use super::{Machine, NEVER, Refusal};
use crate::admission::circuit_breaker::CircuitBreaker;
use crate::outcome::{Outcome, Verdict};
use std::time::Duration;
use tokio::time::Instant;

fn machine(now: Instant) -> Machine {
    Machine::new(CircuitBreaker::consecutive_failures(1).probes(1).ramp(Duration::from_secs(10)), 1, now)
}

#[tokio::test(start_paused = true)]
async fn isolated_meanwhile_it_refuses_for_good() {
    let now = Instant::now();
    let machine = machine(now);
    machine.isolate();
    assert!(matches!(machine.enter_locked(now, machine.nanos(now)), Err(Refusal(NEVER))));
}

#[tokio::test(start_paused = true)]
async fn closed_meanwhile_it_warms_up_for_who_took_the_lock_too() {
    let now = Instant::now();
    let machine = machine(now);
    machine.force_open();
    assert!(machine.half_open());
    let probe = machine.enter(now).expect("a place is free");
    machine.settle(probe, Outcome::Judged(Verdict::Success), Some(now), Some(now));
    let entered: Vec<_> = (0..20).map(|_| machine.enter_locked(now, machine.nanos(now)).is_ok()).collect();
    assert!(entered[0], "the first call goes");
    assert!((1..=3).contains(&entered.iter().filter(|&&yes| yes).count()), "a tenth: {entered:?}");
}

#[tokio::test(start_paused = true)]
async fn rules_that_come_back_with_their_window_are_not_kept_twice() {
    let (machine, rules) = (machine(Instant::now()), machine(Instant::now()).config());
    let first = std::ptr::from_ref(machine.rules());
    assert!(!machine.reconfigure(&rules.clone().window(Duration::from_secs(3))));
    assert!(!std::ptr::eq(machine.rules(), first));
    assert!(!machine.reconfigure(&rules));
    assert!(std::ptr::eq(machine.rules(), first));
}
