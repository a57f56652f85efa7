//! The `Retry-After` header ([RFC 9110, 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)), in both its forms, from
//! servers that may be careless or hostile.

use ::http::HeaderMap;
use ::http::header::{DATE, HeaderName, HeaderValue, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// When the server asks to be called again, counted from now; `None` where it does not say, or says nothing that makes sense.
///
/// Both forms are read: seconds (`120`; a fraction, `1.5`, is no standard but is met) and a date in any of the three formats that HTTP
/// knows. A date is counted from the response's own `Date`, where there is one, so that a server's wrong clock does no harm; else from
/// the clock of this machine. A date that has passed is zero.
///
/// However large it is, it is told as it is: years are `Some`, and a retry policy refuses them by its own
/// [ceiling](crate::RetryConfig::hint_ceiling). Of several headers the longest counts.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, header::RETRY_AFTER};
/// use steadfast::client::http::retry_after;
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(retry_after(&headers), None);
/// headers.insert(RETRY_AFTER, "120".parse().unwrap());
/// assert_eq!(retry_after(&headers), Some(Duration::from_secs(120)));
/// headers.insert(RETRY_AFTER, "-1".parse().unwrap());
/// assert_eq!(retry_after(&headers), None);
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    // Most answers have none, and for them not even the clock is read.
    headers.contains_key(RETRY_AFTER).then(|| retry_after_at(headers, SystemTime::now())).flatten()
}

/// The same, for a moment that is given.
fn retry_after_at(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |value: &HeaderValue| value.to_str().ok().map(|text| text.trim().to_owned());
    let all = |name: HeaderName| headers.get_all(name).iter().filter_map(text);
    let here = || all(DATE).find_map(|date| httpdate::parse_http_date(&date).ok()).unwrap_or(now);
    let wait = |text: String| {
        seconds(&text).or_else(|| {
            let moment = httpdate::parse_http_date(&text).ok()?;
            Some(moment.duration_since(here()).unwrap_or(Duration::ZERO))
        })
    };
    all(RETRY_AFTER).filter_map(wait).max()
}

/// Digits, and at most one point between them. (`str::parse` would also take `NaN`, `inf`, `+1`, `-0` and `1e9`.)
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // More seconds than a number holds are for ever, which is what was asked.
    let whole = Duration::from_secs(whole.parse().unwrap_or(u64::MAX));
    let fraction = format!("0.{fraction}").parse().ok().and_then(|part| Duration::try_from_secs_f64(part).ok());
    Some(whole.saturating_add(fraction.unwrap_or_default()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT

    fn read(pairs: &[(HeaderName, &[u8])]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        retry_after_at(&headers, SystemTime::UNIX_EPOCH + NOW)
    }

    fn hint(value: &str) -> Option<Duration> {
        read(&[(RETRY_AFTER, value.as_bytes())])
    }

    #[test]
    fn both_forms_are_read() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(hint("120"), seconds(120));
        assert_eq!(hint(" 7 "), seconds(7));
        assert_eq!(hint("0"), seconds(0));
        assert_eq!(hint("007"), seconds(7));
        assert_eq!(hint("1.5"), Some(Duration::from_millis(1_500)));
        assert_eq!(hint("Sun, 06 Nov 1994 08:49:40 GMT"), seconds(3));
        assert_eq!(hint("Sunday, 06-Nov-94 08:49:40 GMT"), seconds(3));
        assert_eq!(hint("Sun Nov  6 08:49:40 1994"), seconds(3));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[(RETRY_AFTER, b"1"), (RETRY_AFTER, b"x"), (RETRY_AFTER, b"3"), (RETRY_AFTER, b"2")]), seconds(3));
    }

    #[test]
    fn h73_hostile_values_are_no_hint_or_a_long_one() {
        let nonsense = [
            "",
            "-1",
            "-0",
            "+1",
            "NaN",
            "inf",
            "-inf",
            "1e9",
            "0x10",
            "1_000",
            "1,000",
            ".",
            "1.",
            ".5",
            "1.2.3",
            "1.-2",
            "soon",
            "1 s",
            "٣",
            "1970-01-01",
            "Thu, 01 Jan 1970",
            "Sun, 99 Nov 1994 08:49:40 GMT",
            "Sun, 06 Nov 1994 25:49:40 GMT",
            "Sun, 06 Nov 99999 08:49:40 GMT",
        ];
        for value in nonsense {
            assert_eq!(hint(value), None, "{value:?}");
        }
        assert_eq!(read(&[(RETRY_AFTER, &[0xff, 0xfe])]), None);
        assert_eq!(hint("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO), "long ago is now");
        assert_eq!(hint("315360000"), Some(Duration::from_secs(315_360_000)), "ten years are for the ceiling to refuse");
        assert_eq!(hint(&"9".repeat(400)), Some(Duration::from_secs(u64::MAX)));
        assert!(hint(&format!("1.{}", "9".repeat(400))).is_some_and(|hint| hint <= Duration::from_secs(2)));
        assert!(hint("Fri, 31 Dec 9999 23:59:59 GMT").is_some_and(|hint| hint > Duration::from_secs(1 << 37)));
    }

    #[test]
    fn a_servers_wrong_clock_does_no_harm() {
        let fast = [(DATE, &b"Sun, 06 Nov 1994 09:49:37 GMT"[..]), (RETRY_AFTER, b"Sun, 06 Nov 1994 09:49:42 GMT")];
        assert_eq!(read(&fast), Some(Duration::from_secs(5)));
        let broken = [(DATE, &b"yesterday"[..]), (RETRY_AFTER, b"Sun, 06 Nov 1994 08:49:42 GMT")];
        assert_eq!(read(&broken), Some(Duration::from_secs(5)));
    }
}
