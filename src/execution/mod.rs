//! Drivers: how often is the operation tried, and how long may it take?

mod backoff;
mod budget;
mod retry;
mod retry_stats;
mod surroundings;
mod timeout;

pub use backoff::*;
pub use budget::*;
pub use retry::*;
pub use retry_stats::RetryStats;
pub(crate) use surroundings::{Nesting, Surroundings};
pub(crate) use timeout::{Ended, Until, has_runtime};
