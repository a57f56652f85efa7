//! The one connection, and how long anybody waits for it.

mod server;

use super::NAME;
use super::error::{Effect, late, translate};
use crate::fault::{ConfigError, Fault};
use crate::store::{StoreError, StoreErrorKind};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Mutex, lock};
use redis::aio::ConnectionManagerConfig;
use redis::{Client, ConnectionAddr, FromRedisValue, RedisResult, ScriptInvocation};
use server::{Place, Server};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// A new connection on the same continent takes a tenth of that.
const CONNECT: Duration = Duration::from_millis(200);
/// A healthy server answers in one; a caller who waits longer would rather have the next best answer.
const RESPONSE: Duration = Duration::from_millis(100);
/// Between two tries at a connection: long enough for a restarted server to listen, short enough to be back at once.
const DELAYS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
/// So many answers missing in a row, and the connection is given up: behind a cable that was cut, TCP itself would hope for a quarter of an hour.
const SILENCES: u32 = 3;
/// After so long, not even sentinels and clusters are on their way any more.
const GIVE_UP: Duration = Duration::from_secs(5);
/// At most five new connections a second, whatever the server says.
const RENEWAL: Duration = Duration::from_millis(200);

/// What else there is besides the address.
#[derive(Clone, PartialEq, Eq)]
enum Around {
    Nothing,
    /// The host is a name that these know.
    #[cfg(feature = "redis-sentinel")]
    Sentinels(Vec<String>),
    /// Other nodes.
    #[cfg(feature = "redis-cluster")]
    Cluster(Vec<String>),
}

/// Where a Redis or Valkey is, and how long to wait for it.
///
/// ```
/// use steadfast::store::redis::RedisOptions;
/// use std::time::Duration;
/// let far = RedisOptions::new("redis://:secret@cache.example.com:6380/2").response_timeout(Duration::from_millis(300));
/// assert_eq!(format!("{far:?}"), r#"RedisOptions { server: "redis://cache.example.com:6380/2", connect_timeout: 200ms, response_timeout: 300ms }"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct RedisOptions {
    url: String,
    around: Around,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl RedisOptions {
    /// The server at `url`: `redis://[user][:password]@host[:port][/database]`, `rediss://` for TLS (feature `redis-tls`), `unix:///path`
    /// for a socket.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), around: Around::Nothing, connect_timeout: CONNECT, response_timeout: RESPONSE }
    }

    /// The master that sentinels know by a name, which stands where the host would: `redis://[user][:password]@mymaster[/database]`. They are asked again
    /// whenever the master is not to be had, or has become a replica. `sentinels` are addresses: `redis://host:26379`.
    #[cfg(feature = "redis-sentinel")]
    pub fn sentinels<U: Into<String>>(sentinels: impl IntoIterator<Item = U>, master: impl Into<String>) -> Self {
        Self { around: Around::Sentinels(sentinels.into_iter().map(Into::into).collect()), ..Self::new(master) }
    }

    /// The cluster that these nodes, or some of them, belong to. For limits and semaphores; a store of values wants one server.
    ///
    /// What has moved is an error once, [`Unavailable`](StoreErrorKind::Unavailable), and found by the next call: the client never sends anything twice.
    #[cfg(feature = "redis-cluster")]
    pub fn cluster<U: Into<String>>(nodes: impl IntoIterator<Item = U>) -> Self {
        let mut nodes = nodes.into_iter().map(Into::into);
        let first: String = nodes.next().unwrap_or_default();
        Self { around: Around::Cluster(nodes.collect()), ..Self::new(first) }
    }

    /// Whether keys lie on several servers.
    pub(super) const fn is_cluster(&self) -> bool {
        match self.around {
            Around::Nothing => false,
            #[cfg(feature = "redis-sentinel")]
            Around::Sentinels(_) => false,
            #[cfg(feature = "redis-cluster")]
            Around::Cluster(_) => true,
        }
    }

    /// How long one try at a connection may take, the greeting included. **Default**: 200 ms.
    pub const fn connect_timeout(mut self, wait: Duration) -> Self {
        self.connect_timeout = wait;
        self
    }

    /// How long an answer may take. No call waits longer than this and the [`connect_timeout`](Self::connect_timeout) together. **Default**:
    /// 100 ms; give it more for values of many megabytes, and for servers far away.
    pub const fn response_timeout(mut self, wait: Duration) -> Self {
        self.response_timeout = wait;
        self
    }

    /// Without credentials.
    fn shown(&self) -> String {
        Client::open(self.url.as_str()).map_or_else(|_| "?".to_owned(), |client| place_of(&client))
    }

    /// Does not repeat the address: it may hold a password.
    fn bad_url(&self) -> Fault {
        let why = if self.url.starts_with("rediss:") && !cfg!(feature = "redis-tls") {
            "TLS needs the feature `redis-tls`"
        } else {
            "write redis://[user][:password]@host[:port][/database]"
        };
        Fault::new("url", format!("the address cannot work; {why}"))
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (field, wait) in [("connect_timeout", self.connect_timeout), ("response_timeout", self.response_timeout)] {
            if wait.is_zero() {
                faults.push(Fault::new(field, "0 ns is no time at all; give it at least 1 ms"));
            }
        }
        faults
    }
}

