//! The state machine: what is decided, when, and by whom.
//!
//! # Implementation details
//!
//! `word` packs the state's kind (3 bits) and its generation (the rest); it changes only under the lock, and every permit carries the
//! word it was given under. So a closed circuit costs one load to enter and, to leave, one load, one comparison and one record:
//! whoever settles under another word is of an earlier state and counts as stale, nothing else.
//!
//! `until` is the moment before which nobody is let through: the end of the open time, or, half-open with every probe out, the end
//! of the earliest lease (0 while a place is free). It lets refusals go without the lock. Whoever finds it passed takes the lock and
//! looks again, so the one who makes the circuit half-open also takes the first probe, and 10,000 at that instant get `probes`.
//!
//! `RAMPING` is a closed circuit that does not let everybody in yet: see `ramp.rs`.
//!
//! What the lock protects (`Core`) is touched when something rare happens: a decision, a probe, a count window, a manual command.
//! No user code runs under it: transitions go to the outbox, and open times of the user's choice are asked for beforehand.

mod control;
mod ramp;
mod round;
mod rules;
#[cfg(feature = "store")]
mod shared;
#[cfg(all(test, not(steadfast_loom)))]
mod tests;

#[cfg(feature = "store")]
pub(crate) use shared::Glance;

use super::config::CircuitBreakerConfig;
use super::events::{CircuitState, OpenFacts, Outbox, Transition, TransitionCause};
use super::window::{CountWindow, Counts, Streak};
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Mutex, Padded, lock};
use crate::time;
use crate::versions::Versions;
use ramp::{Ramp, as_closed};
use round::Round;
use rules::Rules;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const ISOLATED: u64 = 3;
const DISABLED: u64 = 4;
const METRICS_ONLY: u64 = 5;
/// Closed, and warming up: told as closed.
const RAMPING: u64 = 6;
/// Later than any clock.
const NEVER: u64 = u64::MAX;
/// So far the clock may go back before the breaker was made and still be told apart.
const BEFORE: u64 = 30 * 24 * 3600 * 1_000_000_000;
const fn state_of(word: u64) -> CircuitState {
    match word & KIND_MASK {
        OPEN => CircuitState::Open,
        HALF_OPEN => CircuitState::HalfOpen,
        ISOLATED => CircuitState::Isolated,
        DISABLED => CircuitState::Disabled,
        METRICS_ONLY => CircuitState::MetricsOnly,
        _ => CircuitState::Closed,
    }
}

const fn generation_of(word: u64) -> u64 {
    word >> KIND_BITS
}

/// What a permit is worth: the word it was given under, and which probe it is (0 for none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) word: u64,
    pub(super) probe: u64,
}

/// Not now: come back after so many nanoseconds. A number, so that what callers get is made once, where they get it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal(u64);

impl From<Refusal> for Rejected {
    #[inline]
    fn from(Refusal(wait): Refusal) -> Self {
        let rejected = Self::new(RejectedKind::CircuitOpen);
        if wait == NEVER { rejected } else { rejected.with_retry_after(Duration::from_nanos(wait)) }
    }
}

#[derive(Debug)]
struct Core {
    round: Round,
    counted: Option<CountWindow>,
    /// What the last decision was made on.
    decided_on: Counts,
    failed_rounds: u32,
    /// The present open time, in nanoseconds.
    open_time: u64,
    next_ticket: u64,
    random: u64,
    /// Rules that were broken and reported in the present `MetricsOnly` state, as bits.
    reported: u8,
}

/// How an outcome counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Good,
    Bad { failure: bool, slow: bool },
}

/// What the lock-free paths read; on cache lines of its own, for it is read by all and written rarely.
#[derive(Debug)]
#[repr(align(128))]
struct Face {
    word: AtomicU64,
    until: AtomicU64,
    /// No wait is longer than this; one that seems to be tells that the clock went back.
    longest_wait: AtomicU64,
    /// Never told a caller to wait longer than this.
    open_time: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Machine {
    face: Face,
    rules: Versions<Rules>,
    streak: Padded<Streak>,
    core: Mutex<Core>,
    ramp: Padded<Ramp>,
    pub(super) outbox: Outbox,
    stale: Padded<AtomicU64>,
    epoch: Instant,
    shards: usize,
}

impl Machine {
    pub(super) fn new(config: CircuitBreakerConfig, shards: usize, now: Instant) -> Self {
        let (window, counted) = (rules::time_window(&config, shards), rules::count_window(&config));
        // Whole buckets before now, so that the first bucket begins now.
        let bucket = window.dial().bucket_nanos();
        let before = Duration::from_nanos(BEFORE / bucket * bucket);
        let round = Round { out: Vec::with_capacity(config.probes as usize), ..Round::default() };
        let random = config.seed.or_else(crate::chance::simulated).unwrap_or_else(crate::random::bits);
        let core =
            Core { round, counted, decided_on: Counts::default(), failed_rounds: 0, open_time: 0, next_ticket: 1, random, reported: 0 };
        Self {
            face: Face {
                word: AtomicU64::new(CLOSED),
                until: AtomicU64::new(0),
                longest_wait: AtomicU64::new(NEVER),
                open_time: AtomicU64::new(NEVER),
            },
            rules: Versions::new(Rules::new(config, Arc::new(window))),
            streak: Padded::default(),
            core: Mutex::new(core),
            ramp: Padded::default(),
            outbox: Outbox::default(),
            stale: Padded::default(),
            epoch: now.checked_sub(before).unwrap_or(now),
            shards,
        }
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into())
    }

