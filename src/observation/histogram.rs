//! How long things took: an HDR histogram (Gil Tene's; [hdrhistogram](https://docs.rs/hdrhistogram)) with what it rounds away kept
//! beside it, and [`percentile`] for a handful of numbers.
//!
//! Two significant digits, so a percentile is at most 1 % above the truth and never below it; from 1 us to 1 h, because a remote call is never
//! faster and nobody waits longer. A third digit would cost eight times the memory for a precision no percentile of a network has.

use hdrhistogram::{Counter, Histogram};
use std::fmt;
use std::time::Duration;

const DIGITS: u8 = 2;
/// The end of the range, in microseconds: one hour.
const TOP: u64 = 3_600_000_000;

/// One histogram. `C` is `u32` where it lives for seconds, and `u64` where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hist<C: Counter> {
    /// Made by the first value, and grown by the largest: a quiet recorder costs next to nothing.
    bins: Option<Histogram<C>>,
    sum: u128,
    min: u64,
    max: u64,
    beyond: u64,
}

impl<C: Counter> Default for Hist<C> {
    fn default() -> Self {
        Self { bins: None, sum: 0, min: u64::MAX, max: 0, beyond: 0 }
    }
}

/// The least power of two that `micros` is below, which is where a bucket ends; never less than the first bucket.
fn end_of_bucket(micros: u64) -> u64 {
    (micros | 0xff).checked_add(1).and_then(u64::checked_next_power_of_two).map_or(u64::MAX, |end| end - 1)
}

impl<C: Counter> Hist<C> {
    /// Counts one value, in nanoseconds.
    #[inline]
    pub(crate) fn record(&mut self, nanos: u64) {
        self.sum = self.sum.saturating_add(u128::from(nanos));
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
        let mut micros = nanos.div_ceil(1000);
        if micros > TOP {
            micros = TOP;
            self.beyond = self.beyond.saturating_add(1);
        }
        if let Some(bins) = self.reaching(micros) {
            let _ = bins.record(micros); // it reaches this far
        }
    }

    /// The bins, grown to `micros` where needed. (Their own growth doubles the memory, and so would waste half of it.)
    #[inline]
    fn reaching(&mut self, micros: u64) -> Option<&mut Histogram<C>> {
        if self.bins.as_ref().is_none_or(|bins| bins.high() < micros) {
            self.grow(micros);
        }
        self.bins.as_mut()
    }

    #[cold]
    fn grow(&mut self, micros: u64) {
        // Neither can fail: the bounds are sound, and the new bins reach further than the old.
        let Ok(mut bins) = Histogram::new_with_bounds(1, end_of_bucket(micros), DIGITS) else { return };
        if let Some(old) = &self.bins {
            let _ = bins.add(old);
        }
        self.bins = Some(bins);
    }

    /// The memory of the bins.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bins.as_ref().map_or(0, |bins| bins.distinct_values() * size_of::<C>())
    }

    pub(crate) fn len(&self) -> u64 {
        self.bins.as_ref().map_or(0, Histogram::len)
    }

    /// Adds another of the same kind: one pass over the bins.
    pub(crate) fn add(&mut self, other: &Self) {
        let (true, Some(theirs)) = (self.add_edges(other), &other.bins) else { return };
        if let Some(bins) = self.reaching(theirs.max()) {
            let _ = bins.add(theirs);
        }
    }

    /// Forgets the values and keeps the memory.
    pub(crate) fn clear(&mut self) {
        let bins = self.bins.take();
        let used = self.max > 0 || self.min == 0;
        *self = Self { bins, ..Self::default() };
        if let (true, Some(bins)) = (used, &mut self.bins) {
            bins.reset();
        }
    }

    /// Everything but the bins; `false` when there is nothing in `other`.
    fn add_edges<D: Counter>(&mut self, other: &Hist<D>) -> bool {
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.beyond = self.beyond.saturating_add(other.beyond);
        other.len() > 0
    }
}

impl Hist<u64> {
    /// Adds a short-lived one to one that is kept. Exact: both have the same bins.
    pub(crate) fn absorb(&mut self, other: &Hist<u32>) {
        let (true, Some(theirs)) = (self.add_edges(other), &other.bins) else { return };
        let Some(bins) = self.reaching(theirs.max()) else { return };
        for value in theirs.iter_recorded() {
            let _ = bins.record_n(value.value_iterated_to(), u64::from(value.count_at_value()));
        }
    }
}

/// How long calls, or attempts, took.
///
/// Percentiles are those of an HDR histogram with two significant digits over 1 us to 1 h: never below the true value, and at most 1 % (or 1 us) above. What took
/// longer than an hour is counted at the end of the range, and by [`beyond_range`](Self::beyond_range). Count, minimum, maximum and mean are exact. Without
/// values all of them are zero and [`quantile`](Self::quantile) is `None`; of a single value every percentile is that value.
#[derive(Clone, Default, PartialEq)]
pub struct Latency(pub(crate) Hist<u64>);

