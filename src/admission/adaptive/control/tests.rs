//! When a window is over, by itself: what was counted is given, and so is the time.

use super::*;
use crate::admission::adaptive::AdaptiveLimit;
use Step::{Restart, Settled, Wait};

const MS: f64 = 1e6;

struct Bench {
    control: Control,
    start: Instant,
}

impl Bench {
    fn new(config: AdaptiveLimitConfig) -> Self {
        let start = Instant::now();
        Self { control: Control::new(config, start), start }
    }

    /// Its limit has settled at 0 ms, where `pressed` calls had found no place.
    fn settled(config: AdaptiveLimitConfig, pressed: u64) -> Self {
        let mut bench = Self::new(config);
        assert_eq!(bench.control.look(bench.start, &answers(10_000), 0, pressed), Settled);
        bench
    }

    fn look(&mut self, millis: u64, window: Window) -> Step {
        self.pressed(millis, window, 0)
    }

    fn pressed(&mut self, millis: u64, window: Window, pressed: u64) -> Step {
        self.control.look(self.start + Duration::from_millis(millis), &window, 20, pressed)
    }
}

/// So many answers after 100 ms each, with five in flight.
fn answers(samples: u64) -> Window {
    let rtt = samples as f64 * 100.0 * MS;
    Window { samples, rtt, in_flight: samples * 5, peak: 5, calm: samples, calm_rtt: rtt, ..Window::default() }
}

fn lost(drops: u64, samples: u64) -> Window {
    Window { drops, ..answers(samples) }
}

#[test]
fn a_change_has_settled_after_three_times_what_is_in_flight_or_after_a_while() {
    let settled = |millis, told| Bench::new(AdaptiveLimit::new()).look(millis, answers(told));
    assert_eq!([59, 60].map(|told| settled(1, told)), [Wait, Settled]);
    assert_eq!([29_999, 30_000].map(|millis| settled(millis, 0)), [Wait, Settled]);
    // The others measure at once.
    assert_eq!(Bench::new(AdaptiveLimit::aimd()).look(100, answers(10)), Restart(20));
}

#[test]
fn a_window_is_over_after_its_time_and_its_calls() {
    let look = |millis, told| Bench::new(AdaptiveLimit::aimd()).look(millis, answers(told));
    assert_eq!([look(99, 1_000), look(100, 10), look(100, 9)], [Wait, Restart(20), Wait]);
    let look = |millis, told| Bench::settled(AdaptiveLimit::new(), 0).look(millis, answers(told));
    assert_eq!([look(99, 1_000), look(100, 49), look(100, 50)], [Wait, Wait, Restart(20)]);
    assert_eq!([look(4_999, 49), look(5_000, 9), look(5_000, 10)], [Wait, Wait, Restart(20)], "fifty windows");
}

#[test]
fn a_low_limit_that_keeps_callers_out_needs_five_calls_for_each_place() {
    let look = |limit, told, pressed: u64| Bench::settled(AdaptiveLimit::new().initial(limit), 7).pressed(100, answers(told), 7 + pressed);
    let is_over = |step| step != Wait;
    assert_eq!([look(4, 19, 50), look(4, 20, 21), look(4, 20, 20)].map(is_over), [false, true, false]);
    assert_eq!([look(1, 9, 50), look(1, 10, 50)].map(is_over), [false, true], "ten at least");
    assert_eq!([look(100, 49, 90), look(100, 50, 90)].map(is_over), [false, true], "and no more than others");
}

#[test]
fn most_calls_lost_is_a_reason_to_decide_before_the_limit_has_settled() {
    let look = |limit, millis, window| Bench::new(AdaptiveLimit::new().initial(limit)).look(millis, window) != Wait;
    assert_eq!([look(20, 100, lost(9, 9)), look(20, 100, lost(10, 10)), look(20, 99, lost(10, 10))], [false, true, false]);
    assert_eq!([look(20, 100, lost(10, 20)), look(20, 100, lost(11, 21))], [false, true], "more than half");
    assert_eq!([look(40, 100, lost(19, 19)), look(40, 100, lost(20, 20))], [false, true], "half of the limit at least");
}

#[test]
fn only_who_finds_no_place_in_a_window_presses_in_it() {
    // Ten calls of twenty places: no saturation, so a fifth less; unless as many were kept out meanwhile: then it is overload.
    let alarm = |before, now| {
        let mut bench = Bench::new(AdaptiveLimit::new());
        bench.control.pressed = before;
        bench.pressed(100, lost(10, 10), now)
    };
    assert_eq!([alarm(0, 0), alarm(100, 100), alarm(0, 100), alarm(100, 200)], [Restart(16), Restart(16), Restart(14), Restart(14)]);
    // The next window begins with none.
    let mut bench = Bench::new(AdaptiveLimit::new());
    assert_eq!(bench.pressed(100, lost(10, 10), 100), Restart(14));
    assert_eq!(bench.control.pressed, 100);
}

#[test]
fn after_a_deep_cut_what_was_sent_before_is_waited_for() {
    let mut bench = Bench::settled(AdaptiveLimit::new(), 0);
    assert_eq!(bench.look(100, answers(50)), Restart(20));
    // Saturated, all lost, and by the answers five are at work: those and a third.
    assert_eq!(bench.look(1_100, Window { in_flight: 50 * 20, calm: 0, ..lost(50, 50) }), Restart(7));
    assert_eq!(bench.look(1_300, lost(10, 10)), Wait);
    assert_eq!(bench.look(1_400, lost(11, 11)), Settled, "three times seven are through");
}

#[test]
fn the_share_of_errors_is_smoothed_over_ten_windows() {
    let mut bench = Bench::new(AdaptiveLimit::aimd());
    let mut after = |millis, failures| {
        bench.look(millis, Window { failures, ..answers(20 - failures) });
        (bench.control.failure_share * 1_000.0).round()
    };
    assert_eq!([after(100, 10), after(200, 0), after(300, 20)], [500.0, 450.0, 505.0]);
}

#[test]
fn pushback_alone_tells_nothing_of_the_time_of_a_call() {
    let mut bench = Bench::new(AdaptiveLimit::aimd());
    bench.look(100, answers(10));
    bench.look(200, lost(10, 0));
    assert_eq!((bench.control.windows, bench.control.rtt), (2, 100.0 * MS));
}

#[test]
fn what_was_learnt_stays_where_the_algorithm_stays() {
    let learnt = |config: AdaptiveLimitConfig| {
        let mut bench = Bench::new(AdaptiveLimit::vegas());
        bench.look(100, answers(10));
        assert_eq!(bench.control.baseline(), 100.0 * MS);
        bench.control.reconfigure(&config, bench.start);
        (bench.control.baseline(), bench.control.limit())
    };
    assert_eq!(learnt(AdaptiveLimit::vegas().window(Duration::from_secs(1)).max(15)), (100.0 * MS, 15));
    assert_eq!(learnt(AdaptiveLimit::vegas().alpha(2.0)), (0.0, 20));
}
