//! The queue of a bulkhead from outside: who goes first, who is passed over, and that no wake-up is lost.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(unreachable_pub, reason = "shared with other tests")]
mod yard;

use std::pin::pin;
use std::time::Duration;
use steadfast::{Bulkhead, Call, Priority, RejectedKind};
use tokio::time::{Instant, advance, sleep};
use yard::{Yard, build};

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn h02_a_waiter_that_left_is_granted_nothing() {
    let mut yard = Yard::queue_of(2);
    yard.tasks[1] = None;
    yard.release();
    yard.run();
    assert_eq!((yard.granted.as_slice(), yard.bulkhead.waiting()), (&[0, 2][..], 0));
}

#[test]
fn h03_a_wake_is_passed_on_by_who_is_dropped_before_its_poll() {
    let mut yard = Yard::queue_of(3);
    yard.release();
    yard.tasks[1] = None;
    yard.tasks[2] = None;
    yard.run();
    assert_eq!(yard.granted, [0, 3]);
}

#[test]
fn h02_h03_sweep_a_waiter_dropped_after_any_poll_leaves_everything_whole() {
    for steps in 0..8 {
        let mut yard = Yard::queue_of(0);
        let victim = yard.call(Call::now());
        let others = [yard.call(Call::now()), yard.call(Call::now())];
        for step in 0..steps {
            if step == 2 {
                yard.release();
            }
            yard.step();
        }
        yard.tasks[victim] = None;
        yard.run();
        yard.release_all();
        assert!(others.iter().all(|id| yard.granted.contains(id)), "dropped after {steps}");
        assert_eq!((yard.bulkhead.available(), yard.bulkhead.waiting()), (1, 0));
    }
}

#[test]
fn h16_a_forgotten_waiter_delays_nobody() {
    let mut yard = Yard::queue_of(2);
    std::mem::forget(yard.tasks[1].take());
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2]);
}

#[test]
fn h21_a_parked_waiter_is_passed_over_and_keeps_its_place() {
    let mut yard = Yard::queue_of(4);
    yard.park(1);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2], "the parked one delays nobody");
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2, 3]);
    yard.unpark(1);
    yard.run();
    assert_eq!(yard.granted, [0, 2, 3], "back, and no place is free");
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2, 3, 1], "it stood where it stood");
}

#[tokio::test(start_paused = true)]
async fn h21_futurelock_in_a_select() {
    let bulkhead = build(Bulkhead::new(1).queue(5));
    let held = bulkhead.try_acquire().unwrap();
    let (start, call) = (Instant::now(), Call::now());
    let mut parked = pin!(bulkhead.acquire(&call));
    tokio::select! {
        biased;
        _ = &mut parked => panic!("there is no place"),
        () = tokio::task::yield_now() => {}
    }
    let other = tokio::spawn({
        let bulkhead = bulkhead.clone();
        async move { bulkhead.acquire(&Call::now()).await.map(|_| start.elapsed()) }
    });
    tokio::task::yield_now().await;
    drop(held);
    // `parked` is alive, and nobody polls it.
    let other = tokio::time::timeout(ms(1_000), other).await.expect("it is not held up by the parked one");
    assert_eq!(other.unwrap().unwrap(), Duration::ZERO);
    assert!(parked.await.is_ok());
}

#[test]
fn h21_several_parked_in_a_row_each_event_reaches_one_further() {
    for parked in 1..6 {
        let mut yard = Yard::queue_of(8);
        (1..=parked).for_each(|id| yard.park(id));
        yard.release();
        yard.run();
        let mut arrivals = 0;
        while yard.granted.len() < 2 {
            yard.start(Priority::Normal);
            arrivals += 1;
            assert!(arrivals < parked, "{parked} parked");
        }
        assert_eq!(yard.granted, [0, parked + 1], "nobody alive is overtaken");
    }
}

/// Of eight in line the first three are parked, a place comes free, and these leave.
fn granted_after_three_parked_and_departures_of(leaving: [usize; 2]) -> Vec<usize> {
    let mut yard = Yard::queue_of(8);
    [1, 2, 3].into_iter().for_each(|id| yard.park(id));
    yard.release();
    yard.run();
    leaving.into_iter().for_each(|id| {
        yard.tasks[id] = None;
        yard.run();
    });
    yard.granted
}

