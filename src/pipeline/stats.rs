//! Everything a pipeline knows of itself, as one plain value.

use super::Core;
use crate::admission::CircuitSnapshot;
use crate::execution::RetryStats;
use crate::observation::Snapshot;
use std::fmt;
use tokio::time::Instant;

/// How full a bulkhead or a rate limiter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    /// The most there may be: places, or units of the burst.
    pub limit: u64,
    /// How many of them can be had now.
    pub available: u64,
    /// How many calls wait for one.
    pub waiting: u64,
}

/// What happened in a pipeline, and the state of its policies; made by [`Pipeline::stats`](crate::Pipeline::stats). `Display` prints
/// it as a table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PipelineStats {
    /// The name of the pipeline.
    pub name: String,
    /// Calls and attempts, by outcome, with their latencies; `None` without a [`Monitor`](crate::Monitor).
    pub calls: Option<Snapshot>,
    /// Retries, by cause, and what stopped them.
    pub retry: Option<RetryStats>,
    /// The circuit breaker's state and counters.
    pub circuit_breaker: Option<CircuitSnapshot>,
    /// The bulkhead's places.
    pub bulkhead: Option<Gauge>,
    /// The rate limiter's units.
    pub rate_limit: Option<Gauge>,
}

impl PipelineStats {
    pub(super) fn of(core: &Core) -> Self {
        Self {
            name: core.name.to_string(),
            calls: core.recorder.as_ref().map(|recorder| recorder.snapshot(Instant::now())),
            retry: core.retry.as_ref().map(|retry| retry.stats()),
            circuit_breaker: core.breaker.as_ref().map(|breaker| breaker.snapshot()),
            bulkhead: core.bulkhead.as_ref().map(|bulkhead| Gauge {
                limit: bulkhead.limit() as u64,
                available: bulkhead.available() as u64,
                waiting: bulkhead.waiting() as u64,
            }),
            rate_limit: core.limiter.as_ref().map(|limiter| Gauge {
                limit: u64::from(limiter.config().capacity()),
                available: u64::from(limiter.available()),
                waiting: limiter.waiting() as u64,
            }),
        }
    }
}

impl fmt::Display for PipelineStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        if let Some(calls) = &self.calls {
            writeln!(f, "{calls}")?;
        }
        if let Some(retry) = &self.retry {
            writeln!(f, "{retry}")?;
        }
        if let Some(breaker) = &self.circuit_breaker {
            writeln!(f, "circuit breaker  {breaker}")?;
        }
        for (name, gauge) in [("bulkhead", self.bulkhead), ("rate limit", self.rate_limit)] {
            if let Some(Gauge { limit, available, waiting }) = gauge {
                writeln!(f, "{name:<16} {available} of {limit} free, {waiting} waiting")?;
            }
        }
        Ok(())
    }
}
