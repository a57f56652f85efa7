//! Limits that several machines share, in Redis: each decision is one script on the server, by the server's time.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{Key, RedisRateStore};
//! use steadfast::store::rate::{Quota, RateStore};
//!
//! let store = RedisRateStore::connect("redis://127.0.0.1:6379").await?;
//! let decision = store.acquire(&Key::new("tenant:7")?, &Quota::per_minute(100).burst(20), 1).await?;
//! println!("{} of {} left", decision.remaining, decision.limit);
//! # Ok(()) }
//! ```
//!
//! * **Exact.** Whole microseconds and whole units, by the arithmetic of [`State`]; nobody's clock but the server's counts, and where that is set
//!   back, nothing drains and nothing fills.
//! * **Small.** One key for each name and algorithm: `steadfast%rate1:gcra:{tenant:7}`, about 100 bytes, for a log 30 for each call of a period. All
//!   end by themselves once nothing is missing, at the latest after the time it takes to fill. The braces make a cluster keep what belongs to one name in one place; the number is the version
//!   of what is inside, so that two versions of a program each keep to the limit, and both together to twice that.
//! * **Robust.** A key that holds what no script has written, or is of another type, is begun anew, and counted as [`healed`](RedisRateStore::healed).
//!   Numbers out of range are put back into it.
//! * **Once.** A step whose answer is lost is an [`OutcomeUnknown`](StoreErrorKind::OutcomeUnknown), never done again.
//!
//! Give limits a server, or at least a database, that evicts nothing (`maxmemory-policy noeviction`): an evicted limit is a full one. After a failover,
//! what was spent within the replication lag is forgotten: at most `rate * lag + burst` go twice.

use super::error::Effect;
use super::link::{self, Link, RedisOptions};
use super::{NAME, PREFIX, without_braces};
use crate::fault::{ConfigError, Fault};
use crate::store::rate::{Algorithm, Decision, Quota, RateStore, Request, State, Terms};
use crate::store::{Key, StoreError, StoreErrorKind, key};
use crate::sync::Counter;
use redis::{Script, ScriptInvocation, cmd};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

#[cfg(test)]
mod tests;

const PRELUDE: &str = include_str!("prelude.lua");
const LEVEL: &str = include_str!("level.lua");
const WINDOWS: &str = include_str!("windows.lua");
const LOG: &str = include_str!("log.lua");
const DRIVER: &str = include_str!("driver.lua");

/// What a script has in it is made anew at each call, so each is as small as can be.
struct Scripts {
    level: Script,
    windows: Script,
    log: Script,
    any: Script,
}

impl Scripts {
    fn new(prelude: &str) -> Self {
        let of = |parts: &[&str]| Script::new(&[&[prelude], parts, &[DRIVER]].concat().join("\n"));
        Self { level: of(&[LEVEL]), windows: of(&[WINDOWS]), log: of(&[LOG]), any: of(&[LEVEL, WINDOWS, LOG]) }
    }

    fn of(&self, algorithm: Algorithm) -> &Script {
        match algorithm {
            Algorithm::Gcra | Algorithm::TokenBucket => &self.level,
            Algorithm::SlidingCounter | Algorithm::FixedWindow => &self.windows,
            Algorithm::SlidingLog => &self.log,
        }
    }
}

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts::new(PRELUDE));

/// Settings of a [`RedisRateStore`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build` or `connect`"]
pub struct RedisRateStoreBuilder {
    options: RedisOptions,
    prefix: String,
}

impl RedisRateStoreBuilder {
    /// What all keys begin with. **Default**: `steadfast`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// The store, which connects when it is first used: a server that is down delays nothing here.
    ///
    /// # Errors
    /// When the address or a timeout cannot work; all at once.
    pub fn build(self) -> Result<RedisRateStore, ConfigError> {
        let mut faults = Vec::new();
        if self.prefix.is_empty() {
            faults.push(Fault::new("prefix", "the prefix is empty; give it a word, so that others know whose keys these are"));
        }
        let link = Link::new("redis rate store", &self.options, faults)?;
        let mut prefix = String::new();
        key::escape_into(&mut prefix, self.prefix.as_bytes(), true);
        let shared = Shared { link, prefix: without_braces(&prefix), healed: Counter::default() };
        Ok(RedisRateStore { shared: Arc::new(shared) })
    }

