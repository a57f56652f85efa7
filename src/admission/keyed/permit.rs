//! What a call of a key holds, and the wait for it.

use super::hash::Hash;
use super::shard::Grant;
use super::table::{At, Table};
use crate::outcome::{Outcome, Rejected};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Leave to make one call on behalf of a key. Say with [`settle`](Self::settle) what came of it.
///
/// Dropped unsettled, the call is [`Abandoned`](Outcome::Abandoned): its place is free again, a probe's too, and it says nothing about
/// the dependency (unless [`abandoned_after`](crate::CircuitBreakerConfig::abandoned_after) is set). Units of the rate are used either
/// way, unless it is settled as [`NotAttempted`](Outcome::NotAttempted).
#[must_use = "a permit that is dropped at once gives its place back at once"]
pub struct KeyPermit<'a> {
    held: Option<Held<'a>>,
}

/// Small, for every call carries it.
pub(super) struct Held<'a> {
    pub(super) table: &'a Table,
    pub(super) at: At,
    pub(super) grant: Grant,
    /// When the call began, in nanoseconds of the table.
    pub(super) started: u64,
    /// Units that may be handed back.
    cost: u32,
    tag: u32,
}

impl<'a> KeyPermit<'a> {
    /// For a call without a key.
    pub(crate) const FREE: Self = Self { held: None };

    #[inline]
    pub(super) fn new(table: &'a Table, at: At, hash: Hash, grant: Grant, cost: u32, started: u64) -> Self {
        let cost = if grant.units() { cost } else { 0 };
        Self { held: Some(Held { table, at, grant, started, cost, tag: hash.low as u32 }) }
    }

    /// What there is to settle.
    #[inline]
    pub(crate) const fn take(&mut self) -> Option<Self> {
        if self.held.is_none() { None } else { Some(Self { held: self.held.take() }) }
    }

    /// The call ended like this.
    ///
    /// It takes the permit, so no place is given back twice:
    ///
    /// ```compile_fail,E0382
    /// let keys = steadfast::PerKey::new(9).bulkhead(steadfast::Bulkhead::new(1)).build()?;
    /// let permit = keys.try_acquire("a", 1)?;
    /// permit.settle(steadfast::Outcome::TimedOut);
    /// permit.settle(steadfast::Outcome::TimedOut); // used after it was moved
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn settle(self, outcome: Outcome) {
        self.settle_at(outcome, Instant::now());
    }

    /// The same, for a caller that has read the clock already.
    #[inline]
    pub fn settle_at(mut self, outcome: Outcome, now: Instant) {
        if let Some(held) = self.held.take() {
            held.end(outcome, now, || now);
        }
    }

    /// It is not yet sure that the call will be made: dropped before it is [`used`](Self::used), units are handed back.
    #[inline]
    pub(crate) fn reserved(mut self) -> Self {
        if let Some(held) = &mut self.held {
            held.grant.reserve();
        }
        self
    }

    /// The call is made, and begins now: what it waited for at other gates is not its time.
    #[inline]
    pub(crate) fn used(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.grant.used();
            (held.cost, held.started) = (0, held.table.nanos(now));
        }
    }

    /// The same as [`settle`](Self::settle) from a `Drop`: here, too, no user code is called.
    pub(crate) fn settle_in_drop(self, outcome: Outcome) {
        self.settle(outcome);
    }
}

impl Held<'_> {
    /// `clock` is asked when units are handed back, under the lock of who keeps them.
    #[inline]
    fn end(self, outcome: Outcome, now: Instant, clock: impl FnOnce() -> Instant) {
        if self.cost > 0 && (self.grant.is_reserved() || outcome == Outcome::NotAttempted) {
            self.hand_back(clock);
        }
        if self.grant.settles() {
            self.table.settle(&self, outcome, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn hand_back(&self, clock: impl FnOnce() -> Instant) {
        let live = {
            let mut shard = self.table.shard(self.at.shard);
            // Read under the lock: what others found made good by time before they took it is not handed back as well.
            let nanos = self.table.nanos(clock());
            shard.hand_back(self.at.slot, self.tag, &self.grant, self.cost, nanos)
        };
        if let Some(limiter) = live.as_ref().and_then(|live| live.limiter.as_ref()) {
            limiter.tell();
        }
    }
}

impl Drop for KeyPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take()
            && (held.grant.settles() || held.grant.is_reserved())
        {
            // One that was reserved was never attempted.
            let outcome = if held.grant.is_reserved() { Outcome::NotAttempted } else { Outcome::Abandoned };
            held.end(outcome, Instant::now(), Instant::now);
        }
    }
}

impl fmt::Debug for KeyPermit<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ticket = self.held.as_ref().and_then(|held| held.grant.ticket());
        f.debug_struct("KeyPermit").field("is_probe", &ticket.is_some_and(|ticket| ticket.probe)).finish_non_exhaustive()
    }
}

type Wait<'a> = Pin<Box<dyn Future<Output = Result<KeyPermit<'a>, Rejected>> + Send + 'a>>;

/// Waits for what its key has to give.
#[must_use = "futures do nothing unless polled"]
pub(crate) struct KeyWaiter<'a> {
    wait: Wait<'a>,
}

impl<'a> KeyWaiter<'a> {
    pub(super) fn new(wait: Wait<'a>) -> Self {
        Self { wait }
    }
}

impl<'a> Future for KeyWaiter<'a> {
    type Output = Result<KeyPermit<'a>, Rejected>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.wait.as_mut().poll(cx)
    }
}

impl fmt::Debug for KeyWaiter<'_> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWaiter").finish_non_exhaustive()
    }
}
