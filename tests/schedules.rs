//! What happens around calls, and at the worst moment: a runtime that ends, two of them, one without timers, a clock that leaps, callbacks that
//! panic. On a pipeline of every policy there is. (A call dropped at any moment: `cancellation.rs`.)
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Bulkhead, Call, CircuitBreaker, Coalesce, Error, Event, Fallback, Gate, GateFuture, Hedge, Jitter, Monitor, Outcome,
    Pass, PerKey, Pipeline, PipelineBuilder, RateLimiter, RejectedKind, Retry, Throttle, Verdict,
};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{advance, sleep};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Nothing here takes a second of work; so long may a busy machine take for it.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A gate of the user's own that takes a turn.
struct Turnstile;

impl Gate for Turnstile {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(Box::new(TrapPass(Trap::default())) as Box<dyn Pass>)
        })
    }
}

/// Every policy, each with room for `places` at a time, and queues.
fn everything(places: usize, wait: Duration) -> PipelineBuilder {
    let builder = Pipeline::builder("p")
        .total_timeout(wait)
        .attempt_timeout(wait)
        .retry(Retry::constant(2, wait / 100).jitter(Jitter::None).without_budget())
        .hedge(Hedge::after(wait / 50).max_hedges(1).idempotent())
        .circuit_breaker(CircuitBreaker::consecutive_failures(u32::MAX))
        .throttle(Throttle::new().min_requests(u32::MAX))
        .per_key(
            PerKey::new(9)
                .bulkhead(Bulkhead::new(places).queue(10_000).max_wait(wait))
                .rate_limit(RateLimiter::per_second(1_000_000).max_wait(wait).queue(10_000))
                .circuit_breaker(CircuitBreaker::consecutive_failures(u32::MAX))
                .statistics(true),
        )
        .rate_limit(RateLimiter::per_second(1_000_000).max_wait(wait).queue(10_000))
        .bulkhead(Bulkhead::new(places).queue(10_000).max_wait(wait))
        .adaptive_limit(AdaptiveLimit::aimd().initial(places).max(places).queue(10_000).max_wait(wait))
        .gate(Turnstile)
        .monitor(Monitor::new());
    #[cfg(feature = "chaos")]
    let builder = builder.chaos(steadfast::chaos::Chaos::seeded(1).latency(0.1, MS));
    builder
}

fn assert_whole(pipeline: &Pipeline) {
    let (places, slots) = (pipeline.bulkhead().unwrap(), pipeline.adaptive_limit().unwrap());
    assert_eq!((places.in_use(), places.waiting()), (0, 0), "bulkhead");
    assert_eq!((slots.in_use(), slots.waiting()), (0, 0), "adaptive limit");
    assert_eq!(pipeline.rate_limiter().unwrap().waiting(), 0, "limiter");
    assert_eq!(pipeline.circuit_breaker().unwrap().snapshot().probes_in_flight, 0, "breaker");
    for key in ["a", "b"] {
        assert!(pipeline.per_key().unwrap().snapshot(key).is_none_or(|key| (key.in_use, key.waiting) == (Some(0), 0)), "key {key}");
    }
    let stats = pipeline.stats().calls.unwrap();
    let all = stats.all_time();
    assert_eq!(all.calls(), all.successes() + all.failures() + all.rejections() + all.abandoned() + all.panics(), "books");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// What `f` comes to, on a thread of its own; a panic's text if it panics. Never hangs.
fn watched<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let _ = tell.send(std::panic::catch_unwind(AssertUnwindSafe(f)).map_err(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&str>().map_or_else(|_| "?".to_owned(), |text| (*text).to_owned()),
        }));
    });
    told.recv_timeout(WATCHDOG).unwrap_or_else(|hung: RecvTimeoutError| panic!("{what}: {hung}"))
}

// ------------------------------------------------------------------ runtimes

