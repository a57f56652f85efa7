//! Keys: any bytes in, short printable text out, and never the same text for two different keys.
//!
//! A key made of a plain word is that word. What would trouble a protocol, a log or a file system is percent-escaped; what is too long
//! keeps its head for the reader and ends in a hash of the whole. Both are injective: no two keys become one. (The hash is 128 bits of
//! SHA-256, so that is as sure as SHA-256.)
//!
//! ```
//! use steadfast::store::Key;
//! # fn main() -> Result<(), steadfast::store::StoreError> {
//! assert_eq!(Key::new("user:42")?.as_str(), "user:42");
//! assert_eq!(Key::new("a b")?.as_str(), "a%20b");
//! assert_eq!(Key::new("a%20b")?.as_str(), "a%2520b");       // not the same key
//! assert_eq!(Key::new(b"\xff\r\n")?.as_str(), "%FF%0D%0A");
//! assert_eq!(Key::new("x".repeat(1 << 20))?.as_str().len(), 250);
//! assert!(Key::new("").is_err());
//!
//! // Of several parts, none of which can pass for another: a tenant named `a:b` is not the tenant `a`.
//! assert_eq!(Key::of_parts(["a", "b:c"])?.as_str(), "a:b%3Ac");
//! assert_eq!(Key::of_parts(["a:b", "c"])?.as_str(), "a%3Ab:c");
//! # Ok(()) }
//! ```

use super::StoreError;
use crate::fault::{ConfigError, Fault};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;

/// What every store keeps values under: text of at most 250 bytes (or what a [`KeyPolicy`] of your own says), without spaces (Unicode's too),
/// control characters and marks that turn the direction of a text. Cloning is cheap.
///
/// `{:?}` shows a fingerprint, not the key: keys are often names of people. [`as_str`](Self::as_str) is the key.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// The key for `raw`, by the default [`KeyPolicy`]: no prefix, at most 250 bytes.
    ///
    /// # Errors
    /// [`InvalidKey`](super::StoreErrorKind::InvalidKey) when `raw` is empty.
    pub fn new(raw: impl AsRef<[u8]>) -> Result<Self, StoreError> {
        KeyPolicy::DEFAULT.key(raw)
    }

    /// The key for several parts, joined with `:`. A `:` within a part is escaped, so different parts make different keys.
    ///
    /// # Errors
    /// [`InvalidKey`](super::StoreErrorKind::InvalidKey) when there are no parts, or one that is empty.
    pub fn of_parts<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Result<Self, StoreError> {
        KeyPolicy::DEFAULT.key_of_parts(parts)
    }

    /// The key for a value: `kind`, and a hash of the value's canonical JSON (members in order). For keys made of many fields.
    ///
    /// `kind` says what the key is for, a function or a type with its version (`quote.v2`): equal values of two kinds are two keys.
    ///
    /// # Errors
    /// [`Codec`](super::StoreErrorKind::Codec) for what JSON cannot hold, maps whose keys are not text for one.
    #[cfg(feature = "json")]
    pub fn of<T: serde::Serialize + ?Sized>(kind: &str, value: &T) -> Result<Self, StoreError> {
        // Through `Value`, which sorts its members: the order of a `HashMap` must not make a key.
        let canonical = serde_json::to_value(value)
            .map_err(|_| StoreError::new(super::StoreErrorKind::Codec).with_detail("a key that JSON cannot hold"))?;
        let mut hash = String::with_capacity(HASH_LEN);
        push_hash(&mut hash, canonical.to_string().as_bytes());
        Self::of_parts([kind, &hash])
    }

    /// The key whose text this is, as [`as_str`](Self::as_str) gave it. For stores that read their keys back.
    ///
    /// # Errors
    /// [`InvalidKey`](super::StoreErrorKind::InvalidKey) when no key has this text.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Err(StoreError::empty_key());
        }
        let malformed = || StoreError::new(super::StoreErrorKind::InvalidKey).with_detail("not the text of a key");
        let mut rest = text.as_bytes();
        let mut escaped = Vec::new();
        while let Some((&first, tail)) = rest.split_first() {
            if first == b'%' {
                let (hex, tail) = tail.split_first_chunk::<2>().ok_or_else(malformed)?;
                escaped.push(unhex(*hex).ok_or_else(malformed)?);
                rest = tail;
                continue;
            }
            check_escaped(&mut escaped).ok_or_else(malformed)?;
            rest = tail;
        }
        check_escaped(&mut escaped).ok_or_else(malformed)?;
        if text.contains(|c| c != '%' && needs_escape(c)) { Err(malformed()) } else { Ok(Self(text.into())) }
    }

    /// The key as text: what stores keep and [`Glob`](super::Glob)s look at.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same key in a namespace: `users` and `42` make `users:42`. A `:` in the name is escaped, and so is all that keys escape. It is longer
    /// by the name, even where that is more than a policy allows: keep names of namespaces short.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        let mut text = String::with_capacity(namespace.len() + 1 + self.0.len());
        escape_into(&mut text, namespace.as_bytes(), true);
        text.push(':');
        text.push_str(&self.0);
        Self(text.into())
    }

    /// 8 hex digits of SHA-256, to tell keys apart in logs without naming them.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::with_capacity(HASH_LEN);
        push_hash(&mut text, self.0.as_bytes());
        text.truncate(8);
        text
    }

    /// SHA-256 of the text, in hex: a file name.
    #[cfg(feature = "file")]
    pub(crate) fn digest(&self) -> String {
        let mut text = String::with_capacity(64);
        push_hex(&mut text, &Sha256::digest(self.0.as_bytes()));
        text
    }

    pub(crate) fn from_text(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(#{}, {} bytes)", self.fingerprint(), self.0.len())
    }
}

