//! What stands for a key: 128 bits of SipHash-1-3 under a secret of this process.
//!
//! So a key of a megabyte costs as much memory as one of a byte, no text of a key is kept, and nobody who does not know the secret can
//! choose keys that meet. Of `n` keys some two meet by chance with a probability of `n^2 / 2^129`: 1 in 10^27 for a million.
//!
//! J.-P. Aumasson and D. J. Bernstein, *SipHash: a fast short-input PRF*, 2012; the output of 128 bits is the one of their reference code.

/// The secret, drawn once for each table.
#[derive(Clone, Copy)]
pub(crate) struct Secret {
    k0: u64,
    k1: u64,
}

impl Secret {
    pub(crate) fn random() -> Self {
        let half = || crate::chance::simulated().unwrap_or_else(rand::random);
        Self { k0: half(), k1: half() }
    }

    /// The hash of a key.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> Hash {
        let [high, low] = sip::<1, 3>(self.k0, self.k1, key);
        Hash { high, low }
    }
}

/// A key, as far as a table knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hash {
    pub(crate) high: u64,
    pub(crate) low: u64,
}

#[derive(Clone, Copy)]
struct State([u64; 4]);

impl State {
    #[inline]
    const fn new(k0: u64, k1: u64) -> Self {
        Self([k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573])
    }

    #[inline]
    fn round(&mut self) {
        let [v0, v1, v2, v3] = &mut self.0;
        *v0 = v0.wrapping_add(*v1);
        *v2 = v2.wrapping_add(*v3);
        *v1 = v1.rotate_left(13) ^ *v0;
        *v3 = v3.rotate_left(16) ^ *v2;
        *v0 = v0.rotate_left(32);
        *v2 = v2.wrapping_add(*v1);
        *v0 = v0.wrapping_add(*v3);
        *v1 = v1.rotate_left(17) ^ *v2;
        *v3 = v3.rotate_left(21) ^ *v0;
        *v2 = v2.rotate_left(32);
    }

    #[inline]
    fn take<const C: usize>(&mut self, word: u64) {
        self.0[3] ^= word;
        (0..C).for_each(|_| self.round());
        self.0[0] ^= word;
    }

    #[inline]
    fn finish<const D: usize>(&mut self) -> u64 {
        (0..D).for_each(|_| self.round());
        self.0.iter().fold(0, |sum, v| sum ^ v)
    }

    #[inline]
    fn finish_both<const D: usize>(&mut self) -> [u64; 2] {
        self.0[2] ^= 0xee;
        let first = self.finish::<D>();
        self.0[1] ^= 0xdd;
        [first, self.finish::<D>()]
    }
}

/// The bytes that do not fill a word, the first one lowest; read in pieces that overlap, for a loop over them takes longer than all the
/// rest.
#[inline]
pub(crate) fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    let (len, word) = (rest.len(), |four: &[u8; 4]| u64::from(u32::from_le_bytes(*four)));
    match (bytes.last_chunk::<8>(), rest.first_chunk::<4>(), rest.last_chunk::<4>(), rest) {
        (_, _, _, []) => 0,
        (Some(last), ..) => u64::from_le_bytes(*last) >> (64 - 8 * len),
        (_, Some(first), Some(last), _) => word(first) | word(last) << (8 * (len - 4)),
        (.., rest) => rest.iter().enumerate().fold(0, |word, (at, byte)| word | u64::from(*byte) << (8 * at)),
    }
}

/// SipHash-C-D with 128 bits of output, the first word first.
#[inline]
fn sip<const C: usize, const D: usize>(k0: u64, k1: u64, bytes: &[u8]) -> [u64; 2] {
    let mut state = State::new(k0, k1);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state.take::<C>(u64::from_le_bytes(*word));
    }
    state.take::<C>(tail(bytes, rest) | (bytes.len() as u64) << 56);
    state.finish_both::<D>()
}

/// The same for keys that are not bytes: whatever a value feeds to its hasher.
pub(crate) struct Digest {
    state: State,
    /// Bytes that do not fill a word yet, the first one lowest.
    rest: u64,
    length: usize,
}

impl Secret {
    /// The hash of a key of any type.
    #[inline]
    pub(crate) fn digest<K: std::hash::Hash + ?Sized>(&self, key: &K) -> Hash {
        let mut digest = self.begin();
        key.hash(&mut digest);
        digest.end()
    }

    #[inline]
    pub(crate) const fn begin(&self) -> Digest {
        Digest { state: State::new(self.k0, self.k1), rest: 0, length: 0 }
    }
}

impl Digest {
    #[inline]
    pub(crate) fn end(self) -> Hash {
        let Self { mut state, rest, length } = self;
        state.take::<1>(rest | (length as u64) << 56);
        let [high, low] = state.finish_both::<3>();
        Hash { high, low }
    }

    /// The lowest `count` bytes of `word`; there are no others in it.
    #[inline]
    pub(crate) fn push(&mut self, word: u64, count: usize) {
        let filled = self.length % 8;
        self.length += count;
        self.rest |= word << (8 * filled);
        if filled + count >= 8 {
            self.state.take::<1>(self.rest);
            self.rest = if filled == 0 { 0 } else { word >> (8 * (8 - filled)) };
        }
    }
}

/// A number feeds itself in the order of its bytes, lowest first, on every machine.
impl std::hash::Hasher for Digest {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
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
        0 // it is asked for 128 bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h83_it_is_siphash() {
        // The first vectors of the reference code: key 00 01 .. 0f, messages of 0, 1, 2 bytes 00 01 ..
        let vectors: [[u8; 16]; 2] = [
            [0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93],
            [0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45],
        ];
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        for (length, vector) in vectors.iter().enumerate() {
            let message: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let [first, second] = sip::<2, 4>(k0, k1, &message);
            assert_eq!([first.to_le_bytes(), second.to_le_bytes()].concat(), vector, "{length}");
        }
    }

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
        for length in 0..40 {
            let key = &"abcdefghijklmnopqrstuvwxyzabcdefghijklmnop"[..length];
            let bytes: Vec<u8> = key.bytes().chain([0xff]).collect(); // as `str` feeds itself to a hasher
            assert_eq!(secret.digest(key), secret.hash(&bytes), "{length} bytes, piece by piece");
        }
        let bytes =
            [&[7][..], &8_u32.to_le_bytes(), &9_u64.to_le_bytes(), &10_u16.to_le_bytes(), &11_u32.to_le_bytes(), &12_u64.to_le_bytes()];
        assert_eq!(secret.digest(&(7_u8, 8_u32, 9_u64, 10_u16, 11_u32, 12_usize)), secret.hash(&bytes.concat()), "numbers one by one");
        assert_ne!(secret.hash(b"a"), Secret { k0: 1, k1: 3 }.hash(b"a"));
    }
}