impl From<&str> for RedisOptions {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for RedisOptions {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for RedisOptions {
    // The URL has the password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("server", &self.shown())
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish()
    }
}

/// Where a client connects to, without credentials.
fn place_of(client: &Client) -> String {
    let info = client.get_connection_info();
    let database = info.redis_settings().db();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}/{database}"),
        ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}/{database}"),
        _ => "unix".to_owned(),
    }
}

/// One multiplexed connection, made when it is first needed and made again when it breaks.
pub(super) struct Link {
    wire: Arc<Wire>,
}

struct Wire {
    place: Arc<Place>,
    shown: String,
    patience: Duration,
    state: Mutex<State>,
    /// Answers missing since the last one that came.
    silences: AtomicU32,
    /// Somebody is finding out whether answers come at all.
    watched: AtomicBool,
}

#[derive(Default)]
struct State {
    server: Option<Arc<OnceCell<Server>>>,
    /// Which connection this is, so that the complaint about an old one does not cost the new one its life.
    generation: u64,
    renewed_at: Option<Instant>,
    closed: bool,
}

impl Link {
    /// Neither connects nor waits.
    pub(super) fn new(subject: &'static str, options: &RedisOptions, mut faults: Vec<Fault>) -> Result<Self, ConfigError> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(DELAYS.0)
            .set_max_delay(DELAYS.1)
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            // The default of 50 makes a burst of callers wait for each other.
            .set_pipeline_buffer_size(1_024);
        match Place::new(options, config) {
            Ok(place) => {
                faults.splice(0..0, options.faults());
                ConfigError::check(subject, faults)?;
                let patience = options.connect_timeout.saturating_add(options.response_timeout);
                let wire = Wire {
                    place: Arc::new(place),
                    shown: options.shown(),
                    patience,
                    state: Mutex::default(),
                    silences: AtomicU32::new(0),
                    watched: AtomicBool::new(false),
                };
                Ok(Self { wire: Arc::new(wire) })
            }
            Err(_) => {
                faults.splice(0..0, [options.bad_url()].into_iter().chain(options.faults()));
                Err(ConfigError::of(subject, faults))
            }
        }
    }

    /// Asks the server something. Nothing is ever sent twice.
    pub(super) async fn ask<T, Fut>(&self, effect: Effect, ask: impl FnOnce(Server) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let impatient = Impatient(&self.wire);
        let answered = self.wire.ask(effect, ask).await;
        std::mem::forget(impatient);
        answered
    }

    /// A connection of its own, for what is published.
    pub(super) async fn ear(&self) -> RedisResult<redis::aio::PubSub> {
        self.wire.place.ear().await
    }

    /// How long a caller waits at most.
    pub(super) fn patience(&self) -> Duration {
        self.wire.patience
    }

    pub(super) fn close(&self) {
        let server = {
            let mut state = lock(&self.wire.state);
            state.closed = true;
            state.server.take()
        };
        drop(server); // not under the lock
    }
}

/// Somebody who asked. Dropped, they did not wait for the answer; and if nobody ever does, nobody would notice that none comes any more.
struct Impatient<'a>(&'a Arc<Wire>);

impl Drop for Impatient<'_> {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.0.watched.swap(true, Ordering::AcqRel) {
            let wire = Arc::clone(self.0);
            runtime.spawn(async move { wire.watch().await });
        }
    }
}

