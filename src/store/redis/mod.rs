//! Redis and Valkey: a store, and limits, locks and semaphores that several machines share. Feature `redis`.
//!
//! For what several machines must agree on. Where one machine is all there is, SQLite or memory is a thing less that can fail.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, RedisStore, SetOptions, Store};
//!
//! let store = RedisStore::connect("redis://127.0.0.1:6379").await?;
//! let key = Key::new("user:42")?;
//! store.set(&key, "Ada".into(), SetOptions::new().ttl(Duration::from_secs(60)).tag("org:7")).await?;
//! assert!(store.exists(&key).await?);
//! assert_eq!(store.delete_tagged("org:7").await?, 1);
//! # Ok(()) }
//! ```
//!
//! * **One connection**, shared by all callers: their commands travel together, which costs a quarter of what a pool does. It is made when it is
//!   first needed, and again when it breaks, at most five times a second.
//! * **Nobody waits long.** A server that is gone answers within milliseconds, one that hangs within
//!   [`response_timeout`](RedisOptions::response_timeout). Retries and a breaker are yours to put around it
//!   ([`guarded`](super::Store::guarded)).
//! * **Nothing is sent twice.** A write that was cut off is [`OutcomeUnknown`](super::StoreErrorKind::OutcomeUnknown), and whether it is to be
//!   repeated is your decision.
//! * **Neighbours are left alone.** All keys begin with the [`prefix`](RedisStoreBuilder::prefix); clearing looks for those, a few hundred at a
//!   time, and never flushes the database.
//!
//! Server time counts: no clock of any client does. Where a name moves with the master, that is followed; so are sentinels (feature `redis-sentinel`,
//! `RedisOptions::sentinels`). In a cluster (feature `redis-cluster`, `RedisOptions::cluster`) there are limits and semaphores; a store of values wants one
//! server. After a failover, what was not replicated yet is lost.

mod backplane;
mod error;
mod frame;
mod link;
pub mod rate;
pub mod semaphore;

use super::stats::Counters;
use super::traits::{PROBE_TTL, probe_item, probed};
use super::{
    CacheStats, Capabilities, Cursor, Entry, Glob, Key, KeysPage, SetOptions, Store, StoreError, StoreErrorKind, Timestamp, Ttl, key,
};
use crate::fault::{ConfigError, Fault, check};
pub use backplane::{RedisBackplane, RedisBackplaneBuilder};
use bytes::Bytes;
use error::Effect;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use frame::fuzz as fuzz_frame;
use link::Link;
pub use link::RedisOptions;
pub use rate::{RedisRateStore, RedisRateStoreBuilder};
use redis::{Cmd, Pipeline, Script, ScriptInvocation, cmd};
pub use semaphore::{RedisSemaphoreStore, RedisSemaphoreStoreBuilder};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

pub(crate) const NAME: &str = "redis";
/// Under which everything of this crate lies.
const PREFIX: &str = "steadfast";
/// What Redis takes as one value, and a little for the frame.
const MOST_BYTES: u64 = (512 << 20) - (64 << 10);
/// Commands in one round trip: enough to make the way there not count, few enough not to keep others waiting.
const BATCH: usize = 512;
/// Bytes in one round trip, as far as one value does not need more.
const BATCH_BYTES: usize = 256 << 10;

static GET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("get.lua")));
static SET_TAGGED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("tags.lua")));
static DELETE_TAGGED: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("untag.lua")));

/// Settings of a [`RedisStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` or `connect`"]
pub struct RedisStoreBuilder {
    options: RedisOptions,
    prefix: String,
    max_value_bytes: u64,
}