/// How keys are made of what you have: a prefix, and how long they may be.
///
/// ```
/// use steadfast::store::KeyPolicy;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = KeyPolicy::new("rl:", 64)?;
/// assert_eq!(policy.key("tenant 7")?.as_str(), "rl:tenant%207");
/// assert_eq!(policy.key("x".repeat(100))?.as_str().len(), 64);
/// assert!(KeyPolicy::new("", 40).is_err()); // no room for the hash of a long key
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Escaped, with its `:`; empty for none.
    prefix: Cow<'static, str>,
    max_len: usize,
}

/// Hex digits of the hash at the end of a long key.
const HASH_LEN: usize = 32;
/// What Memcached takes, the narrowest of the backends people have.
const MAX_LEN: usize = 250;
/// Room for a hash, its colon, and enough of the head to be of use to a reader.
const LEAST: usize = 48;
/// The same without a head of any use: what a prefix must leave.
const ROOM: usize = 40;

impl KeyPolicy {
    const DEFAULT: Self = Self { prefix: Cow::Borrowed(""), max_len: MAX_LEN };

    /// `prefix` goes before every key, joined with one `:` (those at its end are stripped; empty for none). `max_len` is in bytes, the
    /// prefix included. **Default** ([`Default`]): no prefix, 250 bytes.
    ///
    /// # Errors
    /// When `max_len` is below 48, or the prefix leaves less than 40 of it.
    pub fn new(prefix: &str, max_len: usize) -> Result<Self, ConfigError> {
        let mut escaped = String::new();
        let bare = prefix.trim_end_matches(':');
        if !bare.is_empty() {
            escape_into(&mut escaped, bare.as_bytes(), false);
            escaped.push(':');
        }
        let mut faults = Vec::new();
        if max_len < LEAST {
            faults.push(Fault::new("max_len", format!("{max_len} is too small; long keys end in a hash, so it must be at least {LEAST}")));
        } else if max_len - ROOM < escaped.len() {
            let fix = "shorten it, or allow longer keys";
            faults.push(Fault::new("prefix", format!("{} bytes leave too little of the {max_len} allowed; {fix}", escaped.len())));
        }
        ConfigError::check("key policy", faults)?;
        Ok(Self { prefix: Cow::Owned(escaped), max_len })
    }

