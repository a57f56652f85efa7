//! The token bucket: governor's generic cell rate algorithm (GCRA), without its rounding and with a state that may change.
//!
//! The whole state is one number, the *theoretical arrival time* (TAT): when the bucket will be full again. A grant moves it one
//! interval later for each unit; a call conforms when the TAT stays within a full burst from now.
//!
//! Governor counts time in whole units, so an interval of 60 s / 700 would be cut to 85 714 285 ns and the limiter would run fast.
//! It does not care what a unit is, though. So we give it a clock of our own, whose *tick* is the interval divided by the next whole
//! number of nanoseconds: an interval is a whole number of ticks, always, and a tick is a nanosecond or a little less. The rate is
//! exact for ever; one decision may be early by less than a nanosecond.

use crate::sync::{Mutex, Padded, atomic, lock};
use crate::time;
use atomic::{AtomicU64, Ordering, fence};
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

#[cfg(all(test, steadfast_loom))]
mod models;
#[cfg(test)]
mod tests;

/// The longest time to fill a bucket, in ticks (73 years): four of these fit into 64 bits, so no sum here overflows.
pub(super) const LONGEST_FILL: u64 = 1 << 61;
/// The last moment we can tell from others (146 years after the start).
const END_OF_TIME: u64 = 1 << 62;
/// Threads read the clock and then come here in any order. A TAT further ahead than that explains means that the clock went back, or
/// that the reading is old.
const DISORDER: u64 = 1_000_000_000;

/// The numbers of one setting of the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) struct Pace {
    /// Ticks in one interval.
    interval: u64,
    /// Units in a full bucket.
    burst: u32,
    /// Nanoseconds in a period.
    period: u64,
    /// By how many ticks a period is longer than its nanoseconds.
    excess: u64,
    /// The TAT is at most so far ahead, in ticks. More than a full bucket when the burst was lowered.
    most_debt: u64,
    /// Changes with each setting.
    version: u64,
}

impl Pace {
    pub(in crate::admission) fn new(units: u32, period: Duration, burst: u32) -> Self {
        let units = u64::from(units.max(1));
        let period = time::nanos(period).max(1);
        let interval = period.div_ceil(units);
        let excess = interval.saturating_mul(units).saturating_sub(period);
        Self { interval, burst: burst.max(1), period, excess, most_debt: interval.saturating_mul(u64::from(burst)), version: 0 }
    }

    /// The tick in which a nanosecond begins.
    #[inline]
    pub(in crate::admission) fn tick(&self, nanos: u64) -> u64 {
        let nanos = nanos.min(END_OF_TIME);
        if self.excess == 0 {
            return nanos;
        }
        let (periods, rest) = (nanos / self.period, nanos % self.period);
        let part = match rest.checked_mul(self.excess) {
            Some(product) => product / self.period,
            #[expect(clippy::cast_possible_truncation, reason = "rest < period, so the quotient is less than the excess")]
            None => (u128::from(rest) * u128::from(self.excess) / u128::from(self.period)) as u64,
        };
        nanos + periods * self.excess + part
    }

    /// The first nanosecond that is in this tick or later.
    pub(in crate::admission) fn nanos(&self, tick: u64) -> u64 {
        if self.excess == 0 {
            return tick;
        }
        let longer = u128::from(self.period) + u128::from(self.excess);
        u64::try_from((u128::from(tick) * u128::from(self.period)).div_ceil(longer)).unwrap_or(u64::MAX)
    }

