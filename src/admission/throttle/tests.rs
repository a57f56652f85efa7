use super::Throttle;
use super::counts::{Counts, Cut, Shard, Tally};
use crate::call::Priority::{self, Background, Critical, High, Low, Normal};
use crate::outcome::{Outcome, Verdict};
use std::time::Duration;
use tokio::time::Instant;

fn shares(p: f64, mix: [u64; 5], cap: f64) -> [f64; 5] {
    let cut = Cut::of(p, mix, cap);
    Priority::ALL.map(|priority| (cut.chance(priority, cap) * 1e3).round() / 1e3)
}

#[test]
fn the_least_important_are_held_back_first_and_no_more_than_need_be() {
    // 8 more of `Normal` are taken for granted.
    let even = [100, 100, 92, 100, 100];
    assert_eq!(shares(0.1, even, 1.0), [0.0, 0.0, 0.0, 0.0, 0.5]);
    assert_eq!(shares(0.3, even, 1.0), [0.0, 0.0, 0.0, 0.5, 1.0]);
    assert_eq!(shares(0.9, even, 1.0), [0.5, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(shares(1.0, even, 1.0), [1.0; 5]);
    // A cap holds for each.
    assert_eq!(shares(0.3, even, 0.5), [0.0, 0.0, 0.5, 0.5, 0.5]);
    assert_eq!(shares(0.5, even, 0.5), [0.5; 5]);
    // Where there is one priority only, it bears all of it.
    assert_eq!(shares(0.4, [0, 0, 992, 0, 0], 1.0)[Normal as usize], 0.4);
    assert_eq!(shares(0.4, [0, 0, 0, 0, 0], 1.0)[Critical as usize], 0.0);
    // What one priority can bear just so is nobody else's.
    assert_eq!(shares(0.5, [0, 0, 56, 0, 64], 1.0), [0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!([Critical, High, Normal, Low, Background], Priority::ALL);
}

#[test]
fn a_view_is_good_for_its_state_its_time_and_so_many_calls() {
    let (shard, cut) = (Shard::default(), Cut::of(0.4, [5, 0, 992, 3, 7], 1.0));
    assert_eq!(shard.recent_cut(0, 0), None, "none was made yet");
    shard.keep_cut(cut, 5, 100, 2);
    assert_eq!([(4, 99), (6, 99), (5, 100), (5, 101)].map(|(state, nanos)| shard.recent_cut(state, nanos)), [None; 4]);
    assert_eq!([99, 0, 0].map(|nanos| shard.recent_cut(5, nanos)), [Some(cut), Some(cut), None]);
    let tally = Tally::new(30_000_000_000, 1);
    tally.shard().keep_cut(cut, 5, 100, 9);
    tally.forget_cuts();
    assert_eq!(tally.shard().recent_cut(5, 0), None);
}

#[test]
fn of_how_demand_is_made_up_the_old_fades() {
    let tally = Tally::new(30_000_000_000, 1);
    let mix = |priority, calls| (0..calls).for_each(|_| tally.shard().mix_in(priority));
    mix(Low, 100);
    mix(Normal, 1_024);
    assert_eq!(tally.mix(), [0, 0, 1_024, 100, 0]);
    mix(Normal, 1);
    assert_eq!(tally.mix(), [0, 0, 512, 50, 0]);
}

#[test]
fn what_is_wiped_is_gone_for_every_generation() {
    let tally = Tally::new(30_000_000_000, 2);
    (0..2).for_each(|_| tally.accept(1, 0));
    (0..3).for_each(|_| tally.failure(1, 0));
    (0..4).for_each(|_| tally.refusal(1, 0));
    let counts = tally.counts(1, 0);
    assert_eq!((counts, counts.requests(), counts.forwarded()), (Counts { accepts: 2, failures: 3, refused: 4 }, 9, 5));
    assert_eq!(tally.counts(2, 0), Counts::default());
    tally.wipe();
    assert_eq!(tally.counts(1, 0), Counts::default());
}

// ---- the policy: what a permit gives back ----

const SUCCESS: Outcome = Outcome::Judged(Verdict::Success);

fn build() -> Throttle {
    Throttle::new().seed(1).build().expect("valid")
}

/// Of 20 calls none was accepted: a probe is due.
fn overloaded(start: Instant) -> Throttle {
    let throttle = build();
    for _ in 0..20 {
        let permit = throttle.try_acquire(Normal, start).expect("nothing is known yet");
        assert!(!permit.is_probe());
        permit.settle_at(Outcome::TimedOut, start);
    }
    throttle
}

#[test]
fn clones_are_one_throttle_and_others_are_not() {
    let (one, other) = (build(), build());
    assert!(one.is_same(&one.clone()) && !one.is_same(&other));
}

#[test]
fn what_a_dropped_permit_went_on_serves_another() {
    let start = Instant::now();
    let (throttle, later) = (overloaded(start), start + Duration::from_secs(3));
    let probe = throttle.try_acquire(Background, later).expect("a probe is due");
    assert!(probe.is_probe());
    probe.settle_at(SUCCESS, later);
    // The way back: two calls on the first accept, and a probe a second after the last.
    let [first, _second] = [(); 2].map(|()| throttle.try_acquire(Normal, later).expect("lent"));
    assert!(first.is_probe() && throttle.try_acquire(Normal, later).is_err());
    drop(first);
    assert!(throttle.try_acquire(Normal, later).is_ok());
}

#[test]
fn h43_the_shortest_window_is_20_ms() {
    let built = |millis| Throttle::new().window(Duration::from_millis(millis)).build().is_ok();
    assert_eq!([19, 20].map(built), [false, true]);
}
