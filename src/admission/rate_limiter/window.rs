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

/// The log takes 16 bytes a unit at most.
pub(super) const MOST_UNITS: u32 = 1_000_000;
/// Threads read the clock and then come here in any order. A grant further in the future than that means that the clock went back.
const DISORDER: u64 = 1_000_000_000;

/// What a grant took, to hand it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    at: u64,
    cost: u32,
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
        let now = time::nanos_since(self.epoch, now);
        let mut log = lock(&self.log);
        let at = log.roll(now);
        let cost = cost.get();
        if u64::from(cost) > log.units {
            return Err(Duration::MAX);
        }
        if log.used + u64::from(cost) > log.units {
            return Err(log.wait_for(u64::from(cost), now));
        }
        log.used += u64::from(cost);
        match log.grants.back_mut() {
            Some(last) if last.at == at => last.cost += cost,
            _ => log.grants.push_back(Grant { at, cost }),
        }
        Ok(Receipt { at, cost })
    }

    /// Hands back what a grant took; nothing when the grant has left the window.
    pub(super) fn give_back(&self, receipt: Receipt) {
        let mut log = lock(&self.log);
        let Ok(index) = log.grants.binary_search_by_key(&receipt.at, |grant| grant.at) else { return };
        let grant = &mut log.grants[index];
        let back = grant.cost.min(receipt.cost);
        grant.cost -= back; // an empty entry stays until it leaves the window: removing it would move the others
        log.used -= u64::from(back);
    }

    /// How long until `units` will have come free, if those who take them do so at once; may be more than a window holds.
    pub(super) fn wait_for(&self, units: u64, now: Instant) -> Duration {
        let now = time::nanos_since(self.epoch, now);
        let mut log = lock(&self.log);
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
    fn has_left(&self, grant: &Grant, now: u64) -> bool {
        grant.at.saturating_add(self.period) <= now
    }

    /// Forgets what has left the window, and tells the time as the log counts it: never before its last grant.
    fn roll(&mut self, now: u64) -> u64 {
        while let Some(oldest) = self.grants.front().filter(|grant| self.has_left(grant, now)) {
            self.used -= u64::from(oldest.cost);
            self.grants.pop_front();
        }
        match self.grants.back() {
            Some(last) if last.at > now.saturating_add(DISORDER) => {
                // The clock went back: as if all had been granted just now, so that nobody waits for longer than a period.
                self.grants.clear();
                if let Ok(cost) = u32::try_from(self.used) {
                    self.grants.push_back(Grant { at: now, cost });
                }
                now
            }
            Some(last) => now.max(last.at),
            None => now,
        }
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
