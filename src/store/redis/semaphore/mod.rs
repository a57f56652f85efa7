//! Places that several machines share, in Redis: semaphores, and locks, which are semaphores of one place.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, RedisSemaphoreStore};
//! use steadfast::store::rate::{Holder, SemaphoreStore, Taken};
//!
//! let store = RedisSemaphoreStore::connect("redis://127.0.0.1:6379").await?;
//! let (report, me, ttl) = (Key::new("nightly-report")?, Holder::random(), Duration::from_secs(30));
//! if let Taken::Held { fence } = store.take(&report, me, 1, ttl).await? {
//!     println!("ours for 30 s, as number {fence}");     // send it along with every write
//!     store.renew(&report, me, ttl).await?;
//!     store.release(&report, me).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! * **Released by who holds it.** A place belongs to a [`Holder`]; nobody else releases or renews it.
//! * **Not for ever.** A holder that dies gives its place back when its time is over, by the server's clock.
//! * **Not for certain.** A holder that is stopped for longer than its time does not know that it has lost its place; and a failover may forget who held
//!   it. That is why each comes with a **fence, which only grows**: whatever the place protects must refuse a number lower than one it has seen.
//!   (M. Kleppmann, *How to do distributed locking*, 2016.) It is the server's time in microseconds, or one more than the last, whichever is more; so
//!   it grows even past a server that has forgotten everything.
//! * **Again is fine.** The same holder is given its place again, with a new fence: after an
//!   [`OutcomeUnknown`](crate::store::StoreErrorKind::OutcomeUnknown) take again, or release.
//!
//! One key for each name, `steadfast%places1:{nightly-report}`. It ends an hour after the last holder: until then it remembers the fence, should the
//! clock be set back.

use super::error::Effect;
use super::link::{self, Link, RedisOptions};
use super::{NAME, PREFIX, without_braces};
use crate::fault::{ConfigError, Fault};
use crate::store::rate::semaphore::check_place;
use crate::store::rate::{Holder, SemaphoreStore, Taken};
use crate::store::{Key, StoreError, key};
use crate::sync::Counter;
use redis::{Script, cmd};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("semaphore.lua")));
/// What the script takes for longer than anybody means, in microseconds: 100 years.
const LONGEST: u64 = 3_153_600_000_000_000;

/// Settings of [`RedisSemaphoreStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` or `connect`"]
pub struct RedisSemaphoreStoreBuilder {
    options: RedisOptions,
    prefix: String,
}

impl RedisSemaphoreStoreBuilder {
    /// What all keys begin with. **Default**: `steadfast`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The store, which connects when it is first used: a server that is down delays nothing here.
    ///
    /// # Errors
    /// When the address or a timeout cannot work; all at once.
    pub fn build(self) -> Result<RedisSemaphoreStore, ConfigError> {
        let mut faults = Vec::new();
        if self.prefix.is_empty() {
            faults.push(Fault::new("prefix", "the prefix is empty; give it a word, so that others know whose keys these are"));
        }
        let link = Link::new("redis semaphore store", &self.options, faults)?;
        let mut prefix = String::new();
        key::escape_into(&mut prefix, self.prefix.as_bytes(), true);
        Ok(RedisSemaphoreStore { shared: Arc::new(Shared { link, prefix: without_braces(&prefix), healed: Counter::default() }) })
    }

    /// The store, once the server has answered.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when the server does not answer, or does not let us in.
    pub async fn connect(self) -> Result<RedisSemaphoreStore, StoreError> {
        let store = self.build()?;
        let ping = cmd("PING");
        store.shared.link.ask(Effect::Read, |mut server| async move { ping.query_async::<String>(&mut server).await }).await?;
        Ok(store)
    }
}

/// Places in Redis or Valkey. Clones share the connection. See the [module](self) for what it promises.
#[derive(Clone)]
pub struct RedisSemaphoreStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    prefix: String,
    healed: Counter,
}

impl RedisSemaphoreStore {
    /// The store at `url`, with the default settings, once the server has answered.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::store::StoreErrorKind::InvalidConfig) for an address that cannot work; or why the server did not answer.
    pub async fn connect(url: impl Into<RedisOptions>) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// A store at a URL, or with [`RedisOptions`].
    pub fn builder(options: impl Into<RedisOptions>) -> RedisSemaphoreStoreBuilder {
        RedisSemaphoreStoreBuilder { options: options.into(), prefix: PREFIX.into() }
    }

    /// Keys that held what nobody here had written, and were put right, as far as this handle and its clones have met them.
    #[must_use]
    pub fn healed(&self) -> u64 {
        self.shared.healed.get()
    }

    async fn run(&self, name: &Key, what: &str, holder: Option<Holder>, max: u32, ttl: Duration) -> Result<[u64; 3], StoreError> {
        let micros = u64::try_from(ttl.as_nanos().div_ceil(1_000)).unwrap_or(LONGEST).min(LONGEST);
        check_place(max, ttl)?;
        let key = format!("{}%places1:{{{}}}", self.shared.prefix, without_braces(name.as_str()));
        let mut script = SCRIPT.key(key);
        // 32 hex digits are never the member in which the fence is kept.
        script.arg(what).arg(holder.map_or_else(String::new, Holder::to_hex)).arg(max).arg(micros);
        let effect = if what == "count" { Effect::Read } else { Effect::Write };
        let ask = |mut server| async move { link::invoke::<[i64; 4]>(&script, &mut server).await };
        let [done, number, held, healed] = self.shared.link.ask(effect, ask).await?.map(i64::unsigned_abs);
        if healed > 0 {
            self.shared.healed.add(healed);
        }
        Ok([done, number, held])
    }
}

impl SemaphoreStore for RedisSemaphoreStore {
    /// Where the number of places differs from caller to caller, each keeps to its own.
    async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Taken, StoreError> {
        let [held, number, _] = self.run(key, "take", Some(holder), max, ttl).await?;
        Ok(match held {
            0 => Taken::Full { retry_after: (number > 0).then(|| Duration::from_micros(number)) },
            _ => Taken::Held { fence: number },
        })
    }

    async fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> Result<bool, StoreError> {
        Ok(self.run(key, "renew", Some(holder), 1, ttl).await?[0] == 1)
    }

    async fn release(&self, key: &Key, holder: Holder) -> Result<bool, StoreError> {
        Ok(self.run(key, "release", Some(holder), 1, Duration::from_millis(1)).await?[0] == 1)
    }

    async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.run(key, "count", None, 1, Duration::from_millis(1)).await?[2]).unwrap_or(u32::MAX))
    }

    fn name(&self) -> &'static str {
        NAME
    }

    /// Lets go of the connection, not of places: those are held until they are released or over.
    async fn close(&self) -> Result<(), StoreError> {
        self.shared.link.close();
        Ok(())
    }
}

impl fmt::Debug for RedisSemaphoreStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSemaphoreStore").field("link", &self.shared.link).field("prefix", &self.shared.prefix).finish_non_exhaustive()
    }
}
