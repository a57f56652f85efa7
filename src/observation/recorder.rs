//! Where one name's calls are counted.
//!
//! # How it works
//! Each thread records into its own shard, under a lock that nobody else wants, and only into the current second. The first record of a new second
//! adds the shard's last second to the shared rings: 10 x 1 s, 12 x 5 s and 10 x 30 s. What falls out of the longest ring goes into a total for
//! good, so all time is that total and the longest ring. A ring slot is found by its number, never by stepping, so ten years between two calls cost
//! what one second does. A clock that goes back records into the latest second it knew.
//!
//! Locks are taken in one order: shards, then rings. No user code runs under them.
//!
//! # Memory
//! Nothing but the counters until the first call. A histogram then reaches as far as the largest value seen: 1 KiB up to 256 us, 7 KiB to 1 s, 10 KiB
//! to 30 s, 13 KiB at the end of the range. There are two in each of 8 shards and 32 ring slots, if ever that many are used, and two of twice the size
//! for good: 5 KiB unused, a few tens of KiB with a call now and then, 0.6 MiB where 8 threads call for minutes within a second each, and
//! never more than 1.1 MiB.

use super::report::{Snapshot, Window};
use super::stats::{CallEnd, Slot, Stats};
use crate::outcome::Outcome;
use crate::sync::{Mutex, Padded, SHARDS, lock, shard};
use crate::time::nanos;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Default)]
struct Shard {
    /// The second of `slot`, counted from the epoch.
    tick: u64,
    /// Whether anything was recorded in it.
    used: bool,
    slot: Slot,
}

/// The slots of one rolling window. Each remembers which step of time it holds.
struct Ring {
    step: u64,
    newest: u64,
    slots: Vec<Option<(u64, Box<Slot>)>>,
}

impl Ring {
    fn new(window: Window) -> Self {
        Self { step: window.step_secs(), newest: 0, slots: std::iter::repeat_with(|| None).take(window.steps()).collect() }
    }

    /// Adds what was recorded in second `tick`. What falls out of the window goes to `evicted`, even if that is `slot` itself.
    fn add(&mut self, tick: u64, slot: &Slot, evicted: impl FnOnce(&Slot)) {
        let stamp = tick / self.step;
        self.newest = self.newest.max(stamp);
        let len = self.slots.len() as u64;
        let Some(place) = usize::try_from(stamp % len).ok().and_then(|i| self.slots.get_mut(i)) else { return };
        match place {
            None => *place = Some((stamp, Box::new(slot.clone()))),
            Some((held, mine)) if *held == stamp => mine.add(slot),
            Some((held, mine)) if *held < stamp => {
                evicted(mine);
                *held = stamp;
                mine.clear();
                mine.add(slot);
            }
            Some(_) => evicted(slot), // late by more than the window
        }
    }

    /// Adds up what is within the window at second `tick`, and what no longer is.
    fn sum(&self, tick: u64, within: &mut Stats, mut older: Option<&mut Stats>) {
        let now = self.newest.max(tick / self.step);
        let len = self.slots.len() as u64;
        for (stamp, slot) in self.slots.iter().flatten() {
            if stamp + len > now {
                within.absorb(slot);
            } else if let Some(older) = &mut older {
                older.absorb(slot);
            }
        }
    }
}

struct Rings {
    /// Whatever the longest ring no longer holds.
    past: Stats,
    short: Ring,
    middle: Ring,
    long: Ring,
}

impl Rings {
    fn new() -> Self {
        let [short, middle, long] = Window::ALL.map(Ring::new);
        Self { past: Stats::default(), short, middle, long }
    }

    fn add(&mut self, tick: u64, slot: &Slot) {
        self.short.add(tick, slot, |_| ());
        self.middle.add(tick, slot, |_| ());
        self.long.add(tick, slot, |old| self.past.absorb(old));
    }

