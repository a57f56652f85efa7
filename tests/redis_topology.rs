//! Redis behind sentinels, and in a cluster.
#![cfg(all(feature = "redis-sentinel", feature = "redis-cluster"))]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod redis_server;

use redis_server::RedisServer;
use std::time::{Duration, Instant};
use steadfast::store::rate::{Algorithm, Holder, Quota, RateStore, Request, SemaphoreStore, Taken};
use steadfast::store::{Key, RedisOptions, RedisRateStore, RedisSemaphoreStore, RedisStore, SetOptions, Store, StoreErrorKind as Kind};

const HOUR: Duration = Duration::from_secs(3_600);

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h96_sentinels_name_another_master() {
    let Some(mut master) = RedisServer::start() else { return };
    let port = master.port().to_string();
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &port]).unwrap();
    let begun = Instant::now();
    while !replica.say("INFO replication").contains("master_link_status:up") {
        assert!(begun.elapsed() < Duration::from_secs(20), "no replica");
        std::thread::sleep(Duration::from_millis(50));
    }
    let watch = [
        "sentinel resolve-hostnames no".to_owned(),
        format!("sentinel monitor mymaster 127.0.0.1 {port} 1"),
        "sentinel down-after-milliseconds mymaster 300".into(),
        "sentinel failover-timeout mymaster 3000".into(),
    ];
    let sentinel = RedisServer::start_sentinel(&watch);
    let options = RedisOptions::sentinels(["redis://127.0.0.1:1".to_owned(), sentinel.url()], "redis://mymaster/0");
    let store = RedisStore::builder(options.clone().response_timeout(Duration::from_millis(500))).build().unwrap();
    let limits = RedisRateStore::builder(options).build().unwrap();
    let quota = Quota::per(1_000, HOUR);
    let begun = Instant::now();
    while limits.acquire(&key("k"), &quota, 1).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the sentinels are not asked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while store.set(&key("k"), "v".into(), SetOptions::new()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    // The sentinel has to know of the replica, or there is nobody to take over.
    while !sentinel.say("SENTINEL REPLICAS mymaster").contains(&replica.port().to_string()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the sentinel does not see the replica");
        std::thread::sleep(Duration::from_millis(50));
    }
    // A replica that has just joined is sent what came meanwhile up to a second later.
    while replica.count("EXISTS steadfast:k") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the replica has not heard of the value");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    master.kill();
    let begun = Instant::now();
    while store.set(&key("after"), "v".into(), SetOptions::new()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no other master");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("another master after {:?}", begun.elapsed());
    while limits.acquire(&key("k"), &quota, 1).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "no other master");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(replica.count("EXISTS steadfast:after"), 1);
    assert!(store.get(&key("k")).await.unwrap().is_some(), "what was replicated is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h102_limits_and_semaphores_in_a_cluster_that_is_killed() {
    let cluster_port = redis_server::free_port().to_string();
    let Some(mut server) = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &cluster_port]) else { return };
    let ready = |server: &RedisServer| {
        let begun = Instant::now();
        while !server.say("CLUSTER INFO").contains("cluster_state:ok") {
            assert!(begun.elapsed() < Duration::from_secs(20), "no cluster");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    server.say("CLUSTER ADDSLOTSRANGE 0 16383");
    ready(&server);
    let options = RedisOptions::cluster([server.url()]).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(5));
    assert!(RedisStore::builder(options.clone()).build().is_err(), "a store of values wants one server");
    let (limits, places) =
        (RedisRateStore::builder(options.clone()).build().unwrap(), RedisSemaphoreStore::builder(options).build().unwrap());
    for algorithm in Algorithm::ALL {
        let quota = Quota::per(50, HOUR).algorithm(algorithm);
        let mut went = 0;
        for _ in 0..60 {
            went += u32::from(limits.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
        }
        assert_eq!(went, 50, "{algorithm}");
    }
    let (one, quota) = (key("one"), Quota::per(5, HOUR));
    let both = [Request::new(&one, &quota, 2), Request::new(&one, &quota, 2)];
    assert!(limits.acquire_many(&both).await.unwrap().iter().all(|decision| decision.allowed));
    assert!(limits.reset(&one).await.unwrap());
    let (me, other) = (Holder::random(), Holder::random());
    assert!(matches!(places.take(&key("k"), me, 1, HOUR).await.unwrap(), Taken::Held { .. }));
    assert!(matches!(places.take(&key("k"), other, 1, HOUR).await.unwrap(), Taken::Full { .. }));
    assert!(places.release(&key("k"), me).await.unwrap());
    // Killed and restarted; then flushed.
    server.kill();
    let error = limits.acquire(&key("k"), &quota, 1).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Unavailable | Kind::OutcomeUnknown), "{error}");
    server.restart();
    ready(&server);
    let begun = Instant::now();
    while let Err(error) = limits.acquire(&key("k"), &quota, 1).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "not back: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("back after {:?}", begun.elapsed());
    server.say("SCRIPT FLUSH");
    assert!(limits.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
}
