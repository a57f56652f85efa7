//! The settings of a cache.

use super::removal::RemovalCause;
use super::{Cache, tier};
use crate::fault::{ConfigError, Fault, check};
use crate::outcome::Seconds;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Which entry makes room for a new one when the cache is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Eviction {
    /// What was asked for once leaves before what was asked for again, and a scan over many keys does not push out the ones that matter.
    /// The algorithm of the [`quick_cache`](https://docs.rs/quick_cache) crate, from S3-FIFO (Yang et al., "FIFO queues are all you need for
    /// cache eviction", SOSP 2023) and CLOCK-Pro (Jiang et al., USENIX 2005). The best hit rate of the four, and the fastest.
    #[default]
    S3Fifo,
    /// The one that nobody has asked for longest.
    Lru,
    /// The one that came first; asking for an entry, or overwriting it, does not keep it.
    Fifo,
    /// Any.
    Random,
}

impl Eviction {
    /// A short, stable name in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3Fifo => "s3_fifo",
            Self::Lru => "lru",
            Self::Fifo => "fifo",
            Self::Random => "random",
        }
    }
}

/// What is asked of each value, outside of every lock.
pub(super) struct Rules<T> {
    pub(super) weigher: Option<Rule<T, u64>>,
    pub(super) ttl_of: Option<Rule<T, Option<Duration>>>,
    pub(super) tags_of: Option<Rule<T, Vec<String>>>,
    pub(super) on_removal: Option<Arc<dyn Fn(T, RemovalCause) + Send + Sync>>,
}

pub(super) type Rule<T, R> = Arc<dyn Fn(&T) -> R + Send + Sync>;

impl<T> Rules<T> {
    /// `None` if nothing is asked.
    pub(super) fn shared(self) -> Option<Arc<Self>> {
        let any = self.weigher.is_some() || self.ttl_of.is_some() || self.tags_of.is_some() || self.on_removal.is_some();
        any.then(|| Arc::new(self))
    }

    fn is_same(&self, other: &Self) -> bool {
        same(&self.weigher, &other.weigher)
            && same(&self.ttl_of, &other.ttl_of)
            && same(&self.tags_of, &other.tags_of)
            && same(&self.on_removal, &other.on_removal)
    }
}

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Self { weigher: None, ttl_of: None, tags_of: None, on_removal: None }
    }
}

impl<T> Clone for Rules<T> {
    fn clone(&self) -> Self {
        let Self { weigher, ttl_of, tags_of, on_removal } = self;
        Self { weigher: weigher.clone(), ttl_of: ttl_of.clone(), tags_of: tags_of.clone(), on_removal: on_removal.clone() }
    }
}

/// Two closures are the same only if one is a clone of the other.
fn same<F: ?Sized>(one: &Option<Arc<F>>, other: &Option<Arc<F>>) -> bool {
    match (one, other) {
        (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs),
        (mine, theirs) => mine.is_none() && theirs.is_none(),
    }
}

/// How a [`Cache`] shall work. Made by [`Cache::new`] and [`Cache::bytes`].
#[must_use = "a configuration does nothing until it is built"]
pub struct CacheConfig<K, T> {
    pub(super) name: Arc<str>,
    pub(super) capacity: u64,
    pub(super) rules: Rules<T>,
    pub(super) eviction: Eviction,
    pub(super) times: Times,
    pub(super) tier: tier::Plan<T>,
    pub(super) keys: PhantomData<fn(K)>,
}

/// Everything that is a time, or a share of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    pub(crate) ttl: Duration,
    pub(crate) jitter: Duration,
    pub(crate) idle: Duration,
    pub(crate) negative_ttl: Duration,
    pub(crate) refresh_ahead: Option<f64>,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) retry_stale_every: Duration,
    pub(crate) soft_timeout: Duration,
    pub(crate) hard_timeout: Duration,
}

impl Times {
    pub(super) const DEFAULT: Self = Self {
        ttl: Duration::MAX,
        jitter: Duration::ZERO,
        idle: Duration::MAX,
        negative_ttl: Duration::ZERO,
        refresh_ahead: None,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        retry_stale_every: Duration::from_secs(30),
        soft_timeout: Duration::MAX,
        hard_timeout: Duration::MAX,
    };

