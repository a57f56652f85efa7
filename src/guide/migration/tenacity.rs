//! From tenacity 9 (Python).
//!
//! | tenacity | steadfast |
//! |---|---|
//! | `@retry(..)` | [`#[resilient(retry(..))]`](super::super::attribute) |
//! | nothing said: for ever, without pause | say how many and how long; there is no such default |
//! | `stop_after_attempt(4)`, the first included | `retry(3)`, `Retry::exponential(3, ..)` |
//! | `stop_after_delay(10)`, looked at between attempts | `total_timeout = 10s`, which ends an attempt that hangs, too |
//! | `stop_before_delay(10)` | the same: a pause that does not end in time is not begun |
//! | `stop_never` | [`Retry::UNLIMITED`], with a total timeout |
//! | `wait_fixed(2)` | [`Retry::constant`], with [`Jitter::None`] |
//! | `wait_exponential(multiplier=1, max=10)` | [`Retry::exponential`]`(n, 1 s).max_delay(10 s)`, with [`Jitter::None`] |
//! | `wait_random_exponential(multiplier=1, max=60)` | the same with full jitter: the default |
//! | `wait_exponential_jitter(initial, jitter)` | [`Jitter::Additive`] |
//! | `wait_fixed(3) + wait_random(0, 2)` | [`Retry::constant`] with [`Jitter::Additive`] |
//! | `wait_incrementing`, `wait_chain` | [`Retry::linear`], [`Retry::custom`] |
//! | `retry_if_exception_type(IOError)`, `retry_if_exception(f)` | `when = f`, or [`classify`](PipelineBuilder::classify) |
//! | `retry_if_result(f)` | [`classify`](Pipeline::classify) on the call, which sees the whole `Result` |
//! | `raise TryAgain` | an error that the judge calls transient |
//! | `reraise=True` | always so; there is no `RetryError` |
//! | `retry_error_callback` | [`call_or_else`](Pipeline::call_or_else), `fallback = ..` |
//! | `before`, `after`, `before_sleep_log(..)` | `tracing` out of the box (`attempt_failed`, `retrying`); [`observer`](PipelineBuilder::observer) |
//! | `f.statistics` | [`Retry::stats`], [`Pipeline::stats`] |
//! | `f.retry_with(stop=..)` | a pipeline of its own; for one call [`within`](Pipeline::within) |
//! | `retry.sleep = ..` in tests | tokio's [paused clock](super::super::cookbook::paused_time) |
//!
//! New to you may be what goes beyond one call: the retries of *all* calls share a [budget](super::super::policies::retry), so that an outage does not
//! become four times the load.

#[cfg(doc)]
use crate::*;
