//! The law against a dependency that can be reckoned by hand.

use super::*;

const MS: f64 = 1e6;

/// A saturated window of a dependency with ten servers, at this limit.
fn saturated(limit: f64, work: f64) -> Window {
    let rtt = work * (limit / 10.0).max(1.0);
    let in_flight = limit as u64 * 100;
    Window { samples: 100, rtt: rtt * 100.0, in_flight, peak: limit as u32, elapsed: rtt * 100.0 / limit, ..Window::default() }
}

fn settled(law: &mut Standing, mut limit: f64, work: f64, windows: usize) -> Vec<f64> {
    let step = |_| {
        limit = law.next(&saturated(limit, work), limit);
        limit
    };
    (0..windows).map(step).collect()
}

#[test]
fn a_limit_too_high_is_halved_until_that_costs_throughput() {
    let mut law = Standing::new(TOLERANCE);
    assert_eq!(settled(&mut law, 160.0, 100.0 * MS, 8), [80.0, 40.0, 20.0, 10.0, 5.0, 15.0, 14.0, 14.0]);
    assert_eq!(law.baseline(), 100.0 * MS);
}

#[test]
fn a_slower_server_costs_one_cut_and_a_longer_queue_the_queue() {
    let mut law = Standing::new(TOLERANCE);
    settled(&mut law, 20.0, 100.0 * MS, 10);
    let slower = settled(&mut law, 14.0, 300.0 * MS, 4);
    assert_eq!((slower[0] < 10.0, slower[2], slower[3]), (true, 14.0, 14.0), "{slower:?}");
    assert_eq!(law.baseline(), 300.0 * MS);
    let longer = settled(&mut law, 40.0, 300.0 * MS, 6);
    assert!((10.0..=16.0).contains(&longer[5]), "{longer:?}");
}

#[test]
fn timeouts_that_a_cut_does_not_lessen_are_usual() {
    let mut law = Standing::new(TOLERANCE);
    settled(&mut law, 14.0, 100.0 * MS, 10);
    // Five times slower: an attempt in seven times out by itself, under each limit.
    let step = |law: &mut Standing, limit| law.next(&Window { drops: 14, ..saturated(limit, 400.0 * MS) }, limit);
    let cut = step(&mut law, 10.0);
    assert_eq!(cut, 5.0, "no deeper at once");
    assert_eq!(step(&mut law, cut), 10.0, "it cost answers");
    let held = step(&mut law, 10.0);
    assert!(held >= 10.0, "{held}");
    let all_lost = Window { drops: 100, ..saturated(held, 1000.0 * MS) };
    assert!(law.next(&all_lost, held) <= 0.5 * held, "that is another matter");
}

#[test]
fn a_burst_makes_room_and_a_quiet_window_changes_nothing() {
    let mut law = Standing::new(TOLERANCE);
    let calm = Window { calm: 60, calm_rtt: 60.0 * 100.0 * MS, elapsed: 1000.0 * MS, ..Window::default() };
    let window = |peak| Window { samples: 100, rtt: 100.0 * 120.0 * MS, in_flight: 900, peak, ..calm };
    assert_eq!(law.next(&window(19), 20.0), 20.0);
    assert_eq!(law.next(&window(20), 20.0), 26.0);
    assert_eq!(law.next(&window(26), 26.0), 34.0, "whole places");
    assert_eq!(law.calm_level(), 9, "no more than are in flight");
    assert_eq!(law.next(&Window { failure_share: 0.5, ..window(26) }, 26.0), 26.0, "h64");
}

// ---- each rule by itself ----
//
// A dependency whose calls take 100 ms, known for sure; the figures are worked out by hand. A tolerance of a half makes them exact: for so
// many calls at work the limit is one and a half times as much.

fn unknown() -> Standing {
    Standing::new(0.5)
}

/// That `busy` calls are worked on at once is known.
fn knows(busy: f64) -> Standing {
    let throughput = Mean::of(busy / (100.0 * MS), 100.0);
    Standing { baseline: Mean::of(100.0 * MS, 400.0), floor: 100.0 * MS, is_sure: true, throughput, ..unknown() }
}

