//! h52: the breaker against a plain model that keeps every call in a list, over random sequences of forty operations.

use proptest::prelude::*;
use std::time::Duration;
use steadfast::{CircuitBreaker, CircuitBreakerConfig, CircuitPermit, CircuitState, Outcome, Verdict};
use tokio::time::{Instant, advance};

const WINDOW: u64 = 1_000;
const BUCKET: u64 = WINDOW / 10;
const OPEN: u64 = 500;
const LEASE: u64 = 300;
const SLOW: u64 = 50;

#[derive(Clone, Copy, Debug)]
struct Rules {
    count_window: Option<usize>,
    min_calls: usize,
    consecutive: Option<u32>,
    slow: bool,
    trip_on_success: bool,
    probes: usize,
    close_after: usize,
    half_open_for: Option<u64>,
    abandoned_after: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Start,
    Settle(usize, Outcome),
    Drop(usize),
    Forget(usize),
    Advance(u64),
    Look,
    Reset,
    ForceOpen,
    Isolate,
    HalfOpen,
    MetricsOnly,
    Disable,
}

/// A call as the model sees it.
#[derive(Clone, Copy, Debug)]
struct Held {
    generation: u64,
    probe: Option<u64>,
    started: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: u64,
    failure: bool,
    slow: bool,
}

#[derive(Debug)]
struct Model {
    rules: Rules,
    now: u64,
    state: CircuitState,
    generation: u64,
    seen: Vec<Seen>,
    streak: u32,
    until: u64,
    open_time: u64,
    rounds_failed: u32,
    round_ends: Option<u64>,
    probes: Vec<(u64, u64)>,
    good: usize,
    bad: usize,
    refusals: usize,
    next_probe: u64,
    stale: u64,
}

impl Model {
    fn go(&mut self, state: CircuitState) {
        self.state = state;
        self.generation += 1;
        (self.good, self.bad, self.refusals) = (0, 0, 0);
        self.probes.clear();
        self.round_ends = None;
        match state {
            CircuitState::Open => {
                self.open_time = (OPEN << self.rounds_failed.min(2)).min(OPEN * 4);
                self.until = self.now + self.open_time;
            }
            CircuitState::HalfOpen => self.round_ends = self.rules.half_open_for.map(|time| self.now + time),
            CircuitState::Isolated => {}
            _ => {
                self.seen.clear();
                self.streak = 0;
                self.rounds_failed = 0;
            }
        }
    }

    fn end_long_round(&mut self) {
        if let Some(ends) = self.round_ends.filter(|&ends| self.now >= ends) {
            self.go(CircuitState::Open);
            self.until = ends + self.open_time;
        }
    }

    fn start(&mut self) -> Option<Held> {
        let (generation, started) = (self.generation, self.now);
        match self.state {
            CircuitState::Closed | CircuitState::Disabled | CircuitState::MetricsOnly => {
                return Some(Held { generation, probe: None, started });
            }
            CircuitState::Isolated => return None,
            _ => self.end_long_round(),
        }
        if self.state == CircuitState::Open {
            if self.now < self.until {
                return None;
            }
            self.go(CircuitState::HalfOpen);
        }
        let now = self.now;
        self.probes.retain(|&(_, ends)| ends > now);
        if self.probes.len() + self.good + self.bad >= self.rules.probes {
            return None;
        }
        self.next_probe += 1;
        self.probes.push((self.next_probe, now + LEASE));
        Some(Held { generation: self.generation, probe: Some(self.next_probe), started })
    }

    fn window(&self) -> Vec<Seen> {
        match self.rules.count_window {
            Some(n) => self.seen[self.seen.len().saturating_sub(n)..].to_vec(),
            None => self.seen.iter().copied().filter(|seen| seen.at / BUCKET + 10 > self.now / BUCKET).collect(),
        }
    }

