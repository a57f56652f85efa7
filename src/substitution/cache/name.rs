//! What stands for a key: the bytes it feeds to a hasher, if they are 15 or fewer; else 120 bits of their SipHash under a secret of the cache.
//!
//! So short keys are what they are, and long ones meet by chance with a probability of `n^2 / 2^121` among `n`: 1 in 10^24 for a million. Where a name is
//! put in a table, its place there is the folded product of its halves under two more secrets, which nobody can aim at.

use crate::admission::keyed::{Hash, Secret};
use crate::random::bits;
use siphasher::sip128::SipHasher13;
use std::hash::{BuildHasher, Hasher};

/// The most bytes that are kept as they are.
const SHORT: usize = 15;

/// Gives names.
pub(super) struct Names {
    secret: Secret,
    part: u64,
}

impl Names {
    pub(super) fn random() -> Self {
        Self { secret: Secret::random(), part: bits() | 1 }
    }

    #[inline]
    pub(super) fn name<K: std::hash::Hash + ?Sized>(&self, key: &K) -> Hash {
        let mut namer = Namer { secret: self.secret, low: 0, high: 0, length: 0, long: None };
        key.hash(&mut namer);
        match namer.long {
            None => Hash { high: namer.high | (namer.length as u64) << 56, low: namer.low },
            Some(hasher) => {
                let Hash { high, low } = Hash::of(&hasher);
                Hash { high: high | 0xff << 56, low }
            }
        }
    }

    /// One of so many parts, a power of two.
    #[inline]
    pub(super) const fn part(&self, name: Hash, parts: usize) -> usize {
        ((name.high ^ name.low).wrapping_mul(self.part) >> 32) as usize & (parts - 1)
    }
}

struct Namer {
    secret: Secret,
    low: u64,
    high: u64,
    length: usize,
    long: Option<SipHasher13>,
}

impl Namer {
    /// The lowest `count` bytes of `word`; there are no others in it.
    #[inline]
    fn push(&mut self, word: u64, count: usize) {
        let at = self.length;
        if self.long.is_some() || at + count > SHORT {
            return self.push_long(word, count);
        }
        if at < 8 {
            self.low |= word << (8 * at);
            if at + count > 8 {
                self.high |= word >> (8 * (8 - at));
            }
        } else {
            self.high |= word << (8 * (at - 8));
        }
        self.length += count;
    }

    #[cold]
    fn push_long(&mut self, word: u64, count: usize) {
        let hasher = self.long.get_or_insert_with(|| {
            let mut hasher = self.secret.hasher();
            hasher.write(&self.low.to_le_bytes()[..self.length.min(8)]);
            hasher.write(&self.high.to_le_bytes()[..self.length.saturating_sub(8)]);
            hasher
        });
        hasher.write(&word.to_le_bytes()[..count]);
    }
}

impl Hasher for Namer {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.long {
            return hasher.write(bytes);
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.push(u64::from_le_bytes(*word), 8);
        }
        if !rest.is_empty() {
            self.push(tail(bytes, rest), rest.len());
        }
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.push(u64::from(byte), 1);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.push(u64::from(number), 4);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.push(number, 8);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.push(number as u64, 8);
    }

    fn finish(&self) -> u64 {
        0 // it is asked for a name
    }
}

/// The bytes that do not fill a word, the first one lowest; read in pieces that overlap, for a loop over them takes longer than all the
/// rest.
#[inline]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    let (len, word) = (rest.len(), |four: &[u8; 4]| u64::from(u32::from_le_bytes(*four)));
    match (bytes.last_chunk::<8>(), rest.first_chunk::<4>(), rest.last_chunk::<4>(), rest) {
        (_, _, _, []) => 0,
        (Some(last), ..) => u64::from_le_bytes(*last) >> (64 - 8 * len),
        (_, Some(first), Some(last), _) => word(first) | word(last) << (8 * (len - 4)),
        (.., rest) => rest.iter().enumerate().fold(0, |word, (at, byte)| word | u64::from(*byte) << (8 * at)),
    }
}

/// Finds the place of a name in a table.
#[derive(Clone, Copy)]
pub(super) struct Fold([u64; 2]);

impl Default for Fold {
    fn default() -> Self {
        Self([bits(), bits()])
    }
}

impl BuildHasher for Fold {
    type Hasher = Folding;
    #[inline]
    fn build_hasher(&self) -> Folding {
        Folding { secrets: self.0, words: [0; 2] }
    }
}

pub(super) struct Folding {
    secrets: [u64; 2],
    words: [u64; 2],
}

impl Hasher for Folding {
    fn write(&mut self, _bytes: &[u8]) {}

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.words = [self.words[1], word];
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "it is folded")]
    fn finish(&self) -> u64 {
        let product = u128::from(self.words[0] ^ self.secrets[0]) * u128::from(self.words[1] ^ self.secrets[1]);
        product as u64 ^ (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn h112_names_differ_as_their_keys_do() {
        let names = Names::random();
        let mut seen = HashSet::new();
        for length in 0..40 {
            for at in 0..length {
                let mut key = vec![b'a'; length];
                key[at] = b'b';
                assert!(seen.insert(names.name(std::str::from_utf8(&key).unwrap_or_default())), "{length}, {at}");
            }
            assert!(seen.insert(names.name("a".repeat(length).as_str())), "{length}");
        }
        let pairs = [
            ("", "abc"),
            ("a", "bc"),
            ("abc", ""),
            ("abcdefgh", "ijk"),
            ("abcdefghi", "jk"),
            ("0123456789abcdef", ""),
            ("0123456789abcde", "f"),
        ];
        for pair in pairs {
            assert!(seen.insert(names.name(&pair)), "{pair:?}");
        }
        for number in 0..1_000_u64 {
            assert!(seen.insert(names.name(&number)) && seen.insert(names.name(&(number, number))), "{number}");
        }
    }

    #[test]
    fn h112_a_key_in_pieces_is_the_key() {
        let names = Names::random();
        for length in 0..64 {
            let bytes: Vec<u8> = (0..length).collect();
            for cut in 0..=bytes.len() {
                struct Pieces<'a>(&'a [u8], &'a [u8]);
                impl std::hash::Hash for Pieces<'_> {
                    fn hash<H: Hasher>(&self, state: &mut H) {
                        state.write(self.0);
                        state.write(self.1);
                    }
                }
                let (one, other) = bytes.split_at(cut);
                assert_eq!(names.name(&Pieces(one, other)), names.name(&Pieces(&bytes, &[])), "{length} at {cut}");
            }
        }
    }

    #[test]
    fn places_are_spread() {
        let (names, fold) = (Names::random(), Fold::default());
        let mut parts = [0; 32];
        let mut places = [0; 256];
        for number in 0..32_000_u64 {
            let name = names.name(&number);
            parts[names.part(name, 32)] += 1;
            places[(fold.hash_one(name) >> 57) as usize * 2] += 1;
        }
        assert!(parts.iter().all(|count| (600..1_400).contains(count)), "{parts:?}");
        assert!(places.iter().step_by(2).all(|count| (100..450).contains(count)), "{places:?}");
    }
}