impl Wire {
    /// Finds out whether answers still come, for as long as it takes to give the connection up.
    async fn watch(&self) {
        for _ in 0..SILENCES {
            let ping = redis::cmd("PING");
            let answered = self.ask(Effect::Read, |mut server| async move { ping.query_async::<redis::Value>(&mut server).await }).await;
            if !answered.is_err_and(|error| error.kind() == StoreErrorKind::Timeout) {
                break; // answered, or broken in a way that is noticed
            }
        }
        self.watched.store(false, Ordering::Release);
    }

    fn server(&self) -> Result<(Arc<OnceCell<Server>>, u64), StoreError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(StoreError::closed(NAME));
        }
        if let Some(server) = &state.server {
            return Ok((Arc::clone(server), state.generation));
        }
        let server = Arc::default();
        state.server = Some(Arc::clone(&server));
        state.generation += 1;
        Ok((server, state.generation))
    }

    /// Connects, once for all who wait, and in a task: who waits no longer does not begin it again for the others.
    async fn connected(&self, cell: Arc<OnceCell<Server>>) -> Result<Server, StoreError> {
        if let Some(server) = cell.get() {
            return Ok(server.clone());
        }
        let place = Arc::clone(&self.place);
        if let Some(server) = place.at_once() {
            let made = server.map_err(|error| translate(Effect::Read, error))?;
            return Ok(cell.get_or_init(async || made).await.clone());
        }
        let connecting = tokio::spawn(async move {
            let connect = || async {
                let made = tokio::time::timeout(GIVE_UP, place.connect()).await.map_err(|_| late(Effect::Read))?;
                made.map_err(|error| translate(Effect::Read, error))
            };
            cell.get_or_try_init(connect).await.cloned()
        });
        connecting.await.map_err(|_| unavailable("the runtime is shutting down"))?
    }

    async fn ask<T, Fut>(&self, effect: Effect, ask: impl FnOnce(Server) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let (cell, generation) = self.server()?;
        // Timers and tasks panic without a place to put them.
        tokio::runtime::Handle::try_current().map_err(|_| unavailable("not called in a tokio runtime"))?;
        let answered = tokio::time::timeout(self.patience, async {
            let server = self.connected(cell).await?;
            ask(server).await.map_err(|error| {
                let silent = error.is_timeout();
                self.note(generation, silent);
                translate(effect, error)
            })
        });
        match answered.await {
            Ok(Ok(answer)) => {
                self.heard();
                Ok(answer)
            }
            Ok(Err(error)) => {
                // The connection is kept to a master that has become a replica, and to one that sentinels have replaced.
                let gone = matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::OutcomeUnknown | StoreErrorKind::Timeout);
                if error.kind() == StoreErrorKind::ReadOnly || (gone && self.place.moves()) {
                    self.renew(generation);
                }
                Err(error)
            }
            Err(_) => {
                self.note(generation, true);
                Err(late(effect))
            }
        }
    }

    fn heard(&self) {
        if self.silences.load(Ordering::Relaxed) != 0 {
            self.silences.store(0, Ordering::Relaxed);
        }
    }

    fn note(&self, generation: u64, silent: bool) {
        if !silent {
            self.heard();
        } else if self.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
            self.renew(generation);
        }
    }

    /// Gives the connection up; the next call makes another. Not more often than is good for a server in trouble.
    fn renew(&self, generation: u64) {
        let now = Instant::now();
        let old = {
            let mut state = lock(&self.state);
            let too_soon = state.renewed_at.is_some_and(|then| now.saturating_duration_since(then) < RENEWAL);
            if state.generation != generation || too_soon {
                return;
            }
            state.renewed_at = Some(now);
            state.server.take()
        };
        self.silences.store(0, Ordering::Relaxed);
        drop(old); // not under the lock
    }
}

fn unavailable(why: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).in_store(NAME).with_detail(why)
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (closed, connections) = {
            let state = lock(&self.wire.state);
            (state.closed, state.generation)
        };
        f.debug_struct("Link").field("server", &self.wire.shown).field("connections", &connections).field("closed", &closed).finish()
    }
}

/// Runs a script. One that was flushed between its load and its call has not run, so it is loaded anew.
pub(super) async fn invoke<T: FromRedisValue>(script: &ScriptInvocation<'_>, server: &mut Server) -> RedisResult<T> {
    for _ in 0..3 {
        match script.invoke_async(server).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {}
            other => return other,
        }
    }
    script.invoke_async(server).await
}
