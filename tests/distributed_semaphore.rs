//! Places that machines share, over a store that does what it is told.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::store::rate::{
    AnySemaphoreStore, DistributedSemaphore, DistributedSemaphoreConfig, Holder, MemorySemaphoreStore, SemaphoreStore, Taken,
};
use steadfast::store::{Key, StoreError, StoreErrorKind};
use steadfast::{Pipeline, RejectedKind};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// As many "machines" as asked for, on one store.
fn machines<const N: usize>(config: DistributedSemaphoreConfig) -> [DistributedSemaphore; N] {
    let store = AnySemaphoreStore::new(MemorySemaphoreStore::new());
    std::array::from_fn(|_| config.clone().any_store(store.clone()).build().unwrap())
}

#[tokio::test(start_paused = true)]
async fn g79_never_above_the_maximum_and_fences_rise() {
    let [a, b] = machines(DistributedSemaphore::new(3));
    let k = key("k");
    let mut held = Vec::new();
    for machine in [&a, &b, &a] {
        held.push(machine.try_acquire(&k).await.unwrap().unwrap());
    }
    assert!(held.is_sorted_by(|one, next| one.fence() < next.fence()));
    assert!(b.try_acquire(&k).await.unwrap().is_none());
    assert_eq!(b.holders(&k).await.unwrap(), 3);
    assert!(b.try_acquire(&key("other")).await.unwrap().is_some());
    assert!(held.pop().unwrap().release().await.unwrap());
    let next = b.try_acquire(&k).await.unwrap().unwrap();
    assert!(next.fence() > held[1].fence());
    assert_eq!(a.acquire(&k).await.unwrap_err().kind(), RejectedKind::BulkheadFull);
}

