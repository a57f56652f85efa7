//! The circuit breaker: stops calling what keeps failing, and finds out cheaply when it works again.
//!
//! For calls over a network or to anything else that can be down: it spares the dependency the load and the caller the wait. Not for
//! what cannot fail for long (pure computation), nor in place of a limit (a bulkhead or a rate limiter keeps *you* from breaking *it*).
//!
//! ```text
//!              a rule is broken                   the open time is over, and a call comes
//!   +--------+ ----------------> +------+ ---------------------------------> +-----------+
//!   | Closed |                   | Open |                                    | Half-open |
//!   +--------+ <----.            +------+ <--------------------------------- +-----------+
//!                   |                 too many probes failed, or none was conclusive |
//!                   '----------------------------------------------------------------'
//!                                     enough probes succeeded
//!
//!   by hand: Isolated (all refused)   Disabled (all pass, nothing counts)   Metrics-only (all pass and count)
//! ```
//!
//! * Rules add up: [`failure_rate`](CircuitBreaker::failure_rate), [`consecutive_failures`](CircuitBreaker::consecutive_failures),
//!   [`slow_calls`](CircuitBreaker::slow_calls), over a window of time or of calls.
//! * Each permit carries the generation that gave it. An outcome that comes after the state changed counts as stale and decides nothing.
//! * What policies refused, what a judge ignores and what its caller dropped say nothing about the dependency, and give a probe's
//!   place back. A probe that hangs loses its place when its lease ends. So half-open never wedges.
//! * What comes back cold can be given a [ramp](CircuitBreakerConfig::ramp): a growing share of calls instead of all at once.
//! * The open time doubles from 5 s to 60 s while probes fail, and is a little random, so that a fleet does not come back at once.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{CircuitBreaker, CircuitState, Outcome, Verdict};
//!
//! # fn main() -> Result<(), steadfast::ConfigError> {
//! let breaker = CircuitBreaker::consecutive_failures(2).open_for(Duration::from_secs(30)).build()?;
//! for _ in 0..2 {
//!     let permit = breaker.try_acquire().expect("closed");
//!     permit.settle(Outcome::Judged(Verdict::transient())); // what came of the call
//! }
//! assert_eq!(breaker.state(), CircuitState::Open);
//! let refused = breaker.try_acquire().unwrap_err();
//! assert!(refused.retry_after() <= Some(Duration::from_secs(30)));
//! # Ok(()) }
//! ```

mod config;
mod events;
mod machine;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;
mod window;

pub use config::CircuitBreakerConfig;
pub(crate) use config::Window as CircuitWindow;
pub(crate) use events::Listener;
pub use events::{CircuitSnapshot, CircuitState, OpenFacts, Transition, TransitionCause, Transitions};

use crate::fault::ConfigError;
use crate::outcome::{Outcome, Rejected};
#[cfg(feature = "store")]
pub(crate) use machine::Glance;
use machine::{Machine, Ticket};
pub(in crate::admission) use machine::{share, unit};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// A live circuit breaker. Clones share one state.
///
/// Alone, it is used through [`try_acquire`](Self::try_acquire) and [`CircuitPermit::settle`]. By hand:
///
/// | method | state | ends by itself |
/// |---|---|---|
/// | [`force_open`](Self::force_open), [`open_for`](Self::open_for) | `Open` | yes: after the open time come probes |
/// | [`half_open`](Self::half_open) | `HalfOpen` | yes: the probes decide |
/// | [`force_close`](Self::force_close), [`reset`](Self::reset) | `Closed` | yes: rules open it again |
/// | [`isolate`](Self::isolate) | `Isolated` | no |
/// | [`disable`](Self::disable) | `Disabled` | no |
/// | [`metrics_only`](Self::metrics_only) | `MetricsOnly` | no |
#[derive(Clone)]
pub struct CircuitBreaker {
    machine: Arc<Machine>,
}

impl CircuitBreaker {
    /// A breaker that opens when this share of the calls in a window failed, as a fraction in (0, 1]: 0.5 is 50 %.
    pub const fn failure_rate(share: f64) -> CircuitBreakerConfig {
        CircuitBreakerConfig::new().failure_rate(share)
    }

    /// A breaker that opens on this many failures in a row.
    pub const fn consecutive_failures(failures: u32) -> CircuitBreakerConfig {
        CircuitBreakerConfig::new().consecutive_failures(failures)
    }

    /// A breaker that opens when this share of the calls in a window took longer than `slower_than`.
    pub const fn slow_calls(slower_than: Duration, share: f64) -> CircuitBreakerConfig {
        CircuitBreakerConfig::new().slow_calls(slower_than, share)
    }

    /// `shards`: how many threads record without meeting. One is right where there are many breakers.
    pub(crate) fn from_config(config: CircuitBreakerConfig, shards: usize) -> Self {
        Self { machine: Arc::new(Machine::new(config, shards, Instant::now())) }
    }

    /// What it runs with.
    pub fn config(&self) -> CircuitBreakerConfig {
        self.machine.config()
    }

