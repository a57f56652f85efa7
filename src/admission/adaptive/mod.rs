//! The adaptive concurrency limit: as many calls at once as the dependency can work on, found out while they run.
//!
//! Beyond what a dependency can work on, more calls at once only make its queue longer, until every answer comes too late to be of use. A
//! [`Bulkhead`](crate::Bulkhead) with the right limit prevents that; this finds the limit, and finds it anew when the dependency gets more servers or loses some.
//!
//! Not for what has a known limit (the size of a connection pool is a bulkhead), nor for a handful of calls a minute: it learns from
//! some fifty calls at a time. Not for a dependency whose time depends on the request far more than on the load, unless the mix is steady.
//!
//! ```text
//!   call ──▶ place? ──yes──▶ permit ──▶ runs ──▶ settled ──▶ place free again, next in line is woken
//!              │no                                  │ time and outcome
//!              ▼                                    ▼
//!        queue, or ConcurrencyLimited          window (100 ms and 50 calls) ──over──▶ algorithm ──▶ new limit
//! ```
//!
//! ```
//! use steadfast::{AdaptiveLimit, Outcome, RejectedKind, Verdict};
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! let limit = AdaptiveLimit::new().initial(2).build()?;
//! let (first, second) = (limit.try_acquire().expect("a place"), limit.try_acquire().expect("a place"));
//! assert_eq!(limit.try_acquire().unwrap_err().kind(), RejectedKind::ConcurrencyLimited);
//!
//! first.settle(Outcome::Judged(Verdict::Success)); // its time is a sample
//! drop(second);                                    // nothing is learnt from this one
//! assert_eq!(limit.available(), 2);
//! # Ok(()) }
//! ```
//!
//! # Which algorithm when
//!
//! | constructor | decides by | for | beware |
//! |---|---|---|---|
//! | [`new`](AdaptiveLimit::new) | throughput × time of a call without a queue (Little's law), and whether a queue empties by itself | everything, unless you know better | many callers that saturate one dependency together for minutes: each takes part of the others' queue for work, and the limits grow to several times the right one; set [`max`](AdaptiveLimitConfig::max) |
//! | [`aimd`](AdaptiveLimit::aimd) | timeouts: one more in each window, a tenth less after one | dependencies that drop what they cannot serve; many callers of one dependency, for it is fair among them | needs timeouts, and lives at the edge of them: the queue is as long as the timeout allows |
//! | [`vegas`](AdaptiveLimit::vegas) | the shortest time ever measured | calls that all take about the same | times that differ: the shortest is by chance far too short, and at four fifths of the capacity a quarter of the calls is refused |
//! | [`gradient2`](AdaptiveLimit::gradient2) | the long-term mean of the times to the latest | load that comes in waves, with rests between | lasting saturation: the queue it leaves becomes the new normal, and 20 becomes 200 |
//!
//! What is said here of each is held against a queueing model in `tests/adaptive_limit.rs`. Under saturation [`new`](AdaptiveLimit::new) comes to between
//! 1 and 1.6 times the capacity within ten windows, from a tenth of it or twenty times as much; at four fifths of the capacity it refuses less than 1 %
//! (10 servers or more, exponential times); in threefold overload it keeps the servers more than 96 % busy.
//!
//! # What counts
//!
//! * An answer's time is a sample. So is a timeout, of at least its length, and a sign of overload. A server that asks to be left alone
//!   ([`Verdict::Transient`](crate::Verdict::Transient) with `retry_after`) is a sign of overload.
//! * Other errors are neither: failing fast is not working fast. Where more than a quarter fails, the limit does not grow.
//! * What was abandoned, ignored, or never sent says nothing. Nor does a call that began before the latest change of the limit; so there
//!   is at most one decrease in a round trip.
//! * A limit grows only when it is used: with fewer than half of it in flight it stays.
//!
//! # Sources
//!
//! * V. Jacobson, *Congestion Avoidance and Control*, SIGCOMM 1988; D. Chiu and R. Jain, *Analysis of the Increase and Decrease Algorithms for
//!   Congestion Avoidance in Computer Networks*, Computer Networks and ISDN Systems 17 (1989): AIMD.
//! * L. Brakmo and L. Peterson, *TCP Vegas: End to End Congestion Avoidance on a Global Internet*, IEEE JSAC 13 (1995).
//! * Netflix, *concurrency-limits* (AIMD, Vegas, Gradient2 and their parameters); failsafe-go's `adaptivelimiter`; Envoy's adaptive concurrency filter,
//!   which measures its `minRTT` at a lowered limit and drops samples from before that (pull request 11579).
//! * K. Nichols and V. Jacobson, *Controlling Queue Delay*, ACM Queue 10 (2012): standing queues and good ones.
//! * N. Cardwell and others, *BBR: Congestion-Based Congestion Control*, ACM Queue 14 (2016).

mod config;
mod control;
mod limits;
#[cfg(all(test, steadfast_loom))]
mod models;
mod permit;
mod sampling;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;
mod watch;

