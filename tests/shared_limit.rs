//! A limit that machines share, over a store that does what it is told: answers, fails, hangs, loses.
#![cfg(feature = "store")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::store::rate::{
    Algorithm, Decision, Leased, MemoryRateStore, OnOutage, Quota, RateStore, SharedLimit, SharedLimitConfig, Source,
};
use steadfast::store::{Key, StoreError, StoreErrorKind};
use steadfast::{CircuitState, Pipeline, RejectedKind};
use tokio::time::{Instant, advance, sleep};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn key(name: impl std::fmt::Display) -> Key {
    Key::new(name.to_string()).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Up,
    /// Fails at once.
    Down,
    /// Never answers.
    Hung,
    /// Answers after so long, having done what it was asked at once.
    Slow(Duration),
    /// Every second step fails, after it was done.
    Lossy,
}

/// A shared store on a bad day. Clones share it.
#[derive(Clone)]
struct Faulty(Arc<Inner>);

struct Inner {
    store: MemoryRateStore,
    mode: Mutex<Mode>,
    steps: AtomicU32,
    refunds: AtomicU32,
}

impl Faulty {
    fn new() -> Self {
        Self(Arc::new(Inner {
            store: MemoryRateStore::new(),
            mode: Mutex::new(Mode::Up),
            steps: AtomicU32::new(0),
            refunds: AtomicU32::new(0),
        }))
    }

    fn set(&self, mode: Mode) {
        *self.0.mode.lock().unwrap() = mode;
    }

    fn steps(&self) -> u32 {
        self.0.steps.load(Ordering::SeqCst)
    }

    async fn fate<T>(&self, step: impl AsyncFnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let number = self.0.steps.fetch_add(1, Ordering::SeqCst);
        let mode = *self.0.mode.lock().unwrap();
        match mode {
            Mode::Down => return Err(StoreError::new(StoreErrorKind::Unavailable)),
            Mode::Hung => std::future::pending().await,
            _ => {}
        }
        let done = step().await;
        match mode {
            Mode::Slow(time) => sleep(time).await,
            Mode::Lossy if number % 2 == 1 => return Err(StoreError::new(StoreErrorKind::OutcomeUnknown)),
            _ => {}
        }
        done
    }
}