    fn settle(&mut self, held: Held, outcome: Outcome, dropped: bool) {
        let age = self.now - held.started;
        let old = self.rules.abandoned_after.is_some_and(|limit| age >= limit);
        let failure = outcome.is_failure() || outcome == Outcome::Abandoned && old;
        let judged = failure || outcome.is_success();
        let slow = self.rules.slow && age > SLOW;
        if held.probe.is_some() && (!dropped || self.rules.abandoned_after.is_some()) {
            self.end_long_round();
        }
        if held.generation != self.generation {
            self.stale += u64::from(judged);
            return;
        }
        if let Some(id) = held.probe {
            let Some(place) = self.probes.iter().position(|&(probe, _)| probe == id) else {
                self.stale += u64::from(judged);
                return;
            };
            let (_, ends) = self.probes.remove(place);
            if judged && self.now >= ends {
                self.stale += 1;
            } else if judged {
                self.refusals = 0;
                *(if failure || slow { &mut self.bad } else { &mut self.good }) += 1;
                if self.bad > self.rules.probes - self.rules.close_after {
                    self.rounds_failed += 1;
                    self.go(CircuitState::Open);
                } else if self.good >= self.rules.close_after {
                    self.go(CircuitState::Closed);
                }
            } else if outcome == Outcome::NotAttempted {
                self.refusals += 1;
                if self.refusals >= self.rules.probes.max(3) {
                    self.go(CircuitState::Open);
                }
            }
            return;
        }
        if !judged || self.state == CircuitState::Disabled {
            return;
        }
        self.seen.push(Seen { at: self.now, failure, slow });
        self.streak = if failure { self.streak + 1 } else { 0 };
        let window = self.window();
        let enough = window.len() >= self.rules.min_calls;
        let failures = window.iter().filter(|seen| seen.failure).count();
        let slows = window.iter().filter(|seen| seen.slow).count();
        let any = self.rules.trip_on_success;
        let broken = failure && self.rules.consecutive.is_some_and(|limit| self.streak >= limit)
            || enough && (failure || any) && 2 * failures >= window.len()
            || enough && self.rules.slow && (slow || any) && 4 * slows >= 3 * window.len();
        if broken && self.state == CircuitState::Closed {
            self.go(CircuitState::Open);
        }
    }

    /// The state as a call would find it.
    fn state(&self) -> CircuitState {
        let until = match self.state {
            CircuitState::HalfOpen => match self.round_ends {
                Some(ends) if self.now >= ends => ends + (OPEN << self.rounds_failed.min(2)),
                _ => return CircuitState::HalfOpen,
            },
            CircuitState::Open => self.until,
            other => return other,
        };
        if self.now >= until { CircuitState::HalfOpen } else { CircuitState::Open }
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    let window = (proptest::option::of(4..12_usize), 2..5_usize, proptest::option::of(1..5_u32), any::<bool>(), any::<bool>());
    let round = (1..5_usize, any::<usize>(), proptest::option::of(100..900_u64), proptest::option::of(20..200_u64));
    (window, round).prop_map(
        |((count_window, min_calls, consecutive, slow, trip_on_success), (probes, needed, half_open_for, abandoned_after))| Rules {
            count_window,
            min_calls,
            consecutive,
            slow,
            trip_on_success,
            probes,
            close_after: needed % probes + 1,
            half_open_for,
            abandoned_after,
        },
    )
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        5 => Just(Outcome::Judged(Verdict::transient())),
        5 => Just(Outcome::Judged(Verdict::Success)),
        1 => Just(Outcome::Judged(Verdict::Permanent)),
        1 => Just(Outcome::Judged(Verdict::Ignored)),
        1 => Just(Outcome::TimedOut),
        1 => Just(Outcome::Panicked),
        2 => Just(Outcome::NotAttempted),
        1 => Just(Outcome::Abandoned),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        40 => Just(Op::Start),
        40 => (any::<usize>(), outcome()).prop_map(|(n, outcome)| Op::Settle(n, outcome)),
        4 => any::<usize>().prop_map(Op::Drop),
        2 => any::<usize>().prop_map(Op::Forget),
        // The edges of buckets, leases and open times are where it breaks, so land on them often.
        12 => prop_oneof![Just(1), Just(20), Just(99), Just(100), Just(300), Just(499), Just(500), Just(1000), 0..3_000_u64].prop_map(Op::Advance),
        4 => Just(Op::Look),
        1 => Just(Op::Reset),
        1 => Just(Op::ForceOpen),
        1 => Just(Op::Isolate),
        1 => Just(Op::HalfOpen),
        1 => Just(Op::MetricsOnly),
        1 => Just(Op::Disable),
    ]
}

fn config(rules: Rules) -> CircuitBreakerConfig {
    let ms = Duration::from_millis;
    let mut config = CircuitBreaker::failure_rate(0.5)
        .window(ms(WINDOW))
        .min_calls(rules.min_calls as u32)
        .trip_on_success(rules.trip_on_success)
        .open_for(ms(OPEN))
        .max_open(ms(OPEN * 4))
        .open_jitter(0.0)
        .probes(rules.probes as u32)
        .close_after(rules.close_after as u32)
        .probe_lease(ms(LEASE));
    if let Some(n) = rules.count_window {
        config = config.count_window(n as u32);
    }
    if let Some(n) = rules.consecutive {
        config = config.consecutive_failures(n);
    }
    if rules.slow {
        config = config.slow_calls(ms(SLOW), 0.75);
    }
    if let Some(time) = rules.half_open_for {
        config = config.half_open_for(ms(time));
    }
    if let Some(age) = rules.abandoned_after {
        config = config.abandoned_after(ms(age));
    }
    config
}

