//! Slots that several machines share, in Redis: what locks and semaphores are made of.
//!
//! A name has so many slots; whoever holds one holds it for a time, and after that it is anybody's. A lock is a name with one slot.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{Key, RedisSlots};
//! use steadfast::store::redis::slots::Hold;
//!
//! let slots = RedisSlots::connect("redis://127.0.0.1:6379").await?;
//! let (report, token) = (Key::new("nightly-report")?, RedisSlots::token());
//! if let Hold::Granted { fence, .. } = slots.hold(&report, &token, 1, Duration::from_secs(30)).await? {
//!     println!("ours for 30 s, as number {fence}");     // send it along with every write
//!     slots.renew(&report, &token, Duration::from_secs(30)).await?;
//!     slots.release(&report, &token).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! * **Released by who holds it.** A slot belongs to a token; nobody else's releases or renews it.
//! * **Not for ever.** A holder that dies gives its slot back when its time is over, by the server's clock.
//! * **Not for certain.** A holder that is stopped for longer than its time does not know that it has lost its slot; and a failover may forget who held it.
//!   That is why each grant has a **number, which only grows**: whatever the slot protects must refuse a number lower than one it has seen. (M. Kleppmann,
//!   *How to do distributed locking*, 2016.) The number is the server's time in microseconds, or one more than the last, whichever is more; so it
//!   grows even past a server that has forgotten everything.
//! * **Again is fine.** The same token is granted its slot again, with a new number: a hold of unknown outcome may simply be repeated.

use super::error::Effect;
use super::link::{Link, RedisOptions};
use super::{PREFIX, without_braces};
use crate::fault::{ConfigError, Fault};
use crate::store::{Key, StoreError, key};
use crate::sync::Counter;
use redis::{Script, cmd};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("slots.lua")));
/// What the script takes for longer than anybody means, in microseconds: 100 years.
const LONGEST: u64 = 3_153_600_000_000_000;

/// What came of asking for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "whoever does not look may work without a slot"]
pub enum Hold {
    /// It is held now.
    Granted {
        /// A number higher than any given out for this name before.
        fence: u64,
        /// Slots held now, this one included.
        held: u32,
    },
    /// All are held.
    Full {
        /// When the first of them ends, if it is neither renewed nor released.
        retry_after: Duration,
        /// Slots held now.
        held: u32,
    },
}

/// Settings of [`RedisSlots`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` or `connect`"]
pub struct RedisSlotsBuilder {
    options: RedisOptions,
    prefix: String,
}

impl RedisSlotsBuilder {
    /// What all keys begin with. **Default**: `steadfast`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The slots, which connect when they are first used: a server that is down delays nothing here.
    ///
    /// # Errors
    /// When the address or a timeout cannot work; all at once.
    pub fn build(self) -> Result<RedisSlots, ConfigError> {
        let mut faults = Vec::new();
        if self.prefix.is_empty() {
            faults.push(Fault::new("prefix", "the prefix is empty; give it a word, so that others know whose keys these are"));
        }
        let link = Link::new("redis slots", &self.options, faults)?;
        let mut prefix = String::new();
        key::escape_into(&mut prefix, self.prefix.as_bytes(), true);
        Ok(RedisSlots { shared: Arc::new(Shared { link, prefix: without_braces(&prefix), healed: Counter::default() }) })
    }

    /// The slots, once the server has answered.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when the server does not answer, or does not let us in.
    pub async fn connect(self) -> Result<RedisSlots, StoreError> {
        let slots = self.build()?;
        let ping = cmd("PING");
        slots.shared.link.ask(Effect::Read, |mut server| async move { ping.query_async::<String>(&mut server).await }).await?;
        Ok(slots)
    }
}

/// Slots in Redis or Valkey. Clones share the connection. See the [module](self) for what they promise.
#[derive(Clone)]
pub struct RedisSlots {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    prefix: String,
    healed: Counter,
}