impl RateStore for Faulty {
    async fn acquire(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, StoreError> {
        self.fate(async || Ok(self.0.store.acquire(key, quota, cost).await?.by(Source::Remote))).await
    }
    async fn refund(&self, key: &Key, quota: &Quota, units: u32) -> Result<(), StoreError> {
        self.0.refunds.fetch_add(units, Ordering::SeqCst);
        self.fate(async || self.0.store.refund(key, quota, units).await).await
    }
    async fn reset(&self, key: &Key) -> Result<bool, StoreError> {
        self.fate(async || self.0.store.reset(key).await).await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.0.store.close().await
    }
}

fn limit(quota: Quota, set: impl FnOnce(SharedLimitConfig) -> SharedLimitConfig) -> (SharedLimit, Faulty) {
    let store = Faulty::new();
    (set(SharedLimit::new(quota).store(store.clone())).build().unwrap(), store)
}

/// The decision, which must have come within the deadline.
async fn check(limit: &SharedLimit, name: &str) -> Decision {
    let began = Instant::now();
    let decision = limit.check(&key(name)).await.unwrap();
    assert!(began.elapsed() <= 51 * MS, "a decision after {:?}", began.elapsed());
    decision
}

async fn went(limit: &SharedLimit, name: &str, calls: u32) -> u32 {
    let mut went = 0;
    for _ in 0..calls {
        went += u32::from(check(limit, name).await.allowed);
    }
    went
}

#[tokio::test(start_paused = true)]
async fn it_says_what_the_store_says() {
    let (limit, store) = limit(Quota::per_minute(3), |limit| limit);
    for left in [2, 1, 0] {
        let decision = check(&limit, "k").await;
        assert_eq!((decision.allowed, decision.remaining, decision.source), (true, left, Source::Remote));
    }
    let refused = check(&limit, "k").await;
    assert_eq!((refused.allowed, refused.retry_after, refused.source), (false, Some(20 * SECOND), Source::Remote));
    assert_eq!((refused.limit, refused.utilization()), (3, 1.0));
    assert_eq!(limit.peek(&key("other")).await.unwrap().remaining, 3);
    assert_eq!(store.steps(), 5);
    let rejected = limit.acquire(&key("k"), 1).await.unwrap_err();
    assert_eq!((rejected.kind(), rejected.retry_after()), (RejectedKind::RateLimited, Some(20 * SECOND)));
    assert_eq!(limit.check_cost(&key("k"), 4).await.unwrap_err().kind(), StoreErrorKind::TooLarge);
    assert!(limit.check_cost(&key("k"), 0).await.unwrap().allowed);
}

#[tokio::test(start_paused = true)]
async fn h93_a_store_that_is_down_at_the_start_delays_nobody() {
    for mode in [Mode::Down, Mode::Hung] {
        let store = Faulty::new();
        store.set(mode);
        let limit = SharedLimit::new(Quota::per_minute(100)).store(store).build().unwrap();
        let decision = check(&limit, "k").await;
        assert_eq!((decision.allowed, decision.source, decision.limit), (true, Source::LocalFallback, 25), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn h94_a_hung_store_costs_one_call_in_many_its_deadline() {
    let (limit, store) = limit(Quota::per_second(100_000), |limit| limit);
    store.set(Mode::Hung);
    let mut slow = 0;
    for _ in 0..2_000 {
        let began = Instant::now();
        assert_eq!(check(&limit, "k").await.source, Source::LocalFallback);
        slow += u32::from(began.elapsed() > 5 * MS);
        advance(MS).await;
    }
    assert!(slow <= 3 + 10, "{slow} of 2,000 calls in 2 s have waited");
    assert_eq!(store.steps(), slow);
    assert_eq!(limit.stats().timeouts, u64::from(slow));
}

#[tokio::test(start_paused = true)]
async fn g76_an_outage_is_decided_in_time_from_a_warm_bucket_and_is_over_by_itself() {
    for mode in [Mode::Down, Mode::Hung, Mode::Slow(60 * MS)] {
        for algorithm in Algorithm::ALL {
            // In an hour nothing to speak of comes back.
            let quota = Quota::per_day(400).algorithm(algorithm);
            let (limit, store) = limit(quota, |limit| limit.on_outage(OnOutage::Local { share: 0.25 }).deny_cache(0));
            assert_eq!(went(&limit, "half", 200).await, 200);
            assert_eq!(went(&limit, "all", 450).await, 400);
            store.set(mode);
            assert_eq!(went(&limit, "half", 300).await, 50, "half of a quarter, {algorithm} {mode:?}");
            assert_eq!(went(&limit, "all", 300).await, 0, "{algorithm} {mode:?}");
            assert_eq!(went(&limit, "new", 300).await, 100, "a quarter, {algorithm} {mode:?}");
            assert_eq!(check(&limit, "half").await.source, Source::LocalFallback);
            assert_eq!(limit.breaker().state(), CircuitState::Open);

            store.set(Mode::Up);
            let back = Instant::now();
            while check(&limit, "probe").await.source != Source::Remote || limit.breaker().state() != CircuitState::Closed {
                sleep(10 * MS).await;
                assert!(back.elapsed() <= SECOND, "not back after {:?}", back.elapsed());
            }
            let decision = check(&limit, "half").await;
            assert_eq!((decision.allowed, decision.source), (true, Source::Remote));
            // What was decided locally was not counted there; what was cut off was done once at most.
            let unknown = if matches!(mode, Mode::Slow(_)) { 10 } else { 0 };
            assert!((199 - unknown..=199).contains(&decision.remaining), "{algorithm} {mode:?}: {decision:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g76_a_store_that_loses_half_does_not_make_it_flap() {
    let (limit, store) = limit(Quota::per_second(1_000), |limit| limit);
    store.set(Mode::Lossy);
    let (mut changes, mut last) = (0, None);
    for _ in 0..6_000 {
        let source = check(&limit, "k").await.source;
        // Single answers of an open circuit's probes are what they are; a change is one that lasts.
        let state = limit.breaker().state() == CircuitState::Closed;
        changes += u32::from(last.is_some_and(|last| last != state));
        last = Some(state);
        assert!(matches!(source, Source::Remote | Source::LocalFallback));
        advance(10 * MS).await;
    }
    assert!(changes <= 1, "{changes} changes in a minute");
    let stats = limit.stats();
    assert!(stats.local_fallback > 5_000, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn g76_a_store_that_answers_now_and_then_does_not_refill_this_machines_share() {
    for algorithm in Algorithm::ALL {
        let (limit, store) = limit(Quota::per_second(100).algorithm(algorithm), |limit| limit.on_outage(OnOutage::Local { share: 0.25 }));
        store.set(Mode::Lossy);
        let began = Instant::now();
        let (mut here, mut there) = (0, 0);
        for _ in 0..10_000 {
            let decision = check(&limit, "k").await;
            if decision.allowed {
                *if decision.source == Source::LocalFallback { &mut here } else { &mut there } += 1;
            }
            advance(MS).await;
        }
        // Two windows by the clock may be cut; otherwise a burst, and the rate.
        let most = 25 * (began.elapsed().as_secs() + 2);
        assert!(here <= most && there < 100, "{algorithm}: {here} where {most} may, and {there}");
    }
}

#[tokio::test(start_paused = true)]
async fn h98_what_was_cut_off_is_not_asked_again() {
    let (limit, store) = limit(Quota::per_day(1_000), |limit| limit);
    store.set(Mode::Lossy);
    for _ in 0..100 {
        let _ = check(&limit, "k").await;
        advance(20 * MS).await;
    }
    store.set(Mode::Up);
    let spent = 1_000 - store.0.store.peek(&key("limit:k"), &Quota::per_day(1_000)).await.unwrap().remaining;
    assert_eq!(spent, store.steps(), "each step was done once");
}

#[tokio::test(start_paused = true)]
async fn outages_go_as_they_are_told_to() {
    for (what, mode) in [(OnOutage::Allow, Mode::Down), (OnOutage::Deny, Mode::Hung), (OnOutage::Error, Mode::Down)] {
        let (limit, store) = limit(Quota::per_minute(10), |limit| limit.on_outage(what));
        store.set(mode);
        for _ in 0..20 {
            match (what, limit.check(&key("k")).await) {
                (OnOutage::Allow, Ok(decision)) => assert_eq!((decision.allowed, decision.source), (true, Source::LocalFallback)),
                (OnOutage::Deny, Ok(decision)) => assert_eq!((decision.allowed, decision.source), (false, Source::LocalFallback)),
                (OnOutage::Error, Err(error)) => {
                    assert!(matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Rejected), "{error}");
                }
                (what, got) => panic!("{what:?}: {got:?}"),
            }
        }
        if what == OnOutage::Deny {
            let wait = limit.check(&key("k")).await.unwrap().retry_after;
            assert!(wait.is_some_and(|wait| wait <= SECOND), "{wait:?}");
        }
        if what == OnOutage::Error {
            assert_eq!(limit.acquire(&key("k"), 1).await.unwrap_err().kind(), RejectedKind::Custom("limit_unavailable"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g78_who_was_refused_costs_no_round_trip_until_it_is_time() {
    let (limit, store) = limit(Quota::per_minute(6), |limit| limit);
    assert!(limit.check_cost(&key("k"), 5).await.unwrap().allowed);
    let refused = limit.check_cost(&key("k"), 3).await.unwrap();
    assert_eq!((refused.retry_after, refused.source), (Some(20 * SECOND), Source::Remote));
    let asked = store.steps();
    for _ in 0..1_000 {
        let refused = limit.check_cost(&key("k"), 3).await.unwrap();
        assert_eq!((refused.allowed, refused.source), (false, Source::DenyCache));
    }
    advance(5 * SECOND).await;
    assert_eq!(limit.check_cost(&key("k"), 4).await.unwrap().retry_after, Some(15 * SECOND));
    assert_eq!(store.steps(), asked);
    assert!(check(&limit, "k").await.allowed, "one of less may be luckier");
    assert!(check(&limit, "other").await.allowed);

    // Over, reset, given back, and another quota: it is asked again.
    let spent = async || while limit.check(&key("k")).await.unwrap().allowed {};
    spent().await;
    advance(10 * SECOND).await;
    assert_eq!(check(&limit, "k").await.source, Source::Remote);
    spent().await;
    assert!(limit.reset(&key("k")).await.unwrap());
    assert!(check(&limit, "k").await.allowed);
    spent().await;
    limit.refund(&key("k"), 1).await.unwrap();
    assert!(check(&limit, "k").await.allowed);
    spent().await;
    let config = SharedLimit::new(Quota::per_minute(12)).store(store.clone()).deadline(SECOND);
    let error = limit.reconfigure(&config).unwrap_err();
    assert_eq!(error.faults()[0].field(), "store", "another store is another limit");
    let raised = limit.config();
    limit.reconfigure(&raised).unwrap();
    assert_eq!(check(&limit, "k").await.source, Source::DenyCache, "nothing was changed");
}

#[tokio::test(start_paused = true)]
async fn g78_a_raised_quota_is_felt_at_once() {
    let store = Faulty::new().into_any();
    let config = |quota| SharedLimit::new(quota).store(store.clone());
    let limit = config(Quota::per_minute(6)).build().unwrap();
    assert_eq!(went(&limit, "k", 10).await, 6);
    assert_eq!(check(&limit, "k").await.source, Source::DenyCache);
    limit.reconfigure(&config(Quota::per_minute(12))).unwrap();
    assert_eq!(went(&limit, "k", 10).await, 6, "what was spent still counts");
    assert_eq!(limit.config().clone(), config(Quota::per_minute(12)));
}

#[tokio::test(start_paused = true)]
async fn a_deny_cache_is_bounded() {
    let (limit, store) = limit(Quota::per_day(1), |limit| limit.deny_cache(10));
    for round in 0..2 {
        for number in 0..100 {
            assert_eq!(check(&limit, &format!("{number}")).await.allowed, round == 0);
            let _ = check(&limit, &format!("{number}")).await;
        }
    }
    assert_eq!(store.steps(), 300, "the last ten of a hundred are no help to the first");
    assert_eq!(check(&limit, "99").await.source, Source::DenyCache);
}

#[test]
fn who_is_refused_from_memory_costs_no_allocation_and_no_runtime() {
    use futures_util::FutureExt;
    let limit = SharedLimit::new(Quota::per_day(1)).store(MemoryRateStore::new()).build().unwrap();
    let k = key("k");
    for source in [Source::Local, Source::Local, Source::DenyCache] {
        assert_eq!(limit.check(&k).now_or_never().unwrap().unwrap().source, source);
    }
    let info = allocation_counter::measure(|| {
        for _ in 0..100 {
            assert!(!limit.check(&k).now_or_never().unwrap().unwrap().allowed);
        }
    });
    assert_eq!(info.count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_counts_and_never_refuses() {
    let (limit, _) = limit(Quota::per_day(5), |limit| limit.shadow(true));
    assert_eq!(went(&limit, "k", 20).await, 20);
    let stats = limit.stats();
    assert_eq!((stats.allowed, stats.denied, stats.shadowed, stats.decisions()), (20, 0, 15, 20));
    assert_eq!([stats, stats].into_iter().sum::<steadfast::store::rate::LimitStats>().shadowed, 30);
}

#[tokio::test(start_paused = true)]
async fn h104_limits_that_share_a_store_keep_their_own_books() {
    let store = Faulty::new();
    let limit = |name: &str, quota| SharedLimit::new(quota).name(name).store(store.clone()).build().unwrap();
    let (minute, day) = (limit("minute", Quota::per_minute(2)), limit("day", Quota::per_day(10)));
    assert_eq!((went(&minute, "k", 5).await, went(&day, "k", 20).await), (2, 10));
    let tricky = limit("day:k", Quota::per_day(3));
    assert_eq!(went(&tricky, "k", 20).await, 3);
    assert_eq!(went(&limit("day", Quota::per_day(10)), "k:k", 20).await, 10);
    assert_eq!(went(&limit("minute", Quota::per_minute(2)), "k", 5).await, 0, "one of the same name is the same limit");
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_named_at_once() {
    let error = SharedLimit::new(Quota::per_second(0))
        .name("")
        .on_outage(OnOutage::Local { share: 25.0 })
        .deadline(Duration::ZERO)
        .local_keys(0)
        .breaker(steadfast::CircuitBreaker::failure_rate(2.0))
        .build()
        .unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["quota.limit", "store", "name", "on_outage.share", "deadline", "local_keys", "breaker.failure_rate"]);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_gate_of_a_pipeline() {
    let (limit, store) = limit(Quota::per_minute(2), |limit| limit.name("search"));
    let pipeline = Pipeline::builder("search").gate(limit.clone()).build().unwrap();
    let ok = || async { Ok::<_, steadfast::Rejected>(()) };
    for tenant in ["a", "b"] {
        assert!(pipeline.key(tenant).call(ok).await.is_ok());
        assert!(pipeline.key(tenant).call(ok).await.is_ok());
        let rejected = pipeline.key(tenant).call(ok).await.unwrap_err();
        assert_eq!((rejected.kind(), rejected.retry_after()), (Some(RejectedKind::RateLimited), Some(30 * SECOND)));
    }
    assert!(pipeline.call(ok).await.is_ok(), "calls without a key share one of their own");
    assert!(pipeline.key("c").cost(3).call(ok).await.is_err());
    assert!(pipeline.key("c").cost(0).call(ok).await.is_ok());
    assert!(pipeline.key("c").cost(2).call(ok).await.is_ok());
    assert_eq!(limit.peek(&key("c")).await.unwrap().remaining, 0, "the same key at both doors");
    assert!(pipeline.to_string().contains("search"));
    drop(store);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_not_made_is_given_back_and_one_that_was_is_not() {
    use steadfast::{Call, Gate, Outcome};
    for mode in [Mode::Up, Mode::Down] {
        let (limit, store) = limit(Quota::per_day(40), |limit| limit);
        store.set(mode);
        let pass = async || limit.admit(Call::now().for_key("k").cost(2)).await.map_err(|rejected| rejected.kind()).unwrap();
        let used = async || {
            let standing = limit.peek(&key("k")).await.unwrap();
            standing.limit - standing.remaining
        };
        pass().await.settle(Outcome::NotAttempted);
        sleep(MS).await;
        assert_eq!(used().await, 0, "{mode:?}");
        pass().await.settle(Outcome::TimedOut);
        drop(pass().await); // a caller who gives up may have been heard
        sleep(MS).await;
        assert_eq!(used().await, 4, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_calls_own_deadline_ends_it_sooner_and_says_nothing_of_the_store() {
    let (limit, store) = limit(Quota::per_minute(100), |limit| limit.deadline(SECOND));
    store.set(Mode::Hung);
    let pipeline = Pipeline::builder("p").total_timeout(30 * MS).gate(limit.clone()).build().unwrap();
    let began = Instant::now();
    for _ in 0..5 {
        let _ = pipeline.call(|| async { Ok::<_, steadfast::Rejected>(()) }).await;
    }
    assert!(began.elapsed() <= 160 * MS, "{:?}", began.elapsed());
    assert_eq!(limit.breaker().state(), CircuitState::Closed);
}

mod waiting {
    use super::*;
    use steadfast::Rejected;

    /// Who went when, in milliseconds, and in which order; each came a millisecond after the one before.
    async fn came(limit: &SharedLimit, costs: &[u32]) -> Vec<(usize, u128)> {
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (number, cost) in costs.iter().copied().enumerate() {
            let limit = limit.clone();
            tasks.spawn(async move {
                let went = limit.acquire(&key("k"), cost).await;
                (number, went.is_ok(), began.elapsed().as_millis())
            });
            sleep(MS).await;
        }
        let mut went = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let (number, ok, when) = done.unwrap();
            if ok {
                went.push((number, when));
            }
        }
        went
    }

    #[tokio::test(start_paused = true)]
    async fn g80_first_come_first_served_each_at_its_time() {
        let quota = |algorithm| match algorithm {
            Algorithm::Gcra | Algorithm::TokenBucket => Quota::per_second(10).burst(1).algorithm(algorithm),
            _ => Quota::per_second(10).algorithm(algorithm),
        };
        for algorithm in [Algorithm::Gcra, Algorithm::TokenBucket, Algorithm::SlidingLog, Algorithm::FixedWindow] {
            let (limit, store) = limit(quota(algorithm), |limit| limit.max_wait(60 * SECOND));
            let went = came(&limit, &[1; 20]).await;
            assert_eq!(went.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>(), "{algorithm}");
            if matches!(algorithm, Algorithm::Gcra | Algorithm::TokenBucket) {
                for (number, when) in went {
                    assert!(
                        (100 * number as u128..=100 * number as u128 + 2 * number as u128 + 20).contains(&when),
                        "{number} went at {when} ms"
                    );
                }
                assert!(store.steps() <= 45, "{} questions for 20 units", store.steps());
            }
            let stats = limit.stats();
            assert_eq!((stats.allowed, stats.denied), (20, 0), "{algorithm}");
            assert!(stats.waited >= 10, "{stats:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn g80_nobody_overtakes_a_large_one() {
        let (limit, _) = limit(Quota::per_second(10).burst(5), |limit| limit.max_wait(60 * SECOND));
        let went = came(&limit, &[5, 5, 1, 1]).await;
        assert_eq!(went.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(went[1].1 >= 500);
    }

    #[tokio::test(start_paused = true)]
    async fn h18_who_cannot_go_in_time_is_refused_at_once() {
        let (limit, store) = limit(Quota::per_second(10).burst(1), |limit| limit.max_wait(250 * MS));
        let began = Instant::now();
        let went = came(&limit, &[1; 10]).await;
        assert_eq!(went.len(), 3, "now, and after 100 and 200 ms");
        assert!(began.elapsed() < 250 * MS);
        assert!(store.steps() <= 8, "{}", store.steps());
        let rejected = limit.acquire(&key("k"), 1).await;
        assert!(rejected.is_ok());
        let _waiter = tokio::spawn({
            let limit = limit.clone();
            async move { limit.acquire(&key("k"), 1).await }
        });
        sleep(MS).await;
        let mut refused = Vec::new();
        for _ in 0..3 {
            let limit = limit.clone();
            refused.push(tokio::spawn(async move { (limit.acquire(&key("k"), 1).await, Instant::now()) }));
            sleep(MS).await;
        }
        let (said, when) = refused.pop().unwrap().await.unwrap();
        assert_eq!(said.unwrap_err().kind(), RejectedKind::RateLimited);
        assert!(when <= Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn h18_the_calls_deadline_counts() {
        let (limit, _) = limit(Quota::per_second(1).burst(1), |limit| limit.max_wait(Duration::MAX));
        let pipeline = Pipeline::builder("p").total_timeout(300 * MS).gate(limit.clone()).build().unwrap();
        let call = async || pipeline.key("k").call(|| async { Ok::<_, Rejected>(()) }).await;
        call().await.unwrap();
        let began = Instant::now();
        let rejected = call().await.unwrap_err();
        assert_eq!((rejected.kind(), began.elapsed()), (Some(RejectedKind::RateLimited), Duration::ZERO));
        let patient = Pipeline::builder("p").total_timeout(5 * SECOND).gate(limit).build().unwrap();
        patient.key("k").call(|| async { Ok::<_, Rejected>(()) }).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    /// Others have taken what those in line were waiting for: whoever asks is told, and the next waits no longer than it said it would.
    #[tokio::test(start_paused = true)]
    async fn h18_who_waits_in_vain_leaves_when_its_time_is_over() {
        for deadline in [false, true] {
            let wait = if deadline { 60 * SECOND } else { 2_500 * MS };
            let (limit, store) = limit(Quota::per_second(1).burst(1), |limit| limit.max_wait(wait));
            let total = if deadline { 2_500 * MS } else { 60 * SECOND };
            let pipeline = Pipeline::builder("p").total_timeout(total).gate(limit.clone()).build().unwrap();
            assert!(check(&limit, "k").await.allowed);
            let began = Instant::now();
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let pipeline = pipeline.clone();
                    tokio::spawn(async move {
                        let rejected = pipeline.key("k").call(|| async { Ok::<_, Rejected>(()) }).await.unwrap_err();
                        (rejected.kind().unwrap(), began.elapsed().as_millis() / 100)
                    })
                })
                .collect();
            // Somebody elsewhere is allowed more at once, and so the units of the next two seconds are gone before they are there.
            for pause in [500 * MS, SECOND] {
                sleep(pause).await;
                let generous = Quota::per_second(1).burst(100);
                assert!(store.0.store.acquire(&key("k").within("limit"), &generous, 1).await.unwrap().allowed);
            }
            let mut said = Vec::new();
            for waiter in waiters {
                said.push(waiter.await.unwrap());
            }
            let end = if deadline { RejectedKind::DeadlineExceeded } else { RejectedKind::RateLimited };
            assert_eq!(said, [(RejectedKind::RateLimited, 20), (end, 25)]);
            assert_eq!(store.0.refunds.load(Ordering::SeqCst), 0, "nothing was taken, so nothing comes back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn g80_one_who_leaves_gives_way_and_costs_nothing() {
        let (limit, store) = limit(Quota::per_second(1).burst(1), |limit| limit.max_wait(60 * SECOND));
        assert!(check(&limit, "k").await.allowed);
        let began = Instant::now();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let limit = limit.clone();
                tokio::spawn(async move { limit.acquire(&key("k"), 1).await.map(|_| ()) })
            })
            .collect();
        sleep(500 * MS).await;
        waiters[0].abort();
        waiters[1].abort();
        let mut waiters = waiters;
        waiters.pop().unwrap().await.unwrap().unwrap();
        assert!(began.elapsed() <= 1_010 * MS, "{:?}", began.elapsed());
        assert_eq!(store.0.store.peek(&key("k").within("limit"), &Quota::per_second(1).burst(1)).await.unwrap().remaining, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn h22_one_that_is_not_polled_is_passed_over_and_keeps_its_place() {
        let (limit, _) = limit(Quota::per_second(10).burst(1), |limit| limit.max_wait(60 * SECOND));
        assert!(check(&limit, "k").await.allowed);
        let k = key("k");
        let mut parked = tokio_test::task::spawn(limit.acquire(&k, 1));
        // In line, and then nobody looks after it any more.
        assert!(parked.poll().is_pending());
        sleep(MS).await;
        assert!(parked.poll().is_pending());
        let began = Instant::now();
        for _ in 0..5 {
            let _ = limit.acquire(&k, 1).await.unwrap();
        }
        assert!(began.elapsed() <= 1_000 * MS, "{:?}", began.elapsed());
        assert!(parked.await.unwrap().allowed);
    }

    #[tokio::test(start_paused = true)]
    async fn g76_it_waits_in_an_outage_too() {
        let (limit, store) = limit(Quota::per_second(40).burst(4), |limit| limit.max_wait(60 * SECOND));
        store.set(Mode::Down);
        let began = Instant::now();
        for _ in 0..11 {
            assert_eq!(limit.acquire(&key("k"), 1).await.unwrap().source, Source::LocalFallback);
        }
        // A quarter of 40 a second, and of a burst of 4.
        assert!((1_000..=1_100).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        let (limit, store) = super::limit(Quota::per_second(40), |limit| limit.max_wait(60 * SECOND).on_outage(OnOutage::Error));
        store.set(Mode::Down);
        assert_eq!(limit.acquire(&key("k"), 1).await.unwrap_err().kind(), RejectedKind::Custom("limit_unavailable"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_goes_as_fast_as_the_quota_though_each_question_takes_a_while() {
        let (limit, store) = limit(Quota::per_second(2_000).burst(50), |limit| limit.max_wait(10 * SECOND));
        store.set(Mode::Slow(10 * MS));
        let began = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..2_000 {
            let limit = limit.clone();
            tasks.spawn(async move { limit.acquire(&key("k"), 1).await.is_ok() });
        }
        let went = tasks.join_all().await.into_iter().filter(|went| *went).count();
        assert_eq!(went, 2_000);
        assert!(began.elapsed() < 2 * SECOND, "{:?} for what the quota lets through in one", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn checks_never_wait() {
        let (limit, _) = limit(Quota::per_second(1).burst(1), |limit| limit.max_wait(60 * SECOND));
        assert!(check(&limit, "k").await.allowed);
        assert!(!check(&limit, "k").await.allowed);
    }
}

mod leases {
    use super::*;

    fn leased(batch: u32) -> (Leased<Faulty>, Faulty) {
        let store = Faulty::new();
        (Leased::new(store.clone()).batch(batch), store)
    }

    #[tokio::test(start_paused = true)]
    async fn g77_a_batch_costs_one_round_trip_and_never_more_goes_than_the_quota() {
        for algorithm in Algorithm::ALL {
            let quota = Quota::per(1_005, Duration::from_secs(365 * 86_400)).algorithm(algorithm);
            let (store, shared) = leased(10);
            let mut went = 0;
            while store.acquire(&key("k"), &quota, 1).await.unwrap().allowed {
                went += 1;
            }
            assert_eq!(went, 1_005, "{algorithm}");
            assert!(shared.steps() <= 110, "{algorithm}: {} round trips", shared.steps());
        }
    }

    /// All of them go. How often the store was asked, and what is held afterwards.
    async fn sixty_four_at_once(batch: u32) -> (u32, u32) {
        let (store, shared) = leased(batch);
        shared.set(Mode::Slow(10 * MS));
        let quota = Quota::per_day(1_000);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let store = store.clone();
            tasks.spawn(async move { store.acquire(&key("k"), &quota, 1).await.unwrap().allowed });
        }
        assert!(tasks.join_all().await.into_iter().all(|went| went));
        (shared.steps(), store.held(&key("k")))
    }

    #[tokio::test(start_paused = true)]
    async fn g77_many_at_once_claim_once() {
        assert_eq!(sixty_four_at_once(100).await, (1, 36));
    }

    #[tokio::test(start_paused = true)]
    async fn g77_a_claim_is_for_all_who_wait() {
        assert_eq!(sixty_four_at_once(10).await, (2, 0), "ten, and then the 54 who had come meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn g77_several_processes_share_a_limit() {
        let shared = Faulty::new();
        let quota = Quota::per_day(1_000);
        let processes: Vec<_> = (0..4).map(|_| Leased::new(shared.clone()).batch(16)).collect();
        let mut went = 0;
        for turn in 0..3_000 {
            let cost = 1 + turn % 3;
            let decision = processes[turn as usize % 4].acquire(&key("k"), &quota, cost).await.unwrap();
            went += if decision.allowed { cost } else { 0 };
        }
        let held: u32 = processes.iter().map(|process| process.held(&key("k"))).sum();
        let left = shared.0.store.peek(&key("k"), &quota).await.unwrap().remaining;
        assert_eq!(went + held + left, 1_000);
        assert!(held < 4 * 16, "{held}");
        // A crash loses what is held, and no more; whoever is dropped in order gives it back.
        processes.into_iter().for_each(drop);
        sleep(MS).await;
        let left = shared.0.store.peek(&key("k"), &quota).await.unwrap().remaining;
        assert_eq!(went + left, 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn g77_what_nobody_wants_comes_back_by_itself() {
        let (store, shared) = leased(10);
        let quota = Quota::per_day(100);
        assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        assert_eq!(store.held(&key("k")), 9);
        assert_eq!(store.peek(&key("k"), &quota).await.unwrap().remaining, 99);
        sleep(Duration::from_millis(2_100)).await;
        assert_eq!(store.held(&key("k")), 0);
        assert_eq!(shared.0.store.peek(&key("k"), &quota).await.unwrap().remaining, 99);
        assert_eq!(shared.0.refunds.load(Ordering::SeqCst), 9);
        store.close().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn g77_a_lease_does_not_outlive_its_window() {
        let (store, _) = leased(10);
        let store = store.max_age(60 * SECOND);
        let quota = Quota::per(10, 2 * SECOND).algorithm(Algorithm::FixedWindow);
        assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        sleep(2 * SECOND).await;
        let mut went = 0;
        while store.acquire(&key("k"), &quota, 1).await.unwrap().allowed {
            went += 1;
        }
        assert_eq!(went, 10, "nine left of the window before are no tenth to nineteenth of this one");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_gives_back_and_a_reset_forgets() {
        let (store, shared) = leased(10);
        let quota = Quota::per_day(100);
        assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        assert!(store.reset(&key("k")).await.unwrap());
        assert_eq!((store.held(&key("k")), store.peek(&key("k"), &quota).await.unwrap().remaining), (0, 100));
        assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        store.close().await.unwrap();
        assert_eq!(shared.0.refunds.load(Ordering::SeqCst), 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_limit_of_leases_says_so() {
        let (store, _) = leased(10);
        let limit = SharedLimit::new(Quota::per_day(100)).store(store).build().unwrap();
        let sources: Vec<_> = [check(&limit, "k").await, check(&limit, "k").await].map(|decision| decision.source).into();
        assert_eq!(sources, [Source::Remote, Source::Lease]);
        assert_eq!(limit.stats().lease, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn h94_a_lease_says_nothing_of_the_stores_health() {
        let (store, shared) = leased(100);
        let limit = SharedLimit::new(Quota::per_day(1_000)).store(store).build().unwrap();
        assert!(check(&limit, "k").await.allowed);
        shared.set(Mode::Down);
        for name in ["a", "b", "c"] {
            assert_eq!(check(&limit, name).await.source, Source::LocalFallback);
        }
        sleep(600 * MS).await;
        for turn in 0..50 {
            assert_eq!(check(&limit, "k").await.source, Source::Lease, "turn {turn}, {:?}", limit.breaker());
            assert_ne!(limit.breaker().state(), CircuitState::Closed);
        }
    }

    #[cfg(feature = "testing")]
    #[tokio::test(start_paused = true)]
    async fn leases_conform() {
        use steadfast::testing::{conformance::Time, rate_conformance};
        let make = || async { Leased::new(MemoryRateStore::new()).batch(1) };
        rate_conformance::stores(make).time(Time::Virtual).run().await.assert();
        let make = || async { Leased::new(MemoryRateStore::new()).batch(10) };
        rate_conformance::stores(make).time(Time::Virtual).run().await.assert();
    }
}
