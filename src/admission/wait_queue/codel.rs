//! When a queue sends away those who have waited too long: after CoDel.
//!
//! CoDel (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012; RFC 8289) tells a standing queue from a burst by one number:
//! for a whole *interval*, nobody got through who had waited less than the *target*. Its drops make TCP senders slow down, so it drops a few,
//! ever faster. Callers do not slow down; so here, as in Facebook's servers ("Fail at Scale", ACM Queue 2015, and folly's `Codel`), everybody
//! is sent away who has waited more than twice the target, for as long as the queue stands.
//!
//! It acts where a turn comes, on the waiter whose turn it is: the one in front, who has waited longest. The last in line always stays, so
//! a permit never idles for want of somebody who waited little enough.

use crate::fault::{Fault, check};
use crate::time;
use std::time::Duration;

/// When a queue sheds: whoever has waited more than twice the *target*, once for an *interval* nobody has waited less than that.
///
/// A queue evens out bursts. Under lasting overload it does nothing but make everybody wait, until those who are served gave up
/// long ago. With this a burst that drains within the interval is served whole, and under lasting overload those who get through have waited
/// little, and the rest learns early that it has to go elsewhere: refused like a call that found the queue full.
///
/// The target should be no less than the time between two turns (the seconds of a call, divided by the limit). Parked waiters that
/// come late to their turn are neither shed nor measured.
///
/// ```
/// # fn main() -> Result<(), steadfast::ConfigError> {
/// use std::time::Duration;
/// use steadfast::{Bulkhead, CoDel};
///
/// let queue = CoDel::target(Duration::from_millis(20)).interval(Duration::from_millis(500));
/// let bulkhead = Bulkhead::new(50).queue(1_000).shed(queue).build()?;
/// # let _ = bulkhead; Ok(()) }
/// ```
///
/// Sources: Nichols and Jacobson, "Controlling Queue Delay" (2012); RFC 8289; Maurer, "Fail at Scale" (2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until it is given to a queue"]
pub struct CoDel {
    pub(crate) target: Duration,
    pub(crate) interval: Duration,
}

impl CoDel {
    /// A wait that is fine under load; more than zero. The usual is 5 ms.
    pub const fn target(target: Duration) -> Self {
        Self { target, interval: Duration::from_millis(100) }
    }

    /// How long a burst may last, at least the target. **Default**: 100 ms, as in the article and in Facebook's servers: longer than a
    /// burst of calls, shorter than anybody's patience.
    pub const fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        check::nonzero(&mut faults, "shed.target", self.target, "everybody who waits would be shed; use 5 ms or so, or no queue");
        if self.interval < self.target {
            let problem = format!("{:?} is shorter than the target ({:?}); make it at least that", self.interval, self.target);
            faults.push(Fault::new("shed.interval", problem));
        }
        faults
    }
}

impl Default for CoDel {
    /// A target of 5 ms over 100 ms.
    fn default() -> Self {
        Self::target(Duration::from_millis(5))
    }
}

/// The machine: told of each turn, it says who is shed. Moments are nanoseconds on the line's own clock.
#[derive(Debug)]
pub(super) struct Shedder {
    pub(super) codel: CoDel,
    /// When the queue was last known not to stand.
    good_at: u64,
    /// Somebody was shed since the last turn was taken: how long the one behind has waited says nothing then.
    shedding: bool,
    /// When the line became empty because of that.
    emptied_at: Option<u64>,
}

impl Shedder {
    pub(super) const fn new(codel: CoDel, now: u64) -> Self {
        Self { codel, good_at: now, shedding: false, emptied_at: None }
    }

    /// Whether somebody whose turn it is has to go, having waited since then, with others behind.
    pub(super) fn sheds(&mut self, since: u64, now: u64) -> bool {
        let stands = now.saturating_sub(self.good_at) >= time::nanos(self.codel.interval);
        let sheds = stands && now.saturating_sub(since) > time::nanos(self.codel.target).saturating_mul(2);
        self.shedding |= sheds;
        sheds
    }

    /// A turn was taken. `is_empty`: nobody is left in line.
    pub(super) fn taken(&mut self, since: u64, now: u64, is_empty: bool) {
        let shed = std::mem::take(&mut self.shedding);
        if !shed && now.saturating_sub(since) <= time::nanos(self.codel.target) {
            self.good_at = now;
        }
        self.emptied_at = (shed && is_empty).then_some(now);
    }

    /// Somebody stands in a line that was empty. An empty line is a good one, unless shedding made it so a moment ago.
    pub(super) fn first_joins(&mut self, now: u64) {
        let recently = |emptied: u64| now.saturating_sub(emptied) < time::nanos(self.codel.interval);
        if !self.emptied_at.is_some_and(recently) {
            (self.good_at, self.shedding) = (now, false);
        }
        self.emptied_at = None;
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Target 5 ms, interval 100 ms, and bad from the beginning: at 100 ms it stands.
    fn standing() -> Shedder {
        Shedder::new(CoDel::default(), 0)
    }

    #[test]
    fn who_waited_twice_the_target_is_served_and_who_waited_longer_goes() {
        assert!(!standing().sheds(0, 100 * MS - 1), "not yet");
        assert!(!standing().sheds(90 * MS, 100 * MS));
        assert!(standing().sheds(90 * MS - 1, 100 * MS));
    }

    #[test]
    fn a_line_emptied_by_shedding_is_a_bad_one_for_an_interval() {
        for (joins, stands) in [(200 * MS - 1, true), (200 * MS, false), (200 * MS + 1, false)] {
            let mut shedder = standing();
            assert!(shedder.sheds(0, 100 * MS));
            shedder.taken(99 * MS, 100 * MS, true);
            shedder.first_joins(joins);
            assert_eq!(shedder.sheds(joins, joins + 11 * MS), stands, "{joins}");
        }
        // One that others emptied is a good one at once.
        let mut shedder = standing();
        shedder.taken(0, 100 * MS, true);
        shedder.first_joins(101 * MS);
        assert!(!shedder.sheds(101 * MS, 112 * MS));
    }
}
