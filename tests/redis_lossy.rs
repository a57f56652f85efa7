//! Shared limits over a wire that loses, delays and breaks off answers: nothing is asked twice, and nobody waits.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::{Loss, Proxy, RedisServer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use steadfast::CircuitBreaker;
use steadfast::store::rate::{OnOutage, Quota, RateStore, SharedLimit, Source};
use steadfast::store::{Key, RedisRateStore};

const MS: Duration = Duration::from_millis(1);
const DEADLINE: Duration = Duration::from_millis(50);
const WATCHDOG: Duration = Duration::from_secs(30);

/// Scripts that the server has run, and not only been asked for without having them.
fn ran(server: &RedisServer) -> u64 {
    let said = server.say("INFO commandstats");
    let line = said.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap_or_default().to_owned();
    let number = |name: &str| line.split([',', ':']).find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0);
    number("calls=") - number("failed_calls=")
}

async fn storm(checks: u32) {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let quota = Quota::per(10_000_000, Duration::from_secs(100 * 365 * 86_400));
    // Every check asks, as far as it depends on us: a breaker would spare the wire most of them.
    let never = CircuitBreaker::failure_rate(1.0).min_calls(u32::MAX);
    let limit = SharedLimit::new(quota).store(RedisRateStore::builder(proxy.url()).build().unwrap()).deadline(DEADLINE);
    let limit = limit.on_outage(OnOutage::Local { share: 0.25 }).breaker(never).deny_cache(0).build().unwrap();
    let k = Key::new("k").unwrap();
    let mut first = 1;
    while limit.check(&k).await.unwrap().source != Source::Remote {
        assert!(first < 1_000, "it is never asked");
        tokio::time::sleep(5 * MS).await;
        first += 1;
    }
    proxy.lose(Some(Loss { seed: 9, dropped: 100, delayed: 50, reset: 10 }));

    let (left, mut tasks) = (Arc::new(AtomicU32::new(checks)), tokio::task::JoinSet::new());
    for _ in 0..16 {
        let (limit, k, left) = (limit.clone(), k.clone(), Arc::clone(&left));
        tasks.spawn(async move {
            let (mut worst, mut sources) = (Duration::ZERO, [0_u64; 2]);
            while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                let called = Instant::now();
                let decision = limit.check(&k).await.expect("there is always a decision");
                worst = worst.max(called.elapsed());
                assert!(decision.allowed);
                sources[usize::from(decision.source == Source::Remote)] += 1;
            }
            (worst, sources)
        });
    }
    let lag = tokio::spawn(async {
        let mut worst = Duration::ZERO;
        loop {
            let slept = Instant::now();
            if tokio::time::timeout(2 * MS, std::future::pending::<()>()).await.is_err() {
                worst = worst.max(slept.elapsed().saturating_sub(2 * MS));
            }
            LAG.fetch_max(u32::try_from(worst.as_millis()).unwrap(), Ordering::SeqCst);
        }
    });
    let (mut worst, mut sources) = (Duration::ZERO, [0, 1]);
    while let Some(done) = tasks.join_next().await {
        let (slowest, of) = done.unwrap();
        worst = worst.max(slowest);
        sources = [sources[0] + of[0], sources[1] + of[1]];
    }
    lag.abort();
    let lag = Duration::from_millis(LAG.swap(0, Ordering::SeqCst).into());
    // What is on its way still arrives.
    let mut before = ran(&server);
    loop {
        tokio::time::sleep(500 * MS).await;
        let now = ran(&server);
        if now == before {
            break;
        }
        before = now;
    }
    let direct = RedisRateStore::builder(server.url()).build().unwrap();
    let spent = u64::from(10_000_000 - direct.peek(&k.within("limit"), &quota).await.unwrap().remaining);
    let stats = limit.stats();
    println!(
        "{checks} checks: {sources:?} decided here and there, the server ran {before} and counted {spent}, {} connections",
        proxy.connections()
    );
    println!("the slowest took {worst:?} (the machine's own lag {lag:?}); {stats:?}");
    assert_eq!(spent, before, "each script that ran counted once");
    let asked = stats.remote + stats.timeouts + stats.errors;
    assert_eq!(asked, u64::from(checks) + first, "each check asked once");
    assert!(spent <= asked, "{spent} were counted of {asked}: something was asked twice");
    assert!(spent >= sources[1], "{spent} were counted, and {} said so", sources[1]);
    assert!(sources[0] > 0 && sources[1] > u64::from(checks) / 200, "{sources:?}");
    assert!(worst <= DEADLINE + 2 * lag + 50 * MS, "a decision took {worst:?}, on a machine that is {lag:?} late");
}

static LAG: AtomicU32 = AtomicU32::new(0);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h98_e09_a_lossy_wire_asks_nothing_twice() {
    storm(2_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "some minutes"]
async fn h98_e09_a_lossy_wire_asks_nothing_twice_in_50_000_checks() {
    storm(50_000).await;
}

/// Behind a cable that was cut nothing is refused and nothing is answered; and a limit's deadline is shorter than the time after which its store would notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h94_a_dead_connection_is_noticed_though_nobody_waits_so_long() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let limit = SharedLimit::new(Quota::per_second(1_000_000)).store(RedisRateStore::builder(proxy.url()).build().unwrap());
    let limit = limit.deadline(20 * MS).build().unwrap();
    let k = Key::new("k").unwrap();
    let begun = Instant::now();
    while limit.check(&k).await.unwrap().source != Source::Remote {
        assert!(begun.elapsed() < WATCHDOG, "it is never asked");
        tokio::time::sleep(5 * MS).await;
    }
    proxy.cut();
    let begun = Instant::now();
    while limit.check(&k).await.unwrap().source == Source::Remote {
        assert!(begun.elapsed() < WATCHDOG, "the cable is cut");
    }
    let begun = Instant::now();
    while limit.check(&k).await.unwrap().source != Source::Remote {
        assert!(
            begun.elapsed() < WATCHDOG,
            "the dead connection is never given up: {:?}, {} connections",
            limit.stats(),
            proxy.connections()
        );
        tokio::time::sleep(5 * MS).await;
    }
    println!("shared again after {:?}", begun.elapsed());
}
