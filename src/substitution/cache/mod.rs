//! Cache: answers kept in the process, so that a call need not be made; and the last good one, for when it fails.
//!
//! Use it where the same is asked again and again, and an answer of a minute ago is as good as one of now. With
//! [`stale_if_error`](CacheConfig::stale_if_error) it is also what a pipeline says when the dependency is down: an open breaker, a timeout, a
//! rate limit all give the last good answer, for as long as you allow.
//!
//! Not for answers that must be true now (balances, permissions, stock), nor for what is asked once. It is of this process alone, unless it has
//! a second tier (feature `store`): a store behind it, where other processes find what this one has loaded.
//!
//! ```text
//!            ttl                    stale_while_revalidate          stale_if_error
//!  ├──────── fresh ────────┤───────── old, but good enough ───┤─── for bad times only ───┤ gone
//!             │ refresh_ahead: one caller loads anew, all others get the value at once    │
//!             └───────────────────────────────────────────────┤ all wait for one load,   │
//!                                                              │ and get this if it fails │
//! ```
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Cache, CircuitBreaker, Loaded, Pipeline};
//!
//! # async fn fetch(id: u64) -> std::io::Result<String> { Ok(format!("user {id}")) }
//! # async fn price(_: &str) -> std::io::Result<u32> { Ok(3) }
//! // Alone:
//! let users: Cache<u64, String> = Cache::new(10_000).ttl(Duration::from_secs(60)).build()?;
//! let user = users.get_or_load(&7, |_| async { fetch(7).await.map(|user| Loaded::new(user).tag("staff")) }).await?;
//! assert_eq!(users.get(&7), Some(user));
//! users.invalidate_tag("staff");
//!
//! // Around a pipeline:
//! let prices: Cache<String, u32> = Cache::new(1_000).ttl(Duration::from_secs(5)).stale_if_error(Duration::from_secs(3600)).build()?;
//! let shop = Pipeline::builder("shop").circuit_breaker(CircuitBreaker::failure_rate(0.5)).build()?;
//! let tea = shop.key("tea").cached(&prices).call(|| price("tea")).await?;
//! # assert_eq!(tea, 3); Ok(()) }
//! ```
//!
//! # One load
//!
//! Of many who miss the same key, one loads and the others wait for it, as in a [`Coalesce`] group: a loader that is dropped or panics hands over to
//! one of them, and nobody waits for another one's load for longer than 30 s. A load that fails is not tried by each of those who waited: they get [`LoadFailed`](crate::RejectedKind::LoadFailed), which quotes the
//! error (an error of one's own need not be `Clone`). What is changed while it is loaded ([`insert`](Cache::insert), [`remove`](Cache::remove),
//! [`clear`](Cache::clear), [`invalidate_tag`](Cache::invalidate_tag)) is not overwritten by the load, whose value reaches only those who asked before.
//!
//! # Who refreshes
//!
//! No task runs behind your back. [`get_or_load`](Cache::get_or_load) and the cache of a pipeline run operations that may borrow, and so in the future of a caller: *one* caller, who finds
//! a value that is due, waits for the new one (and gets the old one if it fails, or after the [soft timeout](CacheConfig::load_timeouts)); all others
//! have the old one at once. If that caller goes away, the next one refreshes. [`get_or_spawn`](Cache::get_or_spawn) takes an operation that
//! borrows nothing, and spawns it: then nobody waits for a refresh, and a load outlives its caller.
//!
//! # Each value for itself
//!
//! How long a value is fresh, and by which tags it is removed, can be said where it comes from: by the load ([`Loaded`]), by the call of a pipeline
//! ([`kept`](crate::Cached::kept)), or once for all by the value itself ([`ttl_of`](CacheConfig::ttl_of), [`tags_of`](CacheConfig::tags_of)). Of ttls the first one said in that
//! order counts; tags add up. Who needs to know what left, and why, has [`on_removal`](CacheConfig::on_removal).
//!
//! # Memoizing
//!
//! What other languages call `memoize` or `lru_cache` is a cache without a ttl and [`get_or_load`](Cache::get_or_load) around the function:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::convert::Infallible;
//! use std::sync::LazyLock;
//! use steadfast::{Cache, Error, Eviction};
//!
//! static SQUARES: LazyLock<Cache<u64, u64>> = LazyLock::new(|| Cache::new(128).eviction(Eviction::Lru).build().expect("valid"));
//!
//! async fn square(n: u64) -> Result<u64, Error<Infallible>> {
//!     SQUARES.get_or_load(&n, |_| async { Ok(n * n) }).await // in truth, something that takes its time
//! }
//! assert_eq!((square(7).await?, square(7).await?), (49, 49));
//! # Ok(()) }
//! ```
//!
//! A function under `#[resilient(cache(ttl = 1m), key = n)]` is memoized, too.
//!
//! # A second tier
//!
//! With the feature `store`, [`second_tier`](CacheConfig#method.second_tier) puts any store behind the cache: SQLite or a directory to outlive a restart, Redis to share. A load asks
//! it first, and tells it what it came to; a hit does not know of it, and when it is down the cache goes on as if there were none. What is to be changed in both tiers is changed by
//! `cache.both()`. There is no snapshot of a cache to be saved and read back, for it does not know its keys: a second tier in a file is that, with every entry's own time.
//!
//! # What is kept
//!
//! Of a key 16 bytes: those it feeds to a hasher, if they are few (a number, a text of up to 14 bytes), else 120 bits of their SipHash under a secret of the cache. So
//! a key of a megabyte costs as much as one of a byte; two of a million long keys meet with a probability of 10^-24, and nobody can make such
//! keys on purpose. Use one type of key in a cache. An entry costs about 200 bytes besides its
//! value.
//!
//! Entries whose time is over are removed by whatever operation comes next, up to 16 at a time; all of them by [`len`](Cache::len),
//! [`stats`](Cache::stats) and [`purge_expired`](Cache::purge_expired). A cache that nobody uses keeps what it has.
//!
//! A cache of more than a few thousand entries is made of up to 32 parts with a share of the capacity each. A value is cloned under the lock of its part:
//! keep big ones in an `Arc`. It is dropped outside.

