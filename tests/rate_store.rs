//! Stores of limits, from outside.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[cfg(feature = "sqlite")]
mod processes;

use std::time::Duration;
use steadfast::store::rate::{Algorithm, MemoryRateStore, Quota, RateStore, Source, State};
use steadfast::store::{Key, StoreErrorKind, Timestamp};

fn key(name: impl std::fmt::Display) -> Key {
    Key::new(name.to_string()).unwrap()
}

#[cfg(feature = "testing")]
mod conformance {
    use super::*;
    use steadfast::store::StoreError;
    use steadfast::store::rate::{Decision, Request};
    use steadfast::testing::conformance::Time;
    use steadfast::testing::rate_conformance;

    #[tokio::test(start_paused = true)]
    async fn the_memory_store_conforms() {
        rate_conformance::stores(|| async { MemoryRateStore::new() }).time(Time::Virtual).run().await.assert();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_memory_store_conforms_on_many_threads() {
        rate_conformance::stores(|| async { MemoryRateStore::new() }).run().await.assert();
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_sqlite_store_conforms() {
        use steadfast::store::rate::SqliteRateStore;
        let make = || async { SqliteRateStore::builder(":memory:").busy_timeout(Duration::from_secs(10)).open().await.unwrap() };
        rate_conformance::stores(make).run().await.assert();
    }

    /// A store with one thing wrong, each of which the suite must find.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Wrong {
        LooksThenTakes,
        RefusalCosts,
        PeekCosts,
        RefundIsAGift,
        ResetLies,
        ForgetsOnChange,
        RetryTooSoon,
        HalfOfMany,
        TakesTooMuch,
        OneBookForAll,
        OneKeyForAll,
        OpenForEver,
        ProbeClosesIt,
    }

    struct Bad(MemoryRateStore, Wrong);

    impl RateStore for Bad {
        async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
            let (mut k, mut q, mut c) = (key.clone(), *quota, cost);
            match self.1 {
                Wrong::LooksThenTakes => {
                    let seen = self.0.peek(key, quota).await?;
                    tokio::task::yield_now().await;
                    if seen.remaining >= cost && cost > 0 {
                        let _ = self.0.acquire(key, quota, cost).await?;
                        return Ok(Decision::allow(seen.limit, seen.remaining - cost, seen.reset_after));
                    }
                }
                Wrong::RefusalCosts => {
                    let decision = self.0.acquire(key, quota, cost).await?;
                    if !decision.allowed && cost > 1 {
                        let _ = self.0.acquire(key, quota, 1).await?;
                    }
                    return Ok(decision);
                }
                Wrong::PeekCosts => c = cost.max(1),
                Wrong::ForgetsOnChange => k = Key::of_parts([key.as_str(), &quota.to_string()])?,
                Wrong::TakesTooMuch => c = cost.min(quota.capacity()),
                Wrong::OneBookForAll => q = quota.algorithm(Algorithm::TokenBucket),
                Wrong::OneKeyForAll => k = Key::new("all")?,
                Wrong::RetryTooSoon => {
                    let mut decision = self.0.acquire(key, quota, cost).await?;
                    decision.retry_after = decision.retry_after.map(|wait| wait / 2);
                    return Ok(decision);
                }
                _ => {}
            }
            self.0.acquire(&k, &q, c).await
        }
        async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
            if self.1 == Wrong::RefundIsAGift {
                self.0.reset(key).await?;
            }
            self.0.refund(key, quota, units).await
        }
        async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
            Ok(self.0.reset(key).await? || self.1 == Wrong::ResetLies)
        }
        async fn acquire_many(&self, requests: &[Request<'_>]) -> Result<Vec<Decision>, StoreError> {
            if self.1 != Wrong::HalfOfMany {
                return self.0.acquire_many(requests).await;
            }
            let mut decisions = Vec::new();
            for request in requests {
                decisions.push(self.acquire(request.key, request.quota, request.cost).await?);
            }
            Ok(decisions)
        }
        async fn probe(&self) -> Result<(), StoreError> {
            if self.1 == Wrong::ProbeClosesIt {
                self.0.close().await?;
            }
            self.0.probe().await
        }
        async fn close(&self) -> Result<(), StoreError> {
            if self.1 == Wrong::OpenForEver { Ok(()) } else { self.0.close().await }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_suite_finds_what_is_wrong() {
        for (wrong, found_by) in [
            (Wrong::LooksThenTakes, "G66"),
            (Wrong::RefusalCosts, "G71"),
            (Wrong::PeekCosts, "G69"),
            (Wrong::RefundIsAGift, "G69"),
            (Wrong::ResetLies, "G74"),
            (Wrong::ForgetsOnChange, "G72"),
            (Wrong::RetryTooSoon, "G68"),
            (Wrong::HalfOfMany, "G71b"),
            (Wrong::TakesTooMuch, "G69"),
            (Wrong::OneBookForAll, "G75"),
            (Wrong::OneKeyForAll, "H104"),
            (Wrong::OpenForEver, "H90"),
            (Wrong::ProbeClosesIt, "H95"),
        ] {
            let suite = rate_conformance::stores(move || async move { Bad(MemoryRateStore::new(), wrong) });
            let findings = suite.time(Time::Virtual).algorithms([Algorithm::Gcra]).only(found_by).run().await;
            assert_eq!(findings.failed(), 1, "{wrong:?} was not found by {found_by}: {findings}");
        }
    }

    /// The provided `acquire_many`, `peek` and `probe` of a store that has but three methods.
    struct Least(MemoryRateStore);

    impl RateStore for Least {
        async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
            self.0.acquire(key, quota, cost).await
        }
        async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
            self.0.refund(key, quota, units).await
        }
        async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
            self.0.reset(key).await
        }
        async fn close(&self) -> Result<(), StoreError> {
            self.0.close().await
        }
    }

    /// Fails for one key.
    struct Breaks(MemoryRateStore);

    impl RateStore for Breaks {
        async fn acquire(&self, name: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
            if *name == key("bad") { Err(StoreError::new(StoreErrorKind::Unavailable)) } else { self.0.acquire(name, quota, cost).await }
        }
        async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
            self.0.refund(key, quota, units).await
        }
        async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
            self.0.reset(key).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn g80_what_was_taken_before_the_store_failed_is_given_back() {
        let (store, quota) = (Breaks(MemoryRateStore::new()), Quota::per_second(1).burst(9));
        let [first, second, bad] = ["first", "second", "bad"].map(key);
        let requests = [Request::new(&first, &quota, 3), Request::new(&second, &quota, 9), Request::new(&bad, &quota, 1)];
        let error = store.acquire_many(&requests).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        for key in [&first, &second] {
            assert_eq!(store.peek(key, &quota).await.unwrap().remaining, 9);
        }
        store.close().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_of_three_methods_conforms() {
        rate_conformance::stores(|| async { Least(MemoryRateStore::new()) }).time(Time::Virtual).run().await.assert();
    }
}

