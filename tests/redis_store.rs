//! The store in Redis, against a real server that is killed, stopped, filled, flushed and set to read-only.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::{Parrot, Proxy, RedisServer};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use steadfast::store::{Glob, Key, RedisOptions, RedisStore, SetOptions, Store, StoreError, StoreErrorKind as Kind};

/// A machine at work may be slow; these tests are about what happens, not how fast.
fn patient(server: &RedisServer) -> RedisOptions {
    RedisOptions::new(server.url()).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(20))
}

fn key(raw: impl AsRef<[u8]>) -> Key {
    Key::new(raw).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Kind {
    result.unwrap_err().kind()
}

async fn put(store: &RedisStore, raw: &str, value: &str) {
    assert!(store.set(&key(raw), value.to_owned().into(), SetOptions::new()).await.unwrap());
}

async fn value(store: &RedisStore, raw: &str) -> Option<String> {
    let entry = store.get(&key(raw)).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_store_conforms() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use steadfast::testing::conformance::{self, Setup};
    let Some(server) = RedisServer::start() else { return };
    let (server, number) = (Arc::new(server), Arc::new(AtomicU32::new(0)));
    let suite = conformance::stores(move |setup: Setup| {
        let options = patient(&server);
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move {
            // Redis is bounded by its own memory, for all its users at once.
            if setup.max_entries.is_some() || setup.max_size_bytes.is_some() {
                return None;
            }
            let mut builder = RedisStore::builder(options).prefix(format!("case{number}"));
            if let Some(bytes) = setup.max_value_bytes {
                builder = builder.max_value_bytes(bytes);
            }
            Some(builder.build().unwrap())
        }
    });
    let findings = suite.run().await;
    println!("{findings}");
    findings.assert();
    // All about bounds and gauges, which a server has for all its users together.
    assert_eq!(findings.skipped(), ["A23", "B33", "C37", "C38", "C40", "C41"]);
}

#[tokio::test]
async fn a19_neighbours_are_left_alone_and_nothing_is_flushed() {
    let Some(server) = RedisServer::start() else { return };
    let named = |prefix: &str| RedisStore::builder(patient(&server)).prefix(prefix).build().unwrap();
    let (app, app2, odd, glob) = (named("app"), named("app2"), named("app:x"), named("*[?\\"));
    server.say("SET foreign 1");
    server.say("SET app:%zz not-ours");
    for store in [&app, &app2, &odd, &glob] {
        put(store, "x:k", "v").await;
        assert!(store.set(&key("t"), "v".into(), SetOptions::new().tag("all")).await.unwrap());
    }
    assert_eq!(glob.clear().await.unwrap(), 2);
    assert_eq!(app.clear().await.unwrap(), 2);
    assert_eq!((app.keys(&Glob::all()).await.unwrap().len(), app.clear().await.unwrap()), (0, 0));
    for store in [&app2, &odd] {
        assert_eq!(store.keys(&Glob::all()).await.unwrap().len(), 2);
        assert_eq!(store.delete_tagged("all").await.unwrap(), 1);
    }
    assert_eq!(server.say("GET foreign"), "$1\r\n1");
    assert_eq!(server.count("EXISTS app:%zz"), 1);
    assert_eq!(server.count("DBSIZE"), 4, "two values, and two keys of others: no set of a tag is left");
    let commands = server.say("INFO commandstats").to_lowercase();
    assert!(
        commands.contains("cmdstat_scan") && !["_keys:", "_flushdb", "_flushall", "_del:"].iter().any(|never| commands.contains(never)),
        "{commands}"
    );
}

#[tokio::test]
async fn a17_braces_choose_no_slot_and_read_back() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisStore::builder(patient(&server)).build().unwrap();
    let all = ["{x}", "}{", "{", "a{b}c", "%(x%)", "a%7Bb"];
    for raw in all {
        put(&store, raw, raw).await;
    }
    assert_eq!(store.keys(&Glob::all()).await.unwrap().len(), all.len());
    assert_eq!(store.keys(&Glob::new("{*")).await.unwrap().len(), 2);
    assert!(!server.say("KEYS *").contains(['{', '}']));
}

