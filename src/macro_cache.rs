//! What the output of `#[resilient(cache(..))]` calls: the answers of one function.

use super::{Pipeline, by_error, set_aside};
use crate::classify::Judge;
use crate::outcome::{Error, Origin, Rejected, RejectedKind, Verdict};
use crate::pipeline::{Caches, Caller, Request};
use crate::substitution::{Cache, CacheConfig};
use std::any::type_name;
use std::fmt;
use std::time::Duration;

/// What a cache can keep for all callers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a cache",
    label = "an answer that is given to many must be `Clone + Send + Sync + 'static`",
    note = "derive `Clone`, return an `Arc`, or return what is owned instead of what is borrowed; or leave `cache` or `cached` out"
)]
pub trait Keep: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + Sync + 'static> Keep for T {}

/// Where answers are kept.
pub trait Keeps<T> {
    /// The cache for calls of `pipeline` whose operation is of the type of this name; or why there is none.
    ///
    /// # Errors
    /// When it cannot be built, or nobody says how.
    fn cache<'a>(&'a self, pipeline: &'a Pipeline, instance: &'static str) -> Result<&'a Cache<String, T>, Rejected>;
}

impl<T: Keep> Keeps<T> for &'static Kept {
    #[inline]
    fn cache<'a>(&'a self, _: &'a Pipeline, instance: &'static str) -> Result<&'a Cache<String, T>, Rejected> {
        self.live(instance)
    }
}

impl<T: Keep> Keeps<T> for &'static KeptByPipeline {
    #[inline]
    fn cache<'a>(&'a self, pipeline: &'a Pipeline, instance: &'static str) -> Result<&'a Cache<String, T>, Rejected> {
        pipeline.kept(&Caller { site: std::ptr::from_ref::<KeptByPipeline>(self).addr(), instance, name: self.name })
    }
}

impl<T> Keeps<T> for &Cache<String, T> {
    #[inline]
    fn cache<'a>(&'a self, _: &'a Pipeline, _: &'static str) -> Result<&'a Cache<String, T>, Rejected> {
        Ok(self)
    }
}

/// A function whose answers its pipeline keeps. It has an address, and that is what it is for.
#[derive(Debug)]
pub struct KeptByPipeline {
    name: &'static str,
}

impl KeptByPipeline {
    /// A function of this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }
}

/// A place where a cache lives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a cache for answers by a text",
    label = "expected a `Cache<String, _>`",
    note = "`cached = ...` takes a place of type `Cache<String, T>`, for answers of type `T`: a `static` `LazyLock` of one, or a field such as `self.quotes`"
)]
pub trait AsCache {
    /// Of its answers.
    type Value;
    /// The cache.
    fn as_cache(&self) -> &Cache<String, Self::Value>;
}

impl<T> AsCache for Cache<String, T> {
    type Value = T;
    fn as_cache(&self) -> &Self {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<D: std::ops::Deref<Target: AsCache>> AsCache for D {
    type Value = <D::Target as AsCache>::Value;
    fn as_cache(&self) -> &Cache<String, Self::Value> {
        self.deref().as_cache()
    }
}

/// A handle of the cache that lives at `place`.
pub fn place<C: AsCache + ?Sized>(place: &C) -> Cache<String, C::Value> {
    place.as_cache().clone()
}

/// The settings that were said.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long an answer is fresh.
    pub ttl: Duration,
    /// How long it is given after that, when a call fails.
    pub stale_if_error: Duration,
    /// How many there are.
    pub capacity: usize,
}

/// The answers of one function; of a generic one, for each of its instances and each type of answer a cache of its own.
pub struct Kept {
    name: &'static str,
    settings: fn() -> Settings,
    caches: Caches,
}

impl fmt::Debug for Kept {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("name", &self.name).finish_non_exhaustive()
    }
}

const UNBUILT: RejectedKind = RejectedKind::Custom("its cache cannot be built");

/// A cache, or why there is none.
type Built<T> = Result<Cache<String, T>, Rejected>;

impl Kept {
    /// None yet.
    #[must_use]
    pub const fn new(name: &'static str, settings: fn() -> Settings) -> Self {
        Self { name, settings, caches: Caches::new() }
    }

    #[inline]
    fn live<T: Keep>(&self, instance: &'static str) -> Result<&Cache<String, T>, Rejected> {
        let caller = Caller { site: 0, instance, name: self.name };
        match self.caches.get::<Built<T>>(&caller).or_else(|| self.caches.add(caller, self.build(), |_, _| {})) {
            Some(built) => built.as_ref().map_err(Rejected::clone),
            None => Err(Rejected::new(UNBUILT)),
        }
    }

    #[cold]
    fn build<T: Keep>(&self) -> Built<T> {
        let Settings { ttl, stale_if_error, capacity } = (self.settings)();
        let config: CacheConfig<String, T> = Cache::new(capacity).name(self.name).ttl(ttl).stale_if_error(stale_if_error);
        config.build().map_err(|error| {
            tracing::error!(name: "steadfast.cache_invalid", target: "steadfast", pipeline = self.name, %error, "a cache made by #[resilient] cannot be built; every call of it is rejected");
            let origin = Origin::new(self.name.into());
            Rejected::new(UNBUILT).in_call(&origin, 0, Duration::ZERO, Some(error.to_string()))
        })
    }
}

/// The call, unless its answer is known.
pub async fn call<P, J, T, E, F, Fut>(request: Request<'_, J>, kept: P, operation: F) -> Result<T, Error<E>>
where
    P: Keeps<T>,
    T: Keep,
    E: 'static,
    J: Judge<T, E>,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let cache = Keeps::<T>::cache(&kept, request.pipeline, type_name::<F>()).map_err(Error::Rejected)?;
    request.cached(cache).call(operation).await
}

/// The call, with a judge of its own.
pub fn call_judged<P, T, E, F, Fut>(
    request: Request<'_>,
    kept: P,
    operation: F,
    judge: impl Fn(&E) -> Verdict,
) -> impl Future<Output = Result<T, Error<E>>>
where
    P: Keeps<T>,
    T: Keep,
    E: 'static,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    call(request.classify(by_error(judge)), kept, operation)
}

/// The call, with a fallback where there is no last good answer.
pub async fn call_or_else<P, J, T, E, A, F, Fut, G, Later>(
    request: Request<'_, J>,
    kept: P,
    operation: F,
    answer: &mut Option<A>,
    fallback: G,
) -> Result<T, Error<E>>
where
    P: Keeps<T>,
    T: Keep,
    E: 'static,
    J: Judge<T, E>,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    G: FnOnce(Error<E>) -> Later,
    Later: Future<Output = Result<T, A>>,
{
    let cache = Keeps::<T>::cache(&kept, request.pipeline, type_name::<F>()).map_err(Error::Rejected)?;
    let instead = crate::substitution::OrElse(move |error| set_aside(fallback(error), answer));
    request.cached(cache).call_or(operation, instead).await
}

/// The call, with a judge of its own and a fallback.
pub fn call_judged_or_else<P, T, E, A, F, Fut, G, Later>(
    request: Request<'_>,
    kept: P,
    operation: F,
    judge: impl Fn(&E) -> Verdict,
    answer: &mut Option<A>,
    fallback: G,
) -> impl Future<Output = Result<T, Error<E>>>
where
    P: Keeps<T>,
    T: Keep,
    E: 'static,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    G: FnOnce(Error<E>) -> Later,
    Later: Future<Output = Result<T, A>>,
{
    call_or_else(request.classify(by_error(judge)), kept, operation, answer, fallback)
}
