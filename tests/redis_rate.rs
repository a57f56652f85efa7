//! Limits in Redis, against a real server: several processes, scripts flushed, keys poisoned, connections broken.
#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod processes;
mod redis_server;

use processes::Process;
use redis_server::{Parrot, Proxy, RedisServer};
use std::time::{Duration, Instant};
use steadfast::store::rate::{Algorithm, Quota, RateStore, Request};
use steadfast::store::{Key, RedisOptions, RedisRateStore, StoreErrorKind as Kind};

const HOUR: Duration = Duration::from_secs(3_600);

/// A machine at work may be slow; these tests are about what happens, not how fast.
fn patient(url: String) -> RedisOptions {
    RedisOptions::new(url).connect_timeout(Duration::from_secs(5)).response_timeout(Duration::from_secs(20))
}

fn store(server: &RedisServer) -> RedisRateStore {
    RedisRateStore::builder(patient(server.url())).build().unwrap()
}

fn key(raw: &str) -> Key {
    Key::new(raw).unwrap()
}

fn name(algorithm: Algorithm, key: &str) -> String {
    format!("steadfast%rate1:{algorithm}:{{{key}}}")
}

#[cfg(feature = "testing")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_rate_store_conforms() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use steadfast::testing::rate_conformance;
    let Some(server) = RedisServer::start() else { return };
    let (server, number) = (Arc::new(server), Arc::new(AtomicU32::new(0)));
    let suite = rate_conformance::stores(move || {
        let options = patient(server.url());
        let number = number.fetch_add(1, Ordering::Relaxed);
        async move { RedisRateStore::builder(options).prefix(format!("case{number}")).build().unwrap() }
    });
    let findings = suite.run().await;
    println!("{findings}");
    findings.assert();
    assert_eq!(findings.skipped(), Vec::<&str>::new());
}

const TASKS: usize = 32;
const LIMIT: u32 = 1_000;

