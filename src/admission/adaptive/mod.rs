//! The adaptive concurrency limit.

mod config;
mod control;
mod limits;
mod places;
mod sampling;
mod watch;

use super::gate::Entry;
use super::wait_queue::{Door, Refusal, Request, Take, WaitQueue, Waiting};
use crate::call::{Call, Priority};
use crate::fault::ConfigError;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, lock};
use crate::time;
pub use config::AdaptiveLimitConfig;
pub(crate) use config::Algorithm;
use control::{Control, Step};
use places::{Grab, Places, count};
use sampling::{Sample, Tally};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
pub use watch::LimitChanges;

/// Lets as many calls run at once as the dependency can work on, and finds out how many that is. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct AdaptiveLimit {
    shared: Arc<Shared>,
}

struct Shared {
    queue: WaitQueue<Places>,
    face: Face,
    tally: Tally,
    control: Mutex<Control>,
    changes: watch::Sender,
    /// In nanoseconds; the maximum is for ever.
    max_wait: AtomicU64,
    epoch: Instant,
}

/// What every call reads and only the end of a window writes; on cache lines of its own.
#[repr(align(128))]
struct Face {
    limit: AtomicUsize,
    /// Places beyond the limit, for critical calls.
    reserve: AtomicUsize,
    /// Changes with the limit: what began under another one says nothing about this.
    generation: AtomicU32,
    calm_level: AtomicU32,
    /// Nobody need look at the window before, in nanoseconds since `epoch`.
    look_at: AtomicU64,
}

impl AdaptiveLimit {
    /// Our own algorithm, and the one to begin with: finds the capacity within a few windows from far below or above it, leaves room for bursts while there is no
    /// overload, cuts at once when there is, and does not drift.
    #[expect(clippy::new_ret_no_self, reason = "the configuration comes first: every policy begins like this")]
    pub const fn new() -> AdaptiveLimitConfig {
        AdaptiveLimitConfig::new(Algorithm::Standing, 10_000, 50)
    }

    /// Additive increase, multiplicative decrease: one more in every window that uses the limit, a tenth less after a timeout. Blind to latency: it needs
    /// timeouts, and lives at the edge of them.
    pub const fn aimd() -> AdaptiveLimitConfig {
        AdaptiveLimitConfig::new(Algorithm::Aimd, 200, 10)
    }

    /// TCP Vegas: from the shortest time ever measured follows how many calls stand in the queue; between `alpha` and `beta` of them, times
    /// log10 of the limit, are right. For dependencies whose calls all take about the same time.
    pub const fn vegas() -> AdaptiveLimitConfig {
        AdaptiveLimitConfig::new(Algorithm::Vegas, 1_000, 10)
    }

    /// Netflix' Gradient2: the ratio of the long-term mean of the call times to the latest. Under lasting saturation it drifts to its `max`: choose that with
    /// care.
    pub const fn gradient2() -> AdaptiveLimitConfig {
        AdaptiveLimitConfig::new(Algorithm::Gradient2, 200, 10)
    }

    fn from_config(config: AdaptiveLimitConfig) -> Self {
        let (now, limit) = (Instant::now(), config.initial);
        // The clock may go back a little before now and still be told apart.
        let epoch = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
        let control = Control::new(config.clone(), now);
        let face = Face {
            limit: AtomicUsize::new(limit),
            reserve: AtomicUsize::new(config.reserve_of(limit)),
            generation: AtomicU32::new(0),
            calm_level: AtomicU32::new(control.calm_level()),
            look_at: AtomicU64::new(0),
        };
        let queue = WaitQueue::new(Places::new(limit), config.queue, config.ageing);
        let max_wait = AtomicU64::new(time::nanos(config.max_wait));
        let shared =
            Shared { queue, face, tally: Tally::default(), control: Mutex::new(control), changes: watch::sender(limit), max_wait, epoch };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a place if there is one and nobody stands in line for it. Reads the clock.
    ///
    /// # Errors
    /// `ConcurrencyLimited`.
    #[inline]
    pub fn try_acquire(&self) -> Result<AdaptivePermit<'_>, Rejected> {
        self.try_acquire_at(Instant::now())
    }