    /// Goes on under other rules, for all its clones. State, open time, failed rounds and probes in flight stay, and so do the counts, unless
    /// they are to be taken over another window: `false` says that they began anew. An open circuit waits no longer than the new
    /// [`max_open`](CircuitBreakerConfig::max_open), if that was lowered; a round of probes is decided if it is decided by the new numbers.
    ///
    /// # Errors
    /// What [`build`](CircuitBreakerConfig::build) would refuse; then nothing is changed.
    pub fn reconfigure(&self, config: &CircuitBreakerConfig) -> Result<bool, ConfigError> {
        ConfigError::check("circuit breaker", config.faults())?;
        let kept = self.machine.reconfigure(config);
        self.tell();
        Ok(kept)
    }

    /// The same for settings that were checked; what it causes is told by [`tell`](Self::tell).
    pub(crate) fn reconfigure_quietly(&self, config: &CircuitBreakerConfig) -> bool {
        self.machine.reconfigure(config)
    }

    /// Whether both are handles of one breaker.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.machine, &other.machine)
    }

    /// Tells what changed, where that was put off.
    pub(crate) fn tell(&self) {
        self.machine.outbox.flush();
    }

    /// Leave to make one call, or a refusal. Reads the clock only where the answer needs it: closed and without rules on time, it
    /// does not.
    ///
    /// # Errors
    /// [`CircuitOpen`](crate::RejectedKind::CircuitOpen) while open, isolated, or half-open with all probes out; `retry_after` is the
    /// time to the next probe, where one will come. Also for some calls while it [warms up](CircuitBreakerConfig::ramp).
    #[inline]
    pub fn try_acquire(&self) -> Result<CircuitPermit<'_>, Rejected> {
        let machine = &*self.machine;
        match machine.pass() {
            Some(ticket) => Ok(CircuitPermit { machine, ticket, started: machine.times_calls().then(Instant::now) }),
            None => self.enter(Instant::now()),
        }
    }

    /// The same, for a caller that has read the clock already.
    ///
    /// # Errors
    /// Like [`try_acquire`](Self::try_acquire).
    #[inline]
    pub fn try_acquire_at(&self, now: Instant) -> Result<CircuitPermit<'_>, Rejected> {
        let machine = &*self.machine;
        match machine.pass() {
            Some(ticket) => Ok(CircuitPermit { machine, ticket, started: Some(now) }),
            None => self.enter(now),
        }
    }

    /// A permit where the state alone says yes; what [`enter`](Self::enter) says must be asked otherwise.
    #[inline]
    pub(crate) fn pass_at(&self, now: Instant) -> Option<CircuitPermit<'_>> {
        let machine = &*self.machine;
        machine.pass().map(|ticket| CircuitPermit { machine, ticket, started: Some(now) })
    }

    #[cold]
    pub(crate) fn enter(&self, now: Instant) -> Result<CircuitPermit<'_>, Rejected> {
        match self.machine.enter(now) {
            Ok(ticket) => Ok(CircuitPermit { machine: &self.machine, ticket, started: Some(now) }),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Whether a permit would be given at `now`. Changes nothing, and counts nothing. While it [warms up](CircuitBreakerConfig::ramp) the answer
    /// is yes, for the share is counted over those who do ask for a permit.
    ///
    /// # Errors
    /// What [`try_acquire_at`](Self::try_acquire_at) would refuse with.
    #[inline]
    pub fn check_at(&self, now: Instant) -> Result<(), Rejected> {
        if self.machine.pass().is_some() { Ok(()) } else { self.machine.look_at(now).map_err(Rejected::from) }
    }

    /// The pipeline's look: like [`check_at`](Self::check_at), but a refusal is one that a caller was given, so it counts.
    #[inline]
    pub(crate) fn refuse_at(&self, now: Instant) -> Result<(), Rejected> {
        self.check_at(now).inspect_err(|_| {
            self.machine.count_refusal();
            self.machine.outbox.flush();
        })
    }

    /// The state as a call at this moment would find it: an open circuit whose time is over is half-open. Changes nothing.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.machine.state()
    }

    /// State and counters at this moment. Changes nothing.
    #[must_use]
    pub fn snapshot(&self) -> CircuitSnapshot {
        self.machine.snapshot()
    }

    /// When the next probe may go: zero if now, `None` where calls go through anyway or where only a hand can close the circuit.
    #[must_use]
    pub fn next_probe_in(&self) -> Option<Duration> {
        self.machine.next_probe_in()
    }

    /// The transitions from here on. A slow subscriber loses the oldest and delays nobody.
    #[must_use]
    pub fn subscribe(&self) -> Transitions {
        self.machine.outbox.subscribe()
    }

    /// Calls `listener` after each transition, in order, on the thread that caused it, under no lock. A panic in it is caught and
    /// counted. What a `Drop` or an unwinding thread causes, the next caller tells. Forgotten when nobody else holds it any more.
    pub(crate) fn on_transition(&self, listener: Weak<dyn Listener>) {
        self.machine.outbox.listen(listener);
    }

    /// The machine, for those who keep it in step with the machines of other processes.
    #[cfg(feature = "store")]
    pub(crate) fn glance(&self) -> Glance {
        self.machine.glance()
    }

    /// Open for so long, since others are. `None` where the state is not the one that was seen any more, or one made by hand; else its new generation.
    #[cfg(feature = "store")]
    pub(crate) fn follow_open(&self, seen: u64, time: Duration, failed_rounds: u32) -> Option<u64> {
        self.machine.follow_open(seen, time, failed_rounds)
    }

    /// Open for at least so long, if it is open.
    #[cfg(feature = "store")]
    pub(crate) fn hold_open(&self, seen: u64, time: Duration) {
        self.machine.hold_open(seen, time);
    }

    /// Lets probes go, if it is open.
    #[cfg(feature = "store")]
    pub(crate) fn follow_half_open(&self, seen: u64) -> Option<u64> {
        self.machine.follow_half_open(seen)
    }

    /// Closed, since others are.
    #[cfg(feature = "store")]
    pub(crate) fn follow_close(&self, seen: u64) -> Option<u64> {
        self.machine.follow_close(seen)
    }

    /// Whether the moment a call ended decides anything (a rule on slow calls). If not, any reading of the clock near it will do.
    #[must_use]
    pub(crate) fn needs_end_time(&self) -> bool {
        self.machine.times_slow_calls()
    }

    /// Opens the circuit as if a rule had been broken: after the open time, probes decide. Nothing if it is open.
    pub fn force_open(&self) {
        self.machine.force_open();
    }

    /// Opens the circuit for exactly this long, counted from now, also if it is open. `Duration::MAX` is for ever.
    pub fn open_for(&self, time: Duration) {
        self.machine.open_for(time);
    }

    /// Lets probes go now: ends the open time, or begins the round of probes again. `false`, and nothing happens, where the circuit is
    /// neither open nor half-open.
    pub fn half_open(&self) -> bool {
        self.machine.half_open()
    }

    /// Closes the circuit, with empty counters, from whatever state. Nothing if it is closed, unless it warms up: that ends.
    pub fn force_close(&self) {
        self.machine.force_close();
    }

    /// Begins anew: closed, with empty counters, also if it is closed. Calls under way settle as stale.
    pub fn reset(&self) {
        self.machine.reset();
    }

    /// Refuses every call until [`force_close`](Self::force_close) or [`reset`](Self::reset).
    pub fn isolate(&self) {
        self.machine.isolate();
    }

    /// Lets every call through and counts nothing, until [`force_close`](Self::force_close) or [`reset`](Self::reset).
    pub fn disable(&self) {
        self.machine.disable();
    }

    /// Lets every call through and counts it. A rule that is broken is told to subscribers once, and opens nothing.
    pub fn metrics_only(&self) {
        self.machine.metrics_only();
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.snapshot();
        f.debug_struct("CircuitBreaker")
            .field("state", &now.state)
            .field("calls", &now.calls)
            .field("failures", &now.failures)
            .field("next_probe_in", &now.next_probe_in)
            .finish_non_exhaustive()
    }
}

