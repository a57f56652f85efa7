//! Slots in Redis, which locks and semaphores are made of: several processes, holders that die, keys that are spoilt.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::{Proxy, RedisServer};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use steadfast::store::redis::slots::Hold;
use steadfast::store::{Key, RedisOptions, RedisSlots, StoreErrorKind as Kind};

const MINUTE: Duration = Duration::from_secs(60);

fn slots_at(url: String) -> RedisSlots {
    RedisSlots::builder(RedisOptions::new(url).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(20))).build().unwrap()
}

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

fn fence(hold: Hold) -> u64 {
    match hold {
        Hold::Granted { fence, .. } => fence,
        _ => panic!("not granted: {hold:?}"),
    }
}

#[tokio::test]
async fn g79_a_slot_belongs_to_its_token() {
    let Some(server) = RedisServer::start() else { return };
    let (slots, name) = (slots_at(server.url()), key("k"));
    let (a, b, c) = (RedisSlots::token(), RedisSlots::token(), RedisSlots::token());
    assert!(a != b && a.len() == 32);
    let first = slots.hold(&name, &a, 2, MINUTE).await.unwrap();
    let second = slots.hold(&name, &b, 2, MINUTE).await.unwrap();
    assert!(matches!((first, second), (Hold::Granted { held: 1, .. }, Hold::Granted { held: 2, .. })));
    let full = slots.hold(&name, &c, 2, MINUTE).await.unwrap();
    assert!(matches!(full, Hold::Full { retry_after, held: 2 } if retry_after <= MINUTE && retry_after > MINUTE / 2), "{full:?}");
    // Nobody else's token does anything, nor does the name under which the number is kept.
    assert!(!slots.release(&name, &c).await.unwrap() && !slots.renew(&name, &c, MINUTE).await.unwrap());
    assert!(!slots.release(&name, "fence").await.unwrap() && !slots.release(&name, "").await.unwrap());
    assert_eq!(slots.held(&name).await.unwrap(), 2);
    // The same again is granted again, as the same slot with a higher number.
    let again = slots.hold(&name, &a, 2, MINUTE).await.unwrap();
    assert!(matches!(again, Hold::Granted { held: 2, fence: again } if again > fence(second)), "{again:?}");
    assert!(slots.release(&name, &a).await.unwrap() && !slots.release(&name, &a).await.unwrap());
    assert!(fence(slots.hold(&name, &c, 2, MINUTE).await.unwrap()) > fence(again));
    // Fewer slots than are held: nobody gets one until there is room.
    assert!(slots.release(&name, &b).await.unwrap());
    assert!(matches!(slots.hold(&name, &a, 1, MINUTE).await.unwrap(), Hold::Full { held: 1, .. }));
}

#[tokio::test]
async fn g79_a_holder_that_died_gives_its_slot_back() {
    let Some(server) = RedisServer::start() else { return };
    let (slots, name) = (slots_at(server.url()), key("k"));
    let (dead, heir) = (RedisSlots::token(), RedisSlots::token());
    let ttl = Duration::from_millis(300);
    let first = fence(slots.hold(&name, &dead, 1, ttl).await.unwrap());
    let Hold::Full { retry_after, .. } = slots.hold(&name, &heir, 1, ttl).await.unwrap() else { panic!("two hold one slot") };
    assert!(retry_after <= ttl);
    tokio::time::sleep(retry_after + Duration::from_millis(2)).await;
    assert_eq!(slots.held(&name).await.unwrap(), 0);
    let second = fence(slots.hold(&name, &heir, 1, MINUTE).await.unwrap());
    assert!(second > first);
    // It wakes up, and has nothing any more.
    assert!(!slots.renew(&name, &dead, ttl).await.unwrap() && !slots.release(&name, &dead).await.unwrap());
    assert_eq!(slots.held(&name).await.unwrap(), 1);
    // A heartbeat keeps a slot past its time.
    for _ in 0..5 {
        assert!(slots.renew(&name, &heir, ttl).await.unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(slots.held(&name).await.unwrap(), 1);
}

#[tokio::test]
async fn the_number_grows_past_a_server_that_forgot_everything() {
    let Some(mut server) = RedisServer::start() else { return };
    let (slots, name) = (slots_at(server.url()), key("k"));
    let mut last = 0;
    for round in 0..4 {
        for _ in 0..50 {
            let token = RedisSlots::token();
            let number = fence(slots.hold(&name, &token, 1, MINUTE).await.unwrap());
            assert!(number > last, "{number} after {last}");
            last = number;
            if round % 2 == 0 {
                slots.release(&name, &token).await.unwrap();
            } else {
                server.say("FLUSHALL");
            }
        }
        server.restart();
        let begun = Instant::now();
        while slots.held(&name).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(5));
        }
    }
}

