//! The circuit breaker of one key, in 80 bytes: the states, rules and times of [`CircuitBreaker`](crate::CircuitBreaker), without its
//! transitions to subscribe to, and kept under the lock of its table, so that nothing in it has to be atomic.
//!
//! The window is ten buckets of three counts of 16 bits (or the last so many calls, two bits each). A bucket that is full, after 65,535
//! calls of one key within a tenth of the window, is halved: its rates stay, and its calls are more than enough for any rule.
//!
//! Half-open, the leases of a round end together, with that of the probe that went last. With one probe to a round, the default, that is
//! the same; with more, a place that a hung probe has taken comes free later, by as long as the probes were apart.

use crate::admission::circuit_breaker::{CircuitBreakerConfig, CircuitState, CircuitWindow, share, unit};
use crate::outcome::Outcome;
use crate::time;

const BUCKETS: usize = 10;
const CELLS: usize = 3 * BUCKETS;
/// Two bits each, as many as the cells hold.
pub(super) const MOST_COUNTED: u32 = (CELLS * u16::BITS as usize / 2) as u32;
const NEVER: u64 = u64::MAX;
/// Fewer refusals further in than this say nothing about a round.
const REFUSALS: u16 = 3;

/// What all circuits of a table go by.
#[derive(Debug)]
pub(super) struct Rules {
    config: CircuitBreakerConfig,
    min_calls: u64,
    close_after: u32,
    probes: u32,
    lease: u64,
    /// Length of a bucket in nanoseconds; 0 where calls are counted.
    bucket: u64,
    /// How many calls are counted.
    counted: u32,
    /// So long a failure is held against a key that is not called any more.
    horizon: u64,
}

impl Rules {
    pub(super) fn new(config: CircuitBreakerConfig) -> Self {
        let (bucket, counted) = match config.window {
            CircuitWindow::Time(window) => (time::nanos(window).div_ceil(BUCKETS as u64).max(1), 0),
            CircuitWindow::Count(calls) => (0, calls.clamp(1, MOST_COUNTED)),
        };
        Self {
            min_calls: config.enough_calls(),
            close_after: config.enough_successes(),
            probes: config.probes,
            lease: time::nanos(config.lease()),
            bucket,
            counted,
            horizon: match config.window {
                CircuitWindow::Time(window) => time::nanos(window),
                CircuitWindow::Count(_) => time::nanos(config.open_for),
            },
            config,
        }
    }

    fn weigh(&self, outcome: Outcome, age: u64) -> Option<Weight> {
        let given_up = || self.config.abandoned_after.is_some_and(|limit| age >= time::nanos(limit));
        let failure = match outcome {
            Outcome::Abandoned if given_up() => true,
            outcome if outcome.is_failure() => true,
            outcome if outcome.is_success() => false,
            _ => return None,
        };
        let slow = self.config.slow.is_some_and(|(limit, _)| age > time::nanos(limit));
        Some(Weight { failure, slow })
    }

    fn broken(&self, counts: Counts, streak: u32, weight: Weight) -> bool {
        let any = self.config.trip_on_success;
        let enough = counts.calls >= self.min_calls;
        let rate = |part, limit: Option<f64>| limit.is_some_and(|limit| enough && share(part, counts.calls) >= limit);
        (weight.failure && self.config.consecutive.is_some_and(|limit| streak >= limit))
            || ((weight.failure || any) && rate(counts.failures, self.config.failure_rate))
            || ((weight.slow || any) && rate(counts.slow, self.config.slow.map(|(_, limit)| limit)))
    }

    fn tick(&self, nanos: u64) -> u32 {
        // Wraps after 99 days at the earliest: longer than any window is looked at without being wiped.
        nanos.checked_div(self.bucket).unwrap_or(0) as u32
    }
}

/// How an outcome counts.
#[derive(Clone, Copy)]
struct Weight {
    failure: bool,
    slow: bool,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    calls: u64,
    failures: u64,
    slow: u64,
}

