//! The circuit breaker from outside: the rows B*, W*, X* of the scenarios and the hazards H*, by id, in virtual time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast::{
    CircuitBreaker, CircuitBreakerConfig, CircuitPermit, CircuitState, Outcome, Rejected, RejectedKind, TransitionCause, Transitions,
    Verdict,
};
use tokio::time::{Instant, advance};

const F: Outcome = Outcome::Judged(Verdict::transient());
const S: Outcome = Outcome::Judged(Verdict::Success);
const I: Outcome = Outcome::Judged(Verdict::Ignored);
const X: Outcome = Outcome::NotAttempted;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const EPS: Duration = Duration::from_nanos(1);

/// Config P: what Polly's tests run with.
fn p() -> CircuitBreakerConfig {
    CircuitBreaker::failure_rate(0.5).window(secs(10)).min_calls(4).open_for(secs(30)).open_jitter(0.0).open_growth(1.0)
}

/// Config J: what resilience4j's tests run with.
fn j() -> CircuitBreakerConfig {
    CircuitBreaker::failure_rate(0.5)
        .slow_calls(secs(4), 0.5)
        .window(secs(20))
        .min_calls(5)
        .open_for(secs(5))
        .open_jitter(0.0)
        .open_growth(1.0)
        .probes(4)
        .trip_on_success(true)
}

fn live(config: CircuitBreakerConfig) -> CircuitBreaker {
    config.build().expect("valid")
}

fn permit(breaker: &CircuitBreaker) -> CircuitPermit<'_> {
    breaker.try_acquire().expect("permitted")
}

fn refused(breaker: &CircuitBreaker) -> Rejected {
    breaker.try_acquire().expect_err("refused")
}

/// Plays calls that take no time: F, S, I(gnored), X (not attempted), T(imed out), P(anicked), A(bandoned).
fn play(breaker: &CircuitBreaker, script: &str) -> CircuitState {
    for step in script.chars() {
        let outcome = match step {
            'F' => F,
            'S' => S,
            'I' => I,
            'X' => X,
            'T' => Outcome::TimedOut,
            'P' => Outcome::Panicked,
            'A' => Outcome::Abandoned,
            other => unreachable!("{other}"),
        };
        permit(breaker).settle(outcome);
    }
    breaker.state()
}

fn drain(transitions: &mut Transitions) -> Vec<(CircuitState, CircuitState, TransitionCause)> {
    std::iter::from_fn(|| transitions.try_next()).map(|t| (t.from, t.to, t.cause)).collect()
}

use CircuitState::{Closed, Disabled, HalfOpen, Isolated, MetricsOnly, Open};

// ---- rules ----

#[tokio::test(start_paused = true)]
async fn b01_a_success_does_not_trip_unless_asked_to() {
    assert_eq!(play(&live(p()), "FFFS"), Closed);
    assert_eq!(play(&live(p().trip_on_success(true)), "FFFS"), Open);
}

#[tokio::test(start_paused = true)]
async fn b02_b04_b05_b10_b11_the_rate_rule() {
    for (script, end) in [("FFF", Closed), ("FFFF", Open), ("SFFF", Open), ("SSFF", Open), ("SSSF", Closed), ("IIIFFF", Closed)] {
        assert_eq!(play(&live(p()), script), end, "{script}");
    }
    let breaker = live(p());
    play(&breaker, "FFFF");
    let rejected = refused(&breaker);
    assert_eq!((rejected.kind(), rejected.retry_after()), (RejectedKind::CircuitOpen, Some(secs(30))));
}

#[tokio::test(start_paused = true)]
async fn b03_failures_in_different_buckets_add_up() {
    let breaker = live(p());
    for n in 0..4 {
        assert_eq!(breaker.state(), Closed, "{n}");
        play(&breaker, "F");
        advance(secs(1)).await;
    }
    assert_eq!(breaker.state(), Open);
}

#[tokio::test(start_paused = true)]
async fn b06_b07_b08_b09_the_edge_of_the_window() {
    for (first, wait, last, end) in
        [("SSF", secs(20), "F", Closed), ("SSF", secs(10), "F", Closed), ("FFF", secs(10) - EPS, "F", Open), ("FFF", secs(10), "F", Closed)]
    {
        let breaker = live(p());
        play(&breaker, first);
        advance(wait).await;
        assert_eq!(play(&breaker, last), end, "{first} {wait:?}");
    }
    let breaker = live(p());
    play(&breaker, "SS");
    advance(secs(10) - EPS).await;
    play(&breaker, "F");
    advance(EPS).await;
    assert_eq!(play(&breaker, "F"), Closed);
    assert_eq!(breaker.snapshot().calls, 2);
}

#[tokio::test(start_paused = true)]
async fn b16_ignored_outcomes_do_not_count() {
    let breaker = live(p());
    assert_eq!(play(&breaker, "IIIIIIXXXXAAAA"), Closed);
    assert_eq!(breaker.snapshot().calls, 0);
}

#[tokio::test(start_paused = true)]
async fn b30_h66_min_calls_is_honoured() {
    let config = CircuitBreaker::failure_rate(0.1).min_calls(10);
    assert_eq!(play(&live(config.clone()), "SSSSSSSSF"), Closed);
    assert_eq!(play(&live(config), "SSSSSSSSSF"), Open);
    let breaker = live(CircuitBreaker::failure_rate(0.5).min_calls(10));
    assert_eq!(play(&breaker, "FFFFFFFFF"), Closed);
    assert_eq!(play(&breaker, "F"), Open);
}

