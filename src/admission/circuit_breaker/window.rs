//! The two windows that rates are taken over, and the streak of failures.
//!
//! # The window of time
//!
//! Ten buckets per shard, each one word that packs who wrote it with how much:
//!
//! ```text
//!  63    58 57          shift shift-1     0
//! +--------+-----------------+-------------+
//! | gen: 6 |  lap: 58-shift  |    count    |     lap = tick / 10,  bucket = tick % 10,  tick = now / bucket length
//! +--------+-----------------+-------------+
//! ```
//!
//! A record is one compare-exchange on a word of this thread's own shard: stamp equal, add one; stamp older, start again at one.
//! So nothing rotates the window, a jump of ten years costs nothing, and a record of an earlier generation cannot reach the counts
//! of a later one: it meets a newer stamp and is dropped, or leaves an older one that readers skip. The bits are split so that no
//! thread can fill `count` within a bucket at 4 ns a call, and `lap` does not come around within a century.

use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(steadfast_loom))]
pub(super) const BUCKETS: usize = 10;
/// Loom plays through every order of every step, so the fewer the better.
#[cfg(steadfast_loom)]
pub(super) const BUCKETS: usize = 2;
const GENERATION_BITS: u32 = 6;
const GENERATIONS: u64 = 1 << GENERATION_BITS;
const STAMP_BITS: u32 = u64::BITS - GENERATION_BITS;

/// Where in the window a moment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    lap: u64,
    bucket: usize,
}

/// Turns nanoseconds into positions.
#[derive(Debug)]
pub(super) struct Dial {
    bucket_nanos: u64,
    /// 2^64 / `bucket_nanos`, to multiply by: a division by a variable costs more than all the rest of a record.
    reciprocal: u64,
    shift: u32,
}

impl Dial {
    /// `window` in nanoseconds.
    pub(super) fn new(window: u64) -> Self {
        let bucket_nanos = window.div_ceil(BUCKETS as u64).max(1);
        let shift = bucket_nanos.ilog2().saturating_sub(1).clamp(8, 50);
        Self { bucket_nanos, reciprocal: u64::MAX / bucket_nanos, shift }
    }

    pub(super) const fn bucket_nanos(&self) -> u64 {
        self.bucket_nanos
    }

    #[inline]
    pub(super) fn position(&self, nanos: u64) -> Position {
        let estimate = ((u128::from(nanos) * u128::from(self.reciprocal)) >> 64) as u64;
        // The reciprocal was rounded down, which can cost at most one.
        let tick = if nanos - estimate * self.bucket_nanos >= self.bucket_nanos { estimate + 1 } else { estimate };
        let lap = (tick / BUCKETS as u64) & ((1 << (STAMP_BITS - self.shift)) - 1);
        Position { lap, bucket: (tick % BUCKETS as u64) as usize }
    }

    /// The same, by way of where the shard was last: nearly always the same bucket, and then no division is on the way.
    #[inline]
    fn position_near(&self, cursor: &AtomicU64, nanos: u64) -> Position {
        let last = cursor.load(Ordering::Relaxed);
        let at = Position { lap: last >> 4, bucket: (last & 15) as usize };
        let begins = (at.lap * BUCKETS as u64 + at.bucket as u64).wrapping_mul(self.bucket_nanos);
        if nanos.wrapping_sub(begins) < self.bucket_nanos {
            return at;
        }
        self.move_cursor(cursor, nanos)
    }

    #[cold]
    fn move_cursor(&self, cursor: &AtomicU64, nanos: u64) -> Position {
        let at = self.position(nanos);
        cursor.store(at.lap << 4 | at.bucket as u64, Ordering::Relaxed);
        at
    }

    #[inline]
    const fn stamp(&self, generation: u64, lap: u64) -> u64 {
        ((generation % GENERATIONS) << STAMP_BITS) | (lap << self.shift)
    }

    #[inline]
    const fn count_mask(&self) -> u64 {
        (1 << self.shift) - 1
    }

