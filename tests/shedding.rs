//! Queues that shed: under lasting overload those who get through have waited little, bursts are served whole, and no place is lost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(unreachable_pub, reason = "shared with other tests")]
#[expect(dead_code, reason = "shared with other tests")]
mod yard;

use std::time::Duration;
use steadfast::{AdaptiveLimit, Bulkhead, BulkheadConfig, Call, CoDel, PerKey, Priority, RateLimiter, RejectedKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};
use yard::{Yard, build};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[derive(Debug)]
struct Served {
    at: Duration,
    waited: Duration,
    refused: Option<RejectedKind>,
}

/// Calls of 100 ms each, one every `gap`, for so long.
async fn load(bulkhead: &Bulkhead, gap: Duration, time: Duration, priority: impl Fn(u32) -> Priority) -> Vec<Served> {
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    let mut n = 0;
    while start.elapsed() < time {
        let (bulkhead, priority) = (bulkhead.clone(), priority(n));
        n += 1;
        calls.spawn(async move {
            let came = Instant::now();
            let answer = bulkhead.acquire(&Call::now().priority(priority)).await.map(|permit| permit.into_owned());
            let (at, waited) = (came - start, came.elapsed());
            let refused = answer.as_ref().err().map(|rejected| rejected.kind());
            if answer.is_ok() {
                sleep(ms(100)).await;
            }
            Served { at, waited, refused }
        });
        sleep(gap).await;
    }
    let mut served = calls.join_all().await;
    served.sort_by_key(|one| one.at);
    served
}

fn queue() -> BulkheadConfig {
    Bulkhead::new(10).queue(10_000).max_wait(ms(2_000))
}

fn waits(served: &[Served], after: u64) -> Vec<Duration> {
    let mut waits: Vec<_> = served.iter().filter(|one| one.at >= ms(after) && one.refused.is_none()).map(|one| one.waited).collect();
    waits.sort();
    waits
}

