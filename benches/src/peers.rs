//! Each policy of each peer alone, set up and called as its documentation shows.

use crate::window::WindowBreaker;
use crate::{AT_ONCE, Answer, BACKOFF, ENTRIES, FALLBACK, Failure, KEYS, Keys, MIN_CALLS, OPEN, RATE, RETRIES, Row, TIMEOUT, TTL, WINDOW};
use crate::{drive, failing_op, leak, op, refused, row, slow_op};
use backon::{ExponentialBuilder, Retryable};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota};
use layered::{Execute, Service as _, Stack};
use seatbelt::{RecoveryInfo, ResilienceContext};
use std::future::{Ready, ready};
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::{Layer as _, Service, ServiceExt, service_fn};

/// backon's backoff: exponential with jitter, as ours is.
pub fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(BACKOFF).with_max_times(RETRIES as usize).with_jitter()
}

/// recloser with the window it has, the last 100 calls: it knows no time window.
pub fn recloser() -> recloser::AsyncRecloser {
    recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(OPEN).build().into()
}

/// failsafe with its time window.
pub fn failsafe() -> impl failsafe::futures::CircuitBreaker + Clone + Send + Sync + 'static {
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, MIN_CALLS, WINDOW, failsafe::backoff::constant(OPEN));
    failsafe::Config::new().failure_policy(policy).build()
}

/// governor with its own clock, as its users have it.
pub fn governor() -> DefaultDirectRateLimiter {
    DefaultDirectRateLimiter::direct(Quota::per_second(NonZeroU32::new(RATE).expect("not zero")))
}

/// seatbelt's clock and no telemetry, which is off unless asked for.
pub fn context() -> ResilienceContext<(), Answer> {
    ResilienceContext::new(tick::Clock::new_tokio())
}

/// What seatbelt asks of every answer.
pub fn recovery(answer: &Answer) -> RecoveryInfo {
    match answer {
        Ok(_) => RecoveryInfo::never(),
        Err(_) => RecoveryInfo::retry(),
    }
}

/// tower-resilience's breaker over its default, the last 100 calls: its time window keeps one record a call and reads all of them
/// at every call, which no run of millions of calls survives.
pub fn tower_breaker() -> tower_resilience::circuitbreaker::CircuitBreakerLayer {
    use tower_resilience::circuitbreaker::CircuitBreakerLayer;
    CircuitBreakerLayer::builder().failure_rate_threshold(0.5).sliding_window_size(100).wait_duration_in_open(OPEN).build().expect("valid")
}

/// A policy for tower's `Retry`: it has no ready one.
#[derive(Debug, Clone)]
pub struct Attempts(pub u32);

impl<T, E> tower::retry::Policy<(), T, E> for Attempts {
    type Future = Ready<()>;
    fn retry(&mut self, (): &mut (), result: &mut Result<T, E>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }
    fn clone_request(&mut self, (): &()) -> Option<()> {
        Some(())
    }
}

/// A tower service that is owned: `ready` and `call`, with no clone a call, the cheapest way there is.
pub fn tower_row<S, E>(group: &'static str, who: &'static str, mut service: S) -> Row
where
    S: Service<(), Response = u64, Error = E> + 'static,
{
    row(group, who, async move || service.ready().await?.call(()).await)
}

/// All of them.
pub fn rows() -> Vec<Row> {
    [retry(), breaker(), open_breaker(), rate_limit(), keyed(), cache(), bulkhead(), timeout(), fallback()].into_iter().flatten().collect()
}

fn retry() -> Vec<Row> {
    let group = "retry";
    let backon = leak(backoff());
    let seatbelt = (
        seatbelt::retry::Retry::layer("retry", &context())
            .clone_input()
            .recovery_with(|answer, _| recovery(answer))
            .max_retry_attempts(RETRIES)
            .base_delay(BACKOFF),
        Execute::new(|()| op()),
    )
        .into_service();
    let resilience = tower_resilience::retry::RetryLayer::<(), u64, Failure>::builder()
        .max_attempts(RETRIES as usize + 1)
        .exponential_backoff(BACKOFF)
        .build();
    vec![
        row(group, "backon", async move || op.retry(backon).await),
        row(group, "seatbelt", async move || seatbelt.execute(()).await),
        tower_row(group, "tower", tower::retry::Retry::new(Attempts(RETRIES), service_fn(|()| op()))),
        tower_row(group, "tower-resilience", resilience.layer(service_fn(|()| op()))),
    ]
}

