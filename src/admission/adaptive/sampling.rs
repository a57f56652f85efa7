//! What calls tell an adaptive limit, added up over one window.

use crate::outcome::{Outcome, Verdict};
use crate::sync::{Mutex, Padded, SHARDS, lock, shard};

/// What the end of a call says about its dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// An answer: its time counts.
    Answer,
    /// No answer in time: it would have taken longer than this, and it is a sign of overload.
    Drop,
    /// The server asked to be left alone: a sign of overload, and its time says nothing.
    Pushback,
    /// An error, however fast: its time says nothing about how long the work takes.
    Failure,
    /// Nothing: never sent, or given up by the caller.
    Nothing,
}

impl From<Outcome> for Sample {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Judged(Verdict::Success) => Self::Answer,
            Outcome::TimedOut => Self::Drop,
            Outcome::Judged(Verdict::Transient { retry_after: Some(_) }) => Self::Pushback,
            Outcome::Judged(Verdict::Transient { .. } | Verdict::Permanent) | Outcome::Panicked => Self::Failure,
            Outcome::Judged(Verdict::Ignored) | Outcome::NotAttempted | Outcome::Abandoned => Self::Nothing,
        }
    }
}

/// The sums over the calls of one window. Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Window {
    /// Answers and drops: those whose time counts.
    pub(super) samples: u64,
    pub(super) rtt: f64,
    /// How many were in flight as each of them began, itself included.
    pub(super) in_flight: u64,
    /// The most of those.
    pub(super) peak: u32,
    /// The answers to calls that began with few others in flight, and their time.
    pub(super) calm: u64,
    pub(super) calm_rtt: f64,
    /// Timeouts, and servers that asked to be left alone.
    pub(super) drops: u64,
    /// Errors.
    pub(super) failures: u64,
    /// Calls that found no place: they waited or were refused.
    pub(super) pressed: u64,
    /// How long it lasted.
    pub(super) elapsed: f64,
    /// The share of errors, of this window and those before it.
    pub(super) failure_share: f64,
}

impl Window {
    pub(super) fn add(&mut self, sample: Sample, rtt: u64, in_flight: u32, calm: bool) {
        match sample {
            Sample::Answer | Sample::Drop => {
                // A clock too coarse for the call says zero; whatever divides by the time must not.
                let rtt = rtt.max(1) as f64;
                self.samples += 1;
                self.rtt += rtt;
                self.in_flight += u64::from(in_flight);
                self.peak = self.peak.max(in_flight);
                if sample == Sample::Drop {
                    self.drops += 1;
                } else if calm {
                    self.calm += 1;
                    self.calm_rtt += rtt;
                }
            }
            Sample::Pushback => self.drops += 1,
            Sample::Failure => self.failures += 1,
            Sample::Nothing => {}
        }
    }

    #[inline]
    fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.rtt += other.rtt;
        self.in_flight += other.in_flight;
        self.peak = self.peak.max(other.peak);
        self.calm += other.calm;
        self.calm_rtt += other.calm_rtt;
        self.drops += other.drops;
        self.failures += other.failures;
    }

    /// Everything that ended and said something.
    pub(super) const fn told(&self) -> u64 {
        self.samples + self.failures
    }

    /// The mean time of a call; at least 1 where there was one.
    pub(super) fn mean_rtt(&self) -> f64 {
        self.rtt / self.samples.max(1) as f64
    }

    pub(super) fn mean_in_flight(&self) -> f64 {
        self.in_flight as f64 / self.samples.max(1) as f64
    }

    /// The share of calls that met overload.
    pub(super) fn drop_share(&self) -> f64 {
        self.drops as f64 / (self.told().max(self.drops).max(1)) as f64
    }

    /// Whether so many fail that the rest is no reason to send more.
    pub(super) fn is_failing(&self) -> bool {
        self.failure_share > 0.25
    }
}

/// The window under way, in one part for each thread, so that they seldom meet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shards: [Padded<Mutex<Part>>; SHARDS],
}

#[derive(Debug, Default)]
struct Part {
    /// Which limit it was counted under.
    epoch: u32,
    window: Window,
}

impl Tally {
    /// Counts a call. One that began under another limit than the window's says nothing about this one.
    #[inline]
    pub(super) fn add(&self, epoch: u32, sample: Sample, rtt: u64, in_flight: u32, calm: bool) {
        let mut part = lock(&self.shards[shard()].0);
        if part.epoch == epoch {
            part.window.add(sample, rtt, in_flight, calm);
        }
    }

    pub(super) fn sum(&self) -> Window {
        let mut sum = Window::default();
        self.shards.iter().for_each(|part| sum.merge(&lock(&part.0).window));
        sum
    }

    /// Begins a window under this epoch. `keep_calm`: calm calls count from the beginning of the epoch, or only the long ones of those that began
    /// then would be left.
    pub(super) fn restart(&self, epoch: u32, keep_calm: bool) {
        for part in &self.shards {
            let mut part = lock(&part.0);
            let Window { calm, calm_rtt, .. } = part.window;
            let kept = if keep_calm && part.epoch == epoch { Window { calm, calm_rtt, ..Window::default() } } else { Window::default() };
            *part = Part { epoch, window: kept };
        }
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_window_adds_up_and_two_of_them_do() {
        let mut window = Window::default();
        window.add(Sample::Answer, 100, 3, true);
        window.add(Sample::Answer, 50, 5, true);
        window.add(Sample::Answer, 7, 4, false);
        window.add(Sample::Drop, 0, 2, true);
        window.add(Sample::Pushback, 9, 9, true);
        window.add(Sample::Failure, 9, 9, true);
        window.add(Sample::Nothing, 9, 9, true);
        let once = [window.samples, window.in_flight, window.peak.into(), window.calm, window.drops, window.failures, window.told()];
        assert_eq!(once, [4, 14, 5, 2, 2, 1, 5]);
        assert_eq!((window.rtt, window.calm_rtt, window.mean_rtt(), window.mean_in_flight()), (158.0, 150.0, 39.5, 3.5));
        assert_eq!(window.drop_share(), 0.4);
        let same = window;
        window.merge(&same);
        let twice = [window.samples, window.in_flight, window.peak.into(), window.calm, window.drops, window.failures, window.told()];
        assert_eq!(twice, [8, 28, 5, 4, 4, 2, 10]);
        assert_eq!((window.rtt, window.calm_rtt), (316.0, 300.0));
    }

    #[test]
    fn pushbacks_alone_are_all_of_it_and_a_quarter_of_failures_is_bearable() {
        let mut window = Window::default();
        assert_eq!(window.drop_share(), 0.0);
        window.add(Sample::Pushback, 0, 0, false);
        assert_eq!(window.drop_share(), 1.0);
        let failing = |failure_share| Window { failure_share, ..Window::default() }.is_failing();
        assert_eq!([failing(0.25), failing(0.26)], [false, true]);
    }

    #[test]
    fn calm_calls_are_kept_within_an_epoch_and_where_asked_for() {
        for (epoch, keep_calm, kept) in [(1, true, (1, 100.0)), (1, false, (0, 0.0)), (2, true, (0, 0.0)), (2, false, (0, 0.0))] {
            let tally = Tally::default();
            tally.restart(1, false);
            tally.add(1, Sample::Answer, 100, 2, true);
            tally.add(7, Sample::Answer, 100, 2, true);
            assert_eq!(tally.sum().samples, 1, "of this epoch");
            tally.restart(epoch, keep_calm);
            let sum = tally.sum();
            assert_eq!(((sum.calm, sum.calm_rtt), sum.samples), (kept, 0), "{epoch} {keep_calm}");
        }
    }
}
