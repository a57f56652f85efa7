//! What a limiter has to give: units, by one algorithm or the other, and the terms on which the queue gets them.

use super::RateLimiterConfig;
use super::gcra::{self, Gcra};
use super::window::{self, Window};
use crate::admission::wait_queue::{Supply, Take};
use crate::sync::atomic::{AtomicBool, Ordering};
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// The timer wakes on whole milliseconds. Whoever waits in line is late by up to one, and is debited as if it had come in time;
/// otherwise a smooth limiter of 300/s would let 250 waiters through. So waiters get the full rate, and come up to 1 ms closer to
/// each other than the burst says. The sliding window gives no such credit: it is exact or nothing.
const TIMER: Duration = Duration::from_millis(1);

/// As long as `tokio` can sleep without losing count (30 years); a waiter that could never go asks again then, or when the setting changes.
const FAR: Duration = Duration::from_secs(946_080_000);

/// What a grant took, to hand it back.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receipt {
    Bucket(gcra::Receipt),
    Window(window::Receipt),
}

impl Receipt {
    pub(super) const fn cost(self) -> u32 {
        match self {
            Self::Bucket(receipt) => receipt.cost,
            Self::Window(receipt) => receipt.cost,
        }
    }

    /// The TAT after a grant of a token bucket, and what had been handed back before it, added up.
    pub(super) const fn then(self) -> u64 {
        match self {
            Self::Bucket(receipt) => receipt.then,
            Self::Window(_) => 0,
        }
    }

    /// What it took beyond so many units.
    pub(super) fn beyond(mut self, units: u32) -> Option<Self> {
        let rest = self.cost().checked_sub(units).filter(|rest| *rest != 0)?;
        match &mut self {
            Self::Bucket(receipt) => receipt.cost = rest,
            Self::Window(receipt) => receipt.cost = rest,
        }
        Some(self)
    }
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one to a limiter, and the common path wants no pointer to follow")]
enum Algorithm {
    Bucket(Gcra),
    Window(Window),
}

#[derive(Debug)]
pub(super) struct Meter {
    algorithm: Algorithm,
    /// Somebody stands in line.
    crowded: AtomicBool,
}

impl Meter {
    pub(super) fn new(config: &RateLimiterConfig, epoch: Instant) -> Self {
        let algorithm = if config.sliding {
            Algorithm::Window(Window::new(config.units, config.period, epoch))
        } else {
            Algorithm::Bucket(Gcra::new(config.units, config.period, config.capacity(), epoch))
        };
        Self { algorithm, crowded: AtomicBool::new(false) }
    }

    /// A token bucket that is in debt until a TAT, in ticks of its pace since `epoch`, after so many ticks were handed back.
    pub(super) fn owing(config: &RateLimiterConfig, epoch: Instant, tat: u64, returned: u64) -> Self {
        let bucket = Gcra::new(config.units, config.period, config.capacity(), epoch).owing(tat, returned);
        Self { algorithm: Algorithm::Bucket(bucket), crowded: AtomicBool::new(false) }
    }

    /// What [`owing`](Self::owing) goes on from.
    pub(super) fn owed(&self) -> (u64, u64) {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => (bucket.tat(), bucket.returned()),
            Algorithm::Window(_) => (0, 0),
        }
    }

    /// Whether the rate is still the one of that grant.
    pub(super) fn is_of_now(&self, receipt: Receipt) -> bool {
        matches!((&self.algorithm, receipt), (Algorithm::Bucket(bucket), Receipt::Bucket(receipt)) if bucket.is_of_now(receipt))
    }

    /// A receipt of a token bucket, from [what is known](Receipt::then) of its grant.
    pub(super) fn receipt(&self, cost: u32, then: u64) -> Option<Receipt> {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => Some(Receipt::Bucket(bucket.receipt(cost, then))),
            Algorithm::Window(_) => None,
        }
    }

    /// Takes `cost` units, or tells how long until they will be there; `Duration::MAX` when never.
    #[inline(always)] // a receipt that is passed through memory costs more than the check
    pub(super) fn take(&self, cost: NonZeroU32, now: Instant) -> Result<Receipt, Duration> {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.take(cost, now).map(Receipt::Bucket),
            Algorithm::Window(window) => window.take(cost, now).map(Receipt::Window),
        }
    }

    /// The same for one who waited in line and may be late.
    fn take_late(&self, cost: NonZeroU32, now: Instant) -> Result<Receipt, Duration> {
        let in_time = match &self.algorithm {
            Algorithm::Bucket(_) => now.checked_sub(TIMER),
            Algorithm::Window(_) => None,
        };
        let Some(in_time) = in_time else { return self.take(cost, now) };
        match self.take(cost, in_time) {
            Ok(receipt) => Ok(receipt),
            Err(early) if early <= TIMER => self.take(cost, in_time + early),
            Err(_) => self.take(cost, now),
        }
    }

    #[inline]
    pub(super) fn give_back(&self, receipt: Receipt) {
        match (&self.algorithm, receipt) {
            (Algorithm::Bucket(bucket), Receipt::Bucket(receipt)) => bucket.give_back(receipt, Instant::now),
            (Algorithm::Window(window), Receipt::Window(receipt)) => window.give_back(receipt),
            _ => {}
        }
    }

    /// Hands back units, whoever took them.
    #[inline]
    pub(super) fn refund(&self, units: u32, now: Instant) {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.refund(units, now),
            Algorithm::Window(window) => window.refund(units, now),
        }
    }

    /// Takes units whether they are there or not, until none is left.
    #[inline]
    pub(super) fn charge(&self, units: u32, now: Instant) {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.charge(units, now),
            Algorithm::Window(window) => window.charge(units, now),
        }
    }

    /// How long until `units` will have come free, if nobody else takes any; may be more than fits a burst.
    #[inline]
    pub(super) fn wait_for(&self, units: u64, now: Instant) -> Duration {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.wait_for(units, now),
            Algorithm::Window(window) => window.wait_for(units, now),
        }
    }

    #[inline]
    pub(super) fn available(&self, now: Instant) -> u32 {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.available(now),
            Algorithm::Window(window) => window.available(now),
        }
    }

    /// The largest cost that can ever be granted.
    pub(super) fn capacity(&self) -> u32 {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.capacity(),
            Algorithm::Window(window) => window.capacity(),
        }
    }

    pub(super) fn set(&self, config: &RateLimiterConfig, now: Instant) {
        match &self.algorithm {
            Algorithm::Bucket(bucket) => bucket.set(config.units, config.period, config.capacity(), now),
            Algorithm::Window(window) => window.set(config.units, config.period),
        }
    }
}

impl Supply for Meter {
    type Grant = Option<Receipt>;

    fn critical_first(&self) -> bool {
        true
    }

    /// Only the first in line has a moment to wait for; the others wait for it.
    fn slots(&self) -> usize {
        1
    }

    fn take(&self, now: Instant, cost: u32) -> Take<Self::Grant> {
        let Some(cost) = NonZeroU32::new(cost) else { return Take::Taken(None) };
        let answer = if self.crowded.load(Ordering::Relaxed) { self.take_late(cost, now) } else { self.take(cost, now) };
        match answer {
            Ok(receipt) => Take::Taken(Some(receipt)),
            Err(wait) => Take::At(now + wait.clamp(Duration::from_nanos(1), FAR)),
        }
    }

    fn crowd(&self, standing: bool) {
        self.crowded.store(standing, Ordering::Relaxed);
    }
}