#[test]
fn h21_departures_reach_further_too() {
    assert_eq!(granted_after_three_parked_and_departures_of([8, 7]), [0, 4]);
}

#[test]
fn h21_several_places_pass_by_several_parked() {
    let bulkhead = build(Bulkhead::new(3).queue(20));
    let mut yard = Yard::new(&bulkhead);
    (0..13).for_each(|_| _ = yard.start(Priority::Normal));
    [3, 4, 6].into_iter().for_each(|id| yard.park(id));
    for _ in 0..3 {
        yard.release();
        yard.run();
    }
    assert_eq!(yard.granted, [0, 1, 2, 5, 7, 8]);
    assert_eq!((bulkhead.in_use(), bulkhead.waiting()), (3, 7));
}

#[tokio::test(start_paused = true)]
async fn h21_a_caller_that_cannot_wait_passes_the_parked_too() {
    let mut yard = Yard::queue_of(2);
    let bulkhead = yard.bulkhead.clone();
    [1, 2].into_iter().for_each(|id| yard.park(id));
    bulkhead.resize(2);
    yard.release();
    yard.run();
    assert!(bulkhead.try_acquire().is_err(), "they have just been called up: not to be overtaken");
    advance(ms(9)).await;
    assert!(bulkhead.try_acquire().is_err());
    advance(ms(1)).await;
    assert!(bulkhead.try_acquire().is_ok(), "10 ms, and they have not come");
    assert!(bulkhead.try_acquire().is_ok(), "and from now on at once");
    [2, 1].into_iter().for_each(|id| yard.unpark(id));
    yard.run();
    assert_eq!(yard.granted.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn h21_who_is_only_slow_is_overtaken_once() {
    let mut yard = Yard::queue_of(6);
    let slow = 1;
    for expected in [&[0, 2][..], &[0, 2, 1], &[0, 2, 1, 3]] {
        // Polled late each time: everybody else has had its turn before.
        yard.park(slow);
        yard.release();
        yard.run();
        yard.unpark(slow);
        yard.run();
        assert_eq!(yard.granted, expected);
    }
    // Who came late once and is then parked for good holds others up for 10 ms.
    let mut yard = Yard::queue_of(6);
    yard.park(slow);
    yard.release();
    yard.run();
    yard.unpark(slow);
    yard.run();
    yard.park(slow);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2]);
    advance(ms(10)).await;
    yard.run();
    assert_eq!(yard.granted, [0, 2, 3]);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2, 3, 4]);
}

#[test]
fn h61_first_come_first_served() {
    for n in [50, 1_000] {
        let mut yard = Yard::queue_of(n);
        for _ in 0..n {
            yard.release();
            assert!(yard.bulkhead.try_acquire().is_err(), "a newcomer overtakes nobody");
            yard.run();
        }
        assert_eq!(yard.granted, (0..=n).collect::<Vec<_>>());
    }
}

#[test]
fn h61_in_order_even_when_a_newcomer_comes_between_release_and_wake() {
    let mut yard = Yard::queue_of(3);
    yard.release();
    let newcomer = yard.call(Call::now());
    yard.hurry();
    yard.run();
    yard.release_all();
    assert_eq!(yard.granted, [0, 1, 2, 3, newcomer]);
}

#[test]
fn h67_one_release_is_two_polls_whatever_the_queue() {
    let mut yard = Yard::queue_of(10_000);
    assert_eq!(yard.polls(), 10_000, "everybody was polled once");
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 1]);
    assert!(yard.polls() <= 9_999 + 1, "call 1 got its place, and one watchman looked: {}", yard.polls());
}

#[test]
fn no_waiter_spins_however_long_it_waits() {
    let mut yard = Yard::queue_of(100);
    for _ in 0..99 {
        yard.release();
        yard.run();
        let most = yard.tasks.iter().flatten().map(|task| task.polls).max();
        assert!(most <= Some(2), "on arrival and as a watchman, before the one that takes: {most:?}");
    }
}

