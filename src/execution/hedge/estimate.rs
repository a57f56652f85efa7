//! How long attempts take, although the slow ones among them are cut off.
//!
//! A hedge drops the loser of each race, and the losers are the slow ones. An estimate made of the answers alone would see fewer and fewer
//! slow ones, set a shorter delay, cut off still more, and collapse. But a dropped attempt tells something: it would have taken *at least this long*.
//! Such samples are called censored, and the estimate that uses them for exactly what they tell is that of E. L. Kaplan and P. Meier
//! ("Nonparametric Estimation from Incomplete Observations", JASA 53, 1958): going up from the shortest, of the `n` attempts that lasted so
//! long `d` were answered, so the share that lasts longer shrinks by `1 - d/n`. Failures and timeouts are censored, too: a
//! refusal after a millisecond does not make the answers faster.
//!
//! Samples are counted in buckets of 1/32 of an octave, so a percentile is at most 3.2 % (or 1 us) above the truth and never below it. Two
//! slices of them make a window: the older is forgotten when the newer has 1,000 answers and is 10 s old. Recording is two relaxed
//! additions; who reads adds up again when the last sum is 100 ms old, and so 2 us of work are done at most ten times a second.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::time::{from_nanos, nanos, nanos_since};
use std::time::Duration;
use tokio::time::Instant;

/// Buckets per octave, as a power of two.
const FINE: u32 = 5;
/// The end of the range: 2^32 us, 71 minutes.
const TOP: u64 = u32::MAX as u64;
/// 32 for the first 64 us' half, and 32 for each of the octaves up to there.
const BUCKETS: usize = 896;

/// Enough for a 95th percentile that is off by half a percent of the attempts.
const SLICE_ANSWERS: u64 = 1_000;
/// A hiccup of a second must not be all that a busy pipeline remembers.
const SLICE_NANOS: u64 = 10_000_000_000;
const STALE_NANOS: u64 = 100_000_000;
const UNKNOWN: u64 = u64::MAX;

fn bucket(micros: u64) -> usize {
    let micros = micros.min(TOP);
    // Below 32 us each microsecond has a bucket of its own.
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(FINE + 1);
    ((shift as usize) << FINE) + (micros >> shift) as usize
}

/// The largest number of microseconds in a bucket.
const fn end_of(bucket: usize) -> u64 {
    let shift = (bucket >> FINE).saturating_sub(1);
    let first = (bucket - (shift << FINE)) as u64;
    ((first + 1) << shift) - 1
}

#[derive(Debug)]
struct Slice {
    answered: [AtomicU32; BUCKETS],
    cut_off: [AtomicU32; BUCKETS],
}

impl Slice {
    fn new() -> Box<Self> {
        let zeros = || std::array::from_fn(|_| AtomicU32::new(0));
        Box::new(Self { answered: zeros(), cut_off: zeros() })
    }

    fn clear(&self) {
        self.answered.iter().chain(&self.cut_off).for_each(|count| count.store(0, Ordering::Relaxed));
    }

    fn answers(&self) -> u64 {
        self.answered.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }
}

/// A live estimate.
#[derive(Debug)]
pub(super) struct Estimate {
    epoch: Instant,
    slices: [Box<Slice>; 2],
    current: AtomicUsize,
    /// When the last sum is out of date.
    stale_at: AtomicU64,
    percentile: AtomicU64,
    median: AtomicU64,
    /// When the current slice began; held by whoever adds up.
    adding: Mutex<u64>,
}

/// What is known of the latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) percentile: Duration,
    pub(super) median: Duration,
}

