//! What one file holds. Nothing in here touches a disk.
//!
//! ```text
//!  0  magic `sfst`          24  expires, ms (0: never)    40  crc32 of the value
//!  4  version               32  length of the value       44  crc32 of bytes 0..44, key, and about
//!  5  three bytes of zero   (see below for 20, 22)        48  key, about, value
//!  8  created, ms           16  length of key, of about
//! ```
//! Numbers are little-endian. The two checksums let a sweep read heads alone.

use super::super::{Key, Metadata, Timestamp, words};
use std::ops::Range;

pub(super) const MAGIC: [u8; 4] = *b"sfst";
const VERSION: u8 = 1;
pub(super) const HEAD: usize = 48;
/// Longer keys and more words about a value than this are nobody's: a length that was made up.
const MOST_WORDS: u32 = 16 << 20;

/// Everything but the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) key: Key,
    pub(super) created_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) metadata: Option<Metadata>,
    pub(super) tags: Vec<String>,
}

/// Why a file is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// Not a record of any version: somebody else's file.
    Foreign,
    /// A record of a version to come.
    Newer,
    /// A record once, or the beginning of one.
    Corrupt,
}

/// Where things are, as the first bytes of a file say. Believed only as far as the length of the file agrees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    key: usize,
    about: usize,
    value: u64,
}

impl Lengths {
    /// How many bytes follow the fixed part before the value.
    pub(super) fn words(self) -> usize {
        self.key + self.about
    }

