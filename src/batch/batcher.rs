//! Callers who ask one by one, answered together.

use crate::execution::has_runtime;
use crate::fault::{ConfigError, Fault, check};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use crate::time;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

type Load<K, V, E> = dyn Fn(Vec<K>) -> BoxFuture<'static, Result<Vec<Result<V, E>>, E>> + Send + Sync;

/// Settings of a [`Batcher`].
#[must_use = "settings do nothing until `build`"]
pub struct BatcherConfig<K, V, E> {
    load: Arc<Load<K, V, E>>,
    max_size: usize,
    max_wait: Duration,
}

impl<K, V, E> BatcherConfig<K, V, E> {
    /// A batch of so many keys goes at once. At least 1. **Default**: 100, which most query languages take in one `IN (..)`.
    pub const fn max_size(mut self, keys: usize) -> Self {
        self.max_size = keys;
        self
    }

    /// A batch goes when its first caller has waited so long. [`Duration::ZERO`] gathers those who ask in the same turn of the executor. **Default**:
    /// 2 ms: short against any query it saves.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// Builds the batcher.
    ///
    /// # Errors
    /// `max_size` is 0.
    pub fn build(self) -> Result<Batcher<K, V, E>, ConfigError> {
        let mut faults: Vec<Fault> = Vec::new();
        check::at_least(&mut faults, "max_size", self.max_size as u64, 1);
        ConfigError::check("batcher", faults)?;
        let Self { load, max_size, max_wait } = self;
        let counters = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
        Ok(Batcher { shared: Arc::new(Gathering { load, max_size, max_wait, open: Mutex::new(None), counters }) })
    }
}

impl<K, V, E> fmt::Debug for BatcherConfig<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatcherConfig").field("max_size", &self.max_size).field("max_wait", &self.max_wait).finish_non_exhaustive()
    }
}

/// Gathers keys until there are enough of them or the first has waited long enough, loads them together, and gives everybody their own result.
/// (The pattern is known as a data loader.) Cloning shares it.
///
/// The same key asked for twice in one batch is loaded once. The load runs in the futures of those who wait for it: whoever is polled drives it, and
/// it goes on when some of them are dropped. A key that nobody waits for any more when its batch goes is left out.
pub struct Batcher<K, V, E> {
    shared: Arc<Gathering<K, V, E>>,
}

struct Gathering<K, V, E> {
    load: Arc<Load<K, V, E>>,
    max_size: usize,
    max_wait: Duration,
    open: Mutex<Option<Batch<K, V, E>>>,
    /// Calls, batches, keys.
    counters: [AtomicU64; 3],
}

/// A batch, as each of its callers holds it.
struct Batch<K, V, E> {
    keys: Arc<Mutex<Keys<K>>>,
    full: Arc<Notify>,
    loaded: Shared<BoxFuture<'static, Arc<Loaded<V, E>>>>,
}

impl<K, V, E> Clone for Batch<K, V, E> {
    fn clone(&self) -> Self {
        Self { keys: Arc::clone(&self.keys), full: Arc::clone(&self.full), loaded: self.loaded.clone() }
    }
}

/// The keys, in their order, and how many callers wait for each.
struct Keys<K> {
    list: Vec<(K, usize)>,
    places: HashMap<K, usize>,
}

enum Loaded<V, E> {
    /// By the places of the keys; `None` for those that were left out.
    Each(Vec<Option<Result<V, E>>>),
    Failed(E),
    /// What the panic said, for the first who asks.
    Panicked(Mutex<Option<Box<dyn Any + Send>>>),
    NoRuntime,
}

/// What a [`Batcher`] has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchStats {
    /// How often somebody asked.
    pub calls: u64,
    /// How many batches were loaded.
    pub batches: u64,
    /// How many keys were in them.
    pub keys: u64,
}

/// Why there is no value for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError<E> {
    /// The load failed, for this key or as a whole.
    Failed(E),
    /// The load answered for fewer keys than it was asked for.
    Missing,
    /// The load panicked. The panic itself went on in another caller of the same batch.
    Panicked,
    /// A timer was needed, and there is no tokio runtime here.
    NoRuntime,
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Missing => f.write_str("the batch was loaded, and there was no answer for this key"),
            Self::Panicked => f.write_str("the load of the batch panicked"),
            Self::NoRuntime => f.write_str("a batch waits for more keys, and there is no tokio runtime to wait in"),
        }
    }
}

impl<E: std::error::Error> std::error::Error for BatchError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Failed(error) = self { error.source() } else { None }
    }
}

