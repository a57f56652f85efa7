//! Drivers: how often is the operation tried, and how long may it take?
//!
//! | driver | says | module |
//! |---|---|---|
//! | [`Retry`] | whether and when to try again | [`retry`] |
//! | [`Backoff`] | how long to pause in between | [`backoff`] |
//! | [`Hedge`] | whether and when another attempt begins beside a slow one | [`hedge`] |
//! | [`Budget`] | how many retries and hedges all calls may make together | [`budget`] |
//! | timeouts | how long an attempt, and the whole call, may take | [`PipelineBuilder`](crate::PipelineBuilder::total_timeout) |
//!
//! Each works alone and in a [`Pipeline`](crate::Pipeline). Alone:
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{Backoff, Jitter};
//!
//! let delays: Vec<_> = Backoff::exponential(Duration::from_millis(100)).jitter(Jitter::None).delays().take(3).collect();
//! assert_eq!(delays, [100, 200, 400].map(Duration::from_millis));
//! ```

pub mod backoff;
pub mod budget;
pub mod hedge;
#[cfg(all(test, steadfast_loom))]
mod models;
pub mod retry;
mod surroundings;
mod timeout;

pub(crate) use backoff::Formula;
pub use backoff::{Backoff, Delays, Jitter};
pub use budget::{Budget, BudgetConfig, BudgetSource};
pub(crate) use hedge::{Denied, When};
pub use hedge::{Hedge, HedgeConfig, HedgeStats};
pub use retry::{Retry, RetryConfig, RetryState, RetryStats, StopReason};
pub(crate) use surroundings::{Nesting, Surroundings};
pub(crate) use timeout::{Countdown, Ended, Until, has_runtime};