/// A saturated window of 100 calls, in which calls took so many milliseconds and the servers did the work of `busy` calls.
fn now(limit: f64, rtt: f64, busy: f64) -> Now {
    Now {
        limit,
        calls: 100.0,
        rtt: rtt * MS,
        in_flight: limit,
        peak: limit,
        throughput: busy / (100.0 * MS),
        flow: limit / (rtt * MS),
        is_saturated: true,
        is_pressed: false,
        lost: 0.0,
        is_dropping: false,
        is_failing: false,
    }
}

fn lossy(limit: f64, lost: f64, busy: f64) -> Now {
    Now { lost, is_dropping: true, ..now(limit, 100.0, busy) }
}

/// A window of 100 calls that meets no limit, and tells nothing but this.
fn quiet(drops: u64) -> Window {
    Window { samples: 100, rtt: 100.0 * 100.0 * MS, in_flight: 500, peak: 5, drops, elapsed: 2_000.0 * MS, ..Window::default() }
}

fn near(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 1e-9
}

#[test]
fn a_dependency_never_waits_for_the_next_call() {
    let limits = [0.2, 0.99, 1.0, 1.4, 2.0, 10.0].map(|busy| Standing::new(TOLERANCE).limit_for(busy));
    assert_eq!(limits, [1.0, 1.0, 2.0, 2.0, 3.0, 14.0], "a third more, and two where one is always at work");
}

#[test]
fn pushback_alone_is_a_reason_to_send_less_and_no_word_is_none() {
    let told = |drops| unknown().next(&Window { drops, ..Window::default() }, 20.0);
    assert_eq!([told(0), told(1)], [20.0, 14.0]);
}

#[test]
fn limits_are_whole_places_smaller_ones_rounded_down() {
    let many_lost = Window { failure_share: 0.0, ..quiet(50) };
    assert_eq!(unknown().next(&many_lost, 21.0), 16.0, "four fifths are 16.8");
    assert_eq!(unknown().next(&quiet(0), 20.6), 21.0);
}

#[test]
fn what_is_usually_lost_is_learnt_downwards_over_200_calls() {
    let after = |usual_loss, drops| {
        let mut law = Standing { usual_loss, ..unknown() };
        law.next(&quiet(drops), 20.0);
        law.usual_loss
    };
    // A window of 100 counts for 100 / (100 + 200).
    assert!(near(after(0.4, 10), 0.3), "{}", after(0.4, 10));
    assert_eq!([after(0.1, 10), after(0.1, 30)], [0.1, 0.1], "more is learnt from a cut only");
}

#[test]
fn where_calls_are_lost_the_first_window_tells_no_baseline() {
    let first = |drops| {
        let mut law = unknown();
        law.next(&quiet(drops), 20.0);
        law.baseline()
    };
    assert_eq!([first(0), first(5), first(6)], [100.0 * MS, 100.0 * MS, 0.0], "a twentieth may be lost");
}

#[test]
fn the_lowest_baseline_is_forgotten_in_an_hour() {
    let mut law = Standing { floor: 100.0 * MS, ..unknown() };
    law.next(&Window { elapsed: 3600e9, ..quiet(0) }, 20.0);
    assert_eq!(law.floor, 200.0 * MS);
}

#[test]
fn a_small_cut_is_remembered_for_ten_windows_and_a_large_one_judged_at_once() {
    let before = Trial { limit: 20.0, flow: 1.0, lost: 0.0, age: 0, is_probe: false };
    let remembered = |limit| {
        let mut law = Standing { trial: Some(before), ..knows(10.0) };
        (0..30).take_while(|_| law.next(&quiet(0), limit) == limit && law.trial.is_some()).count()
    };
    assert_eq!([remembered(15.0), remembered(14.0)], [10, 0], "seven tenths are large");
}

