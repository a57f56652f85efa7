//! The throttle as a plain machine: no timer, no lock, time comes in as an argument.
//!
//! # Implementation details
//!
//! `word` is a mode (of four, three are used) and a generation. While nothing is held back, a call reads it on the way in, and on the way out reads
//! it again and counts itself in its thread's shard. A new generation begins when an outage is forgotten: what was counted before is
//! no longer seen, and outcomes of calls from before say nothing about after.
//!
//! What else is shared are single numbers that each make sense alone. Where two threads meet, one call more or less goes through; no
//! order of events shuts the throttle, for probes depend on the clock alone.

use super::counts::{Counts, Cut, Tally};
use super::{ThrottleConfig, ThrottleSnapshot};
use crate::call::Priority;
use crate::outcome::{Outcome, Verdict};
use crate::random::Random;
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time;
use crate::versions::Versions;
use std::time::Duration;
use tokio::time::Instant;

const MODES: u64 = 4;
const IDLE: u64 = 0;
const HOLDING: u64 = 1;
const RECOVERING: u64 = 2;

/// So far the clock may go back before the throttle was made and still be told apart: thirty days, in nanoseconds.
const BEFORE: u64 = 2_592_000_000_000_000;
/// So many failures in a row, over so many probe intervals, are an outage; and so long is the least time from one to the next.
const RUN: u64 = 10;
const LASTING: u64 = 3;
/// On the way back, the first few failures are no overload: so many calls it takes to say so.
const EVIDENCE: u64 = 100;
/// As a logarithm: one in three thousand.
const LIKELIHOOD: f64 = 8.0;
/// So many may go on the way back for nothing but being `Critical`. What they take is made up for before others go.
const KEPT: u64 = 8;

const fn generation_of(word: u64) -> u64 {
    word / MODES
}

const fn mode_of(word: u64) -> u64 {
    word % MODES
}

const fn word_of(generation: u64, mode: u64) -> u64 {
    generation * MODES + mode
}

/// On what terms a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lent {
    Nothing = 0,
    /// On the success of one before it.
    Credit = 1,
    /// Because it was time for one.
    Probe = 2,
}

/// One word, for every call carries it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    /// The generation, as far as there is room, in the place where the machine's word has it; and what was lent.
    terms: u32,
    /// In turns; 0 where nobody asks.
    started: u32,
}

/// A moment in units of 2^20 ns, a millisecond or so: two of them that are less than 26 days apart can be told apart.
const fn turn(nanos: u64) -> u32 {
    (nanos >> 20) as u32
}

impl Ticket {
    #[inline]
    const fn new(word: u64, started: u32, lent: Lent) -> Self {
        Self { terms: word_of(generation_of(word), lent as u64) as u32, started }
    }

    /// Whether it was given in this generation.
    #[inline]
    const fn is_of(self, word: u64) -> bool {
        generation_of(self.terms as u64) == generation_of(word as u32 as u64)
    }

    const fn lent(self) -> Lent {
        match mode_of(self.terms as u64) {
            1 => Lent::Credit,
            2 => Lent::Probe,
            _ => Lent::Nothing,
        }
    }

    pub(super) const fn is_probe(self) -> bool {
        !matches!(self.lent(), Lent::Nothing)
    }

    /// Whether it was given after this moment.
    const fn is_after(self, nanos: u64) -> bool {
        self.started.wrapping_sub(turn(nanos)).cast_signed() > 0
    }
}

#[derive(Debug)]
struct Rules {
    interval: u64,
    config: ThrottleConfig,
}

