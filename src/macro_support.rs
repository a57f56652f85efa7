//! What the output of `#[resilient]` calls. Public so that it can, hidden because nobody else should: it changes with the macro.
//!
//! Two things happen here rather than in the output: what would be written out at every call site, and what the compiler says when an
//! argument, an error type, a key or a pipeline is not of the kind that is needed. Those messages sit on helper traits, each implemented
//! for everything that will do, with `do_not_recommend`, or the compiler would speak of `Clone` and `From` without saying why.

use crate::admission::AdaptiveLimitConfig;
use crate::classify::Judge;
use crate::outcome::{Error, Origin, Rejected, RejectedKind, Verdict};
use crate::pipeline::{PipelineBuilder, Registry, Request};
use crate::sync::{Mutex, lock};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::time::Duration;

#[cfg(feature = "cache")]
#[path = "macro_cache.rs"]
pub mod cache;

pub use crate::pipeline::Pipeline;
pub use std::boxed::Box;

/// The pipeline of one function, made at its first call.
#[derive(Debug)]
pub struct Site {
    name: &'static str,
    pipeline: OnceLock<Result<Pipeline, Rejected>>,
}

impl Site {
    /// Not made yet.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, pipeline: OnceLock::new() }
    }

    /// The pipeline.
    ///
    /// # Errors
    /// What it was made of cannot work: every call is rejected, and says why.
    pub fn pipeline<E>(&'static self, build: fn(&'static str) -> PipelineBuilder) -> Result<&'static Pipeline, Error<E>> {
        match self.pipeline.get_or_init(|| self.build(build)) {
            Ok(pipeline) => Ok(pipeline),
            Err(rejected) => Err(Error::Rejected(rejected.clone())),
        }
    }

    #[cold]
    fn build(&self, build: fn(&'static str) -> PipelineBuilder) -> Result<Pipeline, Rejected> {
        build(self.name).build().map_err(|error| {
            tracing::error!(name: "steadfast.pipeline_invalid", target: "steadfast", pipeline = self.name, %error, "a pipeline made by #[resilient] cannot be built; every call of it is rejected");
            let origin = Origin::new(self.name.into());
            Rejected::new(RejectedKind::Custom("its pipeline cannot be built")).in_call(&origin, 0, Duration::ZERO, Some(error.to_string()))
        })
    }
}

/// The limit between these. Who names only the bounds has not chosen where to begin, so that gives way to them.
pub fn between(config: AdaptiveLimitConfig, least: usize, most: usize) -> AdaptiveLimitConfig {
    let initial = config.initial.min(most).max(least);
    config.min(least).max(most).initial(initial)
}

/// A place where a pipeline lives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a pipeline",
    label = "expected a `Pipeline`",
    note = "`pipeline = ...` takes a place of type `Pipeline`: a `static` (or a `LazyLock` of one), a field such as `self.pipeline`, or a \
            function that returns one"
)]
pub trait AsPipeline {
    /// The pipeline.
    fn as_pipeline(&self) -> &Pipeline;
}

impl AsPipeline for Pipeline {
    fn as_pipeline(&self) -> &Pipeline {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<D: Deref<Target: AsPipeline>> AsPipeline for D {
    fn as_pipeline(&self) -> &Pipeline {
        self.deref().as_pipeline()
    }
}

/// The pipeline that lives at `place`.
pub fn pipeline<P: AsPipeline + ?Sized>(place: &P) -> &Pipeline {
    place.as_pipeline()
}

/// A place where a registry lives.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a registry",
    label = "expected a `Registry`",
    note = "`pipeline = \"name\"` looks in the `REGISTRY` that is in scope, or in `registry = ...`: a place of type `Registry`, such as a `static` \
            (or a `LazyLock` of one), or a field such as `self.registry`"
)]
pub trait AsRegistry {
    /// The registry.
    fn as_registry(&self) -> &Registry;
}