impl RedisStoreBuilder {
    /// What all keys begin with, a `:` after it; `clear` and patterns see nothing else. Two prefixes never share a key. **Default**:
    /// `steadfast`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How big one value may be, in bytes; bigger ones are an error. **Default**: what Redis takes, 512 MB.
    pub const fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// The store, which connects when it is first used: a server that is down delays nothing here.
    ///
    /// # Errors
    /// When the address, a timeout or a limit cannot work; all at once.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        let mut faults = Vec::new();
        if self.prefix.is_empty() {
            faults.push(Fault::new("prefix", "the prefix is empty; without one, `clear` would take what is not ours"));
        }
        if self.options.is_cluster() {
            faults.push(Fault::new("url", "values want one server; a cluster is for limits and semaphores"));
        }
        check::at_least(&mut faults, "max_value_bytes", self.max_value_bytes, 1);
        check::at_most(&mut faults, "max_value_bytes", self.max_value_bytes, MOST_BYTES);
        let link = Link::new("redis store", &self.options, faults)?;
        let names = Names::new(&self.prefix);
        let shared = Shared { link, names, max_value_bytes: self.max_value_bytes, counters: Counters::default() };
        Ok(RedisStore { shared: Arc::new(shared) })
    }

    /// The store, once the server has answered.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when the server does not answer, or does not let us in.
    pub async fn connect(self) -> Result<RedisStore, StoreError> {
        let store = self.build()?;
        store.shared.run::<String>(Effect::Read, &cmd("PING")).await?;
        Ok(store)
    }
}

/// How keys are called over there.
struct Names {
    /// Escaped as keys are, `:` and braces as well, so that no prefix is the beginning of another's keys.
    prefix: String,
}

impl Names {
    fn new(prefix: &str) -> Self {
        let mut escaped = String::new();
        key::escape_into(&mut escaped, prefix.as_bytes(), true);
        Self { prefix: without_braces(&escaped) }
    }

    fn value(&self, key: &Key) -> String {
        format!("{}:{}", self.prefix, without_braces(key.as_str()))
    }

    /// The set of what bears a tag. No key has a `%` without two digits after it, so none is one of these.
    fn tag(&self, tag: &str) -> String {
        format!("{}%tag:{tag}", self.prefix)
    }

    /// The key called so, if it is one of ours.
    fn key(&self, name: &str) -> Option<Key> {
        let text = name.strip_prefix(&self.prefix)?.strip_prefix(':')?;
        Key::parse(&text.replace("%(", "{").replace("%)", "}")).ok()
    }

    /// A pattern of Redis for all that begins with this.
    fn beginning(&self, separator: char, with: &str) -> String {
        let mut pattern = String::new();
        for c in self.prefix.chars().chain([separator]).chain(without_braces(with).chars()) {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        pattern
    }
}

/// In a cluster, what is in braces says where a key lies, and that is no matter of users.
fn without_braces(text: &str) -> String {
    text.replace('{', "%(").replace('}', "%)")
}

/// A store in Redis or Valkey. Clones share it, and its connection. See the [module](self) for what it promises.
///
/// The server keeps the time: an [`Entry`] says what it had left to live when it was read. What a tag is on is known to a set of names on the
/// server, which is right as long as the server evicts nothing: with a `maxmemory-policy` other than `noeviction`, it may drop the set before
/// the values. Clearing and patterns take a walk through the whole database, a few hundred keys at a time: with many millions of keys of others,
/// give the store a database of its own.
///
/// [`stats`](Store::stats) has no gauges: only the server knows.
#[derive(Clone)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    names: Names,
    max_value_bytes: u64,
    counters: Counters,
}

