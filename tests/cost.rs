//! What a call costs, exactly: bytes of its future, allocations. Nanoseconds live in `benches/`.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use allocation_counter::measure;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Budget, Bulkhead, CircuitBreaker, Error, Fallback, Hedge, Jitter, Monitor, PerKey, Pipeline, RateLimiter, Retry,
    Throttle, TypedPipeline,
};

const SECOND: Duration = Duration::from_secs(1);

fn six(retry: steadfast::RetryConfig) -> steadfast::PipelineBuilder {
    Pipeline::builder("six")
        .total_timeout(10 * SECOND)
        .retry(retry)
        .circuit_breaker(CircuitBreaker::failure_rate(0.5).min_calls(1_000_000))
        .rate_limit(RateLimiter::per_second(1_000_000))
        .bulkhead(Bulkhead::new(50).queue(100).max_wait(SECOND))
        .attempt_timeout(SECOND)
}

fn retry() -> steadfast::RetryConfig {
    Retry::constant(3, Duration::ZERO).budget(Budget::new(1.0).burst(1_000_000))
}

fn ready<F: Future>(future: F) -> F::Output {
    let future = std::pin::pin!(future);
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("pending"),
    }
}

#[test]
fn the_future_of_the_stack_of_six_is_at_most_512_bytes() {
    let typed: TypedPipeline<u64, std::num::ParseIntError> = six(retry()).fallback(Fallback::value(0)).build().unwrap();
    let pipeline = typed.pipeline();
    let operation = [0_u64; 2]; // 16 bytes
    let call = pipeline.call(|| async move { Ok::<u64, std::num::ParseIntError>(operation[0]) });
    let with_fallback = typed.call(|| async move { Ok(operation[0]) });
    let keyed = typed.key("tenant").call(|| async move { Ok(operation[0]) });
    let or = pipeline.call_or(|| async move { Ok::<u64, std::num::ParseIntError>(operation[0]) }, 1);
    let (call, with_fallback, keyed, or) = (size_of_val(&call), size_of_val(&with_fallback), size_of_val(&keyed), size_of_val(&or));
    println!("call {call} bytes, with fallback {with_fallback} bytes, with fallback and options {keyed}, with a value instead {or}");
    // The promise is of the call; what goes around it adds its own.
    assert!(call <= 512, "{call}");
    assert!(with_fallback <= call + 64, "{with_fallback}");
    assert!(keyed <= 2 * call && or <= call + 64, "{keyed} {or}");
}

// Paused, so that no window of the monitor turns meanwhile: it makes the histograms of a window when that begins.
#[tokio::test(start_paused = true)]
async fn h92_no_allocation_on_success() {
    for monitored in [false, true] {
        let builder = if monitored { six(retry()).monitor(Monitor::new()) } else { six(retry()) };
        let pipeline = builder.build().unwrap();
        let call = || ready(pipeline.key("tenant").cost(2).call(|| async { Ok::<_, String>(1) }));
        for _ in 0..10 {
            call().unwrap(); // the monitor's first records make its histograms
        }
        let counted = measure(|| (0..1_000).for_each(|_| assert_eq!(call(), Ok(1))));
        assert_eq!(counted.count_total, 0, "monitored: {monitored}");
    }
}

#[tokio::test(start_paused = true)]
async fn h92_no_allocation_on_success_with_every_gate() {
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_second(1_000_000)).circuit_breaker(CircuitBreaker::failure_rate(0.5));
    let pipeline = six(retry())
        .throttle(Throttle::new())
        .per_key(keys.bulkhead(Bulkhead::new(9)).statistics(true))
        .adaptive_limit(AdaptiveLimit::new())
        .build()
        .unwrap();
    let call = || ready(pipeline.key("tenant").call(|| async { Ok::<_, String>(1) }));
    call().unwrap();
    let counted = measure(|| (0..1_000).for_each(|_| assert_eq!(call(), Ok(1))));
    assert_eq!(counted.count_total, 0);
}