#[test]
fn h125_a_runtime_shut_down_in_mid_call_leaves_every_policy_whole() {
    let pipeline = everything(3, 600 * SECOND).build().unwrap();
    let group = Coalesce::new().build::<(), Error<String>>().unwrap();
    let begun = Arc::new(AtomicU64::new(0));
    let old = runtime();
    for n in 0..1_000_u64 {
        let (pipeline, group, begun) = (pipeline.clone(), group.clone(), Arc::clone(&begun));
        old.spawn(async move {
            let request = pipeline.key(if n % 2 == 0 { "a" } else { "b" });
            // Some hang in the operation, some fail and are in a pause; and the rest stands in one line or another.
            let operation = || async {
                begun.fetch_add(1, Ordering::Relaxed);
                if n % 3 == 0 { Err("down".to_owned()) } else { std::future::pending().await }
            };
            match n % 5 {
                0 => request.coalesced(&group).call(operation).await,
                _ => request.call(operation).await,
            }
        });
    }
    old.block_on(async {
        while begun.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
    });
    assert!(pipeline.bulkhead().unwrap().in_use() > 0);
    old.shutdown_timeout(Duration::ZERO);
    assert_whole(&pipeline);
    assert_eq!(group.in_flight(), 0);
    // And the next runtime finds it as new.
    assert_eq!(runtime().block_on(pipeline.key("a").call(|| async { Ok::<_, String>(1) })), Ok(1));
    assert_whole(&pipeline);
    // Dropped where there is no runtime, with a call that was never finished.
    let mut call = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
    runtime().block_on(async { assert!(call.as_mut().now_or_never().is_none()) });
    drop(call);
    assert_whole(&pipeline);
}

#[test]
fn h127_two_runtimes_share_one_pipeline_of_every_policy() {
    let pipeline = everything(1, 600 * SECOND).build().unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let threads = [0, 1].map(|_| {
        let (pipeline, inside) = (pipeline.clone(), Arc::clone(&inside));
        move || {
            runtime().block_on(async {
                let calls = (0..20_u64).map(|n| {
                    let (pipeline, inside) = (&pipeline, &inside);
                    async move {
                        for turn in 0..10 {
                            let answer = pipeline.key(if n % 2 == 0 { "a" } else { "b" }).call(|| async move {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
                                tokio::task::yield_now().await;
                                inside.fetch_sub(1, Ordering::SeqCst);
                                Ok::<_, String>(turn)
                            });
                            assert_eq!(answer.await, Ok(turn));
                        }
                    }
                });
                futures_util::future::join_all(calls).await;
            });
        }
    });
    // Each on a thread of its own: whoever leaves in one runtime wakes who waits in the other.
    let [one, two] = threads;
    let other = std::thread::spawn(|| watched("one runtime", one));
    assert_eq!(watched("the other runtime", two), Ok(()));
    assert_eq!(other.join().unwrap(), Ok(()));
    assert_whole(&pipeline);
    assert_eq!(pipeline.stats().calls.unwrap().successes(), 400);
}

