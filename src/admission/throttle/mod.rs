//! The client-side throttle: stops sending what would only be refused.
//!
//! An overloaded service spends its time on saying no. Where clients see that, they can say it themselves, for nothing: each holds back at random
//! so many of its calls that little more reaches the service than it accepts. The algorithm is *adaptive throttling* of
//! [Google's SRE book, "Handling Overload"](https://sre.google/sre-book/handling-overload/), with a quicker way back.
//!
//! For services that refuse when they have too much (HTTP 429 and 503, gRPC `RESOURCE_EXHAUSTED`), and at rates where a window holds
//! dozens of calls. Not in place of a [circuit breaker](crate::CircuitBreaker), which stops all calls to what is *down*; the two go well
//! together. Not for quotas: a [`RateLimiter`](crate::RateLimiter) knows them beforehand.
//!
//! ```text
//!   p = max(0, (requests - K * accepts) / (requests + 1))      over a window of time
//!
//!             p > 0                        an accept that is not like steady overload
//!  +------+ --------> +--------------+ ----------------------------------------> +------------+
//!  | Idle |           | Holding back |                                           | Recovering |
//!  +------+ <-------- +--------------+ <---------------------------------------- +------------+
//!     ^       p = 0                                    p > 0 again                     |
//!     '--------------------------------------------------------------------------------'
//!                        a whole round trip in which nobody had to be refused
//! ```
//!
//! * *Requests* are the calls whose outcome is known, and those held back here; *accepts* are those the dependency took on. A
//!   [`Permanent`](crate::Verdict::Permanent) error is an answer ("no such customer"), so it is an accept; a transient one, a timeout and a panic are
//!   not. What says nothing about the dependency counts as neither: refusals of other policies, ignored and abandoned calls.
//! * In steady overload `K` times as much as is accepted is forwarded, however large the demand.
//! * The least important calls are held back first: [`Critical`](Priority::Critical) ones only where the rest is not enough.
//! * **The way back.** In an outage `p` goes to 1, and the textbook then sends one call in a window: it takes minutes to find out
//!   that all is well. So while calls are held back at least one [a second](ThrottleConfig::probe_interval) goes through. The first that
//!   is accepted, where nearly all had failed, makes the throttle forget the outage; from there on each accept lets `K` more calls go (at least
//!   2), which doubles the load with each round trip until nobody has to be refused. What is refused meanwhile says nothing about the
//!   dependency; if that proves to be overloaded still, the formula takes over again. In *steady* overload one call in `K` is accepted of
//!   those forwarded, and that is how it is told apart: less than half of that was an outage, and far more than that is room to spare, where
//!   the overload is over.
//!
//! A refusal has no `retry_after`: the next call is judged anew, so no moment is better than another.
//!
//! ```
//! use steadfast::{Outcome, Priority, Throttle, Verdict};
//! use tokio::time::Instant;
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! let (throttle, now) = (Throttle::new().seed(1).build()?, Instant::now());
//! for _ in 0..20 {
//!     let permit = throttle.try_acquire(Priority::Normal, now).expect("nothing is known yet");
//!     permit.settle_at(Outcome::Judged(Verdict::transient()), now); // 503
//! }
//! assert!(throttle.snapshot().probability > 0.9);
//! # Ok(()) }
//! ```

mod config;
mod counts;
mod machine;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

pub use config::ThrottleConfig;

use crate::call::Priority;
use crate::fault::ConfigError;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use machine::{Machine, Ticket};
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// A live throttle. Clones share one state.
#[derive(Clone)]
pub struct Throttle {
    machine: Arc<Machine>,
}

impl Throttle {
    /// A throttle with the usual settings: `K` = 2 over 30 s.
    #[expect(clippy::new_ret_no_self, reason = "the configuration comes first: every policy begins like this")]
    pub const fn new() -> ThrottleConfig {
        ThrottleConfig::new()
    }

    /// `shards`: how many threads record without meeting. One is right where there are many throttles.
    pub(crate) fn from_config(config: ThrottleConfig, shards: usize) -> Self {
        Self { machine: Arc::new(Machine::starting(config, shards, Instant::now())) }
    }

