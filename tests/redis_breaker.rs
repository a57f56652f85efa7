//! A circuit that two processes share over a real Redis, which goes away and comes back.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::RedisServer;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use steadfast::store::{RedisStore, SharedBreaker};
use steadfast::{CircuitBreaker, CircuitState, Outcome, Verdict};

const MS: Duration = Duration::from_millis(1);
const WATCHDOG: Duration = Duration::from_secs(30);

fn breaker() -> CircuitBreaker {
    CircuitBreaker::consecutive_failures(2).open_for(Duration::from_secs(2)).open_jitter(0.0).probes(1).build().unwrap()
}

fn share(breaker: &CircuitBreaker, url: String) -> SharedBreaker {
    SharedBreaker::new("payments", breaker).store(RedisStore::builder(url).build().unwrap()).every(100 * MS).build().unwrap()
}

fn fail(breaker: &CircuitBreaker) {
    for _ in 0..2 {
        breaker.try_acquire().unwrap().settle(Outcome::Judged(Verdict::transient()));
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < WATCHDOG, "not within {WATCHDOG:?}: {what}");
        tokio::time::sleep(5 * MS).await;
    }
    begun.elapsed()
}

/// The other process: calls all the time, and does as it is told by a key of the server; nothing unless it is told where that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaker_child() {
    let Ok(url) = std::env::var("STEADFAST_BREAKER_URL") else { return };
    let mut server = redis::Client::open(url.clone()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let breaker = breaker();
    let shared = share(&breaker, url);
    let mut probes = 0;
    loop {
        let word: Option<String> = redis::cmd("GET").arg("word").query_async(&mut server).await.unwrap();
        let verdict = match word.as_deref() {
            Some("end") => break,
            Some("fail") => Verdict::transient(),
            _ => Verdict::Success,
        };
        if let Ok(permit) = breaker.try_acquire() {
            probes += u32::from(permit.is_probe());
            permit.settle(Outcome::Judged(verdict));
        }
        let state = format!("{} {probes}", breaker.state());
        let _: () = redis::cmd("SET").arg("child").arg(state).query_async(&mut server).await.unwrap();
        tokio::time::sleep(5 * MS).await;
    }
    drop(shared);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_circuit() {
    let Some(server) = RedisServer::start() else { return };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["breaker_child", "--exact", "--nocapture", "--test-threads=1"]).env("STEADFAST_BREAKER_URL", server.url());
    let mut child = Killed(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap());
    let said = || server.say("GET child");
    until("the child begins", || said().contains("closed")).await;

    let breaker = breaker();
    let shared = share(&breaker, server.url());
    until("connected", || shared.stats().connected).await;

    // Opens here, and there; where calls go on, so it is the child that probes, and closes for both.
    fail(&breaker);
    let took = until("open there", || said().contains("open")).await;
    println!("open in the other process after {took:?}");
    let took = until("closed there", || said().contains("closed")).await;
    until("closed here", || breaker.state() == CircuitState::Closed).await;
    println!("closed by its probe after {took:?}; {:?}", shared.stats());
    assert!(said().contains("closed 1"), "{}", said());
    assert_eq!((shared.stats().said, shared.stats().followed), (1, 1));

    // And the other way round.
    server.say("SET word fail");
    until("open here", || breaker.state() == CircuitState::Open).await;
    server.say("SET word well");
    until("closed here", || breaker.state() == CircuitState::Closed).await;
    assert_eq!(shared.stats().leases, 0, "nobody calls here, so nobody probes");

    server.say("SET word end");
    let ended = tokio::task::spawn_blocking(move || child.0.wait().unwrap()).await.unwrap();
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h95_a_server_that_is_killed_leaves_each_to_itself_and_is_found_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let (one, two) = (breaker(), breaker());
    let shared = [share(&one, server.url()), share(&two, server.url())];
    until("connected", || shared.iter().all(|shared| shared.stats().connected)).await;
    server.kill();
    until("noticed", || shared.iter().all(|shared| !shared.stats().connected)).await;
    fail(&one);
    // Its own open time and its own probe.
    until("its own probe", || one.try_acquire().map(|permit| permit.settle(Outcome::Judged(Verdict::Success))).is_ok()).await;
    assert_eq!((one.state(), two.state()), (CircuitState::Closed, CircuitState::Closed));
    let server = tokio::task::spawn_blocking(move || {
        server.restart();
        server
    });
    let server = server.await.unwrap();
    until("found again", || shared.iter().all(|shared| shared.stats().connected)).await;
    fail(&two);
    let took = until("open in both", || one.state() == CircuitState::Open).await;
    println!("open in both {took:?} after; {:?}", shared[0].stats());
    // Every key of it ends.
    for name in server.say("KEYS *").lines().filter(|line| line.contains("breaker1")) {
        let left = server.count(&format!("PTTL {name}"));
        assert!((1..=602_000).contains(&left), "{name}: {left}");
    }
}
