//! How long to wait before the next try: the delays alone, without the deciding.
//!
//! A [`Backoff`] is a plain value and a pure function of the retry's number, so it serves outside a pipeline too (a reconnect loop, say).
//! [`Retry`](crate::Retry) has one inside and adds what a call needs: a limit, a budget, a deadline, the server's wishes.
//!
//! ```text
//! retry                1    2    3    4    5
//! constant             b    b    b    b    b
//! linear               b   2b   3b   4b   5b
//! exponential          b   2b   4b   8b  16b     (factor 2)
//! fibonacci            b    b   2b   3b   5b
//! decorrelated         each between b and three times the one before, at random
//! ```
//!
//! Every formula saturates instead of overflowing, up to retry `u32::MAX`, never shrinks (jitter aside), and never passes `max_delay`.
//!
//! **When not to use it**: where the server says when to come back. A hint from the server beats any formula, and `Retry` follows it.
//!
//! ```
//! use std::time::Duration;
//! use steadfast::{Backoff, Jitter};
//!
//! let backoff = Backoff::exponential(Duration::from_secs(1)).max_delay(Duration::from_secs(5)).jitter(Jitter::None);
//! let seconds: Vec<_> = backoff.delays().take(5).map(|delay| delay.as_secs()).collect();
//! assert_eq!(seconds, [1, 2, 4, 5, 5]);
//! ```

use crate::fault::{Fault, check};
pub(crate) use crate::random::Random;
use crate::time;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Half a minute: long enough to let a restart pass, short enough that a recovery is noticed soon.
const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(30);
/// Doubling gets out of the way of an outage in few tries, and everybody expects it.
const DEFAULT_FACTOR: f64 = 2.0;

/// How much chance goes into a delay, so that clients which failed together do not come back together.
///
/// After "Exponential Backoff And Jitter" (Marc Brooker, AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// Anywhere between zero and the delay. Spreads best, and halves the mean delay.
    #[default]
    Full,
    /// Anywhere between half the delay and the delay: never very short.
    Equal,
    /// The delay, and up to this much more; the sum still ends at `max_delay`, where it no longer spreads.
    Additive(Duration),
    /// Exactly the delay. For tests, and for a client that is alone.
    None,
}

/// The delays between tries: a formula, a cap and a jitter.
#[derive(Clone, Debug, PartialEq)]
pub struct Backoff {
    pub(crate) formula: Formula,
    pub(crate) max_delay: Option<Duration>,
    pub(crate) jitter: Jitter,
    seed: Option<u64>,
    // Settings that mean nothing to this formula; kept so that building can say so instead of ignoring them.
    stray_factor: Option<f64>,
    stray_jitter: Option<Jitter>,
}

#[derive(Clone)]
pub(crate) enum Formula {
    Constant(Duration),
    Linear(Duration),
    Exponential(Duration, f64),
    Fibonacci(Duration),
    Decorrelated(Duration),
    Custom(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

impl Backoff {
    const fn new(formula: Formula, jitter: Jitter) -> Self {
        Self { formula, max_delay: None, jitter, seed: None, stray_factor: None, stray_jitter: None }
    }

    /// Always `delay`. Zero is allowed, and means at once.
    #[must_use]
    pub const fn constant(delay: Duration) -> Self {
        Self::new(Formula::Constant(delay), Jitter::Full)
    }

    /// `base`, twice `base`, three times `base`, ..
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::new(Formula::Linear(base), Jitter::Full)
    }

    /// `base`, then each [`factor`](Self::factor) times the one before.
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::new(Formula::Exponential(base, DEFAULT_FACTOR), Jitter::Full)
    }

    /// `base` times 1, 1, 2, 3, 5, 8, ..: growth by about 1.6 that begins gently.
    #[must_use]
    pub const fn fibonacci(base: Duration) -> Self {
        Self::new(Formula::Fibonacci(base), Jitter::Full)
    }

    /// `min(max_delay, random between base and 3 * the delay before)`, the "decorrelated jitter" of the AWS article
    /// (see [`Jitter`]). The delay before is that of the same call, not of another. It is random already and takes no [`jitter`](Self::jitter).
    #[must_use]
    pub const fn decorrelated(base: Duration) -> Self {
        Self::new(Formula::Decorrelated(base), Jitter::None)
    }

    /// Whatever `f` says for this retry: 1 before the first retry, 2 before the second, and so on.
    /// Without jitter and without `max_delay`, unless you set them. Two custom backoffs are equal when they share one function.
    #[must_use]
    pub fn custom(f: impl Fn(u32) -> Duration + Send + Sync + 'static) -> Self {
        Self::new(Formula::Custom(Arc::new(f)), Jitter::None)
    }