impl AsRegistry for Registry {
    fn as_registry(&self) -> &Registry {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<D: Deref<Target: AsRegistry>> AsRegistry for D {
    fn as_registry(&self) -> &Registry {
        self.deref().as_registry()
    }
}

/// The `REGISTRY` of the scope. Its name is what the compiler shows where there is none.
#[doc(hidden)]
#[macro_export]
macro_rules! a_pipeline_by_name_needs_a_static_REGISTRY_in_scope_or_registry_equals_EXPR {
    () => {
        REGISTRY
    };
}

/// The pipeline of this name.
///
/// # Errors
/// There is none. The rejection says which there are.
pub fn find<R: AsRegistry + ?Sized>(place: &R, name: &'static str) -> Result<Pipeline, Rejected> {
    let registry = place.as_registry();
    registry.get(name).ok_or_else(|| unknown(registry, name))
}

#[cold]
#[inline]
fn unknown(registry: &Registry, name: &'static str) -> Rejected {
    let names = registry.names();
    let known = match names.as_slice() {
        [] => "the registry is empty".to_owned(),
        names => format!("the registry has `{}`", names.join("`, `")),
    };
    Rejected::new(RejectedKind::UnknownPipeline).in_call(&Origin::new(name.into()), 0, Duration::ZERO, Some(known))
}

/// A call that never began.
///
/// # Errors
/// Always: the rejection.
#[cold]
pub fn rejected<T, E>(rejected: &Rejected) -> Result<T, Error<E>> {
    Err(Error::Rejected(rejected.clone()))
}

/// An owned argument, of which each attempt gets a copy. Here the compiler may recommend: it recommends to derive or demand `Clone`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` must be `Clone`, because `#[resilient]` runs the function body once per attempt",
    label = "this argument is given to each attempt anew",
    note = "take it by reference (`&{Self}`), wrap it in `Arc`, derive `Clone` for it, or list it in `share(...)`"
)]
pub trait CloneForEachAttempt: Sized {
    /// A copy.
    fn clone_for_attempt(&self) -> Self;
}

impl<T: Clone> CloneForEachAttempt for T {
    fn clone_for_attempt(&self) -> Self {
        self.clone()
    }
}

/// A copy of an argument for one attempt.
pub fn clone_arg<T: CloneForEachAttempt>(argument: &T) -> T {
    argument.clone_for_attempt()
}

/// An error type that a rejection can be turned into.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold a rejection from a resilience policy",
    label = "this error type has no place for a rejection",
    note = "add a variant for it: `#[error(transparent)] Rejected(#[from] steadfast::Rejected)` with thiserror, or any `impl \
            From<steadfast::Rejected> for {Self}`",
    note = "or turn it into one by hand: `map_err = |error| match error {{ Error::Inner(error) => error, Error::Rejected(rejected) => .. }}`; \
            `anyhow::Error` and `Box<dyn Error + Send + Sync>` work as they are"
)]
pub trait HoldsRejection: Sized {
    /// The rejection, as an error of this type.
    fn hold(rejected: Rejected) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<Rejected>> HoldsRejection for E {
    fn hold(rejected: Rejected) -> Self {
        rejected.into()
    }
}

/// The function's error, of the call's.
pub fn flatten<E: HoldsRejection>(error: Error<E>) -> E {
    match error {
        Error::Inner(error) => error,
        Error::Rejected(rejected) => E::hold(rejected),
    }
}

/// The function's error, of the call's, where the body has another (`err = ..`).
pub fn convert<E, F: From<Error<E>>>(error: Error<E>) -> F {
    error.into()
}

/// What a key is made of.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, because it does not implement `Display`",
    label = "expected something to be shown as text",
    note = "say how it reads: `key = \"{{tenant}}/{{id}}\"`, `key = value.id`, or implement `Display` for it"
)]
pub trait AsKey {
    /// Its text.
    ///
    /// # Errors
    /// Whatever its `Display` fails with.
    fn write_key(&self, key: &mut Key) -> fmt::Result;
}

#[diagnostic::do_not_recommend]
impl<T: fmt::Display + ?Sized> AsKey for T {
    fn write_key(&self, key: &mut Key) -> fmt::Result {
        fmt::Write::write_fmt(key, format_args!("{self}"))
    }
}

