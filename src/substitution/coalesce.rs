//! Coalesce: of many who ask the same at the same time, one asks and all get the answer. Also known as *single flight*.
//!
//! When a popular entry of a cache expires, everybody goes to fetch it. With a group, the first caller of a key (the *leader*) runs its own
//! operation; who comes while it runs (a *follower*) waits, and gets a clone of the answer. Nothing is kept: who comes later asks anew.
//!
//! Not for calls that do something each time they are made (an order, a payment), nor where callers may see different answers to the
//! same key: make everything part of the key that the answer depends on, the user for one.
//!
//! ```text
//!             first                         answers
//!   caller ────────────▶ leader ────────────────────────────▶ its answer; clones of it to all followers
//!      │ others             │ dropped, panics, or fails (errors not shared)
//!      ▼                    ▼
//!   follower ◀────────── vacant ───▶ exactly one follower, which runs its own operation
//!      │  no answer, and the leader was called and does not come for `patience`, or runs for longer than `max_wait`
//!      └───▶ one of the followers runs by itself, and leads from then on
//! ```
//!
//! No task is spawned: the leader's operation runs in the leader's own future, and so it may borrow, and be `!Send`. But a future that
//! nobody polls does not run. A leader that its caller has put aside (in a `select!`, say, or in a buffer of futures whose consumer is
//! busy) keeps nobody waiting for ever: the group sees that its operation called for it and that it did not come, and after
//! [`patience`](CoalesceConfig::patience) one of the followers goes on in its place. Whoever is done first then answers for all.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::atomic::{AtomicU32, Ordering};
//! use steadfast::Coalesce;
//!
//! let (prices, fetched) = (Coalesce::new().build()?, AtomicU32::new(0));
//! let fetch = || async {
//!     fetched.fetch_add(1, Ordering::Relaxed);
//!     tokio::task::yield_now().await;
//!     Ok::<_, String>(99)
//! };
//! let (a, b, other) = tokio::join!(prices.call("tea", fetch), prices.call("tea", fetch), prices.call("rice", fetch));
//! assert_eq!((a, b, other), (Ok(99), Ok(99), Ok(99)));
//! assert_eq!(fetched.into_inner(), 2); // tea once, rice once
//! # Ok(()) }
//! ```

mod flight;
mod future;

pub(crate) use future::End;

use crate::fault::{ConfigError, Fault, check};
use flight::Group;
use future::Coalescing;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// More keys in flight are a mistake: each is a running operation.
const MOST_KEYS: u64 = 10_000_000;

/// How a [`Coalesce`] shall work. Made by [`Coalesce::new`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a configuration does nothing until it is built"]
pub struct CoalesceConfig {
    pub(crate) share_errors: bool,
    pub(crate) max_keys: usize,
    pub(crate) patience: Duration,
    pub(crate) max_wait: Duration,
}

impl CoalesceConfig {
    /// Whether followers get the leader's error, too. With `false` the leader keeps it, and the next follower runs its own operation:
    /// one after the other, until one succeeds. **Default**: `true`, for a dependency that just failed should not be asked by a
    /// thousand more.
    pub const fn share_errors(mut self, yes: bool) -> Self {
        self.share_errors = yes;
        self
    }

    /// How many keys may be in flight at a time; a call of one more runs its operation without a group. At least 1, at most 10 million.
    /// **Default**: 10,000.
    pub const fn max_keys(mut self, keys: usize) -> Self {
        self.max_keys = keys;
        self
    }