#[test]
fn what_was_decided_tells_how_the_next_window_is_looked_at() {
    // (is it pressing, how many times the usual number of calls, whether it was a cut)
    let after = |mut law: Standing, window: Window, limit| {
        let next = law.next(&window, limit);
        (next, law.is_alert(), law.patience(), law.has_cut)
    };
    let lossy = |drops, busy: u64| Window { drops, in_flight: 2_000, elapsed: 100.0 * 100.0 * MS / busy as f64, ..quiet(0) };
    assert_eq!(after(knows(10.0), quiet(0), 20.0), (20.0, true, 1, false));
    assert_eq!(after(knows(10.0), lossy(20, 20), 20.0), (16.0, true, 1, true), "a small cut");
    assert_eq!(after(knows(10.0), lossy(20, 9), 20.0), (14.0, true, 2, true), "a large one");
    assert_eq!(after(knows(10.0), lossy(20, 2), 20.0), (10.0, true, 2, true), "the largest");
    assert_eq!(after(knows(10.0), lossy(60, 2), 20.0), (6.0, false, 2, true), "where most are lost: what was sent is still worked on");
    let trial = after(Standing { is_sure: false, ..knows(10.0) }, Window { in_flight: 2_000, ..quiet(0) }, 20.0);
    assert_eq!(trial, (10.0, true, 2, true));
}

#[test]
fn calm_is_what_is_at_work_and_half_of_the_limit_where_that_is_not_known() {
    let calm = |law: Standing, in_flight: u64, busy: f64| {
        let mut law = law;
        law.next(&Window { in_flight: in_flight * 100, elapsed: 100.0 * 100.0 * MS / busy, ..quiet(0) }, 20.0);
        law.calm_level()
    };
    assert_eq!(calm(knows(10.0), 20, 10.0), 10, "sure, and saturated");
    assert_eq!([calm(knows(10.0), 9, 6.5), calm(knows(10.0), 5, 6.5), calm(knows(10.0), 1, 0.5)], [6, 5, 1]);
    assert_eq!(calm(Standing { is_sure: false, ..knows(10.0) }, 9, 6.5), 6);
    assert_eq!(calm(Standing { is_sure: false, ..knows(10.0) }, 20, 10.0), 5, "half of the trial's ten");
}

#[test]
fn a_window_of_mostly_calm_calls_may_move_the_baseline_at_once_and_others_do_by_and_by() {
    let after = |calm, samples| {
        let mut law = knows(10.0);
        law.learn_from_calm(&Window { samples, calm, calm_rtt: calm as f64 * 300.0 * MS, ..Window::default() }, false);
        (law.baseline.value / MS).round()
    };
    // 400 calls of 100 ms and ten of 300 are 104.9 on average, nine 104.4.
    assert_eq!([after(11, 20), after(10, 19)], [300.0, 300.0]);
    assert_eq!([after(10, 20), after(9, 10), after(11, 30)], [105.0, 104.0, 105.0]);
    assert_eq!([after(0, 20), after(1, 20)], [100.0, 100.0]);
}

#[test]
fn thirty_calm_calls_make_sure_of_the_baseline() {
    let after = |calls| {
        let mut law = Standing { age: 7, ..unknown() };
        for _ in 0..calls {
            law.learn_from_calm(&Window { samples: 1, calm: 1, calm_rtt: 100.0 * MS, ..Window::default() }, false);
        }
        (law.is_sure, law.age, law.calm)
    };
    assert_eq!(
        [after(0), after(1), after(29), after(30), after(31)],
        [(false, 7, 0.0), (false, 7, 1.0), (false, 7, 29.0), (true, 0, 0.0), (true, 0, 1.0)]
    );
    let mut law = unknown();
    law.learn_from_calm(&Window { samples: 50, calm: 50, calm_rtt: 50.0 * MS, ..Window::default() }, true);
    assert_eq!(law, unknown(), "under saturation none is calm");
}

// ---- a trial ----

/// At a limit of 20, 20 calls in 100 ms were answered: 4 units of flow here, to reckon with.
const BEFORE: Trial = Trial { limit: 20.0, flow: 4.0, lost: 0.0, age: 0, is_probe: false };

