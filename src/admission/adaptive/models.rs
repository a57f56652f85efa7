//! Small models that loom plays through in every order of their steps: threads that settle at the end of a window.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib adaptive::models`

use super::{AdaptiveLimit, AdaptiveLimitConfig};
use crate::models::model;
use crate::outcome::{Outcome, Verdict};
use loom::thread;
use std::time::Duration;
use tokio::time::Instant;

const SUCCESS: Outcome = Outcome::Judged(Verdict::Success);
const WINDOW: Duration = Duration::from_nanos(1);

fn limit(config: AdaptiveLimitConfig) -> &'static AdaptiveLimit {
    Box::leak(Box::new(AdaptiveLimit::from_config(config.window(WINDOW).min_samples(1))))
}

#[test]
fn two_timeouts_of_one_round_trip_are_one_decrease_and_no_place_is_lost() {
    model(2, || {
        let (limit, now) = (limit(AdaptiveLimit::aimd().initial(10)), Instant::now());
        let later = now + Duration::from_secs(1);
        let (first, second) = (limit.try_acquire_at(now).expect("a place"), limit.try_acquire_at(now).expect("a place"));
        let thread = thread::spawn(move || first.settle_at(Outcome::TimedOut, later));
        second.settle_at(Outcome::TimedOut, later);
        thread.join().expect("no panic");
        assert_eq!(limit.limit(), 9);
        assert_eq!((limit.in_use(), limit.available()), (0, 9));
    });
}

#[test]
fn a_newcomer_beside_a_change_takes_one_place() {
    for outcome in [SUCCESS, Outcome::TimedOut] {
        model(2, move || {
            let (limit, now) = (limit(AdaptiveLimit::aimd().initial(2)), Instant::now());
            let permit = limit.try_acquire_at(now).expect("a place");
            let thread = thread::spawn(move || permit.settle_at(outcome, now + Duration::from_secs(1)));
            let newcomer = limit.try_acquire_at(now);
            thread.join().expect("no panic");
            let taken = usize::from(newcomer.is_ok());
            assert_eq!(limit.in_use(), taken);
            drop(newcomer);
            assert_eq!((limit.in_use(), limit.available()), (0, limit.limit()));
        });
    }
}
