//! Dropped calls: nothing is lost, wherever the drop comes.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Bulkhead, Call, CallEnd, CircuitBreaker, CircuitState, Coalesce, Error, Event, Events, Fallback, Gate, GateFuture,
    Hedge, Monitor, Outcome, Pass, PerKey, Pipeline, RateLimiter, Rejected, RejectedKind, Retry, Throttle, TypedPipeline,
};

const MS: Duration = Duration::from_millis(1);

/// A gate that takes a turn to open, and counts what it has out.
#[derive(Clone, Debug, Default)]
struct SlowDoor(Arc<AtomicUsize>);

struct Inside(Arc<AtomicUsize>);

impl Gate for SlowDoor {
    fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let inside = Inside(Arc::clone(&self.0));
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(Box::new(inside) as Box<dyn Pass>)
        })
    }
}

impl Pass for Inside {
    fn settle(self: Box<Self>, _: Outcome) {}
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Group<T> = Coalesce<T, Error<String>>;
type AnyCall<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error<String>>> + 'a>>;

struct Stack {
    pipeline: Pipeline,
    places: Bulkhead,
    slots: AdaptiveLimit,
    keys: PerKey,
    limiter: RateLimiter,
    breaker: CircuitBreaker,
    group: Option<Group<()>>,
    #[cfg(feature = "cache")]
    cache: Option<steadfast::Cache<String, ()>>,
    typed: Option<TypedPipeline<(), String>>,
    door: SlowDoor,
    monitor: Monitor,
}

const POLICIES: u32 = 16;
const ALL: u32 = (1 << POLICIES) - 1;

/// No policy, each alone, each pair and each three; and all, all but one, all but two.
fn stacks() -> impl Iterator<Item = u32> {
    (0..=ALL).filter(|which| which.count_ones() <= 3 || which.count_ones() >= POLICIES - 2)
}

/// Every policy on, by the bits of `which`.
fn stack(which: u32) -> Stack {
    let places = Bulkhead::new(1).queue(4).max_wait(500 * MS).build().unwrap();
    let limiter = RateLimiter::per_second(100).smooth().max_wait(500 * MS).build().unwrap();
    let breaker = CircuitBreaker::consecutive_failures(1_000).build().unwrap();
    let slots = AdaptiveLimit::new().initial(1).max(1).queue(4).max_wait(500 * MS).build().unwrap();
    let keys = PerKey::new(4)
        .rate_limit(RateLimiter::per_second(100).smooth().max_wait(500 * MS))
        .circuit_breaker(CircuitBreaker::consecutive_failures(1_000))
        .bulkhead(Bulkhead::new(1).queue(4).max_wait(500 * MS))
        .build()
        .unwrap();
    let (door, monitor) = (SlowDoor::default(), Monitor::new());
    let mut builder = Pipeline::builder("p");
    let on = |bit: u32| which & (1 << bit) != 0;
    if on(0) {
        builder = builder.total_timeout(10_000 * MS);
    }
    if on(1) {
        builder = builder.retry(Retry::constant(2, 5 * MS));
    }
    if on(2) {
        builder = builder.circuit_breaker(breaker.clone());
    }
    if on(3) {
        builder = builder.rate_limit(limiter.clone());
    }
    if on(4) {
        builder = builder.bulkhead(places.clone());
    }
    if on(5) {
        builder = builder.gate(door.clone());
    }
    if on(6) {
        builder = builder.attempt_timeout(1_000 * MS);
    }
    if on(7) {
        builder = builder.monitor(monitor.clone());
    }
    if on(8) {
        builder = builder.hedge(Hedge::after(MS).max_hedges(2).idempotent());
    }
    if on(9) {
        builder = builder.throttle(Throttle::new().min_requests(1));
    }
    if on(10) {
        builder = builder.adaptive_limit(slots.clone());
    }
    if on(11) {
        builder = builder.per_key(keys.clone());
    }
    let group = on(12).then(|| Coalesce::new().build().unwrap());
    #[cfg(feature = "chaos")]
    if on(13) {
        builder = builder.chaos(steadfast::chaos::Chaos::seeded(1).latency(0.5, MS).fault(0.2, || "chaos".to_owned()));
    }
    #[cfg(feature = "cache")]
    let cache = on(14).then(|| steadfast::Cache::new(9).stale_if_error(500 * MS).build().unwrap());
    let mut typed = None;
    let pipeline = if on(15) {
        let mut substitutes = builder.fallback(Fallback::future(|error| async {
            tokio::task::yield_now().await;
            Err(error)
        }));
        #[cfg(feature = "cache")]
        if let Some(cache) = &cache {
            substitutes = substitutes.cache(cache.clone());
        }
        typed.insert(substitutes.build().unwrap()).pipeline().clone()
    } else {
        builder.build().unwrap()
    };
    Stack {
        pipeline,
        places,
        slots,
        keys,
        limiter,
        breaker,
        group,
        #[cfg(feature = "cache")]
        cache,
        typed,
        door,
        monitor,
    }
}

impl Stack {
    fn call(&self) -> AnyCall<'_, ()> {
        if let Some(typed) = &self.typed {
            return Box::pin(typed.key("k").call_with(operation));
        }
        let request = self.pipeline.key("k");
        #[cfg(feature = "cache")]
        if let Some(cache) = &self.cache {
            return Box::pin(request.cached(cache).call_with(operation));
        }
        match &self.group {
            Some(group) => Box::pin(request.coalesced(group).call_with(operation)),
            None => Box::pin(request.call_with(operation)),
        }
    }

