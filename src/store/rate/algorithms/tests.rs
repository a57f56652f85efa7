//! Each algorithm against its definition, told in the plainest way there is.

use super::super::{Algorithm, Calendar, Quota, Terms};
use super::State;
use proptest::prelude::*;
use std::time::Duration;

const NOW: u64 = 1_800_000_000_000_000;
const HOUR: u64 = 3_600_000_000;

fn terms(quota: &Quota) -> Terms {
    quota.terms(0).expect("a quota that can work")
}

fn us(wait: Option<Duration>) -> u64 {
    wait.map_or(0, |wait| wait.as_micros() as u64)
}

/// What went, and when.
type Gone = Vec<(u64, u32)>;

/// Whether `cost` may go at `now` after all that has, by the words of the documentation.
fn may_go(terms: &Terms, gone: &Gone, now: u64, cost: u32) -> bool {
    let (period, limit, cost) = (u128::from(terms.period_us), u128::from(terms.limit), u128::from(cost));
    let between =
        |from: u64, to: u64| gone.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, cost)| u128::from(*cost)).sum::<u128>();
    match terms.algorithm {
        // In any time `t`, at most `burst + rate * t`: from each call that went until now.
        Algorithm::Gcra | Algorithm::TokenBucket => {
            let mut sum = cost;
            let fits = |sum: u128, since: u64| sum * period <= u128::from(terms.capacity) * period + limit * u128::from(now - since);
            fits(cost, now)
                && gone.iter().rev().all(|(at, cost)| {
                    sum += u128::from(*cost);
                    fits(sum, *at)
                })
        }
        Algorithm::SlidingLog => between(now + 1 - terms.period_us, now + 1) + cost <= limit,
        Algorithm::FixedWindow => between(terms.window(now).0, now + 1) + cost <= limit,
        Algorithm::SlidingCounter => {
            let (start, end) = terms.window(now);
            between(start - terms.period_us, start) * u128::from(end - now) + (between(start, now + 1) + cost) * period <= limit * period
        }
    }
}

fn quotas() -> impl Strategy<Value = Quota> {
    let algorithm = proptest::sample::select(Algorithm::ALL.to_vec());
    let period = prop_oneof![1..50_u64, 999..1_001_u64, Just(1_000_000), Just(60_000_000)];
    (1..12_u32, period, proptest::option::of(1..20_u32), algorithm).prop_map(|(limit, period, burst, algorithm)| {
        let quota = Quota::per(limit, Duration::from_micros(period)).algorithm(algorithm);
        match burst {
            Some(burst) if matches!(algorithm, Algorithm::Gcra | Algorithm::TokenBucket) => quota.burst(burst),
            _ => quota,
        }
    })
}

