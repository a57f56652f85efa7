//! What cannot be seen from outside: listeners, the pipeline's doors, and the windows' words.

use super::window::{CountWindow, Counts, Streak, TimeWindow};
use super::{CircuitBreaker, CircuitState, Listener, Transition};
use crate::admission::ring::{Dial, Ring};
use crate::outcome::{Outcome, Verdict};
use crate::sync::{Mutex, lock};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, advance};

const F: Outcome = Outcome::Judged(Verdict::transient());
const S: Outcome = Outcome::Judged(Verdict::Success);

fn breaker() -> CircuitBreaker {
    CircuitBreaker::consecutive_failures(1).open_for(Duration::from_secs(5)).open_jitter(0.0).build().expect("valid")
}

fn settle(breaker: &CircuitBreaker, outcome: Outcome) {
    breaker.try_acquire().expect("permitted").settle(outcome);
}

/// A listener that stays.
fn listen(breaker: &CircuitBreaker, listener: impl Fn(&Transition) + Send + Sync + 'static) {
    let listener: Arc<dyn Listener> = Arc::new(listener);
    breaker.on_transition(Arc::downgrade(&listener));
    std::mem::forget(listener);
}

/// A listener that writes down the states it is told of.
fn notes(breaker: &CircuitBreaker) -> Arc<Mutex<Vec<CircuitState>>> {
    let notes = Arc::new(Mutex::new(Vec::new()));
    let pen = Arc::clone(&notes);
    listen(breaker, move |t: &Transition| lock(&pen).push(t.to));
    notes
}

use CircuitState::{Closed, HalfOpen, Isolated, Open};

#[tokio::test(start_paused = true)]
async fn h57_a_listener_may_use_the_breaker_it_listens_to() {
    let breaker = breaker();
    let again = breaker.clone();
    listen(&breaker, move |t: &Transition| {
        assert_eq!(again.state(), t.to, "listeners see the new state");
        let _debug = format!("{:?} {:?}", again, again.snapshot());
        if t.to == Open {
            again.reset();
            settle(&again, S);
        }
    });
    let seen = notes(&breaker);
    settle(&breaker, F);
    assert_eq!(breaker.state(), Closed);
    assert_eq!(*lock(&seen), [Open, Closed], "in order, although the second was caused while the first was told");
    assert_eq!(breaker.snapshot().listener_panics, 0);
}

#[tokio::test(start_paused = true)]
async fn h14_h23_a_listener_that_panics_is_counted_and_the_next_is_told() {
    let breaker = breaker();
    listen(&breaker, |_: &Transition| resume_unwind(Box::new("mine")));
    let seen = notes(&breaker);
    settle(&breaker, F);
    advance(Duration::from_secs(5)).await;
    settle(&breaker, S);
    assert_eq!(*lock(&seen), [Open, HalfOpen, Closed]);
    assert_eq!(breaker.snapshot().listener_panics, 3);
}

/// Settles a failure while its thread unwinds, as a pipeline's guard does.
fn settle_while_unwinding(breaker: &CircuitBreaker) {
    struct Guard<'a>(Option<super::CircuitPermit<'a>>);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            if let Some(permit) = self.0.take() {
                permit.settle(Outcome::Panicked);
            }
        }
    }
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _guard = Guard(breaker.try_acquire().ok());
        resume_unwind(Box::new("operation"));
    }));
    assert!(unwound.is_err());
}

#[tokio::test(start_paused = true)]
async fn h14_no_listener_runs_while_unwinding_and_the_next_caller_tells_it() {
    let breaker = breaker();
    let seen = notes(&breaker);
    let mut told = breaker.subscribe();
    settle_while_unwinding(&breaker);
    assert_eq!(breaker.state(), Open);
    assert_eq!(told.try_next().map(|t| t.to), Some(Open), "subscribers run nothing, so they know at once");
    assert!(lock(&seen).is_empty());
    assert!(breaker.try_acquire().is_err());
    assert_eq!(*lock(&seen), [Open]);
}

