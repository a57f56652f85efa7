//! Several policies around one call: three (retry, breaker, timeout) and six (fallback, retry, breaker, rate limit, bulkhead, timeout).

use crate::peers::{Attempts, backoff, context, governor, recloser, recovery, tower_breaker};
use crate::{AT_ONCE, Answer, BACKOFF, FALLBACK, Failure, MIN_CALLS, OPEN, RATE, RETRIES, Row, TIMEOUT, WINDOW, leak, op, row, slow_op};
use backon::{ExponentialBuilder, Retryable};
use governor::DefaultDirectRateLimiter;
use layered::{Execute, Service as _, Stack};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// The best that can be assembled today from crates that each do one thing well. Rate limit and bulkhead refuse rather than wait,
/// which is their cheaper door; their refusals and nobody else's leave the breaker alone, and an open breaker is not retried.
#[derive(Debug)]
pub struct ByHand {
    backoff: ExponentialBuilder,
    breaker: recloser::AsyncRecloser,
    limiter: DefaultDirectRateLimiter,
    semaphore: Semaphore,
}

impl Default for ByHand {
    fn default() -> Self {
        Self { backoff: backoff(), breaker: recloser(), limiter: governor(), semaphore: Semaphore::new(AT_ONCE) }
    }
}

impl ByHand {
    /// Six policies around one operation.
    pub async fn six<F: Future<Output = Answer>>(&self, op: impl Fn() -> F) -> Answer {
        let gated = async || {
            self.limiter.check().map_err(|_| Failure::Refused)?;
            let _permit = self.semaphore.try_acquire().map_err(|_| Failure::Refused)?;
            tokio::time::timeout(TIMEOUT, op()).await.unwrap_or(Err(Failure::TimedOut))
        };
        let attempt = || self.breaker.call_with(|failure: &Failure| *failure != Failure::Refused, gated());
        match attempt.retry(&self.backoff).when(transient).await {
            Ok(value) => Ok(value),
            Err(_) => Ok(FALLBACK),
        }
    }

    /// Retry, breaker and timeout around one operation.
    pub async fn three<F: Future<Output = Answer>>(&self, op: impl Fn() -> F) -> Result<u64, recloser::Error<Failure>> {
        let timed = async || tokio::time::timeout(TIMEOUT, op()).await.unwrap_or(Err(Failure::TimedOut));
        let attempt = || self.breaker.call(timed());
        attempt.retry(&self.backoff).when(transient).await
    }
}

fn transient(error: &recloser::Error<Failure>) -> bool {
    matches!(error, recloser::Error::Inner(Failure::Operation | Failure::TimedOut))
}

/// The two layers that seatbelt lacks, as one layer of its own kind.
#[derive(Debug, Clone)]
pub struct Gates<S> {
    shared: Arc<(DefaultDirectRateLimiter, Semaphore)>,
    inner: S,
}

/// Makes [`Gates`].
#[derive(Debug, Default)]
pub struct GatesLayer;

impl<S> layered::Layer<S> for GatesLayer {
    type Service = Gates<S>;
    fn layer(&self, inner: S) -> Gates<S> {
        Gates { shared: Arc::new((governor(), Semaphore::new(AT_ONCE))), inner }
    }
}

impl<S: layered::Service<(), Out = Answer>> layered::Service<()> for Gates<S> {
    type Out = Answer;
    async fn execute(&self, (): ()) -> Answer {
        self.shared.0.check().map_err(|_| Failure::Refused)?;
        let _permit = self.shared.1.try_acquire().map_err(|_| Failure::Refused)?;
        self.inner.execute(()).await
    }
}

/// seatbelt's fallback, retry, breaker and timeout in the order it recommends, with the two missing layers added by hand.
pub fn seatbelt_six<F: Future<Output = Answer> + Send + 'static>(
    op: fn() -> F,
) -> impl layered::Service<(), Out = Answer> + Clone + 'static {
    let context = context();
    (
        seatbelt::fallback::Fallback::layer("fallback", &context)
            .should_fallback(|answer: &Answer| answer.is_err())
            .fallback_output(Ok(FALLBACK)),
        seatbelt::retry::Retry::layer("retry", &context)
            .clone_input()
            .recovery_with(|answer, _| recovery(answer))
            .max_retry_attempts(RETRIES)
            .base_delay(BACKOFF),
        seatbelt::breaker::Breaker::layer("breaker", &context)
            .recovery_with(|answer, _| recovery(answer))
            .rejected_input_error(|(), _| Failure::Refused)
            .failure_threshold(0.5)
            .min_throughput(MIN_CALLS)
            .sampling_duration(WINDOW)
            .break_duration(OPEN),
        GatesLayer,
        seatbelt::timeout::Timeout::layer("timeout", &context).timeout_error(|_| Failure::TimedOut).timeout(TIMEOUT),
        Execute::new(move |()| op()),
    )
        .into_service()
}

