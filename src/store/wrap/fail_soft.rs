//! A store that callers can do without.

use super::super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError, StoreErrorKind};
use crate::sync::Counter;
use bytes::Bytes;
use std::collections::HashMap;

/// What [`Store::fail_soft`] makes.
#[derive(Debug)]
pub struct FailSoft<S> {
    inner: S,
    errors: Counter,
}

impl<S: Store> FailSoft<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, errors: Counter::default() }
    }

    /// The store inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    fn soft<T: Default>(&self, operation: &'static str, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.or_else(|error| {
            // A key that no store takes is a mistake of the caller's, and no outage.
            if error.kind() == StoreErrorKind::InvalidKey {
                return Err(error);
            }
            self.errors.add(1);
            tracing::warn!(name: "steadfast.store_failed", target: "steadfast::store", store = self.inner.name(), operation, error = %error, "store failed, going on without");
            Ok(T::default())
        })
    }
}

impl<S: Store> Store for FailSoft<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.soft("get", self.inner.get(key).await)
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.soft("set", self.inner.set(key, value, options).await)
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.inner.delete(key).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.inner.clear().await
    }
    /// The store's own, and in `errors` the failures that were swallowed here, too.
    fn stats(&self) -> CacheStats {
        let stats = self.inner.stats();
        CacheStats { errors: stats.errors.saturating_add(self.errors.get()), ..stats }
    }
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn reset_stats(&self) {
        self.errors.reset();
        self.inner.reset_stats();
    }
    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.soft("exists", self.inner.exists(key).await)
    }
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        self.soft("get_many", self.inner.get_many(keys).await)
    }
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        self.soft("set_many", self.inner.set_many(items, options).await)
    }
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        self.inner.delete_many(keys).await
    }
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        self.inner.keys(glob).await
    }
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        self.inner.keys_page(glob, from).await
    }
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        self.inner.delete_matching(glob).await
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        self.inner.delete_tagged(tag).await
    }
    async fn purge_expired(&self) -> Result<u64, StoreError> {
        self.soft("purge_expired", self.inner.purge_expired().await)
    }
    /// Tells the truth: whoever asks wants to know.
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
