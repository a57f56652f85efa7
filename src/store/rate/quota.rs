//! How many, in which time, counted how.

use super::calendar::Calendar;
use crate::fault::{ConfigError, Fault, check};
use crate::outcome::Seconds;
use crate::pipeline::text::{Rate, TextError, format_duration};
use crate::store::{StoreError, StoreErrorKind};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// How a [`Quota`] is counted.
///
/// | algorithm | a burst | at most, in any time `t` | kept for each key |
/// |---|---|---|---|
/// | [`Gcra`](Self::Gcra) | as set | `burst + rate * t` | 3 numbers |
/// | [`TokenBucket`](Self::TokenBucket) | as set | `burst + rate * t` | 3 numbers |
/// | [`SlidingLog`](Self::SlidingLog) | the whole limit | the limit in any period, exactly | 12 bytes for each call of a period |
/// | [`SlidingCounter`](Self::SlidingCounter) | the whole limit | the limit in each period by the clock, less than twice that in any other | 4 numbers |
/// | [`FixedWindow`](Self::FixedWindow) | the whole limit | the same, and more often | 3 numbers |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// The generic cell rate algorithm, as a leaky bucket used as a meter: calls fill it, time empties it. Smooth, exact, and small.
    ///
    /// ITU-T I.371 (2004), annex A; in the virtual-scheduling form one timestamp is enough.
    #[default]
    Gcra,
    /// Every call of the last period, one by one. Exact, and big: for limits of a few thousand.
    SlidingLog,
    /// Two counters, that of the period before weighed with the part of it that still counts. Nearly exact where calls come evenly.
    ///
    /// Cloudflare, *How we built rate limiting capable of scaling to millions of domains* (2017).
    SlidingCounter,
    /// Tokens come in at the rate, up to the burst; calls take them. What [`Gcra`](Self::Gcra) is, seen from the other side: when the burst is
    /// raised it keeps what it had, where the other keeps what was spent.
    TokenBucket,
    /// One counter for each period by the clock, as bills and providers count. Two whole limits may meet at the end of a period.
    FixedWindow,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gcra, Self::SlidingLog, Self::SlidingCounter, Self::TokenBucket, Self::FixedWindow];

    /// As a word for labels, configuration and keys: `sliding_log`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gcra => "gcra",
            Self::SlidingLog => "sliding_log",
            Self::SlidingCounter => "sliding_counter",
            Self::TokenBucket => "token_bucket",
            Self::FixedWindow => "fixed_window",
        }
    }

    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether it knows a burst of its own.
    const fn has_burst(self) -> bool {
        matches!(self, Self::Gcra | Self::TokenBucket)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The time that a [`Quota`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// So long.
    Length(Duration),
    /// From one date to the next, in UTC.
    Calendar(Calendar),
}

/// So many units in a time, with a burst, counted in one of several ways: what a [`RateStore`](super::RateStore) holds a key to.
///
/// A plain value; [`validate`](Self::validate) says whether it can work, and whatever takes one asks.
///
/// ```
/// use std::time::Duration;
/// use steadfast::store::rate::{Algorithm, Quota};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let search = Quota::per_minute(100).burst(20);                         // evenly, at most 20 at once
/// let exact = Quota::per(10, Duration::from_secs(30)).algorithm(Algorithm::SlidingLog);
/// let billed = Quota::monthly(50_000);                                   // from the first of a month to the first of the next, UTC
/// let written: Quota = "100/min".parse()?;
/// assert_eq!(written.burst(20), search);
/// assert_eq!("50_000 monthly".parse::<Quota>()?, billed);
/// assert!(Quota::per_second(0).burst(0).validate().is_err());            // names both faults
/// # let _ = exact; Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a quota limits nothing by itself"]
pub struct Quota {
    limit: u32,
    period: Period,
    burst: Option<u32>,
    algorithm: Algorithm,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The longest period, and the longest time to fill, in microseconds: added to a date of our time it is still a number that a double, and so a
/// script in Redis, holds exactly.
pub(crate) const LONGEST: u64 = 100 * 365 * DAY * 1_000_000;
/// As many calls as a log may hold: each is kept, and read again at each call.
pub(crate) const LONGEST_LOG: u32 = 100_000;

impl Quota {
    /// So many in `period`, which is in whole microseconds and at most 100 years.
    pub const fn per(limit: u32, period: Duration) -> Self {
        Self { limit, period: Period::Length(period), burst: None, algorithm: Algorithm::Gcra }
    }

    /// So many a second.
    pub const fn per_second(limit: u32) -> Self {
        Self::per(limit, Duration::from_secs(1))
    }

    /// So many a minute.
    pub const fn per_minute(limit: u32) -> Self {
        Self::per(limit, Duration::from_secs(MINUTE))
    }

    /// So many an hour.
    pub const fn per_hour(limit: u32) -> Self {
        Self::per(limit, Duration::from_secs(HOUR))
    }

    /// So many in 24 hours, whenever they begin. By the calendar: [`daily`](Self::daily).
    pub const fn per_day(limit: u32) -> Self {
        Self::per(limit, Duration::from_secs(DAY))
    }

    /// So many from one date to the next, in UTC: a [fixed window](Algorithm::FixedWindow) as bills have it.
    pub const fn calendar(limit: u32, calendar: Calendar) -> Self {
        Self { limit, period: Period::Calendar(calendar), burst: None, algorithm: Algorithm::FixedWindow }
    }

    /// So many a day, from midnight to midnight in UTC.
    pub const fn daily(limit: u32) -> Self {
        Self::calendar(limit, Calendar::Day)
    }

    /// So many a week, from Monday to Monday in UTC.
    pub const fn weekly(limit: u32) -> Self {
        Self::calendar(limit, Calendar::Week)
    }

    /// So many a month, from the first to the first in UTC.
    pub const fn monthly(limit: u32) -> Self {
        Self::calendar(limit, Calendar::Month)
    }

    /// So many a year, from one 1 January to the next in UTC.
    pub const fn yearly(limit: u32) -> Self {
        Self::calendar(limit, Calendar::Year)
    }

    /// How many units may go at once after a quiet time; also the largest cost of one call. Only [`Gcra`](Algorithm::Gcra) and
    /// [`TokenBucket`](Algorithm::TokenBucket) know it. **Default**: the limit.
    pub const fn burst(mut self, units: u32) -> Self {
        self.burst = Some(units);
        self
    }

    /// How it is counted. Calendars are always a [`FixedWindow`](Algorithm::FixedWindow). **Default**: [`Gcra`](Algorithm::Gcra).
    pub const fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Units in one period.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Which time it is for.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// How it is counted.
    #[must_use]
    pub const fn counted_by(&self) -> Algorithm {
        self.algorithm
    }

    /// The most units there can be at once: the burst, or where there is none the limit. A call that costs more can never go.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        match self.burst {
            Some(burst) => burst,
            None => self.limit,
        }
    }

    /// The same quota with so much of it, at least one unit of each: a machine's part of what many share.
    pub(crate) fn share(mut self, share: f64) -> Self {
        self.limit = part(self.limit, share);
        self.burst = self.burst.map(|burst| part(burst, share));
        self
    }

    /// Whether it can work.
    ///
    /// # Errors
    /// Every number that cannot work, all at once, with its fix.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check("quota", self.faults())
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::at_least(&mut faults, "limit", u64::from(self.limit), 1);
        if let Some(burst) = self.burst {
            check::at_least(&mut faults, "burst", u64::from(burst), 1);
            if !self.algorithm.has_burst() {
                let problem =
                    format!("{burst} has no meaning for `{}`, where the whole limit may go at once; leave it out", self.algorithm);
                faults.push(Fault::new("burst", problem));
            }
        }
        match self.period {
            Period::Calendar(calendar) if self.algorithm != Algorithm::FixedWindow => {
                let problem = format!("`{}` knows no calendar; leave the algorithm of a {calendar} quota as it is", self.algorithm);
                faults.push(Fault::new("algorithm", problem));
            }
            Period::Calendar(_) => {}
            Period::Length(period) => {
                check::nonzero(&mut faults, "period", period, "for no limit, leave the quota out");
                if !period.subsec_nanos().is_multiple_of(1_000) {
                    let problem = format!("{} ns is finer than a microsecond; round it", period.as_nanos());
                    faults.push(Fault::new("period", problem));
                }
                if period > Duration::from_micros(LONGEST) {
                    faults.push(Fault::new("period", format!("{} is longer than 100 years; make it shorter", Seconds(period))));
                } else if self.limit > 0 && self.fill_us() > u128::from(LONGEST) {
                    let problem =
                        format!("{} would take longer than 100 years to fill; choose a smaller burst or a higher rate", self.capacity());
                    faults.push(Fault::new("burst", problem));
                }
            }
        }
        if self.algorithm == Algorithm::SlidingLog && self.limit > LONGEST_LOG {
            let problem = format!("{} calls are too many to be kept one by one; take `gcra`, or at most {LONGEST_LOG}", self.limit);
            faults.push(Fault::new("limit", problem));
        }
        faults
    }

    /// From empty to full.
    fn fill_us(&self) -> u128 {
        let Period::Length(period) = self.period else { return 0 };
        (period.as_micros() * u128::from(self.capacity())).div_ceil(u128::from(self.limit.max(1)))
    }

    /// The numbers an algorithm works with. Costs some nanoseconds: stores ask for them at each call.
    ///
    /// # Errors
    /// [`InvalidConfig`](StoreErrorKind::InvalidConfig) with every fault; [`TooLarge`](StoreErrorKind::TooLarge) for a cost that could never go.
    pub fn terms(&self, cost: u32) -> Result<Terms, StoreError> {
        let (period_us, calendar) = match self.period {
            Period::Length(period) => (u64::try_from(period.as_micros()).unwrap_or(u64::MAX), None),
            Period::Calendar(calendar) => (0, Some(calendar)),
        };
        let terms = Terms { algorithm: self.algorithm, limit: self.limit, capacity: self.capacity(), period_us, calendar };
        ConfigError::check("quota", self.faults())?; // without faults, nothing is allocated
        if cost > terms.capacity {
            let why = format!("a cost of {cost} where there are never more than {} at once", terms.capacity);
            return Err(StoreError::new(StoreErrorKind::TooLarge).with_detail(why));
        }
        Ok(terms)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a u32 is one")]
fn part(units: u32, share: f64) -> u32 {
    ((f64::from(units) * share) as u32).clamp(1, units.max(1))
}

/// A [`Quota`] that was looked at, in the numbers that algorithms and scripts work with: whole microseconds, whole units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// How it is counted.
    pub algorithm: Algorithm,
    /// Units in one period; at least 1.
    pub limit: u32,
    /// Units there can be at once: the burst; at least 1.
    pub capacity: u32,
    /// Microseconds, from 1 to 100 years; 0 for a calendar.
    pub period_us: u64,
    /// By which dates, where it is not a length.
    pub calendar: Option<Calendar>,
}

