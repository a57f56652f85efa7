//! A part of a store, for one purpose.

use super::super::stats::Counters;
use super::super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError};
use bytes::Bytes;
use std::collections::HashMap;

/// What [`Store::namespace`] makes.
#[derive(Debug)]
pub struct Namespace<S> {
    inner: S,
    name: String,
    /// How every key begins here.
    prefix: String,
    counters: Counters,
}

impl<S: Store> Namespace<S> {
    pub(crate) fn new(inner: S, name: &str) -> Self {
        let prefix = Glob::of_namespace(name).literal_prefix().to_owned();
        Self { inner, name: name.to_owned(), prefix, counters: Counters::default() }
    }

    /// Its name.
    pub fn namespace_name(&self) -> &str {
        &self.name
    }

    /// The store it is a part of.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    fn key(&self, key: &Key) -> Key {
        key.within(&self.name)
    }

    /// Tags are the namespace's own, as keys are.
    fn tag(&self, tag: &str) -> String {
        [&self.prefix, tag].concat()
    }

    fn options(&self, mut options: SetOptions) -> SetOptions {
        options.tags.iter_mut().for_each(|tag| *tag = self.tag(tag));
        options
    }

    fn bare(&self, key: &Key) -> Option<Key> {
        key.as_str().strip_prefix(&self.prefix).map(|text| Key::from_text(text.to_owned()))
    }

    fn deleted(&self, deleted: u64) -> u64 {
        self.counters.deletes.add(deleted);
        deleted
    }
}

impl<S: Store> Store for Namespace<S> {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found = self.inner.get(&self.key(key)).await?;
        self.counters.got(found.is_some());
        Ok(found)
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        let stored = self.inner.set(&self.key(key), value, self.options(options)).await?;
        self.counters.sets.add(u64::from(stored));
        Ok(stored)
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let deleted = self.inner.delete(&self.key(key)).await?;
        self.deleted(u64::from(deleted));
        Ok(deleted)
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        Ok(self.deleted(self.inner.delete_matching(&Glob::of_namespace(&self.name)).await?))
    }
    /// What was done through this namespace. Evictions and gauges are the whole store's.
    fn stats(&self) -> CacheStats {
        let own = self.counters.snapshot();
        CacheStats { hits: own.hits, misses: own.misses, sets: own.sets, deletes: own.deletes, ..self.inner.stats() }
    }
    fn name(&self) -> &'static str {
        self.inner.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    /// Only the namespace's own counters.
    fn reset_stats(&self) {
        self.counters.reset();
    }
    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.inner.exists(&self.key(key)).await
    }
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        let full: HashMap<Key, &Key> = keys.iter().map(|key| (self.key(key), key)).collect();
        let asked: Vec<Key> = full.keys().cloned().collect();
        let found = self.inner.get_many(&asked).await?;
        self.counters.hits.add(found.len() as u64);
        self.counters.misses.add((asked.len() - found.len()) as u64);
        Ok(found.into_iter().filter_map(|(key, entry)| Some((Key::clone(full.get(&key)?), entry))).collect())
    }
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        let items: Vec<_> = items.iter().map(|(key, value)| (self.key(key), value.clone())).collect();
        let stored = self.inner.set_many(&items, self.options(options)).await?;
        self.counters.sets.add(stored);
        Ok(stored)
    }
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let keys: Vec<_> = keys.iter().map(|key| self.key(key)).collect();
        Ok(self.deleted(self.inner.delete_many(&keys).await?))
    }
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        let keys = self.inner.keys(&glob.within(&self.name)).await?;
        Ok(keys.iter().filter_map(|key| self.bare(key)).collect())
    }
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        let page = self.inner.keys_page(&glob.within(&self.name), from).await?;
        Ok(KeysPage::new(page.keys.iter().filter_map(|key| self.bare(key)).collect(), page.next))
    }
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        Ok(self.deleted(self.inner.delete_matching(&glob.within(&self.name)).await?))
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        Ok(self.deleted(self.inner.delete_tagged(&self.tag(tag)).await?))
    }
    async fn purge_expired(&self) -> Result<u64, StoreError> {
        self.inner.purge_expired().await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}
