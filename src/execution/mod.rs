//! Drivers: how often is the operation tried, and how long may it take?

mod backoff;
mod budget;
mod retry;
mod timeout;

pub use backoff::*;
pub use budget::*;
pub use retry::*;
