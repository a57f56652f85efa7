//! The steered rate, from the outside: when it is evaluated, what moves it, and what a caller notices.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use steadfast::steering::{ErrorRate, Forecast, Holt, HoltWinters, QueueDepth, ResponseTime, Signal, Steering, SteeringState, SystemLoad};
use steadfast::{Bulkhead, Call, Monitor, Pipeline, RateLimiter, RejectedKind};
use tokio::time::{Instant, advance, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A dial that a test turns: the bits of an f64.
#[derive(Clone, Default)]
struct Dial(Arc<AtomicU64>, Arc<AtomicUsize>);

impl Dial {
    fn at(value: f64) -> Self {
        let dial = Self::default();
        dial.turn(value);
        dial
    }
    fn turn(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
    fn reads(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
    fn signal(&self) -> impl Signal {
        let dial = self.clone();
        move |_: Instant| {
            dial.1.fetch_add(1, Ordering::Relaxed);
            Some(f64::from_bits(dial.0.load(Ordering::Relaxed)))
        }
    }
}

fn steered(steering: Steering) -> RateLimiter {
    RateLimiter::per_second(100).steered(steering).unwrap()
}

/// Asks for `units`, one by one and evenly, in the second to come.
async fn ask(limiter: &RateLimiter, units: u32) {
    for _ in 0..units {
        let _ = limiter.try_acquire(1);
        advance(SECOND / units).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_caller_in_an_interval_reads_the_signals_and_nobody_does_in_between() {
    let dial = Dial::at(0.9);
    let limiter = steered(Steering::between(10, 200).signal(dial.signal()));
    assert_eq!(dial.reads(), 0, "it begins with what was configured");
    ask(&limiter, 50).await;
    assert_eq!(dial.reads(), 0);
    ask(&limiter, 50).await;
    assert_eq!(dial.reads(), 1);
    advance(3600 * SECOND).await;
    assert_eq!(dial.reads(), 1, "nobody calls, nothing happens");
    ask(&limiter, 50).await;
    assert_eq!(dial.reads(), 2, "an hour is caught up with at once");
    assert_eq!(limiter.steering().unwrap().evaluations, 2);
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_that_come_at_once_one_evaluates() {
    let dial = Dial::at(0.9);
    let limiter = steered(Steering::between(10, 200).signal(dial.signal()));
    advance(SECOND).await;
    std::thread::scope(|scope| {
        let now = Instant::now();
        (0..8).for_each(|_| {
            let limiter = &limiter;
            scope.spawn(move || (0..100).for_each(|_| _ = limiter.try_acquire_at(1, now)));
        });
    });
    assert_eq!(dial.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn pressure_cuts_the_rate_and_relief_brings_it_back() {
    let dial = Dial::at(2.0);
    let limiter = steered(Steering::between(20, 200).signal(dial.signal()));
    for expected in [100, 70, 49, 34, 24, 20, 20] {
        assert_eq!(limiter.rate(), expected);
        advance(SECOND).await;
        let _ = limiter.try_acquire(1);
    }
    dial.turn(0.0);
    for _ in 0..40 {
        ask(&limiter, 10).await;
    }
    assert_eq!(limiter.rate(), 100, "as configured, and not beyond without need");
    for _ in 0..40 {
        ask(&limiter, 200).await;
    }
    assert_eq!(limiter.rate(), 200, "used, it goes up to the ceiling");
    assert_eq!(limiter.config(), RateLimiter::per_second(100), "the setting stays what it was");
}

#[tokio::test(start_paused = true)]
async fn the_new_rate_holds_for_the_call_that_found_it() {
    let dial = Dial::at(4.0);
    let limiter = RateLimiter::per_second(100).smooth().steered(Steering::between(1, 200).most_cut(0.9).signal(dial.signal())).unwrap();
    limiter.try_acquire(1).unwrap();
    advance(SECOND).await;
    limiter.try_acquire(1).unwrap();
    assert_eq!(limiter.rate(), 25);
    assert_eq!(limiter.try_acquire(1).unwrap_err().retry_after(), Some(Duration::from_millis(40)));
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_stays_owed_when_the_rate_moves() {
    let dial = Dial::at(4.0);
    let limiter = RateLimiter::per_second(100).burst(100).steered(Steering::between(10, 200).most_cut(0.9).signal(dial.signal())).unwrap();
    limiter.try_acquire(100).unwrap();
    advance(SECOND / 2).await;
    let before = limiter.available();
    assert_eq!(before, 50);
    advance(SECOND / 2).await;
    limiter.try_acquire(100).unwrap();
    assert_eq!((limiter.rate(), limiter.available()), (25, 0), "no refill comes with the change");
}

#[tokio::test(start_paused = true)]
async fn waiters_are_moved_with_the_rate() {
    let dial = Dial::at(0.0);
    let steering = Steering::between(1, 1_000).step(900.0).signal(dial.signal());
    let limiter = RateLimiter::per_second(1).smooth().max_wait(Duration::MAX).steered(steering).unwrap();
    limiter.try_acquire(1).unwrap();
    let (waiting, started) = (limiter.clone(), Instant::now());
    let waiter = tokio::spawn(async move {
        for _ in 0..10 {
            waiting.acquire(&Call::now()).await.unwrap();
        }
        started.elapsed()
    });
    // At one a second it would take ten; the first to come after a second finds the pressure gone.
    assert!(waiter.await.unwrap() < 2 * SECOND);
    assert!(limiter.rate() > 800);
}

#[tokio::test(start_paused = true)]
async fn h43_a_signal_that_says_nonsense_or_panics_says_nothing() {
    let sane = Dial::at(0.9);
    let steering = Steering::between(10, 200)
        .signal(|_: Instant| Some(f64::NAN))
        .signal(|_: Instant| Some(f64::NEG_INFINITY))
        .signal(|_: Instant| -> Option<f64> { panic!("signal") })
        .signal(sane.signal());
    let limiter = steered(steering);
    for _ in 0..5 {
        advance(SECOND).await;
        limiter.try_acquire(1).unwrap();
    }
    let state = limiter.steering().unwrap();
    assert_eq!((state.rate, state.evaluations, state.panics), (100, 5, 5));
    assert_eq!(state.pressure, Some(0.9));
}

#[tokio::test(start_paused = true)]
async fn a_signal_may_use_the_limiter_it_steers() {
    let limiter = Arc::new(std::sync::OnceLock::<std::sync::Mutex<Option<RateLimiter>>>::new());
    let inner = Arc::clone(&limiter);
    let signal = move |_: Instant| {
        let limiter = inner.get()?.lock().unwrap().clone()?;
        let _ = (limiter.try_acquire(1), limiter.rate(), limiter.steering(), limiter.set_burst(50), limiter.set_rate(80, SECOND));
        Some(0.9)
    };
    let live = steered(Steering::between(10, 200).signal(signal));
    limiter.set(std::sync::Mutex::new(Some(live.clone()))).unwrap();
    advance(SECOND).await;
    live.try_acquire(1).unwrap();
    assert_eq!(live.rate(), 80);
    limiter.get().unwrap().lock().unwrap().take(); // else it would live for ever
}

#[tokio::test(start_paused = true)]
async fn a_rate_set_by_hand_is_where_it_goes_on_from() {
    let dial = Dial::at(4.0);
    let limiter = steered(Steering::between(10, 200).signal(dial.signal()));
    advance(SECOND).await;
    limiter.try_acquire(1).unwrap();
    assert_eq!(limiter.rate(), 70);
    // The same setting again is no change: a file that is read anew does not undo the steering.
    assert!(limiter.reconfigure(&RateLimiter::per_second(100).burst(40)).unwrap());
    assert_eq!((limiter.rate(), limiter.config().burst(1)), (70, RateLimiter::per_second(100).burst(1)));
    limiter.set_rate(150, SECOND).unwrap();
    assert_eq!(limiter.rate(), 150);
    dial.turn(0.9);
    advance(SECOND).await;
    let _ = limiter.try_acquire(1);
    assert_eq!(limiter.rate(), 150);
    dial.turn(4.0);
    advance(SECOND).await;
    let _ = limiter.try_acquire(1);
    assert!(limiter.rate() < 150);
}

#[tokio::test(start_paused = true)]
async fn an_error_rate_is_of_the_attempts_since_the_last_reading_and_never_of_refusals() {
    let monitor = Monitor::new();
    let limiter = RateLimiter::per_second(1_000).burst(20).build().unwrap();
    let signal = ErrorRate::of(&monitor, "api").above(0.5);
    let api = Pipeline::builder("api").monitor(monitor.clone()).rate_limit(limiter.clone()).build().unwrap();
    let now = Instant::now();
    assert_eq!(signal.read(now), None, "nothing happened");
    for _ in 0..100 {
        let _ = api.call(|| async { Ok::<_, String>(()) }).await; // 80 of these are refused
    }
    assert_eq!(monitor.stats("api").unwrap().rejected_by(RejectedKind::RateLimited), 80);
    assert_eq!(signal.read(now), Some(0.0));
    assert_eq!(signal.read(now), None, "too few to tell");
    limiter.set_burst(1_000).unwrap();
    advance(SECOND).await;
    for i in 0..40 {
        let _ = api.call(|| async move { if i % 4 == 0 { Err("down") } else { Ok(()) } }).await;
    }
    assert_eq!(signal.read(now), Some(0.5), "a quarter fails, half is allowed");
    monitor.reset();
    for _ in 0..10 {
        let _ = api.call(|| async { Err::<(), _>("down") }).await;
    }
    assert_eq!(signal.read(now), Some(2.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_tracked_without_a_pipeline_is_a_signal_too() {
    let monitor = Monitor::new();
    let errors = ErrorRate::of(&monitor, "db").above(0.1);
    let slow = ResponseTime::p50_above(Duration::from_millis(10), &monitor, "db");
    for i in 0..20 {
        let query = async {
            sleep(Duration::from_millis(20)).await;
            if i % 2 == 0 { Err("down") } else { Ok(()) }
        };
        let _ = monitor.track("db", query).await;
    }
    advance(SECOND).await;
    assert_eq!(errors.read(Instant::now()), Some(5.0));
    assert!((slow.read(Instant::now()).unwrap() - 2.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn a_slow_dependency_is_cut_once_for_what_the_window_remembers() {
    let monitor = Monitor::new();
    let limiter = steered(Steering::between(10, 200).signal(ResponseTime::p95_above(Duration::from_millis(100), &monitor, "slow")));
    let api = Pipeline::builder("slow").monitor(monitor).rate_limit(limiter.clone()).build().unwrap();
    let slow = AtomicBool::new(true);
    for second in 0..25 {
        slow.store(second < 2, Ordering::Relaxed);
        for _ in 0..5 {
            let wait = Duration::from_millis(if slow.load(Ordering::Relaxed) { 200 } else { 20 });
            let operation = || async {
                sleep(wait).await;
                Ok::<_, String>(())
            };
            api.call(operation).await.unwrap();
            advance(Duration::from_millis(200) - wait).await;
        }
        if second == 9 {
            // Two seconds were bad, and ten remember them; a cut for each of those would be down at the floor.
            assert_eq!(limiter.rate(), 70, "second {second}");
        }
    }
    assert_eq!(limiter.rate(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fills_presses() {
    let bulkhead = Bulkhead::new(1).queue(10).build().unwrap();
    let signal = QueueDepth::of(&bulkhead).above(0.2);
    let now = Instant::now();
    assert_eq!(signal.read(now), Some(0.0));
    let _held = bulkhead.try_acquire().unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let bulkhead = bulkhead.clone();
            tokio::spawn(async move { bulkhead.acquire(&Call::now()).await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(signal.read(now), Some(2.0));
    tasks.iter().for_each(|task| task.abort());
    let full = Bulkhead::new(2).queue(0).build().unwrap();
    let _place = full.try_acquire().unwrap();
    assert_eq!(QueueDepth::of(&full).read(now), Some(1.0), "half of the places, half is allowed");
}

#[test]
fn the_load_of_this_machine_is_a_pressure_where_it_can_be_read() {
    let load = SystemLoad::above(1.0).read(Instant::now());
    assert_eq!(load.is_some(), cfg!(target_os = "linux"));
    assert!(load.is_none_or(|load| load >= 0.0));
}

#[tokio::test(start_paused = true)]
async fn a_forecast_moves_the_limit_before_the_load_moves() {
    // A day of 12 intervals of 10 s: quiet at 20/s, a rush of 100/s in the 7th. The limit must be up when the rush begins.
    let steering = Steering::between(10, 500).forecast(HoltWinters::multiplicative(12)).forecast_every(10 * SECOND).headroom(1.5).lead(1);
    let limiter = RateLimiter::per_second(200).steered(steering).unwrap();
    let rush = |second: u32| (second / 10) % 12 == 6;
    let mut refused_in_the_rush = 0;
    for second in 0..120 * 4 {
        let day = second / 120;
        if day == 3 {
            let (of_day, rate) = (second % 120, limiter.rate());
            match of_day {
                30..40 => assert!(rate < 60, "{rate} in a quiet hour"),
                // One interval ahead of it.
                52..59 => assert!(rate > 120, "{rate} before the rush, at {of_day}"),
                100..120 => assert!(rate < 60, "{rate} after it, at {of_day}"),
                _ => {}
            }
        }
        let units = if rush(second) { 100 } else { 20 };
        for _ in 0..units {
            let refused = limiter.try_acquire(1).is_err();
            refused_in_the_rush += u32::from(refused && day == 3 && rush(second));
            advance(SECOND / units).await;
        }
    }
    assert_eq!(refused_in_the_rush, 0);
}

#[tokio::test(start_paused = true)]
async fn idle_intervals_are_told_to_the_forecast_as_such() {
    #[derive(Clone, Default)]
    struct Seen(Arc<std::sync::Mutex<Vec<f64>>>);
    impl Forecast for Seen {
        fn observe(&mut self, value: f64) {
            self.0.lock().unwrap().push(value);
        }
        fn predict(&self, _: u32) -> Option<f64> {
            None
        }
    }
    let seen = Seen::default();
    let limiter =
        RateLimiter::per_minute(600).steered(Steering::between(1, 1_000).forecast(seen.clone()).forecast_every(2 * SECOND)).unwrap();
    advance(Duration::from_millis(1)).await; // sixths of a second do not add up to one
    ask(&limiter, 4).await; // second 0
    ask(&limiter, 6).await; // second 1
    advance(3 * SECOND).await; // seconds 2 to 4
    ask(&limiter, 2).await; // second 5
    let _ = limiter.try_acquire(1); // second 6
    // In units per minute: 10 in two seconds; none; 2 in two seconds.
    assert_eq!(*seen.0.lock().unwrap(), [300.0, 0.0, 60.0]);
    assert_eq!(limiter.rate(), 600, "a forecast that does not know changes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_forecast_that_panics_is_left_out() {
    struct Broken;
    impl Forecast for Broken {
        fn observe(&mut self, _: f64) {
            panic!("forecast");
        }
        fn predict(&self, _: u32) -> Option<f64> {
            None
        }
    }
    let limiter = steered(Steering::between(10, 200).forecast(Broken));
    for _ in 0..3 {
        ask(&limiter, 5).await;
    }
    assert_eq!((limiter.steering().unwrap().panics, limiter.rate()), (1, 100));
}

#[tokio::test(start_paused = true)]
async fn signals_bound_what_a_forecast_asks_for() {
    let dial = Dial::at(4.0);
    let limiter = steered(Steering::between(10, 400).forecast(Holt::new(0.5, 0.1).starting(300.0, 0.0)).signal(dial.signal()));
    for _ in 0..10 {
        ask(&limiter, 300).await;
    }
    assert!(limiter.rate() < 20, "{}", limiter.rate());
    dial.turn(0.0);
    for _ in 0..60 {
        ask(&limiter, 300).await;
    }
    assert_eq!(limiter.rate(), 400);
}

#[tokio::test(start_paused = true)]
async fn it_finds_a_capacity_that_changes_and_stays_near_it() {
    // What is over the capacity of a second fails: the error rate is all that tells of it. 300 a second are asked for.
    let monitor = Monitor::new();
    let limiter = RateLimiter::per_second(50).burst(5);
    let limiter = limiter.steered(Steering::between(10, 200).signal(ErrorRate::of(&monitor, "api").above(0.05))).unwrap();
    let api = Pipeline::builder("api").monitor(monitor).rate_limit(limiter.clone()).build().unwrap();
    for (capacity, seconds) in [(120, 60), (30, 60), (120, 60)] {
        let (mut good, mut bad) = (0, 0);
        for second in 0..seconds {
            let sent = std::cell::Cell::new(0_u32);
            for _ in 0..300 {
                let answer = api.call(|| async {
                    sent.set(sent.get() + 1);
                    if sent.get() > capacity { Err("overloaded") } else { Ok(()) }
                });
                let _ = answer.await;
                advance(SECOND / 300).await;
            }
            if second >= 20 {
                (good, bad) = (good + sent.get().min(capacity), bad + sent.get().saturating_sub(capacity));
            }
        }
        // Once it has found out: most of what could be done is done, and little is sent in vain.
        let all = capacity * (seconds - 20);
        assert!(good * 100 >= all * 85, "{good} of {all} at {capacity}");
        assert!(bad * 100 <= all * 10, "{bad} of {all} at {capacity}");
    }
}

#[test]
fn h43_every_fault_is_named_at_once() {
    let nonsense = Steering::between(50, 20)
        .every(Duration::ZERO)
        .headroom(0.5)
        .smoothing(0.0)
        .grow_below(f64::NAN)
        .most_cut(2.0)
        .step(f64::INFINITY)
        .lead(1_000_000);
    let error = RateLimiter::per_second(30).steered(nonsense).unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    assert_eq!(fields, ["ceiling", "every", "signal", "lead", "headroom", "smoothing", "grow_below", "most_cut", "step"]);

    let signal = || |_: Instant| None;
    let field = |error: steadfast::ConfigError| error.faults()[0].field().to_owned();
    assert_eq!(field(RateLimiter::per_second(5).steered(Steering::between(10, 20).signal(signal())).unwrap_err()), "rate");
    // A rate that the algorithm cannot do is found now, not when it is steered there.
    let huge = RateLimiter::per(10, Duration::from_nanos(50)).steered(Steering::between(10, 100).signal(signal()));
    assert_eq!(field(huge.unwrap_err()), "ceiling.rate");

    let limiter = steered(Steering::between(10, 200).signal(signal()));
    assert_eq!(field(limiter.steer(Steering::between(10, 200).signal(signal())).unwrap_err()), "steering");
}

#[test]
fn h43_what_a_signal_can_never_tell_is_named() {
    let (monitor, bulkhead) = (Monitor::new(), Bulkhead::new(5).build().unwrap());
    let steering = Steering::between(10, 200)
        .signal(ErrorRate::of(&monitor, "api").above(f64::NAN))
        .signal(ErrorRate::of(&monitor, "api").above(5.0).min_attempts(0))
        .signal(ResponseTime::p95_above(Duration::ZERO, &monitor, "api"))
        .signal(QueueDepth::of(&bulkhead).above(-0.5))
        .signal(SystemLoad::above(f64::INFINITY))
        .signal(SystemLoad::above(0.0));
    let error = RateLimiter::per_second(100).steered(steering).unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    let expected = ["error_rate.above", "error_rate.above", "error_rate.min_attempts", "response_time.above"];
    assert_eq!(fields[..4], expected, "{error}");
    assert_eq!(fields[4..], ["queue_depth.above", "system_load.above", "system_load.above"], "{error}");
}

#[tokio::test(start_paused = true)]
async fn h33_a_clock_that_went_back_does_not_stop_the_steering() {
    let dial = Dial::at(4.0);
    let limiter = steered(Steering::between(10, 200).signal(dial.signal()));
    let now = Instant::now();
    let _ = limiter.try_acquire_at(1, now + 3600 * SECOND);
    assert_eq!(dial.reads(), 1);
    // Of many threads each may be a second late with its reading.
    let _ = limiter.try_acquire_at(1, now + 3599 * SECOND);
    assert_eq!(dial.reads(), 1);
    let _ = limiter.try_acquire_at(1, now + SECOND);
    assert_eq!(dial.reads(), 2);
    let _ = limiter.try_acquire_at(1, now + 2 * SECOND);
    assert_eq!(dial.reads(), 3, "and it goes on an interval later");
}

#[tokio::test(start_paused = true)]
async fn h44_a_rate_set_by_hand_stays_between_floor_and_ceiling() {
    let dial = Dial::at(0.9);
    let limiter = steered(Steering::between(10, 200).signal(dial.signal()));
    for (set, rate) in [(10_000, 200), (1, 10), (50, 50)] {
        limiter.set_rate(set, SECOND).unwrap();
        advance(SECOND / 2).await;
        assert_eq!((limiter.rate(), limiter.steering().unwrap().rate), (rate, rate), "{set}");
        assert!(limiter.available() <= 200, "{set}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_works_in_a_pipeline_and_through_a_live_one() {
    let monitor = Monitor::new();
    let api = Pipeline::builder("api").monitor(monitor.clone()).rate_limit(RateLimiter::per_second(50)).build().unwrap();
    let limiter = api.rate_limiter().unwrap();
    limiter.steer(Steering::between(5, 50).signal(ErrorRate::of(&monitor, "api"))).unwrap();
    for _ in 0..6 {
        for _ in 0..20 {
            let _ = api.call(|| async { Err::<(), _>("down") }).await;
            advance(SECOND / 20).await;
        }
    }
    assert!(limiter.rate() < 15, "{}", limiter.rate());
    let state = limiter.steering().unwrap();
    assert_eq!(state.strongest, Some("error_rate"));
    // A call is counted once, though a pipeline looks twice.
    assert!((state.demand - 20.0).abs() < 1.5, "{state:?}");
    assert_eq!(RateLimiter::per_second(1).build().unwrap().steering(), None);
}

#[test]
fn h92_a_steered_limiter_allocates_nothing_between_evaluations() {
    let limiter = steered(Steering::between(10, 200).signal(|_: Instant| None).forecast(Holt::new(0.5, 0.1)));
    let now = Instant::now();
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| _ = limiter.try_acquire_at(1, now)));
    assert_eq!(counted.count_total, 0);
}

static_assertions::assert_impl_all!(Steering: Debug);
static_assertions::assert_impl_all!(SteeringState: Send, Sync, Unpin, Clone, Debug);
static_assertions::assert_impl_all!(Holt: Send, Sync, Unpin, Clone, Debug);
static_assertions::assert_impl_all!(HoltWinters: Send, Sync, Unpin, Clone, Debug);
static_assertions::assert_impl_all!(ErrorRate: Send, Sync, Unpin, Debug);
static_assertions::assert_impl_all!(ResponseTime: Send, Sync, Unpin, Debug);
static_assertions::assert_impl_all!(QueueDepth: Send, Sync, Unpin, Debug);
static_assertions::assert_impl_all!(SystemLoad: Send, Sync, Unpin, Debug);
// Signals and forecasts are objects.
fn _objects(_: &dyn Signal, _: Box<dyn Forecast>) {}