#[tokio::test(start_paused = true)]
async fn b51_b52_b53_b62_b64_b68_other_libraries_rules() {
    let consecutive = |n| CircuitBreaker::consecutive_failures(n).open_jitter(0.0);
    let breaker = live(consecutive(1));
    assert_eq!(play(&breaker, "F"), Open);
    advance(secs(5)).await;
    assert_eq!(play(&breaker, "S"), Closed);
    assert_eq!(play(&live(consecutive(3)), "FSFF"), Closed);
    assert_eq!(play(&live(consecutive(3)), "FSFFF"), Open);
    let of_three = || CircuitBreaker::failure_rate(0.6).count_window(3).min_calls(3);
    assert_eq!(play(&live(of_three()), "FS"), Closed);
    assert_eq!(play(&live(of_three()), "FSF"), Open);
    let hystrix = || CircuitBreaker::failure_rate(0.5).min_calls(5).trip_on_success(true);
    assert_eq!(play(&live(hystrix()), "SSSSFFFF"), Open);
    assert_eq!(play(&live(hystrix()), "SSFSFSF"), Closed);
    assert_eq!(play(&live(hystrix()), "SSFSFSFF"), Open);
    assert_eq!(play(&live(hystrix()), "SSSSSFFF"), Closed);
    assert_eq!(play(&live(hystrix()), "FFFF"), Closed);
    let gobreaker = live(consecutive(6).open_for(secs(60)));
    assert_eq!(play(&gobreaker, "FFFFFSFFFFF"), Closed);
    assert_eq!(play(&gobreaker, "F"), Open);
    advance(secs(60)).await;
    assert_eq!(gobreaker.state(), HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn b67_h22_panics_count_as_failures() {
    let breaker = live(CircuitBreaker::consecutive_failures(5));
    assert_eq!(play(&breaker, "PPPP"), Closed);
    assert_eq!(play(&breaker, "P"), Open);
}

#[test]
fn h22_a_panic_while_the_permit_is_held_unwinds_and_frees_it() {
    let breaker = live(CircuitBreaker::consecutive_failures(1).open_for(EPS));
    play(&breaker, "F");
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = permit(&breaker);
        std::panic::resume_unwind(Box::new("operation"));
    }));
    assert!(unwound.is_err());
    assert!(permit(&breaker).is_probe());
}

#[tokio::test(start_paused = true)]
async fn h78_hangs_that_time_out_trip_and_callers_who_leave_do_not() {
    let breaker = live(CircuitBreaker::failure_rate(0.5).min_calls(5));
    for _ in 0..1_000 {
        drop(permit(&breaker));
    }
    assert_eq!(play(&breaker, "TTTT"), Closed);
    assert_eq!(play(&breaker, "T"), Open);
}

#[tokio::test(start_paused = true)]
async fn h78_abandoned_calls_count_when_they_are_old_enough() {
    let breaker = live(CircuitBreaker::consecutive_failures(2).abandoned_after(secs(1)));
    for age in [ms(999), ms(999), secs(1)] {
        let held = permit(&breaker);
        advance(age).await;
        drop(held);
    }
    assert_eq!(breaker.state(), Closed);
    let held = permit(&breaker);
    advance(secs(2)).await;
    drop(held);
    assert_eq!(breaker.state(), Open);
}

#[tokio::test(start_paused = true)]
async fn x06_a_rate_just_below_the_threshold_does_not_trip() {
    let breaker = live(CircuitBreaker::failure_rate(0.5).count_window(200).min_calls(200).trip_on_success(true));
    for n in 0..200 {
        play(&breaker, if n % 2 == 0 || n == 101 { "S" } else { "F" });
    }
    let now = breaker.snapshot();
    assert_eq!((now.calls, now.failures, now.failure_rate, now.state), (200, 99, Some(0.495), Closed));
}

#[tokio::test(start_paused = true)]
async fn x06_every_percentage_trips_exactly_there() {
    for percent in 1..=100_u32 {
        let threshold = f64::from(percent) / 100.0;
        let breaker = live(CircuitBreaker::failure_rate(threshold).count_window(100).min_calls(100));
        for n in 0..100 {
            play(&breaker, if n > 100 - percent { "F" } else { "S" });
        }
        assert_eq!(breaker.state(), Closed, "{percent} - 1");
        let breaker = live(CircuitBreaker::failure_rate(threshold).count_window(100).min_calls(100));
        for n in 0..100 {
            play(&breaker, if n >= 100 - percent { "F" } else { "S" });
        }
        assert_eq!(breaker.state(), Open, "{percent}");
    }
}

#[tokio::test(start_paused = true)]
async fn h81_slow_calls_trip_on_the_time_between_permit_and_outcome() {
    let config = CircuitBreaker::slow_calls(secs(1), 0.5).min_calls(4);
    let breaker = live(config);
    advance(secs(10)).await; // time before the permit is nobody's
    for (took, slow) in [(secs(1), 0), (ms(5), 0), (ms(1001), 1)] {
        let held = permit(&breaker);
        advance(took).await;
        held.settle(S);
        assert_eq!((breaker.snapshot().slow_calls, breaker.state()), (slow, Closed), "{took:?}");
    }
    let held = permit(&breaker);
    advance(secs(2)).await;
    held.settle(S);
    assert_eq!(breaker.state(), Open);
    assert_eq!(breaker.snapshot().slow_call_rate, Some(0.5));
    assert_eq!(breaker.snapshot().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn rules_add_up() {
    let config = || CircuitBreaker::failure_rate(0.5).min_calls(10).consecutive_failures(3).slow_calls(secs(1), 1.0);
    let breaker = live(config());
    let mut told = breaker.subscribe();
    assert_eq!(play(&breaker, "FFF"), Open);
    let breaker = live(config());
    let mut also_told = breaker.subscribe();
    assert_eq!(play(&breaker, "SFFSFFSFSF"), Open);
    assert_eq!(drain(&mut told), [(Closed, Open, TransitionCause::ConsecutiveFailures)]);
    assert_eq!(drain(&mut also_told), [(Closed, Open, TransitionCause::FailureRate)]);
}

// ---- windows ----

#[tokio::test(start_paused = true)]
async fn w1_w3_w4_the_window_of_time_slides_by_buckets() {
    let breaker = live(CircuitBreaker::failure_rate(1.0).window(secs(10)).min_calls(100));
    play(&breaker, "FSSSS");
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failure_rate), (5, Some(0.2)));
    for wait in [secs(10), secs(10) + ms(1)] {
        let breaker = live(CircuitBreaker::failure_rate(1.0).window(secs(10)));
        play(&breaker, "SS");
        advance(wait).await;
        assert_eq!((breaker.snapshot().calls, breaker.snapshot().failure_rate), (0, None));
    }
    let breaker = live(CircuitBreaker::failure_rate(1.0).window(secs(10)));
    for _ in 0..10 {
        play(&breaker, "S");
        advance(secs(1)).await;
    }
    assert_eq!(breaker.snapshot().calls, 9);
    advance(secs(1)).await;
    assert_eq!(breaker.snapshot().calls, 8);
}