    fn assert_whole(&self, at: &str) {
        assert_eq!((self.places.in_use(), self.places.waiting()), (0, 0), "{at}: bulkhead");
        assert_eq!((self.slots.in_use(), self.slots.waiting()), (0, 0), "{at}: adaptive limit");
        assert_whole_key(&self.keys, at);
        assert_eq!(self.group.as_ref().map_or(0, Coalesce::in_flight), 0, "{at}: coalesce");
        assert_eq!(self.limiter.waiting(), 0, "{at}: limiter queue");
        assert_eq!(self.door.0.load(Ordering::Relaxed), 0, "{at}: gate");
        assert_eq!(self.breaker.state(), CircuitState::Closed, "{at}: breaker");
        if let Some(stats) = self.monitor.stats("p") {
            let all = stats.all_time();
            let told = all.successes() + all.failures() + all.rejections() + all.abandoned() + all.panics();
            assert_eq!(all.calls(), told, "{at}: books");
        }
    }
}

fn assert_whole_key(keys: &PerKey, at: &str) {
    if let Some(key) = keys.snapshot("k") {
        assert_eq!((key.in_use, key.waiting), (Some(0), 0), "{at}: key");
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Fails twice and then succeeds, pending once each time.
async fn operation(attempt: steadfast::Attempt) -> Result<(), String> {
    tokio::task::yield_now().await;
    tokio::time::sleep(MS).await;
    if attempt.number() < 3 { Err("down".into()) } else { Ok(()) }
}

#[tokio::test(start_paused = true)]
async fn h18_a_call_dropped_at_any_await_point_of_any_stack_gives_everything_back() {
    for which in stacks() {
        for drop_at in 0..200 {
            let stack = stack(which);
            // Somebody else holds the only place and the limiter's only unit at first, so that the queues are awaited too.
            let mut held = Some((stack.places.try_acquire().ok(), stack.slots.try_acquire().ok(), stack.keys.try_acquire("k", 1).ok()));
            let _ = stack.limiter.try_acquire(1);
            // And another call asks the same.
            let mut other = (which & (1 << 12 | 1 << 14) != 0).then(|| stack.call());
            if let Some(other) = &mut other {
                let _ = poll(other.as_mut());
            }
            let mut call = stack.call();
            let mut done = false;
            for _ in 0..drop_at {
                done = poll(call.as_mut());
                if done {
                    break;
                }
                held = None;
                if drop_at > 3 {
                    other = None; // the leader leaves
                }
                tokio::time::advance(MS).await;
            }
            drop((call, other));
            drop(held);
            stack.assert_whole(&format!("stack {which:#018b}, dropped after {drop_at} polls"));
            // And nobody who comes later waits for one who is gone.
            if which & (1 << 12 | 1 << 14) != 0 && which.count_ones() <= 2 {
                let mut later = stack.call();
                let mut polls = 0;
                while !poll(later.as_mut()) {
                    polls += 1;
                    assert!(polls < 200, "stack {which:#018b}, dropped after {drop_at} polls: a later call hangs");
                    tokio::time::advance(MS).await;
                }
            }
            if done {
                break;
            }
            assert!(drop_at < 199, "the call never ends");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h01_dropped_calls_free_their_places_at_once() {
    let pipeline = Pipeline::builder("p").bulkhead(Bulkhead::new(4)).build().unwrap();
    let places = pipeline.bulkhead().unwrap().clone();
    let mut calls: Vec<_> = (0..4).map(|_| Box::pin(pipeline.call(std::future::pending::<Result<(), String>>))).collect();
    calls.iter_mut().for_each(|call| assert!(!poll(call.as_mut())));
    assert_eq!(places.available(), 0);
    drop(calls);
    assert_eq!(places.available(), 4);
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn h04_a_dropped_probe_is_no_verdict_and_frees_its_slot() {
    let breaker = CircuitBreaker::consecutive_failures(1).open_for(1_000 * MS).open_jitter(0.0).build().unwrap();
    let pipeline = Pipeline::builder("p").circuit_breaker(breaker.clone()).build().unwrap();
    let _ = pipeline.call(|| async { Err::<(), _>("down".to_owned()) }).await;
    tokio::time::advance(1_000 * MS).await;
    let mut probe = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
    assert!(!poll(probe.as_mut()));
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open());
    drop(probe);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert!(pipeline.call(|| async { Ok::<_, String>(()) }).await.is_ok());
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn h09_dropped_in_a_pause_means_no_further_attempt() {
    let calls = Arc::new(AtomicUsize::new(0));
    let pipeline = Pipeline::builder("p").retry(Retry::constant(5, 100 * MS).jitter(steadfast::Jitter::None)).build().unwrap();
    let seen = Arc::clone(&calls);
    let mut call = Box::pin(pipeline.call(move || {
        seen.fetch_add(1, Ordering::Relaxed);
        async { Err::<(), _>("down".to_owned()) }
    }));
    assert!(!poll(call.as_mut()));
    tokio::time::advance(50 * MS).await;
    drop(call);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// Tells, when dropped, how many places of the bulkhead were taken.
struct Watch<'a>(&'a Bulkhead, &'a AtomicUsize);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.1.store(self.0.in_use(), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn h12_h13_the_operation_is_gone_before_its_place_is_free_and_before_the_timeout_is_told() {
    let pipeline = Pipeline::builder("p").bulkhead(Bulkhead::new(1)).attempt_timeout(10 * MS).build().unwrap();
    let places = pipeline.bulkhead().unwrap();
    let in_use = AtomicUsize::new(99);
    let hang = || {
        let watch = Watch(places, &in_use);
        async move {
            let _watch = watch;
            std::future::pending::<Result<(), String>>().await
        }
    };
    assert!(pipeline.call(hang).await.unwrap_err().is_timeout());
    assert_eq!(in_use.swap(99, Ordering::Relaxed), 1, "dropped while its place was still taken, before the error was seen");
    let mut call = Box::pin(pipeline.call(hang));
    assert!(!poll(call.as_mut()));
    drop(call);
    assert_eq!((in_use.load(Ordering::Relaxed), places.in_use()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn h20_a_call_recreated_in_a_select_loop_piles_up_nothing() {
    let stack = stack(ALL & !(1 << 13 | 1 << 14));
    for _ in 0..1_000 {
        tokio::select! {
            biased;
            _ = stack.pipeline.call(std::future::pending::<Result<(), String>>) => unreachable!(),
            () = tokio::time::sleep(MS) => {}
        }
        assert_eq!(stack.places.in_use(), 0);
    }
    stack.assert_whole("after the loop");
}

#[tokio::test(start_paused = true)]
async fn h78_callers_that_hang_up_do_not_trip_the_breaker_and_timeouts_do() {
    let breaker = CircuitBreaker::consecutive_failures(5).build().unwrap();
    let pipeline = Pipeline::builder("p").circuit_breaker(breaker.clone()).total_timeout(100 * MS).build().unwrap();
    for _ in 0..1_000 {
        let mut call = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
        assert!(!poll(call.as_mut()));
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    for _ in 0..5 {
        assert!(pipeline.call(std::future::pending::<Result<(), String>>).await.unwrap_err().is_timeout());
    }
    assert_eq!(breaker.state(), CircuitState::Open);
}

// ------------------------------------------------------------------ any stack, any mood, any moment

/// A number for every question, always the same for a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.up_to(n) == 0
    }
}

/// A gate that takes some turns, and then opens, refuses, or panics, now or at once; its pass may panic when it is settled.
#[derive(Clone, Copy, Debug)]
struct Mood {
    turns: u64,
    refuses: bool,
    panics: bool,
    panics_late: bool,
}

#[derive(Clone, Debug)]
struct MoodyDoor(Mood, Arc<AtomicUsize>);

struct MoodyPass(Mood, #[expect(dead_code, reason = "counts itself when dropped")] Inside);

impl Gate for MoodyDoor {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        let bad = call.attempt().number().is_multiple_of(2);
        assert!(!(bad && self.0.panics && self.0.turns == 0), "at once");
        self.1.fetch_add(1, Ordering::Relaxed);
        let inside = Inside(Arc::clone(&self.1));
        Box::pin(async move {
            for _ in 0..self.0.turns {
                tokio::task::yield_now().await;
            }
            assert!(!(bad && self.0.panics), "later");
            if bad && self.0.refuses {
                return Err(Rejected::new(RejectedKind::Custom("moody")).with_retry_after(MS));
            }
            Ok(Box::new(MoodyPass(self.0, inside)) as Box<dyn Pass>)
        })
    }
}

impl Pass for MoodyPass {
    fn settle(self: Box<Self>, outcome: Outcome) {
        assert!(!(self.0.panics_late && outcome.is_failure()), "settle");
    }
}

/// One pipeline of any policies, and all that must be whole when its calls are gone.
struct Layer {
    pipeline: Pipeline,
    fallback: Option<TypedPipeline<u32, String>>,
    group: Option<Group<u32>>,
    events: Events,
    places: Bulkhead,
    slots: AdaptiveLimit,
    keys: PerKey,
    limiter: RateLimiter,
    breaker: CircuitBreaker,
    inside: Arc<AtomicUsize>,
}

impl Layer {
    fn random(dice: &mut Dice) -> Self {
        let places = Bulkhead::new(1 + usize::try_from(dice.up_to(3)).unwrap()).queue(4).max_wait(20 * MS).build().unwrap();
        let limiter = RateLimiter::per_second(500).smooth().max_wait(20 * MS).build().unwrap();
        let breaker = CircuitBreaker::consecutive_failures(2).open_for(3 * MS).open_jitter(0.0).build().unwrap();
        let inside = Arc::new(AtomicUsize::new(0));
        let few = |dice: &mut Dice| 1 + usize::try_from(dice.up_to(3)).unwrap();
        let slots = AdaptiveLimit::new().initial(1).max(few(dice)).queue(4).max_wait(20 * MS).build().unwrap();
        let keys = PerKey::new(4)
            .rate_limit(RateLimiter::per_second(500).smooth().max_wait(20 * MS))
            .circuit_breaker(CircuitBreaker::consecutive_failures(2).open_for(3 * MS).open_jitter(0.0))
            .bulkhead(Bulkhead::new(few(dice)).queue(4).max_wait(20 * MS))
            .statistics(true)
            .build()
            .unwrap();
        let mut builder = Pipeline::builder("p").monitor(Monitor::new());
        if dice.one_in(2) {
            builder = builder.total_timeout(u32::try_from(dice.up_to(40)).unwrap() * MS);
        } else if dice.one_in(2) {
            builder = builder.attempt_timeout(u32::try_from(dice.up_to(4)).unwrap() * MS);
        }
        if dice.one_in(2) {
            let wait = u32::try_from(dice.up_to(3)).unwrap() * MS;
            let mut retry = Retry::constant(u32::try_from(dice.up_to(4)).unwrap(), wait).without_budget();
            if dice.one_in(2) {
                retry = retry.even_when_nested();
            }
            if dice.one_in(2) {
                retry = retry.retry_rejections([RejectedKind::Custom("moody"), RejectedKind::CircuitOpen, RejectedKind::BulkheadFull]);
            }
            builder = builder.retry(retry);
        }
        if dice.one_in(2) {
            let hedge = match dice.up_to(6) {
                0 => Hedge::after(Duration::MAX),
                1 => Hedge::at_percentile(0.5).min_samples(1),
                4 => Hedge::custom(|leg| leg * MS),
                5 => Hedge::custom(|leg| if leg > 1 { panic!("delay") } else { MS }),
                delay => Hedge::after(u32::try_from(delay - 2).unwrap() * MS),
            };
            builder = builder.hedge(hedge.max_hedges(u32::try_from(dice.up_to(4)).unwrap()).idempotent());
        }
        if dice.one_in(2) {
            builder = builder.circuit_breaker(breaker.clone());
        }
        if dice.one_in(2) {
            builder = builder.rate_limit(limiter.clone());
        }
        if dice.one_in(2) {
            builder = builder.bulkhead(places.clone());
        }
        if dice.one_in(3) {
            builder = builder.throttle(Throttle::new().min_requests(1).seed(1).probe_interval(MS));
        }
        if dice.one_in(3) {
            builder = builder.adaptive_limit(slots.clone());
        }
        if dice.one_in(3) {
            builder = builder.per_key(keys.clone());
        }
        #[cfg(feature = "chaos")]
        if dice.one_in(3) {
            let chaos = steadfast::chaos::Chaos::seeded(1).latency(0.3, 2 * MS).fault(0.2, || "chaos".to_owned()).hang(0.05);
            builder = builder.chaos(if dice.one_in(3) { chaos.fault_by(0.3, |_| -> Option<String> { panic!("chaos") }) } else { chaos });
        }
        let group = dice.one_in(3).then(|| Coalesce::new().share_errors(dice.one_in(2)).patience(2 * MS).build().unwrap());
        for _ in 0..dice.up_to(3) {
            let mood = Mood { turns: dice.up_to(3), refuses: dice.one_in(3), panics: dice.one_in(6), panics_late: dice.one_in(8) };
            builder = builder.gate(MoodyDoor(mood, Arc::clone(&inside)));
        }
        if dice.one_in(8) {
            builder = builder.classify(|_: &String| panic!("judge"));
        }
        if dice.one_in(3) {
            builder = builder.spans();
        }
        let turns = dice.up_to(3);
        let (typed, panics) = (dice.one_in(3), dice.one_in(4));
        let fallback = Fallback::future(move |error: Error<String>| async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            assert!(!panics, "fallback");
            if turns == 1 { Err(error) } else { Ok(7) }
        });
        let whole = builder.fallback(fallback).build().unwrap();
        let pipeline = whole.pipeline().clone();
        Self { events: pipeline.events(), pipeline, fallback: typed.then_some(whole), group, places, slots, keys, limiter, breaker, inside }
    }

    fn assert_whole(&mut self, at: &str) {
        assert_eq!((self.places.in_use(), self.places.waiting()), (0, 0), "{at}: bulkhead");
        assert_eq!((self.slots.in_use(), self.slots.waiting()), (0, 0), "{at}: adaptive limit");
        assert_whole_key(&self.keys, at);
        assert_eq!(self.group.as_ref().map_or(0, Coalesce::in_flight), 0, "{at}: coalesce");
        assert_eq!(self.limiter.waiting(), 0, "{at}: limiter queue");
        assert_eq!(self.inside.load(Ordering::Relaxed), 0, "{at}: gates");
        assert_eq!(self.breaker.snapshot().probes_in_flight, 0, "{at}: breaker");
        let (mut calls, mut attempts, mut unfinished, mut out_of_time) = (0, 0, 0, 0);
        while let Some(event) = self.events.try_next() {
            if let Event::CallFinished { end, attempts: made, .. } = event {
                calls += 1;
                attempts += u64::from(made);
                unfinished += u64::from(matches!(end, CallEnd::Abandoned | CallEnd::Panicked));
                out_of_time += u64::from(end == CallEnd::Rejected(RejectedKind::DeadlineExceeded));
            }
        }
        let stats = self.pipeline.stats();
        let books = stats.calls.unwrap();
        assert_eq!((books.calls(), books.attempts()), (calls, attempts), "{at}: books");
        assert_eq!(books.abandoned() + books.panics(), unfinished, "{at}: books");
        if let Some(retry) = stats.retry {
            // Who got the answer of another did not ask its retry.
            let followers = self.group.as_ref().map_or(0, |group| group.stats().shared) + out_of_time;
            assert!(retry.calls() + followers >= calls - unfinished && retry.calls() <= calls - unfinished, "{at}: retry");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h15_h17_h18_h23_five_hundred_random_stacks_dropped_at_any_moment_add_up() {
    std::panic::set_hook(Box::new(|info| {
        // Thousands of panics are meant to be; those of the test itself are not.
        let text = info.payload_as_str().unwrap_or_default();
        if text.contains("left") || text.contains("unwrap") || text.contains("ends") {
            eprintln!("{info}");
        }
    }));
    let (mut ends, mut drops, mut panics) = (0, 0, 0);
    for seed in 0..500 {
        for drop_at in 0..40 {
            let (mut dice, before) = (Dice(seed), ends + panics);
            let (mut outer, mut inner) = (Layer::random(&mut dice), Layer::random(&mut dice));
            let (nested, good_from, op_panics) = (dice.one_in(2), 1 + dice.up_to(4), dice.one_in(5));
            let op_turns = dice.up_to(4);
            let made = AtomicUsize::new(0);
            let operation = || {
                let attempt = made.fetch_add(1, Ordering::Relaxed) as u64 + 1;
                assert!(!(op_panics && op_turns == 0 && attempt == 2), "closure");
                async move {
                    for _ in 0..op_turns {
                        tokio::time::sleep(MS).await;
                    }
                    assert!(!(op_panics && attempt == 2), "operation");
                    if attempt < good_from { Err("down".to_owned()) } else { Ok(1_u32) }
                }
            };
            let held = dice.one_in(3).then(|| (outer.places.clone().try_acquire().map(|p| p.into_owned()), inner.limiter.try_acquire(1)));
            {
                // Two ask the same: shared, if the inner one has a group.
                let two = || async {
                    let one = || -> AnyCall<'_, u32> {
                        match &inner.group {
                            Some(group) => Box::pin(inner.pipeline.key("k").coalesced(group).call(operation)),
                            None => Box::pin(inner.pipeline.key("k").call(operation)),
                        }
                    };
                    futures_util::future::join(one(), one()).await.0.map_err(|error| error.to_string())
                };
                let mut call: AnyCall<'_, u32> = match (&outer.fallback, &outer.group) {
                    (Some(typed), _) => Box::pin(typed.key("k").call(operation)),
                    (None, _) if nested => Box::pin(outer.pipeline.around(&inner.pipeline).key("k").call(operation)),
                    (None, Some(group)) => Box::pin(outer.pipeline.key("k").coalesced(group).call(two)),
                    (None, None) => Box::pin(outer.pipeline.key("k").call(two)),
                };
                let mut held = held;
                let mut left = drop_at;
                loop {
                    if left == 0 {
                        drops += 1;
                        break;
                    }
                    left -= 1;
                    match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut Context::from_waker(Waker::noop())))) {
                        Ok(Poll::Ready(_)) => {
                            ends += 1;
                            break;
                        }
                        Ok(Poll::Pending) => {}
                        Err(_) => {
                            panics += 1;
                            break;
                        }
                    }
                    held = None;
                    tokio::time::advance(MS).await;
                }
                drop(held);
            }
            let done = ends + panics == before + 1;
            let at = format!("seed {seed}, dropped after {drop_at} polls");
            outer.assert_whole(&at);
            inner.assert_whole(&at);
            if done {
                break;
            }
        }
    }
    let _ = std::panic::take_hook();
    assert!(ends > 100 && drops > 1_000 && panics > 100, "{ends} ended, {drops} dropped, {panics} panicked");
}
