//! Dynamic rate: a rate limiter that finds its number. Details: [`admission::steering`](mod@crate::admission::steering).
//!
//! A fixed rate is wrong the day traffic or the dependency changes: too low on a good day, too high on a bad one. Steering moves it between
//! a floor and a ceiling, by what signals tell (errors, response times, a queue, the machine's load, anything you can look up) and by what
//! a forecast expects.
//!
//! **When not**: for a quota that a provider tells you: that number *is* known. For a dependency that gets slow: an adaptive limit on
//! calls at once reacts within a round trip, where a rate reacts within an interval or two.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::steering::{ErrorRate, QueueDepth, ResponseTime, Steering, SystemLoad};
//! use steadfast::{Bulkhead, Monitor, Pipeline, RateLimiter};
//!
//! let (monitor, connections) = (Monitor::new(), Bulkhead::new(20).queue(40).build()?);
//! let limiter = RateLimiter::per_second(100).burst(10).steered(
//!     Steering::between(10, 200)
//!         .signal(ErrorRate::of(&monitor, "search").above(0.05))
//!         .signal(ResponseTime::p95_above(Duration::from_millis(300), &monitor, "search"))
//!         .signal(QueueDepth::of(&connections))
//!         .signal(SystemLoad::above(1.5))
//!         .signal(|_now| Some(0.2)), // your own: 0 idle, 1 at the limit, `None` where it cannot tell
//! )?;
//! let search = Pipeline::builder("search").monitor(monitor).rate_limit(limiter.clone()).bulkhead(connections).build()?;
//! # let _ = search.call(|| async { Ok::<_, String>(()) }).await;
//!
//! println!("{} a second, because of {:?}", limiter.rate(), limiter.steering().and_then(|state| state.strongest));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `every` | 1 s | long enough for some dozens of calls at the rates people limit to |
//! | `smoothing` | 0.5 | two readings in a row decide, one does not |
//! | `grow_below` | 0.8 | between this and 1 the rate stays, or it would flutter |
//! | `most_cut` | 0.3 | one bad reading costs a third, not everything; four in a row cost three quarters |
//! | `step` | a twentieth of the ceiling | never more than twenty intervals from the top |
//! | `headroom` | 1.5 | no forecast is exact |
//! | `lead` | 1 | up one interval of the forecast before the load is |
//! | `forecast_every` | as `every` | set it for a forecast with a season: a day has 86,400 seconds, and 96 quarters of an hour |
//!
//! It begins at the configured rate, and goes back there when no signal can tell; beyond it, only what is used grows. It saws: up by steps
//! until a signal says stop, down by a cut, up again, on average a little below what the dependency bears (`cargo run --example
//! dynamic_rate` draws it). A burst that is not set follows the rate: set one where one call may cost more than the floor. The first call
//! after an interval does the work, some microseconds to read a monitor; there is no background task.
//!
//! # By forecast
//!
//! | demand | forecast |
//! |---|---|
//! | grows and falls without a rhythm | [`Holt::new(0.5, 0.1)`](crate::steering::Holt), damped for a long lead |
//! | has a rhythm, and the peaks grow with it | [`HoltWinters::multiplicative(96)`](crate::steering::HoltWinters), by the quarter of an hour |
//! | has a rhythm with silent hours, or peaks of one size | [`HoltWinters::additive(24)`](crate::steering::HoltWinters), by the hour |
//! | follows something else | a [`Forecast`](crate::steering::Forecast) of your own, in two functions |
//!
//! A season takes two rounds to learn; to know it at once after a restart, store it and go on with `starting(..)`. With signals as well, the
//! lower of the two counts: what the dependency cannot bear, no forecast allows.
//!
//! # What you will see
//!
//! | event | when |
//! |---|---|
//! | `rate_steered` (`tracing` only, level debug) | the rate moved: from, to, pressure, expected demand, and the strongest signal |
//! | `rejected`, kind `rate_limited` | as from every [rate limiter](super::rate_limiter) |
//!
//! [`RateLimiter::steering`] tells the same at any time. [`RateLimiter::config`] goes on to tell the configured rate, so that settings read
//! again from a file do not undo what was found out.

#[cfg(doc)]
use crate::*;