/// The other process: does nothing unless it is told where and how.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g66_child() {
    let Some(named) = processes::role() else { return };
    let algorithm = *Algorithm::ALL.iter().find(|algorithm| algorithm.as_str() == named).unwrap();
    let store = RedisRateStore::builder(patient(processes::told("STEADFAST_URL"))).build().unwrap();
    let quota = Quota::per(LIMIT, 365 * 24 * HOUR).algorithm(algorithm);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut went = 0;
            while store.acquire(&key("shared"), &quota, 1).await.unwrap().allowed {
                went += 1;
            }
            went
        });
    }
    println!("went={}", tasks.join_all().await.iter().sum::<u32>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g66_two_processes_of_32_tasks_take_exactly_the_limit() {
    let Some(server) = RedisServer::start() else { return };
    for algorithm in Algorithm::ALL {
        let child = || Process::start("g66_child", algorithm.as_str(), [("STEADFAST_URL", server.url())]);
        let (one, other) = (child(), child());
        let count = move || [one.number("went"), other.number("went")];
        let went = tokio::task::spawn_blocking(count).await.unwrap();
        println!("{algorithm}: {went:?}");
        assert_eq!(went.iter().sum::<u32>(), LIMIT, "{algorithm}: {went:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h97_scripts_flushed_twenty_times_under_load() {
    let Some(server) = RedisServer::start() else { return };
    let (store, quota) = (store(&server), Quota::per(2_000, HOUR));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut went = 0;
            for _ in 0..500 {
                went += u32::from(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
            }
            went
        });
    }
    for _ in 0..20 {
        server.say("SCRIPT FLUSH");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(tasks.join_all().await.iter().sum::<u32>(), 2_000, "no error, and no call counted twice");
}

#[tokio::test]
async fn h98_a_step_whose_answer_is_lost_is_not_done_again() {
    let Some(server) = RedisServer::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = RedisRateStore::builder(patient(proxy.url())).build().unwrap();
    for algorithm in Algorithm::ALL {
        let quota = Quota::per(10_000, 24 * HOUR).algorithm(algorithm);
        let day = Quota::per(10_000, Duration::from_secs(100 * 365 * 86_400)).algorithm(algorithm);
        let quota = if algorithm == Algorithm::FixedWindow || algorithm == Algorithm::SlidingCounter { day } else { quota };
        let _ = store.acquire(&key("k"), &quota, 0).await.unwrap();
        proxy.break_every(10);
        let mut unknown = 0;
        for _ in 0..200 {
            match store.acquire(&key("k"), &quota, 3).await {
                Ok(decision) => assert!(decision.allowed),
                Err(error) => {
                    assert_eq!((error.kind(), error.is_retriable()), (Kind::OutcomeUnknown, false), "{error}");
                    unknown += 1;
                }
            }
        }
        proxy.break_every(0);
        let left = store.peek(&key("k"), &quota).await.unwrap().remaining;
        assert!((15..=25).contains(&unknown), "{unknown}");
        // Refilled meanwhile: one unit in 8.6 s at most.
        assert!((9_400..=9_403).contains(&left), "{algorithm}: {left} left of 10,000 after 200 times 3");
    }
}

#[tokio::test]
async fn h99_poisoned_keys_are_well_again_within_a_window() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let window = Duration::from_millis(300);
    let mut number = 0;
    for algorithm in Algorithm::ALL {
        let quota = Quota::per(5, window).algorithm(algorithm);
        let far = "9007199254740000";
        let numbers = if algorithm == Algorithm::SlidingCounter { 4 } else { 3 };
        let of = |parts: [&str; 4]| parts[..numbers].join(":");
        let poisons = [
            "9e99".to_owned(),
            "text".into(),
            "\"\"".into(),
            "-1".into(),
            of(["-5", "1", "1", "1"]),
            of([far, far, far, far]),
            of(["99999999999999999999999", "1", "1", "1"]),
            of(["1", "4294967295", "0", "4294967295"]),
            of([far, "300000", "99999999", "99999999"]),
            of(["0", far, far, "0"]),
            of(["nan", "inf", "0", "0"]),
            of(["0x1F", "0x1F", "0x1F", "0x1F"]),
        ];
        for poison in poisons {
            number += 1;
            let (raw, held) = (format!("p{number}"), name(algorithm, &format!("p{number}")));
            let said = match algorithm {
                Algorithm::SlidingLog => server.say(&format!("RPUSH {held} {poison} {poison}")),
                _ => server.say(&format!("SET {held} {poison} PX 999999999999")),
            };
            assert!(!said.starts_with('-'), "{said}");
            for _ in 0..7 {
                let _ = store.acquire(&key(&raw), &quota, 1).await.unwrap(); // whatever it says: no error
            }
        }
    }
    tokio::time::sleep(2 * window).await; // one for the poison, and one for the seven calls
    for number in 1..=number {
        let algorithm = Algorithm::ALL[(number - 1) / 12];
        let quota = Quota::per(5, window).algorithm(algorithm);
        let (mut went, began) = (0, std::time::Instant::now());
        for _ in 0..20 {
            went += u32::from(store.acquire(&key(&format!("p{number}")), &quota, 1).await.unwrap().allowed);
        }
        // On a busy machine there is time for more of them.
        let most = 10 + 5 * u32::try_from(began.elapsed().as_millis() / window.as_millis() + 1).unwrap();
        assert!((1..=most.min(20)).contains(&went), "{algorithm}, poison {number}: {went} of 20 went in {:?}", began.elapsed());
    }
    assert!(store.healed() > 20, "{}", store.healed());
    no_key_is_immortal(&server, 2 * window);
}

/// H101.
fn no_key_is_immortal(server: &RedisServer, most: Duration) {
    let most = i64::try_from(most.as_millis()).unwrap() + 1_000;
    let said = server.say("EVAL \"local t = {} for _, k in ipairs(redis.call('KEYS', '*')) do t[#t + 1] = k .. ' ' .. redis.call('PTTL', k) end return table.concat(t, '|')\" 0");
    for entry in said.lines().nth(1).unwrap_or_default().split('|').filter(|entry| !entry.is_empty()) {
        let left: i64 = entry.rsplit(' ').next().unwrap().parse().unwrap();
        assert!((0..=most).contains(&left), "{entry} ms, where {most} is most");
    }
}

#[tokio::test]
async fn h100_a_key_of_another_type_is_begun_anew() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    for (number, algorithm) in Algorithm::ALL.into_iter().enumerate() {
        let quota = Quota::per(2, HOUR).algorithm(algorithm);
        for spoil in ["LPUSH", "SADD", "SET"] {
            let held = name(algorithm, "k");
            server.say(&format!("DEL {held}"));
            server.say(&format!("{spoil} {held} x"));
            let went = [
                store.acquire(&key("k"), &quota, 1).await,
                store.acquire(&key("k"), &quota, 1).await,
                store.acquire(&key("k"), &quota, 1).await,
            ];
            assert_eq!(went.map(|decision| decision.unwrap().allowed), [true, true, false], "{algorithm} after {spoil}");
        }
        assert_eq!(store.healed(), 3 * (number as u64 + 1), "{algorithm}");
    }
}