impl Terms {
    /// From when to when the window lasts in which `now_us` is, in microseconds since 1970: `start <= now < end`.
    #[must_use]
    pub fn window(&self, now_us: u64) -> (u64, u64) {
        match self.calendar {
            Some(calendar) => calendar.window(now_us),
            None => {
                let start = now_us - now_us % self.period_us.max(1);
                (start, start.saturating_add(self.period_us))
            }
        }
    }
}

/// `100/min`, `10/30s`, `5/100ms` as [`Rate`] reads them, or `1000 daily`, `.. weekly`, `.. monthly`, `.. yearly`; then, where there are any, a
/// burst and the algorithm: `100/min, burst 20`, `10/s, sliding_log`.
impl FromStr for Quota {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let mut parts = text.split(',').map(str::trim);
        let mut quota = rate(parts.next().unwrap_or_default())?;
        for part in parts {
            if let Some(burst) = part.strip_prefix("burst ") {
                // The grammar of counts, and its words about them, are those of rates.
                quota = quota.burst(format!("{}/s", burst.trim_start()).parse::<Rate>()?.units);
            } else if let Some(algorithm) = Algorithm::named(part) {
                quota = quota.algorithm(algorithm);
            } else {
                let rule = "`gcra`, `sliding_log`, `sliding_counter`, `token_bucket` or `fixed_window`";
                return Err(TextError::new(part, format!("after the rate come `burst 20` and how it is counted: {rule}")));
            }
        }
        Ok(quota)
    }
}

