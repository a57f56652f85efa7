//! The other kind of supply: the first in line waits for a moment. Free permits are tried in `tests/wait_queue.rs`.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::advance;

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// One unit every `every`, none saved up.
#[derive(Debug)]
struct Pace(Mutex<(Instant, Duration)>);

impl Supply for Pace {
    type Grant = ();

    fn critical_first(&self) -> bool {
        false
    }

    fn slots(&self) -> usize {
        1
    }

    fn take(&self, now: Instant, cost: u32) -> Take<()> {
        let mut pace = lock(&self.0);
        let (free, every) = *pace;
        if free > now {
            return Take::At(free);
        }
        pace.0 = now + every * cost;
        Take::Taken(())
    }
}

type Paced = Arc<WaitQueue<Pace>>;

fn paced(every: Duration) -> Paced {
    Arc::new(WaitQueue::new(Pace(Mutex::new((Instant::now(), every))), 100, AGEING))
}

fn request(priority: Priority) -> Request {
    Request { now: Instant::now(), priority, cost: 1, until: None, deadline: None }
}

fn wait(queue: &Paced, request: Request) -> Waiting<'_, Pace> {
    match queue.enter(request) {
        Door::Wait(waiting) => waiting,
        other => panic!("{other:?}"),
    }
}

/// Enters in a task of its own; how long after `start` it got through.
async fn spawn(queue: &Paced, request: Request, start: Instant) -> JoinHandle<Result<Duration, Refusal>> {
    let queue = Arc::clone(queue);
    let task = tokio::spawn(async move {
        match queue.enter(request) {
            Door::Taken(()) => Ok(start.elapsed()),
            Door::Refused(refusal) => Err(refusal),
            Door::Wait(waiting) => waiting.await.map(|()| start.elapsed()),
        }
    });
    yield_now().await;
    task
}

#[derive(Default)]
struct Polls(AtomicUsize);

impl Wake for Polls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn h61_each_in_turn_at_its_moment() {
    let (queue, start) = (paced(ms(10)), Instant::now());
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(spawn(&queue, request(Priority::Normal), start).await);
    }
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap(), Ok(ms(10 * n)));
    }
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn h67_only_the_first_two_have_a_timer() {
    let queue = paced(ms(10));
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let mut waiting: Vec<_> = (0..100).map(|_| (Box::pin(wait(&queue, request(Priority::Normal))), Arc::new(Polls::default()))).collect();
    for (future, polls) in &mut waiting {
        assert!(future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(polls)))).is_pending());
    }
    advance(ms(1_000)).await;
    let woken = waiting.iter().filter(|(_, polls)| polls.0.load(Ordering::Relaxed) > 0).count();
    assert!(woken <= 2, "{woken}");
}