    /// The same, for a caller that has read the clock already.
    ///
    /// # Errors
    /// `ConcurrencyLimited`.
    #[inline]
    pub fn try_acquire_at(&self, now: Instant) -> Result<AdaptivePermit<'_>, Rejected> {
        let queue = &self.shared.queue;
        match queue.supply().grab() {
            Grab::Got(free) => Ok(self.permit(free, now)),
            Grab::Crowded => match queue.try_take(now, 1) {
                Take::Taken(free) => Ok(self.permit(free, now)),
                _ => Err(limited()),
            },
            Grab::Full => Err(limited()),
        }
    }

    /// Takes a place, waiting in the queue if need be.
    ///
    /// # Errors
    /// `ConcurrencyLimited` when the queue is full, `max_wait` is over or a more important call takes the place in the queue;
    /// `DeadlineExceeded` when the call's deadline comes first; `NoRuntime` when a wait with an end is polled outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it gives up its place in the queue and wakes the next; nothing is lost. Starting again means
    /// standing at the end of the line.
    pub async fn acquire(&self, call: &Call<'_>) -> Result<AdaptivePermit<'_>, Rejected> {
        match self.enter(call.attempt.started, || *call) {
            Entry::Granted(permit) => Ok(permit),
            Entry::Refused(rejected) => Err(rejected),
            Entry::Wait(waiter) => waiter.await,
        }
    }

    /// The same for the pipeline: all that can be said at once is said at once. Only a wait needs to know of the `call`.
    #[inline]
    pub(crate) fn enter<'a, 'k>(&'a self, now: Instant, call: impl FnOnce() -> Call<'k>) -> Entry<AdaptivePermit<'a>, AdaptiveWaiter<'a>> {
        match self.shared.queue.supply().grab() {
            Grab::Got(free) => Entry::Granted(self.permit(free, now)),
            grab => self.stand_in_line(now, &call(), &grab),
        }
    }

    #[cold]
    fn stand_in_line<'a>(&'a self, now: Instant, call: &Call<'_>, grab: &Grab) -> Entry<AdaptivePermit<'a>, AdaptiveWaiter<'a>> {
        let (queue, max_wait) = (&self.shared.queue, self.max_wait());
        let deadline = call.attempt.deadline;
        if call.priority == Priority::Critical
            && let Some(free) = queue.supply().overdraw(self.shared.face.reserve.load(Ordering::Relaxed))
        {
            return Entry::Granted(self.permit(free, now));
        }
        if queue.room() == 0 || max_wait.is_zero() {
            return match grab {
                // Somebody stands in line who came before the queue was taken away.
                Grab::Crowded => match queue.try_take(now, 1) {
                    Take::Taken(free) => Entry::Granted(self.permit(free, now)),
                    _ => Entry::Refused(limited()),
                },
                _ => Entry::Refused(limited()),
            };
        }
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Entry::Refused(Rejected::new(RejectedKind::DeadlineExceeded));
        }
        let until = time::after(now, max_wait);
        match queue.enter(Request { now, priority: call.priority, cost: 1, until, deadline }) {
            Door::Taken(free) => Entry::Granted(self.permit(free, now)),
            Door::Refused(refusal) => Entry::Refused(rejected(refusal)),
            Door::Wait(waiting) => Entry::Wait(AdaptiveWaiter { limit: self, waiting }),
        }
    }

    #[inline]
    fn permit(&self, free: isize, now: Instant) -> AdaptivePermit<'_> {
        let face = &self.shared.face;
        let limit = face.limit.load(Ordering::Relaxed);
        let in_flight = u32::try_from(count(limit).saturating_sub(free).max(1)).unwrap_or(u32::MAX);
        let is_calm = in_flight <= face.calm_level.load(Ordering::Relaxed);
        AdaptivePermit { limit: self, began: now, in_flight, generation: face.generation.load(Ordering::Relaxed), is_calm }
    }

    /// Gives a place back, and tells what came of the call.
    #[inline]
    fn settle(&self, (began, in_flight, generation, is_calm): (Instant, u32, u32, bool), outcome: Outcome, now: Instant) {
        let Shared { queue, face, tally, epoch, .. } = &*self.shared;
        let sample = Sample::from(outcome);
        if sample != Sample::Nothing {
            let rtt = time::nanos(now.saturating_duration_since(began));
            tally.add(generation, sample, rtt, in_flight, is_calm);
        }
        if queue.supply().add(1) {
            queue.stir();
        }
        if time::nanos_since(*epoch, now) >= face.look_at.load(Ordering::Relaxed) {
            self.look(now);
        }
    }

    /// Closes the window if it is over. Whoever comes while somebody else does need not.
    #[cold]
    fn look(&self, now: Instant) {
        let Shared { queue, face, tally, control, changes, epoch, .. } = &*self.shared;
        let Ok(mut control) = control.try_lock() else { return };
        if time::nanos_since(*epoch, now) < face.look_at.load(Ordering::Relaxed) {
            return;
        }
        let step = control.look(now, &tally.sum(), self.in_use());
        let look_at = control.next_look(now).map_or(u64::MAX, |at| time::nanos_since(*epoch, at));
        face.look_at.store(look_at, Ordering::Relaxed);
        let limit = match step {
            Step::Wait => return,
            Step::Settled => return tally.restart(face.generation.load(Ordering::Relaxed), true),
            Step::Restart(limit) => limit,
        };
        let more = self.apply(&control, limit);
        drop(control);
        if more != 0 {
            changes.tell(face.limit.load(Ordering::Acquire));
        }
        if more > 0 && self.waiting() > 0 {
            queue.stir();
        }
    }

    /// Puts a limit in force and begins to count anew; the caller holds the control. Returns how many places more there are.
    fn apply(&self, control: &Control, limit: usize) -> isize {
        let Shared { queue, face, tally, .. } = &*self.shared;
        let before = face.limit.swap(limit, Ordering::AcqRel);
        let more = count(limit) - count(before);
        let mut generation = face.generation.load(Ordering::Relaxed);
        if more != 0 {
            queue.supply().add(more);
            face.reserve.store(control.config.reserve_of(limit), Ordering::Relaxed);
            generation = generation.wrapping_add(1);
            face.generation.store(generation, Ordering::Relaxed);
        }
        face.calm_level.store(control.calm_level(), Ordering::Relaxed);
        tally.restart(generation, false);
        more
    }

    fn max_wait(&self) -> Duration {
        time::from_nanos(self.shared.max_wait.load(Ordering::Relaxed))
    }

    /// Goes on with other settings while calls run: the limit is moved between the new bounds, and what was learnt stays unless the algorithm or its
    /// parameters change. Permits that are held stay held, and whoever stands in line keeps its place.
    ///
    /// # Errors
    /// What [`build`](AdaptiveLimitConfig::build) would refuse; then nothing is changed.
    pub fn reconfigure(&self, config: &AdaptiveLimitConfig) -> Result<(), ConfigError> {
        ConfigError::check("adaptive limit", config.faults())?;
        self.reconfigure_quietly(config);
        self.tell();
        Ok(())
    }

    /// The same for settings that were checked; nobody is woken before [`tell`](Self::tell).
    pub(crate) fn reconfigure_quietly(&self, config: &AdaptiveLimitConfig) {
        let Shared { queue, face, control, max_wait, .. } = &*self.shared;
        queue.set_terms(config.queue, config.ageing);
        max_wait.store(time::nanos(config.max_wait), Ordering::Relaxed);
        let mut control = lock(control);
        let limit = control.reconfigure(config, Instant::now());
        self.apply(&control, limit);
        face.reserve.store(config.reserve_of(limit), Ordering::Relaxed);
        face.look_at.store(0, Ordering::Relaxed);
    }

    /// Wakes those for whom there is a place now, and tells who watches the limit.
    pub(crate) fn tell(&self) {
        self.shared.changes.tell(self.limit());
        if self.waiting() > 0 {
            self.shared.queue.stir();
        }
    }

    /// Whether both are handles of one limit.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// How many calls may run at once now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.shared.face.limit.load(Ordering::Acquire)
    }

    /// How many permits are held; more than [`limit`](Self::limit) for a while after it shrank, and with critical calls in the reserve. A snapshot.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let free = self.shared.queue.supply().free();
        usize::try_from(count(self.limit()).saturating_sub(free)).unwrap_or(0)
    }

    /// How many more calls could start now. A snapshot.
    #[must_use]
    pub fn available(&self) -> usize {
        usize::try_from(self.shared.queue.supply().free()).unwrap_or(0)
    }

    /// How many calls stand in the queue. A snapshot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// The limit and what it was decided on. Changes nothing.
    #[must_use]
    pub fn snapshot(&self) -> LimitSnapshot {
        let control = lock(&self.shared.control);
        let time = |nanos: f64| (nanos > 0.0).then(|| Duration::from_nanos(nanos as u64));
        LimitSnapshot {
            limit: self.limit(),
            in_use: self.in_use(),
            waiting: self.waiting(),
            baseline: time(control.baseline()),
            latency: time(control.rtt),
            windows: control.windows,
        }
    }

    /// The changes of the limit from here on. A slow subscriber sees the latest and misses what was between.
    #[must_use]
    pub fn subscribe(&self) -> LimitChanges {
        self.shared.changes.subscribe()
    }

    /// What it runs with now.
    pub fn config(&self) -> AdaptiveLimitConfig {
        lock(&self.shared.control).config.clone()
    }
}