impl Rules {
    fn new(config: ThrottleConfig) -> Self {
        Self { interval: time::nanos(config.probe_interval), config }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of one window")]
    fn probability(&self, counts: Counts) -> f64 {
        let (requests, accepts) = (counts.requests(), counts.accepts as f64);
        if requests < u64::from(self.config.min_requests) {
            return 0.0;
        }
        let requests = requests as f64;
        ((requests - self.config.accept_multiplier * accepts) / (requests + 1.0)).clamp(0.0, self.config.max_rejection)
    }

    /// Whether far less is accepted of what is forwarded than in steady overload, where it is one in `K`: not half as much.
    #[expect(clippy::cast_precision_loss, reason = "counts of one window")]
    fn is_down(&self, counts: Counts) -> bool {
        let forwarded = counts.forwarded();
        forwarded >= u64::from(self.config.min_requests) && self.config.accept_multiplier * (2.0 * counts.accepts as f64) < forwarded as f64
    }

    /// Whether far more is accepted of what is forwarded than in steady overload: beyond halfway from one in `K` to all; and of so many that
    /// chance alone would hardly make it so (the likelihood ratio of the two, Wilks 1938).
    #[expect(clippy::cast_precision_loss, reason = "counts of one window")]
    fn has_room(&self, counts: Counts) -> bool {
        let (steady, forwarded) = (1.0 / self.config.accept_multiplier, counts.forwarded() as f64);
        let accepted = counts.accepts as f64 / forwarded.max(1.0);
        let term = |seen: f64, expected: f64| if seen > 0.0 { seen * (seen / expected).ln() } else { 0.0 };
        accepted >= f64::midpoint(steady, 1.0) && forwarded * (term(accepted, steady) + term(1.0 - accepted, 1.0 - steady)) >= LIKELIHOOD
    }

    /// Whether, of what is forwarded, less than one in `K` is accepted.
    fn is_overloaded(&self, counts: Counts) -> bool {
        let forwarded = Counts { refused: 0, ..counts };
        self.is_down(forwarded) || (forwarded.requests() >= EVIDENCE && self.probability(forwarded) > 0.0)
    }

    /// How many calls one accept lets go while recovering.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "more than 1 and finite, and `as` saturates")]
    fn credit(&self) -> u64 {
        (self.config.accept_multiplier.ceil() as u64).clamp(2, 1_000)
    }
}

/// What the ways in and out read; on cache lines of its own, for it is read by all and written rarely.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Face {
    word: AtomicU64,
    /// Failures since the last accept.
    run: AtomicU64,
}

/// What is touched only while calls are held back or fail. Moments are in nanoseconds.
#[derive(Debug, Default)]
struct Back {
    /// The first failure since the last accept.
    run_began: AtomicU64,
    /// When the next call may go as a probe.
    next_probe: AtomicU64,
    /// When an accept may next be taken for the end of an outage.
    next_recovery: AtomicU64,
    /// While recovering: calls that may go, and the last that could not.
    credit: AtomicU64,
    refused_at: AtomicU64,
    /// So many failures cannot make a difference yet.
    spare_failures: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Machine {
    face: Face,
    back: Padded<Back>,
    rules: Versions<Rules>,
    /// One for each window there ever was.
    tallies: Versions<Tally>,
    random: Random,
    epoch: Instant,
    shards: usize,
}

impl Machine {
    pub(super) fn starting(config: ThrottleConfig, shards: usize, now: Instant) -> Self {
        let tally = Tally::new(time::nanos(config.window), shards);
        // Whole buckets before now, so that the first bucket begins now.
        let bucket = tally.dial().bucket_nanos();
        let before = Duration::from_nanos(BEFORE / bucket * bucket);
        let random = Random::new(config.seed);
        Self {
            face: Face::default(),
            back: Padded::default(),
            rules: Versions::new(Rules::new(config)),
            tallies: Versions::new(tally),
            random,
            epoch: now.checked_sub(before).unwrap_or(now),
            shards,
        }
    }

    #[inline]
    fn nanos(&self, now: Instant) -> u64 {
        time::nanos_since(self.epoch, now)
    }

    // ---- in ----

    #[inline]
    pub(super) fn acquire(&self, priority: Priority, now: Instant) -> Option<Ticket> {
        let word = self.face.word.load(Ordering::Acquire);
        if mode_of(word) == IDLE {
            return Some(Ticket::new(word, 0, Lent::Nothing));
        }
        self.weigh(word, priority, self.nanos(now))
    }

    #[inline(never)]
    fn weigh(&self, word: u64, priority: Priority, nanos: u64) -> Option<Ticket> {
        let rules = self.rules.get();
        let lent =
            if mode_of(word) == RECOVERING { self.lend(rules, word, priority, nanos) } else { self.draw(rules, word, priority, nanos) };
        lent.map(|lent| Ticket::new(word, turn(nanos), lent))
    }

    /// Recovering: who may go?
    fn lend(&self, rules: &Rules, word: u64, priority: Priority, nanos: u64) -> Option<Lent> {
        let back = &self.back.0;
        let kept = if priority == Priority::Critical { 0 } else { KEPT };
        let take = |credit: u64| if credit > kept { Some(credit - 1) } else { None };
        if back.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
            return Some(Lent::Credit);
        }
        if self.is_time_for_a_probe(rules, nanos) {
            return Some(Lent::Probe);
        }
        let cap = rules.config.max_rejection;
        if cap < 1.0 && self.random.unit() >= cap {
            return Some(Lent::Nothing);
        }
        back.refused_at.store(nanos, Ordering::Release);
        self.tallies.get().refusal(generation_of(word), nanos);
        None
    }