type Waits = (&'static str, Box<dyn FnOnce() -> Option<RejectedKind> + Send>);

/// Calls that need a timer, each because of one policy. What they come to, polled until nothing moves: the kind of the error, or nothing.
fn waits() -> Vec<Waits> {
    fn settle<T>(call: impl Future<Output = Result<T, Error<String>>>) -> Option<RejectedKind> {
        let mut call = Box::pin(call);
        for _ in 0..20 {
            if let Some(answer) = call.as_mut().now_or_never() {
                return answer.err().and_then(|error| error.kind());
            }
        }
        None
    }
    async fn pending() -> Result<(), String> {
        std::future::pending().await
    }
    let build = |builder: PipelineBuilder| builder.build().unwrap();
    let p = || Pipeline::builder("p");
    let mut all: Vec<Waits> = Vec::new();
    let mut add = |what, f: Box<dyn FnOnce() -> Option<RejectedKind> + Send>| all.push((what, f));
    let pipeline = build(p().attempt_timeout(SECOND));
    add("attempt timeout", Box::new(move || settle(pipeline.call(pending))));
    let pipeline = build(p().total_timeout(SECOND));
    add("total timeout", Box::new(move || settle(pipeline.call(pending))));
    let pipeline = build(p());
    add("within", Box::new(move || settle(pipeline.within(SECOND).call(pending))));
    let pipeline = build(p().retry(Retry::constant(3, SECOND)));
    add("retry", Box::new(move || settle(pipeline.call(|| async { Err::<(), _>("down".to_owned()) }))));
    let places = Bulkhead::new(1).queue(1).max_wait(SECOND).build().unwrap();
    add(
        "bulkhead",
        Box::new(move || {
            let pipeline = Pipeline::builder("p").bulkhead(places.clone()).build().unwrap();
            let _held = places.try_acquire().unwrap();
            settle(pipeline.call(pending))
        }),
    );
    let limiter = RateLimiter::per_minute(1).max_wait(YEAR).build().unwrap();
    limiter.try_acquire(1).unwrap();
    let pipeline = build(p().rate_limit(limiter));
    add("rate limit", Box::new(move || settle(pipeline.call(pending))));
    let slots = AdaptiveLimit::aimd().initial(1).max(1).queue(1).max_wait(SECOND).build().unwrap();
    add(
        "adaptive limit",
        Box::new(move || {
            let pipeline = Pipeline::builder("p").adaptive_limit(slots.clone()).build().unwrap();
            let _held = slots.try_acquire().unwrap();
            settle(pipeline.call(pending))
        }),
    );
    let keys = PerKey::new(9).rate_limit(RateLimiter::per_minute(1).max_wait(YEAR)).build().unwrap();
    drop(keys.try_acquire("a", 1).unwrap());
    let pipeline = build(p().per_key(keys));
    add("per key, rate", Box::new(move || settle(pipeline.key("a").call(pending))));
    let keys = PerKey::new(9).bulkhead(Bulkhead::new(1).queue(1).max_wait(SECOND)).build().unwrap();
    add(
        "per key, places",
        Box::new(move || {
            let pipeline = Pipeline::builder("p").per_key(keys.clone()).build().unwrap();
            let _held = keys.try_acquire("a", 1).unwrap();
            settle(pipeline.key("a").call(pending))
        }),
    );
    let pipeline = build(p().gate(Turnstile).total_timeout(SECOND));
    add("gate", Box::new(move || settle(pipeline.call(pending))));
    let typed = p().total_timeout(SECOND).fallback(Fallback::<(), String>::future(|_| std::future::pending())).build().unwrap();
    add("fallback", Box::new(move || settle(typed.call(|| async { Err("down".to_owned()) }))));
    #[cfg(feature = "chaos")]
    {
        let pipeline = build(p().chaos(steadfast::chaos::Chaos::seeded(1).latency(1.0, SECOND)));
        add("chaos", Box::new(move || settle(pipeline.call(pending))));
    }
    all
}

#[test]
fn h40_outside_a_runtime_whatever_needs_a_timer_is_a_typed_error() {
    for (what, call) in waits() {
        assert_eq!(watched(what, call), Ok(Some(RejectedKind::NoRuntime)), "{what}");
    }
}

#[test]
fn h40_in_a_runtime_without_timers_whatever_needs_one_panics_naming_enable_time_and_does_not_hang() {
    for (what, call) in waits() {
        let came_to = watched(what, move || Builder::new_current_thread().build().unwrap().block_on(async { call() }));
        let text = came_to.expect_err(what);
        assert!(text.contains("enable_time") || text.contains("timers are disabled"), "{what}: {text}");
    }
}

/// A heartbeat beats on, and the timeout around the call rings: a retry without a pause leaves the thread to others in between.
#[test]
fn h74_three_million_attempts_without_a_pause_leave_the_thread_to_others() {
    let ended = watched("the call", || {
        runtime().block_on(async {
            let pipeline = Pipeline::builder("p").retry(Retry::constant(3_000_000, Duration::ZERO).without_budget()).build().unwrap();
            let (attempts, beats) = (AtomicU64::new(0), AtomicU64::new(0));
            let call = pipeline.call(|| {
                attempts.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Err::<(), _>("down"))
            });
            let heart = async {
                loop {
                    tokio::task::yield_now().await;
                    beats.fetch_add(1, Ordering::Relaxed);
                }
            };
            let begun = std::time::Instant::now();
            let in_time = tokio::select! {
                ended = tokio::time::timeout(100 * MS, call) => ended.is_ok(),
                () = heart => true,
            };
            (in_time, begun.elapsed(), attempts.into_inner(), beats.into_inner())
        })
    });
    let (in_time, took, attempts, beats) = ended.unwrap();
    assert!(!in_time && attempts < 3_000_000, "{attempts} attempts: the timeout never had its turn");
    assert!(took >= 100 * MS && took < 10 * SECOND, "{took:?}");
    assert!(beats > 10 && attempts > 100, "{beats} beats beside {attempts} attempts");
}

