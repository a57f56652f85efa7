//! The budget: retries are a share of the calls, whatever becomes of them.

use std::time::Duration;
use steadfast::{Budget, Bulkhead, Call, Error, Jitter, Outcome, Pipeline, Retry, RetryConfig, StopReason, Verdict};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const FAILED: Outcome = Outcome::Judged(Verdict::transient());

fn drained(budget: &Budget, now: Instant) {
    while budget.try_withdraw_at(now) {}
}

/// Makes calls one after the other, 1 ms apart, whose first `failures` attempts fail; how many retries they make in all.
fn retries(config: RetryConfig, calls: u32, failures: u32) -> u32 {
    let (retry, start) = (config.build().expect("valid"), Instant::now());
    let mut total = 0;
    for n in 0..calls {
        let mut state = retry.start();
        while state.attempts() <= failures && retry.next_delay(&mut state, FAILED, None, start + MS * n, None).is_ok() {}
        total += state.retries();
        retry.finish(state, state.attempts() > failures);
    }
    total
}

#[test]
fn h69_a_failing_service_meets_a_tenth_more_calls_not_four_times_as_many() {
    let config = Retry::constant(3, Duration::ZERO);
    let made = retries(config.clone(), 100_000, u32::MAX);
    // 100 s at 3 per second, and the burst.
    assert!((10_000..=10_000 + 300 + 20).contains(&made), "{made}");
    let made = retries(config.budget(Budget::new(0.1).min_per_second(0.0)), 100_000, u32::MAX);
    assert!((10_000..=10_020).contains(&made), "{made}");
}

#[test]
fn amplification_is_bounded_also_when_the_retries_succeed() {
    let config = Retry::constant(3, Duration::ZERO).budget(Budget::new(0.1).min_per_second(0.0));
    let made = retries(config, 100_000, 1);
    assert!((10_000..=10_020).contains(&made), "{made}");
}

#[test]
fn a_budget_of_60_percent_grants_60_percent() {
    for (percent, granted) in [(10, 100), (60, 600), (7, 70), (100, 1000)] {
        let budget = Budget::new(f64::from(percent) / 100.0).min_per_second(0.0).build().expect("valid");
        let now = Instant::now();
        drained(&budget, now);
        let count = (0..1000).filter(|_| {
            budget.deposit();
            budget.try_withdraw_at(now)
        });
        assert_eq!(count.count(), granted, "{percent} %");
    }
}

#[test]
fn shares_do_not_drift() {
    let budget = Budget::new(0.1).min_per_second(0.0).burst(u32::MAX).build().expect("valid");
    let now = Instant::now();
    (0..1000).for_each(|_| assert!(budget.try_withdraw_at(now)));
    (0..10_000).for_each(|_| budget.deposit());
    assert_eq!(budget.available(), u32::MAX, "ten thousand tenths are a thousand, to the last");
}

#[test]
fn u04_a_share_of_the_calls_and_a_floor() {
    let budget = Budget::new(0.2).min_per_second(3.0).build().expect("valid");
    let now = Instant::now();
    drained(&budget, now);
    (0..25).for_each(|_| budget.deposit());
    let granted = |now| (0..100).filter(|_| budget.try_withdraw_at(now)).count();
    assert_eq!(granted(now), 5, "20 % of 25");
    (0..2).for_each(|_| budget.deposit());
    assert_eq!(granted(now + SEC), 3, "20 % of 2 would be none: 3 per second, and four tenths that wait");
}

#[test]
fn the_reserve_comes_with_time_and_never_passes_the_burst() {
    let budget = Budget::new(0.1).min_per_second(2.5).burst(10).build().expect("valid");
    let now = Instant::now();
    let granted = |now| (0..1000).filter(|_| budget.try_withdraw_at(now)).count();
    assert_eq!(granted(now), 10);
    assert_eq!(granted(now + 399 * MS), 0);
    assert_eq!(granted(now + 400 * MS), 1);
    assert_eq!(granted(now), 0, "a clock that goes back brings nothing");
    assert_eq!(granted(now + 400 * MS), 0, "and no moment is paid twice");
    assert_eq!(granted(now + 800 * MS), 1);
    assert_eq!(granted(now + Duration::from_secs(1_000_000_000)), 10);
    assert_eq!(budget.available(), 0);
}

#[test]
fn deposits_never_pass_the_burst() {
    let budget = Budget::new(1.0).min_per_second(0.0).burst(5).build().expect("valid");
    (0..1000).for_each(|_| budget.deposit());
    let now = Instant::now();
    assert_eq!((0..1000).filter(|_| budget.try_withdraw_at(now)).count(), 5);
}

