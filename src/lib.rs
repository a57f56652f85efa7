//! steadfast
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod admission;
pub mod execution;
pub mod observation;
pub mod pipeline;
pub mod substitution;

mod call;
pub mod classify;
pub mod fault;
pub mod outcome;
#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "macro_support.rs"]
pub mod __private;
mod sync;
mod time;

pub use admission::*;
pub use call::{Attempt, Call, Priority};
pub use execution::*;
pub use fault::{ConfigError, Fault};
pub use observation::*;
pub use outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
pub use pipeline::{
    Explanation, Gauge, Nested, Pipeline, PipelineBuilder, PipelineStats, PolicyOf, Request, TypedBuilder, TypedPipeline, Warning,
};
pub use substitution::*;
#[cfg(feature = "macros")]
pub use steadfast_macros::resilient;
