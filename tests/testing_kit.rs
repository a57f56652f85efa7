//! The testing kit does what it says, to pipelines as users have them.

#![cfg(feature = "testing")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::LazyLock;
use std::time::Duration;
use steadfast::testing::{
    ManualLimiter, NoWaits, Recording, Script, exhausted_limiter, fail_at, full_bulkhead, half_open_circuit, manual_breaker, open_circuit,
};
use steadfast::{
    Budget, Bulkhead, CallEnd, CircuitBreaker, CircuitState, Error, Jitter, Pipeline, PipelineConfig, RejectedKind, Retry, RetryConfig,
};
use tokio::time::{Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

fn retries(n: u32) -> RetryConfig {
    Retry::constant(n, SECOND).jitter(Jitter::None).without_budget()
}

#[tokio::test(start_paused = true)]
async fn a_script_is_played_in_order_and_then_its_rest() {
    let script = Script::new().fail("a").ok(1).fail_times(2, "b").then_ok(2);
    let mut played = Vec::new();
    for _ in 0..6 {
        played.push(script.run().await);
    }
    assert_eq!(played, [Err("a"), Ok(1), Err("b"), Err("b"), Ok(2), Ok(2)]);
    assert_eq!((script.calls(), script.left(), script.dropped(), script.in_flight()), (6, 0, 0, 0));
    let failing = Script::<(), _>::new().then_fail("down");
    assert_eq!((failing.run().await, failing.run().await), (Err("down"), Err("down")));
}

#[tokio::test(start_paused = true)]
async fn a_run_past_the_end_of_a_script_is_told() {
    let script = Script::<u8, u8>::new().ok(1);
    let _ = script.run().await;
    let run = script.clone();
    let panic = tokio::spawn(async move { run.run().await }).await.unwrap_err().into_panic();
    let message = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert_eq!(message, "the script has 1 steps, and this is run 2; end it with `then_ok` or `then_fail`");
}

#[tokio::test(start_paused = true)]
async fn steps_take_their_time_and_a_timeout_drops_them() {
    let p = Pipeline::builder("p").attempt_timeout(2 * SECOND).retry(retries(5)).build().expect("sound");
    let script = Script::new().ok(1).taking(3 * SECOND).hang().fail("late").taking(SECOND).then_ok(2).taking(SECOND / 2);
    let begun = Instant::now();
    assert_eq!(p.call(|| script.run()).await, Ok(2));
    assert_eq!(script.gaps(), [3 * SECOND, 3 * SECOND, 2 * SECOND]);
    assert_eq!((script.dropped(), begun.elapsed()), (2, 8 * SECOND + SECOND / 2));
}

#[tokio::test(start_paused = true)]
async fn what_ran_at_once_is_counted() {
    let p = Pipeline::builder("p").bulkhead(Bulkhead::new(3).queue(100)).build().expect("sound");
    let script = Script::<_, ()>::new().then_ok(()).taking(SECOND);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (p, script) = (p.clone(), script.clone());
            tokio::spawn(async move { p.call(|| script.run()).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("joined"), Ok(()));
    }
    assert_eq!((script.calls(), script.most_at_once(), script.in_flight()), (10, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_script_is_the_callers() {
    let recording = Recording::new();
    let p = Pipeline::builder("p").observer(recording.clone()).build().expect("sound");
    let script = Script::<(), ()>::new().panic("boom");
    let panic = tokio::spawn({
        let script = script.clone();
        async move { p.call(|| script.run()).await }
    });
    assert_eq!(panic.await.unwrap_err().into_panic().downcast_ref::<String>().map(String::as_str), Some("boom"));
    assert_eq!((script.calls(), script.dropped()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn chosen_runs_fail_and_the_others_are_ones_own() {
    let p = Pipeline::builder("p").retry(retries(1)).build().expect("sound");
    let real = Script::<_, String>::new().then_ok(7);
    let flaky = fail_at([1, 3, 4], |run| format!("run {run}"), || real.run());
    assert_eq!(p.call(&flaky).await, Ok(7));
    assert_eq!(p.call(&flaky).await, Err(Error::Inner("run 4".into())));
    assert_eq!(p.call(&flaky).await, Ok(7));
    assert_eq!(real.calls(), 2, "a run that fails does not reach it");
}

#[tokio::test(start_paused = true)]
async fn circuits_in_every_state() {
    let p = |breaker: CircuitBreaker| Pipeline::http("p").circuit_breaker(breaker).no_waits().build().expect("sound");
    let script = Script::<_, &str>::new().then_ok(1);

    let open = open_circuit();
    assert_eq!(p(open.clone()).call(|| script.run()).await.unwrap_err().kind(), Some(RejectedKind::CircuitOpen));
    assert_eq!(script.calls(), 0);
    advance(3_600 * SECOND).await;
    assert_eq!(p(open.clone()).call(|| script.run()).await, Ok(1));
    assert_eq!(open.state(), CircuitState::Closed);

    let half_open = half_open_circuit();
    let _probe = half_open.try_acquire().expect("one probe");
    assert!(p(half_open.clone()).call(|| script.run()).await.unwrap_err().is_circuit_open());

    let manual = manual_breaker();
    let down = Script::<(), _>::new().then_fail("down");
    for _ in 0..100 {
        assert_eq!(p(manual.clone()).call(|| down.run()).await, Err(Error::Inner("down")));
    }
    assert_eq!(manual.state(), CircuitState::Closed);
    manual.force_open();
    advance(Duration::from_secs(10_000_000)).await;
    assert_eq!(manual.state(), CircuitState::Open, "no time closes it");
    assert!(manual.half_open());
    let _ = p(manual.clone()).call(|| script.run()).await;
    assert_eq!(manual.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_reached() {
    let limited = Pipeline::builder("p").rate_limit(exhausted_limiter()).build().expect("sound");
    let error = limited.call(|| async { Ok::<_, ()>(()) }).await.unwrap_err();
    assert_eq!((error.is_rate_limited(), error.retry_after()), (true, Some(3_600 * SECOND)));

    let (bulkhead, taken) = full_bulkhead();
    let full = Pipeline::builder("p").bulkhead(bulkhead).build().expect("sound");
    assert!(full.call(|| async { Ok::<_, ()>(()) }).await.unwrap_err().is_bulkhead_full());
    drop(taken);
    assert_eq!(full.call(|| async { Ok::<_, ()>(()) }).await, Ok(()));

    let manual = ManualLimiter::new().allow(5);
    let p = Pipeline::builder("p").gate(manual.clone()).build().expect("sound");
    assert_eq!(p.cost(4).call(|| async { Ok::<_, ()>(()) }).await, Ok(()));
    assert!(p.cost(2).call(|| async { Ok::<_, ()>(()) }).await.unwrap_err().is_rate_limited());
    assert_eq!((manual.left(), manual.refused()), (1, 1), "a refusal takes nothing");
    manual.exhaust();
    assert!(p.call(|| async { Ok::<_, ()>(()) }).await.unwrap_err().retry_after().is_none());
    assert!(p.to_string().contains("manual limiter"));
}

#[tokio::test(start_paused = true)]
async fn without_waits_the_decisions_are_the_same() {
    let begun = Instant::now();
    let script = || Script::<(), _>::new().then_fail("down");

    // As many retries.
    let builder = Pipeline::builder("p").retry(retries(5)).no_waits();
    let tried = script();
    let _ = builder.build().expect("sound").call(|| tried.run()).await;
    assert_eq!(tried.calls(), 6);

    // A wait that would not have fitted before the deadline is refused all the same.
    let tried = script();
    let p = Pipeline::builder("p").total_timeout(SECOND).retry(retries(5)).no_waits().build().expect("sound");
    let _ = p.call(|| tried.run()).await;
    assert_eq!(tried.calls(), 1);

    // A live policy shared with others goes on sharing its budget.
    let live = Retry::constant(5, SECOND).budget(Budget::new(0.1).min_per_second(0.0).burst(2)).build().expect("sound");
    let tried = script();
    let _ = Pipeline::builder("p").retry(live.clone()).no_waits().build().expect("sound").call(|| tried.run()).await;
    assert_eq!((tried.calls(), live.budget().available()), (3, 0));

    // Settings, too, and pipelines that are there.
    let tried = script();
    let config = PipelineConfig::new().retry(retries(2)).no_waits();
    let _ = config.build("p").expect("sound").call(|| tried.run()).await;
    assert_eq!(tried.calls(), 3);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

static API: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::http("api").retry(retries(2)).build().expect("sound"));

#[tokio::test(start_paused = true)]
async fn a_static_pipeline_is_hurried_and_recorded_where_it_is() {
    let begun = Instant::now();
    let recording = Recording::of(&API);
    API.no_waits();
    let script = Script::<(), _>::new().then_fail("down");
    let _ = API.call(|| script.run()).await;
    assert_eq!((script.calls(), begun.elapsed()), (3, Duration::ZERO));
    assert_eq!(recording.count("retrying"), 2);
    assert_eq!(recording.ends(), [CallEnd::Failure]);
    recording.clear();
    assert!(recording.events().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_recording_tells_refusals_transitions_and_waits() {
    let recording = Recording::new();
    let p = Pipeline::builder("p")
        .retry(retries(1))
        .circuit_breaker(CircuitBreaker::consecutive_failures(2).open_for(SECOND).open_jitter(0.0))
        .observer(recording.clone())
        .build()
        .expect("sound");
    let script = Script::new().fail_times(2, "down").then_ok(());
    assert!(p.call(|| script.run()).await.is_err());
    assert!(p.call(|| script.run()).await.unwrap_err().is_circuit_open());
    advance(SECOND).await;
    assert_eq!(p.call(|| script.run()).await, Ok(()));
    assert_eq!(recording.circuit(), ["open", "half_open", "closed"]);
    assert_eq!(recording.rejections(), [RejectedKind::CircuitOpen]);
    assert_eq!(recording.delays(), [SECOND]);
    assert_eq!(recording.ends(), [CallEnd::Failure, CallEnd::Rejected(RejectedKind::CircuitOpen), CallEnd::Success]);
}

#[test]
#[should_panic(expected = "but these happened:\n  nothing")]
fn a_recording_that_is_not_as_expected_says_what_happened() {
    Recording::new().assert_names(["retrying"]);
}
