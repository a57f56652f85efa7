//! The rate limiter, seen from outside.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use static_assertions::assert_impl_all;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use steadfast::{Call, Priority, RateLimiter, RateLimiterConfig, RejectedKind, Reservation};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, advance, sleep};

assert_impl_all!(RateLimiter: Clone, Send, Sync, Unpin, std::fmt::Debug);
assert_impl_all!(RateLimiterConfig: Clone, Send, Sync, PartialEq, std::fmt::Debug);
assert_impl_all!(Reservation<'static>: Send, Sync);

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn build(config: RateLimiterConfig) -> RateLimiter {
    config.build().expect("valid")
}

/// When it would be granted, had it been refused now.
fn refusal(limiter: &RateLimiter, cost: u32, now: Instant) -> Option<Duration> {
    limiter.try_acquire_at(cost, now).expect_err("refused").retry_after()
}

/// A runtime whose time stands still, for tests that need many.
fn paused<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime").block_on(test)
}

/// How long the call waits for its turn; `None` when it is refused.
async fn waited(limiter: &RateLimiter, call: Call<'_>) -> Option<Duration> {
    let start = Instant::now();
    limiter.acquire(&call).await.ok().map(|()| start.elapsed())
}

// The bucket.

#[tokio::test(start_paused = true)]
async fn l07_a_bucket_of_one() {
    let limiter = build(RateLimiter::per_second(1));
    let t = Instant::now();
    assert!(limiter.try_acquire_at(1, t).is_ok());
    assert_eq!(refusal(&limiter, 1, t), Some(SECOND));
    let tick = Duration::from_nanos(1);
    assert_eq!(refusal(&limiter, 1, t + SECOND - tick), Some(tick));
    assert!(limiter.try_acquire_at(1, t + SECOND).is_ok());
    assert_eq!(refusal(&limiter, 1, t + SECOND), Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn l07_a_bucket_of_many_fills_at_the_rate_and_no_further() {
    for n in [2_u32, 3, 10, 100] {
        let limiter = build(RateLimiter::per_second(n));
        let mut t = Instant::now();
        let take_all = |t| (0..).take_while(|_| limiter.try_acquire_at(1, t).is_ok()).count();
        let interval = SECOND.div_f64(f64::from(n)) + Duration::from_nanos(1);
        assert_eq!(take_all(t), n as usize);
        t += interval;
        assert_eq!(take_all(t), 1, "after one interval");
        t += interval * n;
        assert_eq!(take_all(t), n as usize, "after n intervals");
        t += interval * (n + 5);
        assert_eq!(take_all(t), n as usize, "after n + 5 intervals");
        t += interval * (n / 2);
        assert_eq!(take_all(t), (n / 2) as usize, "after n / 2 intervals");
    }
}

#[test]
fn l07_a_hundred_threads_at_one_unit_and_exactly_one_passes() {
    let limiter = build(RateLimiter::per_hour(1));
    let passed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| limiter.try_acquire(1).is_ok())).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|passed| *passed).count()
    });
    assert_eq!(passed, 1);
}

#[tokio::test(start_paused = true)]
async fn l11_no_double_burst_at_the_edge_of_a_second() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window()] {
        let limiter = build(config);
        let t = Instant::now();
        assert!((0..10).all(|_| limiter.try_acquire_at(1, t + ms(999)).is_ok()));
        assert!((0..10).all(|_| limiter.try_acquire_at(1, t + ms(1001)).is_err()));
    }
    let limiter = build(RateLimiter::per_second(10));
    let t = Instant::now();
    assert!((0..10).all(|_| limiter.try_acquire_at(1, t).is_ok()));
    let passed: Vec<u64> = (1..=1000).filter(|at| limiter.try_acquire_at(1, t + ms(*at)).is_ok()).collect();
    assert_eq!(passed, (1..=10).map(|n| n * 100).collect::<Vec<_>>(), "then one every 100 ms");
}

