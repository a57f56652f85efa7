//! The second tier: a store behind a cache, whose values outlive the process and are seen by others.
//!
//! # Implementation details
//!
//! **Who asks it.** The one who loads, first of all, and again when the load is done, to put there what it came to; those who wait for the load wait
//! for neither. A hit does not know that there is a second tier.
//!
//! **What it costs when it is down.** Each question has a time limit, and a breaker around all of them: down is the same as empty, and soon
//! costs nothing.
//!
//! **What must not come back.** A promotion is a load, with its epoch: what is removed meanwhile is not stored. A key is written and removed there under a lock
//! of its stripe, and written only if its epoch is still the current one, so no load puts back what was removed after it began. A removal that failed or was given up leaves a
//! *doubt*, and before anything is read there that it concerns, the removal is made up for.

mod both;
mod doubts;
mod spell;

pub use both::BothTiers;

use super::config::CacheConfig;
use super::load::before;
use super::name::Names;
use super::slot::{Answer, NEVER, New};
use super::{Inner, Ruled};
use crate::admission::CircuitBreaker;
use crate::admission::keyed::Hash;
use crate::cache_stats::CacheStats;
use crate::fault::{Fault, check};
use crate::outcome::{Outcome, Verdict};
use crate::store::{AnyStore, Capabilities, Codec, Entry, Key, Metadata, SetOptions, Store, StoreError, StoreErrorKind, Ttl};
use crate::sync::{Counter, Mutex, lock};
use crate::time::{self, from_nanos, nanos};
use bytes::Bytes;
use doubts::{Doubts, What};
use std::fmt;
use std::hash::{BuildHasher, Hash as StdHash, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio::time::Instant;

/// As many keys as are likely to be written at once seldom wait for each other.
const STRIPES: usize = 64;
/// Under this word a store keeps the tags of a value, where it keeps words.
const TAGS: &str = "tags";
/// So many failures in a row, and the store is left alone for a while.
const FAILURES: u32 = 5;

/// The settings.
pub(super) struct Plan<T> {
    source: Option<Arc<Source<T>>>,
    times: Times,
}

/// The two halves of a codec are closures, for an object of it would be asked for values that borrow nothing.
struct Source<T> {
    store: AnyStore,
    encode: Box<Encode<T>>,
    decode: Box<Decode<T>>,
}

type Encode<T> = dyn Fn(&T) -> Result<Bytes, StoreError> + Send + Sync;
type Decode<T> = dyn Fn(&Bytes) -> Result<T, StoreError> + Send + Sync;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    share: f64,
    floor: Duration,
    timeout: Duration,
}

impl<K, T> CacheConfig<K, T> {
    /// Keeps all that is loaded in `store` as well, and looks there before it loads: what another process has loaded, or this one before it was restarted. Only
    /// who would load asks it; a hit does not.
    ///
    /// The store's own time to live counts: a value found there is kept here for half of what is *left* of it (see [`near`](Self::near)), and never longer.
    /// Down is the same as empty: each question has a [time limit](Self::second_tier_timeout), after five failures in a row none is asked
    /// for a second, and the next one that succeeds ends that. [`stats`](super::Cache::stats) counts `second_tier_hits`, `second_tier_misses` and `second_tier_errors`.
    ///
    /// The methods of the cache itself are of this process alone: to remove from, or insert into, both tiers, there is [`both`](super::Cache::both). Old values for bad times and
    /// remembered failures are kept in this process only. Another process does not hear of a removal, and has the old value for as long as it keeps it near.
    ///
    /// In the store, a key that is text or a number is called what it is (`user:7`, `42`), others by a list of their parts. Give each cache, and each version of its
    /// type, a [namespace](crate::store::Store::namespace) of its own; bytes that do not decode are as good as none. **Default**: none.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use steadfast::Cache;
    /// use steadfast::store::{MemoryStore, Raw, Store};
    ///
    /// # async fn fetch(id: u64) -> std::io::Result<String> { Ok(format!("user {id}")) }
    /// let redis = MemoryStore::new(); // or a file, SQLite, Redis
    /// let cache = || Cache::<u64, String>::new(1_000).ttl(Duration::from_secs(600)).second_tier(redis.clone().namespace("users.v1"), Raw).build();
    /// let here = cache()?;
    /// here.get_or_load(&7, |_| fetch(7)).await?;
    ///
    /// let elsewhere = cache()?; // another process, or this one after a restart
    /// let user = elsewhere.get_or_load(&7, |_| async { Err::<String, _>("not asked") }).await;
    /// assert_eq!(user.as_deref(), Ok("user 7"));
    ///
    /// here.both().remove(&7).await?; // not `remove`, after which it would be found there again
    /// # Ok(()) }
    /// ```
    pub fn second_tier(mut self, store: impl Store, codec: impl Codec<T>) -> Self {
        let codec = Arc::new(codec);
        let (encode, decode) = (Arc::clone(&codec), codec);
        let (encode, decode) = (Box::new(move |value: &T| encode.encode(value)), Box::new(move |bytes: &Bytes| decode.decode(bytes)));
        self.tier.source = Some(Arc::new(Source { store: store.into_any(), encode, decode }));
        self
    }

