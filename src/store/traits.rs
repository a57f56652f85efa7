//! The one trait behind every store.

use super::wrap::{FailSoft, Guarded, Namespace, Observed, StoreObserver};
use super::{AnyStore, CacheStats, Cursor, Entry, Glob, Key, KeysPage, SetOptions, StoreError, StoreErrorKind, Walk};
use crate::pipeline::Pipeline;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What a store can do beyond getting, setting and deleting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`keys`](Store::keys) and [`delete_matching`](Store::delete_matching).
    pub patterns: bool,
    /// [`delete_tagged`](Store::delete_tagged).
    pub tags: bool,
    /// Metadata comes back as it was stored.
    pub metadata: bool,
    /// [`SetOptions::if_absent`] has one winner, whoever else sets.
    pub if_absent: bool,
    /// Other processes see the same values.
    pub shared: bool,
    /// Values outlive the process.
    pub persistent: bool,
}

impl Capabilities {
    /// Nothing of all that.
    pub const NONE: Self = Self { patterns: false, tags: false, metadata: false, if_absent: false, shared: false, persistent: false };
    /// All that a store in one process can do.
    pub const LOCAL: Self = Self { patterns: true, tags: true, metadata: true, if_absent: true, shared: false, persistent: false };
    /// All there is.
    pub const ALL: Self = Self { shared: true, persistent: true, ..Self::LOCAL };
}

