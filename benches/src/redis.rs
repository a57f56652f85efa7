//! Limits in a Redis of this program's own: ours, ours by leases, and the script that people write themselves. Without a `redis-server` there are no rows.
//!
//! 64 tasks on two workers, one key, one multiplexed connection for each contender. The server is started here, on a port nobody has, and killed with the
//! last row.

use crate::{Row, TASKS};
use redis::Script;
use redis::aio::MultiplexedConnection;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use steadfast::store::rate::{AnyRateStore, Leased, Quota, RateStore};
use steadfast::store::{Key, RedisRateStore};
use tokio::runtime::Runtime;

/// What the rows are called together.
pub const GROUP: &str = "limit in Redis, 64 tasks";

/// Two workers with sockets, which the other rows have no use for.
static NET: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime"));

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).ok()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let server = Self { child, url: format!("redis://127.0.0.1:{port}") };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            if redis::Client::open(server.url.as_str()).and_then(|client| client.get_connection()).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// GCRA as it is written by hand: one key, whole microseconds, the server's clock. Nothing of what ours heals, validates or tells.
const BY_HAND: &str = "
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next = tat + tonumber(ARGV[1])
if next - now > tonumber(ARGV[2]) then return { 0, next - now - tonumber(ARGV[2]) } end
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
return { 1, next - now }";

fn tasks<F, Fut>(server: &Arc<Server>, who: &'static str, call: F) -> Row
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = bool> + Send,
{
    let server = Arc::clone(server);
    let batch = move |n: u64| {
        let (each, _server) = (n.div_ceil(TASKS), &server);
        NET.block_on(async {
            let start = Instant::now();
            let task = || {
                let call = call.clone();
                NET.spawn(async move {
                    let mut wrong = 0_u64;
                    for _ in 0..each {
                        wrong += u64::from(!call().await);
                    }
                    wrong
                })
            };
            for task in (0..TASKS).map(|_| task()).collect::<Vec<_>>() {
                assert_eq!(task.await.expect("no panic"), 0, "{GROUP} / {who}: calls that did not go");
            }
            start.elapsed()
        })
    };
    Row { group: GROUP, who, batch: Box::new(batch) }
}

/// All of them.
pub fn rows() -> Vec<Row> {
    let Some(server) = Server::start().map(Arc::new) else {
        eprintln!("SKIP: no redis-server to be had, so no rows of limits in Redis");
        return Vec::new();
    };
    // A billion in a hundred years: never used up here, and what a lease has claimed does not come back in the store before it is handed out.
    let (key, quota) = (Key::new("k").expect("a key"), Quota::per(1_000_000_000, Duration::from_secs(100 * 365 * 86_400)));
    let connected = |prefix: &str| {
        let builder = RedisRateStore::builder(server.url.as_str()).prefix(prefix);
        NET.block_on(builder.connect()).expect("it has answered before")
    };
    let (plain, ten, hundred) = (connected("plain"), Leased::new(connected("ten")).batch(10), Leased::new(connected("hundred")).batch(100));
    let by_hand: MultiplexedConnection = NET.block_on(async {
        redis::Client::open(server.url.as_str())
            .expect("an address")
            .get_multiplexed_async_connection()
            .await
            .expect("it has answered before")
    });
    let script = Arc::new(Script::new(BY_HAND));
    let asks = |store: AnyRateStore| {
        let key = key.clone();
        move || {
            let (store, key) = (store.clone(), key.clone());
            async move { store.acquire(&key, &quota, 1).await.is_ok_and(|decision| decision.allowed) }
        }
    };
    vec![
        tasks(&server, "steadfast", asks(plain.into_any())),
        tasks(&server, "steadfast, leased by 10", asks(ten.into_any())),
        tasks(&server, "steadfast, leased by 100", asks(hundred.into_any())),
        tasks(&server, "redis-rs, script by hand", move || {
            let (mut connection, script) = (by_hand.clone(), Arc::clone(&script));
            async move {
                // A million a second, a burst of an hour: more than a server decides.
                let answer: redis::RedisResult<[i64; 2]> =
                    script.key("by-hand").arg(1).arg(3_600_000_000_u64).invoke_async(&mut connection).await;
                answer.is_ok_and(|[went, _]| went == 1)
            }
        }),
    ]
}
