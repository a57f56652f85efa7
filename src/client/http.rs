//! Judging functions for every client that speaks the types of the [`http`] crate.
//!
//! | answer | verdict | because |
//! |---|---|---|
//! | 1xx, 2xx, 3xx | success | the server did what it was asked; where to go next is the client's affair |
//! | 408, 425, 429 | transient | the server says itself that another time may do |
//! | other 4xx | permanent | the same request will be refused again |
//! | 5xx | transient | the server, or one of many behind it, is in trouble |
//! | 600 and above | transient | no such class: to be treated as 5xx ([RFC 9110, 15](https://www.rfc-editor.org/rfc/rfc9110#section-15-4)) |
//!
//! All of 5xx: 501 and 505 sound as if they could not pass, but what sends them in practice is one wrong proxy of several, or half of a
//! deployment, and one rule without exceptions can be remembered. The retry budget bounds the price of being wrong.
//!
//! A transient answer's `Retry-After` becomes the verdict's hint. A hint of zero, or a date that has passed, is as good as none: "now"
//! is when everybody comes back, so the backoff of the retry policy counts.
//!
//! A permanent verdict is a failure to a circuit breaker too. Where answers like 404 are everyday news, say so:
//!
//! ```
//! use http::{Response, StatusCode};
//! use steadfast::{Verdict, client::http::judge_response};
//!
//! fn judge<B>(response: &Response<B>) -> Verdict {
//!     if response.status() == StatusCode::NOT_FOUND { Verdict::Success } else { judge_response(response) }
//! }
//! # let not_found = Response::builder().status(404).body(()).unwrap();
//! # assert_eq!(judge(&not_found), Verdict::Success);
//! ```
//!
//! With a client of your own:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use http::{Request, Response};
//! use steadfast::{Pipeline, client::http::judge};
//!
//! # async fn send(_: Request<()>) -> Result<Response<String>, std::io::Error> { Ok(Response::new("hello".into())) }
//! let api = Pipeline::http("api").build()?;
//! let request = Request::get("http://api.internal/hello").body(())?;
//! let response = api.classify(judge).call(|| send(request.clone())).await?;
//! # assert_eq!(response.body(), "hello"); Ok(()) }
//! ```

pub use super::retry_after::retry_after;

use crate::outcome::Verdict;
use ::http::{HeaderMap, Request, Response, StatusCode};
use std::time::Duration;

/// What a status alone says: the table [above](self).
#[must_use]
pub fn judge_status(status: StatusCode) -> Verdict {
    match status.as_u16() {
        ..400 => Verdict::Success,
        408 | 425 | 429 | 500.. => Verdict::transient(),
        400..500 => Verdict::Permanent,
    }
}

/// What a status says, and when the server wants to be called again.
#[must_use]
pub fn judge_parts(status: StatusCode, headers: &HeaderMap) -> Verdict {
    match judge_status(status) {
        Verdict::Transient { .. } => Verdict::Transient { retry_after: retry_after(headers).filter(|hint| *hint > Duration::ZERO) },
        verdict => verdict,
    }
}

/// What a response says. Its body is not looked at.
#[must_use]
pub fn judge_response<B>(response: &Response<B>) -> Verdict {
    judge_parts(response.status(), response.headers())
}

/// What the whole result of a request says, for [`classify`](crate::Pipeline::classify) on a call: a response by [`judge_response`], an
/// error as transient.
#[must_use]
pub fn judge<B, E>(result: &Result<Response<B>, E>) -> Verdict {
    result.as_ref().map_or(Verdict::transient(), judge_response)
}

/// A copy of a request that may be sent twice: `None` when its method is not
/// [idempotent](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2) (POST, PATCH, and all that HTTP does not define). For
#[cfg_attr(feature = "tower", doc = "[`PipelineLayer::clone_request_with`](crate::client::tower::PipelineLayer::clone_request_with).")]
#[cfg_attr(not(feature = "tower"), doc = "`PipelineLayer::clone_request_with` of the feature `tower`.")]
#[must_use]
pub fn clone_idempotent<B: Clone>(request: &Request<B>) -> Option<Request<B>> {
    request.method().is_idempotent().then(|| request.clone())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use ::http::header::RETRY_AFTER;

    #[test]
    fn h72_every_status_has_its_verdict() {
        for code in 100..=999_u16 {
            let expected = match code {
                408 | 425 | 429 => Verdict::transient(),
                100..=399 => Verdict::Success,
                400..=499 => Verdict::Permanent,
                _ => Verdict::transient(),
            };
            assert_eq!(judge_status(StatusCode::from_u16(code).unwrap()), expected, "{code}");
        }
    }

    #[test]
    fn hints_belong_to_transient_answers_only() {
        let with =
            |status: u16, hint: &str| judge_response(&Response::builder().status(status).header(RETRY_AFTER, hint).body(()).unwrap());
        let five = Verdict::retry_after(Duration::from_secs(5));
        assert_eq!((with(503, "5"), with(429, "5"), with(500, "5")), (five, five, five));
        assert_eq!((with(200, "5"), with(301, "5"), with(403, "5")), (Verdict::Success, Verdict::Success, Verdict::Permanent));
        assert_eq!(with(503, "0"), Verdict::transient(), "now is when everybody comes back");
        assert_eq!(with(503, "Thu, 01 Jan 1970 00:00:00 GMT"), Verdict::transient());
        assert_eq!(with(503, "NaN"), Verdict::transient());
        assert_eq!(judge::<(), _>(&Err("cut")), Verdict::transient());
    }

    #[test]
    fn h77_only_idempotent_requests_are_copied() {
        let copied = |method: &str| clone_idempotent(&Request::builder().method(method).body("body").unwrap()).is_some();
        assert!(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"].into_iter().all(copied));
        assert!(!["POST", "PATCH", "CONNECT", "MKCOL"].into_iter().any(copied));
    }
}
