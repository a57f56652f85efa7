//! Hedging, seen from outside.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steadfast::{
    Attempt, Budget, Bulkhead, Call, CallEnd, CircuitBreaker, CircuitState, Error, Event, Gate, GateFuture, Hedge, HedgeConfig, Jitter,
    Monitor, Outcome, Pass, PerKey, Pipeline, PipelineBuilder, RateLimiter, Rejected, RejectedKind, Retry, Verdict,
};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

fn builder(hedge: HedgeConfig) -> PipelineBuilder {
    Pipeline::builder("p").hedge(hedge.idempotent()).monitor(Monitor::new()).classify(|e: &String| match e.as_str() {
        "fatal" => Verdict::permanent(),
        "ignored" => Verdict::Ignored,
        "pause" => Verdict::retry_after(1_000 * MS),
        _ => Verdict::transient(),
    })
}

fn hedged(hedge: HedgeConfig) -> Pipeline {
    builder(hedge).build().unwrap()
}

/// When each leg started, in milliseconds, and what is still running.
#[derive(Default)]
struct Log {
    epoch: Option<Instant>,
    started: RefCell<Vec<(u32, u64)>>,
    running: Cell<usize>,
    most: Cell<usize>,
}

struct Running<'a>(&'a Log);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

impl Log {
    fn new() -> Self {
        Self { epoch: Some(Instant::now()), ..Self::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.unwrap().elapsed().as_millis()).unwrap()
    }

    fn start(&self, attempt: Attempt) -> Running<'_> {
        self.started.borrow_mut().push((attempt.leg(), self.now()));
        self.running.set(self.running.get() + 1);
        self.most.set(self.most.get().max(self.running.get()));
        Running(self)
    }

    /// An operation whose legs take so long each, and end so.
    fn legs<'a>(
        &'a self,
        script: &'a [(u64, Result<u32, &'static str>)],
    ) -> impl Fn(Attempt) -> std::pin::Pin<Box<dyn Future<Output = Result<u32, String>> + 'a>> {
        move |attempt| {
            let running = self.start(attempt);
            let (after, end) = script[attempt.leg() as usize];
            Box::pin(async move {
                let _running = running;
                if after > 0 {
                    sleep(Duration::from_millis(after)).await;
                }
                end.map_err(str::to_owned)
            })
        }
    }

    fn started(&self) -> Vec<(u32, u64)> {
        self.started.borrow().clone()
    }
}

fn inner(error: &str) -> Result<u32, Error<String>> {
    Err(Error::Inner(error.to_owned()))
}

/// Monitor and budget agree that so many attempts were made.
fn assert_attempts(pipeline: &Pipeline, attempts: u64) {
    let calls = pipeline.stats().calls.unwrap();
    assert_eq!(calls.attempts(), attempts, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn h2_zero_delay_and_nine_hedges_are_ten_legs_at_once() {
    let (pipeline, log) = (hedged(Hedge::after(Duration::ZERO).max_hedges(9)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(10, Ok(7)); 10])).await, Ok(7));
    assert_eq!(log.started(), (0..10).map(|leg| (leg, 0)).collect::<Vec<_>>());
    assert_eq!((log.most.get(), log.running.get(), log.now()), (10, 0, 10));
    assert_attempts(&pipeline, 10);
    assert_eq!(pipeline.hedge().unwrap().stats().launched, 9);
}

#[tokio::test(start_paused = true)]
async fn h3_infinite_delay_never_runs_two_at_once() {
    let (pipeline, log) = (hedged(Hedge::after(Duration::MAX).max_hedges(2)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(10, Err("a")), (20, Err("b")), (30, Ok(3))])).await, Ok(3));
    assert_eq!(log.started(), [(0, 0), (1, 10), (2, 30)]);
    assert_eq!((log.most.get(), log.now()), (1, 60));
    let stats = pipeline.hedge().unwrap().stats();
    assert_eq!((stats.launched, stats.after_failure, stats.won), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn h4_a_primary_that_fails_at_once_is_hedged_at_once() {
    let (pipeline, log) = (hedged(Hedge::after(100 * MS)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(0, Err("down")), (5, Ok(1))])).await, Ok(1));
    assert_eq!(log.started(), [(0, 0), (1, 0)]);
    assert_eq!(log.now(), 5);
}

#[tokio::test(start_paused = true)]
async fn h6_an_unhandled_error_from_any_leg_is_returned_at_once() {
    for end in ["fatal", "ignored"] {
        let (pipeline, log) = (hedged(Hedge::after(10 * MS).max_hedges(2)), Log::new());
        let answer = pipeline.call_with(log.legs(&[(1_000, Ok(0)), (5, Err(end)), (1_000, Ok(2))])).await;
        assert_eq!((answer, log.now(), log.running.get()), (inner(end), 15, 0));
        assert_attempts(&pipeline, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_permanent_error_of_the_primary_does_not_wait_for_hedges() {
    let (pipeline, log) = (hedged(Hedge::after(10 * MS)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(0, Err("fatal")), (0, Ok(1))])).await, inner("fatal"));
    assert_eq!((log.started(), log.now()), (vec![(0, 0)], 0));
}

#[tokio::test(start_paused = true)]
async fn h7_legs_are_numbered_and_told() {
    let pipeline = hedged(Hedge::after(10 * MS).max_hedges(2));
    let (mut events, log) = (pipeline.events(), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(100, Ok(0)), (15, Err("down")), (50, Ok(2))])).await, Ok(2));
    assert_eq!(log.started(), [(0, 0), (1, 10), (2, 20)]);
    let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    let hedged: Vec<_> = told.iter().filter(|event| event.name() == "hedged").collect();
    assert_eq!(hedged, [&Event::Hedged { leg: 1, after: 10 * MS }, &Event::Hedged { leg: 2, after: 10 * MS }]);
    assert_eq!(told[0].to_string(), "leg 1 launched, after 10.0 ms");
    assert!(matches!(told.last(), Some(Event::CallFinished { end: CallEnd::Success, attempts: 3, .. })));
}