#[tokio::test(start_paused = true)]
async fn a_cost_that_never_fits_is_refused_without_a_time_and_a_cost_of_nothing_is_free() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window(), RateLimiter::per_second(10).max_wait(HOUR)] {
        let limiter = build(config);
        let refused = limiter.acquire(&Call::now().cost(11)).await.expect_err("never");
        assert_eq!((refused.kind(), refused.retry_after()), (RejectedKind::RateLimited, None));
        assert!(limiter.try_acquire(11).is_err_and(|refused| refused.retry_after().is_none()));
        assert!(limiter.try_acquire(10).is_ok());
        assert!((0..100).all(|_| limiter.try_acquire(0).is_ok()));
        assert!(limiter.acquire(&Call::now().cost(0)).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn l06_a_refusal_leaves_the_state_unchanged() {
    for config in [RateLimiter::per_second(10).smooth(), RateLimiter::per(1, ms(100)).sliding_window()] {
        let limiter = build(config.max_wait(Duration::MAX));
        assert_eq!(waited(&limiter, Call::now()).await, Some(Duration::ZERO));
        let start = Instant::now();
        let late = limiter.acquire(&Call::now().within(ms(10))).await.expect_err("too late");
        assert_eq!((late.kind(), late.retry_after()), (RejectedKind::RateLimited, Some(ms(100))));
        let calls = [ms(101), ms(201), ms(101)].map(|within| waited(&limiter, Call::now().within(within)));
        let [a, b, c] = calls;
        assert_eq!(tokio::join!(a, b, c), (Some(ms(100)), Some(ms(200)), None));
        assert_eq!(start.elapsed(), ms(200), "what cannot fit is refused at once, and takes nothing");
    }
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(ms(100)));
    let (a, b, c) = tokio::join!(waited(&limiter, Call::now()), waited(&limiter, Call::now()), waited(&limiter, Call::now()));
    assert_eq!((a, b, c), (Some(Duration::ZERO), Some(ms(100)), None), "exactly max_wait still fits");
}

#[tokio::test(start_paused = true)]
async fn l04_seven_at_once_waits_as_long_as_seven_in_turn() {
    for units in [10, 300, 700] {
        let config = RateLimiter::per_second(units).burst(7).max_wait(HOUR);
        let (one, many) = (build(config.clone()), build(config));
        assert!(one.try_acquire(7).is_ok());
        let at_once = waited(&one, Call::now().cost(7)).await.expect("granted");
        assert!(many.try_acquire(7).is_ok());
        let (start, call) = (Instant::now(), Call::now());
        let turns = futures_util::future::join_all((0..7).map(|_| many.acquire(&call))).await;
        assert!(turns.into_iter().all(|granted| granted.is_ok()));
        assert_eq!(start.elapsed(), at_once, "{units}/s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reservation_dropped_unused_is_handed_back() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window()] {
        let limiter = build(config);
        let kept = limiter.reserve(&Call::now().cost(4)).expect("room");
        let dropped = limiter.reserve(&Call::now().cost(6)).expect("room");
        assert!(limiter.reserve(&Call::now()).is_err());
        kept.keep();
        drop(dropped);
        assert_eq!(limiter.available(), 6);
    }
}

#[tokio::test(start_paused = true)]
async fn what_time_has_made_good_is_not_handed_back_again() {
    let limiter = build(RateLimiter::per_second(10));
    let reserved: Vec<_> = (0..10).map(|_| limiter.reserve(&Call::now()).expect("room")).collect();
    advance(ms(500)).await;
    assert_eq!(limiter.available(), 5);
    drop(reserved);
    assert_eq!(limiter.available(), 10, "full, and not fuller");
    assert!(limiter.try_acquire(10).is_ok());
    assert_eq!(refusal(&limiter, 1, Instant::now()), Some(ms(100)));

    let limiter = build(RateLimiter::per_second(10));
    let early = limiter.reserve(&Call::now()).expect("room");
    advance(SECOND).await;
    assert!(limiter.try_acquire(10).is_ok(), "full long since");
    drop(early);
    assert_eq!(limiter.available(), 0, "an eleventh would break the quota");
}

// Changes while it runs.

#[tokio::test(start_paused = true)]
async fn l10_a_change_of_rate_keeps_the_debt_and_refills_nothing() {
    let limiter = build(RateLimiter::per_second(10));
    assert!(limiter.try_acquire(10).is_ok());
    for (units, burst) in [(1000, 1000), (1, 1), (10, 10), (7, 3), (10, 10)] {
        limiter.set_rate(units, SECOND).expect("valid");
        limiter.set_burst(burst).expect("valid");
        assert_eq!(limiter.available(), 0, "{units}/s, burst {burst}");
    }
}

#[tokio::test(start_paused = true)]
async fn l10_units_owed_are_paid_off_at_the_new_rate() {
    let limiter = build(RateLimiter::per_second(10).burst(10));
    assert!(limiter.try_acquire(10).is_ok());
    limiter.set_rate(1, SECOND).expect("valid");
    assert_eq!(refusal(&limiter, 1, Instant::now()), Some(SECOND));
    advance(SECOND * 4).await;
    assert_eq!(limiter.available(), 4);
    limiter.set_rate(100, SECOND).expect("valid");
    assert_eq!(limiter.available(), 4);
    advance(ms(60)).await;
    assert_eq!(limiter.available(), 10);
    limiter.set_burst(5).expect("valid");
    assert_eq!(limiter.available(), 5);
    limiter.set_burst(10).expect("valid");
    assert_eq!(limiter.available(), 5, "what is there does not grow by the change");
}

#[tokio::test(start_paused = true)]
async fn l10_waiters_keep_their_places_through_a_change() {
    let limiter = build(RateLimiter::per_second(1).max_wait(HOUR));
    assert!(limiter.try_acquire(1).is_ok());
    let order = RefCell::new(Vec::new());
    let start = Instant::now();
    let wait = |name| {
        let (limiter, order) = (&limiter, &order);
        async move {
            limiter.acquire(&Call::now()).await.expect("granted");
            order.borrow_mut().push((name, start.elapsed()));
        }
    };
    let change = async {
        sleep(ms(500)).await;
        limiter.set_rate(10, SECOND).expect("valid"); // half a unit was owed still: 50 ms
        assert_eq!(limiter.waiting(), 3);
    };
    tokio::join!(wait("a"), wait("b"), wait("c"), change);
    assert_eq!(*order.borrow(), [("a", ms(550)), ("b", ms(650)), ("c", ms(750))]);
}

#[tokio::test(start_paused = true)]
async fn h47_a_cost_that_a_change_made_impossible_is_refused() {
    let limiter = build(RateLimiter::per_second(10).max_wait(Duration::MAX));
    assert!(limiter.try_acquire(10).is_ok());
    let call = Call::now().cost(8);
    let shrink = async {
        sleep(ms(100)).await;
        limiter.set_burst(5).expect("valid");
    };
    let (refused, ()) = tokio::join!(limiter.acquire(&call), shrink);
    assert_eq!(refused.expect_err("never").retry_after(), None);
    assert_eq!(limiter.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn h47_a_bad_change_changes_nothing() {
    let limiter = build(RateLimiter::per_second(10));
    let before = limiter.config();
    assert!(limiter.set_rate(0, SECOND).is_err());
    assert!(limiter.set_rate(1, Duration::ZERO).is_err());
    assert!(limiter.set_burst(0).is_err());
    assert!(build(RateLimiter::per_second(10).sliding_window()).set_burst(5).is_err());
    assert_eq!(limiter.config(), before);
}

// The line.

#[tokio::test(start_paused = true)]
async fn l12_a_dropped_waiter_moves_all_later_ones_up() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(HOUR));
    assert!(limiter.try_acquire(1).is_ok());
    let dropped = async { tokio::time::timeout(ms(50), limiter.acquire(&Call::now())).await.is_err() };
    let (gone, next, last) = tokio::join!(dropped, waited(&limiter, Call::now()), waited(&limiter, Call::now()));
    assert!(gone);
    assert_eq!((next, last), (Some(ms(100)), Some(ms(200))), "one interval less each");
}

#[tokio::test(start_paused = true)]
async fn h06_a_thousand_dropped_waiters_leave_no_debt() {
    let limiter = build(RateLimiter::per_second(100).smooth().max_wait(HOUR));
    assert!(limiter.try_acquire(1).is_ok());
    let call = Call::now();
    let calls = futures_util::future::join_all((0..1000).map(|_| limiter.acquire(&call)));
    drop(tokio::time::timeout(Duration::from_micros(100), calls).await);
    assert_eq!(limiter.waiting(), 0);
    assert!(waited(&limiter, Call::now()).await <= Some(ms(10)));
}

#[tokio::test(start_paused = true)]
async fn h21_a_waiter_alive_but_unpolled_does_not_hold_up_the_others() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(HOUR));
    assert!(limiter.try_acquire(1).is_ok());
    let call = Call::now();
    let mut parked = pin!(limiter.acquire(&call));
    assert!(poll_fn(|cx| std::task::Poll::Ready(parked.as_mut().poll(cx))).await.is_pending());
    let start = Instant::now();
    let waits = tokio::join!(waited(&limiter, Call::now()), waited(&limiter, Call::now()));
    assert_eq!(waits, (Some(ms(100)), Some(ms(200))), "each at its moment");
    parked.await.expect("it kept its place");
    assert_eq!(start.elapsed(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn h61_first_come_first_served_and_nobody_overtakes() {
    let limiter = build(RateLimiter::per_second(100).smooth().max_wait(HOUR));
    let order = Rc::new(RefCell::new(Vec::new()));
    let local = LocalSet::new();
    for number in 0..1000 {
        let (limiter, order) = (limiter.clone(), Rc::clone(&order));
        local.spawn_local(async move {
            limiter.acquire(&Call::now()).await.expect("granted");
            order.borrow_mut().push(number);
        });
    }
    let newcomer = limiter.clone();
    local.spawn_local(async move {
        while newcomer.waiting() > 0 {
            assert!(newcomer.try_acquire(1).is_err(), "a newcomer overtook");
            sleep(ms(5)).await;
        }
    });
    local.await;
    assert!(order.borrow().is_sorted());
    assert_eq!(order.borrow().len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn priorities_go_first_and_critical_before_everybody() {
    let limiter = build(RateLimiter::per_second(1).max_wait(HOUR).ageing(Duration::MAX));
    assert!(limiter.try_acquire(1).is_ok());
    let order = RefCell::new(Vec::new());
    let wait = |priority, after| {
        let (limiter, order) = (&limiter, &order);
        async move {
            sleep(after).await;
            limiter.acquire(&Call::now().priority(priority)).await.expect("granted");
            order.borrow_mut().push(priority);
        }
    };
    tokio::join!(
        wait(Priority::Background, ms(1)),
        wait(Priority::Low, ms(2)),
        wait(Priority::Normal, ms(3)),
        wait(Priority::High, ms(4)),
        wait(Priority::Critical, ms(5)),
    );
    assert_eq!(*order.borrow(), Priority::ALL);
}

#[tokio::test(start_paused = true)]
async fn critical_is_immediate_when_units_are_there_and_does_not_break_the_quota() {
    let limiter = build(RateLimiter::per_second(10).max_wait(HOUR));
    assert!(limiter.try_acquire(8).is_ok());
    let (big, high) = (Call::now().cost(10), Call::now().priority(Priority::Critical));
    let critical = async {
        sleep(ms(1)).await;
        assert_eq!(limiter.waiting(), 1);
        assert_eq!(waited(&limiter, high).await, Some(Duration::ZERO));
        assert_eq!(waited(&limiter, high).await, Some(Duration::ZERO));
        assert_eq!(waited(&limiter, high).await, Some(ms(99)));
        assert!(limiter.try_acquire(1).is_err(), "others do not overtake");
    };
    let (big, ()) = tokio::join!(waited(&limiter, big), critical);
    assert_eq!(big, Some(ms(1100)));
}

#[tokio::test(start_paused = true)]
async fn h61_critical_calls_do_not_overtake_each_other() {
    let limiter = build(RateLimiter::per_second(10).max_wait(HOUR));
    assert!(limiter.try_acquire(10).is_ok());
    let critical = Call::now().priority(Priority::Critical);
    let newcomers = async {
        for _ in 0..50 {
            sleep(ms(100)).await;
            if limiter.reserve(&critical).map(Reservation::keep).is_ok() {
                assert_eq!(limiter.waiting(), 0, "a newcomer overtook one as important as itself");
            }
        }
    };
    let (big, ()) = tokio::join!(waited(&limiter, critical.cost(10)), newcomers);
    assert_eq!(big, Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn h59_ageing_keeps_low_priority_alive() {
    let limiter = build(RateLimiter::per_second(20).max_wait(HOUR));
    let local = LocalSet::new();
    let served = Rc::new(Cell::new([0_u32; 2]));
    let longest = Rc::new(Cell::new(Duration::ZERO));
    let end = Instant::now() + HOUR;
    for worker in 0..110 {
        let (limiter, served, longest) = (limiter.clone(), Rc::clone(&served), Rc::clone(&longest));
        let (index, priority) = if worker < 100 { (0, Priority::Normal) } else { (1, Priority::Low) };
        local.spawn_local(async move {
            while Instant::now() < end {
                let wait = waited(&limiter, Call::now().priority(priority)).await.expect("granted");
                let mut counts = served.get();
                counts[index] += 1;
                served.set(counts);
                longest.set(longest.get().max(wait));
            }
        });
    }
    local.await;
    let [normal, low] = served.get();
    assert!(f64::from(low) >= 0.05 * f64::from(normal + low), "{low} of {}", normal + low);
    assert!(longest.get() <= SECOND * 10, "{:?}", longest.get());
}

#[tokio::test(start_paused = true)]
async fn h62_a_big_request_is_served_among_small_ones() {
    let limiter = build(RateLimiter::per_second(100).max_wait(HOUR));
    let local = LocalSet::new();
    assert!(limiter.try_acquire(100).is_ok());
    let small = Rc::new(Cell::new(Duration::ZERO));
    for at in 0..300 {
        let (limiter, small) = (limiter.clone(), Rc::clone(&small));
        local.spawn_local(async move {
            sleep(ms(at * 10)).await;
            small.set(small.get().max(waited(&limiter, Call::now()).await.expect("granted")));
        });
    }
    let big = local.run_until(async {
        sleep(ms(500)).await;
        waited(&limiter, Call::now().cost(100)).await.expect("granted")
    });
    let big = big.await;
    assert!(big <= SECOND * 2, "{big:?}");
    local.await;
    assert!(small.get() <= SECOND * 2, "{:?}", small.get());
}

#[tokio::test(start_paused = true)]
async fn x15_a_wait_that_cannot_fit_is_refused_at_once() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(ms(250)));
    let calls = futures_util::future::join_all((0..5).map(|_| waited(&limiter, Call::now()))).await;
    assert_eq!(calls, [Some(ms(0)), Some(ms(100)), Some(ms(200)), None, None]);
    let start = Instant::now();
    let deadline = Call::now().within(ms(50));
    let refused = limiter.acquire(&deadline).await.expect_err("too late");
    assert_eq!((refused.kind(), refused.retry_after(), start.elapsed()), (RejectedKind::RateLimited, Some(ms(100)), Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_pushed_past_its_limit_is_refused_when_its_time_is_over() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(ms(150)));
    assert!(limiter.try_acquire(1).is_ok());
    let start = Instant::now();
    let normal = async { (limiter.acquire(&Call::now()).await.map_err(|refused| refused.kind()), start.elapsed()) };
    let high = async {
        sleep(ms(50)).await;
        waited(&limiter, Call::now().priority(Priority::High)).await
    };
    let ((refused, after), high) = tokio::join!(normal, high);
    assert_eq!(high, Some(ms(50)));
    assert_eq!(refused, Err(RejectedKind::RateLimited));
    assert!(after >= ms(100) && after <= ms(150), "{after:?}");
}

#[test]
fn x08_waiters_dropped_at_random_lose_no_turn_and_no_wake_up() {
    // Who gives up when, in units of 10 ms from 5 ms on; turns come every 10 ms.
    let strategy = prop::collection::vec(prop::option::of(0..20_u64), 1..20);
    let run = |patience: Vec<Option<u64>>| {
        let mut line: std::collections::VecDeque<_> = patience.iter().copied().enumerate().collect();
        let mut expected = vec![None; patience.len()];
        for turn in 1_u64.. {
            while line.front().is_some_and(|(_, gives_up)| gives_up.is_some_and(|at| at < turn)) {
                line.pop_front();
            }
            let Some((index, _)) = line.pop_front() else { break };
            expected[index] = Some(ms(turn * 10));
        }
        let found = paused(async {
            let limiter = build(RateLimiter::per_second(100).smooth().max_wait(HOUR));
            assert!(limiter.try_acquire(1).is_ok());
            let start = Instant::now();
            let mut tasks = JoinSet::new();
            for (index, gives_up) in patience.into_iter().enumerate() {
                let limiter = limiter.clone();
                tasks.spawn(async move {
                    let within = gives_up.map_or(HOUR, |at| ms(at * 10 + 5));
                    let granted = tokio::time::timeout(within, limiter.acquire(&Call::now())).await;
                    (index, granted.ok().map(|granted| granted.map(|()| start.elapsed()).expect("granted")))
                });
            }
            let mut found = tasks.join_all().await;
            assert_eq!(limiter.waiting(), 0);
            found.sort_unstable();
            found.into_iter().map(|(_, granted)| granted).collect::<Vec<_>>()
        });
        assert_eq!(found, expected);
    };
    let mut runner = TestRunner::new(ProptestConfig::with_cases(1_000));
    let outcome = runner.run(&strategy, |patience| {
        run(patience);
        Ok(())
    });
    outcome.expect("holds");
}

#[tokio::test(start_paused = true)]
async fn no_waiter_spins() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(HOUR));
    assert!(limiter.try_acquire(1).is_ok());
    let calls = (0..100).map(|_| async {
        let (call, polls) = (Call::now(), Cell::new(0));
        let mut wait = pin!(limiter.acquire(&call));
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            wait.as_mut().poll(cx)
        })
        .await
        .expect("granted");
        polls.get()
    });
    let local = LocalSet::new();
    let polls = local.run_until(futures_util::future::join_all(calls)).await;
    // All of them are one task here; each is polled only when its own waker was called.
    assert!(polls.iter().all(|polls| *polls <= 8), "{polls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_comes_while_it_waits_ends_the_wait() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(HOUR));
    assert!(limiter.try_acquire(1).is_ok());
    let start = Instant::now();
    let call = Call::now().within(ms(150));
    let normal = async { (limiter.acquire(&call).await.map_err(|refused| refused.kind()), start.elapsed()) };
    let critical = async {
        sleep(ms(50)).await;
        limiter.try_acquire(1).expect_err("the waiter is before it");
        waited(&limiter, Call::now().priority(Priority::Critical)).await
    };
    let ((refused, after), critical) = tokio::join!(normal, critical);
    assert_eq!(critical, Some(ms(50)), "the turn was the waiter's, and the next comes too late for it");
    assert!(matches!(refused, Err(RejectedKind::RateLimited | RejectedKind::DeadlineExceeded)), "{refused:?}");
    assert!(after >= ms(50) && after <= ms(150), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn units_handed_back_let_the_first_in_line_go_sooner() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window()] {
        let limiter = build(config.max_wait(HOUR));
        let reserved = limiter.reserve(&Call::now().cost(10)).expect("room");
        let give_back = async {
            sleep(ms(50)).await;
            drop(reserved);
        };
        let (wait, ()) = tokio::join!(waited(&limiter, Call::now().cost(5)), give_back);
        assert_eq!(wait, Some(ms(50)));
    }
}

#[tokio::test(start_paused = true)]
async fn units_handed_back_wake_who_waits_in_another_task() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window()] {
        let limiter = build(config.max_wait(HOUR));
        let reserved = limiter.reserve(&Call::now().cost(10)).expect("room");
        let other = limiter.clone();
        let waiter = tokio::spawn(async move { waited(&other, Call::now().cost(5)).await });
        sleep(ms(50)).await;
        drop(reserved);
        assert_eq!(waiter.await.expect("no panic"), Some(ms(50)));
    }
}

#[tokio::test(start_paused = true)]
async fn who_will_not_wait_goes_behind_all_who_do() {
    let limiter = build(RateLimiter::per_second(10).max_wait(HOUR));
    assert!(limiter.try_acquire(5).is_ok());
    let big = Call::now().cost(10).priority(Priority::Background);
    let newcomer = async {
        sleep(ms(100)).await;
        let refused = limiter.try_acquire(1).expect_err("somebody stands in line");
        assert_eq!(refused.retry_after(), Some(ms(500)), "when the big one has gone and one more has come");
        assert!(limiter.reserve(&Call::now().priority(Priority::High)).is_err());
        drop(limiter.reserve(&Call::now().priority(Priority::Critical)).expect("before everybody"));
        assert_eq!(waited(&limiter, Call::now()).await, Some(Duration::ZERO), "who stands in line goes by priority");
    };
    let (wait, ()) = tokio::join!(waited(&limiter, big), newcomer);
    assert_eq!(wait, Some(ms(600)));
}

#[test]
fn the_wait_may_move_between_threads() {
    fn assert_send(_: impl Send) {}
    let limiter = build(RateLimiter::per_second(10));
    assert_send(limiter.acquire(&Call::now()));
}

#[tokio::test(start_paused = true)]
async fn h88_the_queue_is_bounded() {
    let limiter = build(RateLimiter::per_second(1).max_wait(Duration::MAX).queue(10));
    let call = Call::now();
    let calls = futures_util::future::join_all((0..1000).map(|_| limiter.acquire(&call)));
    let refused = calls.await.into_iter().filter(Result::is_err).count();
    assert_eq!(refused, 1000 - 11);
}

#[test]
fn a_wait_outside_a_runtime_is_refused_and_does_not_panic() {
    let limiter = build(RateLimiter::per_hour(1).max_wait(Duration::MAX));
    let call = Call::now();
    assert!(tokio_test::task::spawn(limiter.acquire(&call)).poll().is_ready());
    match tokio_test::task::spawn(limiter.acquire(&call)).poll() {
        std::task::Poll::Ready(Err(refused)) => assert_eq!(refused.kind(), RejectedKind::NoRuntime),
        other => panic!("{other:?}"),
    }
}

#[test]
fn h125_dropped_with_its_runtime_gone() {
    let limiter = build(RateLimiter::per_hour(1).max_wait(Duration::MAX));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    for _ in 0..1000 {
        let limiter = limiter.clone();
        runtime.spawn(async move { limiter.acquire(&Call::now()).await });
    }
    let reservation = limiter.clone();
    runtime.shutdown_timeout(Duration::ZERO);
    drop(reservation.reserve(&Call::now().cost(0)));
    drop(limiter);
}

// Extreme values.

#[test]
fn h29_h35_what_cannot_work_is_a_fault_with_field_value_and_fix() {
    let years = |n: u64| Duration::from_secs(n * 365 * 24 * 3600);
    let fields = |config: RateLimiterConfig| {
        let error = config.build().expect_err("must not build");
        error.faults().iter().map(|fault| fault.field().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(fields(RateLimiter::per_second(0)), ["rate"]);
    assert_eq!(fields(RateLimiter::per(0, Duration::ZERO).burst(0)), ["rate", "period", "burst"]);
    assert_eq!(fields(RateLimiter::per(1, years(584)).burst(u32::MAX)), ["period"]);
    assert_eq!(fields(RateLimiter::per(1, Duration::MAX)), ["period"]);
    assert_eq!(fields(RateLimiter::per(1, years(1)).burst(u32::MAX)), ["burst"]);
    assert_eq!(fields(RateLimiter::per(2, Duration::from_nanos(1))), ["rate"]);
    assert_eq!(fields(RateLimiter::per_second(u32::MAX)), ["rate"]);
    assert_eq!(fields(RateLimiter::per_second(10).burst(3).sliding_window()), ["burst"]);
    assert_eq!(fields(RateLimiter::per_hour(u32::MAX).sliding_window()), ["rate"]);
    assert_eq!(fields(RateLimiter::per_second(10).max_wait(SECOND).queue(0)), ["queue"]);
    assert_eq!(fields(RateLimiter::per_second(10).queue(usize::MAX)), ["queue"]);
    let fault = RateLimiter::per(1, Duration::from_secs(60)).burst(u32::MAX).build().expect_err("8,000 years").to_string();
    assert_eq!(
        fault,
        "rate limiter cannot be built, 1 problem:\n  burst: 4294967295 would take longer than 73 years to fill; choose a smaller burst or a higher rate"
    );
    for config in [RateLimiter::per_hour(u32::MAX), RateLimiter::per(1, Duration::from_nanos(1)), RateLimiter::per_second(1_000_000_000)] {
        assert!(config.build().is_ok_and(|limiter| limiter.try_acquire(1).is_ok()));
    }
}

#[tokio::test(start_paused = true)]
async fn h28_forever_everywhere() {
    let config = RateLimiter::per_second(2).max_wait(Duration::MAX).ageing(Duration::MAX).queue(1_000_000);
    for config in [config.clone(), config.sliding_window()] {
        let limiter = build(config);
        for _ in 0..100 {
            assert!(limiter.acquire(&Call::now().within(Duration::MAX).priority(Priority::Background)).await.is_ok());
        }
        advance(HOUR * 24 * 365).await;
        assert_eq!(limiter.available(), 2);
        assert!(limiter.try_acquire_at(2, Instant::now() + HOUR * 24 * 365 * 100).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn h32_a_leap_forward_gives_one_burst_and_no_more() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(7), RateLimiter::per_second(10).sliding_window()] {
        let burst = config.clone();
        let limiter = build(config);
        let t = Instant::now();
        assert!(limiter.try_acquire_at(1, t).is_ok());
        let later = t + HOUR * 24 * 3650;
        let passed = (0..1000).filter(|_| limiter.try_acquire_at(1, later).is_ok()).count();
        assert!(passed == 10 || passed == 7, "{burst:?}: {passed}");
        assert!(refusal(&limiter, 1, later) <= Some(SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn h33_a_clock_that_goes_back_denies_for_no_longer_than_an_interval() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).smooth(), RateLimiter::per(10, SECOND).sliding_window()] {
        let interval = if config == RateLimiter::per(10, SECOND).sliding_window() { SECOND } else { ms(100) };
        let limiter = build(config);
        let mut t = Instant::now() + HOUR * 200;
        while limiter.try_acquire_at(1, t).is_ok() {}
        for _ in 0..100 {
            t -= HOUR;
            let wait = refusal(&limiter, 1, t).expect("a time");
            assert!(wait <= interval, "{wait:?}");
            assert!(limiter.try_acquire_at(1, t + interval).is_ok());
            while limiter.try_acquire_at(1, t + interval).is_ok() {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h33_a_late_clock_reading_gives_no_credit() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window()] {
        let limiter = build(config);
        let t = Instant::now() + SECOND;
        assert!(limiter.try_acquire_at(10, t).is_ok());
        assert!((0..900).all(|late| limiter.try_acquire_at(1, t - ms(late)).is_err()));
        assert!(limiter.try_acquire_at(1, t + ms(99)).is_err());
        assert_eq!(limiter.available_at(t), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn h33_a_reading_that_is_seconds_old_gives_no_credit() {
    for config in [RateLimiter::per_second(10), RateLimiter::per_second(10).sliding_window()] {
        let limiter = build(config);
        let old = Instant::now(); // and then its thread was held up
        advance(SECOND * 10).await;
        assert!(limiter.try_acquire(10).is_ok());
        assert!(limiter.try_acquire_at(1, old).is_err());
        assert_eq!(limiter.available(), 0, "nothing comes back by it");
        advance(ms(99)).await;
        assert!(limiter.try_acquire(1).is_err());
    }
}

// Exactness.

#[test]
fn h36_every_rate_per_minute_is_exact_over_ten_minutes() {
    paused(async {
        let t = Instant::now();
        for rpm in 1..=1_000_000_u32 {
            let limiter = build(RateLimiter::per_minute(rpm).burst(rpm * 10));
            assert!(limiter.try_acquire_at(rpm * 10, t).is_ok());
            let mut admitted = 0;
            for at in [1_234_567_891, 71_000_000_003, 599_999_999_999, 600_000_000_000] {
                let now = t + Duration::from_nanos(at);
                let cost = limiter.available_at(now);
                assert!(limiter.try_acquire_at(cost, now).is_ok());
                admitted += cost;
            }
            assert!(admitted.abs_diff(rpm * 10) <= 1, "{rpm}/min: {admitted} in 10 min");
        }
    });
}

#[test]
fn h36_a_smooth_rate_is_exact_call_by_call() {
    paused(async {
        for rpm in [7, 60, 700, 999, 59_999] {
            let limiter = build(RateLimiter::per_minute(rpm).smooth());
            let start = Instant::now();
            let (mut now, mut admitted) = (start, 0);
            while now < start + SECOND * 600 {
                match limiter.try_acquire_at(1, now) {
                    Ok(()) => admitted += 1,
                    Err(refused) => now += refused.retry_after().expect("a time"),
                }
            }
            assert!(u32::abs_diff(admitted, rpm * 10) <= 1, "{rpm}/min: {admitted} in 10 min");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn h37_a_million_a_second_with_a_timer_of_a_millisecond() {
    let limiter = build(RateLimiter::per_second(1_000_000).max_wait(SECOND));
    assert!(limiter.try_acquire(1_000_000).is_ok());
    let (start, polls, count) = (Instant::now(), Cell::new(0), Cell::new(0));
    let mut work = pin!(async {
        while start.elapsed() < SECOND {
            limiter.acquire(&Call::now()).await.expect("granted");
            count.set(count.get() + 1);
        }
    });
    poll_fn(|cx| {
        polls.set(polls.get() + 1);
        work.as_mut().poll(cx)
    })
    .await;
    assert!((990_000..=1_010_000).contains(&count.get()), "{} granted", count.get());
    assert!(polls.get() <= 2_000, "{} polls", polls.get());
}

#[tokio::test(start_paused = true)]
async fn h37_waiters_of_a_smooth_limiter_get_the_full_rate_whatever_the_timer() {
    for rate in [300, 700, 3_000] {
        let limiter = build(RateLimiter::per_second(rate).smooth().max_wait(HOUR).queue(10_000));
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..rate * 2 {
            let limiter = limiter.clone();
            tasks.spawn(async move { limiter.acquire(&Call::now()).await });
        }
        assert!(tasks.join_all().await.into_iter().all(|granted| granted.is_ok()));
        let took = start.elapsed();
        assert!(took > ms(1990) && took <= ms(2002), "{rate}/s: {took:?}");
    }
}

/// The most grants in any interval `[t, t + length)`.
fn most_in(grants: &[(u64, u64)], length: u64) -> u64 {
    let (mut most, mut sum, mut first) = (0, 0, 0);
    for (at, cost) in grants {
        sum += cost;
        while grants[first].0 + length <= *at {
            sum -= grants[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

#[tokio::test(start_paused = true)]
async fn h65_no_window_holds_more_than_the_limit_at_any_offset() {
    for (config, most) in [
        (RateLimiter::per_second(100).sliding_window(), 100),
        (RateLimiter::per_second(100), 200),
        (RateLimiter::per_second(100).smooth(), 100),
    ] {
        for offset in (0..1000).step_by(37) {
            let limiter = build(config.clone());
            let start = Instant::now();
            // Quiet until the edge, then as much as it lets through at each millisecond.
            let greedy = (offset..10_000).filter_map(|at| {
                let granted = (0..300).take_while(|_| limiter.try_acquire_at(1, start + ms(at)).is_ok()).count();
                (granted > 0).then_some((at, granted as u64))
            });
            let grants: Vec<_> = greedy.collect();
            let found = most_in(&grants, 1000);
            assert!(found <= most, "{config:?}: {found} in a second");
            assert!(grants.iter().map(|grant| grant.1).sum::<u64>() >= (10_000 - offset) / 10 - 100, "the full rate");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h37_the_credit_for_the_timer_is_a_millisecond_once_not_for_each() {
    for (rate, burst) in [(300, 1), (700, 5), (3_000, 1), (50_000, 20)] {
        let limiter = build(RateLimiter::per_second(rate).burst(burst).max_wait(HOUR).queue(100_000));
        let (start, grants) = (Instant::now(), RefCell::new(Vec::new()));
        let call = Call::now();
        let waiters = (0..rate / 2).map(|_| async {
            limiter.acquire(&call).await.expect("granted");
            grants.borrow_mut().push((start.elapsed().as_nanos() as u64, 1));
        });
        futures_util::future::join_all(waiters).await;
        for length in [1, 2, 5, 20, 100] {
            let most = u64::from(burst) + u64::from(rate) * (length + 1) / 1000;
            let found = most_in(&grants.borrow(), length * 1_000_000);
            assert!(found <= most, "{rate}/s, burst {burst}: {found} in {length} ms, {most} at most");
        }
    }
}

proptest! {
    #[test]
    fn gcra_against_an_oracle(
        (units, period, burst) in (1..2_000_u32, 1_000..100_000_000_000_u64, 1..50_u32),
        steps in prop::collection::vec((0..3_u8, 0.0..3.0_f64, 1..8_u32), 1..200),
    ) {
        paused(async {
            let config = RateLimiter::per(units, Duration::from_nanos(period)).burst(burst);
            let Ok(limiter) = config.build() else { return };
            let start = Instant::now();
            let (n, p, b) = (i128::from(units), i128::from(period), i128::from(burst));
            // The oracle counts in n-ths of a nanosecond, in which an interval is p: no rounding anywhere.
            let (mut now, mut tat) = (0_u64, 0_i128);
            let mut grants: Vec<(u64, i128)> = Vec::new();
            for (kind, intervals, cost) in steps {
                now += match kind {
                    0 => 0,
                    _ => (intervals * period as f64 / f64::from(units)) as u64,
                };
                let c = i128::from(cost);
                let conforms = |at: i128| tat.max(at * n) + c * p <= at * n + b * p;
                match limiter.try_acquire_at(cost, start + Duration::from_nanos(now)) {
                    Ok(()) => {
                        assert!(conforms(i128::from(now) + 2), "granted too early");
                        tat = tat.max(i128::from(now) * n) + c * p;
                        grants.push((now, c));
                    }
                    Err(refused) => {
                        assert!(!conforms(i128::from(now) - 2), "refused what conforms");
                        let Some(wait) = refused.retry_after() else {
                            assert!(cost > burst);
                            continue;
                        };
                        let then = start + Duration::from_nanos(now) + wait;
                        assert_eq!(refusal(&limiter, cost, then - Duration::from_nanos(1)), Some(Duration::from_nanos(1)));
                        assert!(limiter.available_at(then) >= cost);
                    }
                }
            }
            // In any window at most burst + rate * t.
            for (i, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &grants[i..] {
                    sum += cost;
                    assert!(sum * p <= b * p + i128::from(at - from + 2) * n, "{sum} in {} ns", at - from);
                }
            }
        });
    }

    #[test]
    fn gcra_reaches_the_full_rate((units, period, burst) in (1..5_000_u32, 10_000..10_000_000_000_u64, 1..20_u32)) {
        paused(async {
            let limiter = build(RateLimiter::per(units, Duration::from_nanos(period)).burst(burst));
            let start = Instant::now();
            let mut now = start;
            for _ in 0..500 {
                while let Err(refused) = limiter.try_acquire_at(1, now) {
                    now += refused.retry_after().expect("a time");
                }
            }
            let ideal = u128::from(500 - burst) * u128::from(period) / u128::from(units);
            let took = (now - start).as_nanos();
            assert!(took.abs_diff(ideal) <= 2, "{took} ns for {ideal} ns");
        });
    }

    #[test]
    fn a_sliding_window_against_a_naive_log(
        (units, period) in (1..20_u32, 1..5_000_u64),
        steps in prop::collection::vec((0..1_000_u64, 1..8_u32), 1..200),
    ) {
        paused(async {
            let limiter = build(RateLimiter::per(units, Duration::from_nanos(period.max(u64::from(units)))).sliding_window());
            let period = period.max(u64::from(units));
            let start = Instant::now();
            let mut now = 0;
            let mut log: Vec<(u64, u32)> = Vec::new();
            for (step, cost) in steps {
                now += step;
                let at = start + Duration::from_nanos(now);
                let used = |now: u64| log.iter().filter(|(at, _)| at + period > now).map(|(_, cost)| cost).sum::<u32>();
                assert_eq!(limiter.available_at(at), units - used(now));
                match limiter.try_acquire_at(cost, at) {
                    Ok(()) => {
                        assert!(used(now) + cost <= units);
                        log.push((now, cost));
                    }
                    Err(refused) => {
                        assert!(used(now) + cost > units);
                        let then = refused.retry_after().map(|wait| now + wait.as_nanos() as u64);
                        let naive = (now..=now + period).find(|then| used(*then) + cost <= units);
                        assert_eq!(then, naive.filter(|_| cost <= units));
                    }
                }
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn h21_a_caller_that_cannot_wait_passes_the_parked_too() {
    let limiter = build(RateLimiter::per_second(10).smooth().max_wait(SECOND));
    assert!(limiter.try_acquire(1).is_ok());
    let call = Call::now();
    let mut parked = pin!(limiter.acquire(&call));
    assert!(poll_fn(|cx| Poll::Ready(parked.as_mut().poll(cx).is_pending())).await);
    advance(ms(100)).await;
    assert!(limiter.try_acquire(1).is_err(), "its moment has just come: not to be overtaken");
    advance(ms(9)).await;
    assert!(limiter.try_acquire(1).is_err());
    advance(ms(1)).await;
    assert!(limiter.try_acquire(1).is_ok(), "10 ms, and it has not come");
    assert!(parked.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn h61_who_is_pushed_past_its_deadline_learns_when_to_come_back_or_that_its_time_is_over() {
    // A turn each 100 ms. A call of low priority would have the first, and its deadline is at 150 ms.
    let turn = |critical| async move {
        let limiter = build(RateLimiter::per_second(10).smooth().max_wait(SECOND));
        assert!(limiter.try_acquire(1).is_ok());
        let (start, low) = (Instant::now(), Call::now().priority(Priority::Low).within(ms(150)));
        let mut tasks = JoinSet::new();
        let low = async {
            let refused = limiter.acquire(&low).await.expect_err("others took its turn");
            (refused.kind(), refused.retry_after(), start.elapsed())
        };
        for _ in 0..critical {
            let limiter = limiter.clone();
            tasks.spawn(async move { limiter.acquire(&Call::now().priority(Priority::Critical)).await });
        }
        low.await
    };
    // Next in line at 100 ms, it would have its turn at 200 ms: known at once.
    assert_eq!(turn(1).await, (RejectedKind::RateLimited, Some(ms(100)), ms(100)));
    // At 150 ms it still stands behind one.
    assert_eq!(turn(2).await, (RejectedKind::DeadlineExceeded, None, ms(150)));
}

#[test]
fn changes_of_rate_at_random_never_give_more_than_the_larger_of_both() {
    let rates = (1..1_000_u32, 1..100_u32);
    let strategy = prop::collection::vec((rates, 0..200_u64, 0..50_u32), 1..50);
    TestRunner::default()
        .run(&strategy, |steps| {
            paused(async {
                let limiter = build(RateLimiter::per_second(10).burst(10));
                for ((units, burst), wait, cost) in steps {
                    advance(ms(wait)).await;
                    let _ = limiter.try_acquire(cost);
                    let before = limiter.available();
                    limiter.set_rate(units, SECOND).expect("valid");
                    limiter.set_burst(burst).expect("valid");
                    let after = limiter.available();
                    assert!(after <= before, "a free refill");
                    limiter.set_rate(units, SECOND).expect("valid");
                    assert_eq!(limiter.available(), after, "the same again changes nothing");
                }
            });
            Ok(())
        })
        .expect("holds");
}