    /// What a bucket holds after one more record, where its stamp is not simply the record's. `None` drops the record.
    #[cold]
    fn meet(&self, word: u64, stamp: u64) -> Option<u64> {
        if word & self.count_mask() == 0 {
            return Some(stamp | 1); // wiped, whatever it says
        }
        match (word >> STAMP_BITS).wrapping_sub(stamp >> STAMP_BITS) % GENERATIONS {
            0 if word > stamp && word & self.count_mask() == self.count_mask() => None, // full: it stays full
            // The clock went back, or this thread was held up for a whole window: better counted late than lost.
            0 if word > stamp => Some(word + 1),
            // A later generation. Or one so long gone that it looks like it: then nothing of a lap before is worth keeping.
            1..32 if word << GENERATION_BITS >= stamp << GENERATION_BITS => None,
            _ => Some(stamp | 1),
        }
    }
}

/// Ten buckets.
#[derive(Debug, Default)]
pub(super) struct Ring([AtomicU64; BUCKETS]);

impl Ring {
    #[inline]
    pub(super) fn add(&self, dial: &Dial, generation: u64, at: Position) {
        let Some(cell) = self.0.get(at.bucket) else { return };
        let stamp = dial.stamp(generation, at.lap);
        let mut word = cell.load(Ordering::Relaxed);
        loop {
            // The same stamp, and not full: the difference is a count, and not the last one.
            let next = if word.wrapping_sub(stamp) < dial.count_mask() { Some(word + 1) } else { dial.meet(word, stamp) };
            let Some(next) = next else { return };
            match cell.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
    }

    /// What this generation counted within one window before `now`. Stamps of the future (the clock went back) are counted.
    pub(super) fn sum(&self, dial: &Dial, generation: u64, now: Position) -> u64 {
        // Words of this generation, from the oldest lap on, are a range of numbers.
        let end = dial.stamp(generation, 0) | ((1 << STAMP_BITS) - 1);
        let (near, far) = (dial.stamp(generation, now.lap), dial.stamp(generation, now.lap.saturating_sub(1)));
        let sum = |sum, (bucket, cell): (usize, &AtomicU64)| {
            let (word, oldest) = (cell.load(Ordering::Acquire), if bucket <= now.bucket { near } else { far });
            if (oldest..=end).contains(&word) { sum + (word & dial.count_mask()) } else { sum }
        };
        self.0.iter().enumerate().fold(0, sum)
    }

    pub(super) fn wipe(&self) {
        // Exchanged, not stored: the order among exchanges is one that loom can follow.
        self.0.iter().for_each(|cell| _ = cell.swap(0, Ordering::AcqRel));
    }
}

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
    shards: Box<[Padded<Shard>]>,
    /// Apart from what every call reads, as are the slow calls: a failure must not cost other threads their view of the dial.
    failures: Padded<Ring>,
    slow: Padded<Ring>,
}

impl TimeWindow {
    pub(super) fn new(window: u64, shards: usize) -> Self {
        let shards = (0..shards.max(1).next_power_of_two()).map(|_| Padded::default()).collect();
        Self { dial: Dial::new(window), shards, failures: Padded::default(), slow: Padded::default() }
    }

    pub(super) const fn dial(&self) -> &Dial {
        &self.dial
    }

    #[inline]
    pub(super) fn shard(&self) -> &Shard {
        // A power of two, see `new`: the mask keeps the index in bounds.
        &self.shards[crate::sync::shard() & (self.shards.len() - 1)].0
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

    pub(super) fn counts(&self, generation: u64, nanos: u64) -> Counts {
        self.counts_if(generation, nanos, |_, _| true).unwrap_or_default()
    }

    /// The same where it is `worth` it by the failures and the slow calls alone: adding up the successes visits every shard.
    pub(super) fn counts_if(&self, generation: u64, nanos: u64, worth: impl FnOnce(u64, u64) -> bool) -> Option<Counts> {
        let now = self.dial.position(nanos);
        let failures = self.failures.0.sum(&self.dial, generation, now);
        let slow = self.slow.0.sum(&self.dial, generation, now);
        worth(failures, slow).then(|| {
            let successes: u64 = self.shards.iter().map(|shard| shard.0.successes.sum(&self.dial, generation, now)).sum();
            Counts { calls: successes + failures, failures, slow }
        })
    }

    pub(super) fn refused(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.refused.load(Ordering::Relaxed)))
    }

    pub(super) fn forget_refused(&self) {
        self.shards.iter().for_each(|shard| shard.0.refused.store(0, Ordering::Relaxed));
    }

    pub(super) fn wipe(&self) {
        self.shards.iter().for_each(|shard| shard.0.successes.wipe());
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
