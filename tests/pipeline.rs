//! The pipeline as a caller meets it: shapes of code that must work, order, explanations, configuration errors.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Bulkhead, CircuitBreaker, Error, PerKey, Pipeline, Priority, RateLimiter, Rejected, RejectedKind, Retry, Verdict,
};
use tokio::task::yield_now;

const MS: Duration = Duration::from_millis(1);

fn everything() -> Pipeline {
    Pipeline::builder("all")
        .total_timeout(10_000 * MS)
        .retry(Retry::constant(3, MS))
        .circuit_breaker(CircuitBreaker::failure_rate(0.9))
        .rate_limit(RateLimiter::per_second(1_000_000))
        .bulkhead(Bulkhead::new(50).queue(100))
        .attempt_timeout(2_000 * MS)
        .monitor(steadfast::Monitor::new())
        .build()
        .unwrap()
}

// ------------------------------------------------------------------ shapes of code

struct Client {
    pipeline: Pipeline,
    name: String,
}

impl Client {
    async fn borrowed<'a>(&'a self, extra: &'a str) -> Result<(&'a str, usize), Error<String>> {
        self.pipeline
            .call(|| async {
                yield_now().await;
                Ok((self.name.as_str(), extra.len()))
            })
            .await
    }

    async fn async_closure(&self, extra: &str) -> Result<usize, Error<String>> {
        self.pipeline
            .call(async || {
                yield_now().await;
                Ok(self.name.len() + extra.len())
            })
            .await
    }
}

trait Store {
    fn pipeline(&self) -> Pipeline;
    async fn load(&self, key: &str) -> Result<u32, String>;
    async fn load_safely(&self, key: &str) -> Result<u32, Error<String>> {
        self.pipeline().call(|| self.load(key)).await
    }
}

struct Memory(Pipeline);

impl Store for Memory {
    fn pipeline(&self) -> Pipeline {
        self.0.clone()
    }
    async fn load(&self, key: &str) -> Result<u32, String> {
        yield_now().await;
        Ok(key.len() as u32)
    }
}

fn generic_spawn<F, Fut, T, E>(pipeline: Pipeline, operation: F) -> tokio::task::JoinHandle<Result<T, Error<E>>>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + Sync + 'static,
{
    tokio::spawn(async move { pipeline.call(operation).await })
}

fn boxed<'a, F, Fut, T, E>(pipeline: &'a Pipeline, operation: F) -> std::pin::Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send + 'a>>
where
    F: Fn() -> Fut + Send + Sync + 'a,
    Fut: Future<Output = Result<T, E>> + Send + 'a,
    T: Send + 'a,
    E: Send + Sync + 'static,
{
    Box::pin(async move { pipeline.call(operation).await })
}

fn returned(pipeline: &Pipeline, text: &str) -> impl Future<Output = Result<usize, Error<String>>> + Send {
    pipeline.call(async || {
        yield_now().await;
        Ok(text.len())
    })
}

#[tokio::test(start_paused = true)]
async fn works_in_spawned_tasks_with_borrowed_locals() {
    let pipeline = everything();
    let task = tokio::spawn(async move {
        let local = String::from("abc");
        let borrowed = pipeline
            .call(|| async {
                yield_now().await;
                Ok::<_, String>(local.as_str())
            })
            .await;
        borrowed.map(str::len)
    });
    assert_eq!(task.await.unwrap(), Ok(3));
}

