//! The books add up: whatever becomes of a call, monitor, events and the statistics of the retry tell the same story.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Attempt, Bulkhead, Call, CallEnd, CircuitBreaker, CircuitState, Coalesce, Error, Event, Events, Gate, GateFuture, Hedge,
    Monitor, Outcome, Pass, PerKey, Pipeline, PipelineBuilder, Priority, RateLimiter, Rejected, RejectedKind, Retry, RetryConfig, Throttle,
    Verdict,
};

const MS: Duration = Duration::from_millis(1);

/// A pipeline, and all that keeps books on it.
struct Shop {
    pipeline: Pipeline,
    events: Events,
}

impl Shop {
    fn open(settings: impl FnOnce(PipelineBuilder) -> PipelineBuilder) -> Self {
        let pipeline = settings(Pipeline::builder("p").monitor(Monitor::new())).build().unwrap();
        Self { events: pipeline.events(), pipeline }
    }

    /// Closes the books on `calls` calls of which so many were dropped or panicked, and gives how each ended, and all events.
    fn close(mut self, dropped: u64) -> (Vec<CallEnd>, Vec<Event>) {
        let all: Vec<Event> = std::iter::from_fn(|| self.events.try_next()).collect();
        let (mut ends, mut attempts) = (Vec::new(), 0);
        for event in &all {
            if let Event::CallFinished { end, attempts: made, .. } = event {
                ends.push(*end);
                attempts += u64::from(*made);
            }
        }
        let stats = self.pipeline.stats();
        let calls = stats.calls.unwrap();
        assert_eq!(calls.calls(), ends.len() as u64, "calls are counted as they are told");
        let count = |which: fn(&CallEnd) -> bool| ends.iter().filter(|end| which(end)).count() as u64;
        let told = [
            count(|end| *end == CallEnd::Success),
            count(|end| *end == CallEnd::Failure),
            count(|end| matches!(end, CallEnd::Rejected(_))),
            count(|end| *end == CallEnd::Abandoned),
            count(|end| *end == CallEnd::Panicked),
        ];
        let counted = [calls.successes(), calls.failures(), calls.rejections(), calls.abandoned(), calls.panics()];
        assert_eq!(counted, told, "as success, failure, rejected, abandoned, panicked");
        assert_eq!(calls.attempts(), attempts, "every attempt that was started is counted once");
        assert_eq!(calls.abandoned() + calls.panics(), dropped);
        if let Some(retry) = stats.retry {
            assert_eq!(retry.calls(), calls.calls() - dropped, "a call ends once for the retry, too");
        }
        (ends, all)
    }
}

fn at_once(retries: u32) -> RetryConfig {
    Retry::constant(retries, Duration::ZERO).without_budget()
}