    /// By what each delay is multiplied to give the next; for [`exponential`](Self::exponential) only. At least 1, and finite.
    /// **Default**: 2.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        match &mut self.formula {
            Formula::Exponential(_, mine) => *mine = factor,
            _ => self.stray_factor = Some(factor),
        }
        self
    }

    /// No delay is longer than this, with jitter and all. `Duration::MAX` is no cap at all.
    /// **Default**: 30 s, or the base if that is longer; none for [`constant`](Self::constant) and [`custom`](Self::custom).
    #[must_use]
    pub const fn max_delay(mut self, max_delay: Duration) -> Self {
        self.max_delay = Some(max_delay);
        self
    }

    /// How much chance goes into each delay. Full and equal jitter spread the capped delay, so that clients stay apart at the cap too.
    /// **Default**: [`Jitter::Full`]; [`Jitter::None`] for [`custom`](Self::custom).
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        match self.formula {
            Formula::Decorrelated(_) => self.stray_jitter = Some(jitter),
            _ => self.jitter = jitter,
        }
        self
    }

    /// Makes the random draws the same on every run. **Default**: different each time.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The delay before this retry (1 is the first) without jitter. For a decorrelated backoff: the longest it can be.
    #[must_use]
    pub fn nominal(&self, retry: u32) -> Duration {
        self.raw(retry).min(self.cap())
    }

    /// The longest the delay before this retry can be, with jitter.
    #[must_use]
    pub fn longest(&self, retry: u32) -> Duration {
        match self.jitter {
            Jitter::Additive(extra) => self.raw(retry).saturating_add(extra).min(self.cap()),
            _ => self.nominal(retry),
        }
    }

    /// The delays one after the other, without end, jitter included. Each iterator is a call of its own.
    pub fn delays(&self) -> Delays {
        Delays { backoff: self.clone(), place: Place::default(), random: Random::new(self.seed) }
    }

    /// The delay after `place`, which it moves on.
    pub(crate) fn next(&self, place: &mut Place, random: &Random) -> Duration {
        place.step = place.step.saturating_add(1);
        let delay = match self.formula {
            Formula::Decorrelated(base) => {
                let previous = if place.step == 1 { base } else { Duration::from_nanos(place.previous) };
                uniform(random, base, previous.saturating_mul(3)).min(self.cap())
            }
            _ => self.jittered(place.step, random),
        };
        place.previous = time::nanos(delay);
        delay
    }

    fn jittered(&self, retry: u32, random: &Random) -> Duration {
        let delay = self.nominal(retry);
        match self.jitter {
            Jitter::None => delay,
            // Full and equal jitter only shorten, so they come after the cap: before it, every client far enough along would wait
            // exactly the cap, all together.
            Jitter::Full => uniform(random, Duration::ZERO, delay),
            Jitter::Equal => uniform(random, delay / 2, delay),
            Jitter::Additive(extra) => delay.saturating_add(uniform(random, Duration::ZERO, extra)).min(self.cap()),
        }
    }

    /// [`longest`](Self::longest), without asking a function of the user's own: that one is known by its cap, if at all.
    #[inline]
    pub(crate) fn longest_known(&self, retry: u32) -> Option<Duration> {
        if matches!(self.formula, Formula::Custom(_)) { self.max_delay } else { Some(self.longest(retry)) }
    }

    pub(crate) const fn seed_value(&self) -> Option<u64> {
        self.seed
    }

    fn cap(&self) -> Duration {
        self.max_delay.unwrap_or(match self.formula {
            Formula::Linear(base) | Formula::Exponential(base, _) | Formula::Fibonacci(base) | Formula::Decorrelated(base) => {
                base.max(DEFAULT_MAX_DELAY)
            }
            Formula::Constant(_) | Formula::Custom(_) => Duration::MAX,
        })
    }

    /// The formula alone: no cap, no jitter.
    fn raw(&self, retry: u32) -> Duration {
        let retry = retry.max(1);
        match &self.formula {
            Formula::Constant(base) => *base,
            Formula::Linear(base) => base.saturating_mul(retry),
            Formula::Exponential(base, factor) => power(*base, *factor, retry - 1),
            Formula::Fibonacci(base) => duration(base.as_nanos().saturating_mul(fibonacci(retry))),
            Formula::Decorrelated(base) => power(*base, 3.0, retry),
            Formula::Custom(f) => f(retry),
        }
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Formula::Exponential(_, factor) = self.formula
            && !(factor >= 1.0 && factor.is_finite())
        {
            faults.push(Fault::new("factor", format!("{factor} is not a factor to grow by; it must be at least 1 and finite, 2 doubles")));
        }
        if let Some(factor) = self.stray_factor {
            faults.push(Fault::new("factor", format!("{factor} has no effect on a backoff that is not exponential; leave it out")));
        }
        if let Some(max_delay) = self.max_delay {
            check::nonzero(&mut faults, "max_delay", max_delay, "to retry at once use a constant backoff of zero");
        }
        if let Some(jitter) = self.stray_jitter {
            faults.push(Fault::new(
                "jitter",
                format!("{jitter:?} has no effect on a decorrelated backoff, which is random itself; leave it out"),
            ));
        }
        faults
    }
}