    #[inline]
    pub(in crate::admission) fn full(&self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst))
    }

    /// The TAT as it counts at `now`: a clock that went back must not make it deny for longer than an empty bucket would.
    #[inline]
    fn sane(&self, tat: u64, now: u64) -> u64 {
        if tat > now + self.most_debt + DISORDER { now + self.full() } else { tat }
    }

    fn debt(&self, tat: u64, now: u64) -> u64 {
        self.sane(tat, now).saturating_sub(now)
    }

    /// The check itself, for who keeps the TAT under a lock of its own: the TAT after a grant of `cost` units, or the tick in which it
    /// would be granted; `None` when never.
    #[inline]
    pub(in crate::admission) fn take(&self, tat: u64, now: u64, cost: u32) -> Result<u64, Option<u64>> {
        let full = self.full();
        let next = self.sane(tat, now).max(now).saturating_add(self.interval.saturating_mul(u64::from(cost)));
        match next.saturating_sub(full) {
            earliest if earliest <= now => Ok(next),
            earliest => Err((cost <= self.burst).then_some(earliest)),
        }
    }

    /// The TAT without a grant of `cost` units after which it was `then` (less what others have handed back since), as far as time has not
    /// made that good; see [`Gcra::give_back`].
    pub(in crate::admission) fn returned(&self, tat: u64, then: u64, cost: u32, now: u64) -> (u64, u64) {
        let still_owed = then.saturating_sub(now);
        let back = still_owed.min(self.interval.saturating_mul(u64::from(cost)));
        (tat.saturating_sub(back), back)
    }

    /// The units that are there.
    pub(in crate::admission) fn units(&self, tat: u64, now: u64) -> u32 {
        u32::try_from(self.full().saturating_sub(self.debt(tat, now)) / self.interval).unwrap_or(u32::MAX)
    }

    /// What is owed of a bucket of this pace, in ticks of another. Debts round up, what is free rounds down.
    pub(in crate::admission) fn carried(&self, new: &Self, tat: u64, nanos: u64) -> u64 {
        let debt = self.debt(tat, self.tick(nanos));
        let free = self.full().saturating_sub(debt);
        let scaled = |ticks: u64| u128::from(ticks) * u128::from(new.interval);
        let owed = scaled(debt).div_ceil(u128::from(self.interval));
        let used = u128::from(new.full()).saturating_sub(scaled(free) / u128::from(self.interval));
        u64::try_from(owed.max(used)).unwrap_or(u64::MAX).min(LONGEST_FILL)
    }

    /// Ticks of one unit.
    pub(in crate::admission) const fn interval(&self) -> u64 {
        self.interval
    }

    /// The same, for buckets that were filled at another pace and may still owe so much.
    pub(in crate::admission) fn after(self, old: &Self) -> Self {
        let most_debt = self.interval.saturating_mul(u64::from(old.burst.max(self.burst))).min(LONGEST_FILL);
        Self { most_debt: most_debt.max(self.most_debt), ..self }
    }
}

/// What a grant took, to hand it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    version: u64,
    pub(super) cost: u32,
    /// The TAT right after the grant, and what had been handed back, in all, before it: added up, wrapping.
    pub(super) then: u64,
}

/// The TAT, and what has been handed back so far, in ticks, wrapping.
#[derive(Debug, Default)]
struct Debt {
    tat: AtomicU64,
    returned: AtomicU64,
}

/// The setting, readable without a lock: a version that is odd while a setting is being changed, and the numbers.
#[derive(Debug, Default)]
struct Setting {
    version: AtomicU64,
    interval: AtomicU64,
    burst: AtomicU64,
    period: AtomicU64,
    excess: AtomicU64,
    most_debt: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Gcra {
    epoch: Instant,
    setting: Padded<Setting>,
    debt: Padded<Debt>,
    /// Held by who changes the setting, or hands back.
    change: Mutex<()>,
}

impl Gcra {
    pub(super) fn new(units: u32, period: Duration, burst: u32, epoch: Instant) -> Self {
        let gcra = Self { epoch, setting: Padded::default(), debt: Padded::default(), change: Mutex::new(()) };
        gcra.write(&Pace::new(units, period, burst));
        gcra
    }