#[tokio::test(start_paused = true)]
async fn w9_a_window_of_five_seconds() {
    let breaker = live(CircuitBreaker::failure_rate(1.0).window(secs(5)));
    play(&breaker, "F");
    advance(ms(100)).await;
    play(&breaker, "S");
    advance(ms(700)).await;
    play(&breaker, "F");
    let counts = || (breaker.snapshot().calls, breaker.snapshot().failures);
    assert_eq!(counts(), (3, 2));
    advance(secs(4)).await;
    assert_eq!(counts(), (3, 2));
    advance(secs(1)).await;
    assert_eq!(counts(), (0, 0));
    advance(ms(100)).await;
    play(&breaker, "S");
    advance(secs(5)).await;
    play(&breaker, "S");
    assert_eq!(counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn w07_w11_the_count_window_really_slides() {
    let breaker = live(CircuitBreaker::failure_rate(1.0).count_window(4).min_calls(4));
    for (step, rate) in [("F", 1.0), ("S", 0.5), ("S", 1.0 / 3.0), ("S", 0.25), ("S", 0.0)] {
        play(&breaker, step);
        assert_eq!(breaker.snapshot().failure_rate, Some(rate));
    }
    let breaker = live(CircuitBreaker::failure_rate(0.5).count_window(100).min_calls(50));
    play(&breaker, &"S".repeat(25));
    play(&breaker, &"F".repeat(24));
    assert_eq!(breaker.state(), Closed);
    assert_eq!(play(&breaker, "F"), Open);
}

#[tokio::test(start_paused = true)]
async fn defect_ten_thousand_successes_do_not_hide_fifty_failures() {
    let breaker = live(CircuitBreaker::failure_rate(0.5).count_window(100).min_calls(20));
    (0..10_000).for_each(|_| permit(&breaker).settle(S));
    (0..49).for_each(|_| permit(&breaker).settle(F));
    assert_eq!(breaker.state(), Closed);
    assert_eq!(play(&breaker, "F"), Open);
}

#[tokio::test(start_paused = true)]
async fn h32_a_clock_that_leaps_ten_years_costs_nothing_and_counts_nothing_twice() {
    for window in [ms(20), secs(10), secs(86_400)] {
        let breaker = live(CircuitBreaker::failure_rate(0.5).window(window).min_calls(4));
        play(&breaker, "FFF");
        advance(secs(10 * 365 * 86_400)).await;
        assert_eq!(breaker.snapshot().calls, 0, "{window:?}");
        assert_eq!(play(&breaker, "FFF"), Closed, "{window:?}");
        assert_eq!(play(&breaker, "F"), Open, "{window:?}");
        advance(secs(10 * 365 * 86_400)).await;
        assert_eq!(play(&breaker, "S"), Closed, "{window:?}");
    }
}

#[test]
fn h33_x14_a_clock_that_goes_back_neither_blinds_nor_locks() {
    let breaker = live(p());
    let now = Instant::now() + secs(7200);
    let back = now - secs(3600);
    let settle = |at, outcome| breaker.try_acquire_at(at).expect("permitted").settle_at(outcome, at);
    (0..2).for_each(|_| settle(now, F));
    (0..2).for_each(|_| settle(back, F));
    // Opened at `back`; then it goes back by another hour.
    let earlier = back - secs(3600);
    assert_eq!(breaker.try_acquire_at(earlier).expect_err("refused").retry_after(), Some(secs(30)));
    assert!(breaker.try_acquire_at(earlier + secs(30) - EPS).is_err());
    let probe = breaker.try_acquire_at(earlier + secs(30)).expect("a probe after one open time");
    // The probe hangs, and the clock goes back again: one lease later the next may go.
    let again = earlier - secs(600);
    assert!(breaker.try_acquire_at(again).is_err());
    assert!(breaker.try_acquire_at(again + secs(30)).is_ok());
    drop(probe);
}

// ---- open and half-open ----

#[tokio::test(start_paused = true)]
async fn b17_open_half_open_open_half_open_closed() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    advance(secs(30) - EPS).await;
    assert_eq!((breaker.state(), breaker.next_probe_in()), (Open, Some(EPS)));
    refused(&breaker);
    advance(EPS).await;
    assert_eq!((breaker.state(), breaker.next_probe_in()), (HalfOpen, Some(Duration::ZERO)));
    assert_eq!(play(&breaker, "F"), Open);
    advance(secs(30) - EPS).await;
    refused(&breaker);
    advance(EPS).await;
    assert_eq!(play(&breaker, "S"), Closed);
    assert_eq!(play(&breaker, "FFF"), Closed);
}

#[tokio::test(start_paused = true)]
async fn b18_b19_reset_isolate_and_close_by_hand() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    breaker.reset();
    assert_eq!(play(&breaker, "FFF"), Closed);
    breaker.isolate();
    assert_eq!(refused(&breaker).retry_after(), None);
    advance(secs(10_000)).await;
    assert_eq!((breaker.state(), breaker.next_probe_in()), (Isolated, None));
    refused(&breaker);
    breaker.force_close();
    assert_eq!(play(&breaker, "FFF"), Closed);
}