    fn sum(&self, tick: u64) -> Box<[Stats; 4]> {
        let mut parts = Box::new([self.past.clone(), Stats::default(), Stats::default(), Stats::default()]);
        let [all, short, middle, long] = &mut *parts;
        self.short.sum(tick, short, None);
        self.middle.sum(tick, middle, None);
        self.long.sum(tick, long, Some(all));
        all.merge(long);
        parts
    }
}

/// Counts the calls of one name. See the head of this file.
pub(crate) struct Recorder {
    name: Arc<str>,
    epoch: Instant,
    shards: [Padded<Mutex<Shard>>; SHARDS],
    rings: Mutex<Rings>,
}

impl Recorder {
    /// `epoch` is where seconds are counted from; recorders of one monitor share it, so their windows move together.
    pub(crate) fn new(name: Arc<str>, epoch: Instant) -> Self {
        Self { name, epoch, shards: std::array::from_fn(|_| Padded(Mutex::new(Shard::default()))), rings: Mutex::new(Rings::new()) }
    }

    /// As it is reported: escaped, and `other` past the monitor's bound on names.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// One attempt ended at `now`, `latency` after it began.
    #[inline]
    pub(crate) fn record_attempt(&self, outcome: Outcome, latency: Duration, now: Instant) {
        self.with(now, |slot| count_attempt(slot, outcome, nanos(latency)));
    }

    /// One call ended at `now`, `latency` after it began, with `attempts` made. Its attempts are recorded by themselves.
    #[inline]
    pub(crate) fn record_call(&self, end: CallEnd, attempts: u32, latency: Duration, now: Instant) {
        self.with(now, |slot| count_call(slot, end, attempts, nanos(latency)));
    }

    /// Both at once, for a call of one attempt that took all its time: the common case, under one lock.
    #[inline]
    pub(crate) fn record_single(&self, end: CallEnd, outcome: Outcome, latency: Duration, now: Instant) {
        let latency = nanos(latency);
        self.with(now, |slot| {
            count_attempt(slot, outcome, latency);
            count_call(slot, end, 1, latency);
        });
    }

    /// A fallback answered a call, which is recorded by itself.
    pub(crate) fn record_fallback(&self, now: Instant) {
        self.with(now, |slot| slot.counts.fallback());
    }

    #[inline]
    fn with(&self, now: Instant, record: impl FnOnce(&mut Slot)) {
        let tick = self.tick(now);
        let mut shard = lock(&self.shards[shard()].0);
        if tick > shard.tick {
            self.drain(&mut shard);
            shard.tick = tick;
        }
        shard.used = true;
        record(&mut shard.slot);
    }

    fn tick(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }

    #[cold]
    fn drain(&self, shard: &mut Shard) {
        if shard.used {
            lock(&self.rings).add(shard.tick, &shard.slot);
            shard.slot.clear();
            shard.used = false;
        }
    }

    /// What happened up to `now`.
    #[inline]
    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        self.shards.iter().for_each(|shard| self.drain(&mut lock(&shard.0)));
        let parts = lock(&self.rings).sum(self.tick(now));
        Snapshot::new(Arc::clone(&self.name), parts)
    }

    /// Forgets everything, at one moment: all locks at once, so that no call is half forgotten.
    #[inline]
    pub(crate) fn reset(&self) {
        let shards = self.shards.each_ref().map(|shard| lock(&shard.0));
        *lock(&self.rings) = Rings::new();
        for mut shard in shards {
            shard.slot.clear();
            shard.used = false;
        }
    }
}

impl fmt::Debug for Recorder {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("name", &self.name).finish_non_exhaustive()
    }
}

#[inline]
fn count_attempt(slot: &mut Slot, outcome: Outcome, nanos: u64) {
    slot.counts.attempt(outcome);
    // What never ran, or whose end nobody saw, has no latency.
    if !matches!(outcome, Outcome::NotAttempted | Outcome::Abandoned) {
        slot.attempts.record(nanos);
    }
}