impl<K, V, E> Batcher<K, V, E>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// A batcher that loads with `load`: given the keys, it answers for each of them in the same order, or fails as a whole.
    ///
    /// ```
    /// # #[derive(Clone, Debug)] struct Db;
    /// # impl Db { async fn names(&self, ids: &[u64]) -> Result<std::collections::HashMap<u64, String>, String> { Ok(ids.iter().map(|id| (*id, format!("n{id}"))).collect()) } }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use steadfast::batch::{BatchError, Batcher};
    /// use steadfast::Pipeline;
    ///
    /// let (db, pipeline) = (Db, Pipeline::database("users").build()?);
    /// let names = Batcher::new(move |ids: Vec<u64>| {
    ///     let (db, pipeline) = (db.clone(), pipeline.clone());
    ///     async move {
    ///         let found = pipeline.call(|| db.names(&ids)).await.map_err(|error| error.to_string())?;
    ///         Ok(ids.iter().map(|id| found.get(id).cloned().ok_or_else(|| format!("no user {id}"))).collect())
    ///     }
    /// })
    /// .build()?;
    /// assert_eq!(names.get(7).await.as_deref(), Ok("n7"));
    /// # Ok(()) }
    /// ```
    #[expect(clippy::new_ret_no_self, reason = "as every policy's constructor, it gives the settings")]
    pub fn new<F, Fut>(load: F) -> BatcherConfig<K, V, E>
    where
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<Result<V, E>>, E>> + Send + 'static,
    {
        BatcherConfig { load: Arc::new(move |keys| load(keys).boxed()), max_size: 100, max_wait: Duration::from_millis(2) }
    }

    /// The value of one key, loaded with those that others ask for at the same time.
    ///
    /// # Errors
    /// [`BatchError`].
    ///
    /// # Cancel safety
    /// Dropped, it is as if nobody had asked: the others of its batch get their answers, and a key that nobody else wants is not loaded.
    ///
    /// # Panics
    /// When the load panics, one of its callers does so too; the others get [`BatchError::Panicked`].
    pub async fn get(&self, key: K) -> Result<V, BatchError<E>> {
        let member = self.join(key);
        let loaded = member.batch.loaded.clone().await;
        match &*loaded {
            Loaded::Each(results) => match results.get(member.place) {
                Some(Some(Ok(value))) => Ok(value.clone()),
                Some(Some(Err(error))) => Err(BatchError::Failed(error.clone())),
                Some(None) | None => Err(BatchError::Missing),
            },
            Loaded::Failed(error) => Err(BatchError::Failed(error.clone())),
            Loaded::NoRuntime => Err(BatchError::NoRuntime),
            Loaded::Panicked(panic) => {
                let panic = lock(panic).take();
                panic.map_or(Err(BatchError::Panicked), |panic| resume_unwind(panic))
            }
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> BatchStats {
        let [calls, batches, keys] = self.shared.counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        BatchStats { calls, batches, keys }
    }

    fn join(&self, key: K) -> Member<K, V, E> {
        let shared = &self.shared;
        shared.counters[0].fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&shared.open);
        let batch = open.get_or_insert_with(|| begin(shared)).clone();
        let mut keys = lock(&batch.keys);
        let place = match keys.places.get(&key) {
            Some(place) => *place,
            None => {
                let place = keys.list.len();
                keys.places.insert(key.clone(), place);
                keys.list.push((key, 0));
                place
            }
        };
        keys.list[place].1 += 1;
        let full = keys.list.len() >= shared.max_size;
        drop(keys);
        if full {
            *open = None;
            drop(open);
            batch.full.notify_one();
        }
        Member { batch, place }
    }
}

fn begin<K, V, E>(shared: &Arc<Gathering<K, V, E>>) -> Batch<K, V, E>
where
    K: Send + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let keys = Arc::new(Mutex::new(Keys { list: Vec::new(), places: HashMap::new() }));
    let full = Arc::new(Notify::new());
    let end = time::after(Instant::now(), shared.max_wait);
    let (gathering, gathered, filled) = (Arc::clone(shared), Arc::clone(&keys), Arc::clone(&full));
    let loaded = async move {
        if gathering.max_wait.is_zero() {
            tokio::task::yield_now().await;
        } else if !has_runtime() {
            gathering.close(&gathered);
            return Arc::new(Loaded::NoRuntime);
        } else if let Some(end) = end {
            tokio::select! { biased; () = filled.notified() => {}, () = sleep_until(end) => {} }
        } else {
            filled.notified().await;
        }
        gathering.close(&gathered);
        let list = std::mem::take(&mut lock(&gathered).list);
        let wanted: Vec<bool> = list.iter().map(|(_, waiting)| *waiting > 0).collect();
        let keys: Vec<K> = list.into_iter().filter(|(_, waiting)| *waiting > 0).map(|(key, _)| key).collect();
        gathering.counters[1].fetch_add(1, Ordering::Relaxed);
        gathering.counters[2].fetch_add(keys.len() as u64, Ordering::Relaxed);
        // The closure is the user's code as much as its future is.
        let load = AssertUnwindSafe(async { (gathering.load)(keys).await }).catch_unwind();
        Arc::new(match load.await {
            Ok(Ok(results)) => {
                let mut results = results.into_iter();
                Loaded::Each(wanted.into_iter().map(|wanted| wanted.then(|| results.next()).flatten()).collect())
            }
            Ok(Err(error)) => Loaded::Failed(error),
            Err(panic) => Loaded::Panicked(Mutex::new(Some(panic))),
        })
    };
    Batch { keys, full, loaded: loaded.boxed().shared() }
}

impl<K, V, E> Gathering<K, V, E> {
    /// Nobody joins this batch any more.
    fn close(&self, keys: &Arc<Mutex<Keys<K>>>) {
        let mut open = lock(&self.open);
        let closed = open.take_if(|open| Arc::ptr_eq(&open.keys, keys));
        drop(open);
        drop(closed);
    }
}

/// One caller of a batch.
struct Member<K, V, E> {
    batch: Batch<K, V, E>,
    place: usize,
}

impl<K, V, E> Drop for Member<K, V, E> {
    fn drop(&mut self) {
        // Empty once the batch has gone.
        if let Some((_, waiting)) = lock(&self.batch.keys).list.get_mut(self.place) {
            *waiting -= 1;
        }
    }
}

impl<K, V, E> Clone for Batcher<K, V, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V, E> fmt::Debug for Batcher<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gathering { max_size, max_wait, .. } = &*self.shared;
        f.debug_struct("Batcher").field("max_size", max_size).field("max_wait", max_wait).finish_non_exhaustive()
    }
}
