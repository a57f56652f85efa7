//! One page for each policy: what it does, when to leave it out, its defaults and why, and what you will see when it acts.
//!
//! | page | builder | works alone with |
//! |---|---|---|
//! | [`timeouts`] | `total_timeout`, `attempt_timeout` | – |
//! | [`retry`] | `retry` | `next_delay()` |
//! | [`hedge`] | `hedge` | `record()`, `delay()` |
//! | [`circuit_breaker`] | `circuit_breaker` | `try_acquire()` |
//! | [`throttle`] | `throttle` | `try_acquire(priority, now)` |
//! | [`rate_limiter`] | `rate_limit` | `try_acquire(cost)`, `acquire(&call)` |
//! | [`dynamic_rate`] | `rate_limit`, with a steered limiter | `steered(..)`, `steer(..)` |
//! | [`bulkhead`] | `bulkhead` | `try_acquire()`, `acquire(&call)` |
//! | [`adaptive_limit`] | `adaptive_limit` | `try_acquire()`, `acquire(&call)` |
//! | [`keyed`] | `per_key` | `try_acquire(key, cost)`, `acquire(&call)` |
//! | [`coalesce`] | `key(..).coalesced(&group)` | `call(&key, operation)` |
//! | `cache` | `cache`, `key(..).cached(&cache)` | `get`, `insert`, `get_or_load` |
//! | [`fallback`] | `fallback`, `call_or`, `call_or_else` | – |
//! | [`monitor`] | `monitor`, `observer` | `track()`, `timer()` |
//! | [`own_gate`] | `gate` | – |
//! | [`chaos`] | `chaos` | `around(operation)`, `call(..)` |
//!
//! The numbers in the tables of defaults are held against the code by a test.
//!
//! Every policy comes as two types: `XConfig`, a plain value to set up, and `X`, the live one with the state. The builder takes either: a
//! configuration makes a policy of this pipeline's own, a live one is shared with whoever else has it.
//!
//! # Numbers for your case
//!
//! Defaults are a start. Better ones come from two things you can look up: how long a good call takes (p99), and how long your caller waits.
//!
//! * attempt timeout: two to three times the p99 of a good call;
//! * total timeout: what your caller waits, less the time you need yourself;
//! * retries: as many as fit in between, and rarely more than 3;
//! * bulkhead: calls per second × seconds per call (p99), and half as much again;
//! * breaker window: long enough for `min_calls` calls at your quietest hour that still matters.

pub mod adaptive_limit;
pub mod bulkhead;
#[cfg(feature = "cache")]
pub mod cache;
pub mod chaos;
pub mod circuit_breaker;
pub mod coalesce;
pub mod dynamic_rate;
pub mod fallback;
pub mod hedge;
pub mod keyed;
pub mod monitor;
pub mod own_gate;
pub mod rate_limiter;
pub mod retry;
pub mod throttle;
pub mod timeouts;
