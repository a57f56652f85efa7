//! Places in Redis, for semaphores and locks: several processes, holders that die, keys that are spoilt.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::{Proxy, RedisServer};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use steadfast::store::rate::{Holder, SemaphoreStore, Taken};
use steadfast::store::{Key, RedisOptions, RedisSemaphoreStore, StoreErrorKind as Kind};

const MINUTE: Duration = Duration::from_secs(60);

fn store_at(url: String) -> RedisSemaphoreStore {
    RedisSemaphoreStore::builder(RedisOptions::new(url).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(20)))
        .build()
        .unwrap()
}

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

fn fence(taken: Taken) -> u64 {
    match taken {
        Taken::Held { fence } => fence,
        Taken::Full { .. } => panic!("not granted: {taken:?}"),
    }
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_semaphore_store_conforms() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use steadfast::testing::rate_conformance;
    let Some(server) = RedisServer::start() else { return };
    let (server, number) = (Arc::new(server), Arc::new(AtomicU32::new(0)));
    let suite = rate_conformance::semaphores(move || {
        let options = RedisOptions::new(server.url()).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(20));
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move { RedisSemaphoreStore::builder(options).prefix(format!("case{number}")).build().unwrap() }
    });
    let findings = suite.run().await;
    println!("{findings}");
    findings.assert();
}

#[tokio::test]
async fn g79_a_place_belongs_to_its_token() {
    let Some(server) = RedisServer::start() else { return };
    let (store, name) = (store_at(server.url()), key("k"));
    let (a, b, c) = (Holder::random(), Holder::random(), Holder::random());
    assert!(a != b && a.to_hex().len() == 32);
    let first = store.take(&name, a, 2, MINUTE).await.unwrap();
    let second = store.take(&name, b, 2, MINUTE).await.unwrap();
    assert!(fence(second) > fence(first));
    assert_eq!(store.holders(&name).await.unwrap(), 2);
    let full = store.take(&name, c, 2, MINUTE).await.unwrap();
    assert!(
        matches!(full, Taken::Full { retry_after: Some(retry_after) } if retry_after <= MINUTE && retry_after > MINUTE / 2),
        "{full:?}"
    );
    // Nobody else's token does anything.
    assert!(!store.release(&name, c).await.unwrap() && !store.renew(&name, c, MINUTE).await.unwrap());
    assert_eq!(store.holders(&name).await.unwrap(), 2);
    // The same again is granted again, as the same slot with a higher number.
    let again = store.take(&name, a, 2, MINUTE).await.unwrap();
    assert!(fence(again) > fence(second) && store.holders(&name).await.unwrap() == 2, "{again:?}");
    assert!(store.release(&name, a).await.unwrap() && !store.release(&name, a).await.unwrap());
    assert!(fence(store.take(&name, c, 2, MINUTE).await.unwrap()) > fence(again));
    // Fewer store than are held: nobody gets one until there is room.
    assert!(store.release(&name, b).await.unwrap());
    assert!(matches!(store.take(&name, a, 1, MINUTE).await.unwrap(), Taken::Full { .. }));
}

