//! The monitor alone, from outside: what a user of `track`, `timer`, `stats` and `report` sees. Paused time throughout.

use static_assertions::assert_impl_all;
use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use steadfast::{
    CallEnd, Event, Events, Latency, Monitor, PercentileError, RejectedKind, Report, Snapshot, Stats, Timer, Track, Window, percentile,
};
use tokio::time::{advance, sleep};

assert_impl_all!(Monitor: Send, Sync, Clone, Default, std::fmt::Debug);
assert_impl_all!(Snapshot: Send, Sync, Clone, PartialEq, std::fmt::Debug, std::fmt::Display);
assert_impl_all!(Report: Send, Sync, Clone, PartialEq, Default, std::fmt::Debug, std::fmt::Display);
assert_impl_all!(Stats: Send, Sync, Clone, PartialEq, Default, std::fmt::Debug);
assert_impl_all!(Latency: Send, Sync, Clone, PartialEq, Default, std::fmt::Debug);
assert_impl_all!(Timer: Send, Sync, std::fmt::Debug);
assert_impl_all!(Track<std::future::Ready<()>>: Send, Sync, Unpin, std::fmt::Debug);
assert_impl_all!(Events: Send, Sync, std::fmt::Debug);
assert_impl_all!(Event: Send, Sync, Clone, PartialEq, std::fmt::Debug, std::fmt::Display);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

async fn after(wait: Duration, result: Result<u8, &'static str>) -> Result<u8, &'static str> {
    sleep(wait).await;
    result
}

fn stats(monitor: &Monitor, name: &str) -> Snapshot {
    monitor.stats(name).expect("this name was used")
}

/// Polls once.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn i2_10_results_pass_through_and_errors_are_timed_too() {
    let monitor = Monitor::new();
    assert_eq!(monitor.track("db", after(ms(100), Ok(7))).await, Ok(7));
    assert_eq!(monitor.track("db", after(ms(300), Err("down"))).await, Err("down"));
    let stats = stats(&monitor, "db");
    assert_eq!((stats.calls(), stats.successes(), stats.failures(), stats.attempts()), (2, 1, 1, 0));
    assert_eq!(stats.error_rate(), 0.5);
    let latency = stats.call_latency();
    assert_eq!((latency.count(), latency.min(), latency.max(), latency.mean()), (2, ms(100), ms(300), ms(200)));
    assert_eq!(latency.total(), ms(400));
}

#[tokio::test(start_paused = true)]
async fn h15_a_dropped_future_is_abandoned_and_an_unpolled_one_never_began() {
    let monitor = Monitor::new();
    drop(monitor.track("db", ready(Ok::<(), ()>(()))));
    assert_eq!(monitor.stats("db").map(|s| s.calls()), Some(0));
    {
        let mut tracked = pin!(monitor.track("db", pending::<Result<(), ()>>()));
        assert!(poll(tracked.as_mut()).is_pending());
        advance(ms(50)).await;
    }
    let stats = stats(&monitor, "db");
    assert_eq!((stats.calls(), stats.abandoned()), (1, 1));
    assert_eq!(stats.error_rate(), 0.0, "nobody knows how it would have ended");
    assert_eq!(stats.call_latency().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn h15_cancelled_at_every_poll_each_call_is_counted_once() {
    let monitor = Monitor::new();
    for polls in 1..=4_u64 {
        let mut tracked = Box::pin(monitor.track("steps", async {
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
            Ok::<_, ()>(())
        }));
        let mut done = false;
        for _ in 0..polls {
            done = done || poll(tracked.as_mut()).is_ready();
        }
        drop(tracked);
        let stats = stats(&monitor, "steps");
        assert_eq!(stats.calls(), polls);
        assert_eq!(done, polls >= 3);
    }
    let stats = stats(&monitor, "steps");
    assert_eq!((stats.successes(), stats.abandoned()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_counts_as_one_even_when_caught_first() {
    let monitor = Monitor::new();
    let mut tracked = Box::pin(monitor.track("db", async {
        tokio::task::yield_now().await;
        assert!(stats(&monitor, "db").calls() > 0, "boom");
        Ok::<(), ()>(())
    }));
    assert!(poll(tracked.as_mut()).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| poll(tracked.as_mut()))).is_err());
    drop(tracked);
    let stats = stats(&monitor, "db");
    assert_eq!((stats.calls(), stats.panics(), stats.abandoned()), (1, 1, 0));
    assert_eq!(stats.error_rate(), 1.0);
}

#[tokio::test(start_paused = true)]
async fn i0_33_a_timer_may_be_read_at_any_time_and_is_drop_safe() {
    let monitor = Monitor::new();
    let timer = monitor.timer("render");
    advance(ms(20)).await;
    assert_eq!(timer.elapsed(), ms(20));
    advance(ms(20)).await;
    timer.success();
    monitor.timer("render").failure();
    drop(monitor.timer("render"));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _timer = monitor.timer("render");
        panic!("boom");
    }));
    assert!(panicked.is_err());
    let stats = stats(&monitor, "render");
    assert_eq!((stats.calls(), stats.successes(), stats.failures(), stats.abandoned(), stats.panics()), (4, 1, 1, 1, 1));
    assert_eq!(stats.call_latency().max(), ms(40));
}

