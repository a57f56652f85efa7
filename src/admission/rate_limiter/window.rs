//! The exact sliding window: a log of the grants of the last period.
//!
//! At most `units` in *any* interval `[t, t + period)`, wherever it begins. The price is a lock and a log; the log holds one entry
//! for each moment with grants, so never more entries than units.

use crate::sync::{Mutex, lock};
use crate::time;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// The log takes 16 bytes for a moment with grants, and as much again where it has grown just now: 32 bytes a unit at most.
pub(super) const MOST_UNITS: u32 = 1_000_000;
/// Threads read the clock and then come here in any order. A grant further in the future than that means that the clock went back, or
/// that the reading is old.
const DISORDER: u64 = 1_000_000_000;

/// What a grant took, to hand it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    at: u64,
    pub(super) cost: u32,
}

#[derive(Debug)]
struct Grant {
    at: u64,
    cost: u32,
}

/// Oldest first.
#[derive(Debug)]
struct Log {
    grants: VecDeque<Grant>,
    used: u64,
    units: u64,
    period: u64,
}

#[derive(Debug)]
pub(super) struct Window {
    epoch: Instant,
    log: Mutex<Log>,
}

impl Window {
    pub(super) fn new(units: u32, period: Duration, epoch: Instant) -> Self {
        let log = Log { grants: VecDeque::new(), used: 0, units: u64::from(units.max(1)), period: time::nanos(period).max(1) };
        Self { epoch, log: Mutex::new(log) }
    }

    /// Takes `cost` units, or tells how long until they will be there; `Duration::MAX` when never.
    pub(super) fn take(&self, cost: NonZeroU32, now: Instant) -> Result<Receipt, Duration> {
        let mut log = lock(&self.log);
        let now = self.moment(&log, now);
        let at = log.roll(now);
        let cost = cost.get();
        if u64::from(cost) > log.units {
            return Err(Duration::MAX);
        }
        if log.used + u64::from(cost) > log.units {
            return Err(log.wait_for(u64::from(cost), now));
        }
        log.add(at, cost);
        Ok(Receipt { at, cost })
    }

    /// Hands back what a grant took; nothing when the grant has left the window.
    pub(super) fn give_back(&self, receipt: Receipt) {
        let mut log = lock(&self.log);
        let Ok(index) = log.grants.binary_search_by_key(&receipt.at, |grant| grant.at) else { return };
        let grant = &mut log.grants[index];
        let back = grant.cost.min(receipt.cost);
        grant.cost -= back;
        log.used -= u64::from(back);
        // Else a caller that is always refused further on would fill the log. What is handed back is young, so few entries move.
        if log.grants[index].cost == 0 {
            log.grants.remove(index);
        }
    }

    /// Hands back units of the latest grants: who asks for it has just been told.
    pub(super) fn refund(&self, units: u32, now: Instant) {
        let mut log = lock(&self.log);
        let now = self.moment(&log, now);
        log.roll(now);
        let mut units = units;
        while let Some(last) = log.grants.back_mut().filter(|_| units > 0) {
            let back = last.cost.min(units);
            last.cost -= back;
            let empty = last.cost == 0;
            units -= back;
            log.used -= u64::from(back);
            if empty {
                log.grants.pop_back();
            }
        }
    }

    /// Takes units whether they are there or not, until none is left.
    pub(super) fn charge(&self, units: u32, now: Instant) {
        let mut log = lock(&self.log);
        let now = self.moment(&log, now);
        let at = log.roll(now);
        let left = log.units.saturating_sub(log.used);
        let cost = u32::try_from(left).unwrap_or(u32::MAX).min(units);
        if cost != 0 {
            log.add(at, cost);
        }
    }

    /// The moment as the log counts it. A reading that its last grant is too far ahead of may be old, its thread having been held up
    /// since; only if the clock itself says so has it gone back.
    fn moment(&self, log: &Log, now: Instant) -> u64 {
        let moment = time::nanos_since(self.epoch, now);
        if log.is_ahead(moment) { moment.max(time::nanos_since(self.epoch, Instant::now())) } else { moment }
    }

    /// How long until `units` will have come free, if those who take them do so at once; may be more than a window holds.
    pub(super) fn wait_for(&self, units: u64, now: Instant) -> Duration {
        let mut log = lock(&self.log);
        let now = self.moment(&log, now);
        log.roll(now);
        log.wait_for(units, now)
    }

    pub(super) fn available(&self, now: Instant) -> u32 {
        let now = time::nanos_since(self.epoch, now);
        let log = lock(&self.log);
        let gone: u64 = log.grants.iter().take_while(|grant| log.has_left(grant, now)).map(|grant| u64::from(grant.cost)).sum();
        u32::try_from(log.units.saturating_sub(log.used - gone)).unwrap_or(u32::MAX)
    }

    pub(super) fn capacity(&self) -> u32 {
        u32::try_from(lock(&self.log).units).unwrap_or(u32::MAX)
    }

    /// Goes on with another quota. The log stays.
    pub(super) fn set(&self, units: u32, period: Duration) {
        let mut log = lock(&self.log);
        log.units = u64::from(units.max(1));
        log.period = time::nanos(period).max(1);
    }
}