impl RedisSlots {
    /// The slots at `url`, with the default settings, once the server has answered.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::store::StoreErrorKind::InvalidConfig) for an address that cannot work; or why the server did not answer.
    pub async fn connect(url: impl Into<RedisOptions>) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// Slots at a URL, or with [`RedisOptions`].
    pub fn builder(options: impl Into<RedisOptions>) -> RedisSlotsBuilder {
        RedisSlotsBuilder { options: options.into(), prefix: PREFIX.into() }
    }

    /// A token that nobody else has: 128 random bits.
    #[must_use]
    pub fn token() -> String {
        format!("{:032x}", rand::random::<u128>())
    }

    /// Takes one of `slots` slots of `name` for `ttl`, in the name of `token`; once it is held, the same again renews it. Where the number of slots
    /// differs from caller to caller, each keeps to its own.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::store::StoreErrorKind::InvalidConfig) for no slots or no time; or whatever keeps the server from answering. After
    /// [`OutcomeUnknown`](crate::store::StoreErrorKind::OutcomeUnknown), hold again or release.
    ///
    /// # Cancel safety
    /// Dropped, it may have been granted: release the token, or let its time pass.
    pub async fn hold(&self, name: &Key, token: &str, slots: u32, ttl: Duration) -> Result<Hold, StoreError> {
        let mut faults = Vec::new();
        crate::fault::check::at_least(&mut faults, "slots", u64::from(slots), 1);
        ConfigError::check("redis slots", faults)?;
        let [granted, number, held] = self.run(name, "hold", token, slots, ttl).await?;
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        Ok(match granted {
            0 => Hold::Full { retry_after: Duration::from_micros(number), held },
            _ => Hold::Granted { fence: number, held },
        })
    }

    /// Keeps the slot of `token` for `ttl` from now on. `false` when it has lost it; a lost slot is not taken again.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub async fn renew(&self, name: &Key, token: &str, ttl: Duration) -> Result<bool, StoreError> {
        Ok(self.run(name, "renew", token, 1, ttl).await?[0] == 1)
    }

    /// Gives the slot of `token` back. `false` when it has none.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub async fn release(&self, name: &Key, token: &str) -> Result<bool, StoreError> {
        Ok(self.run(name, "release", token, 1, Duration::from_millis(1)).await?[0] == 1)
    }

    /// How many slots of `name` are held.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub async fn held(&self, name: &Key) -> Result<u32, StoreError> {
        Ok(u32::try_from(self.run(name, "count", "", 1, Duration::from_millis(1)).await?[2]).unwrap_or(u32::MAX))
    }

    /// Keys that held what nobody here had written, and were put right, as far as this handle and its clones have met them.
    #[must_use]
    pub fn healed(&self) -> u64 {
        self.shared.healed.get()
    }

    /// Lets go of the connection, not of slots: those are held until they are released or over. Again is fine.
    pub fn close(&self) {
        self.shared.link.close();
    }

    async fn run(&self, name: &Key, what: &str, token: &str, slots: u32, ttl: Duration) -> Result<[u64; 3], StoreError> {
        let micros = u64::try_from(ttl.as_nanos().div_ceil(1_000)).unwrap_or(LONGEST).min(LONGEST);
        if micros == 0 {
            return Err(ConfigError::of("redis slots", vec![Fault::new("ttl", "0 ns is no time at all; give it longer than the work takes")]).into());
        }
        let key = format!("{}%slots1:{{{}}}", self.shared.prefix, without_braces(name.as_str()));
        let mut script = SCRIPT.key(key);
        // No token is the member in which the number is kept.
        script.arg(what).arg(format!("t:{token}")).arg(slots).arg(micros);
        let effect = if what == "count" { Effect::Read } else { Effect::Write };
        let ask = |mut server| async move { script.invoke_async::<[i64; 4]>(&mut server).await };
        let [done, number, held, healed] = self.shared.link.ask(effect, ask).await?.map(i64::unsigned_abs);
        if healed > 0 {
            self.shared.healed.add(healed);
        }
        Ok([done, number, held])
    }
}

impl fmt::Debug for RedisSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSlots").field("link", &self.shared.link).field("prefix", &self.shared.prefix).finish_non_exhaustive()
    }
}
