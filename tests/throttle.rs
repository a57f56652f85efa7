//! The throttle from outside: what it forwards under overload, how it comes back from an outage, and whom it holds back first.
//!
//! Time is passed in, chance is seeded, and the dependency is a bucket of tokens: nothing here waits.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use futures_util::FutureExt;
use std::collections::VecDeque;
use std::time::Duration;
use steadfast::{
    Budget, Bulkhead, Error, Monitor, Outcome, Pipeline, Priority, RateLimiter, RejectedKind, Retry, Throttle, ThrottleConfig,
    ThrottlePermit, Verdict,
};
use tokio::time::Instant;

const YES: Outcome = Outcome::Judged(Verdict::Success);
const NO: Outcome = Outcome::Judged(Verdict::transient());
const MINUTE: Duration = Duration::from_secs(60);

fn secs(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

fn build(config: ThrottleConfig) -> Throttle {
    config.seed(7).build().expect("valid")
}

/// A dependency that serves so many a second, a quarter of a second's worth at once, and refuses the rest.
struct Server {
    capacity: f64,
    tokens: f64,
    at: Instant,
}

impl Server {
    fn new(capacity: f64, at: Instant) -> Self {
        Self { capacity, tokens: 1.0, at }
    }

    fn serve(&mut self, now: Instant) -> Outcome {
        let income = now.saturating_duration_since(self.at).as_secs_f64() * self.capacity;
        (self.tokens, self.at) = ((self.tokens + income).min(1.0 + self.capacity / 4.0), now);
        if self.tokens < 1.0 {
            return NO;
        }
        self.tokens -= 1.0;
        YES
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    offered: u32,
    forwarded: u32,
    accepted: u32,
}

impl Second {
    fn goodput(self) -> f64 {
        f64::from(self.accepted) / f64::from(self.offered.max(1))
    }
}

fn sum(seconds: &[Second]) -> Second {
    let add = |a: Second, b: &Second| Second {
        offered: a.offered + b.offered,
        forwarded: a.forwarded + b.forwarded,
        accepted: a.accepted + b.accepted,
    };
    seconds.iter().fold(Second::default(), add)
}

/// Calls that come evenly, `rate` a second, and take `latency`; every second is told apart.
struct World<'a> {
    throttle: &'a Throttle,
    now: Instant,
    latency: Duration,
    out: VecDeque<(Instant, ThrottlePermit<'a>, Outcome)>,
}

impl<'a> World<'a> {
    fn new(throttle: &'a Throttle, latency: Duration) -> Self {
        Self { throttle, now: Instant::now(), latency, out: VecDeque::new() }
    }

    fn run(&mut self, seconds: u32, rate: u32, mut serve: impl FnMut(Instant) -> Outcome) -> Vec<Second> {
        let step = Duration::from_secs(1) / rate;
        let mut told = Vec::new();
        for _ in 0..seconds {
            let mut second = Second::default();
            for _ in 0..rate {
                self.now += step;
                second.offered += 1;
                let ended = self.out.iter().take_while(|(end, ..)| *end <= self.now).count();
                for (end, permit, outcome) in self.out.drain(..ended) {
                    permit.settle_at(outcome, end);
                }
                if let Ok(permit) = self.throttle.try_acquire(Priority::Normal, self.now) {
                    second.forwarded += 1;
                    let outcome = serve(self.now);
                    second.accepted += u32::from(outcome == YES);
                    self.out.push_back((self.now + self.latency, permit, outcome));
                }
            }
            told.push(second);
        }
        told
    }
}

// ------------------------------------------------------------------ steady overload

#[test]
fn whatever_the_demand_it_forwards_at_most_k_times_what_is_accepted() {
    for (k, capacity) in [(2.0, 100.0), (1.1, 100.0), (1.5, 20.0), (4.0, 50.0)] {
        for times in [2_u32, 10, 100] {
            let throttle = build(Throttle::new().accept_multiplier(k));
            let mut world = World::new(&throttle, secs(0.05));
            let mut server = Server::new(capacity, world.now);
            let told = world.run(61, capacity as u32 * times, |now| server.serve(now));
            let steady = sum(&told[1..]);
            let forwarded = f64::from(steady.forwarded) / 60.0 / capacity;
            // Chance forwards a little more or less: of 1,800 calls, 2.4 % are one standard deviation.
            assert!(forwarded <= k * 1.05, "K {k}, {times}x demand: {forwarded:.3} times the capacity");
            let accepted = f64::from(steady.accepted) / 60.0 / capacity;
            // So little above capacity, chance leaves some of it unused.
            let least = if k < 1.2 { 0.85 } else { 0.97 };
            assert!(accepted > least, "K {k}, {times}x demand: {accepted:.3} of the capacity is used");
        }
    }
}

#[test]
fn overload_after_a_good_time_is_held_back_within_a_window() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.05));
    let mut server = Server::new(100.0, world.now);
    assert_eq!(sum(&world.run(60, 90, |now| server.serve(now))).forwarded, 60 * 90);
    let told = world.run(60, 1000, |now| server.serve(now));
    for second in &told[30..] {
        assert!(second.forwarded <= 230, "{second:?}");
    }
}

