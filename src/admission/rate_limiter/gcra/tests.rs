use super::*;

const ONE: NonZeroU32 = NonZeroU32::MIN;
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn h36_a_tick_and_its_nanosecond_agree() {
    for (units, nanos) in
        [(7, 60_000_000_000), (1_000_003, 60_000_000_000), (3, 10), (u32::MAX, LONGEST_FILL), (999_983, 3_600_000_000_000)]
    {
        let pace = Pace::new(units, Duration::from_nanos(nanos), 1);
        assert_eq!(pace.interval * u64::from(units), nanos + pace.excess);
        for at in [0, 1, 2, 12_345_678_901, nanos - 1, nanos, END_OF_TIME - 1, END_OF_TIME] {
            let tick = pace.tick(at);
            assert_eq!(
                u128::from(tick),
                u128::from(at) * u128::from(nanos + pace.excess) / u128::from(nanos),
                "{units} in {nanos} at {at}"
            );
            assert_eq!(pace.nanos(tick), at.min(pace.nanos(tick)));
            assert!(pace.tick(pace.nanos(tick)) >= tick && pace.nanos(tick + 1) > at);
        }
    }
}

#[test]
fn h35_the_largest_numbers_do_not_overflow() {
    let epoch = Instant::now();
    let bucket = Gcra::new(1, Duration::from_nanos(LONGEST_FILL), 1, epoch);
    let late = epoch + Duration::from_nanos(END_OF_TIME);
    for now in [epoch, late, late + SECOND, epoch] {
        let _ = bucket.take(ONE, now);
        assert!(bucket.take(ONE, now).is_err());
        assert!(bucket.wait_for(u64::MAX, now) > SECOND);
        bucket.set(u32::MAX, Duration::from_nanos(LONGEST_FILL), u32::MAX, now);
        bucket.set(1, Duration::from_nanos(LONGEST_FILL), 1, now);
    }
}

#[test]
fn h47_threads_that_take_while_the_rate_changes_take_no_more_than_there_is() {
    let epoch = Instant::now();
    let bucket = Gcra::new(1_000, SECOND, 1_000, epoch);
    let taken = std::thread::scope(|scope| {
        let take = || (0..2_000).filter(|_| bucket.take(ONE, epoch).is_ok()).count();
        let threads = [scope.spawn(take), scope.spawn(take)];
        for n in 0..500_u32 {
            bucket.set(1_000 + n % 7 * 100, SECOND, 1_000 + n % 5, epoch);
        }
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum::<usize>()
    });
    assert!(taken <= 1_000, "{taken}");
    assert!(taken + bucket.available(epoch) as usize <= 1_000);
}

#[test]
fn a_grant_of_another_setting_is_not_handed_back_in_the_wrong_units() {
    let now = Instant::now();
    let bucket = Gcra::new(10, SECOND, 10, now);
    let receipt = bucket.take(ONE, now).expect("full");
    bucket.set(1, SECOND, 10, now);
    bucket.give_back(receipt, || now);
    assert_eq!(bucket.available(now), 9);
    // Nor is a grant of the slower setting, whose debt would be worth all of a unit now.
    let bucket = Gcra::new(1, SECOND, 10, now);
    let receipt = bucket.take(ONE, now).expect("full");
    bucket.set(10, SECOND, 10, now);
    bucket.give_back(receipt, || now);
    assert_eq!(bucket.available(now), 9);
}

#[test]
fn h33_the_clock_went_back_when_more_is_owed_than_ever_could_be() {
    let (pace, now) = (Pace::new(10, SECOND, 10), 5_000_000_000);
    let latest = now + pace.most_debt + DISORDER;
    assert_eq!([pace.sane(latest, now), pace.sane(latest + 1, now)], [latest, now + pace.full()]);
}

#[test]
fn h33_after_a_lower_burst_the_debts_of_the_higher_one_are_believed() {
    let second = 1_000_000_000;
    let (old, new) = (Pace::new(1, SECOND, 100), Pace::new(1, SECOND, 1));
    // A bucket of a hundred that was emptied owes 100 s, in any order of settings; a bucket of one never owes that much.
    for pace in [new.after(&old), old.after(&new), new.after(&old).after(&new)] {
        assert_eq!(pace.sane(100 * second, 0), 100 * second, "{pace:?}");
    }
    assert_eq!(new.sane(100 * second, 0), second);
    assert_eq!(new.after(&old).full(), second, "it fills no further for that");
}

