//! Chance that repeats itself: one stream for each purpose.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::f64::consts::TAU;

/// A stream of random numbers: the same for the same seed and purpose, whatever other streams there are.
///
/// ```
/// use steadfast::testing::sim::Chance;
///
/// let mut dice = Chance::new(7, "dice");
/// let thrown: Vec<f64> = (0..3).map(|_| dice.unit()).collect();
/// let mut again = Chance::new(7, "dice");
/// assert!(thrown.iter().all(|&number| number == again.unit()));
/// assert_ne!(Chance::new(7, "coin").unit(), thrown[0]);
/// ```
#[derive(Debug)]
pub struct Chance {
    stream: StdRng,
}

impl Chance {
    /// The stream of this seed for this purpose.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a, so that purposes get streams far apart and the standard library's hashes may change as they like.
        let mark = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |mark, byte| (mark ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut whole = [0_u8; 32];
        whole[..8].copy_from_slice(&seed.to_le_bytes());
        whole[8..16].copy_from_slice(&mark.to_le_bytes());
        Self { stream: StdRng::from_seed(whole) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// Evenly in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a f64 holds exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Exponential, with a mean of 1: the gaps of a Poisson process.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal, with a mean of 0 and a standard deviation of 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}
