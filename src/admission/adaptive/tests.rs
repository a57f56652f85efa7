use super::permit::Facts;
use super::{AdaptiveLimit, AdaptiveLimitConfig};
use std::time::Duration;

#[test]
fn a_permit_knows_how_many_there_were_and_whether_that_was_calm() {
    for in_flight in [0, 1, 5, 1_000_000] {
        for calm in [false, true] {
            let facts = Facts::of(7, 9, in_flight, calm);
            assert_eq!((facts.began, facts.generation, facts.in_flight(), facts.is_calm()), (7, 9, in_flight, calm));
        }
    }
    let facts = Facts::of(0, 0, u32::MAX, false);
    assert_eq!((facts.in_flight(), facts.is_calm()), (u32::MAX >> 1, false), "more than there can be");
}

#[test]
fn clones_are_one_limit_and_others_are_not() {
    let build = || AdaptiveLimit::new().build().expect("valid");
    let (one, other) = (build(), build());
    assert!(one.is_same(&one.clone()) && !one.is_same(&other));
}

#[test]
fn without_a_queue_nobody_waits_however_long_the_longest_wait() {
    let waits = |config: AdaptiveLimitConfig| (config.longest_wait(), config.waits_for_ever());
    let second = Duration::from_secs(1);
    assert_eq!(waits(AdaptiveLimit::new().max_wait(second)), (Duration::ZERO, false));
    assert_eq!(waits(AdaptiveLimit::new()), (Duration::ZERO, false));
    assert_eq!(waits(AdaptiveLimit::new().queue(1).max_wait(second)), (second, false));
    assert_eq!(waits(AdaptiveLimit::new().queue(1)), (Duration::MAX, true));
}

#[test]
fn only_what_the_algorithm_reads_makes_it_another() {
    let same = |config: AdaptiveLimitConfig| config.has_same_law(&AdaptiveLimit::vegas());
    assert!(same(AdaptiveLimit::vegas().max(50).window(Duration::from_secs(1)).alpha(3.0)));
    assert!(!same(AdaptiveLimit::vegas().alpha(2.0)) && !same(AdaptiveLimit::aimd()));
}

#[test]
fn a5_bounds_may_meet_and_the_initial_limit_may_be_either() {
    let builds = |min, initial, max| AdaptiveLimit::new().min(min).initial(initial).max(max).build().is_ok();
    assert!(builds(5, 5, 5) && builds(5, 5, 9) && builds(5, 9, 9));
    assert!(!builds(6, 5, 5) && !builds(5, 4, 9) && !builds(5, 10, 9));
}