#[test]
fn what_time_has_made_good_is_not_handed_back() {
    // A unit each 100 ms. Granted at 0, three units are owed until 300 ms.
    let (pace, ms) = (Pace::new(10, SECOND, 10), 1_000_000);
    assert_eq!((pace.interval(), pace.full()), (100 * ms, 1_000 * ms));
    for (tat, then, cost, now, left) in [
        (300, 300, 3, 0, 0),     // at once: all of it
        (300, 300, 1, 0, 200),   // one of the three
        (300, 300, 3, 100, 100), // one came in by itself since
        (300, 300, 1, 100, 200),
        (300, 300, 3, 300, 300), // all did: nothing is left to hand back
        (300, 300, 3, 900, 300),
        (700, 300, 3, 100, 500), // what others took meanwhile stays owed
    ] {
        let answer = pace.returned(tat * ms, then * ms, cost, now * ms);
        assert_eq!(answer, (left * ms, (tat - left) * ms), "{cost} units at {now} ms, owed until {then} ms of {tat} ms");
    }
}

#[test]
fn what_others_handed_back_is_not_handed_back_twice() {
    let epoch = Instant::now();
    let bucket = Gcra::new(10, SECOND, 10, epoch);
    let [first, second] = [0, 1].map(|_| bucket.take(ONE, epoch).expect("full"));
    bucket.give_back(first, || epoch);
    let later = epoch + Duration::from_millis(150); // full again, with or without the second
    assert!(bucket.take(NonZeroU32::new(10).expect("ten"), later).is_ok());
    bucket.give_back(second, || later);
    assert_eq!(bucket.available(later), 0);
}

#[test]
fn h47_a_grant_that_meets_a_change_of_burst_is_not_forgotten() {
    let now = Instant::now();
    let bucket = Gcra::new(1, SECOND, 100, now);
    assert!(bucket.take(NonZeroU32::new(50).expect("fifty"), now).is_ok());
    // Takes the other fifty, and between its look at the TAT and its compare-exchange the burst is lowered.
    let pace = bucket.pace();
    let (setting, debt) = (&bucket.setting.0, &bucket.debt.0);
    let state = State { debt, version: &setting.version, pace: &pace, now: 0, fresh: false, end: Cell::new(End::Refused) };
    let changed = Cell::new(false);
    let _ = (&state).measure_and_replace(&NotKeyed::NonKey, |tat| {
        if !changed.replace(true) {
            bucket.set(1, SECOND, 60, now);
        }
        let tat = tat.map_or(0, Nanos::as_u64);
        if tat <= 50 * 1_000_000_000 { Ok(((), Nanos::new(tat + 50 * 1_000_000_000))) } else { Err(()) }
    });
    let taken = if matches!(state.end.get(), End::Granted { .. }) { 100 } else { 50 };
    assert!(bucket.take(ONE, now).is_err());
    let free = (1..200).find(|&second| bucket.available(now + SECOND * second) == 60);
    assert_eq!(free, Some(taken), "the debt is paid off when as many seconds have passed");
}

proptest::proptest! {
    /// Units handed back were never taken: without them, every window still holds at most `burst + rate * t`.
    #[test]
    fn with_refunds_no_window_holds_more_than_burst_and_rate(
        (units, period, burst) in (1..200_u32, 1_000..1_000_000_u64, 1..12_u32),
        steps in proptest::collection::vec((0..4_u8, 0.0..2.0_f64, 1..6_u32, proptest::prelude::any::<proptest::sample::Index>()), 1..150),
    ) {
        let epoch = Instant::now();
        let bucket = Gcra::new(units, Duration::from_nanos(period), burst, epoch);
        let (mut now, mut granted) = (0_u64, Vec::<(u64, Receipt)>::new());
        for (kind, intervals, cost, which) in steps {
            now += if kind == 1 { (intervals * period as f64 / f64::from(units)) as u64 } else { 0 };
            let at = epoch + Duration::from_nanos(now);
            if kind == 0 && !granted.is_empty() {
                let (_, receipt) = granted.remove(which.index(granted.len()));
                bucket.give_back(receipt, || at);
            } else if let Some(receipt) = NonZeroU32::new(cost).and_then(|cost| bucket.take(cost, at).ok()) {
                granted.push((now, receipt));
            }
            for (i, (from, _)) in granted.iter().enumerate() {
                let mut sum = 0;
                for (to, receipt) in &granted[i..] {
                    sum += u128::from(receipt.cost);
                    // A decision may be early by a nanosecond, at either end.
                    let most = u128::from(burst) * u128::from(period) + u128::from(to - from + 2) * u128::from(units);
                    proptest::prop_assert!(sum * u128::from(period) <= most, "{sum} in {} ns", to - from);
                }
            }
        }
    }
}
