//! The bulkhead from outside: places, limits, times, and what is left behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, unreachable_pub, reason = "shared with other tests")]
mod yard;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use steadfast::{Bulkhead, Call, Priority, RejectedKind};
use tokio::time::{Instant, advance, sleep};
use yard::{Yard, build};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn k1_so_many_run_so_many_wait_and_the_rest_is_refused() {
    for (limit, queue, load, rejected) in [(5, 0, 3, 0), (3, 0, 4, 1), (3, 1, 5, 1), (5, 3, 8, 0), (6, 3, 9, 0), (1, 6, 5, 0)] {
        let bulkhead = build(Bulkhead::new(limit).queue(queue));
        let mut yard = Yard::new(&bulkhead);
        for _ in 0..load {
            yard.start(Priority::Normal);
            assert!(bulkhead.in_use() <= limit && bulkhead.waiting() <= queue);
        }
        assert_eq!(yard.refused.len(), rejected, "{limit} {queue} {load}");
        assert!(yard.refused.iter().all(|(_, kind)| *kind == RejectedKind::BulkheadFull));
        if let Some(&cancelled) = yard.waiting().first() {
            let before = bulkhead.waiting();
            yard.tasks[cancelled] = None;
            assert_eq!(bulkhead.waiting(), before - 1);
        }
        yard.release_all();
        assert_eq!((bulkhead.available(), bulkhead.waiting()), (limit, 0));
    }
}

#[test]
fn k2_permits_come_back() {
    let bulkhead = build(Bulkhead::new(2));
    let first = bulkhead.try_acquire().unwrap();
    let second = bulkhead.try_acquire().unwrap();
    assert_eq!(bulkhead.try_acquire().unwrap_err().kind(), RejectedKind::BulkheadFull);
    assert_eq!((bulkhead.in_use(), bulkhead.available()), (2, 0));
    drop((first, second));
    let _permit = bulkhead.try_acquire().unwrap();
    assert_eq!((bulkhead.in_use(), bulkhead.available(), bulkhead.limit()), (1, 1, 2));
}

#[test]
fn k3_size_zero_is_a_fault_at_first_and_a_drain_later() {
    let error = Bulkhead::new(0).build().unwrap_err();
    assert_eq!(error.faults()[0].field(), "limit");
    assert!(error.to_string().contains("resize(0)"), "{error}");

    let bulkhead = build(Bulkhead::new(2).queue(1));
    bulkhead.resize(0);
    assert_eq!(bulkhead.try_acquire().unwrap_err().kind(), RejectedKind::BulkheadFull);
    let mut yard = Yard::new(&bulkhead);
    yard.start(Priority::Normal);
    yard.start(Priority::Normal);
    assert_eq!(yard.refused, [(1, RejectedKind::BulkheadFull)]);
    bulkhead.resize(1);
    yard.run();
    assert_eq!(yard.granted, [0]);
}

#[test]
fn k4_h47_shrinking_waits_for_those_inside() {
    let bulkhead = build(Bulkhead::new(3));
    let mut held: Vec<_> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
    bulkhead.resize(5);
    held.extend((0..2).map(|_| bulkhead.try_acquire().unwrap()));
    bulkhead.resize(2);
    assert_eq!((bulkhead.limit(), bulkhead.in_use(), bulkhead.available()), (2, 5, 0));
    while held.len() > 1 {
        assert!(bulkhead.try_acquire().is_err(), "{} held", held.len());
        held.pop();
    }
    held.push(bulkhead.try_acquire().unwrap());
    assert!(bulkhead.try_acquire().is_err());
    drop(held);
    assert_eq!((bulkhead.in_use(), bulkhead.available()), (0, 2));
}

#[test]
fn h47_growing_lets_exactly_so_many_proceed() {
    let mut yard = Yard::queue_of(100);
    yard.bulkhead.resize(41);
    yard.run();
    assert_eq!(yard.granted, (0..=40).collect::<Vec<_>>());
    assert_eq!(yard.bulkhead.waiting(), 60);
    assert!(yard.polls() <= 60 + 1, "the rest sleeps on, but for one watchman");
}