#[tokio::test(start_paused = true)]
async fn h14_what_was_held_back_comes_before_what_came_later() {
    let breaker = breaker();
    let seen = notes(&breaker);
    settle_while_unwinding(&breaker);
    breaker.isolate();
    breaker.reset();
    assert_eq!(*lock(&seen), [Open, Isolated, Closed]);
}

#[tokio::test(start_paused = true)]
async fn h14_no_listener_runs_in_a_drop_and_the_next_caller_tells_it() {
    let config = CircuitBreaker::consecutive_failures(1).abandoned_after(Duration::from_secs(1)).half_open_for(Duration::from_secs(2));
    let breaker = config.open_jitter(0.0).build().expect("valid");
    let (seen, mut told) = (notes(&breaker), breaker.subscribe());
    let permit = breaker.try_acquire().expect("closed");
    advance(Duration::from_secs(1)).await;
    drop(permit);
    assert_eq!(told.try_next().map(|t| t.to), Some(Open), "subscribers run nothing, so they know at once");
    assert!(lock(&seen).is_empty());
    advance(Duration::from_secs(5)).await;
    let probe = breaker.try_acquire().expect("the open time is over");
    assert_eq!(*lock(&seen), [Open, HalfOpen]);
    advance(Duration::from_secs(2)).await;
    drop(probe);
    assert_eq!(*lock(&seen), [Open, HalfOpen], "the round ran out of time");
    breaker.reset();
    assert_eq!(*lock(&seen), [Open, HalfOpen, Open, Closed]);
}

#[tokio::test(start_paused = true)]
async fn h14_what_is_settled_in_a_drop_counts_at_once_and_is_told_by_the_next_caller() {
    let breaker = breaker();
    let seen = notes(&breaker);
    breaker.try_acquire().expect("closed").settle_in_drop(Outcome::Panicked);
    assert_eq!((breaker.state(), lock(&seen).len()), (Open, 0));
    breaker.tell();
    assert_eq!(*lock(&seen), [Open]);
}

#[tokio::test(start_paused = true)]
async fn h57_a_slow_listener_delays_no_subscriber() {
    let breaker = breaker();
    let (again, told) = (breaker.clone(), Mutex::new(breaker.subscribe()));
    listen(&breaker, move |t: &Transition| {
        if t.to == Open {
            again.isolate(); // as another thread might, while this one takes its time
            let mut told = lock(&told);
            assert_eq!([told.try_next(), told.try_next()].map(|t| t.map(|t| t.to)), [Some(Open), Some(Isolated)]);
        }
    });
    settle(&breaker, F);
    assert_eq!(breaker.snapshot().listener_panics, 0);
}

/// What a panic carries may panic in its own drop.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("in the drop"));
    }
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_that_panics_again_silences_nobody() {
    let breaker = breaker();
    listen(&breaker, |_: &Transition| resume_unwind(Box::new(Bomb)));
    let seen = notes(&breaker);
    settle(&breaker, F);
    breaker.reset();
    assert_eq!(*lock(&seen), [Open, Closed]);
    assert_eq!(breaker.snapshot().listener_panics, 2);
}

