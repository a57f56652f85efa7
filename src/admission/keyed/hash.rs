//! What stands for a key: 128 bits of SipHash-1-3 under a secret of this process.
//!
//! So a key of a megabyte costs as much memory as one of a byte, no text of a key is kept, and nobody who does not know the secret can
//! choose keys that meet. Of `n` keys some two meet by chance with a probability of `n^2 / 2^129`: 1 in 10^27 for a million.
//!
//! J.-P. Aumasson and D. J. Bernstein, *SipHash: a fast short-input PRF*, 2012.

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

/// The secret, drawn once for each table.
#[derive(Clone, Copy)]
pub(crate) struct Secret {
    k0: u64,
    k1: u64,
}

impl Secret {
    pub(crate) fn random() -> Self {
        let half = || crate::chance::simulated().unwrap_or_else(crate::random::bits);
        Self { k0: half(), k1: half() }
    }

    /// The hash of a key.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> Hash {
        self.hasher().hash(key).into()
    }

    /// The hash of a key of any type.
    #[inline]
    pub(crate) fn digest<K: std::hash::Hash + ?Sized>(&self, key: &K) -> Hash {
        let mut hasher = self.hasher();
        key.hash(&mut hasher);
        Hash::of(&hasher)
    }

    #[inline]
    pub(crate) fn hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.k0, self.k1)
    }
}

/// A key, as far as a table knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hash {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

impl Hash {
    /// Of what the hasher was fed so far.
    #[inline]
    pub(crate) fn of(hasher: &SipHasher13) -> Self {
        hasher.finish128().into()
    }
}

impl From<Hash128> for Hash {
    #[inline]
    fn from(both: Hash128) -> Self {
        Self { high: both.h1, low: both.h2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h84_every_byte_and_the_length_count() {
        let secret = Secret { k0: 1, k1: 2 };
        let mut seen = std::collections::HashSet::new();
        for length in 0..40 {
            assert!(seen.insert(secret.hash(&vec![0; length])), "{length} zeros");
            for at in 0..length {
                let mut key = vec![0; length];
                key[at] = 1;
                assert!(seen.insert(secret.hash(&key)), "{length} bytes, one at {at}");
            }
        }
        assert_eq!(secret.hash(b"a"), secret.hash(b"a"));
        assert_ne!(secret.hash(b"a"), Secret { k0: 1, k1: 3 }.hash(b"a"), "the secret counts");
        assert_ne!(secret.digest(&("a", "bc")), secret.digest(&("ab", "c")), "where one part ends counts");
    }
}
