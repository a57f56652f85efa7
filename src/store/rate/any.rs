//! Stores of limits as objects.

use super::{Decision, Quota, RateStore, Request};
use crate::store::{Key, StoreError, StoreFuture};
use std::fmt;
use std::sync::Arc;

/// The object-safe twin of [`RateStore`], which every store has by itself. Methods have names of their own, so that both traits may be in scope;
/// an [`AnyRateStore`] gives the usual names back.
pub trait DynRateStore: Send + Sync + 'static {
    /// [`RateStore::acquire`].
    fn dyn_acquire<'a>(&'a self, key: &'a Key, quota: &'a Quota, cost: u32) -> StoreFuture<'a, Decision>;
    /// [`RateStore::refund`].
    fn dyn_refund<'a>(&'a self, key: &'a Key, quota: &'a Quota, units: u32) -> StoreFuture<'a, ()>;
    /// [`RateStore::reset`].
    fn dyn_reset<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, bool>;
    /// [`RateStore::peek`].
    fn dyn_peek<'a>(&'a self, key: &'a Key, quota: &'a Quota) -> StoreFuture<'a, Decision>;
    /// [`RateStore::acquire_many`].
    fn dyn_acquire_many<'a>(&'a self, requests: &'a [Request<'a>]) -> StoreFuture<'a, Vec<Decision>>;
    /// [`RateStore::probe`].
    fn dyn_probe(&self) -> StoreFuture<'_, ()>;
    /// [`RateStore::close`].
    fn dyn_close(&self) -> StoreFuture<'_, ()>;
    /// [`RateStore::name`].
    fn dyn_name(&self) -> &'static str;
}

impl<S: RateStore> DynRateStore for S {
    fn dyn_acquire<'a>(&'a self, key: &'a Key, quota: &'a Quota, cost: u32) -> StoreFuture<'a, Decision> {
        Box::pin(self.acquire(key, quota, cost))
    }
    fn dyn_refund<'a>(&'a self, key: &'a Key, quota: &'a Quota, units: u32) -> StoreFuture<'a, ()> {
        Box::pin(self.refund(key, quota, units))
    }
    fn dyn_reset<'a>(&'a self, key: &'a Key) -> StoreFuture<'a, bool> {
        Box::pin(self.reset(key))
    }
    fn dyn_peek<'a>(&'a self, key: &'a Key, quota: &'a Quota) -> StoreFuture<'a, Decision> {
        Box::pin(self.peek(key, quota))
    }
    fn dyn_acquire_many<'a>(&'a self, requests: &'a [Request<'a>]) -> StoreFuture<'a, Vec<Decision>> {
        Box::pin(self.acquire_many(requests))
    }
    fn dyn_probe(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.probe())
    }
    fn dyn_close(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.close())
    }
    fn dyn_name(&self) -> &'static str {
        self.name()
    }
}

/// Any store of limits, as a value of one type. Clones share the store. Each operation costs one allocation more.
#[derive(Clone)]
pub struct AnyRateStore(Arc<dyn DynRateStore>);

impl AnyRateStore {
    /// This store, as any.
    #[must_use]
    pub fn new(store: impl RateStore) -> Self {
        Self(Arc::new(store))
    }

    /// The store that is behind this object.
    #[must_use]
    pub fn from_dyn(store: Arc<dyn DynRateStore>) -> Self {
        Self(store)
    }
}

/// The same store, not merely one like it.
impl PartialEq for AnyRateStore {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl RateStore for AnyRateStore {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        self.0.dyn_acquire(key, quota, cost).await
    }
    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        self.0.dyn_refund(key, quota, units).await
    }
    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        self.0.dyn_reset(key).await
    }
    fn name(&self) -> &'static str {
        self.0.dyn_name()
    }
    async fn peek(&self, key: &Key, quota: &Quota) -> Result<Decision, StoreError> {
        self.0.dyn_peek(key, quota).await
    }
    async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
        self.0.dyn_acquire_many(requests).await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.0.dyn_probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.0.dyn_close().await
    }
    fn into_any(self) -> AnyRateStore {
        self
    }
}

/// A store shared with others is a store.
impl<S: RateStore> RateStore for Arc<S> {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        (**self).acquire(key, quota, cost).await
    }
    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        (**self).refund(key, quota, units).await
    }
    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        (**self).reset(key).await
    }
    fn name(&self) -> &'static str {
        (**self).name()
    }
    async fn peek(&self, key: &Key, quota: &Quota) -> Result<Decision, StoreError> {
        (**self).peek(key, quota).await
    }
    async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
        (**self).acquire_many(requests).await
    }
    async fn probe(&self) -> Result<(), StoreError> {
        (**self).probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        (**self).close().await
    }
}

impl fmt::Debug for AnyRateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyRateStore({})", self.name())
    }
}