#[tokio::test(start_paused = true)]
async fn h8_an_answer_before_the_delay_is_one_leg() {
    let (pipeline, log) = (hedged(Hedge::after(10 * MS)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(9, Ok(0)), (0, Ok(1))])).await, Ok(0));
    assert_eq!(log.started(), [(0, 0)]);
    assert_attempts(&pipeline, 1);
}

#[tokio::test(start_paused = true)]
async fn h9_delays_of_ones_own_are_asked_for_each_leg() {
    let delay = |leg: u32| if leg == 3 { Duration::MAX } else { u32::from(leg == 1) * 20 * MS + 10 * MS };
    let (pipeline, log) = (hedged(Hedge::custom(delay).max_hedges(3)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(500, Ok(0)), (500, Ok(1)), (70, Err("down")), (5, Ok(3))])).await, Ok(3));
    assert_eq!(log.started(), [(0, 0), (1, 30), (2, 40), (3, 110)], "the last only after a failure");
}

#[tokio::test(start_paused = true)]
async fn h12_after_a_failure_the_delay_begins_anew() {
    let (pipeline, log) = (hedged(Hedge::after(1_000 * MS).max_hedges(2)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(200, Err("down")), (5_000, Ok(1)), (100, Ok(2))])).await, Ok(2));
    assert_eq!(log.started(), [(0, 0), (1, 200), (2, 1_200)]);
    // A fatal status stops all of them.
    let log = Log::new();
    let answer = pipeline.call_with(log.legs(&[(200, Err("down")), (5_000, Ok(1)), (100, Err("fatal"))])).await;
    assert_eq!((answer, log.now(), log.running.get()), (inner("fatal"), 1_300, 0));
}

#[tokio::test(start_paused = true)]
async fn h13_a_first_failure_does_not_hide_a_later_success() {
    let (pipeline, log) = (hedged(Hedge::after(Duration::ZERO)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(1, Err("down")), (5, Ok(1))])).await, Ok(1));
    assert_eq!(log.now(), 5);
    let log = Log::new();
    assert_eq!(pipeline.call_with(log.legs(&[(5, Ok(0)), (1, Err("down"))])).await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn when_all_legs_failed_the_last_failure_is_the_attempts_and_the_retry_judges_once() {
    let retry = Retry::constant(1, 100 * MS).jitter(Jitter::None);
    let (pipeline, log) = (builder(Hedge::after(10 * MS)).retry(retry).build().unwrap(), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(30, Err("first")), (5, Err("second"))])).await, inner("first"));
    assert_eq!(log.started(), [(0, 0), (1, 10), (0, 130), (1, 140)], "another attempt is another race");
    assert_eq!(pipeline.retry().unwrap().stats().retries(), 1);
    assert_eq!(pipeline.retry().unwrap().stats().calls_with_attempts(2), 1);
    assert_attempts(&pipeline, 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_pause_is_not_hedged_at_once() {
    let (pipeline, log) = (hedged(Hedge::after(10 * MS)), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(1, Err("pause")), (0, Ok(1))])).await, inner("pause"));
    assert_eq!(log.started(), [(0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn h07_a_dropped_call_drops_every_leg_before_the_drop_returns() {
    let places = Bulkhead::new(5).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS).max_hedges(2)).bulkhead(places.clone()).build().unwrap();
    let (log, alive) = (Log::new(), || tokio::runtime::Handle::current().metrics().num_alive_tasks());
    let (before, script) = (alive(), [(1_000, Ok(0)); 3]);
    let mut call = Box::pin(pipeline.call_with(log.legs(&script)));
    for _ in 0..3 {
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        tokio::time::advance(10 * MS).await;
    }
    assert_eq!((log.running.get(), places.in_use(), alive()), (3, 3, before));
    drop(call);
    assert_eq!((log.running.get(), places.in_use(), alive()), (0, 0, before));
    let calls = pipeline.stats().calls.unwrap();
    assert_eq!((calls.attempts(), calls.abandoned()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn h08_losers_are_gone_with_their_permits_when_the_value_is_handed_out() {
    let places = Bulkhead::new(2).build().unwrap();
    let breaker = CircuitBreaker::consecutive_failures(1).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS)).bulkhead(places.clone()).circuit_breaker(breaker.clone()).build().unwrap();
    for script in [[(1_000, Ok(0)), (5, Ok(1))], [(15, Ok(0)), (1_000, Ok(1))]] {
        let log = Log::new();
        assert!(pipeline.call_with(log.legs(&script)).await.is_ok());
        assert_eq!((log.running.get(), places.in_use(), log.now()), (0, 0, 15));
    }
    assert_eq!(breaker.state(), CircuitState::Closed, "a loser is no failure");
    assert_attempts(&pipeline, 4);
}

#[tokio::test(start_paused = true)]
async fn h08_losers_are_gone_before_the_call_is() {
    let (pipeline, log) = (hedged(Hedge::after(10 * MS)), Log::new());
    let script = [(1_000, Ok(0)), (5, Ok(1))];
    let mut call = Box::pin(pipeline.call_with(log.legs(&script)));
    assert_eq!(call.as_mut().await, Ok(1));
    assert_eq!(log.running.get(), 0, "the future of the call is still there, and no leg is");
}

#[tokio::test(start_paused = true)]
async fn legs_are_of_the_attempt_in_which_they_were_launched() {
    let pipeline = builder(Hedge::after(10 * MS)).retry(Retry::constant(1, Duration::ZERO).without_budget()).build().unwrap();
    let seen = RefCell::new(Vec::new());
    let answer = pipeline.call_with(|attempt| {
        seen.borrow_mut().push((attempt.number(), attempt.leg()));
        async {
            sleep(20 * MS).await;
            Err::<(), _>("down".to_owned())
        }
    });
    answer.await.unwrap_err();
    assert_eq!(seen.into_inner(), [(1, 0), (1, 1), (2, 0), (2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn each_leg_goes_through_the_gates_by_itself() {
    let limiter = RateLimiter::per_minute(2).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS).max_hedges(2)).rate_limit(limiter.clone()).build().unwrap();
    let log = Log::new();
    assert_eq!(
        pipeline.call_with(log.legs(&[(100, Ok(0)), (200, Ok(1)), (0, Ok(2))])).await,
        Ok(0),
        "the third was refused, and that is all"
    );
    assert_eq!(log.started(), [(0, 0), (1, 10)]);
    assert_eq!(limiter.available(), 0);
    assert_attempts(&pipeline, 2);
    let error = pipeline.call_with(log.legs(&[(0, Ok(0))])).await.unwrap_err();
    assert_eq!(error.kind(), Some(RejectedKind::RateLimited), "a first leg that is refused is not hedged");
    // A leg that our own gate refuses does not hide what the others failed of.
    let places = Bulkhead::new(1).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS)).bulkhead(places).build().unwrap();
    assert_eq!(pipeline.call_with(log.legs(&[(50, Err("down")), (0, Ok(1))])).await, inner("down"));
}

#[tokio::test(start_paused = true)]
async fn a_leg_may_stand_in_a_queue_and_leaves_it_when_another_wins() {
    let places = Bulkhead::new(1).queue(5).max_wait(1_000 * MS).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS)).bulkhead(places.clone()).build().unwrap();
    let (log, script) = (Log::new(), [(30, Ok(0)), (0, Ok(1))]);
    let mut call = Box::pin(pipeline.call_with(log.legs(&script)));
    assert!(tokio::time::timeout(20 * MS, call.as_mut()).await.is_err());
    assert_eq!((places.in_use(), places.waiting()), (1, 1));
    assert_eq!(call.await, Ok(0));
    assert_eq!((places.in_use(), places.waiting(), log.started()), (0, 0, vec![(0, 0)]));
    // The delay counts from when the operation starts, not from when it stands in line.
    let held = places.try_acquire().unwrap();
    let log = Log::new();
    let (answer, ()) = tokio::join!(pipeline.call_with(log.legs(&script)), async {
        sleep(100 * MS).await;
        drop(held);
    });
    assert_eq!((answer, log.started()), (Ok(0), vec![(0, 100)]));
}