#[tokio::test(start_paused = true)]
async fn b20_a_second_caller_waits_for_the_probe_at_most_the_open_time() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    let probe = permit(&breaker);
    assert!(probe.is_probe());
    advance(secs(10)).await;
    assert_eq!(refused(&breaker).retry_after(), Some(secs(20)));
    assert_eq!(breaker.state(), HalfOpen);
    let long = live(p().probe_lease(secs(300)));
    play(&long, "FFFF");
    advance(secs(30)).await;
    let _held = permit(&long);
    assert_eq!(refused(&long).retry_after(), Some(secs(30)));
    probe.settle(S);
}

#[tokio::test(start_paused = true)]
async fn b21_x03_h05_probe_lease_reclaims() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    let hung = permit(&breaker);
    advance(secs(30) - EPS).await;
    refused(&breaker);
    advance(EPS).await;
    assert_eq!(breaker.snapshot().probes_in_flight, 0);
    let second = permit(&breaker);
    hung.settle(F);
    assert_eq!((breaker.state(), breaker.snapshot().stale), (HalfOpen, 1));
    second.settle(S);
    assert_eq!(breaker.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn h05_a_verdict_past_its_lease_counts_for_nothing_even_if_nobody_took_the_place() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    let late = permit(&breaker);
    advance(secs(30)).await;
    late.settle(S);
    assert_eq!((breaker.state(), breaker.snapshot().stale), (HalfOpen, 1));
    assert!(permit(&breaker).is_probe());
}

#[tokio::test(start_paused = true)]
async fn h16_a_forgotten_probe_is_replaced_after_its_lease() {
    let breaker = live(p().probe_lease(secs(2)));
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    std::mem::forget(permit(&breaker));
    refused(&breaker);
    advance(secs(2)).await;
    assert_eq!(play(&breaker, "S"), Closed);
}

