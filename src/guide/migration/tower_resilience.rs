//! From tower-resilience 0.13.
//!
//! | tower-resilience | steadfast |
//! |---|---|
//! | a `ServiceBuilder` of layers | one [`Pipeline`], or one `PipelineLayer` (feature `tower`) |
//! | `ResilienceError<E>` | [`Error<E>`](Error) |
//! | **retry**: `max_attempts(3)`, the first included | `2` retries |
//! | `exponential_backoff(d)`, no jitter; `ExponentialRandomBackoff` | [`Retry::exponential`], full jitter |
//! | `retry_on(\|e\| ..)`, `retry_on_response` | [`classify`](PipelineBuilder::classify); for responses, on the call or the layer |
//! | `max_attempts_fn(\|request\| ..)` | `idempotent`, `once` on the reqwest door, `clone_request_with` on the tower one |
//! | `budget(RetryBudgetBuilder..)`, none by default | [`budget`](RetryConfig::budget), on by default |
//! | **circuit breaker**: `failure_rate_threshold(0.5)` | [`CircuitBreaker::failure_rate`] |
//! | `consecutive_failures(k)`, instead of the rate | [`consecutive_failures`](CircuitBreakerConfig::consecutive_failures), beside it if you like |
//! | `sliding_window_size(100)`, by count by default | [`count_window`](CircuitBreakerConfig::count_window); by default a [`window`](CircuitBreakerConfig::window) of 10 s |
//! | `minimum_number_of_calls`, the window's size | [`min_calls`](CircuitBreakerConfig::min_calls), 20 |
//! | `wait_duration_in_open`, 30 s | [`open_for`](CircuitBreakerConfig::open_for), 5 s, doubling to 60 s |
//! | `permitted_calls_in_half_open`, 1 | [`probes`](CircuitBreakerConfig::probes), 1 |
//! | `slow_call_duration_threshold`, `slow_call_rate_threshold` | [`slow_calls`](CircuitBreakerConfig::slow_calls) |
//! | `force_open`, `force_closed`, `reset` (async) | the same, not async; `isolate` for "open until I say so" |
//! | **bulkhead**: `max_concurrent_calls`, 25, waits for ever | [`Bulkhead::new`], refuses at once unless it has a [`queue`](BulkheadConfig::queue) |
//! | **rate limiter**: `limit_for_period(50)`, `refresh_period(1 s)`, a fixed window | [`RateLimiter::per`], token bucket |
//! | `timeout_duration`, 100 ms | [`max_wait`](RateLimiterConfig::max_wait), 0 |
//! | `WindowType::SlidingLog` | [`sliding_window`](RateLimiterConfig::sliding_window) |
//! | **time limiter**: `timeout_duration`, 5 s | [`attempt_timeout`](PipelineBuilder::attempt_timeout), none by default |
//! | `cancel_running_future(false)` | `tokio::spawn` in the operation |
//! | **fallback** | [`Fallback`], [`call_or_else`](Pipeline::call_or_else) |
//! | `on_retry`, `on_state_transition`, .. | [`observer`](PipelineBuilder::observer), one for all events |
//! | cache, coalesce, hedge, adaptive limits, chaos, outlier detection | not here (yet): they work beside a pipeline, as layers around or inside it |

#[cfg(doc)]
use crate::*;
