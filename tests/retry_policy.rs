//! The decision: which failures are tried again, when, and what stops it. (The pipeline's own retry tests are elsewhere.)

use std::time::Duration;
use steadfast::{Backoff, Jitter, Outcome, Pipeline, Rejected, RejectedKind, Retry, RetryConfig, RetryState, StopReason, Verdict};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const FAILED: Outcome = Outcome::Judged(Verdict::transient());

fn hinted(delay: Duration) -> Outcome {
    Outcome::Judged(Verdict::retry_after(delay))
}

/// One call under test: everything fails as it is told to, at one moment, without a deadline.
struct Bench {
    retry: Retry,
    state: RetryState,
    now: Instant,
}

impl Bench {
    fn new(config: RetryConfig) -> Self {
        let retry = config.build().expect("valid");
        let state = retry.start();
        Self { retry, state, now: Instant::now() }
    }

    fn next(&mut self, outcome: Outcome) -> Result<Duration, StopReason> {
        self.retry.next_delay(&mut self.state, outcome, None, self.now, None)
    }

    fn refused(&mut self, rejected: &Rejected) -> Result<Duration, StopReason> {
        self.retry.next_delay(&mut self.state, rejected.outcome(), Some(rejected), self.now, None)
    }

    fn by(&mut self, deadline: Duration, outcome: Outcome) -> Result<Duration, StopReason> {
        self.retry.next_delay(&mut self.state, outcome, None, self.now, Some(self.now + deadline))
    }
}

fn exact(config: RetryConfig) -> RetryConfig {
    config.jitter(Jitter::None)
}

#[test]
fn r05_twelve_retries_are_thirteen_attempts() {
    let mut call = Bench::new(Retry::constant(12, Duration::ZERO));
    let granted = std::iter::repeat_with(|| call.next(FAILED)).take_while(Result::is_ok).count();
    assert_eq!((granted, call.state.attempts()), (12, 13));
    assert_eq!(call.next(FAILED), Err(StopReason::Attempts));
    assert_eq!(call.retry.config().max_attempts(), 13);
}

#[test]
fn r14_unlimited_retries_end_with_success_only() {
    let mut call = Bench::new(Retry::constant(Retry::UNLIMITED, Duration::ZERO).without_budget());
    (0..100_000).for_each(|_| assert_eq!(call.next(FAILED), Ok(Duration::ZERO)));
    assert_eq!(call.retry.config().max_attempts(), u32::MAX);
}

#[test]
fn no_retries_is_a_policy_that_never_retries() {
    assert_eq!(Bench::new(Retry::constant(0, SEC)).next(FAILED), Err(StopReason::Attempts));
}

#[test]
fn r15_a_fixed_wait_and_the_four_kinds_of_calls() {
    let retry = exact(Retry::constant(2, 500 * MS)).build().expect("valid");
    let now = Instant::now();
    let mut waits = Vec::new();
    // Each call: its failures, in order, and whether it succeeds when they are over.
    let ignored = Outcome::Judged(Verdict::Ignored);
    for (failures, succeeds) in [(vec![], true), (vec![FAILED], true), (vec![FAILED; 3], false), (vec![ignored], false)] {
        let mut state = retry.start();
        for failure in failures {
            waits.extend(retry.next_delay(&mut state, failure, None, now, None));
        }
        retry.finish(state, succeeds);
    }
    assert_eq!(waits, [500 * MS; 3]);
    let stats = retry.stats();
    let kinds = [stats.succeeded_without_retry(), stats.succeeded_with_retry(), stats.failed_with_retry(), stats.failed_without_retry()];
    assert_eq!(kinds, [1, 1, 1, 1]);
    assert_eq!([1, 2, 3, 4].map(|n| stats.calls_with_attempts(n)), [2, 1, 1, 0]);
    assert_eq!((stats.calls(), stats.retries(), stats.transient_retries), (4, 3, 3));
    assert_eq!((stats.stopped(StopReason::Attempts), stats.stopped(StopReason::NotRetryable)), (1, 1));
    assert_eq!((stats.calls_with_attempts(0), stats.calls_with_attempts(u32::MAX)), (0, 0));
}

