//! Small models that loom plays through in every order of their steps: what many threads do to one breaker, or to one bulkhead.
//!
//! `RUSTFLAGS="--cfg steadfast_loom" cargo test --release --lib models`

use super::{Bulkhead, BulkheadPermit, CircuitBreaker, CircuitBreakerConfig, CircuitState, Listener, Throttle, Transition};
use crate::call::{Call, Priority};
use crate::models::{Task, model};
use crate::outcome::{Outcome, Verdict};
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

const F: Outcome = Outcome::Judged(Verdict::transient());
const S: Outcome = Outcome::Judged(Verdict::Success);
const SECOND: Duration = Duration::from_secs(1);

fn breaker(config: CircuitBreakerConfig) -> CircuitBreaker {
    CircuitBreaker::from_config(config.seed(1).open_jitter(0.0).open_for(SECOND), 1)
}

fn fail(breaker: &CircuitBreaker, now: Instant) {
    if let Ok(permit) = breaker.try_acquire_at(now) {
        permit.settle_at(F, now);
    }
}

#[test]
fn two_failures_that_break_a_rate_together_open_the_circuit() {
    // In one bucket, and in two: there each writes a word of its own and must see the other's.
    for apart in [0, 6] {
        model(4, move || {
            let (breaker, now) = (breaker(CircuitBreaker::failure_rate(1.0).min_calls(2)), Instant::now());
            let other = breaker.clone();
            let thread = thread::spawn(move || fail(&other, now + apart * SECOND));
            fail(&breaker, now);
            thread.join().expect("no panic");
            assert_eq!(breaker.snapshot().generation, 1);
        });
    }
}

#[test]
fn b32_failures_in_a_row_on_two_threads_open_it_once() {
    for config in [CircuitBreaker::consecutive_failures(2), CircuitBreaker::consecutive_failures(2).count_window(10)] {
        model(4, move || {
            let (breaker, now) = (breaker(config.clone()), Instant::now());
            let other = breaker.clone();
            let thread = thread::spawn(move || fail(&other, now));
            fail(&breaker, now);
            thread.join().expect("no panic");
            assert!(breaker.check_at(now).is_err());
            let then = breaker.snapshot();
            assert_eq!((then.generation, then.calls, then.failures), (1, 2, 2), "decided on both of them");
        });
    }
}

#[test]
fn h51_who_is_refused_by_an_open_circuit_is_told_when_to_come_back() {
    model(4, || {
        let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1)), Instant::now());
        let other = breaker.clone();
        let thread = thread::spawn(move || fail(&other, now));
        // Whoever sees the state sees until when it lasts.
        for refused in [breaker.check_at(now).err(), breaker.try_acquire_at(now).map(drop).err()].into_iter().flatten() {
            assert_eq!(refused.retry_after(), Some(SECOND));
        }
        thread.join().expect("no panic");
        assert!(breaker.check_at(now).is_err());
    });
}

#[test]
fn h53_three_threads_at_half_open_get_one_probe() {
    model(2, || {
        let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1)), Instant::now());
        fail(&breaker, now);
        let got = Arc::new(AtomicUsize::new(0));
        let late = now + SECOND;
        let enter = |breaker: CircuitBreaker, got: Arc<AtomicUsize>| {
            move || {
                if let Ok(permit) = breaker.try_acquire_at(late) {
                    assert!(permit.is_probe());
                    got.fetch_add(1, Ordering::Relaxed);
                    std::mem::forget(permit);
                }
            }
        };
        let threads = [(); 2].map(|()| thread::spawn(enter(breaker.clone(), Arc::clone(&got))));
        enter(breaker.clone(), Arc::clone(&got))();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(got.load(Ordering::Relaxed), 1);
        let refused = breaker.try_acquire_at(late).expect_err("the probe is out");
        assert_eq!(refused.retry_after(), Some(SECOND));
    });
}

#[test]
fn x01_an_outcome_from_before_a_reset_never_counts_after_it() {
    for outcome in [F, S] {
        model(2, move || {
            let (breaker, now) = (breaker(CircuitBreaker::failure_rate(0.5).min_calls(2).consecutive_failures(2)), Instant::now());
            let first: &'static CircuitBreaker = Box::leak(Box::new(breaker.clone()));
            let permit = first.try_acquire_at(now).expect("closed");
            let thread = thread::spawn(move || permit.settle_at(outcome, now));
            breaker.reset();
            if let Ok(permit) = breaker.try_acquire_at(now) {
                permit.settle_at(S, now);
            }
            thread.join().expect("no panic");
            let then = breaker.snapshot();
            assert_eq!((then.generation, then.calls, then.failures, then.consecutive_failures), (1, 1, 0, 0));
        });
    }
}