#[derive(Debug)]
pub(super) struct Circuit {
    /// Changes with the state. What was admitted under another one is stale, and counts no more.
    generation: u32,
    failed_rounds: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed(Window),
    Open { until: u64, time: u64 },
    HalfOpen(Round),
}

/// Ten times calls, failures, slow calls; or two bits for each of the last calls: failed, slow.
#[derive(Debug)]
struct Window {
    cells: [u16; CELLS],
    /// The latest bucket; or where the next call goes, with how many there are in the upper half.
    cursor: u32,
    streak: u32,
}

#[derive(Debug)]
struct Round {
    lease_ends: u64,
    ends: u64,
    time: u64,
    out: u16,
    good: u16,
    bad: u16,
    refusals: u16,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { generation: 0, failed_rounds: 0, state: State::Closed(Window::NEW) }
    }
}

/// Leave to make one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) generation: u32,
    pub(super) probe: bool,
}

impl Circuit {
    /// Whether a permit would be given, or in how many nanoseconds. Changes nothing.
    #[inline]
    pub(super) fn look(&self, rules: &Rules, nanos: u64) -> Result<(), u64> {
        match &self.state {
            State::Closed(_) => Ok(()),
            State::Open { until, time } => left(*until, *time, nanos).map_or(Ok(()), Err),
            State::HalfOpen(round) => round.look(rules, nanos),
        }
    }

    /// A permit, where [`look`](Self::look) has just said yes.
    #[inline]
    pub(super) fn enter(&mut self, rules: &Rules, nanos: u64) -> Ticket {
        if matches!(self.state, State::Closed(_)) {
            return Ticket { generation: self.generation, probe: false };
        }
        self.enter_half_open(rules, nanos)
    }

    #[cold]
    fn enter_half_open(&mut self, rules: &Rules, nanos: u64) -> Ticket {
        let time = match &self.state {
            State::Open { time, .. } => Some(*time),
            // It ran out of time, and the open time after it is over too.
            State::HalfOpen(round) if nanos >= round.ends => Some(round.time),
            _ => None,
        };
        if let Some(time) = time {
            let ends = rules.config.half_open_for.map_or(NEVER, |limit| nanos.saturating_add(time::nanos(limit)));
            self.change(State::HalfOpen(Round { lease_ends: 0, ends, time, out: 0, good: 0, bad: 0, refusals: 0 }));
        } else if let State::HalfOpen(round) = &mut self.state
            && round.out > 0
            && round.lease_over(rules, nanos)
        {
            round.out = 0;
            self.generation = self.generation.wrapping_add(1);
        }
        if let State::HalfOpen(round) = &mut self.state {
            round.out = round.out.saturating_add(1);
            round.lease_ends = nanos.saturating_add(rules.lease);
        }
        Ticket { generation: self.generation, probe: true }
    }