impl fmt::Debug for Formula {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(base) => write!(f, "Constant({base:?})"),
            Self::Linear(base) => write!(f, "Linear({base:?})"),
            Self::Exponential(base, factor) => write!(f, "Exponential({base:?}, factor {factor})"),
            Self::Fibonacci(base) => write!(f, "Fibonacci({base:?})"),
            Self::Decorrelated(base) => write!(f, "Decorrelated({base:?})"),
            Self::Custom(_) => f.write_str("Custom(..)"),
        }
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Constant(a), Self::Constant(b))
            | (Self::Linear(a), Self::Linear(b))
            | (Self::Fibonacci(a), Self::Fibonacci(b))
            | (Self::Decorrelated(a), Self::Decorrelated(b)) => a == b,
            (Self::Exponential(a, x), Self::Exponential(b, y)) => a == b && x == y,
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// The delays of one call, without end. See [`Backoff::delays`].
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Delays {
    backoff: Backoff,
    place: Place,
    random: Random,
}

impl Iterator for Delays {
    type Item = Duration;

    #[inline]
    fn next(&mut self) -> Option<Duration> {
        Some(self.backoff.next(&mut self.place, &self.random))
    }
}

/// How far one call is along its backoff: the only state there is, and it belongs to the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) step: u32,
    /// In nanoseconds, to keep the call small; only a decorrelated backoff looks at it.
    pub(super) previous: u64,
}

/// Evenly between `low` and `high`, both included; `low` where that is not above it.
pub(crate) fn uniform(random: &Random, low: Duration, high: Duration) -> Duration {
    let Some(span) = high.checked_sub(low).filter(|span| !span.is_zero()) else {
        return low;
    };
    let (span, bits) = (span.as_nanos(), u128::from(random.bits()));
    // Multiply and shift (Lemire): the bias is below span / 2^64, one in 600 million for 30 s.
    let picked = match u64::try_from(span) {
        Ok(_) => (bits * (span + 1)) >> 64,
        Err(_) => (bits * (span >> 30)) >> 34,
    };
    low.saturating_add(duration(picked))
}

/// `base * factor^exponent`. A factor below 1, or no number, counts as 1: the faults have it already.
fn power(base: Duration, factor: f64, exponent: u32) -> Duration {
    /// Nearer to 1 than this, rounding could make a longer row of factors the smaller one.
    const INDISTINCT: f64 = 1e-12;
    if base.is_zero() || exponent == 0 || factor.max(1.0) - 1.0 < INDISTINCT {
        return base;
    }
    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days of nanoseconds, and saturating beyond what a Duration holds")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and `as` saturates")]
    let nanos = (base.as_nanos() as f64 * factor.powf(f64::from(exponent))).round() as u128;
    duration(nanos).max(base)
}

/// The nth Fibonacci number, 1 for the first and the second; saturating.
fn fibonacci(n: u32) -> u128 {
    let (mut before, mut current) = (0_u128, 1_u128);
    for _ in 1..n {
        let Some(next) = current.checked_add(before) else { return u128::MAX };
        (before, current) = (current, next);
    }
    current
}

/// Nanoseconds as a duration, saturating.
fn duration(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    u64::try_from(nanos / SECOND).map_or(Duration::MAX, |seconds| Duration::new(seconds, (nanos % SECOND) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_and_back() {
        for d in [Duration::ZERO, Duration::new(7, 999_999_999), Duration::MAX] {
            assert_eq!(duration(d.as_nanos()), d);
        }
        assert_eq!(duration(Duration::MAX.as_nanos() + 1), Duration::MAX);
    }

    #[test]
    fn h31_a_draw_reaches_both_ends_and_no_further() {
        let (random, low, high) = (Random::new(Some(1)), Duration::from_nanos(5), Duration::from_nanos(8));
        let mut seen = [0_u32; 4];
        (0..4000).for_each(|_| seen[usize::try_from((uniform(&random, low, high) - low).as_nanos()).expect("small")] += 1);
        assert!(seen.iter().all(|&n| (900..1100).contains(&n)), "{seen:?}");
        assert_eq!(uniform(&random, high, low), high, "inverted: the lower bound");
        (0..1000).for_each(|_| assert!(uniform(&random, low, Duration::MAX) >= low));
    }

    #[test]
    fn h43_faulty_factors_never_panic_and_never_shrink() {
        for factor in [f64::NAN, f64::NEG_INFINITY, -2.0, 0.0, 0.5, f64::INFINITY, f64::MAX] {
            let base = Duration::from_millis(1);
            (0..50).for_each(|n| assert!(power(base, factor, n) >= base));
        }
    }
}