    #[inline]
    fn rules(&self) -> &Rules {
        self.rules.get()
    }

    /// Whether a permit has to know when it was given.
    #[inline]
    pub(super) fn times_calls(&self) -> bool {
        self.rules().times_calls
    }

    pub(super) fn times_slow_calls(&self) -> bool {
        self.rules().slower_than.is_some()
    }

    // ---- in ----

    /// A permit, where the state alone says yes.
    #[inline]
    pub(super) fn pass(&self) -> Option<Ticket> {
        let word = self.face.word.load(Ordering::Acquire);
        matches!(word & KIND_MASK, CLOSED | METRICS_ONLY | DISABLED).then_some(Ticket { word, probe: 0 })
    }

    /// A permit, where the state does not say yes at once.
    #[inline]
    pub(super) fn enter(&self, now: Instant) -> Result<Ticket, Refusal> {
        let nanos = self.nanos(now);
        let word = self.face.word.load(Ordering::Acquire);
        let entered = match self.look(nanos) {
            Err(refusal) => Err(refusal),
            Ok(()) if word & KIND_MASK == RAMPING => self.climb(word, nanos),
            Ok(()) => self.enter_locked(now, nanos),
        };
        if entered.is_err() {
            self.count_refusal();
        }
        self.outbox.flush();
        entered
    }

    #[inline]
    pub(super) fn count_refusal(&self) {
        self.rules().window.shard().refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn look_at(&self, now: Instant) -> Result<(), Refusal> {
        let nanos = self.nanos(now);
        self.look(nanos)?;
        if self.rules().config.half_open_for.is_some() { self.look_at_round(nanos) } else { Ok(()) }
    }

    #[inline]
    fn look(&self, nanos: u64) -> Result<(), Refusal> {
        let word = self.face.word.load(Ordering::Acquire);
        match word & KIND_MASK {
            OPEN | HALF_OPEN => {
                let until = self.face.until.load(Ordering::Acquire);
                if nanos >= until || (until != NEVER && until - nanos > self.face.longest_wait.load(Ordering::Acquire)) {
                    return Ok(());
                }
                Err(self.refusal(until, nanos))
            }
            ISOLATED => Err(Refusal(NEVER)),
            _ => Ok(()),
        }
    }

    #[inline]
    fn refusal(&self, until: u64, nanos: u64) -> Refusal {
        let wait = if until == NEVER { NEVER } else { until.saturating_sub(nanos) };
        Refusal(wait.min(self.face.open_time.load(Ordering::Acquire)))
    }

    // ---- out ----

    /// An outcome of a call that was let through. Without `now` the clock is read where it is needed.
    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: Option<Instant>) {
        let rules = self.rules();
        if outcome.is_success() && rules.simple && ticket.probe == 0 && ticket.word & KIND_MASK == CLOSED {
            // The common case, apart from the rest so that it stays small.
            if self.face.word.load(Ordering::Acquire) != ticket.word && !self.is_current(ticket.word) {
                return self.count_stale();
            }
            let generation = generation_of(ticket.word);
            rules.window.success(generation, self.nanos(now.unwrap_or_else(Instant::now)));
            self.streak.0.success(generation);
        } else {
            self.settle_rest(ticket, outcome, started, now);
        }
    }

    #[inline(never)]
    fn settle_rest(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: Option<Instant>) {
        if ticket.probe == 0 {
            self.settle_any(ticket, outcome, started, || now.unwrap_or_else(Instant::now), true);
        } else {
            self.settle_probe(ticket, outcome, started, Some(now.unwrap_or_else(Instant::now)), true);
        }
    }

    fn settle_any(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: impl FnOnce() -> Instant, may_call_user: bool) {
        let abandoned = outcome == Outcome::Abandoned && self.rules().config.abandoned_after.is_some();
        if !outcome.is_success() && !outcome.is_failure() && !abandoned {
            return;
        }
        let now = now();
        let Some(weight) = self.weigh(outcome, started, now) else { return };
        if !self.is_current(ticket.word) {
            self.count_stale();
        } else if ticket.word & KIND_MASK != DISABLED {
            self.record(ticket.word, weight, now, may_call_user);
            self.outbox.flush_from(may_call_user);
        }
    }

