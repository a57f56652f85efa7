//! The bulkhead: so many calls at once, and no more.
//!
//! A slow dependency fills a program with calls that wait for it, until nothing is left for anything else. A bulkhead gives each
//! dependency its own compartment: beyond `limit` calls at once, the next one waits in a short queue or is refused.
//!
//! Not for quotas (so many *per second* is a [`RateLimiter`](crate::RateLimiter)), and a poor guess where the right limit is not known and changes.
//!
//! ```text
//!   call ──▶ room? ──yes──▶ permit ──▶ runs ──▶ permit dropped: room again, the next in line is woken
//!              │no
//!              ▼
//!        room in the queue? ──yes──▶ waits: by priority, first come first served, none starves
//!              │no
//!              ▼
//!        BulkheadFull (a more important newcomer sends the newest of the least important away instead)
//! ```
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{Bulkhead, Call, RejectedKind};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bulkhead = Bulkhead::new(1).queue(10).max_wait(Duration::from_millis(100)).build()?;
//! let held = bulkhead.acquire(&Call::now()).await?;
//!
//! let refused = bulkhead.acquire(&Call::now()).await.unwrap_err(); // after 100 ms
//! assert_eq!(refused.kind(), RejectedKind::BulkheadFull);
//!
//! drop(held);
//! assert!(bulkhead.acquire(&Call::now()).await.is_ok());
//! # Ok(()) }
//! ```

use super::gate::Entry;
use super::places::{Grab, Places, count};
use super::wait_queue::{self, CoDel, Door, Supply, Take, WaitQueue, Waiting};
use crate::call::Call;
use crate::fault::{ConfigError, Fault, check};
use crate::outcome::{Rejected, RejectedKind};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::time;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// What a [`Bulkhead`] is to be. Made by [`Bulkhead::new`].
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a configuration does nothing until it is built or given to a pipeline"]
pub struct BulkheadConfig {
    pub(crate) limit: usize,
    pub(crate) queue: usize,
    pub(crate) max_wait: Duration,
    pub(crate) ageing: Duration,
    pub(crate) shed: Option<CoDel>,
}

impl BulkheadConfig {
    /// How many calls may wait for a place. When all wait and a more important one comes, the newest of the least important is refused in
    /// its stead. **Default**: 0, refuse at once: a queue adds to the latency of every call behind it.
    pub const fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// How long a call may wait for a place; zero refuses at once. Refused `BulkheadFull` when it is over.
    /// **Default**: `Duration::MAX`, as long as the call's deadline allows.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = wait;
        self
    }

    /// The head start of one [`Priority`](crate::Priority) over the next: a call that came this much later, and is one step more
    /// important, stands beside it in line. Zero ignores priorities; `Duration::MAX` lets the important starve the others.
    /// **Default**: 2 s, long against a call and short against a person's patience.
    pub const fn ageing(mut self, step: Duration) -> Self {
        self.ageing = step;
        self
    }

    /// Under lasting overload, refuses who has waited too long, `BulkheadFull`, so that those who get through have not waited in vain.
    /// **Default**: nobody is shed; everybody waits for as long as [`max_wait`](Self::max_wait) and its deadline allow.
    pub const fn shed(mut self, when: CoDel) -> Self {
        self.shed = Some(when);
        self
    }

    /// Whether a call without a deadline may wait in the queue for ever.
    pub(crate) fn waits_for_ever(&self) -> bool {
        self.longest_wait() == Duration::MAX
    }

    /// The longest that a call may wait in the queue.
    pub(crate) const fn longest_wait(&self) -> Duration {
        if self.queue == 0 { Duration::ZERO } else { self.max_wait }
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.limit == 0 {
            let fix = "0 would refuse every call; give it at least 1, or drain a running bulkhead with resize(0)";
            faults.push(Fault::new("limit", fix));
        }
        let most = u64::try_from(MOST_WAITERS).unwrap_or(u64::MAX);
        check::at_most(&mut faults, "queue", u64::try_from(self.queue).unwrap_or(u64::MAX), most);
        if let Some(codel) = &self.shed {
            faults.append(&mut codel.faults());
        }
        faults
    }

    /// Makes the bulkhead.
    ///
    /// # Errors
    /// A limit of 0, a queue of more than 1,000,000 calls, or terms to shed that cannot work.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        ConfigError::check("bulkhead", self.faults())?;
        let queue = WaitQueue::new(Places::new(self.limit, false), self.queue, self.ageing);
        queue.set_shedding(self.shed);
        let max_wait = AtomicU64::new(time::nanos(self.max_wait));
        Ok(Bulkhead { shared: Arc::new(Shared { queue, limit: AtomicUsize::new(self.limit), max_wait }) })
    }
}

/// A longer queue is a mistake: nobody is served by a wait behind a million calls.
const MOST_WAITERS: usize = 1_000_000;

