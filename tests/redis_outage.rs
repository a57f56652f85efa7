//! Shared limits while their Redis is killed, stopped and flushed: no decision is late, and no outage is a licence.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::RedisServer;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use steadfast::store::rate::{OnOutage, Quota, RateStore, SharedLimit, Source};
use steadfast::store::{Key, RedisRateStore};

const RATE: u32 = 1_000;
const BURST: u32 = 100;
const SHARE: f64 = 0.25;
const DEADLINE: Duration = Duration::from_millis(50);
const TASKS: usize = 8;

/// One decision.
#[derive(Clone, Copy)]
struct Seen {
    /// Since the storm began.
    at: Duration,
    took: Duration,
    allowed: bool,
    source: Source,
}

/// Callers who never let up, and what they saw.
struct Storm {
    began: Instant,
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<Vec<Seen>>,
    /// The longest that anything had to wait for its turn on this machine, which no limit can help.
    lag: Arc<Mutex<Duration>>,
}

impl Storm {
    fn begin(limit: &SharedLimit) -> Self {
        let (began, stop, lag) = (Instant::now(), Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Duration::ZERO)));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..TASKS {
            let (limit, stop) = (limit.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                let (key, mut seen) = (Key::new("k").unwrap(), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..8 {
                        let called = Instant::now();
                        let decision = limit.check(&key).await.expect("there is always a decision");
                        let took = called.elapsed();
                        seen.push(Seen { at: began.elapsed(), took, allowed: decision.allowed, source: decision.source });
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                seen
            });
        }
        let (quit, worst) = (Arc::clone(&stop), Arc::clone(&lag));
        tasks.spawn(async move {
            let nap = Duration::from_millis(2);
            while !quit.load(Ordering::Relaxed) {
                let slept = Instant::now();
                tokio::time::sleep(nap).await;
                let late = slept.elapsed().saturating_sub(nap);
                let mut worst = worst.lock().unwrap();
                *worst = late.max(*worst);
            }
            Vec::new()
        });
        Self { began, stop, tasks, lag }
    }

    async fn end(self) -> (Vec<Seen>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen: Vec<Seen> = self.tasks.join_all().await.into_iter().flatten().collect();
        seen.sort_by_key(|seen| seen.at);
        (seen, *self.lag.lock().unwrap())
    }
}

fn limit(server: &RedisServer) -> SharedLimit {
    let store = RedisRateStore::builder(server.url()).build().unwrap();
    let limit = SharedLimit::new(Quota::per_second(RATE).burst(BURST)).store(store).deadline(DEADLINE);
    limit.on_outage(OnOutage::Local { share: SHARE }).build().unwrap()
}

fn admitted(seen: &[Seen], from: Duration, to: Duration) -> u32 {
    u32::try_from(seen.iter().filter(|seen| seen.allowed && (from..to).contains(&seen.at)).count()).unwrap()
}

fn per_second(rate: f64, time: Duration) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "thousands")]
    let units = (rate * time.as_secs_f64()).ceil() as u32;
    units
}

/// What every outage must show, whatever its kind: `down` and `up` are when it began and ended.
fn check(what: &str, seen: &[Seen], lag: Duration, down: Duration, up: Duration) {
    let ended = seen.last().unwrap().at;
    let worst = seen.iter().map(|seen| seen.took).max().unwrap();
    let slow = seen.iter().filter(|seen| seen.took > Duration::from_millis(5)).count();
    let back = seen.iter().find(|seen| seen.at > up && seen.source == Source::Remote).expect("it is never asked again").at - up;
    let (all, out) = (admitted(seen, Duration::ZERO, Duration::MAX), admitted(seen, down, up));
    println!(
        "{what}: {} decisions in {ended:?}, {all} admitted, {out} of them in the {:?} without the server; the slowest took {worst:?} (the machine's own lag {lag:?}), {slow} more than 5 ms; shared again {back:?} after it was back",
        seen.len(),
        up - down,
    );
    assert!(seen.len() >= 20_000, "{} decisions", seen.len());
    assert!(worst <= DEADLINE + lag + Duration::from_millis(15), "a decision took {worst:?}, on a machine that is {lag:?} late");
    assert!(back <= Duration::from_secs(1) + lag, "shared again only after {back:?}");
    // A restarted server knows nothing, so there is one burst more; and this machine's share begins where its key stood.
    let most = per_second(f64::from(RATE), ended) + 2 * BURST + per_second(SHARE * f64::from(RATE), Duration::from_millis(100)) + 25;
    assert!(all <= most, "{all} admitted where {most} are allowed in all");
    let share = per_second(SHARE * f64::from(RATE), up - down) + 25 + per_second(f64::from(RATE), DEADLINE + lag);
    assert!(out <= share, "{out} admitted without the server, where this machine's share is {share}");
    assert!(out >= share / 4, "only {out} admitted without the server, where this machine's share is {share}");
    let (first, last) = (admitted(seen, Duration::ZERO, down), admitted(seen, up + back, ended));
    assert!(
        first > per_second(f64::from(RATE), down) / 2 && last > per_second(f64::from(RATE), ended - up - back) / 2,
        "{first} and {last} admitted with the server"
    );
}

