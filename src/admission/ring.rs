//! Counts over a window of time, in ten rotating buckets.
//!
//! Each bucket is one word that packs who wrote it with how much:
//!
//! ```text
//!  63    58 57          shift shift-1     0
//! +--------+-----------------+-------------+
//! | gen: 6 |  lap: 58-shift  |    count    |     lap = tick / 10,  bucket = tick % 10,  tick = now / bucket length
//! +--------+-----------------+-------------+
//! ```
//!
//! A record is one compare-exchange: stamp equal, add one; stamp older, start again at one.
//! So nothing rotates the window, a jump of ten years costs nothing, and a record of an earlier generation cannot reach the counts
//! of a later one: it meets a newer stamp and is dropped, or leaves an older one that readers skip. The bits are split so that no
//! thread can fill `count` within a bucket at 4 ns a call, and `lap` does not come around within a century.

use crate::sync::atomic::{AtomicU64, Ordering};

#[cfg(not(steadfast_loom))]
pub(in crate::admission) const BUCKETS: usize = 10;
/// Loom plays through every order of every step, so the fewer the better.
#[cfg(steadfast_loom)]
pub(in crate::admission) const BUCKETS: usize = 2;
const GENERATION_BITS: u32 = 6;
const GENERATIONS: u64 = 1 << GENERATION_BITS;
const STAMP_BITS: u32 = u64::BITS - GENERATION_BITS;

/// Where in the window a moment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) struct Position {
    lap: u64,
    bucket: usize,
}

/// Turns nanoseconds into positions.
#[derive(Debug)]
pub(in crate::admission) struct Dial {
    bucket_nanos: u64,
    /// 2^64 / `bucket_nanos`, to multiply by: a division by a variable costs more than all the rest of a record.
    reciprocal: u64,
    shift: u32,
}

impl Dial {
    /// `window` in nanoseconds.
    pub(in crate::admission) fn new(window: u64) -> Self {
        let bucket_nanos = window.div_ceil(BUCKETS as u64).max(1);
        let shift = bucket_nanos.ilog2().saturating_sub(1).clamp(8, 50);
        Self { bucket_nanos, reciprocal: u64::MAX / bucket_nanos, shift }
    }

    pub(in crate::admission) const fn bucket_nanos(&self) -> u64 {
        self.bucket_nanos
    }

    #[inline]
    pub(in crate::admission) fn position(&self, nanos: u64) -> Position {
        let estimate = ((u128::from(nanos) * u128::from(self.reciprocal)) >> 64) as u64;
        // The reciprocal was rounded down, which can cost at most one.
        let tick = if nanos - estimate * self.bucket_nanos >= self.bucket_nanos { estimate + 1 } else { estimate };
        let lap = (tick / BUCKETS as u64) & ((1 << (STAMP_BITS - self.shift)) - 1);
        Position { lap, bucket: (tick % BUCKETS as u64) as usize }
    }

    /// The same, by way of where the shard was last: nearly always the same bucket, and then no division is on the way.
    #[inline]
    pub(in crate::admission) fn position_near(&self, cursor: &AtomicU64, nanos: u64) -> Position {
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
        // Only the low bits of a generation stay: the others are shifted out.
        (generation << STAMP_BITS) | (lap << self.shift)
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
pub(in crate::admission) struct Ring([AtomicU64; BUCKETS]);

impl Ring {
    #[inline]
    pub(in crate::admission) fn add(&self, dial: &Dial, generation: u64, at: Position) {
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
    pub(in crate::admission) fn sum(&self, dial: &Dial, generation: u64, now: Position) -> u64 {
        // Words of this generation, from the oldest lap on, are a range of numbers.
        let end = dial.stamp(generation, 0) | ((1 << STAMP_BITS) - 1);
        let (near, far) = (dial.stamp(generation, now.lap), dial.stamp(generation, now.lap.saturating_sub(1)));
        let sum = |sum, (bucket, cell): (usize, &AtomicU64)| {
            let (word, oldest) = (cell.load(Ordering::Acquire), if bucket <= now.bucket { near } else { far });
            if (oldest..=end).contains(&word) { sum + (word & dial.count_mask()) } else { sum }
        };
        self.0.iter().enumerate().fold(0, sum)
    }

    pub(in crate::admission) fn wipe(&self) {
        // Exchanged, not stored: the order among exchanges is one that loom can follow.
        self.0.iter().for_each(|cell| _ = cell.swap(0, Ordering::AcqRel));
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_leads_to_where_the_division_does_from_wherever_it_was() {
        let dial = Dial::new(70);
        let check = |from: u64, to: u64| {
            let cursor = AtomicU64::new(0);
            dial.position_near(&cursor, from * 7);
            for nanos in [to * 7, to * 7 + 6] {
                assert_eq!(dial.position_near(&cursor, nanos), dial.position(nanos), "from {from} to {to}");
            }
        };
        // In lap 192 the lap has bits where a cursor keeps the bucket, once it is shifted the wrong way.
        for far in (0..200).chain([1_923]) {
            for near in 0..40 {
                check(far, near);
                check(near, far);
            }
        }
    }

    #[test]
    fn h52_of_a_later_generation_nothing_is_overwritten_but_what_is_a_lap_behind() {
        let dial = Dial::new(10_000_000_000);
        let (mine, later) = (dial.stamp(9, 100), |lap| dial.stamp(10, lap) | 5);
        assert_eq!([99, 100, 101].map(|lap| dial.meet(later(lap), mine)), [Some(mine | 1), None, None]);
    }
}
