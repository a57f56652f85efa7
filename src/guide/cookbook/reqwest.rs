//! reqwest: status, `Retry-After` and body under one roof.
//!
//! `send_through` (feature `reqwest`) is one line, and ends when the *head* of the response is there. To have the body under the timeouts and
//! retries too, make it part of the operation:
//!
//! ```no_run
//! # #[cfg(feature = "reqwest")] mod page {
//! use steadfast::client::reqwest::judge_error;
//! use steadfast::{Error, Pipeline};
//!
//! fn pipeline() -> Result<Pipeline, steadfast::ConfigError> {
//!     Pipeline::http("reports").classify(judge_error).build()
//! }
//!
//! async fn report(api: &Pipeline, client: &reqwest::Client, url: &str) -> Result<Vec<u8>, Error<reqwest::Error>> {
//!     api.call(|| async { Ok(client.get(url).send().await?.error_for_status()?.bytes().await?.to_vec()) }).await
//! }
//! # }
//! # fn main() {}
//! ```
//!
//! `error_for_status` loses the headers, and with them `Retry-After`. If the server sends one, keep it in an error of your own; this needs no
//! feature:
//!
//! ```no_run
//! use std::time::Duration;
//! use steadfast::{Error, Pipeline, Rejected, Verdict};
//!
//! #[derive(Debug, thiserror::Error)]
//! enum ApiError {
//!     #[error("status {0}")]
//!     Status(u16, Option<Duration>),
//!     #[error("no connection")]
//!     Transport(#[from] reqwest::Error),
//!     #[error(transparent)]
//!     Rejected(#[from] Rejected),
//! }
//!
//! fn verdict(error: &ApiError) -> Verdict {
//!     match error {
//!         ApiError::Status(408 | 425 | 429 | 500.., retry_after) => Verdict::Transient { retry_after: *retry_after },
//!         ApiError::Transport(_) => Verdict::transient(),
//!         _ => Verdict::Ignored, // a 404 is no fault of the server's
//!     }
//! }
//!
//! async fn text(api: &Pipeline, client: &reqwest::Client, url: &str) -> Result<String, ApiError> {
//!     let fetch = || async {
//!         let response = client.get(url).send().await?;
//!         let status = response.status().as_u16();
//!         if status >= 400 {
//!             // The form in seconds; with the feature `http` there is `client::http::retry_after`, which reads dates, too.
//!             let seconds = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
//!             return Err(ApiError::Status(status, seconds.map(Duration::from_secs)));
//!         }
//!         Ok(response.text().await?)
//!     };
//!     api.call(fetch).await.map_err(Error::flatten)
//! }
//! # fn main() { let _ = Pipeline::http("x").classify(verdict); }
//! ```
//!
//! * One [`reqwest::Client`](https://docs.rs/reqwest) for the whole program: it is the connection pool.
//! * Leave `ClientBuilder::timeout` out, or longer than the attempt timeout; `connect_timeout` (a second or two) is worth having: a lost packet then costs
//!   one, not the whole attempt.
//! * POST: see [idempotency keys](super::idempotency_keys).