/// Leave to make one call. Say with [`settle`](Self::settle) what came of it.
///
/// Dropped unsettled, the call is [`Abandoned`](Outcome::Abandoned): it says nothing (unless
/// [`abandoned_after`](CircuitBreakerConfig::abandoned_after) is set), and a probe's place is free again. Forgotten, a probe's place
/// is free when its lease ends.
#[must_use = "a permit that is dropped at once says nothing about the call"]
pub struct CircuitPermit<'a> {
    machine: &'a Machine,
    ticket: Ticket,
    started: Option<Instant>,
}

impl CircuitPermit<'_> {
    /// The call ended like this. Reads the clock where the outcome says anything.
    #[inline]
    pub fn settle(self, outcome: Outcome) {
        self.end(outcome, None);
    }

    /// The same, for a caller that has read the clock already.
    #[inline]
    pub fn settle_at(self, outcome: Outcome, now: Instant) {
        self.end(outcome, Some(now));
    }

    #[inline]
    fn end(self, outcome: Outcome, now: Option<Instant>) {
        let (machine, ticket, started) = (self.machine, self.ticket, self.started);
        std::mem::forget(self); // dropping is for those who do not settle
        machine.settle(ticket, outcome, started, now);
    }

    /// The same from a `Drop`, where listeners have no place: they hear of it from the next caller.
    pub(crate) fn settle_in_drop(self, outcome: Outcome) {
        let (machine, ticket, started) = (self.machine, self.ticket, self.started);
        std::mem::forget(self);
        machine.settle_in_drop(ticket, outcome, started);
    }

    /// Whether this call is one of the few that decide a half-open circuit.
    #[must_use]
    pub const fn is_probe(&self) -> bool {
        self.ticket.probe != 0
    }
}

impl Drop for CircuitPermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.machine.settle_in_drop(self.ticket, Outcome::Abandoned, self.started);
    }
}

impl fmt::Debug for CircuitPermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitPermit").field("is_probe", &self.is_probe()).finish_non_exhaustive()
    }
}
