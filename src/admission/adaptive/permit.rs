//! The permit, the waiter for one, and what a snapshot shows.

use super::AdaptiveLimit;
use crate::admission::places::Places;
use crate::admission::wait_queue::Waiting;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::time;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// An [`AdaptiveLimit`] at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitSnapshot {
    /// How many calls may run at once.
    pub limit: usize,
    /// How many do.
    pub in_use: usize,
    /// How many stand in the queue.
    pub waiting: usize,
    /// What a call takes where no queue is before it, as far as the algorithm knows; `None` before the first window and with AIMD, which does not ask.
    pub baseline: Option<Duration>,
    /// What a call took on average in the last window.
    pub latency: Option<Duration>,
    /// How many windows were decided on.
    pub windows: u64,
}

/// Leave to make one call. Say with [`settle`](Self::settle) what came of it.
///
/// Dropped unsettled, the call was abandoned: its place is free again, and nothing is learnt from it.
#[must_use = "dropped at once, it gives its place back at once"]
pub struct AdaptivePermit<'a> {
    pub(super) limit: &'a AdaptiveLimit,
    pub(super) facts: Facts,
}

/// What was so when a call began. Two words, for every call carries it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// In nanoseconds of the limit's clock.
    pub(super) began: u64,
    /// The limit it began under.
    pub(super) generation: u32,
    /// How many there were, itself included; and in the highest bit, whether these were so few that it met no queue.
    others: u32,
}

const CALM: u32 = 0x8000_0000;

impl Facts {
    #[inline]
    pub(super) fn of(began: u64, generation: u32, in_flight: u32, is_calm: bool) -> Self {
        Self { began, generation, others: in_flight.min(CALM - 1) + if is_calm { CALM } else { 0 } }
    }

    pub(super) const fn in_flight(self) -> u32 {
        self.others & !CALM
    }

    pub(super) const fn is_calm(self) -> bool {
        self.others & CALM != 0
    }
}

impl AdaptivePermit<'_> {
    /// The call begins now: what it waited for at other gates is not its time.
    #[cold]
    pub(crate) fn begins(&mut self, now: Instant) {
        self.facts.began = time::nanos_since(self.limit.shared.epoch, now);
    }

    /// The call ended like this. Reads the clock.
    ///
    /// It takes the permit, so no place is given back twice:
    ///
    /// ```compile_fail,E0382
    /// let limit = steadfast::AdaptiveLimit::new().build()?;
    /// let permit = limit.try_acquire()?;
    /// permit.settle(steadfast::Outcome::TimedOut);
    /// permit.settle(steadfast::Outcome::TimedOut); // used after it was moved
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn settle(self, outcome: Outcome) {
        self.settle_at(outcome, Instant::now());
    }

    /// The same, for a caller that has read the clock already.
    #[inline]
    pub fn settle_at(self, outcome: Outcome, now: Instant) {
        let (limit, facts) = (self.limit, self.facts);
        std::mem::forget(self); // dropping is for those who do not settle
        limit.settle(facts, outcome, now);
    }
}

impl Drop for AdaptivePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.limit.give_back();
    }
}

impl fmt::Debug for AdaptivePermit<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptivePermit").field("in_flight", &self.facts.in_flight()).finish_non_exhaustive()
    }
}

pin_project_lite::pin_project! {
    /// Waits for a place under an [`AdaptiveLimit`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct AdaptiveWaiter<'a> {
        pub(super) limit: &'a AdaptiveLimit,
        #[pin]
        pub(super) waiting: Waiting<'a, Places>,
    }
}

impl<'a> Future for AdaptiveWaiter<'a> {
    type Output = Result<AdaptivePermit<'a>, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let limit = *this.limit;
        // The call begins when its wait ends.
        this.waiting.poll(cx).map(|waited| {
            waited.map(|free| limit.permit(free, Instant::now())).map_err(|refusal| refusal.rejected(RejectedKind::ConcurrencyLimited))
        })
    }
}