fn poll(future: Pin<&mut impl Future>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

async fn down() -> Result<(), String> {
    Err("down".to_owned())
}

#[tokio::test(start_paused = true)]
async fn h15_dropped_in_a_pause_no_attempt_is_abandoned() {
    let shop = Shop::open(|p| p.retry(Retry::constant(3, 100 * MS)));
    let mut call = Box::pin(shop.pipeline.call(down));
    assert!(!poll(call.as_mut()));
    drop(call);
    assert_eq!(shop.close(1).0, [CallEnd::Abandoned]);
}

#[tokio::test(start_paused = true)]
async fn h15_dropped_in_a_queue_no_attempt_is_abandoned() {
    let places = Bulkhead::new(1).queue(9).build().unwrap();
    let shop = Shop::open(|p| p.bulkhead(places.clone()).retry(at_once(3)));
    let held = places.try_acquire().unwrap();
    let mut first = Box::pin(shop.pipeline.call(down));
    assert!(!poll(first.as_mut()));
    drop((first, held));
    // And in the queue for its second attempt.
    let shop_ref = &shop.pipeline;
    let mut second = Box::pin(shop_ref.call_with(|attempt: Attempt| {
        let places = places.clone();
        async move {
            if attempt.number() == 1 {
                tokio::spawn(async move {
                    let _place = places.acquire(&Call::now()).await;
                    std::future::pending::<()>().await
                });
                tokio::task::yield_now().await;
            }
            Err::<(), _>("down".to_owned())
        }
    }));
    for _ in 0..5 {
        assert!(!poll(second.as_mut()));
        tokio::task::yield_now().await;
    }
    drop(second);
    assert_eq!(shop.close(2).0, [CallEnd::Abandoned; 2]);
}

#[tokio::test(start_paused = true)]
async fn h15_dropped_at_a_gate_of_ones_own_no_attempt_is_abandoned() {
    struct Shut;
    impl Gate for Shut {
        fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    let shop = Shop::open(|p| p.bulkhead(Bulkhead::new(1)).gate(Shut));
    let mut call = Box::pin(shop.pipeline.call(down));
    assert!(!poll(call.as_mut()));
    drop(call);
    shop.close(1);
}

#[tokio::test(start_paused = true)]
async fn an_error_judged_a_success_ends_its_call_once() {
    let shop = Shop::open(|p| p.retry(at_once(3)).classify(|_: &String| Verdict::Success));
    assert_eq!(shop.pipeline.call(down).await, Err(Error::Inner("down".to_owned())));
    let (ends, events) = shop.close(0);
    assert_eq!(ends, [CallEnd::Success], "verdicts decide");
    assert_eq!(events.len(), 1, "nothing was to be retried: {events:?}");
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_in_a_judge_is_a_panic_and_not_an_abandoned_call() {
    fn judge(_: &String) -> Verdict {
        panic!("judge")
    }
    let shop = Shop::open(|p| p.retry(at_once(3)).classify(judge));
    assert!(AssertUnwindSafe(shop.pipeline.call(down)).catch_unwind().await.is_err());
    assert_eq!(shop.close(1).0, [CallEnd::Panicked]);
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_in_a_backoff_is_a_panic_and_its_attempt_is_counted_once() {
    let shop = Shop::open(|p| p.retry(Retry::custom(3, |_| panic!("backoff"))));
    assert!(AssertUnwindSafe(shop.pipeline.call(down)).catch_unwind().await.is_err());
    assert_eq!(shop.close(1).0, [CallEnd::Panicked]);
}

struct Unspeakable;
impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("display")
    }
}

#[tokio::test(start_paused = true)]
async fn h23_a_panic_in_the_text_of_an_error_is_a_panic() {
    let shop = Shop::open(|p| p.retry(at_once(1)).attempt_timeout(MS).classify(|_: &Unspeakable| Verdict::transient()));
    let call = shop.pipeline.call_with(|attempt| async move {
        if attempt.is_retry() {
            std::future::pending::<()>().await;
        }
        Err::<(), _>(Unspeakable)
    });
    assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
    let events = shop.pipeline.stats().retry.unwrap();
    assert_eq!(events.calls(), 0, "a call that panicked did not end");
    assert_eq!(shop.close(1).0, [CallEnd::Panicked]);
}

/// Refuses, panics, or settles with a panic, by the number of the attempt.
struct Moody(&'static str);
struct MoodyPass(bool);
impl Gate for Moody {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        let mood = if call.attempt().number() == 2 { self.0 } else { "" };
        Box::pin(async move {
            match mood {
                "refuse" => return Err(Rejected::new(RejectedKind::Custom("no"))),
                "panic" => panic!("gate"),
                _ => {}
            }
            Ok(Box::new(MoodyPass(mood == "settle")) as Box<dyn Pass>)
        })
    }
}
impl Pass for MoodyPass {
    fn settle(self: Box<Self>, _: Outcome) {
        assert!(!self.0, "pass");
    }
}

#[tokio::test(start_paused = true)]
async fn h23_a_gate_that_refuses_or_panics_costs_no_attempt() {
    let places = Bulkhead::new(1).build().unwrap();
    let breaker = CircuitBreaker::consecutive_failures(3).build().unwrap();
    for (mood, panics, attempts) in [("", 0, 4), ("refuse", 0, 1), ("panic", 1, 1), ("settle", 1, 2)] {
        let shop = Shop::open(|p| {
            p.retry(at_once(3)).gate(Moody(mood)).bulkhead(places.clone()).circuit_breaker(CircuitBreaker::failure_rate(0.5))
        });
        let ended = AssertUnwindSafe(shop.pipeline.call(down)).catch_unwind().await;
        assert_eq!(ended.is_err(), panics == 1, "{mood}");
        assert_eq!(shop.pipeline.stats().calls.unwrap().attempts(), attempts, "{mood}");
        let expected = if panics == 1 { CallEnd::Panicked } else { CallEnd::Failure };
        assert_eq!(shop.close(panics).0, [expected], "{mood}");
        assert_eq!(places.available(), 1, "{mood}");
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_tells_of_retries_only_where_one_was_to_be() {
    let shop = Shop::open(|p| p.retry(at_once(3)).circuit_breaker(CircuitBreaker::failure_rate(0.5)));
    shop.pipeline.circuit_breaker().unwrap().isolate();
    let names = |events: &[Event]| events.iter().map(Event::name).collect::<Vec<_>>();
    assert!(shop.pipeline.call(down).await.unwrap_err().is_circuit_open());
    let (_, events) = shop.close(0);
    assert_eq!(names(&events), ["circuit_changed", "rejected", "call_finished"]);
    let shop = Shop::open(|p| p.retry(at_once(3)).classify(|_: &String| Verdict::Permanent));
    assert!(shop.pipeline.call(down).await.is_err());
    assert_eq!(names(&shop.close(0).1), ["attempt_failed", "call_finished"]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_a_gate_refuses_is_told_of_as_one_that_was_stopped() {
    let shop = Shop::open(|p| p.retry(at_once(1)).rate_limit(RateLimiter::per_hour(1)));
    assert_eq!(shop.pipeline.call(down).await, Err(Error::Inner("down".to_owned())));
    let (_, events) = shop.close(0);
    let names: Vec<_> = events.iter().map(Event::name).collect();
    assert_eq!(names, ["attempt_failed", "retrying", "retry_stopped", "call_finished"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_told_of_by_name_and_counts_for_the_call_and_not_for_the_attempt() {
    struct Slow;
    impl Gate for Slow {
        fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
            Box::pin(async {
                tokio::time::sleep(10 * MS).await;
                Ok(Box::new(MoodyPass(false)) as Box<dyn Pass>)
            })
        }
    }
    let waits = |settings: fn(PipelineBuilder) -> PipelineBuilder| async move {
        let shop = Shop::open(|p| settings(p.attempt_timeout(5 * MS)));
        // One that takes what there is, for as long as the other may wait, and one that waits for it.
        let first = shop.pipeline.key("k").call(|| async {
            tokio::time::sleep(4 * MS).await;
            Ok::<_, String>(())
        });
        let second = async {
            tokio::time::sleep(MS).await;
            shop.pipeline.key("k").call(|| async { Ok::<_, String>(()) }).await
        };
        let (first, second) = tokio::join!(first, second);
        assert!(first.is_ok() && second.is_ok(), "no wait counts for the timeout of an attempt: {first:?} {second:?}");
        let stats = shop.pipeline.stats().calls.unwrap();
        assert_eq!(stats.all_time().attempt_latency().min(), Duration::ZERO, "nor for its latency");
        let (_, events) = shop.close(0);
        events.into_iter().find_map(|event| if let Event::Waited { policy, waited } = event { Some((policy, waited)) } else { None })
    };
    assert_eq!(waits(|p| p.bulkhead(Bulkhead::new(1).queue(1))).await, Some(("bulkhead", 3 * MS)));
    assert_eq!(waits(|p| p.per_key(PerKey::new(10).bulkhead(Bulkhead::new(1).queue(1)))).await, Some(("per_key", 3 * MS)));
    assert_eq!(waits(|p| p.adaptive_limit(AdaptiveLimit::new().min(1).initial(1).max(1).queue(1))).await, Some(("adaptive_limit", 3 * MS)));
    let limiter = |p: PipelineBuilder| p.rate_limit(RateLimiter::per_second(100).burst(1).max_wait(20 * MS));
    assert_eq!(waits(limiter).await, Some(("rate_limit", 9 * MS)));
    assert_eq!(waits(|p| p.gate(Slow)).await, Some(("gate", 10 * MS)));
    assert_eq!(waits(|p| p.bulkhead(Bulkhead::new(2))).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_retried_in_the_same_instant_is_counted_as_retried() {
    let shop = Shop::open(|p| p.retry(at_once(1)));
    let answer = shop.pipeline.call_with(|attempt| async move { if attempt.number() == 1 { Err("down") } else { Ok(()) } });
    assert_eq!(answer.await, Ok(()));
    assert_eq!(shop.pipeline.stats().calls.unwrap().retried(), 1);
    shop.close(0);
}

#[tokio::test(start_paused = true)]
async fn h15_a_dropped_call_is_told_of_also_where_nobody_counts() {
    let pipeline = Pipeline::builder("p").build().unwrap();
    let mut events = pipeline.events();
    let mut call = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
    assert!(!poll(call.as_mut()));
    drop(call);
    assert!(matches!(events.try_next(), Some(Event::CallFinished { end: CallEnd::Abandoned, attempts: 1, .. })));
}

#[tokio::test(start_paused = true)]
async fn a_value_judged_a_failure_is_counted_as_one_though_it_is_given() {
    let shop = Shop::open(|p| p.retry(at_once(1)));
    let answer = shop.pipeline.classify(|_: &Result<u32, String>| Verdict::transient()).call(|| async { Ok(1) }).await;
    assert_eq!(answer, Ok(1));
    assert_eq!(shop.close(0).0, [CallEnd::Failure]);
}

#[tokio::test(start_paused = true)]
async fn panics_of_fallbacks_come_after_the_books_are_closed() {
    let shop = Shop::open(|p| p.retry(at_once(1)));
    async fn late(_: Error<String>) -> Result<(), Error<String>> {
        tokio::task::yield_now().await;
        panic!("fallback")
    }
    fn never(_: Error<String>) -> std::future::Ready<Result<(), Error<String>>> {
        panic!("fallback")
    }
    assert!(AssertUnwindSafe(shop.pipeline.call_or_else(down, late)).catch_unwind().await.is_err());
    assert!(AssertUnwindSafe(shop.pipeline.call_or_else(down, never)).catch_unwind().await.is_err());
    let mut dropped = Box::pin(shop.pipeline.call_or_else(down, late));
    assert!(!poll(dropped.as_mut()));
    drop(dropped);
    drop(shop.pipeline.call(down)); // never began
    assert_eq!(shop.close(0).0, [CallEnd::Failure; 3]);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "polled after")]
async fn a_finished_call_polled_again_does_not_begin_anew() {
    let pipeline = Pipeline::builder("p").build().unwrap();
    let mut call = Box::pin(pipeline.call(|| async { Ok::<_, String>(()) }));
    assert!(poll(call.as_mut()));
    poll(call.as_mut());
}

#[tokio::test(start_paused = true)]
async fn h69_a_call_in_a_fallback_is_outside_the_retry_and_makes_its_own() {
    let outer = Pipeline::builder("outer").retry(at_once(1)).build().unwrap();
    let replica = Pipeline::builder("replica").retry(at_once(2)).build().unwrap();
    let answer = outer
        .call_or_else(down, async |_| {
            let made = replica.call_with(|attempt| async move { if attempt.number() == 3 { Ok(()) } else { Err("down".to_owned()) } });
            made.await
        })
        .await;
    assert_eq!(answer, Ok(()));
}

// ------------------------------------------------------------------ many callers of one pipeline with any policies

/// What the operations know themselves.
#[derive(Default)]
struct Truth {
    begun: AtomicU64,
    panicked: AtomicU64,
}

/// Two in three of all policies, and what must hold of them whatever happens.
fn any(builder: PipelineBuilder, seed: u64, queue: usize) -> PipelineBuilder {
    let on =
        |bit: u64| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7).wrapping_mul(bit * 2 + 0xbf58_476d_1ce4_e5b9) >> 40 & 3 != 0;
    let wait = 30 * MS;
    let mut builder = builder.classify(|error: &String| if error == "no" { Verdict::Permanent } else { Verdict::transient() });
    if on(1) {
        builder = builder.retry(Retry::constant(2, MS));
    }
    if on(2) {
        builder = builder.total_timeout(40 * MS);
    }
    if on(3) {
        builder = builder.attempt_timeout(4 * MS);
    }
    if on(4) {
        builder = builder.hedge(
            if seed.is_multiple_of(2) { Hedge::after(2 * MS) } else { Hedge::at_percentile(0.5).min_samples(3) }.max_hedges(2).idempotent(),
        );
    }
    if on(5) {
        builder = builder.circuit_breaker(CircuitBreaker::consecutive_failures(4).open_for(3 * MS));
    }
    if on(6) {
        builder = builder.throttle(Throttle::new().min_requests(2).seed(seed).probe_interval(2 * MS));
    }
    if on(7) {
        builder = builder.rate_limit(RateLimiter::per_second(1_000).smooth().max_wait(2 * MS).queue(queue.max(1)));
    }
    if on(8) {
        builder = builder.bulkhead(Bulkhead::new(3).queue(queue).max_wait(wait));
    }
    if on(9) {
        builder = builder.adaptive_limit(AdaptiveLimit::new().initial(2).max(3).window(MS).min_samples(2).queue(queue).max_wait(wait));
    }
    if on(10) {
        let circuit = CircuitBreaker::consecutive_failures(3).open_for(3 * MS);
        let keys =
            PerKey::new(3).rate_limit(RateLimiter::per_second(500).smooth().max_wait(wait).queue(queue.max(1))).circuit_breaker(circuit);
        builder = builder.per_key(keys.bulkhead(Bulkhead::new(2).queue(queue).max_wait(wait)).statistics(true));
    }
    builder
}

#[tokio::test(start_paused = true)]
async fn forty_callers_of_any_stack_leave_books_that_add_up() {
    std::panic::set_hook(Box::new(|info| {
        if info.payload_as_str() != Some("operation") {
            eprintln!("{info}");
        }
    }));
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..200_u64 {
        let shop = Shop::open(|p| any(p, seed, if seed % 3 == 0 { 0 } else { 20 }));
        let group = Coalesce::new().share_errors(seed % 2 == 0).patience(3 * MS).build::<u64, Error<String>>().unwrap();
        let (truth, mut callers) = (Arc::new(Truth::default()), tokio::task::JoinSet::new());
        for caller in 0..40_u64 {
            let (pipeline, group, truth) = (shop.pipeline.clone(), group.clone(), Arc::clone(&truth));
            callers.spawn(async move {
                tokio::time::sleep(MS * u32::try_from(caller / 4).unwrap()).await;
                let operation = |attempt: Attempt| {
                    truth.begun.fetch_add(1, Ordering::Relaxed);
                    let (mood, truth) = ((caller * 7 + u64::from(attempt.number() * 3 + attempt.leg())) % 11, &truth);
                    async move {
                        tokio::time::sleep(MS * u32::try_from(mood % 7).unwrap()).await;
                        match mood {
                            0 if seed % 5 == 0 => {
                                truth.panicked.fetch_add(1, Ordering::Relaxed);
                                panic!("operation")
                            }
                            1 | 2 => Err("down".to_owned()),
                            3 => Err("no".to_owned()),
                            _ => Ok(caller),
                        }
                    }
                };
                let key = ["a", "b", "c", "d", "e"][usize::try_from(caller % 5).unwrap()];
                let priority = [Priority::Critical, Priority::Normal, Priority::Low][usize::try_from(caller % 3).unwrap()];
                let request = pipeline.key(key).priority(priority);
                let patience = if caller % 8 == 0 { 5 * MS } else { Duration::MAX };
                let answer = if seed % 4 == 0 {
                    tokio::time::timeout(patience, request.coalesced(&group).call_with(operation)).await
                } else {
                    tokio::time::timeout(patience, request.call_with(operation)).await
                };
                match answer {
                    Ok(Err(Error::Rejected(rejected))) => Some(Some(rejected.kind())),
                    Ok(_) => Some(None),
                    Err(_) => None,
                }
            });
        }
        let mut unfinished = 0;
        while let Some(ended) = callers.join_next().await {
            match ended {
                Ok(Some(kind)) => kinds.extend(kind.map(|kind| kind.as_str())),
                Ok(None) | Err(_) => unfinished += 1,
            }
        }
        let p = shop.pipeline.clone();
        let stats = p.stats();
        let calls = stats.calls.as_ref().unwrap().all_time().clone();
        let at = format!("seed {seed}: {p}");
        assert_eq!((calls.calls(), calls.attempts()), (40, truth.begun.load(Ordering::Relaxed)), "{at}");
        assert_eq!(calls.attempts_by(Outcome::Panicked), truth.panicked.load(Ordering::Relaxed), "{at}");
        assert_eq!((calls.abandoned() + calls.panics(), group.in_flight()), (unfinished, 0), "{at}");
        // Everything is given back.
        assert!(p.bulkhead().is_none_or(|places| (places.in_use(), places.waiting()) == (0, 0)), "{at}");
        assert!(p.adaptive_limit().is_none_or(|limit| (limit.in_use(), limit.waiting()) == (0, 0)), "{at}");
        assert!(p.rate_limiter().is_none_or(|limiter| limiter.waiting() == 0), "{at}");
        assert!(p.circuit_breaker().is_none_or(|breaker| breaker.snapshot().probes_in_flight == 0), "{at}");
        if let Some(keys) = p.per_key() {
            let (mut seen, mut known) = (0, 0);
            for key in ["a", "b", "c", "d", "e"].iter().filter_map(|key| keys.snapshot(key)) {
                assert_eq!((key.in_use, key.waiting), (Some(0), 0), "{at}");
                seen += key.counts.unwrap().calls;
                known += 1;
            }
            // The others share a bucket, which is nobody's in particular.
            assert!(known <= 3 && seen >= 1, "{at}: {seen}");
        }
        // What was launched or tried again either began or was refused at a gate.
        let more = stats.hedge.as_ref().map_or(0, |hedge| hedge.launched) + stats.retry.as_ref().map_or(0, |retry| retry.retries());
        assert!(calls.attempts() <= 40 + more, "{at}");
        if seed % 4 != 0 {
            shop.close(unfinished);
        }
    }
    let _ = std::panic::take_hook();
    for kind in ["circuit_open", "rate_limited", "bulkhead_full", "concurrency_limited", "throttled", "timeout", "deadline_exceeded"] {
        assert!(kinds.contains(kind), "{kind} of {kinds:?}");
    }
}
