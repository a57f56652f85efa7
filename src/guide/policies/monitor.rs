//! Monitor and events: what happened, in numbers and as it happens. Details: [`observation`](mod@crate::observation).
//!
//! A [`Monitor`] counts and times calls and attempts; without one `stats()` has only the state of the policies. Events say each thing as it
//! happens, to `tracing` (target `steadfast`) without any setting, to observers, and to a stream.
//!
//! **When not**: a monitor keeps histograms, some tens of KiB a name; names are yours and few, never keys or URLs. To follow one request, use
//! [`spans`](PipelineBuilder::spans).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Event, Monitor, Pipeline, Severity, Window};
//!
//! let monitor = Monitor::new();
//! let api = Pipeline::builder("api")
//!     .monitor(monitor.clone())                          // shared: all pipelines in one table
//!     .observer(|pipeline: &str, event: &Event| {
//!         if event.severity() >= Severity::Error {
//!             eprintln!("{pipeline}: {event}");          // short work only: the call waits for it
//!         }
//!     })
//!     .build()?;
//! let _ = api.call(|| async { Ok::<_, String>(1) }).await;
//!
//! let api = monitor.stats("api").expect("it was called");
//! assert_eq!(api.all_time().calls(), 1);
//! assert_eq!(api.window(Window::OneMinute).error_rate(), 0.0);
//! println!("{:?}", api.window(Window::OneMinute).call_latency().p99());
//! # Ok(()) }
//! ```
//!
//! # Defaults
//!
//! | setting | default | because |
//! |---|---|---|
//! | `monitor` | none | on in the presets; a bare builder does only what you say |
//! | `max_names` | 1,000 | a bug that makes names must not fill the memory; further ones are counted as `other` |
//! | `spans` | false | events are traced anyway; a span for each call is for those who follow calls |
//!
//! # What to alert on
//!
//! | signal | means |
//! |---|---|
//! | `circuit_changed` to `open` | the dependency is down for us: page somebody, once |
//! | `retry_stopped` with `budget` | many calls fail at the same time |
//! | p99 of *attempts* rises, error rate does not | it is getting slow: the breaker has not noticed yet |
//! | p99 of *calls* rises, that of attempts does not | queues and retries: the cause is on our side of the line |
//! | `rejected` with `bulkhead_full` | the limit is too low, or the dependency too slow |
//!
//! Keys (often names of people) are nowhere, unless [`log_keys`](PipelineBuilder::log_keys) puts them on spans.
//! Of one failed call only the last event, `call_finished`, has level error, so counting errors counts calls. An observer that panics is caught
//! and counted. A stream ([`events`](Pipeline::events)) drops the oldest rather than hold up a call, and says how many it missed.

#[cfg(doc)]
use crate::*;
