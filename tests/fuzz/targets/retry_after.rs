//! `Retry-After` of any server: a time or none.
#![no_main]

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use steadfast::client::http::{judge_parts, retry_after};

// Values of `Retry-After` on lines; the last line is `Date`.
fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    let mut values: Vec<HeaderValue> = bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    if values.len() > 1
        && let Some(date) = values.pop()
    {
        headers.insert(DATE, date);
    }
    let digits = |value: &HeaderValue| value.to_str().ok().and_then(|text| text.parse::<u32>().ok().filter(|_| !text.starts_with('+')));
    let most = values.iter().filter_map(digits).max();
    values.into_iter().for_each(|value| _ = headers.append(RETRY_AFTER, value));
    let wait = retry_after(&headers);
    assert!(most.is_none_or(|most| wait.is_some_and(|wait| wait.as_secs() >= u64::from(most))), "{most:?} {wait:?}");
    let _ = judge_parts(StatusCode::SERVICE_UNAVAILABLE, &headers);
});
