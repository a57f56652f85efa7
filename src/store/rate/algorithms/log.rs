//! Every call of the last period.

use super::{HELD, Standing};
use crate::store::rate::Terms;
use std::collections::VecDeque;

/// When how many units went, the oldest first. One that went at `t` counts in `[t, t + period)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) calls: VecDeque<(u64, u32)>,
    pub(super) used: u64,
}

impl Log {
    /// Forgets what is over. The moment it is, as it counts here.
    fn roll(&mut self, now: u64, terms: &Terms) -> u64 {
        let mut seen = now;
        if let Some((last, _)) = self.calls.back()
            && let Some(back) = last.checked_sub(now)
        {
            if back <= HELD {
                seen = *last;
            } else {
                self.calls.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(back));
            }
        }
        while let Some((at, units)) = self.calls.front()
            && at.saturating_add(terms.period_us) <= seen
        {
            self.used -= u64::from(*units);
            self.calls.pop_front();
        }
        seen
    }

    pub(super) fn take(&mut self, now: u64, terms: &Terms, cost: u32) -> Standing {
        let seen = self.roll(now, terms);
        let limit = u64::from(terms.limit);
        let wanted = u64::from(cost.max(1));
        let goes = self.used + wanted <= limit;
        if goes && cost > 0 {
            self.put(seen, cost);
        }
        let until = |at: u64| at.saturating_add(terms.period_us) - now;
        Standing {
            free: u32::try_from(limit.saturating_sub(self.used)).unwrap_or(u32::MAX),
            wait_us: if goes { 0 } else { until(self.when(self.used + wanted - limit)) },
            full_us: self.calls.back().map_or(0, |(at, _)| until(*at)),
        }
    }

    pub(super) fn put(&mut self, at: u64, units: u32) {
        self.used += u64::from(units);
        match self.calls.back_mut() {
            Some((last, there)) if *last == at && there.checked_add(units).is_some() => *there += units,
            _ => self.calls.push_back((at, units)),
        }
    }

    /// When the call went with whose end so many units are free again; the end of time when there are never so many.
    fn when(&self, missing: u64) -> u64 {
        let mut freed = 0;
        let last = self.calls.iter().find(|(_, units)| {
            freed += u64::from(*units);
            freed >= missing
        });
        last.map_or(u64::MAX, |(at, _)| *at)
    }

    /// Takes back the newest.
    pub(super) fn give(&mut self, now: u64, terms: &Terms, mut units: u32) {
        self.roll(now, terms);
        while let Some((_, last)) = self.calls.back_mut()
            && units > 0
        {
            let back = units.min(*last);
            units -= back;
            *last -= back;
            self.used -= u64::from(back);
            if *last == 0 {
                self.calls.pop_back();
            }
        }
    }
}
