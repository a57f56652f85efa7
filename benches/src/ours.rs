//! Every row of steadfast, configured with what the peers are configured with. The one file to change when our API does.
//!
//! Breaker, limiter and bulkhead are measured as their peers are, by their own `try_acquire`, and once more inside a pipeline with that policy
//! and nothing else. No monitor, no observer and no total timeout where a peer has none.

use crate::{AT_ONCE, Answer, BACKOFF, ENTRIES, FALLBACK, Failure, KEYS, Keys, MIN_CALLS, OPEN, RATE, RETRIES, Row, TIMEOUT, TTL, WINDOW};
use crate::{drive, failing_op, leak, op, refused, row, slow_op, tasks, threaded};
use std::sync::Arc;
use steadfast::{
    AdaptiveLimit, Bulkhead, Cache, CacheConfig, CircuitBreaker, CircuitBreakerConfig, Monitor, Outcome, PerKey, Pipeline, PipelineBuilder,
    Priority, RateLimiter, Retry, RetryConfig, Throttle, Verdict,
};
use tokio::time::Instant;

const OURS: &str = "steadfast";
const PIPED: &str = "steadfast, in a pipeline";

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
    let piped = |group, builder| {
        let pipeline = built(builder);
        row(group, PIPED, async move || pipeline.call(op).await)
    };
    let (breaker_alone, open_alone) = (leak(breaker().build().expect("valid")), leak(breaker().build().expect("valid")));
    open_alone.force_open();
    let limiter = leak(RateLimiter::per_second(RATE).build().expect("valid"));
    let bulkhead = leak(Bulkhead::new(AT_ONCE).build().expect("valid"));
    let mut rows = vec![
        alone("empty pipeline", builder()),
        alone("retry", builder().retry(retry())),
        row("breaker, closed", OURS, async move || {
            let now = Instant::now();
            let permit = breaker_alone.try_acquire_at(now).map_err(drop)?;
            let answer = op().await;
            permit.settle_at(judged(&answer), now);
            answer.map_err(drop)
        }),
        piped("breaker, closed", builder().circuit_breaker(breaker())),
        refused("breaker, open", OURS, async move || open_alone.try_acquire_at(Instant::now()).map(drop)),
        open_breaker(),
        row("rate limit", OURS, async move || {
            limiter.try_acquire(1).map_err(drop)?;
            op().await.map_err(drop)
        }),
        piped("rate limit", builder().rate_limit(RateLimiter::per_second(RATE))),
        row("bulkhead", OURS, async move || {
            let _place = bulkhead.try_acquire().map_err(drop)?;
            op().await.map_err(drop)
        }),
        piped("bulkhead", builder().bulkhead(Bulkhead::new(AT_ONCE))),
        alone("timeout", builder().attempt_timeout(TIMEOUT)),
    ];
    rows.extend(shedding());
    rows.extend(keyed());
    rows.extend(cache());
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

/// What lets calls go by how earlier ones went, none of which was refused.
fn shedding() -> Vec<Row> {
    let throttle = leak(Throttle::new().build().expect("valid"));
    let limit = leak(AdaptiveLimit::new().build().expect("valid"));
    let (throttled, limited) = (built(builder().throttle(Throttle::new())), built(builder().adaptive_limit(AdaptiveLimit::new())));
    vec![
        row("throttle", OURS, async move || {
            let now = Instant::now();
            let permit = throttle.try_acquire(Priority::Normal, now).map_err(drop)?;
            let answer = op().await;
            permit.settle_at(judged(&answer), now);
            answer.map_err(drop)
        }),
        row("throttle", PIPED, async move || throttled.call(op).await),
        row("adaptive limit", OURS, async move || {
            let now = Instant::now();
            let permit = limit.try_acquire_at(now).map_err(drop)?;
            let answer = op().await;
            permit.settle_at(judged(&answer), now);
            answer.map_err(drop)
        }),
        row("adaptive limit", PIPED, async move || limited.call(op).await),
    ]
}

/// The verdict on an answer, for policies that are used without a pipeline.
fn judged(answer: &Answer) -> Outcome {
    Outcome::Judged(if answer.is_ok() { Verdict::Success } else { Verdict::transient() })
}

/// A thousand keys in turn; the time is read once a call, as by the peer.
fn cache() -> Vec<Row> {
    let filled = |config: CacheConfig<String, Arc<u64>>| {
        let cache = config.build().expect("valid");
        KEYS.iter().for_each(|key| _ = cache.insert(key, Arc::new(42)));
        leak(cache)
    };
    let (plain, ending) = (filled(Cache::new(ENTRIES)), filled(Cache::new(ENTRIES).ttl(TTL)));
    let pipeline = built(six());
    let (mut alone, mut of_ending, mut piped) = (Keys::default(), Keys::default(), Keys::default());
    vec![
        row("cache hit", OURS, async move || plain.get(alone.next().as_str()).ok_or(Failure::Refused)),
        row("cache hit", PIPED, async move || {
            pipeline.key(piped.next()).cached(plain).call(|| async { Err::<Arc<u64>, _>(Failure::Refused) }).await
        }),
        row("cache hit, with a ttl", OURS, async move || ending.get(of_ending.next().as_str()).ok_or(Failure::Refused)),
    ]
}

fn keyed() -> Vec<Row> {
    let group = "keyed check";
    let (mut keys, limited) =
        (Keys::default(), leak(PerKey::new(100_000).rate_limit(RateLimiter::per_second(RATE)).build().expect("valid")));
    let mut more_keys = Keys::default();
    let config = PerKey::new(100_000).rate_limit(RateLimiter::per_second(RATE)).circuit_breaker(breaker()).bulkhead(Bulkhead::new(AT_ONCE));
    let all = leak(config.build().expect("valid"));
    vec![
        row(group, OURS, async move || {
            limited.try_acquire(keys.next(), 1).map(drop).map_err(drop)?;
            op().await.map_err(drop)
        }),
        row(group, "steadfast, with breaker and bulkhead", async move || {
            let now = Instant::now();
            let permit = all.try_acquire_at(more_keys.next(), 1, now).map_err(drop)?;
            let answer = op().await;
            permit.settle_at(judged(&answer), now);
            answer.map_err(drop)
        }),
    ]
}

fn open_breaker() -> Row {
    let pipeline = built(builder().circuit_breaker(breaker()));
    for _ in 0..200 {
        let _ = drive(pipeline.call(failing_op));
    }
    refused("breaker, open", PIPED, async move || pipeline.call(op).await)
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
