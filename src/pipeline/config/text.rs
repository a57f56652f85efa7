//! How people write durations, rates and shares: `"250ms"`, `"100/s"`, `"50%"`.
//!
//! One grammar for configuration files, the command line and whatever else is text:
//!
//! | what | forms | read by |
//! |---|---|---|
//! | duration | `250ms` `1.5s` `2m` `1h` `1m30s` `forever`; the unit is never left out | [`parse_duration`] |
//! | rate | `100/s` `10/min` `1000/h` `5/day` `5/30s` | [`Rate`], which is `FromStr` |
//! | share | `50%` `0.5` | [`parse_share`] |
//!
//! ```
//! use std::time::Duration;
//! use steadfast::text::{Rate, parse_duration, parse_share};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! assert_eq!(parse_duration("1.5s")?, Duration::from_millis(1500));
//! assert_eq!(parse_share("50%")?, 0.5);
//! let limiter = "10/min".parse::<Rate>()?.limiter().burst(5).build()?;
//! assert_eq!(parse_duration("5").unwrap_err().to_string(), "`5`: a duration needs a unit: `5ms`, `5s` or `5m`");
//! # let _ = limiter; Ok(()) }
//! ```

use crate::admission::{RateLimiter, RateLimiterConfig};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const SECOND: u128 = 1_000_000_000;
const UNITS: [(&str, u128); 7] =
    [("ns", 1), ("us", 1_000), ("\u{b5}s", 1_000), ("ms", 1_000_000), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND)];
const DAY: Duration = Duration::from_secs(86_400);
/// The names of whole periods; the first of each length is the one that is written.
const PERIODS: [(&str, Duration); 10] = [
    ("s", Duration::from_secs(1)),
    ("sec", Duration::from_secs(1)),
    ("second", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("m", Duration::from_secs(60)),
    ("minute", Duration::from_secs(60)),
    ("h", Duration::from_secs(3_600)),
    ("hour", Duration::from_secs(3_600)),
    ("day", DAY),
    ("d", DAY),
];
/// No duration, rate or share that is meant is longer.
const LONGEST: usize = 64;

/// A text that is no duration, rate or share: the text, what is wrong with it, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    text: String,
    problem: String,
}

impl TextError {
    pub(crate) fn new(text: &str, problem: impl Into<String>) -> Self {
        Self { text: quoted(text), problem: problem.into() }
    }
}

impl fmt::Display for TextError {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.problem)
    }
}

impl std::error::Error for TextError {}

/// A text of somebody else's in a message of ours: in backticks, escaped, and cut.
#[inline]
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("..");
    }
    format!("`{shown}`")
}

#[inline]
fn short(text: &str) -> Result<&str, TextError> {
    let trimmed = text.trim();
    if trimmed.len() > LONGEST {
        let problem = format!("{} characters are too many; the longest is {LONGEST}", trimmed.chars().count());
        return Err(TextError::new(trimmed, problem));
    }
    Ok(trimmed)
}

/// Reads a duration: numbers with units, `250ms`, `1.5s`, `1m30s`, or `forever` for [`Duration::MAX`]. The units are `ns`, `us`, `ms`, `s`,
/// `m` and `h`.
///
/// # Errors
/// No unit, an unknown one, a sign, no number, more than a [`Duration`] holds or less than a nanosecond: named with the fix.
#[inline]
pub fn parse_duration(text: &str) -> Result<Duration, TextError> {
    let whole = short(text)?;
    let wrong = |problem: String| Err(TextError::new(whole, problem));
    if whole.is_empty() {
        return wrong("a duration is missing; write `250ms`, `2s` or `1m`".into());
    }
    if whole == "forever" {
        return Ok(Duration::MAX);
    }
    if whole.starts_with('-') {
        return wrong("a duration cannot be negative; time only goes forward".into());
    }
    let (mut rest, mut nanos) = (whole, 0_u128);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let after = after.trim_start();
        let end = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let Some(decimal) = Decimal::read(number) else {
            return wrong("this is no duration; write a number and a unit, `250ms`, `2s` or `1m`".into());
        };
        if unit.is_empty() {
            return wrong(format!("a duration needs a unit: `{number}ms`, `{number}s` or `{number}m`"));
        }
        let Some((_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return wrong(format!("unknown unit {}; use `ns`, `us`, `ms`, `s`, `m` or `h`", quoted(unit)));
        };
        let part = match decimal.times(*size) {
            Ok(part) => part,
            Err(problem) => return wrong(problem.into()),
        };
        nanos = nanos.saturating_add(part);
        rest = after.trim_start();
    }
    let seconds = u64::try_from(nanos / SECOND).ok();
    seconds.map_or_else(
        || wrong("this is longer than a clock can tell; write `forever`".into()),
        |seconds| Ok(Duration::new(seconds, (nanos % SECOND) as u32)),
    )
}

