//! Durations, rates, shares and quotas as people write them: what is read is written so that it reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast::store::rate::Quota;
use steadfast::text::{Rate, format_duration, parse_duration, parse_share};

fuzz_target!(|text: &str| {
    match parse_duration(text) {
        Ok(duration) => assert_eq!(parse_duration(&format_duration(duration)), Ok(duration)),
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
    match text.parse::<Rate>() {
        Ok(rate) => {
            assert_eq!(rate.to_string().parse(), Ok(rate));
            let _ = rate.limiter().build();
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
    if let Ok(share) = parse_share(text) {
        assert!(share >= 0.0, "{share}");
    }
    if let Ok(quota) = text.parse::<Quota>() {
        assert_eq!(quota.to_string().parse(), Ok(quota));
        let _ = quota.validate();
    }
});
