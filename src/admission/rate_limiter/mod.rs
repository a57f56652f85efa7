//! Keeps calls within a quota: so many per second.
//!
//! Use it where the other side counts (a paid API, a fragile service), or to be a polite client. It limits how *often* you call, not
//! how many calls run *at once*: for that use a [`Bulkhead`](crate::Bulkhead). It knows nothing of other processes with the same quota.
//!
//! ```text
//!                  conforms, nobody before it
//!   call ─────────────────────────────────────────▶ goes       (the debt grows by its cost, and shrinks at the rate)
//!     │ does not, and may wait            ▲
//!     ├──────────▶ in line ───────────────┘ its turn has come
//!     │              │ pushed past its limit by more important ones
//!     ▼              ▼
//!   refused at once with `RateLimited` and the time to come back
//! ```
//!
//! Two algorithms:
//!
//! * **token bucket** (the default): governor's GCRA. In any stretch of time `t` at most `burst + rate * t`; a whole burst at once,
//!   then evenly. One atomic number, no lock. (Where callers wait, `t` is [a millisecond longer](RateLimiterConfig::max_wait).)
//! * **[sliding window](RateLimiterConfig::sliding_window)**: at most `n` in *any* interval as long as the period. For quotas that
//!   the provider counts so, where one call too many costs a ban. A lock, and a log of the grants.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::RateLimiter;
//!
//! let limiter = RateLimiter::per_second(100).burst(2).build()?;
//! limiter.try_acquire(1)?;
//! limiter.try_acquire(1)?;
//! let refused = limiter.try_acquire(1).unwrap_err();
//! assert!(refused.retry_after().unwrap() <= std::time::Duration::from_millis(10));
//! # Ok(()) }
//! ```
//!
//! Rates are exact at any number of units in any period: nothing is rounded, over no length of time. Time is the monotonic clock, which
//! stands still on Linux while the machine sleeps: nothing comes free meanwhile.
//!
//! Unless told otherwise it refuses at once. With [`max_wait`](RateLimiterConfig::max_wait), callers stand in line: by [`Priority`],
//! then first come, first served. Who waits holds a place, not units: dropped, everybody behind moves up.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::{Call, RateLimiter};
//!
//! // A loop that waits for its turns. Without `max_wait` the sixth turn would be an error. (Blocking code sleeps for the
//! // `retry_after` that `try_acquire` refuses with.)
//! let limiter = RateLimiter::per_second(50).burst(5).max_wait(Duration::MAX).build()?;
//! for _page in 0..10 {
//!     limiter.acquire(&Call::now()).await?;
//! }
//! # Ok(()) }
//! ```

mod config;
mod cost;
mod gcra;
mod meter;
mod reservation;
mod settings;
#[cfg(test)]
mod tests;
mod waiter;
mod window;

pub use config::RateLimiterConfig;
pub use cost::Cost;
pub(in crate::admission) use gcra::Pace;
pub use reservation::Reservation;
pub(crate) use waiter::RateLimiterWaiter;

use super::gate::Entry;
use super::steering::Pilot;
use super::wait_queue::{Door, Refusal, Request, Take, WaitQueue};
use crate::call::{Call, Priority};
use crate::outcome::{Rejected, RejectedKind};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time;
use meter::{Meter, Receipt};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Lets so many units through in a period, and refuses the rest or makes it wait.
///
/// A cheap handle: clones share the quota.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::{Call, Priority, RateLimiter};
/// use std::time::Duration;
///
/// let limiter = RateLimiter::per_minute(60).smooth().max_wait(Duration::from_secs(5)).build()?;
/// for _ in 0..3 {
///     limiter.acquire(&Call::now().priority(Priority::High)).await?; // at 0 s, 1 s and 2 s
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RateLimiter {
    shared: Arc<Shared>,
}

struct Shared {
    queue: WaitQueue<Meter>,
    /// In nanoseconds; the maximum is for ever.
    max_wait: AtomicU64,
    config: Mutex<RateLimiterConfig>,
    steering: OnceLock<Box<Pilot>>,
}

impl RateLimiter {
    fn from_config(config: RateLimiterConfig) -> Self {
        let meter = Meter::new(&config, Instant::now());
        Self::with(config, meter)
    }

    /// A token bucket that goes on from what another one counted: its TAT, and what was handed back so far, in ticks since `epoch`.
    pub(in crate::admission) fn owing(config: RateLimiterConfig, epoch: Instant, tat: u64, returned: u64) -> Self {
        let meter = Meter::owing(&config, epoch, tat, returned);
        Self::with(config, meter)
    }

    /// What [`owing`](Self::owing) goes on from.
    pub(in crate::admission) fn owed(&self) -> (u64, u64) {
        self.shared.queue.supply().owed()
    }

    /// Hands back units of a token bucket whose reservation was [kept](Reservation::kept), or which the bucket had given before it went on
    /// as this one. Nobody is woken: [`tell`](Self::tell) does it.
    pub(in crate::admission) fn hand_back_quietly(&self, units: u32, then: u64) {
        let meter = self.shared.queue.supply();
        if let Some(receipt) = meter.receipt(units, then) {
            meter.give_back(receipt);
        }
    }

