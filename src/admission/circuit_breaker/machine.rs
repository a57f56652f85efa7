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
//! What the lock protects (`Core`) is touched when something rare happens: a decision, a probe, a count window, a manual command.
//! No user code runs under it: transitions go to the outbox, and open times of the user's choice are asked for beforehand.

use super::config::{CircuitBreakerConfig, Window};
use super::events::{CircuitSnapshot, CircuitState, OpenFacts, Outbox, Transition, TransitionCause};
use super::window::{CountWindow, Counts, Streak, TimeWindow};
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::time;
use crate::versions::Versions;
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
/// Later than any clock.
const NEVER: u64 = u64::MAX;
/// So far the clock may go back before the breaker was made and still be told apart.
const BEFORE: u64 = 30 * 24 * 3600 * 1_000_000_000;
/// Fewer refusals further in than this say nothing about the round (a lone probe is refused once, and the next one goes).
const REFUSALS: u32 = 3;

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

/// A probe that is out.
#[derive(Debug)]
struct Probe {
    ticket: u64,
    lease_ends: u64,
}

/// One half-open round.
#[derive(Debug, Default)]
struct Round {
    out: Vec<Probe>,
    counts: Counts,
    /// Places refused further in, one after the other.
    refusals: u32,
    /// When it has lasted too long, in nanoseconds.
    ends: u64,
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
    streak: Streak,
    core: Mutex<Core>,
    pub(super) outbox: Outbox,
    stale: AtomicU64,
    epoch: Instant,
    shards: usize,
}

/// The settings, and what follows from them. They may change while calls are under way; the state stays.
#[derive(Debug)]
struct Rules {
    window: Arc<TimeWindow>,
    min_calls: u64,
    close_after: u64,
    lease: u64,
    slower_than: Option<Duration>,
    config: CircuitBreakerConfig,
}

impl Rules {
    fn new(config: CircuitBreakerConfig, window: Arc<TimeWindow>) -> Self {
        Self {
            window,
            min_calls: config.enough_calls(),
            close_after: config.enough_successes().into(),
            lease: nanos_or_never(config.lease()),
            slower_than: config.slow.map(|(slower_than, _)| slower_than),
            config,
        }
    }

    /// Whether a permit has to know when it was given.
    #[inline]
    const fn times_calls(&self) -> bool {
        self.slower_than.is_some() || self.config.abandoned_after.is_some()
    }

    #[inline]
    const fn counts_calls(&self) -> bool {
        matches!(self.config.window, Window::Count(_))
    }
}

/// The window of time of a configuration; one without end where calls are counted.
fn time_window(config: &CircuitBreakerConfig, shards: usize) -> TimeWindow {
    let length = match config.window {
        Window::Time(window) => window,
        Window::Count(_) => Duration::MAX,
    };
    TimeWindow::new(time::nanos(length), shards)
}

fn count_window(config: &CircuitBreakerConfig) -> Option<CountWindow> {
    match config.window {
        Window::Time(_) => None,
        Window::Count(calls) => Some(CountWindow::new(calls)),
    }
}

