//! What a distributed semaphore is told.

use super::{AnySemaphoreStore, DistributedSemaphore, SemaphoreStore};
use crate::fault::{ConfigError, Fault, check};
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;

/// Renewed three times in it; a machine that died blocks its places no longer.
const TTL: Duration = Duration::from_secs(30);
/// A few questions a second for each process that waits.
const RETRY: Duration = Duration::from_millis(100);
/// Nobody who waits means to ask less often.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// Longer than a store takes by much.
const DEADLINE: Duration = Duration::from_millis(500);

/// How a [`DistributedSemaphore`] shall work. Made by its constructors.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built"]
pub struct DistributedSemaphoreConfig {
    pub(super) places: u32,
    pub(super) store: Option<AnySemaphoreStore>,
    pub(super) name: Arc<str>,
    pub(super) ttl: Duration,
    pub(super) heartbeat: bool,
    pub(super) max_wait: Duration,
    pub(super) retry_every: Duration,
    pub(super) deadline: Duration,
}

impl DistributedSemaphoreConfig {
    pub(super) fn new(places: u32) -> Self {
        Self {
            places,
            store: None,
            name: Arc::from("semaphore"),
            ttl: TTL,
            heartbeat: true,
            max_wait: Duration::ZERO,
            retry_every: RETRY,
            deadline: DEADLINE,
        }
    }

    /// Where the places are kept. There is no default: without one it cannot be built.
    pub fn store(mut self, store: impl SemaphoreStore) -> Self {
        self.store = Some(AnySemaphoreStore::new(store));
        self
    }

    /// The same, of a store that several share.
    pub fn any_store(mut self, store: AnySemaphoreStore) -> Self {
        self.store = Some(store);
        self
    }

    /// Its name: the first part of each key, and what pipelines call it. **Default**: `semaphore`.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a place is held unless it is renewed: so long is it blocked when its holder dies. **Default**: 30 s.
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Whether a task renews each place, three times in its time to live, for as long as it is held. Without, a place ends with its time unless it is
    /// [renewed](super::HeldPlace::renew) by hand or by [`run`](super::HeldPlace::run). **Default**: true.
    pub const fn heartbeat(mut self, heartbeat: bool) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// How long to wait for a place. **Default**: zero, refuse at once.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// How often the first in line of a process asks again; up to half of it is left off, at random, so that processes do not ask together.
    /// **Default**: 100 ms.
    pub const fn retry_every(mut self, pause: Duration) -> Self {
        self.retry_every = pause;
        self
    }

    /// How long the store may take for one step. **Default**: 500 ms.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes the semaphore. Asks nobody.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once.
    pub fn build(self) -> Result<DistributedSemaphore, ConfigError> {
        ConfigError::check("distributed semaphore", self.faults())?;
        Ok(DistributedSemaphore::from_config(self))
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "places", u64::from(self.places), 1);
        if self.store.is_none() {
            faults.push(Fault::new("store", "there is none; for the places of one process give it a `MemorySemaphoreStore`"));
        }
        if self.name.is_empty() {
            faults.push(Fault::new("name", "it is empty; semaphores that share a store are told apart by their names"));
        }
        if self.ttl < Duration::from_millis(10) {
            faults.push(Fault::new("ttl", format!("{:?} leaves no time to renew; it must be at least 10 ms", self.ttl)));
        }
        check::nonzero(&mut faults, "retry_every", self.retry_every, "asking all the time serves nobody");
        if self.retry_every > LONGEST_PAUSE {
            faults.push(Fault::new(
                "retry_every",
                format!("{:?} is longer than an hour; for no waiting, leave `max_wait` at zero", self.retry_every),
            ));
        }
        check::nonzero(&mut faults, "deadline", self.deadline, "a store needs a few milliseconds");
        faults
    }

    pub(super) fn next_wait(&self) -> Duration {
        self.retry_every.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}