use super::gate::Entry;
use super::places::{Grab, Places, count};
use super::wait_queue::{Door, Take, WaitQueue};
use crate::call::{Call, Priority};
use crate::fault::ConfigError;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Counter, Mutex, lock};
use crate::time;
pub use config::AdaptiveLimitConfig;
pub(crate) use config::Algorithm;
use control::{Control, Step};
pub(crate) use permit::AdaptiveWaiter;
use permit::Facts;
pub use permit::{AdaptivePermit, LimitSnapshot};
use sampling::{Sample, Tally};
use std::fmt;
use std::sync::{Arc, TryLockError};
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
    /// How many calls found no place.
    pressed: Counter,
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
    /// The algorithm to begin with, our own: finds the capacity within a few windows from far below or above it, leaves room for bursts while there is no
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
        let queue = WaitQueue::new(Places::new(limit, true), config.queue, config.ageing);
        queue.set_shedding(config.shed);
        let max_wait = AtomicU64::new(time::nanos(config.max_wait));
        let shared = Shared {
            queue,
            face,
            tally: Tally::default(),
            pressed: Counter::default(),
            control: Mutex::new(control),
            changes: watch::sender(limit),
            max_wait,
            epoch,
        };
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
                _ => Err(self.refuse()),
            },
            Grab::Full => Err(self.refuse()),
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
            grab => self.stand_in_line(now, &call(), matches!(grab, Grab::Crowded)),
        }
    }

    #[cold]
    fn stand_in_line<'a>(&'a self, now: Instant, call: &Call<'_>, crowded: bool) -> Entry<AdaptivePermit<'a>, AdaptiveWaiter<'a>> {
        let queue = &self.shared.queue;
        self.shared.pressed.add(1);
        if call.priority == Priority::Critical
            && let Some(free) = queue.supply().overdraw(self.shared.face.reserve.load(Ordering::Relaxed))
        {
            return Entry::Granted(self.permit(free, now));
        }
        match queue.line_up(now, call, crowded, self.max_wait()) {
            Door::Taken(free) => Entry::Granted(self.permit(free, now)),
            Door::Refused(refusal) => Entry::Refused(refusal.rejected(RejectedKind::ConcurrencyLimited)),
            Door::Wait(waiting) => Entry::Wait(AdaptiveWaiter { limit: self, waiting }),
        }
    }

    #[inline]
    fn permit(&self, free: isize, now: Instant) -> AdaptivePermit<'_> {
        let face = &self.shared.face;
        let limit = face.limit.load(Ordering::Relaxed);
        let in_flight = u32::try_from(count(limit).saturating_sub(free).max(1)).unwrap_or(u32::MAX);
        let is_calm = in_flight <= face.calm_level.load(Ordering::Relaxed);
        let generation = face.generation.load(Ordering::Relaxed);
        let began = time::nanos_since(self.shared.epoch, now);
        AdaptivePermit { limit: self, facts: Facts::of(began, generation, in_flight, is_calm) }
    }

    /// Gives a place back, and tells what came of the call.
    #[inline]
    fn settle(&self, facts: Facts, outcome: Outcome, now: Instant) {
        let Shared { face, tally, epoch, .. } = &*self.shared;
        let (sample, nanos) = (Sample::from(outcome), time::nanos_since(*epoch, now));
        if sample != Sample::Nothing {
            tally.add(facts.generation, sample, nanos.saturating_sub(facts.began), facts.in_flight(), facts.is_calm());
        }
        self.give_back();
        if nanos >= face.look_at.load(Ordering::Relaxed) {
            self.look(now);
        }
    }

    #[inline]
    fn give_back(&self) {
        let queue = &self.shared.queue;
        if queue.supply().add(1) {
            queue.stir();
        }
    }

    /// Closes the window if it is over. Whoever comes while somebody else does need not.
    #[cold]
    fn look(&self, now: Instant) {
        let Shared { face, tally, pressed, control, epoch, .. } = &*self.shared;
        let mut control = match control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if time::nanos_since(*epoch, now) < face.look_at.load(Ordering::Relaxed) {
            return;
        }
        let step = control.look(now, &tally.sum(), self.in_use(), pressed.get());
        let look_at = control.next_look(now).map_or(u64::MAX, |at| time::nanos_since(*epoch, at));
        face.look_at.store(look_at, Ordering::Relaxed);
        let limit = match step {
            Step::Wait => return,
            Step::Settled => return tally.restart(face.generation.load(Ordering::Relaxed), true),
            Step::Restart(limit) => limit,
        };
        let before = self.apply(&control, limit);
        drop(control);
        if limit != before {
            self.tell();
        }
    }

    /// Puts a limit in force and begins to count anew; the caller holds the control. Returns the limit before.
    fn apply(&self, control: &Control, limit: usize) -> usize {
        let Shared { queue, face, tally, .. } = &*self.shared;
        let before = face.limit.swap(limit, Ordering::AcqRel);
        let mut generation = face.generation.load(Ordering::Relaxed);
        if limit != before {
            queue.supply().add(count(limit) - count(before));
            face.reserve.store(control.config.reserve_of(limit), Ordering::Relaxed);
            generation = generation.wrapping_add(1);
            face.generation.store(generation, Ordering::Relaxed);
        }
        face.calm_level.store(control.calm_level(), Ordering::Relaxed);
        tally.restart(generation, false);
        before
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
        queue.set_shedding(config.shed);
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
        self.shared.queue.stir();
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
        self.shared.queue.supply().in_use(self.limit())
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

impl AdaptiveLimit {
    #[cold]
    fn refuse(&self) -> Rejected {
        self.shared.pressed.add(1);
        limited()
    }
}

fn limited() -> Rejected {
    Rejected::new(RejectedKind::ConcurrencyLimited)
}