#[tokio::test]
async fn tags_are_right_whatever_happens_to_their_values() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisStore::builder(patient(&server)).build().unwrap();
    let tagged = |ms: Option<u64>| {
        let options = SetOptions::new().tag("red").tag("round");
        if let Some(ms) = ms { options.ttl(Duration::from_millis(ms)) } else { options }
    };
    // The set of a tag lives as long as the last of its values.
    assert!(store.set(&key("a"), "a".into(), tagged(Some(5_000))).await.unwrap());
    assert!(store.set(&key("b"), "b".into(), tagged(Some(60))).await.unwrap());
    assert!((1..=5_000).contains(&server.count("PTTL steadfast%tag:red")));
    assert_eq!(server.count("ZCARD steadfast%tag:red"), 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(store.set(&key("c"), "c".into(), tagged(None)).await.unwrap());
    assert_eq!(server.count("ZCARD steadfast%tag:red"), 2, "b is over, and has left");
    assert_eq!(server.count("PTTL steadfast%tag:red"), -1);
    // Somebody stored another thing there; or a thing of no form at all.
    server.say("SET steadfast:c foreign");
    put(&store, "a", "without tags").await;
    assert_eq!(store.delete_tagged("red").await.unwrap(), 0);
    assert_eq!(value(&store, "a").await.as_deref(), Some("without tags"));
    assert_eq!((value(&store, "c").await, store.stats().corrupt), (None, 1), "foreign bytes are a miss");
    server.say("DEL steadfast%tag:round");
    server.say("LPUSH steadfast%tag:round x");
    assert_eq!(store.delete_tagged("round").await.unwrap(), 0);
    assert!(store.set(&key("d"), "d".into(), tagged(None)).await.unwrap());
    assert_eq!(store.delete_tagged("round").await.unwrap(), 1);
    // Many at once, in several rounds, and the scripts flushed in between.
    let items: Vec<_> = (0..2_000).map(|number| (key(format!("k{number}")), "v".into())).collect();
    assert_eq!(store.set_many(&items, tagged(None)).await.unwrap(), 2_000);
    server.say("SCRIPT FLUSH");
    assert_eq!(store.set_many(&items, tagged(None).if_absent()).await.unwrap(), 0);
    server.say("SCRIPT FLUSH");
    assert_eq!(store.delete_tagged("red").await.unwrap(), 2_000);
    assert_eq!(store.clear().await.unwrap(), 2, "a, and the foreign c");
    assert_eq!(server.count("DBSIZE"), 0, "{}", server.say("KEYS *"));
}

#[tokio::test]
async fn h81_killed_and_back_again() {
    let Some(mut server) = RedisServer::start() else { return };
    let store = RedisStore::builder(server.url()).build().unwrap();
    put(&store, "k", "v").await;
    server.kill();
    let begun = Instant::now();
    for _ in 0..20 {
        let called = Instant::now();
        let (read, write) = (kind(store.get(&key("k")).await), kind(store.set(&key("k"), "v".into(), SetOptions::new()).await));
        assert!(matches!(read, Kind::Unavailable | Kind::Timeout), "{read:?}");
        assert!(matches!(write, Kind::Unavailable | Kind::OutcomeUnknown), "{write:?}");
        assert!(called.elapsed() < Duration::from_millis(1_000), "{:?}", called.elapsed());
    }
    println!("a call to a dead server takes {:?}", begun.elapsed() / 40);
    server.restart();
    let begun = Instant::now();
    while store.exists(&key("k")).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not back");
    }
    println!("back after {:?}", begun.elapsed());
    assert_eq!(value(&store, "k").await, None);
    assert!(store.stats().errors >= 40);
}

#[tokio::test]
async fn h93_down_at_the_start() {
    let Some(mut server) = RedisServer::start() else { return };
    server.kill();
    let begun = Instant::now();
    let store = RedisStore::builder(server.url()).build().unwrap();
    assert!(begun.elapsed() < Duration::from_millis(50), "it has waited for somebody");
    assert_eq!(kind(RedisStore::connect(server.url()).await), Kind::Unavailable);
    assert_eq!(kind(store.probe().await), Kind::Unavailable);
    server.restart();
    store.probe().await.unwrap();
    assert_eq!(server.count("DBSIZE"), 0);
}

