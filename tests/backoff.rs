//! The delays of a backoff: exact without jitter, and in range, even and repeatable with it.

use proptest::prelude::*;
use std::time::Duration;
use steadfast::{Backoff, Jitter, Retry};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

type Make = fn(Duration) -> Backoff;
const KINDS: [Make; 5] = [Backoff::constant, Backoff::linear, Backoff::exponential, Backoff::fibonacci, Backoff::decorrelated];
/// Those that are exact without jitter.
const EXACT: [Make; 4] = [Backoff::constant, Backoff::linear, Backoff::exponential, Backoff::fibonacci];

fn seconds(backoff: Backoff, n: usize) -> Vec<f64> {
    backoff.jitter(Jitter::None).delays().take(n).map(|delay| delay.as_secs_f64()).collect()
}

#[test]
fn r01_each_formula() {
    assert_eq!(seconds(Backoff::exponential(SEC), 3), [1.0, 2.0, 4.0]);
    assert_eq!(seconds(Backoff::exponential(SEC).factor(3.0), 3), [1.0, 3.0, 9.0]);
    assert_eq!(seconds(Backoff::exponential(SEC).factor(1.5), 4), [1.0, 1.5, 2.25, 3.375]);
    assert_eq!(seconds(Backoff::exponential(SEC).factor(1.0), 3), [1.0, 1.0, 1.0]);
    assert_eq!(seconds(Backoff::linear(SEC), 3), [1.0, 2.0, 3.0]);
    assert_eq!(seconds(Backoff::linear(2 * SEC), 3), [2.0, 4.0, 6.0]);
    assert_eq!(seconds(Backoff::constant(SEC), 3), [1.0, 1.0, 1.0]);
    assert_eq!(seconds(Backoff::fibonacci(SEC), 7), [1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0]);
    assert_eq!(seconds(Backoff::custom(|retry| SEC * retry * retry), 3), [1.0, 4.0, 9.0]);
    // Floating point must not leave its dust on the nanoseconds.
    let delays: Vec<_> = Backoff::exponential(100 * MS).factor(1.4).jitter(Jitter::None).delays().take(3).collect();
    assert_eq!(delays, [100 * MS, 140 * MS, 196 * MS]);
}

#[test]
fn r03_overflow_saturates() {
    let endless = Backoff::exponential(DAY).max_delay(Duration::MAX);
    assert_eq!(endless.nominal(1001), Duration::MAX);
    assert_eq!(Backoff::exponential(DAY).max_delay(2 * DAY).nominal(1001), 2 * DAY);
    assert_eq!(Backoff::linear(Duration::MAX).nominal(u32::MAX), Duration::MAX);
    assert_eq!(Backoff::fibonacci(Duration::from_nanos(1)).max_delay(Duration::MAX).nominal(u32::MAX), Duration::MAX);
    for make in KINDS {
        let backoff = make(DAY).max_delay(3 * DAY).seed(3);
        assert!(backoff.delays().take(1026).all(|delay| delay <= 3 * DAY));
        assert!(backoff.nominal(u32::MAX) <= 3 * DAY);
        // Every knob at its largest: no panic, no overflow.
        let largest = make(Duration::MAX).max_delay(Duration::MAX).seed(3);
        largest.delays().take(100).for_each(drop);
        make(Duration::ZERO).delays().take(100).for_each(|delay| assert_eq!(delay, Duration::ZERO));
    }
    let additive = Backoff::constant(Duration::MAX).jitter(Jitter::Additive(Duration::MAX));
    assert_eq!(additive.delays().next(), Some(Duration::MAX));
}

#[test]
fn r04_the_cap_holds_for_every_kind() {
    let cap = 123 * MS;
    for make in EXACT {
        assert!(make(SEC).max_delay(cap).jitter(Jitter::None).delays().take(20).all(|delay| delay == cap));
        assert_eq!(make(MS).max_delay(SEC).jitter(Jitter::None).nominal(1), MS, "a cap above the delay changes nothing");
        for jitter in [Jitter::Full, Jitter::Equal, Jitter::Additive(SEC)] {
            assert!(make(SEC).max_delay(cap).jitter(jitter).seed(4).delays().take(1000).all(|delay| delay <= cap));
        }
    }
    assert!(Backoff::decorrelated(SEC).max_delay(cap).seed(4).delays().take(1000).all(|delay| delay <= cap));
    assert!(Backoff::custom(|_| SEC).max_delay(cap).delays().take(3).all(|delay| delay == cap));
}

#[test]
fn the_default_cap_never_shortens_what_was_asked_for() {
    assert_eq!(Backoff::exponential(SEC).nominal(100), 30 * SEC);
    assert_eq!(Backoff::exponential(45 * SEC).nominal(100), 45 * SEC);
    assert_eq!(Backoff::constant(DAY).nominal(1), DAY);
    assert_eq!(Backoff::custom(|_| DAY).nominal(1), DAY);
}

