//! Near stores that hear of each other through a real Redis, which is killed and restarted.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::{Proxy, RedisServer};
use std::time::{Duration, Instant};
use steadfast::store::{Key, MemoryStore, RedisBackplane, RedisOptions, RedisStore, SetOptions, Store, StoreErrorKind, Tiered};

type Near = Tiered<MemoryStore, RedisStore>;

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

fn options(url: String) -> RedisOptions {
    RedisOptions::new(url).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(20))
}

/// Waits for something to become so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn extra(store: &Near, name: &'static str) -> u64 {
    store.stats().extra(name).unwrap()
}

async fn near_of(server: &RedisServer, listen_at: String) -> Near {
    let far = RedisStore::builder(options(server.url())).build().unwrap();
    let backplane = RedisBackplane::builder(options(listen_at)).build().unwrap();
    let store = Tiered::new(MemoryStore::new(), far).backplane(backplane);
    store.exists(&key("anything")).await.unwrap();
    until("it listens", async || extra(&store, "backplane_gaps") == 1).await;
    store
}

async fn put(store: &impl Store, raw: &str, value: &'static str) {
    assert!(store.set(&key(raw), value.into(), SetOptions::new()).await.unwrap());
}

async fn value(store: &impl Store, raw: &str) -> Option<bytes::Bytes> {
    store.get(&key(raw)).await.unwrap().map(|entry| entry.value)
}

async fn near_has(store: &Near, raw: &str) -> bool {
    store.near().exists(&key(raw)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e62_peers_drop_what_others_change() {
    let Some(server) = RedisServer::start() else { return };
    let (one, other) = (near_of(&server, server.url()).await, near_of(&server, server.url()).await);
    put(&one, "k", "old").await;
    until("kept", async || value(&other, "k").await.is_some() && near_has(&other, "k").await && extra(&other, "backplane_notices") == 1)
        .await;
    // The word of the first set may have come after the get; then it was dropped again, and is kept now.
    assert_eq!(value(&other, "k").await, Some("old".into()));
    put(&one, "k", "new").await;
    until("new", async || value(&other, "k").await == Some("new".into())).await;
    assert!(one.delete(&key("k")).await.unwrap());
    until("gone", async || value(&other, "k").await.is_none()).await;
    assert_eq!(extra(&one, "backplane_notices"), 0, "own words are not heard");
    // Somebody who talks of other things on the same channel, or in a later version of this.
    put(&one, "k", "v").await;
    server.say("PUBLISH steadfast:changes hello");
    until("a gap", async || extra(&one, "backplane_gaps") == 2 && extra(&other, "backplane_gaps") == 2).await;
    until("dropped", async || !near_has(&one, "k").await).await;
    // Closed, there are the two connections of one store less.
    one.close().await.unwrap();
    until("one ear less", async || server.say("PUBSUB NUMSUB steadfast:changes").ends_with(":1")).await;
    assert!(one.get(&key("k")).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e62_each_new_subscription_is_a_gap() {
    let Some(mut server) = RedisServer::start() else { return };
    let store = near_of(&server, server.url()).await;
    put(&store, "k", "old").await;
    server.say("CLIENT KILL TYPE pubsub");
    until("again", async || extra(&store, "backplane_gaps") >= 2).await;
    until("dropped", async || !near_has(&store, "k").await).await;
    // Down: what is near is read, and comes with no promise.
    assert_eq!(value(&store, "k").await, Some("old".into()));
    let gaps = extra(&store, "backplane_gaps");
    server.kill();
    assert_eq!(value(&store, "k").await, Some("old".into()), "e60: near hits go on");
    assert!(store.delete(&key("other")).await.is_err());
    server.restart();
    let begun = Instant::now();
    until("back", async || extra(&store, "backplane_gaps") > gaps).await;
    println!("heard again after {:?}", begun.elapsed());
    // The store's own connection may be the slower one.
    until("nothing is there any more", async || matches!(store.get(&key("k")).await, Ok(None))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h94_an_ear_that_went_deaf_is_noticed() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let far = RedisStore::builder(options(server.url())).build().unwrap();
    let backplane = RedisBackplane::builder(RedisOptions::new(proxy.url())).channel("mine").build().unwrap();
    let store = Tiered::new(MemoryStore::new(), far).backplane(backplane);
    until("it listens", async || store.exists(&key("k")).await.is_ok() && extra(&store, "backplane_gaps") >= 1).await;
    let (gaps, begun) = (extra(&store, "backplane_gaps"), Instant::now());
    proxy.cut();
    until("a new one", async || extra(&store, "backplane_gaps") > gaps).await;
    println!("a dead connection was replaced after {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_backplane_that_cannot_work_says_so() {
    let error = RedisBackplane::builder("redis://:hunter2@").channel("").build().unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("channel") && !text.contains("hunter2"), "{text}");
    // A server that is not there delays nothing, and is no error of the store.
    let port = redis_server::free_port();
    let backplane = RedisBackplane::builder(format!("redis://:hunter2@127.0.0.1:{port}")).build().unwrap();
    assert!(!format!("{backplane:?}").contains("hunter2"));
    let store = Tiered::new(MemoryStore::new(), MemoryStore::new()).backplane(backplane);
    put(&store, "k", "v").await;
    assert_eq!((value(&store, "k").await, store.stats().errors), (Some("v".into()), 1));
    let error = store.far().set_many(&[], SetOptions::new()).await.map_err(|error| error.kind());
    assert_ne!(error, Err(StoreErrorKind::Unavailable));
}
