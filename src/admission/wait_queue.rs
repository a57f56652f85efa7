//! The one queue that bulkheads and limiters wait in.
//!
//! Waiters stand in the order of arrival, where each step down in [`Priority`] counts as one step of *ageing* later: strict within a
//! priority, a head start between priorities, and starvation for nobody. Arriving, leaving from the middle and moving on cost
//! O(log n).
//!
//! **Woken, not handed over.** A future may be alive and yet unpolled for ever (parked in a `select!` arm, or in a buffered stream
//! whose consumer is busy). To give such a one a permit would starve everybody else, so a permit stays on the table until somebody who is
//! polled takes it. But then who takes it when the first in line sleeps on?
//!
//! ```text
//!            there is room                      polled: takes it
//!   asleep ───────────────▶ called up ──────────────────────────────▶ gone
//!     │  ▲                      │  ▲ room for more; or the one before it,
//!     │  │ nobody called        │  │ asked twice, has not come
//!     │  │ up any more          │  │
//!     └──┴───▶ watching ────────┼──┘
//!     next in line              │ did not come, a watchman went instead
//!                               ▼
//!                            passed over ── polled at last: stands where it stood
//! ```
//!
//! As many waiters are called up as there are slots. Each call-up wakes one waiter more, the *watchman*. Polled before those called up,
//! it steps back once behind everybody who is awake; if somebody has still not come by then, it goes in its place and the next
//! watchman is posted. One that was passed over and came after all was only slow (its executor polls it late), and is given 10 ms from
//! then on, so that it is overtaken once at most; where waiters are polled on many threads everybody is given 1 ms. So in a healthy program the order is strict and a release costs two polls, and a parked waiter delays nobody. Where
//! watchmen are parked too, each further event (an arrival, a release, a departure) wakes one waiter more.
//!
//! Where a queue is told to [shed](CoDel), a waiter that has waited too long is sent away when its turn comes, and the next is called up.
//!
//! What is waited for is a [`Supply`]: free permits, or a moment in time.

mod book;
mod codel;
mod line;
#[cfg(test)]
mod tests;

use crate::call::Priority;
use crate::outcome::{Rejected, RejectedKind};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};
use crate::time;
pub use codel::CoDel;
use line::{Here, Index, Line, Source, Step, Wakes};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::{Instant, Sleep, sleep_until};

/// One step down in priority counts as so much later an arrival, unless set otherwise: long against a call, short against a person's patience.
pub(crate) const AGEING: Duration = Duration::from_secs(2);

/// How long a waiter that was called up may stay unpolled before others go in its place, where a turn of the executor is no proof:
/// callers who cannot wait have no turns, and a slow one has shown before that it comes late.
const PATIENCE: Duration = Duration::from_millis(10);

/// The same in a runtime of many threads, for one that has not come late before: long against the wake of another worker.
const GLANCE: Duration = Duration::from_millis(1);

/// What the waiters wait for. Asked under the queue's lock: no user code, no waiting.
pub(crate) trait Supply {
    /// What a waiter is given: nothing, or a receipt to hand back what it took.
    type Grant: Copy + fmt::Debug;

    /// `Critical` stands before everybody, however long the others have waited, instead of one step of ageing before `High`.
    fn critical_first(&self) -> bool;

    /// How many waiters may be called up at the same time: the free permits; 1 where the first in line waits for a moment.
    fn slots(&self) -> usize;

    /// Takes `cost` units for the waiter whose turn it is.
    fn take(&self, now: Instant, cost: u32) -> Take<Self::Grant>;

    /// Somebody stands in line from now on (`true`), or nobody any more. Called before the slots are counted again.
    fn crowd(&self, _standing: bool) {}
}

/// What a [`Supply`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take<G> {
    Taken(G),
    /// Ask again then. The waiter sleeps until that moment, and keeps its turn.
    At(Instant),
    /// There is no slot any more: wait for the next `stir`.
    NotNow,
}

