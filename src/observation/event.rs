//! What a pipeline tells while it works.
//!
//! An [`Event`] is plain data: numbers, and names fixed at compile time. No key, no error text and no value is in it, so it may be logged anywhere.
//! It is told after the fact, outside all locks, to [`Observer`](crate::Observer)s, to the [`Events`](crate::Events) stream, and to `tracing`.

use super::names::clean;
use super::stats::{CallEnd, outcome_name};
use super::table::short;
use crate::outcome::{Outcome, RejectedKind};
use std::fmt;
use std::time::Duration;

/// How much an event matters to whoever is on call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Detail, for whoever looks for the cause.
    Debug,
    /// As it should be.
    Info,
    /// Something failed and was dealt with.
    Warn,
    /// A caller got no answer, or soon will not.
    Error,
}

/// One thing that happened in a pipeline.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt ran, and failed. Whether that mattered, the events after it tell.
    AttemptFailed {
        /// 1 for the first.
        attempt: u32,
        /// How it ended.
        outcome: Outcome,
        /// From its start.
        elapsed: Duration,
    },
    /// Another attempt follows after `delay`.
    Retrying {
        /// The attempt that failed; 1 for the first.
        attempt: u32,
        /// The wait before the next.
        delay: Duration,
        /// Why there is a next.
        cause: Outcome,
    },
    /// An attempt was slow, or a leg of it failed, and so another leg is launched beside it.
    Hedged {
        /// Which leg it is; 1 for the first beside the attempt itself.
        leg: u32,
        /// How long the leg before it, or the one that failed, had lasted.
        after: Duration,
    },
    /// An attempt failed that could have been retried, and was not. Not told of failures that are never retried, nor of calls that
    /// were refused before their first attempt.
    RetryStopped {
        /// How many attempts were made.
        attempts: u32,
        /// Why there is no further one: `attempts`, `budget`, `deadline`, ..
        reason: &'static str,
    },
    /// A call ends without an answer of the operation's own, because a policy refused, or because time ran out. (A retry that is
    /// refused is told as [`RetryStopped`](Self::RetryStopped): its call ends with the operation's own error.)
    Rejected {
        /// Which, and why.
        kind: RejectedKind,
        /// When it is worth coming back, if anybody can tell.
        retry_after: Option<Duration>,
    },
    /// An attempt got through after it had to wait in a queue.
    Waited {
        /// Which one: `rate_limit`, `bulkhead`, ..
        policy: &'static str,
        /// How long.
        waited: Duration,
    },
    /// The circuit breaker changed its state.
    CircuitChanged {
        /// The state before: `closed`, `open`, `half_open`, ..
        from: &'static str,
        /// The state now.
        to: &'static str,
        /// The number of changes so far.
        generation: u64,
    },
    /// A fallback answered instead.
    FallbackUsed {
        /// How the primary ended.
        cause: CallEnd,
    },
    /// A call ended. Exactly one of these comes for each call that began, whatever became of it: to the stream and to `tracing`.
    /// Observers are not told of calls that were dropped or panicked, for user code has no place in a drop.
    CallFinished {
        /// How it ended.
        end: CallEnd,
        /// How many attempts were made.
        attempts: u32,
        /// From its start.
        elapsed: Duration,
    },
}

impl Event {
    /// A short, stable name in snake case.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::Retrying { .. } => "retrying",
            Self::Hedged { .. } => "hedged",
            Self::RetryStopped { .. } => "retry_stopped",
            Self::Rejected { .. } => "rejected",
            Self::Waited { .. } => "waited",
            Self::CircuitChanged { .. } => "circuit_changed",
            Self::FallbackUsed { .. } => "fallback_used",
            Self::CallFinished { .. } => "call_finished",
        }
    }

    /// How much it matters. A failed attempt is a warning, for another may mend it; a failed call is an error; a circuit that opens is one, too. Of the
    /// several events of one rejected call only the last is loud.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::AttemptFailed { .. } | Self::RetryStopped { .. } | Self::FallbackUsed { .. } => Severity::Warn,
            Self::Retrying { .. } | Self::Hedged { .. } => Severity::Info,
            Self::Rejected { .. } | Self::Waited { .. } => Severity::Debug,
            Self::CircuitChanged { to, .. } if *to == "open" => Severity::Error,
            Self::CircuitChanged { .. } => Severity::Info,
            Self::CallFinished { end, .. } => match end {
                CallEnd::Success => Severity::Info,
                CallEnd::Abandoned => Severity::Debug,
                CallEnd::Failure | CallEnd::Rejected(_) | CallEnd::Panicked => Severity::Error,
            },
        }
    }
}

/// One line for people: `attempt 2 failed: transient, after 1.2 s`.
impl fmt::Display for Event {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names a user fixed at compile time may still hold anything: `clean`.
        match *self {
            Self::AttemptFailed { attempt, outcome, elapsed } => {
                write!(f, "attempt {attempt} failed: {}, after {}", outcome_name(outcome), short(elapsed))
            }
            Self::Retrying { attempt, delay, cause } => {
                write!(f, "attempt {attempt} was {}; next one in {}", outcome_name(cause), short(delay))
            }
            Self::Hedged { leg, after } => write!(f, "leg {leg} launched, after {}", short(after)),
            Self::RetryStopped { attempts, reason } => write!(f, "no more retries after {attempts} ({})", clean(reason)),
            Self::Rejected { kind, retry_after } => {
                write!(f, "rejected: {}", clean(kind.as_str()))?;
                retry_after.map_or(Ok(()), |after| write!(f, "; worth another try in {}", short(after)))
            }
            Self::Waited { policy, waited } => write!(f, "waited {} for {}", short(waited), clean(policy)),
            Self::CircuitChanged { from, to, .. } => write!(f, "circuit {} -> {}", clean(from), clean(to)),
            Self::FallbackUsed { cause } => write!(f, "fallback used: {}", clean(cause.as_str())),
            Self::CallFinished { end, attempts, elapsed } => {
                write!(f, "call finished: {}, attempts {attempts}, {}", clean(end.as_str()), short(elapsed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Verdict;

    #[test]
    fn r10_severities() {
        let failed =
            Event::AttemptFailed { attempt: 1, outcome: Outcome::Judged(Verdict::transient()), elapsed: Duration::from_millis(1_234) };
        assert_eq!(failed.severity(), Severity::Warn);
        assert_eq!(failed.to_string(), "attempt 1 failed: transient, after 1.23 s");
        let finished = |end| Event::CallFinished { end, attempts: 1, elapsed: Duration::ZERO }.severity();
        assert_eq!(finished(CallEnd::Failure), Severity::Error);
        assert_eq!(finished(CallEnd::Success), Severity::Info);
        assert_eq!(finished(CallEnd::Abandoned), Severity::Debug);
        assert!(Severity::Error > Severity::Warn);
    }
}