#[tokio::test(start_paused = true)]
async fn windows_roll_off_exactly() {
    let monitor = Monitor::new();
    monitor.timer("db").failure();
    let mut waited = Duration::ZERO;
    for window in Window::ALL {
        let seen = || stats(&monitor, "db").window(window).failures();
        advance(window.length() - waited - ms(1)).await;
        assert_eq!(seen(), 1, "{window:?}");
        advance(ms(1)).await;
        assert_eq!(seen(), 0, "{window:?}");
        waited = window.length();
    }
    assert_eq!(stats(&monitor, "db").failures(), 1, "all time never forgets");
}

#[tokio::test(start_paused = true)]
async fn a_minute_of_calls_is_in_the_windows_it_belongs_to() {
    let monitor = Monitor::new();
    for second in 0..120 {
        let timer = monitor.timer("db");
        if second < 115 {
            timer.success()
        } else {
            timer.failure()
        }
        advance(ms(1_000)).await;
    }
    // It is second 120, in which nothing has happened yet.
    let stats = stats(&monitor, "db");
    let calls = Window::ALL.map(|window| stats.window(window).calls());
    assert_eq!((calls, stats.calls()), ([9, 55, 120], 120));
    assert_eq!(stats.window(Window::TenSeconds).error_rate(), 5.0 / 9.0);
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_values_that_merge() {
    let (here, there) = (Monitor::new(), Monitor::new());
    let both = Monitor::new();
    for (monitor, millis) in [(&here, 10), (&here, 20), (&there, 3_000), (&there, 7_200_000)] {
        for monitor in [monitor, &both] {
            let _ = monitor.track("db", after(ms(millis), Ok(1))).await;
        }
    }
    there.timer("only.there").failure();
    both.timer("only.there").failure();

    let before = stats(&here, "db");
    let mut merged = before.clone();
    merged.merge(&stats(&there, "db"));
    assert_eq!(merged.all_time(), stats(&both, "db").all_time());
    assert_eq!((merged.calls(), merged.call_latency().beyond_range()), (4, 1));
    assert_eq!(before.calls(), 2, "a snapshot does not move");

    let mut report = here.report();
    report.merge(&there.report());
    let names: Vec<_> = report.iter().map(Snapshot::name).collect();
    assert_eq!(names, ["db", "only.there"]);
    assert_eq!(report.get("db").map(|s| s.calls()), Some(4));

    let mut stats = Stats::default();
    stats.merge(&merged);
    assert_eq!(&stats, merged.all_time());
}

#[tokio::test(start_paused = true)]
async fn two_handles_and_all_threads_share_one_table() {
    let monitor = Monitor::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let monitor = monitor.clone();
            scope.spawn(move || {
                for i in 0..500 {
                    let timer = monitor.timer(if i % 5 == 0 { "rare" } else { "often" });
                    if thread % 2 == 0 { timer.success() } else { timer.failure() }
                }
            });
        }
    });
    let (often, rare) = (stats(&monitor, "often"), stats(&monitor, "rare"));
    assert_eq!((often.successes(), often.failures(), rare.successes(), rare.failures()), (800, 800, 200, 200));
    assert_eq!(often.call_latency().count(), 1_600);
}

#[tokio::test(start_paused = true)]
async fn reset_forgets_calls_and_keeps_names() {
    let monitor = Monitor::new();
    let running = monitor.timer("db");
    monitor.timer("db").success();
    monitor.reset();
    assert_eq!(monitor.report().len(), 1);
    assert_eq!(*stats(&monitor, "db"), Stats::default());
    running.success();
    assert_eq!(stats(&monitor, "db").calls(), 1);
    assert_eq!(monitor.stats("never"), None);
}