    pub(super) fn value(self) -> u64 {
        self.value
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Reads the fixed part of a file of `len` bytes.
pub(super) fn lengths(fixed: &[u8], len: u64) -> Result<Lengths, Bad> {
    if len == 0 {
        return Err(Bad::Corrupt); // what a crash leaves of a file that was never written out
    }
    match (fixed.get(..4), fixed.get(4)) {
        (Some(magic), Some(version)) if magic == MAGIC => match *version {
            VERSION => {}
            0 => return Err(Bad::Corrupt),
            _ => return Err(Bad::Newer),
        },
        (Some(magic), None) if magic == MAGIC => return Err(Bad::Corrupt),
        // What a power cut leaves of a record whose name was written before its bytes.
        _ if fixed.iter().all(|byte| *byte == 0) => return Err(Bad::Corrupt),
        _ => return Err(Bad::Foreign),
    }
    let read = || Some((u32_at(fixed, 16)?, u32_at(fixed, 20)?, u64_at(fixed, 32)?));
    let (key, about, value) = read().ok_or(Bad::Corrupt)?;
    if key > MOST_WORDS || about > MOST_WORDS {
        return Err(Bad::Corrupt);
    }
    let total = (HEAD as u64).checked_add(u64::from(key) + u64::from(about)).and_then(|head| head.checked_add(value));
    if total != Some(len) {
        return Err(Bad::Corrupt);
    }
    Ok(Lengths { key: key as usize, about: about as usize, value })
}

/// Reads the fixed part and the words after it, and checks that they are as they were written.
pub(super) fn head(bytes: &[u8], lengths: Lengths) -> Result<Head, Bad> {
    let read = || {
        let words = bytes.get(HEAD..HEAD + lengths.words())?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(bytes.get(..44)?);
        crc.update(words);
        if crc.finalize() != u32_at(bytes, 44)? {
            return None;
        }
        let (key, about) = words.split_at_checked(lengths.key)?;
        let key = Key::parse(std::str::from_utf8(key).ok()?).ok()?;
        let expires_at = u64_at(bytes, 24).filter(|end| *end != 0).map(Timestamp::from_millis);
        let (tags, metadata) = words::decode(about)?;
        Some(Head { key, created_at: Timestamp::from_millis(u64_at(bytes, 8)?), expires_at, metadata, tags })
    };
    read().ok_or(Bad::Corrupt)
}

/// Where the value is, when it is as it was written.
pub(super) fn value(bytes: &[u8], lengths: Lengths) -> Result<Range<usize>, Bad> {
    let begins = HEAD + lengths.words();
    let value = bytes.get(begins..).filter(|value| value.len() as u64 == lengths.value).ok_or(Bad::Corrupt)?;
    if Some(crc32fast::hash(value)) == u32_at(bytes, 40) { Ok(begins..bytes.len()) } else { Err(Bad::Corrupt) }
}

/// The bytes before the value.
pub(super) fn encode(head: &Head, value: &[u8]) -> Vec<u8> {
    let about = words::encode(&head.tags, head.metadata.as_ref());
    let key = head.key.as_str().as_bytes();
    let mut bytes = Vec::with_capacity(HEAD + key.len() + about.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
    bytes.extend_from_slice(&head.created_at.as_millis().to_le_bytes());
    words::put_count(&mut bytes, key.len());
    words::put_count(&mut bytes, about.len());
    // An end at 1970 itself would read as never; a millisecond later is as over.
    let end = head.expires_at.map_or(0, |end| end.as_millis().max(1));
    bytes.extend_from_slice(&end.to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(value).to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes);
    crc.update(key);
    crc.update(&about);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&about);
    bytes
}

/// For the fuzz target `store_frames`: the bytes as they are, and once more with the sums put right, for no fuzzer guesses a CRC.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let lengths = lengths(&bytes[..bytes.len().min(HEAD)], bytes.len() as u64)?;
        Ok::<_, Bad>((head(bytes, lengths)?, bytes[value(bytes, lengths)?].to_vec()))
    };
    let _ = read(bytes);
    let mut bytes = bytes.to_vec();
    let Ok(found) = lengths(&bytes[..bytes.len().min(HEAD)], bytes.len() as u64) else { return };
    let begins = HEAD + found.words();
    let sum = crc32fast::hash(&bytes[begins..]);
    bytes[40..44].copy_from_slice(&sum.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..44]);
    crc.update(&bytes[HEAD..begins]);
    bytes[44..48].copy_from_slice(&crc.finalize().to_le_bytes());
    if let Ok((head, value)) = read(&bytes) {
        let again = [encode(&head, &value), value.clone()].concat();
        assert_eq!(read(&again), Ok((head, value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(value: &[u8]) -> (Head, Vec<u8>) {
        let head = Head {
            key: Key::from_text("user:42".into()),
            created_at: Timestamp::from_millis(1_000),
            expires_at: Some(Timestamp::from_millis(2_000)),
            metadata: Some(Metadata::from([("a".into(), "b".into())])),
            tags: vec!["org:7".into(), String::new()],
        };
        let mut bytes = encode(&head, value);
        bytes.extend_from_slice(value);
        (head, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<(Head, Vec<u8>), Bad> {
        let lengths = lengths(&bytes[..bytes.len().min(HEAD)], bytes.len() as u64)?;
        Ok((head(bytes, lengths)?, bytes[value(bytes, lengths)?].to_vec()))
    }

    #[test]
    fn h85_every_flipped_bit_and_every_cut_is_found() {
        let (head, bytes) = sample(b"value");
        assert_eq!(decode(&bytes), Ok((head, b"value".to_vec())));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        assert_eq!(decode(b""), Err(Bad::Corrupt));
        assert_eq!(decode(b"#!/bin/sh"), Err(Bad::Foreign));
        let mut newer = bytes.clone();
        newer[4] = 2;
        assert_eq!(decode(&newer), Err(Bad::Newer));
        assert_eq!(decode(&[bytes.as_slice(), b"x"].concat()), Err(Bad::Corrupt));
    }

    proptest! {
        #[test]
        fn h120_no_bytes_make_it_panic_or_believe(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), real: bool) {
            if real && bytes.len() > 5 {
                bytes[..5].copy_from_slice(&[b's', b'f', b's', b't', 1]);
            }
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn what_is_written_is_read(
            value: Vec<u8>,
            tags in proptest::collection::vec("\\PC{0,6}", 0..4),
            words in proptest::option::of(proptest::collection::btree_map("\\PC{0,6}", "\\PC{0,6}", 0..4)),
            end in 1..u64::MAX,
        ) {
            let head = Head { tags, metadata: words, expires_at: Some(Timestamp::from_millis(end)), ..sample(b"").0 };
            let mut bytes = encode(&head, &value);
            bytes.extend_from_slice(&value);
            prop_assert_eq!(decode(&bytes), Ok((head, value)));
        }
    }
}
