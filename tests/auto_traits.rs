//! What every public type may be: checked by the compiler, so nothing here runs but the last test.
#![allow(clippy::future_not_send, reason = "some are meant not to be")]

use static_assertions::{assert_impl_all, assert_not_impl_any};
use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::time::Duration;
use steadfast::classify::{ByErrorType, ByResult, Judges};
use steadfast::*;

macro_rules! plain {
    ($($type:ty),* $(,)?) => {$(assert_impl_all!($type: Send, Sync, Unpin, Clone, Debug);)*};
}

// Values and handles: kept anywhere, shared by anybody.
plain!(
    Attempt, Call<'static>, Priority, Verdict, Outcome, RejectedKind, Rejected, Error<String>, ConfigError, Fault,
    CircuitBreaker, CircuitBreakerConfig, CircuitState, CircuitSnapshot, OpenFacts, Transition, TransitionCause,
    Throttle, ThrottleConfig, ThrottleSnapshot, CoDel,
    AdaptiveLimit, AdaptiveLimitConfig, LimitSnapshot,
    PerKey, PerKeyConfig, PerKeyStats, KeySnapshot, KeyCounts, RejectedKey,
    Coalesce<u32, String>, CoalesceConfig, CoalesceStats,
    Bulkhead, BulkheadConfig, RateLimiter, RateLimiterConfig,
    Retry, RetryConfig, RetryState, RetryStats, Hedge, HedgeConfig, HedgeStats, StopReason, Backoff, Jitter, Budget, BudgetConfig, BudgetSource,
    Monitor, Report, Snapshot, Stats, Latency, Window, CallEnd, Event, Severity, PercentileError,
    Pipeline, Request<'static>, Nested<'static>, Explanation, Warning, PipelineStats, Gauge,
    Fallback<u32, String>, TypedPipeline<u32, String>, PolicyOf<RetryConfig, Retry>, ByErrorType, ByResult<fn()>, Judges,
);
#[cfg(feature = "cache")]
plain!(Caching);
// Settings, guards and streams: owned by one, moved freely.
assert_impl_all!(PipelineBuilder: Send, Sync, Unpin, Debug);
assert_impl_all!(TypedBuilder<u32, String>: Send, Sync, Unpin, Debug);
assert_impl_all!(CircuitPermit<'static>: Send, Sync, Unpin, Debug);
assert_impl_all!(ThrottlePermit<'static>: Send, Sync, Unpin, Debug);
assert_impl_all!(BulkheadPermit<'static>: Send, Sync, Unpin, Debug);
assert_impl_all!(AdaptivePermit<'static>: Send, Sync, Unpin, Debug);
assert_impl_all!(KeyPermit<'static>: Send, Sync, Unpin, Debug);
assert_impl_all!(LimitChanges: Send, Sync, Unpin, Debug);
assert_impl_all!(Coalesced<'static, u32, String, ByErrorType>: Send, Sync, Unpin, Debug);
assert_impl_all!(OwnedBulkheadPermit: Send, Sync, Unpin, Debug);
assert_impl_all!(Reservation<'static>: Send, Sync, Unpin, Debug);
assert_impl_all!(Delays: Send, Sync, Unpin, Debug);
assert_impl_all!(Timer: Send, Sync, Unpin, Debug);
assert_impl_all!(Events: Send, Sync, Unpin, Debug);
assert_impl_all!(Transitions: Send, Sync, Unpin, Debug);
assert_impl_all!(Track<std::future::Ready<Result<(), ()>>>: Send, Sync, Unpin, Debug);
// Errors fit into `anyhow` and `Box<dyn Error + Send + Sync>`.
assert_impl_all!(Rejected: std::error::Error, Display);
assert_impl_all!(Error<std::io::Error>: std::error::Error, Display);
assert_impl_all!(ConfigError: std::error::Error, Display);
assert_impl_all!(PercentileError: std::error::Error, Display);
// What the values are not, their wrappers do not pretend to be; but pipelines hold no value, so they stay shareable.
type Local = Rc<()>;
assert_not_impl_any!(Error<Local>: Send, Sync);
// A typed pipeline may hold a cache, and that holds values.
#[cfg(not(feature = "cache"))]
assert_impl_all!(TypedPipeline<Local, Local>: Send, Sync);
assert_impl_all!(Fallback<Local, Local>: Send, Sync);
// Gates and observers are objects.
fn _gate(_: &dyn Gate, _: Box<dyn Pass>, _: &dyn Observer) {}

// ------------------------------------------------------------------ the futures of every entry point

fn send<T: Send>(value: T) -> T {
    value
}

/// Whether a future is `Send`, as a value: the inherent method is there only for those that are.
struct Probe<T>(std::marker::PhantomData<T>);
trait IsNot {
    fn is_send(&self) -> bool {
        false
    }
}
impl<T> IsNot for Probe<T> {}
impl<T: Send> Probe<T> {
    fn is_send(&self) -> bool {
        true
    }
}
fn probe<T>(_: &T) -> Probe<T> {
    Probe(std::marker::PhantomData)
}
macro_rules! is_send {
    ($future:expr) => {
        probe(&$future).is_send()
    };
}

/// Neither `Sync`, nor `Debug`, nor `Display`, nor `Clone`.
struct Opaque(#[allow(dead_code, reason = "makes it `!Sync`")] std::cell::Cell<u32>);

async fn sendable(_: Attempt) -> Result<Opaque, Opaque> {
    tokio::task::yield_now().await;
    Ok(Opaque(Default::default()))
}

async fn local(_: Attempt) -> Result<Opaque, Opaque> {
    let held = Rc::new(());
    tokio::task::yield_now().await;
    drop(held);
    Ok(Opaque(Default::default()))
}

async fn local_error(_: Attempt) -> Result<u32, Rc<()>> {
    Ok(1)
}

async fn local_value(_: Attempt) -> Result<Rc<()>, String> {
    Ok(Rc::new(()))
}

macro_rules! entries {
    ($operation:ident, $value:ty, $error:ty) => {{
        let typed: TypedPipeline<$value, $error> = Pipeline::builder("typed").fallback(Fallback::function(Err)).build().expect("valid");
        let p = Pipeline::builder("p").build().expect("valid");
        let first = Pipeline::builder("q").build().expect("valid");
        let none = || $operation(*Call::now().attempt());
        let judge = |_: &Result<$value, $error>| Verdict::Success;
        let keep = async |error: Error<$error>| Err::<$value, _>(error);
        [
            is_send!(p.call(none)),
            is_send!(p.call_with($operation)),
            is_send!(p.call_or_else(none, keep)),
            is_send!(p.key("k").call(none)),
            is_send!(p.within(Duration::ZERO).call_with($operation)),
            is_send!(p.cost(1).call_or_else(none, keep)),
            is_send!(p.classify(judge).call(none)),
            is_send!(p.around(&first).call(none)),
            is_send!(typed.call(none)),
            is_send!(typed.call_with($operation)),
            is_send!(p.around(&first).once().classify(judge).call(none)),
            is_send!(typed.key("k").call(none)),
            is_send!(typed.classify(judge).call_with($operation)),
        ]
    }};
}

#[test]
fn h128_calls_are_send_exactly_when_operation_and_error_are() {
    // What may come from a cache is shared between threads: with that feature, the last two want a value that is `Sync`.
    let mut expected = [true; 13];
    expected[11..].fill(!cfg!(feature = "cache"));
    assert_eq!(entries!(sendable, Opaque, Opaque), expected);
    assert_eq!(entries!(local, Opaque, Opaque), [false; 13]);
    // A value is never kept; the last error is, in case that no later attempt is let through.
    assert_eq!(entries!(local_value, Rc<()>, String), expected);
    assert_eq!(entries!(local_error, u32, Rc<()>), [false; 13]);
    let p = Pipeline::builder("p").build().expect("valid");
    assert!(is_send!(p.call_or(|| sendable(*Call::now().attempt()), Opaque(Default::default()))));
    // Waiting alone.
    let (places, limiter) = (Bulkhead::new(1).build().expect("valid"), RateLimiter::per_second(1).build().expect("valid"));
    let call = Call::now();
    drop(send(places.acquire(&call)));
    drop(send(limiter.acquire(&call)));
    let (slots, keys) = (AdaptiveLimit::new().build().expect("valid"), PerKey::new(9).statistics(true).build().expect("valid"));
    drop(send(slots.acquire(&call)));
    drop(send(keys.acquire(&call)));
    // In a group, what is shared has to be `Sync`, too.
    let group = Coalesce::new().build::<u32, Error<String>>().expect("valid");
    assert!(is_send!(p.key("k").coalesced(&group).call(|| std::future::ready(Ok(1)))));
    let local_group = Coalesce::new().build::<Rc<()>, Error<String>>().expect("valid");
    assert!(!is_send!(p.key("k").coalesced(&local_group).call(|| std::future::ready(Ok(Rc::new(()))))));
    drop(send(p.events().next()));
    assert!(is_send!(Monitor::new().track("t", sendable(*call.attempt()))));
    assert!(!is_send!(Monitor::new().track("t", local(*call.attempt()))));
}

#[cfg(feature = "store")]
mod stores {
    use super::*;
    use steadfast::store::backplane::HeardFuture;
    use steadfast::store::*;

    plain!(
        Key,
        KeyPolicy,
        Glob,
        Cursor,
        KeysPage,
        Entry,
        Metadata,
        SetOptions,
        Timestamp,
        Ttl,
        CacheStats,
        Capabilities,
        StoreError,
        StoreErrorKind,
        MemoryStore,
        MemoryStoreBuilder,
        AnyStore,
        StoreEvent,
        StoreOperation,
        LocalBackplane,
        Notice,
        Changed,
        Heard,
    );
    assert_impl_all!(Tiered<MemoryStore, AnyStore>: Send, Sync, Unpin, Debug);
    assert_impl_all!(Walk<'static, Tiered<MemoryStore, AnyStore>>: Send, Sync, Unpin, Debug);
    assert_impl_all!(Namespace<FailSoft<Observed<Guarded<MemoryStore>>>>: Send, Sync, Unpin, Debug);
    assert_impl_all!(StoreFuture<'static, Rc<()>>: Send, Unpin);
    assert_impl_all!(HeardFuture<'static>: Send, Unpin);
    assert_impl_all!(dyn DynStore: Send, Sync);
    assert_impl_all!(dyn Backplane: Send, Sync);
    assert_impl_all!(dyn Subscription: Send);
    #[cfg(feature = "file")]
    plain!(FileStore, FileStoreBuilder);
    #[cfg(feature = "sqlite")]
    plain!(SqliteStore, SqliteStoreBuilder);
    #[cfg(feature = "http-store")]
    plain!(HttpStore);
    #[cfg(feature = "http-store")]
    assert_impl_all!(HttpStoreBuilder: Send, Sync, Debug);
    #[cfg(feature = "redis")]
    plain!(RedisStore, RedisStoreBuilder, RedisOptions, RedisBackplane, RedisBackplaneBuilder);

    #[test]
    fn h92_their_futures_may_be_sent() {
        fn send<T: Send>(_: T) {}
        let (store, key) = (Tiered::new(MemoryStore::new(), AnyStore::new(MemoryStore::new())), Key::new("k").expect("a key"));
        send(store.get(&key));
        send(store.set(&key, "v".into(), SetOptions::new()));
        send(store.delete_many(std::slice::from_ref(&key)));
        send(store.delete_matching(&Glob::all()));
        send(store.close());
        let mut walk = store.walk_keys(Glob::all());
        send(walk.next());
    }
}