#[test]
fn a_more_important_newcomer_displaces_the_newest_of_the_least_important() {
    let bulkhead = build(Bulkhead::new(1).queue(4));
    let mut yard = Yard::new(&bulkhead);
    for priority in [Priority::Normal, Priority::Low, Priority::Normal, Priority::Low, Priority::Normal] {
        yard.start(priority);
    }
    let full = RejectedKind::BulkheadFull;
    let high = yard.start(Priority::High);
    assert_eq!(yard.refused, [(3, full)], "the newer one of the two low ones");
    yard.start(Priority::Low);
    assert_eq!(yard.refused[1..], [(6, full)], "nobody is less important");
    let normal = yard.start(Priority::Normal);
    assert_eq!(yard.refused[2..], [(1, full)]);
    let again = yard.start(Priority::Normal);
    assert_eq!(yard.refused[3..], [(again, full)], "equals do not displace each other");
    assert_eq!(bulkhead.waiting(), 4);
    yard.release_all();
    assert_eq!(yard.granted, [0, high, 2, 4, normal]);
}

#[test]
fn a_displaced_waiter_that_was_called_up_leaves_its_turn_to_the_next() {
    let bulkhead = build(Bulkhead::new(1).queue(1));
    let mut yard = Yard::new(&bulkhead);
    yard.start(Priority::Normal);
    yard.start(Priority::Low);
    yard.release();
    let high = yard.call(Call::now().priority(Priority::High));
    yard.hurry();
    yard.run();
    assert_eq!((yard.granted.as_slice(), yard.refused.as_slice()), (&[0, high][..], &[(1, RejectedKind::BulkheadFull)][..]));
}

#[tokio::test(start_paused = true)]
async fn h60_the_important_waits_for_one_call_at_most() {
    let mut yard = Yard::new(&build(Bulkhead::new(2).queue(10)));
    (0..6).for_each(|_| _ = yard.start(Priority::Low));
    let critical = yard.start(Priority::Critical);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 1, critical]);
}

#[tokio::test(start_paused = true)]
async fn h59_priorities_are_a_head_start_and_no_more() {
    let mut yard = Yard::new(&build(Bulkhead::new(1).queue(10).ageing(ms(100))));
    yard.start(Priority::Normal);
    let low = yard.start(Priority::Low);
    advance(ms(99)).await;
    let early = yard.start(Priority::Normal);
    advance(ms(2)).await;
    let late = yard.start(Priority::Normal);
    yard.release_all();
    assert_eq!(yard.granted, [0, early, low, late]);
}

/// Ten callers of one priority and one of another, over and over, for an hour. The share and the longest wait of that one.
async fn under_pressure(bulkhead: Bulkhead, many: Priority, one: Priority) -> (f64, Duration) {
    let end = Instant::now() + Duration::from_secs(3600);
    let caller = |priority: Priority| {
        let bulkhead = bulkhead.clone();
        async move {
            let (mut served, mut longest) = (0, Duration::ZERO);
            while Instant::now() < end {
                let start = Instant::now();
                let _permit = bulkhead.acquire(&Call::now().priority(priority)).await.unwrap();
                longest = longest.max(start.elapsed());
                served += 1;
                sleep(ms(100)).await;
            }
            (served, longest)
        }
    };
    let others: Vec<_> = (0..10).map(|_| tokio::spawn(caller(many))).collect();
    let (served, longest) = caller(one).await;
    let mut total = served;
    for other in others {
        total += other.await.unwrap().0;
    }
    (f64::from(served) / f64::from(total), longest)
}

