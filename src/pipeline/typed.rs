//! A pipeline that knows the type of its answers, and so can keep a substitute for them.

#[cfg(feature = "cache")]
use super::PolicyOf;
use super::{Options, Pipeline, PipelineBuilder, Request, answered, begins_requests, run};
use crate::call::Attempt;
use crate::classify::{ByErrorType, ByResult, Judge};
use crate::fault::ConfigError;
use crate::outcome::{Error, Verdict};
use crate::substitution::Fallback;
#[cfg(feature = "cache")]
use crate::substitution::{Cache, CacheConfig};
use std::fmt;

/// Settings of a [`TypedPipeline`] to be; made by [`PipelineBuilder::fallback`] and `PipelineBuilder::cache`.
#[must_use = "a builder does nothing until `build`"]
pub struct TypedBuilder<T, E> {
    builder: PipelineBuilder,
    fallback: Option<Fallback<T, E>>,
    #[cfg(feature = "cache")]
    cache: Option<Known<CacheOf<T>, T>>,
}

/// A cache, and how its values are cloned: known where the type of the value is, so that a pipeline with a fallback alone asks no `Clone` of it.
#[cfg(feature = "cache")]
type Known<C, T> = (C, fn(&T) -> T);

#[cfg(feature = "cache")]
type CacheOf<T> = PolicyOf<CacheConfig<String, T>, Cache<String, T>>;

impl<T: 'static, E: 'static> TypedBuilder<T, E> {
    pub(super) const fn new(builder: PipelineBuilder) -> Self {
        Self {
            builder,
            fallback: None,
            #[cfg(feature = "cache")]
            cache: None,
        }
    }

    /// Answers failed calls, where the cache has no last good answer. **Default**: none.
    pub fn fallback(mut self, fallback: Fallback<T, E>) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// Keeps the answers of all calls with a [key](crate::Request::key), as [`Request::cached`](crate::Request::cached) does for one. **Default**: none.
    #[cfg(feature = "cache")]
    pub fn cache(mut self, cache: impl Into<PolicyOf<CacheConfig<String, T>, Cache<String, T>>>) -> Self
    where
        T: Clone,
    {
        self.cache = Some((cache.into(), T::clone));
        self
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
        #[cfg(feature = "cache")]
        let (mut builder, mut cache) = (self.builder, None);
        #[cfg(not(feature = "cache"))]
        let builder = self.builder;
        #[cfg(feature = "cache")]
        match self.cache {
            None => {}
            Some((PolicyOf::Shared(live), give)) => cache = Some((live, give)),
            Some((PolicyOf::New(config), give)) => match config.build() {
                Ok(live) => cache = Some((live, give)),
                Err(error) => builder = builder.with_faults("cache", error),
            },
        }
        Ok(TypedPipeline {
            pipeline: builder.build()?,
            fallback: self.fallback,
            #[cfg(feature = "cache")]
            cache,
        })
    }
}

impl<T, E> fmt::Debug for TypedBuilder<T, E> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedBuilder").field("builder", &self.builder).field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

/// A [`Pipeline`] with a [`Fallback`] or a cache (feature `cache`) for values of type `T` and errors of type `E`, around the same untyped core.
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
///
/// With the feature `cache` it may hold values: it is `Send` and `Sync` where `T` is both, and so are its calls with a key.
pub struct TypedPipeline<T, E> {
    pipeline: Pipeline,
    fallback: Option<Fallback<T, E>>,
    #[cfg(feature = "cache")]
    cache: Option<Known<Cache<String, T>, T>>,
}

impl<T: 'static, E: 'static> TypedPipeline<T, E> {
    /// Runs `operation` under every policy; when that fails, answers with the fallback. With a [key](Self::key), the cache is asked before.
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
        answered(run(self.pipeline.core(), &Options::NONE, ByErrorType, Error::Inner, operation), self.fallback.as_ref())
    }

    begins_requests!(['a] self: [&'a self] &'a Self, of [] Result<T, E>);

    /// The live cache, to read it, or to invalidate what is in it.
    #[cfg(feature = "cache")]
    #[must_use]
    pub fn cache(&self) -> Option<&Cache<String, T>> {
        self.cache.as_ref().map(|(cache, _)| cache)
    }

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
            let (typed, options) = (self.pipeline, self.options);
            let fallback = typed.fallback.as_ref();
            #[cfg(feature = "cache")]
            if let (Some((cache, give)), Some(key)) = (&typed.cache, options.key) {
                let request = Request { pipeline: &typed.pipeline, options, judge: self.judge };
                let (name, key) = (super::cached::Name::Text(key), Some(cache.inner.hash(key)));
                let answers = super::cached::Answers { cache: &cache.inner, key, name, give: *give };
                return super::cached::call(request, answers, std::convert::identity, fallback, operation).await;
            }
            answered(run(typed.pipeline.core(), &options, self.judge, Error::Inner, operation), fallback).await
        }
    }
}

impl<T, E> Clone for TypedPipeline<T, E> {
    fn clone(&self) -> Self {
        Self {
            pipeline: self.pipeline.clone(),
            fallback: self.fallback.clone(),
            #[cfg(feature = "cache")]
            cache: self.cache.clone(),
        }
    }
}

impl<T, E> fmt::Debug for TypedPipeline<T, E> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedPipeline").field("pipeline", &self.pipeline).field("fallback", &self.fallback).finish_non_exhaustive()
    }
}