#[test]
fn r19_a_hint_is_obeyed_to_the_letter_and_the_backoff_begins_anew() {
    let mut call = Bench::new(exact(Retry::exponential(9, SEC)));
    assert_eq!([call.next(FAILED), call.next(FAILED)], [Ok(SEC), Ok(2 * SEC)]);
    assert_eq!(call.next(hinted(500 * MS)), Ok(500 * MS));
    assert_eq!([call.next(FAILED), call.next(FAILED)], [Ok(SEC), Ok(2 * SEC)]);
    assert_eq!(call.next(hinted(Duration::ZERO)), Ok(Duration::ZERO));
    assert_eq!(call.next(Outcome::Judged(Verdict::permanent())), Err(StopReason::NotRetryable));
    let stats = call.retry.stats();
    assert_eq!((stats.transient_retries, stats.hinted_retries), (4, 2));
}

#[test]
fn a_hint_is_not_clamped_to_the_cap_of_the_backoff() {
    let mut call = Bench::new(exact(Retry::exponential(3, MS).max_delay(SEC)));
    assert_eq!(call.next(hinted(60 * SEC)), Ok(60 * SEC));
    assert_eq!(call.next(hinted(60 * SEC + Duration::from_nanos(1))), Err(StopReason::HintTooLong));
}

#[test]
fn a_hint_of_a_day_ends_the_call_and_costs_no_token() {
    let mut call = Bench::new(Retry::exponential(3, MS));
    let before = call.retry.budget().available();
    assert_eq!(call.next(hinted(DAY)), Err(StopReason::HintTooLong));
    assert_eq!(call.retry.budget().available(), before);
    assert_eq!(call.state.retries(), 0);
    assert_eq!(Bench::new(Retry::exponential(3, MS).hint_ceiling(Duration::MAX)).next(hinted(DAY)), Ok(DAY));
}

#[test]
fn h73_fifty_hostile_hints() {
    let ceiling = 60 * SEC;
    // From a nanosecond to a day and a half in powers of two, and what a header of 1970 or of the far future turns into.
    let hints = (0..47).map(|n| Duration::from_nanos(1 << n));
    for hint in hints.chain([Duration::ZERO, 3650 * DAY, Duration::MAX]) {
        let mut call = Bench::new(Retry::exponential(3, MS).hint_jitter(SEC));
        match call.next(hinted(hint)) {
            Ok(delay) => assert!(delay >= hint && delay <= ceiling, "{delay:?} for {hint:?}"),
            Err(reason) => assert!(reason == StopReason::HintTooLong && hint > ceiling, "{reason} for {hint:?}"),
        }
        match call.by(2 * SEC, hinted(hint)) {
            Ok(delay) => assert!(delay < 2 * SEC),
            Err(reason) => assert!(matches!(reason, StopReason::HintTooLong | StopReason::Deadline)),
        }
    }
    let never = Bench::new(Retry::exponential(3, MS).hint_ceiling(Duration::MAX)).next(hinted(Duration::MAX));
    assert_eq!(never, Err(StopReason::Deadline), "to wait for ever is no retry");
}

#[test]
fn hint_jitter_comes_on_top_and_ends_at_the_ceiling() {
    let config = Retry::constant(Retry::UNLIMITED, SEC).without_budget().hint_jitter(SEC).seed(5);
    let mut call = Bench::new(config);
    let delays: Vec<_> = (0..1000).filter_map(|_| call.next(hinted(5 * SEC)).ok()).collect();
    assert!(delays.len() == 1000 && delays.iter().all(|delay| (5 * SEC..=6 * SEC).contains(delay)));
    assert!(delays.iter().any(|&delay| delay > 5900 * MS));
    assert_eq!(call.next(hinted(60 * SEC)), Ok(60 * SEC));
}