/// The other process: does nothing unless it is told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g79_child() {
    let Ok(url) = std::env::var("STEADFAST_SLOTS_URL") else { return };
    let (slots, name) = (slots_at(url.clone()), key("shared"));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (slots, name, url) = (slots.clone(), name.clone(), url.clone());
        tasks.spawn(async move {
            let mut server = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
            for _ in 0..8 {
                let token = RedisSlots::token();
                while let Hold::Full { .. } = slots.hold(&name, &token, 3, MINUTE).await.unwrap() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Inside, counted by the server itself.
                let inside: i64 = redis::cmd("INCR").arg("inside").query_async(&mut server).await.unwrap();
                let _: () = redis::cmd("ZADD").arg("seen").arg(inside).arg(inside).query_async(&mut server).await.unwrap();
                tokio::task::yield_now().await;
                let _: i64 = redis::cmd("DECR").arg("inside").query_async(&mut server).await.unwrap();
                let _: i64 = redis::cmd("INCR").arg("done").query_async(&mut server).await.unwrap();
                assert!(slots.release(&name, &token).await.unwrap());
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g79_two_processes_are_never_more_than_there_are_slots() {
    let Some(server) = RedisServer::start() else { return };
    let child = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["g79_child", "--exact", "--nocapture", "--test-threads=1"]).env("STEADFAST_SLOTS_URL", server.url());
        command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    for mut child in [child(), child()] {
        assert!(tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap().success());
    }
    assert!(server.say("GET done").ends_with("256"), "{}", server.say("GET done"));
    assert_eq!(server.count("ZCARD seen"), 3, "as many at once as there are slots, and never more: {}", server.say("ZRANGE seen 0 -1"));
    assert_eq!(slots_at(server.url()).held(&key("shared")).await.unwrap(), 0);
}

#[tokio::test]
async fn h100_spoilt_keys_are_put_right_and_all_end() {
    let Some(server) = RedisServer::start() else { return };
    let (slots, name) = (slots_at(server.url()), key("k"));
    let held = "steadfast%slots1:{k}";
    for spoil in ["SET {} x", "LPUSH {} x", "ZADD {} +inf t:squatter", "ZADD {} 9e99 t:squatter", "ZADD {} -inf fence", "ZADD {} -9e17 fence", "ZADD {} 5 t:old"] {
        server.say(&format!("DEL {held}"));
        server.say(&spoil.replace("{}", held));
        let token = RedisSlots::token();
        let number = fence(slots.hold(&name, &token, 1, MINUTE).await.unwrap());
        assert!((1_700_000_000_000_000..5_000_000_000_000_000).contains(&number), "{spoil}: {number}");
        assert!((1..=3_600_000 + 60_000).contains(&server.count(&format!("PTTL {held}"))), "{spoil}");
        assert!(slots.release(&name, &token).await.unwrap());
    }
    assert_eq!(slots.healed(), 4);
    fence(slots.hold(&name, "for ever", 1, Duration::MAX).await.unwrap());
    assert_eq!(slots.held(&name).await.unwrap(), 1);
}

#[tokio::test]
async fn h98_a_hold_of_unknown_outcome_may_be_repeated() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let (slots, name, token) = (slots_at(proxy.url()), key("k"), RedisSlots::token());
    slots.held(&name).await.unwrap();
    proxy.break_every(1);
    assert_eq!(slots.hold(&name, &token, 1, MINUTE).await.unwrap_err().kind(), Kind::OutcomeUnknown);
    proxy.break_every(0);
    let begun = Instant::now();
    let granted = loop {
        match slots.hold(&name, &token, 1, MINUTE).await {
            Ok(hold) => break hold,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(5), "{error}"),
        }
    };
    assert!(matches!(granted, Hold::Granted { held: 1, .. }), "it is held once: {granted:?}");
}

#[tokio::test]
async fn a93_what_cannot_work_is_named() {
    let slots = RedisSlots::builder("redis://127.0.0.1:1").build().unwrap();
    assert_eq!(slots.hold(&key("k"), "t", 0, MINUTE).await.unwrap_err().kind(), Kind::InvalidConfig);
    assert_eq!(slots.hold(&key("k"), "t", 1, Duration::ZERO).await.unwrap_err().kind(), Kind::InvalidConfig);
    slots.close();
    assert_eq!(slots.release(&key("k"), "t").await.unwrap_err().kind(), Kind::Closed);
    assert!(RedisSlots::builder("x").prefix("").build().unwrap_err().faults().len() == 2);
}