impl fmt::Debug for AdaptiveLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptiveLimit")
            .field("limit", &self.limit())
            .field("in_use", &self.in_use())
            .field("waiting", &self.waiting())
            .field("queue", &self.shared.queue.room())
            .finish_non_exhaustive()
    }
}

fn limited() -> Rejected {
    Rejected::new(RejectedKind::ConcurrencyLimited)
}

fn rejected(refusal: Refusal) -> Rejected {
    Rejected::new(match refusal {
        Refusal::Full | Refusal::TooLong => RejectedKind::ConcurrencyLimited,
        Refusal::Deadline => RejectedKind::DeadlineExceeded,
        Refusal::NoRuntime => RejectedKind::NoRuntime,
    })
}

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
    limit: &'a AdaptiveLimit,
    began: Instant,
    in_flight: u32,
    generation: u32,
    is_calm: bool,
}

impl AdaptivePermit<'_> {
    /// The call ended like this. Reads the clock.
    #[inline]
    pub fn settle(self, outcome: Outcome) {
        self.settle_at(outcome, Instant::now());
    }

    /// The same, for a caller that has read the clock already.
    #[inline]
    pub fn settle_at(self, outcome: Outcome, now: Instant) {
        let (limit, told) = (self.limit, (self.began, self.in_flight, self.generation, self.is_calm));
        std::mem::forget(self); // dropping is for those who do not settle
        limit.settle(told, outcome, now);
    }
}

impl Drop for AdaptivePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        let queue = &self.limit.shared.queue;
        if queue.supply().add(1) {
            queue.stir();
        }
    }
}

impl fmt::Debug for AdaptivePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdaptivePermit").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// Waits for a place under an [`AdaptiveLimit`].
#[derive(Debug)]
#[pin_project::pin_project]
#[must_use = "futures do nothing unless polled"]
pub(crate) struct AdaptiveWaiter<'a> {
    limit: &'a AdaptiveLimit,
    #[pin]
    waiting: Waiting<'a, Places>,
}

impl<'a> Future for AdaptiveWaiter<'a> {
    type Output = Result<AdaptivePermit<'a>, Rejected>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let limit = *this.limit;
        // The call begins when its wait ends.
        this.waiting.poll(cx).map(|waited| waited.map(|free| limit.permit(free, Instant::now())).map_err(rejected))
    }
}
