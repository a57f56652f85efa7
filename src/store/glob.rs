//! Patterns over keys.

use super::Key;
use super::key::escape_into;
use std::borrow::Cow;

/// A pattern over keys: `*` stands for any text, `?` for one character, `[a-z]` for one of a set (`[!a-z]` or `[^a-z]` for one outside it),
/// and `\` takes the next character as it is. Everything else stands for itself; so do a `[` that is never closed and a `\` at the end.
///
/// The pattern looks at keys as they were before escaping, `:` is a character like any other, and upper and lower case differ. (A `:` inside
/// a part of [`Key::of_parts`] is not that one; `?` and `*` match it.) Of a key that was cut ([`Key`]), only the head can be matched. A match takes at most (length of the key) x (length of the pattern) steps and no
/// memory, whatever the pattern: there is no exponential case.
///
/// ```
/// use steadfast::store::{Glob, Key};
/// # fn main() -> Result<(), steadfast::store::StoreError> {
/// let users = Glob::new("user:*:profile");
/// assert!(users.matches(&Key::new("user:42:profile")?));
/// assert!(!users.matches(&Key::new("user:42:settings")?));
/// assert!(Glob::new("a b?").matches(&Key::new("a b c")?) == false);
/// assert!(Glob::new(r"\*").matches(&Key::new("*")?));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    tokens: Vec<Token>,
    prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    One,
    Many,
    Set { not: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One => true,
            Self::Many => false,
            Self::Set { not, ranges } => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not,
        }
    }
}

impl Glob {
    /// Reads a pattern. Every text is one.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let mut tokens = Vec::new();
        let chars: Vec<char> = pattern.chars().collect();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            at += 1;
            tokens.push(match c {
                '*' if tokens.last() == Some(&Token::Many) => continue,
                '*' => Token::Many,
                '?' => Token::One,
                '[' => match set(&chars[at..]) {
                    Some((set, length)) => {
                        at += length;
                        set
                    }
                    None => Token::Char('['),
                },
                '\\' if at < chars.len() => {
                    at += 1;
                    Token::Char(chars[at - 1])
                }
                c => Token::Char(c),
            });
        }
        Self::of(tokens)
    }

    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self::of(vec![Token::Many])
    }

    /// Every key of a namespace, as [`Key::within`] puts them there. Nothing in its name is special.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Self {
        Self::all().within(namespace)
    }

    /// The same pattern inside a namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        let mut escaped = String::new();
        escape_into(&mut escaped, namespace.as_bytes(), true);
        escaped.push(':');
        // As `matches` sees the text of a key: unescaped.
        let mut tokens: Vec<Token> = unescaped(&escaped).chars().map(Token::Char).collect();
        tokens.extend(self.tokens.iter().cloned());
        Self { tokens, prefix: escaped + &self.prefix }
    }

    fn of(tokens: Vec<Token>) -> Self {
        let mut prefix = String::new();
        for token in &tokens {
            let Token::Char(c) = token else { break };
            escape_into(&mut prefix, c.encode_utf8(&mut [0; 4]).as_bytes(), false);
        }
        Self { tokens, prefix }
    }

    /// What every key that matches begins with, as [`Key::as_str`] has it: for stores that can look a range up.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it matches every key there is.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.tokens == [Token::Many]
    }

    /// Whether this key matches.
    #[must_use]
    pub fn matches(&self, key: &Key) -> bool {
        key.as_str().starts_with(&self.prefix) && self.matches_chars(&unescaped(key.as_str()))
    }

    fn matches_chars(&self, text: &str) -> bool {
        let (mut token, mut rest) = (0, text.chars());
        // Where to go on after a mismatch: the last `*`, taking one character more. Earlier ones need never be asked again.
        let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if self.tokens.get(token) == Some(&Token::Many) {
                token += 1;
                retry = Some((token, rest.clone()));
                continue;
            }
            let before = rest.clone();
            match (self.tokens.get(token), rest.next()) {
                (None, None) => return true,
                (Some(expected), Some(c)) if expected.takes(c) => token += 1,
                (Some(_), None) => return false,
                _ => {
                    drop(before);
                    let Some((after_star, from)) = &mut retry else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    (token, rest) = (*after_star, from.clone());
                }
            }
        }
    }
}

impl From<&str> for Glob {
    fn from(pattern: &str) -> Self {
        Self::new(pattern)
    }
}

