//! Policies for each key: apart from each other, bounded whatever keys there are, and nobody's debt is forgotten.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use allocation_counter::measure;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steadfast::{
    Bulkhead, BulkheadConfig, Call, CircuitBreaker, CircuitState, Gate, GateFuture, Outcome, PerKey, PerKeyConfig, Pipeline, Priority,
    RateLimiter, Rejected, RejectedKind, Verdict,
};
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);
const F: Outcome = Outcome::Judged(Verdict::transient());
const S: Outcome = Outcome::Judged(Verdict::Success);

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn kind<T>(answer: Result<T, Rejected>) -> Option<RejectedKind> {
    answer.err().map(|rejected| rejected.kind())
}

fn limited(max_keys: usize) -> PerKeyConfig {
    PerKey::new(max_keys).rate_limit(RateLimiter::per_second(1).burst(2))
}

fn grants(keys: &PerKey, key: &str, tries: usize) -> usize {
    (0..tries).filter(|_| keys.try_acquire(key, 1).is_ok()).count()
}

// ------------------------------------------------------------------ each key for itself

#[tokio::test(start_paused = true)]
async fn each_key_has_a_rate_of_its_own() {
    let keys = limited(100).build().unwrap();
    assert_eq!((grants(&keys, "a", 5), grants(&keys, "b", 5)), (2, 2));
    assert_eq!(keys.try_acquire("a", 1).unwrap_err().retry_after(), Some(SECOND));
    advance(SECOND).await;
    assert_eq!(grants(&keys, "a", 5), 1);
    assert_eq!(keys.try_acquire("a", 3).unwrap_err().retry_after(), None, "more than ever fits");
    assert_eq!(keys.try_acquire("a", 0).map(drop), Ok(()), "a cost of 0 is free");
    assert_eq!((keys.len(), keys.snapshot("a").unwrap().available, keys.snapshot("c")), (2, Some(0), None));
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_circuit_of_its_own() {
    let breaker = CircuitBreaker::failure_rate(0.5).min_calls(4).open_jitter(0.0);
    let keys = PerKey::new(100).circuit_breaker(breaker).build().unwrap();
    for outcome in [S, S, F, F] {
        keys.try_acquire("a", 1).unwrap().settle(outcome);
    }
    let refused = keys.try_acquire("a", 1).unwrap_err();
    assert_eq!((refused.kind(), refused.retry_after()), (RejectedKind::CircuitOpen, Some(5 * SECOND)));
    assert!(keys.try_acquire("b", 1).is_ok());
    let now = keys.snapshot("a").unwrap();
    assert_eq!((now.circuit, now.next_probe_in), (Some(CircuitState::Open), Some(5 * SECOND)));
    advance(5 * SECOND).await;
    let probe = keys.try_acquire("a", 1).unwrap();
    assert_eq!(kind(keys.try_acquire("a", 1)), Some(RejectedKind::CircuitOpen), "one probe at a time");
    drop(probe); // abandoned: its place is free again
    keys.try_acquire("a", 1).unwrap().settle(F);
    assert_eq!(keys.try_acquire("a", 1).unwrap_err().retry_after(), Some(10 * SECOND), "twice as long");
    advance(10 * SECOND).await;
    keys.try_acquire("a", 1).unwrap().settle(S);
    assert_eq!(keys.snapshot("a").unwrap().circuit, Some(CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn h05_a_probe_that_hangs_loses_its_place() {
    let keys = PerKey::new(9).circuit_breaker(CircuitBreaker::consecutive_failures(1).open_jitter(0.0)).build().unwrap();
    keys.try_acquire("a", 1).unwrap().settle(F);
    advance(5 * SECOND).await;
    let hung = keys.try_acquire("a", 1).unwrap();
    assert_eq!(keys.try_acquire("a", 1).unwrap_err().retry_after(), Some(5 * SECOND));
    advance(5 * SECOND).await;
    keys.try_acquire("a", 1).unwrap().settle(S);
    hung.settle(F);
    assert_eq!(keys.snapshot("a").unwrap().circuit, Some(CircuitState::Closed), "what the hung one says comes too late");
}

#[tokio::test(start_paused = true)]
async fn each_key_has_places_of_its_own() {
    let keys = PerKey::new(100).bulkhead(Bulkhead::new(2)).build().unwrap();
    let (one, two) = (keys.try_acquire("a", 1).unwrap(), keys.try_acquire("a", 1).unwrap());
    assert_eq!(kind(keys.try_acquire("a", 1)), Some(RejectedKind::BulkheadFull));
    assert!(keys.try_acquire("b", 1).is_ok());
    assert_eq!(keys.snapshot("a").unwrap().in_use, Some(2));
    drop(one);
    two.settle(S);
    assert_eq!(keys.snapshot("a").unwrap().in_use, Some(0));
}

#[tokio::test(start_paused = true)]
async fn the_order_is_that_of_the_pipeline_and_a_refusal_takes_nothing() {
    let keys = PerKey::new(9)
        .rate_limit(RateLimiter::per_hour(2))
        .circuit_breaker(CircuitBreaker::consecutive_failures(1))
        .bulkhead(Bulkhead::new(1))
        .statistics(true)
        .build()
        .unwrap();
    let held = keys.try_acquire("a", 1).unwrap();
    assert_eq!(kind(keys.try_acquire("a", 1)), Some(RejectedKind::BulkheadFull));
    assert_eq!(keys.snapshot("a").unwrap().available, Some(1), "the unit of who was refused is there still");
    let held_too = kind(keys.try_acquire("a", 2));
    assert_eq!(held_too, Some(RejectedKind::RateLimited), "asked before the bulkhead");
    held.settle(F);
    assert_eq!(kind(keys.try_acquire("a", 5)), Some(RejectedKind::CircuitOpen), "asked first of all");
    let counts = keys.snapshot("a").unwrap().counts.unwrap();
    assert_eq!((counts.calls, counts.successes, counts.failures, counts.rejections), (1, 0, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn statistics_tell_keys_apart() {
    let keys = PerKey::new(100).bulkhead(Bulkhead::new(1)).statistics(true).build().unwrap();
    for (key, refused) in [("a", 3), ("b", 10), ("c", 1), ("d", 0)] {
        let held = keys.try_acquire(key, 1).unwrap();
        assert_eq!(grants(&keys, key, refused), 0);
        advance(SECOND).await;
        held.settle(S);
    }
    let most: Vec<_> = keys.most_rejected(2).iter().map(|key| (key.key().to_owned(), key.rejections())).collect();
    assert_eq!(most, [("b".to_owned(), 10), ("a".to_owned(), 3)]);
    keys.try_acquire("a", 1).unwrap().settle(Outcome::Judged(Verdict::Ignored));
    let counts = keys.snapshot("a").unwrap().counts.unwrap();
    assert_eq!((counts.calls, counts.successes, counts.mean, counts.max), (2, 1, Some(SECOND), Some(SECOND)));
    assert_eq!(keys.stats().rejected, 14);
}

#[tokio::test(start_paused = true)]
async fn forget_begins_anew() {
    let keys = limited(9).circuit_breaker(CircuitBreaker::consecutive_failures(1)).bulkhead(Bulkhead::new(1)).build().unwrap();
    let held = keys.try_acquire("a", 1).unwrap();
    assert!(keys.forget("a") && !keys.forget("b"));
    assert_eq!(kind(keys.try_acquire("a", 1)), Some(RejectedKind::BulkheadFull), "who runs keeps its place");
    held.settle(F);
    assert_eq!(keys.snapshot("a").unwrap().circuit, Some(CircuitState::Closed), "stale");
    assert!(keys.forget("a"));
    assert_eq!((keys.len(), keys.snapshot("a")), (0, None));
}

// ------------------------------------------------------------------ who is forgotten, and who is not

#[tokio::test(start_paused = true)]
async fn idle_keys_go_first_and_those_who_owe_never() {
    let keys = PerKey::new(4).rate_limit(RateLimiter::per_minute(1)).bulkhead(Bulkhead::new(1)).idle(10 * SECOND).build().unwrap();
    drop(keys.try_acquire("idle", 0).unwrap());
    drop(keys.try_acquire("debtor", 1).unwrap());
    let held = keys.try_acquire("held", 0).unwrap();
    advance(11 * SECOND).await;
    drop(keys.try_acquire("recent", 0).unwrap());
    assert_eq!(keys.len(), 4);
    drop(keys.try_acquire("first", 0).unwrap());
    assert!(keys.snapshot("idle").is_none() && keys.snapshot("recent").is_some());
    drop(keys.try_acquire("second", 1).unwrap());
    assert!(keys.snapshot("recent").is_none() ^ keys.snapshot("first").is_none(), "one of those who owe nothing had to go");
    let _owing = (keys.try_acquire("third", 1).unwrap(), keys.try_acquire("fourth", 1).unwrap());
    for owes in ["debtor", "held", "second"] {
        assert!(keys.snapshot(owes).is_some(), "{owes}");
    }
    assert_eq!((keys.len(), keys.stats().shared), (4, 1), "the fourth shares a bucket");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_not_forgotten_nor_one_with_failures_in_its_window() {
    let breaker = CircuitBreaker::failure_rate(0.5).min_calls(2).open_for(60 * SECOND);
    let keys = PerKey::new(3).circuit_breaker(breaker).idle(20 * SECOND).build().unwrap();
    for _ in 0..2 {
        keys.try_acquire("open", 1).unwrap().settle(F);
    }
    keys.try_acquire("one failure", 1).unwrap().settle(F);
    for number in 0..100 {
        keys.try_acquire(&number.to_string(), 1).unwrap().settle(S);
    }
    assert_eq!(kind(keys.try_acquire("open", 1)), Some(RejectedKind::CircuitOpen));
    keys.try_acquire("one failure", 1).unwrap().settle(F);
    assert_eq!(kind(keys.try_acquire("one failure", 1)), Some(RejectedKind::CircuitOpen), "its first failure was remembered");
    // Nobody calls them any more: half-open in theory, and gone.
    advance(100 * SECOND).await;
    for number in 0..100 {
        keys.try_acquire(&number.to_string(), 1).unwrap().settle(S);
    }
    assert!(keys.snapshot("open").is_none() && keys.snapshot("one failure").is_none());
}

#[tokio::test(start_paused = true)]
async fn the_hand_comes_by_without_newcomers_too() {
    let keys = limited(31).idle(SECOND).build().unwrap();
    (0..31).for_each(|number| drop(keys.try_acquire(&number.to_string(), 1)));
    advance(10 * SECOND).await;
    (0..16 * 31).for_each(|_| drop(keys.try_acquire("5", 1)));
    assert_eq!((keys.len(), keys.stats().forgotten_idle >= 30), (1, true));
}

#[tokio::test(start_paused = true)]
async fn h82_a_limited_key_stays_limited_under_a_flood_and_a_newcomer_gets_one() {
    let keys = PerKey::new(1_000).rate_limit(RateLimiter::per_hour(1)).build().unwrap();
    assert_eq!(grants(&keys, "limited", 1), 1);
    let mut granted = 0;
    for number in 0..50_000 {
        granted += grants(&keys, &format!("hostile {number}"), 1);
        if number % 100 == 0 {
            assert_eq!(grants(&keys, "limited", 1), 0, "after {number}");
            assert_eq!(grants(&keys, &format!("newcomer {number}"), 1), 1, "after {number}");
        }
    }
    assert_eq!(granted, 50_000, "one each, which is what a limit for each key gives");
    let stats = keys.stats();
    assert_eq!((stats.keys, stats.max_keys), (1_000, 1_000));
    assert!(stats.shared > 48_000 && stats.forgotten_for_room == 0, "{stats:?}");
    // And who shares a bucket is limited as well, as long as it is remembered there.
    assert_eq!(grants(&keys, "somebody", 10), 1);
    // Debts are paid in an hour, and then there is room.
    advance(3_601 * SECOND).await;
    assert_eq!(grants(&keys, "later", 10), 1);
    assert!(keys.snapshot("later").is_some());
}

#[tokio::test(start_paused = true)]
async fn h82_strangers_open_no_circuit_to_a_newcomer_and_fill_no_place_of_it() {
    let breaker = CircuitBreaker::consecutive_failures(1).open_for(Duration::MAX);
    let keys = PerKey::new(1).circuit_breaker(breaker).bulkhead(Bulkhead::new(1)).build().unwrap();
    let mut held = vec![keys.try_acquire("resident", 1).unwrap()];
    for number in 0..1_000 {
        let key = format!("hostile {number}");
        held.push(keys.try_acquire(&key, 1).unwrap());
        if let Ok(again) = keys.try_acquire(&key, 1) {
            again.settle(F);
        }
    }
    assert!(keys.try_acquire("newcomer", 1).is_ok());
    assert!(keys.try_acquire("newcomer", 1).is_err(), "and then it is one of them");
    drop(held);
    assert!(keys.try_acquire("resident", 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn h82_who_was_limited_in_a_shared_bucket_keeps_its_debt_when_it_gets_an_entry() {
    let keys = PerKey::new(1).rate_limit(RateLimiter::per_minute(10)).build().unwrap();
    assert_eq!(grants(&keys, "first", 1), 1);
    assert_eq!(grants(&keys, "second", 20), 10, "in a bucket");
    advance(6 * SECOND).await;
    assert_eq!(grants(&keys, "second", 20), 1, "in an entry of its own, with its debt");
    assert!(keys.snapshot("second").is_some() && keys.snapshot("first").is_none());
}

#[test]
fn e05_a_million_hostile_keys_stay_within_the_bound() {
    let config = PerKey::new(1_000_000).rate_limit(RateLimiter::per_hour(1)).circuit_breaker(CircuitBreaker::failure_rate(0.5));
    let (keys, now) = (config.build().unwrap(), Instant::now());
    // More than fit. What it holds at most at any time, freed or not, is counted by the allocator.
    let counted = measure(|| {
        for number in 0..1_250_000_u64 {
            if let Ok(permit) = keys.try_acquire_at(&number.to_string(), 1, now) {
                permit.settle_at(F, now);
            }
        }
    });
    println!("{} bytes a key", counted.bytes_max / 1_000_000);
    assert!(counted.bytes_max <= 160 * 1_000_000 + 192 * 1024, "{}", counted.bytes_max);
    assert_eq!(keys.len(), 1_000_000);
}

proptest::proptest! {
    /// A table that forgets answers as limiters do that forget nothing, as long as nobody has to share a bucket.
    #[test]
    fn whoever_is_forgotten_nobody_notices(
        burst in 1..4_u32,
        idle in 1..20_u32,
        steps in proptest::collection::vec((0..12_usize, 1..4_u32, 0..3_000_u32, 0..8_u8), 1..400),
    ) {
        let config = RateLimiter::per(1, 2 * SECOND).burst(burst);
        let keys = PerKey::new(6).rate_limit(config.clone()).idle(SECOND * idle).build().unwrap();
        let alone: Vec<_> = (0..12).map(|_| config.clone().build().unwrap()).collect();
        let mut now = Instant::now();
        for (key, cost, wait, kind) in steps {
            // Mostly a crowd of a few, and now and then a long pause.
            now += Duration::from_millis(u64::from(if kind == 0 { wait * 10 } else { wait }));
            let answer = keys.try_acquire_at(&key.to_string(), cost, now).map(drop);
            if keys.stats().shared > 0 {
                break;
            }
            proptest::prop_assert_eq!(answer, alone[key].try_acquire_at(cost, now), "{} at {:?}", key, now);
        }
    }
}

// ------------------------------------------------------------------ hostile keys, secrets, cost

#[tokio::test(start_paused = true)]
async fn h84_h86_keys_of_any_kind_cost_the_same_and_are_shown_to_nobody() {
    let keys = limited(100).statistics(true).build().unwrap();
    let long = "x".repeat(1_000_000);
    for key in ["", "\0", "a\r\nb", "\u{202e}", &long, "canary-4711"] {
        drop(keys.try_acquire(key, 1));
        let counted = measure(|| assert_eq!(grants(&keys, key, 5), 1));
        assert_eq!(counted.count_total, 0);
    }
    assert_eq!(keys.len(), 6);
    let shown = format!("{keys:?} {:?} {:?} {:?}", keys.stats(), keys.snapshot("canary-4711"), keys.most_rejected(9));
    assert!(!shown.contains("canary") && !shown.contains('\n') && !shown.contains("xxx"), "{shown}");
    assert!(keys.most_rejected(9).iter().all(|key| key.key().len() <= 64 && !key.key().contains(char::is_control)));
}

#[test]
fn h92_no_allocation_on_a_hit_or_a_refusal() {
    let keys = limited(100).circuit_breaker(CircuitBreaker::failure_rate(0.5)).bulkhead(Bulkhead::new(1)).statistics(true).build().unwrap();
    let open = PerKey::new(9).circuit_breaker(CircuitBreaker::consecutive_failures(1)).build().unwrap();
    open.try_acquire("a", 1).unwrap().settle(F);
    drop(keys.try_acquire("a", 1));
    drop(keys.try_acquire("b", 0));
    let counted = measure(|| {
        for _ in 0..1_000 {
            if let Ok(permit) = keys.try_acquire("a", 1) {
                assert!(keys.try_acquire("a", 0).is_err());
                permit.settle(S);
            }
            keys.try_acquire("b", 0).unwrap().settle(F.min_failure());
            assert!(open.try_acquire("a", 1).is_err());
        }
    });
    assert_eq!(counted.count_total, 0);
}

trait MinFailure {
    fn min_failure(self) -> Self;
}

impl MinFailure for Outcome {
    /// Not a failure: the circuit is to stay closed.
    fn min_failure(self) -> Self {
        Self::Judged(Verdict::Ignored)
    }
}

#[tokio::test(start_paused = true)]
async fn h88_a_refusal_of_a_key_in_which_others_wait_allocates_nothing() {
    let keys = PerKey::new(9).bulkhead(Bulkhead::new(1).queue(1)).build().unwrap();
    let _held = keys.try_acquire("a", 1).unwrap();
    let call = Call::now().for_key("a");
    let mut waits = pin!(keys.acquire(&call));
    assert!(poll(waits.as_mut()).is_pending());
    let counted = measure(|| {
        for _ in 0..1_000 {
            assert_eq!(kind(keys.try_acquire("a", 1)), Some(RejectedKind::BulkheadFull));
            let Poll::Ready(Err(rejected)) = poll(pin!(keys.acquire(&call)).as_mut()) else { panic!("no room in the queue") };
            assert_eq!(rejected.kind(), RejectedKind::BulkheadFull);
        }
    });
    assert_eq!(counted.count_total, 0);
}

// ------------------------------------------------------------------ waiting

#[tokio::test(start_paused = true)]
async fn callers_wait_for_the_rate_of_their_key() {
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_second(10).smooth().max_wait(SECOND)).build().unwrap();
    let started = Instant::now();
    let call = |key: &'static str| {
        let keys = keys.clone();
        async move {
            let answer = keys.acquire(&Call::now().for_key(key)).await.map(drop);
            (answer, started.elapsed().as_millis())
        }
    };
    let (a, b, c, d) = tokio::join!(call("a"), call("a"), call("a"), call("b"));
    let mut a = [a, b, c].map(|(answer, at)| (answer.is_ok(), at));
    a.sort();
    assert!(matches!(a, [(true, 0), (true, 100..=101), (true, 200..=201)]), "{a:?}");
    assert_eq!(d.1, 0, "another key waits for nobody");
    // Nobody waits any more: what they took is owed still.
    assert_eq!((keys.snapshot("a").unwrap().waiting, keys.snapshot("a").unwrap().available), (0, Some(0)));
    let Err(refused) = keys.try_acquire("a", 1) else { panic!("too early") };
    assert!(refused.retry_after().unwrap() > Duration::from_millis(97), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_has_taken_nothing() {
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_second(1).max_wait(10 * SECOND)).build().unwrap();
    let call = Call::now().for_key("a");
    drop(keys.acquire(&call).await.unwrap());
    {
        let mut waits: Vec<_> = (0..5).map(|_| Box::pin(keys.acquire(&call))).collect();
        waits.iter_mut().for_each(|wait| assert!(poll(wait.as_mut()).is_pending()));
        assert_eq!(keys.snapshot("a").unwrap().waiting, 5);
    }
    assert_eq!(keys.snapshot("a").unwrap().waiting, 0);
    assert_eq!(keys.try_acquire("a", 1).unwrap_err().retry_after(), Some(SECOND));
    advance(SECOND).await;
    assert!(keys.try_acquire("a", 1).is_ok());
}

fn queued() -> BulkheadConfig {
    Bulkhead::new(1).queue(10)
}

#[tokio::test(start_paused = true)]
async fn callers_wait_for_a_place_of_their_key_by_priority() {
    let keys = PerKey::new(9).bulkhead(queued()).statistics(true).build().unwrap();
    let held = keys.try_acquire("a", 1).unwrap();
    let (low, high) = (Call::now().for_key("a").priority(Priority::Low), Call::now().for_key("a").priority(Priority::High));
    let (mut low, mut high) = (pin!(keys.acquire(&low)), pin!(keys.acquire(&high)));
    assert!(poll(low.as_mut()).is_pending() && poll(high.as_mut()).is_pending());
    assert_eq!(keys.snapshot("a").unwrap().waiting, 2);
    assert_eq!(keys.snapshot("a").unwrap().in_use, Some(1));
    held.settle(S);
    let Poll::Ready(Ok(second)) = poll(high.as_mut()) else { panic!("it is the next") };
    assert!(poll(low.as_mut()).is_pending());
    drop(second);
    low.await.unwrap().settle(S);
    let now = keys.snapshot("a").unwrap();
    assert_eq!((now.in_use, now.waiting, now.counts.unwrap().successes), (Some(0), 0, 2));
    assert!(keys.try_acquire("a", 1).is_ok(), "and all is as before");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_opened_meanwhile_refuses_who_waited() {
    let keys = PerKey::new(9).bulkhead(queued()).circuit_breaker(CircuitBreaker::consecutive_failures(1)).build().unwrap();
    let held = keys.try_acquire("a", 1).unwrap();
    let call = Call::now().for_key("a");
    let mut waits = pin!(keys.acquire(&call));
    assert!(poll(waits.as_mut()).is_pending());
    held.settle(F);
    assert_eq!(kind(waits.await), Some(RejectedKind::CircuitOpen));
    assert_eq!(keys.snapshot("a").unwrap().in_use, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_wait_and_one_that_cannot_fit_is_refused_at_once() {
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_minute(1).max_wait(Duration::MAX)).bulkhead(queued()).build().unwrap();
    let held = keys.try_acquire("a", 1).unwrap();
    let started = Instant::now();
    let call = Call::now().for_key("a").within(10 * SECOND);
    assert_eq!(kind(keys.acquire(&call).await), Some(RejectedKind::RateLimited));
    let never = keys.acquire(&call.cost(2)).await.unwrap_err();
    assert_eq!((never.kind(), never.retry_after()), (RejectedKind::RateLimited, None));
    assert_eq!(started.elapsed(), Duration::ZERO);
    let free = call.cost(0);
    assert_eq!(kind(keys.acquire(&free).await), Some(RejectedKind::DeadlineExceeded));
    assert_eq!(started.elapsed(), 10 * SECOND);
    drop(held);
    assert!(keys.acquire(&Call::now().for_key("a").cost(0)).await.is_ok());
}

// ------------------------------------------------------------------ other settings

#[tokio::test(start_paused = true)]
async fn settings_change_and_what_is_owed_stays_owed() {
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_minute(10)).build().unwrap();
    assert_eq!((grants(&keys, "a", 4), grants(&keys, "b", 10)), (4, 10));
    let faster = PerKey::new(9).rate_limit(RateLimiter::per_minute(60).burst(10));
    assert_eq!(keys.reconfigure(&faster), Ok(true));
    assert_eq!(keys.config(), faster);
    assert_eq!((keys.snapshot("a").unwrap().available, keys.snapshot("b").unwrap().available), (Some(6), Some(0)));
    advance(SECOND).await;
    assert_eq!((grants(&keys, "a", 20), grants(&keys, "b", 20)), (7, 1));
    // More than one change between two calls of a key.
    for units in [5, 50, 500] {
        assert_eq!(keys.reconfigure(&PerKey::new(9).rate_limit(RateLimiter::per_minute(units).burst(10))), Ok(true));
    }
    assert_eq!(grants(&keys, "a", 20), 0);
    assert_eq!(keys.reconfigure(&limited(9).statistics(true)), Ok(false), "a policy more");
    assert!(keys.reconfigure(&PerKey::new(0)).is_err());
}

#[tokio::test(start_paused = true)]
async fn who_waits_goes_on_under_new_settings() {
    let config = |places| PerKey::new(9).bulkhead(Bulkhead::new(places).queue(10));
    let keys = config(1).build().unwrap();
    let _held = keys.try_acquire("a", 1).unwrap();
    let waits = {
        let keys = keys.clone();
        tokio::spawn(async move { keys.acquire(&Call::now().for_key("a")).await.map(drop) })
    };
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    keys.reconfigure(&config(2)).unwrap();
    assert_eq!(waits.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn fewer_keys_shrink_the_table_as_newcomers_come() {
    let keys = limited(100).build().unwrap();
    (0..100).for_each(|number| drop(keys.try_acquire(&number.to_string(), 1)));
    keys.reconfigure(&limited(10)).unwrap();
    advance(10 * SECOND).await;
    (0..200).for_each(|number| drop(keys.try_acquire(&format!("new {number}"), 0)));
    assert!(keys.len() <= 10, "{}", keys.len());
}

#[test]
fn every_fault_is_told() {
    let config = PerKey::new(0)
        .idle(Duration::ZERO)
        .rate_limit(RateLimiter::per_second(0).sliding_window())
        .circuit_breaker(CircuitBreaker::failure_rate(50.0).count_window(1_000).open_for_fn(|_| SECOND).ramp(SECOND).seed(1))
        .bulkhead(Bulkhead::new(0));
    let error = config.build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(
        fields,
        [
            "max_keys",
            "idle",
            "rate_limit.rate",
            "rate_limit.sliding_window",
            "circuit_breaker.failure_rate",
            "circuit_breaker.count_window",
            "circuit_breaker.open_for_fn",
            "circuit_breaker.ramp",
            "circuit_breaker.seed",
            "bulkhead.limit"
        ]
    );
    assert_eq!(PerKey::new(1).build().unwrap_err().faults()[0].field(), "policies");
}

#[test]
fn many_threads_share_a_table() {
    let keys = PerKey::new(64).rate_limit(RateLimiter::per_hour(1_000)).bulkhead(Bulkhead::new(100)).statistics(true).build().unwrap();
    let granted = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (keys, granted) = (&keys, &granted);
            scope.spawn(move || {
                for number in 0..5_000_u32 {
                    let key = if number % 2 == 0 { "hot".to_owned() } else { (number * 4 + thread).to_string() };
                    if let Ok(permit) = keys.try_acquire(&key, 1) {
                        granted.fetch_add(u64::from(key == "hot"), std::sync::atomic::Ordering::Relaxed);
                        permit.settle(S);
                    }
                }
            });
        }
    });
    assert_eq!(granted.into_inner(), 1_000);
    assert!(keys.len() <= 64);
    assert_eq!(keys.snapshot("hot").unwrap().in_use, Some(0));
    assert_eq!(keys.snapshot("hot").unwrap().counts.unwrap().successes, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiters_on_many_threads_all_come_to_their_turn() {
    let keys = PerKey::new(9).bulkhead(Bulkhead::new(2).queue(1_000)).statistics(true).build().unwrap();
    let running: std::sync::Arc<[std::sync::atomic::AtomicUsize; 2]> = std::sync::Arc::default();
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..400 {
        let (keys, running) = (keys.clone(), std::sync::Arc::clone(&running));
        callers.spawn(async move {
            let (which, key) = [(0, "a"), (1, "b")][number % 2];
            let permit = keys.acquire(&Call::now().for_key(key)).await.unwrap();
            assert!(running[which].fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2);
            tokio::task::yield_now().await;
            running[which].fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            permit.settle(S);
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    for key in ["a", "b"] {
        let now = keys.snapshot(key).unwrap();
        assert_eq!((now.in_use, now.waiting, now.counts.unwrap().successes), (Some(0), 0, 200));
    }
}

#[test]
fn what_every_type_may_be() {
    use static_assertions::assert_impl_all;
    assert_impl_all!(PerKey: Send, Sync, Unpin, Clone, std::fmt::Debug);
    assert_impl_all!(PerKeyConfig: Send, Sync, Unpin, Clone, std::fmt::Debug, PartialEq);
    assert_impl_all!(steadfast::KeyPermit<'static>: Send, Sync, Unpin, std::fmt::Debug);
    assert_impl_all!(steadfast::KeySnapshot: Send, Sync, Unpin, Clone, std::fmt::Debug);
    assert_impl_all!(steadfast::PerKeyStats: Send, Sync, Unpin, Clone, std::fmt::Debug);
    assert_impl_all!(steadfast::RejectedKey: Send, Sync, Unpin, Clone, std::fmt::Debug);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_waits_for_at_later_gates_is_not_the_time_of_its_operation() {
    let slow = CircuitBreaker::consecutive_failures(9).slow_calls(SECOND, 0.1).min_calls(2);
    let keys = PerKey::new(9).circuit_breaker(slow).statistics(true).build().unwrap();
    let places = Bulkhead::new(1).queue(9).build().unwrap();
    let pipeline = Pipeline::builder("p").per_key(keys.clone()).bulkhead(places.clone()).build().unwrap();
    for _ in 0..2 {
        let held = places.try_acquire().unwrap();
        let mut call = Box::pin(pipeline.key("a").call(|| async {
            sleep(SECOND / 2).await;
            Ok::<_, String>(())
        }));
        assert!(poll(call.as_mut()).is_pending());
        sleep(5 * SECOND).await;
        drop(held);
        assert_eq!(call.await, Ok(()));
    }
    let key = keys.snapshot("a").unwrap();
    assert_eq!((key.circuit, key.counts.unwrap().max), (Some(CircuitState::Closed), Some(SECOND / 2)));
}

/// A gate that takes its time, and then refuses everybody.
struct Shut(Duration);

impl Gate for Shut {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        Box::pin(async {
            sleep(self.0).await;
            Err(Rejected::new(RejectedKind::Custom("shut")))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn h06_units_that_were_waited_for_come_back_when_a_later_gate_refuses() {
    let config = || PerKey::new(9).rate_limit(RateLimiter::per_second(1).smooth().max_wait(10 * SECOND));
    // With a rate only, and with places that are given back by the same road.
    for keys in [config(), config().bulkhead(Bulkhead::new(5).queue(5))] {
        let keys = keys.build().unwrap();
        let pipeline = Pipeline::builder("p").per_key(keys.clone()).gate(Shut(Duration::ZERO)).build().unwrap();
        assert!(keys.try_acquire("a", 1).is_ok());
        let begun = Instant::now();
        // Each waits for the unit that the one before it has handed back, and for nothing else.
        for _ in 0..3 {
            let refused = pipeline.key("a").call(|| async { Ok::<_, String>(()) }).await.unwrap_err();
            assert_eq!((refused.kind(), begun.elapsed()), (Some(RejectedKind::Custom("shut")), SECOND));
        }
        let key = keys.snapshot("a").unwrap();
        assert_eq!((key.available, key.waiting, key.in_use.unwrap_or(0)), (Some(1), 0, 0));
        // One whose unit is used does not get it back.
        assert!(keys.acquire(&Call::now().for_key("a")).await.is_ok());
        assert_eq!(keys.snapshot("a").unwrap().available, Some(0));
    }
}

#[tokio::test(start_paused = true)]
async fn h06_units_that_were_had_at_once_come_back_to_those_who_wait_by_now() {
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_minute(1).smooth().max_wait(600 * SECOND)).build().unwrap();
    let pipeline = Pipeline::builder("p").per_key(keys.clone()).gate(Shut(SECOND)).build().unwrap();
    let begun = Instant::now();
    let refused = pipeline.key("a").call(|| async { Ok::<_, String>(()) });
    let waits = async {
        tokio::task::yield_now().await;
        keys.acquire(&Call::now().for_key("a")).await.map(|permit| permit.settle(S)).unwrap();
        begun.elapsed()
    };
    let (refused, waited) = tokio::join!(refused, waits);
    assert_eq!((refused.unwrap_err().kind(), waited), (Some(RejectedKind::Custom("shut")), SECOND));
    assert_eq!(keys.snapshot("a").unwrap().available, Some(0), "one unit, taken once");
    // And it is one only: the next comes when the minute is over.
    assert_eq!(kind(keys.try_acquire("a", 1)), Some(RejectedKind::RateLimited));
}

#[tokio::test(start_paused = true)]
async fn h06_what_time_has_made_good_is_not_handed_back_as_well() {
    // The unit is had at 0 s, refused at 70 s: by then the bucket is full without it.
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_minute(1).smooth().max_wait(600 * SECOND)).build().unwrap();
    let pipeline = Pipeline::builder("p").per_key(keys.clone()).gate(Shut(70 * SECOND)).build().unwrap();
    let begun = Instant::now();
    let refused = pipeline.key("a").call(|| async { Ok::<_, String>(()) });
    let others = async {
        tokio::task::yield_now().await;
        for at in [60, 120, 180] {
            keys.acquire(&Call::now().for_key("a")).await.unwrap().settle(S);
            assert_eq!(begun.elapsed(), at * SECOND);
        }
    };
    assert!(tokio::join!(refused, others).0.is_err());
}