    /// How long a value of the [second tier](Self::second_tier) is kept in this process: this share of the time it has left there, but at least
    /// `floor`, and at most that time. The shorter, the sooner is seen what other processes change. **Default**: 0.5 and 60 s.
    pub const fn near(mut self, share: f64, floor: Duration) -> Self {
        self.tier.times.share = share;
        self.tier.times.floor = floor;
        self
    }

    /// How long a question to the [second tier](Self::second_tier) may take; then it has failed. **Default**: 250 ms, some hundred times what a server beside
    /// you needs, and little beside most loads.
    pub const fn second_tier_timeout(mut self, limit: Duration) -> Self {
        self.tier.times.timeout = limit;
        self
    }
}

impl<T> Plan<T> {
    pub(super) fn faults(&self, faults: &mut Vec<Fault>) {
        check::fraction(faults, "near", self.times.share);
        check::nonzero(faults, "second_tier_timeout", self.times.timeout, "it would never be heard; leave the second tier out");
    }

    /// Whether both are of the same store.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
            (mine, theirs) => mine.is_none() && theirs.is_none(),
        }
    }
}

impl<T> Default for Plan<T> {
    fn default() -> Self {
        Self { source: None, times: Times { share: 0.5, floor: Duration::from_secs(60), timeout: Duration::from_millis(250) } }
    }
}

impl<T> Clone for Plan<T> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), times: self.times }
    }
}

impl<T> PartialEq for Plan<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_of(other) && self.times == other.times
    }
}

impl<T> fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            None => f.write_str("None"),
            Some(source) => f.debug_struct("SecondTier").field("store", &source.store).field("times", &self.times).finish(),
        }
    }
}

/// The live one.
pub(super) struct Tier<T> {
    source: Arc<Source<T>>,
    can: Capabilities,
    times: Mutex<Times>,
    breaker: Option<CircuitBreaker>,
    hasher: RandomState,
    /// Held by whoever writes or removes a key there.
    stripes: Box<[AsyncMutex<()>]>,
    doubts: Doubts,
    hits: Counter,
    misses: Counter,
    errors: Counter,
}

/// What the second tier calls a key.
#[derive(Clone, Default)]
pub(crate) struct Far(Option<Key>);

/// What is to be stored there; without a value, the key is to be removed.
pub(super) struct Letter {
    value: Option<Bytes>,
    options: SetOptions,
}

/// Where a load leaves its letter, and the epoch that began with its end, for whoever led it.
#[derive(Clone, Default)]
pub(super) struct Outbox(Option<Arc<Posted>>);

type Posted = Mutex<Option<(u64, Letter)>>;

impl Outbox {
    pub(super) fn put(&self, epoch: u64, letter: Option<Letter>) {
        if let (Some(outbox), Some(letter)) = (&self.0, letter) {
            *lock(outbox) = Some((epoch, letter));
        }
    }
}

/// The tag of all values that came from the second tier without their tags.
pub(super) fn unknown_tags(names: &Names) -> Hash {
    names.name(&(u128::MAX, "unknown tags"))
}