#[test]
fn x02_a_probe_dropped_beside_a_newcomer_loses_no_place() {
    for outcome in [None, Some(F), Some(S), Some(Outcome::NotAttempted)] {
        model(3, move || {
            let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1)), Instant::now());
            fail(&breaker, now);
            let late = now + SECOND;
            let leaked: &'static CircuitBreaker = Box::leak(Box::new(breaker.clone()));
            let probe = leaked.try_acquire_at(late).expect("the open time is over");
            let thread = thread::spawn(move || match outcome {
                None => drop(probe),
                Some(outcome) => probe.settle_at(outcome, late),
            });
            let mine = breaker.try_acquire_at(late);
            thread.join().expect("no panic");
            let there = breaker.try_acquire_at(late).is_ok();
            match (outcome, &mine) {
                (Some(outcome), _) if outcome == F => assert!(!there && mine.is_err(), "open again"),
                (Some(outcome), _) if outcome == S => assert!(there, "closed"),
                (_, Ok(mine)) => assert!(mine.is_probe() && !there, "one probe at a time"),
                (_, Err(_)) => assert!(there, "the place is free"),
            }
        });
    }
}

#[test]
fn a_probe_of_an_earlier_round_decides_nothing_in_a_later_one() {
    for outcome in [None, Some(F), Some(S)] {
        model(3, move || {
            let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1)), Instant::now());
            fail(&breaker, now);
            let late = now + SECOND;
            let leaked: &'static CircuitBreaker = Box::leak(Box::new(breaker.clone()));
            let probe = leaked.try_acquire_at(late).expect("the open time is over");
            let thread = thread::spawn(move || match outcome {
                None => drop(probe),
                Some(outcome) => probe.settle_at(outcome, late),
            });
            let again = breaker.half_open();
            let mine = breaker.try_acquire_at(late).expect("a new round, or closed");
            thread.join().expect("no panic");
            assert_eq!(again, mine.is_probe(), "half-open, unless the probe had closed the circuit before");
            assert!(again || outcome == Some(S));
            assert_eq!(breaker.try_acquire_at(late).is_err(), again, "one probe, whatever became of the old one");
        });
    }
}

#[test]
fn h52_an_outcome_of_the_closed_state_before_last_says_nothing_in_this_one() {
    // Closed, open, half-open, closed again: the same state, two generations of it, and a settle that is late by all of them.
    for outcome in [F, S] {
        model(2, move || {
            let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1)), Instant::now());
            let leaked: &'static CircuitBreaker = Box::leak(Box::new(breaker.clone()));
            let stale = leaked.try_acquire_at(now).expect("closed");
            fail(&breaker, now);
            let late = now + SECOND;
            let probe = breaker.try_acquire_at(late).expect("the open time is over");
            let thread = thread::spawn(move || stale.settle_at(outcome, late));
            probe.settle_at(S, late);
            breaker.try_acquire_at(late).expect("closed").settle_at(S, late);
            thread.join().expect("no panic");
            let then = breaker.snapshot();
            assert_eq!((then.state, then.generation, then.calls, then.failures, then.stale), (CircuitState::Closed, 3, 1, 0, 1));
        });
    }
}

#[test]
fn h52_a_stale_failure_beside_the_first_of_a_new_count_does_not_open_it() {
    model(2, || {
        let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(2)), Instant::now());
        let leaked: &'static CircuitBreaker = Box::leak(Box::new(breaker.clone()));
        let stale = leaked.try_acquire_at(now).expect("closed");
        breaker.reset();
        let thread = thread::spawn(move || stale.settle_at(F, now));
        fail(&breaker, now);
        thread.join().expect("no panic");
        let then = breaker.snapshot();
        assert_eq!((then.state, then.consecutive_failures, then.failures, then.stale), (CircuitState::Closed, 1, 1, 1));
    });
}

#[test]
fn two_probes_that_settle_together_decide_once() {
    for outcomes in [[S, S], [S, F], [F, F]] {
        model(3, move || {
            let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1).probes(2)), Instant::now());
            fail(&breaker, now);
            let late = now + SECOND;
            let leaked: &'static CircuitBreaker = Box::leak(Box::new(breaker.clone()));
            let [one, two] = [(); 2].map(|()| leaked.try_acquire_at(late).expect("a probe"));
            let thread = thread::spawn(move || one.settle_at(outcomes[0], late));
            two.settle_at(outcomes[1], late);
            thread.join().expect("no panic");
            let closed = breaker.check_at(late).is_ok();
            assert_eq!((closed, breaker.snapshot().generation), (outcomes == [S, S], 3));
        });
    }
}