#[tokio::test]
async fn h101_every_key_ends() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let window = Duration::from_millis(1_500);
    for algorithm in Algorithm::ALL {
        let quota = Quota::per(4, window).algorithm(algorithm);
        for (raw, costs) in [("one", &[1_u32][..]), ("full", &[4]), ("over", &[3, 3]), ("several", &[1, 1, 1, 1, 1])] {
            for cost in costs {
                let _ = store.acquire(&key(raw), &quota, *cost).await.unwrap();
            }
        }
        let _ = store.acquire(&key("back"), &quota, 4).await.unwrap();
        store.refund(&key("back"), &quota, 2).await.unwrap();
        let _ = store.acquire(&key("none"), &quota, 3).await.unwrap();
        store.refund(&key("none"), &quota, 9).await.unwrap();
        let _ = store.peek(&key("peek"), &quota).await.unwrap();
        let (m1, m2) = (key("m1"), key("m2"));
        let both = [Request::new(&m1, &quota, 1), Request::new(&m2, &quota, 4)];
        assert!(store.acquire_many(&both).await.unwrap().iter().all(|decision| decision.allowed));
        assert_eq!(
            server.count(&format!("EXISTS {} {}", name(algorithm, "none"), name(algorithm, "peek"))),
            0,
            "{algorithm}: nothing is missing there"
        );
    }
    no_key_is_immortal(&server, 2 * window);
    assert!(server.say("KEYS *").matches("%rate1:").count() > 30);
    tokio::time::sleep(2 * window + Duration::from_millis(100)).await;
    assert_eq!(server.count("DBSIZE"), 0, "{}", server.say("KEYS *"));
}

