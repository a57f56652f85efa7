//! The backplane over a Redis or Valkey: its publish and subscribe.
//!
//! ```no_run
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! use steadfast::store::{MemoryStore, RedisBackplane, RedisStore, Store, Tiered};
//!
//! let url = "redis://127.0.0.1:6379";
//! let users = Tiered::new(MemoryStore::new(), RedisStore::connect(url).await?.namespace("users"))
//!     .backplane(RedisBackplane::builder(url).channel("users").build()?);
//! # let _ = users; Ok(()) }
//! ```

use super::error::{Effect, late, translate};
use super::link::Link;
use super::{NAME, PREFIX, RedisOptions};
use crate::fault::{ConfigError, Fault};
use crate::store::backplane::{Backplane, Heard, HeardFuture, Inbox, Notice, QUEUE, Subscription};
use crate::store::{StoreError, StoreFuture};
use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{RedisResult, cmd};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

/// Between two tries at a connection: from as soon as a restarted server listens, to often enough to be back within a second.
const DELAYS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(800));
/// After so long without a word, the server is asked whether it is still there: TCP would hope for a quarter of an hour.
const QUIET: Duration = Duration::from_secs(5);

/// Settings of a [`RedisBackplane`].
#[derive(Clone, Debug)]
#[must_use = "settings do nothing until `build`"]
pub struct RedisBackplaneBuilder {
    options: RedisOptions,
    channel: String,
}

impl RedisBackplaneBuilder {
    /// The channel, `steadfast:` before it: one for each far store, as those who share it drop what the others change. **Default**: `changes`.
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channel = channel.into();
        self
    }

    /// The backplane, which connects when it is first used.
    ///
    /// # Errors
    /// When the address, a timeout or the channel cannot work; all at once.
    pub fn build(self) -> Result<RedisBackplane, ConfigError> {
        let mut faults = Vec::new();
        if self.channel.is_empty() {
            faults.push(Fault::new("channel", "the channel has no name; give it that of the store"));
        }
        if self.options.is_cluster() {
            faults.push(Fault::new("url", "values want one server, and so does what is said about them; give the address of that"));
        }
        let link = Link::new("redis backplane", &self.options, faults)?;
        let wire = Wire { link, channel: format!("{PREFIX}:{}", self.channel) };
        Ok(RedisBackplane { wire: Arc::new(wire) })
    }
}

/// A [`Backplane`] over a Redis or Valkey. Clones share its connection for talking; each listener has one of its own.
///
/// A connection that breaks, or from which nothing comes for five seconds, not even an answer, is made again, at most twenty times a second and at least
/// once; after each there is a [`Gap`](Heard::Gap), since Redis keeps no word for those who are not there. So when the server is
/// restarted, all that is near is dropped everywhere.
#[derive(Clone)]
pub struct RedisBackplane {
    wire: Arc<Wire>,
}

struct Wire {
    link: Link,
    channel: String,
}

impl RedisBackplane {
    /// A backplane at a URL, or with [`RedisOptions`]; that of the far store will do.
    pub fn builder(options: impl Into<RedisOptions>) -> RedisBackplaneBuilder {
        RedisBackplaneBuilder { options: options.into(), channel: "changes".into() }
    }
}

impl Backplane for RedisBackplane {
    fn publish<'a>(&'a self, notice: &'a Notice) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut publish = cmd("PUBLISH");
            publish.arg(&self.wire.channel).arg(&notice.to_bytes()[..]);
            // Said twice is as good as once, so it counts as a read.
            self.wire.link.ask(Effect::Read, |mut server| async move { publish.query_async(&mut server).await }).await
        })
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Listener { wire: Arc::clone(&self.wire), listening: None })
    }
}

impl fmt::Debug for RedisBackplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBackplane").field("link", &self.wire.link).field("channel", &self.wire.channel).finish()
    }
}

struct Listener {
    wire: Arc<Wire>,
    listening: Option<(Inbox, Task)>,
}

/// Ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Subscription for Listener {
    fn next(&mut self) -> HeardFuture<'_> {
        Box::pin(async move {
            let (inbox, _task) = self.listening.get_or_insert_with(|| {
                let (words, inbox) = broadcast::channel(QUEUE);
                let wire = Arc::clone(&self.wire);
                // A task, so that a connection being made outlives whoever has asked for it and no longer waits.
                (Inbox(inbox), Task(tokio::spawn(async move { wire.listen(&words).await }).abort_handle()))
            });
            inbox.next().await
        })
    }
}

impl Wire {
    /// Passes on what is said, for ever.
    async fn listen(&self, words: &broadcast::Sender<Heard>) {
        let mut delay = DELAYS.0;
        loop {
            match self.subscribed().await {
                Ok(ear) => {
                    let begun = Instant::now();
                    let _ = words.send(Heard::Gap); // the listener is there as long as this task
                    self.pass_on(ear, words).await;
                    // One that takes us in and throws us out again is left alone as one that does not answer.
                    if begun.elapsed() > DELAYS.1 {
                        delay = DELAYS.0;
                    }
                    tracing::debug!(name: "steadfast.backplane_lost", target: "steadfast::store", store = NAME, "the backplane has lost its connection");
                }
                Err(error) => {
                    tracing::debug!(name: "steadfast.backplane_unconnected", target: "steadfast::store", store = NAME, error = error.detail(), "the backplane has no connection");
                }
            }
            // Not all at once, where many have lost the same server.
            tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..1.0))).await;
            delay = (delay * 2).min(DELAYS.1);
        }
    }

    async fn subscribed(&self) -> Result<PubSub, StoreError> {
        let connect = async {
            let mut ear = self.link.ear().await?;
            ear.subscribe(&self.channel).await?;
            RedisResult::Ok(ear)
        };
        timeout(self.link.patience(), connect).await.map_err(|_| late(Effect::Read))?.map_err(|error| translate(Effect::Read, error))
    }

    /// Until the connection ends, or nobody answers on it.
    async fn pass_on(&self, ear: PubSub, words: &broadcast::Sender<Heard>) {
        let (mut questions, mut messages) = ear.split();
        loop {
            match timeout(QUIET, messages.next()).await {
                Ok(Some(message)) => {
                    let heard = Notice::from_bytes(message.get_payload_bytes()).map_or(Heard::Gap, Heard::Notice);
                    let _ = words.send(heard);
                }
                Ok(None) => return,
                Err(_) => match timeout(self.link.patience(), questions.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    _ => return,
                },
            }
        }
    }
}
