//! Without the feature `store` there is no second tier.

use super::name::Names;
use super::{Inner, Ruled};
use crate::admission::keyed::Hash;
use crate::cache_stats::CacheStats;
use crate::fault::Fault;
use std::marker::PhantomData;
use tokio::time::Instant;

pub(super) struct Plan<T>(PhantomData<fn(T)>);

impl<T> Plan<T> {
    pub(super) fn faults(&self, _faults: &mut Vec<Fault>) {}

    pub(super) fn is_of(&self, _other: &Self) -> bool {
        true
    }
}

impl<T> Default for Plan<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Plan<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T> PartialEq for Plan<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<T> std::fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("None")
    }
}

/// There is none of this.
pub(super) struct Tier<T>(std::convert::Infallible, PhantomData<fn(T)>);

impl<T> Tier<T> {
    pub(super) fn of(_plan: &Plan<T>) -> Option<Self> {
        None
    }

    pub(super) fn plan(&self) -> Plan<T> {
        match self.0 {}
    }

    pub(super) fn reconfigure(&self, _plan: &Plan<T>) {
        match self.0 {}
    }

    pub(super) fn tell(&self, _stats: &mut CacheStats) {
        match self.0 {}
    }

    pub(super) fn reset_stats(&self) {
        match self.0 {}
    }
}

pub(super) fn unknown_tags(names: &Names) -> Hash {
    names.name("")
}

/// No name.
#[derive(Clone, Default)]
pub(crate) struct Far(());

pub(super) struct Letter;

#[derive(Clone, Default)]
pub(super) struct Outbox(());

impl Outbox {
    pub(super) fn put(&self, _epoch: u64, _letter: Letter) {}
}

impl<T> Inner<T> {
    #[inline]
    pub(crate) fn far<Q: ?Sized>(&self, _key: &Q) -> Far {
        Far(())
    }

    #[inline]
    pub(crate) const fn needs_name(&self, _key: Hash) -> bool {
        false
    }

    pub(super) const fn outbox(&self) -> Outbox {
        Outbox(())
    }

    pub(super) fn letter(&self, _far: &Far, _ruled: &mut Ruled<T>) -> Letter {
        Letter
    }

    pub(super) async fn promote(
        &self,
        _far: &Far,
        _place: (Hash, u64),
        _refresh: bool,
        _give: fn(&T) -> T,
        _until: Option<Instant>,
    ) -> Option<T> {
        None
    }

    pub(super) async fn send(&self, _far: &Far, _key: Hash, _outbox: Outbox, _until: Option<Instant>) {}
}
