//! Coalesce: one runs, all have the answer; and nobody waits for who does not come.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::future::{pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steadfast::{Coalesce, Error, Monitor, Pipeline, RejectedKind, Retry};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);

type Group<T = u32, E = String> = Coalesce<T, E>;

fn group() -> Group {
    Coalesce::new().build().unwrap()
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts how many run at once, and how often one began.
#[derive(Default)]
struct Watch {
    now: AtomicU32,
    most: AtomicU32,
    runs: AtomicU32,
}

struct Running<'a>(&'a Watch);

impl Watch {
    fn begin(&self) -> Running<'_> {
        self.runs.fetch_add(1, SeqCst);
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn h10_a_dropped_leader_hands_over_to_exactly_one() {
    let (group, watch) = (group(), Arc::new(Watch::default()));
    let mut callers = Vec::new();
    for _ in 0..1_000 {
        let (group, watch) = (group.clone(), Arc::clone(&watch));
        callers.push(tokio::spawn(async move {
            let operation = || async {
                let run = watch.begin();
                let leader = run.0.runs.load(SeqCst);
                sleep(SECOND).await;
                Ok(leader)
            };
            group.call("key", operation).await
        }));
    }
    // Whoever is first in line leads next.
    for leader in callers.iter().take(5) {
        sleep(SECOND / 2).await;
        assert_eq!(watch.now.load(SeqCst), 1);
        leader.abort();
    }
    let mut answers = 0;
    for caller in callers {
        match caller.await {
            Ok(answer) => {
                assert_eq!(answer, Ok(6));
                answers += 1;
            }
            Err(error) => assert!(error.is_cancelled()),
        }
    }
    assert_eq!((answers, watch.runs.load(SeqCst), watch.most.load(SeqCst)), (995, 6, 1));
    assert_eq!(group.in_flight(), 0);
    let stats = group.stats();
    assert_eq!((stats.led, stats.shared, stats.handed_over, stats.impatient, stats.alone), (6, 994, 5, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn h110_a_stampede_runs_once() {
    let (group, watch) = (group(), Watch::default());
    let operation = || async {
        let _run = watch.begin();
        sleep(SECOND).await;
        Ok(7)
    };
    let mut callers: Vec<_> = (0..10_000).map(|_| Box::pin(group.call("key", operation))).collect();
    callers.iter_mut().for_each(|caller| assert!(poll(caller.as_mut()).is_pending()));
    sleep(SECOND).await;
    callers.iter_mut().for_each(|caller| assert_eq!(poll(caller.as_mut()), Poll::Ready(Ok(7))));
    assert_eq!((watch.runs.load(SeqCst), group.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn h11_dropped_followers_are_missed_by_nobody() {
    let (group, watch) = (group(), Watch::default());
    let operation = || async {
        let _run = watch.begin();
        sleep(SECOND).await;
        Ok(7)
    };
    let mut leader = Box::pin(group.call("key", operation));
    assert!(poll(leader.as_mut()).is_pending());
    let mut followers: Vec<_> = (0..999).map(|_| Box::pin(group.call("key", operation))).collect();
    followers.iter_mut().for_each(|follower| assert!(poll(follower.as_mut()).is_pending()));
    drop(followers);
    assert_eq!(leader.await, Ok(7));
    assert_eq!((watch.runs.load(SeqCst), group.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn h24_a_leader_that_panics_leaves_its_followers_an_answer() {
    for kept in [false, true] {
        let (group, started) = (group(), Instant::now());
        let mut doomed = Box::pin(group.call("key", || async {
            sleep(SECOND / 2).await;
            panic!("the leader")
        }));
        assert!(poll(doomed.as_mut()).is_pending());
        let mut followers = JoinSet::new();
        for number in 0..100 {
            let group = group.clone();
            followers.spawn(async move { group.call("key", || ready(Ok(number))).await });
        }
        sleep(SECOND / 2).await;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(doomed.as_mut())));
        assert!(panicked.is_err());
        let kept = kept.then_some(doomed); // who keeps the wreck blocks nobody
        let answers = followers.join_all().await;
        assert_eq!(answers.len(), 100);
        assert!(answers.iter().all(|answer| answer == &answers[0] && answer.is_ok()));
        assert!(started.elapsed() <= SECOND, "{:?}", started.elapsed());
        assert_eq!(group.in_flight(), 0);
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn h24_a_panic_where_the_operation_is_made_hands_over_too() {
    let group = group();
    let mut doomed = Box::pin(group.call("key", || -> std::future::Ready<Result<u32, String>> { panic!("in the closure") }));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(doomed.as_mut()))).is_err());
    assert_eq!(group.call("key", || ready(Ok(1))).await, Ok(1));
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn h21_a_leader_that_is_not_polled_delays_its_followers_by_twice_its_patience_at_most() {
    let (group, started) = (group(), Instant::now());
    let mut parked = Box::pin(group.call("key", || async {
        sleep(SECOND / 10).await;
        Ok(1)
    }));
    tokio::select! {
        biased;
        _ = &mut parked => panic!("it sleeps"),
        () = ready(()) => {}
    }
    // It is alive, and nobody polls it. Its timer rings, and nobody comes.
    let answers = tokio::join!(group.call("key", || ready(Ok(2))), group.call("key", || ready(Ok(3))));
    assert!(matches!(answers, (Ok(2), Ok(2)) | (Ok(3), Ok(3))), "one of the followers ran, and the other has its answer: {answers:?}");
    assert!(started.elapsed() <= 2 * SECOND + SECOND / 10, "{:?}", started.elapsed());
    assert_eq!(group.stats().impatient, 1);
    assert_eq!(parked.await, Ok(1), "late, but its own");
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_merely_slow_is_left_alone() {
    let (group, watch) = (group(), Watch::default());
    let operation = || async {
        let _run = watch.begin();
        for _ in 0..25 {
            sleep(SECOND).await;
        }
        Ok(7)
    };
    let (a, b) = tokio::join!(group.call("key", operation), group.call("key", operation));
    assert_eq!((a, b, watch.runs.load(SeqCst)), (Ok(7), Ok(7), 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_max_wait_not_even_for_itself() {
    let group = Coalesce::new().max_wait(5 * SECOND).build::<u32, String>().unwrap();
    let started = Instant::now();
    // An operation that asks its own group for its own key would wait for itself.
    let inner = || group.call("key", || ready(Ok(3)));
    assert_eq!(group.call("key", inner).await, Ok(3));
    assert_eq!(started.elapsed(), 5 * SECOND);
    assert_eq!((group.stats().impatient, group.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_for_max_wait_however_great_its_patience_and_who_comes_later_not_at_all() {
    for (comes, waits) in [(0, 1_000), (999, 1), (1_000, 0), (1_500, 0)] {
        let group = Coalesce::new().max_wait(SECOND).patience(10 * SECOND).build::<u32, String>().unwrap();
        let mut slow = Box::pin(group.call("key", pending));
        assert!(poll(slow.as_mut()).is_pending());
        sleep(SECOND * comes / 1_000).await;
        let started = Instant::now();
        assert_eq!(group.call("key", || ready(Ok(2))).await, Ok(2));
        assert_eq!(started.elapsed(), SECOND * waits / 1_000, "who comes after {comes} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn h28_for_ever_is_for_ever() {
    let group = Coalesce::new().max_wait(Duration::MAX).patience(Duration::MAX).build::<u32, String>().unwrap();
    let mut parked = Box::pin(group.call("key", || async {
        sleep(SECOND).await;
        Ok(1)
    }));
    assert!(poll(parked.as_mut()).is_pending());
    let follower = tokio::spawn({
        let group = group.clone();
        async move { group.call("key", || ready(Ok(2))).await }
    });
    // It was called after a second, and nobody polls it.
    sleep(SECOND * 60 * 60 * 24 * 30).await;
    assert_eq!(parked.await, Ok(1));
    assert_eq!(follower.await.unwrap(), Ok(1));
    assert_eq!(group.stats().impatient, 0);
}

#[tokio::test(start_paused = true)]
async fn h24_a_leader_that_panicked_and_is_kept_holds_up_nobody() {
    let group = group();
    let mut leader = Box::pin(group.call("key", || async {
        tokio::task::yield_now().await;
        panic!("in the operation")
    }));
    assert!(poll(leader.as_mut()).is_pending());
    let mut follower = Box::pin(group.call("key", || ready(Ok(2))));
    assert!(poll(follower.as_mut()).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(leader.as_mut()))).is_err());
    assert_eq!(poll(follower.as_mut()), Poll::Ready(Ok(2)), "at once, not when its patience ends");
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn h10_a_leader_that_was_given_up_takes_nothing_from_the_next_when_it_goes() {
    let (group, watch) = (Coalesce::new().max_wait(SECOND).build::<u32, String>().unwrap(), Watch::default());
    let call = || {
        Box::pin(group.call("key", || async {
            let _run = watch.begin();
            sleep(10 * SECOND).await;
            Ok(7)
        }))
    };
    let (mut first, mut second, mut third) = (call(), call(), call());
    for caller in [&mut first, &mut second, &mut third] {
        assert!(poll(caller.as_mut()).is_pending());
    }
    advance(SECOND).await;
    assert!(poll(second.as_mut()).is_pending() && poll(third.as_mut()).is_pending());
    assert_eq!(watch.runs.load(SeqCst), 2, "the second runs beside the first, and the third follows it");
    drop(first);
    assert!(poll(third.as_mut()).is_pending());
    assert_eq!(watch.runs.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn h11_the_last_follower_goes_and_newcomers_still_follow() {
    let (group, watch) = (group(), Watch::default());
    let call = || {
        Box::pin(group.call("key", || async {
            let _run = watch.begin();
            pending::<()>().await;
            Ok(7)
        }))
    };
    let (mut leader, mut follower, mut newcomer) = (call(), call(), call());
    assert!(poll(leader.as_mut()).is_pending() && poll(follower.as_mut()).is_pending());
    drop(follower);
    assert!(poll(newcomer.as_mut()).is_pending());
    assert_eq!((watch.runs.load(SeqCst), group.in_flight()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_impatient_follower_gets_the_answer_of_whoever_is_first() {
    let group = Coalesce::new().max_wait(SECOND).build::<u32, String>().unwrap();
    let call = |time, answer| {
        group.call("key", move || async move {
            sleep(time).await;
            Ok(answer)
        })
    };
    let started = Instant::now();
    // The second one runs beside the first from 1 s on; the third, which follows, has the first one's answer at 1.5 s.
    let third = async {
        let answer = call(SECOND, 3).await;
        (answer, started.elapsed())
    };
    let (first, second, third) = tokio::join!(call(SECOND * 3 / 2, 1), call(10 * SECOND, 2), third);
    assert_eq!((first, second), (Ok(1), Ok(2)));
    assert_eq!(third, (Ok(1), SECOND * 3 / 2));
}

#[tokio::test(start_paused = true)]
async fn errors_are_shared_unless_told_otherwise() {
    for (share, runs) in [(true, 1), (false, 4)] {
        let group = Coalesce::new().share_errors(share).build::<u32, String>().unwrap();
        let watch = Watch::default();
        let operation = || async {
            let _run = watch.begin();
            sleep(SECOND).await;
            Err(format!("run {}", watch.runs.load(SeqCst)))
        };
        let answers = tokio::join!(
            group.call("key", operation),
            group.call("key", operation),
            group.call("key", operation),
            group.call("key", operation)
        );
        let expected = if share { ["run 1"; 4] } else { ["run 1", "run 2", "run 3", "run 4"] }.map(|text| Err(text.to_owned()));
        let mut answers = <[_; 4]>::from(answers);
        answers.sort(); // who leads next is whoever is polled first
        assert_eq!(answers, expected);
        assert_eq!((watch.runs.load(SeqCst), watch.most.load(SeqCst), group.in_flight()), (runs, 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_the_answer_asks_anew_and_other_keys_are_others() {
    let group = group();
    assert_eq!(group.call("key", || ready(Ok(1))).await, Ok(1));
    assert_eq!(group.call("key", || ready(Ok(2))).await, Ok(2));
    let long = "x".repeat(1_000_000);
    let mut leader = Box::pin(group.call(&*long, pending));
    assert!(poll(leader.as_mut()).is_pending());
    assert_eq!(group.call("x", || ready(Ok(3))).await, Ok(3));
    assert_eq!(group.call(&("x", 1_u8), || ready(Ok(4))).await, Ok(4));
    assert_eq!(group.in_flight(), 1);
    drop(leader);
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn h88_keys_in_flight_are_bounded_and_what_is_beyond_runs_alone() {
    let group = Coalesce::new().max_keys(2).build::<u32, String>().unwrap();
    let mut held: Vec<_> = [1, 2].map(|key: u32| Box::pin(group.call(&key, pending))).into();
    held.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_pending()));
    assert_eq!(group.call(&3_u32, || ready(Ok(3))).await, Ok(3));
    assert_eq!((group.stats().alone, group.in_flight()), (1, 2));
    held.pop();
    assert_eq!(group.call(&3_u32, || ready(Ok(3))).await, Ok(3));
    assert_eq!((group.stats().alone, group.in_flight()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_vacancy_goes_past_followers_that_are_not_polled() {
    let group = group();
    let mut leader = Box::pin(group.call("key", pending));
    let mut parked = Box::pin(group.call("key", || ready(Ok(1))));
    assert!(poll(leader.as_mut()).is_pending() && poll(parked.as_mut()).is_pending());
    let awake = {
        let group = group.clone();
        tokio::spawn(async move { group.call("key", || ready(Ok(2))).await })
    };
    sleep(SECOND / 10).await;
    drop(leader); // wakes the parked one, which does not come
    assert_eq!(awake.await.unwrap(), Ok(2));
    assert_eq!(parked.await, Ok(2), "the answer waited for it");
    assert_eq!(group.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_called_and_dropped_calls_the_next() {
    let group = group();
    let mut leader = Box::pin(group.call("key", pending));
    let mut called = Box::pin(group.call("key", || ready(Ok(1))));
    assert!(poll(leader.as_mut()).is_pending() && poll(called.as_mut()).is_pending());
    let next = {
        let group = group.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            (group.call("key", || ready(Ok(2))).await, started.elapsed())
        })
    };
    tokio::task::yield_now().await;
    drop(leader);
    drop(called);
    assert_eq!(next.await.unwrap(), (Ok(2), Duration::ZERO));
}

#[test]
fn it_works_for_what_is_not_send_and_without_a_runtime() {
    let group: Group<Rc<Cell<u32>>, Rc<str>> = Coalesce::new().build().unwrap();
    let (send, receive) = oneshot::channel();
    let mut leader = Box::pin(group.call("key", || async {
        let _ = receive.await;
        Ok(Rc::new(Cell::new(5)))
    }));
    let mut follower = Box::pin(group.call("key", || ready(Err("unused".into()))));
    assert!(poll(leader.as_mut()).is_pending() && poll(follower.as_mut()).is_pending());
    send.send(()).unwrap();
    let (Poll::Ready(Ok(led)), Poll::Ready(Ok(shared))) = (poll(leader.as_mut()), poll(follower.as_mut())) else { panic!("pending") };
    assert!(Rc::ptr_eq(&led, &shared));
}

#[test]
fn futures_are_send_when_the_parts_are() {
    fn send<T: Send>(_: &T) {}
    let group = group();
    send(&group.call("key", || async { Ok(1) }));
    let pipeline = Pipeline::builder("p").build().unwrap();
    let shared = Coalesce::new().build().unwrap();
    send(&pipeline.key("key").coalesced(&shared).call(|| async { Ok::<u32, String>(1) }));
}

#[test]
fn what_every_type_may_be() {
    use static_assertions::{assert_impl_all, assert_not_impl_any};
    assert_impl_all!(Group: Send, Sync, Unpin, Clone, std::fmt::Debug);
    assert_impl_all!(steadfast::CoalesceConfig: Send, Sync, Unpin, Clone, std::fmt::Debug, PartialEq);
    assert_impl_all!(steadfast::CoalesceStats: Send, Sync, Unpin, Clone, std::fmt::Debug);
    assert_not_impl_any!(Group<Rc<()>, ()>: Send, Sync);
}

#[test]
fn every_fault_is_told() {
    let faults = Coalesce::new().max_keys(0).patience(Duration::ZERO).max_wait(Duration::ZERO).build::<(), ()>().unwrap_err();
    assert_eq!(faults.faults().iter().map(|fault| fault.field()).collect::<Vec<_>>(), ["max_keys", "patience", "max_wait"]);
    let group = group();
    group.reconfigure(&Coalesce::new().share_errors(false).max_keys(5)).unwrap();
    assert_eq!(group.config(), Coalesce::new().share_errors(false).max_keys(5));
    assert!(group.reconfigure(&Coalesce::new().max_keys(0)).is_err());
}

// ------------------------------------------------------------------ in a pipeline

#[tokio::test(start_paused = true)]
async fn in_a_pipeline_the_retries_of_one_serve_all() {
    let pipeline = Pipeline::builder("quotes").retry(Retry::constant(3, SECOND)).monitor(Monitor::new()).build().unwrap();
    let group = Coalesce::new().build::<u32, Error<String>>().unwrap();
    let tries = AtomicU32::new(0);
    let call = || {
        pipeline.key("tea").coalesced(&group).call(|| async {
            let number = tries.fetch_add(1, SeqCst);
            if number < 2 { Err("down".to_owned()) } else { Ok(number) }
        })
    };
    assert_eq!(tokio::join!(call(), call(), call()), (Ok(2), Ok(2), Ok(2)));
    assert_eq!(tries.load(SeqCst), 3);
    let books = pipeline.stats().calls.unwrap();
    let books = books.all_time();
    assert_eq!((books.calls(), books.successes(), books.attempts()), (3, 3, 3), "three calls, and three attempts of one of them");
    // Without a key there is nothing to share.
    let alone = || pipeline.priority(steadfast::Priority::Normal).coalesced(&group).call(|| ready(Ok(tries.fetch_add(1, SeqCst))));
    assert_eq!(tokio::join!(alone(), alone()), (Ok(3), Ok(4)));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_dropped_is_in_the_books_as_abandoned_once() {
    let pipeline = Pipeline::builder("quotes").monitor(Monitor::new()).build().unwrap();
    let group = Coalesce::new().build::<u32, Error<String>>().unwrap();
    let call = || Box::pin(pipeline.key("tea").coalesced(&group).call(pending));
    let (mut leader, mut follower, mut heir) = (call(), call(), call());
    for waits in [&mut leader, &mut follower, &mut heir] {
        assert!(poll(waits.as_mut()).is_pending());
    }
    drop(follower);
    drop(leader);
    assert!(poll(heir.as_mut()).is_pending(), "it runs now");
    drop(heir);
    drop(call()); // never begun
    let books = pipeline.stats().calls.unwrap();
    assert_eq!((books.all_time().calls(), books.all_time().abandoned(), books.all_time().attempts()), (3, 3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_follower_keeps_to_its_own_deadline_and_so_does_the_call_after_its_wait() {
    let pipeline = Pipeline::builder("quotes").total_timeout(10 * SECOND).build().unwrap();
    let group = Coalesce::new().build::<u32, Error<String>>().unwrap();
    let started = Instant::now();
    let mut leader = Box::pin(pipeline.key("tea").coalesced(&group).call(pending));
    assert!(poll(leader.as_mut()).is_pending());
    let hurried = pipeline.key("tea").within(SECOND).coalesced(&group).call(|| ready(Ok(1))).await.unwrap_err();
    let rejected = hurried.rejected().unwrap();
    assert_eq!((rejected.kind(), rejected.pipeline(), rejected.attempts()), (RejectedKind::DeadlineExceeded, Some("quotes"), 0));
    assert_eq!(started.elapsed(), SECOND);
    // This one waits from 1 s on, takes over at 6 s, and ends at 11 s: ten seconds in all.
    let waits = {
        let (pipeline, group) = (pipeline.clone(), group.clone());
        tokio::spawn(async move { pipeline.key("tea").coalesced(&group).call(pending).await })
    };
    sleep(5 * SECOND).await;
    drop(leader);
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(error.rejected().unwrap().kind(), RejectedKind::DeadlineExceeded);
    assert_eq!(started.elapsed(), 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_leaders_own_deadline_is_not_that_of_who_follows() {
    let pipeline = Pipeline::builder("quotes").total_timeout(10 * SECOND).build().unwrap();
    let group = Coalesce::new().build::<u32, Error<String>>().unwrap();
    let started = Instant::now();
    let hurried = pipeline.key("tea").within(SECOND).coalesced(&group).call(pending);
    let patient = pipeline.key("tea").coalesced(&group).call(|| ready(Ok(1)));
    let (hurried, patient) = tokio::join!(hurried, patient);
    assert_eq!(hurried.unwrap_err().rejected().unwrap().kind(), RejectedKind::DeadlineExceeded);
    assert_eq!((patient, started.elapsed(), group.stats().handed_over), (Ok(1), SECOND, 1));
    // Other rejections say something of the dependency, and are shared.
    let pipeline = Pipeline::builder("quotes").attempt_timeout(SECOND).build().unwrap();
    let call = || pipeline.key("tea").coalesced(&group).call(pending);
    let (one, other) = tokio::join!(call(), call());
    assert!(one.unwrap_err().is_timeout() && other.unwrap_err().is_timeout());
    assert_eq!(group.stats().handed_over, 1);
}

#[tokio::test(start_paused = true)]
async fn whose_time_is_up_does_not_take_over() {
    let pipeline = Pipeline::builder("quotes").total_timeout(10 * SECOND).build().unwrap();
    let group = Coalesce::new().build::<u32, Error<String>>().unwrap();
    let begun = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let (pipeline, group, begun) = (pipeline.clone(), group.clone(), Arc::clone(&begun));
        callers.spawn(async move {
            let call = pipeline.key("tea").coalesced(&group).call(|| {
                begun.fetch_add(1, SeqCst);
                pending()
            });
            call.await.unwrap_err().rejected().unwrap().kind()
        });
    }
    assert_eq!(callers.join_all().await, [RejectedKind::DeadlineExceeded; 1_000]);
    assert_eq!((begun.load(SeqCst), group.in_flight()), (1, 0));
}