// ------------------------------------------------------------------ h126

/// Every `.rs` file of the library, and what is in it before its unit tests.
fn sources(dir: &std::path::Path, each: &mut impl FnMut(&str, &str)) {
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, each);
        } else if entry.extension().is_some_and(|ext| ext == "rs") && entry.file_name().is_some_and(|name| name != "tests.rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            let shipped = text.split("\nmod tests {").next().unwrap();
            let code: Vec<_> = shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            each(&entry.display().to_string(), &code.join("\n"));
        }
    }
}

/// The same as clippy forbids (`.clippy.toml`), for who does not run it. A runtime dropped inside another one panics, and a future that is
/// blocked on inside one hangs or panics: 11 reports in as many libraries.
#[test]
fn h126_the_library_owns_no_runtime_and_blocks_on_nothing() {
    let mut seen = 0;
    let mut found = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut |file, code| {
        seen += 1;
        // The simulator is a program: it runs a scenario in a runtime of its own, on a thread of its own.
        if file.ends_with("testing/sim/world.rs") {
            return;
        }
        for call in ["Runtime::new(", "block_on(", "block_in_place(", "runtime::Builder", "new_multi_thread(", "new_current_thread("] {
            if code.contains(call) {
                found.push(format!("{file}: {call})"));
            }
        }
    });
    assert!(seen > 100, "only {seen} files were looked at");
    assert!(found.is_empty(), "{found:#?}");
    let forbidden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.clippy.toml")).unwrap();
    assert!(["Runtime::new", "Runtime::block_on", "Handle::block_on"].iter().all(|call| forbidden.contains(call)));
    assert!(include_str!("../src/lib.rs").contains("deny(clippy::disallowed_methods)"));
}

#[tokio::test]
async fn h126_whatever_there_is_may_be_dropped_inside_a_runtime() {
    let pipeline = everything(1, SECOND).build().unwrap();
    assert!(pipeline.key("a").call(|| async { Ok::<_, String>(()) }).await.is_ok());
    let mut call = Box::pin(pipeline.key("a").call(std::future::pending::<Result<(), String>>));
    assert!(call.as_mut().now_or_never().is_none());
    drop(call);
    drop(pipeline);
}

// ------------------------------------------------------------------ the clock

#[tokio::test(start_paused = true)]
async fn h28_durations_without_end_in_every_policy_neither_panic_nor_overflow() {
    let max = Duration::MAX;
    let builder = Pipeline::builder("never")
        .total_timeout(max)
        .attempt_timeout(max)
        .retry(Retry::exponential(2, max).max_delay(max).hint_ceiling(max).hint_jitter(max).without_budget())
        .hedge(Hedge::at_percentile(0.9).initial_delay(max).min_delay(max).max_delay(max).idempotent())
        .circuit_breaker(CircuitBreaker::failure_rate(0.5).slow_calls(max, 0.5).window(max).open_for(max).max_open(max).probe_lease(max))
        .throttle(Throttle::new().window(max).probe_interval(max))
        .per_key(
            PerKey::new(9)
                .bulkhead(Bulkhead::new(2).queue(9).max_wait(max).ageing(max))
                .rate_limit(RateLimiter::per_second(9).max_wait(max).queue(9).ageing(max))
                .circuit_breaker(CircuitBreaker::consecutive_failures(900).window(max).open_for(max).max_open(max).half_open_for(max))
                .idle(max),
        )
        .rate_limit(RateLimiter::per_second(9).max_wait(max).queue(9).ageing(max))
        .bulkhead(Bulkhead::new(2).queue(9).max_wait(max).ageing(max))
        .adaptive_limit(AdaptiveLimit::aimd().initial(2).window(max).queue(9).max_wait(max).ageing(max))
        .monitor(Monitor::new());
    #[cfg(feature = "chaos")]
    let builder = builder.chaos(steadfast::chaos::Chaos::seeded(1).latency(0.01, max));
    let pipeline = match builder.build() {
        Ok(pipeline) => pipeline,
        Err(error) => panic!("{error}"),
    };
    let group = Coalesce::new().patience(max).max_wait(max).build::<(), Error<String>>().unwrap();
    for n in 0..100_u32 {
        advance(YEAR).await;
        let request = pipeline.key(if n % 2 == 0 { "a" } else { "b" }).within(SECOND);
        let operation = || async move {
            sleep(MS).await;
            if n % 3 == 0 { Err("down".to_owned()) } else { Ok(()) }
        };
        let _ = request.call(operation).await;
        let _ = request.coalesced(&group).call(operation).await;
        let _ = request.within(max).call(|| std::future::ready(Ok::<_, String>(()))).await;
    }
    assert_whole(&pipeline);
    assert_eq!(pipeline.stats().calls.unwrap().calls(), 300);
}