/// Of each key: what it is called, and how long it has; -1 is for ever.
fn lives(server: &RedisServer) -> Vec<(String, i64)> {
    let said = server.say("KEYS steadfast*");
    let names = said.lines().filter(|line| line.starts_with("steadfast")).map(str::to_owned);
    names.map(|name| (name.clone(), server.count(&format!("PTTL {name}")))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g75_no_counter_is_immortal_though_the_server_is_killed_in_the_middle() {
    // With a log of what was done, of which a kill may leave half a step.
    let Some(mut server) = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let mut seen = 0;
    for round in 0..5 {
        let mut tasks = tokio::task::JoinSet::new();
        for (number, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            let (store, quota) = (store(&server), Quota::per(1_000_000, HOUR).algorithm(algorithm));
            let quota = if algorithm == Algorithm::SlidingLog { Quota::per(10_000, HOUR).algorithm(algorithm) } else { quota };
            tasks.spawn(async move {
                let mut asked = 0;
                while store.acquire(&key(&format!("k{number}.{}.{}", round, asked % 50)), &quota, 1).await.is_ok() {
                    asked += 1;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(100 + 37 * round)).await;
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server
        })
        .await
        .unwrap();
        tasks.join_all().await;
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .unwrap();
        let lives = lives(&server);
        seen = lives.len();
        let immortal: Vec<_> = lives.into_iter().filter(|(_, left)| *left == -1).collect();
        assert!(immortal.is_empty(), "of {seen}: {immortal:?}");
    }
    println!("{seen} keys after five kills, and each of them ends");
    assert!(seen > 0, "nothing has survived, so nothing was seen");
}

#[tokio::test]
async fn g83_a_key_that_the_server_drops_is_a_key_that_nobody_has_used() {
    let Some(server) = RedisServer::start_with(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"]) else { return };
    let store = store(&server);
    for algorithm in Algorithm::ALL {
        let quota = Quota::per(5, HOUR).algorithm(algorithm);
        server.say("FLUSHALL");
        for drop in ["DEL", "UNLINK", "PEXPIRE"] {
            for _ in 0..5 {
                assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
            }
            assert!(!store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
            let name = name(algorithm, "k");
            assert_eq!(server.count(&format!("{drop} {name}{}", if drop == "PEXPIRE" { " 0" } else { "" })), 1, "{drop} {name}");
            let after = store.acquire(&key("k"), &quota, 1).await.unwrap();
            assert_eq!((after.allowed, after.remaining), (true, 4), "{algorithm}, after {drop}");
            assert!(store.reset(&key("k")).await.unwrap());
        }
        // And where it is short of memory it drops whatever it likes, in the middle of everything.
        for number in 0..300 {
            server.say(&format!("SETRANGE {algorithm}{number} 30000 x"));
            let decision = store.acquire(&key(&format!("k{}", number % 7)), &quota, 1).await.unwrap();
            assert!(decision.remaining <= 4 && decision.reset_after <= 2 * HOUR, "{decision:?}");
        }
        assert_eq!(store.healed(), 0);
    }
    let evicted = server.say("INFO stats");
    assert!(!evicted.contains("evicted_keys:0\r"), "nothing was evicted");
}

#[tokio::test]
async fn h102_in_a_cluster_a_name_lies_in_one_place() {
    let cluster_port = redis_server::free_port().to_string();
    let Some(server) = RedisServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", &cluster_port]) else { return };
    server.say("CLUSTER ADDSLOTSRANGE 0 16383");
    let begun = Instant::now();
    while !server.say("CLUSTER INFO").contains("cluster_state:ok") {
        assert!(begun.elapsed() < Duration::from_secs(20), "no cluster");
        std::thread::sleep(Duration::from_millis(20));
    }
    let store = store(&server);
    for hostile in ["k", "a{b}c", "}{", "{x}"] {
        let mine = key(hostile);
        let quotas = Algorithm::ALL.map(|algorithm| Quota::per(5, HOUR).algorithm(algorithm));
        for quota in &quotas {
            assert!(store.acquire(&mine, quota, 1).await.unwrap().allowed);
            store.refund(&mine, quota, 1).await.unwrap();
        }
        let all = quotas.each_ref().map(|quota| Request::new(&mine, quota, 2));
        assert!(store.acquire_many(&all).await.unwrap().iter().all(|decision| decision.allowed));
        assert!(store.reset(&mine).await.unwrap());
    }
    let (one, other, quota) = (key("one"), key("other"), Quota::per(5, HOUR));
    let error = store.acquire_many(&[Request::new(&one, &quota, 1), Request::new(&other, &quota, 1)]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retriable()), (Kind::Unsupported, false), "{error}");
}

#[tokio::test]
async fn h104_names_are_told_apart() {
    let Some(server) = RedisServer::start() else { return };
    let named = |prefix: &str| RedisRateStore::builder(patient(server.url())).prefix(prefix).build().unwrap();
    let quota = Quota::per(1, HOUR);
    let pairs = [("a", "b"), ("a:b", "c"), ("a", "b:c"), ("a%rate1", "b"), ("{a}", "b"), ("a", "{b}"), ("a", "%(b%)")];
    for (prefix, raw) in pairs {
        assert!(named(prefix).acquire(&key(raw), &quota, 1).await.unwrap().allowed, "{prefix} {raw}");
    }
    assert_eq!(server.count("DBSIZE"), i64::try_from(pairs.len()).unwrap());
}

#[tokio::test]
async fn h105_a_server_without_room_says_so() {
    let Some(server) = RedisServer::start_with(&["--maxmemory", "2mb"]) else { return };
    let store = store(&server);
    for number in 0..200 {
        server.say(&format!("SETRANGE filler{number} 60000 x"));
    }
    for algorithm in Algorithm::ALL {
        let error = store.acquire(&key("k"), &Quota::per(5, HOUR).algorithm(algorithm), 1).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retriable(), error.detail()), (Kind::Full, false, "OOM"), "{algorithm}: {error}");
    }
}

#[tokio::test]
async fn h106_what_the_server_says_instead_of_a_decision() {
    for (words, expected) in [
        ("-LOADING", Kind::Unavailable),
        ("-READONLY", Kind::ReadOnly),
        ("-BUSY", Kind::Busy),
        (":1", Kind::Protocol),
        ("*2\r\n:1\r\n:0", Kind::Protocol),
        ("*0", Kind::Protocol),
    ] {
        let parrot = Parrot::start(words).await;
        let store = RedisRateStore::builder(parrot.url()).build().unwrap();
        for algorithm in Algorithm::ALL {
            let error = store.acquire(&key("k"), &Quota::per_second(1).algorithm(algorithm), 1).await.unwrap_err();
            // A wrong answer leaves open what has been done.
            assert!(error.kind() == expected || (error.kind(), words) == (Kind::OutcomeUnknown, ":1"), "{words}: {error}");
        }
    }
}

/// What the server has worked, whoever else keeps the machine busy.
fn worked(server: &RedisServer) -> Duration {
    let said = server.say("INFO cpu");
    let of = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap();
    Duration::from_secs_f64(of("used_cpu_sys:") + of("used_cpu_user:"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h108_no_script_is_slow() {
    let Some(server) = RedisServer::start() else { return };
    let store = store(&server);
    let began = worked(&server);
    for algorithm in Algorithm::ALL {
        // A log of many thousands, whose oldest go all at once.
        let quota = Quota::per(20_000, Duration::from_millis(1_000)).algorithm(algorithm);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let store = store.clone();
            tasks.spawn(async move {
                for _ in 0..100 {
                    let _ = store.acquire(&key("k"), &quota, 1).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    }
    let each = (worked(&server) - began) / (5 * 64 * 100);
    tokio::time::sleep(Duration::from_millis(700)).await;
    let before = worked(&server);
    let _ = store.acquire(&key("k"), &Quota::per(20_000, Duration::from_millis(1_000)).algorithm(Algorithm::SlidingLog), 1).await.unwrap();
    let last = worked(&server) - before;
    println!("{each:?} of the server for each decision, {last:?} for one that forgets thousands");
    assert!(each < Duration::from_micros(300) && last < Duration::from_millis(20), "{each:?}, {last:?}");
}

#[tokio::test]
async fn h109_the_version_is_in_the_key() {
    let Some(server) = RedisServer::start() else { return };
    let (store, quota) = (store(&server), Quota::per(1, HOUR));
    // What a later version may have left is neither read nor touched.
    server.say("LPUSH steadfast%rate2:gcra:{k} x");
    assert!(store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
    assert!(!store.acquire(&key("k"), &quota, 1).await.unwrap().allowed);
    assert!(store.reset(&key("k")).await.unwrap());
    assert_eq!((server.count("LLEN steadfast%rate2:gcra:{k}"), server.count("DBSIZE"), store.healed()), (1, 1, 0));
}

#[tokio::test]
async fn a93_all_faults_at_once() {
    let error = RedisRateStore::builder(RedisOptions::new("nonsense").response_timeout(Duration::ZERO)).prefix("").build().unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(steadfast::Fault::field).collect();
    assert_eq!(fields, ["url", "response_timeout", "prefix"]);
}