/// A set, without its `[`, and how many characters it takes.
fn set(chars: &[char]) -> Option<(Token, usize)> {
    let not = matches!(chars.first(), Some('!' | '^'));
    let (mut at, mut ranges) = (usize::from(not), Vec::new());
    let first = at;
    loop {
        let mut from = *chars.get(at)?;
        // A `]` that comes first is a member, as everywhere.
        if from == ']' && at > first {
            return Some((Token::Set { not, ranges }, at + 1));
        }
        if from == '\\' {
            at += 1;
            from = *chars.get(at)?;
        }
        at += 1;
        match (chars.get(at), chars.get(at + 1)) {
            (Some('-'), Some(to)) if *to != ']' => {
                let (mut to, mut taken) = (*to, 2);
                if to == '\\' {
                    to = *chars.get(at + 2)?;
                    taken = 3;
                }
                ranges.push((from.min(to), from.max(to)));
                at += taken;
            }
            _ => ranges.push((from, from)),
        }
    }
}

/// The text of a key before escaping. A byte that was no part of any text becomes a character that nobody writes.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, hex) {
            // A `:` inside a part or the name of a namespace must not pass for the one between them.
            (b'%', Some(b':')) => {
                bytes.extend_from_slice("\u{10fe3a}".as_bytes());
                rest = &tail[2..];
            }
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(0x10_FF00 + u32::from(*byte))));
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, raw: &str) -> bool {
        Key::new(raw).is_ok_and(|key| Glob::new(pattern).matches(&key))
    }

    #[test]
    fn f64_each_form_matches_what_it_says() {
        for (pattern, yes, no) in [
            ("user:*", "user:", "xuser:1"),
            ("*:profile", "user:123:profile", "user:123:profiles"),
            ("user:123:*", "user:123:a", "user:1234:a"),
            ("[ab]?", "bx", "cx"),
            ("[!ab]", "c", "a"),
            ("[^a-c]", "d", "b"),
            ("[]]", "]", "["),
            ("[a-]", "-", "b"),
            (r"[\]x]", "]", "\\"),
            (r"\*", "*", "x"),
            (r"\[a]", "[a]", "a"),
            ("[a", "[a", "a"),
            ("a\\", "a\\", "a"),
            ("?", "é", "éé"),
            ("a b?", "a b ", "a b"),
            ("?%", "%%", "%2"),
            ("**a**", "xay", "xy"),
            ("\n*", "\n\t", "n"),
        ] {
            assert!(matches(pattern, yes), "{pattern} matches {yes:?}");
            assert!(!matches(pattern, no), "{pattern} does not match {no:?}");
        }
        assert!(!matches("a", "A"));
        assert!(Glob::all().is_all() && !Glob::new("?").is_all());
    }

    #[test]
    fn f64_a_namespace_is_taken_literally() {
        let glob = Glob::of_namespace(r"a*[?\:% ");
        assert_eq!(glob.literal_prefix(), r"a*[?\%3A%25%20:");
        let key = Key::new("k k").map(|key| key.within(r"a*[?\:% "));
        assert!(key.is_ok_and(|key| key.as_str().starts_with(glob.literal_prefix()) && glob.matches(&key)));
        assert_eq!(Glob::new("user:*").within("app").literal_prefix(), "app:user:");
        let inner = Key::new("b:k")
            .map(|key| (Glob::of_namespace("a:b").matches(&key.within("a")), Glob::of_namespace("a").matches(&key.within("a:x"))));
        assert_eq!(inner.ok(), Some((false, false)), "one namespace is never inside another by its name alone");
    }

    #[test]
    fn f64_no_pattern_takes_for_ever() {
        let text = "a".repeat(250);
        assert!(!matches(&("*a".repeat(1_000) + "b"), &text));
        assert!(!matches(&"*?".repeat(10_000), &text));
    }

    /// The definition, exponential and plain.
    fn oracle(tokens: &[Token], text: &[char]) -> bool {
        match (tokens.first(), text.first()) {
            (None, None) => true,
            (Some(Token::Many), _) => oracle(&tokens[1..], text) || (!text.is_empty() && oracle(tokens, &text[1..])),
            (Some(token), Some(c)) => token.takes(*c) && oracle(&tokens[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn f64_as_the_definition_has_it(pattern in r"[ab*?\[\]\\!-]{0,8}", text in "[ab*\\[ %]{1,8}") {
            let glob = Glob::new(&pattern);
            let expected = oracle(&glob.tokens, &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(matches(&pattern, &text), expected);
            if let (true, Ok(key)) = (expected, Key::new(&text)) {
                prop_assert!(key.as_str().starts_with(glob.literal_prefix()));
            }
        }
    }
}
