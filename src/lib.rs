//! steadfast
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod admission;
#[cfg(any(feature = "http", feature = "tower"))]
pub mod client;
pub mod execution;
pub mod observation;
pub mod pipeline;
pub mod substitution;

mod call;
pub mod classify;
pub mod fault;
pub mod outcome;
mod sync;
mod time;

pub use admission::*;
pub use call::{Attempt, Call, Priority};
#[cfg(feature = "reqwest")]
pub use client::reqwest::SendThrough;
#[cfg(feature = "tower")]
pub use client::tower::PipelineLayer;
pub use execution::*;
pub use fault::{ConfigError, Fault};
pub use observation::*;
pub use outcome::{Error, Outcome, Rejected, RejectedKind, Verdict};
pub use pipeline::{
    Explanation, Gauge, Nested, Pipeline, PipelineBuilder, PipelineStats, PolicyOf, Request, TypedBuilder, TypedPipeline, Warning,
};
pub use substitution::*;