#[test]
fn a_cut_that_costs_answers_and_saves_nothing_is_taken_back() {
    let judged = |before: Trial, now: Now| knows(10.0).judge(before, &now);
    let after = |limit: f64, flow, lost, calls| Now { flow, lost, calls, ..now(limit, 100.0, 10.0) };
    // To half of the limit: 0.35 + 0.65 / 2 = 0.675 of four answers are 2.7.
    assert_eq!([2.6, 2.8].map(|flow| judged(BEFORE, after(10.0, flow, 0.0, 100.0))), [Some(20.0), None]);
    assert_eq!(judged(BEFORE, after(20.0, 4.0, 0.0, 100.0)), Some(20.0), "as many answers as before are not more");
    // Where two fifths were lost, 2.4 answers, of which 1.62 are to be expected.
    let lossy = Trial { lost: 0.4, ..BEFORE };
    assert_eq!([1.6, 1.7].map(|flow| judged(lossy, after(10.0, flow, 0.0, 100.0))), [Some(20.0), None]);
    assert_eq!([3.1, 3.3].map(|flow| judged(lossy, after(10.0, flow, 0.5, 100.0))), [Some(20.0), None], "half of them lost");
}

#[test]
fn where_more_is_lost_after_a_cut_than_before_things_have_changed() {
    let judged = |before, lost, calls| {
        knows(10.0).judge(Trial { lost: before, ..BEFORE }, &Now { flow: 1.0, lost, calls, ..now(10.0, 100.0, 10.0) })
    };
    // A tenth more may be chance, with few calls one in their root.
    assert_eq!([0.0, 0.1, 0.11, 0.3].map(|lost| judged(0.0, lost, 100.0)), [Some(20.0), Some(20.0), None, None]);
    assert_eq!([0.19, 0.21].map(|lost| judged(0.0, lost, 25.0)), [Some(20.0), None]);
    assert_eq!([0.1, 0.11].map(|lost| judged(0.0, lost, 10_000.0)), [Some(20.0), None]);
    assert_eq!([0.5, 0.51].map(|lost| judged(0.45, lost, 100.0)), [Some(20.0), None], "most are lost");
}

#[test]
fn what_a_trial_that_cost_throughput_measured_is_the_baseline() {
    let probe = Trial { is_probe: true, ..BEFORE };
    let judged = |law: &mut Standing, limit, flow| law.judge(probe, &Now { flow, ..now(limit, 150.0, limit / 1.5) });
    let beginner = || Standing { is_sure: false, throughput: Mean::of(0.0, 0.0), ..knows(10.0) };
    // At half of the limit: three quarters of the flow or more, and it goes on.
    let on_trial = |flow| {
        let mut law = beginner();
        let next = judged(&mut law, 10.0, flow);
        (next, law.is_sure, (law.baseline.value / MS).round())
    };
    assert_eq!(on_trial(2.9), (Some(20.0), true, 150.0));
    assert_eq!(on_trial(3.0), (Some(5.0), false, 100.0), "what was cut off stood in a queue");
    // Where all that was cut off had been at work (up to 0.15 of it are chance), and the capacity was never met, there may be more.
    assert_eq!([2.5, 2.7].map(|flow| on_trial(flow).0), [Some(30.0), Some(20.0)]);
    let third = |flow| judged(&mut beginner(), 7.0, flow);
    assert_eq!([1.9, 2.0].map(third), [Some(30.0), Some(20.0)], "0.35 and 0.15");
    assert_eq!(judged(&mut Standing { is_sure: false, ..knows(10.0) }, 10.0, 2.5), Some(20.0), "met before");
    let failing = Now { flow: 2.5, is_failing: true, ..now(10.0, 150.0, 10.0) };
    assert_eq!(beginner().judge(probe, &failing), Some(20.0), "h64");
    assert_eq!(beginner().judge(probe, &Now { flow: 2.5, is_dropping: true, ..now(10.0, 150.0, 10.0) }), None);
}

#[test]
fn a_trial_that_goes_on_lowers_the_baseline_and_never_raises_it() {
    let after = |rtt| {
        let mut law = Standing { is_sure: false, ..knows(10.0) };
        let next = law.judge(Trial { is_probe: true, ..BEFORE }, &Now { flow: 4.0, ..now(10.0, rtt, 10.0) });
        assert_eq!(next, Some(5.0));
        (law.baseline.value / MS, law.baseline.calls)
    };
    assert_eq!([50.0, 100.0, 150.0].map(after), [(50.0, 100.0), (100.0, 400.0), (100.0, 400.0)]);
}