    /// Takes `cost` units, or tells how long until they will be there; `Duration::MAX` when never.
    #[inline(always)] // as in `Meter::take`
    pub(super) fn take(&self, cost: NonZeroU32, now: Instant) -> Result<Receipt, Duration> {
        let mut nanos = time::nanos_since(self.epoch, now);
        let mut fresh = false;
        loop {
            let pace = self.pace();
            let now = pace.tick(nanos);
            let (debt, version) = (&self.debt.0, &self.setting.0.version);
            let state = State { debt, version, pace: &pace, now, fresh, end: Cell::new(End::Refused) };
            let returned = self.debt.0.returned.load(Ordering::Acquire);
            match check(&pace, &state, now, cost) {
                None => return Err(Duration::MAX),
                Some(answer) => match (state.end.get(), answer) {
                    (End::Granted { tat }, _) => {
                        return Ok(Receipt { version: pace.version, cost: cost.get(), then: tat.wrapping_add(returned) });
                    }
                    (End::Refused, Err(earliest)) => return Err(Duration::from_nanos(pace.nanos(earliest).saturating_sub(nanos))),
                    (End::Ahead, _) => {
                        // Did the clock go back, or was this thread held up since it read it? Only the former forgives a debt.
                        nanos = nanos.max(time::nanos_since(self.epoch, Instant::now()));
                        fresh = true;
                    }
                    (End::Refused | End::SettingChanged, _) => {}
                },
            }
        }
    }

    /// Hands back what a grant took, as far as it has not been made good by time already. `clock` is asked as often as others come between.
    pub(super) fn give_back(&self, receipt: Receipt, clock: impl Fn() -> Instant) {
        let _one = lock(&self.change);
        let pace = self.pace();
        if pace.version != receipt.version {
            return; // the debt was carried over in other units; keeping it is safe, and the next interval makes it good
        }
        // Had this grant never been, the bucket might have been full for a while since and have lost what dripped in. It was not
        // before this moment, whatever others took; each unit that others handed back brings the moment nearer.
        let then = receipt.then.wrapping_sub(self.returned()).cast_signed().max(0).cast_unsigned();
        let most = pace.interval * u64::from(receipt.cost);
        self.return_ticks(|_| then.saturating_sub(pace.tick(time::nanos_since(self.epoch, clock()))).min(most));
    }

    /// Moves the TAT back by what `back` makes of it. By one at a time, who holds the lock: so it can only have moved forward meanwhile, and when
    /// it has not, nothing was granted since `back` read the clock.
    fn return_ticks(&self, back: impl Fn(u64) -> u64) {
        let Debt { tat, returned } = &self.debt.0;
        let mut seen = tat.load(Ordering::Acquire);
        loop {
            let back = back(seen);
            if back == 0 {
                return;
            }
            match tat.compare_exchange(seen, seen.saturating_sub(back), Ordering::AcqRel, Ordering::Acquire) {
                Err(moved) => seen = moved,
                Ok(_) => {
                    // _After_ the TAT: a grant that saw this count without what it stands for would be believed to owe more than it does.
                    returned.fetch_add(back, Ordering::AcqRel);
                    return;
                }
            }
        }
    }

    /// A receipt of this bucket as it is set now, for a grant of which the TAT and the count of what had been handed back are known.
    pub(super) fn receipt(&self, cost: u32, then: u64) -> Receipt {
        Receipt { version: self.pace().version, cost, then }
    }

    /// Whether the setting is still the one of that grant.
    pub(super) fn is_of_now(&self, receipt: Receipt) -> bool {
        self.pace().version == receipt.version
    }

    /// What has been handed back so far, in ticks, wrapping.
    pub(super) fn returned(&self) -> u64 {
        self.debt.0.returned.load(Ordering::Acquire)
    }

    /// Hands back units of grants that nobody has a receipt of: no more than is owed.
    pub(super) fn refund(&self, units: u32, now: Instant) {
        let nanos = time::nanos_since(self.epoch, now);
        let _one = lock(&self.change);
        let pace = self.pace();
        let most = pace.interval.saturating_mul(u64::from(units));
        self.return_ticks(|tat| pace.debt(tat, pace.tick(nanos)).min(most));
    }

