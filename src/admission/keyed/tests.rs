//! What is seen only from inside: the promise of bytes, the index, and what is handed back.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::admission::{Bulkhead, CircuitBreaker, RateLimiter};
use crate::outcome::{Outcome, RejectedKind, Verdict};

const SECOND: Duration = Duration::from_secs(1);
const F: Outcome = Outcome::Judged(Verdict::transient());

/// What the module's documentation promises: a key, and on top of all of them.
const KEY: usize = 160;
const TABLE: usize = 192 * 1024;

fn full(max_keys: usize) -> PerKeyConfig {
    PerKey::new(max_keys).rate_limit(RateLimiter::per_hour(1)).circuit_breaker(CircuitBreaker::failure_rate(0.5)).bulkhead(Bulkhead::new(1))
}

#[test]
fn e05_no_key_takes_more_bytes_than_promised() {
    for max_keys in [1, 10, 100, 1_000, 10_000, 100_000] {
        for (config, key) in [(full(max_keys), KEY), (full(max_keys).statistics(true), KEY + 32)] {
            let (keys, now) = (config.build().unwrap(), Instant::now());
            let hostile = max_keys + max_keys / 2;
            // The worst is right after the index was doubled, so look all the time.
            for number in 0..hostile {
                let _ = keys.try_acquire_at(&number.to_string(), 1, now);
                if number.is_power_of_two() || number % 9_973 == 0 {
                    assert!(keys.table.bytes() <= key * max_keys + TABLE, "{} of {max_keys}", keys.table.bytes());
                }
            }
            assert!(keys.table.bytes() <= key * max_keys + TABLE, "{} for {max_keys}", keys.table.bytes());
            assert_eq!(keys.len(), max_keys);
            keys.table.check();
        }
    }
    let (limited, now) = (PerKey::new(100_000).rate_limit(RateLimiter::per_hour(1)).build().unwrap(), Instant::now());
    (0..150_000).for_each(|number| drop(limited.try_acquire_at(&number.to_string(), 1, now)));
    assert!(limited.table.bytes() <= 76 * 100_000 + TABLE, "{}", limited.table.bytes());
}

#[test]
fn e05_a_table_that_many_pass_through_grows_no_further() {
    // The parts of the table are full one after another, and each keeps what it once used.
    for max_keys in [100, 10_000] {
        let (keys, now) = (full(max_keys).build().unwrap(), Instant::now());
        (0..200_000).for_each(|number| drop(keys.try_acquire_at(&number.to_string(), 0, now)));
        assert!(keys.table.bytes() <= KEY * max_keys + TABLE, "{} for {max_keys}", keys.table.bytes());
        assert_eq!(keys.len(), max_keys);
        keys.table.check();
    }
}

proptest::proptest! {
    /// Whoever comes and goes, in whatever order: who is there is found, and nobody else.
    #[test]
    fn the_index_finds_who_is_there(steps in proptest::collection::vec((0..200_u32, 0..4_u8, 0..3_u32), 1..600)) {
        let keys = PerKey::new(100).rate_limit(RateLimiter::per_second(1)).idle(2 * SECOND).build().unwrap();
        let mut now = Instant::now();
        for (key, kind, wait) in steps {
            now += SECOND * wait;
            let key = key.to_string();
            if kind == 0 {
                keys.forget(&key);
                proptest::prop_assert!(keys.snapshot(&key).is_none());
            } else {
                let _ = keys.try_acquire_at(&key, 1, now);
            }
            proptest::prop_assert!(keys.len() <= 100);
            keys.table.check();
        }
    }
}

#[test]
fn a_call_that_is_refused_further_in_hands_its_units_back() {
    let keys = PerKey::new(10).rate_limit(RateLimiter::per_hour(2)).build().unwrap();
    let enter = |cost| match keys.enter(Some("a"), cost, Instant::now(), Call::now) {
        Entry::Granted(permit) => permit,
        other => panic!("{:?}", matches!(other, Entry::Wait(_))),
    };
    let available = || keys.snapshot("a").unwrap().available.unwrap();
    drop(enter(2));
    assert_eq!(available(), 2, "dropped before it was used");
    enter(1).settle(Outcome::NotAttempted);
    assert_eq!(available(), 2);
    let mut used = enter(1);
    used.used(Instant::now());
    drop(used);
    assert_eq!(available(), 1);
    let reserved = enter(1);
    keys.forget("a");
    drop(reserved);
    assert!(keys.enter(None, 1, Instant::now(), Call::now).is_granted(), "a call without a key passes");
}

impl<P, W> Entry<P, W> {
    fn is_granted(&self) -> bool {
        matches!(self, Self::Granted(_))
    }
}

#[test]
fn h82_what_was_handed_back_is_handed_back_once() {
    // Two grants of a burst of two, both handed back, a third one in between: never more than the burst.
    let keys = PerKey::new(10).rate_limit(RateLimiter::per_hour(2)).build().unwrap();
    let now = Instant::now();
    let [one, two] = [(); 2].map(|()| keys.try_acquire_at("a", 1, now).unwrap());
    one.settle_at(Outcome::NotAttempted, now);
    let three = keys.try_acquire_at("a", 1, now).unwrap();
    two.settle_at(Outcome::NotAttempted, now);
    three.settle_at(Outcome::NotAttempted, now);
    assert!(keys.snapshot("a").unwrap().available <= Some(2));
    assert_eq!((0..5).filter(|_| keys.try_acquire_at("a", 1, now).is_ok()).count(), 2);
}

#[test]
fn who_looks_ahead_sees_the_open_circuit_of_its_key_only() {
    let keys = PerKey::new(10).circuit_breaker(CircuitBreaker::consecutive_failures(1).open_jitter(0.0)).build().unwrap();
    let now = Instant::now();
    keys.try_acquire_at("a", 1, now).unwrap().settle_at(F, now);
    assert!(keys.is_open_at(Some("a"), now + 4 * SECOND) && !keys.is_open_at(Some("a"), now + 5 * SECOND));
    assert!(!keys.is_open_at(Some("b"), now) && !keys.is_open_at(None, now));
    assert!(!keys.needs_end_time());
    assert_eq!(keys.try_acquire_at("a", 1, now).unwrap_err().kind(), RejectedKind::CircuitOpen);
}
