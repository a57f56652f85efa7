//! What goes over the wire: addresses, bodies, and what they say.

use super::NAME;
use crate::store::{Entry, Key, Metadata, SetOptions, StoreError, StoreErrorKind, Timestamp, Ttl};
use bytes::Bytes;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::time::Duration;

/// How a value that is no text begins, and a text that begins like this as well.
const BASE64: &str = "base64:";

/// A key as one segment of a path. Only what no server and no proxy reads anything into stays as it is.
pub(super) fn segment(key: &Key) -> String {
    let text = key.as_str();
    let mut segment = String::with_capacity(text.len() + 8);
    // Dots alone are a way up, however they are escaped; so the escape is escaped. No other key reads so: in a key, a dot is a dot.
    if matches!(text, "." | "..") {
        return text.replace('.', "%252E");
    }
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}"); // a String takes all
        }
    }
    segment
}

fn protocol(detail: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Protocol).in_store(NAME).with_detail(detail)
}

/// The body of a `PUT`.
pub(super) fn body(value: &Bytes, options: &SetOptions) -> Vec<u8> {
    let mut body = Map::new();
    let text = match std::str::from_utf8(value) {
        Ok(text) if !text.starts_with(BASE64) => text.to_owned(),
        _ => [BASE64, &encode64(value)].concat(),
    };
    body.insert("value".into(), Value::String(text));
    if let Ttl::After(ttl) = options.ttl
        && Timestamp::from_millis(0).after(ttl).is_some()
    {
        let millis = u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        // Whole seconds as whole numbers: not every server takes another.
        #[expect(clippy::cast_precision_loss, reason = "2^52 ms at most")]
        let seconds = if millis.is_multiple_of(1_000) { Value::from(millis / 1_000) } else { Value::from(millis as f64 / 1_000.0) };
        body.insert("timeout".into(), seconds);
    }
    if let Some(metadata) = &options.metadata {
        body.insert("metadata".into(), metadata.iter().map(|(name, word)| (name.clone(), Value::String(word.clone()))).collect());
    }
    Value::Object(body).to_string().into_bytes()
}

/// What a `GET` was answered with; `None` for a value of `null`.
pub(super) fn entry(body: &[u8], now: Timestamp) -> Result<Option<Entry>, StoreError> {
    let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else { return Err(protocol("the answer is no JSON object")) };
    let value = match body.remove("value") {
        None => return Err(protocol("the answer has no `value`")),
        Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => match text.strip_prefix(BASE64) {
            Some(encoded) => decode64(encoded).ok_or_else(|| protocol("a value that is no base64"))?.into(),
            None => Bytes::from(text),
        },
        // Somebody else stored it; as JSON it is bytes.
        Some(other) => Bytes::from(other.to_string()),
    };
    let ttl = match body.get("timeout") {
        None | Some(Value::Null) => Ttl::Never,
        Some(seconds) => {
            let left = seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            Ttl::After(left.ok_or_else(|| protocol("a `timeout` that is no time"))?)
        }
    };
    if ttl.is_zero() {
        return Ok(None);
    }
    let created = body.get("created").and_then(Value::as_u64).map_or(now, Timestamp::from_millis);
    let metadata = match body.remove("metadata") {
        Some(Value::Object(words)) => {
            Some(words.into_iter().filter_map(|(name, word)| Some((name, word.as_str()?.to_owned()))).collect::<Metadata>())
        }
        _ => None,
    };
    Ok(Some(Entry::new(value, ttl, now).with_created_at(created).with_metadata(metadata)))
}

/// How many a `DELETE` of everything says it deleted.
pub(super) fn deleted(body: &[u8]) -> Result<u64, StoreError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| protocol("the answer is no JSON object"))?;
    body.get("deleted").and_then(Value::as_u64).ok_or_else(|| protocol("the answer does not say how many were `deleted`"))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
fn encode64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            text.push(if at <= chunk.len() { char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]) } else { '=' });
        }
    }
    text
}