    /// The store, once the server has answered.
    ///
    /// # Errors
    /// As [`build`](Self::build), and when the server does not answer, or does not let us in.
    pub async fn connect(self) -> Result<RedisRateStore, StoreError> {
        let store = self.build()?;
        let ping = cmd("PING");
        store.shared.link.ask(Effect::Read, |mut server| async move { ping.query_async::<String>(&mut server).await }).await?;
        Ok(store)
    }
}

/// Limits in Redis or Valkey. Clones share the connection. See the [module](self) for what it promises.
///
/// The connection is its own: values of megabytes would make decisions wait. Where many decisions a second are needed, claim units in advance
/// (`Leased`); where the server may be away, say what happens then (`SharedLimit`).
#[derive(Clone)]
pub struct RedisRateStore {
    shared: Arc<Shared>,
}

struct Shared {
    link: Link,
    prefix: String,
    healed: Counter,
}

impl Shared {
    fn name(&self, key: &Key, algorithm: Algorithm) -> String {
        format!("{}%rate1:{algorithm}:{{{}}}", self.prefix, without_braces(key.as_str()))
    }

    /// Runs a script; what is behind the moment and the keys healed.
    async fn run(&self, effect: Effect, script: &ScriptInvocation<'_>) -> Result<(u64, Vec<i64>), StoreError> {
        let numbers: Vec<i64> = self.link.ask(effect, |mut server| async move { link::invoke(script, &mut server).await }).await?;
        let [now, healed, rest @ ..] = &numbers[..] else { return Err(odd_answer()) };
        if *healed > 0 {
            self.healed.add(healed.unsigned_abs());
        }
        Ok((now.unsigned_abs(), rest.to_vec()))
    }
}

fn odd_answer() -> StoreError {
    StoreError::new(StoreErrorKind::Protocol).in_store(NAME).with_detail("a script answered other numbers than expected")
}

fn request<'a>(script: &mut ScriptInvocation<'a>, name: String, terms: &Terms, units: u32) {
    script.key(name).arg(terms.algorithm.as_str()).arg(terms.limit).arg(terms.capacity).arg(terms.period_us);
    script.arg(terms.calendar.map_or("", |calendar| calendar.as_str())).arg(units);
}

/// What five numbers of a script mean: whether it goes, and the state after that, from which [`State`] knows when there is more.
fn decide(numbers: &[i64], now: u64, terms: &Terms, cost: u32) -> Option<Decision> {
    let &[goes, ref rest @ ..] = numbers else { return None };
    let long = |at: usize| rest.get(at).map(|number: &i64| number.unsigned_abs());
    let short = |at: usize| long(at).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let mut kept = Vec::with_capacity(32);
    kept.push(1);
    match terms.algorithm {
        Algorithm::SlidingLog => {
            let (free, full) = (short(0)?, Duration::from_micros(long(2)?));
            return Some(match goes {
                0 => Decision::deny(terms.capacity, free, Some(Duration::from_micros(long(1)?)), full),
                _ => Decision::allow(terms.capacity, free, full),
            });
        }
        Algorithm::Gcra | Algorithm::TokenBucket => {
            kept.extend_from_slice(&long(0)?.to_le_bytes());
            kept.extend_from_slice(&long(2)?.to_le_bytes());
            kept.extend_from_slice(&short(1)?.to_le_bytes());
        }
        Algorithm::FixedWindow => {
            kept.extend_from_slice(&long(0)?.to_le_bytes());
            kept.extend_from_slice(&long(1)?.to_le_bytes());
            kept.extend_from_slice(&short(2)?.to_le_bytes());
        }
        Algorithm::SlidingCounter => {
            kept.extend_from_slice(&long(0)?.to_le_bytes());
            kept.extend_from_slice(&long(1)?.to_le_bytes());
            kept.extend_from_slice(&short(2)?.to_le_bytes());
            kept.extend_from_slice(&short(3)?.to_le_bytes());
        }
    }
    let mut state = State::decode(&kept, terms.algorithm)?;
    // Of one that went, how it stands now; of one refused, the same question again.
    let stands = state.take(now, terms, if goes == 0 { cost } else { 0 });
    Some(match goes {
        0 => Decision::deny(stands.limit, stands.remaining, stands.retry_after, stands.reset_after),
        _ => Decision::allow(stands.limit, stands.remaining, stands.reset_after),
    })
}