    /// Takes units whether they are there or not, until the bucket is empty.
    pub(super) fn charge(&self, units: u32, now: Instant) {
        let nanos = time::nanos_since(self.epoch, now);
        loop {
            let (pace, tat) = self.look();
            let now = pace.tick(nanos);
            let owed = pace.debt(tat, now);
            let more = pace.interval.saturating_mul(u64::from(units)).min(pace.full().saturating_sub(owed));
            let charged = now + owed + more;
            if more == 0 || self.debt.0.tat.compare_exchange(tat, charged, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return;
            }
        }
    }

    /// How long until `units` will have come free, if nobody else takes any; may be more than a burst.
    pub(super) fn wait_for(&self, units: u64, now: Instant) -> Duration {
        let nanos = time::nanos_since(self.epoch, now);
        let (pace, tat) = self.look();
        let now = pace.tick(nanos);
        let debt = u128::from(pace.debt(tat, now)) + u128::from(units) * u128::from(pace.interval);
        match u64::try_from(debt.saturating_sub(u128::from(pace.full())).saturating_add(u128::from(now))) {
            Ok(tick) => Duration::from_nanos(pace.nanos(tick).saturating_sub(nanos)),
            Err(_) => Duration::MAX,
        }
    }

    pub(super) fn available(&self, now: Instant) -> u32 {
        let (pace, tat) = self.look();
        let now = pace.tick(time::nanos_since(self.epoch, now));
        pace.units(tat, now)
    }

    /// When it will be full again, in ticks of its pace since its epoch.
    pub(super) fn tat(&self) -> u64 {
        self.look().1
    }

    /// The same bucket in debt until then, after so much was handed back.
    pub(super) fn owing(self, tat: u64, returned: u64) -> Self {
        self.debt.0.tat.store(tat, Ordering::Release);
        self.debt.0.returned.store(returned, Ordering::Release);
        self
    }

    pub(super) fn capacity(&self) -> u32 {
        self.pace().burst
    }