#[test]
fn a_shared_budget_is_one_bucket() {
    let budget = Budget::new(0.1).min_per_second(0.0).burst(2).build().expect("valid");
    let [a, b] = [3, 5].map(|n| Retry::constant(n, Duration::ZERO).budget(budget.clone()).build().expect("valid"));
    let now = Instant::now();
    let (mut first, mut second) = (a.start(), b.start());
    assert!(a.next_delay(&mut first, FAILED, None, now, None).is_ok());
    assert!(b.next_delay(&mut second, FAILED, None, now, None).is_ok());
    assert_eq!(a.next_delay(&mut first, FAILED, None, now, None), Err(StopReason::Budget));
    assert_eq!(b.next_delay(&mut second, FAILED, None, now, None), Err(StopReason::Budget));
    assert!(a.budget().is_same(b.budget()) && a.budget().is_same(&budget));
}

#[test]
fn threads_share_a_budget_to_the_last_token() {
    let budget = Budget::new(0.5).min_per_second(0.0).burst(1000).build().expect("valid");
    let now = Instant::now();
    let granted = std::thread::scope(|scope| {
        let run = || (0..10_000).filter(|_| budget.try_withdraw_at(now)).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum::<usize>()
    });
    assert_eq!(granted, 1000);
}

#[test]
fn without_a_budget_everything_is_granted() {
    assert_eq!(retries(Retry::constant(3, Duration::ZERO).without_budget(), 1000, u32::MAX), 3000);
    let budget = Budget::unlimited().build().expect("valid");
    budget.deposit();
    assert_eq!(budget.available(), u32::MAX);
}

#[test]
fn the_default_lets_a_first_call_make_a_dozen_retries() {
    assert_eq!(retries(Retry::constant(12, Duration::ZERO), 1, u32::MAX), 12);
}

#[test]
fn h43_h44_settings_that_cannot_work_are_named() {
    for share in [f64::NAN, f64::INFINITY, -0.1, 0.0, 1.1] {
        let error = Retry::constant(3, SEC).budget(Budget::new(share)).build().expect_err("no share");
        assert_eq!(error.faults()[0].field(), "budget.share");
    }
    for rate in [f64::NAN, f64::INFINITY, -0.1] {
        let error = Budget::new(0.1).min_per_second(rate).burst(0).build().expect_err("no rate");
        assert_eq!(error.faults().iter().map(|fault| fault.field()).collect::<Vec<_>>(), ["min_per_second", "burst"]);
    }
    let extreme = Budget::new(f64::MIN_POSITIVE).min_per_second(f64::MAX).burst(u32::MAX).build().expect("odd, not wrong");
    let now = Instant::now();
    (0..100).for_each(|n| assert!(extreme.try_withdraw_at(now + SEC * n)));
}

#[test]
fn configurations_compare_by_value_and_shared_budgets_by_bucket() {
    let config = || Retry::constant(3, SEC);
    assert_eq!(config(), config());
    assert_eq!(config(), config().budget(Budget::new(0.1)));
    assert_ne!(config(), config().budget(Budget::new(0.2)));
    let budget = Budget::new(0.1).build().expect("valid");
    assert_eq!(config().budget(budget.clone()), config().budget(budget.clone()));
    assert_ne!(config().budget(budget.clone()), config().budget(Budget::new(0.1).build().expect("valid")));
}

#[tokio::test(start_paused = true)]
async fn h69_a_retry_that_never_begins_costs_no_token() {
    let budget = Budget::new(0.001).min_per_second(0.0).burst(1).build().expect("valid");
    let retry = Retry::constant(1, 10 * MS).jitter(Jitter::None).budget(budget.clone());
    let places = Bulkhead::new(1).queue(1).max_wait(SEC).build().expect("valid");
    let pipeline = Pipeline::builder("p").retry(retry).bulkhead(places.clone()).build().expect("valid");
    let call = || pipeline.call(|| async { Err::<(), _>("down") });
    let sleeps = || async { tokio::time::timeout(5 * MS, call()).await.is_err() };
    assert!(sleeps().await);
    assert_eq!(budget.available(), 1, "dropped in the pause");

    // Refused at the gate: one runs, one stands in line.
    let (answer, ()) = tokio::join!(call(), async {
        tokio::time::sleep(5 * MS).await;
        let _held = places.try_acquire().expect("free");
        let waiter = Call::now();
        let mut waits = std::pin::pin!(places.acquire(&waiter));
        assert!(tokio::time::timeout(20 * MS, waits.as_mut()).await.is_err());
        assert_eq!(budget.available(), 1, "refused");
    });
    assert_eq!(answer, Err(Error::Inner("down")));

    // Dropped in line.
    let (dropped, ()) = tokio::join!(tokio::time::timeout(20 * MS, call()), async {
        tokio::time::sleep(5 * MS).await;
        let _held = places.try_acquire().expect("free");
        tokio::time::sleep(20 * MS).await;
    });
    assert!(dropped.is_err());
    assert_eq!(budget.available(), 1, "dropped in line");

    assert!(call().await.is_err());
    assert_eq!(budget.available(), 0, "one that began is paid for");

    // What was never paid for is not given back.
    let held = places.try_acquire().expect("free");
    drop(Box::pin(call()));
    assert!(tokio::time::timeout(5 * MS, call()).await.is_err(), "a first attempt, in line");
    places.resize(0);
    drop(held);
    assert_eq!(budget.available(), 0, "a first attempt that left the line");
}
