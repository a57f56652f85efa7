//! Dropped calls: nothing is lost, wherever the drop comes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;
use steadfast::{Bulkhead, Call, CircuitBreaker, CircuitState, Gate, GateFuture, Monitor, Outcome, Pass, Pipeline, RateLimiter, Retry};

const MS: Duration = Duration::from_millis(1);

/// A gate that takes a turn to open, and counts what it has out.
#[derive(Clone, Debug, Default)]
struct SlowDoor(Arc<AtomicUsize>);

struct Inside(Arc<AtomicUsize>);

impl Gate for SlowDoor {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let inside = Inside(Arc::clone(&self.0));
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(Box::new(inside) as Box<dyn Pass>)
        })
    }
}

impl Pass for Inside {
    fn settle(self: Box<Self>, _: Outcome) {}
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Stack {
    pipeline: Pipeline,
    places: Bulkhead,
    limiter: RateLimiter,
    breaker: CircuitBreaker,
    door: SlowDoor,
    monitor: Monitor,
}

/// Every policy on, by the bits of `which`.
fn stack(which: u32) -> Stack {
    let places = Bulkhead::new(1).queue(4).max_wait(500 * MS).build().unwrap();
    let limiter = RateLimiter::per_second(100).smooth().max_wait(500 * MS).build().unwrap();
    let breaker = CircuitBreaker::consecutive_failures(1_000).build().unwrap();
    let (door, monitor) = (SlowDoor::default(), Monitor::new());
    let mut builder = Pipeline::builder("p");
    let on = |bit: u32| which & (1 << bit) != 0;
    if on(0) {
        builder = builder.total_timeout(10_000 * MS);
    }
    if on(1) {
        builder = builder.retry(Retry::constant(2, 5 * MS));
    }
    if on(2) {
        builder = builder.circuit_breaker(breaker.clone());
    }
    if on(3) {
        builder = builder.rate_limit(limiter.clone());
    }
    if on(4) {
        builder = builder.bulkhead(places.clone());
    }
    if on(5) {
        builder = builder.gate(door.clone());
    }
    if on(6) {
        builder = builder.attempt_timeout(1_000 * MS);
    }
    if on(7) {
        builder = builder.monitor(monitor.clone());
    }
    Stack { pipeline: builder.build().unwrap(), places, limiter, breaker, door, monitor }
}

impl Stack {
    fn assert_whole(&self, at: &str) {
        assert_eq!((self.places.in_use(), self.places.waiting()), (0, 0), "{at}: bulkhead");
        assert_eq!(self.limiter.waiting(), 0, "{at}: limiter queue");
        assert_eq!(self.door.0.load(Ordering::Relaxed), 0, "{at}: gate");
        assert_eq!(self.breaker.state(), CircuitState::Closed, "{at}: breaker");
        if let Some(stats) = self.monitor.stats("p") {
            let all = stats.all_time();
            let told = all.successes() + all.failures() + all.rejections() + all.abandoned() + all.panics();
            assert_eq!(all.calls(), told, "{at}: books");
        }
    }
}

fn poll(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Fails twice and then succeeds, pending once each time.
async fn operation(attempt: steadfast::Attempt) -> Result<(), String> {
    tokio::task::yield_now().await;
    tokio::time::sleep(MS).await;
    if attempt.number() < 3 { Err("down".into()) } else { Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn h18_a_call_dropped_at_any_await_point_of_any_stack_gives_everything_back() {
    for which in 0..256 {
        for drop_at in 0..200 {
            let stack = stack(which);
            // Somebody else holds the only place and the limiter's only unit at first, so that the queues are awaited too.
            let mut held = stack.places.try_acquire().ok();
            let _ = stack.limiter.try_acquire(1);
            let mut call = Box::pin(stack.pipeline.call_with(operation));
            let mut done = false;
            for _ in 0..drop_at {
                done = poll(call.as_mut());
                if done {
                    break;
                }
                held = None;
                tokio::time::advance(MS).await;
            }
            drop(call);
            drop(held);
            stack.assert_whole(&format!("stack {which:#010b}, dropped after {drop_at} polls"));
            if done {
                break;
            }
            assert!(drop_at < 199, "the call never ends");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h01_dropped_calls_free_their_places_at_once() {
    let pipeline = Pipeline::builder("p").bulkhead(Bulkhead::new(4)).build().unwrap();
    let places = pipeline.bulkhead().unwrap().clone();
    let mut calls: Vec<_> = (0..4).map(|_| Box::pin(pipeline.call(std::future::pending::<Result<(), String>>))).collect();
    calls.iter_mut().for_each(|call| assert!(!poll(call.as_mut())));
    assert_eq!(places.available(), 0);
    drop(calls);
    assert_eq!(places.available(), 4);
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn h04_a_dropped_probe_is_no_verdict_and_frees_its_slot() {
    let breaker = CircuitBreaker::consecutive_failures(1).open_for(1_000 * MS).open_jitter(0.0).build().unwrap();
    let pipeline = Pipeline::builder("p").circuit_breaker(breaker.clone()).build().unwrap();
    let _ = pipeline.call(|| async { Err::<(), _>("down".to_owned()) }).await;
    tokio::time::advance(1_000 * MS).await;
    let mut probe = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
    assert!(!poll(probe.as_mut()));
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open());
    drop(probe);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_ok());
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn h09_dropped_in_a_pause_means_no_further_attempt() {
    let calls = Arc::new(AtomicUsize::new(0));
    let pipeline = Pipeline::builder("p").retry(Retry::constant(5, 100 * MS).jitter(steadfast::Jitter::None)).build().unwrap();
    let seen = Arc::clone(&calls);
    let mut call = Box::pin(pipeline.call(move || {
        seen.fetch_add(1, Ordering::Relaxed);
        async { Err::<(), _>("down".to_owned()) }
    }));
    assert!(!poll(call.as_mut()));
    tokio::time::advance(50 * MS).await;
    drop(call);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// Tells, when dropped, how many places of the bulkhead were taken.
struct Watch<'a>(&'a Bulkhead, &'a AtomicUsize);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.1.store(self.0.in_use(), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn h12_h13_the_operation_is_gone_before_its_place_is_free_and_before_the_timeout_is_told() {
    let pipeline = Pipeline::builder("p").bulkhead(Bulkhead::new(1)).attempt_timeout(10 * MS).build().unwrap();
    let places = pipeline.bulkhead().unwrap();
    let in_use = AtomicUsize::new(99);
    let hang = || {
        let watch = Watch(places, &in_use);
        async move {
            let _watch = watch;
            std::future::pending::<Result<(), String>>().await
        }
    };
    assert!(pipeline.call(hang).await.unwrap_err().is_timeout());
    assert_eq!(in_use.swap(99, Ordering::Relaxed), 1, "dropped while its place was still taken, before the error was seen");
    let mut call = Box::pin(pipeline.call(hang));
    assert!(!poll(call.as_mut()));
    drop(call);
    assert_eq!((in_use.load(Ordering::Relaxed), places.in_use()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn h20_a_call_recreated_in_a_select_loop_piles_up_nothing() {
    let stack = stack(0b1111_1111);
    for _ in 0..1_000 {
        tokio::select! {
            biased;
            _ = stack.pipeline.call(std::future::pending::<Result<(), String>>) => unreachable!(),
            () = tokio::time::sleep(MS) => {}
        }
        assert_eq!(stack.places.in_use(), 0);
    }
    stack.assert_whole("after the loop");
}

#[tokio::test(start_paused = true)]
async fn h78_callers_that_hang_up_do_not_trip_the_breaker_and_timeouts_do() {
    let breaker = CircuitBreaker::consecutive_failures(5).build().unwrap();
    let pipeline = Pipeline::builder("p").circuit_breaker(breaker.clone()).total_timeout(100 * MS).build().unwrap();
    for _ in 0..1_000 {
        let mut call = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
        assert!(!poll(call.as_mut()));
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    for _ in 0..5 {
        assert!(pipeline.call(std::future::pending::<Result<(), String>>).await.unwrap_err().is_timeout());
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}