    /// Holding back: who may go?
    fn draw(&self, rules: &Rules, word: u64, priority: Priority, nanos: u64) -> Option<Lent> {
        let tally = self.tallies.get();
        let shard = tally.shard();
        shard.mix_in(priority);
        let cut = match shard.recent_cut(word, nanos) {
            Some(cut) => cut,
            None => {
                let counts = tally.counts(generation_of(word), nanos);
                let p = rules.probability(counts);
                if p <= 0.0 {
                    self.go(word, IDLE);
                    return Some(Lent::Nothing);
                }
                let cut = Cut::of(p, tally.mix(), rules.config.max_rejection);
                shard.keep_cut(cut, word, nanos.saturating_add(tally.view()), counts.requests() / 256);
                cut
            }
        };
        let chance = cut.chance(priority, rules.config.max_rejection);
        if chance <= 0.0 || (chance < 1.0 && self.random.unit() >= chance) {
            // A probe is due only where nothing else went.
            let due = nanos.saturating_add(rules.interval);
            if due.saturating_sub(self.back.0.next_probe.load(Ordering::Relaxed)) > rules.interval / 8 {
                self.back.0.next_probe.store(due, Ordering::Relaxed);
            }
            return Some(Lent::Nothing);
        }
        if rules.config.fast_recovery && self.is_time_for_a_probe(rules, nanos) {
            return Some(Lent::Probe);
        }
        tally.refusal(generation_of(word), nanos);
        None
    }

