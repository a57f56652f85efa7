//! Every row of steadfast, configured with what the peers are configured with. The one file to change when our API does.
//!
//! Each policy alone is a pipeline with that policy and nothing else. No monitor, no observer and no total timeout where a peer has none.

use crate::{AT_ONCE, BACKOFF, FALLBACK, Failure, MIN_CALLS, OPEN, RATE, RETRIES, Row, TIMEOUT, WINDOW};
use crate::{drive, failing_op, leak, op, refused, row, slow_op, tasks, threaded};
use steadfast::{Bulkhead, CircuitBreaker, CircuitBreakerConfig, Monitor, Pipeline, PipelineBuilder, RateLimiter, Retry, RetryConfig};

const OURS: &str = "steadfast";

fn retry() -> RetryConfig {
    Retry::exponential(RETRIES, BACKOFF)
}

fn breaker() -> CircuitBreakerConfig {
    CircuitBreaker::failure_rate(0.5).window(WINDOW).min_calls(MIN_CALLS).open_for(OPEN).max_open(OPEN)
}

fn builder() -> PipelineBuilder {
    Pipeline::builder("bench")
}

fn built(builder: PipelineBuilder) -> &'static Pipeline {
    leak(builder.build().expect("valid"))
}

fn three() -> PipelineBuilder {
    builder().retry(retry()).circuit_breaker(breaker()).attempt_timeout(TIMEOUT)
}

/// Five layers; the sixth, the fallback, is at the call.
fn six() -> PipelineBuilder {
    three().rate_limit(RateLimiter::per_second(RATE)).bulkhead(Bulkhead::new(AT_ONCE))
}

/// On one thread.
pub fn overhead() -> Vec<Row> {
    let alone = |group, builder| {
        let pipeline = built(builder);
        row(group, OURS, async move || pipeline.call(op).await)
    };
    let mut rows = vec![
        alone("empty pipeline", builder()),
        alone("retry", builder().retry(retry())),
        alone("breaker, closed", builder().circuit_breaker(breaker())),
        open_breaker(),
        alone("rate limit", builder().rate_limit(RateLimiter::per_second(RATE))),
        alone("bulkhead", builder().bulkhead(Bulkhead::new(AT_ONCE))),
        alone("timeout", builder().attempt_timeout(TIMEOUT)),
    ];
    let timed = built(builder().attempt_timeout(TIMEOUT));
    rows.push(row("timeout, operation suspends once", OURS, async move || timed.call(slow_op).await));
    let empty = built(builder());
    rows.push(row("fallback", OURS, async move || Ok::<_, Failure>(empty.call_or(op, FALLBACK).await)));

    let (off, on) = (built(builder()), built(builder().monitor(Monitor::new())));
    rows.push(row("monitor", "off", async move || off.call(op).await));
    rows.push(row("monitor", "on", async move || on.call(op).await));
    let monitor = Monitor::new();
    rows.push(row("monitor", "track, no pipeline", async move || monitor.track("bench", op()).await));

    rows.push(alone("retry + breaker + timeout", three()));
    let stack = built(six());
    rows.push(row("stack of six", OURS, async move || Ok::<_, Failure>(stack.call_or(op, FALLBACK).await)));
    let watched = built(six().total_timeout(TIMEOUT * 2).monitor(Monitor::new()));
    let who = "steadfast with monitor and total timeout";
    rows.push(row("stack of six", who, async move || Ok::<_, Failure>(watched.call_or(op, FALLBACK).await)));
    let stack = built(six());
    let group = "stack of six, operation suspends once";
    rows.push(row(group, OURS, async move || Ok::<_, Failure>(stack.call_or(slow_op, FALLBACK).await)));
    rows
}

fn open_breaker() -> Row {
    let pipeline = built(builder().circuit_breaker(breaker()));
    for _ in 0..200 {
        let _ = drive(pipeline.call(failing_op));
    }
    refused("breaker, open", OURS, async move || pipeline.call(op).await)
}

/// On two threads.
pub fn contention() -> Vec<Row> {
    let two = |group, builder| {
        let pipeline = built(builder);
        threaded(2, group, OURS, async move || pipeline.call(op).await)
    };
    let mut rows = vec![
        two("2 threads, closed breaker", builder().circuit_breaker(breaker())),
        two("2 threads, rate limit", builder().rate_limit(RateLimiter::per_second(RATE))),
        two("2 threads, bulkhead", builder().bulkhead(Bulkhead::new(AT_ONCE))),
    ];

    for (threads, who) in [(1, "1 thread"), (2, "2 threads")] {
        let pipeline = built(builder().monitor(Monitor::new()));
        rows.push(threaded(threads, "threads, monitor", who, async move || pipeline.call(op).await));
        let monitor = Monitor::new();
        rows.push(threaded(threads, "threads, monitor.track", who, async move || monitor.track("bench", op()).await));
    }

    let stack = built(six());
    rows.push(tasks("64 tasks, stack of six", OURS, move || async move { Ok::<_, Failure>(stack.call_or(op, FALLBACK).await) }));
    let stack = built(six());
    let group = "64 tasks, stack of six, operation suspends once";
    rows.push(tasks(group, OURS, move || async move { Ok::<_, Failure>(stack.call_or(slow_op, FALLBACK).await) }));
    rows
}