    /// The longest a key becomes, in bytes.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.max_len
    }

    /// The text of the key for `raw`. A plain key under a policy without prefix is borrowed: nothing is allocated.
    ///
    /// # Errors
    /// [`InvalidKey`](super::StoreErrorKind::InvalidKey) when `raw` is empty.
    pub fn normalize<'a>(&self, raw: &'a [u8]) -> Result<Cow<'a, str>, StoreError> {
        if raw.is_empty() {
            return Err(StoreError::empty_key());
        }
        if self.prefix.is_empty()
            && raw.len() <= self.max_len
            && let Some(text) = plain(raw)
            && !self.looks_hashed(text)
        {
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::with_capacity(self.prefix.len() + raw.len() + 8);
        text.push_str(&self.prefix);
        escape_into(&mut text, raw, false);
        Ok(Cow::Owned(self.fit(text)))
    }

    /// The key for `raw`.
    ///
    /// # Errors
    /// [`InvalidKey`](super::StoreErrorKind::InvalidKey) when `raw` is empty.
    pub fn key(&self, raw: impl AsRef<[u8]>) -> Result<Key, StoreError> {
        Ok(Key(self.normalize(raw.as_ref())?.into()))
    }

    /// The key for several parts; see [`Key::of_parts`].
    ///
    /// # Errors
    /// [`InvalidKey`](super::StoreErrorKind::InvalidKey) when there are no parts, or one that is empty.
    pub fn key_of_parts<P: AsRef<[u8]>>(&self, parts: impl IntoIterator<Item = P>) -> Result<Key, StoreError> {
        let mut text = self.prefix.to_string();
        for (at, part) in parts.into_iter().enumerate() {
            if at > 0 {
                text.push(':');
            }
            escape_into(&mut text, part.as_ref(), true);
        }
        if text.len() == self.prefix.len() {
            return Err(StoreError::empty_key());
        }
        Ok(Key(self.fit(text).into()))
    }

    /// Cuts what is too long, and ends it in the hash of the whole.
    fn fit(&self, mut text: String) -> String {
        if text.len() <= self.max_len && !self.looks_hashed(&text) {
            return text;
        }
        let mut hash = String::with_capacity(HASH_LEN);
        push_hash(&mut hash, text.as_bytes());
        let mut head = (self.max_len - 1 - HASH_LEN).min(text.len());
        while !text.is_char_boundary(head) {
            head -= 1;
        }
        // Nor within an escape, which would be the text of no key. (All of them are three characters, and a `%` begins nothing else.)
        if head < text.len()
            && let Some(escape) = text.as_bytes()[..head].iter().rev().take(2).position(|byte| *byte == b'%')
        {
            head -= escape + 1;
        }
        text.truncate(head);
        text.push(':');
        text.push_str(&hash);
        text
    }

    /// Whether a text that fits could be the cut of a longer one. Such a text is hashed as well, or a caller who knows SHA-256 could
    /// name the key of another.
    fn looks_hashed(&self, text: &str) -> bool {
        // A cut loses at most 3 bytes of a character, or 2 of an escape.
        if text.len() + 3 < self.max_len {
            return false;
        }
        let bytes = text.as_bytes();
        let (head, hash) = bytes.split_at(bytes.len() - HASH_LEN.min(bytes.len()));
        head.last() == Some(&b':') && hash.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    }
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

pub(super) fn needs_escape(c: char) -> bool {
    // Beside the controls: every space, what turns the text around it, and what cannot be seen. (What joins emoji may stay.)
    matches!(c, '%' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || c.is_whitespace()
        || c.is_control()
}

/// `raw` as it is, where nothing in it needs escaping.
fn plain(raw: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(raw).ok()?;
    let tame = if text.is_ascii() { raw.iter().all(|b| matches!(b, 0x21..=0x7e) && *b != b'%') } else { !text.contains(needs_escape) };
    tame.then_some(text)
}

/// Upper case only: one byte has one escape.
fn unhex(digits: [u8; 2]) -> Option<u8> {
    let digit = |digit| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

/// Whether all of this had to be escaped: what need not be is never, so that a key has one text.
fn check_escaped(bytes: &mut Vec<u8>) -> Option<()> {
    let needed = bytes.utf8_chunks().all(|chunk| chunk.valid().chars().all(|c| c == ':' || needs_escape(c)));
    bytes.clear();
    needed.then_some(())
}

fn push_escape(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "%{byte:02X}"); // a String takes all
    }
}