#[test]
fn a_quota_that_is_full_for_most_of_each_minute_is_used_and_not_overrun() {
    // 300 at the beginning of each minute, then nothing: each minute looks like an outage and its end. The formula looks at one window at a
    // time, so twice what is accepted is no promise here.
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.02));
    let (start, mut taken) = (world.now, vec![0; 10]);
    let told = world.run(600, 500, |now| {
        let taken = &mut taken[now.saturating_duration_since(start).as_secs() as usize / 60];
        *taken += 1;
        if *taken <= 300 { YES } else { NO }
    });
    let all = sum(&told[60..]);
    assert!(all.forwarded <= all.offered / 10, "{all:?}");
    assert!(all.accepted >= 300 * 9 * 95 / 100, "{all:?}");
}

// ------------------------------------------------------------------ outage and recovery

/// After a good time and an outage of 300 s: how long until 99 % of what is asked is answered again, for good.
fn recovery(config: ThrottleConfig, rate: u32, latency: f64, watched: u32) -> usize {
    let throttle = build(config);
    let mut world = World::new(&throttle, secs(latency));
    let good = sum(&world.run(120, rate, |_| YES));
    assert_eq!(good.goodput(), 1.0);
    world.run(300, rate, |_| NO);
    let after = world.run(watched, rate, |_| YES);
    let last_bad = after.iter().rposition(|second| second.goodput() < 0.99);
    assert!(last_bad < Some(watched as usize - 1), "it never came back");
    last_bad.map_or(0, |last| last + 1)
}

#[test]
fn after_an_outage_of_300_s_it_is_back_within_10_s() {
    for (rate, latency) in [(10, 0.1), (100, 0.01), (100, 0.5), (1000, 0.05), (1000, 0.2)] {
        for config in [Throttle::new(), Throttle::new().window(2 * MINUTE), Throttle::new().accept_multiplier(1.1)] {
            let took = recovery(config.clone(), rate, latency, 150);
            assert!(took <= 10, "{rate} a second, {latency} s each, {config:?}: {took} s");
        }
    }
}

#[test]
fn the_textbook_takes_ten_minutes_and_more() {
    // The same window and K as in the book, and nothing but the formula.
    for rate in [100, 1000] {
        let took = recovery(Throttle::new().window(2 * MINUTE).fast_recovery(false), rate, 0.05, 1_200);
        assert!((600..1_100).contains(&took), "{rate} a second: {took} s");
    }
}

#[test]
fn during_an_outage_it_sends_a_probe_a_second_and_after_it_doubles() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.1));
    world.run(120, 1000, |_| YES);
    let outage = world.run(300, 1000, |_| NO);
    for second in &outage[60..] {
        assert!((1..=4).contains(&second.forwarded), "{second:?}");
    }
    // No herd: what goes in one round trip is at most twice what was accepted in the one before, and what the probes bring.
    let mut before = 0;
    for second in world.run(8, 1000, |_| YES) {
        let most = before * 1024 + 3_000;
        assert!(second.forwarded <= most.min(1000), "{second:?} after {before}");
        before = second.forwarded;
    }
    assert_eq!(before, 1000);
}

#[test]
fn the_way_back_begins_small() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(1.0));
    world.run(120, 1000, |_| YES);
    world.run(300, 1000, |_| NO);
    let back: Vec<u32> = world.run(20, 1000, |_| YES).iter().map(|second| second.forwarded).collect();
    for pair in back.windows(2) {
        assert!(pair[1] <= pair[0] * 4 + 8, "{back:?}");
    }
    assert_eq!(back.last(), Some(&1000), "{back:?}");
}