#[tokio::test(start_paused = true)]
async fn each_leg_has_an_attempt_timeout_of_its_own_and_a_timeout_launches_the_next() {
    let pipeline = builder(Hedge::after(30 * MS).max_hedges(2)).attempt_timeout(50 * MS).build().unwrap();
    let log = Log::new();
    let error = pipeline.call_with(log.legs(&[(1_000, Ok(0)), (1_000, Ok(1)), (1_000, Ok(2))])).await.unwrap_err();
    assert_eq!(error.kind(), Some(RejectedKind::Timeout));
    assert_eq!(log.started(), [(0, 0), (1, 30), (2, 50)], "the third when the first timed out");
    assert_eq!((log.now(), error.attempts()), (100, Some(3)));
}

#[tokio::test(start_paused = true)]
async fn h76_ten_thousand_slow_calls_are_hedged_within_the_budget() {
    let budget = Budget::new(0.05).min_per_second(0.0).burst(1);
    let pipeline = hedged(Hedge::after(10 * MS).budget(budget));
    for _ in 0..10_000 {
        let slow = pipeline.call(|| async {
            sleep(20 * MS).await;
            Ok::<_, String>(0)
        });
        slow.await.unwrap();
    }
    let stats = pipeline.hedge().unwrap().stats();
    assert!(stats.launched >= 490 && stats.launched <= 501, "{stats}");
    assert_eq!(stats.launched + stats.denied_by_budget, 10_000);
}

#[tokio::test(start_paused = true)]
async fn h76_no_hedge_while_the_breaker_is_not_closed() {
    let breaker = CircuitBreaker::consecutive_failures(1).open_for(100 * MS).open_jitter(0.0).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS)).circuit_breaker(breaker.clone()).build().unwrap();
    let log = Log::new();
    // The failure opens the breaker, so nothing is launched at once.
    assert_eq!(pipeline.call_with(log.legs(&[(1, Err("down")), (0, Ok(1))])).await, inner("down"));
    assert_eq!(breaker.state(), CircuitState::Open);
    sleep(100 * MS).await;
    // A slow probe is not hedged.
    assert_eq!(pipeline.call_with(log.legs(&[(50, Ok(0)), (0, Ok(1))])).await, Ok(0));
    assert_eq!(log.started().len(), 2);
    assert_eq!(pipeline.hedge().unwrap().stats().denied_by_breaker, 2);
}

#[tokio::test(start_paused = true)]
async fn h76_no_hedge_while_the_breaker_of_the_key_is_not_closed() {
    let keys = PerKey::new(9).circuit_breaker(CircuitBreaker::consecutive_failures(1).open_for(1_000 * MS).open_jitter(0.0).probes(2));
    let pipeline = builder(Hedge::after(10 * MS)).per_key(keys).build().unwrap();
    let call = |key| {
        pipeline.key(key).call(|| async {
            sleep(100 * MS).await;
            Ok::<_, String>(())
        })
    };
    assert!(pipeline.key("a").call(|| async { Err::<(), _>("fatal".to_owned()) }).await.is_err());
    assert_eq!(pipeline.per_key().unwrap().snapshot("a").unwrap().circuit, Some(CircuitState::Open));
    sleep(1_000 * MS).await;
    let _ = call("a").await;
    let stats = pipeline.hedge().unwrap().stats();
    assert_eq!((stats.launched, stats.denied_by_breaker), (0, 1), "it is a probe");
    let _ = call("b").await;
    assert_eq!(pipeline.hedge().unwrap().stats().launched, 1, "another key");
}

#[tokio::test(start_paused = true)]
async fn u_retries_and_hedges_are_taken_from_one_budget() {
    let budget = Budget::new(0.1).min_per_second(0.0).burst(1).build().unwrap();
    let retry = Retry::constant(1, Duration::ZERO).budget(budget.clone());
    let (pipeline, log) = (builder(Hedge::after(10 * MS)).retry(retry).build().unwrap(), Log::new());
    assert_eq!(pipeline.call_with(log.legs(&[(20, Ok(0)), (100, Ok(1))])).await, Ok(0));
    assert_eq!(budget.available(), 0);
    assert_eq!(pipeline.call_with(log.legs(&[(0, Err("down"))])).await, inner("down"), "nothing is left for a retry or a hedge");
    for _ in 0..9 {
        pipeline.call_with(log.legs(&[(0, Ok(0))])).await.unwrap();
    }
    assert_eq!(budget.available(), 1, "each call put in its share once");
}