#[tokio::test(start_paused = true)]
async fn h32_years_that_pass_in_mid_call_end_every_wait_and_leave_everything_whole() {
    let pipeline = everything(1, 10 * SECOND).build().unwrap();
    for leap in [YEAR / 365, YEAR, 10 * YEAR] {
        // One runs, one is in a pause, and the others stand in line at their key and behind it.
        let mut calls: Vec<_> = (0..8_u32)
            .map(|n| {
                let request = pipeline.key(if n % 2 == 0 { "a" } else { "b" });
                Box::pin(request.call(move || async move {
                    if n == 0 { Err("down".to_owned()) } else { std::future::pending::<Result<(), String>>().await }
                }))
            })
            .collect();
        for _ in 0..20 {
            assert!(calls.iter_mut().all(|call| call.as_mut().now_or_never().is_none()));
            tokio::task::yield_now().await;
        }
        advance(leap).await;
        for call in calls {
            let error = tokio::time::timeout(60 * SECOND, call).await.expect("it ends").expect_err("nobody answered");
            let kind = error.kind();
            assert!(kind.is_none() || kind == Some(RejectedKind::DeadlineExceeded) || kind == Some(RejectedKind::Timeout), "{error:?}");
        }
        assert_whole(&pipeline);
        assert!(pipeline.key("a").call(|| async { Ok::<_, String>(()) }).await.is_ok());
    }
}

// ------------------------------------------------------------------ callbacks that panic

/// Panics while it is armed.
#[derive(Clone, Default)]
struct Trap(Arc<AtomicBool>, Arc<AtomicUsize>);

impl Trap {
    fn step(&self) {
        if self.0.load(Ordering::Relaxed) {
            self.1.fetch_add(1, Ordering::Relaxed);
            panic!("trap");
        }
    }
}

struct TrapGate {
    trap: Trap,
    late: bool,
}

struct TrapPass(Trap);

impl Gate for TrapGate {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        if !self.late {
            self.trap.step();
        }
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(Box::new(TrapPass(if self.late { self.trap.clone() } else { Trap::default() })) as Box<dyn Pass>)
        })
    }
}

impl Pass for TrapPass {
    fn settle(self: Box<Self>, _: Outcome) {
        self.0.step();
    }
}

/// An error whose text is the user's code.
#[derive(Clone)]
struct Down(Trap);

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.step();
        f.write_str("down")
    }
}

