//! Other settings for a running pipeline: what stays, what changes, and for whom.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Budget, Bulkhead, Call, CircuitBreaker, CircuitState, CoDel, Error, Hedge, Jitter, Monitor, Outcome, PerKey, Pipeline,
    PipelineConfig, RateLimiter, RejectedKind, Retry, Throttle, Verdict,
};
use tokio::time::{advance, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn pipeline(config: &PipelineConfig) -> Pipeline {
    config.build("p").expect("sound")
}

fn breaker(config: steadfast::CircuitBreakerConfig) -> PipelineConfig {
    PipelineConfig::new().circuit_breaker(config)
}

async fn fail(pipeline: &Pipeline, times: usize) {
    for _ in 0..times {
        let _ = pipeline.call(|| async { Err::<(), _>("down") }).await;
    }
}

fn state(pipeline: &Pipeline) -> CircuitState {
    pipeline.circuit_breaker().expect("there is one").state()
}

#[tokio::test(start_paused = true)]
async fn h47_a_smaller_bulkhead_lets_go_what_runs_and_nobody_in_before() {
    let p = pipeline(&PipelineConfig::new().bulkhead(Bulkhead::new(100)));
    let bulkhead = p.bulkhead().expect("there is one").clone();
    let mut held: Vec<_> = (0..60).map(|_| bulkhead.try_acquire().expect("free")).collect();
    let changes = p.reconfigure(&PipelineConfig::new().bulkhead(Bulkhead::new(10))).expect("sound");
    assert_eq!(changes.to_string(), "bulkhead.limit: 100 -> 10");
    assert_eq!((bulkhead.limit(), bulkhead.in_use()), (10, 60), "the handle from before is that of the live one");
    while held.len() > 9 {
        let refused = p.call(|| async { Ok::<_, ()>(()) }).await;
        assert_eq!(refused.unwrap_err().kind(), Some(RejectedKind::BulkheadFull), "{} run", held.len());
        held.pop();
    }
    assert_eq!(p.call(|| async { Ok::<_, ()>(()) }).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn h47_a_larger_bulkhead_wakes_who_waits_and_a_longer_queue_takes_more() {
    let config = |limit, queue| PipelineConfig::new().bulkhead(Bulkhead::new(limit).queue(queue));
    let p = pipeline(&config(1, 1));
    let held = p.bulkhead().expect("there is one").try_acquire().expect("free");
    let task = |p: &Pipeline| {
        let p = p.clone();
        tokio::spawn(async move { p.call(|| async { Ok::<_, ()>(()) }).await })
    };
    let (waits, refused) = (task(&p), task(&p));
    tokio::task::yield_now().await;
    assert!(refused.await.expect("joined").unwrap_err().is_bulkhead_full(), "the queue is full");
    p.reconfigure(&config(1, 2)).expect("sound");
    let second = task(&p);
    tokio::task::yield_now().await;
    assert_eq!(p.bulkhead().expect("there is one").waiting(), 2);
    p.reconfigure(&config(2, 2)).expect("sound");
    assert_eq!((waits.await.expect("joined"), second.await.expect("joined")), (Ok(()), Ok(())));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_breakers_window_stays_and_new_rules_hold_at_once() {
    let p = pipeline(&breaker(CircuitBreaker::failure_rate(0.9).min_calls(20)));
    fail(&p, 10).await;
    assert_eq!(state(&p), CircuitState::Closed);
    let handle = p.circuit_breaker().expect("there is one").clone();
    let changes = p.reconfigure(&breaker(CircuitBreaker::failure_rate(0.5).min_calls(11))).expect("sound");
    assert!(changes.restarted().is_empty());
    assert_eq!(handle.snapshot().failures, 10);
    fail(&p, 1).await;
    assert_eq!((state(&p), handle.state()), (CircuitState::Open, CircuitState::Open), "the ten before count");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_in_flight_counts_under_the_new_rules() {
    let p = pipeline(&breaker(CircuitBreaker::consecutive_failures(100)));
    let handle = p.circuit_breaker().expect("there is one").clone();
    let permit = handle.try_acquire().expect("closed");
    p.reconfigure(&breaker(CircuitBreaker::consecutive_failures(1))).expect("sound");
    permit.settle(Outcome::Judged(Verdict::transient()));
    assert_eq!((handle.state(), handle.snapshot().stale), (CircuitState::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn another_window_begins_anew_and_says_so() {
    let p = pipeline(&breaker(CircuitBreaker::failure_rate(0.5).min_calls(11)));
    fail(&p, 10).await;
    let longer = breaker(CircuitBreaker::failure_rate(0.5).min_calls(11).window(60 * SECOND));
    let counted = breaker(CircuitBreaker::failure_rate(0.5).min_calls(5).count_window(10));
    for config in [longer, counted] {
        let changes = p.reconfigure(&config).expect("sound");
        assert_eq!(changes.restarted(), ["circuit_breaker.window"], "{changes}");
        let snapshot = p.circuit_breaker().expect("there is one").snapshot();
        assert_eq!((snapshot.calls, snapshot.state), (0, CircuitState::Closed));
        fail(&p, 4).await;
        assert_eq!((p.circuit_breaker().expect("there is one").snapshot().calls, state(&p)), (4, CircuitState::Closed));
    }
    fail(&p, 1).await;
    assert_eq!(state(&p), CircuitState::Open, "the new window counts");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_stays_open_but_no_longer_than_the_new_rules_allow() {
    let rules = |open_for| breaker(CircuitBreaker::consecutive_failures(1).open_for(open_for).open_jitter(0.0).max_open(open_for));
    let p = pipeline(&rules(600 * SECOND));
    fail(&p, 1).await;
    advance(10 * SECOND).await;
    p.reconfigure(&rules(700 * SECOND)).expect("sound");
    assert_eq!(p.circuit_breaker().expect("there is one").next_probe_in(), Some(590 * SECOND), "longer is for the next time");
    p.reconfigure(&rules(5 * SECOND)).expect("sound");
    assert_eq!((state(&p), p.circuit_breaker().expect("there is one").next_probe_in()), (CircuitState::Open, Some(5 * SECOND)));
    let error = p.call(|| async { Ok::<_, ()>(()) }).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(5 * SECOND));
    advance(5 * SECOND).await;
    assert_eq!(p.call(|| async { Ok::<_, ()>(()) }).await, Ok(()));
    assert_eq!(state(&p), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_a_hand_opened_for_ever_stays_open() {
    let p = pipeline(&breaker(CircuitBreaker::consecutive_failures(1)));
    p.circuit_breaker().expect("there is one").isolate();
    p.reconfigure(&breaker(CircuitBreaker::consecutive_failures(2).open_for(SECOND).max_open(SECOND))).expect("sound");
    assert_eq!(state(&p), CircuitState::Isolated);
    p.circuit_breaker().expect("there is one").open_for(Duration::MAX);
    p.reconfigure(&breaker(CircuitBreaker::consecutive_failures(2).open_for(SECOND / 2).max_open(SECOND / 2))).expect("sound");
    assert_eq!((state(&p), p.circuit_breaker().expect("there is one").next_probe_in()), (CircuitState::Open, None));
}

#[tokio::test(start_paused = true)]
async fn h45_fewer_probes_in_the_middle_of_a_round_decide_it() {
    let rules = |probes, close_after| breaker(CircuitBreaker::consecutive_failures(1).probes(probes).close_after(close_after));
    for (outcomes, expected) in [([true, true], CircuitState::Closed), ([true, false], CircuitState::Open)] {
        let p = pipeline(&rules(5, 3));
        let live = p.circuit_breaker().expect("there is one");
        live.force_open();
        live.half_open();
        for success in outcomes {
            let verdict = if success { Verdict::Success } else { Verdict::transient() };
            live.try_acquire().expect("a probe").settle(Outcome::Judged(verdict));
        }
        assert_eq!(live.state(), CircuitState::HalfOpen);
        p.reconfigure(&rules(2, 2)).expect("sound");
        assert_eq!(live.state(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn h47_a_probe_in_flight_still_decides() {
    let rules = |rate| breaker(CircuitBreaker::failure_rate(rate));
    let p = pipeline(&rules(0.5));
    let live = p.circuit_breaker().expect("there is one");
    live.force_open();
    live.half_open();
    let probe = live.try_acquire().expect("a probe");
    p.reconfigure(&rules(0.9)).expect("sound");
    assert!(live.try_acquire().is_err(), "its place is still taken");
    probe.settle(Outcome::Judged(Verdict::Success));
    assert_eq!(live.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_limiters_debt_stays_and_who_waits_goes_at_the_new_rate() {
    let config = |units| PipelineConfig::new().rate_limit(RateLimiter::per_second(units).burst(1).max_wait(60 * SECOND));
    let slow = PipelineConfig::new().rate_limit(RateLimiter::per(1, 10 * SECOND).burst(1).max_wait(60 * SECOND));
    let p = pipeline(&slow);
    assert_eq!(p.call(|| async { Ok::<_, ()>(()) }).await, Ok(()));
    let waiting = {
        let p = p.clone();
        tokio::spawn(async move { p.call(|| async { Ok::<_, ()>(()) }).await })
    };
    sleep(SECOND).await;
    assert_eq!(p.rate_limiter().expect("there is one").available(), 0);
    let begun = tokio::time::Instant::now();
    p.reconfigure(&config(2)).expect("sound");
    assert_eq!(p.rate_limiter().expect("there is one").available(), 0, "nothing comes free by the change");
    assert_eq!(waiting.await.expect("joined"), Ok(()));
    assert!(begun.elapsed() <= SECOND / 2 + Duration::from_millis(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_same_rate_again_costs_no_units() {
    let config = |queue| PipelineConfig::new().rate_limit(RateLimiter::per_minute(7).queue(queue));
    let p = pipeline(&config(10));
    for n in 0..1_000 {
        p.reconfigure(&config(10 + n % 2)).expect("sound");
    }
    assert_eq!(p.rate_limiter().expect("there is one").available(), 7);
}

#[tokio::test(start_paused = true)]
async fn another_algorithm_is_another_limiter_and_says_so() {
    let p = pipeline(&PipelineConfig::new().rate_limit(RateLimiter::per_second(1)));
    let changes = p.reconfigure(&PipelineConfig::new().rate_limit(RateLimiter::per_second(1).sliding_window())).expect("sound");
    assert_eq!(changes.restarted(), ["rate_limit"]);
    assert_eq!(changes.to_string(), "rate_limit.sliding_window: false -> true\nrate_limit: began anew");
}

#[tokio::test(start_paused = true)]
async fn the_retry_budget_keeps_its_tokens_and_the_statistics_go_on() {
    let config = |retries, burst| {
        let budget = Budget::new(0.1).min_per_second(0.0).burst(burst);
        PipelineConfig::new().retry(Retry::constant(retries, Duration::ZERO).budget(budget))
    };
    let p = pipeline(&config(3, 10));
    fail(&p, 2).await;
    let (left, handle) = (p.retry().expect("there is one").budget().available(), p.retry().expect("there is one").clone());
    assert_eq!((left, handle.stats().retries()), (4, 6));
    p.reconfigure(&config(1, 10)).expect("sound");
    fail(&p, 1).await;
    assert_eq!((p.retry().expect("there is one").budget().available(), p.retry().expect("there is one").stats().retries()), (3, 7));
    p.reconfigure(&config(1, 2)).expect("sound");
    assert_eq!((handle.budget().available(), p.config()), (2, config(1, 2)), "what does not fit is lost");
}

#[tokio::test(start_paused = true)]
async fn a_call_keeps_the_configuration_it_was_made_under() {
    let config = |seconds, retries| {
        PipelineConfig::new()
            .attempt_timeout(seconds * SECOND)
            .total_timeout(100 * seconds * SECOND)
            .retry(Retry::constant(retries, SECOND).jitter(Jitter::None))
    };
    let p = pipeline(&config(10, 2));
    let attempts = Cell::new(0);
    let begun = tokio::time::Instant::now();
    let call = p.call(|| {
        attempts.set(attempts.get() + 1);
        std::future::pending::<Result<(), ()>>()
    });
    let change = async {
        sleep(SECOND).await;
        p.reconfigure(&config(1, 0)).expect("sound");
        let begun = tokio::time::Instant::now();
        let error = p.call(std::future::pending::<Result<(), ()>>).await.unwrap_err();
        assert_eq!((error.attempts(), begun.elapsed()), (Some(1), SECOND));
    };
    let (result, ()) = tokio::join!(call, change);
    assert_eq!((result.unwrap_err().attempts(), attempts.get()), (Some(3), 3));
    assert_eq!(begun.elapsed(), 32 * SECOND);
}

#[test]
fn each_call_sees_one_configuration_whole() {
    let config =
        |n: u32| PipelineConfig::new().total_timeout(n * 1_000 * SECOND).retry(Retry::constant(n, Duration::ZERO).without_budget());
    let p = pipeline(&config(1));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
                runtime.block_on(async {
                    for _ in 0..3_000 {
                        let (attempts, limit) = (Cell::new(0), Cell::new(Duration::ZERO));
                        let call = p.call_with(|attempt| {
                            attempts.set(attempts.get() + 1);
                            limit.set(limit.get().max(attempt.remaining().unwrap_or_default()));
                            async { Err::<(), _>(()) }
                        });
                        assert_eq!(call.await, Err(Error::Inner(())));
                        let (retries, thousands) = (attempts.get() - 1, limit.get().as_secs().div_ceil(1_000));
                        assert_eq!(retries, thousands, "retries of one configuration, the deadline of another");
                    }
                    done.store(true, Ordering::Relaxed);
                });
            });
        }
        scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                n += 1;
                p.reconfigure(&config(1 + n % 4)).expect("sound");
                std::thread::yield_now();
            }
        });
    });
}

#[tokio::test(start_paused = true)]
async fn policies_come_and_go() {
    let p = pipeline(&PipelineConfig::new());
    let before = p.clone();
    let all = Pipeline::http("all").build().expect("sound").config().rate_limit(RateLimiter::per_second(5));
    p.reconfigure(&all).expect("sound");
    assert_eq!(before.config(), all, "for every clone");
    assert!(before.to_string().contains("adaptive limit") && before.stats().circuit_breaker.is_some());
    let mut events = p.events();
    p.circuit_breaker().expect("there is one").force_open();
    let told = events.try_next();
    assert!(format!("{told:?}").contains("CircuitChanged"), "the new breaker is heard: {told:?}");
    p.reconfigure(&PipelineConfig::new()).expect("sound");
    assert_eq!(p.call(|| async { Ok::<_, ()>(()) }).await, Ok(()));
    assert_eq!(p.config(), PipelineConfig::new());
}

#[tokio::test(start_paused = true)]
async fn the_monitor_goes_on_counting() {
    let p = PipelineConfig::new().builder("p").monitor(Monitor::new()).build().expect("sound");
    fail(&p, 2).await;
    p.reconfigure(&p.config().attempt_timeout(SECOND)).expect("sound");
    fail(&p, 1).await;
    let report = p.monitor().expect("there is one").report();
    assert_eq!(report.iter().next().map(|row| row.all_time().failures()), Some(3));
}

#[test]
fn faulty_settings_change_nothing_at_all() {
    let good = PipelineConfig::new().total_timeout(10 * SECOND).bulkhead(Bulkhead::new(5));
    let p = pipeline(&good);
    let bad = PipelineConfig::new()
        .total_timeout(SECOND)
        .attempt_timeout(2 * SECOND)
        .bulkhead(Bulkhead::new(9))
        .rate_limit(RateLimiter::per_second(0));
    let error = p.reconfigure(&bad).unwrap_err();
    assert_eq!(error.to_string().lines().next(), Some("pipeline `p` cannot be built, 2 problems:"));
    assert_eq!((p.config(), p.bulkhead().map(Bulkhead::limit)), (good, Some(5)));
}

#[test]
fn a_shared_policy_changes_for_everybody() {
    let shared = Bulkhead::new(5).build().expect("sound");
    let p = Pipeline::builder("a").bulkhead(shared.clone()).build().expect("sound");
    p.reconfigure(&p.config().bulkhead(Bulkhead::new(7))).expect("sound");
    assert_eq!(shared.limit(), 7);
    assert!(shared.try_acquire().is_ok() && Call::now().cost_units() == 1);
}

#[test]
fn nothing_new_is_no_change() {
    let p = Pipeline::http("p").build().expect("sound");
    let changes = p.reconfigure(&p.config()).expect("sound");
    assert!(changes.is_empty());
    assert_eq!(changes.to_string(), "nothing changed");
}

#[tokio::test(start_paused = true)]
async fn every_configuration_can_follow_every_other() {
    let retry = |n| Retry::exponential(n, SECOND);
    let all = [
        PipelineConfig::new(),
        PipelineConfig::new().total_timeout(SECOND).attempt_timeout(SECOND / 2).monitor(true),
        Pipeline::http("x").build().expect("sound").config(),
        Pipeline::database("x").build().expect("sound").config().rate_limit(RateLimiter::per_second(100).max_wait(SECOND)),
        PipelineConfig::new().retry(retry(2).without_budget()).circuit_breaker(CircuitBreaker::consecutive_failures(3)),
        PipelineConfig::new().retry(retry(0)).circuit_breaker(CircuitBreaker::slow_calls(SECOND, 0.5).count_window(10)),
        PipelineConfig::new().rate_limit(RateLimiter::per_minute(600).sliding_window()),
        PipelineConfig::new().rate_limit(RateLimiter::per(9, 7 * SECOND).burst(3)).bulkhead(Bulkhead::new(1)),
        PipelineConfig::new().bulkhead(Bulkhead::new(usize::MAX >> 4).max_wait(Duration::ZERO)).monitor(true),
    ];
    for before in &all {
        for after in &all {
            let p = pipeline(before);
            assert_eq!(p.call(|| async { Ok::<_, ()>(()) }).await, Ok(()));
            for config in [after, before, after] {
                let same = p.config() == *config;
                let changes = p.reconfigure(config).expect("sound");
                assert_eq!((p.config(), changes.is_empty()), (config.clone(), same), "{changes}");
                assert!(!p.to_string().is_empty() && p.explain().attempts() > 0 && !p.stats().name.is_empty());
                let called = p.call(|| async { Ok::<_, ()>(()) }).await;
                assert!(called.is_ok() || called.unwrap_err().is_rate_limited());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h47_what_is_asked_for_is_in_force_for_every_policy() {
    let none = PipelineConfig::new;
    let per_key = || PerKey::new(9).rate_limit(RateLimiter::per_second(5));
    let shed = CoDel::target(SECOND / 20);
    let all = [
        none(),
        none().retry(Retry::constant(2, SECOND)),
        none().retry(Retry::exponential(3, SECOND).without_budget()),
        none().hedge(Hedge::after(SECOND).idempotent()),
        none().hedge(Hedge::at_percentile(0.9).only_idempotent_calls().max_hedges(3)),
        breaker(CircuitBreaker::failure_rate(0.5)),
        breaker(CircuitBreaker::consecutive_failures(3).count_window(50).ramp(SECOND)),
        none().throttle(Throttle::new()),
        none().throttle(Throttle::new().window(9 * SECOND).max_rejection(0.5)),
        none().rate_limit(RateLimiter::per_second(5)),
        none().rate_limit(RateLimiter::per_hour(50).sliding_window().max_wait(SECOND).shed(shed)),
        none().bulkhead(Bulkhead::new(4)),
        none().bulkhead(Bulkhead::new(7).queue(4).shed(shed)),
        none().adaptive_limit(AdaptiveLimit::new()),
        none().adaptive_limit(AdaptiveLimit::vegas().queue(9).shed(shed)),
        none().per_key(per_key()),
        none().per_key(per_key().bulkhead(Bulkhead::new(3))),
        none().per_key(PerKey::new(20).statistics(true).idle(SECOND)),
    ];
    for before in &all {
        for after in &all {
            let p = pipeline(before);
            let changes = p.reconfigure(after).expect("sound");
            assert_eq!(p.config(), *after, "{before:?}");
            assert_eq!(changes.is_empty(), before == after, "{before:?} {after:?}: {changes}");
            assert_eq!(p.key("a").call(|| async { Ok::<_, String>(1) }).await, Ok(1));
        }
    }
}
