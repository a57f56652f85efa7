//! The judging functions for `http` types, and what a retry policy makes of their hints.
#![cfg(feature = "http")]
#![cfg_attr(feature = "http", expect(clippy::unwrap_used, reason = "a test may panic"))]

use http::header::{HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use std::cell::Cell;
use std::time::Duration;
use steadfast::client::http::{judge, judge_parts, judge_response, judge_status, retry_after};
use steadfast::{Error, Jitter, Outcome, Pipeline, Retry, StopReason, Verdict};
use tokio::time::Instant;

const CAP: Duration = Duration::from_secs(60);

fn busy(hint: &[u8]) -> Option<Response<()>> {
    Response::builder().status(503).header(RETRY_AFTER, HeaderValue::from_bytes(hint).ok()?).body(()).ok()
}

/// What a policy does with an answer: the wait before the next attempt, or why there is none.
fn wait(verdict: Verdict) -> Result<Duration, StopReason> {
    let retry = Retry::exponential(3, Duration::from_millis(100)).hint_ceiling(CAP).without_budget().build().unwrap();
    let mut state = retry.start();
    retry.next_delay(&mut state, Outcome::Judged(verdict), None, Instant::now(), None)
}

#[test]
fn h73_fifty_hostile_hints_are_within_the_cap_or_the_end() {
    let dates = [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 0001 00:00:00 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT",
    ];
    let numbers =
        ["0", "1", "59", "60", "61", "3600", "86400", "315360000", "18446744073709551615", "18446744073709551616", "1.5", "0.0", "60.1"];
    let nonsense = [
        "",
        " ",
        "-1",
        "-0",
        "-9223372036854775808",
        "+5",
        "NaN",
        "nan",
        "inf",
        "Infinity",
        "-inf",
        "1e3",
        "1e-3",
        "0x1F",
        "1_000",
        "1,5",
        "1;2",
        "5 s",
        "5s",
        "PT5S",
        "soon",
        "never",
        "null",
        "true",
        "undefined",
        "[]",
        "{}",
        "%00",
        "1/2",
        "Thu",
        "1970",
        "1970-01-01T00:00:00Z",
        "Jan 1",
        "Thu, 01 Jan 1970 00:00:00 +0000",
        "١٢",
        "９",
    ];
    let all: Vec<_> = dates.iter().chain(&numbers).chain(&nonsense).collect();
    assert!(all.len() > 50);
    for hint in all {
        let response = busy(hint.as_bytes()).unwrap();
        match wait(judge_response(&response)) {
            Ok(delay) => assert!(delay <= CAP, "{hint:?} waits {delay:?}"),
            Err(reason) => assert_eq!(reason, StopReason::HintTooLong, "{hint:?}"),
        }
    }
}

proptest! {
    #[test]
    fn h73_no_bytes_whatever_do_harm(hint in proptest::collection::vec(any::<u8>(), 0..64), digits in "[0-9]{1,40}(\\.[0-9]{0,40})?") {
        for hint in [&hint[..], digits.as_bytes()] {
            if let Some(response) = busy(hint) {
                let verdict = judge_response(&response);
                prop_assert!(verdict.is_failure() && verdict != Verdict::Permanent);
                prop_assert!(wait(verdict).map_or_else(|reason| reason == StopReason::HintTooLong, |delay| delay <= CAP));
            }
        }
    }

    #[test]
    fn whole_seconds_are_told_exactly(seconds in any::<u64>()) {
        let response = busy(seconds.to_string().as_bytes()).unwrap();
        prop_assert_eq!(retry_after(response.headers()), Some(Duration::from_secs(seconds)));
    }

    #[test]
    fn dates_are_told_by_the_servers_clock(ahead in 0..200_000_000_u64, server in 0..4_000_000_000_u64) {
        let date = |seconds| httpdate_of(seconds);
        let response = Response::builder().header("date", date(server)).header(RETRY_AFTER, date(server + ahead)).body(()).unwrap();
        prop_assert_eq!(retry_after(response.headers()), Some(Duration::from_secs(ahead)));
    }
}

/// An HTTP date by hand (days from the civil calendar after Howard Hinnant), so that the crate's own dependency does not test itself.
fn httpdate_of(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from(days % 7).unwrap()];
    let name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][usize::try_from(month - 1).unwrap()];
    format!("{weekday}, {day:02} {name} {year} {:02}:{:02}:{:02} GMT", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[tokio::test(start_paused = true)]
async fn a_client_of_ones_own_is_retried_by_status_and_hint() {
    let retry = Retry::constant(5, Duration::from_millis(1)).jitter(Jitter::None).without_budget();
    let api = Pipeline::builder("api").retry(retry).build().unwrap();
    let (calls, started) = (Cell::new(0), Instant::now());
    let request = Request::get("http://api.internal/").body(()).unwrap();
    let send = |_: Request<()>| {
        let call = calls.replace(calls.get() + 1);
        async move {
            match call {
                0 => Err("cut"),
                1 => Ok(Response::builder().status(503).header(RETRY_AFTER, "7").body("busy").unwrap()),
                2 => Ok(Response::builder().status(425).body("early").unwrap()),
                _ => Ok(Response::builder().status(404).body("gone").unwrap()),
            }
        }
    };
    let response: Result<_, Error<&str>> = api.classify(judge).call(|| send(request.clone())).await;
    assert_eq!(*response.unwrap().body(), "gone");
    assert_eq!((calls.get(), started.elapsed()), (4, Duration::from_millis(7_002)));
}

#[test]
fn the_parts_agree() {
    for code in 100..=999 {
        let response = Response::builder().status(code).body(()).unwrap();
        let verdict = judge_status(StatusCode::from_u16(code).unwrap());
        assert_eq!(judge_parts(response.status(), response.headers()), verdict);
        assert_eq!(judge_response(&response), verdict);
        assert_eq!(judge::<_, ()>(&Ok(response)), verdict);
    }
}