impl Latency {
    /// How many were timed.
    #[must_use]
    #[inline]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The shortest; zero when there was none.
    #[must_use]
    #[inline]
    pub fn min(&self) -> Duration {
        Duration::from_nanos(if self.count() == 0 { 0 } else { self.0.min })
    }

    /// The longest; zero when there was none.
    #[must_use]
    #[inline]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max)
    }

    /// The mean; zero when there was none.
    #[must_use]
    #[inline]
    pub fn mean(&self) -> Duration {
        let mean = self.0.sum.checked_div(u128::from(self.count())).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// All of them together.
    #[must_use]
    #[inline]
    pub fn total(&self) -> Duration {
        let nanos = self.0.sum % 1_000_000_000;
        u64::try_from(self.0.sum / 1_000_000_000)
            .map_or(Duration::MAX, |secs| Duration::new(secs, u32::try_from(nanos).unwrap_or_default()))
    }

    /// The value that a share `q` of all did not exceed: `quantile(0.99)` is p99. The nearest rank, as HDR histograms define it: of two values, the
    /// median is the smaller. `None` when nothing was timed, or `q` is not within 0 to 1.
    #[must_use]
    #[inline]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let bins = self.0.bins.as_ref().filter(|bins| !bins.is_empty() && (0.0..=1.0).contains(&q))?;
        let micros = match q {
            q if q <= 0.0 => return Some(self.min()),
            q if q >= 1.0 => return Some(self.max()),
            q => bins.value_at_quantile(q),
        };
        Some(Duration::from_nanos(micros.saturating_mul(1000).clamp(self.0.min, self.0.max)))
    }

    /// The median; zero when there was none.
    #[must_use]
    #[inline]
    pub fn p50(&self) -> Duration {
        self.quantile(0.5).unwrap_or_default()
    }

    /// What nine of ten did not exceed; zero when there was none.
    #[must_use]
    #[inline]
    pub fn p90(&self) -> Duration {
        self.quantile(0.9).unwrap_or_default()
    }

    /// What 95 of 100 did not exceed; zero when there was none.
    #[must_use]
    #[inline]
    pub fn p95(&self) -> Duration {
        self.quantile(0.95).unwrap_or_default()
    }

    /// What 99 of 100 did not exceed; zero when there was none.
    #[must_use]
    #[inline]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99).unwrap_or_default()
    }

    /// What 999 of 1,000 did not exceed; zero when there was none.
    #[must_use]
    #[inline]
    pub fn p999(&self) -> Duration {
        self.quantile(0.999).unwrap_or_default()
    }

    /// How many took longer than the range of one hour. They are counted at its end.
    #[must_use]
    pub fn beyond_range(&self) -> u64 {
        self.0.beyond
    }

    /// Adds the other's values, as if all had been recorded here.
    #[inline]
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0);
    }
}

impl fmt::Debug for Latency {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latency")
            .field("count", &self.count())
            .field("min", &self.min())
            .field("max", &self.max())
            .field("mean", &self.mean())
            .field("p50", &self.p50())
            .field("p99", &self.p99())
            .field("beyond_range", &self.beyond_range())
            .finish_non_exhaustive()
    }
}

/// The `p`-th percentile (0 to 100) of `values` in any order, between two of them by linear interpolation (R's type 7, what spreadsheets and numpy
/// do): `percentile(&[1.0, 2.0, 3.0, 4.0, 5.0], 50.0)` is 3. For a stream of values use a [`Monitor`](crate::Monitor).
///
/// # Errors
/// When there are no values, one of them is not a number, or `p` is not within 0 to 100.
#[inline]
pub fn percentile(values: &[f64], p: f64) -> Result<f64, PercentileError> {
    if !(0.0..=100.0).contains(&p) {
        return Err(PercentileError::OutOfRange(p));
    }
    if values.iter().any(|value| value.is_nan()) {
        return Err(PercentileError::NotANumber);
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return Err(PercentileError::Empty) };
    let rank = p / 100.0 * last as f64;
    let (below, above) = (sorted[rank.floor() as usize], sorted[(rank.ceil() as usize).min(last)]);
    let part = rank - rank.floor();
    // Weighted rather than `below + part * (above - below)`: the difference of two huge values overflows.
    Ok(if part == 0.0 { below } else { below * (1.0 - part) + above * part })
}

/// Why there is no [`percentile`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PercentileError {
    /// There are no values.
    Empty,
    /// The percentile asked for.
    OutOfRange(f64),
    /// One of the values is not a number.
    NotANumber,
}