#[test]
fn h72_what_is_tried_again_and_what_is_not() {
    use RejectedKind as Kind;
    let judged = [
        (Outcome::Judged(Verdict::transient()), Ok(SEC)),
        (Outcome::TimedOut, Ok(SEC)),
        (Outcome::Judged(Verdict::Success), Err(StopReason::NotRetryable)),
        (Outcome::Judged(Verdict::Permanent), Err(StopReason::NotRetryable)),
        (Outcome::Judged(Verdict::Ignored), Err(StopReason::NotRetryable)),
        (Outcome::Panicked, Err(StopReason::NotRetryable)),
        (Outcome::Abandoned, Err(StopReason::NotRetryable)),
        (Outcome::NotAttempted, Err(StopReason::NotRetryable)),
    ];
    for (outcome, expected) in judged {
        assert_eq!(Bench::new(exact(Retry::constant(3, SEC))).next(outcome), expected, "{outcome:?}");
    }
    let rejected = [
        (Kind::Timeout, Ok(SEC)),
        (Kind::CircuitOpen, Err(StopReason::CircuitOpen)),
        (Kind::RateLimited, Err(StopReason::Rejected(Kind::RateLimited))),
        (Kind::BulkheadFull, Err(StopReason::Rejected(Kind::BulkheadFull))),
        (Kind::ConcurrencyLimited, Err(StopReason::Rejected(Kind::ConcurrencyLimited))),
        (Kind::Throttled, Err(StopReason::Rejected(Kind::Throttled))),
        (Kind::NoRuntime, Err(StopReason::Rejected(Kind::NoRuntime))),
        (Kind::Custom("mine"), Err(StopReason::Rejected(Kind::Custom("mine")))),
    ];
    for (kind, expected) in rejected {
        assert_eq!(Bench::new(exact(Retry::constant(3, SEC))).refused(&Rejected::new(kind)), expected, "{kind:?}");
    }
}

#[test]
fn c01_an_open_breaker_stops_the_retries() {
    let mut call = Bench::new(Retry::constant(6, MS));
    assert!(call.next(FAILED).is_ok() && call.next(FAILED).is_ok());
    let open = Rejected::new(RejectedKind::CircuitOpen).with_retry_after(60 * SEC);
    assert_eq!(call.refused(&open), Err(StopReason::CircuitOpen));
    assert_eq!(call.state.attempts(), 3);
    assert_eq!(call.retry.stats().stopped(StopReason::CircuitOpen), 1);
}

#[test]
fn rejections_are_tried_again_where_asked_for_at_the_time_they_name() {
    let config = || exact(Retry::constant(9, SEC)).retry_rejections([RejectedKind::BulkheadFull, RejectedKind::RateLimited]);
    let mut call = Bench::new(config());
    assert_eq!(call.refused(&Rejected::new(RejectedKind::BulkheadFull)), Ok(SEC));
    assert_eq!(call.refused(&Rejected::new(RejectedKind::RateLimited).with_retry_after(70 * MS)), Ok(70 * MS));
    assert_eq!(call.refused(&Rejected::new(RejectedKind::CircuitOpen)), Err(StopReason::CircuitOpen));
    let stats = call.retry.stats();
    assert_eq!((stats.rejected_retries, stats.hinted_retries), (1, 1));
}

#[test]
fn timeouts_are_left_alone_where_asked_for() {
    assert_eq!(Bench::new(Retry::constant(3, SEC).retry_timeouts(false)).next(Outcome::TimedOut), Err(StopReason::NotRetryable));
}

#[test]
fn x09_a_wait_that_does_not_fit_is_refused_at_once_and_costs_no_token() {
    let mut call = Bench::new(exact(Retry::constant(9, 500 * MS)));
    let before = call.retry.budget().available();
    assert_eq!(call.by(300 * MS, FAILED), Err(StopReason::Deadline));
    assert_eq!(call.by(500 * MS, FAILED), Err(StopReason::Deadline), "strictly before the deadline");
    assert_eq!(call.by(10 * SEC, hinted(30 * SEC)), Err(StopReason::Deadline));
    assert_eq!(call.retry.budget().available(), before);
    assert_eq!(call.by(501 * MS, FAILED), Ok(500 * MS));
    let mut at_once = Bench::new(Retry::constant(9, Duration::ZERO));
    assert_eq!(at_once.by(Duration::ZERO, FAILED), Err(StopReason::Deadline), "h39: nothing begins at the deadline");
}

