//! What is kept under a key.

use super::is_set_back;
use super::level::{self, Level};
use super::log::Log;
use super::windows::{Counter, Window};
use crate::store::rate::{Algorithm, Decision, Terms};
use std::collections::VecDeque;

/// What one algorithm keeps under a key: for those who write a store on a backend that has transactions.
///
/// Read it, let it decide, write it back if it took something or was [off](Self::is_off), all in one transaction with the right to write from its beginning, and with the
/// backend's time read inside. It is worth keeping for [`reset_after`](Decision::reset_after), and may vanish then.
///
/// ```
/// # fn main() -> Result<(), steadfast::store::StoreError> {
/// use steadfast::store::rate::{Quota, State};
///
/// let terms = Quota::per_second(10).burst(1).terms(1)?;
/// let now_us = 1_800_000_000_000_000;
/// let mut state = State::new(&terms, now_us);
/// assert!(state.take(now_us, &terms, 1).allowed);
/// let kept: Vec<u8> = state.encode();
///
/// let mut state = State::decode(&kept, terms.algorithm).unwrap_or_else(|| State::new(&terms, now_us));
/// assert!(!state.is_off(now_us + 99_999, &terms));
/// assert!(!state.take(now_us + 99_999, &terms, 1).allowed);
/// assert!(state.take(now_us + 100_000, &terms, 1).allowed);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Kept);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kept {
    /// What was spent.
    Gcra(Level),
    Log(Log),
    Counter(Counter),
    /// What is there.
    Bucket(Level),
    Window(Window),
}

const VERSION: u8 = 1;

impl State {
    /// Of a key at which nothing is missing.
    #[must_use]
    pub fn new(terms: &Terms, now_us: u64) -> Self {
        Self::spent(terms, now_us, 0)
    }

    /// Of a key at which so many units were spent just now.
    pub(crate) fn spent(terms: &Terms, now_us: u64, units: u32) -> Self {
        let units = units.min(terms.capacity);
        let level = |units| Level { at: now_us, units, part: 0 };
        Self(match terms.algorithm {
            Algorithm::Gcra => Kept::Gcra(level(units)),
            Algorithm::TokenBucket => Kept::Bucket(level(terms.capacity - units)),
            Algorithm::SlidingCounter => {
                Kept::Counter(Counter { start: terms.window(now_us).0, period: terms.period_us, before: 0, used: units })
            }
            Algorithm::FixedWindow => {
                let (start, end) = terms.window(now_us);
                Kept::Window(Window { start, end, used: units })
            }
            Algorithm::SlidingLog => {
                let mut log = Log::default();
                if units > 0 {
                    log.put(now_us, units);
                }
                Kept::Log(log)
            }
        })
    }

    /// Takes `cost` units if they are there; a cost of 0 only looks whether one is. It must be of the algorithm of `terms`; one of another
    /// begins anew.
    pub fn take(&mut self, now_us: u64, terms: &Terms, cost: u32) -> Decision {
        self.suit(now_us, terms);
        let standing = match &mut self.0 {
            Kept::Gcra(level) => level::spend(level, now_us, terms, cost),
            Kept::Bucket(level) => level::draw(level, now_us, terms, cost),
            Kept::Log(log) => log.take(now_us, terms, cost),
            Kept::Counter(counter) => counter.take(now_us, terms, cost),
            Kept::Window(window) => window.take(now_us, terms, cost),
        };
        standing.decide(terms.capacity)
    }

    /// Whether it must be put right before it can decide by these terms at this moment: a clock was put back, or what was kept is of another quota.
    /// [`take`](Self::take) does so, and what has become of it must be written back, even if nothing was taken: else each refusal puts it right anew,
    /// and nothing is ever over.
    #[must_use]
    pub fn is_off(&self, now_us: u64, terms: &Terms) -> bool {
        match &self.0 {
            _ if self.algorithm() != terms.algorithm => true,
            Kept::Gcra(level) => is_set_back(level.at, now_us) || level.is_above(terms),
            Kept::Bucket(level) => is_set_back(level.at, now_us),
            Kept::Log(log) => log.calls.back().is_some_and(|(last, _)| is_set_back(*last, now_us)),
            Kept::Counter(counter) => is_set_back(counter.start, now_us) || counter.period != terms.period_us,
            Kept::Window(window) => window.is_off(now_us, terms),
        }
    }

