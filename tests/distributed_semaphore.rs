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
async fn a_semaphore_is_reconfigured_while_places_are_held() {
    let store = AnySemaphoreStore::new(MemorySemaphoreStore::new());
    let a = DistributedSemaphore::new(1).any_store(store.clone()).build().unwrap();
    let k = key("k");
    let held = a.try_acquire(&k).await.unwrap().unwrap();
    let foreign = a.config().name("other").store(MemorySemaphoreStore::new()).retry_every(2 * 3_600 * SECOND);
    let error = a.reconfigure(&foreign).unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["retry_every", "store", "name"], "{error}");
    assert_ne!(a.config(), foreign, "all or nothing");
    let waiting = tokio::spawn({
        let (a, k) = (a.clone(), k.clone());
        a.reconfigure(&a.config().max_wait(60 * SECOND)).unwrap();
        async move { a.acquire(&k).await.unwrap() }
    });
    sleep(SECOND).await;
    assert!(!waiting.is_finished());
    // One place more, for him who waits already, too.
    a.reconfigure(&DistributedSemaphore::new(2).any_store(store).max_wait(60 * SECOND)).unwrap();
    let second = waiting.await.unwrap();
    assert!(held.is_held() && second.fence() > held.fence());
    assert_eq!(a.holders(&k).await.unwrap(), 2);
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

    #[cfg(feature = "sqlite")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_sqlite_store_conforms() {
        use steadfast::store::rate::SqliteSemaphoreStore;
        let make = || async { SqliteSemaphoreStore::builder(":memory:").busy_timeout(Duration::from_secs(10)).open().await.unwrap() };
        rate_conformance::semaphores(make).run().await.assert();
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

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};
    use steadfast::store::rate::SqliteSemaphoreStore;

    const PLACES: u32 = 3;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("steadfast-places-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn open(dir: &Path) -> SqliteSemaphoreStore {
        SqliteSemaphoreStore::builder(dir.join("places.db")).busy_timeout(30 * SECOND).open().await.unwrap()
    }

    fn child(dir: &Path, job: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["sqlite::g79_child", "--exact", "--nocapture", "--test-threads=1"]);
        command.env("STEADFAST_PLACES_DIR", dir).env("STEADFAST_PLACES_JOB", job);
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    }

    /// The other process: does nothing unless it is told where and what.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn g79_child() {
        let Ok(dir) = std::env::var("STEADFAST_PLACES_DIR") else { return };
        let dir = Path::new(&dir);
        let (store, k) = (open(dir).await, key("shared"));
        if std::env::var("STEADFAST_PLACES_JOB").unwrap() == "hold" {
            let Taken::Held { fence } = store.take(&k, Holder::random(), 1, 2 * SECOND).await.unwrap() else { panic!("it is free") };
            std::fs::write(dir.join("fence.new"), fence.to_string()).unwrap();
            std::fs::rename(dir.join("fence.new"), dir.join("fence")).unwrap();
            sleep(600 * SECOND).await; // until it is killed
        }
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (store, k, dir) = (store.clone(), k.clone(), dir.to_owned());
            tasks.spawn(async move {
                for _ in 0..8 {
                    let holder = Holder::random();
                    while let Taken::Full { .. } = store.take(&k, holder, PLACES, 60 * SECOND).await.unwrap() {
                        sleep(MS).await;
                    }
                    // Inside: as many files as holders, which no database has counted.
                    let mine = dir.join(format!("in-{}", holder.to_hex()));
                    std::fs::write(&mine, "").unwrap();
                    let inside = std::fs::read_dir(&dir)
                        .unwrap()
                        .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("in-"));
                    let inside = u32::try_from(inside.count()).unwrap();
                    std::fs::remove_file(&mine).unwrap();
                    assert!(store.release(&k, holder).await.unwrap());
                    assert!((1..=PLACES).contains(&inside), "{inside} at once where there are {PLACES} places");
                }
            });
        }
        tasks.join_all().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn g79_two_processes_are_never_more_than_there_are_places() {
        let dir = Dir::new("race");
        open(&dir.0).await.close().await.unwrap();
        for mut child in [child(&dir.0, "race"), child(&dir.0, "race")] {
            assert!(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap().success());
        }
        assert_eq!(open(&dir.0).await.holders(&key("shared")).await.unwrap(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn g79_a_killed_holder_gives_its_place_back_and_the_fence_goes_on() {
        let dir = Dir::new("kill");
        let store = open(&dir.0).await;
        let mut holder = child(&dir.0, "hold");
        let begun = Instant::now();
        let fence: u64 = loop {
            if let Ok(text) = std::fs::read_to_string(dir.0.join("fence")) {
                break text.parse().unwrap();
            }
            assert!(begun.elapsed() < 30 * SECOND, "the other process takes no place");
            sleep(5 * MS).await;
        };
        holder.kill().unwrap();
        holder.wait().unwrap();
        let begun = Instant::now();
        let next = loop {
            match store.take(&key("shared"), Holder::random(), 1, SECOND).await.unwrap() {
                Taken::Held { fence } => break fence,
                Taken::Full { retry_after } => {
                    assert!(retry_after <= Some(2 * SECOND) && begun.elapsed() < 30 * SECOND, "{retry_after:?}");
                    sleep(20 * MS).await;
                }
            }
        };
        assert!(next > fence);
    }

    #[tokio::test]
    async fn a93_what_cannot_work_is_named() {
        let error = SqliteSemaphoreStore::builder(":memory:").table("a table").open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::InvalidConfig);
        assert!(error.to_string().contains("table"), "{error}");
        let store = SqliteSemaphoreStore::builder(":memory:").open().await.unwrap();
        let taken = store.take(&key("k"), Holder::random(), 0, Duration::ZERO).await.unwrap_err();
        assert!(taken.to_string().contains("max") && taken.to_string().contains("ttl"), "{taken}");
    }
}
