//! Chaos, from the outside: what is injected, into what, how often, and that it can be switched off.
#![cfg(feature = "chaos")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use steadfast::chaos::{Chaos, ChaosConfig, Injection};
use steadfast::{Call, CircuitBreaker, CircuitState, Error, Hedge, Pipeline, Priority, RateLimiter, RejectedKind, Retry};
use tokio::time::{Instant, timeout};

const MS: Duration = Duration::from_millis(1);

/// An operation that counts how often it ran.
#[derive(Clone, Default)]
struct Operation(Arc<AtomicUsize>);

impl Operation {
    fn runs(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
    fn run(&self) -> impl Future<Output = Result<u32, String>> + Send + use<> {
        self.0.fetch_add(1, Ordering::Relaxed);
        async { Ok(1) }
    }
}

fn down() -> String {
    "chaos".to_owned()
}

#[tokio::test]
async fn t8_a_fault_comes_instead_of_the_operation() {
    let (chaos, operation) = (Chaos::seeded(1).fault(1.0, down).build().unwrap(), Operation::default());
    assert_eq!(chaos.around(|| operation.run())().await, Err(down()));
    assert_eq!((operation.runs(), chaos.counts().of(Injection::Fault), chaos.counts().calls()), (0, 1, 1));
}

#[tokio::test]
async fn t8_at_a_rate_so_many_of_the_calls_and_the_same_ones_for_the_same_seed() {
    async fn failed(seed: u64) -> Vec<bool> {
        let chaos = Chaos::seeded(seed).fault(0.1, down).build().unwrap();
        let operation = chaos.around(async || Ok::<u32, String>(1));
        let mut failed = Vec::new();
        for _ in 0..10_000 {
            failed.push(operation().await.is_err());
        }
        assert_eq!(chaos.counts().of(Injection::Fault), failed.iter().filter(|failed| **failed).count() as u64);
        failed
    }
    let first = failed(42).await;
    let share = first.iter().filter(|failed| **failed).count();
    assert!((900..1_100).contains(&share), "{share}");
    assert_eq!(first, failed(42).await);
    assert_ne!(first, failed(43).await);
}

#[tokio::test]
async fn one_injection_does_not_move_the_draws_of_another() {
    let failed = async |chaos: Chaos| {
        let operation = chaos.around(async || Ok::<u32, String>(1));
        let mut failed = Vec::new();
        for _ in 0..200 {
            failed.push(operation().await.is_err());
        }
        failed
    };
    let few = failed(Chaos::seeded(7).behaviour(0.1, async || ()).fault(0.3, down).build().unwrap()).await;
    let many = failed(Chaos::seeded(7).behaviour(1.0, async || ()).fault(0.3, down).build().unwrap()).await;
    assert_eq!(few, many);
}

#[tokio::test]
async fn t8_disabled_it_injects_nothing_and_draws_nothing() {
    let (chaos, operation) = (Chaos::seeded(1).fault(1.0, down).disabled().build().unwrap(), Operation::default());
    let disturbed = chaos.around(|| operation.run());
    assert_eq!(disturbed().await, Ok(1));
    chaos.enable();
    assert_eq!(disturbed().await, Err(down()));
    chaos.clone().disable();
    assert!(!chaos.is_enabled());
    assert_eq!(disturbed().await, Ok(1));
    assert_eq!(chaos.counts().calls(), 1);
}

#[tokio::test]
async fn t8_a_function_without_a_fault_lets_the_operation_run() {
    let (chaos, operation) = (Chaos::seeded(1).fault_by(1.0, |_| None::<String>).build().unwrap(), Operation::default());
    assert_eq!(chaos.around(|| operation.run())().await, Ok(1));
    assert_eq!((operation.runs(), chaos.counts().total()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn t8_a_cancelled_call_is_injected_into_no_more() {
    let (chaos, operation) = (Chaos::seeded(1).latency(1.0, 100 * MS).fault(1.0, down).build().unwrap(), Operation::default());
    drop(chaos.around(|| operation.run())());
    assert_eq!(chaos.counts().calls(), 0, "never polled, never begun");
    assert!(timeout(50 * MS, chaos.around(|| operation.run())()).await.is_err());
    let counts = chaos.counts();
    assert_eq!((counts.of(Injection::Latency), counts.of(Injection::Fault), operation.runs()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn t8_latency_comes_before_the_operation_and_zero_is_none() {
    let started = Instant::now();
    let (chaos, operation) = (Chaos::seeded(1).latency(1.0, 300 * MS).build().unwrap(), Operation::default());
    assert_eq!(chaos.around(|| operation.run())().await, Ok(1));
    assert_eq!((started.elapsed(), operation.runs()), (300 * MS, 1));

    let none = Chaos::seeded(1).latency(1.0, Duration::ZERO).latency_by(1.0, |_| Duration::ZERO).build().unwrap();
    assert_eq!(none.around(|| operation.run())().await, Ok(1));
    assert_eq!((started.elapsed(), none.counts().total()), (300 * MS, 0));

    let spread = Chaos::seeded(1).latency_between(1.0, 100 * MS, 200 * MS).latency(1.0, 1000 * MS).build().unwrap();
    for _ in 0..20 {
        let before = Instant::now();
        spread.around(|| operation.run())().await.unwrap();
        assert!((1100 * MS..=1201 * MS).contains(&before.elapsed()), "{:?}", before.elapsed());
    }
    // The longest of times is a hang, not an overflow.
    let forever = Chaos::seeded(1).latency_between(1.0, Duration::ZERO, Duration::MAX).latency(1.0, Duration::MAX).build().unwrap();
    assert!(timeout(3_600_000 * MS, forever.around(|| operation.run())()).await.is_err());
}

#[tokio::test]
async fn t8_a_behaviour_runs_and_then_the_operation() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (before, during) = (Arc::clone(&order), Arc::clone(&order));
    let behaviour = move || {
        let order = Arc::clone(&before);
        async move { order.lock().unwrap().push("behaviour") }
    };
    let chaos = Chaos::seeded(1).behaviour(1.0, behaviour).build().unwrap();
    let operation = move || {
        let order = Arc::clone(&during);
        async move {
            order.lock().unwrap().push("operation");
            Ok::<_, String>(())
        }
    };
    chaos.around(operation)().await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["behaviour", "operation"]);
    assert_eq!(chaos.counts().of(Injection::Behaviour), 1);
}

#[tokio::test]
async fn errors_and_values_are_chosen_by_their_type() {
    let chaos = Chaos::seeded(1)
        .fault(1.0, || io::Error::other("chaos"))
        .fault(1.0, down)
        .outcome(1.0, || 7_u8) // a fault goes first, where there is one of the type
        .build()
        .unwrap();
    assert_eq!(chaos.around(async || Ok::<u32, String>(1))().await, Err(down()));
    assert_eq!(chaos.around(async || Ok::<u32, io::Error>(1))().await.unwrap_err().to_string(), "chaos");
    assert_eq!(chaos.around(async || Ok::<u8, u64>(1))().await, Ok(7));
    assert_eq!(chaos.around(async || Ok::<u32, u64>(1))().await, Ok(1), "nothing is of these types");
    let counts = chaos.counts();
    assert_eq!((counts.of(Injection::Fault), counts.of(Injection::Outcome), counts.calls()), (2, 1, 4));
}

#[tokio::test]
async fn a_rejection_is_for_those_who_can_be_told() {
    let chaos = Chaos::seeded(1).reject(1.0, RejectedKind::CircuitOpen).fault(1.0, down).build().unwrap();
    let rejected = chaos.call(&Call::now(), async || Ok::<u32, String>(1)).await.unwrap_err();
    assert_eq!(rejected.kind(), Some(RejectedKind::CircuitOpen));
    // Around an operation there is only its own error type; the next that was drawn comes instead.
    assert_eq!(chaos.around(async || Ok::<u32, String>(1))().await, Err(down()));
    assert_eq!((chaos.counts().of(Injection::Rejection), chaos.counts().of(Injection::Fault)), (1, 1));
}

#[tokio::test]
async fn rates_and_filters_may_be_functions_of_the_call() {
    let important = |call: &Call<'_>| if call.priority_level() == Priority::Background { 1.0 } else { 0.0 };
    let chaos = Chaos::seeded(1).fault(important, down).only(|call| call.key() == Some("test-tenant")).build().unwrap();
    let run = async |call: Call<'static>| chaos.call(&call, async || Ok::<u32, String>(1)).await.is_err();
    let call = Call::now();
    assert!(!run(call.priority(Priority::Background)).await, "another's call");
    assert!(!run(call.for_key("test-tenant")).await);
    assert!(run(call.for_key("test-tenant").priority(Priority::Background)).await);
    assert_eq!(chaos.counts().calls(), 2);
    // Nonsense is never.
    for nonsense in [f64::NAN, -1.0, f64::NEG_INFINITY] {
        let chaos = Chaos::seeded(1).fault(move |_: &Call<'_>| nonsense, down).build().unwrap();
        assert!(chaos.call(&call, async || Ok::<u32, String>(1)).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_pipeline_each_attempt_is_drawn_for_and_policies_see_what_comes() {
    let chaos = Chaos::seeded(3).fault_by(1.0, |call| call.attempt().number().lt(&3).then(down)).build().unwrap();
    let pipeline = Pipeline::builder("p").retry(Retry::constant(3, Duration::ZERO)).build().unwrap();
    let operation = Operation::default();
    let answer = pipeline.call_with(chaos.around_with(|_| operation.run())).await;
    assert_eq!((answer, operation.runs(), chaos.counts().of(Injection::Fault)), (Ok(1), 1, 2));

    let hangs = Chaos::random().hang(1.0).build().unwrap();
    let breaker = CircuitBreaker::consecutive_failures(1);
    let guarded = Pipeline::builder("g").attempt_timeout(100 * MS).circuit_breaker(breaker).build().unwrap();
    let error = guarded.call(hangs.around(|| operation.run())).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(guarded.circuit_breaker().unwrap().state(), CircuitState::Open);
    assert_eq!(operation.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_knows_the_call_and_each_attempt_is_drawn_for() {
    let chaos = Chaos::seeded(3)
        .fault_by(1.0, |call| call.attempt().number().lt(&3).then(down))
        .only(|call| call.key() == Some("test") && call.priority_level() == Priority::High && call.cost_units() == 5);
    let pipeline = Pipeline::builder("p").retry(Retry::constant(3, Duration::ZERO)).chaos(chaos).build().unwrap();
    assert!(pipeline.to_string().ends_with("chaos > operation"), "{pipeline}");
    let (operation, chaos) = (Operation::default(), pipeline.chaos().unwrap());
    assert_eq!(pipeline.call(|| operation.run()).await, Ok(1));
    assert_eq!(chaos.counts().calls(), 0);
    assert_eq!(pipeline.key("test").priority(Priority::High).cost(5).call(|| operation.run()).await, Ok(1));
    let counts = chaos.counts();
    assert_eq!((counts.calls(), counts.of(Injection::Fault), operation.runs()), (3, 2, 2));
    // It stays when the settings change, and a switch is a switch for all.
    pipeline.reconfigure(&pipeline.config().attempt_timeout(MS)).unwrap();
    chaos.disable();
    assert_eq!(pipeline.key("test").priority(Priority::High).cost(5).call(|| operation.run()).await, Ok(1));
    assert!(!pipeline.chaos().unwrap().is_enabled());
}

#[tokio::test(start_paused = true)]
async fn in_a_pipeline_it_is_within_the_attempt_timeout_and_after_the_gates() {
    let operation = Operation::default();
    let build = |chaos: ChaosConfig| {
        Pipeline::builder("p")
            .attempt_timeout(100 * MS)
            .circuit_breaker(CircuitBreaker::consecutive_failures(2))
            .rate_limit(RateLimiter::per_hour(3))
            .chaos(chaos)
            .build()
            .unwrap()
    };
    let late = build(Chaos::seeded(1).latency(1.0, 99 * MS));
    let started = Instant::now();
    assert_eq!(late.call(|| operation.run()).await, Ok(1));
    assert_eq!(started.elapsed(), 99 * MS);
    let slow = build(Chaos::seeded(1).latency(1.0, 200 * MS));
    for _ in 0..2 {
        assert!(slow.call(|| operation.run()).await.unwrap_err().is_timeout());
    }
    assert!(slow.call(|| operation.run()).await.unwrap_err().is_circuit_open(), "injected slowness is slowness to the breaker");
    let chaos = slow.chaos().unwrap().counts();
    assert_eq!((chaos.calls(), chaos.of(Injection::Latency), slow.rate_limiter().unwrap().available()), (2, 2, 1));

    // A rejection is one of the attempt: nothing to the breaker, unless it is a timeout.
    let rejects = build(Chaos::seeded(1).reject(1.0, RejectedKind::BulkheadFull));
    for _ in 0..3 {
        let error = rejects.call(|| operation.run()).await.unwrap_err();
        assert_eq!((error.kind(), error.rejected().unwrap().pipeline()), (Some(RejectedKind::BulkheadFull), Some("p")));
    }
    assert!(rejects.call(|| operation.run()).await.unwrap_err().is_rate_limited());
    assert_eq!(rejects.circuit_breaker().unwrap().state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn in_a_pipeline_the_operation_is_not_even_asked_where_something_comes_instead() {
    let asked = AtomicUsize::new(0);
    let pipeline = Pipeline::builder("p").chaos(Chaos::seeded(1).latency(1.0, 50 * MS).fault(1.0, down)).build().unwrap();
    let call = || {
        pipeline.call(|| {
            asked.fetch_add(1, Ordering::Relaxed);
            async { Ok::<u32, String>(1) }
        })
    };
    assert!(timeout(20 * MS, call()).await.is_err());
    assert_eq!(pipeline.chaos().unwrap().counts().of(Injection::Fault), 0, "cancelled before it came");
    assert_eq!(call().await, Err(Error::Inner(down())));
    assert_eq!((asked.load(Ordering::Relaxed), pipeline.chaos().unwrap().counts().of(Injection::Fault)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn each_leg_of_a_hedged_attempt_is_drawn_for() {
    // The first leg of every call hangs, the second does not: so the hedge saves all of them.
    let turn = AtomicUsize::new(0);
    let every_second = move |_: &Call<'_>| if turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { 1.0 } else { 0.0 };
    let pipeline = Pipeline::builder("p")
        .hedge(Hedge::after(50 * MS).idempotent().max_hedges(1))
        .attempt_timeout(1000 * MS)
        .chaos(Chaos::seeded(1).hang(every_second))
        .build()
        .unwrap();
    let operation = Operation::default();
    for call in 1..=3 {
        let started = Instant::now();
        assert_eq!(pipeline.call(|| operation.run()).await, Ok(1));
        assert_eq!(started.elapsed(), 50 * MS);
        assert_eq!(pipeline.chaos().unwrap().counts().of(Injection::Hang), call);
    }
}

#[tokio::test]
async fn a_shared_chaos_serves_many_and_faults_of_settings_are_the_pipelines() {
    let chaos = Chaos::seeded(1).fault(1.0, down).build().unwrap();
    for name in ["a", "b"] {
        let pipeline = Pipeline::builder(name).chaos(chaos.clone()).build().unwrap();
        assert_eq!(pipeline.call(async || Ok::<u32, String>(1)).await, Err(Error::Inner(down())));
    }
    assert_eq!(chaos.counts().calls(), 2);
    let error = Pipeline::builder("p").chaos(Chaos::random().hang(5.0)).build().unwrap_err();
    assert_eq!(error.faults()[0].field(), "chaos.hang");
    let hangs = Pipeline::builder("p").chaos(Chaos::random().hang(0.1)).build().unwrap();
    assert_eq!(hangs.warnings()[0].field(), "chaos.hang");
}

#[tokio::test]
async fn a_disturbed_operation_is_send_where_the_operation_is_and_may_borrow() {
    let chaos = Chaos::seeded(1).latency(0.5, MS).fault(0.5, down).build().unwrap();
    let pipeline = Pipeline::builder("p").build().unwrap();
    let spawned = {
        let (chaos, operation) = (chaos.clone(), Operation::default());
        tokio::spawn(async move { pipeline.call(chaos.around(|| operation.run())).await })
    };
    assert!(matches!(spawned.await.unwrap(), Ok(1) | Err(Error::Inner(_))));
    let local = std::rc::Rc::new(1);
    let borrowed = chaos.around(|| async { Ok::<_, String>(*local) })();
    assert!(matches!(borrowed.await, Ok(1) | Err(_)));
}

#[tokio::test]
async fn rates_change_while_calls_run() {
    let chaos = Chaos::seeded(1).fault(0.0, down).outcome(|_: &Call<'_>| 1.0, || 9_u32).build().unwrap();
    let disturbed = chaos.around(async || Ok::<u32, String>(1));
    assert_eq!(disturbed().await, Ok(9));
    chaos.set_rate(Injection::Outcome, 0.0).unwrap();
    assert_eq!(disturbed().await, Ok(1));
    chaos.set_rate(Injection::Fault, 1.0).unwrap();
    assert_eq!(disturbed().await, Err(down()));
    let copy = chaos.config().build().unwrap();
    assert_eq!(copy.around(async || Ok::<u32, String>(1))().await, Err(down()), "a copy has the rates of now");
    for (injection, rate) in [(Injection::Hang, 0.5), (Injection::Fault, f64::NAN), (Injection::Fault, 50.0)] {
        assert_eq!(chaos.set_rate(injection, rate).unwrap_err().faults()[0].field(), injection.as_str());
    }
}

#[test]
fn h43_every_fault_is_named_at_once() {
    let error = Chaos::seeded(1).hang(1.5).latency_between(f64::NAN, 2 * MS, MS).fault(-0.1, down).build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["hang", "latency", "latency", "fault"]);
    assert_eq!(Chaos::random().build().unwrap_err().faults()[0].field(), "injection");
    let names: Vec<_> = Injection::ALL.iter().map(|injection| injection.as_str()).collect();
    assert_eq!(names, ["behaviour", "latency", "hang", "rejection", "fault", "outcome"]);
}

#[test]
fn h92_where_nothing_is_drawn_nothing_is_allocated() {
    let chaos = Chaos::seeded(1).fault(0.0, down).latency(0.0, MS).build().unwrap();
    let disturbed = chaos.around(async || Ok::<u32, String>(1));
    let ready = || {
        let future = std::pin::pin!(disturbed());
        assert!(future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready());
    };
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| ready()));
    assert_eq!(counted.count_total, 0);
}

static_assertions::assert_impl_all!(Chaos: Send, Sync, Unpin, Clone, std::fmt::Debug);
static_assertions::assert_impl_all!(ChaosConfig: Send, Sync, Unpin, Clone, std::fmt::Debug);
static_assertions::assert_impl_all!(Injection: Send, Sync, Unpin, Copy, std::fmt::Debug);

#[test]
fn h40_latency_outside_a_runtime_is_a_clear_error_or_none_and_no_panic() {
    let (chaos, operation) = (Chaos::seeded(1).latency(1.0, MS).build().unwrap(), Operation::default());
    let pipeline = Pipeline::builder("p").chaos(chaos.clone()).build().unwrap();
    let refused = pipeline.call(|| operation.run()).now_or_never().expect("no wait").unwrap_err();
    assert_eq!((refused.kind(), operation.runs()), (Some(RejectedKind::NoRuntime), 0));
    let refused = chaos.call(&Call::now(), || operation.run()).now_or_never().expect("no wait").unwrap_err();
    assert_eq!((refused.kind(), operation.runs()), (Some(RejectedKind::NoRuntime), 0));
    // Who cannot be told is not disturbed.
    assert_eq!(chaos.around(|| operation.run())().now_or_never(), Some(Ok(1)));
    assert_eq!((operation.runs(), chaos.counts().of(Injection::Latency)), (1, 0), "nothing was injected");
    // What needs no timer is injected all the same.
    let faults = Chaos::seeded(1).fault(1.0, down).build().unwrap();
    assert_eq!(faults.around(|| operation.run())().now_or_never(), Some(Err(down())));
}
