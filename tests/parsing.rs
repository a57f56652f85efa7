//! What people write, against oracles: durations, rates, quotas, waits of a server. What is written is read again as it was; nothing panics.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use std::time::Duration;
use steadfast::text::{Rate, format_duration, parse_duration};

/// Units as people write them, and their nanoseconds.
const UNITS: [(&str, u128); 6] =
    [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

fn nanos(nanos: u128) -> Option<Duration> {
    let secs = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(secs, u32::try_from(nanos % 1_000_000_000).unwrap()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// One number and its unit.
    #[test]
    fn h48_a_number_and_a_unit_are_their_product(n in prop_oneof![0..100_000_u64, any::<u64>()], unit in 0..UNITS.len()) {
        let (word, worth) = UNITS[unit];
        let read = parse_duration(&format!("{n}{word}"));
        match nanos(u128::from(n) * worth) {
            Some(exact) => prop_assert_eq!(read, Ok(exact)),
            None => prop_assert!(read.is_err(), "{n}{word} is more than a duration holds"),
        }
    }

    /// The same nanoseconds, however large, come back from their text; and two of them never have one text.
    #[test]
    fn h48_texts_of_durations_are_as_different_as_they_are(a in any::<(u64, u32)>(), b in any::<(u64, u32)>(), near in 0..3_u32) {
        let of = |(secs, nanos): (u64, u32)| Duration::new(secs, nanos % 1_000_000_000);
        let a = of(a);
        let b = if near == 0 { of(b) } else { a.saturating_add(Duration::from_nanos(near.into())) };
        prop_assert_eq!(parse_duration(&format_duration(a)), Ok(a));
        prop_assert_eq!(format_duration(a) == format_duration(b), a == b);
    }

    #[test]
    fn h48_a_rate_is_its_count_and_its_period(units in any::<u32>(), n in 1..10_000_u64, unit in 0..UNITS.len()) {
        let (word, worth) = UNITS[unit];
        let period = nanos(u128::from(n) * worth).unwrap();
        prop_assert_eq!(format!("{units}/{n}{word}").parse(), Ok(Rate { units, period }));
        prop_assert_eq!(Rate { units, period }.to_string().parse(), Ok(Rate { units, period }));
    }

    /// Whatever is typed: an error that can be shown, or a value that comes back.
    #[test]
    fn h48_whatever_is_typed_is_an_error_or_comes_back(text in "[0-9._ /+-]{0,12}(ns|us|µs|ms|s|m|min|h|d|day|daily|weekly|monthly|/s)?.{0,3}") {
        match parse_duration(&text) {
            Ok(duration) => prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration)),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
        if let Ok(rate) = text.parse::<Rate>() {
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }
}

#[cfg(feature = "store")]
mod quotas {
    use super::*;
    use steadfast::store::rate::{Calendar, Quota};

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn h48_a_quota_comes_back_from_its_text(limit in any::<u32>(), nanos in 1..u64::MAX, which in 0..Calendar::ALL.len() + 1) {
            let quota = match Calendar::ALL.get(which) {
                Some(calendar) => Quota::calendar(limit, *calendar),
                None => Quota::per(limit, Duration::from_nanos(nanos)),
            };
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }

        #[test]
        fn h48_no_text_of_a_quota_panics(text in "[0-9_ /-]{0,12}(daily|weekly|monthly|yearly|/s|/min|/30s)?.{0,3}") {
            if let Ok(quota) = text.parse::<Quota>() {
                prop_assert_eq!(quota.to_string().parse(), Ok(quota));
                let _ = quota.validate();
            }
        }
    }
}

#[cfg(feature = "http")]
mod waits {
    use super::*;
    use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
    use steadfast::client::http::retry_after;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The digits mean what they say: whole seconds to the second, fractions to the nanosecond above and below.
        #[test]
        fn h73_seconds_and_their_fractions_are_those_of_the_digits(whole in 0..1_000_000_000_u64, thousandths in 0..1000_u32, zeros in 0..5_usize) {
            let text = format!("{}{whole}.{thousandths:03}", "0".repeat(zeros));
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(&text).unwrap());
            let exact = Duration::new(whole, thousandths * 1_000_000);
            prop_assert!(retry_after(&headers).unwrap().abs_diff(exact) <= Duration::from_nanos(1), "{text}");
        }

        /// Of several headers the longest counts, and what is no number is as if it were not there.
        #[test]
        fn h73_of_several_the_longest_counts(seconds in proptest::collection::vec(0..1_000_u64, 0..5), nonsense in "[a-z+-]{1,9}") {
            let mut headers = HeaderMap::new();
            for value in seconds.iter().map(u64::to_string).chain([nonsense]) {
                headers.append(RETRY_AFTER, HeaderValue::from_str(&value).unwrap());
            }
            prop_assert_eq!(retry_after(&headers), seconds.into_iter().max().map(Duration::from_secs));
        }
    }
}