    /// Leave to make one call of this priority now, or a refusal. Costs one load while nothing is held back.
    ///
    /// # Errors
    /// [`Throttled`](RejectedKind::Throttled), without a `retry_after`.
    #[inline]
    pub fn try_acquire(&self, priority: Priority, now: Instant) -> Result<ThrottlePermit<'_>, Rejected> {
        match self.machine.acquire(priority, now) {
            Some(ticket) => Ok(ThrottlePermit { machine: &self.machine, ticket }),
            None => Err(Rejected::new(RejectedKind::Throttled)),
        }
    }

    /// What it has counted, and what it makes of it. Changes nothing.
    #[must_use]
    pub fn snapshot(&self) -> ThrottleSnapshot {
        self.machine.snapshot(Instant::now())
    }

    /// What it runs with.
    pub fn config(&self) -> ThrottleConfig {
        self.machine.config()
    }

    /// Goes on with other settings, for all its clones. The counts stay, unless they are to be taken over another window.
    ///
    /// # Errors
    /// What [`build`](ThrottleConfig::build) would refuse; then nothing is changed.
    pub fn reconfigure(&self, config: &ThrottleConfig) -> Result<(), ConfigError> {
        ConfigError::check("throttle", config.faults())?;
        self.reconfigure_quietly(config);
        Ok(())
    }

    /// The same for settings that were checked. `false`: the counts began anew. Nobody waits for a throttle, so there is nobody to tell.
    pub(crate) fn reconfigure_quietly(&self, config: &ThrottleConfig) -> bool {
        self.machine.reconfigure(config)
    }

    /// Whether both are handles of one throttle.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.machine, &other.machine)
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.snapshot();
        f.debug_struct("Throttle")
            .field("requests", &now.requests)
            .field("accepts", &now.accepts)
            .field("probability", &now.probability)
            .field("recovering", &now.recovering)
            .finish_non_exhaustive()
    }
}

/// A throttle at one moment. Taking it changes nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ThrottleSnapshot {
    /// Calls in the window: those whose outcome is known, and those held back here.
    pub requests: u64,
    /// How many of them the dependency accepted.
    pub accepts: u64,
    /// How many of them were held back here.
    pub held_back: u64,
    /// The share of all calls that is held back by what was counted, from 0 to [`max_rejection`](ThrottleConfig::max_rejection).
    pub probability: f64,
    /// Whether an outage has just ended: then only so many calls go as their predecessors' success allows.
    pub recovering: bool,
}

/// `30 % held back, 120 of 400 accepted`.
impl fmt::Display for ThrottleSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.recovering {
            f.write_str("recovering")?;
        } else {
            write!(f, "{:.0} % held back", self.probability * 100.0)?;
        }
        write!(f, ", {} of {} accepted", self.accepts, self.requests)
    }
}

/// Leave to make one call. Say with [`settle_at`](Self::settle_at) what came of it. Dropped unsettled, it says nothing.
#[must_use = "a permit that is dropped at once says nothing about the call"]
pub struct ThrottlePermit<'a> {
    machine: &'a Machine,
    ticket: Ticket,
}

impl ThrottlePermit<'_> {
    /// The call ended like this.
    ///
    /// It takes the permit, so no place is given back twice:
    ///
    /// ```compile_fail,E0382
    /// let (throttle, now) = (steadfast::Throttle::new().build()?, tokio::time::Instant::now());
    /// let permit = throttle.try_acquire(steadfast::Priority::Normal, now)?;
    /// permit.settle_at(steadfast::Outcome::TimedOut, now);
    /// permit.settle_at(steadfast::Outcome::TimedOut, now); // used after it was moved
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn settle_at(self, outcome: Outcome, now: Instant) {
        let (machine, ticket) = (self.machine, self.ticket);
        std::mem::forget(self); // dropping is for those who do not settle
        machine.settle(ticket, outcome, now);
    }

    /// Whether this call went although others are held back, to find out how the dependency is.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.ticket.is_probe()
    }
}

impl Drop for ThrottlePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.machine.give_back(self.ticket, false);
    }
}

impl fmt::Debug for ThrottlePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottlePermit").field("is_probe", &self.is_probe()).finish_non_exhaustive()
    }
}
