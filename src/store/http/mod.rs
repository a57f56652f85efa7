//! The store behind an HTTP API.
//!
//! For a cache that another service keeps. Where you may choose what to run, a Redis is quicker.
//!
//! | | request | answers |
//! |---|---|---|
//! | get | `GET {base}/cache/{key}` | 200 `{"value": "..", "timeout": seconds left, "created": ms, "metadata": {..}}`, of which only `value` is needed; 404 |
//! | set | `PUT {base}/cache/{key}` with `{"value": "..", "timeout": seconds, "metadata": {..}}` | 2xx |
//! | delete | `DELETE {base}/cache/{key}` | 2xx; 404 |
//! | clear | `DELETE {base}/cache` | 2xx `{"deleted": n}` |
//!
//! The key is one segment of the path, percent-encoded. A value that is no text is sent as `base64:` and its base64. 401 and 403 are
//! [`Denied`](StoreErrorKind::Denied), 408, 425, 429 and 5xx may pass and honour `Retry-After`, every other status is a
//! [`Protocol`](StoreErrorKind::Protocol) error and will not be better next time. Redirects are not followed.
//!
//! It goes through a pipeline: 3 attempts of at most 5 s, at most 100 requests at once. [`pipeline`](HttpStoreBuilder::pipeline) sets another.
//! Connections are pooled: 10 idle ones for 30 s. TLS is there when your own `Cargo.toml` switches it on in `reqwest` 0.13 (`features = ["rustls"]`).
//!
//! ```no_run
//! # async fn page() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{HttpStore, Key, Store};
//!
//! let store = HttpStore::builder("http://cache.internal:8080").token(std::env::var("CACHE_TOKEN")?).build()?;
//! let found = store.get(&Key::new("user:42")?).await?;
//! # Ok(()) }
//! ```

mod wire;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use wire::fuzz as fuzz_wire;

use super::stats::Counters;
use super::wrap::Guarded;
use super::{CacheStats, Capabilities, Entry, Key, SetOptions, Store, StoreError, StoreErrorKind, Timestamp};
use crate::admission::Bulkhead;
use crate::client::http::retry_after;
use crate::execution::Retry;
use crate::fault::{ConfigError, Fault, check};
use crate::pipeline::Pipeline;
use crate::sync::{Mutex, lock};
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const NAME: &str = "http";
/// Four times what a value of this size is at most on the wire fits into 64 MiB, which a server cannot make a client hold without asking.
const DEFAULT_VALUE_BYTES: u64 = 16 << 20;
const ATTEMPT: Duration = Duration::from_secs(5);

/// Settings of an [`HttpStore`].
#[must_use = "settings do nothing until `build`"]
pub struct HttpStoreBuilder {
    base_url: String,
    token: Option<String>,
    timeout: Duration,
    max_value_bytes: u64,
    if_absent: bool,
    pipeline: Option<Pipeline>,
}

impl HttpStoreBuilder {
    /// Sent with each request, as `Authorization: Bearer ..`. It is in no error and no `{:?}`. **Default**: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long one request may take, its body included. **Default**: 5 s.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How big one value may be, in bytes; of an answer, no more than that is read. **Default**: 16 MiB.
    pub const fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// The server honours `If-None-Match: *` on `PUT`, with 412 where there is a value: then
    /// [`SetOptions::if_absent`] works. **Default**: false, and it is an error.
    pub const fn if_absent(mut self) -> Self {
        self.if_absent = true;
        self
    }

    /// What every operation goes through. **Default**: 2 retries from 100 ms on, at most 100 requests at once with 1,000 waiting.
    pub fn pipeline(mut self, pipeline: Pipeline) -> Self {
        self.pipeline = Some(pipeline);
        self
    }

    /// The store. Nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none of HTTP, a token no header, a limit zero; all at once.
    pub fn build(self) -> Result<HttpStore, ConfigError> {
        let mut faults = Vec::new();
        let host = host_of(&self.base_url, &mut faults);
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            match HeaderValue::try_from(format!("Bearer {token}")) {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
                Err(_) => faults.push(Fault::new("token", "holds characters that no header may; look for a line break at its end")),
            }
        }
        check::nonzero(&mut faults, "timeout", self.timeout, "a request needs some");
        check::at_least(&mut faults, "max_value_bytes", self.max_value_bytes, 1);
        let client = Client::builder()
            .default_headers(headers)
            .timeout(self.timeout)
            .connect_timeout(self.timeout.min(Duration::from_secs(2)))
            .pool_max_idle_per_host(10)
            .pool_idle_timeout(Duration::from_secs(30))
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| faults.push(Fault::new("client", "cannot be made; is there a TLS backend in reqwest?")));
        ConfigError::check("HTTP store", faults)?;
        let pipeline = match self.pipeline {
            Some(pipeline) => pipeline,
            None => Pipeline::builder("http store")
                .retry(Retry::exponential(2, Duration::from_millis(100)))
                .bulkhead(Bulkhead::new(100).queue(1_000))
                .build()?,
        };
        let wire = Wire {
            base: self.base_url.trim_end_matches('/').to_owned(),
            host: host.unwrap_or_default(),
            client: Mutex::new(client.ok()),
            max_value_bytes: self.max_value_bytes,
            if_absent: self.if_absent,
            counters: Counters::default(),
        };
        Ok(HttpStore { inner: Arc::new(wire.guarded(pipeline)) })
    }
}