impl Machine {
    pub(super) fn new(config: CircuitBreakerConfig, shards: usize, now: Instant) -> Self {
        let (window, counted) = (time_window(&config, shards), count_window(&config));
        // Whole buckets before now, so that the first bucket begins now.
        let bucket = window.dial().bucket_nanos();
        let before = Duration::from_nanos(BEFORE / bucket * bucket);
        let round = Round { out: Vec::with_capacity(config.probes as usize), ..Round::default() };
        let random = config.seed.unwrap_or_else(rand::random);
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
            streak: Streak::default(),
            core: Mutex::new(core),
            outbox: Outbox::default(),
            stale: AtomicU64::new(0),
            epoch: now.checked_sub(before).unwrap_or(now),
            shards,
        }
    }

    #[inline]
    fn rules(&self) -> &Rules {
        self.rules.get()
    }

    pub(super) fn config(&self) -> CircuitBreakerConfig {
        self.rules().config.clone()
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into())
    }

    /// Whether a permit has to know when it was given.
    #[inline]
    pub(super) fn times_calls(&self) -> bool {
        self.rules().times_calls()
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
    pub(super) fn enter(&self, now: Instant) -> Result<Ticket, Rejected> {
        let nanos = self.nanos(now);
        let entered = match self.look(nanos) {
            Err(rejected) => Err(rejected),
            Ok(()) => self.enter_locked(now, nanos),
        };
        if entered.is_err() {
            self.count_refusal();
        }
        self.outbox.flush();
        entered
    }

    pub(super) fn count_refusal(&self) {
        self.rules().window.shard().refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn look_at(&self, now: Instant) -> Result<(), Rejected> {
        let nanos = self.nanos(now);
        self.look(nanos)?;
        if self.rules().config.half_open_for.is_some() { self.look_at_round(nanos) } else { Ok(()) }
    }

    #[inline]
    fn look(&self, nanos: u64) -> Result<(), Rejected> {
        let word = self.face.word.load(Ordering::Acquire);
        match word & KIND_MASK {
            OPEN | HALF_OPEN => {
                let until = self.face.until.load(Ordering::Acquire);
                if nanos >= until || (until != NEVER && until - nanos > self.face.longest_wait.load(Ordering::Acquire)) {
                    return Ok(());
                }
                Err(self.refusal(until, nanos))
            }
            ISOLATED => Err(Rejected::new(RejectedKind::CircuitOpen)),
            _ => Ok(()),
        }
    }

    /// A round may have run out of time although a place is free; then the circuit is as good as open.
    #[cold]
    fn look_at_round(&self, nanos: u64) -> Result<(), Rejected> {
        match self.effective(&lock(&self.core), nanos) {
            (CircuitState::Open, wait) => Err(self.refusal(wait.map_or(NEVER, |wait| nanos.saturating_add(wait)), nanos)),
            _ => Ok(()),
        }
    }

    fn refusal(&self, until: u64, nanos: u64) -> Rejected {
        let rejected = Rejected::new(RejectedKind::CircuitOpen);
        let wait = if until == NEVER { NEVER } else { until.saturating_sub(nanos) };
        match wait.min(self.face.open_time.load(Ordering::Acquire)) {
            NEVER => rejected,
            wait => rejected.with_retry_after(Duration::from_nanos(wait)),
        }
    }

    #[cold]
    fn enter_locked(&self, now: Instant, nanos: u64) -> Result<Ticket, Rejected> {
        let mut core = lock(&self.core);
        self.heal_clock(&mut core, nanos);
        self.end_long_round(&mut core, now, nanos);
        let until = self.face.until.load(Ordering::Relaxed);
        let mut word = self.face.word.load(Ordering::Relaxed);
        match word & KIND_MASK {
            OPEN if nanos < until => return Err(self.refusal(until, nanos)),
            OPEN => {
                let refused_so_far = core.decided_on;
                self.change(&mut core, HALF_OPEN, TransitionCause::OpenTimeOver, refused_so_far, now, None);
                word = self.face.word.load(Ordering::Relaxed);
            }
            HALF_OPEN => {}
            ISOLATED => return Err(Rejected::new(RejectedKind::CircuitOpen)),
            _ => return Ok(Ticket { word, probe: 0 }),
        }
        core.round.out.retain(|probe| probe.lease_ends > nanos);
        if self.places(&core.round) == 0 {
            self.publish_places(&core);
            return Err(self.refusal(self.face.until.load(Ordering::Relaxed), nanos));
        }
        let ticket = core.next_ticket;
        core.next_ticket += 1;
        core.round.out.push(Probe { ticket, lease_ends: nanos.saturating_add(self.rules().lease) });
        self.publish_places(&core);
        Ok(Ticket { word, probe: ticket })
    }

    /// How many more probes this round may have.
    fn places(&self, round: &Round) -> u64 {
        u64::from(self.rules().config.probes).saturating_sub(round.out.len() as u64).saturating_sub(round.counts.calls)
    }

    /// Tells the lock-free paths until when the round has no place.
    fn publish_places(&self, core: &Core) {
        let earliest = || core.round.out.iter().map(|probe| probe.lease_ends).min().unwrap_or(0).min(core.round.ends);
        let until = if self.places(&core.round) > 0 { 0 } else { earliest() };
        self.face.until.store(until, Ordering::Release);
    }

    /// A wait longer than any that was ever granted: the clock went back. The wait begins again, so nobody waits longer than twice.
    fn heal_clock(&self, core: &mut Core, nanos: u64) {
        let word = self.face.word.load(Ordering::Relaxed);
        match word & KIND_MASK {
            OPEN => {
                let until = self.face.until.load(Ordering::Relaxed);
                if until != NEVER && until.saturating_sub(nanos) > core.open_time {
                    self.face.until.store(nanos.saturating_add(core.open_time), Ordering::Release);
                }
            }
            HALF_OPEN => {
                let latest = nanos.saturating_add(self.rules().lease);
                core.round.out.iter_mut().for_each(|probe| probe.lease_ends = probe.lease_ends.min(latest));
                core.round.ends = core.round.ends.min(self.round_ends(nanos));
                self.publish_places(core);
            }
            _ => {}
        }
    }

    fn round_ends(&self, nanos: u64) -> u64 {
        self.rules().config.half_open_for.map_or(NEVER, |time| nanos.saturating_add(nanos_or_never(time)))
    }

    /// Opens again when a round ran out of time, as of the moment it did.
    fn end_long_round(&self, core: &mut Core, now: Instant, nanos: u64) {
        let half_open = self.face.word.load(Ordering::Relaxed) & KIND_MASK == HALF_OPEN;
        if half_open && nanos >= core.round.ends {
            let ended = core.round.ends;
            let counts = core.round.counts;
            self.change(core, OPEN, TransitionCause::HalfOpenTooLong, counts, now, None);
            if core.open_time != NEVER {
                self.face.until.store(ended.saturating_add(core.open_time), Ordering::Release);
            }
        }
    }

    // ---- out ----

    /// An outcome of a call that was let through. `now` is asked for where it is needed.
    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: impl FnOnce() -> Instant) {
        if ticket.probe != 0 {
            return self.settle_probe(ticket, outcome, started, Some(now()), true);
        }
        let rules = self.rules();
        if outcome.is_success() && !rules.times_calls() && !rules.config.trip_on_success && !rules.counts_calls() {
            // The common case, apart from the rest so that it stays small.
            if self.face.word.load(Ordering::Acquire) != ticket.word {
                self.count_stale();
            } else if ticket.word & KIND_MASK != DISABLED {
                let generation = generation_of(ticket.word);
                rules.window.success(generation, self.nanos(now()));
                if rules.config.consecutive.is_some() {
                    self.streak.success(generation);
                }
            }
            return;
        }
        self.settle_any(ticket, outcome, started, now, true);
    }

    fn settle_any(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: impl FnOnce() -> Instant, may_call_user: bool) {
        let abandoned = outcome == Outcome::Abandoned && self.rules().config.abandoned_after.is_some();
        if !outcome.is_success() && !outcome.is_failure() && !abandoned {
            return;
        }
        let now = now();
        let Some(weight) = self.weigh(outcome, started, now) else { return };
        if self.face.word.load(Ordering::Acquire) != ticket.word {
            self.count_stale();
        } else if ticket.word & KIND_MASK != DISABLED {
            self.record(ticket.word, weight, now, may_call_user);
            self.outbox.flush();
        }
    }

    #[cold]
    fn count_stale(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
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
        let counts = || rules.window.counts(generation, nanos);
        let counts = if rules.counts_calls() {
            let mut core = lock(&self.core);
            if self.face.word.load(Ordering::Relaxed) != word {
                drop(core);
                return self.count_stale();
            }
            core.counted.as_mut().map_or_else(Counts::default, |counted| {
                counted.push(failure, slow);
                counted.counts()
            })
        } else {
            if failure {
                rules.window.failure(generation, nanos);
            } else {
                rules.window.success(generation, nanos);
            }
            if slow {
                rules.window.slow(generation, nanos);
            }
            if !failure && !slow && !rules.config.trip_on_success {
                Counts::default()
            } else {
                // Two threads that break a rule together write to different words: each must see the other's.
                fence(Ordering::SeqCst);
                counts()
            }
        };
        let streak = match rules.config.consecutive {
            Some(_) if failure => self.streak.failure(generation),
            Some(_) => {
                self.streak.success(generation);
                0
            }
            None => 0,
        };
        let mut told = 0;
        while let Some(cause) = self.broken(rules, counts, streak, failure, slow, told) {
            if word & KIND_MASK != METRICS_ONLY {
                return self.trip(word, cause, counts, now, may_call_user);
            }
            self.report(word, cause, counts, now);
            told |= bit(cause);
        }
    }

    /// The first rule not yet `told` that is broken. Each is looked at when something that counts against it happened.
    fn broken(&self, rules: &Rules, counts: Counts, streak: u32, failure: bool, slow: bool, told: u8) -> Option<TransitionCause> {
        let any = rules.config.trip_on_success;
        let enough = counts.calls >= rules.min_calls;
        let consecutive = || failure && rules.config.consecutive.is_some_and(|limit| streak >= limit);
        let rate =
            || enough && (failure || any) && rules.config.failure_rate.is_some_and(|limit| share(counts.failures, counts.calls) >= limit);
        let slow_rate = || enough && (slow || any) && rules.config.slow.is_some_and(|(_, limit)| share(counts.slow, counts.calls) >= limit);
        let unless_told = |cause, is_broken: &dyn Fn() -> bool| (told & bit(cause) == 0 && is_broken()).then_some(cause);
        unless_told(TransitionCause::ConsecutiveFailures, &consecutive)
            .or_else(|| unless_told(TransitionCause::FailureRate, &rate))
            .or_else(|| unless_told(TransitionCause::SlowCalls, &slow_rate))
    }

    #[cold]
    fn trip(&self, word: u64, cause: TransitionCause, counts: Counts, now: Instant, may_call_user: bool) {
        let chosen = self.choose_open_time(counts, 0, may_call_user);
        let mut core = lock(&self.core);
        if self.face.word.load(Ordering::Relaxed) == word {
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

    /// The outcome of a probe. Without `now` (a permit dropped where nobody needs the time) it only gives its place back.
    pub(super) fn settle_probe(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        started: Option<Instant>,
        now: Option<Instant>,
        may_call_user: bool,
    ) {
        self.settle_probe_locked(ticket, outcome, started, now, may_call_user);
        self.outbox.flush();
    }

    fn settle_probe_locked(&self, ticket: Ticket, outcome: Outcome, started: Option<Instant>, now: Option<Instant>, may_call_user: bool) {
        let weight = now.and_then(|now| self.weigh(outcome, started, now));
        let mut core = lock(&self.core);
        if let Some(now) = now {
            let nanos = self.nanos(now);
            self.end_long_round(&mut core, now, nanos);
        }
        let mut chosen = None;
        if matches!(weight, Some(Weight::Bad { .. })) && self.rules().config.open_for_fn.is_some() && self.decides(&core, ticket) {
            let facts = add(core.round.counts, Weight::Bad { failure: true, slow: false });
            let failed_rounds = core.failed_rounds.saturating_add(1);
            drop(core);
            chosen = self.choose_open_time(facts, failed_rounds, may_call_user);
            core = lock(&self.core);
        }
        let place = core.round.out.iter().position(|probe| probe.ticket == ticket.probe);
        let (Some(place), true) = (place, self.face.word.load(Ordering::Relaxed) == ticket.word) else {
            drop(core);
            return if weight.is_some() {
                self.count_stale()
            };
        };
        let lease_ends = core.round.out.swap_remove(place).lease_ends;
        match (weight, now) {
            (Some(_), Some(now)) if self.nanos(now) >= lease_ends => {
                self.count_stale();
            }
            (Some(weight), Some(now)) => {
                core.round.refusals = 0;
                core.round.counts = add(core.round.counts, weight);
                self.decide(&mut core, now, chosen);
            }
            (_, Some(now)) if outcome == Outcome::NotAttempted => {
                core.round.refusals += 1;
                if core.round.refusals >= self.rules().config.probes.max(REFUSALS) {
                    let counts = core.round.counts;
                    self.change(&mut core, OPEN, TransitionCause::Inconclusive, counts, now, None);
                }
            }
            _ => {}
        }
        if self.face.word.load(Ordering::Relaxed) == ticket.word {
            self.publish_places(&core);
        }
    }

    /// Whether one more failed probe would open the circuit.
    fn decides(&self, core: &Core, ticket: Ticket) -> bool {
        self.face.word.load(Ordering::Relaxed) == ticket.word && self.lost(bad(core.round.counts) + 1)
    }

    /// Whether so many failed probes leave too few for the circuit to close.
    fn lost(&self, bad: u64) -> bool {
        bad > u64::from(self.rules().config.probes).saturating_sub(self.rules().close_after)
    }

    fn decide(&self, core: &mut Core, now: Instant, chosen: Option<Duration>) {
        let counts = core.round.counts;
        if self.lost(bad(counts)) {
            core.failed_rounds = core.failed_rounds.saturating_add(1);
            self.change(core, OPEN, TransitionCause::ProbesFailed, counts, now, chosen);
        } else if counts.calls - bad(counts) >= self.rules().close_after {
            self.change(core, CLOSED, TransitionCause::ProbesSucceeded, counts, now, None);
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
        let word = generation << KIND_BITS | kind;
        let nanos = self.nanos(now);
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
                self.streak.start(generation);
                if let Some(counted) = &mut core.counted {
                    counted.wipe();
                }
            }
            _ => {}
        }
        self.face.word.store(word, Ordering::Release);
        if old & KIND_MASK != kind {
            self.tell(old, word, cause, counts, now, open_for);
        }
    }

    fn tell(&self, old: u64, word: u64, cause: TransitionCause, counts: Counts, at: Instant, open_for: Option<Duration>) {
        let Counts { calls, failures, slow } = counts;
        let (from, to, generation) = (state_of(old), state_of(word), generation_of(word));
        self.outbox.push(Transition { from, to, generation, cause, at, calls, failures, slow_calls: slow, open_for });
    }

    // ---- by hand ----

    /// Goes to a state by hand. Where it is that already, nothing happens, unless `anew` begins it again.
    fn command(&self, kind: u64, anew: bool, chosen: Option<Duration>) {
        let now = Instant::now();
        let mut core = lock(&self.core);
        let word = self.face.word.load(Ordering::Relaxed);
        let nanos = self.nanos(now);
        let over = kind == OPEN && nanos >= self.face.until.load(Ordering::Relaxed);
        if anew || over || word & KIND_MASK != kind {
            let counts = self.counts(&core, word, nanos);
            self.change(&mut core, kind, TransitionCause::Manual, counts, now, chosen);
        }
        drop(core);
        self.outbox.flush();
    }

    pub(super) fn force_open(&self) {
        self.command(OPEN, false, None);
    }

    pub(super) fn open_for(&self, time: Duration) {
        self.command(OPEN, true, Some(time));
    }

    pub(super) fn force_close(&self) {
        self.command(CLOSED, false, None);
    }

    pub(super) fn reset(&self) {
        self.command(CLOSED, true, None);
    }

    pub(super) fn isolate(&self) {
        self.command(ISOLATED, false, None);
    }

    pub(super) fn disable(&self) {
        self.command(DISABLED, false, None);
    }

    pub(super) fn metrics_only(&self) {
        self.command(METRICS_ONLY, false, None);
    }

    pub(super) fn half_open(&self) -> bool {
        let now = Instant::now();
        let mut core = lock(&self.core);
        let possible = matches!(self.face.word.load(Ordering::Relaxed) & KIND_MASK, OPEN | HALF_OPEN);
        if possible {
            let counts = core.decided_on;
            self.change(&mut core, HALF_OPEN, TransitionCause::Manual, counts, now, None);
        }
        drop(core);
        self.outbox.flush();
        possible
    }

    /// Goes on under other rules. The state stays, with its generation, its times and the probes that are out; so do the counts, unless
    /// they are to be taken over another window. `false`: the counts began anew.
    ///
    /// Tells nobody: whoever calls this may hold a lock. See [`flush`](Outbox::flush).
    pub(super) fn reconfigure(&self, config: &CircuitBreakerConfig) -> bool {
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
            // Rules that come back have their own window, which is then wiped; unless the window stays, which has counts to keep.
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
            HALF_OPEN => {
                core.round.ends = core.round.ends.min(self.round_ends(nanos));
                // So many probes may be enough now to decide, and then no further one would ever come.
                self.decide(&mut core, now, None);
                if self.face.word.load(Ordering::Relaxed) & KIND_MASK == HALF_OPEN {
                    self.publish_places(&core);
                }
            }
            _ => {}
        }
        same_window
    }

    // ---- to read ----

    fn counts(&self, core: &Core, word: u64, nanos: u64) -> Counts {
        match (word & KIND_MASK, &core.counted) {
            (CLOSED | METRICS_ONLY, Some(counted)) => counted.counts(),
            (CLOSED | METRICS_ONLY, None) => self.rules().window.counts(generation_of(word), nanos),
            (HALF_OPEN, _) => core.round.counts,
            (OPEN | ISOLATED, _) => core.decided_on,
            _ => Counts::default(),
        }
    }

    /// The state as a call at `nanos` would find it, and when it may go.
    fn effective(&self, core: &Core, nanos: u64) -> (CircuitState, Option<u64>) {
        let word = self.face.word.load(Ordering::Relaxed);
        let mut until = self.face.until.load(Ordering::Relaxed);
        if word & KIND_MASK == HALF_OPEN {
            if nanos < core.round.ends {
                return (CircuitState::HalfOpen, (until != NEVER).then(|| until.saturating_sub(nanos)));
            }
            until = core.round.ends.saturating_add(core.open_time);
        } else if word & KIND_MASK != OPEN {
            return (state_of(word), None);
        }
        let wait = (until != NEVER).then(|| until.saturating_sub(nanos).min(core.open_time));
        (if wait == Some(0) { CircuitState::HalfOpen } else { CircuitState::Open }, wait)
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }

    pub(super) fn state(&self) -> CircuitState {
        let word = self.face.word.load(Ordering::Acquire);
        if matches!(word & KIND_MASK, OPEN | HALF_OPEN) {
            let nanos = self.nanos(Instant::now());
            return self.effective(&self.core(), nanos).0;
        }
        state_of(word)
    }

    pub(super) fn next_probe_in(&self) -> Option<Duration> {
        let nanos = self.nanos(Instant::now());
        self.effective(&self.core(), nanos).1.map(Duration::from_nanos)
    }

    pub(super) fn snapshot(&self) -> CircuitSnapshot {
        let nanos = self.nanos(Instant::now());
        let core = self.core();
        let word = self.face.word.load(Ordering::Relaxed);
        let (state, wait) = self.effective(&core, nanos);
        let counts = self.counts(&core, word, nanos);
        let rate = |n| (counts.calls > 0).then(|| share(n, counts.calls));
        CircuitSnapshot {
            state,
            generation: generation_of(word),
            calls: counts.calls,
            failures: counts.failures,
            slow_calls: counts.slow,
            failure_rate: rate(counts.failures),
            slow_call_rate: rate(counts.slow),
            consecutive_failures: self.streak.get(generation_of(word)),
            not_permitted: self.rules().window.refused(),
            probes_in_flight: core.round.out.iter().filter(|probe| probe.lease_ends > nanos).count() as u32,
            next_probe_in: wait.map(Duration::from_nanos),
            stale: self.stale.load(Ordering::Relaxed),
            listener_panics: self.outbox.panics.load(Ordering::Relaxed),
        }
    }

    /// For the permit's `Drop`: says nothing unless abandoned calls count, and calls no user function.
    pub(super) fn abandon(&self, ticket: Ticket, started: Option<Instant>) {
        let timed = self.rules().config.abandoned_after.is_some();
        if ticket.probe != 0 {
            self.settle_probe(ticket, Outcome::Abandoned, started, timed.then(Instant::now), false);
        } else if timed {
            self.settle_any(ticket, Outcome::Abandoned, started, Instant::now, false);
        }
    }
}

/// Rounded once, so a share that equals the threshold as written (7 of 100 and 0.07) is the same number as the threshold.
fn share(part: u64, whole: u64) -> f64 {
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

/// A probe counts once, however bad it was: the round keeps bad probes as failures.
const fn bad(counts: Counts) -> u64 {
    counts.failures
}

fn add(mut counts: Counts, weight: Weight) -> Counts {
    counts.calls += 1;
    if let Weight::Bad { slow, .. } = weight {
        counts.failures += 1;
        counts.slow += u64::from(slow);
    }
    counts
}

fn nanos_or_never(time: Duration) -> u64 {
    time::nanos(time)
}

/// A number in [0, 1) of a well-stirred seed (splitmix64).
fn unit(seed: u64) -> f64 {
    let mut x = seed;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}