    fn with(config: RateLimiterConfig, meter: Meter) -> Self {
        let queue = WaitQueue::new(meter, config.queue, config.ageing);
        queue.set_shedding(config.shed);
        let shared =
            Shared { queue, max_wait: AtomicU64::new(time::nanos(config.max_wait)), config: Mutex::new(config), steering: OnceLock::new() };
        Self { shared: Arc::new(shared) }
    }

    /// So many units a second.
    pub const fn per_second(units: u32) -> RateLimiterConfig {
        Self::per(units, Duration::from_secs(1))
    }

    /// So many units a minute.
    pub const fn per_minute(units: u32) -> RateLimiterConfig {
        Self::per(units, Duration::from_secs(60))
    }

    /// So many units an hour.
    pub const fn per_hour(units: u32) -> RateLimiterConfig {
        Self::per(units, Duration::from_secs(60 * 60))
    }

    /// So many units in a period of any length, up to 73 years.
    pub const fn per(units: u32, period: Duration) -> RateLimiterConfig {
        RateLimiterConfig::new(units, period)
    }

    /// Takes `cost` units now, overtaking nobody who waits; a cost of 0 is free.
    ///
    /// # Errors
    /// [`RejectedKind::RateLimited`], with the time to come back; without one when the cost is more than fits a burst, for that can
    /// never be. A refusal takes nothing.
    pub fn try_acquire(&self, cost: u32) -> Result<(), Rejected> {
        self.try_acquire_at(cost, Instant::now())
    }