#[tokio::test(start_paused = true)]
async fn listeners_that_are_gone_are_forgotten() {
    let breaker = breaker();
    let stays: Arc<dyn Listener> = Arc::new(|_: &Transition| {});
    breaker.on_transition(Arc::downgrade(&stays));
    for _ in 0..1_000 {
        let goes: Arc<dyn Listener> = Arc::new(|_: &Transition| {});
        breaker.on_transition(Arc::downgrade(&goes));
    }
    let kept = breaker.machine.outbox.listeners();
    assert!((2..=8).contains(&kept), "the one that stays, and the last few: {kept}");
    assert_eq!(Arc::weak_count(&stays), 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_circuit_is_passed_without_being_asked_twice() {
    let breaker = breaker();
    let pass = || breaker.pass_at(Instant::now()).map(|permit| permit.is_probe());
    assert_eq!(pass(), Some(false));
    breaker.isolate();
    assert_eq!(pass(), None);
    breaker.disable();
    assert_eq!(pass(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn clones_are_the_same_breaker_and_equals_are_not() {
    let [one, other] = [breaker(), breaker()];
    assert!(one.is_same(&one.clone()) && !one.is_same(&other));
}

#[tokio::test(start_paused = true)]
async fn the_pipelines_look_counts_its_refusals() {
    let breaker = breaker();
    assert!(breaker.refuse_at(Instant::now()).is_ok());
    settle(&breaker, F);
    assert!(breaker.refuse_at(Instant::now()).is_err());
    assert!(breaker.check_at(Instant::now()).is_err());
    assert_eq!(breaker.snapshot().not_permitted, 1);
    assert!(!breaker.needs_end_time());
    let timed = CircuitBreaker::slow_calls(Duration::from_secs(1), 0.5).build().expect("valid");
    assert!(timed.needs_end_time());
}

#[test]
fn one_shard_counts_the_same() {
    let config = CircuitBreaker::failure_rate(0.5).min_calls(4);
    let breaker = CircuitBreaker::from_config(config, 1);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..1_000).for_each(|_| settle(&breaker, S)));
        }
    });
    assert_eq!(breaker.snapshot().calls, 3_000);
}

// ---- windows ----

const SECOND: u64 = 1_000_000_000;

#[test]
fn h52_a_record_of_an_earlier_generation_never_reaches_a_later_one() {
    let window = TimeWindow::new(10 * SECOND, 1);
    window.failure(7, 0);
    window.success(6, 0); // its own ring, nothing newer there: left behind, and skipped
    assert_eq!(window.counts(7, 0), Counts { calls: 1, failures: 1, slow: 0 });
    window.success(7, 0); // replaces what was left behind
    window.success(6, 0); // meets a newer stamp: dropped
    window.failure(6, 0);
    assert_eq!(window.counts(7, 0), Counts { calls: 2, failures: 1, slow: 0 });
    assert_eq!(window.counts(6, 0), Counts::default());
}

#[test]
fn h52_generations_wrap() {
    let dial = Dial::new(10 * SECOND);
    for generation in [0, 31, 62, 63, 64, 1 << 40] {
        let ring = Ring::default();
        ring.add(&dial, generation, dial.position(0));
        ring.add(&dial, generation + 1, dial.position(0));
        ring.add(&dial, generation, dial.position(0));
        assert_eq!(ring.sum(&dial, generation + 1, dial.position(0)), 1, "{generation}");
        assert_eq!(ring.sum(&dial, generation, dial.position(0)), 0, "{generation}");
    }
}

#[test]
fn h52_what_a_straggler_left_behind_blocks_a_bucket_for_one_window_at_most() {
    // Its state was 33 to 63 changes ago, which in six bits looks like one to come.
    let dial = Dial::new(10 * SECOND);
    for generation in [1, 31, 32, 33, 41, 63] {
        let ring = Ring::default();
        ring.add(&dial, 0, dial.position(0));
        ring.add(&dial, generation, dial.position(10 * SECOND));
        assert_eq!(ring.sum(&dial, generation, dial.position(10 * SECOND)), 1, "{generation}");
        ring.add(&dial, generation - 1, dial.position(10 * SECOND));
        assert_eq!(ring.sum(&dial, generation, dial.position(10 * SECOND)), 1, "{generation}");
    }
}

#[test]
fn h56_a_full_bucket_stays_full_and_its_stamp_whole() {
    // Eight bits of count: the shortest window a dial makes.
    let dial = Dial::new(10);
    let ring = Ring::default();
    (0..1_000).for_each(|_| ring.add(&dial, 3, dial.position(5)));
    assert_eq!(ring.sum(&dial, 3, dial.position(5)), 255);
    assert_eq!(ring.sum(&dial, 4, dial.position(5)), 0);
    assert_eq!(ring.sum(&dial, 3, dial.position(15)), 0);
}

