//! What the policies and the operation may know of one call: its [`Priority`], its key, its cost, and the [`Attempt`] being made.

use crate::time;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// How much a call matters when others wait beside it. First come, first served within a priority; each step down is a head start
/// of one *ageing* step for the step above (2 s unless set), so that no priority starves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Must get through before all else: health checks, payments.
    Critical,
    /// A person is waiting.
    High,
    /// The default.
    #[default]
    Normal,
    /// Best effort.
    Low,
    /// Batches and prefetching: whatever is left.
    Background,
}

impl Priority {
    /// All of them, the most important first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Normal, Self::Low, Self::Background];
}

/// One attempt of a call, as [`call_with`](crate::Pipeline::call_with) tells the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub(crate) number: u32,
    pub(crate) leg: u32,
    pub(crate) started: Instant,
    pub(crate) deadline: Option<Instant>,
}

impl Attempt {
    /// 1 for the first attempt, 2 for the first retry.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whether the operation has been tried before in this call.
    #[must_use]
    pub const fn is_retry(&self) -> bool {
        self.number > 1
    }

    /// Which leg of the attempt this is: 0 for the first, 1 for the first that a [hedge](crate::Hedge) launched beside it. Worth another replica, or a mark
    /// in the request.
    #[must_use]
    pub const fn leg(&self) -> u32 {
        self.leg
    }

    /// Whether a [hedge](crate::Hedge) launched it beside an attempt that was slow, or failed.
    #[must_use]
    pub const fn is_hedge(&self) -> bool {
        self.leg > 0
    }

    /// When this attempt began: one clock reading, shared by every policy.
    #[must_use]
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// When the whole call must have ended; `None` without a total timeout or deadline.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time left for the whole call when this attempt began; to be passed on to the server, say. `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(self.started))
    }
}

/// One request to be admitted, as gates see it.
///
/// A pipeline makes it for each attempt. To use a bulkhead or a limiter alone, make one yourself:
///
/// ```
/// use steadfast::{Call, Priority};
/// let call = Call::now().priority(Priority::High).cost(5);
/// assert_eq!(call.cost_units(), 5);
/// ```
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub(crate) attempt: Attempt,
    pub(crate) key: Option<&'a str>,
    pub(crate) priority: Priority,
    pub(crate) cost: u32,
}

impl<'a> Call<'a> {
    /// The first attempt of a call that begins now: normal priority, cost 1, no deadline, no key.
    #[must_use]
    pub fn now() -> Self {
        Self::at(Instant::now())
    }

    /// The same, beginning at a moment of your choice.
    #[must_use]
    pub const fn at(started: Instant) -> Self {
        Self { attempt: Attempt { number: 1, leg: 0, started, deadline: None }, key: None, priority: Priority::Normal, cost: 1 }
    }

    /// How much it matters. **Default**: [`Priority::Normal`].
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// How many units it takes of a rate limit. **Default**: 1.
    #[must_use]
    pub const fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// How long it may wait in all. **Default**: for ever.
    #[must_use]
    pub fn within(mut self, wait: Duration) -> Self {
        self.attempt.deadline = time::after(self.attempt.started, wait);
        self
    }

    /// On whose behalf it is made.
    #[must_use]
    pub const fn for_key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// The attempt to be admitted.
    #[must_use]
    pub const fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// On whose behalf the call is made, when it was said.
    #[must_use]
    pub const fn key(&self) -> Option<&'a str> {
        self.key
    }

    /// How much it matters.
    #[must_use]
    pub const fn priority_level(&self) -> Priority {
        self.priority
    }

    /// How many units it takes of a rate limit.
    #[must_use]
    pub const fn cost_units(&self) -> u32 {
        self.cost
    }
}

impl fmt::Debug for Call<'_> {
    // A key is often the name of a person, and `{:?}` ends up in logs.
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("attempt", &self.attempt)
            .field("keyed", &self.key.is_some())
            .field("priority", &self.priority)
            .field("cost", &self.cost)
            .finish()
    }
}

/// After its end, or after user code panicked in it: as an `async fn` does. To begin anew would be to do the work twice.
#[cold]
pub(crate) fn polled_again() -> ! {
    panic!("a call was polled after it had ended")
}