#[tokio::test(start_paused = true)]
async fn g74_idle_keys_vanish_once_full_never_sooner() {
    let store = MemoryRateStore::builder().max_keys(1_000).build().unwrap();
    let quota = Quota::per_minute(60);
    for number in 0..1_000 {
        assert!(store.try_acquire(&key(number), &quota, 1 + number % 60).unwrap().allowed);
    }
    assert_eq!(store.len(), 1_000);
    tokio::time::advance(Duration::from_millis(59_999)).await;
    assert!(store.len() > 900, "nobody has asked yet");
    assert_eq!(store.try_acquire(&key(59), &quota, 0).unwrap().remaining, 59, "60 spent, one millisecond short of full");
    tokio::time::advance(Duration::from_millis(1)).await;
    for _ in 0..1_000 {
        let _ = store.try_acquire(&key("one"), &quota, 1).unwrap();
    }
    assert_eq!(store.len(), 1, "each call frees a little more than it may add");
}

#[tokio::test(start_paused = true)]
async fn g74_too_many_keys_cost_the_least_indebted() {
    let store = MemoryRateStore::builder().max_keys(100).build().unwrap();
    let quota = Quota::per_hour(10);
    assert!(store.try_acquire(&key("spent"), &quota, 10).unwrap().allowed);
    for number in 0..50_000 {
        assert!(store.try_acquire(&key(number), &quota, 1).unwrap().allowed);
        assert!(store.len() <= 100);
    }
    assert!(!store.try_acquire(&key("spent"), &quota, 1).unwrap().allowed, "made-up keys are no refill");
}