impl fmt::Display for PercentileError {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no values, so no percentile"),
            Self::OutOfRange(percent) => write!(f, "{percent} is not a percentile; it must be within 0 and 100"),
            Self::NotANumber => f.write_str("one of the values is not a number (NaN)"),
        }
    }
}

impl std::error::Error for PercentileError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(millis: &[u64]) -> Latency {
        let mut latency = Latency::default();
        millis.iter().for_each(|ms| latency.0.record(ms * 1_000_000));
        latency
    }

    #[test]
    fn percentiles_of_zero_one_and_two_values() {
        let none = Latency::default();
        assert_eq!(
            (none.count(), none.min(), none.max(), none.mean(), none.p99()),
            (0, Duration::ZERO, Duration::ZERO, Duration::ZERO, Duration::ZERO)
        );
        assert_eq!(none.quantile(0.5), None);
        let mut one = Latency::default();
        one.0.record(1_234_567);
        for q in [0.0, 0.001, 0.5, 0.999, 1.0] {
            assert_eq!(one.quantile(q), Some(Duration::from_nanos(1_234_567)), "{q}");
        }
        let two = of(&[100, 200]);
        assert!(two.p50() >= Duration::from_millis(100) && two.p50() <= Duration::from_millis(101));
        assert_eq!(two.p90(), Duration::from_millis(200));
        assert_eq!(two.mean(), Duration::from_millis(150));
        for bad in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(two.quantile(bad), None);
        }
    }

    #[test]
    fn beyond_its_range_a_value_is_counted_at_the_end() {
        let mut latency = of(&[1]);
        latency.0.record(u64::MAX);
        latency.0.record(3_600_000_000_000);
        assert_eq!((latency.count(), latency.beyond_range()), (3, 1));
        assert_eq!(latency.max(), Duration::from_nanos(u64::MAX));
        let p50 = latency.p50();
        assert!(p50 >= Duration::from_secs(3600) && p50 < Duration::from_secs(3640), "{p50:?}");
    }

    #[test]
    fn every_percentile_is_within_one_percent_above_the_truth() {
        let latency = of(&(1..=10_000).collect::<Vec<_>>());
        for (q, truth) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let seen = latency.quantile(q).unwrap_or_default().as_secs_f64() * 1e3;
            assert!(seen >= truth && seen <= truth * 1.01, "{q}: {seen}");
        }
        let mut fast = Latency::default();
        [100, 1_700, 9_000].iter().for_each(|nanos| fast.0.record(*nanos));
        assert_eq!(fast.p50(), Duration::from_micros(2), "a started microsecond counts");
    }

    #[test]
    fn merging_histograms_of_different_ranges_is_exact() {
        let (short, long) = (of(&[1, 2, 3]), of(&[4, 3_599_000]));
        let all = of(&[1, 2, 3, 4, 3_599_000]);
        let (mut a, mut b) = (short.clone(), long.clone());
        a.merge(&long);
        b.merge(&short);
        assert_eq!(a, all);
        assert_eq!(b, all);
        let mut kept = Hist::<u64>::default();
        for values in [&[1, 2][..], &[3, 3_599_000], &[], &[4]] {
            let mut part = Hist::<u32>::default();
            values.iter().for_each(|ms: &u64| part.record(ms * 1_000_000));
            kept.absorb(&part);
        }
        assert_eq!(Latency(kept), all);
    }

    #[test]
    fn clear_forgets_all_even_zeros() {
        let mut hist = Hist::<u32>::default();
        hist.record(0);
        hist.clear();
        assert_eq!(hist.len(), 0);
        hist.record(5_000);
        assert_eq!((hist.len(), hist.min, hist.max), (1, 5_000, 5_000));
    }

    #[test]
    fn i1_19_percentile_interpolates() {
        assert_eq!(percentile(&[5.0, 1.0, 4.0, 2.0, 3.0], 50.0), Ok(3.0));
        assert_eq!(percentile(&[1.0, 2.0], 50.0), Ok(1.5));
        assert_eq!(percentile(&[7.0], 99.0), Ok(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.0), Ok(1.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 100.0), Ok(3.0));
        assert_eq!(percentile(&[f64::MIN, f64::MAX], 50.0), Ok(0.0));
        assert_eq!(percentile(&[], 50.0), Err(PercentileError::Empty));
        assert_eq!(percentile(&[1.0, f64::NAN], 50.0), Err(PercentileError::NotANumber));
        for bad in [-1.0, 100.1, f64::INFINITY] {
            assert_eq!(percentile(&[1.0], bad), Err(PercentileError::OutOfRange(bad)));
        }
        assert!(percentile(&[1.0], f64::NAN).is_err());
    }
}