impl RedisRateStore {
    /// The store at `url`, with the default settings, once the server has answered.
    ///
    /// # Errors
    /// [`InvalidConfig`](StoreErrorKind::InvalidConfig) for an address that cannot work; or why the server did not answer.
    pub async fn connect(url: impl Into<RedisOptions>) -> Result<Self, StoreError> {
        Self::builder(url).connect().await
    }

    /// A store at a URL, or with [`RedisOptions`].
    pub fn builder(options: impl Into<RedisOptions>) -> RedisRateStoreBuilder {
        RedisRateStoreBuilder { options: options.into(), prefix: PREFIX.into() }
    }

    /// Keys that held what nobody here had written, and were begun anew, as far as this store and its clones have met them.
    #[must_use]
    pub fn healed(&self) -> u64 {
        self.shared.healed.get()
    }
}

impl RateStore for RedisRateStore {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        let terms = quota.terms(cost)?;
        let mut script = SCRIPTS.of(terms.algorithm).arg("take");
        request(&mut script, self.shared.name(key, terms.algorithm), &terms, cost);
        let effect = if cost == 0 { Effect::Read } else { Effect::Write };
        let (now, numbers) = self.shared.run(effect, &script).await?;
        decide(&numbers, now, &terms, cost).ok_or_else(odd_answer)
    }

    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        let terms = quota.terms(0)?;
        if units > 0 {
            let mut script = SCRIPTS.of(terms.algorithm).arg("give");
            request(&mut script, self.shared.name(key, terms.algorithm), &terms, units);
            self.shared.run(Effect::Write, &script).await?;
        }
        Ok(())
    }

    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        let mut unlink = cmd("UNLINK");
        for algorithm in Algorithm::ALL {
            unlink.arg(self.shared.name(key, algorithm));
        }
        let ask = |mut server| async move { unlink.query_async::<u64>(&mut server).await };
        Ok(self.shared.link.ask(Effect::Write, ask).await? > 0)
    }

    fn name(&self) -> &'static str {
        NAME
    }

    /// In one script.
    async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
        let mut script = SCRIPTS.any.arg("take");
        let mut all = Vec::with_capacity(requests.len());
        for asked in requests {
            let terms = asked.quota.terms(asked.cost)?;
            request(&mut script, self.shared.name(asked.key, terms.algorithm), &terms, asked.cost);
            all.push((terms, asked.cost));
        }
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let (now, numbers) = self.shared.run(Effect::Write, &script).await?;
        let decided =
            all.iter().zip(numbers.chunks(5)).map(|((terms, cost), numbers)| decide(numbers, now, terms, *cost).ok_or_else(odd_answer));
        let decided = decided.collect::<Result<Vec<_>, _>>()?;
        if decided.len() == all.len() { Ok(decided) } else { Err(odd_answer()) }
    }

    /// Lets go of the connection; what is under way ends by itself.
    async fn close(&self) -> Result<(), StoreError> {
        self.shared.link.close();
        Ok(())
    }
}

impl fmt::Debug for RedisRateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRateStore").field("link", &self.shared.link).field("prefix", &self.shared.prefix).finish_non_exhaustive()
    }
}