/// seatbelt's breaker around an operation.
pub fn seatbelt_breaker<F: Future<Output = Answer> + Send + 'static>(
    op: fn() -> F,
) -> impl layered::Service<(), Out = Answer> + Clone + 'static {
    (
        seatbelt::breaker::Breaker::layer("breaker", &context())
            .recovery_with(|answer, _| recovery(answer))
            .rejected_input_error(|(), _| Failure::Refused)
            .failure_threshold(0.5)
            .min_throughput(MIN_CALLS)
            .sampling_duration(WINDOW)
            .break_duration(OPEN),
        Execute::new(move |()| op()),
    )
        .into_service()
}

fn breaker() -> Vec<Row> {
    use failsafe::futures::CircuitBreaker;
    let group = "breaker, closed";
    let by_hand = WindowBreaker::default();
    let recloser = recloser();
    let failsafe = failsafe();
    let seatbelt = seatbelt_breaker(op);
    vec![
        row(group, "window by hand", async move || by_hand.call(op).await),
        row(group, "recloser", async move || recloser.call(op()).await),
        row(group, "failsafe", async move || failsafe.call(op()).await),
        row(group, "seatbelt", async move || seatbelt.execute(()).await),
        tower_row(group, "tower-resilience", tower_breaker().layer(service_fn(|()| op()))),
    ]
}

fn open_breaker() -> Vec<Row> {
    use failsafe::futures::CircuitBreaker;
    use std::sync::atomic::{AtomicBool, Ordering};
    let group = "breaker, open";
    let by_hand = WindowBreaker::default();
    let recloser = recloser();
    // Its window is a moving average over time, which failures in no time do not move: its other policy opens it. A rejection is the same.
    let policy = failsafe::failure_policy::consecutive_failures(3, failsafe::backoff::constant(OPEN));
    let failsafe = failsafe::Config::new().failure_policy(policy).build();
    // An operation of theirs that fails until the breaker is open, and then would succeed: an error proves a rejection.
    static BROKEN: AtomicBool = AtomicBool::new(true);
    let seatbelt = seatbelt_breaker(|| async { if BROKEN.load(Ordering::Relaxed) { failing_op().await } else { op().await } });
    let service = service_fn(|()| async { if BROKEN.load(Ordering::Relaxed) { failing_op().await } else { op().await } });
    let mut resilience = tower_breaker().layer(service);
    for _ in 0..200 {
        let _ = drive(by_hand.call(failing_op));
        let _ = drive(recloser.call(failing_op()));
        let _ = drive(failsafe.call(failing_op()));
        let _ = drive(seatbelt.execute(()));
        let _ = drive(async { resilience.ready().await?.call(()).await });
    }
    BROKEN.store(false, Ordering::Relaxed);
    vec![
        refused(group, "by hand", async move || by_hand.call(op).await),
        refused(group, "recloser", async move || recloser.call(op()).await),
        refused(group, "failsafe", async move || failsafe.call(op()).await),
        refused(group, "seatbelt", async move || seatbelt.execute(()).await),
        refused(group, "tower-resilience", async move || resilience.ready().await?.call(()).await),
    ]
}

/// One call behind governor, refused rather than made to wait: the cheaper of its two doors.
pub async fn governed(limiter: &DefaultDirectRateLimiter) -> Answer {
    match limiter.check() {
        Ok(()) => op().await,
        Err(_) => Err(Failure::Refused),
    }
}

fn rate_limit() -> Vec<Row> {
    let group = "rate limit";
    let governor = governor();
    let tower = tower::limit::RateLimit::new(service_fn(|()| op()), tower::limit::rate::Rate::new(u64::MAX, WINDOW));
    let resilience = tower_resilience::ratelimiter::RateLimiterLayer::per_second(RATE as usize).build().expect("valid");
    vec![
        row(group, "governor (check)", async move || governed(&governor).await),
        tower_row(group, "tower", tower),
        tower_row(group, "tower-resilience", resilience.layer(service_fn(|()| op()))),
    ]
}

/// governor's keyed store as its documentation has it: a `DashMap` of the standard library's SipHash.
fn keyed() -> Vec<Row> {
    let governor: DefaultKeyedRateLimiter<String> =
        DefaultKeyedRateLimiter::keyed(Quota::per_second(NonZeroU32::new(RATE).expect("not zero")));
    let mut keys = Keys::default();
    vec![row("keyed check", "governor (check_key)", async move || match governor.check_key(keys.next()) {
        Ok(()) => op().await,
        Err(_) => Err(Failure::Refused),
    })]
}