/// Lets so many calls run at once. Cheap to clone; clones share the places and the queue.
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

struct Shared {
    queue: WaitQueue<Places>,
    limit: AtomicUsize,
    /// In nanoseconds; the maximum is for ever.
    max_wait: AtomicU64,
}

impl Shared {
    fn max_wait(&self) -> Duration {
        time::from_nanos(self.max_wait.load(Ordering::Relaxed))
    }
}

impl Bulkhead {
    /// At most `limit` calls at once, at least 1. Any limit up to `usize::MAX` costs the same.
    #[expect(clippy::new_ret_no_self, reason = "the configuration comes first: every policy begins like this")]
    pub const fn new(limit: usize) -> BulkheadConfig {
        BulkheadConfig { limit, queue: 0, max_wait: Duration::MAX, ageing: wait_queue::AGEING, shed: None }
    }

    /// Takes a place if there is one and nobody stands in line for it.
    ///
    /// # Errors
    /// `BulkheadFull`.
    pub fn try_acquire(&self) -> Result<BulkheadPermit<'_>, Rejected> {
        let queue = &self.shared.queue;
        match queue.supply().grab() {
            Grab::Got(_) => Ok(BulkheadPermit { bulkhead: self }),
            // The rare case in which a clock is read here: to tell a waiter on its way from one that never comes.
            Grab::Crowded if matches!(queue.try_take(Instant::now(), 1), Take::Taken(_)) => Ok(BulkheadPermit { bulkhead: self }),
            Grab::Crowded | Grab::Full => Err(full()),
        }
    }

    /// Takes a place, waiting in the queue if need be.
    ///
    /// # Errors
    /// `BulkheadFull` when the queue is full, `max_wait` is over, the queue sheds or a more important call takes the place in the queue;
    /// `DeadlineExceeded` when the call's deadline comes first; `NoRuntime` when a wait with an end is polled outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it gives up its place in the queue and wakes the next; nothing is lost. Starting again means
    /// standing at the end of the line.
    pub async fn acquire(&self, call: &Call<'_>) -> Result<BulkheadPermit<'_>, Rejected> {
        match self.enter(|| *call) {
            Entry::Granted(permit) => Ok(permit),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(waiter) => waiter.await,
        }
    }

    /// The same for the pipeline: all that can be said at once is said at once. Only a wait needs to know of the `call`.
    #[inline]
    pub(crate) fn enter<'a, 'k>(&'a self, call: impl FnOnce() -> Call<'k>) -> Entry<BulkheadPermit<'a>, BulkheadWaiter<'a>> {
        match self.shared.queue.supply().grab() {
            Grab::Got(_) => Entry::Granted(BulkheadPermit { bulkhead: self }),
            grab => self.stand_in_line(&call(), matches!(grab, Grab::Crowded)),
        }
    }

    #[cold]
    fn stand_in_line<'a>(&'a self, call: &Call<'_>, crowded: bool) -> Entry<BulkheadPermit<'a>, BulkheadWaiter<'a>> {
        let Shared { queue, .. } = &*self.shared;
        match queue.line_up(call.attempt.started, call, crowded, self.shared.max_wait()) {
            Door::Taken(_) => Entry::Granted(BulkheadPermit { bulkhead: self }),
            Door::Refused(refusal) => Entry::Refused(refusal.rejected(RejectedKind::BulkheadFull)),
            Door::Wait(waiting) => Entry::Wait(BulkheadWaiter { bulkhead: self, waiting }),
        }
    }

    /// Changes the limit while calls run. When it grows, as many waiters move up; when it shrinks, nobody is thrown out: new calls
    /// wait until fewer than `limit` are left. 0 drains: what runs ends, nothing new begins until the next `resize`.
    pub fn resize(&self, limit: usize) {
        let Shared { queue, limit: current, .. } = &*self.shared;
        let before = current.swap(limit, Ordering::AcqRel);
        let more = count(limit) - count(before);
        let crowded = queue.supply().add(more);
        if crowded && more > 0 {
            queue.stir();
        }
    }

    /// Goes on with other settings while calls run: the limit as [`resize`](Self::resize) does, queue and waits for newcomers. Permits that are
    /// held stay held, and whoever stands in line keeps its place.
    ///
    /// # Errors
    /// What [`build`](BulkheadConfig::build) would refuse; then nothing is changed.
    #[inline]
    pub fn reconfigure(&self, config: &BulkheadConfig) -> Result<(), ConfigError> {
        ConfigError::check("bulkhead", config.faults())?;
        self.reconfigure_quietly(config);
        self.tell();
        Ok(())
    }

    /// The same for settings that were checked; nobody is woken before [`tell`](Self::tell).
    pub(crate) fn reconfigure_quietly(&self, config: &BulkheadConfig) {
        let Shared { queue, limit, max_wait } = &*self.shared;
        queue.set_terms(config.queue, config.ageing);
        queue.set_shedding(config.shed);
        max_wait.store(time::nanos(config.max_wait), Ordering::Relaxed);
        let before = limit.swap(config.limit, Ordering::AcqRel);
        queue.supply().add(count(config.limit) - count(before));
    }

    /// Wakes those for whom there is a place now.
    #[inline]
    pub(crate) fn tell(&self) {
        if self.waiting() > 0 {
            self.shared.queue.stir();
        }
    }

    /// Whether both are handles of one bulkhead.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How many calls may run at once.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.limit.load(Ordering::Acquire)
    }

    /// How many permits are held; more than [`limit`](Self::limit) for a while after it shrank. A snapshot.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.shared.queue.supply().in_use(self.limit())
    }

    /// How many more calls could start now. A snapshot.
    #[must_use]
    #[inline]
    pub fn available(&self) -> usize {
        self.shared.queue.supply().slots()
    }

    /// How many calls stand in the queue. A snapshot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// What it runs with now.
    pub fn config(&self) -> BulkheadConfig {
        let queue = &self.shared.queue;
        let (max_wait, ageing, shed) = (self.shared.max_wait(), queue.ageing(), queue.shedding());
        BulkheadConfig { limit: self.limit(), queue: queue.room(), max_wait, ageing, shed }
    }
}