    /// The same, at a moment of your choice: for those who have read the clock already. Of many threads each may be a second late with
    /// its reading; one that is later still is taken at its word only if the clock has gone back since.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    pub fn try_acquire_at(&self, cost: u32, now: Instant) -> Result<(), Rejected> {
        self.shared.try_take(cost, Priority::Normal, now).map(drop)
    }

    /// Takes the call's cost, waiting for its turn for as long as [`max_wait`](RateLimiterConfig::max_wait) (not at all, unless set)
    /// and the call's deadline allow.
    ///
    /// # Errors
    /// [`RejectedKind::RateLimited`] as in [`try_acquire`](Self::try_acquire), at once when the wait would be too long or the queue is
    /// full, later when more important calls made it so; [`RejectedKind::DeadlineExceeded`] when the deadline comes while it waits;
    /// [`RejectedKind::NoRuntime`] when it has to wait outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it has taken nothing, and everybody behind it moves up.
    pub async fn acquire(&self, call: &Call<'_>) -> Result<(), Rejected> {
        let reservation = match self.enter(call.cost, call.priority, Instant::now(), || *call) {
            Entry::Granted(reservation) => reservation,
            Entry::Refused(rejected) => return Err(rejected),
            Entry::Wait(waiter) => waiter.await?,
        };
        reservation.keep();
        Ok(())
    }

    /// Takes the call's cost now, as something to hand back: for when it is not yet sure that the call will be made.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire): it does not wait.
    pub fn reserve(&self, call: &Call<'_>) -> Result<Reservation<'_>, Rejected> {
        let receipt = self.shared.try_take(call.cost, call.priority, Instant::now())?;
        Ok(Reservation { shared: &self.shared, receipt })
    }

    /// Hands back units of calls that cost less than they took: for a provider that refunds the difference, as soon as it says so. It is
    /// never fuller than full. Where the call is still to be made, a [`reserve`](Self::reserve) that is [settled](Reservation::settle)
    /// is exact about units that have come free meanwhile.
    pub fn refund(&self, units: u32) {
        self.shared.queue.supply().refund(units, Instant::now());
        if self.shared.queue.waiting() != 0 {
            self.shared.queue.retime();
        }
    }

    /// Takes units of calls that cost more than they took, whether they are there or not; at most until nothing is left.
    pub fn charge(&self, units: u32) {
        self.shared.queue.supply().charge(units, Instant::now());
    }

    /// A reservation where there are units and nobody stands in line; what [`enter`](Self::enter) says must be asked otherwise.
    #[inline]
    pub(crate) fn pass(&self, cost: u32, priority: Priority, now: Instant) -> Option<Reservation<'_>> {
        let shared = &*self.shared;
        let Some(cost) = NonZeroU32::new(cost) else { return Some(Reservation { shared, receipt: None }) };
        if shared.steering.get().is_some() {
            return None; // `enter` is asked next, and steers
        }
        let receipt = shared.take(cost, priority, now).ok()?;
        Some(Reservation { shared, receipt: Some(receipt) })
    }

    /// The door of a pipeline. Most calls need no more than cost, priority and time; the whole `call` is asked for to wait.
    #[inline]
    pub(crate) fn enter<'a, 'k>(
        &'a self,
        cost: u32,
        priority: Priority,
        now: Instant,
        call: impl FnOnce() -> Call<'k>,
    ) -> Entry<Reservation<'a>, RateLimiterWaiter<'a>> {
        let shared = &*self.shared;
        let Some(cost) = NonZeroU32::new(cost) else { return Entry::Granted(Reservation { shared, receipt: None }) };
        shared.steer(cost, now);
        match shared.take(cost, priority, now) {
            Ok(receipt) => Entry::Granted(Reservation { shared, receipt: Some(receipt) }),
            Err(wait) => shared.stand_in_line(&call(), wait, now),
        }
    }

    /// How many units could be taken now, if nobody waited for them.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.available_at(Instant::now())
    }

    /// How many units could be taken at that moment, if nobody waited for them and nobody took any before.
    #[must_use]
    pub fn available_at(&self, now: Instant) -> u32 {
        self.shared.queue.supply().available(now)
    }

    /// How many callers wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// Whether both are handles of one limiter.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter").field("config", &self.config()).field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Takes, if that overtakes nobody; or tells how long until it could. `Critical` goes before every waiter that is not.
    #[inline(always)] // as in `Meter::take`
    fn take(&self, cost: NonZeroU32, priority: Priority, now: Instant) -> Result<Receipt, Duration> {
        if self.queue.waiting() == 0 || (priority == Priority::Critical && self.queue.cost_ahead(priority) == 0) {
            return self.queue.supply().take(cost, now);
        }
        Err(self.wait_for(cost, priority, now))
    }

    /// The wait at the end of the line.
    fn wait_for(&self, cost: NonZeroU32, priority: Priority, now: Instant) -> Duration {
        let meter = self.queue.supply();
        if cost.get() > meter.capacity() {
            return Duration::MAX;
        }
        let ahead = if self.queue.waiting() == 0 { 0 } else { self.queue.cost_ahead(priority) };
        meter.wait_for(ahead.saturating_add(u64::from(cost.get())), now)
    }

    /// For one who will not wait.
    #[inline]
    fn try_take(&self, cost: u32, priority: Priority, now: Instant) -> Result<Option<Receipt>, Rejected> {
        let Some(cost) = NonZeroU32::new(cost) else { return Ok(None) };
        self.steer(cost, now);
        // Who will not stand in line goes behind all who do, whatever their priority: they may have aged.
        let place = if priority == Priority::Critical { priority } else { Priority::Background };
        match self.take(cost, place, now) {
            Ok(receipt) => Ok(Some(receipt)),
            Err(wait) => {
                if self.queue.waiting() == 0 {
                    return Err(limited(wait));
                }
                // Those before it may all be parked somewhere, unpolled; the queue finds out.
                match self.queue.try_take(now, cost.get()) {
                    Take::Taken(receipt) => Ok(receipt),
                    Take::At(_) | Take::NotNow => Err(limited(wait)),
                }
            }
        }
    }

    #[cold]
    fn stand_in_line<'a>(&'a self, call: &Call<'_>, wait: Duration, now: Instant) -> Entry<Reservation<'a>, RateLimiterWaiter<'a>> {
        let deadline = call.attempt.deadline;
        let max_wait = time::from_nanos(self.max_wait.load(Ordering::Relaxed));
        let until = time::after(now, max_wait);
        // After the wait so far; `Critical` has only looked at the bucket, and others like it may have come since.
        let wait =
            if max_wait.is_zero() { wait } else { NonZeroU32::new(call.cost).map_or(wait, |cost| self.wait_for(cost, call.priority, now)) };
        let too_long = wait > max_wait || wait == Duration::MAX;
        if too_long || deadline.is_some_and(|deadline| deadline.saturating_duration_since(now) <= wait) {
            return Entry::Refused(limited(wait));
        }
        if Handle::try_current().is_err() {
            return Entry::Refused(Rejected::new(RejectedKind::NoRuntime));
        }
        let request = Request { now, priority: call.priority, cost: call.cost, until, deadline };
        match self.queue.enter(request) {
            Door::Taken(receipt) => Entry::Granted(Reservation { shared: self, receipt }),
            Door::Refused(refusal) => Entry::Refused(self.refused(refusal, call, now)),
            Door::Wait(waiting) => Entry::Wait(RateLimiterWaiter::new(self, waiting, *call)),
        }
    }

    #[cold]
    fn refused(&self, refusal: Refusal, call: &Call<'_>, now: Instant) -> Rejected {
        match refusal {
            Refusal::NoRuntime => Rejected::new(RejectedKind::NoRuntime),
            Refusal::Deadline if call.attempt.deadline.is_some_and(|deadline| deadline <= now) => {
                Rejected::new(RejectedKind::DeadlineExceeded)
            }
            Refusal::Full | Refusal::TooLong | Refusal::Deadline => {
                limited(NonZeroU32::new(call.cost).map_or(Duration::ZERO, |cost| self.wait_for(cost, call.priority, now)))
            }
        }
    }
}

/// `Duration::MAX`: never.
#[cold]
fn limited(wait: Duration) -> Rejected {
    let rejected = Rejected::new(RejectedKind::RateLimited);
    if wait == Duration::MAX { rejected } else { rejected.with_retry_after(wait) }
}