/// A number as it was written: nothing is rounded.
struct Decimal {
    digits: u128,
    /// How many of the digits are behind the point.
    scale: u32,
}

impl Decimal {
    #[inline]
    fn read(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        if whole.is_empty() || whole.starts_with('_') || (text.contains('.') && fraction.is_empty()) {
            return None;
        }
        let mut read = Self { digits: 0, scale: 0 };
        for (place, c) in whole.chars().map(|c| (0, c)).chain(fraction.chars().map(|c| (1, c))) {
            match c {
                '_' => {}
                c => {
                    read.digits = read.digits.checked_mul(10)?.checked_add(c.to_digit(10)?.into())?;
                    read.scale += place;
                }
            }
        }
        Some(read)
    }

    #[inline]
    fn times(&self, size: u128) -> Result<u128, &'static str> {
        const LONG: &str = "this is longer than a clock can tell; write `forever`";
        let product = self.digits.checked_mul(size).ok_or(LONG)?;
        let parts = 10_u128.checked_pow(self.scale).ok_or(LONG)?;
        if product % parts == 0 { Ok(product / parts) } else { Err("this is finer than a nanosecond; leave off the last digits") }
    }
}

/// Writes a duration as [`parse_duration`] reads it, exactly, in the largest unit in which it is a whole number.
///
/// ```
/// use std::time::Duration;
/// use steadfast::text::format_duration;
/// assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
/// assert_eq!(format_duration(Duration::from_secs(120)), "2m");
/// ```
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration == Duration::MAX {
        return "forever".into();
    }
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    let (name, size) = UNITS.iter().rev().find(|(name, size)| name.is_ascii() && nanos.is_multiple_of(*size)).unwrap_or(&UNITS[0]);
    format!("{}{name}", nanos / size)
}

/// Reads a share: `50%` or `0.5`. Whether it is one that makes sense (more than 0, at most 1) is for whoever uses it to say.
///
/// # Errors
/// What is no number.
#[inline]
pub fn parse_share(text: &str) -> Result<f64, TextError> {
    let whole = short(text)?;
    let (number, percent) = whole.strip_suffix('%').map_or((whole, false), |number| (number.trim_end(), true));
    let looks = number.starts_with(|c: char| c.is_ascii_digit()) && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    match number.parse::<f64>() {
        // One division of whole numbers, so that 7% is the same number as 0.07.
        Ok(share) if looks && percent => Ok(share / 100.0),
        Ok(share) if looks => Ok(share),
        _ => Err(TextError::new(whole, "this is no share; write `50%` or `0.5`")),
    }
}

/// So many in a period: `100/s`, `10/min`, `1000/h`, `5/30s`.
///
/// ```
/// use steadfast::text::Rate;
/// use std::time::Duration;
/// let rate: Rate = "5/30s".parse()?;
/// assert_eq!(rate, Rate { units: 5, period: Duration::from_secs(30) });
/// assert_eq!(rate.to_string(), "5/30s");
/// # Ok::<(), steadfast::text::TextError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub units: u32,
    /// In which time.
    pub period: Duration,
}

impl Rate {
    /// A rate limiter of this rate.
    pub const fn limiter(self) -> RateLimiterConfig {
        RateLimiter::per(self.units, self.period)
    }
}

impl FromStr for Rate {
    type Err = TextError;

    #[inline]
    fn from_str(text: &str) -> Result<Self, TextError> {
        let whole = short(text)?;
        let wrong = |problem: String| Err(TextError::new(whole, problem));
        let Some((count, period)) = whole.split_once('/') else {
            let example = if whole.chars().all(|c| c.is_ascii_digit()) && !whole.is_empty() { whole } else { "100" };
            return wrong(format!("a rate needs a period: `{example}/s`, `{example}/min` or `{example}/30s`"));
        };
        let (count, period) = (count.trim(), period.trim());
        let digits: String = count.chars().filter(|c| *c != '_').collect();
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
            return wrong("the count of a rate is a whole number; for one in two seconds write `1/2s`".into());
        }
        let Ok(units) = digits.parse() else {
            return wrong(format!("a rate counts up to {}; leave the limit out, or choose a shorter period", u32::MAX));
        };
        let known = PERIODS.iter().find(|(name, _)| *name == period).map(|(_, length)| *length);
        let length = match known {
            Some(length) => length,
            None => match parse_duration(period) {
                Ok(length) => length,
                Err(_) => return wrong(format!("unknown period {}; use `s`, `min`, `h`, `day`, or a duration: `5/30s`", quoted(period))),
            },
        };
        if length.is_zero() {
            return wrong("no time at all is no period; for no limit, leave the rate out".into());
        }
        Ok(Self { units, period: length })
    }
}

