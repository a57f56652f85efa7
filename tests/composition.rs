//! Policies together, as the scenarios give the numbers: what one layer does to another.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;
use steadfast::{
    Budget, Bulkhead, Call, CircuitBreaker, CircuitState, Error, Fallback, Gate, GateFuture, Jitter, Monitor, Outcome, Pass, Pipeline,
    RateLimiter, Rejected, RejectedKind, Retry, StopReason, Verdict,
};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

fn plain(retries: u32, delay: Duration) -> steadfast::RetryConfig {
    Retry::constant(retries, delay).jitter(Jitter::None)
}

async fn fail(calls: &Cell<u32>) -> Result<(), String> {
    calls.set(calls.get() + 1);
    Err(format!("down {}", calls.get()))
}

// ------------------------------------------------------------------ retry and its neighbours

#[tokio::test(start_paused = true)]
async fn r5_twelve_retries_are_thirteen_calls_and_the_last_error_returns() {
    let pipeline = Pipeline::builder("p").retry(plain(12, MS)).build().unwrap();
    let calls = Cell::new(0);
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 13".into())));
    let stats = pipeline.stats().retry.unwrap();
    assert_eq!(stats.stopped(StopReason::Attempts), 1);
}

#[tokio::test(start_paused = true)]
async fn r8_a_zero_delay_does_not_sleep() {
    let pipeline = Pipeline::builder("p").retry(plain(5, Duration::ZERO)).build().unwrap();
    let (calls, before) = (Cell::new(0), Instant::now());
    assert!(pipeline.call(|| fail(&calls)).await.is_err());
    assert_eq!((calls.get(), before.elapsed()), (6, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn r13_h72_permanent_and_ignored_errors_are_not_retried() {
    let pipeline = Pipeline::builder("p")
        .retry(plain(5, MS))
        .classify(|e: &String| if e.starts_with("down") { Verdict::permanent() } else { Verdict::Ignored })
        .build()
        .unwrap();
    let calls = Cell::new(0);
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 1".into())));
    let ignored = pipeline
        .call(|| async {
            calls.set(calls.get() + 1);
            Err::<(), _>("mine".to_owned())
        })
        .await;
    assert_eq!((ignored, calls.get()), (Err(Error::Inner("mine".into())), 2));
}

#[tokio::test(start_paused = true)]
async fn x9_a_pause_that_cannot_fit_is_refused_at_once_with_the_last_error() {
    let pipeline = Pipeline::builder("p").total_timeout(300 * MS).retry(plain(5, 500 * MS)).build().unwrap();
    let (calls, before) = (Cell::new(0), Instant::now());
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 1".into())));
    assert_eq!((calls.get(), before.elapsed()), (1, Duration::ZERO));
    assert_eq!(pipeline.stats().retry.unwrap().stopped(StopReason::Deadline), 1);
}

#[tokio::test(start_paused = true)]
async fn u6_a_denied_retry_returns_the_operations_own_error_and_does_not_sleep() {
    let budget = Budget::new(0.1).min_per_second(0.0).burst(1);
    let pipeline = Pipeline::builder("p").retry(plain(3, 100 * MS).budget(budget)).build().unwrap();
    let (calls, before) = (Cell::new(0), Instant::now());
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 2".into())), "the one token of the burst");
    assert_eq!((calls.get(), before.elapsed()), (2, 100 * MS));
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 3".into())));
    assert_eq!((calls.get(), before.elapsed()), (3, 100 * MS));
    assert_eq!(pipeline.stats().retry.unwrap().stopped(StopReason::Budget), 2);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_honoured_exactly_and_one_of_a_day_is_not_slept() {
    let hint = |after| Pipeline::builder("p").retry(plain(1, MS)).classify(move |_: &String| Verdict::retry_after(after)).build().unwrap();
    let (calls, before) = (Cell::new(0), Instant::now());
    assert!(hint(500 * MS).call(|| fail(&calls)).await.is_err());
    assert_eq!((calls.get(), before.elapsed()), (2, 500 * MS));
    assert!(hint(Duration::from_secs(86_400)).call(|| fail(&calls)).await.is_err());
    assert_eq!((calls.get(), before.elapsed()), (3, 500 * MS));
}

#[tokio::test(start_paused = true)]
async fn h39_attempts_never_outlive_the_deadline() {
    let pipeline = Pipeline::builder("p").total_timeout(1_000 * MS).attempt_timeout(300 * MS).retry(plain(10, MS)).build().unwrap();
    let before = Instant::now();
    let error = pipeline.call(std::future::pending::<Result<(), String>>).await.unwrap_err();
    assert_eq!(error.kind(), Some(RejectedKind::DeadlineExceeded));
    assert_eq!((before.elapsed(), error.attempts(), error.elapsed()), (1_000 * MS, Some(4), Some(1_000 * MS)));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_quotes_the_last_error() {
    let pipeline = Pipeline::builder("quotes").total_timeout(10_000 * MS).retry(plain(3, 100 * MS)).build().unwrap();
    let error = pipeline
        .call_with(|attempt| async move {
            if attempt.number() < 3 {
                return Err::<(), _>("status 503".to_owned());
            }
            std::future::pending().await
        })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "quotes: gave up after 10.0 s (total timeout), 3 attempts; last error: status 503");
}

// ------------------------------------------------------------------ breaker and its neighbours

#[tokio::test(start_paused = true)]
async fn c1_an_opening_breaker_ends_the_retries_with_the_operations_last_error() {
    let pipeline = Pipeline::builder("p")
        .retry(plain(6, 100 * MS))
        .circuit_breaker(CircuitBreaker::consecutive_failures(3).open_for(60_000 * MS))
        .build()
        .unwrap();
    let (calls, before) = (Cell::new(0), Instant::now());
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 3".into())));
    assert_eq!((calls.get(), before.elapsed()), (3, 200 * MS), "no pause before a breaker that will still be open");
    assert_eq!(pipeline.stats().retry.unwrap().stopped(StopReason::CircuitOpen), 1);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opened_by_others_during_the_pause_ends_the_call_with_its_own_last_error() {
    let pipeline = Pipeline::builder("p")
        .retry(plain(6, 100 * MS))
        .circuit_breaker(CircuitBreaker::consecutive_failures(3).open_for(60_000 * MS))
        .build()
        .unwrap();
    let calls = Cell::new(0);
    let (answer, ()) = tokio::join!(pipeline.call(|| fail(&calls)), async {
        sleep(50 * MS).await;
        pipeline.circuit_breaker().unwrap().force_open();
    });
    assert_eq!((answer, calls.get()), (Err(Error::Inner("down 1".into())), 1));
}

#[tokio::test(start_paused = true)]
async fn c2_retry_is_outside_the_breaker_so_every_attempt_counts() {
    let breaker = CircuitBreaker::failure_rate(0.5).min_calls(100).build().unwrap();
    let pipeline = Pipeline::builder("p").retry(plain(3, MS)).circuit_breaker(breaker.clone()).build().unwrap();
    let calls = Cell::new(0);
    let _ = pipeline.call(|| fail(&calls)).await;
    assert_eq!(breaker.snapshot().failures, 4);
}

#[tokio::test(start_paused = true)]
async fn c4_fallback_outside_retry_outside_breaker() {
    let breaker = CircuitBreaker::consecutive_failures(5).build().unwrap();
    let pipeline =
        Pipeline::builder("p").retry(plain(2, MS)).circuit_breaker(breaker.clone()).fallback(Fallback::value(())).build().unwrap();
    let calls = Cell::new(0);
    assert_eq!(pipeline.call(|| fail(&calls)).await, Ok(()));
    assert_eq!((breaker.snapshot().failures, breaker.state()), (3, CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn c6_local_rejections_never_reach_the_breaker() {
    let breaker = CircuitBreaker::failure_rate(0.1).min_calls(2).build().unwrap();
    let bulkhead = Bulkhead::new(1).build().unwrap();
    bulkhead.resize(0);
    let pipeline = Pipeline::builder("p").circuit_breaker(breaker.clone()).bulkhead(bulkhead).build().unwrap();
    for _ in 0..100 {
        assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_bulkhead_full());
    }
    assert_eq!((breaker.snapshot().calls, breaker.state()), (0, CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn x4_a_probe_refused_further_in_is_released_unjudged() {
    let breaker = CircuitBreaker::consecutive_failures(1).open_for(1_000 * MS).open_jitter(0.0).build().unwrap();
    let places = Bulkhead::new(1).build().unwrap();
    let inner = Pipeline::builder("inner").bulkhead(places.clone()).build().unwrap();
    let outer = Pipeline::builder("outer").circuit_breaker(breaker.clone()).build().unwrap();
    let _ = outer.call(|| async { Err::<(), _>("down".to_owned()) }).await;
    tokio::time::advance(1_000 * MS).await;
    let held = places.try_acquire().unwrap();
    let refused = outer.around(&inner).call(|| async { Ok::<_, String>(()) }).await;
    assert!(refused.unwrap_err().is_bulkhead_full());
    drop(held);
    assert_eq!(outer.around(&inner).call(|| async { Ok::<_, String>(()) }).await, Ok(()));
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn hung_calls_under_a_total_timeout_still_teach_the_breaker() {
    let pipeline =
        Pipeline::builder("p").total_timeout(100 * MS).circuit_breaker(CircuitBreaker::failure_rate(0.5).min_calls(10)).build().unwrap();
    let reached = Cell::new(0);
    for _ in 0..200 {
        let _ = pipeline
            .call(|| {
                reached.set(reached.get() + 1);
                std::future::pending::<Result<(), String>>()
            })
            .await;
    }
    assert!(reached.get() < 30, "{} of 200 calls reached the dead backend", reached.get());
}

#[tokio::test(start_paused = true)]
async fn h81_slow_call_detection_does_not_count_the_queue() {
    let breaker = CircuitBreaker::slow_calls(100 * MS, 0.1).min_calls(2).build().unwrap();
    let pipeline = Pipeline::builder("p").circuit_breaker(breaker.clone()).bulkhead(Bulkhead::new(1).queue(10)).build().unwrap();
    let slow = |time| {
        pipeline.call(move || async move {
            sleep(time).await;
            Ok::<_, String>(())
        })
    };
    let (a, b) = tokio::join!(slow(99 * MS), slow(MS));
    assert_eq!((a, b, breaker.state()), (Ok(()), Ok(()), CircuitState::Closed));
    slow(101 * MS).await.unwrap();
    assert_eq!(breaker.state(), CircuitState::Open);
}

// ------------------------------------------------------------------ limits

#[tokio::test(start_paused = true)]
async fn c3_a_rate_limit_counts_attempts_and_ends_the_retries() {
    let pipeline = Pipeline::builder("p").retry(plain(6, MS)).rate_limit(RateLimiter::per_hour(3)).build().unwrap();
    let calls = Cell::new(0);
    assert_eq!(pipeline.call(|| fail(&calls)).await, Err(Error::Inner("down 3".into())));
    assert_eq!(calls.get(), 3);
    let error = pipeline.call(|| fail(&calls)).await.unwrap_err();
    assert_eq!((error.is_rate_limited(), error.attempts(), error.retry_after().is_some()), (true, Some(0), true));
}

#[tokio::test(start_paused = true)]
async fn a_unit_reserved_for_an_attempt_that_the_bulkhead_refused_is_handed_back() {
    let (limiter, places) = (RateLimiter::per_hour(2).build().unwrap(), Bulkhead::new(1).build().unwrap());
    let pipeline = Pipeline::builder("p").rate_limit(limiter.clone()).bulkhead(places.clone()).build().unwrap();
    let held = places.try_acquire().unwrap();
    for _ in 0..10 {
        assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_bulkhead_full());
    }
    drop(held);
    assert_eq!(limiter.available(), 2);
}

// ------------------------------------------------------------------ layers

#[tokio::test(start_paused = true)]
async fn h69_three_layers_of_retries_do_not_multiply() {
    let layer = |name: &str| {
        let retry = plain(3, Duration::ZERO).budget(Budget::new(0.1).min_per_second(0.0).burst(1));
        Pipeline::builder(name).retry(retry).build().unwrap()
    };
    let (a, b, c) = (layer("a"), layer("b"), layer("c"));
    let calls = Cell::new(0);
    for _ in 0..1_000 {
        let _ = a.call(|| b.call(|| c.call(|| fail(&calls)))).await;
    }
    assert!((1_000..=1_100).contains(&calls.get()), "the backend saw {}", calls.get());
}

#[tokio::test(start_paused = true)]
async fn an_inner_call_inherits_the_outer_deadline() {
    let outer = Pipeline::builder("outer").total_timeout(100 * MS).build().unwrap();
    let inner = Pipeline::builder("inner").rate_limit(RateLimiter::per_second(1).burst(1).max_wait(Duration::MAX)).build().unwrap();
    let ok = || async { Ok::<_, String>(()) };
    inner.call(ok).await.unwrap();
    let before = Instant::now();
    let error = outer.around(&inner).call(ok).await.unwrap_err();
    assert_eq!((error.is_rate_limited(), before.elapsed()), (true, Duration::ZERO), "a wait of 1 s cannot fit in 100 ms: {error}");
}

#[tokio::test(start_paused = true)]
async fn nested_errors_stay_flat() {
    let (outer, inner) = (Pipeline::builder("outer").build().unwrap(), Pipeline::builder("inner").attempt_timeout(MS).build().unwrap());
    let around: Error<String> = outer.around(&inner).call(std::future::pending::<Result<(), String>>).await.unwrap_err();
    assert_eq!((around.is_timeout(), around.rejected().unwrap().pipeline()), (true, Some("inner")));
    let by_hand = outer.call(|| inner.call(std::future::pending::<Result<(), String>>)).await;
    let flat: Error<String> = by_hand.unwrap_err().flatten();
    assert!(flat.is_timeout());
}

// ------------------------------------------------------------------ fallback

#[tokio::test(start_paused = true)]
async fn t7_fallback_answers_what_it_handles_and_nothing_else() {
    let pipeline = Pipeline::builder("p").monitor(Monitor::new()).build().unwrap();
    let down = || async { Err::<u32, _>("down".to_owned()) };
    assert_eq!(pipeline.call_or(down, 1).await, 1);
    assert_eq!(pipeline.key("tenant").call_or(down, 3).await, 3);
    assert_eq!(pipeline.call_or_else(down, |e| async move { Ok(e.inner().map_or(0, |e| e.len() as u32)) }).await, Ok(4));
    assert_eq!(pipeline.call_or_else(down, |_| async { Err(Error::Inner("worse".into())) }).await, Err(Error::Inner("worse".into())));
    let asked = Cell::new(false);
    let unasked = pipeline
        .call_or_else(
            || async { Ok::<_, String>(2) },
            |e| {
                asked.set(true);
                async { Err(e) }
            },
        )
        .await;
    assert_eq!((unasked, asked.get()), (Ok(2), false));
}

#[tokio::test(start_paused = true)]
async fn h79_a_fallback_does_not_hide_the_outage() {
    let monitor = Monitor::new();
    let pipeline = Pipeline::builder("p")
        .circuit_breaker(CircuitBreaker::consecutive_failures(3))
        .monitor(monitor.clone())
        .fallback(Fallback::<u32, String>::value(7))
        .build()
        .unwrap();
    for _ in 0..5 {
        assert_eq!(pipeline.call(|| async { Err("down".into()) }).await, Ok(7));
    }
    assert_eq!(pipeline.pipeline().circuit_breaker().unwrap().state(), CircuitState::Open);
    let stats = monitor.stats("p").unwrap();
    let all = stats.all_time();
    assert_eq!((all.successes(), all.failures(), all.rejections(), all.fallbacks()), (0, 3, 2, 5));
}

#[tokio::test(start_paused = true)]
async fn h80_a_fallback_gets_no_more_than_the_deadline() {
    let pipeline = Pipeline::builder("p").total_timeout(100 * MS).build().unwrap();
    let before = Instant::now();
    let slow = pipeline
        .call_or_else(
            || async { Err::<u32, _>("down".to_owned()) },
            |_| async {
                sleep(Duration::from_secs(9)).await;
                Ok(1)
            },
        )
        .await
        .unwrap_err();
    assert_eq!((slow.kind(), before.elapsed()), (Some(RejectedKind::DeadlineExceeded), 100 * MS));
    assert!(slow.to_string().ends_with("last error: down"), "{slow}");
    let hang = std::future::pending::<Result<u32, String>>;
    assert_eq!(pipeline.call_or_else(hang, |_| async { Ok(2) }).await, Ok(2), "an answer that is there is given, however late");
}

// ------------------------------------------------------------------ time

#[tokio::test(start_paused = true)]
async fn t1_a_timeout_fires_on_time_and_says_so() {
    let pipeline = Pipeline::builder("p").attempt_timeout(2_000 * MS).build().unwrap();
    let before = Instant::now();
    let error = pipeline
        .call(|| async {
            sleep(4_000 * MS).await;
            Ok::<_, String>(())
        })
        .await
        .unwrap_err();
    assert_eq!((before.elapsed(), error.kind(), error.elapsed()), (2_000 * MS, Some(RejectedKind::Timeout), Some(2_000 * MS)));
}

#[tokio::test(start_paused = true)]
async fn h38_t4_a_completion_in_the_instant_of_the_timeout_wins() {
    let pipeline = Pipeline::builder("p").attempt_timeout(100 * MS).total_timeout(100 * MS).build().unwrap();
    for _ in 0..1_000 {
        assert_eq!(
            pipeline
                .call(|| async {
                    sleep(100 * MS).await;
                    Ok::<_, String>(())
                })
                .await,
            Ok(())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn h29_a_zero_timeout_still_yields_what_is_ready() {
    let pipeline = Pipeline::builder("p").attempt_timeout(Duration::ZERO).build().unwrap();
    assert_eq!(pipeline.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
    assert!(pipeline.call(std::future::pending::<Result<(), String>>).await.unwrap_err().is_timeout());
}

#[tokio::test(start_paused = true)]
async fn h19_parked_for_an_hour_it_is_a_timeout() {
    let pipeline = Pipeline::builder("p").attempt_timeout(100 * MS).build().unwrap();
    let mut call = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
    assert!(futures_util::FutureExt::now_or_never(&mut call).is_none());
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert!(call.await.unwrap_err().is_timeout());
}

#[test]
fn h40_without_a_runtime_a_needed_timer_is_a_typed_error() {
    use std::task::{Context, Poll, Waker};
    let pipeline = Pipeline::builder("p").attempt_timeout(100 * MS).retry(plain(3, 10 * MS)).build().unwrap();
    let ready = std::pin::pin!(pipeline.call(|| async { Ok::<_, String>(1) }));
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(ready.poll(&mut cx), Poll::Ready(Ok(1)));
    let hang = std::pin::pin!(pipeline.call(std::future::pending::<Result<(), String>>));
    let Poll::Ready(Err(error)) = hang.poll(&mut cx) else { panic!("hangs") };
    assert_eq!(error.kind(), Some(RejectedKind::NoRuntime));
    let retry = std::pin::pin!(pipeline.call(|| async { Err::<(), _>("down".to_owned()) }));
    let Poll::Ready(Err(error)) = retry.poll(&mut cx) else { panic!("hangs") };
    assert_eq!(error.kind(), Some(RejectedKind::NoRuntime));
}

#[test]
#[should_panic(expected = "enable_time")]
fn h40_a_runtime_without_timers_panics_naming_enable_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pipeline = Pipeline::builder("p").attempt_timeout(MS).build().unwrap();
    let _ = runtime.block_on(pipeline.call(std::future::pending::<Result<(), String>>));
}

// ------------------------------------------------------------------ nesting, whichever way the inner call is polled

#[tokio::test(start_paused = true)]
async fn h69_inner_retries_are_suppressed_in_joins_selects_and_sets_but_not_in_tasks() {
    use futures_util::StreamExt;
    use futures_util::stream::FuturesUnordered;
    let outer = Pipeline::builder("outer").retry(plain(1, Duration::ZERO)).build().unwrap();
    let inner = Pipeline::builder("inner").retry(plain(2, Duration::ZERO)).build().unwrap();
    let calls = Cell::new(0);
    let attempt = || async {
        tokio::task::yield_now().await;
        fail(&calls).await
    };
    let joined = outer.call(|| async {
        let (first, _) = tokio::join!(inner.call(attempt), inner.call(attempt));
        first.map_err(|error| error.to_string())
    });
    assert!(joined.await.is_err());
    assert_eq!(calls.replace(0), 4, "twice by two");
    let raced = outer.call(|| async {
        tokio::select! {
            biased;
            () = std::future::pending() => Ok(()),
            answer = inner.call(attempt) => answer.map_err(|error| error.to_string()),
        }
    });
    assert!(raced.await.is_err());
    assert_eq!(calls.replace(0), 2);
    let many = outer.call(|| async {
        let mut many: FuturesUnordered<_> = (0..3).map(|_| inner.call(attempt)).collect();
        while many.next().await.is_some() {}
        Err::<(), _>("down".to_owned())
    });
    assert!(many.await.is_err());
    assert_eq!(calls.replace(0), 6);
    let made = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let spawned = outer.call(|| async {
        let (inner, made) = (inner.clone(), std::sync::Arc::clone(&made));
        let task = tokio::spawn(async move {
            let count = || async {
                made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Err::<(), _>("down".to_owned())
            };
            inner.call(count).await
        });
        task.await.unwrap().map_err(|error| error.to_string())
    });
    assert!(spawned.await.is_err());
    assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), 6, "a task is on its own: twice by three");
    assert!(inner.call(attempt).await.is_err());
    assert_eq!(calls.get(), 3, "and nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn h39_the_deadline_to_the_nanosecond() {
    const NANO: Duration = Duration::from_nanos(1);
    let start = Instant::now();
    let second = Duration::from_secs(1);
    let hang = std::future::pending::<Result<(), String>>;
    let kind = |total: Duration, attempt: Duration| {
        let pipeline = Pipeline::builder("p").total_timeout(total).attempt_timeout(attempt).build().unwrap();
        async move { pipeline.call(hang).await.unwrap_err().kind().unwrap() }
    };
    assert_eq!(kind(second, second).await, RejectedKind::DeadlineExceeded);
    assert_eq!(kind(second + Duration::from_millis(2), second).await, RejectedKind::Timeout);
    assert_eq!(kind(Duration::MAX, second).await, RejectedKind::Timeout);
    // Past at the start: what is ready is given, what is not is refused at once, and no retry begins.
    let pipeline = Pipeline::builder("p").retry(plain(5, Duration::ZERO)).build().unwrap();
    let calls = Cell::new(0);
    for request in [pipeline.deadline(start), pipeline.within(Duration::ZERO), pipeline.deadline(start).within(Duration::MAX)] {
        let before = Instant::now();
        assert_eq!(request.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
        let late = request.call(hang).await.unwrap_err();
        assert_eq!((late.kind(), late.attempts()), (Some(RejectedKind::DeadlineExceeded), Some(1)));
        assert!(request.call(|| fail(&calls)).await.is_err());
        assert_eq!(calls.replace(0), 1, "no attempt begins at the deadline");
        assert!(before.elapsed() <= Duration::from_millis(1), "the timer's own granularity");
    }
    // The earliest of own, given and inherited counts.
    let outer = Pipeline::builder("outer").total_timeout(second).build().unwrap();
    let seen = outer.call(|| async {
        let left = async |request: steadfast::Request<'_>| {
            request.call_with(|attempt| async move { Ok::<_, String>(attempt.remaining().unwrap()) }).await.unwrap()
        };
        Ok::<_, String>([left(pipeline.within(second - NANO)).await, left(pipeline.within(second + NANO)).await])
    });
    assert_eq!(seen.await, Ok([second - NANO, second]));
    assert!(
        pipeline.within(Duration::MAX).call_with(|attempt| async move { Ok::<_, String>(attempt.remaining()) }).await.unwrap().is_none()
    );
}

// ------------------------------------------------------------------ what one call says of itself

#[tokio::test(start_paused = true)]
async fn h77_a_call_that_may_not_happen_twice_is_not_retried_after_a_timeout() {
    let build = || {
        let retry = plain(3, MS).without_budget();
        Pipeline::builder("p").attempt_timeout(10 * MS).retry(retry).build().unwrap()
    };
    let calls = Cell::new(0);
    let hang = || async {
        calls.set(calls.get() + 1);
        std::future::pending::<Result<(), String>>().await
    };
    let pipeline = build();
    assert!(pipeline.idempotent(false).call(hang).await.unwrap_err().is_timeout());
    assert_eq!(calls.replace(0), 1);
    assert_eq!(pipeline.stats().retry.unwrap().stopped(StopReason::NotRetryable), 1);
    assert!(pipeline.idempotent(true).call(hang).await.unwrap_err().is_timeout());
    assert_eq!(calls.replace(0), 4);
    // What is known to have failed in passing is another matter, unless the operation may run once only.
    assert!(pipeline.idempotent(false).call(|| fail(&calls)).await.is_err());
    assert_eq!(calls.replace(0), 4);
    assert!(pipeline.once().call(|| fail(&calls)).await.is_err());
    assert_eq!(calls.replace(0), 1);
    assert!(pipeline.once().call(hang).await.unwrap_err().is_timeout());
    assert_eq!(calls.replace(0), 1);
}

/// Lets everybody through, and remembers what it was told.
#[derive(Clone, Default)]
struct Told(Arc<std::sync::Mutex<Vec<Outcome>>>);

impl Gate for Told {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        Box::pin(async { Ok(Box::new(self.clone()) as Box<dyn Pass>) })
    }
}

impl Pass for Told {
    fn settle(self: Box<Self>, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }
}

struct Shut;
impl Gate for Shut {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        Box::pin(async { Err(Rejected::new(RejectedKind::Custom("shut"))) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_gate_is_told_that_the_one_after_it_refused() {
    let told = Told::default();
    let pipeline = Pipeline::builder("p").gate(told.clone()).gate(Shut).build().unwrap();
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_err());
    assert_eq!(*told.0.lock().unwrap(), [Outcome::NotAttempted]);

    let told = Told::default();
    let breaker = CircuitBreaker::consecutive_failures(1).open_for(Duration::from_secs(1)).open_jitter(0.0).build().unwrap();
    let pipeline = Pipeline::builder("p").gate(told.clone()).circuit_breaker(breaker.clone()).build().unwrap();
    let _ = pipeline.call(|| async { Err::<(), _>("down") }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _probe = breaker.try_acquire().unwrap(); // so that the look passes and the permit does not
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_err());
    let heard = told.0.lock().unwrap().clone();
    assert!(heard.iter().skip(1).all(|outcome| *outcome == Outcome::NotAttempted), "{heard:?}");
}