/// The host of an address that keys can come after, or a fault.
fn host_of(text: &str, faults: &mut Vec<Fault>) -> Option<String> {
    let mut complain = |what: &str| faults.push(Fault::new("base_url", format!("{what}; it is like https://cache.example:8080/v1")));
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") || !url.has_host() => complain("is no address of HTTP"),
        Ok(url) if url.query().is_some() || url.fragment().is_some() => complain("has a query or a fragment, and keys come after its path"),
        Ok(url) => return url.host_str().map(str::to_owned),
        Err(_) => complain("is no address"),
    }
    None
}

impl fmt::Debug for HttpStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStoreBuilder").field("timeout", &self.timeout).field("has_token", &self.token.is_some()).finish_non_exhaustive()
    }
}

/// A store behind an HTTP API. Clones share its connections. See the [module](self) for what it promises.
#[derive(Clone)]
pub struct HttpStore {
    inner: Arc<Guarded<Wire>>,
}

impl HttpStore {
    /// A store under `base_url`.
    pub fn builder(base_url: impl Into<String>) -> HttpStoreBuilder {
        HttpStoreBuilder {
            base_url: base_url.into(),
            token: None,
            timeout: ATTEMPT,
            max_value_bytes: DEFAULT_VALUE_BYTES,
            if_absent: false,
            pipeline: None,
        }
    }

    /// What every operation goes through.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        self.inner.reads()
    }
}

/// One request, one answer; no retries.
struct Wire {
    base: String,
    host: String,
    /// `None` when closed: connections end with the client.
    client: Mutex<Option<Client>>,
    max_value_bytes: u64,
    if_absent: bool,
    counters: Counters,
}

fn failed(kind: StoreErrorKind, detail: impl Into<std::borrow::Cow<'static, str>>) -> StoreError {
    StoreError::new(kind).in_store(NAME).with_detail(detail)
}

impl Wire {
    fn url(&self, key: Option<&Key>) -> Result<Url, StoreError> {
        let key = key.map_or_else(String::new, |key| ["/", &wire::segment(key)].concat());
        Url::parse(&[&self.base, "/cache", &key].concat()).map_err(|_| failed(StoreErrorKind::InvalidKey, "the key makes no address"))
    }