/// With padding or without; anything else is `None`.
fn decode64(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=').as_bytes();
    if text.len() - bare.len() > 2 || bare.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(bare.len() / 4 * 3 + 2);
    for chunk in bare.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            let digit = match chunk.get(at) {
                None => 0,
                Some(byte) => u32::try_from(ALPHABET.iter().position(|known| known == byte)?).ok()?,
            };
            bits = bits << 6 | digit;
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..chunk.len()]);
    }
    Some(bytes)
}

/// For the fuzz target `store_frames`.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) {
    let now = Timestamp::from_millis(9);
    let _ = deleted(bytes);
    if let Ok(Some(read)) = entry(bytes, now) {
        let options = SetOptions { metadata: read.metadata.clone(), ..SetOptions::new() };
        let again = entry(&body(&read.value, &options), now).ok().flatten();
        assert_eq!(again.map(|again| (again.value, again.metadata)), Some((read.value, read.metadata)));
    }
    let bare: Vec<u8> = bytes.iter().copied().filter(u8::is_ascii).collect();
    if let Some(decoded) = decode64(&String::from_utf8_lossy(&bare)) {
        assert_eq!(decode64(&encode64(&decoded)), Some(decoded));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_is_as_the_rfc_has_it() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode64(bytes.as_bytes()), text);
            assert_eq!(decode64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode64("Zm9v\n"), None);
        assert_eq!(decode64("A"), None);
        assert_eq!(decode64("Zg==="), None);
    }

    #[test]
    fn a89_a_key_is_one_segment() {
        let of = |raw: &str| Key::new(raw).map(|key| segment(&key)).unwrap_or_default();
        assert_eq!(of("a/b?c#d%"), "a%2Fb%3Fc%23d%2525");
        assert_eq!((of("."), of(".."), of("...")), ("%252E".into(), "%252E%252E".into(), "...".into()));
        assert_eq!(of("%2E"), "%25252E");
        assert_eq!(of("user:é"), "user%3A%C3%A9");
    }

    #[test]
    fn b27_a_time_that_is_none_is_refused() {
        let at = Timestamp::from_millis(0);
        for bad in ["-1", "-0.5", "1e300", "\"soon\""] {
            let answer = entry(format!("{{\"value\": \"v\", \"timeout\": {bad}}}").as_bytes(), at);
            assert_eq!(answer.map_err(|error| error.kind()), Err(StoreErrorKind::Protocol), "{bad}");
        }
        assert_eq!(entry(b"{\"value\": null}", at), Ok(None));
        assert_eq!(entry(b"{\"value\": {\"a\": 1}}", at).map(|entry| entry.map(|entry| entry.value)), Ok(Some("{\"a\":1}".into())));
        assert!(entry(b"[]", at).is_err() && entry(b"{}", at).is_err() && entry(b"", at).is_err());
    }

    proptest! {
        #[test]
        fn a18_what_is_sent_is_read(
            value: Vec<u8>,
            text in "\\PC{0,20}",
            metadata in proptest::option::of(proptest::collection::btree_map("\\PC{0,6}", "\\PC{0,6}", 0..4)),
            millis in 1..u64::from(u32::MAX),
        ) {
            let at = Timestamp::from_millis(7);
            for value in [Bytes::from(value), Bytes::from(text.clone()), Bytes::from(format!("base64:{text}"))] {
                let options = SetOptions { ttl: Ttl::After(Duration::from_millis(millis)), metadata: metadata.clone(), ..SetOptions::new() };
                let entry = entry(&body(&value, &options), at).ok().flatten();
                prop_assert_eq!(entry.as_ref().map(|entry| (&entry.value, &entry.metadata)), Some((&value, &metadata)));
                let left = entry.and_then(|entry| entry.ttl_remaining(at));
                prop_assert_eq!(left, Some(Duration::from_millis(millis)));
            }
        }
    }
}