impl fmt::Debug for Bulkhead {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("limit", &self.limit())
            .field("in_use", &self.in_use())
            .field("waiting", &self.waiting())
            .field("queue", &self.shared.queue.room())
            .finish_non_exhaustive()
    }
}

fn full() -> Rejected {
    Rejected::new(RejectedKind::BulkheadFull)
}

/// A place in a [`Bulkhead`], given back when dropped.
#[derive(Debug)]
#[must_use = "dropped at once, it gives its place back at once"]
pub struct BulkheadPermit<'a> {
    bulkhead: &'a Bulkhead,
}

impl BulkheadPermit<'_> {
    /// The same place, held by a value that may outlive the borrow: for spawned tasks and for struct fields.
    pub fn into_owned(self) -> OwnedBulkheadPermit {
        let bulkhead = self.bulkhead.clone();
        std::mem::forget(self);
        OwnedBulkheadPermit { bulkhead }
    }
}

impl Drop for BulkheadPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.bulkhead.give_back();
    }
}

/// A place in a [`Bulkhead`] that borrows nothing, given back when dropped. Made by [`BulkheadPermit::into_owned`].
#[derive(Debug)]
#[must_use = "dropped at once, it gives its place back at once"]
pub struct OwnedBulkheadPermit {
    bulkhead: Bulkhead,
}

impl Drop for OwnedBulkheadPermit {
    fn drop(&mut self) {
        self.bulkhead.give_back();
    }
}

impl Bulkhead {
    /// So many of its places are taken already, by who gives them [back](Self::give_back) without a permit.
    pub(super) fn take_unasked(&self, calls: usize) {
        self.shared.queue.supply().add(-count(calls));
    }

    #[inline]
    pub(super) fn give_back(&self) {
        if self.shared.queue.supply().add(1) {
            self.shared.queue.stir();
        }
    }
}

pin_project_lite::pin_project! {
    /// Waits for a place in a [`Bulkhead`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct BulkheadWaiter<'a> {
        bulkhead: &'a Bulkhead,
        #[pin]
        waiting: Waiting<'a, Places>,
    }
}

impl<'a> Future for BulkheadWaiter<'a> {
    type Output = Result<BulkheadPermit<'a>, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let bulkhead = *this.bulkhead;
        this.waiting
            .poll(cx)
            .map(|waited| waited.map(|_| BulkheadPermit { bulkhead }).map_err(|refusal| refusal.rejected(RejectedKind::BulkheadFull)))
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn handles_of_one_bulkhead_are_the_same_and_others_are_not() -> Result<(), ConfigError> {
        let [one, other] = [Bulkhead::new(2).build()?, Bulkhead::new(2).build()?];
        assert!(one.is_same(&one.clone()) && !one.is_same(&other));
        Ok(())
    }

    #[test]
    fn places_taken_unasked_are_taken() -> Result<(), ConfigError> {
        let bulkhead = Bulkhead::new(3).build()?;
        bulkhead.take_unasked(2);
        assert_eq!((bulkhead.in_use(), bulkhead.available()), (2, 1));
        bulkhead.give_back();
        assert_eq!((bulkhead.in_use(), bulkhead.available()), (1, 2));
        Ok(())
    }

    #[test]
    fn without_a_longest_wait_a_call_may_wait_for_ever() {
        assert!(Bulkhead::new(1).queue(1).max_wait(Duration::MAX).waits_for_ever());
        assert!(!Bulkhead::new(1).queue(1).max_wait(Duration::from_secs(1)).waits_for_ever());
    }
}
