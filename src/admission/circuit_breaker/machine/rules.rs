//! The rules: settings that may change while calls are under way, and what follows from them.

use super::{HALF_OPEN, KIND_MASK, Machine, NEVER, OPEN, RAMPING, TransitionCause, as_closed, bit, nanos_or_never, share};
use crate::admission::circuit_breaker::config::{CircuitBreakerConfig, Window};
use crate::admission::circuit_breaker::window::{CountWindow, Counts, TimeWindow};
use crate::sync::atomic::Ordering;
use crate::sync::lock;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Rules {
    /// Shared with the rules before, where they count over the same time.
    pub(super) window: Arc<TimeWindow>,
    pub(super) min_calls: u64,
    pub(super) close_after: u64,
    pub(super) lease: u64,
    pub(super) slower_than: Option<Duration>,
    /// Whether a permit has to know when it was given.
    pub(super) times_calls: bool,
    /// Whether a success in a closed circuit only has to be counted, in a window of time.
    pub(super) simple: bool,
    pub(super) config: CircuitBreakerConfig,
}

/// The window of time of a configuration; one without end where calls are counted.
pub(super) fn time_window(config: &CircuitBreakerConfig, shards: usize) -> TimeWindow {
    let length = match config.window {
        Window::Time(window) => window,
        Window::Count(_) => Duration::MAX,
    };
    TimeWindow::new(nanos_or_never(length), shards)
}

pub(super) fn count_window(config: &CircuitBreakerConfig) -> Option<CountWindow> {
    match config.window {
        Window::Time(_) => None,
        Window::Count(calls) => Some(CountWindow::new(calls)),
    }
}

impl Rules {
    pub(super) fn new(config: CircuitBreakerConfig, window: Arc<TimeWindow>) -> Self {
        Self {
            window,
            min_calls: config.enough_calls(),
            close_after: config.enough_successes().into(),
            lease: nanos_or_never(config.lease()),
            slower_than: config.slow.map(|(slower_than, _)| slower_than),
            times_calls: config.slow.is_some() || config.abandoned_after.is_some(),
            simple: config.slow.is_none() && !config.trip_on_success && matches!(config.window, Window::Time(_)),
            config,
        }
    }

    pub(super) const fn counts_calls(&self) -> bool {
        matches!(self.config.window, Window::Count(_))
    }

    /// The first rule not yet `told` that is broken. Each is looked at when something that counts against it happened.
    pub(super) fn broken(&self, counts: Counts, streak: u32, failure: bool, slow: bool, told: u8) -> Option<TransitionCause> {
        let any = self.config.trip_on_success;
        let enough = counts.calls >= self.min_calls;
        let consecutive = || failure && self.config.consecutive.is_some_and(|limit| streak >= limit);
        let rate =
            || enough && (failure || any) && self.config.failure_rate.is_some_and(|limit| share(counts.failures, counts.calls) >= limit);
        let slow_rate = || enough && (slow || any) && self.config.slow.is_some_and(|(_, limit)| share(counts.slow, counts.calls) >= limit);
        let unless_told = |cause, is_broken: &dyn Fn() -> bool| (told & bit(cause) == 0 && is_broken()).then_some(cause);
        unless_told(TransitionCause::ConsecutiveFailures, &consecutive)
            .or_else(|| unless_told(TransitionCause::FailureRate, &rate))
            .or_else(|| unless_told(TransitionCause::SlowCalls, &slow_rate))
    }
}

impl Machine {
    pub(in crate::admission::circuit_breaker) fn config(&self) -> CircuitBreakerConfig {
        self.rules().config.clone()
    }

    /// Goes on under other rules. The state stays, with its generation, its times and the probes that are out; so do the counts, unless
    /// they are to be taken over another window. `false`: the counts began anew.
    ///
    /// Tells nobody, for whoever calls this may hold a lock: what it causes waits in the outbox.
    pub(in crate::admission::circuit_breaker) fn reconfigure(&self, config: &CircuitBreakerConfig) -> bool {
        let now = Instant::now();
        let mut core = lock(&self.core);
        let (before, nanos) = (self.rules(), self.nanos(now));
        if before.config == *config {
            return true;
        }
        let same_window = before.config.window == config.window;
        let after = self.rules.change(
            |before| {
                let window = if same_window { Arc::clone(&before.window) } else { Arc::new(time_window(config, self.shards)) };
                Rules::new(config.clone(), window)
            },
            // Rules that come back have a window of their own, which is wiped; unless the window stays, for it has counts to keep.
            |known, made| known.config == made.config && (!same_window || Arc::ptr_eq(&known.window, &made.window)),
        );
        if !same_window {
            after.window.wipe();
            core.counted = count_window(config);
        }
        core.reported = 0;
        match self.face.word.load(Ordering::Relaxed) & KIND_MASK {
            // Opened for longer than it would be now, by rules that no longer hold.
            OPEN if config.longest_open() < before.config.longest_open() && core.open_time != NEVER => {
                let longest = nanos_or_never(config.longest_open());
                core.open_time = core.open_time.min(longest);
                self.face.open_time.store(core.open_time, Ordering::Release);
                self.face.longest_wait.store(core.open_time, Ordering::Release);
                let until = self.face.until.load(Ordering::Relaxed).min(nanos.saturating_add(longest));
                self.face.until.store(until, Ordering::Release);
            }
            RAMPING if config.ramp.is_none() => self.face.word.store(as_closed(self.face.word.load(Ordering::Relaxed)), Ordering::Release),
            HALF_OPEN => {
                core.round.ends = core.round.ends.min(self.round_ends(nanos));
                self.face.longest_wait.fetch_max(after.lease, Ordering::AcqRel);
                // The probes so far may be enough to decide now, and then no further one would ever come.
                self.decide(&mut core, now, None);
                if self.face.word.load(Ordering::Relaxed) & KIND_MASK == HALF_OPEN {
                    self.publish_places(&core);
                }
            }
            _ => {}
        }
        same_window
    }
}