#[tokio::test(start_paused = true)]
async fn h76_a_leg_that_never_begins_costs_no_token() {
    let script = [(30, Err("down")), (0, Ok(1))];
    for (queue, retries) in [(0, false), (5, false), (0, true), (5, true)] {
        let budget = Budget::new(0.001).min_per_second(0.0).burst(1).build().unwrap();
        // The only place is the first leg's: the second is refused, or stands in line until the first has failed.
        let places = Bulkhead::new(1).queue(queue).max_wait(20 * MS).build().unwrap();
        let hedge = Hedge::after(10 * MS);
        let stack = if retries {
            builder(hedge).retry(Retry::constant(0, Duration::ZERO).budget(budget.clone()))
        } else {
            builder(hedge.budget(budget.clone()))
        };
        let (pipeline, log) = (stack.bulkhead(places).build().unwrap(), Log::new());
        let slow = [(15, Ok(0)), (0, Ok(1))];
        assert_eq!(pipeline.call_with(log.legs(&slow)).await, Ok(0));
        assert_eq!(budget.available(), 1, "queue of {queue}: the operation ran once");
        if queue == 0 {
            assert_eq!(pipeline.call_with(log.legs(&script)).await, inner("down"));
            assert_eq!((budget.available(), log.started().len()), (1, 2));
        }
        // Dropped while the second leg stands in line.
        let mut call = Box::pin(pipeline.call_with(log.legs(&slow)));
        assert!(tokio::time::timeout(12 * MS, call.as_mut()).await.is_err());
        drop(call);
        assert_eq!(budget.available(), 1);
        // One that begins costs one.
        let free = builder(Hedge::after(10 * MS).budget(budget.clone())).build().unwrap();
        assert_eq!(free.call_with(log.legs(&slow)).await, Ok(1));
        assert_eq!(budget.available(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn x10_no_hedge_that_could_hardly_answer_in_time() {
    // Fixed: less time left than the delay.
    let (pipeline, log) = (hedged(Hedge::after(60 * MS)), Log::new());
    let error = pipeline.within(100 * MS).call_with(log.legs(&[(1_000, Ok(0)), (0, Ok(1))])).await.unwrap_err();
    assert_eq!((error.kind(), log.started().len(), log.now()), (Some(RejectedKind::DeadlineExceeded), 1, 100));
    assert_eq!(pipeline.hedge().unwrap().stats().denied_by_deadline, 1);
    // As much time as that is enough.
    let log = Log::new();
    assert_eq!(pipeline.within(120 * MS).call_with(log.legs(&[(1_000, Ok(0)), (30, Ok(1))])).await, Ok(1));
    // A percentile: less than the median.
    let pipeline = hedged(Hedge::at_percentile(0.9));
    for n in 0..200 {
        pipeline
            .call(|| async {
                sleep(if n % 10 == 0 { 80 * MS } else { 50 * MS }).await;
                Ok::<_, String>(())
            })
            .await
            .unwrap();
    }
    let delay = pipeline.hedge().unwrap().delay().unwrap();
    assert!(delay >= 50 * MS && delay <= 52 * MS, "{delay:?}");
    for (within, legs) in [(90 * MS, 1), (150 * MS, 2)] {
        let log = Log::new();
        let _ = pipeline.within(within).call_with(log.legs(&[(1_000, Ok(0)), (1_000, Ok(1))])).await;
        assert_eq!(log.started().len(), legs, "{within:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn h77_what_may_not_happen_twice_is_not_hedged() {
    let slow = [(50, Ok(0)), (0, Ok(1))];
    let legs = async |pipeline: &Pipeline, said: Option<bool>, once: bool| {
        let log = Log::new();
        let request = match (said, once) {
            (_, true) => pipeline.once(),
            (Some(said), _) => pipeline.idempotent(said),
            (None, _) => pipeline.cost(1),
        };
        request.call_with(log.legs(&slow)).await.unwrap();
        log.started().len()
    };
    let all = Pipeline::builder("all").hedge(Hedge::after(10 * MS).idempotent()).build().unwrap();
    let said = Pipeline::builder("said").hedge(Hedge::after(10 * MS).only_idempotent_calls()).build().unwrap();
    for (pipeline, unsaid) in [(&all, 2), (&said, 1)] {
        assert_eq!(legs(pipeline, None, false).await, unsaid);
        assert_eq!(legs(pipeline, Some(true), false).await, 2);
        assert_eq!(legs(pipeline, Some(false), false).await, 1);
        assert_eq!(legs(pipeline, None, true).await, 1);
    }
}

#[test]
fn h77_a_hedge_that_does_not_say_what_is_idempotent_cannot_be_built() {
    let error = Pipeline::builder("p").hedge(Hedge::after(10 * MS)).build().unwrap_err();
    assert_eq!(error.faults()[0].field(), "hedge.idempotent");
    assert!(error.to_string().contains(".idempotent()"), "{error}");
}

#[test]
fn h43_every_fault_is_named() {
    let fields = |config: HedgeConfig| {
        let faults = config.build().err().map(|error| error.faults().to_vec()).unwrap_or_default();
        faults.iter().map(|fault| fault.field().to_owned()).collect::<Vec<_>>()
    };
    for bad in [0.0, 1.0, -1.0, 95.0, f64::NAN, f64::INFINITY] {
        assert_eq!(fields(Hedge::at_percentile(bad).idempotent()), ["percentile"], "{bad}");
    }
    assert_eq!(fields(Hedge::after(MS).max_hedges(11)), ["idempotent", "max_hedges"]);
    assert_eq!(fields(Hedge::after(MS).idempotent().min_samples(9).initial_delay(MS)), ["min_samples", "initial_delay"]);
    assert_eq!(fields(Hedge::at_percentile(0.9).idempotent().min_samples(0).min_delay(2 * MS).max_delay(MS)), ["min_samples", "min_delay"]);
    assert_eq!(fields(Hedge::after(MS).idempotent().budget(Budget::new(2.0))), ["budget.share"]);
    assert!(fields(Hedge::after(Duration::MAX).idempotent().max_hedges(0)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn h128_operations_need_not_be_send() {
    let (pipeline, made) = (hedged(Hedge::after(10 * MS)), Rc::new(Cell::new(0)));
    let answer = pipeline
        .call_with(|attempt| {
            let made = Rc::clone(&made);
            async move {
                made.set(made.get() + 1);
                sleep(if attempt.is_hedge() { MS } else { 500 * MS }).await;
                Ok::<_, String>(made.get())
            }
        })
        .await;
    assert_eq!(answer, Ok(2));
    // And where they are, so is the call.
    let theirs = pipeline.clone();
    let spawned = tokio::spawn(async move { theirs.call(|| async { Ok::<_, String>(1) }).await });
    assert_eq!(spawned.await.unwrap(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn reconfigured_while_it_runs_it_goes_on_with_estimate_and_statistics() {
    let pipeline = hedged(Hedge::at_percentile(0.5).min_samples(10));
    let hedge = pipeline.hedge().unwrap();
    assert_eq!(hedge.delay(), None);
    for _ in 0..20 {
        pipeline
            .call(|| async {
                sleep(40 * MS).await;
                Ok::<_, String>(())
            })
            .await
            .unwrap();
    }
    assert!(hedge.delay().is_some_and(|delay| delay >= 40 * MS && delay <= 42 * MS));
    hedge.reconfigure(&hedge.config().max_delay(15 * MS)).unwrap();
    assert_eq!(hedge.delay(), Some(15 * MS));
    assert!(hedge.reconfigure(&Hedge::after(MS)).is_err());
    hedge.reconfigure(&Hedge::after(7 * MS).idempotent().max_hedges(0)).unwrap();
    let log = Log::new();
    pipeline.call_with(log.legs(&[(50, Ok(0))])).await.unwrap();
    assert_eq!((hedge.delay(), log.started().len()), (Some(7 * MS), 1));
    pipeline.reconfigure(&pipeline.config().hedge(Hedge::at_percentile(0.5).min_samples(10).idempotent())).unwrap();
    assert!(hedge.delay().is_some_and(|delay| delay >= 40 * MS && delay <= 42 * MS), "what was known is known still");
    pipeline.reconfigure(&pipeline.config().hedge(None)).unwrap();
    assert!(pipeline.hedge().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_leg_counts_for_that_leg_alone() {
    use futures_util::FutureExt;
    let breaker = CircuitBreaker::consecutive_failures(2).build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS)).circuit_breaker(breaker.clone()).build().unwrap();
    for _ in 0..2 {
        let call = pipeline.call_with(|attempt| async move {
            sleep(20 * MS).await;
            sleep(if attempt.is_hedge() { Duration::ZERO } else { 100 * MS }).await;
            assert!(!attempt.is_hedge(), "boom");
            Ok::<_, String>(())
        });
        assert!(std::panic::AssertUnwindSafe(call).catch_unwind().await.is_err());
    }
    assert_eq!(breaker.state(), CircuitState::Open, "two panics, and two that were abandoned and say nothing");
    let calls = pipeline.stats().calls.unwrap();
    assert_eq!((calls.panics(), calls.attempts(), calls.calls()), (2, 4, 2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_delay_of_ones_own_is_a_panic_and_loses_nothing() {
    use futures_util::FutureExt;
    let places = Bulkhead::new(1).build().unwrap();
    let breaker = CircuitBreaker::consecutive_failures(1).build().unwrap();
    let pipeline = builder(Hedge::custom(|_| panic!("delay"))).bulkhead(places.clone()).circuit_breaker(breaker.clone()).build().unwrap();
    let call = pipeline.call(|| async {
        sleep(MS).await;
        Ok::<_, String>(())
    });
    assert!(std::panic::AssertUnwindSafe(call).catch_unwind().await.is_err());
    let calls = pipeline.stats().calls.unwrap();
    assert_eq!((calls.panics(), calls.attempts(), places.in_use(), breaker.state()), (1, 1, 0, CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_delay_that_is_asked_for_again_is_a_panic_too() {
    use futures_util::FutureExt;
    let asked = AtomicUsize::new(0);
    let hedge = Hedge::custom(move |_| if asked.fetch_add(1, Ordering::Relaxed) == 0 { MS } else { panic!("delay") });
    let pipeline = builder(hedge).total_timeout(1_000 * MS).build().unwrap();
    let call = pipeline.call(std::future::pending::<Result<(), String>>);
    let ended = std::panic::AssertUnwindSafe(call).catch_unwind().await;
    let calls = pipeline.stats().calls.unwrap();
    assert_eq!((ended.is_err(), calls.panics(), calls.abandoned(), calls.attempts()), (true, 1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_polled_when_something_happened_and_not_in_a_loop() {
    let none = Budget::new(0.01).min_per_second(0.0).burst(1).build().unwrap();
    assert!(none.try_withdraw_at(Instant::now()));
    let places = Bulkhead::new(1).queue(9).build().unwrap();
    let hedges = [
        (Hedge::after(Duration::ZERO), 10),
        (Hedge::after(Duration::ZERO).budget(none.clone()), 1),
        (Hedge::after(Duration::MAX), 1),
        (Hedge::after(5 * MS), 10),
        (Hedge::after(5 * MS).budget(none), 1),
        (Hedge::custom(|leg| if leg == 3 { Duration::MAX } else { Duration::ZERO }), 3),
        (Hedge::at_percentile(0.5).initial_delay(Duration::ZERO), 10),
    ];
    for (hedge, legs) in hedges {
        for narrow in [false, true] {
            let mut builder = builder(hedge.clone().max_hedges(9)).total_timeout(3_600_000 * MS).attempt_timeout(1_800_000 * MS);
            if narrow {
                builder = builder.bulkhead(places.clone());
            }
            let pipeline = builder.build().unwrap();
            let (begun, mut polls) = (Cell::new(0), 0);
            let mut call = Box::pin(pipeline.call(|| {
                begun.set(begun.get() + 1);
                std::future::pending::<Result<(), String>>()
            }));
            let counted = std::future::poll_fn(|cx| {
                polls += 1;
                call.as_mut().poll(cx)
            });
            assert!(tokio::time::timeout(600_000 * MS, counted).await.is_err());
            assert!(polls <= 2 * legs + 2, "{hedge:?}, narrow {narrow}: {polls} polls");
            assert_eq!(begun.get(), if narrow { 1 } else { legs }, "{hedge:?}");
            drop(call);
            assert_eq!((places.in_use(), places.waiting()), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reconfigured_in_the_midst_of_a_race_every_leg_comes_home() {
    let settings = [
        (Hedge::after(MS).max_hedges(9), Bulkhead::new(20).queue(9)),
        (Hedge::after(Duration::MAX).max_hedges(0), Bulkhead::new(1)),
        (Hedge::at_percentile(0.5).min_samples(1).max_hedges(1), Bulkhead::new(2).queue(1)),
        (Hedge::custom(|_| Duration::ZERO).max_hedges(4), Bulkhead::new(3).queue(100)),
    ];
    for first in 0..settings.len() {
        for second in 0..settings.len() {
            let with = |n: usize| {
                let (hedge, places) = settings[n].clone();
                builder(hedge).bulkhead(places).circuit_breaker(CircuitBreaker::consecutive_failures(9)).build().unwrap()
            };
            let (pipeline, other) = (with(first), with(second).config());
            let original = pipeline.config();
            let calls: Vec<_> = (0..20)
                .map(|n| {
                    let pipeline = pipeline.clone();
                    tokio::spawn(async move {
                        let operation = |attempt: Attempt| async move {
                            sleep(MS * (n % 7 + attempt.leg())).await;
                            if (n + attempt.leg()).is_multiple_of(3) { Err("down".to_owned()) } else { Ok(()) }
                        };
                        let _ = pipeline.call_with(operation).await;
                    })
                })
                .collect();
            for step in 0..6 {
                sleep(MS).await;
                pipeline.reconfigure(&if step % 2 == 0 { other.clone() } else { original.clone() }).unwrap();
            }
            for call in calls {
                call.await.unwrap();
            }
            let places = pipeline.bulkhead().unwrap();
            assert_eq!((places.in_use(), places.waiting()), (0, 0), "{first} {second}");
            assert_eq!(pipeline.stats().calls.unwrap().calls(), 20);
        }
    }
}

#[test]
fn without_a_runtime_nothing_is_hedged() {
    let pipeline = hedged(Hedge::after(10 * MS));
    let polls = Arc::new(AtomicUsize::new(0));
    let mut call = Box::pin(pipeline.call(|| {
        let polls = Arc::clone(&polls);
        std::future::poll_fn(
            move |_| if polls.fetch_add(1, Ordering::Relaxed) > 0 { Poll::Ready(Ok::<_, String>(1)) } else { Poll::Pending },
        )
    }));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut cx).is_pending());
    assert_eq!(call.as_mut().poll(&mut cx), Poll::Ready(Ok(1)));
}

#[test]
fn what_it_can_cost_is_explained_and_what_is_hardly_meant_is_named() {
    let hedge = || Hedge::after(50 * MS).idempotent();
    let alone = Pipeline::builder("p").attempt_timeout(100 * MS).hedge(hedge()).build().unwrap();
    assert_eq!(alone.to_string(), "p: hedge > attempt timeout 100 ms > operation");
    let explained = alone.explain();
    assert_eq!((explained.attempts(), explained.worst_case(), explained.load()), (2, Some(200 * MS), 1.1));
    let retry = Retry::constant(3, Duration::ZERO);
    let both = Pipeline::builder("p").total_timeout(1_000 * MS).attempt_timeout(100 * MS).retry(retry).hedge(hedge()).build().unwrap();
    let explained = both.explain();
    assert_eq!((explained.attempts(), explained.worst_case(), explained.load()), (8, Some(800 * MS), 1.1), "one budget for both");
    assert!(explained.to_string().contains("at most 8 ((1 + 3 retries) x 2 legs)"), "{explained}");
    assert!(both.warnings().is_empty(), "{:?}", both.warnings());
    let late = Pipeline::builder("p").attempt_timeout(40 * MS).hedge(hedge()).build().unwrap();
    assert_eq!(late.warnings()[0].to_string(), "hedge.after: an attempt ends after 40 ms, so it is never slow for 50 ms; lower it");
}

#[tokio::test(start_paused = true)]
async fn h129_every_leg_runs_in_the_span_of_the_call() {
    use tracing_subscriber::layer::SubscriberExt;
    let subscriber = tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_writer(std::io::sink));
    let _default = tracing::subscriber::set_default(subscriber);
    let pipeline = Pipeline::builder("p").hedge(Hedge::after(10 * MS).max_hedges(2).idempotent()).spans().build().unwrap();
    let spans = RefCell::new(Vec::new());
    let mut call = Box::pin(pipeline.call(|| async {
        for _ in 0..3 {
            spans.borrow_mut().push(tracing::Span::current().id());
            sleep(15 * MS).await;
        }
        Ok::<_, String>(())
    }));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(tracing::Span::current().id(), None, "while the call waits, its span is left");
    call.await.unwrap();
    let spans = spans.into_inner();
    assert!(spans.len() > 5 && spans[0].is_some() && spans.iter().all(|span| *span == spans[0]), "{spans:?}");
    assert_eq!(tracing::Span::current().id(), None);
}

#[tokio::test(start_paused = true)]
async fn calls_inside_a_leg_have_the_deadline_of_the_call() {
    let inner = Pipeline::builder("inner").build().unwrap();
    let pipeline = builder(Hedge::after(10 * MS)).total_timeout(100 * MS).build().unwrap();
    let deadlines = RefCell::new(Vec::new());
    let call = pipeline.call(|| async {
        let nested = inner.call_with(|attempt| {
            deadlines.borrow_mut().push(attempt.deadline());
            async {
                sleep(50 * MS).await;
                Ok::<_, String>(())
            }
        });
        nested.await.map_err(|error| error.to_string())
    });
    let until = Instant::now() + 100 * MS;
    call.await.unwrap();
    assert_eq!(*deadlines.borrow(), [Some(until); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_value_judged_a_failure_is_hedged_and_given_when_nothing_better_comes() {
    let pipeline = Pipeline::builder("p").hedge(Hedge::after(Duration::MAX).idempotent()).monitor(Monitor::new()).build().unwrap();
    let judge = |result: &Result<u32, String>| if matches!(result, Ok(2)) { Verdict::Success } else { Verdict::transient() };
    for (second, end) in [(2, CallEnd::Success), (1, CallEnd::Failure)] {
        let mut events = pipeline.events();
        let answer = pipeline.classify(judge).call_with(|attempt| async move { Ok(if attempt.is_hedge() { second } else { 0 }) }).await;
        assert_eq!(answer, Ok(second));
        let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert!(matches!(told.last(), Some(Event::CallFinished { end: told, attempts: 2, .. }) if *told == end), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_judged_a_failure_is_not_hidden_by_a_leg_that_is_refused() {
    let judge = |result: &Result<u32, String>| if result.is_ok() { Verdict::transient() } else { Verdict::Permanent };
    let one = |hedge: HedgeConfig| builder(hedge).rate_limit(RateLimiter::per_hour(1)).build().unwrap();
    let pipeline = one(Hedge::after(Duration::MAX));
    let mut events = pipeline.events();
    assert_eq!(pipeline.classify(judge).call(|| async { Ok(503) }).await, Ok(503), "not `RateLimited`");
    let told: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    assert!(matches!(told.last(), Some(Event::CallFinished { end: CallEnd::Failure, attempts: 1, .. })), "{told:?}");
    // The same of the last of three, and the latest counts: of an answer and an error, of an error and an answer.
    for (first, second, expected) in [(Ok(1), Err("down"), inner("down")), (Err("down"), Ok(2), Ok(2)), (Ok(1), Ok(2), Ok(2))] {
        let judge = |_: &Result<u32, String>| Verdict::transient();
        let pipeline = builder(Hedge::after(Duration::MAX).max_hedges(2)).rate_limit(RateLimiter::per_hour(2)).build().unwrap();
        let answer = pipeline.classify(judge).call_with(|attempt| {
            let answer = if attempt.is_hedge() { second } else { first };
            async move { answer.map_err(str::to_owned) }
        });
        assert_eq!(answer.await, expected);
    }
}

/// Lets second legs wait for 30 ms, and refuses them.
struct OnlyFirst;

struct Passed;

impl Pass for Passed {
    fn settle(self: Box<Self>, _: Outcome) {}
}

impl Gate for OnlyFirst {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        Box::pin(async move {
            if call.attempt().is_hedge() {
                sleep(30 * MS).await;
                return Err(Rejected::new(RejectedKind::Custom("only first")));
            }
            Ok(Box::new(Passed) as Box<dyn Pass>)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_judged_a_failure_before_another_leg_waited_gives_way_to_what_is_still_known() {
    let judge = |result: &Result<u32, String>| if matches!(result, Ok(1..)) { Verdict::Success } else { Verdict::transient() };
    for (retries, expected) in [(0, None), (1, Some("down"))] {
        let retry = Retry::constant(retries.max(1), Duration::ZERO).without_budget();
        let pipeline = builder(Hedge::after(10 * MS)).gate(OnlyFirst);
        let pipeline = if retries > 0 { pipeline.retry(retry) } else { pipeline }.build().unwrap();
        let answer = pipeline.classify(judge).call_with(|attempt| async move {
            if attempt.number() <= retries {
                return Err("down".to_owned());
            }
            sleep(20 * MS).await;
            Ok(0)
        });
        let error = answer.await.unwrap_err();
        assert_eq!(error.inner().map(String::as_str), expected, "{error:?}");
        assert_eq!(error.kind(), expected.is_none().then_some(RejectedKind::Custom("only first")));
    }
}

// ------------------------------------------------------------------ what it is for

/// Numbers that are the same on every run (splitmix64), and latencies made of them.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Lognormal: median 20 ms, sigma 1 (p95 103.6 ms, p99.9 439 ms).
    fn lognormal(&mut self) -> Duration {
        let (u, v) = (1.0 - self.unit(), self.unit());
        let normal = (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos();
        Duration::from_secs_f64(0.020 * normal.exp())
    }
}

struct Figures {
    latencies: Vec<Duration>,
    load: f64,
}

impl Figures {
    fn quantile(&self, q: f64) -> f64 {
        self.latencies[((self.latencies.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3
    }
}

/// `n` calls, so many at once, each leg with a latency of its own.
async fn measure(pipeline: &Pipeline, n: usize, mut each: impl FnMut(usize)) -> Figures {
    let (dice, legs) = (RefCell::new(Dice(42)), Cell::new(0_u32));
    let mut latencies = Vec::with_capacity(n);
    for i in 0..n {
        let begun = Instant::now();
        let call = pipeline.call(|| {
            legs.set(legs.get() + 1);
            let latency = dice.borrow_mut().lognormal();
            async move {
                sleep(latency).await;
                Ok::<_, String>(())
            }
        });
        call.await.unwrap();
        latencies.push(begun.elapsed());
        each(i);
    }
    latencies.sort();
    Figures { latencies, load: f64::from(legs.get()) / n as f64 }
}

#[tokio::test(start_paused = true)]
async fn at_p95_on_lognormal_latency_p999_falls_by_half_for_five_percent_more_load_and_the_delay_stays() {
    const CALLS: usize = 100_000;
    let plain = measure(&Pipeline::builder("plain").build().unwrap(), CALLS, |_| ()).await;
    let pipeline = Pipeline::builder("hedged").hedge(Hedge::at_percentile(0.95).idempotent()).build().unwrap();
    let (hedge, mut least, mut most) = (pipeline.hedge().unwrap().clone(), f64::MAX, 0.0_f64);
    let hedged = measure(&pipeline, CALLS, |i| {
        // Every estimate of a window rests on 50 to 100 slow ones of it.
        if i > 2_000 && i % 100 == 0 {
            let delay = hedge.delay().unwrap().as_secs_f64() * 1e3;
            (least, most) = (least.min(delay), most.max(delay));
        }
    })
    .await;
    let stats = hedge.stats();
    println!(
        "p50 {:.1} -> {:.1}, p95 {:.1} -> {:.1}, p99 {:.1} -> {:.1}, p99.9 {:.1} -> {:.1} ms, load {:.4}, delay {least:.1} to {most:.1} ms\n{stats}",
        plain.quantile(0.5),
        hedged.quantile(0.5),
        plain.quantile(0.95),
        hedged.quantile(0.95),
        plain.quantile(0.99),
        hedged.quantile(0.99),
        plain.quantile(0.999),
        hedged.quantile(0.999),
        hedged.load
    );
    let truth = 103.6;
    assert!(least > 0.75 * truth && most < 1.35 * truth, "{least} to {most}");
    assert!(hedged.quantile(0.999) <= 0.5 * plain.quantile(0.999));
    assert!(hedged.load > 1.03 && hedged.load < 1.06, "{}", hedged.load);
}

#[tokio::test(start_paused = true)]
async fn h76_a_dependency_that_slows_down_as_a_whole_is_not_hedged_for_long() {
    let budget = Budget::new(0.1).min_per_second(0.0);
    let pipeline = Pipeline::builder("p").hedge(Hedge::at_percentile(0.95).budget(budget).idempotent()).build().unwrap();
    let (hedge, dice) = (pipeline.hedge().unwrap(), RefCell::new(Dice(1)));
    let phase = async |slower: u32, calls: u64| {
        let before = hedge.stats().launched;
        for _ in 0..calls {
            let call = pipeline.call(|| {
                let latency = dice.borrow_mut().lognormal() * slower;
                async move {
                    sleep(latency).await;
                    Ok::<_, String>(())
                }
            });
            call.await.unwrap();
        }
        (hedge.stats().launched - before) as f64 / calls as f64
    };
    assert!(phase(1, 3_000).await < 0.06);
    let slowed = phase(10, 1_000).await;
    assert!(slowed < 0.15, "the budget holds while the percentile is still that of better times: {slowed}");
    let known = phase(10, 3_000).await;
    assert!(known < 0.06, "then it is known: {known}");
    let delay = hedge.delay().unwrap().as_secs_f64();
    assert!((0.75..1.35).contains(&(delay / 1.036)), "{delay}");
    phase(1, 3_000).await;
    let delay = hedge.delay().unwrap().as_secs_f64();
    assert!((0.75..1.35).contains(&(delay / 0.1036)), "and back: {delay}");
}

/// What a race comes to, worked out leg by leg: the answer, when, and when each leg began.
fn worked_out(delay: Option<u64>, most: usize, script: &[(u64, Result<u32, &'static str>)]) -> (Result<u32, String>, u64, Vec<(u32, u64)>) {
    let (mut began, mut told, mut runs) = (vec![0], Vec::new(), vec![true]);
    let (mut alarm, mut now) = (if most > 0 { delay } else { None }, 0);
    loop {
        let mut leg = 0;
        while leg < began.len() {
            let mut launch = false;
            if leg == told.len() {
                told.push((leg as u32, now));
            }
            if runs[leg] && began[leg] + script[leg].0 == now {
                runs[leg] = false;
                launch = began.len() <= most;
                let end = script[leg].1;
                if end.is_ok() || end == Err("fatal") || !(launch || runs.contains(&true)) {
                    return (end.map_err(str::to_owned), now, told);
                }
            } else if runs[leg] && leg + 1 == began.len() && alarm == Some(now) {
                launch = true;
            }
            if launch {
                began.push(now);
                runs.push(true);
                alarm = if began.len() <= most { delay.map(|delay| now + delay) } else { None };
            }
            leg += 1;
        }
        let ends = (0..began.len()).filter(|leg| runs[*leg]).map(|leg| began[leg] + script[leg].0);
        now = ends.chain(alarm).filter(|at| *at > now).min().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn any_race_ends_as_it_does_when_worked_out_leg_by_leg() {
    let (mut dice, up_to) = (Dice(7), |dice: &mut Dice, n: u64| (dice.unit() * n as f64) as u64);
    let mut seen = [0; 3];
    for case in 0..2_000 {
        let delay = (up_to(&mut dice, 4) > 0).then(|| up_to(&mut dice, 30));
        let most = up_to(&mut dice, 5) as usize;
        let script: Vec<_> = (0..=most as u32)
            .map(|leg| {
                let end = match up_to(&mut dice, 4) {
                    0 => Ok(leg),
                    1 => Err("fatal"),
                    _ => Err(["a", "b", "c", "d", "e"][leg as usize]),
                };
                (up_to(&mut dice, 50), end)
            })
            .collect();
        let hedge = Hedge::after(delay.map_or(Duration::MAX, Duration::from_millis)).max_hedges(most as u32).budget(Budget::unlimited());
        let (pipeline, log) = (builder(hedge).bulkhead(Bulkhead::new(9)).build().unwrap(), Log::new());
        let answer = pipeline.call_with(log.legs(&script)).await;
        let (expected, at, began) = worked_out(delay, most, &script);
        let at_all = format!("case {case}: {delay:?}, {most} more, {script:?}");
        assert_eq!((answer, log.now(), log.started()), (expected.clone().map_err(Error::Inner), at, began.clone()), "{at_all}");
        assert_eq!((log.running.get(), pipeline.bulkhead().unwrap().in_use()), (0, 0), "{at_all}");
        assert_attempts(&pipeline, began.len() as u64);
        seen[match expected {
            Ok(_) => 0,
            Err(error) if error == "fatal" => 1,
            Err(_) => 2,
        }] += 1;
    }
    assert!(seen.iter().all(|seen| *seen > 100), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn outcomes_alone_teach_a_hedge_that_is_used_alone() {
    let hedge = Hedge::at_percentile(0.5).only_idempotent_calls().min_samples(3).build().unwrap();
    for ms in [10, 20, 30] {
        hedge.record(Outcome::Judged(Verdict::Success), ms * MS);
        hedge.record(Outcome::NotAttempted, MS);
    }
    assert!(hedge.delay().is_some_and(|delay| delay >= 20 * MS && delay <= 21 * MS));
    assert!(format!("{hedge:?}").contains("AtPercentile(0.5)"));
}