#[test]
fn h32_old_laps_are_skipped_at_any_distance() {
    for window in [20_000_000, SECOND, 3600 * SECOND] {
        let dial = Dial::new(window);
        let ring = Ring::default();
        ring.add(&dial, 0, dial.position(window));
        for windows in [1_u64, 2, 1 << 10, 1 << 20, 1 << 28] {
            let later = window.saturating_add(windows.saturating_mul(window));
            if later < 100 * 365 * 86_400 * SECOND {
                assert_eq!(ring.sum(&dial, 0, dial.position(later)), 0, "{window} {windows}");
            }
        }
        assert_eq!(ring.sum(&dial, 0, dial.position(2 * window - 1)), 1);
    }
}

#[test]
fn a_streak_belongs_to_its_generation() {
    let streak = Streak::default();
    streak.start(5);
    assert_eq!((streak.failure(5), streak.failure(5), streak.failure(4)), (1, 2, 0));
    streak.success(4);
    assert_eq!(streak.get(5), 2);
    streak.success(5);
    assert_eq!((streak.get(5), streak.failure(5), streak.get(4)), (0, 1, 0));
    // A later generation that nobody has started begins its own.
    assert_eq!((streak.failure(7), streak.failure(7), streak.get(7), streak.failure(5)), (1, 2, 2, 0));
}

#[test]
fn h52_a_started_streak_leaves_no_room_for_an_earlier_one() {
    let streak = Streak::default();
    streak.start(5);
    assert_eq!((streak.failure(4), streak.failure(5)), (0, 1));
    // A success ends the count and leaves the generation as it is: also one with the highest bits.
    let late = 0xc000_0000;
    streak.start(late);
    assert_eq!(streak.failure(late), 1);
    streak.success(late);
    assert_eq!(streak.failure(late), 1);
}

/// The first numbers of splitmix64 with the seed 0, as its authors publish them.
#[test]
fn draws_are_those_of_splitmix64() {
    for (n, bits) in [(1, 0xe220_a839_7b1d_cdaf_u64), (2, 0x6e78_9e6a_a1b9_65f4), (3, 0x06c4_5d18_8009_454f)] {
        let seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n);
        assert_eq!(super::machine::unit(seed).to_bits(), ((bits >> 11) as f64 / (1_u64 << 53) as f64).to_bits());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_dial_divides_exactly(window in 1_u64.., nanos in any::<u64>()) {
        let dial = Dial::new(window);
        let bucket = window.div_ceil(10);
        prop_assert_eq!(dial.bucket_nanos(), bucket);
        for nanos in [nanos, nanos / bucket * bucket, (nanos / bucket * bucket).saturating_sub(1)] {
            // A ring that counts at `nanos` counts until ten buckets later, to the nanosecond.
            let ring = Ring::default();
            ring.add(&dial, 0, dial.position(nanos));
            let end = (nanos / bucket).checked_add(10).and_then(|tick| tick.checked_mul(bucket));
            if let Some(end) = end {
                prop_assert_eq!(ring.sum(&dial, 0, dial.position(end - 1)), 1);
            }
        }
    }

    #[test]
    fn h52_the_count_window_is_the_last_so_many(size in 1..70_u32, calls in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..300)) {
        let mut window = CountWindow::new(size);
        for end in 0..calls.len() {
            window.push(calls[end].0, calls[end].1);
            let last = &calls[(end + 1).saturating_sub(size as usize)..=end];
            let expected = Counts {
                calls: last.len() as u64,
                failures: last.iter().filter(|call| call.0).count() as u64,
                slow: last.iter().filter(|call| call.1).count() as u64,
            };
            prop_assert_eq!(window.counts(), expected);
        }
    }
}

#[test]
fn h54_a_listener_is_told_once_by_many_threads() {
    let told = Arc::new(AtomicU64::new(0));
    let breaker = CircuitBreaker::failure_rate(0.5).min_calls(8).build().expect("valid");
    let count = Arc::clone(&told);
    listen(&breaker, move |_: &Transition| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let permits: Vec<_> = (0..8).filter_map(|_| breaker.try_acquire().ok()).collect();
    std::thread::scope(|scope| permits.into_iter().for_each(|permit| drop(scope.spawn(move || permit.settle(F)))));
    assert_eq!((told.load(Ordering::SeqCst), breaker.state()), (1, Open));
}