    /// What cannot work of a cache of this size and with these times.
    pub(super) fn faults(&self, capacity: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        let Self { ttl, idle, negative_ttl, refresh_ahead, retry_stale_every, soft_timeout, hard_timeout, .. } = *self;
        check::at_least(&mut faults, "capacity", capacity, 1);
        check::nonzero(&mut faults, "ttl", ttl, "nothing would ever be found; leave the cache out");
        check::nonzero(&mut faults, "idle", idle, "nothing would ever be found; leave `idle` out");
        if negative_ttl > Duration::from_secs(60) {
            let problem = format!("{} is too long to go on believing that it fails; use a few seconds, at most 60", Seconds(negative_ttl));
            faults.push(Fault::new("negative_ttl", problem));
        }
        if let Some(share) = refresh_ahead {
            check::fraction(&mut faults, "refresh_ahead", share);
        }
        check::nonzero(&mut faults, "retry_stale_every", retry_stale_every, "every caller would try again; use some seconds");
        check::nonzero(&mut faults, "load_timeouts", hard_timeout, "no load could succeed; use `Duration::MAX` for no limit");
        if soft_timeout > hard_timeout {
            let (soft, hard) = (Seconds(soft_timeout), Seconds(hard_timeout));
            let problem = format!("the soft timeout ({soft}) is longer than the hard one ({hard}), so it could never end; lower it");
            faults.push(Fault::new("load_timeouts", problem));
        }
        faults
    }
}

/// The setters that a [`CacheConfig`] and [`Caching`](super::Caching) have in common.
macro_rules! setters_of_times {
    () => {
        /// How long an entry is fresh, unless it says so [itself](super::Loaded::ttl). Less than a millisecond counts as one.
        /// **Default**: [`Duration::MAX`], for ever; set it wherever the truth may change.
        pub const fn ttl(mut self, ttl: Duration) -> Self {
            self.times.ttl = ttl;
            self
        }

        /// Each entry is fresh for longer by a random time of up to this, so that what was loaded together does not expire together.
        /// **Default**: zero.
        pub const fn jitter(mut self, most: Duration) -> Self {
            self.times.jitter = most;
            self
        }

        /// An entry that nobody asked for in this time is removed, however fresh. **Default**: [`Duration::MAX`], never.
        pub const fn idle(mut self, idle: Duration) -> Self {
            self.times.idle = idle;
            self
        }

        /// How long a load's failure is remembered: until then, who asks for that key is told so at once, by a rejection
        /// ([`LoadFailed`](crate::RejectedKind::LoadFailed)) that quotes the error and says when to come back. Only failures of the operation itself are remembered, not what a
        /// policy rejected. At most 1 minute. **Default**: zero, failures are not remembered; if it hurts, a few seconds are enough.
        pub const fn negative_ttl(mut self, ttl: Duration) -> Self {
            self.times.negative_ttl = ttl;
            self
        }

        /// An entry that is asked for after this share of its ttl is loaded anew before it expires: by the caller who found it so, while
        /// all others go on with the value they have. Between 0 and 1. **Default**: off.
        pub const fn refresh_ahead(mut self, share: f64) -> Self {
            self.times.refresh_ahead = Some(share);
            self
        }

        /// For this long after its ttl an entry is still given to everybody at once, except to the one caller who loads it anew. RFC 5861 calls
        /// it so. **Default**: zero.
        pub const fn stale_while_revalidate(mut self, time: Duration) -> Self {
            self.times.stale_while_revalidate = time;
            self
        }

        /// For this long after its ttl an entry is given to those whose load failed, whatever it failed with: the last good answer. RFC 5861
        /// calls it so. **Default**: zero.
        pub const fn stale_if_error(mut self, time: Duration) -> Self {
            self.times.stale_if_error = time;
            self
        }

        /// After a load that failed, its old value is given without another try for this long; twice, three and at most four times this long after
        /// further failures. **Default**: 30 s.
        pub const fn retry_stale_every(mut self, time: Duration) -> Self {
            self.times.retry_stale_every = time;
            self
        }

        /// How long a caller waits for a load where there is an old value to go on with (`soft`), and how long a load may take at all
        /// (`hard`): then it fails with [`Timeout`](crate::RejectedKind::Timeout). [`Duration::MAX`] is no limit. **Default**: no limits; in a pipeline its own timeouts hold.
        pub const fn load_timeouts(mut self, soft: Duration, hard: Duration) -> Self {
            self.times.soft_timeout = soft;
            self.times.hard_timeout = hard;
            self
        }
    };
}
pub(super) use setters_of_times;

impl<K, T> CacheConfig<K, T> {
    pub(super) fn new(capacity: u64, weigher: Option<Rule<T, u64>>) -> Self {
        Self {
            name: Arc::from("cache"),
            capacity,
            rules: Rules { weigher, ..Rules::default() },
            eviction: Eviction::default(),
            times: Times::DEFAULT,
            tier: tier::Plan::default(),
            keys: PhantomData,
        }
    }

    /// What its rejections call it. **Default**: `cache`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Which entry makes room for a new one. **Default**: [`Eviction::S3Fifo`], for it has the best hit rate.
    pub const fn eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    setters_of_times!();

