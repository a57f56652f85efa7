//! Many small things as few large ones: calls gathered into batches, long lists in chunks, many futures under one deadline.
//!
//! | need | tool |
//! |---|---|
//! | callers ask one by one, the backend would rather be asked for many at once | [`Batcher`] |
//! | a long list has to go through in pieces, in order | [`in_chunks`] |
//! | many futures, one deadline, and the result of each that made it | [`join_all`] |
//!
//! None of them spawns a task or starts a thread: they run in the futures of those who wait for them.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::batch::{Batcher, join_all};
//!
//! // One query for many users, instead of many queries.
//! let users = Batcher::new(|ids: Vec<u32>| async move { Ok::<_, String>(ids.into_iter().map(|id| Ok(format!("user {id}"))).collect()) })
//!     .max_size(100)
//!     .max_wait(Duration::from_millis(2))
//!     .build()?;
//!
//! let found = join_all([3, 1, 3].map(|id| users.get(id))).within(Duration::from_secs(1)).await;
//! assert_eq!(found[0].as_ref().unwrap().as_deref(), Ok("user 3"));
//! assert_eq!(users.stats().batches, 1);
//! assert_eq!(users.stats().keys, 2); // the same key twice is one key
//! # Ok(()) }
//! ```

mod batcher;
mod chunks;
mod join;

pub use batcher::{BatchError, BatchStats, Batcher, BatcherConfig};
pub use chunks::in_chunks;
pub use join::{JoinAll, join_all};