#[test]
fn the_order_of_the_reasons() {
    // All of them at once, taken away one by one.
    let spent = steadfast::Budget::new(0.1).min_per_second(0.0).burst(1).build().expect("valid");
    let retry = exact(Retry::constant(0, 2 * SEC)).budget(spent.clone());
    let now = Instant::now();
    assert!(spent.try_withdraw_at(now));
    let ask = |config: RetryConfig, nested: bool, outcome: Outcome, deadline: Duration| {
        let retry = config.build().expect("valid");
        let mut state = if nested { retry.start_nested() } else { retry.start() };
        retry.next_delay(&mut state, outcome, None, now, Some(now + deadline))
    };
    assert_eq!(ask(retry.clone(), true, Outcome::Panicked, SEC), Err(StopReason::NotRetryable));
    assert_eq!(ask(retry.clone(), true, hinted(DAY), SEC), Err(StopReason::Nested));
    assert_eq!(ask(retry.clone(), false, hinted(DAY), SEC), Err(StopReason::Attempts));
    let retry = retry.retries(1);
    assert_eq!(ask(retry.clone(), false, hinted(DAY), SEC), Err(StopReason::HintTooLong));
    assert_eq!(ask(retry.clone(), false, FAILED, SEC), Err(StopReason::Deadline));
    assert_eq!(ask(retry, false, FAILED, DAY), Err(StopReason::Budget));
}

#[test]
fn h69_a_nested_call_makes_no_retries_unless_told_to() {
    let now = Instant::now();
    let ask = |config: RetryConfig| {
        let retry = config.build().expect("valid");
        let mut state = retry.start_nested();
        retry.next_delay(&mut state, FAILED, None, now, None)
    };
    assert_eq!(ask(Retry::constant(3, Duration::ZERO)), Err(StopReason::Nested));
    assert_eq!(ask(Retry::constant(3, Duration::ZERO).even_when_nested()), Ok(Duration::ZERO));
}

#[test]
fn a_refusal_leaves_the_state_as_it_was() {
    let mut call = Bench::new(exact(Retry::exponential(9, SEC)));
    assert_eq!(call.by(DAY, FAILED), Ok(SEC));
    assert_eq!(call.by(SEC, FAILED), Err(StopReason::Deadline));
    assert_eq!(call.by(DAY, FAILED), Ok(2 * SEC), "not the third delay");
}

#[test]
fn decorrelated_jitter_keeps_its_state_per_call() {
    let retry = Retry::decorrelated(Retry::UNLIMITED, SEC).max_delay(1000 * SEC).without_budget().seed(1).build().expect("valid");
    let now = Instant::now();
    let mut long = retry.start();
    let furthest = (0..100).filter_map(|_| retry.next_delay(&mut long, FAILED, None, now, None).ok()).max();
    assert!(furthest > Some(500 * SEC));
    for _ in 0..100 {
        let mut fresh = retry.start();
        let first = retry.next_delay(&mut fresh, FAILED, None, now, None).expect("granted");
        assert!((SEC..=3 * SEC).contains(&first), "{first:?}");
    }
}

#[test]
fn h28_a_wait_for_ever_is_refused() {
    assert_eq!(Bench::new(exact(Retry::constant(3, Duration::MAX))).next(FAILED), Err(StopReason::Deadline));
    let mut call = Bench::new(exact(Retry::exponential(Retry::UNLIMITED, Duration::MAX).max_delay(Duration::MAX)));
    (0..100).for_each(|_| assert_eq!(call.next(FAILED), Err(StopReason::Deadline)));
}

#[test]
fn delays_of_ones_own_count_from_one() {
    let mut call = Bench::new(Retry::custom(3, |retry| MS * retry));
    assert_eq!([call.next(FAILED), call.next(FAILED), call.next(FAILED)], [Ok(MS), Ok(2 * MS), Ok(3 * MS)]);
    let config = Retry::custom(3, |_| MS);
    assert_eq!(config, config.clone());
    assert_ne!(config, Retry::custom(3, |_| MS));
    let other = Retry::with_backoff(3, Backoff::constant(MS));
    assert_eq!(other, Retry::constant(3, MS));
}

