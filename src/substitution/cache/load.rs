//! Loading what is not there: by one for all, with the old value for those whose load failed.

use super::slot::{Failed, Found, Gone};
use super::tier::{Far, Outbox};
use super::{Cache, Inner, Loaded};
use crate::admission::keyed::Hash;
use crate::classify::Judges;
use crate::execution::{Nesting, has_runtime};
use crate::outcome::{Error, Rejected, RejectedKind};
use crate::substitution::CoalesceEnd;
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, lock};
use crate::time;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::hash::Hash as StdHash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a loader is told.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoadContext {
    /// There is a value to go on with: if this load fails, it will be given.
    pub refresh: bool,
    /// When the load will be given up.
    pub deadline: Option<Instant>,
}

impl<K, T> Cache<K, T> {
    /// The value; if there is none that is good enough, the one that `load` comes to, which is kept. Of many who ask for one key, one loads.
    /// See [the module](super) for who refreshes and what is given when a load fails.
    ///
    /// `load` is polled in this future, so it may borrow. It returns a value, or a [`Loaded`] with a ttl and tags of its own.
    ///
    /// # Errors
    /// [`Error::Inner`] with the error of this caller's own load. [`Error::Rejected`] of kind [`LoadFailed`](RejectedKind::LoadFailed) when another one's load failed that this one waited for,
    /// or was [remembered](super::CacheConfig::negative_ttl), or asks for its own key; [`Timeout`](RejectedKind::Timeout) when the hard limit for loads was over;
    /// [`DeadlineExceeded`](RejectedKind::DeadlineExceeded) when that of a call around it was.
    ///
    /// # Cancel safety
    /// Dropped while it loads, it drops the load, and one of those who wait for it loads in its place.
    ///
    /// # Panics
    /// As `load` does; those who waited go on without it.
    pub async fn get_or_load<Q, L, E, F, Fut>(&self, key: &Q, load: F) -> Result<T, Error<E>>
    where
        T: Clone,
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
        L: Into<Loaded<T>>,
        E: 'static,
        F: FnOnce(LoadContext) -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let looked = self.inner.look(self.inner.hash(key), T::clone);
        match looked {
            Looked::Given(value) => Ok(value),
            Looked::Failed(rejected) => Err(Error::Rejected(rejected)),
            Looked::Load(order) => {
                let order = order.named(self.inner.far(key));
                let deadline = Nesting::current().deadline;
                let operation = move |context| async move { load(context).await.map(Into::into).map_err(Error::Inner) };
                order.load(T::clone, deadline, text, always, operation).await.map(|(value, _)| value)
            }
        }
    }

    /// The same with a loader that borrows nothing: it runs in a task of its own, so nobody waits for a refresh, and a load goes on when its caller
    /// goes away. After the [soft timeout](super::CacheConfig::load_timeouts) the old value is given, and what the load comes to is kept all the same.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Cancel safety
    /// Dropping it drops nothing but the wait.
    ///
    /// # Panics
    /// As `load` does, unless it was a refresh; and outside of a tokio runtime, if there is something to load.
    pub async fn get_or_spawn<Q, L, E, F, Fut>(&self, key: &Q, load: F) -> Result<T, Error<E>>
    where
        T: Clone + Send + Sync + 'static,
        K: Borrow<Q>,
        Q: StdHash + ?Sized,
        L: Into<Loaded<T>>,
        E: Send + 'static,
        F: FnOnce(LoadContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send,
    {
        let (key, name) = (self.inner.hash(key), key);
        let (mut order, backup, soft) = match self.inner.look(key, T::clone) {
            Looked::Given(value) => return Ok(value),
            Looked::Failed(rejected) => return Err(Error::Rejected(rejected)),
            Looked::Load(mut order) => {
                let backup = order.backup.take();
                let soft = order.soft_limit(backup.is_some());
                (order.named(self.inner.far(name)), backup, soft)
            }
        };
        order.soft = false;
        let operation = move |context| async move { load(context).await.map(Into::into).map_err(Error::Inner) };
        let mut aborted = self.inner.aborts.subscribe();
        let task = tokio::spawn(async move {
            tokio::select! {
                biased; // or one that is aborted would hand over to one that is about to be
                _ = aborted.changed() => None,
                ended = order.load(T::clone, None, text, always, operation) => Some(ended),
            }
        });
        if let Some(value) = backup {
            return Ok(value);
        }
        match before(soft, task).await {
            Some(Ok(Some(ended))) => ended.map(|(value, _)| value),
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // It was aborted, as when the runtime shuts down; or the wait was long enough.
            other => match self.inner.last_good(key, T::clone) {
                Some(value) => Ok(value),
                None if other.is_none() => Err(Error::Rejected(self.inner.rejected(RejectedKind::Timeout, None))),
                None => Err(Error::Rejected(self.inner.rejected(RejectedKind::LoadFailed, None))),
            },
        }
    }
}

