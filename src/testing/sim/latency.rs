//! How long a piece of work takes.

use super::Chance;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How the times that something takes are distributed.
///
/// ```
/// use std::time::Duration;
/// use steadfast::testing::sim::{Chance, Latency};
///
/// let service = Latency::lognormal(Duration::from_millis(20), 1.0);
/// assert!(service.draw(&mut Chance::new(1, "service")) > Duration::ZERO);
/// ```
#[derive(Clone)]
pub struct Latency {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Constant(Duration),
    Exponential(Duration),
    Normal(Duration, Duration),
    LogNormal(Duration, f64),
    Pareto(Duration, f64),
    Bimodal(Box<(Latency, Latency)>, f64),
    Custom(Arc<dyn Fn(&mut Chance) -> Duration + Send + Sync>),
}

impl Latency {
    const fn of(kind: Kind) -> Self {
        Self { kind }
    }

    /// Always the same.
    #[must_use]
    pub const fn constant(time: Duration) -> Self {
        Self::of(Kind::Constant(time))
    }

    /// Exponential: many short, few long, and what has taken long will take as long again. The model of queueing theory.
    #[must_use]
    pub const fn exponential(mean: Duration) -> Self {
        Self::of(Kind::Exponential(mean))
    }

    /// Normal, and what would be negative counts as positive.
    #[must_use]
    pub const fn normal(mean: Duration, deviation: Duration) -> Self {
        Self::of(Kind::Normal(mean, deviation))
    }

    /// Lognormal: the bulk near the median, with a long tail. `sigma` is the standard deviation of the logarithm; 1 puts the 99th
    /// percentile at ten times the median. What most services look like.
    #[must_use]
    pub const fn lognormal(median: Duration, sigma: f64) -> Self {
        Self::of(Kind::LogNormal(median, sigma))
    }

    /// Pareto: never less than `least`, with a tail that falls as the power `shape`. Below 2 its variance is infinite: now and then one
    /// takes as long as a thousand others.
    #[must_use]
    pub const fn pareto(least: Duration, shape: f64) -> Self {
        Self::of(Kind::Pareto(least, shape))
    }

    /// Two kinds of work: this share of it (in [0, 1]) as `slow` says, the rest as `fast` says. A cache in front of a disk.
    #[must_use]
    pub fn bimodal(fast: Self, slow: Self, share: f64) -> Self {
        Self::of(Kind::Bimodal(Box::new((fast, slow)), share))
    }

    /// Whatever the function draws.
    #[must_use]
    pub fn custom(draw: impl Fn(&mut Chance) -> Duration + Send + Sync + 'static) -> Self {
        Self::of(Kind::Custom(Arc::new(draw)))
    }

    /// One of the times.
    #[must_use]
    pub fn draw(&self, chance: &mut Chance) -> Duration {
        match &self.kind {
            Kind::Constant(time) => *time,
            Kind::Exponential(mean) => times(*mean, chance.exponential()),
            Kind::Normal(mean, deviation) => seconds((mean.as_secs_f64() + deviation.as_secs_f64() * chance.normal()).abs()),
            Kind::LogNormal(median, sigma) => times(*median, (sigma * chance.normal()).exp()),
            Kind::Pareto(least, shape) => times(*least, (1.0 - chance.unit()).powf(-1.0 / shape)),
            Kind::Bimodal(kinds, share) => {
                let kind = if chance.unit() < *share { &kinds.1 } else { &kinds.0 };
                kind.draw(chance)
            }
            Kind::Custom(draw) => draw(chance),
        }
    }
}

/// So many times as long; what no clock can tell is for ever.
pub(super) fn times(time: Duration, factor: f64) -> Duration {
    seconds(time.as_secs_f64() * factor)
}

pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 { Duration::MAX } else { Duration::ZERO })
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Constant(time) => write!(f, "constant({time:?})"),
            Kind::Exponential(mean) => write!(f, "exponential({mean:?})"),
            Kind::Normal(mean, deviation) => write!(f, "normal({mean:?}, {deviation:?})"),
            Kind::LogNormal(median, sigma) => write!(f, "lognormal({median:?}, {sigma})"),
            Kind::Pareto(least, shape) => write!(f, "pareto({least:?}, {shape})"),
            Kind::Bimodal(kinds, share) => write!(f, "bimodal({:?}, {:?}, {share})", kinds.0, kinds.1),
            Kind::Custom(_) => f.write_str("custom(..)"),
        }
    }
}
