//! Observers: what happened?

mod emitter;
mod event;
mod histogram;
mod monitor;
mod names;
mod recorder;
mod stats;
mod table;
mod trace;

pub use emitter::{Events, Observer};
pub use event::{Event, Severity};
pub use histogram::{Latency, PercentileError, percentile};
pub use monitor::{Monitor, Timer, Track};
pub use stats::{CallEnd, Report, Snapshot, Stats, Window};

pub(crate) use emitter::Emitter;
pub(crate) use recorder::Recorder;
pub(crate) use trace::call_span;
