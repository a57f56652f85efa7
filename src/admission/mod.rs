//! Gates: may this attempt go now? They learn from how it went.
//!
//! | gate | protects | refuses with |
//! |---|---|---|
//! | [`CircuitBreaker`] | a failing dependency from more load, and the caller from waiting for it | `CircuitOpen` |
//! | [`Throttle`] | an overloaded dependency from calls that it would refuse anyway | `Throttled` |
//! | [`RateLimiter`] | a quota: so many per second | `RateLimited` |
//! | [`Bulkhead`] | the program: so many at once | `BulkheadFull` |
//! | [`AdaptiveLimit`] | a dependency from more calls at once than it can work on; finds out how many | `ConcurrencyLimited` |
//! | [`PerKey`] | tenants from each other: the three above for each key | as they do |
//! | your own [`Gate`] | whatever you need | `Custom` |
//!
//! Each works alone and in a [`Pipeline`](crate::Pipeline). Alone:
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use steadfast::Bulkhead;
//!
//! let bulkhead = Bulkhead::new(1).build()?;
//! let held = bulkhead.try_acquire().expect("one place");
//! assert!(bulkhead.try_acquire().is_err());
//! drop(held); // gives the place back
//! assert!(bulkhead.try_acquire().is_ok());
//! # Ok(()) }
//! ```

pub mod adaptive;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod gate;
pub mod keyed;
#[cfg(all(test, steadfast_loom))]
mod models;
mod places;
pub mod rate_limiter;
mod ring;
pub mod steering;
pub mod throttle;
mod wait_queue;

pub(crate) use adaptive::AdaptiveWaiter;
pub use adaptive::{AdaptiveLimit, AdaptiveLimitConfig, AdaptivePermit, LimitChanges, LimitSnapshot};
pub(crate) use bulkhead::BulkheadWaiter;
pub use bulkhead::{Bulkhead, BulkheadConfig, BulkheadPermit, OwnedBulkheadPermit};
#[cfg(feature = "store")]
pub(crate) use circuit_breaker::Glance;
pub use circuit_breaker::{
    CircuitBreaker, CircuitBreakerConfig, CircuitPermit, CircuitSnapshot, CircuitState, OpenFacts, Transition, TransitionCause, Transitions,
};
pub(crate) use circuit_breaker::{CircuitWindow, Listener};
pub(crate) use gate::Entry;
pub use gate::{Gate, GateFuture, Pass};
pub(crate) use keyed::KeyWaiter;
pub use keyed::{KeyCounts, KeyPermit, KeySnapshot, PerKey, PerKeyConfig, PerKeyStats, RejectedKey};
pub(crate) use rate_limiter::RateLimiterWaiter;
pub use rate_limiter::{Cost, RateLimiter, RateLimiterConfig, Reservation};
pub use throttle::{Throttle, ThrottleConfig, ThrottlePermit, ThrottleSnapshot};
pub use wait_queue::CoDel;