impl<T> Tier<T> {
    pub(super) fn of(plan: &Plan<T>) -> Option<Self> {
        let source = Arc::clone(plan.source.as_ref()?);
        let breaker = CircuitBreaker::consecutive_failures(FAILURES).open_for(Duration::from_secs(1)).max_open(Duration::from_secs(10));
        Some(Self {
            can: source.store.capabilities(),
            source,
            times: Mutex::new(plan.times),
            breaker: breaker.build().ok(),
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| AsyncMutex::new(())).collect(),
            doubts: Doubts::default(),
            hits: Counter::default(),
            misses: Counter::default(),
            errors: Counter::default(),
        })
    }

    pub(super) fn plan(&self) -> Plan<T> {
        Plan { source: Some(Arc::clone(&self.source)), times: *lock(&self.times) }
    }

    pub(super) fn reconfigure(&self, plan: &Plan<T>) {
        *lock(&self.times) = plan.times;
    }

    pub(super) fn tell(&self, stats: &mut CacheStats) {
        let (hits, misses, errors) = (self.hits.get(), self.misses.get(), self.errors.get());
        stats.extra.extend([("second_tier_hits", hits), ("second_tier_misses", misses), ("second_tier_errors", errors)]);
    }

    pub(super) fn reset_stats(&self) {
        [&self.hits, &self.misses, &self.errors].into_iter().for_each(Counter::reset);
    }

    /// How long a value that has so much time left is kept near, in nanoseconds.
    fn near(&self, left: u64) -> u64 {
        let Times { share, floor, .. } = *lock(&self.times);
        if left == NEVER { NEVER } else { super::shard::part_of(left, share).max(nanos(floor)).min(left) }
    }

    async fn held(&self, what: &What) -> Vec<MutexGuard<'_, ()>> {
        match what {
            What::Key(key) => vec![self.stripe(key).await],
            // In order, so that two who want all do not wait for each other.
            What::Tag(_) | What::All => {
                let mut held = Vec::with_capacity(STRIPES);
                for stripe in &self.stripes {
                    held.push(stripe.lock().await);
                }
                held
            }
        }
    }

    async fn stripe(&self, key: &Key) -> MutexGuard<'_, ()> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash is one")]
        let number = self.hasher.hash_one(key) as usize % STRIPES;
        self.stripes[number].lock().await
    }

    /// What the store says to a question, in time, and unless it is left alone.
    async fn ask<R>(&self, until: Option<Instant>, question: impl Future<Output = Result<R, StoreError>>) -> Result<R, StoreError> {
        let permit = self.breaker.as_ref().map(CircuitBreaker::try_acquire).transpose()?;
        let now = Instant::now();
        let limit = time::after(now, lock(&self.times).timeout);
        // The other half of a caller's time is for the load.
        let until = until.map(|until| now + until.saturating_duration_since(now) / 2);
        let answer = before(time::earlier(limit, until), question).await;
        let outcome = match &answer {
            Some(Ok(_)) => Outcome::Judged(Verdict::Success),
            Some(Err(error)) if error.kind() == StoreErrorKind::Rejected => Outcome::NotAttempted,
            Some(Err(error)) => Outcome::Judged(error.verdict()),
            // Whose time it was that ended says whether it is the store's fault.
            None if until.is_some_and(|until| limit.is_none_or(|limit| until < limit)) => Outcome::Abandoned,
            None => Outcome::TimedOut,
        };
        if let Some(permit) = permit {
            permit.settle(outcome);
        }
        let answer = answer.unwrap_or_else(|| Err(StoreError::new(StoreErrorKind::Timeout).in_store(self.source.store.name())));
        answer.inspect_err(|error| self.failed(error))
    }

    fn failed(&self, error: &StoreError) {
        self.errors.add(1);
        tracing::warn!(name: "steadfast.second_tier_failed", target: "steadfast::cache", store = self.source.store.name(), %error, "second tier failed, going on without");
    }

    /// Makes up for what could not be removed.
    async fn settle_doubts(&self, key: &Key) -> Result<(), StoreError> {
        if self.doubts.about(key).is_empty() {
            return Ok(());
        }
        // Who is removing it now is waited for.
        let _held = self.stripe(key).await;
        for (what, turn) in self.doubts.about(key) {
            what.remove(&self.source.store).await?;
            self.doubts.settle(&what, Some(turn));
        }
        Ok(())
    }

    /// The value that is there, its entry, and how old the news of it may be.
    async fn find(&self, key: &Key, until: Option<Instant>) -> Option<(T, Entry, Duration)> {
        let began = Instant::now();
        let question = async {
            self.settle_doubts(key).await?;
            self.source.store.get(key).await
        };
        let Some(entry) = self.ask(until, question).await.ok()? else {
            self.misses.add(1);
            return None;
        };
        match (self.source.decode)(&entry.value) {
            Ok(value) => Some((value, entry, began.elapsed())),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// What the second tier is to keep of a value: `None` if there are no bytes of it.
    fn letter(&self, value: &T, ttl: u64, tags: &[String]) -> Option<Letter> {
        if ttl == 0 {
            return Some(Letter { value: None, options: SetOptions::new() });
        }
        let bytes = match (self.source.encode)(value) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.failed(&error);
                return None;
            }
        };
        let mut options = SetOptions::new().ttl(if ttl == NEVER { Ttl::Never } else { Ttl::After(from_nanos(ttl)) });
        if !tags.is_empty() && self.can.tags {
            options.tags = tags.to_vec();
        }
        // No tags are said, too: of a value that somebody else has put there, nobody knows.
        if self.can.metadata && (self.can.tags || !tags.is_empty()) {
            options = options.metadata(TAGS, write_tags(tags));
        }
        Some(Letter { value: Some(bytes), options })
    }

    async fn deliver(&self, key: &Key, letter: Letter) -> Result<bool, StoreError> {
        match letter.value {
            Some(value) => self.source.store.set(key, value, letter.options).await,
            None => self.source.store.delete(key).await.map(|_| false),
        }
    }
}

