//! How near stores hear of what others have changed.
//!
//! Several processes with a near store each, in front of one far store: what one of them changes, the others still have near. A backplane carries a
//! word from each to all the others: *this key has changed*. No values; whoever hears it drops its copy and asks the far store when it is next asked.
//!
//! A backplane may repeat itself, change the order, and lose what it was given while a connection was down: words are only ever a reason to drop
//! something. What it must not do is be silent about having been deaf: after each interruption the first thing heard is [`Heard::Gap`], upon which
//! everything near is dropped. A word that could not be said is kept and said later; until then, others have what they have for as long as
//! it lives near.
//!
//! | backplane | feature | between |
//! |---|---|---|
//! | [`LocalBackplane`] | `store` | several stores of one process; tests |
//! | `RedisBackplane` | `redis` | processes that reach one Redis |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{Key, LocalBackplane, MemoryStore, SetOptions, Store, Tiered};
//!
//! let (far, backplane) = (MemoryStore::new(), LocalBackplane::new()); // Redis, and Redis
//! let one = Tiered::new(MemoryStore::new(), far.clone()).backplane(backplane.clone());
//! let other = Tiered::new(MemoryStore::new(), far).backplane(backplane);
//!
//! let key = Key::new("k")?;
//! one.set(&key, "old".into(), SetOptions::new()).await?;
//! assert_eq!(other.get(&key).await?.map(|entry| entry.value), Some("old".into())); // and kept near
//! one.set(&key, "new".into(), SetOptions::new()).await?;
//! while other.near().exists(&key).await? {
//!     tokio::task::yield_now().await; // the word is on its way
//! }
//! assert_eq!(other.get(&key).await?.map(|entry| entry.value), Some("new".into()));
//! # Ok(()) }
//! ```

mod local;
mod notice;
mod peers;

use super::StoreFuture;
pub use local::LocalBackplane;
#[cfg(feature = "redis")]
pub(super) use local::{Inbox, QUEUE};
pub use notice::{Changed, Notice};
pub(crate) use peers::{Ears, Peers};
use std::pin::Pin;

/// A boxed answer of a [`Subscription`].
pub type HeardFuture<'a> = Pin<Box<dyn Future<Output = Option<Heard>> + Send + 'a>>;

/// Carries the word of what was changed from one store to all others: NATS, PostgreSQL's `LISTEN`, a message bus of your own. See the
/// [module](self) for what it may do and what it must.
pub trait Backplane: Send + Sync + 'static {
    /// Says it to all who listen. The one who says it may hear it, too: it knows its own words by their [sender](Notice::sender).
    ///
    /// # Errors
    /// When it may not have been said. It is tried again later.
    fn publish<'a>(&'a self, notice: &'a Notice) -> StoreFuture<'a, ()>;

    /// Begins to listen; connects when it is first asked for what it heard, and again by itself whenever the connection is lost.
    fn subscribe(&self) -> Box<dyn Subscription>;
}

/// An ear at a [`Backplane`]. Dropped, it listens no longer.
pub trait Subscription: Send + 'static {
    /// What was heard next; `None` when nothing will be heard any more. The first is always [`Heard::Gap`].
    ///
    /// # Cancel safety
    /// Dropped half-way, nothing is lost: what would have been heard is heard by the next call.
    fn next(&mut self) -> HeardFuture<'_>;
}

/// What a [`Subscription`] hears.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Heard {
    /// Somebody has changed something.
    Notice(Notice),
    /// Something may have been missed until now: listening has just begun, or begun again, or it came faster than it was taken in, or could not be
    /// understood.
    Gap,
}