#[test]
fn a_dependency_that_comes_back_with_a_tenth_of_its_capacity_is_not_overrun() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.1));
    world.run(120, 1000, |_| YES);
    world.run(300, 1000, |_| NO);
    let mut server = Server::new(100.0, world.now);
    let told = world.run(60, 1000, |now| server.serve(now));
    let all = sum(&told);
    assert!(all.forwarded <= 60 * 210, "{all:?}");
    assert!(told[5..].iter().all(|second| second.accepted >= 65), "{told:?}");
    assert!(told[30..].iter().all(|second| second.accepted >= 95), "{told:?}");
}

#[test]
fn a_dependency_that_fails_nine_of_ten_is_spared_and_found_well_again() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.02));
    world.run(60, 500, |_| YES);
    let mut n = 0_u32;
    let sick = world.run(300, 500, |_| {
        n += 1;
        if n.is_multiple_of(10) { YES } else { NO }
    });
    let forwarded = sum(&sick[60..]).forwarded;
    assert!(forwarded <= 240 * 10, "{} a second", f64::from(forwarded) / 240.0);
    let well = world.run(30, 500, |_| YES);
    assert!(well[10..].iter().all(|second| second.goodput() >= 0.99), "{well:?}");
}

#[test]
fn a_throttle_that_is_shut_opens_again_whatever_it_met() {
    // Outages of any length, of every class of outcome, at several settings.
    for k in [1.05, 2.0, 10.0] {
        for outage in [5, 20, 40, 600] {
            for failure in [NO, Outcome::TimedOut, Outcome::Panicked] {
                let throttle = build(Throttle::new().accept_multiplier(k));
                let mut world = World::new(&throttle, secs(0.1));
                world.run(60, 100, |_| YES);
                world.run(outage, 100, |_| failure);
                let after = world.run(90, 100, |_| YES);
                let good = after[60..].iter().all(|second| second.goodput() == 1.0);
                assert!(good, "K {k}, {outage} s of {failure:?}: {:?}", &after[60..]);
            }
        }
    }
}

#[test]
fn recovery_behind_a_gate_that_refuses_most_calls_is_not_held_up_by_it() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.1));
    world.run(60, 100, |_| YES);
    world.run(60, 100, |_| NO);
    let mut n = 0_u32;
    let told = world.run(20, 100, |_| {
        n += 1;
        if n.is_multiple_of(10) { YES } else { Outcome::NotAttempted }
    });
    assert_eq!(sum(&told[10..]).forwarded, 1000, "what was never made says nothing: {told:?}");
}

// ------------------------------------------------------------------ what counts

fn one(throttle: &Throttle, outcome: Outcome, now: Instant) {
    if let Ok(permit) = throttle.try_acquire(Priority::Normal, now) {
        permit.settle_at(outcome, now);
    }
}

#[test]
fn u9_no_call_is_held_back_with_more_than_the_highest_probability() {
    let (throttle, now) = (build(Throttle::new().max_rejection(0.5).min_requests(1)), Instant::now());
    (0..20).for_each(|_| one(&throttle, NO, now));
    assert_eq!(throttle.snapshot().probability, 0.5);
    let forwarded = (0..10_000).filter(|_| throttle.try_acquire(Priority::Background, now).is_ok()).count();
    assert!((4_800..5_200).contains(&forwarded), "{forwarded}");
}

#[test]
fn u9_the_cap_holds_on_the_way_back_too() {
    let throttle = build(Throttle::new().max_rejection(0.5));
    let mut world = World::new(&throttle, secs(0.5));
    let mut n = 0_u32;
    let told = world.run(120, 200, |_| {
        n += 1;
        if n.is_multiple_of(20) { YES } else { NO }
    });
    assert!(told.iter().all(|second| second.forwarded >= 75), "{told:?}");
}

#[test]
fn u10_nothing_is_held_back_before_the_minimum_of_requests() {
    let (throttle, now) = (build(Throttle::new().min_requests(2)), Instant::now());
    one(&throttle, NO, now);
    assert_eq!(throttle.snapshot().probability, 0.0);
    one(&throttle, NO, now);
    assert!(throttle.snapshot().probability > 0.0);
}

#[test]
fn what_says_nothing_counts_as_neither() {
    let (throttle, now) = (build(Throttle::new().min_requests(1)), Instant::now());
    for outcome in [Outcome::NotAttempted, Outcome::Abandoned, Outcome::Judged(Verdict::Ignored)] {
        (0..10).for_each(|_| one(&throttle, outcome, now));
    }
    drop(throttle.try_acquire(Priority::Normal, now));
    assert_eq!(throttle.snapshot().requests, 0);
}

