//! Who wants to know when the limit changes.

use tokio::sync::watch;

#[derive(Debug)]
pub(super) struct Sender(watch::Sender<usize>);

pub(super) fn sender(limit: usize) -> Sender {
    Sender(watch::Sender::new(limit))
}

impl Sender {
    /// Wakes who waits; no lock of ours may be held.
    #[inline]
    pub(super) fn tell(&self, limit: usize) {
        self.0.send_if_modified(|known| std::mem::replace(known, limit) != limit);
    }

    pub(super) fn subscribe(&self) -> LimitChanges {
        LimitChanges(self.0.subscribe())
    }
}

/// The changes of an [`AdaptiveLimit`](super::AdaptiveLimit), from [`subscribe`](super::AdaptiveLimit::subscribe).
#[derive(Clone, Debug)]
pub struct LimitChanges(watch::Receiver<usize>);

impl LimitChanges {
    /// The next limit, when it has changed since the last time; `None` when the limit is gone.
    ///
    /// # Cancel safety
    /// Dropped while it waits, nothing is lost: a change that comes meanwhile is what the next call returns.
    pub async fn next(&mut self) -> Option<usize> {
        self.0.changed().await.ok().map(|()| *self.0.borrow_and_update())
    }

    /// The same without waiting; `None` where it is what it was.
    #[inline]
    pub fn try_next(&mut self) -> Option<usize> {
        matches!(self.0.has_changed(), Ok(true)).then(|| *self.0.borrow_and_update())
    }
}