/// The text of a key: most fit in here, and need no allocation.
#[derive(Clone)]
pub struct Key {
    near: [u8; Self::NEAR],
    len: usize,
    far: Option<String>,
}

impl Key {
    const NEAR: usize = 48;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only whole strings are put in, so this is never anything but valid.
        self.far.as_deref().unwrap_or_else(|| std::str::from_utf8(&self.near[..self.len]).unwrap_or_default())
    }
}

impl fmt::Write for Key {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.saturating_add(text.len());
        match (&mut self.far, self.near.get_mut(self.len..end)) {
            (Some(far), _) => far.push_str(text),
            (None, Some(room)) => {
                room.copy_from_slice(text.as_bytes());
                self.len = end;
            }
            (None, None) => self.far = Some([self.as_str(), text].concat()),
        }
        Ok(())
    }
}

impl fmt::Debug for Key {
    // Keys are tenants and users: they do not belong in a log.
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

/// The key of one call.
pub fn key<K: AsKey + ?Sized>(value: &K) -> Key {
    let mut key = Key { near: [0; Key::NEAR], len: 0, far: None };
    // A `Display` that fails leaves what it had written: a key all the same.
    let _ = value.write_key(&mut key);
    key
}

/// What only one attempt will ask for.
#[derive(Debug)]
pub struct Once<F>(Mutex<Option<F>>);

impl<F> Once<F> {
    /// Not asked for yet.
    pub fn new(value: F) -> Self {
        Self(Mutex::new(Some(value)))
    }

    /// The value.
    ///
    /// # Panics
    /// At the second time, which pipelines without retries cannot bring about.
    pub fn take(&self) -> F {
        lock(&self.0).take().expect("a pipeline that does not retry makes one attempt")
    }
}

/// A mutable reference that attempts borrow one after another.
#[derive(Debug)]
pub struct Lend<R>(Mutex<Option<R>>);

impl<R> Lend<R> {
    /// Not lent yet.
    pub fn new(reference: R) -> Self {
        Self(Mutex::new(Some(reference)))
    }

    /// The reference, until what is returned is dropped.
    ///
    /// # Panics
    /// When another attempt still has it, which cannot be: one is dropped before the next begins.
    pub fn take(&self) -> Lent<'_, R> {
        let reference = lock(&self.0).take();
        assert!(reference.is_some(), "attempts run one after another");
        Lent { lend: self, reference }
    }
}

/// A mutable reference, lent to one attempt.
#[derive(Debug)]
pub struct Lent<'a, R> {
    lend: &'a Lend<R>,
    /// Always there, until it goes back.
    reference: Option<R>,
}

impl<R> Drop for Lent<'_, R> {
    fn drop(&mut self) {
        *lock(&self.lend.0) = self.reference.take();
    }
}

impl<R: DerefMut> Lent<'_, R> {
    /// What the reference refers to.
    ///
    /// # Panics
    /// Never: the reference goes back only when this is dropped.
    pub fn borrow(&mut self) -> &mut R::Target {
        self.reference.as_mut().expect("goes back on drop")
    }
}

/// Makes the future of one attempt, telling the compiler beforehand what it resolves to.
pub fn made<T, Fut: Future<Output = T>>(make: impl FnOnce() -> Fut) -> Fut {
    make()
}

/// A call without options yet.
pub const fn request(pipeline: &Pipeline) -> Request<'_> {
    pipeline.cost(1)
}

/// A call without options yet, whose attempts must not overlap.
pub const fn request_in_turn(pipeline: &Pipeline) -> Request<'_> {
    request(pipeline).in_turn()
}

/// What `when = ..` says, as a verdict.
pub fn when<E>(worth_a_retry: impl FnOnce(&E) -> bool, error: &E) -> Verdict {
    if worth_a_retry(error) { Verdict::transient() } else { Verdict::permanent() }
}

/// A closure over the error, as one over the result.
fn by_error<T, E>(judge: impl Fn(&E) -> Verdict) -> impl Fn(&Result<T, E>) -> Verdict {
    move |result| match result {
        Ok(_) => Verdict::Success,
        Err(error) => judge(error),
    }
}

