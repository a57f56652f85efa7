//! Limits that several machines share.
//!
//! | what for | use |
//! |---|---|
//! | so many calls in a time, of all machines together, in spite of outages | [`SharedLimit`], alone or as a [gate](crate::Gate) |
//! | so many at once, or one | [`DistributedSemaphore`] |
//! | to ask for units yourself | a [`RateStore`] |
//! | fewer round trips | [`Leased`] around the store |
//!
//! A [`Quota`] says how many in which time, and how they are counted. Stores:
//!
//! | store | feature | shared by |
//! |---|---|---|
//! | [`MemoryRateStore`], [`MemorySemaphoreStore`] | `store` | one process |
//! | `SqliteRateStore`, `SqliteSemaphoreStore` | `sqlite` | the processes of one machine |
//! | `RedisRateStore`, `RedisSemaphoreStore` | `redis` | whoever reaches the server |
//! | your own [`RateStore`] | | whoever reaches it; `steadfast::testing::rate_conformance` puts it to the test |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::Key;
//! use steadfast::store::rate::{MemoryRateStore, Quota, RateStore, Request};
//!
//! let store = MemoryRateStore::new();
//! let (user, tenant) = (Key::of_parts(["user", "ada"])?, Key::of_parts(["tenant", "7"])?);
//! // A tier of limits, of which all hold or none is touched: at most 5 a second of a user, 10,000 a day of its tenant.
//! let (of_user, of_tenant) = (Quota::per_second(5), "10_000 daily".parse()?);
//! let decisions = store.acquire_many(&[Request::new(&user, &of_user, 1), Request::new(&tenant, &of_tenant, 1)]).await?;
//! assert!(decisions.iter().all(|decision| decision.allowed));
//! assert_eq!(decisions[1].remaining, 9_999);
//! # Ok(()) }
//! ```

pub mod algorithms;
mod any;
mod calendar;
mod decision;
mod key;
mod leased;
pub mod memory;
mod quota;
#[cfg(feature = "serde")]
mod quota_serde;
pub mod semaphore;
pub mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod traits;

pub use algorithms::State;
pub use any::{AnyRateStore, DynRateStore};
pub use calendar::Calendar;
pub use decision::{Decision, Source};
pub use key::ip_key;
pub use leased::Leased;
pub use memory::{MemoryRateStore, MemoryRateStoreBuilder};
pub use quota::{Algorithm, Period, Quota, Terms};
pub use semaphore::{
    AnySemaphoreStore, DistributedSemaphore, DistributedSemaphoreConfig, DynSemaphoreStore, HeldPlace, Holder, MemorySemaphoreStore,
    SemaphoreStore, Taken,
};
#[cfg(feature = "sqlite")]
pub use semaphore::{SqliteSemaphoreStore, SqliteSemaphoreStoreBuilder};
pub use shared::{LimitStats, OnOutage, SharedLimit, SharedLimitConfig};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteRateStore, SqliteRateStoreBuilder};
pub use traits::{RateStore, Request};
