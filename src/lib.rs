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
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod versions;

pub use admission::*;
pub use call::{Attempt, Call, Priority};
pub use execution::*;
pub use fault::{ConfigError, Fault};
pub use observation::*;
pub use outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
pub use pipeline::{
    Change, Changes, Explanation, Gauge, Nested, Pipeline, PipelineBuilder, PipelineConfig, PipelineStats, PolicyOf, Registry,
    RegistryChanges, RegistryConfig, Request, TypedBuilder, TypedPipeline, UnknownPipeline, Warning, text,
};
pub use substitution::*;
