//! Arithmetic on `tokio::time` that neither panics nor overflows.

use std::time::Duration;
use tokio::time::Instant;

/// `now + wait`; `None` where that is later than a clock can tell, which means never.
#[inline]
pub(crate) fn after(now: Instant, wait: Duration) -> Option<Instant> {
    // Timers past this are as good as never, and a clock that panics on them is not (tokio's wheel ends after about 2 years).
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);
    if wait >= NEVER { None } else { now.checked_add(wait) }
}

/// The earlier of two moments, where `None` is never.
#[inline]
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Nanoseconds from `epoch` to `now`, in 64 bits: 0 when the clock went back, the maximum after 584 years.
#[inline]
pub(crate) fn nanos_since(epoch: Instant, now: Instant) -> u64 {
    nanos(now.saturating_duration_since(epoch))
}

/// A duration in nanoseconds, saturating.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// The duration that [`nanos`] made a number of; the maximum stands for ever.
pub(crate) const fn from_nanos(nanos: u64) -> Duration {
    if nanos == u64::MAX { Duration::MAX } else { Duration::from_nanos(nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h28_never_is_not_a_moment() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::MAX), None);
        assert_eq!(earlier(None, Some(now)), Some(now));
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert_eq!(nanos_since(now + Duration::from_secs(1), now), 0);
    }
}