#[test]
fn a_permanent_error_is_an_answer_and_its_own_refusals_are_requests() {
    let (throttle, now) = (build(Throttle::new().min_requests(1)), Instant::now());
    one(&throttle, Outcome::Judged(Verdict::permanent()), now);
    one(&throttle, YES, now);
    for failure in [NO, Outcome::TimedOut, Outcome::Panicked] {
        one(&throttle, failure, now);
    }
    let then = throttle.snapshot();
    assert_eq!((then.accepts, then.requests), (2, 5));
    assert_eq!(then.probability, (5.0 - 2.0 * 2.0) / 6.0);
    let refused = (0..100).filter_map(|_| throttle.try_acquire(Priority::Normal, now).err()).collect::<Vec<_>>();
    assert!(refused.iter().all(|refused| refused.kind() == RejectedKind::Throttled && refused.retry_after().is_none()));
    let then = throttle.snapshot();
    assert_eq!((then.requests, then.held_back), (5 + refused.len() as u64, refused.len() as u64));
}

// ------------------------------------------------------------------ priorities

#[test]
fn critical_keeps_99_percent_in_overload_while_the_bound_holds() {
    // A tenth of demand is critical. The dependency refuses at random, so what it is not sent too much of is what gets through.
    for times in [2_u32, 10] {
        let throttle = build(Throttle::new().accept_multiplier(1.1));
        let (start, mut critical, mut forwarded) = (Instant::now(), (0_u32, 0_u32), 0_u32);
        let mut server = Server::new(100.0, start);
        for n in 0..times * 100 * 120 {
            let now = start + Duration::from_secs(1) / (times * 100) * n;
            let priority = Priority::ALL[(n % 5) as usize];
            let priority = if priority == Priority::Critical && n % 2 == 0 { Priority::High } else { priority };
            let late = n > times * 100 * 30;
            let granted = throttle.try_acquire(priority, now);
            if late && priority == Priority::Critical {
                critical.0 += 1;
                critical.1 += u32::from(granted.is_ok());
            }
            if let Ok(permit) = granted {
                forwarded += u32::from(late);
                permit.settle_at(server.serve(now), now);
            }
        }
        let share = f64::from(critical.1) / f64::from(critical.0);
        if times == 2 {
            assert!(share >= 0.99, "{times}x: {share}");
        } else {
            assert!(share > 0.9, "{times}x: {share}"); // demand of Critical alone is all the capacity there is
        }
        assert!(f64::from(forwarded) / 90.0 <= 100.0 * 1.1 * 1.05, "{times}x: {forwarded} in 90 s");
    }
}