#[tokio::test(start_paused = true)]
async fn h87_a_million_names_make_a_bounded_table() {
    let monitor = Monitor::new();
    monitor.timer("first").success();
    for i in 0..20_000 {
        monitor.timer(&format!("user-{i}")).success();
    }
    let report = monitor.report();
    assert_eq!(report.len(), 1_001);
    assert_eq!(report.get(Monitor::OTHER).map(|s| s.calls()), Some(20_001 - 1_000));
    assert_eq!(report.iter().map(|s| s.calls()).sum::<u64>(), 20_001);
    assert_eq!(stats(&monitor, "first").calls(), 1);

    let none = Monitor::with_max_names(0);
    none.timer("any").success();
    none.timer("other").success();
    assert_eq!(none.report().len(), 1);
    assert_eq!(stats(&none, "other").calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn h85_a_hostile_name_cannot_forge_a_line() {
    let monitor = Monitor::new();
    let hostile = "db\nERROR all is lost\r\u{1b}[31m\u{0}\u{7f}\u{202e}";
    monitor.timer(hostile).success();
    monitor.timer(&"x".repeat(1 << 20)).success();
    let report = monitor.report();
    let text = format!("{report}{report:#}{report:?}{monitor:?}");
    assert!(text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}')), "{text}");
    assert_eq!(report.to_string().lines().count(), 3);
    assert!(report.iter().all(|s| s.name().len() <= 128));
    assert_eq!(stats(&monitor, hostile).calls(), 1, "found under the name that was given");
}

#[tokio::test(start_paused = true)]
async fn h86_values_and_errors_are_in_no_output() {
    let monitor = Monitor::new();
    let tracked = monitor.track("db", after(ms(1), Err("hunter2")));
    assert!(!format!("{tracked:?}").contains("hunter2"));
    let _ = tracked.await;
    assert!(!format!("{:#?}{:#}{}", monitor, monitor.report(), monitor.report()).contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn the_tables_are_what_a_person_likes() {
    let monitor = Monitor::new();
    for millis in 1..=100 {
        let _ = monitor.track("db.query", after(ms(millis), if millis % 10 == 0 { Err("down") } else { Ok(1) })).await;
    }
    drop(monitor.timer("render"));
    assert_eq!(
        monitor.report().to_string(),
        "\
name      calls  success  failure  rejected  abandoned  panicked  errors  attempts     mean      p50      p90      p95      p99   p99.9     max
db.query    100       90       10         0          0         0  10.0 %         0  50.5 ms  50.2 ms  90.1 ms  95.2 ms  99.3 ms  100 ms  100 ms
render        1        0        0         0          1         0   0.0 %         0        -        -        -        -        -       -       -
"
    );
    assert_eq!(
        stats(&monitor, "db.query").to_string(),
        "\
db.query         10 s    1 min    5 min  all time
calls             100      100      100       100
  success          90       90       90        90
  failure          10       10       10        10
error rate     10.0 %   10.0 %   10.0 %    10.0 %
call latency
  min         1.00 ms  1.00 ms  1.00 ms   1.00 ms
  mean        50.5 ms  50.5 ms  50.5 ms   50.5 ms
  p50         50.2 ms  50.2 ms  50.2 ms   50.2 ms
  p90         90.1 ms  90.1 ms  90.1 ms   90.1 ms
  p95         95.2 ms  95.2 ms  95.2 ms   95.2 ms
  p99         99.3 ms  99.3 ms  99.3 ms   99.3 ms
  p99.9        100 ms   100 ms   100 ms    100 ms
  max          100 ms   100 ms   100 ms    100 ms
"
    );
    assert!(format!("{:#}", monitor.report()).contains("\n\nrender"));
}

#[test]
fn works_outside_a_runtime() {
    let monitor = Monitor::default();
    monitor.timer("sync").success();
    assert_eq!(stats(&monitor, "sync").calls(), 1);
    assert_eq!(stats(&monitor, "sync").rejected_by(RejectedKind::CircuitOpen), 0);
}

#[test]
fn i1_19_percentile() {
    assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0, 5.0], 50.0), Ok(3.0));
    assert_eq!(percentile(&[], 50.0), Err(PercentileError::Empty));
    assert_eq!(percentile(&[1.0], 101.0).map_err(|e| e.to_string()), Err("101 is not a percentile; it must be within 0 and 100".into()));
}

#[test]
fn call_ends_have_stable_names() {
    let ends = [CallEnd::Success, CallEnd::Failure, CallEnd::Rejected(RejectedKind::CircuitOpen), CallEnd::Abandoned, CallEnd::Panicked];
    assert_eq!(ends.map(CallEnd::as_str), ["success", "failure", "circuit_open", "abandoned", "panicked"]);
}