#[test]
fn at_a_limit_of_one_there_is_nothing_to_try() {
    let mut law = Standing { is_sure: false, ..knows(1.0) };
    assert_eq!((law.probe(&now(1.0, 120.0, 1.0)), law.trial, law.is_sure), (1.0, None, true));
    let mut law = Standing { is_sure: false, ..knows(1.0) };
    assert_eq!((law.probe(&now(2.0, 120.0, 1.0)), law.trial.is_some(), law.is_sure), (1.0, true, false));
    // What is lost there is usual, from a twentieth to a half.
    let usual = |lost| {
        let mut law = knows(1.0);
        law.relearn(&Now { lost, ..now(1.0, 120.0, 1.0) });
        law.usual_loss
    };
    assert_eq!([0.05, 0.06, 0.5, 0.9].map(usual), [0.0, 0.06, 0.5, 0.5]);
    let held = |limit, lost| {
        let mut law = knows(1.0);
        law.hold(&Now { is_dropping: lost > 0.05, lost, ..now(limit, 120.0, 1.0) });
        (law.usual_loss, law.baseline.value / MS)
    };
    assert_eq!([0.02, 0.05, 0.51].map(|lost| held(1.0, lost)), [(0.0, 100.0); 3]);
    assert_eq!([0.06, 0.5].map(|lost| held(1.0, lost)), [(0.06, 120.0), (0.5, 120.0)]);
    assert_eq!(held(2.0, 0.2), (0.0, 100.0), "there is a queue to cut off");
}

#[test]
fn calls_that_began_under_a_new_limit_take_a_tenth_longer_than_the_first_of_them_at_most() {
    // By Little's law: ten in flight, and so many a second.
    let whole =
        |limit, per_call: f64| (Now { throughput: 1.0 / (per_call * MS), in_flight: 10.0, ..now(limit, 100.0, 10.0) }).whole_rtt() / MS;
    assert_eq!([9.0, 10.5, 12.0].map(|per_call| whole(10.0, per_call).round()), [100.0, 105.0, 110.0]);
    assert_eq!(whole(9.0, 11.5).round(), 104.0, "no more than the limit");
}

// ---- without saturation ----

#[test]
fn room_for_bursts_is_made_up_to_three_times_the_baseline() {
    let burst = |now: Now| knows(10.0).burst(&now);
    assert_eq!([200.0, 299.0, 300.0].map(|rtt| burst(now(20.0, rtt, 10.0))), [26.0, 26.0, 20.0]);
    assert_eq!(burst(Now { peak: 19.0, ..now(20.0, 200.0, 10.0) }), 20.0);
    assert_eq!(burst(lossy(20.0, 0.2, 10.0)), 16.0);
}

// ---- saturation ----

#[test]
fn where_calls_are_lost_the_limit_is_what_is_at_work_but_not_less_than_half_at_once() {
    let cut = |lost, busy| knows(10.0).hold(&lossy(20.0, lost, busy));
    // One and a half times the work; from half of the limit to four fifths, and from three tenths where most are lost.
    assert_eq!([2.0, 8.0, 10.0, 19.0].map(|busy| cut(0.2, busy)), [10.0, 12.0, 15.0, 16.0]);
    assert_eq!([0.5, 0.6].map(|lost| cut(lost, 2.0)), [10.0, 6.0]);
    // Nothing is known: half.
    assert_eq!(unknown().hold(&lossy(20.0, 0.2, 2.0)), 15.0);
}

#[test]
fn the_first_cut_tells_where_calls_were_lost() {
    let ceiling = |lost, has_cut| {
        let mut law = Standing { has_cut, ..knows(10.0) };
        law.hold(&lossy(20.0, lost, 10.0));
        law.ceiling
    };
    assert_eq!([0.2, 0.5, 0.6].map(|lost| ceiling(lost, false)), [20.0, 20.0, 12.0]);
    assert_eq!([0.2, 0.6].map(|lost| ceiling(lost, true)), [f64::INFINITY; 2]);
}

#[test]
fn calls_far_quicker_than_the_baseline_are_the_new_one_which_is_soon_to_be_measured() {
    let after = |rtt, calls, age| {
        let mut law = Standing { age, calm: 7.0, ..knows(10.0) };
        law.hold(&Now { calls, ..now(20.0, rtt, 10.0) });
        (law.baseline.value / MS, law.age, law.calm)
    };
    assert_eq!([80.0, 79.0].map(|rtt| after(rtt, 400.0, 3)), [(100.0, 3, 7.0), (79.0, 95, 0.0)]);
    assert_eq!(after(79.0, 400.0, 99), (79.0, 99, 0.0));
    // Of 25 calls three standard errors are six tenths.
    assert_eq!([41.0, 39.0].map(|rtt| after(rtt, 25.0, 3)), [(100.0, 3, 7.0), (39.0, 95, 0.0)]);
}

