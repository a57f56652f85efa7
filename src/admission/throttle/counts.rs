//! What a throttle counts, and whom it holds back first.

use crate::admission::ring::{Dial, Ring};
use crate::call::Priority;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Padded, Shards};

const LEVELS: usize = Priority::ALL.len();
/// So many calls of one priority tell how demand is made up; older ones fade.
const MIX: u32 = 1024;
/// What demand is taken to be before any of it was seen, so that the first important call is not mistaken for all there is.
const PRIOR: f64 = 8.0;

/// What one window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) accepts: u64,
    pub(super) failures: u64,
    pub(super) refused: u64,
}

impl Counts {
    pub(super) const fn requests(self) -> u64 {
        self.accepts + self.failures + self.refused
    }

    pub(super) const fn forwarded(self) -> u64 {
        self.accepts + self.failures
    }
}

/// Who is held back: a place on the line from the most important call (0) to the least (5). Whatever lies beyond it is held back with the
/// largest chance there is, and the priority that it divides with part of that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut(f64);

impl Cut {
    /// Of calls made up like `mix`, a share of `p`, more than 0, is to be held back, the least important first; none with more than the chance `cap`.
    pub(super) fn of(p: f64, mix: [u64; LEVELS], cap: f64) -> Self {
        let mut mix = mix.map(|n| n as f64);
        mix[Priority::Normal as usize] += PRIOR;
        let mut need = p * mix.iter().sum::<f64>();
        for level in (0..LEVELS).rev() {
            let most = cap * mix[level];
            if need <= most {
                return Self((level + 1) as f64 - need / most);
            }
            need -= most;
        }
        Self(0.0)
    }

    pub(super) fn chance(self, priority: Priority, cap: f64) -> f64 {
        cap * (f64::from(priority as u8 + 1) - self.0).clamp(0.0, 1.0)
    }
}

/// One thread's share of the common counts, and its view of the whole, which is renewed now and then: adding up visits every shard.
#[derive(Debug, Default)]
pub(super) struct Shard {
    accepts: Ring,
    refused: Ring,
    /// The position of the last accept: lap, and bucket in the low four bits.
    cursor: AtomicU64,
    mix: [AtomicU32; LEVELS],
    cut: AtomicU64,
    /// The state the cut was made in, when it ends, and how many more calls may use it.
    seen: AtomicU64,
    until: AtomicU64,
    left: AtomicU64,
}

impl Shard {
    /// Demand as it comes, by priority.
    pub(super) fn mix_in(&self, priority: Priority) {
        if self.mix[priority as usize].fetch_add(1, Ordering::Relaxed) >= MIX {
            self.mix.iter().for_each(|n| n.store(n.load(Ordering::Relaxed) / 2, Ordering::Relaxed));
        }
    }

    /// The cut made lately, if it still is worth something.
    pub(super) fn recent_cut(&self, state: u64, nanos: u64) -> Option<Cut> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 || self.seen.load(Ordering::Relaxed) != state || nanos >= self.until.load(Ordering::Relaxed) {
            return None;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        Some(Cut(f64::from_bits(self.cut.load(Ordering::Relaxed))))
    }

    pub(super) fn keep_cut(&self, cut: Cut, state: u64, until: u64, left: u64) {
        self.cut.store(cut.0.to_bits(), Ordering::Relaxed);
        self.seen.store(state, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
    }
}

/// The window. Accepts and refusals are common, so each thread counts its own; failures are counted in one place.
#[derive(Debug)]
pub(super) struct Tally {
    dial: Dial,
    shards: Shards<Shard>,
    failures: Padded<Ring>,
}

impl Tally {
    pub(super) fn new(window: u64, shards: usize) -> Self {
        Self { dial: Dial::new(window), shards: Shards::new(shards), failures: Padded::default() }
    }

    pub(super) const fn dial(&self) -> &Dial {
        &self.dial
    }

    /// For so long a shard's view of the whole holds.
    pub(super) const fn view(&self) -> u64 {
        self.dial.bucket_nanos() / 50
    }

    #[inline]
    pub(super) fn shard(&self) -> &Shard {
        self.shards.mine()
    }

    #[inline]
    pub(super) fn accept(&self, generation: u64, nanos: u64) {
        let shard = self.shard();
        shard.accepts.add(&self.dial, generation, self.dial.position_near(&shard.cursor, nanos));
    }

    pub(super) fn failure(&self, generation: u64, nanos: u64) {
        self.failures.0.add(&self.dial, generation, self.dial.position(nanos));
    }

    pub(super) fn refusal(&self, generation: u64, nanos: u64) {
        self.shard().refused.add(&self.dial, generation, self.dial.position(nanos));
    }

    pub(super) fn counts(&self, generation: u64, nanos: u64) -> Counts {
        let now = self.dial.position(nanos);
        let mut counts = Counts { failures: self.failures.0.sum(&self.dial, generation, now), ..Counts::default() };
        for shard in self.shards.iter() {
            counts.accepts += shard.accepts.sum(&self.dial, generation, now);
            counts.refused += shard.refused.sum(&self.dial, generation, now);
        }
        counts
    }

    pub(super) fn mix(&self) -> [u64; LEVELS] {
        let of = |level: usize| self.shards.iter().map(|shard| u64::from(shard.mix[level].load(Ordering::Relaxed))).sum();
        std::array::from_fn(of)
    }

    /// Every view is of before, whatever it says.
    pub(super) fn forget_cuts(&self) {
        self.shards.iter().for_each(|shard| shard.left.store(0, Ordering::Relaxed));
    }

    pub(super) fn wipe(&self) {
        for shard in self.shards.iter() {
            shard.accepts.wipe();
            shard.refused.wipe();
        }
        self.failures.0.wipe();
    }
}