#[test]
fn a_seed_makes_the_policy_repeat_itself() {
    let run = |seed| {
        let mut call = Bench::new(Retry::exponential(10, SEC).seed(seed));
        (0..10).map(|_| call.next(FAILED)).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn statistics_add_up_read_well_and_begin_anew() {
    let retry = exact(Retry::constant(20, MS)).without_budget().build().expect("valid");
    let now = Instant::now();
    for failures in [0, 0, 0, 1, 9, 15] {
        let mut state = retry.start();
        (0..failures).for_each(|_| assert!(retry.next_delay(&mut state, FAILED, None, now, None).is_ok()));
        retry.finish(state, true);
    }
    let stats = retry.stats();
    assert_eq!(stats.succeeded_after, [3, 1, 0, 0, 0, 0, 0, 0, 0, 2], "ten or more are counted together");
    assert_eq!(stats.failed_without_retry(), 0);
    let mut state = retry.start();
    assert_eq!(retry.next_delay(&mut state, Outcome::Panicked, None, now, None), Err(StopReason::NotRetryable));
    // Asking after a success is a question, not a stop.
    assert!(retry.next_delay(&mut state, Outcome::Judged(Verdict::Success), None, now, None).is_err());
    retry.finish(state, false);
    let expected = "\
calls                          7
  first try                    3
  saved by a retry             3
  failed, retried              0
  failed, not retried          1
retries                       25
  transient                   25
  hinted                       0
  timed out                    0
  rejected                     0
stopped                        1
  not_retryable                1
";
    assert_eq!(retry.stats().to_string(), expected);
    retry.clone().reset_stats();
    assert_eq!(retry.stats(), steadfast::RetryStats::default());
}

#[test]
fn the_longest_wait_is_told_before_the_call() {
    assert_eq!(Retry::exponential(3, SEC).longest_wait(), Some(7 * SEC));
    assert_eq!(Retry::constant(3, SEC).jitter(Jitter::Additive(MS)).longest_wait(), Some(3003 * MS));
    assert_eq!(Retry::decorrelated(2, SEC).longest_wait(), Some(12 * SEC));
    assert_eq!(Retry::constant(5000, SEC).longest_wait(), Some(5000 * SEC));
    assert_eq!(Retry::linear(Retry::UNLIMITED, Duration::MAX).longest_wait(), Some(Duration::MAX));
    assert_eq!(Retry::custom(3, |_| panic!("not asked before it is needed")).longest_wait(), None);
    assert_eq!(Retry::custom(3, |_| SEC).max_delay(2 * SEC).longest_wait(), Some(6 * SEC));
    assert_eq!(Retry::constant(0, SEC).longest_wait(), Some(Duration::ZERO));
}

#[test]
fn a_call_carries_little() {
    assert!(size_of::<RetryState>() <= 24, "{}", size_of::<RetryState>());
    fn shareable<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    shareable::<Retry>();
    shareable::<RetryConfig>();
    shareable::<RetryState>();
}

#[tokio::test(start_paused = true)]
async fn h69_an_outer_pipeline_that_makes_no_retries_leaves_them_to_the_inner_one() {
    for (outer, made) in [(0, 4), (1, 2)] {
        let attempts = std::cell::Cell::new(0);
        let outer = Pipeline::builder("outer").retry(Retry::constant(outer, MS)).build().expect("valid");
        let inner = Pipeline::builder("inner").retry(Retry::constant(3, MS)).build().expect("valid");
        let call = outer.call(|| {
            inner.call(async || {
                attempts.set(attempts.get() + 1);
                Err::<(), _>("down")
            })
        });
        assert!(call.await.is_err());
        assert_eq!(attempts.get(), made);
    }
}

#[test]
fn each_reason_has_a_name_of_its_own() {
    use StopReason::{Attempts, Budget, CircuitOpen, Deadline, HintTooLong, Nested, NotRetryable, Rejected};
    let names = [NotRetryable, Attempts, Budget, Deadline, HintTooLong, CircuitOpen, Rejected(RejectedKind::BulkheadFull), Nested]
        .map(StopReason::as_str);
    let expected = ["not_retryable", "attempts", "budget", "deadline", "hint_too_long", "circuit_open", "rejected", "nested"];
    assert_eq!(names, expected);
}