fn text<E: 'static>(error: &E) -> Option<String> {
    Judges::default().text(error)
}

fn always<E>(_: &Error<E>) -> bool {
    true
}

/// What somebody who can load has come upon.
pub(crate) enum Looked<T> {
    Given(T),
    Failed(Rejected),
    Load(Load<T>),
}

/// The order to load a key. Dropped, it is withdrawn.
pub(crate) struct Load<T> {
    inner: Arc<Inner<T>>,
    key: Hash,
    epoch: u64,
    /// An old value, or one that will soon be.
    backup: Option<T>,
    refresh: bool,
    soft: bool,
    far: Far,
}

impl<T> Drop for Load<T> {
    fn drop(&mut self) {
        lock(self.inner.shard(self.key)).leave(self.key, self.refresh);
    }
}

/// A value on its way to those who wait for it. It knows how it is cloned, so that a cache is not asked for `Clone` where it is merely held.
pub(crate) struct Given<T> {
    value: T,
    give: fn(&T) -> T,
}

impl<T> Clone for Given<T> {
    fn clone(&self) -> Self {
        Self { value: (self.give)(&self.value), give: self.give }
    }
}

/// What those who wait for a load hear when it failed.
#[derive(Clone)]
pub(crate) struct Shared {
    failure: Failure,
    /// Whether an old value may be given instead.
    excused: bool,
}

#[derive(Clone)]
enum Failure {
    Operation(Option<Arc<str>>),
    Rejected(Rejected),
}

impl Shared {
    /// One caller's deadline is no news for those who have more time.
    fn concerns_others(&self) -> bool {
        !matches!(&self.failure, Failure::Rejected(rejected) if rejected.kind() == RejectedKind::DeadlineExceeded)
    }
}

impl<T> Inner<T> {
    #[inline]
    pub(crate) fn look(self: &Arc<Self>, key: Hash, give: impl FnOnce(&T) -> T) -> Looked<T> {
        let now = self.now();
        let found = {
            let mut shard = lock(self.shard(key));
            let found = shard.find(key, now, give);
            if shard.is_due(now) {
                let mut gone = Gone::new();
                shard.sweep_some(now, &mut gone);
                drop(shard);
                self.bury(gone);
            }
            found
        };
        match found {
            Found::Hit(value) | Found::Stale(value) => Looked::Given(value),
            other => self.look_further(key, other),
        }
    }

    #[cold]
    fn look_further(self: &Arc<Self>, key: Hash, found: Found<T>) -> Looked<T> {
        let order = |epoch, backup: Option<T>| {
            let refresh = backup.is_some();
            Load { inner: Arc::clone(self), key, epoch, backup, refresh, soft: true, far: Far::default() }
        };
        let order = match found {
            Found::Hit(value) | Found::Stale(value) => return Looked::Given(value),
            Found::Failed(text, wait) => {
                let rejected = self.rejected(RejectedKind::LoadFailed, text.as_deref().map(str::to_owned));
                return Looked::Failed(rejected.with_retry_after(Duration::from_nanos(wait)));
            }
            Found::Refresh(value, epoch) => order(epoch, Some(value)),
            Found::Load(epoch) => order(epoch, None),
        };
        let mut order = order;
        if is_loading(self.id(), key) {
            return match order.backup.take() {
                Some(value) => Looked::Given(value),
                None => Looked::Failed(self.rejected(RejectedKind::LoadFailed, Some("the load asks for its own key".to_owned()))),
            };
        }
        Looked::Load(order)
    }

    /// The order to find out what the second tier has.
    #[cfg(feature = "store")]
    pub(super) fn order(self: &Arc<Self>, key: Hash) -> Load<T> {
        let epoch = lock(self.shard(key)).mark(key, false);
        Load { inner: Arc::clone(self), key, epoch, backup: None, refresh: false, soft: false, far: Far::default() }
    }

    fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }

    pub(crate) fn rejected(&self, kind: RejectedKind, text: Option<String>) -> Rejected {
        let origin = Arc::clone(&lock(&self.settings).origin);
        Rejected::new(kind).in_call(&origin, 0, Duration::ZERO, text)
    }

    fn out_of_time(&self, until: Option<Instant>, hard: Option<Instant>) -> Rejected {
        self.rejected(if until == hard { RejectedKind::Timeout } else { RejectedKind::DeadlineExceeded }, None)
    }

    fn fresh(&self, key: Hash, give: fn(&T) -> T) -> Option<T> {
        let now = self.now();
        lock(self.shard(key)).fresh(key, now, give)
    }

    fn last_good(&self, key: Hash, give: fn(&T) -> T) -> Option<T> {
        let now = self.now();
        lock(self.shard(key)).last_good(key, now, give)
    }

    /// A load came to this. What it is worth now, others may have said meanwhile.
    fn loaded(&self, key: Hash, epoch: u64, loaded: Loaded<T>, far: &Far, outbox: &Outbox) {
        self.loads.add(1);
        if !loaded.keep {
            return;
        }
        let mut ruled = self.ruled(loaded);
        let letter = self.letter(far, &mut ruled);
        let new = self.entry(ruled);
        let now = self.now();
        if let Some(epoch) = self.change(key, now, |shard, gone| shard.store(key, epoch, new, now, gone)) {
            outbox.put(epoch, letter);
        }
    }

    fn load_failed(&self, key: Hash, epoch: u64, shared: &Shared) {
        self.failed_loads.add(1);
        let text = match &shared.failure {
            Failure::Operation(text) => Some(text.clone()),
            Failure::Rejected(_) => None,
        };
        let remembers = text.is_some() && !lock(&self.settings).times.negative_ttl.is_zero();
        if remembers {
            self.timed.store(true, Ordering::Relaxed);
        }
        let (now, failure) = (self.now(), Failed { excused: shared.excused, text });
        self.change(key, now, |shard, gone| shard.failed(key, epoch, failure, now, gone));
    }
}

impl<T> Load<T> {
    /// Under which name the second tier knows it.
    pub(crate) fn named(mut self, far: Far) -> Self {
        self.far = far;
        self
    }

    #[cfg(feature = "store")]
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When whoever has an old value to go on with has waited long enough.
    fn soft_limit(&self, has_old: bool) -> Option<Instant> {
        let soft = lock(&self.inner.settings).times.soft_timeout;
        if soft == Duration::MAX || !self.soft {
            return None;
        }
        let now = self.inner.now();
        let has_old = has_old || lock(self.inner.shard(self.key)).has_last_good(self.key, now);
        time::after(Instant::now(), soft).filter(|_| has_old)
    }

    /// Loads, or waits for another one who does. `Ok` with an error is an old value, given because of that error.
    ///
    /// `excuses` says of an error whether an old value may be given in its place.
    pub(crate) async fn load<E, F, Fut>(
        mut self,
        give: fn(&T) -> T,
        deadline: Option<Instant>,
        text: impl Fn(&E) -> Option<String>,
        excuses: impl Fn(&Error<E>) -> bool,
        operation: F,
    ) -> Result<(T, Option<Error<E>>), Error<E>>
    where
        F: FnOnce(LoadContext) -> Fut,
        Fut: Future<Output = Result<Loaded<T>, Error<E>>>,
    {
        let backup = self.backup.take();
        let hard = time::after(Instant::now(), lock(&self.inner.settings).times.hard_timeout);
        let until = time::earlier(deadline, hard);
        let (own, outbox) = (Arc::new(Mutex::new(None)), self.inner.outbox());
        let end = {
            let (inner, far, outbox) = (Arc::clone(&self.inner), self.far.clone(), outbox.clone());
            let lead = Lead { inner, key: self.key, epoch: self.epoch, refresh: self.refresh, give, hard, until, far, outbox };
            let (group, key, error) = (&self.inner.group, (self.key, self.epoch), Arc::clone(&own));
            let flight = group.join(&key, until, Shared::concerns_others, move || lead.lead(text, excuses, operation, error));
            before(self.soft_limit(backup.is_some()), flight).await
        };
        let (inner, key) = (&self.inner, self.key);
        // Nobody else waits for that.
        inner.send(&self.far, key, outbox, until).await;
        let shared = match end {
            Some(CoalesceEnd::Own(Ok(given)) | CoalesceEnd::Shared(Ok(given))) => return Ok((given.value, None)),
            Some(CoalesceEnd::Own(Err(shared)) | CoalesceEnd::Shared(Err(shared))) => Some(shared),
            Some(CoalesceEnd::OutOfTime) | None => None,
        };
        let excused = shared.as_ref().is_none_or(|shared| shared.excused);
        let own = lock(&own).take();
        let error = match (own, shared.map(|shared| shared.failure)) {
            (Some(error), _) => error,
            (None, Some(Failure::Rejected(rejected))) => Error::Rejected(rejected),
            (None, Some(Failure::Operation(text))) => {
                Error::Rejected(inner.rejected(RejectedKind::LoadFailed, text.as_deref().map(str::to_owned)))
            }
            (None, None) => Error::Rejected(inner.out_of_time(until, hard)),
        };
        if excused && let Some(value) = backup.or_else(|| inner.last_good(key, give)) {
            return Ok((value, Some(error)));
        }
        Err(error)
    }
}

