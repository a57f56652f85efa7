//! The cookbook: things that work, to copy and change.
//!
//! | recipe | the point of it | compiled against |
//! |---|---|---|
//! | [`reqwest`] | status, `Retry-After` and *body* under one roof | reqwest itself |
//! | [`sqlx`] | the transaction is the operation; which SQL errors may pass | a stand-in |
//! | [`redis`] | commands that count must not be repeated blindly | a stand-in |
//! | [`tonic`] | codes, pushback, and passing the deadline on | a stand-in |
//! | [`aws_sdk`] | its own retries off; throttling hides in a 400 | a stand-in |
//! | [`idempotency_keys`] | one key for all attempts of a call | steadfast alone |
//! | [`streaming_bodies`] | a stream can be read once | tokio |
//! | [`shutdown`] | no new calls, an end to the old ones | tokio |
//! | [`paused_time`] | tests that take no time, and their two traps | tokio |
//!
//! A stand-in is a few hidden lines with the names and signatures of the crate that are used, so that the recipe compiles here without that
//! crate. They were written after its documentation; check them against the version you have.
//!
//! # The same three questions each time
//!
//! 1. **Does the client retry by itself?** Turn one of the two off. Ours knows the deadline, the budget and the breaker; theirs does not.
//! 2. **Which of its errors may pass, and which are the caller's own fault?** Transient, and ignored. Everything else is permanent.
//! 3. **May it happen twice?** If not: retry only what certainly did not happen, with [`api.idempotent(false)`](crate::Pipeline::idempotent) for one call, or
//!    [`retry_timeouts(false)`](crate::RetryConfig::retry_timeouts) for all.

pub mod aws_sdk;
pub mod idempotency_keys;
pub mod paused_time;
pub mod redis;
pub mod reqwest;
pub mod shutdown;
pub mod sqlx;
pub mod streaming_bodies;
pub mod tonic;