    /// Goes on at another rate. What is owed stays owed, and what was free does not become more.
    pub(super) fn set(&self, units: u32, period: Duration, burst: u32, now: Instant) {
        let nanos = time::nanos_since(self.epoch, now);
        let _changing = lock(&self.change);
        let old = self.pace();
        let new = Pace::new(units, period, burst);
        let convert = |tat: u64| old.carried(&new, tat, nanos);
        let version = &self.setting.0.version;
        version.store(old.version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        let now = new.tick(nanos);
        // From here on no reader gets past the odd version, and one that got past it earlier fails when it finds the TAT moved.
        let mut tat = self.debt.0.tat.load(Ordering::Acquire);
        while let Err(moved) = self.debt.0.tat.compare_exchange(tat, now + convert(tat), Ordering::AcqRel, Ordering::Acquire) {
            tat = moved;
        }
        // Whoever read the old setting and finds a TAT that the change did not move may fill the old bucket still.
        let most_debt = new.interval.saturating_mul(u64::from(old.burst.max(new.burst))).min(LONGEST_FILL).max(convert(tat));
        self.write(&Pace { most_debt, ..new });
        version.store(old.version + 2, Ordering::Release);
    }

    fn write(&self, pace: &Pace) {
        let Setting { version: _, interval, burst, period, excess, most_debt } = &self.setting.0;
        interval.store(pace.interval, Ordering::Relaxed);
        burst.store(u64::from(pace.burst), Ordering::Relaxed);
        period.store(pace.period, Ordering::Relaxed);
        excess.store(pace.excess, Ordering::Relaxed);
        most_debt.store(pace.most_debt, Ordering::Relaxed);
    }

    /// The setting, all numbers of one version.
    #[inline]
    fn pace(&self) -> Pace {
        let setting = &self.setting.0;
        loop {
            let version = setting.version.load(Ordering::Acquire);
            #[expect(clippy::cast_possible_truncation, reason = "it was stored from a u32")]
            let pace = Pace {
                interval: setting.interval.load(Ordering::Relaxed),
                burst: setting.burst.load(Ordering::Relaxed) as u32,
                period: setting.period.load(Ordering::Relaxed),
                excess: setting.excess.load(Ordering::Relaxed),
                most_debt: setting.most_debt.load(Ordering::Relaxed),
                version,
            };
            fence(Ordering::Acquire);
            if version & 1 == 0 && setting.version.load(Ordering::Relaxed) == version {
                return pace;
            }
            // Sleep until the change is made rather than spin: who makes it may not be running.
            drop(lock(&self.change));
        }
    }

    /// The setting and a TAT that belongs to it.
    fn look(&self) -> (Pace, u64) {
        loop {
            let pace = self.pace();
            let tat = self.debt.0.tat.load(Ordering::Acquire);
            if self.setting.0.version.load(Ordering::Relaxed) == pace.version {
                return (pace, tat);
            }
        }
    }
}

/// Asks governor. `None`: more than fits a bucket; `Err`: the tick in which it would conform.
///
/// The governor limiter is made for this one check, on the stack: so the quota may have changed since the last, and the time is the
/// reading that the call has made already. All of it is inlined; what remains is the arithmetic and the compare-exchange.
#[inline]
fn check(pace: &Pace, state: &State<'_>, now: u64, cost: NonZeroU32) -> Option<Result<(), u64>> {
    type Limiter<'a> = governor::RateLimiter<NotKeyed, &'a State<'a>, Reading, NoOpMiddleware<Nanos>>;
    let quota = governor::Quota::with_period(Duration::from_nanos(pace.interval))?.allow_burst(NonZeroU32::new(pace.burst)?);
    let limiter: Limiter<'_> = governor::RateLimiter::new(quota, state, Reading::new(now));
    // One unit, which is what most calls cost, is less arithmetic.
    let answer = if cost.get() == 1 { limiter.check() } else { limiter.check_n(cost).ok()? };
    Some(answer.map_err(|not_until| not_until.earliest_possible().as_u64()))
}

/// Governor's clock: the start of time when the limiter is made, then the reading of the call.
struct Reading {
    next: Cell<u64>,
    now: u64,
}

impl Reading {
    #[inline]
    const fn new(now: u64) -> Self {
        Self { next: Cell::new(0), now }
    }
}

impl Clock for Reading {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::new(self.next.replace(self.now))
    }
}

#[derive(Clone, Copy)]
enum End {
    Granted {
        tat: u64,
    },
    Refused,
    SettingChanged,
    /// The TAT is further ahead than it can be at this moment.
    Ahead,
}

/// Governor's state store: the only place that moves the TAT forward.
struct State<'a> {
    debt: &'a Debt,
    version: &'a AtomicU64,
    pace: &'a Pace,
    now: u64,
    /// The clock has been read again: if the TAT is too far ahead still, the clock went back.
    fresh: bool,
    end: Cell<End>,
}

impl StateStore for &State<'_> {
    type Key = NotKeyed;

    #[inline]
    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut seen = self.debt.tat.load(Ordering::Acquire);
        loop {
            if self.version.load(Ordering::Relaxed) != self.pace.version {
                // The TAT may be in other ticks than ours. Governor wants an answer all the same: that of a new bucket, which
                // `take` throws away.
                self.end.set(End::SettingChanged);
                return decide(None).map(|(answer, _)| answer);
            }
            let tat = self.pace.sane(seen, self.now);
            let decision = decide(Some(Nanos::new(tat)));
            let next = match &decision {
                Ok((_, next)) => next.as_u64(),
                Err(_) if tat == seen => {
                    self.end.set(End::Refused);
                    return decision.map(|(answer, _)| answer);
                }
                Err(_) if !self.fresh => {
                    self.end.set(End::Ahead);
                    return decision.map(|(answer, _)| answer);
                }
                Err(_) => tat, // set the TAT right, so that the time from now on counts
            };
            match self.debt.tat.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Acquire) {
                Err(moved) => seen = moved,
                Ok(_) => {
                    self.end.set(if decision.is_ok() { End::Granted { tat: next } } else { End::Refused });
                    return decision.map(|(answer, _)| answer);
                }
            }
        }
    }
}
