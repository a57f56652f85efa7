//! A place that is held, and how it is kept and let go of.

use super::{AnySemaphoreStore, DistributedSemaphoreConfig, Holder, SemaphoreStore, within};
use crate::store::{Key, StoreError, StoreErrorKind};
use crate::time::after;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// A place that is being asked for. Dropped before anybody knows whether it was had, it is let go of, by a task.
pub(super) struct Claim(Option<Place>);

/// What it takes to let go of a place.
#[derive(Clone)]
struct Place {
    store: AnySemaphoreStore,
    key: Key,
    holder: Holder,
    freed: Arc<Notify>,
}

impl Place {
    async fn release(&self) -> Result<bool, StoreError> {
        let released = self.store.release(&self.key, self.holder).await;
        self.freed.notify_waiters();
        released
    }

    /// Without a runtime it is free at the end of its time.
    fn release_by_task(self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { self.release().await });
        }
    }
}

impl Claim {
    pub(super) fn new(store: AnySemaphoreStore, key: Key, freed: Arc<Notify>) -> Self {
        Self(Some(Place { store, key, holder: Holder::random(), freed }))
    }

    pub(super) fn holder(&self) -> Holder {
        self.0.as_ref().map_or_else(Holder::random, |place| place.holder)
    }

    /// It was not had.
    pub(super) fn forget(mut self) {
        self.0 = None;
    }

    /// It was had, by a step that began at `asked`.
    pub(super) fn held(mut self, fence: u64, asked: Instant, config: &DistributedSemaphoreConfig) -> HeldPlace {
        let place = self.0.take();
        let (until, _) = watch::channel(after(asked, config.ttl));
        let keep = place.map(|place| Keep { place, until, ttl: config.ttl, deadline: config.deadline });
        let keep = keep.map(Arc::new);
        let heart = keep.as_ref().filter(|_| config.heartbeat).and_then(|keep| {
            let keep = Arc::clone(keep);
            let runtime = tokio::runtime::Handle::try_current().ok()?;
            Some(runtime.spawn(async move { keep.beat().await }).abort_handle())
        });
        HeldPlace { keep, fence, heart }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            place.release_by_task();
        }
    }
}

/// What renews a place.
struct Keep {
    place: Place,
    /// Until when it is held, as far as is known here; the past when it was lost. `None` for ever.
    until: watch::Sender<Option<Instant>>,
    ttl: Duration,
    deadline: Duration,
}

impl Keep {
    fn is_held(&self) -> bool {
        self.until.borrow().is_none_or(|until| Instant::now() < until)
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        if !self.is_held() {
            return Ok(false);
        }
        let asked = Instant::now();
        let renewed = within(self.deadline, self.place.store.renew(&self.place.key, self.place.holder, self.ttl)).await?;
        self.until.send_replace(if renewed { after(asked, self.ttl) } else { Some(asked) });
        Ok(renewed)
    }

    /// Renews until it is lost.
    async fn beat(&self) {
        let pause = (self.ttl / 3).max(Duration::from_millis(1));
        loop {
            tokio::time::sleep(pause).await;
            match self.renew().await {
                Ok(false) => return,
                // As long as its time is not over, there may be another chance.
                Err(_) if !self.is_held() => return,
                Ok(true) | Err(_) => {}
            }
        }
    }

    /// Ends when it is held no more.
    async fn lost(&self) {
        let mut changes = self.until.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let end = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = end => return,
                _ = changes.changed() => {}
            }
        }
    }
}

/// A place that is held. Dropped, it is let go of by a task, or without a runtime at the end of its time; [`release`](Self::release) does it at once.
#[must_use = "dropped, it is let go of"]
pub struct HeldPlace {
    keep: Option<Arc<Keep>>,
    fence: u64,
    heart: Option<AbortHandle>,
}

impl HeldPlace {
    /// Larger than that of anybody who has held a place of this key before. What is being protected should refuse a number lower than one it has seen.
    #[must_use]
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether it is still held, as far as is known here without asking.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.keep.as_ref().is_some_and(|keep| keep.is_held())
    }

    /// Ends when the place is held no more: lost to somebody, or its time over without the store answering.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn lost(&self) {
        if let Some(keep) = &self.keep {
            keep.lost().await;
        }
    }

    /// Keeps it for another time to live, counted from now; false when it was lost.
    ///
    /// # Errors
    /// What keeps the store from answering, within the deadline.
    pub async fn renew(&self) -> Result<bool, StoreError> {
        match &self.keep {
            Some(keep) => keep.renew().await,
            None => Ok(false),
        }
    }

    /// Runs `work`, renewing the place meanwhile as part of this future: no task, and nothing that goes on when the future is not polled. When the place
    /// is lost, `work` is dropped.
    ///
    /// # Errors
    /// [`Busy`](StoreErrorKind::Busy), not to be tried again blindly, when the place was lost.
    ///
    /// # Cancel safety
    /// Dropping it drops `work`; the place stays held.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let lost = || StoreError::new(StoreErrorKind::Busy).with_detail("the place was lost while it was in use").with_retriable(false);
        let Some(keep) = self.keep.as_ref().filter(|keep| keep.is_held()) else { return Err(lost()) };
        let beating = async {
            if self.heart.is_none() {
                keep.beat().await;
            }
            keep.lost().await;
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = beating => Err(lost()),
        }
    }

    /// Lets go of it; false when it had been lost.
    ///
    /// # Errors
    /// What keeps the store from answering, within the deadline; then it is free at the end of its time.
    ///
    /// # Cancel safety
    /// Dropped before the store answered, it is let go of by a task.
    pub async fn release(mut self) -> Result<bool, StoreError> {
        let Some(keep) = self.keep.clone() else { return Ok(false) };
        let released = within(keep.deadline, keep.place.release()).await;
        if released.is_ok() {
            self.keep = None;
            self.stop();
        }
        released
    }

    fn stop(&self) {
        if let Some(heart) = &self.heart {
            heart.abort();
        }
    }
}

impl Drop for HeldPlace {
    fn drop(&mut self) {
        self.stop();
        if let Some(keep) = self.keep.take() {
            keep.place.clone().release_by_task();
        }
    }
}

impl fmt::Debug for HeldPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldPlace").field("fence", &self.fence).field("is_held", &self.is_held()).finish_non_exhaustive()
    }
}
