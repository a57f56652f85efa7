//! Retry: try again what may work the next time. Details: [`execution::retry`](mod@crate::execution::retry).
//!
//! `Retry::exponential(3, 100 ms)` is three *retries*, so at most four attempts. Failures judged transient and timeouts are tried again;
//! rejections of the pipeline's own policies are not. A server's `Retry-After` (in the [`Verdict`]) goes before any formula.
//!
//! **When not**: around an operation that may not happen twice, unless it has an [idempotency key](super::super::cookbook::idempotency_keys);
//! around a client that retries by itself (turn that off, or leave this out: 3 × 3 is 9); and in more than one layer. (Pipelines
//! inside pipelines notice, and only the outer one retries.) For one call among others: [`api.once().call(..)`](Pipeline::once), or
//! [`api.idempotent(false)`](Pipeline::idempotent), which does not repeat what timed out.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::{Pipeline, Retry};
//!
//! let orders = Pipeline::http("orders")
//!     .retry(Retry::exponential(2, Duration::from_millis(50)).max_delay(Duration::from_secs(1)).retry_timeouts(false))
//!     .build()?;
//! assert_eq!(orders.explain().attempts(), 3);
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `factor` | 2 | gets out of the way of an outage in few tries |
//! | `max_delay` | 30 s | outlasts a restart; a recovery is still noticed soon |
//! | `jitter` | full | clients that failed together do not come back together |
//! | `hint_ceiling` | 60 s | longer than that nobody waits on a server's word: the call ends at once instead |
//! | `hint_jitter` | 0 s | a server that says 5 s means 5 s |
//! | `budget.share` | 10 % | an outage becomes 1.1 times the load, not 4 times |
//! | `budget.min_per_second` | 3 | a pipeline with few calls retries too |
//! | `budget.burst` | 20 | the first calls of a process are not cut short |
//! | `retry_rejections` | none | an open breaker is there to prevent just that |
//! | `retry_timeouts` | true | slow is the commonest way to be down; `false` for what may not happen twice |
//! | `even_when_nested` | false | three layers of three tries are 27 calls |
//!
//! # What you will see
//!
//! | event | tells |
//! |---|---|
//! | `attempt_failed` | it ran, and failed |
//! | `retrying` | another follows, and after what delay |
//! | `retry_stopped` | none follows; `reason` says why, from `attempts` and `budget` to `deadline` |
//!
//! When the retries are over the caller gets the operation's **own last error**, not "retries exhausted". If `budget` is the usual reason, do not
//! raise the budget: the dependency is down, and that is what it is for. `api.retry()` has the [statistics](RetryStats): how many calls were
//! saved by a retry, and how many only took longer.

#[cfg(doc)]
use crate::*;
