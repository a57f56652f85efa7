//! What a shared circuit is told.

use super::SharedBreaker;
use crate::admission::CircuitBreaker;
use crate::fault::{ConfigError, Fault, check};
use crate::store::{AnyStore, Store};
use std::sync::Arc;
use std::time::Duration;

/// Soon enough that a fleet stops within a second, and two questions a second of each process are nothing to a store.
const EVERY: Duration = Duration::from_millis(500);
/// Longer than a store takes by much, and nobody waits for it.
const DEADLINE: Duration = Duration::from_millis(250);
/// Less often would not be together any more; more often would be a load.
const PACE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));

/// How a circuit shall be shared. Made by [`SharedBreaker::new`].
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is built"]
pub struct SharedBreakerConfig {
    pub(super) name: Arc<str>,
    pub(super) breaker: CircuitBreaker,
    pub(super) store: Option<AnyStore>,
    pub(super) every: Duration,
    pub(super) deadline: Duration,
}

impl SharedBreakerConfig {
    pub(super) fn new(name: Arc<str>, breaker: CircuitBreaker) -> Self {
        Self { name, breaker, store: None, every: EVERY, deadline: DEADLINE }
    }

    /// Where it is shared: one that the others see, and that can store [only where there is nothing](crate::store::Capabilities::if_absent), or
    /// the bound on probes is each process's own. Not one that [hides its failures](Store::fail_soft). There is no default: without one it cannot
    /// be built.
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(store.into_any());
        self
    }

    /// How often it looks what the others say; up to a tenth of it is left off, at random, so that they do not look together. What happens here
    /// is said at once. **Default**: 500 ms.
    pub const fn every(mut self, pause: Duration) -> Self {
        self.every = pause;
        self
    }

    /// How long the store may take for one step, for which no call waits. **Default**: 250 ms.
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Begins to share, by a task. Asks nobody here.
    ///
    /// # Errors
    /// Every setting that cannot work, all at once; among them, that there is no tokio runtime to run the task.
    pub fn build(self) -> Result<SharedBreaker, ConfigError> {
        let runtime = tokio::runtime::Handle::try_current();
        let mut faults = self.faults();
        if runtime.is_err() {
            faults.push(Fault::new("runtime", "there is none; build it where a tokio runtime is running"));
        }
        ConfigError::check("shared breaker", faults)?;
        Ok(SharedBreaker::begin(self))
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.name.is_empty() {
            faults.push(Fault::new("name", "it is empty; circuits that share a store are told apart by their names"));
        }
        if self.store.is_none() {
            faults.push(Fault::new("store", "there is none; give it one that the other processes see, such as a `RedisStore`"));
        }
        if self.every < PACE.0 || self.every > PACE.1 {
            faults.push(Fault::new("every", format!("{:?} is not between {:?} and {:?}", self.every, PACE.0, PACE.1)));
        }
        check::nonzero(&mut faults, "deadline", self.deadline, "a store needs a few milliseconds");
        if self.deadline > PACE.1 {
            faults
                .push(Fault::new("deadline", format!("{:?} is longer than {:?}; what comes so late is of no use", self.deadline, PACE.1)));
        }
        faults
    }
}