#[tokio::test]
async fn h94_a_frozen_server_costs_a_caller_no_more_than_said() {
    let Some(server) = RedisServer::start() else { return };
    let store = RedisStore::builder(server.url()).build().unwrap();
    put(&store, "k", "v").await;
    server.freeze();
    let mut worst = Duration::ZERO;
    for _ in 0..8 {
        let begun = Instant::now();
        assert_eq!(kind(store.get(&key("k")).await), Kind::Timeout);
        worst = worst.max(begun.elapsed());
        assert_eq!(kind(store.delete(&key("k")).await), Kind::OutcomeUnknown, "it may be deleted");
    }
    println!("a call to a frozen server takes at most {worst:?}");
    assert!(worst < Duration::from_millis(900), "{worst:?}");
    server.thaw();
    let begun = Instant::now();
    while store.get(&key("k")).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is not back");
    }
    println!("back after {:?}", begun.elapsed());
}

#[tokio::test]
async fn h94_a_connection_that_went_silent_is_given_up() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::builder(proxy.url()).build().unwrap();
    put(&store, "k", "v").await;
    proxy.cut();
    let mut lost = 0;
    while store.get(&key("k")).await.is_err() {
        lost += 1;
        assert!(lost < 20, "it waits for a dead connection for ever");
    }
    assert!((3..10).contains(&lost), "{lost} calls lost");
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn h82_what_the_server_says_has_a_kind() {
    let Some(server) = RedisServer::start_with(&["--maxmemory", "8mb", "--busy-reply-threshold", "20"]) else { return };
    let store = RedisStore::builder(patient(&server)).build().unwrap();
    put(&store, "k", "v").await;
    // A list where a value should be.
    server.say("LPUSH steadfast:list x");
    let error = store.get(&key("list")).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable(), error.detail()), (Kind::Protocol, false, "WRONGTYPE"));
    // More than there is room for, in a batch and alone, with and without tags. What is there can be read all the same.
    let items: Vec<_> = (0..400).map(|number| (key(format!("k{number}")), bytes::Bytes::from(vec![1; 32 << 10]))).collect();
    let error = store.set_many(&items, SetOptions::new()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    let there = store.get_many(&items.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(there.len() as u64, error.completed(), "each batch is all or nothing, and it says how far it came");
    assert!((1..400).contains(&there.len()), "{} of 400", there.len());
    let big = bytes::Bytes::from(vec![1; 10 << 20]);
    let error = store.set(&key("big"), big.clone(), SetOptions::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable(), error.detail()), (Kind::Full, false, "OOM"));
    assert_eq!(kind(store.set(&key("big"), big.clone(), SetOptions::new().tag("t")).await), Kind::Full);
    assert_eq!(kind(store.probe().await), Kind::Full);
    // A script of somebody else that does not end.
    let (busy, error) = std::thread::scope(|scope| {
        let endless = scope.spawn(|| server.say("EVAL \"while true do end\" 0"));
        let error = loop {
            std::thread::sleep(Duration::from_millis(50));
            if server.say("PING").contains("BUSY") {
                break server.say("GET steadfast:k");
            }
        };
        server.say("SCRIPT KILL");
        (endless.join().unwrap(), error)
    });
    assert!(error.contains("BUSY") && busy.contains("killed"), "{error} {busy}");
}

#[tokio::test]
async fn h82_a_master_that_became_a_replica() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisStore::builder(proxy.url()).build().unwrap();
    put(&store, "k", "v").await;
    server.say("REPLICAOF 127.0.0.1 1");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let error = store.set(&key("k"), "w".into(), SetOptions::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retriable()), (Kind::ReadOnly, true), "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(value(&store, "k").await.as_deref(), Some("v"), "reads go on");
    let connections = proxy.connections();
    assert!((2..=8).contains(&connections), "h106: {connections} connections in a second: the new master should be looked for, calmly");
    server.say("REPLICAOF NO ONE");
    put(&store, "k", "w").await;
}

