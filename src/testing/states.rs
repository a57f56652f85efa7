//! Policies in the state a test is about. Each is a live policy: give it to the builder in place of a configuration.

use crate::admission::{Bulkhead, CircuitBreaker, CircuitBreakerConfig, Gate, GateFuture, OwnedBulkheadPermit, Pass, RateLimiter};
use crate::call::Call;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::{Mutex, lock};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// A breaker that only your hand moves: [`force_open`](CircuitBreaker::force_open), [`half_open`](CircuitBreaker::half_open),
/// [`force_close`](CircuitBreaker::force_close). No failure opens it, and no time makes it half-open; in a half-open round, one probe decides.
///
/// ```
/// use steadfast::testing::manual_breaker;
/// use steadfast::{CircuitState, Pipeline};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let breaker = manual_breaker();
/// let api = Pipeline::builder("api").circuit_breaker(breaker.clone()).build()?;
/// for _ in 0..1_000 {
///     assert_eq!(api.call_or(|| async { Err("down") }, "plan b").await, "plan b");
/// }
/// assert_eq!(breaker.state(), CircuitState::Closed);
/// breaker.force_open();
/// assert!(api.call(|| async { Ok::<_, String>(1) }).await.unwrap_err().is_circuit_open());
/// breaker.force_close();
/// assert_eq!(api.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
/// # Ok(()) }
/// ```
#[must_use]
pub fn manual_breaker() -> CircuitBreaker {
    // No rule at all, so that there is nothing to break.
    CircuitBreaker::from_config(CircuitBreakerConfig::new().open_for(Duration::MAX), 1)
}

/// A breaker that is open, for an hour; then probes go, and one success closes it.
///
/// ```
/// use steadfast::testing::open_circuit;
/// use steadfast::Pipeline;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let api = Pipeline::http("api").circuit_breaker(open_circuit()).build()?;
/// let error = api.call(|| async { Ok::<_, String>(1) }).await.unwrap_err();
/// assert!(error.is_circuit_open());
/// assert!(error.retry_after().is_some());
/// # Ok(()) }
/// ```
#[must_use]
pub fn open_circuit() -> CircuitBreaker {
    let breaker = CircuitBreaker::from_config(CircuitBreakerConfig::new().failure_rate(0.5), 1);
    breaker.open_for(HOUR);
    breaker
}

/// A breaker that is half-open: the next call is its one probe and decides; further ones are refused meanwhile.
///
/// ```
/// use steadfast::testing::half_open_circuit;
/// use steadfast::{CircuitState, Pipeline};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let breaker = half_open_circuit();
/// let api = Pipeline::builder("api").circuit_breaker(breaker.clone()).build()?;
/// let _ = api.call(|| async { Err::<(), _>("still down") }).await;
/// assert_eq!(breaker.state(), CircuitState::Open);
/// # Ok(()) }
/// ```
#[must_use]
pub fn half_open_circuit() -> CircuitBreaker {
    let breaker = open_circuit();
    breaker.half_open();
    breaker
}

/// A limiter whose quota is used up; the next unit comes in an hour.
///
/// ```
/// use steadfast::testing::exhausted_limiter;
/// use steadfast::Pipeline;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let api = Pipeline::http("api").rate_limit(exhausted_limiter()).build()?;
/// assert!(api.call(|| async { Ok::<_, String>(1) }).await.unwrap_err().is_rate_limited());
/// tokio::time::advance(Duration::from_secs(3600)).await;
/// assert_eq!(api.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
/// # Ok(()) }
/// ```
///
/// # Panics
/// Never: the configuration is sound.
#[must_use]
pub fn exhausted_limiter() -> RateLimiter {
    let limiter = RateLimiter::per_hour(1).build().expect("sound");
    let _taken = limiter.try_acquire(1);
    limiter
}

/// A bulkhead of one place and no queue, and the permit that takes it: drop that, and there is room.
///
/// ```
/// use steadfast::testing::full_bulkhead;
/// use steadfast::Pipeline;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let (bulkhead, taken) = full_bulkhead();
/// let api = Pipeline::http("api").bulkhead(bulkhead).build()?;
/// assert!(api.call(|| async { Ok::<_, String>(1) }).await.unwrap_err().is_bulkhead_full());
/// drop(taken);
/// assert_eq!(api.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
/// # Ok(()) }
/// ```
///
/// # Panics
/// Never: the configuration is sound.
pub fn full_bulkhead() -> (Bulkhead, OwnedBulkheadPermit) {
    let bulkhead = Bulkhead::new(1).build().expect("sound");
    let taken = bulkhead.try_acquire().expect("free").into_owned();
    (bulkhead, taken)
}

/// A limiter that only your hand moves: so many attempts may go, and the rest is refused as [`RateLimited`](RejectedKind::RateLimited).
/// No time refills it.
///
/// It is a [`Gate`], so it goes where your gates go. Clones share it.
///
/// ```
/// use steadfast::testing::{ManualLimiter, Script};
/// use steadfast::Pipeline;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), steadfast::ConfigError> {
/// let limiter = ManualLimiter::new().allow(1).retry_after(Duration::from_secs(30));
/// let api = Pipeline::builder("api").gate(limiter.clone()).build()?;
/// let script = Script::<_, String>::new().then_ok(1);
/// assert_eq!(api.call(|| script.run()).await, Ok(1));
/// let error = api.call(|| script.run()).await.unwrap_err();
/// assert_eq!((error.is_rate_limited(), error.retry_after()), (true, Some(Duration::from_secs(30))));
///
/// limiter.refill(2);
/// assert_eq!(api.call(|| script.run()).await, Ok(1));
/// assert_eq!((limiter.left(), limiter.refused()), (1, 1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualLimiter {
    state: Arc<Mutex<Quota>>,
}

#[derive(Debug, Default)]
struct Quota {
    left: u64,
    refused: u64,
    retry_after: Option<Duration>,
}

impl ManualLimiter {
    /// Lets nothing through.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets so many units through; an attempt takes its [cost](crate::Pipeline::cost).
    #[must_use]
    pub fn allow(self, units: u64) -> Self {
        self.refill(units);
        self
    }

    /// When a refusal says it is worth coming back. **Default**: it does not say.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        lock(&self.state).retry_after = Some(wait);
        self
    }

    /// Lets so many more units through.
    pub fn refill(&self, units: u64) {
        let mut quota = lock(&self.state);
        quota.left = quota.left.saturating_add(units);
    }

    /// Lets nothing more through.
    pub fn exhaust(&self) {
        lock(&self.state).left = 0;
    }

    /// How many units are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        lock(&self.state).left
    }

    /// How many attempts were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        lock(&self.state).refused
    }

    fn take(&self, cost: u32) -> Result<(), Rejected> {
        let mut quota = lock(&self.state);
        match quota.left.checked_sub(cost.into()) {
            Some(left) => {
                quota.left = left;
                Ok(())
            }
            None => {
                quota.refused += 1;
                let rejected = Rejected::new(RejectedKind::RateLimited);
                Err(match quota.retry_after {
                    Some(wait) => rejected.with_retry_after(wait),
                    None => rejected,
                })
            }
        }
    }
}

impl Gate for ManualLimiter {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        let taken = self.take(call.cost_units());
        Box::pin(async move { taken.map(|()| Box::new(Through) as Box<dyn Pass>) })
    }

    fn name(&self) -> &str {
        "manual limiter"
    }
}

struct Through;

impl Pass for Through {
    fn settle(self: Box<Self>, _outcome: Outcome) {}
}

impl fmt::Display for ManualLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "manual limiter, {} left", self.left())
    }
}
