//! What a circuit breaker tells: its state, a snapshot of it, and its transitions as they happen.

use crate::guarded::guarded;
use crate::outcome::Seconds;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{OnceLock, Weak};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How many transitions a subscriber may fall behind before it loses the oldest.
const KEPT: usize = 64;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Calls go through and are counted.
    Closed,
    /// Calls are refused until the open time is over.
    Open,
    /// A few probes go through; they decide.
    HalfOpen,
    /// Calls are refused until someone closes the circuit by hand.
    Isolated,
    /// Calls go through and nothing is counted.
    Disabled,
    /// Calls go through and are counted; no rule opens the circuit.
    MetricsOnly,
}

impl CircuitState {
    /// A short, stable name in snake case, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Isolated => "isolated",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }
}

impl fmt::Display for CircuitState {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// Too large a share of the calls failed.
    FailureRate,
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// Too large a share of the calls was slow.
    SlowCalls,
    /// The open time is over.
    OpenTimeOver,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// Too many probes failed.
    ProbesFailed,
    /// The probes were refused further in, one after the other: nothing was learnt, so the circuit is open for one more open time.
    Inconclusive,
    /// The round lasted longer than `half_open_for` without a decision.
    HalfOpenTooLong,
    /// Someone called a method such as `isolate()`.
    Manual,
    /// Another process said so, which shares this circuit: see `store::breaker`.
    Shared,
}

impl TransitionCause {
    /// A short, stable name in snake case, for metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRate => "failure_rate",
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::SlowCalls => "slow_calls",
            Self::OpenTimeOver => "open_time_over",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbesFailed => "probes_failed",
            Self::Inconclusive => "inconclusive",
            Self::HalfOpenTooLong => "half_open_too_long",
            Self::Manual => "manual",
            Self::Shared => "shared",
        }
    }
}

/// A change of state. `from` and `to` differ, except where a rule was broken that `MetricsOnly` forbids to act: then both are
/// `MetricsOnly`, once per rule.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Transition {
    /// The state that ended.
    pub from: CircuitState,
    /// The state that began.
    pub to: CircuitState,
    /// The generation that began; it grows with every change.
    pub generation: u64,
    /// Why.
    pub cause: TransitionCause,
    /// When.
    pub at: Instant,
    /// The calls that the decision was made on: those of the window, or the probes of the round.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow.
    pub slow_calls: u64,
    /// How long the circuit stays open; `None` where it does not open, or stays open until it is closed by hand.
    pub open_for: Option<Duration>,
}

/// What [`open_for_fn`](super::CircuitBreakerConfig::open_for_fn) chooses an open time from.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct OpenFacts {
    /// The calls that the decision was made on: those of the window, or the probes of the round.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// `failures / calls`.
    pub failure_rate: f64,
    /// How many rounds of probes failed since the circuit was last closed; 0 when it opens for the first time.
    pub failed_rounds: u32,
}

/// A breaker at one moment. Taking it changes nothing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CircuitSnapshot {
    /// The state, as a call at this moment would find it.
    pub state: CircuitState,
    /// How many times the state changed, or was reset.
    pub generation: u64,
    /// Closed: calls in the window. Open: calls that the decision was made on. Half-open: probes that decided something.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
    /// How many of them were slow (with a rule on slow calls).
    pub slow_calls: u64,
    /// `failures / calls`; `None` without calls.
    pub failure_rate: Option<f64>,
    /// `slow_calls / calls`; `None` without calls.
    pub slow_call_rate: Option<f64>,
    /// Failures in a row (with a rule on them).
    pub consecutive_failures: u32,
    /// Calls refused since the state began.
    pub not_permitted: u64,
    /// Probes that are out now.
    pub probes_in_flight: u32,
    /// When the next probe may go: `None` where calls go through anyway, or where only a hand can close the circuit.
    pub next_probe_in: Option<Duration>,
    /// For how long the circuit still warms up, so that only a share of calls goes through; `None` where it does not (see
    /// [`ramp`](super::CircuitBreakerConfig::ramp)).
    pub ramp_left: Option<Duration>,
    /// Outcomes that came too late to count, ever: of calls that an earlier state let through, or of probes past their lease.
    pub stale: u64,
    /// Panics of listeners and of `open_for_fn` that were caught, ever.
    pub listener_panics: u64,
}

