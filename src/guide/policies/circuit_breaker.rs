//! Circuit breaker: stop calling what keeps failing. Details and states: [`admission::circuit_breaker`](mod@crate::admission::circuit_breaker).
//!
//! It spares the dependency the load, and your callers the wait: a refusal takes nanoseconds and says when the next probe goes.
//!
//! **When not**: for what cannot be down for long (computation, the local disk); for many backends behind one name, where one bad one of ten
//! opens the circuit to all (one pipeline each); and never *instead of* a timeout, for calls that hang do not fail.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use std::time::Duration;
//! use steadfast::{CircuitBreaker, CircuitState, Pipeline};
//!
//! let breaker = CircuitBreaker::failure_rate(0.5)             // half of the calls in the window
//!     .slow_calls(Duration::from_secs(1), 0.8)                // or 80 % of them slower than a second
//!     .consecutive_failures(20)                               // or 20 in a row: for pipelines with few calls
//!     .window(Duration::from_secs(30));
//! let api = Pipeline::http("api").circuit_breaker(breaker).build()?;
//! assert_eq!(api.circuit_breaker().map(|breaker| breaker.state()), Some(CircuitState::Closed));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `window` | 10 s | rides out a burst of errors, notices an outage while it is news |
//! | `min_calls` | 20 | three calls at night are no statistic |
//! | `trip_on_success` | false | a success is no reason to stop |
//! | `open_for` | 5 s | a restart or a fail-over takes seconds |
//! | `open_growth` | 2 | what is still down after 5 s may be down for minutes |
//! | `max_open` | 60 s | nobody wants to wait longer for good news |
//! | `open_jitter` | 10 % | a fleet that opened together does not probe together |
//! | `probes` | 1 | one call is what it should cost to learn that it is still down |
//! | `close_after` | so many that the failure rate of the probes is below the threshold | the same rule as when closed; all, where the rule is failures in a row |
//! | `probe_lease` | `open_for` | a probe that hangs cannot keep the circuit half-open for ever |
//! | `half_open_for` | no limit | leases end one by one |
//! | `abandoned_after` | none | a caller who left early says nothing about the dependency |
//! | `ramp` | none | most are as good as ever when they are back; 10 s or so for what comes back cold to a crowd |
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `circuit_changed` to `open` (level error) | a rule was broken, or probes failed |
//! | `circuit_changed` to `half_open`, `closed` (info) | a call came after the open time; the probes succeeded |
//! | `rejected`, kind `circuit_open` (debug) | a call while it was open, or while all probes were out |
//!
//! By hand, when you know better: [`isolate`](CircuitBreaker::isolate) (refuse all), [`disable`](CircuitBreaker::disable) (let all pass),
//! [`force_close`](CircuitBreaker::force_close). New rules you do not trust yet: [`metrics_only`](CircuitBreaker::metrics_only) tells when it
//! *would* have opened. If it opens on quiet nights raise `min_calls`; if it never opens look at the judge first (is a timeout set? are
//! the errors `Ignored`?), and only then at the rate.
//!
//! Many processes, each with few calls: `store::SharedBreaker` (feature `store`) opens in all what opened in one, and sends the probes of one. The guide's page
//! `shared_limits` says more.

#[cfg(doc)]
use crate::*;