#[tokio::test(start_paused = true)]
async fn k5_max_wait_ends_to_the_millisecond() {
    let bulkhead = build(Bulkhead::new(1).queue(1).max_wait(ms(10)));
    let held = bulkhead.acquire(&Call::now()).await.unwrap();
    let start = Instant::now();
    assert_eq!(bulkhead.acquire(&Call::now()).await.unwrap_err().kind(), RejectedKind::BulkheadFull);
    assert_eq!((start.elapsed(), bulkhead.waiting()), (ms(10), 0));

    let (start, call) = (Instant::now(), Call::now());
    let (permit, ()) = tokio::join!(bulkhead.acquire(&call), async {
        sleep(ms(5)).await;
        drop(held);
    });
    assert!(permit.is_ok());
    assert_eq!(start.elapsed(), ms(5));
}

#[tokio::test(start_paused = true)]
async fn k5_a_place_at_the_last_moment_still_counts() {
    let bulkhead = build(Bulkhead::new(1).queue(5).max_wait(ms(10)));
    let held = bulkhead.try_acquire().unwrap();
    let call = Call::now();
    let mut waiting = tokio_test::task::spawn(bulkhead.acquire(&call));
    assert!(waiting.poll().is_pending());
    advance(ms(10)).await;
    drop(held);
    assert!(waiting.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn h39_the_deadline_ends_a_wait_and_grants_nothing() {
    let bulkhead = build(Bulkhead::new(1).queue(5).max_wait(ms(50)));
    let held = bulkhead.try_acquire().unwrap();
    let start = Instant::now();
    let kind = bulkhead.acquire(&Call::now().within(ms(20))).await.unwrap_err().kind();
    assert_eq!((kind, start.elapsed()), (RejectedKind::DeadlineExceeded, ms(20)));

    let call = Call::now().within(ms(20));
    let mut waiting = tokio_test::task::spawn(bulkhead.acquire(&call));
    assert!(waiting.poll().is_pending());
    advance(ms(20)).await;
    drop(held); // at the deadline itself: too late
    assert_eq!(waiting.await.unwrap_err().kind(), RejectedKind::DeadlineExceeded);
    assert_eq!((bulkhead.waiting(), bulkhead.available()), (0, 1));

    let _held = bulkhead.try_acquire().unwrap();
    let refused = bulkhead.acquire(&Call::now().within(Duration::ZERO)).await.unwrap_err();
    assert_eq!(refused.kind(), RejectedKind::DeadlineExceeded, "nothing left: refused at the door");
}

#[test]
fn h01_h125_dropped_calls_give_their_places_back_without_a_runtime() {
    let bulkhead = build(Bulkhead::new(4).queue(4));
    let mut yard = Yard::new(&bulkhead);
    (0..8).for_each(|_| _ = yard.start(Priority::Normal));
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (4, 4));
    drop(yard);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting(), bulkhead.available()), (0, 0, 4));
}

#[test]
fn h88_the_queue_is_bounded() {
    let bulkhead = build(Bulkhead::new(1).queue(1_000));
    let _held = bulkhead.try_acquire().unwrap();
    let call = Call::now();
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for _ in 0..1_000_000 {
        let mut future = Box::pin(bulkhead.acquire(&call));
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(_)) => refused += 1,
            _ => waiting.push(future),
        }
    }
    assert_eq!((waiting.len(), refused), (1_000, 999_000));
}

#[test]
fn h125_without_a_runtime_a_wait_with_an_end_is_refused_and_one_without_works() {
    let bulkhead = build(Bulkhead::new(1).queue(2));
    let held = bulkhead.try_acquire().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let call = Call::now().within(ms(5_000));
    match pin!(bulkhead.acquire(&call)).poll(&mut cx) {
        Poll::Ready(Err(rejected)) => assert_eq!(rejected.kind(), RejectedKind::NoRuntime),
        other => panic!("{other:?}"),
    }
    assert_eq!(bulkhead.waiting(), 0);
    let call = Call::now();
    let mut endless = pin!(bulkhead.acquire(&call));
    assert!(endless.as_mut().poll(&mut cx).is_pending());
    drop(held);
    assert!(endless.poll(&mut cx).is_ready());
}