    /// How long a value is fresh, as the value itself says: a token knows when it ends, a "not found" should not last as long as a find.
    /// `None` is the cache's [`ttl`](Self::ttl), and zero keeps it not at all. It is asked once for each value that comes in, by whatever door: [`insert`](Cache::insert),
    /// a load, a call of a pipeline. What a [`Loaded`](super::Loaded::ttl) says goes before it. **Default**: the cache's ttl for all.
    ///
    /// ```
    /// use std::time::Duration;
    /// use steadfast::Cache;
    ///
    /// #[derive(Clone)]
    /// struct Token { text: String, expires_in: Duration }
    ///
    /// let tokens: Cache<String, Token> = Cache::new(100)
    ///     .ttl_of(|token: &Token| Some(token.expires_in.saturating_sub(Duration::from_secs(30))))
    ///     .tags_of(|token: &Token| token.text.split('.').next().map(str::to_owned))
    ///     .build()?;
    /// let of = |secs| Token { text: "eu.xyz".to_owned(), expires_in: Duration::from_secs(secs) };
    /// assert!(tokens.insert("ann", of(3_600)));
    /// assert!(!tokens.insert("bob", of(20)), "it would be over too soon");
    /// assert_eq!(tokens.invalidate_tag("eu"), 1);
    /// # Ok::<_, steadfast::ConfigError>(())
    /// ```
    pub fn ttl_of(mut self, ttl: impl Fn(&T) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.rules.ttl_of = Some(Arc::new(ttl));
        self
    }

    /// Tags of a value, as the value itself says, for [`invalidate_tag`](Cache::invalidate_tag); asked when [`ttl_of`](Self::ttl_of) is. Those of a
    /// [`Loaded`](super::Loaded::tag) come on top. **Default**: none.
    pub fn tags_of<S: Into<String>, I: IntoIterator<Item = S>>(mut self, tags: impl Fn(&T) -> I + Send + Sync + 'static) -> Self {
        self.rules.tags_of = Some(Arc::new(move |value| tags(value).into_iter().map(Into::into).collect()));
        self
    }

    /// Is given every value that leaves, once, and told why: to close a connection, to count, to keep it elsewhere. It runs in whatever call removes the
    /// value, under no lock, so it may use the cache itself; a panic of it is logged, and goes no further. Keys are [not kept](super#what-is-kept), so
    /// put into the value what you need to know. Not told: what was never kept, and what goes with the cache itself when its last handle is dropped.
    /// **Default**: nobody is told.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    /// use steadfast::{Cache, RemovalCause};
    ///
    /// let left = Arc::new(Mutex::new(Vec::new()));
    /// let of_listener = Arc::clone(&left);
    /// let cache: Cache<u8, &str> =
    ///     Cache::new(10).on_removal(move |value, cause| of_listener.lock().unwrap().push((value, cause))).build()?;
    /// cache.insert(&1, "one");
    /// cache.insert(&1, "uno");
    /// cache.remove(&1);
    /// assert_eq!(*left.lock().unwrap(), [("one", RemovalCause::Replaced), ("uno", RemovalCause::Removed)]);
    /// # Ok::<_, steadfast::ConfigError>(())
    /// ```
    pub fn on_removal(mut self, listener: impl Fn(T, RemovalCause) + Send + Sync + 'static) -> Self {
        self.rules.on_removal = Some(Arc::new(listener));
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    /// A capacity of zero; a `ttl`, `idle` or `retry_stale_every` of zero; a `refresh_ahead` that is no share; a `negative_ttl` of more than a minute; a soft timeout
    /// longer than the hard one, or a timeout of zero.
    pub fn build(self) -> Result<Cache<K, T>, ConfigError> {
        ConfigError::check(format!("cache `{}`", self.name), self.faults())?;
        Ok(Cache::of(self))
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = self.times.faults(self.capacity);
        self.tier.faults(&mut faults);
        faults
    }
}

impl<K, T> Clone for CacheConfig<K, T> {
    fn clone(&self) -> Self {
        let Self { name, capacity, rules, eviction, times, tier, keys } = self;
        let (name, rules, tier) = (Arc::clone(name), rules.clone(), tier.clone());
        Self { name, capacity: *capacity, rules, eviction: *eviction, times: *times, tier, keys: *keys }
    }
}

/// Two closures are the same only if one is a clone of the other.
impl<K, T> PartialEq for CacheConfig<K, T> {
    fn eq(&self, other: &Self) -> bool {
        self.rules.is_same(&other.rules)
            && self.tier == other.tier
            && self.name == other.name
            && self.capacity == other.capacity
            && self.eviction == other.eviction
            && self.times == other.times
    }
}

impl<K, T> fmt::Debug for CacheConfig<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.rules.weigher.is_some() { "capacity_bytes" } else { "capacity" };
        f.debug_struct("CacheConfig")
            .field("name", &self.name)
            .field(unit, &self.capacity)
            .field("eviction", &self.eviction)
            .field("times", &self.times)
            .field("second_tier", &self.tier)
            .finish()
    }
}