impl<T> Inner<T> {
    #[inline]
    pub(crate) fn far<Q: StdHash + ?Sized>(&self, key: &Q) -> Far {
        Far(self.tier.as_ref().and_then(|_| spell::spell(key)))
    }

    /// Whether whoever asks for the key now may come to ask the second tier.
    #[inline]
    pub(crate) fn needs_name(&self, key: Hash) -> bool {
        self.tier.is_some() && !lock(self.shard(key)).contains(key, self.now())
    }

    pub(super) fn outbox(&self) -> Outbox {
        Outbox(self.tier.as_ref().map(|_| Arc::default()))
    }

    /// For the second tier; what stays here is shortened accordingly.
    pub(super) fn letter(&self, far: &Far, ruled: &mut Ruled<T>) -> Option<Letter> {
        let (tier, _) = self.tier.as_ref().zip(far.0.as_ref())?;
        let letter = tier.letter(&ruled.value, ruled.ttl, &ruled.tags);
        ruled.ttl = tier.near(ruled.ttl);
        letter
    }

    /// The value that the second tier has, which is the cache's from then on, unless the key has changed meanwhile.
    pub(super) async fn promote(
        &self,
        far: &Far,
        place: (Hash, u64),
        refresh: bool,
        give: fn(&T) -> T,
        until: Option<Instant>,
    ) -> Option<T> {
        let (tier, name) = self.tier.as_ref().zip(far.0.as_ref())?;
        Box::pin(self.promote_from(tier, name, place, refresh, give, until)).await
    }