    /// Gives units back that were taken, as far as they still count.
    pub fn give_back(&mut self, now_us: u64, terms: &Terms, units: u32) {
        self.suit(now_us, terms);
        match &mut self.0 {
            Kept::Gcra(level) => level::unspend(level, now_us, terms, units),
            Kept::Bucket(level) => level::pour(level, now_us, terms, units),
            Kept::Log(log) => log.give(now_us, terms, units),
            Kept::Counter(counter) => counter.give(now_us, terms, units),
            Kept::Window(window) => window.give(now_us, terms, units),
        }
    }

    fn suit(&mut self, now_us: u64, terms: &Terms) {
        if self.algorithm() != terms.algorithm {
            *self = Self::new(terms, now_us);
        }
    }

    /// Whose state it is.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.0 {
            Kept::Gcra(_) => Algorithm::Gcra,
            Kept::Log(_) => Algorithm::SlidingLog,
            Kept::Counter(_) => Algorithm::SlidingCounter,
            Kept::Bucket(_) => Algorithm::TokenBucket,
            Kept::Window(_) => Algorithm::FixedWindow,
        }
    }

    /// As bytes: a version, then numbers, the lowest byte first. 21 to 29 bytes, or 12 for each call of a log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32);
        bytes.push(VERSION);
        let mut long = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        match &self.0 {
            Kept::Gcra(Level { at, units, part }) | Kept::Bucket(Level { at, units, part }) => {
                long(*at);
                long(*part);
                bytes.extend_from_slice(&units.to_le_bytes());
            }
            Kept::Counter(Counter { start, period, before, used }) => {
                long(*start);
                long(*period);
                bytes.extend_from_slice(&before.to_le_bytes());
                bytes.extend_from_slice(&used.to_le_bytes());
            }
            Kept::Window(Window { start, end, used }) => {
                long(*start);
                long(*end);
                bytes.extend_from_slice(&used.to_le_bytes());
            }
            Kept::Log(log) => {
                bytes.reserve(12 * log.calls.len());
                for (at, units) in &log.calls {
                    bytes.extend_from_slice(&at.to_le_bytes());
                    bytes.extend_from_slice(&units.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// What [`encode`](Self::encode) made bytes of; `None` for any others, and for those of a later version.
    #[must_use]
    pub fn decode(bytes: &[u8], algorithm: Algorithm) -> Option<Self> {
        let mut rest = Numbers(bytes.strip_prefix(&[VERSION])?);
        let kept = match algorithm {
            Algorithm::Gcra | Algorithm::TokenBucket => {
                let level = Level { at: rest.long()?, part: rest.long()?, units: rest.short()? };
                if algorithm == Algorithm::Gcra { Kept::Gcra(level) } else { Kept::Bucket(level) }
            }
            Algorithm::SlidingCounter => {
                let counter = Counter { start: rest.long()?, period: rest.long()?, before: rest.short()?, used: rest.short()? };
                // Not a period that anybody had; arithmetic on it could overflow.
                let sane = (1..=super::super::quota::LONGEST).contains(&counter.period) && counter.start <= SANE;
                Kept::Counter(sane.then_some(counter)?)
            }
            Algorithm::FixedWindow => {
                let window = Window { start: rest.long()?, end: rest.long()?, used: rest.short()? };
                Kept::Window((window.start < window.end).then_some(window)?)
            }
            Algorithm::SlidingLog => {
                let mut log = Log { calls: VecDeque::with_capacity(rest.0.len() / 12), used: 0 };
                while !rest.0.is_empty() {
                    let (at, units) = (rest.long()?, rest.short()?);
                    if log.calls.back().is_some_and(|(last, _)| *last > at) {
                        return None;
                    }
                    log.calls.push_back((at, units));
                    log.used += u64::from(units);
                }
                Kept::Log(log)
            }
        };
        rest.0.is_empty().then_some(Self(kept))
    }
}

/// Later than any clock in use.
const SANE: u64 = 1 << 60;

struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn long(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn short(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }
}