    fn is_time_for_a_probe(&self, rules: &Rules, nanos: u64) -> bool {
        let due = self.back.0.next_probe.load(Ordering::Relaxed);
        let next = nanos.saturating_add(rules.interval);
        is_over(due, nanos, rules.interval)
            && self.back.0.next_probe.compare_exchange(due, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    // ---- out ----

    #[inline]
    pub(super) fn settle(&self, ticket: Ticket, outcome: Outcome, now: Instant) {
        match outcome {
            // An error that another attempt would not mend is an answer: the dependency took the call on.
            Outcome::Judged(Verdict::Success | Verdict::Permanent) => self.accept(ticket, now),
            outcome if outcome.is_failure() => self.fail(ticket, now),
            outcome => self.give_back(ticket, outcome == Outcome::NotAttempted),
        }
    }

    #[inline]
    fn accept(&self, ticket: Ticket, now: Instant) {
        let word = self.face.word.load(Ordering::Acquire);
        if !ticket.is_of(word) {
            return;
        }
        let nanos = self.nanos(now);
        self.tallies.get().accept(generation_of(word), nanos);
        // Nearly always zero already, and reading a shared word is cheap where writing it is not.
        let run = if self.face.run.load(Ordering::Relaxed) == 0 { 0 } else { self.face.run.swap(0, Ordering::AcqRel) };
        if mode_of(word) != IDLE {
            self.accept_while_refusing(word, ticket, run, nanos);
        }
    }

    #[inline(never)]
    fn accept_while_refusing(&self, word: u64, ticket: Ticket, run: u64, nanos: u64) {
        let (rules, back) = (self.rules.get(), &self.back.0);
        if mode_of(word) == RECOVERING {
            let _ = back.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, |credit| credit.checked_add(rules.credit()));
            if ticket.is_after(back.refused_at.load(Ordering::Acquire)) {
                // Nobody was refused for a whole round trip: all that comes may go. What was refused before is forgotten.
                self.begin(word, IDLE);
            }
            return;
        }
        let pause = rules.interval.saturating_mul(LASTING);
        if !rules.config.fast_recovery || !is_over(back.next_recovery.load(Ordering::Acquire), nanos, pause) {
            return;
        }
        let lasted = run >= RUN && nanos.saturating_sub(back.run_began.load(Ordering::Acquire)) >= pause;
        if !lasted {
            let counts = self.tallies.get().counts(generation_of(word), nanos);
            if !rules.is_down(counts) && !rules.has_room(counts) {
                // Adding up visits every shard, so not at each accept.
                back.next_recovery.store(nanos.saturating_add(rules.interval / 8), Ordering::Release);
                return;
            }
        }
        // The outage is over, so far as one accept can tell: forget it, and feel the way.
        if self.begin(word, RECOVERING) {
            back.credit.store(KEPT + rules.credit(), Ordering::Release);
            back.refused_at.store(nanos, Ordering::Release);
            back.next_recovery.store(nanos.saturating_add(pause), Ordering::Release);
        }
    }

    fn fail(&self, ticket: Ticket, now: Instant) {
        let word = self.face.word.load(Ordering::Acquire);
        if !ticket.is_of(word) {
            return;
        }
        let (rules, nanos, back) = (self.rules.get(), self.nanos(now), &self.back.0);
        self.tallies.get().failure(generation_of(word), nanos);
        if self.face.run.fetch_add(1, Ordering::AcqRel) == 0 {
            back.run_began.store(nanos, Ordering::Release);
        }
        if mode_of(word) == HOLDING {
            return;
        }
        let spare = back.spare_failures.load(Ordering::Relaxed);
        if spare > 0 {
            back.spare_failures.store(spare - 1, Ordering::Relaxed);
            return;
        }
        let counts = self.tallies.get().counts(generation_of(word), nanos);
        if mode_of(word) == RECOVERING {
            if rules.is_overloaded(counts) {
                self.go(word, HOLDING);
            }
        } else if rules.probability(counts) > 0.0 {
            back.next_recovery.store(nanos.saturating_add(rules.interval.saturating_mul(LASTING)), Ordering::Release);
            self.go(word, HOLDING);
        } else {
            back.spare_failures.store(counts.requests() / 256, Ordering::Relaxed);
        }
    }

    /// The call said nothing; so what it went on serves another.
    pub(super) fn give_back(&self, ticket: Ticket, never_made: bool) {
        if !ticket.is_of(self.face.word.load(Ordering::Acquire)) {
            return;
        }
        match ticket.lent() {
            Lent::Credit => {
                let _ = self.back.0.credit.fetch_update(Ordering::AcqRel, Ordering::Acquire, |credit| credit.checked_add(1));
            }
            // One that was made and given up may have cost the dependency as much as one that failed.
            Lent::Probe if never_made => self.back.0.next_probe.store(0, Ordering::Release),
            Lent::Probe | Lent::Nothing => {}
        }
    }

    /// To another mode of the same generation, unless somebody was quicker.
    fn go(&self, word: u64, mode: u64) {
        let _ = self.face.word.compare_exchange(word, word_of(generation_of(word), mode), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// To another mode with empty counts, unless somebody was quicker.
    fn begin(&self, word: u64, mode: u64) -> bool {
        let next = word_of(generation_of(word) + 1, mode);
        let is_first = self.face.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if is_first {
            // A bucket's stamp has few generations; so none is met again that still says something.
            self.tallies.get().wipe();
            self.back.0.spare_failures.store(0, Ordering::Relaxed);
        }
        is_first
    }

    // ---- to read, and by hand ----

    pub(super) fn config(&self) -> ThrottleConfig {
        self.rules.get().config.clone()
    }

    pub(super) fn snapshot(&self, now: Instant) -> ThrottleSnapshot {
        let (rules, word) = (self.rules.get(), self.face.word.load(Ordering::Acquire));
        let counts = self.tallies.get().counts(generation_of(word), self.nanos(now));
        let recovering = mode_of(word) == RECOVERING;
        ThrottleSnapshot {
            requests: counts.requests(),
            accepts: counts.accepts,
            held_back: counts.refused,
            probability: if recovering { 0.0 } else { rules.probability(counts) },
            recovering,
        }
    }

    /// Goes on with other settings. `false`: the counts began anew.
    pub(super) fn reconfigure(&self, config: &ThrottleConfig) -> bool {
        let same_window = self.rules.get().config.window == config.window;
        if !same_window {
            let make = |_: &Tally| Tally::new(time::nanos(config.window), self.shards);
            self.tallies.change(make, |known, made| known.dial().bucket_nanos() == made.dial().bucket_nanos()).wipe();
            let anew = |word: u64| Some(word_of(generation_of(word) + 1, IDLE));
            let _ = self.face.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, anew);
        }
        self.rules.change(|_| Rules::new(config.clone()), |known, made| known.config == made.config);
        self.tallies.get().forget_cuts();
        self.back.0.spare_failures.store(0, Ordering::Relaxed);
        same_window
    }
}

/// Whether a moment has come; one further off than it was ever set says that the clock went back.
const fn is_over(moment: u64, nanos: u64, longest: u64) -> bool {
    nanos >= moment || moment - nanos > longest
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests;
