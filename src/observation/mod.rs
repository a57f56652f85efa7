//! Observers: what happened?
//!
//! * A [`Monitor`] counts calls and attempts by how they ended, and times them: over all time and over the last 10 s, minute and 5 minutes.
//! * An [`Event`] is one thing that happened. [`Observer`]s are told at once; an [`Events`] stream waits for its reader, and drops the oldest
//!   rather than hold a call up. With nobody listening no event is even made.
//! * The same events go to `tracing`, target `steadfast`, and an optional span `steadfast.call` goes around each call.
//!
//! | event (`tracing` name `steadfast.` ..) | tells | level |
//! |---|---|---|
//! | `attempt_failed` | an attempt ran and failed | warn |
//! | `retrying` | another one follows, and when | info |
//! | `retry_stopped` | no other follows, and why | warn |
//! | `rejected` | a policy refused an attempt | debug |
//! | `waited` | an attempt got through a queue | debug |
//! | `circuit_changed` | the breaker opened (error), or went to any other state | error, info |
//! | `fallback_used` | a fallback answered | warn |
//! | `call_finished` | one call ended: error, unless it succeeded (trace) or was abandoned (debug) | error, .. |
//!
//! Events hold numbers and names fixed at compile time. Keys, values and error texts are in none of them.

mod emitter;
pub mod event;
mod histogram;
#[cfg(all(test, steadfast_loom))]
mod models;
pub mod monitor;
mod names;
mod recorder;
mod report;
mod stats;
mod table;
mod trace;

pub use emitter::{Events, Observer};
pub use event::{Event, Severity};
pub use histogram::{Latency, PercentileError, percentile};
pub use monitor::{Monitor, Timer, Track};
pub use report::{Report, Snapshot, Window};
pub use stats::{CallEnd, Stats};

pub(crate) use emitter::Emitter;
pub(crate) use names::{clean, clean_arc};
pub(crate) use recorder::Recorder;
pub(crate) use trace::call_span;