#[tokio::test(start_paused = true)]
async fn h21_the_turn_of_a_parked_head_goes_to_the_next_at_the_same_moment() {
    let (queue, start) = (paced(ms(10)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let mut parked = Box::pin(wait(&queue, request(Priority::Normal)));
    assert!(parked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let second = spawn(&queue, request(Priority::Normal), start).await;
    let third = spawn(&queue, request(Priority::Normal), start).await;
    let second = tokio::time::timeout(ms(1_000), second).await.expect("it is not held up by the parked one");
    assert_eq!(second.unwrap(), Ok(ms(10)));
    assert_eq!(third.await.unwrap(), Ok(ms(20)));
    parked.await.unwrap();
    assert_eq!(start.elapsed(), ms(30));
}

#[tokio::test(start_paused = true)]
async fn a_more_important_newcomer_takes_the_turn_of_who_waits_for_a_moment() {
    let (queue, start) = (paced(ms(10)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let normal = spawn(&queue, request(Priority::Normal), start).await;
    let low = spawn(&queue, request(Priority::Low), start).await;
    let critical = spawn(&queue, request(Priority::Critical), start).await;
    assert_eq!(critical.await.unwrap(), Ok(ms(10)));
    assert_eq!(normal.await.unwrap(), Ok(ms(20)));
    assert_eq!(low.await.unwrap(), Ok(ms(30)));
}

#[tokio::test(start_paused = true)]
async fn h02_a_dropped_head_hands_its_turn_on() {
    let (queue, start) = (paced(ms(10)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let tasks = [
        spawn(&queue, Request { cost: 50, ..request(Priority::Normal) }, start).await,
        spawn(&queue, request(Priority::Normal), start).await,
        spawn(&queue, request(Priority::Normal), start).await,
    ];
    tasks[0].abort();
    let [_, second, third] = tasks;
    assert_eq!(second.await.unwrap(), Ok(ms(10)));
    assert_eq!(third.await.unwrap(), Ok(ms(20)));
}

#[tokio::test(start_paused = true)]
async fn h62_a_big_request_in_its_turn_neither_starves_nor_overtakes() {
    let (queue, start) = (paced(ms(10)), Instant::now());
    let first = spawn(&queue, request(Priority::Normal), start).await;
    let big = spawn(&queue, Request { cost: 100, ..request(Priority::Normal) }, start).await;
    let small = spawn(&queue, request(Priority::Normal), start).await;
    assert_eq!(queue.cost_ahead(Priority::Normal), 101);
    assert_eq!(queue.cost_ahead(Priority::High), 0, "a head start");
    assert_eq!(first.await.unwrap(), Ok(ms(0)));
    assert_eq!(big.await.unwrap(), Ok(ms(10)));
    assert_eq!(small.await.unwrap(), Ok(ms(1_010)));
    assert_eq!(queue.cost_ahead(Priority::Background), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_succeed_in_time_is_refused_at_once() {
    let (queue, start) = (paced(ms(100)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let until = Some(start + ms(99));
    assert_eq!(wait(&queue, Request { until, ..request(Priority::Normal) }).await, Err(Refusal::TooLong));
    let deadline = Some(start + ms(100));
    assert_eq!(wait(&queue, Request { deadline, ..request(Priority::Normal) }).await, Err(Refusal::Deadline));
    assert_eq!(start.elapsed(), ms(0));
    assert_eq!(wait(&queue, Request { until: deadline, ..request(Priority::Normal) }).await, Ok(()));
    assert_eq!((start.elapsed(), queue.waiting()), (ms(100), 0));
}

#[tokio::test(start_paused = true)]
async fn when_the_times_change_the_head_asks_again() {
    let (queue, start) = (paced(ms(1_000)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let earlier = spawn(&queue, request(Priority::Normal), start).await;
    let first = spawn(&queue, request(Priority::Normal), start).await;
    let second = spawn(&queue, request(Priority::Normal), start).await;
    earlier.abort();
    yield_now().await;
    advance(ms(50)).await;
    *lock(&queue.supply().0) = (Instant::now(), ms(10));
    queue.retime();
    assert_eq!(first.await.unwrap(), Ok(ms(50)));
    assert_eq!(second.await.unwrap(), Ok(ms(60)));
}

#[tokio::test(start_paused = true)]
async fn x14_a_clock_that_goes_back_keeps_the_order() {
    let (queue, start) = (paced(ms(60_000)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let mut tasks = Vec::new();
    for back in [5_000, 0, 3_000] {
        let now = start + ms(5_000) - ms(back);
        tasks.push(spawn(&queue, Request { now, ..request(Priority::Normal) }, start).await);
    }
    for (n, task) in (1..).zip(tasks) {
        assert_eq!(task.await.unwrap(), Ok(ms(60_000 * n)));
    }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn h67_who_waits_for_its_moment_is_not_woken_by_those_who_come_behind_it() {
    let queue = paced(ms(10));
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let (mut head, polls) = (Box::pin(wait(&queue, request(Priority::Normal))), Arc::new(Polls::default()));
    assert!(head.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&polls)))).is_pending());
    let behind: Vec<_> = (0..10).map(|_| wait(&queue, request(Priority::Low))).collect();
    drop(behind);
    assert_eq!(polls.0.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn h61_who_came_and_was_told_of_a_later_moment_keeps_its_turn() {
    let (queue, start) = (paced(ms(10)), Instant::now());
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let [mut head, mut next] = [0, 1].map(|_| Box::pin(wait(&queue, request(Priority::Normal))));
    assert!(poll(&mut head).is_pending() && poll(&mut next).is_pending());
    // At 10 ms the second looks whether the first comes. It does, and learns that it will be 20 ms.
    advance(ms(10)).await;
    *lock(&queue.supply().0) = (start + ms(20), ms(10));
    assert!(poll(&mut next).is_pending() && poll(&mut head).is_pending());
    advance(ms(10)).await;
    assert!(poll(&mut next).is_pending(), "the first has not had its turn at that moment");
    assert_eq!(poll(&mut head), Poll::Ready(Ok(())));
    assert!(poll(&mut next).is_pending());
}

#[tokio::test(start_paused = true)]
async fn h21_who_was_passed_over_stands_before_nobody_until_it_comes() {
    let queue = paced(ms(10));
    assert!(matches!(queue.enter(request(Priority::Normal)), Door::Taken(())));
    let [mut big, mut small, mut last] = [6, 1, 2].map(|cost| Box::pin(wait(&queue, Request { cost, ..request(Priority::Normal) })));
    assert!(poll(&mut big).is_pending() && poll(&mut small).is_pending() && poll(&mut last).is_pending());
    assert_eq!(queue.cost_ahead(Priority::Normal), 9);
    advance(ms(10)).await;
    assert!(poll(&mut small).is_pending(), "it steps back once");
    assert_eq!(poll(&mut small), Poll::Ready(Ok(())));
    assert_eq!(queue.cost_ahead(Priority::Normal), 2, "only the last one");
    assert!(poll(&mut big).is_pending());
    assert_eq!(queue.cost_ahead(Priority::Normal), 8, "and the big one again, which keeps its place");
    drop((big, last));
    assert_eq!(queue.cost_ahead(Priority::Background), 0);
}

#[test]
fn a_waiter_may_change_threads() {
    const fn send<T: Send>() {}
    send::<Waiting<'_, Pace>>();
}
