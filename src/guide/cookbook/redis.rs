//! redis: reads are easy, counters are not. (Compiled against a stand-in of `redis::RedisError`.)
//!
//! `GET` may be repeated. `INCR` may not: when the connection breaks after the command left, nobody knows whether it counted.
//!
//! ```
//! # mod redis {
//! #     #[derive(Debug)] pub struct RedisError(pub &'static str);
//! #     impl RedisError {
//! #         pub fn is_timeout(&self) -> bool { self.0 == "timeout" }
//! #         pub fn is_connection_refusal(&self) -> bool { self.0 == "refused" }
//! #         pub fn is_connection_dropped(&self) -> bool { self.0 == "dropped" }
//! #         pub fn code(&self) -> Option<&str> { Some(self.0) }
//! #     }
//! #     impl std::fmt::Display for RedisError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.0) } }
//! # }
//! # use redis::RedisError;
//! use std::time::Duration;
//! use steadfast::{Pipeline, Retry, Verdict};
//!
//! /// Nothing was done: the server was not there, or says itself that it cannot now.
//! fn certainly_not_done(error: &RedisError) -> bool {
//!     error.is_connection_refusal() || matches!(error.code(), Some("LOADING" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY"))
//! }
//!
//! fn for_reads(error: &RedisError) -> Verdict {
//!     let may_pass = certainly_not_done(error) || error.is_timeout() || error.is_connection_dropped();
//!     if may_pass { Verdict::transient() } else { Verdict::permanent() }
//! }
//!
//! fn for_writes(error: &RedisError) -> Verdict {
//!     if certainly_not_done(error) { Verdict::transient() } else { Verdict::permanent() }
//! }
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! let quick = Retry::exponential(2, Duration::from_millis(10)).max_delay(Duration::from_millis(100));
//! let reads = Pipeline::interactive("cache").retry(quick.clone()).classify(for_reads).build()?;
//! let writes = Pipeline::interactive("counters").retry(quick.retry_timeouts(false)).classify(for_writes).build()?;
//! # assert_eq!((for_reads(&RedisError("dropped")), for_writes(&RedisError("dropped"))), (Verdict::transient(), Verdict::Permanent));
//! # let _ = (reads, writes); Ok(()) }
//! ```
//!
//! and then, with a `ConnectionManager` (a clone for each attempt: its methods take `&mut self`):
//!
//! ```text
//! let page: Option<String> = reads.call(|| { let mut connection = connection.clone(); async move { connection.get(&key).await } }).await?;
//! ```
//!
//! * `ConnectionManager` retries *connecting*, not commands, so both may be on. Set its response timeout above the attempt timeout, or let it be the only one.
//! * For a cache, a [fallback](super::super::policies::fallback) is the best policy of all: a cache that is down is a cache that is empty. Then give
//!   it a short total timeout, and a breaker, so that "empty" is quick.
//! * To share one breaker between the two pipelines, build it once and give both a clone.
