//! What is said, and how it is written.

use crate::store::Key;
use bytes::Bytes;

const VERSION: u8 = 1;
const HEAD: usize = 10;
const KEYS: u8 = 0;
const ALL: u8 = 1;

/// What was changed in the far store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changed {
    /// What is under these keys.
    Keys(Vec<Key>),
    /// Anything.
    All,
}

/// A word on a [`Backplane`](super::Backplane).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notice {
    /// Who says so: a random number, each store's own.
    pub sender: u64,
    /// What was changed.
    pub changed: Changed,
}

impl Notice {
    /// A word of `sender`.
    #[must_use]
    pub const fn new(sender: u64, changed: Changed) -> Self {
        Self { sender, changed }
    }

    /// As bytes, for a message: a version, what kind, the sender, and the keys with their lengths.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let keys: &[Key] = match &self.changed {
            Changed::Keys(keys) => keys,
            Changed::All => &[],
        };
        let size = keys.iter().map(|key| 4 + key.as_str().len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(HEAD + size);
        bytes.extend_from_slice(&[VERSION, if matches!(self.changed, Changed::All) { ALL } else { KEYS }]);
        bytes.extend_from_slice(&self.sender.to_le_bytes());
        for key in keys {
            // No key has four billion bytes; if one had, the notice would not read back, and everything near be dropped.
            bytes.extend_from_slice(&u32::try_from(key.as_str().len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(key.as_str().as_bytes());
        }
        bytes.into()
    }

    /// What [`to_bytes`](Self::to_bytes) made bytes of; `None` for any others, of a later version for one. Those are a [`Gap`](super::Heard::Gap).
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<HEAD>()?;
        let [VERSION, kind, sender @ ..] = *head else { return None };
        let mut keys = Vec::new(); // grows as there are keys, whatever a length says
        while let Some((length, more)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, more) = more.split_at_checked(length)?;
            keys.push(Key::parse(std::str::from_utf8(text).ok()?).ok()?);
            rest = more;
        }
        let changed = match kind {
            KEYS => Changed::Keys(keys),
            ALL if keys.is_empty() => Changed::All,
            _ => return None,
        };
        rest.is_empty().then_some(Self { sender: u64::from_le_bytes(sender), changed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Notice {
        Notice::new(u64::MAX - 7, Changed::Keys(["a", "ключ", "x".repeat(9_000).as_str()].map(|raw| Key::from_text(raw.into())).to_vec()))
    }

    #[test]
    fn what_is_said_is_heard_and_nothing_else_is() {
        let keys = ["a", "a b", "ключ", "{}"].iter().filter_map(|raw| Key::new(raw).ok()).collect::<Vec<_>>();
        for changed in [Changed::Keys(keys), Changed::Keys(Vec::new()), Changed::All] {
            let notice = Notice::new(7, changed);
            let bytes = notice.to_bytes();
            assert_eq!(Notice::from_bytes(&bytes), Some(notice));
            assert_eq!(Notice::from_bytes(&[&bytes[..], b"x"].concat()), None);
            assert_eq!(Notice::from_bytes(&[&[2], &bytes[1..]].concat()), None, "of a version to come");
        }
        assert_eq!(Notice::from_bytes(b""), None);
    }

    proptest! {
        #[test]
        fn h120_no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..100), real: bool) {
            if real && !bytes.is_empty() {
                bytes[0] = VERSION;
            }
            if let Some(notice) = Notice::from_bytes(&bytes) {
                prop_assert_eq!(notice.to_bytes(), bytes);
            }
        }

        #[test]
        fn h120_cut_short_it_is_none_or_fewer_keys(at in 0..9_000_usize) {
            let bytes = sample().to_bytes();
            let Some(notice) = Notice::from_bytes(&bytes[..at.min(bytes.len() - 1)]) else { return Ok(()) };
            prop_assert!(matches!(notice.changed, Changed::Keys(keys) if keys.len() < 3));
        }
    }
}
