//! Places that several machines share: so many at once, or one, which is a lock.
//!
//! For a dependency that takes so many connections of all your machines together, or for a job that only one of them may do. Where one machine may
//! have its own part for good, a [`Bulkhead`](crate::Bulkhead) costs nanoseconds, and no store.
//!
//! A place is held under random bits that only its holder knows, for a time, which a task renews for as long as the [`HeldPlace`] lives. When a
//! machine dies, its places are free again at the end of that time.
//!
//! **A lock of this kind is not proof.** A machine that was paused may believe that it holds what another holds by now. Where two at once would do
//! harm, and not only work twice, hand [`fence`](HeldPlace::fence) to whatever is being protected, and have it refuse a number lower than one it
//! has seen. (M. Kleppmann, *How to do distributed locking*, 2016.)
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::Key;
//! use steadfast::store::rate::{DistributedSemaphore, MemorySemaphoreStore};
//!
//! let nightly = DistributedSemaphore::lock().name("jobs").store(MemorySemaphoreStore::new()).build()?; // in truth: Redis, or SQLite
//! let job = Key::new("nightly")?;
//! if let Some(place) = nightly.try_acquire(&job).await? {
//!     let report = place.run(async { "done" }).await?; // ended should the place be lost
//!     assert!(nightly.try_acquire(&job).await?.is_none());
//!     # let _ = report;
//!     place.release().await?;
//! }
//! assert!(nightly.try_acquire(&job).await?.is_some());
//! # Ok(()) }
//! ```

mod config;
mod held;
mod line;
mod memory;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod traits;

pub use config::DistributedSemaphoreConfig;
pub use held::HeldPlace;
pub use memory::MemorySemaphoreStore;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteSemaphoreStore, SqliteSemaphoreStoreBuilder};
#[cfg(any(feature = "sqlite", feature = "redis"))]
pub(crate) use traits::check_place;
pub use traits::{AnySemaphoreStore, DynSemaphoreStore, Holder, SemaphoreStore, Taken};

use crate::admission::{Gate, GateFuture, Pass};
use crate::call::Call;
use crate::fault::{ConfigError, Fault};
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::store::{Key, StoreError, StoreErrorKind};
use crate::sync::{Mutex, lock};
use crate::time::{after, earlier};
use held::Claim;
use line::Lines;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Places that several machines share. Clones share it. See the [module](self).
#[derive(Clone)]
pub struct DistributedSemaphore {
    shared: Arc<Shared>,
}

struct Shared {
    config: Mutex<DistributedSemaphoreConfig>,
    store: AnySemaphoreStore,
    name: Arc<str>,
    lines: Lines,
    /// A place was let go of in this process.
    freed: Arc<Notify>,
}

impl DistributedSemaphore {
    /// So many places for each key; it needs a [store](DistributedSemaphoreConfig::store).
    #[expect(clippy::new_ret_no_self, reason = "as with every policy: its settings come first")]
    pub fn new(places: u32) -> DistributedSemaphoreConfig {
        DistributedSemaphoreConfig::new(places)
    }

    /// One place for each key: a lock.
    pub fn lock() -> DistributedSemaphoreConfig {
        DistributedSemaphoreConfig::new(1)
    }

