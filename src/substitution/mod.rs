//! Substitutes: what to answer instead?
//!
//! A [`Fallback`] answers a call that failed: with a value, a function or a future, on one call or on every call of a
//! [`TypedPipeline`](crate::TypedPipeline). See [`fallback`].
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let names = steadfast::Pipeline::builder("names").build()?;
//! assert!(names.call_or(|| async { Err::<Vec<u32>, _>("down") }, vec![]).await.is_empty());
//! # Ok(()) }
//! ```

#[cfg(feature = "cache")]
pub mod cache;
pub mod coalesce;
pub mod fallback;
#[cfg(all(test, steadfast_loom))]
mod models;

#[cfg(all(feature = "cache", feature = "store"))]
pub use cache::BothTiers;
#[cfg(feature = "cache")]
pub use cache::{Cache, CacheConfig, Caching, Eviction, LoadContext, Loaded, RemovalCause};
pub(crate) use coalesce::End as CoalesceEnd;
pub use coalesce::{Coalesce, CoalesceConfig, CoalesceStats};
pub use fallback::Fallback;
#[cfg(feature = "cache")]
pub(crate) use fallback::Nothing;
pub(crate) use fallback::{OrElse, Substitute, Substituted};