/// Why a waiter goes without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The queue was full at the door, or somebody more important needed the place.
    Full,
    /// The longest wait is over, or would not be enough; or the queue sheds.
    TooLong,
    /// The call's deadline has come, or would before its turn.
    Deadline,
    /// A timer is needed, and there is no tokio runtime here.
    NoRuntime,
}

impl Refusal {
    /// As the caller is told: `full` is what the policy calls having no room for it.
    pub(crate) fn rejected(self, full: RejectedKind) -> Rejected {
        Rejected::new(match self {
            Self::Full | Self::TooLong => full,
            Self::Deadline => RejectedKind::DeadlineExceeded,
            Self::NoRuntime => RejectedKind::NoRuntime,
        })
    }
}

/// What is said at the door.
#[derive(Debug)]
pub(crate) enum Door<'a, S: Supply> {
    Taken(S::Grant),
    Refused(Refusal),
    Wait(Waiting<'a, S>),
}

/// Who asks, how much it matters, and until when it can wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) now: Instant,
    pub(crate) priority: Priority,
    pub(crate) cost: u32,
    /// The end of the policy's own `max_wait`. A grant at that very moment still counts.
    pub(crate) until: Option<Instant>,
    /// The deadline of the call. At that moment nothing is granted any more.
    pub(crate) deadline: Option<Instant>,
}

/// The queue, and what is waited for in it.
#[derive(Debug)]
pub(crate) struct WaitQueue<S> {
    supply: S,
    line: Mutex<Line>,
    len: AtomicUsize,
    room: AtomicUsize,
    /// In nanoseconds.
    ageing: AtomicU64,
}

impl<S: Supply> WaitQueue<S> {
    /// At most `room` waiters; 0 refuses at once.
    pub(crate) fn new(supply: S, room: usize, ageing: Duration) -> Self {
        let (room, ageing) = (AtomicUsize::new(room), AtomicU64::new(time::nanos(ageing)));
        Self { supply, line: Mutex::new(Line::default()), len: AtomicUsize::new(0), room, ageing }
    }

    /// Goes on with other terms for newcomers. Whoever stands in line keeps the place it has.
    pub(crate) fn set_terms(&self, room: usize, ageing: Duration) {
        self.room.store(room, Ordering::Relaxed);
        self.ageing.store(time::nanos(ageing), Ordering::Relaxed);
    }

    /// From now on sends away who has waited too long under lasting overload, or nobody any more.
    pub(crate) fn set_shedding(&self, codel: Option<CoDel>) {
        lock(&self.line).set_shedding(codel);
    }

    pub(crate) fn shedding(&self) -> Option<CoDel> {
        lock(&self.line).shedding()
    }

    pub(crate) fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    pub(crate) fn ageing(&self) -> Duration {
        time::from_nanos(self.ageing.load(Ordering::Relaxed))
    }

    pub(crate) const fn supply(&self) -> &S {
        &self.supply
    }

