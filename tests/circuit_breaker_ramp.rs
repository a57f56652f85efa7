//! The warm-up of a circuit that closed again: a growing share of calls instead of a thundering herd.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;
use steadfast::{CircuitBreaker, CircuitBreakerConfig, CircuitPermit, CircuitState, Outcome, Pipeline, RejectedKind, Verdict};
use tokio::time::{Instant, advance};

const YES: Outcome = Outcome::Judged(Verdict::Success);
const NO: Outcome = Outcome::Judged(Verdict::transient());

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn rules() -> CircuitBreakerConfig {
    CircuitBreaker::consecutive_failures(5).open_for(secs(5)).open_jitter(0.0).ramp(secs(10))
}

/// Opened, probed with success, and so closed this moment.
async fn just_closed(config: CircuitBreakerConfig) -> CircuitBreaker {
    let breaker = config.build().unwrap();
    breaker.force_open();
    advance(secs(5)).await;
    let probe = breaker.try_acquire().unwrap();
    assert!(probe.is_probe());
    probe.settle(YES);
    assert_eq!(breaker.state(), CircuitState::Closed);
    breaker
}

fn through(breaker: &CircuitBreaker, calls: usize) -> usize {
    (0..calls).filter(|_| breaker.try_acquire().is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn a_thundering_herd_is_let_in_a_tenth_at_first() {
    let breaker = just_closed(rules()).await;
    let (mut admitted, mut hints) = (0, Vec::new());
    for _ in 0..10_000 {
        match breaker.try_acquire() {
            Ok(_) => admitted += 1,
            Err(refused) => {
                assert_eq!(refused.kind(), RejectedKind::CircuitOpen);
                hints.push(refused.retry_after().unwrap());
            }
        }
    }
    assert!((1_000..=1_001).contains(&admitted), "{admitted}");
    // And they are not told to come back together.
    assert!(hints.iter().all(|hint| *hint > Duration::ZERO && *hint <= secs(10)));
    for second in 0..10 {
        let here = hints.iter().filter(|hint| hint.as_secs() == second).count();
        assert!((800..1_000).contains(&here), "{here} of 9,000 come back in second {second}");
    }
    assert_eq!(breaker.snapshot().not_permitted, hints.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn the_share_grows_from_a_tenth_to_all() {
    let breaker = just_closed(rules()).await;
    for second in 0..10 {
        let expected = 100 + 90 * second;
        let admitted = through(&breaker, 1_000);
        assert!(admitted.abs_diff(expected) <= 1, "{admitted} of 1,000 after {second} s");
        assert_eq!(breaker.snapshot().ramp_left, Some(secs(10 - second as u64)));
        advance(secs(1)).await;
    }
    assert_eq!(through(&breaker, 1_000), 1_000);
    let then = breaker.snapshot();
    assert_eq!((then.state, then.ramp_left), (CircuitState::Closed, None));
}

#[tokio::test(start_paused = true)]
async fn without_it_all_go_at_once() {
    let breaker = just_closed(CircuitBreaker::consecutive_failures(5).open_jitter(0.0)).await;
    assert_eq!(through(&breaker, 10_000), 10_000);
    assert_eq!(breaker.snapshot().ramp_left, None);
}

#[tokio::test(start_paused = true)]
async fn the_first_call_goes_and_a_lone_caller_is_told_so() {
    let breaker = just_closed(rules()).await;
    assert!(breaker.snapshot().to_string().ends_with(", warming up for 10.0 s"), "{}", breaker.snapshot());
    assert!(breaker.check_at(Instant::now()).is_ok());
    assert!(breaker.try_acquire().is_ok());
    assert!(breaker.try_acquire().is_err());
}

#[tokio::test(start_paused = true)]
async fn what_it_lets_through_counts_during_and_after() {
    for config in [rules(), rules().count_window(100), rules().slow_calls(secs(100), 1.0)] {
        let breaker = just_closed(config.failure_rate(1.0)).await;
        let generation = breaker.snapshot().generation;
        let mut held: Vec<CircuitPermit<'_>> = (0..100).filter_map(|_| breaker.try_acquire().ok()).collect();
        assert_eq!(held.len(), 10);
        held.drain(..6).for_each(|permit| permit.settle(YES));
        advance(secs(10)).await;
        breaker.try_acquire().unwrap().settle(YES);
        held.drain(..2).for_each(|permit| permit.settle(YES));
        held.drain(..).for_each(|permit| permit.settle(NO));
        let then = breaker.snapshot();
        assert_eq!((then.stale, then.generation, then.consecutive_failures), (0, generation, 2));
        assert!(then.calls >= 5, "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rules_may_open_it_while_it_warms_up() {
    for config in [rules(), rules().count_window(100)] {
        let breaker = just_closed(config).await;
        let mut told = breaker.subscribe();
        while let Some(permit) = (0..10).find_map(|_| breaker.try_acquire().ok()) {
            permit.settle(NO);
        }
        assert_eq!(breaker.state(), CircuitState::Open);
        let transition = told.try_next().unwrap();
        assert_eq!((transition.from, transition.to), (CircuitState::Closed, CircuitState::Open));
        // And it warms up again.
        advance(secs(5)).await;
        breaker.try_acquire().unwrap().settle(YES);
        assert!(through(&breaker, 1_000).abs_diff(100) <= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_it_is_no_transition() {
    let breaker = rules().build().unwrap();
    let mut told = breaker.subscribe();
    breaker.force_open();
    advance(secs(5)).await;
    breaker.try_acquire().unwrap().settle(YES);
    through(&breaker, 100);
    advance(secs(10)).await;
    through(&breaker, 100);
    let states: Vec<_> = std::iter::from_fn(|| told.try_next()).map(|transition| transition.to).collect();
    assert_eq!(states, [CircuitState::Open, CircuitState::HalfOpen, CircuitState::Closed]);
}

#[tokio::test(start_paused = true)]
async fn by_hand_it_is_closed_for_all() {
    type Hand = fn(&CircuitBreaker);
    let hands: [Hand; 4] = [
        CircuitBreaker::force_close,
        CircuitBreaker::reset,
        |breaker| breaker.reconfigure(&CircuitBreaker::consecutive_failures(5)).map(drop).unwrap(),
        |breaker| {
            breaker.isolate();
            breaker.force_close();
        },
    ];
    for hand in hands {
        let breaker = just_closed(rules()).await;
        assert!(through(&breaker, 100) <= 11);
        hand(&breaker);
        assert_eq!(through(&breaker, 100), 100);
    }
}

#[tokio::test(start_paused = true)]
async fn h28_endless_or_short_it_neither_panics_nor_sticks() {
    let breaker = just_closed(rules().ramp(Duration::MAX)).await;
    assert!(through(&breaker, 1_000).abs_diff(100) <= 1);
    advance(secs(1_000_000)).await;
    assert!(through(&breaker, 1_000).abs_diff(100) <= 1);
    let breaker = just_closed(rules().ramp(Duration::from_nanos(1))).await;
    advance(Duration::from_nanos(1)).await;
    assert_eq!(through(&breaker, 100), 100);
    assert_eq!(rules().ramp(Duration::ZERO).build().unwrap_err().faults()[0].field(), "ramp");
}

#[tokio::test(start_paused = true)]
async fn h33_a_clock_that_goes_back_ends_it() {
    let breaker = just_closed(rules()).await;
    let before = Instant::now() - secs(60);
    assert!((0..100).all(|_| breaker.try_acquire_at(before).is_ok()));
}

#[tokio::test(start_paused = true)]
async fn h33_once_it_is_over_no_clock_brings_it_back() {
    let breaker = just_closed(rules()).await;
    let during = Instant::now() + secs(1);
    advance(secs(10)).await;
    assert_eq!(through(&breaker, 1), 1);
    assert!((0..100).all(|_| breaker.try_acquire_at(during).is_ok()));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_under_rules_that_have_one_too() {
    let breaker = just_closed(rules()).await;
    assert_eq!(breaker.reconfigure(&rules().ramp(secs(20))), Ok(true));
    assert_eq!(breaker.snapshot().ramp_left, Some(secs(10)));
    assert!(through(&breaker, 100) < 20);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_refuses_the_rest_as_circuit_open() {
    let pipeline = Pipeline::builder("cold").circuit_breaker(rules()).build().unwrap();
    pipeline.circuit_breaker().unwrap().force_open();
    advance(secs(5)).await;
    let (mut served, mut refused) = (0, 0);
    for _ in 0..101 {
        match pipeline.call(|| async { Ok::<_, String>(()) }).await {
            Ok(()) => served += 1,
            Err(error) => {
                assert!(error.is_circuit_open() && error.retry_after().is_some(), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (11, 90), "the probe, and a tenth of the rest");
}