    /// Sends it; `once` says that it must not happen twice.
    async fn send(&self, method: Method, key: Option<&Key>, body: Option<Vec<u8>>, once: bool) -> Result<Response, StoreError> {
        let client = lock(&self.client).clone().ok_or_else(|| StoreError::closed(NAME))?;
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(failed(StoreErrorKind::Other, "there is no tokio runtime here"));
        }
        let mut request = client.request(method, self.url(key)?);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        if once {
            request = request.header(IF_NONE_MATCH, "*");
        }
        request.send().await.map_err(|error| of_client(&error, once))
    }

    /// The answer's body, no more of it than a value may be long.
    async fn body(&self, mut response: Response) -> Result<Vec<u8>, StoreError> {
        // What base64 and JSON make of it at most, and something for the rest of the answer.
        let most = usize::try_from(self.max_value_bytes.saturating_mul(6)).unwrap_or(usize::MAX).saturating_add(64 << 10);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| of_client(&error, false))? {
            if body.len() + chunk.len() > most {
                return Err(failed(StoreErrorKind::Protocol, "an answer longer than any value may be"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn fetch(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let response = self.send(Method::GET, Some(key), None, false).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = self.body(succeeded(response)?).await?;
        wire::entry(&body, Timestamp::now())
    }

    async fn remove(&self, key: &Key) -> Result<bool, StoreError> {
        let response = self.send(Method::DELETE, Some(key), None, false).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        succeeded(response).map(|_| true)
    }
}

/// The text of the client's error has the address in it, and so the key.
fn of_client(error: &reqwest::Error, once: bool) -> StoreError {
    if error.is_connect() {
        return failed(StoreErrorKind::Unavailable, "no connection");
    }
    match (once, error.is_timeout(), error.is_body() || error.is_decode()) {
        (true, ..) => failed(StoreErrorKind::OutcomeUnknown, "no answer"),
        (false, true, _) => failed(StoreErrorKind::Timeout, "the request took too long"),
        (false, false, true) => failed(StoreErrorKind::Unavailable, "the answer broke off"),
        (false, false, false) => failed(StoreErrorKind::Unavailable, "the connection broke off"),
    }
}

fn succeeded(response: Response) -> Result<Response, StoreError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let kind = match status.as_u16() {
        401 | 403 | 407 => StoreErrorKind::Denied,
        413 => StoreErrorKind::TooLarge,
        405 | 501 => StoreErrorKind::Unsupported,
        408 | 504 => StoreErrorKind::Timeout,
        425 | 429 => StoreErrorKind::Busy,
        507 => StoreErrorKind::Full,
        500.. => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Protocol,
    };
    let error = failed(kind, format!("status {}", status.as_u16()));
    Err(match retry_after(response.headers()) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    })
}

impl Store for Wire {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found = self.fetch(key).await?;
        self.counters.got(found.is_some());
        Ok(found)
    }

    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        if value.len() as u64 > self.max_value_bytes {
            return Err(StoreError::too_large(NAME, value.len(), self.max_value_bytes));
        }
        if options.if_absent && !self.if_absent {
            return Err(StoreError::unsupported(NAME, "if_absent, unless the server knows `If-None-Match`"));
        }
        if !options.tags.is_empty() {
            return Err(StoreError::unsupported(NAME, "tags"));
        }
        if options.ttl.is_zero() {
            if !options.if_absent {
                self.remove(key).await?;
            }
            return Ok(false);
        }
        let response = self.send(Method::PUT, Some(key), Some(wire::body(&value, &options)), options.if_absent).await?;
        if options.if_absent && response.status() == StatusCode::PRECONDITION_FAILED {
            return Ok(false);
        }
        succeeded(response)?;
        self.counters.sets.add(1);
        Ok(true)
    }

    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        let deleted = self.remove(key).await?;
        self.counters.deletes.add(u64::from(deleted));
        Ok(deleted)
    }

    async fn clear(&self) -> Result<u64, StoreError> {
        let response = self.send(Method::DELETE, None, None, false).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(StoreError::unsupported(NAME, "clear, by this server"));
        }
        let deleted = wire::deleted(&self.body(succeeded(response)?).await?)?;
        self.counters.deletes.add(deleted);
        Ok(deleted)
    }

    fn stats(&self) -> CacheStats {
        self.counters.snapshot()
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { if_absent: self.if_absent, shared: true, ..Capabilities::NONE }
    }

    fn reset_stats(&self) {
        self.counters.reset();
    }

    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.fetch(key).await?.is_some())
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let (key, wrote) = super::traits::probe_item();
        let options = SetOptions::new().ttl(super::traits::PROBE_TTL);
        succeeded(self.send(Method::PUT, Some(&key), Some(wire::body(&wrote, &options)), false).await?)?;
        let read = self.fetch(&key).await?;
        self.remove(&key).await?;
        super::traits::probed(NAME, &wrote, read.map(|entry| entry.value))
    }

    async fn close(&self) -> Result<(), StoreError> {
        let client = lock(&self.client).take();
        drop(client); // not under the lock
        Ok(())
    }
}

impl Store for HttpStore {
    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await.inspect_err(|_| self.failed())
    }
    async fn set(&self, key: &Key, value: Bytes, options: SetOptions) -> Result<bool, StoreError> {
        self.inner.set(key, value, options).await.inspect_err(|_| self.failed())
    }
    async fn delete(&self, key: &Key) -> Result<bool, StoreError> {
        self.inner.delete(key).await.inspect_err(|_| self.failed())
    }
    async fn clear(&self) -> Result<u64, StoreError> {
        self.inner.clear().await.inspect_err(|_| self.failed())
    }
    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }
    fn name(&self) -> &'static str {
        NAME
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn reset_stats(&self) {
        self.inner.reset_stats();
    }
    async fn exists(&self, key: &Key) -> Result<bool, StoreError> {
        self.inner.exists(key).await.inspect_err(|_| self.failed())
    }
    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
    async fn close(&self) -> Result<(), StoreError> {
        self.inner.close().await
    }
}

impl HttpStore {
    fn failed(&self) {
        self.inner.get_ref().counters.errors.add(1);
    }
}

impl fmt::Debug for HttpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what an address may hold: a password.
        f.debug_struct("HttpStore").field("host", &self.inner.get_ref().host).field("pipeline", self.pipeline()).finish()
    }
}