impl Shared {
    fn counted<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.inspect_err(|_| self.counters.errors.add(1))
    }

    async fn run<T: redis::FromRedisValue>(&self, effect: Effect, cmd: &Cmd) -> Result<T, StoreError> {
        self.counted(self.link.ask(effect, |mut server| async move { cmd.query_async(&mut server).await }).await)
    }

    async fn run_all<T: redis::FromRedisValue>(&self, effect: Effect, commands: &Pipeline) -> Result<T, StoreError> {
        self.counted(self.link.ask(effect, |mut server| async move { commands.query_async(&mut server).await }).await)
    }

    async fn run_script<T: redis::FromRedisValue>(&self, effect: Effect, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        self.counted(self.link.ask(effect, |mut server| async move { link::invoke(script, &mut server).await }).await)
    }

    fn check_size(&self, value: &Bytes) -> Result<(), StoreError> {
        let most = self.max_value_bytes;
        if value.len() as u64 > most { Err(StoreError::too_large(NAME, value.len(), most)) } else { Ok(()) }
    }

    /// The entry in an answer to `GET` and `PTTL`.
    fn entry(&self, (frame, left): (Option<Vec<u8>>, i64), now: Timestamp) -> Option<Entry> {
        let frame = frame?;
        let ttl = match u64::try_from(left) {
            Ok(left) => Ttl::After(std::time::Duration::from_millis(left)),
            Err(_) if left == -1 => Ttl::Never,
            Err(_) => return None,
        };
        let entry = frame::decode(frame, ttl, now);
        if entry.is_none() {
            self.counters.corrupt.add(1);
        }
        entry
    }

    /// Stores a few, all or none of them.
    async fn set_few(&self, items: &[(Key, Bytes)], options: &SetOptions) -> Result<u64, StoreError> {
        let now = Timestamp::now();
        // What ends later than clocks can tell ends never.
        let millis = options.ttl.expires_at(now).map(|end| end.since(now).as_millis().to_string());
        if options.tags.is_empty() {
            let mut commands = Pipeline::with_capacity(items.len());
            for (key, value) in items {
                let set = commands.cmd("SET").arg(self.names.value(key)).arg(frame::encode(value, options, now));
                if let Some(millis) = &millis {
                    set.arg("PX").arg(millis);
                }
                if options.if_absent {
                    set.arg("NX");
                }
            }
            let stored: Vec<Option<String>> = match items {
                [_] => self.run_all(Effect::Write, &commands).await?,
                _ => self.run_all(Effect::Write, commands.atomic()).await?,
            };
            return Ok(stored.iter().flatten().count() as u64);
        }
        let mut script = SET_TAGGED.prepare_invoke();
        for (key, _) in items {
            script.key(self.names.value(key));
        }
        for tag in &options.tags {
            script.key(self.names.tag(tag));
        }
        script.arg(items.len()).arg(millis.unwrap_or_default()).arg(if options.if_absent { "NX" } else { "" });
        for (_, value) in items {
            script.arg(frame::encode(value, options, now));
        }
        self.run_script(Effect::Write, &script).await
    }

    async fn unlink(&self, keys: impl Iterator<Item = String>) -> Result<u64, StoreError> {
        let deleted = self.run(Effect::Write, cmd("UNLINK").arg(keys.collect::<Vec<_>>())).await?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    /// The next few names that match, and where to go on: 0 at the end.
    async fn scan(&self, cursor: u64, pattern: &str) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(BATCH);
        self.run(Effect::Read, &scan).await
    }
}

/// The keys among these names. One that is no text is none of ours.
fn known<'a>(names: &'a Names, found: &'a [Vec<u8>], glob: &'a Glob) -> impl Iterator<Item = Key> + 'a {
    found.iter().filter_map(|name| names.key(std::str::from_utf8(name).ok()?)).filter(|key| glob.matches(key))
}

/// As many of them as one round trip should carry; at least one.
fn next_batch(items: &[(Key, Bytes)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, value): &&(Key, Bytes)| {
        bytes += value.len();
        bytes <= BATCH_BYTES
    };
    items.iter().take(BATCH).take_while(fits).count().max(1)
}

