//! Fallback: what to answer when the call failed.
//!
//! Use it where an older, simpler or empty answer is better than none. Do not use it to hide an outage: the breaker and the monitor
//! go on counting the call by how the *operation* fared, and [`Stats`](crate::Stats) counts the fallbacks apart.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::{Error, Fallback, Pipeline};
//!
//! // On one call:
//! let pipeline = Pipeline::builder("prices").build()?;
//! let price = pipeline.call_or(|| async { Err::<u32, String>("down".into()) }, 100).await;
//! assert_eq!(price, 100);
//!
//! // On every call of a pipeline, only for what it is meant for:
//! let names = Pipeline::builder("names")
//!     .fallback(Fallback::<Vec<String>, String>::value(Vec::new()).when(|e| e.inner().is_some_and(|e| e == "down")))
//!     .build()?;
//! assert_eq!(names.call(|| async { Err("down".to_string()) }).await, Ok(vec![]));
//! assert_eq!(names.call(|| async { Err("bug".to_string()) }).await, Err(Error::Inner("bug".to_string())));
//! # Ok(()) }
//! ```

use crate::classify::Judges;
use crate::outcome::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

type Answer<T, E> = Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send>>;
type Function<T, E> = Arc<dyn Fn(Error<E>) -> Result<T, Error<E>> + Send + Sync>;
type Condition<E> = Arc<dyn Fn(&Error<E>) -> bool + Send + Sync>;

enum Source<T, E> {
    Now(Function<T, E>),
    Later(Arc<dyn Fn(Error<E>) -> Answer<T, E> + Send + Sync>),
}

impl<T, E> Clone for Source<T, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Now(f) => Self::Now(Arc::clone(f)),
            Self::Later(f) => Self::Later(Arc::clone(f)),
        }
    }
}

/// What a [`TypedPipeline`](crate::TypedPipeline) answers when a call failed: a value, a function, or an async function.
///
/// It is asked once, outside retry and breaker. What it returns is what the caller gets; an error of its own replaces the call's.
pub struct Fallback<T, E> {
    source: Source<T, E>,
    when: Option<Condition<E>>,
}

impl<T: 'static, E: 'static> Fallback<T, E> {
    /// Always this value.
    pub fn value(value: T) -> Self
    where
        T: Clone + Send + Sync,
    {
        Self::function(move |_| Ok(value.clone()))
    }

    /// Whatever `f` makes of the error.
    pub fn function(f: impl Fn(Error<E>) -> Result<T, Error<E>> + Send + Sync + 'static) -> Self {
        Self { source: Source::Now(Arc::new(f)), when: None }
    }

    /// Whatever the future that `f` makes of the error resolves to. It has until the deadline of the call: an answer that is ready at
    /// once is always given, one that is not ready by the deadline is dropped, and the caller gets
    /// [`DeadlineExceeded`](crate::RejectedKind::DeadlineExceeded), which quotes the call's own error where its text is known.
    pub fn future<Fut>(f: impl Fn(Error<E>) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = Result<T, Error<E>>> + Send + 'static,
    {
        Self { source: Source::Later(Arc::new(move |error| Box::pin(f(error)))), when: None }
    }

    /// Only for errors of which `condition` is true; the others reach the caller as they are. **Default**: all.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Error<E>) -> bool + Send + Sync + 'static) -> Self {
        self.when = Some(Arc::new(condition));
        self
    }
}

impl<T, E> Clone for Fallback<T, E> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), when: self.when.clone() }
    }
}

impl<T, E> fmt::Debug for Fallback<T, E> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = if matches!(self.source, Source::Now(_)) { "function" } else { "future" };
        f.debug_struct("Fallback").field("source", &source).field("conditional", &self.when.is_some()).finish()
    }
}

/// What a call without an answer gets instead.
pub(crate) enum Substituted<T, E, Later> {
    /// Nothing: this is still the error.
    Not(Error<E>),
    /// This, at once.
    Now(Result<T, Error<E>>),
    /// What this future resolves to; with the text of the error it was made of, for when it does not.
    Later(Later, Option<String>),
}

/// The one question a pipeline asks its fallbacks.
pub(crate) trait Substitute<T, E> {
    type Later: Future<Output = Result<T, Error<E>>>;
    fn substitute(self, error: Error<E>, judges: &Judges) -> Substituted<T, E, Self::Later>;
}

/// The async function of one call.
pub(crate) struct OrElse<F>(pub(crate) F);

impl<T, E: 'static, F, Fut> Substitute<T, E> for OrElse<F>
where
    F: FnOnce(Error<E>) -> Fut,
    Fut: Future<Output = Result<T, Error<E>>>,
{
    type Later = Fut;
    fn substitute(self, error: Error<E>, judges: &Judges) -> Substituted<T, E, Fut> {
        let text = error.inner().and_then(|error| judges.text(error));
        Substituted::Later((self.0)(error), text)
    }
}

impl<T: 'static, E: 'static> Substitute<T, E> for &Fallback<T, E> {
    type Later = Answer<T, E>;
    fn substitute(self, error: Error<E>, judges: &Judges) -> Substituted<T, E, Answer<T, E>> {
        if self.when.as_ref().is_some_and(|when| !when(&error)) {
            return Substituted::Not(error);
        }
        match &self.source {
            Source::Now(f) => Substituted::Now(f(error)),
            Source::Later(f) => {
                let text = error.inner().and_then(|error| judges.text(error));
                Substituted::Later(f(error), text)
            }
        }
    }
}

impl<T, E, S: Substitute<T, E>> Substitute<T, E> for Option<S> {
    type Later = S::Later;
    fn substitute(self, error: Error<E>, judges: &Judges) -> Substituted<T, E, S::Later> {
        match self {
            Some(substitute) => substitute.substitute(error, judges),
            None => Substituted::Not(error),
        }
    }
}

/// No fallback.
#[cfg(feature = "cache")]
pub(crate) struct Nothing;

#[cfg(feature = "cache")]
impl<T, E> Substitute<T, E> for Nothing {
    type Later = std::future::Ready<Result<T, Error<E>>>;
    fn substitute(self, error: Error<E>, _: &Judges) -> Substituted<T, E, Self::Later> {
        Substituted::Not(error)
    }
}
