//! Everything a pipeline knows of itself, as one plain value.

use super::Core;
use crate::admission::{CircuitSnapshot, LimitSnapshot, PerKeyStats, ThrottleSnapshot};
use crate::execution::{HedgeStats, RetryStats, StopReason};
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
    /// Legs launched beside slow attempts, and what became of them.
    pub hedge: Option<HedgeStats>,
    /// The circuit breaker's state and counters.
    pub circuit_breaker: Option<CircuitSnapshot>,
    /// What the throttle has counted, and what it holds back.
    pub throttle: Option<ThrottleSnapshot>,
    /// The keys, all together.
    pub per_key: Option<PerKeyStats>,
    /// The bulkhead's places.
    pub bulkhead: Option<Gauge>,
    /// The adaptive limit, and what it goes by.
    pub adaptive_limit: Option<LimitSnapshot>,
    /// The rate limiter's units.
    pub rate_limit: Option<Gauge>,
}

impl PipelineStats {
    #[inline]
    pub(super) fn of(core: &Core) -> Self {
        Self {
            name: core.name.to_string(),
            calls: core.recorder.as_ref().map(|recorder| recorder.snapshot(Instant::now())),
            retry: core.policies.retry.as_ref().map(|retry| retry.stats()),
            hedge: core.policies.hedge.as_ref().map(|hedge| hedge.stats()),
            circuit_breaker: core.policies.circuit_breaker.as_ref().map(|breaker| breaker.snapshot()),
            throttle: core.policies.throttle.as_ref().map(|throttle| throttle.snapshot()),
            per_key: core.policies.per_key.as_ref().map(|per_key| per_key.stats()),
            bulkhead: core.policies.bulkhead.as_ref().map(|bulkhead| Gauge {
                limit: bulkhead.limit() as u64,
                available: bulkhead.available() as u64,
                waiting: bulkhead.waiting() as u64,
            }),
            adaptive_limit: core.policies.adaptive_limit.as_ref().map(|limit| limit.snapshot()),
            rate_limit: core.policies.rate_limit.as_ref().map(|limiter| Gauge {
                limit: u64::from(limiter.config().capacity()),
                available: u64::from(limiter.available()),
                waiting: limiter.waiting() as u64,
            }),
        }
    }
}

impl fmt::Display for PipelineStats {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.calls {
            Some(calls) => writeln!(f, "{calls}")?, // a table, under the same name
            None => writeln!(f, "{}", self.name)?,
        }
        if let Some(retry) = &self.retry {
            let (saved, lost) = (retry.succeeded_with_retry(), retry.failed_with_retry());
            writeln!(f, "retry            {} made; calls saved {saved}, lost {lost}", retry.retries())?;
            let causes = counts([
                ("transient", retry.transient_retries),
                ("hinted", retry.hinted_retries),
                ("timed out", retry.timed_out_retries),
                ("rejected", retry.rejected_retries),
            ]);
            // What the breaker or the judge forbade is no news of the retry.
            let limits = [StopReason::Attempts, StopReason::Budget, StopReason::Deadline, StopReason::HintTooLong, StopReason::Nested];
            let limits = counts(limits.map(|reason| (reason.as_str(), retry.stopped(reason))));
            for (name, counts) in [("because of", causes), ("stopped by", limits)] {
                if !counts.is_empty() {
                    writeln!(f, "  {name:<15}{counts}")?;
                }
            }
        }
        if let Some(hedge) = &self.hedge {
            writeln!(f, "hedge            {} launched, {} of them answered, {} denied", hedge.launched, hedge.won, hedge.denied())?;
        }
        if let Some(breaker) = &self.circuit_breaker {
            writeln!(f, "circuit breaker  {breaker}")?;
        }
        if let Some(throttle) = &self.throttle {
            writeln!(f, "throttle         {throttle}")?;
        }
        if let Some(limit) = &self.adaptive_limit {
            writeln!(f, "adaptive limit   {} of {} in use, {} waiting", limit.in_use, limit.limit, limit.waiting)?;
        }
        if let Some(keys) = &self.per_key {
            let PerKeyStats { keys, max_keys, rejected, .. } = keys;
            writeln!(f, "per key          {keys} of {max_keys} keys known, {rejected} attempts refused")?;
        }
        for (name, gauge) in [("bulkhead", self.bulkhead), ("rate limit", self.rate_limit)] {
            if let Some(Gauge { limit, available, waiting }) = gauge {
                writeln!(f, "{name:<16} {available} of {limit} free, {waiting} waiting")?;
            }
        }
        Ok(())
    }
}

/// The counts that are not zero: `7 hinted, 32 timed out`.
fn counts<const N: usize>(counts: [(&str, u64); N]) -> String {
    let some: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
    some.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_policy_that_is_there() {
        let mut retry = RetryStats::default();
        (retry.timed_out_retries, retry.hinted_retries, retry.succeeded_after[1]) = (32, 7, 19);
        let gauge = Gauge { limit: 20, available: 16, waiting: 0 };
        let stats = PipelineStats {
            name: "api".into(),
            calls: None,
            retry: Some(retry),
            hedge: Some(HedgeStats { launched: 9, won: 6, denied_by_budget: 1, ..HedgeStats::default() }),
            circuit_breaker: None,
            throttle: None,
            per_key: None,
            bulkhead: Some(gauge),
            adaptive_limit: None,
            rate_limit: None,
        };
        let expected = "api\n\
                        retry            39 made; calls saved 19, lost 0\n  \
                        because of     7 hinted, 32 timed out\n\
                        hedge            9 launched, 6 of them answered, 1 denied\n\
                        bulkhead         16 of 20 free, 0 waiting\n";
        assert_eq!(stats.to_string(), expected);
    }
}