    #[cold]
    fn count_stale(&self) {
        self.stale.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How an outcome counts; `None` says nothing.
    fn weigh(&self, outcome: Outcome, started: Option<Instant>, now: Instant) -> Option<Weight> {
        let age = started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started));
        let old = || started.is_some() && self.rules().config.abandoned_after.is_some_and(|limit| age >= limit);
        let failure = match outcome {
            Outcome::Abandoned if old() => true,
            outcome if outcome.is_failure() => true,
            outcome if outcome.is_success() => false,
            _ => return None,
        };
        let slow = self.rules().slower_than.is_some_and(|limit| age > limit);
        Some(if failure || slow { Weight::Bad { failure, slow } } else { Weight::Good })
    }

    /// Records one outcome in a closed (or metrics-only) circuit, and opens it if that broke a rule.
    fn record(&self, word: u64, weight: Weight, now: Instant, may_call_user: bool) {
        let (rules, generation, nanos) = (self.rules(), generation_of(word), self.nanos(now));
        let (failure, slow) = match weight {
            Weight::Good => (false, false),
            Weight::Bad { failure, slow } => (failure, slow),
        };
        let counted = if rules.counts_calls() {
            self.count(rules, word, failure, slow)
        } else {
            self.count_in_time(rules, generation, nanos, weight)
        };
        let Some((counts, streak)) = counted else { return };
        let mut told = 0;
        while let Some(cause) = rules.broken(counts, streak, failure, slow, told) {
            if word & KIND_MASK != METRICS_ONLY {
                return self.trip(word, cause, counts, now, may_call_user);
            }
            self.report(word, cause, counts, now);
            told |= bit(cause);
        }
    }

    /// Failures in a row, with this outcome. Counted after the window is, so that whoever completes a streak finds all of it there.
    fn streak(&self, rules: &Rules, generation: u64, failure: bool) -> u32 {
        match rules.config.consecutive {
            Some(_) if failure => return self.streak.0.failure(generation),
            Some(_) => self.streak.0.success(generation),
            None => {}
        }
        0
    }

    /// Counts one outcome in a count window; `None` where it came too late.
    fn count(&self, rules: &Rules, word: u64, failure: bool, slow: bool) -> Option<(Counts, u32)> {
        let mut core = lock(&self.core);
        if !self.is_current(word) {
            drop(core);
            self.count_stale();
            return None;
        }
        let counted = core.counted.as_mut()?;
        counted.push(failure, slow);
        Some((counted.counts(), self.streak(rules, generation_of(word), failure)))
    }

    /// Counts one outcome in a window of time; `None` where no rule can be broken by it.
    fn count_in_time(&self, rules: &Rules, generation: u64, nanos: u64, weight: Weight) -> Option<(Counts, u32)> {
        match weight {
            Weight::Bad { failure: true, .. } => rules.window.failure(generation, nanos),
            _ => rules.window.success(generation, nanos),
        }
        if let Weight::Bad { slow: true, .. } = weight {
            rules.window.slow(generation, nanos);
        }
        let streak = self.streak(rules, generation, matches!(weight, Weight::Bad { failure: true, .. }));
        if weight == Weight::Good && !rules.config.trip_on_success {
            return None;
        }
        // Two threads that break a rule together write to different words: each must see the other's.
        fence(Ordering::SeqCst);
        // There are at least so many calls as count against the rule, so fewer of those need not be held against the successes.
        let hopeless = |n: u64, limit: Option<f64>| limit.is_none_or(|limit| share(n, n.max(rules.min_calls)) < limit);
        let in_a_row = rules.config.consecutive.is_some_and(|limit| streak >= limit);
        let worth = |failures, slow| {
            in_a_row || !hopeless(failures, rules.config.failure_rate) || !hopeless(slow, rules.config.slow.map(|(_, limit)| limit))
        };
        rules.window.counts_if(generation, nanos, worth).map(|counts| (counts, streak))
    }

    #[cold]
    fn trip(&self, word: u64, cause: TransitionCause, counts: Counts, now: Instant, may_call_user: bool) {
        let chosen = self.choose_open_time(counts, 0, may_call_user);
        let mut core = lock(&self.core);
        if self.is_current(word) {
            self.change(&mut core, OPEN, cause, counts, now, chosen);
        } // else another failure was first
    }

    /// Says once that a rule is broken which may not open the circuit now.
    #[cold]
    fn report(&self, word: u64, cause: TransitionCause, counts: Counts, now: Instant) {
        let mut core = lock(&self.core);
        if self.face.word.load(Ordering::Relaxed) == word && core.reported & bit(cause) == 0 {
            core.reported |= bit(cause);
            self.tell(word, word, cause, counts, now, None);
        }
    }

    // ---- transitions ----

    /// Asks the user's function, if there is one and this is a place for user code. Called without any lock.
    fn choose_open_time(&self, counts: Counts, failed_rounds: u32, may_call_user: bool) -> Option<Duration> {
        let choose = self.rules().config.open_for_fn?.0;
        if !may_call_user || std::thread::panicking() {
            return None;
        }
        let failure_rate = share(counts.failures, counts.calls);
        let facts = OpenFacts { calls: counts.calls, failures: counts.failures, failure_rate, failed_rounds };
        self.outbox.guarded(|| choose(&facts))
    }

    fn ordinary_open_time(&self, core: &mut Core) -> u64 {
        let time = nanos_or_never(self.rules().config.open_time(core.failed_rounds));
        if time == NEVER || self.rules().config.open_jitter == 0.0 {
            return time;
        }
        core.random = core.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let off = self.rules().config.open_jitter * unit(core.random);
        (time - ((time as f64 * off) as u64).min(time)).max(1)
    }

    /// Begins a new state. The word comes last, so that whoever sees it sees the rest.
    fn change(&self, core: &mut Core, kind: u64, cause: TransitionCause, counts: Counts, now: Instant, chosen: Option<Duration>) {
        let old = self.face.word.load(Ordering::Relaxed);
        let generation = generation_of(old).wrapping_add(1);
        let nanos = self.nanos(now);
        // It comes back as cold when somebody else's probes have found out.
        let found_out = matches!(cause, TransitionCause::ProbesSucceeded | TransitionCause::Shared);
        let face = if kind == CLOSED && found_out { self.kind_after_probes(nanos) } else { kind };
        let word = generation << KIND_BITS | face;
        let mut open_for = None;
        self.rules().window.forget_refused();
        core.round.out.clear();
        core.round.counts = Counts::default();
        core.round.refusals = 0;
        core.round.ends = NEVER;
        match kind {
            OPEN => {
                core.decided_on = counts;
                core.open_time = chosen.map_or_else(|| self.ordinary_open_time(core), nanos_or_never);
                open_for = (core.open_time != NEVER).then(|| Duration::from_nanos(core.open_time));
                let until = if core.open_time == NEVER { NEVER } else { nanos.saturating_add(core.open_time) };
                self.face.open_time.store(core.open_time, Ordering::Release);
                self.face.longest_wait.store(core.open_time, Ordering::Release);
                self.face.until.store(until, Ordering::Release);
            }
            HALF_OPEN => {
                core.round.ends = self.round_ends(nanos);
                let longest = self.rules().config.half_open_for.map_or(NEVER, nanos_or_never).min(self.rules().lease);
                self.face.longest_wait.store(longest, Ordering::Release);
                self.face.until.store(0, Ordering::Release);
            }
            CLOSED | METRICS_ONLY | DISABLED => {
                core.failed_rounds = 0;
                core.reported = 0;
                core.decided_on = Counts::default();
                self.rules().window.wipe();
                self.streak.0.start(generation);
                if let Some(counted) = &mut core.counted {
                    counted.wipe();
                }
            }
            _ => {}
        }
        self.face.word.store(word, Ordering::Release);
        if as_closed(old) & KIND_MASK != kind {
            self.tell(old, word, cause, counts, now, open_for);
        }
    }

    fn tell(&self, old: u64, word: u64, cause: TransitionCause, counts: Counts, at: Instant, open_for: Option<Duration>) {
        let Counts { calls, failures, slow } = counts;
        let (from, to, generation) = (state_of(old), state_of(word), generation_of(word));
        self.outbox.push(Transition { from, to, generation, cause, at, calls, failures, slow_calls: slow, open_for });
    }

    /// For a `Drop`: calls no user code. A call dropped by its caller says nothing unless abandoned calls count.
    pub(super) fn settle_in_drop(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>) {
        let timed = outcome != Outcome::Abandoned || self.rules().config.abandoned_after.is_some();
        if ticket.probe != 0 {
            self.settle_probe(ticket, outcome, started, timed.then(Instant::now), false);
        } else if timed {
            self.settle_any(ticket, outcome, started, Instant::now, false);
        }
    }
}

/// Rounded once, so a share that equals the threshold as written (7 of 100 and 0.07) is the same number as the threshold.
pub(in crate::admission) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// One bit for each rule.
const fn bit(cause: TransitionCause) -> u8 {
    match cause {
        TransitionCause::FailureRate => 1,
        TransitionCause::ConsecutiveFailures => 2,
        _ => 4,
    }
}

fn nanos_or_never(time: Duration) -> u64 {
    time::nanos(time)
}

/// A number in [0, 1) of a well-stirred seed (splitmix64).
pub(in crate::admission) fn unit(seed: u64) -> f64 {
    let mut x = seed;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