#[test]
fn on_the_way_back_critical_comes_first() {
    // A tenth is critical; calls take half a second, so the way back takes a few of them.
    let (throttle, start) = (build(Throttle::new()), Instant::now());
    let mut out: VecDeque<(Instant, ThrottlePermit<'_>, Outcome)> = VecDeque::new();
    let (mut seen, mut through) = ([0_u32; 2], [0_u32; 2]);
    for n in 0..400_000_u32 {
        let now = start + Duration::from_millis(1) * n;
        while out.front().is_some_and(|(end, ..)| *end <= now) {
            let (end, permit, outcome) = out.pop_front().expect("there is one");
            permit.settle_at(outcome, end);
        }
        let is_back = n >= 390_000;
        let priority = if n % 10 == 3 { Priority::Critical } else { Priority::Normal };
        let class = usize::from(priority == Priority::Normal);
        let granted = throttle.try_acquire(priority, now);
        if is_back && n < 394_000 {
            seen[class] += 1;
            through[class] += u32::from(granted.is_ok());
        }
        if let Ok(permit) = granted {
            out.push_back((now + secs(0.5), permit, if n < 90_000 || is_back { YES } else { NO }));
        }
    }
    let share = |class: usize| f64::from(through[class]) / f64::from(seen[class]);
    assert!(share(0) > 2.0 * share(1), "critical {:.2}, normal {:.2}", share(0), share(1));
}

#[test]
fn where_all_are_critical_they_bear_it_like_all() {
    let (throttle, start) = (build(Throttle::new()), Instant::now());
    let mut server = Server::new(50.0, start);
    let mut forwarded = 0;
    for n in 0..60_000_u32 {
        let now = start + Duration::from_millis(1) * n;
        if let Ok(permit) = throttle.try_acquire(Priority::Critical, now) {
            forwarded += 1;
            permit.settle_at(server.serve(now), now);
        }
    }
    assert!(forwarded <= 60 * 105, "{forwarded}");
}

// ------------------------------------------------------------------ whatever happens

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_it_lets_go_again(
        (k, window, least, cap, fast) in (1.1..8.0_f64, 20..60_000_u64, 1..50_u32, 0.1..=1.0_f64, proptest::bool::ANY),
        steps in proptest::collection::vec((0..9_u8, 0..5_000_u64, 0..5_u8), 1..600),
    ) {
        let config = Throttle::new().accept_multiplier(k).window(Duration::from_millis(window)).min_requests(least);
        let throttle = build(config.max_rejection(cap).fast_recovery(fast));
        let (mut now, mut held) = (Instant::now() + MINUTE, VecDeque::new());
        for (kind, step, which) in steps {
            let priority = Priority::ALL[usize::from(which)];
            match kind {
                0 => now += Duration::from_millis(step),
                1 if step < 10 => now -= MINUTE,
                1 | 2 => held.extend(throttle.try_acquire(priority, now)),
                3 => drop(held.pop_front()),
                4 if step < 50 => throttle.reconfigure(&throttle.config().window(Duration::from_millis(20 + step))).expect("valid"),
                _ => {
                    held.extend(throttle.try_acquire(priority, now));
                    let outcome = [NO, NO, YES, Outcome::NotAttempted, Outcome::Abandoned][usize::from(which)];
                    held.pop_front().into_iter().for_each(|permit: ThrottlePermit<'_>| permit.settle_at(outcome, now));
                }
            }
            let then = throttle.snapshot();
            proptest::prop_assert!((0.0..=cap).contains(&then.probability) && then.accepts + then.held_back <= then.requests);
        }
        held.into_iter().for_each(|permit| permit.settle_at(NO, now));
        if !fast {
            return Ok(());
        }
        // All is well for as long as any window, and then nobody is refused.
        for n in 0..1_200_u32 {
            now += Duration::from_millis(100);
            let granted = throttle.try_acquire(Priority::Background, now);
            proptest::prop_assert!(granted.is_ok() || n < 1_000, "after {} s", n / 10);
            granted.into_iter().for_each(|permit| permit.settle_at(YES, now));
        }
    }
}

#[test]
fn many_threads_at_once_lose_nothing() {
    let (throttle, now) = (build(Throttle::new().min_requests(1_000_000)), Instant::now());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let throttle = throttle.clone();
            scope.spawn(move || (0..1_000).for_each(|n| one(&throttle, if (n + thread) % 2 == 0 { YES } else { NO }, now)));
        }
    });
    let then = throttle.snapshot();
    assert_eq!((then.requests, then.accepts), (4_000, 2_000));
}

#[test]
fn h92_zero_allocations_whether_it_lets_go_or_refuses() {
    let (throttle, now) = (build(Throttle::new()), Instant::now());
    one(&throttle, YES, now);
    let info = allocation_counter::measure(|| (0..100).for_each(|_| one(&throttle, YES, now)));
    assert_eq!(info.count_total, 0, "healthy");
    (0..300).for_each(|_| one(&throttle, NO, now));
    let mut refused = 0;
    let info = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            match throttle.try_acquire(Priority::Normal, now) {
                Ok(permit) => permit.settle_at(NO, now),
                Err(_) => refused += 1,
            }
        }
    });
    assert_eq!(info.count_total, 0, "under overload");
    assert!(refused > 100, "{refused}");
}

// ------------------------------------------------------------------ settings

#[test]
fn h43_every_bad_setting_is_named() {
    let bad = Throttle::new()
        .accept_multiplier(f64::NAN)
        .window(Duration::ZERO)
        .min_requests(0)
        .max_rejection(1.5)
        .probe_interval(Duration::ZERO);
    let error = bad.build().expect_err("five faults");
    let fields: Vec<_> = error.faults().iter().map(|fault| fault.field().to_owned()).collect();
    assert_eq!(fields, ["accept_multiplier", "window", "min_requests", "max_rejection", "probe_interval"]);
    for factor in [1.0, 0.0, -2.0, f64::INFINITY] {
        assert!(Throttle::new().accept_multiplier(factor).build().is_err(), "{factor}");
    }
}

