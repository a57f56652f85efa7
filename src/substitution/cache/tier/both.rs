//! Both tiers at once: what is to be seen by others, too.

use super::super::{Cache, Inner, Loaded};
use super::doubts::What;
use super::{Far, Tier};
use crate::admission::keyed::Hash;
use crate::store::{StoreError, StoreErrorKind};
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash as StdHash;

/// A cache and its [second tier](super::super::CacheConfig::second_tier): made by [`Cache::both`]. Without a second tier, the cache alone.
///
/// What changes a value goes to the second tier first. When that fails the call does, and says why; what was to be removed is removed from this process all the same, and is not
/// read from the second tier again before it is removed there, too.
///
/// # Cancel safety
/// Dropped half-way, a change may have happened or not; this process then has no value, and asks the second tier only after removing it there.
pub struct BothTiers<'a, K, T> {
    cache: &'a Cache<K, T>,
}

impl<K, T> Cache<K, T> {
    /// This cache and its [second tier](super::super::CacheConfig::second_tier), to change both: `cache.both().remove(&key).await?`.
    #[must_use]
    pub const fn both(&self) -> BothTiers<'_, K, T> {
        BothTiers { cache: self }
    }
}

impl<K, T> Clone for BothTiers<'_, K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, T> Copy for BothTiers<'_, K, T> {}

impl<K, T> fmt::Debug for BothTiers<'_, K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BothTiers").field(self.cache).finish()
    }
}

/// A change that has not come to its end.
struct Change<'a, T, N: Fn() -> u64> {
    tier: &'a Tier<T>,
    what: What,
    /// What it is in this process.
    near: N,
    near_done: bool,
    far_done: bool,
}

impl<T, N: Fn() -> u64> Change<'_, T, N> {
    fn near(&mut self) -> u64 {
        self.near_done = true;
        (self.near)()
    }
}

impl<T, N: Fn() -> u64> Drop for Change<'_, T, N> {
    fn drop(&mut self) {
        // In this order: whoever finds the doubt finds the new epoch, too.
        if !self.near_done {
            (self.near)();
        }
        if !self.far_done {
            self.tier.doubts.add(self.what.clone());
        }
    }
}

impl<K, T> BothTiers<'_, K, T> {
    fn inner(&self) -> &Inner<T> {
        &self.cache.inner
    }

    /// The fresh value, here or there; found there, it is kept here. A second tier that fails has none. Of many who ask at once, each asks it.
    pub async fn get<Q>(&self, key: &Q) -> Option<T>
    where
        T: Clone,
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        let (inner, hash) = (&self.cache.inner, self.cache.inner.hash(key));
        if let Some(value) = inner.get(hash, T::clone) {
            return Some(value);
        }
        let far = inner.far(key);
        let order = inner.order(hash);
        inner.promote(&far, (hash, order.epoch()), false, T::clone, None).await
    }

    /// As [`Cache::insert`], in both. True if this cache or the second tier has stored it.
    ///
    /// # Errors
    /// When the second tier did not answer, or the codec has no bytes for the value. This process has the value all the same, and reads no older one from there.
    pub async fn insert<Q>(&self, key: &Q, value: impl Into<Loaded<T>>) -> Result<bool, StoreError>
    where
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        let (inner, hash, far) = (self.inner(), self.inner().hash(key), self.inner().far(key));
        let mut ruled = inner.ruled(value.into());
        let letter = inner.letter(&far, &mut ruled);
        let mut new = Some(inner.entry(ruled));
        let mut insert = || {
            let now = inner.now();
            new.take().is_some_and(|new| inner.change(hash, now, |shard, gone| shard.insert(hash, new, now, gone)))
        };
        let Some((tier, name)) = inner.tier.as_ref().zip(far.0) else { return Ok(insert()) };
        let mut change = remove_near(inner, tier, hash, What::Key(name.clone()));
        let Some(letter) = letter else {
            change.near_done = true;
            insert();
            return Err(StoreError::new(StoreErrorKind::Codec).with_detail("the value of a cache has no bytes"));
        };
        let question = async {
            let _held = tier.stripe(&name).await;
            let turn = tier.doubts.turn(&change.what);
            let stored = tier.deliver(&name, letter).await?;
            tier.doubts.settle(&change.what, turn);
            (change.near_done, change.far_done) = (true, true);
            Ok(insert() || stored)
        };
        let stored = Box::pin(tier.ask(None, question)).await;
        if stored.is_err() {
            change.near_done = true;
            insert();
        }
        stored
    }

    /// As [`Cache::remove`], in both, the second tier first. True if either had a value.
    ///
    /// # Errors
    /// When the second tier did not answer; see [`BothTiers`].
    pub async fn remove<Q>(&self, key: &Q) -> Result<bool, StoreError>
    where
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        let (inner, hash, Far(name)) = (self.inner(), self.inner().hash(key), self.inner().far(key));
        let Some((tier, name)) = inner.tier.as_ref().zip(name) else { return Ok(inner.remove(hash)) };
        let (far, near) = apply(tier, remove_near(inner, tier, hash, What::Key(name))).await?;
        Ok(far + near > 0)
    }

    /// As [`Cache::invalidate_tag`], in both, the second tier first; says how many values that had, or this cache if it had more.
    ///
    /// # Errors
    /// When the second tier did not answer; [`Unsupported`](StoreErrorKind::Unsupported) if its store knows no [tags](crate::store::Capabilities::tags): then they
    /// are removed here only.
    pub async fn invalidate_tag(&self, tag: impl AsRef<str>) -> Result<u64, StoreError> {
        let (inner, tag) = (self.inner(), tag.as_ref());
        let near = || inner.invalidate_tag(tag);
        let Some(tier) = &inner.tier else { return Ok(near()) };
        let change = Change { tier, what: What::Tag(tag.to_owned()), near, near_done: false, far_done: false };
        apply(tier, change).await.map(|(far, near)| far.max(near))
    }

    /// As [`Cache::clear`], in both, the second tier first: there, everything that is in the store, or in its [namespace](crate::store::Store::namespace). Says how many values
    /// that had, or this cache if it had more.
    ///
    /// # Errors
    /// When the second tier did not answer; see [`BothTiers`].
    pub async fn clear(&self) -> Result<u64, StoreError> {
        let inner = self.inner();
        let near = || inner.clear();
        let Some(tier) = &inner.tier else { return Ok(near()) };
        apply(tier, Change { tier, what: What::All, near, near_done: false, far_done: false }).await.map(|(far, near)| far.max(near))
    }
}

fn remove_near<'a, T>(inner: &'a Inner<T>, tier: &'a Tier<T>, hash: Hash, what: What) -> Change<'a, T, impl Fn() -> u64> {
    Change { tier, what, near: move || u64::from(inner.remove(hash)), near_done: false, far_done: false }
}

/// Removes there, then here, while nobody else writes.
async fn apply<T, N: Fn() -> u64>(tier: &Tier<T>, mut change: Change<'_, T, N>) -> Result<(u64, u64), StoreError> {
    let question = async {
        let _held = tier.held(&change.what).await;
        let turn = tier.doubts.turn(&change.what);
        let removed = change.what.remove(&tier.source.store).await;
        let near = change.near();
        let far = removed.inspect_err(|error| change.far_done = error.kind() == StoreErrorKind::Unsupported)?;
        tier.doubts.settle(&change.what, turn);
        change.far_done = true;
        Ok((far, near))
    };
    Box::pin(tier.ask(None, question)).await
}
