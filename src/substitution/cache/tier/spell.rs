//! What a store calls a key: text and numbers as they are, so that others find them; what has several parts as a list of them.
//!
//! A key is known by what it feeds to a hasher, which is the same for every form it is borrowed in. A text feeds its bytes and a 0xff, as the
//! standard library has it since Rust 1.0; should a later one feed something else, a cache misses what an earlier program stored, no more.

use crate::store::Key;
use std::hash::{Hash, Hasher};

/// `None` for what no store could call anything.
pub(super) fn spell<Q: Hash + ?Sized>(key: &Q) -> Option<Key> {
    let mut speller = Speller::default();
    key.hash(&mut speller);
    speller.end()
}

#[derive(Default)]
struct Speller {
    /// `7`, `-7`, `s3:abc` for a text, `b3:abc` for bytes, with commas between.
    spelt: Vec<u8>,
    parts: usize,
    /// Where the last part begins and its bytes do, if it is one of bytes.
    bytes: Option<(usize, usize)>,
    text: Option<usize>,
}

impl Speller {
    fn begin(&mut self) -> usize {
        if self.parts > 0 {
            self.spelt.push(b',');
        }
        self.parts += 1;
        (self.bytes, self.text) = (None, None);
        self.spelt.len()
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        self.begin();
        self.spelt.extend_from_slice(number.to_string().as_bytes());
    }

    fn end(self) -> Option<Key> {
        let alone = match self.text {
            Some(at) if self.parts == 1 && at < self.spelt.len() => &self.spelt[at..],
            _ => &self.spelt,
        };
        Key::new(alone).ok()
    }
}

macro_rules! numbers {
    ($($write:ident: $number:ty),* $(,)?) => {
        $(fn $write(&mut self, number: $number) {
            self.number(number);
        })*
    };
}

impl Hasher for Speller {
    fn write(&mut self, bytes: &[u8]) {
        let at = self.begin();
        self.spelt.extend_from_slice(format!("b{}:", bytes.len()).as_bytes());
        self.bytes = Some((at, self.spelt.len()));
        self.spelt.extend_from_slice(bytes);
    }

    fn write_u8(&mut self, number: u8) {
        match self.bytes.take() {
            Some((at, from)) if number == 0xff => {
                self.spelt[at] = b's';
                self.text = Some(from);
            }
            _ => self.number(number),
        }
    }

    numbers! {
        write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128, write_usize: usize,
        write_i8: i8, write_i16: i16, write_i32: i32, write_i64: i64, write_i128: i128, write_isize: isize,
    }

    fn finish(&self) -> u64 {
        0 // it is asked for a name
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn text<Q: Hash + ?Sized>(key: &Q) -> String {
        spell(key).map(|key| key.as_str().to_owned()).unwrap_or_default()
    }

    #[test]
    fn h112_text_and_numbers_are_what_they_are() {
        let here: &str = "user:7";
        assert_eq!((text(here), text(&here.to_owned()), text(&&here)), ("user:7".into(), "user:7".into(), "user:7".into()));
        assert_eq!(
            (text(&7_u64), text(&-7_i32), text(&255_u8), text(&u128::MAX)),
            ("7".into(), "-7".into(), "255".into(), u128::MAX.to_string())
        );
        assert_eq!((text("a b"), text("")), ("a%20b".into(), "s0:".into()));
        assert_eq!(text(&("acme", 7_u8)), "s4:acme,7");
    }

    #[test]
    fn h112_h104_the_parts_of_a_key_do_not_run_together() {
        let pairs = [("a", "bc"), ("ab", "c"), ("", "abc"), ("abc", ""), ("a,s1:b", "c"), ("a", "b,s1:c"), ("s1:a", "b")];
        assert_eq!(pairs.iter().map(text).collect::<HashSet<_>>().len(), pairs.len());
        let lists: [&[&[u8]]; 5] = [&[b"a", b"b"], &[b"ab"], &[b"a", b"b", b""], &[b"\xff"], &[b"", b"\xff"]];
        assert_eq!(lists.iter().map(text).collect::<HashSet<_>>().len(), lists.len());
        let bytes: HashSet<_> = (0..=255_u8).map(|byte| text(&[byte; 4])).chain((0..=255).map(|byte| text(&(byte, 0xff_u8)))).collect();
        assert_eq!(bytes.len(), 512);
    }
}
