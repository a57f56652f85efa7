//! Batches, chunks and joins.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::{FutureExt, StreamExt};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::RejectedKind;
use steadfast::batch::{BatchError, BatchStats, Batcher, BatcherConfig, in_chunks, join_all};
use tokio::time::{Instant, advance, sleep};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type Seen = Arc<Mutex<Vec<Vec<u32>>>>;

/// Remembers what it is asked for, and answers after 10 ms; fails for odd keys.
fn halves() -> (Seen, BatcherConfig<u32, u32, &'static str>) {
    let seen = Seen::default();
    let told = Arc::clone(&seen);
    let config = Batcher::new(move |keys: Vec<u32>| {
        told.lock().unwrap().push(keys.clone());
        async move {
            sleep(ms(10)).await;
            if keys.contains(&999) {
                return Err("all of it");
            }
            Ok(keys.into_iter().filter(|key| *key != 404).map(|key| if key % 2 == 0 { Ok(key / 2) } else { Err("odd") }).collect())
        }
    });
    (seen, config)
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full_or_has_waited_long_enough() {
    let (seen, config) = halves();
    let batcher = config.max_size(3).max_wait(ms(5)).build().unwrap();
    let began = Instant::now();
    let answers = join_all([2, 4, 6, 8].map(|key| batcher.get(key))).await;
    assert!(answers.iter().zip(1..).all(|(answer, half)| answer.as_ref().unwrap() == &Ok(half)), "{answers:?}");
    assert_eq!(*seen.lock().unwrap(), [vec![2, 4, 6], vec![8]]);
    assert_eq!(began.elapsed(), ms(15), "the first three at once, the fourth after its wait, and 10 ms for the load");
    assert_eq!(batcher.stats().batches, 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_asked_for_twice_is_loaded_once_and_a_failed_one_fails_alone() {
    let (seen, config) = halves();
    let batcher = config.build().unwrap();
    let answers = join_all([2, 3, 2, 404].map(|key| batcher.get(key))).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers, [Ok(1), Err(BatchError::Failed("odd")), Ok(1), Err(BatchError::Missing)]);
    assert_eq!(*seen.lock().unwrap(), [vec![2, 3, 404]]);
    let BatchStats { calls, keys, .. } = batcher.stats();
    assert_eq!((calls, keys), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_as_a_whole_fails_everybody() {
    let (_, config) = halves();
    let batcher = config.build().unwrap();
    let answers = join_all([2, 999].map(|key| batcher.get(key))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Err(BatchError::Failed("all of it"))));
    assert_eq!(batcher.get(2).await, Ok(1), "and the next batch is a new one");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_polled_drives_the_batch_when_its_first_caller_is_dropped_or_parked() {
    let (seen, config) = halves();
    let batcher = config.build().unwrap();
    let mut first = Box::pin(batcher.get(2));
    assert!(first.as_mut().now_or_never().is_none());
    let mut parked = Box::pin(batcher.get(4));
    assert!(parked.as_mut().now_or_never().is_none());
    let third = tokio::spawn({
        let batcher = batcher.clone();
        async move { batcher.get(6).await }
    });
    tokio::task::yield_now().await;
    drop(first); // it was the one that polled the batch first
    assert_eq!(third.await.unwrap(), Ok(3));
    assert_eq!(*seen.lock().unwrap(), [vec![4, 6]], "nobody waits for 2 any more");
    assert_eq!(parked.await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_dropped_in_the_middle_of_the_load_leaves_it_to_the_others() {
    let (seen, config) = halves();
    let batcher = config.build().unwrap();
    let other = tokio::spawn({
        let batcher = batcher.clone();
        async move { batcher.get(4).await }
    });
    tokio::task::yield_now().await;
    let mut dropped = Box::pin(batcher.get(2));
    tokio::select! { _ = &mut dropped => panic!("too early"), () = sleep(ms(5)) => {} }
    drop(dropped);
    assert_eq!(other.await.unwrap(), Ok(2));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_loaded_for_nobody() {
    let (seen, config) = halves();
    let batcher = config.build().unwrap();
    assert!(batcher.get(2).now_or_never().is_none());
    advance(ms(100)).await;
    assert_eq!(batcher.get(8).await, Ok(4));
    assert_eq!(*seen.lock().unwrap(), [vec![8]]);
}

#[tokio::test(start_paused = true)]
async fn h24_a_panic_is_the_panic_of_one_caller_and_an_error_to_the_others() {
    let batcher = Batcher::<u32, u32, String>::new(|keys| async move {
        if keys.contains(&13) { panic!("thirteen") } else { Ok(keys.into_iter().map(Ok).collect()) }
    })
    .build()
    .unwrap();
    let answers = join_all([1, 13, 3].map(|key| AssertUnwindSafe(batcher.get(key)).catch_unwind())).await;
    let (panics, others): (Vec<_>, Vec<_>) = answers.into_iter().map(Result::unwrap).partition(Result::is_err);
    assert_eq!(panics[0].as_ref().unwrap_err().downcast_ref(), Some(&"thirteen"));
    assert_eq!(others.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Err(BatchError::Panicked), Err(BatchError::Panicked)]);
    assert_eq!(batcher.get(3).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn h29_no_wait_gathers_one_turn_and_the_longest_never_ends_but_by_size() {
    let (seen, config) = halves();
    let batcher = config.max_wait(Duration::ZERO).build().unwrap();
    let answers = join_all([2, 4].map(|key| batcher.get(key))).await;
    assert_eq!(answers.len(), 2);
    assert_eq!(*seen.lock().unwrap(), [vec![2, 4]]);

    let (seen, config) = halves();
    let batcher = config.max_wait(Duration::MAX).max_size(2).build().unwrap();
    let alone = tokio::spawn({
        let batcher = batcher.clone();
        async move { batcher.get(2).await }
    });
    sleep(Duration::from_secs(1_000_000)).await;
    assert!(seen.lock().unwrap().is_empty() && !alone.is_finished());
    assert_eq!(batcher.get(4).await, Ok(2));
    assert_eq!(alone.await.unwrap(), Ok(1));
}

#[test]
fn h40_without_a_runtime_there_is_an_error_and_no_size_is_a_fault() {
    let (_, config) = halves();
    assert_eq!(config.build().unwrap().get(2).now_or_never(), Some(Err(BatchError::NoRuntime)));
    let (_, config) = halves();
    assert_eq!(
        config.max_size(0).build().unwrap_err().to_string(),
        "batcher cannot be built, 1 problem:\n  max_size: 0 is too small; it must be at least 1"
    );
}

#[tokio::test(start_paused = true)]
async fn chunks_come_in_their_order_and_no_more_at_once_than_said() {
    let running = Arc::new(Mutex::new((0, 0)));
    let work = |chunk: Vec<u64>| {
        let running = Arc::clone(&running);
        async move {
            let now = {
                let mut running = running.lock().unwrap();
                running.0 += 1;
                running.1 = running.1.max(running.0);
                chunk.len()
            };
            sleep(ms(100 - chunk[0])).await; // the later, the faster
            running.lock().unwrap().0 -= 1;
            (chunk[0], now)
        }
    };
    let done: Vec<_> = in_chunks(1..=7, 2, 3, work).collect().await;
    assert_eq!(done, [(1, 2), (3, 2), (5, 2), (7, 1)]);
    assert_eq!(running.lock().unwrap().1, 3);
    assert_eq!(in_chunks([1, 2], 0, 0, |chunk| async move { chunk }).collect::<Vec<_>>().await, [[1], [2]]);
    assert_eq!(in_chunks([1, 2], usize::MAX, usize::MAX, |chunk| async move { chunk.len() }).collect::<Vec<_>>().await, [2]);
}

#[tokio::test(start_paused = true)]
async fn a_late_future_loses_its_place_and_nobody_elses_result() {
    let dropped = Arc::new(());
    let task = |millis| {
        let held = Arc::clone(&dropped);
        async move {
            let _held = held;
            sleep(ms(millis)).await;
            millis
        }
    };
    let began = Instant::now();
    let done = join_all([30, 100, 101, 10].map(task)).within(ms(100)).await;
    assert_eq!(began.elapsed(), ms(100));
    let done: Vec<_> = done.into_iter().map(|done| done.map_err(|rejected| rejected.kind())).collect();
    assert_eq!(done, [Ok(30), Ok(100), Err(RejectedKind::DeadlineExceeded), Ok(10)], "ready at the deadline is in time");
    assert_eq!(Arc::strong_count(&dropped), 1, "the late one is gone");
    assert!(join_all(Vec::<std::future::Ready<()>>::new()).within(Duration::MAX).await.is_empty());
}

#[test]
fn h40_a_deadline_without_a_runtime_is_an_error_and_no_deadline_needs_none() {
    let one = || [std::future::ready(1)];
    assert_eq!(join_all(one()).now_or_never().unwrap()[0], Ok(1));
    let late = join_all(one()).within(ms(1)).now_or_never().unwrap();
    assert_eq!(late[0].as_ref().unwrap_err().kind(), RejectedKind::NoRuntime);
}

#[test]
fn futures_are_send_where_their_parts_are() {
    fn send<T: Send>(_: &T) {}
    let (_, config) = halves();
    let batcher = config.build().unwrap();
    send(&batcher.get(1));
    send(&join_all([async { 1 }]));
    fn is_stream(_: &impl futures_util::Stream<Item = usize>) {}
    is_stream(&in_chunks([std::rc::Rc::new(1)], 1, 1, |chunk| async move { chunk.len() }));
    let _: &dyn Future<Output = _> = &join_all([async { std::rc::Rc::new(1) }]);
}
