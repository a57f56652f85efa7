//! The attribute `#[resilient]` of `steadfast`. Use it through that crate, which re-exports it and which its output refers to.

mod check;
mod expand;
mod function;
mod options;
mod pipeline;
mod policies;
mod returns;
mod rewrite;
mod suggest;
mod value;

use function::Function;
use options::Options;
use proc_macro2::TokenStream;
use syn::{Error, Result};

/// Makes an `async fn` resilient: its body becomes the operation of a pipeline, and the function keeps its signature and its error type.
///
/// ```
/// use std::time::Duration;
/// use steadfast::{Rejected, resilient};
///
/// #[derive(Debug)]
/// enum ApiError {
///     Status(u16),
///     Rejected(Rejected),
/// }
///
/// impl From<Rejected> for ApiError { // with thiserror: `#[error(transparent)] Rejected(#[from] Rejected)`
///     fn from(rejected: Rejected) -> Self {
///         Self::Rejected(rejected)
///     }
/// }
///
/// #[resilient(
///     retry(3, exponential(100ms..5s), when = worth_a_retry),
///     circuit_breaker(50%, window = 10s),
///     attempt_timeout = 2s,
///     total_timeout = 10s,
/// )]
/// async fn quote(symbol: &str) -> Result<u64, ApiError> {
///     if symbol.is_empty() { Err(ApiError::Status(404)) } else { Ok(42) }
/// }
///
/// fn worth_a_retry(error: &ApiError) -> bool {
///     matches!(error, ApiError::Status(500..))
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// assert_eq!(quote("ACME").await.unwrap(), 42);
/// # }
/// ```
///
/// All that is asked of the error type is `From<Rejected>`: `anyhow::Error` and `Box<dyn Error + Send + Sync>` have it. For a foreign error type
/// use `map_err = ..`, or `err = ..` to let the caller see a `steadfast::Error`.
///
/// The attribute goes on an `async fn`, free or in an `impl` or `trait`, and on functions that return `impl Future`, `Pin<Box<dyn Future>>` or a
/// `BoxFuture` (so also below `#[async_trait]`). Attributes above it wrap the call, attributes below it wrap each attempt:
/// `#[tracing::instrument]` below `#[resilient]` opens one span a call, above it one span an attempt, because the first one is expanded first and
/// the second ends up around it.
///
/// # Policies
///
/// Either policies of the function's own, or `pipeline = ..`. The pipeline of a function is made at its first call and serves all its calls;
/// a generic function has one for all types it is used with. It has no monitor, except that of a preset.
///
/// | item | means |
/// |---|---|
/// | `retry(3)` | three *retries*, so at most four attempts; full jitter, from 100 ms doubling to 30 s, within a budget of 10 % of the calls |
/// | `retry(3, exponential(100ms..5s), factor = 3)` | the delays: the first, the longest, the growth; also `linear(100ms..5s)` and `fixed(1s)` |
/// | `retry(.., jitter = full)` | or `equal`, or `none` |
/// | `retry(.., when = is_transient)` | which errors are worth a retry: a function or closure of `&E` to `bool` |
/// | `retry(.., budget = 20%)` | how many retries all calls together may make, as a share of the calls |
/// | `attempt_timeout = 2s` | how long one attempt may take |
/// | `total_timeout = 10s` | how long the call may take, retries, pauses and queues and all |
/// | `timeout = 2s` | short for `total_timeout`, where there is only one attempt |
/// | `circuit_breaker(50%, window = 10s, min_calls = 20, open_for = 30s)` | opens when that share of the calls fails; `slow = 2s`: as many slow ones open it too |
/// | `circuit_breaker(consecutive = 5, open_for = 30s)` | opens after so many failures in a row (`slow = 2s`: when half of the calls are slow) |
/// | `rate_limit(100/s, burst = 20, wait = 250ms)` | `/s`, `/min` or `/h` |
/// | `bulkhead(50, queue = 100, wait = 1s)` | so many at once, and so many waiting for so long |
/// | `cache(ttl = 1m)` | answers are kept by the `key`, beside a `pipeline = ..` too; also `stale_if_error = 1h` (the last good one, when a call fails), `capacity = 10_000` (1,000) |
/// | `adaptive(5..200)` | so many at once as the dependency bears, between these; also `adaptive(5..200, gradient)` and `aimd` |
/// | `hedge(after = 50ms, max = 2)` | a second attempt (and a third) beside a slow one; `after = p95`: when it lasts longer than 95 of 100 |
/// | `preset = http` | or `database`, `background`, `interactive`; the other items replace its parts |
///
/// Durations are written `250ms`, `1.5s`, `2m`, `1h`, `"2s"`, or as an expression of type `Duration`; numbers, as literals or expressions.
/// Expressions may speak of constants, `Self::LIMIT` among them, but not of the arguments: the pipeline is made once. What can be checked is
/// checked by the compiler; if a constant turns out not to work at run time, every call fails with a `Rejected` that says so (no fallback hides
/// it), and an error is logged once.
///
/// # Options of a call
///
/// | item | means |
/// |---|---|
/// | `pipeline = PAYMENTS` | a pipeline that lives elsewhere: a `static`, a `LazyLock`, `self.pipeline`, a function call |
/// | `pipeline = "payments"` | the pipeline of this name in the `REGISTRY` that is in scope, such as a `static REGISTRY: LazyLock<Registry>` |
/// | `registry = self.registry` | looks for the name there instead: anything that `pipeline = ..` may be, but a `Registry` |
/// | `cached` | beside a `pipeline = ..` or `"name"`: answers are kept by the `key`, as that pipeline says (`.caching(Caching::new(10_000).ttl(..))`, or `[pipelines.payments.cache]` in its file) |
/// | `cached = QUOTES` | answers are kept by the `key` in a `Cache<String, T>` that lives elsewhere: a `static`, a `LazyLock`, `self.quotes` |
/// | `name = "github"` | the pipeline's name in errors and statistics; without it `module::path::function` |
/// | `key = tenant`, `key = "{tenant}/{id}"` | on whose behalf: anything with `Display`, or a format string |
/// | `priority = High` | an expression; `Critical`, `High`, `Normal`, `Low` and `Background` are in scope |
/// | `classify = verdict` | a function or closure of `&E` to `Verdict`; it says more than `when`, such as when to come back |
/// | `fallback = Self::plan_b` | an async function that gets the same arguments, and the `steadfast::Error<E>` last |
/// | `fallback = \|error\| async { Ok(0) }` | the same as a closure, of the error alone |
/// | `map_err = \|error\| ..` | makes the function's error of the `steadfast::Error<E>` |
/// | `err = io::Error` | the body fails with this; the function's error is `From<steadfast::Error<io::Error>>` |
/// | `share(body)` | lends these owned arguments to the body, which sees `&T`, instead of giving it a clone |
/// | `crate = path` | where `steadfast` is, for crates that re-export it |
///
/// # Arguments
///
/// Where the body can run more than once (`retry`, `hedge`, a preset, `pipeline = ..`, or a fallback that gets the arguments), it has its arguments anew
/// each time: shared references are copied, owned values cloned, and mutable references (`&mut self` too) lent to one attempt after another, so
/// the result must not borrow from those. Where the body runs once, arguments are simply moved into it.
///
/// To write `hedge` on a function is to say that it may happen twice, even at the same time: each attempt has its clones, and a function with
/// mutable references cannot be hedged (nor is it where its `pipeline = ..` hedges).
///
/// A pipeline by name is looked up in each call (a lock and a map), so it follows every reload of the registry. A name that is not there is a
/// `Rejected` of the kind `UnknownPipeline`, which tells the names there are; no fallback hides it.
///
/// With `cache(..)` the function has a cache of its own, by its `key`, for all instances of a type and all callers: make everything part of the key that the
/// answer depends on. Its answers must be `Clone + Send + Sync + 'static`. A generic function has a cache for each of its instances (as their types are named: two
/// versions of a crate may have types of one name). Feature `cache`.
///
/// With `cached` alone the *pipeline* says how answers are kept: capacity, ttl, what happens to old ones (`steadfast::Caching`), from code or from a file, and a reload
/// changes it while calls run. The function still has a cache of its own, in each pipeline that it is called with: two functions never see each other's
/// answers, and what is kept goes when the pipeline goes. If the pipeline does not say how, every call is a `Rejected` that names the cure; it is never made as if nothing
/// had been said of a cache.
///
/// With `cached = QUOTES` the cache is yours: with whatever settings, to look into it, to invalidate what is in it, for several functions with the same answers.
///
/// Not taken: synchronous and `const` functions, functions that do not return a `Result`.
#[proc_macro_attribute]
pub fn resilient(options: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let item = TokenStream::from(item);
    let output = attribute(options.into(), item.clone()).unwrap_or_else(|error| {
        // The item itself stays, so that tools go on knowing it, and nobody complains that it is missing.
        let mut output = error.to_compile_error();
        output.extend(item);
        output
    });
    output.into()
}

fn attribute(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let (options, function) = match (Options::parse(options), Function::parse(item)) {
        (Ok(options), Ok(function)) => (options, function),
        (options, function) => return Err(both(options.err(), function.err())),
    };
    check::check(&options, &function)?;
    Ok(expand::expand(&options, &function))
}

fn both(first: Option<Error>, second: Option<Error>) -> Error {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.combine(second);
            first
        }
        (Some(error), None) | (None, Some(error)) => error,
        (None, None) => Error::new(proc_macro2::Span::call_site(), "unknown mistake"),
    }
}
