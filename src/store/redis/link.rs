//! The one connection, and how long anybody waits for it.

use super::NAME;
use super::error::{Effect, late, translate};
use crate::fault::{ConfigError, Fault};
use crate::store::{StoreError, StoreErrorKind};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, lock};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ConnectionAddr, RedisResult};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// A new connection on the same continent takes a tenth of that.
const CONNECT: Duration = Duration::from_millis(200);
/// A healthy server answers in one; a caller who waits longer would rather have the next best answer.
const RESPONSE: Duration = Duration::from_millis(100);
/// Between two tries at a connection: long enough for a restarted server to listen, short enough to be back at once.
const DELAYS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
/// So many answers missing in a row, and the connection is given up: behind a cable that was cut, TCP itself would hope for a quarter of an hour.
const SILENCES: u32 = 3;
/// At most five new connections a second, whatever the server says.
const RENEWAL: Duration = Duration::from_millis(200);

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
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl RedisOptions {
    /// The server at `url`: `redis://[user][:password]@host[:port][/database]`, `rediss://` for TLS (feature `redis-tls`), `unix:///path`
    /// for a socket.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), connect_timeout: CONNECT, response_timeout: RESPONSE }
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
            .field("server", &Client::open(self.url.as_str()).map_or_else(|_| "?".to_owned(), |client| place(&client)))
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .finish()
    }
}

/// Where a client connects to, without credentials.
fn place(client: &Client) -> String {
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
    client: Client,
    config: ConnectionManagerConfig,
    patience: Duration,
    state: Mutex<State>,
    /// Answers missing since the last one that came.
    silences: AtomicU32,
}

#[derive(Default)]
struct State {
    manager: Option<ConnectionManager>,
    /// Which manager this is, so that the complaint about an old one does not cost the new one its life.
    generation: u64,
    renewed_at: Option<Instant>,
    closed: bool,
}

impl Link {
    /// Neither connects nor waits.
    pub(super) fn new(subject: &'static str, options: &RedisOptions, mut faults: Vec<Fault>) -> Result<Self, ConfigError> {
        let client = match Client::open(options.url.as_str()) {
            Ok(client) => client,
            Err(_) => {
                faults.splice(0..0, [options.bad_url()].into_iter().chain(options.faults()));
                return Err(ConfigError::of(subject, faults));
            }
        };
        faults.splice(0..0, options.faults());
        ConfigError::check(subject, faults)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_min_delay(DELAYS.0)
            .set_max_delay(DELAYS.1)
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout))
            // The default of 50 makes a burst of callers wait for each other.
            .set_pipeline_buffer_size(1_024);
        let patience = options.connect_timeout.saturating_add(options.response_timeout);
        Ok(Self { client, config, patience, state: Mutex::default(), silences: AtomicU32::new(0) })
    }

    fn manager(&self) -> Result<(ConnectionManager, u64), StoreError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(StoreError::closed(NAME));
        }
        if let Some(manager) = &state.manager {
            return Ok((manager.clone(), state.generation));
        }
        // It starts a task, and would panic without a place to put it.
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StoreError::new(StoreErrorKind::Unavailable).in_store(NAME).with_detail("not called in a tokio runtime"));
        }
        let made = ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone());
        let manager = made.map_err(|error| translate(Effect::Read, error))?;
        state.manager = Some(manager.clone());
        state.generation += 1;
        Ok((manager, state.generation))
    }

    /// Asks the server something. Nothing is ever sent twice.
    pub(super) async fn ask<T, Fut>(&self, effect: Effect, ask: impl FnOnce(ConnectionManager) -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let (manager, generation) = self.manager()?;
        match tokio::time::timeout(self.patience, ask(manager)).await {
            Ok(Ok(answer)) => {
                self.heard();
                Ok(answer)
            }
            Ok(Err(error)) => {
                let silent = error.is_timeout();
                let error = translate(effect, error);
                if silent {
                    self.silence(generation);
                } else {
                    self.heard();
                }
                // The manager keeps the connection to a master that has become a replica; a new one may find the new master.
                if error.kind() == StoreErrorKind::ReadOnly {
                    self.renew(generation);
                }
                Err(error)
            }
            Err(_) => {
                self.silence(generation);
                Err(late(effect))
            }
        }
    }

    fn heard(&self) {
        if self.silences.load(Ordering::Relaxed) != 0 {
            self.silences.store(0, Ordering::Relaxed);
        }
    }

    fn silence(&self, generation: u64) {
        if self.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
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
            state.manager.take()
        };
        self.silences.store(0, Ordering::Relaxed);
        drop(old); // not under the lock
    }

    pub(super) fn close(&self) {
        let manager = {
            let mut state = lock(&self.state);
            state.closed = true;
            state.manager.take()
        };
        drop(manager); // not under the lock
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (closed, connections) = {
            let state = lock(&self.state);
            (state.closed, state.generation)
        };
        let server = place(&self.client);
        f.debug_struct("Link").field("server", &server).field("connections", &connections).field("closed", &closed).finish()
    }
}
