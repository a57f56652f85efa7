//! A pipeline as a tower layer: readiness, retries, judging, and what may not be sent twice.
#![cfg_attr(feature = "tower", expect(clippy::unwrap_used, reason = "a test may panic"))]
#![cfg(feature = "tower")]

use std::cell::Cell;
use std::future::{Ready, pending, ready};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast::client::tower::{PipelineLayer, PipelineService};
use steadfast::{
    Bulkhead, CircuitBreaker, CircuitState, Error, Hedge, Jitter, Monitor, Pipeline, PipelineBuilder, Priority, RateLimiter, RejectedKind,
    Retry, Verdict,
};
use tokio::time::{Instant, sleep};
use tokio_test::task::spawn;
use tower::limit::ConcurrencyLimitLayer;
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn retrying(retries: u32, delay: Duration) -> PipelineBuilder {
    Pipeline::builder("inner").retry(Retry::constant(retries, delay).jitter(Jitter::None).without_budget())
}

/// How many are inside at once, and were at most.
#[derive(Clone, Default)]
struct Inside(Arc<(AtomicUsize, AtomicUsize, AtomicUsize)>);

impl Inside {
    async fn spend(&self, time: Duration) {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        let (now, most, calls) = &*self.0;
        calls.fetch_add(1, SeqCst);
        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        let _leave = Leave(now);
        sleep(time).await;
    }

    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }

    fn calls(&self) -> usize {
        self.0.2.load(SeqCst)
    }
}

// ------------------------------------------------------------------ readiness

#[tokio::test(start_paused = true)]
async fn x_the_tower_layer_works_over_a_service_that_must_be_ready_first() {
    let inside = Inside::default();
    let service = ServiceBuilder::new().layer(PipelineLayer::new(retrying(3, 5 * MS).build().unwrap())).concurrency_limit(1).service_fn({
        let inside = inside.clone();
        move |(caller, tries): (u32, Arc<AtomicUsize>)| {
            let inside = inside.clone();
            async move {
                inside.spend(10 * MS).await;
                // Every caller fails twice.
                if tries.fetch_add(1, SeqCst) < 2 { Err(format!("down for {caller}")) } else { Ok(caller) }
            }
        }
    });
    let calls: Vec<_> = (0..5).map(|caller| tokio::spawn(service.clone().oneshot((caller, Arc::default())))).collect();
    for (caller, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), Ok(u32::try_from(caller).unwrap()));
    }
    assert_eq!((inside.calls(), inside.most()), (15, 1));
}

#[tokio::test(start_paused = true)]
async fn no_place_is_held_through_a_pause() {
    let calls = Arc::new(AtomicUsize::new(0));
    let service = ServiceBuilder::new().layer(PipelineLayer::new(retrying(1, HOUR).build().unwrap())).concurrency_limit(1).service_fn({
        let calls = Arc::clone(&calls);
        move |(): ()| ready(if calls.fetch_add(1, SeqCst) == 0 { Err("first") } else { Ok(()) })
    });
    let started = Instant::now();
    let pausing = tokio::spawn(service.clone().oneshot(()));
    while calls.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.clone().oneshot(()).await, Ok(()));
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(pausing.await.unwrap(), Ok(()));
    assert_eq!((started.elapsed(), calls.load(SeqCst)), (HOUR, 3));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_readiness_is_part_of_the_attempt() {
    let limit = ConcurrencyLimitLayer::new(1);
    let limited = limit.layer(service_fn(|(): ()| pending::<Result<(), String>>()));
    let pipeline = retrying(2, MS).attempt_timeout(10 * MS).build().unwrap();
    let service = PipelineLayer::new(pipeline).layer(limited.clone());
    // Somebody else has the one place, for ever.
    let mut holder = limited;
    holder.ready().await.unwrap();
    let started = Instant::now();
    let error = service.clone().oneshot(()).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (Some(RejectedKind::Timeout), Some(3)));
    assert_eq!(started.elapsed(), 32 * MS);
    // A call given up while it waits leaves no trace in the queue of the limit.
    drop(holder);
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!(error.attempts(), Some(3), "the place was free each time, and the service itself hangs");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_frees_the_place() {
    let limited = ConcurrencyLimitLayer::new(1).layer(service_fn(|(): ()| pending::<Result<(), String>>()));
    let mut service = PipelineLayer::new(retrying(2, MS).build().unwrap()).layer(limited.clone());
    let mut call = spawn(service.call(()));
    assert!(call.poll().is_pending());
    let mut other = limited;
    assert!(spawn(other.ready()).poll().is_pending());
    drop(call);
    assert!(spawn(other.ready()).poll().is_ready());
}

