//! Different parts make different keys, short enough and without a space or a control character, and the text of a key reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast::store::Key;

/// Parts between bytes 0.
fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == 0).collect()
}

fn looked_at(key: &Key) {
    assert!(key.as_str().len() <= 250 && !key.as_str().chars().any(|c| c.is_whitespace() || c.is_control()), "{}", key.as_str());
    assert_eq!(Key::parse(key.as_str()).as_ref(), Ok(key));
}

// Two lists of parts, with two bytes 255 between them.
fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.windows(2).position(|two| two == [255, 255]).unwrap_or(bytes.len());
    let (first, second) = (&bytes[..cut], bytes.get(cut + 2..).unwrap_or_default());
    if let (Ok(a), Ok(b)) = (Key::new(first), Key::new(second)) {
        looked_at(&a);
        assert_eq!(a == b, first == second);
    }
    if let (Ok(a), Ok(b)) = (Key::of_parts(parts(first)), Key::of_parts(parts(second))) {
        looked_at(&a);
        assert_eq!(a == b, parts(first) == parts(second), "{} {}", a.as_str(), b.as_str());
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = Key::parse(text)
    {
        assert_eq!(key.as_str(), text);
    }
});
