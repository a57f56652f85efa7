//! Hedge: a second attempt beside a slow first one. Details: [`execution::hedge`](mod@crate::execution::hedge).
//!
//! Most calls are quick and a few are slow for no reason of their own. When an attempt takes longer than nearly all others do, another is launched
//! beside it, and the first success answers. It mends slowness as a retry mends failure: at the 95th percentile, of lognormal latencies, p99.9
//! falls from 409 to 187 ms for 4.8 % more load.
//!
//! **When not**: for what may not happen twice *at the same time*; for answers that are expensive to make; and where slowness means overload, for
//! then a second attempt adds to it (the budget and the breaker keep that small). A hedge says what may be hedged, or it cannot be built:
//! `.idempotent()` is every operation of the pipeline, `.only_idempotent_calls()` just the calls made with
//! [`api.idempotent(true).call(..)`](Pipeline::idempotent). Calls that say `idempotent(false)` or `once()` never are.
//!
//! ```
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! use steadfast::{Hedge, Pipeline};
//!
//! let search = Pipeline::http("search").hedge(Hedge::at_percentile(0.95).idempotent()).build()?;
//! assert!(search.to_string().contains("retry > hedge > circuit breaker"));
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `max_hedges` | 1 | the second leg takes away most of the tail; each further one less, for the same load |
//! | `min_samples` | 100 | a 95th percentile of fewer answers is a guess |
//! | `initial_delay` | none | until then nothing is known to be slow; only failures launch a leg |
//! | `min_delay` | 1 ms | the tick of tokio's clock |
//! | `max_delay` | none | the dependency says what is slow |
//! | `budget` | that of the retries | together they stay within a tenth of the calls |
//! | `idempotent` | – | must be said |
//!
//! # In the pipeline
//!
//! * Each leg asks the gates by itself, and has the whole attempt timeout. Its place, its units and its breaker permit come back when it is dropped.
//!   A leg that your own gates refuse is simply not there.
//! * A leg that fails, and might have worked, launches the next at once, unless the server asked for a pause. When all have failed, the retry sees one failed
//!   attempt.
//! * The operation learns which leg it is: [`attempt.leg()`](Attempt::leg) in [`call_with`](Pipeline::call_with), to ask another replica, say.
//! * With a `bulkhead`, leave room for the second legs: a limit of 20 is 20 legs, not 20 calls.
//!
//! # What you will see
//!
//! | event | tells |
//! |---|---|
//! | `hedged` | a leg was launched, and how long the one before it had lasted |
//!
//! `api.hedge()` has the [statistics](HedgeStats): legs launched, calls they answered, and what denied the others. In the books of the monitor each leg is an attempt, and
//! a loser is an *abandoned* one. **If nothing is ever hedged**, look at `delay()`: `None` means that too few answers are known (`min_samples`); and at
//! `denied_by_breaker`, `denied_by_deadline` (less time is left than the median attempt takes) and `denied_by_budget`. If the budget denies many
//! the delay is too short, or the dependency is slow as a whole, and then it is right.

#[cfg(doc)]
use crate::*;