#[tokio::test(start_paused = true)]
async fn b22_late_failure_keeps_open_time() {
    let breaker = live(p());
    let mut told = breaker.subscribe();
    let late = permit(&breaker);
    play(&breaker, "FFFF");
    advance(secs(29)).await;
    late.settle(F);
    assert_eq!(breaker.next_probe_in(), Some(secs(1)));
    assert_eq!(breaker.snapshot().stale, 1);
    assert_eq!(drain(&mut told).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn b23_b31_events_only_for_changes() {
    let breaker = live(p());
    let mut told = breaker.subscribe();
    play(&breaker, "SSSSSSFFFFFF");
    (0..100).for_each(|_| drop(refused(&breaker)));
    advance(secs(30)).await;
    play(&breaker, "F");
    advance(secs(30)).await;
    play(&breaker, "S");
    breaker.reset();
    breaker.force_close();
    let expected = [
        (Closed, Open, TransitionCause::FailureRate),
        (Open, HalfOpen, TransitionCause::OpenTimeOver),
        (HalfOpen, Open, TransitionCause::ProbesFailed),
        (Open, HalfOpen, TransitionCause::OpenTimeOver),
        (HalfOpen, Closed, TransitionCause::ProbesSucceeded),
    ];
    assert_eq!(drain(&mut told), expected);
}

#[tokio::test(start_paused = true)]
async fn b29_a_function_chooses_the_open_time() {
    let chosen = p().min_calls(2).open_for_fn(|facts| {
        assert_eq!((facts.failure_rate, facts.failures, facts.failed_rounds), (0.5, 1, 0));
        secs(42 * 60)
    });
    let breaker = live(chosen.clone());
    assert_eq!(play(&breaker, "SF"), Open);
    assert_eq!(breaker.next_probe_in(), Some(secs(42 * 60)));
    assert_eq!(chosen, breaker.config());
    assert_ne!(chosen, p().min_calls(2));
    let by_rounds = live(p().open_for_fn(|facts| secs(1 + u64::from(facts.failed_rounds))));
    play(&by_rounds, "FFFF");
    advance(secs(1)).await;
    play(&by_rounds, "F");
    assert_eq!(by_rounds.next_probe_in(), Some(secs(2)));
}

#[tokio::test(start_paused = true)]
async fn h23_a_function_that_panics_is_counted_and_the_ordinary_time_is_used() {
    let breaker = live(p().open_for_fn(|_| std::panic::resume_unwind(Box::new("mine"))));
    play(&breaker, "FFFF");
    assert_eq!((breaker.next_probe_in(), breaker.snapshot().listener_panics), (Some(secs(30)), 1));
}

#[test]
fn b32_h54_failures_at_once_open_it_once() {
    for _ in 0..20 {
        let breaker = live(CircuitBreaker::failure_rate(0.5).min_calls(64));
        let mut told = breaker.subscribe();
        let permits: Vec<_> = (0..64).map(|_| permit(&breaker)).collect();
        let together = std::sync::Barrier::new(4);
        let mut quarters: Vec<Vec<_>> = (0..4).map(|_| Vec::new()).collect();
        permits.into_iter().enumerate().for_each(|(n, held)| quarters[n % 4].push(held));
        std::thread::scope(|scope| {
            for quarter in quarters {
                scope.spawn(|| {
                    together.wait();
                    quarter.into_iter().for_each(|held| held.settle(F));
                });
            }
        });
        assert_eq!(drain(&mut told), [(Closed, Open, TransitionCause::FailureRate)]);
        assert_eq!(breaker.snapshot().generation, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn b36_refusals_are_counted_and_the_probe_goes_at_exactly_the_open_time() {
    let breaker = live(j());
    play(&breaker, "FFFFF");
    refused(&breaker);
    advance(secs(3)).await;
    refused(&breaker);
    assert_eq!(breaker.snapshot().not_permitted, 2);
    advance(secs(2)).await;
    let _probe = permit(&breaker);
    let now = breaker.snapshot();
    assert_eq!((now.state, now.not_permitted, now.calls, now.probes_in_flight), (HalfOpen, 0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn b37_open_for_a_time_of_choice() {
    let breaker = live(j());
    breaker.open_for(secs(7200));
    advance(secs(3600)).await;
    refused(&breaker);
    advance(secs(3600) + EPS).await;
    permit(&breaker).settle(X);
    breaker.open_for(secs(1));
    assert_eq!(breaker.next_probe_in(), Some(secs(1)));
}

#[tokio::test(start_paused = true)]
async fn b38_open_time_grows_to_its_maximum_and_closing_resets_it() {
    let breaker = live(p().open_for(secs(5)).open_growth(1.5).max_open(secs(12)));
    play(&breaker, "FFFF");
    for expected in [secs(5), ms(7_500), ms(11_250), secs(12), secs(12)] {
        assert_eq!(breaker.next_probe_in(), Some(expected));
        advance(expected).await;
        play(&breaker, "F");
    }
    advance(secs(12)).await;
    play(&breaker, "SFFF");
    play(&breaker, "F");
    assert_eq!(breaker.next_probe_in(), Some(secs(5)));
}

#[tokio::test(start_paused = true)]
async fn b38_jitter_only_shortens_and_repeats_with_its_seed() {
    let times = |seed| {
        let breaker = live(p().open_jitter(0.5).seed(seed));
        let mut times = Vec::new();
        for _ in 0..100 {
            breaker.reset();
            play(&breaker, "FFFF");
            times.extend(breaker.next_probe_in());
        }
        times
    };
    let all = times(1);
    assert_eq!(all, times(1));
    assert_ne!(all, times(2));
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|&time| secs(15) < time && time <= secs(30)));
    assert!(all.iter().any(|&time| time < secs(18)) && all.iter().any(|&time| time > secs(27)));
}

#[tokio::test(start_paused = true)]
async fn b41_b44_b45_a_round_of_four_probes() {
    for (round, end) in
        [("FSSS", Closed), ("SSS", Closed), ("SFSIS", Closed), ("IIIISSS", Closed), ("FF", Open), ("SFF", Open), ("SS", HalfOpen)]
    {
        let breaker = live(j());
        play(&breaker, "FFFFF");
        advance(secs(5)).await;
        assert_eq!(play(&breaker, round), end, "{round}");
        if end == Closed {
            assert_eq!(breaker.snapshot().calls, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn b42_b43_four_permits_and_no_more() {
    let breaker = live(j().probe_lease(secs(60)));
    play(&breaker, "FFFFF");
    advance(secs(5)).await;
    let mut held: Vec<_> = (0..4).map(|_| permit(&breaker)).collect();
    refused(&breaker);
    refused(&breaker);
    drop(held.pop());
    held.push(permit(&breaker));
    refused(&breaker);
    assert!(breaker.half_open());
    let mut fresh: Vec<_> = (0..4).map(|_| permit(&breaker)).collect();
    refused(&breaker);
    // The first round's permits decide nothing now.
    held.into_iter().for_each(|old| old.settle(F));
    assert_eq!(breaker.state(), HalfOpen);
    fresh.drain(..3).for_each(|probe| probe.settle(S));
    assert_eq!(breaker.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn b46_b47_b48_b49_by_hand() {
    let breaker = live(j());
    breaker.isolate();
    let mut told = breaker.subscribe();
    advance(secs(6)).await;
    refused(&breaker);
    assert!(!breaker.half_open());
    assert_eq!(drain(&mut told), []);
    breaker.reset();
    assert_eq!(breaker.state(), Closed);

    breaker.disable();
    told = breaker.subscribe();
    assert_eq!(play(&breaker, "FFFFFFFFFF"), Disabled);
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().failure_rate), (0, None));
    assert_eq!(drain(&mut told), []);

    breaker.metrics_only();
    told = breaker.subscribe();
    for _ in 0..8 {
        let held = permit(&breaker);
        advance(secs(5)).await;
        held.settle(F);
    }
    assert_eq!((breaker.state(), breaker.snapshot().failure_rate), (MetricsOnly, Some(1.0)));
    let expected = [(MetricsOnly, MetricsOnly, TransitionCause::FailureRate), (MetricsOnly, MetricsOnly, TransitionCause::SlowCalls)];
    let _too_few_in_the_window_at_this_pace = drain(&mut told);
    let breaker = live(j());
    breaker.metrics_only();
    told = breaker.subscribe();
    let held: Vec<_> = (0..10).map(|_| permit(&breaker)).collect();
    advance(secs(5)).await;
    held.into_iter().for_each(|held| held.settle(F));
    assert_eq!(breaker.snapshot().failure_rate, Some(1.0));
    assert_eq!(drain(&mut told), expected);
}

#[tokio::test(start_paused = true)]
async fn b50_half_open_does_not_last_longer_than_allowed() {
    let breaker = live(j().half_open_for(secs(1)));
    let mut told = breaker.subscribe();
    play(&breaker, "FFFFF");
    advance(secs(5)).await;
    let slow = permit(&breaker);
    advance(secs(1) - EPS).await;
    assert_eq!(breaker.state(), HalfOpen);
    advance(EPS).await;
    assert_eq!((breaker.state(), breaker.next_probe_in()), (Open, Some(secs(5))));
    advance(secs(2)).await;
    assert_eq!(refused(&breaker).retry_after(), Some(secs(3)));
    slow.settle(F);
    advance(secs(3)).await;
    assert_eq!(breaker.state(), HalfOpen);
    let _probe = permit(&breaker);
    let causes: Vec<_> = drain(&mut told).into_iter().map(|(_, _, cause)| cause).collect();
    use TransitionCause::{FailureRate, HalfOpenTooLong, OpenTimeOver};
    assert_eq!(causes, [FailureRate, OpenTimeOver, HalfOpenTooLong, OpenTimeOver]);
}

#[tokio::test(start_paused = true)]
async fn b50_at_the_very_end_of_the_round_the_next_caller_is_refused() {
    let breaker = live(j().half_open_for(secs(1)));
    play(&breaker, "FFFFF");
    advance(secs(5)).await;
    let late = permit(&breaker);
    advance(secs(1)).await;
    assert!(breaker.check_at(Instant::now()).is_err());
    assert_eq!(refused(&breaker).retry_after(), Some(secs(5)));
    late.settle(S);
    assert_eq!((breaker.state(), breaker.snapshot().stale), (Open, 1));
}

#[tokio::test(start_paused = true)]
async fn b50_long_after_a_round_ran_out_the_next_probe_goes_at_once() {
    let breaker = live(j().half_open_for(secs(1)));
    play(&breaker, "FFFFF");
    advance(secs(5)).await;
    std::mem::forget(permit(&breaker));
    advance(secs(3600)).await;
    assert_eq!((breaker.state(), breaker.next_probe_in()), (HalfOpen, Some(Duration::ZERO)));
    assert_eq!(play(&breaker, "SSS"), Closed);
}

#[tokio::test(start_paused = true)]
async fn b55_b57_rounds_of_three() {
    for (needed, round, end) in
        [(2, "FSF", Open), (2, "FSS", Closed), (1, "FFF", Open), (1, "FS", Closed), (3, "SSF", Open), (3, "SSS", Closed)]
    {
        let breaker = live(p().probes(3).close_after(needed));
        play(&breaker, "FFFF");
        advance(secs(30)).await;
        assert_eq!(play(&breaker, round), end, "{needed} {round}");
    }
}

#[tokio::test(start_paused = true)]
async fn b60_three_hung_probes_refuse_everyone_else() {
    let breaker = live(p().probes(3).close_after(3));
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    let held: Vec<_> = (0..3).map(|_| permit(&breaker)).collect();
    (0..5).for_each(|_| drop(refused(&breaker)));
    held.into_iter().for_each(|probe| probe.settle(S));
    assert_eq!(breaker.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn b63_x02_x05_h04_a_dropped_probe_gives_its_place_back() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    for _ in 0..100 {
        drop(permit(&breaker));
        assert_eq!(breaker.state(), HalfOpen);
    }
    advance(secs(300)).await;
    assert_eq!(play(&breaker, "S"), Closed);
}

#[tokio::test(start_paused = true)]
async fn x01_stale_outcomes_decide_nothing() {
    for late in [S, F] {
        let breaker = live(p().open_for(secs(5)));
        let old = permit(&breaker);
        advance(secs(1)).await;
        play(&breaker, "FFFF");
        advance(secs(5)).await;
        let probe = permit(&breaker);
        old.settle(late);
        assert_eq!((breaker.state(), breaker.snapshot().stale), (HalfOpen, 1));
        probe.settle(S);
        assert_eq!(breaker.state(), Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn defect_a_probe_of_an_earlier_round_decides_nothing() {
    let breaker = live(p().probes(2).close_after(1));
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    let old = permit(&breaker);
    breaker.force_open();
    advance(secs(30)).await;
    let probe = permit(&breaker);
    old.settle(S);
    assert_eq!(breaker.state(), HalfOpen);
    probe.settle(S);
    assert_eq!(breaker.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn reset_makes_calls_under_way_stale() {
    let breaker = live(p());
    let held: Vec<_> = (0..10).map(|_| permit(&breaker)).collect();
    breaker.reset();
    held.into_iter().for_each(|old| old.settle(F));
    let now = breaker.snapshot();
    assert_eq!((now.state, now.calls, now.stale), (Closed, 0, 10));
}

#[tokio::test(start_paused = true)]
async fn x04_x15_probes_refused_further_in() {
    let breaker = live(p());
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    assert_eq!(play(&breaker, "X"), HalfOpen); // a lone one is released, not judged
    let breaker = live(p().probes(3));
    let mut told = breaker.subscribe();
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    assert_eq!(play(&breaker, "XXSXX"), HalfOpen); // not in a row
    assert_eq!(play(&breaker, "X"), Open);
    assert_eq!(breaker.next_probe_in(), Some(secs(30)));
    let last = drain(&mut told).pop();
    assert_eq!(last, Some((HalfOpen, Open, TransitionCause::Inconclusive)));
    // And it does not wedge: the same again, then a good round.
    advance(secs(30)).await;
    assert_eq!(play(&breaker, "XXX"), Open);
    advance(secs(30)).await;
    assert_eq!(play(&breaker, "SS"), Closed);
}

#[tokio::test(start_paused = true)]
async fn x15_an_inconclusive_round_does_not_grow_the_open_time() {
    let breaker = live(p().open_growth(2.0).max_open(secs(600)));
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    play(&breaker, "F");
    advance(secs(60)).await;
    play(&breaker, "XXX");
    assert_eq!(breaker.next_probe_in(), Some(secs(60)));
}

#[tokio::test(start_paused = true)]
async fn h53_a_herd_at_half_open_gets_exactly_the_probes() {
    let breaker = live(p().probes(3));
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    let admitted: Vec<_> = (0..10_000).filter_map(|_| breaker.try_acquire().ok()).collect();
    assert_eq!(admitted.len(), 3);
}

#[test]
fn h53_a_herd_of_threads_gets_exactly_the_probes() {
    let breaker = live(p().probes(3).open_for(secs(1)));
    play(&breaker, "FFFF");
    let at = Instant::now() + secs(10);
    let together = std::sync::Barrier::new(4);
    let admitted: usize = std::thread::scope(|scope| {
        let herd: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    together.wait();
                    (0..2_500).filter_map(|_| breaker.try_acquire_at(at).ok()).map(std::mem::forget).count()
                })
            })
            .collect();
        herd.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    assert_eq!(admitted, 3);
}

#[tokio::test(start_paused = true)]
async fn h28_durations_without_end_are_for_ever() {
    let max = Duration::MAX;
    let breaker = live(
        CircuitBreaker::consecutive_failures(4)
            .slow_calls(max, 1.0)
            .window(max)
            .open_for(max)
            .max_open(max)
            .probe_lease(max)
            .half_open_for(max)
            .abandoned_after(max),
    );
    play(&breaker, "SSSFFFF");
    for _ in 0..100 {
        assert_eq!(refused(&breaker).retry_after(), None);
        advance(secs(365 * 86_400)).await;
    }
    assert_eq!((breaker.state(), breaker.next_probe_in()), (Open, None));
    assert!(breaker.half_open());
    std::mem::forget(permit(&breaker));
    advance(secs(365 * 86_400)).await;
    assert_eq!(refused(&breaker).retry_after(), None);
    breaker.reset();
    breaker.open_for(max);
    advance(secs(365 * 86_400)).await;
    refused(&breaker);
}

#[tokio::test(start_paused = true)]
async fn h28_growth_saturates() {
    let breaker = live(p().open_growth(1e300).max_open(Duration::MAX));
    play(&breaker, "FFFF");
    advance(secs(30)).await;
    play(&breaker, "F");
    assert_eq!(breaker.state(), Open);
}

#[tokio::test(start_paused = true)]
async fn looking_has_no_side_effects() {
    let breaker = live(p());
    let mut told = breaker.subscribe();
    play(&breaker, "FFFF");
    assert_eq!(breaker.check_at(Instant::now()).expect_err("refused").retry_after(), Some(secs(30)));
    advance(secs(30)).await;
    let before = breaker.snapshot();
    for _ in 0..10 {
        assert!(breaker.check_at(Instant::now()).is_ok());
        let _debug = format!("{breaker:?}");
    }
    assert_eq!(breaker.snapshot(), before);
    assert_eq!((before.not_permitted, before.state, before.calls, before.failures), (0, HalfOpen, 4, 4));
    assert_eq!(drain(&mut told).len(), 1);
    let _probe = permit(&breaker);
    assert!(breaker.check_at(Instant::now()).is_err());
}

// ---- subscribers ----

#[tokio::test(start_paused = true)]
async fn a_subscriber_is_woken_and_a_slow_one_loses_the_oldest() {
    let breaker = live(p());
    let mut told = breaker.subscribe();
    let waiting = tokio::spawn(async move { told.next().await.map(|t| (t.to, t.open_for, t.failures)) });
    tokio::task::yield_now().await;
    play(&breaker, "FFFF");
    assert_eq!(waiting.await.ok().flatten(), Some((Open, Some(secs(30)), 4)));
    let mut slow = breaker.subscribe();
    for _ in 0..50 {
        breaker.isolate();
        breaker.reset();
    }
    let kept = drain(&mut slow).len() as u64;
    assert_eq!(kept + slow.missed(), 100);
    assert!(slow.missed() > 0);
    drop(breaker);
    assert_eq!(slow.next().await, None);
}

#[test]
fn works_without_a_runtime() {
    let breaker = live(CircuitBreaker::consecutive_failures(1));
    assert_eq!(play(&breaker, "F"), Open);
    refused(&breaker);
}

// ---- configuration ----

fn problems(config: CircuitBreakerConfig) -> Vec<String> {
    config.build().map_or_else(|e| e.faults().iter().map(|fault| fault.field().to_owned()).collect(), |_| Vec::new())
}

#[test]
fn b26_h43_h44_h45_what_cannot_work_is_named() {
    let rate = || CircuitBreaker::failure_rate(0.5);
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.01] {
        assert_eq!(problems(CircuitBreaker::failure_rate(bad)), ["failure_rate"], "{bad}");
        assert_eq!(problems(CircuitBreaker::slow_calls(secs(1), bad)), ["slow_calls.share"], "{bad}");
    }
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 0.99] {
        assert_eq!(problems(rate().open_growth(bad)), ["open_growth"], "{bad}");
    }
    for bad in [f64::NAN, f64::INFINITY, -0.1, 1.01] {
        assert_eq!(problems(rate().open_jitter(bad)), ["open_jitter"], "{bad}");
    }
    for (config, field) in [
        (CircuitBreaker::consecutive_failures(0), "consecutive_failures"),
        (CircuitBreaker::slow_calls(Duration::ZERO, 0.5), "slow_calls.slower_than"),
        (rate().window(Duration::ZERO), "window"),
        (rate().window(ms(19)), "window"),
        (rate().count_window(0), "count_window"),
        (rate().count_window(u32::MAX), "count_window"),
        (rate().min_calls(0), "min_calls"),
        (rate().min_calls(1), "min_calls"),
        (rate().count_window(10).min_calls(11), "min_calls"),
        (rate().open_for(Duration::ZERO), "open_for"),
        (rate().max_open(secs(4)), "max_open"),
        (rate().probes(0), "probes"),
        (rate().probes(u32::MAX), "probes"),
        (rate().close_after(0), "close_after"),
        (rate().probes(3).close_after(4), "close_after"),
        (rate().probe_lease(Duration::ZERO), "probe_lease"),
        (rate().half_open_for(Duration::ZERO), "half_open_for"),
    ] {
        assert_eq!(problems(config), [field]);
    }
    let everything = CircuitBreaker::failure_rate(2.0).window(EPS).open_for(Duration::ZERO).probes(0);
    assert_eq!(problems(everything), ["failure_rate", "window", "open_for", "probes"]);
    let good = [
        CircuitBreaker::failure_rate(1.0),
        rate().open_for(Duration::MAX),
        rate().open_for(secs(120)),
        rate().open_for(EPS).probe_lease(EPS).half_open_for(EPS),
        rate().count_window(5),
        rate().abandoned_after(Duration::ZERO),
        rate().min_calls(u32::MAX),
        rate().window(Duration::MAX),
    ];
    good.into_iter().for_each(|config| assert_eq!(problems(config), Vec::<String>::new()));
}

#[test]
fn h29_the_shortest_of_everything_still_works() {
    let breaker = live(CircuitBreaker::consecutive_failures(1).open_for(EPS).window(ms(20)).abandoned_after(Duration::ZERO));
    let now = Instant::now() + secs(1);
    breaker.try_acquire_at(now).expect("closed").settle_at(F, now);
    assert!(breaker.try_acquire_at(now).is_err());
    let later = now + secs(1);
    breaker.try_acquire_at(later).expect("a probe").settle_at(S, later);
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn types_cross_threads() {
    static_assertions::assert_impl_all!(CircuitBreaker: Clone, Send, Sync, std::fmt::Debug);
    static_assertions::assert_impl_all!(CircuitBreakerConfig: Clone, Send, Sync, PartialEq, std::fmt::Debug);
    static_assertions::assert_impl_all!(CircuitPermit<'static>: Send, Sync, std::fmt::Debug);
    static_assertions::assert_impl_all!(Transitions: Send, Sync);
}

// ---- edges that mutants showed to be untested ----

#[tokio::test(start_paused = true)]
async fn the_open_time_of_ones_own_is_asked_for_by_the_probe_that_decides_and_by_no_other() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let breaker = live(p().probes(3).close_after(2).open_for_fn(|_| secs(7 + u64::from(ASKED.fetch_add(1, Ordering::Relaxed)))));
    breaker.force_open();
    advance(secs(30)).await;
    let [bad, good, worse] = [permit(&breaker), permit(&breaker), permit(&breaker)];
    bad.settle(F);
    assert_eq!(ASKED.load(Ordering::Relaxed), 0, "two may still succeed");
    good.settle(S);
    assert_eq!(ASKED.load(Ordering::Relaxed), 0, "a success opens nothing");
    worse.settle(F);
    assert_eq!((ASKED.load(Ordering::Relaxed), breaker.next_probe_in()), (1, Some(secs(7))));
}

#[tokio::test(start_paused = true)]
async fn h14_a_drop_does_not_ask_for_the_open_time_of_ones_own() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let rules = CircuitBreaker::consecutive_failures(1).open_for(secs(30)).open_jitter(0.0).abandoned_after(secs(1));
    let breaker = live(rules.open_for_fn(|_| secs(7 + u64::from(ASKED.fetch_add(1, Ordering::Relaxed)))));
    let permit = permit(&breaker);
    advance(secs(2)).await;
    drop(permit);
    assert_eq!((ASKED.load(Ordering::Relaxed), breaker.next_probe_in()), (0, Some(secs(30))));
}

#[tokio::test(start_paused = true)]
async fn metrics_only_tells_of_each_rule_although_all_break_at_once() {
    let breaker = live(p().min_calls(2).consecutive_failures(2).slow_calls(secs(1), 0.5));
    breaker.metrics_only();
    let mut told = breaker.subscribe();
    let permits = [permit(&breaker), permit(&breaker), permit(&breaker)];
    advance(secs(2)).await;
    permits.into_iter().for_each(|permit| permit.settle(F));
    let causes: Vec<_> = std::iter::from_fn(|| told.try_next()).map(|t| t.cause).collect();
    assert_eq!(causes, [TransitionCause::ConsecutiveFailures, TransitionCause::FailureRate, TransitionCause::SlowCalls]);
}

#[tokio::test(start_paused = true)]
async fn h52_when_the_generations_come_around_nothing_of_the_first_is_left() {
    let breaker = live(j().min_calls(100));
    let slow = permit(&breaker);
    advance(secs(5)).await;
    slow.settle(F);
    play(&breaker, "SF");
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().slow_calls), (3, 1));
    (0..64).for_each(|_| breaker.reset());
    let anew = breaker.snapshot();
    assert_eq!((anew.generation, anew.calls, anew.failures, anew.slow_calls), (64, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_round_counts_its_probes_and_tells_when_the_next_may_go() {
    let breaker = live(j().probe_lease(secs(60)));
    breaker.force_open();
    assert!(breaker.half_open());
    assert_eq!(breaker.next_probe_in(), Some(Duration::ZERO));
    let probes = [permit(&breaker), permit(&breaker), permit(&breaker), permit(&breaker)];
    assert_eq!(breaker.next_probe_in(), Some(secs(60)));
    let [good, slow, ..] = probes;
    good.settle(S);
    advance(secs(5)).await;
    slow.settle(S);
    let seen = breaker.snapshot();
    assert_eq!((seen.state, seen.calls, seen.failures, seen.slow_calls), (CircuitState::HalfOpen, 2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn rules_that_come_back_go_on_with_the_counts_of_today() {
    let (rules, other) = (p().min_calls(100), p().min_calls(200));
    let breaker = live(rules.clone());
    assert_eq!(breaker.reconfigure(&rules.clone().window(secs(20))), Ok(false), "another window");
    assert_eq!(breaker.reconfigure(&other), Ok(false), "and another one, of the old length");
    play(&breaker, "FFF");
    assert_eq!(breaker.reconfigure(&rules), Ok(true));
    assert_eq!(breaker.snapshot().failures, 3);
}

#[tokio::test(start_paused = true)]
async fn rules_that_open_it_for_no_shorter_leave_a_time_that_was_chosen_by_hand() {
    let breaker = live(p());
    breaker.open_for(secs(3600));
    assert_eq!(breaker.reconfigure(&p().min_calls(7)), Ok(true));
    assert_eq!(breaker.next_probe_in(), Some(secs(3600)));
}

#[tokio::test(start_paused = true)]
async fn more_probes_are_let_through_at_once_and_not_when_a_lease_ends() {
    let breaker = live(p().probes(1));
    breaker.force_open();
    assert!(breaker.half_open());
    let _first = permit(&breaker);
    assert!(refused(&breaker).retry_after().is_some());
    assert_eq!(breaker.reconfigure(&p().probes(3).close_after(2)), Ok(true));
    let _second = permit(&breaker);
}

#[tokio::test(start_paused = true)]
async fn what_other_rules_decide_is_told_at_once() {
    let breaker = live(p().probes(2).close_after(2));
    breaker.force_open();
    assert!(breaker.half_open());
    permit(&breaker).settle(S);
    let mut seen = breaker.subscribe();
    assert_eq!(breaker.reconfigure(&p().probes(2).close_after(1)), Ok(true));
    assert_eq!(drain(&mut seen), [(CircuitState::HalfOpen, CircuitState::Closed, TransitionCause::ProbesSucceeded)]);
}