#[test]
fn inventory_2_13_base_doubled_plus_up_to_a_second_within_a_cap() {
    let backoff = Backoff::exponential(SEC).jitter(Jitter::Additive(SEC)).max_delay(60 * SEC).seed(13);
    for (delay, nominal) in backoff.delays().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        assert!(delay >= nominal * SEC && delay <= (nominal * SEC + SEC).min(60 * SEC), "{delay:?} for {nominal} s");
    }
    assert_eq!(backoff.longest(1), 2 * SEC);
    assert_eq!(backoff.longest(99), 60 * SEC);
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        any::<u64>().prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_secs),
        (0_u64..100_000).prop_map(Duration::from_millis),
        Just(Duration::MAX),
    ]
}

fn any_retry() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..200, any::<u32>().prop_map(|n| n.max(1)), Just(u32::MAX)]
}

proptest! {
    #[test]
    fn h30_delays_never_pass_the_cap_and_never_shrink(
        kind in 0_usize..5, base in any_duration(), cap in any_duration(), retry in any_retry(),
        factor in prop_oneof![1.0_f64..4.0, 1.0_f64..1.000_001, 1.0_f64..f64::MAX],
    ) {
        let backoff = KINDS[kind](base).max_delay(cap);
        let backoff = if kind == 2 { backoff.factor(factor) } else { backoff };
        prop_assert!(backoff.nominal(retry) <= cap);
        prop_assert!(backoff.nominal(retry) <= backoff.nominal(retry.saturating_add(1)));
        prop_assert!(backoff.longest(retry) <= cap);
    }

    /// In numbers that cannot overflow: the base times 1, n, 2^(n-1), or the nth of Fibonacci's.
    #[test]
    fn h30_delays_are_those_of_exact_arithmetic(kind in 0_usize..4, base in any_duration(), cap in any_duration(), retry in any_retry()) {
        let times = match kind {
            0 => 1,
            1 => u128::from(retry),
            2 => 1_u128.checked_shl(retry - 1).unwrap_or(u128::MAX),
            _ => (1..retry.min(200)).try_fold((0_u128, 1_u128), |(a, b), _| Some((b, a.checked_add(b)?))).map_or(u128::MAX, |(_, b)| b),
        };
        let exact = base.as_nanos().saturating_mul(times).min(cap.as_nanos());
        let delay = EXACT[kind](base).max_delay(cap).nominal(retry);
        // A power is a power of a `factor`, which has 53 bits.
        let off = if kind == 2 { exact >> 52 } else { 0 };
        prop_assert!(delay.as_nanos().abs_diff(exact) <= off, "{:?} times {} is {} ns, not {}", base, times, exact, delay.as_nanos());
    }

    #[test]
    fn h31_jitter_stays_in_range(
        kind in 0_usize..5, base in any_duration(), cap in any_duration(), extra in any_duration(), seed in any::<u64>(),
        choice in 0_usize..4,
    ) {
        let mut backoff = KINDS[kind](base).max_delay(cap).seed(seed);
        if kind != 4 {
            backoff = backoff.jitter([Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Additive(extra)][choice]);
        }
        for (retry, delay) in (1..).zip(backoff.delays().take(20)) {
            prop_assert!(delay <= backoff.longest(retry), "{delay:?}");
        }
    }
}

/// A million draws: all of them within the bounds, their mean within 1 % of the middle, and even over a hundred buckets.
fn even(draws: impl Iterator<Item = Duration>, low: Duration, high: Duration) {
    let (mut n, mut sum, mut buckets) = (0.0, 0.0, [0.0_f64; 100]);
    let (low_s, span) = (low.as_secs_f64(), (high - low).as_secs_f64());
    for draw in draws.take(1_000_000) {
        assert!(draw >= low && draw <= high, "{draw:?}");
        n += 1.0;
        sum += draw.as_secs_f64();
        buckets[(((draw.as_secs_f64() - low_s) / span * 100.0) as usize).min(99)] += 1.0;
    }
    let middle = (low_s + high.as_secs_f64()) / 2.0;
    assert!((sum / n - middle).abs() < middle / 100.0, "mean {} of {middle}", sum / n);
    let chi2: f64 = buckets.iter().map(|count| (count - n / 100.0).powi(2) / (n / 100.0)).sum();
    assert!(chi2 < 148.2, "chi squared {chi2}: with 99 degrees of freedom less likely than one in a thousand");
}