#[test]
fn h57_listeners_hear_every_transition_in_order_whoever_tells() {
    model(3, || {
        let (breaker, now) = (breaker(CircuitBreaker::consecutive_failures(1)), Instant::now());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let pen = Arc::clone(&heard);
        let listener: Arc<dyn Listener> =
            Arc::new(move |change: &Transition| pen.lock().expect("whole").push((change.generation, change.to)));
        breaker.on_transition(Arc::downgrade(&listener));
        let other = breaker.clone();
        let thread = thread::spawn(move || fail(&other, now));
        breaker.isolate();
        thread.join().expect("no panic");
        let heard = heard.lock().expect("whole");
        let open_first = [(1, CircuitState::Open), (2, CircuitState::Isolated)];
        assert!(*heard == open_first || *heard == open_first[1..] || *heard == [(1, CircuitState::Isolated)], "{heard:?}");
        assert_eq!(heard.len() as u64, breaker.snapshot().generation);
    });
}

// ---- bulkhead ----

fn caller(bulkhead: &'static Bulkhead) -> Task<BulkheadPermit<'static>> {
    Task::new(async { bulkhead.acquire(&Call::now()).await.expect("nobody is refused") })
}

fn bulkhead(limit: usize, queue: usize) -> &'static Bulkhead {
    Box::leak(Box::new(Bulkhead::new(limit).queue(queue).build().expect("valid")))
}

#[test]
fn h50_a_release_beside_an_arrival_wakes_it() {
    model(5, || {
        let bulkhead = bulkhead(1, 1);
        let held = bulkhead.try_acquire().expect("free");
        let thread = thread::spawn(move || drop(held));
        let mut caller = caller(bulkhead);
        let at_once = caller.poll();
        thread.join().expect("no panic");
        let permit = at_once.or_else(|| caller.run()).expect("woken");
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (1, 0));
        drop(permit);
        assert!(bulkhead.try_acquire().is_ok());
    });
}

#[test]
fn h47_growth_beside_an_arrival_wakes_it() {
    model(5, || {
        let bulkhead = bulkhead(1, 1);
        let _held = bulkhead.try_acquire().expect("free");
        let thread = thread::spawn(|| bulkhead.resize(2));
        let mut caller = caller(bulkhead);
        let at_once = caller.poll();
        thread.join().expect("no panic");
        let _permit = at_once.or_else(|| caller.run()).expect("woken");
        assert_eq!((bulkhead.in_use(), bulkhead.waiting(), bulkhead.limit()), (2, 0, 2));
    });
}

#[test]
fn h03_a_waiter_dropped_beside_the_release_hands_the_wake_on() {
    model(3, || {
        let bulkhead = bulkhead(1, 2);
        let held = bulkhead.try_acquire().expect("free");
        let (mut first, mut second) = (caller(bulkhead), caller(bulkhead));
        assert!(first.poll().is_none() && second.poll().is_none());
        let leaver = thread::spawn(move || {
            drop(first.run()); // maybe it had the place for a moment
            drop(first);
        });
        let release = thread::spawn(move || drop(held));
        let early = second.run();
        leaver.join().expect("no panic");
        release.join().expect("no panic");
        let permit = early.or_else(|| second.run()).expect("woken");
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (1, 0));
        drop(permit);
        assert_eq!(bulkhead.available(), 1);
    });
}

#[test]
fn h21_a_parked_waiter_beside_a_release_starves_nobody() {
    model(3, || {
        let bulkhead = bulkhead(1, 2);
        let held = bulkhead.try_acquire().expect("free");
        let (mut parked, mut awake) = (caller(bulkhead), caller(bulkhead));
        assert!(parked.poll().is_none());
        let release = thread::spawn(move || drop(held));
        let early = awake.poll().or_else(|| awake.run());
        release.join().expect("no panic");
        let permit = early.or_else(|| awake.run()).expect("woken to see that the other does not come, and let through");
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (1, 1));
        drop(permit);
        assert!(parked.run().is_some(), "back, it stands where it stood");
    });
}

#[test]
fn the_last_waiter_leaves_beside_a_release_and_the_door_is_open_again() {
    model(4, || {
        let bulkhead = bulkhead(1, 1);
        let held = bulkhead.try_acquire().expect("free");
        let mut caller = caller(bulkhead);
        assert!(caller.poll().is_none());
        let leaver = thread::spawn(move || drop(caller));
        let newcomer = thread::spawn(|| drop(bulkhead.try_acquire()));
        drop(held);
        leaver.join().expect("no panic");
        newcomer.join().expect("no panic");
        assert_eq!((bulkhead.in_use(), bulkhead.waiting(), bulkhead.available()), (0, 0, 1));
        assert!(bulkhead.try_acquire().is_ok());
    });
}