/// Steps in thousandths of the period, and costs.
fn calls() -> impl Strategy<Value = Vec<(u64, u32)>> {
    proptest::collection::vec((prop_oneof![Just(0), 0..50_u64, 0..1_500_u64], 0..5_u32), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn g67_all_goes_that_may_and_nothing_else(quota in quotas(), calls in calls()) {
        let terms = terms(&quota);
        let (mut now, mut gone, mut state) = (NOW, Gone::new(), State::new(&terms, NOW));
        for (step, cost) in calls {
            now += step * terms.period_us / 1_000;
            let cost = cost.min(terms.capacity);
            let decision = state.take(now, &terms, cost);
            prop_assert_eq!(decision.allowed, may_go(&terms, &gone, now, cost.max(1)), "{} at {}, after {:?}", cost, now, gone);
            if decision.allowed && cost > 0 {
                gone.push((now, cost));
            }
            let most = (0..=terms.capacity).rev().find(|cost| *cost == 0 || may_go(&terms, &gone, now, *cost));
            prop_assert_eq!(Some(decision.remaining), most);
            // It is what it is after a trip through bytes.
            prop_assert_eq!(State::decode(&state.encode(), terms.algorithm), Some(state.clone()));
            // Too soon before, not too soon then.
            if !decision.allowed {
                let wait = us(decision.retry_after);
                prop_assert!(wait > 0);
                prop_assert!(!state.clone().take(now + wait - 1, &terms, cost).allowed);
                prop_assert!(state.clone().take(now + wait, &terms, cost).allowed);
            }
            let full = us(Some(decision.reset_after));
            prop_assert_eq!(state.clone().take(now + full, &terms, 0).remaining, terms.capacity);
            prop_assert!(full == 0 || state.clone().take(now + full - 1, &terms, 0).remaining < terms.capacity);
        }
    }

    #[test]
    fn g69_what_is_given_back_is_there_and_no_more(quota in quotas(), calls in calls(), back in 0..30_u32) {
        let terms = terms(&quota);
        let (mut now, mut state) = (NOW, State::new(&terms, NOW));
        for (step, cost) in calls {
            now += step * terms.period_us / 1_000;
            let decision = state.take(now, &terms, cost.min(terms.capacity));
            state.give_back(now, &terms, back);
            let after = state.take(now, &terms, 0);
            prop_assert!(after.remaining <= terms.capacity && after.remaining >= decision.remaining);
            if terms.algorithm != Algorithm::SlidingCounter {
                prop_assert_eq!(after.remaining, decision.remaining.saturating_add(back).min(terms.capacity));
            }
        }
    }

    #[test]
    fn g70_a_clock_put_back_neither_drains_nor_fills(quota in quotas(), calls in calls(), back in 0..2 * HOUR) {
        let terms = terms(&quota);
        let (mut now, mut state) = (NOW, State::new(&terms, NOW));
        for (step, cost) in calls {
            now += step * terms.period_us / 1_000;
            let before = state.take(now, &terms, cost.min(terms.capacity)).remaining;
            let after = state.clone().take(now - back, &terms, 0);
            if terms.algorithm == Algorithm::SlidingCounter {
                // How much of the window before counts goes by the clock.
                prop_assert!(after.remaining <= terms.capacity);
            } else {
                prop_assert_eq!(after.remaining, before);
            }
            prop_assert!(us(Some(after.reset_after)) <= 2 * terms.period_us * u64::from(terms.capacity) + 1_000_000);
        }
    }

    #[test]
    fn g72_another_quota_neither_panics_nor_refills(one in quotas(), other in quotas(), calls in calls()) {
        let (one, other) = (terms(&one), terms(&other));
        let (mut now, mut state) = (NOW, State::new(&one, NOW));
        for (step, cost) in calls {
            now += step * one.period_us / 1_000;
            let left = state.take(now, &one, cost.min(one.capacity)).remaining;
            if one.algorithm == other.algorithm {
                if one.algorithm == Algorithm::SlidingLog {
                    continue; // it knows when each was, so it is exact about any period up to the longest it was asked about
                }
                let spent = one.capacity - left;
                let decision = state.clone().take(now, &other, 0);
                // A part of a unit may come or go with the period by which it is told.
                prop_assert!(decision.remaining <= other.capacity.saturating_sub(spent.saturating_sub(1)).max(left), "{left} {decision:?}");
            } else {
                prop_assert_eq!(state.clone().take(now, &other, 0).remaining, other.capacity, "each algorithm keeps its own books");
            }
        }
    }

    #[test]
    fn h99_no_bytes_make_it_panic_or_shut_for_ever(bytes: Vec<u8>, quota in quotas()) {
        let terms = terms(&quota);
        for bytes in [bytes.clone(), [&[1], &bytes[..]].concat()] {
            if let Some(mut state) = State::decode(&bytes, terms.algorithm) {
                let decision = state.take(NOW, &terms, 1);
                let most = terms.period_us * (2 + u64::from(terms.capacity)) + 1_000_000;
                prop_assert!(us(decision.retry_after) <= most && us(Some(decision.reset_after)) <= most, "{decision:?}");
            }
        }
    }
}

#[test]
fn h99_a_poisoned_number_is_over_within_a_window() {
    let quota = Quota::per_second(10);
    for algorithm in Algorithm::ALL {
        let terms = terms(&quota.algorithm(algorithm));
        for fill in [0, 0x7f, 0xff] {
            for length in [12, 20, 24] {
                let bytes = [vec![1], vec![fill; length]].concat();
                let Some(mut state) = State::decode(&bytes, algorithm) else { continue };
                let _ = state.take(NOW, &terms, 1);
                assert!(state.take(NOW + 2_000_000, &terms, 1).allowed, "{algorithm} after {length} times {fill}");
            }
        }
    }
}

#[test]
fn g67_steady_callers_get_the_full_rate() {
    // Every microsecond, or as often as the fastest rate: one period's worth in each period, exactly.
    for (limit, period) in [(3, 1_000_u64), (7, 1_000), (999, 1_000), (1_000, 1_000), (1, 997)] {
        for algorithm in [Algorithm::Gcra, Algorithm::TokenBucket] {
            let terms = terms(&Quota::per(limit, Duration::from_micros(period)).burst(1).algorithm(algorithm));
            let mut state = State::new(&terms, NOW);
            let periods = 50;
            let went = (0..period * periods).filter(|step| state.take(NOW + step, &terms, 1).allowed).count() as u64;
            // A burst of one at whole microseconds loses what comes between two of them, unless units come rarely.
            let ideal = u64::from(limit) * periods;
            assert!(
                went <= ideal + 1 && went >= periods * period / period.div_ceil(u64::from(limit)),
                "{went} of {ideal} with {algorithm}"
            );
            // With room for two, none is lost.
            let roomy = self::terms(&Quota::per(limit, Duration::from_micros(period)).burst(2).algorithm(algorithm));
            let mut state = State::new(&roomy, NOW);
            let went = (0..period * periods).filter(|step| state.take(NOW + step, &roomy, 1).allowed).count() as u64;
            assert!((ideal..=ideal + 2).contains(&went), "{went} of {ideal} with {algorithm} and room");
        }
    }
}

#[test]
fn g73_from_one_a_year_to_a_million_a_second() {
    let year = Duration::from_secs(365 * 86_400);
    for algorithm in Algorithm::ALL {
        let of = |quota: Quota| terms(&quota.algorithm(algorithm));
        let yearly = of(Quota::per(1, year));
        let mut state = State::new(&yearly, NOW);
        assert!(state.take(NOW, &yearly, 1).allowed);
        let refused = state.take(NOW + 1, &yearly, 1);
        assert!(!refused.allowed && us(refused.retry_after) <= 2 * year.as_micros() as u64, "{algorithm}: {refused:?}");

        if algorithm != Algorithm::SlidingLog {
            let fast = of(Quota::per_second(1_000_000));
            let mut state = State::new(&fast, NOW);
            assert!(state.take(NOW, &fast, 1_000_000).allowed);
            let wait = us(state.take(NOW, &fast, 1).retry_after);
            assert!(wait == 1 || matches!(algorithm, Algorithm::FixedWindow | Algorithm::SlidingCounter), "{algorithm}: {wait}");

            let huge = of(Quota::per_day(u32::MAX));
            let mut state = State::new(&huge, NOW);
            assert!(state.take(NOW, &huge, u32::MAX).allowed);
            assert!(!state.take(NOW, &huge, u32::MAX).allowed);
            let later = state.take(NOW + 2 * 86_400_000_000, &huge, u32::MAX);
            assert!(later.allowed, "{algorithm}: {later:?}");
        }
    }
}

#[test]
fn g72_a_slower_rate_is_no_refill() {
    for algorithm in Algorithm::ALL {
        let of = |quota: Quota| terms(&quota.algorithm(algorithm));
        let (fast, slow) = (of(Quota::per_second(10)), of(Quota::per_minute(10)));
        let mut state = State::new(&fast, NOW);
        assert!(state.take(NOW, &fast, 10).allowed);
        assert_eq!(state.take(NOW, &slow, 0).remaining, 0, "{algorithm}");
        let (more, less) = (of(Quota::per_second(20)), of(Quota::per_second(5)));
        assert!(state.clone().take(NOW, &more, 0).remaining <= 10, "{algorithm}");
        assert_eq!(state.clone().take(NOW, &less, 0).remaining, 0, "{algorithm}");
    }
}

#[test]
fn any_window_of_a_sliding_counter_holds_less_than_twice_its_limit() {
    let terms = terms(&Quota::per_second(100).algorithm(Algorithm::SlidingCounter));
    let mut state = State::new(&terms, NOW);
    let mut gone = Gone::new();
    for step in 0..4_000 {
        // The worst there is: nothing, all just before the end of a window, then whatever goes.
        let now = NOW + 999_000 + step * 1_000;
        while state.take(now, &terms, 1).allowed {
            gone.push((now, 1));
        }
    }
    let worst = gone.iter().map(|(from, _)| gone.iter().filter(|(at, _)| (*from..from + 1_000_000).contains(at)).count()).max();
    assert!(worst.is_some_and(|worst| worst > 150 && worst < 200), "{worst:?}");
}

#[test]
fn a_monthly_quota_ends_with_the_month() {
    let terms = terms(&Quota::monthly(2));
    let (start, end) = Calendar::Month.window(NOW);
    let mut state = State::new(&terms, start);
    assert!(state.take(start, &terms, 2).allowed);
    let refused = state.take(end - 1, &terms, 1);
    assert_eq!((refused.allowed, us(refused.retry_after)), (false, 1));
    assert!(state.take(end, &terms, 2).allowed);
}