#[tokio::test(start_paused = true)]
async fn g79_a_heartbeat_keeps_a_long_holder_and_the_end_of_it_frees_the_place() {
    let [a, b] = machines(DistributedSemaphore::lock().ttl(3 * SECOND));
    let k = key("k");
    let held = a.try_acquire(&k).await.unwrap().unwrap();
    sleep(60 * SECOND).await;
    assert!(held.is_held() && b.try_acquire(&k).await.unwrap().is_none());
    drop(held);
    sleep(MS).await;
    assert!(b.try_acquire(&k).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn g79_a_crashed_holder_blocks_no_longer_than_its_time_and_cannot_let_go_of_anothers_place() {
    let [a, b] = machines(DistributedSemaphore::lock().ttl(3 * SECOND).heartbeat(false));
    let k = key("k");
    let crashed = a.try_acquire(&k).await.unwrap().unwrap();
    sleep(2_999 * MS).await;
    assert!(b.try_acquire(&k).await.unwrap().is_none());
    sleep(MS).await;
    assert!(!crashed.is_held());
    let held = b.try_acquire(&k).await.unwrap().unwrap();
    assert!(held.fence() > crashed.fence());
    assert!(!crashed.renew().await.unwrap());
    assert!(!crashed.release().await.unwrap(), "it is another's now");
    assert!(held.is_held() && a.try_acquire(&k).await.unwrap().is_none());
    assert!(held.renew().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn g79_work_is_renewed_by_its_own_future_and_ended_when_the_place_is_lost() {
    let store = MemorySemaphoreStore::new();
    let lock = DistributedSemaphore::lock().ttl(3 * SECOND).heartbeat(false).store(store.clone()).build().unwrap();
    let held = lock.try_acquire(&key("k")).await.unwrap().unwrap();
    assert_eq!(held.run(async { sleep(30 * SECOND).await }).await, Ok(()));
    assert!(held.is_held());
    // Somebody removes it behind its back.
    let ended = Arc::new(AtomicBool::new(false));
    struct Ended(Arc<AtomicBool>);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let guard = Ended(Arc::clone(&ended));
    let work = async {
        let _guard = guard;
        sleep(3_600 * SECOND).await;
    };
    let began = Instant::now();
    let (done, ()) = tokio::join!(held.run(work), async {
        sleep(5 * SECOND).await;
        store.close().await.unwrap();
    });
    assert_eq!(done.map_err(|error| (error.kind(), error.is_retriable())), Err((StoreErrorKind::Busy, false)));
    assert!(ended.load(Ordering::SeqCst) && began.elapsed() <= 8 * SECOND, "{:?}", began.elapsed());
    held.lost().await;
    assert!(held.run(async {}).await.is_err(), "what is lost is not begun");
}

#[tokio::test(start_paused = true)]
async fn g80_waiters_of_a_process_come_in_their_order_and_one_who_leaves_gives_way() {
    let [a, b] = machines(DistributedSemaphore::lock().max_wait(60 * SECOND));
    let (k, order) = (key("k"), Arc::new(Mutex::new(Vec::new())));
    let held = b.try_acquire(&k).await.unwrap().unwrap();
    let mut tasks = Vec::new();
    for number in 0..10 {
        let (a, k, order) = (a.clone(), k.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let held = a.acquire(&k).await.unwrap();
            order.lock().unwrap().push(number);
            sleep(10 * MS).await;
            held.release().await.unwrap();
        }));
        sleep(MS).await;
    }
    tasks[0].abort();
    tasks[4].abort();
    assert!(a.try_acquire(&k).await.unwrap().is_none(), "nobody overtakes those who wait");
    sleep(SECOND).await;
    let began = Instant::now();
    held.release().await.unwrap();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.is_err(), matches!(number, 0 | 4));
    }
    assert_eq!(*order.lock().unwrap(), [1, 2, 3, 5, 6, 7, 8, 9]);
    assert!(began.elapsed() <= 300 * MS, "a place that comes free here is seen at once: {:?}", began.elapsed());
    assert!(b.try_acquire(&k).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_in_time() {
    let [a, b] = machines(DistributedSemaphore::lock().max_wait(2 * SECOND).ttl(60 * SECOND));
    let k = key("k");
    let held = b.try_acquire(&k).await.unwrap().unwrap();
    for waiters in [1, 3] {
        let began = Instant::now();
        let all: Vec<_> =
            (0..waiters).map(|_| (a.clone(), k.clone())).map(|(a, k)| tokio::spawn(async move { a.acquire(&k).await.map(drop) })).collect();
        for one in all {
            assert_eq!(one.await.unwrap().unwrap_err().kind(), RejectedKind::BulkheadFull);
        }
        assert!(began.elapsed() <= 2 * SECOND + 2 * MS, "{:?}", began.elapsed());
    }
    drop(held);
}

/// Takes the place, and then does not answer.
struct Mute(MemorySemaphoreStore, AtomicU32);

impl SemaphoreStore for Mute {
    async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Taken, StoreError> {
        let taken = self.0.take(key, holder, max, ttl).await;
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 { std::future::pending().await } else { taken }
    }
    async fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> Result<bool, StoreError> {
        self.0.renew(key, holder, ttl).await
    }
    async fn release(&self, key: &Key, holder: Holder) -> Result<bool, StoreError> {
        self.0.release(key, holder).await
    }
    async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
        self.0.holders(key).await
    }
}

#[tokio::test(start_paused = true)]
async fn g80_a_place_that_nobody_knows_was_taken_is_let_go_of() {
    for dropped in [false, true] {
        let lock = DistributedSemaphore::lock().store(Mute(MemorySemaphoreStore::new(), AtomicU32::new(0))).build().unwrap();
        let began = Instant::now();
        if dropped {
            assert!(tokio::time::timeout(100 * MS, lock.try_acquire(&key("k"))).await.is_err());
        } else {
            assert_eq!(lock.try_acquire(&key("k")).await.unwrap_err().kind(), StoreErrorKind::OutcomeUnknown);
        }
        assert!(began.elapsed() <= 501 * MS);
        sleep(MS).await;
        assert!(lock.try_acquire(&key("k")).await.unwrap().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_a_gate_of_a_pipeline() {
    let [a, b] = machines::<2>(DistributedSemaphore::new(2).name("reports")).map(|semaphore| {
        let pipeline = Pipeline::builder("reports").gate(semaphore.clone()).build().unwrap();
        (semaphore, pipeline)
    });
    let work = || async {
        sleep(SECOND).await;
        Ok::<_, steadfast::Rejected>(())
    };
    let (one, two, three, other) = tokio::join!(
        a.1.key("k").call(work),
        b.1.key("k").call(work),
        async {
            sleep(10 * MS).await;
            a.1.key("k").call(work).await
        },
        b.1.call(work),
    );
    assert!(one.is_ok() && two.is_ok() && other.is_ok());
    assert_eq!(three.unwrap_err().kind(), Some(RejectedKind::BulkheadFull));
    sleep(MS).await;
    assert_eq!(a.0.holders(&key("k")).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn h101_keys_that_nobody_holds_are_forgotten() {
    let store = MemorySemaphoreStore::new();
    for number in 0..10_000 {
        let taken = store.take(&key(&format!("k{number}")), Holder::random(), 1, 100 * MS).await.unwrap();
        assert!(matches!(taken, Taken::Held { .. }));
        tokio::time::advance(MS).await;
    }
    let text = format!("{store:?}");
    let keys: usize = text.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    assert!(keys <= 400, "{text}");
}

#[tokio::test]
async fn every_fault_is_named_at_once() {
    let error =
        DistributedSemaphore::new(0).name("").ttl(Duration::ZERO).retry_every(Duration::ZERO).deadline(Duration::ZERO).build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["places", "store", "name", "ttl", "retry_every", "deadline"]);
    assert!(!format!("{:?}", Holder::random()).contains(|c: char| c.is_ascii_digit()), "the token is a secret");
    assert_eq!(Holder::random().to_hex().len(), 32);
}

#[cfg(feature = "testing")]
mod conformance {
    use super::*;
    use steadfast::testing::conformance::Time;
    use steadfast::testing::rate_conformance;

    #[tokio::test(start_paused = true)]
    async fn the_memory_store_conforms() {
        rate_conformance::semaphores(|| async { MemorySemaphoreStore::new() }).time(Time::Virtual).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_memory_store_conforms_on_many_threads() {
        rate_conformance::semaphores(|| async { MemorySemaphoreStore::new() }).run().await.assert();
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Wrong {
        LooksThenTakes,
        NeverEnds,
        RenewsTheDead,
        AnybodyLetsGo,
        FenceStands,
        TwoForOne,
        OneKeyForAll,
        OpenForEver,
    }

    struct Bad(MemorySemaphoreStore, Wrong);

    impl SemaphoreStore for Bad {
        async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Taken, StoreError> {
            let (mut k, mut h, mut max, mut ttl) = (key.clone(), holder, max, ttl);
            match self.1 {
                Wrong::LooksThenTakes => {
                    let seen = self.0.holders(key).await?;
                    tokio::task::yield_now().await;
                    max = if seen < max { u32::MAX } else { 0 };
                }
                Wrong::NeverEnds => ttl = 60 * SECOND,
                Wrong::TwoForOne => h = Holder::random(),
                Wrong::OneKeyForAll => k = Key::new("all")?,
                _ => {}
            }
            match self.0.take(&k, h, max, ttl).await? {
                Taken::Held { .. } if self.1 == Wrong::FenceStands => Ok(Taken::Held { fence: 1 }),
                taken => Ok(taken),
            }
        }
        async fn renew(&self, key: &Key, holder: Holder, ttl: Duration) -> Result<bool, StoreError> {
            Ok(self.0.renew(key, holder, ttl).await? || self.1 == Wrong::RenewsTheDead)
        }
        async fn release(&self, key: &Key, holder: Holder) -> Result<bool, StoreError> {
            Ok(self.0.release(key, holder).await? || self.1 == Wrong::AnybodyLetsGo)
        }
        async fn holders(&self, key: &Key) -> Result<u32, StoreError> {
            self.0.holders(key).await
        }
        async fn close(&self) -> Result<(), StoreError> {
            if self.1 == Wrong::OpenForEver { Ok(()) } else { self.0.close().await }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_suite_finds_what_is_wrong() {
        for (wrong, found_by) in [
            (Wrong::LooksThenTakes, "G79a"),
            (Wrong::NeverEnds, "G79b"),
            (Wrong::RenewsTheDead, "G79c"),
            (Wrong::AnybodyLetsGo, "G79d"),
            (Wrong::FenceStands, "G79e"),
            (Wrong::TwoForOne, "G79f"),
            (Wrong::OneKeyForAll, "G79h"),
            (Wrong::OpenForEver, "H90"),
        ] {
            let suite = rate_conformance::semaphores(move || async move { Bad(MemorySemaphoreStore::new(), wrong) });
            let findings = suite.time(Time::Virtual).only(found_by).run().await;
            assert_eq!(findings.failed(), 1, "{wrong:?} was not found by {found_by}: {findings}");
        }
    }
}
