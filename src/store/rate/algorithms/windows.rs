//! What is counted by the clock: one window, or two.

use super::{HELD, Standing, micros};
use crate::store::rate::Terms;

/// One period by the clock, and how much of it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) used: u32,
}

/// `now`, unless it is just before `start`, which has been seen already.
const fn held(start: u64, now: u64) -> u64 {
    if now < start && start - now <= HELD { start } else { now }
}

impl Window {
    /// Into the window of `now`. What was used in one that is not over, because the clock was set back or the quota changed, still counts.
    fn roll(&mut self, now: u64, terms: &Terms) {
        let now = held(self.start, now);
        let (start, end) = terms.window(now);
        if (start, end) != (self.start, self.end) {
            let used = if now >= self.end { 0 } else { self.used };
            *self = Self { start, end, used };
        }
    }

    /// Whether what was used counts in another window than it was used in.
    pub(super) fn is_off(&self, now: u64, terms: &Terms) -> bool {
        let now = held(self.start, now);
        self.used > 0 && now < self.end && terms.window(now) != (self.start, self.end)
    }

    pub(super) fn take(&mut self, now: u64, terms: &Terms, cost: u32) -> Standing {
        self.roll(now, terms);
        let free = terms.limit.saturating_sub(self.used);
        let goes = cost.max(1) <= free;
        if goes {
            self.used += cost;
        }
        let ends = self.end - now;
        Standing {
            free: terms.limit.saturating_sub(self.used),
            wait_us: if goes { 0 } else { ends },
            full_us: if self.used == 0 { 0 } else { ends },
        }
    }

    pub(super) fn give(&mut self, now: u64, terms: &Terms, units: u32) {
        self.roll(now, terms);
        self.used = self.used.saturating_sub(units);
    }
}

/// Two periods by the clock, of which the earlier one counts for the part of it that a period ending now still covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) start: u64,
    pub(super) period: u64,
    pub(super) before: u32,
    pub(super) used: u32,
}

impl Counter {
    /// In units times microseconds of the period.
    fn estimate(&self, now: u64) -> u128 {
        let left = (self.start + self.period).saturating_sub(now).min(self.period);
        u128::from(self.before) * u128::from(left) + u128::from(self.used) * u128::from(self.period)
    }

    /// Into the window of `now`, which is returned as it counts here.
    fn roll(&mut self, now: u64, terms: &Terms) -> u64 {
        let now = held(self.start, now);
        if self.period != terms.period_us {
            // Another period: what the old ones come to is as if used just now, a part of a unit as a whole one.
            self.shift(now, self.start + (now.saturating_sub(self.start) / self.period.max(1)) * self.period);
            let units = self.estimate(now).div_ceil(u128::from(self.period.max(1)));
            let used = u32::try_from(units).unwrap_or(u32::MAX);
            *self = Self { start: terms.window(now).0, period: terms.period_us, before: 0, used };
        }
        self.shift(now, terms.window(now).0);
        now
    }

    fn shift(&mut self, now: u64, start: u64) {
        match start.checked_sub(self.start) {
            Some(0) => return,
            Some(later) if later == self.period => (self.before, self.used) = (self.used, 0),
            Some(_) if now >= self.start => (self.before, self.used) = (0, 0),
            _ => {} // set back: what was counted still counts
        }
        self.start = start;
    }

    pub(super) fn take(&mut self, now: u64, terms: &Terms, cost: u32) -> Standing {
        let seen = self.roll(now, terms);
        let period = u128::from(self.period);
        let most = u128::from(terms.limit) * period;
        let wanted = u128::from(cost.max(1)) * period;
        let goes = self.estimate(seen) + wanted <= most;
        if goes {
            self.used = self.used.saturating_add(cost);
        }
        let end = self.start + self.period;
        let full_us = match (self.before, self.used) {
            (0, 0) => 0,
            (_, 0) => end - now,
            _ => end + self.period - now,
        };
        let free = most.saturating_sub(self.estimate(seen)) / period;
        let wait_us = if goes { 0 } else { self.when(end, wanted, most) - now };
        Standing { free: u32::try_from(free).unwrap_or(u32::MAX), wait_us, full_us }
    }

    /// From when on there is room for `wanted`, with nothing else counted meanwhile.
    fn when(&self, end: u64, wanted: u128, most: u128) -> u64 {
        let fits = |counted: u32, weighed: u32, end: u64| {
            let room = most.checked_sub(wanted + u128::from(counted) * u128::from(self.period))?;
            let left = if weighed == 0 { self.period } else { micros(room / u128::from(weighed)).min(self.period) };
            Some(end - left)
        };
        // In this window, as the one before fades; or in the next, as this one does.
        fits(self.used, self.before, end).or_else(|| fits(0, self.used, end + self.period)).unwrap_or(end + self.period)
    }

    pub(super) fn give(&mut self, now: u64, terms: &Terms, units: u32) {
        self.roll(now, terms);
        let rest = units.saturating_sub(self.used);
        self.used = self.used.saturating_sub(units);
        self.before = self.before.saturating_sub(rest);
    }
}
