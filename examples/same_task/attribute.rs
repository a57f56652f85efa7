use std::time::Duration;
use steadfast::{Rejected, Verdict, resilient};

#[derive(Debug, thiserror::Error)]
enum ApiError {
    #[error("status {0}")]
    Status(u16, Option<Duration>), // and its `Retry-After`
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

#[resilient(
    retry(3), circuit_breaker(50%, window = 10s), rate_limit(100/s), bulkhead(50), attempt_timeout = 2s, total_timeout = 10s,
    cache(ttl = 1s, stale_if_error = 1h, capacity = 10_000), key = symbol,
    classify = |error| match error {
        ApiError::Status(429 | 500.., after) => Verdict::Transient { retry_after: *after },
        _ => Verdict::Ignored, // no fault of the server's
    },
)]
async fn quote(symbol: &str) -> Result<u64, ApiError> {
    fetch(symbol).await
}