#[test]
fn h28_endless_settings_neither_panic_nor_overflow() {
    let config = Throttle::new().window(Duration::MAX).probe_interval(Duration::MAX).accept_multiplier(f64::MAX).min_requests(u32::MAX);
    let (throttle, now) = (build(config), Instant::now());
    (0..50).for_each(|_| one(&throttle, NO, now));
    let throttle = build(Throttle::new().window(Duration::MAX).probe_interval(Duration::MAX));
    (0..50).for_each(|_| one(&throttle, NO, now + MINUTE));
    (0..50).for_each(|_| one(&throttle, YES, now)); // the clock goes back
    assert!(throttle.snapshot().requests >= 20);
}

#[test]
fn h33_a_clock_that_goes_back_shuts_nothing_for_ever() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.01));
    world.now += 100 * MINUTE;
    world.run(60, 100, |_| NO);
    world.out.clear();
    world.now -= 90 * MINUTE;
    let after = world.run(20, 100, |_| YES);
    assert!(after[10..].iter().all(|second| second.goodput() >= 0.99), "{after:?}");
}

#[test]
fn h32_a_clock_that_leaps_forward_costs_nothing_and_forgets_the_past() {
    let throttle = build(Throttle::new());
    let mut world = World::new(&throttle, secs(0.01));
    world.run(60, 100, |_| NO);
    world.now += Duration::from_secs(10 * 365 * 24 * 3600);
    let after = world.run(10, 100, |_| YES);
    assert!(after[2..].iter().all(|second| second.goodput() == 1.0), "{after:?}");
}

#[test]
fn settings_change_while_calls_are_made_and_counts_stay() {
    let (throttle, now) = (build(Throttle::new().min_requests(1)), Instant::now());
    (0..10).for_each(|n| one(&throttle, if n < 5 { YES } else { NO }, now));
    assert_eq!(throttle.snapshot().probability, 0.0);
    let other = throttle.config().accept_multiplier(1.5);
    throttle.reconfigure(&other).expect("valid");
    assert_eq!(throttle.config(), other);
    assert!(throttle.snapshot().probability > 0.2);
    assert!(throttle.reconfigure(&Throttle::new().min_requests(0)).is_err());
    assert_eq!(throttle.config(), other, "nothing is changed");
    // Another window counts anew; what comes of calls from before says nothing.
    let before = throttle.try_acquire(Priority::Critical, now).expect("the least important go first");
    throttle.reconfigure(&other.window(MINUTE)).expect("valid");
    before.settle_at(NO, now);
    assert_eq!(throttle.snapshot().requests, 0);
}