/// Every key is there: a hit is what is measured. moka with a ttl has the clock reading that any cache with a ttl has.
fn cache() -> Vec<Row> {
    let quick = quick_cache::sync::Cache::<String, Arc<u64>>::new(ENTRIES);
    let ([moka, ending], mut keys) = ([None, Some(TTL)].map(moka), [Keys::default(), Keys::default(), Keys::default()]);
    for key in KEYS.iter() {
        for moka in [&moka, &ending] {
            moka.insert(key.clone(), Arc::new(42));
        }
        quick.insert(key.clone(), Arc::new(42));
    }
    let [of_quick, of_moka, of_ending] = std::mem::take(&mut keys);
    let (mut of_quick, mut of_moka, mut of_ending) = (of_quick, of_moka, of_ending);
    vec![
        row("cache hit", "quick_cache", async move || quick.get(of_quick.next().as_str()).ok_or(Failure::Refused)),
        row("cache hit", "moka", async move || moka.get(of_moka.next().as_str()).ok_or(Failure::Refused)),
        row("cache hit, with a ttl", "moka", async move || ending.get(of_ending.next().as_str()).ok_or(Failure::Refused)),
    ]
}

fn moka(ttl: Option<Duration>) -> moka::sync::Cache<String, Arc<u64>> {
    let builder = moka::sync::Cache::builder().max_capacity(ENTRIES as u64);
    match ttl {
        Some(ttl) => builder.time_to_live(ttl).build(),
        None => builder.build(),
    }
}

/// One call under a permit of tokio's semaphore, refused rather than made to wait.
pub async fn with_permit(semaphore: &Semaphore) -> Answer {
    match semaphore.try_acquire() {
        Ok(_permit) => op().await,
        Err(_) => Err(Failure::Refused),
    }
}

fn bulkhead() -> Vec<Row> {
    let group = "bulkhead";
    let refusing = Semaphore::new(AT_ONCE);
    let waiting = Semaphore::new(AT_ONCE);
    let resilience =
        tower_resilience::bulkhead::BulkheadLayer::builder().max_concurrent_calls(AT_ONCE).reject_when_full().build().expect("valid");
    vec![
        row(group, "tokio Semaphore (try_acquire)", async move || with_permit(&refusing).await),
        row(group, "tokio Semaphore (acquire)", async move || {
            let _permit = waiting.acquire().await.map_err(|_| Failure::Refused)?;
            op().await
        }),
        tower_row(group, "tower", tower::limit::ConcurrencyLimit::new(service_fn(|()| op()), AT_ONCE)),
        tower_row(group, "tower-resilience", resilience.layer(service_fn(|()| op()))),
    ]
}

/// seatbelt's timeout around an operation.
fn seatbelt_timeout<F: Future<Output = Answer> + Send + 'static>(op: fn() -> F) -> impl layered::Service<(), Out = Answer> {
    let layer = seatbelt::timeout::Timeout::layer("timeout", &context()).timeout_error(|_| Failure::TimedOut).timeout(TIMEOUT);
    (layer, Execute::new(move |()| op())).into_service()
}

fn timeout() -> Vec<Row> {
    let mut rows = Vec::new();
    let resilience = || tower_resilience::timelimiter::TimeLimiterLayer::builder().timeout_duration(TIMEOUT).build();
    rows.extend(timeouts("timeout", op, tower_row("timeout", "tower-resilience", resilience().layer(service_fn(|()| op())))));
    let group = "timeout, operation suspends once";
    rows.extend(timeouts(group, slow_op, tower_row(group, "tower-resilience", resilience().layer(service_fn(|()| slow_op())))));
    rows
}

fn timeouts<F: Future<Output = Answer> + Send + 'static>(group: &'static str, op: fn() -> F, resilience: Row) -> Vec<Row> {
    let seatbelt = seatbelt_timeout(op);
    let mut tower = tower::timeout::Timeout::new(service_fn(move |()| op()), TIMEOUT);
    vec![
        row(group, "tokio", async move || tokio::time::timeout(TIMEOUT, op()).await.unwrap_or(Err(Failure::TimedOut))),
        row(group, "seatbelt", async move || seatbelt.execute(()).await),
        row(group, "tower", async move || tower.ready().await?.call(()).await),
        resilience,
    ]
}

fn fallback() -> Vec<Row> {
    let group = "fallback";
    let seatbelt = (
        seatbelt::fallback::Fallback::layer("fallback", &context())
            .should_fallback(|answer: &Answer| answer.is_err())
            .fallback_output(Ok(FALLBACK)),
        Execute::new(|()| op()),
    )
        .into_service();
    let resilience = tower_resilience::fallback::FallbackLayer::<(), u64, Failure>::value(FALLBACK);
    vec![
        row(group, "match by hand", async || match op().await {
            Ok(value) => Ok::<_, Failure>(value),
            Err(_) => Ok(black_box(FALLBACK)),
        }),
        row(group, "seatbelt", async move || seatbelt.execute(()).await),
        tower_row(group, "tower-resilience", resilience.layer(service_fn(|()| op()))),
    ]
}
