use std::sync::LazyLock;
use std::time::Duration;
use steadfast::{Bulkhead, Cache, CircuitBreaker, Error, Pipeline, RateLimiter, Rejected, Retry, TypedPipeline, Verdict};

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("status {0}")]
    Status(u16, Option<Duration>), // and its `Retry-After`
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

static QUOTES: LazyLock<TypedPipeline<u64, ApiError>> = LazyLock::new(|| {
    Pipeline::builder("quotes")
        .total_timeout(Duration::from_secs(10))
        .retry(Retry::exponential(3, Duration::from_millis(100)))
        .circuit_breaker(CircuitBreaker::failure_rate(0.5).window(Duration::from_secs(10)))
        .rate_limit(RateLimiter::per_second(100))
        .bulkhead(Bulkhead::new(50))
        .attempt_timeout(Duration::from_secs(2))
        .classify(|error: &ApiError| match error {
            ApiError::Status(429 | 500.., after) => Verdict::Transient { retry_after: *after },
            _ => Verdict::Ignored, // no fault of the server's
        })
        .cache(Cache::new(10_000).ttl(Duration::from_secs(1)).stale_if_error(Duration::from_secs(3600)))
        .build()
        .expect("valid settings")
});

async fn quote(symbol: &str) -> Result<u64, ApiError> {
    QUOTES.key(symbol).call(|| fetch(symbol)).await.map_err(Error::flatten)
}