#[test]
fn a_baseline_of_a_hundred_windows_is_measured_anew() {
    let held = |age, is_sure| (Standing { age, is_sure, ..knows(14.0) }).hold(&now(20.0, 110.0, 14.0));
    assert_eq!([held(3, true), held(100, true), held(101, true), held(3, false)], [20.0, 20.0, 10.0, 10.0]);
}

#[test]
fn in_the_beginning_the_limit_doubles_while_nothing_stands_in_a_queue() {
    let doubles = |ceiling, limit, rtt, is_failing| {
        let mut law = Standing { ceiling, throughput: Mean::of(0.0, 0.0), ..knows(10.0) };
        law.hold(&Now { is_failing, ..now(limit, rtt, limit) }) == 2.0 * limit
    };
    let free = f64::INFINITY;
    assert_eq!([154.0, 156.0].map(|rtt| doubles(free, 20.0, rtt, false)), [true, false]);
    assert!(!doubles(free, 20.0, 100.0, true), "h64");
    // Once calls were lost, up to there, and with a third of three standard errors for chance: a tenth for 100 calls.
    assert_eq!([164.0, 166.0].map(|rtt| doubles(100.0, 20.0, rtt, false)), [true, false]);
    assert_eq!([40.0, 39.0].map(|ceiling| doubles(ceiling, 20.0, 100.0, false)), [true, false]);
    // Meanwhile the baseline is learnt from what is about the same.
    let learnt = |rtt| {
        let mut law = Standing { throughput: Mean::of(0.0, 0.0), ..knows(10.0) };
        law.hold(&Now { calls: 25.0, throughput: 20.0 / (rtt * MS), ..now(20.0, rtt, 20.0) });
        (law.baseline.value / MS).round()
    };
    assert_eq!([70.0, 83.0, 117.0, 130.0].map(learnt), [100.0, 99.0, 101.0, 100.0]);
}

#[test]
fn throughput_is_learnt_where_a_queue_stands_or_where_it_is_higher() {
    let after = |rtt, busy| {
        let mut law = knows(10.0);
        law.hold(&now(20.0, rtt, busy));
        ((law.throughput.value * 1_000.0 * MS).round(), law.throughput.calls)
    };
    // Clear is what takes less than a quarter longer: half of what should stand in the queue.
    assert_eq!([9.0, 10.0, 11.0].map(|busy| after(110.0, busy)), [(100.0, 100.0), (100.0, 100.0), (105.0, 200.0)]);
    assert_eq!([124.0, 125.0].map(|rtt| after(rtt, 9.0)), [(100.0, 100.0), (95.0, 200.0)]);
}

#[test]
fn more_throughput_in_less_time_is_a_reason_to_measure_the_baseline() {
    let age = |law: Standing, rtt, busy| {
        let mut law = Standing { age: 3, ..law };
        law.hold(&Now { calls: 25.0, ..now(20.0, rtt, busy) });
        law.age
    };
    // Of 25 calls six tenths more are no chance.
    assert_eq!([11.0, 20.0].map(|busy| age(knows(10.0), 70.0, busy)), [3, EXPIRES]);
    assert_eq!([79.0, 80.0, 90.0].map(|rtt| age(knows(10.0), rtt, 20.0)), [EXPIRES, 3, 3]);
    assert_eq!(age(Standing { throughput: Mean::of(0.0, 0.0), ceiling: 20.0, ..knows(10.0) }, 70.0, 20.0), 3, "it is the first");
}

#[test]
fn three_windows_without_a_queue_say_that_there_is_more_to_be_had() {
    let mut law = knows(10.0);
    let mut held = |rtt| law.hold(&now(15.0, rtt, 10.0));
    assert_eq!([110.0, 110.0, 130.0, 110.0, 110.0, 110.0].map(&mut held), [15.0, 15.0, 15.0, 15.0, 15.0, 19.0], "12.5 by 1.5");
    let mut law = Standing { clear: 2, ..knows(10.0) };
    law.burst(&now(15.0, 110.0, 10.0));
    assert_eq!(law.hold(&now(15.0, 110.0, 10.0)), 15.0, "in a row");
}

