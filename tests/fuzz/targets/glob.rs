//! Any pattern over any key: what matches begins with the literal prefix, what is taken literally matches, and no pattern takes for ever.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::time::{Duration, Instant};
use steadfast::store::{Glob, Key};

// The pattern, a line, the key.
fuzz_target!(|text: &str| {
    let (pattern, raw) = text.split_once('\n').unwrap_or((text, text));
    let began = Instant::now();
    let glob = Glob::new(pattern);
    if let Ok(key) = Key::new(raw) {
        if glob.matches(&key) {
            assert!(key.as_str().starts_with(glob.literal_prefix()));
            assert!(glob.within("users").matches(&key.within("users")), "a namespace changes nothing");
        }
        assert!(!glob.within("users").matches(&key.within("orders")), "nobody sees into another namespace");
        assert!(Glob::all().matches(&key));
        // One that was cut matches by its head only.
        if key.as_str().len() < 200 {
            let literal: String = raw.chars().flat_map(|c| ['\\', c]).collect();
            assert!(Glob::new(&literal).matches(&key), "{literal}");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{} and {} characters", pattern.len(), raw.len());
});