impl Estimate {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            slices: [Slice::new(), Slice::new()],
            current: AtomicUsize::new(0),
            stale_at: AtomicU64::new(0),
            percentile: AtomicU64::new(UNKNOWN),
            median: AtomicU64::new(UNKNOWN),
            adding: Mutex::new(0),
        }
    }

    /// An attempt took so long, until its answer (`answered`) or until it was cut off.
    #[inline]
    pub(super) fn record(&self, answered: bool, latency: Duration) {
        let slice = &self.slices[self.current.load(Ordering::Relaxed) & 1];
        let counts = if answered { &slice.answered } else { &slice.cut_off };
        counts[bucket(nanos(latency).div_ceil(1000))].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets the last sum, for other settings.
    pub(super) fn refresh(&self) {
        self.stale_at.store(0, Ordering::Relaxed);
    }

    /// What is known at `now`; `None` with fewer than `min_samples` answers.
    pub(super) fn known(&self, share: f64, min_samples: u32, now: Instant) -> Option<Known> {
        let now = nanos_since(self.epoch, now);
        let stale_at = self.stale_at.load(Ordering::Relaxed);
        // Also when the clock went back.
        if (now >= stale_at || now.saturating_add(STALE_NANOS) < stale_at)
            && let Ok(mut began) = self.adding.try_lock()
        {
            self.add_up(share, min_samples, now, &mut began);
        }
        let (percentile, median) = (self.percentile.load(Ordering::Relaxed), self.median.load(Ordering::Relaxed));
        (percentile != UNKNOWN).then(|| Known { percentile: from_nanos(percentile), median: from_nanos(median) })
    }

    #[cold]
    fn add_up(&self, share: f64, min_samples: u32, now: u64, began: &mut u64) {
        let current = self.current.load(Ordering::Relaxed) & 1;
        let answers = self.slices.each_ref().map(|slice| slice.answers());
        let known = answers[0] + answers[1] >= u64::from(min_samples.max(1));
        let [percentile, median] = if known { self.quantiles([share, 0.5]) } else { [UNKNOWN; 2] };
        self.percentile.store(percentile, Ordering::Relaxed);
        self.median.store(median, Ordering::Relaxed);
        // While there are too few, one more may be enough.
        self.stale_at.store(if known { now.saturating_add(STALE_NANOS) } else { 0 }, Ordering::Relaxed);
        if answers[current] >= SLICE_ANSWERS && now.saturating_sub(*began) >= SLICE_NANOS {
            // A sample that another thread puts in meanwhile is lost, which moves no percentile.
            let next = current ^ 1;
            self.slices[next].clear();
            self.current.store(next, Ordering::Relaxed);
            *began = now;
        }
    }

    /// In nanoseconds, by Kaplan and Meier. Where too much was cut off to tell: at least the longest that was seen.
    fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [u64; N] {
        let add = |a: &AtomicU32, b: &AtomicU32| u64::from(a.load(Ordering::Relaxed)) + u64::from(b.load(Ordering::Relaxed));
        let [a, b] = &self.slices;
        let counts = |place| (add(&a.answered[place], &b.answered[place]), add(&a.cut_off[place], &b.cut_off[place]));
        let mut lasting = 0;
        for place in 0..BUCKETS {
            let (answered, cut_off) = counts(place);
            lasting += answered + cut_off;
        }
        let (mut longer, mut longest, mut found) = (1.0_f64, 0, [UNKNOWN; N]);
        for place in 0..BUCKETS {
            let (answered, cut_off) = counts(place);
            if answered + cut_off == 0 {
                continue;
            }
            longest = end_of(place) * 1000;
            // Samples that came in since they were added up may be more than are left.
            longer *= 1.0 - (answered as f64 / lasting.max(answered) as f64);
            lasting = lasting.saturating_sub(answered + cut_off);
            for (found, share) in found.iter_mut().zip(&shares) {
                // A hair of room for what rounding does to a product of a thousand factors.
                if *found == UNKNOWN && 1.0 - longer >= share - 1e-9 {
                    *found = longest;
                }
            }
        }
        for found in &mut found {
            if *found == UNKNOWN {
                *found = longest;
            }
        }
        found
    }
}