async fn for_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h95_e06_killed_and_restarted_under_load() {
    let Some(mut server) = RedisServer::start() else { return };
    let limit = limit(&server);
    let storm = Storm::begin(&limit);
    for_ms(1_500).await;
    let down = storm.began.elapsed();
    server.kill();
    for_ms(2_000).await;
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let server = server.await.unwrap();
    let up = storm.began.elapsed();
    for_ms(2_000).await;
    let (seen, lag) = storm.end().await;
    check("kill -9", &seen, lag, down, up);
    println!("{:?}", limit.stats());
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h94_e07_stopped_for_two_seconds_under_load() {
    let Some(server) = RedisServer::start() else { return };
    let limit = limit(&server);
    let storm = Storm::begin(&limit);
    for_ms(1_500).await;
    let down = storm.began.elapsed();
    server.freeze();
    for_ms(2_000).await;
    server.thaw();
    let up = storm.began.elapsed();
    for_ms(2_000).await;
    let (seen, lag) = storm.end().await;
    check("SIGSTOP", &seen, lag, down, up);
    println!("{:?}", limit.stats());
    let slow = seen.iter().filter(|seen| seen.took > Duration::from_millis(5) + lag).count();
    assert!(slow * 100 <= seen.len(), "{slow} of {} decisions paid for finding out", seen.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e08_flushed_under_load_costs_a_burst() {
    let Some(server) = RedisServer::start() else { return };
    let limit = limit(&server);
    let storm = Storm::begin(&limit);
    for_ms(500).await;
    server.say("FLUSHALL");
    for_ms(500).await;
    server.say("SCRIPT FLUSH");
    server.say("DEL steadfast%rate1:gcra:{limit:k}");
    server.say("LPUSH steadfast%rate1:gcra:{limit:k} x");
    for_ms(500).await;
    let (seen, lag) = storm.end().await;
    let (all, ended) = (admitted(&seen, Duration::ZERO, Duration::MAX), seen.last().unwrap().at);
    println!("{} decisions in {ended:?}, {all} admitted, lag {lag:?}; {:?}", seen.len(), limit.stats());
    assert!(all <= per_second(f64::from(RATE), ended) + 3 * BURST, "{all} admitted");
    assert_eq!(limit.stats().errors, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h98_counts_are_not_doubled_by_a_kill() {
    let Some(mut server) = RedisServer::start() else { return };
    let store = RedisRateStore::builder(server.url()).build().unwrap();
    let quota = Quota::per(1_000_000, Duration::from_secs(100 * 365 * 86_400));
    let limit = SharedLimit::new(quota).store(store.clone()).deadline(DEADLINE).on_outage(OnOutage::Deny).deny_cache(0).build().unwrap();
    let storm = Storm::begin(&limit);
    for_ms(500).await;
    server.kill();
    for_ms(300).await;
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let server = server.await.unwrap();
    for_ms(1_500).await;
    let up = storm.began.elapsed();
    let unknown = limit.stats().timeouts + limit.stats().errors;
    let (seen, _) = storm.end().await;
    let went = seen.iter().filter(|seen| seen.allowed).count();
    let left = store.peek(&Key::new("k").unwrap().within("limit"), &quota).await.unwrap().remaining;
    let spent = usize::try_from(1_000_000 - left).unwrap();
    // The server began anew, so it knows of those after its start; each of them once, and of those whose answer was lost.
    let after = seen.iter().filter(|seen| seen.allowed && seen.at > up - Duration::from_millis(1_500)).count();
    println!("{went} went, {after} of them after the restart, {spent} spent there, {unknown} calls of unknown outcome");
    assert!(spent >= after && spent <= after + usize::try_from(unknown).unwrap() + 200, "{spent} spent where {after} went");
    assert!(after > 200);
    drop(server);
}

#[tokio::test]
async fn h93_down_at_the_start() {
    let Some(mut server) = RedisServer::start() else { return };
    server.kill();
    let limit = limit(&server);
    let called = Instant::now();
    let decision = limit.check(&Key::new("k").unwrap()).await.unwrap();
    assert_eq!((decision.allowed, decision.source), (true, Source::LocalFallback));
    assert!(called.elapsed() < Duration::from_secs(1), "{:?}", called.elapsed());
    let went =
        futures_util::future::join_all((0..100).map(|_| async { limit.check(&Key::new("k").unwrap()).await.unwrap().allowed })).await;
    assert!((24..=40).contains(&went.iter().filter(|went| **went).count()), "a quarter of the burst of 100");
    server.restart();
    let begun = Instant::now();
    while limit.check(&Key::new("k").unwrap()).await.unwrap().source != Source::Remote {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is never asked again");
        for_ms(5).await;
    }
}