#[test]
fn h92_no_allocation_on_retry_without_sleep() {
    let pipeline = six(retry()).build().unwrap();
    let counted = measure(|| {
        for _ in 0..1_000 {
            let answer = ready(pipeline.call_with(|attempt| async move { if attempt.number() < 4 { Err(()) } else { Ok(()) } }));
            assert_eq!(answer, Ok(()));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn h92_a_hedge_allocates_only_when_a_leg_is_launched() {
    for hedge in [Hedge::after(SECOND / 100), Hedge::at_percentile(0.9).min_samples(1)] {
        let pipeline = six(retry()).hedge(hedge.idempotent()).build().unwrap();
        let counted = measure(|| (0..1_000).for_each(|_| assert_eq!(ready(pipeline.call(|| async { Ok::<_, String>(1) })), Ok(1))));
        assert_eq!(counted.count_total, 0, "answers at once");
        let mut call = std::pin::pin!(pipeline.call(|| std::future::poll_fn(|_| Poll::<Result<(), String>>::Pending)));
        let mut poll = || measure(|| assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending())).count_total;
        assert_eq!(poll(), 0, "waits for the first leg");
        tokio::time::advance(SECOND / 10).await;
        let launched = poll();
        assert!(launched > 0 && launched <= 4, "{launched}: at most two for each attempt");
    }
}

#[test]
fn h92_no_allocation_on_any_rejection() {
    let open = Pipeline::builder("open").circuit_breaker(CircuitBreaker::failure_rate(0.5)).build().unwrap();
    open.circuit_breaker().unwrap().isolate();
    let full = Pipeline::builder("full").bulkhead(Bulkhead::new(1)).build().unwrap();
    let queued = Pipeline::builder("queued").bulkhead(Bulkhead::new(1).queue(0).max_wait(SECOND)).build().unwrap();
    let _held = (full.bulkhead().unwrap().try_acquire().unwrap(), queued.bulkhead().unwrap().try_acquire().unwrap());
    let limited = Pipeline::builder("limited").rate_limit(RateLimiter::per_hour(1)).build().unwrap();
    ready(limited.call(|| async { Ok::<_, ()>(()) })).unwrap();
    for pipeline in [&open, &full, &queued, &limited] {
        let counted = measure(|| {
            for _ in 0..1_000 {
                assert!(matches!(ready(pipeline.call(|| async { Ok::<_, ()>(()) })), Err(Error::Rejected(_))));
            }
        });
        assert_eq!(counted.count_total, 0, "{pipeline}");
    }
}

#[test]
fn no_allocation_on_a_fallback_that_is_there() {
    let typed: TypedPipeline<u32, ()> = Pipeline::builder("typed").fallback(Fallback::value(1)).build().unwrap();
    let counted = measure(|| (0..1_000).for_each(|_| assert_eq!(ready(typed.call(|| async { Err(()) })), Ok(1))));
    assert_eq!(counted.count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn h75_a_million_attempts_pile_nothing_up() {
    let pipeline =
        Pipeline::builder("p").retry(Retry::constant(1_000_000, Duration::ZERO).jitter(Jitter::None).without_budget()).build().unwrap();
    let call = Box::pin(pipeline.call(|| async { Err::<(), _>(String::from("down")) }));
    let future = size_of_val(&*call);
    assert!(future < 1_024, "{future}");
    assert_eq!(call.await, Err(Error::Inner("down".into())));
    assert_eq!(pipeline.retry().unwrap().stats().retries(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn h89_no_call_leaves_a_task_behind() {
    let pipeline = six(retry()).total_timeout(SECOND).build().unwrap();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    for i in 0..1_000_u32 {
        let mut call = Box::pin(pipeline.call(|| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, String>(())
        }));
        if i % 2 == 0 {
            let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        } else {
            call.await.unwrap();
        }
        assert_eq!(alive(), before);
    }
}

#[test]
fn h90_deep_nesting_stays_small_and_fits_on_a_small_stack() {
    let pipeline = six(retry()).build().unwrap();
    let operation = [0_u64; 2];
    let plain = move || async move { Ok::<u64, String>(operation[0]) };
    let (one, with_options) = (size_of_val(&pipeline.call(plain)), size_of_val(&pipeline.key("k").call(plain)));
    let nested = size_of_val(&pipeline.around(&pipeline).call(plain));
    println!("call {one} bytes, with options {with_options}, nested {nested}");
    assert!(with_options <= 2 * one && nested <= 4 * one, "{one} {with_options} {nested}");
    // Eleven layers, each in the future of the one around it.
    macro_rules! layers {
        ($pipeline:ident, $operation:expr,) => { $operation };
        ($pipeline:ident, $operation:expr, $layer:tt $($more:tt)*) => {
            layers!($pipeline, || async { $pipeline.call($operation).await.map_err(|error| error.to_string()) }, $($more)*)
        };
    }
    let free = Pipeline::builder("free").retry(retry()).attempt_timeout(SECOND).build().unwrap();
    let small = std::thread::Builder::new().stack_size(256 * 1024).spawn(move || ready(pipeline.around(&pipeline).call(plain)));
    assert!(small.unwrap().join().unwrap().is_ok());
    // Half of what a worker of tokio has, in a debug build.
    let deep = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        let call = layers!(free, || async { Ok::<u32, String>(1) }, 1 2 3 4 5 6 7 8 9 10 11);
        let future = call();
        (size_of_val(&future), ready(future))
    });
    let (size, answer) = deep.unwrap().join().unwrap();
    assert_eq!(answer, Ok(1));
    println!("eleven layers {size} bytes");
    assert!(size <= 11 * 2 * one, "{size}");
}
