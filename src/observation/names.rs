//! Names as they may be printed: one line, no control characters, bounded.

use std::borrow::Cow;
use std::sync::Arc;

/// Longer names are cut: no label or column needs more.
const LONGEST: usize = 128;

/// Characters that end a line or turn the direction of the text around them, though they are no control characters to Unicode.
fn is_unruly(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `name`, escaped and cut where it must be.
pub(crate) fn clean(name: &str) -> Cow<'_, str> {
    if name.len() <= LONGEST && !name.chars().any(is_unruly) {
        return Cow::Borrowed(name);
    }
    let mut clean = String::with_capacity(LONGEST);
    for c in name.chars() {
        let before = clean.len();
        if is_unruly(c) {
            clean.extend(c.escape_default())
        } else {
            clean.push(c)
        }
        if clean.len() > LONGEST - '…'.len_utf8() {
            clean.truncate(before);
            clean.push('…');
            break;
        }
    }
    Cow::Owned(clean)
}

pub(crate) fn clean_arc(name: &str) -> Arc<str> {
    Arc::from(&*clean(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h85_hostile_names_stay_on_one_short_line() {
        assert_eq!(clean("db.query"), "db.query");
        assert_eq!(clean("größe"), "größe");
        assert_eq!(clean("a\nERROR forged\u{1b}[31m\u{202e}"), "a\\nERROR forged\\u{1b}[31m\\u{202e}");
        assert_eq!(clean("a\u{61c}b\u{2028}c"), "a\\u{61c}b\\u{2028}c");
        let cut = clean(&"x".repeat(1_000_000)).into_owned();
        assert_eq!((cut.len(), cut.ends_with("x…")), (LONGEST, true));
        assert!(clean(&"\n".repeat(1_000)).len() <= LONGEST);
        assert_eq!(clean(&"y".repeat(LONGEST)), "y".repeat(LONGEST));
        let long = clean(&"z\u{0}".repeat(500)).into_owned();
        assert_eq!(clean(&long), long, "clean is clean");
    }
}