impl RedisStore {
    /// The store at `url`, with the default settings, once the server has answered.
    ///
    /// # Errors
    /// [`InvalidConfig`](super::StoreErrorKind::InvalidConfig) for an address that cannot work; or why the server did not answer.
    pub async fn connect(url: impl Into<RedisOptions>) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// A store at a URL, or with [`RedisOptions`].
    pub fn builder(options: impl Into<RedisOptions>) -> RedisStoreBuilder {
        RedisStoreBuilder { options: options.into(), prefix: PREFIX.into(), max_value_bytes: MOST_BYTES }
    }
}

impl Store for RedisStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let shared = &self.shared;
        let answer = shared.run_script(Effect::Read, &GET.key(shared.names.value(key))).await?;
        let found = shared.entry(answer, Timestamp::now());
        shared.counters.got(found.is_some());
        Ok(found)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        Ok(self.set_many(&[(key.clone(), value)], options).await? == 1)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.shared.unlink(std::iter::once(self.shared.names.value(key))).await? == 1)
    }

    /// Walks through the database; what is stored meanwhile may stay.
    async fn clear(&self) -> Result<u64, StoreError> {
        let cleared = self.delete_matching(&Glob::all()).await?;
        // The sets of tags go last: an interrupted clear leaves no value that its tag has forgotten.
        let (shared, pattern) = (&self.shared, self.shared.names.beginning('%', "tag:"));
        let mut cursor = 0;
        loop {
            let (next, found) = shared.scan(cursor, &pattern).await?;
            if !found.is_empty() {
                shared.run::<u64>(Effect::Write, cmd("UNLINK").arg(found)).await?;
            }
            if next == 0 {
                return Ok(cleared);
            }
            cursor = next;
        }
    }

    fn stats(&self) -> CacheStats {
        self.shared.counters.snapshot()
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn reset_stats(&self) {
        self.shared.counters.reset();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.shared.run(Effect::Read, cmd("EXISTS").arg(self.shared.names.value(key))).await
    }

    /// A few hundred in a round trip, each of these as of one moment.
    async fn get_many(&self, keys: &[Key]) -> Result<HashMap<Key, Entry>, StoreError> {
        let (shared, mut found) = (&self.shared, HashMap::with_capacity(keys.len()));
        let keys: Vec<&Key> = keys.iter().collect::<HashSet<_>>().into_iter().collect();
        for some in keys.chunks(BATCH) {
            let mut script = GET.prepare_invoke();
            for key in some {
                script.key(shared.names.value(key));
            }
            let answers: Vec<(Option<Vec<u8>>, i64)> = shared.run_script(Effect::Read, &script).await?;
            let now = Timestamp::now();
            for (key, answer) in some.iter().zip(answers) {
                if let Some(entry) = shared.entry(answer, now) {
                    found.insert((*key).clone(), entry);
                }
            }
        }
        shared.counters.hits.add(found.len() as u64);
        shared.counters.misses.add((keys.len() - found.len()) as u64);
        Ok(found)
    }

    /// A few hundred in a round trip, each of these all or nothing.
    async fn set_many(&self, items: &[(Key, Bytes)], options: SetOptions) -> Result<u64, StoreError> {
        let shared = &self.shared;
        items.iter().try_for_each(|(_, value)| shared.check_size(value))?;
        if options.ttl.is_zero() {
            if !options.if_absent {
                self.delete_many(&items.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()).await?;
            }
            return Ok(0);
        }
        let (mut stored, mut done) = (0, 0);
        while let Some(rest) = items.get(done..).filter(|rest| !rest.is_empty()) {
            let some = &rest[..next_batch(rest)];
            stored += shared.set_few(some, &options).await.map_err(|error| error.with_completed(done as u64))?;
            done += some.len();
        }
        shared.counters.sets.add(stored);
        Ok(stored)
    }

    /// A few hundred in a round trip, each of these all or nothing.
    async fn delete_many(&self, keys: &[Key]) -> Result<u64, StoreError> {
        let (mut deleted, mut done) = (0, 0);
        for some in keys.chunks(BATCH) {
            let names = some.iter().map(|key| self.shared.names.value(key));
            deleted += self.shared.unlink(names).await.map_err(|error| error.with_completed(done))?;
            done += some.len() as u64;
        }
        Ok(deleted)
    }

    /// Walks through the database.
    async fn keys(&self, glob: &Glob) -> Result<Vec<Key>, StoreError> {
        let (mut walk, mut keys) = (self.walk_keys(glob.clone()), HashSet::new());
        while let Some(key) = walk.next().await? {
            keys.insert(key); // a walk may pass a key twice
        }
        Ok(keys.into_iter().collect())
    }

    /// A step of a walk through the database, of some hundred keys, whosever they are.
    async fn keys_page(&self, glob: &Glob, from: Option<&Cursor>) -> Result<KeysPage, StoreError> {
        let (shared, pattern) = (&self.shared, self.shared.names.beginning(':', glob.literal_prefix()));
        let from = from
            .map_or(Ok(0), |from| from.as_str().parse())
            .map_err(|_| StoreError::new(StoreErrorKind::Unsupported).in_store(NAME).with_detail("a cursor of another store"))?;
        let (next, found) = shared.scan(from, &pattern).await?;
        let keys = known(&shared.names, &found, glob).collect();
        Ok(KeysPage::new(keys, (next != 0).then(|| Cursor::new(next.to_string()))))
    }

    /// Walks through the database, removing as it goes: what fails half-way has removed some.
    async fn delete_matching(&self, glob: &Glob) -> Result<u64, StoreError> {
        let (shared, pattern) = (&self.shared, self.shared.names.beginning(':', glob.literal_prefix()));
        let (mut deleted, mut cursor) = (0, 0);
        loop {
            let (next, found) = shared.scan(cursor, &pattern).await?;
            let names: Vec<String> = known(&shared.names, &found, glob).map(|key| shared.names.value(&key)).collect();
            if !names.is_empty() {
                deleted += shared.unlink(names.into_iter()).await?;
            }
            if next == 0 {
                return Ok(deleted);
            }
            cursor = next;
        }
    }

    /// A few hundred at a time, each of these at once; what fails half-way has removed some, and may be called again for the rest.
    async fn delete_tagged(&self, tag: &str) -> Result<u64, StoreError> {
        let shared = &self.shared;
        let (set, mut deleted, mut rounds) = (shared.names.tag(tag), 0, None);
        loop {
            let (removed, left): (u64, u64) = shared.run_script(Effect::Write, DELETE_TAGGED.key(&set).arg(tag).arg(BATCH)).await?;
            shared.counters.deletes.add(removed);
            deleted += removed;
            // What is tagged from now on is not meant: without an end, busy writers could keep this going.
            let last = *rounds.get_or_insert(left.div_ceil(BATCH as u64));
            if left == 0 || last == 0 {
                return Ok(deleted);
            }
            rounds = Some(last - 1);
        }
    }

    /// Writes, reads and removes at one stroke: nobody sees it, nothing is counted.
    async fn probe(&self) -> Result<(), StoreError> {
        let (key, wrote) = probe_item();
        let name = self.shared.names.value(&key);
        let mut commands = Pipeline::with_capacity(3);
        commands.atomic().cmd("SET").arg(&name).arg(&wrote[..]).arg("PX").arg(PROBE_TTL.as_millis().to_string()).ignore();
        commands.cmd("GET").arg(&name).cmd("UNLINK").arg(&name).ignore();
        let ask = |mut server| async move { commands.query_async(&mut server).await };
        let (read,): (Option<Vec<u8>>,) = self.shared.link.ask(Effect::Read, ask).await?;
        probed(NAME, &wrote, read.map(Bytes::from))
    }

    /// Lets go of the connection; what is under way ends by itself.
    async fn close(&self) -> Result<(), StoreError> {
        self.shared.link.close();
        Ok(())
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("link", &self.shared.link).field("prefix", &self.shared.names.prefix).finish_non_exhaustive()
    }
}