async fn run(rules: Rules, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let breaker = config(rules).build().map_err(|e| TestCaseError::fail(e.to_string()))?;
    let mut model = Model {
        rules,
        now: 0,
        state: CircuitState::Closed,
        generation: 0,
        seen: Vec::new(),
        streak: 0,
        until: 0,
        open_time: OPEN,
        rounds_failed: 0,
        round_ends: None,
        probes: Vec::new(),
        good: 0,
        bad: 0,
        refusals: 0,
        next_probe: 0,
        stale: 0,
    };
    let mut held: Vec<(CircuitPermit<'_>, Held)> = Vec::new();
    for op in ops {
        match op {
            Op::Start => {
                let looked = breaker.check_at(Instant::now()).is_ok();
                let (real, expected) = (breaker.try_acquire(), model.start());
                prop_assert_eq!(real.is_ok(), expected.is_some(), "start {:?}", model);
                prop_assert_eq!(looked, real.is_ok(), "look");
                match (real, expected) {
                    (Ok(permit), Some(expected)) => {
                        prop_assert_eq!(permit.is_probe(), expected.probe.is_some());
                        held.push((permit, expected));
                    }
                    (Err(rejected), _) => prop_assert!(rejected.retry_after().is_none_or(|after| after <= Duration::from_millis(OPEN * 4))),
                    _ => {}
                }
            }
            Op::Settle(n, outcome) if !held.is_empty() => {
                let (permit, expected) = held.swap_remove(n % held.len());
                permit.settle(outcome);
                model.settle(expected, outcome, false);
            }
            Op::Drop(n) if !held.is_empty() => {
                let (permit, expected) = held.swap_remove(n % held.len());
                drop(permit);
                model.settle(expected, Outcome::Abandoned, true);
            }
            Op::Forget(n) if !held.is_empty() => std::mem::forget(held.swap_remove(n % held.len()).0),
            Op::Settle(..) | Op::Drop(_) | Op::Forget(_) => {}
            Op::Advance(ms) => {
                advance(Duration::from_millis(ms)).await;
                model.now += ms;
            }
            Op::Look => drop(breaker.snapshot()),
            Op::Reset => {
                breaker.reset();
                model.go(CircuitState::Closed);
            }
            Op::ForceOpen => {
                breaker.force_open();
                if model.state != CircuitState::Open || model.now >= model.until {
                    model.go(CircuitState::Open);
                }
            }
            Op::Isolate => {
                breaker.isolate();
                if model.state != CircuitState::Isolated {
                    model.go(CircuitState::Isolated);
                }
            }
            Op::HalfOpen => {
                let possible = matches!(model.state, CircuitState::Open | CircuitState::HalfOpen);
                prop_assert_eq!(breaker.half_open(), possible);
                if possible {
                    model.go(CircuitState::HalfOpen);
                }
            }
            Op::MetricsOnly => {
                breaker.metrics_only();
                if model.state != CircuitState::MetricsOnly {
                    model.go(CircuitState::MetricsOnly);
                }
            }
            Op::Disable => {
                breaker.disable();
                if model.state != CircuitState::Disabled {
                    model.go(CircuitState::Disabled);
                }
            }
        }
        let now = breaker.snapshot();
        prop_assert_eq!(now.state, model.state(), "after {:?}: {:?}", op, model);
        prop_assert_eq!(breaker.state(), now.state);
        prop_assert_eq!(now.generation, model.generation, "after {:?}", op);
        prop_assert_eq!(now.stale, model.stale, "after {:?}", op);
        prop_assert!(now.probes_in_flight as usize <= rules.probes);
        if matches!(model.state, CircuitState::Closed | CircuitState::MetricsOnly) {
            let window = model.window();
            prop_assert_eq!(now.calls as usize, window.len(), "after {:?}", op);
            prop_assert_eq!(now.failures as usize, window.iter().filter(|seen| seen.failure).count(), "after {:?}", op);
            prop_assert_eq!(now.slow_calls as usize, window.iter().filter(|seen| seen.slow).count(), "after {:?}", op);
        }
    }
    Ok(())
}

/// `PROPTEST_CASES` for a long run; 60,000 take a minute and a half.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn h52_forty_operations_match_the_model(rules in rules(), ops in proptest::collection::vec(op(), 40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.map_err(|e| TestCaseError::fail(e.to_string()))?;
        runtime.block_on(run(rules, ops))?;
    }
}
