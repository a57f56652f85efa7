//! A store behind pipelines.

use super::super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError};
use crate::outcome::Verdict;
use crate::pipeline::Pipeline;
use bytes::Bytes;
use std::collections::HashMap;

/// What [`Store::guarded`] and [`Store::guarded_rw`] make.
#[derive(Debug)]
pub struct Guarded<S> {
    inner: S,
    reads: Pipeline,
    writes: Pipeline,
}

impl<S: Store> Guarded<S> {
    pub(crate) const fn new(inner: S, reads: Pipeline, writes: Pipeline) -> Self {
        Self { inner, reads, writes }
    }

    /// The store inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// What reads go through.
    pub const fn reads(&self) -> &Pipeline {
        &self.reads
    }

    /// What writes go through.
    pub const fn writes(&self) -> &Pipeline {
        &self.writes
    }
}

/// Runs `operation` through `pipeline`. With `repeatable` false, an attempt whose end nobody saw is the last.
async fn through<'a, T, F, Fut>(pipeline: &'a Pipeline, repeatable: bool, operation: F) -> Result<T, StoreError>
where
    F: Fn() -> Fut + Send + 'a,
    Fut: Future<Output = Result<T, StoreError>> + Send + 'a,
    T: Send + 'a,
{
    let judge = |result: &Result<T, StoreError>| match result {
        Ok(_) => Verdict::Success,
        Err(error) => pipeline.judges().judge_known(error).unwrap_or_else(|| error.verdict()),
    };
    pipeline.classify(judge).idempotent(repeatable).call(operation).await.map_err(|error| error.flatten())
}

impl<S: Store> Store for Guarded<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        through(&self.reads, true, || self.inner.get(key)).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        // Of two sets that must be the first, the second finds what the first one left.
        let repeatable = !options.if_absent;
        through(&self.writes, repeatable, || self.inner.set(key, value.clone(), options.clone())).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        through(&self.writes, true, || self.inner.delete(key)).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        through(&self.writes, true, || self.inner.clear()).await
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
        through(&self.reads, true, || self.inner.exists(key)).await
    }
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        through(&self.reads, true, || self.inner.get_many(keys)).await
    }
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        let repeatable = !options.if_absent;
        through(&self.writes, repeatable, || self.inner.set_many(items, options.clone())).await
    }
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        through(&self.writes, true, || self.inner.delete_many(keys)).await
    }
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        through(&self.reads, true, || self.inner.keys(glob)).await
    }
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        through(&self.reads, true, || self.inner.keys_page(glob, from)).await
    }
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        through(&self.writes, true, || self.inner.delete_matching(glob)).await
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        through(&self.writes, true, || self.inner.delete_tagged(tag)).await
    }
    async fn purge_expired(&self) -> Result<u64, StoreError> {
        through(&self.writes, true, || self.inner.purge_expired()).await
    }
    /// Past the pipeline: whoever asks wants to know how the store is, not the breaker.
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
    /// Past the pipeline: an open breaker must not keep a store from being closed.
    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