mod caching;
mod config;
mod engine;
mod entry;
mod load;
mod name;
mod removal;
mod shard;
mod slot;
#[cfg_attr(not(feature = "store"), path = "tier/none.rs")]
mod tier;

use crate::cache_stats::CacheStats;
pub use caching::Caching;
pub use config::{CacheConfig, Eviction};
pub use entry::Loaded;
pub use load::LoadContext;
pub(crate) use load::{Load, Looked, before};
pub use removal::RemovalCause;
#[cfg(feature = "store")]
pub use tier::BothTiers;
pub(crate) use tier::Far;

use super::Coalesce;
use crate::admission::keyed::Hash;
use crate::fault::{ConfigError, Fault};
use crate::outcome::Origin;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Counter, Mutex, Padded, lock};
use crate::time::{nanos, nanos_since};
use config::{Rules, Times};
use entry::{estimate, part_of, parts, random_up_to};
use load::{Given, Shared};
use name::Names;
use shard::Shard;
use slot::{Answer, Clockwork, Counts, Gone, NEVER, New};
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash as StdHash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// One operation in so many looks after another part as well, so that one in which nothing happens does not keep what is over.
const LOOK_AROUND: usize = 64;

/// Values by key, in this process. A cheap handle: clones are the same cache.
pub struct Cache<K, T> {
    pub(crate) inner: Arc<Inner<T>>,
    keys: PhantomData<fn(K)>,
}