    /// How many stand in line, without a lock.
    pub(crate) fn waiting(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// What stands before a newcomer of this priority at the least, in units of cost.
    pub(crate) fn cost_ahead(&self, priority: Priority) -> u64 {
        lock(&self.line).cost_ahead(priority)
    }

    /// For one who will not wait: takes if that overtakes nobody.
    pub(crate) fn try_take(&self, now: Instant, cost: u32) -> Take<S::Grant> {
        let mut line = lock(&self.line);
        let mut wakes = Wakes::new();
        let answer = self.at_the_door(&mut line, now, cost);
        let more = line.call_up(self.supply.slots(), &mut wakes);
        drop(line);
        self.wake(wakes, more);
        answer
    }

    fn at_the_door(&self, line: &mut Line, now: Instant, cost: u32) -> Take<S::Grant> {
        if !line.is_clear(self.supply.slots()) {
            // Not `now`, which may be the beginning of a call that has stood in another line since.
            line.doubt(Instant::now());
        }
        if line.is_clear(self.supply.slots()) { self.supply.take(now, cost) } else { Take::NotNow }
    }

    /// Takes at once if that overtakes nobody; otherwise stands in line, if there is room or somebody less important gives way.
    pub(crate) fn enter(&self, request: Request) -> Door<'_, S> {
        let Request { now, priority, cost, until, deadline } = request;
        let mut wakes = Wakes::new();
        let mut line = lock(&self.line);
        if let Take::Taken(grant) = self.at_the_door(&mut line, now, cost) {
            return Door::Taken(grant);
        }
        let room = self.room();
        if line.len() >= room && (room == 0 || !line.displace(priority, &mut wakes)) {
            let more = line.call_up(self.supply.slots(), &mut wakes);
            drop(line);
            self.wake(wakes, more);
            return Door::Refused(Refusal::Full);
        }
        let index = line.join(now, priority, cost, self.ageing(), self.supply.critical_first());
        if self.count(&line) == 1 {
            self.supply.crowd(true);
        }
        let more = line.stir(self.supply.slots(), Some(now), &mut wakes);
        drop(line);
        self.wake(wakes, more);
        Door::Wait(Waiting { place: Place { queue: self, index: Some(index) }, until, deadline, timer: None })
    }

    /// There is more to take than before.
    pub(crate) fn stir(&self) {
        let mut wakes = Wakes::new();
        let more = lock(&self.line).stir(self.supply.slots(), None, &mut wakes);
        self.wake(wakes, more);
    }

    /// What the supply said about times no longer holds: those who wait for a moment ask again.
    pub(crate) fn retime(&self) {
        let mut wakes = Wakes::new();
        let mut line = lock(&self.line);
        line.retime(&mut wakes);
        let more = line.call_up(self.supply.slots(), &mut wakes);
        drop(line);
        self.wake(wakes, more);
    }

    fn count(&self, line: &Line) -> usize {
        let len = line.len();
        self.len.store(len, Ordering::SeqCst);
        len
    }

    /// Wakes with no lock held, a handful at a time.
    fn wake(&self, wakes: Wakes, mut more: bool) {
        wakes.wake();
        while more {
            let mut wakes = Wakes::new();
            more = lock(&self.line).call_up(self.supply.slots(), &mut wakes);
            wakes.wake();
        }
    }

    fn depart(&self, line: &mut Line, wakes: &mut Wakes) -> bool {
        if self.count(line) == 0 {
            self.supply.crowd(false);
            return false;
        }
        line.stir(self.supply.slots(), None, wakes)
    }

    fn leave(&self, index: Index) {
        let mut wakes = Wakes::new();
        let mut line = lock(&self.line);
        let waker = line.leave(index);
        let more = self.depart(&mut line, &mut wakes);
        drop(line);
        drop(waker);
        self.wake(wakes, more);
    }

    fn poll(&self, index: Index, here: Here, cx: &Context<'_>) -> (Step, Option<S::Grant>) {
        // Wakers are code of somebody else's: cloned before the lock, dropped and called after it.
        let mut waker = Some(cx.waker().clone());
        let mut wakes = Wakes::new();
        let mut asked = Asked { supply: &self.supply, grant: None };
        let mut line = lock(&self.line);
        let step = line.poll(index, here, &mut waker, &mut asked, &mut wakes);
        let more = match step {
            Step::Taken | Step::Evicted | Step::Shed if self.count(&line) == 0 => {
                self.supply.crowd(false);
                false
            }
            _ => line.call_up(self.supply.slots(), &mut wakes),
        };
        drop(line);
        drop(waker);
        if wakes.again {
            cx.waker().wake_by_ref();
        }
        self.wake(wakes, more);
        (step, asked.grant)
    }
}

/// A supply, and what it granted: the line itself is the same code for all supplies.
struct Asked<'a, S: Supply> {
    supply: &'a S,
    grant: Option<S::Grant>,
}