#[tokio::test(start_paused = true)]
async fn works_in_methods_that_return_borrows_and_in_trait_default_bodies() {
    let client = Client { pipeline: everything(), name: "n".into() };
    let task = tokio::spawn(async move {
        let extra = String::from("ex");
        assert_eq!(client.async_closure(&extra).await, Ok(3));
        client.borrowed(&extra).await.map(|(name, length)| (name.to_owned(), length))
    });
    assert_eq!(task.await.unwrap(), Ok(("n".to_owned(), 2)));
    assert_eq!(Memory(everything()).load_safely("abc").await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn works_in_code_generic_over_the_operation() {
    let pipeline = everything();
    assert_eq!(generic_spawn(pipeline.clone(), || async { Ok::<_, String>(1) }).await.unwrap(), Ok(1));
    assert_eq!(boxed(&pipeline, || async { Ok::<_, String>(2) }).await, Ok(2));
    assert_eq!(returned(&pipeline, "abc").await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn h128_works_on_a_local_set_with_rc() {
    let pipeline = everything();
    let local = tokio::task::LocalSet::new();
    let answer = local
        .run_until(async move {
            let count = Rc::new(Cell::new(0));
            tokio::task::spawn_local(async move {
                pipeline
                    .call(|| {
                        let count = Rc::clone(&count);
                        async move {
                            yield_now().await;
                            count.set(count.get() + 1);
                            if count.get() < 3 { Err("not yet".to_owned()) } else { Ok(count.get()) }
                        }
                    })
                    .await
            })
            .await
            .unwrap()
        })
        .await;
    assert_eq!(answer, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn foreign_error_types_need_only_from_rejected() {
    let pipeline = Pipeline::builder("slow").attempt_timeout(MS).build().unwrap();
    async fn hang() -> Result<(), anyhow::Error> {
        std::future::pending().await
    }
    let error: anyhow::Error = pipeline.call(hang).await.unwrap_err().flatten();
    assert_eq!(error.downcast_ref::<Rejected>().unwrap().kind(), RejectedKind::Timeout);
    let boxed: Box<dyn std::error::Error + Send + Sync> = pipeline
        .call(|| async {
            std::future::pending::<()>().await;
            Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
        })
        .await
        .unwrap_err()
        .flatten();
    assert_eq!(boxed.to_string(), "slow: gave up after 1 ms (attempt timeout), 1 attempt");
}

// ------------------------------------------------------------------ options of one call

#[tokio::test(start_paused = true)]
async fn options_come_first_and_compose() {
    let pipeline = everything();
    let seen = AtomicU32::new(0);
    let answer = pipeline
        .key("tenant")
        .priority(Priority::High)
        .cost(2)
        .within(100 * MS)
        .classify(|r: &Result<u32, String>| if matches!(r, Ok(1)) { Verdict::transient() } else { Verdict::Success })
        .call_with(|attempt| {
            seen.fetch_add(1, Ordering::Relaxed);
            assert!(attempt.remaining().unwrap() <= 100 * MS);
            async move { Ok::<_, String>(attempt.number()) }
        })
        .await;
    assert_eq!((answer, seen.load(Ordering::Relaxed)), (Ok(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_value_judged_a_failure_is_returned_when_attempts_run_out() {
    let pipeline = Pipeline::builder("p").retry(Retry::constant(2, Duration::ZERO)).build().unwrap();
    let calls = AtomicU32::new(0);
    let answer = pipeline
        .classify(|_: &Result<u32, String>| Verdict::transient())
        .call(|| async { Ok(calls.fetch_add(1, Ordering::Relaxed)) })
        .await;
    assert_eq!(answer, Ok(2));
}

// ------------------------------------------------------------------ order, explanation, warnings

#[test]
fn the_order_is_drawn_and_does_not_depend_on_the_builder() {
    let forwards = Pipeline::builder("api")
        .total_timeout(10_000 * MS)
        .retry(Retry::exponential(3, 100 * MS))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5))
        .rate_limit(RateLimiter::per_second(100))
        .bulkhead(Bulkhead::new(50))
        .attempt_timeout(2_000 * MS)
        .build()
        .unwrap();
    let backwards = Pipeline::builder("api")
        .attempt_timeout(2_000 * MS)
        .bulkhead(Bulkhead::new(50))
        .rate_limit(RateLimiter::per_second(100))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5))
        .retry(Retry::exponential(3, 100 * MS))
        .total_timeout(10_000 * MS)
        .build()
        .unwrap();
    assert_eq!(forwards.to_string(), backwards.to_string());
    assert_eq!(
        forwards.to_string(),
        "api: total timeout 10.0 s > retry > circuit breaker (look) > rate limit > bulkhead > circuit breaker (permit) > \
         attempt timeout 2.0 s > operation"
    );
}

#[test]
fn explain_tells_attempts_worst_case_and_load() {
    let bounded = Pipeline::builder("p").retry(Retry::constant(2, 100 * MS)).attempt_timeout(1_000 * MS).build().unwrap().explain();
    assert_eq!((bounded.attempts(), bounded.worst_case()), (3, Some(3_200 * MS)));
    assert!((bounded.load() - 1.1).abs() < 1e-9, "{}", bounded.load());
    let endless = Pipeline::builder("p").retry(Retry::constant(2, 100 * MS).without_budget()).build().unwrap().explain();
    assert_eq!((endless.worst_case(), endless.load()), (None, 3.0));
    // A bulkhead without a queue keeps nobody waiting; one with a queue, for so long; a gate, nobody knows.
    let standard = Pipeline::standard("p").build().unwrap().explain();
    assert_eq!(standard.worst_case(), Some(127_000 * MS));
    assert!(standard.to_string().contains("worst case: 127 s, and longer pauses where a server asks for them\n"), "{standard}");
    assert!(standard.to_string().ends_with("at most 1.10 attempts per call in the long run, or 3 retries a second if that is more"));
    let timed = || Pipeline::builder("p").attempt_timeout(1_000 * MS);
    let worst = |builder: steadfast::PipelineBuilder| builder.build().unwrap().explain().worst_case();
    assert_eq!(worst(timed().bulkhead(Bulkhead::new(1).queue(9).max_wait(500 * MS))), Some(1_500 * MS));
    assert_eq!(worst(timed().bulkhead(Bulkhead::new(1).queue(9))), None);
    assert_eq!(worst(timed().rate_limit(RateLimiter::per_second(1).max_wait(2_000 * MS))), Some(3_000 * MS));
    let unlimited = Pipeline::builder("p").retry(Retry::constant(Retry::UNLIMITED, MS)).attempt_timeout(MS).build().unwrap().explain();
    assert_eq!((unlimited.attempts(), unlimited.worst_case()), (u32::MAX, None));
    assert!(unlimited.to_string().contains("attempts:   as many as deadline and budget allow\n"), "{unlimited}");
}

#[test]
fn doubtful_combinations_are_named() {
    let fields = |builder: steadfast::PipelineBuilder| -> Vec<String> {
        builder.build().unwrap().warnings().iter().map(|warning| warning.field().to_owned()).collect()
    };
    assert_eq!(fields(Pipeline::builder("p").retry(Retry::constant(1, MS).without_budget())), ["retry", "retry", "retry.budget"]);
    assert_eq!(fields(Pipeline::builder("p").circuit_breaker(CircuitBreaker::failure_rate(0.5))), ["circuit_breaker"]);
    assert_eq!(fields(Pipeline::builder("p").bulkhead(Bulkhead::new(1).queue(9))), ["bulkhead.queue"]);
    assert_eq!(fields(Pipeline::builder("p").log_keys()), ["log_keys"]);
    let alike = Pipeline::builder("p").retry(Retry::constant(1, MS)).total_timeout(1_000 * MS).attempt_timeout(1_000 * MS);
    assert_eq!(fields(alike), ["attempt_timeout"], "an attempt that times out leaves no time for another");
    let zero = Pipeline::builder("p").total_timeout(Duration::ZERO);
    assert_eq!(fields(zero), ["total_timeout"]);
    let patient = AdaptiveLimit::new().queue(9).max_wait(Duration::MAX);
    assert_eq!(fields(Pipeline::builder("p").adaptive_limit(patient)), ["adaptive_limit.queue", "adaptive_limit"]);
    assert_eq!(fields(Pipeline::builder("p").adaptive_limit(AdaptiveLimit::new()).attempt_timeout(MS)), Vec::<String>::new());
    for preset in [Pipeline::http("p"), Pipeline::database("p"), Pipeline::interactive("p"), Pipeline::background("p")] {
        assert!(fields(preset).is_empty());
    }
}

// ------------------------------------------------------------------ configuration errors

#[test]
fn build_reports_all_faults_at_once() {
    let error = Pipeline::builder("quotes")
        .circuit_breaker(CircuitBreaker::failure_rate(50.0))
        .attempt_timeout(12_000 * MS)
        .total_timeout(10_000 * MS)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "pipeline `quotes` cannot be built, 2 problems:\n  \
         circuit_breaker.failure_rate: 50 is not a fraction between 0 and 1; for 50 % write 0.5\n  \
         attempt_timeout: 12.0 s is longer than total_timeout (10.0 s), so it could never fire; lower it below 10.0 s or raise total_timeout"
    );
}

#[tokio::test(start_paused = true)]
async fn h28_duration_max_everywhere_means_never() {
    let pipeline = Pipeline::builder("never")
        .total_timeout(Duration::MAX)
        .attempt_timeout(Duration::MAX)
        .retry(Retry::exponential(3, Duration::MAX).max_delay(Duration::MAX).hint_ceiling(Duration::MAX))
        .circuit_breaker(
            CircuitBreaker::failure_rate(0.5).window(Duration::MAX).open_for(Duration::MAX).max_open(Duration::MAX).min_calls(2),
        )
        .bulkhead(Bulkhead::new(usize::MAX).queue(1_000_000).max_wait(Duration::MAX))
        .build();
    let Ok(pipeline) = pipeline else { panic!("{}", pipeline.unwrap_err()) };
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(60 * 60 * 24 * 365)).await;
        let _ = pipeline.within(Duration::from_secs(1)).call(|| async { Err::<(), _>("down".to_owned()) }).await;
    }
}

// ------------------------------------------------------------------ the adaptive limit

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_refuses_queues_and_bounds_the_bulkhead() {
    let limit = || AdaptiveLimit::new().initial(2).min(1).max(10).reserve(0.0);
    let pipeline = Pipeline::builder("p").adaptive_limit(limit()).bulkhead(Bulkhead::new(5)).build().unwrap();
    assert_eq!(pipeline.to_string(), "p: bulkhead > adaptive limit > operation");
    let hang = || pipeline.call(std::future::pending::<Result<(), String>>);
    let mut running = [Box::pin(hang()), Box::pin(hang())];
    assert!(running.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
    let error = hang().await.unwrap_err();
    assert_eq!(error.kind(), Some(RejectedKind::ConcurrencyLimited));
    assert_eq!(pipeline.bulkhead().unwrap().in_use(), 2, "the refused call gave its place back");
    let stats = pipeline.stats();
    assert_eq!(stats.adaptive_limit.map(|limit| (limit.limit, limit.in_use)), Some((2, 2)));
    drop(running);
    assert_eq!(pipeline.adaptive_limit().unwrap().in_use(), 0);

    let queued = Pipeline::builder("p").adaptive_limit(limit().queue(1).max_wait(50 * MS)).build().unwrap();
    let slow = || {
        queued.call(|| async {
            tokio::time::sleep(30 * MS).await;
            Ok::<_, String>(())
        })
    };
    let began = tokio::time::Instant::now();
    let (a, b, c, d) = tokio::join!(slow(), slow(), slow(), slow());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(d.unwrap_err().kind(), Some(RejectedKind::ConcurrencyLimited), "one may wait, not two");
    assert_eq!(began.elapsed(), 60 * MS);
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_learns_from_the_attempts_of_its_pipeline() {
    // The dependency works on five at once; whatever is beyond stands in its queue.
    let servers = Arc::new(tokio::sync::Semaphore::new(5));
    let pipeline =
        Pipeline::builder("p").adaptive_limit(AdaptiveLimit::new().initial(60).queue(1_000)).attempt_timeout(5_000 * MS).build().unwrap();
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let (pipeline, servers) = (pipeline.clone(), Arc::clone(&servers));
            tokio::spawn(async move {
                for _ in 0..60 {
                    let work = || async {
                        let _server = servers.acquire().await.map_err(|error| error.to_string())?;
                        tokio::time::sleep(20 * MS).await;
                        Ok::<_, String>(())
                    };
                    let _ = pipeline.call(work).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let limit = pipeline.adaptive_limit().unwrap().snapshot();
    assert!((4..=12).contains(&limit.limit), "of 60 that it began with: {limit:?}");
}

// ------------------------------------------------------------------ policies for each key

#[tokio::test(start_paused = true)]
async fn a_key_is_refused_by_its_own_policies_and_takes_nothing_from_the_others() {
    let pipeline = Pipeline::builder("p")
        .per_key(PerKey::new(10).rate_limit(RateLimiter::per_hour(2).burst(2)).bulkhead(Bulkhead::new(1)))
        .rate_limit(RateLimiter::per_hour(100).burst(100))
        .build()
        .unwrap();
    assert_eq!(pipeline.to_string(), "p: per key > rate limit > operation");
    let ok = || async { Ok::<_, String>(()) };
    let one = pipeline.key("one");
    let mut hanging = Box::pin(one.call(std::future::pending::<Result<(), String>>));
    assert!(hanging.as_mut().now_or_never().is_none());
    assert!(one.call(ok).await.unwrap_err().is_bulkhead_full());
    drop(hanging);
    assert!(one.call(ok).await.is_ok());
    assert!(one.call(ok).await.unwrap_err().is_rate_limited());
    assert!(pipeline.key("two").call(ok).await.is_ok());
    for _ in 0..10 {
        assert!(pipeline.call(ok).await.is_ok(), "without a key there is nothing to refuse");
    }
    assert_eq!(pipeline.rate_limiter().unwrap().available(), 100 - 13);
    let stats = pipeline.stats();
    assert_eq!(stats.per_key.map(|keys| (keys.keys, keys.rejected)), Some((2, 2)), "{stats}");
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_circuit_is_open_is_not_waited_for_and_another_gates_refusal_hands_its_units_back() {
    let pipeline = Pipeline::builder("p")
        .per_key(PerKey::new(10).circuit_breaker(CircuitBreaker::consecutive_failures(1)).rate_limit(RateLimiter::per_hour(9).burst(9)))
        .bulkhead(Bulkhead::new(1))
        .retry(Retry::constant(3, 10 * MS))
        .build()
        .unwrap();
    let began = tokio::time::Instant::now();
    let error = pipeline.key("bad").call(|| async { Err::<(), _>("down") }).await.unwrap_err();
    assert_eq!((error.into_inner(), began.elapsed()), (Some("down"), Duration::ZERO), "the retry sees that the circuit of the key is open");
    assert!(pipeline.key("bad").call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open());
    assert!(pipeline.key("good").call(|| async { Ok::<_, String>(()) }).await.is_ok());

    let _held = pipeline.bulkhead().unwrap().try_acquire().unwrap();
    for _ in 0..20 {
        assert!(pipeline.key("good").call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_bulkhead_full());
    }
    drop(_held);
    for _ in 0..8 {
        assert!(pipeline.key("good").call(|| async { Ok::<_, String>(()) }).await.is_ok());
    }
    assert!(pipeline.key("good").call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_rate_limited());
}

#[tokio::test(start_paused = true)]
async fn h22_a_panic_counts_against_the_key_it_was_made_for() {
    use std::panic::AssertUnwindSafe;
    let pipeline =
        Pipeline::builder("p").per_key(PerKey::new(10).circuit_breaker(CircuitBreaker::consecutive_failures(1))).build().unwrap();
    let bad = pipeline.key("bad");
    let panicking = AssertUnwindSafe(bad.call(|| async { if true { panic!("operation") } else { Ok::<(), String>(()) } }));
    assert!(panicking.catch_unwind().await.is_err());
    assert!(bad.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open());
    assert!(pipeline.key("good").call(|| async { Ok::<_, String>(()) }).await.is_ok());
}

// ------------------------------------------------------------------ sharing

#[tokio::test(start_paused = true)]
async fn one_hundred_clones_share_one_state() {
    let pipeline =
        Pipeline::builder("p").circuit_breaker(CircuitBreaker::consecutive_failures(100)).bulkhead(Bulkhead::new(100)).build().unwrap();
    for _ in 0..100 {
        let _ = pipeline.clone().call(|| async { Err::<(), _>("down".to_owned()) }).await;
    }
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open());
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_at_the_half_opening_get_three_probes() {
    let pipeline = Pipeline::builder("p")
        .circuit_breaker(CircuitBreaker::consecutive_failures(1).open_for(1_000 * MS).open_jitter(0.0).probes(3))
        .build()
        .unwrap();
    let _ = pipeline.call(|| async { Err::<(), _>("down".to_owned()) }).await;
    tokio::time::advance(1_000 * MS).await;
    let ran = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let (pipeline, ran) = (pipeline.clone(), Arc::clone(&ran));
            tokio::spawn(async move {
                pipeline
                    .call(|| async {
                        ran.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(10 * MS).await;
                        Ok::<_, String>(())
                    })
                    .await
            })
        })
        .collect();
    let mut open = 0;
    for caller in callers {
        open += u32::from(caller.await.unwrap().is_err_and(|error| error.is_circuit_open()));
    }
    assert_eq!((ran.load(Ordering::Relaxed), open), (3, 9_997));
}