#[test]
fn h125_a_runtime_may_end_under_a_waiter() {
    let bulkhead = build(Bulkhead::new(1).queue(2_000));
    let held = bulkhead.try_acquire().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..1_000 {
        let bulkhead = bulkhead.clone();
        runtime.spawn(async move { bulkhead.acquire(&Call::now().within(ms(60_000))).await.is_ok() });
    }
    runtime.block_on(tokio::task::yield_now());
    runtime.shutdown_timeout(Duration::ZERO);
    assert_eq!(bulkhead.waiting(), 0);
    drop(held);
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn h49_h127_two_runtimes_share_one_bulkhead() {
    let bulkhead = build(Bulkhead::new(1).queue(100));
    let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = || async {
        for _ in 0..10 {
            let _permit = bulkhead.acquire(&Call::now().within(ms(600_000))).await.unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            done.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(futures_util::future::join_all((0..20).map(|_| call())));
            });
        }
    });
    assert_eq!((done.into_inner(), bulkhead.in_use(), bulkhead.waiting()), (400, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn h28_h29_h44_zeros_and_maxima() {
    let bulkhead = build(Bulkhead::new(usize::MAX).queue(1_000_000).max_wait(Duration::MAX).ageing(Duration::MAX));
    assert_eq!((bulkhead.limit(), bulkhead.in_use()), (usize::MAX, 0));
    let permit = bulkhead.acquire(&Call::now().within(Duration::MAX)).await.unwrap();
    assert_eq!(bulkhead.in_use(), 1);
    for limit in [0, usize::MAX, 1, usize::MAX / 2, 1] {
        bulkhead.resize(limit);
        assert_eq!((bulkhead.limit(), bulkhead.in_use()), (limit, 1));
    }
    let mut yard = Yard::new(&bulkhead);
    for priority in Priority::ALL.into_iter().rev() {
        yard.call(Call::now().priority(priority).within(Duration::MAX));
    }
    yard.run();
    advance(Duration::from_secs(60 * 60 * 24 * 365)).await;
    yard.run();
    assert_eq!(bulkhead.waiting(), 5);
    drop(permit);
    yard.run();
    assert_eq!(yard.granted, [4], "the most important first, for ever");

    let error = Bulkhead::new(1).queue(usize::MAX).build().unwrap_err();
    assert_eq!(error.faults()[0].field(), "queue");
    let impatient = build(Bulkhead::new(1).queue(5).max_wait(Duration::ZERO));
    let _held = impatient.try_acquire().unwrap();
    let start = Instant::now();
    assert!(impatient.acquire(&Call::now()).await.is_err());
    assert_eq!((start.elapsed(), impatient.waiting()), (Duration::ZERO, 0));
}

#[test]
fn a_permit_outlives_its_borrow() {
    let bulkhead = build(Bulkhead::new(1));
    let permit = bulkhead.try_acquire().unwrap().into_owned();
    assert_eq!(bulkhead.in_use(), 1);
    std::thread::spawn(move || drop(permit)).join().unwrap();
    assert_eq!(bulkhead.in_use(), 0);
}

#[test]
fn the_config_is_what_it_runs_with() {
    let config = Bulkhead::new(3).queue(7).max_wait(ms(1));
    let bulkhead = build(config.clone());
    assert_eq!(bulkhead.config(), config);
    bulkhead.resize(4);
    assert_eq!(bulkhead.config(), Bulkhead::new(4).queue(7).max_wait(ms(1)));
    assert_eq!(format!("{bulkhead:?}"), "Bulkhead { limit: 4, in_use: 0, waiting: 0, queue: 7, .. }");
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_future_moved_to_another_task_wakes_there() {
    let bulkhead = build(Bulkhead::new(1).queue(1));
    let held = bulkhead.try_acquire().unwrap();
    let call = Call::now();
    let mut waiting = Box::pin(bulkhead.acquire(&call));
    let tasks = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
    for task in &tasks {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(task)))).is_pending());
    }
    drop(held);
    assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1]);
}

/// A waker that looks into the bulkhead when it is called and when it is dropped: under the lock it would hang.
struct Curious(Bulkhead);

impl Curious {
    fn look(&self) {
        let call = Call::now();
        let mut other = pin!(self.0.acquire(&call));
        _ = other.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
        _ = self.0.try_acquire().is_ok();
    }
}

impl Wake for Curious {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        self.look();
    }
}

#[test]
fn wakers_never_run_under_the_lock() {
    let bulkhead = build(Bulkhead::new(1).queue(10));
    let held = bulkhead.try_acquire().unwrap();
    let call = Call::now();
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(bulkhead.acquire(&call))).collect();
    for _ in 0..2 {
        // The second time, the first waker is replaced, and dropped.
        for future in &mut waiting {
            let waker = Waker::from(Arc::new(Curious(bulkhead.clone())));
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
    }
    drop(held);
    drop(waiting.remove(0));
    assert!(waiting.iter_mut().any(|future| future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()));
    drop(waiting);
    assert_eq!((bulkhead.waiting(), bulkhead.available()), (0, 1));
}
