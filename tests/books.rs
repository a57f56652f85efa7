//! The books add up: whatever becomes of a call, monitor, events and the statistics of the retry tell the same story.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;
use steadfast::{
    Attempt, Bulkhead, Call, CallEnd, CircuitBreaker, CircuitState, Error, Event, Events, Gate, GateFuture, Monitor, Outcome, Pass,
    Pipeline, PipelineBuilder, Rejected, RejectedKind, Retry, RetryConfig, Verdict,
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