/// Every function that a user can hand to a pipeline, by name: a pipeline of every policy with a trap in that one.
fn traps() -> Vec<(&'static str, Trap, PipelineBuilder)> {
    let mut all = Vec::new();
    let mut add = |name, make: &dyn Fn(Trap, PipelineBuilder) -> PipelineBuilder| {
        let trap = Trap::default();
        let builder = make(trap.clone(), everything(2, 10 * SECOND));
        all.push((name, trap, builder));
    };
    add("judge", &|trap, p| {
        p.classify(move |_: &Down| {
            trap.step();
            Verdict::transient()
        })
    });
    add("text of an error", &|_, p| p.retry(Retry::constant(1, MS).without_budget()));
    add("backoff", &|trap, p| {
        p.retry(
            Retry::custom(2, move |_| {
                trap.step();
                MS
            })
            .without_budget(),
        )
    });
    add("hedge delay", &|trap, p| {
        p.hedge(
            Hedge::custom(move |_| {
                trap.step();
                MS
            })
            .idempotent(),
        )
    });
    add("gate", &|trap, p| p.gate(TrapGate { trap, late: false }));
    add("pass", &|trap, p| p.gate(TrapGate { trap, late: true }));
    add("observer", &|trap, p| p.observer(move |_: &str, _: &Event| trap.step()));
    #[cfg(feature = "chaos")]
    {
        use steadfast::chaos::Chaos;
        add("chaos rate", &|trap, p| {
            let rate = move |_: &Call<'_>| {
                trap.step();
                0.5
            };
            p.chaos(Chaos::seeded(1).latency(rate, MS))
        });
        add("chaos latency", &|trap, p| {
            p.chaos(Chaos::seeded(1).latency_by(1.0, move |_| {
                trap.step();
                MS
            }))
        });
        add("chaos fault", &|trap, p| {
            p.chaos(Chaos::seeded(1).fault_by(1.0, move |_| -> Option<Down> {
                trap.step();
                None
            }))
        });
    }
    all
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_in_any_callback_reaches_its_caller_and_nobody_else() {
    std::panic::set_hook(Box::new(|info| {
        if info.payload_as_str() != Some("trap") {
            eprintln!("{info}");
        }
    }));
    for (name, trap, builder) in traps() {
        let pipeline = builder.build().unwrap();
        let armed = |yes: bool| trap.0.store(yes, Ordering::Relaxed);
        for turn in 0..20_u32 {
            // One fails fast, one is slow; and another call of the same key is under way, which is nobody's business.
            let error = Down(trap.clone());
            let slow = pipeline.key("a").call_with(|attempt| {
                let error = error.clone();
                async move {
                    sleep(MS * (turn % 3) * 200).await;
                    if attempt.number() < 3 { Err(error) } else { Ok(()) }
                }
            });
            let beside = async {
                sleep(SECOND).await;
                armed(false);
                pipeline.key("a").call(|| async { Ok::<_, Down>(()) }).await.map_err(|error| error.kind())
            };
            armed(true);
            let (_, beside) = tokio::join!(AssertUnwindSafe(slow).catch_unwind(), beside);
            armed(false);
            assert_eq!(beside, Ok(()), "{name}");
            assert_whole(&pipeline);
        }
        // The text of an error is asked for only where a rejection carries it.
        if name != "text of an error" {
            assert!(trap.1.load(Ordering::Relaxed) > 0, "{name} was never asked");
        }
        let stats = pipeline.stats().calls.unwrap();
        assert_eq!(stats.calls(), 40, "{name}");
    }
    let _ = std::panic::take_hook();
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_in_a_fallback_or_in_what_a_cache_asks_loses_nothing() {
    let trap = Trap::default();
    let (one, two) = (trap.clone(), trap.clone());
    let fallback = Fallback::<u32, String>::function(move |_| {
        one.step();
        Ok(7)
    })
    .when(move |_| {
        two.step();
        true
    });
    let typed = everything(2, 10 * SECOND).fallback(fallback).build().unwrap();
    for n in 0..10 {
        trap.0.store(n % 2 == 0, Ordering::Relaxed);
        let answer = AssertUnwindSafe(typed.call(|| async { Err("down".to_owned()) })).catch_unwind().await;
        assert_eq!(answer.ok(), (n % 2 != 0).then_some(Ok(7)));
        assert_whole(typed.pipeline());
    }
    #[cfg(feature = "cache")]
    {
        use steadfast::Cache;
        let weigher = trap.clone();
        let cache = Cache::<String, u32>::bytes(100, move |_| {
            weigher.step();
            1
        });
        let (cache, pipeline) = (cache.build().unwrap(), everything(2, 10 * SECOND).build().unwrap());
        for n in 0..10 {
            trap.0.store(n % 2 == 0, Ordering::Relaxed);
            let key = n.to_string();
            let request = || pipeline.key(&key).cached(&cache).call(|| async { Ok::<_, String>(n) });
            let (one, two) = tokio::join!(AssertUnwindSafe(request()).catch_unwind(), AssertUnwindSafe(request()).catch_unwind());
            if n % 2 != 0 {
                assert_eq!((one.ok(), two.ok()), (Some(Ok(n)), Some(Ok(n))));
            }
            assert_whole(&pipeline);
            trap.0.store(false, Ordering::Relaxed);
            assert_eq!(request().await, Ok(n), "the key is not stuck");
        }
    }
}