/// What the clones of a cache share. Keys are hashes from here on.
pub(crate) struct Inner<T> {
    names: Names,
    shards: Box<[Padded<Mutex<Shard<T>>>]>,
    /// Whether there is, or was, an entry that ends: before that nobody reads the clock.
    timed: AtomicBool,
    epoch: Instant,
    next_shard: AtomicUsize,
    settings: Mutex<Settings<T>>,
    group: Coalesce<Given<T>, Shared>,
    loads: Counter,
    failed_loads: Counter,
    /// Whether somebody is to be told of what leaves.
    listens: AtomicBool,
    tier: Option<tier::Tier<T>>,
    /// Calls off what was spawned.
    aborts: watch::Sender<()>,
}

struct Settings<T> {
    name: Arc<str>,
    origin: Arc<Origin>,
    capacity: u64,
    in_bytes: bool,
    rules: Option<Arc<Rules<T>>>,
    eviction: Eviction,
    times: Times,
}

impl<K, T> Cache<K, T> {
    /// Room for so many entries.
    #[expect(clippy::new_ret_no_self, reason = "the configuration comes first: every policy begins like this")]
    pub fn new(entries: usize) -> CacheConfig<K, T> {
        CacheConfig::new(entries as u64, None)
    }

    /// Room for so many bytes, as `weigher` counts those of a value; 0 counts as 1. Each part of the cache (see [the module](self)) has a share of them,
    /// and takes no value larger than that: a cache of `n` bytes has up to 32 parts, of 4 MiB at least.
    pub fn bytes(capacity: u64, weigher: impl Fn(&T) -> u64 + Send + Sync + 'static) -> CacheConfig<K, T> {
        CacheConfig::new(capacity, Some(Arc::new(weigher)))
    }

    pub(super) fn of(config: CacheConfig<K, T>) -> Self {
        let in_bytes = config.rules.weigher.is_some();
        let shards = parts(config.capacity, in_bytes);
        let clockwork = Clockwork::new(&config.times);
        let entries = estimate(config.capacity, in_bytes, shards);
        let shard = |at| Padded(Mutex::new(Shard::new(config.eviction, part_of(config.capacity, shards, at), entries, clockwork)));
        let shards = (0..shards).map(shard).collect();
        let CacheConfig { name, capacity, rules, eviction, times, tier, .. } = config;
        let (listens, idles) = (rules.on_removal.is_some(), times.idle != Duration::MAX);
        let settings =
            Settings { origin: Origin::new(Arc::clone(&name)), name, capacity, in_bytes, rules: rules.shared(), eviction, times };
        let inner = Inner {
            names: Names::random(),
            shards,
            timed: AtomicBool::new(idles),
            epoch: Instant::now(),
            next_shard: AtomicUsize::new(0),
            settings: Mutex::new(settings),
            group: Coalesce::of(Coalesce::new().max_keys(10_000_000)),
            loads: Counter::default(),
            failed_loads: Counter::default(),
            listens: AtomicBool::new(listens),
            tier: tier::Tier::of(&tier),
            aborts: watch::Sender::new(()),
        };
        Self { inner: Arc::new(inner), keys: PhantomData }
    }