#[test]
fn the_same_seed_gives_the_same_choices() {
    let choices = |seed| {
        let (throttle, now) = (Throttle::new().seed(seed).build().expect("valid"), Instant::now());
        (0..30).for_each(|n| one(&throttle, if n % 3 == 0 { YES } else { NO }, now));
        (0..200).map(|_| throttle.try_acquire(Priority::Normal, now).is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(choices(1), choices(1));
    assert_ne!(choices(1), choices(2));
}

// ------------------------------------------------------------------ in a pipeline

const DOWN: Result<(), &str> = Err("down");

#[tokio::test(start_paused = true)]
async fn a_pipeline_holds_calls_back_before_they_take_units_or_places() {
    let pipeline = Pipeline::builder("p")
        .throttle(Throttle::new().min_requests(2).max_rejection(1.0).seed(1))
        .rate_limit(RateLimiter::per_hour(1_000).burst(1_000))
        .monitor(Monitor::new())
        .build()
        .unwrap();
    assert_eq!(pipeline.to_string(), "p: monitor > throttle > rate limit > operation");
    let mut held_back = 0;
    for _ in 0..200 {
        let error = pipeline.call(|| async { DOWN }).await.unwrap_err();
        held_back += u32::from(error.kind() == Some(RejectedKind::Throttled));
    }
    let stats = pipeline.stats();
    assert!(held_back > 150, "{stats}");
    assert_eq!(pipeline.rate_limiter().unwrap().available(), 1_000 - (200 - held_back), "units go to those that went only");
    let (books, throttle) = (stats.calls.unwrap(), stats.throttle.unwrap());
    assert_eq!(books.all_time().rejected_by(RejectedKind::Throttled), u64::from(held_back));
    assert_eq!((throttle.requests, throttle.accepts, throttle.held_back), (200, 0, u64::from(held_back)));
}

#[tokio::test(start_paused = true)]
async fn what_another_gate_refuses_and_what_is_dropped_says_nothing() {
    let pipeline = Pipeline::builder("p").throttle(Throttle::new().min_requests(1)).bulkhead(Bulkhead::new(1)).build().unwrap();
    let mut running = Box::pin(pipeline.call(std::future::pending::<Result<(), String>>));
    assert!(running.as_mut().now_or_never().is_none());
    for _ in 0..50 {
        assert!(pipeline.call(|| async { DOWN }).await.unwrap_err().is_bulkhead_full());
    }
    drop(running);
    let throttle = pipeline.throttle().unwrap().snapshot();
    assert_eq!((throttle.requests, throttle.accepts), (0, 0));
    assert_eq!(pipeline.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
    assert_eq!(pipeline.throttle().unwrap().snapshot().accepts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_retry_gives_the_last_error_of_the_operation() {
    let pipeline = Pipeline::builder("p")
        .throttle(Throttle::new().min_requests(1).seed(3))
        .retry(Retry::constant(5, Duration::from_millis(1)).budget(Budget::unlimited()))
        .build()
        .unwrap();
    for _ in 0..100 {
        let _ = pipeline.call(|| async { DOWN }).await;
    }
    let mut own = 0;
    for _ in 0..1_000 {
        match pipeline.call(|| async { DOWN }).await.unwrap_err() {
            Error::Inner(error) => own += u32::from(error == "down"),
            Error::Rejected(rejected) => assert_eq!((rejected.kind(), rejected.attempts()), (RejectedKind::Throttled, 0)),
        }
    }
    assert!((1..100).contains(&own), "{own}");
}

#[tokio::test(start_paused = true)]
async fn other_settings_keep_what_was_counted() {
    let pipeline = Pipeline::builder("p").throttle(Throttle::new()).build().unwrap();
    assert_eq!(pipeline.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
    let changes = pipeline.reconfigure(&pipeline.config().throttle(Throttle::new().max_rejection(0.5))).unwrap();
    assert_eq!(changes.to_string(), "throttle.max_rejection: 1 -> 0.5");
    assert_eq!(pipeline.throttle().unwrap().snapshot().accepts, 1);
    let changes = pipeline.reconfigure(&pipeline.config().throttle(Throttle::new().window(Duration::from_secs(60)))).unwrap();
    assert_eq!(changes.restarted(), ["throttle.window"]);
    let _ = pipeline.reconfigure(&pipeline.config().throttle(None)).unwrap();
    assert!(pipeline.throttle().is_none());
}

/// In an outage, with a probe due now.
async fn with_a_probe_due() -> Throttle {
    let (throttle, now) = (build(Throttle::new()), Instant::now());
    for _ in 0..100_000 {
        if let Ok(permit) = throttle.try_acquire(Priority::Normal, now) {
            permit.settle_at(NO, now);
        }
    }
    tokio::time::advance(secs(2.0)).await;
    throttle
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_never_made_goes_to_the_next_call() {
    let well = || async { Ok::<_, String>(()) };
    // A later gate refuses it.
    let places = Bulkhead::new(1).build().unwrap();
    let pipeline = Pipeline::builder("p").throttle(with_a_probe_due().await).bulkhead(places.clone()).build().unwrap();
    let held = places.try_acquire().unwrap();
    assert_eq!(pipeline.call(well).await.unwrap_err().rejected().unwrap().kind(), RejectedKind::BulkheadFull);
    drop(held);
    assert_eq!(pipeline.call(well).await, Ok(()));
    // Its caller leaves while it stands in line.
    let places = Bulkhead::new(1).queue(1).build().unwrap();
    let pipeline = Pipeline::builder("p").throttle(with_a_probe_due().await).bulkhead(places.clone()).build().unwrap();
    let held = places.try_acquire().unwrap();
    assert!(pipeline.call(well).now_or_never().is_none());
    drop(held);
    assert_eq!(pipeline.call(well).await, Ok(()));
    // One that was made and given up is spent.
    let pipeline = Pipeline::builder("p").throttle(with_a_probe_due().await).build().unwrap();
    assert!(pipeline.call(std::future::pending::<Result<(), String>>).now_or_never().is_none());
    assert_eq!(pipeline.call(well).await.unwrap_err().rejected().unwrap().kind(), RejectedKind::Throttled);
}