/// Bytes under keys, for a time: the interface of every backend.
///
/// Five methods make a store; the rest is provided, to be overridden where the backend does better (a batch in one round trip). The rules
/// that every store keeps, and that `steadfast::testing::conformance` checks on yours:
///
/// * an entry is live while `now < expires_at`, in every method alike;
/// * no value is too small to be one: empty bytes are a hit;
/// * what is absent is no error: `Ok(None)`, `Ok(false)`;
/// * a set replaces all there was: value, time to live, metadata, tags;
/// * every future may be dropped at any point: what it was to do is done whole or not at all, and nothing stays locked. Whether a write that
///   was dropped has happened, nobody knows;
/// * after [`close`](Self::close) everything answers [`Closed`](StoreErrorKind::Closed).
///
/// Futures are `Send`. A store is behind `&self` and shared with an `Arc` (or clones, where the type has them); as an object it is an
/// [`AnyStore`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::store::{Key, MemoryStore, SetOptions, Store};
/// use std::time::Duration;
///
/// let store = MemoryStore::new();
/// let key = Key::new("user:42")?;
/// store.set(&key, "Ada".into(), SetOptions::new().ttl(Duration::from_secs(60))).await?;
/// assert_eq!(store.get(&key).await?.map(|entry| entry.value), Some("Ada".into()));
/// assert!(store.delete(&key).await?);
/// assert_eq!(store.get(&key).await?, None);
/// # Ok(()) }
/// ```
pub trait Store: Send + Sync + 'static {
    /// What is stored, or `None`. Counts as a hit or a miss.
    ///
    /// # Errors
    /// When the backend does not answer, or not in its language.
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Stores `value`, replacing all there was. `true` when it is stored now: `false` when [`if_absent`](SetOptions::if_absent) found a live
    /// value, when the time to live is zero (what was there is gone then), or when the store has no room for a value that big (gone as well).
    ///
    /// # Errors
    /// [`TooLarge`](StoreErrorKind::TooLarge) above the limit for one value, which leaves the old one untouched; or as [`get`](Self::get).
    fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes what is stored. `true` when something live was.
    ///
    /// # Errors
    /// As [`get`](Self::get); that there was nothing is none.
    fn delete(&self, key: &Key) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Removes everything, and tells how much was live. In a [`namespace`](Self::namespace), everything of that.
    ///
    /// # Errors
    /// As [`get`](Self::get), or [`Unsupported`](StoreErrorKind::Unsupported).
    fn clear(&self) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// How it has been doing. Asks nobody: what only a server knows is as old as the last answer, or `None`.
    fn stats(&self) -> CacheStats;

    /// What it is, in one word, for errors and events. **Default**: `custom`.
    fn name(&self) -> &'static str {
        "custom"
    }

    /// What it can do beyond the five. **Default**: nothing.
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    /// Sets the counters to zero; the gauges stay. **Default**: does nothing.
    fn reset_stats(&self) {}

    /// Whether something live is stored. Counts neither as hit nor as miss, and does not make the value look used. **Default**: gets it,
    /// which does both.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn exists(&self, key: &Key) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async move { Ok(self.get(key).await?.is_some()) }
    }

    /// What is stored under these keys; those without a live value are not in the map. A key given twice counts once. **Default**: one by
    /// one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn get_many(&self, keys: &[Key]) -> impl Future<Output = Result<HashMap<Key, Entry>, StoreError>> + Send {
        async move {
            let mut found = HashMap::with_capacity(keys.len());
            for key in keys {
                if !found.contains_key(key)
                    && let Some(entry) = self.get(key).await?
                {
                    found.insert(key.clone(), entry);
                }
            }
            Ok(found)
        }
    }

    /// Stores each of these, all with the same options; tells how many are stored now. Of a key given twice, the last counts. **Default**:
    /// one by one.
    ///
    /// # Errors
    /// As [`set`](Self::set). Either nothing was stored, or [`completed`](StoreError::completed) tells how many items were dealt with.
    fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async move {
            let mut stored = 0;
            for (done, (key, value)) in items.iter().enumerate() {
                let set = self.set(key, value.clone(), options.clone()).await;
                stored += u64::from(set.map_err(|error| error.with_completed(done as u64))?);
            }
            Ok(stored)
        }
    }

    /// Removes each of these; tells how many were live. **Default**: one by one.
    ///
    /// # Errors
    /// As [`set_many`](Self::set_many).
    fn delete_many(&self, keys: &[Key]) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async move {
            let mut deleted = 0;
            for (done, key) in keys.iter().enumerate() {
                deleted += u64::from(self.delete(key).await.map_err(|error| error.with_completed(done as u64))?);
            }
            Ok(deleted)
        }
    }

    /// The keys of all live values that match, in no order. What changes meanwhile may or may not be among them. **Default**:
    /// [`Unsupported`](StoreErrorKind::Unsupported).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn keys(&self, glob: &Glob) -> impl Future<Output = Result<Vec<Key>, StoreError>> + Send {
        let _ = glob;
        async { Err(StoreError::unsupported(self.name(), "keys")) }
    }

    /// Some of the keys of live values that match, and where to go on; `from` is `None` for the first page. A page is as much as the backend
    /// finds at one go, and may be empty although more come. Through all pages, what is live all the time is found at least once; what
    /// changes meanwhile may or may not be. Most callers want [`walk_keys`](Self::walk_keys). **Default**: one page, with all
    /// [`keys`](Self::keys).
    ///
    /// # Errors
    /// As [`keys`](Self::keys).
    fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> impl Future<Output = Result<KeysPage, StoreError>> + Send {
        let _ = from; // there is but one
        async { Ok(KeysPage::new(self.keys(glob).await?, None)) }
    }

    /// The keys of all live values that match, one after the other, never more than a page of them in memory. What [`keys_page`](Self::keys_page) says
    /// about changes holds; a key may come twice where the backend moves things about (Redis, now and then).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use steadfast::store::{Glob, Key, MemoryStore, SetOptions, Store};
    /// # let store = MemoryStore::new();
    /// # store.set(&Key::new("user:1")?, "v".into(), SetOptions::new()).await?;
    /// let mut users = store.walk_keys(Glob::new("user:*"));
    /// while let Some(key) = users.next().await? {
    ///     println!("{}", key.as_str());
    /// }
    /// # Ok(()) }
    /// ```
    fn walk_keys(&self, glob: Glob) -> Walk<'_, Self>
    where
        Self: Sized,
    {
        Walk::new(self, glob)
    }

    /// Removes all that match; tells how many were live. For what is invalidated often, prefer [tags](Self::delete_tagged). **Default**:
    /// [`keys_page`](Self::keys_page), then [`delete_many`](Self::delete_many), as long as there are pages.
    ///
    /// # Errors
    /// As these.
    fn delete_matching(&self, glob: &Glob) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async move {
            let (mut deleted, mut from) = (0, None);
            loop {
                let page = self.keys_page(glob, from.as_ref()).await?;
                deleted += self.delete_many(&page.keys).await?;
                match page.next {
                    Some(next) => from = Some(next),
                    None => return Ok(deleted),
                }
            }
        }
    }

    /// Removes all that were stored with this tag; tells how many were live. **Default**: [`Unsupported`](StoreErrorKind::Unsupported).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn delete_tagged(&self, tag: &str) -> impl Future<Output = Result<u64, StoreError>> + Send {
        let _ = tag;
        async { Err(StoreError::unsupported(self.name(), "tags")) }
    }

    /// Frees what is over, and tells how much that was. No store needs to be asked: all do it bit by bit. **Default**: nothing to free.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn purge_expired(&self) -> impl Future<Output = Result<u64, StoreError>> + Send {
        async { Ok(0) }
    }

    /// Finds out whether the backend works: stores, reads, compares and removes a value of its own, under a name nobody else has.
    /// **Default**: with the methods above, which count it; the stores of this crate do not.
    ///
    /// # Errors
    /// Whatever went wrong; [`Corrupt`](StoreErrorKind::Corrupt) when what was read is not what was written.
    fn probe(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move {
            let (key, value) = probe_item();
            let options = SetOptions::new().ttl(PROBE_TTL);
            self.set(&key, value.clone(), options).await?;
            let read = self.get(&key).await?;
            self.delete(&key).await?;
            probed(self.name(), &value, read.map(|entry| entry.value))
        }
    }

    /// Ends it: connections, files and threads are given back when this is done. Again is fine. **Default**: nothing to end.
    ///
    /// # Errors
    /// When the backend cannot be left in order.
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// This store for one purpose: every key begins with `name` and a `:`, and `keys`, `clear` and patterns see only those. Share the store
    /// among several with an `Arc`. Counters are the namespace's own, gauges those of the store. Closing it closes the store.
    fn namespace(self, name: impl AsRef<str>) -> Namespace<Self>
    where
        Self: Sized,
    {
        Namespace::new(self, name.as_ref())
    }

    /// This store, for callers who can do without: a `get` that fails finds nothing, a `set` that fails stores nothing; failures are
    /// counted in [`CacheStats::errors`] and traced. Deleting and clearing still tell, since a value that should be gone and is not is no
    /// matter of convenience.
    fn fail_soft(self) -> FailSoft<Self>
    where
        Self: Sized,
    {
        FailSoft::new(self)
    }

    /// This store, telling `observer` of each operation: how long it took, and how it went. Closures `Fn(&StoreEvent)` are observers.
    fn observed(self, observer: impl StoreObserver) -> Observed<Self>
    where
        Self: Sized,
    {
        Observed::new(self, Arc::new(observer))
    }

    /// This store with each operation run through a pipeline: retries, timeouts, a breaker. What policies say instead of an answer is a
    /// [`StoreErrorKind::Rejected`]. Errors are judged by [`StoreError::verdict`], unless the pipeline knows the type itself.
    fn guarded(self, pipeline: Pipeline) -> Guarded<Self>
    where
        Self: Sized,
    {
        Guarded::new(self, pipeline.clone(), pipeline)
    }

    /// The same, with a pipeline for reads and another for writes.
    fn guarded_rw(self, reads: Pipeline, writes: Pipeline) -> Guarded<Self>
    where
        Self: Sized,
    {
        Guarded::new(self, reads, writes)
    }

    /// This store as a value of one type for all.
    fn into_any(self) -> AnyStore
    where
        Self: Sized,
    {
        AnyStore::new(self)
    }
}

