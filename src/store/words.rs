//! Tags and metadata as bytes, for stores that keep bytes.

use super::Metadata;

/// Nothing for nothing. Lengths are 32 bits, little-endian, as are counts.
pub(super) fn encode(tags: &[String], metadata: Option<&Metadata>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if metadata.is_none() && tags.is_empty() {
        return bytes;
    }
    put_count(&mut bytes, tags.len());
    tags.iter().for_each(|tag| put_word(&mut bytes, tag));
    bytes.push(u8::from(metadata.is_some()));
    for (name, word) in metadata.into_iter().flatten() {
        put_word(&mut bytes, name);
        put_word(&mut bytes, word);
    }
    bytes
}

/// What [`encode`] made bytes of; `None` for any others.
pub(super) fn decode(bytes: &[u8]) -> Option<(Vec<String>, Option<Metadata>)> {
    if bytes.is_empty() {
        return Some((Vec::new(), None));
    }
    let mut words = Words(bytes);
    let count = words.count()?;
    let mut tags = Vec::new(); // grows as there are words, whatever the count says
    for _ in 0..count {
        tags.push(words.word()?);
    }
    let (has_metadata, rest) = words.0.split_first()?;
    words.0 = rest;
    let mut metadata = Metadata::new();
    while !words.0.is_empty() {
        metadata.insert(words.word()?, words.word()?);
    }
    Some((tags, (*has_metadata == 1).then_some(metadata)))
}

pub(super) fn put_count(bytes: &mut Vec<u8>, count: usize) {
    // Nothing here has four billion of anything; if it had, it would not read back, which is a miss.
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_word(bytes: &mut Vec<u8>, word: &str) {
    put_count(bytes, word.len());
    bytes.extend_from_slice(word.as_bytes());
}

struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn count(&mut self) -> Option<u32> {
        let (count, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*count))
    }

    fn word(&mut self) -> Option<String> {
        let length = self.count()? as usize;
        let (word, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(word.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            tags in proptest::collection::vec("\\PC{0,6}", 0..4),
            metadata in proptest::option::of(proptest::collection::btree_map("\\PC{0,6}", "\\PC{0,6}", 0..4)),
        ) {
            prop_assert_eq!(decode(&encode(&tags, metadata.as_ref())), Some((tags, metadata)));
        }

        #[test]
        fn h120_no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