#[tokio::test]
async fn g79_a_holder_that_died_gives_its_place_back() {
    let Some(server) = RedisServer::start() else { return };
    let (store, name) = (store_at(server.url()), key("k"));
    let (dead, heir) = (Holder::random(), Holder::random());
    let ttl = Duration::from_millis(300);
    let first = fence(store.take(&name, dead, 1, ttl).await.unwrap());
    let Taken::Full { retry_after: Some(retry_after) } = store.take(&name, heir, 1, ttl).await.unwrap() else {
        panic!("two hold one slot")
    };
    assert!(retry_after <= ttl);
    tokio::time::sleep(retry_after + Duration::from_millis(2)).await;
    assert_eq!(store.holders(&name).await.unwrap(), 0);
    let second = fence(store.take(&name, heir, 1, MINUTE).await.unwrap());
    assert!(second > first);
    // It wakes up, and has nothing any more.
    assert!(!store.renew(&name, dead, ttl).await.unwrap() && !store.release(&name, dead).await.unwrap());
    assert_eq!(store.holders(&name).await.unwrap(), 1);
    // A heartbeat keeps a slot past its time.
    for _ in 0..5 {
        assert!(store.renew(&name, heir, ttl).await.unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(store.holders(&name).await.unwrap(), 1);
}

#[tokio::test]
async fn the_number_grows_past_a_server_that_forgot_everything() {
    let Some(mut server) = RedisServer::start() else { return };
    let (store, name) = (store_at(server.url()), key("k"));
    let mut last = 0;
    for round in 0..4 {
        for _ in 0..50 {
            let token = Holder::random();
            let number = fence(store.take(&name, token, 1, MINUTE).await.unwrap());
            assert!(number > last, "{number} after {last}");
            last = number;
            if round % 2 == 0 {
                store.release(&name, token).await.unwrap();
            } else {
                server.say("FLUSHALL");
            }
        }
        server.restart();
        let begun = Instant::now();
        while store.holders(&name).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    }
}

/// The other process: does nothing unless it is told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g79_child() {
    let Ok(url) = std::env::var("STEADFAST_PLACES_URL") else { return };
    let (store, name) = (store_at(url.clone()), key("shared"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, name, url) = (store.clone(), name.clone(), url.clone());
        tasks.spawn(async move {
            let mut server = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
            for _ in 0..8 {
                let token = Holder::random();
                while let Taken::Full { .. } = store.take(&name, token, 3, MINUTE).await.unwrap() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Inside, counted by the server itself.
                let inside: i64 = redis::cmd("INCR").arg("inside").query_async(&mut server).await.unwrap();
                let _: () = redis::cmd("ZADD").arg("seen").arg(inside).arg(inside).query_async(&mut server).await.unwrap();
                tokio::task::yield_now().await;
                let _: i64 = redis::cmd("DECR").arg("inside").query_async(&mut server).await.unwrap();
                let _: i64 = redis::cmd("INCR").arg("done").query_async(&mut server).await.unwrap();
                assert!(store.release(&name, token).await.unwrap());
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g79_two_processes_are_never_more_than_there_are_places() {
    let Some(server) = RedisServer::start() else { return };
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["g79_child", "--exact", "--nocapture", "--test-threads=1"]).env("STEADFAST_PLACES_URL", server.url());
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    for mut child in [child(), child()] {
        assert!(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap().success());
    }
    assert!(server.say("GET done").ends_with("256"), "{}", server.say("GET done"));
    assert!(
        (2..=3).contains(&server.count("ZCARD seen")),
        "several at once, and never more than there are places: {}",
        server.say("ZRANGE seen 0 -1")
    );
    assert_eq!(store_at(server.url()).holders(&key("shared")).await.unwrap(), 0);
}

#[tokio::test]
async fn g83_places_that_the_server_drops_are_lost_and_nobody_is_told_otherwise() {
    let Some(server) = RedisServer::start() else { return };
    let (store, name) = (store_at(server.url()), key("k"));
    let holder = Holder::random();
    let first = fence(store.take(&name, holder, 1, MINUTE).await.unwrap());
    assert_eq!(server.count("DEL steadfast%places1:{k}"), 1);
    assert!(!store.renew(&name, holder, MINUTE).await.unwrap());
    assert!(!store.release(&name, holder).await.unwrap());
    assert_eq!(store.holders(&name).await.unwrap(), 0);
    let next = fence(store.take(&name, Holder::random(), 1, MINUTE).await.unwrap());
    assert!(next > first, "{next} after {first}, though the server has forgotten it");
}

#[tokio::test]
async fn h100_spoilt_keys_are_put_right_and_all_end() {
    let Some(server) = RedisServer::start() else { return };
    let (store, name) = (store_at(server.url()), key("k"));
    let held = "steadfast%places1:{k}";
    for spoil in [
        "SET {} x",
        "LPUSH {} x",
        "ZADD {} +inf t:squatter",
        "ZADD {} 9e99 t:squatter",
        "ZADD {} -inf fence",
        "ZADD {} -9e17 fence",
        "ZADD {} 5 t:old",
    ] {
        server.say(&format!("DEL {held}"));
        server.say(&spoil.replace("{}", held));
        let token = Holder::random();
        let number = fence(store.take(&name, token, 1, MINUTE).await.unwrap());
        assert!((1_700_000_000_000_000..5_000_000_000_000_000).contains(&number), "{spoil}: {number}");
        assert!((1..=3_600_000 + 60_000).contains(&server.count(&format!("PTTL {held}"))), "{spoil}");
        assert!(store.release(&name, token).await.unwrap());
    }
    assert_eq!(store.healed(), 4);
    fence(store.take(&name, Holder::random(), 1, Duration::MAX).await.unwrap());
    assert_eq!(store.holders(&name).await.unwrap(), 1);
}

#[tokio::test]
async fn h98_a_hold_of_unknown_outcome_may_be_repeated() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let (store, name, token) = (store_at(proxy.url()), key("k"), Holder::random());
    store.holders(&name).await.unwrap();
    proxy.break_every(1);
    assert_eq!(store.take(&name, token, 1, MINUTE).await.unwrap_err().kind(), Kind::OutcomeUnknown);
    proxy.break_every(0);
    let begun = Instant::now();
    let granted = loop {
        match store.take(&name, token, 1, MINUTE).await {
            Ok(taken) => break taken,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    assert!(fence(granted) > 0);
    assert_eq!(store.holders(&name).await.unwrap(), 1, "it is held once");
}

#[tokio::test]
async fn a93_what_cannot_work_is_named() {
    let store = RedisSemaphoreStore::builder("redis://127.0.0.1:1").build().unwrap();
    assert_eq!(store.take(&key("k"), Holder::random(), 0, MINUTE).await.unwrap_err().kind(), Kind::InvalidConfig);
    assert_eq!(store.take(&key("k"), Holder::random(), 1, Duration::ZERO).await.unwrap_err().kind(), Kind::InvalidConfig);
    store.close().await.unwrap();
    assert_eq!(store.release(&key("k"), Holder::random()).await.unwrap_err().kind(), Kind::Closed);
    assert!(RedisSemaphoreStore::builder("x").prefix("").build().unwrap_err().faults().len() == 2);
}
