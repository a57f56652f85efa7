//! Observers: what happened?

mod emitter;
mod event;
mod histogram;
mod monitor;
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
pub(crate) use recorder::Recorder;
pub(crate) use trace::call_span;