    fn from_config(config: DistributedSemaphoreConfig) -> Self {
        let shared = Shared {
            // There is one, or it would have been a fault.
            store: config.store.clone().unwrap_or_else(|| AnySemaphoreStore::new(MemorySemaphoreStore::new())),
            name: Arc::clone(&config.name),
            lines: Lines::default(),
            freed: Arc::default(),
            config: Mutex::new(config),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a place of `key` if one is free; `None` if not. Those of this process who [wait](Self::acquire) go first.
    ///
    /// # Errors
    /// What keeps the store from answering, within the [deadline](DistributedSemaphoreConfig::deadline).
    ///
    /// # Cancel safety
    /// Dropped while the store is being asked, a place that was taken is let go of by a task.
    pub async fn try_acquire(&self, key: &Key) -> Result<Option<HeldPlace>, StoreError> {
        let key = key.within(&self.shared.name);
        match self.shared.lines.try_enter(&key) {
            Some(_turn) => Ok(self.shared.take(&key).await?.ok()),
            None => Ok(None),
        }
    }

    /// Takes a place of `key`, waiting for one for at most [`max_wait`](DistributedSemaphoreConfig::max_wait), in the order of coming within this
    /// process. Between processes there is no order: each asks a few times a second.
    ///
    /// # Errors
    /// [`BulkheadFull`](RejectedKind::BulkheadFull) when none came free in time; `Custom("semaphore_unavailable")` when the store does not answer.
    ///
    /// # Cancel safety
    /// Dropped, it gives its place in line to the next; a place that was just being taken is let go of by a task.
    pub async fn acquire(&self, key: &Key) -> Result<HeldPlace, Rejected> {
        self.shared.acquire(&key.within(&self.shared.name), None).await
    }

    /// How many places of `key` are held, by whatever machine.
    ///
    /// # Errors
    /// What keeps the store from answering, within the deadline.
    pub async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
        let key = key.within(&self.shared.name);
        within(self.shared.config().deadline, self.shared.store.holders(&key)).await
    }

    /// A copy of what it runs with.
    pub fn config(&self) -> DistributedSemaphoreConfig {
        self.shared.config()
    }

    /// Changes the numbers, while places are held: those keep their time to live until they are renewed. Name and store stay as they are.
    ///
    /// # Errors
    /// Every setting that cannot work or cannot be changed, all at once; nothing is changed then.
    pub fn reconfigure(&self, config: &DistributedSemaphoreConfig) -> Result<(), ConfigError> {
        let mut faults = config.faults();
        let now = self.config();
        for (field, changed) in [("store", config.store.is_some() && now.store != config.store), ("name", now.name != config.name)] {
            if changed {
                faults.push(Fault::new(field, "it cannot change while the semaphore runs; build another one"));
            }
        }
        ConfigError::check("distributed semaphore", faults)?;
        *lock(&self.shared.config) = config.clone();
        Ok(())
    }
}

/// What the store does, as long as it may take.
async fn within<T>(deadline: Duration, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match after(Instant::now(), deadline) {
        Some(end) => match tokio::time::timeout_at(end, step).await {
            Ok(done) => done,
            Err(_) => Err(StoreError::new(StoreErrorKind::OutcomeUnknown).with_detail("no answer within the deadline")),
        },
        None => step.await,
    }
}

impl Shared {
    fn config(&self) -> DistributedSemaphoreConfig {
        lock(&self.config).clone()
    }

    /// Asks once. Else: when the first place comes free, where somebody knows.
    async fn take(&self, key: &Key) -> Result<Result<HeldPlace, Option<Duration>>, StoreError> {
        let config = self.config();
        let asked = Instant::now();
        let claim = Claim::new(self.store.clone(), key.clone(), Arc::clone(&self.freed));
        match within(config.deadline, self.store.take(key, claim.holder(), config.places, config.ttl)).await {
            Ok(Taken::Held { fence }) => Ok(Ok(claim.held(fence, asked, &config))),
            Ok(Taken::Full { retry_after }) => {
                claim.forget();
                Ok(Err(retry_after))
            }
            // It may have been taken: dropping the claim lets go of it.
            Err(error) => Err(error),
        }
    }

    async fn acquire(&self, key: &Key, deadline: Option<Instant>) -> Result<HeldPlace, Rejected> {
        let config = self.config();
        let full = || Rejected::new(RejectedKind::BulkheadFull);
        let end = earlier(after(Instant::now(), config.max_wait), deadline);
        let in_time = |moment: Instant| end.is_none_or(|end| moment < end);
        let _turn = match end {
            _ if config.max_wait.is_zero() => self.lines.try_enter(key).ok_or_else(full)?,
            Some(end) => tokio::time::timeout_at(end, self.lines.enter(key)).await.map_err(|_| full())?,
            None => self.lines.enter(key).await,
        };
        loop {
            // Before asking, so that a place that comes free in between is not missed.
            let freed = self.freed.notified();
            let unavailable = |_| Rejected::new(RejectedKind::Custom("semaphore_unavailable"));
            let retry_after = match self.take(key).await.map_err(unavailable)? {
                Ok(held) => return Ok(held),
                Err(retry_after) => retry_after,
            };
            let wait = config.next_wait().min(retry_after.unwrap_or(Duration::MAX).max(Duration::from_millis(1)));
            if config.max_wait.is_zero() || !after(Instant::now(), wait).is_some_and(in_time) {
                return Err(full());
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = freed => {}
            }
        }
    }
}

/// Each attempt holds a place of the [key](Call::key) of its call while it runs; calls without one share a key of their own.
impl Gate for DistributedSemaphore {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        Box::pin(async move {
            let name = &self.shared.name;
            let key = match call.key() {
                Some(key) if !key.is_empty() => Key::new(key).map(|key| key.within(name)),
                _ => Key::of_parts([&**name, ""]),
            };
            let key = key.map_err(|_| Rejected::new(RejectedKind::Custom("semaphore_unavailable")))?;
            let held = self.shared.acquire(&key, call.attempt().deadline()).await?;
            Ok(Box::new(held) as Box<dyn Pass>)
        })
    }

    fn name(&self) -> &str {
        &self.shared.name
    }
}

impl Pass for HeldPlace {
    fn settle(self: Box<Self>, _: Outcome) {} // dropping it lets go
}

impl fmt::Debug for DistributedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedSemaphore").field("config", &self.config()).finish_non_exhaustive()
    }
}
