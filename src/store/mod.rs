//! Stores: bytes under keys, for a time, in memory or where others see them and they survive. Feature `store`.
//!
//! A store is what is under a cache, and what several processes share. It knows nothing of types and policies; wrappers and pipelines go
//! around it, each a store itself:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, MemoryStore, SetOptions, Store};
//! use steadfast::{CircuitBreaker, Pipeline, Retry};
//!
//! let careful = Pipeline::builder("sessions")
//!     .retry(Retry::constant(2, Duration::from_millis(50)))
//!     .circuit_breaker(CircuitBreaker::failure_rate(0.5))
//!     .attempt_timeout(Duration::from_millis(200))
//!     .build()?;
//!
//! let sessions = MemoryStore::new()      // or a file, SQLite, HTTP, your own
//!     .guarded(careful)                  // retried, timed, given a rest when it is down
//!     .observed(|event: &steadfast::store::StoreEvent| println!("{event}"))
//!     .fail_soft()                       // down is the same as empty
//!     .namespace("sessions");            // `clear` and patterns stay inside
//!
//! let key = Key::new("alice")?;
//! sessions.set(&key, "token".into(), SetOptions::new().ttl(Duration::from_secs(60))).await?;
//! assert!(sessions.get(&key).await?.is_some());
//! # Ok(()) }
//! ```
//!
//! | store | feature | seen by | survives |
//! |---|---|---|---|
//! | [`MemoryStore`] | `store` | this process | nothing |
//! | `FileStore` | `file` | processes of one machine | kills, and power cuts if asked to |
//! | `SqliteStore` | `sqlite` | processes of one machine | kills, and power cuts but for the last moment |
//! | `HttpStore` | `http-store` | whoever the server lets | what the server does |
//! | `RedisStore` | `redis` | machines that reach one server | what the server survives |
//!
//! [`Tiered`] puts a near one in front of a far one, a [`backplane`] lets several near ones hear of what the others change, and [`connect`] makes one of an address from your configuration.
//!
//! Limits that several machines share, and their stores, are in [`rate`]; a circuit that they share is in [`breaker`].
//!
//! To write one of your own, implement the five methods of [`Store`], and run `steadfast::testing::conformance` on it: the same suite that
//! the stores here pass. `examples/custom_store.rs` does both.

mod any;
pub mod backplane;
pub mod breaker;
mod codec;
mod connect;
mod entry;
mod error;
#[cfg(feature = "file")]
pub mod file;
mod glob;
#[cfg(feature = "http-store")]
pub mod http;
mod key;
pub mod memory;
pub mod rate;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod stats;
pub mod tiered;
mod traits;
mod walk;
#[cfg(any(feature = "file", feature = "sqlite", feature = "redis"))]
mod words;
mod wrap;

pub use crate::cache_stats::CacheStats;
pub use any::{AnyStore, DynStore, StoreFuture};
pub use backplane::{Backplane, Changed, Heard, LocalBackplane, Notice, Subscription};
pub use breaker::{SharedBreaker, SharedBreakerConfig, SharedBreakerStats};
#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, Raw};
pub use connect::connect;
pub use entry::{Entry, Metadata, SetOptions, Timestamp, Ttl};
pub use error::{StoreError, StoreErrorKind};
#[cfg(feature = "file")]
pub use file::{FileStore, FileStoreBuilder};
pub use glob::Glob;
#[cfg(feature = "http-store")]
pub use http::{HttpStore, HttpStoreBuilder};
pub use key::{Key, KeyPolicy};
pub use memory::{MemoryStore, MemoryStoreBuilder};
#[cfg(feature = "redis")]
pub use redis::{
    RedisBackplane, RedisBackplaneBuilder, RedisOptions, RedisRateStore, RedisRateStoreBuilder, RedisSemaphoreStore,
    RedisSemaphoreStoreBuilder, RedisStore, RedisStoreBuilder,
};
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteStore, SqliteStoreBuilder};
pub use tiered::Tiered;
pub use traits::{Capabilities, Store};
pub use walk::{Cursor, KeysPage, Walk};
pub use wrap::{FailSoft, Guarded, Namespace, Observed, StoreEvent, StoreObserver, StoreOperation};
