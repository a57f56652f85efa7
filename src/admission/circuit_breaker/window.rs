//! The two windows that rates are taken over, and the streak of failures.
//!
//! The window of time is a [`Ring`] of buckets per shard: each thread counts the successes in its own.

use crate::admission::ring::{Dial, Ring};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Padded, Shards};

/// What one window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u64,
    pub(super) failures: u64,
    pub(super) slow: u64,
}

/// One thread's share of the successes, and of the refusals.
#[derive(Debug, Default)]
pub(super) struct Shard {
    successes: Ring,
    /// The position of the last success: lap, and bucket in the low four bits.
    cursor: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The window of time. Successes are common, so each thread counts its own; what is bad is rare and counted in one place.
#[derive(Debug)]
pub(super) struct TimeWindow {
    dial: Dial,
    shards: Shards<Shard>,
    /// Apart from what every call reads, as are the slow calls: a failure must not cost other threads their view of the dial.
    failures: Padded<Ring>,
    slow: Padded<Ring>,
}

impl TimeWindow {
    pub(super) fn new(window: u64, shards: usize) -> Self {
        Self { dial: Dial::new(window), shards: Shards::new(shards), failures: Padded::default(), slow: Padded::default() }
    }

    pub(super) const fn dial(&self) -> &Dial {
        &self.dial
    }

    #[inline]
    pub(super) fn shard(&self) -> &Shard {
        self.shards.mine()
    }

    #[inline]
    pub(super) fn success(&self, generation: u64, nanos: u64) {
        let shard = self.shard();
        shard.successes.add(&self.dial, generation, self.dial.position_near(&shard.cursor, nanos));
    }

    pub(super) fn failure(&self, generation: u64, nanos: u64) {
        self.failures.0.add(&self.dial, generation, self.dial.position(nanos));
    }

    pub(super) fn slow(&self, generation: u64, nanos: u64) {
        self.slow.0.add(&self.dial, generation, self.dial.position(nanos));
    }

    #[inline]
    pub(super) fn counts(&self, generation: u64, nanos: u64) -> Counts {
        self.counts_if(generation, nanos, |_, _| true).unwrap_or_default()
    }

    /// The same where it is `worth` it by the failures and the slow calls alone: adding up the successes visits every shard.
    pub(super) fn counts_if(&self, generation: u64, nanos: u64, worth: impl FnOnce(u64, u64) -> bool) -> Option<Counts> {
        let now = self.dial.position(nanos);
        let failures = self.failures.0.sum(&self.dial, generation, now);
        let slow = self.slow.0.sum(&self.dial, generation, now);
        worth(failures, slow).then(|| {
            let successes: u64 = self.shards.iter().map(|shard| shard.successes.sum(&self.dial, generation, now)).sum();
            Counts { calls: successes + failures, failures, slow }
        })
    }

    pub(super) fn refused(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.refused.load(Ordering::Relaxed)))
    }

    pub(super) fn forget_refused(&self) {
        self.shards.iter().for_each(|shard| shard.refused.store(0, Ordering::Relaxed));
    }

    pub(super) fn wipe(&self) {
        self.shards.iter().for_each(|shard| shard.successes.wipe());
        self.failures.0.wipe();
        self.slow.0.wipe();
    }
}

/// The last so many calls, two bits each: a ring that slides with every call. Lives under the breaker's lock.
#[derive(Debug)]
pub(super) struct CountWindow {
    bits: Box<[u64]>,
    size: u64,
    cursor: u64,
    counts: Counts,
}

impl CountWindow {
    pub(super) fn new(size: u32) -> Self {
        let words = u64::from(size).div_ceil(32) as usize;
        Self { bits: vec![0; words].into_boxed_slice(), size: size.into(), cursor: 0, counts: Counts::default() }
    }

    pub(super) fn push(&mut self, failure: bool, slow: bool) {
        let (word, offset) = ((self.cursor / 32) as usize, (self.cursor % 32) * 2);
        let Some(word) = self.bits.get_mut(word) else { return };
        if self.counts.calls == self.size {
            self.counts.failures -= (*word >> offset) & 1;
            self.counts.slow -= (*word >> (offset + 1)) & 1;
        } else {
            self.counts.calls += 1;
        }
        *word = *word & !(0b11 << offset) | (u64::from(failure) | u64::from(slow) << 1) << offset;
        self.counts.failures += u64::from(failure);
        self.counts.slow += u64::from(slow);
        self.cursor = (self.cursor + 1) % self.size;
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn wipe(&mut self) {
        // What the cursor has not passed again is never read, so the bits may stay.
        (self.cursor, self.counts) = (0, Counts::default());
    }
}

/// Failures in a row, in one word: generation (32 bits) and count (32 bits).
#[derive(Debug, Default)]
pub(super) struct Streak(AtomicU64);

impl Streak {
    /// One more; returns how many in a row that makes.
    pub(super) fn failure(&self, generation: u64) -> u32 {
        let mine = generation as u32;
        let step = |word: u64| match (word >> 32) as u32 {
            its if its == mine => Some((word & !0xffff_ffff) | u64::from((word as u32).saturating_add(1))),
            its if (its.wrapping_sub(mine) as i32) > 0 => None,
            _ => Some(u64::from(mine) << 32 | 1),
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).map_or(0, |old| step(old).unwrap_or(0) as u32)
    }

    #[inline]
    pub(super) fn success(&self, generation: u64) {
        // Nearly always zero already, and reading a shared word is cheap where writing it is not.
        if self.0.load(Ordering::Acquire) as u32 != 0 {
            let end = |word: u64| ((word >> 32) as u32 == generation as u32).then_some(word & !0xffff_ffff);
            let _newer = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
        }
    }

    pub(super) fn start(&self, generation: u64) {
        self.0.store(u64::from(generation as u32) << 32, Ordering::Release);
    }

    pub(super) fn get(&self, generation: u64) -> u32 {
        let word = self.0.load(Ordering::Acquire);
        if (word >> 32) as u32 == generation as u32 { word as u32 } else { 0 }
    }
}