impl Log {
    fn is_ahead(&self, now: u64) -> bool {
        self.grants.back().is_some_and(|last| last.at > now.saturating_add(DISORDER))
    }

    fn has_left(&self, grant: &Grant, now: u64) -> bool {
        grant.at.saturating_add(self.period) <= now
    }

    fn add(&mut self, at: u64, cost: u32) {
        self.used += u64::from(cost);
        match self.grants.back_mut() {
            Some(last) if last.at == at => last.cost += cost,
            _ => self.grants.push_back(Grant { at, cost }),
        }
    }

    /// Forgets what has left the window, and tells the time as the log counts it: never before its last grant.
    fn roll(&mut self, now: u64) -> u64 {
        while let Some(oldest) = self.grants.front().filter(|grant| self.has_left(grant, now)) {
            self.used -= u64::from(oldest.cost);
            self.grants.pop_front();
        }
        if self.is_ahead(now) {
            // The clock went back: as if all had been granted just now, so that nobody waits for longer than a period.
            self.grants.clear();
            if let Ok(cost) = u32::try_from(self.used) {
                self.grants.push_back(Grant { at: now, cost });
            }
        }
        self.grants.back().map_or(now, |last| now.max(last.at))
    }

    /// How long from `now` until `units` more may have been granted.
    fn wait_for(&self, units: u64, now: u64) -> Duration {
        // Every unit is granted again a period later; so the wait for more than the window holds is so many periods more.
        let rounds = units.saturating_sub(1) / self.units;
        let units = units - rounds * self.units;
        let mut must_leave = (self.used + units).saturating_sub(self.units);
        let mut at = now;
        for grant in &self.grants {
            if must_leave == 0 {
                break;
            }
            must_leave = must_leave.saturating_sub(u64::from(grant.cost));
            at = grant.at.saturating_add(self.period);
        }
        Duration::from_nanos(at.saturating_sub(now).saturating_add(rounds.saturating_mul(self.period)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    #[test]
    fn h88_what_is_handed_back_leaves_nothing_in_the_log() {
        let epoch = Instant::now();
        let window = Window::new(10, Duration::from_secs(3600), epoch);
        let mut held = None;
        for n in 0..1_000 {
            // Two calls overlap, always: each gets its unit before the one before it hands its own back.
            let receipt = window.take(ONE, epoch + Duration::from_millis(n)).expect("at most two are taken");
            if let Some(earlier) = held.replace(receipt) {
                window.give_back(earlier);
            }
        }
        assert!(lock(&window.log).grants.len() <= 10, "{} entries", lock(&window.log).grants.len());
    }

    #[test]
    fn h88_grants_of_one_moment_are_one_entry() {
        let epoch = Instant::now();
        let window = Window::new(100, Duration::from_secs(1), epoch);
        (0..50).for_each(|_| assert!(window.take(ONE, epoch).is_ok()));
        assert!(window.take(ONE, epoch + Duration::from_nanos(1)).is_ok());
        let log = lock(&window.log);
        assert_eq!(log.grants.iter().map(|grant| grant.cost).collect::<Vec<_>>(), [50, 1]);
    }

    #[test]
    fn h33_threads_out_of_step_are_no_clock_that_went_back() {
        let epoch = Instant::now();
        let window = Window::new(2, Duration::from_secs(1), epoch);
        assert!(window.take(ONE, epoch + Duration::from_secs(5)).is_ok());
        let (log, at) = (lock(&window.log), 5_000_000_000);
        assert_eq!([log.is_ahead(at - DISORDER), log.is_ahead(at - DISORDER - 1)], [false, true]);
    }

    proptest! {
        #[test]
        fn grants_and_refunds_against_a_naive_log(steps in prop::collection::vec((0..400_u64, 1..5_u32, any::<prop::sample::Index>(), 0..3_u8), 1..200)) {
            let (epoch, units, period) = (Instant::now(), 8, 1_000);
            let window = Window::new(units, Duration::from_nanos(period), epoch);
            let (mut now, mut log) = (0, Vec::<(u64, u32, Receipt)>::new());
            for (step, cost, which, kind) in steps {
                now += step;
                if kind == 0 && !log.is_empty() {
                    let (.., receipt) = log.swap_remove(which.index(log.len()));
                    window.give_back(receipt);
                }
                let used = |now: u64| log.iter().filter(|(at, ..)| at + period > now).map(|(_, cost, _)| cost).sum::<u32>();
                let at = epoch + Duration::from_nanos(now);
                prop_assert_eq!(window.available(at), units - used(now));
                match window.take(NonZeroU32::new(cost).expect("not 0"), at) {
                    Ok(receipt) => {
                        prop_assert!(used(now) + cost <= units);
                        log.push((now, cost, receipt));
                    }
                    Err(wait) => {
                        let naive = (now..=now + period).find(|then| used(*then) + cost <= units);
                        prop_assert_eq!(Some(now + time::nanos(wait)), naive);
                    }
                }
            }
        }
    }
}
