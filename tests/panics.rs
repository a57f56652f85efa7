//! Panics of user code: they reach the caller as themselves, and everything held comes back.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use steadfast::{Bulkhead, CircuitBreaker, CircuitState, Event, Monitor, PerKey, Pipeline, Retry, Verdict};

fn pipeline(breaker: &CircuitBreaker, monitor: &Monitor) -> Pipeline {
    Pipeline::builder("p")
        .circuit_breaker(breaker.clone())
        .bulkhead(Bulkhead::new(4))
        .retry(Retry::constant(2, Duration::ZERO))
        .attempt_timeout(Duration::from_secs(1))
        .monitor(monitor.clone())
        .classify(|e: &String| if e == "boom" { panic!("classifier") } else { Verdict::transient() })
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn h22_a_panic_unwinds_counts_as_a_failure_and_gives_everything_back() {
    let (breaker, monitor) = (CircuitBreaker::consecutive_failures(5).build().unwrap(), Monitor::new());
    let pipeline = pipeline(&breaker, &monitor);
    for i in 0..10 {
        let panics_late = AssertUnwindSafe(pipeline.call(|| async {
            tokio::task::yield_now().await;
            if true {
                panic!("the operation's own")
            }
            Ok::<(), String>(())
        }));
        let caught = panics_late.catch_unwind().await;
        match caught {
            Err(panic) => assert_eq!(panic.downcast_ref::<&str>(), Some(&"the operation's own")),
            Ok(answer) => assert!(i >= 5 && answer.unwrap_err().is_circuit_open()),
        }
        assert_eq!(pipeline.bulkhead().unwrap().available(), 4);
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    let stats = monitor.stats("p").unwrap();
    assert_eq!((stats.all_time().panics(), stats.all_time().rejections()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_closure_counts_like_one_in_the_future() {
    let (breaker, monitor) = (CircuitBreaker::consecutive_failures(1).build().unwrap(), Monitor::new());
    let pipeline = pipeline(&breaker, &monitor);
    fn closure() -> std::future::Ready<Result<(), String>> {
        panic!("before the first poll")
    }
    assert!(AssertUnwindSafe(pipeline.call(closure)).catch_unwind().await.is_err());
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn h22_a_panic_is_a_failure_to_the_breaker_of_its_key() {
    let keys = PerKey::new(9).circuit_breaker(CircuitBreaker::consecutive_failures(1));
    let pipeline = Pipeline::builder("p").per_key(keys).build().unwrap();
    async fn boom() -> Result<(), String> {
        tokio::task::yield_now().await;
        panic!("operation")
    }
    assert!(AssertUnwindSafe(pipeline.key("a").call(boom)).catch_unwind().await.is_err());
    assert!(pipeline.key("a").call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open());
    assert!(pipeline.key("b").call(|| async { Ok::<_, String>(()) }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn h23_a_panicking_judge_loses_nothing() {
    let (breaker, monitor) = (CircuitBreaker::consecutive_failures(1).build().unwrap(), Monitor::new());
    let pipeline = pipeline(&breaker, &monitor);
    for _ in 0..1_000 {
        let call = AssertUnwindSafe(pipeline.call(|| async { Err::<(), _>("boom".to_owned()) }));
        assert!(call.catch_unwind().await.is_err());
        assert_eq!(pipeline.bulkhead().unwrap().available(), 4);
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn h14_a_panicking_observer_is_nobody_elses_problem() {
    let pipeline = Pipeline::builder("p").observer(|_: &str, _: &Event| panic!("observer")).build().unwrap();
    assert_eq!(pipeline.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
    assert!(pipeline.observer_panics() >= 1);
    let call = AssertUnwindSafe(pipeline.call(|| async {
        if true {
            panic!("operation")
        }
        Ok::<(), String>(())
    }));
    assert!(call.catch_unwind().await.is_err(), "and the process lives");
}

#[tokio::test(start_paused = true)]
async fn h57_observers_and_operations_may_use_the_same_pipeline() {
    static PIPELINE: std::sync::OnceLock<Pipeline> = std::sync::OnceLock::new();
    let pipeline = Pipeline::builder("p")
        .circuit_breaker(CircuitBreaker::consecutive_failures(1))
        .bulkhead(Bulkhead::new(1).queue(1).max_wait(Duration::from_millis(10)))
        .observer(|_: &str, _: &Event| {
            if let Some(pipeline) = PIPELINE.get() {
                let _ = (pipeline.stats(), pipeline.circuit_breaker().unwrap().state());
                pipeline.circuit_breaker().unwrap().reset();
            }
        })
        .build()
        .unwrap();
    let pipeline = PIPELINE.get_or_init(|| pipeline);
    let _ = pipeline.call(|| async { Err::<(), _>("down".to_owned()) }).await;
    let nested = pipeline.call(|| async { pipeline.call(|| async { Ok::<_, String>(()) }).await.map_err(|e| e.to_string()) });
    let nested = tokio::time::timeout(Duration::from_secs(1), nested).await.expect("does not hang");
    assert!(nested.unwrap_err().to_string().contains("bulkhead is full"));
}
