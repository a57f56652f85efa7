//! Who calls, how often, and how much it matters.

use super::latency::times;
use super::{Chance, Latency};
use crate::call::Priority;
use std::ops::Range;
use std::time::Duration;

/// More calls a second than this (or so many times as many) are not told apart by a clock of nanoseconds.
const MOST: f64 = 1e8;

/// The calls that a scenario makes. Moments are whole seconds from its beginning.
///
/// ```
/// use steadfast::Priority;
/// use steadfast::testing::sim::Load;
///
/// let load = Load::poisson(80.0).times(3.0, 60..70).herd(500, 100).mix([(Priority::Critical, 0.1), (Priority::Normal, 0.9)]);
/// # let _ = load;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a load does nothing until it is given to a scenario"]
pub struct Load {
    source: Source,
    factors: Vec<(Range<u32>, f64)>,
    wave: Option<(f64, u32)>,
    herds: Vec<(u32, u32)>,
    mix: Vec<(Priority, f64)>,
}

#[derive(Clone, Debug)]
enum Source {
    Poisson(f64),
    Even(f64),
    Clients(u32, Latency),
    Nobody,
}

impl Load {
    const fn of(source: Source) -> Self {
        Self { source, factors: Vec::new(), wave: None, herds: Vec::new(), mix: Vec::new() }
    }

    /// Calls of many independent callers: so many a second on average, at random (a Poisson process). They come whether or not the
    /// earlier ones were answered, as those of the public do.
    pub const fn poisson(per_second: f64) -> Self {
        Self::of(Source::Poisson(per_second))
    }

    /// So many calls a second, evenly.
    pub const fn even(per_second: f64) -> Self {
        Self::of(Source::Even(per_second))
    }

    /// So many clients, each of which thinks for a while (a millisecond at least), makes a call, waits for its end, and begins again. They
    /// slow down with the dependency, as workers of a batch do.
    pub const fn clients(number: u32, thinking: Latency) -> Self {
        Self::of(Source::Clients(number, thinking))
    }

    /// No calls but those of [herds](Self::herd).
    pub const fn nobody() -> Self {
        Self::of(Source::Nobody)
    }

    /// So many times the load in these seconds; factors of overlapping times multiply. Clients think the shorter.
    pub fn times(mut self, factor: f64, during: Range<u32>) -> Self {
        self.factors.push((during, if factor.is_finite() { factor.clamp(0.0, MOST) } else { 1.0 }));
        self
    }

    /// A load that swings around its mean by this share (in [0, 1]), once in so many seconds: day and night.
    pub const fn wave(mut self, share: f64, period: u32) -> Self {
        self.wave = Some((if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }, period));
        self
    }

    /// Besides, so many calls at once at this second: a cron job, a cache that expired, clients that were all told the same moment.
    pub fn herd(mut self, calls: u32, at: u32) -> Self {
        self.herds.push((at, calls));
        self
    }

    /// How the calls are spread over priorities; the shares need not sum up to 1. **Default**: all are [`Priority::Normal`].
    pub fn mix(mut self, mix: impl IntoIterator<Item = (Priority, f64)>) -> Self {
        self.mix = mix.into_iter().filter(|(_, share)| *share > 0.0).collect();
        self
    }

    pub(super) fn herds(&self) -> impl Iterator<Item = (Duration, u32)> {
        self.herds.iter().map(|&(at, calls)| (Duration::from_secs(at.into()), calls))
    }

    pub(super) const fn closed(&self) -> Option<(u32, &Latency)> {
        match &self.source {
            Source::Clients(number, thinking) => Some((*number, thinking)),
            _ => None,
        }
    }

    /// How many times the load that was said there is at this moment.
    pub(super) fn factor(&self, at: Duration) -> f64 {
        let seconds = at.as_secs_f64();
        let inside = |during: &Range<u32>| (f64::from(during.start)..f64::from(during.end)).contains(&seconds);
        let factor: f64 = self.factors.iter().filter(|(during, _)| inside(during)).map(|(_, factor)| factor).product();
        match self.wave {
            None => factor,
            Some((share, period)) => factor * (1.0 + share * (std::f64::consts::TAU * seconds / f64::from(period.max(1))).sin()),
        }
    }

    /// More than this the factor never is.
    fn most(&self) -> f64 {
        let stacked: f64 = self.factors.iter().map(|(_, factor)| factor.max(1.0)).product();
        stacked * (1.0 + self.wave.map_or(0.0, |(share, _)| share))
    }

    /// When the next call of an open load comes after this one; `None` where there is none.
    pub(super) fn next(&self, after: Duration, end: Duration, chance: &mut Chance) -> Option<Duration> {
        let (rate, even) = match self.source {
            Source::Poisson(rate) => (rate, false),
            Source::Even(rate) => (rate, true),
            Source::Clients(..) | Source::Nobody => return None,
        };
        // No number is no load.
        let rate = if rate > 0.0 { rate.min(MOST) } else { return None };
        let mut at = after;
        if even {
            loop {
                let now = rate * self.factor(at);
                // In a pause of the load, look again a little later.
                at = at.saturating_add(times(Duration::from_secs(1), if now > 0.0 { 1.0 / now } else { 0.01 }));
                if at >= end {
                    return None;
                }
                if self.factor(at) > 0.0 {
                    return Some(at);
                }
            }
        }
        // Thinning (Lewis and Shedler, 1979): candidates at the highest rate, each kept with the share of the rate at its moment.
        let most = self.most().min(MOST / rate);
        loop {
            at = at.saturating_add(times(Duration::from_secs(1), chance.exponential() / (rate * most)));
            if at >= end {
                return None;
            }
            if chance.unit() * most < self.factor(at) {
                return Some(at);
            }
        }
    }

    pub(super) fn priority(&self, chance: &mut Chance) -> Priority {
        let (Some(&(last, _)), true) = (self.mix.last(), self.mix.len() > 1) else {
            return self.mix.first().map_or(Priority::Normal, |&(only, _)| only);
        };
        let mut left = chance.unit() * self.mix.iter().map(|(_, share)| share).sum::<f64>();
        for &(priority, share) in &self.mix {
            if left < share {
                return priority;
            }
            left -= share;
        }
        last
    }
}