    async fn promote_from(
        &self,
        tier: &Tier<T>,
        name: &Key,
        (key, epoch): (Hash, u64),
        refresh: bool,
        give: fn(&T) -> T,
        until: Option<Instant>,
    ) -> Option<T> {
        let (value, entry, age) = tier.find(name, until).await?;
        let (rules, times) = {
            let settings = lock(&self.settings);
            (settings.rules.clone(), settings.times)
        };
        if refresh && is_due(&entry, times.refresh_ahead) {
            return None;
        }
        let left = match entry.ttl() {
            Ttl::Never => NEVER,
            Ttl::After(left) => nanos(left.saturating_sub(age)),
        };
        if left < 1_000_000 {
            return None;
        }
        tier.hits.add(1);
        let ttl = tier.near(left).min(nanos(times.ttl));
        let (mut weight, mut tags) = (1, Vec::new());
        if let Some(rules) = rules.as_deref() {
            weight = rules.weigher.as_ref().map_or(1, |weigher| weigher(&value).max(1));
            tags.extend(rules.tags_of.iter().flat_map(|tags_of| tags_of(&value)));
        }
        let known = entry.metadata.as_ref().and_then(read_tags);
        let unknown = (known.is_none() && (tier.can.tags || !tier.can.metadata)).then(|| unknown_tags(&self.names));
        tags.extend(known.unwrap_or_default());
        let given = give(&value);
        let mut new: New<T> = self.entry(Ruled { value, weight, ttl, tags });
        debug_assert!(matches!(new.answer, Answer::Value(_)));
        new.tags.extend(unknown);
        let now = self.now();
        self.change(key, now, |shard, gone| shard.store(key, epoch, new, now, gone));
        Some(given)
    }

    /// Puts into the second tier what this caller's own load came to, unless the key has changed since.
    pub(super) async fn send(&self, far: &Far, key: Hash, outbox: Outbox, until: Option<Instant>) {
        let Some(((epoch, letter), (tier, name))) =
            outbox.0.and_then(|outbox| lock(&outbox).take()).zip(self.tier.as_ref().zip(far.0.as_ref()))
        else {
            return;
        };
        let question = async {
            let what = What::Key(name.clone());
            let _held = tier.stripe(name).await;
            let turn = tier.doubts.turn(&what);
            if lock(self.shard(key)).is_current(key, epoch) {
                tier.deliver(name, letter).await?;
                tier.doubts.settle(&what, turn);
            }
            Ok(())
        };
        let _ = Box::pin(tier.ask(until, question)).await; // it has said so itself
    }
}

/// Whether an entry is better loaded anew, where it is.
fn is_due(entry: &Entry, refresh_ahead: Option<f64>) -> bool {
    let Some((share, end)) = refresh_ahead.zip(entry.expires_at) else { return false };
    entry.read_at.since(entry.created_at) >= end.since(entry.created_at).mul_f64(share)
}

/// As many bytes as it says, each.
fn write_tags(tags: &[String]) -> String {
    tags.iter().map(|tag| format!("{}:{tag}", tag.len())).collect()
}

/// `None` if there are none, or not in that form.
fn read_tags(metadata: &Metadata) -> Option<Vec<String>> {
    let (mut rest, mut tags) = (metadata.get(TAGS)?.as_str(), Vec::new());
    while !rest.is_empty() {
        let (length, after) = rest.split_once(':')?;
        let (tag, after) = after.split_at_checked(length.parse().ok()?)?;
        tags.push(tag.to_owned());
        rest = after;
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Raw};

    #[test]
    fn e59_near_for_half_of_what_is_left_at_least_a_minute_never_longer() {
        let tier = Tier::of(&super::super::Cache::<u8, String>::new(1).second_tier(MemoryStore::new(), Raw).tier).expect("there");
        let near = |secs: u64| tier.near(secs * 1_000_000_000) / 1_000_000_000;
        assert_eq!((near(10), near(60), near(119), near(300), tier.near(NEVER)), (10, 60, 60, 150, NEVER));
    }

    #[test]
    fn tags_are_read_as_they_were_written() {
        let of = |text: String| Metadata::from([(TAGS.to_owned(), text)]);
        let tags = ["red", "", "3:x", "größe", "a,b"].map(str::to_owned).to_vec();
        assert_eq!(read_tags(&of(write_tags(&tags))), Some(tags));
        for odd in ["x", "9:abc", "-1:a", "2:é"] {
            assert!(read_tags(&of(odd.to_owned())).is_none_or(|tags| tags == ["é"]), "{odd}");
        }
        assert_eq!(read_tags(&Metadata::new()), None);
    }
}