impl fmt::Display for Rate {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PERIODS.iter().find(|(_, length)| *length == self.period) {
            Some((name, _)) => write!(f, "{}/{name}", self.units),
            None => write!(f, "{}/{}", self.units, format_duration(self.period)),
        }
    }
}

impl From<Rate> for RateLimiterConfig {
    fn from(rate: Rate) -> Self {
        rate.limiter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_people_write_them() {
        let ms = Duration::from_millis;
        for (text, expected) in [
            ("250ms", ms(250)),
            ("1.5s", ms(1_500)),
            ("2m", ms(120_000)),
            ("1h", ms(3_600_000)),
            ("1m30s", ms(90_000)),
            (" 1h 30m ", ms(5_400_000)),
            ("1_000ms", ms(1_000)),
            ("0s", Duration::ZERO),
            ("7us", Duration::from_micros(7)),
            ("7\u{b5}s", Duration::from_micros(7)),
            ("0.000000001s", Duration::from_nanos(1)),
            ("forever", Duration::MAX),
        ] {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn h48_what_is_no_duration_is_told_the_fix() {
        for (text, fix) in [
            ("5", "needs a unit: `5ms`, `5s` or `5m`"),
            ("", "is missing"),
            ("s", "a number and a unit"),
            ("-1s", "cannot be negative"),
            ("5sec", "unknown unit `sec`; use `ns`"),
            ("5S", "unknown unit `S`"),
            ("1.s", "no duration"),
            ("1.2.3s", "no duration"),
            (".5s", "no duration"),
            ("_5s", "no duration"),
            ("1e3s", "unknown unit `e`"),
            ("NaNs", "no duration"),
            ("0.1ns", "finer than a nanosecond"),
            ("99999999999999999999h", "longer than a clock"),
            ("99999999999999999999999999999999999999999999h", "no duration"),
            ("18446744073709551616s", "longer than a clock"),
            ("5\u{0}s", "unknown unit"),
        ] {
            let error = parse_duration(text).expect_err(text).to_string();
            assert!(error.contains(fix), "{error}");
        }
        let long = parse_duration(&"9".repeat(1 << 20)).expect_err("a megabyte").to_string();
        assert!(long.len() < 200 && long.contains("1048576 characters"), "{long}");
    }

    #[test]
    fn rates_and_shares() {
        let rate = |units, secs| Ok(Rate { units, period: Duration::from_secs(secs) });
        for (text, expected) in [
            ("100/s", rate(100, 1)),
            ("10/min", rate(10, 60)),
            ("10/minute", rate(10, 60)),
            ("5/30s", rate(5, 30)),
            ("100/5m", rate(100, 300)),
            ("1000/h", rate(1_000, 3_600)),
            ("1_000 / day", rate(1_000, 86_400)),
        ] {
            assert_eq!(text.parse::<Rate>(), expected, "{text}");
        }
        for (text, fix) in [
            ("100", "needs a period: `100/s`"),
            ("fast", "needs a period: `100/s`"),
            ("-1/s", "whole number"),
            ("0.5/s", "write `1/2s`"),
            ("/s", "whole number"),
            ("1/", "unknown period"),
            ("1/week", "unknown period `week`"),
            ("1/0s", "no time at all"),
            ("4294967296/s", "up to 4294967295"),
        ] {
            assert!(text.parse::<Rate>().expect_err(text).to_string().contains(fix), "{text}");
        }
        assert_eq!(parse_share("7%"), Ok(0.07));
        assert_eq!(parse_share("12.5 %"), Ok(0.125));
        assert_eq!(parse_share("0.07"), Ok(0.07));
        for bad in ["", "%", "half", "NaN", "inf", "-5%", "1e2", "50%%", "0x10"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_and_rate_comes_back(secs in any::<u64>(), nanos in 0..1_000_000_000_u32, units in any::<u32>()) {
            let d = Duration::new(secs, nanos);
            prop_assert_eq!(parse_duration(&format_duration(d)), Ok(d));
            if !d.is_zero() && d != Duration::MAX {
                let rate = Rate { units, period: d };
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
        }

        #[test]
        fn h48_no_text_panics(text in ".{0,80}") {
            let _ = (parse_duration(&text), parse_share(&text), text.parse::<Rate>());
        }
    }
}