impl<S: Supply> Source for Asked<'_, S> {
    fn slots(&self) -> usize {
        self.supply.slots()
    }

    fn take(&mut self, now: Instant, cost: u32) -> Take<()> {
        match self.supply.take(now, cost) {
            Take::Taken(grant) => {
                self.grant = Some(grant);
                Take::Taken(())
            }
            Take::At(due) => Take::At(due),
            Take::NotNow => Take::NotNow,
        }
    }
}

/// A place in line, given back when dropped.
#[derive(Debug)]
struct Place<'a, S: Supply> {
    queue: &'a WaitQueue<S>,
    index: Option<Index>,
}

impl<S: Supply> Place<'_, S> {
    fn leave(&mut self) {
        if let Some(index) = self.index.take() {
            self.queue.leave(index);
        }
    }
}

impl<S: Supply> Drop for Place<'_, S> {
    fn drop(&mut self) {
        self.leave();
    }
}

pin_project_lite::pin_project! {
    /// Waits in line. It holds its place from the door on; dropped, it gives it back and the next one moves up.
    #[derive(Debug)]
    #[must_use = "a waiter that is not polled is passed over"]
    pub(crate) struct Waiting<'a, S: Supply> {
        place: Place<'a, S>,
        until: Option<Instant>,
        deadline: Option<Instant>,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<S: Supply> Future for Waiting<'_, S> {
    type Output = Result<S::Grant, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(index) = this.place.index else { return Poll::Ready(Err(Refusal::Full)) };
        let queue = this.place.queue;
        let mut granted = None;
        let mut look = |here: Here, cx: &Context<'_>| {
            let (step, grant) = queue.poll(index, here, cx);
            granted = grant;
            step
        };
        match ready!(poll_in_line(&mut look, *this.until, *this.deadline, this.timer, cx)) {
            End::Leaves(refusal) => {
                this.place.leave();
                Poll::Ready(Err(refusal))
            }
            End::Left(refusal) => {
                this.place.index = None;
                Poll::Ready(granted.ok_or(refusal))
            }
        }
    }
}

/// How a wait ends.
enum End {
    /// It has its place no more, and goes with what it was granted, or else with this.
    Left(Refusal),
    /// It still has its place, and gives it back.
    Leaves(Refusal),
}

/// The same for every supply.
fn poll_in_line(
    look: &mut dyn FnMut(Here, &Context<'_>) -> Step,
    until: Option<Instant>,
    deadline: Option<Instant>,
    mut timer: Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
) -> Poll<End> {
    let refusal = loop {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            break Refusal::Deadline;
        }
        let runtime = Handle::try_current().map(|runtime| runtime.runtime_flavor());
        let has_timer = timer.is_some() || runtime.is_ok();
        let courteous = has_timer && until.is_none_or(|until| now < until);
        let threads = !matches!(runtime, Ok(RuntimeFlavor::CurrentThread));
        let (due, look_at) = match look(Here { now, courteous, threads }, cx) {
            Step::Taken | Step::Evicted => return Poll::Ready(End::Left(Refusal::Full)),
            Step::Shed => return Poll::Ready(End::Left(Refusal::TooLong)),
            Step::Pending(due) => (due, due),
            Step::Watch(due) => (None, Some(due)),
        };
        // Over, or known not to be enough.
        if deadline.is_some_and(|deadline| due.is_some_and(|due| due >= deadline)) {
            break Refusal::Deadline;
        }
        if until.is_some_and(|until| until <= now || due.is_some_and(|due| due > until)) {
            break Refusal::TooLong;
        }
        let Some(at) = time::earlier(look_at, time::earlier(until, deadline)) else {
            timer.set(None);
            return Poll::Pending;
        };
        match timer.as_mut().as_pin_mut() {
            Some(timer) => {
                if timer.deadline() != at {
                    timer.reset(at);
                }
            }
            None if !has_timer => break Refusal::NoRuntime,
            None => timer.set(Some(sleep_until(at))),
        }
        if let Some(timer) = timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
    };
    timer.set(None);
    Poll::Ready(End::Leaves(refusal))
}