#[tokio::test(start_paused = true)]
async fn h59_nobody_starves_for_an_hour() {
    let (_, longest) = under_pressure(build(Bulkhead::new(1).queue(20)), Priority::Critical, Priority::Background).await;
    assert!(longest > ms(8_000) && longest <= ms(10_000), "four steps of 2 s, and one round: {longest:?}");
    let (share, longest) = under_pressure(build(Bulkhead::new(1).queue(20).ageing(ms(200))), Priority::High, Priority::Low).await;
    assert!(share >= 0.05 && longest <= ms(2_000), "{share} {longest:?}");
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(sides).unwrap()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn x8_h50_no_wakeup_is_lost_in_ten_thousand_random_schedules() {
    for seed in 0..10_000 {
        let mut dice = Dice(seed);
        let limit = 1 + dice.roll(3);
        let mut config = Bulkhead::new(limit).queue(1 + dice.roll(8));
        if dice.roll(2) == 0 {
            config = config.max_wait(ms(5));
        }
        let bulkhead = build(config);
        let mut yard = Yard::new(&bulkhead);
        for _ in 0..40 {
            let someone = dice.roll(yard.tasks.len() + 1);
            let exists = someone < yard.tasks.len();
            match dice.roll(12) {
                0..4 => _ = yard.call(Call::now().priority(Priority::ALL[dice.roll(5)])),
                4..6 if !yard.held.is_empty() => yard.release(),
                6 if exists => yard.tasks[someone] = None,
                7 if exists => yard.park(someone),
                8 if exists => yard.unpark(someone),
                9 => bulkhead.resize(dice.roll(5)),
                10 => advance(ms(1)).await,
                11 => _ = bulkhead.try_acquire().is_ok(),
                _ => (0..dice.roll(4)).for_each(|_| _ = yard.step()),
            }
            let parked = yard.tasks.iter().flatten().filter(|task| task.parked).count();
            if parked <= 1 && dice.roll(3) == 0 {
                yard.run();
                if bulkhead.available() > 0 {
                    // Who was passed over before is given 10 ms.
                    advance(ms(10)).await;
                    yard.run();
                }
                let asleep = yard.waiting().len() - yard.tasks.iter().flatten().filter(|task| task.parked).count();
                assert!(bulkhead.available() == 0 || asleep == 0, "seed {seed}: {asleep} sleep beside a free place, {bulkhead:?}");
            }
        }
        (0..yard.tasks.len()).for_each(|id| yard.unpark(id));
        bulkhead.resize(limit);
        yard.run();
        assert!(bulkhead.available() == 0 || bulkhead.waiting() == 0, "seed {seed}: {bulkhead:?}");
        assert_eq!(bulkhead.waiting(), yard.waiting().len(), "seed {seed}");
        yard.release_all();
        assert_eq!((bulkhead.in_use(), bulkhead.available(), bulkhead.waiting()), (0, limit, 0), "seed {seed}");
    }
}

// ---- edges that mutants showed to be untested ----

#[tokio::test(start_paused = true)]
async fn h61_who_gets_the_slot_of_one_that_left_stands_behind_all_who_came_before() {
    let mut yard = Yard::queue_of(2);
    yard.tasks[1] = None;
    let last = yard.start(Priority::Normal);
    yard.release_all();
    assert_eq!(yard.granted, [0, 2, last], "of one moment, all of them");
}

#[tokio::test(start_paused = true)]
async fn h59_in_a_bulkhead_the_critical_too_have_a_head_start_and_no_more() {
    let mut yard = Yard::new(&build(Bulkhead::new(1).queue(9).ageing(ms(100))));
    yard.start(Priority::Normal);
    yard.start(Priority::Normal);
    advance(ms(100) * 10).await;
    yard.start(Priority::Critical);
    yard.release_all();
    assert_eq!(yard.granted, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn who_may_not_wait_displaces_nobody() {
    let rules = Bulkhead::new(1).queue(1);
    let bulkhead = build(rules.clone());
    let mut yard = Yard::new(&bulkhead);
    yard.start(Priority::Low);
    yard.start(Priority::Low);
    bulkhead.reconfigure(&rules.max_wait(Duration::ZERO)).unwrap();
    yard.start(Priority::Critical);
    assert_eq!((yard.waiting(), &yard.refused[..]), (vec![1], &[(2, RejectedKind::BulkheadFull)][..]));
    yard.release_all();
    assert_eq!(yard.granted, [0, 1]);
}

#[test]
fn h61_who_was_called_up_goes_before_a_newcomer_however_important() {
    let mut yard = Yard::new(&build(Bulkhead::new(1).queue(5)));
    yard.start(Priority::Normal);
    yard.start(Priority::Low);
    yard.release();
    let critical = yard.call(Call::now().priority(Priority::Critical));
    yard.hurry();
    yard.run();
    assert_eq!(yard.granted, [0, 1], "it is awake already, and the place is its own");
    yard.release_all();
    assert_eq!(yard.granted, [0, 1, critical]);
}

#[test]
fn h21_the_departure_of_a_parked_watchman_reaches_further_too() {
    // 1 was called up, 2 watches; each departure wakes one more: 3 of the one, 4 of the other.
    assert_eq!(granted_after_three_parked_and_departures_of([8, 3]), [0, 4]);
}

#[test]
fn h21_who_was_passed_over_takes_a_free_place_at_its_first_poll() {
    let mut yard = Yard::queue_of(2);
    yard.park(1);
    yard.release();
    yard.run();
    yard.release();
    yard.unpark(1);
    assert!(yard.step());
    assert_eq!(yard.granted, [0, 2, 1], "it need not come twice");
}

#[test]
fn h21_a_watchman_that_stood_down_watches_again() {
    let mut yard = Yard::queue_of(2);
    yard.release();
    yard.run();
    // 2 watched until 1 came. Now somebody stands before it who never comes.
    let parked = yard.start(Priority::High);
    yard.park(parked);
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 1, 2]);
}

#[test]
fn h67_a_departure_wakes_who_is_called_up_and_one_watchman() {
    let mut yard = Yard::queue_of(4);
    yard.park(1);
    yard.park(2);
    yard.release();
    yard.run();
    yard.tasks[1] = None;
    yard.run();
    assert_eq!(yard.granted, [0, 3], "in place of 2, which is parked");
    assert_eq!(yard.tasks[4].as_ref().map(|task| task.polls), Some(1), "on its arrival, and no more");
}

#[tokio::test(start_paused = true)]
async fn h21_nobody_is_so_courteous_to_who_is_slow_as_to_miss_its_own_time() {
    let mut yard = Yard::new(&build(Bulkhead::new(1).queue(10).max_wait(ms(15))));
    (0..4).for_each(|_| _ = yard.start(Priority::Normal));
    let slow = 1;
    yard.park(slow);
    yard.release();
    yard.run();
    yard.unpark(slow);
    yard.run();
    yard.park(slow);
    advance(ms(10)).await;
    yard.release();
    yard.run();
    assert_eq!(yard.granted, [0, 2], "the slow one was overtaken before: it is given until 20 ms");
    advance(ms(5)).await;
    yard.run();
    assert_eq!((yard.granted, yard.refused), (vec![0, 2, 3], vec![]), "whose time ends at 15 ms goes then");
}

#[tokio::test(start_paused = true)]
async fn h21_whoever_cannot_wait_gives_each_newly_called_its_10_ms_and_no_more() {
    let bulkhead = build(Bulkhead::new(1).queue(10));
    let mut yard = Yard::new(&bulkhead);
    yard.start(Priority::Normal);
    for round in 0..3 {
        let parked = yard.start(Priority::Normal);
        yard.park(parked);
        yard.release();
        yard.run();
        assert!(bulkhead.try_acquire().is_err(), "round {round}: it has just been called up");
        advance(ms(9)).await;
        assert!(bulkhead.try_acquire().is_err(), "round {round}");
        advance(ms(1)).await;
        yard.held.push(bulkhead.try_acquire().expect("10 ms, and it has not come").into_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn h21_whoever_may_not_wait_any_more_passes_the_parked_too() {
    let rules = Bulkhead::new(1).queue(1);
    let bulkhead = build(rules.clone());
    let mut yard = Yard::new(&bulkhead);
    yard.start(Priority::Normal);
    let parked = yard.start(Priority::Normal);
    yard.park(parked);
    bulkhead.reconfigure(&rules.max_wait(Duration::ZERO)).unwrap();
    yard.release();
    yard.run();
    let early = yard.start(Priority::Normal);
    advance(ms(10)).await;
    let late = yard.start(Priority::Normal);
    assert_eq!((yard.granted, yard.refused), (vec![0, late], vec![(early, RejectedKind::BulkheadFull)]));
}