/// seatbelt's retry, breaker and timeout.
pub fn seatbelt_three<F: Future<Output = Answer> + Send + 'static>(
    op: fn() -> F,
) -> impl layered::Service<(), Out = Answer> + Clone + 'static {
    let context = context();
    (
        seatbelt::retry::Retry::layer("retry", &context)
            .clone_input()
            .recovery_with(|answer, _| recovery(answer))
            .max_retry_attempts(RETRIES)
            .base_delay(BACKOFF),
        seatbelt::breaker::Breaker::layer("breaker", &context)
            .recovery_with(|answer, _| recovery(answer))
            .rejected_input_error(|(), _| Failure::Refused)
            .failure_threshold(0.5)
            .min_throughput(MIN_CALLS)
            .sampling_duration(WINDOW)
            .break_duration(OPEN),
        seatbelt::timeout::Timeout::layer("timeout", &context).timeout_error(|_| Failure::TimedOut).timeout(TIMEOUT),
        Execute::new(move |()| op()),
    )
        .into_service()
}

/// tower-resilience's six layers. (tower's own `RateLimit` is not `Clone`, so it cannot stand inside a `Retry` without a `Buffer` and its task.)
/// A macro, for the type of the service cannot be written: every layer nests one more error.
macro_rules! tower_six {
    ($op:expr) => {
        ServiceBuilder::new()
            .layer(tower_resilience::fallback::FallbackLayer::value(FALLBACK))
            .layer(tower_resilience::retry::RetryLayer::builder().max_attempts(RETRIES as usize + 1).exponential_backoff(BACKOFF).build())
            .layer(tower_breaker())
            .layer(tower_resilience::ratelimiter::RateLimiterLayer::per_second(RATE as usize).build().expect("valid"))
            .layer(
                tower_resilience::bulkhead::BulkheadLayer::builder()
                    .max_concurrent_calls(AT_ONCE)
                    .reject_when_full()
                    .build()
                    .expect("valid"),
            )
            .layer(tower_resilience::timelimiter::TimeLimiterLayer::builder().timeout_duration(TIMEOUT).build())
            .service(service_fn(|()| $op()))
    };
}
pub(crate) use tower_six;

/// All of them.
pub fn rows() -> Vec<Row> {
    let mut rows = three();
    let group = "stack of six";
    let mut tower = tower_six!(op);
    rows.extend(six(group, op));
    rows.push(row(group, "tower-resilience", async move || tower.ready().await?.call(()).await));
    let group = "stack of six, operation suspends once";
    let mut tower = tower_six!(slow_op);
    rows.extend(six(group, slow_op));
    rows.push(row(group, "tower-resilience", async move || tower.ready().await?.call(()).await));
    rows
}

fn three() -> Vec<Row> {
    let group = "retry + breaker + timeout";
    let by_hand = leak(ByHand::default());
    let seatbelt = seatbelt_three(op);
    let mut tower = ServiceBuilder::new()
        .layer(tower::retry::RetryLayer::new(Attempts(RETRIES)))
        .layer(tower_breaker())
        .layer(tower::timeout::TimeoutLayer::new(TIMEOUT))
        .service(service_fn(|()| op()));
    vec![
        row(group, "by hand", async move || by_hand.three(op).await),
        row(group, "seatbelt", async move || seatbelt.execute(()).await),
        row(group, "tower + tower-resilience", async move || tower.ready().await?.call(()).await),
    ]
}

fn six<F: Future<Output = Answer> + Send + 'static>(group: &'static str, op: fn() -> F) -> Vec<Row> {
    let by_hand = leak(ByHand::default());
    let seatbelt = seatbelt_six(op);
    vec![
        row(group, "by hand", async move || by_hand.six(op).await),
        row(group, "seatbelt + 2 by hand", async move || seatbelt.execute(()).await),
    ]
}