/// What whoever loads needs of the order.
struct Lead<T> {
    inner: Arc<Inner<T>>,
    key: Hash,
    epoch: u64,
    refresh: bool,
    give: fn(&T) -> T,
    hard: Option<Instant>,
    until: Option<Instant>,
    far: Far,
    outbox: Outbox,
}

impl<T> Lead<T> {
    /// Loads for all. The error itself is for who loads, and goes to `own`.
    async fn lead<E, F, Fut>(
        self,
        text: impl Fn(&E) -> Option<String>,
        excuses: impl Fn(&Error<E>) -> bool,
        operation: F,
        own: Arc<Mutex<Option<Error<E>>>>,
    ) -> Result<Given<T>, Shared>
    where
        F: FnOnce(LoadContext) -> Fut,
        Fut: Future<Output = Result<Loaded<T>, Error<E>>>,
    {
        let Self { inner, key, epoch, refresh, give, hard, until, far, outbox } = self;
        // Whoever led before may have been done between our look and now.
        if !refresh && let Some(value) = inner.fresh(key, give) {
            return Ok(Given { value, give });
        }
        if let Some(value) = inner.promote(&far, (key, epoch), refresh, give, until).await {
            return Ok(Given { value, give });
        }
        let context = LoadContext { refresh, deadline: until };
        let ended = before(hard, while_loading((inner.id(), key), operation(context))).await;
        match ended.unwrap_or_else(|| Err(Error::Rejected(inner.out_of_time(until, hard)))) {
            Ok(loaded) => {
                let value = give(&loaded.value);
                inner.loaded(key, epoch, loaded, &far, &outbox);
                Ok(Given { value, give })
            }
            Err(error) => {
                let failure = match &error {
                    Error::Inner(error) => Failure::Operation(text(error).map(Arc::from)),
                    Error::Rejected(rejected) => Failure::Rejected(rejected.clone()),
                };
                let shared = Shared { failure, excused: refresh || excuses(&error) };
                inner.load_failed(key, epoch, &shared);
                *lock(&own) = Some(error);
                Err(shared)
            }
        }
    }
}

/// What `future` comes to, unless the moment comes first. Without a runtime there are no moments.
pub(crate) async fn before<F: Future>(moment: Option<Instant>, future: F) -> Option<F::Output> {
    let future = pin!(future);
    match moment.filter(|_| has_runtime()) {
        None => Some(future.await),
        Some(moment) => tokio::time::timeout_at(moment, future).await.ok(),
    }
}

thread_local!(static LOADING: RefCell<Vec<(usize, Hash)>> = const { RefCell::new(Vec::new()) });

/// Whether this is asked inside of the load of that key: it would wait for itself.
fn is_loading(cache: usize, key: Hash) -> bool {
    LOADING.try_with(|loading| loading.borrow().contains(&(cache, key))).unwrap_or(false)
}

/// Polls a load so that what it asks for can be told from what others ask for.
async fn while_loading<F: Future>(what: (usize, Hash), load: F) -> F::Output {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            LOADING.with(|loading| loading.borrow_mut().pop());
        }
    }
    let mut load = pin!(load);
    poll_fn(|cx| {
        LOADING.with(|loading| loading.borrow_mut().push(what));
        let _inside = Inside;
        load.as_mut().poll(cx)
    })
    .await
}