#[tokio::test]
async fn h106_a_server_in_trouble_is_not_stormed() {
    for (words, expected, retriable) in [
        ("-LOADING Redis is loading the dataset in memory", Kind::Unavailable, true),
        ("-BUSY Redis is busy running a script", Kind::Busy, true),
        ("-MASTERDOWN Link with MASTER is down", Kind::Unavailable, true),
        ("-NOAUTH Authentication required.", Kind::Denied, false),
        ("-READONLY You can't write against a read only replica.", Kind::ReadOnly, true),
        ("-MOVED 3999 127.0.0.1:6381", Kind::Unavailable, true),
        ("-ERR max number of clients reached", Kind::Busy, true),
        ("?what", Kind::Protocol, false),
    ] {
        let parrot = Parrot::start(words).await;
        let store = RedisStore::builder(parrot.url()).build().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            let error = store.exists(&key("k")).await.unwrap_err();
            assert_eq!((error.kind(), error.is_retriable()), (expected, retriable), "{words}: {error}");
            let write = store.delete(&key("k")).await.unwrap_err();
            assert!(write.kind() == expected || (write.kind(), expected) == (Kind::OutcomeUnknown, Kind::Protocol), "{words}: {write}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let connections = parrot.connections.load(Ordering::SeqCst);
        assert!(connections <= 5 || words == "?what", "{words}: {connections} connections in half a second");
    }
}

#[tokio::test]
async fn h86_no_secret_is_told() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "hunter2"]) else { return };
    let with = |user: &str, password: &str| format!("redis://{user}:{password}@127.0.0.1:{}/0", server.port());
    let store = RedisStore::connect(with("", "hunter2")).await.unwrap();
    put(&store, "alice", "canary-value").await;
    let mut told = format!("{store:?} {:?} {:?}", RedisOptions::new(with("", "hunter2")), RedisStore::builder(with("", "hunter2")));
    for (url, expected) in [
        (with("canary-user", "canary-word"), Kind::Denied),
        (with("", "canary-word"), Kind::Denied),
        (server.url(), Kind::Denied),
        ("http://canary-user:canary-word@host".into(), Kind::InvalidConfig),
        ("redis://canary-user:canary-word@[".into(), Kind::InvalidConfig),
        ("redis://canary-user:canary-word@localhost/not-a-number".into(), Kind::InvalidConfig),
    ] {
        let error = RedisStore::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        told += &format!("{error} {error:?} {:?}", std::error::Error::source(&error));
    }
    let odd = store.set(&key("canary-key"), "canary-value".into(), SetOptions::new()).await;
    told += &format!("{odd:?} {:?}", store.get(&key("canary-key")).await);
    assert!(!told.contains("hunter2") && !told.contains("canary"), "{told}");
}

#[test]
fn a93_all_faults_at_once() {
    let options = RedisOptions::new("nonsense").response_timeout(Duration::ZERO).connect_timeout(Duration::ZERO);
    let error = RedisStore::builder(options).prefix("").max_value_bytes(0).build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(steadfast::Fault::field).collect();
    assert_eq!(fields, ["url", "connect_timeout", "response_timeout", "prefix", "max_value_bytes"]);
}

#[test]
fn h92_outside_a_runtime_it_is_an_error() {
    let store = RedisStore::builder("redis://127.0.0.1:1").build().unwrap();
    let probe = store.probe();
    let mut probe = std::pin::pin!(probe);
    let polled = probe.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(matches!(polled, std::task::Poll::Ready(Err(error)) if error.kind() == Kind::Unavailable));
}

#[tokio::test]
async fn h86_tls_that_cannot_be_is_an_error() {
    let Some(server) = RedisServer::start() else { return };
    let error = RedisStore::connect(format!("rediss://:canary@127.0.0.1:{}", server.port())).await.unwrap_err();
    // A server that speaks plain, or a client that cannot.
    let expected = if cfg!(feature = "redis-tls") { error.kind() != Kind::InvalidConfig } else { error.to_string().contains("redis-tls") };
    assert!(expected && !format!("{error} {error:?}").contains("canary"), "{error}");
}