#[cfg(test)]
#[cfg(not(steadfast_loom))]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn quantile(estimate: &Estimate, share: f64) -> f64 {
        from_nanos(estimate.quantiles([share])[0]).as_secs_f64() * 1e3
    }

    #[test]
    fn buckets_are_fine_and_leave_no_gap() {
        for place in 1..BUCKETS {
            let (first, last) = (end_of(place - 1) + 1, end_of(place));
            assert_eq!((bucket(first), bucket(last)), (place, place));
            assert!(last - first <= first / 32, "{first}..={last}");
        }
        assert_eq!((end_of(BUCKETS - 1), bucket(u64::MAX)), (TOP, BUCKETS - 1));
    }

    #[test]
    fn without_cuts_it_is_the_plain_percentile() {
        let estimate = Estimate::new();
        (1..=1_000).for_each(|n| estimate.record(true, n * MS));
        for (share, truth) in [(0.001, 1.0), (0.5, 500.0), (0.95, 950.0), (0.999, 999.0), (1.0, 1_000.0)] {
            let seen = quantile(&estimate, share);
            assert!(seen >= truth && seen <= truth * 1.032, "{share}: {seen}");
        }
    }

    #[test]
    fn what_was_cut_off_early_says_nothing_of_the_late() {
        // Every second attempt is dropped after 1 ms: of those that were left to run, all the same is true.
        let estimate = Estimate::new();
        for n in 1..=1_000 {
            estimate.record(true, 10 * MS + n * MS);
            estimate.record(false, MS);
        }
        assert!((quantile(&estimate, 0.95) / 960.0 - 1.0).abs() < 0.032);
    }

    #[test]
    fn the_textbook_example() {
        // Answers after 6, 7, 10, 13, 16, 22, 23; cut off (+) at 6, 9, 10, 11, ..: Freireich's 6-MP patients, S(23) = 0.448.
        let estimate = Estimate::new();
        [6, 6, 6, 7, 10, 13, 16, 22, 23].iter().for_each(|n| estimate.record(true, *n * MS));
        [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35].iter().for_each(|n| estimate.record(false, *n * MS));
        assert!((quantile(&estimate, 1.0 - 0.448 - 0.001) / 23.0 - 1.0).abs() < 0.032);
        assert!(quantile(&estimate, 1.0 - 0.448 + 0.001) >= 35.0, "beyond that there is only what was seen to last");
    }

    #[test]
    fn too_few_samples_are_none_and_old_ones_are_forgotten() {
        let (estimate, start) = (Estimate::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(estimate.known(0.5, 1, at(0)), None);
        (0..99).for_each(|_| estimate.record(true, 10 * MS));
        (0..99).for_each(|_| estimate.record(false, 10 * MS));
        assert_eq!(estimate.known(0.5, 100, at(1)), None);
        estimate.record(true, 10 * MS);
        let ten = |known: Known| known.percentile >= 10 * MS && known.percentile <= 11 * MS;
        assert!(estimate.known(0.5, 100, at(1)).is_some_and(ten));
        (0..3_000).for_each(|_| estimate.record(true, 10 * MS));
        assert!(estimate.known(0.5, 100, at(11)).is_some_and(ten));
        (0..3_000).for_each(|_| estimate.record(true, 90 * MS));
        assert!(estimate.known(0.95, 100, at(22)).is_some_and(|known| known.percentile >= 90 * MS && known.median <= 11 * MS));
        estimate.record(true, 90 * MS);
        assert!(estimate.known(0.5, 100, at(23)).is_some_and(|known| known.median >= 90 * MS), "the first slice is gone");
        // A clock that goes back, and one that leaps.
        assert!(estimate.known(0.5, 100, at(0)).is_some() && estimate.known(0.5, 100, at(1_000_000_000)).is_some());
    }

    #[test]
    fn a_sum_holds_for_a_tenth_of_a_second_unless_the_clock_goes_back_or_it_is_asked_anew() {
        let known = |millis: u64, refresh: bool| {
            let (estimate, start) = (Estimate::new(), Instant::now());
            let median = |millis| estimate.known(0.5, 1, start + millis * MS).map(|known| known.median.as_millis());
            estimate.record(true, 10 * MS);
            assert_eq!(median(1_000), Some(10));
            (0..10).for_each(|_| estimate.record(true, 90 * MS));
            if refresh {
                estimate.refresh();
            }
            median(u32::try_from(millis).expect("a few seconds")) > Some(10)
        };
        assert_eq!([1_000, 1_050, 1_099, 1_100].map(|millis| known(millis, false)), [false, false, false, true]);
        assert!(known(990, false) && known(1_000, true));
    }

    #[test]
    fn where_all_was_cut_off_it_is_at_least_the_longest() {
        let estimate = Estimate::new();
        estimate.record(true, MS);
        (0..99).for_each(|_| estimate.record(false, 50 * MS));
        assert!(quantile(&estimate, 0.95) >= 50.0);
        estimate.record(true, Duration::MAX);
        estimate.record(true, Duration::ZERO);
    }
}
