//! A pipeline that knows the type of its answers, and so can keep a substitute for them.

use super::{Options, Pipeline, PipelineBuilder, Request, answered, begins_requests, run};
use crate::call::Attempt;
use crate::classify::{ByErrorType, ByResult, Judge};
use crate::fault::ConfigError;
use crate::outcome::{Error, Verdict};
use crate::substitution::Fallback;
use std::fmt;

/// Settings of a [`TypedPipeline`] to be; made by [`PipelineBuilder::fallback`].
#[must_use = "a builder does nothing until `build`"]
pub struct TypedBuilder<T, E> {
    builder: PipelineBuilder,
    fallback: Fallback<T, E>,
}

impl<T: 'static, E: 'static> TypedBuilder<T, E> {
    pub(super) const fn new(builder: PipelineBuilder, fallback: Fallback<T, E>) -> Self {
        Self { builder, fallback }
    }

    /// Goes on with the untyped settings: `.with(|builder| builder.attempt_timeout(limit))`.
    pub fn with(mut self, settings: impl FnOnce(PipelineBuilder) -> PipelineBuilder) -> Self {
        self.builder = settings(self.builder);
        self
    }

    /// Builds the pipeline.
    ///
    /// # Errors
    /// As [`PipelineBuilder::build`].
    pub fn build(self) -> Result<TypedPipeline<T, E>, ConfigError> {
        Ok(TypedPipeline { pipeline: self.builder.build()?, fallback: self.fallback })
    }
}

impl<T, E> fmt::Debug for TypedBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedBuilder").field("builder", &self.builder).field("fallback", &self.fallback).finish()
    }
}

/// A [`Pipeline`] with a [`Fallback`] for values of type `T` and errors of type `E`, around the same untyped core.
///
/// Cloning shares all state.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::{Fallback, Pipeline, TypedPipeline};
///
/// let prices: TypedPipeline<u32, String> = Pipeline::builder("prices").fallback(Fallback::value(100)).build()?;
/// assert_eq!(prices.call(|| async { Err("down".into()) }).await, Ok(100));
/// # Ok(()) }
/// ```
pub struct TypedPipeline<T, E> {
    pipeline: Pipeline,
    fallback: Fallback<T, E>,
}

impl<T: 'static, E: 'static> TypedPipeline<T, E> {
    /// Runs `operation` under every policy; when that fails, answers with the fallback.
    ///
    /// # Errors
    /// The call's own error where the fallback does not handle it, else whatever the fallback fails with.
    pub fn call<F, Fut>(&self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(move |_| operation())
    }

    /// Like [`call`](Self::call), telling the operation which attempt it is, and how much time is left.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_with<F, Fut>(&self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        answered(run(self.pipeline.core(), &Options::NONE, ByErrorType, Error::Inner, operation), &self.fallback)
    }

    begins_requests!(['a] self: [&'a self] &'a Self, of [] Result<T, E>);

    /// The untyped pipeline inside: its state, its statistics, and calls of other types without the fallback.
    #[must_use]
    pub const fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }
}

impl<J: Judge<T, E>, T: 'static, E: 'static> Request<'_, J, &TypedPipeline<T, E>> {
    /// See [`TypedPipeline::call`].
    ///
    /// # Errors
    /// As [`TypedPipeline::call`].
    pub fn call<F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.call_with(move |_| operation())
    }

    /// See [`TypedPipeline::call_with`].
    ///
    /// # Errors
    /// As [`TypedPipeline::call`].
    #[expect(clippy::manual_async_fn, reason = "an `async fn` would keep each of its arguments twice")]
    pub fn call_with<F, Fut>(self, operation: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Fn(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        async move {
            let TypedPipeline { pipeline, fallback } = self.pipeline;
            answered(run(pipeline.core(), &self.options, self.judge, Error::Inner, operation), fallback).await
        }
    }
}

impl<T, E> Clone for TypedPipeline<T, E> {
    fn clone(&self) -> Self {
        Self { pipeline: self.pipeline.clone(), fallback: self.fallback.clone() }
    }
}

impl<T, E> fmt::Debug for TypedPipeline<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedPipeline").field("pipeline", &self.pipeline).field("fallback", &self.fallback).finish()
    }
}