    /// How long a leader whose operation has called for it may stay unpolled before a follower runs in its place: once to twice this
    /// long, for followers look that often. A leader that merely waits for a slow answer is left alone. **Default**: 1 s, long against
    /// a busy executor.
    pub const fn patience(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// How long followers wait for one leader, however well it seems to be; then one of them runs beside it, and leads. So nobody waits
    /// for ever, not even an operation that asks its own group for its own key. `Duration::MAX` is for ever. **Default**: 30 s.
    pub const fn max_wait(mut self, time: Duration) -> Self {
        self.max_wait = time;
        self
    }

    /// Makes the group, of calls that answer with a `T` or fail with an `E`.
    ///
    /// # Errors
    /// A `max_keys` of 0 or of more than 10 million, a `patience` or `max_wait` of zero.
    pub fn build<T, E>(self) -> Result<Coalesce<T, E>, ConfigError> {
        ConfigError::check("coalesce", self.faults())?;
        Ok(Coalesce { group: Arc::new(Group::new(self)) })
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let max_keys = u64::try_from(self.max_keys).unwrap_or(u64::MAX);
        check::at_least(&mut faults, "max_keys", max_keys, 1);
        check::at_most(&mut faults, "max_keys", max_keys, MOST_KEYS);
        check::nonzero(&mut faults, "patience", self.patience, "every follower would run by itself; use a second");
        check::nonzero(&mut faults, "max_wait", self.max_wait, "every follower would run by itself; to share nothing, leave the group out");
        faults
    }
}

/// A group of calls that share their answers by key. A cheap handle: clones are the same group.
///
/// Alone, it is used by [`call`](Self::call); in a pipeline by [`coalesced`](crate::Request::coalesced).
pub struct Coalesce<T, E> {
    group: Arc<Group<T, E>>,
}

impl Coalesce<(), ()> {
    /// Calls of the same key at the same time are one; [`build`](CoalesceConfig::build) says what they answer with.
    #[expect(clippy::new_ret_no_self, reason = "the configuration comes first: every policy begins like this")]
    pub const fn new() -> CoalesceConfig {
        CoalesceConfig { share_errors: true, max_keys: 10_000, patience: Duration::from_secs(1), max_wait: Duration::from_secs(30) }
    }
}

impl<T, E> Coalesce<T, E> {
    /// The group of a cache, whose settings are known to be good.
    #[cfg(feature = "cache")]
    pub(crate) fn of(config: CoalesceConfig) -> Self {
        Self { group: Arc::new(Group::new(config)) }
    }

    /// Runs `operation`, unless a call of the same key is under way: then waits for that one's answer.
    ///
    /// The key is whatever `key` feeds to a hasher, of which 128 bits are kept: use one type of keys in a group (`1_u32` and `1_i32`
    /// look the same to it). Two keys under way, of a million, are taken for one with a probability of 10^-27; nobody can make such
    /// keys on purpose.
    ///
    /// # Errors
    /// What the operation that ran failed with.
    ///
    /// # Cancel safety
    /// A leader that is dropped drops its operation and hands over to one of its followers; a follower that is dropped is missed by nobody.
    ///
    /// # Panics
    /// As the leader's operation does, in the leader alone: its followers go on without it. And when polled again after it has ended.
    pub fn call<'a, K, F, Fut>(&'a self, key: &K, operation: F) -> impl Future<Output = Result<T, E>> + use<'a, T, E, K, F, Fut>
    where
        T: Clone,
        E: Clone,
        K: Hash + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let joined = self.join(key, None, |_| true, operation);
        async move {
            match joined.await {
                End::Own(answer) | End::Shared(answer) => answer,
                End::OutOfTime => unreachable!("there is no deadline"),
            }
        }
    }

    /// The same, until a deadline that ends the wait of a follower; the operation has to look after itself. Errors that are nobody
    /// else's `concern` are not shared.
    pub(crate) fn join<K, F, Fut>(
        &self,
        key: &K,
        deadline: Option<Instant>,
        concern: fn(&E) -> bool,
        operation: F,
    ) -> Coalescing<'_, T, E, F, Fut>
    where
        K: Hash + ?Sized,
    {
        Coalescing::new(&self.group, self.group.hash(key), deadline, concern, operation)
    }

    /// How many keys are in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.group.in_flight()
    }

    /// What happened since it was made.
    #[must_use]
    pub fn stats(&self) -> CoalesceStats {
        self.group.stats()
    }

    /// What it runs with.
    pub fn config(&self) -> CoalesceConfig {
        self.group.config()
    }

    /// Goes on with other settings, for calls that are under way as well.
    ///
    /// # Errors
    /// What [`build`](CoalesceConfig::build) would refuse; then nothing is changed.
    pub fn reconfigure(&self, config: &CoalesceConfig) -> Result<(), ConfigError> {
        ConfigError::check("coalesce", config.faults())?;
        self.group.set(config);
        Ok(())
    }
}

impl<T, E> Clone for Coalesce<T, E> {
    fn clone(&self) -> Self {
        Self { group: Arc::clone(&self.group) }
    }
}

impl<T, E> fmt::Debug for Coalesce<T, E> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce").field("config", &self.config()).field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

/// What happened in a group; from [`Coalesce::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoalesceStats {
    /// Operations begun by leaders, whether first or after another one.
    pub led: u64,
    /// Callers who got the answer of another one.
    pub shared: u64,
    /// Followers who took over from a leader that was dropped, panicked, or failed with an error that is not shared.
    pub handed_over: u64,
    /// Followers who lost patience and ran beside the leader.
    pub impatient: u64,
    /// Calls that ran without a group, because too many keys were in flight.
    pub alone: u64,
}