    /// The value, if there is a fresh one. A hit allocates nothing.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<T>
    where
        T: Clone,
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        self.inner.get(self.inner.hash(key), T::clone)
    }

    /// Whether there is a fresh value. It counts as neither hit nor miss, and does not keep the entry from being idle.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        let key = self.inner.hash(key);
        let now = self.inner.now();
        lock(self.inner.shard(key)).contains(key, now)
    }

    /// Puts a value in the place of whatever was there: `cache.insert(&key, value)`, or with a ttl and tags of its own
    /// `cache.insert(&key, Loaded::new(value).ttl(ttl).tag("red"))`. A load of this key that is under way is not stored.
    ///
    /// False if it was not stored, because it is larger than its part of the cache or has a ttl of zero; what was there is gone all the same.
    pub fn insert<Q>(&self, key: &Q, value: impl Into<Loaded<T>>) -> bool
    where
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        let inner = &*self.inner;
        let key = inner.hash(key);
        let new = inner.entry(inner.ruled(value.into()));
        let now = inner.now();
        inner.change(key, now, |shard, gone| shard.insert(key, new, now, gone))
    }

    /// Removes an entry, with its old value for bad times. True if there was a fresh one. A load of this key that is under way is not stored.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
    {
        self.inner.remove(self.inner.hash(key))
    }

    /// Removes all entries of this tag, and says how many fresh ones there were. Loads under way that come with this tag are not stored.
    pub fn invalidate_tag(&self, tag: impl AsRef<str>) -> u64 {
        self.inner.invalidate_tag(tag.as_ref())
    }

    /// Removes everything, and says how many entries there were. Loads under way are not stored.
    pub fn clear(&self) -> u64 {
        self.inner.clear()
    }

    /// Drops the loads that [`get_or_spawn`](Self::get_or_spawn) has begun, before a shutdown say. Who waits for one has the old value, if there is one, else
    /// [`LoadFailed`](crate::RejectedKind::LoadFailed). Loads in the futures of their callers go on, and so does the cache.
    pub fn abort_loads(&self) {
        self.inner.aborts.send_replace(());
    }

    /// Removes what is over, now rather than in passing.
    pub fn purge_expired(&self) {
        let now = self.inner.now();
        self.inner.each(|shard, gone| {
            shard.sweep(now, usize::MAX, gone);
            0
        });
    }

    /// How many entries there are, with those kept for bad times and remembered failures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.purge_expired();
        self.inner.shards.iter().map(|shard| lock(&shard.0).len()).sum()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened since it was made, or since [`reset_stats`](Self::reset_stats), and how full it is. Beside the common counts,
    /// [`extra`](CacheStats::extra) has `stale` (old values given), `loads` and `failed_loads`.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.purge_expired();
        let inner = &*self.inner;
        let (mut stats, mut stale, mut entries, mut weight) = (CacheStats::default(), 0, 0, 0_u64);
        for shard in &inner.shards {
            let shard = lock(&shard.0);
            let counts = shard.counts;
            stats.hits += counts.hits;
            stats.misses += counts.misses;
            stats.sets += counts.sets;
            stats.deletes += counts.deletes;
            stats.evicted_size += counts.evicted;
            stats.expired += counts.expired;
            stale += counts.stale;
            entries += shard.len() as u64;
            weight = weight.saturating_add(shard.weight());
        }
        let settings = lock(&inner.settings);
        stats.current_entries = Some(entries);
        if settings.in_bytes {
            (stats.current_size_bytes, stats.max_size_bytes) = (Some(weight), Some(settings.capacity));
        } else {
            stats.max_entries = Some(settings.capacity);
        }
        drop(settings);
        stats.extra = vec![("stale", stale), ("loads", inner.loads.get()), ("failed_loads", inner.failed_loads.get())];
        if let Some(tier) = &inner.tier {
            tier.tell(&mut stats);
        }
        stats
    }

    /// Sets all counts to zero. How full it is stays, and so does every entry.
    pub fn reset_stats(&self) {
        self.inner.shards.iter().for_each(|shard| lock(&shard.0).counts = Counts::default());
        self.inner.loads.reset();
        self.inner.failed_loads.reset();
        self.inner.tier.iter().for_each(tier::Tier::reset_stats);
    }

    /// What it runs with.
    pub fn config(&self) -> CacheConfig<K, T> {
        let settings = lock(&self.inner.settings);
        CacheConfig {
            name: Arc::clone(&settings.name),
            capacity: settings.capacity,
            rules: settings.rules.as_deref().cloned().unwrap_or_default(),
            eviction: settings.eviction,
            times: settings.times,
            tier: self.inner.tier.as_ref().map(tier::Tier::plan).unwrap_or_default(),
            keys: PhantomData,
        }
    }

    /// Goes on with another capacity and other times. Entries that no longer fit leave at once; those that stay keep the ttl they came with.
    ///
    /// # Errors
    /// What [`build`](CacheConfig::build) would refuse; another way of eviction, or of counting, or another second tier, which need a new cache. Then nothing is changed.
    pub fn reconfigure(&self, config: &CacheConfig<K, T>) -> Result<(), ConfigError> {
        let inner = &*self.inner;
        let mut faults = config.faults();
        let before = self.config();
        if before.eviction != config.eviction {
            let (is, wanted) = (before.eviction.as_str(), config.eviction.as_str());
            faults.push(Fault::new("eviction", format!("{wanted} cannot take over from {is} while the cache is in use; build a new one")));
        }
        if before.rules.weigher.is_some() != config.rules.weigher.is_some() {
            faults
                .push(Fault::new("capacity", "entries cannot become bytes, nor bytes entries, while the cache is in use; build a new one"));
        }
        if !before.tier.is_of(&config.tier) {
            faults.push(Fault::new("second_tier", "it cannot be exchanged while the cache is in use; build a new one"));
        }
        ConfigError::check(format!("cache `{}`", before.name), faults)?;
        let CacheConfig { name, capacity, rules, times, tier, .. } = config.clone();
        inner.tier.iter().for_each(|live| live.reconfigure(&tier));
        inner.listens.store(rules.on_removal.is_some(), Ordering::Relaxed);
        let old = {
            let mut settings = lock(&inner.settings);
            settings.origin = Origin::new(Arc::clone(&name));
            settings.name = name;
            std::mem::replace(&mut settings.rules, rules.shared())
        };
        drop(old);
        inner.go_on_with(capacity, times);
        Ok(())
    }

    /// Whether the other handle is of the same cache.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl<T> Inner<T> {
    #[inline]
    pub(crate) fn hash<Q: StdHash + ?Sized>(&self, key: &Q) -> Hash {
        self.names.name(key)
    }

    #[inline]
    fn shard(&self, key: Hash) -> &Mutex<Shard<T>> {
        &self.shards[self.names.part(key, self.shards.len())].0
    }

    /// Nanoseconds since it was made; 0 while nothing in it ends.
    #[inline]
    fn now(&self) -> u64 {
        if self.timed.load(Ordering::Relaxed) { nanos_since(self.epoch, Instant::now()) } else { 0 }
    }

    #[inline]
    fn get(&self, key: Hash, give: impl FnOnce(&T) -> T) -> Option<T> {
        let now = self.now();
        let mut shard = lock(self.shard(key));
        let value = shard.get(key, now, give);
        if value.is_some() && !shard.is_due(now) {
            return value;
        }
        let mut gone = Gone::new();
        shard.sweep_some(now, &mut gone);
        drop(shard);
        self.bury(gone);
        value
    }

    fn remove(&self, key: Hash) -> bool {
        let now = self.now();
        self.change(key, now, |shard, gone| shard.remove(key, now, gone))
    }

    fn invalidate_tag(&self, tag: &str) -> u64 {
        let (now, tag) = (self.now(), self.names.name(tag));
        // Of what comes from the second tier, not all stores tell the tags.
        let unknown = self.tier.as_ref().map(|_| tier::unknown_tags(&self.names));
        self.each(|shard, gone| {
            let unknown = unknown.map_or(0, |unknown| shard.remove_tagged(unknown, now, gone));
            unknown + shard.remove_tagged(tag, now, gone)
        })
    }

    fn clear(&self) -> u64 {
        let (now, entries) = (self.now(), self.entries_of_a_part());
        let clear = |shard: &Padded<Mutex<Shard<T>>>| {
            let (all, mut gone, removed) = lock(&shard.0).clear(now, entries);
            if self.listens.load(Ordering::Relaxed) {
                let over = gone.len();
                all.into_values(&mut gone);
                gone[over..].iter().for_each(|slot| slot.cause.set(Some(RemovalCause::Removed)));
            }
            self.bury(gone);
            removed
        };
        self.shards.iter().map(clear).sum()
    }

    /// Lets go of what has left, and says so. Under no lock.
    #[inline]
    fn bury(&self, gone: Gone<T>) {
        if !gone.is_empty() && self.listens.load(Ordering::Relaxed) {
            let (rules, name) = {
                let settings = lock(&self.settings);
                (settings.rules.clone(), Arc::clone(&settings.name))
            };
            if let Some(rules) = rules {
                removal::tell(&rules, &name, gone);
            }
        }
    }

    /// Something that changes one part, and what has to be done besides.
    fn change<R>(&self, key: Hash, now: u64, change: impl FnOnce(&mut Shard<T>, &mut Gone<T>) -> R) -> R {
        let mut gone = Gone::new();
        let done = change(&mut lock(self.shard(key)), &mut gone);
        self.bury(gone);
        let turn = self.next_shard.fetch_add(1, Ordering::Relaxed);
        if turn.is_multiple_of(LOOK_AROUND) {
            let mut gone = Gone::new();
            lock(&self.shards[turn / LOOK_AROUND % self.shards.len()].0).sweep_some(now, &mut gone);
            self.bury(gone);
        }
        done
    }

    fn each(&self, change: impl Fn(&mut Shard<T>, &mut Gone<T>) -> u64) -> u64 {
        let change = |shard: &Padded<Mutex<Shard<T>>>| {
            let mut gone = Gone::new();
            let done = change(&mut lock(&shard.0), &mut gone);
            self.bury(gone);
            done
        };
        self.shards.iter().map(change).sum()
    }

    /// Another size and other times, which were checked.
    fn go_on_with(&self, capacity: u64, times: Times) {
        self.timed.fetch_or(times.idle != Duration::MAX, Ordering::Relaxed);
        {
            let mut settings = lock(&self.settings);
            (settings.capacity, settings.times) = (capacity, times);
        }
        let (clockwork, parts) = (Clockwork::new(&times), self.shards.len());
        for (at, shard) in self.shards.iter().enumerate() {
            let mut gone = Gone::new();
            let mut shard = lock(&shard.0);
            shard.clockwork = clockwork;
            shard.set_capacity(part_of(capacity, parts, at).max(1), &mut gone);
            drop(shard);
            self.bury(gone);
        }
    }

    fn entries_of_a_part(&self) -> usize {
        let settings = lock(&self.settings);
        estimate(settings.capacity, settings.in_bytes, self.shards.len())
    }

    /// What it weighs, how long it lives, by what it can be removed. What is asked of the value is asked under no lock.
    fn ruled(&self, loaded: Loaded<T>) -> Ruled<T> {
        let (rules, times) = {
            let settings = lock(&self.settings);
            (settings.rules.clone(), settings.times)
        };
        let Loaded { value, mut ttl, mut tags, .. } = loaded;
        let mut weight = 1;
        if let Some(rules) = rules.as_deref() {
            weight = rules.weigher.as_ref().map_or(1, |weigher| weigher(&value).max(1));
            ttl = ttl.or_else(|| rules.ttl_of.as_ref().and_then(|ttl_of| ttl_of(&value)));
            tags.extend(rules.tags_of.iter().flat_map(|tags_of| tags_of(&value)));
        }
        let ttl = match ttl.unwrap_or(times.ttl) {
            Duration::ZERO => 0,
            Duration::MAX => NEVER,
            ttl => nanos(ttl).max(1_000_000).saturating_add(random_up_to(nanos(times.jitter))),
        };
        Ruled { value, weight, ttl, tags }
    }

    fn entry(&self, ruled: Ruled<T>) -> New<T> {
        let Ruled { value, weight, ttl, tags } = ruled;
        if ttl != NEVER {
            self.timed.store(true, Ordering::Relaxed);
        }
        let tags = tags.iter().map(|tag| self.names.name(tag.as_str())).collect();
        New { answer: Answer::Value(value), weight, ttl, tags }
    }
}

/// A value, and all that is known of it.
struct Ruled<T> {
    value: T,
    weight: u64,
    /// In nanoseconds, with its jitter.
    ttl: u64,
    tags: Vec<String>,
}

impl<K, T> Clone for Cache<K, T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), keys: PhantomData }
    }
}

impl<K, T> fmt::Debug for Cache<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("config", &self.config()).finish_non_exhaustive()
    }
}
