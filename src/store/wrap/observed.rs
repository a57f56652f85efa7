//! A store that tells what it does.

use super::super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError, StoreErrorKind};
use crate::guarded::guarded;
use crate::outcome::Seconds;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a store was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreOperation {
    /// [`Store::get`].
    Get,
    /// [`Store::set`].
    Set,
    /// [`Store::delete`].
    Delete,
    /// [`Store::clear`].
    Clear,
    /// [`Store::exists`].
    Exists,
    /// [`Store::get_many`].
    GetMany,
    /// [`Store::set_many`].
    SetMany,
    /// [`Store::delete_many`].
    DeleteMany,
    /// [`Store::keys`].
    Keys,
    /// [`Store::delete_matching`].
    DeleteMatching,
    /// [`Store::delete_tagged`].
    DeleteTagged,
    /// [`Store::purge_expired`].
    PurgeExpired,
    /// [`Store::probe`].
    Probe,
    /// [`Store::close`].
    Close,
}

impl StoreOperation {
    /// As a word for labels and logs: `get_many`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Clear => "clear",
            Self::Exists => "exists",
            Self::GetMany => "get_many",
            Self::SetMany => "set_many",
            Self::DeleteMany => "delete_many",
            Self::Keys => "keys",
            Self::DeleteMatching => "delete_matching",
            Self::DeleteTagged => "delete_tagged",
            Self::PurgeExpired => "purge_expired",
            Self::Probe => "probe",
            Self::Close => "close",
        }
    }
}

/// One operation of a store, after the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreEvent {
    /// Which kind of store: `memory`, `file`.
    pub store: &'static str,
    /// What it was asked for.
    pub operation: StoreOperation,
    /// On one key: its [`fingerprint`](Key::fingerprint), to tell keys apart without naming them. `None` for many.
    pub key: Option<String>,
    /// How long it took.
    pub elapsed: Duration,
    /// How much it concerned: 1 or 0 for one key that was found, stored, deleted or not; a count for many.
    pub items: u64,
    /// Why it failed, if it did.
    pub error: Option<StoreErrorKind>,
}

/// `memory get #5f3a1c22: 1 in 12 us`.
impl fmt::Display for StoreEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.store, self.operation.as_str())?;
        if let Some(key) = &self.key {
            write!(f, " #{key}")?;
        }
        match self.error {
            None => write!(f, ": {} in {}", self.items, Seconds(self.elapsed)),
            Some(kind) => write!(f, ": {} after {}", kind.as_str(), Seconds(self.elapsed)),
        }
    }
}

/// Is told each operation of a store. Closures `Fn(&StoreEvent)` are observers. The caller waits meanwhile, so keep it short; a panic in it is
/// caught.
pub trait StoreObserver: Send + Sync + 'static {
    /// `event` has happened.
    fn on_store_event(&self, event: &StoreEvent);
}

impl<F: Fn(&StoreEvent) + Send + Sync + 'static> StoreObserver for F {
    fn on_store_event(&self, event: &StoreEvent) {
        self(event);
    }
}

/// What [`Store::observed`] makes. An operation that is dropped half-way is not told of.
pub struct Observed<S> {
    inner: S,
    observer: Arc<dyn StoreObserver>,
}

impl<S: Store> Observed<S> {
    pub(crate) fn new(inner: S, observer: Arc<dyn StoreObserver>) -> Self {
        Self { inner, observer }
    }

    /// The store inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    async fn tell<T>(
        &self,
        operation: StoreOperation,
        key: Option<&Key>,
        work: impl Future<Output = Result<T, StoreError>> + Send,
        items: impl FnOnce(&T) -> u64 + Send,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = work.await;
        let event = StoreEvent {
            store: self.inner.name(),
            operation,
            key: key.map(Key::fingerprint),
            elapsed: started.elapsed(),
            items: result.as_ref().map_or_else(StoreError::completed, items),
            error: result.as_ref().err().map(StoreError::kind),
        };
        let _panicked = guarded(|| self.observer.on_store_event(&event));
        result
    }
}

impl<S: fmt::Debug> fmt::Debug for Observed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Store> Store for Observed<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.tell(StoreOperation::Get, Some(key), self.inner.get(key), |found| u64::from(found.is_some())).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.tell(StoreOperation::Set, Some(key), self.inner.set(key, value, options), |done| u64::from(*done)).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.tell(StoreOperation::Delete, Some(key), self.inner.delete(key), |done| u64::from(*done)).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.tell(StoreOperation::Clear, None, self.inner.clear(), |count| *count).await
    }
    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn reset_stats(&self) {
        self.inner.reset_stats();
    }
    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.tell(StoreOperation::Exists, Some(key), self.inner.exists(key), |found| u64::from(*found)).await
    }
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        self.tell(StoreOperation::GetMany, None, self.inner.get_many(keys), |found| found.len() as u64).await
    }
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        self.tell(StoreOperation::SetMany, None, self.inner.set_many(items, options), |count| *count).await
    }
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        self.tell(StoreOperation::DeleteMany, None, self.inner.delete_many(keys), |count| *count).await
    }
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        self.tell(StoreOperation::Keys, None, self.inner.keys(glob), |keys| keys.len() as u64).await
    }
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        self.tell(StoreOperation::Keys, None, self.inner.keys_page(glob, from), |page| page.keys.len() as u64).await
    }
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        self.tell(StoreOperation::DeleteMatching, None, self.inner.delete_matching(glob), |count| *count).await
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        self.tell(StoreOperation::DeleteTagged, None, self.inner.delete_tagged(tag), |count| *count).await
    }
    async fn purge_expired(&self) -> Result<u64, StoreError> {
        self.tell(StoreOperation::PurgeExpired, None, self.inner.purge_expired(), |count| *count).await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.tell(StoreOperation::Probe, None, self.inner.probe(), |()| 1).await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.tell(StoreOperation::Close, None, self.inner.close(), |()| 1).await
    }
}