/// `open, 12 of 20 failed, 3 refused, next probe in 4.2 s`.
impl fmt::Display for CircuitSnapshot {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} of {} failed, {} refused", self.state, self.failures, self.calls, self.not_permitted)?;
        if let Some(wait) = self.next_probe_in {
            write!(f, ", next probe in {}", Seconds(wait))?;
        }
        match self.ramp_left {
            Some(left) => write!(f, ", warming up for {}", Seconds(left)),
            None => Ok(()),
        }
    }
}

/// The transitions of one breaker, from [`subscribe`](super::CircuitBreaker::subscribe) on.
///
/// Holds the last 64: a subscriber that falls further behind loses the oldest, and [`missed`](Self::missed) says how many. It never
/// delays a call.
#[derive(Debug)]
pub struct Transitions {
    receiver: broadcast::Receiver<Transition>,
    missed: u64,
}

impl Transitions {
    /// The next transition; `None` when the breaker is gone and all are read.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Transition> {
        loop {
            match self.receiver.recv().await {
                Ok(transition) => return Some(transition),
                Err(broadcast::error::RecvError::Lagged(lost)) => self.missed = self.missed.saturating_add(lost),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next transition if there is one already.
    #[inline]
    pub fn try_next(&mut self) -> Option<Transition> {
        loop {
            match self.receiver.try_recv() {
                Ok(transition) => return Some(transition),
                Err(broadcast::error::TryRecvError::Lagged(lost)) => self.missed = self.missed.saturating_add(lost),
                Err(_) => return None,
            }
        }
    }

    /// How many transitions this subscriber was too slow for.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

/// Is told of each transition, in order.
pub(crate) trait Listener: Send + Sync {
    fn hear(&self, transition: &Transition);
}

impl<F: Fn(&Transition) + Send + Sync> Listener for F {
    fn hear(&self, transition: &Transition) {
        self(transition);
    }
}

#[derive(Default)]
struct Queue {
    /// Transitions nobody was told of yet.
    fresh: VecDeque<Transition>,
    /// Transitions that subscribers know and listeners do not.
    untold: VecDeque<Transition>,
    /// Weak: a shared breaker outlives the pipelines that listen to it.
    listeners: Vec<Weak<dyn Listener>>,
    /// Somebody is sending to subscribers, or telling listeners: so each hears in order, and a slow listener delays no subscriber.
    sending: bool,
    telling: bool,
}

/// Where transitions wait between the lock they were made under and those who are told, so that listeners hear of them in order,
/// under no lock, and never from a `Drop` or a thread that unwinds: what happens there, the next caller tells.
#[derive(Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    waiting: AtomicBool,
    sender: OnceLock<broadcast::Sender<Transition>>,
    pub(super) panics: AtomicU64,
}

impl Outbox {
    #[inline]
    pub(super) fn subscribe(&self) -> Transitions {
        let receiver = self.sender.get_or_init(|| broadcast::Sender::new(KEPT)).subscribe();
        Transitions { receiver, missed: 0 }
    }

    pub(super) fn listen(&self, listener: Weak<dyn Listener>) {
        let mut queue = lock(&self.queue);
        if queue.listeners.spare_capacity_mut().is_empty() {
            // Before it grows, and so rarely: as many as are there, whoever came and went.
            queue.listeners.retain(|listener| listener.strong_count() > 0);
        }
        queue.listeners.push(listener);
    }

    #[cfg(all(test, not(steadfast_loom)))]
    pub(super) fn listeners(&self) -> usize {
        lock(&self.queue).listeners.len()
    }

    /// Called under the breaker's lock, so that the order is that of the transitions.
    pub(super) fn push(&self, transition: Transition) {
        let mut queue = lock(&self.queue);
        queue.fresh.push_back(transition);
        self.waiting.store(true, Ordering::Release);
    }

    /// Tells what waits to be told. Called without any lock; costs one load when nothing waits.
    #[inline]
    pub(super) fn flush(&self) {
        self.flush_from(true);
    }

    /// The same; from a `Drop`, where user code has no place, listeners are left to the next caller.
    #[inline]
    pub(super) fn flush_from(&self, may_call_user: bool) {
        if self.waiting.load(Ordering::Acquire) {
            self.drain(may_call_user && !std::thread::panicking());
        }
    }

    #[cold]
    fn drain(&self, heard: bool) {
        let mut queue = lock(&self.queue);
        loop {
            // Another thread, or a caller of this one, that is at it already will see what was pushed.
            if let Some(transition) = if queue.sending { None } else { queue.fresh.pop_front() } {
                queue.sending = true;
                drop(queue);
                if let Some(sender) = self.sender.get() {
                    // Wakers are code of somebody else's too.
                    let _nobody_subscribed = self.guarded(|| sender.send(transition.clone()));
                }
                queue = lock(&self.queue);
                queue.sending = false;
                if !queue.listeners.is_empty() {
                    if queue.untold.len() == KEPT {
                        queue.untold.pop_front();
                    }
                    queue.untold.push_back(transition);
                }
            } else if let Some(transition) = if heard && !queue.telling { queue.untold.pop_front() } else { None } {
                queue.telling = true;
                let listeners = queue.listeners.clone();
                drop(queue);
                for listener in listeners {
                    // Whoever holds a listener last drops it, and that is user code as well.
                    self.guarded(|| listener.upgrade().inspect(|listener| listener.hear(&transition)).is_some());
                }
                queue = lock(&self.queue);
                queue.telling = false;
            } else {
                break;
            }
        }
        // What is fresh still, somebody else is sending.
        self.waiting.store(!queue.telling && !queue.untold.is_empty(), Ordering::Release);
    }

    /// Runs user code, and counts its panic.
    pub(super) fn guarded<T>(&self, user: impl FnOnce() -> T) -> Option<T> {
        let answer = guarded(user);
        if answer.is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

impl fmt::Debug for Outbox {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("panics", &self.panics).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn names_are_stable() {
        use {CircuitState as S, TransitionCause as C};
        let states = [S::Closed, S::Open, S::HalfOpen, S::Isolated, S::Disabled, S::MetricsOnly].map(CircuitState::as_str);
        assert_eq!(states, ["closed", "open", "half_open", "isolated", "disabled", "metrics_only"]);
        for (cause, name) in [
            (C::FailureRate, "failure_rate"),
            (C::ConsecutiveFailures, "consecutive_failures"),
            (C::SlowCalls, "slow_calls"),
            (C::OpenTimeOver, "open_time_over"),
            (C::ProbesSucceeded, "probes_succeeded"),
            (C::ProbesFailed, "probes_failed"),
            (C::Inconclusive, "inconclusive"),
            (C::HalfOpenTooLong, "half_open_too_long"),
            (C::Manual, "manual"),
            (C::Shared, "shared"),
        ] {
            assert_eq!(cause.as_str(), name);
        }
    }

    #[test]
    fn what_waits_to_be_told_is_known_without_a_lock_and_no_longer_than_it_waits() {
        let transition = Transition {
            from: CircuitState::Closed,
            to: CircuitState::Isolated,
            generation: 1,
            cause: TransitionCause::Manual,
            at: Instant::now(),
            calls: 0,
            failures: 0,
            slow_calls: 0,
            open_for: None,
        };
        let outbox = Outbox::default();
        let waits = || outbox.waiting.load(Ordering::Acquire);
        outbox.push(transition.clone());
        assert!(waits());
        outbox.flush_from(false);
        assert!(!waits(), "nobody listens");
        let (heard, listener) = {
            let heard = Arc::new(AtomicU64::new(0));
            let ear = Arc::clone(&heard);
            let listener: Arc<dyn Listener> = Arc::new(move |_: &Transition| _ = ear.fetch_add(1, Ordering::Relaxed));
            (heard, listener)
        };
        outbox.listen(Arc::downgrade(&listener));
        outbox.push(transition);
        outbox.flush_from(false);
        assert!(waits(), "a listener is left to the next caller");
        outbox.flush();
        assert!(!waits());
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }
}
