//! Limits that several machines share.

pub mod algorithms;
mod any;
mod calendar;
mod decision;
mod leased;
pub mod memory;
mod quota;
pub mod semaphore;
pub mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod traits;

pub use algorithms::State;
pub use any::{AnyRateStore, DynRateStore};
pub use calendar::Calendar;
pub use decision::{Decision, Source};
pub use leased::Leased;
pub use memory::{MemoryRateStore, MemoryRateStoreBuilder};
pub use quota::{Algorithm, Period, Quota, Terms};
pub use semaphore::{
    AnySemaphoreStore, DistributedSemaphore, DistributedSemaphoreConfig, DynSemaphoreStore, HeldPlace, Holder, MemorySemaphoreStore,
    SemaphoreStore, Taken,
};
pub use shared::{LimitStats, OnOutage, SharedLimit, SharedLimitConfig};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteRateStore, SqliteRateStoreBuilder};
pub use traits::{RateStore, Request};
