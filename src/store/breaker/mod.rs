//! A circuit that several processes share: open in one, open in all soon.
//!
//! For many processes that call one dependency, each so rarely that it takes each long to find out what one has found out already. **Not** where
//! what fails may be the process itself: one machine with a broken network would tell all others that the dependency is down. And not where each
//! calls often: it finds out by itself, within its window, and nothing is simpler.
//!
//! ```text
//!   this process                                 the store                          the others
//!   a rule is broken: open  ── at once ─────────> "open, 5 s" ──── within 500 ms ──> open, what is left of the 5 s
//!                                                 "open, over" <── who has calls? ── one of all gets the lease, and probes
//!   closed                  <─ within 500 ms ──── "closed" <────── at once ───────── its probes succeeded
//! ```
//!
//! It drives a [`CircuitBreaker`] that you have, in whatever pipeline that is; calls ask that one, and nobody waits for a store: a task reads and
//! writes in the background. What to know:
//!
//! * **Soon** is [`every`](SharedBreakerConfig::every) and a round trip. Until then, each goes by its own rules.
//! * **Probes**: at the end of the open time, the processes that have refused calls ask for a lease, and who gets it becomes half-open. So over
//!   all processes there are at most [`probes`](crate::CircuitBreakerConfig::probes) out at a time, as long as the store answers. The lease is
//!   renewed while probes are out, and given up by one that gets no calls; of one that died it ends within 4 times `every` and twice the
//!   deadline. A call that wants to be a probe before the lease is had is refused.
//! * **When the store is away**, each goes on with its own state: it opens by its own rules, and probes by itself after its open time. So each
//!   process that is cut off has its own `probes`. Whoever was open by what it heard waits at most twice `every` and three times the deadline
//!   longer than what was said.
//! * **Time** is the store's own: how long a circuit is open is how long an entry lives. Clocks of processes may be off. Things said have
//!   versions: what is older than what was heard last is not followed, and what happens here after it was heard wins.
//! * **By hand**: [`force_open`](CircuitBreaker::force_open), [`open_for`](CircuitBreaker::open_for) and
//!   [`force_close`](CircuitBreaker::force_close) are for all, as if a rule had said so; [`isolate`](CircuitBreaker::isolate),
//!   [`disable`](CircuitBreaker::disable) and [`metrics_only`](CircuitBreaker::metrics_only), and open for ever, are of this process alone.
//!
//! What it changes is told with the cause [`Shared`](crate::TransitionCause::Shared).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use steadfast::store::{MemoryStore, SharedBreaker};
//! use steadfast::{CircuitBreaker, CircuitState, Pipeline};
//!
//! let store = MemoryStore::new(); // in truth: Redis
//! let breaker = CircuitBreaker::failure_rate(0.5).build()?;
//! let _shared = SharedBreaker::new("payments", &breaker).store(store.clone()).build()?; // for as long as it lives
//! let payments = Pipeline::builder("payments").circuit_breaker(breaker.clone()).build()?;
//! # let _ = payments;
//!
//! // Another process, with a breaker of its own.
//! let there = CircuitBreaker::failure_rate(0.5).build()?;
//! let _shared_there = SharedBreaker::new("payments", &there).store(store).build()?;
//! there.force_open();
//! tokio::time::sleep(Duration::from_secs(1)).await;
//! assert_eq!(breaker.state(), CircuitState::Open);
//! # Ok(()) }
//! ```

mod accord;
mod config;
mod record;

pub use config::SharedBreakerConfig;

use crate::admission::CircuitBreaker;
use crate::sync::Counter;
use crate::sync::atomic::{AtomicBool, Ordering};
use accord::Accord;
use std::fmt;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// A circuit that is shared for as long as this lives. Dropped, the breaker goes on alone. See the [module](self).
#[must_use = "dropped at once, nothing is shared"]
pub struct SharedBreaker {
    name: Arc<str>,
    breaker: CircuitBreaker,
    books: Arc<Books>,
    task: AbortHandle,
}

/// What the task tells of itself.
#[derive(Default)]
struct Books {
    said: Counter,
    followed: Counter,
    leases: Counter,
    errors: Counter,
    connected: AtomicBool,
}

/// How sharing a circuit has been going, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedBreakerStats {
    /// What happened here and was told to the others.
    pub said: u64,
    /// What the others said and was done here.
    pub followed: u64,
    /// How often this process was the one to probe.
    pub leases: u64,
    /// How often the store failed, or took longer than the deadline.
    pub errors: u64,
    /// Whether the store has answered when it was asked last.
    pub connected: bool,
}

impl SharedBreaker {
    /// `breaker`, with all that share a circuit of this name in a store; it needs a [store](SharedBreakerConfig::store).
    #[expect(clippy::new_ret_no_self, reason = "as with every policy: its settings come first")]
    pub fn new(name: impl Into<Arc<str>>, breaker: &CircuitBreaker) -> SharedBreakerConfig {
        SharedBreakerConfig::new(name.into(), breaker.clone())
    }

    fn begin(config: SharedBreakerConfig) -> Self {
        let (name, breaker, books) = (Arc::clone(&config.name), config.breaker.clone(), Arc::<Books>::default());
        let accord = Accord::new(config, Arc::clone(&books));
        let task = tokio::spawn(async move {
            if let Some(accord) = accord {
                accord.keep().await;
            }
        });
        Self { name, breaker, books, task: task.abort_handle() }
    }

    /// The breaker that is shared.
    #[must_use]
    pub const fn breaker(&self) -> &CircuitBreaker {
        &self.breaker
    }

    /// How sharing has been going.
    #[must_use]
    pub fn stats(&self) -> SharedBreakerStats {
        let books = &self.books;
        SharedBreakerStats {
            said: books.said.get(),
            followed: books.followed.get(),
            leases: books.leases.get(),
            errors: books.errors.get(),
            connected: books.connected.load(Ordering::Relaxed),
        }
    }
}

impl Drop for SharedBreaker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for SharedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.stats();
        f.debug_struct("SharedBreaker")
            .field("name", &self.name)
            .field("breaker", &self.breaker)
            .field("stats", &now)
            .finish_non_exhaustive()
    }
}
