//! h55: what was given is given back once. By type, for a permit is no copy and settling it takes it; and by count, whatever is done with it.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use static_assertions::assert_not_impl_any;
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, AdaptivePermit, Budget, Bulkhead, BulkheadPermit, Call, CircuitBreaker, CircuitPermit, CircuitState, KeyPermit, Outcome,
    PerKey, Priority, RateLimiter, Reservation, Throttle, ThrottlePermit, Verdict,
};
use tokio::time::Instant;

/// Two of one would be given back twice. That one cannot be settled twice is a `compile_fail` example of each `settle`.
#[test]
fn h55_a_permit_is_no_copy() {
    assert_not_impl_any!(BulkheadPermit<'static>: Clone, Copy, Default);
    assert_not_impl_any!(AdaptivePermit<'static>: Clone, Copy, Default);
    assert_not_impl_any!(CircuitPermit<'static>: Clone, Copy, Default);
    assert_not_impl_any!(ThrottlePermit<'static>: Clone, Copy, Default);
    assert_not_impl_any!(KeyPermit<'static>: Clone, Copy, Default);
    assert_not_impl_any!(Reservation<'static>: Clone, Copy, Default);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Take,
    Settle(usize, Outcome),
    Drop(usize),
    Resize(u32),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let outcome = prop_oneof![
        Just(Outcome::Judged(Verdict::Success)),
        Just(Outcome::Judged(Verdict::transient())),
        Just(Outcome::TimedOut),
        Just(Outcome::NotAttempted),
        Just(Outcome::Abandoned),
        Just(Outcome::Panicked),
    ];
    let op = prop_oneof![
        4 => Just(Op::Take),
        2 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Op::Settle(which, outcome)),
        1 => any::<usize>().prop_map(Op::Drop),
        1 => (1..9_u32).prop_map(Op::Resize),
    ];
    proptest::collection::vec(op, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn h55_places_taken_are_those_held_after_every_operation(ops in ops()) {
        let places = Bulkhead::new(3).build().unwrap();
        let keys = PerKey::new(4).bulkhead(Bulkhead::new(3)).build().unwrap();
        let slots = AdaptiveLimit::aimd().initial(3).max(9).build().unwrap();
        let (mut limit, now) = (3, Instant::now());
        let (mut held, mut of_key, mut held_slots) = (Vec::new(), Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::Take => {
                    let (place, key) = (places.try_acquire(), keys.try_acquire_at("a", 1, now));
                    prop_assert_eq!((place.is_ok(), key.is_ok()), (held.len() < limit, of_key.len() < limit));
                    held.extend(place);
                    of_key.extend(key);
                    let (most, before) = (slots.limit(), held_slots.len());
                    held_slots.extend(slots.try_acquire_at(now));
                    prop_assert_eq!(held_slots.len() > before, before < most);
                }
                Op::Settle(which, outcome) if !held.is_empty() => {
                    drop(held.swap_remove(which % held.len()));
                    of_key.swap_remove(which % of_key.len()).settle_at(outcome, now);
                    if !held_slots.is_empty() {
                        held_slots.swap_remove(which % held_slots.len()).settle_at(outcome, now);
                    }
                }
                Op::Drop(which) if !held.is_empty() => {
                    drop((held.swap_remove(which % held.len()), of_key.swap_remove(which % of_key.len())));
                    if !held_slots.is_empty() {
                        drop(held_slots.swap_remove(which % held_slots.len()));
                    }
                }
                Op::Settle(..) | Op::Drop(_) => {}
                Op::Resize(to) => {
                    limit = to as usize;
                    places.resize(limit);
                    keys.reconfigure(&PerKey::new(4).bulkhead(Bulkhead::new(limit))).unwrap();
                }
            }
            prop_assert_eq!(places.in_use(), held.len());
            prop_assert_eq!(places.available(), limit.saturating_sub(held.len()));
            prop_assert_eq!(keys.snapshot("a").map_or(0, |key| key.in_use.unwrap()), of_key.len());
            prop_assert_eq!(slots.in_use(), held_slots.len());
        }
        drop((held, of_key, held_slots));
        prop_assert_eq!((places.in_use(), slots.in_use(), places.available()), (0, 0, limit));
    }

    #[test]
    fn h55_units_handed_back_never_make_a_bucket_overfull(ops in ops()) {
        let limiter = RateLimiter::per_hour(5).burst(5).build().unwrap();
        let budget = Budget::new(1.0).min_per_second(0.0).burst(5).build().unwrap();
        let (mut held, mut kept, now) = (Vec::new(), 0, Instant::now());
        for op in ops {
            match op {
                Op::Take => {
                    held.extend(limiter.reserve(&Call::at(now)));
                    let _ = budget.try_withdraw_at(now);
                }
                Op::Settle(which, _) if !held.is_empty() => {
                    held.swap_remove(which % held.len()).settle(1);
                    kept += 1;
                }
                Op::Drop(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Op::Settle(..) | Op::Drop(_) => {}
                Op::Resize(_) => budget.deposit(),
            }
            prop_assert!(budget.available() <= 5);
            // An hour is far longer than this takes, so nothing drips in.
            prop_assert!(held.len() + kept + limiter.available() as usize <= 5, "{} held, {kept} used", held.len());
        }
    }

    #[test]
    fn h55_probes_out_are_never_more_than_allowed_and_each_place_comes_back_once(ops in ops(), probes in 1..4_u32) {
        let config = CircuitBreaker::consecutive_failures(1).probes(probes).close_after(probes).open_jitter(0.0);
        let breaker = config.open_for(Duration::from_secs(1)).build().unwrap();
        breaker.try_acquire().unwrap().settle(Outcome::TimedOut);
        let throttle = Throttle::new().min_requests(1).build().unwrap();
        let now = Instant::now() + Duration::from_secs(2);
        let (mut held, mut asked) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::Take => {
                    held.extend(breaker.try_acquire_at(now).ok());
                    asked.extend(throttle.try_acquire(Priority::Normal, now).ok());
                }
                Op::Settle(which, outcome) if !held.is_empty() => held.swap_remove(which % held.len()).settle_at(outcome, now),
                Op::Drop(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Op::Settle(..) | Op::Drop(_) => {}
                Op::Resize(_) => asked.truncate(asked.len() / 2),
            }
            let then = breaker.snapshot();
            if then.state == CircuitState::HalfOpen {
                prop_assert!(then.probes_in_flight <= probes);
                prop_assert!(then.probes_in_flight as usize <= held.len());
            }
        }
        drop((held, asked));
        prop_assert_eq!(breaker.snapshot().probes_in_flight, 0);
    }
}