#[inline]
fn count_call(slot: &mut Slot, end: CallEnd, attempts: u32, nanos: u64) {
    slot.counts.call(end, attempts);
    if end != CallEnd::Abandoned {
        slot.calls.record(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{RejectedKind, Verdict};

    const SECOND: Duration = Duration::from_secs(1);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    fn recorder() -> (Recorder, Instant) {
        let epoch = Instant::now();
        (Recorder::new("test".into(), epoch), epoch)
    }

    fn windows(recorder: &Recorder, now: Instant) -> [u64; 4] {
        let stats = recorder.snapshot(now);
        [
            stats.window(Window::TenSeconds).calls(),
            stats.window(Window::OneMinute).calls(),
            stats.window(Window::FiveMinutes).calls(),
            stats.calls(),
        ]
    }

    #[test]
    fn windows_roll_off_exactly() {
        let (recorder, epoch) = recorder();
        recorder.record_call(CallEnd::Success, 1, SECOND, epoch);
        for (millis, expected) in [
            (0, [1, 1, 1, 1]),
            (9_999, [1, 1, 1, 1]),
            (10_000, [0, 1, 1, 1]),
            (59_999, [0, 1, 1, 1]),
            (60_000, [0, 0, 1, 1]),
            (299_999, [0, 0, 1, 1]),
            (300_000, [0, 0, 0, 1]),
            (300_000_000, [0, 0, 0, 1]),
        ] {
            assert_eq!(windows(&recorder, epoch + Duration::from_millis(millis)), expected, "after {millis} ms");
        }
    }

    #[test]
    fn one_call_a_second_for_ten_minutes() {
        let (recorder, epoch) = recorder();
        for i in 0..600 {
            recorder.record_call(CallEnd::Success, 1, Duration::from_millis(u64::from(i)), epoch + SECOND * i);
        }
        assert_eq!(windows(&recorder, epoch + SECOND * 599), [10, 60, 300, 600]);
        let stats = recorder.snapshot(epoch + SECOND * 599);
        assert_eq!(stats.call_latency().count(), 600);
        assert_eq!(stats.window(Window::TenSeconds).call_latency().min(), Duration::from_millis(590));
        assert_eq!(stats.window(Window::FiveMinutes).call_latency().min(), Duration::from_millis(300));
        assert_eq!(stats.call_latency().max(), Duration::from_millis(599));
    }

    #[test]
    fn a_snapshot_changes_nothing() {
        let (recorder, epoch) = recorder();
        recorder.record_single(CallEnd::Success, Outcome::Judged(Verdict::Success), SECOND, epoch);
        assert_eq!(recorder.snapshot(epoch), recorder.snapshot(epoch));
        recorder.record_call(CallEnd::Failure, 2, SECOND, epoch + SECOND / 2);
        assert_eq!(windows(&recorder, epoch + SECOND), [2; 4]);
        assert_eq!(recorder.snapshot(epoch + SECOND).retried(), 1);
    }

    #[test]
    fn a_leap_of_ten_years_forward_and_back_loses_nothing() {
        let (recorder, epoch) = recorder();
        recorder.record_call(CallEnd::Success, 1, SECOND, epoch);
        recorder.record_call(CallEnd::Success, 1, SECOND, epoch + YEAR * 10);
        assert_eq!(windows(&recorder, epoch + YEAR * 10), [1, 1, 1, 2]);
        // Back again: the newest second known goes on.
        recorder.record_call(CallEnd::Failure, 1, SECOND, epoch);
        assert_eq!(windows(&recorder, epoch), [2, 2, 2, 3]);
        assert_eq!(windows(&recorder, epoch + YEAR * 11), [0, 0, 0, 3]);
    }

    #[test]
    fn a_late_shard_is_added_to_its_own_time() {
        let (recorder, epoch) = recorder();
        let late = |tick| {
            let mut slot = Slot::default();
            count_call(&mut slot, CallEnd::Success, 1, 1);
            lock(&recorder.rings).add(tick, &slot);
        };
        late(1_000);
        late(995);
        late(950);
        late(720);
        late(3); // older than every window, into a free slot
        late(95); // and into one that holds something newer
        assert_eq!(windows(&recorder, epoch + SECOND * 1_000), [2, 3, 4, 6]);
    }

    #[test]
    fn reset_forgets_everything() {
        let (recorder, epoch) = recorder();
        recorder.record_call(CallEnd::Rejected(RejectedKind::CircuitOpen), 0, SECOND, epoch);
        recorder.record_call(CallEnd::Panicked, 1, SECOND, epoch + SECOND);
        recorder.record_fallback(epoch + SECOND);
        recorder.reset();
        assert_eq!(*recorder.snapshot(epoch + SECOND), Stats::default());
        recorder.record_call(CallEnd::Success, 1, SECOND, epoch + SECOND);
        assert_eq!(windows(&recorder, epoch + SECOND), [1; 4]);
    }

    #[test]
    fn shards_add_up_over_threads() {
        let (recorder, epoch) = recorder();
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let recorder = &recorder;
                scope.spawn(move || {
                    for i in 0..1_000_u32 {
                        let now = epoch + Duration::from_millis(u64::from(i * 7 + thread));
                        let end = if i % 2 == 0 { CallEnd::Success } else { CallEnd::Rejected(RejectedKind::RateLimited) };
                        recorder.record_single(end, Outcome::Judged(Verdict::Success), Duration::from_micros(u64::from(i)), now);
                    }
                });
            }
        });
        let stats = recorder.snapshot(epoch + SECOND * 7);
        assert_eq!((stats.calls(), stats.successes(), stats.rejected_by(RejectedKind::RateLimited)), (4_000, 2_000, 2_000));
        assert_eq!((stats.call_latency().count(), stats.attempt_latency().count(), stats.attempts()), (4_000, 4_000, 4_000));
    }

    #[test]
    fn random_times_with_leaps_agree_with_a_list() {
        let (recorder, epoch) = recorder();
        let (mut random, mut now, mut list) = (0x9e37_79b9_7f4a_7c15_u64, 0_u64, Vec::new());
        for _ in 0..3_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            now += match random % 50 {
                0 => 1_000 * (random >> 32 & 0x3ff), // up to 17 minutes
                1..5 => random >> 32 & 0x3fff,
                _ => random >> 32 & 0xff,
            };
            recorder.record_call(CallEnd::Success, 1, SECOND, epoch + Duration::from_millis(now));
            list.push(now / 1_000);
            if random >> 20 & 7 == 0 {
                let expected = Window::ALL.map(|window| {
                    let (step, steps) = (window.step_secs(), window.steps() as u64);
                    list.iter().filter(|then| *then / step + steps > now / 1_000 / step).count() as u64
                });
                let seen = windows(&recorder, epoch + Duration::from_millis(now));
                assert_eq!(seen, [expected[0], expected[1], expected[2], list.len() as u64], "at {now} ms");
            }
        }
    }

    #[test]
    fn memory_stays_within_the_bound_that_is_promised() {
        let (recorder, _) = recorder();
        let mut worst = Slot::default();
        for nanos in [1, u64::MAX] {
            count_attempt(&mut worst, Outcome::TimedOut, nanos);
            count_call(&mut worst, CallEnd::Failure, 1, nanos);
        }
        for second in 0..400 {
            lock(&recorder.rings).add(second, &worst);
        }
        for shard in &recorder.shards {
            lock(&shard.0).slot = worst.clone();
        }
        let rings = lock(&recorder.rings);
        let slots = [&rings.short, &rings.middle, &rings.long].into_iter().flat_map(|ring| ring.slots.iter().flatten());
        let used: usize = slots.map(|(_, slot)| size_of::<Slot>() + slot.calls.bytes() + slot.attempts.bytes()).sum();
        let (past_calls, past_attempts) = (rings.past.call_latency().0.bytes(), rings.past.attempt_latency().0.bytes());
        let shards: usize =
            recorder.shards.iter().map(|shard| lock(&shard.0)).map(|shard| shard.slot.calls.bytes() + shard.slot.attempts.bytes()).sum();
        let all = size_of::<Recorder>() + used + past_calls + past_attempts + shards;
        assert!(past_calls > 0 && all > 1_000_000 && all < 11 * (1 << 20) / 10, "{all} bytes");
    }
}