#[tokio::test(start_paused = true)]
async fn under_lasting_overload_the_wait_stays_near_the_target() {
    // 200 calls a second, where 100 can be served.
    let plain = build(queue());
    let without = load(&plain, ms(5), ms(10_000), |_| Priority::Normal).await;
    let longest = *waits(&without, 5_000).last().unwrap();
    assert!(longest >= ms(1_900), "without, it grows to max_wait: {longest:?}");

    for (target, interval) in [(5, 100), (20, 100), (10, 500)] {
        let shedding = build(queue().shed(CoDel::target(ms(target)).interval(ms(interval))));
        let with = load(&shedding, ms(5), ms(10_000), |_| Priority::Normal).await;
        let waits = waits(&with, 2 * interval + 500);
        let longest = *waits.last().unwrap();
        assert!(longest <= ms(2 * target + 2), "target {target} ms: {longest:?}");
        // Nothing is lost by it: the places are as busy.
        let served = with.iter().filter(|one| one.refused.is_none()).count();
        assert!(served >= 990, "{served} of 1,000 that can be served");
        assert!(with.iter().all(|one| matches!(one.refused, None | Some(RejectedKind::BulkheadFull))));
        assert_eq!((shedding.in_use(), shedding.waiting()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_to_go_learns_it_early() {
    let shedding = build(queue().shed(CoDel::default()));
    let with = load(&shedding, ms(5), ms(10_000), |_| Priority::Normal).await;
    let latest = with.iter().filter(|one| one.at >= ms(1_000) && one.refused.is_some()).map(|one| one.waited).max().unwrap();
    assert!(latest <= ms(60), "{latest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_drains_within_the_interval_is_served_whole() {
    let bulkhead = build(queue().shed(CoDel::target(ms(5)).interval(ms(350))));
    for _ in 0..5 {
        // 40 at once: the last goes after 300 ms.
        let mut calls = JoinSet::new();
        for _ in 0..40 {
            let bulkhead = bulkhead.clone();
            calls.spawn(async move {
                let _permit = bulkhead.acquire(&Call::now()).await?;
                sleep(ms(100)).await;
                Ok::<_, steadfast::Rejected>(())
            });
        }
        assert!(calls.join_all().await.iter().all(Result::is_ok));
        sleep(ms(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn load_that_fits_is_never_shed() {
    let bulkhead = build(queue().shed(CoDel::default()));
    let served = load(&bulkhead, ms(11), ms(10_000), |_| Priority::Normal).await;
    assert!(served.iter().all(|one| one.refused.is_none()));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_overload() {
    let bulkhead = build(queue().shed(CoDel::default()));
    load(&bulkhead, ms(5), ms(3_000), |_| Priority::Normal).await;
    // A moment later, 20 at once is a burst again.
    sleep(ms(200)).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let bulkhead = bulkhead.clone();
        calls.spawn(async move {
            let permit = bulkhead.acquire(&Call::now()).await.map(|permit| permit.into_owned());
            sleep(ms(90)).await;
            permit.is_ok()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|served| served));
}

#[tokio::test(start_paused = true)]
async fn one_place_is_never_idle_for_want_of_a_fresh_call() {
    // A turn every 100 ms, far more than the target: whoever waits last gets it.
    let bulkhead = build(Bulkhead::new(1).queue(1_000).shed(CoDel::default()));
    let served = load(&bulkhead, ms(30), ms(10_000), |_| Priority::Normal).await;
    let through = served.iter().filter(|one| one.refused.is_none()).count();
    assert!(through >= 99, "{through}");
    let longest = *waits(&served, 1_000).last().unwrap();
    assert!(longest <= ms(200), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn the_important_go_first_and_wait_less() {
    let bulkhead = build(queue().shed(CoDel::default()));
    let priority = |n: u32| if n.is_multiple_of(4) { Priority::Critical } else { Priority::Normal };
    let served = load(&bulkhead, ms(5), ms(10_000), priority).await;
    let critical: Vec<_> = served.iter().enumerate().filter(|(n, one)| n % 4 == 0 && one.at > ms(1_000)).collect();
    let through = critical.iter().filter(|(_, one)| one.refused.is_none()).count();
    assert!(through * 100 >= critical.len() * 99, "{through} of {}", critical.len());
}

// ------------------------------------------------------------------ the queue stays whole

/// One place, and a queue that has stood for longer than the interval.
async fn stood(n: usize) -> Yard {
    let mut yard = Yard::new(&build(Bulkhead::new(1).queue(100).shed(CoDel::target(ms(5)).interval(ms(20)))));
    (0..=n).for_each(|_| _ = yard.start(Priority::Normal));
    advance(ms(50)).await;
    yard
}

#[tokio::test(start_paused = true)]
async fn all_but_the_last_are_shed_when_a_turn_comes() {
    let mut yard = stood(4).await;
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 4]);
    assert_eq!(yard.refused, [1, 2, 3].map(|id| (id, RejectedKind::BulkheadFull)));
    assert_eq!((yard.bulkhead.in_use(), yard.bulkhead.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_one_behind_the_old_gets_the_turn() {
    let mut yard = stood(3).await;
    let fresh = yard.start(Priority::Normal);
    let fresher = yard.start(Priority::Normal);
    yard.release();
    yard.run();
    assert_eq!((yard.granted.as_slice(), yard.waiting()), (&[0, fresh][..], vec![fresher]));
}

#[tokio::test(start_paused = true)]
async fn h21_a_parked_waiter_is_neither_shed_nor_measured() {
    let mut yard = stood(3).await;
    yard.park(1);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 3], "the parked one delays nobody");
    yard.unpark(1);
    yard.run();
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 3, 1], "it came late by no fault of the queue's");
    assert_eq!((yard.bulkhead.in_use(), yard.bulkhead.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn h02_h03_sweep_dropped_at_any_step_while_it_sheds() {
    for steps in 0..20 {
        for victim in 1..=6 {
            let mut yard = stood(6).await;
            yard.release();
            for _ in 0..steps {
                yard.step();
            }
            yard.tasks[victim] = None;
            yard.run();
            yard.release_all();
            assert_eq!((yard.bulkhead.available(), yard.bulkhead.waiting()), (1, 0), "{victim} dropped after {steps}");
            assert!(yard.waiting().is_empty(), "{victim} dropped after {steps}: {:?} sleep", yard.waiting());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn settings_change_while_callers_wait() {
    let mut yard = Yard::new(&build(Bulkhead::new(1).queue(100)));
    (0..4).for_each(|_| _ = yard.start(Priority::Normal));
    advance(ms(500)).await;
    let config = yard.bulkhead.config().shed(CoDel::target(ms(5)).interval(ms(20)));
    yard.bulkhead.reconfigure(&config).unwrap();
    assert_eq!(yard.bulkhead.config(), config);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 1], "it has not stood for an interval under these terms");
    advance(ms(20)).await;
    yard.release();
    yard.run();
    assert_eq!((yard.granted.as_slice(), yard.refused.len()), (&[0, 1, 3][..], 1));
    yard.bulkhead.reconfigure(&Bulkhead::new(1).queue(100)).unwrap();
    assert_eq!(yard.bulkhead.config(), Bulkhead::new(1).queue(100));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limiter_sheds_too() {
    // 100 a second, and 200 come: all would wait for up to 2 s.
    let turns = |config: steadfast::RateLimiterConfig| async move {
        let limiter = config.build().unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..2_000 {
            let limiter = limiter.clone();
            calls.spawn(async move {
                let came = Instant::now();
                limiter.acquire(&Call::now()).await.map(|()| came.elapsed())
            });
            sleep(ms(5)).await;
        }
        let waits: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
        (waits.len(), waits.iter().sum::<Duration>() / u32::try_from(waits.len()).unwrap())
    };
    let config = RateLimiter::per_second(100).smooth().max_wait(ms(2_000));
    let (served, mean) = turns(config.clone()).await;
    assert!(served >= 1_000 && mean > ms(1_000), "{served}, {mean:?}");
    let (served, mean) = turns(config.shed(CoDel::target(ms(10)))).await;
    assert!(served >= 990 && mean < ms(30), "{served}, {mean:?}");
}

#[test]
fn h43_bad_terms_are_named() {
    let error = Bulkhead::new(1).queue(1).shed(CoDel::target(Duration::ZERO)).build().unwrap_err();
    assert_eq!(error.faults()[0].field(), "shed.target");
    let error = RateLimiter::per_second(1).shed(CoDel::target(ms(5)).interval(ms(1))).build().unwrap_err();
    assert_eq!(error.faults()[0].field(), "shed.interval");
    assert!(Bulkhead::new(1).shed(CoDel::target(Duration::MAX).interval(Duration::MAX)).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_an_adaptive_limit_sheds_too() {
    let config = AdaptiveLimit::new().initial(1).max(1).queue(1_000).shed(CoDel::target(ms(5)));
    let limit = config.clone().build().unwrap();
    assert_eq!(limit.config(), config);
    let mut calls = JoinSet::new();
    let load = |limit: &AdaptiveLimit, calls: &mut JoinSet<bool>| {
        for _ in 0..100 {
            let limit = limit.clone();
            calls.spawn(async move {
                let answer = limit.acquire(&Call::now()).await;
                assert!(answer.as_ref().err().is_none_or(|rejected| rejected.kind() == RejectedKind::ConcurrencyLimited));
                sleep(ms(50)).await;
                answer.is_ok()
            });
        }
    };
    load(&limit, &mut calls);
    let served = std::mem::take(&mut calls).join_all().await.into_iter().filter(|served| *served).count();
    assert!(served < 10, "{served}");
    // Other terms while it runs: everybody waits.
    limit.reconfigure(&AdaptiveLimit::new().initial(1).max(1).queue(1_000)).unwrap();
    load(&limit, &mut calls);
    assert!(calls.join_all().await.into_iter().all(|served| served));
    assert_eq!((limit.in_use(), limit.waiting()), (0, 0));
    let fault = AdaptiveLimit::new().shed(CoDel::target(ms(0))).build().unwrap_err();
    assert_eq!(fault.faults()[0].field(), "shed.target");
}

#[tokio::test(start_paused = true)]
async fn the_queues_of_a_key_shed_too() {
    let shed = CoDel::target(ms(5));
    let slow = RateLimiter::per_second(20).smooth().max_wait(ms(60_000)).queue(1_000);
    let narrow = Bulkhead::new(1).queue(1_000);
    for (plain, shedding) in [
        (PerKey::new(9).bulkhead(narrow.clone()), PerKey::new(9).bulkhead(narrow.shed(shed))),
        (PerKey::new(9).rate_limit(slow.clone()), PerKey::new(9).rate_limit(slow.shed(shed))),
    ] {
        let keys = shedding.build().unwrap();
        for sheds in [true, false] {
            let mut calls = JoinSet::new();
            for _ in 0..100 {
                let keys = keys.clone();
                calls.spawn(async move {
                    let answer = keys.acquire(&Call::now().for_key("k")).await;
                    sleep(ms(50)).await;
                    answer.is_ok()
                });
            }
            let served = calls.join_all().await.into_iter().filter(|served| *served).count();
            assert!(if sheds { served < 10 } else { served == 100 }, "{served}");
            keys.reconfigure(&plain).unwrap();
        }
    }
}
