//! Chance, repeatable where a seed is given.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::hash::{BuildHasher, RandomState};

/// 64 random bits: what the standard library's hash makes of nothing, under a key that the operating system gave the thread and that is another
/// each time. Nobody outside can foretell them.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(())
}

/// Where chance comes from: [`bits`], or a SplitMix64 whose state is one atomic.
#[derive(Debug)]
pub(crate) enum Random {
    Thread,
    Seeded(AtomicU64),
}

impl Random {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        seed.or_else(crate::chance::simulated).map_or(Self::Thread, |seed| Self::Seeded(AtomicU64::new(seed)))
    }

    /// 64 random bits. Seeded: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014), with Stafford's mix 13.
    pub(crate) fn bits(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        match self {
            Self::Thread => bits(),
            Self::Seeded(state) => {
                let mut z = state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }

    /// A number in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn unit(&self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