/// The call.
pub fn call<J, T, E, F, Fut>(request: Request<'_, J>, operation: F) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    J: Judge<T, E>,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    request.call(operation)
}

/// The call, with a judge of its own.
pub fn call_judged<T, E, F, Fut>(
    request: Request<'_>,
    operation: F,
    judge: impl Fn(&E) -> Verdict,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    request.classify(by_error(judge)).call(operation)
}

/// The call, with a fallback. The fallback's error is of the function's type, so it goes around the pipeline, in `answer`.
pub fn plain_or_else<T, E, A, F, Fut, G, Later>(
    pipeline: &Pipeline,
    operation: F,
    answer: &mut Option<A>,
    fallback: G,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    G: FnOnce(Error<E>) -> Later,
    Later: Future<Output = Result<T, A>>,
{
    pipeline.call_or_else(operation, move |error| set_aside(fallback(error), answer))
}

async fn set_aside<T, E, A>(later: impl Future<Output = Result<T, A>>, answer: &mut Option<A>) -> Result<T, Error<E>> {
    later.await.map_err(|error| {
        *answer = Some(error);
        Error::Rejected(Rejected::new(RejectedKind::Custom("the fallback failed")))
    })
}

/// The call, with options and a fallback.
pub fn call_or_else<J, T, E, A, F, Fut, G, Later>(
    request: Request<'_, J>,
    operation: F,
    answer: &mut Option<A>,
    fallback: G,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    J: Judge<T, E>,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    G: FnOnce(Error<E>) -> Later,
    Later: Future<Output = Result<T, A>>,
{
    request.call_or_else(operation, move |error| set_aside(fallback(error), answer))
}

/// The call, with a judge of its own and a fallback.
pub fn call_judged_or_else<T, E, A, F, Fut, G, Later>(
    request: Request<'_>,
    operation: F,
    judge: impl Fn(&E) -> Verdict,
    answer: &mut Option<A>,
    fallback: G,
) -> impl Future<Output = Result<T, Error<E>>>
where
    E: 'static,
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    G: FnOnce(Error<E>) -> Later,
    Later: Future<Output = Result<T, A>>,
{
    call_or_else(request.classify(by_error(judge)), operation, answer, fallback)
}

/// The function's result, of the call's.
pub fn finish<T, E, A>(result: Result<T, Error<E>>, map: impl FnOnce(Error<E>) -> A) -> Result<T, A> {
    result.map_err(map)
}

/// The function's result, where the fallback may have failed with an error of its own.
pub fn finish_or<T, E, A>(result: Result<T, Error<E>>, answer: Option<A>, map: impl FnOnce(Error<E>) -> A) -> Result<T, A> {
    result.map_err(|error| answer.unwrap_or_else(|| map(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::AdaptiveLimit;

    #[test]
    fn keys_are_kept_whole_whatever_their_length() {
        assert_eq!(key(&7_u64).as_str(), "7");
        assert_eq!(key("").as_str(), "");
        let long = "ä".repeat(Key::NEAR);
        assert_eq!(key(&format_args!("{long}/{}", 5)).as_str(), format!("{long}/5"));
        let just = "x".repeat(Key::NEAR);
        assert_eq!(key(&just).as_str(), just);
        assert_eq!(key(&format_args!("{just}{}", "y")).as_str(), format!("{just}y"));
    }

    #[test]
    fn an_adaptive_limit_begins_between_its_bounds() {
        let start = |least, most| between(AdaptiveLimit::new(), least, most).initial;
        assert_eq!([start(5, 200), start(50, 200), start(1, 9), start(9, 1)], [20, 50, 9, 9]);
        assert!(between(AdaptiveLimit::aimd(), 50, 200).build().is_ok());
        assert!(between(AdaptiveLimit::new(), 9, 1).build().is_err(), "for the bounds, not for the start");
    }

    #[test]
    fn h86_keys_are_not_shown() {
        assert!(!format!("{:?}", key("canary")).contains("canary"));
    }
}
