//! A value as it lies in Redis: a byte of version, when it was stored, what it is about, and the bytes.
//!
//! ```text
//! 1 | created_at: u64 | length of the next: u32 | tags and metadata, or nothing | value          numbers little-endian
//! ```
//!
//! The scripts read tags at these places, too.

use crate::store::words;
use crate::store::{Entry, SetOptions, Timestamp, Ttl};
use bytes::Bytes;

/// The one there is. What another version wrote is a miss, so that two versions of a program may share a server.
const VERSION: u8 = 1;
/// Where tags and metadata begin.
const HEAD: usize = 1 + 8 + 4;

pub(super) fn encode(value: &[u8], options: &SetOptions, now: Timestamp) -> Vec<u8> {
    let about = words::encode(&options.tags, options.metadata.as_ref());
    let mut frame = Vec::with_capacity(HEAD + about.len() + value.len());
    frame.push(VERSION);
    frame.extend_from_slice(&now.as_millis().to_le_bytes());
    words::put_count(&mut frame, about.len());
    frame.extend_from_slice(&about);
    frame.extend_from_slice(value);
    frame
}

/// The entry in a frame that has so long to live; `None` for bytes that are no frame.
pub(super) fn decode(frame: Vec<u8>, ttl: Ttl, now: Timestamp) -> Option<Entry> {
    let (version, rest) = frame.split_first()?;
    let (created, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    if *version != VERSION {
        return None;
    }
    let created_at = Timestamp::from_millis(u64::from_le_bytes(*created));
    let length = u32::from_le_bytes(*length) as usize;
    let (_, metadata) = words::decode(rest.get(..length)?)?;
    let value = Bytes::from(frame).slice(HEAD + length..);
    Some(Entry::new(value, ttl, now).with_created_at(created_at).with_metadata(metadata))
}

/// For the fuzz target `store_frames`.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    let now = Timestamp::from_millis(9);
    if let Some(entry) = decode(bytes.to_vec(), Ttl::Never, now) {
        let options = SetOptions { metadata: entry.metadata.clone(), ..SetOptions::new() };
        let again = decode(encode(&entry.value, &options, entry.created_at), Ttl::Never, now);
        assert_eq!(again.as_ref(), Some(&entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(value: Vec<u8>, tags: Vec<String>, word: Option<String>) {
            let mut options = SetOptions::new();
            options.tags = tags;
            options.metadata = word.map(|word| [("w".to_owned(), word)].into());
            let entry = decode(encode(&value, &options, Timestamp::from_millis(7)), Ttl::Never, Timestamp::from_millis(9));
            let read = entry.map(|entry| (entry.value.to_vec(), entry.metadata, entry.created_at.as_millis(), entry.expires_at));
            prop_assert_eq!(read, Some((value, options.metadata, 7, None)));
        }

        #[test]
        fn h120_no_bytes_make_it_panic(frame: Vec<u8>) {
            let _ = decode(frame, Ttl::Never, Timestamp::from_millis(0));
        }
    }

    #[test]
    fn h85_the_frame_of_another_version_is_a_miss() {
        let mut frame = encode(b"v", &SetOptions::new(), Timestamp::from_millis(0));
        frame[0] = 2;
        assert_eq!(decode(frame, Ttl::Never, Timestamp::from_millis(0)), None);
    }
}