#[test]
fn h31_a_million_draws_are_even() {
    even(Backoff::constant(SEC).seed(1).delays(), Duration::ZERO, SEC);
    even(Backoff::constant(SEC).jitter(Jitter::Equal).seed(2).delays(), SEC / 2, SEC);
    even(Backoff::constant(SEC).jitter(Jitter::Additive(SEC)).seed(3).delays(), SEC, 2 * SEC);
    // The growing ones at their cap, where a jitter that came before the cap would have all of them wait the same.
    let capped: [Make; 3] = [Backoff::linear, Backoff::exponential, Backoff::fibonacci];
    for (seed, make) in (4..).zip(capped) {
        even(make(MS).max_delay(SEC).seed(seed).delays().skip(1000), Duration::ZERO, SEC);
    }
    let first = |seed| Backoff::decorrelated(SEC).seed(seed).delays().next().unwrap_or_default();
    even((0..1_000_000).map(first), SEC, 3 * SEC);
}

#[test]
fn h71_a_thousand_clients_do_not_come_back_together() {
    let first = |seed| Backoff::exponential(SEC).seed(seed).delays().next().expect("endless");
    let mut times: Vec<Duration> = (0..1000).map(first).collect();
    times.sort();
    for (i, &start) in times.iter().enumerate() {
        let within = times[i..].iter().take_while(|&&time| time < start + 10 * MS).count();
        assert!(within <= 30, "{within} of 1000 within 10 ms of {start:?}");
    }
}

#[test]
fn seeded_draws_repeat_and_unseeded_ones_do_not() {
    let backoff = Backoff::exponential(SEC).seed(42);
    assert!(backoff.delays().take(50).eq(backoff.delays().take(50)));
    assert!(!backoff.delays().take(50).eq(backoff.clone().seed(43).delays().take(50)));
    let unseeded = Backoff::exponential(SEC);
    assert!(!unseeded.delays().take(50).eq(unseeded.delays().take(50)));
}

#[test]
fn decorrelated_delays_follow_from_the_one_before_in_the_same_call() {
    let backoff = Backoff::decorrelated(SEC).max_delay(100 * SEC).seed(7);
    let mut previous = SEC;
    for delay in backoff.delays().take(1000) {
        assert!(delay >= SEC && delay <= (previous * 3).min(100 * SEC), "{delay:?} after {previous:?}");
        previous = delay;
    }
    assert!(backoff.delays().take(1000).any(|delay| delay > 50 * SEC), "it grows");
    // A call that begins now does not take over from calls that are far along.
    assert!(backoff.delays().next().is_some_and(|delay| delay <= 3 * SEC));
}

#[test]
fn h43_settings_that_cannot_work_are_named() {
    for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, 0.0, 0.999] {
        let error = Retry::exponential(3, SEC).factor(factor).build().expect_err("no factor to grow by");
        assert_eq!(error.faults()[0].field(), "factor");
    }
    assert!(Retry::exponential(3, SEC).factor(1.0).build().is_ok());
    let field = |config: steadfast::RetryConfig| config.build().expect_err("faulty").faults()[0].field().to_owned();
    assert_eq!(field(Retry::linear(3, SEC).factor(2.0)), "factor");
    assert_eq!(field(Retry::decorrelated(3, SEC).jitter(Jitter::None)), "jitter");
    assert_eq!(field(Retry::constant(3, SEC).max_delay(Duration::ZERO)), "max_delay");
}

// ---- edges that mutants showed to be untested ----

#[test]
fn decorrelated_delays_are_drawn() {
    let delays = |seed| Backoff::decorrelated(SEC).max_delay(100 * SEC).seed(seed).delays().take(5).collect::<Vec<_>>();
    assert_ne!(delays(1), delays(2));
}

#[test]
fn exponential_backoffs_are_equal_in_base_and_factor() {
    let doubling = Backoff::exponential(SEC);
    assert_eq!(doubling, Backoff::exponential(SEC).factor(2.0));
    assert_ne!(doubling, Backoff::exponential(SEC).factor(3.0));
    assert_ne!(doubling, Backoff::exponential(2 * SEC));
}

#[test]
fn what_does_not_grow_stays_exact_to_the_nanosecond() {
    // The next number that an f64 holds is one more.
    let base = Duration::from_nanos((1 << 53) + 3);
    let backoff = Backoff::exponential(base).max_delay(Duration::MAX);
    assert_eq!(backoff.nominal(1), base);
    assert_eq!(backoff.factor(1.0).nominal(9), base);
}

#[test]
fn h31_draws_reach_all_of_what_a_duration_holds() {
    let longest = Backoff::constant(Duration::MAX).jitter(Jitter::Full).seed(31);
    let long = longest.delays().take(1000).filter(|&delay| delay > Duration::MAX / 2).count();
    assert!((400..600).contains(&long), "{long} of 1000 in the upper half");
}