fn rate(text: &str) -> Result<Quota, TextError> {
    for calendar in Calendar::ALL {
        if let Some(count) = text.strip_suffix(calendar.as_str()) {
            let rate: Rate = format!("{}/day", count.trim_end()).parse()?;
            return Ok(Quota::calendar(rate.units, calendar));
        }
    }
    text.parse::<Rate>().map(Quota::from)
}

impl From<Rate> for Quota {
    fn from(rate: Rate) -> Self {
        Self::per(rate.units, rate.period)
    }
}

/// As it is read: a burst of its own and another algorithm than usual follow in words.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period {
            Period::Calendar(calendar) => write!(f, "{} {calendar}", self.limit)?,
            Period::Length(period) => {
                let rate = Rate { units: self.limit, period };
                if period.is_zero() { write!(f, "{}/{}", self.limit, format_duration(period))? } else { write!(f, "{rate}")? }
            }
        }
        if let Some(burst) = self.burst {
            write!(f, ", burst {burst}")?;
        }
        let usual = if matches!(self.period, Period::Calendar(_)) { Algorithm::FixedWindow } else { Algorithm::Gcra };
        if self.algorithm == usual { Ok(()) } else { write!(f, ", {}", self.algorithm) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_again() {
        for (text, quota) in [
            ("100/min", Quota::per_minute(100)),
            ("10/30s", Quota::per(10, Duration::from_secs(30))),
            ("5/100ms", Quota::per(5, Duration::from_millis(100))),
            ("1_000 / day", Quota::per_day(1_000)),
            ("7/h", Quota::per_hour(7)),
            ("1000 daily", Quota::daily(1_000)),
            ("1000weekly", Quota::weekly(1_000)),
            (" 5_000 monthly ", Quota::monthly(5_000)),
            ("1 yearly", Quota::yearly(1)),
            ("9/s, burst 3, token_bucket", Quota::per_second(9).burst(3).algorithm(Algorithm::TokenBucket)),
            ("9/s,sliding_log", Quota::per_second(9).algorithm(Algorithm::SlidingLog)),
            ("100/min, burst 1_000", Quota::per_minute(100).burst(1_000)),
            ("7/h, fixed_window", Quota::per_hour(7).algorithm(Algorithm::FixedWindow)),
        ] {
            assert_eq!(text.parse(), Ok(quota), "{text}");
            assert_eq!(quota.to_string().parse(), Ok(quota), "{quota}");
            assert_eq!(quota.validate(), Ok(()), "{quota}");
        }
        for bad in [
            "9/s, burst",
            "9/s, burst -1",
            "9/s, burst 1.5",
            "9/s, gcra2",
            "9/s, 3",
            "9/s,",
            "burst 3",
            "",
            "100",
            "-1/s",
            "-1 daily",
            "0.5/s",
            "5/0s",
            "many monthly",
            "daily",
            "4294967296/s",
        ] {
            assert!(bad.parse::<Quota>().is_err(), "{bad}");
        }
        assert_eq!(Quota::per_second(9).burst(3).algorithm(Algorithm::TokenBucket).to_string(), "9/s, burst 3, token_bucket");
    }

    #[test]
    fn a_quota_tells_what_it_was_made_of() {
        let seconds = |seconds| Period::Length(Duration::from_secs(seconds));
        for (quota, period, algorithm) in [
            (Quota::per_second(7), seconds(1), Algorithm::Gcra),
            (Quota::per_minute(7), seconds(60), Algorithm::Gcra),
            (Quota::per_hour(7), seconds(3_600), Algorithm::Gcra),
            (Quota::per_day(7).algorithm(Algorithm::SlidingCounter), seconds(86_400), Algorithm::SlidingCounter),
            (Quota::monthly(7), Period::Calendar(Calendar::Month), Algorithm::FixedWindow),
        ] {
            assert_eq!((quota.limit(), quota.capacity(), quota.period(), quota.counted_by()), (7, 7, period, algorithm));
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let fields = |quota: Quota| quota.validate().err().map(|e| e.faults().iter().map(|f| f.field().to_owned()).collect::<Vec<_>>());
        let named = |fields: &[&str]| Some(fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>());
        assert_eq!(fields(Quota::per(0, Duration::ZERO).burst(0)), named(&["limit", "burst", "period"]));
        assert_eq!(fields(Quota::per(1, Duration::from_nanos(1_500))), named(&["period"]));
        assert_eq!(fields(Quota::per(1, Duration::MAX)), named(&["period", "period"]));
        assert_eq!(fields(Quota::per_day(1).burst(u32::MAX)), named(&["burst"]));
        assert_eq!(fields(Quota::daily(5).burst(2)), named(&["burst"]));
        assert_eq!(fields(Quota::daily(5).algorithm(Algorithm::Gcra)), named(&["algorithm"]));
        assert_eq!(fields(Quota::per_day(LONGEST_LOG + 1).algorithm(Algorithm::SlidingLog)), named(&["limit"]));
        assert_eq!(fields(Quota::per_day(u32::MAX)), None);
        // A hundred years of 365 days are just possible, for a period as for a bucket to fill; as many calls as fit, in a log.
        assert_eq!(LONGEST, 3_153_600_000 * 1_000_000);
        let (longest, tick) = (Duration::from_micros(LONGEST), Duration::from_micros(1));
        for (possible, beyond, field) in [
            (Quota::per(1, longest), Quota::per(1, longest + tick), "period"),
            (Quota::per(1, longest / 2).burst(2), Quota::per(1, longest / 2).burst(3), "burst"),
            (Quota::per(2, longest).burst(2), Quota::per(2, longest).burst(3), "burst"),
            (
                Quota::per_day(LONGEST_LOG).algorithm(Algorithm::SlidingLog),
                Quota::per_day(LONGEST_LOG + 1).algorithm(Algorithm::SlidingLog),
                "limit",
            ),
        ] {
            assert_eq!((fields(possible), fields(beyond)), (None, named(&[field])), "{possible}");
        }
        assert_eq!(fields(Quota::per(0, longest).burst(2)), named(&["limit"]), "no rate, so nothing to be said about how long it takes");
    }

    #[test]
    fn g69_terms_refuse_what_could_never_go() {
        let kind = |quota: Quota, cost| quota.terms(cost).map_err(|error| error.kind()).map(|_| ());
        for algorithm in Algorithm::ALL {
            let quota = Quota::per_minute(5).algorithm(algorithm);
            assert_eq!(kind(quota, 5), Ok(()));
            assert_eq!(kind(quota, 6), Err(StoreErrorKind::TooLarge));
            assert_eq!(kind(Quota::per(0, Duration::from_secs(1)).algorithm(algorithm), 0), Err(StoreErrorKind::InvalidConfig));
            assert_eq!(kind(Quota::per(1, Duration::from_nanos(1)).algorithm(algorithm), 0), Err(StoreErrorKind::InvalidConfig));
        }
        assert_eq!(kind(Quota::per_minute(5).burst(9), 9), Ok(()));
    }

    #[test]
    fn a_share_is_never_nothing_and_never_more() {
        let quota = Quota::per_minute(100).burst(20).share(0.25);
        assert_eq!((quota.limit(), quota.capacity()), (25, 5));
        assert_eq!(Quota::per_minute(1).share(0.01).limit(), 1);
        assert_eq!(Quota::per_minute(u32::MAX).share(1.0).limit(), u32::MAX);
        assert_eq!(Quota::per_minute(0).share(0.5).limit(), 1);
    }
}
