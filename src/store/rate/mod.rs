//! Limits that several machines share.

pub mod algorithms;
mod any;
mod calendar;
mod decision;
pub mod memory;
mod quota;
pub mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod traits;

pub use algorithms::State;
pub use any::{AnyRateStore, DynRateStore};
pub use calendar::Calendar;
pub use decision::{Decision, Source};
pub use memory::{MemoryRateStore, MemoryRateStoreBuilder};
pub use quota::{Algorithm, Period, Quota, Terms};
pub use shared::{LimitStats, OnOutage, SharedLimit, SharedLimitConfig};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteRateStore, SqliteRateStoreBuilder};
pub use traits::{RateStore, Request};
