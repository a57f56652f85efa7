//! Stores as objects.

use super::{CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError};
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// A boxed answer of a [`DynStore`].
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

macro_rules! twin {
    ($($(#[$doc:meta])* $name:ident / $dynamic:ident ($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        /// The object-safe twin of [`Store`], which every store has by itself. Methods have names of their own, so that both traits may be in
        /// scope; an [`AnyStore`] gives the usual names back.
        pub trait DynStore: Send + Sync + 'static {
            $($(#[$doc])* fn $dynamic<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $out>;)*
            /// [`Store::stats`].
            fn dyn_stats(&self) -> CacheStats;
            /// [`Store::reset_stats`].
            fn dyn_reset_stats(&self);
            /// [`Store::name`].
            fn dyn_name(&self) -> &'static str;
            /// [`Store::capabilities`].
            fn dyn_capabilities(&self) -> Capabilities;
        }

        impl<S: Store> DynStore for S {
            $(fn $dynamic<'a>(&'a self, $($arg: $type),*) -> StoreFuture<'a, $out> {
                Box::pin(self.$name($($arg),*))
            })*
            fn dyn_stats(&self) -> CacheStats {
                self.stats()
            }
            fn dyn_reset_stats(&self) {
                self.reset_stats();
            }
            fn dyn_name(&self) -> &'static str {
                self.name()
            }
            fn dyn_capabilities(&self) -> Capabilities {
                self.capabilities()
            }
        }
    };
}

twin! {
    /// [`Store::get`].
    get / dyn_get(key: &'a Key) -> Option<Entry>;
    /// [`Store::set`].
    set / dyn_set(key: &'a Key, value: Bytes, options: SetOptions) -> bool;
    /// [`Store::delete`].
    delete / dyn_delete(key: &'a Key) -> bool;
    /// [`Store::clear`].
    clear / dyn_clear() -> u64;
    /// [`Store::exists`].
    exists / dyn_exists(key: &'a Key) -> bool;
    /// [`Store::get_many`].
    get_many / dyn_get_many(keys: &'a [Key]) -> HashMap<Key, Entry>;
    /// [`Store::set_many`].
    set_many / dyn_set_many(items: &'a [(Key, Bytes)], options: SetOptions) -> u64;
    /// [`Store::delete_many`].
    delete_many / dyn_delete_many(keys: &'a [Key]) -> u64;
    /// [`Store::keys`].
    keys / dyn_keys(glob: &'a Glob) -> Vec<Key>;
    /// [`Store::keys_page`].
    keys_page / dyn_keys_page(glob: &'a Glob, from: Option<&'a Cursor>) -> KeysPage;
    /// [`Store::delete_matching`].
    delete_matching / dyn_delete_matching(glob: &'a Glob) -> u64;
    /// [`Store::delete_tagged`].
    delete_tagged / dyn_delete_tagged(tag: &'a str) -> u64;
    /// [`Store::purge_expired`].
    purge_expired / dyn_purge_expired() -> u64;
    /// [`Store::probe`].
    probe / dyn_probe() -> ();
    /// [`Store::close`].
    close / dyn_close() -> ();
}

/// Any store, as a value of one type: what configuration chose, what a struct without type parameters keeps. Clones share the store. Each
/// operation costs one allocation more.
///
/// ```
/// use steadfast::store::{AnyStore, MemoryStore, Store};
/// let mut store: AnyStore = MemoryStore::new().into_any();
/// if cfg!(feature = "a-feature-of-yours") {
///     store = store.fail_soft().namespace("users").into_any();
/// }
/// # let _ = store;
/// ```
#[derive(Clone)]
pub struct AnyStore(Arc<dyn DynStore>);

impl AnyStore {
    /// `store`, whatever its type.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyStore").field(&self.0.dyn_name()).finish()
    }
}

// `self.0.` must reach the object and not the blanket `DynStore` of `Arc<..>` or of this type, which would call itself.
impl Store for AnyStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        (*self.0).dyn_get(key).await
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        (*self.0).dyn_set(key, value, options).await
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        (*self.0).dyn_delete(key).await
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        (*self.0).dyn_clear().await
    }
    fn stats(&self) -> CacheStats {
        (*self.0).dyn_stats()
    }
    fn name(&self) -> &'static str {
        (*self.0).dyn_name()
    }
    fn capabilities(&self) -> Capabilities {
        (*self.0).dyn_capabilities()
    }
    fn reset_stats(&self) {
        (*self.0).dyn_reset_stats();
    }
    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        (*self.0).dyn_exists(key).await
    }
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        (*self.0).dyn_get_many(keys).await
    }
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        (*self.0).dyn_set_many(items, options).await
    }
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        (*self.0).dyn_delete_many(keys).await
    }
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        (*self.0).dyn_keys(glob).await
    }
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        (*self.0).dyn_keys_page(glob, from).await
    }
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        (*self.0).dyn_delete_matching(glob).await
    }
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        (*self.0).dyn_delete_tagged(tag).await
    }
    async fn purge_expired(&self) -> Result<u64, StoreError> {
        (*self.0).dyn_purge_expired().await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        (*self.0).dyn_probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        (*self.0).dyn_close().await
    }
    fn into_any(self) -> AnyStore {
        self
    }
}
