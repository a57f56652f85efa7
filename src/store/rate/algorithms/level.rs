//! What flows: a leaky bucket as a meter, which is what GCRA is, and the token bucket, which is that upside down.
//!
//! A level is `units + part / period`, so that `limit` units flow in a period exactly, whatever the two are.

use super::{Standing, micros, tick};
use crate::store::rate::Terms;

/// How full something is that flows at `limit` units a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// When it was like this.
    pub(super) at: u64,
    pub(super) units: u32,
    /// Of one unit, in `1 / period`.
    pub(super) part: u64,
}

impl Level {
    /// In units times microseconds of the period. What was kept by another period is less than one unit of this one.
    fn total(&self, terms: &Terms) -> u128 {
        let period = u128::from(terms.period_us);
        u128::from(self.units) * period + u128::from(self.part).min(period - 1)
    }

    /// Whether there is more than fits, of a larger capacity.
    pub(super) fn is_above(&self, terms: &Terms) -> bool {
        self.total(terms) > full(terms)
    }

    fn set(&mut self, total: u128, terms: &Terms) {
        let period = u128::from(terms.period_us);
        self.units = u32::try_from(total / period).unwrap_or(u32::MAX);
        self.part = micros(total % period);
    }

    /// Lets time pass, with `flow` saying what that does to the total; it is never more than the capacity.
    fn pass(&mut self, now: u64, terms: &Terms, flow: fn(u128, u128) -> u128) -> u128 {
        let (at, elapsed) = tick(self.at, now);
        self.at = at;
        let total = flow(self.total(terms), u128::from(elapsed) * u128::from(terms.limit));
        total.min(full(terms))
    }
}

fn full(terms: &Terms) -> u128 {
    u128::from(terms.capacity) * u128::from(terms.period_us)
}

/// Whole periods of `cost` units.
fn scaled(cost: u32, terms: &Terms) -> u128 {
    u128::from(cost) * u128::from(terms.period_us)
}

/// Takes `cost` of what is `free`, if it is there. What is left free, and how it stands. A cost of 0 asks for one.
fn take(free: u128, cost: u32, held_us: u64, terms: &Terms) -> (u128, Standing) {
    let (period, limit) = (u128::from(terms.period_us), u128::from(terms.limit));
    let wanted = scaled(cost.max(1), terms);
    let (left, wait) = match free.checked_sub(wanted) {
        Some(_) if cost == 0 => (free, 0),
        Some(left) => (left, 0),
        None => (free, micros((wanted - free).div_ceil(limit)) + held_us),
    };
    let missing = full(terms) - left;
    let full_us = if missing == 0 { 0 } else { micros(missing.div_ceil(limit)) + held_us };
    (left, Standing { free: u32::try_from(left / period).unwrap_or(u32::MAX), wait_us: wait, full_us })
}

/// GCRA: what was spent, which time drains.
pub(super) fn spend(level: &mut Level, now: u64, terms: &Terms, cost: u32) -> Standing {
    let spent = level.pass(now, terms, u128::saturating_sub);
    let (free, standing) = take(full(terms) - spent, cost, level.at - now, terms);
    level.set(full(terms) - free, terms);
    standing
}

pub(super) fn unspend(level: &mut Level, now: u64, terms: &Terms, units: u32) {
    let spent = level.pass(now, terms, u128::saturating_sub);
    level.set(spent.saturating_sub(scaled(units, terms)), terms);
}

/// The token bucket: what is there, which time fills.
pub(super) fn draw(level: &mut Level, now: u64, terms: &Terms, cost: u32) -> Standing {
    let there = level.pass(now, terms, u128::saturating_add);
    let (free, standing) = take(there, cost, level.at - now, terms);
    level.set(free, terms);
    standing
}

pub(super) fn pour(level: &mut Level, now: u64, terms: &Terms, units: u32) {
    let there = level.pass(now, terms, u128::saturating_add);
    level.set((there + scaled(units, terms)).min(full(terms)), terms);
}