#[test]
fn two_releases_wake_two_waiters() {
    model(3, || {
        let bulkhead = bulkhead(2, 2);
        let held = [bulkhead.try_acquire().expect("free"), bulkhead.try_acquire().expect("free")];
        let mut callers = [caller(bulkhead), caller(bulkhead)];
        assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
        let threads = held.map(|permit| thread::spawn(move || drop(permit)));
        let [mut one, mut two] = callers;
        let early = (one.run(), two.run());
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let (first, second) = (early.0.or_else(|| one.run()), early.1.or_else(|| two.run()));
        let first = first.or_else(|| one.run());
        assert!(first.is_some() && second.is_some(), "{} free, {} wait", bulkhead.available(), bulkhead.waiting());
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (2, 0));
    });
}

#[test]
fn the_limit_holds_between_threads() {
    model(4, || {
        let bulkhead = bulkhead(1, 0);
        let inside: &'static AtomicUsize = Box::leak(Box::default());
        let call = move || {
            if let Ok(_permit) = bulkhead.try_acquire() {
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let threads = [(); 2].map(|()| thread::spawn(call));
        call();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert_eq!(bulkhead.available(), 1);
    });
}

#[test]
fn h47_shrinking_beside_a_release_lets_nobody_in_too_early_and_loses_nobody() {
    model(3, || {
        let bulkhead = bulkhead(2, 1);
        let [one, two] = [(); 2].map(|()| bulkhead.try_acquire().expect("free"));
        let mut waits = caller(bulkhead);
        assert!(waits.poll().is_none());
        let shrinks = thread::spawn(|| bulkhead.resize(1));
        drop(one);
        let early = waits.run();
        shrinks.join().expect("no panic");
        let early = early.or_else(|| waits.run());
        // It came before the shrinking, or else it is not let in beside the other.
        assert_eq!((bulkhead.in_use(), bulkhead.limit()), (1 + usize::from(early.is_some()), 1));
        drop(two);
        let permit = early.or_else(|| waits.run()).expect("woken");
        assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (1, 0));
        drop(permit);
        assert_eq!(bulkhead.available(), 1);
    });
}

// ---- throttle ----

#[test]
fn two_accepts_that_end_an_outage_together_forget_it_once() {
    model(2, || {
        let throttle = Throttle::from_config(Throttle::new().min_requests(2).seed(1), 1);
        let throttle: &'static Throttle = Box::leak(Box::new(throttle));
        let now = Instant::now();
        let take = |now| throttle.try_acquire(Priority::Critical, now);
        (0..10).for_each(|_| _ = take(now).map(|permit| permit.settle_at(F, now)));
        // An outage of ten seconds; then two probes are accepted at once.
        let late = now + 10 * SECOND;
        let probes: Vec<_> = [late, late + 2 * SECOND].into_iter().filter_map(|at| take(at).ok()).collect();
        assert_eq!(probes.len(), 2);
        let threads: Vec<_> = probes.into_iter().map(|probe| thread::spawn(move || probe.settle_at(S, late + 2 * SECOND))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        // Whoever was first, the way back has begun, and somebody gets through.
        assert!(throttle.snapshot().recovering);
        assert!(take(late + 2 * SECOND).is_ok());
    });
}

#[test]
fn a_failure_beside_an_accept_never_shuts_it_for_good() {
    model(2, || {
        let throttle = Throttle::from_config(Throttle::new().min_requests(2).seed(1), 1);
        let throttle: &'static Throttle = Box::leak(Box::new(throttle));
        let now = Instant::now();
        let [a, b] = [now, now].map(|now| throttle.try_acquire(Priority::Normal, now).expect("nothing is known yet"));
        let thread = thread::spawn(move || a.settle_at(F, now));
        b.settle_at(S, now);
        thread.join().expect("no panic");
        let then = throttle.snapshot();
        assert_eq!((then.accepts, then.requests), (1, 2));
        let late = now + 2 * SECOND;
        assert!(throttle.try_acquire(Priority::Background, late).is_ok(), "a probe is due at least");
    });
}

// ---- the breaker's warm-up ----

#[test]
fn the_end_of_a_ramp_beside_a_failure_loses_neither() {
    model(3, || {
        let breaker = breaker(CircuitBreaker::consecutive_failures(1).ramp(SECOND));
        let (breaker, now): (&'static CircuitBreaker, _) = (Box::leak(Box::new(breaker)), Instant::now());
        fail(breaker, now);
        breaker.try_acquire_at(now + SECOND).expect("a probe").settle_at(S, now + SECOND);
        let early = breaker.try_acquire_at(now + SECOND).expect("the first goes");
        // One thread finds the ramp over while the other's outcome opens the circuit.
        let late = now + 2 * SECOND;
        let thread = thread::spawn(move || early.settle_at(F, late));
        let beside = breaker.try_acquire_at(late).map(drop);
        thread.join().expect("no panic");
        assert!(breaker.check_at(late).is_err(), "the failure counted, and nothing closed the circuit after it");
        assert_eq!(breaker.snapshot().stale, 0);
        let _either = beside;
    });
}