    /// What came of a call, `age` nanoseconds after it was let through.
    pub(super) fn settle(&mut self, rules: &Rules, ticket: Ticket, outcome: Outcome, age: u64, nanos: u64, random: &mut u64) {
        if ticket.generation != self.generation {
            return;
        }
        let weight = rules.weigh(outcome, age);
        match (&mut self.state, weight) {
            (State::Closed(window), Some(weight)) => {
                let streak = window.record(rules, weight, nanos);
                let judged = weight.failure || weight.slow || rules.config.trip_on_success;
                if judged && rules.broken(window.counts(rules, nanos), streak, weight) {
                    self.open(rules, nanos, random);
                }
            }
            (State::HalfOpen(round), weight) if ticket.probe => {
                round.out = round.out.saturating_sub(1);
                match weight {
                    _ if nanos >= round.ends => {}
                    Some(_) if round.lease_over(rules, nanos) => {}
                    Some(Weight { failure: false, slow: false }) => {
                        (round.good, round.refusals) = (round.good.saturating_add(1), 0);
                        self.decide(rules, nanos, random);
                    }
                    Some(_) => {
                        (round.bad, round.refusals) = (round.bad.saturating_add(1), 0);
                        self.decide(rules, nanos, random);
                    }
                    None if outcome == Outcome::NotAttempted => {
                        round.refusals = round.refusals.saturating_add(1);
                        if u32::from(round.refusals) >= rules.probes.max(REFUSALS.into()) {
                            self.open(rules, nanos, random);
                        }
                    }
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn decide(&mut self, rules: &Rules, nanos: u64, random: &mut u64) {
        let State::HalfOpen(round) = &self.state else { return };
        if u32::from(round.bad) > rules.probes.saturating_sub(rules.close_after) {
            self.failed_rounds = self.failed_rounds.saturating_add(1);
            self.open(rules, nanos, random);
        } else if u32::from(round.good) >= rules.close_after {
            self.failed_rounds = 0;
            self.change(State::Closed(Window::NEW));
        }
    }

    #[cold]
    fn open(&mut self, rules: &Rules, nanos: u64, random: &mut u64) {
        let mut time = time::nanos(rules.config.open_time(self.failed_rounds));
        if time != NEVER && rules.config.open_jitter > 0.0 {
            *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let off = (time as f64 * rules.config.open_jitter * unit(*random)) as u64;
            time = time.saturating_sub(off).max(1);
        }
        self.change(State::Open { until: nanos.saturating_add(time), time });
    }

    fn change(&mut self, state: State) {
        self.generation = self.generation.wrapping_add(1);
        self.state = state;
    }

    /// Begins anew. What is under way settles as stale.
    pub(super) fn reset(&mut self) {
        self.failed_rounds = 0;
        self.change(State::Closed(Window::NEW));
    }

    /// The counts of another window mean nothing to this one.
    pub(super) fn forget_counts(&mut self) {
        if let State::Closed(window) = &mut self.state {
            *window = Window::NEW;
        }
    }

    /// Until when it refuses, or refused: to forget it before would let calls through.
    pub(super) fn holds_until(&self) -> u64 {
        match &self.state {
            State::Closed(_) => 0,
            State::Open { until, .. } => *until,
            State::HalfOpen(round) => round.lease_ends,
        }
    }

    /// Whether it has anything to say against a key, not seen for `age`, that would be lost with it.
    pub(super) fn has_evidence(&self, rules: &Rules, age: u64, nanos: u64) -> bool {
        match &self.state {
            State::Closed(window) => age < rules.horizon && (window.streak > 0 || window.counts(rules, nanos).failures > 0),
            State::Open { .. } | State::HalfOpen(_) => true,
        }
    }

    /// The state as a call at this moment would find it, and when it may go.
    pub(super) fn state(&self, rules: &Rules, nanos: u64) -> (CircuitState, Option<u64>) {
        match (&self.state, self.look(rules, nanos)) {
            (State::Closed(_), _) => (CircuitState::Closed, None),
            (State::HalfOpen(round), Err(wait)) if nanos < round.ends => (CircuitState::HalfOpen, Some(wait)),
            (_, Err(wait)) => (CircuitState::Open, (wait != NEVER).then_some(wait)),
            (_, Ok(())) => (CircuitState::HalfOpen, Some(0)),
        }
    }

    /// Calls and failures in the window of a closed circuit.
    #[inline]
    pub(super) fn counted(&self, rules: &Rules, nanos: u64) -> (u64, u64) {
        match &self.state {
            State::Closed(window) => {
                let counts = window.counts(rules, nanos);
                (counts.calls, counts.failures)
            }
            _ => (0, 0),
        }
    }
}

/// What is left of a wait; `None` when it is over, or when it seems longer than it ever was: then the clock went back.
#[inline]
fn left(until: u64, longest: u64, nanos: u64) -> Option<u64> {
    match until {
        NEVER if longest == NEVER => Some(NEVER),
        until => Some(until.saturating_sub(nanos)).filter(|&left| left > 0 && left <= longest),
    }
}

impl Round {
    fn lease_over(&self, rules: &Rules, nanos: u64) -> bool {
        left(self.lease_ends, rules.lease, nanos).is_none()
    }

    fn look(&self, rules: &Rules, nanos: u64) -> Result<(), u64> {
        if nanos >= self.ends {
            // As good as open since then.
            return left(self.ends.saturating_add(self.time), self.time, nanos).map_or(Ok(()), Err);
        }
        let used = u32::from(self.out) + u32::from(self.good) + u32::from(self.bad);
        if used < rules.probes || (self.out > 0 && self.lease_over(rules, nanos)) {
            return Ok(());
        }
        Err(self.lease_ends.min(self.ends).saturating_sub(nanos))
    }
}

impl Window {
    const NEW: Self = Self { cells: [0; CELLS], cursor: 0, streak: 0 };

    /// Counts one call; returns the failures in a row.
    fn record(&mut self, rules: &Rules, weight: Weight, nanos: u64) -> u32 {
        if rules.bucket == 0 {
            self.push(rules, weight);
        } else {
            self.count(rules, weight, nanos);
        }
        self.streak = if weight.failure { self.streak.saturating_add(1) } else { 0 };
        self.streak
    }

    fn count(&mut self, rules: &Rules, weight: Weight, nanos: u64) {
        let tick = rules.tick(nanos);
        let ahead = tick.wrapping_sub(self.cursor);
        // Half of all ticks ahead is behind: the clock went back, or this call ended before one that was counted already.
        if ahead > 0 && ahead <= u32::MAX / 2 {
            if ahead as usize >= BUCKETS {
                self.cells = [0; CELLS];
            } else {
                (1..=ahead).for_each(|step| {
                    let bucket = (self.cursor.wrapping_add(step) as usize % BUCKETS) * 3;
                    self.cells[bucket..bucket + 3].fill(0);
                });
            }
            self.cursor = tick;
        }
        let bucket = (self.cursor as usize % BUCKETS) * 3;
        let cells = &mut self.cells[bucket..bucket + 3];
        if cells[0] == u16::MAX {
            cells.iter_mut().for_each(|cell| *cell /= 2);
        }
        cells[0] += 1;
        cells[1] += u16::from(weight.failure);
        cells[2] += u16::from(weight.slow);
    }

    /// The lower half of the cursor is where the next call goes, the upper half how many there are.
    fn push(&mut self, rules: &Rules, weight: Weight) {
        let (at, len) = (self.cursor & 0xffff, self.cursor >> 16);
        let (cell, offset) = ((at / 8) as usize % CELLS, (at % 8) * 2);
        let bits = u16::from(weight.failure) | u16::from(weight.slow) << 1;
        self.cells[cell] = self.cells[cell] & !(0b11 << offset) | bits << offset;
        self.cursor = ((at + 1) % rules.counted) | ((len + 1).min(rules.counted) << 16);
    }

    fn counts(&self, rules: &Rules, nanos: u64) -> Counts {
        if rules.bucket == 0 {
            let ones = |mask: u16| self.cells.iter().map(|cell| u64::from((cell & mask).count_ones())).sum();
            return Counts { calls: u64::from(self.cursor >> 16), failures: ones(0x5555), slow: ones(0xaaaa) };
        }
        let ahead = rules.tick(nanos).wrapping_sub(self.cursor);
        let gone = if ahead > u32::MAX / 2 { 0 } else { (ahead as usize).min(BUCKETS) };
        // The oldest buckets are those that the cursor would pass next.
        let first = self.cursor as usize % BUCKETS + 1 + gone;
        let mut counts = Counts::default();
        for step in 0..BUCKETS - gone {
            let bucket = ((first + step) % BUCKETS) * 3;
            counts.calls += u64::from(self.cells[bucket]);
            counts.failures += u64::from(self.cells[bucket + 1]);
            counts.slow += u64::from(self.cells[bucket + 2]);
        }
        counts
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;
    use crate::admission::CircuitBreaker;
    use crate::outcome::Verdict;
    use std::time::Duration;
    use tokio::time::Instant;

    const SECOND: u64 = 1_000_000_000;
    const F: Outcome = Outcome::Judged(Verdict::transient());
    const S: Outcome = Outcome::Judged(Verdict::Success);

    #[test]
    fn e05_a_circuit_takes_80_bytes() {
        assert!(size_of::<Circuit>() <= 80, "{}", size_of::<Circuit>());
    }

    proptest::proptest! {
        /// Whatever happens to both, the small one answers as the large one does: with one probe to a round, where leases are the same.
        #[test]
        fn it_answers_as_the_breaker_does(
            which in 0..4_usize,
            steps in proptest::collection::vec((0..6_u8, 0_u64..3 * SECOND), 1..200),
        ) {
            let config = [
                CircuitBreaker::failure_rate(0.5).min_calls(3),
                CircuitBreaker::failure_rate(0.3).min_calls(4).trip_on_success(true).half_open_for(Duration::from_secs(2)),
                CircuitBreaker::consecutive_failures(3).open_for(Duration::from_secs(2)),
                CircuitBreaker::failure_rate(0.4).count_window(7).slow_calls(Duration::from_secs(2), 0.5).open_growth(3.0),
            ][which].clone().open_jitter(0.0);
            // So that the large one begins at the same nanosecond.
            let clock = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
            let _standing = clock.enter();
            let large = config.clone().build().expect("valid");
            let (rules, mut small, mut random) = (Rules::new(config), Circuit::default(), 0);
            let start = Instant::now();
            // Whole buckets before, as the large one counts them.
            let zero = 1_000 * SECOND;
            let (mut now, mut out) = (0, Vec::new());
            for (step, wait) in steps {
                now += if step < 2 { 0 } else { wait };
                let at = start + Duration::from_nanos(now);
                match step {
                    0 | 2 | 3 => {
                        let theirs = large.try_acquire_at(at);
                        let ours = small.look(&rules, zero + now).map(|()| small.enter(&rules, zero + now));
                        match (theirs, ours) {
                            (Ok(permit), Ok(ticket)) => {
                                proptest::prop_assert_eq!(permit.is_probe(), ticket.probe);
                                out.push((permit, ticket, now));
                            }
                            (Err(refused), Err(wait)) => {
                                proptest::prop_assert_eq!(refused.retry_after(), (wait != NEVER).then(|| Duration::from_nanos(wait)));
                            }
                            (theirs, ours) => proptest::prop_assert!(false, "{theirs:?} {ours:?} at {now}"),
                        }
                    }
                    _ if out.is_empty() => {}
                    _ => {
                        let (permit, ticket, began) = out.remove(0);
                        let outcome = [F, F, S, Outcome::NotAttempted, F, S][(wait % 6) as usize];
                        permit.settle_at(outcome, at);
                        small.settle(&rules, ticket, outcome, now - began, zero + now, &mut random);
                    }
                }
            }
        }
    }

    #[test]
    fn a_bucket_that_is_full_keeps_its_rate() {
        let rules = Rules::new(CircuitBreaker::failure_rate(0.6));
        let mut window = Window::NEW;
        for call in 0..200_000_u32 {
            window.record(&rules, Weight { failure: call % 2 == 0, slow: false }, 5);
        }
        let counts = window.counts(&rules, 5);
        assert!(counts.calls > 30_000 && (share(counts.failures, counts.calls) - 0.5).abs() < 0.001, "{counts:?}");
        assert_eq!(window.counts(&rules, 10 * SECOND), Counts::default());
    }
}