#[test]
fn the_limit_falls_where_calls_take_longer_than_tolerated_and_far_fewer_would_do() {
    let held = |rtt, busy| knows(busy).hold(&now(20.0, rtt, busy));
    assert_eq!([18.0, 19.0, 4.0].map(|wish| held(160.0, wish / 1.5)), [18.0, 20.0, 10.0]);
    assert_eq!([150.0, 151.0].map(|rtt| held(rtt, 12.0)), [20.0, 18.0]);
    assert_eq!(held(120.0, 8.0), 20.0);
    assert_eq!((Standing { has_cut: true, ..knows(12.0) }).hold(&now(20.0, 160.0, 12.0)), 10.0, "one cut did not do: a trial");
}

#[test]
fn the_limit_rises_where_far_more_would_do_and_a_low_one_that_keeps_callers_out_by_half() {
    let held = |limit, wish: f64| knows(wish / 1.5).hold(&now(limit, 110.0, wish / 1.5));
    assert_eq!([held(20.0, 21.0), held(20.0, 22.0), held(40.0, 42.0), held(40.0, 43.0)], [20.0, 22.0, 40.0, 43.0]);
    assert_eq!(knows(22.0 / 1.5).hold(&Now { is_failing: true, ..now(20.0, 110.0, 22.0 / 1.5) }), 20.0, "h64");
    let pressed =
        |limit: f64, rtt, is_failing| knows(limit / 1.5).hold(&Now { is_pressed: true, is_failing, ..now(limit, rtt, limit / 1.5) });
    assert_eq!([8.0, 9.0, 10.0, 12.0].map(|limit| pressed(limit, 110.0, false)), [12.0, 13.5, 10.0, 12.0]);
    assert_eq!([pressed(8.0, 130.0, false), pressed(8.0, 110.0, true), held(8.0, 8.0)], [8.0, 8.0, 8.0]);
}

// ---- a window, worked out ----

#[test]
fn a_window_is_saturated_where_the_mean_is_near_the_limit_or_a_third_of_the_callers_finds_no_place() {
    let told = |mean: u64, pressed| {
        let now = Now::of(&Window { in_flight: 100 * mean, pressed, ..quiet(0) }, 20.0, 0.0);
        (now.is_saturated, now.is_pressed, now.in_flight)
    };
    assert_eq!([told(15, 0), told(16, 0)], [(false, false, 15.0), (true, false, 16.0)]);
    assert_eq!([told(5, 50), told(5, 51)], [(false, false, 5.0), (true, false, 5.0)]);
    assert_eq!([told(5, 100), told(5, 101)], [(true, false, 5.0), (true, true, 20.0)], "all places are taken all the time");
}

#[test]
fn throughput_is_what_ended_in_the_time_and_flow_what_was_in_flight_by_the_time_of_a_call() {
    let now = Now::of(&quiet(0), 20.0, 0.0);
    assert!(near(now.throughput * 1_000.0 * MS, 50.0), "100 in two seconds");
    assert!(near(now.flow * 1_000.0 * MS, 50.0), "5 by a tenth of a second");
    assert_eq!((now.limit, now.calls, now.rtt, now.peak, now.lost), (20.0, 100.0, 100.0 * MS, 5.0, 0.0));
    assert_eq!(Now::of(&Window { elapsed: 0.0, ..quiet(0) }, 20.0, 0.0).throughput, 100.0, "a clock too coarse");
}

#[test]
fn calls_are_lost_where_it_is_a_twentieth_more_than_usual_and_no_chance() {
    let drops = |drops, usual| Now::of(&quiet(drops), 20.0, usual).is_dropping;
    assert_eq!([5, 6].map(|n| drops(n, 0.0)), [false, true]);
    // A fifth of 100 is off by 4 (the root of 100 * 0.2 * 0.8): 5 and 20 and twice 4 are 33.
    assert_eq!([32, 34].map(|n| drops(n, 0.2)), [false, true]);
}