/// Long enough for a slow round trip, short enough that a probe cut off half-way leaves nothing for long.
pub(super) const PROBE_TTL: Duration = Duration::from_secs(10);

/// A key that nobody else has, and the value to be found under it.
pub(super) fn probe_item() -> (Key, Bytes) {
    let nonce = format!("{:016x}", rand::random::<u64>());
    (Key::from_text(format!("steadfast.probe:{nonce}")), Bytes::from(nonce))
}

pub(super) fn probed(store: &'static str, wrote: &Bytes, read: Option<Bytes>) -> Result<(), StoreError> {
    if read.as_ref() == Some(wrote) {
        return Ok(());
    }
    let detail = if read.is_some() { "the probe read another value than it wrote" } else { "the probe did not find what it wrote" };
    Err(StoreError::new(StoreErrorKind::Corrupt).in_store(store).with_detail(detail))
}

/// A store behind an `Arc` is that store.
impl<S: Store> Store for Arc<S> {
    fn get(&self, key: &Key) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send {
        S::get(self, key)
    }
    fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> impl Future<Output = Result<bool, StoreError>> + Send {
        S::set(self, key, value, options)
    }
    fn delete(&self, key: &Key) -> impl Future<Output = Result<bool, StoreError>> + Send {
        S::delete(self, key)
    }
    fn clear(&self) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::clear(self)
    }
    fn stats(&self) -> CacheStats {
        S::stats(self)
    }
    fn name(&self) -> &'static str {
        S::name(self)
    }
    fn capabilities(&self) -> Capabilities {
        S::capabilities(self)
    }
    fn reset_stats(&self) {
        S::reset_stats(self);
    }
    fn exists(&self, key: &Key) -> impl Future<Output = Result<bool, StoreError>> + Send {
        S::exists(self, key)
    }
    fn get_many(&self, keys: &[Key]) -> impl Future<Output = Result<HashMap<Key, Entry>, StoreError>> + Send {
        S::get_many(self, keys)
    }
    fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::set_many(self, items, options)
    }
    fn delete_many(&self, keys: &[Key]) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::delete_many(self, keys)
    }
    fn keys(&self, glob: &Glob) -> impl Future<Output = Result<Vec<Key>, StoreError>> + Send {
        S::keys(self, glob)
    }
    fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> impl Future<Output = Result<KeysPage, StoreError>> + Send {
        S::keys_page(self, glob, from)
    }
    fn delete_matching(&self, glob: &Glob) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::delete_matching(self, glob)
    }
    fn delete_tagged(&self, tag: &str) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::delete_tagged(self, tag)
    }
    fn purge_expired(&self) -> impl Future<Output = Result<u64, StoreError>> + Send {
        S::purge_expired(self)
    }
    fn probe(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::probe(self)
    }
    fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        S::close(self)
    }
}