/// Insists on the contract: a clone is not ready, and one readiness is good for one call.
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: Arc::clone(&self.calls) }
    }
}

impl Service<u32> for Strict {
    type Response = u32;
    type Error = String;
    type Future = Ready<Result<u32, String>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.ready = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: u32) -> Self::Future {
        assert!(std::mem::replace(&mut self.ready, false), "called before it was ready");
        ready(if self.calls.fetch_add(1, SeqCst) < 2 { Err("down".to_owned()) } else { Ok(request) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_contract_of_services_is_kept() {
    let strict = Strict { ready: false, calls: Arc::default() };
    let service = PipelineLayer::new(retrying(3, Duration::ZERO).build().unwrap()).layer(strict.clone());
    assert_eq!(service.oneshot(7).await, Ok(7));
    assert_eq!(strict.calls.load(SeqCst), 3);
}

/// Fails to become ready.
#[derive(Clone)]
struct Gone(Arc<AtomicUsize>);

impl Service<()> for Gone {
    type Response = ();
    type Error = String;
    type Future = Ready<Result<(), String>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        self.0.fetch_add(1, SeqCst);
        Poll::Ready(Err("gone".into()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_fails_the_attempt() {
    let polls = Arc::default();
    let mut service = PipelineLayer::new(retrying(2, MS).build().unwrap()).layer(Gone(Arc::clone(&polls)));
    assert!(service.ready().await.is_ok(), "the layer itself is always ready");
    assert_eq!(service.call(()).await, Err(Error::Inner("gone".into())));
    assert_eq!(polls.load(SeqCst), 3);
}

// ------------------------------------------------------------------ judging

#[tokio::test(start_paused = true)]
async fn errors_are_judged_by_their_type_and_a_rejection_quotes_them() {
    let judge = |e: &u16| if *e < 500 { Verdict::permanent() } else { Verdict::transient() };
    let pipeline = retrying(3, MS).attempt_timeout(10 * MS).classify(judge).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let service = PipelineLayer::new(pipeline).layer(service_fn(move |code: u16| {
        let first = count.fetch_add(1, SeqCst) == 0;
        async move { if code < 1_000 || first { Err::<(), _>(code) } else { pending().await } }
    }));
    let attempts = |expected: usize| assert_eq!(calls.swap(0, SeqCst), expected);
    assert_eq!(service.clone().oneshot(404).await, Err(Error::Inner(404)));
    attempts(1);
    assert_eq!(service.clone().oneshot(503).await, Err(Error::Inner(503)));
    attempts(4);
    let error = service.oneshot(1_503).await.unwrap_err();
    assert_eq!(error.rejected().and_then(|rejected| rejected.last_error()), Some("1503"));
}

#[tokio::test(start_paused = true)]
async fn responses_are_judged_and_the_last_one_is_the_callers() {
    let breaker = CircuitBreaker::consecutive_failures(4).build().unwrap();
    let pipeline = retrying(2, MS).circuit_breaker(breaker.clone()).monitor(Monitor::new()).build().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&count);
    let layer = PipelineLayer::new(pipeline.clone()).classify(|answer: &Result<(u16, usize), String>| match answer {
        Ok((200, _)) => Verdict::Success,
        Ok((404, _)) => Verdict::Ignored,
        _ => Verdict::transient(),
    });
    let service = layer.layer(service_fn(move |status: u16| ready(Ok::<_, String>((status, calls.fetch_add(1, SeqCst))))));
    assert_eq!(service.clone().oneshot(200).await, Ok((200, 0)));
    assert_eq!(service.clone().oneshot(404).await, Ok((404, 1)));
    assert_eq!(service.clone().oneshot(503).await, Ok((503, 4)), "of three attempts the last");
    let calls = pipeline.stats().calls.unwrap().all_time().clone();
    assert_eq!((calls.successes(), calls.failures()), (1, 2));
    assert_eq!(service.clone().oneshot(503).await, Ok((503, 5)), "the breaker opened: what there was comes back");
    assert_eq!(breaker.state(), CircuitState::Open);
    assert!(service.oneshot(200).await.unwrap_err().is_circuit_open());
    assert_eq!(count.load(SeqCst), 6);
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_pipeline() {
    let layer = PipelineLayer::new(Pipeline::builder("shared").rate_limit(RateLimiter::per_hour(2)).build().unwrap());
    let (a, b) =
        (layer.layer(service_fn(|(): ()| ready(Ok::<_, String>(1)))), layer.clone().layer(service_fn(|(): ()| ready(Ok::<_, String>(2)))));
    assert_eq!((a.clone().oneshot(()).await, b.clone().oneshot(()).await), (Ok(1), Ok(2)));
    assert!(a.clone().oneshot(()).await.unwrap_err().is_rate_limited());
    assert!(b.oneshot(()).await.unwrap_err().is_rate_limited());
    assert_eq!(format!("{:?}", a.pipeline()), "Pipeline(shared: rate limit > operation)");
}

#[tokio::test(start_paused = true)]
async fn layers_of_one_pipeline_may_weigh_differently() {
    let bulkhead = Bulkhead::new(1).queue(10).max_wait(HOUR);
    let pipeline = Pipeline::builder("shared").bulkhead(bulkhead).rate_limit(RateLimiter::per_hour(8)).build().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let service = |priority| {
        let order = Arc::clone(&order);
        PipelineLayer::new(pipeline.clone()).priority(priority).cost(2).layer(service_fn(move |(): ()| {
            order.lock().unwrap().push(priority);
            async {
                sleep(MS).await;
                Ok::<_, String>(())
            }
        }))
    };
    let waiting = [Priority::Low, Priority::Background, Priority::Critical, Priority::Normal];
    let calls: Vec<_> = waiting.map(|priority| tokio::spawn(service(priority).oneshot(()))).into_iter().collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(()));
    }
    assert_eq!(
        *order.lock().unwrap(),
        [Priority::Low, Priority::Critical, Priority::Normal, Priority::Background],
        "the first found it empty"
    );
    assert!(service(Priority::Critical).oneshot(()).await.unwrap_err().is_rate_limited(), "four calls of cost 2 were the quota");
}

// ------------------------------------------------------------------ requests

/// Cannot be cloned by itself.
#[derive(Debug, PartialEq)]
struct Job {
    text: &'static str,
    twice: bool,
}

#[tokio::test(start_paused = true)]
async fn h77_a_request_that_may_not_be_sent_twice_is_sent_once() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let pipeline = retrying(2, MS).attempt_timeout(10 * MS).build().unwrap();
    let layer = PipelineLayer::new(pipeline).clone_request_with(|job: &Job| job.twice.then_some(Job { ..*job }));
    let service = layer.layer(service_fn(move |job: Job| {
        let hang = job.text == "hang";
        log.lock().unwrap().push(job);
        async move { if hang { pending().await } else { Err::<(), _>("down") } }
    }));
    for (text, twice, attempts) in [("a", true, 3), ("b", false, 1), ("hang", true, 3), ("hang", false, 1)] {
        let error = service.clone().oneshot(Job { text, twice }).await.unwrap_err();
        assert_eq!(error.is_timeout(), text == "hang");
        assert_eq!(seen.lock().unwrap().drain(..).filter(|job| *job == Job { text, twice }).count(), attempts, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_is_repeated_nothing_is_copied() {
    let copies = Arc::new(AtomicUsize::new(0));
    let counted = |pipeline: Pipeline| {
        let copies = Arc::clone(&copies);
        PipelineLayer::new(pipeline).clone_request_with(move |text: &String| {
            copies.fetch_add(1, SeqCst);
            Some(text.clone())
        })
    };
    let echo = service_fn(|text: String| ready(if text == "down" { Err(text) } else { Ok(text) }));
    let once = counted(Pipeline::builder("once").build().unwrap()).layer(echo);
    assert_eq!(once.oneshot("x".into()).await, Ok("x".into()));
    assert_eq!(copies.load(SeqCst), 0);
    let retried = counted(retrying(2, MS).build().unwrap()).layer(echo);
    assert!(retried.oneshot("down".into()).await.is_err());
    assert_eq!(copies.load(SeqCst), 3, "one for each attempt");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_fails_later_is_a_typed_error() {
    let left = Arc::new(AtomicUsize::new(1));
    let layer = PipelineLayer::new(retrying(2, MS).build().unwrap())
        .clone_request_with(move |(): &()| left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).ok().map(drop));
    let error = layer.layer(service_fn(|(): ()| ready(Err::<(), _>("down")))).oneshot(()).await.unwrap_err();
    assert_eq!(error.kind(), Some(RejectedKind::NotRepeatable));
}

// ------------------------------------------------------------------ types

#[tokio::test(start_paused = true)]
async fn services_and_requests_need_be_send_but_not_sync() {
    let boxed = BoxCloneService::new(service_fn(|cell: Cell<u32>| ready(Ok::<_, String>(cell.get()))));
    let layer = PipelineLayer::new(retrying(1, MS).build().unwrap()).clone_request_with(|cell: &Cell<u32>| Some(Cell::new(cell.get())));
    let service: PipelineService<BoxCloneService<Cell<u32>, u32, String>, _, _> = layer.layer(boxed);
    assert_eq!(tokio::spawn(service.oneshot(Cell::new(7))).await.unwrap(), Ok(7));
}

#[tokio::test(start_paused = true)]
async fn a_local_layer_asks_for_no_send() {
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    let layer = PipelineLayer::new(retrying(2, MS).build().unwrap()).local();
    let service = layer.layer(service_fn(move |add: Rc<u32>| {
        count.set(count.get() + *add);
        ready(if count.get() < 3 { Err("down") } else { Ok(Rc::clone(&count)) })
    }));
    assert_eq!(service.oneshot(Rc::new(1)).await.unwrap().get(), 3);
    assert_eq!(seen.get(), 3);
}

#[test]
fn what_is_send_and_what_is_sync() {
    fn send_and_sync<T: Send + Sync + 'static>(_: &T) {}
    fn send<T: Send>(_: &T) {}
    let layer = PipelineLayer::new(Pipeline::builder("p").build().unwrap());
    send_and_sync(&layer);
    send_and_sync(&layer.clone().local());
    let mut service = layer.layer(service_fn(|(): ()| ready(Ok::<(), String>(()))));
    send_and_sync(&service);
    send(&service.call(()));
}

// ------------------------------------------------------------------ hedging

#[tokio::test(start_paused = true)]
async fn a_layer_hedges_copies_and_what_cannot_be_copied_is_sent_once() {
    let pipeline = Pipeline::builder("hedged").hedge(Hedge::after(10 * MS).idempotent()).build().unwrap();
    for (copies, seconds) in [(true, 0), (false, 1)] {
        let sent = Arc::new(AtomicUsize::new(0));
        let theirs = Arc::clone(&sent);
        let service = service_fn(move |request: u32| {
            let first = theirs.fetch_add(1, SeqCst) == 0;
            async move {
                sleep(if first { 1_000 * MS } else { MS }).await;
                Ok::<_, String>(request)
            }
        });
        let layer = PipelineLayer::new(pipeline.clone()).clone_request_with(move |request: &u32| copies.then_some(*request));
        let begun = Instant::now();
        assert_eq!(layer.layer(service).oneshot(7).await, Ok(7));
        assert_eq!((begun.elapsed().as_secs(), sent.load(SeqCst)), (seconds, 1 + usize::from(copies)));
    }
}