#[tokio::test(start_paused = true)]
async fn g74_a_key_reset_again_and_again_costs_no_memory() {
    let store = MemoryRateStore::new();
    let quota = Quota::per_hour(10);
    for _ in 0..10_000 {
        assert!(store.try_acquire(&key("k"), &quota, 10).unwrap().allowed);
        assert!(store.reset(&key("k")).await.unwrap());
    }
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn calendars_go_by_the_date() {
    // 2026-11-21 15:00:00 UTC, a Saturday; 9 hours to midnight, 33 to Monday.
    let store = MemoryRateStore::builder().epoch(Timestamp::from_millis(1_795_273_200_000)).build().unwrap();
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    for (quota, ends) in [
        (Quota::daily(5), hours(9)),
        (Quota::weekly(5), hours(33)),
        (Quota::monthly(5), hours(9 + 9 * 24)),
        (Quota::yearly(5), hours(9 + (9 + 31) * 24)),
    ] {
        let k = key(quota);
        let taken = store.try_acquire(&k, &quota, 5).unwrap();
        assert_eq!((taken.allowed, taken.reset_after, taken.source), (true, ends, Source::Local), "{quota}");
        assert_eq!(store.try_acquire(&k, &quota, 1).unwrap().retry_after, Some(ends), "{quota}");
    }
    tokio::time::advance(hours(9)).await;
    assert!(store.try_acquire(&key(Quota::daily(5)), &Quota::daily(5), 5).unwrap().allowed, "a new day");
    assert!(!store.try_acquire(&key(Quota::weekly(5)), &Quota::weekly(5), 1).unwrap().allowed, "of the same week");
}

#[tokio::test]
async fn a_closed_store_says_so_and_its_settings_say_what_is_wrong() {
    let store = MemoryRateStore::new();
    store.clone().close().await.unwrap();
    assert_eq!(store.try_acquire(&key("k"), &Quota::per_second(1), 1).map_err(|error| error.kind()), Err(StoreErrorKind::Closed));
    assert_eq!(MemoryRateStore::builder().max_keys(0).build().unwrap_err().faults()[0].field(), "max_keys");
}

#[cfg(feature = "sqlite")]
mod one_file {
    use super::*;
    use crate::processes::{self, Dir, Process};
    use steadfast::store::rate::SqliteRateStore;

    const TASKS: usize = 32;
    const LIMIT: u32 = 1_000;

    async fn open(path: &std::path::Path) -> SqliteRateStore {
        SqliteRateStore::builder(path).busy_timeout(Duration::from_secs(30)).open().await.unwrap()
    }

    /// So many as went through 32 tasks of this process.
    async fn race(path: &std::path::Path, algorithm: Algorithm) -> u32 {
        let (store, quota) = (open(path).await, Quota::per(LIMIT, Duration::from_secs(365 * 86_400)).algorithm(algorithm));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..TASKS {
            let store = store.clone();
            tasks.spawn(async move {
                let mut went = 0;
                while store.acquire(&key("shared"), &quota, 1).await.unwrap().allowed {
                    went += 1;
                }
                went
            });
        }
        let went = tasks.join_all().await.iter().sum();
        store.close().await.unwrap();
        went
    }

    /// The other process: does nothing unless it is told where and how.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn g66_child() {
        let Some(name) = processes::role() else { return };
        let algorithm = *Algorithm::ALL.iter().find(|algorithm| algorithm.as_str() == name).unwrap();
        println!("went={}", race(processes::told("STEADFAST_FILE").as_ref(), algorithm).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn g66_two_processes_of_32_tasks_take_exactly_the_limit() {
        let dir = Dir::new("rate");
        for algorithm in Algorithm::ALL {
            let path = dir.join(format!("{algorithm}.db"));
            open(&path).await.close().await.unwrap();
            let child = || Process::start("one_file::g66_child", algorithm.as_str(), [("STEADFAST_FILE", &path)]);
            let (one, other) = (child(), child());
            let count = move || [one.number("went"), other.number("went")];
            let went = tokio::task::spawn_blocking(count).await.unwrap();
            assert_eq!(went.iter().sum::<u32>(), LIMIT, "{algorithm}: {went:?}");
        }
    }
}

/// `Quota::terms` refuses such a cost; but a store may have asked for another.
#[test]
fn h120_a_cost_that_can_never_go_is_refused_whatever_was_kept() {
    let algorithms = [Algorithm::Gcra, Algorithm::TokenBucket, Algorithm::SlidingLog, Algorithm::SlidingCounter, Algorithm::FixedWindow];
    for algorithm in algorithms {
        for (limit, period) in [(1, Duration::from_secs(3_000_000_000)), (5, Duration::from_secs(1))] {
            let terms = Quota::per(limit, period).algorithm(algorithm).terms(1).unwrap();
            let now = 1_800_000_000_000_000;
            let mut state = State::new(&terms, now);
            for (now, cost) in [(now, u32::MAX), (now, 1), (now - 1, u32::MAX), (now + 1, limit + 1)] {
                let decision = state.take(now, &terms, cost);
                assert!(decision.allowed == (cost == 1), "{algorithm}: {decision:?}");
            }
        }
    }
}
