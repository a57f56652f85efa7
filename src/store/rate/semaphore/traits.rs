//! The trait behind semaphores and locks that several machines share.

#[cfg(any(feature = "sqlite", feature = "redis"))]
use crate::fault::{ConfigError, check};
use crate::store::{Key, StoreError, StoreFuture};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Who holds a place: 128 random bits, so that nobody can let go of the place of another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Holder(u128);

impl Holder {
    /// A new one, like no other.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// 32 hex digits, for backends that keep text.
    #[must_use]
    pub fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// Without the secret.
impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder(..)")
    }
}

/// What cannot be asked for.
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub(crate) fn check_place(max: u32, ttl: Duration) -> Result<(), ConfigError> {
    let mut faults = Vec::new();
    check::at_least(&mut faults, "max", u64::from(max), 1);
    check::nonzero(&mut faults, "ttl", ttl, "give it longer than the work takes");
    ConfigError::check("place", faults)
}

/// What came of asking for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is held.
    Held {
        /// Larger than that of anybody who has held a place of this key before.
        fence: u64,
    },
    /// Others hold them all.
    Full {
        /// When the first of those ends, unless it is renewed: nobody need ask later. `None` where nobody knows.
        retry_after: Option<Duration>,
    },
}

/// Places under keys, each held for a time: the interface of every backend of a [`DistributedSemaphore`](super::DistributedSemaphore).
///
/// The rules: each call is one atomic step on the backend's side, by the backend's time; a place whose time is over is free, and whoever held it
/// cannot renew it or let go of it any more; a key that nobody holds vanishes, but its fence goes on rising (a clock that never goes back will do);
/// after [`close`](Self::close) everything answers [`Closed`](crate::store::StoreErrorKind::Closed).
pub trait SemaphoreStore: Send + Sync + 'static {
    /// Takes one of `max` places at `key` for so long. A holder that has one already keeps it for so long from now, with a new fence.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> impl Future<Output = Result<Taken, StoreError>> + Send;

    /// Keeps a place for so long from now; false when it is not held any more.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Lets go of a place; false when it was not held any more.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    fn release(&self, key: &Key, holder: Holder) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// How many places are held.
    ///
    /// # Errors
    /// Whatever keeps the backend from answering.
    fn holders(&self, key: &Key) -> impl Future<Output = Result<u32, StoreError>> + Send;

    /// What it is, in one word, for errors and events. **Default**: `custom`.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// Ends it. Again is fine. **Default**: nothing to end.
    ///
    /// # Errors
    /// When the backend cannot be left in order.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }
}

/// The object-safe twin of [`SemaphoreStore`], which every store has by itself.
pub trait DynSemaphoreStore: Send + Sync + 'static {
    /// [`SemaphoreStore::take`].
    fn dyn_take<'a>(&'a self, key: &'a Key, holder: Holder, max: u32, ttl: Duration) -> StoreFuture<'a, Taken>;
    /// [`SemaphoreStore::renew`].
    fn dyn_renew<'a>(&'a self, key: &'a Key, holder: Holder, ttl: Duration) -> StoreFuture<'a, bool>;
    /// [`SemaphoreStore::release`].
    fn dyn_release<'a>(&'a self, key: &'a Key, holder: Holder) -> StoreFuture<'a, bool>;
    /// [`SemaphoreStore::holders`].
    fn dyn_holders<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, u32>;
    /// [`SemaphoreStore::name`].
    fn dyn_name(&self) -> &'static str;
    /// [`SemaphoreStore::close`].
    fn dyn_close(&self) -> StoreFuture<'_, ()>;
}

impl<S: SemaphoreStore> DynSemaphoreStore for S {
    fn dyn_take<'a>(&'a self, key: &'a Key, holder: Holder, max: u32, ttl: Duration) -> StoreFuture<'a, Taken> {
        Box::pin(self.take(key, holder, max, ttl))
    }
    fn dyn_renew<'a>(&'a self, key: &'a Key, holder: Holder, ttl: Duration) -> StoreFuture<'a, bool> {
        Box::pin(self.renew(key, holder, ttl))
    }
    fn dyn_release<'a>(&'a self, key: &'a Key, holder: Holder) -> StoreFuture<'a, bool> {
        Box::pin(self.release(key, holder))
    }
    fn dyn_holders<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, u32> {
        Box::pin(self.holders(key))
    }
    fn dyn_name(&self) -> &'static str {
        self.name()
    }
    fn dyn_close(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.close())
    }
}

/// Any store of places, as a value of one type. Clones share the store.
#[derive(Clone)]
pub struct AnySemaphoreStore(Arc<dyn DynSemaphoreStore>);

impl AnySemaphoreStore {
    /// This store, as any.
    #[must_use]
    pub fn new(store: impl SemaphoreStore) -> Self {
        Self(Arc::new(store))
    }
}

impl SemaphoreStore for AnySemaphoreStore {
    async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Taken, StoreError> {
        self.0.dyn_take(key, holder, max, ttl).await
    }
    async fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> Result<bool, StoreError> {
        self.0.dyn_renew(key, holder, ttl).await
    }
    async fn release(&self, key: &Key, holder: Holder) -> Result<bool, StoreError> {
        self.0.dyn_release(key, holder).await
    }
    async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
        self.0.dyn_holders(key).await
    }
    fn name(&self) -> &'static str {
        self.0.dyn_name()
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.0.dyn_close().await
    }
}

/// The same store, not merely one like it.
impl PartialEq for AnySemaphoreStore {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for AnySemaphoreStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnySemaphoreStore({})", self.name())
    }
}
