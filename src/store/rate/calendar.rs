//! Days, weeks, months and years in UTC, in microseconds since 1970.
//!
//! Dates are whole days of arithmetic: H. Hinnant, *chrono-compatible low-level date algorithms* (2013), `days_from_civil` and
//! `civil_from_days`. UTC as computers keep it, without leap seconds; dates before 1970 do not occur.

use std::fmt;

/// From which date to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Calendar {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first to the first.
    Month,
    /// From 1 January to 1 January.
    Year,
}

const DAY_US: u64 = 86_400_000_000;
/// 1970-01-01 was a Thursday.
const MONDAY: u64 = 3;

impl Calendar {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// `daily`, `weekly`, `monthly`, `yearly`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// From when to when it lasts around `now_us`, in microseconds since 1970: `start <= now < end`.
    #[must_use]
    pub fn window(self, now_us: u64) -> (u64, u64) {
        let day = now_us / DAY_US;
        let (start, end) = match self {
            Self::Day => (day, day + 1),
            Self::Week => {
                let monday = (day + MONDAY) / 7 * 7;
                // The week of 1 January 1970 began in 1969.
                (monday.saturating_sub(MONDAY), monday + 7 - MONDAY)
            }
            Self::Month => {
                let (year, month) = year_and_month(day);
                let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                (first_of(year, month), first_of(next_year, next))
            }
            Self::Year => {
                let (year, _) = year_and_month(day);
                (first_of(year, 1), first_of(year + 1, 1))
            }
        };
        (start.saturating_mul(DAY_US), end.saturating_mul(DAY_US))
    }
}

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;
/// Days of 400 years.
const ERA: u64 = 146_097;

/// `civil_from_days`, without the day.
const fn year_and_month(day: u64) -> (u64, u64) {
    let z = day + EPOCH;
    let (era, doe) = (z / ERA, z % ERA);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month)
}

/// `days_from_civil` of the first of a month.
const fn first_of(year: u64, month: u64) -> u64 {
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y / 400, y % 400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    era * ERA + doe - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Counted one by one from 1970 to 2400, leap years by the rule.
        let mut day = 0;
        for year in 1970..2400_u64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let (begins, mut month_begins) = (day, day);
            let ends = begins + if leap { 366 } else { 365 };
            for (month, length) in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].into_iter().enumerate() {
                for _ in 0..length {
                    assert_eq!(year_and_month(day), (year, month as u64 + 1), "day {day}");
                    let moment = day * DAY_US + 43_200_000_000;
                    assert_eq!(Calendar::Day.window(moment), (day * DAY_US, (day + 1) * DAY_US));
                    assert_eq!(Calendar::Month.window(moment), (month_begins * DAY_US, (month_begins + length) * DAY_US));
                    assert_eq!(Calendar::Year.window(moment), (begins * DAY_US, ends * DAY_US));
                    day += 1;
                }
                month_begins = day;
            }
        }
    }

    #[test]
    fn weeks_begin_on_mondays() {
        // 2026-11-16 was a Monday; 20773 days after 1970-01-01.
        let monday = 20_773 * DAY_US;
        for into in [0, 1, 3 * DAY_US, 7 * DAY_US - 1] {
            assert_eq!(Calendar::Week.window(monday + into), (monday, monday + 7 * DAY_US));
        }
        assert_eq!(Calendar::Week.window(monday - 1), (monday - 7 * DAY_US, monday));
        assert_eq!(Calendar::Week.window(0), (0, 4 * DAY_US));
    }

    #[test]
    fn h28_no_moment_overflows() {
        for calendar in Calendar::ALL {
            let (start, end) = calendar.window(u64::MAX);
            assert!(start < end || end == u64::MAX, "{calendar}");
        }
    }
}
