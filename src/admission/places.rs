//! Places for so many calls at once, and who may take one: what the wait queues of bulkheads and adaptive limits hand out.

use super::wait_queue::{Door, Refusal, Request, Supply, Take, WaitQueue};
use crate::call::Call;
use crate::sync::Padded;
use crate::sync::atomic::{AtomicIsize, Ordering};
use crate::time;
use std::time::Duration;
use tokio::time::Instant;

/// The free places, twice, and one more while somebody stands in line: below zero after the limit shrank. One word, so that the
/// common path is one read-modify-write to take and one to give back.
#[derive(Debug)]
pub(super) struct Places {
    /// Beside the word: whether critical calls stand before everybody.
    word: Padded<(AtomicIsize, bool)>,
}

const CROWD: isize = 1;

pub(super) enum Grab {
    /// A place, and how many are free after it.
    Got(isize),
    /// There is no place.
    Full,
    /// Others stand in line: ask the queue.
    Crowded,
}

impl Places {
    pub(super) fn new(places: usize, critical_first: bool) -> Self {
        Self { word: Padded((AtomicIsize::new(count(places) * 2), critical_first)) }
    }

    /// Takes a place unless others stand in line for it.
    #[inline]
    pub(super) fn grab(&self) -> Grab {
        let mut word = self.word.0.0.load(Ordering::Relaxed);
        loop {
            if word & CROWD != 0 {
                return Grab::Crowded;
            }
            if word <= 0 {
                return Grab::Full;
            }
            match self.word.0.0.compare_exchange_weak(word, word - 2, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Grab::Got((word >> 1) - 1),
                Err(now) => word = now,
            }
        }
    }

    /// Takes a place beyond the limit while fewer than `reserve` are taken there, whoever stands in line.
    pub(super) fn overdraw(&self, reserve: usize) -> Option<isize> {
        let lowest = -count(reserve);
        let take = |word: isize| (word >> 1 > lowest).then_some(word - 2);
        self.word.0.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok().map(|word| (word >> 1) - 1)
    }

    /// Adds places, or takes some away. True when somebody stands in line.
    #[inline]
    pub(super) fn add(&self, places: isize) -> bool {
        self.word.0.0.fetch_add(places * 2, Ordering::AcqRel) & CROWD != 0
    }

    pub(super) fn free(&self) -> isize {
        self.word.0.0.load(Ordering::Acquire) >> 1
    }

    /// How many of so many are taken.
    pub(super) fn in_use(&self, limit: usize) -> usize {
        usize::try_from(count(limit).saturating_sub(self.free())).unwrap_or(0)
    }
}

/// A number of places as the word counts them: half of what it could hold is beyond any limit, and leaves room for the sums.
pub(super) fn count(places: usize) -> isize {
    isize::try_from(places).unwrap_or(isize::MAX).min(isize::MAX >> 3)
}

impl Supply for Places {
    /// How many are free afterwards.
    type Grant = isize;

    fn critical_first(&self) -> bool {
        self.word.0.1
    }

    fn slots(&self) -> usize {
        usize::try_from(self.free()).unwrap_or(0)
    }

    fn take(&self, _now: Instant, _cost: u32) -> Take<isize> {
        let taken = self.word.0.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| (word >> 1 > 0).then_some(word - 2));
        taken.map_or(Take::NotNow, |word| Take::Taken((word >> 1) - 1))
    }

    fn crowd(&self, standing: bool) {
        if standing {
            self.word.0.0.fetch_or(CROWD, Ordering::AcqRel);
        } else {
            self.word.0.0.fetch_and(!CROWD, Ordering::AcqRel);
        }
    }
}

impl WaitQueue<Places> {
    /// For a call that could not [grab](Places::grab) a place; `crowded`: because others stand in line.
    #[cold]
    pub(super) fn line_up(&self, now: Instant, call: &Call<'_>, crowded: bool, max_wait: Duration) -> Door<'_, Places> {
        if self.room() == 0 || max_wait.is_zero() {
            // Crowded all the same: somebody stands in line who came before the queue was taken away.
            return match crowded.then(|| self.try_take(now, 1)) {
                Some(Take::Taken(free)) => Door::Taken(free),
                _ => Door::Refused(Refusal::Full),
            };
        }
        let deadline = call.attempt.deadline;
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Door::Refused(Refusal::Deadline);
        }
        self.enter(Request { now, priority: call.priority, cost: 1, until: time::after(now, max_wait), deadline })
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn whoever_takes_a_place_learns_how_many_are_free_after_it() {
        let (places, now) = (Places::new(3, false), Instant::now());
        assert!(matches!(places.grab(), Grab::Got(2)));
        assert!(matches!(places.take(now, 1), Take::Taken(1)));
        assert!(matches!(places.take(now, 1), Take::Taken(0)));
        assert!(matches!((places.take(now, 1), places.grab()), (Take::NotNow, Grab::Full)));
        assert_eq!([places.overdraw(2), places.overdraw(2), places.overdraw(2)], [Some(-1), Some(-2), None]);
        assert_eq!((places.free(), places.slots(), places.in_use(3)), (-2, 0, 5));
        assert!(!places.add(1), "nobody stands in line");
        places.crowd(true);
        assert!(matches!(places.grab(), Grab::Crowded));
        assert!(places.add(1), "somebody does");
        assert!(matches!((places.take(now, 1), places.free()), (Take::NotNow, 0)));
        assert!(places.add(1));
        places.crowd(false);
        assert!(matches!(places.grab(), Grab::Got(0)));
    }
}