/// Appends `raw`, escaped; `colon` says whether `:` is, too.
pub(super) fn escape_into(text: &mut String, raw: &[u8], colon: bool) {
    for chunk in raw.utf8_chunks() {
        for c in chunk.valid().chars() {
            if needs_escape(c) || (colon && c == ':') {
                push_escape(text, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_escape(text, chunk.invalid());
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}"); // a String takes all
    }
}

fn push_hash(text: &mut String, of: &[u8]) {
    push_hex(text, &Sha256::digest(of)[..HASH_LEN / 2]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn text(raw: impl AsRef<[u8]>) -> String {
        Key::new(raw).map(|key| key.as_str().to_owned()).unwrap_or_default()
    }

    #[test]
    fn a14_all_one_byte_keys_and_their_escapes_are_distinct() {
        let mut seen: HashSet<String> = (0..=255_u8).map(|b| text([b])).collect();
        seen.extend(["a b", "a_b", "a%20b", "a\r\nb", "a\0b", "a%2520b"].map(text));
        assert_eq!(seen.len(), 256 + 6);
        assert!(seen.iter().all(|key| !key.contains(|c: char| c == ' ' || c.is_control())));
    }

    #[test]
    fn h85_a_key_has_no_space_of_any_kind_and_nothing_that_cannot_be_seen() {
        // To whoever splits a line of a log at blanks, or reads it, one key is one word.
        let blanks = (0..=0x3000).filter_map(char::from_u32).filter(|c| c.is_whitespace());
        for c in blanks.chain(['\u{61c}', '\u{200b}', '\u{2060}', '\u{feff}']) {
            let key = Key::new(format!("a{c}b"));
            let shown = key.as_ref().map(Key::as_str).unwrap_or_default();
            assert!(shown.is_ascii() && shown.starts_with("a%") && shown.ends_with('b'), "{c:?} in {shown}");
            assert_eq!(Key::parse(shown), key);
            assert!(Key::parse(&format!("a{c}b")).is_err());
        }
        assert_eq!(text("a\u{a0}b\u{3000}"), "a%C2%A0b%E3%80%80");
        assert_eq!(text("👩\u{200d}👧"), "👩\u{200d}👧", "what joins two signs into one is part of the sign");
    }

    #[test]
    fn a12_long_keys_keep_their_head_and_do_not_meet() {
        let long = "é".repeat(10 * 1024);
        let (one, other) = (text(long.clone() + "1"), text(long + "2"));
        assert_ne!(one, other);
        assert!(one.len() <= 250 && one.len() > 246 && one.starts_with("éé") && one.as_bytes()[one.len() - 33] == b':', "{one}");
        assert_eq!(text("x".repeat(250)), "x".repeat(250));
        assert_eq!(text("é".repeat(126)).len(), 250 - 1, "the cut is between characters, and bytes count");
    }

    #[test]
    fn h104_nobody_can_name_the_key_of_another() {
        let long = text("x".repeat(1_000));
        assert_ne!(text(&long), long, "the text of a hashed key is itself hashed");
        assert_eq!(Key::parse(&long).map(|key| key.as_str().to_owned()).ok(), Some(long));
    }

    #[test]
    fn a13_what_looks_alike_is_not_alike() {
        let all = ["é", "e\u{301}", "👩‍👩‍👧", "👩👩👧", "\u{202e}abc", "abc", "ABC", "\u{85}", "%C2%85"];
        assert_eq!(all.iter().map(text).collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a11_an_empty_key_is_an_error_with_a_kind() {
        for empty in [Key::new(""), Key::of_parts::<&str>([]), Key::of_parts([""]), Key::parse("")] {
            assert_eq!(empty.map_err(|e| e.kind()), Err(crate::store::StoreErrorKind::InvalidKey));
        }
        assert!(Key::of_parts(["", ""]).is_ok());
        assert!(["a b", "%zz", "%2", "%2f", "\n", "%41", "%2E", "%C3%A9", "a%", "%+1"].iter().all(|odd| Key::parse(odd).is_err()));
    }

    #[test]
    fn a93_a_policy_without_room_is_refused() {
        assert!(KeyPolicy::new("", 47).is_err());
        assert!(KeyPolicy::new(&"p".repeat(20), 60).is_err());
        let key = KeyPolicy::new("rl::", 48).map(|policy| policy.key("x".repeat(99)).ok());
        assert_eq!(key.map(|key| key.map(|key| key.as_str().len())), Ok(Some(48)));
    }

    #[test]
    fn plain_keys_are_borrowed() {
        assert!(matches!(KeyPolicy::default().normalize("größe:1".as_bytes()), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn h86_debug_does_not_tell_the_key() {
        let key = Key::new("alice@example.com").map(|key| format!("{key:?}")).unwrap_or_default();
        assert!(key.starts_with("Key(#") && !key.contains("alice"), "{key}");
    }

    #[cfg(feature = "json")]
    #[test]
    fn h112_keys_of_values_know_their_kind_and_no_order() {
        let maps: Vec<std::collections::HashMap<String, u32>> = (0..8).map(|_| (0..50).map(|i| (i.to_string(), i)).collect()).collect();
        let keys: HashSet<_> = maps.iter().map(|map| Key::of("map", map).ok()).collect();
        assert_eq!(keys.len(), 1);
        let distinct = [Key::of("a", &1), Key::of("b", &1), Key::of("a", "1"), Key::of("a", &[1]), Key::of("a:b", &1)];
        assert_eq!(distinct.iter().map(|key| key.as_ref().ok()).collect::<HashSet<_>>().len(), 5);
    }

    proptest! {
        #[test]
        fn h104_distinct_tuples_make_distinct_keys(a in proptest::collection::vec("[ab:%]{0,3}", 1..4), b in proptest::collection::vec("[ab:%]{0,3}", 1..4)) {
            let (one, other) = (Key::of_parts(&a).ok(), Key::of_parts(&b).ok());
            prop_assert_eq!(one.is_some() && one == other, a == b && one.is_some());
        }

        #[test]
        fn h104_distinct_bytes_make_distinct_keys(a: Vec<u8>, b: Vec<u8>, namespace in "[a:]{1,3}") {
            if let (Ok(one), Ok(other)) = (Key::new(&a), Key::new(&b)) {
                prop_assert_eq!(one == other, a == b);
                prop_assert!(one.as_str().len() <= 250);
                prop_assert_eq!(Key::parse(one.as_str()).ok(), Some(one.clone()));
                prop_assert_eq!(one.within(&namespace) == other.within(&namespace), a == b);
            }
        }
    }
}
